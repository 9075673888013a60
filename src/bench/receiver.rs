//! The receiving process: takes deliveries, notes which arrived when, and verifies one in a thousand. It costs as
//! little as it can, since it shares the machine with what is measured.
//!
//! The path says how it behaves: `/steady/<n>` is answered 204, `/fickle/<n>` as the receiver's mood is; `<n>` is the
//! endpoint's number. What is under `/control` is for the bench.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use hookseal_core::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::samples::{hash, now_ns};
use crate::demo::receiver::{Keys, verify};

/// One of so many requests is verified and decrypted.
const SAMPLED: u64 = 1000;
/// Samples that may wait to be verified; what is beyond is not looked at.
const SAMPLES_WAITING: usize = 256;
const HEADERS: usize = 32;
/// One of so many that could be put off is taken: of more, twenty in a row would be put off now and then.
pub(super) const TAKEN_OF: u64 = 2;
const SECOND_NS: u64 = 1_000_000_000;

/// What the receiver has to know in order to verify.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Trust {
    /// The private key that all endpoints share.
    pub(super) jwk: Value,
    /// Signing secrets by the number of the endpoint.
    pub(super) secrets: Vec<String>,
}

/// How fickle endpoints answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mood {
    /// As all others do.
    #[default]
    Well,
    /// 503.
    Away,
    /// Never: the request hangs.
    Hanging,
    /// 503, the first time with a `Retry-After` that leads to an instant between these two, by this host's
    /// monotonic clock. One of two is taken, so that no breaker opens.
    Later { from_ns: u64, until_ns: u64 },
}

/// How it stands.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Deliveries that arrived and were taken.
    pub(super) arrived: u64,
    /// Samples whose signature held and that were decrypted.
    pub(super) verified: u64,
    /// Samples for which that is not so.
    pub(super) forged: u64,
    /// Deliveries that were told when to come back …
    pub(super) put_off: u64,
    /// … and have.
    pub(super) returned: u64,
}

/// A delivery that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) delivery: u64,
    pub(super) at_ns: u64,
}

impl Arrival {
    pub(super) const BYTES: usize = 16;

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.delivery.to_le_bytes());
        bytes.extend(self.at_ns.to_le_bytes());
    }

    pub(super) fn read(bytes: &[u8; Self::BYTES]) -> Self {
        let whole = u128::from_le_bytes(*bytes);
        Self { delivery: whole as u64, at_ns: (whole >> 64) as u64 }
    }
}

enum Lesson {
    Trust(Trust),
    Sample { number: usize, signature: String, body: Vec<u8> },
}

struct Receiver {
    arrivals: RefCell<Vec<Arrival>>,
    arrived: Cell<u64>,
    mood: Cell<Mood>,
    /// When deliveries that were put off are due.
    due_ns: RefCell<HashMap<u64, u64>>,
    put_off: Cell<u64>,
    returned: Cell<u64>,
    /// Of those that came back.
    late_ns: RefCell<Vec<i64>>,
    lessons: mpsc::SyncSender<Lesson>,
    verified: Arc<AtomicU64>,
    forged: Arc<AtomicU64>,
}

/// Runs the process until its parent ends.
///
/// # Errors
/// [`Error::Unavailable`] when no port of loopback is to be had.
pub(crate) fn run() -> Result<()> {
    super::child::follow_parent();
    let fault = |error| Error::unavailable("the receiver", error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime.map_err(fault)?, async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(fault)?;
        println!("listening on http://{}", listener.local_addr().map_err(fault)?);
        let receiver = Rc::new(Receiver::start());
        loop {
            let (stream, _) = listener.accept().await.map_err(fault)?;
            let receiver = receiver.clone();
            tokio::task::spawn_local(async move {
                // A peer that goes away, or does not speak HTTP, is done with.
                let _ = receiver.serve(stream).await;
            });
        }
    })
}

/// What to do with a request.
enum Answer {
    Bytes(Vec<u8>),
    Plain(&'static [u8]),
    Never,
}

const TAKEN: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const UNKNOWN: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

impl Receiver {
    fn start() -> Self {
        let (lessons, taught) = mpsc::sync_channel(SAMPLES_WAITING);
        let (verified, forged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let tallies = (verified.clone(), forged.clone());
        std::thread::spawn(move || judge(&taught, &tallies.0, &tallies.1));
        Self {
            arrivals: RefCell::default(),
            arrived: Cell::default(),
            mood: Cell::default(),
            due_ns: RefCell::default(),
            put_off: Cell::default(),
            returned: Cell::default(),
            late_ns: RefCell::default(),
            lessons,
            verified,
            forged,
        }
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(4096);
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(&buffer).map_err(std::io::Error::other)?;
            let whole = match parsed {
                httparse::Status::Complete(start) => {
                    let length = header(&request, "content-length");
                    let length: usize = length.parse().unwrap_or_default();
                    (buffer.len() >= start + length).then_some((start, start + length))
                }
                httparse::Status::Partial => None,
            };
            let Some((start, end)) = whole else {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
                continue;
            };
            match self.answer(&request, &buffer[start..end]) {
                Answer::Bytes(bytes) => stream.write_all(&bytes).await?,
                Answer::Plain(bytes) => stream.write_all(bytes).await?,
                Answer::Never => {
                    // Until the other side gives up.
                    while stream.read_buf(&mut buffer).await? > 0 {
                        buffer.clear();
                    }
                    return Ok(());
                }
            }
            buffer.drain(..end);
        }
    }

    fn answer(&self, request: &httparse::Request<'_, '_>, body: &[u8]) -> Answer {
        let path = request.path.unwrap_or_default();
        let (kind, rest) = path[1.min(path.len())..].split_once('/').unwrap_or_default();
        match kind {
            "steady" => self.take(request, rest, body),
            "fickle" => match self.mood.get() {
                Mood::Well => self.take(request, rest, body),
                Mood::Away => Answer::Plain(AWAY),
                Mood::Hanging => Answer::Never,
                Mood::Later { from_ns, until_ns } => {
                    self.put_off(request, rest, body, from_ns..until_ns)
                }
            },
            "control" => self.control(rest, body),
            _ => Answer::Plain(UNKNOWN),
        }
    }

    fn take(&self, request: &httparse::Request<'_, '_>, number: &str, body: &[u8]) -> Answer {
        let delivery = delivery(request);
        self.arrivals.borrow_mut().push(Arrival { delivery, at_ns: now_ns() });
        if self.arrived.get().is_multiple_of(SAMPLED) {
            let signature = header(request, "x-kayle-signature").to_owned();
            let number = number.parse().unwrap_or(usize::MAX);
            // The judge that is behind takes fewer samples.
            let _ =
                self.lessons.try_send(Lesson::Sample { number, signature, body: body.to_vec() });
        }
        self.arrived.set(self.arrived.get() + 1);
        Answer::Plain(TAKEN)
    }

    fn put_off(
        &self,
        request: &httparse::Request<'_, '_>,
        number: &str,
        body: &[u8],
        spread: Range<u64>,
    ) -> Answer {
        let (delivery, now_ns) = (delivery(request), now_ns());
        let due_ns = self.due_ns.borrow_mut().remove(&delivery);
        if let Some(due_ns) = due_ns {
            self.late_ns.borrow_mut().push(now_ns.cast_signed() - due_ns.cast_signed());
            self.returned.set(self.returned.get() + 1);
        }
        // A hash's digits are as good as drawn: one for the first time, another for the second.
        let drawn = if due_ns.is_some() { delivery / TAKEN_OF } else { delivery };
        if drawn.is_multiple_of(TAKEN_OF) {
            return self.take(request, number, body);
        }
        if due_ns.is_some() {
            return Answer::Plain(AWAY);
        }
        let at_ns = instant(spread, self.put_off.get());
        let seconds = (at_ns.saturating_sub(now_ns) / SECOND_NS).max(1);
        self.due_ns.borrow_mut().insert(delivery, now_ns + seconds * SECOND_NS);
        self.put_off.set(self.put_off.get() + 1);
        let away = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0";
        Answer::Bytes(format!("{away}\r\nretry-after: {seconds}\r\n\r\n").into_bytes())
    }

    fn control(&self, command: &str, body: &[u8]) -> Answer {
        match command {
            "standing" => {
                let standing = Standing {
                    arrived: self.arrived.get(),
                    verified: self.verified.load(Ordering::Relaxed),
                    forged: self.forged.load(Ordering::Relaxed),
                    put_off: self.put_off.get(),
                    returned: self.returned.get(),
                };
                found(&serde_json::to_vec(&standing).unwrap_or_default())
            }
            "arrivals" => {
                let arrivals = self.arrivals.take();
                let mut bytes = Vec::with_capacity(arrivals.len() * Arrival::BYTES);
                arrivals.into_iter().for_each(|arrival| arrival.write(&mut bytes));
                found(&bytes)
            }
            "lateness" => found(&serde_json::to_vec(&self.late_ns.take()).unwrap_or_default()),
            "trust" => {
                let trust = serde_json::from_slice(body).map(Lesson::Trust).ok();
                let taught = trust.is_some_and(|trust| self.lessons.send(trust).is_ok());
                Answer::Plain(if taught { TAKEN } else { UNKNOWN })
            }
            "mood" => {
                let mood = serde_json::from_slice(body).map(|mood| self.mood.set(mood));
                Answer::Plain(if mood.is_ok() { TAKEN } else { UNKNOWN })
            }
            _ => Answer::Plain(UNKNOWN),
        }
    }
}

/// Where within `spread` the one with this number comes back. Multiples of the golden ratio lie evenly however many
/// there are, so that no stretch stays empty, as it would now and then if instants were drawn.
fn instant(spread: Range<u64>, number: u64) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let part = u128::from(number.wrapping_mul(GOLDEN));
    spread.start + ((part * u128::from(spread.end - spread.start)) >> 64) as u64
}

fn found(body: &[u8]) -> Answer {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    Answer::Bytes(answer)
}

fn delivery(request: &httparse::Request<'_, '_>) -> u64 {
    hash(header(request, "x-kayle-delivery-id").as_bytes())
}

fn header<'a>(request: &httparse::Request<'_, 'a>, name: &str) -> &'a str {
    let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    found.and_then(|header| std::str::from_utf8(header.value).ok()).unwrap_or_default()
}

/// Verifies and decrypts samples, on a thread of its own so that arrivals do not wait for it.
fn judge(lessons: &mpsc::Receiver<Lesson>, verified: &AtomicU64, forged: &AtomicU64) {
    let mut trusted: Option<(Keys, Vec<String>)> = None;
    for lesson in lessons {
        match lesson {
            Lesson::Trust(Trust { jwk, secrets }) => {
                trusted = Keys::from_private(jwk).map(|keys| (keys, secrets));
            }
            Lesson::Sample { number, signature, body } => {
                let genuine = trusted.as_ref().is_some_and(|(keys, secrets)| {
                    let secret = secrets.get(number);
                    secret.is_some_and(|secret| verify(secret, &signature, &body))
                        && keys.decrypt(&body).is_some_and(|event| event["data"].is_object())
                });
                let tally = if genuine { verified } else { forged };
                tally.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stretch_stays_empty() {
        let mut instants: Vec<u64> = (0..3600).map(|number| instant(0..3600, number)).collect();
        instants.sort_unstable();
        assert!(instants.windows(2).all(|pair| pair[1] - pair[0] <= 2), "{instants:?}");
    }
}
