//! The process's clock: wall time at start, carried on by the monotonic clock, so that a jump of
//! the wall clock neither storms nor sends early.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hookseal_core::ports::Clock;
use hookseal_core::time::Timestamp;

/// Wall time of this moment, as the system tells it: for signatures only.
pub fn wall_seconds() -> i64 {
    wall_time().as_secs()
}

fn wall_time() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Anchored wall time.
#[derive(Clone, Copy, Debug)]
pub struct AnchoredClock {
    wall: Timestamp,
    anchor: Instant,
}

impl AnchoredClock {
    /// A clock that starts from the wall time of this moment.
    pub fn start() -> Self {
        Self { wall: wall_time(), anchor: Instant::now() }
    }
}

impl Clock for AnchoredClock {
    fn now(&self) -> Timestamp {
        self.wall.plus(self.anchor.elapsed())
    }
}
