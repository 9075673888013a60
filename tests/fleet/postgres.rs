//! A PostgreSQL server of a run's own, which may be stopped.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use crate::support::daemon::ended;
use crate::support::host::host;
use crate::support::leavings;

/// A server on a free port of loopback; stopped when dropped.
pub struct Postgres {
    directory: tempfile::TempDir,
    pub port: u16,
}

impl Postgres {
    /// Makes an empty cluster and starts it.
    pub fn start() -> Self {
        let directory = leavings::directory("postgres-");
        let port = TcpListener::bind((host(), 0)).unwrap().local_addr().unwrap().port();
        let server = Self { directory, port };
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(server.directory.path()).status();
            assert!(owned.unwrap().success(), "the user postgres is there");
        }
        server.run("initdb", &["-U", "hookseal", "-A", "trust", "-E", "UTF8", "--no-sync"]);
        // Whoever reaches the address that it listens on is one of the run's own.
        let rules = server.directory.path().join("data/pg_hba.conf");
        std::fs::write(rules, "host all all samehost trust\nhost all all samenet trust\n").unwrap();
        server.start_again();
        server
    }

    /// URL of a database, by way of `port`.
    pub fn url(port: u16, database: &str) -> String {
        format!("postgres://hookseal@{}:{port}/{database}", host())
    }

    /// Where its files are.
    pub fn path(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// The server's first process.
    pub fn process(&self) -> u32 {
        let file = self.directory.path().join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().next().unwrap().parse().unwrap()
    }

    /// Stops it as `mode` has it: `fast` ends sessions in order, `immediate` is a crash.
    pub fn stop(&self, mode: &str) {
        self.run("pg_ctl", &["-m", mode, "-w", "stop"]);
    }

    /// Starts it again and waits until it answers.
    pub fn start_again(&self) {
        let options = format!("-h {} -p {} -k '' -c max_connections=300", host(), self.port);
        let log = self.directory.path().join("log");
        self.run("pg_ctl", &["-w", "-l", log.to_str().unwrap(), "-o", &options, "start"]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = binaries().join(program);
        // PostgreSQL refuses to run as root.
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // The server would keep pipes of its starter open.
        let output = self.directory.path().with_extension("output");
        let file = std::fs::File::create(&output).unwrap();
        command.arg("-D").arg(self.directory.path().join("data")).args(arguments);
        command.current_dir("/").stdout(file.try_clone().unwrap()).stderr(file);
        let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = std::fs::read_to_string(&output).unwrap_or_default();
        std::fs::remove_file(&output).unwrap();
        assert!(status.success(), "{command:?}: {said}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.directory.path().join("data/postmaster.pid").exists() {
            self.run("pg_ctl", &["-m", "immediate", "-w", "stop"]);
        }
    }
}

fn is_root() -> bool {
    ended(Command::new("id").arg("-u")).stdout == "0"
}

/// Where the distribution keeps the newest server's programs, which are not on the path.
fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .max_by_key(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    newest.map_or_else(PathBuf::new, |entry| entry.path().join("bin"))
}
