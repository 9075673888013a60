//! Steps as SQL text that both databases take.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// Runs statements. In their text `{text}` is text that compares by bytes, `{blob}` are bytes,
/// `{serial}` is a key that the database counts up and never gives twice, and `{queue}` the storage settings
/// of tables whose rows change a few times soon after they are written.
pub(crate) async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let (text, blob, serial, queue) = match manager.get_database_backend() {
        DbBackend::Postgres => (
            "text COLLATE \"C\"",
            "bytea",
            "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            "WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, \
             autovacuum_analyze_scale_factor = 0.02)",
        ),
        _ => ("text", "blob", "integer PRIMARY KEY AUTOINCREMENT", ""),
    };
    for statement in statements {
        let statement = statement
            .replace("{text}", text)
            .replace("{blob}", blob)
            .replace("{serial}", serial)
            .replace("{queue}", queue);
        manager.get_connection().execute_unprepared(&statement).await?;
    }
    Ok(())
}

/// Adds a column unless a run that was killed has added it already.
pub(crate) async fn add_column(
    manager: &SchemaManager<'_>,
    table: &str,
    column: &str,
    definition: &str,
) -> Result<(), DbErr> {
    if manager.has_column(table, column).await? {
        return Ok(());
    }
    run(manager, &[&format!("ALTER TABLE {table} ADD COLUMN {column} {definition}")]).await
}
