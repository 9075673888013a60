//! The janitor: ends claims that were lost, scrubs payloads whose time is over, removes old history. Of several nodes
//! one does it; but each sees to its own claims and tallies.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use hookseal_core::error::Result;
use hookseal_core::limits::TALLIES_KEPT;
use hookseal_core::ports::{Blame, Claims, Released, Store};
use hookseal_core::shard::Shard;

use super::Tools;
use super::switchboard::Switchboard;
use crate::metrics;

/// With at most so many in flight, the death of a process is counted against each.
const SUSPECTS: usize = 4;
/// Rows of one transaction.
const BATCH: usize = 500;
/// How often lapsed claims are ended. A PostgreSQL passes whatever was claimed since the last time: a little each time.
const CLAIMS_EVERY: Duration = Duration::from_secs(2);
/// How often expired payloads are scrubbed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often old history is removed.
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// How often tallies are kept whose minute is over.
const TALLIES_EVERY: Duration = Duration::from_secs(10);
/// How often the rows of what was deleted are taken apart.
const DELETED_EVERY: Duration = Duration::from_secs(5);
/// Whoever holds this shard does what is to be done once.
const HOUSEKEEPER: Shard = Shard::FIRST;
/// How soon one notices that it is his turn.
const TAKEOVER_SEEN_WITHIN: Duration = Duration::from_secs(2);
/// How long the audit log tells of sessions (contract 1.10).
const SESSION_AUDIT: Duration = Duration::from_secs(365 * 24 * 3600);
/// An idempotency key stands for at least this long.
const KEYED_AT_LEAST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Who does a round.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// One of all nodes.
    OfOne,
    /// Each for itself.
    OfEach,
}

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

    /// Does `round` now and every `pause` after its end, in rounds until one does less than `batch`.
    fn every<F>(
        &self,
        (pause, batch): (Duration, usize),
        what: &'static str,
        turn: Turn,
        round: impl Fn(Tools) -> F + 'static,
        context: &mut Context<Self>,
    ) where
        F: Future<Output = Result<usize>>,
    {
        let tools = self.tools.clone();
        let rounds = async move {
            loop {
                if turn == Turn::OfOne && !tools.ownership.held().contains(HOUSEKEEPER) {
                    tokio::time::sleep(pause.min(TAKEOVER_SEEN_WITHIN)).await;
                    continue;
                }
                if turn == Turn::OfOne {
                    metrics::HOUSEKEEPING.inc();
                }
                let began = Instant::now();
                let done = round(tools.clone()).await.unwrap_or_else(|error| {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(what, error, "not tidied up");
                    0
                });
                if (1..batch).contains(&done) {
                    tracing::debug!(what, done, "tidied up");
                }
                tokio::time::sleep(rest_after(done, batch, began.elapsed(), pause)).await;
            }
        };
        context.spawn(rounds.into_actor(self));
    }
}

/// How long nothing is done after a round that did so much and took so long. After a full one it is an eighth of that,
/// so that others get at the database in between; how much of what is published he keeps up with is in the report.
fn rest_after(done: usize, batch: usize, took: Duration, pause: Duration) -> Duration {
    if done >= batch { took / 8 } else { pause }
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        let switchboard = self.switchboard.clone();
        let release = {
            let switchboard = switchboard.clone();
            move |tools: Tools| release_lapsed(tools, switchboard.clone())
        };
        self.every((CLAIMS_EVERY, BATCH), "lapsed claims", Turn::OfEach, release, context);
        let release = move |tools: Tools| {
            let switchboard = switchboard.clone();
            async move {
                let orphaned = Claims::LapsedOfTheEnded(tools.clock.now());
                release_of_the_ended(&tools, &switchboard, orphaned).await
            }
        };
        self.every((CLAIMS_EVERY, BATCH), "claims of the ended", Turn::OfOne, release, context);
        let sweep = |tools: Tools| async move { tools.store.sweep(tools.clock.now(), BATCH).await };
        self.every((SWEEP_EVERY, BATCH), "expired payloads", Turn::OfOne, sweep, context);
        let forget = |tools: Tools| async move {
            tools.store.forget_previous_secrets(tools.clock.now(), BATCH).await
        };
        self.every((SWEEP_EVERY, BATCH), "previous secrets", Turn::OfOne, forget, context);
        let (history, batch) = (self.history, self.tools.store.history_batch());
        let purge = move |tools: Tools| async move {
            let now = tools.clock.now();
            let keyed_before = now.minus(history.max(KEYED_AT_LEAST));
            tools.store.purge(now.minus(history), keyed_before, batch).await
        };
        self.every((PURGE_EVERY, batch), "old history", Turn::OfOne, purge, context);
        let audit = |tools: Tools| async move {
            tools.store.purge_audit(tools.clock.now().minus(SESSION_AUDIT), BATCH).await
        };
        self.every((PURGE_EVERY, BATCH), "old audit entries", Turn::OfOne, audit, context);
        let keep =
            |tools: Tools| async move { tools.store.keep_tallies(tools.clock.now(), BATCH).await };
        self.every((TALLIES_EVERY, BATCH), "tallies", Turn::OfEach, keep, context);
        let purge = |tools: Tools| async move {
            tools.store.purge_tallies(tools.clock.now().minus(TALLIES_KEPT), BATCH).await
        };
        self.every((PURGE_EVERY, BATCH), "old tallies", Turn::OfOne, purge, context);
        let clear = |tools: Tools| async move {
            tools.store.clear_deleted_endpoints(tools.clock.now(), BATCH).await
        };
        self.every((DELETED_EVERY, BATCH), "deleted endpoints", Turn::OfOne, clear, context);
        let purge = |tools: Tools| async move {
            tools.store.purge_deleted_organizations(tools.clock.now(), BATCH).await
        };
        self.every((DELETED_EVERY, BATCH), "deleted organizations", Turn::OfOne, purge, context);
    }
}

/// Ends this node's claims that lapsed. Others end theirs, each by its own clock.
async fn release_lapsed(tools: Tools, switchboard: Arc<Switchboard>) -> Result<usize> {
    let lapsed = Claims::LapsedOf(tools.ownership.number(), tools.clock.now());
    // Most often there are none: whoever writes need not wait for that to be found out.
    match tools.store.open_claims(lapsed, 1).await? {
        0 => Ok(0),
        _ => release(&tools, &switchboard, lapsed, Blame::Delivery).await,
    }
}

/// Ends claims of nodes that ended, those that `which` names.
pub async fn release_of_the_ended(
    tools: &Tools,
    switchboard: &Switchboard,
    which: Claims,
) -> Result<usize> {
    if tools.is_alone() {
        return Ok(0);
    }
    match blame(&*tools.store, which).await? {
        None => Ok(0),
        Some(blame) => release(tools, switchboard, which, blame).await,
    }
}

/// Who is to blame for the end of a process that held these claims; none when there are none. A few that were in flight
/// when it died may have killed it; of many, none is suspect.
pub async fn blame(store: &dyn Store, which: Claims) -> Result<Option<Blame>> {
    Ok(match store.open_claims(which, SUSPECTS + 1).await? {
        0 => None,
        1..=SUSPECTS => Some(Blame::Delivery),
        _ => Some(Blame::Nobody),
    })
}

async fn release(
    tools: &Tools,
    switchboard: &Switchboard,
    which: Claims,
    blame: Blame,
) -> Result<usize> {
    let Released { claims: released, due } =
        tools.store.release(which, tools.clock.now(), BATCH, blame).await?;
    if released > 0 {
        metrics::CLAIMS_LOST.inc_by(released as u64);
        tracing::warn!(released, ?which, "claims ended; their deliveries are due again");
        // Whoever speaks for their endpoints hears of it; else he finds them in the rows.
        tools.feed.flushed().await;
        let _ = tools.schedule.put(due).await;
        switchboard.overdue.notify_one();
    }
    Ok(released)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_round_is_followed_by_a_short_rest_and_any_other_by_the_pause() {
        let (took, pause) = (Duration::from_secs(3), Duration::from_secs(60));
        for (done, rest) in [(0, pause), (9, pause), (10, took / 8), (11, took / 8)] {
            assert_eq!(rest_after(done, 10, took, pause), rest, "{done}");
        }
    }
}
