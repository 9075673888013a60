//! Use cases that REST and GraphQL share: everything but publishing.

use std::sync::Arc;

use crate::access::{ApiKey, ApiKeyFields, Caller, Organization, OrganizationChange};
use crate::delivery::{Attempt, Delivery, RequeueRefusal};
use crate::endpoint::{Endpoint, EndpointFields, judge_name};
use crate::error::{Conflict, Error, Result, Thing};
use crate::event::{Catalogue, EventWithDeliveries};
use crate::id::{DeliveryId, EndpointId, EventId, KeyId, Minter, OrganizationId};
use crate::key::{EncryptionKey, KeyFields};
use crate::limits::{ENDPOINTS, KEYS};
use crate::page::{Page, PageRequest};
use crate::ports::{
    Clock, DeliveryFilter, EndpointFilter, EventFilter, Requeue, Sealer, Secret, Store, Vault,
};
use crate::retry::RetrySchedule;
use crate::target::TargetRules;

/// How much an organization may have.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    /// Endpoints of an organization.
    pub endpoints: usize,
    /// Encryption keys of an endpoint.
    pub keys: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { endpoints: ENDPOINTS, keys: KEYS }
    }
}

/// What [`Admin`] works with.
#[derive(Clone)]
pub struct AdminParts {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Encryption, for the trial of a new key.
    pub sealer: Arc<dyn Sealer>,
    /// Secrets at rest.
    pub vault: Arc<dyn Vault>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids and secrets.
    pub minter: Arc<Minter>,
    /// Event types.
    pub catalogue: Arc<Catalogue>,
    /// Which targets are allowed.
    pub targets: Arc<TargetRules>,
    /// How much an organization may have.
    pub quotas: Quotas,
    /// Pauses of a schedule that is begun again.
    pub schedule: RetrySchedule,
}

/// The administration of organizations, endpoints, keys, events and deliveries. Every method that
/// takes a [`Caller`] checks its right first and binds its query to the caller's organization.
pub struct Admin {
    parts: AdminParts,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// An administration over its ports.
    pub fn new(parts: AdminParts) -> Self {
        Self { parts }
    }

    /// Makes an organization, under `id` or a new one.
    pub async fn create_organization(
        &self,
        name: String,
        id: Option<String>,
    ) -> Result<Organization> {
        let now = self.parts.clock.now();
        let id = match id {
            Some(id) => OrganizationId::parse_uuid("id", &id)?,
            None => self.parts.minter.organization(),
        };
        let organization = Organization {
            id,
            name: judge_name(name)?,
            frozen_at: None,
            created_at: now,
            updated_at: now,
        };
        self.parts.store.insert_organization(&organization).await?;
        Ok(organization)
    }

    /// One organization.
    pub async fn organization(&self, id: &OrganizationId) -> Result<Organization> {
        let found = self.parts.store.organization(id).await?;
        found.ok_or(Error::NotFound(Thing::Organization))
    }

    /// Organizations, newest first.
    pub async fn organizations(&self, page: &PageRequest) -> Result<Page<Organization>> {
        self.parts.store.organizations(page).await
    }

    /// Renames, freezes or thaws an organization; at least one must be asked for.
    pub async fn change_organization(
        &self,
        id: &OrganizationId,
        name: Option<String>,
        frozen: Option<bool>,
    ) -> Result<Organization> {
        let change = OrganizationChange::judge(name, frozen)?;
        let now = self.parts.clock.now();
        let change = Box::new(move |organization| change.apply(organization, now));
        let changed = self.parts.store.change_organization(id, change).await?;
        changed.ok_or(Error::NotFound(Thing::Organization))
    }

    /// Makes an API key of an organization. The key is answered once and stored as a keyed hash.
    pub async fn create_api_key(
        &self,
        organization: &OrganizationId,
        fields: ApiKeyFields,
    ) -> Result<(ApiKey, Secret)> {
        let id = self.parts.minter.api_key_id();
        let key = fields.create(id, organization.clone(), self.parts.clock.now())?;
        if self.organization(organization).await?.frozen_at.is_some() {
            return Err(Error::Frozen);
        }
        let secret = self.store_api_key(&key).await?;
        Ok((key, secret))
    }

    /// Makes a platform key, unless there is one.
    pub async fn create_first_platform_key(&self) -> Result<Option<Secret>> {
        if self.parts.store.has_platform_key().await? {
            return Ok(None);
        }
        self.create_platform_key("first").await.map(Some)
    }

    /// Makes a platform key.
    pub async fn create_platform_key(&self, name: &str) -> Result<Secret> {
        self.store_api_key(&ApiKey {
            id: self.parts.minter.api_key_id(),
            name: judge_name(name.to_owned())?,
            organization_id: None,
            enabled: true,
            scopes: Vec::new(),
            metadata: serde_json::Map::new(),
            created_at: self.parts.clock.now(),
        })
        .await
    }

    async fn store_api_key(&self, key: &ApiKey) -> Result<Secret> {
        let secret = self.parts.minter.api_key();
        self.parts.store.insert_api_key(key, &self.parts.vault.hash_api_key(&secret)).await?;
        Ok(Secret::new(secret))
    }

    /// Who holds the API key whose keyed hash is `hash`.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for a key that is unknown or disabled, [`Error::Frozen`] for one
    /// of a frozen organization.
    pub async fn authenticate(&self, hash: &str) -> Result<Caller> {
        match self.parts.store.api_key(hash).await? {
            Some((key, frozen)) if key.enabled => match key.organization_id {
                None => Ok(Caller::Platform),
                Some(_) if frozen => Err(Error::Frozen),
                Some(id) => Ok(Caller::Organization { id, scopes: key.scopes }),
            },
            Some(_) | None => Err(Error::Unauthenticated),
        }
    }

    /// Makes an endpoint; its signing secret is answered with it.
    pub async fn create_endpoint(
        &self,
        caller: &Caller,
        fields: EndpointFields,
    ) -> Result<(Endpoint, Secret)> {
        let organization = caller.writer()?;
        let parts = &self.parts;
        let endpoint = fields.create(
            parts.minter.endpoint(),
            organization.clone(),
            &parts.targets,
            &parts.catalogue,
            parts.clock.now(),
        )?;
        let secret = Secret::new(parts.minter.signing_secret());
        let locked = parts.vault.lock(organization, &endpoint.id, &secret);
        parts.store.insert_endpoint(&endpoint, &locked, parts.quotas.endpoints).await?;
        Ok((endpoint, secret))
    }

    /// One endpoint.
    pub async fn endpoint(&self, caller: &Caller, id: &EndpointId) -> Result<Endpoint> {
        let found = self.parts.store.endpoint(caller.reader()?, id).await?;
        found.ok_or(Error::NotFound(Thing::Endpoint))
    }

    /// Endpoints, newest first.
    pub async fn endpoints(
        &self,
        caller: &Caller,
        filter: &EndpointFilter,
        page: &PageRequest,
    ) -> Result<Page<Endpoint>> {
        self.parts.store.endpoints(caller.reader()?, filter, page).await
    }

    /// Changes the settings of an endpoint; its actor hears of it at once.
    pub async fn change_endpoint(
        &self,
        caller: &Caller,
        id: &EndpointId,
        fields: EndpointFields,
    ) -> Result<Endpoint> {
        let organization = caller.writer()?;
        let change = fields.change(&self.parts.targets, &self.parts.catalogue)?;
        let now = self.parts.clock.now();
        let change = Box::new(move |endpoint| change.apply(endpoint, now));
        let changed = self.parts.store.change_endpoint(organization, id, change).await?;
        changed.ok_or(Error::NotFound(Thing::Endpoint))
    }

    /// Registers an encryption key; it becomes the endpoint's only active one.
    pub async fn register_key(
        &self,
        caller: &Caller,
        endpoint: &EndpointId,
        fields: KeyFields,
    ) -> Result<EncryptionKey> {
        let organization = caller.writer()?;
        let parts = &self.parts;
        let key = fields.create(parts.minter.key(), endpoint.clone(), parts.clock.now())?;
        parts.sealer.try_key(&key.jwk).map_err(|_| Error::invalid("jwk", "a key that encrypts"))?;
        parts.store.insert_key(organization, &key, parts.quotas.keys).await?;
        Ok(key)
    }

    /// Keys of an endpoint, by id; an unknown endpoint has none (contract 2.6).
    pub async fn keys(
        &self,
        caller: &Caller,
        endpoint: &EndpointId,
        active: Option<bool>,
        page: &PageRequest,
    ) -> Result<Page<EncryptionKey>> {
        self.parts.store.keys(caller.reader()?, endpoint, active, page).await
    }

    /// The signing secret of an endpoint.
    pub async fn reveal_secret(&self, caller: &Caller, id: &EndpointId) -> Result<Secret> {
        let organization = caller.writer()?;
        let missing = Error::NotFound(Thing::Endpoint);
        let found = self.parts.store.destination(id).await?.ok_or(missing)?;
        if found.endpoint.organization_id != *organization {
            return Err(Error::NotFound(Thing::Endpoint));
        }
        self.parts.vault.unlock(organization, id, &found.locked_secret)
    }

    /// Gives an endpoint a new signing secret; every later attempt is signed with it.
    pub async fn rotate_secret(&self, caller: &Caller, id: &EndpointId) -> Result<Secret> {
        let organization = caller.writer()?;
        let parts = &self.parts;
        let secret = Secret::new(parts.minter.signing_secret());
        let locked = parts.vault.lock(organization, id, &secret);
        let now = parts.clock.now();
        if parts.store.replace_secret(organization, id, &locked, now).await? {
            Ok(secret)
        } else {
            Err(Error::NotFound(Thing::Endpoint))
        }
    }

    /// Makes a key the endpoint's only active one, or inactive. What is sealed stays as it is.
    pub async fn set_key_active(
        &self,
        caller: &Caller,
        id: &KeyId,
        active: bool,
    ) -> Result<EncryptionKey> {
        let now = self.parts.clock.now();
        let key = self.parts.store.set_key_active(caller.writer()?, id, active, now).await?;
        key.ok_or(Error::NotFound(Thing::Key))
    }

    /// Sends a delivery again, on a fresh schedule that starts now (contract 2.7).
    ///
    /// # Errors
    /// [`Conflict::DeliveryInProgress`] and [`Conflict::PayloadExpired`].
    pub async fn retry(&self, caller: &Caller, id: &DeliveryId) -> Result<Delivery> {
        let what = Requeue::Delivery(id.clone());
        let requeued = self.requeue(caller, &what).await?.and_then(|mut one| one.pop());
        match requeued.ok_or(Error::NotFound(Thing::Delivery))? {
            Ok(delivery) => Ok(delivery),
            Err(RequeueRefusal::InProgress) => Err(Error::Conflict(Conflict::DeliveryInProgress)),
            Err(RequeueRefusal::PayloadGone) => Err(Error::Conflict(Conflict::PayloadExpired)),
        }
    }

    /// Sends every delivery of an event again that retry would accept; others are passed over
    /// (contract 2.8).
    ///
    /// # Errors
    /// [`Conflict::PayloadExpired`] when every payload is gone, [`Conflict::NothingToReplay`] when
    /// nothing could be requeued otherwise.
    pub async fn replay(&self, caller: &Caller, id: &EventId) -> Result<EventWithDeliveries> {
        let requeued = self.requeue(caller, &Requeue::Event(id.clone())).await?;
        let requeued = requeued.ok_or(Error::NotFound(Thing::Event))?;
        if requeued.iter().any(std::result::Result::is_ok) {
            return self.event(caller, id).await;
        }
        let gone = |refusal: &_| matches!(refusal, Err(RequeueRefusal::PayloadGone));
        if !requeued.is_empty() && requeued.iter().all(gone) {
            Err(Error::Conflict(Conflict::PayloadExpired))
        } else {
            Err(Error::Conflict(Conflict::NothingToReplay))
        }
    }

    async fn requeue(
        &self,
        caller: &Caller,
        what: &Requeue,
    ) -> Result<Option<Vec<Result<Delivery, RequeueRefusal>>>> {
        let (organization, now) = (caller.writer()?, self.parts.clock.now());
        self.parts.store.requeue(organization, what, &self.parts.schedule, now).await
    }

    /// One event with its deliveries.
    pub async fn event(&self, caller: &Caller, id: &EventId) -> Result<EventWithDeliveries> {
        let found = self.parts.store.event(caller.reader()?, id).await?;
        found.ok_or(Error::NotFound(Thing::Event))
    }

    /// Events, newest first.
    pub async fn events(
        &self,
        caller: &Caller,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<EventWithDeliveries>> {
        let organization = caller.reader()?;
        if let Some(name) = &filter.event_type
            && self.parts.catalogue.get(name).is_none()
        {
            return Err(Error::invalid("type", self.parts.catalogue.one_of()));
        }
        self.parts.store.events(organization, filter, page).await
    }

    /// One delivery.
    pub async fn delivery(&self, caller: &Caller, id: &DeliveryId) -> Result<Delivery> {
        let found = self.parts.store.delivery(caller.reader()?, id).await?;
        found.ok_or(Error::NotFound(Thing::Delivery))
    }

    /// All attempts of a delivery, oldest first.
    pub async fn attempts(&self, caller: &Caller, id: &DeliveryId) -> Result<Vec<Attempt>> {
        let found = self.parts.store.attempts(caller.reader()?, id).await?;
        found.ok_or(Error::NotFound(Thing::Delivery))
    }

    /// Deliveries, newest first.
    pub async fn deliveries(
        &self,
        caller: &Caller,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Page<Delivery>> {
        self.parts.store.deliveries(caller.reader()?, filter, page).await
    }
}
