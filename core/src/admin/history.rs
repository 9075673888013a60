//! What happened, and what of it is sent again.

use std::collections::HashMap;

use serde_json::Map;

use crate::access::Caller;
use crate::audit::{Action, AuditEntry};
use crate::delivery::{Attempt, Delivery, RequeueRefusal, Status};
use crate::error::{Conflict, Error, Result, Thing};
use crate::event::EventWithDeliveries;
use crate::id::{DeliveryId, EndpointId, EventId};
use crate::page::{Page, PageRequest};
use crate::ports::{AuditFilter, DeliveryFilter, EventFilter, Requeue};

use super::Admin;

impl Admin {
    /// Sends a delivery again, on a fresh schedule that starts now (contract 2.7).
    ///
    /// # Errors
    /// [`Conflict::DeliveryInProgress`] and [`Conflict::PayloadExpired`].
    pub async fn retry(&self, caller: &Caller, id: &DeliveryId) -> Result<Delivery> {
        let what = Requeue::Delivery(id.clone());
        let requeued = self.requeue(caller, &what).await?.and_then(|mut one| one.pop());
        match requeued.ok_or(Error::NotFound(Thing::Delivery))? {
            Ok(delivery) => Ok(delivery),
            Err(RequeueRefusal::InProgress) => Err(Error::Conflict(Conflict::DeliveryInProgress)),
            Err(RequeueRefusal::PayloadGone) => Err(Error::Conflict(Conflict::PayloadExpired)),
        }
    }

    /// Sends every delivery of an event again that retry would accept; others are passed over
    /// (contract 2.8).
    ///
    /// # Errors
    /// [`Conflict::PayloadExpired`] when every payload is gone, [`Conflict::NothingToReplay`] when
    /// nothing could be requeued otherwise.
    pub async fn replay(&self, caller: &Caller, id: &EventId) -> Result<EventWithDeliveries> {
        let requeued = self.requeue(caller, &Requeue::Event(id.clone())).await?;
        let requeued = requeued.ok_or(Error::NotFound(Thing::Event))?;
        if requeued.iter().any(std::result::Result::is_ok) {
            return self.event(caller, id).await;
        }
        let gone = |refusal: &_| matches!(refusal, Err(RequeueRefusal::PayloadGone));
        if !requeued.is_empty() && requeued.iter().all(gone) {
            Err(Error::Conflict(Conflict::PayloadExpired))
        } else {
            Err(Error::Conflict(Conflict::NothingToReplay))
        }
    }

    async fn requeue(
        &self,
        caller: &Caller,
        what: &Requeue,
    ) -> Result<Option<Vec<Result<Delivery, RequeueRefusal>>>> {
        let organization = caller.writer()?;
        let (action, target) = match what {
            Requeue::Delivery(id) => (Action::DeliveryRetried, id.as_str()),
            Requeue::Event(id) => (Action::EventReplayed, id.as_str()),
        };
        let entry = self.entry_of(caller, organization, action, target, Map::new());
        self.parts.store.requeue(organization, what, &self.parts.schedule, entry).await
    }

    /// One event with its deliveries.
    pub async fn event(&self, caller: &Caller, id: &EventId) -> Result<EventWithDeliveries> {
        let found = self.parts.store.event(caller.reader()?, id).await?;
        found.ok_or(Error::NotFound(Thing::Event))
    }

    /// Events, newest first.
    pub async fn events(
        &self,
        caller: &Caller,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<EventWithDeliveries>> {
        let organization = caller.reader()?;
        if let Some(name) = &filter.event_type
            && self.parts.catalogue.get(name).is_none()
        {
            return Err(Error::invalid("type", self.parts.catalogue.one_of()));
        }
        self.parts.store.events(organization, filter, page).await
    }

    /// One delivery.
    pub async fn delivery(&self, caller: &Caller, id: &DeliveryId) -> Result<Delivery> {
        let found = self.parts.store.delivery(caller.reader()?, id).await?;
        found.ok_or(Error::NotFound(Thing::Delivery))
    }

    /// All attempts of a delivery, oldest first.
    pub async fn attempts(&self, caller: &Caller, id: &DeliveryId) -> Result<Vec<Attempt>> {
        let mut found = self.attempts_of(caller, std::slice::from_ref(id)).await?;
        found.remove(id).ok_or(Error::NotFound(Thing::Delivery))
    }

    /// The latest deliveries of several endpoints, newest first; unknown ones have none.
    pub async fn latest_deliveries(
        &self,
        caller: &Caller,
        endpoints: &[EndpointId],
        status: Option<Status>,
        most: usize,
    ) -> Result<HashMap<EndpointId, Vec<Delivery>>> {
        self.parts.store.latest_deliveries(caller.reader()?, endpoints, status, most).await
    }

    /// All attempts of several deliveries; unknown ones have none.
    pub async fn attempts_of(
        &self,
        caller: &Caller,
        ids: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, Vec<Attempt>>> {
        self.parts.store.attempts(caller.reader()?, ids).await
    }

    /// Several events with their deliveries; unknown ones are left out.
    pub async fn events_by_id(
        &self,
        caller: &Caller,
        ids: &[EventId],
    ) -> Result<Vec<EventWithDeliveries>> {
        self.parts.store.events_by_id(caller.reader()?, ids).await
    }

    /// Deliveries, newest first.
    pub async fn deliveries(
        &self,
        caller: &Caller,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Page<Delivery>> {
        let organization = caller.reader()?;
        if let Some(name) = &filter.event_type {
            if self.parts.catalogue.get(name).is_none() {
                return Err(Error::invalid("event_type", self.parts.catalogue.one_of()));
            }
            if filter.status.is_some() || filter.endpoint_id.is_some() {
                let expected = "no status or endpoint_id beside it";
                return Err(Error::invalid("event_type", expected));
            }
        }
        self.parts.store.deliveries(organization, filter, page).await
    }

    /// The audit log, newest first.
    pub async fn audit_log(
        &self,
        caller: &Caller,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditEntry>> {
        self.parts.store.audit_log(caller.reader()?, filter, page).await
    }
}
