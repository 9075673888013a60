//! The latest changes in memory, and those who wait for the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hookseal_core::feed::{After, Change, Interest, Position, Ring};
use hookseal_core::limits::FEED_CHANGES;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

/// How long those who wait are left alone after they were woken: under load they are woken for many
/// commits at once.
const LULL: Duration = Duration::from_millis(10);

/// A window over the feed that any number may look through.
#[derive(Debug)]
pub(super) struct Window {
    ring: RwLock<Ring>,
    grown: Notify,
    waiters: Mutex<HashMap<u64, Arc<Waiter>>>,
    next_waiter: AtomicU64,
}

/// A batch whose number somebody else gave it.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) epoch: u64,
    pub(super) number: u64,
    pub(super) changes: Vec<Change>,
}

/// Somebody who waits at the end of the window.
#[derive(Debug)]
struct Waiter {
    interest: Interest,
    /// Number of the last batch that is known to hold nothing for him.
    passed: AtomicU64,
    woken: Notify,
}

/// A waiter for as long as he waits.
struct Waiting<'a> {
    window: &'a Window,
    number: u64,
    waiter: Arc<Waiter>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.window.waiters.lock().remove(&self.number);
    }
}

impl Window {
    /// An empty window of a new epoch; those who wait are woken by a task on `runtime`.
    pub(super) fn open(runtime: &tokio::runtime::Handle) -> Arc<Self> {
        let window = Arc::new(Self {
            ring: RwLock::new(Ring::new(new_epoch(), FEED_CHANGES)),
            grown: Notify::new(),
            waiters: Mutex::default(),
            next_waiter: AtomicU64::new(0),
        });
        let weak = Arc::downgrade(&window);
        let mut looked = window.head();
        runtime.spawn(async move {
            while let Some(window) = weak.upgrade() {
                // Looks up now and then, so that it ends with the window.
                let grown = tokio::time::timeout(Duration::from_secs(1), window.grown.notified());
                if grown.await.is_ok() {
                    looked = window.wake(looked);
                }
                drop(window);
                tokio::time::sleep(LULL).await;
            }
        });
        window
    }

    /// Wakes those for whom there may be something after `looked`; the others are that much further.
    /// Answers the end of what was looked at.
    fn wake(&self, mut looked: Position) -> Position {
        // Who begins to wait after this looks himself at what came before.
        let head = self.head();
        if self.waiters.lock().is_empty() {
            return head;
        }
        let mut touched: HashSet<Interest> = HashSet::new();
        let all = loop {
            match self.after(looked) {
                After::Gap(head) => {
                    looked = head;
                    break true;
                }
                After::Batches(batches) => {
                    let Some(last) = batches.last() else { break false };
                    looked.batch = last.number;
                    let changes = batches.iter().flat_map(|batch| &batch.changes);
                    touched.extend(changes.flat_map(Interest::of));
                }
            }
        };
        // Who is woken waits no more, though it may take him a while to notice: what comes until then must
        // not carry him past what he is woken for.
        self.waiters.lock().retain(|_, waiter| {
            let concerned = all || touched.contains(&waiter.interest);
            if concerned {
                waiter.woken.notify_one();
            } else {
                waiter.passed.fetch_max(looked.batch, Ordering::AcqRel);
            }
            !concerned
        });
        looked
    }

    /// Adds what was committed.
    pub(super) fn push(&self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.ring.write().push(changes);
            self.grown.notify_one();
        }
    }

    /// Adds what somebody else numbered, all of it at once; whatever does not follow begins anew.
    pub(super) fn take_over(&self, batches: Vec<Numbered>) {
        let mut ring = self.ring.write();
        for Numbered { epoch, number, changes } in batches {
            if ring.epoch() != epoch || ring.next() != number {
                ring.restart(epoch, number);
            }
            ring.push(changes);
        }
        drop(ring);
        self.grown.notify_one();
    }

    /// Number of the oldest batch in it.
    pub(super) fn oldest(&self) -> u64 {
        self.ring.read().oldest()
    }

    /// Behind all that there is.
    pub(super) fn head(&self) -> Position {
        self.ring.read().head()
    }

    /// What came after `position`.
    pub(super) fn after(&self, position: Position) -> After {
        self.ring.read().after(position)
    }

    /// Waits until there may be something of interest after `position`, the end of a batch.
    pub(super) async fn moved(&self, position: Position, interest: &Interest) -> Position {
        let waiter = Arc::new(Waiter {
            interest: interest.clone(),
            passed: AtomicU64::new(position.batch),
            woken: Notify::new(),
        });
        let number = self.next_waiter.fetch_add(1, Ordering::Relaxed);
        self.waiters.lock().insert(number, waiter.clone());
        let waiting = Waiting { window: self, number, waiter };
        // From here on nothing is passed over; what came before is looked at by him who asks.
        if self.head() != position {
            return position;
        }
        waiting.waiter.woken.notified().await;
        Position { batch: waiting.waiter.passed.load(Ordering::Acquire), ..position }
    }
}

/// A name for an unbroken log.
pub(super) fn new_epoch() -> u64 {
    rand::random()
}
