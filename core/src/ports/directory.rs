//! Who there is and what they have set, in the rows.

use async_trait::async_trait;

use crate::access::{ApiKey, Organization};
use crate::audit::AuditEntry;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::id::{ApiKeyId, EndpointId, KeyId, OrganizationId};
use crate::key::EncryptionKey;
use crate::page::{Page, PageRequest};
use crate::time::Timestamp;

use super::ledger::{Audience, Destination, Idempotency};

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

/// Filters of the endpoint list.
#[derive(Clone, Debug, Default)]
pub struct EndpointFilter {
    /// Only enabled, or only disabled ones.
    pub enabled: Option<bool>,
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
    /// Deletes an organization: it vanishes at once with all that it has, and [`Upkeep`](super::Upkeep) removes its
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

/// Who there is and what they have set.
pub trait Directory: Organizations + ApiKeys + Endpoints + Keys + AuditLog {}

impl<T: Organizations + ApiKeys + Endpoints + Keys + AuditLog> Directory for T {}
