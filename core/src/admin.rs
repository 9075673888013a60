//! Use cases that REST and GraphQL share: everything but publishing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::access::{
    ApiKey, ApiKeyChangeFields, ApiKeyFields, Caller, Organization, OrganizationChange,
};
use crate::audit::{Action, Actor, AuditEntry};
use crate::cluster::{Cluster, Roll};
use crate::delivery::{Attempt, Delivery, RequeueRefusal, Status};
use crate::endpoint::{Endpoint, EndpointFields, judge_name};
use crate::error::{Conflict, Error, Result, Thing};
use crate::event::{Catalogue, EventWithDeliveries, judge_idempotency_key};
use crate::feed::Position;
use crate::id::{ApiKeyId, DeliveryId, EndpointId, EventId, KeyId, Minter, OrganizationId};
use crate::key::{EncryptionKey, KeyFields};
use crate::limits::{API_KEYS, ENDPOINTS, KEYS, STATISTICS_SPAN};
use crate::page::{Page, PageRequest};
use crate::ports::{
    AuditFilter, Clock, DeliveryFilter, Destination, EndpointFilter, EventFilter, Feed,
    Idempotency, Inserted, Requeue, Rights, Sealer, Secret, SecretColumn, Store, Vault,
};
use crate::retry::RetrySchedule;
use crate::rotation::GracePeriod;
use crate::statistics::{Scope, Span, Statistics};
use crate::target::TargetRules;
use crate::time::Timestamp;
use crate::watch::{Wanted, Watch};

/// What statistics tell of where no span of time is named.
const HOUR: Duration = Duration::from_secs(3600);

/// How much an organization may have.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    /// Endpoints of an organization.
    pub endpoints: usize,
    /// Encryption keys of an endpoint.
    pub keys: usize,
    /// API keys of an organization.
    pub api_keys: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { endpoints: ENDPOINTS, keys: KEYS, api_keys: API_KEYS }
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
    /// What changed.
    pub feed: Arc<dyn Feed>,
    /// Who serves.
    pub cluster: Arc<dyn Cluster>,
    /// Whoever believes what callers may do.
    pub rights: Arc<dyn Rights>,
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

/// How often a rotation tries again where keys or secrets change beside it.
const ROTATION_TRIES: usize = 3;

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
        let metadata = described(json!({ "name": organization.name }));
        let id = organization.id.clone();
        let entry =
            self.entry(&id, Actor::System, Action::OrganizationCreated, id.as_str(), metadata);
        self.parts.store.insert_organization(&organization, entry).await?;
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
        let action = match frozen {
            Some(true) => Action::OrganizationFrozen,
            Some(false) => Action::OrganizationThawed,
            None => Action::OrganizationUpdated,
        };
        let metadata = name.as_ref().map(|name| described(json!({ "name": name })));
        let change = OrganizationChange::judge(name, frozen)?;
        let entry =
            self.entry(id, Actor::System, action, id.as_str(), metadata.unwrap_or_default());
        let now = entry.created_at;
        let change = Box::new(move |organization| Ok(change.apply(organization, now)));
        let changed = self.parts.store.change_organization(id, change, entry).await;
        // Whatever was heard of the commit: it may stand.
        self.parts.rights.changed();
        changed?.ok_or(Error::NotFound(Thing::Organization))
    }

    /// Deletes an organization and, in time, everything that it has.
    pub async fn delete_organization(&self, id: &OrganizationId) -> Result<()> {
        let deleted = self.parts.store.delete_organization(id, self.parts.clock.now()).await;
        self.parts.rights.changed();
        if deleted? { Ok(()) } else { Err(Error::NotFound(Thing::Organization)) }
    }

    /// Makes an API key of an organization for the platform. The key is answered once and stored as
    /// a keyed hash.
    pub async fn create_api_key(
        &self,
        organization: &OrganizationId,
        fields: ApiKeyFields,
    ) -> Result<(ApiKey, Secret)> {
        self.make_api_key(organization, Actor::System, fields).await
    }

    /// Makes an API key of the caller's organization.
    pub async fn create_own_api_key(
        &self,
        caller: &Caller,
        fields: ApiKeyFields,
    ) -> Result<(ApiKey, Secret)> {
        self.make_api_key(caller.keyholder()?, Actor::from(caller), fields).await
    }

    async fn make_api_key(
        &self,
        organization: &OrganizationId,
        actor: Actor,
        fields: ApiKeyFields,
    ) -> Result<(ApiKey, Secret)> {
        let id = self.parts.minter.api_key_id();
        let key = fields.create(id, organization.clone(), self.parts.clock.now())?;
        if self.organization(organization).await?.frozen_at.is_some() {
            return Err(Error::Frozen);
        }
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let metadata = described(json!({ "name": key.name, "permissions": scopes }));
        let entry =
            self.entry(organization, actor, Action::ApiKeyCreated, key.id.as_str(), metadata);
        let secret = self.store_api_key(&key, Some(entry)).await?;
        Ok((key, secret))
    }

    /// API keys of the caller's organization, by id.
    pub async fn api_keys(&self, caller: &Caller, page: &PageRequest) -> Result<Page<ApiKey>> {
        self.parts.store.api_keys(caller.keyholder()?, page).await
    }

    /// Changes an API key of the caller's organization.
    pub async fn change_api_key(
        &self,
        caller: &Caller,
        id: &ApiKeyId,
        fields: ApiKeyChangeFields,
    ) -> Result<ApiKey> {
        let organization = caller.keyholder()?;
        let metadata = described(json!({ "updated_fields": fields.names() }));
        let change = fields.judge()?;
        let entry =
            self.entry_of(caller, organization, Action::ApiKeyUpdated, id.as_str(), metadata);
        let now = entry.created_at;
        let change = Box::new(move |key| Ok(change.apply(key, now)));
        let changed = self.parts.store.change_api_key(organization, id, change, entry).await;
        self.parts.rights.changed();
        changed?.ok_or(Error::ApiKeyNotFound { deleting: false })
    }

    /// Deletes an API key of the caller's organization.
    pub async fn delete_api_key(&self, caller: &Caller, id: &ApiKeyId) -> Result<()> {
        let organization = caller.keyholder()?;
        let action = Action::ApiKeyDeleted;
        let entry = self.entry_of(caller, organization, action, id.as_str(), Map::new());
        let deleted = self.parts.store.delete_api_key(organization, id, entry).await;
        self.parts.rights.changed();
        if deleted? { Ok(()) } else { Err(Error::ApiKeyNotFound { deleting: true }) }
    }

    /// The audit log, newest first.
    pub async fn audit_log(
        &self,
        caller: &Caller,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditEntry>> {
        self.parts.store.audit_log(caller.reader()?, filter, page).await
    }

    fn entry_of(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        action: Action,
        target: &str,
        metadata: Map<String, Value>,
    ) -> AuditEntry {
        self.entry(organization, Actor::from(caller), action, target, metadata)
    }

    fn entry(
        &self,
        organization: &OrganizationId,
        actor: Actor,
        action: Action,
        target: &str,
        metadata: Map<String, Value>,
    ) -> AuditEntry {
        let now = self.parts.clock.now();
        AuditEntry {
            id: self.parts.minter.audit(now),
            organization_id: organization.clone(),
            actor,
            action,
            target_id: target.to_owned(),
            metadata,
            created_at: now,
        }
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
        let now = self.parts.clock.now();
        let key = ApiKey {
            id: self.parts.minter.api_key_id(),
            name: judge_name(name.to_owned())?,
            organization_id: None,
            enabled: true,
            scopes: Vec::new(),
            metadata: Map::new(),
            request_count: 0,
            created_at: now,
            updated_at: now,
        };
        self.store_api_key(&key, None).await
    }

    async fn store_api_key(&self, key: &ApiKey, entry: Option<AuditEntry>) -> Result<Secret> {
        let secret = self.parts.minter.api_key();
        let hash = self.parts.vault.hash_api_key(&secret);
        self.parts.store.insert_api_key(key, &hash, self.parts.quotas.api_keys, entry).await?;
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
                Some(organization) => {
                    Ok(Caller::Key { id: key.id, organization, scopes: key.scopes })
                }
            },
            Some(_) | None => Err(Error::Unauthenticated),
        }
    }

    /// Whether an organization that a session names may be worked with.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for an unknown one, [`Error::Frozen`].
    pub async fn admit_session(&self, organization: &OrganizationId) -> Result<()> {
        match self.parts.store.organization(organization).await? {
            None => Err(Error::Unauthenticated),
            Some(found) if found.frozen_at.is_some() => Err(Error::Frozen),
            Some(_) => Ok(()),
        }
    }

    /// Makes an endpoint; its signing secret is answered with it. The same idempotency key and
    /// settings answer with the first endpoint again, as it stands.
    pub async fn create_endpoint(
        &self,
        caller: &Caller,
        fields: EndpointFields,
        idempotency_key: Option<String>,
    ) -> Result<(Endpoint, Secret)> {
        let organization = caller.writer()?;
        let parts = &self.parts;
        let idempotency = idempotency_key
            .map(|key| {
                judge_idempotency_key("Idempotency-Key", &key)?;
                let settings = json!(["endpoint", fields]).to_string();
                Ok(Idempotency { key, fingerprint: parts.vault.fingerprint(&settings) })
            })
            .transpose()?;
        let endpoint = fields.create(
            parts.minter.endpoint(),
            organization.clone(),
            &parts.targets,
            &parts.catalogue,
            parts.clock.now(),
        )?;
        let secret = Secret::new(parts.minter.signing_secret());
        let current = SecretColumn::Current;
        let locked_secret = parts.vault.lock(organization, &endpoint.id, current, &secret).await?;
        let url = endpoint.shown_url();
        let metadata = described(json!({ "url": url, "enabled": endpoint.enabled }));
        let action = Action::EndpointCreated;
        let entry = self.entry_of(caller, organization, action, endpoint.id.as_str(), metadata);
        let fingerprint = idempotency.as_ref().map(|given| given.fingerprint.clone());
        let new =
            Destination { endpoint: endpoint.clone(), locked_secret, locked_previous_secret: None };
        match parts.store.insert_endpoint(new, idempotency, parts.quotas.endpoints, entry).await? {
            Inserted::New => Ok((endpoint, secret)),
            Inserted::Repeated { first, fingerprint: stored }
                if fingerprint.as_ref() == Some(&stored) =>
            {
                let Destination { endpoint, locked_secret, .. } = *first;
                // Shown to its maker once more; of one that has changed since only to who may see it.
                if endpoint.revision > 1 {
                    caller.revealer()?;
                }
                let action = Action::SecretRevealed;
                let target = endpoint.id.as_str();
                let entry = self.entry_of(caller, organization, action, target, Map::new());
                parts.store.record(entry).await?;
                let current = SecretColumn::Current;
                let secret =
                    parts.vault.unlock(organization, &endpoint.id, current, &locked_secret).await?;
                Ok((endpoint, secret))
            }
            Inserted::Repeated { .. } => Err(Error::Conflict(Conflict::IdempotencyKeyReused)),
        }
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

    /// Changes the settings of an endpoint; its actor hears of it at once. With a revision it must
    /// still be as the caller knows it.
    pub async fn change_endpoint(
        &self,
        caller: &Caller,
        id: &EndpointId,
        fields: EndpointFields,
        known: Option<Vec<i64>>,
    ) -> Result<Endpoint> {
        let organization = caller.writer()?;
        let mut metadata = described(json!({ "updated_fields": fields.names() }));
        if let Some(enabled) = fields.enabled {
            metadata.insert("enabled".into(), enabled.into());
        }
        if let Some(hours) = fields.undelivered_payload_retention_hours {
            metadata.insert("undelivered_payload_retention_hours".into(), hours.into());
        }
        let change = fields.change(&self.parts.targets, &self.parts.catalogue)?;
        let action = Action::EndpointUpdated;
        let entry = self.entry_of(caller, organization, action, id.as_str(), metadata);
        let now = entry.created_at;
        let change = Box::new(move |found: Destination| match known {
            Some(known) if !known.contains(&found.endpoint.revision) => {
                Err(Error::PreconditionFailed(Thing::Endpoint))
            }
            Some(_) | None => {
                Ok(Destination { endpoint: change.apply(found.endpoint, now), ..found })
            }
        });
        let changed = self.parts.store.change_endpoint(organization, id, change, entry).await?;
        changed.ok_or(Error::NotFound(Thing::Endpoint))
    }

    /// Deletes an endpoint. Its deliveries stay to be read; what was pending fails, and nothing of
    /// its secret or keys is kept.
    pub async fn delete_endpoint(&self, caller: &Caller, id: &EndpointId) -> Result<()> {
        let organization = caller.writer()?;
        let action = Action::EndpointDeleted;
        let entry = self.entry_of(caller, organization, action, id.as_str(), Map::new());
        if self.parts.store.delete_endpoint(organization, id, entry).await? {
            Ok(())
        } else {
            Err(Error::NotFound(Thing::Endpoint))
        }
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
        let metadata = described(json!({
            "webhook_endpoint_id": key.endpoint_id,
            "key_id": key.key_id,
        }));
        let action = Action::KeyCreated;
        let entry = self.entry_of(caller, organization, action, key.id.as_str(), metadata);
        parts.store.insert_key(organization, &key, parts.quotas.keys, entry).await?;
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

    /// The signing secret of an endpoint; that it was shown is recorded first.
    pub async fn reveal_secret(&self, caller: &Caller, id: &EndpointId) -> Result<Secret> {
        let organization = caller.revealer()?;
        let missing = Error::NotFound(Thing::Endpoint);
        let found = self.parts.store.destination(id).await?.ok_or(missing)?;
        if found.endpoint.organization_id != *organization {
            return Err(Error::NotFound(Thing::Endpoint));
        }
        let (vault, current) = (&self.parts.vault, SecretColumn::Current);
        let secret = vault.unlock(organization, id, current, &found.locked_secret).await?;
        let action = Action::SecretRevealed;
        let entry = self.entry_of(caller, organization, action, id.as_str(), Map::new());
        self.parts.store.record(entry).await?;
        Ok(secret)
    }

    /// Gives an endpoint a new signing secret; every later attempt is signed with it, and for
    /// `grace_period_seconds` with the one before as well.
    pub async fn rotate_secret(
        &self,
        caller: &Caller,
        id: &EndpointId,
        grace_period_seconds: Option<i64>,
    ) -> Result<Secret> {
        let organization = caller.writer()?;
        let grace = GracePeriod::judge(grace_period_seconds)?;
        let secret = Secret::new(self.parts.minter.signing_secret());
        let metadata = described(json!({ "grace_period_seconds": grace.seconds() }));
        let action = Action::SecretRotated;
        let entry = self.entry_of(caller, organization, action, id.as_str(), metadata);
        let mut tries_again = 0..ROTATION_TRIES;
        loop {
            match self.replace_secret(organization, id, &secret, grace, entry.clone()).await {
                Err(Error::Unavailable { source: None, .. }) if tries_again.next().is_some() => {}
                replaced => return replaced.map(|()| secret),
            }
        }
    }

    /// # Errors
    /// [`Error::Unavailable`] without a source when the secret, or the key that it is locked by, was
    /// changed by somebody else meanwhile.
    async fn replace_secret(
        &self,
        organization: &OrganizationId,
        id: &EndpointId,
        secret: &Secret,
        grace: GracePeriod,
        entry: AuditEntry,
    ) -> Result<()> {
        let missing = Error::NotFound(Thing::Endpoint);
        let (vault, store) = (&self.parts.vault, &self.parts.store);
        let found = store.destination(id).await?.ok_or(missing)?;
        if found.endpoint.organization_id != *organization {
            return Err(Error::NotFound(Thing::Endpoint));
        }
        let now = entry.created_at;
        let until = grace.until(now);
        let (before, current) = (found.locked_secret, SecretColumn::Current);
        let locked_secret = vault.lock(organization, id, current, secret).await?;
        // Without a grace period it is not opened: a rotation mends what cannot be.
        let locked_previous_secret = match until {
            None => None,
            Some(_) => {
                let previous = vault.unlock(organization, id, current, &before).await?;
                Some(vault.lock(organization, id, SecretColumn::Previous, &previous).await?)
            }
        };
        let change = Box::new(move |found: Destination| {
            if until.is_some() && found.locked_secret != before {
                return Err(Error::full(
                    "the signing secret, which others change at the same time",
                ));
            }
            let endpoint = found.endpoint.rotated(until, now);
            Ok(Destination { endpoint, locked_secret, locked_previous_secret })
        });
        let changed = store.change_endpoint(organization, id, change, entry).await?;
        changed.map(drop).ok_or(Error::NotFound(Thing::Endpoint))
    }

    /// Makes a key the endpoint's only active one, or inactive. What is sealed stays as it is.
    pub async fn set_key_active(
        &self,
        caller: &Caller,
        id: &KeyId,
        active: bool,
    ) -> Result<EncryptionKey> {
        let organization = caller.writer()?;
        let action = if active { Action::KeyReactivated } else { Action::KeyDeactivated };
        let entry = self.entry_of(caller, organization, action, id.as_str(), Map::new());
        let key = self.parts.store.set_key_active(organization, id, active, entry).await?;
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
        let organization = caller.writer()?;
        let (action, target) = match what {
            Requeue::Delivery(id) => (Action::DeliveryRetried, id.as_str()),
            Requeue::Event(id) => (Action::EventReplayed, id.as_str()),
        };
        let entry = self.entry_of(caller, organization, action, target, Map::new());
        self.parts.store.requeue(organization, what, &self.parts.schedule, entry).await
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
        let mut found = self.attempts_of(caller, std::slice::from_ref(id)).await?;
        found.remove(id).ok_or(Error::NotFound(Thing::Delivery))
    }

    /// Watches the changes of the caller's organization: what comes after the cursor `after`, or from
    /// now on.
    pub fn watch(&self, caller: &Caller, wanted: Wanted, after: Option<String>) -> Result<Watch> {
        let organization = caller.reader()?.clone();
        let place = |cursor: String| Position::parse(&cursor).ok_or(Error::UnknownCursor);
        let after = after.map(place).transpose()?;
        let AdminParts { feed, store, .. } = &self.parts;
        Ok(Watch::new(feed.clone(), store.clone(), organization, wanted, after))
    }

    /// How deliveries of the caller's organization went in a span of time, for each scope.
    pub async fn statistics(
        &self,
        caller: &Caller,
        scopes: &[Scope],
        span: Span,
    ) -> Result<HashMap<Scope, Statistics>> {
        let Span { from, to } = span;
        self.parts.store.statistics(caller.reader()?, scopes, from, to).await
    }

    /// The span that statistics are asked for: an hour up to now, where nothing else is said.
    pub fn span(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Span> {
        let to = to.unwrap_or_else(|| self.parts.clock.now());
        let from = from.unwrap_or_else(|| to.minus(HOUR));
        if from > to || to.since(from) > STATISTICS_SPAN {
            return Err(Error::invalid("from", "an instant up to 7 days before to"));
        }
        Ok(Span { from, to })
    }

    /// The latest deliveries of several endpoints, newest first; unknown ones have none.
    pub async fn latest_deliveries(
        &self,
        caller: &Caller,
        endpoints: &[EndpointId],
        status: Option<Status>,
        most: usize,
    ) -> Result<HashMap<EndpointId, Vec<Delivery>>> {
        self.parts.store.latest_deliveries(caller.reader()?, endpoints, status, most).await
    }

    /// The processes that serve, and what each of them has; for the platform.
    pub async fn cluster(&self, caller: &Caller) -> Result<Roll> {
        caller.platform()?;
        self.every_node().await
    }

    /// The processes that serve, and what each of them has; for whoever has the database.
    pub async fn every_node(&self) -> Result<Roll> {
        self.parts.cluster.roll().await
    }

    /// The organization that the caller works in.
    pub async fn own_organization(&self, caller: &Caller) -> Result<Organization> {
        self.organization(caller.reader()?).await
    }

    /// All attempts of several deliveries; unknown ones have none.
    pub async fn attempts_of(
        &self,
        caller: &Caller,
        ids: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, Vec<Attempt>>> {
        self.parts.store.attempts(caller.reader()?, ids).await
    }

    /// Several events with their deliveries; unknown ones are left out.
    pub async fn events_by_id(
        &self,
        caller: &Caller,
        ids: &[EventId],
    ) -> Result<Vec<EventWithDeliveries>> {
        self.parts.store.events_by_id(caller.reader()?, ids).await
    }

    /// Several endpoints; unknown ones are left out.
    pub async fn endpoints_by_id(
        &self,
        caller: &Caller,
        ids: &[EndpointId],
    ) -> Result<Vec<Endpoint>> {
        self.parts.store.endpoints_by_id(caller.reader()?, ids).await
    }

    /// All keys of several endpoints, by id.
    pub async fn keys_of(
        &self,
        caller: &Caller,
        endpoints: &[EndpointId],
    ) -> Result<Vec<EncryptionKey>> {
        self.parts.store.keys_of(caller.reader()?, endpoints).await
    }

    /// Deliveries, newest first.
    pub async fn deliveries(
        &self,
        caller: &Caller,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Page<Delivery>> {
        let organization = caller.reader()?;
        if let Some(name) = &filter.event_type {
            if self.parts.catalogue.get(name).is_none() {
                return Err(Error::invalid("event_type", self.parts.catalogue.one_of()));
            }
            if filter.status.is_some() || filter.endpoint_id.is_some() {
                let expected = "no status or endpoint_id beside it";
                return Err(Error::invalid("event_type", expected));
            }
        }
        self.parts.store.deliveries(organization, filter, page).await
    }
}

fn described(metadata: Value) -> Map<String, Value> {
    match metadata {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
