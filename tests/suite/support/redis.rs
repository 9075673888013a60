//! A Redis of the test's own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::daemon::wait;

pub struct Redis {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Redis {
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let child = serve(port, &directory);
        Self { child, port, directory }.awaited()
    }

    fn awaited(self) -> Self {
        wait(Duration::from_secs(20), "Redis", || {
            redis::Client::open(self.url()).unwrap().get_connection().is_ok()
        });
        self
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        let (name, arguments) = command.split_first().unwrap();
        redis::cmd(name).arg(arguments).query(&mut connection).unwrap()
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
        self.child = serve(self.port, &self.directory);
        self.awaited()
    }
}

fn serve(port: u16, directory: &tempfile::TempDir) -> Child {
    let port = port.to_string();
    Command::new("redis-server")
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: run the tests by tests/run.sh")
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
