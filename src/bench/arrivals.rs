//! The receiver as the bench sees it: started, told whom to trust, asked what arrived.

use std::path::Path;
use std::time::Duration;

use hookseal_core::error::{Error, Result};

use super::child::Child;
use super::receiver::{Arrival, Mood, Standing, Trust};

const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// Largest answer that is read: arrivals of minutes.
const ANSWER_BYTES: usize = 1 << 30;

/// A running receiver.
pub(super) struct Arrivals {
    pub(super) child: Child,
    http: awc::Client,
    base: String,
}

impl Arrivals {
    pub(super) async fn start(directory: &Path) -> Result<Self> {
        let mut child = Child::start("the receiver", "bench-receiver", directory, &[])?;
        let base = child.hear("listening on ", STARTS_WITHIN).await?;
        let http = awc::Client::builder().timeout(Duration::from_secs(60)).finish();
        Ok(Self { child, http, base })
    }

    /// The URL of the endpoint with this number.
    pub(super) fn url(&self, number: usize, fickle: bool) -> String {
        let kind = if fickle { "fickle" } else { "steady" };
        format!("{}/{kind}/{number}", self.base)
    }

    /// Tells it how fickle endpoints answer from now on.
    pub(super) async fn turn(&self, mood: Mood) -> Result<()> {
        self.ask("mood", serde_json::to_vec(&mood).map_err(fault)?).await.map(drop)
    }

    /// Tells it what to verify with.
    pub(super) async fn trust(&self, trust: &Trust) -> Result<()> {
        self.ask("trust", serde_json::to_vec(trust).map_err(fault)?).await.map(drop)
    }

    pub(super) async fn standing(&self) -> Result<Standing> {
        serde_json::from_slice(&self.ask("standing", Vec::new()).await?).map_err(fault)
    }

    /// What arrived since it was last asked.
    pub(super) async fn take(&self) -> Result<Vec<Arrival>> {
        let bytes = self.ask("arrivals", Vec::new()).await?;
        let (arrivals, _) = bytes.as_chunks();
        Ok(arrivals.iter().map(Arrival::read).collect())
    }

    /// How late retries came since it was last asked, in nanoseconds; below zero those that came too early.
    pub(super) async fn lateness(&self) -> Result<Vec<i64>> {
        serde_json::from_slice(&self.ask("lateness", Vec::new()).await?).map_err(fault)
    }

    async fn ask(&self, command: &str, body: Vec<u8>) -> Result<Vec<u8>> {
        let request = self.http.post(format!("{}/control/{command}", self.base));
        let mut answer = request.send_body(body).await.map_err(|error| fault(error.to_string()))?;
        if !answer.status().is_success() {
            return Err(fault(format!("{command} was answered {}", answer.status())));
        }
        let body = answer.body().limit(ANSWER_BYTES).await;
        Ok(body.map_err(|error| fault(error.to_string()))?.to_vec())
    }
}

fn fault(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::broken("the receiver", error)
}
