//! Where writes wait, and which of them go into one transaction: whatever somebody waits for and arrived while the
//! one before ran, and those at the door where there are many. A lone write waits for nobody; a second transaction
//! beside one that runs has to be worth it. Few wait for the record of an attempt that ended: most ends gather for
//! a moment, so that a delivery costs one transaction and a share of another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hookseal_core::limits::{LEDGER_BATCH_BYTES, LEDGER_BATCH_ROWS, LEDGER_QUEUE};
use hookseal_core::ports::Haste;
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::Instant;

use super::Write;
use super::turn::Turn;

/// Rows that a transaction is begun for while another one runs: commits cost more than rows do.
const WORTH: usize = 128;
/// Writes of a crowd: where fewer have come, now and for the transaction before, nobody else is waited for.
const CROWD: usize = 8;
/// So many are enough to begin with.
const PLENTY: usize = 64;
/// How long a crowd waits for those at the door, and how often it looks how many have come.
const WAITS: Duration = Duration::from_millis(6);
const LOOKS_EVERY: Duration = Duration::from_millis(1);
/// Rows, or writes, of a transaction that takes ends along whenever it has as many.
const ENDS_CROWD: usize = 32;
/// How long the first of the ends waits for others.
const ENDS_GATHER: Duration = Duration::from_millis(20);

/// Where writes are put in.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    urgent: mpsc::Sender<Write>,
    ends: mpsc::Sender<Write>,
}

impl Slot {
    /// Puts a write in unless there is no room.
    pub(super) fn try_send(&self, write: Write) -> Result<(), TrySendError<Write>> {
        self.of(&write).try_send(write)
    }

    /// Puts a write in once there is room.
    pub(super) async fn send(&self, write: Write) -> Result<(), SendError<Write>> {
        self.of(&write).send(write).await
    }

    /// What tells whether anybody can still put anything in.
    pub(super) fn downgrade(&self) -> mpsc::WeakSender<Write> {
        self.urgent.downgrade()
    }

    fn of(&self, write: &Write) -> &mpsc::Sender<Write> {
        match write {
            Write::Settle(_, Haste::Gathered, _) => &self.ends,
            Write::Accept(..) | Write::Claim(..) | Write::Settle(_, Haste::Now, _) => &self.urgent,
        }
    }
}

/// Writes that wait for one of the writers.
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    /// Transactions that run.
    running: AtomicUsize,
    ended: Notify,
    turn: Arc<Turn>,
}

struct Waiting {
    urgent: mpsc::Receiver<Write>,
    ends: mpsc::Receiver<Write>,
    /// Of the ends the first, and when their time is.
    first_end: Option<(Write, Instant)>,
    /// What did not fit into the batch before.
    left_over: Option<Write>,
    /// Urgent writes of the batch before.
    urgent_before: usize,
}

impl Waiting {
    /// Waits for something to write; answers the urgent one that it waited for, if it was one. None once nobody can
    /// put anything in any more.
    async fn come(&mut self) -> Option<Option<Write>> {
        if let Some(write) = self.left_over.take() {
            return Some(Some(write));
        }
        loop {
            let time = match &self.first_end {
                Some((_, time)) if !self.urgent.is_closed() => *time,
                _ => Instant::now(),
            };
            tokio::select! {
                biased;
                Some(write) = self.urgent.recv() => return Some(Some(write)),
                Some(end) = self.ends.recv(), if self.first_end.is_none() => {
                    self.first_end = Some((end, Instant::now() + ENDS_GATHER));
                }
                () = tokio::time::sleep_until(time), if self.first_end.is_some() => return Some(None),
                else => return None,
            }
        }
    }

    /// Fills `batch` with what waits; answers whether it takes more. Ends come first where they come, so that
    /// publishers never keep them out.
    fn fill(&mut self, batch: &mut Batch) -> bool {
        // Its time runs even where there is always something urgent.
        if self.first_end.is_none() {
            self.first_end =
                self.ends.try_recv().ok().map(|end| (end, Instant::now() + ENDS_GATHER));
        }
        let along = batch.rows.max(self.urgent.len()) >= ENDS_CROWD
            || batch.writes.iter().any(|write| matches!(write, Write::Settle(..)))
            || self.urgent.is_closed();
        let first = self.first_end.take_if(|(_, time)| along || *time <= Instant::now());
        let ends =
            (along || first.is_some()).then(|| std::iter::from_fn(|| self.ends.try_recv().ok()));
        let ends = first.map(|(end, _)| end).into_iter().chain(ends.into_iter().flatten());
        let urgent = std::iter::from_fn(|| self.urgent.try_recv().ok());
        for write in ends.chain(urgent) {
            if !batch.offer(write, &mut self.left_over) {
                return false;
            }
        }
        true
    }
}

/// Writes of one transaction.
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    pub(super) rows: usize,
    bytes: usize,
    _running: Running,
}

/// Counts a transaction for as long as it runs.
struct Running(Arc<Inbox>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify_one();
    }
}

impl Batch {
    fn takes(&self, write: &Write) -> bool {
        let fits = self.rows + write.rows() <= LEDGER_BATCH_ROWS
            && self.bytes + write.bytes() <= LEDGER_BATCH_BYTES;
        fits || self.writes.is_empty()
    }

    fn push(&mut self, write: Write) {
        self.rows += write.rows();
        self.bytes += write.bytes();
        self.writes.push(write);
    }

    /// Takes a write, or leaves it for the next batch; answers whether it took it.
    fn offer(&mut self, write: Write, left_over: &mut Option<Write>) -> bool {
        let takes = self.takes(&write);
        if takes {
            self.push(write);
        } else {
            *left_over = Some(write);
        }
        takes
    }
}

impl Inbox {
    /// An empty inbox of publishes whose threads take such a `turn`, and where writes are put into it.
    pub(super) fn open(turn: Arc<Turn>) -> (Slot, Arc<Self>) {
        let (urgent_sender, urgent) = mpsc::channel(LEDGER_QUEUE);
        let (ends_sender, ends) = mpsc::channel(LEDGER_QUEUE);
        let waiting = Mutex::new(Waiting {
            urgent,
            ends,
            first_end: None,
            left_over: None,
            urgent_before: 0,
        });
        let (running, ended) = (AtomicUsize::new(0), Notify::new());
        let slot = Slot { urgent: urgent_sender, ends: ends_sender };
        (slot, Arc::new(Self { waiting, running, ended, turn }))
    }

    /// The next batch; none once nobody can put anything in any more.
    pub(super) async fn next(self: &Arc<Self>) -> Option<Batch> {
        // Writers gather one after the other.
        let mut waiting = self.waiting.lock().await;
        let first = waiting.come().await?;
        let crowd = waiting.urgent.len().max(waiting.urgent_before);
        if crowd >= CROWD && self.turn.is_long() {
            let until = Instant::now() + WAITS;
            // Nobody who arrives meanwhile wakes anybody: that costs as much as a few rows.
            while waiting.urgent.len() < PLENTY && Instant::now() < until {
                tokio::time::sleep(LOOKS_EVERY).await;
            }
        }
        let others = self.running.fetch_add(1, Ordering::AcqRel);
        let running = Running(self.clone());
        let mut batch = Batch { writes: Vec::new(), rows: 0, bytes: 0, _running: running };
        first.into_iter().for_each(|write| batch.push(write));
        waiting.urgent_before = waiting.urgent.len();
        let mut open = true;
        loop {
            open = open && waiting.fill(&mut batch);
            if !open || others == 0 || batch.rows >= WORTH {
                return Some(batch);
            }
            tokio::select! {
                write = waiting.urgent.recv() => match write {
                    Some(write) => open = batch.offer(write, &mut waiting.left_over),
                    None => return Some(batch),
                },
                () = self.ended.notified() => return Some(batch),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hookseal_core::delivery::{Claim, ClaimToken};
    use hookseal_core::id::EndpointId;
    use hookseal_core::ports::Haste::{Gathered, Now};
    use hookseal_core::time::Timestamp;
    use tokio::sync::oneshot;

    use super::super::ClaimRequest;
    use super::*;

    /// How many writes the next batch has, of `first` that wait and one that comes later, on threads with such a
    /// turn.
    async fn taken(first: usize, turn: Turn) -> usize {
        let (writes, inbox) = Inbox::open(Arc::new(turn));
        for _ in 0..first {
            writes.try_send(claim()).expect("there is room");
        }
        let late = writes.clone();
        tokio::spawn(async move { late.try_send(claim()).expect("there is room") });
        inbox.next().await.map_or(0, |batch| batch.writes.len())
    }

    fn claim() -> Write {
        let claim = Claim { token: ClaimToken(1), expires_at: Timestamp::from_ms(1) };
        let (endpoint, now) = (EndpointId::from_row("whe_1"), Timestamp::from_ms(1));
        let request = ClaimRequest { endpoint, ids: Vec::new(), claim, now };
        Write::Claim(request, oneshot::channel().0)
    }

    fn end(haste: Haste) -> Write {
        Write::Settle(Vec::new(), haste, oneshot::channel().0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_waits_for_those_at_the_door_and_few_wait_for_nobody() {
        assert_eq!(taken(CROWD + 1, Turn::long()).await, CROWD + 2);
        assert_eq!(taken(CROWD + 1, Turn::default()).await, CROWD + 1);
        assert_eq!(taken(1, Turn::long()).await, 1);
    }

    /// Claims and ends of a batch.
    fn of(batch: &Batch) -> (usize, usize) {
        let is_end = |write: &&Write| matches!(write, Write::Settle(..));
        let ends = batch.writes.iter().filter(is_end).count();
        (batch.writes.len() - ends, ends)
    }

    #[tokio::test(start_paused = true)]
    async fn ends_gather_and_hold_nobody_up() {
        let (writes, inbox) = Inbox::open(Arc::default());
        let began = Instant::now();
        let put = async |write| writes.send(write).await.expect("there is room");
        put(end(Gathered)).await;
        put(end(Gathered)).await;
        put(claim()).await;
        let taken = async || of(&inbox.next().await.expect("a batch"));
        assert_eq!((taken().await, began.elapsed()), ((1, 0), Duration::ZERO));
        assert_eq!((taken().await, began.elapsed()), ((0, 2), ENDS_GATHER));
        put(end(Gathered)).await;
        put(end(Now)).await;
        assert_eq!((taken().await, began.elapsed()), ((0, 2), ENDS_GATHER));
        put(end(Gathered)).await;
        assert!(tokio::time::timeout(ENDS_GATHER / 2, inbox.next()).await.is_err());
        tokio::time::sleep(ENDS_GATHER).await;
        put(claim()).await;
        assert_eq!(taken().await, (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn ends_wait_no_longer_where_there_is_always_something_urgent() {
        let (writes, inbox) = Inbox::open(Arc::default());
        let put = async |write| writes.send(write).await.expect("there is room");
        put(end(Gathered)).await;
        for _ in 0..4 {
            put(claim()).await;
            assert_eq!(of(&inbox.next().await.expect("a batch")), (1, 0));
            tokio::time::advance(ENDS_GATHER / 4).await;
        }
        put(claim()).await;
        assert_eq!(of(&inbox.next().await.expect("a batch")), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_at_the_end_is_written_at_once() {
        let (writes, inbox) = Inbox::open(Arc::default());
        let began = Instant::now();
        writes.send(end(Gathered)).await.expect("there is room");
        writes.send(claim()).await.expect("there is room");
        drop(writes);
        assert_eq!(of(&inbox.next().await.expect("a batch")), (1, 1));
        assert!(inbox.next().await.is_none());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
