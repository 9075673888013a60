//! What stands in the log at its most talkative: ids and names of things, and nothing of what was sent.

use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::json;

use crate::support::daemon::{Caller, Home, PLATFORM_KEY, wait};
use crate::support::socket::Socket;
use crate::support::wire::Wire;

const CANARY: &str = "canary5d1e";

#[test]
fn nothing_that_was_sent_stands_in_the_log() {
    for settings in ["trace", "actix_http=trace,actix_web=trace,sqlx=trace,hookseal=trace,trace"] {
        talkative(settings);
    }
}

fn talkative(filter: &str) {
    let home = Home::new(&[("HOOKSEAL_LOG", filter), ("HOOKSEAL_RETRY_SCHEDULE", "none")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Answer(500));
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let targets = [
        receiver.url.clone(),
        format!("http://{refusing}/{CANARY}"),
        receiver.url.replacen("http", "https", 1),
    ];
    let mut secrets = vec![CANARY.to_owned(), PLATFORM_KEY.to_owned(), tenant.caller.key.clone()];
    for target in targets {
        let new = json!({
            "url": format!("{target}?token={CANARY}"), "name": CANARY, "labels": [CANARY],
        });
        let made = tenant.caller.post("/v1/webhooks/endpoints", new).ok();
        secrets.push(made["signing_secret"].as_str().unwrap().to_owned());
        let path =
            format!("/v1/webhooks/endpoints/{}/keys", made["endpoint"]["id"].as_str().unwrap());
        let key = json!({
            "key_id": CANARY, "algorithm": "RSA-OAEP-256", "key_type": "RSA",
            "jwk": receiver.public_jwk,
        });
        tenant.caller.post(&path, key).ok();
    }
    let json = ("content-type", "application/json");
    let event = tenant.event("vs_logs", json!({ "note": CANARY })).to_string();
    let headers = [json, ("idempotency-key", CANARY)];
    tenant.platform.send("POST", "/v1/platform/events", &headers, &event).ok();
    tenant.settle(Duration::from_secs(30));

    // Requests that are refused, each for another reason.
    let stranger = Caller::new(&daemon.url, &format!("kk_{CANARY}"));
    stranger.get("/v1/webhooks/endpoints");
    stranger.get(&format!("/v1/{CANARY}?{CANARY}={CANARY}"));
    Caller::new(&daemon.url, &format!("{CANARY}.{CANARY}.{CANARY}")).get("/v1/webhooks/events");
    let cookie = format!("hookseal_session={CANARY}.{CANARY}.{CANARY}");
    let headers = [("cookie", cookie.as_str()), ("origin", "https://canary5d1e.example")];
    Caller::new(&daemon.url, "").send("GET", "/v1/webhooks/events", &headers, "");
    tenant.caller.get(&format!("/v1/webhooks/events/{CANARY}?starting_after={CANARY}"));
    tenant.caller.get(&format!("/v1/webhooks/deliveries?starting_after={CANARY}"));
    for body in [format!("{{\"data\": \"{CANARY}\""), format!("[\"{CANARY}\"]"), CANARY.to_owned()]
    {
        tenant.platform.send("POST", "/v1/platform/events", &[json], &body);
        tenant.platform.send("POST", "/graphql", &[json], &body);
    }
    for head in [
        format!("GET /{CANARY} HTTP/9.9\r\nX: {CANARY}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: {CANARY}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h\r\n{CANARY} {CANARY}\r\n\r\n"),
    ] {
        let mut wire = Wire::open(&daemon.url);
        wire.say(head.as_bytes());
        assert!(wire.hear().closed);
    }

    // GraphQL, over HTTP and over a socket.
    let read = "query Canary5d1e($s: String) { endpoints(first: 1) { nodes { name url } } }";
    let asked = json!({ "query": read, "variables": { "s": CANARY } });
    tenant.caller.post("/graphql", asked);
    tenant.caller.post("/graphql", json!({ "query": format!("{{ {CANARY} }}") }));
    let socket = Socket::of(&tenant.caller);
    socket.subscribe("1", read, json!({ "s": CANARY }));
    socket.hear();
    socket.say_text(&format!("{{\"{CANARY}\""));
    socket.next();
    let socket = Socket::open(&daemon.url, "graphql-transport-ws", &[]).unwrap();
    let payload = json!({ "authorization": format!("Bearer {CANARY}") });
    socket.say(json!({ "type": "connection_init", "payload": payload }));
    socket.next();

    let log = home.path().join("stderr.log");
    assert!(daemon.terminate().success());
    wait(Duration::from_secs(5), "the last line", || {
        std::fs::read_to_string(&log).unwrap().contains("drained")
    });
    let log = std::fs::read_to_string(&log).unwrap().to_lowercase();
    for secret in secrets {
        let secret = secret.to_lowercase();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&secret)).collect();
        assert_eq!(lines, Vec::<&str>::new(), "{secret}");
    }
}
