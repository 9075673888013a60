//! The stager: passes what falls due from the schedule to the actors, keeps the schedule filled from the
//! rows, and carries word of what is due to other nodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hookseal_core::error::Result;
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::limits::SCHEDULE_HORIZON;
use hookseal_core::ports::Due;
use hookseal_core::time::Timestamp;

use super::Tools;
use super::endpoint::Enqueue;
use super::switchboard::Switchboard;

/// Most due times of one round.
const ROUND: usize = 1024;
/// Rows of one page.
const PAGE: usize = 1000;
/// How often the rows are looked through for what is overdue and nobody was told of.
const OVERDUE_EVERY: Duration = Duration::from_secs(15);
/// How often at most, when somebody asks for it.
const OVERDUE_AT_MOST_EVERY: Duration = Duration::from_millis(200);
/// How often the horizon moves on.
const HORIZON_EVERY: Duration = Duration::from_secs(SCHEDULE_HORIZON.as_secs() / 3);
/// How long to wait before asking again a store or schedule that was away.
const PAUSE: Duration = Duration::from_secs(1);

/// The same where others may have failed to leave word.
const OVERDUE_EVERY_AMONG_SEVERAL: Duration = Duration::from_secs(4);
/// The same while the schedule is away.
const OVERDUE_EVERY_WITHOUT_SCHEDULE: Duration = Duration::from_secs(1);
/// How often at least the schedule is asked, should nobody say that it is worth it.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// Passes on what is due.
pub struct Stager {
    tools: Tools,
    switchboard: Arc<Switchboard>,
    /// Whether the schedule is away.
    blind: AtomicBool,
    /// How late the latest due times were passed on, in milliseconds.
    lag_ms: AtomicU64,
}

impl std::fmt::Debug for Stager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stager").finish_non_exhaustive()
    }
}

impl Stager {
    /// A stager that has passed nothing on yet.
    pub fn new(tools: Tools, switchboard: Arc<Switchboard>) -> Arc<Self> {
        let (blind, lag_ms) = (AtomicBool::new(false), AtomicU64::new(0));
        Arc::new(Self { tools, switchboard, blind, lag_ms })
    }

    /// How late the latest due times were passed on.
    pub fn lag(&self) -> Duration {
        Duration::from_millis(self.lag_ms.load(Ordering::Relaxed))
    }

    /// Runs until the daemon ends.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(
            self.pass_on_due(),
            self.move_horizon(),
            self.find_overdue(),
            self.carry_abroad()
        );
    }

    /// What falls due goes to its endpoint's actor, at its time.
    async fn pass_on_due(&self) {
        loop {
            match self.pass_on_round().await {
                Ok(()) => self.blind.store(false, Ordering::Relaxed),
                Err(error) => {
                    if !self.blind.swap(true, Ordering::Relaxed) {
                        tracing::warn!(error = &error as &dyn std::error::Error, "schedule away");
                        self.switchboard.overdue.notify_one();
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn pass_on_round(&self) -> Result<()> {
        let schedule = &self.tools.schedule;
        let changed = schedule.changed();
        let now = self.tools.clock.now();
        let due = schedule.lease(now, ROUND).await?;
        if due.is_empty() {
            self.lag_ms.store(0, Ordering::Relaxed);
            // A millisecond is the resolution of due times: rounded up, never early.
            let pause = schedule
                .next()
                .await?
                .map_or(ASK_EVERY, |at| (at.since(now) + Duration::from_millis(1)).min(ASK_EVERY));
            let _ = tokio::time::timeout(pause, changed).await;
            return Ok(());
        }
        let latest = due.iter().map(|due| now.since(due.at)).max().unwrap_or_default();
        self.lag_ms.store(u64::try_from(latest.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let mut by_endpoint: HashMap<EndpointId, Vec<DeliveryId>> = HashMap::new();
        for Due { id, endpoint_id, .. } in due {
            by_endpoint.entry(endpoint_id).or_default().push(id);
        }
        for (endpoint, ids) in by_endpoint {
            self.switchboard.enqueue(&endpoint, Enqueue { ids, leased: true });
        }
        Ok(())
    }

    /// What comes into the horizon goes from the rows into the schedule; all of it, once the schedule
    /// lost what it held or this node speaks for more endpoints than before.
    async fn move_horizon(&self) {
        loop {
            if let Err(error) = self.fill().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "horizon not moved");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(HORIZON_EVERY) => {}
                () = self.tools.schedule.lost() => {}
                () = self.switchboard.gained.notified() => {
                    self.tools.schedule.uncover(Timestamp::from_ms(0));
                }
            }
        }
    }

    async fn fill(&self) -> Result<()> {
        let Tools { clock, schedule, .. } = &self.tools;
        let now = clock.now();
        let until = now.plus(SCHEDULE_HORIZON);
        let known_until = schedule.covers_until().max(now.minus(PAUSE));
        // Said before the rows are read: a retry that is committed meanwhile puts itself.
        schedule.cover(until);
        let result = self.put_pages(known_until, until).await;
        if result.is_err() {
            schedule.uncover(known_until);
        }
        result
    }

    async fn put_pages(&self, after: Timestamp, until: Timestamp) -> Result<()> {
        let Tools { store, schedule, ownership, clock, .. } = &self.tools;
        let lull = self.tools.lull();
        let mut cursor = (after, None);
        loop {
            let from = (cursor.0, cursor.1.as_ref());
            let mut page = store.upcoming(ownership.held(), from, until, PAGE).await?;
            let last = page.last().map(|due| (due.at, Some(due.id.clone())));
            let whole = page.len() < PAGE;
            // Of what is due already another may have committed some just now.
            let now = clock.now();
            page.iter_mut().filter(|due| due.at <= now).for_each(|due| due.at = due.at.plus(lull));
            schedule.put(page).await?;
            match last {
                // One that has no room for more says so by what it covers.
                Some(last) if !whole && last.0 <= schedule.covers_until() => cursor = last,
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// What is due in the rows and nobody was told of: after a start, a full mailbox, a lost hint.
    async fn find_overdue(&self) {
        loop {
            if let Err(error) = self.wake_overdue().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "rows away");
            }
            tokio::time::sleep(OVERDUE_AT_MOST_EVERY).await;
            let pause = match self.blind.load(Ordering::Relaxed) {
                true => OVERDUE_EVERY_WITHOUT_SCHEDULE,
                false if self.tools.is_alone() => OVERDUE_EVERY,
                false => OVERDUE_EVERY_AMONG_SEVERAL,
            };
            let _ = tokio::time::timeout(pause, self.switchboard.overdue.notified()).await;
        }
    }

    async fn wake_overdue(&self) -> Result<()> {
        let now = self.tools.clock.now().minus(self.tools.lull());
        let mut after = None;
        loop {
            let endpoints = self.tools.store.endpoints_due(now, after.as_ref(), PAGE).await?;
            let whole = endpoints.len() < PAGE;
            for endpoint in &endpoints {
                self.switchboard.look_into_rows(endpoint);
            }
            match endpoints.into_iter().next_back() {
                Some(last) if !whole => after = Some(last),
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// What other nodes are to hear of goes into the schedule, due at once.
    async fn carry_abroad(&self) {
        loop {
            self.switchboard.posted.notified().await;
            let due = self.switchboard.collect();
            self.tools.feed.flushed().await;
            if let Err(error) = self.tools.schedule.put(due).await {
                // They find it in the rows.
                tracing::debug!(error = &error as &dyn std::error::Error, "others not told");
            }
        }
    }
}
