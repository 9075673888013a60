//! A fresh store for a test, on each database.

use std::sync::Arc;

use hookseal::feed::memory::MemoryFeed;
use hookseal::store::{Connections, SqlStore, StoredDataKey, store_data_key};
use hookseal_core::gate::Reservation;
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::ports::{Dispatch, HandOver};
use hookseal_core::shard::Shards;
use hookseal_core::time::Timestamp;
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, Database};

use super::leavings;
use super::rows::{LOCKED, T0, minter};

/// Which database a test runs on.
#[derive(Clone, Copy, Debug)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Keeps what was told, for the test to look at.
#[derive(Default)]
pub struct Recorder {
    pub handed_over: Mutex<Vec<HandOver>>,
    pub revoked: Mutex<Vec<DeliveryId>>,
    pub owed: Mutex<usize>,
}

#[async_trait::async_trait]
impl Dispatch for Recorder {
    async fn reserve(&self, _: &EndpointId, _: usize, _: Timestamp) -> Option<Reservation> {
        None
    }

    fn hand_over(&self, deliveries: Vec<HandOver>) {
        self.handed_over.lock().extend(deliveries);
    }

    fn reconfigured(&self, _: &EndpointId) {}

    fn revoked(&self, _: &EndpointId, ids: Vec<DeliveryId>) {
        self.revoked.lock().extend(ids);
    }

    fn replacement_owed(&self) {
        *self.owed.lock() += 1;
    }

    fn shards_changed(&self, _: Shards, _: Shards) {}
}

/// A store on an empty database, with what it hands over.
pub struct Bench {
    pub store: Arc<SqlStore>,
    pub connections: Connections,
    pub told: Arc<Recorder>,
    pub feed: Arc<MemoryFeed>,
    _directory: tempfile::TempDir,
}

/// The PostgreSQL server that `tests/run.sh` started.
pub fn postgres_server() -> String {
    std::env::var("TEST_POSTGRES_URL")
        .expect("TEST_POSTGRES_URL is not set: run the tests by tests/run.sh")
}

/// Makes an empty database on the PostgreSQL server; answers its URL.
pub async fn new_postgres_database() -> String {
    let server = postgres_server();
    let admin = Database::connect(format!("{server}/postgres")).await.unwrap();
    let name = format!("t{:032x}", rand::random::<u128>());
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    admin.close().await.unwrap();
    format!("{server}/{name}")
}

impl Bench {
    pub async fn new(engine: Engine) -> Self {
        let directory = leavings::directory("rows-");
        let url = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(new_postgres_database().await),
        };
        let connections = Connections::open(url.as_deref(), directory.path()).await.unwrap();
        let key = StoredDataKey {
            id: LOCKED.into(),
            purpose: "signing_secrets".into(),
            is_current: true,
            wrapped: "wrapped".into(),
            created_at: T0,
        };
        store_data_key(&connections, &key).await.unwrap();
        let told = Arc::new(Recorder::default());
        let runtime = tokio::runtime::Handle::current();
        let feed = MemoryFeed::start(&runtime);
        let (dispatch, changes) = (told.clone(), feed.clone());
        let store =
            SqlStore::start(connections.clone(), runtime, dispatch, changes, minter()).unwrap();
        let store = Arc::new(store);
        Self { store, connections, told, feed, _directory: directory }
    }
}

/// Makes one test for each database of an `async fn(Bench)`.
#[macro_export]
macro_rules! on_every_database {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                use $crate::support::databases::{Bench, Engine};
                super::$name(Bench::new(Engine::Sqlite).await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                use $crate::support::databases::{Bench, Engine};
                super::$name(Bench::new(Engine::Postgres).await).await;
            })+
        }
    };
}
