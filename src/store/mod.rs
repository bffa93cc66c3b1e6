//! All SQL.
//!
//! [`Store::read`], [`Store::write`] and [`Store::swap`] are the only ways in: a connection to read with, a transaction that
//! holds the database's one write lock from its first statement on, and the queue of changes of pointers. SQLite runs in
//! WAL mode with `synchronous=FULL`: when a commit returns, it is on the disk. One SQL text serves SQLite and PostgreSQL
//! (`$1` placeholders, `on conflict do nothing` and row counts instead of constraint names); what differs is in
//! `database.rs`.
//!
//! A failed statement is [`Kind::Unavailable`]: certainly nothing happened. A failed *commit* of a swap is
//! [`Kind::CommitUnknown`], unless it is one that certainly undid everything.

mod database;
pub mod functions;
pub mod gc;
pub mod keys;
pub mod log_marks;
mod moves;
pub mod namespaces;
mod pointers;
pub mod producers;
pub mod reports;
mod staged;
mod step;
pub mod swap;
pub mod tables;
pub mod tokens;
pub mod warehouses;
mod writer;

use std::path::Path;

use sqlx::any::AnyRow;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::limits;
use database::{Database, certainly_undone, disk_failed};
use pointers::Pointers;
use swap::SwapQueue;

/// The database, opened and migrated. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    readers: AnyPool,
    writer: AnyPool,
    database: Database,
    pointers: std::sync::Arc<Pointers>,
    swaps: SwapQueue,
    writing: Writing,
    clock: Clock,
}

/// Whose turn it is to write: waiting here is fair and ends at once, waiting for SQLite's own lock is neither.
type Writing = std::sync::Arc<Mutex<()>>;

/// A transaction that holds the write lock; dropped before its commit, nothing of it happened.
#[derive(Debug)]
pub struct WriteTransaction {
    transaction: Transaction<'static, Any>,
    _turn: OwnedMutexGuard<()>,
}

impl WriteTransaction {
    /// Makes it durable.
    pub async fn commit(self) -> Result<()> {
        self.transaction.commit().await.map_err(commit_failed)
    }
}

impl std::ops::Deref for WriteTransaction {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.transaction
    }
}

impl std::ops::DerefMut for WriteTransaction {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }
}

impl Store {
    /// Opens the SQLite database at `path`, making and migrating it where needed, and connects the writer that
    /// moves pointers. The caller holds the data directory's lock.
    pub async fn open(path: &Path, clock: Clock) -> Result<Self> {
        Self::over(Database::file(path)?, clock).await
    }

    /// Opens the PostgreSQL database behind a URL, migrating it where needed.
    pub async fn open_postgres(url: &str, clock: Clock) -> Result<Self> {
        Self::over(Database::postgres(url)?, clock).await
    }

    async fn over(database: Database, clock: Clock) -> Result<Self> {
        let writer = database.pool(1).await?;
        database.migrate(&writer).await?;
        let readers = database.pool(limits::STORE_READERS).await?;
        let pointers = std::sync::Arc::new(Pointers::default());
        let writing = Writing::default();
        let swaps =
            SwapQueue::start(database.clone(), std::sync::Arc::clone(&writing), std::sync::Arc::clone(&pointers));
        Ok(Self { readers, writer, database, pointers, swaps: swaps.await?, writing, clock })
    }

    /// A connection to read with.
    pub async fn read(&self) -> Result<PoolConnection<Any>> {
        self.readers.acquire().await.map_err(unavailable)
    }

    /// A transaction that holds the write lock.
    pub async fn write(&self) -> Result<WriteTransaction> {
        let turn = std::sync::Arc::clone(&self.writing).lock_owned().await;
        let transaction = self.database.begin_in(&self.writer).await?;
        Ok(WriteTransaction { transaction, _turn: turn })
    }

    /// Whether no other process writes to the database.
    pub fn is_ours_alone(&self) -> bool {
        self.database.is_ours_alone()
    }

    /// Waits for the swaps under way, then closes every connection.
    pub async fn close(&self) {
        self.swaps.stop().await;
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Whether the database answers, and was read again since a commit failed.
    pub async fn ping(&self) -> Result<()> {
        self.swaps.trust().await?;
        let mut connection = self.read().await?;
        sqlx::query("select 1").execute(&mut *connection).await.map_err(unavailable)?;
        Ok(())
    }
}

fn commit_unknown(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(
        Kind::CommitUnknown,
        "The catalog's database failed while committing: the change may or may not be there",
    )
    .because(error)
}

/// What a failed commit means for whoever waits for it.
fn commit_failed(error: sqlx::Error) -> Error {
    failed_at_the_end(unavailable(error))
}

/// The same, of an error that has been told apart already.
fn failed_at_the_end(error: Error) -> Error {
    if certainly_undone(&error) {
        return error;
    }
    let code = disk_failed(&error).then_some(DISK_FAILED);
    let unknown = commit_unknown(error);
    code.into_iter().fold(unknown, Error::with_code)
}

/// The code of a commit that the disk failed: it may come to light at a later start, though nothing of it is seen now.
pub const DISK_FAILED: &str = "disk_failed";

/// The database cannot do it now, and did nothing.
fn unavailable(error: sqlx::Error) -> Error {
    Error::new(Kind::Unavailable, "The catalog's database is not available; nothing was changed").because(error)
}

/// Reads a column; one that is missing or of another type is a mistake of ours.
fn column<'r, T>(row: &'r AnyRow, name: &str) -> Result<T>
where
    T: sqlx::Decode<'r, Any> + sqlx::Type<Any>,
{
    use sqlx::Row;
    row.try_get(name).map_err(|error| Error::internal(format!("Column {name} cannot be read")).because(error))
}
