//! Which endpoints this process speaks for, as far as it knows. What it knows lapses by itself: a process
//! that was stopped and goes on holds nothing until it has asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hookseal_core::cluster::Owners;
use hookseal_core::ports::Ownership;
use hookseal_core::shard::{NodeNumber, Shard, Shards};
use parking_lot::RwLock;

/// How old the knowledge of settings may be when an attempt starts.
const INFORMED_FOR: Duration = Duration::from_secs(1);

/// The only process of a database that others are kept off.
#[derive(Clone, Copy, Debug)]
pub struct Sole;

impl Ownership for Sole {
    fn number(&self) -> NodeNumber {
        NodeNumber::SOLE
    }

    fn held(&self) -> Shards {
        Shards::ALL
    }

    fn is_informed(&self) -> bool {
        true
    }

    fn elsewhere(&self, _: Shard) -> Option<NodeNumber> {
        None
    }
}

/// What one of several processes holds.
#[derive(Debug)]
pub struct Holdings {
    number: AtomicI64,
    shards: AtomicU64,
    /// When the lease is over, and when the knowledge of settings is too old: milliseconds since `start`,
    /// on the monotonic clock, which goes on while a process is stopped.
    held_until: AtomicU64,
    informed_until: AtomicU64,
    owners: RwLock<Owners>,
    serving: Arc<AtomicUsize>,
    start: Instant,
}

impl Default for Holdings {
    fn default() -> Self {
        Self {
            number: AtomicI64::new(NodeNumber::SOLE.0),
            shards: AtomicU64::new(0),
            held_until: AtomicU64::new(0),
            informed_until: AtomicU64::new(0),
            owners: RwLock::default(),
            serving: Arc::new(AtomicUsize::new(1)),
            start: Instant::now(),
        }
    }
}

impl Holdings {
    /// A new life begins, which holds nothing yet.
    pub fn begin(&self, number: NodeNumber) {
        self.held_until.store(0, Ordering::Release);
        self.shards.store(0, Ordering::Release);
        self.number.store(number.0, Ordering::Release);
    }

    /// A lease of `lease` was asked for at `asked`, and granted.
    pub fn renew(&self, asked: Instant, lease: Duration) {
        self.held_until.store(self.at(asked + lease), Ordering::Release);
    }

    /// The settings of endpoints are known as of `asked`.
    pub fn inform(&self, asked: Instant) {
        self.informed_until.store(self.at(asked + INFORMED_FOR), Ordering::Release);
    }

    /// Learns who has each shard; answers what this process gained and lost by it.
    pub fn learn(&self, owners: Owners) -> (Shards, Shards) {
        let mine = owners.shards_of(self.number());
        *self.owners.write() = owners;
        let before = Shards::from_bits(self.shards.swap(mine.bits(), Ordering::AcqRel));
        (mine.without(before), before.without(mine))
    }

    /// How many nodes serve, as far as is known.
    pub fn serving(&self) -> Arc<AtomicUsize> {
        self.serving.clone()
    }

    /// Learns how many nodes serve.
    pub fn count(&self, serving: usize) {
        self.serving.store(serving.max(1), Ordering::Relaxed);
    }

    /// Lets go of shards that somebody else is to have.
    pub fn let_go(&self, given: Shards) {
        self.shards.fetch_and(!given.bits(), Ordering::AcqRel);
    }

    fn at(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.start);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Ownership for Holdings {
    fn number(&self) -> NodeNumber {
        NodeNumber(self.number.load(Ordering::Acquire))
    }

    fn held(&self) -> Shards {
        if self.at(Instant::now()) < self.held_until.load(Ordering::Acquire) {
            Shards::from_bits(self.shards.load(Ordering::Acquire))
        } else {
            Shards::NONE
        }
    }

    fn is_informed(&self) -> bool {
        self.at(Instant::now()) < self.informed_until.load(Ordering::Acquire)
    }

    fn elsewhere(&self, shard: Shard) -> Option<NodeNumber> {
        let owner = self.owners.read().of(shard)?;
        (owner != self.number()).then_some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn owners(mine: Shards, me: NodeNumber) -> Owners {
        Shard::all().map(|s| (s, if mine.contains(s) { me } else { NodeNumber(9) })).collect()
    }

    #[test]
    fn a_lease_that_is_over_holds_nothing() {
        let holdings = Holdings::default();
        holdings.begin(NodeNumber(1));
        let mine = Shards::from_bits(0b1011);
        assert_eq!(holdings.learn(owners(mine, NodeNumber(1))), (mine, Shards::NONE));
        assert_eq!(holdings.held(), Shards::NONE, "no lease yet");
        holdings.renew(Instant::now(), LEASE);
        assert_eq!(holdings.held(), mine);
        assert_eq!(holdings.elsewhere(Shard::FIRST), None);
        assert_eq!(holdings.elsewhere(Shard::from_row(2).expect("one")), Some(NodeNumber(9)));
        let long_ago = Instant::now().checked_sub(LEASE).expect("the machine is older than that");
        holdings.renew(long_ago, LEASE);
        assert_eq!(holdings.held(), Shards::NONE, "asked for too long ago");
        holdings.inform(long_ago);
        assert!(!holdings.is_informed());
    }

    #[test]
    fn what_is_let_go_is_lost_at_once_and_a_new_life_holds_nothing() {
        let holdings = Holdings::default();
        holdings.begin(NodeNumber(1));
        holdings.renew(Instant::now(), LEASE);
        holdings.learn(owners(Shards::from_bits(0b11), NodeNumber(1)));
        holdings.let_go(Shards::from_bits(0b01));
        assert_eq!(holdings.held(), Shards::from_bits(0b10));
        let learned = holdings.learn(owners(Shards::from_bits(0b110), NodeNumber(1)));
        assert_eq!(learned, (Shards::from_bits(0b100), Shards::NONE));
        holdings.begin(NodeNumber(2));
        assert_eq!((holdings.held(), holdings.number()), (Shards::NONE, NodeNumber(2)));
    }
}
