//! Nodes that share a database, and the shards of endpoints that each of them speaks for.

use sea_orm_migration::prelude::*;

use crate::text::run;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0004_cluster"
    }
}

const STATEMENTS: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS nodes (
        number {serial},
        name {text} NOT NULL,
        version {text} NOT NULL,
        address {text} NOT NULL,
        feed_writer {text},
        started_at_ms bigint NOT NULL,
        lease_until_ms bigint NOT NULL,
        leaving boolean NOT NULL,
        ended_at_ms bigint,
        endpoints bigint NOT NULL,
        waiting bigint NOT NULL,
        in_flight bigint NOT NULL,
        breakers_open bigint NOT NULL,
        lag_ms bigint NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS shards (
        shard bigint NOT NULL PRIMARY KEY,
        owner bigint,
        epoch bigint NOT NULL
    )",
    "WITH RECURSIVE numbers(shard) AS (
            SELECT 0 UNION ALL SELECT shard + 1 FROM numbers WHERE shard < 63
        )
        INSERT INTO shards (shard, epoch) SELECT shard, 0 FROM numbers WHERE true
        ON CONFLICT DO NOTHING",
    // What other nodes look for a few times a second.
    "CREATE INDEX IF NOT EXISTS endpoints_updated ON endpoints (updated_at_ms)",
    "CREATE INDEX IF NOT EXISTS deliveries_revoked ON deliveries (id)
        WHERE status = 'delivering' AND payload_scrubbed_at_ms IS NOT NULL",
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
