//! Sections 2.5 and 4.10: endpoints that are deleted, and what stays of them.

use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use super::vocabulary::{
    DELIVERIES, ENDPOINTS, EVENTS, Fact, TARGET, ask, delivery_of, endpoint, fact, id, ids,
    is_instant, key_body, refusals, refused, retry,
};
use super::world::{SOON, World};
use crate::support::daemon::{Answer, Tenant, wait};

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = answers(world);
    facts.extend(gone(world));
    facts.extend(kept(world));
    facts
}

fn delete(tenant: &Tenant, endpoint: &str) -> Answer {
    tenant.caller.send("DELETE", &format!("{ENDPOINTS}/{endpoint}"), &[], "")
}

/// A tenant whose one endpoint was deleted.
fn deleted(world: &World) -> (Tenant, String) {
    let tenant = world.daemon.tenant();
    let made = id(&endpoint(&tenant, json!({}))).to_owned();
    delete(&tenant, &made).ok();
    (tenant, made)
}

fn answers(world: &World) -> Vec<Fact<'_>> {
    let ask = |endpoint: &str| ask("DELETE", format!("{ENDPOINTS}/{endpoint}"));
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("2.5 an unknown endpoint is not deleted",         ask("whe_missing"),                     404, "NOT_FOUND", "Webhook endpoint not found."),
        ("7.4 a foreign endpoint is not deleted",          ask("{their_endpoint}"),                404, "NOT_FOUND", "endpoint"),
        ("2.5 the malformed id of a deletion is refused",  ask("a.b"),                             400, "BAD_REQUEST", "endpoint_id"),
        ("7.2 webhooks:read may not delete an endpoint",   ask("{endpoint}").by(&world.reader),    403, "FORBIDDEN", "Forbidden"),
        ("7.2 other scopes may not delete an endpoint",    ask("{endpoint}").by(&world.elsewhere), 403, "FORBIDDEN", "Forbidden"),
        ("7.1 nobody may delete an endpoint",              ask("{endpoint}").by(&world.nobody),    401, "UNAUTHORIZED", "Unauthorized"),
    ]);
    facts.extend([
        fact("2.5 deletion answers 200 with a message", move || {
            let tenant = world.daemon.tenant();
            let answer = delete(&tenant, id(&endpoint(&tenant, json!({}))));
            assert_eq!(answer.status, 200);
            let said = json!({ "message": "Webhook endpoint deleted.", "status": "success" });
            assert_eq!(answer.ok(), said);
        }),
        fact("2.5 an endpoint is deleted once", move || {
            let (tenant, endpoint) = deleted(world);
            refused(&delete(&tenant, &endpoint), 404, "NOT_FOUND", "endpoint");
        }),
        fact("2.1 delete stands in allow", move || {
            let answer = super::vocabulary::ask("PUT", "/v1/webhooks/endpoints/{endpoint}");
            let answer = answer.send(world);
            assert!(answer.header("allow").unwrap().split(", ").any(|name| name == "DELETE"));
        }),
    ]);
    facts
}

fn gone(world: &World) -> Vec<Fact<'_>> {
    type Request = fn(&Tenant, &str, &Value) -> Answer;
    #[rustfmt::skip] // a line a case
    let rows: [(&str, Request); 5] = [
        ("found",       |tenant, path, _|   tenant.caller.get(path)),
        ("changed",     |tenant, path, _|   tenant.caller.patch(path, json!({ "name": "n" }))),
        ("revealed",    |tenant, path, _|   tenant.caller.send("POST", &format!("{path}/signing-secret/reveal"), &[], "")),
        ("rotated",     |tenant, path, _|   tenant.caller.send("POST", &format!("{path}/signing-secret/rotate"), &[], "")),
        ("given a key", |tenant, path, jwk| tenant.caller.post(&format!("{path}/keys"), key_body("k", jwk))),
    ];
    let mut facts = Vec::new();
    for (verb, request) in rows {
        facts.push(fact(format!("2.5 a deleted endpoint is not {verb}"), move || {
            let (tenant, endpoint) = deleted(world);
            let answer = request(&tenant, &format!("{ENDPOINTS}/{endpoint}"), &world.jwk);
            refused(&answer, 404, "NOT_FOUND", "endpoint");
        }));
    }
    facts.extend([
        fact("2.5 a deleted endpoint is not listed", move || {
            let tenant = world.daemon.tenant();
            let made = [0; 3].map(|_| id(&endpoint(&tenant, json!({}))).to_owned());
            delete(&tenant, &made[1]).ok();
            let mut listed = ids(&tenant.caller.get(ENDPOINTS).ok());
            listed.sort_unstable();
            let mut left = [made[0].clone(), made[2].clone()];
            left.sort_unstable();
            assert_eq!(listed, left);
        }),
        fact("2.6 a deleted endpoint has no keys", move || {
            let tenant = world.daemon.tenant();
            let made = id(&endpoint(&tenant, json!({}))).to_owned();
            super::vocabulary::key(&tenant, &made, "k1", &world.jwk);
            delete(&tenant, &made).ok();
            let answer = tenant.caller.get(&format!("{ENDPOINTS}/{made}/keys"));
            assert_eq!((answer.status, answer.ok()), (200, json!([])));
        }),
        fact("4.2 a deleted endpoint gets no deliveries", move || {
            let (tenant, _) = deleted(world);
            assert_eq!(tenant.publish("vs_1", json!({}))["deliveries"], json!([]));
        }),
        fact("2.10 a deleted endpoint is no target", move || {
            let (tenant, endpoint) = deleted(world);
            let mut event = tenant.event("vs_1", json!({}));
            event["webhook_endpoint_ids"] = json!([endpoint]);
            let answer = tenant.platform.post("/v1/platform/events", event);
            refused(&answer, 400, "WEBHOOK_ENDPOINT_UNAVAILABLE", "webhook_endpoint_ids");
        }),
        fact("2.3 a deleted endpoint is still a cursor", move || {
            let tenant = world.daemon.tenant();
            let made = [0; 3].map(|_| {
                std::thread::sleep(Duration::from_millis(3));
                id(&endpoint(&tenant, json!({}))).to_owned()
            });
            delete(&tenant, &made[1]).ok();
            let path = format!("{ENDPOINTS}?starting_after={}", made[1]);
            assert_eq!(ids(&tenant.caller.get(&path).ok()), [made[0].clone()]);
        }),
        fact("2.3 a foreign deleted endpoint is no cursor", move || {
            let (_, endpoint) = deleted(world);
            let tenant = world.daemon.tenant();
            let answer = tenant.caller.get(&format!("{ENDPOINTS}?starting_after={endpoint}"));
            refused(&answer, 400, "INVALID_REQUEST", "starting_after");
        }),
        fact("11 a deleted endpoint makes room for another", move || {
            let tenant = world.daemon.tenant();
            let made: Vec<_> = (0..50).map(|_| endpoint(&tenant, json!({}))).collect();
            assert_eq!(tenant.caller.post(ENDPOINTS, json!({ "url": TARGET })).status, 409);
            delete(&tenant, id(&made[0])).ok();
            endpoint(&tenant, json!({}));
        }),
        fact("2.5 other endpoints stay as they were", move || {
            let tenant = world.daemon.tenant();
            let made = [0; 2].map(|_| endpoint(&tenant, json!({})));
            delete(&tenant, id(&made[0])).ok();
            let path = format!("{ENDPOINTS}/{}", id(&made[1]));
            assert_eq!(tenant.caller.get(&path).ok(), made[1]);
        }),
    ]);
    facts
}

/// A tenant whose endpoint was deleted while a delivery waited; the receiver and the event.
fn left_waiting(world: &World) -> (Tenant, Receiver, Value) {
    let tenant = world.daemon.tenant();
    let receiver = Receiver::start(Behaviour::Answer(500));
    let endpoint = tenant.register(&receiver, json!({}));
    let event = tenant.publish("vs_1", json!({}));
    wait(SOON, "the first attempt", || delivery_of(&tenant, &event)["attempt_count"] == 1);
    delete(&tenant, &endpoint).ok();
    (tenant, receiver, event)
}

fn kept(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("4.10 a pending delivery of a deleted endpoint has failed", move || {
            let (tenant, _receiver, event) = left_waiting(world);
            let delivery = delivery_of(&tenant, &event);
            assert_eq!(
                (&delivery["status"], &delivery["next_attempt_at"]),
                (&json!("failed"), &Value::Null)
            );
            assert_eq!(delivery["failure_reason"], "endpoint_deleted");
        }),
        fact("4.10 the payload of a deleted endpoint's delivery is gone", move || {
            let (tenant, _receiver, event) = left_waiting(world);
            let delivery = delivery_of(&tenant, &event);
            assert_eq!(delivery["payload_retention_reason"], "expired");
            assert_eq!(delivery["payload_expires_at"], Value::Null);
            assert!(is_instant(&delivery["payload_scrubbed_at"]), "{delivery}");
        }),
        fact("4.10 a delivery of a deleted endpoint is not sent again", move || {
            let (tenant, receiver, event) = left_waiting(world);
            let answer = retry(&tenant, &delivery_of(&tenant, &event));
            refused(&answer, 409, "WEBHOOK_PAYLOAD_EXPIRED", "payload");
            let path = format!("{EVENTS}/{}/replay", id(&event));
            let answer = tenant.caller.send("POST", &path, &[], "");
            refused(&answer, 409, "WEBHOOK_PAYLOAD_EXPIRED", "payload");
            assert_eq!(receiver.arrived(), 1);
        }),
        fact("4.10 deliveries of a deleted endpoint stay readable", move || {
            let (tenant, _receiver, event) = left_waiting(world);
            let delivery = delivery_of(&tenant, &event);
            let path = format!("{DELIVERIES}/{}", id(&delivery));
            assert_eq!(tenant.caller.get(&path).ok(), delivery);
            let endpoint = delivery["webhook_endpoint_id"].as_str().unwrap();
            let listed = tenant.caller.get(&format!("{DELIVERIES}?endpoint_id={endpoint}")).ok();
            assert_eq!(listed, json!([delivery]));
        }),
        fact("1.10 events of a deleted endpoint stay with their deliveries", move || {
            let (tenant, _receiver, event) = left_waiting(world);
            let found = tenant.caller.get(&format!("{EVENTS}/{}", id(&event))).ok();
            assert_eq!(ids(&found["deliveries"]), ids(&event["deliveries"]));
        }),
        fact("4.10 a delivery that had succeeded stays so", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Accept);
            let endpoint = tenant.register(&receiver, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            tenant.settle(SOON);
            let before = delivery_of(&tenant, &event);
            delete(&tenant, &endpoint).ok();
            assert_eq!(delivery_of(&tenant, &event), before);
        }),
        fact("4.10 an attempt under way when its endpoint is deleted comes to an end", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Hang);
            let endpoint = tenant.register(&receiver, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            wait(SOON, "the attempt", || delivery_of(&tenant, &event)["status"] == "delivering");
            delete(&tenant, &endpoint).ok();
            wait(SOON, "its end", || delivery_of(&tenant, &event)["status"] == "failed");
            assert_eq!(delivery_of(&tenant, &event)["payload_expires_at"], Value::Null);
            assert_eq!(receiver.arrived(), 1);
        }),
    ]
}
