//! I3, duplicates: a second 2xx for one delivery has a fault that may have kept the first off the record,
//! and a fault explains no more of them than were in flight where it struck.

use super::findings::Findings;
use super::history::Receipt;
use super::index::Index;

/// A 2xx after an earlier one, and the faults that may be why.
struct Duplicate<'h> {
    receipt: &'h Receipt,
    faults: Vec<usize>,
}

pub fn check(index: &Index<'_>) -> Findings {
    let mut findings = Findings::default();
    let duplicates = duplicates(index);
    let mut explained: Vec<Vec<usize>> = vec![Vec::new(); index.history.faults.len()];
    for (n, duplicate) in duplicates.iter().enumerate() {
        let mut visited = vec![false; explained.len()];
        if !explain(index, &duplicates, n, &mut explained, &mut visited) {
            findings.violated(duplicate.receipt.arrived_at_ms, || {
                let why = if duplicate.faults.is_empty() {
                    "with no fault near"
                } else {
                    "and the faults near had fewer in flight"
                };
                format!("delivery {} was taken once more, {why}", duplicate.receipt.delivery_id)
            });
        }
    }
    findings.looked_at = format!(
        "{} requests, {} taken once more, {} faults",
        index.history.receipts.len(),
        duplicates.len(),
        index.history.faults.len(),
    );
    findings
}

fn duplicates<'h>(index: &Index<'h>) -> Vec<Duplicate<'h>> {
    let mut duplicates = Vec::new();
    for delivery in &index.history.deliveries {
        let taken = index.receipts(&delivery.id).iter().filter(|receipt| receipt.is_success());
        let taken: Vec<_> = taken.copied().collect();
        for pair in taken.windows(2) {
            let (first, again) = (pair[0], pair[1]);
            let at_ms = again.arrived_at_ms;
            let mut faults: Vec<_> =
                index.faults.behind(first).chain(index.faults.felt(at_ms, at_ms)).collect();
            faults.sort_unstable();
            faults.dedup();
            faults.retain(|position| index.faults.get(*position).kind.may_double());
            duplicates.push(Duplicate { receipt: again, faults });
        }
    }
    duplicates
}

/// Finds a fault for one more duplicate, if need be by giving those explained before another one
/// (augmenting paths): so that the answer does not hang on the order.
fn explain(
    index: &Index<'_>,
    duplicates: &[Duplicate<'_>],
    n: usize,
    explained: &mut [Vec<usize>],
    visited: &mut [bool],
) -> bool {
    for &fault in &duplicates[n].faults {
        if std::mem::replace(&mut visited[fault], true) {
            continue;
        }
        if (explained[fault].len() as u64) < index.faults.get(fault).in_flight {
            explained[fault].push(n);
            return true;
        }
        for place in 0..explained[fault].len() {
            let other = explained[fault][place];
            if explain(index, duplicates, other, explained, visited) {
                explained[fault][place] = n;
                return true;
            }
        }
    }
    false
}
