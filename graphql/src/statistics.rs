//! How deliveries went, and who serves.

use async_graphql::{Context, Object, SimpleObject};
use hookseal_core::cluster;
use hookseal_core::statistics::{self, Span};

use crate::objects::DateTime;

/// How deliveries went within a span of time, by whole minutes, and what waits now.
pub(crate) struct Statistics {
    pub(crate) span: Span,
    pub(crate) found: statistics::Statistics,
}

#[Object]
impl Statistics {
    /// Beginning of the span.
    async fn from(&self) -> DateTime {
        self.span.from.into()
    }

    /// End of the span.
    async fn to(&self) -> DateTime {
        self.span.to.into()
    }

    /// Deliveries that a receiver took.
    async fn delivered(&self) -> u64 {
        self.found.tally.delivered
    }

    /// Deliveries that were given up.
    async fn failed(&self) -> u64 {
        self.found.tally.failed
    }

    /// Attempts that failed and were followed by another.
    async fn retried(&self) -> u64 {
        self.found.tally.retried
    }

    /// Delivered of all that ended, 0 to 1; null when nothing did.
    async fn success_rate(&self) -> Option<f64> {
        self.found.tally.success_rate()
    }

    /// How long attempts took; null without any.
    async fn latency(&self, _context: &Context<'_>) -> Option<Latency> {
        let of = |share| self.found.tally.durations.percentile_ms(share);
        Some(Latency { p50_ms: of(0.5)?, p95_ms: of(0.95)?, p99_ms: of(0.99)? })
    }

    /// Pending deliveries; 10000 stands for that many or more.
    async fn queue_depth(&self) -> u64 {
        self.found.waiting.deliveries
    }

    /// When the oldest pending delivery was accepted.
    async fn oldest_pending_at(&self) -> Option<DateTime> {
        self.found.waiting.oldest.map(Into::into)
    }
}

/// Times that so many of all attempts took at most, in milliseconds; up to 42 % too long.
#[derive(SimpleObject)]
struct Latency {
    /// Half of them.
    p50_ms: u64,
    /// 95 of 100.
    p95_ms: u64,
    /// 99 of 100.
    p99_ms: u64,
}

/// Who serves.
#[derive(SimpleObject)]
pub(crate) struct Cluster {
    /// Each process.
    pub(crate) nodes: Vec<Node>,
}

/// One process that serves.
#[derive(SimpleObject)]
pub(crate) struct Node {
    /// Its version.
    version: &'static str,
    /// When it started.
    started_at: DateTime,
    /// Endpoints that it is at work for.
    endpoints: usize,
    /// Deliveries that wait in its memory.
    waiting: usize,
    /// Attempts in flight.
    in_flight: usize,
    /// Endpoints whose breaker holds attempts back.
    breakers_open: usize,
}

impl From<cluster::Node> for Node {
    fn from(node: cluster::Node) -> Self {
        let cluster::Node { version, started_at, endpoints, waiting, in_flight, breakers_open } =
            node;
        Self {
            version,
            started_at: started_at.into(),
            endpoints,
            waiting,
            in_flight,
            breakers_open,
        }
    }
}
