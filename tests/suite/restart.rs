//! Accepted means durable: the daemon is killed again and again under load and loses nothing; a
//! stop that is asked for doubles nothing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::json;

use crate::support::daemon::{Caller, Home, PLATFORM_KEY, ended, wait};

const KILLS: usize = 20;
/// Window of each endpoint: what may be in flight, and so be doubled, at one kill.
const WINDOW: usize = 8;

/// What a publisher heard, by session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    Accepted,
    Unknown,
}

/// Publishes one event after the other until told to stop.
fn publish_until(
    stop: &AtomicBool,
    base: &str,
    event: impl Fn(&str) -> serde_json::Value,
    lane: usize,
    round: usize,
) -> Vec<(String, Heard)> {
    let platform = Caller::new(base, PLATFORM_KEY);
    let mut heard = Vec::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let session = format!("vs_{round}_{lane}_{n}");
        n += 1;
        let body = event(&session).to_string();
        let headers = [("content-type", "application/json")];
        match platform.try_send("POST", "/v1/platform/events", &headers, &body) {
            Ok(answer) if answer.status == 202 => heard.push((session, Heard::Accepted)),
            Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            Err(_) => heard.push((session, Heard::Unknown)),
        }
    }
    heard
}

#[test]
fn killed_at_random_it_loses_nothing_and_doubles_only_what_was_in_flight() {
    let home = Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "200ms,200ms,200ms")]);
    let receivers = [Receiver::start(Behaviour::Accept), Receiver::start(Behaviour::FailFirst(1))];
    let mut heard: HashMap<String, Heard> = HashMap::new();
    let mut daemon = home.start();
    let mut tenant = daemon.tenant();
    for receiver in &receivers {
        tenant.register(receiver, json!({ "max_in_flight": WINDOW }));
    }
    for round in 0..KILLS {
        let (stop, url) = (AtomicBool::new(false), daemon.url.clone());
        std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..3)
                .map(|lane| {
                    let (stop, tenant, url) = (&stop, &tenant, &url);
                    scope.spawn(move || {
                        let event = |session: &str| tenant.event(session, json!({ "s": session }));
                        publish_until(stop, url, event, lane, round)
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(rand::random_range(30..300)));
            daemon.signal("KILL");
            wait(Duration::from_secs(5), "the end of the process", || !daemon.is_running());
            stop.store(true, Ordering::Relaxed);
            for lane in lanes {
                heard.extend(lane.join().unwrap());
            }
        });
        let asked = Instant::now();
        daemon = home.start();
        assert!(
            asked.elapsed() < Duration::from_secs(10),
            "start after a kill: {:?}",
            asked.elapsed()
        );
        tenant.caller.base.clone_from(&daemon.url);
        tenant.platform.base.clone_from(&daemon.url);
    }
    tenant.settle(Duration::from_secs(60));
    let accepted = heard.values().filter(|heard| **heard == Heard::Accepted).count();
    assert!(accepted > KILLS, "there was load: {accepted}");
    for receiver in &receivers {
        let mut times: HashMap<String, usize> = HashMap::new();
        for arrival in receiver.arrivals().iter().filter(|arrival| arrival.accepted()) {
            assert!(arrival.verified);
            let plaintext = arrival.plaintext.as_ref().unwrap();
            let session = plaintext["metadata"]["verification_session_id"].as_str().unwrap();
            assert_eq!(plaintext["data"]["s"], session);
            assert!(heard.contains_key(session), "invented: {session}");
            *times.entry(session.to_owned()).or_default() += 1;
        }
        let lost: Vec<_> = heard
            .iter()
            .filter(|(session, heard)| **heard == Heard::Accepted && !times.contains_key(*session))
            .collect();
        assert!(lost.is_empty(), "lost {} of {accepted}", lost.len());
        let doubled: usize = times.values().map(|times| times - 1).sum();
        assert!(doubled <= KILLS * WINDOW, "{doubled} doubled");
    }
    let rows: HashSet<_> = tenant.deliveries("").iter().map(|d| d["status"].to_string()).collect();
    assert_eq!(rows, HashSet::from(["\"succeeded\"".to_owned()]));
}

#[test]
fn a_stop_that_is_asked_for_drains_and_doubles_nothing() {
    let home = Home::new(&[]);
    let receiver = Receiver::start(Behaviour::Accept);
    let mut heard: HashMap<String, Heard> = HashMap::new();
    let mut daemon = home.start();
    let mut tenant = daemon.tenant();
    tenant.register(&receiver, json!({}));
    for round in 0..3 {
        let (stop, url) = (AtomicBool::new(false), daemon.url.clone());
        std::thread::scope(|scope| {
            let lane = scope.spawn(|| {
                let event = |session: &str| tenant.event(session, json!({}));
                publish_until(&stop, &url, event, 0, round)
            });
            std::thread::sleep(Duration::from_millis(300));
            daemon.signal("TERM");
            let asked = Instant::now();
            wait(Duration::from_secs(12), "the end of the process", || !daemon.is_running());
            assert!(asked.elapsed() < Duration::from_secs(10), "drained in {:?}", asked.elapsed());
            stop.store(true, Ordering::Relaxed);
            heard.extend(lane.join().unwrap());
        });
        assert!(daemon.terminate_status().success());
        daemon = home.start();
        tenant.caller.base.clone_from(&daemon.url);
        tenant.platform.base.clone_from(&daemon.url);
    }
    tenant.settle(Duration::from_secs(20));
    let mut sessions: Vec<String> = receiver
        .arrivals()
        .iter()
        .map(|a| a.plaintext.as_ref().unwrap()["metadata"]["verification_session_id"].to_string())
        .collect();
    let arrived = sessions.len();
    sessions.sort_unstable();
    sessions.dedup();
    assert_eq!(sessions.len(), arrived, "doubled");
    for (session, heard) in &heard {
        let there = sessions.contains(&json!(session).to_string());
        assert!(there || *heard == Heard::Unknown, "lost {session}");
    }
    assert!(arrived > 10, "there was load: {arrived}");
}

#[test]
fn a_hanging_attempt_is_given_up_and_its_claim_handed_back_when_the_drain_ends() {
    let home = Home::new(&[("HOOKSEAL_DRAIN_TIMEOUT", "500ms")]);
    let receiver = Receiver::start(Behaviour::Hang);
    let daemon = home.start();
    let mut tenant = daemon.tenant();
    tenant.register(&receiver, json!({}));
    tenant.publish("vs_1", json!({}));
    wait(Duration::from_secs(10), "the request", || receiver.arrived() == 1);
    let asked = Instant::now();
    assert!(daemon.terminate().success());
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    receiver.behave(Behaviour::Accept);
    let daemon = home.start();
    tenant.caller.base.clone_from(&daemon.url);
    tenant.settle(Duration::from_secs(10));
    let delivery = &tenant.deliveries("")[0];
    assert_eq!((&delivery["status"], &delivery["attempt_count"]), (&json!("succeeded"), &json!(1)));
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let second = ended(&mut home.command());
    assert!(!second.success);
    assert!(second.stderr.contains("another daemon is running on it"), "{}", second.stderr);
    drop(daemon);
}
