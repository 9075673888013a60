//! Accepting: events, the sessions they end, their deliveries and sealed payloads. What conflicts is not inserted, and
//! neither is what depends on it.

use std::collections::{BTreeSet, HashMap, HashSet};

use hookseal_core::error::Error;
use hookseal_core::id::{EventId, KeyId};
use hookseal_core::ports::{Acceptance, Accepted, NewDelivery, SessionPart};
use hookseal_entity::event;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};

use super::cell::Cell;
use super::cell::Kind::{Bytes, Flag, Number, NumberOrNull, Text, TextOrNull};
use super::change::{Change, Column};
use super::fence::Standing;
use super::given::{Given, Writes};
use super::{progress, sessions};
use crate::store::Failure;
use crate::store::directory::record;
use crate::store::news::News;

/// What accepting all of them writes, where nothing stands in the way of any; none where it has to be looked at.
pub(super) fn all<'a>(acceptances: &[&'a Acceptance]) -> Option<Writes<'a>> {
    if acceptances.is_empty() {
        return Some(Writes::default());
    }
    let sessions = sessions::all_new(acceptances)?;
    if acceptances.iter().any(|acceptance| acceptance.entry.is_some()) {
        return None;
    }
    let audiences: BTreeSet<(&str, i64)> = acceptances
        .iter()
        .map(|acceptance| (acceptance.event.organization_id.as_str(), acceptance.audience_version))
        .collect();
    let audiences = audiences.into_iter().map(|(id, version)| [id.into(), version.into()]);
    let current = "SELECT 1 FROM organizations WHERE id = given.k \
                   AND audience_version = given.version \
                   AND frozen_at_ms IS NULL AND deleted_at_ms IS NULL";
    let audiences = Given::of([("k", Text), ("version", Number)], audiences)
        .write(Change::Find { source: current.to_owned() });
    let deliveries = acceptances.iter().flat_map(|acceptance| &acceptance.deliveries).collect();
    Some(
        audiences
            .and(keyed_events(&keyed(acceptances)))
            .and(free_events(acceptances))
            .and(sessions)
            .and(insert_deliveries(deliveries)),
    )
}

/// Inserts events, their sessions, deliveries and payloads, looking at what stands in the way of each.
pub(super) async fn accept(
    tx: &DatabaseTransaction,
    acceptances: &[&Acceptance],
    standing: &Standing,
    news: &mut News,
) -> Result<Vec<Accepted>, Failure> {
    if acceptances.is_empty() {
        return Ok(Vec::new());
    }
    let audiences = audiences(tx, acceptances).await?;
    let mut verdicts: Vec<Option<Accepted>> = Vec::with_capacity(acceptances.len());
    for acceptance in acceptances {
        verdicts.push(match audiences.get(acceptance.event.organization_id.as_str()) {
            None => Some(Accepted::NoOrganization),
            Some(audience) if audience.frozen => Some(Accepted::Frozen),
            Some(_) => None,
        });
    }
    // A repetition is answered before anything else can refuse it.
    let events = undecided(acceptances, &verdicts);
    let missing = insert_keyed(tx, &events).await?;
    for (i, acceptance) in acceptances.iter().enumerate() {
        if verdicts[i].is_none() && missing.contains(acceptance.event.id.as_str()) {
            verdicts[i] = Some(repeated(tx, acceptance).await?);
        }
    }
    let mut traces: Vec<String> = Vec::new();
    for (verdict, acceptance) in verdicts.iter_mut().zip(acceptances) {
        let audience = audiences.get(acceptance.event.organization_id.as_str());
        let current = audience.is_some_and(|a| a.version == acceptance.audience_version);
        if verdict.is_none() && !(current && standing.may_accept(acceptance)) {
            *verdict = Some(Accepted::Stale);
            traces.push(acceptance.event.id.to_string());
        }
    }
    let events = undecided(acceptances, &verdicts);
    let refusals = sessions::enter(tx, &events, free_events(&events)).await?;
    for (verdict, acceptance) in verdicts.iter_mut().zip(acceptances) {
        if let Some(refusal) = refusals.get(acceptance.event.id.as_str()) {
            *verdict = Some(refusal.into());
            traces.push(acceptance.event.id.to_string());
        }
    }
    if !traces.is_empty() {
        event::Entity::delete_many().filter(event::Column::Id.is_in(traces)).exec(tx).await?;
    }
    let winners = undecided(acceptances, &verdicts);
    let deliveries = winners.iter().flat_map(|acceptance| &acceptance.deliveries).collect();
    insert_deliveries(deliveries).execute(tx).await?;
    winners.iter().for_each(|acceptance| tell(acceptance, news));
    for entry in winners.iter().filter_map(|acceptance| acceptance.entry.as_ref()) {
        record(tx, entry).await?;
    }
    Ok(verdicts.into_iter().map(|verdict| verdict.unwrap_or(Accepted::Committed)).collect())
}

/// Tells of an event that was inserted, and of its deliveries.
pub(super) fn tell(acceptance: &Acceptance, news: &mut News) {
    news.accepted(&acceptance.event);
    acceptance.deliveries.iter().for_each(|new| news.created(&new.delivery));
}

fn undecided<'a>(
    acceptances: &[&'a Acceptance],
    verdicts: &[Option<Accepted>],
) -> Vec<&'a Acceptance> {
    let pairs = acceptances.iter().zip(verdicts);
    pairs.filter(|(_, verdict)| verdict.is_none()).map(|(acceptance, _)| *acceptance).collect()
}

/// What an organization's row says to a publish.
struct Audience {
    version: i64,
    frozen: bool,
}

async fn audiences(
    tx: &DatabaseTransaction,
    acceptances: &[&Acceptance],
) -> Result<HashMap<String, Audience>, DbErr> {
    let ids: BTreeSet<&str> =
        acceptances.iter().map(|acceptance| acceptance.event.organization_id.as_str()).collect();
    let sql = "SELECT o.id, o.audience_version, o.frozen_at_ms FROM given \
               JOIN organizations o ON o.id = k WHERE o.deleted_at_ms IS NULL";
    let ids = ids.into_iter().map(|id| [id.into()]);
    let mut audiences = HashMap::new();
    for row in Given::of([("k", Text)], ids).query(tx, sql).await? {
        let frozen = row.try_get_by_index::<Option<i64>>(2)?.is_some();
        audiences.insert(
            row.try_get_by_index(0)?,
            Audience { version: row.try_get_by_index(1)?, frozen },
        );
    }
    Ok(audiences)
}

const EVENT: [Column; 10] = [
    ("id", Text),
    ("organization_id", Text),
    ("event_type", Text),
    ("trigger_type", Text),
    ("trigger_id", Text),
    ("session_id", TextOrNull),
    ("ends_session", Flag),
    ("idempotency_key", TextOrNull),
    ("fingerprint", TextOrNull),
    ("created_at_ms", Number),
];

fn event_row<'a>(acceptance: &&'a Acceptance) -> [Cell<'a>; EVENT.len()] {
    let Acceptance { event, session, idempotency, .. } = *acceptance;
    [
        event.id.as_str().into(),
        event.organization_id.as_str().into(),
        (&*event.event_type).into(),
        (&*event.trigger_type).into(),
        event.trigger_id.as_str().into(),
        session.as_ref().map(|(id, _)| id.as_str()).into(),
        session.as_ref().is_some_and(|(_, part)| *part == SessionPart::Ends).into(),
        idempotency.as_ref().map(|i| i.key.as_str()).into(),
        idempotency.as_ref().map(|i| i.fingerprint.as_str()).into(),
        event.created_at.as_ms().into(),
    ]
}

/// Without a key nothing can be in an event's way, and to look for it costs as much as an index.
fn free_events<'a>(acceptances: &[&'a Acceptance]) -> Writes<'a> {
    let free = acceptances.iter().filter(|acceptance| acceptance.idempotency.is_none());
    Given::of(EVENT, free.map(event_row)).write(Change::Insert { table: "events" })
}

/// Those with keys, in one order, so that two writers do not wait for each other; of one key the first stays first.
fn keyed<'a>(acceptances: &[&'a Acceptance]) -> Vec<&'a Acceptance> {
    let keyed = acceptances.iter().filter(|acceptance| acceptance.idempotency.is_some());
    let mut keyed: Vec<&Acceptance> = keyed.copied().collect();
    keyed.sort_by_key(|acceptance| {
        let key = acceptance.idempotency.as_ref().map(|idempotency| idempotency.key.as_str());
        (&acceptance.event.organization_id, key)
    });
    keyed
}

fn keyed_events<'a>(keyed: &[&'a Acceptance]) -> Writes<'a> {
    Given::of(EVENT, keyed.iter().map(event_row)).write(Change::InsertNew { table: "events" })
}

/// Inserts those of the events with keys that conflict with nothing; answers the ids of the others.
async fn insert_keyed<'a>(
    tx: &DatabaseTransaction,
    acceptances: &[&'a Acceptance],
) -> Result<HashSet<&'a str>, DbErr> {
    let keyed = keyed(acceptances);
    let inserted = keyed_events(&keyed).execute(tx).await?;
    let mut missing = HashSet::new();
    if inserted < keyed.len() as u64 {
        let ids = || keyed.iter().map(|acceptance| acceptance.event.id.as_str());
        missing.extend(ids());
        // Ids are never made twice: one that is there was inserted just now.
        let sql = "SELECT e.id FROM given JOIN events e ON e.id = k";
        let rows = Given::of([("k", Text)], ids().map(|id| [id.into()]));
        for row in rows.query(tx, sql).await? {
            missing.remove(row.try_get_by_index::<String>(0)?.as_str());
        }
    }
    Ok(missing)
}

async fn repeated(tx: &DatabaseTransaction, acceptance: &Acceptance) -> Result<Accepted, Failure> {
    let broken =
        || Failure::Ours(Error::Broken { what: "an event that was not inserted", source: None });
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

fn insert_deliveries(new: Vec<&NewDelivery>) -> Writes<'_> {
    let columns = [
        ("id", Text),
        ("organization_id", Text),
        ("event_id", Text),
        ("event_type", Text),
        ("endpoint_id", Text),
        ("encryption_key_id", TextOrNull),
        ("claim_token", NumberOrNull),
        ("claim_expires_at_ms", NumberOrNull),
        ("created_at_ms", Number),
    ];
    let rows = new.iter().map(|NewDelivery { delivery, .. }| {
        let claim = delivery.progress.claim;
        let facts = [
            delivery.id.as_str().into(),
            delivery.organization_id.as_str().into(),
            delivery.event_id.as_str().into(),
            (&*delivery.event_type).into(),
            delivery.endpoint_id.as_str().into(),
            delivery.key_id.as_ref().map(KeyId::as_str).into(),
            claim.map(|claim| claim.token.0).into(),
            claim.map(|claim| claim.expires_at.as_ms()).into(),
            delivery.created_at.as_ms().into(),
        ];
        progress::after(facts, progress::cells(&delivery.progress))
    });
    let columns: [_; 23] = progress::after(columns, progress::COLUMNS);
    let deliveries = Given::of(columns, rows).write(Change::Insert { table: "deliveries" });
    let payloads = new.iter().filter_map(|new| {
        let sealed = new.sealed.as_ref()?;
        Some([new.delivery.id.as_str().into(), Cell::Bytes(sealed)])
    });
    let columns = [("delivery_id", Text), ("jwe", Bytes)];
    deliveries.and(Given::of(columns, payloads).write(Change::Insert { table: "sealed_payloads" }))
}
