//! What callers see: members in wire order (contract 1.3 to 1.8).

use hookseal_core::access::{ApiKey, Organization};
use hookseal_core::audit::AuditEntry;
use hookseal_core::delivery::{Attempt, Delivery, FailureReason, Status};
use hookseal_core::endpoint::Endpoint;
use hookseal_core::event::EventWithDeliveries;
use hookseal_core::key::{ALGORITHM, EncryptionKey, KEY_TYPE};
use hookseal_core::outcome::ErrorKind;
use hookseal_core::privacy::{PrivacyRequest, WithdrawalState};
use hookseal_core::retention::RetentionReason;
use hookseal_core::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::schema;

/// An organization.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Organization")]
pub(super) struct OrganizationView<'a> {
    id: &'a str,
    name: &'a str,
    #[schemars(with = "Option<schema::DateTime>")]
    frozen_at: Option<Timestamp>,
    #[schemars(with = "schema::DateTime")]
    created_at: Timestamp,
    #[schemars(with = "schema::DateTime")]
    updated_at: Timestamp,
}

pub(super) fn organization(organization: &Organization) -> OrganizationView<'_> {
    OrganizationView {
        id: organization.id.as_str(),
        name: &organization.name,
        frozen_at: organization.frozen_at,
        created_at: organization.created_at,
        updated_at: organization.updated_at,
    }
}

/// An API key; in camel case, as the contract has it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ApiKey")]
pub(super) struct ApiKeyView<'a> {
    id: &'a str,
    name: &'a str,
    enabled: bool,
    #[schemars(with = "schema::Scopes")]
    permissions: Vec<&'static str>,
    #[schemars(with = "schema::Metadata")]
    metadata: &'a Map<String, Value>,
    #[schemars(with = "schema::DateTime")]
    created_at: Timestamp,
    #[schemars(with = "schema::DateTime")]
    updated_at: Timestamp,
    request_count: u64,
}

pub(super) fn api_key(key: &ApiKey) -> ApiKeyView<'_> {
    ApiKeyView {
        id: key.id.as_str(),
        name: &key.name,
        enabled: key.enabled,
        permissions: key.scopes.iter().map(|scope| scope.as_str()).collect(),
        metadata: &key.metadata,
        created_at: key.created_at,
        updated_at: key.updated_at,
        request_count: key.request_count,
    }
}

/// An entry of the audit log.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditLogEntry")]
pub(super) struct AuditView<'a> {
    id: &'a str,
    organization_id: &'a str,
    #[schemars(with = "schema::ActorWord")]
    actor_type: &'static str,
    actor_id: Option<&'a str>,
    #[schemars(with = "schema::ActionWord")]
    action: &'static str,
    target_type: &'static str,
    target_id: &'a str,
    #[schemars(with = "schema::Details")]
    metadata: &'a Map<String, Value>,
    #[schemars(with = "schema::DateTime")]
    created_at: Timestamp,
}

pub(super) fn audit_entry(entry: &AuditEntry) -> AuditView<'_> {
    let (actor_type, actor_id) = entry.actor.parts();
    AuditView {
        id: entry.id.as_str(),
        organization_id: entry.organization_id.as_str(),
        actor_type,
        actor_id,
        action: entry.action.as_str(),
        target_type: entry.action.target_type(),
        target_id: &entry.target_id,
        metadata: &entry.metadata,
        created_at: entry.created_at,
    }
}

/// The withdrawal of a session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PrivacyRequest")]
pub(super) struct PrivacyRequestView<'a> {
    id: &'a str,
    #[schemars(with = "schema::StateWord")]
    state: WithdrawalState,
    scrubbed: u64,
    in_flight: u64,
    delivered: u64,
    replacement_event_id: Option<&'a str>,
}

pub(super) fn privacy_request(request: &PrivacyRequest) -> PrivacyRequestView<'_> {
    PrivacyRequestView {
        id: request.id.as_str(),
        state: request.state,
        scrubbed: request.scrubbed,
        in_flight: request.in_flight,
        delivered: request.delivered,
        replacement_event_id: request.replacement_event_id.as_ref().map(|id| id.as_str()),
    }
}

/// That something was done, and nothing is left to be shown.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Done")]
pub(super) struct DoneView {
    message: &'static str,
    #[schemars(with = "schema::Success")]
    status: &'static str,
}

pub(super) fn done(message: &'static str) -> DoneView {
    DoneView { message, status: "success" }
}

/// A webhook endpoint.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookEndpoint")]
pub(super) struct EndpointView<'a> {
    id: &'a str,
    organization_id: &'a str,
    name: Option<&'a str>,
    labels: &'a [String],
    url: &'a str,
    enabled: bool,
    #[schemars(with = "Vec<String>")]
    subscribed_event_types: &'a [std::sync::Arc<str>],
    #[schemars(with = "schema::Retention")]
    undelivered_payload_retention_hours: u16,
    max_in_flight: Option<u32>,
    rate_limit_per_second: Option<u32>,
    #[schemars(with = "Option<schema::DateTime>")]
    previous_secret_until: Option<Timestamp>,
    #[schemars(with = "schema::DateTime")]
    created_at: Timestamp,
    #[schemars(with = "schema::DateTime")]
    updated_at: Timestamp,
    #[schemars(with = "Option<schema::DateTime>")]
    disabled_at: Option<Timestamp>,
}

pub(super) fn endpoint(endpoint: &Endpoint) -> EndpointView<'_> {
    EndpointView {
        id: endpoint.id.as_str(),
        organization_id: endpoint.organization_id.as_str(),
        name: endpoint.name.as_deref(),
        labels: &endpoint.labels,
        url: &endpoint.url,
        enabled: endpoint.enabled,
        subscribed_event_types: &endpoint.subscribed_event_types,
        undelivered_payload_retention_hours: endpoint.retention.hours(),
        max_in_flight: endpoint.max_in_flight,
        rate_limit_per_second: endpoint.rate_limit_per_second,
        previous_secret_until: endpoint.previous_secret_until,
        created_at: endpoint.created_at,
        updated_at: endpoint.updated_at,
        disabled_at: endpoint.disabled_at,
    }
}

/// A webhook encryption key.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookEncryptionKey")]
pub(super) struct KeyView<'a> {
    id: &'a str,
    webhook_endpoint_id: &'a str,
    key_id: &'a str,
    algorithm: &'static str,
    key_type: &'static str,
    #[schemars(with = "schema::StoredJwk")]
    jwk: Value,
    is_active: bool,
    #[schemars(with = "schema::DateTime")]
    created_at: Timestamp,
    #[schemars(with = "schema::DateTime")]
    updated_at: Timestamp,
    #[schemars(with = "Option<schema::DateTime>")]
    disabled_at: Option<Timestamp>,
}

pub(super) fn key(key: &EncryptionKey) -> KeyView<'_> {
    KeyView {
        id: key.id.as_str(),
        webhook_endpoint_id: key.endpoint_id.as_str(),
        key_id: &key.key_id,
        algorithm: ALGORITHM,
        key_type: KEY_TYPE,
        jwk: key.jwk.to_json(),
        is_active: key.is_active,
        created_at: key.created_at,
        updated_at: key.updated_at,
        disabled_at: key.disabled_at,
    }
}

/// A delivery of one event to one endpoint.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookDelivery")]
pub(super) struct DeliveryView<'a> {
    attempt_count: u32,
    #[schemars(with = "schema::DateTime")]
    created_at: Timestamp,
    event_id: &'a str,
    #[schemars(with = "Option<schema::FailureWord>")]
    failure_reason: Option<FailureReason>,
    id: &'a str,
    #[schemars(with = "Option<schema::DateTime>")]
    last_attempt_at: Option<Timestamp>,
    last_status_code: Option<u16>,
    #[schemars(with = "Option<schema::DateTime>")]
    next_attempt_at: Option<Timestamp>,
    #[schemars(with = "Option<schema::DateTime>")]
    payload_expires_at: Option<Timestamp>,
    #[schemars(with = "schema::RetentionWord")]
    payload_retention_reason: RetentionReason,
    #[schemars(with = "Option<schema::DateTime>")]
    payload_scrubbed_at: Option<Timestamp>,
    #[schemars(with = "schema::StatusWord")]
    status: Status,
    #[schemars(with = "schema::DateTime")]
    updated_at: Timestamp,
    webhook_encryption_key_id: Option<&'a str>,
    webhook_endpoint_id: &'a str,
}

pub(super) fn delivery(delivery: &Delivery) -> DeliveryView<'_> {
    let progress = &delivery.progress;
    DeliveryView {
        attempt_count: progress.attempt_count,
        created_at: delivery.created_at,
        event_id: delivery.event_id.as_str(),
        failure_reason: progress.failure_reason.filter(|_| progress.status == Status::Failed),
        id: delivery.id.as_str(),
        last_attempt_at: progress.last_attempt.map(|attempt| attempt.at),
        last_status_code: progress.last_attempt.and_then(|attempt| attempt.status_code),
        next_attempt_at: progress.next_attempt_at,
        payload_expires_at: progress.payload_expires_at,
        payload_retention_reason: progress.retention_reason,
        payload_scrubbed_at: progress.payload_scrubbed_at,
        status: progress.status,
        updated_at: progress.updated_at,
        webhook_encryption_key_id: delivery.key_id.as_ref().map(|id| id.as_str()),
        webhook_endpoint_id: delivery.endpoint_id.as_str(),
    }
}

/// One attempt: its code or the kind of fault, how long it took, and when it was.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookDeliveryAttempt")]
pub(super) struct AttemptView {
    #[schemars(with = "schema::DateTime")]
    attempted_at: Timestamp,
    #[schemars(with = "u64")]
    duration_ms: u128,
    status_code: Option<u16>,
    #[schemars(with = "Option<schema::FaultWord>")]
    error_kind: Option<ErrorKind>,
}

pub(super) fn attempt(attempt: &Attempt) -> AttemptView {
    AttemptView {
        attempted_at: attempt.at,
        duration_ms: attempt.duration.as_millis(),
        status_code: attempt.status_code,
        error_kind: attempt.error,
    }
}

/// An event with its deliveries.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookEvent")]
pub(super) struct EventView<'a> {
    #[schemars(with = "schema::DateTime")]
    created_at: Timestamp,
    deliveries: Vec<DeliverySummary<'a>>,
    id: &'a str,
    trigger_id: &'a str,
    #[schemars(with = "schema::TriggerWord")]
    trigger_type: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
}

/// A delivery as its event shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookEventDelivery")]
struct DeliverySummary<'a> {
    attempt_count: u32,
    id: &'a str,
    #[schemars(with = "Option<schema::DateTime>")]
    last_attempt_at: Option<Timestamp>,
    last_status_code: Option<u16>,
    #[schemars(with = "Option<schema::DateTime>")]
    payload_expires_at: Option<Timestamp>,
    #[schemars(with = "schema::RetentionWord")]
    payload_retention_reason: RetentionReason,
    #[schemars(with = "Option<schema::DateTime>")]
    payload_scrubbed_at: Option<Timestamp>,
    #[schemars(with = "schema::StatusWord")]
    status: Status,
    webhook_endpoint_id: &'a str,
}

fn summary(delivery: &Delivery) -> DeliverySummary<'_> {
    let whole = self::delivery(delivery);
    DeliverySummary {
        attempt_count: whole.attempt_count,
        id: whole.id,
        last_attempt_at: whole.last_attempt_at,
        last_status_code: whole.last_status_code,
        payload_expires_at: whole.payload_expires_at,
        payload_retention_reason: whole.payload_retention_reason,
        payload_scrubbed_at: whole.payload_scrubbed_at,
        status: whole.status,
        webhook_endpoint_id: whole.webhook_endpoint_id,
    }
}

pub(super) fn event(found: &EventWithDeliveries) -> EventView<'_> {
    let EventWithDeliveries { event, deliveries } = found;
    EventView {
        created_at: event.created_at,
        deliveries: deliveries.iter().map(summary).collect(),
        id: event.id.as_str(),
        trigger_id: &event.trigger_id,
        trigger_type: &event.trigger_type,
        event_type: &event.event_type,
    }
}

/// An event as lists show it: the same members in another order (contract 1.7).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ListedWebhookEvent")]
pub(super) struct ListedEventView<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    #[schemars(with = "schema::TriggerWord")]
    trigger_type: &'a str,
    trigger_id: &'a str,
    #[schemars(with = "schema::DateTime")]
    created_at: Timestamp,
    deliveries: Vec<ListedSummary<'a>>,
}

/// A delivery as its event shows it in lists.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ListedWebhookEventDelivery")]
struct ListedSummary<'a> {
    id: &'a str,
    webhook_endpoint_id: &'a str,
    #[schemars(with = "schema::StatusWord")]
    status: Status,
    last_status_code: Option<u16>,
    attempt_count: u32,
    #[schemars(with = "Option<schema::DateTime>")]
    last_attempt_at: Option<Timestamp>,
    #[schemars(with = "Option<schema::DateTime>")]
    payload_expires_at: Option<Timestamp>,
    #[schemars(with = "schema::RetentionWord")]
    payload_retention_reason: RetentionReason,
    #[schemars(with = "Option<schema::DateTime>")]
    payload_scrubbed_at: Option<Timestamp>,
}

pub(super) fn listed_event(found: &EventWithDeliveries) -> ListedEventView<'_> {
    let view = event(found);
    ListedEventView {
        id: view.id,
        event_type: view.event_type,
        trigger_type: view.trigger_type,
        trigger_id: view.trigger_id,
        created_at: view.created_at,
        deliveries: view.deliveries.into_iter().map(listed_summary).collect(),
    }
}

fn listed_summary(summary: DeliverySummary<'_>) -> ListedSummary<'_> {
    ListedSummary {
        id: summary.id,
        webhook_endpoint_id: summary.webhook_endpoint_id,
        status: summary.status,
        last_status_code: summary.last_status_code,
        attempt_count: summary.attempt_count,
        last_attempt_at: summary.last_attempt_at,
        payload_expires_at: summary.payload_expires_at,
        payload_retention_reason: summary.payload_retention_reason,
        payload_scrubbed_at: summary.payload_scrubbed_at,
    }
}
