//! Rotation with overlap: for a grace period the secret before signs beside the new one.

use std::time::Duration;

use hookseal::demo::receiver::{Arrival, Behaviour, Receiver, verify};
use serde_json::{Value, json};

use crate::support::daemon::{Home, Tenant, wait};
use crate::support::databases::new_postgres_database;

const SOON: Duration = Duration::from_secs(20);

/// An endpoint of a tenant, and who receives for it.
struct Rotating {
    tenant: Tenant,
    receiver: Receiver,
    path: String,
}

impl Rotating {
    fn new(tenant: Tenant) -> Self {
        let receiver = Receiver::start(Behaviour::Accept);
        let endpoint = tenant.register(&receiver, json!({}));
        Self { tenant, receiver, path: format!("/v1/webhooks/endpoints/{endpoint}") }
    }

    fn secret(&self) -> String {
        let path = format!("{}/signing-secret/reveal", self.path);
        text(&self.tenant.caller.send("POST", &path, &[], "").ok()["signing_secret"])
    }

    fn rotate(&self, body: Value) -> String {
        let path = format!("{}/signing-secret/rotate", self.path);
        text(&self.tenant.caller.post(&path, body).ok()["signing_secret"])
    }

    fn previous_secret_until(&self) -> Value {
        self.tenant.caller.get(&self.path).ok()["previous_secret_until"].take()
    }

    /// The next request that the receiver gets.
    fn next(&self) -> Arrival {
        let before = self.receiver.arrived();
        self.tenant.publish(&format!("vs_{before}"), json!({}));
        wait(SOON, "the request", || self.receiver.arrived() > before);
        self.receiver.arrivals().remove(before)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The secrets, of `secrets`, that the request verifies under; there is no signature of another's.
fn signed_by<'a>(arrival: &Arrival, secrets: &[&'a str]) -> Vec<&'a str> {
    let header = arrival.raw.headers.iter().find(|(name, _)| name == "x-kayle-signature");
    let header = &header.unwrap().1;
    let signers: Vec<_> = secrets
        .iter()
        .copied()
        .filter(|secret| verify(secret, header, &arrival.raw.body))
        .collect();
    assert_eq!(header.matches(",v1=").count(), signers.len(), "{header}");
    signers
}

fn overlaps_and_ends(settings: &[(&str, &str)]) {
    let home = Home::new(settings);
    let daemon = home.start();
    let one = Rotating::new(daemon.tenant());
    let old = one.secret();
    let new = one.rotate(json!({ "grace_period_seconds": 6 }));
    assert_eq!(one.secret(), new, "the current one is shown");
    assert_eq!(signed_by(&one.next(), &[&old, &new]), [&old, &new]);
    // What is signed is judged by the clock, whatever changes meanwhile.
    one.tenant.caller.patch(&one.path, json!({ "name": "n" })).ok();
    let until = text(&one.previous_secret_until());
    let updated = text(&one.tenant.caller.get(&one.path).ok()["updated_at"]);
    assert!(updated < until);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(signed_by(&one.next(), &[&old, &new]), [&new]);
    // The janitor's first round.
    drop(daemon);
    let daemon = home.start();
    let caller = crate::support::daemon::Caller::new(&daemon.url, &one.tenant.caller.key);
    wait(SOON, "the secret to be forgotten", || {
        caller.get(&one.path).ok()["previous_secret_until"].is_null()
    });
}

#[test]
fn both_secrets_sign_until_the_grace_period_ends() {
    overlaps_and_ends(&[]);
}

#[test]
fn both_secrets_sign_until_the_grace_period_ends_on_postgres() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(new_postgres_database());
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    overlaps_and_ends(&[("HOOKSEAL_DATABASE_URL", &url), ("HOOKSEAL_MASTER_KEY", key)]);
}

#[test]
fn a_further_rotation_ends_the_oldest_secret_at_once() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let one = Rotating::new(daemon.tenant());
    let (first, hour) = (one.secret(), json!({ "grace_period_seconds": 3600 }));
    let (second, third) = (one.rotate(hour.clone()), one.rotate(hour));
    let secrets = [first.as_str(), &second, &third];
    assert_eq!(signed_by(&one.next(), &secrets), secrets[1..]);
    assert!(one.previous_secret_until().is_string());
    // Without a grace period nothing but the newest is left.
    let fourth = one.rotate(json!({}));
    assert_eq!(signed_by(&one.next(), &[&first, &second, &third, &fourth]), [&fourth]);
    assert_eq!(one.previous_secret_until(), Value::Null);
    let log = one.tenant.caller.get("/v1/webhooks/audit-log").ok();
    let told: Vec<_> = log
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["action"] == "webhook_endpoint.signing_secret.rotated")
        .map(|entry| entry["metadata"]["grace_period_seconds"].clone())
        .collect();
    assert_eq!(told, [0, 3600, 3600]);
}

#[test]
fn a_grace_period_out_of_bounds_leaves_the_secret_as_it_is() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let one = Rotating::new(daemon.tenant());
    let before = one.secret();
    let path = format!("{}/signing-secret/rotate", one.path);
    for wrong in [json!(-1), json!(604_801), json!(1.5), json!("60"), json!(null), json!([])] {
        let refused = one.tenant.caller.post(&path, json!({ "grace_period_seconds": wrong }));
        assert_eq!((refused.status, refused.code()), (400, "BAD_REQUEST".into()), "{wrong}");
        assert!(refused.text.contains("grace_period_seconds"), "{}", refused.text);
    }
    let not_json = one.tenant.caller.send("POST", &path, &[], "grace_period_seconds=60");
    assert_eq!(not_json.status, 415, "{not_json:?}");
    assert_eq!(one.secret(), before);
}
