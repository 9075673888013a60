//! Group commit: every write of the hot path that arrives while a transaction runs goes into the
//! next one, as multi-row statements. A lone write waits for nobody; under load the cost of a
//! commit is shared.
//!
//! One caller's conflict never spoils the batch: inserts that can conflict do nothing, what depends
//! on them is inserted for the winners only, and the losers are answered from what stands.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hookseal_core::delivery::{Claim, Status};
use hookseal_core::error::{Error, Result};
use hookseal_core::id::{DeliveryId, EventId};
use hookseal_core::limits::{LEDGER_BATCH_BYTES, LEDGER_BATCH_ROWS, LEDGER_QUEUE};
use hookseal_core::ports::{
    Acceptance, Accepted, Claimed, Dispatch, HandOver, Ledger, NewDelivery, Settlement,
};
use hookseal_core::time::Timestamp;
use hookseal_entity::{delivery, delivery_attempt, event, organization, sealed_payload, session};
use sea_orm::sea_query::{OnConflict, Query, SimpleExpr};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait,
    FromQueryResult, IntoActiveModel, QueryFilter, RuntimeErr, Statement, Value,
};
use tokio::sync::{mpsc, oneshot};

use super::rows::{delivery_row, duration_ms};
use super::{SqlStore, begin_write, broken_row, rows, unavailable};
use crate::metrics;

/// Rows of one multi-row insert: 22 columns a row stay below SQLite's 32,766 bind parameters.
const INSERT_ROWS: usize = 1000;
/// How often a batch is tried again after a serialization failure or deadlock.
const CONFLICT_RETRIES: usize = 5;

/// Where writes wait for the next transaction.
#[derive(Clone, Debug)]
pub(super) struct Queue(mpsc::Sender<Write>);

enum Write {
    Accept(Box<Acceptance>, Reply<Accepted>),
    Claim(ClaimRequest, Reply<Vec<Claimed>>),
    Settle(Vec<Settlement>, Reply<Vec<bool>>),
}

/// Where a caller waits for the commit.
type Reply<T> = oneshot::Sender<Result<T>>;

struct ClaimRequest {
    ids: Vec<DeliveryId>,
    claim: Claim,
    now: Timestamp,
}

impl Write {
    fn rows(&self) -> usize {
        match self {
            Self::Accept(acceptance, _) => 1 + acceptance.deliveries.len(),
            Self::Claim(request, _) => request.ids.len(),
            Self::Settle(settlements, _) => settlements.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Accept(acceptance, _) => acceptance
                .deliveries
                .iter()
                .filter_map(|new| new.sealed.as_ref())
                .map(Bytes::len)
                .sum(),
            Self::Claim(..) | Self::Settle(..) => 0,
        }
    }
}

/// Starts the writing task.
pub(super) fn start(
    db: &DatabaseConnection,
    runtime: &tokio::runtime::Handle,
    dispatch: Arc<dyn Dispatch>,
) -> Queue {
    let (sender, receiver) = mpsc::channel(LEDGER_QUEUE);
    runtime.spawn(write_batches(db.clone(), receiver, dispatch));
    Queue(sender)
}

#[async_trait]
impl Ledger for SqlStore {
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted> {
        let (reply, answer) = oneshot::channel();
        // A publisher that finds the queue full is told so at once; only actors wait for a place.
        self.ledger
            .0
            .try_send(Write::Accept(Box::new(acceptance), reply))
            .map_err(|_| Error::full("the ledger"))?;
        answer.await.unwrap_or_else(|_| Err(Error::full("the ledger")))
    }

    async fn claim(
        &self,
        ids: Vec<DeliveryId>,
        claim: Claim,
        now: Timestamp,
    ) -> Result<Vec<Claimed>> {
        let (reply, answer) = oneshot::channel();
        let write = Write::Claim(ClaimRequest { ids, claim, now }, reply);
        self.ledger.0.send(write).await.map_err(|_| Error::full("the ledger"))?;
        answer.await.unwrap_or_else(|_| Err(Error::full("the ledger")))
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<bool>> {
        let (reply, answer) = oneshot::channel();
        let write = Write::Settle(settlements, reply);
        self.ledger.0.send(write).await.map_err(|_| Error::full("the ledger"))?;
        answer.await.unwrap_or_else(|_| Err(Error::full("the ledger")))
    }
}

async fn write_batches(
    db: DatabaseConnection,
    mut queue: mpsc::Receiver<Write>,
    dispatch: Arc<dyn Dispatch>,
) {
    let mut first = queue.recv().await;
    while let Some(write) = first.take() {
        let (mut rows, mut bytes) = (write.rows(), write.bytes());
        let mut batch = vec![write];
        while rows < LEDGER_BATCH_ROWS && bytes < LEDGER_BATCH_BYTES {
            let Ok(write) = queue.try_recv() else { break };
            if rows + write.rows() > LEDGER_BATCH_ROWS || bytes + write.bytes() > LEDGER_BATCH_BYTES
            {
                first = Some(write);
                break;
            }
            rows += write.rows();
            bytes += write.bytes();
            batch.push(write);
        }
        metrics::LEDGER_BATCH_ROWS.observe(rows as f64);
        let timer = metrics::LEDGER_COMMIT_SECONDS.start_timer();
        write_batch(&db, batch, &*dispatch).await;
        timer.observe_duration();
        if first.is_none() {
            first = queue.recv().await;
        }
    }
}

/// Commits a batch and answers its callers. A statement that the database refuses is somebody's in
/// particular: each write is then tried alone, so that nobody fails for another's sake.
async fn write_batch(db: &DatabaseConnection, batch: Vec<Write>, dispatch: &dyn Dispatch) {
    match commit(db, &batch).await {
        Ok(outcome) => answer(batch, outcome, dispatch),
        Err(failure) if batch.len() > 1 && failure.is_refusal() => {
            for write in batch {
                Box::pin(write_batch(db, vec![write], dispatch)).await;
            }
        }
        Err(failure) => {
            let error = Error::from(failure);
            tracing::error!(
                error = &error as &dyn std::error::Error,
                writes = batch.len(),
                "ledger batch failed"
            );
            batch.into_iter().for_each(|write| refuse(write, &error));
        }
    }
}

/// What a committed batch came to; acceptances in the order of the batch.
struct BatchOutcome {
    accepted: Vec<Accepted>,
    claimed: HashMap<DeliveryId, Claimed>,
    settled: HashSet<String>,
}

/// Passes what was committed on, then answers every caller. A caller that is gone is no error: the
/// rows are the truth.
fn answer(batch: Vec<Write>, outcome: BatchOutcome, dispatch: &dyn Dispatch) {
    let BatchOutcome { accepted, mut claimed, mut settled } = outcome;
    let mut accepted = accepted.into_iter();
    for write in batch {
        match write {
            Write::Accept(acceptance, reply) => {
                let Some(verdict) = accepted.next() else { continue };
                if matches!(verdict, Accepted::Committed) {
                    metrics::EVENTS_ACCEPTED.inc();
                    let deliveries = acceptance.deliveries.into_iter();
                    dispatch.hand_over(deliveries.filter_map(hand_over).collect());
                }
                let _ = reply.send(Ok(verdict));
            }
            Write::Claim(request, reply) => {
                let mine = request.ids.iter().filter_map(|id| claimed.remove(id)).collect();
                let _ = reply.send(Ok(mine));
            }
            Write::Settle(settlements, reply) => {
                let stood = settlements.iter().map(|s| settled.remove(s.id.as_str())).collect();
                let _ = reply.send(Ok(stood));
            }
        }
    }
}

fn refuse(write: Write, error: &Error) {
    let again = Error::unavailable("the database", error.to_string());
    match write {
        Write::Accept(_, reply) => drop(reply.send(Err(again))),
        Write::Claim(_, reply) => drop(reply.send(Err(again))),
        Write::Settle(_, reply) => drop(reply.send(Err(again))),
    }
}

fn hand_over(new: NewDelivery) -> Option<HandOver> {
    match new.delivery.progress.status {
        Status::Pending | Status::Delivering => {
            Some(HandOver { delivery: new.delivery, claimed: new.sealed.zip(new.reservation) })
        }
        Status::Succeeded | Status::Failed => None,
    }
}

async fn commit(db: &DatabaseConnection, batch: &[Write]) -> Result<BatchOutcome, Failure> {
    let mut tries = 0;
    loop {
        match try_commit(db, batch).await {
            Err(failure) if tries < CONFLICT_RETRIES && failure.is_conflict() => tries += 1,
            result => return result,
        }
    }
}

/// Why a transaction did not commit.
enum Failure {
    Driver(DbErr),
    Row(Error),
}

impl Failure {
    /// Trying the same batch again may pass: a serialization failure or a deadlock.
    fn is_conflict(&self) -> bool {
        let code = self.database_code();
        matches!(code.as_deref(), Some("40001" | "40P01"))
    }

    /// The database refused the data of a statement, which is one write's own doing; that it is
    /// away, locked or full concerns all of them.
    fn is_refusal(&self) -> bool {
        // PostgreSQL: data exceptions and integrity violations; SQLite: too big, constraint,
        // mismatch, whose extended codes carry them in their low byte.
        let of_data = |code: String| match code.parse::<i32>() {
            Ok(sqlite) if code.len() < 5 => matches!(sqlite & 0xff, 18..=20),
            Ok(_) | Err(_) => code.starts_with("22") || code.starts_with("23"),
        };
        matches!(self, Self::Row(_)) || self.database_code().is_some_and(of_data)
    }

    fn database_code(&self) -> Option<String> {
        match self {
            Self::Driver(DbErr::Exec(RuntimeErr::SqlxError(error)))
            | Self::Driver(DbErr::Query(RuntimeErr::SqlxError(error))) => {
                Some(error.as_database_error()?.code().unwrap_or_default().into_owned())
            }
            Self::Driver(_) | Self::Row(_) => None,
        }
    }
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Row(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Driver(error) => unavailable(error),
            Failure::Row(error) => error,
        }
    }
}

async fn try_commit(db: &DatabaseConnection, batch: &[Write]) -> Result<BatchOutcome, Failure> {
    let (mut acceptances, mut claims, mut settlements) = (Vec::new(), Vec::new(), Vec::new());
    for write in batch {
        match write {
            Write::Accept(acceptance, _) => acceptances.push(&**acceptance),
            Write::Claim(request, _) => claims.push(request),
            Write::Settle(items, _) => settlements.extend(items),
        }
    }
    // Two ends of one claim in one batch: the first is the end, as it would be in two batches.
    let mut ended = HashSet::new();
    settlements.retain(|settlement| ended.insert((&settlement.id, settlement.token)));
    let tx = begin_write(db).await?;
    let settled = settle(&tx, &settlements).await?;
    let claimed = claim(&tx, &claims).await?;
    let accepted = accept(&tx, &acceptances).await?;
    tx.commit().await?;
    Ok(BatchOutcome { accepted, claimed, settled })
}

/// Inserts events, their sessions, deliveries and payloads.
async fn accept(
    tx: &DatabaseTransaction,
    acceptances: &[&Acceptance],
) -> Result<Vec<Accepted>, Failure> {
    if acceptances.is_empty() {
        return Ok(Vec::new());
    }
    let organizations = organizations(tx, acceptances).await?;
    let mut verdicts: Vec<Option<Accepted>> = Vec::with_capacity(acceptances.len());
    for acceptance in acceptances {
        let known = organizations.get(acceptance.event.organization_id.as_str());
        verdicts.push(match known {
            None => Some(Accepted::NoOrganization),
            Some(organization) if organization.frozen_at_ms.is_some() => Some(Accepted::Frozen),
            Some(_) => None,
        });
    }
    // A repetition is answered before anything else can refuse it.
    let events = undecided(acceptances, &verdicts);
    let inserted = insert_events(tx, &events).await?;
    for (i, acceptance) in acceptances.iter().enumerate() {
        if verdicts[i].is_none() && !inserted.contains(acceptance.event.id.as_str()) {
            verdicts[i] = Some(repeated(tx, acceptance).await?);
        }
    }
    let mut traces: Vec<String> = Vec::new();
    for (verdict, acceptance) in verdicts.iter_mut().zip(acceptances) {
        let known = organizations.get(acceptance.event.organization_id.as_str());
        if verdict.is_none()
            && known.is_none_or(|found| found.audience_version != acceptance.audience_version)
        {
            *verdict = Some(Accepted::Stale);
            traces.push(acceptance.event.id.to_string());
        }
    }
    let ended = end_sessions(tx, &undecided(acceptances, &verdicts)).await?;
    for (verdict, acceptance) in verdicts.iter_mut().zip(acceptances) {
        let ends = acceptance.terminal && acceptance.session_id.is_some();
        if verdict.is_none() && ends && !ended.contains(acceptance.event.id.as_str()) {
            *verdict = Some(Accepted::TerminalExists);
            traces.push(acceptance.event.id.to_string());
        }
    }
    if !traces.is_empty() {
        event::Entity::delete_many().filter(event::Column::Id.is_in(traces)).exec(tx).await?;
    }
    let winners = undecided(acceptances, &verdicts);
    insert_deliveries(tx, winners.iter().flat_map(|acceptance| &acceptance.deliveries)).await?;
    Ok(verdicts.into_iter().map(|verdict| verdict.unwrap_or(Accepted::Committed)).collect())
}

fn undecided<'a>(
    acceptances: &[&'a Acceptance],
    verdicts: &[Option<Accepted>],
) -> Vec<&'a Acceptance> {
    let pairs = acceptances.iter().zip(verdicts);
    pairs.filter(|(_, verdict)| verdict.is_none()).map(|(acceptance, _)| *acceptance).collect()
}

async fn organizations(
    tx: &DatabaseTransaction,
    acceptances: &[&Acceptance],
) -> Result<HashMap<String, organization::Model>, DbErr> {
    let ids: HashSet<&str> =
        acceptances.iter().map(|acceptance| acceptance.event.organization_id.as_str()).collect();
    let rows =
        organization::Entity::find().filter(organization::Column::Id.is_in(ids)).all(tx).await?;
    Ok(rows.into_iter().map(|row| (row.id.clone(), row)).collect())
}

/// Inserts what conflicts with nothing; answers the ids that were inserted.
async fn insert_events(
    tx: &DatabaseTransaction,
    acceptances: &[&Acceptance],
) -> Result<HashSet<String>, DbErr> {
    let mut inserted = HashSet::with_capacity(acceptances.len());
    for chunk in acceptances.chunks(INSERT_ROWS) {
        let mut insert = Query::insert();
        insert
            .into_table(event::Entity)
            .columns([
                event::Column::Id,
                event::Column::OrganizationId,
                event::Column::EventType,
                event::Column::TriggerType,
                event::Column::TriggerId,
                event::Column::SessionId,
                event::Column::IdempotencyKey,
                event::Column::Fingerprint,
                event::Column::CreatedAtMs,
            ])
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .returning_col(event::Column::Id);
        for acceptance in chunk {
            let Acceptance { event, session_id, idempotency, .. } = acceptance;
            insert.values_panic([
                event.id.as_str().into(),
                event.organization_id.as_str().into(),
                (&*event.event_type).into(),
                (&*event.trigger_type).into(),
                event.trigger_id.as_str().into(),
                session_id.as_ref().map(|id| id.to_string()).into(),
                idempotency.as_ref().map(|i| i.key.clone()).into(),
                idempotency.as_ref().map(|i| i.fingerprint.clone()).into(),
                event.created_at.as_ms().into(),
            ] as [SimpleExpr; 9]);
        }
        for row in tx.query_all(&insert).await? {
            inserted.insert(row.try_get_by_index(0)?);
        }
    }
    Ok(inserted)
}

async fn repeated(tx: &DatabaseTransaction, acceptance: &Acceptance) -> Result<Accepted, Failure> {
    let broken =
        || Failure::Row(Error::Broken { what: "an event that was not inserted", source: None });
    let idempotency = acceptance.idempotency.as_ref().ok_or_else(broken)?;
    let first = event::Entity::find()
        .filter(event::Column::OrganizationId.eq(acceptance.event.organization_id.as_str()))
        .filter(event::Column::IdempotencyKey.eq(&idempotency.key))
        .one(tx)
        .await?
        .ok_or_else(broken)?;
    Ok(Accepted::Repeated {
        event_id: EventId::from_row(first.id),
        fingerprint: first.fingerprint.unwrap_or_default(),
    })
}

/// Records terminal events of sessions that have none; answers the ids of those events.
async fn end_sessions(
    tx: &DatabaseTransaction,
    acceptances: &[&Acceptance],
) -> Result<HashSet<String>, DbErr> {
    let mut ended = HashSet::new();
    let terminal: Vec<_> = acceptances
        .iter()
        .filter(|acceptance| acceptance.terminal)
        .filter_map(|acceptance| acceptance.session_id.as_ref().map(|id| (acceptance, id)))
        .collect();
    for chunk in terminal.chunks(INSERT_ROWS) {
        let mut insert = Query::insert();
        insert
            .into_table(session::Entity)
            .columns([
                session::Column::OrganizationId,
                session::Column::SessionId,
                session::Column::TerminalEventId,
            ])
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .returning_col(session::Column::TerminalEventId);
        for (acceptance, session_id) in chunk {
            insert.values_panic([
                acceptance.event.organization_id.as_str().into(),
                session_id.as_str().into(),
                acceptance.event.id.as_str().into(),
            ] as [SimpleExpr; 3]);
        }
        for row in tx.query_all(&insert).await? {
            ended.insert(row.try_get_by_index(0)?);
        }
    }
    Ok(ended)
}

async fn insert_deliveries<'a>(
    tx: &DatabaseTransaction,
    new: impl Iterator<Item = &'a NewDelivery>,
) -> Result<(), DbErr> {
    let new: Vec<_> = new.collect();
    for chunk in new.chunks(INSERT_ROWS) {
        let rows = chunk.iter().map(|new| delivery_row(&new.delivery).into_active_model());
        delivery::Entity::insert_many(rows).exec_without_returning(tx).await?;
        let payloads: Vec<_> = chunk
            .iter()
            .filter_map(|new| new.sealed.as_ref().map(|sealed| (new, sealed)))
            .map(|(new, sealed)| sealed_payload::Model {
                delivery_id: new.delivery.id.to_string(),
                jwe: sealed.to_vec(),
            })
            .map(IntoActiveModel::into_active_model)
            .collect();
        if !payloads.is_empty() {
            sealed_payload::Entity::insert_many(payloads).exec_without_returning(tx).await?;
        }
    }
    Ok(())
}

/// The machine's `claim` as one guarded statement for the whole batch; only what is pending, due and
/// still has its payload is claimed.
async fn claim(
    tx: &DatabaseTransaction,
    claims: &[&ClaimRequest],
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
            let sealed = Bytes::from(payload.jwe);
            claimed.insert(delivery.id.clone(), Claimed { delivery, sealed });
        }
    }
    Ok(claimed)
}

/// Writes the ends of claims that still stand; answers their ids.
async fn settle(
    tx: &DatabaseTransaction,
    settlements: &[&Settlement],
) -> Result<HashSet<String>, DbErr> {
    let mut settled = HashSet::with_capacity(settlements.len());
    for chunk in settlements.chunks(INSERT_ROWS) {
        for row in tx.query_all_raw(settle_statement(tx, chunk)).await? {
            settled.insert(row.try_get_by_index::<String>(0)?);
        }
    }
    let stood: Vec<_> = settlements.iter().filter(|s| settled.contains(s.id.as_str())).collect();
    let scrubbed: Vec<_> =
        stood.iter().filter(|s| !s.progress.has_payload()).map(|s| s.id.as_str()).collect();
    if !scrubbed.is_empty() {
        sealed_payload::Entity::delete_many()
            .filter(sealed_payload::Column::DeliveryId.is_in(scrubbed))
            .exec(tx)
            .await?;
    }
    let replaced: Vec<_> = stood
        .iter()
        .filter_map(|s| s.replaced.as_ref().map(|(id, attempt)| (s, id, attempt)))
        .map(|(settlement, id, attempt)| delivery_attempt::Model {
            id: id.to_string(),
            delivery_id: settlement.id.to_string(),
            attempted_at_ms: attempt.at.as_ms(),
            duration_ms: duration_ms(attempt.duration),
            status_code: attempt.status_code.map(i64::from),
            error: attempt.error.map(|kind| kind.as_str().to_owned()),
        })
        .map(IntoActiveModel::into_active_model)
        .collect();
    if !replaced.is_empty() {
        delivery_attempt::Entity::insert_many(replaced).exec_without_returning(tx).await?;
    }
    Ok(settled)
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
        ("failure_reason", "text"),
        ("updated_at_ms", "bigint"),
    ];
    let rows = settlements.iter().map(|settlement| {
        let progress = &settlement.progress;
        let attempt = progress.last_attempt;
        let ms = |at: Option<Timestamp>| at.map(Timestamp::as_ms);
        vec![
            settlement.id.as_str().into(),
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
         RETURNING deliveries.id",
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
