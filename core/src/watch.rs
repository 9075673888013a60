//! Watching the feed: what one subscriber of one organization gets to see, in order, each change once.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use crate::delivery::{Delivery, Status};
use crate::error::Result;
use crate::event::{Event, EventWithDeliveries};
use crate::feed::{After, Change, DeliveryChange, EndpointChange, Interest, Position};
use crate::id::{EndpointId, EventId, OrganizationId};
use crate::ports::{Archive, Feed, Store};

/// Changes that are given out at once.
const AT_ONCE: usize = 256;
/// Events whose triggers one subscriber remembers.
const TRIGGERS: NonZeroUsize = NonZeroUsize::new(256).expect("it is not zero");

/// Which changes a subscriber wants.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Accepted events.
    Events {
        /// Only of this type.
        event_type: Option<String>,
    },
    /// Changed deliveries.
    Deliveries(DeliveryWish),
    /// Changed endpoints.
    Endpoints {
        /// Only this one.
        endpoint_id: Option<EndpointId>,
        /// Only these changes.
        changes: Option<Vec<EndpointChange>>,
    },
}

/// Which changes of deliveries a subscriber wants; each part may be left out.
#[derive(Clone, Debug, Default)]
pub struct DeliveryWish {
    /// Only to this endpoint.
    pub endpoint_id: Option<EndpointId>,
    /// Only of this event.
    pub event_id: Option<EventId>,
    /// Only of events of this type.
    pub event_type: Option<String>,
    /// Only of events with a trigger of this type.
    pub trigger_type: Option<String>,
    /// Only of events with this trigger.
    pub trigger_id: Option<String>,
    /// Only those that stand like this after the change.
    pub status: Option<Status>,
    /// Only these changes.
    pub changes: Option<Vec<DeliveryChange>>,
}

impl DeliveryWish {
    /// Whether all but the trigger fits.
    fn fits(&self, change: DeliveryChange, delivery: &Delivery) -> bool {
        self.endpoint_id.as_ref().is_none_or(|id| *id == delivery.endpoint_id)
            && self.event_id.as_ref().is_none_or(|id| *id == delivery.event_id)
            && self.event_type.as_deref().is_none_or(|name| *name == *delivery.event_type)
            && self.status.is_none_or(|status| status == delivery.progress.status)
            && self.changes.as_ref().is_none_or(|changes| changes.contains(&change))
    }

    fn names_a_trigger(&self) -> bool {
        self.trigger_type.is_some() || self.trigger_id.is_some()
    }

    fn triggered_by(&self, event: &Event) -> bool {
        self.trigger_type.as_deref().is_none_or(|name| *name == *event.trigger_type)
            && self.trigger_id.as_ref().is_none_or(|id| *id == event.trigger_id)
    }
}

impl Wanted {
    /// Whether all but the trigger of a delivery fits.
    fn fits(&self, change: &Change) -> bool {
        match (self, change) {
            (Self::Events { event_type }, Change::Event(event)) => {
                event_type.as_deref().is_none_or(|name| *name == *event.event_type)
            }
            (Self::Deliveries(wish), Change::Delivery(change, delivery)) => {
                wish.fits(*change, delivery)
            }
            (Self::Endpoints { endpoint_id, changes }, Change::Endpoint(change, endpoint)) => {
                endpoint_id.as_ref().is_none_or(|id| *id == endpoint.id)
                    && changes.as_ref().is_none_or(|changes| changes.contains(change))
            }
            _ => false,
        }
    }
}

/// What a subscriber gets to see.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A change, and the position behind it.
    Change(Position, Change),
    /// Something may be missing before this position.
    Gap(Position),
}

/// One subscriber's place in the feed. It holds no more than that: who is too slow gets a gap.
pub struct Watch {
    feed: Arc<dyn Feed>,
    store: Arc<dyn Store>,
    interest: Interest,
    wanted: Wanted,
    position: Position,
    /// Whether events have the wanted trigger.
    triggers: LruCache<EventId, bool>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Watch {
    /// Begins after `after`, or with what comes from now on.
    pub(crate) fn new(
        feed: Arc<dyn Feed>,
        store: Arc<dyn Store>,
        organization: OrganizationId,
        wanted: Wanted,
        after: Option<Position>,
    ) -> Self {
        let position = after.unwrap_or_else(|| feed.head());
        let triggers = match &wanted {
            Wanted::Deliveries(wish) if wish.names_a_trigger() => LruCache::new(TRIGGERS),
            _ => LruCache::new(NonZeroUsize::MIN),
        };
        let endpoint = match &wanted {
            Wanted::Deliveries(wish) => wish.endpoint_id.clone(),
            Wanted::Endpoints { endpoint_id, .. } => endpoint_id.clone(),
            Wanted::Events { .. } => None,
        };
        let interest = Interest { organization, endpoint };
        Self { feed, store, interest, wanted, position, triggers }
    }

    /// Waits for the next changes that are wanted, at least one.
    pub async fn next(&mut self) -> Vec<Seen> {
        loop {
            let batches = match self.feed.after(self.position) {
                After::Gap(head) => {
                    self.position = head;
                    return vec![Seen::Gap(head)];
                }
                After::Batches(batches) if batches.is_empty() => {
                    self.position = self.feed.moved(self.position, &self.interest).await;
                    continue;
                }
                After::Batches(batches) => batches,
            };
            let mut found = Vec::new();
            'batches: for batch in batches {
                let seen = self.position;
                for (index, change) in batch.changes.iter().enumerate() {
                    let index = u32::try_from(index).unwrap_or(Position::END);
                    if batch.number == seen.batch && index <= seen.index {
                        continue;
                    }
                    if *change.organization() != self.interest.organization {
                        continue;
                    }
                    self.remember_trigger(change);
                    if self.wanted.fits(change) {
                        let position = Position { batch: batch.number, index, ..seen };
                        found.push((position, change.clone()));
                        if found.len() == AT_ONCE {
                            self.position = position;
                            break 'batches;
                        }
                    }
                }
                self.position =
                    Position { batch: batch.number, index: Position::END, epoch: seen.epoch };
            }
            match self.of_the_trigger(found).await {
                Ok(found) if found.is_empty() => {}
                Ok(found) => {
                    return found
                        .into_iter()
                        .map(|(at, change)| Seen::Change(at, change))
                        .collect();
                }
                // What these events were triggered by cannot be read now.
                Err(_) => return vec![Seen::Gap(self.position)],
            }
        }
    }

    /// An event comes before its deliveries: most triggers need not be read.
    fn remember_trigger(&mut self, change: &Change) {
        if let (Wanted::Deliveries(wish), Change::Event(event)) = (&self.wanted, change)
            && wish.names_a_trigger()
        {
            self.triggers.put(event.id.clone(), wish.triggered_by(event));
        }
    }

    async fn of_the_trigger(
        &mut self,
        mut found: Vec<(Position, Change)>,
    ) -> Result<Vec<(Position, Change)>> {
        let Wanted::Deliveries(wish) = &self.wanted else { return Ok(found) };
        if !wish.names_a_trigger() {
            return Ok(found);
        }
        let event_of = |change: &Change| match change {
            Change::Delivery(_, delivery) => Some(delivery.event_id.clone()),
            Change::Event(_) | Change::Endpoint(..) => None,
        };
        let (mut known, mut unknown) = (HashMap::new(), Vec::new());
        for id in found.iter().filter_map(|(_, change)| event_of(change)) {
            match self.triggers.get(&id) {
                Some(triggered) => drop(known.insert(id, *triggered)),
                None => unknown.push(id),
            }
        }
        if !unknown.is_empty() {
            unknown.dedup();
            let read =
                Archive::events_by_id(&*self.store, &self.interest.organization, &unknown).await?;
            for EventWithDeliveries { event, .. } in read {
                let triggered = wish.triggered_by(&event);
                self.triggers.put(event.id.clone(), triggered);
                known.insert(event.id, triggered);
            }
        }
        found
            .retain(|(_, change)| event_of(change).is_some_and(|id| known.get(&id) == Some(&true)));
        Ok(found)
    }
}
