//! When a fault is an explanation: while it lasts, and for as long after it as a claim from its time may
//! still be open.

use super::history::{Fault, History, Receipt, Run};

/// Within this time, an answer that a receiver sent is on record, as long as there is no fault.
const RECORDED_WITHIN_MS: i64 = 1_000;

/// The injected faults, each with how long it may be felt.
pub struct Faults<'h> {
    faults: &'h [Fault],
    run: &'h Run,
}

impl<'h> Faults<'h> {
    pub fn new(history: &'h History) -> Self {
        Self { faults: &history.faults, run: &history.run }
    }

    pub fn get(&self, position: usize) -> &'h Fault {
        &self.faults[position]
    }

    /// The positions of those that are felt at some time from `from_at_ms` to `to_at_ms`.
    pub fn felt(&self, from_at_ms: i64, to_at_ms: i64) -> impl Iterator<Item = usize> {
        let after_ms = self.run.attempt_timeout_ms + self.run.claim_slack_ms;
        self.faults
            .iter()
            .enumerate()
            .filter(move |(_, fault)| {
                fault.from_at_ms <= to_at_ms && from_at_ms <= fault.to_at_ms + after_ms
            })
            .map(|(position, _)| position)
    }

    /// Whether none is felt in that time.
    pub fn is_calm(&self, from_at_ms: i64, to_at_ms: i64) -> bool {
        self.felt(from_at_ms, to_at_ms).next().is_none()
    }

    /// From the arrival of a request to when its outcome is on record at the latest.
    pub fn span(&self, receipt: &Receipt) -> (i64, i64) {
        let hanging = receipt.arrived_at_ms + self.run.attempt_timeout_ms;
        let ended_at_ms = receipt.ended_at_ms.unwrap_or(hanging);
        (receipt.arrived_at_ms, ended_at_ms + RECORDED_WITHIN_MS)
    }

    /// The positions of the faults that may have kept the outcome of a request off the record.
    pub fn behind(&self, receipt: &Receipt) -> impl Iterator<Item = usize> {
        let (from_at_ms, to_at_ms) = self.span(receipt);
        self.felt(from_at_ms, to_at_ms)
    }
}
