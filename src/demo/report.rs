//! What became of the demo's deliveries, as a table, and whether that is as it should be.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::receiver::Arrival;

/// How an endpoint should end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// Everything delivered, each after retries or none.
    Delivered { retried: bool },
    /// Everything failed, for this reason.
    Failed { reason: &'static str },
}

/// One endpoint's line.
pub(super) struct Row {
    name: &'static str,
    deliveries: usize,
    delivered: usize,
    retried: usize,
    failed: BTreeMap<String, usize>,
    /// Publish to accepted arrival, sorted.
    latencies: Vec<Duration>,
    /// Accepted arrivals whose signature held and whose plaintext is what was published.
    genuine: usize,
    accepted: usize,
    well: bool,
}

impl Row {
    pub(super) fn new(
        name: &'static str,
        expected: Expected,
        deliveries: &[Value],
        arrivals: &[Arrival],
        published: &HashMap<String, (Instant, Value)>,
    ) -> Self {
        let with_status = |status: &'static str| {
            deliveries.iter().filter(move |delivery| delivery["status"] == status)
        };
        let mut failed = BTreeMap::new();
        for delivery in with_status("failed") {
            let reason = delivery["failure_reason"].as_str().unwrap_or("unknown").to_owned();
            *failed.entry(reason).or_default() += 1;
        }
        let accepted: Vec<&Arrival> =
            arrivals.iter().filter(|arrival| arrival.accepted()).collect();
        let origin = |arrival: &Arrival| published.get(arrival.event_id()?);
        let genuine = |arrival: &&&Arrival| {
            let data = arrival.plaintext.as_ref().map(|plaintext| &plaintext["data"]);
            arrival.verified && origin(arrival).map(|(_, data)| data) == data
        };
        let mut latencies: Vec<Duration> = accepted
            .iter()
            .filter_map(|arrival| origin(arrival).map(|(at, _)| arrival.at.duration_since(*at)))
            .collect();
        latencies.sort_unstable();
        let retried = deliveries.iter().filter(|d| d["attempt_count"].as_u64() > Some(1)).count();
        let delivered = with_status("succeeded").count();
        let genuine = accepted.iter().filter(genuine).count();
        let all = deliveries.len();
        let well = all > 0
            && match expected {
                Expected::Delivered { retried: wanted } => {
                    delivered == all && genuine == all && retried == if wanted { all } else { 0 }
                }
                Expected::Failed { reason } => failed.get(reason) == Some(&all),
            };
        Self {
            name,
            deliveries: all,
            delivered,
            retried,
            failed,
            latencies,
            genuine,
            accepted: accepted.len(),
            well,
        }
    }

    fn percentile(&self, share: f64) -> String {
        let last = self.latencies.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        match self.latencies.get(index) {
            Some(latency) => format!("{:.1}", latency.as_secs_f64() * 1000.0),
            None => "–".to_owned(),
        }
    }

    fn failures(&self) -> String {
        if self.failed.is_empty() {
            return "0".to_owned();
        }
        let reasons = self.failed.iter().map(|(reason, count)| format!("{count} {reason}"));
        reasons.collect::<Vec<_>>().join(", ")
    }
}

/// Prints the table; answers whether every endpoint ended as it should.
pub(super) fn print(rows: &[Row], took: Duration) -> bool {
    println!(
        "{:<22} {:>10} {:>9} {:>8}  {:<22} {:>8} {:>8} {:>8} {:>8}  as it should",
        "endpoint",
        "deliveries",
        "delivered",
        "retried",
        "failed",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "max ms",
    );
    for row in rows {
        println!(
            "{:<22} {:>10} {:>9} {:>8}  {:<22} {:>8} {:>8} {:>8} {:>8}  {}",
            row.name,
            row.deliveries,
            row.delivered,
            row.retried,
            row.failures(),
            row.percentile(0.5),
            row.percentile(0.9),
            row.percentile(0.99),
            row.percentile(1.0),
            if row.well { "yes" } else { "NO" },
        );
    }
    let accepted: usize = rows.iter().map(|row| row.accepted).sum();
    let genuine: usize = rows.iter().map(|row| row.genuine).sum();
    println!("\nverified and decrypted: {genuine} of {accepted}");
    println!(
        "latency is from publish to the accepted attempt's arrival; took {:.1} s",
        took.as_secs_f64()
    );
    genuine == accepted && rows.iter().all(|row| row.well)
}
