//! Behaviour over time; no arithmetic. What to do next is decided in `core`, actors carry it out.
//!
//! ```text
//! ledger ──hand_over──▶ switchboard ──▶ endpoint actor (one an endpoint, pinned to an arbiter)
//!                            │  no actor yet        ▲
//!                            └────▶ supervisor ─────┘ starts it
//! schedule ──due──▶ stager ──────────▶ │
//! rows ──overdue, horizon──▶ stager    │ lapsed claims, expired payloads, old history ◀── janitor
//! ledger, withdrawal ──owed──▶ replacer ──▶ intake: the event that replaces a withdrawn one
//! ```

mod attempt;
pub mod endpoint;
pub mod janitor;
pub mod member;
pub mod replacer;
pub mod stager;
pub mod supervisor;
pub mod switchboard;

use std::sync::Arc;
use std::time::Duration;

use hookseal_core::limits::LULL;
use hookseal_core::ports::{Clock, DeliveryRules, Feed, Ownership, Schedule, Store, Vault};
use hookseal_core::shard::NodeNumber;
use hookseal_core::target::TargetRules;

use crate::courier::Resolver;

/// How long to wait before asking again a store that was away.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// What every actor works with.
#[derive(Clone)]
pub struct Tools {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Due times.
    pub schedule: Arc<dyn Schedule>,
    /// Which endpoints this process speaks for.
    pub ownership: Arc<dyn Ownership>,
    /// What changed.
    pub feed: Arc<dyn Feed>,
    /// Signing secrets.
    pub vault: Arc<dyn Vault>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Pauses and deadlines.
    pub rules: DeliveryRules,
    /// Which targets may be called.
    pub targets: Arc<TargetRules>,
    /// Receivers' certificates.
    pub tls: Arc<rustls::ClientConfig>,
    /// Receivers' names.
    pub resolver: Arc<Resolver>,
    /// How long an endpoint's actor stays without work.
    pub idle_after: Duration,
}

impl Tools {
    /// Whether no other process works on the same rows.
    fn is_alone(&self) -> bool {
        self.ownership.number() == NodeNumber::SOLE
    }

    /// How long what fell due in the rows is left to be told of by whoever committed it.
    fn lull(&self) -> Duration {
        if self.is_alone() { Duration::ZERO } else { LULL }
    }
}
