//! Who serves, who speaks for which endpoints, and how much there is to do.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{DeliveryId, EndpointId};
use crate::shard::{NodeNumber, Shard, Shards, Standing};
use crate::time::Timestamp;

/// What a node says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCard {
    /// A name for people.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where its API listens.
    pub address: String,
    /// What it is called in the feed; none where the feed is its own.
    pub feed_writer: Option<String>,
}

/// How much a node has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Endpoints that it is at work for.
    pub endpoints: usize,
    /// Deliveries that wait in its memory.
    pub waiting: usize,
    /// Attempts in flight.
    pub in_flight: usize,
    /// Endpoints whose breaker holds attempts back.
    pub breakers_open: usize,
    /// How late it passed on the latest due times.
    pub lag: Duration,
}

/// What a node says with each renewal of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// How long the lease is to run.
    pub lease: Duration,
    /// Whether it stops, and takes no shard any more.
    pub leaving: bool,
    /// How much it has to do.
    pub workload: Workload,
}

/// What came of asking for another lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It was said to be gone: this life of it is over.
    Ended,
    /// It has a lease.
    Renewed(Neighbourhood),
}

/// What a node learned while it renewed its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbourhood {
    /// What time the database has.
    pub now: Timestamp,
    /// Who has each shard.
    pub owners: Owners,
    /// How many nodes serve.
    pub serving: usize,
    /// Shards that others are to have, and who.
    pub give: Vec<(Shard, NodeNumber)>,
    /// Nodes that this one ended, by their names in the feed.
    pub ended: Vec<Option<String>>,
}

/// Who has each shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners(Vec<(Shard, NodeNumber)>);

impl FromIterator<(Shard, NodeNumber)> for Owners {
    fn from_iter<T: IntoIterator<Item = (Shard, NodeNumber)>>(owners: T) -> Self {
        Self(owners.into_iter().collect())
    }
}

impl Owners {
    /// The owner of a shard.
    pub fn of(&self, shard: Shard) -> Option<NodeNumber> {
        self.0.iter().find(|(owned, _)| *owned == shard).map(|(_, owner)| *owner)
    }

    /// What `node` has.
    pub fn shards_of(&self, node: NodeNumber) -> Shards {
        self.0.iter().filter(|(_, owner)| *owner == node).map(|(shard, _)| *shard).collect()
    }
}

/// What the rows say between two renewals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Who has each shard.
    pub owners: Owners,
    /// Endpoints that were changed of late, each with its revision.
    pub changed: Vec<(EndpointId, i64)>,
    /// Deliveries in flight whose payloads were taken away.
    pub revoked: Vec<(EndpointId, DeliveryId)>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Names this life of it.
    pub number: NodeNumber,
    /// What it said of itself.
    pub card: NodeCard,
    /// When it started.
    pub started_at: Timestamp,
    /// When its lease runs out; none where it needs none.
    pub lease_until: Option<Timestamp>,
    /// How it stands.
    pub standing: Standing,
    /// How many shards it has.
    pub shards: usize,
    /// How much it has to do.
    pub workload: Workload,
}

/// One shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardState {
    /// Which.
    pub shard: Shard,
    /// Who speaks for its endpoints.
    pub owner: Option<NodeNumber>,
    /// How often it changed hands.
    pub epoch: i64,
}

/// All nodes and all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// Nodes, those that serve first, and those that ended within the last hour.
    pub nodes: Vec<Node>,
    /// Shards, by number.
    pub shards: Vec<ShardState>,
}

/// The processes that serve.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Each as it is now, and what it has.
    async fn roll(&self) -> Result<Roll>;
}
