//! Start-up with a backlog: time to readiness and memory with 100,000 pending deliveries, beside
//! the same with 1,000. `cargo bench --bench restart`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "shared with the tests, which use all of it")]

#[path = "../tests/suite/support/daemon.rs"]
mod daemon;
#[path = "../tests/suite/support/leavings.rs"]
mod leavings;
#[path = "../tests/suite/support/openapi.rs"]
mod openapi;

use std::time::{Duration, Instant};

use daemon::{Caller, Home, wait};
use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::json;

/// Ready within this time, however long the backlog.
const READY_WITHIN: Duration = Duration::from_secs(2);
/// Memory with the long backlog, as a multiple of that with the short one.
const MEMORY_RATIO: f64 = 1.25;
/// How long the daemon works on the backlog before its memory is read.
const AT_WORK: Duration = Duration::from_secs(5);
const BATCH: usize = 1000;

struct Measured {
    backlog: usize,
    ready: Duration,
    memory_kib: u64,
}

fn main() {
    let short = measure(1_000);
    let long = measure(100_000);
    println!("{:>10} {:>12} {:>14}", "pending", "ready in ms", "peak RSS KiB");
    for Measured { backlog, ready, memory_kib } in [&short, &long] {
        println!("{backlog:>10} {:>12.0} {memory_kib:>14}", ready.as_secs_f64() * 1000.0);
    }
    let ratio = long.memory_kib as f64 / short.memory_kib as f64;
    println!("memory ratio {ratio:.2} (at most {MEMORY_RATIO})");
    assert!(long.ready <= READY_WITHIN, "ready in {:?}, not {READY_WITHIN:?}", long.ready);
    assert!(ratio <= MEMORY_RATIO, "memory grows with the backlog");
}

/// Fills a database with `backlog` pending deliveries of a receiver that lets one through a second,
/// kills the daemon and starts it again.
fn measure(backlog: usize) -> Measured {
    let home = Home::new(&[]);
    let receiver = Receiver::start(Behaviour::Accept);
    let mut daemon = home.start();
    let tenant = daemon.tenant();
    tenant.register(&receiver, json!({ "rate_limit_per_second": 1 }));
    let numbers: Vec<usize> = (0..backlog).collect();
    for batch in numbers.chunks(BATCH) {
        let events: Vec<_> =
            batch.iter().map(|n| tenant.event(&format!("vs_{n}"), json!({ "n": n }))).collect();
        tenant.platform.post("/v1/platform/events/batch", json!(events)).ok();
    }
    daemon.signal("KILL");
    wait(Duration::from_secs(5), "the end of the process", || !daemon.is_running());
    let started = Instant::now();
    let daemon = home.start();
    let nobody = Caller::new(&daemon.url, "");
    while nobody.get("/readyz").status != 200 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let ready = started.elapsed();
    std::thread::sleep(AT_WORK);
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let memory_kib = peak.trim().trim_end_matches(" kB").parse().unwrap();
    Measured { backlog, ready, memory_kib }
}
