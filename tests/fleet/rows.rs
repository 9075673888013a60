//! The rows of a fleet's database, read beside the daemons and past every link.

use std::collections::HashMap;

use hookseal_entity::{delivery, delivery_attempt, event, verification_session};
use sea_orm::{
    ColumnTrait, Condition, Database, DatabaseConnection, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect,
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::journal::{Journal, now_ms};
use crate::judge::history::{Attempt, DeliveryRow, EventRow, LapsedClaim, SessionRow};

/// Rows that are read at once.
const PAGE: u64 = 5_000;

/// A way to the rows that changes none.
pub struct Rows {
    runtime: tokio::runtime::Runtime,
    url: String,
}

impl Rows {
    pub fn of(url: String) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        Self { runtime, url }
    }

    fn read<T>(
        &self,
        work: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, DbErr>,
    ) -> Result<T, DbErr> {
        self.runtime.block_on(async {
            let db = Database::connect(&self.url).await?;
            let read = work(&db).await;
            db.close().await?;
            read
        })
    }

    /// How many claims are open.
    pub fn open_claims(&self) -> u64 {
        let claimed = delivery::Entity::find().filter(delivery::Column::Status.eq("delivering"));
        self.read(async |db| claimed.count(db).await).unwrap()
    }

    /// How many deliveries are still on their way.
    pub fn unsettled(&self) -> Result<u64, DbErr> {
        let open = delivery::Column::Status.is_in(["pending", "delivering"]);
        self.read(async |db| delivery::Entity::find().filter(open).count(db).await)
    }

    /// The claims that are past their deadline; none while the database is away.
    pub fn lapsed_claims(&self) -> Vec<LapsedClaim> {
        use delivery::Column::{ClaimExpiresAtMs, Id, Status};
        let at_ms = now_ms();
        let lapsed = delivery::Entity::find()
            .select_only()
            .columns([Id, ClaimExpiresAtMs])
            .filter(Condition::all().add(Status.eq("delivering")).add(ClaimExpiresAtMs.lt(at_ms)))
            .into_tuple::<(String, i64)>();
        let lapsed = self.read(async |db| lapsed.all(db).await).unwrap_or_default();
        let claim =
            |(delivery_id, expires_at_ms)| LapsedClaim { at_ms, delivery_id, expires_at_ms };
        lapsed.into_iter().map(claim).collect()
    }

    /// Writes all rows down.
    pub fn dump(&self, events: &Journal, deliveries: &Journal, sessions: &Journal) {
        let dump = async |db: &DatabaseConnection| {
            let mut pages =
                event::Entity::find().order_by_asc(event::Column::Id).paginate(db, PAGE);
            while let Some(page) = pages.fetch_and_next().await? {
                page.into_iter().for_each(|row| events.write(&event_row(row)));
            }
            let mut pages =
                delivery::Entity::find().order_by_asc(delivery::Column::Id).paginate(db, PAGE);
            while let Some(page) = pages.fetch_and_next().await? {
                let mut earlier = attempts_of(db, &page).await?;
                for row in page {
                    let attempts = earlier.remove(&row.id).unwrap_or_default();
                    deliveries.write(&delivery_row(row, attempts));
                }
            }
            let mut pages = verification_session::Entity::find()
                .order_by_asc(verification_session::Column::SessionId)
                .paginate(db, PAGE);
            while let Some(page) = pages.fetch_and_next().await? {
                page.into_iter().for_each(|row| sessions.write(&session_row(row)));
            }
            Ok(())
        };
        self.read(dump).unwrap();
        [events, deliveries, sessions].into_iter().for_each(Journal::flush);
    }
}

/// The attempts that later ones replaced, of deliveries in the order of their ids.
async fn attempts_of(
    db: &DatabaseConnection,
    page: &[delivery::Model],
) -> Result<HashMap<String, Vec<Attempt>>, DbErr> {
    use delivery_attempt::Column::{DeliveryId, Id};
    let (Some(first), Some(last)) = (page.first(), page.last()) else {
        return Ok(HashMap::new());
    };
    let attempts = delivery_attempt::Entity::find()
        .filter(DeliveryId.between(&first.id, &last.id))
        .order_by_asc(Id)
        .all(db)
        .await?;
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    for attempt in attempts {
        let status_code = attempt.status_code.and_then(|code| code.try_into().ok());
        let at_ms = attempt.attempted_at_ms;
        found.entry(attempt.delivery_id).or_default().push(Attempt { at_ms, status_code });
    }
    Ok(found)
}

fn event_row(row: event::Model) -> EventRow {
    EventRow {
        id: row.id,
        organization_id: row.organization_id,
        event_type: row.event_type,
        trigger_id: row.trigger_id,
        session_id: row.session_id,
        idempotency_key: row.idempotency_key,
    }
}

fn delivery_row(row: delivery::Model, mut attempts: Vec<Attempt>) -> DeliveryRow {
    let status_code = row.last_status_code.and_then(|code| code.try_into().ok());
    attempts.extend(row.last_attempt_at_ms.map(|at_ms| Attempt { at_ms, status_code }));
    DeliveryRow {
        id: row.id,
        organization_id: row.organization_id,
        event_id: row.event_id,
        endpoint_id: row.endpoint_id,
        status: word(&row.status),
        attempt_count: row.attempt_count.try_into().unwrap(),
        attempts,
        next_attempt_at_ms: row.next_attempt_at_ms,
        claim_expires_at_ms: row.claim_expires_at_ms,
        failure_reason: row.failure_reason,
    }
}

fn session_row(row: verification_session::Model) -> SessionRow {
    SessionRow {
        organization_id: row.organization_id,
        session_id: row.session_id,
        terminal_event_id: row.terminal_event_id,
    }
}

/// What a word of a row or an answer stands for.
pub fn word<T: DeserializeOwned>(word: &str) -> T {
    serde_json::from_value(json!(word.to_lowercase())).unwrap_or_else(|_| panic!("{word}?"))
}
