//! The delivery machine: every state, every transition by name. Pure; nothing else assigns a status.
//!
//! ```text
//!            accepted ─────────────▶ pending ◀───────────────────────────┐
//!  no_active_key / unsealable          │  ▲ ▲                            │
//!        │                       claim │  │ └─ hand_back, lose_claim,    │ requeue
//!        │                             ▼  │    give_up_attempt           │ (retry, replay;
//!        │                        delivering  settle (attempts remain)   │  also of pending)
//!        │          settle (2xx) ╱          ╲ settle (schedule over),    │
//!        ▼                      ▼            ▼ lose_claim (poisoned)      │
//!      failed               succeeded       failed ──────────────────────┘
//!        ▲
//!        └── expire, revoke (pending or failed)
//! ```
//!
//! `revoke` takes the payload of a `delivering` one, too (the person withdrew, the endpoint is
//! deleted); it stays `delivering` until its attempt ends, and that end decides: a 2xx succeeds,
//! anything else fails.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{DeliveryId, EndpointId, EventId, KeyId, OrganizationId};
use crate::limits::{CLAIM_SLACK, LOST_CLAIMS};
use crate::outcome::{ErrorKind, Outcome, Verdict};
use crate::retention::{RetentionHours, RetentionReason};
use crate::retry::RetrySchedule;
use crate::shard::NodeNumber;
use crate::time::Timestamp;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits for its first or next attempt.
    Pending,
    /// Claimed by an attempt in progress.
    Delivering,
    /// A receiver answered 2xx. Final.
    Succeeded,
    /// Given up; retried by hand while a payload remains.
    Failed,
}

impl Status {
    /// Every status, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivering, Self::Succeeded, Self::Failed];

    /// The status as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivering => "delivering",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// The status that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// Why a delivery failed for good, where the retention reason cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The last attempt of the schedule failed.
    Exhausted,
    /// No key to seal to.
    NoActiveKey,
    /// Sealing failed.
    SealFailed,
    /// Three claims were lost in a row: something about it kills its attempts.
    Poisoned,
    /// Its payload expired before a receiver took it.
    Expired,
    /// The person withdrew.
    PrivacyRequest,
    /// The endpoint was deleted.
    EndpointDeleted,
}

impl FailureReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 7] = [
        Self::Exhausted,
        Self::NoActiveKey,
        Self::SealFailed,
        Self::Poisoned,
        Self::Expired,
        Self::PrivacyRequest,
        Self::EndpointDeleted,
    ];

    /// The reason as a stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::NoActiveKey => "no_active_key",
            Self::SealFailed => "seal_failed",
            Self::Poisoned => "poisoned",
            Self::Expired => "expired",
            Self::PrivacyRequest => "privacy_request",
            Self::EndpointDeleted => "endpoint_deleted",
        }
    }

    /// The reason that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// Why a payload is taken away before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The person withdrew (contract 4.11).
    Withdrawn,
    /// The endpoint was deleted.
    EndpointDeleted,
}

impl Revocation {
    fn reasons(self) -> (RetentionReason, FailureReason) {
        match self {
            Self::Withdrawn => (RetentionReason::PrivacyRequest, FailureReason::PrivacyRequest),
            Self::EndpointDeleted => (RetentionReason::Expired, FailureReason::EndpointDeleted),
        }
    }
}

/// Names the one life of the one actor that holds a claim, and the life of the node that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClaimToken(pub i64);

impl ClaimToken {
    /// Low bits, which are random; those above tell the node.
    pub const RANDOM_BITS: u32 = 43;
    /// What of a node's number is in a token.
    pub const NODE_MASK: i64 = (1 << (i64::BITS - 1 - Self::RANDOM_BITS)) - 1;

    /// A token of `node`, which is not zero, made from `random` bits.
    pub fn mint(node: NodeNumber, random: u64) -> Self {
        let random = random & ((1 << Self::RANDOM_BITS) - 1);
        Self((node.0 & Self::NODE_MASK) << Self::RANDOM_BITS | random.max(1) as i64)
    }

    /// The node that it was made on; numbers come round after a million lives.
    pub fn node(self) -> NodeNumber {
        NodeNumber(self.0 >> Self::RANDOM_BITS)
    }

    /// Whether it was made on `node`.
    pub fn is_of(self, node: NodeNumber) -> bool {
        self.node().0 == node.0 & Self::NODE_MASK
    }
}

/// The right to attempt a delivery, until a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who holds it.
    pub token: ClaimToken,
    /// When it lapses.
    pub expires_at: Timestamp,
}

impl Claim {
    /// A claim made at `now` for attempts that take at most `attempt_timeout`.
    pub fn new(token: ClaimToken, now: Timestamp, attempt_timeout: Duration) -> Self {
        Self { token, expires_at: now.plus(attempt_timeout).plus(CLAIM_SLACK) }
    }

    /// Whether enough of the claim is left at `now` to start an attempt.
    pub fn covers(&self, now: Timestamp, attempt_timeout: Duration) -> bool {
        now.plus(attempt_timeout) <= self.expires_at
    }
}

/// One attempt that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Just before sending where an answer came; the moment of recording where none did.
    pub at: Timestamp,
    /// How long the exchange took.
    pub duration: Duration,
    /// HTTP status, if an answer came.
    pub status_code: Option<u16>,
    /// What went wrong, if none came.
    pub error: Option<ErrorKind>,
}

impl Attempt {
    /// The record of an exchange that began at `started` and ended with `outcome` after `duration`.
    pub fn new(started: Timestamp, duration: Duration, outcome: Outcome) -> Self {
        let at = match outcome {
            Outcome::Answered { .. } => started,
            Outcome::Faulted(_) => started.plus(duration),
        };
        Self { at, duration, status_code: outcome.status_code(), error: outcome.error() }
    }

    fn unsent(now: Timestamp, error: ErrorKind) -> Self {
        Self { at: now, duration: Duration::ZERO, status_code: None, error: Some(error) }
    }
}

/// A delivery: one event on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its id, the same in every attempt.
    pub id: DeliveryId,
    /// The tenant.
    pub organization_id: OrganizationId,
    /// The event it carries.
    pub event_id: EventId,
    /// The event's type, for the request header.
    pub event_type: Arc<str>,
    /// Where it goes.
    pub endpoint_id: EndpointId,
    /// The key it is sealed to; none when there was none.
    pub key_id: Option<KeyId>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// All that changes.
    pub progress: Progress,
}

/// The part of a delivery that transitions change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Where it stands.
    pub status: Status,
    /// Attempts spent of the current schedule.
    pub attempt_count: u32,
    /// The latest attempt of the current schedule.
    pub last_attempt: Option<Attempt>,
    /// When it is due, while pending.
    pub next_attempt_at: Option<Timestamp>,
    /// When its payload goes, while there is one.
    pub payload_expires_at: Option<Timestamp>,
    /// Why the payload is kept or gone.
    pub retention_reason: RetentionReason,
    /// When the payload went; none while there is one.
    pub payload_scrubbed_at: Option<Timestamp>,
    /// Who is attempting it, while delivering.
    pub claim: Option<Claim>,
    /// Claims lost since an attempt last ended.
    pub lost_claims: u32,
    /// Whether some attempt may have arrived though no answer tells: its body was sent, and what
    /// came of it is unknown.
    pub maybe_delivered: bool,
    /// Why it failed, while failed; of a revoked one in flight, why it will unless it arrives.
    pub failure_reason: Option<FailureReason>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A transition that the current status does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {} delivery has no transition {transition}", from.as_str())]
pub struct IllegalTransition {
    /// The status it was in.
    pub from: Status,
    /// The transition's name.
    pub transition: &'static str,
}

/// Why a delivery is not requeued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequeueRefusal {
    /// An attempt is under way.
    InProgress,
    /// There is no payload any more, or its time is over; so it always is after a success.
    PayloadGone,
}

impl Progress {
    /// Creation of a sealed delivery, due at once (contract 4.2).
    pub fn accepted(schedule: &RetrySchedule, retention: RetentionHours, now: Timestamp) -> Self {
        Self {
            status: Status::Pending,
            attempt_count: 0,
            last_attempt: None,
            next_attempt_at: Some(now),
            payload_expires_at: Some(now.plus(schedule.window()).plus(retention.span())),
            retention_reason: RetentionReason::PendingDelivery,
            payload_scrubbed_at: None,
            claim: None,
            lost_claims: 0,
            maybe_delivered: false,
            failure_reason: None,
            updated_at: now,
        }
    }

    /// Creation for an endpoint without an active key: a recorded failure and nothing else.
    pub fn no_active_key(now: Timestamp) -> Self {
        Self::unsendable(
            now,
            ErrorKind::NoActiveKey,
            RetentionReason::NoActiveKey,
            FailureReason::NoActiveKey,
        )
    }

    /// Creation where sealing failed.
    pub fn unsealable(now: Timestamp) -> Self {
        Self::unsendable(
            now,
            ErrorKind::SealFailed,
            RetentionReason::JweCreationFailed,
            FailureReason::SealFailed,
        )
    }

    fn unsendable(
        now: Timestamp,
        error: ErrorKind,
        retention_reason: RetentionReason,
        failure_reason: FailureReason,
    ) -> Self {
        Self {
            status: Status::Failed,
            attempt_count: 1,
            last_attempt: Some(Attempt::unsent(now, error)),
            next_attempt_at: None,
            payload_expires_at: None,
            retention_reason,
            payload_scrubbed_at: Some(now),
            claim: None,
            lost_claims: 0,
            maybe_delivered: false,
            failure_reason: Some(failure_reason),
            updated_at: now,
        }
    }

    /// Whether its payload was taken away while an attempt is under way.
    pub fn is_revoked_in_flight(&self) -> bool {
        self.status == Status::Delivering && !self.has_payload()
    }

    /// Whether its payload is still there.
    pub fn has_payload(&self) -> bool {
        self.payload_scrubbed_at.is_none()
    }

    /// `pending` → `delivering`: somebody attempts it.
    pub fn claim(&self, claim: Claim, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.only_from(&[Status::Pending], "claim")?;
        Ok(Self {
            status: Status::Delivering,
            next_attempt_at: None,
            claim: Some(claim),
            updated_at: now,
            ..self.clone()
        })
    }

    /// `delivering` → `succeeded`, `pending` or `failed`: the attempt ended (contract 4.5, 4.7).
    /// `retention` is the endpoint's value at this moment.
    pub fn settle(
        &self,
        attempt: Attempt,
        verdict: Verdict,
        schedule: &RetrySchedule,
        retention: RetentionHours,
        now: Timestamp,
    ) -> Result<Self, IllegalTransition> {
        self.only_from(&[Status::Delivering], "settle")?;
        let attempt_count = self.attempt_count + 1;
        let unknown = attempt.error.is_some_and(ErrorKind::leaves_arrival_unknown);
        let settled = Self {
            attempt_count,
            last_attempt: Some(attempt),
            claim: None,
            lost_claims: 0,
            maybe_delivered: self.maybe_delivered || unknown,
            updated_at: now,
            ..self.clone()
        };
        Ok(self.unless_revoked(match verdict {
            Verdict::Delivered => Self {
                status: Status::Succeeded,
                failure_reason: None,
                ..settled.scrubbed(RetentionReason::Delivered, attempt.at)
            },
            Verdict::Failed { floor } => match schedule.next(attempt_count, floor, now) {
                Some(due) => Self {
                    status: Status::Pending,
                    next_attempt_at: Some(due),
                    // A floor may lie beyond what was foreseen when the expiry was set.
                    payload_expires_at: settled.payload_expires_at.map(|at| at.max(due)),
                    ..settled
                },
                None => settled.failed(FailureReason::Exhausted, retention, now),
            },
        }))
    }

    /// `delivering` → `pending`, due at once: the claim is given up before an attempt began.
    pub fn hand_back(&self, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.only_from(&[Status::Delivering], "hand_back")?;
        Ok(self.unless_revoked(self.due_at_once(now)))
    }

    /// `delivering` → `pending`, due at once: an attempt was given up, or perhaps was, when its body
    /// may have been sent already.
    pub fn give_up_attempt(&self, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.only_from(&[Status::Delivering], "give_up_attempt")?;
        Ok(self.unless_revoked(Self { maybe_delivered: true, ..self.due_at_once(now) }))
    }

    fn due_at_once(&self, now: Timestamp) -> Self {
        Self {
            status: Status::Pending,
            next_attempt_at: Some(now),
            claim: None,
            updated_at: now,
            ..self.clone()
        }
    }

    /// `delivering` → `pending`, due at once: the claim's holder is gone. Spends no attempt; the
    /// third loss in a row parks the delivery as `failed`, since it may be what kills its holders.
    pub fn lose_claim(
        &self,
        retention: RetentionHours,
        now: Timestamp,
    ) -> Result<Self, IllegalTransition> {
        self.only_from(&[Status::Delivering], "lose_claim")?;
        let lost_claims = self.lost_claims + 1;
        let lost = Self { lost_claims, maybe_delivered: true, ..self.due_at_once(now) };
        Ok(self.unless_revoked(if lost_claims >= LOST_CLAIMS {
            lost.failed(FailureReason::Poisoned, retention, now)
        } else {
            lost
        }))
    }

    /// The end of an attempt as `ended` has it, which may not know that the payload was taken away
    /// meanwhile: then only a success stands, and anything else is the failure that was foreseen.
    pub fn unless_revoked(&self, ended: Self) -> Self {
        if !self.is_revoked_in_flight() || ended.status == Status::Succeeded {
            return ended;
        }
        Self {
            status: Status::Failed,
            next_attempt_at: None,
            payload_expires_at: None,
            retention_reason: self.retention_reason,
            payload_scrubbed_at: self.payload_scrubbed_at,
            failure_reason: self.failure_reason,
            ..ended
        }
    }

    /// `failed` or `pending` → `pending` with a fresh schedule: retry or replay (contract 2.7, 4.9).
    /// Of a pending one it means "attempt now". The expiry moves so that the new schedule can end.
    pub fn requeue(
        &self,
        schedule: &RetrySchedule,
        now: Timestamp,
    ) -> Result<Self, RequeueRefusal> {
        if self.status == Status::Delivering {
            return Err(RequeueRefusal::InProgress);
        }
        if !self.has_payload() || self.payload_expires_at.is_none_or(|at| at <= now) {
            return Err(RequeueRefusal::PayloadGone);
        }
        let window_ends = now.plus(schedule.window());
        Ok(Self {
            status: Status::Pending,
            attempt_count: 0,
            last_attempt: None,
            next_attempt_at: Some(now),
            payload_expires_at: self.payload_expires_at.map(|at| at.max(window_ends)),
            lost_claims: 0,
            failure_reason: None,
            updated_at: now,
            ..self.clone()
        })
    }

    /// `pending` → `failed`, or a failed one loses its payload: its time is over.
    pub fn expire(&self, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.only_from(&[Status::Pending, Status::Failed], "expire")?;
        if !self.has_payload() {
            return Err(self.illegal("expire"));
        }
        Ok(Self {
            status: Status::Failed,
            next_attempt_at: None,
            failure_reason: self.failure_reason.or(Some(FailureReason::Expired)),
            updated_at: now,
            ..self.scrubbed(RetentionReason::Expired, now)
        })
    }

    /// The payload is taken away: `pending` → `failed`; a failed one loses what it kept; of one in
    /// flight the end of its attempt decides.
    pub fn revoke(&self, why: Revocation, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.only_from(&[Status::Pending, Status::Delivering, Status::Failed], "revoke")?;
        if !self.has_payload() {
            return Err(self.illegal("revoke"));
        }
        let (retention_reason, failure_reason) = why.reasons();
        let scrubbed = self.scrubbed(retention_reason, now);
        let status = match self.status {
            Status::Delivering => Status::Delivering,
            Status::Pending | Status::Failed | Status::Succeeded => Status::Failed,
        };
        let failure_reason = match (why, self.failure_reason) {
            // It had failed for a reason of its own before.
            (Revocation::EndpointDeleted, Some(earlier)) => earlier,
            (Revocation::EndpointDeleted | Revocation::Withdrawn, _) => failure_reason,
        };
        Ok(Self {
            status,
            next_attempt_at: None,
            failure_reason: Some(failure_reason),
            updated_at: now,
            ..scrubbed
        })
    }

    fn scrubbed(&self, reason: RetentionReason, at: Timestamp) -> Self {
        Self {
            payload_expires_at: None,
            retention_reason: reason,
            payload_scrubbed_at: Some(at),
            ..self.clone()
        }
    }

    fn failed(self, reason: FailureReason, retention: RetentionHours, now: Timestamp) -> Self {
        let kept = if retention.hours() == 0 || !self.has_payload() {
            self.scrubbed(RetentionReason::Expired, now)
        } else {
            Self {
                payload_expires_at: Some(now.plus(retention.span())),
                retention_reason: RetentionReason::TerminalFailureRetention,
                ..self
            }
        };
        Self { status: Status::Failed, next_attempt_at: None, failure_reason: Some(reason), ..kept }
    }

    fn only_from(
        &self,
        allowed: &[Status],
        transition: &'static str,
    ) -> Result<(), IllegalTransition> {
        if allowed.contains(&self.status) { Ok(()) } else { Err(self.illegal(transition)) }
    }

    fn illegal(&self, transition: &'static str) -> IllegalTransition {
        IllegalTransition { from: self.status, transition }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);
    const TIMEOUT: Duration = Duration::from_secs(15);

    fn hours(hours: i64) -> RetentionHours {
        RetentionHours::new(hours).expect("one of the four")
    }

    fn accepted() -> Progress {
        Progress::accepted(&RetrySchedule::default(), hours(72), NOW)
    }

    fn claimed(progress: &Progress) -> Progress {
        progress.claim(Claim::new(ClaimToken(1), NOW, TIMEOUT), NOW).expect("pending")
    }

    fn settled(progress: &Progress, status: u16, retention: i64) -> Progress {
        let outcome = Outcome::Answered { status, retry_after: None };
        let attempt = Attempt::new(NOW, Duration::from_millis(3), outcome);
        progress
            .settle(attempt, outcome.verdict(), &RetrySchedule::default(), hours(retention), NOW)
            .expect("delivering")
    }

    #[test]
    #[rustfmt::skip]
    fn the_expiry_at_creation_follows_the_contract() {
        for (retention, expiry_ms) in [(0, 99_305_000), (24, 185_705_000), (72, 358_505_000), (168, 704_105_000)] {
            let created = Progress::accepted(&RetrySchedule::default(), hours(retention), NOW);
            let expires_at = created.payload_expires_at.expect("a payload");
            assert_eq!(expires_at.as_ms() - NOW.as_ms(), expiry_ms, "{retention} h");
        }
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn settling_follows_the_table() {
        use RetentionReason as Why;
        use Status::*;
        let check = |attempt: u32, status, retention, becomes, due_in_s: Option<u64>, why, kept| {
            let before = claimed(&Progress { attempt_count: attempt - 1, ..accepted() });
            let after = settled(&before, status, retention);
            assert_eq!(after.status, becomes, "attempt {attempt}, {status}");
            assert_eq!(after.attempt_count, attempt);
            assert_eq!(after.next_attempt_at, due_in_s.map(|s| NOW.plus(Duration::from_secs(s))));
            assert_eq!(after.retention_reason, why, "attempt {attempt}, {status}");
            assert_eq!(after.has_payload(), kept);
            assert_eq!(after.payload_expires_at.is_some(), kept);
            assert_eq!(after.claim, None);
        };
        //    attempt answer keep h  becomes    due in        reason                          payload
        check(1,      204,   72,     Succeeded, None,         Why::Delivered,                 false);
        check(1,      500,   72,     Pending,   Some(5),      Why::PendingDelivery,           true);
        check(1,      301,   72,     Pending,   Some(5),      Why::PendingDelivery,           true);
        check(2,      500,   72,     Pending,   Some(300),    Why::PendingDelivery,           true);
        check(7,      500,   0,      Pending,   Some(36_000), Why::PendingDelivery,           true);
        check(8,      200,   0,      Succeeded, None,         Why::Delivered,                 false);
        check(8,      500,   72,     Failed,    None,         Why::TerminalFailureRetention,  true);
        check(8,      500,   0,      Failed,    None,         Why::Expired,                   false);
    }

    #[test]
    fn an_endpoint_without_a_key_gets_a_recorded_failure() {
        let failed = Progress::no_active_key(NOW);
        assert_eq!((failed.status, failed.attempt_count), (Status::Failed, 1));
        assert_eq!(failed.retention_reason, RetentionReason::NoActiveKey);
        assert_eq!(failed.payload_scrubbed_at, Some(NOW));
        assert!(failed.requeue(&RetrySchedule::default(), NOW).is_err());
        assert_eq!(Progress::unsealable(NOW).retention_reason, RetentionReason::JweCreationFailed);
    }

    #[test]
    fn a_lost_claim_spends_no_attempt_and_the_third_parks() {
        let mut progress = accepted();
        for lost in 1..LOST_CLAIMS {
            progress = claimed(&progress).lose_claim(hours(72), NOW).expect("delivering");
            assert_eq!((progress.status, progress.lost_claims), (Status::Pending, lost));
            assert_eq!(progress.attempt_count, 0);
        }
        let parked = claimed(&progress).lose_claim(hours(72), NOW).expect("delivering");
        assert_eq!(parked.status, Status::Failed);
        assert_eq!(parked.failure_reason, Some(FailureReason::Poisoned));
        assert!(parked.has_payload(), "an operator may look at it and retry");
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn requeueing_follows_the_table() {
        use RequeueRefusal::*;
        let schedule = RetrySchedule::default();
        let exhausted = settled(&claimed(&Progress { attempt_count: 7, ..accepted() }), 500, 72);
        let expired = Progress { payload_expires_at: Some(NOW), ..exhausted.clone() };
        for (name,         before,                            refused) in [
            ("pending",    accepted(),                        None),
            ("exhausted",  exhausted.clone(),                 None),
            ("delivering", claimed(&accepted()),              Some(InProgress)),
            ("succeeded",  settled(&claimed(&accepted()), 200, 72), Some(PayloadGone)),
            ("no key",     Progress::no_active_key(NOW),      Some(PayloadGone)),
            ("expired",    expired,                           Some(PayloadGone)),
        ] {
            let after = before.requeue(&schedule, NOW);
            assert_eq!(after.as_ref().err().copied(), refused, "{name}");
            if let Ok(after) = after {
                assert_eq!((after.status, after.attempt_count), (Status::Pending, 0), "{name}");
                assert_eq!((after.last_attempt, after.next_attempt_at), (None, Some(NOW)), "{name}");
                assert_eq!(after.failure_reason, None, "{name}");
                assert!(after.payload_expires_at >= Some(NOW.plus(schedule.window())), "{name}");
            }
        }
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn the_end_of_a_revoked_attempt_decides() {
        use FailureReason as Why;
        let settle = |progress: &Progress, outcome: Outcome| {
            let attempt = Attempt::new(NOW, Duration::ZERO, outcome);
            let schedule = RetrySchedule::default();
            progress.settle(attempt, outcome.verdict(), &schedule, hours(72), NOW).expect("delivering")
        };
        let answered = |status| Outcome::Answered { status, retry_after: None };
        let timeout = Outcome::Faulted(ErrorKind::Timeout);
        let refused = Outcome::Faulted(ErrorKind::Connect);
        for why in [Revocation::Withdrawn, Revocation::EndpointDeleted] {
            let revoked = claimed(&accepted()).revoke(why, NOW).expect("delivering");
            assert!(revoked.is_revoked_in_flight());
            let reason = match why {
                Revocation::Withdrawn => Why::PrivacyRequest,
                Revocation::EndpointDeleted => Why::EndpointDeleted,
            };
            for (name,       ended,                                                       status,            maybe) in [
                ("2xx",      settle(&revoked, answered(200)),                             Status::Succeeded, false),
                ("500",      settle(&revoked, answered(500)),                             Status::Failed,    false),
                ("refused",  settle(&revoked, refused),                                   Status::Failed,    false),
                ("timeout",  settle(&revoked, timeout),                                   Status::Failed,    true),
                ("back",     revoked.hand_back(NOW).expect("delivering"),                 Status::Failed,    false),
                ("given up", revoked.give_up_attempt(NOW).expect("delivering"),           Status::Failed,    true),
                ("lost",     revoked.lose_claim(hours(72), NOW).expect("delivering"),     Status::Failed,    true),
                // What the actor knew when it settled is older than the revocation.
                ("stale",    revoked.unless_revoked(settle(&claimed(&accepted()), answered(500))), Status::Failed, false),
            ] {
                assert_eq!((ended.status, ended.maybe_delivered), (status, maybe), "{name}");
                assert_eq!(ended.failure_reason, (status == Status::Failed).then_some(reason), "{name}");
                assert!(!ended.has_payload() && ended.claim.is_none(), "{name}");
            }
        }
    }

    #[test]
    fn a_settled_attempt_forgives_lost_claims() {
        let lost = claimed(&accepted()).lose_claim(hours(72), NOW).expect("delivering");
        assert_eq!(settled(&claimed(&lost), 500, 72).lost_claims, 0);
    }

    #[test]
    fn a_claim_that_cannot_cover_an_attempt_is_told_apart() {
        let claim = Claim::new(ClaimToken(1), NOW, TIMEOUT);
        assert!(claim.covers(NOW.plus(CLAIM_SLACK), TIMEOUT));
        assert!(!claim.covers(NOW.plus(CLAIM_SLACK + Duration::from_millis(1)), TIMEOUT));
    }

    #[derive(Clone, Debug)]
    enum Input {
        Claim,
        Settle(u16, u64),
        HandBack,
        LoseClaim,
        Requeue,
        Expire,
        Revoke(Revocation),
        GiveUpAttempt,
    }

    fn inputs() -> impl Strategy<Value = Vec<(Input, u64)>> {
        let input = prop_oneof![
            6 => Just(Input::Claim),
            6 => (prop_oneof![Just(200u16), Just(500), Just(503)], 0u64..7200)
                .prop_map(|(status, floor)| Input::Settle(status, floor)),
            1 => Just(Input::HandBack),
            1 => Just(Input::LoseClaim),
            1 => Just(Input::Requeue),
            1 => Just(Input::Expire),
            1 => Just(Input::Revoke(Revocation::Withdrawn)),
            1 => Just(Input::Revoke(Revocation::EndpointDeleted)),
            1 => Just(Input::GiveUpAttempt),
        ];
        prop::collection::vec((input, 0u64..100_000), 0..80)
    }

    /// Each state is whole: what the status promises is there, and nothing else.
    fn assert_legal(p: &Progress, schedule: &RetrySchedule) {
        assert_eq!(p.claim.is_some(), p.status == Status::Delivering);
        assert_eq!(p.next_attempt_at.is_some(), p.status == Status::Pending);
        let will_fail = p.status == Status::Failed || p.is_revoked_in_flight();
        assert_eq!(p.failure_reason.is_some(), will_fail);
        assert_eq!(p.payload_expires_at.is_some(), p.has_payload());
        assert!(p.attempt_count <= schedule.attempts());
        assert!(p.lost_claims <= LOST_CLAIMS);
        match p.status {
            Status::Pending | Status::Delivering => {
                assert!(p.has_payload() || p.is_revoked_in_flight());
                assert!(p.attempt_count < schedule.attempts(), "an attempt remains");
            }
            Status::Succeeded => assert!(!p.has_payload()),
            Status::Failed => {}
        }
    }

    proptest! {
        #[test]
        fn no_input_sequence_reaches_an_illegal_state(
            steps in inputs(),
            retention in prop::sample::select(RetentionHours::CHOICES.to_vec()),
            pauses in prop::collection::vec(0u64..40_000, 0..9),
        ) {
            let schedule = RetrySchedule::new(pauses.into_iter().map(Duration::from_secs).collect())
                .expect("within bounds");
            let retention = hours(i64::from(retention));
            let mut now = NOW;
            let mut before = Progress::accepted(&schedule, retention, now);
            assert_legal(&before, &schedule);
            for (input, pause) in steps {
                now = now.plus(Duration::from_secs(pause));
                let after: Option<Progress> = match input {
                    Input::Claim => before.claim(Claim::new(ClaimToken(1), now, TIMEOUT), now).ok(),
                    Input::Settle(status, floor) => {
                        let retry_after = Some(Duration::from_secs(floor));
                        let outcome = Outcome::Answered { status, retry_after };
                        let attempt = Attempt::new(now, Duration::ZERO, outcome);
                        before.settle(attempt, outcome.verdict(), &schedule, retention, now).ok()
                    }
                    Input::HandBack => before.hand_back(now).ok(),
                    Input::LoseClaim => before.lose_claim(retention, now).ok(),
                    Input::Requeue => before.requeue(&schedule, now).ok(),
                    Input::Expire => before.expire(now).ok(),
                    Input::Revoke(why) => before.revoke(why, now).ok(),
                    Input::GiveUpAttempt => before.give_up_attempt(now).ok(),
                };
                let Some(after) = after else { continue };
                assert_legal(&after, &schedule);
                prop_assert!(before.has_payload() || !after.has_payload(), "a scrubbed payload returned");
                prop_assert!(before.status != Status::Succeeded, "a success is final");
                if before.status == Status::Failed && after.status != Status::Failed {
                    prop_assert!(matches!(input, Input::Requeue), "only a requeue revives");
                }
                if let (Input::Settle(..), Some(due)) = (&input, after.next_attempt_at) {
                    prop_assert!(Some(due) <= after.payload_expires_at, "the payload outlives the wait");
                }
                prop_assert!(!before.maybe_delivered || after.maybe_delivered, "doubt was forgotten");
                if after.attempt_count < before.attempt_count {
                    prop_assert!(matches!(input, Input::Requeue), "only a requeue resets attempts");
                }
                before = after;
            }
        }
    }
}
