//! What an attempt came to: an HTTP answer or a fault, and the verdict it leads to.

use std::time::Duration;

use crate::limits::RETRY_AFTER_MAX;
use crate::time::Timestamp;

/// Why an attempt got no HTTP answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The deadline over the whole exchange passed.
    Timeout,
    /// No TCP connection: refused, unreachable, or not in time.
    Connect,
    /// The connection ended before the answer was whole.
    Reset,
    /// The name did not resolve.
    Dns,
    /// The TLS handshake failed in a way that has no kind of its own.
    Tls,
    /// The TLS handshake did not end in time.
    TlsTimeout,
    /// The receiver speaks versions of TLS before 1.2 only.
    TlsVersion,
    /// No cipher, key exchange or signature in common, or the receiver says so.
    TlsCipher,
    /// The receiver ended the handshake with another alert.
    TlsAlert,
    /// The connection ended during the handshake.
    TlsClosed,
    /// What the receiver said is no TLS.
    TlsNotSpoken,
    /// The certificate's time is over.
    CertificateExpired,
    /// The certificate's time has not begun.
    CertificateNotYetValid,
    /// The certificate is for another host.
    CertificateWrongHost,
    /// Nobody but itself has issued the certificate.
    CertificateSelfSigned,
    /// The certificate is not of an authority that is trusted, or cannot be used for a server.
    CertificateUntrusted,
    /// The URL or the resolved address may not be called.
    TargetBlocked,
    /// The answer was not HTTP.
    Protocol,
    /// There was no active key to seal to.
    NoActiveKey,
    /// Sealing to the active key failed.
    SealFailed,
    /// The signing secret does not open: nothing was sent.
    SecretUnreadable,
    /// A kind that this version does not know: another one recorded it.
    #[serde(other)]
    Other,
}

impl ErrorKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 22] = [
        Self::Timeout,
        Self::Connect,
        Self::Reset,
        Self::Dns,
        Self::Tls,
        Self::TlsTimeout,
        Self::TlsVersion,
        Self::TlsCipher,
        Self::TlsAlert,
        Self::TlsClosed,
        Self::TlsNotSpoken,
        Self::CertificateExpired,
        Self::CertificateNotYetValid,
        Self::CertificateWrongHost,
        Self::CertificateSelfSigned,
        Self::CertificateUntrusted,
        Self::TargetBlocked,
        Self::Protocol,
        Self::NoActiveKey,
        Self::SealFailed,
        Self::SecretUnreadable,
        Self::Other,
    ];

    /// The kind as a stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::TlsTimeout => "tls_timeout",
            Self::TlsVersion => "tls_version",
            Self::TlsCipher => "tls_cipher",
            Self::TlsAlert => "tls_alert",
            Self::TlsClosed => "tls_closed",
            Self::TlsNotSpoken => "tls_not_spoken",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateNotYetValid => "certificate_not_yet_valid",
            Self::CertificateWrongHost => "certificate_wrong_host",
            Self::CertificateSelfSigned => "certificate_self_signed",
            Self::CertificateUntrusted => "certificate_untrusted",
            Self::TargetBlocked => "target_blocked",
            Self::Protocol => "protocol",
            Self::NoActiveKey => "no_active_key",
            Self::SealFailed => "seal_failed",
            Self::SecretUnreadable => "secret_unreadable",
            Self::Other => "other",
        }
    }

    /// The kind that `word` names. Of several nodes one may be of a later version: what only that one knows
    /// is [`Self::Other`].
    pub fn parse(word: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).unwrap_or(Self::Other)
    }

    /// Whether the body may have reached the receiver all the same.
    pub fn leaves_arrival_unknown(self) -> bool {
        match self {
            Self::Timeout | Self::Reset | Self::Protocol | Self::Other => true,
            Self::Connect
            | Self::Dns
            | Self::Tls
            | Self::TlsTimeout
            | Self::TlsVersion
            | Self::TlsCipher
            | Self::TlsAlert
            | Self::TlsClosed
            | Self::TlsNotSpoken
            | Self::CertificateExpired
            | Self::CertificateNotYetValid
            | Self::CertificateWrongHost
            | Self::CertificateSelfSigned
            | Self::CertificateUntrusted
            | Self::TargetBlocked
            | Self::NoActiveKey
            | Self::SealFailed
            | Self::SecretUnreadable => false,
        }
    }
}

/// What one exchange with a receiver came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The head of an answer arrived.
    Answered {
        /// HTTP status.
        status: u16,
        /// The pause that a 429 or 503 asked for, already capped.
        retry_after: Option<Duration>,
    },
    /// No answer.
    Faulted(ErrorKind),
}

/// What an outcome means for the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A 2xx: done.
    Delivered,
    /// Anything else: try again, not before `floor` has passed.
    Failed {
        /// A pause that the receiver asked for.
        floor: Duration,
    },
}

impl Outcome {
    /// The verdict: any 2xx delivers, everything else fails, 3xx included (contract 4.5).
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Answered { status: 200..=299, .. } => Verdict::Delivered,
            Self::Answered { status: 429 | 503, retry_after: Some(pause) } => {
                Verdict::Failed { floor: pause.min(RETRY_AFTER_MAX) }
            }
            Self::Answered { .. } | Self::Faulted(_) => Verdict::Failed { floor: Duration::ZERO },
        }
    }

    /// The HTTP status, if there was an answer.
    pub fn status_code(self) -> Option<u16> {
        match self {
            Self::Answered { status, .. } => Some(status),
            Self::Faulted(_) => None,
        }
    }

    /// The kind of fault, if there was no answer.
    pub fn error(self) -> Option<ErrorKind> {
        match self {
            Self::Answered { .. } => None,
            Self::Faulted(kind) => Some(kind),
        }
    }
}

/// Reads a `Retry-After` value: whole seconds or an HTTP date (RFC 9110 §10.2.3). Garbage is no
/// wish at all.
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // Digits that overflow ask for more than the cap anyway.
        return Some(
            value.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs).min(RETRY_AFTER_MAX),
        );
    }
    let date = value.strip_suffix(" GMT")?;
    let date = format!("{date} +0000");
    let at =
        time::OffsetDateTime::parse(&date, &time::format_description::well_known::Rfc2822).ok()?;
    let at = Timestamp::from_ms(at.unix_timestamp().checked_mul(1000)?);
    Some(at.since(now).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn verdicts_follow_the_table() {
        const NOW: Duration = Duration::ZERO;
        let hour = Duration::from_secs(3600);
        let answered = |status, retry_after| Outcome::Answered { status, retry_after };
        for (outcome, verdict) in [
            (answered(200, None),                          Verdict::Delivered),
            (answered(204, Some(hour)),                    Verdict::Delivered),
            (answered(299, None),                          Verdict::Delivered),
            (answered(199, None),                          Verdict::Failed { floor: NOW }),
            (answered(302, None),                          Verdict::Failed { floor: NOW }),
            (answered(410, None),                          Verdict::Failed { floor: NOW }),
            (answered(500, Some(hour)),                    Verdict::Failed { floor: NOW }),
            (answered(429, None),                          Verdict::Failed { floor: NOW }),
            (answered(429, Some(Duration::from_secs(7))),  Verdict::Failed { floor: Duration::from_secs(7) }),
            (answered(503, Some(hour * 24)),               Verdict::Failed { floor: hour }),
            (Outcome::Faulted(ErrorKind::Timeout),         Verdict::Failed { floor: NOW }),
        ] {
            assert_eq!(outcome.verdict(), verdict, "{outcome:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::parse("2026-11-20T08:00:00Z").expect("a date-time");
        let secs = |value| parse_retry_after(value, now).map(|pause| pause.as_secs());
        assert_eq!(secs("0"),                             Some(0));
        assert_eq!(secs(" 120 "),                         Some(120));
        assert_eq!(secs("3600"),                          Some(3600));
        assert_eq!(secs("1000000000"),                    Some(3600));
        assert_eq!(secs("99999999999999999999999999"),    Some(3600));
        assert_eq!(secs("Fri, 20 Nov 2026 08:01:00 GMT"), Some(60));
        assert_eq!(secs("Fri, 20 Nov 2026 07:00:00 GMT"), Some(0));
        assert_eq!(secs("Sat, 20 Nov 2027 08:00:00 GMT"), Some(3600));
        assert_eq!(secs("soon"),                          None);
        assert_eq!(secs("-1"),                            None);
        assert_eq!(secs(""),                              None);
    }

    #[test]
    fn every_error_kind_is_read_back_and_a_later_versions_is_other() {
        let words = ErrorKind::ALL.map(|kind| (kind.as_str(), kind));
        for (word, kind) in words.into_iter().chain([("of_tomorrow", ErrorKind::Other)]) {
            assert_eq!(ErrorKind::parse(word), kind);
            let json = serde_json::Value::from(word);
            assert_eq!(serde_json::from_value::<ErrorKind>(json).expect("a kind"), kind);
        }
    }
}
