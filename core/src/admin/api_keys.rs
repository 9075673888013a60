//! API keys, and whom they let in.

use serde_json::{Map, json};

use crate::access::{ApiKey, ApiKeyChangeFields, ApiKeyFields, Caller};
use crate::audit::{Action, Actor, AuditEntry};
use crate::endpoint::judge_name;
use crate::error::{Error, Result};
use crate::id::{ApiKeyId, OrganizationId};
use crate::page::{Page, PageRequest};
use crate::ports::Secret;

use super::{Admin, described};

impl Admin {
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
}
