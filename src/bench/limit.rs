//! What the machine can do at most: seal, sign and send from memory, with nothing stored. It uses the daemon's own
//! sealer and courier, in a process of its own, towards the same receiver.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hookseal_core::delivery::{Delivery, Progress};
use hookseal_core::error::{Error, Result};
use hookseal_core::event::{Catalogue, Publication, PublishFields};
use hookseal_core::id::{EndpointId, KeyId, Minter};
use hookseal_core::key::{EncryptionKey, PublicJwk};
use hookseal_core::outcome::Outcome;
use hookseal_core::ports::{Clock as _, Sealer as _, Secret};
use hookseal_core::retention::RetentionHours;
use hookseal_core::retry::RetrySchedule;
use hookseal_core::target::TargetRules;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::child::{Child, follow_parent, told};
use super::payload;
use super::samples::now_ns;
use super::usage::{cpu_seconds, machine_seconds};
use crate::clock::AnchoredClock;
use crate::courier::{Address, Courier, tls_config};
use crate::crypto::SystemEntropy;
use crate::crypto::seal::JoseSealer;

const WARM_UP: Duration = Duration::from_secs(1);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// What is to be sent, for how long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) url: String,
    pub(super) secret: String,
    pub(super) public_jwk: Value,
    /// Sends under way at once.
    pub(super) window: usize,
    pub(super) seconds: u64,
    /// Bytes of `data`.
    pub(super) payload: usize,
    /// The receiver's process.
    pub(super) receiver: u32,
}

/// What was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Limit {
    pub(super) sent: u64,
    pub(super) failed: u64,
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) receiver_cpu_seconds: f64,
    /// Processors that somebody else used, on average.
    pub(super) cores_of_others: f64,
}

impl Limit {
    pub(super) fn per_second(&self) -> f64 {
        self.sent as f64 / self.seconds
    }

    pub(super) fn cpu_us_per_delivery(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.sent.max(1) as f64
    }
}

/// Measures it in a process of its own.
pub(super) async fn measure(directory: &Path, task: &Task) -> Result<Limit> {
    let mut child = Child::start("the limit", "bench-limit", directory, &[])?;
    child.tell(&serde_json::to_string(task).map_err(fault)?)?;
    let within = WARM_UP + Duration::from_secs(task.seconds) + ATTEMPT_TIMEOUT * 2;
    serde_json::from_str(&child.hear("limit ", within).await?).map_err(fault)
}

fn fault(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::broken("the limit", error)
}

struct Work {
    task: Task,
    sealer: JoseSealer,
    key: EncryptionKey,
    plaintext: Vec<u8>,
    clock: AnchoredClock,
    minter: Minter,
    from_ns: u64,
    until_ns: u64,
    sent: AtomicU64,
    failed: AtomicU64,
}

/// Runs the process: reads its task from standard input, prints what came of it.
///
/// # Errors
/// [`Error::Broken`] for a task that it does not understand.
pub(crate) fn run() -> Result<()> {
    let task: Task = serde_json::from_str(&told()?).map_err(fault)?;
    follow_parent();
    let (warm_up, measured) = (WARM_UP, Duration::from_secs(task.seconds));
    let work = Arc::new(Work::new(task, warm_up, measured)?);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads: Vec<_> = (0..cores)
        .map(|core| {
            let work = work.clone();
            let loops = work.task.window / cores + usize::from(core < work.task.window % cores);
            std::thread::spawn(move || actix::System::new().block_on(send_many(work, loops)))
        })
        .collect();
    let spent =
        || [cpu_seconds(std::process::id()), cpu_seconds(work.task.receiver), machine_seconds()];
    std::thread::sleep(warm_up);
    let before = spent();
    std::thread::sleep(measured);
    let after = spent();
    let [cpu_seconds, receiver_cpu_seconds, machine] = [0, 1, 2].map(|of| after[of] - before[of]);
    for thread in threads {
        thread.join().map_err(|_| fault("a thread panicked"))??;
    }
    let limit = Limit {
        sent: work.sent.load(Ordering::Relaxed),
        failed: work.failed.load(Ordering::Relaxed),
        seconds: measured.as_secs_f64(),
        cpu_seconds,
        receiver_cpu_seconds,
        cores_of_others: {
            let others = machine - cpu_seconds - receiver_cpu_seconds;
            (others / measured.as_secs_f64()).max(0.0)
        },
    };
    println!("limit {}", serde_json::to_string(&limit).map_err(fault)?);
    Ok(())
}

impl Work {
    fn new(task: Task, warm_up: Duration, measured: Duration) -> Result<Self> {
        let clock = AnchoredClock::start();
        let minter = Minter::new(Arc::new(SystemEntropy));
        let now = clock.now();
        let mut jwk = task.public_jwk.as_object().cloned().unwrap_or_default();
        jwk.remove("key_ops");
        let key = EncryptionKey {
            id: minter.key(),
            endpoint_id: EndpointId::from_row("whe_limit"),
            key_id: "bench".to_owned(),
            jwk: PublicJwk::judge(&jwk)?,
            is_active: true,
            created_at: now,
            updated_at: now,
            disabled_at: None,
        };
        let event = json!({
            "organization_id": "00000000-0000-4000-8000-000000000000",
            "type": super::EVENT_TYPE, "trigger_type": super::TRIGGER_TYPE, "trigger_id": "vs_limit",
            "data": {},
        });
        let mut fields: PublishFields = serde_json::from_value(event).map_err(fault)?;
        fields.data =
            serde_json::value::RawValue::from_string(payload::data(task.payload)).map_err(fault)?;
        let publication: Publication = fields.judge(&Catalogue::default())?;
        let plaintext = publication.plaintext(&minter.event(now));
        let from_ns = now_ns() + warm_up.as_nanos() as u64;
        Ok(Self {
            task,
            sealer: JoseSealer::default(),
            key,
            plaintext,
            clock,
            minter,
            from_ns,
            until_ns: from_ns + measured.as_nanos() as u64,
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    fn delivery(&self) -> Delivery {
        let now = self.clock.now();
        Delivery {
            id: self.minter.delivery(now),
            organization_id: hookseal_core::id::OrganizationId::from_row("limit"),
            event_id: self.minter.event(now),
            event_type: super::EVENT_TYPE.into(),
            endpoint_id: self.key.endpoint_id.clone(),
            key_id: Some(KeyId::from_row("whk_limit")),
            created_at: now,
            progress: Progress::accepted(&RetrySchedule::default(), RetentionHours::default(), now),
        }
    }

    async fn send_on(&self, courier: &Courier, address: &Address) -> Result<()> {
        loop {
            let sealed = self.sealer.seal(&self.key, &self.plaintext);
            let sealed = sealed.map_err(|error| fault(error.0))?;
            let now = self.clock.now();
            let outcome = courier.send(&self.delivery(), sealed, address, now).await;
            let taken = matches!(outcome, Outcome::Answered { status: 200..=299, .. });
            let at = now_ns();
            if at >= self.until_ns {
                return Ok(());
            }
            if at >= self.from_ns {
                let tally = if taken { &self.sent } else { &self.failed };
                tally.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

async fn send_many(work: Arc<Work>, loops: usize) -> Result<()> {
    let rules = Arc::new(TargetRules { development: true, allowed: Vec::new() });
    let address = Address::new(&rules, &work.task.url, Secret::new(work.task.secret.as_str()));
    let courier: Rc<Courier> = Courier::new(tls_config(), rules, ATTEMPT_TIMEOUT);
    let ended = join_all((0..loops).map(|_| work.send_on(&courier, &address))).await;
    ended.into_iter().collect()
}
