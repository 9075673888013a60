//! The feed: what changed, in order, for those who watch. A bounded log that can be thrown away: the rows
//! are the truth, and whoever was too slow for it is told so.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::delivery::{Delivery, Progress, Status};
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::id::{EndpointId, OrganizationId};

/// What happened to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryChange {
    /// Its event was accepted; it may be claimed already, or have failed for want of a key.
    Created,
    /// An attempt was taken up.
    Claimed,
    /// An attempt ended; the status tells how.
    Settled,
    /// It waits again without an attempt having been spent: by hand, or because a claim was given up.
    Requeued,
    /// Its payload went, and nothing else changed.
    Scrubbed,
    /// It was given up without a further attempt.
    Failed,
}

impl DeliveryChange {
    /// What led from one state to the next; none when nothing did.
    pub fn between(before: &Progress, after: &Progress) -> Option<Self> {
        if after == before {
            return None;
        }
        let attempted =
            after.attempt_count > before.attempt_count && before.status == Status::Delivering;
        Some(match after.status {
            _ if attempted => Self::Settled,
            Status::Succeeded => Self::Settled,
            Status::Delivering if before.status != Status::Delivering => Self::Claimed,
            Status::Failed if before.status != Status::Failed => Self::Failed,
            Status::Pending => Self::Requeued,
            Status::Delivering | Status::Failed => Self::Scrubbed,
        })
    }
}

/// What happened to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointChange {
    /// It was made.
    Created,
    /// Its settings, its secret or its keys changed.
    Updated,
    /// It was enabled, perhaps along with other settings.
    Enabled,
    /// It was disabled, perhaps along with other settings.
    Disabled,
    /// It was deleted.
    Deleted,
    /// So many attempts failed that none is made for a while.
    BreakerOpened,
    /// Attempts flow again.
    BreakerClosed,
}

impl EndpointChange {
    /// What a change of settings amounts to.
    pub fn between(before: &Endpoint, after: &Endpoint) -> Self {
        match (before.enabled, after.enabled) {
            (false, true) => Self::Enabled,
            (true, false) => Self::Disabled,
            (true, true) | (false, false) => Self::Updated,
        }
    }
}

/// One thing that changed, as it stood right after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// An event was accepted; its deliveries follow.
    Event(Arc<Event>),
    /// A delivery changed.
    Delivery(DeliveryChange, Arc<Delivery>),
    /// An endpoint changed.
    Endpoint(EndpointChange, Arc<Endpoint>),
}

impl Change {
    /// Whose it is.
    pub fn organization(&self) -> &OrganizationId {
        match self {
            Self::Event(event) => &event.organization_id,
            Self::Delivery(_, delivery) => &delivery.organization_id,
            Self::Endpoint(_, endpoint) => &endpoint.organization_id,
        }
    }
}

/// What somebody who waits wants to be woken for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interest {
    /// Whose changes.
    pub organization: OrganizationId,
    /// Those of one endpoint and its deliveries, or all.
    pub endpoint: Option<EndpointId>,
}

impl Interest {
    /// Those that a change concerns.
    pub fn of(change: &Change) -> impl Iterator<Item = Self> {
        let endpoint = match change {
            Change::Event(_) => None,
            Change::Delivery(_, delivery) => Some(delivery.endpoint_id.clone()),
            Change::Endpoint(_, endpoint) => Some(endpoint.id.clone()),
        };
        let of = |endpoint| Self { organization: change.organization().clone(), endpoint };
        let narrow = endpoint.map(|id| of(Some(id)));
        std::iter::once(of(None)).chain(narrow)
    }
}

/// A place in the feed. Places of one epoch are in order; between epochs something may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Names one unbroken log.
    pub epoch: u64,
    /// Number of the batch.
    pub batch: u64,
    /// Number of the change in its batch; [`Position::END`] stands behind all of them.
    pub index: u32,
}

impl Position {
    /// Behind every change of a batch.
    pub const END: u32 = u32::MAX;

    /// The position that a cursor names.
    pub fn parse(cursor: &str) -> Option<Self> {
        let mut parts = cursor.split('-').map(|part| u64::from_str_radix(part, 36).ok());
        let (epoch, batch, index) = (parts.next()??, parts.next()??, parts.next()??);
        let position = Self { epoch, batch, index: u32::try_from(index).ok()? };
        // One spelling for one place.
        (parts.next().is_none() && position.to_string() == cursor).then_some(position)
    }
}

/// The cursor: opaque to whoever keeps it.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.epoch, self.batch, u64::from(self.index)];
        f.write_str(&parts.map(base36).join("-"))
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

/// Changes that one commit, or a few, made.
#[derive(Debug)]
pub struct Batch {
    /// Its number.
    pub number: u64,
    /// In order.
    pub changes: Vec<Change>,
}

/// What came after a position.
#[derive(Debug)]
pub enum After {
    /// Batches, the first of which may have been seen in part; none when there is nothing new.
    Batches(Vec<Arc<Batch>>),
    /// Something is missing between the position and here.
    Gap(Position),
}

/// The latest changes of one epoch.
#[derive(Debug)]
pub struct Ring {
    epoch: u64,
    /// Number of the next batch.
    next: u64,
    batches: VecDeque<Arc<Batch>>,
    changes: usize,
    bound: usize,
}

/// Batches that are given out at once: whoever holds them keeps them in memory.
const AT_ONCE: usize = 16;

impl Ring {
    /// An empty log that keeps `bound` changes, and at least the last batch.
    pub fn new(epoch: u64, bound: usize) -> Self {
        Self { epoch, next: 1, batches: VecDeque::new(), changes: 0, bound }
    }

    /// Adds a batch.
    pub fn push(&mut self, changes: Vec<Change>) {
        self.changes += changes.len();
        self.batches.push_back(Arc::new(Batch { number: self.next, changes }));
        self.next += 1;
        while self.changes > self.bound && self.batches.len() > 1 {
            self.changes -= self.batches.pop_front().map_or(0, |batch| batch.changes.len());
        }
    }

    /// Begins a new log with batch number `next`: what came before says nothing of it.
    pub fn restart(&mut self, epoch: u64, next: u64) {
        *self = Self { next, ..Self::new(epoch, self.bound) };
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of the next batch.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Number of the oldest batch that is kept, or of the next one.
    pub fn oldest(&self) -> u64 {
        self.batches.front().map_or(self.next, |batch| batch.number)
    }

    /// Behind all that there is.
    pub fn head(&self) -> Position {
        Position { epoch: self.epoch, batch: self.next - 1, index: Position::END }
    }

    /// What came after `position`, a part at a time.
    pub fn after(&self, position: Position) -> After {
        let Position { epoch, batch, index } = position;
        let whole =
            batch >= self.oldest() || (batch + 1 == self.oldest() && index == Position::END);
        if epoch != self.epoch || batch >= self.next || !whole {
            return After::Gap(self.head());
        }
        let first = if index == Position::END { batch + 1 } else { batch };
        let seen = usize::try_from(first - self.oldest()).unwrap_or(usize::MAX);
        After::Batches(self.batches.iter().skip(seen).take(AT_ONCE).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::delivery::{Attempt, Claim, ClaimToken, Revocation};
    use crate::outcome::{ErrorKind, Outcome};
    use crate::retention::RetentionHours;
    use crate::retry::RetrySchedule;
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000);

    fn progress() -> [Progress; 3] {
        let schedule = RetrySchedule::default();
        let retention = RetentionHours::default();
        let pending = Progress::accepted(&schedule, retention, NOW);
        let claim = Claim::new(ClaimToken(1), NOW, Duration::from_secs(15));
        let delivering = pending.claim(claim, NOW).expect("it is pending");
        let outcome = Outcome::Faulted(ErrorKind::Connect);
        let attempt = Attempt::new(NOW, Duration::ZERO, outcome);
        let retried = delivering.settle(attempt, outcome.verdict(), &schedule, retention, NOW);
        [pending, delivering, retried.expect("it is delivering")]
    }

    #[test]
    fn every_transition_has_its_change() {
        let [pending, delivering, retried] = progress();
        let later = NOW.plus(Duration::from_secs(1));
        let revoked = delivering.revoke(Revocation::Withdrawn, later).expect("legal");
        let failed = pending.revoke(Revocation::EndpointDeleted, later).expect("legal");
        let back = delivering.hand_back(later).expect("legal");
        let again = retried.requeue(&RetrySchedule::default(), later).expect("legal");
        let expired = pending.expire(later).expect("legal");
        for (before, after, change) in [
            (&pending, &delivering, DeliveryChange::Claimed),
            (&delivering, &retried, DeliveryChange::Settled),
            (&delivering, &revoked, DeliveryChange::Scrubbed),
            (&delivering, &back, DeliveryChange::Requeued),
            (&retried, &again, DeliveryChange::Requeued),
            (&pending, &failed, DeliveryChange::Failed),
            (&pending, &expired, DeliveryChange::Failed),
        ] {
            assert_eq!(DeliveryChange::between(before, after), Some(change), "{after:?}");
            assert_eq!(DeliveryChange::between(after, after), None);
        }
    }

    fn event(n: usize) -> Change {
        Change::Event(Arc::new(Event {
            id: crate::id::EventId::from_row(n.to_string()),
            organization_id: OrganizationId::from_row("o"),
            event_type: "t".into(),
            trigger_type: "t".into(),
            trigger_id: String::new(),
            created_at: NOW,
        }))
    }

    fn numbers(after: After) -> Vec<u64> {
        match after {
            After::Batches(batches) => batches.iter().map(|batch| batch.number).collect(),
            After::Gap(_) => panic!("a gap"),
        }
    }

    #[test]
    fn a_position_finds_what_came_after_it() {
        let mut ring = Ring::new(7, 4);
        let start = ring.head();
        assert_eq!(numbers(ring.after(start)), [0_u64; 0]);
        for _ in 0..2 {
            ring.push(vec![event(1), event(2)]);
        }
        assert_eq!(numbers(ring.after(start)), [1, 2]);
        assert_eq!(numbers(ring.after(Position { epoch: 7, batch: 1, index: 0 })), [1, 2]);
        assert_eq!(numbers(ring.after(Position { batch: 1, ..start })), [2]);
        assert_eq!(numbers(ring.after(ring.head())), [0_u64; 0]);
        ring.push(vec![event(3)]);
        assert!(matches!(ring.after(start), After::Gap(_)), "the first batch is gone");
        assert_eq!(numbers(ring.after(Position { batch: 1, ..start })), [2, 3]);
        assert!(matches!(ring.after(Position { epoch: 7, batch: 1, index: 0 }), After::Gap(_)));
    }

    #[test]
    fn what_is_not_of_this_log_is_a_gap() {
        let mut ring = Ring::new(7, 4);
        ring.push(vec![event(1)]);
        let head = ring.head();
        for foreign in [
            Position { epoch: 8, ..head },
            Position { batch: 2, ..head },
            Position { batch: u64::MAX, ..head },
        ] {
            assert!(matches!(ring.after(foreign), After::Gap(_)), "{foreign:?}");
        }
        ring.restart(9, 41);
        assert!(matches!(ring.after(head), After::Gap(_)));
        assert_eq!(numbers(ring.after(ring.head())), [0_u64; 0]);
    }

    #[test]
    fn a_batch_beyond_the_bound_is_kept_while_it_is_the_last() {
        let mut ring = Ring::new(7, 1);
        let start = ring.head();
        ring.push(vec![event(1), event(2), event(3)]);
        assert_eq!(numbers(ring.after(start)), [1]);
    }

    #[test]
    fn a_cursor_has_one_spelling() {
        let position = Position { epoch: u64::MAX, batch: 35, index: 0 };
        assert_eq!(position.to_string(), "3w5e11264sgsf-z-0");
        assert_eq!(Position::parse("3w5e11264sgsf-z-0"), Some(position));
        for foreign in ["", "1", "1-2", "1-2-3-4", "01-2-3", "1-Z-3", "1-2--3", "1-2-3 ", "é-1-1"]
        {
            assert_eq!(Position::parse(foreign), None, "{foreign}");
        }
    }
}
