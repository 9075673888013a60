//! The stager: passes what falls due from the schedule to the actors, and keeps the schedule filled
//! from the rows.

use std::sync::Arc;
use std::time::Duration;

use hookseal_core::error::Result;
use hookseal_core::limits::{SCHEDULE_ENTRIES, SCHEDULE_HORIZON};
use hookseal_core::time::Timestamp;

use super::Tools;
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

/// Runs until the daemon ends.
pub async fn run(tools: Tools, switchboard: Arc<Switchboard>) {
    tokio::join!(
        pass_on_due(&tools, &switchboard),
        move_horizon(&tools),
        find_overdue(&tools, &switchboard),
    );
}

/// What falls due goes to its endpoint's actor, at its time.
async fn pass_on_due(tools: &Tools, switchboard: &Switchboard) {
    loop {
        if let Err(error) = pass_on_round(tools, switchboard).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "schedule away");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn pass_on_round(tools: &Tools, switchboard: &Switchboard) -> Result<()> {
    let changed = tools.schedule.changed();
    let now = tools.clock.now();
    let due = tools.schedule.take(now, ROUND).await?;
    if due.is_empty() {
        match tools.schedule.next().await? {
            // A millisecond is the resolution of due times: rounded up, never early.
            Some(at) => {
                let pause = at.since(now) + Duration::from_millis(1);
                let _ = tokio::time::timeout(pause, changed).await;
            }
            None => changed.await,
        }
        return Ok(());
    }
    for due in due {
        switchboard.enqueue(&due.endpoint_id, vec![due.id]);
    }
    Ok(())
}

/// What comes into the horizon goes from the rows into the schedule.
async fn move_horizon(tools: &Tools) {
    loop {
        match fill(tools).await {
            Ok(()) => tokio::time::sleep(HORIZON_EVERY).await,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "rows away");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn fill(tools: &Tools) -> Result<()> {
    let now = tools.clock.now();
    let until = now.plus(SCHEDULE_HORIZON);
    let known_until = tools.schedule.covers_until().max(now.minus(PAUSE));
    // Said before the rows are read: a retry that is committed meanwhile puts itself.
    tools.schedule.cover(until);
    let result = put_pages(tools, known_until, until).await;
    if result.is_err() {
        tools.schedule.uncover(known_until);
    }
    result
}

async fn put_pages(tools: &Tools, after: Timestamp, until: Timestamp) -> Result<()> {
    let mut cursor = (after, None);
    let mut put = 0;
    loop {
        let page = tools.store.upcoming((cursor.0, cursor.1.as_ref()), until, PAGE).await?;
        let last = page.last().map(|due| (due.at, Some(due.id.clone())));
        let whole = page.len() < PAGE;
        put += page.len();
        tools.schedule.put(page).await?;
        match last {
            Some(last) if !whole && put < SCHEDULE_ENTRIES => cursor = last,
            Some((at, _)) if !whole => {
                tools.schedule.uncover(at.minus(Duration::from_millis(1)));
                return Ok(());
            }
            Some(_) | None => return Ok(()),
        }
    }
}

/// What is due in the rows and nobody was told of: after a start, a full mailbox, a lost hint.
async fn find_overdue(tools: &Tools, switchboard: &Switchboard) {
    loop {
        if let Err(error) = wake_overdue(tools, switchboard).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "rows away");
        }
        tokio::time::sleep(OVERDUE_AT_MOST_EVERY).await;
        let _ = tokio::time::timeout(OVERDUE_EVERY, switchboard.overdue.notified()).await;
    }
}

async fn wake_overdue(tools: &Tools, switchboard: &Switchboard) -> Result<()> {
    let now = tools.clock.now();
    let mut after = None;
    loop {
        let endpoints = tools.store.endpoints_due(now, after.as_ref(), PAGE).await?;
        let whole = endpoints.len() < PAGE;
        for endpoint in &endpoints {
            switchboard.look_into_rows(endpoint);
        }
        match endpoints.into_iter().next_back() {
            Some(last) if !whole => after = Some(last),
            Some(_) | None => return Ok(()),
        }
    }
}
