//! The database of one run: made for it, and gone after it. With it the Redis beside it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use hookseal_core::error::{Error, Result};
use redis::aio::MultiplexedConnection;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, Statement};
use url::Url;

use super::progress;
use super::samples::Summary;
use super::usage::is_here;

/// How often a row is inserted to learn what a commit takes.
const COMMITS: usize = 200;
/// About as many bytes as a sealed payload has.
const ROW_BYTES: usize = 1000;
/// Every key that Hookseal writes.
const REDIS_KEYS: &str = "hookseal*";

/// Where data is kept.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// A PostgreSQL in which databases may be made; SQLite when none.
    pub(super) database: Option<Url>,
    pub(super) redis: Option<String>,
}

/// A database of its own.
pub(super) struct Scratch {
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    directory: PathBuf,
}

struct Postgres {
    server: DatabaseConnection,
    name: String,
    url: Url,
}

struct Redis {
    url: String,
    connection: MultiplexedConnection,
}

fn unavailable(error: sea_orm::DbErr) -> Error {
    Error::unavailable("the database", error)
}

fn redis_unavailable(error: redis::RedisError) -> Error {
    Error::unavailable("Redis", error)
}

impl Place {
    /// Judges the URLs that a user gave.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the one at fault.
    pub(super) fn judge(database: Option<&str>, redis: Option<&str>) -> Result<Self> {
        let parse = |text: &str| {
            let url = Url::parse(text).ok();
            let url = url.filter(|url| matches!(url.scheme(), "postgres" | "postgresql"));
            url.ok_or_else(|| Error::invalid("database", "a postgres: URL, or nothing for SQLite"))
        };
        if redis.is_some_and(|url| !url.starts_with("redis://") && !url.starts_with("rediss://")) {
            return Err(Error::invalid("redis", "a URL such as redis://127.0.0.1:6379/9"));
        }
        Ok(Self { database: database.map(parse).transpose()?, redis: redis.map(ToOwned::to_owned) })
    }

    /// Reaches what is there already.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be reached, [`Error::Invalid`] when Redis is in use.
    pub(super) async fn reach(&self) -> Result<()> {
        if let Some(url) = &self.redis {
            Redis::open(url).await?;
        }
        if let Some(url) = &self.database {
            let server = Database::connect(single(url)).await.map_err(unavailable)?;
            server.close().await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// Makes a database; SQLite keeps it in `directory`.
    pub(super) async fn make(&self, directory: &Path) -> Result<Scratch> {
        let redis = match &self.redis {
            None => None,
            Some(url) => Some(Redis::open(url).await?),
        };
        let postgres = match &self.database {
            None => None,
            Some(url) => Some(Postgres::make(url).await?),
        };
        Ok(Scratch { postgres, redis, directory: directory.to_owned() })
    }

    /// Its name for people.
    pub(super) fn kind(&self) -> &'static str {
        match self.database {
            None => "SQLite",
            Some(_) => "PostgreSQL",
        }
    }
}

impl Scratch {
    /// The settings that lead a daemon here.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let data = self.directory.join("data").to_string_lossy().into_owned();
        let mut environment = vec![("HOOKSEAL_DATA_DIR", data)];
        if let Some(postgres) = &self.postgres {
            environment.push(("HOOKSEAL_DATABASE_URL", postgres.url.to_string()));
        }
        if let Some(redis) = &self.redis {
            environment.push(("HOOKSEAL_REDIS_URL", redis.url.clone()));
        }
        environment
    }

    /// A connection to the daemon's rows.
    pub(super) async fn connect(&self) -> Result<DatabaseConnection> {
        self.connect_to("data/hookseal.sqlite3").await
    }

    /// A connection to the database, which is this file where it is SQLite.
    async fn connect_to(&self, file: &str) -> Result<DatabaseConnection> {
        let connection = match &self.postgres {
            Some(postgres) => Database::connect(single(&postgres.url)).await,
            None => Database::connect(sqlite(&self.directory.join(file))).await,
        };
        connection.map_err(unavailable)
    }

    /// What it takes to commit one row, one after the other, as durably as the daemon does.
    pub(super) async fn commit_time(&self) -> Result<Summary> {
        let connection = self.connect_to("commits.sqlite3").await?;
        let run = async |sql: &str| connection.execute_unprepared(sql).await.map_err(unavailable);
        run("CREATE TABLE bench_commits (id INTEGER PRIMARY KEY, body TEXT)").await?;
        let mut samples = Vec::with_capacity(COMMITS);
        for id in 0..COMMITS {
            let body = "x".repeat(ROW_BYTES);
            let sql = format!("INSERT INTO bench_commits (id, body) VALUES ({id}, '{body}')");
            let started = Instant::now();
            run(&sql).await?;
            samples.push(started.elapsed().as_nanos() as u64);
        }
        run("DROP TABLE bench_commits").await?;
        connection.close().await.map_err(unavailable)?;
        Ok(Summary::of(samples))
    }

    /// The server's part in it, when it is a PostgreSQL that runs here.
    pub(super) async fn sessions(&self) -> Result<Option<Sessions>> {
        let Some(Postgres { server, name, .. }) = &self.postgres else { return Ok(None) };
        let sessions = Sessions { server: server.clone(), name: name.clone() };
        let processes = sessions.processes().await?;
        Ok(processes.iter().any(|process| is_here(*process, "postgres")).then_some(sessions))
    }

    pub(super) fn redis(&self) -> Option<MultiplexedConnection> {
        self.redis.as_ref().map(|redis| redis.connection.clone())
    }

    /// Takes all of it away. Nobody may be at work on it any more.
    pub(super) async fn remove(self) -> Result<()> {
        if let Some(Postgres { server, name, .. }) = self.postgres {
            let sql = format!("DROP DATABASE {name} WITH (FORCE)");
            server.execute_unprepared(&sql).await.map_err(unavailable)?;
            server.close().await.map_err(unavailable)?;
            progress::line(&format!("dropped the database {name}"));
        }
        if let Some(mut redis) = self.redis {
            let keys = redis.keys().await?;
            for keys in keys.chunks(500) {
                let mut delete = redis::cmd("UNLINK");
                let deleted = delete.arg(keys).query_async::<()>(&mut redis.connection).await;
                deleted.map_err(redis_unavailable)?;
            }
        }
        Ok(())
    }
}

/// The sessions of a database, and what the server does for all databases together. Those of other databases are
/// somebody else's.
pub(super) struct Sessions {
    server: DatabaseConnection,
    name: String,
}

impl Sessions {
    /// Ids of the processes that there are now. What one spent that has ended since is missing.
    pub(super) async fn processes(&self) -> Result<Vec<u32>> {
        let sql = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = '{}' OR datname IS NULL",
            self.name
        );
        let statement = Statement::from_string(self.server.get_database_backend(), sql);
        let rows = self.server.query_all_raw(statement).await.map_err(unavailable)?;
        let process = |row: &sea_orm::QueryResult| row.try_get_by_index::<i32>(0);
        let processes = rows.iter().map(|row| process(row).map(i32::unsigned_abs));
        processes.collect::<std::result::Result<_, _>>().map_err(unavailable)
    }
}

impl Postgres {
    async fn make(url: &Url) -> Result<Self> {
        let server = Database::connect(single(url)).await.map_err(unavailable)?;
        let name = format!("hookseal_bench_{:016x}", rand::random::<u64>());
        let sql = format!("CREATE DATABASE {name}");
        server.execute_unprepared(&sql).await.map_err(unavailable)?;
        progress::line(&format!("made the database {name}, which is dropped in the end"));
        let mut url = url.clone();
        url.set_path(&name);
        Ok(Self { server, name, url })
    }
}

impl Redis {
    async fn open(url: &str) -> Result<Self> {
        let client = redis::Client::open(url).map_err(redis_unavailable)?;
        let connection = client.get_multiplexed_async_connection().await;
        let mut redis =
            Self { url: url.to_owned(), connection: connection.map_err(redis_unavailable)? };
        // They may be an installation's.
        if redis.keys().await?.is_empty() {
            Ok(redis)
        } else {
            Err(Error::invalid("redis", format!("a database without keys {REDIS_KEYS}")))
        }
    }

    async fn keys(&mut self) -> Result<Vec<String>> {
        let (mut keys, mut cursor) = (Vec::new(), 0u64);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(REDIS_KEYS).arg("COUNT").arg(1000);
            let scanned = scan.query_async(&mut self.connection).await;
            let (next, found): (u64, Vec<String>) = scanned.map_err(redis_unavailable)?;
            keys.extend(found);
            if next == 0 {
                return Ok(keys);
            }
            cursor = next;
        }
    }
}

fn single(url: &Url) -> ConnectOptions {
    let mut options = ConnectOptions::new(url.to_string());
    options.max_connections(1).sqlx_logging(false);
    options
}

/// As the daemon's writer.
fn sqlite(file: &Path) -> ConnectOptions {
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
    options.max_connections(1).sqlx_logging(false).map_sqlx_sqlite_opts(|sqlite| {
        sqlite.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full)
    });
    options
}
