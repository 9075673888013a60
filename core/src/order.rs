//! The order of commits, for the feed. Two transactions that write the same row are told apart by it: a
//! place is taken while the rows are held, and filled once the commit is known.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::feed::Change;

/// What became of one place.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// These changes were committed.
    Changes(Vec<Change>),
    /// Nobody knows what was: the commit was not acknowledged.
    Unknown,
}

type Listener = Box<dyn Fn(Told) + Send + Sync>;

/// Places in the order that they were taken; each is told once all before it were.
pub struct Order {
    places: Mutex<Places>,
    listener: Listener,
}

#[derive(Default)]
struct Places {
    /// Number of the first one that is not told yet.
    first: u64,
    waiting: VecDeque<Option<Told>>,
}

impl Order {
    /// An order whose places are told to `listener`, which must be quick and take no place itself.
    pub fn new(listener: impl Fn(Told) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { places: Mutex::default(), listener: Box::new(listener) })
    }

    /// Takes the next place.
    pub fn ticket(self: &Arc<Self>) -> Ticket {
        let mut places = self.places();
        places.waiting.push_back(None);
        let number = places.first + places.waiting.len() as u64 - 1;
        Ticket { number, order: self.clone(), told: Some(Told::Unknown) }
    }

    /// How many places were taken so far.
    pub fn taken(&self) -> u64 {
        let places = self.places();
        places.first + places.waiting.len() as u64
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // A listener that panicked leaves the places as they were.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, number: u64, told: Told) {
        let mut places = self.places();
        let index = usize::try_from(number - places.first).unwrap_or(usize::MAX);
        if let Some(place) = places.waiting.get_mut(index) {
            *place = Some(told);
        }
        // Told under the lock: the order is the point.
        while let Some(Some(_)) = places.waiting.front() {
            let told = places.waiting.pop_front().flatten();
            places.first += 1;
            told.into_iter().for_each(&self.listener);
        }
    }
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order").finish_non_exhaustive()
    }
}

/// A place in the order. One that is dropped unfilled tells that what was committed is unknown.
#[derive(Debug)]
#[must_use = "what comes after it waits for it"]
pub struct Ticket {
    number: u64,
    order: Arc<Order>,
    told: Option<Told>,
}

impl Ticket {
    /// Tells what was committed.
    pub fn publish(mut self, changes: Vec<Change>) {
        self.told = Some(Told::Changes(changes));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(told) = self.told.take() {
            self.order.fill(self.number, told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_in_the_order_that_they_were_taken() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let order = Order::new({
            let heard = heard.clone();
            move |told| heard.lock().expect("no panic").push(told)
        });
        let (first, second, third) = (order.ticket(), order.ticket(), order.ticket());
        second.publish(Vec::new());
        assert!(heard.lock().expect("no panic").is_empty(), "the first is not known yet");
        drop(first);
        third.publish(Vec::new());
        order.ticket().publish(Vec::new());
        let empty = || Told::Changes(Vec::new());
        assert_eq!(*heard.lock().expect("no panic"), [Told::Unknown, empty(), empty(), empty()]);
    }
}
