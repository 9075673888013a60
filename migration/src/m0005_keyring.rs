//! Data keys as a ring: several for one purpose, of which one is current.

use sea_orm_migration::prelude::*;

use crate::text::run;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0005_keyring"
    }
}

const STATEMENTS: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS keyring (
        id {text} NOT NULL PRIMARY KEY,
        purpose {text} NOT NULL,
        is_current boolean NOT NULL,
        wrapped {text} NOT NULL,
        created_at_ms bigint NOT NULL
    )",
    "CREATE UNIQUE INDEX IF NOT EXISTS keyring_current ON keyring (purpose) WHERE is_current",
];

/// A table of its own: SQLite cannot let go of the former one's rule that a purpose has one key.
const MOVE: &[&str] = &[
    "INSERT INTO keyring (id, purpose, is_current, wrapped, created_at_ms)
        SELECT id, purpose, true, wrapped, created_at_ms FROM data_keys WHERE true
        ON CONFLICT DO NOTHING",
    "DROP TABLE data_keys",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, STATEMENTS).await?;
        // Gone already when a run was killed right after it.
        if manager.has_table("data_keys").await? {
            run(manager, MOVE).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("a released step is never taken back".to_owned()))
    }
}
