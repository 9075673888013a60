//! `core`'s store over sea-orm: one code for SQLite and PostgreSQL.
//!
//! ```text
//! reads ──────────────▶ readers (pool)
//! admin writes ───────▶ writer  (SQLite: the one writing connection; PostgreSQL: the same pool)
//! accept/claim/settle ▶ ledger's queue ▶ one task ▶ one transaction a batch
//! ```
//!
//! Database work runs on a runtime of its own, so that a connection's socket is never served by a
//! thread that is busy sealing.

mod archive;
mod deletion;
mod directory;
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

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hookseal_core::error::{Error, Result};
use hookseal_core::id::Minter;
use hookseal_core::ports::{Dispatch, Feed};
use hookseal_migration::Migrator;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    DbErr, EntityTrait, QuerySelect, RuntimeErr, Select, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;

use crate::metrics;

use news::Herald;

pub use keyring::{StoredDataKey, load_data_keys, store_data_key};
pub use roster::SqlRoster;

/// How often a transaction is tried again after a serialization failure or deadlock.
const CONFLICT_RETRIES: usize = 5;
/// How long a caller waits for a connection or a lock before it hears that the store is away.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the node lock is looked after.
const KEEP_EVERY: Duration = Duration::from_millis(500);
/// Name of the database file in the data directory.
const SQLITE_FILE: &str = "hookseal.sqlite3";
/// Key of the advisory lock that keeps a PostgreSQL database to one node.
const NODE_LOCK: i64 = 0x686f_6f6b_7365_616c;
/// Key of the advisory lock that lets one node migrate at a time.
const MIGRATION_LOCK: i64 = NODE_LOCK + 1;

/// Connections to the database, migrated and checked.
#[derive(Clone, Debug)]
pub struct Connections {
    readers: DatabaseConnection,
    writer: DatabaseConnection,
    /// The ledger's own: on PostgreSQL its plans are pinned to indexes.
    ledger: DatabaseConnection,
    /// Where a PostgreSQL is.
    postgres_url: Option<String>,
}

impl Connections {
    /// Connects to the database at `url`, or to the embedded one in `data_dir`, and brings its schema
    /// up to date.
    ///
    /// # Errors
    /// As [`Connections::connect`] and [`Connections::migrate`].
    pub async fn open(url: Option<&str>, data_dir: &Path) -> Result<Self> {
        let connections = Self::connect(url, data_dir).await?;
        connections.migrate().await?;
        Ok(connections)
    }

    /// Connects to the database at `url`, or to the embedded one in `data_dir`, as it stands.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it can't be reached, [`Error::Broken`] when it would not keep
    /// what it acknowledges.
    pub async fn connect(url: Option<&str>, data_dir: &Path) -> Result<Self> {
        match url {
            None => {
                let file = sqlite_file(None, data_dir).unwrap_or_default();
                Self::open_sqlite(&format!("sqlite://{}?mode=rwc", file.display())).await
            }
            Some(url) if url.starts_with("sqlite:") => Self::open_sqlite(url).await,
            Some(url) if url.starts_with("postgres:") || url.starts_with("postgresql:") => {
                Self::open_postgres(url).await
            }
            Some(_) => Err(Error::invalid("database_url", "a sqlite: or postgres: URL")),
        }
    }

    /// Brings the schema up to date. Nobody who knows only the older one may be at work.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database refuses it.
    pub async fn migrate(&self) -> Result<()> {
        let Some(url) = &self.postgres_url else {
            return Migrator::up(&self.writer, None).await.map_err(unavailable);
        };
        // Nodes that start together go one after the other; the session's end gives the lock back.
        let patient = &[("lock_timeout", "0"), ("statement_timeout", "0")];
        let session =
            Database::connect(postgres_options(url, 1, patient)).await.map_err(unavailable)?;
        let lock = format!("SELECT pg_advisory_lock({MIGRATION_LOCK})");
        session.execute_unprepared(&lock).await.map_err(unavailable)?;
        let migrated = Migrator::up(&self.writer, None).await.map_err(unavailable);
        let _ = session.close().await;
        migrated
    }

    /// Whether the schema is up to date.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database cannot be read.
    pub async fn is_migrated(&self) -> Result<bool> {
        let pending = Migrator::get_pending_migrations(&self.writer).await.map_err(unavailable)?;
        Ok(pending.is_empty())
    }

    async fn open_sqlite(url: &str) -> Result<Self> {
        let options = |connections| {
            let mut options = ConnectOptions::new(url.to_owned());
            options
                .max_connections(connections)
                .min_connections(1)
                .acquire_timeout(PATIENCE)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                .sqlx_logging(false)
                .map_sqlx_sqlite_opts(|sqlite| {
                    // NORMAL loses acknowledged commits at a power cut.
                    sqlite
                        .journal_mode(SqliteJournalMode::Wal)
                        .synchronous(SqliteSynchronous::Full)
                        .foreign_keys(true)
                        // Negative is KiB: what a long backlog reads must not stay in memory five
                        // times over, and the system caches the file anyway.
                        .pragma("cache_size", "-512")
                        .busy_timeout(PATIENCE)
                        .statement_cache_capacity(256)
                });
            options
        };
        let writer = Database::connect(options(1)).await.map_err(unavailable)?;
        let readers = Database::connect(options(4)).await.map_err(unavailable)?;
        for (pragma, wanted) in [("journal_mode", "wal"), ("synchronous", "2")] {
            let found = pragma_value(&writer, pragma).await?;
            if found != wanted {
                return Err(Error::broken(
                    "the SQLite database",
                    format!("{pragma} is {found}, expected {wanted}"),
                ));
            }
        }
        Ok(Self { readers, ledger: writer.clone(), writer, postgres_url: None })
    }

    async fn open_postgres(url: &str) -> Result<Self> {
        let options = |connections, settings| postgres_options(url, connections, settings);
        let pool = Database::connect(options(8, &[])).await.map_err(unavailable)?;
        // Statistics of queue-like tables lag, and a sequential scan is then one bad guess away.
        let pinned = &[("enable_seqscan", "off"), ("plan_cache_mode", "force_generic_plan")];
        let ledger = Database::connect(options(1, pinned)).await.map_err(unavailable)?;
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            let sql = format!("SELECT current_setting('{setting}')");
            if text_value(&pool, sql).await? == "off" {
                return Err(Error::broken(
                    "the PostgreSQL database",
                    format!("{setting} is off: an accepted event could be lost"),
                ));
            }
        }
        Ok(Self { readers: pool.clone(), writer: pool, ledger, postgres_url: Some(url.to_owned()) })
    }

    /// Nodes and shards of a PostgreSQL; none of a SQLite, which has one node.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it can't be reached.
    pub async fn roster(&self) -> Result<Option<SqlRoster>> {
        let Some(url) = &self.postgres_url else { return Ok(None) };
        // A node that waits for longer than this has lost its lease in any case.
        let impatient = &[("statement_timeout", "2s"), ("lock_timeout", "1s")];
        let db = Database::connect(postgres_options(url, 2, impatient)).await;
        Ok(Some(SqlRoster::new(db.map_err(unavailable)?)))
    }

    /// Keeps other nodes off a PostgreSQL database for as long as the lock lives, or those that are alone
    /// when it is `shared`. SQLite needs none: its file is locked.
    ///
    /// # Errors
    /// [`Error::Broken`] when another node holds it.
    pub async fn lock_node(&self, shared: bool) -> Result<Option<NodeLock>> {
        let Some(url) = &self.postgres_url else { return Ok(None) };
        let mut options = ConnectOptions::new(url.clone());
        options
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(PATIENCE)
            .sqlx_logging(false);
        let session = Database::connect(options).await.map_err(unavailable)?;
        let lock = NodeLock { session, shared };
        if lock.hold().await? {
            Ok(Some(lock))
        } else {
            Err(Error::broken("the PostgreSQL database", "another node is running on it"))
        }
    }

    /// Connections for reading, for tools that look at rows.
    pub fn readers(&self) -> &DatabaseConnection {
        &self.readers
    }

    /// Closes all connections, so that nothing is left half-written.
    pub async fn close(self) {
        for connection in [self.readers, self.ledger, self.writer] {
            // A pool that is already closed is as closed as asked for.
            let _ = connection.close().await;
        }
    }
}

/// Settings of connections to the PostgreSQL at `url`. A process that was stopped in the middle of a
/// transaction must not keep others off its rows.
fn postgres_options(
    url: &str,
    connections: u32,
    settings: &'static [(&str, &str)],
) -> ConnectOptions {
    let mut options = ConnectOptions::new(url.to_owned());
    options
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .connect_timeout(PATIENCE)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(move |postgres| {
            postgres
                .application_name("hookseal")
                .options([
                    ("statement_timeout", "10s"),
                    ("lock_timeout", "5s"),
                    ("idle_in_transaction_session_timeout", "5s"),
                ])
                .options(settings.iter().copied())
        });
    options
}

/// Holds a place on a PostgreSQL database, in a session of its own: the only one, or one of several.
#[derive(Debug)]
pub struct NodeLock {
    session: DatabaseConnection,
    shared: bool,
}

impl NodeLock {
    /// Takes the lock unless this session has it; answers whether it is held.
    async fn hold(&self) -> Result<bool> {
        let (class, object) = (NODE_LOCK >> 32, NODE_LOCK & 0xffff_ffff);
        let sql = format!(
            "SELECT (EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted \
             AND pid = pg_backend_pid() AND classid::bigint = {class} AND objid::bigint = {object}) \
             OR pg_try_advisory_lock{shared}({NODE_LOCK}))::text",
            shared = if self.shared { "_shared" } else { "" },
        );
        Ok(text_value(&self.session, sql).await? == "true")
    }

    /// Looks after the lock, whose session a restart of the server ends. Returns when another node
    /// has taken it: then there are two, and this one must stop.
    pub async fn keep(&self) {
        loop {
            tokio::time::sleep(KEEP_EVERY).await;
            match self.hold().await {
                Ok(true) => {}
                Ok(false) => return,
                // While the database is away nobody can take it.
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "node lock not seen");
                }
            }
        }
    }
}

/// The file of a SQLite database: that of `url`, or the embedded one in `data_dir`. None for a
/// PostgreSQL.
pub fn sqlite_file(url: Option<&str>, data_dir: &Path) -> Option<PathBuf> {
    match url {
        None => Some(data_dir.join(SQLITE_FILE)),
        Some(url) => {
            let path = url.strip_prefix("sqlite:")?;
            let path = path.strip_prefix("//").unwrap_or(path);
            Some(path.split('?').next().unwrap_or_default().into())
        }
    }
}

async fn pragma_value(db: &DatabaseConnection, pragma: &str) -> Result<String> {
    let sql = format!("SELECT CAST({pragma} AS text) FROM pragma_{pragma}");
    text_value(db, sql).await
}

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
    pub fn start(
        connections: Connections,
        runtime: tokio::runtime::Handle,
        dispatch: Arc<dyn Dispatch>,
        feed: Arc<dyn Feed>,
        minter: Arc<Minter>,
    ) -> Self {
        let herald = Herald::new(feed);
        let writer = ledger::Writer {
            db: connections.ledger.clone(),
            dispatch: dispatch.clone(),
            herald: herald.clone(),
            minter: minter.clone(),
        };
        let ledger = ledger::start(writer, &runtime);
        Self { connections, runtime, ledger, dispatch, herald, minter }
    }

    fn readers(&self) -> DatabaseConnection {
        self.connections.readers.clone()
    }

    fn writer(&self) -> DatabaseConnection {
        self.connections.writer.clone()
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

    /// Runs database work on the store's runtime.
    async fn run<T: Send + 'static>(
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

/// Begins a transaction that writes. On SQLite it takes the write lock at once: one that reads first
/// would fail if another process wrote in between.
async fn begin_write(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    db.begin_with_options(TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..Default::default()
    })
    .await
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
    Ours(Error),
}

impl Failure {
    /// Trying the same batch again may pass: a serialization failure or a deadlock.
    fn is_conflict(&self) -> bool {
        let code = self.database_code();
        matches!(code.as_deref(), Some("40001" | "40P01"))
    }

    /// The database refused the data of a statement, which is one write's own doing; that it is
    /// away, locked or full concerns all of them.
    fn is_refusal(&self) -> bool {
        // PostgreSQL: data exceptions and integrity violations; SQLite: too big, constraint,
        // mismatch, whose extended codes carry them in their low byte.
        let of_data = |code: String| match code.parse::<i32>() {
            Ok(sqlite) if code.len() < 5 => matches!(sqlite & 0xff, 18..=20),
            Ok(_) | Err(_) => code.starts_with("22") || code.starts_with("23"),
        };
        matches!(self, Self::Ours(_)) || self.database_code().is_some_and(of_data)
    }

    fn database_code(&self) -> Option<String> {
        match self {
            Self::Driver(DbErr::Exec(RuntimeErr::SqlxError(error)))
            | Self::Driver(DbErr::Query(RuntimeErr::SqlxError(error))) => {
                Some(error.as_database_error()?.code().unwrap_or_default().into_owned())
            }
            Self::Driver(_) | Self::Ours(_) => None,
        }
    }
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        Self::Driver(error)
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
            Failure::Ours(error) => error,
        }
    }
}
