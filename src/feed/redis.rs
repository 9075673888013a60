//! The feed across processes: one Redis stream, an entry for the changes of one or a few commits.
//!
//! ```text
//! commits ─▶ order ─▶ outbox ─▶ writer: append.lua ─▶ stream ─▶ reader ─▶ window ─▶ those who watch
//! ```
//! Entries are numbered without holes within an epoch. Whatever may have been lost (a Redis that came back
//! empty, a process that died with changes untold, an outbox that ran over) begins a new epoch, and everybody
//! who watches is told of a gap. The stream is as long as the window: what it holds can be resumed from on
//! any node, and survives a restart of the daemon.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hookseal_core::feed::{After, Change, Interest, Position};
use hookseal_core::limits::{FEED_CHANGES, TOLD_WITHIN};
use hookseal_core::order::{Order, Ticket, Told};
use hookseal_core::ports::Feed;
use parking_lot::Mutex;
use redis::streams::{StreamId, StreamRangeReply, StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands as _, RedisResult, Script};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::window::{Numbered, Window, new_epoch};
use crate::redis_link::{RedisConnection, RedisLink};

/// The stream, and what is known of it. One hash tag keeps them together on a Redis Cluster.
const STREAM: &str = "hookseal:{feed}:stream";
const HEAD: &str = "hookseal:{feed}:head";
const WRITERS: &str = "hookseal:{feed}:writers";
/// Changes of one entry.
const ENTRY_CHANGES: usize = 256;
/// Entries that are read at once.
const ENTRIES: usize = 256;
const NO_CHANGES: &str = "[]";
/// Entries of its own that a process keeps until they come back to it.
const OWN_ENTRIES: usize = 16;
/// How long a read waits for the next entry before it looks whether the stream is still the same.
const WAIT: Duration = Duration::from_secs(1);
/// How long Redis may take to answer anything else.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait before asking again a Redis that was away.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a stop waits for the outbox.
const FAREWELL: Duration = Duration::from_secs(1);

/// A feed over Redis.
pub struct RedisFeed {
    window: Arc<Window>,
    order: Arc<Order>,
    outbox: Arc<Outbox>,
    redis: RedisLink,
    runtime: tokio::runtime::Handle,
    tasks: [AbortHandle; 2],
}

impl Drop for RedisFeed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl std::fmt::Debug for RedisFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisFeed").field("window", &self.window).finish_non_exhaustive()
    }
}

/// What is to be appended.
#[derive(Debug, PartialEq)]
enum Parcel {
    Changes(Vec<Change>),
    /// Something may be missing here.
    Break,
}

/// Who writes the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// One process at a time: whoever did not sign off died.
    One,
    /// Several, who tell each other who died.
    Many,
}

/// A parcel on its way.
#[derive(Debug)]
struct Posted {
    parcel: Parcel,
    at: Instant,
    /// How many commits were told when it was.
    told: u64,
}

/// What waits for Redis.
#[derive(Debug)]
struct Outbox {
    /// Names this life of this process.
    writer: String,
    /// What is told late would be told after what others made of it: then it is not told at all.
    ages: bool,
    waiting: Mutex<Waiting>,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    parcels: VecDeque<Posted>,
    changes: usize,
    /// Commits that were told.
    told: u64,
    /// Of these, commits that Redis has.
    kept: u64,
}

/// What goes into the stream at once.
#[derive(Debug, PartialEq)]
struct Entry {
    changes: Vec<Change>,
    /// Whether something may be missing before them.
    broken: bool,
    /// When the first of it was posted.
    at: Instant,
    /// How many commits were told by it.
    told: u64,
}

impl Outbox {
    /// A commit was told.
    fn tell(&self, told: Told) {
        self.waiting.lock().told += 1;
        match told {
            Told::Changes(changes) => self.put(Parcel::Changes(changes)),
            Told::Unknown => self.put(Parcel::Break),
        }
    }

    fn put(&self, parcel: Parcel) {
        let mut waiting = self.waiting.lock();
        if let Parcel::Changes(changes) = &parcel {
            waiting.changes += changes.len();
        }
        let told = waiting.told;
        waiting.parcels.push_back(Posted { parcel, at: Instant::now(), told });
        // Redis has been away for long: nobody resumes over so many.
        if waiting.changes > FEED_CHANGES {
            waiting.break_off();
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// The next entry: changes of a few commits.
    fn take(&self) -> Option<Entry> {
        let mut waiting = self.waiting.lock();
        let first = waiting.parcels.front()?.at;
        if self.ages && first.elapsed() > TOLD_WITHIN {
            waiting.break_off();
        }
        let mut entry = Entry { changes: Vec::new(), broken: false, at: first, told: 0 };
        while let Some(Posted { parcel, .. }) = waiting.parcels.front() {
            match parcel {
                Parcel::Break if !entry.changes.is_empty() => break,
                Parcel::Break => entry.broken = true,
                Parcel::Changes(more)
                    if entry.changes.len() + more.len() > ENTRY_CHANGES
                        && !entry.changes.is_empty() =>
                {
                    break;
                }
                Parcel::Changes(_) => {}
            }
            let Some(Posted { parcel, told, .. }) = waiting.parcels.pop_front() else { break };
            entry.told = told;
            if let Parcel::Changes(more) = parcel {
                waiting.changes -= more.len();
                entry.changes.extend(more);
            }
        }
        Some(entry)
    }

    /// Redis has an entry, or there was nothing in it.
    fn keep(&self, entry: &Entry) {
        self.waiting.lock().kept = entry.told;
        self.emptied.notify_waiters();
    }

    /// Waits until Redis has the first `told` commits.
    async fn kept(&self, told: u64) {
        loop {
            let emptied = self.emptied.notified();
            if self.waiting.lock().kept >= told {
                return;
            }
            emptied.await;
        }
    }
}

impl Waiting {
    /// Forgets what waits: instead, everybody is told of a gap.
    fn break_off(&mut self) {
        let (told, at) = (self.told, Instant::now());
        self.parcels = VecDeque::from([Posted { parcel: Parcel::Break, at, told }]);
        self.changes = 0;
    }
}

impl RedisFeed {
    /// A feed over `redis`, served by tasks on `runtime`. A Redis that is away is waited for.
    pub fn start(
        redis: RedisLink,
        writers: Writers,
        runtime: &tokio::runtime::Handle,
    ) -> Arc<Self> {
        let window = Window::open(runtime);
        let outbox = Arc::new(Outbox {
            writer: format!("{:016x}", rand::random::<u64>()),
            ages: writers == Writers::Many,
            waiting: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
        });
        let order = Order::new({
            let outbox = outbox.clone();
            move |told| outbox.tell(told)
        });
        let own = Arc::new(Own::default());
        let writer = Writer {
            redis: redis.clone(),
            writers,
            outbox: outbox.clone(),
            own: own.clone(),
            window: window.clone(),
        };
        let reader = Reader {
            redis: redis.clone(),
            outbox: outbox.clone(),
            own,
            window: window.clone(),
            last: None,
        };
        let tasks = [
            runtime.spawn(writer.run()).abort_handle(),
            runtime.spawn(reader.run()).abort_handle(),
        ];
        Arc::new(Self { window, order, outbox, redis, runtime: runtime.clone(), tasks })
    }
}

/// Takes a writer that appends nothing more from the list.
async fn strike_out(redis: &RedisLink, writer: &str) -> RedisResult<()> {
    let mut connection = redis.connect(PATIENCE).await?;
    connection.hdel(WRITERS, writer).await
}

#[async_trait]
impl Feed for RedisFeed {
    fn ticket(&self) -> Ticket {
        self.order.ticket()
    }

    fn head(&self) -> Position {
        self.window.head()
    }

    fn after(&self, position: Position) -> After {
        self.window.after(position)
    }

    async fn moved(&self, position: Position, interest: &Interest) -> Position {
        self.window.moved(position, interest).await
    }

    async fn flushed(&self) {
        if self.outbox.ages {
            // What takes longer is not told any more.
            let _ = tokio::time::timeout(TOLD_WITHIN, self.outbox.kept(self.order.taken())).await;
        }
    }

    fn writer(&self) -> Option<String> {
        Some(self.outbox.writer.clone())
    }

    fn bury(&self, writer: &str) {
        self.outbox.put(Parcel::Break);
        let (redis, writer) = (self.redis.clone(), writer.to_owned());
        // Left there, it does no harm.
        self.runtime.spawn(async move { strike_out(&redis, &writer).await });
    }

    async fn close(&self) {
        let told = async {
            self.outbox.kept(self.order.taken()).await;
            strike_out(&self.redis, &self.outbox.writer).await
        };
        // Whoever starts next finds the name, and tells of a gap.
        match tokio::time::timeout(FAREWELL, told).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the feed was not ended in order"),
            Err(_) => tracing::warn!("the feed was not ended in order: Redis is away"),
        }
    }
}

fn json(changes: &[Change]) -> String {
    serde_json::to_string(changes).expect("changes always serialize")
}

/// Appends what commits tell.
struct Writer {
    redis: RedisLink,
    writers: Writers,
    outbox: Arc<Outbox>,
    own: Arc<Own>,
    window: Arc<Window>,
}

impl Writer {
    async fn run(self) {
        let append = Script::new(include_str!("append.lua"));
        let mut connection = self.connected().await;
        loop {
            match self.is_whole(&mut connection).await {
                Ok(true) => break,
                // The stream is new, or somebody died with changes untold.
                Ok(false) => {
                    self.outbox.put(Parcel::Break);
                    break;
                }
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    connection = self.connected().await;
                }
            }
        }
        let mut sequence = 0_u64;
        loop {
            let Some(mut entry) = self.outbox.take() else {
                self.outbox.filled.notified().await;
                continue;
            };
            if entry.changes.is_empty() && !entry.broken {
                self.outbox.keep(&entry);
                continue;
            }
            sequence += 1;
            let mut changes = json(&entry.changes);
            self.own.put(changes.clone(), std::mem::take(&mut entry.changes));
            loop {
                if self.outbox.ages && entry.at.elapsed() > TOLD_WITHIN && changes != NO_CHANGES {
                    (changes, entry.broken) = (NO_CHANGES.to_owned(), true);
                }
                let oldest = self.window.oldest();
                let appended: RedisResult<()> = append
                    .key(STREAM)
                    .key(HEAD)
                    .key(WRITERS)
                    .arg(&self.outbox.writer)
                    .arg(sequence)
                    .arg(u8::from(entry.broken))
                    .arg(new_epoch().to_string())
                    .arg(oldest)
                    .arg(&changes)
                    .invoke_async(&mut connection)
                    .await;
                match appended {
                    Ok(()) => break,
                    // The number of the entry keeps it from being appended twice.
                    Err(error) => {
                        tracing::warn!(%error, "the feed was not appended to");
                        tokio::time::sleep(PAUSE).await;
                        connection = self.connected().await;
                    }
                }
            }
            self.outbox.keep(&entry);
        }
    }

    async fn connected(&self) -> RedisConnection {
        loop {
            match self.redis.connect(PATIENCE).await {
                Ok(connection) => return connection,
                Err(error) => {
                    tracing::warn!(%error, "Redis is away");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Whether the stream is there, and every process before signed off, if there was one at a time;
    /// strikes out those that did not.
    async fn is_whole(&self, connection: &mut RedisConnection) -> RedisResult<bool> {
        let left: Vec<String> = match self.writers {
            Writers::One => connection.hkeys(WRITERS).await?,
            Writers::Many => Vec::new(),
        };
        if left.is_empty() {
            return connection.hexists(HEAD, "epoch").await;
        }
        let () = connection.hdel(WRITERS, left).await?;
        Ok(false)
    }
}

/// What this process appended lately: it need not read from the stream what it has at hand.
#[derive(Debug, Default)]
struct Own(Mutex<VecDeque<(String, Vec<Change>)>>);

impl Own {
    /// Keeps changes with what is appended for them.
    fn put(&self, text: String, changes: Vec<Change>) {
        let mut kept = self.0.lock();
        kept.push_back((text, changes));
        if kept.len() > OWN_ENTRIES {
            kept.pop_front();
        }
    }

    /// The changes of an entry, if they are here.
    fn take(&self, text: &str) -> Option<Vec<Change>> {
        let mut kept = self.0.lock();
        let place = kept.iter().position(|(own, _)| own == text)?;
        kept.drain(..=place).next_back().map(|(_, changes)| changes)
    }
}

/// The last entry that was read.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Last {
    number: u64,
    /// Of its content: a Redis that lost the latest entries gives their numbers again.
    hash: u64,
}

/// Follows the stream.
struct Reader {
    redis: RedisLink,
    outbox: Arc<Outbox>,
    own: Arc<Own>,
    window: Arc<Window>,
    last: Option<Last>,
}

impl Reader {
    async fn run(mut self) {
        loop {
            if let Err(error) = self.follow().await {
                tracing::warn!(%error, "the feed was not read");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Reads from where it was, if the stream is still that which it was.
    async fn follow(&mut self) -> RedisResult<()> {
        let mut connection = self.redis.connect(PATIENCE + WAIT).await?;
        if let Some(last) = self.last {
            let found = entry(&mut connection, last.number).await?;
            if found.is_none_or(|found| hash(&found) != last.hash) {
                return self.lose(&mut connection).await;
            }
        }
        let wait = usize::try_from(WAIT.as_millis()).unwrap_or(usize::MAX);
        let options = StreamReadOptions::default().block(wait).count(ENTRIES);
        loop {
            let seen = self.last.map_or(0, |last| last.number);
            let after = format!("{seen}-{}", u64::MAX);
            let read: Option<StreamReadReply> =
                connection.xread_options(&[STREAM], &[after], &options).await?;
            let entries = read.into_iter().flat_map(|read| read.keys).flat_map(|key| key.ids);
            let entries: Vec<StreamId> = entries.collect();
            // At once: whoever comes back to a place among them must not find the window short of it.
            self.window.take_over(entries.iter().filter_map(|entry| self.batch(entry)).collect());
            if let Some(entry) = entries.last() {
                self.last = number(entry).map(|number| Last { number, hash: hash(entry) });
            } else {
                let number: Option<u64> = connection.hget(HEAD, "number").await?;
                if number.unwrap_or(0) < seen {
                    return self.lose(&mut connection).await;
                }
            }
        }
    }

    fn batch(&self, entry: &StreamId) -> Option<Numbered> {
        let (number, epoch) = (number(entry)?, entry.get::<u64>("epoch")?);
        let text = entry.get::<String>("changes").unwrap_or_default();
        match self.own.take(&text).map_or_else(|| serde_json::from_str(&text), Ok) {
            Ok(changes) => Some(Numbered { epoch, number, changes }),
            // Written by another version of this program.
            Err(error) => {
                tracing::warn!(%error, "an entry of the feed was not understood");
                Some(Numbered { epoch: new_epoch(), number, changes: Vec::new() })
            }
        }
    }

    /// The stream is another one: says so to everybody, and begins at its end.
    async fn lose(&mut self, connection: &mut RedisConnection) -> RedisResult<()> {
        tracing::warn!("Redis lost the feed; those who watch are told");
        let newest: StreamRangeReply = connection.xrevrange_count(STREAM, "+", "-", 1).await?;
        let newest = newest.ids.first();
        self.last =
            newest.and_then(|entry| Some(Last { number: number(entry)?, hash: hash(entry) }));
        self.outbox.put(Parcel::Break);
        Ok(())
    }
}

async fn entry(connection: &mut RedisConnection, number: u64) -> RedisResult<Option<StreamId>> {
    let id = format!("{number}-0");
    let found: StreamRangeReply = connection.xrange(STREAM, &id, &id).await?;
    Ok(found.ids.into_iter().next())
}

fn number(entry: &StreamId) -> Option<u64> {
    entry.id.split('-').next()?.parse().ok()
}

fn hash(entry: &StreamId) -> u64 {
    let content = (entry.get::<String>("epoch"), entry.get::<String>("changes"));
    BuildHasherDefault::<DefaultHasher>::default().hash_one(content)
}
