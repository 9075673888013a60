//! Instants that processes of one host can compare, and what many of them come to.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Nanoseconds of the host's monotonic clock.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// What stands for a delivery's id: the same in every process of one binary.
pub(super) fn hash(id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// Durations in short, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) count: usize,
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Summary {
    /// Of durations in nanoseconds; all zero when there are none.
    pub(super) fn of(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        let rank = |share: f64| {
            let last = samples.len().saturating_sub(1);
            let sample = samples.get((last as f64 * share).round() as usize);
            sample.map_or(0.0, |ns| *ns as f64 / 1e6)
        };
        Self {
            count: samples.len(),
            p50_ms: rank(0.5),
            p90_ms: rank(0.9),
            p99_ms: rank(0.99),
            max_ms: rank(1.0),
        }
    }
}

/// The middle one; of an even number the mean of the middle two, of none zero.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_the_ranks() {
        let summary = Summary::of((0..=100).rev().map(|ms| ms * 1_000_000).collect());
        assert_eq!(
            summary,
            Summary { count: 101, p50_ms: 50.0, p90_ms: 90.0, p99_ms: 99.0, max_ms: 100.0 }
        );
        assert_eq!(Summary::of(Vec::new()), Summary::default());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
