//! The janitor: ends claims that lapsed, scrubs payloads whose time is over, removes old history.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use hookseal_core::error::Result;
use hookseal_core::limits::TALLIES_KEPT;
use hookseal_core::ports::Blame;

use super::Tools;
use super::switchboard::Switchboard;
use crate::metrics;

/// Rows of one transaction.
const BATCH: usize = 500;
/// How often lapsed claims are ended.
const CLAIMS_EVERY: Duration = Duration::from_secs(5);
/// How often expired payloads are scrubbed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often old history is removed.
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// How often tallies are kept whose minute is over.
const TALLIES_EVERY: Duration = Duration::from_secs(10);
/// How often the rows of what was deleted are taken apart.
const DELETED_EVERY: Duration = Duration::from_secs(5);
/// How long the audit log tells of sessions (contract 1.10).
const SESSION_AUDIT: Duration = Duration::from_secs(365 * 24 * 3600);
/// An idempotency key stands for at least this long.
const KEYED_AT_LEAST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The janitor.
pub struct Janitor {
    tools: Tools,
    switchboard: Arc<Switchboard>,
    history: Duration,
}

impl std::fmt::Debug for Janitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Janitor").field("history", &self.history).finish_non_exhaustive()
    }
}

impl Janitor {
    /// A janitor that keeps events without payload for `history`.
    pub fn new(tools: Tools, switchboard: Arc<Switchboard>, history: Duration) -> Self {
        Self { tools, switchboard, history }
    }

    /// Does `round` now and every `pause` after its end, in batches until one is not full.
    fn every<F>(
        &self,
        pause: Duration,
        what: &'static str,
        round: impl Fn(Tools) -> F + 'static,
        context: &mut Context<Self>,
    ) where
        F: Future<Output = Result<usize>>,
    {
        let tools = self.tools.clone();
        let rounds = async move {
            loop {
                match round(tools.clone()).await {
                    Ok(done) if done >= BATCH => continue,
                    Ok(0) => {}
                    Ok(done) => tracing::debug!(what, done, "tidied up"),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(what, error, "not tidied up");
                    }
                }
                tokio::time::sleep(pause).await;
            }
        };
        context.spawn(rounds.into_actor(self));
    }
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        let switchboard = self.switchboard.clone();
        let release = move |tools: Tools| release_lapsed(tools, switchboard.clone());
        self.every(CLAIMS_EVERY, "lapsed claims", release, context);
        let sweep = |tools: Tools| async move { tools.store.sweep(tools.clock.now(), BATCH).await };
        self.every(SWEEP_EVERY, "expired payloads", sweep, context);
        let history = self.history;
        let purge = move |tools: Tools| async move {
            let now = tools.clock.now();
            let keyed_before = now.minus(history.max(KEYED_AT_LEAST));
            tools.store.purge(now.minus(history), keyed_before, BATCH).await
        };
        self.every(PURGE_EVERY, "old history", purge, context);
        let audit = |tools: Tools| async move {
            tools.store.purge_audit(tools.clock.now().minus(SESSION_AUDIT), BATCH).await
        };
        self.every(PURGE_EVERY, "old audit entries", audit, context);
        let keep = |tools: Tools| async move { tools.store.keep_tallies(tools.clock.now()).await };
        self.every(TALLIES_EVERY, "tallies", keep, context);
        let purge = |tools: Tools| async move {
            tools.store.purge_tallies(tools.clock.now().minus(TALLIES_KEPT), BATCH).await
        };
        self.every(PURGE_EVERY, "old tallies", purge, context);
        let clear = |tools: Tools| async move {
            tools.store.clear_deleted_endpoints(tools.clock.now(), BATCH).await
        };
        self.every(DELETED_EVERY, "deleted endpoints", clear, context);
        let purge = |tools: Tools| async move {
            tools.store.purge_deleted_organizations(tools.clock.now(), BATCH).await
        };
        self.every(DELETED_EVERY, "deleted organizations", purge, context);
    }
}

async fn release_lapsed(tools: Tools, switchboard: Arc<Switchboard>) -> Result<usize> {
    let now = tools.clock.now();
    let released = tools.store.release_lapsed(now, now, BATCH, Blame::Delivery).await?;
    if released > 0 {
        switchboard.overdue.notify_one();
        metrics::CLAIMS_LOST.inc_by(released as u64);
        tracing::warn!(released, "claims lapsed; their deliveries are due again");
    }
    Ok(released)
}
