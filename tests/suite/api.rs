//! The API from the outside: every error of the routes that exist is a snapshot, and what the
//! contract promises of lists, keys and publishing holds.

use std::collections::BTreeMap;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use crate::support::daemon::{Caller, Daemon, Home, Tenant};
use crate::support::leavings::CANARY;

const JSON: (&str, &str) = ("content-type", "application/json");

fn started() -> (Home, Daemon) {
    let home = Home::new(&[
        ("HOOKSEAL_ENDPOINTS_PER_ORGANIZATION", "3"),
        ("HOOKSEAL_KEYS_PER_ENDPOINT", "2"),
        ("HOOKSEAL_RETRY_SCHEDULE", "1h"),
    ]);
    let daemon = home.start();
    (home, daemon)
}

const EXPLAINED: &str = include_str!("../../docs/errors.md");

/// Name, caller, method, path, headers, body.
type Case<'a> = (&'a str, &'a Caller, &'a str, String, &'a [(&'a str, &'a str)], String);

/// What stands in a snapshot in place of ids that differ from run to run.
fn settled(text: &str, names: &[(&str, &str)]) -> String {
    names.iter().fold(text.to_owned(), |text, (id, name)| text.replace(id, name))
}

#[test]
fn every_error_body_is_as_documented() {
    let (_home, daemon) = started();
    let tenant = daemon.tenant();
    let other = daemon.tenant();
    let reader = daemon.key(&tenant.organization, &["webhooks:read"]);
    let elsewhere = daemon.key(&tenant.organization, &["sessions:write"]);
    let nobody = Caller::new(&daemon.url, "");
    let stranger = Caller::new(&daemon.url, "kk_00000000000000000000000000000000");
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = tenant.register(&receiver, json!({}));
    let foreign = other.register_without_key(&receiver, json!({}));
    let frozen = daemon.tenant();
    let freeze = json!({ "frozen": true });
    let path = format!("/v1/platform/organizations/{}", frozen.organization);
    daemon.platform().patch(&path, freeze).ok();
    let writer = &tenant.caller;
    let platform = &tenant.platform;
    let long_key = "k".repeat(256);
    let with_long_key = [JSON, ("idempotency-key", long_key.as_str())];
    let large = format!("{{\"url\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let large_batch = format!("[\"{}\"]", "x".repeat(16 * 1024 * 1024));
    let large_data = tenant.event("vs_l", json!({ "x": "y".repeat(256 * 1024) })).to_string();
    let endpoints = "/v1/webhooks/endpoints";
    let one = format!("{endpoints}/{endpoint}");
    let keys = format!("{one}/keys");
    let key = |jwk: Value| {
        json!({ "key_id": "k", "algorithm": "RSA-OAEP-256", "key_type": "RSA", "jwk": jwk })
            .to_string()
    };
    let mut private = receiver.public_jwk.clone();
    private["d"] = "c2VjcmV0".into();
    let mut small = receiver.public_jwk.clone();
    small["n"] = "AQAB".into();
    let events = "/v1/platform/events";
    let with = |name: &str, value: Value| {
        let mut event = tenant.event("vs_w", json!({}));
        event[name] = value;
        event.to_string()
    };
    let without = |name: &str| {
        let mut event = tenant.event("vs_w", json!({}));
        event.as_object_mut().unwrap().remove(name);
        event.to_string()
    };
    let published = tenant.event("vs_terminal", json!({})).to_string();
    platform.send("POST", events, &[JSON, ("idempotency-key", "used")], &published);
    let reused = tenant.event("vs_terminal", json!({ "other": true })).to_string();
    let mut disabled_target = tenant.event("vs_t", json!({}));
    disabled_target["webhook_endpoint_ids"] = json!([foreign]);
    let disabled_target = disabled_target.to_string();
    let mut gone = tenant.event("vs_g", json!({}));
    gone["organization_id"] = json!("00000000-0000-4000-8000-000000000000");
    let gone = gone.to_string();
    let mut of_frozen = tenant.event("vs_f", json!({}));
    of_frozen["organization_id"] = json!(frozen.organization);
    let of_frozen = of_frozen.to_string();

    #[rustfmt::skip] // a line a case
    let cases: Vec<Case<'_>> = vec![
        ("no key",                        &nobody,        "GET",    endpoints.into(), &[], String::new()),
        ("unknown key",                   &stranger,      "GET",    endpoints.into(), &[], String::new()),
        ("scheme in lower case",          &nobody,        "GET",    endpoints.into(), &[("authorization", "bearer x")], String::new()),
        ("unknown path without key",      &nobody,        "GET",    "/v1/nothing".into(), &[], String::new()),
        ("unknown path",                  writer,         "GET",    "/v1/nothing".into(), &[], String::new()),
        ("unknown path outside v1",       &nobody,        "GET",    "/nothing".into(), &[], String::new()),
        ("trailing slash",                writer,         "GET",    format!("{endpoints}/"), &[], String::new()),
        ("method not allowed",            writer,         "PUT",    endpoints.into(), &[JSON], "{}".into()),
        ("organization frozen",           &frozen.caller, "GET",    endpoints.into(), &[], String::new()),
        ("platform key on webhooks",      platform,       "GET",    endpoints.into(), &[], String::new()),
        ("organization key on platform",  writer,         "GET",    "/v1/platform/organizations".into(), &[], String::new()),
        ("read scope cannot write",       &reader,        "POST",   endpoints.into(), &[JSON], "{bad".into()),
        ("another area's scope",          &elsewhere,     "GET",    endpoints.into(), &[], String::new()),
        ("body too large",                &nobody,        "POST",   endpoints.into(), &[JSON], large.clone()),
        ("batch too large",               platform,       "POST",   format!("{events}/batch"), &[JSON], large_batch.clone()),
        ("data too large",                platform,       "POST",   events.into(), &[JSON], large_data.clone()),
        ("no content type",               writer,         "POST",   endpoints.into(), &[], "{}".into()),
        ("content type not JSON",         writer,         "POST",   endpoints.into(), &[("content-type", "text/plain")], "{}".into()),
        ("malformed JSON",                writer,         "POST",   endpoints.into(), &[JSON], "{\"url\":".into()),
        ("empty body",                    writer,         "POST",   endpoints.into(), &[JSON], String::new()),
        ("body not an object",            writer,         "POST",   endpoints.into(), &[JSON], "7".into()),
        ("missing url",                   writer,         "POST",   endpoints.into(), &[JSON], "{}".into()),
        ("wrong type of a member",        writer,         "POST",   endpoints.into(), &[JSON], "{\"url\":7}".into()),
        ("wrong type in an array",        writer,         "POST",   endpoints.into(), &[JSON], "{\"url\":\"https://a.com\",\"labels\":[\"a\",{}]}".into()),
        ("null name on creation",         writer,         "POST",   endpoints.into(), &[JSON], "{\"url\":\"https://a.com\",\"name\":null}".into()),
        ("unknown event type",            writer,         "POST",   endpoints.into(), &[JSON], "{\"url\":\"https://a.com\",\"subscribed_event_types\":[\"x\"]}".into()),
        ("unsafe url",                    writer,         "POST",   endpoints.into(), &[JSON], "{\"url\":\"https://10.0.0.1/\"}".into()),
        ("empty change",                  writer,         "PATCH",  one.clone(), &[JSON], "{\"unknown\":1}".into()),
        ("unknown endpoint",              writer,         "GET",    format!("{endpoints}/whe_unknown"), &[], String::new()),
        ("foreign endpoint",              writer,         "GET",    format!("{endpoints}/{foreign}"), &[], String::new()),
        ("change a foreign endpoint",     writer,         "PATCH",  format!("{endpoints}/{foreign}"), &[JSON], "{\"enabled\":false}".into()),
        ("malformed id",                  writer,         "GET",    format!("{endpoints}/a.b"), &[], String::new()),
        ("limit zero",                    writer,         "GET",    format!("{endpoints}?limit=0"), &[], String::new()),
        ("limit 101",                     writer,         "GET",    format!("{endpoints}?limit=101"), &[], String::new()),
        ("limit not a number",            writer,         "GET",    format!("{endpoints}?limit=abc"), &[], String::new()),
        ("limit twice",                   writer,         "GET",    format!("{endpoints}?limit=1&limit=2"), &[], String::new()),
        ("enabled not a flag",            writer,         "GET",    format!("{endpoints}?enabled=1&limit=3"), &[], String::new()),
        ("empty cursor",                  writer,         "GET",    format!("{endpoints}?starting_after="), &[], String::new()),
        ("unknown cursor",                writer,         "GET",    format!("{endpoints}?starting_after=whe_unknown&limit=5"), &[], String::new()),
        ("foreign cursor",                writer,         "GET",    format!("{endpoints}?starting_after={foreign}"), &[], String::new()),
        ("key with a private part",       writer,         "POST",   keys.clone(), &[JSON], key(private.clone())),
        ("key too small",                 writer,         "POST",   keys.clone(), &[JSON], key(small.clone())),
        ("key of a foreign endpoint",     writer,         "POST",   format!("{endpoints}/{foreign}/keys"), &[JSON], key(receiver.public_jwk.clone())),
        ("key without jwk",               writer,         "POST",   keys.clone(), &[JSON], "{\"key_id\":\"k\",\"algorithm\":\"RSA-OAEP-256\",\"key_type\":\"RSA\"}".into()),
        ("status unknown",                writer,         "GET",    "/v1/webhooks/deliveries?status=lost".into(), &[], String::new()),
        ("unknown delivery",              writer,         "GET",    "/v1/webhooks/deliveries/whd_x".into(), &[], String::new()),
        ("unknown event",                 writer,         "GET",    "/v1/webhooks/events/evt_x".into(), &[], String::new()),
        ("unknown event by alias",        writer,         "GET",    "/v1/events/evt_x".into(), &[], String::new()),
        ("type filter unknown",           writer,         "GET",    "/v1/webhooks/events?type=x".into(), &[], String::new()),
        ("time with an offset",           writer,         "GET",    "/v1/webhooks/events?created_from=2026-01-01T00:00:00%2B00:00".into(), &[], String::new()),
        ("publish without type",          platform,       "POST",   events.into(), &[JSON], without("type")),
        ("publish without data",          platform,       "POST",   events.into(), &[JSON], without("data")),
        ("publish data not an object",    platform,       "POST",   events.into(), &[JSON], with("data", json!([1]))),
        ("publish unknown type",          platform,       "POST",   events.into(), &[JSON], with("type", json!("x"))),
        ("publish other trigger",         platform,       "POST",   events.into(), &[JSON], with("trigger_type", json!("verification_attempt"))),
        ("publish to 26 endpoints",       platform,       "POST",   events.into(), &[JSON], with("webhook_endpoint_ids", json!(vec!["whe_a"; 26]))),
        ("publish to a foreign endpoint", platform,       "POST",   events.into(), &[JSON], disabled_target.clone()),
        ("publish for nobody",            platform,       "POST",   events.into(), &[JSON], gone.clone()),
        ("publish for a frozen one",      platform,       "POST",   events.into(), &[JSON], of_frozen.clone()),
        ("publish by an organization",    writer,         "POST",   events.into(), &[JSON], with("type", json!("x"))),
        ("idempotency key reused",        platform,       "POST",   events.into(), &[JSON, ("idempotency-key", "used")], reused.clone()),
        ("idempotency key too long",      platform,       "POST",   events.into(), &with_long_key, with("trigger_id", json!("vs_9"))),
        ("second terminal event",         platform,       "POST",   events.into(), &[JSON], reused.clone()),
        ("batch not an array",            platform,       "POST",   format!("{events}/batch"), &[JSON], "{}".into()),
        ("batch empty",                   platform,       "POST",   format!("{events}/batch"), &[JSON], "[]".into()),
        ("organization without name",     platform,       "POST",   "/v1/platform/organizations".into(), &[JSON], "{}".into()),
        ("organization id not a uuid",    platform,       "POST",   "/v1/platform/organizations".into(), &[JSON], "{\"name\":\"a\",\"id\":\"x\"}".into()),
        ("organization exists",           platform,       "POST",   "/v1/platform/organizations".into(), &[JSON], format!("{{\"name\":\"a\",\"id\":\"{}\"}}", tenant.organization)),
        ("unknown organization",          platform,       "GET",    "/v1/platform/organizations/x".into(), &[], String::new()),
        ("unknown permission",            platform,       "POST",   format!("/v1/platform/organizations/{}/api-keys", tenant.organization), &[JSON], "{\"name\":\"a\",\"permissions\":[\"root\"]}".into()),
    ];
    let names = [
        (tenant.organization.as_str(), "<organization>"),
        (endpoint.as_str(), "<endpoint>"),
        (foreign.as_str(), "<foreign endpoint>"),
    ];
    let mut seen = BTreeMap::new();
    for (name, caller, method, path, headers, body) in cases {
        let answer = caller.send(method, &path, headers, &body);
        assert!(answer.status >= 400, "{name}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{name}: {answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{name}");
        let request = format!("{method} {}", settled(&path, &names));
        let text = settled(&answer.text, &names);
        let shown = json!({ "request": request, "status": answer.status, "body": serde_json::from_str::<Value>(&text).unwrap() });
        let code = answer.code().to_lowercase();
        assert!(EXPLAINED.contains(&format!("\n## {code}\n")), "{code} is not explained");
        assert!(seen.insert(name, shown).is_none(), "{name} stands twice");
    }
    insta::assert_json_snapshot!("errors", seen);
}

#[test]
fn foreign_is_the_same_as_missing() {
    let (_home, daemon) = started();
    let (tenant, other) = (daemon.tenant(), daemon.tenant());
    let receiver = Receiver::start(Behaviour::Answer(500));
    let endpoint = other.register(&receiver, json!({}));
    let event = other.publish("vs_1", json!({}));
    let (event_id, delivery_id) =
        (event["id"].as_str().unwrap(), event["deliveries"][0]["id"].as_str().unwrap());
    for (path, missing) in [
        (format!("/v1/webhooks/endpoints/{endpoint}"), "whe_missing"),
        (format!("/v1/webhooks/endpoints/{endpoint}/keys"), "whe_missing"),
        (format!("/v1/webhooks/events/{event_id}"), "evt_missing"),
        (format!("/v1/webhooks/deliveries/{delivery_id}"), "whd_missing"),
        (format!("/v1/webhooks/deliveries?endpoint_id={endpoint}"), "whe_missing"),
        (format!("/v1/webhooks/deliveries?event_id={event_id}"), "evt_missing"),
        (format!("/v1/webhooks/events?starting_after={event_id}"), "evt_missing"),
        (format!("/v1/webhooks/deliveries?starting_after={delivery_id}"), "whd_missing"),
    ] {
        let id = [endpoint.as_str(), event_id, delivery_id];
        let absent = id.iter().fold(path.clone(), |path, id| path.replace(id, missing));
        let (foreign, missing) = (tenant.caller.get(&path), tenant.caller.get(&absent));
        assert_eq!((foreign.status, &foreign.text), (missing.status, &missing.text), "{path}");
        let own = other.caller.get(&path);
        assert!(own.status == 200 && own.text != foreign.text, "{path}: {own:?}");
    }
}

fn publish(tenant: &Tenant, key: &str, event: &Value) -> (u16, Value) {
    let headers = [JSON, ("idempotency-key", key)];
    let answer = tenant.platform.send("POST", "/v1/platform/events", &headers, &event.to_string());
    (answer.status, answer.json()["data"].take())
}

#[test]
fn the_same_publish_is_one_event() {
    let (_home, daemon) = started();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = tenant.register(&receiver, json!({}));
    let mut event = tenant.event("vs_1", json!({ "b": 1, "a": [1, 2] }));
    event["webhook_endpoint_ids"] = json!([endpoint]);
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let publishes: Vec<_> =
            (0..10).map(|_| scope.spawn(|| publish(&tenant, "key", &event))).collect();
        publishes.into_iter().map(|publish| publish.join().unwrap()).collect()
    });
    assert!(
        answers.iter().all(|(status, first)| *status == 202 && first["id"] == answers[0].1["id"])
    );
    event["data"] = json!({ "canary": CANARY, "a": [1, 2], "b": 1 });
    assert_eq!(
        publish(&tenant, "key", &event).1["id"],
        answers[0].1["id"],
        "order is no difference"
    );
    tenant
        .caller
        .patch(&format!("/v1/webhooks/endpoints/{endpoint}"), json!({ "enabled": false }))
        .ok();
    let again = publish(&tenant, "key", &event);
    assert_eq!((again.0, &again.1["id"]), (202, &answers[0].1["id"]), "though its target is gone");
    let listed = tenant.caller.get("/v1/webhooks/events").json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert_eq!(receiver.arrived(), 1);
}

#[test]
fn items_of_a_batch_fail_alone() {
    let (_home, daemon) = started();
    let tenant = daemon.tenant();
    let mut bad = tenant.event("vs_2", json!({}));
    bad["type"] = json!("x");
    let mut keyed = tenant.event("vs_3", json!({}));
    keyed["idempotency_key"] = json!("k");
    let batch = json!([
        tenant.event("vs_1", json!({})),
        bad,
        keyed,
        keyed,
        7,
        tenant.event("vs_1", json!({}))
    ]);
    let answers = tenant.platform.post("/v1/platform/events/batch", batch).ok();
    let answers = answers.as_array().unwrap();
    let statuses: Vec<_> =
        answers.iter().map(|answer| answer["status"].as_u64().unwrap()).collect();
    // Two terminal events of one session in one batch: either may be the first.
    assert_eq!(statuses[1..5], [400, 202, 202, 400]);
    let mut ends = [statuses[0], statuses[5]];
    ends.sort_unstable();
    assert_eq!(ends, [202, 409]);
    assert_eq!(answers[2]["event"]["id"], answers[3]["event"]["id"]);
    assert_eq!(
        (&answers[1]["event"], &answers[1]["error"]["code"]),
        (&Value::Null, &json!("BAD_REQUEST"))
    );
}

#[test]
fn lists_page_through_everything_once() {
    let (_home, daemon) = started();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Accept);
    for _ in 0..3 {
        tenant.register_without_key(&receiver, json!({}));
    }
    let full = tenant.caller.post("/v1/webhooks/endpoints", json!({ "url": receiver.url }));
    assert_eq!((full.status, full.code().as_str()), (409, "CONFLICT"));
    let mut published: Vec<String> = (0..7)
        .map(|n| tenant.publish(&format!("vs_{n}"), json!({}))["id"].as_str().unwrap().to_owned())
        .collect();
    published.reverse();
    for (path, expected) in [
        ("/v1/webhooks/endpoints", 3),
        ("/v1/webhooks/events", 7),
        ("/v1/events", 7),
        ("/v1/webhooks/deliveries", 21),
    ] {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = tenant.caller.get(&format!("{path}?limit=2{cursor}")).json();
            assert_eq!(page["pagination"]["limit"], 2);
            ids.extend(page["data"].as_array().unwrap().iter().map(|item| item["id"].to_string()));
            match page["pagination"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&starting_after={next}"),
                None => break,
            }
        }
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!((ids.len(), unique.len()), (expected, expected), "{path}");
        if expected == 7 {
            let published: Vec<_> = published.iter().map(|id| json!(id).to_string()).collect();
            assert_eq!(ids, published, "newest first");
        }
    }
    let default = tenant.caller.get("/v1/webhooks/deliveries").json();
    assert_eq!(
        (&default["pagination"]["limit"], default["data"].as_array().unwrap().len()),
        (&json!(10), 10)
    );
    let from = tenant.caller.get(&format!("/v1/webhooks/events/{}", published[2])).ok();
    let from = from["created_at"].as_str().unwrap().to_owned();
    let since = tenant.caller.get(&format!("/v1/webhooks/events?created_from={from}")).json();
    assert!(since["data"].as_array().unwrap().len() >= 3);
}

#[test]
fn objects_have_the_members_of_the_contract_in_order() {
    let (_home, daemon) = started();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Answer(500));
    let settings = json!({ "url": receiver.url, "name": "  n  ", "labels": [" a "] });
    let created = tenant.caller.post("/v1/webhooks/endpoints", settings);
    assert_eq!(created.status, 200);
    let created = created.ok();
    let id = created["endpoint"]["id"].as_str().unwrap();
    assert_eq!(
        (&created["endpoint"]["name"], &created["endpoint"]["labels"]),
        (&json!("n"), &json!(["a"]))
    );
    let key = json!({
        "key_id": "k", "algorithm": "RSA-OAEP-256", "key_type": "RSA", "jwk": receiver.public_jwk,
    });
    let key = tenant.caller.post(&format!("/v1/webhooks/endpoints/{id}/keys"), key).ok();
    tenant.publish("vs_1", json!({}));
    let names =
        |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let event = &tenant.caller.get("/v1/webhooks/events").json()["data"][0];
    let delivery = &tenant.caller.get("/v1/webhooks/deliveries").json()["data"][0];
    insta::assert_json_snapshot!(
        "members",
        json!({
            "created": names(&created),
            "endpoint": names(&created["endpoint"]),
            "key": names(&key),
            "jwk": names(&key["jwk"]),
            "event": names(event),
            "event.deliveries": names(&event["deliveries"][0]),
            "delivery": names(delivery),
            "envelope of a list": names(&tenant.caller.get("/v1/webhooks/events").json()),
            "envelope of an item": names(&tenant.caller.get("/").json()),
        })
    );
}

#[test]
fn keys_are_listed_by_id_and_an_unknown_endpoint_has_none() {
    let (_home, daemon) = started();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = tenant.register(&receiver, json!({}));
    let path = format!("/v1/webhooks/endpoints/{endpoint}/keys");
    let key = json!({
        "key_id": "k2", "algorithm": "RSA-OAEP-256", "key_type": "RSA", "jwk": receiver.public_jwk,
    });
    let second = tenant.caller.post(&path, key.clone()).ok();
    assert_eq!((&second["is_active"], &second["disabled_at"]), (&json!(true), &Value::Null));
    assert_eq!(tenant.caller.post(&path, key).code(), "CONFLICT");
    let active = tenant.caller.get(&format!("{path}?is_active=true")).ok();
    assert_eq!(active, json!([second]));
    assert_eq!(tenant.caller.get(&path).ok().as_array().unwrap().len(), 2);
    let unknown = tenant.caller.get("/v1/webhooks/endpoints/whe_unknown/keys");
    assert_eq!((unknown.status, unknown.ok()), (200, json!([])));
}

#[test]
fn operators_find_health_readiness_and_metrics() {
    let (_home, daemon) = started();
    let nobody = Caller::new(&daemon.url, "");
    assert_eq!(nobody.get("/healthz").status, 200);
    assert_eq!(nobody.get("/readyz").json(), json!({ "ready": true, "reasons": [] }));
    assert_eq!(nobody.get("/").ok()["status"], "healthy");
    assert_eq!(nobody.send("HEAD", "/", &[], "").status, 200);
    let tenant = daemon.tenant();
    tenant.publish("vs_1", json!({}));
    let metrics = nobody.get("/metrics").text;
    for line in ["hookseal_events_accepted_total 1", "hookseal_ledger_commit_seconds_count"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(!metrics.contains(&tenant.organization), "no tenant in a label");
}
