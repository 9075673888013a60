//! The audit log.

use async_trait::async_trait;
use hookseal_core::audit::AuditEntry;
use hookseal_core::error::{Error, Result};
use hookseal_core::id::OrganizationId;
use hookseal_core::page::{Page, PageRequest};
use hookseal_core::ports::{AuditFilter, AuditLog};
use hookseal_entity::audit_log;
use sea_orm::{ColumnTrait, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select};

use super::{read_limit, record};
use crate::store::archive::created_within;
use crate::store::{SqlStore, rows};

#[async_trait]
impl AuditLog for SqlStore {
    async fn record(&self, entry: AuditEntry) -> Result<()> {
        let db = self.writer();
        self.run(async move { record(&db, &entry).await }).await
    }

    async fn audit_log(
        &self,
        organization: &OrganizationId,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditEntry>> {
        use audit_log::Column::{Id, OrganizationId};
        let (db, organization) = (self.readers(), organization.to_string());
        let (filter, page) = (filter.clone(), page.clone());
        self.run(async move {
            let mut query = listed_entries(&organization, &filter);
            if let Some(cursor) = &page.starting_after {
                let last = audit_log::Entity::find_by_id(cursor)
                    .filter(OrganizationId.eq(&organization))
                    .one(&db)
                    .await?;
                last.ok_or(Error::UnknownCursor)?;
                query = query.filter(Id.lt(cursor));
            }
            let rows = query.limit(read_limit(&page)).all(&db).await?;
            let items: Result<_> = rows.into_iter().map(rows::audit_entry).collect();
            Ok(Page::from_read(items?, page.limit))
        })
        .await
    }
}

/// Entries of a list, newest first.
pub(in crate::store) fn listed_entries(
    organization: &str,
    filter: &AuditFilter,
) -> Select<audit_log::Entity> {
    use audit_log::Column::{Id, OrganizationId};
    audit_log::Entity::find()
        .filter(OrganizationId.eq(organization))
        .filter(created_within(Id, "aud_", filter.created_from, filter.created_to))
        .order_by(Id, Order::Desc)
}
