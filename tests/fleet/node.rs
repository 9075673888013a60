//! One daemon of a fleet: the real binary, and what may be done to it.

use std::process::ExitStatus;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::link::Link;
use crate::support::daemon::{Daemon, Home, Tenant, wait};

/// How long a daemon may take to end, or to be ready again.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a probe may take.
const PROBE: Duration = Duration::from_secs(4);

/// A daemon, whether it runs or not.
pub struct Node {
    pub home: Home,
    daemon: Mutex<Option<Daemon>>,
    url: RwLock<String>,
    /// Its link to PostgreSQL, if that is its database.
    pub database: Option<Link>,
    /// Its link to Redis, if it has one.
    pub redis: Option<Link>,
}

impl Node {
    /// One that does not run yet.
    pub fn new(home: Home, database: Option<Link>, redis: Option<Link>) -> Self {
        let (daemon, url) = (Mutex::default(), RwLock::default());
        Self { home, daemon, url, database, redis }
    }

    /// Where it listens, or did last.
    pub fn url(&self) -> String {
        self.url.read().clone()
    }

    /// Its process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.daemon.lock().as_ref().map(Daemon::id)
    }

    /// Starts it and waits until it is ready.
    pub fn start(&self) {
        let daemon = self.home.start();
        self.url.write().clone_from(&daemon.url);
        *self.daemon.lock() = Some(daemon);
        self.await_ready();
    }

    /// Waits until it can do its work.
    pub fn await_ready(&self) {
        wait(PATIENCE, "readiness", || self.probe("/readyz") == Some(200));
    }

    /// The status that it answers a probe with, if it does.
    pub fn probe(&self, path: &str) -> Option<u16> {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(PROBE)).build().new_agent();
        let answer = agent.get(format!("{}{path}", self.url())).call();
        answer.ok().map(|answer| answer.status().as_u16())
    }

    /// A new organization.
    pub fn tenant(&self) -> Tenant {
        self.daemon.lock().as_ref().expect("it runs").tenant()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        self.daemon.lock().as_ref().expect("it runs").signal(signal);
    }

    /// Waits for the end that it was sent, and answers how it ended.
    pub fn await_end(&self) -> ExitStatus {
        let mut daemon = self.daemon.lock().take().expect("it runs");
        wait(PATIENCE, "the end of the process", || !daemon.is_running());
        daemon.terminate_status()
    }
}
