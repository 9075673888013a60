//! Two thousand clients that never end what they send, and one that asks as everybody does: how much longer
//! it waits than without them. Whoever is cut off comes back at once. `cargo bench --bench slow_clients`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "shared with the tests, which use all of it")]

#[path = "../tests/suite/support/daemon.rs"]
mod daemon;
#[path = "../tests/suite/support/leavings.rs"]
mod leavings;
#[path = "../tests/suite/support/openapi.rs"]
mod openapi;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use daemon::{Home, PLATFORM_KEY, Tenant};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SLOW: usize = 2_000;
/// Healthy requests' p99 beside the slow ones, as a multiple of that without.
const P99_RATIO: f64 = 2.0;
const REQUESTS_PER_SECOND: u32 = 25;
/// Longer than a body may take to arrive.
const PHASE: Duration = Duration::from_secs(20);
/// Each phase runs so often, in turn; medians are compared.
const ROUNDS: usize = 3;
/// How often every other slow client sends another byte; the rest sends none.
const DRIP: Duration = Duration::from_secs(2);
/// They come one after the other, and are not all cut off in one moment.
const COME_WITHIN: Duration = Duration::from_secs(5);

fn main() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let crowd = Crowd::gather(&daemon.url);
    phase(&tenant);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(phase(&tenant));
        crowd.come();
        with.push(phase(&tenant));
        crowd.leave();
    }
    let (without, with) = (median(without), median(with));
    println!("{:>24} {:>10} {:>10}", "healthy requests", "p50 ms", "p99 ms");
    println!("{:>24} {:>10.2} {:>10.2}", "alone", without.0, without.1);
    println!("{:>24} {:>10.2} {:>10.2}", "beside slow clients", with.0, with.1);
    let ratio = with.1 / without.1;
    let cut = crowd.0.cut.load(Ordering::SeqCst);
    println!(
        "p99 ratio {ratio:.2} (at most {P99_RATIO}); {SLOW} slow clients, cut off {cut} times"
    );
    assert!(cut >= SLOW, "slow clients are cut off");
    assert!(ratio <= P99_RATIO, "slow clients are felt");
}

/// Asks at a steady rate, publishing and reading in turn; answers p50 and p99 in milliseconds.
fn phase(tenant: &Tenant) -> (f64, f64) {
    static SESSIONS: AtomicUsize = AtomicUsize::new(0);
    let (started, mut took) = (Instant::now(), Vec::new());
    for n in 0.. {
        let due = started + Duration::from_secs(1) / REQUESTS_PER_SECOND * n;
        if due - started > PHASE {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match n % 2 {
            0 => {
                let session = format!("vs_{}", SESSIONS.fetch_add(1, Ordering::SeqCst));
                drop(tenant.publish(&session, json!({})));
            }
            _ => drop(tenant.caller.get("/v1/webhooks/events").ok()),
        }
        // From when it was due, so that one that waits is felt by the next, too.
        took.push(due.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    (took[took.len() / 2], took[took.len() * 99 / 100])
}

fn median(mut rounds: Vec<(f64, f64)>) -> (f64, f64) {
    rounds.sort_by(|a, b| a.1.total_cmp(&b.1));
    rounds[rounds.len() / 2]
}

/// The slow clients, on a thread of their own.
struct Crowd(Arc<Shared>);

#[derive(Default)]
struct Shared {
    here: AtomicBool,
    connected: AtomicUsize,
    cut: AtomicUsize,
}

impl Crowd {
    fn gather(url: &str) -> Self {
        let shared = Arc::<Shared>::default();
        let (crowd, address) = (shared.clone(), url.split("://").nth(1).unwrap().to_owned());
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let clients =
                    (0..SLOW).map(|n| tokio::spawn(slow(crowd.clone(), address.clone(), n)));
                for client in clients.collect::<Vec<_>>() {
                    client.await.unwrap();
                }
            });
        });
        Self(shared)
    }

    fn come(&self) {
        self.0.here.store(true, Ordering::SeqCst);
        daemon::wait(Duration::from_secs(60), "the slow clients", || {
            self.0.connected.load(Ordering::SeqCst) >= SLOW * 9 / 10
        });
    }

    fn leave(&self) {
        self.0.here.store(false, Ordering::SeqCst);
        daemon::wait(Duration::from_secs(60), "the slow clients to leave", || {
            self.0.connected.load(Ordering::SeqCst) == 0
        });
    }
}

async fn slow(crowd: Arc<Shared>, address: String, n: usize) {
    let head = format!(
        "POST /v1/platform/events HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {PLATFORM_KEY}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    );
    let mut is_new = true;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !crowd.here.load(Ordering::SeqCst) {
            is_new = true;
            continue;
        }
        if std::mem::take(&mut is_new) {
            tokio::time::sleep(COME_WITHIN / SLOW as u32 * n as u32).await;
        }
        let Ok(mut stream) = TcpStream::connect(&address).await else { continue };
        crowd.connected.fetch_add(1, Ordering::SeqCst);
        let mut said = stream.write_all(head.as_bytes()).await;
        let mut answer = [0; 1024];
        while crowd.here.load(Ordering::SeqCst) && said.is_ok() {
            match tokio::time::timeout(DRIP, stream.read(&mut answer)).await {
                Err(_) if n.is_multiple_of(2) => said = stream.write_all(b" ").await,
                Err(_) => {}
                Ok(_) => {
                    crowd.cut.fetch_add(1, Ordering::SeqCst);
                    break;
                }
            }
        }
        crowd.connected.fetch_sub(1, Ordering::SeqCst);
    }
}
