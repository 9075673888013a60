//! The publisher of a fleet: events at a steady rate, to one node after the other, each under a key. What it
//! did not hear the outcome of it sometimes asks again, and sometimes never.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::journal::{Journal, now_ms, sha256};
use super::node::Node;
use crate::judge::history::{Organization, Outcome, Publish};
use crate::support::daemon::PLATFORM_KEY;

/// Event types, each with what triggers it.
pub const TYPES: [(&str, &str); 6] = [
    ("verification.session.succeeded", "verification_session"),
    ("verification.session.failed", "verification_session"),
    ("verification.session.expired", "verification_session"),
    ("verification.session.cancelled", "verification_session"),
    ("verification.attempt.succeeded", "verification_attempt"),
    ("verification.attempt.failed", "verification_attempt"),
];
/// Those of which a session has one.
pub const TERMINAL: &[(&str, &str)] = TYPES.split_at(4).0;

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Requests under way at once: so many may be stuck at a node that hangs.
const LANES: usize = 32;
/// How far the publisher makes up for lanes that were all busy, rather than to send a burst.
const CATCH_UP: Duration = Duration::from_millis(100);
/// What is asked again is asked after this time, of another node.
const REPEAT_AFTER: Duration = Duration::from_secs(1);
/// One in so many of unknown outcome stays unknown.
const LEFT_UNKNOWN: usize = 4;
/// One in so many that were accepted is published again.
const REPEATED: usize = 40;

/// What is published, as often as it is.
#[derive(Clone)]
struct Draft {
    n: usize,
    asked: usize,
    organization_id: String,
    event_type: &'static str,
    trigger_id: String,
    body: String,
    data_sha256: String,
}

/// Publishes until it is stopped.
pub struct Publisher<'f> {
    nodes: &'f [Node],
    organizations: &'f [Organization],
    journal: &'f Journal,
    interval: Duration,
    next_due: Mutex<Instant>,
    published: AtomicUsize,
    repeats: Mutex<VecDeque<(Instant, Draft)>>,
    stopped: AtomicBool,
    refused: Mutex<Option<String>>,
    slowest_ms: AtomicI64,
}

impl<'f> Publisher<'f> {
    pub fn new(
        nodes: &'f [Node],
        organizations: &'f [Organization],
        journal: &'f Journal,
        events_per_second: u32,
    ) -> Self {
        Self {
            nodes,
            organizations,
            journal,
            interval: Duration::from_secs(1) / events_per_second,
            next_due: Mutex::new(Instant::now()),
            published: AtomicUsize::new(0),
            repeats: Mutex::default(),
            stopped: AtomicBool::new(false),
            refused: Mutex::default(),
            slowest_ms: AtomicI64::new(0),
        }
    }

    /// Starts its lanes, which end when it is stopped.
    pub fn start<'s>(&'s self, scope: &'s std::thread::Scope<'s, '_>) {
        for _ in 0..LANES {
            scope.spawn(|| self.publish_on());
        }
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// What it was told when a publish was refused for breaking a rule; there should be none.
    pub fn refused(&self) -> Option<String> {
        self.refused.lock().clone()
    }

    /// How long the slowest publish took; [`PATIENCE`] when one was not answered.
    pub fn slowest(&self) -> Duration {
        Duration::from_millis(self.slowest_ms.load(Ordering::Relaxed).unsigned_abs())
    }

    fn publish_on(&self) {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            // The daemon closes what is idle for longer; a request on its way then would be lost.
            .max_idle_age(Duration::from_secs(2))
            .build()
            .new_agent();
        while !self.stopped.load(Ordering::Relaxed) {
            let due = {
                let mut next_due = self.next_due.lock();
                let earliest = Instant::now().checked_sub(CATCH_UP).unwrap_or(*next_due);
                let due = (*next_due).max(earliest);
                *next_due = due + self.interval;
                due
            };
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let draft = self.repeat().unwrap_or_else(|| self.draft());
            let outcome = self.publish(&agent, &draft);
            let again = match outcome {
                Outcome::Unknown => !draft.n.is_multiple_of(LEFT_UNKNOWN),
                Outcome::Accepted => draft.asked == 0 && draft.n.is_multiple_of(REPEATED),
                Outcome::Refused => false,
            };
            if again {
                let draft = Draft { asked: draft.asked + 1, ..draft };
                self.repeats.lock().push_back((Instant::now() + REPEAT_AFTER, draft));
            }
        }
    }

    fn repeat(&self) -> Option<Draft> {
        let mut repeats = self.repeats.lock();
        let due = repeats.front().is_some_and(|(due, _)| *due <= Instant::now());
        repeats.pop_front_if(|_| due).map(|(_, draft)| draft)
    }

    fn draft(&self) -> Draft {
        let n = self.published.fetch_add(1, Ordering::Relaxed);
        let organization = &self.organizations[n % self.organizations.len()];
        let (event_type, trigger_type) = TYPES[n / self.organizations.len() % TYPES.len()];
        let trigger_id = format!("trigger_{n}");
        let session = if trigger_type == "verification_session" {
            trigger_id.clone()
        } else {
            format!("session_{n}")
        };
        let data = json!({ "canary": organization.canary, "n": n });
        let body = json!({
            "organization_id": organization.id,
            "type": event_type,
            "trigger_type": trigger_type,
            "trigger_id": trigger_id,
            "verification_session_id": session,
            "data": data,
        });
        Draft {
            n,
            asked: 0,
            organization_id: organization.id.clone(),
            event_type,
            trigger_id,
            body: body.to_string(),
            data_sha256: sha256(data.to_string().as_bytes()),
        }
    }

    fn publish(&self, agent: &ureq::Agent, draft: &Draft) -> Outcome {
        let node = (draft.n + draft.asked) % self.nodes.len();
        let key = format!("key {}", draft.n);
        let sent_at_ms = now_ms();
        let answer = post(agent, &self.nodes[node].url(), &key, &draft.body);
        let ended_at_ms = now_ms();
        self.slowest_ms.fetch_max(ended_at_ms - sent_at_ms, Ordering::Relaxed);
        let (outcome, event) = match answer {
            Ok((202, text)) => {
                let mut answer: Value = serde_json::from_str(&text).unwrap();
                (Outcome::Accepted, answer["data"].take())
            }
            Ok((400..=499, text)) => {
                *self.refused.lock() = Some(text);
                (Outcome::Refused, Value::Null)
            }
            Ok(_) | Err(_) => (Outcome::Unknown, Value::Null),
        };
        let deliveries = event["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
        let ids = deliveries.iter().filter_map(|delivery| delivery["id"].as_str());
        self.journal.write(&Publish {
            sent_at_ms,
            ended_at_ms,
            node,
            organization_id: draft.organization_id.clone(),
            event_type: draft.event_type.to_owned(),
            trigger_id: draft.trigger_id.clone(),
            idempotency_key: Some(key),
            data_sha256: draft.data_sha256.clone(),
            outcome,
            event_id: event["id"].as_str().map(str::to_owned),
            delivery_ids: ids.map(str::to_owned).collect(),
        });
        outcome
    }
}

fn post(
    agent: &ureq::Agent,
    base: &str,
    key: &str,
    body: &str,
) -> Result<(u16, String), ureq::Error> {
    let mut answer = agent
        .post(format!("{base}/v1/platform/events"))
        .header("authorization", format!("Bearer {PLATFORM_KEY}"))
        .header("content-type", "application/json")
        .header("idempotency-key", key)
        .send(body)?;
    Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
}
