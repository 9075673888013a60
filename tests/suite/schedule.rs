//! What every schedule does, and what only one that several nodes share has to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::AsyncCommands as _;
use hookseal::ownership::Holdings;
use hookseal::redis_link::RedisLink;
use hookseal::schedule::memory::MemorySchedule;
use hookseal::schedule::redis::RedisSchedule;
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::limits::SCHEDULE_LEASE;
use hookseal_core::ports::{Due, Ownership, Schedule};
use hookseal_core::shard::{NodeNumber, Shard};
use hookseal_core::time::Timestamp;
use tokio::time::timeout;

use crate::support::redis::{Redis, RedisCluster};

const SOON: Duration = Duration::from_secs(10);
const A_WHILE: Duration = Duration::from_millis(200);

/// Milliseconds after a moment that is far from zero.
fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000 + ms)
}

fn due(ms: i64, n: usize) -> Due {
    Due { at: at(ms), id: DeliveryId::from_row(format!("whd_{n:03}")), endpoint_id: endpoint(n) }
}

fn endpoint(n: usize) -> EndpointId {
    EndpointId::from_row(format!("whe_{n:03}"))
}

/// What a node holds of which `mine` says whether it is its own, and node 2 has the rest.
fn holding(node: i64, mine: impl Fn(Shard) -> bool) -> Arc<Holdings> {
    let (me, holdings) = (NodeNumber(node), Arc::new(Holdings::default()));
    holdings.begin(me);
    holdings.renew(Instant::now(), Duration::from_secs(3600));
    holdings.learn(
        Shard::all().map(|s| (s, NodeNumber(if mine(s) { node } else { 3 - node }))).collect(),
    );
    holdings
}

fn over(link: &RedisLink, ownership: Arc<dyn Ownership>) -> Arc<RedisSchedule> {
    let schedule =
        RedisSchedule::start(link.clone(), ownership, &tokio::runtime::Handle::current());
    schedule.cover(at(1_000));
    schedule
}

macro_rules! on_every_schedule {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                let schedule = super::MemorySchedule::default();
                super::Schedule::cover(&schedule, super::at(1_000));
                super::$name(std::sync::Arc::new(schedule)).await;
            })+
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let redis = super::Redis::start();
                super::$name(super::over(&redis.link(), super::holding(1, |_| true))).await;
            })+
        }
    };
}

on_every_schedule! {
    due_times_come_out_in_order_and_not_before,
    what_lies_beyond_the_horizon_is_left_to_the_rows,
    what_is_leased_comes_again_unless_it_is_struck_out,
    what_is_put_again_is_moved,
    an_earlier_due_time_wakes_whoever_waits,
    no_more_is_leased_than_was_asked_for,
}

async fn leased(schedule: &dyn Schedule, now: Timestamp) -> Vec<Due> {
    schedule.lease(now, 100).await.unwrap()
}

async fn due_times_come_out_in_order_and_not_before(schedule: Arc<dyn Schedule>) {
    schedule.put(vec![due(300, 3), due(100, 1), due(200, 2), due(100, 1)]).await.unwrap();
    assert_eq!(leased(&*schedule, at(99)).await, []);
    assert_eq!(schedule.next().await.unwrap(), Some(at(100)));
    assert_eq!(leased(&*schedule, at(250)).await, [due(100, 1), due(200, 2)]);
    assert_eq!(leased(&*schedule, at(999)).await, [due(300, 3)]);
    assert_eq!(leased(&*schedule, at(1_000)).await, []);
}

async fn what_lies_beyond_the_horizon_is_left_to_the_rows(schedule: Arc<dyn Schedule>) {
    schedule.put(vec![due(1_000, 1), due(1_001, 2)]).await.unwrap();
    assert_eq!(schedule.covers_until(), at(1_000));
    assert_eq!(leased(&*schedule, at(2_000)).await, [due(1_000, 1)]);
    schedule.uncover(at(500));
    schedule.put(vec![due(501, 3)]).await.unwrap();
    assert_eq!(leased(&*schedule, at(2_000)).await, []);
}

async fn what_is_leased_comes_again_unless_it_is_struck_out(schedule: Arc<dyn Schedule>) {
    schedule.put(vec![due(1, 1), due(2, 2)]).await.unwrap();
    assert_eq!(leased(&*schedule, at(10)).await.len(), 2);
    schedule.strike_out(&endpoint(1), vec![due(1, 1).id]).await.unwrap();
    let over = at(10).plus(SCHEDULE_LEASE);
    assert_eq!(leased(&*schedule, over.minus(Duration::from_millis(1))).await, []);
    assert_eq!(leased(&*schedule, over).await, [Due { at: over, ..due(0, 2) }]);
    schedule.strike_out(&endpoint(2), vec![due(1, 2).id, due(1, 7).id]).await.unwrap();
    assert_eq!(leased(&*schedule, over.plus(SCHEDULE_LEASE)).await, []);
}

async fn what_is_put_again_is_moved(schedule: Arc<dyn Schedule>) {
    schedule.put(vec![due(100, 1), due(100, 2)]).await.unwrap();
    schedule.put(vec![due(200, 1), due(50, 2)]).await.unwrap();
    assert_eq!(leased(&*schedule, at(150)).await, [due(50, 2)]);
    assert_eq!(leased(&*schedule, at(200)).await, [due(200, 1)]);
}

async fn an_earlier_due_time_wakes_whoever_waits(schedule: Arc<dyn Schedule>) {
    assert_eq!(leased(&*schedule, at(0)).await, []);
    schedule.put(vec![due(500, 1)]).await.unwrap();
    timeout(SOON, schedule.changed()).await.unwrap();
    schedule.put(vec![due(600, 2)]).await.unwrap();
    assert!(timeout(A_WHILE, schedule.changed()).await.is_err(), "a later one wakes nobody");
    schedule.put(vec![due(400, 3)]).await.unwrap();
    timeout(SOON, schedule.changed()).await.unwrap();
    assert_eq!(schedule.next().await.unwrap(), Some(at(400)));
}

async fn no_more_is_leased_than_was_asked_for(schedule: Arc<dyn Schedule>) {
    let all = (0..20).map(|n| Due { endpoint_id: endpoint(1), ..due(n, n as usize) });
    schedule.put(all.collect()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(schedule.lease(at(100), 10).await.unwrap().len(), 10);
    }
    assert_eq!(leased(&*schedule, at(100)).await, []);
}

#[tokio::test]
async fn a_full_memory_forgets_the_latest_and_says_so() {
    let schedule = MemorySchedule::with_bound(2);
    schedule.cover(at(1_000));
    schedule.put(vec![due(100, 1), due(300, 3), due(200, 2)]).await.unwrap();
    assert_eq!(schedule.covers_until(), at(299));
    assert_eq!(leased(&schedule, at(1_000)).await, [due(100, 1), due(200, 2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leases_its_own_and_is_called_to_what_others_put() {
    let redis = Redis::start();
    let even = |shard: Shard| shard.number().is_multiple_of(2);
    let first = over(&redis.link(), holding(1, even));
    let second = over(&redis.link(), holding(2, |shard| !even(shard)));
    for schedule in [&first, &second] {
        assert_eq!(leased(&**schedule, at(0)).await, []);
        // Nothing is due for long.
        assert!(schedule.next().await.unwrap() > Some(at(1_000)));
    }
    let all: Vec<_> = (0..40).map(|n| due(n, n as usize)).collect();
    first.put(all.clone()).await.unwrap();
    let mine = |due: &Due| even(Shard::of(&due.endpoint_id));
    timeout(SOON, second.changed()).await.expect("it is called");
    tokio::time::sleep(A_WHILE).await;
    let (ours, theirs) = (leased(&*first, at(100)).await, leased(&*second, at(100)).await);
    assert!(!ours.is_empty() && !theirs.is_empty());
    assert!(ours.iter().all(mine) && !theirs.iter().any(mine));
    let mut found = [ours, theirs].concat();
    found.sort_by_key(|due| due.at);
    assert_eq!(found, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_forgets_is_noticed_and_put_again() {
    let redis = Redis::start();
    let schedule = over(&redis.link(), holding(1, |_| true));
    schedule.put(vec![due(100, 1), due(200, 2)]).await.unwrap();
    assert_eq!(leased(&*schedule, at(0)).await, []);
    let _: String = redis.ask(&["FLUSHALL"]);
    assert_eq!(leased(&*schedule, at(5_000)).await, []);
    timeout(SOON, schedule.lost()).await.expect("it is noticed");
    assert_eq!(schedule.covers_until(), Timestamp::from_ms(0));
    schedule.cover(at(1_000));
    schedule.put(vec![due(100, 1), due(200, 2)]).await.unwrap();
    assert_eq!(leased(&*schedule, at(5_000)).await, [due(100, 1), due(200, 2)]);
    // A replica that lagged behind is promoted: it knows the mark, and not the latest puts.
    let n = Shard::of(&endpoint(3)).number();
    let (key, known) = (format!("hookseal:{{s{n}}}:due"), format!("hookseal:{{s{n}}}:known"));
    schedule.put(vec![due(300, 3)]).await.unwrap();
    assert_eq!(leased(&*schedule, at(6_000)).await, [due(300, 3)]);
    schedule.put(vec![due(400, 3)]).await.unwrap();
    let _: i64 = redis.ask(&["DEL", &key]);
    let _: i64 = redis.ask(&["HINCRBY", &known, "puts", "-1"]);
    assert_eq!(leased(&*schedule, at(16_000)).await, []);
    timeout(SOON, schedule.lost()).await.expect("it is noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_a_shard_over_leases_it_and_nobody_else() {
    let redis = Redis::start();
    let stale = over(&redis.link(), holding(1, |_| true));
    stale.put(vec![due(100, 1)]).await.unwrap();
    assert_eq!(leased(&*stale, at(0)).await, []);
    let heir = over(&redis.link(), holding(2, |_| true));
    assert_eq!(leased(&*heir, at(0)).await, []);
    assert_eq!(leased(&*stale, at(5_000)).await, []);
    assert_eq!(leased(&*heir, at(5_000)).await, [due(100, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_is_said_to_be_and_comes_back() {
    let mut redis = Redis::start();
    let schedule = over(&redis.link(), holding(1, |_| true));
    schedule.put(vec![due(100, 1)]).await.unwrap();
    assert_eq!(leased(&*schedule, at(0)).await, []);
    redis.stop(true);
    assert!(schedule.lease(at(5_000), 10).await.is_err());
    assert!(schedule.put(vec![due(200, 2)]).await.is_err());
    timeout(SOON, schedule.lost()).await.expect("what was not put is missing");
    let redis = redis.start_again();
    let back = async {
        loop {
            match schedule.lease(at(10_000), 10).await {
                Ok(due) if !due.is_empty() => break due,
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    assert_eq!(timeout(SOON, back).await.unwrap(), [due(100, 1)], "what it kept");
    drop(redis);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_in_redis_are_passed_over() {
    let redis = Redis::start();
    let schedule = over(&redis.link(), holding(1, |_| true));
    let n = Shard::of(&endpoint(1)).number();
    let key = format!("hookseal:{{s{n}}}:due");
    let score = at(1).as_ms().to_string();
    for stranger in ["", "rubbish", "\u{0}\u{7f}"] {
        let _: i64 = redis.ask(&["ZADD", &key, &score, stranger]);
    }
    schedule.put(vec![due(1, 1)]).await.unwrap();
    assert_eq!(leased(&*schedule, at(5)).await, [due(1, 1)]);
    let left: i64 = redis.ask(&["ZCARD", &key]);
    assert_eq!(left, 1, "they are struck out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_takes_all_shards() {
    let cluster = RedisCluster::start();
    let schedule = over(&cluster.link(), holding(1, |_| true));
    let all: Vec<_> = (0..200).map(|n| due(n, n as usize)).collect();
    schedule.put(all.clone()).await.unwrap();
    assert_eq!(schedule.lease(at(900), 1000).await.unwrap(), all);
    let mut connection = cluster.link().connect(SOON).await.unwrap();
    let marked: bool = connection.hexists("hookseal:{s0}:known", "mark").await.unwrap();
    assert!(marked);
}
