//! What is done to a fleet under load. Each fault is written down once it is over.

use std::time::{Duration, Instant};

use super::journal::now_ms;
use super::node::Node;
use super::{ENDPOINTS, Fleet, WINDOW};
use crate::judge::history::{Fault, FaultKind};

/// Attempts that may be in flight over all endpoints.
const WINDOWS: u64 = (ENDPOINTS * WINDOW) as u64;

/// How long a node may take to tell that its database is away.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// How nodes took it that their database was away.
#[derive(Clone, Copy, Debug)]
pub struct Absence {
    /// Whether the first of them said in time that it was not ready; true when it was not asked, because the
    /// database came back before.
    pub told: bool,
    /// Whether it said that it lived.
    pub alive: bool,
    /// How long after the return of the database all were ready.
    pub ready_again: Duration,
}

impl Fleet {
    /// SIGKILL, and a new start; answers how long that took.
    pub fn kill(&self, n: usize) -> Duration {
        let node = &self.nodes[n];
        let from_at_ms = now_ms();
        node.signal("KILL");
        node.await_end();
        // What the dead one had claimed is what was in flight, and no later.
        let in_flight = self.rows.open_claims();
        let started = restart(node);
        self.over(FaultKind::Kill, Some(n), from_at_ms, in_flight);
        started
    }

    /// SIGTERM, and a new start; answers how long it drained.
    pub fn terminate(&self, n: usize) -> Duration {
        let node = &self.nodes[n];
        let (from_at_ms, asked) = (now_ms(), Instant::now());
        node.signal("TERM");
        let ended = node.await_end();
        let drained = asked.elapsed();
        assert!(ended.success(), "a stop in order ends well: {ended:?}");
        restart(node);
        self.over(FaultKind::Terminate, Some(n), from_at_ms, 0);
        drained
    }

    /// SIGSTOP, and SIGCONT after `pause`.
    pub fn pause(&self, n: usize, pause: Duration) {
        let node = &self.nodes[n];
        let from_at_ms = now_ms();
        node.signal("STOP");
        let in_flight = self.rows.open_claims();
        std::thread::sleep(pause);
        node.signal("CONT");
        node.await_ready();
        self.over(FaultKind::Pause, Some(n), from_at_ms, in_flight);
    }

    /// Takes PostgreSQL away for `pause`; `mode` is `fast` for a stop in order, `immediate` for a crash.
    pub fn stop_database(&self, mode: &str, pause: Duration) -> Absence {
        let postgres = self.postgres.as_ref().expect("the fleet is on PostgreSQL");
        let from_at_ms = now_ms();
        postgres.stop(mode);
        let (told, alive) = hold(&self.nodes[0], pause);
        postgres.start_again();
        let back = Instant::now();
        self.nodes.iter().for_each(Node::await_ready);
        self.over(FaultKind::DatabaseStop, None, from_at_ms, WINDOWS);
        Absence { told, alive, ready_again: back.elapsed() }
    }

    /// Cuts a node off PostgreSQL for `pause`: nothing gets through, and nobody is told.
    pub fn cut_database(&self, n: usize, pause: Duration) -> Absence {
        let node = &self.nodes[n];
        let link = node.database.as_ref().expect("the fleet is on PostgreSQL");
        let from_at_ms = now_ms();
        link.cut();
        let (told, alive) = hold(node, pause);
        link.heal();
        let back = Instant::now();
        node.await_ready();
        self.over(FaultKind::Cut, Some(n), from_at_ms, WINDOWS);
        Absence { told, alive, ready_again: back.elapsed() }
    }

    /// Takes Redis away for `pause`; it comes back with what it held, or empty.
    pub fn stop_redis(&self, keeping: bool, pause: Duration) {
        let mut redis = self.redis.lock();
        let mut server = redis.take().expect("the fleet has Redis");
        let from_at_ms = now_ms();
        server.stop(keeping);
        std::thread::sleep(pause);
        *redis = Some(server.start_again());
        self.over(FaultKind::RedisStop, None, from_at_ms, WINDOWS);
    }

    /// Empties Redis.
    pub fn flush_redis(&self) {
        let from_at_ms = now_ms();
        let redis = self.redis.lock();
        let _: String = redis.as_ref().expect("the fleet has Redis").ask(&["FLUSHALL"]);
        self.over(FaultKind::RedisFlush, None, from_at_ms, WINDOWS);
    }

    /// Puts a node far from Redis: for the checker no fault, and so no excuse.
    pub fn slow_redis(&self, n: usize, delay: Duration) {
        self.nodes[n].redis.as_ref().expect("the fleet has Redis").slow(delay);
    }

    /// Cuts a node off Redis for `pause`.
    pub fn cut_redis(&self, n: usize, pause: Duration) {
        let link = self.nodes[n].redis.as_ref().expect("the fleet has Redis");
        let from_at_ms = now_ms();
        link.cut();
        std::thread::sleep(pause);
        link.heal();
        self.over(FaultKind::Cut, Some(n), from_at_ms, WINDOWS);
    }

    /// Cuts a node off all servers for `pause`.
    pub fn cut_all(&self, n: usize, pause: Duration) -> Absence {
        let redis = self.nodes[n].redis.as_ref().expect("the fleet has Redis");
        redis.cut();
        let absence = self.cut_database(n, pause);
        redis.heal();
        absence
    }

    fn over(&self, kind: FaultKind, node: Option<usize>, from_at_ms: i64, in_flight: u64) {
        let to_at_ms = now_ms();
        self.journals.faults.write(&Fault { kind, node, from_at_ms, to_at_ms, in_flight });
    }
}

fn restart(node: &Node) -> Duration {
    let asked = Instant::now();
    node.start();
    asked.elapsed()
}

/// Waits for `pause`, and meanwhile asks a node how it is: whether it says that it is not ready, and that it
/// lives.
fn hold(node: &Node, pause: Duration) -> (bool, bool) {
    let until = Instant::now() + pause;
    std::thread::sleep(pause.min(TOLD_WITHIN));
    let told = pause < TOLD_WITHIN || node.probe("/readyz") == Some(503);
    let alive = node.probe("/healthz") == Some(200);
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    (told, alive)
}
