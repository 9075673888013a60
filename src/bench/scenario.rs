//! What each scenario sets: how endpoints are laid out, and the phases of load that they are put under.

use std::time::Duration;

use clap::ValueEnum;
use hookseal_core::error::{Error, Result};
use serde::Serialize;

use super::history;
use super::layout::{Audience, Crowd, Layout};
use super::load::{Load, Phase, Rate};
use super::receiver::Mood;

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
    /// A steady rate to 1,000 endpoints, first well, then ten of them hanging: what the others notice
    Noisy,
    /// 100,000 endpoints that had an event each and sleep: memory, processor time, calls of the store
    Idle,
    /// A million events wait for one endpoint that is away: memory, what the others notice, a restart, the drain
    Backlog,
    /// A steady rate to 100 endpoints, and the daemon killed in the middle of it
    Restart,
    /// As many events a second as are possible, then twice as many: what is refused, and how
    Overload,
    /// A million deliveries wait for a retry, spread over an hour: what each costs, and how late it is
    Retries,
    /// Five million deliveries are over: what those of today notice of them, and of their removal
    History,
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
    /// Events a second where the rate is steady.
    pub(crate) rate: f64,
    /// The same, as a part of what the installation can take.
    pub(crate) share: Option<f64>,
    /// Endpoints that hang.
    pub(crate) hanging: Option<usize>,
    /// The part of all events that goes to them; as large as their part of the endpoints when none.
    pub(crate) hanging_share: Option<f64>,
    /// Events that wait: for one endpoint, or for a retry.
    pub(crate) pending: usize,
    /// Events of the past.
    pub(crate) past: usize,
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
/// The same where there are very many.
const PER_LARGE_ORGANIZATION: usize = 100;
/// Pauses between attempts at an endpoint that is away: what waits is due soon after it came back.
const RETRIED_AFTER: &str = "5s";
const RETRIES: usize = 50;
/// How long one endpoint is measured for what it takes with nothing waiting.
const ALONE: Duration = Duration::from_secs(5);
/// Connections that publish while the daemon is away: each asks for it again and again.
const RESTART_CONNECTIONS: usize = 64;
/// Connections that publish more than is possible: enough for those that wait beside those that are refused.
const OVERLOAD_CONNECTIONS: usize = 4096;
const TWICE: f64 = 2.0;
const HALF: f64 = 0.5;
/// Pauses between attempts where the receiver says when to come back, and a second retry is not to come at all.
const PUT_OFF_ONCE: &str = "1s,12h,12h";
/// Connections that publish one event to each endpoint.
const IDLE_CONNECTIONS: usize = 64;
/// Endpoints that hang.
const HANGING: usize = 10;
/// What is left out of account at the start: actors start, statements are prepared, keys are parsed.
const WARM_UP: Duration = Duration::from_secs(3);
/// Events to an endpoint after which its deliveries fill pages of their own in an index. Until then several endpoints
/// share a page, and the same load costs less: phases that are compared come after it.
const OWN_PAGES: f64 = 40.0;

impl Scenario {
    /// Seconds that are measured unless a user says otherwise.
    pub(crate) fn seconds(self) -> u64 {
        match self {
            Self::Idle => 10,
            Self::One
            | Self::Spread
            | Self::Fanout
            | Self::Batch
            | Self::Paced
            | Self::Noisy
            | Self::Backlog
            | Self::Restart
            | Self::Overload
            | Self::Retries
            | Self::History => 30,
        }
    }

    /// Settings of the daemon that it needs.
    pub(super) fn environment(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Idle => vec![("HOOKSEAL_IDLE_AFTER", "1s".to_owned())],
            Self::Backlog => vec![("HOOKSEAL_RETRY_SCHEDULE", [RETRIED_AFTER; RETRIES].join(","))],
            Self::Retries => vec![("HOOKSEAL_RETRY_SCHEDULE", PUT_OFF_ONCE.to_owned())],
            Self::History => vec![(history::SETTING, history::LONG.to_owned())],
            Self::One
            | Self::Spread
            | Self::Fanout
            | Self::Batch
            | Self::Paced
            | Self::Noisy
            | Self::Restart
            | Self::Overload => Vec::new(),
        }
    }

    /// Seconds for the limit unless a user says otherwise: none where throughput is not what is asked for.
    pub(crate) fn limit_seconds(self) -> u64 {
        match self {
            Self::One | Self::Spread | Self::Fanout | Self::Batch | Self::Paced => 10,
            Self::Noisy
            | Self::Idle
            | Self::Backlog
            | Self::Restart
            | Self::Overload
            | Self::Retries
            | Self::History => 0,
        }
    }

    /// Events a second unless a user says otherwise.
    pub(crate) fn rate(self) -> f64 {
        match self {
            Self::Noisy => 2000.0,
            Self::Restart => 1000.0,
            Self::One
            | Self::Spread
            | Self::Fanout
            | Self::Batch
            | Self::Paced
            | Self::Idle
            | Self::Backlog
            | Self::Overload
            | Self::Retries
            | Self::History => 650.0,
        }
    }

    /// Judges what a user set together.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the one at fault.
    pub(super) fn judge(self, settings: &Settings) -> Result<()> {
        let layout = self.layout(settings);
        if layout.fickle < layout.endpoints.max(1) {
            return Ok(());
        }
        Err(Error::invalid("endpoints", "more than those that hang or are away"))
    }

    /// How its endpoints are laid out.
    #[rustfmt::skip] // the columns carry the meaning
    pub(super) fn layout(self, settings: &Settings) -> Layout {
        use Audience::{Endpoint, Organization};
        let opened = settings.window.or(Some(WINDOW));
        let hanging = settings.hanging.unwrap_or(HANGING);
        let (few, many) = (PER_ORGANIZATION, PER_LARGE_ORGANIZATION);
        let (endpoints, per_organization, fickle, window, audience) = match self {
            Self::One    => (1,       few,  0,       opened,          Endpoint),
            Self::Spread => (1000,    few,  0,       settings.window, Endpoint),
            Self::Fanout => (100,     few,  0,       settings.window, Organization),
            Self::Batch  => (10,      few,  0,       settings.window, Endpoint),
            Self::Paced  => (100,     few,  0,       settings.window, Endpoint),
            Self::Noisy  => (1000,    few,  hanging, settings.window, Endpoint),
            Self::Idle   => (100_000, many, 0,       settings.window, Endpoint),
            Self::Backlog => (101,    few,  1,       settings.window, Endpoint),
            Self::Restart => (100,    few,  0,       settings.window, Endpoint),
            Self::Overload => (100,   few,  0,       settings.window, Endpoint),
            Self::Retries => (101,    few,  100,     settings.window, Endpoint),
            Self::History => (1000,   few,  0,       settings.window, Endpoint),
        };
        let fickle_window = if self == Self::Backlog { opened } else { window };
        let endpoints = settings.endpoints.unwrap_or(endpoints);
        let fickle = if self == Self::Retries { endpoints - 1 } else { fickle };
        let per_organization = per_organization.min(endpoints);
        let share = settings.hanging_share.unwrap_or(fickle as f64 / endpoints as f64);
        Layout {
            endpoints,
            per_organization,
            window,
            audience,
            fickle,
            fickle_window,
            fickle_share: share,
        }
    }

    /// The phases of one run, the last of which the run is about.
    pub(super) fn phases(self, settings: &Settings) -> Vec<Phase> {
        let connections = settings.connections.unwrap_or(CONNECTIONS);
        let measured = Duration::from_secs(settings.seconds);
        let (to, of, mood) = (Crowd::Everyone, Crowd::Everyone, Mood::Well);
        let phase = |name, load| Phase { name, load, to, of, mood, warm_up: WARM_UP, measured };
        let full = phase("full", Load::Closed { connections, events_a_request: 1 });
        let paced = |rate| phase("paced", Load::Open { connections, rate });
        let steady = Load::Open { connections, rate: Rate::Fixed(settings.rate) };
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
            Self::Noisy => {
                let endpoints = self.layout(settings).endpoints as f64;
                let level = Duration::from_secs_f64(OWN_PAGES * endpoints / settings.rate.max(1.0));
                let warm_up = level.min(measured * 2).max(WARM_UP);
                let well = Phase { of: Crowd::Steady, warm_up, ..phase("all well", steady) };
                let hanging = Phase {
                    name: "some hang",
                    mood: Mood::Hanging,
                    warm_up: WARM_UP,
                    ..well.clone()
                };
                vec![well, hanging]
            }
            Self::Idle => {
                let connections = settings.connections.unwrap_or(IDLE_CONNECTIONS);
                vec![phase("once", Load::Closed { connections, events_a_request: 1 })]
            }
            Self::Backlog => {
                let batches =
                    Load::Closed { connections: BATCH_CONNECTIONS, events_a_request: BATCH_EVENTS };
                let (fickle, others) = (Crowd::Fickle, Crowd::Steady);
                let full = Phase { name: "one alone", to: fickle, of: fickle, ..full };
                let alone = Phase { measured: measured.min(ALONE), ..full };
                let without = Phase { to: others, of: others, ..phase("others alone", steady) };
                let away = Mood::Away;
                let pile = Phase { to: fickle, mood: away, ..phase("piling up", batches) };
                let with = Phase { name: "others beside", mood: away, ..without.clone() };
                vec![alone, without, pile, with]
            }
            Self::Restart => {
                let connections = settings.connections.unwrap_or(RESTART_CONNECTIONS);
                let load = Load::Insistent { connections, rate: settings.rate };
                vec![Phase { measured: measured / 2, ..phase("before the kill", load) }]
            }
            Self::Overload => {
                let connections = settings.connections.unwrap_or(OVERLOAD_CONNECTIONS);
                let rate = Rate::ShareOfBefore(settings.share.unwrap_or(TWICE));
                vec![full, phase("overload", Load::Open { connections, rate })]
            }
            Self::Retries => {
                let batches =
                    Load::Closed { connections: BATCH_CONNECTIONS, events_a_request: BATCH_EVENTS };
                let fickle = Crowd::Fickle;
                vec![Phase { to: fickle, of: fickle, ..phase("retries", batches) }]
            }
            Self::History => {
                let steady = |name| {
                    let rate = Rate::ShareOfBefore(settings.share.unwrap_or(HALF));
                    phase(name, Load::Open { connections, rate })
                };
                let named = |name| Phase { name, ..full.clone() };
                vec![named("empty"), named("filled"), steady("calm"), steady("beside the janitor")]
            }
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
        hanging: None,
        hanging_share: None,
        pending: 1000,
        past: 1000,
        payload: 300,
    };

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn layouts_follow_the_table() {
        for (scenario,       endpoints, fickle, per_organization, window) in [
            (Scenario::One,    1,       0,      1,                Some(256)),
            (Scenario::Spread, 1000,    0,      10,               None),
            (Scenario::Fanout, 100,     0,      10,               None),
            (Scenario::Batch,  10,      0,      10,               None),
            (Scenario::Paced,  100,     0,      10,               None),
            (Scenario::Noisy,  1000,    10,     10,               None),
            (Scenario::Idle,   100_000, 0,      100,              None),
            (Scenario::Backlog, 101,    1,      10,               None),
            (Scenario::Restart, 100,    0,      10,               None),
            (Scenario::Overload, 100,   0,      10,               None),
            (Scenario::Retries, 101,    100,    10,               None),
            (Scenario::History, 1000,   0,      10,               None),
        ] {
            let layout = scenario.layout(&UNSET);
            assert_eq!((layout.endpoints, layout.fickle, layout.per_organization, layout.window),
                       (endpoints, fickle, per_organization, window), "{scenario:?}");
            let fickle = (0..endpoints).filter(|number| layout.is_fickle(*number)).count();
            assert_eq!(fickle, layout.fickle, "{scenario:?}");
        }
        let set = Settings { endpoints: Some(4), window: Some(7), ..UNSET };
        for scenario in Scenario::value_variants() {
            let layout = scenario.layout(&set);
            assert_eq!((layout.endpoints, layout.per_organization, layout.window), (4, 4, Some(7)));
        }
    }

    #[test]
    fn not_all_endpoints_hang() {
        let settings = Settings { endpoints: Some(4), ..UNSET };
        assert!(Scenario::Noisy.judge(&settings).is_err());
        assert!(Scenario::Noisy.judge(&Settings { hanging: Some(3), ..settings }).is_ok());
    }

    #[test]
    fn a_share_is_of_what_is_measured_before() {
        let phases = Scenario::Paced.phases(&Settings { share: Some(0.5), ..UNSET });
        assert!(matches!(phases[0].load, Load::Closed { .. }));
        assert!(matches!(phases[1].load, Load::Open { rate: Rate::ShareOfBefore(0.5), .. }));
        assert_eq!(Scenario::Paced.phases(&UNSET).len(), 1);
    }
}
