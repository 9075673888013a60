//! What an endpoint's actor is told.

use actix::Message;
use hookseal_core::budget::Share;
use hookseal_core::id::DeliveryId;
use hookseal_core::lane::LaneSnapshot;
use hookseal_core::ports::Claimed;

/// Deliveries are due.
#[derive(Debug, Default, Message)]
#[rtype(result = "()")]
pub struct Enqueue {
    /// Which.
    pub ids: Vec<DeliveryId>,
    /// Whether the schedule keeps them until it hears what became of them.
    pub leased: bool,
}

/// The rows hold due deliveries.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct LookIntoRows;

/// Attempt deliveries that were inserted claimed, on places of this actor's gate.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver(pub Vec<Cargo>);

/// A claimed delivery on its way to its attempt.
#[derive(Debug)]
pub struct Cargo {
    /// The row and what to send.
    pub claimed: Claimed,
    /// The memory it takes until the attempt ends.
    pub memory: Option<Share>,
}

/// The endpoint's settings changed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Reconfigure;

/// The payloads of these deliveries were taken away: what has not started must not start.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Revoke(pub Vec<DeliveryId>);

/// Start nothing more and end once nothing flies; `hard` gives up what flies.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// Whether attempts in flight are given up.
    pub hard: bool,
}

/// Show how the lane stands.
#[derive(Debug, Message)]
#[rtype(result = "LaneSnapshot")]
pub struct Snapshot;

/// Panics, so that a test can watch the supervisor rebuild the actor.
#[cfg(test)]
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Explode;
