//! Words for how things stand.

use async_graphql::Enum;
use hookseal_core::{delivery, outcome, privacy, retention};

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "delivery::Status")]
pub(crate) enum DeliveryStatus {
    /// Waits for its first or next attempt.
    Pending,
    /// Is being attempted.
    Delivering,
    /// A receiver answered 2xx.
    Succeeded,
    /// Given up.
    Failed,
}

/// Why a payload is kept or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "retention::RetentionReason")]
pub(crate) enum RetentionReason {
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

/// Why a delivery failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "delivery::FailureReason")]
pub(crate) enum FailureReason {
    /// The last attempt of the schedule failed.
    Exhausted,
    /// No key to seal to.
    NoActiveKey,
    /// Sealing failed.
    SealFailed,
    /// Something about it kills its attempts.
    Poisoned,
    /// Its payload expired before a receiver took it.
    Expired,
    /// The person withdrew.
    PrivacyRequest,
    /// The endpoint was deleted.
    EndpointDeleted,
}

/// Why an attempt got no HTTP answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "outcome::ErrorKind")]
pub(crate) enum ErrorKind {
    /// The deadline over the whole exchange passed.
    Timeout,
    /// No connection.
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
    Other,
}

/// How far a withdrawal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "privacy::WithdrawalState")]
pub(crate) enum PrivacyRequestState {
    /// Attempts are in flight, and what comes of them decides.
    Settling,
    /// Nothing arrived: the cancelled event is owed.
    Replacing,
    /// Nothing is left to be done.
    Settled,
}
