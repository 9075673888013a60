//! Sections 1.5 and 2.7: deliveries, their filters, and sending one again.

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use super::vocabulary::{
    DELIVERIES, Fact, ask, delivery_of, endpoint, fact, get, grants, id, ids, is_instant,
    is_minted, members_in_order, refusals, refused, retry, seconds_between,
};
use super::world::{SOON, World};
use crate::support::daemon::{Tenant, wait};

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = shown(world);
    facts.extend(filters(world));
    facts.extend(retries(world));
    facts.extend(retry_refusals(world));
    facts
}

fn listed(tenant: &Tenant, query: &str) -> Vec<String> {
    ids(&tenant.caller.get(&format!("{DELIVERIES}?limit=100{query}")).ok())
}

fn shown(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("1.5 a delivery's members stand in the order of the alphabet", move || {
            let order = "attempt_count created_at event_id id last_attempt_at last_status_code \
                         next_attempt_at payload_expires_at payload_retention_reason \
                         payload_scrubbed_at status updated_at webhook_encryption_key_id \
                         webhook_endpoint_id";
            let answer = get(DELIVERIES).send(world);
            members_in_order(&answer.text, &order.split_whitespace().collect::<Vec<_>>());
        }),
        fact("1.5 no answer carries a payload", move || {
            let listed = get(DELIVERIES).send(world);
            assert!(listed.json()["data"][0].get("payload").is_none(), "{listed:?}");
        }),
        fact("1.1 a delivery's id is whd_ and 64 symbols", move || {
            let listed = get(DELIVERIES).send(world).ok();
            assert!(is_minted(&listed[0]["id"], "whd_", 64), "{listed}");
        }),
        fact("1.5 a delivery names its event, endpoint and key", move || {
            let listed = get(DELIVERIES).send(world).ok();
            for (member, thing) in [
                ("event_id", "{event}"),
                ("webhook_endpoint_id", "{endpoint}"),
                ("webhook_encryption_key_id", "{key}"),
            ] {
                assert_eq!(listed[0][member], json!(world.shelved(thing)));
            }
        }),
        fact("1.5 a failed attempt shows when it was and what was answered", move || {
            let delivery = &get(DELIVERIES).send(world).ok()[0];
            assert_eq!(
                (&delivery["attempt_count"], &delivery["last_status_code"]),
                (&json!(1), &json!(500))
            );
            assert!(is_instant(&delivery["last_attempt_at"]), "{delivery}");
        }),
        fact("4.1 a delivery between attempts is pending", move || {
            assert_eq!(get(DELIVERIES).send(world).ok()[0]["status"], "pending");
        }),
        fact("1.5 a pending delivery shows when it is due", move || {
            let delivery = &get(DELIVERIES).send(world).ok()[0];
            let pause = seconds_between(&delivery["last_attempt_at"], &delivery["next_attempt_at"]);
            assert!((3600.0..3660.0).contains(&pause), "{delivery}");
        }),
        fact("1.5 a delivery that ended is due no more", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Accept);
            tenant.register(&receiver, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            tenant.settle(SOON);
            assert_eq!(delivery_of(&tenant, &event)["next_attempt_at"], Value::Null);
        }),
        fact("1.5 an attempt without an answer has no status code", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Accept);
            tenant.register(&receiver, json!({}));
            drop(receiver);
            let event = tenant.publish("vs_1", json!({}));
            wait(SOON, "the attempt", || delivery_of(&tenant, &event)["attempt_count"] == 1);
            let delivery = delivery_of(&tenant, &event);
            assert_eq!(
                (&delivery["status"], &delivery["last_status_code"]),
                (&json!("pending"), &Value::Null)
            );
        }),
    ]
}

fn filters(world: &World) -> Vec<Fact<'_>> {
    let list = |query: &str| get(format!("{DELIVERIES}?{query}"));
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("2.7 an unknown status is no filter",          list("status=lost"),              400, "BAD_REQUEST", "status"),
        ("2.7 an empty status is no filter",            list("status="),                  400, "BAD_REQUEST", "status"),
        ("2.7 a status in capitals is no filter",       list("status=PENDING"),           400, "BAD_REQUEST", "status"),
        ("2.7 two statuses are no filter",              list("status=failed&status=pending"), 400, "BAD_REQUEST", "status"),
        ("2.7 a malformed endpoint id is no filter",    list("endpoint_id=a.b"),          400, "BAD_REQUEST", "endpoint_id"),
        ("2.7 a malformed event id is no filter",       list("event_id="),                400, "BAD_REQUEST", "event_id"),
    ]);
    let none = || json!([]);
    #[rustfmt::skip] // a line a case
    facts.extend(grants(world, [
        ("2.7 an unknown endpoint filters everything",  list("endpoint_id=whe_missing"),  "/data", none()),
        ("2.7 an unknown event filters everything",     list("event_id=evt_missing"),     "/data", none()),
        ("2.7 an id of another kind filters everything", list("endpoint_id={event}"),     "/data", none()),
        ("2.7 filters are joined by and",               list("status=failed&event_id={event}"), "/data", none()),
        ("2.7 three filters may agree",                 list("status=pending&endpoint_id={endpoint}&event_id={event}"), "/pagination/has_more", json!(false)),
    ]));
    for status in ["pending", "delivering", "succeeded", "failed"] {
        facts.push(fact(format!("2.7 status={status} lists the {status} ones"), move || {
            let tenant = world.daemon.tenant();
            let hanging = Receiver::start(Behaviour::Hang);
            let refusing = Receiver::start(Behaviour::Answer(500));
            let healthy = Receiver::start(Behaviour::Accept);
            let pending = tenant.register(&refusing, json!({}));
            let delivering = tenant.register(&hanging, json!({}));
            let succeeded = tenant.register(&healthy, json!({}));
            let failed = id(&endpoint(&tenant, json!({}))).to_owned();
            tenant.publish("vs_1", json!({}));
            let by_status = |status: &str| {
                let path = format!("{DELIVERIES}?status={status}");
                tenant.caller.get(&path).ok().as_array().unwrap().clone()
            };
            wait(SOON, "the attempts", || {
                by_status("pending").iter().any(|found| found["attempt_count"] == 1)
                    && ["delivering", "succeeded", "failed"].iter().all(|s| by_status(s).len() == 1)
            });
            let expected = match status {
                "pending" => pending,
                "delivering" => delivering,
                "succeeded" => succeeded,
                _ => failed,
            };
            let found = by_status(status);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0]["webhook_endpoint_id"], json!(expected));
        }));
    }
    facts.extend([
        fact("2.7 endpoint_id lists those of the endpoint", move || {
            let tenant = world.daemon.tenant();
            let made = [0; 2].map(|_| endpoint(&tenant, json!({})));
            tenant.publish("vs_1", json!({}));
            assert_eq!(listed(&tenant, "").len(), 2);
            for made in &made {
                let path = format!("{DELIVERIES}?endpoint_id={}", id(made));
                let found = tenant.caller.get(&path).ok();
                assert_eq!(found.as_array().unwrap().len(), 1);
                assert_eq!(found[0]["webhook_endpoint_id"], made["id"]);
            }
        }),
        fact("2.7 event_id lists those of the event", move || {
            let tenant = world.daemon.tenant();
            endpoint(&tenant, json!({}));
            let events = ["vs_1", "vs_2"].map(|session| tenant.publish(session, json!({})));
            for event in &events {
                let found = listed(&tenant, &format!("&event_id={}", id(event)));
                assert_eq!(found, [id(&event["deliveries"][0])]);
            }
        }),
    ]);
    facts
}

/// A delivery that failed once and waits, and its receiver.
fn waiting(world: &World) -> (Tenant, Receiver, Value, Value) {
    let tenant = world.daemon.tenant();
    let receiver = Receiver::start(Behaviour::Answer(500));
    tenant.register(&receiver, json!({}));
    let event = tenant.publish("vs_1", json!({}));
    wait(SOON, "the first attempt", || delivery_of(&tenant, &event)["attempt_count"] == 1);
    let delivery = delivery_of(&tenant, &event);
    (tenant, receiver, event, delivery)
}

fn retries(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("2.7 retry answers 200 with the delivery made new", move || {
            let (tenant, _receiver, _, before) = waiting(world);
            let answer = retry(&tenant, &before);
            assert_eq!(answer.status, 200);
            let after = answer.ok();
            assert_eq!((&after["id"], &after["status"]), (&before["id"], &json!("pending")));
            assert_eq!(after["attempt_count"], 0);
            assert_eq!(
                (&after["last_attempt_at"], &after["last_status_code"]),
                (&Value::Null, &Value::Null)
            );
        }),
        fact("2.7 retry of a pending delivery attempts it now", move || {
            let (tenant, receiver, event, delivery) = waiting(world);
            receiver.behave(Behaviour::Accept);
            retry(&tenant, &delivery).ok();
            wait(SOON, "the retry", || delivery_of(&tenant, &event)["status"] == "succeeded");
            assert_eq!(receiver.arrived(), 2);
        }),
        fact("2.7 retry of a failed delivery begins its schedule again", move || {
            let tenant = world.hasty.tenant();
            let receiver = Receiver::start(Behaviour::Answer(500));
            tenant.register(&receiver, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            tenant.settle(SOON);
            retry(&tenant, &delivery_of(&tenant, &event)).ok();
            tenant.settle(SOON);
            let after = delivery_of(&tenant, &event);
            assert_eq!((&after["status"], &after["attempt_count"]), (&json!("failed"), &json!(2)));
            assert_eq!(receiver.arrived(), 4);
        }),
        fact("2.7 retry leaves the retention reason", move || {
            let (tenant, _receiver, _, before) = waiting(world);
            let after = retry(&tenant, &before).ok();
            assert_eq!(after["payload_retention_reason"], before["payload_retention_reason"]);
        }),
        fact("2.7 retry never shortens the time of the payload", move || {
            let (tenant, _receiver, _, before) = waiting(world);
            let after = retry(&tenant, &before).ok();
            let later =
                seconds_between(&before["payload_expires_at"], &after["payload_expires_at"]);
            assert!(later >= 0.0, "{before} {after}");
        }),
    ]
}

fn retry_refusals(world: &World) -> Vec<Fact<'_>> {
    let again = |id: &str| ask("POST", format!("{DELIVERIES}/{id}/retry"));
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("2.7 an unknown delivery is not sent again",    again("whd_missing"), 404, "NOT_FOUND", "delivery"),
        ("2.7 a delivery is not found by its event's id", again("{event}"),    404, "NOT_FOUND", "delivery"),
        ("2.7 a malformed delivery id is refused",       again("a.b"),         400, "BAD_REQUEST", "delivery_id"),
    ]);
    facts.extend([
        fact("2.7 a delivery under way is not sent again", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Hang);
            tenant.register(&receiver, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            wait(SOON, "the attempt", || delivery_of(&tenant, &event)["status"] == "delivering");
            let answer = retry(&tenant, &delivery_of(&tenant, &event));
            refused(&answer, 409, "CONFLICT", "Webhook delivery cannot be retried.");
        }),
        fact("2.7 a delivery that succeeded is not sent again", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Accept);
            tenant.register(&receiver, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            tenant.settle(SOON);
            let answer = retry(&tenant, &delivery_of(&tenant, &event));
            refused(
                &answer,
                409,
                "WEBHOOK_PAYLOAD_EXPIRED",
                "Webhook payload is no longer retained.",
            );
        }),
        fact("2.7 a delivery that never had a key is not sent again", move || {
            let tenant = world.daemon.tenant();
            endpoint(&tenant, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            let answer = retry(&tenant, &delivery_of(&tenant, &event));
            refused(&answer, 409, "WEBHOOK_PAYLOAD_EXPIRED", "payload");
        }),
        fact("2.7 a delivery whose payload was not kept is not sent again", move || {
            let tenant = world.hasty.tenant();
            let receiver = Receiver::start(Behaviour::Answer(500));
            tenant.register(&receiver, json!({ "undelivered_payload_retention_hours": 0 }));
            let event = tenant.publish("vs_1", json!({}));
            tenant.settle(SOON);
            let answer = retry(&tenant, &delivery_of(&tenant, &event));
            refused(&answer, 409, "WEBHOOK_PAYLOAD_EXPIRED", "payload");
        }),
        fact("2.7 a refused retry changes nothing", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Accept);
            tenant.register(&receiver, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            tenant.settle(SOON);
            let before = delivery_of(&tenant, &event);
            assert_eq!(retry(&tenant, &before).status, 409);
            assert_eq!((delivery_of(&tenant, &event), receiver.arrived()), (before, 1));
        }),
    ]);
    facts
}
