//! Withdrawal in the rows. A session's row is where it meets the publishing of terminal events: both
//! write it, so that one of them comes first.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use hookseal_core::audit::AuditEntry;
use hookseal_core::delivery::{Delivery, Revocation, Status};
use hookseal_core::error::{Error, Result};
use hookseal_core::id::{EndpointId, EventId, OrganizationId, PrivacyRequestId, SessionId};
use hookseal_core::ports::{Dispatch, Withdrawals};
use hookseal_core::privacy::{
    CANCELLED, Owed, PrivacyRequest, SessionOutcome, TerminalStanding, Withdrawal, WithdrawalState,
    next,
};
use hookseal_core::retention::RetentionReason;
use hookseal_core::time::Timestamp;
use hookseal_entity::{delivery, event, organization, verification_session};
use sea_orm::sea_query::{
    Expr, ExprTrait as _, OnConflict, Query, SelectStatement, SimpleExpr, UnionType,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait,
    IntoActiveModel, Order, QueryFilter, QueryOrder, QuerySelect, Select,
};

use super::directory::record;
use super::news::{Herald, News};
use super::transition::{Busy, locked, write};
use super::writing::Writing;
use super::{Failure, SqlStore, alone, rows};

/// Deliveries that a withdrawal concerns: those of the session's events but cancelled ones, which
/// tell nothing of the person.
fn concerned(row: &verification_session::Model) -> Select<delivery::Entity> {
    let events = |which: SimpleExpr| -> SelectStatement {
        Query::select()
            .column(event::Column::Id)
            .from(event::Entity)
            .and_where(which)
            .and_where(event::Column::EventType.ne(CANCELLED))
            .to_owned()
    };
    let telling = event::Column::OrganizationId
        .eq(&row.organization_id)
        .and(event::Column::SessionId.eq(&row.session_id))
        .and(Expr::cust("NOT ends_session"));
    let mut of_session = events(telling);
    if let Some(terminal) = &row.terminal_event_id {
        of_session.union(UnionType::All, events(event::Column::Id.eq(terminal)));
    }
    delivery::Entity::find()
        .filter(delivery::Column::OrganizationId.eq(&row.organization_id))
        .filter(delivery::Column::EventId.in_subquery(of_session))
}

/// A session's row, and nobody else at it until the transaction ends.
async fn locked_session(
    tx: &DatabaseTransaction,
    organization: &str,
    session: &str,
) -> Result<Option<verification_session::Model>, Failure> {
    let row = verification_session::Entity::find_by_id((organization.into(), session.into()));
    Ok(alone(row, tx).one(tx).await?)
}

#[async_trait]
impl Withdrawals for SqlStore {
    async fn withdraw(
        &self,
        withdrawal: Withdrawal,
        entry: AuditEntry,
    ) -> Result<Option<PrivacyRequest>> {
        let (dispatch, herald) = (self.dispatch.clone(), self.herald.clone());
        let work = Arc::new((self.writer(), dispatch, herald, withdrawal, entry));
        self.run_again(move || {
            let work = work.clone();
            async move {
                let (db, dispatch, herald, withdrawal, entry) = &*work;
                withdraw(db, &**dispatch, herald, withdrawal, entry.clone()).await
            }
        })
        .await
    }

    async fn privacy_request(&self, id: &PrivacyRequestId) -> Result<Option<PrivacyRequest>> {
        let (db, id) = (self.readers(), id.to_string());
        self.run(async move {
            let row = verification_session::Entity::find()
                .filter(verification_session::Column::PrivacyRequestId.eq(id))
                .one(&db)
                .await?;
            match row {
                None => Ok(None),
                Some(row) => shown(&db, &row).await.map(Some),
            }
        })
        .await
    }

    async fn owed(&self, only: Option<&PrivacyRequestId>, limit: usize) -> Result<Vec<Owed>> {
        let (db, found) = (self.readers(), owing(only).limit(limit as u64));
        self.run(async move {
            let found = found.all(&db).await?;
            let mut owed = Vec::with_capacity(found.len());
            for row in found {
                let terminal = match &row.terminal_event_id {
                    None => None,
                    Some(id) => event::Entity::find_by_id(id).one(&db).await?,
                };
                let terminal = terminal.map(|event| event.event_type.into());
                match withdrawal_of(row) {
                    Ok(withdrawal) => owed.push(Owed { withdrawal, terminal }),
                    // One bad row must not stop the others.
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "row passed over"
                        );
                    }
                }
            }
            Ok(owed)
        })
        .await
    }

    async fn forgo_replacement(&self, id: &PrivacyRequestId) -> Result<()> {
        use verification_session::Column::{PrivacyRequestId, State};
        let (db, id) = (self.writer(), id.to_string());
        self.run(async move {
            verification_session::Entity::update_many()
                .col_expr(State, Expr::value(WithdrawalState::Settled.as_str()))
                .filter(PrivacyRequestId.eq(id))
                .filter(State.eq(WithdrawalState::Replacing.as_str()))
                .exec(&db)
                .await?;
            Ok(())
        })
        .await
    }
}

/// The withdrawn sessions that are owed a replacing event, or only the one of a request. What is frozen takes no event; it
/// must not stand in the way of the others.
pub(super) fn owing(only: Option<&PrivacyRequestId>) -> Select<verification_session::Entity> {
    use verification_session::Column::{
        OrganizationId, PrivacyRequestId as Request, State, WithdrawnAtMs,
    };
    // Asked of each that is found: a list of those that are served would be where to look for sessions, all of them.
    let refused = Query::select()
        .expr(Expr::value(1))
        .from(organization::Entity)
        .and_where(
            Expr::col((organization::Entity, organization::Column::Id))
                .equals((verification_session::Entity, OrganizationId)),
        )
        .cond_where(
            Condition::any()
                .add(organization::Column::FrozenAtMs.is_not_null())
                .add(organization::Column::DeletedAtMs.is_not_null()),
        )
        .to_owned();
    let owing = verification_session::Entity::find()
        .filter(State.eq(WithdrawalState::Replacing.as_str()))
        .filter(Expr::exists(refused).not())
        .order_by(WithdrawnAtMs, Order::Asc);
    match only {
        None => owing,
        Some(only) => owing.filter(Request.eq(only.to_string())),
    }
}

async fn withdraw(
    db: &Writing,
    dispatch: &dyn Dispatch,
    herald: &Herald,
    withdrawal: &Withdrawal,
    mut entry: AuditEntry,
) -> Result<Option<PrivacyRequest>, Failure> {
    let tx = db.begin().await?;
    let known = organization::Entity::find_by_id(withdrawal.organization_id.as_str())
        .filter(organization::Column::DeletedAtMs.is_null());
    if known.one(&tx).await?.is_none() {
        return Ok(None);
    }
    let mut row = session_row(&tx, withdrawal).await?;
    if row.privacy_request_id.is_some() {
        return shown(&tx, &row).await.map(Some);
    }
    let mut news = News::default();
    let marked = scrub(&tx, &row, withdrawal.withdrawn_at, &mut news).await?;
    let outcome = withdrawal.outcome.as_str();
    row.privacy_request_id = Some(withdrawal.id.to_string());
    row.outcome = Some(outcome.to_owned());
    row.nfc_tries_used = Some(withdrawal.nfc_tries_used.into());
    row.liveness_tries_used = Some(withdrawal.liveness_tries_used.into());
    row.withdrawn_at_ms = Some(withdrawal.withdrawn_at.as_ms());
    if row.targets.is_none() {
        row.targets = withdrawal.targets.as_ref().map(rows::json);
    }
    row.state = Some(decide(&tx, &row).await?.as_str().to_owned());
    let changed = row.clone().into_active_model().reset_all();
    verification_session::Entity::update(changed).exec(&tx).await?;
    let request = shown(&tx, &row).await?;
    for (name, count) in [
        ("delivered", request.delivered),
        ("scrubbed", request.scrubbed),
        ("in_flight", request.in_flight),
    ] {
        entry.metadata.insert(name.to_owned(), count.into());
    }
    record(&tx, &entry).await?;
    let committed = news.commit(tx, herald).await;
    for delivery in marked {
        dispatch.revoked(&delivery.endpoint_id, vec![delivery.id]);
    }
    committed?;
    Ok(Some(request))
}

/// The row of the withdrawn session, made where there is none.
async fn session_row(
    tx: &DatabaseTransaction,
    withdrawal: &Withdrawal,
) -> Result<verification_session::Model, Failure> {
    let new = verification_session::Model {
        organization_id: withdrawal.organization_id.to_string(),
        session_id: withdrawal.session_id.to_string(),
        terminal_event_id: None,
        outlives_event: false,
        targets: None,
        privacy_request_id: None,
        outcome: None,
        nfc_tries_used: None,
        liveness_tries_used: None,
        withdrawn_at_ms: None,
        state: None,
        replacement_event_id: None,
    };
    let (organization, session) = (new.organization_id.clone(), new.session_id.clone());
    verification_session::Entity::insert(new.into_active_model())
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(tx)
        .await?;
    let row = locked_session(tx, &organization, &session).await?;
    Ok(row.ok_or(Error::Broken { what: "a session just made", source: None })?)
}

/// Takes every payload of the session away; answers the deliveries that are in flight.
async fn scrub(
    tx: &DatabaseTransaction,
    row: &verification_session::Model,
    now: Timestamp,
    news: &mut News,
) -> Result<Vec<Delivery>, Failure> {
    let kept = concerned(row)
        .filter(delivery::Column::PayloadScrubbedAtMs.is_null())
        .order_by(delivery::Column::Id, Order::Asc);
    let mut in_flight = Vec::new();
    for delivery in locked(kept, tx, Busy::Wait).await? {
        let progress = delivery.progress.revoke(Revocation::Withdrawn, now);
        let progress = progress.map_err(|illegal| Error::broken("a kept delivery", illegal))?;
        let revoked = write(tx, &delivery, progress, None, news).await?;
        if revoked.progress.status == Status::Delivering {
            in_flight.push(revoked);
        }
    }
    Ok(in_flight)
}

/// What is next for a withdrawn session, as its terminal event stands.
async fn decide(
    tx: &DatabaseTransaction,
    row: &verification_session::Model,
) -> Result<WithdrawalState, Failure> {
    let Some(terminal) = &row.terminal_event_id else { return Ok(next(None)) };
    let Some(event) = event::Entity::find_by_id(terminal).one(tx).await? else {
        // Too old to be told: whoever was to get it has had it.
        return Ok(WithdrawalState::Settled);
    };
    let deliveries = delivery::Entity::find()
        .filter(delivery::Column::OrganizationId.eq(&row.organization_id))
        .filter(delivery::Column::EventId.eq(terminal))
        .all(tx)
        .await?;
    let status = |delivery: &delivery::Model, status: Status| delivery.status == status.as_str();
    Ok(next(Some(&TerminalStanding {
        event_type: event.event_type.into(),
        arrived: deliveries.iter().any(|d| d.maybe_delivered || status(d, Status::Succeeded)),
        in_flight: deliveries.iter().any(|d| status(d, Status::Delivering)),
    })))
}

/// Takes the next decision for the sessions of revoked deliveries whose attempts ended; answers
/// whether any replacing event is owed now.
pub(super) async fn on_revoked_attempts_ended(
    tx: &DatabaseTransaction,
    ended: &[&Delivery],
) -> Result<bool, Failure> {
    let events: BTreeSet<&str> = ended.iter().map(|delivery| delivery.event_id.as_str()).collect();
    let events = event::Entity::find().filter(event::Column::Id.is_in(events)).all(tx).await?;
    let sessions: BTreeSet<(String, String)> = events
        .into_iter()
        .filter_map(|event| Some((event.organization_id, event.session_id?)))
        .collect();
    let mut owed = false;
    for (organization, session) in sessions {
        let Some(row) = locked_session(tx, &organization, &session).await? else { continue };
        if row.state.as_deref() != Some(WithdrawalState::Settling.as_str()) {
            continue;
        }
        let state = decide(tx, &row).await?;
        owed |= state == WithdrawalState::Replacing;
        let mut changed = row.into_active_model();
        changed.state = sea_orm::ActiveValue::Set(Some(state.as_str().to_owned()));
        verification_session::Entity::update(changed).exec(tx).await?;
    }
    Ok(owed)
}

/// A withdrawal as it stands, its deliveries counted.
async fn shown(
    db: &impl ConnectionTrait,
    row: &verification_session::Model,
) -> Result<PrivacyRequest, Failure> {
    let what = || Error::Broken { what: "a stored withdrawal", source: None };
    let deliveries = concerned(row).all(db).await?;
    let count = |so: fn(&delivery::Model) -> bool| {
        deliveries.iter().filter(|delivery| so(delivery)).count() as u64
    };
    Ok(PrivacyRequest {
        id: row.privacy_request_id.clone().map(PrivacyRequestId::from_row).ok_or_else(what)?,
        state: row.state.as_deref().and_then(WithdrawalState::parse).ok_or_else(what)?,
        scrubbed: count(|delivery| {
            delivery.status == Status::Failed.as_str()
                && delivery.retention_reason == RetentionReason::PrivacyRequest.as_str()
        }),
        in_flight: count(|delivery| delivery.status == Status::Delivering.as_str()),
        delivered: count(|delivery| {
            delivery.maybe_delivered || delivery.status == Status::Succeeded.as_str()
        }),
        replacement_event_id: row.replacement_event_id.clone().map(EventId::from_row),
    })
}

fn withdrawal_of(row: verification_session::Model) -> Result<Withdrawal> {
    let what = || Error::Broken { what: "a stored withdrawal", source: None };
    let tries = |count: Option<i64>| count.and_then(|count| u32::try_from(count).ok());
    let targets: Option<Vec<String>> = row
        .targets
        .map(|targets| serde_json::from_str(&targets))
        .transpose()
        .map_err(|_| what())?;
    Ok(Withdrawal {
        id: row.privacy_request_id.map(PrivacyRequestId::from_row).ok_or_else(what)?,
        organization_id: OrganizationId::from_row(row.organization_id),
        session_id: SessionId::from_row(row.session_id),
        outcome: row.outcome.as_deref().and_then(SessionOutcome::parse).ok_or_else(what)?,
        nfc_tries_used: tries(row.nfc_tries_used).ok_or_else(what)?,
        liveness_tries_used: tries(row.liveness_tries_used).ok_or_else(what)?,
        targets: targets.map(|ids| ids.into_iter().map(EndpointId::from_row).collect()),
        withdrawn_at: row.withdrawn_at_ms.map(Timestamp::from_ms).ok_or_else(what)?,
    })
}
