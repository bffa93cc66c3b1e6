//! All SQL.
//!
//! [`Store::read`], [`Store::write`] and [`Store::swap`] are the only ways in: a connection to read with, a transaction that
//! holds the database's one write lock from its first statement on, and the queue of changes of pointers. SQLite runs in WAL mode with `synchronous=FULL`: when a commit
//! returns, it is on the disk. One SQL text serves every database: `$1` placeholders, `on conflict do nothing` and row
//! counts instead of constraint names.
//!
//! A failed statement is [`Kind::Unavailable`]: certainly nothing happened. A failed *commit* of a swap is
//! [`Kind::CommitUnknown`], unless it is one that certainly undid everything.

pub mod functions;
pub mod gc;
pub mod keys;
mod moves;
pub mod namespaces;
mod pointers;
pub mod reports;
mod step;
pub mod swap;
pub mod tables;
pub mod tokens;
mod writer;

use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Executor, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::limits;
use pointers::Pointers;
use swap::SwapQueue;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// What a path may not carry as it is inside a database URL.
const PATH_ESCAPES: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'?').add(b'%');

/// The database, opened and migrated. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    readers: AnyPool,
    writer: AnyPool,
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
        let text = path.to_str().ok_or_else(|| {
            Error::illegal(format!("Database path {} is not UTF-8: choose another data-dir", path.display()))
        })?;
        let url = format!("sqlite://{}?mode=rwc", utf8_percent_encode(text, PATH_ESCAPES));
        sqlx::any::install_default_drivers();
        let failed = |error: sqlx::Error| {
            Error::new(Kind::Unavailable, format!("Database {text} cannot be opened")).because(error)
        };
        let writer = pool(1).connect(&url).await.map_err(failed)?;
        MIGRATIONS.run(&writer).await.map_err(|error| {
            Error::new(
                Kind::Unavailable,
                format!("Database {text} cannot be migrated: it may be damaged or newer than this program"),
            )
            .because(error)
        })?;
        let readers = pool(limits::STORE_READERS).connect(&url).await.map_err(failed)?;
        let pointers = std::sync::Arc::new(Pointers::default());
        let writing = Writing::default();
        let swaps = SwapQueue::start(url, std::sync::Arc::clone(&writing), std::sync::Arc::clone(&pointers)).await?;
        Ok(Self { readers, writer, pointers, swaps, writing, clock })
    }

    /// A connection to read with.
    pub async fn read(&self) -> Result<PoolConnection<Any>> {
        self.readers.acquire().await.map_err(unavailable)
    }

    /// A transaction that holds the write lock.
    pub async fn write(&self) -> Result<WriteTransaction> {
        let turn = std::sync::Arc::clone(&self.writing).lock_owned().await;
        let transaction = self.writer.begin_with(BEGIN).await.map_err(unavailable)?;
        Ok(WriteTransaction { transaction, _turn: turn })
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

fn pool(size: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(size)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(prepare(connection)))
        // One whose rollback failed believes for ever to be inside a transaction.
        .before_acquire(|connection, _| Box::pin(std::future::ready(Ok(!connection.is_in_transaction()))))
}

/// How a transaction that will write begins; a plain `begin` would fail later, when its first write meets another's lock.
const BEGIN: &str = "begin immediate";

async fn prepare(connection: &mut AnyConnection) -> sqlx::Result<()> {
    for pragma in ["busy_timeout = 10000", "journal_mode = wal", "synchronous = full", "foreign_keys = on"] {
        connection.execute(sqlx::AssertSqlSafe(format!("pragma {pragma}"))).await?;
    }
    Ok(())
}

/// A connection outside the pools.
async fn connect(url: &str) -> sqlx::Result<AnyConnection> {
    let mut connection = AnyConnection::connect(url).await?;
    prepare(&mut connection).await?;
    Ok(connection)
}

/// A full disk, or a database that somebody else holds, fails a commit before anything of it is there; of any other
/// failure nobody can say.
fn certainly_undone(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    let code = cause.and_then(sqlx::Error::as_database_error).and_then(|error| error.code());
    // SQLite's primary codes BUSY and FULL.
    matches!(code.as_deref(), Some("5" | "13"))
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
    let error = unavailable(error);
    if certainly_undone(&error) { error } else { commit_unknown(error) }
}

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
