//! Due times: put in batches, leased in rounds.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hookseal::ownership::Sole;
use hookseal::schedule::memory::MemorySchedule;
use hookseal::schedule::redis::RedisSchedule;
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::ports::{Due, Schedule};
use hookseal_core::time::Timestamp;
use tokio::runtime::{Builder, Runtime};

use crate::piece::{Entry, Piece};
use crate::support::redis::Redis;
use crate::support::rows::after;

const DUE: usize = 100_000;
const ENDPOINTS: usize = 1000;
/// Of a batch that is put, and the most that is leased at once; over Redis of each shard.
const ROUND: usize = 1024;

pub fn entries() -> Vec<Entry> {
    let mut entries = vec![
        Entry::new("schedule_claim", "memory/put", DUE, || Put(Ground::new(Kind::Memory)))
            .counted(1, 2),
        Entry::new("schedule_claim", "memory/lease", DUE, || Lease(Ground::new(Kind::Memory)))
            .counted(1, 2),
    ];
    let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    if version.is_ok_and(|status| status.success()) {
        let over_redis = || Ground::new(Kind::Redis(Redis::start()));
        entries.extend([
            Entry::new("schedule_claim", "redis/put", DUE, move || Put(over_redis())),
            Entry::new("schedule_claim", "redis/lease", DUE, move || Lease(over_redis())),
        ]);
    }
    entries
}

enum Kind {
    Memory,
    Redis(Redis),
}

/// Makes schedules, and what is put into them.
struct Ground {
    runtime: Runtime,
    kind: Kind,
    due: Vec<Due>,
}

impl Ground {
    fn new(kind: Kind) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        // Not in order: retries of many endpoints are mixed.
        let due = |n: usize| Due {
            at: first().plus(Duration::from_millis((n * 7919 % 30_000) as u64)),
            id: DeliveryId::from_row(format!("whd_{n:032}")),
            endpoint_id: EndpointId::from_row(format!("whe_{:032}", n % ENDPOINTS)),
        };
        Self { runtime, kind, due: (0..DUE).map(due).collect() }
    }

    /// An empty schedule, which covers all that is ever put.
    fn empty(&self) -> Arc<dyn Schedule> {
        let schedule: Arc<dyn Schedule> = match &self.kind {
            Kind::Memory => Arc::new(MemorySchedule::with_bound(DUE)),
            Kind::Redis(redis) => {
                let _: String = redis.ask(&["FLUSHALL"]);
                RedisSchedule::start(redis.link(), Arc::new(Sole), self.runtime.handle())
            }
        };
        schedule.cover(last());
        // Connects, and finds nothing.
        let leased = self.runtime.block_on(schedule.lease(first(), 1)).unwrap();
        assert!(leased.is_empty());
        schedule
    }

    fn batches(&self) -> Vec<Vec<Due>> {
        self.due.chunks(ROUND).map(<[Due]>::to_vec).collect()
    }

    fn put(&self, schedule: &dyn Schedule, batches: Vec<Vec<Due>>) {
        self.runtime.block_on(async {
            for batch in batches {
                schedule.put(batch).await.unwrap();
            }
        });
    }
}

fn first() -> Timestamp {
    after(1)
}

fn last() -> Timestamp {
    after(60)
}

/// Puts them all.
struct Put(Ground);

impl Piece for Put {
    type Input = (Arc<dyn Schedule>, Vec<Vec<Due>>);

    fn input(&mut self) -> Self::Input {
        (self.0.empty(), self.0.batches())
    }

    fn run(&mut self, (schedule, batches): Self::Input) {
        self.0.put(&*schedule, batches);
    }
}

/// Leases them all, once they are due.
struct Lease(Ground);

impl Piece for Lease {
    type Input = Arc<dyn Schedule>;

    fn input(&mut self) -> Self::Input {
        let schedule = self.0.empty();
        self.0.put(&*schedule, self.0.batches());
        schedule
    }

    fn run(&mut self, schedule: Self::Input) {
        let leased = self.0.runtime.block_on(async {
            let mut leased = 0;
            loop {
                match schedule.lease(last(), ROUND).await.unwrap().len() {
                    0 => return leased,
                    some => leased += some,
                }
            }
        });
        assert_eq!(leased, DUE);
    }
}
