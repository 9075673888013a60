//! What a run plays on: the daemon, and organizations, endpoints and keys made over its REST API.

use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hookseal_core::error::{Error, Result};
use serde_json::{Value, json};

use super::child::Child;
use super::layout::{Crowd, Layout};
use super::usage::Memory;
use crate::demo::client::{Client, text};

const STARTS_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(60);
const DAEMON: &str = "the daemon";
const COMMAND: &str = "bench-daemon";
/// Below those that Linux gives to connections.
const PORTS: Range<u16> = 10_000..30_000;
const PORTS_TRIED: usize = 100;
/// How often one looks whether it is ready.
const LOOK: Duration = Duration::from_millis(5);
/// Largest answer of `/metrics` that is read.
const METRICS_BYTES: usize = 4 << 20;
/// Organizations that are made at once.
const AT_ONCE: usize = 64;

/// A running daemon.
pub(super) struct Daemon {
    pub(super) child: Child,
    pub(super) base: String,
    pub(super) platform_key: String,
    http: awc::Client,
    directory: PathBuf,
    environment: Vec<(&'static str, String)>,
    /// The most memory that it had in a life that was ended.
    peak_bytes: u64,
}

impl Daemon {
    /// Starts one with its data where `environment` says, and all settings that bear on durability as they are.
    pub(super) async fn start(
        directory: &Path,
        mut environment: Vec<(&'static str, String)>,
        layout: &Layout,
    ) -> Result<Self> {
        let platform_key = format!("bench-{:032x}", rand::random::<u128>());
        environment.extend([
            ("HOOKSEAL_LISTEN", format!("127.0.0.1:{}", free_port()?)),
            ("HOOKSEAL_DEV", "1".to_owned()),
            ("HOOKSEAL_PLATFORM_KEY", platform_key.clone()),
            ("HOOKSEAL_MASTER_KEY", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())),
            ("HOOKSEAL_REQUESTS_PER_MINUTE", "1000000".to_owned()),
            ("HOOKSEAL_ENDPOINTS_PER_ORGANIZATION", layout.per_organization.max(50).to_string()),
        ]);
        let mut child = Child::start(DAEMON, COMMAND, directory, &environment)?;
        let base = child.hear("listening on ", STARTS_WITHIN).await?;
        let http = awc::Client::builder().timeout(STARTS_WITHIN).finish();
        let directory = directory.to_owned();
        Ok(Self { child, base, platform_key, http, directory, environment, peak_bytes: 0 })
    }

    /// Gives it another setting from its next start on.
    pub(super) fn set(&mut self, name: &'static str, value: String) {
        self.environment.retain(|(other, _)| *other != name);
        self.environment.push((name, value));
    }

    /// Ends it by SIGKILL.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.peak_bytes = self.peak_bytes();
        self.child.kill()
    }

    /// Ends it as an operator would.
    pub(super) async fn end(&mut self) -> Result<()> {
        self.peak_bytes = self.peak_bytes();
        self.child.end(ENDS_WITHIN).await
    }

    /// Starts it again on the same data and port, and answers how long it was not ready.
    pub(super) async fn start_again(&mut self) -> Result<Duration> {
        let killed = Instant::now();
        loop {
            self.child = Child::start(DAEMON, COMMAND, &self.directory, &self.environment)?;
            match self.child.hear("listening on ", STARTS_WITHIN).await {
                Ok(_) => break,
                Err(error) if killed.elapsed() > STARTS_WITHIN => return Err(error),
                // A server of PostgreSQL may not have noticed yet that the lock's holder is gone.
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
        loop {
            let answer = self.http.get(format!("{}/readyz", self.base)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(killed.elapsed());
            }
            self.child.must_run()?;
            if killed.elapsed() > STARTS_WITHIN {
                return Err(Error::broken(DAEMON, "it does not become ready"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The most memory that it had.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak_bytes.max(Memory::of(self.child.id()).peak_bytes)
    }

    /// The sum of a metric's values; zero for what did not count yet.
    pub(super) async fn metric(&self, name: &str) -> Result<f64> {
        let fault = |error: String| Error::broken("the daemon's metrics", error);
        let sent = self.http.get(format!("{}/metrics", self.base)).send().await;
        let mut answer = sent.map_err(|error| fault(error.to_string()))?;
        let body = answer.body().limit(METRICS_BYTES).await;
        let body = body.map_err(|error| fault(error.to_string()))?;
        Ok(sum(&String::from_utf8_lossy(&body), name))
    }
}

/// A port that nobody listens at, and that no connection is given: one that is started again finds it free.
fn free_port() -> Result<u16> {
    let free = |_| {
        let port = rand::random_range(PORTS);
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    };
    let found = (0..PORTS_TRIED).find_map(free);
    found.ok_or_else(|| Error::unavailable(DAEMON, "expected a free port of loopback"))
}

/// Of metrics in Prometheus' text format.
fn sum(metrics: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let meant = rest.starts_with([' ', '{']);
        rest.rsplit(' ').next().filter(|_| meant)?.parse::<f64>().ok()
    };
    metrics.lines().filter_map(value).sum()
}

/// An organization and its endpoints.
#[derive(Clone, Debug)]
pub(super) struct Organization {
    pub(super) id: String,
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) fickle: bool,
}

/// The organizations that have endpoints of `crowd`, with these alone.
pub(super) fn only(crowd: Crowd, organizations: &[Organization]) -> Vec<Organization> {
    let narrowed = organizations.iter().map(|organization| {
        let endpoints = organization.endpoints.iter();
        let endpoints = endpoints.filter(|endpoint| crowd.holds(endpoint.fickle));
        Organization { id: organization.id.clone(), endpoints: endpoints.cloned().collect() }
    });
    narrowed.filter(|organization| !organization.endpoints.is_empty()).collect()
}

/// Makes what `layout` asks for, and tells how many endpoints there are about. They are numbered in the order of the
/// answer.
pub(super) async fn furnish(
    daemon: &Daemon,
    layout: &Layout,
    url: impl Fn(usize, bool) -> String,
    public_jwk: &Value,
    mut made: impl FnMut(usize),
) -> Result<Vec<Organization>> {
    let client = Client::new(daemon.base.clone(), daemon.platform_key.clone());
    let numbers: Vec<usize> = (0..layout.endpoints).collect();
    let organizations = numbers.chunks(layout.per_organization).map(|numbers| {
        let (client, url) = (&client, &url);
        async move {
            let (id, key) = client.tenant("Bench").await?;
            let mut endpoints = Vec::with_capacity(numbers.len());
            for number in numbers {
                let fickle = layout.is_fickle(*number);
                let window = if fickle { layout.fickle_window } else { layout.window };
                let registered = register(client, &key, url(*number, fickle), window, public_jwk);
                let (id, secret) = registered.await?;
                endpoints.push(Endpoint { id, secret, fickle });
            }
            Ok::<_, Error>(Organization { id, endpoints })
        }
    });
    let mut organizations = stream::iter(organizations).buffered(AT_ONCE);
    let mut furnished = Vec::new();
    while let Some(organization) = organizations.try_next().await? {
        furnished.push(organization);
        made(furnished.len() * layout.per_organization);
    }
    Ok(furnished)
}

/// Answers the endpoint's id and signing secret.
async fn register(
    client: &Client,
    key: &str,
    url: String,
    window: Option<u32>,
    public_jwk: &Value,
) -> Result<(String, String)> {
    let mut body = json!({ "url": url });
    if let Some(window) = window {
        body["max_in_flight"] = window.into();
    }
    let made = client.post(key, "/v1/webhooks/endpoints", &body).await?;
    let id = text(&made, &["endpoint", "id"])?;
    let encryption = json!({
        "key_id": "bench", "algorithm": "RSA-OAEP-256", "key_type": "RSA", "jwk": public_jwk,
    });
    client.post(key, &format!("/v1/webhooks/endpoints/{id}/keys"), &encryption).await?;
    Ok((id, text(&made, &["signing_secret"])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_alone() {
        let text =
            "# HELP calls x\ncalls{a=\"b c\"} 3\ncalls{a=\"d\"} 4\ncalls_total 100\nactors 5\n";
        assert_eq!((sum(text, "calls"), sum(text, "actors"), sum(text, "none")), (7.0, 5.0, 0.0));
    }
}
