//! The columns of a delivery's row that the machine moves on, whether it is inserted or its claim ends.

use hookseal_core::delivery::Progress;
use hookseal_core::time::Timestamp;

use super::cell::Kind::{Flag, Number, NumberOrNull, Text, TextOrNull};
use super::cell::{Cell, Kind};
use crate::store::rows::duration_ms;

/// All of them but the claim.
pub(super) const COLUMNS: [(&str, Kind); 14] = [
    ("status", Text),
    ("attempt_count", Number),
    ("last_attempt_at_ms", NumberOrNull),
    ("last_duration_ms", NumberOrNull),
    ("last_status_code", NumberOrNull),
    ("last_error", TextOrNull),
    ("next_attempt_at_ms", NumberOrNull),
    ("payload_expires_at_ms", NumberOrNull),
    ("retention_reason", Text),
    ("payload_scrubbed_at_ms", NumberOrNull),
    ("lost_claims", Number),
    ("maybe_delivered", Flag),
    ("failure_reason", TextOrNull),
    ("updated_at_ms", Number),
];

/// What they hold.
pub(super) fn cells(progress: &Progress) -> [Cell<'_>; COLUMNS.len()] {
    let attempt = progress.last_attempt;
    let ms = |at: Option<Timestamp>| at.map(Timestamp::as_ms);
    [
        progress.status.as_str().into(),
        i64::from(progress.attempt_count).into(),
        attempt.map(|attempt| attempt.at.as_ms()).into(),
        attempt.map(|attempt| duration_ms(attempt.duration)).into(),
        attempt.and_then(|attempt| attempt.status_code).map(i64::from).into(),
        attempt.and_then(|attempt| attempt.error).map(|kind| kind.as_str()).into(),
        ms(progress.next_attempt_at).into(),
        ms(progress.payload_expires_at).into(),
        progress.retention_reason.as_str().into(),
        ms(progress.payload_scrubbed_at).into(),
        i64::from(progress.lost_claims).into(),
        progress.maybe_delivered.into(),
        progress.failure_reason.map(|reason| reason.as_str()).into(),
        progress.updated_at.as_ms().into(),
    ]
}

/// Columns, or what they hold, that others stand before.
pub(super) fn after<T, const M: usize, const N: usize>(
    others: [T; M],
    of_progress: [T; COLUMNS.len()],
) -> [T; N] {
    const { assert!(M + COLUMNS.len() == N) }
    let mut all = others.into_iter().chain(of_progress);
    std::array::from_fn(|_| all.next().expect("there are as many"))
}
