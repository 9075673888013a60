//! The pieces of the hot path, each by itself: what one delivery costs in it. By the clock
//! (`cargo bench --bench hot`), and counted in instructions (`benches/instructions.sh`), for which one piece
//! is run a given number of times and nothing is timed.
//!
//! Databases are on one thread, as nothing else is to be done meanwhile. PostgreSQL is measured where
//! `TEST_POSTGRES_URL` names a server, Redis where `redis-server` is installed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "shared with the tests, which use all of it")]

#[path = "hot/crypto.rs"]
mod crypto;
#[path = "hot/deliveries.rs"]
mod deliveries;
#[path = "hot/ledger.rs"]
mod ledger;
#[path = "hot/page.rs"]
mod page;
#[path = "hot/piece.rs"]
mod piece;
#[path = "hot/schedule.rs"]
mod schedule;
#[path = "../tests/suite/support/mod.rs"]
mod support;

use std::time::Duration;

use criterion::{Criterion, Throughput};
use piece::Entry;

/// The daemon's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn entries() -> Vec<Entry> {
    [
        crypto::entries(),
        deliveries::entries(),
        ledger::entries(),
        schedule::entries(),
        page::entries(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--pieces"] => list(&entries()),
        ["--piece", name, "--times", times] => {
            let entries = entries();
            let entry = entries.iter().find(|entry| entry.full_name() == name);
            let entry = entry.unwrap_or_else(|| panic!("{name} is no piece: see --pieces"));
            entry.run_to_be_counted(times.parse().expect("a number of times"));
        }
        _ => measure(&entries()),
    }
}

/// What can be counted: its name, items of a run, and the two numbers of runs to subtract.
fn list(entries: &[Entry]) {
    for entry in entries {
        if let Some(counted) = entry.counted {
            println!("{} {} {} {}", entry.full_name(), entry.items, counted.few, counted.many);
        }
    }
}

fn measure(entries: &[Entry]) {
    for (name, wanted) in [
        ("ledger_batch/postgres/", "TEST_POSTGRES_URL names no server"),
        ("schedule_claim/redis/", "redis-server is not installed"),
    ] {
        if !entries.iter().any(|entry| entry.full_name().starts_with(name)) {
            println!("{name} is not measured: {wanted}");
        }
    }
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(10)
        .nresamples(10_000)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for entry in entries {
        let mut group = criterion.benchmark_group(entry.group);
        group.throughput(Throughput::Elements(entry.items as u64));
        // Made only if it is asked for, and once.
        let mut made = None;
        group.bench_function(&entry.name, |bencher| {
            let runs = made.get_or_insert_with(|| entry.make());
            bencher.iter_custom(|times| runs.time(times, entry.items));
        });
        group.finish();
    }
    criterion.final_summary();
}
