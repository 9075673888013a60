//! Events and deliveries, as callers read them. Their ids lead with time, so that id order is the
//! order of every list and a cursor is one comparison.

use std::collections::HashMap;

use async_trait::async_trait;
use hookseal_core::delivery::{Attempt, Delivery};
use hookseal_core::error::{Error, Result};
use hookseal_core::event::EventWithDeliveries;
use hookseal_core::id::{DeliveryId, EventId, OrganizationId, floor_id};
use hookseal_core::page::{Page, PageRequest};
use hookseal_core::ports::{Archive, DeliveryFilter, EventFilter};
use hookseal_core::time::Timestamp;
use hookseal_entity::{delivery, delivery_attempt, event};
use sea_orm::{
    ColumnTrait, DatabaseConnection, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect,
};

use super::{SqlStore, rows, unavailable};

#[async_trait]
impl Archive for SqlStore {
    async fn event(
        &self,
        organization: &OrganizationId,
        id: &EventId,
    ) -> Result<Option<EventWithDeliveries>> {
        let (db, organization, id) = (self.readers(), organization.to_string(), id.to_string());
        self.run(async move {
            let row = event::Entity::find_by_id(id)
                .filter(event::Column::OrganizationId.eq(organization))
                .one(&db)
                .await
                .map_err(unavailable)?;
            Ok(with_deliveries(&db, row.into_iter().collect()).await?.pop())
        })
        .await
    }

    async fn idempotent(
        &self,
        organization: &OrganizationId,
        key: &str,
    ) -> Result<Option<(EventId, String)>> {
        let (db, organization, key) = (self.readers(), organization.to_string(), key.to_owned());
        self.run(async move {
            let row = event::Entity::find()
                .filter(event::Column::OrganizationId.eq(organization))
                .filter(event::Column::IdempotencyKey.eq(key))
                .one(&db)
                .await
                .map_err(unavailable)?;
            Ok(row.map(|row| (EventId::from_row(row.id), row.fingerprint.unwrap_or_default())))
        })
        .await
    }

    async fn events(
        &self,
        organization: &OrganizationId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<EventWithDeliveries>> {
        use event::Column::{EventType, Id, OrganizationId};
        let (db, organization) = (self.readers(), organization.to_string());
        let (filter, page) = (filter.clone(), page.clone());
        self.run(async move {
            let mut query = event::Entity::find().filter(OrganizationId.eq(&organization));
            if let Some(cursor) = &page.starting_after {
                let last = event::Entity::find_by_id(cursor)
                    .filter(OrganizationId.eq(&organization))
                    .one(&db)
                    .await
                    .map_err(unavailable)?;
                last.ok_or(Error::UnknownCursor)?;
                query = query.filter(Id.lt(cursor));
            }
            if let Some(name) = filter.event_type {
                query = query.filter(EventType.eq(name));
            }
            if let Some(from) = filter.created_from {
                query = query.filter(Id.gte(floor_id("evt_", from)));
            }
            if let Some(to) = filter.created_to {
                let next = Timestamp::from_ms(to.as_ms() + 1);
                query = query.filter(Id.lt(floor_id("evt_", next)));
            }
            let rows = query
                .order_by(Id, Order::Desc)
                .limit(page.limit as u64 + 1)
                .all(&db)
                .await
                .map_err(unavailable)?;
            let read = Page::from_read(rows, page.limit);
            Ok(Page { items: with_deliveries(&db, read.items).await?, has_more: read.has_more })
        })
        .await
    }

    async fn delivery(
        &self,
        organization: &OrganizationId,
        id: &DeliveryId,
    ) -> Result<Option<Delivery>> {
        let (db, organization, id) = (self.readers(), organization.to_string(), id.to_string());
        self.run(async move {
            let row = delivery::Entity::find_by_id(id)
                .filter(delivery::Column::OrganizationId.eq(organization))
                .one(&db)
                .await
                .map_err(unavailable)?;
            row.map(rows::delivery).transpose()
        })
        .await
    }

    async fn attempts(
        &self,
        organization: &OrganizationId,
        id: &DeliveryId,
    ) -> Result<Option<Vec<Attempt>>> {
        use delivery_attempt::Column::{DeliveryId, Id};
        let (db, organization, id) = (self.readers(), organization.to_string(), id.to_string());
        self.run(async move {
            let row = delivery::Entity::find_by_id(&id)
                .filter(delivery::Column::OrganizationId.eq(organization))
                .one(&db)
                .await
                .map_err(unavailable)?;
            let Some(row) = row else { return Ok(None) };
            let replaced = delivery_attempt::Entity::find()
                .filter(DeliveryId.eq(id))
                .order_by(Id, Order::Asc)
                .all(&db)
                .await
                .map_err(unavailable)?;
            let mut attempts: Vec<Attempt> =
                replaced.into_iter().map(rows::attempt).collect::<Result<_>>()?;
            attempts.extend(rows::delivery(row)?.progress.last_attempt);
            // One that was replaced between the two reads would stand twice.
            attempts.dedup();
            Ok(Some(attempts))
        })
        .await
    }

    async fn deliveries(
        &self,
        organization: &OrganizationId,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Page<Delivery>> {
        use delivery::Column::{EndpointId, EventId, Id, OrganizationId, Status};
        let (db, organization) = (self.readers(), organization.to_string());
        let (filter, page) = (filter.clone(), page.clone());
        self.run(async move {
            let mut query = delivery::Entity::find().filter(OrganizationId.eq(&organization));
            if let Some(cursor) = &page.starting_after {
                let last = delivery::Entity::find_by_id(cursor)
                    .filter(OrganizationId.eq(&organization))
                    .one(&db)
                    .await
                    .map_err(unavailable)?;
                last.ok_or(Error::UnknownCursor)?;
                query = query.filter(Id.lt(cursor));
            }
            if let Some(status) = filter.status {
                query = query.filter(Status.eq(status.as_str()));
            }
            if let Some(endpoint) = filter.endpoint_id {
                query = query.filter(EndpointId.eq(endpoint.as_str()));
            }
            if let Some(event) = filter.event_id {
                query = query.filter(EventId.eq(event.as_str()));
            }
            let rows = query
                .order_by(Id, Order::Desc)
                .limit(page.limit as u64 + 1)
                .all(&db)
                .await
                .map_err(unavailable)?;
            let items: Result<_> = rows.into_iter().map(rows::delivery).collect();
            Ok(Page::from_read(items?, page.limit))
        })
        .await
    }
}

/// Joins events with their deliveries, oldest delivery first, in one further query.
async fn with_deliveries(
    db: &DatabaseConnection,
    events: Vec<event::Model>,
) -> Result<Vec<EventWithDeliveries>> {
    let mut by_event: HashMap<String, Vec<Delivery>> = HashMap::new();
    let deliveries = delivery::Entity::find()
        .filter(delivery::Column::EventId.is_in(events.iter().map(|row| row.id.as_str())))
        .order_by(delivery::Column::Id, Order::Asc)
        .all(db)
        .await
        .map_err(unavailable)?;
    for row in deliveries {
        by_event.entry(row.event_id.clone()).or_default().push(rows::delivery(row)?);
    }
    let joined = events.into_iter().map(|row| EventWithDeliveries {
        deliveries: by_event.remove(&row.id).unwrap_or_default(),
        event: rows::event(row),
    });
    Ok(joined.collect())
}
