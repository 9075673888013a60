//! One endpoint's rate limit, on the time that its lane is driven with.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::time::Timestamp;

/// At most so many attempts a second, evenly spread: a burst holds what 20 ms of the rate allow,
/// and at least one.
#[derive(Debug)]
pub struct Pace {
    clock: LaneClock,
    limiter: RateLimiter<NotKeyed, InMemoryState, LaneClock, NoOpMiddleware<Nanos>>,
}

/// The time that its owner was asked with, as the limiter wants to read it.
#[derive(Clone, Debug)]
pub(crate) struct LaneClock(Arc<AtomicU64>);

impl Clock for LaneClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

impl LaneClock {
    pub(crate) fn at(now: Timestamp) -> Self {
        let clock = Self(Arc::new(AtomicU64::new(0)));
        clock.set(now);
        clock
    }

    pub(crate) fn set(&self, now: Timestamp) {
        self.0.store(now.as_ms().unsigned_abs().saturating_mul(1_000_000), Ordering::Relaxed);
    }
}

impl Pace {
    /// A pace of `per_second` attempts, starting at `now`; zero counts as one.
    pub fn new(per_second: u32, now: Timestamp) -> Self {
        let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(per_second / 50).unwrap_or(NonZeroU32::MIN);
        let clock = LaneClock::at(now);
        let quota = Quota::per_second(rate).allow_burst(burst);
        Self { limiter: RateLimiter::direct_with_clock(quota, clock.clone()), clock }
    }

    /// Takes the right to start one attempt at `now`, or tells when to ask again.
    pub fn take(&self, now: Timestamp) -> Result<(), Timestamp> {
        self.clock.set(now);
        self.limiter.check().map_err(|refused| {
            let wait = refused.wait_time_from(self.clock.now());
            // Rounded up to the lane's resolution, or the caller would ask a moment too early.
            let wait_ms = wait.as_nanos().div_ceil(1_000_000).max(1);
            now.plus(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(u64::MAX)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts within each second of a run in which a caller always has work.
    fn starts(per_second: u32, secs: i64) -> Vec<i64> {
        let mut now = Timestamp::from_ms(1_700_000_000_000);
        let end = now.as_ms() + secs * 1000;
        let pace = Pace::new(per_second, now);
        let mut starts = Vec::new();
        while now.as_ms() < end {
            match pace.take(now) {
                Ok(()) => starts.push(now.as_ms()),
                Err(later) => now = later,
            }
        }
        starts
    }

    #[test]
    fn no_second_holds_more_than_the_rate_and_its_burst() {
        for (rate, most) in [(1, 1), (3, 4), (50, 51), (1_000, 1_020)] {
            let starts = starts(rate, 10);
            let busiest = starts
                .iter()
                .map(|from| starts.iter().filter(|at| (*from..*from + 1000).contains(at)).count())
                .max();
            assert!(busiest <= Some(most), "{rate}/s: {busiest:?} in one second");
            assert!(starts.len() >= rate as usize * 9, "{rate}/s: {} in all", starts.len());
        }
    }
}
