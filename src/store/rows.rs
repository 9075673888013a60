//! Rows to domain values and back.

use std::sync::Arc;
use std::time::Duration;

use hookseal_core::access::{ApiKey, Organization, Scope};
use hookseal_core::audit::{Action, Actor, AuditEntry};
use hookseal_core::delivery::{
    Attempt, Claim, ClaimToken, Delivery, FailureReason, Progress, Status,
};
use hookseal_core::endpoint::Endpoint;
use hookseal_core::error::{Error, Result};
use hookseal_core::event::Event;
use hookseal_core::id::{
    ApiKeyId, AttemptId, AuditId, DeliveryId, EndpointId, EventId, KeyId, OrganizationId,
};
use hookseal_core::key::{EncryptionKey, PublicJwk};
use hookseal_core::outcome::ErrorKind;
use hookseal_core::ports::{Destination, Idempotency};
use hookseal_core::retention::{RetentionHours, RetentionReason};
use hookseal_core::time::Timestamp;
use hookseal_entity::{
    api_key, audit_log, delivery, delivery_attempt, encryption_key, endpoint, event, organization,
};

fn broken(what: &'static str) -> Error {
    Error::Broken { what, source: None }
}

fn instant(ms: Option<i64>) -> Option<Timestamp> {
    ms.map(Timestamp::from_ms)
}

fn ms(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_ms)
}

/// A duration as a row holds it.
pub(super) fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("lists and maps of JSON always serialize")
}

pub(super) fn organization(row: organization::Model) -> Organization {
    Organization {
        id: OrganizationId::from_row(row.id),
        name: row.name,
        frozen_at: instant(row.frozen_at_ms),
        created_at: Timestamp::from_ms(row.created_at_ms),
        updated_at: Timestamp::from_ms(row.updated_at_ms),
    }
}

pub(super) fn api_key(row: api_key::Model) -> Result<ApiKey> {
    let words: Vec<String> =
        serde_json::from_str(&row.scopes).map_err(|_| broken("a stored API key"))?;
    Ok(ApiKey {
        id: ApiKeyId::from_row(row.id),
        name: row.name,
        organization_id: row.organization_id.map(OrganizationId::from_row),
        enabled: row.enabled,
        // Names that are not known scopes give no right (contract 7.1).
        scopes: words.iter().filter_map(|word| Scope::parse(word)).collect(),
        metadata: serde_json::from_str(&row.metadata).map_err(|_| broken("a stored API key"))?,
        request_count: row.request_count.unsigned_abs(),
        created_at: Timestamp::from_ms(row.created_at_ms),
        updated_at: Timestamp::from_ms(row.updated_at_ms),
    })
}

pub(super) fn api_key_row(key: &ApiKey, hash: &str) -> api_key::Model {
    let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    api_key::Model {
        id: key.id.to_string(),
        organization_id: key.organization_id.as_ref().map(ToString::to_string),
        name: key.name.clone(),
        key_hash: hash.to_owned(),
        enabled: key.enabled,
        scopes: json(&scopes),
        metadata: json(&key.metadata),
        request_count: i64::try_from(key.request_count).unwrap_or(i64::MAX),
        created_at_ms: key.created_at.as_ms(),
        updated_at_ms: key.updated_at.as_ms(),
    }
}

pub(super) fn endpoint(row: endpoint::Model) -> Result<Endpoint> {
    let what = "a stored endpoint";
    let small = |value: Option<i64>| value.map(u32::try_from).transpose();
    Ok(Endpoint {
        id: EndpointId::from_row(row.id),
        organization_id: OrganizationId::from_row(row.organization_id),
        name: row.name,
        labels: serde_json::from_str(&row.labels).map_err(|_| broken(what))?,
        url: row.url,
        enabled: row.enabled,
        subscribed_event_types: serde_json::from_str::<Vec<Arc<str>>>(&row.subscribed_event_types)
            .map_err(|_| broken(what))?,
        retention: RetentionHours::new(row.retention_hours).ok_or(broken(what))?,
        max_in_flight: small(row.max_in_flight).map_err(|_| broken(what))?,
        rate_limit_per_second: small(row.rate_limit_per_second).map_err(|_| broken(what))?,
        previous_secret_until: instant(row.previous_secret_until_ms),
        revision: row.revision,
        created_at: Timestamp::from_ms(row.created_at_ms),
        updated_at: Timestamp::from_ms(row.updated_at_ms),
        disabled_at: instant(row.disabled_at_ms),
    })
}

pub(super) fn destination(row: endpoint::Model) -> Result<Destination> {
    let locked_secret = row.signing_secret.clone();
    let locked_previous_secret = row.previous_signing_secret.clone();
    Ok(Destination { endpoint: endpoint(row)?, locked_secret, locked_previous_secret })
}

pub(super) fn endpoint_row(
    Destination { endpoint, locked_secret, locked_previous_secret }: &Destination,
    idempotency: Option<&Idempotency>,
) -> endpoint::Model {
    endpoint::Model {
        id: endpoint.id.to_string(),
        organization_id: endpoint.organization_id.to_string(),
        name: endpoint.name.clone(),
        labels: json(&endpoint.labels),
        url: endpoint.url.clone(),
        enabled: endpoint.enabled,
        subscribed_event_types: json(&endpoint.subscribed_event_types),
        retention_hours: i64::from(endpoint.retention.hours()),
        max_in_flight: endpoint.max_in_flight.map(i64::from),
        rate_limit_per_second: endpoint.rate_limit_per_second.map(i64::from),
        signing_secret: locked_secret.clone(),
        previous_signing_secret: locked_previous_secret.clone(),
        previous_secret_until_ms: ms(endpoint.previous_secret_until),
        revision: endpoint.revision,
        idempotency_key: idempotency.map(|given| given.key.clone()),
        fingerprint: idempotency.map(|given| given.fingerprint.clone()),
        deleted_at_ms: None,
        cleared_at_ms: None,
        created_at_ms: endpoint.created_at.as_ms(),
        updated_at_ms: endpoint.updated_at.as_ms(),
        disabled_at_ms: ms(endpoint.disabled_at),
    }
}

pub(super) fn key(row: encryption_key::Model) -> Result<EncryptionKey> {
    let jwk = serde_json::from_str(&row.jwk).map_err(|_| broken("a stored encryption key"))?;
    Ok(EncryptionKey {
        id: KeyId::from_row(row.id),
        endpoint_id: EndpointId::from_row(row.endpoint_id),
        key_id: row.key_id,
        jwk: PublicJwk::from_row(&jwk)?,
        is_active: row.is_active,
        created_at: Timestamp::from_ms(row.created_at_ms),
        updated_at: Timestamp::from_ms(row.updated_at_ms),
        disabled_at: instant(row.disabled_at_ms),
    })
}

pub(super) fn key_row(key: &EncryptionKey) -> encryption_key::Model {
    encryption_key::Model {
        id: key.id.to_string(),
        endpoint_id: key.endpoint_id.to_string(),
        key_id: key.key_id.clone(),
        jwk: key.jwk.to_json().to_string(),
        is_active: key.is_active,
        created_at_ms: key.created_at.as_ms(),
        updated_at_ms: key.updated_at.as_ms(),
        disabled_at_ms: ms(key.disabled_at),
    }
}

pub(super) fn event(row: event::Model) -> Event {
    Event {
        id: EventId::from_row(row.id),
        organization_id: OrganizationId::from_row(row.organization_id),
        event_type: row.event_type.into(),
        trigger_type: row.trigger_type.into(),
        trigger_id: row.trigger_id,
        created_at: Timestamp::from_ms(row.created_at_ms),
    }
}

pub(super) fn delivery(row: delivery::Model) -> Result<Delivery> {
    let what = "a stored delivery";
    let last_attempt = match row.last_attempt_at_ms {
        None => None,
        Some(at) => Some(Attempt {
            at: Timestamp::from_ms(at),
            duration: Duration::from_millis(row.last_duration_ms.unwrap_or(0).unsigned_abs()),
            status_code: row
                .last_status_code
                .map(u16::try_from)
                .transpose()
                .map_err(|_| broken(what))?,
            error: row.last_error.as_deref().map(ErrorKind::parse),
        }),
    };
    let claim = match (row.claim_token, row.claim_expires_at_ms) {
        (Some(token), Some(expires_at)) => {
            Some(Claim { token: ClaimToken(token), expires_at: Timestamp::from_ms(expires_at) })
        }
        (_, _) => None,
    };
    let count = |value: i64| u32::try_from(value).map_err(|_| broken(what));
    Ok(Delivery {
        id: DeliveryId::from_row(row.id),
        organization_id: OrganizationId::from_row(row.organization_id),
        event_id: EventId::from_row(row.event_id),
        event_type: row.event_type.into(),
        endpoint_id: EndpointId::from_row(row.endpoint_id),
        key_id: row.encryption_key_id.map(KeyId::from_row),
        created_at: Timestamp::from_ms(row.created_at_ms),
        progress: Progress {
            status: Status::parse(&row.status).ok_or(broken(what))?,
            attempt_count: count(row.attempt_count)?,
            last_attempt,
            next_attempt_at: instant(row.next_attempt_at_ms),
            payload_expires_at: instant(row.payload_expires_at_ms),
            retention_reason: RetentionReason::parse(&row.retention_reason).ok_or(broken(what))?,
            payload_scrubbed_at: instant(row.payload_scrubbed_at_ms),
            claim,
            lost_claims: count(row.lost_claims)?,
            maybe_delivered: row.maybe_delivered,
            failure_reason: word(row.failure_reason.as_deref(), FailureReason::parse)?,
            updated_at: Timestamp::from_ms(row.updated_at_ms),
        },
    })
}

pub(super) fn audit_row(entry: &AuditEntry) -> audit_log::Model {
    let (actor_type, actor_id) = entry.actor.parts();
    audit_log::Model {
        id: entry.id.to_string(),
        organization_id: entry.organization_id.to_string(),
        actor_type: actor_type.to_owned(),
        actor_id: actor_id.map(ToOwned::to_owned),
        action: entry.action.as_str().to_owned(),
        target_id: entry.target_id.clone(),
        metadata: json(&entry.metadata),
        created_at_ms: entry.created_at.as_ms(),
    }
}

pub(super) fn audit_entry(row: audit_log::Model) -> Result<AuditEntry> {
    let what = "a stored audit entry";
    Ok(AuditEntry {
        id: AuditId::from_row(row.id),
        organization_id: OrganizationId::from_row(row.organization_id),
        actor: Actor::from_row(&row.actor_type, row.actor_id).ok_or(broken(what))?,
        action: Action::parse(&row.action).ok_or(broken(what))?,
        target_id: row.target_id,
        metadata: serde_json::from_str(&row.metadata).map_err(|_| broken(what))?,
        created_at: Timestamp::from_ms(row.created_at_ms),
    })
}

pub(super) fn attempt_row(
    id: &AttemptId,
    delivery: &DeliveryId,
    attempt: &Attempt,
) -> delivery_attempt::Model {
    delivery_attempt::Model {
        id: id.to_string(),
        delivery_id: delivery.to_string(),
        attempted_at_ms: attempt.at.as_ms(),
        duration_ms: duration_ms(attempt.duration),
        status_code: attempt.status_code.map(i64::from),
        error: attempt.error.map(|kind| kind.as_str().to_owned()),
    }
}

pub(super) fn attempt(row: delivery_attempt::Model) -> Result<Attempt> {
    let status_code = row.status_code.map(u16::try_from).transpose();
    Ok(Attempt {
        at: Timestamp::from_ms(row.attempted_at_ms),
        duration: Duration::from_millis(row.duration_ms.unsigned_abs()),
        status_code: status_code.map_err(|_| broken("a stored attempt"))?,
        error: row.error.as_deref().map(ErrorKind::parse),
    })
}

/// The delivery of a row, or none when it does not read: one bad row must not stop the others.
pub(super) fn readable(row: delivery::Model) -> Option<Delivery> {
    let id = row.id.clone();
    match delivery(row) {
        Ok(delivery) => Some(delivery),
        Err(error) => {
            tracing::error!(
                delivery = id,
                error = &error as &dyn std::error::Error,
                "row passed over"
            );
            None
        }
    }
}

fn word<T>(word: Option<&str>, parse: fn(&str) -> Option<T>) -> Result<Option<T>> {
    word.map(|word| parse(word).ok_or(broken("a stored delivery"))).transpose()
}

/// A row that the ledger's own connection to a SQLite answers.
pub(super) fn delivery_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<delivery::Model> {
    Ok(delivery::Model {
        id: row.get("id")?,
        organization_id: row.get("organization_id")?,
        event_id: row.get("event_id")?,
        event_type: row.get("event_type")?,
        endpoint_id: row.get("endpoint_id")?,
        encryption_key_id: row.get("encryption_key_id")?,
        status: row.get("status")?,
        attempt_count: row.get("attempt_count")?,
        last_attempt_at_ms: row.get("last_attempt_at_ms")?,
        last_duration_ms: row.get("last_duration_ms")?,
        last_status_code: row.get("last_status_code")?,
        last_error: row.get("last_error")?,
        next_attempt_at_ms: row.get("next_attempt_at_ms")?,
        payload_expires_at_ms: row.get("payload_expires_at_ms")?,
        retention_reason: row.get("retention_reason")?,
        payload_scrubbed_at_ms: row.get("payload_scrubbed_at_ms")?,
        claim_token: row.get("claim_token")?,
        claim_expires_at_ms: row.get("claim_expires_at_ms")?,
        lost_claims: row.get("lost_claims")?,
        maybe_delivered: row.get("maybe_delivered")?,
        failure_reason: row.get("failure_reason")?,
        created_at_ms: row.get("created_at_ms")?,
        updated_at_ms: row.get("updated_at_ms")?,
    })
}

pub(super) fn delivery_row(delivery: &Delivery) -> delivery::Model {
    let progress = &delivery.progress;
    let attempt = progress.last_attempt;
    delivery::Model {
        id: delivery.id.to_string(),
        organization_id: delivery.organization_id.to_string(),
        event_id: delivery.event_id.to_string(),
        event_type: delivery.event_type.to_string(),
        endpoint_id: delivery.endpoint_id.to_string(),
        encryption_key_id: delivery.key_id.as_ref().map(ToString::to_string),
        status: progress.status.as_str().to_owned(),
        attempt_count: i64::from(progress.attempt_count),
        last_attempt_at_ms: attempt.map(|attempt| attempt.at.as_ms()),
        last_duration_ms: attempt.map(|attempt| duration_ms(attempt.duration)),
        last_status_code: attempt.and_then(|attempt| attempt.status_code).map(i64::from),
        last_error: attempt.and_then(|attempt| attempt.error).map(|kind| kind.as_str().to_owned()),
        next_attempt_at_ms: ms(progress.next_attempt_at),
        payload_expires_at_ms: ms(progress.payload_expires_at),
        retention_reason: progress.retention_reason.as_str().to_owned(),
        payload_scrubbed_at_ms: ms(progress.payload_scrubbed_at),
        claim_token: progress.claim.map(|claim| claim.token.0),
        claim_expires_at_ms: ms(progress.claim.map(|claim| claim.expires_at)),
        lost_claims: i64::from(progress.lost_claims),
        maybe_delivered: progress.maybe_delivered,
        failure_reason: progress.failure_reason.map(|reason| reason.as_str().to_owned()),
        created_at_ms: delivery.created_at.as_ms(),
        updated_at_ms: progress.updated_at.as_ms(),
    }
}
