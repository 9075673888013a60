//! A schedule of a million that Redis forgets: how soon a node has put it again from the rows, at its first
//! start on an old database and after `FLUSHALL`. `cargo bench --bench reschedule`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "shared with the tests, which use all of it")]

#[path = "../tests/fleet/postgres.rs"]
mod postgres;
#[path = "../tests/suite/support/mod.rs"]
mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hookseal::store::Connections;
use postgres::Postgres;
use sea_orm::{ConnectionTrait as _, Database};
use support::daemon::{Home, wait};
use support::redis::Redis;

const DELIVERIES: u64 = 1_000_000;
const ENDPOINTS: u64 = 10_000;
/// Back within this time.
const WITHIN: Duration = Duration::from_secs(30);
/// From the last row to the first due time: none falls due while anything is measured.
const AHEAD: Duration = Duration::from_secs(110);
const PATIENCE: Duration = Duration::from_secs(100);
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

fn main() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let url = Postgres::url(postgres.port, "reschedule");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(fill(&postgres, &url));
    let redis_url = redis.url();
    let home = Home::new(&[
        ("HOOKSEAL_DATABASE_URL", url.as_str()),
        ("HOOKSEAL_REDIS_URL", redis_url.as_str()),
        ("HOOKSEAL_MASTER_KEY", MASTER_KEY),
    ]);
    let daemon = home.start();
    wait(PATIENCE, "the first due times", || scheduled(&redis) > 0);
    let first = until_all(&redis);
    let _: String = redis.ask(&["FLUSHALL"]);
    let again = until_all(&redis);
    println!("{DELIVERIES} deliveries to {ENDPOINTS} endpoints, all due within the horizon");
    println!("scheduled at the first start: {:.1} s", first.as_secs_f64());
    println!("back after FLUSHALL:          {:.1} s (at most {WITHIN:?})", again.as_secs_f64());
    drop(daemon);
    assert!(
        first <= WITHIN && again <= WITHIN,
        "a schedule that is lost takes too long to come back"
    );
}

/// How many due times Redis holds.
fn scheduled(redis: &Redis) -> u64 {
    (0..64).map(|shard| redis.ask::<u64>(&["ZCARD", &format!("hookseal:{{s{shard}}}:due")])).sum()
}

fn until_all(redis: &Redis) -> Duration {
    let started = Instant::now();
    wait(PATIENCE, "all due times", || scheduled(redis) == DELIVERIES);
    started.elapsed()
}

/// Deliveries that wait for a retry, which all falls due in one second a while from now.
async fn fill(postgres: &Postgres, url: &str) {
    let admin = Database::connect(Postgres::url(postgres.port, "postgres")).await.unwrap();
    admin.execute_unprepared("CREATE DATABASE reschedule").await.unwrap();
    admin.close().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    Connections::open(Some(url), directory.path()).await.unwrap().close().await;
    let db = Database::connect(url).await.unwrap();
    let filling = format!(
        "INSERT INTO deliveries (id, organization_id, event_id, event_type, endpoint_id, status,
            attempt_count, retention_reason, lost_claims, created_at_ms, updated_at_ms,
            next_attempt_at_ms)
         SELECT 'whd_' || lpad(n::text, 60, '0'), 'org_1', 'evt_' || n, 't',
            'whe_' || md5((n % {ENDPOINTS})::text), 'pending', 1, 'pending_delivery', 0, n, n, 0
         FROM generate_series(1, {DELIVERIES}) AS numbers (n)"
    );
    db.execute_unprepared(&filling).await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // The update takes its time, too, which is why the first due time is far ahead.
    let due = (now + AHEAD).as_millis();
    let coming = format!("UPDATE deliveries SET next_attempt_at_ms = {due} + created_at_ms % 1000");
    db.execute_unprepared(&coming).await.unwrap();
    db.execute_unprepared("VACUUM ANALYZE").await.unwrap();
    db.close().await.unwrap();
}
