//! What a scenario is about where throughput and latency of its phases do not say it.

use serde::Serialize;

use super::backlog::Backlog;
use super::history::History;
use super::idle::Idle;
use super::layout::Layout;
use super::measured::Measured;
use super::restart::Restart;
use super::retries::Retries;
use super::scenario::Scenario;

/// What a scenario found, beside its phases.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Finding {
    Noisy(Noisy),
    Idle(Idle),
    Backlog(Backlog),
    Restart(Restart),
    Overload(Pair),
    Retries(Retries),
    History(History),
}

/// One number in two phases that differ in one thing.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Pair {
    pub(super) without: f64,
    pub(super) with: f64,
    /// The second as a part of the first.
    pub(super) ratio: f64,
}

impl Pair {
    pub(super) fn of(without: f64, with: f64) -> Self {
        let ratio = if without > 0.0 { with / without } else { 0.0 };
        Self { without, with, ratio }
    }

    pub(super) fn text(&self) -> String {
        let Self { without, with, ratio } = self;
        format!("{without:.1} without, {with:.1} with: {ratio:.2} of it")
    }
}

/// What healthy endpoints get, without others that are in trouble and with them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Neighbours {
    pub(super) publish_to_arrival_p50_ms: Pair,
    pub(super) publish_to_arrival_p99_ms: Pair,
    pub(super) deliveries_per_second: Pair,
}

impl Neighbours {
    pub(super) fn of(without: &Measured, with: &Measured) -> Self {
        let pair = |number: fn(&Measured) -> f64| Pair::of(number(without), number(with));
        Self {
            publish_to_arrival_p50_ms: pair(|phase| phase.publish_to_arrival.p50_ms),
            publish_to_arrival_p99_ms: pair(|phase| phase.publish_to_arrival.p99_ms),
            deliveries_per_second: pair(|phase| phase.deliveries_per_second),
        }
    }

    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("  publish to arrival p50, ms", self.publish_to_arrival_p50_ms.text()),
            ("  publish to arrival p99, ms", self.publish_to_arrival_p99_ms.text()),
            ("  deliveries/s", self.deliveries_per_second.text()),
        ]
    }
}

/// Some endpoints hang.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Noisy {
    hanging: usize,
    /// The part of all events that goes to them.
    hanging_share: f64,
    healthy: Neighbours,
}

impl Finding {
    /// What the phases of a scenario say when they are compared.
    pub(super) fn of(scenario: Scenario, layout: &Layout, phases: &[Measured]) -> Option<Self> {
        match (scenario, phases) {
            (Scenario::Noisy, [without, with]) => Some(Self::Noisy(Noisy {
                hanging: layout.fickle,
                hanging_share: layout.fickle_share,
                healthy: Neighbours::of(without, with),
            })),
            (Scenario::Overload, [peak, beyond]) => Some(Self::Overload(Pair::of(
                peak.deliveries_per_second,
                beyond.deliveries_per_second,
            ))),
            _ => None,
        }
    }

    /// For people: names and what they stand for.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Noisy(noisy) => {
                let Noisy { hanging, hanging_share, healthy } = noisy;
                let share = hanging_share * 100.0;
                let head = format!("of which {hanging} hang with {share:.1} % of the events");
                [vec![("the healthy endpoints", head)], healthy.lines()].concat()
            }
            Self::Idle(idle) => idle.lines(),
            Self::Backlog(backlog) => backlog.lines(),
            Self::Restart(restart) => restart.lines(),
            Self::Overload(pair) => vec![("deliveries/s under overload", pair.text())],
            Self::Retries(retries) => retries.lines(),
            Self::History(history) => history.lines(),
        }
    }
}
