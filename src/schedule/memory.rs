//! The in-process schedule: an ordered map, bounded; what does not fit waits in the rows.

use std::collections::BTreeMap;

use async_trait::async_trait;
use hookseal_core::error::Result;
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::limits::SCHEDULE_ENTRIES;
use hookseal_core::ports::{Due, Schedule};
use hookseal_core::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Due times in memory.
#[derive(Debug)]
pub struct MemorySchedule {
    state: Mutex<State>,
    changed: Notify,
    most: usize,
}

#[derive(Debug)]
struct State {
    entries: BTreeMap<(Timestamp, DeliveryId), EndpointId>,
    covers_until: Timestamp,
}

impl Default for MemorySchedule {
    fn default() -> Self {
        Self::with_bound(SCHEDULE_ENTRIES)
    }
}

impl MemorySchedule {
    /// A schedule of at most `most` due times.
    pub fn with_bound(most: usize) -> Self {
        let state = State { entries: BTreeMap::new(), covers_until: Timestamp::from_ms(0) };
        Self { state: Mutex::new(state), changed: Notify::new(), most }
    }
}

#[async_trait]
impl Schedule for MemorySchedule {
    async fn put(&self, due: Vec<Due>) -> Result<()> {
        let mut state = self.state.lock();
        let first = state.entries.keys().next().map(|(at, _)| *at);
        for due in due {
            if due.at <= state.covers_until {
                state.entries.insert((due.at, due.id), due.endpoint_id);
            }
        }
        while state.entries.len() > self.most {
            // The latest goes back to the rows, and with it the claim to know all of that instant.
            if let Some(((at, _), _)) = state.entries.pop_last() {
                state.covers_until =
                    state.covers_until.min(at.minus(std::time::Duration::from_millis(1)));
            }
        }
        let earlier = match (first, state.entries.keys().next()) {
            (Some(first), Some((at, _))) => *at < first,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        drop(state);
        if earlier {
            self.changed.notify_one();
        }
        Ok(())
    }

    async fn take(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        let mut state = self.state.lock();
        let mut taken = Vec::new();
        while taken.len() < limit {
            match state.entries.first_entry() {
                Some(entry) if entry.key().0 <= now => {
                    let ((at, id), endpoint_id) = entry.remove_entry();
                    taken.push(Due { at, id, endpoint_id });
                }
                Some(_) | None => break,
            }
        }
        Ok(taken)
    }

    async fn next(&self) -> Result<Option<Timestamp>> {
        Ok(self.state.lock().entries.keys().next().map(|(at, _)| *at))
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    fn covers_until(&self) -> Timestamp {
        self.state.lock().covers_until
    }

    fn cover(&self, until: Timestamp) {
        self.state.lock().covers_until = until;
    }

    fn uncover(&self, until: Timestamp) {
        let mut state = self.state.lock();
        state.covers_until = state.covers_until.min(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(at_ms: i64, n: usize) -> Due {
        Due {
            at: Timestamp::from_ms(at_ms),
            id: DeliveryId::from_row(format!("whd_{n:03}")),
            endpoint_id: EndpointId::from_row("whe_1"),
        }
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    #[tokio::test]
    async fn due_times_come_out_in_order_and_not_before() {
        let schedule = MemorySchedule::default();
        schedule.cover(at(1_000));
        schedule.put(vec![due(300, 3), due(100, 1), due(200, 2), due(100, 1)]).await.expect("put");
        assert_eq!(schedule.next().await.expect("next"), Some(at(100)));
        assert_eq!(schedule.take(at(99), 10).await.expect("take"), []);
        assert_eq!(schedule.take(at(250), 10).await.expect("take"), [due(100, 1), due(200, 2)]);
        assert_eq!(schedule.take(at(999), 10).await.expect("take"), [due(300, 3)]);
    }

    #[tokio::test]
    async fn what_lies_beyond_the_horizon_is_left_to_the_rows() {
        let schedule = MemorySchedule::default();
        schedule.cover(at(1_000));
        schedule.put(vec![due(1_000, 1), due(1_001, 2)]).await.expect("put");
        assert_eq!(schedule.take(Timestamp::MAX, 10).await.expect("take"), [due(1_000, 1)]);
    }

    #[tokio::test]
    async fn a_full_schedule_forgets_the_latest_and_says_so() {
        let schedule = MemorySchedule::with_bound(2);
        schedule.cover(at(1_000));
        schedule.put(vec![due(100, 1), due(300, 3), due(200, 2)]).await.expect("put");
        assert_eq!(schedule.covers_until(), at(299));
        assert_eq!(
            schedule.take(Timestamp::MAX, 10).await.expect("take"),
            [due(100, 1), due(200, 2)]
        );
    }

    #[tokio::test]
    async fn an_earlier_due_time_wakes_the_waiter() {
        let schedule = MemorySchedule::default();
        schedule.cover(at(1_000));
        schedule.put(vec![due(500, 1)]).await.expect("put");
        schedule.changed().await;
        schedule.put(vec![due(600, 2)]).await.expect("put");
        schedule.put(vec![due(400, 3)]).await.expect("put");
        schedule.changed().await;
        assert_eq!(schedule.next().await.expect("next"), Some(at(400)));
    }
}
