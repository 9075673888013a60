//! What mutations take. `core` judges it; a list longer than any rule allows is refused before.

use async_graphql::{ID, InputObject, Json, MaybeUndefined};
use hookseal_core::access::{ApiKeyChangeFields, ApiKeyFields};
use hookseal_core::endpoint::EndpointFields;
use hookseal_core::error::{Error, Result};
use hookseal_core::event::PublishFields;
use hookseal_core::key::KeyFields;
use hookseal_core::privacy::WithdrawalFields;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A new endpoint.
#[derive(InputObject)]
pub(crate) struct NewEndpointInput {
    /// Where to send.
    url: String,
    /// A name for people.
    name: Option<String>,
    /// Labels for people, at most 8.
    #[graphql(validator(max_items = 100))]
    labels: Option<Vec<String>>,
    /// Whether it is enabled; true when left out.
    enabled: Option<bool>,
    /// Types it wants; the second generation when left out.
    #[graphql(validator(max_items = 100))]
    subscribed_event_types: Option<Vec<String>>,
    /// Hours that an undelivered payload is kept: 0, 24, 72 or 168.
    undelivered_payload_retention_hours: Option<i64>,
    /// Attempts in flight at once.
    max_in_flight: Option<i64>,
    /// Attempts started per second.
    rate_limit_per_second: Option<i64>,
}

impl From<NewEndpointInput> for EndpointFields {
    fn from(input: NewEndpointInput) -> Self {
        Self {
            url: Some(input.url),
            name: input.name.map(Some),
            labels: input.labels,
            enabled: input.enabled,
            subscribed_event_types: input.subscribed_event_types,
            undelivered_payload_retention_hours: input.undelivered_payload_retention_hours,
            max_in_flight: input.max_in_flight.map(Some),
            rate_limit_per_second: input.rate_limit_per_second.map(Some),
        }
    }
}

/// Settings to be changed; at least one must be given.
#[derive(InputObject)]
pub(crate) struct EndpointChangeInput {
    /// Where to send.
    url: Option<String>,
    /// A name for people; null clears it.
    name: MaybeUndefined<String>,
    /// Labels for people, at most 8.
    #[graphql(validator(max_items = 100))]
    labels: Option<Vec<String>>,
    /// Whether it is enabled.
    enabled: Option<bool>,
    /// Types it wants.
    #[graphql(validator(max_items = 100))]
    subscribed_event_types: Option<Vec<String>>,
    /// Hours that an undelivered payload is kept: 0, 24, 72 or 168.
    undelivered_payload_retention_hours: Option<i64>,
    /// Attempts in flight at once; null returns to the default.
    max_in_flight: MaybeUndefined<i64>,
    /// Attempts started per second; null lifts the limit.
    rate_limit_per_second: MaybeUndefined<i64>,
}

impl From<EndpointChangeInput> for EndpointFields {
    fn from(input: EndpointChangeInput) -> Self {
        Self {
            url: input.url,
            name: nullable(input.name),
            labels: input.labels,
            enabled: input.enabled,
            subscribed_event_types: input.subscribed_event_types,
            undelivered_payload_retention_hours: input.undelivered_payload_retention_hours,
            max_in_flight: nullable(input.max_in_flight),
            rate_limit_per_second: nullable(input.rate_limit_per_second),
        }
    }
}

/// A new encryption key.
#[derive(InputObject)]
pub(crate) struct NewEncryptionKeyInput {
    /// A name of the owner's; the `kid` of what is sealed to it.
    key_id: String,
    /// Always RSA-OAEP-256.
    algorithm: String,
    /// Always RSA.
    key_type: String,
    /// The public key, 2048 to 4096 bits, without private members.
    jwk: Json<Map<String, Value>>,
}

impl From<NewEncryptionKeyInput> for KeyFields {
    fn from(input: NewEncryptionKeyInput) -> Self {
        let NewEncryptionKeyInput { key_id, algorithm, key_type, jwk } = input;
        Self { key_id, algorithm, key_type, jwk: jwk.0 }
    }
}

/// A new API key.
#[derive(InputObject)]
pub(crate) struct NewApiKeyInput {
    /// A name for people.
    name: String,
    /// Scopes, at least one.
    #[graphql(validator(max_items = 100))]
    permissions: Vec<String>,
    /// Whatever its owner wants to remember with it.
    metadata: Option<Json<Map<String, Value>>>,
}

impl From<NewApiKeyInput> for ApiKeyFields {
    fn from(input: NewApiKeyInput) -> Self {
        let metadata = input.metadata.map(|metadata| metadata.0).unwrap_or_default();
        Self { name: input.name, permissions: input.permissions, metadata }
    }
}

/// What is to be changed of an API key; at least one must be given.
#[derive(InputObject)]
pub(crate) struct ApiKeyChangeInput {
    /// A name for people.
    name: Option<String>,
    /// Whether it is accepted.
    enabled: Option<bool>,
    /// Scopes, at least one.
    #[graphql(validator(max_items = 100))]
    permissions: Option<Vec<String>>,
    /// Replaces all that its owner remembers with it.
    metadata: Option<Json<Map<String, Value>>>,
}

impl From<ApiKeyChangeInput> for ApiKeyChangeFields {
    fn from(input: ApiKeyChangeInput) -> Self {
        let ApiKeyChangeInput { name, enabled, permissions, metadata } = input;
        Self { name, enabled, permissions, metadata: metadata.map(|metadata| metadata.0) }
    }
}

/// An event to be delivered.
#[derive(InputObject)]
pub(crate) struct NewEventInput {
    /// The tenant.
    organization_id: ID,
    /// A type of the catalogue.
    #[graphql(name = "type")]
    event_type: String,
    /// What triggered it.
    trigger_type: String,
    /// The id of the trigger.
    trigger_id: String,
    /// An object, sealed for each receiver and never stored. Numbers beyond 64 bits lose digits
    /// here; REST keeps them as they are written.
    data: Json<Value>,
    /// The session, where the trigger is not the session itself.
    verification_session_id: Option<String>,
    /// Version of the data's shape; 1 when left out.
    contract_version: Option<u32>,
    /// Only these endpoints.
    #[graphql(validator(max_items = 100))]
    webhook_endpoint_ids: Option<Vec<ID>>,
    /// The same key and event answer with the same event.
    idempotency_key: Option<String>,
}

impl TryFrom<NewEventInput> for PublishFields {
    type Error = Error;

    fn try_from(input: NewEventInput) -> Result<Self> {
        let data = RawValue::from_string(input.data.0.to_string());
        Ok(Self {
            organization_id: input.organization_id.0,
            event_type: input.event_type,
            trigger_type: input.trigger_type,
            trigger_id: input.trigger_id,
            data: data.map_err(|_| Error::invalid("data", "a JSON object"))?,
            verification_session_id: input.verification_session_id,
            contract_version: input.contract_version,
            webhook_endpoint_ids: input.webhook_endpoint_ids.map(texts),
            idempotency_key: input.idempotency_key,
        })
    }
}

/// The withdrawal of a session.
#[derive(InputObject)]
pub(crate) struct NewPrivacyRequestInput {
    /// The tenant.
    organization_id: ID,
    /// The session.
    verification_session_id: String,
    /// How it stands: succeeded, failed or active.
    outcome: String,
    /// Failures of the NFC check so far.
    #[graphql(default)]
    nfc_tries_used: i64,
    /// Failures of the liveness check so far.
    #[graphql(default)]
    liveness_tries_used: i64,
    /// The session's endpoints, where no terminal event has named them.
    #[graphql(validator(max_items = 100))]
    webhook_endpoint_ids: Option<Vec<ID>>,
}

impl From<NewPrivacyRequestInput> for WithdrawalFields {
    fn from(input: NewPrivacyRequestInput) -> Self {
        Self {
            organization_id: input.organization_id.0,
            verification_session_id: input.verification_session_id,
            outcome: input.outcome,
            nfc_tries_used: input.nfc_tries_used,
            liveness_tries_used: input.liveness_tries_used,
            webhook_endpoint_ids: input.webhook_endpoint_ids.map(texts),
        }
    }
}

fn texts(ids: Vec<ID>) -> Vec<String> {
    ids.into_iter().map(|id| id.0).collect()
}

fn nullable<T>(given: MaybeUndefined<T>) -> Option<Option<T>> {
    match given {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}
