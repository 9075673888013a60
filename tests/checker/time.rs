//! I5, time: no attempt comes before the schedule's pause after the failed one is over, and none is put off
//! for longer; and what goes to a healthy endpoint outside faults comes soon after it is due, at the 99th
//! percentile.

use super::findings::Findings;
use super::history::{DeliveryRow, Outcome, Receipt};
use super::index::Index;

/// How much earlier than due a request may arrive.
const EARLY_MS: i64 = 50;

/// A request that was due at an instant, and came or did not.
struct Lateness<'h> {
    delivery: &'h DeliveryRow,
    due_at_ms: i64,
    late_ms: i64,
}

pub fn check(index: &Index<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut latenesses = Vec::new();
    let mut pauses = 0;
    for delivery in &index.history.deliveries {
        latenesses.extend(first_attempt(index, delivery));
        pauses += check_pauses(index, delivery, &mut latenesses, &mut findings);
        if is_put_off(index, delivery) {
            findings.violated(delivery.next_attempt_at_ms, || {
                format!("delivery {} is due later than its schedule has it", delivery.id)
            });
        }
    }
    latenesses.sort_unstable_by_key(|lateness| lateness.late_ms);
    // The nearest rank: of up to a hundred, the latest.
    let rank = (latenesses.len() * 99).div_ceil(100).saturating_sub(1);
    let p99_ms = latenesses.get(rank).map_or(0, |lateness| lateness.late_ms);
    let late_p99_ms = index.history.run.late_p99_ms;
    if p99_ms > late_p99_ms {
        for Lateness { delivery, due_at_ms, late_ms } in
            latenesses.iter().rev().take_while(|lateness| lateness.late_ms > late_p99_ms)
        {
            findings.violated(*due_at_ms, || {
                format!("delivery {} came {late_ms} ms late", delivery.id)
            });
        }
    }
    findings.looked_at = format!(
        "{pauses} pauses, {} requests outside faults, p99 {p99_ms} ms late",
        latenesses.len()
    );
    findings
}

/// How many first attempts can be judged by their lateness.
pub fn punctual_first_attempts(index: &Index<'_>) -> usize {
    let deliveries = index.history.deliveries.iter();
    deliveries.filter_map(|delivery| first_attempt(index, delivery)).count()
}

/// Whether a delivery waits for longer than the schedule's pause after its last attempt.
fn is_put_off(index: &Index<'_>, delivery: &DeliveryRow) -> bool {
    let run = &index.history.run;
    let (Some(last), Some(due_at_ms)) = (delivery.attempts.last(), delivery.next_attempt_at_ms)
    else {
        return false;
    };
    let Some(pause_ms) = run.retry_schedule_ms.get(delivery.attempts.len() - 1) else {
        return false;
    };
    // The pause begins when the attempt has ended; on record may be when it began.
    let latest_ms = last.at_ms + run.attempt_timeout_ms + pause_ms + EARLY_MS;
    // Of a claim that was lost later, the due time is when that was seen.
    due_at_ms > latest_ms && index.faults.is_calm(last.at_ms, due_at_ms)
}

fn is_healthy(index: &Index<'_>, delivery: &DeliveryRow) -> bool {
    index.endpoints.get(delivery.endpoint_id.as_str()).is_some_and(|endpoint| endpoint.healthy)
}

/// How long after its publish was answered the first request of a delivery came; none where no fault-free
/// answer tells.
fn first_attempt<'h>(index: &Index<'h>, delivery: &'h DeliveryRow) -> Option<Lateness<'h>> {
    if !is_healthy(index, delivery) {
        return None;
    }
    let event = index.events.get(delivery.event_id.as_str())?;
    let first = index.origins(event).first()?;
    if first.outcome != Outcome::Accepted {
        return None;
    }
    let arrived_at_ms = index.receipts(&delivery.id).first().map(|receipt| receipt.arrived_at_ms);
    lateness(index, delivery, first.ended_at_ms, arrived_at_ms)
}

fn lateness<'h>(
    index: &Index<'h>,
    delivery: &'h DeliveryRow,
    due_at_ms: i64,
    arrived_at_ms: Option<i64>,
) -> Option<Lateness<'h>> {
    let arrived_at_ms = arrived_at_ms.unwrap_or(index.history.run.rows_read_at_ms);
    let late_ms = (arrived_at_ms - due_at_ms).max(0);
    // A fault that began only after it should have come is no excuse.
    let calm =
        index.faults.is_calm(due_at_ms, due_at_ms + late_ms.min(index.history.run.late_p99_ms));
    calm.then_some(Lateness { delivery, due_at_ms, late_ms })
}

/// Compares the requests of a delivery with its schedule; answers how many pauses there were to judge.
fn check_pauses<'h>(
    index: &Index<'h>,
    delivery: &'h DeliveryRow,
    latenesses: &mut Vec<Lateness<'h>>,
    findings: &mut Findings,
) -> usize {
    let schedule = &index.history.run.retry_schedule_ms;
    let (mut judged, mut unrecorded) = (0, 0);
    for (made, pair) in index.receipts(&delivery.id).windows(2).enumerate() {
        let (failed, next): (&Receipt, &Receipt) = (pair[0], pair[1]);
        // What follows a success is for `duplicates` to judge.
        if failed.is_success() {
            break;
        }
        // An attempt that a fault kept off the record spends none of the schedule, and is due at once.
        if index.faults.behind(failed).next().is_some() {
            unrecorded += 1;
            continue;
        }
        judged += 1;
        let Some(pause_ms) = schedule.get(made - unrecorded) else {
            findings.violated(next.arrived_at_ms, || {
                format!("delivery {} came once more than its schedule", delivery.id)
            });
            continue;
        };
        // One left hanging fails no sooner than it came; when exactly, only the sender knows.
        let due_at_ms = failed.ended_at_ms.unwrap_or(failed.arrived_at_ms) + pause_ms;
        if next.arrived_at_ms < due_at_ms - EARLY_MS {
            findings.violated(next.arrived_at_ms, || {
                format!("delivery {} came {} ms early", delivery.id, due_at_ms - next.arrived_at_ms)
            });
        }
        if unrecorded == 0 && failed.ended_at_ms.is_some() && is_healthy(index, delivery) {
            latenesses.extend(lateness(index, delivery, due_at_ms, Some(next.arrived_at_ms)));
        }
    }
    judged
}
