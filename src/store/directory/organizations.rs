//! Organizations.

use async_trait::async_trait;
use hookseal_core::access::Organization;
use hookseal_core::audit::AuditEntry;
use hookseal_core::error::{Conflict, Error, Result};
use hookseal_core::id::OrganizationId;
use hookseal_core::page::{Page, PageRequest};
use hookseal_core::ports::{Change, Organizations};
use hookseal_core::time::Timestamp;
use hookseal_entity::organization;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ColumnTrait, EntityTrait, IntoActiveModel, Order, QueryFilter, QueryOrder, QuerySelect,
};

use super::{older_than, organizations, read_limit, record, touch_audience};
use crate::store::{Failure, SqlStore, rows};

#[async_trait]
impl Organizations for SqlStore {
    async fn insert_organization(
        &self,
        organization: &Organization,
        entry: AuditEntry,
    ) -> Result<()> {
        let db = self.writer();
        let row = organization::Model {
            id: organization.id.to_string(),
            name: organization.name.clone(),
            audience_version: 1,
            frozen_at_ms: organization.frozen_at.map(Timestamp::as_ms),
            deleted_at_ms: None,
            created_at_ms: organization.created_at.as_ms(),
            updated_at_ms: organization.updated_at.as_ms(),
        };
        self.run(async move {
            let tx = db.begin().await?;
            let inserted = organization::Entity::insert(row.into_active_model())
                .on_conflict(OnConflict::column(organization::Column::Id).do_nothing().to_owned())
                .exec_without_returning(&tx)
                .await?;
            if inserted == 0 {
                return Err(Error::Conflict(Conflict::OrganizationExists).into());
            }
            record(&tx, &entry).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn organization(&self, id: &OrganizationId) -> Result<Option<Organization>> {
        let (db, id) = (self.readers(), id.to_string());
        self.run(async move {
            let row = organizations().filter(organization::Column::Id.eq(id)).one(&db).await?;
            Ok(row.map(rows::organization))
        })
        .await
    }

    async fn organizations(&self, page: &PageRequest) -> Result<Page<Organization>> {
        use organization::Column::{CreatedAtMs, Id};
        let (db, page) = (self.readers(), page.clone());
        self.run(async move {
            let mut query = organizations();
            if let Some(cursor) = &page.starting_after {
                let last = organization::Entity::find_by_id(cursor).one(&db).await?;
                let last = last.ok_or(Error::UnknownCursor)?;
                query = query.filter(older_than(CreatedAtMs, Id, last.created_at_ms, cursor));
            }
            let rows = query
                .order_by(CreatedAtMs, Order::Desc)
                .order_by(Id, Order::Desc)
                .limit(read_limit(&page))
                .all(&db)
                .await?;
            Ok(Page::from_read(rows.into_iter().map(rows::organization).collect(), page.limit))
        })
        .await
    }

    async fn change_organization(
        &self,
        id: &OrganizationId,
        change: Change<Organization>,
        entry: AuditEntry,
    ) -> Result<Option<Organization>> {
        use organization::Column::{FrozenAtMs, Id, Name, UpdatedAtMs};
        let (db, id) = (self.writer(), id.to_string());
        self.run(async move {
            let tx = db.begin().await?;
            if !touch_audience(&tx, &id).await? {
                return Ok(None);
            }
            let Some(row) = organizations().filter(Id.eq(&id)).one(&tx).await? else {
                return Ok(None);
            };
            let changed = change(rows::organization(row))?;
            organization::Entity::update_many()
                .col_expr(Name, Expr::value(changed.name.clone()))
                .col_expr(FrozenAtMs, Expr::value(changed.frozen_at.map(Timestamp::as_ms)))
                .col_expr(UpdatedAtMs, Expr::value(changed.updated_at.as_ms()))
                .filter(Id.eq(id))
                .exec(&tx)
                .await?;
            record(&tx, &entry).await?;
            tx.commit().await?;
            Ok(Some(changed))
        })
        .await
    }

    async fn delete_organization(&self, id: &OrganizationId, now: Timestamp) -> Result<bool> {
        let (db, dispatch, id) = (self.writer(), self.dispatch.clone(), id.to_string());
        self.run_long(async move {
            let Some(endpoints) = crate::store::deletion::organization(&db, &id, now).await? else {
                return Ok::<_, Failure>(false);
            };
            endpoints.iter().for_each(|endpoint| dispatch.reconfigured(endpoint));
            Ok(true)
        })
        .await
    }
}
