//! Rows in, snapshots out.
//!
//! [`Ingest::append`] takes the body of one request for one table. It is decompressed and decoded against the table's
//! schema while it arrives ([`intake`]); every row that does not fit is named, and then nothing of the request is written.
//! What rows have that the table has not makes it grow, where it may ([`evolve`]); a table that does not exist is created
//! from its first rows. Rows that fit join what waits for the table ([`queue`], [`pace`]) and are committed with the rows of
//! others ([`group`]). Their sender hears of it when they are in a snapshot that is on the disk; or, where that is enough
//! for him, when they are in the server's own log ([`log`]), or as soon as they are understood ([`acknowledge`]). What a
//! request says of itself so that it counts once ([`claims`]) is judged at the commit ([`judge`]), and kept with it.
//!
//! Memory is bounded ([`memory`]): a request that does not fit beside those under way is refused.

mod acknowledge;
mod arrow_types;
mod asking;
mod avro;
mod beside;
mod cells;
mod claims;
mod coerce;
mod columnar;
mod columns;
mod convert;
mod counts;
mod create;
mod csv;
mod dead_letters;
mod decode;
mod events;
mod evolve;
mod files;
mod fit;
mod flush;
mod footer;
mod group;
mod held;
mod inflate;
mod intake;
mod ipc;
mod json;
mod judge;
mod known;
mod layout;
mod lift;
mod log;
mod manner;
mod memory;
mod moments;
mod of_table;
mod pace;
mod parquet_file;
mod parquet_lengths;
mod parquet_writer;
mod partition;
mod path;
mod queue;
mod receipt;
mod reshape;
mod rewriting;
mod route;
mod routed;
mod rows;
mod rules;
mod scalar;
mod settings;
mod shortened;
mod sink;
mod spelled;
mod state;
mod table_rules;
mod text;
mod thin;
mod thrift;
mod values;
mod verdict;
mod waiting;
mod wishes;
mod write;
mod writing;
mod zones;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::HeaderMap;
use tokio::sync::{Semaphore, oneshot};

use crate::catalog::Catalog;
use crate::catalog::once::{Fingerprint, Key};
use crate::catalog::sequencer::Sequencer;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::limits;
use crate::names::{TableName, Tabular};

pub use claims::{Position, check_key};
pub use csv::{Dialect, Names};
pub use decode::{Evolution, Format, Unknown};
pub use inflate::Encoding;
pub use log::{Log, Recovered};
pub use manner::{Counting, Leniency, Manner, Rounding, TimePrecision};
pub use memory::Reserved;
pub use queue::Buffered;
pub use receipt::{Ack, LeftOut, Place, Receipt};
pub use reshape::{Change, Earnest, Reshaped};
pub use route::Route;
pub use routed::{RoutedAppend, Together};
pub use rules::{HashKeys, Rules};
pub use settings::IngestSettings;
pub use state::{KeyState, Status};
pub use table_rules::{Said, TableRules};
pub use verdict::{OnError, RowError, Verdicts};

use claims::{Ahead, Claims, KeysUnderWay};
use counts::Counts;
use flush::Target;
use intake::{Intake, Read, Received, Shapes};
use memory::{Memory, Owner};
use queue::Queues;
use settings::Complaints;
use waiting::{Carried, Waiting, Whom};

/// How a request wants its rows taken.
#[derive(Debug, Clone, Default)]
pub struct AppendOptions {
    /// How a table that is created is partitioned; of one that exists, what is expected.
    pub partition_by: Option<String>,
    /// How a table that is created is sorted.
    pub sort_by: Option<String>,
    /// How values are taken.
    pub manner: Manner,
    /// What becomes of rows that do not fit, if not as the table says itself.
    pub on_error: Option<OnError>,
    /// How cells are written, where there are cells.
    pub dialect: Option<Dialect>,
    /// How long to wait for the commit.
    pub timeout: Option<Duration>,
    /// Whether the table may grow, if not as it says itself.
    pub schema: Option<Evolution>,
    /// What becomes of fields that the table has no column for, if not as it says itself.
    pub unknown_fields: Option<Unknown>,
    /// What is waited for.
    pub ack: Ack,
    /// What the request is called in logs.
    pub request_id: String,
    /// Whether its rows are events.
    events: bool,
    /// What is made into rows with its own, where that is so.
    facts: Option<Arc<rules::Facts>>,
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
    /// The key that it came with.
    pub key: Option<KeySent>,
    /// Its place in what a producer sends.
    pub producer: Option<Position>,
    /// Its headers, of which tables' rules may make columns.
    pub headers: HeaderMap,
}

/// The key of a request whose body is still to come.
#[derive(Debug)]
pub struct KeySent {
    /// Whose keys.
    pub scope: String,
    /// Its text.
    pub text: String,
    /// What the request is, but for its body.
    pub request: Fingerprint,
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// Its rows were taken.
    Taken(Receipt),
    /// Rows do not fit; nothing was written.
    Refused {
        /// How many rows there were.
        rows: usize,
        /// What is wrong with them.
        verdicts: Verdicts,
    },
}

/// The way in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest {
    catalog: Catalog,
    queues: Arc<Queues>,
    complaints: Complaints,
    counts: Counts,
    shapes: Shapes,
    rules: settings::KnownRules,
    /// What the warehouses have in common.
    log: Log,
    settings: Arc<IngestSettings>,
    memory: Memory,
    threads: Arc<Semaphore>,
    keys: KeysUnderWay,
    ahead: Ahead,
    /// Turns of the producers whose rows are acknowledged before they are committed.
    turns: Sequencer,
}

impl Ingest {
    /// Ingest into the tables of a catalog.
    pub fn new(catalog: Catalog, settings: IngestSettings, log: Log) -> Self {
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let (memory, counts) = (Memory::new(settings.memory), Counts::default());
        Self {
            queues: Arc::new(Queues::new(catalog.clone(), memory.clone(), counts.clone())),
            catalog,
            counts,
            shapes: Shapes::default(),
            rules: settings::KnownRules::default(),
            complaints: Complaints::default(),
            log,
            settings: Arc::new(settings),
            memory,
            threads: Arc::new(Semaphore::new(threads)),
            keys: KeysUnderWay::default(),
            ahead: Ahead::default(),
            turns: Sequencer::default(),
        }
    }

    /// Ingest into the tables of another catalog, with the same bounds on both together.
    #[must_use]
    pub fn also_into(&self, catalog: Catalog) -> Self {
        let counts = Counts::of(catalog.warehouse().name().as_str());
        let queues = Arc::new(Queues::new(catalog.clone(), self.memory.clone(), counts.clone()));
        Self { catalog, queues, counts, complaints: Complaints::default(), ..self.clone() }
    }

    /// Ingest into the tables of the same catalog over a warehouse that is described otherwise.
    #[must_use]
    pub fn over(&self, catalog: Catalog) -> Self {
        Self { queues: Arc::new(self.queues.over(catalog.clone())), catalog, ..self.clone() }
    }

    /// What bounds it.
    pub fn settings(&self) -> &IngestSettings {
        &self.settings
    }

    /// Sets memory aside for a body of so many bytes.
    pub fn admit(&self, table: &TableName, body_bytes: usize) -> Result<Reserved> {
        self.memory.reserve(&self.owner(table), body_bytes)
    }

    fn owner(&self, table: &TableName) -> Owner {
        Owner { warehouse: self.catalog.warehouse().name().shared(), table: table.clone() }
    }

    /// Takes the rows of one request, under the memory that was admitted for it. Once its body is there, the work goes on
    /// whether or not anybody waits.
    pub async fn append(
        &self,
        request: Box<Append>,
        admitted: Reserved,
        body: &mut (impl Stream<Item = Result<Bytes>> + Unpin + Send),
    ) -> Result<Outcome> {
        let (started, table, ack, format) =
            (clock::tick(), request.table.joined(), request.options.ack, request.format.as_str());
        let outcome = self.take(request, admitted, body).await;
        let code = match &outcome {
            Ok(Outcome::Taken(receipt)) if receipt.fits_nothing() => "rows",
            Ok(Outcome::Taken(_)) => "ok",
            Ok(Outcome::Refused { rows, verdicts }) => {
                self.counts.rows(&table, "rejected", *rows);
                verdicts.count();
                "rows"
            }
            Err(error) => error.code().unwrap_or("error"),
        };
        self.counts.request(&table, (ack, format), code);
        self.counts.took(ack, started.elapsed());
        outcome
    }

    async fn take(
        &self,
        mut request: Box<Append>,
        admitted: Reserved,
        body: &mut (impl Stream<Item = Result<Bytes>> + Unpin + Send),
    ) -> Result<Outcome> {
        if request.key.is_some() {
            self.catalog.keys().admit(self.catalog.store()).await?;
        }
        let read = self.receive(&mut request, admitted, body).await?;
        let Append { table, options, key, producer, .. } = *request;
        let key = key.map(|KeySent { scope, text, request }| request.key(scope, text));
        let claims = Claims { key, producer };
        if read.fits() && claims.is_empty() {
            return self.settle(table, options, claims, read).await;
        }
        // What the table gets for these rows, and what is noted of them, comes with them though their client leaves.
        let this = self.clone();
        let work = self.catalog.works().spawn(async move { this.settle(table, options, claims, read).await });
        let cut_off =
            |error| Error::new(Kind::CommitUnknown, "The request was cut off by a fault of the server").because(error);
        work.await.map_err(cut_off)?
    }

    /// Takes the rows of a body that was read.
    async fn settle(&self, table: TableName, options: AppendOptions, claims: Claims, read: Read) -> Result<Outcome> {
        if let Some(key) = claims.key.as_ref().filter(|_| !read.fits()) {
            // Sent again it needs no table, nor that its rows still fit one.
            if let Some(text) = self.catalog.answers(&[key]).await?.pop().flatten() {
                return judge::answered(&text?).map(Outcome::Taken);
            }
        }
        let read = if read.fits() { read } else { Box::pin(self.tried(&table, &options, read)).await? };
        let waiting = match self.fit(&table, &options, read).await? {
            Intake::Fits(received) => {
                failpoint::at("ingest.decoded")?;
                self.check_files(&options, &received).await?;
                received.verdicts.count();
                self.waiting(table, claims, (received, &options.request_id)).await?
            }
            Intake::Refused(refused) => {
                let (rows, verdicts) = (refused.rows, refused.verdicts.told());
                let sent = (claims, options.request_id.as_str());
                match Box::pin(self.put_aside(table, refused, sent)).await? {
                    Some(waiting) => waiting,
                    None => return Ok(Outcome::Refused { rows, verdicts }),
                }
            }
        };
        let receipt = match options.ack {
            // What brings no rows has nothing that could be in a log.
            ack if ack == Ack::Commit || waiting.is_empty() => {
                Self::hear(self.submit(waiting), options.timeout).await?
            }
            ack => self.acknowledge(waiting, ack).await?,
        };
        failpoint::passed("ingest.flushed");
        Ok(Outcome::Taken(receipt))
    }

    /// Refuses rows of too many partitions that are to be acknowledged: once they are it is too late.
    async fn check_files(&self, options: &AppendOptions, received: &Received) -> Result<()> {
        if options.ack == Ack::Commit || received.count <= limits::FILES_PER_COMMIT_MAX {
            return Ok(());
        }
        let (rows, table) = (held::columns(&received.rows)?, Arc::clone(&received.table));
        self.compute(move || partition::check_count(&rows, table.metadata.default_spec()?)).await
    }

    async fn waiting(
        &self,
        name: TableName,
        claims: Claims,
        (received, request_id): (Received, &str),
    ) -> Result<Box<Waiting>> {
        let Received { table, rows, count, verdicts, memory, bytes } = received;
        let (metadata, pace) = (&table.metadata, self.pace_of(&name, &table));
        let uuid = metadata.table_uuid.clone().ok_or_else(settings::no_uuid)?;
        let beside = match (verdicts.on_error, &verdicts.rejected[..]) {
            (_, []) | (OnError::Abort | OnError::Skip, _) => Vec::new(),
            (OnError::Dlq, rejected) => vec![Box::pin(self.dead_letters(&name, rejected, request_id)).await?],
        };
        let row = self.catalog.find(&name).await?;
        if *row.uuid != *uuid {
            return Err(Tabular::Table.missing(&name));
        }
        let key = claims.key.as_ref().map(|key: &Key| self.keys.begin(key)).transpose()?;
        Ok(Box::new(Waiting {
            target: Target {
                warehouse: self.catalog.warehouse().name().shared(),
                name,
                row: Arc::clone(&row.id),
                uuid,
                schema_id: metadata.current_schema_id,
            },
            rows,
            what: Carried::Rows,
            count,
            bytes: bytes + beside.iter().map(|beside| memory::weight_of(&beside.rows)).sum::<usize>(),
            beside,
            left_out: LeftOut::of(verdicts),
            claims,
            whom: Whom::Nobody(None),
            memory,
            pace,
            since: clock::tick(),
            tries: 0,
            lost: None,
            known: (key, None),
        }))
    }

    /// Has rows committed; what comes of it is heard from what is returned.
    fn submit(&self, mut waiting: Box<Waiting>) -> oneshot::Receiver<Result<Receipt>> {
        let (sender, heard) = oneshot::channel();
        waiting.whom = Whom::Sender(sender);
        self.queues.submit(waiting);
        heard
    }

    /// Waits until rows are committed.
    async fn hear(heard: oneshot::Receiver<Result<Receipt>>, timeout: Option<Duration>) -> Result<Receipt> {
        let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
        let late = |_| {
            let message = format!("The rows are not committed after {} ms; they may still be", timeout.as_millis());
            Error::new(Kind::Pending, message)
        };
        let stopped =
            |error| Error::new(Kind::CommitUnknown, "The server stopped while the commit was under way").because(error);
        tokio::time::timeout(timeout, heard).await.map_err(late)?.map_err(stopped)?
    }

    /// Commits what waits for a table now, and says where it is then.
    pub async fn flush(&self, name: &TableName, timeout: Option<Duration>) -> Result<Receipt> {
        let table = self.catalog.load_table(name).await?;
        let memory = self.memory.take(&self.owner(name), 0);
        let (rows, verdicts) = Default::default();
        let nothing = Received { table, rows, count: 0, verdicts, memory, bytes: 0 };
        let waiting = self.waiting(name.clone(), Claims::default(), (nothing, "")).await?;
        let row = Arc::clone(&waiting.target.row);
        let heard = self.submit(waiting);
        self.queues.hurry(&row);
        Self::hear(heard, timeout).await
    }

    /// Brings what is measured, and not counted as it happens, up to date.
    pub fn measure(&self) {
        self.counts.freshness(&self.queues.waiting());
        metrics::gauge!("floeberg_ingest_buffer_bytes").set(self.memory.taken_bytes());
        metrics::gauge!("floeberg_ingest_wal_bytes").set(self.log.bytes());
    }

    /// From now on nothing that waits is kept waiting for others.
    pub fn stop(&self) {
        self.queues.stop();
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

#[cfg(test)]
mod fuzz;
