//! Who serves, as operators see it: several nodes by their rows, one by itself.

use std::sync::Arc;

use async_trait::async_trait;
use hookseal_core::cluster::{Cluster, Node, NodeCard, Roll, ShardState, Workload};
use hookseal_core::error::Result;
use hookseal_core::ports::Roster;
use hookseal_core::shard::{NodeNumber, SHARDS, Shard, Standing};
use hookseal_core::time::Timestamp;

use crate::actors::stager::Stager;
use crate::actors::switchboard::Switchboard;

/// The nodes that share a database, as their rows say; none where nobody says so.
pub struct Nodes(pub Option<Arc<dyn Roster>>);

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").finish_non_exhaustive()
    }
}

#[async_trait]
impl Cluster for Nodes {
    async fn roll(&self) -> Result<Roll> {
        match &self.0 {
            Some(roster) => roster.roll().await,
            None => Ok(Roll::default()),
        }
    }
}

/// What the only node of a database sees: itself.
#[derive(Debug)]
pub struct OnlyNode {
    /// What it says of itself.
    pub card: NodeCard,
    /// When it started.
    pub started_at: Timestamp,
    /// What is at work.
    pub switchboard: Arc<Switchboard>,
    /// What passes on due times.
    pub stager: Arc<Stager>,
}

#[async_trait]
impl Cluster for OnlyNode {
    async fn roll(&self) -> Result<Roll> {
        let number = NodeNumber::SOLE;
        let node = Node {
            number,
            card: self.card.clone(),
            started_at: self.started_at,
            lease_until: None,
            standing: Standing::Serving,
            shards: usize::from(SHARDS),
            workload: Workload { lag: self.stager.lag(), ..self.switchboard.workload().await },
        };
        let shards = Shard::all().map(|shard| ShardState { shard, owner: Some(number), epoch: 0 });
        Ok(Roll { nodes: vec![node], shards: shards.collect() })
    }
}
