//! Sections 4.2 and 4.10: what a change of configuration does to deliveries that are there.

use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use super::vocabulary::{
    ENDPOINTS, Fact, change, delivery_of, endpoint, fact, id, ids, key, retry,
};
use super::world::{SOON, World};
use crate::support::daemon::{Daemon, Tenant, wait};

/// A tenant with an endpoint whose deliveries fail.
struct Refusing {
    tenant: Tenant,
    receiver: Receiver,
    endpoint: String,
}

fn refusing(daemon: &Daemon) -> Refusing {
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Answer(500));
    let endpoint = tenant.register(&receiver, json!({}));
    Refusing { tenant, receiver, endpoint }
}

impl Refusing {
    /// Publishes, and waits for the first attempt.
    fn attempted(&self, session: &str) -> Value {
        let event = self.tenant.publish(session, json!({}));
        wait(SOON, "the first attempt", || delivery_of(&self.tenant, &event)["attempt_count"] == 1);
        delivery_of(&self.tenant, &event)
    }

    fn now(&self, delivery: &Value) -> Value {
        let path =
            format!("/v1/webhooks/deliveries?event_id={}", delivery["event_id"].as_str().unwrap());
        self.tenant.caller.get(&path).ok()[0].take()
    }
}

fn typed(tenant: &Tenant, session: &str, name: &str) -> Value {
    let mut event = tenant.event(session, json!({}));
    event["type"] = json!(name);
    tenant.platform.post("/v1/platform/events", event).ok()
}

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = fan_out(world);
    facts.extend(disabling(world));
    facts.extend(settings(world));
    facts.extend(keys_and_secrets(world));
    facts
}

fn fan_out(world: &World) -> Vec<Fact<'_>> {
    let failed = "verification.session.failed";
    vec![
        fact("4.2 every endpoint that subscribes has a delivery", move || {
            let tenant = world.daemon.tenant();
            (0..3).for_each(|_| drop(endpoint(&tenant, json!({}))));
            assert_eq!(ids(&tenant.publish("vs_1", json!({}))["deliveries"]).len(), 3);
        }),
        fact("4.2 an endpoint that does not subscribe has none", move || {
            let tenant = world.daemon.tenant();
            endpoint(&tenant, json!({ "subscribed_event_types": [failed] }));
            assert_eq!(tenant.publish("vs_1", json!({}))["deliveries"], json!([]));
            assert_eq!(ids(&typed(&tenant, "vs_2", failed)["deliveries"]).len(), 1);
        }),
        fact("4.2 an empty subscription has none", move || {
            let tenant = world.daemon.tenant();
            endpoint(&tenant, json!({ "subscribed_event_types": [] }));
            assert_eq!(tenant.publish("vs_1", json!({}))["deliveries"], json!([]));
        }),
        fact("4.2 a disabled endpoint has none", move || {
            let tenant = world.daemon.tenant();
            endpoint(&tenant, json!({ "enabled": false }));
            assert_eq!(tenant.publish("vs_1", json!({}))["deliveries"], json!([]));
        }),
        fact("4.2 a targeted event goes to its targets alone", move || {
            let tenant = world.daemon.tenant();
            let made = [0; 3].map(|_| endpoint(&tenant, json!({})));
            let mut event = tenant.event("vs_1", json!({}));
            event["webhook_endpoint_ids"] = json!([made[1]["id"]]);
            let event = tenant.platform.post("/v1/platform/events", event).ok();
            assert_eq!(ids(&event["deliveries"]).len(), 1);
            assert_eq!(event["deliveries"][0]["webhook_endpoint_id"], made[1]["id"]);
        }),
    ]
}

fn disabling(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("4.10 a disabled endpoint gets no new deliveries", move || {
            let one = refusing(&world.daemon);
            change(&one.tenant, &one.endpoint, json!({ "enabled": false }));
            assert_eq!(one.tenant.publish("vs_1", json!({}))["deliveries"], json!([]));
        }),
        fact("4.10 deliveries of a disabled endpoint spend no attempt", move || {
            let one = refusing(&world.daemon);
            let before = one.attempted("vs_1");
            change(&one.tenant, &one.endpoint, json!({ "enabled": false }));
            retry(&one.tenant, &before).ok();
            std::thread::sleep(Duration::from_millis(500));
            let after = one.now(&before);
            assert_eq!((&after["status"], &after["attempt_count"]), (&json!("pending"), &json!(0)));
            assert_eq!(one.receiver.arrived(), 1);
        }),
        fact("4.10 deliveries go on when the endpoint is enabled again", move || {
            let one = refusing(&world.daemon);
            let before = one.attempted("vs_1");
            change(&one.tenant, &one.endpoint, json!({ "enabled": false }));
            retry(&one.tenant, &before).ok();
            one.receiver.behave(Behaviour::Accept);
            change(&one.tenant, &one.endpoint, json!({ "enabled": true }));
            wait(SOON, "the delivery", || one.now(&before)["status"] == "succeeded");
        }),
        fact("4.10 events that a disabled endpoint missed stay missed", move || {
            let one = refusing(&world.daemon);
            change(&one.tenant, &one.endpoint, json!({ "enabled": false }));
            one.tenant.publish("vs_1", json!({}));
            change(&one.tenant, &one.endpoint, json!({ "enabled": true }));
            one.attempted("vs_2");
            assert_eq!(one.tenant.deliveries("").len(), 1);
        }),
    ]
}

fn settings(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("4.10 a changed url is called from the next attempt on", move || {
            let one = refusing(&world.daemon);
            let before = one.attempted("vs_1");
            let other = Receiver::start(Behaviour::Answer(418));
            change(&one.tenant, &one.endpoint, json!({ "url": other.url }));
            retry(&one.tenant, &before).ok();
            wait(SOON, "the attempt", || one.now(&before)["last_status_code"] == 418);
            assert_eq!((one.receiver.arrived(), other.arrived()), (1, 1));
        }),
        fact("4.10 a changed subscription holds for later events", move || {
            let one = refusing(&world.daemon);
            let before = one.attempted("vs_1");
            change(&one.tenant, &one.endpoint, json!({ "subscribed_event_types": [] }));
            assert_eq!(one.tenant.publish("vs_2", json!({}))["deliveries"], json!([]));
            one.receiver.behave(Behaviour::Accept);
            retry(&one.tenant, &before).ok();
            wait(SOON, "the delivery", || one.now(&before)["status"] == "succeeded");
        }),
        fact("4.10 a changed retention leaves the expiry of what is there", move || {
            let one = refusing(&world.daemon);
            let before = one.attempted("vs_1");
            let settings = json!({ "undelivered_payload_retention_hours": 0 });
            change(&one.tenant, &one.endpoint, settings);
            assert_eq!(one.now(&before)["payload_expires_at"], before["payload_expires_at"]);
        }),
        fact("4.10 a changed retention holds at the last failure", move || {
            let one = refusing(&world.hasty);
            let event = one.tenant.publish("vs_1", json!({}));
            one.tenant.settle(SOON);
            let delivery = delivery_of(&one.tenant, &event);
            let settings = json!({ "undelivered_payload_retention_hours": 0 });
            change(&one.tenant, &one.endpoint, settings);
            retry(&one.tenant, &delivery).ok();
            one.tenant.settle(SOON);
            assert_eq!(one.now(&delivery)["payload_retention_reason"], "expired");
        }),
    ]
}

fn keys_and_secrets(world: &World) -> Vec<Fact<'_>> {
    let keys =
        |one: &Refusing| one.tenant.caller.get(&format!("{ENDPOINTS}/{}/keys", one.endpoint)).ok();
    let deactivate = move |one: &Refusing| {
        let path = format!("/v1/webhooks/keys/{}/deactivate", id(&keys(one)[0]));
        one.tenant.caller.send("POST", &path, &[], "").ok();
    };
    vec![
        fact("4.10 after a rotation older deliveries are signed with the new secret", move || {
            let one = refusing(&world.daemon);
            let before = one.attempted("vs_1");
            let path = format!("{ENDPOINTS}/{}/signing-secret/rotate", one.endpoint);
            let rotated = one.tenant.caller.send("POST", &path, &[], "").ok();
            one.receiver.trust(rotated["signing_secret"].as_str().unwrap());
            one.receiver.behave(Behaviour::Accept);
            retry(&one.tenant, &before).ok();
            wait(SOON, "the delivery", || one.now(&before)["status"] == "succeeded");
            assert!(one.receiver.arrivals()[1].verified);
        }),
        fact("4.10 the old secret is no good after a rotation", move || {
            let one = refusing(&world.daemon);
            let before = one.attempted("vs_1");
            let path = format!("{ENDPOINTS}/{}/signing-secret/rotate", one.endpoint);
            one.tenant.caller.send("POST", &path, &[], "").ok();
            retry(&one.tenant, &before).ok();
            wait(SOON, "the attempt", || one.receiver.arrived() == 2);
            assert!(!one.receiver.arrivals()[1].verified);
        }),
        fact("4.10 what is sealed goes out under a key that was deactivated", move || {
            let one = refusing(&world.daemon);
            let before = one.attempted("vs_1");
            deactivate(&one);
            one.receiver.behave(Behaviour::Accept);
            retry(&one.tenant, &before).ok();
            wait(SOON, "the delivery", || one.now(&before)["status"] == "succeeded");
            assert!(one.receiver.arrivals()[1].plaintext.is_some());
        }),
        fact("4.10 without an active key new events are failures", move || {
            let one = refusing(&world.daemon);
            deactivate(&one);
            let event = one.tenant.publish("vs_1", json!({}));
            assert_eq!(event["deliveries"][0]["payload_retention_reason"], "no_active_key");
        }),
        fact("6.2 a new key seals new events, an old one what it sealed", move || {
            let one = refusing(&world.daemon);
            let before = one.attempted("vs_1");
            let new = key(&one.tenant, &one.endpoint, "k2", &world.jwk);
            let later = one.attempted("vs_2");
            assert_eq!(later["webhook_encryption_key_id"], new["id"]);
            assert_eq!(
                one.now(&before)["webhook_encryption_key_id"],
                before["webhook_encryption_key_id"]
            );
            assert_ne!(before["webhook_encryption_key_id"], new["id"]);
        }),
    ]
}
