//! Organizations, their API keys, and what was done in them.

use async_graphql::{Context, ID, Json, Object, Result};
use hookseal_core::statistics::Scope;
use hookseal_core::{access, audit, privacy};
use serde_json::Value;

use crate::instant::DateTime;
use crate::statistics::{Statistics, statistics};

use super::terms::PrivacyRequestState;

/// A tenant.
pub(crate) struct Organization(pub(crate) access::Organization);

#[Object]
impl Organization {
    /// Its id.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// A name for people.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// How its deliveries went.
    async fn statistics(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "From here; an hour before `to` when left out.")] from: Option<DateTime>,
        #[graphql(desc = "Up to here, at most 7 days; now when left out.")] to: Option<DateTime>,
    ) -> Result<Statistics> {
        statistics(context, &self.0.id, Scope::Organization, from, to).await
    }

    /// When it was frozen.
    async fn frozen_at(&self) -> Option<DateTime> {
        self.0.frozen_at.map(Into::into)
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        self.0.updated_at.into()
    }
}

/// The record of an API key; the key itself is shown once.
pub(crate) struct ApiKey(pub(crate) access::ApiKey);

#[Object]
impl ApiKey {
    /// Its id.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// A name for people.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it is accepted.
    async fn enabled(&self) -> bool {
        self.0.enabled
    }

    /// Its scopes.
    async fn permissions(&self) -> Vec<&str> {
        self.0.scopes.iter().map(|scope| scope.as_str()).collect()
    }

    /// Whatever its owner remembers with it.
    async fn metadata(&self) -> Json<Value> {
        Json(Value::Object(self.0.metadata.clone()))
    }

    /// Requests that it made, but for the latest.
    async fn request_count(&self) -> u64 {
        self.0.request_count
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        self.0.updated_at.into()
    }
}

/// An entry of the audit log.
pub(crate) struct AuditLogEntry(pub(crate) audit::AuditEntry);

#[Object]
impl AuditLogEntry {
    /// Its id.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// The kind of actor: user, api_key or system.
    async fn actor_type(&self) -> &str {
        self.0.actor.parts().0
    }

    /// Who, where it was not the system.
    async fn actor_id(&self) -> Option<&str> {
        self.0.actor.parts().1
    }

    /// What was done.
    async fn action(&self) -> &str {
        self.0.action.as_str()
    }

    /// The kind of thing it was done to.
    async fn target_type(&self) -> &str {
        self.0.action.target_type()
    }

    /// The id of what it was done to.
    async fn target_id(&self) -> &str {
        &self.0.target_id
    }

    /// What else is worth knowing.
    async fn metadata(&self) -> Json<Value> {
        Json(Value::Object(self.0.metadata.clone()))
    }

    /// When.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
}

/// The withdrawal of a session.
pub(crate) struct PrivacyRequest(pub(crate) privacy::PrivacyRequest);

#[Object]
impl PrivacyRequest {
    /// Its id.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// How far it is.
    async fn state(&self) -> PrivacyRequestState {
        self.0.state.into()
    }

    /// Deliveries that failed by it.
    async fn scrubbed(&self) -> u64 {
        self.0.scrubbed
    }

    /// Deliveries whose attempts are in flight.
    async fn in_flight(&self) -> u64 {
        self.0.in_flight
    }

    /// Deliveries that a receiver has, or may have.
    async fn delivered(&self) -> u64 {
        self.0.delivered
    }

    /// The event that replaces what never arrived.
    async fn replacement_event_id(&self) -> Option<ID> {
        self.0.replacement_event_id.as_ref().map(|id| ID(id.to_string()))
    }
}
