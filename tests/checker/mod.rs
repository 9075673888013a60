//! Decides from what was observed, and from nothing else, whether a run of the daemon kept its promises:
//! eight invariants, each a pure function of the history in a file of its own.
//!
//! | | invariant | where |
//! |---|---|---|
//! | I1 | nothing accepted is lost | `loss.rs` |
//! | I2 | nothing is sent that was not published | `invention.rs` |
//! | I3 | a second 2xx has a fault to explain it | `duplicates.rs` |
//! | I4 | rows, APIs and receivers tell the same | `truth.rs` |
//! | I5 | never early, and late only through faults | `time.rs` |
//! | I6 | one key, one event | `idempotency.rs` |
//! | I7 | tenants see nothing of each other | `isolation.rs` |
//! | I8 | resources stay within their limits, and nothing due is left | `bounds.rs` |
//!
//! What is read is described in `history.rs`.

mod bounds;
mod duplicates;
mod faults;
mod findings;
pub mod history;
mod idempotency;
mod index;
mod invention;
mod isolation;
mod loss;
mod time;
mod truth;

use std::fmt;
use std::path::Path;

use findings::Findings;
use history::{Door, History, Outcome};
use index::Index;

type Check = fn(&Index<'_>) -> Findings;

/// Every invariant, in the order of the report.
const INVARIANTS: [(&str, &str, Check); 8] = [
    ("I1", "no loss", loss::check),
    ("I2", "no invention", invention::check),
    ("I3", "duplicates", duplicates::check),
    ("I4", "truth", truth::check),
    ("I5", "time", time::check),
    ("I6", "idempotency", idempotency::check),
    ("I7", "isolation", isolation::check),
    ("I8", "bounds", bounds::check),
];

/// What the checker has to say of a run.
pub enum Judgement {
    /// A verdict on every invariant.
    Decided(Vec<(&'static str, &'static str, Findings)>),
    /// The history cannot be read, or is too empty to say anything.
    Undecided(String),
}

impl Judgement {
    /// The names of the invariants that are violated.
    pub fn violated(&self) -> Vec<&'static str> {
        match self {
            Self::Decided(verdicts) => verdicts
                .iter()
                .filter(|(_, _, findings)| findings.total > 0)
                .map(|(name, _, _)| *name)
                .collect(),
            Self::Undecided(_) => Vec::new(),
        }
    }

    /// 0 when every invariant holds, 1 when one is violated, 2 when that cannot be said.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Decided(_) => u8::from(!self.violated().is_empty()),
            Self::Undecided(_) => 2,
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decided(verdicts) => {
                for (name, title, findings) in verdicts {
                    writeln!(f, "{name} {title:<12} {findings}")?;
                }
                Ok(())
            }
            Self::Undecided(why) => writeln!(f, "undecided: {why}"),
        }
    }
}

/// Judges the run whose observations are in `directory`.
pub fn judge_directory(directory: &Path) -> Judgement {
    match History::read(directory) {
        Ok(history) => judge(&history),
        Err(error) => Judgement::Undecided(error.to_string()),
    }
}

/// Judges a run.
pub fn judge(history: &History) -> Judgement {
    if let Some(missing) = missing(history) {
        return Judgement::Undecided(format!("there is no {missing}"));
    }
    let index = Index::new(history);
    let verdicts = INVARIANTS.map(|(name, title, check)| (name, title, check(&index)));
    Judgement::Decided(verdicts.into())
}

/// Something without which an invariant would hold for want of evidence.
fn missing(history: &History) -> Option<String> {
    let answered =
        |door| history.answers.iter().any(|answer| answer.is_final && answer.door == door);
    let evidence = [
        ("organization", !history.run.organizations.is_empty()),
        ("endpoint", !history.run.endpoints.is_empty()),
        ("limit", !history.run.limits.is_empty()),
        ("accepted publish", history.publishes.iter().any(|p| p.outcome == Outcome::Accepted)),
        ("request at a receiver", !history.receipts.is_empty()),
        ("event", !history.events.is_empty()),
        ("delivery", !history.deliveries.is_empty()),
        ("final answer of REST", answered(Door::Rest)),
        ("final answer of GraphQL", answered(Door::Graphql)),
    ];
    if let Some((what, _)) = evidence.iter().find(|(_, present)| !present) {
        return Some((*what).to_owned());
    }
    let sampled = |gauge| history.samples.iter().any(|sample| sample.gauges.contains_key(gauge));
    let unsampled = history.run.limits.keys().find(|gauge| !sampled(*gauge));
    if let Some(gauge) = unsampled {
        return Some(format!("sample of {gauge}"));
    }
    let punctual = time::punctual_first_attempts(&Index::new(history));
    (punctual == 0).then(|| "first attempt outside faults".to_owned())
}
