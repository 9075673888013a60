//! What `core` decides for each delivery: its turn in the lane, its state in the machine.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use hookseal_core::delivery::{Attempt, ClaimToken, Progress};
use hookseal_core::gate::{Gate, Reservation};
use hookseal_core::id::DeliveryId;
use hookseal_core::lane::{Lane, LaneSettings, Step};
use hookseal_core::outcome::Outcome;
use hookseal_core::retention::RetentionHours;
use hookseal_core::retry::RetrySchedule;
use hookseal_core::time::Timestamp;

use crate::piece::{Entry, Piece};
use crate::support::rows::{T0, TIMEOUT, claim, minter};

const DELIVERIES: usize = 1000;
const WINDOW: usize = 256;
/// From `accepted` over `claim` to `settle`.
const TRANSITIONS: usize = 3;

pub fn entries() -> Vec<Entry> {
    vec![
        Entry::new("lane", "handed_over", DELIVERIES, Handover::new).counted(2, 12),
        Entry::new("machine", "delivered", DELIVERIES * TRANSITIONS, Machine::default)
            .counted(2, 12),
    ]
}

/// Deliveries through the places that a lane lends and a gate reserves, until they are settled; all attempts
/// that fly end together, a millisecond later.
struct Handover {
    lane: Lane,
    gate: Arc<Gate>,
    now: Timestamp,
}

impl Handover {
    fn new() -> Self {
        let settings = LaneSettings { window: WINDOW, ..LaneSettings::default() };
        Self { lane: Lane::new(settings, T0), gate: Gate::new(ClaimToken(1)), now: T0 }
    }

    fn hand_over(&mut self, ids: &mut impl Iterator<Item = DeliveryId>) {
        self.gate.lend(self.lane.lend(self.now));
        while let Some(place) = self.gate.reserve(self.now, TIMEOUT) {
            // The place that nobody takes goes back.
            let Some(id) = ids.next() else { break };
            assert!(self.lane.on_handed_over(id));
            Reservation::redeem(place);
        }
        self.lane.on_recalled(self.gate.recall());
    }

    /// Answers how many were settled.
    fn fly(&mut self) -> usize {
        let Step::Start(started) = self.lane.next(self.now) else { return 0 };
        self.now = self.now.plus(Duration::from_millis(1));
        for id in &started {
            self.lane.on_landed(true, self.now);
            self.lane.on_settled(id);
        }
        started.len()
    }
}

impl Piece for Handover {
    type Input = Vec<DeliveryId>;

    fn input(&mut self) -> Self::Input {
        (0..DELIVERIES).map(|_| minter().delivery(T0)).collect()
    }

    fn run(&mut self, ids: Self::Input) {
        let (mut ids, mut settled) = (ids.into_iter(), 0);
        while settled < DELIVERIES {
            self.hand_over(&mut ids);
            settled += self.fly();
        }
    }
}

/// Deliveries whose first attempt succeeds.
#[derive(Default)]
struct Machine {
    schedule: RetrySchedule,
    retention: RetentionHours,
}

impl Piece for Machine {
    type Input = ();

    fn input(&mut self) {}

    fn run(&mut self, (): ()) {
        let outcome = Outcome::Answered { status: 204, retry_after: None };
        for _ in 0..DELIVERIES {
            let (schedule, retention) = (black_box(&self.schedule), black_box(self.retention));
            let accepted = black_box(Progress::accepted(schedule, retention, T0));
            let claimed = black_box(accepted.claim(claim(1, T0), T0).unwrap());
            let attempt = Attempt::new(T0, Duration::from_millis(5), black_box(outcome));
            let verdict = outcome.verdict();
            black_box(claimed.settle(attempt, verdict, schedule, retention, T0).unwrap());
        }
    }
}
