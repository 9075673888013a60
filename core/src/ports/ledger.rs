//! The writes of the hot path, and what they are made of.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::audit::AuditEntry;
use crate::budget::Share;
use crate::delivery::{Attempt, Claim, ClaimToken, Delivery, Progress, RequeueRefusal};
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::event::Event;
use crate::gate::Reservation;
use crate::id::{DeliveryId, EndpointId, EventId, OrganizationId, PrivacyRequestId, SessionId};
use crate::key::EncryptionKey;
use crate::retry::RetrySchedule;
use crate::time::Timestamp;

/// An organization's endpoints, as a publish needs them.
#[derive(Clone, Debug)]
pub struct Audience {
    /// Changes with every change of endpoints, keys or subscriptions.
    pub version: i64,
    /// Whether the organization awaits deletion.
    pub frozen: bool,
    /// Its enabled endpoints, each with its active key.
    pub members: Vec<Member>,
}

/// One enabled endpoint and the key that payloads for it are sealed to.
#[derive(Clone, Debug)]
pub struct Member {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its active key.
    pub key: Option<Arc<EncryptionKey>>,
}

/// What an endpoint's actor works with.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Settings.
    pub endpoint: Endpoint,
    /// The locked signing secret.
    pub locked_secret: String,
    /// The one before it, until [`Endpoint::previous_secret_until`].
    pub locked_previous_secret: Option<String>,
}

/// The caller's key against doubling, and what it was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// As given.
    pub key: String,
    /// Keyed hash of the canonical publish.
    pub fingerprint: String,
}

/// A delivery on its way into the rows.
#[derive(Debug)]
pub struct NewDelivery {
    /// The row; already claimed when there is a reservation.
    pub delivery: Delivery,
    /// The compact JWE; none when there was nothing to seal to.
    pub sealed: Option<Bytes>,
    /// A place in the endpoint's window, held until the row is committed.
    pub reservation: Option<Reservation>,
}

/// What an event is to the session that it tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionPart {
    /// It tells of it.
    Tells,
    /// It ends it: a session has one such event.
    Ends,
    /// It replaces the end that a withdrawal took back, and is owed.
    Replaces,
}

/// How soon the ends of claims are to be in the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Together with others, a moment later.
    Gathered,
    /// With the next transaction.
    Now,
}

/// An event on its way into the rows, with all that is committed with it.
#[derive(Debug)]
pub struct Acceptance {
    /// The event.
    pub event: Event,
    /// The session it tells of.
    pub session: Option<(SessionId, SessionPart)>,
    /// The endpoints that the session's events are for; all that subscribe when none.
    pub targets: Option<Vec<EndpointId>>,
    /// The version of the audience it was sealed for.
    pub audience_version: i64,
    /// The caller's key against doubling.
    pub idempotency: Option<Idempotency>,
    /// What the audit log says of it.
    pub entry: Option<AuditEntry>,
    /// One an endpoint.
    pub deliveries: Vec<NewDelivery>,
    /// The memory that its payloads take until they are committed.
    pub memory: Option<Share>,
}

/// What became of an [`Acceptance`]. Only `Committed` left a trace.
#[derive(Debug)]
pub enum Accepted {
    /// Event, deliveries and payloads are durable.
    Committed,
    /// The audience changed meanwhile, or who speaks for it: seal again for the new one.
    Stale,
    /// The organization is frozen.
    Frozen,
    /// The idempotency key stands already, for this event and fingerprint.
    Repeated {
        /// The first event.
        event_id: EventId,
        /// The fingerprint it was stored with.
        fingerprint: String,
    },
    /// The session has its terminal event already.
    TerminalExists,
    /// The person has withdrawn the session.
    Withdrawn {
        /// The event that replaced its end, once there is one.
        replacement: Option<EventId>,
        /// The withdrawal that owes one.
        owed: Option<PrivacyRequestId>,
    },
    /// The organization is gone.
    NoOrganization,
}

/// A claimed delivery and what to send.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The row.
    pub delivery: Delivery,
    /// The compact JWE.
    pub sealed: Bytes,
}

/// The end of a claim.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The delivery, as it was claimed.
    pub delivery: Delivery,
    /// The claim that must still stand.
    pub token: ClaimToken,
    /// The state to write.
    pub progress: Progress,
    /// The attempt that this one replaces, for the history.
    pub replaced: Option<Attempt>,
}

/// What is to be sent again.
#[derive(Clone, Debug)]
pub enum Requeue {
    /// One delivery.
    Delivery(DeliveryId),
    /// Every delivery of one event.
    Event(EventId),
}

/// The writes of the hot path, gathered into few transactions.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Commits an event with its deliveries and payloads, or leaves no trace.
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted>;
    /// Claims those of `ids` that are pending, all of them for `endpoint`.
    async fn claim(
        &self,
        endpoint: &EndpointId,
        ids: Vec<DeliveryId>,
        claim: Claim,
        now: Timestamp,
    ) -> Result<Vec<Claimed>>;
    /// Ends claims; answers for each, in order, whether it still stood.
    async fn settle(&self, settlements: Vec<Settlement>, haste: Haste) -> Result<Vec<bool>>;
    /// Requeues what the machine lets be requeued, and passes it on; answers for each delivery,
    /// oldest first, or none when the organization has no such thing. The entry is added when
    /// anything was requeued.
    async fn requeue(
        &self,
        organization: &OrganizationId,
        what: &Requeue,
        schedule: &RetrySchedule,
        entry: AuditEntry,
    ) -> Result<Option<Vec<Result<Delivery, RequeueRefusal>>>>;
}
