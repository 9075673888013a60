//! Use cases that REST and GraphQL share: everything but publishing.

mod api_keys;
mod encryption_keys;
mod endpoints;
mod history;
mod organizations;
mod watching;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::access::Caller;
use crate::audit::{Action, Actor, AuditEntry};
use crate::cluster::Cluster;
use crate::event::Catalogue;
use crate::id::{Minter, OrganizationId};
use crate::limits::{API_KEYS, ENDPOINTS, KEYS};
use crate::ports::{Clock, Feed, Rights, Sealer, Store, Vault};
use crate::retry::RetrySchedule;
use crate::target::TargetRules;

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

impl Admin {
    /// An administration over its ports.
    pub fn new(parts: AdminParts) -> Self {
        Self { parts }
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
}

/// What an entry of the audit log tells of a change.
fn described(metadata: Value) -> Map<String, Value> {
    match metadata {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
