//! The process's clock: wall time at start, carried on by the monotonic clock, so that a jump of
//! the wall clock neither storms nor sends early. Of several nodes each follows the database's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hookseal_core::ports::Clock;
use hookseal_core::time::Timestamp;

/// How far the clock is moved at once towards the one that it follows.
const STEP: Duration = Duration::from_millis(5);
/// What is no difference: answers take their time.
const SLACK: Duration = Duration::from_millis(3);

/// Wall time of this moment, as the system tells it: for signatures only.
pub fn wall_seconds() -> i64 {
    wall_time().as_secs()
}

fn wall_time() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Anchored wall time.
#[derive(Debug)]
pub struct AnchoredClock {
    /// Wall time at the anchor, in milliseconds.
    wall_ms: AtomicI64,
    anchor: Instant,
}

impl AnchoredClock {
    /// A clock that starts from the wall time of this moment.
    pub fn start() -> Self {
        Self { wall_ms: AtomicI64::new(wall_time().as_ms()), anchor: Instant::now() }
    }

    /// Sets it: at `at` it was `now`.
    pub fn set(&self, now: Timestamp, at: Instant) {
        let since = at.saturating_duration_since(self.anchor);
        self.wall_ms.store(now.minus(since).as_ms(), Ordering::Relaxed);
    }

    /// Moves it a little towards a clock that showed `now` between `asked` and this moment. That other
    /// clock may jump; this one does not.
    pub fn follow(&self, now: Timestamp, asked: Instant) {
        let [step, slack] = [STEP, SLACK].map(|d| i64::try_from(d.as_millis()).unwrap_or_default());
        let shown = self.now().minus(asked.elapsed() / 2);
        let ahead = now.as_ms() - shown.as_ms();
        if ahead.abs() > slack {
            self.wall_ms.fetch_add(ahead.clamp(-step, step), Ordering::Relaxed);
        }
    }
}

impl Clock for AnchoredClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.wall_ms.load(Ordering::Relaxed)).plus(self.anchor.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_towards_another_clock_and_never_jumps() {
        let clock = AnchoredClock::start();
        clock.set(Timestamp::from_ms(1_000_000), Instant::now());
        let hour = Duration::from_secs(3600);
        for (shown, at_most) in [(clock.now().plus(hour), 6), (clock.now().minus(hour), 0)] {
            let before = clock.now();
            clock.follow(shown, Instant::now());
            let moved = clock.now().as_ms() - before.as_ms();
            assert!((-6..=at_most + 20).contains(&moved), "{moved}");
        }
    }
}
