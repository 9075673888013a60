//! The main job, from the outside: what is published arrives, sealed and signed; what fails is
//! retried; what cannot be sealed is a recorded failure.

use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use hookseal_core::limits::PUBLISHES_AT_ONCE;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sea_orm::{ConnectionTrait as _, Database, TransactionTrait as _};
use serde_json::{Value, json};

use crate::support::daemon::{Home, PLATFORM_KEY, wait};
use crate::support::leavings::CANARY;
use crate::support::wire::Wire;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_published_event_arrives_sealed_and_signed() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = tenant.register(&receiver, json!({}));
    let event = tenant.publish("vs_1", json!({ "claims": { "given_names": "Ada" } }));
    assert_eq!(event["deliveries"].as_array().unwrap().len(), 1);
    tenant.settle(SOON);
    let [arrival] = &receiver.arrivals()[..] else { panic!("one request") };
    assert!(arrival.verified);
    assert_eq!(
        arrival.plaintext,
        Some(json!({
            "data": { "claims": { "given_names": "Ada" }, "canary": CANARY },
            "metadata": {
                "contract_version": 1,
                "event_id": event["id"],
                "verification_session_id": "vs_1",
            },
            "type": "verification.session.succeeded",
        }))
    );
    let mut names: Vec<&str> = arrival.raw.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "content-length",
            "content-type",
            "date",
            "host",
            "user-agent",
            "x-kayle-delivery-id",
            "x-kayle-event",
            "x-kayle-signature"
        ]
    );
    let header = |name: &str| {
        let mut headers = arrival.raw.headers.iter();
        headers.find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    };
    assert_eq!(header("content-type"), Some("application/jose"));
    assert_eq!(header("user-agent"), Some(concat!("Hookseal/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(header("x-kayle-event"), Some("verification.session.succeeded"));
    let delivery = &tenant.deliveries("")[0];
    assert_eq!(delivery["id"], json!(header("x-kayle-delivery-id")));
    assert_eq!(delivery["status"], "succeeded");
    assert_eq!(
        (&delivery["attempt_count"], &delivery["last_status_code"]),
        (&json!(1), &json!(204))
    );
    assert_eq!(delivery["payload_retention_reason"], "delivered");
    assert_eq!(delivery["webhook_endpoint_id"], json!(endpoint));
}

#[test]
fn a_failed_attempt_is_retried_with_the_same_bytes_and_a_new_signature() {
    let home = Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "1100ms,10ms")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::FailFirst(2));
    tenant.register(&receiver, json!({}));
    tenant.publish("vs_1", json!({}));
    tenant.settle(SOON);
    let arrivals = receiver.arrivals();
    let statuses: Vec<_> = arrivals.iter().map(|arrival| arrival.status).collect();
    assert_eq!(statuses, [Some(500), Some(500), Some(204)]);
    assert!(arrivals.iter().all(|a| a.verified && a.raw.body == arrivals[0].raw.body));
    assert!(arrivals[1].at - arrivals[0].at >= Duration::from_millis(1050), "never early");
    let signature = |n: usize| {
        let mut headers = arrivals[n].raw.headers.iter();
        headers.find(|(name, _)| name == "x-kayle-signature").unwrap().1.clone()
    };
    assert_ne!(signature(0), signature(1));
    assert_eq!(tenant.deliveries("")[0]["attempt_count"], 3);
}

#[test]
fn an_exhausted_delivery_fails_and_stays_failed() {
    let home = Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "10ms")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Answer(302));
    tenant.register(&receiver, json!({}));
    tenant.publish("vs_1", json!({}));
    tenant.settle(SOON);
    let delivery = &tenant.deliveries("&status=failed")[0];
    assert_eq!(
        (&delivery["attempt_count"], &delivery["last_status_code"]),
        (&json!(2), &json!(302))
    );
    assert_eq!(delivery["failure_reason"], "exhausted");
    assert_eq!(delivery["payload_retention_reason"], "terminal_failure_retention");
    assert_eq!(delivery["next_attempt_at"], Value::Null);
    assert_eq!(receiver.arrived(), 2);
}

#[test]
fn an_endpoint_without_a_key_gets_a_recorded_failure_and_nothing_else() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Accept);
    tenant.register_without_key(&receiver, json!({}));
    let event = tenant.publish("vs_1", json!({}));
    let delivery = &event["deliveries"][0];
    assert_eq!((&delivery["status"], &delivery["attempt_count"]), (&json!("failed"), &json!(1)));
    assert_eq!(delivery["payload_retention_reason"], "no_active_key");
    tenant.settle(SOON);
    assert_eq!(receiver.arrived(), 0);
}

#[test]
fn a_disabled_endpoint_parks_its_deliveries_and_spends_no_attempt() {
    let home = Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "300ms,100ms,100ms")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Answer(500));
    let endpoint = tenant.register(&receiver, json!({}));
    tenant.publish("vs_1", json!({}));
    wait(SOON, "the first attempt", || tenant.deliveries("")[0]["attempt_count"] == 1);
    let path = format!("/v1/webhooks/endpoints/{endpoint}");
    tenant.caller.patch(&path, json!({ "enabled": false })).ok();
    let parked = tenant.publish("vs_2", json!({}));
    assert_eq!(parked["deliveries"], json!([]), "no row for a disabled endpoint");
    std::thread::sleep(Duration::from_millis(700));
    let delivery = &tenant.deliveries("")[0];
    assert_eq!((&delivery["status"], &delivery["attempt_count"]), (&json!("pending"), &json!(1)));
    receiver.behave(Behaviour::Accept);
    tenant.caller.patch(&path, json!({ "enabled": true })).ok();
    tenant.settle(SOON);
    assert_eq!(tenant.deliveries("")[0]["status"], "succeeded");
}

#[test]
fn settings_hold_from_the_next_attempt_on() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let (old, new) = (Receiver::start(Behaviour::Accept), Receiver::start(Behaviour::Accept));
    let endpoint = tenant.register(&old, json!({}));
    for n in 0..50 {
        let (target, other) = if n % 2 == 0 { (&new, &old) } else { (&old, &new) };
        let change = json!({ "url": target.url });
        tenant.caller.patch(&format!("/v1/webhooks/endpoints/{endpoint}"), change).ok();
        let (there, elsewhere) = (target.arrived(), other.arrived());
        tenant.publish(&format!("vs_{n}"), json!({}));
        wait(SOON, "the delivery", || target.arrived() == there + 1);
        assert_eq!(other.arrived(), elsewhere);
    }
}

#[test]
fn a_rate_limit_holds() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Accept);
    tenant.register(&receiver, json!({ "rate_limit_per_second": 5 }));
    let events: Vec<_> = (0..15).map(|n| tenant.event(&format!("vs_{n}"), json!({}))).collect();
    tenant.platform.post("/v1/platform/events/batch", json!(events)).ok();
    tenant.settle(SOON);
    let at: Vec<_> = receiver.arrivals().iter().map(|arrival| arrival.at).collect();
    assert_eq!(at.len(), 15);
    let second = Duration::from_secs(1);
    let busiest = at
        .iter()
        .map(|from| at.iter().filter(|at| **at >= *from && **at - *from < second).count())
        .max();
    assert!(busiest <= Some(7), "{busiest:?} in one second");
}

#[test]
fn a_receiver_that_hangs_fails_by_timeout_and_delays_nobody() {
    let home =
        Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "none"), ("HOOKSEAL_ATTEMPT_TIMEOUT", "8s")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let (hanging, healthy) = (Receiver::start(Behaviour::Hang), Receiver::start(Behaviour::Accept));
    let stuck = tenant.register(&hanging, json!({}));
    tenant.register(&healthy, json!({}));
    for n in 0..20 {
        tenant.publish(&format!("vs_{n}"), json!({}));
    }
    wait(Duration::from_secs(7), "the healthy one", || healthy.accepted() == 20);
    tenant.settle(SOON);
    let failed = tenant.deliveries(&format!("&endpoint_id={stuck}"));
    assert!(failed.iter().all(|d| d["status"] == "failed" && d["last_status_code"].is_null()));
}

#[test]
fn over_capacity_a_publish_hears_503_and_is_not_stored() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Accept);
    for _ in 0..50 {
        tenant.register(&receiver, json!({}));
    }
    // One publish seals some 17 MB, so that a few at once are more than may wait for their commit.
    let data = json!({ "x": "y".repeat(250 * 1024) });
    let answers: Vec<_> = std::thread::scope(|scope| {
        let publish = |n: usize| {
            let event = tenant.event(&format!("vs_{n}"), data.clone());
            tenant.platform.post("/v1/platform/events", event)
        };
        let publishes: Vec<_> = (0..12).map(|n| scope.spawn(move || publish(n))).collect();
        publishes.into_iter().map(|publish| publish.join().unwrap()).collect()
    });
    let (mut accepted, mut refused) = (0, 0);
    for answer in answers {
        match answer.status {
            202 => accepted += 1,
            503 => {
                assert_eq!(answer.code(), "UNAVAILABLE");
                assert!(answer.header("retry-after").is_some());
                refused += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert!(accepted > 0 && refused > 0, "{accepted} accepted, {refused} refused");
    assert_eq!(tenant.deliveries("").len(), accepted * 50, "a refused publish leaves no trace");
}

#[test]
fn publishes_beyond_those_that_may_be_under_way_hear_503_at_once() {
    const BEYOND: usize = 16;
    // Each holds a connection, and many systems begin with fewer than these.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Who writes without an end holds up every commit: so publishes stay under way.
    let url = format!("sqlite://{}?mode=rw", home.data_dir().join("hookseal.sqlite3").display());
    let writer = runtime.block_on(async {
        let writer = Database::connect(url).await.unwrap().begin().await.unwrap();
        writer.execute_unprepared("UPDATE organizations SET name = name").await.unwrap();
        writer
    });
    let publish = |n| {
        let event = tenant.event(&format!("vs_{n}"), json!({})).to_string();
        let mut wire = Wire::open(&daemon.url);
        let head = format!(
            "POST /v1/platform/events HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
             Authorization: Bearer {PLATFORM_KEY}\r\nContent-Type: application/json\r\n"
        );
        wire.say(format!("{head}Content-Length: {}\r\n\r\n{event}", event.len()).as_bytes());
        wire
    };
    let wires: Vec<Wire> = (0..PUBLISHES_AT_ONCE + BEYOND).map(publish).collect();
    wait(SOON, "refusals", || {
        let metrics = tenant.platform.get("/metrics").text;
        let name = "hookseal_publishes_refused_total{code=\"UNAVAILABLE\"} ";
        let count = metrics.lines().find_map(|line| line.strip_prefix(name));
        count.is_some_and(|count| count.parse::<usize>().unwrap() >= BEYOND)
    });
    runtime.block_on(writer.rollback()).unwrap();
    let mut refused = Vec::new();
    for (n, heard) in wires.into_iter().map(Wire::hear).enumerate() {
        let text = heard.text.to_lowercase();
        if text.contains("capacity for publishes") {
            assert!(text.starts_with("http/1.1 503") && text.contains("\r\nretry-after: 1\r\n"));
            refused.push(json!(format!("vs_{n}")));
        } else {
            // Or a machine so busy that the writer was waited for too long.
            assert!(matches!(heard.statuses()[..], [202 | 503]), "{heard:?}");
        }
    }
    assert!((1..=BEYOND).contains(&refused.len()), "{} refused", refused.len());
    let stored = tenant.events();
    assert!(stored.iter().all(|event| !refused.contains(&event["trigger_id"])), "no trace");
}

#[test]
fn large_payloads_of_a_hanging_receiver_hold_a_bounded_share_of_memory() {
    let home =
        Home::new(&[("HOOKSEAL_ATTEMPT_TIMEOUT", "3s"), ("HOOKSEAL_RETRY_SCHEDULE", "none")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Hang);
    tenant.register(&receiver, json!({}));
    let data = json!({ "x": "y".repeat(250 * 1024) });
    for n in 0..40 {
        tenant.publish(&format!("vs_{n}"), data.clone());
    }
    // Some 340 KB each, of which 8 MiB may be claimed at once.
    wait(SOON, "the first attempts", || receiver.arrived() >= 20);
    assert!(tenant.deliveries("&status=delivering").len() <= 25);
    tenant.settle(Duration::from_secs(30));
    assert_eq!((receiver.arrived(), tenant.deliveries("&status=failed").len()), (40, 40));
}
