//! `core`'s store over sea-orm: one code for SQLite and PostgreSQL.
//!
//! ```text
//! reads ──────────────▶ readers (pool)
//! admin writes ───────▶ writer  (SQLite: the one writing connection; PostgreSQL: the same pool)
//! accept/claim/settle ▶ ledger's queue ▶ ledger  (SQLite: a connection and a thread of its own; PostgreSQL: a small
//!                                                 pool) ▶ one transaction a batch
//! ```
//!
//! Database work runs on a runtime of its own, so that a connection's socket is never served by a
//! thread that is busy sealing.

mod archive;
mod connections;
mod deletion;
mod directory;
mod embedded;
mod keyring;
mod ledger;
mod news;
#[cfg(test)]
mod plans;
mod requeue;
mod roster;
mod rows;
mod statistics;
mod transition;
mod upkeep;
mod withdrawal;
mod writing;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hookseal_core::error::{Error, Result};
use hookseal_core::id::Minter;
use hookseal_core::ports::{Dispatch, Feed};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, EntityTrait,
    QuerySelect, RuntimeErr, Select, Statement,
};

use crate::metrics;

use news::Herald;
use writing::Writing;

pub use connections::{Connections, NodeLock, sqlite_file};
pub use keyring::{
    StoredDataKey, StoredSecret, load_data_keys, replace_data_keys, replace_locked_secrets,
    secrets_under_others, store_data_key,
};
pub use roster::SqlRoster;

/// How long a caller waits for an answer: longer than for a connection or a lock.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);
/// How often a transaction is tried again after a serialization failure or deadlock.
const CONFLICT_RETRIES: usize = 5;

async fn text_value(db: &impl ConnectionTrait, sql: String) -> Result<String> {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await.map_err(unavailable)?;
    let row = row.ok_or(Error::Broken { what: "a database setting", source: None })?;
    row.try_get_by_index(0).map_err(broken_row)
}

/// The store.
#[derive(Clone)]
pub struct SqlStore {
    connections: Connections,
    runtime: tokio::runtime::Handle,
    ledger: ledger::Queue,
    dispatch: Arc<dyn Dispatch>,
    herald: Arc<Herald>,
    minter: Arc<Minter>,
}

impl std::fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlStore").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl SqlStore {
    /// A store over `connections`, whose work runs on `runtime`. Deliveries and changed settings
    /// are told to `dispatch` as soon as they are committed, and all that changes to `feed`; `minter`
    /// names attempts of the history.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no thread can be started.
    pub fn start(
        connections: Connections,
        runtime: tokio::runtime::Handle,
        dispatch: Arc<dyn Dispatch>,
        feed: Arc<dyn Feed>,
        minter: Arc<Minter>,
    ) -> Result<Self> {
        let herald = Herald::new(feed);
        let writer = ledger::Writer {
            connections: connections.clone(),
            dispatch: dispatch.clone(),
            herald: herald.clone(),
            minter: minter.clone(),
        };
        let ledger = ledger::start(writer, &runtime)
            .map_err(|error| Error::unavailable("a thread", error))?;
        Ok(Self { connections, runtime, ledger, dispatch, herald, minter })
    }

    fn readers(&self) -> DatabaseConnection {
        self.connections.readers()
    }

    fn writer(&self) -> Writing {
        self.connections.writer()
    }

    /// Runs a transaction on the store's runtime, again when it and another one stood in each
    /// other's way.
    async fn run_again<T: Send + 'static, F>(
        &self,
        work: impl Fn() -> F + Send + 'static,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        for _ in 0..CONFLICT_RETRIES {
            match self.runtime.spawn(work()).await {
                Ok(Err(failure)) if failure.is_conflict() => {}
                Ok(result) => return result.map_err(Error::from),
                Err(panic) => return Err(Error::broken("a store task", panic)),
            }
        }
        self.run(work()).await
    }

    /// Runs database work on the store's runtime. A caller is told when nobody answers; what he asked for
    /// may still be done.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T> {
        match tokio::time::timeout(ANSWERED_WITHIN, self.run_long(work)).await {
            Ok(result) => result,
            Err(silence) => Err(Error::unavailable("the database", silence)),
        }
    }

    /// The same for work that takes as long as there are rows.
    async fn run_long<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T> {
        metrics::STORE_CALLS.inc();
        match self.runtime.spawn(work).await {
            Ok(result) => result.map_err(Error::from),
            Err(panic) => Err(Error::broken("a store task", panic)),
        }
    }
}

/// A query that keeps others off its rows until the transaction ends. SQLite has one writer: the
/// transaction that has begun to write.
fn alone<E: EntityTrait>(query: Select<E>, tx: &DatabaseTransaction) -> Select<E> {
    match tx.get_database_backend() {
        DbBackend::Postgres => query.lock_exclusive(),
        _ => query,
    }
}

/// A driver's error: the database is away or full, and may be back soon.
fn unavailable(error: DbErr) -> Error {
    Error::unavailable("the database", error)
}

/// A row that does not read as it was written.
fn broken_row(error: DbErr) -> Error {
    Error::broken("a stored row", error)
}

/// Why database work was not done.
enum Failure {
    Driver(DbErr),
    /// The ledger's own connection to a SQLite.
    Embedded(rusqlite::Error),
    Ours(Error),
    /// Something stands in the way of a batch that was written as if nothing did.
    Surprise,
}

impl Failure {
    /// Trying the same batch again may pass: a serialization failure or a deadlock.
    fn is_conflict(&self) -> bool {
        self.database_code().is_some_and(|code| tells_of_conflict(&code))
    }

    /// The database refused the data of a statement, which is one write's own doing; that it is
    /// away, locked or full concerns all of them.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Ours(error) if !matches!(error, Error::Unavailable { .. }))
            || self.database_code().is_some_and(|code| tells_of_data(&code))
    }

    /// Something may stand in the way of a batch that was written as if nothing did.
    fn is_surprise(&self) -> bool {
        matches!(self, Self::Surprise) || self.is_refusal()
    }

    /// Whether it is known that nothing of it was done. A session that was ended, or a disk that failed, may have
    /// committed it nevertheless.
    fn is_refused(&self) -> bool {
        self.is_conflict() || self.is_surprise()
    }

    fn database_code(&self) -> Option<String> {
        match self {
            Self::Driver(error) => database_code(error),
            Self::Embedded(error) => Some(error.sqlite_error()?.extended_code.to_string()),
            Self::Ours(_) | Self::Surprise => None,
        }
    }
}

/// Why the database did not do it, in its own words; none when it was not heard.
fn database_code(error: &DbErr) -> Option<String> {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            Some(error.as_database_error()?.code().unwrap_or_default().into_owned())
        }
        _ => None,
    }
}

fn tells_of_conflict(code: &str) -> bool {
    matches!(code, "40001" | "40P01")
}

/// PostgreSQL: data exceptions and integrity violations; SQLite: too big, constraint, mismatch, whose extended codes
/// carry them in their low byte.
fn tells_of_data(code: &str) -> bool {
    match code.parse::<i32>() {
        Ok(sqlite) if code.len() < 5 => matches!(sqlite & 0xff, 18..=20),
        Ok(_) | Err(_) => code.starts_with("22") || code.starts_with("23"),
    }
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        Self::Driver(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Embedded(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Driver(error) => unavailable(error),
            Failure::Embedded(error) => Self::unavailable("the database", error),
            Failure::Ours(error) => error,
            Failure::Surprise => Self::Broken { what: "a batch of the ledger", source: None },
        }
    }
}
