//! One phase of load, from its first request until everything has arrived.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hookseal_core::error::Result;

use super::account::Account;
use super::arrivals::Arrivals;
use super::driver::{Driver, Shift};
use super::measured::Measured;
use super::progress::Progress;
use super::requests::requests;
use super::samples::now_ns;
use super::scenario::{Layout, Load, Phase, Rate};
use super::stage::{Daemon, Organization};
use super::usage::Meters;

/// How long what was accepted may take to arrive after the last request.
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);

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
    /// What progress begins with.
    pub(super) label: String,
    pub(super) progress: Progress,
}

impl Field<'_> {
    /// Puts it under the load of `phase`; `before` is what the phase before came to.
    pub(super) async fn play(
        &mut self,
        phase: &Phase,
        before: Option<&Measured>,
    ) -> Result<Measured> {
        let host = self.daemon.base.trim_start_matches("http://");
        let address = (host, &*self.daemon.platform_key);
        let requests =
            requests(phase.load, self.layout.audience, &self.organizations, address, self.payload);
        let shift = Shift::new(self.driver.clone(), requests);
        let started_ns = now_ns();
        let (offered, connections) = match phase.load {
            Load::Closed { connections, .. } => (None, connections),
            Load::Open { connections, rate: Rate::Fixed(rate) } => (Some(rate), connections),
            Load::Open { connections, rate: Rate::ShareOfBefore(share) } => {
                let before = before.map_or(0.0, |before| before.events_per_second);
                (Some((before * share).max(1.0)), connections)
            }
        };
        let publishers: Vec<_> = (0..connections)
            .map(|connection| match offered {
                None => actix::spawn(shift.clone().closed()),
                Some(rate) => {
                    let gap_ns = 1e9 / rate;
                    let first_ns = started_ns + (gap_ns * connection as f64) as u64;
                    actix::spawn(shift.clone().open(first_ns, (gap_ns * connections as f64) as u64))
                }
            })
            .collect();
        self.watch(phase, "warming up", phase.warm_up).await?;
        let from = self.meters.read().await?;
        self.watch(phase, "measuring", phase.measured).await?;
        let until = self.meters.read().await?;
        shift.end();
        join_all(publishers).await;
        let tally = self.driver.tally.take();
        self.account.enter(&tally);
        self.settle(phase).await?;
        Ok(Measured::of(phase.name, offered, &tally, &self.account, (&from, &until)))
    }

    /// Looks on for `time`, a second at a time.
    async fn watch(&mut self, phase: &Phase, what: &str, time: Duration) -> Result<()> {
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
                "{} {}: {what} {:.0}/{} s, {per_second:.0} deliveries/s, {refused} refused",
                self.label,
                phase.name,
                started.elapsed().as_secs_f64(),
                time.as_secs(),
            ));
        }
        Ok(())
    }

    /// Waits until what was accepted has arrived, as long as that may take.
    async fn settle(&mut self, phase: &Phase) -> Result<()> {
        let deadline = Instant::now() + ARRIVES_WITHIN;
        loop {
            self.must_run()?;
            self.account.arrive(self.receiver.take().await?);
            let missing = self.account.missing();
            if missing == 0 || Instant::now() > deadline {
                return Ok(());
            }
            let label = &self.label;
            self.progress.show(&format!("{label} {}: {missing} on their way", phase.name));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn must_run(&mut self) -> Result<()> {
        self.daemon.child.must_run()?;
        self.receiver.child.must_run()
    }
}
