//! Deliveries read for a transition, and what the machine made of them written back, in the caller's
//! transaction.

use hookseal_core::delivery::{Attempt, Delivery, Progress};
use hookseal_core::id::AttemptId;
use hookseal_entity::{delivery, delivery_attempt, sealed_payload};
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait,
    IntoActiveModel, QuerySelect, Select,
};

use super::news::News;
use super::rows::{attempt_row, delivery_row};
use super::{Failure, rows};

/// What to do about rows that somebody else is working on.
#[derive(Clone, Copy)]
pub(super) enum Busy {
    /// Leave them to him.
    PassOver,
    /// Wait for him.
    Wait,
}

/// Reads rows and keeps others off them until the transaction ends.
pub(super) async fn locked(
    query: Select<delivery::Entity>,
    tx: &DatabaseTransaction,
    busy: Busy,
) -> Result<Vec<Delivery>, Failure> {
    let query = match (tx.get_database_backend(), busy) {
        (DbBackend::Postgres, Busy::Wait) => query.lock_exclusive(),
        (DbBackend::Postgres, Busy::PassOver) => {
            query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        }
        // SQLite has one writer: the transaction that has begun to write.
        _ => query,
    };
    let rows = query.all(tx).await?;
    Ok(rows.into_iter().filter_map(rows::readable).collect())
}

/// Replaces a delivery's row by what the machine made of it. A scrubbed payload goes with it; an
/// attempt that is no longer in the row goes into the history.
pub(super) async fn write(
    tx: &DatabaseTransaction,
    before: &Delivery,
    progress: Progress,
    replaced: Option<(AttemptId, Attempt)>,
    news: &mut News,
) -> Result<Delivery, Failure> {
    news.changed(before, &progress);
    let after = Delivery { progress, ..before.clone() };
    let row = delivery_row(&after).into_active_model();
    delivery::Entity::update(row.reset_all()).exec(tx).await?;
    if !after.progress.has_payload() {
        sealed_payload::Entity::delete_by_id(after.id.as_str()).exec(tx).await?;
    }
    if let Some((id, attempt)) = replaced {
        delivery_attempt::Entity::insert(attempt_row(&id, &after.id, &attempt).into_active_model())
            .exec_without_returning(tx)
            .await?;
    }
    Ok(after)
}
