//! Events and deliveries, as callers read them. Their ids lead with time, so that id order is the
//! order of every list and a cursor is one comparison.

use std::collections::HashMap;

use async_trait::async_trait;
use hookseal_core::delivery::{Attempt, Delivery, Status};
use hookseal_core::error::{Error, Result};
use hookseal_core::event::EventWithDeliveries;
use hookseal_core::id::{DeliveryId, EndpointId, EventId, OrganizationId, floor_id};
use hookseal_core::page::{Page, PageRequest};
use hookseal_core::ports::{Archive, DeliveryFilter, EventFilter};
use hookseal_core::time::Timestamp;
use hookseal_entity::{delivery, delivery_attempt, endpoint, event};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, JoinType,
    Order, QueryFilter, QueryOrder, QuerySelect, RelationTrait, Select, Statement,
};

use super::{Failure, SqlStore, rows};

#[async_trait]
impl Archive for SqlStore {
    async fn event(
        &self,
        organization: &OrganizationId,
        id: &EventId,
    ) -> Result<Option<EventWithDeliveries>> {
        Ok(self.events_by_id(organization, std::slice::from_ref(id)).await?.pop())
    }

    async fn events_by_id(
        &self,
        organization: &OrganizationId,
        ids: &[EventId],
    ) -> Result<Vec<EventWithDeliveries>> {
        let (db, organization) = (self.readers(), organization.to_string());
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        self.run(async move {
            let rows = event::Entity::find()
                .filter(event::Column::Id.is_in(ids))
                .filter(event::Column::OrganizationId.eq(&organization))
                .all(&db)
                .await?;
            with_deliveries(&db, &organization, rows).await
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
                .await?;
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
        use event::Column::Id;
        let (db, organization) = (self.readers(), organization.to_string());
        let (filter, page) = (filter.clone(), page.clone());
        self.run(async move {
            let mut query = listed_events(&organization, &filter);
            if let Some(cursor) = &page.starting_after {
                let last = event::Entity::find_by_id(cursor)
                    .filter(event::Column::OrganizationId.eq(&organization))
                    .one(&db)
                    .await?;
                last.ok_or(Error::UnknownCursor)?;
                query = query.filter(Id.lt(cursor));
            }
            let rows = query.limit(page.limit as u64 + 1).all(&db).await?;
            let read = Page::from_read(rows, page.limit);
            Ok(Page {
                items: with_deliveries(&db, &organization, read.items).await?,
                has_more: read.has_more,
            })
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
                .await?;
            Ok(row.map(rows::delivery).transpose()?)
        })
        .await
    }

    async fn attempts(
        &self,
        organization: &OrganizationId,
        ids: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, Vec<Attempt>>> {
        use delivery_attempt::Column::{DeliveryId as Of, Id};
        let (db, organization) = (self.readers(), organization.to_string());
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        self.run(async move {
            let deliveries = delivery::Entity::find()
                .filter(delivery::Column::Id.is_in(ids))
                .filter(delivery::Column::OrganizationId.eq(organization))
                .all(&db)
                .await?;
            let replaced = delivery_attempt::Entity::find()
                .filter(Of.is_in(deliveries.iter().map(|row| row.id.as_str())))
                .order_by(Id, Order::Asc)
                .all(&db)
                .await?;
            let mut attempts: HashMap<DeliveryId, Vec<Attempt>> = HashMap::new();
            for row in replaced {
                let of = DeliveryId::from_row(row.delivery_id.clone());
                attempts.entry(of).or_default().push(rows::attempt(row)?);
            }
            for row in deliveries {
                let delivery = rows::delivery(row)?;
                let attempts = attempts.entry(delivery.id).or_default();
                attempts.extend(delivery.progress.last_attempt);
                // One that was replaced between the two reads would stand twice.
                attempts.dedup();
            }
            Ok(attempts)
        })
        .await
    }

    async fn latest_deliveries(
        &self,
        organization: &OrganizationId,
        endpoints: &[EndpointId],
        status: Option<Status>,
        most: usize,
    ) -> Result<HashMap<EndpointId, Vec<Delivery>>> {
        let (db, organization) = (self.readers(), organization.to_string());
        let endpoints: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
        self.run(async move {
            if endpoints.is_empty() {
                return Ok(HashMap::new());
            }
            let backend = db.get_database_backend();
            let statement = latest_statement(backend, &organization, &endpoints, status, most);
            let ids = db.query_all_raw(statement).await?;
            let ids: Vec<String> =
                ids.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
            let rows = delivery::Entity::find()
                .filter(delivery::Column::Id.is_in(ids))
                .order_by(delivery::Column::Id, Order::Desc)
                .all(&db)
                .await?;
            let mut latest: HashMap<EndpointId, Vec<Delivery>> = HashMap::new();
            for row in rows {
                let delivery = rows::delivery(row)?;
                latest.entry(delivery.endpoint_id.clone()).or_default().push(delivery);
            }
            Ok(latest)
        })
        .await
    }

    async fn deliveries(
        &self,
        organization: &OrganizationId,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Page<Delivery>> {
        use delivery::Column::OrganizationId;
        let (db, organization) = (self.readers(), organization.to_string());
        let (filter, page) = (filter.clone(), page.clone());
        self.run(async move {
            let after = match &page.starting_after {
                None => None,
                Some(cursor) => {
                    let last = delivery::Entity::find_by_id(cursor)
                        .filter(OrganizationId.eq(&organization))
                        .one(&db)
                        .await?;
                    Some(last.ok_or(Error::UnknownCursor)?)
                }
            };
            if let Some(endpoint) = &filter.endpoint_id {
                let owned = endpoint::Entity::find_by_id(endpoint.as_str())
                    .filter(endpoint::Column::OrganizationId.eq(&organization))
                    .one(&db)
                    .await?;
                if owned.is_none() {
                    return Ok(Page::from_read(Vec::new(), page.limit));
                }
            }
            let query = listed_deliveries(&organization, &filter, after.as_ref());
            let rows = query.limit(page.limit as u64 + 1).all(&db).await?;
            let items: Result<_> = rows.into_iter().map(rows::delivery).collect();
            Ok(Page::from_read(items?, page.limit))
        })
        .await
    }
}

/// Events of a list, newest first.
pub(super) fn listed_events(organization: &str, filter: &EventFilter) -> Select<event::Entity> {
    use event::Column::{EventType, Id, OrganizationId};
    let mut query = event::Entity::find()
        .filter(OrganizationId.eq(organization))
        .filter(created_within(Id, "evt_", filter.created_from, filter.created_to));
    if let Some(name) = &filter.event_type {
        query = query.filter(EventType.eq(name));
    }
    query.order_by(Id, Order::Desc)
}

/// Deliveries of a list after a cursor, newest first; an endpoint must be the organization's own. An index of
/// deliveries by their own id for each list would cost every delivery: where none leads there, they come in the order of
/// their events.
pub(super) fn listed_deliveries(
    organization: &str,
    filter: &DeliveryFilter,
    after: Option<&delivery::Model>,
) -> Select<delivery::Entity> {
    use delivery::Column::{EndpointId, EventId, Id, OrganizationId};
    let mut query = match filter.status {
        Some(status) => having_status(status),
        None => delivery::Entity::find(),
    };
    query = query.filter(OrganizationId.eq(organization)).filter(created_within(
        Id,
        "whd_",
        filter.created_from,
        filter.created_to,
    ));
    if let Some(endpoint) = &filter.endpoint_id {
        query = query.filter(EndpointId.eq(endpoint.as_str()));
    }
    if let Some(event) = &filter.event_id {
        query = query.filter(EventId.eq(event.as_str()));
    }
    if let Some(event_type) = &filter.event_type {
        let query = query
            .join(JoinType::InnerJoin, delivery::Relation::Event.def())
            .filter(event::Column::OrganizationId.eq(organization))
            .filter(event::Column::EventType.eq(event_type));
        return by_event(query, event::Column::Id, filter, after);
    }
    let kept = matches!(filter.status, None | Some(Status::Succeeded));
    if kept && filter.endpoint_id.is_none() && filter.event_id.is_none() {
        return by_event(query, EventId, filter, after);
    }
    if let Some(last) = after {
        query = query.filter(Id.lt(&last.id));
    }
    query.order_by(Id, Order::Desc)
}

/// Deliveries in the order of the events whose id is in `event`, newest first.
fn by_event(
    query: Select<delivery::Entity>,
    event: impl ColumnTrait,
    filter: &DeliveryFilter,
    after: Option<&delivery::Model>,
) -> Select<delivery::Entity> {
    use delivery::Column::Id;
    let mut query =
        query.filter(created_within(event, "evt_", filter.created_from, filter.created_to));
    if let Some(last) = after {
        let older = Condition::any()
            .add(event.lt(&last.event_id))
            .add(Condition::all().add(event.eq(&last.event_id)).add(Id.lt(&last.id)));
        // Where the index begins; `older` alone would be a filter over all that is newer.
        query = query.filter(event.lte(&last.event_id)).filter(older);
    }
    query.order_by(event, Order::Desc).order_by(Id, Order::Desc)
}

/// Deliveries of one status. The status stands in the text of the query, where the planner sees
/// which partial index serves it; those in flight are few, and a subquery keeps the planner from
/// walking all the others for them.
pub(super) fn having_status(status: Status) -> Select<delivery::Entity> {
    let literal = Expr::cust(format!("\"deliveries\".\"status\" = '{}'", status.as_str()));
    match status {
        Status::Pending | Status::Failed | Status::Succeeded => {
            delivery::Entity::find().filter(literal)
        }
        Status::Delivering => {
            let claimed = Expr::cust(format!(
                "\"deliveries\".\"id\" IN (WITH claimed AS MATERIALIZED (SELECT id FROM deliveries \
                 WHERE status = '{}' AND claim_expires_at_ms IS NOT NULL) SELECT id FROM claimed)",
                status.as_str()
            ));
            delivery::Entity::find().filter(claimed)
        }
    }
}

/// Ids of the latest deliveries of each endpoint.
pub(super) fn latest_statement(
    backend: DbBackend,
    organization: &str,
    endpoints: &[String],
    status: Option<Status>,
    most: usize,
) -> Statement {
    let status =
        status.map_or(String::new(), |status| format!("AND status = '{}'", status.as_str()));
    let parts = (2..endpoints.len() + 2).map(|parameter| {
        format!(
            "SELECT id FROM (SELECT id FROM deliveries WHERE endpoint_id = ${parameter} \
             AND organization_id = $1 {status} ORDER BY id DESC LIMIT {most}) AS latest"
        )
    });
    let sql = parts.collect::<Vec<_>>().join(" UNION ALL ");
    let endpoints = endpoints.iter().map(String::as_str);
    let values = std::iter::once(organization).chain(endpoints).map(|value| value.into());
    Statement::from_sql_and_values(backend, sql, values)
}

/// What was created within a span of time, both ends included, by ids that lead with it.
pub(super) fn created_within<C: ColumnTrait>(
    id: C,
    prefix: &str,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Condition {
    let next = to.map(|to| Timestamp::from_ms(to.as_ms() + 1));
    Condition::all()
        .add_option(from.map(|from| id.gte(floor_id(prefix, from))))
        .add_option(next.map(|next| id.lt(floor_id(prefix, next))))
}

/// Joins events with their deliveries, oldest delivery first, in one further query.
async fn with_deliveries(
    db: &DatabaseConnection,
    organization: &str,
    events: Vec<event::Model>,
) -> Result<Vec<EventWithDeliveries>, Failure> {
    let mut by_event: HashMap<String, Vec<Delivery>> = HashMap::new();
    let deliveries = delivery::Entity::find()
        .filter(delivery::Column::OrganizationId.eq(organization))
        .filter(delivery::Column::EventId.is_in(events.iter().map(|row| row.id.as_str())))
        .order_by(delivery::Column::Id, Order::Asc)
        .all(db)
        .await?;
    for row in deliveries {
        by_event.entry(row.event_id.clone()).or_default().push(rows::delivery(row)?);
    }
    let joined = events.into_iter().map(|row| EventWithDeliveries {
        deliveries: by_event.remove(&row.id).unwrap_or_default(),
        event: rows::event(row),
    });
    Ok(joined.collect())
}
