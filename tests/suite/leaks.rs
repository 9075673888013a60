//! No plaintext at rest: what was published, and every secret and key, is looked for in all that the
//! daemon left behind.

use std::path::Path;
use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::json;

use crate::support::daemon::{Home, PLATFORM_KEY};

const CANARY: &str = "canary-3f9a1c77d2e84b06";

/// Every file under `path` that holds `needle`, as it is or in base64.
fn holding(path: &Path, needle: &str) -> Vec<String> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(needle);
    // The ends of a base64 text depend on what stands beside it.
    let encoded = &encoded[4..encoded.len() - 4];
    let mut found = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        if holds(needle) || holds(encoded) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn payloads_secrets_and_keys_are_nowhere_in_the_clear() {
    let home = Home::new(&[("HOOKSEAL_LOG", "trace"), ("HOOKSEAL_RETRY_SCHEDULE", "10ms,1h")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let mut secrets = vec![CANARY.to_owned(), PLATFORM_KEY.to_owned(), tenant.caller.key.clone()];
    for behaviour in [Behaviour::Accept, Behaviour::Answer(500)] {
        let receiver = Receiver::start(behaviour);
        let made =
            tenant.caller.post("/v1/webhooks/endpoints", json!({ "url": receiver.url })).ok();
        let id = made["endpoint"]["id"].as_str().unwrap().to_owned();
        secrets.push(made["signing_secret"].as_str().unwrap().to_owned());
        // A private key sent by mistake is refused, and must not be kept or logged either.
        let key = |jwk| json!({ "key_id": "k", "algorithm": "RSA-OAEP-256", "key_type": "RSA", "jwk": jwk });
        let path = format!("/v1/webhooks/endpoints/{id}/keys");
        let refused = tenant.caller.post(&path, key(receiver.private_jwk.clone()));
        assert_eq!((refused.status, refused.code().as_str()), (400, "BAD_REQUEST"));
        let private = receiver.private_jwk["d"].as_str().unwrap();
        assert!(!refused.text.contains(private));
        secrets.push(private.to_owned());
        tenant.caller.post(&path, key(receiver.public_jwk.clone())).ok();
        tenant.publish(&format!("vs_{id}"), json!({ "note": CANARY, "claims": { CANARY: true } }));
        let broken = format!("{{\"data\": {{\"note\": \"{CANARY}\", }}");
        let headers = [("content-type", "application/json")];
        let refused = tenant.platform.send("POST", "/v1/platform/events", &headers, &broken);
        assert!(!refused.text.contains(CANARY));
        let mistyped = json!({ "organization_id": { "note": CANARY }, "type": CANARY });
        assert!(!tenant.platform.post("/v1/platform/events", mistyped).text.contains(CANARY));
        std::thread::sleep(Duration::from_millis(500));
        for secret in &secrets {
            assert_eq!(holding(home.path(), secret), Vec::<String>::new(), "while running");
        }
    }
    assert!(daemon.terminate().success());
    for secret in &secrets {
        assert_eq!(holding(home.path(), secret), Vec::<String>::new(), "after the stop");
    }
    // The search finds what is there: the endpoint's id is no secret.
    assert!(!holding(home.path(), &tenant.organization).is_empty());
}
