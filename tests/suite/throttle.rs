//! What every throttle does, and what only one across processes has to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hookseal::clock::AnchoredClock;
use hookseal::redis_link::RedisLink;
use hookseal::throttle::redis::RedisThrottle;
use hookseal_core::ports::{Clock as _, Throttle};
use hookseal_core::throttle::LocalThrottle;
use hookseal_core::time::Timestamp;

use crate::support::daemon::{Caller, Daemon, Home};
use crate::support::redis::{Redis, RedisCluster, Service};

/// A request every two seconds, so that a slow machine does not get one back while it spends them.
const A_MINUTE: u32 = 30;
const EVERY: Duration = Duration::from_secs(2);

fn now() -> Timestamp {
    AnchoredClock::start().now()
}

async fn take(throttle: &dyn Throttle, caller: &str) -> Result<(), Duration> {
    throttle.take(caller, now()).await
}

/// Uses up what a caller has; answers how much it was.
async fn spend(throttle: &dyn Throttle, caller: &str) -> u32 {
    let mut spent = 0;
    while take(throttle, caller).await.is_ok() {
        spent += 1;
        assert!(spent <= 2 * A_MINUTE, "nothing holds {caller} back");
    }
    spent
}

/// One of so many processes that alone it grants a single request.
fn one_of_many() -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(A_MINUTE as usize))
}

/// A throttle that asks Redis.
async fn begun(redis: RedisLink, live_nodes: Arc<AtomicUsize>) -> RedisThrottle {
    let runtime = tokio::runtime::Handle::current();
    let throttle = RedisThrottle::start(redis, A_MINUTE, live_nodes, now(), &runtime);
    asks_redis(&throttle).await;
    throttle
}

/// Waits until somebody is granted what only Redis grants.
async fn asks_redis(throttle: &RedisThrottle) {
    let deadline = Instant::now() + Duration::from_secs(20);
    for n in 0.. {
        let caller = format!("{:p} {n}", std::ptr::from_ref(throttle));
        if take(throttle, &caller).await.is_ok() && take(throttle, &caller).await.is_ok() {
            return;
        }
        assert!(Instant::now() < deadline, "Redis is not asked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

macro_rules! on_every_throttle {
    ($($name:ident),+ $(,)?) => {
        mod local {
            $(#[tokio::test]
            async fn $name() {
                let local = super::LocalThrottle::new(super::A_MINUTE, super::now());
                super::$name(&local).await;
            })+
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                let redis = super::Redis::start();
                super::$name(&super::begun(redis.link(), super::one_of_many()).await).await;
            })+
        }
    };
}

on_every_throttle! {
    a_caller_has_a_minutes_worth_at_once_and_is_told_when_to_come_back,
    what_was_spent_comes_back_evenly,
    callers_do_not_feel_each_other,
}

async fn a_caller_has_a_minutes_worth_at_once_and_is_told_when_to_come_back(
    throttle: &dyn Throttle,
) {
    for n in 0..A_MINUTE {
        assert_eq!(take(throttle, "a").await, Ok(()), "request {n}");
    }
    let wait = take(throttle, "a").await.expect_err("the minute is spent");
    assert!(!wait.is_zero() && wait <= EVERY, "{wait:?}");
}

async fn what_was_spent_comes_back_evenly(throttle: &dyn Throttle) {
    spend(throttle, "a").await;
    let wait = take(throttle, "a").await.expect_err("the minute is spent");
    tokio::time::sleep(wait / 2).await;
    assert!(take(throttle, "a").await.is_err(), "too early");
    // A stored instant has milliseconds.
    tokio::time::sleep(wait / 2 + Duration::from_millis(5)).await;
    assert_eq!(take(throttle, "a").await, Ok(()));
    assert!(take(throttle, "a").await.is_err(), "one came back");
}

async fn callers_do_not_feel_each_other(throttle: &dyn Throttle) {
    spend(throttle, "a").await;
    assert!(spend(throttle, "b").await >= A_MINUTE);
}

#[tokio::test]
async fn two_processes_together_grant_no_more_than_the_limit() {
    let redis = Redis::start();
    let one = begun(redis.link(), one_of_many()).await;
    let other = begun(redis.link(), one_of_many()).await;
    let start = Instant::now();
    let mut granted = 0;
    for _ in 0..A_MINUTE {
        for throttle in [&one, &other] {
            granted += u32::from(take(throttle, "a").await.is_ok());
        }
    }
    let came_back = u32::try_from(start.elapsed().as_secs() / EVERY.as_secs()).unwrap();
    assert!((A_MINUTE..=A_MINUTE + came_back).contains(&granted), "{granted}");
    assert!(take(&one, "a").await.is_err() && take(&other, "a").await.is_err());
}

#[tokio::test]
async fn no_caller_is_named_in_redis_and_none_is_kept_for_long() {
    let redis = Redis::start();
    let throttle = begun(redis.link(), one_of_many()).await;
    take(&throttle, "key_of_somebody").await.unwrap();
    let keys: Vec<String> = redis.ask(&["KEYS", "*"]);
    assert!(!keys.is_empty());
    for key in keys {
        assert!(key.starts_with("hookseal:rate:") && !key.contains("somebody"), "{key}");
        let lives_ms: i64 = redis.ask(&["PTTL", &key]);
        assert!((1..=60_000).contains(&lives_ms), "{key} lives for {lives_ms} ms");
    }
}

#[tokio::test]
async fn while_redis_is_away_a_process_grants_its_share_and_then_asks_again() {
    let mut redis = Redis::start();
    let live_nodes = one_of_many();
    let throttle = begun(redis.link(), live_nodes.clone()).await;
    redis.stop(true);
    live_nodes.store(2, Ordering::Relaxed);
    let (half, granted) = (A_MINUTE / 2, spend(&throttle, "a").await);
    // A slow machine gets one back meanwhile.
    assert!((half..=half + 1).contains(&granted), "{granted}");
    live_nodes.store(A_MINUTE as usize, Ordering::Relaxed);
    let _redis = redis.start_again();
    asks_redis(&throttle).await;
}

#[tokio::test]
async fn a_redis_that_says_nothing_holds_nobody_up() {
    let redis = Redis::start();
    let throttle = begun(redis.link(), one_of_many()).await;
    redis.signal("STOP");
    let start = Instant::now();
    for n in 0..50 {
        take(&throttle, &format!("caller {n}")).await.unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    redis.signal("CONT");
    asks_redis(&throttle).await;
}

#[tokio::test]
async fn the_limit_holds_on_a_cluster() {
    let cluster = RedisCluster::start();
    let one = begun(cluster.link(), one_of_many()).await;
    let other = begun(cluster.link(), one_of_many()).await;
    for caller in ["a", "b", "c", "d", "e"] {
        assert!(spend(&one, caller).await >= A_MINUTE);
        assert!(take(&other, caller).await.is_err(), "{caller}");
    }
}

#[tokio::test]
async fn redis_is_asked_again_after_a_failover() {
    let mut service = Service::start();
    let throttle = begun(service.link(), one_of_many()).await;
    service.master.stop(false);
    take(&throttle, "a").await.unwrap();
    asks_redis(&throttle).await;
}

const ENDPOINTS: &str = "/v1/webhooks/endpoints";
const LIMIT: (&str, &str) = ("HOOKSEAL_REQUESTS_PER_MINUTE", "30");

/// Lets new callers ask until one is counted in Redis.
fn counts_in(redis: &Redis, daemon: &Daemon) -> bool {
    (0..40).any(|_| {
        daemon.tenant().caller.get(ENDPOINTS).ok();
        std::thread::sleep(Duration::from_millis(50));
        !redis.ask::<Vec<String>>(&["KEYS", "hookseal:rate:*"]).is_empty()
    })
}

#[test]
fn no_request_fails_because_redis_does() {
    let mut redis = Redis::start();
    let url = redis.url();
    let home = Home::new(&[("HOOKSEAL_REDIS_URL", &url), LIMIT]);
    let daemon = home.start();
    let is_held_back = |caller: &Caller| {
        let mut answers = (0..2 * A_MINUTE).map(|_| caller.get(ENDPOINTS));
        let answer = answers.find(|answer| answer.status != 200).expect("the limit holds");
        assert_eq!(answer.status, 429, "{answer:?}");
        let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=2).contains(&seconds), "{seconds}");
    };
    assert!(counts_in(&redis, &daemon));
    is_held_back(&daemon.tenant().caller);
    redis.stop(false);
    is_held_back(&daemon.tenant().caller);
}

#[test]
fn redis_is_spoken_to_over_tls_if_its_certificate_is_known() {
    let (redis, url, certificate) = Redis::start_with_tls();
    let stranger = Home::new(&[("HOOKSEAL_REDIS_URL", &url), LIMIT]);
    assert!(!counts_in(&redis, &stranger.start()), "an unknown certificate was trusted");
    let certificate = certificate.to_str().unwrap();
    let home = Home::new(&[("HOOKSEAL_REDIS_URL", &url), LIMIT, ("SSL_CERT_FILE", certificate)]);
    assert!(counts_in(&redis, &home.start()));
}
