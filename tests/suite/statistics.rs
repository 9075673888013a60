//! Statistics: what was counted is shown, for an endpoint and for its organization, and outlives the process.

use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use hookseal_core::delivery::{Attempt, ClaimToken};
use hookseal_core::endpoint::Endpoint;
use hookseal_core::outcome::Outcome;
use hookseal_core::ports::{Haste, Ledger as _, Settlement, Tallies as _};
use hookseal_core::retry::RetrySchedule;
use hookseal_core::statistics::{Scope, Statistics};
use hookseal_core::time::Timestamp;
use serde_json::{Value, json};

use crate::on_every_database;
use crate::support::daemon::{Caller, Home, wait};
use crate::support::databases::Bench;
use crate::support::rows::{T0, claim};

const DOCUMENT: &str = "query($from: DateTime, $to: DateTime) {
    organization { statistics(from: $from, to: $to) { ...all } }
    endpoints { nodes { name statistics(from: $from, to: $to) { ...all } } } }
    fragment all on Statistics { delivered failed retried successRate queueDepth oldestPendingAt
        latency { p50Ms p95Ms p99Ms } }";

fn ask(caller: &Caller, variables: Value) -> Value {
    let body = json!({ "query": DOCUMENT, "variables": variables });
    caller.post("/graphql", body).json()
}

#[test]
fn what_was_delivered_failed_and_waits_is_told_and_kept() {
    let home = Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "50ms,1h")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let good = Receiver::start(Behaviour::Accept);
    tenant.register(&good, json!({ "name": "good" }));
    for n in 0..5 {
        tenant.publish(&format!("vs_{n}"), json!({}));
    }
    tenant.settle(Duration::from_secs(20));
    let bad = Receiver::start(Behaviour::Answer(500));
    tenant.register(&bad, json!({ "name": "bad" }));
    let keyless = Receiver::start(Behaviour::Accept);
    tenant.register_without_key(&keyless, json!({ "name": "keyless" }));
    for n in 5..8 {
        tenant.publish(&format!("vs_{n}"), json!({}));
    }
    let retried = || {
        let pending = tenant.deliveries("&status=pending");
        pending.len() == 3 && pending.iter().all(|delivery| delivery["attempt_count"] == 2)
    };
    wait(Duration::from_secs(20), "second attempts", retried);

    let seen = |answer: &Value| {
        let of = |statistics: &Value| {
            let counts = ["delivered", "failed", "retried", "queueDepth"];
            assert_eq!(
                statistics["oldestPendingAt"].is_string(),
                statistics["queueDepth"] != 0,
                "{statistics}"
            );
            counts.map(|name| statistics[name].as_u64().unwrap())
        };
        let nodes =
            answer["data"]["endpoints"]["nodes"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let by_name =
            |name: &str| of(&nodes.iter().find(|node| node["name"] == name).unwrap()["statistics"]);
        [
            of(&answer["data"]["organization"]["statistics"]),
            by_name("good"),
            by_name("bad"),
            by_name("keyless"),
        ]
    };
    let expected = [[8, 3, 6, 3], [8, 0, 0, 0], [0, 0, 6, 3], [0, 3, 0, 0]];
    let answer = ask(&tenant.caller, json!({}));
    assert_eq!(seen(&answer), expected);
    let organization = &answer["data"]["organization"]["statistics"];
    assert_eq!(organization["successRate"], json!(8.0 / 11.0));
    assert!(organization["latency"]["p50Ms"].as_u64() <= organization["latency"]["p99Ms"].as_u64());
    let past = json!({ "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z" });
    let none = [[0, 0, 0, 3], [0, 0, 0, 0], [0, 0, 0, 3], [0, 0, 0, 0]];
    assert_eq!(seen(&ask(&tenant.caller, past)), none);
    for (span, name) in [
        (json!({ "from": "2026-01-01T00:00:00Z", "to": "2026-01-09T00:00:00Z" }), "from"),
        (json!({ "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z" }), "from"),
        (json!({ "to": "yesterday" }), "to"),
    ] {
        let error = &ask(&tenant.caller, span)["errors"][0];
        assert_eq!(error["extensions"]["code"], "BAD_REQUEST", "{error}");
        assert!(error["message"].as_str().unwrap().starts_with(name), "{error}");
    }

    assert!(daemon.terminate().success());
    let daemon = home.start();
    let caller = Caller::new(&daemon.url, &tenant.caller.key);
    assert_eq!(seen(&ask(&caller, json!({}))), expected);
}

on_every_database! {
    a_minute_is_counted_once_whether_it_is_kept_or_not,
}

/// A delivery that a receiver took at `at`.
async fn delivered_at(bench: &Bench, endpoint: &Endpoint, at: Timestamp) {
    let acceptance = bench.acceptance(endpoint).await;
    let id = acceptance.deliveries[0].delivery.id.clone();
    bench.store.accept(acceptance).await.unwrap();
    let claimed = bench.store.claim(&endpoint.id, vec![id], claim(1, at), at).await;
    let delivery = claimed.unwrap().remove(0).delivery;
    let outcome = Outcome::Answered { status: 204, retry_after: None };
    let attempt = Attempt::new(at, Duration::from_millis(5), outcome);
    let (schedule, retention) = (RetrySchedule::default(), Default::default());
    let progress =
        delivery.progress.settle(attempt, outcome.verdict(), &schedule, retention, at).unwrap();
    let settlement = Settlement { delivery, token: ClaimToken(1), progress, replaced: None };
    assert_eq!(bench.store.settle(vec![settlement], Haste::Now).await.unwrap(), [true]);
}

async fn a_minute_is_counted_once_whether_it_is_kept_or_not(bench: Bench) {
    let store = &bench.store;
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let minute = |n: u64| T0.plus(Duration::from_secs(60 * n));
    let scopes = [Scope::Organization, Scope::Endpoint(endpoint.id.clone())];
    let delivered = async |from: u64, to: u64| {
        let found = store.statistics(&organization, &scopes, minute(from), minute(to));
        let found = found.await.unwrap();
        scopes.each_ref().map(|scope| found[scope].tally.delivered)
    };
    for n in 0..3 {
        delivered_at(&bench, &endpoint, minute(n)).await;
    }
    assert_eq!(delivered(0, 2).await, [3, 3]);
    assert_eq!(store.keep_tallies(minute(2), 10).await.unwrap(), 4, "two minutes of two scopes");
    assert_eq!(store.keep_tallies(minute(2), 10).await.unwrap(), 0);
    assert_eq!((delivered(0, 2).await, delivered(1, 1).await), ([3, 3], [1, 1]));
    // Recorded late: the minute was kept already.
    delivered_at(&bench, &endpoint, minute(0)).await;
    assert_eq!(delivered(0, 0).await, [2, 2]);
    while store.keep_tallies(Timestamp::MAX, 1).await.unwrap() > 0 {}
    assert_eq!((delivered(0, 0).await, delivered(0, 2).await), ([2, 2], [4, 4]));
    let other = bench.organization().await;
    let foreign = store.statistics(&other, &scopes, minute(0), minute(2)).await.unwrap();
    assert!(foreign.values().all(|statistics| *statistics == Statistics::default()));
    while store.purge_tallies(minute(2), 1).await.unwrap() > 0 {}
    assert_eq!(delivered(0, 2).await, [1, 1]);
}
