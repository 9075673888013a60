//! What the whole REST contract needs: deletion that keeps history, idempotent endpoint creation,
//! the audit log, withdrawal, and an index for every filter of every list.

use sea_orm_migration::prelude::*;

use sea_orm_migration::sea_orm::DbBackend;

use crate::text::{add_column, run};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0002_contract"
    }
}

const COLUMNS: &[(&str, &str, &str)] = &[
    ("organizations", "deleted_at_ms", "bigint"),
    ("endpoints", "revision", "bigint NOT NULL DEFAULT 1"),
    ("endpoints", "deleted_at_ms", "bigint"),
    ("endpoints", "cleared_at_ms", "bigint"),
    ("endpoints", "idempotency_key", "{text}"),
    ("endpoints", "fingerprint", "{text}"),
    ("deliveries", "maybe_delivered", "boolean NOT NULL DEFAULT FALSE"),
];

const STATEMENTS: &[&str] = &[
    "CREATE INDEX IF NOT EXISTS organizations_deleted
        ON organizations (deleted_at_ms) WHERE deleted_at_ms IS NOT NULL",
    "CREATE UNIQUE INDEX IF NOT EXISTS endpoints_idempotency
        ON endpoints (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS endpoints_to_clear
        ON endpoints (deleted_at_ms) WHERE deleted_at_ms IS NOT NULL AND cleared_at_ms IS NULL",
    "CREATE TABLE IF NOT EXISTS audit_log (
        id {text} NOT NULL PRIMARY KEY,
        organization_id {text} NOT NULL,
        actor_type {text} NOT NULL,
        actor_id {text},
        action {text} NOT NULL,
        target_id {text} NOT NULL,
        metadata {text} NOT NULL,
        created_at_ms bigint NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS audit_log_organization ON audit_log (organization_id, id)",
    "CREATE INDEX IF NOT EXISTS audit_log_sessions
        ON audit_log (id) WHERE action = 'session.privacy_request.submitted'",
    // One row a session: the place where terminal events and withdrawal meet. It takes the place of
    // `sessions`, whose terminal event could not be missing; made anew here for a run that was
    // killed after it dropped it.
    "CREATE TABLE IF NOT EXISTS verification_sessions (
        organization_id {text} NOT NULL,
        session_id {text} NOT NULL,
        terminal_event_id {text},
        targets {text},
        privacy_request_id {text},
        outcome {text},
        nfc_tries_used bigint,
        liveness_tries_used bigint,
        withdrawn_at_ms bigint,
        state {text},
        replacement_event_id {text},
        PRIMARY KEY (organization_id, session_id)
    )",
    "CREATE TABLE IF NOT EXISTS sessions (
        organization_id {text} NOT NULL,
        session_id {text} NOT NULL,
        terminal_event_id {text} NOT NULL,
        PRIMARY KEY (organization_id, session_id)
    )",
    "INSERT INTO verification_sessions (organization_id, session_id, terminal_event_id)
        SELECT organization_id, session_id, terminal_event_id FROM sessions WHERE true
        ON CONFLICT DO NOTHING",
    "DROP TABLE sessions",
    "CREATE UNIQUE INDEX IF NOT EXISTS verification_sessions_privacy_request
        ON verification_sessions (privacy_request_id) WHERE privacy_request_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS verification_sessions_owed
        ON verification_sessions (withdrawn_at_ms) WHERE state = 'replacing'",
    "CREATE INDEX IF NOT EXISTS verification_sessions_terminal
        ON verification_sessions (terminal_event_id) WHERE terminal_event_id IS NOT NULL",
    // Of attempts that ended before it was kept: whether they may have arrived.
    "UPDATE deliveries SET maybe_delivered = TRUE
        WHERE (status = 'pending' OR status = 'failed')
        AND (lost_claims > 0 OR last_error IN ('timeout', 'reset', 'protocol')
            OR EXISTS (SELECT 1 FROM delivery_attempts
                WHERE delivery_attempts.delivery_id = deliveries.id
                AND delivery_attempts.error IN ('timeout', 'reset', 'protocol')))",
    "CREATE INDEX IF NOT EXISTS events_session
        ON events (organization_id, session_id) WHERE session_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS events_type ON events (organization_id, event_type, id)",
    // What is neither pending nor failed is not in these: a delivery that succeeds at its first
    // attempt never enters them.
    "CREATE INDEX IF NOT EXISTS deliveries_open_organization
        ON deliveries (organization_id, status, id) WHERE status = 'pending' OR status = 'failed'",
    "CREATE INDEX IF NOT EXISTS deliveries_open_endpoint
        ON deliveries (endpoint_id, status, id) WHERE status = 'pending' OR status = 'failed'",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Postgres {
            // Filled tables take longer than any statement of the daemon may.
            run(manager, &["SET LOCAL statement_timeout = 0"]).await?;
        }
        for (table, column, definition) in COLUMNS {
            add_column(manager, table, column, definition).await?;
        }
        run(manager, STATEMENTS).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("a released step is never taken back".to_owned()))
    }
}
