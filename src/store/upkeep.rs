//! What is due, what lapsed and what is over.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use hookseal_core::audit::Action;
use hookseal_core::delivery::{ClaimToken, Delivery, Status};
use hookseal_core::error::{Error, Result};
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::ports::{Blame, Claims, Due, Released, Upkeep};
use hookseal_core::retention::{OVERDUE_GRACE, RetentionHours, Sweep, sweep};
use hookseal_core::shard::Shards;
use hookseal_core::time::Timestamp;
use hookseal_entity::{audit_log, delivery, endpoint, event, node};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, Order,
    QueryFilter, QueryOrder, QuerySelect, Select, Statement,
};

use super::deletion::remove_old_sessions;
use super::ledger::purge::Past;
use super::news::News;
use super::transition::{Busy, locked, write};
use super::withdrawal::on_revoked_attempts_ended;
use super::{Failure, SqlStore, broken_row};

/// Events that are removed at once: on a SQLite few, since whoever writes waits for it, …
const HISTORY_BATCH_EMBEDDED: usize = 100;
/// … and elsewhere so many that ways there and back do not count.
const HISTORY_BATCH: usize = 500;

#[async_trait]
impl Upkeep for SqlStore {
    async fn endpoints_due(
        &self,
        now: Timestamp,
        after: Option<&EndpointId>,
        limit: usize,
    ) -> Result<Vec<EndpointId>> {
        let db = self.readers();
        let statement = endpoints_due_statement(db.get_database_backend(), now, after, limit);
        self.run(async move {
            let rows = db.query_all_raw(statement).await?;
            rows.iter()
                .map(|row| row.try_get_by_index::<String>(0).map(EndpointId::from_row))
                .collect::<Result<_, _>>()
                .map_err(|error| broken_row(error).into())
        })
        .await
    }

    async fn due(&self, endpoint: &EndpointId, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        use delivery::Column::{EndpointId, Id, NextAttemptAtMs};
        let due = pending()
            .select_only()
            .columns([NextAttemptAtMs, Id, EndpointId])
            .filter(EndpointId.eq(endpoint.as_str()))
            .filter(NextAttemptAtMs.lte(now.as_ms()))
            .order_by(NextAttemptAtMs, Order::Asc)
            .order_by(Id, Order::Asc)
            .limit(limit as u64);
        self.due_times(due).await
    }

    async fn upcoming(
        &self,
        shards: Shards,
        after: (Timestamp, Option<&DeliveryId>),
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>> {
        self.due_times(upcoming(shards, after, until).limit(limit as u64)).await
    }

    async fn release(
        &self,
        which: Claims,
        now: Timestamp,
        limit: usize,
        blame: Blame,
    ) -> Result<Released> {
        let (db, dispatch, herald) = (self.writer(), self.dispatch.clone(), self.herald.clone());
        self.run_long(async move {
            let tx = db.begin().await?;
            let lapsed = claimed(which).limit(limit as u64);
            let lapsed = locked(lapsed, &tx, Busy::PassOver).await?;
            let (mut news, mut due) = (News::default(), Vec::new());
            let retentions = endpoint_facts(&tx, &lapsed).await?;
            for delivery in &lapsed {
                let retention = retentions
                    .get(delivery.endpoint_id.as_str())
                    .map_or(RetentionHours::default(), |facts| facts.retention);
                let progress = match blame {
                    Blame::Delivery => delivery.progress.lose_claim(retention, now),
                    Blame::Nobody => delivery.progress.give_up_attempt(now),
                };
                let progress =
                    progress.map_err(|illegal| Error::broken("a claimed delivery", illegal))?;
                let Delivery { id, endpoint_id, progress, .. } =
                    write(&tx, delivery, progress, None, &mut news).await?;
                due.extend(progress.next_attempt_at.map(|at| Due { at, id, endpoint_id }));
            }
            let revoked: Vec<_> =
                lapsed.iter().filter(|delivery| delivery.progress.is_revoked_in_flight()).collect();
            let owed = on_revoked_attempts_ended(&tx, &revoked).await?;
            news.commit(tx, &herald).await?;
            if owed {
                dispatch.replacement_owed();
            }
            Ok(Released { claims: lapsed.len(), due })
        })
        .await
    }

    async fn open_claims(&self, which: Claims, most: usize) -> Result<usize> {
        let (db, open) = (self.readers(), claimed(which).limit(most as u64));
        self.run(async move {
            let ids = open.select_only().column(delivery::Column::Id).into_tuple::<String>();
            Ok(ids.all(&db).await?.len())
        })
        .await
    }

    async fn forget_previous_secrets(&self, now: Timestamp, limit: usize) -> Result<usize> {
        use endpoint::Column::{Id, PreviousSecretUntilMs, PreviousSigningSecret};
        let db = self.writer();
        self.run(async move {
            let ended = Query::select()
                .column(Id)
                .from(endpoint::Entity)
                .and_where(Expr::col(PreviousSecretUntilMs).lte(now.as_ms()))
                .limit(limit as u64)
                .to_owned();
            // No change of settings: whoever signs has judged it by its time already.
            let forgotten = endpoint::Entity::update_many()
                .col_expr(PreviousSigningSecret, Expr::value(Option::<String>::None))
                .col_expr(PreviousSecretUntilMs, Expr::value(Option::<i64>::None))
                .filter(Id.in_subquery(ended))
                // One that was rotated again meanwhile.
                .filter(PreviousSecretUntilMs.lte(now.as_ms()))
                .exec(&db)
                .await?;
            Ok(forgotten.rows_affected as usize)
        })
        .await
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize> {
        let (db, herald) = (self.writer(), self.herald.clone());
        self.run_long(async move {
            let tx = db.begin().await?;
            let candidates = expired(now).limit(limit as u64);
            let candidates = locked(candidates, &tx, Busy::PassOver).await?;
            let mut news = News::default();
            let facts = endpoint_facts(&tx, &candidates).await?;
            for delivery in &candidates {
                let Some(expires_at) = delivery.progress.payload_expires_at else { continue };
                let enabled =
                    facts.get(delivery.endpoint_id.as_str()).is_some_and(|facts| facts.enabled);
                match sweep(delivery.progress.status, expires_at, enabled, now) {
                    Sweep::Keep => {}
                    Sweep::Expire => {
                        let progress = delivery
                            .progress
                            .expire(now)
                            .map_err(|illegal| Error::broken("an expired delivery", illegal))?;
                        write(&tx, delivery, progress, None, &mut news).await?;
                    }
                }
            }
            news.commit(tx, &herald).await?;
            Ok(candidates.len())
        })
        .await
    }

    fn history_batch(&self) -> usize {
        match self.connections.embedded() {
            Some(_) => HISTORY_BATCH_EMBEDDED,
            None => HISTORY_BATCH,
        }
    }

    async fn purge(
        &self,
        before: Timestamp,
        keyed_before: Timestamp,
        limit: usize,
    ) -> Result<usize> {
        use event::Column::{CreatedAtMs, Id, IdempotencyKey};
        let (readers, connections) = (self.readers(), self.connections.clone());
        self.run_long(async move {
            let retained = Query::select()
                .expr(Expr::value(1))
                .from(delivery::Entity)
                .and_where(
                    Expr::col((delivery::Entity, delivery::Column::OrganizationId))
                        .equals((event::Entity, event::Column::OrganizationId)),
                )
                .and_where(
                    Expr::col((delivery::Entity, delivery::Column::EventId))
                        .equals((event::Entity, Id)),
                )
                // Of a revoked one in flight, too, something is still to be told.
                .cond_where(
                    Condition::any()
                        .add(Expr::col(delivery::Column::PayloadScrubbedAtMs).is_null())
                        .add(Expr::col(delivery::Column::Status).eq(Status::Delivering.as_str())),
                )
                .to_owned();
            let keyed = Condition::any()
                .add(IdempotencyKey.is_null())
                .add(CreatedAtMs.lt(keyed_before.as_ms()));
            let events = event::Entity::find()
                .filter(Id.lt(hookseal_core::id::floor_id("evt_", before)))
                .filter(keyed)
                .filter(Expr::exists(retained).not())
                .order_by(Id, Order::Asc)
                .limit(limit as u64)
                .all(&readers)
                .await?;
            let writer = connections.writer();
            if events.is_empty() {
                return remove_old_sessions(&writer, keyed_before, limit).await;
            }
            let removed = events.len();
            Past::of(events, keyed_before, &readers).await?.remove(connections).await?;
            // Full rounds follow each other at once; old sessions wait for one that is not.
            if removed < limit {
                return Ok(removed.max(remove_old_sessions(&writer, keyed_before, limit).await?));
            }
            Ok(removed)
        })
        .await
    }

    async fn clear_deleted_endpoints(&self, now: Timestamp, limit: usize) -> Result<usize> {
        self.clear_endpoints(now, limit).await
    }

    async fn purge_deleted_organizations(&self, now: Timestamp, limit: usize) -> Result<usize> {
        self.purge_organizations(now, limit).await
    }

    async fn purge_audit(&self, before: Timestamp, limit: usize) -> Result<usize> {
        use audit_log::Column::{Action as ActionColumn, Id};
        let db = self.writer();
        self.run(async move {
            let old: Vec<String> = audit_log::Entity::find()
                .select_only()
                .column(Id)
                .filter(ActionColumn.eq(Action::PrivacyRequestSubmitted.as_str()))
                .filter(Id.lt(hookseal_core::id::floor_id("aud_", before)))
                .limit(limit as u64)
                .into_tuple()
                .all(&db)
                .await?;
            let removed = audit_log::Entity::delete_many().filter(Id.is_in(&old)).exec(&db).await?;
            Ok(usize::try_from(removed.rows_affected).unwrap_or(usize::MAX))
        })
        .await
    }

    async fn ping(&self) -> Result<()> {
        let (readers, writer) = (self.readers(), self.connections.ledger());
        self.run(async move {
            readers.ping().await?;
            Ok(writer.ping().await?)
        })
        .await
    }
}

impl SqlStore {
    /// Runs a query for due times, deliveries and endpoints.
    async fn due_times(&self, query: Select<delivery::Entity>) -> Result<Vec<Due>> {
        let db = self.readers();
        self.run(async move {
            let rows: Vec<(i64, String, String)> = query.into_tuple().all(&db).await?;
            let due = rows.into_iter().map(|(at, id, endpoint)| Due {
                at: Timestamp::from_ms(at),
                id: DeliveryId::from_row(id),
                endpoint_id: EndpointId::from_row(endpoint),
            });
            Ok(due.collect())
        })
        .await
    }
}

/// Deliveries to endpoints of `shards`, by the arithmetic of [`Shard::of`](hookseal_core::shard::Shard::of).
/// Only a PostgreSQL is ever shared.
fn in_shards(shards: Shards) -> Condition {
    if shards == Shards::ALL {
        return Condition::all();
    }
    Condition::all().add(Expr::cust_with_values(
        "(CAST($1 AS bigint) >> ((ascii(right(deliveries.endpoint_id, 1)) * 31
            + ascii(right(deliveries.endpoint_id, 2))) % 64)) & 1 = 1",
        [shards.bits().cast_signed()],
    ))
}

/// Finds endpoints that have something due. Hops from endpoint to endpoint through the index of what is pending, in its
/// order: the cost is that of the endpoints that have something pending, however much that is.
pub(super) fn endpoints_due_statement(
    backend: DbBackend,
    now: Timestamp,
    after: Option<&EndpointId>,
    limit: usize,
) -> Statement {
    let next = |after| {
        format!(
            "SELECT (SELECT endpoint_id FROM deliveries
                WHERE status = 'pending' AND endpoint_id > {after}
                ORDER BY endpoint_id, next_attempt_at_ms LIMIT 1)"
        )
    };
    let sql = format!(
        "WITH RECURSIVE waiting (endpoint_id) AS (
            {}
            UNION ALL
            {} FROM waiting WHERE waiting.endpoint_id IS NOT NULL
        )
        SELECT endpoints.id FROM waiting
        JOIN endpoints ON endpoints.id = waiting.endpoint_id
        WHERE endpoints.enabled AND (
            SELECT next_attempt_at_ms FROM deliveries
            WHERE status = 'pending' AND endpoint_id = waiting.endpoint_id
            ORDER BY endpoint_id, next_attempt_at_ms LIMIT 1) <= $2
        ORDER BY endpoints.id LIMIT $3",
        next("$1"),
        next("waiting.endpoint_id")
    );
    let after = after.map(ToString::to_string).unwrap_or_default();
    let values = [after.into(), now.as_ms().into(), (limit as i64).into()];
    Statement::from_sql_and_values(backend, sql, values)
}

/// What falls due until an instant, beyond the last that was read.
pub(super) fn upcoming(
    shards: Shards,
    after: (Timestamp, Option<&DeliveryId>),
    until: Timestamp,
) -> Select<delivery::Entity> {
    use delivery::Column::{EndpointId, Id, NextAttemptAtMs};
    let (after, last) = (after.0.as_ms(), after.1);
    let beyond = match last {
        None => Condition::all().add(NextAttemptAtMs.gt(after)),
        Some(last) => Condition::any()
            .add(NextAttemptAtMs.gt(after))
            .add(Condition::all().add(NextAttemptAtMs.eq(after)).add(Id.gt(last.as_str()))),
    };
    pending()
        .select_only()
        .columns([NextAttemptAtMs, Id, EndpointId])
        // Where the index begins; `beyond` alone would be a filter over all that is overdue.
        .filter(NextAttemptAtMs.gte(after))
        .filter(beyond)
        .filter(NextAttemptAtMs.lte(until.as_ms()))
        .filter(in_shards(shards))
        .order_by(NextAttemptAtMs, Order::Asc)
        .order_by(Id, Order::Asc)
}

fn pending() -> Select<delivery::Entity> {
    delivery::Entity::find().filter(delivery::Column::Status.eq(Status::Pending.as_str()))
}

/// Deliveries that keep a payload beyond its time.
pub(super) fn expired(now: Timestamp) -> Select<delivery::Entity> {
    use delivery::Column::{EndpointId, Id, PayloadExpiresAtMs, Status as StatusColumn};
    let disabled = Query::select()
        .column(endpoint::Column::Id)
        .from(endpoint::Entity)
        .and_where(Expr::col(endpoint::Column::Enabled).eq(false))
        .to_owned();
    // A late schedule of an enabled endpoint is let be for a day; without this condition such rows would fill every
    // batch.
    let may_be_over = Condition::any()
        .add(StatusColumn.eq(Status::Failed.as_str()))
        .add(EndpointId.in_subquery(disabled))
        .add(PayloadExpiresAtMs.lte(now.minus(OVERDUE_GRACE).as_ms()));
    // As the index has it, in its own words: SQLite does not see that a list of parameters is the same.
    let open = format!(
        "deliveries.status IN ('{}', '{}')",
        Status::Pending.as_str(),
        Status::Failed.as_str()
    );
    delivery::Entity::find()
        .filter(Expr::cust(open))
        .filter(PayloadExpiresAtMs.lte(now.as_ms()))
        .filter(may_be_over)
        .order_by(PayloadExpiresAtMs, Order::Asc)
        .order_by(Id, Order::Asc)
}

/// Deliveries in flight by those that `which` names, in the order of the index, so that a few are found without the
/// others.
pub(super) fn claimed(which: Claims) -> Select<delivery::Entity> {
    use delivery::Column::{ClaimExpiresAtMs, ClaimToken as Token, Id, Status as StatusColumn};
    let open = delivery::Entity::find()
        .filter(StatusColumn.eq(Status::Delivering.as_str()))
        .order_by(ClaimExpiresAtMs, Order::Asc)
        .order_by(Id, Order::Asc);
    let lowest = 1_i64 << ClaimToken::RANDOM_BITS;
    let node = || Expr::col((delivery::Entity, Token)).div(lowest);
    let mask = ClaimToken::NODE_MASK;
    let ended = || {
        let serving = Query::select()
            .expr(Expr::col(node::Column::Number).bit_and(mask))
            .from(node::Entity)
            .and_where(node::Column::EndedAtMs.is_null())
            .to_owned();
        // One that was alone and died has no row: others are there only after it.
        let several = Expr::exists(serving.clone());
        node().not_in_subquery(serving).and(node().ne(0).or(several))
    };
    match which {
        Claims::All => open,
        Claims::LapsedOf(holder, instant) => {
            open.filter(ClaimExpiresAtMs.lte(instant.as_ms())).filter(node().eq(holder.0 & mask))
        }
        Claims::OfTheEnded => open.filter(ended()),
        Claims::LapsedOfTheEnded(instant) => {
            open.filter(ClaimExpiresAtMs.lte(instant.as_ms())).filter(ended())
        }
    }
}

struct EndpointFacts {
    enabled: bool,
    retention: RetentionHours,
}

async fn endpoint_facts(
    tx: &DatabaseTransaction,
    deliveries: &[Delivery],
) -> Result<HashMap<String, EndpointFacts>, Failure> {
    let ids: HashSet<&str> = deliveries.iter().map(|d| d.endpoint_id.as_str()).collect();
    let rows = endpoint::Entity::find().filter(endpoint::Column::Id.is_in(ids)).all(tx).await?;
    let facts = rows.into_iter().map(|row| {
        let retention = RetentionHours::new(row.retention_hours).unwrap_or_default();
        (row.id, EndpointFacts { enabled: row.enabled, retention })
    });
    Ok(facts.collect())
}
