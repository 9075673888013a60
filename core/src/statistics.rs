//! How deliveries went: tallies a minute, kept as they settle, so that their cost does not grow with the
//! history. Approximate: durations are counted in buckets.

use crate::delivery::{Delivery, Status};
use crate::feed::{Change, DeliveryChange};
use crate::id::EndpointId;
use crate::time::Timestamp;

/// Length of a minute, in milliseconds.
const MINUTE_MS: i64 = 60_000;
/// Buckets of durations: two an octave, the last holds all beyond 90 s.
const BUCKETS: usize = 34;

/// The minute that an instant lies in, counted from the epoch.
pub fn minute_of(at: Timestamp) -> i64 {
    at.as_ms() / MINUTE_MS
}

/// Durations of attempts, counted in buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durations([u64; BUCKETS]);

impl Default for Durations {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Durations {
    /// Counts a duration, in milliseconds.
    pub fn count(&mut self, ms: u64) {
        let bucket = (0..BUCKETS - 1).find(|bucket| ms <= upper_ms(*bucket)).unwrap_or(BUCKETS - 1);
        self.0[bucket] += 1;
    }

    /// The bucket counts, without the empty ones at the end.
    pub fn counts(&self) -> &[u64] {
        let used = self.0.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        &self.0[..used]
    }

    /// Adds bucket counts.
    pub fn add(&mut self, counts: &[u64]) {
        self.0.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }

    /// A duration that `share` of all, 0 to 1, did not exceed, in milliseconds, at most 42 % too long;
    /// none without any.
    pub fn percentile_ms(&self, share: f64) -> Option<u64> {
        let all: u64 = self.0.iter().sum();
        let wanted = ((all as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        bucket.map(upper_ms)
    }
}

/// The longest duration of a bucket, in milliseconds: 1, 2, 3, 4, 6, 8, 11, 16 …
fn upper_ms(bucket: usize) -> u64 {
    (2_f64.powf(bucket as f64 / 2.0)).round() as u64
}

/// What became of deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Deliveries that a receiver took.
    pub delivered: u64,
    /// Deliveries that were given up.
    pub failed: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// How long attempts took.
    pub durations: Durations,
}

impl Tally {
    /// Counts what a change tells.
    pub fn count(&mut self, change: DeliveryChange, delivery: &Delivery) {
        let progress = &delivery.progress;
        match (change, progress.status) {
            (DeliveryChange::Settled, Status::Succeeded) => self.delivered += 1,
            (DeliveryChange::Settled, Status::Pending) => self.retried += 1,
            (
                DeliveryChange::Settled | DeliveryChange::Created | DeliveryChange::Failed,
                Status::Failed,
            ) => self.failed += 1,
            _ => return,
        }
        if let (DeliveryChange::Settled, Some(attempt)) = (change, progress.last_attempt) {
            let ms = attempt.duration.as_millis();
            self.durations.count(u64::try_from(ms).unwrap_or(u64::MAX));
        }
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.retried += other.retried;
        self.durations.add(other.durations.counts());
    }

    /// Whether a change says anything to a tally, and of which delivery.
    pub fn concerns(change: &Change) -> Option<(DeliveryChange, &Delivery)> {
        match change {
            Change::Delivery(DeliveryChange::Claimed | DeliveryChange::Requeued, _) => None,
            Change::Delivery(change, delivery) => Some((*change, delivery)),
            Change::Event(_) | Change::Endpoint(..) => None,
        }
    }

    /// Delivered of all that ended; none when nothing did.
    pub fn success_rate(&self) -> Option<f64> {
        let ended = self.delivered + self.failed;
        (ended > 0).then(|| self.delivered as f64 / ended as f64)
    }
}

/// A span of time, in which statistics are told by whole minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

/// Whose statistics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All of an organization.
    Organization,
    /// One endpoint of it.
    Endpoint(EndpointId),
}

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Pending deliveries; [`Waiting::MOST`] stands for that many or more.
    pub deliveries: u64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Timestamp>,
}

impl Waiting {
    /// As far as is counted.
    pub const MOST: u64 = 10_000;
}

/// How it went within a span of time, and what waits now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// What became of deliveries.
    pub tally: Tally,
    /// What waits.
    pub waiting: Waiting,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_at_most_a_bucket_too_long() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentile_ms(0.5), None);
        for ms in 1..=1000 {
            durations.count(ms);
        }
        for (share, exact) in [(0.5, 500), (0.95, 950), (0.99, 990), (1.0, 1000), (0.001, 1)] {
            let found = durations.percentile_ms(share).expect("there are some");
            assert!((exact..=exact * 3 / 2).contains(&found), "{share}: {found}");
        }
        durations.count(0);
        durations.count(u64::MAX);
        assert_eq!(durations.percentile_ms(1.0), Some(upper_ms(BUCKETS - 1)));
        assert!(upper_ms(BUCKETS - 1) > 90_000);
    }

    #[test]
    fn tallies_add_up() {
        let mut one = Tally { delivered: 1, failed: 2, retried: 3, ..Tally::default() };
        one.durations.count(5);
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!((sum.delivered, sum.failed, sum.retried), (2, 4, 6));
        assert_eq!(sum.durations.counts().iter().sum::<u64>(), 2);
        assert_eq!(sum.success_rate(), Some(1.0 / 3.0));
        assert_eq!(Tally::default().success_rate(), None);
    }
}
