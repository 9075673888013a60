//! What the use cases need of the world. Each port has its adapters in the daemon and one
//! conformance suite that runs against all of them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::access::{ApiKey, Organization};
use crate::budget::Share;
use crate::delivery::{Attempt, Claim, ClaimToken, Delivery, Progress, RequeueRefusal, Status};
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::event::{Event, EventWithDeliveries};
use crate::gate::Reservation;
use crate::id::{DeliveryId, EndpointId, EventId, KeyId, OrganizationId, SessionId};
use crate::key::{EncryptionKey, PublicJwk};
use crate::page::{Page, PageRequest};
use crate::retry::RetrySchedule;
use crate::time::Timestamp;

/// Wall time that never jumps while the process lives.
pub trait Clock: Send + Sync {
    /// The current instant.
    fn now(&self) -> Timestamp;
}

/// Cryptographically secure randomness.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// Sealing failed; the cause says nothing about the payload.
#[derive(Debug, thiserror::Error)]
#[error("sealing failed: {0}")]
pub struct SealFault(pub String);

/// Encrypts payloads to receivers' keys (contract 6.1).
pub trait Sealer: Send + Sync {
    /// Whether `jwk` really encrypts: a trial.
    fn try_key(&self, jwk: &PublicJwk) -> Result<(), SealFault>;

    /// The compact JWE of `plaintext` for `key`.
    fn seal(&self, key: &EncryptionKey, plaintext: &[u8]) -> Result<Bytes, SealFault>;
}

/// A secret in memory, which no debug output shows.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself: for the wire or a key schedule, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// Secrets at rest, and keyed hashes.
pub trait Vault: Send + Sync {
    /// Encrypts an endpoint's signing secret, bound to its organization and row.
    fn lock(&self, organization: &OrganizationId, endpoint: &EndpointId, secret: &Secret)
    -> String;

    /// Decrypts what [`Vault::lock`] made for the same row.
    fn unlock(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        locked: &str,
    ) -> Result<Secret>;

    /// Keyed hash that an API key is stored and found by.
    fn hash_api_key(&self, key: &str) -> String;

    /// Keyed hash of a publish, so that what is stored can't be used to guess payloads.
    fn fingerprint(&self, canonical: &str) -> String;
}

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

/// An event on its way into the rows, with all that is committed with it.
#[derive(Debug)]
pub struct Acceptance {
    /// The event.
    pub event: Event,
    /// The session it tells of.
    pub session_id: Option<SessionId>,
    /// Whether it ends that session.
    pub terminal: bool,
    /// The version of the audience it was sealed for.
    pub audience_version: i64,
    /// The caller's key against doubling.
    pub idempotency: Option<Idempotency>,
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
    /// The audience changed meanwhile: seal again for the new one.
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
    /// The delivery.
    pub id: DeliveryId,
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

/// Filters of the endpoint list.
#[derive(Clone, Debug, Default)]
pub struct EndpointFilter {
    /// Only enabled, or only disabled ones.
    pub enabled: Option<bool>,
}

/// Filters of the event list.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only this type.
    pub event_type: Option<String>,
    /// Accepted at or after.
    pub created_from: Option<Timestamp>,
    /// Accepted at or before.
    pub created_to: Option<Timestamp>,
}

/// Filters of the delivery list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only this status.
    pub status: Option<Status>,
    /// Only this endpoint.
    pub endpoint_id: Option<EndpointId>,
    /// Only this event.
    pub event_id: Option<EventId>,
}

/// Organizations, API keys, endpoints and encryption keys in the rows.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Adds an organization; [`Conflict::OrganizationExists`](crate::error::Conflict) by id.
    async fn insert_organization(&self, organization: &Organization) -> Result<()>;
    /// One organization.
    async fn organization(&self, id: &OrganizationId) -> Result<Option<Organization>>;
    /// Organizations, newest first.
    async fn organizations(&self, page: &PageRequest) -> Result<Page<Organization>>;
    /// Reads, changes and writes one organization in one transaction.
    async fn change_organization(
        &self,
        id: &OrganizationId,
        change: Box<dyn FnOnce(Organization) -> Organization + Send>,
    ) -> Result<Option<Organization>>;

    /// Adds an API key under the hash it is found by.
    async fn insert_api_key(&self, key: &ApiKey, hash: &str) -> Result<()>;
    /// The key stored under `hash`, and whether its organization is frozen.
    async fn api_key(&self, hash: &str) -> Result<Option<(ApiKey, bool)>>;
    /// Whether any platform key exists.
    async fn has_platform_key(&self) -> Result<bool>;

    /// Adds an endpoint with its locked secret, unless the organization has `most` of them.
    async fn insert_endpoint(
        &self,
        endpoint: &Endpoint,
        locked_secret: &str,
        most: usize,
    ) -> Result<()>;
    /// One endpoint of the organization.
    async fn endpoint(
        &self,
        organization: &OrganizationId,
        id: &EndpointId,
    ) -> Result<Option<Endpoint>>;
    /// Endpoints of the organization, newest first.
    async fn endpoints(
        &self,
        organization: &OrganizationId,
        filter: &EndpointFilter,
        page: &PageRequest,
    ) -> Result<Page<Endpoint>>;
    /// Reads, changes and writes one endpoint in one transaction.
    async fn change_endpoint(
        &self,
        organization: &OrganizationId,
        id: &EndpointId,
        change: Box<dyn FnOnce(Endpoint) -> Endpoint + Send>,
    ) -> Result<Option<Endpoint>>;

    /// Replaces the locked signing secret of one endpoint; answers whether there is one.
    async fn replace_secret(
        &self,
        organization: &OrganizationId,
        id: &EndpointId,
        locked_secret: &str,
        now: Timestamp,
    ) -> Result<bool>;

    /// Adds an active key and deactivates the endpoint's others, unless it has `most` of them.
    async fn insert_key(
        &self,
        organization: &OrganizationId,
        key: &EncryptionKey,
        most: usize,
    ) -> Result<()>;
    /// Makes one key the endpoint's only active one, or inactive.
    async fn set_key_active(
        &self,
        organization: &OrganizationId,
        id: &KeyId,
        active: bool,
        now: Timestamp,
    ) -> Result<Option<EncryptionKey>>;
    /// Keys of one endpoint, by id; none for an unknown endpoint.
    async fn keys(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        active: Option<bool>,
        page: &PageRequest,
    ) -> Result<Page<EncryptionKey>>;

    /// An organization's audience; none when it is gone.
    async fn audience(&self, organization: &OrganizationId) -> Result<Option<Audience>>;
    /// What an actor needs to deliver to an endpoint.
    async fn destination(&self, id: &EndpointId) -> Result<Option<Destination>>;
}

/// The writes of the hot path, gathered into few transactions.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Commits an event with its deliveries and payloads, or leaves no trace.
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted>;
    /// Claims those of `ids` that are pending.
    async fn claim(
        &self,
        ids: Vec<DeliveryId>,
        claim: Claim,
        now: Timestamp,
    ) -> Result<Vec<Claimed>>;
    /// Ends claims; answers for each, in order, whether it still stood.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<bool>>;
    /// Requeues what the machine lets be requeued, and passes it on; answers for each delivery,
    /// oldest first, or none when the organization has no such thing.
    async fn requeue(
        &self,
        organization: &OrganizationId,
        what: &Requeue,
        schedule: &RetrySchedule,
        now: Timestamp,
    ) -> Result<Option<Vec<Result<Delivery, RequeueRefusal>>>>;
}

/// Events and deliveries, as callers read them.
#[async_trait]
pub trait Archive: Send + Sync {
    /// One event of the organization with its deliveries, oldest first.
    async fn event(
        &self,
        organization: &OrganizationId,
        id: &EventId,
    ) -> Result<Option<EventWithDeliveries>>;
    /// The event that an idempotency key stands for, and the fingerprint it was stored with.
    async fn idempotent(
        &self,
        organization: &OrganizationId,
        key: &str,
    ) -> Result<Option<(EventId, String)>>;
    /// Events of the organization with their deliveries, newest first.
    async fn events(
        &self,
        organization: &OrganizationId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<EventWithDeliveries>>;
    /// One delivery of the organization.
    async fn delivery(
        &self,
        organization: &OrganizationId,
        id: &DeliveryId,
    ) -> Result<Option<Delivery>>;
    /// All attempts of one delivery of the organization, oldest first, those before a retry by hand
    /// included.
    async fn attempts(
        &self,
        organization: &OrganizationId,
        id: &DeliveryId,
    ) -> Result<Option<Vec<Attempt>>>;
    /// Deliveries of the organization, newest first.
    async fn deliveries(
        &self,
        organization: &OrganizationId,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Page<Delivery>>;
}

/// Who is to blame for a lost claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The delivery, perhaps: it is counted, and parked after too many.
    Delivery,
    /// Nobody in particular: so many were claimed that it says nothing of one.
    Nobody,
}

/// What is due, what lapsed and what is over: the rows behind schedule, actors and janitor.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Enabled endpoints that have a pending delivery due at `now`, by id, after `after`.
    async fn endpoints_due(
        &self,
        now: Timestamp,
        after: Option<&EndpointId>,
        limit: usize,
    ) -> Result<Vec<EndpointId>>;
    /// Pending deliveries of one endpoint that are due at `now`, longest due first.
    async fn due(
        &self,
        endpoint: &EndpointId,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<DeliveryId>>;
    /// Pending deliveries that fall due after `after` and at or before `until`, soonest first.
    async fn upcoming(
        &self,
        after: (Timestamp, Option<&DeliveryId>),
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>>;
    /// How many deliveries are claimed.
    async fn open_claims(&self) -> Result<usize>;
    /// Ends claims that lapsed at or before `lapsed_by`; answers how many there were.
    async fn release_lapsed(
        &self,
        lapsed_by: Timestamp,
        now: Timestamp,
        limit: usize,
        blame: Blame,
    ) -> Result<usize>;
    /// Scrubs payloads whose time is over; answers how many were looked at.
    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize>;
    /// Removes events accepted before `before` that hold no payload any more, with all that
    /// belongs to them; one with an idempotency key stays until `keyed_before`.
    async fn purge(
        &self,
        before: Timestamp,
        keyed_before: Timestamp,
        limit: usize,
    ) -> Result<usize>;
    /// Whether the rows can be read and written.
    async fn ping(&self) -> Result<()>;
}

/// All rows.
pub trait Store: Directory + Ledger + Archive + Upkeep {}

impl<T: Directory + Ledger + Archive + Upkeep> Store for T {}

/// A due time in the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// When.
    pub at: Timestamp,
    /// Which delivery.
    pub id: DeliveryId,
    /// Whose.
    pub endpoint_id: EndpointId,
}

/// Due times of what waits: hints, rebuilt from the rows at any time.
#[async_trait]
pub trait Schedule: Send + Sync {
    /// Adds due times; those beyond its bounds are left to the rows.
    async fn put(&self, due: Vec<Due>) -> Result<()>;
    /// Takes what is due at `now`, soonest first, at most `limit`. What was taken and is not put
    /// again comes back from the rows.
    async fn take(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>>;
    /// The next due time.
    async fn next(&self) -> Result<Option<Timestamp>>;
    /// Waits until something was put that is due before all that was there.
    async fn changed(&self);
    /// Everything due up to this instant is here; later due times wait in the rows.
    fn covers_until(&self) -> Timestamp;
    /// Says that everything due up to `until` has been put, or puts itself.
    fn cover(&self, until: Timestamp);
    /// Takes back what was said of anything due after `until`.
    fn uncover(&self, until: Timestamp);
}

/// A committed delivery on its way to its endpoint's actor.
#[derive(Debug)]
pub struct HandOver {
    /// The row.
    pub delivery: Delivery,
    /// The payload and the place, when the row was inserted claimed.
    pub claimed: Option<(Bytes, Reservation)>,
}

/// The way from committed rows to the actors. Never waits and never fails: whatever an actor does
/// not hear of, it finds in the rows.
pub trait Dispatch: Send + Sync {
    /// A place in the window of `endpoint`, if its actor is here and lends one; `bytes` of payload
    /// are kept in memory until the attempt starts.
    fn reserve(&self, endpoint: &EndpointId, bytes: usize) -> Option<Reservation>;
    /// Passes committed deliveries on.
    fn hand_over(&self, deliveries: Vec<HandOver>);
    /// An endpoint's settings changed.
    fn reconfigured(&self, endpoint: &EndpointId);
}

/// The rules that deliveries are made by.
#[derive(Clone, Debug)]
pub struct DeliveryRules {
    /// Pauses between attempts.
    pub schedule: RetrySchedule,
    /// Deadline over a whole exchange.
    pub attempt_timeout: std::time::Duration,
}
