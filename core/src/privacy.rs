//! Withdrawal: a person takes back a verification session (contract 4.11). What is scrubbed, what
//! still counts as delivered, and which cancelled event replaces what never arrived.
//!
//! ```text
//! withdraw ──▶ settling ──the last attempt in flight ends──┬─ none arrived ─▶ replacing ──▶ settled
//!     │                                                    └─ one arrived ────────────────────▲
//!     └── nothing in flight: the same decision at once
//! ```
//!
//! While it settles, an answer may still come that makes the terminal event a delivered one; only
//! when none can come any more is it replaced, so that no receiver gets two.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, Result};
use crate::event::{Catalogue, Publication, SESSION_TRIGGER, judge_targets};
use crate::id::{EndpointId, EventId, OrganizationId, PrivacyRequestId, SessionId};
use crate::limits::TRIES;
use crate::payload::Payload;
use crate::time::Timestamp;

/// The type that replaces an event which never arrived. It tells nothing of the person, so that a
/// withdrawal leaves its deliveries alone.
pub const CANCELLED: &str = "verification.session.cancelled";
const SUCCEEDED: &str = "verification.session.succeeded";
const FAILED: &str = "verification.session.failed";
const EXPIRED: &str = "verification.session.expired";

/// How the platform says the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionOutcome {
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// It has not ended.
    Active,
}

impl SessionOutcome {
    /// Every outcome, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Succeeded, Self::Failed, Self::Active];

    /// The outcome as a stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Active => "active",
        }
    }

    /// The outcome that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// A withdrawal as the platform hands it in.
#[derive(Debug, Deserialize)]
pub struct WithdrawalFields {
    /// The tenant, a UUID.
    pub organization_id: String,
    /// The session.
    pub verification_session_id: String,
    /// `succeeded`, `failed` or `active`.
    pub outcome: String,
    /// Failures of the NFC check so far.
    #[serde(default)]
    pub nfc_tries_used: i64,
    /// Failures of the liveness check so far.
    #[serde(default)]
    pub liveness_tries_used: i64,
    /// The session's target endpoints, 1 to 25, where no terminal event has named them.
    pub webhook_endpoint_ids: Option<Vec<String>>,
}

/// A withdrawal that passed every rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Its id.
    pub id: PrivacyRequestId,
    /// The tenant.
    pub organization_id: OrganizationId,
    /// The session.
    pub session_id: SessionId,
    /// How the platform says it stands.
    pub outcome: SessionOutcome,
    /// Failures of the NFC check.
    pub nfc_tries_used: u32,
    /// Failures of the liveness check.
    pub liveness_tries_used: u32,
    /// The session's target endpoints; all that subscribe when none.
    pub targets: Option<Vec<EndpointId>>,
    /// When.
    pub withdrawn_at: Timestamp,
}

impl WithdrawalFields {
    /// Judges every field against the rules.
    pub fn judge(self, id: PrivacyRequestId, now: Timestamp) -> Result<Withdrawal> {
        let outcome = SessionOutcome::parse(&self.outcome).ok_or_else(|| {
            let names = SessionOutcome::ALL.map(SessionOutcome::as_str).join(", ");
            Error::invalid("outcome", format!("one of {names}"))
        })?;
        let tries = |field, count: i64| {
            let within = u32::try_from(count).ok().filter(|count| *count <= TRIES);
            within.ok_or_else(|| Error::invalid(field, format!("an integer from 0 to {TRIES}")))
        };
        Ok(Withdrawal {
            id,
            organization_id: OrganizationId::parse_uuid("organization_id", &self.organization_id)?,
            session_id: SessionId::parse("verification_session_id", &self.verification_session_id)?,
            outcome,
            nfc_tries_used: tries("nfc_tries_used", self.nfc_tries_used)?,
            liveness_tries_used: tries("liveness_tries_used", self.liveness_tries_used)?,
            targets: self.webhook_endpoint_ids.map(judge_targets).transpose()?,
            withdrawn_at: now,
        })
    }
}

/// How far a withdrawal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WithdrawalState {
    /// Attempts are in flight, and what comes of them decides.
    Settling,
    /// Nothing arrived: the cancelled event is owed.
    Replacing,
    /// Nothing is left to be done.
    Settled,
}

impl WithdrawalState {
    /// Every state, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Settling, Self::Replacing, Self::Settled];

    /// The state as a stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settling => "settling",
            Self::Replacing => "replacing",
            Self::Settled => "settled",
        }
    }

    /// The state that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// How the terminal event of a withdrawn session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalStanding {
    /// Its type.
    pub event_type: Arc<str>,
    /// Whether a receiver has it, or may have it.
    pub arrived: bool,
    /// Whether an attempt of it is in flight.
    pub in_flight: bool,
}

/// What is to be done next, as the session's terminal event stands; none was published.
pub fn next(terminal: Option<&TerminalStanding>) -> WithdrawalState {
    match terminal {
        None => WithdrawalState::Replacing,
        // It tells all that a replacement would: contract 4.11, step 5.
        Some(terminal) if matches!(&*terminal.event_type, CANCELLED | EXPIRED) => {
            WithdrawalState::Settled
        }
        Some(terminal) if terminal.arrived => WithdrawalState::Settled,
        Some(terminal) if terminal.in_flight => WithdrawalState::Settling,
        Some(_) => WithdrawalState::Replacing,
    }
}

/// A replacing event that is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The withdrawal.
    pub withdrawal: Withdrawal,
    /// Type of the terminal event that is replaced, if one was published.
    pub terminal: Option<Arc<str>>,
}

impl Owed {
    /// Why the session is cancelled (contract 3.3). What was published counts for more than what
    /// the platform says of the session.
    fn reason(&self) -> &'static str {
        let Withdrawal { outcome, nfc_tries_used, liveness_tries_used, .. } = self.withdrawal;
        let outcome = match self.terminal.as_deref() {
            Some(SUCCEEDED) => SessionOutcome::Succeeded,
            Some(FAILED) => SessionOutcome::Failed,
            Some(_) | None => outcome,
        };
        match outcome {
            SessionOutcome::Succeeded => "privacy_cancelled_after_terminal_success",
            SessionOutcome::Failed => "privacy_cancelled_after_terminal_failure",
            SessionOutcome::Active if nfc_tries_used + liveness_tries_used > 0 => {
                "cancelled_after_failed_check"
            }
            SessionOutcome::Active => "cancelled",
        }
    }

    /// The replacing event; none when the catalogue has no such type.
    pub fn publication(&self, catalogue: &Catalogue) -> Option<Publication> {
        let event_type = catalogue.get(CANCELLED)?.clone();
        let withdrawal = &self.withdrawal;
        let data = json!({
            "outcome": "not_verified",
            "reason": self.reason(),
            "nfc_tries_used": withdrawal.nfc_tries_used,
            "liveness_tries_used": withdrawal.liveness_tries_used,
        });
        Some(Publication {
            organization_id: withdrawal.organization_id.clone(),
            event_type,
            trigger_type: SESSION_TRIGGER.into(),
            trigger_id: withdrawal.session_id.to_string(),
            session_id: Some(withdrawal.session_id.clone()),
            contract_version: 1,
            data: Payload::new(data.to_string()),
            targets: withdrawal.targets.clone(),
            idempotency_key: None,
        })
    }
}

/// A withdrawal as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivacyRequest {
    /// Its id.
    pub id: PrivacyRequestId,
    /// How far it is.
    pub state: WithdrawalState,
    /// Deliveries that failed by it.
    pub scrubbed: u64,
    /// Deliveries whose attempts are in flight.
    pub in_flight: u64,
    /// Deliveries that a receiver has, or may have.
    pub delivered: u64,
    /// The event that replaces what never arrived.
    pub replacement_event_id: Option<EventId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withdrawal(outcome: SessionOutcome, nfc: u32, liveness: u32) -> Withdrawal {
        Withdrawal {
            id: PrivacyRequestId::from_row("prv"),
            organization_id: OrganizationId::from_row("org"),
            session_id: SessionId::from_row("vs_1"),
            outcome,
            nfc_tries_used: nfc,
            liveness_tries_used: liveness,
            targets: None,
            withdrawn_at: Timestamp::from_ms(0),
        }
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn what_is_next_follows_the_table() {
        use WithdrawalState::*;
        let terminal = |event_type: &str, arrived, in_flight| {
            Some(TerminalStanding { event_type: event_type.into(), arrived, in_flight })
        };
        for (terminal,                              state) in [
            (None,                                  Replacing),
            (terminal(SUCCEEDED, false, false),     Replacing),
            (terminal(SUCCEEDED, false, true),      Settling),
            (terminal(SUCCEEDED, true,  true),      Settled),
            (terminal(SUCCEEDED, true,  false),     Settled),
            (terminal(FAILED,    false, false),     Replacing),
            (terminal(FAILED,    false, true),      Settling),
            (terminal(FAILED,    true,  false),     Settled),
            (terminal(EXPIRED,   false, false),     Settled),
            (terminal(CANCELLED, false, false),     Settled),
            (terminal(CANCELLED, false, true),      Settled),
        ] {
            assert_eq!(next(terminal.as_ref()), state, "{terminal:?}");
        }
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn the_replacing_event_tells_why() {
        use SessionOutcome::*;
        for (outcome,   terminal,        nfc, liveness, reason) in [
            (Active,    None,            0,   0,        "cancelled"),
            (Active,    None,            1,   0,        "cancelled_after_failed_check"),
            (Active,    None,            0,   2,        "cancelled_after_failed_check"),
            (Succeeded, None,            0,   0,        "privacy_cancelled_after_terminal_success"),
            (Failed,    None,            3,   0,        "privacy_cancelled_after_terminal_failure"),
            (Active,    Some(SUCCEEDED), 0,   0,        "privacy_cancelled_after_terminal_success"),
            (Succeeded, Some(FAILED),    3,   0,        "privacy_cancelled_after_terminal_failure"),
        ] {
            let owed = Owed { withdrawal: withdrawal(outcome, nfc, liveness), terminal: terminal.map(Into::into) };
            let publication = owed.publication(&Catalogue::default()).expect("the type is known");
            let data: serde_json::Value = serde_json::from_str(publication.data.expose()).expect("JSON");
            assert_eq!(data, serde_json::json!({
                "outcome": "not_verified", "reason": reason,
                "nfc_tries_used": nfc, "liveness_tries_used": liveness,
            }));
            assert_eq!(&*publication.event_type.name, CANCELLED);
        }
    }

    #[test]
    fn bad_withdrawals_name_their_field() {
        let fields = || WithdrawalFields {
            organization_id: "00000000-0000-4000-8000-000000000000".into(),
            verification_session_id: "vs_1".into(),
            outcome: "active".into(),
            nfc_tries_used: 0,
            liveness_tries_used: 0,
            webhook_endpoint_ids: None,
        };
        let id = PrivacyRequestId::from_row("prv");
        assert!(fields().judge(id.clone(), Timestamp::from_ms(0)).is_ok());
        for (field, fields) in [
            ("organization_id", WithdrawalFields { organization_id: "x".into(), ..fields() }),
            ("verification_session_id", {
                WithdrawalFields { verification_session_id: "a b".into(), ..fields() }
            }),
            ("outcome", WithdrawalFields { outcome: "expired".into(), ..fields() }),
            ("nfc_tries_used", WithdrawalFields { nfc_tries_used: -1, ..fields() }),
            ("liveness_tries_used", WithdrawalFields { liveness_tries_used: 1001, ..fields() }),
            ("webhook_endpoint_ids", {
                WithdrawalFields { webhook_endpoint_ids: Some(vec![]), ..fields() }
            }),
        ] {
            match fields.judge(id.clone(), Timestamp::from_ms(0)) {
                Err(Error::Invalid { field: named, .. }) => assert_eq!(named, field),
                other => panic!("expected {field} at fault: {other:?}"),
            }
        }
    }
}
