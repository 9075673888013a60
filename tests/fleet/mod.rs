//! A fleet: daemons of the real binary over one database, a publisher, receivers, and somebody who breaks
//! things; all that is observed goes into a directory, which the checker judges.
//!
//! Three organizations, twenty endpoints; one endpoint's receiver fails when told to, another's hangs or cuts
//! its connection now and then. Every node has links of its own to PostgreSQL and Redis, which can be cut.

pub mod faults;
mod journal;
mod link;
pub mod namespace;
mod node;
pub mod postgres;
mod proxy;
pub mod publisher;
mod receivers;
mod rows;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hookseal::demo::receiver::Keys;
use hookseal_core::limits::CLAIM_SLACK;
use journal::{Journal, now_ms};
use link::Link;
use namespace::{Namespace, RECEIVERS, network};
use node::Node;
use parking_lot::Mutex;
use postgres::Postgres;
use publisher::{Publisher, TERMINAL, TYPES};
use receivers::{Receivers, Temper};
use rows::Rows;
use sea_orm::{ConnectionTrait, Database};
use serde_json::json;
use watch::Witness;

use crate::judge::history::{Endpoint, Organization, Run};
use crate::judge::{Judgement, judge_directory};
use crate::support::daemon::Home;
use crate::support::host::host;
use crate::support::leavings::CANARY;
use crate::support::redis::Redis;

const ORGANIZATIONS: usize = 3;
const ENDPOINTS: usize = 20;
/// The endpoint that fails for a while, and the one that hangs and cuts off.
const FAILING: usize = 5;
const MOODY: usize = 10;
/// Window of each endpoint.
const WINDOW: usize = 8;
const ATTEMPT_TIMEOUT_MS: i64 = 2_000;
const RETRY_SCHEDULE_MS: [i64; 6] = [500, 1_000, 2_000, 4_000, 4_000, 4_000];
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// What a fleet consists of.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Daemons; more than one need PostgreSQL and Redis.
    pub nodes: usize,
    /// PostgreSQL rather than the embedded database.
    pub postgres: bool,
    /// Redis beside it.
    pub redis: bool,
    /// Events that are published, all organizations together.
    pub events_per_second: u32,
    /// How long one of several daemons may be out of sight, in seconds.
    pub lease_secs: u32,
    /// Whether each has a network namespace of its own, on a [`namespace::Bridge`].
    pub hosts: bool,
    /// How late requests may come outside faults, at the 99th percentile.
    pub late_p99_ms: i64,
}

/// An organization and its key.
struct Member {
    id: String,
    key: String,
}

/// The logs that are written under load.
struct Journals {
    publishes: Journal,
    faults: Journal,
    samples: Journal,
    claims: Journal,
    answers: Journal,
}

/// A running fleet.
pub struct Fleet {
    setup: Setup,
    nodes: Vec<Node>,
    rows: Rows,
    postgres: Option<Postgres>,
    redis: Mutex<Option<Redis>>,
    receivers: Receivers,
    members: Vec<Member>,
    organizations: Vec<Organization>,
    endpoints: Vec<Endpoint>,
    journals: Journals,
    directory: PathBuf,
}

impl Fleet {
    /// Starts everything; `directory` is empty, and gets the observations.
    pub fn start(setup: Setup, directory: &Path) -> Self {
        let postgres = setup.postgres.then(Postgres::start);
        let redis = setup.redis.then(Redis::start);
        if let Some(postgres) = &postgres {
            create_database(postgres);
        }
        let nodes: Vec<_> = (0..setup.nodes)
            .map(|n| new_node(n, setup, postgres.as_ref(), redis.as_ref()))
            .collect();
        let rows = Rows::of(match &postgres {
            Some(postgres) => Postgres::url(postgres.port, DATABASE),
            None => {
                let file = nodes[0].home.data_dir().join("hookseal.sqlite3");
                format!("sqlite:{}?mode=ro", file.display())
            }
        });
        // One after the other: the first makes the schema.
        nodes.iter().for_each(Node::start);
        let keys: Vec<_> = (0..ORGANIZATIONS).map(|_| Arc::new(Keys::generate())).collect();
        let mailboxes = (0..ENDPOINTS).map(|n| (temper(n), keys[n % ORGANIZATIONS].clone()));
        let journal = |name| Journal::create(directory, name);
        let receivers = Receivers::start(mailboxes.collect(), journal("receipts.jsonl"));
        let mut fleet = Self {
            setup,
            nodes,
            rows,
            postgres,
            redis: Mutex::new(redis),
            receivers,
            members: Vec::new(),
            organizations: Vec::new(),
            endpoints: Vec::new(),
            journals: Journals {
                publishes: journal("publishes.jsonl"),
                faults: journal("faults.jsonl"),
                samples: journal("samples.jsonl"),
                claims: journal("claims.jsonl"),
                answers: journal("answers.jsonl"),
            },
            directory: directory.to_owned(),
        };
        fleet.register(&keys);
        fleet
    }

    fn register(&mut self, keys: &[Arc<Keys>]) {
        let tenants: Vec<_> = (0..ORGANIZATIONS).map(|_| self.nodes[0].tenant()).collect();
        for tenant in &tenants {
            let id = tenant.organization.clone();
            self.organizations
                .push(Organization { canary: format!("{CANARY}-{id}"), id: id.clone() });
            self.members.push(Member { id, key: tenant.caller.key.clone() });
        }
        let target = if self.setup.hosts { RECEIVERS } else { host() };
        for n in 0..ENDPOINTS {
            let tenant = &tenants[n % ORGANIZATIONS];
            // Two types each, so that an event goes to two or three endpoints.
            let first = n / ORGANIZATIONS;
            let types = [first, first + 1].map(|nth| TYPES[nth % TYPES.len()].0.to_owned());
            let settings = json!({
                "url": self.receivers.url(target, n),
                "subscribed_event_types": types,
                "max_in_flight": WINDOW,
            });
            let made = tenant.caller.post("/v1/webhooks/endpoints", settings).ok();
            let id = made["endpoint"]["id"].as_str().unwrap().to_owned();
            let key = json!({
                "key_id": "k1", "algorithm": "RSA-OAEP-256", "key_type": "RSA",
                "jwk": keys[n % ORGANIZATIONS].public_jwk,
            });
            tenant.caller.post(&format!("/v1/webhooks/endpoints/{id}/keys"), key).ok();
            self.receivers.register(n, &id, made["signing_secret"].as_str().unwrap());
            self.endpoints.push(Endpoint {
                id,
                organization_id: tenant.organization.clone(),
                event_types: types.into(),
                healthy: temper(n) == Temper::Healthy,
                from_at_ms: now_ms(),
                until_at_ms: None,
            });
        }
    }

    /// Begins or ends the time in which one endpoint's receiver answers 500.
    pub fn fail_receiver(&self, failing: bool) {
        self.receivers.fail(failing);
    }

    /// Publishes for as long as `faults` takes, while others look on; answers how long the slowest publish
    /// took.
    pub fn under_load(&self, faults: impl FnOnce(&Self)) -> Duration {
        let stopped = AtomicBool::new(false);
        let publisher = Publisher::new(
            &self.nodes,
            &self.organizations,
            &self.journals.publishes,
            self.setup.events_per_second,
        );
        std::thread::scope(|scope| {
            // Even when a fault panics, so that the scope can end.
            let _stop = OnDrop(|| {
                publisher.stop();
                stopped.store(true, Ordering::Relaxed);
            });
            publisher.start(scope);
            let Journals { samples, claims, .. } = &self.journals;
            scope.spawn(|| watch::sample(&self.nodes, samples, &stopped));
            scope.spawn(|| watch::watch_claims(&self.rows, claims, &stopped));
            for witness in self.witnesses() {
                let (nodes, stopped) = (&self.nodes, &stopped);
                scope.spawn(move || witness.poll(nodes, stopped));
                scope.spawn(move || witness.follow(nodes, stopped));
            }
            faults(self);
        });
        let refused = publisher.refused();
        assert!(refused.is_none(), "nothing that is published breaks a rule: {refused:?}");
        publisher.slowest()
    }

    fn witnesses(&self) -> impl Iterator<Item = Witness<'_>> {
        self.members.iter().map(|member| Witness {
            member,
            organizations: &self.organizations,
            answers: &self.journals.answers,
        })
    }

    /// Waits until all is quiet, at most so long; writes down how things ended, and has it judged.
    pub fn judge(self, quiet_within: Duration) -> Judgement {
        let deadline = Instant::now() + quiet_within;
        // If it does not get quiet, what is left is for the checker to see.
        while self.rows.unsettled() != Ok(0) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
        }
        let rows_read_at_ms = now_ms();
        let journal = |name| Journal::create(&self.directory, name);
        self.rows.dump(
            &journal("events.jsonl"),
            &journal("deliveries.jsonl"),
            &journal("sessions.jsonl"),
        );
        self.witnesses().for_each(|witness| witness.read_all(&self.nodes[0]));
        self.receivers.flush();
        let Journals { publishes, faults, samples, claims, answers } = &self.journals;
        [publishes, faults, samples, claims, answers].into_iter().for_each(Journal::flush);
        let run = serde_json::to_vec_pretty(&self.run(rows_read_at_ms)).unwrap();
        std::fs::write(self.directory.join("run.json"), run).unwrap();
        let logs = self.directory.join("logs");
        std::fs::create_dir(&logs).unwrap();
        for (n, node) in self.nodes.iter().enumerate() {
            let log = node.home.path().join("stderr.log");
            std::fs::copy(log, logs.join(format!("node-{n}.log"))).unwrap();
        }
        judge_directory(&self.directory)
    }

    fn run(&self, rows_read_at_ms: i64) -> Run {
        Run {
            attempt_timeout_ms: ATTEMPT_TIMEOUT_MS,
            claim_slack_ms: CLAIM_SLACK.as_millis().try_into().unwrap(),
            retry_schedule_ms: RETRY_SCHEDULE_MS.into(),
            late_p99_ms: self.setup.late_p99_ms,
            organizations: self.organizations.clone(),
            endpoints: self.endpoints.clone(),
            terminal_event_types: TERMINAL.iter().map(|(name, _)| (*name).to_owned()).collect(),
            limits: BTreeMap::from([
                ("resident_bytes".to_owned(), 512 << 20),
                ("descriptors".to_owned(), 1024),
                ("hookseal_attempts_in_flight".to_owned(), (ENDPOINTS * WINDOW) as u64),
                ("hookseal_endpoint_actors".to_owned(), ENDPOINTS as u64),
            ]),
            rows_read_at_ms,
        }
    }
}

const DATABASE: &str = "fleet";

fn create_database(postgres: &Postgres) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let admin = Database::connect(Postgres::url(postgres.port, "postgres")).await.unwrap();
        admin.execute_unprepared(&format!("CREATE DATABASE {DATABASE}")).await.unwrap();
        admin.close().await.unwrap();
    });
}

fn new_node(n: usize, setup: Setup, postgres: Option<&Postgres>, redis: Option<&Redis>) -> Node {
    let host = setup.hosts.then(|| Arc::new(Namespace::make(n)));
    let schedule = RETRY_SCHEDULE_MS.map(|pause_ms| format!("{pause_ms}ms")).join(",");
    let timeout = format!("{ATTEMPT_TIMEOUT_MS}ms");
    let mut settings = vec![
        ("HOOKSEAL_RETRY_SCHEDULE", schedule),
        ("HOOKSEAL_ATTEMPT_TIMEOUT", timeout),
        ("HOOKSEAL_MASTER_KEY", MASTER_KEY.to_owned()),
        ("HOOKSEAL_LOG", "hookseal=debug,info".to_owned()),
        ("HOOKSEAL_ALLOW_TARGETS", network()),
    ];
    let database = postgres.map(|postgres| Link::to(postgres.port, host.as_ref()));
    if let Some(link) = &database {
        settings.push(("HOOKSEAL_DATABASE_URL", Postgres::url(link.port(), DATABASE)));
    }
    let redis = redis.map(|redis| (redis.url(), Link::to(redis.port(), host.as_ref())));
    if let Some((url, link)) = &redis {
        let (address, _) = url.rsplit_once(':').unwrap();
        settings.push(("HOOKSEAL_REDIS_URL", format!("{address}:{}", link.port())));
    }
    settings.push(("HOOKSEAL_NODE_LEASE", format!("{}s", setup.lease_secs)));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let home = match &host {
        None => Home::new(&settings),
        Some(host) => Home::new(&settings).within(&host.name, &host.address),
    };
    Node::new(home, database, redis.map(|(_, link)| link))
}

fn temper(endpoint: usize) -> Temper {
    match endpoint {
        FAILING => Temper::Failing,
        MOODY => Temper::Moody,
        _ => Temper::Healthy,
    }
}

/// Does something at the end of a scope.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
