//! Many endpoints that had an event each and have nothing to do: what they cost while they sleep.

use std::time::{Duration, Instant};

use hookseal_core::error::{Error, Result};
use serde::Serialize;

use super::load::Phase;
use super::phase::Field;
use super::report::mebibytes;
use super::usage::{Memory, cpu_seconds};

/// How long actors may take to go to sleep after the last event has arrived.
const SLEEPS_WITHIN: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);
const ACTORS: &str = "hookseal_endpoint_actors";
const STORE_CALLS: &str = "hookseal_store_calls_total";

/// What sleeping endpoints cost.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Idle {
    endpoints: usize,
    /// Before anything was asked of the daemon.
    fresh: Memory,
    /// After the endpoints were registered.
    registered: Memory,
    /// After each of them got an event.
    used: Memory,
    asleep: Memory,
    /// From the last arrival until no actor was left.
    seconds_to_sleep: f64,
    /// What follows is of so many seconds.
    asleep_seconds: f64,
    cpu_seconds: f64,
    store_calls: f64,
}

/// Has each endpoint get an event by `once`, waits until all sleep, and looks on for the time that is measured.
pub(super) async fn play(field: &mut Field<'_>, once: &Phase) -> Result<Idle> {
    let daemon = field.daemon.child.id();
    let endpoints = field.layout.endpoints;
    let registered = Memory::of(daemon);
    field.publish(once, endpoints).await?;
    field.settle(once.name).await?;
    let used = Memory::of(daemon);
    let arrived = Instant::now();
    loop {
        field.must_run()?;
        let awake = field.daemon.metric(ACTORS).await?;
        if awake == 0.0 {
            break;
        }
        if arrived.elapsed() > SLEEPS_WITHIN {
            return Err(Error::broken("the daemon", format!("{awake} actors do not sleep")));
        }
        field.progress.show(&format!("{}: {awake} actors awake", field.label));
        tokio::time::sleep(LOOK).await;
    }
    let seconds_to_sleep = arrived.elapsed().as_secs_f64();
    let (cpu, calls) = (cpu_seconds(daemon), field.daemon.metric(STORE_CALLS).await?);
    let looked_at = Instant::now();
    field.watch(once.name, "asleep", once.measured).await?;
    Ok(Idle {
        endpoints,
        fresh: field.fresh,
        registered,
        used,
        asleep: Memory::of(daemon),
        seconds_to_sleep,
        asleep_seconds: looked_at.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds(daemon) - cpu,
        store_calls: field.daemon.metric(STORE_CALLS).await? - calls,
    })
}

impl Idle {
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let memory = |memory: &Memory| {
            let (resident, peak) = (memory.resident_bytes as f64, memory.peak_bytes as f64);
            format!("{} resident, {} at most so far", mebibytes(resident), mebibytes(peak))
        };
        let since = self.asleep.resident_bytes as f64 - self.fresh.resident_bytes as f64;
        let each = since / 1024.0 / self.endpoints as f64;
        let seconds = self.asleep_seconds;
        vec![
            ("memory before any use", memory(&self.fresh)),
            ("  with the endpoints", memory(&self.registered)),
            ("  after an event to each", memory(&self.used)),
            ("  asleep", format!("{}; {each:.2} KiB an endpoint", memory(&self.asleep))),
            ("until all were asleep", format!("{:.1} s", self.seconds_to_sleep)),
            (
                "CPU asleep",
                format!(
                    "{:.2} s in {seconds:.0} s: {:.2} % of a core",
                    self.cpu_seconds,
                    self.cpu_seconds * 100.0 / seconds
                ),
            ),
            ("calls of the store asleep", format!("{:.0} in {seconds:.0} s", self.store_calls)),
        ]
    }
}
