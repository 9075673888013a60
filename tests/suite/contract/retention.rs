//! Sections 4.8, 4.9 and 12: how long payloads stay, why they are gone, and what sending them again
//! keeps.

use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use super::vocabulary::{
    DELIVERIES, Fact, change, delivery_of, endpoint, fact, id, is_instant, key, retry,
    seconds_between,
};
use super::world::{SOON, World};
use crate::support::daemon::{Tenant, wait};

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = reasons(world);
    facts.extend(windows(world));
    facts.extend(sent_again(world));
    facts
}

/// A delivery that has come to its end at `receiver`.
fn ended(world: &World, behaviour: Behaviour, hours: u32) -> (Tenant, Receiver, Value) {
    let tenant = world.hasty.tenant();
    let receiver = Receiver::start(behaviour);
    tenant.register(&receiver, json!({ "undelivered_payload_retention_hours": hours }));
    let event = tenant.publish("vs_1", json!({}));
    tenant.settle(SOON);
    let delivery = delivery_of(&tenant, &event);
    (tenant, receiver, delivery)
}

fn retained(delivery: &Value, reason: &str) {
    assert_eq!(delivery["payload_retention_reason"], reason, "{delivery}");
    assert!(is_instant(&delivery["payload_expires_at"]), "{delivery}");
    assert_eq!(delivery["payload_scrubbed_at"], Value::Null, "{delivery}");
}

fn gone(delivery: &Value, reason: &str) {
    assert_eq!(delivery["payload_retention_reason"], reason, "{delivery}");
    assert_eq!(delivery["payload_expires_at"], Value::Null, "{delivery}");
    assert!(is_instant(&delivery["payload_scrubbed_at"]), "{delivery}");
}

fn reasons(world: &World) -> Vec<Fact<'_>> {
    let keyless = || {
        let tenant = world.daemon.tenant();
        endpoint(&tenant, json!({}));
        let event = tenant.publish("vs_1", json!({}));
        delivery_of(&tenant, &event)
    };
    vec![
        fact("4.8 pending_delivery: the payload is kept until its expiry", move || {
            let path = format!("{DELIVERIES}?event_id={}", world.shelved("{event}"));
            retained(&world.tenant.caller.get(&path).ok()[0], "pending_delivery");
        }),
        fact("4.8 delivered: the payload is gone", move || {
            let (_, _, delivery) = ended(world, Behaviour::Accept, 168);
            assert_eq!(delivery["status"], "succeeded");
            gone(&delivery, "delivered");
        }),
        fact("4.5 every 2xx is a success", move || {
            for status in [200, 201, 202, 204, 299] {
                let (_, _, delivery) = ended(world, Behaviour::Answer(status), 72);
                assert_eq!(delivery["status"], "succeeded", "{status}");
                assert_eq!(delivery["last_status_code"], json!(status));
            }
        }),
        fact("4.5 every other status is a failure", move || {
            for status in [301, 304, 400, 404, 410, 500] {
                let (_, _, delivery) = ended(world, Behaviour::Answer(status), 72);
                assert_eq!(delivery["status"], "failed", "{status}");
                assert_eq!(delivery["last_status_code"], json!(status));
            }
        }),
        fact("4.8 terminal_failure_retention: the payload is kept until its expiry", move || {
            let (_, _, delivery) = ended(world, Behaviour::Answer(500), 72);
            assert_eq!(delivery["status"], "failed");
            retained(&delivery, "terminal_failure_retention");
        }),
        fact("4.8 expired: without retention the payload goes with the last failure", move || {
            let (_, _, delivery) = ended(world, Behaviour::Answer(500), 0);
            assert_eq!(delivery["status"], "failed");
            gone(&delivery, "expired");
        }),
        fact("4.8 no_active_key: there never was a payload", move || {
            let delivery = keyless();
            gone(&delivery, "no_active_key");
            assert_eq!(delivery["payload_scrubbed_at"], delivery["created_at"]);
        }),
        fact("4.2 without a key a delivery is a failure of one attempt", move || {
            let delivery = keyless();
            assert_eq!(
                (&delivery["status"], &delivery["attempt_count"]),
                (&json!("failed"), &json!(1))
            );
            assert_eq!(
                (&delivery["last_status_code"], &delivery["webhook_encryption_key_id"]),
                (&Value::Null, &Value::Null)
            );
            assert_eq!(delivery["last_attempt_at"], delivery["created_at"]);
        }),
    ]
}

fn windows(world: &World) -> Vec<Fact<'_>> {
    let mut facts = Vec::new();
    for (hours, milliseconds) in
        [(0, 99_305_000), (24, 185_705_000), (72, 358_505_000), (168, 704_105_000)]
    {
        let name =
            format!("12 with {hours} hours a payload expires {milliseconds} ms after creation");
        facts.push(fact(name, move || {
            let tenant = world.strict.tenant();
            let settings = json!({ "undelivered_payload_retention_hours": hours });
            let made = endpoint(&tenant, settings);
            key(&tenant, id(&made), "k1", &world.jwk);
            let event = tenant.publish("vs_1", json!({}));
            let expires = &event["deliveries"][0]["payload_expires_at"];
            let seconds = seconds_between(&event["created_at"], expires);
            assert_eq!((seconds * 1000.0).round(), f64::from(milliseconds), "{event}");
        }));
    }
    for hours in [24, 72, 168] {
        let name = format!("4.8 after the last failure a payload stays {hours} hours");
        facts.push(fact(name, move || {
            let (_, _, delivery) = ended(world, Behaviour::Answer(500), hours);
            let kept = seconds_between(&delivery["updated_at"], &delivery["payload_expires_at"]);
            assert!((kept - f64::from(hours) * 3600.0).abs() < 2.0, "{delivery}");
        }));
    }
    facts
}

fn sent_again(world: &World) -> Vec<Fact<'_>> {
    let header = |receiver: &Receiver, n: usize, name: &str| {
        let arrival = &receiver.arrivals()[n];
        let found = arrival.raw.headers.iter().find(|(other, _)| other == name);
        found.unwrap().1.clone()
    };
    vec![
        fact("4.9 a delivery that is sent again keeps its key and its ids", move || {
            let (tenant, _receiver, before) = ended(world, Behaviour::Answer(500), 72);
            let after = retry(&tenant, &before).ok();
            for member in
                ["id", "event_id", "webhook_endpoint_id", "webhook_encryption_key_id", "created_at"]
            {
                assert_eq!(after[member], before[member]);
            }
        }),
        fact("4.9 what is sent again is the same to the byte", move || {
            let (tenant, receiver, delivery) = ended(world, Behaviour::Answer(500), 72);
            retry(&tenant, &delivery).ok();
            tenant.settle(SOON);
            let arrivals = receiver.arrivals();
            assert_eq!(arrivals.len(), 4);
            assert!(arrivals.iter().all(|arrival| arrival.raw.body == arrivals[0].raw.body));
            assert!(arrivals.iter().all(|arrival| arrival.delivery_id == id(&delivery)));
        }),
        fact("4.9 what is sent again names the same event inside", move || {
            let (tenant, receiver, delivery) = ended(world, Behaviour::Answer(500), 72);
            receiver.behave(Behaviour::Accept);
            retry(&tenant, &delivery).ok();
            tenant.settle(SOON);
            assert_eq!(receiver.arrivals()[2].event_id(), delivery["event_id"].as_str());
        }),
        fact("4.9 what is sent again is signed anew", move || {
            let (tenant, receiver, delivery) = ended(world, Behaviour::Answer(500), 72);
            // The signature counts whole seconds.
            std::thread::sleep(Duration::from_millis(1100));
            retry(&tenant, &delivery).ok();
            tenant.settle(SOON);
            let [first, last] = [0, 3].map(|n| header(&receiver, n, "x-kayle-signature"));
            assert_ne!(first, last);
            assert!(receiver.arrivals().iter().all(|arrival| arrival.verified));
        }),
        fact("4.9 a failed delivery keeps its reason until it is attempted", move || {
            let (tenant, _receiver, before) = ended(world, Behaviour::Answer(500), 72);
            let after = retry(&tenant, &before).ok();
            assert_eq!(after["payload_retention_reason"], "terminal_failure_retention");
        }),
        fact("4.9 a delivery that is sent again may succeed", move || {
            let (tenant, receiver, before) = ended(world, Behaviour::Answer(500), 72);
            receiver.behave(Behaviour::Accept);
            retry(&tenant, &before).ok();
            tenant.settle(SOON);
            let after = &tenant.deliveries("")[0];
            assert_eq!(
                (&after["status"], &after["attempt_count"]),
                (&json!("succeeded"), &json!(1))
            );
            gone(after, "delivered");
        }),
        fact("4.9 attempts of before stay when a delivery is sent again", move || {
            let (tenant, _receiver, before) = ended(world, Behaviour::Answer(500), 72);
            retry(&tenant, &before).ok();
            tenant.settle(SOON);
            let path = format!("{DELIVERIES}/{}/attempts", id(&before));
            let attempts = tenant.caller.get(&path).ok();
            assert_eq!(attempts.as_array().unwrap().len(), 4, "{attempts}");
        }),
        fact("4.9 a delivery of a disabled endpoint may be sent again", move || {
            let (tenant, receiver, before) = ended(world, Behaviour::Answer(500), 72);
            let endpoint = before["webhook_endpoint_id"].as_str().unwrap();
            change(&tenant, endpoint, json!({ "enabled": false }));
            assert_eq!(retry(&tenant, &before).status, 200);
            receiver.behave(Behaviour::Accept);
            change(&tenant, endpoint, json!({ "enabled": true }));
            wait(SOON, "the retry", || tenant.deliveries("")[0]["status"] == "succeeded");
        }),
    ]
}
