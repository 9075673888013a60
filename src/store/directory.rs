//! Organizations, API keys, endpoints and encryption keys.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use hookseal_core::access::{ApiKey, Organization};
use hookseal_core::endpoint::Endpoint;
use hookseal_core::error::{Conflict, Error, Result, Thing};
use hookseal_core::id::{EndpointId, KeyId, OrganizationId};
use hookseal_core::key::EncryptionKey;
use hookseal_core::page::{Page, PageRequest};
use hookseal_core::ports::{Audience, Destination, Directory, EndpointFilter, Member};
use hookseal_core::time::Timestamp;
use hookseal_entity::{api_key, encryption_key, endpoint, organization};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, IntoActiveModel,
    Order, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::{SqlStore, begin_write, rows, unavailable};

/// What is created before `at`, and of one instant what has a smaller id: the rest of a list that
/// goes from new to old.
fn older_than<C: ColumnTrait>(created: C, id: C, at_ms: i64, cursor: &str) -> Condition {
    Condition::any()
        .add(created.lt(at_ms))
        .add(Condition::all().add(created.eq(at_ms)).add(id.lt(cursor)))
}

/// One more row than the page holds tells whether another page follows.
fn read_limit(page: &PageRequest) -> u64 {
    page.limit as u64 + 1
}

#[async_trait]
impl Directory for SqlStore {
    async fn insert_organization(&self, organization: &Organization) -> Result<()> {
        let db = self.writer();
        let row = organization::Model {
            id: organization.id.to_string(),
            name: organization.name.clone(),
            audience_version: 1,
            frozen_at_ms: organization.frozen_at.map(Timestamp::as_ms),
            created_at_ms: organization.created_at.as_ms(),
            updated_at_ms: organization.updated_at.as_ms(),
        };
        self.run(async move {
            let inserted = organization::Entity::insert(row.into_active_model())
                .on_conflict(OnConflict::column(organization::Column::Id).do_nothing().to_owned())
                .exec_without_returning(&db)
                .await
                .map_err(unavailable)?;
            if inserted == 0 {
                return Err(Error::Conflict(Conflict::OrganizationExists));
            }
            Ok(())
        })
        .await
    }

    async fn organization(&self, id: &OrganizationId) -> Result<Option<Organization>> {
        let (db, id) = (self.readers(), id.to_string());
        self.run(async move {
            let row = organization::Entity::find_by_id(id).one(&db).await.map_err(unavailable)?;
            Ok(row.map(rows::organization))
        })
        .await
    }

    async fn organizations(&self, page: &PageRequest) -> Result<Page<Organization>> {
        use organization::Column::{CreatedAtMs, Id};
        let (db, page) = (self.readers(), page.clone());
        self.run(async move {
            let mut query = organization::Entity::find();
            if let Some(cursor) = &page.starting_after {
                let last = organization::Entity::find_by_id(cursor).one(&db).await;
                let last = last.map_err(unavailable)?.ok_or(Error::UnknownCursor)?;
                query = query.filter(older_than(CreatedAtMs, Id, last.created_at_ms, cursor));
            }
            let rows = query
                .order_by(CreatedAtMs, Order::Desc)
                .order_by(Id, Order::Desc)
                .limit(read_limit(&page))
                .all(&db)
                .await
                .map_err(unavailable)?;
            Ok(Page::from_read(rows.into_iter().map(rows::organization).collect(), page.limit))
        })
        .await
    }

    async fn change_organization(
        &self,
        id: &OrganizationId,
        change: Box<dyn FnOnce(Organization) -> Organization + Send>,
    ) -> Result<Option<Organization>> {
        use organization::Column::{FrozenAtMs, Id, Name, UpdatedAtMs};
        let (db, id) = (self.writer(), id.to_string());
        self.run(async move {
            let tx = begin_write(&db).await.map_err(unavailable)?;
            if !touch_audience(&tx, &id).await? {
                return Ok(None);
            }
            let row = organization::Entity::find_by_id(&id).one(&tx).await.map_err(unavailable)?;
            let Some(row) = row else { return Ok(None) };
            let changed = change(rows::organization(row));
            organization::Entity::update_many()
                .col_expr(Name, Expr::value(changed.name.clone()))
                .col_expr(FrozenAtMs, Expr::value(changed.frozen_at.map(Timestamp::as_ms)))
                .col_expr(UpdatedAtMs, Expr::value(changed.updated_at.as_ms()))
                .filter(Id.eq(id))
                .exec(&tx)
                .await
                .map_err(unavailable)?;
            tx.commit().await.map_err(unavailable)?;
            Ok(Some(changed))
        })
        .await
    }

    async fn insert_api_key(&self, key: &ApiKey, hash: &str) -> Result<()> {
        let (db, row) = (self.writer(), rows::api_key_row(key, hash));
        self.run(async move {
            api_key::Entity::insert(row.into_active_model())
                .exec_without_returning(&db)
                .await
                .map_err(unavailable)?;
            Ok(())
        })
        .await
    }

    async fn api_key(&self, hash: &str) -> Result<Option<(ApiKey, bool)>> {
        let (db, hash) = (self.readers(), hash.to_owned());
        self.run(async move {
            let row = api_key::Entity::find()
                .filter(api_key::Column::KeyHash.eq(hash))
                .one(&db)
                .await
                .map_err(unavailable)?;
            let Some(row) = row else { return Ok(None) };
            let frozen = match &row.organization_id {
                None => false,
                Some(id) => organization::Entity::find_by_id(id)
                    .one(&db)
                    .await
                    .map_err(unavailable)?
                    .is_none_or(|found| found.frozen_at_ms.is_some()),
            };
            Ok(Some((rows::api_key(row)?, frozen)))
        })
        .await
    }

    async fn has_platform_key(&self) -> Result<bool> {
        let db = self.readers();
        self.run(async move {
            let row = api_key::Entity::find()
                .filter(api_key::Column::OrganizationId.is_null())
                .one(&db)
                .await
                .map_err(unavailable)?;
            Ok(row.is_some())
        })
        .await
    }

    async fn insert_endpoint(
        &self,
        endpoint: &Endpoint,
        locked_secret: &str,
        most: usize,
    ) -> Result<()> {
        let (db, row) = (self.writer(), rows::endpoint_row(endpoint, locked_secret));
        self.run(async move {
            let tx = begin_write(&db).await.map_err(unavailable)?;
            if !touch_audience(&tx, &row.organization_id).await? {
                return Err(Error::NotFound(Thing::Organization));
            }
            let standing = endpoint::Entity::find()
                .filter(endpoint::Column::OrganizationId.eq(&row.organization_id))
                .count(&tx)
                .await
                .map_err(unavailable)?;
            if standing >= most as u64 {
                return Err(Error::Conflict(Conflict::TooManyEndpoints));
            }
            endpoint::Entity::insert(row.into_active_model())
                .exec_without_returning(&tx)
                .await
                .map_err(unavailable)?;
            tx.commit().await.map_err(unavailable)
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
            let row = endpoint::Entity::find_by_id(id)
                .filter(endpoint::Column::OrganizationId.eq(organization))
                .one(&db)
                .await
                .map_err(unavailable)?;
            row.map(rows::endpoint).transpose()
        })
        .await
    }

    async fn endpoints(
        &self,
        organization: &OrganizationId,
        filter: &EndpointFilter,
        page: &PageRequest,
    ) -> Result<Page<Endpoint>> {
        use endpoint::Column::{CreatedAtMs, Enabled, Id, OrganizationId};
        let (db, organization) = (self.readers(), organization.to_string());
        let (filter, page) = (filter.clone(), page.clone());
        self.run(async move {
            let mut query = endpoint::Entity::find().filter(OrganizationId.eq(&organization));
            if let Some(enabled) = filter.enabled {
                query = query.filter(Enabled.eq(enabled));
            }
            if let Some(cursor) = &page.starting_after {
                let last = endpoint::Entity::find_by_id(cursor)
                    .filter(OrganizationId.eq(&organization))
                    .one(&db)
                    .await
                    .map_err(unavailable)?
                    .ok_or(Error::UnknownCursor)?;
                query = query.filter(older_than(CreatedAtMs, Id, last.created_at_ms, cursor));
            }
            let rows = query
                .order_by(CreatedAtMs, Order::Desc)
                .order_by(Id, Order::Desc)
                .limit(read_limit(&page))
                .all(&db)
                .await
                .map_err(unavailable)?;
            let items: Result<_> = rows.into_iter().map(rows::endpoint).collect();
            Ok(Page::from_read(items?, page.limit))
        })
        .await
    }

    async fn change_endpoint(
        &self,
        organization: &OrganizationId,
        id: &EndpointId,
        change: Box<dyn FnOnce(Endpoint) -> Endpoint + Send>,
    ) -> Result<Option<Endpoint>> {
        let (db, organization, endpoint_id) = (self.writer(), organization.to_string(), id.clone());
        let (dispatch, id) = (self.dispatch.clone(), id.to_string());
        self.run(async move {
            let tx = begin_write(&db).await.map_err(unavailable)?;
            // Also serializes changes of one organization, so that none overwrites another.
            if !touch_audience(&tx, &organization).await? {
                return Ok(None);
            }
            let row = endpoint::Entity::find_by_id(id)
                .filter(endpoint::Column::OrganizationId.eq(organization))
                .one(&tx)
                .await
                .map_err(unavailable)?;
            let Some(row) = row else { return Ok(None) };
            let locked_secret = row.signing_secret.clone();
            let changed = change(rows::endpoint(row)?);
            let row = rows::endpoint_row(&changed, &locked_secret).into_active_model();
            endpoint::Entity::update(row.reset_all()).exec(&tx).await.map_err(unavailable)?;
            let committed = tx.commit().await;
            // Told here, so that it is told even if the caller is gone, or if the commit stands
            // though its acknowledgement was lost.
            dispatch.reconfigured(&endpoint_id);
            committed.map_err(unavailable)?;
            Ok(Some(changed))
        })
        .await
    }

    async fn replace_secret(
        &self,
        organization: &OrganizationId,
        id: &EndpointId,
        locked_secret: &str,
        now: Timestamp,
    ) -> Result<bool> {
        use endpoint::Column::{Id, OrganizationId, SigningSecret, UpdatedAtMs};
        let (db, organization, endpoint) = (self.writer(), organization.to_string(), id.clone());
        let (dispatch, locked_secret) = (self.dispatch.clone(), locked_secret.to_owned());
        self.run(async move {
            let replaced = endpoint::Entity::update_many()
                .col_expr(SigningSecret, Expr::value(locked_secret))
                .col_expr(UpdatedAtMs, Expr::value(now.as_ms()))
                .filter(Id.eq(endpoint.as_str()))
                .filter(OrganizationId.eq(organization))
                .exec(&db)
                .await;
            // As with settings: told whatever is heard of the commit.
            if replaced.as_ref().map_or(true, |replaced| replaced.rows_affected > 0) {
                dispatch.reconfigured(&endpoint);
            }
            Ok(replaced.map_err(unavailable)?.rows_affected > 0)
        })
        .await
    }

    async fn insert_key(
        &self,
        organization: &OrganizationId,
        key: &EncryptionKey,
        most: usize,
    ) -> Result<()> {
        use encryption_key::Column::EndpointId;
        let (db, organization) = (self.writer(), organization.to_string());
        let row = rows::key_row(key);
        self.run(async move {
            let tx = begin_write(&db).await.map_err(unavailable)?;
            // Also serializes registrations, so that one key is active at a time.
            if !touch_audience(&tx, &organization).await? {
                return Err(Error::NotFound(Thing::Endpoint));
            }
            endpoint::Entity::find_by_id(&row.endpoint_id)
                .filter(endpoint::Column::OrganizationId.eq(organization))
                .one(&tx)
                .await
                .map_err(unavailable)?
                .ok_or(Error::NotFound(Thing::Endpoint))?;
            let standing = encryption_key::Entity::find()
                .filter(EndpointId.eq(&row.endpoint_id))
                .count(&tx)
                .await
                .map_err(unavailable)?;
            if standing >= most as u64 {
                return Err(Error::Conflict(Conflict::TooManyKeys));
            }
            deactivate_keys(&tx, &row.endpoint_id, false, row.created_at_ms).await?;
            encryption_key::Entity::insert(row.into_active_model())
                .exec_without_returning(&tx)
                .await
                .map_err(unavailable)?;
            tx.commit().await.map_err(unavailable)
        })
        .await
    }

    async fn set_key_active(
        &self,
        organization: &OrganizationId,
        id: &KeyId,
        active: bool,
        now: Timestamp,
    ) -> Result<Option<EncryptionKey>> {
        let (db, organization, id) = (self.writer(), organization.to_string(), id.to_string());
        self.run(async move {
            let tx = begin_write(&db).await.map_err(unavailable)?;
            if !touch_audience(&tx, &organization).await? {
                return Ok(None);
            }
            let key = encryption_key::Entity::find_by_id(id).one(&tx).await.map_err(unavailable)?;
            let Some(mut key) = key else { return Ok(None) };
            let owned = endpoint::Entity::find_by_id(&key.endpoint_id)
                .filter(endpoint::Column::OrganizationId.eq(organization))
                .one(&tx)
                .await
                .map_err(unavailable)?;
            if owned.is_none() {
                return Ok(None);
            }
            if active {
                deactivate_keys(&tx, &key.endpoint_id, true, now.as_ms()).await?;
            }
            key.is_active = active;
            key.disabled_at_ms = (!active).then_some(now.as_ms());
            key.updated_at_ms = now.as_ms();
            let row = key.clone().into_active_model();
            encryption_key::Entity::update(row.reset_all()).exec(&tx).await.map_err(unavailable)?;
            tx.commit().await.map_err(unavailable)?;
            rows::key(key).map(Some)
        })
        .await
    }

    async fn keys(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        active: Option<bool>,
        page: &PageRequest,
    ) -> Result<Page<EncryptionKey>> {
        use encryption_key::Column::{EndpointId, Id, IsActive};
        let (db, organization) = (self.readers(), organization.to_string());
        let (endpoint, page) = (endpoint.to_string(), page.clone());
        self.run(async move {
            let owned = endpoint::Entity::find_by_id(&endpoint)
                .filter(endpoint::Column::OrganizationId.eq(organization))
                .one(&db)
                .await
                .map_err(unavailable)?;
            if owned.is_none() {
                return Ok(Page::from_read(Vec::new(), page.limit));
            }
            let mut query = encryption_key::Entity::find().filter(EndpointId.eq(&endpoint));
            if let Some(active) = active {
                query = query.filter(IsActive.eq(active));
            }
            if let Some(cursor) = &page.starting_after {
                let last = encryption_key::Entity::find_by_id(cursor)
                    .filter(EndpointId.eq(&endpoint))
                    .one(&db)
                    .await
                    .map_err(unavailable)?;
                last.ok_or(Error::UnknownCursor)?;
                query = query.filter(Id.gt(cursor));
            }
            let rows = query
                .order_by(Id, Order::Asc)
                .limit(read_limit(&page))
                .all(&db)
                .await
                .map_err(unavailable)?;
            let items: Result<_> = rows.into_iter().map(rows::key).collect();
            Ok(Page::from_read(items?, page.limit))
        })
        .await
    }

    async fn audience(&self, organization: &OrganizationId) -> Result<Option<Audience>> {
        let (db, organization) = (self.readers(), organization.to_string());
        self.run(async move {
            // The version is read first: a change in between leaves an older version than the
            // rows, and the accept transaction then asks for another round.
            let found = organization::Entity::find_by_id(&organization).one(&db).await;
            let Some(found) = found.map_err(unavailable)? else { return Ok(None) };
            let endpoints = endpoint::Entity::find()
                .filter(endpoint::Column::OrganizationId.eq(&organization))
                .filter(endpoint::Column::Enabled.eq(true))
                .order_by(endpoint::Column::CreatedAtMs, Order::Asc)
                .order_by(endpoint::Column::Id, Order::Asc)
                .all(&db)
                .await
                .map_err(unavailable)?;
            let ids = endpoints.iter().map(|row| row.id.as_str());
            let keys = encryption_key::Entity::find()
                .filter(encryption_key::Column::EndpointId.is_in(ids))
                .filter(encryption_key::Column::IsActive.eq(true))
                .all(&db)
                .await
                .map_err(unavailable)?;
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
            let row = endpoint::Entity::find_by_id(id).one(&db).await.map_err(unavailable)?;
            let Some(row) = row else { return Ok(None) };
            let locked_secret = row.signing_secret.clone();
            Ok(Some(Destination { endpoint: rows::endpoint(row)?, locked_secret }))
        })
        .await
    }
}

/// Raises the version that intake's caches are compared with, and locks the organization's row for
/// this transaction. Answers whether there is such an organization.
async fn touch_audience(tx: &DatabaseTransaction, organization: &str) -> Result<bool> {
    use organization::Column::{AudienceVersion, Id};
    let touched = organization::Entity::update_many()
        .col_expr(AudienceVersion, Expr::col(AudienceVersion).add(1))
        .filter(Id.eq(organization))
        .exec(tx)
        .await
        .map_err(unavailable)?;
    Ok(touched.rows_affected > 0)
}

/// Deactivates the keys of an endpoint: only those that are active, or all, which refreshes the time
/// of those that were not (contract 2.6).
async fn deactivate_keys(
    tx: &DatabaseTransaction,
    endpoint: &str,
    only_active: bool,
    now_ms: i64,
) -> Result<()> {
    use encryption_key::Column::{DisabledAtMs, EndpointId, IsActive, UpdatedAtMs};
    let mut update = encryption_key::Entity::update_many()
        .col_expr(IsActive, Expr::value(false))
        .col_expr(DisabledAtMs, Expr::value(Some(now_ms)))
        .col_expr(UpdatedAtMs, Expr::value(now_ms))
        .filter(EndpointId.eq(endpoint));
    if only_active {
        update = update.filter(IsActive.eq(true));
    }
    update.exec(tx).await.map_err(unavailable)?;
    Ok(())
}
