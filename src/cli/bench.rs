//! Measures what an installation can take.

use std::path::PathBuf;

use clap::Args;
use hookseal_core::error::Result;

use crate::bench::Options;
use crate::bench::scenario::{Scenario, Settings};

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// What to measure
    #[arg(value_enum, default_value = "spread")]
    scenario: Scenario,
    /// A postgres:// URL, whose user may make databases: one is made for the run and dropped after it. SQLite in a
    /// temporary directory when left out
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// A redis:// URL. The keys hookseal* of its database are used: there must be none, and none are left
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Where the temporary directory is made: the disk that SQLite is measured on
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Seconds that are measured, after three to warm up; 30 unless set. With `idle` those asleep, 10 unless set;
    /// with `restart` half before the kill, half from it on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
    /// Connections that publish; 512 unless set, 8 where each carries batches, 64 with `idle` and `restart`, 4096 with
    /// `overload`
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    connections: Option<usize>,
    /// Endpoints; as many as the scenario has when left out
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    endpoints: Option<usize>,
    /// Attempts in flight to each endpoint, and in all where the limit is measured (256 unless set)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    window: Option<u32>,
    /// Events a second where the rate is fixed; 650 with `paced` and `backlog`, 2000 with
    /// `noisy`, 1000 with `restart` unless set
    #[arg(long, value_name = "R", value_parser = positive)]
    rate: Option<f64>,
    /// The rate of `paced`, `overload` (2 unless set) and `history` (0.5 unless set) as a part of the most that is
    /// possible, which is measured first
    #[arg(long, value_name = "S", conflicts_with = "rate", value_parser = positive)]
    share: Option<f64>,
    /// Endpoints of `noisy` that hang in its second half; 10 unless set
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    hanging: Option<usize>,
    /// The part of all events that goes to these, from 0 to 1; as large as their part of the endpoints unless set
    #[arg(long, value_name = "S", value_parser = part)]
    hanging_share: Option<f64>,
    /// Events that `backlog` has wait for one endpoint, whose receiver answers 503. Every pause between attempts is 5 s
    /// there, so that all of them are due when the receiver is back. With `retries` those that wait for a retry
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = many)]
    pending: usize,
    /// Events of the past that `history` has in the rows
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = many)]
    past: usize,
    /// How often the measurement is repeated, each time on a fresh database
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    runs: usize,
    /// Seconds for what the machine can do at most: sealed, signed and sent with nothing stored. 0 leaves it out; 10
    /// unless set, where throughput is what is asked for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=3600))]
    limit_seconds: Option<u64>,
    /// Bytes of each event's data
    #[arg(long, value_name = "BYTES", default_value_t = 300, value_parser = payload)]
    payload: usize,
    /// A file for all numbers
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=100_000).contains(number));
    number.ok_or_else(|| "expected an integer from 1 to 100000".to_owned())
}

fn many(text: &str) -> std::result::Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=10_000_000).contains(number));
    number.ok_or_else(|| "expected an integer from 1 to 10000000".to_owned())
}

fn payload(text: &str) -> std::result::Result<usize, String> {
    let number = text.parse().ok().filter(|number| (11..=200_000).contains(number));
    number.ok_or_else(|| "expected an integer from 11 to 200000".to_owned())
}

fn part(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..1.0).contains(number));
    number.ok_or_else(|| "expected a number from 0 to less than 1".to_owned())
}

fn positive(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.001..=1e6).contains(number));
    number.ok_or_else(|| "expected a number greater than zero".to_owned())
}

pub(super) fn run(args: BenchArgs) -> Result<()> {
    crate::bench::run(&Options {
        scenario: args.scenario,
        settings: Settings {
            seconds: args.seconds.unwrap_or(args.scenario.seconds()),
            connections: args.connections,
            endpoints: args.endpoints,
            window: args.window,
            rate: args.rate.unwrap_or(args.scenario.rate()),
            share: args.share,
            hanging: args.hanging,
            hanging_share: args.hanging_share,
            pending: args.pending,
            past: args.past,
            payload: args.payload,
        },
        limit_seconds: args.limit_seconds.unwrap_or(args.scenario.limit_seconds()),
        runs: args.runs,
        database: args.database,
        redis: args.redis,
        data_dir: args.data_dir,
        json: args.json,
    })
}
