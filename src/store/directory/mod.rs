//! Organizations, API keys, endpoints, encryption keys and the audit log: a file a port.
//!
//! Every change writes its entry of the audit log in the same transaction.

mod api_keys;
pub(super) mod audit;
pub(super) mod endpoints;
mod keys;
mod organizations;

use hookseal_core::audit::AuditEntry;
use hookseal_core::page::PageRequest;
use hookseal_entity::{audit_log, endpoint, organization};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait, IntoActiveModel,
    QueryFilter, Select,
};

use super::{Failure, rows};

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

/// Endpoints of an organization that are not deleted.
fn endpoints_of(organization: &str) -> Select<endpoint::Entity> {
    endpoint::Entity::find()
        .filter(endpoint::Column::OrganizationId.eq(organization))
        .filter(endpoint::Column::DeletedAtMs.is_null())
}

/// One of them.
fn endpoint_of(organization: &str, id: &str) -> Select<endpoint::Entity> {
    endpoints_of(organization).filter(endpoint::Column::Id.eq(id))
}

/// Organizations that are not deleted.
fn organizations() -> Select<organization::Entity> {
    organization::Entity::find().filter(organization::Column::DeletedAtMs.is_null())
}

/// Adds an entry to the audit log.
pub(super) async fn record(db: &impl ConnectionTrait, entry: &AuditEntry) -> Result<(), Failure> {
    audit_log::Entity::insert(rows::audit_row(entry).into_active_model())
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Raises the version that intake's caches are compared with, and locks the organization's row for
/// this transaction. Answers whether there is such an organization.
pub(super) async fn touch_audience(
    tx: &DatabaseTransaction,
    organization: &str,
) -> Result<bool, Failure> {
    use organization::Column::{AudienceVersion, DeletedAtMs, Id};
    let touched = organization::Entity::update_many()
        .col_expr(AudienceVersion, Expr::col(AudienceVersion).add(1))
        .filter(Id.eq(organization))
        .filter(DeletedAtMs.is_null())
        .exec(tx)
        .await?;
    Ok(touched.rows_affected > 0)
}
