//! What happened, as callers read it.

use std::collections::HashMap;

use async_trait::async_trait;

use crate::delivery::{Attempt, Delivery, Status};
use crate::error::Result;
use crate::event::EventWithDeliveries;
use crate::id::{DeliveryId, EndpointId, EventId, OrganizationId};
use crate::page::{Page, PageRequest};
use crate::statistics::{Scope, Statistics};
use crate::time::Timestamp;

/// Filters of the event list.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only this type.
    pub event_type: Option<String>,
    /// Accepted at or after.
    pub created_from: Option<Timestamp>,
    /// Accepted at or before.
    pub created_to: Option<Timestamp>,
}

/// Filters of the delivery list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only this status.
    pub status: Option<Status>,
    /// Only this endpoint.
    pub endpoint_id: Option<EndpointId>,
    /// Only this event.
    pub event_id: Option<EventId>,
    /// Only events of this type; not beside status or endpoint, which no index would serve.
    pub event_type: Option<String>,
    /// Accepted at or after.
    pub created_from: Option<Timestamp>,
    /// Accepted at or before.
    pub created_to: Option<Timestamp>,
}

/// Events and deliveries, as callers read them.
#[async_trait]
pub trait Archive: Send + Sync {
    /// One event of the organization with its deliveries, oldest first.
    async fn event(
        &self,
        organization: &OrganizationId,
        id: &EventId,
    ) -> Result<Option<EventWithDeliveries>>;
    /// Those of `ids` that are the organization's, with their deliveries, in any order.
    async fn events_by_id(
        &self,
        organization: &OrganizationId,
        ids: &[EventId],
    ) -> Result<Vec<EventWithDeliveries>>;
    /// The event that an idempotency key stands for, and the fingerprint it was stored with.
    async fn idempotent(
        &self,
        organization: &OrganizationId,
        key: &str,
    ) -> Result<Option<(EventId, String)>>;
    /// Events of the organization with their deliveries, newest first.
    async fn events(
        &self,
        organization: &OrganizationId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<EventWithDeliveries>>;
    /// One delivery of the organization.
    async fn delivery(
        &self,
        organization: &OrganizationId,
        id: &DeliveryId,
    ) -> Result<Option<Delivery>>;
    /// All attempts of those of `ids` that are the organization's, each delivery's oldest first, those
    /// before a retry by hand included.
    async fn attempts(
        &self,
        organization: &OrganizationId,
        ids: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, Vec<Attempt>>>;
    /// The latest deliveries of several endpoints of the organization, newest first, at most `most` each.
    async fn latest_deliveries(
        &self,
        organization: &OrganizationId,
        endpoints: &[EndpointId],
        status: Option<Status>,
        most: usize,
    ) -> Result<HashMap<EndpointId, Vec<Delivery>>>;
    /// Deliveries of the organization, newest first.
    async fn deliveries(
        &self,
        organization: &OrganizationId,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Page<Delivery>>;
}

/// How deliveries went, a minute at a time.
#[async_trait]
pub trait Tallies: Send + Sync {
    /// How it went in each scope of the organization, over the minutes that `from` and `to` lie in and those
    /// between.
    async fn statistics(
        &self,
        organization: &OrganizationId,
        scopes: &[Scope],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<HashMap<Scope, Statistics>>;
    /// Keeps what was counted in minutes that were over `before`; answers how many, `limit` at most.
    async fn keep_tallies(&self, before: Timestamp, limit: usize) -> Result<usize>;
    /// Removes the oldest minute, if it was over `before`; answers `limit` then, and else 0.
    async fn purge_tallies(&self, before: Timestamp, limit: usize) -> Result<usize>;
}
