//! The ledger's own connection to a SQLite. Its batches run on the thread that gathers them: through a pool, each
//! statement goes to another thread and its answer comes back, and under load both wait for a processor each time.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::OnceLock;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};

use super::Failure;
use super::connections::{CHECKPOINT_PAGES, PATIENCE};
use super::writing::{WriteGuard, WriteLock};

/// Its page cache; negative is KiB. It holds the pages of a transaction: what does not fit is written twice, and all
/// that fits is looked through at the end of most transactions.
const CACHE: &str = "-28672";
/// Statements that stay prepared: each of the ledger's texts, several times over.
const PREPARED: usize = 64;

/// The connection, made when it is first used.
#[derive(Debug)]
pub(super) struct Embedded {
    file: PathBuf,
    lock: WriteLock,
    connection: Mutex<Option<Connection>>,
    /// The file once more, never closed: closing any descriptor of a file takes the locks on it from a whole process,
    /// and with them SQLite's.
    synced: OnceLock<ManuallyDrop<File>>,
}

impl Embedded {
    /// A connection to `file`, which whoever has the `lock` writes to.
    pub(super) fn new(file: PathBuf, lock: WriteLock) -> Self {
        Self { file, lock, connection: Mutex::default(), synced: OnceLock::new() }
    }

    /// Begins a transaction, once nobody else writes. What it does blocks the thread.
    pub(super) async fn begin(&self) -> Result<Transaction<'_>, Failure> {
        let guard = self.lock.lock().await?;
        let kept = self.connection.lock().take();
        let connection = Some(kept.map_or_else(|| self.open(), Ok)?);
        let transaction = Transaction { connection, home: self, _guard: guard };
        transaction.execute_batch("BEGIN IMMEDIATE")?;
        Ok(transaction)
    }

    /// Has the disk keep what was written back into the file; blocks the thread. SQLite does that only with the last of
    /// what its log holds, which under load it finds only while nobody else writes: they would wait for all of it.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        if let Some(file) = self.synced.get() {
            return file.sync_data();
        }
        let file = ManuallyDrop::new(File::open(&self.file)?);
        self.synced.get_or_init(|| file).sync_data()
    }

    /// Gives the pages back that it keeps; they are read again when they are needed.
    pub(super) fn release_pages(&self) {
        if let Some(connection) = &*self.connection.lock() {
            // Kept, they cost memory and nothing else.
            let _ = connection.execute_batch("PRAGMA shrink_memory");
        }
    }

    fn open(&self) -> Result<Connection, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.file, flags)?;
        connection.busy_timeout(PATIENCE)?;
        connection.execute_batch(&format!(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = {CACHE}; \
             PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}"
        ))?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        Ok(connection)
    }
}

/// A transaction, of which nothing is kept unless it is committed.
pub(super) struct Transaction<'a> {
    /// Until it goes back home.
    connection: Option<Connection>,
    home: &'a Embedded,
    /// Given back after the connection.
    _guard: WriteGuard,
}

impl Transaction<'_> {
    /// Commits it.
    pub(super) fn commit(self) -> Result<(), Failure> {
        Ok(self.execute_batch("COMMIT")?)
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it goes back home with the transaction's end")
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // One that cannot be brought out of its transaction is left behind.
        if connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok() {
            *self.home.connection.lock() = Some(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use sea_orm::ConnectionTrait as _;

    use super::Connection;
    use crate::store::Connections;

    async fn with_a_table(directory: &Path) -> Connections {
        let connections = Connections::connect(None, directory).await.expect("a database");
        let made = connections.writer().execute_unprepared("CREATE TABLE a (k)").await;
        made.expect("it is made");
        connections
    }

    fn count(tx: &Connection) -> rusqlite::Result<i64> {
        tx.query_row("SELECT count(*) FROM a", [], |row| row.get(0))
    }

    #[tokio::test]
    async fn what_is_not_committed_is_gone_and_whoever_else_writes_waits() {
        let directory = tempfile::tempdir().expect("a directory");
        let connections = with_a_table(directory.path()).await;
        let (writer, embedded) = (connections.writer(), connections.embedded().expect("a SQLite"));
        let begin = async || embedded.begin().await.ok().expect("it begins");
        let insert = "INSERT INTO a VALUES (1)";

        let dropped = begin().await;
        assert_eq!(dropped.execute(insert, []), Ok(1));
        assert!(dropped.execute("INSERT INTO nothing VALUES (1)", []).is_err());
        drop(dropped);

        let tx = begin().await;
        let synchronous = tx.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0));
        assert_eq!(synchronous, Ok(2), "less would lose acknowledged commits at a power cut");
        assert_eq!(count(&tx), Ok(0));
        assert_eq!(tx.execute(insert, []), Ok(1));
        let other = writer.execute_unprepared(insert);
        tokio::pin!(other);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut other).await.is_err());
        assert!(tx.commit().is_ok());
        let (other, tx) = tokio::join!(other, begin());
        other.expect("it is his turn");
        assert_eq!(count(&tx), Ok(2), "who came first writes first");
    }

    #[tokio::test]
    async fn what_is_dropped_is_undone_before_others_write_and_what_is_closed_is_never_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let connections = with_a_table(directory.path()).await;
        let (writer, embedded) = (connections.writer(), connections.embedded().expect("a SQLite"));
        for _ in 0..20 {
            let dropped = writer.begin().await.expect("it begins");
            dropped.execute_unprepared("INSERT INTO a VALUES (1)").await.expect("it is written");
            drop(dropped);
            let tx = embedded.begin().await.ok().expect("it begins");
            assert_eq!(count(&tx), Ok(0));
        }
        let tx = embedded.begin().await.ok().expect("it begins");
        let closed = connections.clone().close();
        tokio::pin!(closed);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut closed).await.is_err());
        assert!(tx.commit().is_ok());
        closed.await;
        assert!(embedded.begin().await.is_err());
        assert!(writer.execute_unprepared("INSERT INTO a VALUES (1)").await.is_err());
    }

    #[tokio::test]
    async fn a_log_that_is_written_back_begins_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let connections = with_a_table(directory.path()).await;
        let embedded = connections.embedded().expect("a SQLite");
        let insert = async |rows: usize| {
            for _ in 0..rows {
                let tx = embedded.begin().await.ok().expect("it begins");
                assert_eq!(tx.execute("INSERT INTO a VALUES (1)", []), Ok(1));
                assert!(tx.commit().is_ok());
            }
        };
        let pages = async || {
            let tx = embedded.begin().await.ok().expect("it begins");
            tx.execute_batch("ROLLBACK").expect("it ends");
            tx.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(1))
        };
        insert(100).await;
        connections.write_back().await;
        insert(1).await;
        assert!(pages().await.expect("a number") < 10, "nothing came in meanwhile");
        insert(100).await;
        connections.begin_log_anew().await;
        insert(1).await;
        assert!(pages().await.expect("a number") < 10);
        let tx = embedded.begin().await.ok().expect("it begins");
        assert_eq!(count(&tx), Ok(202));
    }
}
