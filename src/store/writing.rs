//! Connections for changes. A SQLite has one writer at a time: here they wait for each other in the order in which they
//! came, where its own lock would have each of them look again and again, and whoever writes most overtake the others.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    ExecResult, QueryResult, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait as _,
};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connections::PATIENCE;

/// Held by whoever writes to a SQLite.
#[derive(Clone, Debug)]
pub(super) struct WriteLock(Arc<Semaphore>);

/// Tells that nobody else of this process writes, for as long as it is there.
pub(super) type WriteGuard = OwnedSemaphorePermit;

impl WriteLock {
    /// A lock that nobody holds.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Waits until nobody else writes.
    pub(super) async fn lock(&self) -> Result<WriteGuard, DbErr> {
        let acquired = timeout(PATIENCE, self.0.clone().acquire_owned()).await;
        let acquired = acquired.map_err(|_| ConnAcquireErr::Timeout);
        acquired
            .and_then(|guard| guard.map_err(|_| ConnAcquireErr::ConnectionClosed))
            .map_err(DbErr::ConnectionAcquire)
    }

    /// Waits until nobody writes any more; nobody ever will.
    async fn close(&self) {
        // Whoever has not ended by now is cut off by the end of the process.
        let _guard = self.lock().await;
        self.0.close();
    }
}

/// Connections for changes, each of them alone where the database has one writer.
#[derive(Clone, Debug)]
pub(super) struct Writing {
    db: DatabaseConnection,
    /// None where the database keeps writers apart by rows.
    lock: Option<WriteLock>,
}

impl Writing {
    /// Writes over `db`, one at a time where there is a `lock`.
    pub(super) fn over(db: DatabaseConnection, lock: Option<WriteLock>) -> Self {
        Self { db, lock }
    }

    /// Waits until it can be written.
    pub(super) async fn ping(&self) -> Result<(), DbErr> {
        let _guard = self.alone().await?;
        self.db.ping().await
    }

    /// Closes the connections once nobody writes any more.
    pub(super) async fn close(&self) -> Result<(), DbErr> {
        if let Some(lock) = &self.lock {
            lock.close().await;
        }
        self.db.close_by_ref().await
    }

    /// The connections, for what waits for nobody.
    pub(super) fn unlocked(&self) -> &DatabaseConnection {
        &self.db
    }

    /// Begins a transaction that writes. On SQLite it takes the database's own write lock at once, too: one that reads
    /// first would fail if another process wrote in between.
    pub(super) async fn begin(&self) -> Result<WriteTransaction, DbErr> {
        let guard = self.alone().await?;
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let tx = self.db.begin_with_options(options).await?;
        Ok(WriteTransaction { tx: Some(tx), guard })
    }

    async fn alone(&self) -> Result<Option<WriteGuard>, DbErr> {
        match &self.lock {
            Some(lock) => lock.lock().await.map(Some),
            None => Ok(None),
        }
    }
}

/// Each statement a transaction of its own.
#[async_trait]
impl ConnectionTrait for Writing {
    fn get_database_backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let _guard = self.alone().await?;
        self.db.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let _guard = self.alone().await?;
        self.db.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let _guard = self.alone().await?;
        self.db.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let _guard = self.alone().await?;
        self.db.query_all_raw(statement).await
    }
}

/// A transaction that writes, of which nothing is kept unless it is committed.
pub(super) struct WriteTransaction {
    /// Until it ends.
    tx: Option<DatabaseTransaction>,
    /// Given back after the transaction.
    guard: Option<WriteGuard>,
}

impl WriteTransaction {
    /// Commits it.
    pub(super) async fn commit(mut self) -> Result<(), DbErr> {
        match self.tx.take() {
            Some(tx) => tx.commit().await,
            None => Ok(()),
        }
    }
}

impl Deref for WriteTransaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        self.tx.as_ref().expect("it is there until it ends")
    }
}

impl Drop for WriteTransaction {
    fn drop(&mut self) {
        let (tx, guard) = (self.tx.take(), self.guard.take());
        if let (Some(tx), Some(guard), Ok(runtime)) = (tx, guard, Handle::try_current()) {
            // It is another thread that rolls it back.
            runtime.spawn(async move {
                let _ = tx.rollback().await;
                drop(guard);
            });
        }
    }
}

#[async_trait]
impl ConnectionTrait for WriteTransaction {
    fn get_database_backend(&self) -> DbBackend {
        (**self).get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        (**self).execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        (**self).execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        (**self).query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        (**self).query_all_raw(statement).await
    }
}
