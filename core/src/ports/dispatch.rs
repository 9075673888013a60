//! The ways from committed rows to the actors, and to those who watch.

use async_trait::async_trait;
use bytes::Bytes;

use crate::delivery::Delivery;
use crate::error::Result;
use crate::feed::{After, Interest, Position};
use crate::gate::Reservation;
use crate::id::{DeliveryId, EndpointId};
use crate::order::Ticket;
use crate::shard::Shards;
use crate::time::Timestamp;

/// A due time in the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// When.
    pub at: Timestamp,
    /// Which delivery.
    pub id: DeliveryId,
    /// Whose.
    pub endpoint_id: EndpointId,
}

/// Due times of what waits: hints, rebuilt from the rows at any time.
#[async_trait]
pub trait Schedule: Send + Sync {
    /// Adds due times, or moves them; those beyond its bounds are left to the rows.
    async fn put(&self, due: Vec<Due>) -> Result<()>;
    /// Leases what is due at `now` to this process, soonest first, at most `limit`: what is neither put
    /// again nor struck out comes again after [`SCHEDULE_LEASE`](crate::limits::SCHEDULE_LEASE).
    async fn lease(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>>;
    /// Strikes out due times of one endpoint.
    async fn strike_out(&self, endpoint: &EndpointId, ids: Vec<DeliveryId>) -> Result<()>;
    /// When it is worth asking again.
    async fn next(&self) -> Result<Option<Timestamp>>;
    /// Waits until it is worth asking before that.
    async fn changed(&self);
    /// Waits until what it covered is lost, in whole or in part.
    async fn lost(&self);
    /// Everything due up to this instant is here; later due times wait in the rows.
    fn covers_until(&self) -> Timestamp;
    /// Says that everything due up to `until` has been put, or puts itself.
    fn cover(&self, until: Timestamp);
    /// Takes back what was said of anything due after `until`.
    fn uncover(&self, until: Timestamp);
}

/// A committed delivery on its way to its endpoint's actor.
#[derive(Debug)]
pub struct HandOver {
    /// The row.
    pub delivery: Delivery,
    /// The payload and the place, when the row was inserted claimed.
    pub claimed: Option<(Bytes, Reservation)>,
}

/// The way from committed rows to the actors. Never fails: whatever an actor does not hear of, it finds in
/// the rows.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// A place with `endpoint`, if its actor is here and lends one; `bytes` of payload are kept in memory
    /// until the attempt starts. Where places come free faster than they are asked for it waits for one, until
    /// that instant at most: what goes by way of the rows instead costs more, and would go on to.
    async fn reserve(
        &self,
        endpoint: &EndpointId,
        bytes: usize,
        until: Timestamp,
    ) -> Option<Reservation>;
    /// Passes committed deliveries on.
    fn hand_over(&self, deliveries: Vec<HandOver>);
    /// An endpoint's settings changed.
    fn reconfigured(&self, endpoint: &EndpointId);
    /// Payloads of claimed deliveries were taken away: what has not started must not start.
    fn revoked(&self, endpoint: &EndpointId, ids: Vec<DeliveryId>);
    /// A replacing event is owed.
    fn replacement_owed(&self);
    /// This process speaks for other shards than before.
    fn shards_changed(&self, gained: Shards, lost: Shards);
}

/// What changed, for those who watch: a hint that can be thrown away, and says so.
#[async_trait]
pub trait Feed: Send + Sync {
    /// A place in the order of commits; to be taken right before one, and filled right after.
    fn ticket(&self) -> Ticket;
    /// Behind all that there is.
    fn head(&self) -> Position;
    /// What came after `position`, a part at a time.
    fn after(&self, position: Position) -> After;
    /// Waits until there may be something of interest after `position`; answers the position up to which
    /// there is nothing.
    async fn moved(&self, position: Position, interest: &Interest) -> Position;
    /// Waits a moment until all that was committed so far is seen before whatever comes after: what other
    /// processes do about it must not be told first.
    async fn flushed(&self) {}
    /// Waits a moment until all that was told is kept.
    async fn close(&self);
    /// What this process is called here by others; none when there are none.
    fn writer(&self) -> Option<String> {
        None
    }
    /// Another process ended, perhaps with changes untold.
    fn bury(&self, _writer: &str) {}
}
