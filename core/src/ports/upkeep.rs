//! What is to be seen to behind the callers.

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{DeliveryId, EndpointId};
use crate::shard::{NodeNumber, Shards};
use crate::time::Timestamp;

use super::dispatch::Due;

/// Who is to blame for a lost claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The delivery, perhaps: it is counted, and parked after too many.
    Delivery,
    /// Nobody in particular: so many were claimed that it says nothing of one.
    Nobody,
}

/// Claims that are ended for their holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// All: nobody can hold one.
    All,
    /// Those of nodes that ended; asked for by one of several nodes.
    OfTheEnded,
    /// The same, as far as they lapsed at or before this instant: found without looking at what others hold.
    LapsedOfTheEnded(Timestamp),
    /// Those of one node that lapsed at or before this instant, on that node's clock.
    LapsedOf(NodeNumber, Timestamp),
}

/// Claims that were ended for their holders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// How many.
    pub claims: usize,
    /// What is due again by it.
    pub due: Vec<Due>,
}

/// What is due, what lapsed and what is over: the rows behind schedule, actors and janitor.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Enabled endpoints that have a pending delivery due at `now`, by id, after `after`.
    async fn endpoints_due(
        &self,
        now: Timestamp,
        after: Option<&EndpointId>,
        limit: usize,
    ) -> Result<Vec<EndpointId>>;
    /// Pending deliveries of one endpoint that are due at `now`, longest due first.
    async fn due(&self, endpoint: &EndpointId, now: Timestamp, limit: usize) -> Result<Vec<Due>>;
    /// Pending deliveries of `shards` that fall due after `after` and at or before `until`, soonest first.
    async fn upcoming(
        &self,
        shards: Shards,
        after: (Timestamp, Option<&DeliveryId>),
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>>;
    /// How many deliveries are claimed by those that `which` names; no more than `most` are counted.
    async fn open_claims(&self, which: Claims, most: usize) -> Result<usize>;
    /// Ends claims of those that `which` names.
    async fn release(
        &self,
        which: Claims,
        now: Timestamp,
        limit: usize,
        blame: Blame,
    ) -> Result<Released>;
    /// Fails what is still pending for deleted endpoints, and scrubs what they failed to deliver;
    /// answers how many deliveries were written.
    async fn clear_deleted_endpoints(&self, now: Timestamp, limit: usize) -> Result<usize>;
    /// Removes rows of deleted organizations; answers how many.
    async fn purge_deleted_organizations(&self, now: Timestamp, limit: usize) -> Result<usize>;
    /// Removes entries of the audit log that tell of sessions and were made before `before`.
    async fn purge_audit(&self, before: Timestamp, limit: usize) -> Result<usize>;
    /// Forgets signing secrets that were replaced and sign no more; answers how many.
    async fn forget_previous_secrets(&self, now: Timestamp, limit: usize) -> Result<usize>;
    /// Scrubs payloads whose time is over; answers how many were looked at.
    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize>;
    /// How many events are best removed at once, each of which is gone from many places of many indexes.
    fn history_batch(&self) -> usize;
    /// Removes events accepted before `before` that hold no payload any more, with all that belongs to them; one with
    /// an idempotency key stays until `keyed_before`, and so does what tells that a session ended. Answers how many,
    /// `limit` where there may be more.
    async fn purge(
        &self,
        before: Timestamp,
        keyed_before: Timestamp,
        limit: usize,
    ) -> Result<usize>;
    /// Whether the rows can be read and written.
    async fn ping(&self) -> Result<()>;
}
