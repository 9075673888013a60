//! Events, their deliveries, and the attempts at these.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, ID, Object, Result};
use hookseal_core::{delivery, event};

use crate::batches::Batches;
use crate::instant::DateTime;

use super::endpoint::Endpoint;
use super::terms::{DeliveryStatus, ErrorKind, FailureReason, RetentionReason};

/// An event with its deliveries.
pub(crate) struct Event {
    event: event::Event,
    /// Read when asked for, where they did not come with the event.
    deliveries: Option<Vec<delivery::Delivery>>,
}

impl Event {
    /// An event that was read with its deliveries.
    pub(crate) fn read(
        event::EventWithDeliveries { event, deliveries }: event::EventWithDeliveries,
    ) -> Self {
        Self { event, deliveries: Some(deliveries) }
    }

    /// An event as the feed tells it.
    pub(crate) fn published(event: event::Event) -> Self {
        Self { event, deliveries: None }
    }
}

#[Object]
impl Event {
    /// Its id, the same in every delivery.
    async fn id(&self) -> ID {
        ID(self.event.id.to_string())
    }

    /// Its type.
    #[graphql(name = "type")]
    async fn event_type(&self) -> &str {
        &self.event.event_type
    }

    /// What triggered it.
    async fn trigger_type(&self) -> &str {
        &self.event.trigger_type
    }

    /// The id of the trigger.
    async fn trigger_id(&self) -> &str {
        &self.event.trigger_id
    }

    /// When it was accepted.
    async fn created_at(&self) -> DateTime {
        self.event.created_at.into()
    }

    /// Its deliveries, oldest first.
    #[graphql(complexity = "2 * child_complexity")]
    async fn deliveries(&self, context: &Context<'_>) -> Result<Vec<Delivery>> {
        let deliveries = match &self.deliveries {
            Some(deliveries) => deliveries.clone(),
            None => {
                let id = (self.event.organization_id.clone(), self.event.id.clone());
                let found = context.data::<DataLoader<Batches>>()?.load_one(id).await?;
                found.map(|found| found.deliveries).unwrap_or_default()
            }
        };
        Ok(deliveries.into_iter().map(Delivery).collect())
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

    /// Its event.
    async fn event(&self, context: &Context<'_>) -> Result<Option<Event>> {
        let id = (self.0.organization_id.clone(), self.0.event_id.clone());
        Ok(context.data::<DataLoader<Batches>>()?.load_one(id).await?.map(Event::read))
    }

    /// Its endpoint; null once that is deleted.
    async fn endpoint(&self, context: &Context<'_>) -> Result<Option<Endpoint>> {
        let id = (self.0.organization_id.clone(), self.0.endpoint_id.clone());
        Ok(context.data::<DataLoader<Batches>>()?.load_one(id).await?.map(Endpoint))
    }

    /// All its attempts, oldest first, those before a retry by hand included.
    #[graphql(complexity = "2 * child_complexity")]
    async fn attempts(&self, context: &Context<'_>) -> Result<Vec<Attempt>> {
        let id = (self.0.organization_id.clone(), self.0.id.clone());
        let found = context.data::<DataLoader<Batches>>()?.load_one(id).await?;
        Ok(found.unwrap_or_default().into_iter().map(Attempt).collect())
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
    async fn last_attempt_at(&self) -> Option<DateTime> {
        self.0.progress.last_attempt.map(|attempt| attempt.at.into())
    }

    /// HTTP status of the last attempt, if it got an answer.
    async fn last_status_code(&self) -> Option<u16> {
        self.0.progress.last_attempt.and_then(|attempt| attempt.status_code)
    }

    /// Why it failed for good.
    async fn failure_reason(&self) -> Option<FailureReason> {
        let failed = self.0.progress.status == delivery::Status::Failed;
        self.0.progress.failure_reason.filter(|_| failed).map(Into::into)
    }

    /// When it is due, while pending.
    async fn next_attempt_at(&self) -> Option<DateTime> {
        self.0.progress.next_attempt_at.map(Into::into)
    }

    /// Why its payload is kept or gone.
    async fn payload_retention_reason(&self) -> RetentionReason {
        self.0.progress.retention_reason.into()
    }

    /// When its payload goes.
    async fn payload_expires_at(&self) -> Option<DateTime> {
        self.0.progress.payload_expires_at.map(Into::into)
    }

    /// When its payload went.
    async fn payload_scrubbed_at(&self) -> Option<DateTime> {
        self.0.progress.payload_scrubbed_at.map(Into::into)
    }

    /// When it was accepted.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        self.0.progress.updated_at.into()
    }
}

/// One attempt of a delivery.
pub(crate) struct Attempt(pub(crate) delivery::Attempt);

#[Object]
impl Attempt {
    /// When it was made.
    async fn attempted_at(&self) -> DateTime {
        self.0.at.into()
    }

    /// How long the exchange took, in milliseconds.
    async fn duration_ms(&self) -> u64 {
        u64::try_from(self.0.duration.as_millis()).unwrap_or(u64::MAX)
    }

    /// HTTP status, if an answer came.
    async fn status_code(&self) -> Option<u16> {
        self.0.status_code
    }

    /// What went wrong, if none came.
    async fn error_kind(&self) -> Option<ErrorKind> {
        self.0.error.map(Into::into)
    }
}
