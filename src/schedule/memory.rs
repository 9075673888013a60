//! The in-process schedule: an ordered map, bounded; what does not fit waits in the rows.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use hookseal_core::error::Result;
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::limits::{SCHEDULE_ENTRIES, SCHEDULE_LEASE};
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
    /// When each of them is due.
    due: HashMap<DeliveryId, Timestamp>,
    covers_until: Timestamp,
}

impl State {
    fn remove(&mut self, id: &DeliveryId) {
        if let Some(at) = self.due.remove(id) {
            self.entries.remove(&(at, id.clone()));
        }
    }

    fn insert(&mut self, Due { at, id, endpoint_id }: Due) {
        self.remove(&id);
        self.due.insert(id.clone(), at);
        self.entries.insert((at, id), endpoint_id);
    }

    fn first(&self) -> Option<Timestamp> {
        self.entries.keys().next().map(|(at, _)| *at)
    }
}

impl Default for MemorySchedule {
    fn default() -> Self {
        Self::with_bound(SCHEDULE_ENTRIES)
    }
}

impl MemorySchedule {
    /// A schedule of at most `most` due times.
    pub fn with_bound(most: usize) -> Self {
        let covers_until = Timestamp::from_ms(0);
        let state = State { entries: BTreeMap::new(), due: HashMap::new(), covers_until };
        Self { state: Mutex::new(state), changed: Notify::new(), most }
    }
}

#[async_trait]
impl Schedule for MemorySchedule {
    async fn put(&self, due: Vec<Due>) -> Result<()> {
        let mut state = self.state.lock();
        let first = state.first();
        for due in due {
            if due.at <= state.covers_until {
                state.insert(due);
            } else {
                state.remove(&due.id);
            }
        }
        while state.entries.len() > self.most {
            // The latest goes back to the rows, and with it the claim to know all of that instant.
            if let Some(((at, id), _)) = state.entries.pop_last() {
                state.due.remove(&id);
                state.covers_until = state.covers_until.min(at.minus(Duration::from_millis(1)));
            }
        }
        let earlier = match (first, state.first()) {
            (Some(first), Some(at)) => at < first,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        drop(state);
        if earlier {
            self.changed.notify_one();
        }
        Ok(())
    }

    async fn lease(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        let mut state = self.state.lock();
        let due = state.entries.iter().take_while(|((at, _), _)| *at <= now).take(limit);
        let due: Vec<_> = due
            .map(|((at, id), endpoint)| Due {
                at: *at,
                id: id.clone(),
                endpoint_id: endpoint.clone(),
            })
            .collect();
        for leased in &due {
            state.insert(Due { at: now.plus(SCHEDULE_LEASE), ..leased.clone() });
        }
        Ok(due)
    }

    async fn strike_out(&self, _: &EndpointId, ids: Vec<DeliveryId>) -> Result<()> {
        let mut state = self.state.lock();
        ids.iter().for_each(|id| state.remove(id));
        Ok(())
    }

    async fn next(&self) -> Result<Option<Timestamp>> {
        Ok(self.state.lock().first())
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn lost(&self) {
        std::future::pending().await
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
