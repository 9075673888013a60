//! Endpoints, events and deliveries as GraphQL shows them.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use hookseal_core::access::Caller;
use hookseal_core::admin::Admin;
use hookseal_core::error::Error;
use hookseal_core::page::{Page, PageRequest};
use hookseal_core::{delivery, endpoint, event, retention};

use crate::refusal::refused;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "delivery::Status")]
pub(crate) enum DeliveryStatus {
    /// Waits for its first or next attempt.
    Pending,
    /// Is being attempted.
    Delivering,
    /// A receiver answered 2xx.
    Succeeded,
    /// Given up.
    Failed,
}

/// Why a payload is kept or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "retention::RetentionReason")]
pub(crate) enum RetentionReason {
    /// Kept: attempts remain.
    PendingDelivery,
    /// Gone: a receiver has it.
    Delivered,
    /// Kept for retry by hand after the final failure.
    TerminalFailureRetention,
    /// Gone: its time was over.
    Expired,
    /// Never there: no key to seal to.
    NoActiveKey,
    /// Never there: sealing failed.
    JweCreationFailed,
    /// Gone: the person withdrew.
    PrivacyRequest,
}

/// A place that events are delivered to.
pub(crate) struct Endpoint(pub(crate) endpoint::Endpoint);

#[Object]
impl Endpoint {
    /// Its id.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// A name for people.
    async fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Labels for people.
    async fn labels(&self) -> &[String] {
        &self.0.labels
    }

    /// Where to send, as registered.
    async fn url(&self) -> &str {
        &self.0.url
    }

    /// Whether events are delivered to it.
    async fn enabled(&self) -> bool {
        self.0.enabled
    }

    /// Types it wants.
    async fn subscribed_event_types(&self) -> Vec<&str> {
        self.0.subscribed_event_types.iter().map(|name| &**name).collect()
    }

    /// Hours an undelivered payload stays after the final failure.
    async fn undelivered_payload_retention_hours(&self) -> u16 {
        self.0.retention.hours()
    }

    /// Attempts in flight at once.
    async fn max_in_flight(&self) -> usize {
        self.0.window()
    }

    /// Attempts started per second at most, when limited.
    async fn rate_limit_per_second(&self) -> Option<u32> {
        self.0.rate_limit_per_second
    }

    /// When it was made, RFC 3339 in UTC.
    async fn created_at(&self) -> String {
        self.0.created_at.to_string()
    }

    /// When it last changed.
    async fn updated_at(&self) -> String {
        self.0.updated_at.to_string()
    }

    /// When it was disabled.
    async fn disabled_at(&self) -> Option<String> {
        self.0.disabled_at.map(|at| at.to_string())
    }
}

/// An event with its deliveries.
pub(crate) struct Event(pub(crate) event::EventWithDeliveries);

#[Object]
impl Event {
    /// Its id, the same in every delivery.
    async fn id(&self) -> ID {
        ID(self.0.event.id.to_string())
    }

    /// Its type.
    #[graphql(name = "type")]
    async fn event_type(&self) -> &str {
        &self.0.event.event_type
    }

    /// What triggered it.
    async fn trigger_type(&self) -> &str {
        &self.0.event.trigger_type
    }

    /// The id of the trigger.
    async fn trigger_id(&self) -> &str {
        &self.0.event.trigger_id
    }

    /// When it was accepted.
    async fn created_at(&self) -> String {
        self.0.event.created_at.to_string()
    }

    /// Its deliveries, oldest first.
    async fn deliveries(&self) -> Vec<Delivery> {
        self.0.deliveries.iter().cloned().map(Delivery).collect()
    }
}

/// One event on its way to one endpoint.
pub(crate) struct Delivery(pub(crate) delivery::Delivery);

#[Object]
impl Delivery {
    /// Its id, the same in every attempt.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// The id of its event.
    async fn event_id(&self) -> ID {
        ID(self.0.event_id.to_string())
    }

    /// The id of its endpoint.
    async fn endpoint_id(&self) -> ID {
        ID(self.0.endpoint_id.to_string())
    }

    /// The id of the key it is sealed to.
    async fn encryption_key_id(&self) -> Option<ID> {
        self.0.key_id.as_ref().map(|id| ID(id.to_string()))
    }

    /// Where it stands.
    async fn status(&self) -> DeliveryStatus {
        self.0.progress.status.into()
    }

    /// Attempts spent of the current schedule.
    async fn attempt_count(&self) -> u32 {
        self.0.progress.attempt_count
    }

    /// When it was last attempted.
    async fn last_attempt_at(&self) -> Option<String> {
        self.0.progress.last_attempt.map(|attempt| attempt.at.to_string())
    }

    /// HTTP status of the last attempt, if it got an answer.
    async fn last_status_code(&self) -> Option<u16> {
        self.0.progress.last_attempt.and_then(|attempt| attempt.status_code)
    }

    /// When it is due, while pending.
    async fn next_attempt_at(&self) -> Option<String> {
        self.0.progress.next_attempt_at.map(|at| at.to_string())
    }

    /// Why its payload is kept or gone.
    async fn payload_retention_reason(&self) -> RetentionReason {
        self.0.progress.retention_reason.into()
    }

    /// When its payload goes.
    async fn payload_expires_at(&self) -> Option<String> {
        self.0.progress.payload_expires_at.map(|at| at.to_string())
    }

    /// When its payload went.
    async fn payload_scrubbed_at(&self) -> Option<String> {
        self.0.progress.payload_scrubbed_at.map(|at| at.to_string())
    }

    /// When it was accepted.
    async fn created_at(&self) -> String {
        self.0.created_at.to_string()
    }

    /// When it last changed.
    async fn updated_at(&self) -> String {
        self.0.progress.updated_at.to_string()
    }
}

/// Where a page ends.
#[derive(SimpleObject)]
pub(crate) struct PageInfo {
    /// Whether another page follows.
    has_next_page: bool,
    /// What to pass as `after` for the next page.
    end_cursor: Option<String>,
}

/// A page of endpoints, newest first.
#[derive(SimpleObject)]
pub(crate) struct EndpointPage {
    /// The endpoints.
    nodes: Vec<Endpoint>,
    /// Where the page ends.
    page_info: PageInfo,
}

/// A page of events, newest first.
#[derive(SimpleObject)]
pub(crate) struct EventPage {
    /// The events.
    nodes: Vec<Event>,
    /// Where the page ends.
    page_info: PageInfo,
}

/// A page of deliveries, newest first.
#[derive(SimpleObject)]
pub(crate) struct DeliveryPage {
    /// The deliveries.
    nodes: Vec<Delivery>,
    /// Where the page ends.
    page_info: PageInfo,
}

impl From<Page<endpoint::Endpoint>> for EndpointPage {
    fn from(page: Page<endpoint::Endpoint>) -> Self {
        let page_info = page_info(&page, |endpoint| endpoint.id.to_string());
        Self { nodes: page.items.into_iter().map(Endpoint).collect(), page_info }
    }
}

impl From<Page<event::EventWithDeliveries>> for EventPage {
    fn from(page: Page<event::EventWithDeliveries>) -> Self {
        let page_info = page_info(&page, |found| found.event.id.to_string());
        Self { nodes: page.items.into_iter().map(Event).collect(), page_info }
    }
}

impl From<Page<delivery::Delivery>> for DeliveryPage {
    fn from(page: Page<delivery::Delivery>) -> Self {
        let page_info = page_info(&page, |delivery| delivery.id.to_string());
        Self { nodes: page.items.into_iter().map(Delivery).collect(), page_info }
    }
}

fn page_info<T>(page: &Page<T>, cursor: impl Fn(&T) -> String) -> PageInfo {
    PageInfo { has_next_page: page.has_more, end_cursor: page.items.last().map(cursor) }
}

/// The page asked for: `first` items, `after` a cursor.
pub(crate) fn page(first: Option<i32>, after: Option<String>) -> Result<PageRequest> {
    PageRequest::judge(first.map(i64::from), after).map_err(|error| {
        refused(match error {
            Error::Invalid { field, expected } => {
                let field = if field == "limit" { "first" } else { "after" };
                Error::invalid(field, expected)
            }
            other => other,
        })
    })
}

/// The use cases and who is calling.
pub(crate) fn admin_and_caller<'a>(context: &Context<'a>) -> Result<(&'a Arc<Admin>, &'a Caller)> {
    Ok((context.data::<Arc<Admin>>()?, context.data::<Caller>()?))
}
