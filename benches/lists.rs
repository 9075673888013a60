//! A page costs what a page costs, wherever in a list it is: the first and the ten-thousandth of a
//! million deliveries, on SQLite and, where `TEST_POSTGRES_URL` names a server, on PostgreSQL.
//! `cargo bench --bench lists`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use hookseal::crypto::SystemEntropy;
use hookseal::feed::memory::MemoryFeed;
use hookseal::store::{Connections, SqlStore};
use hookseal_core::delivery::Status;
use hookseal_core::gate::Reservation;
use hookseal_core::id::{DeliveryId, EndpointId, Minter, OrganizationId};
use hookseal_core::page::PageRequest;
use hookseal_core::ports::{Archive as _, DeliveryFilter, Dispatch, HandOver};
use hookseal_core::shard::Shards;
use hookseal_core::time::Timestamp;
use sea_orm::{ConnectionTrait as _, Database, DbBackend};

const DELIVERIES: usize = 1_000_000;
const PAGE: usize = 100;
const DEEP: usize = 10_000;
const ROUNDS: usize = 200;
/// How much more the deep page may cost: the noise of a shared machine.
const BOUND: f64 = 1.5;

struct Nobody;

#[async_trait::async_trait]
impl Dispatch for Nobody {
    async fn reserve(&self, _: &EndpointId, _: usize, _: Timestamp) -> Option<Reservation> {
        None
    }

    fn hand_over(&self, _: Vec<HandOver>) {}

    fn reconfigured(&self, _: &EndpointId) {}

    fn revoked(&self, _: &EndpointId, _: Vec<DeliveryId>) {}

    fn replacement_owed(&self) {}

    fn shards_changed(&self, _: Shards, _: Shards) {}
}

fn id(n: usize) -> String {
    format!("whd_{n:064}")
}

/// A million deliveries of one organization to ten endpoints; one in ten has failed.
async fn filled(url: Option<&str>, directory: &std::path::Path) -> SqlStore {
    let connections = Connections::open(url, directory).await.unwrap();
    let db = &connections.readers();
    let (numbers, padded) = match db.get_database_backend() {
        DbBackend::Postgres => (
            format!("WITH numbers AS (SELECT n FROM generate_series(1, {DELIVERIES}) AS g (n))"),
            "lpad(n::text, 64, '0')",
        ),
        _ => (
            format!(
                "WITH RECURSIVE numbers (n) AS
                    (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {DELIVERIES})"
            ),
            "substr('0000000000000000000000000000000000000000000000000000000000000000' || n, -64)",
        ),
    };
    db.execute_unprepared(
        "INSERT INTO organizations (id, name, created_at_ms, updated_at_ms) VALUES ('org', 'n', 0, 0)",
    )
    .await
    .unwrap();
    db.execute_unprepared(
        "INSERT INTO endpoints (id, organization_id, labels, url, enabled, subscribed_event_types,
            retention_hours, signing_secret, created_at_ms, updated_at_ms)
         VALUES ('whe_3', 'org', '[]', 'u', TRUE, '[]', 72, 's', 0, 0)",
    )
    .await
    .unwrap();
    let rows = format!(
        "INSERT INTO deliveries (id, organization_id, event_id, event_type, endpoint_id, status,
            attempt_count, retention_reason, lost_claims, created_at_ms, updated_at_ms)
         {numbers} SELECT 'whd_' || {padded}, 'org', 'evt_' || n, 'type', 'whe_' || (n % 10),
            CASE WHEN n / 10 % 10 = 0 THEN 'failed' ELSE 'succeeded' END,
            1, 'delivered', 0, n, n FROM numbers"
    );
    // Longer than a statement of the daemon may take.
    if db.get_database_backend() == DbBackend::Postgres {
        let own = Database::connect(url.unwrap()).await.unwrap();
        own.execute_unprepared(&rows).await.unwrap();
        own.execute_unprepared("VACUUM ANALYZE deliveries").await.unwrap();
    } else {
        db.execute_unprepared(&rows).await.unwrap();
        db.execute_unprepared("ANALYZE").await.unwrap();
    }
    let minter = Arc::new(Minter::new(Arc::new(SystemEntropy)));
    let runtime = tokio::runtime::Handle::current();
    let feed = MemoryFeed::start(&runtime);
    SqlStore::start(connections, runtime, Arc::new(Nobody), feed, minter).unwrap()
}

async fn median(store: &SqlStore, filter: &DeliveryFilter, cursor: Option<String>) -> Duration {
    let organization = OrganizationId::from_row("org");
    let page = PageRequest { limit: PAGE, starting_after: cursor };
    let mut took = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let asked = Instant::now();
        let found = store.deliveries(&organization, filter, &page).await.unwrap();
        took.push(asked.elapsed());
        assert_eq!(found.items.len(), PAGE);
    }
    took.sort_unstable();
    took[ROUNDS / 2]
}

async fn measure(name: &str, store: &SqlStore) {
    let endpoint_id = || Some(EndpointId::from_row("whe_3"));
    // How many of the list are newer than the first of page 10,000: all but one page's worth, or as
    // far as a shorter list goes.
    let lists = [
        ("all", DeliveryFilter::default(), DELIVERIES - (DEEP - 1) * PAGE + 1),
        (
            "one endpoint",
            DeliveryFilter { endpoint_id: endpoint_id(), ..Default::default() },
            2_003,
        ),
        (
            "one endpoint, failed",
            DeliveryFilter {
                endpoint_id: endpoint_id(),
                status: Some(Status::Failed),
                ..Default::default()
            },
            12_003,
        ),
    ];
    for (list, filter, deep) in lists {
        let first = median(store, &filter, None).await;
        let deep = median(store, &filter, Some(id(deep))).await;
        let ratio = deep.as_secs_f64() / first.as_secs_f64();
        println!(
            "| {name} | {list} | {:.2} ms | {:.2} ms | {ratio:.2} |",
            first.as_secs_f64() * 1e3,
            deep.as_secs_f64() * 1e3
        );
        assert!(ratio <= BOUND, "{name}, {list}: the deep page costs {ratio:.2} of the first");
    }
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        println!("{DELIVERIES} deliveries, pages of {PAGE}, medians of {ROUNDS} (bound {BOUND})");
        println!("| database | list | first page | deepest page | ratio |\n|---|---|---|---|---|");
        let directory = tempfile::tempdir().unwrap();
        measure("SQLite", &filled(None, directory.path()).await).await;
        match std::env::var("TEST_POSTGRES_URL") {
            Err(_) => println!("PostgreSQL was not measured: TEST_POSTGRES_URL names no server"),
            Ok(server) => {
                let admin = Database::connect(format!("{server}/postgres")).await.unwrap();
                let name = format!("lists{:032x}", rand::random::<u128>());
                admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
                let directory = tempfile::tempdir().unwrap();
                let url = format!("{server}/{name}");
                measure("PostgreSQL", &filled(Some(&url), directory.path()).await).await;
            }
        }
    });
}
