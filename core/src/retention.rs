//! What payload is kept, until when, and why it went (contract 4.8).

use std::time::Duration;

use crate::delivery::Status;
use crate::time::Timestamp;

/// How far past its expiry a pending delivery of an enabled endpoint may wait (a backlog, an open
/// breaker) before it is given up: its schedule is late, not over.
pub const OVERDUE_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Why a payload is kept or gone; the closed enum of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetentionReason {
    /// Kept: attempts remain.
    PendingDelivery,
    /// Gone: a receiver has it.
    Delivered,
    /// Kept for retry by hand after the final failure.
    TerminalFailureRetention,
    /// Gone: its time was over.
    Expired,
    /// Never there: no key to seal to.
    NoActiveKey,
    /// Never there: sealing failed.
    JweCreationFailed,
    /// Gone: the person withdrew.
    PrivacyRequest,
}

impl RetentionReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 7] = [
        Self::PendingDelivery,
        Self::Delivered,
        Self::TerminalFailureRetention,
        Self::Expired,
        Self::NoActiveKey,
        Self::JweCreationFailed,
        Self::PrivacyRequest,
    ];

    /// The reason as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PendingDelivery => "pending_delivery",
            Self::Delivered => "delivered",
            Self::TerminalFailureRetention => "terminal_failure_retention",
            Self::Expired => "expired",
            Self::NoActiveKey => "no_active_key",
            Self::JweCreationFailed => "jwe_creation_failed",
            Self::PrivacyRequest => "privacy_request",
        }
    }

    /// The reason that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// How long an undelivered payload stays for retry by hand: 0, 24, 72 or 168 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RetentionHours(u16);

impl RetentionHours {
    /// The choices that an endpoint has.
    pub const CHOICES: [u16; 4] = [0, 24, 72, 168];

    /// One of [`Self::CHOICES`].
    pub fn new(hours: i64) -> Option<Self> {
        let hours = u16::try_from(hours).ok()?;
        Self::CHOICES.contains(&hours).then_some(Self(hours))
    }

    /// Hours as a number.
    pub fn hours(self) -> u16 {
        self.0
    }

    /// The span as a duration.
    pub fn span(self) -> Duration {
        Duration::from_secs(u64::from(self.0) * 3600)
    }
}

impl Default for RetentionHours {
    fn default() -> Self {
        Self(72)
    }
}

/// What the sweep does with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Its schedule may still end, or its time is not over.
    Keep,
    /// Scrub it.
    Expire,
}

/// Judges a payload whose delivery has `status` and `expires_at`. The schedule of a pending
/// delivery runs as long as its endpoint is enabled; a parked one has none.
pub fn sweep(
    status: Status,
    expires_at: Timestamp,
    endpoint_enabled: bool,
    now: Timestamp,
) -> Sweep {
    let due = match status {
        Status::Failed => expires_at <= now,
        Status::Pending if endpoint_enabled => expires_at.plus(OVERDUE_GRACE) <= now,
        Status::Pending => expires_at <= now,
        // An attempt is under way; whatever it comes to decides.
        Status::Delivering | Status::Succeeded => false,
    };
    if due { Sweep::Expire } else { Sweep::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn the_sweep_follows_the_table() {
        let h = |hours: u64| Timestamp::from_ms(0).plus(Duration::from_secs(hours * 3600));
        for (status, expires, enabled, now, verdict) in [
            (Status::Failed,     h(72), true,  h(71),  Sweep::Keep),
            (Status::Failed,     h(72), true,  h(72),  Sweep::Expire),
            (Status::Failed,     h(72), false, h(72),  Sweep::Expire),
            (Status::Pending,    h(72), false, h(71),  Sweep::Keep),
            (Status::Pending,    h(72), false, h(72),  Sweep::Expire),
            (Status::Pending,    h(72), true,  h(72),  Sweep::Keep),
            (Status::Pending,    h(72), true,  h(96),  Sweep::Expire),
            (Status::Delivering, h(72), true,  h(999), Sweep::Keep),
            (Status::Succeeded,  h(72), true,  h(999), Sweep::Keep),
        ] {
            assert_eq!(sweep(status, expires, enabled, now), verdict, "{status:?} {now}");
        }
    }

    #[test]
    fn only_four_spans_are_offered() {
        for hours in [-1, 1, 23, 48, 169, 65_536] {
            assert_eq!(RetentionHours::new(hours), None, "{hours}");
        }
        for hours in RetentionHours::CHOICES {
            assert_eq!(
                RetentionHours::new(i64::from(hours)).map(RetentionHours::hours),
                Some(hours)
            );
        }
    }
}
