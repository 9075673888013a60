//! `hookseal bench` as a stranger runs it.

use serde_json::Value;

use crate::support::daemon::{Ended, Home, ended};

fn bench(home: &Home, arguments: &[&str]) -> (Ended, Value) {
    let file = home.path().join("bench.json");
    let mut command = home.command();
    command.arg("bench").args(arguments).arg("--json").arg(&file);
    let ended = ended(&mut command);
    let json = std::fs::read_to_string(file).unwrap_or_default();
    (ended, serde_json::from_str(&json).unwrap_or_default())
}

fn number(json: &Value, path: &str) -> f64 {
    let found = json.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("expected a number at {path}: {json:#}"))
}

#[test]
fn a_bench_tells_the_numbers_of_a_run_in_which_all_arrived() {
    let home = Home::new(&[]);
    let short = ["one", "--seconds", "2", "--limit-seconds", "1", "--connections", "8"];
    let (ended, json) = bench(&home, &short);
    let text = format!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.success, "{text}");
    assert!(text.contains("samples, all good") && text.contains("arrived"), "{text}");
    for path in [
        "/limit_per_second",
        "/median/deliveries_per_second",
        "/median/ratio",
        "/runs/0/verified",
        "/runs/0/commit/p50_ms",
        "/runs/0/daemon_peak_bytes",
        "/runs/0/phases/0/deliveries_per_second",
        "/runs/0/phases/0/last_to_first_quarter",
        "/runs/0/phases/0/publish_to_arrival/p99_ms",
        "/runs/0/phases/0/publish_to_202/p99_ms",
        "/runs/0/phases/0/cpu_us_per_delivery/daemon",
    ] {
        assert!(number(&json, path) > 0.0, "{path}: {json:#}");
    }
    for path in ["/runs/0/missing", "/runs/0/forged", "/runs/0/repeated", "/runs/0/unannounced"] {
        assert_eq!(number(&json, path), 0.0, "{path}: {json:#}");
    }
    // The warm-up is accepted as well.
    assert!(number(&json, "/runs/0/accepted") >= number(&json, "/runs/0/phases/0/deliveries"));
    assert!(!home.data_dir().exists(), "it works on a directory of its own");
}

#[test]
fn a_steady_rate_is_kept() {
    let home = Home::new(&[]);
    let arguments = ["paced", "--seconds", "3", "--limit-seconds", "0", "--rate", "20"];
    let (ended, json) = bench(&home, &[&arguments[..], &["--endpoints", "2"]].concat());
    assert!(ended.success, "{}{}", ended.stdout, ended.stderr);
    let deliveries = number(&json, "/runs/0/phases/0/deliveries");
    assert!((50.0..=70.0).contains(&deliveries), "{json:#}");
}

#[test]
fn every_endpoint_of_an_organization_gets_its_event() {
    let home = Home::new(&[]);
    let arguments = ["fanout", "--seconds", "1", "--limit-seconds", "0", "--connections", "2"];
    let (ended, json) = bench(&home, &[&arguments[..], &["--endpoints", "10"]].concat());
    assert!(ended.success, "{}{}", ended.stdout, ended.stderr);
    assert_eq!(number(&json, "/runs/0/accepted") % 10.0, 0.0, "{json:#}");
    assert_eq!(number(&json, "/runs/0/missing"), 0.0, "{json:#}");
}

#[test]
fn a_place_that_cannot_be_used_is_named() {
    let home = Home::new(&[]);
    for (arguments, message) in [
        (["--database", "mysql://127.0.0.1"], "database: expected a postgres: URL"),
        (["--redis", "redis+cluster://127.0.0.1:1"], "redis: expected a URL"),
    ] {
        let (ended, _) = bench(&home, &arguments);
        assert!(!ended.success && ended.stderr.contains(message), "{}", ended.stderr);
    }
}

#[test]
fn those_that_hang_are_told_apart_from_the_others() {
    let home = Home::new(&[]);
    let arguments = ["noisy", "--seconds", "3", "--rate", "40", "--connections", "16"];
    let shape = ["--endpoints", "10", "--hanging", "2", "--hanging-share", "0.25"];
    let (ended, json) = bench(&home, &[&arguments[..], &shape].concat());
    let text = format!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.success, "{text}");
    assert!(text.contains("2 hang with 25.0 % of the events"), "{text}");
    // 30 of the 40 a second are for the healthy ones, in both halves.
    for half in ["without", "with"] {
        let rate = number(&json, &format!("/runs/0/noisy/healthy/deliveries_per_second/{half}"));
        assert!((24.0..=36.0).contains(&rate), "{json:#}");
    }
    for path in ["publish_to_arrival_p50_ms/ratio", "publish_to_arrival_p99_ms/ratio"] {
        assert!(number(&json, &format!("/runs/0/noisy/healthy/{path}")) > 0.0, "{json:#}");
    }
    assert_eq!(number(&json, "/runs/0/missing"), 0.0, "{json:#}");
    let (ended, _) = bench(&home, &["noisy", "--endpoints", "2", "--hanging", "2"]);
    assert!(
        !ended.success && ended.stderr.contains("more than those that hang"),
        "{}",
        ended.stderr
    );
}

#[test]
fn endpoints_without_work_are_measured_asleep() {
    let home = Home::new(&[]);
    let (ended, json) = bench(&home, &["idle", "--endpoints", "30", "--seconds", "2"]);
    let text = format!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.success && text.contains("asleep"), "{text}");
    for stage in ["fresh", "registered", "used", "asleep"] {
        let of = |what: &str| number(&json, &format!("/runs/0/idle/{stage}/{what}"));
        assert!(of("resident_bytes") > 1e6 && of("peak_bytes") >= of("resident_bytes"), "{json:#}");
    }
    // An actor stays for a second after its last work.
    assert!(number(&json, "/runs/0/idle/seconds_to_sleep") > 0.5, "{json:#}");
    assert!(number(&json, "/runs/0/idle/asleep_seconds") >= 2.0, "{json:#}");
    assert!(number(&json, "/runs/0/idle/cpu_seconds") < 2.0, "{json:#}");
    let counts = (number(&json, "/runs/0/accepted"), number(&json, "/runs/0/missing"));
    assert_eq!(counts, (30.0, 0.0), "{json:#}");
}

#[test]
fn what_waits_for_one_endpoint_survives_a_kill_and_arrives() {
    let home = Home::new(&[]);
    let arguments = ["backlog", "--seconds", "2", "--rate", "20", "--connections", "8"];
    let shape = ["--endpoints", "5", "--pending", "300"];
    let (ended, json) = bench(&home, &[&arguments[..], &shape].concat());
    let text = format!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.success && text.contains("ready after kill -9"), "{text}");
    let waited = number(&json, "/runs/0/backlog/pending");
    assert!(waited >= 300.0, "{json:#}");
    assert!(number(&json, "/runs/0/backlog/drain/deliveries") >= waited, "{json:#}");
    for path in [
        "memory_without/resident_bytes",
        "memory_with/resident_bytes",
        "healthy/publish_to_arrival_p99_ms/ratio",
        "seconds_to_ready",
        "alone_per_second",
        "drain/per_second",
        "drain_ratio",
    ] {
        assert!(number(&json, &format!("/runs/0/backlog/{path}")) > 0.0, "{path}: {json:#}");
    }
    assert_eq!(number(&json, "/runs/0/missing"), 0.0, "{json:#}");
}

#[test]
fn nothing_that_was_accepted_is_lost_when_the_daemon_is_killed() {
    let home = Home::new(&[]);
    let arguments = ["restart", "--seconds", "6", "--rate", "40", "--connections", "8"];
    let (ended, json) = bench(&home, &[&arguments[..], &["--endpoints", "10"]].concat());
    let text = format!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.success && text.contains("ready after kill -9"), "{text}");
    for path in ["seconds_to_ready", "accepted_before"] {
        assert!(number(&json, &format!("/runs/0/restart/{path}")) > 0.0, "{path}: {json:#}");
    }
    assert_eq!(number(&json, "/runs/0/restart/lost"), 0.0, "{json:#}");
    // Publishers met the kill, and went on after it.
    assert!(number(&json, "/runs/0/phases/0/broken") > 0.0, "{json:#}");
    let before = number(&json, "/runs/0/restart/accepted_before");
    assert!(number(&json, "/runs/0/accepted") > before + 40.0, "{json:#}");
}

#[test]
fn more_than_is_possible_is_offered() {
    let home = Home::new(&[]);
    let arguments = ["overload", "--seconds", "2", "--connections", "64", "--endpoints", "4"];
    let (ended, json) = bench(&home, &arguments);
    let text = format!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.success && text.contains("deliveries/s under overload"), "{text}");
    assert!(number(&json, "/runs/0/overload/ratio") > 0.0, "{json:#}");
    let offered = number(&json, "/runs/0/phases/1/offered_per_second");
    let possible = number(&json, "/runs/0/phases/0/events_per_second");
    assert!((offered / possible - 2.0).abs() < 0.01, "{json:#}");
    assert_eq!(number(&json, "/runs/0/missing"), 0.0, "{json:#}");
}

#[test]
fn retries_come_when_the_receiver_asked_for_them() {
    let home = Home::new(&[]);
    let arguments = ["retries", "--seconds", "4", "--endpoints", "5", "--pending", "3600"];
    let (ended, json) = bench(&home, &arguments);
    let text = format!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.success && text.contains("CPU of many to few"), "{text}");
    let of = |half: &str, what: &str| number(&json, &format!("/runs/0/retries/{half}/{what}"));
    for half in ["few", "many"] {
        assert!(of(half, "retries") > 0.0 && of(half, "lateness/p50_ms") > 0.0, "{json:#}");
        assert!(of(half, "early_ms") < 50.0, "{json:#}");
    }
    // One of two was taken at once; what waited from the first half on waits still.
    assert!(of("many", "scheduled") > 10.0 * of("few", "scheduled"), "{json:#}");
}

#[test]
fn a_past_is_made_and_removed() {
    let home = Home::new(&[]);
    let arguments = ["history", "--seconds", "2", "--connections", "8", "--endpoints", "20"];
    let (ended, json) = bench(&home, &[&arguments[..], &["--past", "3000"]].concat());
    let text = format!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.success && text.contains("the janitor"), "{text}");
    for path in
        ["seconds_to_ready", "deliveries_per_second/ratio", "janitor/deliveries_per_second/ratio"]
    {
        assert!(number(&json, &format!("/runs/0/history/{path}")) > 0.0, "{path}: {json:#}");
    }
    assert_eq!(number(&json, "/runs/0/history/removed"), 3000.0, "{json:#}");
    assert_eq!(number(&json, "/runs/0/missing"), 0.0, "{json:#}");
}
