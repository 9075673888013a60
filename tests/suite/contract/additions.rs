//! Ours beside the contract: test events, further filters, organizations that are deleted, and the
//! documents that describe the API.

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::json;

use super::tokens::session;
use super::vocabulary::{
    DELIVERIES, ENDPOINTS, EVENTS, Fact, ask, change, endpoint, fact, get, grants, id, ids,
    members_in_order, refusals, refused,
};
use super::world::{SOON, World};
use crate::support::daemon::{Answer, Tenant};

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = test_events(world);
    facts.extend(filters(world));
    facts.extend(deleted_organizations(world));
    facts.extend(documents(world));
    facts
}

fn tested(tenant: &Tenant, endpoint: &str) -> Answer {
    tenant.caller.send("POST", &format!("{ENDPOINTS}/{endpoint}/test"), &[], "")
}

fn test_events(world: &World) -> Vec<Fact<'_>> {
    let test = |endpoint: &str| ask("POST", format!("{ENDPOINTS}/{endpoint}/test"));
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("2.5 an unknown endpoint is not tested",       test("whe_missing"),                  404, "NOT_FOUND", "endpoint"),
        ("7.4 a foreign endpoint is not tested",        test("{their_endpoint}"),             404, "NOT_FOUND", "endpoint"),
        ("7.2 webhooks:read may not test an endpoint",  test("{endpoint}").by(&world.reader), 403, "FORBIDDEN", "Forbidden"),
        ("7.1 nobody may test an endpoint",             test("{endpoint}").by(&world.nobody), 401, "UNAUTHORIZED", "Unauthorized"),
    ]);
    facts.extend([
        fact("2.5 a test answers 202 with its event", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            let answer = tested(&tenant, id(&made));
            assert_eq!(answer.status, 202);
            members_in_order(&answer.text, &["created_at", "deliveries"]);
            let event = answer.ok();
            assert_eq!(
                (&event["type"], &event["trigger_type"]),
                (&json!("webhook.test"), &json!("verification_session"))
            );
        }),
        fact("2.5 a test goes to its endpoint alone, whatever it subscribes to", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({ "subscribed_event_types": [] }));
            endpoint(&tenant, json!({}));
            let event = tested(&tenant, id(&made)).ok();
            assert_eq!(ids(&event["deliveries"]).len(), 1);
            assert_eq!(event["deliveries"][0]["webhook_endpoint_id"], made["id"]);
        }),
        fact("2.5 a test arrives sealed and signed", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Accept);
            let endpoint = tenant.register(&receiver, json!({}));
            let event = tested(&tenant, &endpoint).ok();
            tenant.settle(SOON);
            let arrival = &receiver.arrivals()[0];
            assert!(arrival.verified && arrival.event_type == "webhook.test");
            assert_eq!(arrival.event_id(), Some(id(&event)));
            assert_eq!(arrival.plaintext.as_ref().unwrap()["type"], "webhook.test");
        }),
        fact("2.5 an endpoint is tested as often as one likes", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            let tests = [0; 2].map(|_| tested(&tenant, id(&made)).ok());
            assert_ne!(tests[0]["id"], tests[1]["id"]);
        }),
        fact("2.5 a disabled endpoint is not tested", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            change(&tenant, id(&made), json!({ "enabled": false }));
            refused(&tested(&tenant, id(&made)), 409, "CONFLICT", "");
            assert_eq!(tenant.caller.get(EVENTS).ok(), json!([]));
        }),
        fact("2.5 a test is listed among events and deliveries", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            let event = tested(&tenant, id(&made)).ok();
            assert_eq!(ids(&tenant.caller.get(EVENTS).ok()), [id(&event)]);
            assert_eq!(ids(&tenant.caller.get(DELIVERIES).ok()), ids(&event["deliveries"]));
        }),
    ]);
    facts
}

fn filters(world: &World) -> Vec<Fact<'_>> {
    let list = |query: &str| get(format!("{DELIVERIES}?{query}"));
    let failed = "verification.session.failed";
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("2.7 an unknown event type is no filter",           list("event_type=x"),                                      400, "BAD_REQUEST", "event_type"),
        ("2.7 event_type is no filter beside status",        list("event_type=verification.session.failed&status=failed"), 400, "BAD_REQUEST", "event_type"),
        ("2.7 event_type is no filter beside endpoint_id",   list("event_type=verification.session.failed&endpoint_id={endpoint}"), 400, "BAD_REQUEST", "event_type"),
        ("2.7 a date alone is no time of deliveries",        list("created_from=2026-05-05"),                           400, "BAD_REQUEST", "created_from"),
        ("2.7 an offset is no time of deliveries",           list("created_to=2026-05-05T11:00:00%2B00:00"),            400, "BAD_REQUEST", "created_to"),
    ]);
    #[rustfmt::skip] // a line a case
    facts.extend(grants(world, [
        ("2.7 deliveries after the last are none",           list("created_from=2100-01-01T00:00:00Z"),                 "/data", json!([])),
        ("2.7 deliveries before the first are none",         list("created_to=2000-01-01T00:00:00Z"),                   "/data", json!([])),
        ("2.7 times may stand beside the other filters",     list("created_from=2100-01-01T00:00:00Z&status=pending&endpoint_id={endpoint}"), "/data", json!([])),
    ]));
    facts.extend([
        fact("2.7 event_type lists deliveries of those events", move || {
            let tenant = world.daemon.tenant();
            endpoint(&tenant, json!({}));
            tenant.publish("vs_1", json!({}));
            let mut event = tenant.event("vs_2", json!({}));
            event["type"] = json!(failed);
            let event = tenant.platform.post("/v1/platform/events", event).ok();
            let listed = tenant.caller.get(&format!("{DELIVERIES}?event_type={failed}")).ok();
            assert_eq!(ids(&listed), ids(&event["deliveries"]));
        }),
        fact("2.7 both times include their own instants", move || {
            let tenant = world.daemon.tenant();
            endpoint(&tenant, json!({}));
            let events = ["vs_1", "vs_2", "vs_3"].map(|session| {
                std::thread::sleep(std::time::Duration::from_millis(3));
                tenant.publish(session, json!({}))
            });
            let at = events[1]["created_at"].as_str().unwrap();
            let path = format!("{DELIVERIES}?created_from={at}&created_to={at}");
            assert_eq!(ids(&tenant.caller.get(&path).ok()), ids(&events[1]["deliveries"]));
        }),
    ]);
    facts
}

fn deleted_organizations(world: &World) -> Vec<Fact<'_>> {
    let path = |tenant: &Tenant| format!("/v1/platform/organizations/{}", tenant.organization);
    let delete = move |tenant: &Tenant| tenant.platform.send("DELETE", &path(tenant), &[], "");
    let deleted = move || {
        let tenant = world.daemon.tenant();
        assert_eq!(tenant.caller.get(ENDPOINTS).status, 200);
        delete(&tenant).ok();
        tenant
    };
    vec![
        fact("1.10 deletion of an organization answers 200 with a message", move || {
            let answer = delete(&world.daemon.tenant());
            assert_eq!(answer.status, 200);
            let said = json!({ "message": "Organization deleted.", "status": "success" });
            assert_eq!(answer.ok(), said);
        }),
        fact("1.10 a deleted organization is 404", move || {
            let tenant = deleted();
            refused(&tenant.platform.get(&path(&tenant)), 404, "NOT_FOUND", "rganization");
            refused(&delete(&tenant), 404, "NOT_FOUND", "rganization");
        }),
        fact("1.10 keys of a deleted organization are 401 at once", move || {
            refused(&deleted().caller.get(ENDPOINTS), 401, "UNAUTHORIZED", "Unauthorized");
        }),
        fact("7.3 sessions of a deleted organization are 401", move || {
            let owner = session(world, &deleted(), "owner");
            refused(&owner.get(ENDPOINTS), 401, "UNAUTHORIZED", "Unauthorized");
        }),
        fact("1.10 nothing is published for a deleted organization", move || {
            let tenant = deleted();
            let event = tenant.event("vs_1", json!({}));
            let answer = tenant.platform.post("/v1/platform/events", event);
            refused(&answer, 404, "NOT_FOUND", "rganization");
        }),
        fact("1.10 an organization's key deletes no organization", move || {
            let tenant = world.daemon.tenant();
            let answer = tenant.caller.send("DELETE", &path(&tenant), &[], "");
            refused(&answer, 403, "FORBIDDEN", "Forbidden");
        }),
        fact("1.10 an organization with everything is deleted", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Answer(500));
            tenant.register(&receiver, json!({}));
            tenant.publish("vs_1", json!({}));
            assert_eq!(delete(&tenant).status, 200);
        }),
    ]
}

fn documents(world: &World) -> Vec<Fact<'_>> {
    let described = move || get("/openapi").by(&world.nobody).send(world);
    let mut facts = vec![
        fact("2.1 the openapi document needs no key and is 3.1", move || {
            let answer = described();
            assert_eq!(answer.status, 200);
            assert!(answer.header("content-type").unwrap().starts_with("application/json"));
            assert!(answer.json()["openapi"].as_str().unwrap().starts_with("3.1"));
        }),
        fact("2.1 the reference is a page and needs no key", move || {
            let answer = get("/reference").by(&world.nobody).send(world);
            assert_eq!(answer.status, 200);
            assert!(answer.header("content-type").unwrap().starts_with("text/html"));
        }),
    ];
    #[rustfmt::skip] // a line a case
    let routes = [
        ("/v1/webhooks/endpoints",                    "get post"),
        ("/v1/webhooks/endpoints/{}",                 "get patch delete"),
        ("/v1/webhooks/endpoints/{}/signing-secret/reveal", "post"),
        ("/v1/webhooks/endpoints/{}/signing-secret/rotate", "post"),
        ("/v1/webhooks/endpoints/{}/test",            "post"),
        ("/v1/webhooks/endpoints/{}/keys",            "get post"),
        ("/v1/webhooks/keys/{}/deactivate",           "post"),
        ("/v1/webhooks/keys/{}/reactivate",           "post"),
        ("/v1/webhooks/deliveries",                   "get"),
        ("/v1/webhooks/deliveries/{}/retry",          "post"),
        ("/v1/webhooks/events",                       "get"),
        ("/v1/webhooks/events/{}",                    "get"),
        ("/v1/webhooks/events/{}/replay",             "post"),
        ("/v1/webhooks/audit-log",                    "get"),
        ("/v1/auth/api-keys",                         "get post"),
        ("/v1/auth/api-keys/{}",                      "patch delete"),
    ];
    for (route, methods) in routes {
        facts.push(fact(format!("2.1 the openapi document describes {route}"), move || {
            let document = described().json();
            let paths = document["paths"].as_object().unwrap();
            let unnamed = |path: &str| {
                let part = |part: &str| {
                    if part.starts_with('{') { "{}".to_owned() } else { part.to_owned() }
                };
                path.split('/').map(part).collect::<Vec<_>>().join("/")
            };
            let found = paths.iter().find(|(path, _)| unnamed(path) == route);
            let (_, operations) = found.unwrap_or_else(|| panic!("{:?}", paths.keys()));
            for method in methods.split(' ') {
                assert!(operations.get(method).is_some(), "{method}: {operations}");
            }
        }));
    }
    facts
}
