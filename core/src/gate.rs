//! Places that an endpoint's actor lends out, so that intake can insert a delivery already claimed
//! and its first attempt needs no further read or write.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::budget::Share;
use crate::delivery::{Claim, ClaimToken};
use crate::time::Timestamp;

/// The places lent out by one life of one endpoint's actor.
#[derive(Debug)]
pub struct Gate {
    token: ClaimToken,
    places: AtomicUsize,
    /// How many may wait for a place, since their turn comes at once.
    patience: AtomicUsize,
    waiting: AtomicUsize,
}

/// Somebody who waits for a place.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Gate);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gate {
    /// A gate without places, for claims under `token`.
    pub fn new(token: ClaimToken) -> Arc<Self> {
        let none = || AtomicUsize::new(0);
        Arc::new(Self { token, places: none(), patience: none(), waiting: none() })
    }

    /// Lets `most` wait for places.
    pub fn let_wait(&self, most: usize) {
        self.patience.store(most, Ordering::Release);
    }

    /// Waits for a place, unless so many do that it would take long.
    pub fn wait(&self) -> Option<Waiting<'_>> {
        let waiting = Waiting(self);
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        (before < self.patience.load(Ordering::Acquire)).then_some(waiting)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Lends out `places` more.
    pub fn lend(&self, places: usize) {
        self.places.fetch_add(places, Ordering::AcqRel);
    }

    /// Takes back what nobody reserved; answers how many.
    pub fn recall(&self) -> usize {
        self.places.swap(0, Ordering::AcqRel)
    }

    /// Places that nobody reserved.
    #[cfg(test)]
    fn unreserved(&self) -> usize {
        self.places.load(Ordering::Acquire)
    }

    /// Reserves a place, with a claim made at `now`.
    pub fn reserve(
        self: &Arc<Self>,
        now: Timestamp,
        attempt_timeout: Duration,
    ) -> Option<Reservation> {
        self.places
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |places| places.checked_sub(1))
            .ok()?;
        Some(Reservation {
            claim: Claim::new(self.token, now, attempt_timeout),
            gate: Some(self.clone()),
            memory: None,
        })
    }
}

/// A place in an endpoint's window. Dropped unused, it goes back to its gate.
#[derive(Debug)]
pub struct Reservation {
    claim: Claim,
    gate: Option<Arc<Gate>>,
    memory: Option<Share>,
}

impl Reservation {
    /// The claim to insert the delivery with.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// The token of the actor's life that lent the place.
    pub fn token(&self) -> ClaimToken {
        self.claim.token
    }

    /// Holds a share of memory as long as the place is held.
    pub fn holding(mut self, memory: Share) -> Self {
        self.memory = Some(memory);
        self
    }

    /// Spends the place: from here on the actor counts it as in flight. The memory is passed on.
    pub fn redeem(mut self) -> Option<Share> {
        self.gate = None;
        self.memory.take()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.lend(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(0);
    const TIMEOUT: Duration = Duration::from_secs(15);

    #[test]
    fn a_place_is_reserved_once_and_returns_unless_redeemed() {
        let gate = Gate::new(ClaimToken(7));
        assert!(gate.reserve(NOW, TIMEOUT).is_none());
        gate.lend(2);
        let first = gate.reserve(NOW, TIMEOUT).expect("a place");
        let second = gate.reserve(NOW, TIMEOUT).expect("a place");
        assert_eq!(first.claim().token, ClaimToken(7));
        assert!(gate.reserve(NOW, TIMEOUT).is_none());
        drop(first);
        assert!(second.redeem().is_none());
        assert_eq!(gate.unreserved(), 1);
        assert_eq!(gate.recall(), 1);
        assert!(gate.reserve(NOW, TIMEOUT).is_none());
    }

    #[test]
    fn no_more_wait_than_have_their_turn_soon() {
        let gate = Gate::new(ClaimToken(7));
        assert!(gate.wait().is_none());
        gate.let_wait(1);
        let first = gate.wait();
        assert!(first.is_some() && gate.wait().is_none());
        assert_eq!(gate.waiting(), 1);
        drop(first);
        assert!(gate.wait().is_some());
    }

    #[test]
    fn many_threads_never_reserve_more_than_was_lent() {
        let gate = Gate::new(ClaimToken(1));
        gate.lend(100);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..100)
                            .filter_map(|_| gate.reserve(NOW, TIMEOUT))
                            .map(Reservation::redeem)
                            .count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(taken, 100);
    }
}
