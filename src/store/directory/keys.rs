//! Encryption keys.

use async_trait::async_trait;
use hookseal_core::audit::AuditEntry;
use hookseal_core::error::{Conflict, Error, Result, Thing};
use hookseal_core::id::{EndpointId, KeyId, OrganizationId};
use hookseal_core::key::EncryptionKey;
use hookseal_core::page::{Page, PageRequest};
use hookseal_core::ports::Keys;
use hookseal_entity::{encryption_key, endpoint};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, Order,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::endpoints::updated;
use super::{endpoint_of, endpoints_of, read_limit, record, touch_audience};
use crate::store::{Failure, SqlStore, rows};

#[async_trait]
impl Keys for SqlStore {
    async fn insert_key(
        &self,
        organization: &OrganizationId,
        key: &EncryptionKey,
        most: usize,
        entry: AuditEntry,
    ) -> Result<()> {
        use encryption_key::Column::EndpointId;
        let (db, organization) = (self.writer(), organization.to_string());
        let (row, herald) = (rows::key_row(key), self.herald.clone());
        self.run(async move {
            let tx = db.begin().await?;
            // Also serializes registrations, so that one key is active at a time.
            if !touch_audience(&tx, &organization).await? {
                return Err(Error::NotFound(Thing::Endpoint).into());
            }
            let owned = endpoint_of(&organization, &row.endpoint_id).one(&tx).await?;
            owned.ok_or(Error::NotFound(Thing::Endpoint))?;
            let standing = encryption_key::Entity::find()
                .filter(EndpointId.eq(&row.endpoint_id))
                .count(&tx)
                .await?;
            if standing >= most as u64 {
                return Err(Error::Conflict(Conflict::TooManyKeys).into());
            }
            deactivate_keys(&tx, &row.endpoint_id, false, row.created_at_ms).await?;
            let endpoint = row.endpoint_id.clone();
            encryption_key::Entity::insert(row.into_active_model())
                .exec_without_returning(&tx)
                .await?;
            record(&tx, &entry).await?;
            let news = updated(&tx, &organization, &endpoint).await?;
            news.commit(tx, &herald).await
        })
        .await
    }

    async fn set_key_active(
        &self,
        organization: &OrganizationId,
        id: &KeyId,
        active: bool,
        mut entry: AuditEntry,
    ) -> Result<Option<EncryptionKey>> {
        let (db, organization, id) = (self.writer(), organization.to_string(), id.to_string());
        let herald = self.herald.clone();
        self.run(async move {
            let tx = db.begin().await?;
            if !touch_audience(&tx, &organization).await? {
                return Ok(None);
            }
            let key = encryption_key::Entity::find_by_id(id).one(&tx).await?;
            let Some(mut key) = key else { return Ok(None) };
            if endpoint_of(&organization, &key.endpoint_id).one(&tx).await?.is_none() {
                return Ok(None);
            }
            let now_ms = entry.created_at.as_ms();
            if active {
                deactivate_keys(&tx, &key.endpoint_id, true, now_ms).await?;
            }
            key.is_active = active;
            key.disabled_at_ms = (!active).then_some(now_ms);
            key.updated_at_ms = now_ms;
            let row = key.clone().into_active_model();
            encryption_key::Entity::update(row.reset_all()).exec(&tx).await?;
            let endpoint = key.endpoint_id.clone().into();
            entry.metadata.insert("webhook_endpoint_id".to_owned(), endpoint);
            record(&tx, &entry).await?;
            let news = updated(&tx, &organization, &key.endpoint_id).await?;
            news.commit(tx, &herald).await?;
            Ok(Some(rows::key(key)?))
        })
        .await
    }

    async fn keys_of(
        &self,
        organization: &OrganizationId,
        endpoints: &[EndpointId],
    ) -> Result<Vec<EncryptionKey>> {
        use encryption_key::Column::{EndpointId, Id};
        let (db, organization) = (self.readers(), organization.to_string());
        let asked: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
        self.run(async move {
            let owned: Vec<String> = endpoints_of(&organization)
                .select_only()
                .column(endpoint::Column::Id)
                .filter(endpoint::Column::Id.is_in(asked))
                .into_tuple()
                .all(&db)
                .await?;
            let rows = encryption_key::Entity::find()
                .filter(EndpointId.is_in(owned))
                .order_by(Id, Order::Asc)
                .all(&db)
                .await?;
            Ok(rows.into_iter().map(rows::key).collect::<Result<_>>()?)
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
            if endpoint_of(&organization, &endpoint).one(&db).await?.is_none() {
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
                    .await?;
                last.ok_or(Error::UnknownCursor)?;
                query = query.filter(Id.gt(cursor));
            }
            let rows = query.order_by(Id, Order::Asc).limit(read_limit(&page)).all(&db).await?;
            let items: Result<_> = rows.into_iter().map(rows::key).collect();
            Ok(Page::from_read(items?, page.limit))
        })
        .await
    }
}

/// Deactivates the keys of an endpoint: only those that are active, or all, which refreshes the time
/// of those that were not (contract 2.6).
async fn deactivate_keys(
    tx: &DatabaseTransaction,
    endpoint: &str,
    only_active: bool,
    now_ms: i64,
) -> Result<(), Failure> {
    use encryption_key::Column::{DisabledAtMs, EndpointId, IsActive, UpdatedAtMs};
    let mut update = encryption_key::Entity::update_many()
        .col_expr(IsActive, Expr::value(false))
        .col_expr(DisabledAtMs, Expr::value(Some(now_ms)))
        .col_expr(UpdatedAtMs, Expr::value(now_ms))
        .filter(EndpointId.eq(endpoint));
    if only_active {
        update = update.filter(IsActive.eq(true));
    }
    update.exec(tx).await?;
    Ok(())
}
