//! Sending again by hand: retry and replay. Read, judged by the machine and written in one
//! transaction, then passed on.

use hookseal_core::audit::AuditEntry;
use hookseal_core::delivery::{Delivery, RequeueRefusal};
use hookseal_core::error::Result;
use hookseal_core::id::OrganizationId;
use hookseal_core::ports::{HandOver, Requeue};
use hookseal_core::retry::RetrySchedule;
use hookseal_entity::{delivery, event};
use sea_orm::{ColumnTrait, EntityTrait, Order, QueryFilter, QueryOrder};

use super::directory::record;
use super::transition::{Busy, locked, write};
use super::{SqlStore, begin_write};

/// What became of each delivery; none when there is no such thing.
type Requeued = Option<Vec<Result<Delivery, RequeueRefusal>>>;

impl SqlStore {
    pub(super) async fn requeue_deliveries(
        &self,
        organization: &OrganizationId,
        what: &Requeue,
        schedule: &RetrySchedule,
        entry: AuditEntry,
    ) -> Result<Requeued> {
        let (db, dispatch, minter) = (self.writer(), self.dispatch.clone(), self.minter.clone());
        let (organization, what) = (organization.to_string(), what.clone());
        let (schedule, now) = (schedule.clone(), entry.created_at);
        self.run(async move {
            let tx = begin_write(&db).await?;
            let ours = delivery::Entity::find()
                .filter(delivery::Column::OrganizationId.eq(&organization))
                .order_by(delivery::Column::Id, Order::Asc);
            let ours = match &what {
                Requeue::Delivery(id) => ours.filter(delivery::Column::Id.eq(id.as_str())),
                Requeue::Event(id) => {
                    let event = event::Entity::find_by_id(id.as_str())
                        .filter(event::Column::OrganizationId.eq(&organization))
                        .one(&tx)
                        .await?;
                    if event.is_none() {
                        return Ok(None);
                    }
                    ours.filter(delivery::Column::EventId.eq(id.as_str()))
                }
            };
            let mut requeued = Vec::new();
            for before in locked(ours, &tx, Busy::Wait).await? {
                match before.progress.requeue(&schedule, now) {
                    Err(refusal) => requeued.push(Err(refusal)),
                    Ok(progress) => {
                        let replaced = before
                            .progress
                            .last_attempt
                            .map(|attempt| (minter.attempt(now), attempt));
                        requeued.push(Ok(write(&tx, &before, progress, replaced).await?));
                    }
                }
            }
            if requeued.iter().any(Result::is_ok) {
                record(&tx, &entry).await?;
            }
            tx.commit().await?;
            let pass_on = requeued.iter().flatten().cloned();
            dispatch
                .hand_over(pass_on.map(|delivery| HandOver { delivery, claimed: None }).collect());
            Ok(Some(requeued))
        })
        .await
    }
}
