//! What was accepted beside what arrived.

use std::collections::HashMap;
use std::ops::Range;

use super::driver::Tally;
use super::receiver::Arrival;

/// One delivery.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    published_ns: Option<u64>,
    /// The first time.
    arrived_ns: Option<u64>,
    arrivals: u32,
}

/// All deliveries of a run.
#[derive(Debug, Default)]
pub(super) struct Account {
    entries: HashMap<u64, Entry>,
    /// Every arrival's instant.
    arrivals_ns: Vec<u64>,
    accepted: usize,
    arrived: usize,
}

impl Account {
    /// Enters what was accepted.
    pub(super) fn enter(&mut self, tally: &Tally) {
        for published in &tally.published {
            let entry = self.entries.entry(published.delivery).or_default();
            entry.published_ns = Some(published.at_ns);
            self.accepted += 1;
            self.arrived += usize::from(entry.arrivals > 0);
        }
    }

    /// Enters what arrived.
    pub(super) fn arrive(&mut self, arrivals: Vec<Arrival>) {
        for Arrival { delivery, at_ns } in arrivals {
            let entry = self.entries.entry(delivery).or_default();
            self.arrived += usize::from(entry.arrivals == 0 && entry.published_ns.is_some());
            entry.arrivals += 1;
            entry.arrived_ns.get_or_insert(at_ns);
            self.arrivals_ns.push(at_ns);
        }
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted
    }

    /// Deliveries that were accepted and did not arrive.
    pub(super) fn missing(&self) -> usize {
        self.accepted - self.arrived
    }

    /// Deliveries that arrived more than once.
    pub(super) fn repeated(&self) -> usize {
        self.entries.values().filter(|entry| entry.arrivals > 1).count()
    }

    /// Deliveries that arrived though no answer told that they were accepted: a connection broke before it.
    pub(super) fn unannounced(&self) -> usize {
        self.entries.values().filter(|entry| entry.published_ns.is_none()).count()
    }

    /// Instants of arrival within `interval`.
    pub(super) fn arrivals_in(&self, interval: Range<u64>) -> impl Iterator<Item = u64> {
        self.arrivals_ns.iter().copied().filter(move |at_ns| interval.contains(at_ns))
    }

    /// What deliveries that were published within `interval` took to arrive, in nanoseconds.
    pub(super) fn latencies(&self, interval: Range<u64>) -> Vec<u64> {
        let took = |entry: &Entry| {
            let published_ns = entry.published_ns.filter(|at_ns| interval.contains(at_ns))?;
            Some(entry.arrived_ns?.saturating_sub(published_ns))
        };
        self.entries.values().filter_map(took).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::driver::Published;
    use super::*;

    #[test]
    fn what_is_missing_repeated_or_unannounced_is_told() {
        let mut account = Account::default();
        let published = [(1, 10), (2, 20), (3, 30)];
        let published = published.map(|(delivery, at_ns)| Published { delivery, at_ns });
        let tally = Tally { published: published.into(), ..Tally::default() };
        let arrive = |pairs: &[(u64, u64)]| {
            pairs
                .iter()
                .map(|(delivery, at_ns)| Arrival { delivery: *delivery, at_ns: *at_ns })
                .collect()
        };
        // One arrives before its answer does.
        account.arrive(arrive(&[(1, 15)]));
        account.enter(&tally);
        assert_eq!((account.accepted(), account.missing()), (3, 2));
        account.arrive(arrive(&[(2, 45), (2, 50), (9, 55)]));
        assert_eq!((account.missing(), account.repeated(), account.unannounced()), (1, 1, 1));
        assert_eq!(account.latencies(20..40), [25]);
        assert_eq!(account.arrivals_in(45..55).count(), 2);
    }
}
