//! The daemon under steady load while something is broken, one scenario after the other, each judged by the
//! checker: `cargo bench --bench faults -- [nodes=1] [hold=60] [rate=200] [SCENARIO…]`. `hold` is how many
//! seconds a fault lasts, `rate` how many events are published a second. The observations of a run that
//! breaks an invariant are kept, for `cargo run --example checker -- DIRECTORY`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "shared with the tests, which use all of it")]

#[path = "../tests/fleet/mod.rs"]
mod fleet;
#[path = "../tests/checker/mod.rs"]
mod judge;
#[path = "../tests/suite/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use fleet::faults::Server;
use fleet::{Fleet, Setup};

/// Load before the first fault: what is judged by its lateness.
const CALM: Duration = Duration::from_secs(10);
/// Load after the last one.
const RECOVERY: Duration = Duration::from_secs(20);
/// How long all that is left may take.
const QUIET_WITHIN: Duration = Duration::from_secs(120);
/// Between two kills.
const BREATH: Duration = Duration::from_secs(2);
const KILLS: usize = 20;

const READY_WITHIN: Duration = Duration::from_secs(2);
const DRAINED_WITHIN: Duration = Duration::from_secs(10);
const RECONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// What a scenario needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Postgres,
    Redis,
}

struct Scenario {
    name: &'static str,
    needs: Needs,
    /// Breaks things in a fleet of so many nodes, each for so long.
    play: fn(&Fleet, usize, Duration),
}

const SCENARIOS: [Scenario; 10] = [
    Scenario {
        name: "kill",
        needs: Needs::Nothing,
        play: |fleet, nodes, _| {
            for round in 0..KILLS {
                within(READY_WITHIN, "ready", fleet.kill(round % nodes));
                std::thread::sleep(BREATH);
            }
        },
    },
    Scenario {
        name: "terminate",
        needs: Needs::Nothing,
        play: |fleet, nodes, _| {
            for n in 0..nodes {
                within(DRAINED_WITHIN, "drained", fleet.terminate(n));
                std::thread::sleep(BREATH);
            }
        },
    },
    Scenario { name: "pause", needs: Needs::Postgres, play: |fleet, _, hold| fleet.pause(0, hold) },
    Scenario {
        name: "database_restart",
        needs: Needs::Postgres,
        play: |fleet, _, _| {
            for mode in ["fast", "immediate"] {
                within(RECONNECTED_WITHIN, "ready", fleet.stop_database(mode, Duration::ZERO));
                std::thread::sleep(BREATH);
            }
        },
    },
    Scenario {
        name: "database_away",
        needs: Needs::Postgres,
        play: |fleet, _, hold| {
            within(RECONNECTED_WITHIN, "ready", fleet.stop_database("immediate", hold));
        },
    },
    Scenario {
        name: "database_cut",
        needs: Needs::Postgres,
        play: |fleet, _, hold| fleet.cut(0, Server::Database, hold),
    },
    Scenario {
        name: "redis_restart",
        needs: Needs::Redis,
        play: |fleet, _, _| {
            for keeping in [true, false] {
                fleet.stop_redis(keeping, Duration::ZERO);
                std::thread::sleep(BREATH);
            }
        },
    },
    Scenario {
        name: "redis_flush",
        needs: Needs::Redis,
        play: |fleet, _, _| {
            for _ in 0..3 {
                fleet.flush_redis();
                std::thread::sleep(BREATH);
            }
        },
    },
    Scenario {
        name: "redis_away",
        needs: Needs::Redis,
        play: |fleet, _, hold| fleet.stop_redis(false, hold),
    },
    Scenario {
        name: "redis_cut",
        needs: Needs::Redis,
        play: |fleet, _, hold| fleet.cut(0, Server::Redis, hold),
    },
];

fn within(limit: Duration, what: &str, took: Duration) {
    println!("   {what} in {:.2} s", took.as_secs_f64());
    assert!(took <= limit, "{what} in {took:?}, not in {limit:?}");
}

fn main() {
    let (mut nodes, mut hold, mut rate) = (1, 60, 200);
    let mut names = Vec::new();
    // Cargo adds `--bench`.
    for argument in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        match argument.split_once('=') {
            Some(("nodes", value)) => nodes = value.parse().unwrap(),
            Some(("hold", value)) => hold = value.parse().unwrap(),
            Some(("rate", value)) => rate = value.parse().unwrap(),
            Some(_) => panic!("{argument}: expected nodes, hold or rate"),
            None => names.push(argument),
        }
    }
    let known = |name: &String| SCENARIOS.iter().any(|scenario| scenario.name == name);
    assert!(names.iter().all(known), "{names:?}: an unknown scenario");
    let mut violated = Vec::new();
    for scenario in &SCENARIOS {
        let wanted = names.is_empty() || names.iter().any(|name| name == scenario.name);
        if wanted && !holds(scenario, nodes, Duration::from_secs(hold), rate) {
            violated.push(scenario.name);
        }
    }
    assert!(violated.is_empty(), "violated: {violated:?}");
}

fn holds(scenario: &Scenario, nodes: usize, hold: Duration, events_per_second: u32) -> bool {
    println!("{}", scenario.name);
    let setup = Setup {
        nodes,
        postgres: nodes > 1 || scenario.needs != Needs::Nothing,
        redis: nodes > 1 || scenario.needs == Needs::Redis,
        events_per_second,
    };
    let directory = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let fleet = Fleet::start(setup, directory.path());
    fleet.under_load(|fleet| {
        std::thread::sleep(CALM / 4);
        fleet.fail_receiver(true);
        std::thread::sleep(CALM / 4);
        fleet.fail_receiver(false);
        std::thread::sleep(CALM / 2);
        (scenario.play)(fleet, nodes, hold);
        std::thread::sleep(RECOVERY);
    });
    let judgement = fleet.judge(QUIET_WITHIN);
    println!("{judgement}   in {:.0} s", started.elapsed().as_secs_f64());
    if judgement.exit_code() != 0 {
        println!("   kept in {}", directory.keep().display());
    }
    judgement.exit_code() == 0
}
