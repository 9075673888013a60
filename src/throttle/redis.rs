//! The throttle across processes: what a caller has spent is kept in Redis, on Redis' clock, under a hash of
//! the caller's name. While Redis is away or slow, each process grants its share of the limit by itself; no
//! request fails because of it, and none waits for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookseal_core::ports::Throttle;
use hookseal_core::throttle::LocalThrottle;
use hookseal_core::time::Timestamp;
use parking_lot::Mutex;
use redis::{RedisResult, Script};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::redis_link::{RedisConnection, RedisLink};

/// What the keys of callers begin with. Each is a key of its own, which a Redis Cluster spreads.
const KEYS: &str = "hookseal:rate:";
/// How long Redis may take to answer before this process decides alone.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long this process goes on alone before Redis is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// A throttle over Redis.
pub struct RedisThrottle {
    per_minute: u32,
    take: Script,
    line: Arc<Line>,
    live_nodes: Arc<AtomicUsize>,
    share: Mutex<Share>,
    keeper: AbortHandle,
}

/// A connection, numbered; none while Redis is away or slow.
type Line = watch::Sender<Option<(u64, RedisConnection)>>;

/// What this process grants alone.
struct Share {
    /// Among so many.
    nodes: usize,
    throttle: Arc<LocalThrottle>,
}

impl Share {
    fn of(per_minute: u32, nodes: usize, now: Timestamp) -> Self {
        let part = per_minute / u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
        Self { nodes, throttle: Arc::new(LocalThrottle::new(part, now)) }
    }
}

impl Drop for RedisThrottle {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl RedisThrottle {
    /// A throttle of `per_minute` requests over `redis`, whose connection is kept by a task on `runtime`;
    /// without Redis, one of as many as `live_nodes` that grant them.
    pub fn start(
        redis: RedisLink,
        per_minute: u32,
        live_nodes: Arc<AtomicUsize>,
        now: Timestamp,
        runtime: &tokio::runtime::Handle,
    ) -> Self {
        let line = Arc::new(Line::default());
        let keeper = runtime.spawn(keep(redis, line.clone())).abort_handle();
        let per_minute = per_minute.max(1);
        let share = Share::of(per_minute, live_nodes.load(Ordering::Relaxed), now);
        let take = Script::new(include_str!("take.lua"));
        Self { per_minute, take, line, live_nodes, share: Mutex::new(share), keeper }
    }

    /// For how long `caller` has to wait; a request is taken when for no time.
    async fn ask(&self, caller: &str, connection: &mut RedisConnection) -> RedisResult<Duration> {
        let key = format!("{KEYS}{}", URL_SAFE_NO_PAD.encode(Sha256::digest(caller)));
        let wait = self.take.key(key).arg(self.per_minute).invoke_async(connection).await?;
        Ok(Duration::from_micros(wait))
    }

    fn share(&self, now: Timestamp) -> Arc<LocalThrottle> {
        let nodes = self.live_nodes.load(Ordering::Relaxed);
        let mut share = self.share.lock();
        if share.nodes != nodes {
            *share = Share::of(self.per_minute, nodes, now);
        }
        share.throttle.clone()
    }
}

#[async_trait]
impl Throttle for RedisThrottle {
    async fn take(&self, caller: &str, now: Timestamp) -> Result<(), Duration> {
        let standing = self.line.borrow().clone();
        let Some((number, mut connection)) = standing else {
            return self.share(now).take(caller, now);
        };
        match self.ask(caller, &mut connection).await {
            Ok(Duration::ZERO) => Ok(()),
            Ok(wait) => Err(wait),
            Err(error) => {
                // Others may have found it broken before, and it may have been replaced since.
                let hung_up = self.line.send_if_modified(|line| {
                    line.take_if(|(standing, _)| *standing == number).is_some()
                });
                if hung_up {
                    tracing::warn!(%error, "requests are counted by each node alone");
                }
                self.share(now).take(caller, now)
            }
        }
    }
}

/// Keeps the line open.
async fn keep(redis: RedisLink, line: Arc<Line>) {
    for number in 0.. {
        match redis.connect(PATIENCE).await {
            Ok(connection) => {
                line.send_replace(Some((number, connection)));
                // It ends when a request has found it broken; the line itself is never dropped before.
                let _ = line.subscribe().wait_for(Option::is_none).await;
            }
            Err(error) => tracing::warn!(%error, "Redis is away"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
