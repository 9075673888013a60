//! The report: a table for people, and all numbers as JSON.

use std::collections::BTreeMap;

use hookseal_core::error::{Error, Result};
use serde::Serialize;

use super::Options;
use super::finding::Finding;
use super::limit::Limit;
use super::measured::Measured;
use super::run::Run;
use super::samples::{Summary, median};
use super::scenario::{Scenario, Settings};

/// What was measured, and on what.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    scenario: Scenario,
    settings: Settings,
    database: &'static str,
    redis: bool,
    cores: usize,
    limit: Option<Limit>,
    limit_per_second: Option<f64>,
    runs: Vec<Run>,
    median: Median,
}

/// The middle of all runs.
#[derive(Debug, Serialize)]
struct Median {
    deliveries_per_second: f64,
    /// Deliveries a second as a part of the limit.
    ratio: Option<f64>,
    last_to_first_quarter: f64,
    publish_to_arrival_p50_ms: f64,
    publish_to_arrival_p99_ms: f64,
    publish_to_202_p50_ms: f64,
    publish_to_202_p99_ms: f64,
    cpu_us_per_delivery: BTreeMap<&'static str, f64>,
    daemon_peak_bytes: f64,
    commit_p50_ms: f64,
    commit_p99_ms: f64,
}

impl Median {
    fn of(runs: &[Run], limit: Option<f64>) -> Self {
        let of = |number: fn(&Run) -> f64| median(runs.iter().map(number).collect());
        let last = |number: fn(&Measured) -> f64| {
            median(runs.iter().filter_map(Run::last).map(number).collect())
        };
        let who =
            runs.iter().filter_map(Run::last).flat_map(|last| last.cpu_us_per_delivery.keys());
        let cpu = who.map(|who| {
            let all = runs.iter().filter_map(|run| run.last()?.cpu_us_per_delivery.get(who));
            (*who, median(all.copied().collect()))
        });
        let deliveries_per_second = last(|phase| phase.deliveries_per_second);
        Self {
            deliveries_per_second,
            ratio: limit.map(|limit| deliveries_per_second / limit),
            last_to_first_quarter: last(|phase| phase.last_to_first_quarter),
            publish_to_arrival_p50_ms: last(|phase| phase.publish_to_arrival.p50_ms),
            publish_to_arrival_p99_ms: last(|phase| phase.publish_to_arrival.p99_ms),
            publish_to_202_p50_ms: last(|phase| phase.publish_to_202.p50_ms),
            publish_to_202_p99_ms: last(|phase| phase.publish_to_202.p99_ms),
            cpu_us_per_delivery: cpu.collect(),
            daemon_peak_bytes: of(|run| run.daemon_peak_bytes as f64),
            commit_p50_ms: of(|run| run.commit.p50_ms),
            commit_p99_ms: of(|run| run.commit.p99_ms),
        }
    }
}

impl Report {
    pub(super) fn new(
        options: &Options,
        database: &'static str,
        limit: Option<Limit>,
        runs: Vec<Run>,
    ) -> Self {
        let limit_per_second = limit.as_ref().map(Limit::per_second);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            scenario: options.scenario,
            settings: options.settings.clone(),
            database,
            redis: options.redis.is_some(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            median: Median::of(&runs, limit_per_second),
            limit_per_second,
            limit,
            runs,
        }
    }

    /// Whether nothing was lost or forged in any run.
    pub(super) fn is_sound(&self) -> bool {
        self.runs.iter().all(Run::is_sound)
    }

    pub(super) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|error| Error::broken("the report", error))
    }

    /// For people, a line for each number with its name before it.
    pub(super) fn table(&self) -> String {
        let mut table = Table(String::new());
        let endpoints = self.scenario.layout(&self.settings).endpoints;
        let redis = if self.redis { " and Redis" } else { "" };
        table.line(
            &format!("bench {}", format!("{:?}", self.scenario).to_lowercase()),
            &format!(
                "{endpoints} endpoints, {} bytes of data, {}{redis}, {} cores",
                self.settings.payload, self.database, self.cores
            ),
        );
        if let Some(limit) = &self.limit {
            table.line(
                "limit",
                &format!(
                    "{:.0} deliveries/s with nothing stored, {:.0} µs of CPU each; {:.2} cores used by others",
                    limit.per_second(),
                    limit.cpu_us_per_delivery(),
                    limit.cores_of_others
                ),
            );
        }
        for (number, run) in (1..).zip(&self.runs) {
            table.run(number, run, self.limit_per_second, self.cores);
        }
        if self.runs.len() > 1 {
            table.medians(&self.median);
        }
        table.0
    }
}

struct Table(String);

impl Table {
    fn line(&mut self, name: &str, value: &str) {
        let line = format!("{name:<30} {value}");
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    fn run(&mut self, number: usize, run: &Run, limit: Option<f64>, cores: usize) {
        self.0.push('\n');
        self.line(&format!("run {number}"), "");
        for phase in &run.phases {
            self.phase(phase, limit, cores);
        }
        for (name, value) in run.finding.iter().flat_map(Finding::lines) {
            self.line(name, &value);
        }
        self.line("arrived", &arrived(run));
        let samples = match run.forged {
            0 => format!("{} samples, all good", run.verified),
            forged => format!("{} samples, {forged} MORE NOT GOOD", run.verified),
        };
        self.line("verified and decrypted", &samples);
        self.line("daemon's memory, at most", &mebibytes(run.daemon_peak_bytes as f64));
        self.line(
            "commit of one row, ms",
            &format!("p50 {:.2}, p99 {:.2}", run.commit.p50_ms, run.commit.p99_ms),
        );
    }

    fn phase(&mut self, phase: &Measured, limit: Option<f64>, cores: usize) {
        let offered = phase.offered_per_second;
        let offered = offered.map_or(String::new(), |rate| format!(", {rate:.0} events/s offered"));
        let ratio = limit.map(|limit| phase.deliveries_per_second / limit);
        let ratio = ratio.map_or(String::new(), |ratio| format!(", {ratio:.2} of the limit"));
        self.line(
            &format!("{} for {:.0} s", phase.phase, phase.seconds),
            &format!(
                "{:.0} deliveries/s{ratio}; {:.0} events/s accepted{offered}",
                phase.deliveries_per_second, phase.events_per_second
            ),
        );
        let windows: Vec<_> = phase.windows.iter().map(|window| format!("{window:.0}")).collect();
        self.line("  by five seconds", &windows.join(" "));
        self.line("  last to first quarter", &format!("{:.2}", phase.last_to_first_quarter));
        self.line("  publish to arrival, ms", &ranks(&phase.publish_to_arrival));
        self.line("  publish to 202, ms", &ranks(&phase.publish_to_202));
        self.line("  CPU, µs a delivery", &shares(&phase.cpu_us_per_delivery));
        self.line("  used by others", &format!("{:.2} of {cores} cores", phase.cores_of_others));
        let refused = phase.refused.iter().map(|(status, refused)| {
            let Summary { p50_ms, p99_ms, .. } = refused.took;
            format!(
                "{} with {status} ({} with Retry-After; p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms)",
                refused.count, refused.with_retry_after
            )
        });
        let mut refused: Vec<_> = refused.collect();
        if phase.broken > 0 {
            refused.push(format!("{} connections broke", phase.broken));
        }
        if refused.is_empty() {
            refused.push("nothing".to_owned());
        }
        self.line("  refused", &refused.join(", "));
    }

    fn medians(&mut self, median: &Median) {
        self.0.push('\n');
        self.line("medians", "");
        let ratio =
            median.ratio.map_or(String::new(), |ratio| format!(", {ratio:.2} of the limit"));
        self.line("  deliveries/s", &format!("{:.0}{ratio}", median.deliveries_per_second));
        self.line("  last to first quarter", &format!("{:.2}", median.last_to_first_quarter));
        for (name, p50_ms, p99_ms) in [
            (
                "  publish to arrival, ms",
                median.publish_to_arrival_p50_ms,
                median.publish_to_arrival_p99_ms,
            ),
            ("  publish to 202, ms", median.publish_to_202_p50_ms, median.publish_to_202_p99_ms),
            ("  commit of one row, ms", median.commit_p50_ms, median.commit_p99_ms),
        ] {
            self.line(name, &format!("p50 {p50_ms:.2}, p99 {p99_ms:.2}"));
        }
        self.line("  CPU, µs a delivery", &shares(&median.cpu_us_per_delivery));
        self.line("  daemon's memory, at most", &mebibytes(median.daemon_peak_bytes));
    }
}

fn arrived(run: &Run) -> String {
    let mut text = match run.missing {
        0 => format!("all of {}", run.accepted),
        missing => {
            format!("{} of {}: {missing} NOT WITHIN 30 s", run.accepted - missing, run.accepted)
        }
    };
    text.push_str(&format!(", {} more than once", run.repeated));
    if run.unannounced > 0 {
        text.push_str(&format!(", {} whose publisher was not answered", run.unannounced));
    }
    text
}

fn ranks(summary: &Summary) -> String {
    let Summary { p50_ms, p90_ms, p99_ms, max_ms, .. } = summary;
    format!("p50 {p50_ms:.1}, p90 {p90_ms:.1}, p99 {p99_ms:.1}, max {max_ms:.1}")
}

pub(super) fn shares(micros: &BTreeMap<&'static str, f64>) -> String {
    let each = micros.iter().map(|(who, micros)| format!("{who} {micros:.0}"));
    let all: f64 = micros.values().sum();
    format!("{}; all {all:.0}", each.collect::<Vec<_>>().join(", "))
}

pub(super) fn mebibytes(bytes: f64) -> String {
    format!("{:.0} MiB", bytes / (1024.0 * 1024.0))
}
