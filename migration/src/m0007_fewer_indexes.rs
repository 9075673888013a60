//! Fewer indexes for each delivery: its organization's also finds those of an event; an event that ends a session is
//! named by the session's row, so that only the others are found by an index; and of the ends of sessions, only those
//! are kept in order that are to be found without their event.
//!
//! Nodes of the version before read without the indexes that go: correctly, and slowly until they are replaced.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::text::{add_column, run};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0007_fewer_indexes"
    }
}

const COLUMNS: &[(&str, &str, &str)] = &[
    // False in the rows of before, which the index below therefore finds, whatever they are.
    ("events", "ends_session", "boolean NOT NULL DEFAULT FALSE"),
    ("verification_sessions", "outlives_event", "boolean NOT NULL DEFAULT FALSE"),
];

const STATEMENTS: &[&str] = &[
    "CREATE INDEX IF NOT EXISTS deliveries_organization_event
        ON deliveries (organization_id, event_id)",
    "DROP INDEX IF EXISTS deliveries_organization",
    "DROP INDEX IF EXISTS deliveries_event",
    "CREATE INDEX IF NOT EXISTS events_telling
        ON events (organization_id, session_id) WHERE session_id IS NOT NULL AND NOT ends_session",
    "DROP INDEX IF EXISTS events_session",
    "UPDATE verification_sessions SET outlives_event = TRUE
        WHERE terminal_event_id IS NOT NULL AND NOT EXISTS
            (SELECT 1 FROM events WHERE events.id = verification_sessions.terminal_event_id)",
    "CREATE INDEX IF NOT EXISTS verification_sessions_outliving
        ON verification_sessions (terminal_event_id) WHERE outlives_event",
    "DROP INDEX IF EXISTS verification_sessions_terminal",
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
