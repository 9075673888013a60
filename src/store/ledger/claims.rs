//! Claiming and settling: each a guarded statement, for the whole batch where the database takes many rows at once.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use bytes::Bytes;
use hookseal_core::delivery::Status;
use hookseal_core::id::{DeliveryId, Minter};
use hookseal_core::ports::{Claimed, Settlement};
use hookseal_entity::delivery;
use rusqlite::Connection;
use sea_orm::{
    ColumnTrait, ConnectionTrait as _, DatabaseTransaction, EntityTrait, FromQueryResult, Order,
    QueryFilter, QueryOrder,
};

use super::ClaimRequest;
use super::cell::Kind::{Number, NumberOrNull, Text, TextOrNull};
use super::change::{Change, Column};
use super::given::{Given, Writes};
use super::progress;
use crate::store::news::News;
use crate::store::rows::{self, duration_ms};
use crate::store::transition::{Busy, locked, write};
use crate::store::withdrawal::on_revoked_attempts_ended;
use crate::store::{Failure, broken_row};

/// The machine's `claim` of a whole batch, in a pool's transaction.
pub(super) async fn claim(
    tx: &DatabaseTransaction,
    claims: &[&ClaimRequest],
    news: &mut News,
) -> Result<HashMap<DeliveryId, Claimed>, Failure> {
    let mut claimed = HashMap::new();
    let sql = claiming().of_many(tx.get_database_backend(), &ASKED) + &returning();
    for row in asked(claims).query(tx, &sql).await? {
        let model = delivery::Model::from_query_result(&row, "").map_err(broken_row)?;
        take(model, row.try_get("", JWE)?, &mut claimed, news);
    }
    Ok(claimed)
}

/// The same on the ledger's own connection to a SQLite.
pub(super) fn claim_embedded(
    tx: &Connection,
    claims: &[&ClaimRequest],
    news: &mut News,
) -> Result<HashMap<DeliveryId, Claimed>, Failure> {
    let mut claimed = HashMap::new();
    asked(claims).each(tx, &(claiming().of_one(&ASKED) + &returning()), |row| {
        take(rows::delivery_of(row)?, row.get(JWE)?, &mut claimed, news);
        Ok(())
    })?;
    Ok(claimed)
}

/// Takes note of what was claimed. One row that does not read must not stop the others.
fn take(
    model: delivery::Model,
    sealed: Option<Vec<u8>>,
    claimed: &mut HashMap<DeliveryId, Claimed>,
    news: &mut News,
) {
    if let (Some(delivery), Some(sealed)) = (rows::readable(model), sealed) {
        news.claimed(&delivery);
        let sealed = Bytes::from(sealed);
        claimed.insert(delivery.id.clone(), Claimed { delivery, sealed });
    }
}

const ASKED: [Column; 4] =
    [("k", Text), ("token", Number), ("expires_at_ms", Number), ("now_ms", Number)];

fn asked<'a>(claims: &[&'a ClaimRequest]) -> Given<'a> {
    let mut asked: Vec<(&DeliveryId, &ClaimRequest)> = claims
        .iter()
        .flat_map(|request| request.ids.iter().map(move |id| (id, *request)))
        .collect();
    // In one order, so that two writers do not wait for each other.
    asked.sort_unstable_by_key(|(id, _)| *id);
    let rows = asked.into_iter().map(|(id, ClaimRequest { claim, now, .. })| {
        let (token, expires_at, now) = (claim.token.0, claim.expires_at.as_ms(), now.as_ms());
        [id.as_str().into(), token.into(), expires_at.into(), now.into()]
    });
    Given::of(ASKED, rows)
}

/// Where a claimed payload is in an answer.
const JWE: &str = "jwe";

/// Claims what is pending, due and still has its payload.
fn claiming() -> Change {
    // COALESCE keeps PostgreSQL off the index of what is pending: its statistics lag, and where they say that
    // nothing is, it would look through all of it.
    Change::Update {
        table: "deliveries",
        set: format!(
            "status = '{}', next_attempt_at_ms = NULL, claim_token = given.token, \
             claim_expires_at_ms = given.expires_at_ms, updated_at_ms = given.now_ms",
            Status::Delivering.as_str()
        ),
        found: format!(
            "deliveries.id = given.k AND COALESCE(deliveries.status, '') = '{}' \
             AND deliveries.next_attempt_at_ms <= given.now_ms AND deliveries.payload_scrubbed_at_ms IS NULL",
            Status::Pending.as_str()
        ),
    }
}

/// What claiming answers.
fn returning() -> String {
    format!(
        " RETURNING *, (SELECT jwe FROM sealed_payloads WHERE delivery_id = deliveries.id) AS {JWE}"
    )
}

/// What the ends of claims write, where all of these still stand.
pub(super) fn all_ends<'a>(settlements: &[&'a Settlement], minter: &Minter) -> Writes<'a> {
    end(settlements).write(ending()).and(scrub(settlements)).and(history(settlements, minter))
}

/// Writes the ends of claims that still stand; answers the ids of their deliveries, and whether a replacing event is
/// owed by it.
pub(super) async fn settle(
    tx: &DatabaseTransaction,
    settlements: &[&Settlement],
    minter: &Minter,
    news: &mut News,
) -> Result<(HashSet<String>, bool), Failure> {
    let sql = ending().of_many(tx.get_database_backend(), &*ENDED) + " RETURNING deliveries.id";
    let returned = end(settlements).query(tx, &sql).await?;
    let ids = returned.iter().map(|row| row.try_get_by_index::<String>(0));
    let mut ids = ids.collect::<Result<HashSet<_>, _>>()?;
    let (stood, missed): (Vec<&Settlement>, Vec<&Settlement>) =
        settlements.iter().copied().partition(|s| ids.contains(s.delivery.id.as_str()));
    scrub(&stood).and(history(&stood, minter)).execute(tx).await?;
    stood.iter().for_each(|s| news.changed(&s.delivery, &s.progress));
    if missed.is_empty() {
        return Ok((ids, false));
    }
    let (ended, replacement_owed) = settle_revoked(tx, &missed, minter, news).await?;
    ids.extend(ended);
    Ok((ids, replacement_owed))
}

/// Writes the ends of claims whose payloads were taken away meanwhile; answers their ids, and whether
/// a replacing event is owed by it.
async fn settle_revoked(
    tx: &DatabaseTransaction,
    settlements: &[&Settlement],
    minter: &Minter,
    news: &mut News,
) -> Result<(Vec<String>, bool), Failure> {
    let by_id: HashMap<&str, &Settlement> = settlements
        .iter()
        .map(|settlement| (settlement.delivery.id.as_str(), *settlement))
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

/// Takes away the payloads that are not kept beyond these ends.
fn scrub<'a>(settlements: &[&'a Settlement]) -> Writes<'a> {
    let scrubbed = settlements.iter().filter(|settlement| !settlement.progress.has_payload());
    let ids = scrubbed.map(|settlement| [settlement.delivery.id.as_str().into()]);
    Given::of([("k", Text)], ids).write(Change::delete("sealed_payloads", "delivery_id"))
}

/// Keeps the attempts that others took the place of.
fn history<'a>(settlements: &[&'a Settlement], minter: &Minter) -> Writes<'a> {
    let columns = [
        ("id", Text),
        ("delivery_id", Text),
        ("attempted_at_ms", Number),
        ("duration_ms", Number),
        ("status_code", NumberOrNull),
        ("error", TextOrNull),
    ];
    let rows = settlements.iter().filter_map(|settlement| {
        let attempt = settlement.replaced.as_ref()?;
        let id = minter.attempt(settlement.progress.updated_at);
        Some([
            id.to_string().into(),
            settlement.delivery.id.as_str().into(),
            attempt.at.as_ms().into(),
            duration_ms(attempt.duration).into(),
            attempt.status_code.map(i64::from).into(),
            attempt.error.map(|kind| kind.as_str()).into(),
        ])
    });
    Given::of(columns, rows).write(Change::Insert { table: "delivery_attempts" })
}

/// Which delivery, under which claim, and what it has come to.
static ENDED: LazyLock<[Column; 16]> =
    LazyLock::new(|| progress::after([("k", Text), ("token", Number)], progress::COLUMNS));

fn end<'a>(settlements: &[&'a Settlement]) -> Given<'a> {
    let rows = settlements.iter().map(|settlement| {
        let which = [settlement.delivery.id.as_str().into(), settlement.token.0.into()];
        progress::after(which, progress::cells(&settlement.progress))
    });
    Given::of(*ENDED, rows)
}

/// Ends the claims that still stand.
fn ending() -> Change {
    let assignments: Vec<_> =
        progress::COLUMNS.iter().map(|(name, _)| format!("{name} = given.{name}")).collect();
    Change::Update {
        table: "deliveries",
        set: format!("{}, claim_token = NULL, claim_expires_at_ms = NULL", assignments.join(", ")),
        found: "deliveries.id = given.k AND deliveries.claim_token = given.token \
                AND deliveries.payload_scrubbed_at_ms IS NULL"
            .to_owned(),
    }
}
