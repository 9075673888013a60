//! Hosts of their own on one machine: a network namespace for each node, joined by a bridge, on which all
//! else listens. What a node is cut off is dropped by its own packet filter, like a network that fails. Needs
//! root, `ip` and `nft`.

use std::path::Path;
use std::process::Command;

use crate::support::daemon::ended;
use crate::support::host::set_host;

const BRIDGE: &str = "hookseal0";
/// Addresses that only this machine knows.
const NETWORK: &str = "10.213.77";

/// What joins the hosts; gone with them when dropped.
pub struct Bridge(());

impl Bridge {
    /// Makes the bridge; from now on everything listens on it.
    pub fn raise() -> Self {
        // Left over by a run that was killed.
        drop(ended(Command::new("ip").args(["link", "del", BRIDGE])));
        run("ip", &["link", "add", BRIDGE, "type", "bridge"]);
        run("ip", &["addr", "add", &format!("{NETWORK}.1/24"), "dev", BRIDGE]);
        run("ip", &["link", "set", BRIDGE, "up"]);
        set_host(&format!("{NETWORK}.1"));
        Self(())
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(ended(Command::new("ip").args(["link", "del", BRIDGE])));
    }
}

/// What nodes know the receivers' host by: the one name that takes plain HTTP, if only in development.
pub const RECEIVERS: &str = "localhost";

/// The network that hosts are in.
pub fn network() -> String {
    format!("{NETWORK}.0/24")
}

/// One host.
pub struct Namespace {
    pub name: String,
    pub address: String,
}

impl Namespace {
    /// Host number `n`, on the bridge.
    pub fn make(n: usize) -> Self {
        let (name, inside) = (format!("hookseal-node-{n}"), "uplink");
        let (outside, address) = (format!("hookseal{}", n + 1), format!("{NETWORK}.{}", n + 10));
        // Left over by a run before: a namespace is taken down behind whoever deleted it.
        drop(ended(Command::new("ip").args(["netns", "del", &name])));
        drop(ended(Command::new("ip").args(["link", "del", &outside])));
        run("ip", &["netns", "add", &name]);
        let pair = ["type", "veth", "peer", "name", inside, "netns", &name];
        run("ip", &[&["link", "add", &outside][..], &pair].concat());
        run("ip", &["link", "set", &outside, "master", BRIDGE, "up"]);
        run("ip", &["-n", &name, "addr", "add", &format!("{address}/24"), "dev", inside]);
        run("ip", &["-n", &name, "link", "set", inside, "up"]);
        run("ip", &["-n", &name, "link", "set", "lo", "up"]);
        let names = Path::new("/etc/netns").join(&name);
        std::fs::create_dir_all(&names).unwrap();
        std::fs::write(names.join("hosts"), format!("{NETWORK}.1 {RECEIVERS}\n")).unwrap();
        let made = Self { name, address };
        made.nft(&["add", "table", "inet", "cut"]);
        for (chain, hook) in [("incoming", "input"), ("outgoing", "output")] {
            let filter = format!("{{ type filter hook {hook} priority 0; policy accept; }}");
            made.nft(&["add", "chain", "inet", "cut", chain, &filter]);
        }
        made
    }

    /// Drops all packets from and to `port` of everybody else.
    pub fn cut(&self, port: u16) {
        let port = port.to_string();
        for (chain, end) in [("incoming", "sport"), ("outgoing", "dport")] {
            self.nft(&["add", "rule", "inet", "cut", chain, "tcp", end, &port, "drop"]);
        }
    }

    /// Drops none any more.
    pub fn heal(&self) {
        self.nft(&["flush", "table", "inet", "cut"]);
    }

    fn nft(&self, arguments: &[&str]) {
        run("ip", &[&["netns", "exec", &self.name, "nft"][..], arguments].concat());
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(ended(Command::new("ip").args(["netns", "del", &self.name])));
        let _ = std::fs::remove_dir_all(Path::new("/etc/netns").join(&self.name));
    }
}

fn run(program: &str, arguments: &[&str]) {
    let ended = ended(Command::new(program).args(arguments));
    assert!(ended.success, "{program} {arguments:?}: {}", ended.stderr);
}
