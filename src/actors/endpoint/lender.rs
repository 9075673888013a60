//! The places that the actor lends to publishes, and those who wait for one.

use std::sync::Arc;

use hookseal_core::gate::Gate;
use hookseal_core::lane::Lane;
use hookseal_core::time::Timestamp;
use tokio::sync::Notify;

/// Lends places.
#[derive(Debug)]
pub struct Lender {
    /// The places.
    pub gate: Arc<Gate>,
    /// Wakes who waits for one.
    pub freed: Arc<Notify>,
}

impl Lender {
    /// Takes back what nobody reserved.
    pub(super) fn recall(&self, lane: &mut Lane) {
        lane.on_recalled(self.gate.recall());
    }

    /// Lends what the lane has to lend.
    pub(super) fn lend(&self, lane: &mut Lane, now: Timestamp) {
        self.gate.let_wait(lane.patience(now));
        let places = lane.lend(now);
        self.gate.lend(places);
        for _ in 0..places.min(self.gate.waiting()) {
            self.freed.notify_one();
        }
    }
}
