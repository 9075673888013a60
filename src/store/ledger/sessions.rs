//! The sessions that events tell of: one terminal event each, nothing after a withdrawal but the one
//! event that replaces what it took back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hookseal_core::id::{EventId, PrivacyRequestId};
use hookseal_core::ports::{Acceptance, Accepted, SessionPart};
use hookseal_core::privacy::WithdrawalState;
use hookseal_entity::event;
use hookseal_entity::verification_session::{Column, Entity, Model};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait as _, DatabaseTransaction, DbBackend, DbErr, EntityTrait,
    FromQueryResult as _, QueryFilter,
};

use super::cell::Kind::{Text, TextOrNull};
use super::change::Change;
use super::given::{Given, Writes};
use crate::store::rows::json;

/// Organization and session.
pub(in crate::store) type Key = (String, String);

/// Why a session does not take an event.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// It has its terminal event.
    Ended,
    /// It was withdrawn.
    Withdrawn {
        /// What replaced its end.
        replacement: Option<String>,
        /// The withdrawal, where a replacement is owed.
        owed: Option<String>,
    },
}

impl From<&Refusal> for Accepted {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Ended => Self::TerminalExists,
            Refusal::Withdrawn { replacement, owed } => Self::Withdrawn {
                replacement: replacement.clone().map(EventId::from_row),
                owed: owed.clone().map(PrivacyRequestId::from_row),
            },
        }
    }
}

/// Makes the rows of events that are yet to be made, by `events`, and enters all into the rows of their
/// sessions; answers, by event, what was refused.
pub(super) async fn enter(
    tx: &DatabaseTransaction,
    acceptances: &[&Acceptance],
    mut events: Writes<'_>,
) -> Result<HashMap<String, Refusal>, DbErr> {
    let mut refusals = HashMap::new();
    let mut entering: Vec<(&Acceptance, Key, SessionPart)> = Vec::new();
    for acceptance in acceptances {
        let Some((session, part)) = &acceptance.session else { continue };
        let key = (acceptance.event.organization_id.to_string(), session.to_string());
        match part {
            SessionPart::Replaces => {
                if !replace(tx, acceptance, &key).await? {
                    let refusal = Refusal::Withdrawn { replacement: None, owed: None };
                    refusals.insert(acceptance.event.id.to_string(), refusal);
                }
            }
            SessionPart::Tells | SessionPart::Ends => entering.push((acceptance, key, *part)),
        }
    }
    let mut standing = HashMap::new();
    while entering.iter().any(|(_, key, _)| !standing.contains_key(key)) {
        // A session is nearly always new, and then this one statement is all. One that was there and
        // is not any more, since it was too old, is new again.
        insert(tx, std::mem::take(&mut events), &mut entering).await?;
        standing = self::standing(tx, &entering).await?;
    }
    // Of events without a session.
    events.execute(tx).await?;
    for (acceptance, key, part) in entering {
        let Some(row) = standing.get_mut(&key) else { continue };
        let mine = row.terminal_event_id.as_deref() == Some(acceptance.event.id.as_str());
        let refusal = if row.privacy_request_id.is_some() {
            let replacing = Some(WithdrawalState::Replacing.as_str());
            let owed = row.privacy_request_id.clone().filter(|_| row.state.as_deref() == replacing);
            Some(Refusal::Withdrawn { replacement: row.replacement_event_id.clone(), owed })
        } else if part == SessionPart::Ends && row.terminal_event_id.is_some() && !mine {
            Some(Refusal::Ended)
        } else {
            None
        };
        match refusal {
            Some(refusal) => drop(refusals.insert(acceptance.event.id.to_string(), refusal)),
            None if part == SessionPart::Ends && !mine => {
                end(tx, acceptance, &key).await?;
                row.terminal_event_id = Some(acceptance.event.id.to_string());
            }
            None => {}
        }
    }
    Ok(refusals)
}

/// The rows of the sessions that events tell of, where each is new with its event; none where some cannot be.
pub(super) fn all_new<'a>(acceptances: &[&'a Acceptance]) -> Option<Writes<'a>> {
    let mut first = First::new();
    for acceptance in acceptances {
        let Some((session, part)) = &acceptance.session else { continue };
        let key = (acceptance.event.organization_id.as_str(), session.as_str());
        let second = first.insert(key, (acceptance, *part)).is_some();
        if second || *part == SessionPart::Replaces {
            return None;
        }
    }
    Some(made(&first))
}

/// Sessions, each with the first of its events.
type First<'a> = BTreeMap<(&'a str, &'a str), (&'a Acceptance, SessionPart)>;

/// Makes the rows of sessions that have none.
fn made<'a>(first: &First<'a>) -> Writes<'a> {
    let columns = [
        ("organization_id", Text),
        ("session_id", Text),
        ("terminal_event_id", TextOrNull),
        ("targets", TextOrNull),
    ];
    let rows = first.iter().map(|((organization, session), (acceptance, part))| {
        let ends = (*part == SessionPart::Ends).then(|| acceptance.event.id.as_str());
        let targets = acceptance.targets.as_ref().map(json);
        [(*organization).into(), (*session).into(), ends.into(), targets.into()]
    });
    Given::of(columns, rows).write(Change::InsertNew { table: "verification_sessions" })
}

/// Makes the rows of `events`, and those of sessions that have none, each by the first of its events; drops these
/// from `entering` where all were made, as nearly always. Elsewhere the rows tell.
async fn insert(
    tx: &DatabaseTransaction,
    events: Writes<'_>,
    entering: &mut Vec<(&Acceptance, Key, SessionPart)>,
) -> Result<(), DbErr> {
    let mut first = First::new();
    for (acceptance, (organization, session), part) in &*entering {
        first.entry((organization, session)).or_insert((acceptance, *part));
    }
    let writes = events.and(made(&first));
    let all = writes.rows(tx.get_database_backend());
    if writes.execute(tx).await? == all {
        let makers: HashSet<EventId> =
            first.into_values().map(|(acceptance, _)| acceptance.event.id.clone()).collect();
        entering.retain(|(acceptance, ..)| !makers.contains(&acceptance.event.id));
    }
    Ok(())
}

/// The rows of sessions that stand already, and nobody else at them until the transaction ends.
async fn standing(
    tx: &DatabaseTransaction,
    entering: &[(&Acceptance, Key, SessionPart)],
) -> Result<HashMap<Key, Model>, DbErr> {
    let keys = entering.iter().map(|(_, key, _)| key.clone()).collect();
    let rows = locked(tx, given(&keys)).await?;
    Ok(rows.into_iter().map(|r| ((r.organization_id.clone(), r.session_id.clone()), r)).collect())
}

/// Sessions, each once and in one order, so that two writers do not wait for each other.
fn given(keys: &BTreeSet<Key>) -> Given<'_> {
    let rows = keys
        .iter()
        .map(|(organization, session)| [organization.as_str().into(), session.as_str().into()]);
    Given::of([("o", Text), ("s", Text)], rows)
}

/// Their rows, and nobody else at them until the transaction ends. By a join: SQLite looks through the whole
/// table for a list of pairs.
async fn locked(tx: &DatabaseTransaction, sessions: Given<'_>) -> Result<Vec<Model>, DbErr> {
    let lock = match tx.get_database_backend() {
        DbBackend::Postgres => " FOR UPDATE OF v",
        _ => "",
    };
    let sql = format!(
        "SELECT v.* FROM given JOIN verification_sessions v ON v.organization_id = o \
         AND v.session_id = s ORDER BY v.organization_id, v.session_id{lock}"
    );
    let rows = sessions.query(tx, &sql).await?;
    rows.iter().map(|row| Model::from_query_result(row, "")).collect()
}

/// The session that an event tells of.
pub(in crate::store) fn of(event: &event::Model) -> Option<Key> {
    Some((event.organization_id.clone(), event.session_id.clone()?))
}

/// Removes sessions that have no event left and owe none.
pub(in crate::store) async fn remove_without_events(
    tx: &DatabaseTransaction,
    sessions: &BTreeSet<Key>,
) -> Result<(), DbErr> {
    // What is published for them before their rows are locked, a statement of its own sees; after that, nobody
    // publishes until they are removed.
    locked(tx, given(sessions)).await?;
    removal(sessions).execute(tx).await?;
    Ok(())
}

/// Removes those that nothing ended or withdrew and that have no event left.
pub(super) async fn remove_unended(
    tx: &DatabaseTransaction,
    sessions: &BTreeSet<Key>,
) -> Result<(), DbErr> {
    locked(tx, given(sessions)).await?;
    removal_of_unended(sessions).execute(tx).await?;
    Ok(())
}

/// Removes those of `sessions` that have no event left and owe none.
pub(super) fn removal(sessions: &BTreeSet<Key>) -> Writes<'_> {
    let owes_none = format!(
        "(state IS NULL OR state = '{settled}') AND NOT EXISTS \
         (SELECT 1 FROM events e WHERE e.id = verification_sessions.terminal_event_id)",
        settled = WithdrawalState::Settled.as_str(),
    );
    removal_where(&owes_none, sessions)
}

/// Removes those of `sessions` that nothing ended or withdrew and that have no event left.
pub(super) fn removal_of_unended(sessions: &BTreeSet<Key>) -> Writes<'_> {
    removal_where("terminal_event_id IS NULL AND state IS NULL", sessions)
}

fn removal_where<'a>(condition: &str, sessions: &'a BTreeSet<Key>) -> Writes<'a> {
    let also = format!(
        "{condition} AND NOT EXISTS (SELECT 1 FROM events e \
         WHERE e.organization_id = verification_sessions.organization_id \
         AND e.session_id = verification_sessions.session_id AND NOT e.ends_session)"
    );
    let keys = "organization_id, session_id";
    given(sessions).write(Change::Delete { table: "verification_sessions", keys, also })
}

/// Has the sessions that still have a row be found without the events that ended them, whose rows are gone.
pub(super) fn outliving(gone: &[event::Model]) -> Writes<'_> {
    let gone: BTreeSet<(&str, &str, &str)> = gone
        .iter()
        .filter_map(|event| {
            Some((&*event.organization_id, event.session_id.as_deref()?, &*event.id))
        })
        .collect();
    let rows = gone
        .into_iter()
        .map(|(organization, session, event)| [organization.into(), session.into(), event.into()]);
    let found =
        "organization_id = given.o AND session_id = given.s AND terminal_event_id = given.t";
    Given::of([("o", Text), ("s", Text), ("t", Text)], rows).write(Change::Update {
        table: "verification_sessions",
        set: "outlives_event = TRUE".to_owned(),
        found: found.to_owned(),
    })
}

async fn end(tx: &DatabaseTransaction, acceptance: &Acceptance, key: &Key) -> Result<(), DbErr> {
    let targets = acceptance.targets.as_ref().map(json);
    Entity::update_many()
        .col_expr(Column::TerminalEventId, Expr::value(acceptance.event.id.as_str()))
        .col_expr(Column::Targets, Expr::value(targets))
        .filter(Column::OrganizationId.eq(&key.0))
        .filter(Column::SessionId.eq(&key.1))
        .exec(tx)
        .await?;
    Ok(())
}

/// Enters a replacing event where it is still owed.
async fn replace(
    tx: &DatabaseTransaction,
    acceptance: &Acceptance,
    key: &Key,
) -> Result<bool, DbErr> {
    let replaced = Entity::update_many()
        .col_expr(Column::ReplacementEventId, Expr::value(acceptance.event.id.as_str()))
        .col_expr(Column::State, Expr::value(WithdrawalState::Settled.as_str()))
        .filter(Column::OrganizationId.eq(&key.0))
        .filter(Column::SessionId.eq(&key.1))
        .filter(Column::State.eq(WithdrawalState::Replacing.as_str()))
        .exec(tx)
        .await?;
    Ok(replaced.rows_affected > 0)
}
