//! Rows that are over are taken out of the tables. What the janitor purges of a SQLite goes through the ledger's own
//! connection, whose pages of the indexes stay at hand for that: another's would be read anew after each batch of the
//! ledger, while the next one waits.

use std::collections::BTreeSet;

use hookseal_core::error::Error;
use hookseal_core::time::Timestamp;
use hookseal_entity::event;
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::cell::Kind::Text;
use super::change::Change;
use super::given::{Given, Writes};
use super::sessions::{self, Key};
use crate::store::{Connections, Failure};

/// Events that are over, with all that goes with them.
pub(in crate::store) struct Past {
    events: Vec<event::Model>,
    /// Ids of their deliveries.
    deliveries: Vec<String>,
    /// Sessions that may go with their last event …
    sessions: BTreeSet<Key>,
    /// … and those that may only where nothing ended them, which there would be to tell.
    young_sessions: BTreeSet<Key>,
}

impl Past {
    /// What goes with `events`. A session's row tells that it ended for as long as an idempotency key stands: where the
    /// event is older than `keyed_before`. Nobody has to be kept off: a payload that is gone never returns, and no event
    /// gets another delivery.
    pub(in crate::store) async fn of(
        events: Vec<event::Model>,
        keyed_before: Timestamp,
        db: &DatabaseConnection,
    ) -> Result<Self, DbErr> {
        let rows =
            events.iter().map(|event| [(&*event.organization_id).into(), (&*event.id).into()]);
        let sql = "SELECT deliveries.id FROM given JOIN deliveries \
            ON deliveries.organization_id = given.o AND deliveries.event_id = given.e";
        let found = Given::of([("o", Text), ("e", Text)], rows).query(db, sql).await?;
        let deliveries =
            found.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
        let is_old = |event: &&event::Model| event.created_at_ms < keyed_before.as_ms();
        let (old, young): (Vec<_>, Vec<_>) = events.iter().partition(is_old);
        let sessions = old.into_iter().filter_map(sessions::of).collect();
        let young_sessions = young.into_iter().filter_map(sessions::of).collect();
        Ok(Self { events, deliveries, sessions, young_sessions })
    }

    /// Removes its rows, the sessions last: what stays of them depends on the events that are left.
    pub(in crate::store) async fn remove(self, connections: Connections) -> Result<(), Failure> {
        if connections.embedded().is_some() {
            let removed = spawn_blocking(move || {
                Handle::current().block_on(self.remove_embedded(&connections))
            });
            return removed.await.map_err(|panic| Error::broken("a store task", panic))?;
        }
        let tx = connections.writer().begin().await?;
        self.rows().execute(&tx).await?;
        sessions::remove_without_events(&tx, &self.sessions).await?;
        sessions::remove_unended(&tx, &self.young_sessions).await?;
        sessions::outliving(&self.events).execute(&tx).await?;
        Ok(tx.commit().await?)
    }

    async fn remove_embedded(self, connections: &Connections) -> Result<(), Failure> {
        let Some(embedded) = connections.embedded() else { return Ok(()) };
        let tx = embedded.begin().await?;
        self.rows()
            .and(sessions::removal(&self.sessions))
            .and(sessions::removal_of_unended(&self.young_sessions))
            .and(sessions::outliving(&self.events))
            .write(&tx)?;
        tx.commit()
    }

    fn rows(&self) -> Writes<'_> {
        let events = self.events.iter().map(|event| event.id.as_str());
        deliveries(&self.deliveries).and(without(events, "events", "id"))
    }
}

/// Removes deliveries, whose rows nobody else is at, with all that belongs to them.
pub(in crate::store) async fn remove_deliveries(
    tx: &DatabaseTransaction,
    ids: &[String],
) -> Result<(), DbErr> {
    deliveries(ids).execute(tx).await?;
    Ok(())
}

fn deliveries(ids: &[String]) -> Writes<'_> {
    let without = |table, column| without(ids.iter().map(String::as_str), table, column);
    without("sealed_payloads", "delivery_id")
        .and(without("delivery_attempts", "delivery_id"))
        .and(without("deliveries", "id"))
}

fn without<'a>(
    ids: impl Iterator<Item = &'a str>,
    table: &'static str,
    column: &'static str,
) -> Writes<'a> {
    Given::of([("k", Text)], ids.map(|id| [id.into()])).write(Change::delete(table, column))
}
