//! Who serves, and who speaks for which endpoints.

use async_graphql::{Enum, SimpleObject};
use hookseal_core::{cluster, shard};

use crate::instant::DateTime;

/// The nodes of a database and its shards.
#[derive(SimpleObject)]
pub(crate) struct Cluster {
    /// Each node, those that serve first; ended ones are shown for an hour.
    nodes: Vec<Node>,
    /// Each shard of the endpoints.
    shards: Vec<Shard>,
}

/// One life of one node.
#[derive(SimpleObject)]
struct Node {
    /// Names this life of it; 0 where there is one node only.
    number: i64,
    /// Its name.
    name: String,
    /// Its version.
    version: String,
    /// Where its API listens.
    address: String,
    /// How it stands.
    standing: NodeStanding,
    /// When it started.
    started_at: DateTime,
    /// When its lease runs out; none where it needs none.
    lease_until: Option<DateTime>,
    /// How many shards it has.
    shards: usize,
    /// Endpoints that it is at work for.
    endpoints: usize,
    /// Deliveries that wait in its memory.
    waiting: usize,
    /// Attempts in flight.
    in_flight: usize,
    /// Endpoints whose breaker holds attempts back.
    breakers_open: usize,
    /// How late it passed on the latest due times, in milliseconds.
    schedule_lag_ms: u64,
}

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "shard::Standing")]
enum NodeStanding {
    /// Its lease runs, and it takes shards.
    Serving,
    /// It stops, and gives its shards away.
    Leaving,
    /// Its lease ran out, and nobody has said so yet.
    Late,
    /// It is gone.
    Ended,
}

/// One shard of the endpoints.
#[derive(SimpleObject)]
struct Shard {
    /// Which, from 0.
    shard: u8,
    /// Number of the node that speaks for its endpoints; none for a moment while it changes hands.
    node: Option<i64>,
    /// How often it changed hands.
    epoch: i64,
}

impl From<cluster::Roll> for Cluster {
    fn from(cluster::Roll { nodes, shards }: cluster::Roll) -> Self {
        Self {
            nodes: nodes.into_iter().map(Into::into).collect(),
            shards: shards.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<cluster::Node> for Node {
    fn from(node: cluster::Node) -> Self {
        let cluster::NodeCard { name, version, address, .. } = node.card;
        let cluster::Workload { endpoints, waiting, in_flight, breakers_open, lag } = node.workload;
        Self {
            number: node.number.0,
            name,
            version,
            address,
            standing: node.standing.into(),
            started_at: node.started_at.into(),
            lease_until: node.lease_until.map(Into::into),
            shards: node.shards,
            endpoints,
            waiting,
            in_flight,
            breakers_open,
            schedule_lag_ms: u64::try_from(lag.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<cluster::ShardState> for Shard {
    fn from(cluster::ShardState { shard, owner, epoch }: cluster::ShardState) -> Self {
        Self { shard: shard.number(), node: owner.map(|owner| owner.0), epoch }
    }
}
