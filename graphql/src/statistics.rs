//! How deliveries went.

use async_graphql::{Context, Object, SimpleObject};
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
