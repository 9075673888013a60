//! Group commit: every write of the hot path that arrives while a transaction runs goes into the
//! next one. A lone write waits for nobody; under load the cost of a commit is shared.
//!
//! One caller's conflict never spoils the batch: inserts that can conflict do nothing, what depends
//! on them is inserted for the winners only, and the losers are answered from what stands.

mod accept;
mod cell;
mod change;
mod claims;
mod fence;
mod given;
mod inbox;
mod progress;
pub(super) mod purge;
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
use sea_orm::ConnectionTrait as _;
use tokio::sync::oneshot;

use self::fence::Standing;
use self::inbox::{Inbox, Slot};
use self::turn::Turn;
use super::connections::LEDGER_CONNECTIONS;
use super::news::{Herald, News};
use super::{ANSWERED_WITHIN, CONFLICT_RETRIES, Connections, Failure, SqlStore};
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

/// Starts what writes: on `runtime` a task for each connection, or a thread of its own with the connection to a SQLite.
///
/// # Errors
/// When no thread can be started.
pub(super) fn start(writer: Writer, runtime: &tokio::runtime::Handle) -> std::io::Result<Queue> {
    let turn = Arc::new(Turn::default());
    let (writes, inbox) = Inbox::open(turn.clone());
    runtime.spawn(tend::tend(writer.connections.clone(), writes.downgrade()));
    if writer.connections.embedded().is_some() {
        let own = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new()
            .name("hookseal-ledger".to_owned())
            .spawn(move || own.block_on(writer.write_batches(inbox)))?;
    } else {
        for _ in 0..LEDGER_CONNECTIONS {
            runtime.spawn(writer.clone().write_batches(inbox.clone()));
        }
    }
    Ok(Queue { writes, turn })
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
        let mut trust = Trust::All;
        while let Some(mut batch) = inbox.next().await {
            metrics::LEDGER_BATCH_ROWS.observe(batch.rows as f64);
            let timer = metrics::LEDGER_COMMIT_SECONDS.start_timer();
            self.write_batch(std::mem::take(&mut batch.writes), &mut trust).await;
            timer.observe_duration();
        }
    }

    /// Commits a batch and answers its callers. A statement that the database refuses is somebody's
    /// in particular: each write is then tried alone, so that nobody fails for another's sake.
    async fn write_batch(&self, batch: Vec<Write>, trust: &mut Trust) {
        match self.commit(&batch, trust).await {
            Ok(outcome) => {
                if matches!(outcome.settled, Settled::Some { replacement_owed: true, .. }) {
                    self.dispatch.replacement_owed();
                }
                answer(batch, outcome, &*self.dispatch);
            }
            Err(failure) if batch.len() > 1 && failure.is_refusal() => {
                for write in batch {
                    Box::pin(self.write_batch(vec![write], trust)).await;
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

    /// Leaves `trust` as it is to be for the next batch: after one that had surprises there may be more.
    async fn commit(&self, batch: &[Write], trust: &mut Trust) -> Result<BatchOutcome, Failure> {
        let mut tries = 0;
        loop {
            let commit = tokio::time::timeout(COMMITTED_WITHIN, self.try_commit(batch, *trust));
            let silence = |silence| Err(Error::unavailable("the database", silence).into());
            match commit.await.unwrap_or_else(silence) {
                Ok(outcome) => {
                    *trust = if outcome.is_as_expected { Trust::All } else { Trust::Asks };
                    return Ok(outcome);
                }
                Err(failure) if *trust == Trust::All && failure.is_surprise() => {
                    *trust = Trust::Asks;
                }
                Err(failure) if tries < CONFLICT_RETRIES && failure.is_conflict() => tries += 1,
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn try_commit(&self, batch: &[Write], trust: Trust) -> Result<BatchOutcome, Failure> {
        let asked = Asked::by(batch);
        match trust {
            Trust::All => self.commit_all(batch, &asked).await,
            Trust::Asks => self.commit_what_may_be(batch, asked).await,
        }
    }

    /// Commits what the writes come to where nothing stands in their way, in as few statements as there can be.
    async fn commit_all(
        &self,
        batch: &[Write],
        Asked { acceptances, requests, settlements, doubled }: &Asked<'_>,
    ) -> Result<BatchOutcome, Failure> {
        let (db, mut news) = (self.connections.ledger(), News::default());
        let accepted = accept::all(acceptances).filter(|_| !doubled);
        let writes = fence::stand(settlements, acceptances)
            .and(claims::all_ends(settlements, &self.minter))
            .and(accepted.ok_or(Failure::Surprise)?);
        settlements.iter().for_each(|s| news.changed(&s.delivery, &s.progress));
        acceptances.iter().for_each(|acceptance| accept::tell(acceptance, &mut news));
        let mut claimed = HashMap::new();
        if let Some(embedded) = self.connections.embedded() {
            let tx = embedded.begin().await?;
            writes.write_all(&tx)?;
            claimed = claims::claim_embedded(&tx, requests, &mut news)?;
            news.told_after(async { tx.commit() }, &self.herald).await?;
        } else if requests.is_empty() {
            news.told_after(async { Ok(writes.commit(&db).await?) }, &self.herald).await?;
        } else {
            let tx = db.begin().await?;
            let all = writes.rows(db.get_database_backend());
            if writes.execute(&tx).await? != all {
                return Err(Failure::Surprise);
            }
            let standing = Standing::read(&tx, batch).await?;
            claimed = claims::claim(&tx, &standing.of_claims(requests), &mut news).await?;
            news.commit(tx, &self.herald).await?;
        }
        let accepted = acceptances.iter().map(|_| Accepted::Committed).collect();
        Ok(BatchOutcome { accepted, claimed, settled: Settled::All, is_as_expected: true })
    }

    /// Commits what nothing stands in the way of, looking at each.
    async fn commit_what_may_be(
        &self,
        batch: &[Write],
        Asked { acceptances, requests, mut settlements, .. }: Asked<'_>,
    ) -> Result<BatchOutcome, Failure> {
        let mut news = News::default();
        let tx = self.connections.ledger().begin().await?;
        let standing = Standing::read(&tx, batch).await?;
        let asked = settlements.len();
        settlements.retain(|settlement| standing.may_settle(settlement.token));
        let (stood, replacement_owed) =
            claims::settle(&tx, &settlements, &self.minter, &mut news).await?;
        let claimed = claims::claim(&tx, &standing.of_claims(&requests), &mut news).await?;
        let accepted = accept::accept(&tx, &acceptances, &standing, &mut news).await?;
        news.commit(tx, &self.herald).await?;
        let is_as_expected = stood.len() == asked
            && accepted.iter().all(|accepted| matches!(accepted, Accepted::Committed));
        let settled = Settled::Some { stood, replacement_owed };
        Ok(BatchOutcome { accepted, claimed, settled, is_as_expected })
    }
}

/// How the next batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// As if nothing stood in the way of any of it, as nearly always. Where something does, nothing of it is kept.
    All,
    /// Looking at each: so are those that follow a batch in which something did.
    Asks,
}

/// What the writes of a batch ask for.
struct Asked<'a> {
    acceptances: Vec<&'a Acceptance>,
    requests: Vec<&'a ClaimRequest>,
    /// Of two ends of one claim the first, as it would be in two batches.
    settlements: Vec<&'a Settlement>,
    /// Whether there are two of one.
    doubled: bool,
}

impl<'a> Asked<'a> {
    fn by(batch: &'a [Write]) -> Self {
        let (mut acceptances, mut requests, mut settlements) = (Vec::new(), Vec::new(), Vec::new());
        for write in batch {
            match write {
                Write::Accept(acceptance, _) => acceptances.push(&**acceptance),
                Write::Claim(request, _) => requests.push(request),
                Write::Settle(items, ..) => settlements.extend(items),
            }
        }
        let (asked, mut ended) = (settlements.len(), HashSet::new());
        settlements.retain(|settlement| ended.insert((&settlement.delivery.id, settlement.token)));
        // In one order, so that two writers do not wait for each other.
        settlements.sort_unstable_by_key(|settlement| &settlement.delivery.id);
        let doubled = asked > settlements.len();
        Self { acceptances, requests, settlements, doubled }
    }
}

/// What a committed batch came to; acceptances in the order of the batch.
struct BatchOutcome {
    accepted: Vec<Accepted>,
    claimed: HashMap<DeliveryId, Claimed>,
    settled: Settled,
    /// Whether nothing stood in the way of any of it.
    is_as_expected: bool,
}

/// The ends of claims that were written.
enum Settled {
    /// All of them.
    All,
    Some {
        /// Ids of deliveries whose claims still stood.
        stood: HashSet<String>,
        /// Whether a replacing event is owed by it.
        replacement_owed: bool,
    },
}

impl Settled {
    /// Whether the claim of this delivery stood; once for each.
    fn take(&mut self, delivery: &DeliveryId) -> bool {
        match self {
            Self::All => true,
            Self::Some { stood, .. } => stood.remove(delivery.as_str()),
        }
    }
}

/// Passes what was committed on, then answers every caller. A caller that is gone is no error: the
/// rows are the truth.
fn answer(batch: Vec<Write>, outcome: BatchOutcome, dispatch: &dyn Dispatch) {
    let BatchOutcome { accepted, mut claimed, mut settled, .. } = outcome;
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
                let stood = settlements.iter().map(|s| settled.take(&s.delivery.id)).collect();
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
