//! A captured delivery is verified and decrypted by libraries that are not ours.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use crate::support::daemon::Home;
use crate::support::leavings::CANARY;

/// A request, what is to come of it, and the secret that signed it beside the endpoint's first.
fn captured() -> (Value, Value, Value) {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = json!({ "url": receiver.url });
    let made = tenant.caller.post("/v1/webhooks/endpoints", endpoint).ok();
    let (id, secret) = (made["endpoint"]["id"].as_str().unwrap(), &made["signing_secret"]);
    receiver.trust(secret.as_str().unwrap());
    let key = json!({
        "key_id": "schlüssel \"1\"", "algorithm": "RSA-OAEP-256", "key_type": "RSA",
        "jwk": receiver.public_jwk,
    });
    tenant.caller.post(&format!("/v1/webhooks/endpoints/{id}/keys"), key).ok();
    let path = format!("/v1/webhooks/endpoints/{id}/signing-secret/rotate");
    let rotated = tenant.caller.post(&path, json!({ "grace_period_seconds": 3600 })).ok();
    let event = tenant.publish("vs_1", json!({ "claims": { "given_names": "Zoë 🦭" } }));
    tenant.settle(Duration::from_secs(20));
    let arrival = receiver.arrivals().remove(0);
    let headers: serde_json::Map<_, _> =
        arrival.raw.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let request = json!({
        "secret": secret,
        "jwk": receiver.private_jwk,
        "headers": headers,
        "body": String::from_utf8(arrival.raw.body.to_vec()).unwrap(),
    });
    let expected = json!({
        "header": { "alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": "schlüssel \"1\"" },
        "payload": {
            "data": { "claims": { "given_names": "Zoë 🦭" }, "canary": CANARY },
            "metadata": {
                "contract_version": 1, "event_id": event["id"], "verification_session_id": "vs_1",
            },
            "type": "verification.session.succeeded",
        },
    });
    (request, expected, rotated["signing_secret"].clone())
}

fn run(program: &str, script: &str, request: &Value) -> Result<Value, String> {
    let script = format!("{}/tests/foreign/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new(program)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; run the tests by tests/run.sh"));
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn node_and_python_verify_and_decrypt_a_delivery() {
    let (request, expected, newer) = captured();
    for (program, script) in [("node", "verify.mjs"), ("/usr/bin/python3", "verify.py")] {
        assert_eq!(run(program, script, &request).unwrap(), expected, "{program}");
        let mut rotated = request.clone();
        rotated["secret"] = newer.clone();
        assert_eq!(run(program, script, &rotated).unwrap(), expected, "{program}, rotated");
        let mut foreign = request.clone();
        foreign["secret"] = json!("whsec_of_another");
        assert!(run(program, script, &foreign).unwrap_err().contains("bad signature"), "{program}");
        let mut forged = request.clone();
        forged["body"] = json!(format!("{}A", request["body"].as_str().unwrap()));
        assert!(run(program, script, &forged).unwrap_err().contains("bad signature"), "{program}");
    }
}
