//! What was accepted beside what arrived.

use std::collections::HashMap;
use std::ops::Range;

use super::driver::Tally;
use super::layout::Crowd;
use super::receiver::Arrival;

/// One delivery.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    published_ns: Option<u64>,
    /// The first time.
    arrived_ns: Option<u64>,
    arrivals: u32,
    fickle: bool,
}

/// All deliveries of a run.
#[derive(Debug, Default)]
pub(super) struct Account {
    entries: HashMap<u64, Entry>,
    arrivals: Vec<Arrival>,
    steady: Count,
    fickle: Count,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    accepted: usize,
    arrived: usize,
}

impl Account {
    /// Enters what was accepted.
    pub(super) fn enter(&mut self, tally: &Tally) {
        for published in &tally.published {
            let entry = self.entries.entry(published.delivery).or_default();
            entry.published_ns = Some(published.at_ns);
            entry.fickle = published.fickle;
            let count = if entry.fickle { &mut self.fickle } else { &mut self.steady };
            count.accepted += 1;
            count.arrived += usize::from(entry.arrivals > 0);
        }
    }

    /// Enters what arrived.
    pub(super) fn arrive(&mut self, arrivals: Vec<Arrival>) {
        for Arrival { delivery, at_ns } in &arrivals {
            let entry = self.entries.entry(*delivery).or_default();
            let count = if entry.fickle { &mut self.fickle } else { &mut self.steady };
            count.arrived += usize::from(entry.arrivals == 0 && entry.published_ns.is_some());
            entry.arrivals += 1;
            entry.arrived_ns.get_or_insert(*at_ns);
        }
        self.arrivals.extend(arrivals);
    }

    fn counts(&self, of: Crowd) -> impl Iterator<Item = Count> {
        let counts = [(false, self.steady), (true, self.fickle)];
        counts.into_iter().filter(move |(fickle, _)| of.holds(*fickle)).map(|(_, count)| count)
    }

    pub(super) fn accepted(&self, of: Crowd) -> usize {
        self.counts(of).map(|count| count.accepted).sum()
    }

    /// Deliveries that were accepted and did not arrive.
    pub(super) fn missing(&self, of: Crowd) -> usize {
        self.counts(of).map(|count| count.accepted - count.arrived).sum()
    }

    /// When a delivery arrived first.
    pub(super) fn arrived_ns(&self, delivery: u64) -> Option<u64> {
        self.entries.get(&delivery)?.arrived_ns
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
    pub(super) fn arrivals_in(&self, interval: Range<u64>, of: Crowd) -> impl Iterator<Item = u64> {
        let meant =
            move |delivery| self.entries.get(delivery).is_some_and(|at| of.holds(at.fickle));
        let within = self.arrivals.iter().filter(move |one| interval.contains(&one.at_ns));
        within.filter(move |one| meant(&one.delivery)).map(|one| one.at_ns)
    }

    /// What deliveries that were published within `interval` took to arrive, in nanoseconds.
    pub(super) fn latencies(&self, interval: Range<u64>, of: Crowd) -> Vec<u64> {
        let took = |entry: &Entry| {
            let published_ns = entry.published_ns.filter(|at_ns| interval.contains(at_ns))?;
            Some(entry.arrived_ns?.saturating_sub(published_ns))
        };
        let meant = self.entries.values().filter(|entry| of.holds(entry.fickle));
        meant.filter_map(took).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::driver::Published;
    use super::*;

    #[test]
    fn what_is_missing_repeated_or_unannounced_is_told() {
        let mut account = Account::default();
        let published = [(1, 10, false), (2, 20, false), (3, 30, true)];
        let published = published.map(|(delivery, at_ns, fickle)| Published {
            delivery,
            at_ns,
            answered_ns: at_ns,
            fickle,
        });
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
        let of = Crowd::Everyone;
        assert_eq!((account.accepted(of), account.missing(of)), (3, 2));
        account.arrive(arrive(&[(2, 45), (2, 50), (9, 55)]));
        assert_eq!((account.missing(of), account.repeated(), account.unannounced()), (1, 1, 1));
        assert_eq!((account.missing(Crowd::Steady), account.missing(Crowd::Fickle)), (0, 1));
        assert_eq!(account.latencies(20..40, of), [25]);
        assert_eq!(account.arrivals_in(45..55, of).count(), 2);
        assert_eq!(account.arrivals_in(45..55, Crowd::Fickle).count(), 0);
    }
}
