//! Connections to either database, as safe as they have to be; and the locks that keep processes apart.
//!
//! A network that swallows packets leaves connections that nobody answers on, long after it works again.
//! Whoever looks after a lease or a lock notices, and has all connections to a PostgreSQL replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hookseal_core::error::{Error, Result};
use hookseal_core::ports::Secret;
use hookseal_migration::Migrator;
use parking_lot::{Mutex, RwLock};
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection};
use sea_orm_migration::MigratorTrait;

use super::embedded::Embedded;
use super::writing::{WriteLock, Writing};
use super::{SqlRoster, text_value, unavailable};

/// How long a caller waits for a connection or a lock before it hears that the store is away.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection to a PostgreSQL is known to be there after it was used. Asked each time, it costs every
/// transaction a way there and back.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// How often the node lock is looked after.
const KEEP_EVERY: Duration = Duration::from_millis(500);
/// How long nobody may answer before connections are replaced, and how often they are at most.
const SILENCE: Duration = Duration::from_secs(4);
const RENEWED_AT_MOST_EVERY: Duration = Duration::from_secs(8);
/// Page caches of SQLite connections; negative is KiB. What a long backlog reads must not stay in memory four times
/// over, and the system caches the file anyway.
const WRITER_CACHE: &str = "-8192";
const READER_CACHE: &str = "-512";
/// Pages of the write-ahead log, 256 MiB, that a writer writes back itself, where nobody did it before.
pub(super) const CHECKPOINT_PAGES: &str = "65536";
/// Transactions of the ledger that a PostgreSQL runs at once.
pub(super) const LEDGER_CONNECTIONS: u32 = 2;
/// Writes back as much of a SQLite's log as can be without anybody waiting.
const WRITE_BACK: &str = "PRAGMA wal_checkpoint(PASSIVE)";
/// Name of the database file in the data directory.
const SQLITE_FILE: &str = "hookseal.sqlite3";
/// Key of the advisory lock that keeps a PostgreSQL database to one node.
const NODE_LOCK: i64 = 0x686f_6f6b_7365_616c;
/// Key of the advisory lock that lets one node migrate at a time.
const MIGRATION_LOCK: i64 = NODE_LOCK + 1;

/// Connections to the database, checked.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pools: RwLock<Pools>,
    behind: Behind,
    renewed_at: Mutex<Instant>,
}

/// What is behind the pools.
#[derive(Debug)]
enum Behind {
    /// A SQLite, and the ledger's own connection to it.
    Sqlite(Embedded),
    /// The PostgreSQL at this URL.
    Postgres(Secret),
}

#[derive(Clone, Debug)]
struct Pools {
    readers: DatabaseConnection,
    writer: Writing,
    /// The ledger's own: on PostgreSQL its plans are pinned to indexes.
    ledger: Writing,
    /// Those of leases, which must not be lost for want of a connection. Nobody else's on SQLite.
    roster: DatabaseConnection,
}

impl Pools {
    /// Pools over the PostgreSQL at `url`; connections are made as they are needed.
    async fn over(url: &str) -> Result<Self> {
        let open = async |connections, settings| {
            let mut options = postgres_options(url, connections, settings);
            options.connect_lazy(true);
            Database::connect(options).await.map_err(unavailable)
        };
        let pool = open(8, &[]).await?;
        Ok(Self {
            readers: pool.clone(),
            writer: Writing::over(pool, None),
            // Statistics of queue-like tables lag, and a sequential scan is then one bad guess away.
            ledger: Writing::over(
                open(
                    LEDGER_CONNECTIONS,
                    &[("enable_seqscan", "off"), ("plan_cache_mode", "force_generic_plan")],
                )
                .await?,
                None,
            ),
            // Who waits for longer than this has lost his lease in any case.
            roster: open(2, &[("statement_timeout", "2s"), ("lock_timeout", "1s")]).await?,
        })
    }
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

    fn new(pools: Pools, behind: Behind) -> Self {
        let (pools, renewed_at) = (RwLock::new(pools), Mutex::new(Instant::now()));
        Self(Arc::new(Shared { pools, behind, renewed_at }))
    }

    async fn open_sqlite(url: &str) -> Result<Self> {
        let options = |connections, cache: &'static str| {
            let mut options = ConnectOptions::new(url.to_owned());
            options
                .max_connections(connections)
                .min_connections(1)
                .acquire_timeout(PATIENCE)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                .sqlx_logging(false)
                .map_sqlx_sqlite_opts(move |sqlite| {
                    // NORMAL loses acknowledged commits at a power cut.
                    sqlite
                        .journal_mode(SqliteJournalMode::Wal)
                        .synchronous(SqliteSynchronous::Full)
                        .foreign_keys(true)
                        .pragma("cache_size", cache)
                        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
                        .busy_timeout(PATIENCE)
                        .statement_cache_capacity(256)
                });
            options
        };
        let writer = Database::connect(options(1, WRITER_CACHE)).await.map_err(unavailable)?;
        let readers = Database::connect(options(4, READER_CACHE)).await.map_err(unavailable)?;
        for (pragma, wanted) in [("journal_mode", "wal"), ("synchronous", "2")] {
            let found = pragma_value(&writer, pragma).await?;
            if found != wanted {
                return Err(Error::broken(
                    "the SQLite database",
                    format!("{pragma} is {found}, expected {wanted}"),
                ));
            }
        }
        let file = sqlite_file(Some(url), Path::new("")).unwrap_or_default();
        let lock = WriteLock::new();
        let writer = Writing::over(writer, Some(lock.clone()));
        let embedded = Embedded::new(file, lock);
        let (ledger, roster) = (writer.clone(), readers.clone());
        Ok(Self::new(Pools { readers, writer, ledger, roster }, Behind::Sqlite(embedded)))
    }

    async fn open_postgres(url: &str) -> Result<Self> {
        let pools = Pools::over(url).await?;
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            let sql = format!("SELECT current_setting('{setting}')");
            if text_value(&pools.readers, sql).await? == "off" {
                return Err(Error::broken(
                    "the PostgreSQL database",
                    format!("{setting} is off: an accepted event could be lost"),
                ));
            }
        }
        Ok(Self::new(pools, Behind::Postgres(Secret::new(url))))
    }

    /// Brings the schema up to date. Nobody who knows only the older one may be at work.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database refuses it.
    pub async fn migrate(&self) -> Result<()> {
        let Some(url) = self.postgres_url() else {
            return Migrator::up(self.writer().unlocked(), None).await.map_err(unavailable);
        };
        // Nodes that start together go one after the other; the session's end gives the lock back.
        let patient = &[("lock_timeout", "0"), ("statement_timeout", "0")];
        let session = Database::connect(postgres_options(url.expose(), 1, patient))
            .await
            .map_err(unavailable)?;
        let lock = format!("SELECT pg_advisory_lock({MIGRATION_LOCK})");
        session.execute_unprepared(&lock).await.map_err(unavailable)?;
        // Steps over filled tables take longer than any statement of the daemon may.
        let migrated = Migrator::up(&session, None).await.map_err(unavailable);
        // A session that is gone has given the lock back as well.
        let _ = session.close().await;
        migrated
    }

    /// Whether the schema is up to date.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database cannot be read.
    pub async fn is_migrated(&self) -> Result<bool> {
        let pending = Migrator::get_pending_migrations(self.writer().unlocked()).await;
        Ok(pending.map_err(unavailable)?.is_empty())
    }

    /// Nodes and shards of a PostgreSQL; none of a SQLite, which has one node.
    pub fn roster(&self) -> Option<SqlRoster> {
        self.postgres_url().is_some().then(|| SqlRoster::new(self.clone()))
    }

    /// Keeps other nodes off a PostgreSQL database for as long as the lock lives, or those that are alone
    /// when it is `shared`. SQLite needs none: its file is locked.
    ///
    /// # Errors
    /// [`Error::Broken`] when another node holds it.
    pub async fn lock_node(&self, shared: bool) -> Result<Option<NodeLock>> {
        let Some(url) = self.postgres_url() else { return Ok(None) };
        let mut options = ConnectOptions::new(url.expose().to_owned());
        options
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(PATIENCE)
            .sqlx_logging(false);
        let session = Database::connect(options).await.map_err(unavailable)?;
        let lock = NodeLock { session, shared, connections: self.clone() };
        if lock.hold().await? {
            Ok(Some(lock))
        } else {
            Err(Error::broken("the PostgreSQL database", "another node is running on it"))
        }
    }

    /// Waits for what a lease depends on; replaces all connections when nobody answers.
    ///
    /// # Errors
    /// What `work` fails with, or [`Error::Unavailable`] when it does not end.
    pub(super) async fn heard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(SILENCE, work).await {
            Ok(result) => result,
            Err(silence) => {
                self.renew().await;
                Err(Error::unavailable("the database", silence))
            }
        }
    }

    /// Leaves the connections to a PostgreSQL behind, for whoever still waits on them, and makes others.
    async fn renew(&self) {
        let Some(url) = self.postgres_url() else { return };
        if std::mem::replace(&mut *self.0.renewed_at.lock(), Instant::now()).elapsed()
            < RENEWED_AT_MOST_EVERY
        {
            return;
        }
        match Pools::over(url.expose()).await {
            Ok(pools) => *self.0.pools.write() = pools,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "connections not replaced");
            }
        }
    }

    /// Connections for reading.
    pub fn readers(&self) -> DatabaseConnection {
        self.0.pools.read().readers.clone()
    }

    /// Connections for changes that are not the ledger's.
    pub(super) fn writer(&self) -> Writing {
        self.0.pools.read().writer.clone()
    }

    /// Writes the log of a SQLite back into its file, and has the disk keep that, while others read and write.
    pub(super) async fn write_back(&self) {
        if self.embedded().is_none() {
            return;
        }
        // What is not written back now is with the next.
        let _ = self.readers().execute_unprepared(WRITE_BACK).await;
        let this = self.clone();
        let sync = move || this.embedded().map(Embedded::sync);
        if let Ok(Some(Err(error))) = tokio::task::spawn_blocking(sync).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the disk did not keep what was written back");
        }
    }

    /// Makes an end of writing back, of the little that came in meanwhile, while nobody else writes: then the log of a
    /// SQLite begins anew.
    pub(super) async fn begin_log_anew(&self) {
        if self.embedded().is_some() {
            // Where somebody reads the log, it begins anew with the next.
            let _ = self.writer().execute_unprepared(WRITE_BACK).await;
        }
    }

    /// Gives the pages back that a SQLite's writer keeps; they are read again when they are needed.
    pub(super) async fn release_pages(&self) {
        let Some(embedded) = self.embedded() else { return };
        embedded.release_pages();
        // Kept, they cost memory and nothing else.
        let _ = self.writer().execute_unprepared("PRAGMA shrink_memory").await;
    }

    /// The ledger's own connection to a SQLite.
    pub(super) fn embedded(&self) -> Option<&Embedded> {
        match &self.0.behind {
            Behind::Sqlite(embedded) => Some(embedded),
            Behind::Postgres(_) => None,
        }
    }

    /// Where a PostgreSQL is.
    fn postgres_url(&self) -> Option<&Secret> {
        match &self.0.behind {
            Behind::Sqlite(_) => None,
            Behind::Postgres(url) => Some(url),
        }
    }

    pub(super) fn ledger(&self) -> Writing {
        self.0.pools.read().ledger.clone()
    }

    pub(super) fn leases(&self) -> DatabaseConnection {
        self.0.pools.read().roster.clone()
    }

    /// Closes all connections, so that nothing is left half-written.
    pub async fn close(self) {
        let Pools { readers, writer, ledger, roster } = self.0.pools.read().clone();
        // A pool that is already closed is as closed as asked for.
        let _ = ledger.close().await;
        let _ = writer.close().await;
        let _ = readers.close().await;
        let _ = roster.close().await;
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
        .test_before_acquire_if_idle_for(KNOWN_FOR)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(move |postgres| {
            postgres
                .application_name("hookseal")
                .options([
                    ("statement_timeout", "10s"),
                    ("lock_timeout", "5s"),
                    ("idle_in_transaction_session_timeout", "5s"),
                    // To compile a statement takes longer than any of ours; where scans are ruled out
                    // by their cost, every one that has no other way would be compiled.
                    ("jit", "off"),
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
    connections: Connections,
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
            match self.connections.heard(self.hold()).await {
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
