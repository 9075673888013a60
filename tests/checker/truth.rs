//! I4, truth: what is on record agrees with itself, with what receivers answered, and with what REST and
//! GraphQL showed; deliveries moved only as they may; and no claim outlived its deadline for long.

use std::collections::{HashMap, HashSet};

use super::findings::Findings;
use super::history::{Answer, DeliveryRow, Door, Status, is_success};
use super::index::Index;

/// How long after its deadline a claim may still be open.
const CLAIM_GRACE_MS: i64 = 5_000;
/// How far the clocks of two processes of one machine may be apart.
const CLOCKS_MS: i64 = 50;

pub fn check(index: &Index<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut attempts = 0;
    for delivery in &index.history.deliveries {
        attempts += delivery.attempts.len();
        for why in contradictions(index, delivery) {
            findings.violated(None, || format!("delivery {} {why}", delivery.id));
        }
    }
    answers_agree(index, &mut findings);
    moves_are_legal(index, &mut findings);
    claims_end(index, &mut findings);
    sessions_end_once(index, &mut findings);
    findings.looked_at = format!(
        "{attempts} attempts, {} answers, {} sessions",
        index.history.answers.len(),
        index.history.sessions.len(),
    );
    findings
}

/// What a row says against itself or against its receiver.
fn contradictions(index: &Index<'_>, delivery: &DeliveryRow) -> Vec<&'static str> {
    let attempts = &delivery.attempts;
    let schedule = index.history.run.retry_schedule_ms.len() + 1;
    let succeeded = |code: Option<u16>| code.is_some_and(is_success);
    let (last, earlier) = match attempts.split_last() {
        Some((last, earlier)) => (succeeded(last.status_code), earlier),
        None => (false, &[][..]),
    };
    let mut answered: HashMap<u16, usize> = HashMap::new();
    for code in index.receipts(&delivery.id).iter().filter_map(|receipt| receipt.status) {
        *answered.entry(code).or_default() += 1;
    }
    // A success without a request is a loss, and told there.
    let unheard = attempts.iter().filter_map(|attempt| attempt.status_code).any(|code| {
        let left = answered.entry(code).or_default();
        let heard = *left > 0;
        *left = left.saturating_sub(1);
        !heard && !is_success(code)
    });
    let exhausted = delivery.failure_reason.as_deref() == Some("exhausted");
    let rules = [
        (attempts.len() != delivery.attempt_count as usize, "has holes in its attempts"),
        (attempts.len() > schedule, "has more attempts than its schedule"),
        (exhausted && attempts.len() < schedule, "is exhausted before its schedule"),
        (
            attempts.windows(2).any(|pair| pair[1].at_ms < pair[0].at_ms - CLOCKS_MS),
            "has attempts out of order",
        ),
        (
            earlier.iter().any(|attempt| succeeded(attempt.status_code)),
            "was attempted again after a 2xx on record",
        ),
        (
            last != (delivery.status == Status::Succeeded),
            "has a last attempt that its status denies",
        ),
        (unheard, "has an answer on record that its receiver never gave"),
        (
            delivery.claim_expires_at_ms.is_some() && delivery.status != Status::Delivering,
            "is claimed though nobody attempts it",
        ),
        (
            delivery.next_attempt_at_ms.is_some() && delivery.status != Status::Pending,
            "is due though it is not pending",
        ),
    ];
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, why)| why).collect()
}

/// Once all was quiet, both APIs show every row as it is.
fn answers_agree(index: &Index<'_>, findings: &mut Findings) {
    let mut shown: HashSet<(&str, Door)> = HashSet::new();
    for answer in index.history.answers.iter().filter(|answer| answer.is_final) {
        shown.insert((&answer.delivery_id, answer.door));
        let row = index.deliveries.get(answer.delivery_id.as_str());
        if !row.is_some_and(|row| agrees(answer, row)) {
            findings.violated(answer.at_ms, || {
                format!("{:?} showed delivery {} unlike its row", answer.door, answer.delivery_id)
            });
        }
    }
    for delivery in &index.history.deliveries {
        for door in [Door::Rest, Door::Graphql] {
            if !shown.contains(&(&delivery.id, door)) {
                findings
                    .violated(None, || format!("{door:?} did not show delivery {}", delivery.id));
            }
        }
    }
}

fn agrees(answer: &Answer, row: &DeliveryRow) -> bool {
    let last_status_code = row.attempts.last().and_then(|attempt| attempt.status_code);
    let why = row.failure_reason.as_ref().filter(|_| row.status == Status::Failed);
    answer.event_id == row.event_id
        && answer.endpoint_id == row.endpoint_id
        && answer.status == row.status
        && answer.attempt_count == row.attempt_count
        && answer.last_status_code == last_status_code
        && answer.failure_reason.as_ref() == why
}

/// A delivery as it was seen at an instant.
struct Seen {
    at_ms: i64,
    status: Status,
    attempt_count: u32,
}

/// Seen one after the other, deliveries end once, and no attempt is taken back.
fn moves_are_legal(index: &Index<'_>, findings: &mut Findings) {
    // Each door by itself: what a subscription tells arrives later than what a query reads.
    let mut seen: HashMap<(&str, Door, u32), Vec<Seen>> = HashMap::new();
    for answer in &index.history.answers {
        let Answer { at_ms, status, attempt_count, .. } = *answer;
        let of = seen.entry((&answer.delivery_id, answer.door, answer.stream)).or_default();
        of.push(Seen { at_ms, status, attempt_count });
    }
    for ((id, door, _), mut seen) in seen {
        seen.sort_by_key(|seen| seen.at_ms);
        for pair in seen.windows(2) {
            if !may_become(&pair[0], &pair[1]) {
                findings.violated(pair[1].at_ms, || {
                    let Seen { status, attempt_count, .. } = &pair[0];
                    let then = (pair[1].status, pair[1].attempt_count);
                    format!(
                        "{door:?} showed delivery {id} as {:?}, then as {then:?}",
                        (status, attempt_count)
                    )
                });
            }
        }
    }
}

fn may_become(before: &Seen, after: &Seen) -> bool {
    let attempted = after.attempt_count > before.attempt_count;
    match (before.status, after.status) {
        (Status::Succeeded | Status::Failed, status) => status == before.status && !attempted,
        (Status::Pending | Status::Delivering, Status::Succeeded) => attempted,
        // Poisoned and revoked ones fail without a further attempt.
        (
            Status::Pending | Status::Delivering,
            Status::Pending | Status::Delivering | Status::Failed,
        ) => after.attempt_count >= before.attempt_count,
    }
}

fn claims_end(index: &Index<'_>, findings: &mut Findings) {
    let rows_read_at_ms = index.history.run.rows_read_at_ms;
    let left = index.history.deliveries.iter().filter_map(|delivery| {
        Some((delivery.id.as_str(), rows_read_at_ms, delivery.claim_expires_at_ms?))
    });
    let seen = index.history.lapsed_claims.iter();
    let seen = seen.map(|claim| (claim.delivery_id.as_str(), claim.at_ms, claim.expires_at_ms));
    for (id, at_ms, expires_at_ms) in seen.chain(left) {
        let overdue = at_ms > expires_at_ms + CLAIM_GRACE_MS;
        // Whoever would have ended it may have been away.
        if overdue && index.faults.is_calm(expires_at_ms, at_ms) {
            findings.violated(at_ms, || {
                format!("the claim on delivery {id} was over at {expires_at_ms}")
            });
        }
    }
}

/// A session has one terminal event, the one that its row names.
fn sessions_end_once(index: &Index<'_>, findings: &mut Findings) {
    let run = &index.history.run;
    let mut ended: HashMap<(&str, &str), &str> = HashMap::new();
    for event in &index.history.events {
        let Some(session) = event.session_id.as_deref() else { continue };
        if !run.terminal_event_types.contains(&event.event_type) {
            continue;
        }
        if let Some(first) = ended.insert((&event.organization_id, session), &event.id) {
            findings.violated(None, || {
                format!("session {session} was ended by event {first} and by event {}", event.id)
            });
        }
    }
    for session in &index.history.sessions {
        let of = (session.organization_id.as_str(), session.session_id.as_str());
        if session.terminal_event_id.as_deref() != ended.get(&of).copied() {
            findings.violated(None, || {
                format!("session {} does not name the event that ended it", session.session_id)
            });
        }
    }
}
