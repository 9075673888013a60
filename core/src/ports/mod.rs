//! What the use cases need of the world. Each port has its adapters in the daemon and one
//! conformance suite that runs against all of them.

mod archive;
mod cluster;
mod directory;
mod dispatch;
mod ledger;
mod secrets;
mod upkeep;
mod withdrawals;

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::retry::RetrySchedule;
use crate::time::Timestamp;

pub use archive::{Archive, DeliveryFilter, EventFilter, Tallies};
pub use cluster::{Ownership, Roster};
pub use directory::{
    ApiKeys, AuditFilter, AuditLog, Change, Directory, EndpointFilter, Endpoints, Inserted, Keys,
    Organizations,
};
pub use dispatch::{Dispatch, Due, Feed, HandOver, Schedule};
pub use ledger::{
    Acceptance, Accepted, Audience, Claimed, Destination, Haste, Idempotency, Ledger, Member,
    NewDelivery, Requeue, SessionPart, Settlement,
};
pub use secrets::{Entropy, SealFault, Sealer, Secret, SecretColumn, Vault};
pub use upkeep::{Blame, Claims, Released, Upkeep};
pub use withdrawals::Withdrawals;

/// Wall time that never jumps while the process lives.
pub trait Clock: Send + Sync {
    /// The current instant.
    fn now(&self) -> Timestamp;
}

/// All rows.
pub trait Store: Directory + Ledger + Archive + Withdrawals + Tallies + Upkeep {}

impl<T: Directory + Ledger + Archive + Withdrawals + Tallies + Upkeep> Store for T {}

/// How many requests each caller may make: a minute's worth at once, which he gets back evenly.
#[async_trait]
pub trait Throttle: Send + Sync {
    /// Takes the right to one request of `caller` at `now`, or tells how long to wait for it. Never fails for
    /// another reason.
    async fn take(&self, caller: &str, now: Timestamp) -> Result<(), Duration>;
}

/// Whoever believes what callers may do for a while.
pub trait Rights: Send + Sync {
    /// What anybody may do has changed, or may have.
    fn changed(&self);
}

/// The rules that deliveries are made by.
#[derive(Clone, Debug)]
pub struct DeliveryRules {
    /// Pauses between attempts.
    pub schedule: RetrySchedule,
    /// Deadline over a whole exchange.
    pub attempt_timeout: Duration,
}
