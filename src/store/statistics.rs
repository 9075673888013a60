//! How deliveries went: counted in memory as they are committed, kept a minute at a time. A process that
//! dies takes the minute along that it was counting.

use std::collections::HashMap;

use async_trait::async_trait;
use hookseal_core::error::Result;
use hookseal_core::feed::Change;
use hookseal_core::id::OrganizationId;
use hookseal_core::ports::Tallies;
use hookseal_core::statistics::{Durations, Scope, Statistics, Tally, Waiting, minute_of};
use hookseal_core::time::Timestamp;
use hookseal_entity::delivery_minute::{Column, Entity, Model};
use parking_lot::Mutex;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, IntoActiveModel,
    QueryFilter, QueryOrder, QuerySelect, Statement, Value,
};

use super::{Failure, SqlStore, rows};

/// Whose minute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Minute {
    organization: OrganizationId,
    scope: Scope,
    minute: i64,
}

/// Minutes that are being counted.
#[derive(Debug, Default)]
pub(super) struct Minutes {
    counting: Mutex<HashMap<Minute, Tally>>,
    /// Held by whoever writes them, shared by those who read.
    keeping: tokio::sync::RwLock<()>,
}

impl Minutes {
    /// Counts what was committed.
    pub(super) fn count(&self, changes: &[Change]) {
        let mut counting = self.counting.lock();
        for (change, delivery) in changes.iter().filter_map(Tally::concerns) {
            for scope in [Scope::Organization, Scope::Endpoint(delivery.endpoint_id.clone())] {
                let organization = delivery.organization_id.clone();
                let minute = minute_of(delivery.progress.updated_at);
                let minute = Minute { organization, scope, minute };
                counting.entry(minute).or_default().count(change, delivery);
            }
        }
    }

    /// At most `limit` minutes before `minute` that are not kept yet.
    fn over(&self, minute: i64, limit: usize) -> Vec<(Minute, Tally)> {
        let counting = self.counting.lock();
        let over = counting.iter().filter(|(of, _)| of.minute < minute);
        over.take(limit).map(|(of, tally)| (of.clone(), tally.clone())).collect()
    }

    /// Adds what is being counted to `found`.
    fn add_to(
        &self,
        found: &mut HashMap<Scope, Statistics>,
        organization: &OrganizationId,
        span: (i64, i64),
    ) {
        for (of, tally) in self.counting.lock().iter() {
            if of.organization == *organization
                && (span.0..=span.1).contains(&of.minute)
                && let Some(statistics) = found.get_mut(&of.scope)
            {
                statistics.tally.add(tally);
            }
        }
    }
}

fn name(scope: &Scope) -> &str {
    match scope {
        Scope::Organization => "",
        Scope::Endpoint(id) => id.as_str(),
    }
}

fn row(part: i64, of: &Minute, tally: &Tally) -> Model {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Model {
        organization_id: of.organization.to_string(),
        endpoint_id: name(&of.scope).to_owned(),
        minute: of.minute,
        part,
        delivered: number(tally.delivered),
        failed: number(tally.failed),
        retried: number(tally.retried),
        durations: rows::json(&tally.durations.counts()),
    }
}

fn tally(row: &Model) -> Tally {
    let mut durations = Durations::default();
    // A row that does not read as it was written counts for nothing.
    durations.add(&serde_json::from_str::<Vec<u64>>(&row.durations).unwrap_or_default());
    Tally {
        delivered: row.delivered.unsigned_abs(),
        failed: row.failed.unsigned_abs(),
        retried: row.retried.unsigned_abs(),
        durations,
    }
}

#[async_trait]
impl Tallies for SqlStore {
    async fn statistics(
        &self,
        organization: &OrganizationId,
        scopes: &[Scope],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<HashMap<Scope, Statistics>> {
        let (db, organization) = (self.readers(), organization.clone());
        let (herald, scopes) = (self.herald.clone(), scopes.to_vec());
        self.run(async move {
            // Nobody writes a minute between the look into the rows and that into memory.
            let kept = herald.minutes.keeping.read().await;
            let span = (minute_of(from), minute_of(to));
            let kept_minutes = Entity::find()
                .filter(Column::OrganizationId.eq(organization.as_str()))
                .filter(Column::EndpointId.is_in(scopes.iter().map(name)))
                .filter(Column::Minute.between(span.0, span.1))
                .all(&db)
                .await?;
            let mut found: HashMap<Scope, Statistics> =
                scopes.iter().map(|scope| (scope.clone(), Statistics::default())).collect();
            herald.minutes.add_to(&mut found, &organization, span);
            drop(kept);
            let by_name: HashMap<&str, &Scope> = scopes.iter().map(|s| (name(s), s)).collect();
            for row in &kept_minutes {
                if let Some(statistics) =
                    by_name.get(&*row.endpoint_id).and_then(|scope| found.get_mut(*scope))
                {
                    statistics.tally.add(&tally(row));
                }
            }
            for (scope, waiting) in waiting(&db, &organization, &scopes).await? {
                if let Some(statistics) = found.get_mut(&scope) {
                    statistics.waiting = waiting;
                }
            }
            Ok(found)
        })
        .await
    }

    async fn keep_tallies(&self, before: Timestamp, limit: usize) -> Result<usize> {
        let (db, herald) = (self.writer(), self.herald.clone());
        self.run_long(async move {
            let minutes = &herald.minutes;
            let _alone = minutes.keeping.write().await;
            let over = minutes.over(minute_of(before), limit);
            if over.is_empty() {
                return Ok(0);
            }
            // A minute may be counted again after it was kept, when an attempt was recorded late: each
            // part of it is a row of its own.
            let part = rand::random();
            let written = over.iter().map(|(of, tally)| row(part, of, tally));
            Entity::insert_many(written.map(IntoActiveModel::into_active_model))
                .exec_without_returning(&db)
                .await?;
            let mut counting = minutes.counting.lock();
            for (of, _) in &over {
                counting.remove(of);
            }
            // A minute in which everyone had something is not the measure of those to come.
            if counting.len() < counting.capacity() / 4 {
                counting.shrink_to_fit();
            }
            Ok(over.len())
        })
        .await
    }

    async fn purge_tallies(&self, before: Timestamp, limit: usize) -> Result<usize> {
        let db = self.writer();
        self.run_long(async move {
            let oldest: Option<i64> = Entity::find()
                .select_only()
                .column(Column::Minute)
                .filter(Column::Minute.lt(minute_of(before)))
                .order_by(Column::Minute, sea_orm::Order::Asc)
                .limit(1)
                .into_tuple()
                .one(&db)
                .await?;
            let Some(oldest) = oldest else { return Ok(0) };
            // A minute at a time: it has as many rows as endpoints were at work.
            Entity::delete_many().filter(Column::Minute.eq(oldest)).exec(&db).await?;
            Ok(limit)
        })
        .await
    }
}

/// What waits, for each scope, in one statement. Never counts further than [`Waiting::MOST`].
async fn waiting(
    db: &DatabaseConnection,
    organization: &OrganizationId,
    scopes: &[Scope],
) -> Result<Vec<(Scope, Waiting)>, Failure> {
    if scopes.is_empty() {
        return Ok(Vec::new());
    }
    let statement = waiting_statement(db.get_database_backend(), organization, scopes);
    let mut found = Vec::with_capacity(scopes.len());
    for row in db.query_all_raw(statement).await? {
        let index = match db.get_database_backend() {
            DbBackend::Postgres => i64::from(row.try_get_by_index::<i32>(0)?),
            _ => row.try_get_by_index::<i64>(0)?,
        };
        let scope = usize::try_from(index).ok().and_then(|index| scopes.get(index));
        let waiting = Waiting {
            deliveries: row.try_get_by_index::<i64>(1)?.unsigned_abs(),
            oldest: row.try_get_by_index::<Option<i64>>(2)?.map(Timestamp::from_ms),
        };
        found.extend(scope.map(|scope| (scope.clone(), waiting)));
    }
    Ok(found)
}

/// For each scope its number, how many are pending, and when the oldest was accepted.
pub(super) fn waiting_statement(
    backend: DbBackend,
    organization: &OrganizationId,
    scopes: &[Scope],
) -> Statement {
    let mut values: Vec<Value> = vec![organization.as_str().into()];
    let parts = scopes.iter().enumerate().map(|(index, scope)| {
        let mut pending =
            "FROM deliveries WHERE organization_id = $1 AND status = 'pending'".to_owned();
        if let Scope::Endpoint(id) = scope {
            values.push(id.as_str().into());
            pending.push_str(&format!(" AND endpoint_id = ${}", values.len()));
        }
        format!(
            "SELECT {index}, (SELECT count(*) FROM (SELECT 1 {pending} LIMIT {most}) AS counted), \
             (SELECT created_at_ms {pending} ORDER BY id LIMIT 1)",
            most = Waiting::MOST,
        )
    });
    let sql = parts.collect::<Vec<_>>().join(" UNION ALL ");
    Statement::from_sql_and_values(backend, sql, values)
}
