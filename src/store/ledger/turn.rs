//! How long the threads that publish take to come round: the time from one look at all that is ready on such a
//! thread to the next. While it is long, requests wait at the door, and a transaction that waits for them shares its
//! cost with them: small ones take the processor that these need to be read and sealed.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Turns that are as long as this tell of requests at the door.
const LONG: Duration = Duration::from_millis(1);

thread_local! {
    /// Whether somebody takes the time of this thread's turn already.
    static TIMED: Cell<bool> = const { Cell::new(false) };
}

/// The turns of all threads that publish, the latest for the most.
#[derive(Debug, Default)]
pub(super) struct Turn {
    mean_us: AtomicU64,
}

/// Somebody who takes the time.
struct Timing;

impl Timing {
    /// Begins, unless somebody does it already.
    fn begin() -> Option<Self> {
        (!TIMED.replace(true)).then_some(Self)
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        TIMED.set(false);
    }
}

impl Turn {
    /// Takes the time of this thread's turn, unless somebody else does.
    pub(super) async fn take(&self) {
        let Some(_timing) = Timing::begin() else { return };
        let began = Instant::now();
        tokio::task::yield_now().await;
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        // Two threads that do so at once may lose a turn, of which there are many.
        let mean_us = self.mean_us.load(Ordering::Relaxed);
        self.mean_us.store(mean_us.midpoint(us), Ordering::Relaxed);
    }

    /// Whether requests wait at the door.
    pub(super) fn is_long(&self) -> bool {
        Duration::from_micros(self.mean_us.load(Ordering::Relaxed)) >= LONG
    }
}

#[cfg(test)]
impl Turn {
    /// Turns of busy threads.
    pub(super) fn long() -> Self {
        let turn = Self::default();
        turn.mean_us.store(u64::MAX, Ordering::Relaxed);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_thread_takes_long_to_come_round_and_an_idle_one_does_not() {
        let turn = Turn::default();
        let busy = tokio::spawn(async { std::thread::sleep(LONG * 4) });
        turn.take().await;
        assert!(turn.is_long());
        busy.await.expect("no panic");
        // Whatever else this machine does, some turns in a row are short.
        for _ in 0..1_000 {
            if turn.is_long() {
                turn.take().await;
            }
        }
        assert!(!turn.is_long());
    }
}
