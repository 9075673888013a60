//! How many requests a caller may make of one process, on the time that it is asked with.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::pace::LaneClock;
use crate::ports::Throttle;
use crate::time::Timestamp;

/// Requests after which callers that were not heard of for a while are forgotten.
const TIDY_EVERY: usize = 10_000;

/// At most so many requests a minute of each caller, all of them at once if he likes.
#[derive(Debug)]
pub struct LocalThrottle {
    clock: LaneClock,
    limiter: RateLimiter<String, HashMapStateStore<String>, LaneClock, NoOpMiddleware<Nanos>>,
    taken: AtomicUsize,
}

impl LocalThrottle {
    /// A throttle of `per_minute` requests; zero counts as one.
    pub fn new(per_minute: u32, now: Timestamp) -> Self {
        let clock = LaneClock::at(now);
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Self { clock, limiter, taken: AtomicUsize::new(0) }
    }

    /// Takes the right to one request of `caller` at `now`, or tells how long to wait for it.
    pub fn take(&self, caller: &str, now: Timestamp) -> Result<(), Duration> {
        self.clock.set(now);
        if self.taken.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(&caller.to_owned())
            .map_err(|refused| refused.wait_time_from(self.clock.now()))
    }
}

#[async_trait]
impl Throttle for LocalThrottle {
    async fn take(&self, caller: &str, now: Timestamp) -> Result<(), Duration> {
        self.take(caller, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_a_minutes_worth_and_gets_it_back_evenly() {
        let at = |ms: i64| Timestamp::from_ms(1_800_000_000_000 + ms);
        let throttle = LocalThrottle::new(60, at(0));
        for _ in 0..60 {
            assert!(throttle.take("a", at(0)).is_ok());
        }
        let wait = throttle.take("a", at(0)).expect_err("spent");
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert!(throttle.take("b", at(0)).is_ok(), "somebody else's");
        assert!(throttle.take("a", at(1000)).is_ok());
        assert!(throttle.take("a", at(1000)).is_err());
    }
}
