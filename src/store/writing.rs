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
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::connections::PATIENCE;

/// Held by whoever writes to a SQLite.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteLock(Arc<Mutex<()>>);

/// Tells that nobody else of this process writes, for as long as it is there.
#[derive(Debug)]
pub(super) struct WriteGuard {
    _guard: OwnedMutexGuard<()>,
}

impl WriteLock {
    /// Waits until nobody else writes.
    pub(super) async fn lock(&self) -> Result<WriteGuard, DbErr> {
        let guard = timeout(PATIENCE, self.0.clone().lock_owned()).await;
        guard
            .map(|guard| WriteGuard { _guard: guard })
            .map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
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
        Ok(WriteTransaction { tx, _guard: guard })
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
    tx: DatabaseTransaction,
    /// Given back after the transaction.
    _guard: Option<WriteGuard>,
}

impl WriteTransaction {
    /// Commits it.
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        self.tx.commit().await
    }
}

impl Deref for WriteTransaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.tx
    }
}

#[async_trait]
impl ConnectionTrait for WriteTransaction {
    fn get_database_backend(&self) -> DbBackend {
        self.tx.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.tx.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.tx.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.tx.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.tx.query_all_raw(statement).await
    }
}
