//! Transactions of the ledger: what is written at once goes into one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use hookseal_core::delivery::{Attempt, ClaimToken, Delivery};
use hookseal_core::endpoint::Endpoint;
use hookseal_core::event::Event;
use hookseal_core::gate::Gate;
use hookseal_core::id::SessionId;
use hookseal_core::outcome::Outcome;
use hookseal_core::ports::{
    Acceptance, Accepted, Haste, Ledger as _, NewDelivery, SessionPart, Settlement,
};
use hookseal_core::retention::RetentionHours;
use hookseal_core::retry::RetrySchedule;
use sea_orm::{ConnectionTrait as _, Database, Statement};
use tokio::runtime::{Builder, Runtime};

use crate::piece::{Entry, Piece};
use crate::support::databases::{Bench, Engine, postgres_server};
use crate::support::rows::{T0, TIMEOUT, delivery, minter};

/// Events of a batch; with their deliveries the last are as many rows as a transaction takes.
const BATCHES: [usize; 3] = [1, 16, 256];
/// Of a sealed payload of 300 bytes.
const SEALED_BYTES: usize = 850;
const TOKEN: ClaimToken = ClaimToken(1);

pub fn entries() -> Vec<Entry> {
    let mut entries = of(Engine::Sqlite, "sqlite", |entry| match entry.items {
        1 => entry.counted(10, 60),
        16 => entry.counted(5, 25),
        _ => entry.counted(1, 5),
    });
    if std::env::var("TEST_POSTGRES_URL").is_ok() {
        entries.extend(of(Engine::Postgres, "postgres", |entry| entry));
    }
    entries
}

fn of(engine: Engine, name: &str, counted: impl Fn(Entry) -> Entry) -> Vec<Entry> {
    let mut entries = Vec::new();
    for size in BATCHES {
        let entry = |what: &str| format!("{name}/{what}/{size}");
        let accept = |place| move || Accept { ground: Ground::new(engine), size, place };
        let settle = move || Settle { ground: Ground::new(engine), size };
        entries.extend([
            Entry::new("ledger_batch", entry("accept_pending"), size, accept(Place::None)),
            Entry::new("ledger_batch", entry("accept_claimed"), size, accept(Place::Reserved)),
            Entry::new("ledger_batch", entry("settle"), size, settle),
        ]);
    }
    entries.into_iter().map(counted).collect()
}

/// Whether a delivery is inserted with a place in its endpoint's window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    None,
    Reserved,
}

/// A store on an empty database, with one endpoint.
struct Ground {
    runtime: Runtime,
    bench: Bench,
    engine: Engine,
    endpoint: Endpoint,
    audience_version: i64,
    gate: Arc<Gate>,
    sealed: Bytes,
    sessions: AtomicU64,
}

impl Ground {
    fn new(engine: Engine) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (bench, endpoint, audience_version) = runtime.block_on(async {
            let bench = Bench::new(engine).await;
            let organization = bench.organization().await;
            let endpoint = bench.endpoint(&organization).await;
            let version = bench.version(&organization).await;
            (bench, endpoint, version)
        });
        let (gate, sealed) = (Gate::new(TOKEN), Bytes::from(vec![b'x'; SEALED_BYTES]));
        let sessions = AtomicU64::new(0);
        Self { runtime, bench, engine, endpoint, audience_version, gate, sealed, sessions }
    }

    /// An event that ends a session of its own, with one delivery.
    fn acceptance(&self, place: Place) -> Acceptance {
        let session = format!("vs_{:026}", self.sessions.fetch_add(1, Ordering::Relaxed));
        let event = Event {
            id: minter().event(T0),
            organization_id: self.endpoint.organization_id.clone(),
            event_type: "verification.session.succeeded".into(),
            trigger_type: "verification_session".into(),
            trigger_id: session.clone(),
            created_at: T0,
        };
        let mut delivery = delivery(&event, &self.endpoint.id);
        let reservation = (place == Place::Reserved).then(|| {
            self.gate.lend(1);
            let place = self.gate.reserve(T0, TIMEOUT).unwrap();
            delivery.progress = delivery.progress.claim(place.claim(), T0).unwrap();
            place
        });
        let session = SessionId::parse("session", &session).unwrap();
        Acceptance {
            event,
            session: Some((session, SessionPart::Ends)),
            targets: None,
            audience_version: self.audience_version,
            idempotency: None,
            entry: None,
            deliveries: vec![NewDelivery {
                delivery,
                sealed: Some(self.sealed.clone()),
                reservation,
            }],
            memory: None,
        }
    }

    fn acceptances(&self, size: usize, place: Place) -> Vec<Acceptance> {
        (0..size).map(|_| self.acceptance(place)).collect()
    }

    /// All in one transaction: nobody writes before all of them wait.
    fn accept(&self, acceptances: Vec<Acceptance>) {
        let accepts = acceptances.into_iter().map(|acceptance| self.bench.store.accept(acceptance));
        let verdicts = self.runtime.block_on(join_all(accepts));
        assert!(verdicts.iter().all(|verdict| matches!(verdict, Ok(Accepted::Committed))));
        self.bench.told.handed_over.lock().clear();
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Engine::Postgres = self.engine {
            let connections = self.bench.connections.clone();
            self.runtime.block_on(async {
                let db = connections.readers();
                let asking = "SELECT current_database()::text";
                let asking = Statement::from_string(db.get_database_backend(), asking);
                let name = db.query_one_raw(asking).await.unwrap().unwrap();
                let name: String = name.try_get_by_index(0).unwrap();
                connections.close().await;
                let admin = Database::connect(format!("{}/postgres", postgres_server())).await;
                let dropping = format!("DROP DATABASE {name} WITH (FORCE)");
                admin.unwrap().execute_unprepared(&dropping).await.unwrap();
            });
        }
    }
}

/// Accepts a batch of events.
struct Accept {
    ground: Ground,
    size: usize,
    place: Place,
}

impl Piece for Accept {
    type Input = Vec<Acceptance>;

    fn input(&mut self) -> Self::Input {
        self.ground.acceptances(self.size, self.place)
    }

    fn run(&mut self, acceptances: Self::Input) {
        self.ground.accept(acceptances);
    }
}

/// Settles what was inserted claimed: a success each.
struct Settle {
    ground: Ground,
    size: usize,
}

impl Piece for Settle {
    type Input = Vec<Settlement>;

    fn input(&mut self) -> Self::Input {
        let acceptances = self.ground.acceptances(self.size, Place::Reserved);
        let new = acceptances.iter().flat_map(|acceptance| &acceptance.deliveries);
        let settlements = new.map(|new| delivered(&new.delivery)).collect();
        self.ground.accept(acceptances);
        settlements
    }

    fn run(&mut self, settlements: Self::Input) {
        let Ground { runtime, bench, .. } = &self.ground;
        let stood = runtime.block_on(bench.store.settle(settlements, Haste::Now)).unwrap();
        assert!(stood.into_iter().all(|stood| stood));
    }
}

fn delivered(delivery: &Delivery) -> Settlement {
    let outcome = Outcome::Answered { status: 204, retry_after: None };
    let now = T0.plus(Duration::from_millis(10));
    let attempt = Attempt::new(T0, Duration::from_millis(5), outcome);
    let (schedule, retention) = (RetrySchedule::default(), RetentionHours::default());
    let settled = delivery.progress.settle(attempt, outcome.verdict(), &schedule, retention, now);
    Settlement {
        delivery: delivery.clone(),
        token: TOKEN,
        progress: settled.unwrap(),
        replaced: None,
    }
}
