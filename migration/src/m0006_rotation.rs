//! The signing secret that was replaced, for as long as it goes on signing.

use sea_orm_migration::prelude::*;

use crate::text::{add_column, run};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0006_rotation"
    }
}

const COLUMNS: &[(&str, &str)] =
    &[("previous_signing_secret", "{text}"), ("previous_secret_until_ms", "bigint")];

const STATEMENTS: &[&str] = &["CREATE INDEX IF NOT EXISTS endpoints_previous_secret
        ON endpoints (previous_secret_until_ms) WHERE previous_secret_until_ms IS NOT NULL"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (column, definition) in COLUMNS {
            add_column(manager, "endpoints", column, definition).await?;
        }
        run(manager, STATEMENTS).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("a released step is never taken back".to_owned()))
    }
}
