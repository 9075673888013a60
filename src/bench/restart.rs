//! The daemon is killed in the middle of a load that goes on: how long it is away, and what becomes of what it had
//! accepted.

use std::time::Instant;

use hookseal_core::error::Result;
use serde::Serialize;

use super::layout::Crowd;
use super::load::Phase;
use super::measured::Measured;
use super::phase::{Field, offered};
use super::samples::now_ns;

/// What a restart costs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Restart {
    /// From the kill until the next life was ready.
    seconds_to_ready: f64,
    /// Deliveries whose publisher had his 202 before the kill.
    accepted_before: usize,
    /// Of these, those that arrived after it.
    arrived_after: usize,
    /// From the kill until the last of these had arrived: zero when all had before.
    seconds_to_arrived: f64,
    /// Deliveries that were accepted, before or after, and did not arrive.
    lost: usize,
    /// Deliveries that arrived more than once.
    repeated: usize,
}

/// Kills the daemon when `before` was measured, and goes on for as long as that.
pub(super) async fn play(field: &mut Field<'_>, before: &Phase) -> Result<(Measured, Restart)> {
    let rate = offered(before.load, None);
    let work = field.begin(before, rate, None);
    field.watch(before.name, "warming up", before.warm_up).await?;
    let from = field.meters.read().await?;
    field.watch(before.name, "measuring", before.measured).await?;
    let until = field.meters.read().await?;
    let (killed_ns, killed) = (now_ns(), Instant::now());
    let ready = field.crash().await?;
    let rest = before.measured.saturating_sub(killed.elapsed());
    field.watch("after the kill", "publishing", rest).await?;
    let tally = field.end(work).await;
    field.settle("after the kill").await?;
    let account = &field.account;
    let accepted = tally.published.iter().filter(|one| one.answered_ns < killed_ns);
    let after = |delivery| account.arrived_ns(delivery)?.checked_sub(killed_ns);
    let waited_ns: Vec<_> = accepted.clone().filter_map(|one| after(one.delivery)).collect();
    let restart = Restart {
        seconds_to_ready: ready.as_secs_f64(),
        accepted_before: accepted.count(),
        arrived_after: waited_ns.len(),
        seconds_to_arrived: waited_ns.into_iter().max().unwrap_or_default() as f64 / 1e9,
        lost: account.missing(Crowd::Everyone),
        repeated: account.repeated(),
    };
    Ok((Measured::of(before, rate, &tally, account, (&from, &until)), restart))
}

impl Restart {
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let Self { accepted_before, arrived_after, .. } = self;
        let lost = if self.lost > 0 { " NOT WITHIN 30 s" } else { "" };
        vec![
            ("ready after kill -9", format!("{:.2} s", self.seconds_to_ready)),
            (
                "accepted before it",
                format!(
                    "{accepted_before}, of which {arrived_after} arrived after it, the last after {:.2} s",
                    self.seconds_to_arrived
                ),
            ),
            ("lost", format!("{}{lost}", self.lost)),
            ("arrived more than once", self.repeated.to_string()),
        ]
    }
}
