//! Whose turn it is: the requests to steady endpoints and to fickle ones, evenly mixed.

use std::cell::Cell;

use super::requests::Request;

/// Requests without end.
#[derive(Debug)]
pub(super) struct Turns {
    steady: Circle,
    fickle: Circle,
    /// The part of all turns that are of fickle endpoints.
    share: f64,
    turn: Cell<u64>,
}

#[derive(Debug)]
struct Circle {
    requests: Vec<Request>,
    turn: Cell<usize>,
}

impl Circle {
    fn of(requests: Vec<Request>) -> Self {
        Self { requests, turn: Cell::new(0) }
    }

    fn next(&self) -> &Request {
        let turn = self.turn.get();
        self.turn.set((turn + 1) % self.requests.len());
        &self.requests[turn]
    }
}

impl Turns {
    /// One of the two may be empty: then all turns are of the other.
    pub(super) fn new(steady: Vec<Request>, fickle: Vec<Request>, share: f64) -> Self {
        let share = match (steady.len(), fickle.len()) {
            (_, 0) => 0.0,
            (0, _) => 1.0,
            _ => share,
        };
        Self { steady: Circle::of(steady), fickle: Circle::of(fickle), share, turn: Cell::new(0) }
    }

    /// The request whose turn it is, and whether it goes to a fickle endpoint.
    pub(super) fn next(&self) -> (&Request, bool) {
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        let before = |turn: u64| (turn as f64 * self.share) as u64;
        if before(turn + 1) > before(turn) {
            (self.fickle.next(), true)
        } else {
            (self.steady.next(), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fickle_of_a_hundred(steady: usize, fickle: usize, share: f64) -> usize {
        let turns =
            Turns::new(vec![Request::default(); steady], vec![Request::default(); fickle], share);
        (0..100).filter(|_| turns.next().1).count()
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn turns_follow_the_share() {
        //                             steady fickle share
        assert_eq!(fickle_of_a_hundred(9,     1,     0.1),   10);
        assert_eq!(fickle_of_a_hundred(3,     1,     0.25),  25);
        assert_eq!(fickle_of_a_hundred(1,     9,     0.5),   50);
        assert_eq!(fickle_of_a_hundred(1,     1,     0.0),   0);
        assert_eq!(fickle_of_a_hundred(5,     0,     0.5),   0);
        assert_eq!(fickle_of_a_hundred(0,     2,     0.5),   100);
    }
}
