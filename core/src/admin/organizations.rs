//! Organizations, as the platform keeps them.

use serde_json::json;

use crate::access::{Caller, Organization, OrganizationChange};
use crate::audit::{Action, Actor};
use crate::endpoint::judge_name;
use crate::error::{Error, Result, Thing};
use crate::id::OrganizationId;
use crate::page::{Page, PageRequest};

use super::{Admin, described};

impl Admin {
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

    /// The organization that the caller works in.
    pub async fn own_organization(&self, caller: &Caller) -> Result<Organization> {
        self.organization(caller.reader()?).await
    }
}
