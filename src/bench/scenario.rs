//! What each scenario sets: how endpoints are laid out, and the phases of load that they are put under.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

/// What a run may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scenario {
    /// One endpoint, its window opened: what one busy receiver gets
    One,
    /// 1,000 endpoints of 100 organizations, each event to one of them
    Spread,
    /// Every event to the ten endpoints of an organization
    Fanout,
    /// Batches of 100 events, spread over ten endpoints
    Batch,
    /// A steady rate to 100 endpoints: latency apart from what is the most
    Paced,
}

/// What a user sets beside the scenario; none leaves it to the scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// Seconds that are measured.
    pub(crate) seconds: u64,
    pub(crate) connections: Option<usize>,
    pub(crate) endpoints: Option<usize>,
    /// Attempts in flight to each endpoint; to all together where the limit is measured.
    pub(crate) window: Option<u32>,
    /// Events a second of `paced`.
    pub(crate) rate: f64,
    /// The same, as a part of what the installation can take.
    pub(crate) share: Option<f64>,
    /// Bytes of an event's `data`.
    pub(crate) payload: usize,
}

/// Attempts in flight where a scenario opens the window.
pub(super) const WINDOW: u32 = 256;
/// Connections that publish.
const CONNECTIONS: usize = 512;
/// The same where each carries many events.
const BATCH_CONNECTIONS: usize = 8;
const BATCH_EVENTS: usize = 100;
/// Endpoints of an organization, where there are as many.
const PER_ORGANIZATION: usize = 10;
/// What is left out of account at the start: actors start, statements are prepared, keys are parsed.
const WARM_UP: Duration = Duration::from_secs(3);

/// How endpoints are laid out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) endpoints: usize,
    pub(super) per_organization: usize,
    /// `max_in_flight` of each; the daemon's own when none.
    pub(super) window: Option<u32>,
    pub(super) audience: Audience,
}

/// Whom one event goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// One endpoint, each in turn.
    Endpoint,
    /// All endpoints of one organization, each organization in turn.
    Organization,
}

/// Load of one kind for some time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) load: Load,
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
}

/// Events a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    Fixed(f64),
    /// This part of what the phase before took.
    ShareOfBefore(f64),
}

impl Scenario {
    /// How its endpoints are laid out.
    #[rustfmt::skip] // the columns carry the meaning
    pub(super) fn layout(self, settings: &Settings) -> Layout {
        use Audience::{Endpoint, Organization};
        let opened = settings.window.or(Some(WINDOW));
        let (endpoints, window, audience) = match self {
            Self::One    => (1,    opened,          Endpoint),
            Self::Spread => (1000, settings.window, Endpoint),
            Self::Fanout => (100,  settings.window, Organization),
            Self::Batch  => (10,   settings.window, Endpoint),
            Self::Paced  => (100,  settings.window, Endpoint),
        };
        let endpoints = settings.endpoints.unwrap_or(endpoints);
        Layout { endpoints, per_organization: PER_ORGANIZATION.min(endpoints), window, audience }
    }

    /// The phases of one run, the last of which the run is about.
    pub(super) fn phases(self, settings: &Settings) -> Vec<Phase> {
        let connections = settings.connections.unwrap_or(CONNECTIONS);
        let measured = Duration::from_secs(settings.seconds);
        let phase = |name, load| Phase { name, load, warm_up: WARM_UP, measured };
        let full = phase("full", Load::Closed { connections, events_a_request: 1 });
        let paced = |rate| phase("paced", Load::Open { connections, rate });
        match self {
            Self::One | Self::Spread | Self::Fanout => vec![full],
            Self::Batch => {
                let connections = settings.connections.unwrap_or(BATCH_CONNECTIONS);
                vec![phase("full", Load::Closed { connections, events_a_request: BATCH_EVENTS })]
            }
            Self::Paced => match settings.share {
                Some(share) => vec![full, paced(Rate::ShareOfBefore(share))],
                None => vec![paced(Rate::Fixed(settings.rate))],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSET: Settings = Settings {
        seconds: 30,
        connections: None,
        endpoints: None,
        window: None,
        rate: 650.0,
        share: None,
        payload: 300,
    };

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn layouts_follow_the_table() {
        for (scenario,       endpoints, per_organization, window) in [
            (Scenario::One,    1,       1,                Some(256)),
            (Scenario::Spread, 1000,    10,               None),
            (Scenario::Fanout, 100,     10,               None),
            (Scenario::Batch,  10,      10,               None),
            (Scenario::Paced,  100,     10,               None),
        ] {
            let layout = scenario.layout(&UNSET);
            assert_eq!((layout.endpoints, layout.per_organization, layout.window),
                       (endpoints, per_organization, window), "{scenario:?}");
        }
        let set = Settings { endpoints: Some(4), window: Some(7), ..UNSET };
        for scenario in Scenario::value_variants() {
            let layout = scenario.layout(&set);
            assert_eq!((layout.endpoints, layout.per_organization, layout.window), (4, 4, Some(7)));
        }
    }

    #[test]
    fn a_share_is_of_what_is_measured_before() {
        let phases = Scenario::Paced.phases(&Settings { share: Some(0.5), ..UNSET });
        assert!(matches!(phases[0].load, Load::Closed { .. }));
        assert!(matches!(phases[1].load, Load::Open { rate: Rate::ShareOfBefore(0.5), .. }));
        assert_eq!(Scenario::Paced.phases(&UNSET).len(), 1);
    }
}
