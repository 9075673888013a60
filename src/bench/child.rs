//! Processes that live no longer than the bench: the parent's side, and what a child does for it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use hookseal_core::error::{Error, Result};
use tokio::sync::mpsc;

/// Lines of a log that are shown when its process ended.
const TAIL_LINES: usize = 12;
/// How often one looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A process of the bench; killed when dropped.
pub(super) struct Child {
    what: &'static str,
    process: std::process::Child,
    /// Closed when this process ends in whatever way, which ends the child.
    stdin: ChildStdin,
    lines: mpsc::UnboundedReceiver<String>,
    log: PathBuf,
}

impl Child {
    /// Starts this binary with one argument, the hidden `command`, in `directory`, where its log goes, and with
    /// nothing of the caller's environment.
    pub(super) fn start(
        what: &'static str,
        command: &str,
        directory: &Path,
        environment: &[(&str, String)],
    ) -> Result<Self> {
        let fault = |error| Error::unavailable(what, error);
        let log = directory.join(format!("{command}.log"));
        let mut process = Command::new(std::env::current_exe().map_err(fault)?)
            .arg(command)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(directory)
            // An interrupt from the keyboard is for the parent, which then ends its children.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).map_err(fault)?)
            .spawn()
            .map_err(fault)?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Error::broken(what, "expected pipes"));
        };
        let (told, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
                // Nobody listens any more.
                if told.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { what, process, stdin, lines, log })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it by SIGKILL, and waits until it is gone.
    pub(super) fn kill(&mut self) -> Result<()> {
        let killed = self.process.kill().and_then(|()| self.process.wait());
        killed.map(drop).map_err(|error| Error::unavailable(self.what, error))
    }

    /// Asks it by SIGTERM to end, and waits until it has.
    pub(super) async fn end(&mut self, within: Duration) -> Result<()> {
        let fault = |error: std::io::Error| Error::unavailable(self.what, error);
        let pid = rustix::process::Pid::from_child(&self.process);
        let term = rustix::process::Signal::TERM;
        rustix::process::kill_process(pid, term).map_err(|errno| fault(errno.into()))?;
        let deadline = Instant::now() + within;
        while self.process.try_wait().map_err(fault)?.is_none() {
            if Instant::now() > deadline {
                return Err(self.fault("it does not end"));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Hands it a line.
    pub(super) fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.stdin, "{line}").map_err(|error| Error::unavailable(self.what, error))
    }

    /// Waits for a line that begins with `prefix`; answers what follows.
    pub(super) async fn hear(&mut self, prefix: &str, within: Duration) -> Result<String> {
        let heard = async {
            loop {
                let line = self.lines.recv().await?;
                if let Some(rest) = line.strip_prefix(prefix) {
                    return Some(rest.to_owned());
                }
            }
        };
        match tokio::time::timeout(within, heard).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(self.fault("it ended")),
            Err(_) => Err(self.fault("it does not answer")),
        }
    }

    /// # Errors
    /// [`Error::Broken`] with the end of its log when it has ended.
    pub(super) fn must_run(&mut self) -> Result<()> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.fault(&format!("it ended with {status}"))),
            Err(error) => Err(Error::unavailable(self.what, error)),
        }
    }

    fn fault(&self, what: &str) -> Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        Error::broken(self.what, format!("{what}; the end of its log:\n{tail}"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that has ended needs neither.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads the line that the parent tells a child first.
pub(super) fn told() -> Result<String> {
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    read.map_err(|error| Error::unavailable("the parent process", error))?;
    Ok(line)
}

/// Ends this process when its parent has ended.
pub(crate) fn follow_parent() {
    std::thread::spawn(|| {
        let mut line = String::new();
        while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {
            line.clear();
        }
        std::process::exit(1);
    });
}
