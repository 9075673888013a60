//! Both forms of rekey with 100,000 endpoints, beside a daemon that delivers, shows and rotates secrets: on
//! SQLite and, where `TEST_POSTGRES_URL` names a server, on PostgreSQL. `cargo bench --bench rekey`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "shared with the tests, which use all of it")]

#[path = "../tests/suite/support/daemon.rs"]
mod daemon;
#[path = "../tests/suite/support/leavings.rs"]
mod leavings;
#[path = "../tests/suite/support/openapi.rs"]
mod openapi;
#[path = "../tests/suite/support/rekeying.rs"]
mod rekeying;

use rekeying::{Rekeyed, rekey_under_load};
use sea_orm::{ConnectionTrait as _, Database};

const ENDPOINTS: usize = 100_000;

fn main() {
    let postgres = std::env::var("TEST_POSTGRES_URL").ok().map(|server| new_database(&server));
    println!(
        "{:>10} {:>10} {:>8} {:>10} {:>7} {:>15} {:>9} {:>7}",
        "database",
        "master s",
        "data s",
        "deliveries",
        "reads",
        "slowest read ms",
        "rotations",
        "put off"
    );
    report("SQLite", &rekey_under_load(None, ENDPOINTS));
    if let Some(url) = postgres {
        report("PostgreSQL", &rekey_under_load(Some(&url), ENDPOINTS));
    }
}

fn report(database: &str, seen: &Rekeyed) {
    println!(
        "{database:>10} {:>10.2} {:>8.1} {:>10} {:>7} {:>15.0} {:>9} {:>7}",
        seen.master.as_secs_f64(),
        seen.data.as_secs_f64(),
        seen.deliveries,
        seen.reads,
        seen.slowest_read.as_secs_f64() * 1000.0,
        seen.rotations,
        seen.put_off,
    );
}

fn new_database(server: &str) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let name = format!("b{:032x}", rand::random::<u128>());
    runtime.block_on(async {
        let admin = Database::connect(format!("{server}/postgres")).await.unwrap();
        admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        admin.close().await.unwrap();
    });
    format!("{server}/{name}")
}
