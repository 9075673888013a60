//! Where writes wait, and which of them go into one transaction: whatever arrived while the one before
//! ran, and those at the door where there are many. A lone write waits for nobody; a second transaction
//! beside one that runs has to be worth it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hookseal_core::limits::{LEDGER_BATCH_BYTES, LEDGER_BATCH_ROWS, LEDGER_QUEUE};
use tokio::sync::{Mutex, Notify, mpsc};

use super::Write;
use super::turn::Turn;

/// Rows that a transaction is begun for while another one runs: commits cost more than rows do.
const WORTH: usize = 128;
/// Writes of a crowd: where fewer have come, nobody else is waited for.
const CROWD: usize = 8;
/// How long a crowd waits for those at the door.
const WAITS: Duration = Duration::from_millis(5);

/// Writes that wait for one of the writers.
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    /// Transactions that run.
    running: AtomicUsize,
    ended: Notify,
    turn: Arc<Turn>,
}

struct Waiting {
    queue: mpsc::Receiver<Write>,
    /// What did not fit into the batch before.
    left_over: Option<Write>,
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
        self.rows + write.rows() <= LEDGER_BATCH_ROWS
            && self.bytes + write.bytes() <= LEDGER_BATCH_BYTES
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
    pub(super) fn open(turn: Arc<Turn>) -> (mpsc::Sender<Write>, Arc<Self>) {
        let (sender, queue) = mpsc::channel(LEDGER_QUEUE);
        let waiting = Mutex::new(Waiting { queue, left_over: None });
        let (running, ended) = (AtomicUsize::new(0), Notify::new());
        (sender, Arc::new(Self { waiting, running, ended, turn }))
    }

    /// The next batch; none once nobody can put anything in any more.
    pub(super) async fn next(self: &Arc<Self>) -> Option<Batch> {
        // Writers gather one after the other.
        let mut waiting = self.waiting.lock().await;
        let Waiting { queue, left_over } = &mut *waiting;
        let first = match left_over.take() {
            Some(write) => write,
            None => queue.recv().await?,
        };
        if queue.len() >= CROWD && self.turn.is_long() {
            // Nobody who arrives meanwhile wakes anybody: that costs as much as a few rows.
            tokio::time::sleep(WAITS).await;
        }
        let others = self.running.fetch_add(1, Ordering::AcqRel);
        let running = Running(self.clone());
        let mut batch = Batch { writes: Vec::new(), rows: 0, bytes: 0, _running: running };
        batch.push(first);
        let mut open = true;
        loop {
            while open && let Ok(write) = queue.try_recv() {
                open = batch.offer(write, left_over);
            }
            if !open || others == 0 || batch.rows >= WORTH {
                return Some(batch);
            }
            tokio::select! {
                write = queue.recv() => match write {
                    Some(write) => open = batch.offer(write, left_over),
                    None => return Some(batch),
                },
                () = self.ended.notified() => return Some(batch),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// How many writes the next batch has, of `first` that wait and one that comes later, on threads with such a
    /// turn.
    async fn taken(first: usize, turn: Turn) -> usize {
        let (writes, inbox) = Inbox::open(Arc::new(turn));
        let write = || Write::Settle(Vec::new(), oneshot::channel().0);
        for _ in 0..first {
            writes.try_send(write()).expect("there is room");
        }
        let late = writes.clone();
        tokio::spawn(async move { late.try_send(write()).expect("there is room") });
        inbox.next().await.map_or(0, |batch| batch.writes.len())
    }

    #[tokio::test]
    async fn a_crowd_waits_for_those_at_the_door_and_few_wait_for_nobody() {
        assert_eq!(taken(CROWD + 1, Turn::long()).await, CROWD + 2);
        assert_eq!(taken(CROWD + 1, Turn::default()).await, CROWD + 1);
        assert_eq!(taken(1, Turn::long()).await, 1);
    }
}
