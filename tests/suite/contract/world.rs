//! What rows are asked of: three daemons on one engine, and a shelf of things that no row changes.

use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use super::vocabulary::{delivery_of, endpoint, id, key};
use crate::support::daemon::{Caller, Daemon, Home, Tenant, wait};
use crate::support::databases::{Engine, new_postgres_database};

const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
/// How long a row waits for something that happens at once.
pub const SOON: Duration = Duration::from_secs(30);

/// Settings of every daemon of a world.
const SETTINGS: &[(&str, &str)] = &[
    ("HOOKSEAL_REQUESTS_PER_MINUTE", "1000000"),
    ("HOOKSEAL_SESSION_SECRET", super::tokens::SECRET),
    ("HOOKSEAL_DASHBOARD_ORIGINS", super::tokens::ORIGIN),
];

pub struct World {
    pub engine: Engine,
    /// One attempt, then a pause of an hour.
    pub daemon: Daemon,
    /// Two attempts with hardly a pause, then the end.
    pub hasty: Daemon,
    /// The rules and the schedule of production.
    pub strict: Daemon,
    /// The tenant of the shelf.
    pub tenant: Tenant,
    /// A key of it that may read webhooks.
    pub reader: Caller,
    /// A key of it that may write webhooks and holds no other scope.
    pub writer: Caller,
    /// A key of it that holds every scope but those of webhooks.
    pub elsewhere: Caller,
    /// Somebody without a key.
    pub nobody: Caller,
    /// A public key to register.
    pub jwk: Value,
    shelf: Vec<(String, String)>,
    _receiver: Receiver,
    _homes: [Home; 3],
}

impl World {
    pub fn start(engine: Engine) -> Self {
        let homes = [
            home(engine, &[("HOOKSEAL_RETRY_SCHEDULE", "1h")]),
            home(engine, &[("HOOKSEAL_RETRY_SCHEDULE", "50ms")]),
            home(engine, &[("HOOKSEAL_DEV", "0")]),
        ];
        let [daemon, hasty, strict] = [&homes[0], &homes[1], &homes[2]].map(Home::start);
        let receiver = Receiver::start(Behaviour::Answer(500));
        let (tenant, other) = (daemon.tenant(), daemon.tenant());
        let mut shelf = Vec::new();
        for (prefix, tenant) in [("", &tenant), ("their_", &other)] {
            let made = endpoint(tenant, json!({ "url": receiver.url, "name": "shelf" }));
            let key = key(tenant, id(&made), "k1", &receiver.public_jwk);
            let event = tenant.publish("vs_shelf", json!({}));
            wait(SOON, "the first attempt", || delivery_of(tenant, &event)["attempt_count"] == 1);
            let delivery = delivery_of(tenant, &event);
            for (name, thing) in
                [("endpoint", &made), ("key", &key), ("event", &event), ("delivery", &delivery)]
            {
                shelf.push((format!("{{{prefix}{name}}}"), id(thing).to_owned()));
            }
        }
        Self {
            engine,
            reader: daemon.key(&tenant.organization, &["webhooks:read"]),
            writer: daemon.key(&tenant.organization, &["webhooks:write"]),
            elsewhere: daemon
                .key(&tenant.organization, &["sessions:read", "sessions:write", "analytics:read"]),
            nobody: Caller::new(&daemon.url, ""),
            jwk: receiver.public_jwk.clone(),
            daemon,
            hasty,
            strict,
            tenant,
            shelf,
            _receiver: receiver,
            _homes: homes,
        }
    }

    /// `text` with the ids that its `{names}` stand for.
    pub fn shelved(&self, text: &str) -> String {
        self.shelf.iter().fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    }
}

/// A home on `engine`, with a database of its own.
pub fn home(engine: Engine, settings: &[(&str, &str)]) -> Home {
    let mut settings = [SETTINGS, settings].concat();
    let url = match engine {
        Engine::Sqlite => None,
        Engine::Postgres => {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            Some(runtime.block_on(new_postgres_database()))
        }
    };
    if let Some(url) = &url {
        settings.push(("HOOKSEAL_DATABASE_URL", url));
        settings.push(("HOOKSEAL_MASTER_KEY", MASTER_KEY));
    }
    Home::new(&settings)
}
