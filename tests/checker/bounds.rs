//! I8, bounds: no gauge passes its limit, and once all is quiet nothing that is due is left.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::history::Status;
use super::index::Index;

/// How long what is due may wait at the moment that the rows are read.
const DUE_GRACE_MS: i64 = 5_000;

pub fn check(index: &Index<'_>) -> Findings {
    let mut findings = Findings::default();
    let run = &index.history.run;
    let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
    for sample in &index.history.samples {
        for (gauge, value) in &sample.gauges {
            let Some(limit) = run.limits.get(gauge) else { continue };
            let highest = highest.entry(gauge).or_default();
            *highest = (*highest).max(*value);
            if value > limit {
                findings.violated(sample.at_ms, || {
                    format!("{gauge} of node {} was {value}, above {limit}", sample.node)
                });
            }
        }
    }
    for delivery in &index.history.deliveries {
        let due_at_ms = delivery.next_attempt_at_ms.unwrap_or(i64::MAX);
        let left = due_at_ms.saturating_add(DUE_GRACE_MS) < run.rows_read_at_ms;
        if delivery.status == Status::Pending && left {
            findings.violated(due_at_ms, || format!("delivery {} is due and left", delivery.id));
        }
    }
    let highest = highest.iter().map(|(gauge, value)| format!("{gauge} ≤ {value}"));
    let highest: Vec<_> = highest.collect();
    findings.looked_at = format!("{} samples: {}", index.history.samples.len(), highest.join(", "));
    findings
}
