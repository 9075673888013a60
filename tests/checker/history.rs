//! What was observed during a run, and how it is written down: a directory with `run.json` and a file of
//! JSON lines for each kind of observation.
//!
//! | file | a line is | written |
//! |---|---|---|
//! | `run.json` | the one [`Run`]: who took part, and with which settings | at the end |
//! | `publishes.jsonl` | a [`Publish`]: one request of the publisher | when its outcome is known |
//! | `receipts.jsonl` | a [`Receipt`]: one request at a receiver | before it is answered |
//! | `faults.jsonl` | a [`Fault`]: one injected fault; may be empty | when it is over |
//! | `samples.jsonl` | a [`Sample`]: what one node used | now and then |
//! | `claims.jsonl` | a [`LapsedClaim`]: a claim seen past its deadline; may be empty | now and then |
//! | `answers.jsonl` | an [`Answer`]: a delivery as an API showed it | now and then, and all at the end |
//! | `events.jsonl` | an [`EventRow`] | at the end, as the next two |
//! | `deliveries.jsonl` | a [`DeliveryRow`] with its attempts | |
//! | `sessions.jsonl` | a [`SessionRow`]; may be empty | |
//! | `logs/` | what the nodes wrote, searched for canaries | as it comes |
//!
//! Members named `…_at_ms` are wall time in milliseconds since the epoch, other `…_ms` are durations in
//! milliseconds. Hashes are SHA-256 in lower-case hexadecimal. A member that may be null may be left out.
//! Deliveries must not have been retried or replayed by hand: the checker knows one schedule a delivery.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Who took part, and with which settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Deadline over one exchange with a receiver.
    pub attempt_timeout_ms: i64,
    /// What a claim outlives its attempt by.
    pub claim_slack_ms: i64,
    /// Pauses before attempts 2…n, none shorter than the one before it.
    pub retry_schedule_ms: Vec<i64>,
    /// How much later than due requests may come outside faults, at the 99th percentile; what it is on a
    /// machine that nobody else uses says something.
    pub late_p99_ms: i64,
    /// The tenants.
    pub organizations: Vec<Organization>,
    /// Their endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Types of which a session has at most one event.
    pub terminal_event_types: Vec<String>,
    /// The most that each gauge of [`Sample::gauges`] may show.
    pub limits: BTreeMap<String, u64>,
    /// When the rows were read.
    pub rows_read_at_ms: i64,
}

/// A tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Organization {
    /// UUID.
    pub id: String,
    /// A text that stands in the payloads of this tenant, and nowhere else.
    pub canary: String,
}

/// An endpoint with a receiver of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// `whe_` id.
    pub id: String,
    /// Whose it is.
    pub organization_id: String,
    /// What it subscribes to.
    pub event_types: Vec<String>,
    /// Whether its receiver answers 2xx at once: then lateness is the daemon's.
    pub healthy: bool,
    /// When it was certainly subscribed.
    pub from_at_ms: i64,
    /// When it may first have been no longer; null when it stayed.
    pub until_at_ms: Option<i64>,
}

/// One request of the publisher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publish {
    /// When it was sent.
    pub sent_at_ms: i64,
    /// When its outcome was known.
    pub ended_at_ms: i64,
    /// The node that was asked, from 0.
    pub node: usize,
    /// The tenant it is for.
    pub organization_id: String,
    /// Type of the event.
    pub event_type: String,
    /// Id of its trigger: the same in repetitions of a publish, and in nothing else of the tenant.
    pub trigger_id: String,
    /// Key against doubling.
    pub idempotency_key: Option<String>,
    /// Hash of `data` as compact JSON, members in the order of their names.
    pub data_sha256: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The event's id, when accepted.
    pub event_id: Option<String>,
    /// The ids of its deliveries, when accepted.
    #[serde(default)]
    pub delivery_ids: Vec<String>,
}

/// What came of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered 202.
    Accepted,
    /// Answered 4xx: nothing was committed.
    Refused,
    /// Answered 5xx or not at all: it may have been committed.
    Unknown,
}

/// One request at a receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// When it had arrived whole.
    pub arrived_at_ms: i64,
    /// When it was answered or its connection was closed; null when it was left hanging.
    pub ended_at_ms: Option<i64>,
    /// The endpoint that the receiver stands for.
    pub endpoint_id: String,
    /// Header `X-Kayle-Delivery-Id`.
    pub delivery_id: String,
    /// `metadata.event_id` of the plaintext; null when it could not be decrypted, as the next two.
    pub event_id: Option<String>,
    /// Hash of the plaintext's `data`, as in [`Publish::data_sha256`].
    pub data_sha256: Option<String>,
    /// The canary in the plaintext.
    pub canary: Option<String>,
    /// Hash of the body as sent.
    pub body_sha256: String,
    /// Whether the signature holds.
    pub verified: bool,
    /// What was answered; null when the connection was closed or left hanging.
    pub status: Option<u16>,
}

impl Receipt {
    /// Whether it was answered 2xx.
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(is_success)
    }
}

/// Whether a status tells that a delivery was taken.
pub fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// One injected fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// What was done.
    pub kind: FaultKind,
    /// The node it was done to; null for what all nodes share.
    pub node: Option<usize>,
    /// When it began.
    pub from_at_ms: i64,
    /// When it was over: the node was ready again, the server was back, the link healed.
    pub to_at_ms: i64,
    /// Attempts in flight where it was done, when it began: so many may be made twice.
    pub in_flight: u64,
}

/// What is done to the nodes, and to what they depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// SIGKILL, and a new start.
    Kill,
    /// SIGTERM, and a new start.
    Terminate,
    /// SIGSTOP, then SIGCONT.
    Pause,
    /// The database was stopped, then started.
    DatabaseStop,
    /// Redis was stopped, then started, empty or with what it had kept.
    RedisStop,
    /// Redis lost all that it held.
    RedisFlush,
    /// The link between a node and a server swallowed everything.
    Cut,
}

impl FaultKind {
    /// Whether an attempt in flight may be made twice on its account.
    pub fn may_double(self) -> bool {
        match self {
            // A stop in order waits for what is in flight.
            Self::Terminate => false,
            Self::Kill
            | Self::Pause
            | Self::DatabaseStop
            | Self::RedisStop
            | Self::RedisFlush
            | Self::Cut => true,
        }
    }
}

/// What one node used at an instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at_ms: i64,
    /// Which node.
    pub node: usize,
    /// By name, such as `resident_bytes`, `descriptors` or a gauge of `/metrics`.
    pub gauges: BTreeMap<String, u64>,
}

/// A claim seen past its deadline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LapsedClaim {
    /// When it was seen.
    pub at_ms: i64,
    /// The claimed delivery.
    pub delivery_id: String,
    /// Its deadline.
    pub expires_at_ms: i64,
}

/// A delivery as an API showed it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// When it was asked for; of one delivery, in the order of answers.
    pub at_ms: i64,
    /// Where.
    pub door: Door,
    /// Raised by each gap that a subscription told of: what comes after it may have been told before it.
    #[serde(default)]
    pub stream: u32,
    /// Who asked.
    pub organization_id: String,
    /// Whether it was asked once all was quiet, when every delivery is asked for.
    pub is_final: bool,
    /// The delivery's id.
    pub delivery_id: String,
    /// The id of its event.
    pub event_id: String,
    /// The id of its endpoint.
    pub endpoint_id: String,
    /// Where it stands.
    pub status: Status,
    /// Attempts spent.
    pub attempt_count: u32,
    /// HTTP status of the last one.
    pub last_status_code: Option<u16>,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// The canary of any tenant that the answer held.
    pub canary: Option<String>,
}

/// How a delivery was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// The REST API.
    Rest,
    /// A GraphQL query.
    Graphql,
    /// A GraphQL subscription.
    Subscription,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits for an attempt.
    Pending,
    /// Claimed.
    Delivering,
    /// A receiver took it.
    Succeeded,
    /// Given up.
    Failed,
}

/// A row of `events`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventRow {
    /// `evt_` id.
    pub id: String,
    /// Whose it is.
    pub organization_id: String,
    /// Its type.
    pub event_type: String,
    /// Id of its trigger.
    pub trigger_id: String,
    /// The session it tells of.
    pub session_id: Option<String>,
    /// Key against doubling.
    pub idempotency_key: Option<String>,
}

/// A row of `deliveries`, with all its attempts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// `whd_` id.
    pub id: String,
    /// Whose it is.
    pub organization_id: String,
    /// Its event.
    pub event_id: String,
    /// Its endpoint.
    pub endpoint_id: String,
    /// Where it stands.
    pub status: Status,
    /// Attempts spent.
    pub attempt_count: u32,
    /// The attempts on record, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it is due, while pending.
    pub next_attempt_at_ms: Option<i64>,
    /// When its claim lapses, while delivering.
    pub claim_expires_at_ms: Option<i64>,
    /// Why it failed.
    pub failure_reason: Option<String>,
}

/// One attempt on record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began, or ended if without an answer.
    pub at_ms: i64,
    /// HTTP status, if an answer came.
    pub status_code: Option<u16>,
}

/// A row of `verification_sessions`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionRow {
    /// Whose it is.
    pub organization_id: String,
    /// The session.
    pub session_id: String,
    /// The event that ended it.
    pub terminal_event_id: Option<String>,
}

/// A canary found where no payload may be.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// Whose canary it is.
    pub organization_id: String,
}

/// All that was observed, in memory: some 4 KiB a delivery.
#[derive(Clone, Debug)]
pub struct History {
    /// `run.json`.
    pub run: Run,
    /// `publishes.jsonl`.
    pub publishes: Vec<Publish>,
    /// `receipts.jsonl`.
    pub receipts: Vec<Receipt>,
    /// `faults.jsonl`.
    pub faults: Vec<Fault>,
    /// `samples.jsonl`.
    pub samples: Vec<Sample>,
    /// `claims.jsonl`.
    pub lapsed_claims: Vec<LapsedClaim>,
    /// `answers.jsonl`.
    pub answers: Vec<Answer>,
    /// `events.jsonl`.
    pub events: Vec<EventRow>,
    /// `deliveries.jsonl`.
    pub deliveries: Vec<DeliveryRow>,
    /// `sessions.jsonl`.
    pub sessions: Vec<SessionRow>,
    /// What was found in `logs/`.
    pub sightings: Vec<Sighting>,
}

impl History {
    /// Reads the directory of a run.
    ///
    /// # Errors
    /// A file that is missing or not of the form above; the message names it and the line.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let run = directory.join("run.json");
        let text = std::fs::read_to_string(&run).map_err(|error| told(&run, 1, error))?;
        let run: Run = serde_json::from_str(&text).map_err(|error| told(&run, 1, error))?;
        let sightings = sightings(&directory.join("logs"), &run.organizations)?;
        Ok(Self {
            run,
            publishes: lines(directory, "publishes.jsonl")?,
            receipts: lines(directory, "receipts.jsonl")?,
            faults: lines(directory, "faults.jsonl")?,
            samples: lines(directory, "samples.jsonl")?,
            lapsed_claims: lines(directory, "claims.jsonl")?,
            answers: lines(directory, "answers.jsonl")?,
            events: lines(directory, "events.jsonl")?,
            deliveries: lines(directory, "deliveries.jsonl")?,
            sessions: lines(directory, "sessions.jsonl")?,
            sightings,
        })
    }
}

fn lines<T: DeserializeOwned>(directory: &Path, name: &str) -> io::Result<Vec<T>> {
    let path = directory.join(name);
    let file = File::open(&path).map_err(|error| told(&path, 1, error))?;
    let mut items = Vec::new();
    for (n, line) in BufReader::new(file).lines().enumerate() {
        let line = line?;
        items.push(serde_json::from_str(&line).map_err(|error| told(&path, n + 1, error))?);
    }
    Ok(items)
}

fn sightings(logs: &Path, organizations: &[Organization]) -> io::Result<Vec<Sighting>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(logs).map_err(|error| told(logs, 1, error))? {
        let path = entry?.path();
        // A process that is killed may leave half a character at the end.
        for (n, line) in BufReader::new(File::open(&path)?).split(b'\n').enumerate() {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            let seen = organizations.iter().filter(|other| line.contains(&other.canary));
            found.extend(seen.map(|organization| Sighting {
                file: path.clone(),
                line: n + 1,
                organization_id: organization.id.clone(),
            }));
        }
    }
    Ok(found)
}

fn told(path: &Path, line: usize, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}, line {line}: {error}", path.display()))
}
