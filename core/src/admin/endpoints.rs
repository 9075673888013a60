//! Endpoints and their signing secrets.

use serde_json::{Map, json};

use crate::access::Caller;
use crate::audit::{Action, AuditEntry};
use crate::endpoint::{Endpoint, EndpointFields};
use crate::error::{Conflict, Error, Result, Thing};
use crate::event::judge_idempotency_key;
use crate::id::{EndpointId, OrganizationId};
use crate::page::{Page, PageRequest};
use crate::ports::{Destination, EndpointFilter, Idempotency, Inserted, Secret, SecretColumn};
use crate::rotation::GracePeriod;

use super::{Admin, described};

/// How often a rotation tries again where keys or secrets change beside it.
const ROTATION_TRIES: usize = 3;

impl Admin {
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

    /// Several endpoints; unknown ones are left out.
    pub async fn endpoints_by_id(
        &self,
        caller: &Caller,
        ids: &[EndpointId],
    ) -> Result<Vec<Endpoint>> {
        self.parts.store.endpoints_by_id(caller.reader()?, ids).await
    }
}
