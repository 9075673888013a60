//! The load that a scenario puts its endpoints under.

use std::time::Duration;

use super::layout::Crowd;
use super::receiver::Mood;

/// Load of one kind for some time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) load: Load,
    /// Whom it goes to.
    pub(super) to: Crowd,
    /// Whose deliveries are measured.
    pub(super) of: Crowd,
    /// How fickle endpoints answer meanwhile.
    pub(super) mood: Mood,
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
}

/// How events are published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Load {
    /// Each connection sends its next request when the last was answered.
    Closed { connections: usize, events_a_request: usize },
    /// Each request is sent at its instant, whatever became of the others.
    Open { connections: usize, rate: Rate },
    /// The same, and each is sent again until it is taken, under one idempotency key.
    Insistent { connections: usize, rate: f64 },
}

/// Events a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    Fixed(f64),
    /// This part of what the phase before took.
    ShareOfBefore(f64),
}
