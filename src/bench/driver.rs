//! Publishes: many connections, each with one request under way.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;

use super::connection::{Answer, Connection};
use super::samples::{hash, now_ns};
use super::turns::Turns;

/// Before what was refused, or met a connection that broke, is sent again.
const PAUSE: Duration = Duration::from_millis(20);
/// A timer wakes up so late at the most; later than that was not the timer.
const GRAIN_NS: u64 = 2_000_000;
/// How long before its instant a connection is looked after.
const AHEAD: Duration = Duration::from_millis(20);

/// A delivery that was accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    pub(super) delivery: u64,
    pub(super) at_ns: u64,
    pub(super) answered_ns: u64,
    /// Whether it goes to a fickle endpoint.
    pub(super) fickle: bool,
}

/// A request that was answered 202.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    pub(super) sent_ns: u64,
    pub(super) answered_ns: u64,
    pub(super) events: usize,
}

/// What was refused with one status.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    pub(super) count: u64,
    /// How many said when to come back.
    pub(super) with_retry_after: u64,
    /// What the answers took.
    pub(super) took_ns: Vec<u64>,
}

/// All that was published, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) published: Vec<Published>,
    pub(super) accepted: Vec<Accepted>,
    pub(super) refused: BTreeMap<u16, Refusals>,
    /// Requests whose connection broke: nobody knows whether they were accepted.
    pub(super) broken: u64,
}

/// Publishes to one daemon, phase after phase.
pub(super) struct Driver {
    address: SocketAddr,
    /// The number of the next session, which is never used again.
    session: Cell<u64>,
    pub(super) tally: RefCell<Tally>,
}

/// What a request publishes.
#[derive(Clone, Copy, Debug)]
struct What {
    events: usize,
    fickle: bool,
}

/// One phase of a driver's work.
pub(super) struct Shift {
    driver: Rc<Driver>,
    turns: Turns,
    /// Events that are still to be published; without end when none.
    rest: Cell<Option<usize>>,
    over: watch::Sender<bool>,
}

impl Driver {
    pub(super) fn new(address: SocketAddr) -> Rc<Self> {
        Rc::new(Self { address, session: Cell::new(0), tally: RefCell::default() })
    }
}

impl Shift {
    /// One that ends by itself after so many `events`, or goes on until it is ended.
    pub(super) fn new(driver: Rc<Driver>, turns: Turns, events: Option<usize>) -> Rc<Self> {
        let (rest, over) = (Cell::new(events), watch::Sender::new(false));
        Rc::new(Self { driver, turns, rest, over })
    }

    /// Has no further request sent.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Sends each request when the last one was answered.
    pub(super) async fn closed(self: Rc<Self>) {
        let mut connection = Connection::to(self.driver.address);
        let mut buffer = Vec::new();
        while !*self.over.borrow() {
            let Some(what) = self.next(&mut buffer) else { return };
            // What was refused is sent again, until it is taken.
            while !self.publish(&mut connection, &buffer, what, now_ns()).await {
                if *self.over.borrow() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Sends a request at `first_ns` and another every `gap_ns`. What took longer than that delays the next, which
    /// counts from its own instant all the same: a daemon that stalls is charged for all that had to wait. What was not
    /// taken is sent again if it `insists`.
    pub(super) async fn open(self: Rc<Self>, first_ns: u64, gap_ns: u64, insists: bool) {
        let mut connection = Connection::to(self.driver.address);
        let mut buffer = Vec::new();
        let mut due_ns = first_ns;
        let mut over = self.over.subscribe();
        loop {
            let wait = due_ns.saturating_sub(now_ns());
            if wait > 0 {
                let until_ahead = Duration::from_nanos(wait).saturating_sub(AHEAD);
                tokio::select! {
                    () = tokio::time::sleep(until_ahead) => {}
                    _ = over.wait_for(|over| *over) => return,
                }
                // One that cannot be made is heard of when it is used.
                let _ = connection.freshen().await;
                tokio::time::sleep(Duration::from_nanos(due_ns.saturating_sub(now_ns()))).await;
            }
            if *self.over.borrow() {
                return;
            }
            let Some(what) = self.next(&mut buffer) else { return };
            let now_ns = now_ns();
            // The timer's own lateness is not the daemon's.
            let at_ns = if wait > 0 && now_ns - due_ns < GRAIN_NS { now_ns } else { due_ns };
            while !self.publish(&mut connection, &buffer, what, at_ns).await && insists {
                if *self.over.borrow() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
            due_ns += gap_ns;
        }
    }

    /// Prepares the request whose turn it is; none once all that is to be published was.
    fn next(&self, buffer: &mut Vec<u8>) -> Option<What> {
        if self.rest.get() == Some(0) {
            return None;
        }
        let (request, fickle) = self.turns.next();
        self.rest.set(self.rest.get().map(|rest| rest.saturating_sub(request.events())));
        let session = self.driver.session.get();
        self.driver.session.set(session + request.events() as u64);
        request.write(buffer, session);
        Some(What { events: request.events(), fickle })
    }

    /// Sends a request that counts from `at_ns`; answers whether it was taken.
    async fn publish(
        &self,
        connection: &mut Connection,
        request: &[u8],
        what: What,
        at_ns: u64,
    ) -> bool {
        let sent_ns = now_ns();
        let answer = connection.exchange(request).await;
        let answered_ns = now_ns();
        let mut tally = self.driver.tally.borrow_mut();
        match answer {
            Ok(answer) => tally.note(&answer, what, [at_ns, sent_ns, answered_ns]),
            Err(_) => {
                tally.broken += 1;
                false
            }
        }
    }
}

impl Tally {
    /// How much was refused.
    pub(super) fn refusals(&self) -> u64 {
        self.refused.values().map(|refusals| refusals.count).sum()
    }

    /// Notes what was to be sent, was sent and was answered at these instants. What is refused took as long as it took
    /// the daemon; what is accepted as long as whoever published it waited.
    fn note(
        &mut self,
        answer: &Answer<'_>,
        what: What,
        [at_ns, sent_ns, answered_ns]: [u64; 3],
    ) -> bool {
        let took_ns = answered_ns - sent_ns;
        if answer.status != 202 {
            self.refuse(answer.status, answer.retry_after, took_ns);
            return false;
        }
        let mut refused = 0;
        for item in items(answer.body) {
            match item {
                Item::Delivery(delivery) => {
                    let fickle = what.fickle;
                    self.published.push(Published { delivery, at_ns, answered_ns, fickle });
                }
                Item::Status(202) => {}
                Item::Status(status) => {
                    refused += 1;
                    self.refuse(status, false, took_ns);
                }
            }
        }
        let events = what.events.saturating_sub(refused);
        self.accepted.push(Accepted { sent_ns: at_ns, answered_ns, events });
        true
    }

    fn refuse(&mut self, status: u16, retry_after: bool, took_ns: u64) {
        let refusals = self.refused.entry(status).or_default();
        refusals.count += 1;
        refusals.with_retry_after += u64::from(retry_after);
        refusals.took_ns.push(took_ns);
    }
}

/// What is of interest in the body of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    Delivery(u64),
    /// One event's of a batch.
    Status(u16),
}

/// Finds ids of deliveries and statuses of a batch's events. No text of an answer holds a quotation mark, so that
/// every second part between two of them is a string: cheaper than parsing, which would be the driver's largest
/// part.
fn items(body: &[u8]) -> impl Iterator<Item = Item> {
    let mut before: &[u8] = &[];
    body.split(|byte| *byte == b'"').filter_map(move |part| {
        let name = std::mem::replace(&mut before, part);
        if part.starts_with(b"whd_") {
            return Some(Item::Delivery(hash(part)));
        }
        let number = part.strip_prefix(b":").filter(|_| name == b"status")?;
        let digits = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let status = std::str::from_utf8(&number[..digits]).ok()?.parse();
        status.ok().map(Item::Status)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_statuses_are_found_in_an_answer() {
        let body = br#"{"data":[{"event":{"deliveries":[{"id":"whd_1","status":"pending"}],"id":"evt_1"},"status":202},{"error":{"code":"X"},"status":503}],"error":null}"#;
        let found: Vec<_> = items(body).collect();
        assert_eq!(found, [Item::Delivery(hash(b"whd_1")), Item::Status(202), Item::Status(503)]);
    }

    #[test]
    fn refused_events_of_a_batch_are_not_accepted() {
        let body =
            br#"{"data":[{"event":{"deliveries":[{"id":"whd_1"}]},"status":202},{"status":503}]}"#;
        let mut tally = Tally::default();
        let what = What { events: 2, fickle: false };
        let instants = [5, 10, 30];
        assert!(tally.note(&Answer { status: 202, retry_after: false, body }, what, instants));
        assert_eq!((tally.published.len(), tally.accepted[0].events), (1, 1));
        assert_eq!(tally.refused[&503].took_ns, [20]);
        let refused = Answer { status: 429, retry_after: true, body: b"" };
        assert!(!tally.note(&refused, what, instants));
        assert_eq!(tally.refused[&429].with_retry_after, 1);
    }
}
