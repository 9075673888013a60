//! A page of events with their deliveries, through the GraphQL schema to the bytes of its answer.

use std::hint::black_box;
use std::sync::Arc;

use hookseal::api::KnownKeys;
use hookseal::clock::AnchoredClock;
use hookseal::cluster::Nodes;
use hookseal::crypto::seal::JoseSealer;
use hookseal::crypto::vault::{KeySource, KeyVault, MasterWrap};
use hookseal::store::Connections;
use hookseal_core::access::{Caller, Scope};
use hookseal_core::admin::{Admin, AdminParts, Quotas};
use hookseal_core::event::Catalogue;
use hookseal_core::id::{ApiKeyId, OrganizationId};
use hookseal_core::intake::{Intake, IntakeParts};
use hookseal_core::ports::DeliveryRules;
use hookseal_core::retry::RetrySchedule;
use hookseal_core::target::TargetRules;
use hookseal_graphql::{Request, Response, Schema, batches, schema};
use sea_orm::ConnectionTrait as _;
use tokio::runtime::{Builder, Runtime};

use crate::piece::{Entry, Piece};
use crate::support::databases::{Bench, Engine};
use crate::support::rows::{TIMEOUT, minter};

const EVENTS: usize = 5000;
const ENDPOINTS: usize = 10;
const PAGE: usize = 20;
/// Each event has two.
const DELIVERIES_OF_PAGE: usize = 2 * PAGE;

const DOCUMENT: &str = "query($first: Int) { events(first: $first) { nodes { id type createdAt
    deliveries { id status attemptCount endpoint { id name } } } } }";

pub fn entries() -> Vec<Entry> {
    vec![Entry::new("graphql_page", "sqlite", DELIVERIES_OF_PAGE, Page::new).counted(2, 22)]
}

struct Page {
    runtime: Runtime,
    schema: Schema,
    admin: Arc<Admin>,
    caller: Caller,
    _bench: Bench,
}

impl Page {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (bench, organization, admin, intake) = runtime.block_on(async {
            let bench = Bench::new(Engine::Sqlite).await;
            let organization = bench.organization().await;
            fill(&bench, &organization).await;
            let (admin, intake) = use_cases(&bench).await;
            (bench, organization, Arc::new(admin), Arc::new(intake))
        });
        let schema = schema(admin.clone(), intake, false);
        let (id, scopes) = (ApiKeyId::from_row("key_1"), vec![Scope::WebhooksRead]);
        let caller = Caller::Key { id, organization, scopes };
        let page = Self { runtime, schema, admin, caller, _bench: bench };
        let answer = serde_json::to_value(page.read()).unwrap();
        let nodes = answer["data"]["events"]["nodes"].as_array().expect("a page");
        let of_event = |node: &serde_json::Value| node["deliveries"].as_array().unwrap().len();
        assert_eq!(nodes.iter().map(of_event).sum::<usize>(), DELIVERIES_OF_PAGE);
        page
    }

    fn read(&self) -> Response {
        self.runtime.block_on(async {
            let batches = batches(self.admin.clone(), self.caller.clone(), tokio::spawn);
            let variables = serde_json::from_value(serde_json::json!({ "first": PAGE })).unwrap();
            let request = Request::new(DOCUMENT).variables(variables);
            self.schema.execute(request.data(self.caller.clone()).data(batches)).await
        })
    }
}

impl Piece for Page {
    type Input = ();

    fn input(&mut self) {}

    fn run(&mut self, (): ()) {
        let response = self.read();
        assert!(response.is_ok(), "{:?}", response.errors);
        black_box(serde_json::to_vec(&response).unwrap());
    }
}

async fn use_cases(bench: &Bench) -> (Admin, Intake) {
    let clock = Arc::new(AnchoredClock::start());
    let master = KeySource::given("master_key", &"A".repeat(43));
    let master = Arc::new(MasterWrap::open(master).await.unwrap());
    // The rows of the bench name a key that nobody holds.
    let keys = tempfile::tempdir().unwrap();
    let keys = Connections::open(None, keys.path()).await.unwrap();
    let vault = Arc::new(KeyVault::open(&keys, master, &*clock).await.unwrap());
    let (sealer, catalogue) = (Arc::new(JoseSealer::default()), Arc::new(Catalogue::default()));
    let admin = Admin::new(AdminParts {
        store: bench.store.clone(),
        sealer: sealer.clone(),
        vault: vault.clone(),
        clock: clock.clone(),
        minter: minter(),
        catalogue: catalogue.clone(),
        targets: Arc::new(TargetRules::default()),
        quotas: Quotas::default(),
        schedule: RetrySchedule::default(),
        feed: bench.feed.clone(),
        cluster: Arc::new(Nodes(None)),
        rights: Arc::new(KnownKeys::default()),
    });
    let intake = Intake::new(IntakeParts {
        store: bench.store.clone(),
        sealer,
        vault,
        dispatch: bench.told.clone(),
        clock,
        minter: minter(),
        catalogue,
        rules: DeliveryRules { schedule: RetrySchedule::default(), attempt_timeout: TIMEOUT },
    });
    (admin, intake)
}

/// Events with two deliveries each, to ten endpoints in turn.
async fn fill(bench: &Bench, organization: &OrganizationId) {
    let mut endpoints = String::new();
    for number in 0..ENDPOINTS {
        let endpoint = bench.endpoint(organization).await;
        endpoints.push_str(&format!(" WHEN {number} THEN '{}'", endpoint.id));
    }
    let numbers = |most: usize| {
        format!(
            "WITH RECURSIVE numbers (n) AS
                (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {most})"
        )
    };
    let padded = |n: &str| format!("substr('{}' || ({n}), -32)", "0".repeat(32));
    let (n, event) = (padded("n"), padded("(n + 1) / 2"));
    let statements = [
        format!(
            "INSERT INTO events (id, organization_id, event_type, trigger_type, trigger_id,
                created_at_ms)
             {} SELECT 'evt_' || {n}, '{organization}', 'verification.session.succeeded',
                'verification_session', 'vs_' || n, n FROM numbers",
            numbers(EVENTS)
        ),
        format!(
            "INSERT INTO deliveries (id, organization_id, event_id, event_type, endpoint_id, status,
                attempt_count, last_attempt_at_ms, last_duration_ms, last_status_code,
                retention_reason, lost_claims, created_at_ms, updated_at_ms)
             {} SELECT 'whd_' || {n}, '{organization}', 'evt_' || {event},
                'verification.session.succeeded', CASE n % {ENDPOINTS}{endpoints} END, 'succeeded',
                1, n, 5, 204, 'delivered', 0, n, n FROM numbers",
            numbers(2 * EVENTS)
        ),
        "ANALYZE".to_owned(),
    ];
    for statement in statements {
        bench.connections.readers().execute_unprepared(&statement).await.unwrap();
    }
}
