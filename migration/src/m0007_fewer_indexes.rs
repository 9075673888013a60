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

#[cfg(test)]
mod tests {
    use sea_orm_migration::sea_orm::{ConnectOptions, Database, Statement};

    use super::*;
    use crate::Migrator;

    #[tokio::test]
    async fn ends_of_sessions_that_outlive_their_events_are_told_apart() {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1);
        let db = Database::connect(options).await.expect("a database");
        Migrator::up(&db, Some(6)).await.expect("the steps before");
        let run = async |sql: &str| db.execute_unprepared(sql).await.expect("it runs");
        run("INSERT INTO events (id, organization_id, event_type, trigger_type, trigger_id, session_id,
                created_at_ms)
            VALUES ('evt_1', 'o', 't', 't', 'vs_1', 'vs_1', 1), ('evt_2', 'o', 't', 't', 'vs_2', 'vs_2', 1)")
        .await;
        run("INSERT INTO verification_sessions (organization_id, session_id, terminal_event_id)
            VALUES ('o', 'vs_1', 'evt_1'), ('o', 'vs_2', NULL), ('o', 'vs_3', 'evt_3')")
        .await;
        Migrator::up(&db, None).await.expect("all steps");
        let sql = "SELECT session_id FROM verification_sessions WHERE outlives_event";
        let rows = db.query_all_raw(Statement::from_string(DbBackend::Sqlite, sql)).await;
        let rows = rows.expect("rows").into_iter().map(|row| row.try_get_by_index::<String>(0));
        assert_eq!(rows.collect::<Result<Vec<_>, _>>().expect("text"), ["vs_3"]);
        // What was there before is found as what tells of a session, whether it ends it or not.
        let sql = "SELECT count(*) FROM events WHERE session_id IS NOT NULL AND NOT ends_session";
        let row = db.query_one_raw(Statement::from_string(DbBackend::Sqlite, sql)).await;
        let count: i64 = row.expect("a row").expect("a row").try_get_by_index(0).expect("a number");
        assert_eq!(count, 2);
    }
}
