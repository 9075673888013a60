//! API keys, found by their keyed hashes.

use async_trait::async_trait;
use hookseal_core::access::ApiKey;
use hookseal_core::audit::AuditEntry;
use hookseal_core::error::{Conflict, Error, Result, Thing};
use hookseal_core::id::{ApiKeyId, OrganizationId};
use hookseal_core::page::{Page, PageRequest};
use hookseal_core::ports::{ApiKeys, Change};
use hookseal_entity::{api_key, organization};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, Order, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Select,
};

use super::{organizations, read_limit, record};
use crate::crypto::is_same_hash;
use crate::store::{SqlStore, alone, rows};

fn keys_of(organization: &str) -> Select<api_key::Entity> {
    api_key::Entity::find().filter(api_key::Column::OrganizationId.eq(organization))
}

fn key_of(organization: &str, id: &str) -> Select<api_key::Entity> {
    keys_of(organization).filter(api_key::Column::Id.eq(id))
}

#[async_trait]
impl ApiKeys for SqlStore {
    async fn insert_api_key(
        &self,
        key: &ApiKey,
        hash: &str,
        most: usize,
        entry: Option<AuditEntry>,
    ) -> Result<()> {
        let (db, row) = (self.writer(), rows::api_key_row(key, hash));
        self.run(async move {
            let tx = db.begin().await?;
            if let Some(id) = &row.organization_id {
                // Also serializes keys of one organization, so that the quota is not passed by two at once.
                let known = organizations().filter(organization::Column::Id.eq(id));
                let known = alone(known, &tx).one(&tx).await?;
                known.ok_or(Error::NotFound(Thing::Organization))?;
                if keys_of(id).count(&tx).await? >= most as u64 {
                    return Err(Error::Conflict(Conflict::TooManyApiKeys).into());
                }
            }
            api_key::Entity::insert(row.into_active_model()).exec_without_returning(&tx).await?;
            if let Some(entry) = entry {
                record(&tx, &entry).await?;
            }
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn api_key(&self, hash: &str) -> Result<Option<(ApiKey, bool)>> {
        let (db, hash) = (self.readers(), hash.to_owned());
        self.run(async move {
            let row =
                api_key::Entity::find().filter(api_key::Column::KeyHash.eq(&hash)).one(&db).await?;
            // The index answers what compares as equal; this says that it is.
            let row = row.filter(|row| is_same_hash(&row.key_hash, &hash));
            let Some(row) = row else { return Ok(None) };
            let frozen = match &row.organization_id {
                None => false,
                Some(id) => {
                    let found =
                        organizations().filter(organization::Column::Id.eq(id)).one(&db).await?;
                    let Some(found) = found else { return Ok(None) };
                    found.frozen_at_ms.is_some()
                }
            };
            Ok(Some((rows::api_key(row)?, frozen)))
        })
        .await
    }

    async fn api_keys(
        &self,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<ApiKey>> {
        use api_key::Column::Id;
        let (db, organization, page) = (self.readers(), organization.to_string(), page.clone());
        self.run(async move {
            let mut query = keys_of(&organization);
            if let Some(cursor) = &page.starting_after {
                let last = key_of(&organization, cursor).one(&db).await?;
                last.ok_or(Error::UnknownCursor)?;
                query = query.filter(Id.gt(cursor));
            }
            let rows = query.order_by(Id, Order::Asc).limit(read_limit(&page)).all(&db).await?;
            let items: Result<_> = rows.into_iter().map(rows::api_key).collect();
            Ok(Page::from_read(items?, page.limit))
        })
        .await
    }

    async fn change_api_key(
        &self,
        organization: &OrganizationId,
        id: &ApiKeyId,
        change: Change<ApiKey>,
        entry: AuditEntry,
    ) -> Result<Option<ApiKey>> {
        use api_key::Column::RequestCount;
        let (db, organization, id) = (self.writer(), organization.to_string(), id.to_string());
        self.run(async move {
            let tx = db.begin().await?;
            let row = alone(key_of(&organization, &id), &tx).one(&tx).await?;
            let Some(row) = row else { return Ok(None) };
            let hash = row.key_hash.clone();
            let changed = change(rows::api_key(row)?)?;
            let mut row = rows::api_key_row(&changed, &hash).into_active_model().reset_all();
            // Counted beside this, by whoever serves its requests.
            row.not_set(RequestCount);
            api_key::Entity::update(row).exec(&tx).await?;
            record(&tx, &entry).await?;
            tx.commit().await?;
            Ok(Some(changed))
        })
        .await
    }

    async fn delete_api_key(
        &self,
        organization: &OrganizationId,
        id: &ApiKeyId,
        entry: AuditEntry,
    ) -> Result<bool> {
        use api_key::Column::{Id, OrganizationId};
        let (db, organization, id) = (self.writer(), organization.to_string(), id.to_string());
        self.run(async move {
            let tx = db.begin().await?;
            let deleted = api_key::Entity::delete_many()
                .filter(Id.eq(id))
                .filter(OrganizationId.eq(organization))
                .exec(&tx)
                .await?;
            if deleted.rows_affected == 0 {
                return Ok(false);
            }
            record(&tx, &entry).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn count_requests(&self, mut counts: Vec<(ApiKeyId, u64)>) -> Result<()> {
        use api_key::Column::{Id, RequestCount};
        let db = self.writer();
        // One order for all writers.
        counts.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.run(async move {
            let tx = db.begin().await?;
            for (id, count) in counts {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                api_key::Entity::update_many()
                    .col_expr(RequestCount, Expr::col(RequestCount).add(count))
                    .filter(Id.eq(id.as_str()))
                    .exec(&tx)
                    .await?;
            }
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn has_platform_key(&self) -> Result<bool> {
        let db = self.readers();
        self.run(async move {
            let row = api_key::Entity::find()
                .filter(api_key::Column::OrganizationId.is_null())
                .one(&db)
                .await?;
            Ok(row.is_some())
        })
        .await
    }
}
