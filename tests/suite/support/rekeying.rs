//! Both forms of rekey beside a daemon at work: it delivers, shows and rotates secrets all the while.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hookseal::clock::AnchoredClock;
use hookseal::crypto::SystemEntropy;
use hookseal::crypto::vault::{KeySource, KeyVault, MasterWrap};
use hookseal::demo::receiver::{Behaviour, Receiver};
use hookseal::store::Connections;
use hookseal_core::id::{Minter, OrganizationId};
use hookseal_core::ports::{Secret, SecretColumn, Vault as _};
use hookseal_entity::{data_key, endpoint};
use sea_orm::{
    ColumnTrait as _, Database, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
};
use serde_json::{Value, json};

use super::daemon::{Caller, Daemon, Home, Tenant, ended};

/// Endpoints that events are delivered to, and endpoints whose secrets are rotated; all others only hold one.
const LIVE: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// What was seen.
#[derive(Debug)]
pub struct Rekeyed {
    /// How long the change of the master key took.
    pub master: Duration,
    /// How long the change of the data key took.
    pub data: Duration,
    pub deliveries: usize,
    pub reads: usize,
    pub slowest_read: Duration,
    pub rotations: usize,
    /// Rotations that were answered 503 because the key changed under them.
    pub put_off: usize,
}

/// The base64url of 32 bytes.
pub fn master_key(byte: u8) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([byte; 32])
}

/// Writes a master key into a file that nobody but its owner can read.
pub fn write_key(path: &Path, key: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    std::io::Write::write_all(&mut file.unwrap(), key.as_bytes()).unwrap();
}

/// Every endpoint's row.
pub async fn endpoint_rows(url: &str) -> Vec<endpoint::Model> {
    let db = Database::connect(url).await.unwrap();
    let rows = endpoint::Entity::find().all(&db).await.unwrap();
    db.close().await.unwrap();
    rows
}

/// The data keys of signing secrets.
pub async fn data_keys(url: &str) -> Vec<data_key::Model> {
    let db = Database::connect(url).await.unwrap();
    let purpose = data_key::Column::Purpose.eq("signing_secrets");
    let rows = data_key::Entity::find().filter(purpose).all(&db).await.unwrap();
    db.close().await.unwrap();
    rows
}

/// Changes the master key and then the data key of `count` endpoints in the database at `url`, embedded
/// in a home's data directory when there is none.
///
/// # Panics
/// When a delivery or a read fails, or a secret stays behind or is lost.
pub fn rekey_under_load(url: Option<&str>, count: usize) -> Rekeyed {
    let keys = tempfile::tempdir().unwrap();
    let [key, next] = ["key", "next"].map(|name| keys.path().join(name));
    write_key(&key, &master_key(1));
    write_key(&next, &master_key(2));
    let mut settings = vec![("HOOKSEAL_MASTER_KEY_FILE", key.to_str().unwrap())];
    settings.extend(url.map(|url| ("HOOKSEAL_DATABASE_URL", url)));
    let home = Home::new(&settings);
    let url = match url {
        Some(url) => url.to_owned(),
        None => format!("sqlite://{}?mode=rw", home.data_dir().join("hookseal.sqlite3").display()),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let daemon = home.start();
    let load = Load::prepare(&daemon);
    let held = runtime.block_on(fill(&url, &key, &load.holder, count));
    let before = runtime.block_on(endpoint_rows(&url));

    let run = |arguments: &[&str]| {
        let started = Instant::now();
        let ended = ended(home.command().arg("rekey").args(arguments));
        assert!(ended.success, "{}", ended.stderr);
        started.elapsed()
    };
    let stop = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let load = &load;
        let publisher = scope.spawn(|| load.publish_until(&stop));
        let reader = scope.spawn(|| load.read_until(&stop, &held));
        let rotator = scope.spawn(|| load.rotate_until(&stop));
        let in_between = || std::thread::sleep(Duration::from_millis(300));
        in_between();
        let master = run(&["--new-key-file", next.to_str().unwrap()]);
        std::fs::copy(&next, &key).unwrap();
        in_between();
        let data = run(&["--data"]);
        in_between();
        stop.store(true, Ordering::Relaxed);
        let (reads, slowest_read) = reader.join().unwrap();
        let (rotations, put_off) = rotator.join().unwrap();
        let deliveries = publisher.join().unwrap();
        Rekeyed { master, data, deliveries, reads, slowest_read, rotations, put_off }
    });
    load.every_delivery_succeeded_at_once(seen.deliveries);
    runtime.block_on(all_under_one_key(&url, &before, &load.holder.organization));

    assert!(daemon.terminate().success());
    let daemon = home.start();
    load.at(&daemon).read_all(&held);
    seen
}

/// Endpoints that hold a secret each and get no events; made in the rows, since there may be many.
async fn fill(url: &str, key: &Path, holder: &Tenant, count: usize) -> HashMap<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let connections = Connections::connect(Some(url), directory.path()).await.unwrap();
    let wrap = Arc::new(MasterWrap::open(KeySource::file("key", key)).await.unwrap());
    let vault = KeyVault::open(&connections, wrap, &AnchoredClock::start()).await.unwrap();
    let db = Database::connect(url).await.unwrap();
    let template = endpoint::Entity::find().one(&db).await.unwrap().unwrap();
    let organization = OrganizationId::from_row(holder.organization.clone());
    let minter = Minter::new(Arc::new(SystemEntropy));
    let mut held = HashMap::new();
    while held.len() < count {
        let mut rows = Vec::new();
        for _ in 0..500.min(count - held.len()) {
            let (id, secret) = (minter.endpoint(), minter.signing_secret());
            let locked = vault
                .lock(&organization, &id, SecretColumn::Current, &Secret::new(secret.clone()))
                .await;
            rows.push(
                endpoint::Model {
                    id: id.to_string(),
                    organization_id: organization.to_string(),
                    signing_secret: locked.unwrap(),
                    subscribed_event_types: "[]".into(),
                    ..template.clone()
                }
                .into_active_model(),
            );
            held.insert(id.to_string(), secret);
        }
        endpoint::Entity::insert_many(rows).exec_without_returning(&db).await.unwrap();
    }
    db.close().await.unwrap();
    connections.close().await;
    held
}

/// Every secret is under the one data key that is left, and nothing else of its row has changed but by
/// rotation.
async fn all_under_one_key(url: &str, before: &[endpoint::Model], holder: &str) {
    let keys = data_keys(url).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let prefix = format!("{}.", keys[0].id);
    let after: HashMap<_, _> =
        endpoint_rows(url).await.into_iter().map(|row| (row.id.clone(), row)).collect();
    for row in before {
        let now = &after[&row.id];
        assert!(now.signing_secret.starts_with(&prefix), "{} is left behind", row.id);
        assert_ne!(now.signing_secret, row.signing_secret);
        // Nothing else of those is touched but by us.
        if row.organization_id == holder {
            let row = endpoint::Model { signing_secret: now.signing_secret.clone(), ..row.clone() };
            assert_eq!(*now, row);
        }
    }
}

/// What works on the daemon.
struct Load {
    tenant: Tenant,
    /// Whose endpoints only hold secrets: they are no audience of what is published.
    holder: Tenant,
    /// Receivers that verify and decrypt what is published.
    receivers: Vec<Receiver>,
    /// Endpoints whose secrets are rotated, with the latest of each.
    rotated: Mutex<HashMap<String, String>>,
}

impl Load {
    fn prepare(daemon: &Daemon) -> Self {
        let (tenant, holder) = (daemon.tenant(), daemon.tenant());
        let receivers: Vec<_> = (0..LIVE).map(|_| Receiver::start(Behaviour::Accept)).collect();
        for receiver in &receivers {
            tenant.register(receiver, json!({}));
        }
        let rotated = (0..LIVE).map(|n| {
            let url = format!("https://example.com/{n}");
            let settings = json!({ "url": url, "subscribed_event_types": [] });
            let made = tenant.caller.post("/v1/webhooks/endpoints", settings).ok();
            let word = |value: &Value| value.as_str().unwrap().to_owned();
            (word(&made["endpoint"]["id"]), word(&made["signing_secret"]))
        });
        Self { rotated: Mutex::new(rotated.collect()), tenant, holder, receivers }
    }

    fn at(self, daemon: &Daemon) -> Self {
        let moved = |tenant: Tenant| {
            let caller = Caller::new(&daemon.url, &tenant.caller.key);
            Tenant { caller, ..tenant }
        };
        Self { tenant: moved(self.tenant), holder: moved(self.holder), ..self }
    }

    /// Answers how many deliveries there are.
    fn publish_until(&self, stop: &AtomicBool) -> usize {
        let mut events = 0;
        while !stop.load(Ordering::Relaxed) {
            self.tenant.publish(&format!("vs_{events}"), json!({ "n": events }));
            events += 1;
            std::thread::sleep(Duration::from_millis(40));
        }
        events * LIVE
    }

    fn read_until(&self, stop: &AtomicBool, held: &HashMap<String, String>) -> (usize, Duration) {
        let (mut reads, mut slowest) = (0, Duration::ZERO);
        for (id, secret) in held.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let started = Instant::now();
            assert_eq!(reveal(&self.holder.caller, id), *secret);
            slowest = slowest.max(started.elapsed());
            reads += 1;
        }
        (reads, slowest)
    }

    fn rotate_until(&self, stop: &AtomicBool) -> (usize, usize) {
        let (mut rotations, mut put_off) = (0, 0);
        let ids: Vec<_> = self.rotated.lock().unwrap().keys().cloned().collect();
        for id in ids.into_iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let path = format!("/v1/webhooks/endpoints/{id}/signing-secret/rotate");
            let answer = self.tenant.caller.post(&path, json!({}));
            if answer.status == 503 {
                put_off += 1;
                continue;
            }
            let secret = answer.ok()["signing_secret"].as_str().unwrap().to_owned();
            self.rotated.lock().unwrap().insert(id, secret);
            rotations += 1;
            // A publish is sealed anew for every change that overtakes it, and gives up at some time.
            std::thread::sleep(Duration::from_millis(150));
        }
        (rotations, put_off)
    }

    fn every_delivery_succeeded_at_once(&self, count: usize) {
        self.tenant.settle(PATIENCE);
        let deliveries = self.tenant.deliveries("");
        assert_eq!(deliveries.len(), count);
        for delivery in deliveries {
            let ended = (&delivery["status"], &delivery["attempt_count"]);
            assert_eq!(ended, (&json!("succeeded"), &json!(1)), "{delivery}");
        }
        let accepted: usize = self.receivers.iter().map(Receiver::accepted).sum();
        assert_eq!(accepted, count);
    }

    /// The rotated endpoints' secrets and a hundred of the others.
    fn read_all(&self, held: &HashMap<String, String>) {
        for (id, secret) in self.rotated.lock().unwrap().iter() {
            assert_eq!(reveal(&self.tenant.caller, id), *secret);
        }
        for (id, secret) in held.iter().take(100) {
            assert_eq!(reveal(&self.holder.caller, id), *secret);
        }
    }
}

/// The signing secret of an endpoint, as its owner sees it.
pub fn reveal(caller: &Caller, id: &str) -> String {
    let path = format!("/v1/webhooks/endpoints/{id}/signing-secret/reveal");
    let shown: Value = caller.post(&path, json!({})).ok();
    shown["signing_secret"].as_str().unwrap().to_owned()
}
