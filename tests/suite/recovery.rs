//! What an integrator does by hand: retry, replay, rotate, reveal, deactivate, reactivate.

use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use crate::support::daemon::{Answer, Caller, Home, Tenant, wait};

const SOON: Duration = Duration::from_secs(20);

fn post(caller: &Caller, path: &str) -> Answer {
    caller.send("POST", path, &[], "")
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

fn only_delivery(tenant: &Tenant) -> Value {
    let mut deliveries = tenant.deliveries("");
    assert_eq!(deliveries.len(), 1);
    deliveries.remove(0)
}

#[test]
fn a_failed_delivery_is_retried_on_a_fresh_schedule() {
    let home = Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "10ms")]);
    let daemon = home.start();
    let (tenant, other) = (daemon.tenant(), daemon.tenant());
    let receiver = Receiver::start(Behaviour::Answer(500));
    tenant.register(&receiver, json!({}));
    let event = tenant.publish("vs_1", json!({ "n": 1 }));
    tenant.settle(SOON);
    let delivery = only_delivery(&tenant);
    let path = format!("/v1/webhooks/deliveries/{}/retry", delivery["id"].as_str().unwrap());
    assert_eq!(refused(&post(&other.caller, &path)), (404, "NOT_FOUND".into()));
    let reader = daemon.key(&tenant.organization, &["webhooks:read"]);
    assert_eq!(refused(&post(&reader, &path)), (403, "FORBIDDEN".into()));
    receiver.behave(Behaviour::Accept);
    let retried = post(&tenant.caller, &path);
    assert_eq!(retried.status, 200);
    let retried = retried.ok();
    assert_eq!((&retried["status"], &retried["attempt_count"]), (&json!("pending"), &json!(0)));
    assert_eq!(
        (&retried["last_attempt_at"], &retried["failure_reason"]),
        (&Value::Null, &Value::Null)
    );
    tenant.settle(SOON);
    let delivered = only_delivery(&tenant);
    assert_eq!(
        (&delivered["status"], &delivered["attempt_count"]),
        (&json!("succeeded"), &json!(1))
    );
    let arrivals = receiver.arrivals();
    assert_eq!(arrivals.len(), 3);
    assert!(arrivals.iter().all(|arrival| arrival.raw.body == arrivals[0].raw.body), "sealed once");
    assert_eq!(arrivals[2].event_id(), event["id"].as_str());
    assert_eq!(refused(&post(&tenant.caller, &path)), (409, "WEBHOOK_PAYLOAD_EXPIRED".into()));
}

#[test]
fn retry_of_a_pending_delivery_means_now_and_of_a_flying_one_is_refused() {
    let home = Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "1h,1h")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::FailFirst(1));
    tenant.register(&receiver, json!({}));
    tenant.publish("vs_1", json!({}));
    wait(SOON, "the first attempt", || only_delivery(&tenant)["attempt_count"] == 1);
    let path =
        format!("/v1/webhooks/deliveries/{}/retry", only_delivery(&tenant)["id"].as_str().unwrap());
    assert_eq!(post(&tenant.caller, &path).status, 200);
    tenant.settle(SOON);
    assert_eq!(receiver.arrived(), 2, "one schedule, never two");
    receiver.behave(Behaviour::Hang);
    let flying = tenant.publish("vs_2", json!({}));
    wait(SOON, "the attempt", || receiver.arrived() == 3);
    let id = flying["deliveries"][0]["id"].as_str().unwrap();
    let path = format!("/v1/webhooks/deliveries/{id}/retry");
    assert_eq!(refused(&post(&tenant.caller, &path)), (409, "CONFLICT".into()));
    let path = format!("/v1/webhooks/events/{}/replay", flying["id"].as_str().unwrap());
    assert_eq!(refused(&post(&tenant.caller, &path)), (409, "CONFLICT".into()));
}

#[test]
fn a_replay_sends_what_can_be_sent_and_says_when_nothing_can() {
    let home = Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "none")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let (broken, healthy) =
        (Receiver::start(Behaviour::Answer(500)), Receiver::start(Behaviour::Accept));
    tenant.register(&broken, json!({}));
    tenant.register(&healthy, json!({}));
    let event = tenant.publish("vs_1", json!({}));
    tenant.settle(SOON);
    let id = event["id"].as_str().unwrap();
    broken.behave(Behaviour::Accept);
    let replayed = post(&tenant.caller, &format!("/v1/webhooks/events/{id}/replay"));
    assert_eq!(replayed.status, 202, "{replayed:?}");
    let statuses: Vec<_> = replayed.ok()["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["status"].clone())
        .collect();
    assert!(statuses.contains(&json!("succeeded")), "{statuses:?}");
    tenant.settle(SOON);
    assert_eq!((broken.arrived(), healthy.arrived()), (2, 1));
    for path in ["/v1/webhooks/events", "/v1/events"] {
        let again = post(&tenant.caller, &format!("{path}/{id}/replay"));
        assert_eq!(refused(&again), (409, "WEBHOOK_PAYLOAD_EXPIRED".into()));
    }
    let unknown = post(&tenant.caller, "/v1/events/evt_unknown/replay");
    assert_eq!(refused(&unknown), (404, "NOT_FOUND".into()));
    let mut unwanted = tenant.event("va_1", json!({}));
    unwanted["type"] = json!("verification.attempt.failed");
    unwanted["trigger_type"] = json!("verification_attempt");
    unwanted["verification_session_id"] = json!("vs_9");
    let unwanted = tenant.platform.post("/v1/platform/events", unwanted).ok();
    let path = format!("/v1/webhooks/events/{}/replay", unwanted["id"].as_str().unwrap());
    assert_eq!(refused(&post(&tenant.caller, &path)), (409, "CONFLICT".into()));
}

#[test]
fn a_rotated_secret_signs_from_the_next_attempt_on() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let (tenant, other) = (daemon.tenant(), daemon.tenant());
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = tenant.register(&receiver, json!({}));
    let path = format!("/v1/webhooks/endpoints/{endpoint}/signing-secret");
    let reveal = || post(&tenant.caller, &format!("{path}/reveal")).ok()["signing_secret"].clone();
    let first = reveal();
    tenant.publish("vs_0", json!({}));
    tenant.settle(SOON);
    for n in 1..20 {
        let rotated = post(&tenant.caller, &format!("{path}/rotate")).ok();
        assert_eq!(rotated["endpoint_id"], json!(endpoint));
        let secret = rotated["signing_secret"].as_str().unwrap();
        assert_eq!((secret.len(), &secret[..6]), (38, "whsec_"));
        assert!(json!(secret) != first && reveal() == secret);
        receiver.trust(secret);
        tenant.publish(&format!("vs_{n}"), json!({}));
        tenant.settle(SOON);
    }
    assert!(receiver.arrivals().iter().all(|arrival| arrival.verified));
    assert_eq!(receiver.accepted(), 20);
    for action in ["reveal", "rotate"] {
        let foreign = post(&other.caller, &format!("{path}/{action}"));
        assert_eq!(refused(&foreign), (404, "NOT_FOUND".into()));
        let reader = daemon.key(&tenant.organization, &["webhooks:read"]);
        assert_eq!(refused(&post(&reader, &format!("{path}/{action}"))), (403, "FORBIDDEN".into()));
    }
}

#[test]
fn one_key_is_active_at_a_time() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let (tenant, other) = (daemon.tenant(), daemon.tenant());
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = tenant.register(&receiver, json!({}));
    let keys = format!("/v1/webhooks/endpoints/{endpoint}/keys");
    let first = tenant.caller.get(&keys).ok()[0]["id"].as_str().unwrap().to_owned();
    let body = json!({
        "key_id": "k2", "algorithm": "RSA-OAEP-256", "key_type": "RSA", "jwk": receiver.public_jwk,
    });
    let second = tenant.caller.post(&keys, body).ok()["id"].as_str().unwrap().to_owned();
    let act =
        |id: &str, action: &str| post(&tenant.caller, &format!("/v1/webhooks/keys/{id}/{action}"));
    let active = || {
        let found = tenant.caller.get(&format!("{keys}?is_active=true")).ok();
        found
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(active(), std::slice::from_ref(&second));
    let reactivated = act(&first, "reactivate").ok();
    assert_eq!(
        (&reactivated["is_active"], &reactivated["disabled_at"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(active(), std::slice::from_ref(&first));
    assert_eq!(act(&first, "reactivate").status, 200, "harmless");
    let deactivated = act(&first, "deactivate").ok();
    assert!(deactivated["disabled_at"].is_string());
    assert_eq!(act(&first, "deactivate").status, 200, "repeatable");
    assert!(active().is_empty());
    let event = tenant.publish("vs_1", json!({}));
    assert_eq!(event["deliveries"][0]["payload_retention_reason"], "no_active_key");
    act(&second, "reactivate").ok();
    let event = tenant.publish("vs_2", json!({}));
    assert_ne!(event["deliveries"][0]["status"], "failed", "the next publish honours it");
    let foreign = post(&other.caller, &format!("/v1/webhooks/keys/{first}/reactivate"));
    assert_eq!(refused(&foreign), (404, "NOT_FOUND".into()));
    assert_eq!(foreign.json()["error"]["message"], "Webhook encryption key not found.");
}

#[test]
fn every_attempt_is_told_with_its_code_or_fault() {
    let home = Home::new(&[
        ("HOOKSEAL_RETRY_SCHEDULE", "10ms,10ms"),
        ("HOOKSEAL_ATTEMPT_TIMEOUT", "300ms"),
    ]);
    let daemon = home.start();
    let (tenant, other) = (daemon.tenant(), daemon.tenant());
    let receiver = Receiver::start(Behaviour::Answer(503));
    tenant.register(&receiver, json!({}));
    tenant.publish("vs_1", json!({}));
    tenant.settle(SOON);
    let id = only_delivery(&tenant)["id"].as_str().unwrap().to_owned();
    receiver.behave(Behaviour::Hang);
    post(&tenant.caller, &format!("/v1/webhooks/deliveries/{id}/retry")).ok();
    tenant.settle(SOON);
    let path = format!("/v1/webhooks/deliveries/{id}/attempts");
    let attempts = tenant.caller.get(&path).ok();
    let told: Vec<_> = attempts
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| (attempt["status_code"].clone(), attempt["error_kind"].clone()))
        .collect();
    let (answered, timed_out) = ((json!(503), Value::Null), (Value::Null, json!("timeout")));
    assert_eq!(told[..3], [answered.clone(), answered.clone(), answered]);
    assert_eq!(told[3..], [timed_out.clone(), timed_out.clone(), timed_out]);
    assert!(attempts[3]["duration_ms"].as_u64() >= Some(290), "{attempts}");
    assert!(
        attempts
            .as_array()
            .unwrap()
            .windows(2)
            .all(|two| { two[0]["attempted_at"].as_str() <= two[1]["attempted_at"].as_str() })
    );
    assert_eq!(refused(&other.caller.get(&path)), (404, "NOT_FOUND".into()));
}
