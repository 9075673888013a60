//! The way in over HTTP: routes, authentication, one file a resource, one envelope.
//!
//! Each handler checks in the contract's order: body size, authentication, right, validation,
//! existence, state (contract 2.1).

mod api_keys;
mod audit;
mod auth;
mod body;
mod cluster;
mod deliveries;
mod endpoints;
mod envelope;
mod events;
mod graphql;
mod keys;
mod meter;
mod openapi;
mod ops;
mod platform;
mod query;
mod reference;
mod routes;
mod schema;
mod unambiguous;
mod views;

use std::sync::Arc;

use bytes::Bytes;
use hookseal_core::admin::Admin;
use hookseal_core::commons::Commons;
use hookseal_core::intake::Intake;
use hookseal_core::ports::{Clock, Store, Vault};
use tokio::sync::watch;

pub use routes::{configure, cors, openapi_document, security_headers, timed};

/// Whether the daemon takes requests, and why not.
#[derive(Debug, Default)]
pub struct Readiness {
    draining: watch::Sender<bool>,
}

impl Readiness {
    /// Says that the daemon drains: no new requests, please.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Tells when the daemon begins to drain.
    fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }
}

/// What the handlers work with.
pub struct Api {
    /// Use cases but publishing.
    pub admin: Arc<Admin>,
    /// The same, for GraphQL.
    pub graphql: hookseal_graphql::Schema,
    /// Publishing, testing and withdrawing.
    pub intake: Arc<Intake>,
    /// The OpenAPI document.
    pub openapi: Bytes,
    /// Rows, for the readiness probe.
    pub store: Arc<dyn Store>,
    /// Keyed hashes, to compare keys by.
    pub vault: Arc<dyn Vault>,
    /// Time, for sessions and rate limits.
    pub clock: Arc<dyn Clock>,
    /// What dashboard sessions must be signed with.
    pub sessions: SessionVerifier,
    /// Name of the cookie that may carry a session.
    pub session_cookie: String,
    /// Origins of dashboards.
    pub origins: Vec<String>,
    /// What callers use.
    pub meter: Meter,
    /// Hash of the platform key that the configuration names.
    pub platform_key_hash: Option<String>,
    /// Whether the daemon takes requests.
    pub readiness: Readiness,
    /// Places of those who watch.
    pub lives: Lives,
    /// What request bodies may take together, in bytes.
    pub bodies: Arc<Commons>,
    /// Whether the GraphQL schema may be asked for.
    pub introspection: bool,
    /// Whether this is a developer's daemon.
    pub development: bool,
    /// Whether callers speak TLS with this process.
    pub secure: bool,
    /// Keys that were found lately.
    pub known_keys: Arc<KnownKeys>,
}

use crate::crypto::session::SessionVerifier;

pub use auth::KnownKeys;
pub use graphql::Lives;
pub use meter::Meter;
