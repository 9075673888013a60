//! The schedule over Redis: a sorted set of due times for each shard, by which any node may leave word for
//! the one that speaks for the shard.
//!
//! ```text
//! hookseal:{s12}:due      sorted set: score = due time in ms, member = "<delivery> <endpoint>"
//! hookseal:{s12}:known    hash: mark of the shard's holder, how often anything was put
//! hookseal:{node:7}:calls sorted set: shards that node 7 had better look at
//! ```
//! What is due is leased, never popped. Rows are the truth: a member that nothing is due for is struck out
//! by whoever finds it, and what Redis forgot is put again from the rows. That it forgot shows in the mark,
//! which is gone or another, or in the number of puts, which went back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use hookseal_core::error::{Error, Result};
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::limits::SCHEDULE_LEASE;
use hookseal_core::ports::{Due, Ownership, Schedule};
use hookseal_core::shard::{NodeNumber, SHARDS, Shard, Shards};
use hookseal_core::time::Timestamp;
use parking_lot::Mutex;
use redis::{AsyncCommands as _, RedisError, RedisResult, Script};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::redis_link::{RedisConnection, RedisLink};

/// How long Redis may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait before trying again a Redis that was away.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a shard is looked at though nothing is due: Redis may have forgotten it.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long a call is waited for at once.
const CALL_WAIT: Duration = Duration::from_secs(1);
/// How long calls are kept for a node that does not hear them.
const CALLS_KEPT_MS: i64 = 60_000;

/// A schedule over Redis.
pub struct RedisSchedule {
    link: RedisLink,
    ownership: Arc<dyn Ownership>,
    connection: tokio::sync::Mutex<Connection>,
    known: Mutex<Known>,
    changed: Notify,
    lost: Notify,
    put: Script,
    lease: Script,
    listener: Mutex<Option<AbortHandle>>,
}

/// The connection that all share, or when to try for another one.
enum Connection {
    Open(RedisConnection),
    AwayUntil(Instant),
}

/// What is known of the shards.
struct Known {
    shards: Vec<KnownShard>,
    covers_until: Timestamp,
}

#[derive(Clone, Copy)]
struct KnownShard {
    /// What its holder marked it with; none before he did.
    mark: Option<u64>,
    /// How often anything was put.
    puts: u64,
    /// When it is worth looking at.
    next: Timestamp,
}

const UNKNOWN: KnownShard = KnownShard { mark: None, puts: 0, next: Timestamp::from_ms(0) };

impl Drop for RedisSchedule {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.lock().take() {
            listener.abort();
        }
    }
}

impl std::fmt::Debug for RedisSchedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSchedule").field("link", &self.link).finish_non_exhaustive()
    }
}

fn due_key(shard: Shard) -> String {
    format!("hookseal:{{s{}}}:due", shard.number())
}

fn known_key(shard: Shard) -> String {
    format!("hookseal:{{s{}}}:known", shard.number())
}

fn calls_key(node: NodeNumber) -> String {
    format!("hookseal:{{node:{node}}}:calls")
}

fn member(id: &DeliveryId, endpoint: &EndpointId) -> String {
    format!("{id} {endpoint}")
}

fn away(error: RedisError) -> Error {
    Error::unavailable("Redis", error)
}

impl RedisSchedule {
    /// A schedule over `link`, of what `ownership` holds. Calls of other nodes are heard by a task on
    /// `runtime`. A Redis that is away is waited for.
    pub fn start(
        link: RedisLink,
        ownership: Arc<dyn Ownership>,
        runtime: &tokio::runtime::Handle,
    ) -> Arc<Self> {
        let schedule = Arc::new(Self {
            link,
            ownership,
            connection: tokio::sync::Mutex::new(Connection::AwayUntil(Instant::now())),
            known: Mutex::new(Known {
                shards: vec![UNKNOWN; usize::from(SHARDS)],
                covers_until: Timestamp::from_ms(0),
            }),
            changed: Notify::new(),
            lost: Notify::new(),
            put: Script::new(include_str!("put.lua")),
            lease: Script::new(include_str!("lease.lua")),
            listener: Mutex::default(),
        });
        let listening = runtime.spawn(listen(Arc::downgrade(&schedule)));
        *schedule.listener.lock() = Some(listening.abort_handle());
        schedule
    }

    /// The connection that all share; at once a refusal while Redis is away.
    async fn connection(&self) -> Result<RedisConnection> {
        let mut connection = self.connection.lock().await;
        match &*connection {
            Connection::Open(open) => return Ok(open.clone()),
            Connection::AwayUntil(then) if *then > Instant::now() => {
                return Err(Error::Unavailable { what: "Redis", retry_after: PAUSE, source: None });
            }
            Connection::AwayUntil(_) => {}
        }
        match self.link.connect(PATIENCE).await {
            Ok(open) => {
                *connection = Connection::Open(open.clone());
                Ok(open)
            }
            Err(error) => {
                *connection = Connection::AwayUntil(Instant::now() + PAUSE);
                Err(away(error))
            }
        }
    }

    /// What Redis answered; a connection that failed is not used again.
    async fn answered<T>(&self, answer: RedisResult<T>) -> Result<T> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                *self.connection.lock().await = Connection::AwayUntil(Instant::now() + PAUSE);
                Err(away(error))
            }
        }
    }

    /// Leaves a mark in a shard by which it is known again.
    async fn mark(&self, shard: Shard, connection: &mut RedisConnection) -> RedisResult<u64> {
        let (key, mark) = (known_key(shard), rand::random::<u64>());
        let () = connection.hset(&key, "mark", mark.to_string()).await?;
        let puts: Option<u64> = connection.hget(&key, "puts").await?;
        let mut known = self.known.lock();
        let known = &mut known.shards[usize::from(shard.number())];
        *known = KnownShard { mark: Some(mark), puts: puts.unwrap_or_default(), next: known.next };
        Ok(mark)
    }

    async fn lease_of(
        &self,
        shard: Shard,
        now: Timestamp,
        limit: usize,
        mut connection: RedisConnection,
    ) -> RedisResult<Vec<Due>> {
        let KnownShard { mark, puts, .. } = self.known.lock().shards[usize::from(shard.number())];
        let (mark, puts) = match mark {
            Some(mark) => (mark, puts),
            None => (self.mark(shard, &mut connection).await?, 0),
        };
        let leased: Option<(u64, String, Vec<String>)> = self
            .lease
            .key(due_key(shard))
            .key(known_key(shard))
            .arg(mark.to_string())
            .arg(puts)
            .arg(now.as_ms())
            .arg(now.plus(SCHEDULE_LEASE).as_ms())
            .arg(limit)
            .invoke_async(&mut connection)
            .await?;
        let place = usize::from(shard.number());
        let Some((puts, first, members)) = leased else {
            let mut known = self.known.lock();
            tracing::warn!(shard = shard.number(), "Redis lost due times; they are put again");
            known.shards[place] = UNKNOWN;
            known.covers_until = Timestamp::from_ms(0);
            drop(known);
            self.lost.notify_one();
            return Ok(Vec::new());
        };
        {
            let mut known = self.known.lock();
            let known = &mut known.shards[place];
            known.puts = known.puts.max(puts);
            let look_again = now.plus(LOOK_EVERY);
            known.next = score(&first).map_or(look_again, |first| first.min(look_again));
        }
        let (due, strangers): (Vec<_>, Vec<_>) = members
            .chunks(2)
            .map(|entry| {
                let ours = |due: &Due| Shard::of(&due.endpoint_id) == shard;
                due(&entry[0], &entry[1]).filter(ours).ok_or(&entry[0])
            })
            .partition(Result::is_ok);
        let strangers: Vec<_> = strangers.into_iter().filter_map(Result::err).collect();
        if !strangers.is_empty() {
            let () = connection.zrem(due_key(shard), strangers).await?;
        }
        Ok(due.into_iter().filter_map(Result::ok).collect())
    }

    /// Somebody put something into a shard.
    fn called(&self, shard: Shard) {
        self.known.lock().shards[usize::from(shard.number())].next = Timestamp::from_ms(0);
        self.changed.notify_one();
    }

    /// Takes note of what was put; answers the node that had better look.
    fn noted(&self, shard: Shard, earliest: Timestamp, puts: u64) -> Option<NodeNumber> {
        let held = self.ownership.held();
        if !held.contains(shard) {
            return self.ownership.elsewhere(shard);
        }
        let mut known = self.known.lock();
        let first = held.iter().map(|shard| known.shards[usize::from(shard.number())].next).min();
        let known = &mut known.shards[usize::from(shard.number())];
        // Before the first look nothing is known, and the count begins with it.
        if known.mark.is_some() {
            known.puts = known.puts.max(puts);
        }
        known.next = known.next.min(earliest);
        if first.is_none_or(|first| earliest < first) {
            self.changed.notify_one();
        }
        None
    }

    async fn put_into(
        &self,
        shard: Shard,
        due: Vec<Due>,
        mut connection: RedisConnection,
    ) -> RedisResult<Option<(NodeNumber, Shard)>> {
        let mut put = self.put.prepare_invoke();
        put.key(due_key(shard)).key(known_key(shard));
        for due in &due {
            put.arg(due.at.as_ms()).arg(member(&due.id, &due.endpoint_id));
        }
        let puts: u64 = put.invoke_async(&mut connection).await?;
        let earliest = due.iter().map(|due| due.at).min().unwrap_or(Timestamp::MAX);
        Ok(self.noted(shard, earliest, puts).map(|owner| (owner, shard)))
    }

    async fn call(
        &self,
        node: NodeNumber,
        shards: BTreeSet<u8>,
        mut connection: RedisConnection,
    ) -> RedisResult<()> {
        let calls: Vec<_> = shards.into_iter().map(|shard| (0, shard)).collect();
        let () = connection.zadd_multiple(calls_key(node), &calls).await?;
        connection.pexpire(calls_key(node), CALLS_KEPT_MS).await
    }
}

fn due(member: &str, at: &str) -> Option<Due> {
    let (id, endpoint) = member.split_once(' ')?;
    let (id, endpoint_id) = (DeliveryId::from_row(id), EndpointId::from_row(endpoint));
    Some(Due { at: score(at)?, id, endpoint_id })
}

fn score(text: &str) -> Option<Timestamp> {
    // Milliseconds are whole numbers, and small enough for one.
    text.parse::<f64>().ok().map(|ms| Timestamp::from_ms(ms as i64))
}

/// Hears what other nodes leave for this one.
async fn listen(schedule: std::sync::Weak<RedisSchedule>) {
    let mut connection: Option<RedisConnection> = None;
    while let Some(living) = schedule.upgrade() {
        let (link, node) = (living.link.clone(), living.ownership.number());
        drop(living);
        let called = async {
            let mut open = match connection.take() {
                Some(open) => open,
                None => link.connect(PATIENCE + CALL_WAIT).await?,
            };
            let wait = CALL_WAIT.as_secs_f64();
            let called: Option<(String, u8, f64)> = open.bzpopmin(calls_key(node), wait).await?;
            connection = Some(open);
            RedisResult::Ok(called)
        };
        match called.await {
            Ok(Some((_, shard, _))) => {
                let shard = Shard::from_row(shard.into());
                if let (Some(living), Some(shard)) = (schedule.upgrade(), shard) {
                    living.called(shard);
                }
            }
            Ok(None) => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[async_trait]
impl Schedule for RedisSchedule {
    async fn put(&self, due: Vec<Due>) -> Result<()> {
        let covers_until = self.covers_until();
        let mut by_shard: BTreeMap<Shard, Vec<Due>> = BTreeMap::new();
        // What lies beyond may stand there from before: it comes early, is not claimed, and is struck out.
        for due in due.into_iter().filter(|due| due.at <= covers_until) {
            by_shard.entry(Shard::of(&due.endpoint_id)).or_default().push(due);
        }
        if by_shard.is_empty() {
            return Ok(());
        }
        let put = async {
            let connection = self.connection().await?;
            let puts = by_shard
                .into_iter()
                .map(|(shard, due)| self.put_into(shard, due, connection.clone()));
            let to_call = self.answered(try_join_all(puts).await).await?;
            let mut calls: BTreeMap<NodeNumber, BTreeSet<u8>> = BTreeMap::new();
            for (node, shard) in to_call.into_iter().flatten() {
                calls.entry(node).or_default().insert(shard.number());
            }
            let calls =
                calls.into_iter().map(|(node, shards)| self.call(node, shards, connection.clone()));
            self.answered(try_join_all(calls).await).await
        };
        let result = put.await.map(drop);
        if result.is_err() {
            self.uncover(Timestamp::from_ms(0));
            self.lost.notify_one();
        }
        result
    }

    async fn lease(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        let held = self.ownership.held();
        let ripe: Shards = {
            let mut known = self.known.lock();
            for shard in Shards::ALL.without(held).iter() {
                known.shards[usize::from(shard.number())] = UNKNOWN;
            }
            let known = &known.shards;
            held.iter().filter(|shard| known[usize::from(shard.number())].next <= now).collect()
        };
        if ripe.is_empty() {
            return Ok(Vec::new());
        }
        let connection = self.connection().await?;
        let leases = ripe.iter().map(|shard| self.lease_of(shard, now, limit, connection.clone()));
        let mut leased = Vec::new();
        // What one shard leased is passed on though another one's answer was lost.
        let mut result = Ok(());
        for due in join_all(leases).await {
            match self.answered(due).await {
                Ok(due) => leased.extend(due),
                Err(error) => result = Err(error),
            }
        }
        leased.sort_by_key(|due| due.at);
        if leased.is_empty() { result.map(|()| leased) } else { Ok(leased) }
    }

    async fn strike_out(&self, endpoint: &EndpointId, ids: Vec<DeliveryId>) -> Result<()> {
        let members: Vec<_> = ids.iter().map(|id| member(id, endpoint)).collect();
        let mut connection = self.connection().await?;
        let struck_out = connection.zrem(due_key(Shard::of(endpoint)), members).await;
        self.answered(struck_out).await
    }

    async fn next(&self) -> Result<Option<Timestamp>> {
        let held = self.ownership.held();
        let known = self.known.lock();
        Ok(held.iter().map(|shard| known.shards[usize::from(shard.number())].next).min())
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn lost(&self) {
        self.lost.notified().await;
    }

    fn covers_until(&self) -> Timestamp {
        self.known.lock().covers_until
    }

    fn cover(&self, until: Timestamp) {
        self.known.lock().covers_until = until;
    }

    fn uncover(&self, until: Timestamp) {
        let mut known = self.known.lock();
        known.covers_until = known.covers_until.min(until);
        drop(known);
        // There may be shards that nobody has looked at yet.
        self.changed.notify_one();
    }
}
