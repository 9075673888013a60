//! Metrics tell how much and how long, never of whom: every label and every value is one of a few that
//! are known beforehand.

use std::collections::BTreeSet;
use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use crate::support::daemon::{Caller, Home};

/// Names and values of a sample's labels.
fn labels(line: &str) -> Vec<(&str, &str)> {
    let Some((_, rest)) = line.split_once('{') else { return Vec::new() };
    let (inside, _) = rest.rsplit_once('}').unwrap();
    // No value that is known has a quote or a comma in it.
    inside.split(',').map(|label| label.split_once('=').unwrap()).collect()
}

/// Whether a label may have this value.
fn is_known(label: &str, value: &str, routes: &BTreeSet<String>) -> bool {
    match label {
        "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
        "method" => ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "other"].contains(&value),
        "status" => value.len() == 3 && value.parse::<u16>().is_ok(),
        "route" => value == "unknown" || routes.contains(value),
        "code" => value.chars().all(|c| c.is_ascii_uppercase() || c == '_'),
        "result" => ["delivered", "answered", "connect", "timeout"].contains(&value),
        _ => false,
    }
}

#[test]
fn labels_name_no_tenant_host_or_thing() {
    let home = Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "none")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (well, ill) = (Receiver::start(Behaviour::Accept), Receiver::start(Behaviour::Answer(500)));
    let ids: Vec<_> =
        [&well, &ill].map(|receiver| tenant.register(receiver, json!({ "name": "Acme" }))).into();
    let url = format!("http://{refusing}/hook");
    let away = tenant.caller.post("/v1/webhooks/endpoints", json!({ "url": url })).ok();
    let path = format!("/v1/webhooks/endpoints/{}/keys", away["endpoint"]["id"].as_str().unwrap());
    let key = json!({
        "key_id": "k1", "algorithm": "RSA-OAEP-256", "key_type": "RSA", "jwk": well.public_jwk,
    });
    tenant.caller.post(&path, key).ok();
    let event = tenant.publish("vs_metrics", json!({}));
    tenant.settle(Duration::from_secs(30));
    let delivery = event["deliveries"][0]["id"].as_str().unwrap();
    let mut unknown = tenant.event("vs_metrics", json!({}));
    unknown["type"] = "acme.secret".into();
    assert_eq!(tenant.platform.post("/v1/platform/events", unknown).status, 400);
    tenant.caller.get(&format!("/v1/webhooks/deliveries/{delivery}"));
    tenant.caller.get("/v1/webhooks/deliveries?status=nothing");
    tenant.caller.get("/v1/acme/secret-path?key=value");
    Caller::new(&daemon.url, "kk_nobody").get("/v1/webhooks/events");
    tenant.caller.send("PUT", "/healthz", &[("x-organization", &tenant.organization)], "");
    tenant.caller.post("/graphql", json!({ "query": "{ endpoints { nodes { id } } }" }));

    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let routes = document["paths"].as_object().unwrap().keys().cloned().collect();
    let text = daemon.platform().get("/metrics").text;
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        for (label, value) in labels(line) {
            let value = value.trim_matches('"');
            assert!(is_known(label, value, &routes), "{line}");
            seen.insert((label, value));
        }
    }
    for told in [&tenant.organization, &ids[0], delivery, "127.0.0.1", "acme", "vs_metrics"] {
        assert!(!text.to_lowercase().contains(told), "{told}");
    }
    for busy in [
        ("result", "delivered"),
        ("result", "answered"),
        ("result", "connect"),
        ("route", "unknown"),
        ("method", "other"),
        ("code", "BAD_REQUEST"),
    ] {
        assert!(seen.contains(&busy), "nothing was counted under {busy:?}");
    }
}
