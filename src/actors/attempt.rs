//! One attempt from start to record, as a task of its own.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookseal_core::delivery::{Attempt, ClaimToken, Delivery};
use hookseal_core::outcome::{Outcome, Verdict};
use hookseal_core::ports::Settlement;
use hookseal_core::retention::RetentionHours;
use hookseal_core::time::Timestamp;

use super::{STORE_PAUSE, Tools};
use crate::courier::{Address, Courier};
use crate::metrics;

/// What an attempt sets out with.
pub(super) struct Mission {
    /// The claim it flies under.
    pub(super) token: ClaimToken,
    /// The claimed row.
    pub(super) delivery: Delivery,
    /// What to send.
    pub(super) sealed: Bytes,
    /// Where to, and under whose name.
    pub(super) address: Arc<Address>,
    /// What the endpoint keeps after a final failure.
    pub(super) retention: RetentionHours,
}

/// How an attempt ended.
pub(super) enum Landing {
    /// Its record is committed.
    Settled {
        /// Whether a 2xx came.
        delivered: bool,
        /// When it is due again.
        retry_at: Option<Timestamp>,
    },
    /// The claim no longer stood: somebody else decides.
    Superseded,
}

/// Sends once and records what came of it; `landed` is set in between. An outcome is never lost while the process lives: a
/// store that is away is asked again until it answers.
pub(super) async fn attempt(
    tools: &Tools,
    courier: &Courier,
    mission: Mission,
    landed: &Cell<bool>,
) -> Landing {
    let Mission { token, delivery, sealed, address, retention } = mission;
    let started = tools.clock.now();
    let in_flight = InFlight::count();
    let outcome = courier.send(&delivery, sealed, &address, started).await;
    drop(in_flight);
    landed.set(true);
    let now = tools.clock.now();
    let duration = now.since(started);
    count(outcome, duration);
    let verdict = outcome.verdict();
    let record = Attempt::new(started, duration, outcome);
    let settled = delivery.progress.settle(record, verdict, &tools.rules.schedule, retention, now);
    let progress = settled.expect("an attempt runs only while its delivery is claimed");
    let replaced = delivery.progress.last_attempt;
    let retry_at = progress.next_attempt_at;
    let settlement = Settlement { delivery, token, progress, replaced };
    let stood = loop {
        match tools.store.settle(vec![settlement.clone()]).await {
            Ok(stood) => break stood.first().copied().unwrap_or(false),
            Err(_) => tokio::time::sleep(STORE_PAUSE).await,
        }
    };
    if !stood {
        return Landing::Superseded;
    }
    Landing::Settled { delivered: verdict == Verdict::Delivered, retry_at }
}

fn count(outcome: Outcome, duration: Duration) {
    let result = match (outcome.verdict(), outcome.error()) {
        (Verdict::Delivered, _) => "delivered",
        (Verdict::Failed { .. }, Some(kind)) => kind.as_str(),
        (Verdict::Failed { .. }, None) => "answered",
    };
    metrics::ATTEMPTS.with_label_values(&[result]).inc();
    metrics::ATTEMPT_SECONDS.observe(duration.as_secs_f64());
}

/// Counts an attempt for as long as it lives, aborted or not.
struct InFlight;

impl InFlight {
    fn count() -> Self {
        metrics::IN_FLIGHT.inc();
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::IN_FLIGHT.dec();
    }
}
