//! Who spends the processor's time, and how much memory was needed: as `/proc` and Redis tell it.

use std::collections::BTreeMap;

use hookseal_core::error::{Error, Result};
use redis::aio::MultiplexedConnection;
use serde::Serialize;

use super::database::Sessions;
use super::samples::now_ns;

/// Processor time so far, in seconds, at one moment.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) at_ns: u64,
    /// By who spent it.
    pub(super) seconds: BTreeMap<&'static str, f64>,
    /// All processors of the machine, whoever used them.
    pub(super) machine: f64,
}

/// What is read.
pub(super) struct Meters {
    pub(super) daemon: u32,
    pub(super) receiver: u32,
    /// A PostgreSQL that runs on this host.
    pub(super) postgres: Option<Sessions>,
    pub(super) redis: Option<MultiplexedConnection>,
}

impl Meters {
    pub(super) async fn read(&mut self) -> Result<Reading> {
        let mut seconds = BTreeMap::from([
            ("daemon", cpu_seconds(self.daemon)),
            ("receiver", cpu_seconds(self.receiver)),
            ("driver", cpu_seconds(std::process::id())),
        ]);
        if let Some(postgres) = &self.postgres {
            let processes = postgres.processes().await?;
            seconds.insert("postgres", processes.into_iter().map(cpu_seconds).sum());
        }
        if let Some(redis) = &mut self.redis {
            seconds.insert("redis", redis_seconds(redis).await?);
        }
        Ok(Reading { at_ns: now_ns(), seconds, machine: machine_seconds() })
    }
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Memory {
    pub(super) resident_bytes: u64,
    /// The most that it had so far.
    pub(super) peak_bytes: u64,
}

impl Memory {
    /// All zero when the process is not there.
    pub(super) fn of(process: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kib.unwrap_or_default() * 1024
        };
        Self { resident_bytes: bytes("VmRSS:"), peak_bytes: bytes("VmHWM:") }
    }
}

/// Processor time of a process so far, its ended children apart; zero when it is not there.
pub(super) fn cpu_seconds(process: u32) -> f64 {
    stat(process).map_or(0.0, |stat| stat.seconds)
}

/// Whether `process` runs here and is called `name`.
pub(super) fn is_here(process: u32, name: &str) -> bool {
    stat(process).is_some_and(|stat| stat.name.contains(name))
}

/// What all processors worked so far, whoever for.
pub(super) fn machine_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    parse_machine(&text) / rustix::param::clock_ticks_per_second() as f64
}

struct Stat {
    name: String,
    seconds: f64,
}

fn stat(process: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    parse_stat(&text, ticks)
}

/// Fields as proc(5) numbers them: the name is the second, utime and stime the 14th and 15th. The name may hold
/// anything, so that what follows is counted from its end.
fn parse_stat(text: &str, ticks_per_second: f64) -> Option<Stat> {
    let (name, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    let name = name.split_once('(')?.1.to_owned();
    Some(Stat { name, seconds: (user + system) / ticks_per_second })
}

/// Of the numbers of the first line of `/proc/stat` the fourth and fifth are idle and iowait, and what follows the
/// eighth is counted in the first two already.
fn parse_machine(text: &str) -> f64 {
    let numbers = text.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    let busy = numbers.enumerate().filter(|(field, _)| matches!(field, 0..=2 | 5..=7));
    busy.filter_map(|(_, number)| number.parse::<f64>().ok()).sum()
}

async fn redis_seconds(connection: &mut MultiplexedConnection) -> Result<f64> {
    let mut info = redis::cmd("INFO");
    let info: String = info
        .arg("cpu")
        .query_async(connection)
        .await
        .map_err(|error| Error::unavailable("Redis", error))?;
    let of = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse::<f64>().ok())
    };
    of("used_cpu_sys").zip(of("used_cpu_user")).map(|(system, user)| system + user).ok_or_else(
        || Error::broken("Redis", "expected used_cpu_sys and used_cpu_user in INFO cpu"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_moves_no_field() {
        let text = "42 (a ) b) S 7 0 0 0 0 0 0 0 0 0 150 50 30 10 20 0 1 0";
        let stat = parse_stat(text, 100.0).expect("a stat");
        assert_eq!((&*stat.name, stat.seconds), ("a ) b", 2.0));
    }

    #[test]
    fn waiting_is_no_work() {
        assert_eq!(parse_machine("cpu  1 2 4 1000 1000 8 16 32 64 128\ncpu0 1"), 63.0);
    }

    #[test]
    fn this_process_has_memory() {
        let Memory { resident_bytes, peak_bytes } = Memory::of(std::process::id());
        assert!(resident_bytes > 1 << 20 && peak_bytes >= resident_bytes);
        assert!(stat(std::process::id()).is_some() && machine_seconds() > 0.0);
    }
}
