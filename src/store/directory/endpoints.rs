//! Endpoints, and an organization's audience.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use hookseal_core::audit::AuditEntry;
use hookseal_core::endpoint::Endpoint;
use hookseal_core::error::{Conflict, Error, Result, Thing};
use hookseal_core::feed::EndpointChange;
use hookseal_core::id::{EndpointId, OrganizationId};
use hookseal_core::key::EncryptionKey;
use hookseal_core::page::{Page, PageRequest};
use hookseal_core::ports::{
    Audience, Change, Destination, EndpointFilter, Endpoints, Idempotency, Inserted, Member,
};
use hookseal_entity::{encryption_key, endpoint, organization};
use sea_orm::{
    ActiveModelTrait, ActiveValue::NotSet, ColumnTrait, DatabaseTransaction, EntityTrait,
    IntoActiveModel, Order, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};

use super::{
    endpoint_of, endpoints_of, older_than, organizations, read_limit, record, touch_audience,
};
use crate::store::news::News;
use crate::store::{Failure, SqlStore, deletion, keyring, rows};

#[async_trait]
impl Endpoints for SqlStore {
    async fn insert_endpoint(
        &self,
        new: Destination,
        idempotency: Option<Idempotency>,
        most: usize,
        entry: AuditEntry,
    ) -> Result<Inserted> {
        let (db, row) = (self.writer(), rows::endpoint_row(&new, idempotency.as_ref()));
        let herald = self.herald.clone();
        self.run(async move {
            let tx = db.begin().await?;
            // Also serializes endpoints of one organization, so that neither key nor quota is
            // passed by two at once.
            if !touch_audience(&tx, &row.organization_id).await? {
                return Err(Error::NotFound(Thing::Organization).into());
            }
            if let Some(first) = first_under(&tx, &row).await? {
                let fingerprint = first.fingerprint.clone().unwrap_or_default();
                let first = Box::new(rows::destination(first)?);
                return Ok(Inserted::Repeated { first, fingerprint });
            }
            if endpoints_of(&row.organization_id).count(&tx).await? >= most as u64 {
                return Err(Error::Conflict(Conflict::TooManyEndpoints).into());
            }
            keyring::hold_current_key(&tx, &row.signing_secret).await?;
            endpoint::Entity::insert(row.into_active_model()).exec_without_returning(&tx).await?;
            record(&tx, &entry).await?;
            News::of_endpoint(EndpointChange::Created, new.endpoint).commit(tx, &herald).await?;
            Ok(Inserted::New)
        })
        .await
    }

    async fn endpoint(
        &self,
        organization: &OrganizationId,
        id: &EndpointId,
    ) -> Result<Option<Endpoint>> {
        let (db, organization, id) = (self.readers(), organization.to_string(), id.to_string());
        self.run(async move {
            let row = endpoint_of(&organization, &id).one(&db).await?;
            Ok(row.map(rows::endpoint).transpose()?)
        })
        .await
    }

    async fn endpoints_by_id(
        &self,
        organization: &OrganizationId,
        ids: &[EndpointId],
    ) -> Result<Vec<Endpoint>> {
        let (db, organization) = (self.readers(), organization.to_string());
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        self.run(async move {
            let rows = endpoints_of(&organization)
                .filter(endpoint::Column::Id.is_in(ids))
                .all(&db)
                .await?;
            Ok(rows.into_iter().map(rows::endpoint).collect::<Result<_>>()?)
        })
        .await
    }

    async fn endpoints(
        &self,
        organization: &OrganizationId,
        filter: &EndpointFilter,
        page: &PageRequest,
    ) -> Result<Page<Endpoint>> {
        use endpoint::Column::{CreatedAtMs, Id, OrganizationId};
        let (db, organization) = (self.readers(), organization.to_string());
        let (filter, page) = (filter.clone(), page.clone());
        self.run(async move {
            let mut query = listed_endpoints(&organization, &filter);
            if let Some(cursor) = &page.starting_after {
                // One that was deleted since the page before still tells where that ended.
                let last = endpoint::Entity::find_by_id(cursor)
                    .filter(OrganizationId.eq(&organization))
                    .one(&db)
                    .await?
                    .ok_or(Error::UnknownCursor)?;
                query = query.filter(older_than(CreatedAtMs, Id, last.created_at_ms, cursor));
            }
            let rows = query.limit(read_limit(&page)).all(&db).await?;
            let items: Result<_> = rows.into_iter().map(rows::endpoint).collect();
            Ok(Page::from_read(items?, page.limit))
        })
        .await
    }

    async fn change_endpoint(
        &self,
        organization: &OrganizationId,
        id: &EndpointId,
        change: Change<Destination>,
        entry: AuditEntry,
    ) -> Result<Option<Endpoint>> {
        let (db, organization, endpoint) = (self.writer(), organization.to_string(), id.clone());
        let (dispatch, herald) = (self.dispatch.clone(), self.herald.clone());
        self.run(async move {
            let tx = db.begin().await?;
            // Also serializes changes of one organization, so that none overwrites another.
            if !touch_audience(&tx, &organization).await? {
                return Ok(None);
            }
            let row = endpoint_of(&organization, endpoint.as_str()).one(&tx).await?;
            let Some(row) = row else { return Ok(None) };
            let idempotency = row.idempotency_key.clone().zip(row.fingerprint.clone());
            let idempotency =
                idempotency.map(|(key, fingerprint)| Idempotency { key, fingerprint });
            let found = rows::destination(row)?;
            let (before, locked) = (found.endpoint.clone(), found.locked_secret.clone());
            let changed = change(found)?;
            let what = EndpointChange::between(&before, &changed.endpoint);
            let row = rows::endpoint_row(&changed, idempotency.as_ref()).into_active_model();
            let mut row = row.reset_all();
            if changed.locked_secret == locked {
                // It may be encrypted anew beside this, which locks nothing but the row.
                (row.signing_secret, row.previous_signing_secret) = (NotSet, NotSet);
            } else {
                let previous = changed.locked_previous_secret.as_ref();
                for locked in std::iter::once(&changed.locked_secret).chain(previous) {
                    keyring::hold_current_key(&tx, locked).await?;
                }
            }
            endpoint::Entity::update(row).exec(&tx).await?;
            record(&tx, &entry).await?;
            let news = News::of_endpoint(what, changed.endpoint.clone());
            let committed = news.commit(tx, &herald).await;
            // Told here, so that it is told even if the caller is gone, or if the commit stands
            // though its acknowledgement was lost.
            dispatch.reconfigured(&endpoint);
            committed?;
            Ok(Some(changed.endpoint))
        })
        .await
    }

    async fn delete_endpoint(
        &self,
        organization: &OrganizationId,
        id: &EndpointId,
        entry: AuditEntry,
    ) -> Result<bool> {
        let (db, organization, id) = (self.writer(), organization.to_string(), id.clone());
        let (dispatch, herald) = (self.dispatch.clone(), self.herald.clone());
        self.run_long(async move {
            let tx = db.begin().await?;
            if !touch_audience(&tx, &organization).await? {
                return Ok(false);
            }
            let row = endpoint_of(&organization, id.as_str()).one(&tx).await?;
            let Some(row) = row else { return Ok(false) };
            let now = entry.created_at;
            deletion::erase_endpoints(&tx, &[id.to_string()], now).await?;
            record(&tx, &entry).await?;
            let news = News::of_endpoint(EndpointChange::Deleted, rows::endpoint(row)?);
            let committed = news.commit(tx, &herald).await;
            dispatch.reconfigured(&id);
            committed?;
            if let Err(failure) = deletion::clear_endpoint(&db, &herald, id.as_str(), now).await {
                // It is deleted; the janitor does the rest.
                let error = Error::from(failure);
                tracing::warn!(endpoint = %id, error = &error as &dyn std::error::Error, "not cleared yet");
            }
            Ok(true)
        })
        .await
    }

    async fn audience(&self, organization: &OrganizationId) -> Result<Option<Audience>> {
        let (db, organization) = (self.readers(), organization.to_string());
        self.run(async move {
            // The version is read first: a change in between leaves an older version than the
            // rows, and the accept transaction then asks for another round.
            let found = organizations().filter(organization::Column::Id.eq(&organization));
            let Some(found) = found.one(&db).await? else { return Ok(None) };
            let endpoints = endpoints_of(&organization)
                .filter(endpoint::Column::Enabled.eq(true))
                .order_by(endpoint::Column::CreatedAtMs, Order::Asc)
                .order_by(endpoint::Column::Id, Order::Asc)
                .all(&db)
                .await?;
            let ids = endpoints.iter().map(|row| row.id.as_str());
            let keys = encryption_key::Entity::find()
                .filter(encryption_key::Column::EndpointId.is_in(ids))
                .filter(encryption_key::Column::IsActive.eq(true))
                .all(&db)
                .await?;
            let mut keys: HashMap<String, Arc<EncryptionKey>> = keys
                .into_iter()
                .map(|row| Ok((row.endpoint_id.clone(), Arc::new(rows::key(row)?))))
                .collect::<Result<_>>()?;
            let members = endpoints
                .into_iter()
                .map(|row| {
                    let key = keys.remove(&row.id);
                    Ok(Member { endpoint: Arc::new(rows::endpoint(row)?), key })
                })
                .collect::<Result<_>>()?;
            Ok(Some(Audience {
                version: found.audience_version,
                frozen: found.frozen_at_ms.is_some(),
                members,
            }))
        })
        .await
    }

    async fn destination(&self, id: &EndpointId) -> Result<Option<Destination>> {
        let (db, id) = (self.readers(), id.to_string());
        self.run(async move {
            let row = endpoint::Entity::find_by_id(id)
                .filter(endpoint::Column::DeletedAtMs.is_null())
                .one(&db)
                .await?;
            Ok(row.map(rows::destination).transpose()?)
        })
        .await
    }
}

/// Endpoints of a list, newest first.
pub(in crate::store) fn listed_endpoints(
    organization: &str,
    filter: &EndpointFilter,
) -> Select<endpoint::Entity> {
    use endpoint::Column::{CreatedAtMs, Enabled, Id};
    let mut query = endpoints_of(organization);
    if let Some(enabled) = filter.enabled {
        query = query.filter(Enabled.eq(enabled));
    }
    query.order_by(CreatedAtMs, Order::Desc).order_by(Id, Order::Desc)
}

/// The news that an endpoint was written, or one of its keys.
pub(super) async fn updated(
    tx: &DatabaseTransaction,
    organization: &str,
    id: &str,
) -> Result<News, Failure> {
    Ok(match endpoint_of(organization, id).one(tx).await? {
        None => News::default(),
        Some(row) => News::of_endpoint(EndpointChange::Updated, rows::endpoint(row)?),
    })
}

/// The endpoint that the idempotency key of `row` stands for already.
async fn first_under(
    tx: &DatabaseTransaction,
    row: &endpoint::Model,
) -> Result<Option<endpoint::Model>, Failure> {
    let Some(key) = &row.idempotency_key else { return Ok(None) };
    let first = endpoints_of(&row.organization_id)
        .filter(endpoint::Column::IdempotencyKey.eq(key))
        .one(tx)
        .await?;
    Ok(first)
}
