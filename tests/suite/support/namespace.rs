//! A network of its own for one test: the test runs itself again in a network namespace in which every address
//! of the world is this host's, so that whatever is connected to, is connected to here.

use std::process::Command;

use super::daemon::ended;

/// Set in the process within.
const WITHIN: &str = "HOOKSEAL_TEST_WITHIN";

/// Runs `body` of the test with this full name in such a network.
pub fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(WITHIN).is_some() {
        ip(&["link", "set", "lo", "up"]);
        ip(&["route", "add", "local", "0.0.0.0/0", "dev", "lo"]);
        ip(&["-6", "route", "add", "local", "::/0", "dev", "lo"]);
        return body();
    }
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !rustix::process::getuid().is_root() {
        command.arg("--map-root-user");
    }
    command.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    let within = ended(command.env(WITHIN, "1"));
    assert!(
        within.success && within.stdout.contains("1 passed"),
        "in a network namespace (needs unshare and ip, and root or user namespaces):\n{}\n{}",
        within.stdout,
        within.stderr
    );
}

/// What was sent in this network so far, whatever the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// TCP connections that somebody began.
    pub connections: u64,
    /// UDP datagrams.
    pub datagrams: u64,
}

/// What the kernel has counted.
pub fn sent() -> Sent {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/net/{file}")).unwrap();
    let (both, six) = (read("snmp"), read("snmp6"));
    // A line of names, a line of numbers.
    let counted = |protocol: &str, name: &str| -> u64 {
        let mut lines = both.lines().filter(|line| line.starts_with(protocol));
        let [names, numbers] = [(); 2].map(|()| lines.next().unwrap().split_whitespace());
        names.zip(numbers).find(|(found, _)| *found == name).unwrap().1.parse().unwrap()
    };
    let words = six.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let datagrams = words.filter(|words| words[0] == "Udp6OutDatagrams").map(|words| words[1]);
    let datagrams: u64 = datagrams.map(|number| number.parse::<u64>().unwrap()).sum();
    Sent {
        connections: counted("Tcp:", "ActiveOpens"),
        datagrams: counted("Udp:", "OutDatagrams") + datagrams,
    }
}

fn ip(arguments: &[&str]) {
    let ended = ended(Command::new("ip").args(arguments));
    assert!(ended.success, "ip {arguments:?}: {}", ended.stderr);
}
