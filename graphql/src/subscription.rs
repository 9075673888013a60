//! What can be watched: changes as they are committed, in order for each thing, each once. Whoever gives the
//! cursor of the last item that he handled gets what came after it.

use std::collections::VecDeque;

use async_graphql::futures_util::{Stream, stream};
use async_graphql::{Context, Enum, ID, InputObject, Result, SimpleObject, Subscription};
use hookseal_core::feed::{self, Change, Position};
use hookseal_core::id::{EndpointId, EventId};
use hookseal_core::watch::{DeliveryWish, Seen, Wanted, Watch};

use crate::asking::{admin, caller};
use crate::objects::{Delivery, DeliveryStatus, Endpoint, Event};
use crate::refusal::refused;

/// What happened to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "feed::DeliveryChange")]
pub(crate) enum DeliveryChange {
    /// Its event was accepted; it may be claimed already, or have failed for want of a key.
    Created,
    /// An attempt was taken up.
    Claimed,
    /// An attempt ended; the status tells how.
    Settled,
    /// It waits again without an attempt having been spent: by hand, or because a claim was given up.
    Requeued,
    /// Its payload went, and nothing else changed.
    Scrubbed,
    /// It was given up without a further attempt.
    Failed,
}

/// What happened to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "feed::EndpointChange")]
pub(crate) enum EndpointChange {
    /// It was made.
    Created,
    /// Its settings, its secret or its keys changed.
    Updated,
    /// It was enabled, perhaps along with other settings.
    Enabled,
    /// It was disabled, perhaps along with other settings.
    Disabled,
    /// It was deleted.
    Deleted,
    /// So many attempts failed that none is made for a while.
    BreakerOpened,
    /// Attempts flow again.
    BreakerClosed,
}

/// Which deliveries and changes are wanted; what is left out limits nothing.
#[derive(Default, InputObject)]
struct DeliveryChangedFilter {
    /// Only to this endpoint.
    endpoint_id: Option<ID>,
    /// Only of this event.
    event_id: Option<ID>,
    /// Only of events of this type.
    event_type: Option<String>,
    /// Only of events with a trigger of this type.
    trigger_type: Option<String>,
    /// Only of events with this trigger.
    trigger_id: Option<String>,
    /// Only those that stand like this after the change.
    status: Option<DeliveryStatus>,
    /// Only these changes.
    #[graphql(validator(max_items = 100))]
    changes: Option<Vec<DeliveryChange>>,
}

impl DeliveryChangedFilter {
    fn wish(self) -> Result<DeliveryWish> {
        let endpoint = |id: ID| EndpointId::parse("filter.endpointId", &id).map_err(refused);
        let event = |id: ID| EventId::parse("filter.eventId", &id).map_err(refused);
        Ok(DeliveryWish {
            endpoint_id: self.endpoint_id.map(endpoint).transpose()?,
            event_id: self.event_id.map(event).transpose()?,
            event_type: self.event_type,
            trigger_type: self.trigger_type,
            trigger_id: self.trigger_id,
            status: self.status.map(Into::into),
            changes: self.changes.map(|wanted| wanted.into_iter().map(Into::into).collect()),
        })
    }
}

/// Which endpoints and changes are wanted; what is left out limits nothing.
#[derive(Default, InputObject)]
struct EndpointChangedFilter {
    /// Only this endpoint.
    endpoint_id: Option<ID>,
    /// Only these changes.
    #[graphql(validator(max_items = 100))]
    changes: Option<Vec<EndpointChange>>,
}

/// A changed delivery, or a gap.
#[derive(SimpleObject)]
struct DeliveryChanged {
    /// Give it as `after` to go on behind this item.
    cursor: String,
    /// Whether changes may be missing before this item: read again what you show. The other fields are
    /// then null.
    gap: bool,
    /// What happened.
    change: Option<DeliveryChange>,
    /// The delivery, as it was right after.
    delivery: Option<Delivery>,
}

/// A published event, or a gap.
#[derive(SimpleObject)]
struct EventPublished {
    /// Give it as `after` to go on behind this item.
    cursor: String,
    /// Whether events may be missing before this item: read again what you show. The other fields are
    /// then null.
    gap: bool,
    /// The event.
    event: Option<Event>,
}

/// A changed endpoint, or a gap.
#[derive(SimpleObject)]
struct EndpointChanged {
    /// Give it as `after` to go on behind this item.
    cursor: String,
    /// Whether changes may be missing before this item: read again what you show. The other fields are
    /// then null.
    gap: bool,
    /// What happened.
    change: Option<EndpointChange>,
    /// The endpoint, as it was right after, or right before its deletion.
    endpoint: Option<Endpoint>,
}

/// Changes, live.
#[derive(Debug)]
pub struct Subscription;

#[Subscription]
impl Subscription {
    /// Deliveries that change.
    async fn delivery_changed(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which ones; all when left out.")] filter: Option<DeliveryChangedFilter>,
        #[graphql(desc = "Cursor of the last item seen; only what comes when left out.")]
        after: Option<String>,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<impl Stream<Item = DeliveryChanged> + use<>> {
        let wanted = Wanted::Deliveries(filter.unwrap_or_default().wish()?);
        let watch = watch(context, wanted, after, organization_id)?;
        Ok(items(watch, |cursor, change| {
            let gap = change.is_none();
            let (change, delivery) = match change {
                Some(Change::Delivery(change, delivery)) => {
                    (Some(change.into()), Some(Delivery((*delivery).clone())))
                }
                _ => (None, None),
            };
            DeliveryChanged { cursor, gap, change, delivery }
        }))
    }

    /// Events that are accepted.
    async fn event_published(
        &self,
        context: &Context<'_>,
        #[graphql(name = "type", desc = "Only of this type.")] event_type: Option<String>,
        #[graphql(desc = "Cursor of the last item seen; only what comes when left out.")]
        after: Option<String>,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<impl Stream<Item = EventPublished> + use<>> {
        let watch = watch(context, Wanted::Events { event_type }, after, organization_id)?;
        Ok(items(watch, |cursor, change| {
            let gap = change.is_none();
            let event = match change {
                Some(Change::Event(event)) => Some(Event::published((*event).clone())),
                _ => None,
            };
            EventPublished { cursor, gap, event }
        }))
    }

    /// Endpoints that change.
    async fn endpoint_changed(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which ones; all when left out.")] filter: Option<EndpointChangedFilter>,
        #[graphql(desc = "Cursor of the last item seen; only what comes when left out.")]
        after: Option<String>,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<impl Stream<Item = EndpointChanged> + use<>> {
        let EndpointChangedFilter { endpoint_id, changes } = filter.unwrap_or_default();
        let id = |id: ID| EndpointId::parse("filter.endpointId", &id).map_err(refused);
        let wanted = Wanted::Endpoints {
            endpoint_id: endpoint_id.map(id).transpose()?,
            changes: changes.map(|wanted| wanted.into_iter().map(Into::into).collect()),
        };
        let watch = watch(context, wanted, after, organization_id)?;
        Ok(items(watch, |cursor, change| {
            let gap = change.is_none();
            let (change, endpoint) = match change {
                Some(Change::Endpoint(change, endpoint)) => {
                    (Some(change.into()), Some(Endpoint((*endpoint).clone())))
                }
                _ => (None, None),
            };
            EndpointChanged { cursor, gap, change, endpoint }
        }))
    }
}

fn watch(
    context: &Context<'_>,
    wanted: Wanted,
    after: Option<String>,
    organization: Option<ID>,
) -> Result<Watch> {
    let caller = caller(context, organization)?;
    admin(context)?.watch(&caller, wanted, after).map_err(refused)
}

/// What a watch sees, shown one by one; a gap has no change.
fn items<T>(
    watch: Watch,
    show: impl Fn(String, Option<Change>) -> T + Copy + Send + 'static,
) -> impl Stream<Item = T> {
    let start: (Watch, VecDeque<Seen>) = (watch, VecDeque::new());
    stream::unfold(start, move |(mut watch, mut seen)| async move {
        if seen.is_empty() {
            seen = watch.next().await.into();
        }
        let (position, change): (Position, _) = match seen.pop_front()? {
            Seen::Change(position, change) => (position, Some(change)),
            Seen::Gap(position) => (position, None),
        };
        Some((show(position.to_string(), change), (watch, seen)))
    })
}
