//! How deliveries went.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Object, Result, SimpleObject};
use hookseal_core::id::OrganizationId;
use hookseal_core::statistics::{self, Scope, Span};

use crate::asking::admin;
use crate::batches::{Batches, StatisticsOf};
use crate::instant::{DateTime, instant};
use crate::refusal::refused;

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

/// How the deliveries of `scope` went, by default within the last hour.
pub(crate) async fn statistics(
    context: &Context<'_>,
    organization: &OrganizationId,
    scope: Scope,
    from: Option<DateTime>,
    to: Option<DateTime>,
) -> Result<Statistics> {
    let (from, to) = (instant("from", from)?, instant("to", to)?);
    let span = admin(context)?.span(from, to).map_err(refused)?;
    let key = (organization.clone(), StatisticsOf { scope, span });
    let found = context.data::<DataLoader<Batches>>()?.load_one(key).await?;
    Ok(Statistics { span, found: found.unwrap_or_default() })
}
