//! Which database it is, and what differs between them: how it is opened, and how a transaction that writes begins.
//!
//! Everything else is one SQL text for both. On SQLite the write lock is the database's own, taken at once, because a
//! plain `begin` would fail later, when its first write meets another's. On PostgreSQL it is an advisory lock that ends
//! with the transaction: what is read under it is not changed by anybody else. Texts must be ordered by their bytes there
//! too, because what lies inside a location is found as a range.

use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Executor, Transaction};

use crate::error::{Error, Kind, Result};
use crate::limits;

use super::{column, unavailable};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// What a path may not carry as it is inside a database URL.
const PATH_ESCAPES: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'?').add(b'%');

/// What every connection to SQLite begins with.
const PRAGMAS: [&str; 4] = ["busy_timeout = 10000", "journal_mode = wal", "synchronous = full", "foreign_keys = on"];

/// The number of the one lock that writers of a PostgreSQL database take.
const LOCK: &str = "select 1 from (select pg_advisory_xact_lock(7305110415)) as locked";

/// Asks PostgreSQL how it orders text, whoever does it for it.
const ORDERED_BY_BYTES: &str =
    "select cast(case when 'B' < 'a' and 'a-b' < 'aa' and 'z' < 'é' then 1 else 0 end as bigint) as bytes";

/// A database that can be connected to.
#[derive(Debug, Clone)]
pub(super) struct Database {
    url: String,
    /// What it is called in messages: its URL may hold a password.
    name: String,
    dialect: Dialect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

impl Database {
    /// The SQLite database in a file.
    pub(super) fn file(path: &std::path::Path) -> Result<Self> {
        let name = path.to_str().ok_or_else(|| {
            Error::illegal(format!("Database path {} is not UTF-8: choose another data-dir", path.display()))
        })?;
        let url = format!("sqlite://{}?mode=rwc", utf8_percent_encode(name, PATH_ESCAPES));
        Ok(Self { url, name: name.to_owned(), dialect: Dialect::Sqlite })
    }

    /// The PostgreSQL database behind a URL.
    pub(super) fn postgres(url: &str) -> Result<Self> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(Error::illegal("A database URL begins with postgres://"));
        }
        // Both may hold a password: what stands before the host, and what is asked after it.
        let (address, _) = url.split_once('?').unwrap_or((url, ""));
        let name = address.rsplit_once('@').map_or(address, |(_, host)| host).to_owned();
        Ok(Self { url: url.to_owned(), name, dialect: Dialect::Postgres })
    }

    /// Connects a pool of connections.
    pub(super) async fn pool(&self, size: u32) -> Result<AnyPool> {
        sqlx::any::install_default_drivers();
        let dialect = self.dialect;
        let patience = match dialect {
            Dialect::Sqlite => limits::SQLITE_WAIT_MS,
            Dialect::Postgres => limits::POSTGRES_WAIT_MS,
        };
        let pool = AnyPoolOptions::new()
            .acquire_timeout(Duration::from_millis(patience))
            .max_connections(size)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(dialect == Dialect::Postgres)
            .after_connect(move |connection, _| Box::pin(dialect.prepare(connection)))
            // One whose rollback failed believes for ever to be inside a transaction.
            .before_acquire(|connection, _| Box::pin(std::future::ready(Ok(!connection.is_in_transaction()))))
            .connect(&self.url);
        pool.await.map_err(|error| {
            Error::new(Kind::Unavailable, format!("Database {} cannot be opened", self.name)).because(error)
        })
    }

    /// Brings the database's tables up to date.
    pub(super) async fn migrate(&self, pool: &AnyPool) -> Result<()> {
        self.check_order(pool).await?;
        MIGRATIONS.run(pool).await.map_err(|error| {
            let name = &self.name;
            let message = format!("Database {name} cannot be migrated: it may be damaged or newer than this program");
            Error::new(Kind::Unavailable, message).because(error)
        })
    }

    async fn check_order(&self, pool: &AnyPool) -> Result<()> {
        if self.dialect == Dialect::Sqlite {
            return Ok(());
        }
        let row = sqlx::query(ORDERED_BY_BYTES).fetch_one(pool).await.map_err(unavailable)?;
        if column::<i64>(&row, "bytes")? == 1 {
            return Ok(());
        }
        let name = &self.name;
        Err(Error::illegal(format!(
            "Database {name} orders text by the rules of a language, not by bytes: create it with template template0 and \
             locale 'C'"
        )))
    }

    /// A connection outside the pools.
    pub(super) async fn connect(&self) -> sqlx::Result<AnyConnection> {
        let mut connection = AnyConnection::connect(&self.url).await?;
        self.dialect.prepare(&mut connection).await?;
        Ok(connection)
    }

    /// Whether one statement alone is as good as a transaction under the write lock: where nobody else can write.
    pub(super) fn is_ours_alone(&self) -> bool {
        self.dialect == Dialect::Sqlite
    }

    /// Begins a transaction that holds the write lock from its first statement on.
    pub(super) async fn begin<'c>(&self, connection: &'c mut AnyConnection) -> Result<Transaction<'c, Any>> {
        let transaction = connection.begin_with(self.dialect.begin()).await.map_err(unavailable)?;
        self.dialect.locked(transaction).await
    }

    /// The same, on a connection of a pool.
    pub(super) async fn begin_in(&self, pool: &AnyPool) -> Result<Transaction<'static, Any>> {
        let transaction = pool.begin_with(self.dialect.begin()).await.map_err(unavailable)?;
        self.dialect.locked(transaction).await
    }
}

impl Dialect {
    async fn prepare(self, connection: &mut AnyConnection) -> sqlx::Result<()> {
        if self == Self::Sqlite {
            for pragma in PRAGMAS {
                connection.execute(sqlx::AssertSqlSafe(format!("pragma {pragma}"))).await?;
            }
        }
        Ok(())
    }

    fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "begin immediate",
            Self::Postgres => "begin isolation level read committed",
        }
    }

    async fn locked(self, mut transaction: Transaction<'_, Any>) -> Result<Transaction<'_, Any>> {
        if self == Self::Postgres {
            sqlx::query(LOCK).execute(&mut *transaction).await.map_err(unavailable)?;
        }
        Ok(transaction)
    }
}

/// Whether a failed commit certainly left nothing behind: the database says itself that it could not, because the disk is
/// full, or somebody else holds it. Of any other failure nobody can say.
pub(super) fn certainly_undone(error: &Error) -> bool {
    let code = code_of(error);
    // SQLite's primary codes BUSY and FULL; PostgreSQL's class of too few resources, a lost serialisation, a deadlock.
    code.as_deref()
        .is_some_and(|code| matches!(code, "5" | "13" | "40001" | "40P01") || code.len() == 5 && code.starts_with("53"))
}

/// Whether SQLite could not write or sync. What it wrote before that may be whole on the disk, where the next start finds it,
/// although whoever reads now does not see it.
pub(super) fn disk_failed(error: &Error) -> bool {
    code_of(error).and_then(|code| code.parse::<u32>().ok()).is_some_and(is_io_error)
}

/// SQLite's code IOERR, whatever was being done.
fn is_io_error(code: u32) -> bool {
    code & 0xff == 10
}

fn code_of(error: &Error) -> Option<std::borrow::Cow<'_, str>> {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    cause.and_then(sqlx::Error::as_database_error).and_then(|error| error.code())
}
