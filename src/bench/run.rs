//! One run: a fresh database, a daemon and a receiver, the phases of a scenario, and what they came to.

use std::path::Path;

use hookseal_core::error::{Error, Result};
use serde::Serialize;

use super::account::Account;
use super::arrivals::Arrivals;
use super::backlog;
use super::database::{Place, Scratch};
use super::driver::Driver;
use super::finding::Finding;
use super::history;
use super::idle;
use super::limit::{self, Limit, Task};
use super::measured::Measured;
use super::phase::Field;
use super::progress::Progress;
use super::receiver::{Mood, Trust};
use super::restart;
use super::retries;
use super::samples::Summary;
use super::scenario::{Scenario, Settings, WINDOW};
use super::stage::{Daemon, furnish};
use super::usage::{Memory, Meters};
use crate::demo::receiver::Keys;

/// What one run came to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    /// One row, one client, on the same database.
    pub(super) commit: Summary,
    pub(super) phases: Vec<Measured>,
    /// What the scenario asks for beside that.
    #[serde(flatten)]
    pub(super) finding: Option<Finding>,
    /// Deliveries that were accepted and can arrive: those to endpoints that hang in the end are not among them.
    pub(super) accepted: usize,
    /// Of these, those that had not arrived half a minute after the last was published.
    pub(super) missing: usize,
    /// Deliveries that arrived more than once.
    pub(super) repeated: usize,
    /// Deliveries that arrived though their publisher was not told that they were accepted.
    pub(super) unannounced: usize,
    /// Samples whose signature held and that were decrypted.
    pub(super) verified: u64,
    /// Samples for which that is not so.
    pub(super) forged: u64,
    /// The most memory that the daemon had.
    pub(super) daemon_peak_bytes: u64,
}

impl Run {
    /// What the run is about.
    pub(super) fn last(&self) -> Option<&Measured> {
        self.phases.last()
    }

    /// Whether nothing was lost or forged.
    pub(super) fn is_sound(&self) -> bool {
        self.missing == 0 && self.forged == 0 && self.verified > 0
    }
}

/// Measures what the machine can do at most for the same payload and the same receiver.
pub(super) async fn limit(
    directory: &Path,
    settings: &Settings,
    seconds: u64,
    keys: &Keys,
) -> Result<Limit> {
    let receiver = Arrivals::start(directory).await?;
    let task = Task {
        url: receiver.url(0, false),
        secret: "whsec_of_the_limit".to_owned(),
        public_jwk: keys.public_jwk.clone(),
        window: settings.window.unwrap_or(WINDOW) as usize,
        seconds,
        payload: settings.payload,
        receiver: receiver.child.id(),
    };
    receiver
        .trust(&Trust { jwk: keys.private_jwk.clone(), secrets: vec![task.secret.clone()] })
        .await?;
    let limit = limit::measure(directory, &task).await?;
    let standing = receiver.standing().await?;
    // The receiver's count is the proof of the sender's.
    let all_arrived = standing.arrived >= limit.sent;
    if limit.failed > 0 || !all_arrived || standing.forged > 0 || standing.verified == 0 {
        let found = format!("expected all to arrive and be genuine: {limit:?}, {standing:?}");
        return Err(Error::broken("the limit", found));
    }
    Ok(limit)
}

/// Runs `scenario` on `database`.
pub(super) async fn play(
    directory: &Path,
    database: &Scratch,
    scenario: Scenario,
    settings: &Settings,
    keys: &Keys,
    label: String,
) -> Result<Run> {
    let layout = scenario.layout(settings);
    let commit = database.commit_time().await?;
    let receiver = Arrivals::start(directory).await?;
    let environment = [database.environment(), scenario.environment()].concat();
    let daemon = Daemon::start(directory, environment, &layout).await?;
    let fresh = Memory::of(daemon.child.id());
    let mut progress = Progress::default();
    let made = |made| {
        progress.show(&format!("{label}: made {made} of {} endpoints", layout.endpoints));
    };
    let url = |number, fickle| receiver.url(number, fickle);
    let organizations = furnish(&daemon, &layout, url, &keys.public_jwk, made).await?;
    let endpoints = organizations.iter().flat_map(|of| &of.endpoints);
    let secrets = endpoints.map(|endpoint| endpoint.secret.clone()).collect();
    receiver.trust(&Trust { jwk: keys.private_jwk.clone(), secrets }).await?;
    let address = daemon.base.trim_start_matches("http://").parse();
    let address = address.map_err(|error| Error::broken("the daemon's address", error))?;
    let meters = Meters {
        daemon: daemon.child.id(),
        receiver: receiver.child.id(),
        postgres: database.sessions().await?,
        redis: database.redis(),
    };
    let mut field = Field {
        layout: &layout,
        payload: settings.payload,
        daemon,
        receiver,
        organizations,
        driver: Driver::new(address),
        account: Account::default(),
        meters,
        fresh,
        mood: Mood::default(),
        label,
        progress,
    };
    let (phases, finding) = play_phases(&mut field, database, scenario, settings).await?;
    let standing = field.receiver.standing().await?;
    let (account, expected) = (&field.account, field.expected());
    Ok(Run {
        commit,
        finding,
        phases,
        accepted: account.accepted(expected),
        missing: account.missing(expected),
        repeated: account.repeated(),
        unannounced: account.unannounced(),
        verified: standing.verified,
        forged: standing.forged,
        daemon_peak_bytes: field.daemon.peak_bytes(),
    })
}

/// Plays the phases of a scenario, with what it does between them.
async fn play_phases(
    field: &mut Field<'_>,
    database: &Scratch,
    scenario: Scenario,
    settings: &Settings,
) -> Result<(Vec<Measured>, Option<Finding>)> {
    let mut phases = Vec::new();
    match (scenario, &*scenario.phases(settings)) {
        (Scenario::Idle, [once]) => {
            let idle = idle::play(field, once).await?;
            return Ok((phases, Some(Finding::Idle(idle))));
        }
        (Scenario::Backlog, [alone, without, pile, with]) => {
            let (measured, backlog) =
                backlog::play(field, [alone, without, pile, with], settings.pending).await?;
            return Ok((measured, Some(Finding::Backlog(backlog))));
        }
        (Scenario::Restart, [before]) => {
            let (measured, restart) = restart::play(field, before).await?;
            return Ok((vec![measured], Some(Finding::Restart(restart))));
        }
        (Scenario::Retries, [put_off]) => {
            let retries = retries::play(field, put_off, settings.pending).await?;
            return Ok((phases, Some(Finding::Retries(retries))));
        }
        (Scenario::History, [empty, filled, calm, cleaned]) => {
            let (measured, history) =
                history::play(field, database, [empty, filled, calm, cleaned], settings.past)
                    .await?;
            return Ok((measured, Some(Finding::History(history))));
        }
        (_, all) => {
            for phase in all {
                let measured = field.play(phase, phases.last()).await?;
                phases.push(measured);
            }
        }
    }
    let finding = Finding::of(scenario, field.layout, &phases);
    Ok((phases, finding))
}

/// Runs `scenario` on a database that is made for it and taken away in the end, whatever comes of it.
pub(super) async fn play_on_fresh(
    directory: &Path,
    place: &Place,
    play: impl AsyncFnOnce(&Scratch) -> Result<Run>,
) -> Result<Run> {
    let database = place.make(directory).await?;
    let played = play(&database).await;
    let removed = database.remove().await;
    played.and_then(|run| removed.map(|()| run))
}
