//! The latest changes in memory, and those who wait for the next.

use std::sync::Arc;
use std::time::Duration;

use hookseal_core::feed::{After, Change, Position, Ring};
use hookseal_core::limits::FEED_CHANGES;
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};

/// How long those who wait are left alone after they were woken: under load they are woken for many
/// commits at once.
const LULL: Duration = Duration::from_millis(10);

/// A window over the feed that any number may look through.
#[derive(Debug)]
pub(super) struct Window {
    ring: RwLock<Ring>,
    grown: Notify,
    woken: watch::Sender<()>,
}

impl Window {
    /// An empty window of a new epoch; those who wait are woken by a task on `runtime`.
    pub(super) fn open(runtime: &tokio::runtime::Handle) -> Arc<Self> {
        let window = Arc::new(Self {
            ring: RwLock::new(Ring::new(new_epoch(), FEED_CHANGES)),
            grown: Notify::new(),
            woken: watch::Sender::new(()),
        });
        let weak = Arc::downgrade(&window);
        runtime.spawn(async move {
            while let Some(window) = weak.upgrade() {
                // Looks up now and then, so that it ends with the window.
                let grown = tokio::time::timeout(Duration::from_secs(1), window.grown.notified());
                if grown.await.is_ok() {
                    window.woken.send_replace(());
                }
                drop(window);
                tokio::time::sleep(LULL).await;
            }
        });
        window
    }

    /// Adds what was committed.
    pub(super) fn push(&self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.ring.write().push(changes);
            self.grown.notify_one();
        }
    }

    /// Adds what somebody else numbered; whatever does not follow begins anew.
    pub(super) fn take_over(&self, epoch: u64, number: u64, changes: Vec<Change>) {
        let mut ring = self.ring.write();
        if ring.epoch() != epoch || ring.next() != number {
            ring.restart(epoch, number);
        }
        ring.push(changes);
        drop(ring);
        self.grown.notify_one();
    }

    /// Number of the oldest batch in it.
    pub(super) fn oldest(&self) -> u64 {
        self.ring.read().oldest()
    }

    /// Says that something may be missing: everything begins anew with batch number `next`.
    pub(super) fn restart(&self, epoch: u64, next: u64) {
        self.ring.write().restart(epoch, next);
        self.grown.notify_one();
    }

    /// Behind all that there is.
    pub(super) fn head(&self) -> Position {
        self.ring.read().head()
    }

    /// What came after `position`.
    pub(super) fn after(&self, position: Position) -> After {
        self.ring.read().after(position)
    }

    /// Waits until something is after `position`.
    pub(super) async fn moved(&self, position: Position) {
        let mut woken = self.woken.subscribe();
        while self.head() == position {
            // The sender lives as long as the window.
            let _ = woken.changed().await;
        }
    }
}

/// A name for an unbroken log.
pub(super) fn new_epoch() -> u64 {
    rand::random()
}
