//! The nodes of one database.

use std::time::Duration;

use async_trait::async_trait;

use crate::cluster::{Beat, Look, NodeCard, Renewal, Roll};
use crate::error::Result;
use crate::shard::{NodeNumber, Shard, Shards};
use crate::time::Timestamp;

/// The rows that nodes of one database know of each other, on the database's clock.
#[async_trait]
pub trait Roster: Send + Sync {
    /// Adds a node; answers the number of this life of it.
    async fn join(&self, card: &NodeCard, lease: Duration) -> Result<NodeNumber>;
    /// Renews the lease of a node, ends those whose lease ran out, and takes what is `me`'s by then.
    async fn renew(&self, me: NodeNumber, beat: &Beat) -> Result<Renewal>;
    /// Gives shards to others; those that `me` has no more are left alone.
    async fn give(&self, me: NodeNumber, to: &[(Shard, NodeNumber)]) -> Result<()>;
    /// Who has each shard, and what has changed since `since` that attempts have to obey.
    async fn look(&self, since: Timestamp) -> Result<Look>;
    /// Ends this life of a node.
    async fn end(&self, me: NodeNumber) -> Result<()>;
    /// All nodes of late, and all shards.
    async fn roll(&self) -> Result<Roll>;
    /// What time the database has.
    async fn time(&self) -> Result<Timestamp>;
}

/// The endpoints that this process speaks for.
pub trait Ownership: Send + Sync {
    /// Names this life of this process; claims are made under it.
    fn number(&self) -> NodeNumber;
    /// Shards that are surely held.
    fn held(&self) -> Shards;
    /// Whether the settings of endpoints are known as of a moment ago: otherwise nothing may start.
    fn is_informed(&self) -> bool;
    /// Who holds a shard, as far as is known; none when nobody, or when it is held here.
    fn elsewhere(&self, shard: Shard) -> Option<NodeNumber>;
}
