//! What one phase came to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::account::Account;
use super::driver::Tally;
use super::load::Phase;
use super::samples::Summary;
use super::usage::Reading;

/// Seconds of one window that throughput over time is told by.
const WINDOW: usize = 5;

/// What one phase came to, over the interval that was measured unless it says otherwise.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) phase: &'static str,
    pub(super) seconds: f64,
    /// Events a second that were to be published; none when as many as possible.
    pub(super) offered_per_second: Option<f64>,
    /// Events that were accepted.
    pub(super) events_per_second: f64,
    pub(super) deliveries: u64,
    pub(super) deliveries_per_second: f64,
    /// Deliveries of each whole second.
    pub(super) by_second: Vec<u64>,
    /// Deliveries a second of each five seconds.
    pub(super) windows: Vec<f64>,
    /// Deliveries of the last quarter, as a part of those of the first.
    pub(super) last_to_first_quarter: f64,
    pub(super) publish_to_arrival: Summary,
    pub(super) publish_to_202: Summary,
    /// Answers that were not 202, by status, over the whole phase.
    pub(super) refused: BTreeMap<u16, Refused>,
    /// Requests whose connection broke, over the whole phase.
    pub(super) broken: u64,
    /// Processor time by process.
    pub(super) cpu_seconds: BTreeMap<&'static str, f64>,
    pub(super) cpu_us_per_delivery: BTreeMap<&'static str, f64>,
    /// Processors that somebody else used, on average.
    pub(super) cores_of_others: f64,
}

/// Answers of one status.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Refused {
    pub(super) count: u64,
    pub(super) with_retry_after: u64,
    pub(super) took: Summary,
}

impl Measured {
    /// Of what was published and arrived between two readings. Who accepted is everyone: no answer tells them apart.
    pub(super) fn of(
        phase: &Phase,
        offered_per_second: Option<f64>,
        tally: &Tally,
        account: &Account,
        (from, until): (&Reading, &Reading),
    ) -> Self {
        let interval = from.at_ns..until.at_ns;
        let span_ns = until.at_ns - from.at_ns;
        let seconds = span_ns as f64 / 1e9;
        let mut by_second = vec![0; span_ns.div_ceil(1_000_000_000) as usize];
        let mut quarters = [0u64; 4];
        for at_ns in account.arrivals_in(interval.clone(), phase.of) {
            let since_ns = at_ns - from.at_ns;
            by_second[(since_ns / 1_000_000_000) as usize] += 1;
            quarters[(since_ns * 4 / span_ns) as usize] += 1;
        }
        let deliveries: u64 = quarters.iter().sum();
        // The last one may be a fraction.
        by_second.truncate(seconds as usize);
        let per_second = |window: &[u64]| window.iter().sum::<u64>() as f64 / window.len() as f64;
        let cpu_seconds = spent(from, until);
        let answered = tally.accepted.iter().filter(|one| interval.contains(&one.answered_ns));
        let sent = tally.accepted.iter().filter(|one| interval.contains(&one.sent_ns));
        Self {
            phase: phase.name,
            seconds,
            offered_per_second,
            events_per_second: answered.map(|one| one.events).sum::<usize>() as f64 / seconds,
            deliveries,
            deliveries_per_second: deliveries as f64 / seconds,
            windows: by_second.chunks_exact(WINDOW).map(per_second).collect(),
            by_second,
            last_to_first_quarter: quarters[3] as f64 / quarters[0].max(1) as f64,
            publish_to_arrival: Summary::of(account.latencies(interval.clone(), phase.of)),
            publish_to_202: Summary::of(sent.map(|one| one.answered_ns - one.sent_ns).collect()),
            refused: refused(tally),
            broken: tally.broken,
            cpu_us_per_delivery: cpu_seconds
                .iter()
                .map(|(who, seconds)| (*who, seconds * 1e6 / deliveries.max(1) as f64))
                .collect(),
            cores_of_others: {
                let ours: f64 = cpu_seconds.values().sum();
                ((until.machine - from.machine - ours) / seconds).max(0.0)
            },
            cpu_seconds,
        }
    }
}

/// Processor time between two readings, by who spent it.
pub(super) fn spent(from: &Reading, until: &Reading) -> BTreeMap<&'static str, f64> {
    let since = |who: &str| from.seconds.get(who).copied().unwrap_or_default();
    until.seconds.iter().map(|(who, seconds)| (*who, seconds - since(who))).collect()
}

fn refused(tally: &Tally) -> BTreeMap<u16, Refused> {
    let refused = tally.refused.iter().map(|(status, refusals)| {
        let (count, with_retry_after) = (refusals.count, refusals.with_retry_after);
        (*status, Refused { count, with_retry_after, took: Summary::of(refusals.took_ns.clone()) })
    });
    refused.collect()
}
