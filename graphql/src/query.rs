//! What can be asked for.

use async_graphql::{Context, ID, Object, Result};
use hookseal_core::error::Error;
use hookseal_core::id::{DeliveryId, EndpointId, EventId};
use hookseal_core::ports::{DeliveryFilter, EndpointFilter, EventFilter};
use hookseal_core::time::Timestamp;

use crate::objects::{
    Delivery, DeliveryPage, DeliveryStatus, Endpoint, EndpointPage, Event, EventPage,
    admin_and_caller, page,
};
use crate::refusal::refused;

/// Reads of the caller's organization.
#[derive(Debug)]
pub struct Query;

#[Object]
impl Query {
    /// One endpoint.
    async fn endpoint(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Result<Endpoint> {
        let (admin, caller) = admin_and_caller(context)?;
        let id = EndpointId::parse("id", &id).map_err(refused)?;
        admin.endpoint(caller, &id).await.map(Endpoint).map_err(refused)
    }

    /// Endpoints, newest first.
    async fn endpoints(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only enabled, or only disabled ones.")] enabled: Option<bool>,
        #[graphql(desc = "How many, 1 to 100; 10 when left out.")] first: Option<i32>,
        #[graphql(desc = "Cursor of the last item of the page before.")] after: Option<String>,
    ) -> Result<EndpointPage> {
        let (admin, caller) = admin_and_caller(context)?;
        let (page, filter) = (page(first, after)?, EndpointFilter { enabled });
        admin.endpoints(caller, &filter, &page).await.map(Into::into).map_err(refused)
    }

    /// One event with its deliveries.
    async fn event(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Result<Event> {
        let (admin, caller) = admin_and_caller(context)?;
        let id = EventId::parse("id", &id).map_err(refused)?;
        admin.event(caller, &id).await.map(Event).map_err(refused)
    }

    /// Events, newest first.
    #[allow(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn events(
        &self,
        context: &Context<'_>,
        #[graphql(name = "type", desc = "Only this type.")] event_type: Option<String>,
        #[graphql(desc = "Accepted at or after, RFC 3339 in UTC.")] created_from: Option<String>,
        #[graphql(desc = "Accepted at or before, RFC 3339 in UTC.")] created_to: Option<String>,
        #[graphql(desc = "How many, 1 to 100; 10 when left out.")] first: Option<i32>,
        #[graphql(desc = "Cursor of the last item of the page before.")] after: Option<String>,
    ) -> Result<EventPage> {
        let (admin, caller) = admin_and_caller(context)?;
        let filter = EventFilter {
            event_type,
            created_from: instant("createdFrom", created_from)?,
            created_to: instant("createdTo", created_to)?,
        };
        let page = page(first, after)?;
        admin.events(caller, &filter, &page).await.map(Into::into).map_err(refused)
    }

    /// One delivery.
    async fn delivery(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Result<Delivery> {
        let (admin, caller) = admin_and_caller(context)?;
        let id = DeliveryId::parse("id", &id).map_err(refused)?;
        admin.delivery(caller, &id).await.map(Delivery).map_err(refused)
    }

    /// Deliveries, newest first.
    #[allow(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn deliveries(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only this status.")] status: Option<DeliveryStatus>,
        #[graphql(desc = "Only to this endpoint.")] endpoint_id: Option<ID>,
        #[graphql(desc = "Only of this event.")] event_id: Option<ID>,
        #[graphql(desc = "How many, 1 to 100; 10 when left out.")] first: Option<i32>,
        #[graphql(desc = "Cursor of the last item of the page before.")] after: Option<String>,
    ) -> Result<DeliveryPage> {
        let (admin, caller) = admin_and_caller(context)?;
        let endpoint = |id: ID| EndpointId::parse("endpointId", &id).map_err(refused);
        let event = |id: ID| EventId::parse("eventId", &id).map_err(refused);
        let filter = DeliveryFilter {
            status: status.map(Into::into),
            endpoint_id: endpoint_id.map(endpoint).transpose()?,
            event_id: event_id.map(event).transpose()?,
            ..DeliveryFilter::default()
        };
        let page = page(first, after)?;
        admin.deliveries(caller, &filter, &page).await.map(Into::into).map_err(refused)
    }
}

fn instant(field: &str, text: Option<String>) -> Result<Option<Timestamp>> {
    let rule = || refused(Error::invalid(field, "an RFC 3339 date-time that ends in Z"));
    text.map(|text| Timestamp::parse(&text).ok_or_else(rule)).transpose()
}
