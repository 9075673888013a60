//! Accepting: events, the sessions they end, their deliveries and sealed payloads, as multi-row
//! inserts. What conflicts is not inserted, and neither is what depends on it.

use std::collections::{HashMap, HashSet};

use hookseal_core::error::Error;
use hookseal_core::id::EventId;
use hookseal_core::ports::{Acceptance, Accepted, NewDelivery};
use hookseal_entity::{delivery, event, organization, sealed_payload};
use sea_orm::sea_query::{OnConflict, Query, SimpleExpr};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel,
    QueryFilter,
};

use super::fence::Standing;
use super::{INSERT_ROWS, sessions};
use crate::store::Failure;
use crate::store::directory::record;
use crate::store::news::News;
use crate::store::rows::delivery_row;

/// Inserts events, their sessions, deliveries and payloads.
pub(super) async fn accept(
    tx: &DatabaseTransaction,
    acceptances: &[&Acceptance],
    standing: &Standing,
    news: &mut News,
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
        let audience = known.is_some_and(|o| o.audience_version == acceptance.audience_version);
        if verdict.is_none() && !(audience && standing.may_accept(acceptance)) {
            *verdict = Some(Accepted::Stale);
            traces.push(acceptance.event.id.to_string());
        }
    }
    let refusals = sessions::enter(tx, &undecided(acceptances, &verdicts)).await?;
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
    insert_deliveries(tx, winners.iter().flat_map(|acceptance| &acceptance.deliveries)).await?;
    for acceptance in &winners {
        news.accepted(&acceptance.event);
        acceptance.deliveries.iter().for_each(|new| news.created(&new.delivery));
    }
    for entry in winners.iter().filter_map(|acceptance| acceptance.entry.as_ref()) {
        record(tx, entry).await?;
    }
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
    let rows = organization::Entity::find()
        .filter(organization::Column::Id.is_in(ids))
        .filter(organization::Column::DeletedAtMs.is_null())
        .all(tx)
        .await?;
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
            let Acceptance { event, session, idempotency, .. } = acceptance;
            insert.values_panic([
                event.id.as_str().into(),
                event.organization_id.as_str().into(),
                (&*event.event_type).into(),
                (&*event.trigger_type).into(),
                event.trigger_id.as_str().into(),
                session.as_ref().map(|(id, _)| id.to_string()).into(),
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
