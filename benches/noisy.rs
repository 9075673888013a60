//! A receiver that hangs costs its own queue and nobody else's latency: the healthy endpoints' time
//! from publish to arrival, with a hanging neighbour and without. `cargo bench --bench noisy`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "shared with the tests, which use all of it")]

#[path = "../tests/suite/support/daemon.rs"]
mod daemon;
#[path = "../tests/suite/support/leavings.rs"]
mod leavings;
#[path = "../tests/suite/support/openapi.rs"]
mod openapi;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use daemon::{Home, Tenant};
use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::json;

/// Healthy endpoints' p99 with the neighbour, as a multiple of that without.
const P99_RATIO: f64 = 1.5;
const HEALTHY: usize = 4;
const EVENTS_PER_SECOND: u32 = 100;
const PHASE: Duration = Duration::from_secs(8);
/// Each phase runs so often, in turn; medians are compared.
const ROUNDS: usize = 3;

fn main() {
    let home = Home::new(&[("HOOKSEAL_ATTEMPT_TIMEOUT", "15s")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let healthy: Vec<Receiver> = (0..HEALTHY).map(|_| Receiver::start(Behaviour::Accept)).collect();
    for receiver in &healthy {
        tenant.register(receiver, json!({}));
    }
    let hanging = Receiver::start(Behaviour::Hang);
    let stuck = tenant.register(&hanging, json!({ "enabled": false }));
    phase(&tenant, &healthy, 0);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (enabled, p99s) in [(false, &mut without), (true, &mut with)] {
            let path = format!("/v1/webhooks/endpoints/{stuck}");
            tenant.caller.patch(&path, json!({ "enabled": enabled })).ok();
            p99s.push(phase(&tenant, &healthy, 1 + 2 * round + usize::from(enabled)));
        }
    }
    let (without, with) = (median(without), median(with));
    println!("{:>24} {:>10} {:>10}", "healthy endpoints", "p50 ms", "p99 ms");
    println!("{:>24} {:>10.2} {:>10.2}", "alone", without.0, without.1);
    println!("{:>24} {:>10.2} {:>10.2}", "beside one that hangs", with.0, with.1);
    let ratio = with.1 / without.1;
    println!(
        "p99 ratio {ratio:.2} (at most {P99_RATIO}); requests that hang: {}",
        hanging.arrived()
    );
    assert!(hanging.arrived() > 0, "the neighbour hung");
    assert!(ratio <= P99_RATIO, "the neighbour is felt");
}

/// Publishes at a steady rate; answers p50 and p99 of publish to arrival, in milliseconds.
fn phase(tenant: &Tenant, healthy: &[Receiver], number: usize) -> (f64, f64) {
    let seen: Vec<usize> = healthy.iter().map(Receiver::arrived).collect();
    let mut published: HashMap<String, Instant> = HashMap::new();
    let started = Instant::now();
    let mut n = 0;
    while started.elapsed() < PHASE {
        let due = started + Duration::from_secs(1) / EVENTS_PER_SECOND * n;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let at = Instant::now();
        let event = tenant.publish(&format!("vs_{number}_{n}"), json!({ "n": n }));
        for delivery in event["deliveries"].as_array().unwrap() {
            published.insert(delivery["id"].as_str().unwrap().to_owned(), at);
        }
        n += 1;
    }
    std::thread::sleep(Duration::from_secs(1));
    let mut latencies: Vec<f64> = Vec::new();
    for (receiver, seen) in healthy.iter().zip(seen) {
        for arrival in &receiver.arrivals()[seen..] {
            if let Some(at) = published.get(&arrival.delivery_id) {
                latencies.push(arrival.at.duration_since(*at).as_secs_f64() * 1000.0);
            }
        }
    }
    assert_eq!(latencies.len(), n as usize * healthy.len(), "everything arrived");
    latencies.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    (at(0.5), at(0.99))
}

fn median(mut phases: Vec<(f64, f64)>) -> (f64, f64) {
    phases.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
    phases[phases.len() / 2]
}
