//! A thousand who watch one endpoint each, and ten who watch everything, while two thousand deliveries
//! settle a second: each sees every change once and in order, at a bounded cost. And one who is cut off a
//! hundred times and goes on by his cursor. `cargo bench --bench subscribers`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "shared with the tests, which use all of it")]

mod common;
#[path = "../tests/suite/support/daemon.rs"]
mod daemon;
#[path = "../tests/suite/support/leavings.rs"]
mod leavings;
#[path = "../tests/suite/support/openapi.rs"]
mod openapi;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use actix_web::web;
use awc::error::WsProtocolError;
use awc::ws::{Frame, Message};
use daemon::{Daemon, Home, Tenant, wait};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use josekit::jwe::RSA_OAEP_256;
use serde::Deserialize;
use serde_json::{Value, json};

const ENDPOINTS: usize = 1_000;
/// Those who watch every endpoint.
const OVERSEERS: usize = 10;
const TARGETS: usize = 2;
const DELIVERIES_PER_SECOND: usize = 2_000;
const PHASE: Duration = Duration::from_secs(15);
const PUBLISHERS: usize = 4;
const BATCH: usize = 25;
const CUTS: usize = 100;
/// How long what was published may take to settle, and to be seen, after the last publish.
const PATIENCE: Duration = Duration::from_secs(60);

/// Deliveries settled per second with subscribers, as a part of those without.
const THROUGHPUT: f64 = 0.8;
/// Memory of the daemon for one subscriber.
const MEMORY_KIB: f64 = 100.0;

const WATCHED: &str = "subscription($endpoint: ID, $after: String) {
    deliveryChanged(filter: { endpointId: $endpoint }, after: $after) {
        cursor gap change delivery { id attemptCount } } }";

fn main() {
    let home = Home::new(&[
        ("HOOKSEAL_ENDPOINTS_PER_ORGANIZATION", "1000"),
        ("HOOKSEAL_IDLE_AFTER", "1h"),
    ]);
    let daemon = home.start();
    let stage = Stage::set(&daemon);

    let alone = stage.load("alone", PHASE);
    println!("{}", alone.told("alone"));
    let before_kib = daemon_kib(&daemon);
    let cursor = stage.head("watched");
    let subscribers = Subscribers::connect(&stage, &cursor);
    std::thread::sleep(Duration::from_secs(2));
    let idle_kib = daemon_kib(&daemon);
    let watched = stage.load("watched", PHASE);
    let expected = (1 + OVERSEERS) * watched.deliveries.len();
    subscribers.wait(expected);
    println!("{}", watched.told("watched"));

    let each = |kib: u64, before: u64| kib.saturating_sub(before) as f64 / subscribers.count();
    let (idle, peak) = (each(idle_kib, before_kib), each(watched.peak_kib, alone.peak_kib));
    println!("memory of each: {idle:.1} KiB idle, {peak:.1} KiB under load (at most {MEMORY_KIB})");
    let faults = subscribers.faults(&watched.deliveries);
    println!("faults in what was seen: {faults:?}");
    drop(subscribers);
    // Before and after: what else runs here comes and goes.
    let again = stage.load("again", PHASE);
    println!("{}", again.told("alone again"));
    let without = (alone.settled_per_second() + again.settled_per_second()) / 2.0;
    let throughput = watched.settled_per_second() / without;
    println!("throughput {throughput:.2} (at least {THROUGHPUT})");
    assert!(faults.is_empty(), "every change once and in order");
    assert!(idle <= MEMORY_KIB && peak <= MEMORY_KIB, "a subscriber costs too much memory");
    assert!(throughput >= THROUGHPUT, "subscribers slow deliveries down");

    let (seen, gone_on) = resume(&stage);
    println!("cut off {CUTS} times: {gone_on} changes of {seen} seen, each once and in order");
}

/// One organization with all its endpoints, which one receiver serves.
struct Stage<'a> {
    daemon: &'a Daemon,
    tenant: Tenant,
    endpoints: Vec<String>,
}

/// One phase of publishing, and what it cost.
struct Load {
    /// Each delivery, and the number of its endpoint.
    deliveries: HashMap<u64, usize>,
    settled_within: Duration,
    peak_kib: u64,
    /// Seconds of processor by thread name: the daemon's and this process's.
    daemon_cpu: BTreeMap<String, f64>,
    own_cpu: BTreeMap<String, f64>,
}

impl Load {
    fn settled_per_second(&self) -> f64 {
        self.deliveries.len() as f64 / self.settled_within.as_secs_f64()
    }

    fn told(&self, name: &str) -> String {
        let Self { deliveries, peak_kib, daemon_cpu, own_cpu, .. } = self;
        let cpu = |of: &BTreeMap<String, f64>| {
            let parts: Vec<_> = of.iter().filter(|(_, seconds)| **seconds >= 0.1).collect();
            format!("{:.1} s {parts:.1?}", of.values().sum::<f64>())
        };
        format!(
            "{name}: {} deliveries, {:.0}/s settled, peak {peak_kib} KiB\n  daemon {}\n  this process {}",
            deliveries.len(),
            self.settled_per_second(),
            cpu(daemon_cpu),
            cpu(own_cpu),
        )
    }
}

impl<'a> Stage<'a> {
    fn set(daemon: &'a Daemon) -> Self {
        let tenant = daemon.tenant();
        let pair = RSA_OAEP_256.generate_key_pair(2048).unwrap();
        let mut jwk = pair.to_jwk_public_key();
        jwk.set_algorithm("RSA-OAEP-256");
        let key = json!({
            "key_id": "k1", "algorithm": "RSA-OAEP-256", "key_type": "RSA",
            "jwk": Value::Object(jwk.as_ref().clone()),
        });
        let url = common::accepting();
        let register = |_| {
            let made = tenant.caller.post("/v1/webhooks/endpoints", json!({ "url": url })).ok();
            let id = made["endpoint"]["id"].as_str().unwrap();
            tenant.caller.post(&format!("/v1/webhooks/endpoints/{id}/keys"), key.clone()).ok();
            id.to_owned()
        };
        let endpoints = (0..ENDPOINTS).map(register).collect();
        Self { daemon, tenant, endpoints }
    }

    fn event(&self, trigger: &str, endpoints: &[&str]) -> Value {
        let mut event = self.tenant.event(trigger, json!({ "n": trigger }));
        event["webhook_endpoint_ids"] = json!(endpoints);
        event
    }

    /// A cursor behind all that has happened.
    fn head(&self, name: &str) -> String {
        actix_web::rt::System::new().block_on(async {
            let mut socket = connect(&self.tenant).await;
            subscribe(&mut socket, json!({})).await;
            // It begins with what comes once the daemon has heard of it.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let event = self.event(&format!("vs_before_{name}"), &[&self.endpoints[0]]);
            self.tenant.platform.post("/v1/platform/events", event).ok();
            loop {
                let item = item(&mut socket).await;
                if item.change == Change::Settled {
                    return item.cursor;
                }
            }
        })
    }

    /// Publishes at the offered rate for as long as `keep_on`; every event goes to the next endpoints.
    fn publish(
        &self,
        name: &str,
        rate: usize,
        keep_on: impl Fn() -> bool + Sync,
    ) -> HashMap<u64, usize> {
        let pause = Duration::from_secs(1) * (BATCH * TARGETS * PUBLISHERS) as u32 / rate as u32;
        let numbers: HashMap<&str, usize> =
            self.endpoints.iter().enumerate().map(|(number, id)| (id.as_str(), number)).collect();
        let answers = Mutex::new(Vec::new());
        let events = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for publisher in 0..PUBLISHERS {
                let (keep_on, answers, events) = (&keep_on, &answers, &events);
                let publish = move || {
                    let started = Instant::now() + pause / PUBLISHERS as u32 * publisher as u32;
                    let mut due = started;
                    while keep_on() {
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        due += pause;
                        let batch: Vec<Value> = (0..BATCH)
                            .map(|_| {
                                let n = events.fetch_add(1, Ordering::Relaxed);
                                let target = |i: usize| {
                                    self.endpoints[(n * TARGETS + i) % ENDPOINTS].as_str()
                                };
                                let targets: Vec<_> = (0..TARGETS).map(target).collect();
                                self.event(&format!("vs_{name}_{n}"), &targets)
                            })
                            .collect();
                        let answer =
                            common::publish(&self.tenant.platform, &json!(batch).to_string());
                        answers.lock().unwrap().push(answer);
                    }
                };
                let named = std::thread::Builder::new().name("publisher".into());
                named.spawn_scoped(scope, publish).unwrap();
            }
        });
        let mut deliveries = HashMap::new();
        for answer in answers.into_inner().unwrap() {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            for item in answer["data"].as_array().unwrap() {
                assert_eq!(item["status"], 202, "{item}");
                for delivery in item["event"]["deliveries"].as_array().unwrap() {
                    let endpoint = numbers[delivery["webhook_endpoint_id"].as_str().unwrap()];
                    deliveries.insert(hash(delivery["id"].as_str().unwrap()), endpoint);
                }
            }
        }
        deliveries
    }

    /// Publishes for `time` and waits until all has settled.
    fn load(&self, name: &str, time: Duration) -> Load {
        let settled_before = self.settled();
        let (daemon_cpu, own_cpu) = (cpu(self.daemon.id()), cpu(std::process::id()));
        let started = Instant::now();
        let over = AtomicBool::new(false);
        let (deliveries, settled_within, peak_kib) = std::thread::scope(|scope| {
            // Memory and progress are looked at all the while: the end is known only afterwards.
            let watch = scope.spawn(|| {
                let (mut peak_kib, mut seen, mut at) = (0, settled_before, started.elapsed());
                while !over.load(Ordering::Relaxed) {
                    peak_kib = peak_kib.max(daemon_kib(self.daemon));
                    let settled = self.settled();
                    if settled > seen {
                        (seen, at) = (settled, started.elapsed());
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
                (at, peak_kib)
            });
            let deliveries = self.publish(name, DELIVERIES_PER_SECOND, || started.elapsed() < time);
            wait(PATIENCE, "all to settle", || self.settled() - settled_before >= deliveries.len());
            std::thread::sleep(Duration::from_millis(300));
            over.store(true, Ordering::Relaxed);
            let (settled_within, peak_kib) = watch.join().unwrap();
            (deliveries, settled_within, peak_kib)
        });
        let since = |before: BTreeMap<String, f64>, id| {
            let spent = cpu(id).into_iter().map(|(name, seconds)| {
                let before = before.get(&name).copied().unwrap_or_default();
                (name, seconds - before)
            });
            spent.collect()
        };
        Load {
            deliveries,
            settled_within,
            peak_kib,
            daemon_cpu: since(daemon_cpu, self.daemon.id()),
            own_cpu: since(own_cpu, std::process::id()),
        }
    }

    /// Attempts that were answered with success so far.
    fn settled(&self) -> usize {
        let metrics = self.tenant.caller.send("GET", "/metrics", &[], "").text;
        let name = "hookseal_attempts_total{result=\"delivered\"} ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |count| count.parse().unwrap())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Change {
    Created,
    Claimed,
    Settled,
    Requeued,
    Scrubbed,
    Failed,
}

/// A change that was seen.
struct Item {
    cursor: String,
    delivery: u64,
    change: Change,
}

#[derive(Deserialize)]
struct Next<'a> {
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "deliveryChanged", borrow)]
    changed: Changed<'a>,
}

#[derive(Deserialize)]
struct Changed<'a> {
    cursor: &'a str,
    change: Option<Change>,
    #[serde(borrow)]
    delivery: Option<Delivery<'a>>,
}

#[derive(Deserialize)]
struct Delivery<'a> {
    id: &'a str,
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

trait Socket:
    Stream<Item = Result<Frame, WsProtocolError>> + Sink<Message, Error = WsProtocolError> + Unpin
{
}

impl<S> Socket for S where
    S: Stream<Item = Result<Frame, WsProtocolError>>
        + Sink<Message, Error = WsProtocolError>
        + Unpin
{
}

async fn say(socket: &mut impl Socket, message: &Value) {
    socket.send(Message::Text(message.to_string().into())).await.unwrap();
}

async fn hear(socket: &mut impl Socket) -> web::Bytes {
    loop {
        match socket.next().await {
            Some(Ok(Frame::Text(text))) => return text,
            Some(Ok(Frame::Ping(bytes))) => socket.send(Message::Pong(bytes)).await.unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

async fn connect(tenant: &Tenant) -> impl Socket + use<> {
    let url = format!("{}/graphql", tenant.caller.base.replacen("http", "ws", 1));
    let request = awc::Client::new()
        .ws(url)
        .protocols(["graphql-transport-ws"])
        .header("authorization", format!("Bearer {}", tenant.caller.key));
    let (_, mut socket) = request.connect().await.unwrap();
    say(&mut socket, &json!({ "type": "connection_init" })).await;
    assert_eq!(hear(&mut socket).await, "{\"type\":\"connection_ack\"}");
    socket
}

async fn subscribe(socket: &mut impl Socket, variables: Value) {
    let payload = json!({ "query": WATCHED, "variables": variables });
    say(socket, &json!({ "id": "d", "type": "subscribe", "payload": payload })).await;
}

/// The next item, which is no gap.
async fn item(socket: &mut impl Socket) -> Item {
    let text = hear(socket).await;
    let text = std::str::from_utf8(&text).unwrap();
    let next: Next = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let Changed { cursor, change, delivery } = next.payload.data.changed;
    let (Some(change), Some(delivery)) = (change, delivery) else { panic!("a gap: {text}") };
    Item { cursor: cursor.to_owned(), delivery: hash(delivery.id), change }
}

/// What one subscriber saw of each delivery, in order.
type Sight = Arc<Mutex<HashMap<u64, Vec<Change>>>>;

/// All who watch, on a thread of their own.
struct Subscribers {
    /// Of each endpoint in turn, then those of everything.
    sights: Vec<Sight>,
    settled: Arc<AtomicUsize>,
    over: tokio::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Subscribers {
    fn connect(stage: &Stage, cursor: &str) -> Self {
        let mut watched: Vec<Value> =
            stage.endpoints.iter().map(|id| json!({ "endpoint": id, "after": cursor })).collect();
        watched.extend((0..OVERSEERS).map(|_| json!({ "after": cursor })));
        let sights: Vec<Sight> = watched.iter().map(|_| Sight::default()).collect();
        let settled = Arc::new(AtomicUsize::new(0));
        let (over, mut to_end) = tokio::sync::mpsc::channel::<()>(1);
        let (told, connected) = mpsc::channel();
        let work = {
            let (tenant, sights, settled) = (stage.tenant.clone(), sights.clone(), settled.clone());
            move || async move {
                for (variables, sight) in watched.into_iter().zip(sights) {
                    let mut socket = connect(&tenant).await;
                    subscribe(&mut socket, variables).await;
                    let settled = settled.clone();
                    actix_web::rt::spawn(async move {
                        loop {
                            let Item { delivery, change, .. } = item(&mut socket).await;
                            sight.lock().unwrap().entry(delivery).or_default().push(change);
                            if change == Change::Settled {
                                settled.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
                told.send(()).unwrap();
                to_end.recv().await;
            }
        };
        let named = std::thread::Builder::new().name("subscribers".into());
        let thread = named.spawn(|| actix_web::rt::System::new().block_on(work())).unwrap();
        connected.recv().unwrap();
        Self { sights, settled, over, thread }
    }

    fn count(&self) -> f64 {
        self.sights.len() as f64
    }

    /// Waits until the end of so many deliveries was seen, but not for ever.
    fn wait(&self, expected: usize) {
        let started = Instant::now();
        while self.settled.load(Ordering::Relaxed) < expected && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What was not seen once and in order, counted by what is wrong with it.
    fn faults(&self, deliveries: &HashMap<u64, usize>) -> BTreeMap<String, usize> {
        let mut faults = BTreeMap::new();
        let mut wrong = |what: String| *faults.entry(what).or_default() += 1;
        for (number, sight) in self.sights.iter().enumerate() {
            let sight = sight.lock().unwrap();
            let wanted = |endpoint: usize| number >= ENDPOINTS || number == endpoint;
            for (delivery, endpoint) in deliveries.iter().filter(|(_, it)| wanted(**it)) {
                match sight.get(delivery).map(Vec::as_slice) {
                    Some(
                        [Change::Created, Change::Settled]
                        | [Change::Created, Change::Claimed, Change::Settled],
                    ) => {}
                    Some(other) => wrong(format!("{other:?}")),
                    None => wrong(format!("missing of endpoint {endpoint}")),
                }
            }
            for delivery in sight.keys() {
                if !deliveries.get(delivery).is_some_and(|endpoint| wanted(*endpoint)) {
                    wrong("not asked for".to_owned());
                }
            }
        }
        faults
    }
}

/// One who watches everything and is cut off again and again, beside one who is not: both see the same. So
/// many changes there were, and so many the first one saw.
fn resume(stage: &Stage) -> (usize, usize) {
    let start = stage.head("cut");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            stage.publish("cut", DELIVERIES_PER_SECOND / 4, || !over.load(Ordering::Relaxed))
        });
        actix_web::rt::System::new().block_on(async {
            let whole = Rc::new(RefCell::new(Vec::new()));
            let mut socket = connect(&stage.tenant).await;
            subscribe(&mut socket, json!({ "after": start })).await;
            let settled = Rc::new(RefCell::new(0));
            actix_web::rt::spawn({
                let (whole, settled) = (whole.clone(), settled.clone());
                async move {
                    loop {
                        let item = item(&mut socket).await;
                        *settled.borrow_mut() += usize::from(item.change == Change::Settled);
                        whole.borrow_mut().push(item.cursor);
                    }
                }
            });
            let mut handled: Vec<String> = Vec::new();
            for cut in 0..CUTS {
                let mut socket = connect(&stage.tenant).await;
                let after = handled.last().unwrap_or(&start);
                subscribe(&mut socket, json!({ "after": after })).await;
                // As many as take it from the start of a batch to anywhere within one.
                for _ in 0..=cut * 37 % 97 {
                    handled.push(item(&mut socket).await.cursor);
                }
            }
            over.store(true, Ordering::Relaxed);
            while !publisher.is_finished() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let deliveries = publisher.join().unwrap();
            let deadline = Instant::now() + PATIENCE;
            while *settled.borrow() < deliveries.len() {
                assert!(Instant::now() < deadline, "not all settled");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let whole = whole.borrow().clone();
            let mut socket = connect(&stage.tenant).await;
            subscribe(&mut socket, json!({ "after": handled.last() })).await;
            while handled.last() != whole.last() {
                handled.push(item(&mut socket).await.cursor);
                assert!(handled.len() <= whole.len(), "something was doubled");
            }
            assert!(handled == whole, "something was missed or came in another order");
            (whole.len(), handled.len())
        })
    })
}

/// Resident memory of the daemon.
fn daemon_kib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Seconds of processor that a process has used, by the names of its threads.
fn cpu(process: u32) -> BTreeMap<String, f64> {
    let seconds = |stat: &str| {
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        let ticks = |n: usize| rest.split_whitespace().nth(n).unwrap().parse::<f64>().unwrap();
        (name.to_owned(), (ticks(11) + ticks(12)) / 100.0)
    };
    let whole = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let mut ended = seconds(&whole).1;
    let mut used = BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        // One that ends meanwhile is counted with those that have.
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat"));
        let Ok(stat) = stat else { continue };
        let (name, spent) = seconds(&stat);
        ended -= spent;
        *used.entry(name).or_default() += spent;
    }
    used.insert("ended".to_owned(), ended.max(0.0));
    used
}
