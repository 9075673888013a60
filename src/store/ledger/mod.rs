//! Group commit: every write of the hot path that arrives while a transaction runs goes into the
//! next one, as multi-row statements. A lone write waits for nobody; under load the cost of a
//! commit is shared.
//!
//! One caller's conflict never spoils the batch: inserts that can conflict do nothing, what depends
//! on them is inserted for the winners only, and the losers are answered from what stands.

mod accept;
mod claims;
mod fence;
mod given;
mod inbox;
pub(super) mod sessions;
mod tend;
mod turn;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hookseal_core::audit::AuditEntry;
use hookseal_core::delivery::{Claim, Delivery, RequeueRefusal, Status};
use hookseal_core::error::{Error, Result};
use hookseal_core::id::{DeliveryId, EndpointId, Minter, OrganizationId};
use hookseal_core::ports::{
    Acceptance, Accepted, Claimed, Dispatch, HandOver, Haste, Ledger, NewDelivery, Requeue,
    Settlement,
};
use hookseal_core::retry::RetrySchedule;
use hookseal_core::time::Timestamp;
use tokio::sync::oneshot;

use self::claims::Trust;
use self::fence::Standing;
use self::inbox::{Inbox, Slot};
use self::turn::Turn;
use super::news::{Herald, News};
use super::{ANSWERED_WITHIN, CONFLICT_RETRIES, Connections, Failure, SqlStore, begin_write};
use crate::metrics;

/// How long a transaction may take: longer than the database lets any statement of it.
const COMMITTED_WITHIN: Duration = Duration::from_secs(12);

/// Where writes wait for the next transaction.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    writes: Slot,
    /// Of the threads that publish.
    turn: Arc<Turn>,
}

enum Write {
    Accept(Box<Acceptance>, Reply<Accepted>),
    Claim(ClaimRequest, Reply<Vec<Claimed>>),
    Settle(Vec<Settlement>, Haste, Reply<Vec<bool>>),
}

/// Where a caller waits for the commit.
type Reply<T> = oneshot::Sender<Result<T>>;

struct ClaimRequest {
    endpoint: EndpointId,
    ids: Vec<DeliveryId>,
    claim: Claim,
    now: Timestamp,
}

impl Write {
    fn rows(&self) -> usize {
        match self {
            Self::Accept(acceptance, _) => 1 + acceptance.deliveries.len(),
            Self::Claim(request, _) => request.ids.len(),
            Self::Settle(settlements, ..) => settlements.len(),
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

/// Starts the writing tasks, one a connection.
pub(super) fn start(writer: Writer, runtime: &tokio::runtime::Handle) -> Queue {
    let turn = Arc::new(Turn::default());
    let (writes, inbox) = Inbox::open(turn.clone());
    runtime.spawn(tend::tend(writer.connections.clone(), writes.downgrade()));
    for _ in 0..writer.connections.ledger_connections() {
        runtime.spawn(writer.clone().write_batches(inbox.clone()));
    }
    Queue { writes, turn }
}

#[async_trait]
impl Ledger for SqlStore {
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted> {
        let (reply, answer) = oneshot::channel();
        // A publisher that finds the queue full is told so at once; only actors wait for a place.
        self.ledger
            .writes
            .try_send(Write::Accept(Box::new(acceptance), reply))
            .map_err(|_| Error::full("the ledger"))?;
        self.ledger.turn.take().await;
        // Committed or not: whoever hears nothing asks again under the same key.
        match tokio::time::timeout(ANSWERED_WITHIN, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(Error::full("the ledger"))),
            Err(silence) => Err(Error::unavailable("the database", silence)),
        }
    }

    async fn claim(
        &self,
        endpoint: &EndpointId,
        ids: Vec<DeliveryId>,
        claim: Claim,
        now: Timestamp,
    ) -> Result<Vec<Claimed>> {
        let (reply, answer) = oneshot::channel();
        let endpoint = endpoint.clone();
        let write = Write::Claim(ClaimRequest { endpoint, ids, claim, now }, reply);
        self.ledger.writes.send(write).await.map_err(|_| Error::full("the ledger"))?;
        answer.await.unwrap_or_else(|_| Err(Error::full("the ledger")))
    }

    async fn settle(&self, settlements: Vec<Settlement>, haste: Haste) -> Result<Vec<bool>> {
        let (reply, answer) = oneshot::channel();
        let write = Write::Settle(settlements, haste, reply);
        self.ledger.writes.send(write).await.map_err(|_| Error::full("the ledger"))?;
        answer.await.unwrap_or_else(|_| Err(Error::full("the ledger")))
    }

    async fn requeue(
        &self,
        organization: &OrganizationId,
        what: &Requeue,
        schedule: &RetrySchedule,
        entry: AuditEntry,
    ) -> Result<Option<Vec<Result<Delivery, RequeueRefusal>>>> {
        self.requeue_deliveries(organization, what, schedule, entry).await
    }
}

/// Writes batch after batch.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) connections: Connections,
    pub(super) dispatch: Arc<dyn Dispatch>,
    pub(super) herald: Arc<Herald>,
    pub(super) minter: Arc<Minter>,
}

impl Writer {
    async fn write_batches(self, inbox: Arc<Inbox>) {
        while let Some(mut batch) = inbox.next().await {
            metrics::LEDGER_BATCH_ROWS.observe(batch.rows as f64);
            let timer = metrics::LEDGER_COMMIT_SECONDS.start_timer();
            self.write_batch(std::mem::take(&mut batch.writes)).await;
            timer.observe_duration();
        }
    }

    /// Commits a batch and answers its callers. A statement that the database refuses is somebody's
    /// in particular: each write is then tried alone, so that nobody fails for another's sake.
    async fn write_batch(&self, batch: Vec<Write>) {
        match self.commit(&batch).await {
            Ok(outcome) => {
                if outcome.settled.replacement_owed {
                    self.dispatch.replacement_owed();
                }
                answer(batch, outcome, &*self.dispatch);
            }
            Err(failure) if batch.len() > 1 && failure.is_refusal() => {
                for write in batch {
                    Box::pin(self.write_batch(vec![write])).await;
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

    async fn commit(&self, batch: &[Write]) -> Result<BatchOutcome, Failure> {
        let (mut tries, mut trust) = (0, Trust::AllStand);
        loop {
            let commit = tokio::time::timeout(COMMITTED_WITHIN, self.try_commit(batch, trust));
            let silence = |silence| Err(Error::unavailable("the database", silence).into());
            match commit.await.unwrap_or_else(silence) {
                Err(Failure::Mistrust) if trust == Trust::AllStand => trust = Trust::Asks,
                Err(failure) if tries < CONFLICT_RETRIES && failure.is_conflict() => tries += 1,
                result => return result,
            }
        }
    }

    async fn try_commit(&self, batch: &[Write], trust: Trust) -> Result<BatchOutcome, Failure> {
        let (mut acceptances, mut requests, mut settlements) = (Vec::new(), Vec::new(), Vec::new());
        for write in batch {
            match write {
                Write::Accept(acceptance, _) => acceptances.push(&**acceptance),
                Write::Claim(request, _) => requests.push(request),
                Write::Settle(items, ..) => settlements.extend(items),
            }
        }
        // Two ends of one claim in one batch: the first is the end, as it would be in two batches.
        let mut ended = HashSet::new();
        settlements.retain(|settlement| ended.insert((&settlement.delivery.id, settlement.token)));
        let mut news = News::default();
        let tx = begin_write(&self.connections.ledger()).await?;
        let standing = Standing::read(&tx, batch).await?;
        settlements.retain(|settlement| standing.may_settle(settlement.token));
        requests.retain(|request| standing.may_claim(request.claim.token, &request.endpoint));
        let settled = claims::settle(&tx, &mut settlements, trust, &self.minter, &mut news).await?;
        let claimed = claims::claim(&tx, &requests, &mut news).await?;
        let accepted = accept::accept(&tx, &acceptances, &standing, &mut news).await?;
        news.commit(tx, &self.herald).await?;
        Ok(BatchOutcome { accepted, claimed, settled })
    }
}

/// What a committed batch came to; acceptances in the order of the batch.
struct BatchOutcome {
    accepted: Vec<Accepted>,
    claimed: HashMap<DeliveryId, Claimed>,
    settled: claims::Settled,
}

/// Passes what was committed on, then answers every caller. A caller that is gone is no error: the
/// rows are the truth.
fn answer(batch: Vec<Write>, outcome: BatchOutcome, dispatch: &dyn Dispatch) {
    let BatchOutcome { accepted, mut claimed, settled } = outcome;
    let mut settled = settled.ids;
    let mut accepted = accepted.into_iter();
    let mut handed_over = Vec::new();
    let mut answers = Vec::with_capacity(batch.len());
    for write in batch {
        match write {
            Write::Accept(acceptance, reply) => {
                let Some(verdict) = accepted.next() else { continue };
                if matches!(verdict, Accepted::Committed) {
                    metrics::EVENTS_ACCEPTED.inc();
                    let deliveries = acceptance.deliveries.into_iter();
                    handed_over.extend(deliveries.filter_map(hand_over));
                }
                answers.push((reply, verdict));
            }
            Write::Claim(request, reply) => {
                let mine = request.ids.iter().filter_map(|id| claimed.remove(id)).collect();
                let _ = reply.send(Ok(mine));
            }
            Write::Settle(settlements, _, reply) => {
                let stood =
                    settlements.iter().map(|s| settled.remove(s.delivery.id.as_str())).collect();
                let _ = reply.send(Ok(stood));
            }
        }
    }
    dispatch.hand_over(handed_over);
    for (reply, verdict) in answers {
        let _ = reply.send(Ok(verdict));
    }
}

fn refuse(write: Write, error: &Error) {
    let again = Error::unavailable("the database", error.to_string());
    match write {
        Write::Accept(_, reply) => drop(reply.send(Err(again))),
        Write::Claim(_, reply) => drop(reply.send(Err(again))),
        Write::Settle(_, _, reply) => drop(reply.send(Err(again))),
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
