//! Deletion that keeps history: what vanishes at once, and what is taken apart behind it in batches
//! that hold no lock for long.

use std::time::Duration;

use hookseal_core::delivery::{Revocation, Status};
use hookseal_core::error::{Error, Result};
use hookseal_core::id::{EndpointId, floor_id};
use hookseal_core::time::Timestamp;
use hookseal_entity::{
    api_key, audit_log, delivery, delivery_minute, encryption_key, endpoint, event, organization,
    verification_session,
};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect,
    Select,
};

use super::archive::having_status;
use super::directory::touch_audience;
use super::ledger::purge;
use super::ledger::sessions::remove_without_events;
use super::news::{Herald, News};
use super::transition::{Busy, locked, write};
use super::writing::Writing;
use super::{Failure, SqlStore, alone};

/// Deliveries of one transaction: the ledger waits for it when an attempt of one of them ends.
const BATCH: usize = 50;
/// Transactions that a deletion makes its caller wait for; what is left after them is taken up by
/// the janitor.
const AT_ONCE: usize = 100;
/// A publish that read the organization before the deletion has been committed or refused by then.
const LAST_ACCEPT: Duration = Duration::from_secs(60);

/// Takes endpoints out of sight and erases their secrets and their keys' JWKs; the rows stay.
pub(super) async fn erase_endpoints(
    tx: &DatabaseTransaction,
    ids: &[String],
    now: Timestamp,
) -> Result<(), Failure> {
    use encryption_key::Column::{DisabledAtMs, EndpointId, IsActive, Jwk};
    use endpoint::Column::{
        DeletedAtMs, Enabled, Fingerprint, Id, IdempotencyKey, PreviousSecretUntilMs,
        PreviousSigningSecret, Revision, SigningSecret, UpdatedAtMs,
    };
    endpoint::Entity::update_many()
        .col_expr(DeletedAtMs, Expr::value(now.as_ms()))
        .col_expr(UpdatedAtMs, Expr::value(now.as_ms()))
        .col_expr(Revision, Expr::col(Revision).add(1))
        .col_expr(Enabled, Expr::value(false))
        .col_expr(SigningSecret, Expr::value(""))
        .col_expr(PreviousSigningSecret, Expr::value(Option::<String>::None))
        .col_expr(PreviousSecretUntilMs, Expr::value(Option::<i64>::None))
        .col_expr(IdempotencyKey, Expr::value(Option::<String>::None))
        .col_expr(Fingerprint, Expr::value(Option::<String>::None))
        .filter(Id.is_in(ids))
        .exec(tx)
        .await?;
    encryption_key::Entity::update_many()
        .col_expr(Jwk, Expr::value("{}"))
        .col_expr(IsActive, Expr::value(false))
        .col_expr(DisabledAtMs, Expr::value(now.as_ms()))
        .filter(EndpointId.is_in(ids))
        .exec(tx)
        .await?;
    Ok(())
}

/// Fails what is pending for a deleted endpoint and scrubs what it failed to deliver; of what is in
/// flight the end of the attempt decides. Answers how many deliveries were written; all, unless
/// they are very many.
pub(super) async fn clear_endpoint(
    db: &Writing,
    herald: &Herald,
    endpoint: &str,
    now: Timestamp,
) -> Result<usize, Failure> {
    let mut cleared = 0;
    for status in [Status::Pending, Status::Delivering, Status::Failed] {
        let mut last = String::new();
        for _ in 0..AT_ONCE {
            let open = having_status(status)
                .filter(delivery::Column::EndpointId.eq(endpoint))
                .filter(delivery::Column::PayloadScrubbedAtMs.is_null())
                .filter(delivery::Column::Id.gt(&last))
                .order_by(delivery::Column::Id, Order::Asc)
                .limit(BATCH as u64);
            let tx = db.begin().await?;
            let deliveries = locked(open, &tx, Busy::Wait).await?;
            let mut news = News::default();
            for delivery in &deliveries {
                let progress = delivery.progress.revoke(Revocation::EndpointDeleted, now);
                let progress =
                    progress.map_err(|illegal| Error::broken("an open delivery", illegal))?;
                write(&tx, delivery, progress, None, &mut news).await?;
            }
            news.commit(tx, herald).await?;
            cleared += deliveries.len();
            match deliveries.last() {
                Some(delivery) if deliveries.len() == BATCH => last = delivery.id.to_string(),
                Some(_) | None => break,
            }
        }
    }
    Ok(cleared)
}

/// Takes an organization out of sight with its keys and endpoints; answers these, or none when
/// there is no such organization.
pub(super) async fn organization(
    db: &Writing,
    id: &str,
    now: Timestamp,
) -> Result<Option<Vec<EndpointId>>, Failure> {
    use organization::Column::{DeletedAtMs, Id};
    let tx = db.begin().await?;
    if !touch_audience(&tx, id).await? {
        return Ok(None);
    }
    organization::Entity::update_many()
        .col_expr(DeletedAtMs, Expr::value(now.as_ms()))
        .filter(Id.eq(id))
        .exec(&tx)
        .await?;
    api_key::Entity::delete_many().filter(api_key::Column::OrganizationId.eq(id)).exec(&tx).await?;
    let endpoints: Vec<String> = endpoint::Entity::find()
        .select_only()
        .column(endpoint::Column::Id)
        .filter(endpoint::Column::OrganizationId.eq(id))
        .filter(endpoint::Column::DeletedAtMs.is_null())
        .into_tuple()
        .all(&tx)
        .await?;
    erase_endpoints(&tx, &endpoints, now).await?;
    tx.commit().await?;
    Ok(Some(endpoints.into_iter().map(EndpointId::from_row).collect()))
}

impl SqlStore {
    pub(super) async fn clear_endpoints(&self, now: Timestamp, limit: usize) -> Result<usize> {
        use endpoint::Column::{ClearedAtMs, DeletedAtMs, Id};
        let (db, herald) = (self.writer(), self.herald.clone());
        self.run_long(async move {
            let deleted: Vec<(String, i64)> = endpoint::Entity::find()
                .select_only()
                .columns([Id, DeletedAtMs])
                .filter(DeletedAtMs.is_not_null())
                .filter(ClearedAtMs.is_null())
                .order_by(DeletedAtMs, Order::Asc)
                .limit(limit as u64)
                .into_tuple()
                .all(&db)
                .await?;
            let mut cleared = 0;
            for (id, deleted_at_ms) in deleted {
                let written = clear_endpoint(&db, &herald, &id, now).await?;
                cleared += written;
                if written == 0 && deleted_at_ms < now.minus(LAST_ACCEPT).as_ms() {
                    endpoint::Entity::update_many()
                        .col_expr(ClearedAtMs, Expr::value(now.as_ms()))
                        .filter(Id.eq(id))
                        .exec(&db)
                        .await?;
                }
            }
            Ok(cleared)
        })
        .await
    }

    pub(super) async fn purge_organizations(&self, now: Timestamp, limit: usize) -> Result<usize> {
        use organization::Column::{DeletedAtMs, Id};
        let db = self.writer();
        self.run_long(async move {
            let deleted = organization::Entity::find()
                .filter(DeletedAtMs.is_not_null())
                .order_by(DeletedAtMs, Order::Asc)
                .one(&db)
                .await?;
            let Some(organization) = deleted else { return Ok(0) };
            let tx = db.begin().await?;
            let mut removed = remove_deliveries(&tx, &organization.id, limit).await?;
            if removed == 0 {
                removed = remove_records(&tx, &organization.id, limit).await?;
            }
            let over = now.minus(LAST_ACCEPT).as_ms();
            if removed == 0 && organization.deleted_at_ms.is_some_and(|at_ms| at_ms < over) {
                // Endpoints and encryption keys go with it.
                organization::Entity::delete_many()
                    .filter(Id.eq(organization.id))
                    .exec(&tx)
                    .await?;
            }
            tx.commit().await?;
            Ok(removed)
        })
        .await
    }
}

async fn remove_deliveries(
    tx: &DatabaseTransaction,
    organization: &str,
    limit: usize,
) -> Result<usize, Failure> {
    let deliveries =
        delivery::Entity::find().filter(delivery::Column::OrganizationId.eq(organization));
    // An attempt that ends meanwhile would leave a row that the removal does not see.
    let ids = first_ids(alone(deliveries, tx), delivery::Column::Id, tx, limit).await?;
    purge::remove_deliveries(tx, &ids).await?;
    Ok(ids.len())
}

/// Removes events, sessions and audit entries of an organization that has no delivery any more.
async fn remove_records(
    tx: &DatabaseTransaction,
    organization: &str,
    limit: usize,
) -> Result<usize, Failure> {
    let events = event::Entity::find().filter(event::Column::OrganizationId.eq(organization));
    let events = first_ids(events, event::Column::Id, tx, limit).await?;
    let removed = event::Entity::delete_many().filter(event::Column::Id.is_in(events));
    let mut removed = removed.exec(tx).await?.rows_affected;
    let sessions = verification_session::Entity::find()
        .filter(verification_session::Column::OrganizationId.eq(organization));
    let sessions = first_ids(sessions, verification_session::Column::SessionId, tx, limit).await?;
    removed += verification_session::Entity::delete_many()
        .filter(verification_session::Column::OrganizationId.eq(organization))
        .filter(verification_session::Column::SessionId.is_in(sessions))
        .exec(tx)
        .await?
        .rows_affected;
    removed += delivery_minute::Entity::delete_many()
        .filter(delivery_minute::Column::OrganizationId.eq(organization))
        .exec(tx)
        .await?
        .rows_affected;
    let entries =
        audit_log::Entity::find().filter(audit_log::Column::OrganizationId.eq(organization));
    let entries = first_ids(entries, audit_log::Column::Id, tx, limit).await?;
    let entries = audit_log::Entity::delete_many().filter(audit_log::Column::Id.is_in(entries));
    removed += entries.exec(tx).await?.rows_affected;
    Ok(usize::try_from(removed).unwrap_or(usize::MAX))
}

async fn first_ids<E: EntityTrait>(
    rows: Select<E>,
    id: E::Column,
    tx: &DatabaseTransaction,
    limit: usize,
) -> Result<Vec<String>, Failure> {
    Ok(rows.select_only().column(id).limit(limit as u64).into_tuple().all(tx).await?)
}

/// Removes sessions that ended before `before` and whose events are gone.
pub(super) async fn remove_old_sessions(
    db: &Writing,
    before: Timestamp,
    limit: usize,
) -> Result<usize, Failure> {
    let tx = db.begin().await?;
    let old: Vec<(String, String)> =
        outliving(before).limit(limit as u64).into_tuple().all(&tx).await?;
    remove_without_events(&tx, &old.iter().cloned().collect()).await?;
    tx.commit().await?;
    Ok(old.len())
}

/// Sessions that ended before `before`, and stay without their events.
pub(super) fn outliving(before: Timestamp) -> Select<verification_session::Entity> {
    use verification_session::Column::{OrganizationId, SessionId, TerminalEventId};
    verification_session::Entity::find()
        .select_only()
        .columns([OrganizationId, SessionId])
        .filter(TerminalEventId.lt(floor_id("evt_", before)))
        .filter(Expr::cust("outlives_event"))
        .order_by(TerminalEventId, Order::Asc)
}
