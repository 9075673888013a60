//! What deliveries came to, a minute at a time.

use sea_orm_migration::prelude::*;

use crate::text::run;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0003_statistics"
    }
}

const STATEMENTS: &[&str] = &[
    // `endpoint_id` is empty in the rows of a whole organization; `part` names the life of the process
    // that counted, since a minute may see more than one.
    "CREATE TABLE IF NOT EXISTS delivery_minutes (
        organization_id {text} NOT NULL,
        endpoint_id {text} NOT NULL,
        minute bigint NOT NULL,
        part bigint NOT NULL,
        delivered bigint NOT NULL,
        failed bigint NOT NULL,
        retried bigint NOT NULL,
        durations {text} NOT NULL,
        PRIMARY KEY (organization_id, endpoint_id, minute, part)
    )",
    "CREATE INDEX IF NOT EXISTS delivery_minutes_age ON delivery_minutes (minute)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, STATEMENTS).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("a released step is never taken back".to_owned()))
    }
}
