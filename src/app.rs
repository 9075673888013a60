//! The composition root: wires ports to adapters, starts everything, drains it again.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use actix::prelude::*;
use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use hookseal_core::admin::{Admin, AdminParts};
use hookseal_core::cluster::{Cluster, NodeCard};
use hookseal_core::commons::Commons;
use hookseal_core::error::{Error, Result};
use hookseal_core::id::Minter;
use hookseal_core::intake::{Intake, IntakeParts};
use hookseal_core::limits::{BODIES_BYTES, BODIES_BYTES_EACH};
use hookseal_core::ports::{
    Claims, Clock, DeliveryRules, Dispatch, Feed, Ownership, Rights, Roster, Schedule, Sealer,
    Secret, Store, Throttle, Vault,
};
use hookseal_core::throttle::LocalThrottle;
use hookseal_core::time::Timestamp;

use crate::actors::Tools;
use crate::actors::janitor::{Janitor, blame};
use crate::actors::member::{Member, MemberParts, Membership, set_clock};
use crate::actors::replacer;
use crate::actors::stager::Stager;
use crate::actors::supervisor::{DrainAll, Supervisor};
use crate::actors::switchboard::Switchboard;
use crate::api::{self, Api, KnownKeys, Lives, Meter, Readiness};
use crate::clock::AnchoredClock;
use crate::cluster::{Nodes, OnlyNode};
use crate::config::{Config, make_data_dir};
use crate::courier::{Resolver, tls_config, tls_config_with};
use crate::crypto::SystemEntropy;
use crate::crypto::seal::JoseSealer;
use crate::crypto::session::SessionVerifier;
use crate::crypto::vault::{KeySource, KeyVault, MasterWrap};
use crate::feed::memory::MemoryFeed;
use crate::feed::redis::{RedisFeed, Writers};
use crate::listener;
use crate::metrics;
use crate::ownership::{Holdings, Sole};
use crate::schedule::memory::MemorySchedule;
use crate::schedule::redis::RedisSchedule;
use crate::store::{Connections, NodeLock, SqlStore, sqlite_file};
use crate::throttle::redis::RedisThrottle;

/// Claims that are ended in one transaction at start.
const RELEASE_BATCH: usize = 500;
/// Minutes of statistics that are kept in one transaction, in the end.
const TALLIES_AT_ONCE: usize = 500;
/// How often the counts of requests are written.
const COUNTS_EVERY: Duration = Duration::from_secs(5);

/// Rows and keys, opened: what commands work with that need no running daemon.
pub struct Foundation {
    connections: Connections,
    runtime: tokio::runtime::Handle,
    clock: Arc<AnchoredClock>,
    roster: Option<Arc<dyn Roster>>,
    minter: Arc<Minter>,
    vault: Arc<dyn Vault>,
    sealer: Arc<dyn Sealer>,
    feed: Arc<dyn Feed>,
}

impl Foundation {
    /// Opens the database of `config` and its keys for a command, which may run beside a daemon.
    pub async fn open(config: &Config, runtime: tokio::runtime::Handle) -> Result<Self> {
        let connections = rows(config, &runtime).await?;
        Self::over(config, runtime, connections).await
    }

    /// The keys of a database that is up to date.
    async fn over(
        config: &Config,
        runtime: tokio::runtime::Handle,
        connections: Connections,
    ) -> Result<Self> {
        let clock = Arc::new(AnchoredClock::start());
        let roster = match config.is_shared() {
            false => None,
            true => on(&runtime, roster(connections.clone(), clock.clone())).await?,
        };
        let master = master_key(config)?;
        let vault = on(&runtime, {
            let (connections, clock) = (connections.clone(), clock.clone());
            async move {
                let wrap = Arc::new(MasterWrap::open(master).await?);
                KeyVault::open(&connections, wrap, &*clock).await
            }
        })
        .await?;
        Ok(Self {
            connections,
            feed: match &config.redis {
                Some(redis) => {
                    let writers = if roster.is_some() { Writers::Many } else { Writers::One };
                    RedisFeed::start(redis.clone(), writers, &runtime)
                }
                None => MemoryFeed::start(&runtime),
            },
            roster,
            runtime,
            minter: Arc::new(Minter::new(Arc::new(SystemEntropy))),
            clock,
            vault: Arc::new(vault),
            sealer: Arc::new(JoseSealer::default()),
        })
    }

    /// The store, whose committed deliveries go to `dispatch`.
    fn store(&self, dispatch: Arc<dyn Dispatch>) -> Result<Arc<dyn Store>> {
        let (connections, runtime) = (self.connections.clone(), self.runtime.clone());
        let (feed, minter) = (self.feed.clone(), self.minter.clone());
        Ok(Arc::new(SqlStore::start(connections, runtime, dispatch, feed, minter)?))
    }

    /// What holds callers back who ask too often.
    fn throttle(&self, config: &Config, serving: Arc<AtomicUsize>) -> Arc<dyn Throttle> {
        let (per_minute, now) = (config.requests_per_minute, self.clock.now());
        match &config.redis {
            Some(link) => {
                let link = link.clone();
                Arc::new(RedisThrottle::start(link, per_minute, serving, now, &self.runtime))
            }
            None => Arc::new(LocalThrottle::new(per_minute, now)),
        }
    }

    /// The use cases but publishing, over `store`.
    fn admin(
        &self,
        config: &Config,
        store: Arc<dyn Store>,
        cluster: Arc<dyn Cluster>,
        rights: Arc<dyn Rights>,
    ) -> Admin {
        Admin::new(AdminParts {
            store,
            sealer: self.sealer.clone(),
            vault: self.vault.clone(),
            clock: self.clock.clone(),
            minter: self.minter.clone(),
            catalogue: Arc::new(config.catalogue.clone()),
            targets: config.target_rules(),
            quotas: config.quotas,
            schedule: config.retry_schedule.clone(),
            feed: self.feed.clone(),
            cluster,
            rights,
        })
    }

    /// The use cases for a command that runs beside a daemon or without one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no thread can be started.
    pub fn into_admin(self, config: &Config) -> Result<Admin> {
        let (clock, ownership) = (self.clock.clone(), Arc::new(Sole));
        let switchboard = Switchboard::new(clock.clone(), config.attempt_timeout, ownership);
        let store = self.store(switchboard.clone())?;
        let cluster = Arc::new(Nodes(self.roster.clone()));
        Ok(self.admin(config, store, cluster, Arc::new(KnownKeys::default())))
    }
}

/// Nodes and shards of a database that others are at work on, too; time is the database's.
async fn roster(
    connections: Connections,
    clock: Arc<AnchoredClock>,
) -> Result<Option<Arc<dyn Roster>>> {
    let Some(roster) = connections.roster() else { return Ok(None) };
    set_clock(&clock, &roster).await?;
    Ok(Some(Arc::new(roster)))
}

/// Opens the database of `config` for a command, which may run beside a daemon: it brings the schema up to
/// date only where none is at work on the older one.
pub(crate) async fn rows(config: &Config, runtime: &tokio::runtime::Handle) -> Result<Connections> {
    let connections = connect(config, runtime).await?;
    let up_to_date = on(runtime, {
        let connections = connections.clone();
        async move { connections.is_migrated().await }
    });
    if !up_to_date.await? {
        let _database_lock = lock_database(config)?;
        let _node_lock = lock_node_and_migrate(config, &connections, runtime).await?;
    }
    Ok(connections)
}

async fn connect(config: &Config, runtime: &tokio::runtime::Handle) -> Result<Connections> {
    make_data_dir(&config.data_dir)?;
    let (url, data_dir) = (config.database_url.clone(), config.data_dir.clone());
    on(
        runtime,
        async move { Connections::connect(url.as_ref().map(Secret::expose), &data_dir).await },
    )
    .await
}

/// Another daemon may be at work on an older schema: the lock comes first.
async fn lock_node_and_migrate(
    config: &Config,
    connections: &Connections,
    runtime: &tokio::runtime::Handle,
) -> Result<Option<NodeLock>> {
    let (connections, shared) = (connections.clone(), config.is_shared());
    on(runtime, async move {
        let node_lock = connections.lock_node(shared).await?;
        connections.migrate().await?;
        Ok(node_lock)
    })
    .await
}

async fn on<T: Send + 'static>(
    runtime: &tokio::runtime::Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    runtime.spawn(work).await.unwrap_or_else(|panic| Err(Error::broken("the start", panic)))
}

/// Where the master key of a database comes from.
pub(crate) fn master_key(config: &Config) -> Result<KeySource> {
    match &config.master_key {
        Some(source) => Ok(source.clone()),
        // Made keys live beside the embedded database; elsewhere a second node could not have it.
        None if config.is_embedded() => Ok(KeySource::data_dir(&config.data_dir)),
        None => {
            Err(Error::invalid("master_key", "base64url of 32 bytes, since database_url is set"))
        }
    }
}

/// Keeps a second daemon off a SQLite database for as long as the answered file lives.
fn lock_database(config: &Config) -> Result<Option<File>> {
    make_data_dir(&config.data_dir)?;
    let url = config.database_url.as_ref().map(Secret::expose);
    let Some(mut path) = sqlite_file(url, &config.data_dir) else {
        return Ok(None);
    };
    path.as_mut_os_string().push(".lock");
    let file =
        File::create(path).map_err(|error| Error::unavailable("the data directory", error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(_) => Err(Error::broken("the database", "another daemon is running on it")),
    }
}

/// A running daemon.
pub struct Daemon {
    /// Where it listens.
    pub address: SocketAddr,
    /// The platform key that was made on an empty database, to be shown once.
    pub first_platform_key: Option<Secret>,
    api: Data<Api>,
    server: ServerHandle,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    supervisor: Addr<Supervisor>,
    switchboard: Arc<Switchboard>,
    membership: Option<Membership>,
    arbiters: Vec<Arbiter>,
    connections: Connections,
    feed: Arc<dyn Feed>,
    drain_timeout: Duration,
    _database_lock: Option<File>,
    node_lock: Option<NodeLock>,
}

impl Daemon {
    /// Starts a daemon. Must be called within an actix system; database work runs on `runtime`.
    ///
    /// # Errors
    /// [`Error::Invalid`] names a setting; [`Error::Broken`] tells of another daemon on the same
    /// data or a wrong master key; [`Error::Unavailable`] of what could not be reached.
    pub async fn start(config: &Config, runtime: tokio::runtime::Handle) -> Result<Self> {
        // Bound before anything is touched: a port that is taken must cost nobody a claim.
        let listener = listener::bind(config.listen)?;
        let inbound_tls = config.certificate.clone().map(listener::tls_config).transpose()?;
        let sessions = session_verifier(config)?;
        let tls = match &config.extra_ca_file {
            Some(file) => tls_config_with(file)?,
            None => tls_config(),
        };
        let database_lock = lock_database(config)?;
        metrics::register();
        let connections = connect(config, &runtime).await?;
        let node_lock = lock_node_and_migrate(config, &connections, &runtime).await?;
        let foundation = Foundation::over(config, runtime.clone(), connections.clone()).await?;
        let clock = foundation.clock.clone();
        let holdings = Arc::new(Holdings::default());
        let ownership: Arc<dyn Ownership> = match &foundation.roster {
            Some(_) => holdings.clone(),
            None => Arc::new(Sole),
        };
        let (timeout, owns) = (config.attempt_timeout, ownership.clone());
        let switchboard = Switchboard::new(clock.clone(), timeout, owns);
        let store = foundation.store(switchboard.clone())?;
        if foundation.roster.is_none() {
            // This is the only daemon here: whoever held a claim is gone.
            release_all(&*store, clock.now()).await?;
        }
        let schedule: Arc<dyn Schedule> = match (&config.redis, &foundation.roster) {
            (Some(redis), Some(_)) => {
                RedisSchedule::start(redis.clone(), ownership.clone(), &runtime)
            }
            _ => Arc::new(MemorySchedule::default()),
        };

        let rules = DeliveryRules {
            schedule: config.retry_schedule.clone(),
            attempt_timeout: config.attempt_timeout,
        };
        let tools = Tools {
            store: store.clone(),
            schedule,
            ownership,
            feed: foundation.feed.clone(),
            vault: foundation.vault.clone(),
            clock: clock.clone(),
            rules: rules.clone(),
            targets: config.target_rules(),
            tls,
            resolver: Resolver::new(config.dns_servers.clone()),
            idle_after: config.idle_after,
        };
        // Bound and not yet served, so that what a node says of itself is true.
        let address = listener.local_addr().map_err(|_| Error::invalid("listen", "an address"))?;
        let card = NodeCard {
            name: config.node_name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: address.to_string(),
            feed_writer: foundation.feed.writer(),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let arbiters: Vec<Arbiter> = (0..cores).map(|_| Arbiter::new()).collect();
        let handles = arbiters.iter().map(Arbiter::handle).collect();
        let supervisor = Supervisor::new(tools.clone(), switchboard.clone(), handles).start();
        Janitor::new(tools.clone(), switchboard.clone(), config.history).start();
        let stager = Stager::new(tools.clone(), switchboard.clone());
        actix::spawn(stager.clone().run());
        let cluster: Arc<dyn Cluster> = match &foundation.roster {
            Some(roster) => Arc::new(Nodes(Some(roster.clone()))),
            None => Arc::new(OnlyNode {
                card: card.clone(),
                started_at: clock.now(),
                switchboard: switchboard.clone(),
                stager: stager.clone(),
            }),
        };
        let membership = match foundation.roster.clone() {
            None => None,
            Some(roster) => {
                let parts = MemberParts {
                    roster,
                    holdings: holdings.clone(),
                    clock: clock.clone(),
                    card,
                    lease: config.node_lease,
                    tools: tools.clone(),
                    switchboard: switchboard.clone(),
                    stager,
                };
                Some(Membership::start(Member::join(parts).await?))
            }
        };

        let known_keys = Arc::new(KnownKeys::default());
        let admin = Arc::new(foundation.admin(config, store.clone(), cluster, known_keys.clone()));
        let first_platform_key = match config.platform_key {
            Some(_) => None,
            None => admin.create_first_platform_key().await?,
        };
        let platform_key = config.platform_key.as_ref();
        let intake = Arc::new(Intake::new(IntakeParts {
            store: store.clone(),
            sealer: foundation.sealer.clone(),
            vault: foundation.vault.clone(),
            dispatch: switchboard.clone(),
            clock: clock.clone(),
            minter: foundation.minter.clone(),
            catalogue: Arc::new(config.catalogue.clone()),
            rules,
        }));
        actix::spawn(replacer::run(intake.clone(), switchboard.clone()));
        actix::spawn(forget_unused(intake.clone(), config.idle_after));
        let api = Data::new(Api {
            graphql: hookseal_graphql::schema(admin.clone(), intake.clone(), config.introspection),
            admin,
            intake,
            openapi: api::openapi_document(config).to_string().into(),
            sessions,
            session_cookie: config.sessions.cookie.clone(),
            origins: config.sessions.origins.clone(),
            meter: Meter::new(foundation.throttle(config, holdings.serving())),
            clock,
            store,
            platform_key_hash: platform_key.map(|key| foundation.vault.hash_api_key(key.expose())),
            vault: foundation.vault.clone(),
            readiness: Readiness::default(),
            lives: Lives::default(),
            bodies: Commons::new(BODIES_BYTES, BODIES_BYTES_EACH),
            introspection: config.introspection,
            development: config.dev,
            secure: config.certificate.is_some(),
            known_keys,
        });
        actix::spawn(flush_counts(api.clone()));
        let server = listener::serve(config, listener, api.clone(), inbound_tls, cores)?;
        let handle = server.handle();
        let served = actix::spawn(server);
        Ok(Self {
            address,
            first_platform_key,
            api,
            server: handle,
            served,
            supervisor,
            switchboard,
            membership,
            arbiters,
            connections,
            feed: foundation.feed,
            drain_timeout: config.drain_timeout,
            _database_lock: database_lock,
            node_lock,
        })
    }

    /// Returns when this daemon must stop of itself: another one has taken its database.
    pub async fn displaced(&self) {
        match &self.node_lock {
            Some(lock) => lock.keep().await,
            None => std::future::pending().await,
        }
    }

    /// Drains: readiness drops, accepts finish, attempts in flight have until the drain timeout,
    /// claims are handed back.
    pub async fn stop(self) {
        self.api.readiness.drain();
        self.switchboard.close();
        // Others go on with what is due while this node ends what it has begun.
        if let Some(membership) = &self.membership {
            membership.leave().await;
        }
        let draining = self.supervisor.send(DrainAll { grace: self.drain_timeout });
        let stopping = self.server.stop(true);
        let (drained, ()) = tokio::join!(draining, stopping);
        if drained.is_err() {
            tracing::error!("the supervisor is gone: claims will lapse");
        }
        // The server's own result says nothing that a drained daemon could act on.
        let _ = self.served.await;
        for arbiter in self.arbiters {
            arbiter.stop();
        }
        self.api.meter.flush(&*self.api.store).await;
        while let Ok(1..) = self.api.store.keep_tallies(Timestamp::MAX, TALLIES_AT_ONCE).await {}
        self.feed.close().await;
        if let Some(membership) = self.membership {
            membership.end().await;
        }
        self.connections.close().await;
    }
}

fn session_verifier(config: &Config) -> Result<SessionVerifier> {
    let sessions = &config.sessions;
    let jwks = match &sessions.jwks_file {
        None => None,
        Some(file) => Some(
            std::fs::read_to_string(file)
                .map_err(|_| Error::invalid("session_jwks_file", "a readable file"))?,
        ),
    };
    let (issuer, audience) = (sessions.issuer.clone(), sessions.audience.clone());
    SessionVerifier::new(sessions.secret.as_ref(), jwks.as_deref(), issuer, audience)
}

/// Has what is kept at hand follow who is active.
async fn forget_unused(intake: Arc<Intake>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        intake.forget_unused();
    }
}

/// Writes the counts of requests every now and then.
async fn flush_counts(api: Data<Api>) {
    loop {
        tokio::time::sleep(COUNTS_EVERY).await;
        api.meter.flush(&*api.store).await;
    }
}

async fn release_all(store: &dyn Store, now: Timestamp) -> Result<()> {
    let Some(blame) = blame(store, Claims::All).await? else { return Ok(()) };
    loop {
        let released = store.release(Claims::All, now, RELEASE_BATCH, blame).await?.claims;
        if released > 0 {
            tracing::info!(released, "claims of the process before are due again");
        }
        if released < RELEASE_BATCH {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actors::endpoint::Explode;
    use crate::demo::client::Client;
    use crate::demo::receiver::{Behaviour, Receiver};
    use hookseal_core::id::EndpointId;

    const KEY: &str = "platform-key-of-the-test";

    /// A daemon of this process with one endpoint, and what publishes to it.
    struct Stage {
        daemon: Daemon,
        client: Client,
        organization: String,
        endpoint: EndpointId,
        receiver: Receiver,
        published: usize,
        _directory: tempfile::TempDir,
        runtime: Option<tokio::runtime::Runtime>,
    }

    impl Drop for Stage {
        fn drop(&mut self) {
            // A runtime must not be waited for on a thread that runs tasks.
            if let Some(runtime) = self.runtime.take() {
                runtime.shutdown_background();
            }
        }
    }

    impl Stage {
        async fn set(settings: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let data_dir = directory.path().display().to_string();
            let fixed = [
                ("listen", "127.0.0.1:0"),
                ("dev", "1"),
                ("platform_key", KEY),
                ("data_dir", data_dir.as_str()),
            ];
            let all = fixed.iter().chain(settings);
            let all = all.map(|(name, value)| (name.to_string(), value.to_string()));
            let config = Config::read("", all).expect("valid settings");
            let runtime = crate::cli::store_runtime().expect("a runtime");
            let daemon = Daemon::start(&config, runtime.handle().clone()).await.expect("started");
            let client = Client::new(format!("http://{}", daemon.address), KEY.to_owned());
            let (organization, key) = client.tenant("Test").await.expect("a tenant");
            let receiver = Receiver::start(Behaviour::Accept);
            let made = client
                .post(&key, "/v1/webhooks/endpoints", &json!({ "url": receiver.url }))
                .await
                .expect("an endpoint");
            receiver.trust(made["signing_secret"].as_str().expect("a secret"));
            let id = made["endpoint"]["id"].as_str().expect("an id");
            let jwk = json!({
                "key_id": "k", "algorithm": "RSA-OAEP-256", "key_type": "RSA",
                "jwk": receiver.public_jwk,
            });
            let path = format!("/v1/webhooks/endpoints/{id}/keys");
            client.post(&key, &path, &jwk).await.expect("a key");
            Self {
                endpoint: EndpointId::parse("id", id).expect("an id"),
                daemon,
                client,
                organization,
                receiver,
                published: 0,
                _directory: directory,
                runtime: Some(runtime),
            }
        }

        async fn publish_and_see_it_arrive(&mut self) {
            self.published += 1;
            let session = format!("vs_{}", self.published);
            let event = json!([{
                "organization_id": self.organization,
                "type": "verification.session.expired",
                "trigger_type": "verification_session",
                "trigger_id": session,
                "data": {},
            }]);
            self.client.publish(&event).await.expect("published");
            until("the delivery", || self.receiver.accepted() == self.published).await;
        }
    }

    async fn until(what: &str, so: impl Fn() -> bool) {
        let waiting = async {
            while !so() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        assert!(in_time.is_ok(), "waited for {what}");
    }

    #[actix::test]
    async fn an_actor_that_panics_is_rebuilt_from_the_rows() {
        let mut stage = Stage::set(&[]).await;
        stage.publish_and_see_it_arrive().await;
        let line = stage.daemon.switchboard.line(&stage.endpoint).expect("an actor");
        let token = line.token;
        // The answer never comes: the actor is gone.
        assert!(line.address.send(Explode).await.is_err());
        let rebuilt = || {
            let line = stage.daemon.switchboard.line(&stage.endpoint);
            line.is_none_or(|line| line.token != token)
        };
        until("the new actor", rebuilt).await;
        stage.publish_and_see_it_arrive().await;
    }

    #[actix::test]
    async fn an_idle_actor_ends_and_comes_back_when_there_is_work() {
        let mut stage = Stage::set(&[("idle_after", "100ms")]).await;
        for _ in 0..3 {
            stage.publish_and_see_it_arrive().await;
            until("the end of the actor", || stage.daemon.switchboard.is_empty()).await;
        }
    }
}
