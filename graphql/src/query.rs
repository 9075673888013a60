//! What can be asked for. Where an organization is named, the platform works in it; everybody else works
//! in his own.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, Result};
use hookseal_core::id::{DeliveryId, EndpointId, EventId, PrivacyRequestId};
use hookseal_core::ports::{AuditFilter, DeliveryFilter, EndpointFilter, EventFilter};

use crate::asking::{admin, caller, intake, platform};
use crate::cluster::Cluster;
use crate::instant::{DateTime, instant};
use crate::objects::{
    ApiKey, Attempt, AuditLogEntry, Delivery, DeliveryStatus, EncryptionKey, Endpoint, Event,
    Organization, PrivacyRequest,
};
use crate::paging::{connection, page, several};
use crate::refusal::refused;

/// Reads.
#[derive(Debug)]
pub struct Query;

#[Object]
#[allow(clippy::too_many_arguments, reason = "each is an argument of a field")]
impl Query {
    /// One endpoint.
    async fn endpoint(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Endpoint> {
        let id = EndpointId::parse("id", &id).map_err(refused)?;
        let found = admin(context)?.endpoint(&caller(context, organization_id)?, &id).await;
        found.map(Endpoint).map_err(refused)
    }

    /// Endpoints, newest first.
    #[graphql(complexity = "several(first, 10) * child_complexity")]
    async fn endpoints(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only enabled, or only disabled ones.")] enabled: Option<bool>,
        #[graphql(desc = "How many, 1 to 100; 10 when left out.")] first: Option<i32>,
        #[graphql(desc = "Cursor of the last item of the page before.")] after: Option<String>,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Connection<String, Endpoint>> {
        let caller = caller(context, organization_id)?;
        let (page, filter) = (page(first, after)?, EndpointFilter { enabled });
        let found = admin(context)?.endpoints(&caller, &filter, &page).await.map_err(refused)?;
        Ok(connection(found, |endpoint| endpoint.id.to_string(), Endpoint))
    }

    /// Encryption keys of an endpoint, by id; an unknown endpoint has none.
    #[graphql(complexity = "several(first, 10) * child_complexity")]
    async fn encryption_keys(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Of this endpoint.")] endpoint_id: ID,
        #[graphql(desc = "Only active, or only inactive ones.")] is_active: Option<bool>,
        #[graphql(desc = "How many, 1 to 100; 10 when left out.")] first: Option<i32>,
        #[graphql(desc = "Cursor of the last item of the page before.")] after: Option<String>,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Connection<String, EncryptionKey>> {
        let caller = caller(context, organization_id)?;
        let page = page(first, after)?;
        let id = EndpointId::parse("endpointId", &endpoint_id).map_err(refused)?;
        let found = admin(context)?.keys(&caller, &id, is_active, &page).await.map_err(refused)?;
        Ok(connection(found, |key| key.id.to_string(), EncryptionKey))
    }

    /// One event with its deliveries.
    async fn event(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Event> {
        let id = EventId::parse("id", &id).map_err(refused)?;
        let found = admin(context)?.event(&caller(context, organization_id)?, &id).await;
        found.map(Event::read).map_err(refused)
    }

    /// Events, newest first.
    #[graphql(complexity = "several(first, 10) * child_complexity")]
    async fn events(
        &self,
        context: &Context<'_>,
        #[graphql(name = "type", desc = "Only this type.")] event_type: Option<String>,
        #[graphql(desc = "Accepted at or after, RFC 3339 in UTC.")] created_from: Option<DateTime>,
        #[graphql(desc = "Accepted at or before, RFC 3339 in UTC.")] created_to: Option<DateTime>,
        #[graphql(desc = "How many, 1 to 100; 10 when left out.")] first: Option<i32>,
        #[graphql(desc = "Cursor of the last item of the page before.")] after: Option<String>,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Connection<String, Event>> {
        let caller = caller(context, organization_id)?;
        let filter = EventFilter {
            event_type,
            created_from: instant("createdFrom", created_from)?,
            created_to: instant("createdTo", created_to)?,
        };
        let page = page(first, after)?;
        let found = admin(context)?.events(&caller, &filter, &page).await.map_err(refused)?;
        Ok(connection(found, |found| found.event.id.to_string(), Event::read))
    }

    /// One delivery.
    async fn delivery(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Delivery> {
        let id = DeliveryId::parse("id", &id).map_err(refused)?;
        let found = admin(context)?.delivery(&caller(context, organization_id)?, &id).await;
        found.map(Delivery).map_err(refused)
    }

    /// Deliveries, newest first.
    #[graphql(complexity = "several(first, 10) * child_complexity")]
    async fn deliveries(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only this status.")] status: Option<DeliveryStatus>,
        #[graphql(desc = "Only to this endpoint.")] endpoint_id: Option<ID>,
        #[graphql(desc = "Only of this event.")] event_id: Option<ID>,
        #[graphql(desc = "Only of events of this type; not beside status or endpointId.")]
        event_type: Option<String>,
        #[graphql(desc = "Accepted at or after, RFC 3339 in UTC.")] created_from: Option<DateTime>,
        #[graphql(desc = "Accepted at or before, RFC 3339 in UTC.")] created_to: Option<DateTime>,
        #[graphql(desc = "How many, 1 to 100; 10 when left out.")] first: Option<i32>,
        #[graphql(desc = "Cursor of the last item of the page before.")] after: Option<String>,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Connection<String, Delivery>> {
        let caller = caller(context, organization_id)?;
        let endpoint = |id: ID| EndpointId::parse("endpointId", &id).map_err(refused);
        let event = |id: ID| EventId::parse("eventId", &id).map_err(refused);
        let filter = DeliveryFilter {
            status: status.map(Into::into),
            endpoint_id: endpoint_id.map(endpoint).transpose()?,
            event_id: event_id.map(event).transpose()?,
            event_type,
            created_from: instant("createdFrom", created_from)?,
            created_to: instant("createdTo", created_to)?,
        };
        let page = page(first, after)?;
        let found = admin(context)?.deliveries(&caller, &filter, &page).await.map_err(refused)?;
        Ok(connection(found, |delivery| delivery.id.to_string(), Delivery))
    }

    /// All attempts of a delivery, oldest first.
    async fn attempts(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Of this delivery.")] delivery_id: ID,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Vec<Attempt>> {
        let id = DeliveryId::parse("deliveryId", &delivery_id).map_err(refused)?;
        let found = admin(context)?.attempts(&caller(context, organization_id)?, &id).await;
        Ok(found.map_err(refused)?.into_iter().map(Attempt).collect())
    }

    /// Who changed what, newest first.
    #[graphql(complexity = "several(first, 10) * child_complexity")]
    async fn audit_log(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Done at or after, RFC 3339 in UTC.")] created_from: Option<DateTime>,
        #[graphql(desc = "Done at or before, RFC 3339 in UTC.")] created_to: Option<DateTime>,
        #[graphql(desc = "How many, 1 to 100; 10 when left out.")] first: Option<i32>,
        #[graphql(desc = "Cursor of the last item of the page before.")] after: Option<String>,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Connection<String, AuditLogEntry>> {
        let caller = caller(context, organization_id)?;
        let filter = AuditFilter {
            created_from: instant("createdFrom", created_from)?,
            created_to: instant("createdTo", created_to)?,
        };
        let page = page(first, after)?;
        let found = admin(context)?.audit_log(&caller, &filter, &page).await.map_err(refused)?;
        Ok(connection(found, |entry| entry.id.to_string(), AuditLogEntry))
    }

    /// API keys, by id; for admins' sessions and the platform.
    #[graphql(complexity = "several(first, 10) * child_complexity")]
    async fn api_keys(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "How many, 1 to 100; 10 when left out.")] first: Option<i32>,
        #[graphql(desc = "Cursor of the last item of the page before.")] after: Option<String>,
        #[graphql(desc = "Whose; for the platform only.")] organization_id: Option<ID>,
    ) -> Result<Connection<String, ApiKey>> {
        let (caller, page) = (caller(context, organization_id)?, page(first, after)?);
        let found = admin(context)?.api_keys(&caller, &page).await.map_err(refused)?;
        Ok(connection(found, |key| key.id.to_string(), ApiKey))
    }

    /// One organization: the caller's own, or for the platform any.
    async fn organization(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its id; for the platform only.")] id: Option<ID>,
    ) -> Result<Organization> {
        let caller = caller(context, id)?;
        admin(context)?.own_organization(&caller).await.map(Organization).map_err(refused)
    }

    /// The processes that serve, and what each of them has; for the platform.
    async fn cluster(&self, context: &Context<'_>) -> Result<Cluster> {
        admin(context)?.cluster(context.data()?).await.map(Into::into).map_err(refused)
    }

    /// Organizations, newest first; for the platform.
    #[graphql(complexity = "several(first, 10) * child_complexity")]
    async fn organizations(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "How many, 1 to 100; 10 when left out.")] first: Option<i32>,
        #[graphql(desc = "Cursor of the last item of the page before.")] after: Option<String>,
    ) -> Result<Connection<String, Organization>> {
        platform(context)?;
        let page = page(first, after)?;
        let found = admin(context)?.organizations(&page).await.map_err(refused)?;
        Ok(connection(found, |organization| organization.id.to_string(), Organization))
    }

    /// One withdrawal; for the platform.
    async fn privacy_request(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Result<PrivacyRequest> {
        platform(context)?;
        let id = PrivacyRequestId::parse("id", &id).map_err(refused)?;
        intake(context)?.privacy_request(&id).await.map(PrivacyRequest).map_err(refused)
    }
}
