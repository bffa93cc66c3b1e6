//! Rows in, snapshots out.
//!
//! [`Ingest::append`] takes the body of one request for one table. It is decompressed and decoded against the table's
//! schema on threads for work that computes; every row that does not fit is named, and then nothing of the request is
//! written. Rows that fit join the table's next commit ([`group`]); when the answer leaves, they are in a snapshot that is
//! on the disk. A table that does not exist is created from its first rows ([`infer`]).
//!
//! Memory is bounded ([`memory`]): a request that does not fit beside those under way is refused.

mod body;
mod coerce;
mod columns;
mod create;
mod flush;
mod footer;
mod group;
mod infer;
mod layout;
mod lexer;
mod memory;
mod partition;
mod path;
mod rows;
mod settings;
mod verdict;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::catalog::{Catalog, Loaded};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::names::TableName;

pub use body::Encoding;
pub use memory::Reserved;
pub use settings::IngestSettings;
pub use verdict::{RowError, Verdicts};

use coerce::TimePrecision;
use flush::Target;
use group::Groups;
use memory::{Memory, Owner};
use rows::Decoded;
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
}

/// One request.
#[derive(Debug)]
pub struct Append {
    /// The table.
    pub table: TableName,
    /// The body as it was sent.
    pub body: Bytes,
    /// How it is compressed.
    pub encoding: Encoding,
    /// How the rows are to be taken.
    pub options: AppendOptions,
    /// The memory that was admitted for it.
    pub admitted: Reserved,
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
        self.memory.reserve(&self.owner(table), body_bytes, None)
    }

    fn owner(&self, table: &TableName) -> Owner {
        Owner { warehouse: self.catalog.warehouse().name().shared(), table: table.clone() }
    }

    /// Takes the rows of one request. From here on the work goes on whether or not anybody waits.
    pub async fn append(&self, request: Append) -> Result<Outcome> {
        let this = self.clone();
        let timeout = request.options.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let work = self.catalog.works().spawn(async move { this.run(request).await });
        match tokio::time::timeout(timeout, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                Err(Error::new(Kind::CommitUnknown, "The request was cut off by a fault of the server").because(error))
            }
            Err(_) => Err(Error::new(
                Kind::Pending,
                format!("The rows are not committed after {} ms; they may still be", timeout.as_millis()),
            )),
        }
    }

    async fn run(&self, request: Append) -> Result<Outcome> {
        let Append { table, body, encoding, options, admitted } = request;
        // The decoded text and its columns are counted beside the body while they live.
        let text = self.decompress(body, encoding).await?;
        let columns = self.memory.reserve(&self.owner(&table), text.len(), Some(&admitted))?;
        let loaded = match create::existing(&self.catalog, &table, &options).await? {
            Some(loaded) => loaded,
            None => match create::from_rows(self, &table, &text, &options).await? {
                Ok(loaded) => loaded,
                Err((rows, verdicts)) => return Ok(Outcome::Refused { rows, verdicts }),
            },
        };
        failpoint::at("ingest.created")?;
        settings::check_table(&loaded.metadata)?;
        self.complaints.look_at(&table, &loaded.metadata);
        let (target, decoded) = self.decode(&table, loaded, text, &options).await?;
        if !decoded.verdicts.is_empty() {
            return Ok(Outcome::Refused { rows: decoded.rows, verdicts: decoded.verdicts });
        }
        failpoint::at("ingest.decoded")?;
        drop(admitted);
        let heard = self.groups.submit(target, decoded.batch, columns);
        let stopped =
            |error| Error::new(Kind::CommitUnknown, "The server stopped while the commit was under way").because(error);
        let flushed = heard.await.map_err(stopped)??;
        failpoint::passed("ingest.flushed");
        Ok(Outcome::Committed(Committed {
            table,
            rows: decoded.rows,
            snapshot_id: flushed.snapshot_id,
            sequence_number: flushed.sequence_number,
            files: flushed.files,
        }))
    }

    async fn decompress(&self, body: Bytes, encoding: Encoding) -> Result<Arc<String>> {
        let most = self.settings.body_decoded;
        self.compute(move || body::text_of(body, encoding, most).map(Arc::new)).await
    }

    async fn decode(
        &self,
        table: &TableName,
        loaded: Arc<Loaded>,
        text: Arc<String>,
        options: &AppendOptions,
    ) -> Result<(Target, Decoded)> {
        let schema = Arc::clone(loaded.metadata.current_schema()?);
        let target = Target {
            name: table.clone(),
            uuid: loaded.metadata.table_uuid.clone().ok_or_else(settings::no_uuid)?,
            schema_id: schema.schema_id,
        };
        let precision = if options.truncate_time { TimePrecision::Truncate } else { TimePrecision::Exact };
        let bounds = self.settings.bounds();
        let decoded = self.compute(move || rows::decode(&text, &schema, precision, bounds)).await?;
        Ok((target, decoded))
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
