//! One attempt, as a task of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookseal_core::delivery::{Attempt, Delivery};
use hookseal_core::outcome::{Outcome, Verdict};
use hookseal_core::ports::Clock;

use crate::courier::{Address, Courier};
use crate::metrics;

/// What an attempt sets out with.
pub(super) struct Mission {
    /// The claimed row.
    pub(super) delivery: Delivery,
    /// What to send.
    pub(super) sealed: Bytes,
    /// Where to, and under whose name.
    pub(super) address: Arc<Address>,
}

/// How an attempt ended; still to be recorded.
#[derive(Debug)]
pub(super) struct Landing {
    /// The record.
    pub(super) attempt: Attempt,
    /// What it means for the delivery.
    pub(super) verdict: Verdict,
}

/// Sends once.
pub(super) async fn attempt(clock: &dyn Clock, courier: &Courier, mission: Mission) -> Landing {
    let Mission { delivery, sealed, address } = mission;
    let started = clock.now();
    let in_flight = InFlight::count();
    let outcome = courier.send(&delivery, sealed, &address, started).await;
    drop(in_flight);
    let duration = clock.now().since(started);
    count(outcome, duration);
    Landing { attempt: Attempt::new(started, duration, outcome), verdict: outcome.verdict() }
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
