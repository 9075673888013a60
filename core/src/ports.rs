//! What the use cases need of the world. Each port has its adapters in the daemon and one
//! conformance suite that runs against all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::access::{ApiKey, Organization};
use crate::audit::AuditEntry;
use crate::budget::Share;
use crate::cluster::{Beat, Look, NodeCard, Renewal, Roll};
use crate::delivery::{Attempt, Claim, ClaimToken, Delivery, Progress, RequeueRefusal, Status};
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::event::{Event, EventWithDeliveries};
use crate::feed::{After, Interest, Position};
use crate::gate::Reservation;
use crate::id::{
    ApiKeyId, DeliveryId, EndpointId, EventId, KeyId, OrganizationId, PrivacyRequestId, SessionId,
};
use crate::key::{EncryptionKey, PublicJwk};
use crate::order::Ticket;
use crate::page::{Page, PageRequest};
use crate::privacy::{Owed, PrivacyRequest, Withdrawal};
use crate::retry::RetrySchedule;
use crate::shard::{NodeNumber, Shard, Shards};
use crate::statistics::{Scope, Statistics};
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

    /// Forgets what it keeps of keys that were not sealed to since this was done last.
    fn forget_unused(&self);
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

/// Which of an endpoint's secrets: each is bound to its own column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretColumn {
    /// The one that signs and is shown.
    Current,
    /// The one before it, while it signs, too.
    Previous,
}

impl SecretColumn {
    /// The column as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "signing_secret",
            Self::Previous => "previous_signing_secret",
        }
    }
}

/// Secrets at rest, and keyed hashes.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Encrypts an endpoint's signing secret, bound to its organization, row and column.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::error::Error::Unavailable) while the key to do it with is not to be had.
    async fn lock(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        column: SecretColumn,
        secret: &Secret,
    ) -> Result<String>;

    /// Decrypts what [`Vault::lock`] made for the same place.
    ///
    /// # Errors
    /// [`Error::Broken`](crate::error::Error::Broken) for anything else, which will never open;
    /// [`Error::Unavailable`](crate::error::Error::Unavailable) while the key to do it with is not to be had.
    async fn unlock(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        column: SecretColumn,
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

/// What became of a new endpoint.
#[derive(Clone, Debug)]
pub enum Inserted {
    /// It is there.
    New,
    /// Its idempotency key stands already, for this endpoint.
    Repeated {
        /// The first endpoint.
        first: Box<Destination>,
        /// The fingerprint it was stored with.
        fingerprint: String,
    },
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
    /// Only events of this type; not beside status or endpoint, which no index would serve.
    pub event_type: Option<String>,
    /// Accepted at or after.
    pub created_from: Option<Timestamp>,
    /// Accepted at or before.
    pub created_to: Option<Timestamp>,
}

/// Filters of the audit log.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Done at or after.
    pub created_from: Option<Timestamp>,
    /// Done at or before.
    pub created_to: Option<Timestamp>,
}

/// Reads a thing as it stands and answers what it is to be, or why it stays.
pub type Change<T> = Box<dyn FnOnce(T) -> Result<T> + Send>;

/// Organizations in the rows. Here as below, a change is committed with its entry of the audit log.
#[async_trait]
pub trait Organizations: Send + Sync {
    /// Adds an organization; [`Conflict::OrganizationExists`](crate::error::Conflict) by id.
    async fn insert_organization(
        &self,
        organization: &Organization,
        entry: AuditEntry,
    ) -> Result<()>;
    /// One organization.
    async fn organization(&self, id: &OrganizationId) -> Result<Option<Organization>>;
    /// Organizations, newest first.
    async fn organizations(&self, page: &PageRequest) -> Result<Page<Organization>>;
    /// Reads, changes and writes one organization in one transaction.
    async fn change_organization(
        &self,
        id: &OrganizationId,
        change: Change<Organization>,
        entry: AuditEntry,
    ) -> Result<Option<Organization>>;
    /// Deletes an organization: it vanishes at once with all that it has, and [`Upkeep`] removes its
    /// rows. Answers whether there was one.
    async fn delete_organization(&self, id: &OrganizationId, now: Timestamp) -> Result<bool>;
}

/// API keys in the rows.
#[async_trait]
pub trait ApiKeys: Send + Sync {
    /// Adds an API key under the hash it is found by, unless its organization has `most` already; a platform's
    /// key is not counted and has no entry.
    async fn insert_api_key(
        &self,
        key: &ApiKey,
        hash: &str,
        most: usize,
        entry: Option<AuditEntry>,
    ) -> Result<()>;
    /// The key stored under `hash`, and whether its organization is frozen.
    async fn api_key(&self, hash: &str) -> Result<Option<(ApiKey, bool)>>;
    /// API keys of the organization, by id.
    async fn api_keys(
        &self,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<ApiKey>>;
    /// Reads, changes and writes one API key in one transaction.
    async fn change_api_key(
        &self,
        organization: &OrganizationId,
        id: &ApiKeyId,
        change: Change<ApiKey>,
        entry: AuditEntry,
    ) -> Result<Option<ApiKey>>;
    /// Deletes an API key; answers whether there was one.
    async fn delete_api_key(
        &self,
        organization: &OrganizationId,
        id: &ApiKeyId,
        entry: AuditEntry,
    ) -> Result<bool>;
    /// Adds to the request counts of API keys.
    async fn count_requests(&self, counts: Vec<(ApiKeyId, u64)>) -> Result<()>;
    /// Whether any platform key exists.
    async fn has_platform_key(&self) -> Result<bool>;
}

/// Endpoints in the rows.
#[async_trait]
pub trait Endpoints: Send + Sync {
    /// Adds an endpoint with its locked secret, unless the organization has `most` of them or the
    /// idempotency key stands for one.
    async fn insert_endpoint(
        &self,
        new: Destination,
        idempotency: Option<Idempotency>,
        most: usize,
        entry: AuditEntry,
    ) -> Result<Inserted>;
    /// One endpoint of the organization.
    async fn endpoint(
        &self,
        organization: &OrganizationId,
        id: &EndpointId,
    ) -> Result<Option<Endpoint>>;
    /// Those of `ids` that are the organization's, in any order.
    async fn endpoints_by_id(
        &self,
        organization: &OrganizationId,
        ids: &[EndpointId],
    ) -> Result<Vec<Endpoint>>;
    /// Endpoints of the organization, newest first.
    async fn endpoints(
        &self,
        organization: &OrganizationId,
        filter: &EndpointFilter,
        page: &PageRequest,
    ) -> Result<Page<Endpoint>>;
    /// Reads, changes and writes one endpoint and its secrets in one transaction.
    async fn change_endpoint(
        &self,
        organization: &OrganizationId,
        id: &EndpointId,
        change: Change<Destination>,
        entry: AuditEntry,
    ) -> Result<Option<Endpoint>>;
    /// Deletes one endpoint: it vanishes, its secret and its keys' JWKs are erased, and what is
    /// pending for it fails. Answers whether there was one.
    async fn delete_endpoint(
        &self,
        organization: &OrganizationId,
        id: &EndpointId,
        entry: AuditEntry,
    ) -> Result<bool>;

    /// An organization's audience; none when it is gone.
    async fn audience(&self, organization: &OrganizationId) -> Result<Option<Audience>>;
    /// What an actor needs to deliver to an endpoint.
    async fn destination(&self, id: &EndpointId) -> Result<Option<Destination>>;
}

/// Encryption keys in the rows.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Adds an active key and deactivates the endpoint's others, unless it has `most` of them.
    async fn insert_key(
        &self,
        organization: &OrganizationId,
        key: &EncryptionKey,
        most: usize,
        entry: AuditEntry,
    ) -> Result<()>;
    /// Makes one key the endpoint's only active one, or inactive.
    async fn set_key_active(
        &self,
        organization: &OrganizationId,
        id: &KeyId,
        active: bool,
        entry: AuditEntry,
    ) -> Result<Option<EncryptionKey>>;
    /// Keys of the organization's endpoints among `endpoints`, by id.
    async fn keys_of(
        &self,
        organization: &OrganizationId,
        endpoints: &[EndpointId],
    ) -> Result<Vec<EncryptionKey>>;
    /// Keys of one endpoint, by id; none for an unknown endpoint.
    async fn keys(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        active: Option<bool>,
        page: &PageRequest,
    ) -> Result<Page<EncryptionKey>>;
}

/// The audit log in the rows.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Adds an entry that stands for no change of rows.
    async fn record(&self, entry: AuditEntry) -> Result<()>;
    /// The organization's audit log, newest first.
    async fn audit_log(
        &self,
        organization: &OrganizationId,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditEntry>>;
}

/// Sessions that their persons withdrew.
#[async_trait]
pub trait Withdrawals: Send + Sync {
    /// Withdraws a session: what is pending is scrubbed, what is in flight is marked, and the first
    /// decision is taken. A session that was withdrawn answers as it stands. None when there is no
    /// such organization. The entry gets the counts.
    async fn withdraw(
        &self,
        withdrawal: Withdrawal,
        entry: AuditEntry,
    ) -> Result<Option<PrivacyRequest>>;
    /// One withdrawal as it stands.
    async fn privacy_request(&self, id: &PrivacyRequestId) -> Result<Option<PrivacyRequest>>;
    /// Replacing events that are owed, by `only` or by any, oldest first; organizations that are
    /// frozen have to wait.
    async fn owed(&self, only: Option<&PrivacyRequestId>, limit: usize) -> Result<Vec<Owed>>;
    /// Ends a withdrawal whose replacing event cannot be made.
    async fn forgo_replacement(&self, id: &PrivacyRequestId) -> Result<()>;
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

/// Events and deliveries, as callers read them.
#[async_trait]
pub trait Archive: Send + Sync {
    /// One event of the organization with its deliveries, oldest first.
    async fn event(
        &self,
        organization: &OrganizationId,
        id: &EventId,
    ) -> Result<Option<EventWithDeliveries>>;
    /// Those of `ids` that are the organization's, with their deliveries, in any order.
    async fn events_by_id(
        &self,
        organization: &OrganizationId,
        ids: &[EventId],
    ) -> Result<Vec<EventWithDeliveries>>;
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
    /// All attempts of those of `ids` that are the organization's, each delivery's oldest first, those
    /// before a retry by hand included.
    async fn attempts(
        &self,
        organization: &OrganizationId,
        ids: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, Vec<Attempt>>>;
    /// The latest deliveries of several endpoints of the organization, newest first, at most `most` each.
    async fn latest_deliveries(
        &self,
        organization: &OrganizationId,
        endpoints: &[EndpointId],
        status: Option<Status>,
        most: usize,
    ) -> Result<HashMap<EndpointId, Vec<Delivery>>>;
    /// Deliveries of the organization, newest first.
    async fn deliveries(
        &self,
        organization: &OrganizationId,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Page<Delivery>>;
}

/// How deliveries went, a minute at a time.
#[async_trait]
pub trait Tallies: Send + Sync {
    /// How it went in each scope of the organization, over the minutes that `from` and `to` lie in and those
    /// between.
    async fn statistics(
        &self,
        organization: &OrganizationId,
        scopes: &[Scope],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<HashMap<Scope, Statistics>>;
    /// Keeps what was counted in minutes that were over `before`; answers how many, a batch at most.
    async fn keep_tallies(&self, before: Timestamp) -> Result<usize>;
    /// Removes the oldest minute, if it was over `before`; answers `limit` then, and else 0.
    async fn purge_tallies(&self, before: Timestamp, limit: usize) -> Result<usize>;
}

/// Who is to blame for a lost claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The delivery, perhaps: it is counted, and parked after too many.
    Delivery,
    /// Nobody in particular: so many were claimed that it says nothing of one.
    Nobody,
}

/// Claims that are ended for their holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// All: nobody can hold one.
    All,
    /// Those of nodes that ended; asked for by one of several nodes.
    OfTheEnded,
    /// Those of one node that lapsed at or before this instant, on that node's clock.
    LapsedOf(NodeNumber, Timestamp),
}

/// Claims that were ended for their holders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// How many.
    pub claims: usize,
    /// What is due again by it.
    pub due: Vec<Due>,
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
    /// Pending deliveries of `shards` that fall due after `after` and at or before `until`, soonest first.
    async fn upcoming(
        &self,
        shards: Shards,
        after: (Timestamp, Option<&DeliveryId>),
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>>;
    /// How many deliveries are claimed by those that `which` names.
    async fn open_claims(&self, which: Claims) -> Result<usize>;
    /// Ends claims of those that `which` names.
    async fn release(
        &self,
        which: Claims,
        now: Timestamp,
        limit: usize,
        blame: Blame,
    ) -> Result<Released>;
    /// Fails what is still pending for deleted endpoints, and scrubs what they failed to deliver;
    /// answers how many deliveries were written.
    async fn clear_deleted_endpoints(&self, now: Timestamp, limit: usize) -> Result<usize>;
    /// Removes rows of deleted organizations; answers how many.
    async fn purge_deleted_organizations(&self, now: Timestamp, limit: usize) -> Result<usize>;
    /// Removes entries of the audit log that tell of sessions and were made before `before`.
    async fn purge_audit(&self, before: Timestamp, limit: usize) -> Result<usize>;
    /// Forgets signing secrets that were replaced and sign no more; answers how many.
    async fn forget_previous_secrets(&self, now: Timestamp, limit: usize) -> Result<usize>;
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
pub trait Store: Directory + Ledger + Archive + Withdrawals + Tallies + Upkeep {}

impl<T: Directory + Ledger + Archive + Withdrawals + Tallies + Upkeep> Store for T {}

/// Who there is and what they have set.
pub trait Directory: Organizations + ApiKeys + Endpoints + Keys + AuditLog {}

impl<T: Organizations + ApiKeys + Endpoints + Keys + AuditLog> Directory for T {}

/// The rows that nodes of one database know of each other, on the database's clock.
#[async_trait]
pub trait Roster: Send + Sync {
    /// Adds a node; answers the number of this life of it.
    async fn join(&self, card: &NodeCard, lease: Duration) -> Result<NodeNumber>;
    /// Renews the lease of a node, ends those whose lease ran out, and takes what is `me`'s by then.
    async fn renew(&self, me: NodeNumber, beat: &Beat) -> Result<Renewal>;
    /// Gives shards to others; those that `me` has no more are left alone.
    async fn give(&self, me: NodeNumber, to: &[(Shard, NodeNumber)]) -> Result<()>;
    /// Who has each shard, and what has changed since `since` that attempts have to obey.
    async fn look(&self, since: Timestamp) -> Result<Look>;
    /// Ends this life of a node.
    async fn end(&self, me: NodeNumber) -> Result<()>;
    /// All nodes of late, and all shards.
    async fn roll(&self) -> Result<Roll>;
    /// What time the database has.
    async fn time(&self) -> Result<Timestamp>;
}

/// The endpoints that this process speaks for.
pub trait Ownership: Send + Sync {
    /// Names this life of this process; claims are made under it.
    fn number(&self) -> NodeNumber;
    /// Shards that are surely held.
    fn held(&self) -> Shards;
    /// Whether the settings of endpoints are known as of a moment ago: otherwise nothing may start.
    fn is_informed(&self) -> bool;
    /// Who holds a shard, as far as is known; none when nobody, or when it is held here.
    fn elsewhere(&self, shard: Shard) -> Option<NodeNumber>;
}

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
    /// Adds due times, or moves them; those beyond its bounds are left to the rows.
    async fn put(&self, due: Vec<Due>) -> Result<()>;
    /// Leases what is due at `now` to this process, soonest first, at most `limit`: what is neither put
    /// again nor struck out comes again after [`SCHEDULE_LEASE`](crate::limits::SCHEDULE_LEASE).
    async fn lease(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>>;
    /// Strikes out due times of one endpoint.
    async fn strike_out(&self, endpoint: &EndpointId, ids: Vec<DeliveryId>) -> Result<()>;
    /// When it is worth asking again.
    async fn next(&self) -> Result<Option<Timestamp>>;
    /// Waits until it is worth asking before that.
    async fn changed(&self);
    /// Waits until what it covered is lost, in whole or in part.
    async fn lost(&self);
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

/// The way from committed rows to the actors. Never fails: whatever an actor does not hear of, it finds in
/// the rows.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// A place with `endpoint`, if its actor is here and lends one; `bytes` of payload are kept in memory
    /// until the attempt starts. Where places come free faster than they are asked for it waits for one, until
    /// that instant at most: what goes by way of the rows instead costs more, and would go on to.
    async fn reserve(
        &self,
        endpoint: &EndpointId,
        bytes: usize,
        until: Timestamp,
    ) -> Option<Reservation>;
    /// Passes committed deliveries on.
    fn hand_over(&self, deliveries: Vec<HandOver>);
    /// An endpoint's settings changed.
    fn reconfigured(&self, endpoint: &EndpointId);
    /// Payloads of claimed deliveries were taken away: what has not started must not start.
    fn revoked(&self, endpoint: &EndpointId, ids: Vec<DeliveryId>);
    /// A replacing event is owed.
    fn replacement_owed(&self);
    /// This process speaks for other shards than before.
    fn shards_changed(&self, gained: Shards, lost: Shards);
}

/// What changed, for those who watch: a hint that can be thrown away, and says so.
#[async_trait]
pub trait Feed: Send + Sync {
    /// A place in the order of commits; to be taken right before one, and filled right after.
    fn ticket(&self) -> Ticket;
    /// Behind all that there is.
    fn head(&self) -> Position;
    /// What came after `position`, a part at a time.
    fn after(&self, position: Position) -> After;
    /// Waits until there may be something of interest after `position`; answers the position up to which
    /// there is nothing.
    async fn moved(&self, position: Position, interest: &Interest) -> Position;
    /// Waits a moment until all that was committed so far is seen before whatever comes after: what other
    /// processes do about it must not be told first.
    async fn flushed(&self) {}
    /// Waits a moment until all that was told is kept.
    async fn close(&self);
    /// What this process is called here by others; none when there are none.
    fn writer(&self) -> Option<String> {
        None
    }
    /// Another process ended, perhaps with changes untold.
    fn bury(&self, _writer: &str) {}
}

/// How many requests each caller may make: a minute's worth at once, which he gets back evenly.
#[async_trait]
pub trait Throttle: Send + Sync {
    /// Takes the right to one request of `caller` at `now`, or tells how long to wait for it. Never fails for
    /// another reason.
    async fn take(&self, caller: &str, now: Timestamp) -> Result<(), Duration>;
}

/// Whoever believes what callers may do for a while.
pub trait Rights: Send + Sync {
    /// What anybody may do has changed, or may have.
    fn changed(&self);
}

/// The rules that deliveries are made by.
#[derive(Clone, Debug)]
pub struct DeliveryRules {
    /// Pauses between attempts.
    pub schedule: RetrySchedule,
    /// Deadline over a whole exchange.
    pub attempt_timeout: Duration,
}
