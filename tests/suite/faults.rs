//! Runs of the whole daemon through faults, judged by the checker. `benches/faults.rs` has the long ones.

use std::time::Duration;

use crate::fleet::{Fleet, Setup};

const EVENTS_PER_SECOND: u32 = 50;
/// How long the last deliveries may take, retries of the failing endpoint included.
const QUIET_WITHIN: Duration = Duration::from_secs(30);

/// A stop or a recovery ends; how soon is measured by the long runs.
const RECOVERED_WITHIN: Duration = Duration::from_secs(20);

/// A way to Redis that takes long, there and back less than what is left to it.
const FAR: Duration = Duration::from_millis(100);

const ALONE: Setup = Setup {
    nodes: 1,
    postgres: false,
    redis: false,
    events_per_second: EVENTS_PER_SECOND,
    lease_secs: 2,
    hosts: false,
    // The machine of a test may be busy: the long runs look at the time.
    late_p99_ms: 20_000,
};
const THREE: Setup = Setup { nodes: 3, postgres: true, redis: true, ..ALONE };

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Fails, and keeps the observations, unless every invariant holds.
fn must_hold(setup: Setup, faults: impl FnOnce(&Fleet)) {
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(setup, directory.path());
    fleet.under_load(|fleet| {
        pause(500);
        fleet.fail_receiver(true);
        pause(1_500);
        fleet.fail_receiver(false);
        pause(2_500);
        faults(fleet);
    });
    let judgement = fleet.judge(QUIET_WITHIN);
    if judgement.exit_code() != 0 {
        // Once more at the end: who reads a log of many tests may see no more of this one.
        let violated = judgement.violated();
        panic!("{}\n{judgement}\nviolated: {violated:?}", directory.keep().display());
    }
}

#[test]
fn killed_and_stopped_in_order_it_keeps_every_promise() {
    let setup = Setup { postgres: false, ..ALONE };
    must_hold(setup, |fleet| {
        for _ in 0..3 {
            fleet.kill(0);
            pause(700);
        }
        let drained = fleet.terminate(0);
        assert!(drained < RECOVERED_WITHIN, "drained in {drained:?}");
        pause(1_500);
    });
}

#[test]
fn through_an_absence_of_its_database_it_keeps_every_promise() {
    let setup = Setup { postgres: true, ..ALONE };
    must_hold(setup, |fleet| {
        let absence = fleet.stop_database("immediate", Duration::from_secs(3));
        let well = absence.alive && absence.ready_again < RECOVERED_WITHIN;
        assert!(well, "{absence:?}");
        pause(3_000);
    });
}

#[test]
fn of_three_nodes_one_is_killed_one_paused_and_one_stopped_and_every_promise_is_kept() {
    must_hold(THREE, |fleet| {
        fleet.kill(0);
        pause(1_500);
        fleet.pause(1, Duration::from_secs(6));
        pause(1_500);
        let drained = fleet.terminate(2);
        assert!(drained < RECOVERED_WITHIN, "drained in {drained:?}");
        pause(1_500);
    });
}

#[test]
fn of_three_nodes_one_is_cut_off_its_database_and_one_off_redis_and_every_promise_is_kept() {
    must_hold(THREE, |fleet| {
        let absence = fleet.cut_database(0, Duration::from_secs(6));
        let well = absence.alive && absence.ready_again < RECOVERED_WITHIN;
        assert!(well, "{absence:?}");
        pause(1_500);
        fleet.cut_redis(1, Duration::from_secs(3));
        pause(1_500);
    });
}

#[test]
fn three_nodes_keep_every_promise_while_redis_forgets_and_is_away() {
    must_hold(THREE, |fleet| {
        fleet.flush_redis();
        pause(2_000);
        fleet.stop_redis(false, Duration::from_secs(3));
        pause(2_000);
        fleet.stop_redis(true, Duration::ZERO);
        pause(2_000);
    });
}

/// What one node tells late is not told after what another made of it, also where the other finds it in the rows.
#[test]
fn three_nodes_keep_every_promise_while_one_is_far_from_a_redis_that_starts_anew() {
    must_hold(THREE, |fleet| {
        fleet.slow_redis(0, FAR);
        for _ in 0..4 {
            fleet.stop_redis(true, Duration::ZERO);
            pause(2_500);
        }
    });
}
