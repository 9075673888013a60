//! The keys that payloads are sealed to.

use serde_json::{Map, json};

use crate::access::Caller;
use crate::audit::Action;
use crate::error::{Error, Result, Thing};
use crate::id::{EndpointId, KeyId};
use crate::key::{EncryptionKey, KeyFields};
use crate::page::{Page, PageRequest};

use super::{Admin, described};

impl Admin {
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

    /// All keys of several endpoints, by id.
    pub async fn keys_of(
        &self,
        caller: &Caller,
        endpoints: &[EndpointId],
    ) -> Result<Vec<EncryptionKey>> {
        self.parts.store.keys_of(caller.reader()?, endpoints).await
    }
}
