//! Very many deliveries that wait for a retry, spread over an hour: what each retry costs, and how late it is, beside
//! those of a schedule that holds few.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use hookseal_core::error::{Error, Result};
use serde::Serialize;

use super::finding::Pair;
use super::load::{Load, Phase, Rate};
use super::measured::spent;
use super::phase::Field;
use super::receiver::{Mood, Standing, TAKEN_OF};
use super::report::{mebibytes, shares};
use super::samples::{Summary, now_ns};
use super::usage::Memory;

/// What the retries of the larger half are spread over: as long as a `Retry-After` is honoured.
const SPREAD: Duration = Duration::from_secs(3600);
/// How long the few are published for. They are put off by whole seconds: all at once, they would come back in one part
/// of each, and cost less together than many cost one by one.
const PUBLISHED_FOR: Duration = Duration::from_secs(8);
/// Each connection looks only when its next event is due whether all were published: so many that this is soon.
const LOOKS_EVERY: Duration = Duration::from_millis(100);
const CONNECTIONS_AT_MOST: usize = 64;
/// From the first of the few that is put off to the first that comes back: time enough to put all of them off.
const LEAD: Duration = Duration::from_secs(12);
/// How long nothing may have been put off before all have been.
const QUIET: Duration = Duration::from_secs(3);
const QUIET_WITHIN: Duration = Duration::from_secs(300);

/// What retries cost.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Retries {
    few: Taken,
    many: Taken,
    /// Processor time of all processes, in microseconds a retry.
    cpu_us_per_retry: Pair,
}

/// Retries of a schedule that holds so many.
#[derive(Clone, Debug, Serialize)]
struct Taken {
    scheduled: usize,
    retries: usize,
    per_second: f64,
    /// Later than the receiver asked for.
    lateness: Summary,
    /// The most that one came too early.
    early_ms: f64,
    cpu_us_per_retry: BTreeMap<&'static str, f64>,
    memory: Memory,
}

/// Plays both halves, at one rate of retries.
pub(super) async fn play(
    field: &mut Field<'_>,
    put_off: &Phase,
    pending: usize,
) -> Result<Retries> {
    let measured = put_off.measured + put_off.warm_up;
    let few = pending as f64 * (measured.as_secs_f64() + 2.0) / SPREAD.as_secs_f64();
    let few = (few.ceil() as usize).max(1);
    let rate = (few * TAKEN_OF as usize) as f64 / PUBLISHED_FOR.as_secs_f64();
    let connections = (rate * LOOKS_EVERY.as_secs_f64()).ceil() as usize;
    let connections = connections.clamp(1, CONNECTIONS_AT_MOST);
    let steadily = Load::Open { connections, rate: Rate::Fixed(rate) };
    let end = LEAD + measured + Duration::from_secs(2);
    let few = retried(field, &Phase { load: steadily, ..put_off.clone() }, few, LEAD..end).await?;
    let many = retried(field, put_off, pending, Duration::ZERO..SPREAD).await?;
    let all = |taken: &Taken| taken.cpu_us_per_retry.values().sum();
    Ok(Retries { cpu_us_per_retry: Pair::of(all(&few), all(&many)), few, many })
}

/// Has `count` deliveries put off until within `spread` from now, and looks at those that come back.
async fn retried(
    field: &mut Field<'_>,
    put_off: &Phase,
    count: usize,
    spread: Range<Duration>,
) -> Result<Taken> {
    let started = Instant::now();
    let at = |after: Duration| now_ns() + after.as_nanos() as u64;
    let mood = Mood::Later { from_ns: at(spread.start), until_ns: at(spread.end) };
    field.publish(&Phase { mood, ..put_off.clone() }, count * TAKEN_OF as usize).await?;
    let scheduled = quiet(field).await?;
    let rest = (spread.start + put_off.warm_up).saturating_sub(started.elapsed());
    field.watch(put_off.name, "waiting", rest).await?;
    field.receiver.lateness().await?;
    let from = field.meters.read().await?;
    field.watch(put_off.name, "measuring", put_off.measured).await?;
    let until = field.meters.read().await?;
    let late_ns = field.receiver.lateness().await?;
    let seconds = (until.at_ns - from.at_ns) as f64 / 1e9;
    let (retries, each) = (late_ns.len(), 1e6 / late_ns.len().max(1) as f64);
    let early_ns = late_ns.iter().map(|late| late.min(&0).unsigned_abs()).max();
    Ok(Taken {
        scheduled,
        retries,
        per_second: retries as f64 / seconds,
        lateness: Summary::of(late_ns.iter().map(|late| late.max(&0).unsigned_abs()).collect()),
        early_ms: early_ns.unwrap_or_default() as f64 / 1e6,
        cpu_us_per_retry: spent(&from, &until)
            .into_iter()
            .map(|(who, s)| (who, s * each))
            .collect(),
        memory: Memory::of(field.daemon.child.id()),
    })
}

/// Waits until no more is put off; answers how much is.
async fn quiet(field: &mut Field<'_>) -> Result<usize> {
    let (mut before, mut since) = (0, Instant::now());
    let deadline = since + QUIET_WITHIN;
    loop {
        field.must_run()?;
        let Standing { put_off, returned, .. } = field.receiver.standing().await?;
        if put_off != before {
            (before, since) = (put_off, Instant::now());
        }
        if since.elapsed() > QUIET {
            return Ok((put_off - returned) as usize);
        }
        if Instant::now() > deadline {
            return Err(Error::broken("the run", "first attempts do not come to an end"));
        }
        field.progress.show(&format!("{}: {put_off} put off", field.label));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

impl Retries {
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        for taken in [&self.few, &self.many] {
            let Summary { p50_ms, p99_ms, max_ms, .. } = taken.lateness;
            lines.extend([
                (
                    "scheduled",
                    format!(
                        "{}; {} retries, {:.0}/s, {} resident",
                        taken.scheduled,
                        taken.retries,
                        taken.per_second,
                        mebibytes(taken.memory.resident_bytes as f64)
                    ),
                ),
                (
                    "  late, ms",
                    format!(
                        "p50 {p50_ms:.1}, p99 {p99_ms:.1}, max {max_ms:.1}; early by {:.1} at most",
                        taken.early_ms
                    ),
                ),
                ("  CPU, µs a retry", shares(&taken.cpu_us_per_retry)),
            ]);
        }
        let Pair { without, with, ratio } = self.cpu_us_per_retry;
        lines.push(("CPU of many to few", format!("{with:.0} to {without:.0} µs: {ratio:.2}")));
        lines
    }
}
