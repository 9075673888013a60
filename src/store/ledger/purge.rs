//! The past is taken out of a SQLite through the ledger's own connection, whose pages of the indexes stay at hand for
//! that: another's would be read anew after each batch of the ledger, while the next one waits.

use std::collections::BTreeSet;

use hookseal_entity::event;
use rusqlite::Connection;
use sea_orm::DbBackend;

use super::cell::Kind::Text;
use super::given::{Given, Writes};
use super::sessions::{self, Key};
use crate::store::Failure;

/// Events that are over, with all that goes with them.
pub(in crate::store) struct Past {
    pub(in crate::store) events: Vec<String>,
    pub(in crate::store) deliveries: Vec<String>,
    /// Those of the events that tell of a session.
    pub(in crate::store) telling: Vec<event::Model>,
    /// Sessions that may go with their last event.
    pub(in crate::store) sessions: BTreeSet<Key>,
}

/// Removes the rows of `past`, the sessions last: what stays of them depends on the events that are left.
pub(in crate::store) fn purge(db: &Connection, past: &Past) -> Result<(), Failure> {
    let Past { events, deliveries, telling, sessions } = past;
    without(deliveries, "sealed_payloads", "delivery_id")
        .and(without(deliveries, "delivery_attempts", "delivery_id"))
        .and(without(deliveries, "deliveries", "id"))
        .and(without(events, "events", "id"))
        .and(sessions::removal(DbBackend::Sqlite, sessions))
        .and(sessions::outliving(DbBackend::Sqlite, telling))
        .write(db)?;
    Ok(())
}

fn without<'a>(ids: &'a [String], table: &str, column: &str) -> Writes<'a> {
    let sql = format!("DELETE FROM {table} WHERE {column} IN (SELECT k FROM given)");
    let ids = ids.iter().map(|id| [id.as_str().into()]);
    Given::new([("k", Text)]).with(ids).write(DbBackend::Sqlite, &sql)
}
