//! `hookseal bench`: what an installation of this size can take. A daemon of its own is put under load, from set-up
//! to report, beside a measurement of what the machine can do at most.
//!
//! Four processes: the daemon, a receiver, for a while the one that measures the limit, and this one, which publishes.

mod account;
mod arrivals;
mod backlog;
pub(crate) mod child;
mod connection;
mod database;
mod driver;
mod finding;
mod history;
mod idle;
mod layout;
pub(crate) mod limit;
mod load;
mod measured;
mod past;
mod payload;
mod phase;
mod progress;
pub(crate) mod receiver;
mod report;
mod requests;
mod restart;
mod retries;
mod run;
mod samples;
pub(crate) mod scenario;
mod stage;
mod turns;
mod usage;

use std::path::{Path, PathBuf};

use hookseal_core::error::{Error, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::demo::receiver::Keys;
use database::Place;
use limit::Limit;
use report::Report;
use run::Run;
use scenario::{Scenario, Settings};

/// What is published.
const EVENT_TYPE: &str = "verification.session.succeeded";
const TRIGGER_TYPE: &str = "verification_session";

/// What to measure, and where.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) scenario: Scenario,
    pub(crate) settings: Settings,
    /// How long the limit is measured; not at all when zero.
    pub(crate) limit_seconds: u64,
    pub(crate) runs: usize,
    /// A PostgreSQL in which a database may be made; SQLite when none.
    pub(crate) database: Option<String>,
    pub(crate) redis: Option<String>,
    /// Where the temporary directory is made.
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the numbers go.
    pub(crate) json: Option<PathBuf>,
}

/// Measures and reports.
///
/// # Errors
/// [`Error::Invalid`] for a URL or directory, [`Error::Broken`] when something that was accepted did not arrive, did
/// not verify, or a process ended.
pub(crate) fn run(options: &Options) -> Result<()> {
    options.scenario.judge(&options.settings)?;
    let place = Place::judge(options.database.as_deref(), options.redis.as_deref())?;
    let directory = match &options.data_dir {
        None => tempfile::tempdir(),
        Some(parent) => tempfile::tempdir_in(parent),
    };
    let directory =
        directory.map_err(|error| Error::unavailable("a temporary directory", error))?;
    let (limit, runs) =
        actix::System::new().block_on(measure(options, &place, directory.path()))?;
    let report = Report::new(options, place.kind(), limit, runs);
    print!("{}", report.table());
    if let Some(file) = &options.json {
        std::fs::write(file, report.json()?)
            .map_err(|error| Error::unavailable("the file for --json", error))?;
    }
    if report.is_sound() {
        Ok(())
    } else {
        let found =
            "expected all that was accepted to arrive within 30 s, and each sample to be genuine";
        Err(Error::broken("the run", found))
    }
}

async fn measure(
    options: &Options,
    place: &Place,
    directory: &Path,
) -> Result<(Option<Limit>, Vec<Run>)> {
    let keys = Keys::generate();
    let settings = &options.settings;
    let mut stop = Stop::listen()?;
    stop.or(place.reach()).await?;
    let limit = match options.limit_seconds {
        0 => None,
        seconds => {
            let directory = subdirectory(directory, "limit")?;
            progress::line(&format!("measuring the limit: {seconds} s"));
            Some(stop.or(run::limit(&directory, settings, seconds, &keys)).await?)
        }
    };
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let directory = subdirectory(directory, &format!("run-{number}"))?;
        let label = format!("run {number}/{}", options.runs);
        let play = async |database: &_| {
            let scenario = options.scenario;
            stop.or(run::play(&directory, database, scenario, settings, &keys, label)).await
        };
        runs.push(run::play_on_fresh(&directory, place, play).await?);
        progress::line(&format!("run {number}/{} is over", options.runs));
    }
    Ok((limit, runs))
}

fn subdirectory(parent: &Path, name: &str) -> Result<PathBuf> {
    let path = parent.join(name);
    std::fs::create_dir(&path).map_err(|error| Error::unavailable("a directory", error))?;
    Ok(path)
}

/// Who asks for an early end: it comes once what was made has been taken away.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|error| Error::unavailable("a signal", error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn or<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = work => result,
            _ = self.interrupt.recv() => Err(Error::broken("the run", "it was interrupted")),
            _ = self.terminate.recv() => Err(Error::broken("the run", "it was ended")),
        }
    }
}
