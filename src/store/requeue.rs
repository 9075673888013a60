//! Sending again by hand: retry and replay. Read, judged by the machine and written in one
//! transaction, then passed on.

use std::sync::Arc;

use hookseal_core::audit::AuditEntry;
use hookseal_core::delivery::{Delivery, RequeueRefusal};
use hookseal_core::error::Result;
use hookseal_core::id::{Minter, OrganizationId};
use hookseal_core::ports::{HandOver, Requeue};
use hookseal_core::retry::RetrySchedule;
use hookseal_entity::{delivery, event};
use sea_orm::{ColumnTrait, EntityTrait, Order, QueryFilter, QueryOrder};

use super::directory::record;
use super::news::{Herald, News};
use super::transition::{Busy, locked, write};
use super::writing::Writing;
use super::{Failure, SqlStore};

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
        let (db, dispatch, herald) = (self.writer(), self.dispatch.clone(), self.herald.clone());
        let work = Arc::new(Work {
            organization: organization.to_string(),
            what: what.clone(),
            schedule: schedule.clone(),
            entry,
            minter: self.minter.clone(),
        });
        self.run_again(move || {
            let (db, dispatch, work) = (db.clone(), dispatch.clone(), work.clone());
            let herald = herald.clone();
            async move {
                let requeued = work.transact(&db, &herald).await?;
                let pass_on = requeued.iter().flatten().flatten().cloned();
                let pass_on = pass_on.map(|delivery| HandOver { delivery, claimed: None });
                dispatch.hand_over(pass_on.collect());
                Ok(requeued)
            }
        })
        .await
    }
}

struct Work {
    organization: String,
    what: Requeue,
    schedule: RetrySchedule,
    entry: AuditEntry,
    minter: Arc<Minter>,
}

impl Work {
    async fn transact(&self, db: &Writing, herald: &Herald) -> Result<Requeued, Failure> {
        let tx = db.begin().await?;
        let ours = delivery::Entity::find()
            .filter(delivery::Column::OrganizationId.eq(&self.organization))
            .order_by(delivery::Column::Id, Order::Asc);
        let ours = match &self.what {
            Requeue::Delivery(id) => ours.filter(delivery::Column::Id.eq(id.as_str())),
            Requeue::Event(id) => {
                let event = event::Entity::find_by_id(id.as_str())
                    .filter(event::Column::OrganizationId.eq(&self.organization))
                    .one(&tx)
                    .await?;
                if event.is_none() {
                    return Ok(None);
                }
                ours.filter(delivery::Column::EventId.eq(id.as_str()))
            }
        };
        let now = self.entry.created_at;
        let (mut requeued, mut news) = (Vec::new(), News::default());
        for before in locked(ours, &tx, Busy::Wait).await? {
            match before.progress.requeue(&self.schedule, now) {
                Err(refusal) => requeued.push(Err(refusal)),
                Ok(progress) => {
                    let replaced = before.progress.last_attempt;
                    let replaced = replaced.map(|attempt| (self.minter.attempt(now), attempt));
                    requeued.push(Ok(write(&tx, &before, progress, replaced, &mut news).await?));
                }
            }
        }
        if requeued.iter().any(Result::is_ok) {
            record(&tx, &self.entry).await?;
        }
        news.commit(tx, herald).await?;
        Ok(Some(requeued))
    }
}
