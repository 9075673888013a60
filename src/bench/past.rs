//! Deliveries that succeeded long ago, put into the rows of a database that no daemon is at work on.

use std::time::Duration;

use hookseal_core::error::{Error, Result};
use hookseal_core::id::floor_id;
use hookseal_core::time::Timestamp;
use sea_orm::{ConnectionTrait as _, DatabaseConnection};

use super::stage::Organization;

/// Events of one transaction.
const BATCH: usize = 20_000;
/// Digits of a number within an id, the first of which is a one.
const DIGITS: usize = 13;
/// Symbols of an event's or a delivery's id.
const ID_SYMBOLS: usize = 68;

/// How many events there are before an instant.
pub(super) async fn count(connection: &DatabaseConnection, before: Timestamp) -> Result<usize> {
    let sql = format!("SELECT count(*) FROM events WHERE id < '{}'", floor_id("evt_", before));
    let statement = sea_orm::Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await.map_err(unavailable)?;
    let row = row.ok_or(Error::Broken { what: "the database", source: None })?;
    let count = row.try_get_by_index::<i64>(0).map_err(unavailable)?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// Adds `rows` events with a delivery and a session each, spread over the `span` that begins at `from` and over the
/// endpoints of `organizations`.
pub(super) async fn fill(
    connection: &DatabaseConnection,
    organizations: &[Organization],
    rows: usize,
    (from, span): (Timestamp, Duration),
    mut filled: impl FnMut(usize),
) -> Result<()> {
    let run = async |sql: &str| connection.execute_unprepared(sql).await.map_err(unavailable);
    run("CREATE TEMPORARY TABLE bench_targets (n bigint, organization_id text, endpoint_id text)")
        .await?;
    let targets = organizations.iter().flat_map(|organization| {
        organization.endpoints.iter().map(|endpoint| (&organization.id, &endpoint.id))
    });
    let targets: Vec<String> = (0..)
        .zip(targets)
        .map(|(n, (organization, endpoint))| format!("({n}, '{organization}', '{endpoint}')"))
        .collect();
    for some in targets.chunks(500) {
        run(&format!("INSERT INTO bench_targets VALUES {}", some.join(","))).await?;
    }
    for first in (0..rows).step_by(BATCH) {
        let last = rows.min(first + BATCH) - 1;
        let at = from.plus(span.mul_f64(first as f64 / rows as f64));
        run("BEGIN").await?;
        for sql in statements(first, last, targets.len(), at) {
            run(&sql).await?;
        }
        run("COMMIT").await?;
        filled(last + 1);
    }
    run("DROP TABLE bench_targets").await.map(drop)
}

/// Inserts the rows of the events with these numbers, as SQLite and PostgreSQL both read it.
fn statements(first: usize, last: usize, targets: usize, at: Timestamp) -> [String; 3] {
    let numbers = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}),
         past AS (SELECT numbers.n, organization_id, endpoint_id,
                    CAST({base} + numbers.n AS text) AS digits
            FROM numbers JOIN bench_targets ON bench_targets.n = numbers.n % {targets})",
        base = 10_u64.pow(DIGITS as u32 - 1),
    );
    let id = |prefix: &str| {
        let start = floor_id(prefix, at);
        let zeros = "0".repeat(ID_SYMBOLS - DIGITS - start.len());
        format!("'{start}{zeros}' || digits")
    };
    let (event, delivery, at) = (id("evt_"), id("whd_"), at.as_ms());
    let (event_type, trigger_type) = (super::EVENT_TYPE, super::TRIGGER_TYPE);
    [
        format!(
            "INSERT INTO events (id, organization_id, event_type, trigger_type, trigger_id, session_id,
                ends_session, created_at_ms)
             {numbers} SELECT {event}, organization_id, '{event_type}', '{trigger_type}', 'vs_past' || digits,
                'vs_past' || digits, TRUE, {at} FROM past"
        ),
        format!(
            "INSERT INTO verification_sessions (organization_id, session_id, terminal_event_id)
             {numbers} SELECT organization_id, 'vs_past' || digits, {event} FROM past"
        ),
        format!(
            "INSERT INTO deliveries (id, organization_id, event_id, event_type, endpoint_id, status,
                attempt_count, last_attempt_at_ms, last_duration_ms, last_status_code, retention_reason,
                payload_scrubbed_at_ms, lost_claims, created_at_ms, updated_at_ms)
             {numbers} SELECT {delivery}, organization_id, {event}, '{event_type}', endpoint_id, 'succeeded',
                1, {at}, 1, 204, 'delivered', {at}, 0, {at}, {at} FROM past"
        ),
    ]
}

fn unavailable(error: sea_orm::DbErr) -> Error {
    Error::unavailable("the database", error)
}
