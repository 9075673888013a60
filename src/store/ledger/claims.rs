//! Claiming and settling: each one guarded statement for a whole batch.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use hookseal_core::delivery::Status;
use hookseal_core::id::{DeliveryId, Minter};
use hookseal_core::ports::{Claimed, Settlement};
use hookseal_core::time::Timestamp;
use hookseal_entity::{delivery, delivery_attempt, sealed_payload};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, FromQueryResult,
    IntoActiveModel, Order, QueryFilter, QueryOrder, Statement, Value,
};

use super::{ClaimRequest, INSERT_ROWS};
use crate::store::news::News;
use crate::store::rows::{self, attempt_row, duration_ms};
use crate::store::transition::{Busy, locked, write};
use crate::store::withdrawal::on_revoked_attempts_ended;
use crate::store::{Failure, broken_row};

/// The machine's `claim` as one guarded statement for the whole batch; only what is pending, due and
/// still has its payload is claimed.
pub(super) async fn claim(
    tx: &DatabaseTransaction,
    claims: &[&ClaimRequest],
    news: &mut News,
) -> Result<HashMap<DeliveryId, Claimed>, Failure> {
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for request in claims {
        for id in &request.ids {
            rows.push(vec![
                id.as_str().into(),
                request.claim.token.0.into(),
                request.claim.expires_at.as_ms().into(),
                request.now.as_ms().into(),
            ]);
        }
    }
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let columns =
        [("k", "text"), ("token", "bigint"), ("expires_at_ms", "bigint"), ("now_ms", "bigint")];
    let (list, values) = values_list("c", &columns, rows);
    let sql = format!(
        "WITH {list} UPDATE deliveries SET status = '{delivering}', next_attempt_at_ms = NULL, \
         claim_token = c.token, claim_expires_at_ms = c.expires_at_ms, updated_at_ms = c.now_ms \
         FROM c WHERE deliveries.id = c.k AND deliveries.status = '{pending}' \
         AND deliveries.next_attempt_at_ms <= c.now_ms \
         AND deliveries.payload_scrubbed_at_ms IS NULL RETURNING *",
        delivering = Status::Delivering.as_str(),
        pending = Status::Pending.as_str(),
    );
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    let mut deliveries = HashMap::new();
    for row in tx.query_all_raw(statement).await? {
        let model = delivery::Model::from_query_result(&row, "").map_err(broken_row)?;
        let id = model.id.clone();
        if let Some(delivery) = rows::readable(model) {
            deliveries.insert(id, delivery);
        }
    }
    let payloads = sealed_payload::Entity::find()
        .filter(sealed_payload::Column::DeliveryId.is_in(deliveries.keys()))
        .all(tx)
        .await?;
    let mut claimed = HashMap::with_capacity(payloads.len());
    for payload in payloads {
        if let Some(delivery) = deliveries.remove(&payload.delivery_id) {
            news.claimed(&delivery);
            let sealed = Bytes::from(payload.jwe);
            claimed.insert(delivery.id.clone(), Claimed { delivery, sealed });
        }
    }
    Ok(claimed)
}

/// The ends of claims that were written.
pub(super) struct Settled {
    /// Ids of deliveries whose claims still stood.
    pub(super) ids: HashSet<String>,
    /// Whether a replacing event is owed by it.
    pub(super) replacement_owed: bool,
}

/// Writes the ends of claims that still stand.
pub(super) async fn settle(
    tx: &DatabaseTransaction,
    settlements: &[&Settlement],
    minter: &Minter,
    news: &mut News,
) -> Result<Settled, Failure> {
    let mut settled = HashSet::with_capacity(settlements.len());
    for chunk in settlements.chunks(INSERT_ROWS) {
        for row in tx.query_all_raw(settle_statement(tx, chunk)).await? {
            settled.insert(row.try_get_by_index::<String>(0)?);
        }
    }
    let stood: Vec<_> =
        settlements.iter().filter(|s| settled.contains(s.delivery.id.as_str())).collect();
    stood.iter().for_each(|s| news.changed(&s.delivery, &s.progress));
    let scrubbed: Vec<_> = stood
        .iter()
        .filter(|s| !s.progress.has_payload())
        .map(|s| s.delivery.id.as_str())
        .collect();
    if !scrubbed.is_empty() {
        sealed_payload::Entity::delete_many()
            .filter(sealed_payload::Column::DeliveryId.is_in(scrubbed))
            .exec(tx)
            .await?;
    }
    let replaced: Vec<_> = stood
        .iter()
        .filter_map(|s| {
            let attempt = s.replaced.as_ref()?;
            Some(attempt_row(&minter.attempt(s.progress.updated_at), &s.delivery.id, attempt))
        })
        .map(IntoActiveModel::into_active_model)
        .collect();
    if !replaced.is_empty() {
        delivery_attempt::Entity::insert_many(replaced).exec_without_returning(tx).await?;
    }
    let missed: Vec<_> =
        settlements.iter().filter(|s| !settled.contains(s.delivery.id.as_str())).collect();
    let replacement_owed = match missed.as_slice() {
        [] => false,
        missed => {
            let (ended, owed) = settle_revoked(tx, missed, minter, news).await?;
            settled.extend(ended);
            owed
        }
    };
    Ok(Settled { ids: settled, replacement_owed })
}

/// Writes the ends of claims whose payloads were taken away meanwhile; answers their ids, and whether
/// a replacing event is owed by it.
async fn settle_revoked(
    tx: &DatabaseTransaction,
    settlements: &[&&Settlement],
    minter: &Minter,
    news: &mut News,
) -> Result<(Vec<String>, bool), Failure> {
    let by_id: HashMap<&str, &Settlement> = settlements
        .iter()
        .map(|settlement| (settlement.delivery.id.as_str(), **settlement))
        .collect();
    let rows = delivery::Entity::find()
        .filter(delivery::Column::Id.is_in(by_id.keys().copied()))
        .order_by(delivery::Column::Id, Order::Asc);
    let mut rows = locked(rows, tx, Busy::Wait).await?;
    rows.retain(|row| {
        let holds = |token| row.progress.claim.is_some_and(|claim| claim.token == token);
        row.progress.is_revoked_in_flight()
            && by_id.get(row.id.as_str()).is_some_and(|settlement| holds(settlement.token))
    });
    for row in &rows {
        let Some(settlement) = by_id.get(row.id.as_str()) else { continue };
        let progress = row.progress.unless_revoked(settlement.progress.clone());
        let at = progress.updated_at;
        let replaced = settlement.replaced.map(|attempt| (minter.attempt(at), attempt));
        write(tx, row, progress, replaced, news).await?;
    }
    let owed = on_revoked_attempts_ended(tx, &rows.iter().collect::<Vec<_>>()).await?;
    Ok((rows.into_iter().map(|row| row.id.to_string()).collect(), owed))
}

fn settle_statement(tx: &DatabaseTransaction, settlements: &[&Settlement]) -> Statement {
    let columns = [
        ("k", "text"),
        ("token", "bigint"),
        ("status", "text"),
        ("attempt_count", "bigint"),
        ("last_attempt_at_ms", "bigint"),
        ("last_duration_ms", "bigint"),
        ("last_status_code", "bigint"),
        ("last_error", "text"),
        ("next_attempt_at_ms", "bigint"),
        ("payload_expires_at_ms", "bigint"),
        ("retention_reason", "text"),
        ("payload_scrubbed_at_ms", "bigint"),
        ("lost_claims", "bigint"),
        ("maybe_delivered", "boolean"),
        ("failure_reason", "text"),
        ("updated_at_ms", "bigint"),
    ];
    let rows = settlements.iter().map(|settlement| {
        let progress = &settlement.progress;
        let attempt = progress.last_attempt;
        let ms = |at: Option<Timestamp>| at.map(Timestamp::as_ms);
        vec![
            settlement.delivery.id.as_str().into(),
            settlement.token.0.into(),
            progress.status.as_str().into(),
            i64::from(progress.attempt_count).into(),
            attempt.map(|a| a.at.as_ms()).into(),
            attempt.map(|a| duration_ms(a.duration)).into(),
            attempt.and_then(|a| a.status_code).map(i64::from).into(),
            attempt.and_then(|a| a.error).map(|kind| kind.as_str()).into(),
            ms(progress.next_attempt_at).into(),
            ms(progress.payload_expires_at).into(),
            progress.retention_reason.as_str().into(),
            ms(progress.payload_scrubbed_at).into(),
            i64::from(progress.lost_claims).into(),
            progress.maybe_delivered.into(),
            progress.failure_reason.map(|reason| reason.as_str()).into(),
            progress.updated_at.as_ms().into(),
        ]
    });
    let (list, values) = values_list("s", &columns, rows.collect());
    let assignments: Vec<_> =
        columns[2..].iter().map(|(name, _)| format!("{name} = s.{name}")).collect();
    let sql = format!(
        "WITH {list} UPDATE deliveries SET {}, claim_token = NULL, claim_expires_at_ms = NULL \
         FROM s WHERE deliveries.id = s.k AND deliveries.claim_token = s.token \
         AND deliveries.payload_scrubbed_at_ms IS NULL RETURNING deliveries.id",
        assignments.join(", "),
    );
    Statement::from_sql_and_values(tx.get_database_backend(), sql, values)
}

/// `name(columns…) AS (VALUES (…), …)` with its parameters, sorted by key so that two writers lock
/// rows in one order.
fn values_list(
    name: &str,
    columns: &[(&str, &str)],
    mut rows: Vec<Vec<Value>>,
) -> (String, Vec<Value>) {
    rows.sort_by(|a, b| format!("{:?}", a[0]).cmp(&format!("{:?}", b[0])));
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let mut sql = format!("{name}({}) AS (VALUES ", names.join(", "));
    let mut values = Vec::with_capacity(rows.len() * columns.len());
    for (i, row) in rows.into_iter().enumerate() {
        sql.push_str(if i == 0 { "(" } else { ", (" });
        for (j, (value, (_, kind))) in row.into_iter().zip(columns).enumerate() {
            values.push(value);
            let comma = if j == 0 { "" } else { ", " };
            sql.push_str(&format!("{comma}CAST(${} AS {kind})", values.len()));
        }
        sql.push(')');
    }
    sql.push(')');
    (sql, values)
}
