//! What every feed does, and what only one across processes has to.

use std::sync::Arc;
use std::time::Duration;

use ::redis::AsyncCommands as _;
use hookseal::feed::memory::MemoryFeed;
use hookseal::feed::redis::{RedisFeed, Writers};
use hookseal::redis_link::RedisLink;
use hookseal_core::endpoint::Endpoint;
use hookseal_core::event::Event;
use hookseal_core::feed::{After, Change, EndpointChange, Interest, Position};
use hookseal_core::id::{EndpointId, EventId, OrganizationId};
use hookseal_core::limits::{FEED_CHANGES, TOLD_WITHIN};
use hookseal_core::ports::Feed;
use hookseal_core::time::Timestamp;

use crate::support::redis::{Redis, RedisCluster, Service};

fn change(n: usize) -> Change {
    Change::Event(Arc::new(Event {
        id: EventId::from_row(n.to_string()),
        organization_id: OrganizationId::from_row("o"),
        event_type: "t".into(),
        trigger_type: "t".into(),
        trigger_id: String::new(),
        created_at: Timestamp::from_ms(0),
    }))
}

fn interest(endpoint: Option<&str>) -> Interest {
    Interest {
        organization: OrganizationId::from_row("o"),
        endpoint: endpoint.map(EndpointId::from_row),
    }
}

fn endpoint(id: &str) -> Endpoint {
    Endpoint {
        id: EndpointId::from_row(id),
        organization_id: OrganizationId::from_row("o"),
        name: None,
        labels: Vec::new(),
        url: String::new(),
        enabled: true,
        subscribed_event_types: Vec::new(),
        retention: Default::default(),
        max_in_flight: None,
        rate_limit_per_second: None,
        previous_secret_until: None,
        revision: 1,
        created_at: Timestamp::from_ms(0),
        updated_at: Timestamp::from_ms(0),
        disabled_at: None,
    }
}

fn tell(feed: &dyn Feed, numbers: impl IntoIterator<Item = usize>) {
    feed.ticket().publish(numbers.into_iter().map(change).collect());
}

/// What a watcher saw.
#[derive(Debug, PartialEq)]
enum Saw {
    Change(usize),
    Gap,
}

/// Somebody at a place in the feed.
struct Watcher<'a>(&'a dyn Feed, Position);

impl Watcher<'_> {
    /// Everything up to now, until nothing came for a while.
    async fn all(&mut self) -> Vec<Saw> {
        let mut saw = Vec::new();
        loop {
            match self.0.after(self.1) {
                After::Gap(head) => {
                    self.1 = head;
                    saw.push(Saw::Gap);
                }
                After::Batches(batches) if batches.is_empty() => {
                    let interest = interest(None);
                    let moved = self.0.moved(self.1, &interest);
                    match tokio::time::timeout(Duration::from_millis(700), moved).await {
                        Ok(position) => self.1 = position,
                        Err(_) => return saw,
                    }
                }
                After::Batches(batches) => {
                    for batch in batches {
                        for change in &batch.changes {
                            let Change::Event(event) = change else { panic!("{change:?}") };
                            saw.push(Saw::Change(event.id.as_str().parse().unwrap()));
                        }
                        self.1 = Position { batch: batch.number, index: Position::END, ..self.1 };
                    }
                }
            }
        }
    }

    /// Waits for `count` of them; answers all that came.
    async fn sees(&mut self, count: usize) -> Vec<Saw> {
        let mut saw = Vec::new();
        for _ in 0..20 {
            saw.extend(self.all().await);
            if saw.len() >= count {
                break;
            }
        }
        saw
    }

    /// Waits for a gap; answers what came before and after it.
    async fn past_a_gap(&mut self) -> Vec<Saw> {
        let mut saw = Vec::new();
        for _ in 0..20 {
            saw.extend(self.all().await);
            if saw.contains(&Saw::Gap) {
                return saw;
            }
        }
        panic!("no gap: {saw:?}");
    }
}

fn changes(numbers: impl IntoIterator<Item = usize>) -> Vec<Saw> {
    numbers.into_iter().map(Saw::Change).collect()
}

/// A feed that has begun: what comes now is seen.
async fn begun(redis: Option<RedisLink>) -> Arc<dyn Feed> {
    begun_by(Writers::One, redis).await
}

async fn begun_by(writers: Writers, redis: Option<RedisLink>) -> Arc<dyn Feed> {
    let runtime = tokio::runtime::Handle::current();
    let Some(redis) = redis else { return MemoryFeed::start(&runtime) };
    let feed = RedisFeed::start(redis.clone(), writers, &runtime);
    let begins = async {
        let mut connection = redis.connect(Duration::from_secs(2)).await.unwrap();
        loop {
            // Where another process wrote before, it has begun when all of that was read.
            let (epoch, number): (Option<u64>, Option<u64>) =
                connection.hmget("hookseal:{feed}:head", &["epoch", "number"]).await.unwrap();
            let head = feed.head();
            if (epoch, number) == (Some(head.epoch), Some(head.batch)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), begins).await.unwrap();
    feed
}

macro_rules! on_every_feed {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::begun(None).await).await;
            })+
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let redis = $crate::support::redis::Redis::start();
                super::$name(super::begun(Some(redis.link())).await).await;
            })+
        }
    };
}

on_every_feed! {
    changes_are_seen_once_and_in_order,
    a_position_is_gone_on_from,
    places_are_kept_in_the_order_of_commits,
    an_unknown_commit_is_a_gap,
    a_foreign_position_is_a_gap,
    whoever_is_too_slow_sees_a_gap_and_then_goes_on,
    what_is_of_no_interest_wakes_nobody_and_makes_no_gap,
    nobody_is_carried_past_what_he_is_woken_for,
}

async fn changes_are_seen_once_and_in_order(feed: Arc<dyn Feed>) {
    let mut watcher = Watcher(&*feed, feed.head());
    for n in 0..1000 {
        tell(&*feed, [2 * n, 2 * n + 1]);
    }
    assert_eq!(watcher.sees(2000).await, changes(0..2000));
    assert_eq!(watcher.all().await, []);
    tell(&*feed, []);
    tell(&*feed, 0..3000);
    assert_eq!(watcher.sees(3000).await, changes(0..3000));
}

async fn a_position_is_gone_on_from(feed: Arc<dyn Feed>) {
    let mut first = Watcher(&*feed, feed.head());
    tell(&*feed, 0..10);
    assert_eq!(first.sees(10).await, changes(0..10));
    let position = Position::parse(&first.1.to_string()).unwrap();
    tell(&*feed, 10..20);
    tell(&*feed, 20..30);
    let mut second = Watcher(&*feed, position);
    assert_eq!(second.sees(20).await, changes(10..30));
    let mut late = Watcher(&*feed, feed.head());
    tell(&*feed, [30]);
    assert_eq!(late.sees(1).await, changes([30]));
}

async fn places_are_kept_in_the_order_of_commits(feed: Arc<dyn Feed>) {
    let mut watcher = Watcher(&*feed, feed.head());
    let (first, second, third) = (feed.ticket(), feed.ticket(), feed.ticket());
    third.publish(vec![change(3)]);
    second.publish(vec![change(2)]);
    assert_eq!(watcher.all().await, []);
    first.publish(vec![change(1)]);
    assert_eq!(watcher.sees(3).await, changes(1..=3));
}

async fn an_unknown_commit_is_a_gap(feed: Arc<dyn Feed>) {
    let mut watcher = Watcher(&*feed, feed.head());
    tell(&*feed, [1]);
    assert_eq!(watcher.sees(1).await, changes([1]));
    drop(feed.ticket());
    assert_eq!(watcher.past_a_gap().await, [Saw::Gap]);
    tell(&*feed, [2]);
    assert_eq!(watcher.sees(1).await, changes([2]));
}

async fn a_foreign_position_is_a_gap(feed: Arc<dyn Feed>) {
    tell(&*feed, [1]);
    let head = feed.head();
    for foreign in [Position { epoch: !head.epoch, ..head }, Position { batch: 1 << 40, ..head }] {
        let mut watcher = Watcher(&*feed, foreign);
        assert_eq!(watcher.all().await.first(), Some(&Saw::Gap));
        assert_eq!(watcher.all().await, []);
    }
}

async fn what_is_of_no_interest_wakes_nobody_and_makes_no_gap(feed: Arc<dyn Feed>) {
    let interest = interest(Some("e"));
    let start = feed.head();
    let waits = feed.moved(start, &interest);
    let mut waits = std::pin::pin!(waits);
    assert!(tokio::time::timeout(Duration::from_millis(15), &mut waits).await.is_err());
    for n in 0..FEED_CHANGES / 400 + 10 {
        tell(&*feed, n * 400..n * 400 + 400);
        let woken = tokio::time::timeout(Duration::from_millis(15), &mut waits).await;
        assert!(woken.is_err(), "the events of others woke him");
    }
    drop(feed.ticket());
    let woken = tokio::time::timeout(Duration::from_secs(5), &mut waits).await.unwrap();
    assert_eq!(woken.epoch, start.epoch);
    assert!(woken.batch > start.batch + 10, "{woken:?}");
}

async fn nobody_is_carried_past_what_he_is_woken_for(feed: Arc<dyn Feed>) {
    let interest = interest(Some("e"));
    let start = feed.head();
    let mut waits = std::pin::pin!(feed.moved(start, &interest));
    assert!(tokio::time::timeout(Duration::from_millis(15), &mut waits).await.is_err());
    tell(&*feed, [1]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    feed.ticket().publish(vec![Change::Endpoint(EndpointChange::Updated, Arc::new(endpoint("e")))]);
    // He is woken, and does not notice yet.
    tokio::time::sleep(Duration::from_millis(100)).await;
    tell(&*feed, [2]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let woken = waits.await;
    assert_eq!((woken.batch, woken.index), (start.batch + 1, Position::END));
    let After::Batches(batches) = feed.after(woken) else { panic!("a gap") };
    assert!(matches!(batches[0].changes[..], [Change::Endpoint(..)]), "{batches:?}");
}

async fn whoever_is_too_slow_sees_a_gap_and_then_goes_on(feed: Arc<dyn Feed>) {
    let mut slow = Watcher(&*feed, feed.head());
    let mut quick = Watcher(&*feed, feed.head());
    let mut seen = 0;
    while seen < FEED_CHANGES + 2000 {
        tell(&*feed, seen..seen + 500);
        seen += 500;
        if seen % 8000 == 0 {
            assert_eq!(quick.all().await, changes(seen - 8000..seen));
        }
    }
    let missed = quick.all().await;
    assert!(!missed.contains(&Saw::Gap));
    assert_eq!(slow.all().await.first(), Some(&Saw::Gap));
    tell(&*feed, [7]);
    assert_eq!(slow.sees(1).await, changes([7]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_sees_what_any_of_them_tells() {
    let redis = Redis::start();
    let one = begun_by(Writers::Many, Some(redis.link())).await;
    let other = begun_by(Writers::Many, Some(redis.link())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (mut here, mut there) = (Watcher(&*one, one.head()), Watcher(&*other, other.head()));
    tell(&*one, 0..10);
    assert_eq!((here.sees(10).await, there.sees(10).await), (changes(0..10), changes(0..10)));
    // A place is the same wherever it is gone on from.
    let mut moved = Watcher(&*other, here.1);
    tell(&*other, 10..20);
    assert_eq!((here.sees(10).await, moved.sees(10).await), (changes(10..20), changes(10..20)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_processes_one_that_died_is_told_of_by_another() {
    let redis = Redis::start();
    let dead = begun_by(Writers::Many, Some(redis.link())).await;
    let one = begun_by(Writers::Many, Some(redis.link())).await;
    let mut watcher = Watcher(&*one, one.head());
    tell(&*dead, 0..5);
    assert_eq!(watcher.sees(5).await.last(), Some(&Saw::Change(4)));
    let name = dead.writer().expect("it has a name");
    drop(dead);
    // A third that starts knows nothing of who lives and who does not.
    let third = begun_by(Writers::Many, Some(redis.link())).await;
    tell(&*third, [7]);
    assert_eq!(watcher.sees(1).await, changes([7]));
    one.bury(&name);
    assert_eq!(watcher.past_a_gap().await, [Saw::Gap]);
    tell(&*third, [8]);
    assert_eq!(watcher.sees(1).await, changes([8]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ended_in_order_leaves_no_gap() {
    let redis = Redis::start();
    let feed = begun(Some(redis.link())).await;
    let mut watcher = Watcher(&*feed, feed.head());
    tell(&*feed, 0..10);
    assert_eq!(watcher.sees(10).await, changes(0..10));
    let position = watcher.1;
    tell(&*feed, 10..20);
    feed.close().await;
    drop(feed);
    let next = begun(Some(redis.link())).await;
    tell(&*next, 20..30);
    assert_eq!(Watcher(&*next, position).sees(20).await, changes(10..30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_died_leaves_a_gap() {
    let redis = Redis::start();
    let feed = begun(Some(redis.link())).await;
    let mut watcher = Watcher(&*feed, feed.head());
    tell(&*feed, 0..10);
    assert_eq!(watcher.sees(10).await, changes(0..10));
    let position = watcher.1;
    drop(feed);
    let next = begun(Some(redis.link())).await;
    let mut watcher = Watcher(&*next, position);
    assert_eq!(watcher.past_a_gap().await, [Saw::Gap]);
    tell(&*next, [1]);
    assert_eq!(watcher.sees(1).await, changes([1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_lost_is_a_gap_and_goes_on() {
    let redis = Redis::start();
    let feed = begun(Some(redis.link())).await;
    let mut watcher = Watcher(&*feed, feed.head());
    for n in 0..20 {
        tell(&*feed, [n]);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(watcher.sees(20).await, changes(0..20));
    for _ in 0..3 {
        let _: String = redis.ask(&["FLUSHALL"]);
        let saw = watcher.past_a_gap().await;
        assert!(saw.iter().all(|saw| *saw == Saw::Gap), "{saw:?}");
        tell(&*feed, [7]);
        assert_eq!(watcher.sees(1).await, changes([7]));
    }
    let _: String = redis.ask(&["FLUSHALL"]);
    tell(&*feed, [8]);
    watcher.past_a_gap().await;
    tell(&*feed, [9]);
    assert_eq!(watcher.sees(1).await, changes([9]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_with_all_it_had_leaves_no_gap() {
    let mut redis = Redis::start();
    let feed = begun(Some(redis.link())).await;
    let mut watcher = Watcher(&*feed, feed.head());
    tell(&*feed, 0..10);
    assert_eq!(watcher.sees(10).await, changes(0..10));
    redis.stop(true);
    tell(&*feed, 10..20);
    assert_eq!(watcher.all().await, []);
    let _redis = redis.start_again();
    assert_eq!(watcher.sees(10).await, changes(10..20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_empty_is_a_gap() {
    let mut redis = Redis::start();
    let feed = begun(Some(redis.link())).await;
    let mut watcher = Watcher(&*feed, feed.head());
    tell(&*feed, 0..10);
    assert_eq!(watcher.sees(10).await, changes(0..10));
    redis.stop(false);
    let _redis = redis.start_again();
    watcher.past_a_gap().await;
    tell(&*feed, [7]);
    assert_eq!(watcher.sees(1).await, changes([7]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_the_latest_is_a_gap_though_its_numbers_come_again() {
    let mut redis = Redis::start();
    let feed = begun(Some(redis.link())).await;
    let mut watcher = Watcher(&*feed, feed.head());
    tell(&*feed, 0..10);
    assert_eq!(watcher.sees(10).await, changes(0..10));
    let _: String = redis.ask(&["SAVE"]);
    tell(&*feed, [10]);
    assert_eq!(watcher.sees(1).await, changes([10]));
    redis.stop(false);
    // The number of the lost entry is given again.
    tell(&*feed, [11]);
    let _redis = redis.start_again();
    let saw = watcher.past_a_gap().await;
    assert!(saw.contains(&Saw::Gap), "{saw:?}");
    tell(&*feed, [12]);
    assert_eq!(watcher.sees(1).await, changes([12]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_for_long_costs_a_gap_and_no_memory() {
    let mut redis = Redis::start();
    let feed = begun(Some(redis.link())).await;
    let mut watcher = Watcher(&*feed, feed.head());
    redis.stop(true);
    for n in 0..FEED_CHANGES / 100 + 10 {
        tell(&*feed, n * 100..n * 100 + 100);
    }
    let _redis = redis.start_again();
    watcher.past_a_gap().await;
    tell(&*feed, [7]);
    assert_eq!(watcher.sees(1).await, changes([7]));
}

/// Tells one change after the other until one is seen.
async fn goes_on(feed: &dyn Feed, watcher: &mut Watcher<'_>) {
    for n in 100..160 {
        tell(feed, [n]);
        if watcher.all().await.last() == Some(&Saw::Change(n)) {
            return;
        }
    }
    panic!("the feed did not go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_goes_on_with_the_master_that_sentinel_made() {
    let mut service = Service::start();
    let feed = begun(Some(service.link())).await;
    let mut watcher = Watcher(&*feed, feed.head());
    tell(&*feed, 0..10);
    assert_eq!(watcher.sees(10).await, changes(0..10));
    service.master.stop(false);
    goes_on(&*feed, &mut watcher).await;
    let role: Vec<::redis::Value> = service.replica.ask(&["ROLE"]);
    assert_eq!(role[0], ::redis::Value::BulkString(b"master".to_vec()));
    tell(&*feed, 10..20);
    assert_eq!(watcher.sees(10).await, changes(10..20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_works_on_a_cluster_and_goes_on_when_a_replica_takes_over() {
    let mut cluster = RedisCluster::start();
    let one = begun_by(Writers::Many, Some(cluster.link())).await;
    let other = begun_by(Writers::Many, Some(cluster.link())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (mut here, mut there) = (Watcher(&*one, one.head()), Watcher(&*other, other.head()));
    tell(&*one, 0..10);
    assert_eq!((here.sees(10).await, there.sees(10).await), (changes(0..10), changes(0..10)));
    cluster.kill_master_of("hookseal:{feed}:stream");
    goes_on(&*one, &mut here).await;
    there.all().await;
    tell(&*other, 10..20);
    assert_eq!((here.sees(10).await, there.sees(10).await), (changes(10..20), changes(10..20)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_of_several_tells_late_is_a_gap() {
    let mut redis = Redis::start();
    let feed = begun_by(Writers::Many, Some(redis.link())).await;
    let mut watcher = Watcher(&*feed, feed.head());
    tell(&*feed, [1]);
    feed.flushed().await;
    assert_eq!(watcher.sees(1).await, changes([1]));
    redis.stop(true);
    tell(&*feed, [2]);
    let started = std::time::Instant::now();
    feed.flushed().await;
    assert!(started.elapsed() >= TOLD_WITHIN * 9 / 10, "it is waited for");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let redis = redis.start_again();
    // Others may have told by now what came of it.
    assert_eq!(watcher.past_a_gap().await, [Saw::Gap]);
    tell(&*feed, [3]);
    assert_eq!(watcher.sees(1).await, changes([3]));
    drop(redis);
}
