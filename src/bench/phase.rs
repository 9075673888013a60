//! One phase of load, from its first request until everything has arrived.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hookseal_core::error::{Error, Result};
use tokio::task::JoinHandle;

use super::account::Account;
use super::arrivals::Arrivals;
use super::driver::{Driver, Shift, Tally};
use super::layout::{Crowd, Layout};
use super::load::{Load, Phase, Rate};
use super::measured::Measured;
use super::progress::Progress;
use super::receiver::Mood;
use super::requests::requests;
use super::samples::now_ns;
use super::stage::{Daemon, Organization, only};
use super::turns::Turns;
use super::usage::{Memory, Meters};

/// How long what was accepted may take to arrive after the last request.
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);

/// How often one looks whether publishers are done.
const LOOK: Duration = Duration::from_millis(50);

/// What phases are played on.
pub(super) struct Field<'a> {
    pub(super) layout: &'a Layout,
    /// Bytes of `data`.
    pub(super) payload: usize,
    pub(super) daemon: Daemon,
    pub(super) receiver: Arrivals,
    pub(super) organizations: Vec<Organization>,
    pub(super) driver: Rc<Driver>,
    pub(super) account: Account,
    pub(super) meters: Meters,
    /// What the daemon had before anything was asked of it.
    pub(super) fresh: Memory,
    /// How fickle endpoints answer now.
    pub(super) mood: Mood,
    /// What progress begins with.
    pub(super) label: String,
    pub(super) progress: Progress,
}

/// Publishers at work.
pub(super) struct Work {
    shift: Rc<Shift>,
    publishers: Vec<JoinHandle<()>>,
}

impl Work {
    fn is_over(&self) -> bool {
        self.publishers.iter().all(JoinHandle::is_finished)
    }
}

impl Field<'_> {
    /// Puts it under the load of `phase`; `before` is what the phase before came to.
    pub(super) async fn play(
        &mut self,
        phase: &Phase,
        before: Option<&Measured>,
    ) -> Result<Measured> {
        self.turn(phase.mood).await?;
        let offered = offered(phase.load, before);
        let work = self.begin(phase, offered, None);
        self.watch(phase.name, "warming up", phase.warm_up).await?;
        let from = self.meters.read().await?;
        self.watch(phase.name, "measuring", phase.measured).await?;
        let until = self.meters.read().await?;
        let tally = self.end(work).await;
        self.settle(phase.name).await?;
        Ok(Measured::of(phase, offered, &tally, &self.account, (&from, &until)))
    }

    /// Has fickle endpoints answer otherwise.
    pub(super) async fn turn(&mut self, mood: Mood) -> Result<()> {
        self.receiver.turn(mood).await?;
        self.mood = mood;
        Ok(())
    }

    /// Kills the daemon and starts it again; answers how long it was not ready.
    pub(super) async fn crash(&mut self) -> Result<Duration> {
        self.progress.show(&format!("{}: killing the daemon", self.label));
        let killed = Instant::now();
        self.daemon.kill()?;
        self.start_again().await.map(|_| killed.elapsed())
    }

    /// Starts the daemon that has ended; answers how long that took.
    pub(super) async fn start_again(&mut self) -> Result<Duration> {
        let ready = self.daemon.start_again().await?;
        self.meters.daemon = self.daemon.child.id();
        Ok(ready)
    }

    /// Whose deliveries can arrive.
    pub(super) fn expected(&self) -> Crowd {
        match self.mood {
            Mood::Well => Crowd::Everyone,
            Mood::Away | Mood::Hanging | Mood::Later { .. } => Crowd::Steady,
        }
    }

    /// Publishes, at the rate of `phase` or as fast as possible, until `count` more deliveries were accepted.
    pub(super) async fn publish(&mut self, phase: &Phase, count: usize) -> Result<()> {
        self.turn(phase.mood).await?;
        let goal = self.account.accepted(phase.to) + count;
        // Events of a batch that were refused are not sent again by those who publish.
        loop {
            let before = self.account.accepted(phase.to);
            if before >= goal {
                return Ok(());
            }
            let work = self.begin(phase, offered(phase.load, None), Some(goal - before));
            while !work.is_over() {
                tokio::time::sleep(LOOK).await;
                self.must_run()?;
                let (label, name) = (&self.label, phase.name);
                let accepted = before + self.driver.tally.borrow().published.len();
                self.progress.show(&format!("{label} {name}: {accepted}/{goal} accepted"));
            }
            self.end(work).await;
            if self.account.accepted(phase.to) == before {
                return Err(Error::broken("the daemon", "it refuses all events"));
            }
        }
    }

    /// Publishes until it is ended, `offered` events a second or as many as possible, no more than `events`.
    pub(super) fn begin(&self, phase: &Phase, offered: Option<f64>, events: Option<usize>) -> Work {
        let shift = Shift::new(self.driver.clone(), self.turns(phase), events);
        let started_ns = now_ns();
        let connections = match phase.load {
            Load::Closed { connections, .. }
            | Load::Open { connections, .. }
            | Load::Insistent { connections, .. } => connections,
        };
        let insists = matches!(phase.load, Load::Insistent { .. });
        let publishers = (0..connections).map(|connection| match offered {
            None => actix::spawn(shift.clone().closed()),
            Some(rate) => {
                let gap_ns = 1e9 / rate;
                let first_ns = started_ns + (gap_ns * connection as f64) as u64;
                let gap_ns = (gap_ns * connections as f64) as u64;
                actix::spawn(shift.clone().open(first_ns, gap_ns, insists))
            }
        });
        Work { publishers: publishers.collect(), shift }
    }

    fn turns(&self, phase: &Phase) -> Turns {
        let host = self.daemon.base.trim_start_matches("http://");
        let address = (host, &*self.daemon.platform_key);
        let to = |crowd| match phase.to {
            Crowd::Everyone => only(crowd, &self.organizations),
            only_one if only_one == crowd => only(crowd, &self.organizations),
            Crowd::Steady | Crowd::Fickle => Vec::new(),
        };
        let requests =
            |crowd| requests(phase.load, self.layout.audience, &to(crowd), address, self.payload);
        Turns::new(requests(Crowd::Steady), requests(Crowd::Fickle), self.layout.fickle_share)
    }

    /// Has the publishers come to an end, and enters what was accepted.
    pub(super) async fn end(&mut self, Work { shift, publishers }: Work) -> Tally {
        shift.end();
        join_all(publishers).await;
        let tally = self.driver.tally.take();
        self.account.enter(&tally);
        tally
    }

    /// Looks on for `time`, a second at a time.
    pub(super) async fn watch(&mut self, phase: &str, what: &str, time: Duration) -> Result<()> {
        let started = Instant::now();
        let mut before = self.receiver.standing().await?.arrived;
        let mut looked_at = started;
        while let Some(rest) = time.checked_sub(started.elapsed()).filter(|rest| !rest.is_zero()) {
            tokio::time::sleep(rest.min(Duration::from_secs(1))).await;
            self.must_run()?;
            let arrived = self.receiver.standing().await?.arrived;
            let per_second = (arrived - before) as f64 / looked_at.elapsed().as_secs_f64();
            (before, looked_at) = (arrived, Instant::now());
            let refused = self.driver.tally.borrow().refusals();
            self.progress.show(&format!(
                "{} {phase}: {what} {:.0}/{} s, {per_second:.0} deliveries/s, {refused} refused",
                self.label,
                started.elapsed().as_secs_f64(),
                time.as_secs(),
            ));
        }
        Ok(())
    }

    /// Waits until what was accepted and can arrive has arrived, as long as that may take.
    pub(super) async fn settle(&mut self, phase: &str) -> Result<()> {
        let deadline = Instant::now() + ARRIVES_WITHIN;
        loop {
            self.must_run()?;
            self.account.arrive(self.receiver.take().await?);
            let missing = self.account.missing(self.expected());
            if missing == 0 || Instant::now() > deadline {
                return Ok(());
            }
            let label = &self.label;
            self.progress.show(&format!("{label} {phase}: {missing} on their way"));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) fn must_run(&mut self) -> Result<()> {
        self.daemon.child.must_run()?;
        self.receiver.child.must_run()
    }
}

/// Events a second; none when as many as possible.
pub(super) fn offered(load: Load, before: Option<&Measured>) -> Option<f64> {
    match load {
        Load::Closed { .. } => None,
        Load::Open { rate: Rate::Fixed(rate), .. } | Load::Insistent { rate, .. } => Some(rate),
        Load::Open { rate: Rate::ShareOfBefore(share), .. } => {
            let before = before.map_or(0.0, |before| before.events_per_second);
            Some((before * share).max(1.0))
        }
    }
}
