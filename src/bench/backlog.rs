//! Very many events wait for one endpoint that is away: what that costs, what the others notice, whether they survive
//! the daemon's end, and how fast they leave when the endpoint is back.

use std::time::{Duration, Instant};

use hookseal_core::error::Result;
use serde::Serialize;

use super::finding::Neighbours;
use super::layout::Crowd;
use super::load::Phase;
use super::measured::Measured;
use super::phase::Field;
use super::receiver::Mood;
use super::report::mebibytes;
use super::samples::now_ns;
use super::usage::Memory;

/// How long nothing may arrive before the drain is given up: longer than any pause between attempts.
const STALLS_AFTER: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

/// What a backlog costs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Backlog {
    pending: usize,
    seconds_to_pile_up: f64,
    /// The same load to the others, without the backlog and with it.
    memory_without: Memory,
    memory_with: Memory,
    healthy: Neighbours,
    /// From the kill until the next life was ready.
    seconds_to_ready: f64,
    /// What the endpoint took with nothing waiting.
    alone_per_second: f64,
    drain: Drain,
    /// The drain as a part of that.
    drain_ratio: f64,
}

/// How what waited left.
#[derive(Clone, Copy, Debug, Serialize)]
struct Drain {
    deliveries: usize,
    /// From the endpoint's return to its first delivery …
    seconds_to_first: f64,
    /// … and from there to the last.
    seconds: f64,
    per_second: f64,
    /// The same without the first and the last tenth.
    middle_per_second: f64,
}

/// Plays the phases of the scenario, with a crash and a drain after them.
pub(super) async fn play(
    field: &mut Field<'_>,
    [alone, without, pile, with]: [&Phase; 4],
    pending: usize,
) -> Result<(Vec<Measured>, Backlog)> {
    let alone = field.play(alone, None).await?;
    let without = field.play(without, None).await?;
    let memory_without = Memory::of(field.daemon.child.id());
    let started = Instant::now();
    field.publish(pile, pending).await?;
    let seconds_to_pile_up = started.elapsed().as_secs_f64();
    let pending = field.account.missing(Crowd::Fickle);
    let with = field.play(with, None).await?;
    let memory_with = Memory::of(field.daemon.child.id());
    let ready = field.crash().await?;
    let drain = drain(field).await?;
    let backlog = Backlog {
        pending,
        seconds_to_pile_up,
        memory_without,
        memory_with,
        healthy: Neighbours::of(&without, &with),
        seconds_to_ready: ready.as_secs_f64(),
        alone_per_second: alone.deliveries_per_second,
        drain_ratio: drain.per_second / alone.deliveries_per_second.max(1.0),
        drain,
    };
    Ok((vec![alone, without, with], backlog))
}

/// Has the endpoint come back, and waits for what waits for it.
async fn drain(field: &mut Field<'_>) -> Result<Drain> {
    let back_ns = now_ns();
    field.turn(Mood::Well).await?;
    let (mut missing, mut moved_at) = (usize::MAX, Instant::now());
    loop {
        field.must_run()?;
        field.account.arrive(field.receiver.take().await?);
        let now_missing = field.account.missing(Crowd::Everyone);
        if now_missing < missing {
            (missing, moved_at) = (now_missing, Instant::now());
        }
        if missing == 0 || moved_at.elapsed() > STALLS_AFTER {
            break;
        }
        field.progress.show(&format!("{} drain: {missing} waiting", field.label));
        tokio::time::sleep(LOOK).await;
    }
    let arrivals = field.account.arrivals_in(back_ns..u64::MAX, Crowd::Fickle);
    Ok(Drain::of(back_ns, arrivals.collect()))
}

impl Drain {
    fn of(back_ns: u64, mut arrivals_ns: Vec<u64>) -> Self {
        arrivals_ns.sort_unstable();
        let at = |tenths: usize| {
            let last = arrivals_ns.len().saturating_sub(1);
            let index = last * tenths / 10;
            (index, arrivals_ns.get(index).copied().unwrap_or(back_ns))
        };
        let per_second = |from: usize, to: usize| {
            let ((from, from_ns), (to, to_ns)) = (at(from), at(to));
            (to - from) as f64 * 1e9 / (to_ns - from_ns).max(1) as f64
        };
        Self {
            deliveries: arrivals_ns.len(),
            seconds_to_first: (at(0).1 - back_ns) as f64 / 1e9,
            seconds: (at(10).1 - at(0).1) as f64 / 1e9,
            per_second: per_second(0, 10),
            middle_per_second: per_second(1, 9),
        }
    }
}

impl Backlog {
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let (before, with) = (self.memory_without.resident_bytes, self.memory_with.resident_bytes);
        let (before, with) = (before as f64, with as f64);
        let Drain { deliveries, seconds_to_first, seconds, per_second, middle_per_second } =
            self.drain;
        let mut lines = vec![
            (
                "waiting for one endpoint",
                format!("{}, piled up in {:.0} s", self.pending, self.seconds_to_pile_up),
            ),
            (
                "  resident memory",
                format!(
                    "{} before, {} with them: {} more",
                    mebibytes(before),
                    mebibytes(with),
                    mebibytes(with - before)
                ),
            ),
        ];
        lines.extend(self.healthy.lines());
        lines.extend([
            ("ready after kill -9", format!("{:.2} s", self.seconds_to_ready)),
            (
                "drain",
                format!(
                    "{deliveries} in {seconds:.1} s, the first after {seconds_to_first:.1} s: {per_second:.0}/s, {:.2} of \
                     {:.0}/s with nothing waiting; {middle_per_second:.0}/s in its middle",
                    self.drain_ratio, self.alone_per_second
                ),
            ),
        ]);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_told_from_its_first_arrival() {
        let second = 1_000_000_000;
        let drain = Drain::of(second, (3..=13).map(|at| at * second).collect());
        assert_eq!((drain.deliveries, drain.seconds_to_first, drain.seconds), (11, 2.0, 10.0));
        assert_eq!((drain.per_second, drain.middle_per_second), (1.0, 1.0));
        assert_eq!(Drain::of(5, Vec::new()).per_second, 0.0);
    }
}
