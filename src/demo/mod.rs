//! `hookseal demo`: the daemon on a throw-away data directory, receivers on loopback, a few
//! thousand events, and a table of what became of them. Ends well only if every endpoint did.

pub(crate) mod client;
pub mod receiver;
mod report;
mod signature;

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use hookseal_core::error::{Error, Result};
use serde_json::{Value, json};

use crate::app::Daemon;
use crate::config::Config;
use crate::telemetry;
use client::{Client, text};
use receiver::{Behaviour, Receiver};
use report::{Row, print};

/// Attempts and deadline that let a receiver that never answers fail within the demo.
const RETRY_SCHEDULE: &str = "300ms,600ms,1s";
const ATTEMPT_TIMEOUT: &str = "1s";
/// Events of one batch publish.
const BATCH: usize = 50;
/// The first events, and only these, also go to the receiver that never answers.
const HANGING_EVENTS: usize = 48;
/// How long the deliveries may take after the last publish.
const SETTLED_WITHIN: Duration = Duration::from_secs(50);

const TYPES: [(&str, &str); 6] = [
    ("verification.session.succeeded", "verification_session"),
    ("verification.session.failed", "verification_session"),
    ("verification.session.cancelled", "verification_session"),
    ("verification.attempt.succeeded", "verification_attempt"),
    ("verification.attempt.failed", "verification_attempt"),
    // The only one that the receiver that never answers subscribes to.
    ("verification.session.expired", "verification_session"),
];

/// A receiver with its endpoint.
struct Endpoint {
    name: &'static str,
    id: String,
    receiver: Receiver,
    expected: report::Expected,
}

/// Runs the demo with `events` events.
///
/// # Errors
/// [`Error::Broken`] when an endpoint did not end as it should.
pub fn run(events: usize) -> Result<()> {
    let directory =
        tempfile::tempdir().map_err(|error| Error::unavailable("a temporary directory", error))?;
    let platform_key = format!("demo-{:032x}", rand::random::<u128>());
    let settings = [
        ("listen", "127.0.0.1:0"),
        ("data_dir", &*directory.path().to_string_lossy()),
        ("dev", "1"),
        ("platform_key", &platform_key),
        ("retry_schedule", RETRY_SCHEDULE),
        ("attempt_timeout", ATTEMPT_TIMEOUT),
        ("log", "warn"),
    ];
    let config =
        Config::read("", settings.map(|(name, value)| (name.to_owned(), value.to_owned())))?;
    telemetry::start(&config)?;
    let runtime = crate::cli::store_runtime()?;
    let handle = runtime.handle().clone();
    let started = Instant::now();
    let rows = actix::System::new().block_on(async {
        let daemon = Daemon::start(&config, handle).await?;
        println!(
            "hookseal on http://{} with data in {}",
            daemon.address,
            directory.path().display()
        );
        let client = Client::new(format!("http://{}", daemon.address), platform_key);
        let rows = play(&client, events).await;
        daemon.stop().await;
        rows
    })?;
    runtime.shutdown_background();
    let well = print(&rows, started.elapsed());
    if well { Ok(()) } else { Err(Error::Broken { what: "an endpoint's end", source: None }) }
}

async fn play(client: &Client, events: usize) -> Result<Vec<Row>> {
    let (organization, api_key) = client.tenant("Demo").await?;
    let mut endpoints = Vec::new();
    for (name, behaviour, with_key, expected) in [
        ("healthy", Behaviour::Accept, true, report::Expected::Delivered { retried: false }),
        (
            "flaky: 500, 500, 204",
            Behaviour::FailFirst(2),
            true,
            report::Expected::Delivered { retried: true },
        ),
        ("never answers", Behaviour::Hang, true, report::Expected::Failed { reason: "exhausted" }),
        (
            "without a key",
            Behaviour::Accept,
            false,
            report::Expected::Failed { reason: "no_active_key" },
        ),
    ] {
        let receiver = Receiver::start(behaviour);
        let types = if behaviour == Behaviour::Hang { &TYPES[5..] } else { &TYPES[..] };
        let types: Vec<&str> = types.iter().map(|(name, _)| *name).collect();
        let body = json!({ "url": receiver.url, "name": name, "subscribed_event_types": types });
        let created = client.post(&api_key, "/v1/webhooks/endpoints", &body).await?;
        let id = text(&created, &["endpoint", "id"])?;
        receiver.trust(&text(&created, &["signing_secret"])?);
        if with_key {
            let key = json!({
                "key_id": "demo-1", "algorithm": "RSA-OAEP-256", "key_type": "RSA",
                "jwk": receiver.public_jwk,
            });
            client.post(&api_key, &format!("/v1/webhooks/endpoints/{id}/keys"), &key).await?;
        }
        endpoints.push(Endpoint { name, id, receiver, expected });
    }
    let mut progress = Progress::start(events);
    let published = publish(client, &organization, events, &endpoints, &mut progress).await?;
    let deadline = Instant::now() + SETTLED_WITHIN;
    while Instant::now() < deadline && client.unsettled(&api_key).await? {
        progress.show(published.len(), &endpoints);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    progress.end(published.len(), &endpoints);
    let mut rows = Vec::new();
    for endpoint in endpoints {
        let deliveries = client.deliveries(&api_key, &endpoint.id).await?;
        let arrivals = endpoint.receiver.arrivals();
        rows.push(Row::new(endpoint.name, endpoint.expected, &deliveries, &arrivals, &published));
    }
    Ok(rows)
}

/// Publishes in batches; answers what was published when, by event id.
async fn publish(
    client: &Client,
    organization: &str,
    events: usize,
    endpoints: &[Endpoint],
    progress: &mut Progress,
) -> Result<HashMap<String, (Instant, Value)>> {
    let mut published = HashMap::with_capacity(events);
    let numbers: Vec<usize> = (0..events).collect();
    for batch in numbers.chunks(BATCH) {
        let bodies: Vec<Value> = batch.iter().map(|n| event(organization, *n)).collect();
        let at = Instant::now();
        let answers = client.publish(&Value::Array(bodies.clone())).await?;
        let answers = answers.as_array().cloned().unwrap_or_default();
        for (body, answer) in bodies.into_iter().zip(answers) {
            let id = text(&answer, &["event", "id"])?;
            published.insert(id, (at, body["data"].clone()));
        }
        progress.show(published.len(), endpoints);
    }
    Ok(published)
}

fn event(organization: &str, n: usize) -> Value {
    let (event_type, trigger_type) =
        if n < HANGING_EVENTS { TYPES[5] } else { TYPES[n % (TYPES.len() - 1)] };
    let session = format!("vs_demo_{n}");
    let trigger = if trigger_type == TYPES[0].1 { session.clone() } else { format!("va_demo_{n}") };
    json!({
        "organization_id": organization,
        "type": event_type,
        "trigger_type": trigger_type,
        "trigger_id": trigger,
        "verification_session_id": session,
        "data": { "number": n, "claims": { "given_names": "ADA", "family_name": "LOVELACE" } },
    })
}

/// The line that tells how far it is: in place on a terminal, once a second elsewhere.
struct Progress {
    events: usize,
    in_place: bool,
    shown_at: Option<Instant>,
}

impl Progress {
    fn start(events: usize) -> Self {
        Self { events, in_place: std::io::stdout().is_terminal(), shown_at: None }
    }

    fn show(&mut self, published: usize, endpoints: &[Endpoint]) {
        let pause = Duration::from_millis(if self.in_place { 100 } else { 1000 });
        if self.shown_at.is_none_or(|at| at.elapsed() >= pause) {
            self.shown_at = Some(Instant::now());
            self.line(published, endpoints);
        }
    }

    fn line(&self, published: usize, endpoints: &[Endpoint]) {
        let mut line = format!("published {published}/{}", self.events);
        for endpoint in endpoints {
            line.push_str(&format!(
                "   {}: {} requests, {} accepted",
                endpoint.name.split(':').next().unwrap_or_default(),
                endpoint.receiver.arrived(),
                endpoint.receiver.accepted(),
            ));
        }
        if self.in_place {
            print!("\r\x1b[K{line}");
            // A terminal that is gone needs no progress.
            let _ = std::io::stdout().flush();
        } else {
            println!("{line}");
        }
    }

    fn end(&self, published: usize, endpoints: &[Endpoint]) {
        self.line(published, endpoints);
        println!();
    }
}
