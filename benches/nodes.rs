//! One, two and four nodes on one PostgreSQL and one Redis, as fast as publishers keep them busy: deliveries
//! a second, and who spends the processor's time. `cargo bench --bench nodes -- [seconds=15] [nodes…]`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "shared with the tests, which use all of it")]

mod common;
#[path = "../tests/fleet/postgres.rs"]
mod postgres;
#[path = "../tests/suite/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hookseal::demo::receiver::Keys;
use postgres::Postgres;
use sea_orm::{ConnectionTrait as _, Database};
use serde_json::{Value, json};
use support::daemon;
use support::daemon::{Caller, Daemon, Home, PLATFORM_KEY, Tenant, wait};
use support::redis::Redis;

const ENDPOINTS: usize = 40;
/// Endpoints that each event goes to.
const TARGETS: usize = 2;
const BATCH: usize = 25;
const PUBLISHERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
/// Deliveries a second of four nodes, as a part of those of one: on one machine they share the same processors,
/// and three of four events come in at another node's door, which costs a claim and Redis' part.
const AT_LEAST: f64 = 0.5;

/// What came of one number of nodes.
struct Measured {
    nodes: usize,
    per_second: f64,
    /// Microseconds of processor for each delivery: daemons, PostgreSQL, Redis, this process.
    micros: [f64; 4],
    /// Scripts and commands that Redis ran for each delivery.
    redis_calls: f64,
}

fn main() {
    let (mut seconds, mut counts) = (15, Vec::new());
    for argument in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        match argument.split_once('=') {
            Some(("seconds", value)) => seconds = value.parse().unwrap(),
            Some(_) => panic!("{argument}: expected seconds, or numbers of nodes"),
            None => counts.push(argument.parse().unwrap()),
        }
    }
    if counts.is_empty() {
        counts = vec![1, 2, 4];
    }
    let all: Vec<_> =
        counts.iter().map(|nodes| measure(*nodes, Duration::from_secs(seconds))).collect();
    println!(
        "nodes  deliveries/s  µs of CPU a delivery: daemons  PostgreSQL  Redis  driver  Redis calls a delivery"
    );
    for Measured { nodes, per_second, micros: [daemons, postgres, redis, driver], redis_calls } in
        &all
    {
        println!(
            "{nodes:>5} {per_second:>13.0} {daemons:>30.0} {postgres:>11.0} {redis:>6.0} {driver:>7.0} {redis_calls:>23.2}"
        );
    }
    if let [one, .., most] = &all[..] {
        let ratio = most.per_second / one.per_second;
        println!(
            "{} nodes do {ratio:.2} of what {} does (at least {AT_LEAST})",
            most.nodes, one.nodes
        );
        assert!(ratio >= AT_LEAST, "nodes stand in each other's way");
    }
}

fn measure(count: usize, time: Duration) -> Measured {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let admin = Database::connect(Postgres::url(postgres.port, "postgres")).await.unwrap();
        admin.execute_unprepared("CREATE DATABASE nodes").await.unwrap();
        admin.close().await.unwrap();
    });
    let (url, redis_url) = (Postgres::url(postgres.port, "nodes"), redis.url());
    let home = || {
        Home::new(&[
            ("HOOKSEAL_DATABASE_URL", url.as_str()),
            ("HOOKSEAL_REDIS_URL", redis_url.as_str()),
            ("HOOKSEAL_MASTER_KEY", MASTER_KEY),
            ("HOOKSEAL_ENDPOINTS_PER_ORGANIZATION", "1000"),
        ])
    };
    let homes: Vec<_> = (0..count).map(|_| home()).collect();
    let nodes: Vec<_> = homes.iter().map(Home::start).collect();
    let platform = nodes[0].platform();
    wait(PATIENCE, "the shards to be shared out", || {
        let cluster = platform.get("/v1/platform/cluster").ok();
        let nodes = cluster["nodes"].as_array().unwrap();
        nodes.len() == count && nodes.iter().all(|node| node["shards"] != 0)
    });
    let tenant = nodes[0].tenant();
    let endpoints = endpoints(&tenant);
    // Warm: actors started, statements prepared.
    publish("warm", &nodes, &tenant, &endpoints, Duration::from_secs(2));
    wait(PATIENCE, "all to settle", || open(&tenant) == 0);
    let spent = || {
        let daemons: f64 = nodes.iter().map(|node| cpu_seconds(node.id())).sum();
        [
            daemons,
            postgres_seconds(&postgres),
            cpu_seconds(redis.id()),
            cpu_seconds(std::process::id()),
        ]
    };
    let (before, calls) = (spent(), calls(&redis));
    let started = Instant::now();
    let published = publish("load", &nodes, &tenant, &endpoints, time);
    wait(PATIENCE, "all to settle", || open(&tenant) == 0);
    let took = started.elapsed().as_secs_f64();
    let deliveries = (published * TARGETS) as f64;
    let after = spent();
    let micros = [0, 1, 2, 3].map(|of| (after[of] - before[of]) * 1e6 / deliveries);
    let redis_calls = (self::calls(&redis) - calls) as f64 / deliveries;
    Measured { nodes: count, per_second: deliveries / took, micros, redis_calls }
}

fn endpoints(tenant: &Tenant) -> Vec<String> {
    let key = json!({
        "key_id": "k1", "algorithm": "RSA-OAEP-256", "key_type": "RSA",
        "jwk": Keys::generate().public_jwk,
    });
    let url = common::accepting();
    let register = |_| {
        let made = tenant.caller.post("/v1/webhooks/endpoints", json!({ "url": url })).ok();
        let id = made["endpoint"]["id"].as_str().unwrap();
        tenant.caller.post(&format!("/v1/webhooks/endpoints/{id}/keys"), key.clone()).ok();
        id.to_owned()
    };
    (0..ENDPOINTS).map(register).collect()
}

/// Keeps every node busy for `time`; answers how many events were accepted.
fn publish(
    name: &str,
    nodes: &[Daemon],
    tenant: &Tenant,
    endpoints: &[String],
    time: Duration,
) -> usize {
    let (over, events, next) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let (over, events, next) = (&over, &events, &next);
            let caller = Caller::new(&nodes[publisher % nodes.len()].url, PLATFORM_KEY);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let batch: Vec<_> = (0..BATCH)
                        .map(|_| {
                            let n = next.fetch_add(1, Ordering::Relaxed);
                            let target = |i: usize| &endpoints[(n * TARGETS + i) % ENDPOINTS];
                            let mut event =
                                tenant.event(&format!("vs_{name}_{n}"), json!({ "n": n }));
                            event["webhook_endpoint_ids"] =
                                json!((0..TARGETS).map(target).collect::<Vec<_>>());
                            event
                        })
                        .collect();
                    events.fetch_add(accepted(&caller, &json!(batch)), Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(time);
        over.store(true, Ordering::Relaxed);
    });
    events.load(Ordering::Relaxed)
}

/// Publishes a batch; answers how many events were accepted, which is all of them.
fn accepted(caller: &Caller, batch: &Value) -> usize {
    let text = common::publish(caller, &batch.to_string());
    let accepted = text.matches("\"status\":202").count();
    assert_eq!(accepted, BATCH, "{text}");
    accepted
}

/// Deliveries that have not ended.
fn open(tenant: &Tenant) -> usize {
    let of = |status| {
        let path = format!("/v1/webhooks/deliveries?limit=1&status={status}");
        tenant.caller.get(&path).json()["data"].as_array().map_or(1, Vec::len)
    };
    of("pending") + of("delivering")
}

/// Processor time of a process so far.
fn cpu_seconds(process: u32) -> f64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return 0.0 };
    // Behind the name, which may hold anything: utime and stime are the 12th and 13th, in hundredths.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks =
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0.0));
    ticks.sum::<f64>() / 100.0
}

/// Processor time of the server and its sessions. One that ended is missing: none ends while it is measured.
fn postgres_seconds(postgres: &Postgres) -> f64 {
    let main = postgres.process();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_his = |id: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|fields| fields.split_whitespace().nth(1));
        *id == main || parent.and_then(|id| id.parse().ok()) == Some(main)
    };
    ids.filter(is_his).map(cpu_seconds).sum()
}

/// Commands that Redis ran so far, those of scripts included.
fn calls(redis: &Redis) -> u64 {
    let info: String = redis.ask(&["INFO", "stats"]);
    let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    line.map_or(0, |count| count.trim().parse().unwrap())
}
