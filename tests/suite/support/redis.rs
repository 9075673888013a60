//! Redis servers of the test's own: one, a service that Sentinel watches, a Redis Cluster. All want a
//! password.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hookseal::redis_link::RedisLink;

use super::certificates::self_signed_files;
use super::daemon::wait;
use super::host::host;
use super::leavings;

pub const PASSWORD: &str = "a-password-of-the-tests";
/// How long servers may take to come up and to find each other.
const PATIENCE: Duration = Duration::from_secs(20);

/// One server.
pub struct Redis {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Redis {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self::start_in(leavings::directory("redis-"), arguments)
    }

    /// One that speaks TLS, too; its URL for that, and the certificate to know it by.
    pub fn start_with_tls() -> (Self, String, PathBuf) {
        let directory = leavings::directory("redis-");
        let (certificate, key) = self_signed_files(directory.path(), "redis");
        let port = free_port().to_string();
        let [certificate_file, key_file] = [&certificate, &key].map(|file| file.to_str().unwrap());
        let arguments = [
            ["--tls-port", &port],
            ["--tls-cert-file", certificate_file],
            ["--tls-key-file", key_file],
            ["--tls-ca-cert-file", certificate_file],
            ["--tls-auth-clients", "no"],
        ];
        let arguments = arguments.concat().into_iter().map(str::to_owned).collect();
        let url = format!("rediss://:{PASSWORD}@127.0.0.1:{port}");
        (Self::start_in(directory, arguments), url, certificate)
    }

    fn start_in(directory: tempfile::TempDir, arguments: Vec<String>) -> Self {
        let port = free_port();
        let child = serve(port, directory.path(), &arguments);
        Self { child, port, directory, arguments }.awaited()
    }

    fn awaited(mut self) -> Self {
        wait(PATIENCE, "Redis", || {
            // Somebody else may have taken the port since it was free.
            if self.child.try_wait().unwrap().is_some() {
                self.port = free_port();
                self.child = serve(self.port, self.directory.path(), &self.arguments);
            }
            let info = self.try_ask::<String>(&["INFO"]).unwrap_or_default();
            has_line(&info, &format!("process_id:{}", self.child.id()))
        });
        self
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self) -> String {
        format!("redis://default:{PASSWORD}@{}:{}", host(), self.port)
    }

    pub fn link(&self) -> RedisLink {
        RedisLink::parse(&self.url()).unwrap()
    }

    pub fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_ask(command).unwrap()
    }

    fn try_ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        let (name, arguments) = command.split_first().unwrap();
        redis::cmd(name).arg(arguments).query(&mut connection)
    }

    fn says(&self, command: &[&str], line: &str) -> bool {
        has_line(&self.ask::<String>(command), line)
    }

    /// Stops it for a while, or lets it go on.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    /// Ends it; `keeping` what it holds.
    pub fn stop(&mut self, keeping: bool) {
        if keeping {
            let _: String = self.ask(&["SAVE"]);
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, with what it kept.
    pub fn start_again(mut self) -> Self {
        self.child = serve(self.port, self.directory.path(), &self.arguments);
        self.awaited()
    }
}

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn serve(port: u16, directory: &Path, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            host(),
            "--save",
            "",
            "--rdbcompression",
            "no",
            "--dir",
        ])
        .arg(directory)
        .args(["--requirepass", PASSWORD, "--masterauth", PASSWORD])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: run the tests by tests/run.sh")
}

impl Drop for Redis {
    fn drop(&mut self) {
        let runs = self.child.try_wait().is_ok_and(|ended| ended.is_none());
        if leavings::kept().is_some() && runs {
            self.signal("CONT");
            // A Sentinel has nothing to save.
            let _ = self.try_ask::<String>(&["SAVE"]);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A master, its replica, and a Sentinel that makes the one the other.
pub struct Service {
    pub master: Redis,
    pub replica: Redis,
    sentinel: Redis,
}

impl Service {
    const NAME: &str = "hookseal";

    pub fn start() -> Self {
        let master = Redis::start();
        let replica = replica_of(&master);
        let directory = leavings::directory("redis-");
        let file = directory.path().join("sentinel.conf");
        let (name, port) = (Self::NAME, master.port);
        let watches = format!(
            "sentinel monitor {name} 127.0.0.1 {port} 1\n\
             sentinel auth-pass {name} {PASSWORD}\n\
             sentinel down-after-milliseconds {name} 1000\n"
        );
        std::fs::write(&file, watches).unwrap();
        let arguments = vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()];
        let sentinel = Redis::start_in(directory, arguments);
        wait(PATIENCE, "the Sentinel to know the replica", || {
            let replicas: Vec<redis::Value> = sentinel.ask(&["SENTINEL", "REPLICAS", name]);
            replicas.len() == 1
        });
        Self { master, replica, sentinel }
    }

    pub fn link(&self) -> RedisLink {
        let (port, name) = (self.sentinel.port, Self::NAME);
        // A Sentinel that is away is passed over.
        let nobody = free_port();
        let url =
            format!("redis+sentinel://:{PASSWORD}@127.0.0.1:{nobody},127.0.0.1:{port}/{name}");
        RedisLink::parse(&url).unwrap()
    }
}

/// A replica that has all that its master has.
fn replica_of(master: &Redis) -> Redis {
    let replica = Redis::start_with(&["--replicaof", &format!("127.0.0.1 {}", master.port)]);
    wait(PATIENCE, "the replica", || replica.says(&["INFO"], "master_link_status:up"));
    replica
}

/// A Redis Cluster of three masters, each with a replica.
pub struct RedisCluster {
    masters: Vec<Redis>,
    replicas: Vec<Redis>,
}

impl RedisCluster {
    pub fn start() -> Self {
        let node = || {
            let bus = free_port().to_string();
            Redis::start_with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "1000",
            ])
        };
        let masters: Vec<_> = (0..3).map(|_| node()).collect();
        let replicas: Vec<_> = (0..3).map(|_| node()).collect();
        let cluster = Self { masters, replicas };
        let slots = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];
        for (master, [first, last]) in cluster.masters.iter().zip(slots) {
            let _: String = master.ask(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        }
        let meeting = &cluster.masters[0];
        for node in cluster.nodes().skip(1) {
            let (port, bus) = (node.port.to_string(), &node.arguments[3]);
            let _: String = meeting.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
        }
        let all_say = |command: &[&str], line: &str| {
            wait(PATIENCE, "the cluster", || cluster.nodes().all(|node| node.says(command, line)));
        };
        all_say(&["CLUSTER", "INFO"], "cluster_known_nodes:6");
        for (master, replica) in cluster.masters.iter().zip(&cluster.replicas) {
            let master: String = master.ask(&["CLUSTER", "MYID"]);
            let _: String = replica.ask(&["CLUSTER", "REPLICATE", &master]);
        }
        all_say(&["CLUSTER", "INFO"], "cluster_state:ok");
        wait(PATIENCE, "the replicas", || {
            cluster.replicas.iter().all(|node| node.says(&["INFO"], "master_link_status:up"))
        });
        cluster
    }

    fn nodes(&self) -> impl Iterator<Item = &Redis> {
        self.masters.iter().chain(&self.replicas)
    }

    pub fn link(&self) -> RedisLink {
        let hosts: Vec<_> = self.nodes().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let url = format!("redis+cluster://:{PASSWORD}@{}", hosts.join(","));
        RedisLink::parse(&url).unwrap()
    }

    /// Ends the master that `key` is on.
    pub fn kill_master_of(&mut self, key: &str) {
        let slot: u16 = self.masters[0].ask(&["CLUSTER", "KEYSLOT", key]);
        let index = match slot {
            0..=5460 => 0,
            5461..=10922 => 1,
            10923.. => 2,
        };
        self.masters[index].stop(false);
    }
}
