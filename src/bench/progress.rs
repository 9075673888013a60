//! What is told while it runs, on standard error: in place on a terminal, now and then elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often a line is written where it cannot be replaced.
const EVERY: Duration = Duration::from_secs(5);

/// Writes a line that stays.
pub(super) fn line(text: &str) {
    let mut to = std::io::stderr();
    let begin = if to.is_terminal() { "\r\x1b[K" } else { "" };
    // Who does not read it needs no progress.
    let _ = writeln!(to, "{begin}{text}");
}

/// A line that changes.
#[derive(Default)]
pub(super) struct Progress {
    written_at: Option<Instant>,
}

impl Progress {
    pub(super) fn show(&mut self, text: &str) {
        let mut to = std::io::stderr();
        if to.is_terminal() {
            let _ = write!(to, "\r\x1b[K{text}");
            let _ = to.flush();
        } else if self.written_at.is_none_or(|at| at.elapsed() >= EVERY) {
            self.written_at = Some(Instant::now());
            let _ = writeln!(to, "{text}");
        }
    }
}
