//! The daemon under steady load while something is broken, one scenario after the other, each judged by the
//! checker: `cargo bench --bench faults -- [nodes=1] [hold=60] [rate=200] [hosts=no] [SCENARIO…]`. `hold` is how
//! many seconds a fault lasts, `rate` how many events are published a second; with `hosts=yes` each node runs in
//! a network namespace of its own, and a cut is made by its packet filter (needs root, `ip` and `nft`). The observations of a run that
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

use fleet::faults::Absence;
use fleet::namespace::Bridge;
use fleet::publisher::PATIENCE;
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
/// As users have it.
const NODE_LEASE_SECS: u32 = 10;
/// How late what is due comes outside faults.
const LATE_P99_MS: i64 = 1_000;

/// Something that was timed, and how long it may take.
struct Timing {
    what: &'static str,
    took: Duration,
    limit: Duration,
}

fn timing(what: &'static str, took: Duration, limit_secs: u64) -> Timing {
    Timing { what, took, limit: Duration::from_secs(limit_secs) }
}

fn absence(absence: Absence) -> Vec<Timing> {
    assert!(absence.alive, "a node without its database lives");
    // Asked when the limit had just passed.
    let told = if absence.told { Duration::ZERO } else { Duration::MAX };
    vec![timing("told", told, 5), timing("ready again", absence.ready_again, 5)]
}

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
    play: fn(&Fleet, usize, Duration) -> Vec<Timing>,
}

const SCENARIOS: [Scenario; 11] = [
    Scenario { name: "kill", needs: Needs::Nothing, play: kill },
    Scenario { name: "terminate", needs: Needs::Nothing, play: terminate },
    Scenario { name: "pause", needs: Needs::Postgres, play: pause },
    Scenario { name: "database_restart", needs: Needs::Postgres, play: database_restart },
    Scenario { name: "database_away", needs: Needs::Postgres, play: database_away },
    Scenario { name: "database_cut", needs: Needs::Postgres, play: database_cut },
    Scenario { name: "redis_restart", needs: Needs::Redis, play: redis_restart },
    Scenario { name: "redis_flush", needs: Needs::Redis, play: redis_flush },
    Scenario { name: "redis_away", needs: Needs::Redis, play: redis_away },
    Scenario { name: "redis_cut", needs: Needs::Redis, play: redis_cut },
    Scenario { name: "all_cut", needs: Needs::Redis, play: all_cut },
];

fn kill(fleet: &Fleet, nodes: usize, _: Duration) -> Vec<Timing> {
    let kill = |round| {
        std::thread::sleep(BREATH);
        timing("ready after a kill", fleet.kill(round % nodes), 2)
    };
    (0..KILLS).map(kill).collect()
}

fn terminate(fleet: &Fleet, nodes: usize, _: Duration) -> Vec<Timing> {
    let terminate = |n| {
        std::thread::sleep(BREATH);
        timing("drained", fleet.terminate(n), 10)
    };
    (0..nodes).map(terminate).collect()
}

fn pause(fleet: &Fleet, _: usize, hold: Duration) -> Vec<Timing> {
    fleet.pause(0, hold);
    Vec::new()
}

fn database_restart(fleet: &Fleet, _: usize, _: Duration) -> Vec<Timing> {
    let restart = |mode| {
        std::thread::sleep(BREATH);
        absence(fleet.stop_database(mode, Duration::ZERO))
    };
    ["fast", "immediate"].into_iter().flat_map(restart).collect()
}

fn database_away(fleet: &Fleet, _: usize, hold: Duration) -> Vec<Timing> {
    absence(fleet.stop_database("immediate", hold))
}

fn database_cut(fleet: &Fleet, _: usize, hold: Duration) -> Vec<Timing> {
    absence(fleet.cut_database(0, hold))
}

fn redis_restart(fleet: &Fleet, _: usize, _: Duration) -> Vec<Timing> {
    for keeping in [true, false] {
        fleet.stop_redis(keeping, Duration::ZERO);
        std::thread::sleep(BREATH);
    }
    Vec::new()
}

fn redis_flush(fleet: &Fleet, _: usize, _: Duration) -> Vec<Timing> {
    for _ in 0..3 {
        fleet.flush_redis();
        std::thread::sleep(BREATH);
    }
    Vec::new()
}

fn redis_away(fleet: &Fleet, _: usize, hold: Duration) -> Vec<Timing> {
    fleet.stop_redis(false, hold);
    Vec::new()
}

fn redis_cut(fleet: &Fleet, _: usize, hold: Duration) -> Vec<Timing> {
    fleet.cut_redis(0, hold);
    Vec::new()
}

fn all_cut(fleet: &Fleet, _: usize, hold: Duration) -> Vec<Timing> {
    absence(fleet.cut_all(0, hold))
}

fn main() {
    let (mut nodes, mut hold, mut rate, mut hosts) = (1, 60, 200, false);
    let mut names = Vec::new();
    // Cargo adds `--bench`.
    for argument in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        match argument.split_once('=') {
            Some(("nodes", value)) => nodes = value.parse().unwrap(),
            Some(("hold", value)) => hold = value.parse().unwrap(),
            Some(("rate", value)) => rate = value.parse().unwrap(),
            Some(("hosts", value)) => hosts = value == "yes",
            Some(_) => panic!("{argument}: expected nodes, hold, rate or hosts"),
            None => names.push(argument),
        }
    }
    let _bridge = hosts.then(Bridge::raise);
    let known = |name: &String| SCENARIOS.iter().any(|scenario| scenario.name == name);
    assert!(names.iter().all(known), "{names:?}: an unknown scenario");
    let mut violated = Vec::new();
    for scenario in &SCENARIOS {
        let wanted = names.is_empty() || names.iter().any(|name| name == scenario.name);
        if wanted && !holds(scenario, nodes, Duration::from_secs(hold), rate, hosts) {
            violated.push(scenario.name);
        }
    }
    assert!(violated.is_empty(), "violated: {violated:?}");
}

fn holds(
    scenario: &Scenario,
    nodes: usize,
    hold: Duration,
    events_per_second: u32,
    hosts: bool,
) -> bool {
    println!("{}", scenario.name);
    let setup = Setup {
        nodes,
        postgres: nodes > 1 || scenario.needs != Needs::Nothing,
        redis: nodes > 1 || scenario.needs == Needs::Redis,
        events_per_second,
        lease_secs: NODE_LEASE_SECS,
        hosts,
        late_p99_ms: LATE_P99_MS,
    };
    let directory = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let fleet = Fleet::start(setup, directory.path());
    let mut timings = Vec::new();
    let slowest = fleet.under_load(|fleet| {
        std::thread::sleep(CALM / 4);
        fleet.fail_receiver(true);
        std::thread::sleep(CALM / 4);
        fleet.fail_receiver(false);
        std::thread::sleep(CALM / 2);
        timings = (scenario.play)(fleet, nodes, hold);
        std::thread::sleep(RECOVERY);
    });
    // A node that is stopped answers nothing; nor does one that was just killed, which is no delay.
    if scenario.name != "pause" {
        timings.push(Timing { what: "slowest publish", took: slowest, limit: PATIENCE });
    }
    let judgement = fleet.judge(QUIET_WITHIN);
    print!("{judgement}");
    timings.sort_by(|a, b| (a.what, b.took).cmp(&(b.what, a.took)));
    timings.dedup_by_key(|timing| timing.what);
    for Timing { what, took, limit } in &timings {
        let verdict = if took < limit { "" } else { " MISSED" };
        println!("   {what}: {took:.1?} at most, within {limit:?}{verdict}");
    }
    println!("   in {:.0} s", started.elapsed().as_secs_f64());
    let holds =
        judgement.exit_code() == 0 && timings.iter().all(|timing| timing.took < timing.limit);
    if !holds {
        println!("   kept in {}", directory.keep().display());
    }
    holds
}
