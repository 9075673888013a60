//! Section 7.4: another organization's things are as if they were not there.

use serde_json::{Value, json};

use super::vocabulary::{
    DELIVERIES, ENDPOINTS, EVENTS, Fact, JSON, TARGET, ask, delivery_of, endpoint, fact, get,
    grants, id, key, key_body, patch, post, refusals,
};
use super::world::{SOON, World};
use crate::support::daemon::{Tenant, wait};

const AUDIT_LOG: &str = "/v1/webhooks/audit-log";
const PUBLISH: &str = "/v1/platform/events";

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let rename = || json!({ "name": "mine" });
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("7.4 a foreign endpoint is not found",         get("/v1/webhooks/endpoints/{their_endpoint}"),                 404, "NOT_FOUND", "endpoint"),
        ("7.4 a foreign endpoint is not changed",       patch("/v1/webhooks/endpoints/{their_endpoint}", rename()),     404, "NOT_FOUND", "endpoint"),
        ("7.4 a foreign secret is not revealed",        ask("POST", "/v1/webhooks/endpoints/{their_endpoint}/signing-secret/reveal"), 404, "NOT_FOUND", "endpoint"),
        ("7.4 a foreign secret is not rotated",         ask("POST", "/v1/webhooks/endpoints/{their_endpoint}/signing-secret/rotate"), 404, "NOT_FOUND", "endpoint"),
        ("7.4 a foreign endpoint takes no key",         post("/v1/webhooks/endpoints/{their_endpoint}/keys", key_body("k", &world.jwk)), 404, "NOT_FOUND", "endpoint"),
        ("7.4 a foreign key is not deactivated",        ask("POST", "/v1/webhooks/keys/{their_key}/deactivate"),        404, "NOT_FOUND", "key"),
        ("7.4 a foreign key is not reactivated",        ask("POST", "/v1/webhooks/keys/{their_key}/reactivate"),        404, "NOT_FOUND", "key"),
        ("7.4 a foreign delivery is not found",         get("/v1/webhooks/deliveries/{their_delivery}"),                404, "NOT_FOUND", "delivery"),
        ("7.4 a foreign delivery shows no attempts",    get("/v1/webhooks/deliveries/{their_delivery}/attempts"),       404, "NOT_FOUND", "delivery"),
        ("7.4 a foreign delivery is not sent again",    ask("POST", "/v1/webhooks/deliveries/{their_delivery}/retry"),  404, "NOT_FOUND", "delivery"),
        ("7.4 a foreign event is not found",            get("/v1/webhooks/events/{their_event}"),                       404, "NOT_FOUND", "event"),
        ("7.4 a foreign event is not found by the alias", get("/v1/events/{their_event}"),                              404, "NOT_FOUND", "event"),
        ("7.4 a foreign event is not replayed",         ask("POST", "/v1/webhooks/events/{their_event}/replay"),        404, "NOT_FOUND", "event"),
        ("7.4 a foreign event is not replayed by the alias", ask("POST", "/v1/events/{their_event}/replay"),            404, "NOT_FOUND", "event"),
    ]);
    #[rustfmt::skip] // a line a case
    facts.extend(grants(world, [
        ("7.4 a foreign endpoint has no keys",             get("/v1/webhooks/endpoints/{their_endpoint}/keys"),            "/data", json!([])),
        ("7.4 a foreign endpoint filters everything",      get("/v1/webhooks/deliveries?endpoint_id={their_endpoint}"),    "/data", json!([])),
        ("7.4 a foreign event filters everything",         get("/v1/webhooks/deliveries?event_id={their_event}"),          "/data", json!([])),
    ]));
    #[rustfmt::skip] // a line a case
    let twins = [
        ("endpoint",            "GET",  "/v1/webhooks/endpoints/{}",                       "{their_endpoint}", "whe_missing"),
        ("secret",              "POST", "/v1/webhooks/endpoints/{}/signing-secret/reveal", "{their_endpoint}", "whe_missing"),
        ("list of keys",        "GET",  "/v1/webhooks/endpoints/{}/keys",                  "{their_endpoint}", "whe_missing"),
        ("key",                 "POST", "/v1/webhooks/keys/{}/deactivate",                 "{their_key}",      "whk_missing"),
        ("delivery",            "POST", "/v1/webhooks/deliveries/{}/retry",                "{their_delivery}", "whd_missing"),
        ("event",               "GET",  "/v1/webhooks/events/{}",                          "{their_event}",    "evt_missing"),
        ("replay",              "POST", "/v1/webhooks/events/{}/replay",                   "{their_event}",    "evt_missing"),
    ];
    for (thing, method, path, theirs, missing) in twins {
        facts.push(fact(
            format!("7.4 a foreign {thing} is the same as a missing one"),
            move || {
                let [theirs, missing] =
                    [theirs, missing].map(|id| ask(method, path.replace("{}", id)).send(world));
                assert_eq!((theirs.status, theirs.text), (missing.status, missing.text));
            },
        ));
    }
    for list in [ENDPOINTS, "/v1/webhooks/deliveries", "/v1/webhooks/events", "/v1/events"] {
        facts.push(fact(format!("7.4 {list} lists one's own alone"), move || {
            let tenant = world.daemon.tenant();
            assert_eq!(tenant.caller.get(list).ok(), json!([]));
            let mine = get(list).send(world).text;
            for thing in ["{their_endpoint}", "{their_delivery}", "{their_event}"] {
                assert!(!mine.contains(&world.shelved(thing)), "{mine}");
            }
        }));
    }
    for (list, theirs, missing) in [
        (ENDPOINTS, "{their_endpoint}", "whe_missing"),
        (DELIVERIES, "{their_delivery}", "whd_missing"),
        (EVENTS, "{their_event}", "evt_missing"),
        ("/v1/events", "{their_event}", "evt_missing"),
    ] {
        facts.push(fact(format!("7.4 a foreign place in {list} is the same as none"), move || {
            let [theirs, missing] =
                [theirs, missing].map(|id| get(format!("{list}?starting_after={id}")).send(world));
            assert_eq!((theirs.status, theirs.code()), (400, "INVALID_REQUEST".to_owned()));
            assert_eq!(theirs.text, missing.text);
        }));
    }
    facts.extend([
        fact("7.4 a foreign place in the audit log is the same as none", move || {
            let tenant = world.daemon.tenant();
            endpoint(&tenant, json!({}));
            let log = tenant.caller.get(AUDIT_LOG).ok();
            let [theirs, missing] = [id(&log[0]), "missing"]
                .map(|id| get(format!("{AUDIT_LOG}?starting_after={id}")).send(world));
            assert_eq!((theirs.status, theirs.code()), (400, "INVALID_REQUEST".to_owned()));
            assert_eq!(theirs.text, missing.text);
        }),
        fact(
            "7.4 an event that names a foreign endpoint is refused as of a missing one",
            move || {
                let told = ["{their_endpoint}", "whe_missing"].map(|name| {
                    let name = world.shelved(name);
                    let mut event = world.tenant.event("vs_foreign", json!({}));
                    event["webhook_endpoint_ids"] = json!([name]);
                    let answer = world.tenant.platform.post(PUBLISH, event);
                    (answer.status, answer.text.replace(&name, "ID"))
                });
                assert_eq!(told[0], told[1]);
                assert!(told[0].0 >= 400, "{told:?}");
            },
        ),
        fact("7.4 two organizations may use one idempotency key", move || {
            let headers = [JSON, ("idempotency-key", "same")];
            let [mine, theirs] = [world.daemon.tenant(), world.daemon.tenant()].map(|tenant| {
                let made = endpoint(&tenant, json!({}));
                let event = tenant.event("vs_same", json!({ "of": tenant.organization }));
                let event = event.to_string();
                let sent = [(); 2].map(|()| {
                    tenant.platform.send("POST", PUBLISH, &headers, &event).ok()["id"].take()
                });
                assert_eq!(sent[0], sent[1]);
                let again = json!({ "url": TARGET }).to_string();
                let again = tenant.caller.send("POST", ENDPOINTS, &headers, &again).ok();
                assert_ne!(again["endpoint"]["id"], made["id"]);
                (sent[0].clone(), again["endpoint"]["id"].clone())
            });
            assert_ne!(mine.0, theirs.0);
            assert_ne!(mine.1, theirs.1);
        }),
        fact("7.4 a withdrawal takes back nothing of another's session of that name", move || {
            let [mine, theirs] = [(); 2].map(|()| {
                let tenant = world.daemon.tenant();
                let made = endpoint(&tenant, json!({}));
                key(&tenant, id(&made), "k", &world.jwk);
                let event = tenant.publish("vs_same", json!({}));
                (tenant, event)
            });
            let body = json!({
                "organization_id": mine.0.organization, "verification_session_id": "vs_same",
                "outcome": "active",
            });
            mine.0.platform.post("/v1/platform/privacy-requests", body).ok();
            let scrubbed = |(tenant, event): &(Tenant, Value)| {
                !delivery_of(tenant, event)["payload_scrubbed_at"].is_null()
            };
            wait(SOON, "the payload to be scrubbed", || scrubbed(&mine));
            assert!(!scrubbed(&theirs));
        }),
    ]);
    facts.push(fact("7.4 a change that is not found changes nothing", move || {
        patch("/v1/webhooks/endpoints/{their_endpoint}", rename()).send(world);
        ask("POST", "/v1/webhooks/keys/{their_key}/deactivate").send(world);
        let shelf = get("/v1/webhooks/endpoints/{endpoint}").send(world).ok();
        assert_eq!(shelf["name"], "shelf");
    }));
    facts
}
