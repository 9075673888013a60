//! Who serves, and how much there is to do.

use async_trait::async_trait;

use crate::time::Timestamp;

/// One process that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its version.
    pub version: &'static str,
    /// When it started.
    pub started_at: Timestamp,
    /// Endpoints that it is at work for.
    pub endpoints: usize,
    /// Deliveries that wait in its memory.
    pub waiting: usize,
    /// Attempts in flight.
    pub in_flight: usize,
    /// Endpoints whose breaker holds attempts back.
    pub breakers_open: usize,
}

/// The processes that serve.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Each as it is now.
    async fn nodes(&self) -> Vec<Node>;
}
