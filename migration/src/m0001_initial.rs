//! The first schema.
//!
//! Instants are milliseconds since the epoch. The tables of the hot path carry no foreign keys:
//! each would cost every delivery a look-up, and the one transaction that writes them keeps them
//! whole. Ids compare by bytes, since those of events and deliveries lead with time.

use sea_orm_migration::prelude::*;

use crate::text;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_initial"
    }
}

const STATEMENTS: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS organizations (
        id {text} NOT NULL PRIMARY KEY,
        name {text} NOT NULL,
        audience_version bigint NOT NULL DEFAULT 1,
        frozen_at_ms bigint,
        created_at_ms bigint NOT NULL,
        updated_at_ms bigint NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS organizations_created ON organizations (created_at_ms, id)",
    "CREATE TABLE IF NOT EXISTS api_keys (
        id {text} NOT NULL PRIMARY KEY,
        organization_id {text} REFERENCES organizations (id) ON DELETE CASCADE,
        name {text} NOT NULL,
        key_hash {text} NOT NULL UNIQUE,
        enabled boolean NOT NULL,
        scopes {text} NOT NULL,
        metadata {text} NOT NULL,
        request_count bigint NOT NULL DEFAULT 0,
        created_at_ms bigint NOT NULL,
        updated_at_ms bigint NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS api_keys_organization ON api_keys (organization_id, id)",
    "CREATE TABLE IF NOT EXISTS endpoints (
        id {text} NOT NULL PRIMARY KEY,
        organization_id {text} NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
        name {text},
        labels {text} NOT NULL,
        url {text} NOT NULL,
        enabled boolean NOT NULL,
        subscribed_event_types {text} NOT NULL,
        retention_hours bigint NOT NULL,
        max_in_flight bigint,
        rate_limit_per_second bigint,
        signing_secret {text} NOT NULL,
        created_at_ms bigint NOT NULL,
        updated_at_ms bigint NOT NULL,
        disabled_at_ms bigint
    )",
    "CREATE INDEX IF NOT EXISTS endpoints_organization
        ON endpoints (organization_id, created_at_ms, id)",
    "CREATE TABLE IF NOT EXISTS encryption_keys (
        id {text} NOT NULL PRIMARY KEY,
        endpoint_id {text} NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
        key_id {text} NOT NULL,
        jwk {text} NOT NULL,
        is_active boolean NOT NULL,
        created_at_ms bigint NOT NULL,
        updated_at_ms bigint NOT NULL,
        disabled_at_ms bigint
    )",
    "CREATE INDEX IF NOT EXISTS encryption_keys_endpoint ON encryption_keys (endpoint_id, id)",
    "CREATE UNIQUE INDEX IF NOT EXISTS encryption_keys_active
        ON encryption_keys (endpoint_id) WHERE is_active",
    "CREATE TABLE IF NOT EXISTS events (
        id {text} NOT NULL PRIMARY KEY,
        organization_id {text} NOT NULL,
        event_type {text} NOT NULL,
        trigger_type {text} NOT NULL,
        trigger_id {text} NOT NULL,
        session_id {text},
        idempotency_key {text},
        fingerprint {text},
        created_at_ms bigint NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS events_organization ON events (organization_id, id)",
    "CREATE UNIQUE INDEX IF NOT EXISTS events_idempotency
        ON events (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS sessions (
        organization_id {text} NOT NULL,
        session_id {text} NOT NULL,
        terminal_event_id {text} NOT NULL,
        PRIMARY KEY (organization_id, session_id)
    )",
    "CREATE INDEX IF NOT EXISTS sessions_terminal_event ON sessions (terminal_event_id)",
    "CREATE TABLE IF NOT EXISTS deliveries (
        id {text} NOT NULL PRIMARY KEY,
        organization_id {text} NOT NULL,
        event_id {text} NOT NULL,
        event_type {text} NOT NULL,
        endpoint_id {text} NOT NULL,
        encryption_key_id {text},
        status {text} NOT NULL,
        attempt_count bigint NOT NULL,
        last_attempt_at_ms bigint,
        last_duration_ms bigint,
        last_status_code bigint,
        last_error {text},
        next_attempt_at_ms bigint,
        payload_expires_at_ms bigint,
        retention_reason {text} NOT NULL,
        payload_scrubbed_at_ms bigint,
        claim_token bigint,
        claim_expires_at_ms bigint,
        lost_claims bigint NOT NULL,
        failure_reason {text},
        created_at_ms bigint NOT NULL,
        updated_at_ms bigint NOT NULL
    ) {queue}",
    "CREATE INDEX IF NOT EXISTS deliveries_organization ON deliveries (organization_id, id)",
    "CREATE INDEX IF NOT EXISTS deliveries_endpoint ON deliveries (endpoint_id, id)",
    "CREATE INDEX IF NOT EXISTS deliveries_event ON deliveries (event_id, id)",
    // A delivery that succeeds at its first attempt is inserted claimed and never enters these.
    "CREATE INDEX IF NOT EXISTS deliveries_due
        ON deliveries (endpoint_id, next_attempt_at_ms, id) WHERE status = 'pending'",
    "CREATE INDEX IF NOT EXISTS deliveries_upcoming
        ON deliveries (next_attempt_at_ms, id) WHERE status = 'pending'",
    "CREATE INDEX IF NOT EXISTS deliveries_expiring
        ON deliveries (payload_expires_at_ms, id)
        WHERE payload_expires_at_ms IS NOT NULL AND status IN ('pending', 'failed')",
    "CREATE INDEX IF NOT EXISTS deliveries_claimed
        ON deliveries (claim_expires_at_ms, id) WHERE status = 'delivering'",
    "CREATE TABLE IF NOT EXISTS sealed_payloads (
        delivery_id {text} NOT NULL PRIMARY KEY,
        jwe {blob} NOT NULL
    ) {queue}",
    "CREATE TABLE IF NOT EXISTS delivery_attempts (
        id {text} NOT NULL PRIMARY KEY,
        delivery_id {text} NOT NULL,
        attempted_at_ms bigint NOT NULL,
        duration_ms bigint NOT NULL,
        status_code bigint,
        error {text}
    )",
    "CREATE INDEX IF NOT EXISTS delivery_attempts_delivery ON delivery_attempts (delivery_id, id)",
    "CREATE TABLE IF NOT EXISTS data_keys (
        id {text} NOT NULL PRIMARY KEY,
        purpose {text} NOT NULL UNIQUE,
        wrapped {text} NOT NULL,
        created_at_ms bigint NOT NULL
    )",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        text::run(manager, STATEMENTS).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("a released step is never taken back".to_owned()))
    }
}
