//! What an invariant looked at, and what it found.

use std::fmt;

/// Violations that are kept to be printed; the rest is counted.
const SHOWN: usize = 100;

/// The verdict on one invariant.
#[derive(Debug, Default)]
pub struct Findings {
    /// What was looked at, with counts.
    pub looked_at: String,
    /// The first violations.
    shown: Vec<Violation>,
    /// All violations.
    pub total: usize,
}

#[derive(Debug)]
struct Violation {
    at_ms: Option<i64>,
    what: String,
}

impl Findings {
    /// Something is not as it must be; `at_ms` is when, if that can be told.
    pub fn violated(&mut self, at_ms: impl Into<Option<i64>>, what: impl FnOnce() -> String) {
        self.total += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(Violation { at_ms: at_ms.into(), what: what() });
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict =
            if self.total == 0 { "holds".to_owned() } else { format!("VIOLATED {}×", self.total) };
        write!(f, "{verdict}: {}", self.looked_at)?;
        for violation in &self.shown {
            match violation.at_ms {
                Some(at_ms) => write!(f, "\n   at {at_ms}: {}", violation.what)?,
                None => write!(f, "\n   {}", violation.what)?,
            }
        }
        match self.total - self.shown.len() {
            0 => Ok(()),
            more => write!(f, "\n   … and {more} more"),
        }
    }
}
