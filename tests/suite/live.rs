//! What is watched over a WebSocket or as server-sent events: every change once and in order, resumed by a
//! cursor, ended with the rights of its caller.

use std::time::{Duration, Instant};

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use crate::support::daemon::{Caller, Daemon, Home, Tenant};
use crate::support::databases::new_postgres_database;
use crate::support::redis::Redis;
use crate::support::socket::{Said, Socket, events};

const DELIVERIES: &str = "subscription($filter: DeliveryChangedFilter, $after: String) {
    deliveryChanged(filter: $filter, after: $after) {
        cursor gap change delivery { id status attemptCount event { triggerId } endpoint { id } } } }";

struct Stage {
    _home: Home,
    daemon: Daemon,
    tenant: Tenant,
    receiver: Receiver,
    endpoint: String,
}

fn stage() -> Stage {
    stage_on(&[])
}

fn stage_on(settings: &[(&str, &str)]) -> Stage {
    let home = Home::new(settings);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = tenant.register(&receiver, json!({}));
    Stage { _home: home, daemon, tenant, receiver, endpoint }
}

#[test]
fn a_delivery_is_watched_from_its_creation_to_its_end() {
    let stage = stage();
    let socket = Socket::of(&stage.tenant.caller);
    socket.subscribe("d", DELIVERIES, json!({}));
    std::thread::sleep(Duration::from_millis(200));
    let event = stage.tenant.publish("vs_1", json!({}));
    let id = &event["deliveries"][0]["id"];
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last: &Value| last["change"] != "SETTLED") {
        let item = socket.item("d");
        assert_eq!((&item["gap"], &item["delivery"]["id"]), (&json!(false), id));
        assert_eq!(item["delivery"]["event"]["triggerId"], "vs_1");
        assert_eq!(item["delivery"]["endpoint"]["id"], json!(stage.endpoint));
        seen.push(item);
    }
    let changes: Vec<_> = seen.iter().map(|item| item["change"].as_str().unwrap()).collect();
    assert!(
        changes == ["CREATED", "SETTLED"] || changes == ["CREATED", "CLAIMED", "SETTLED"],
        "{changes:?}"
    );
    let last = &seen.last().unwrap()["delivery"];
    assert_eq!((&last["status"], &last["attemptCount"]), (&json!("SUCCEEDED"), &json!(1)));
}

#[test]
fn events_and_endpoints_are_watched() {
    let stage = stage();
    let Stage { tenant, endpoint, .. } = &stage;
    let socket = Socket::of(&tenant.caller);
    let document = "subscription { eventPublished(type: \"verification.session.succeeded\") {
        gap cursor event { id type deliveries { endpointId } } } }";
    socket.subscribe("e", document, json!({}));
    let document = "subscription { endpointChanged { gap change endpoint { id name enabled } } }";
    socket.subscribe("w", document, json!({}));
    std::thread::sleep(Duration::from_millis(200));
    let event = tenant.publish("vs_1", json!({}));
    let item = socket.item("e");
    assert_eq!(item["event"]["id"], event["id"]);
    assert_eq!(item["event"]["deliveries"][0]["endpointId"], json!(endpoint));
    let path = format!("/v1/webhooks/endpoints/{endpoint}");
    let caller = &tenant.caller;
    caller.patch(&path, json!({ "name": "n" })).ok();
    caller.patch(&path, json!({ "enabled": false })).ok();
    caller.patch(&path, json!({ "enabled": true, "name": "m" })).ok();
    caller.post(&format!("{path}/signing-secret/rotate"), json!({})).ok();
    caller.send("DELETE", &path, &[], "").ok();
    caller.post("/v1/webhooks/endpoints", json!({ "url": "https://example.com/" })).ok();
    for (change, name, enabled) in [
        ("UPDATED", json!("n"), true),
        ("DISABLED", json!("n"), false),
        ("ENABLED", json!("m"), true),
        ("UPDATED", json!("m"), true),
        ("DELETED", json!("m"), true),
        ("CREATED", Value::Null, true),
    ] {
        let item = socket.item("w");
        assert_eq!(item["change"], change);
        assert_eq!(
            (&item["endpoint"]["name"], &item["endpoint"]["enabled"]),
            (&name, &json!(enabled))
        );
    }
}

#[test]
fn a_filter_lets_through_what_it_names() {
    let stage = stage();
    let Stage { tenant, endpoint, .. } = &stage;
    let other = Receiver::start(Behaviour::Accept);
    let other_endpoint = tenant.register(&other, json!({}));
    let socket = Socket::of(&tenant.caller);
    let settled = |mut filter: Value| {
        filter["changes"] = json!(["SETTLED"]);
        json!({ "filter": filter })
    };
    socket.subscribe("endpoint", DELIVERIES, settled(json!({ "endpointId": endpoint })));
    socket.subscribe("trigger", DELIVERIES, settled(json!({
        "triggerId": "vs_2", "triggerType": "verification_session", "endpointId": other_endpoint })));
    socket.subscribe("status", DELIVERIES, settled(json!({ "status": "FAILED" })));
    socket.subscribe(
        "type",
        DELIVERIES,
        settled(json!({ "eventType": "verification.session.failed" })),
    );
    std::thread::sleep(Duration::from_millis(200));
    for n in 1..=3 {
        tenant.publish(&format!("vs_{n}"), json!({}));
        tenant.settle(Duration::from_secs(20));
    }
    let mut heard: Vec<(String, String)> = Vec::new();
    while let Some(Said::Message(message)) = socket.within(Duration::from_millis(500)) {
        let item = &message["payload"]["data"]["deliveryChanged"]["delivery"];
        let trigger = item["event"]["triggerId"].as_str().unwrap().to_owned();
        heard.push((message["id"].as_str().unwrap().to_owned(), trigger));
    }
    heard.sort();
    let pair = |id: &str, trigger: &str| (id.to_owned(), trigger.to_owned());
    assert_eq!(
        heard,
        [
            pair("endpoint", "vs_1"),
            pair("endpoint", "vs_2"),
            pair("endpoint", "vs_3"),
            pair("trigger", "vs_2")
        ]
    );
    drop(stage.receiver);
}

#[test]
fn a_cursor_goes_on_where_it_was_and_nothing_is_missed_or_doubled() {
    goes_on_where_it_was(&stage().tenant);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_does_on_postgres_with_redis() {
    let redis = Redis::start();
    let database = new_postgres_database().await;
    let work = move || {
        let redis_url = redis.url();
        let stage = stage_on(&[
            ("HOOKSEAL_DATABASE_URL", &database),
            ("HOOKSEAL_REDIS_URL", &redis_url),
            ("HOOKSEAL_MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ]);
        goes_on_where_it_was(&stage.tenant);
        let (tenant, canary) = (&stage.tenant, "canary-of-the-feed");
        let socket = Socket::of(&tenant.caller);
        socket.subscribe("d", DELIVERIES, json!({}));
        std::thread::sleep(Duration::from_millis(200));
        tenant.publish("vs_last", json!({ "secret": canary }));
        let cursor = loop {
            let item = socket.item("d");
            if item["change"] == "SETTLED" {
                break item["cursor"].clone();
            }
        };
        let stream: redis::Value = redis.ask(&["XRANGE", "hookseal:{feed}:stream", "-", "+"]);
        let stream = format!("{stream:?}");
        assert!(stream.contains("vs_last") && !stream.contains(canary));
        // A restart in order is no gap.
        let Stage { _home: home, daemon, .. } = stage;
        assert!(daemon.terminate().success());
        let daemon = home.start();
        let caller = Caller::new(&daemon.url, &tenant.caller.key);
        let socket = Socket::of(&caller);
        socket.subscribe("d", DELIVERIES, json!({ "after": cursor }));
        let tenant = Tenant { caller, platform: daemon.platform(), ..tenant.clone() };
        tenant.publish("vs_after", json!({}));
        let item = socket.item("d");
        assert_eq!((&item["change"], &item["gap"]), (&json!("CREATED"), &json!(false)));
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

fn goes_on_where_it_was(tenant: &Tenant) {
    let publisher = std::thread::spawn({
        let tenant = tenant.clone();
        move || {
            for n in 0..150 {
                tenant.publish(&format!("vs_{n}"), json!({}));
            }
        }
    });
    let start = Socket::of(&tenant.caller);
    start.subscribe("d", DELIVERIES, json!({}));
    // From the first event that is seen from its creation on: before it there may be ends of others, of which more were
    // created than are seen.
    let mut items = vec![start.item("d")];
    while items[0]["change"] != "CREATED" {
        items[0] = start.item("d");
    }
    drop(start);
    // Each connection handles a few and is cut off with more on the way.
    for round in 0..40 {
        let socket = Socket::of(&tenant.caller);
        let after = &items.last().unwrap()["cursor"];
        socket.subscribe("d", DELIVERIES, json!({ "after": after }));
        for _ in 0..=round % 7 {
            items.push(socket.item("d"));
        }
    }
    publisher.join().unwrap();
    tenant.settle(Duration::from_secs(30));
    let socket = Socket::of(&tenant.caller);
    let after = items.last().unwrap()["cursor"].clone();
    socket.subscribe("d", DELIVERIES, json!({ "after": after }));
    while let Some(Said::Message(message)) = socket.within(Duration::from_millis(500)) {
        items.push(message["payload"]["data"]["deliveryChanged"].clone());
    }
    assert!(items.iter().all(|item| item["gap"] == false));
    let first = items[0]["delivery"]["event"]["triggerId"].as_str().unwrap();
    let first: usize = first.strip_prefix("vs_").unwrap().parse().unwrap();
    for n in first + 1..150 {
        let of = format!("vs_{n}");
        let changes = items.iter().filter(|item| item["delivery"]["event"]["triggerId"] == *of);
        let changes: Vec<_> = changes.map(|item| item["change"].as_str().unwrap()).collect();
        assert!(
            changes == ["CREATED", "SETTLED"] || changes == ["CREATED", "CLAIMED", "SETTLED"],
            "{of}: {changes:?}"
        );
    }
}

#[test]
fn what_a_cursor_cannot_reach_is_a_gap_and_what_is_none_is_refused() {
    let stage = stage();
    let socket = Socket::of(&stage.tenant.caller);
    socket.subscribe("d", DELIVERIES, json!({ "after": "1-1-1" }));
    let item = socket.item("d");
    assert_eq!(
        (&item["gap"], &item["change"], &item["delivery"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
    stage.tenant.publish("vs_1", json!({}));
    assert_eq!(socket.item("d")["change"], "CREATED");
    socket.subscribe("x", DELIVERIES, json!({ "after": "no cursor" }));
    let refused = loop {
        let message = socket.hear();
        if message["id"] == "x" {
            break message;
        }
    };
    let error = &refused["payload"]["errors"][0];
    assert_eq!(error["extensions"]["code"], "INVALID_REQUEST", "{refused}");
    drop(stage);
}

#[test]
fn the_protocol_is_kept_to() {
    let stage = stage();
    let (base, key) = (&stage.daemon.url, &stage.tenant.caller.key);
    let bearer = format!("Bearer {key}");
    let protocol = "graphql-transport-ws";
    let stranger = || Socket::open(base, protocol, &[]).unwrap();
    let init = |authorization: &str| json!({ "type": "connection_init", "payload": { "Authorization": authorization } });
    let closed = |socket: &Socket| match socket.next() {
        Said::Closed(code, _) => code,
        other => panic!("{other:?}"),
    };

    assert_eq!(
        Socket::open(base, protocol, &[("authorization", "Bearer nobody")]).err(),
        Some(401)
    );
    let foreign = [("authorization", bearer.as_str()), ("origin", "https://evil.example")];
    assert_eq!(Socket::open(base, protocol, &foreign).err(), Some(403));
    let socket = Socket::open(base, "graphql-ws", &[("authorization", &bearer)]);
    assert_eq!(socket.map(|socket| closed(&socket)).unwrap_or(4406), 4406);

    let socket = stranger();
    socket.subscribe("d", DELIVERIES, json!({}));
    assert_eq!(closed(&socket), 4401);
    let socket = stranger();
    socket.say(json!({ "type": "connection_init" }));
    assert_eq!(closed(&socket), 4401);
    let socket = stranger();
    socket.say(init("Bearer nobody"));
    assert_eq!(closed(&socket), 4403);
    let socket = stranger();
    socket.say(init(&bearer));
    assert_eq!(socket.hear()["type"], "connection_ack");
    socket.say(json!({ "type": "ping", "payload": { "n": 1 } }));
    assert_eq!(socket.hear(), json!({ "type": "pong", "payload": { "n": 1 } }));
    socket.say(json!({ "type": "connection_init" }));
    assert_eq!(closed(&socket), 4429);
    for nonsense in
        ["", "{}", "[]", "{\"type\":\"start\",\"id\":\"1\"}", "{\"type\":\"subscribe\"}"]
    {
        let socket = Socket::of(&stage.tenant.caller);
        socket.say_text(nonsense);
        assert_eq!(closed(&socket), 4400, "{nonsense}");
    }
    let socket = Socket::of(&stage.tenant.caller);
    socket.subscribe("d", DELIVERIES, json!({}));
    socket.subscribe("d", DELIVERIES, json!({}));
    assert_eq!(socket.next(), Said::Closed(4409, "Subscriber for d already exists".into()));

    // An id may be used again once its operation has ended.
    let socket = Socket::of(&stage.tenant.caller);
    for _ in 0..2 {
        socket.subscribe("q", "{ endpoints { nodes { id } } }", json!({}));
        assert_eq!(socket.item("q")["nodes"][0]["id"], json!(stage.endpoint));
        assert_eq!(socket.hear(), json!({ "id": "q", "type": "complete" }));
    }
    socket.subscribe("x", "{ nothing }", json!({}));
    assert_eq!(socket.hear()["type"], "error");
    for n in 0..100 {
        socket.subscribe(&n.to_string(), DELIVERIES, json!({}));
    }
    socket.subscribe("one more", DELIVERIES, json!({}));
    let refused = socket.hear();
    assert_eq!((&refused["id"], &refused["type"]), (&json!("one more"), &json!("error")));
    socket.say(json!({ "id": "7", "type": "complete" }));
    socket.subscribe("7", DELIVERIES, json!({}));
    assert_eq!(socket.within(Duration::from_millis(200)), None);

    let socket = Socket::of(&stage.tenant.caller);
    socket.say_text(&format!("{{\"type\":\"ping\",\"payload\":\"{}\"}}", "x".repeat(70_000)));
    assert!(matches!(socket.next(), Said::Closed(4400, _) | Said::Gone));

    let socket = stranger();
    let waits = Instant::now();
    assert_eq!(closed(&socket), 4408);
    assert!(waits.elapsed() > Duration::from_secs(8), "{:?}", waits.elapsed());
}

/// Deletes the key of `caller`; answers when.
fn revoke(stage: &Stage, caller: &Caller) -> Instant {
    let keys = "query($o: ID) { apiKeys(organizationId: $o) { nodes { id name } } }";
    let platform = &stage.tenant.platform;
    let ask = |document: &str, variables: Value| {
        platform.post("/graphql", json!({ "query": document, "variables": variables })).json()
    };
    let organization = json!(stage.tenant.organization);
    let found = ask(keys, json!({ "o": organization }));
    for key in found["data"]["apiKeys"]["nodes"].as_array().unwrap() {
        let document = "mutation($id: ID!, $o: ID) { deleteApiKey(id: $id, organizationId: $o) { userErrors { code } } }";
        let done = ask(document, json!({ "id": key["id"], "o": organization }));
        assert_eq!(done["data"]["deleteApiKey"]["userErrors"], json!([]), "{done}");
    }
    assert_eq!(caller.get("/v1/webhooks/endpoints").status, 401);
    Instant::now()
}

#[test]
fn whoever_loses_his_key_is_shut_out_within_a_second() {
    let stage = stage();
    let caller = stage.tenant.caller.clone();
    let (socket, idle) = (Socket::of(&caller), Socket::of(&caller));
    socket.subscribe("d", DELIVERIES, json!({}));
    let stream = events(&caller, "subscription { deliveryChanged { change } }");
    stage.tenant.publish("vs_1", json!({}));
    assert_eq!(socket.item("d")["change"], "CREATED");
    let (event, data) = stream.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(event, "next");
    assert_eq!(data["data"]["deliveryChanged"]["change"], "CREATED");
    let revoked = revoke(&stage, &caller);
    for socket in [&socket, &idle] {
        let end = loop {
            match socket.next() {
                Said::Message(_) => {}
                end => break end,
            }
        };
        assert_eq!(end, Said::Closed(4403, "Forbidden".into()));
    }
    while stream.recv_timeout(Duration::from_secs(5)).is_ok() {}
    assert!(revoked.elapsed() < Duration::from_millis(1500), "{:?}", revoked.elapsed());
}

#[test]
fn a_document_may_be_a_stream_of_events() {
    let stage = stage();
    let caller = &stage.tenant.caller;
    let heard: Vec<_> = events(caller, "{ endpoints { nodes { id } } }").into_iter().collect();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!(heard[0].0, "next");
    assert_eq!(heard[0].1["data"]["endpoints"]["nodes"][0]["id"], json!(stage.endpoint));
    assert_eq!(heard[1], ("complete".to_owned(), Value::Null));
    let refused: Vec<_> = events(caller, "{ nothing }").into_iter().collect();
    assert!(refused[0].1["errors"][0]["message"].is_string());
    assert_eq!(refused[1].0, "complete");
    drop(stage);
}

#[test]
fn a_daemon_that_stops_tells_those_who_watch() {
    let stage = stage();
    let socket = Socket::of(&stage.tenant.caller);
    socket.subscribe("d", DELIVERIES, json!({}));
    let stream = events(&stage.tenant.caller, "subscription { deliveryChanged { change } }");
    let begun = Instant::now();
    assert!(stage.daemon.terminate().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(socket.next(), Said::Closed(1001, "Going away".into()));
    assert!(stream.recv_timeout(Duration::from_secs(5)).is_err());
}

#[test]
fn a_breaker_is_seen_to_open_and_to_close() {
    let schedule = ["400ms"; 45].join(",");
    let stage = stage_on(&[("HOOKSEAL_RETRY_SCHEDULE", &schedule)]);
    let failing = Receiver::start(Behaviour::Answer(500));
    let endpoint =
        stage.tenant.register(&failing, json!({ "name": "failing", "max_in_flight": 2 }));
    let socket = Socket::of(&stage.tenant.caller);
    let document =
        "subscription { endpointChanged(filter: { changes: [BREAKER_OPENED, BREAKER_CLOSED] }) {
        change endpoint { id name } } }";
    socket.subscribe("b", document, json!({}));
    std::thread::sleep(Duration::from_millis(200));
    let cluster = |field: &str| {
        let body =
            json!({ "query": "{ cluster { nodes { version endpoints breakersOpen waiting } } }" });
        let answer = stage.tenant.platform.post("/graphql", body).json();
        answer["data"]["cluster"]["nodes"][0][field].clone()
    };
    for n in 0..2 {
        stage.tenant.publish(&format!("vs_{n}"), json!({}));
    }
    let opened = socket.item("b");
    assert_eq!(
        (&opened["change"], &opened["endpoint"]["id"]),
        (&json!("BREAKER_OPENED"), &json!(endpoint))
    );
    assert_eq!((cluster("breakersOpen"), cluster("version")), (json!(1), json!("0.1.0")));
    failing.behave(Behaviour::Accept);
    for n in 2..12 {
        stage.tenant.publish(&format!("vs_{n}"), json!({}));
    }
    assert_eq!(socket.item("b")["change"], "BREAKER_CLOSED");
    assert_eq!(cluster("breakersOpen"), json!(0));
}

#[test]
fn a_breaker_whose_endpoint_falls_asleep_is_seen_to_close() {
    // The twentieth failure opens it, after ten seconds of them, and then nothing is due for an hour. Between them the
    // endpoint stays awake.
    let schedule = ["550ms"; 19].join(",") + ",1h";
    let stage = stage_on(&[("HOOKSEAL_RETRY_SCHEDULE", &schedule), ("HOOKSEAL_IDLE_AFTER", "2s")]);
    let failing = Receiver::start(Behaviour::Answer(500));
    stage.tenant.register(&failing, json!({ "name": "failing" }));
    let socket = Socket::of(&stage.tenant.caller);
    let document =
        "subscription { endpointChanged(filter: { changes: [BREAKER_OPENED, BREAKER_CLOSED] }) {
        change } }";
    socket.subscribe("b", document, json!({}));
    std::thread::sleep(Duration::from_millis(200));
    stage.tenant.publish("vs_1", json!({}));
    assert_eq!(socket.item("b")["change"], "BREAKER_OPENED");
    assert_eq!(socket.item("b")["change"], "BREAKER_CLOSED");
}
