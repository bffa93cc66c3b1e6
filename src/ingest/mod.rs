//! Rows in, snapshots out.
//!
//! [`Ingest::append`] takes the body of one request for one table. It is decompressed and decoded against the table's
//! schema while it arrives ([`intake`]); every row that does not fit is named, and then nothing of the request is written.
//! What rows have that the table has not makes it grow, where it may ([`evolve`]); a table that does not exist is created
//! from its first rows. Rows that fit join the table's next commit ([`group`]); when the answer leaves, they are in a
//! snapshot that is on the disk.
//!
//! Memory is bounded ([`memory`]): a request that does not fit beside those under way is refused.

mod arrow_types;
mod coerce;
mod columnar;
mod columns;
mod convert;
mod create;
mod decode;
mod evolve;
mod flush;
mod footer;
mod group;
mod inflate;
mod intake;
mod ipc;
mod json;
mod layout;
mod lift;
mod memory;
mod parquet_file;
mod partition;
mod path;
mod settings;
mod thin;
mod verdict;
mod write;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::sync::Semaphore;

use crate::catalog::Catalog;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::names::TableName;

pub use decode::{Evolution, Format, Unknown};
pub use inflate::Encoding;
pub use memory::Reserved;
pub use settings::IngestSettings;
pub use verdict::{RowError, Verdicts};

use flush::Target;
use group::Groups;
use intake::{Intake, Read, Received};
use memory::{Memory, Owner};
use settings::Complaints;

/// How a request wants its rows taken.
#[derive(Debug, Clone, Default)]
pub struct AppendOptions {
    /// How a table that is created is partitioned; of one that exists, what is expected.
    pub partition_by: Option<String>,
    /// How a table that is created is sorted.
    pub sort_by: Option<String>,
    /// Whether fractions of a second finer than the column are cut off.
    pub truncate_time: bool,
    /// How long to wait for the commit.
    pub timeout: Option<Duration>,
    /// Whether the table may grow, if not as it says itself.
    pub schema: Option<Evolution>,
    /// What becomes of fields that the table has no column for, if not as it says itself.
    pub unknown_fields: Option<Unknown>,
}

/// One request.
#[derive(Debug)]
pub struct Append {
    /// The table.
    pub table: TableName,
    /// What its body is written in.
    pub format: Format,
    /// How the body is compressed.
    pub encoding: Encoding,
    /// How the rows are to be taken.
    pub options: AppendOptions,
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// Its rows are in a snapshot.
    Committed(Committed),
    /// Rows do not fit; nothing was written.
    Refused {
        /// How many rows there were.
        rows: usize,
        /// What is wrong with them.
        verdicts: Verdicts,
    },
}

/// Where a request's rows are.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The table.
    pub table: TableName,
    /// How many rows the request had.
    pub rows: usize,
    /// The snapshot that holds them.
    pub snapshot_id: i64,
    /// The snapshot's sequence number.
    pub sequence_number: i64,
    /// Data files that the snapshot added, for all the requests that share it.
    pub files: usize,
}

/// The way in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest {
    catalog: Catalog,
    groups: Groups,
    settings: Arc<IngestSettings>,
    memory: Memory,
    complaints: Complaints,
    threads: Arc<Semaphore>,
}

impl Ingest {
    /// Ingest into the tables of a catalog.
    pub fn new(catalog: Catalog, settings: IngestSettings) -> Self {
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            groups: Groups::new(catalog.clone()),
            catalog,
            memory: Memory::new(settings.memory),
            complaints: Complaints::default(),
            threads: Arc::new(Semaphore::new(threads)),
            settings: Arc::new(settings),
        }
    }

    /// Ingest into the tables of another catalog, with the same bounds on both together.
    #[must_use]
    pub fn also_into(&self, catalog: Catalog) -> Self {
        let (groups, complaints) = (Groups::new(catalog.clone()), Complaints::default());
        Self { catalog, groups, complaints, ..self.clone() }
    }

    /// What bounds it.
    pub fn settings(&self) -> &IngestSettings {
        &self.settings
    }

    /// Sets memory aside for a body of so many bytes.
    pub fn admit(&self, table: &TableName, body_bytes: usize) -> Result<Reserved> {
        let owner = Owner { warehouse: self.catalog.warehouse().name().shared(), table: table.clone() };
        self.memory.reserve(&owner, body_bytes)
    }

    /// Takes the rows of one request, under the memory that was admitted for it. Once its body is there, the work goes on whether or not anybody waits.
    pub async fn append(
        &self,
        request: Append,
        admitted: Reserved,
        body: &mut (impl Stream<Item = Result<Bytes>> + Unpin + Send),
    ) -> Result<Outcome> {
        let read = self.receive(&request, admitted, body).await?;
        if read.fits() {
            return self.settle(request, read).await;
        }
        // What the table gets for these rows it gets with them, though their client leaves.
        let this = self.clone();
        let work = self.catalog.works().spawn(async move { this.settle(request, read).await });
        let cut_off =
            |error| Error::new(Kind::CommitUnknown, "The request was cut off by a fault of the server").because(error);
        work.await.map_err(cut_off)?
    }

    /// Commits the rows of a body that was read.
    async fn settle(&self, request: Append, read: Read) -> Result<Outcome> {
        let Append { table, options, .. } = request;
        let received = self.fit(&table, &options, read).await?;
        let Received { table: loaded, decoded, memory } = match received {
            Intake::Fits(received) => received,
            Intake::Refused(decoded) => return Ok(Outcome::Refused { rows: decoded.rows, verdicts: decoded.verdicts }),
        };
        failpoint::at("ingest.decoded")?;
        let target = Target {
            name: table.clone(),
            uuid: loaded.metadata.table_uuid.clone().ok_or_else(settings::no_uuid)?,
            schema_id: loaded.metadata.current_schema_id,
        };
        let heard = self.groups.submit(target, decoded.batches, memory);
        let timeout = options.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let late = |_| {
            let message = format!("The rows are not committed after {} ms; they may still be", timeout.as_millis());
            Error::new(Kind::Pending, message)
        };
        let stopped =
            |error| Error::new(Kind::CommitUnknown, "The server stopped while the commit was under way").because(error);
        let flushed = tokio::time::timeout(timeout, heard).await.map_err(late)?.map_err(stopped)??;
        failpoint::passed("ingest.flushed");
        Ok(Outcome::Committed(Committed {
            table,
            rows: decoded.rows,
            snapshot_id: flushed.snapshot_id,
            sequence_number: flushed.sequence_number,
            files: flushed.files,
        }))
    }

    /// Runs work that computes on a thread of its own, as many at once as there are processors.
    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let stopped = || Error::internal("Work was cut off");
        let _place = self.threads.acquire().await.map_err(|_| stopped())?;
        tokio::task::spawn_blocking(work).await.map_err(|error| stopped().because(error))?
    }
}

/// How long a request waits for its commit when it does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
