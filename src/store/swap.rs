//! The one place where a table pointer changes: inserted, replaced, removed or renamed.
//!
//! A [`Swap`] is one or more steps that happen together or not at all. There is one writer (`writer.rs`) and a queue.
//! Whoever finds the writer free takes all swaps that wait, up to a limit, its own and others', into one SQL transaction,
//! each with its own verdict, and makes them durable with one fsync. What a step compares, it compares inside that
//! transaction.
//!
//! How it fails: a refusal is a [`Verdict`], not an error. An error of kind `Unavailable` means that certainly nothing
//! happened; `CommitUnknown` that the commit itself failed and the swap may or may not be there: then
//! nothing may be deleted, and whoever asks again reads the rows again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Turn, oneshot};

use super::database::Database;
use super::keys::KeyRow;
use super::log_marks::Mark;
use super::pointers::Pointers;
use super::producers::Advance;
use super::tables::TableRow;
use super::writer::Writer;
use super::{Writing, commit_unknown, unavailable};
use crate::clock;
use crate::error::Result;
use crate::limits;
use crate::names::{TableName, Tabular, WarehouseName};

/// Steps that happen together or not at all.
#[derive(Debug, Clone)]
pub struct Swap {
    /// The warehouse of all the tables.
    pub warehouse: WarehouseName,
    /// What is to happen, in order.
    pub steps: Vec<Step>,
    /// The time it happens at.
    pub now_ms: i64,
    /// What is written with it.
    pub alongside: Alongside,
}

/// What is written in the transaction of a swap that is applied, and not without it.
#[derive(Debug, Clone, Default)]
pub struct Alongside {
    /// Objects that become unreachable by it and are to be deleted.
    pub doomed: Vec<String>,
    /// What is answered under keys. One that is there already refuses the swap.
    pub keys: Vec<KeyRow>,
    /// How far producers are. One that is elsewhere than expected refuses the swap.
    pub producers: Vec<Advance>,
    /// Up to where the log's entries are committed. If they were before, the swap is refused.
    pub mark: Option<Mark>,
}

impl Alongside {
    /// Adds what is written with another table of the same swap. The log's mark is one table's.
    pub fn join(&mut self, other: Self) {
        self.doomed.extend(other.doomed);
        self.keys.extend(other.keys);
        self.producers.extend(other.producers);
        self.mark = self.mark.take().or(other.mark);
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        let Self { doomed, keys, producers, mark } = self;
        doomed.is_empty() && keys.is_empty() && producers.is_empty() && mark.is_none()
    }
}

/// One change of a pointer.
#[derive(Debug, Clone)]
pub enum Step {
    /// A new table: its name and location must be free, its namespace must exist.
    Insert(NewTable),
    /// The pointer moves from the row's metadata file to another.
    Replace {
        /// The row as it was read.
        from: Arc<TableRow>,
        /// What it is to be.
        to: Pointer,
    },
    /// The table goes.
    Remove {
        /// The row as it was read.
        row: Arc<TableRow>,
        /// What happens to its files.
        removal: Removal,
    },
    /// The table gets another name.
    Rename {
        /// The row as it was read.
        row: Arc<TableRow>,
        /// The new name, in a namespace that exists.
        to: TableName,
    },
}

/// A table or view that is not there yet.
#[derive(Debug, Clone)]
pub struct NewTable {
    /// The id of its row.
    pub id: Arc<str>,
    /// Whether it is a table or a view.
    pub kind: Tabular,
    /// Its name.
    pub name: TableName,
    /// What its pointer names.
    pub pointer: Pointer,
}

impl NewTable {
    /// One with a fresh id.
    pub fn new(kind: Tabular, name: TableName, pointer: Pointer) -> Self {
        Self { id: clock::new_ordered_id().into(), kind, name, pointer }
    }
}

/// What a pointer names.
#[derive(Debug, Clone)]
pub struct Pointer {
    /// The table's identity.
    pub uuid: Arc<str>,
    /// The folder of its files.
    pub location: Arc<str>,
    /// The same in its normal form with a slash at the end.
    pub location_key: String,
    /// The metadata file.
    pub metadata_location: Arc<str>,
    /// Whether the file was written for this swap or was there before, when it may be queued for deletion.
    pub file: PointedFile,
}

impl Pointer {
    /// Whether the table stays itself, where it is.
    pub(super) fn keeps(&self, row: &TableRow) -> bool {
        (&self.uuid, &self.location) == (&row.uuid, &row.location)
    }
}

/// Where the file that a pointer is to name comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointedFile {
    /// It was written for this swap.
    New,
    /// It was there before.
    Existing,
}

/// What happens to a removed table's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The row and all files stay, out of sight.
    Drop,
    /// Everything reachable is deleted.
    Purge,
    /// Everything reachable but the data files is deleted (`gc.enabled=false`).
    PurgeKeepingData,
}

/// What came of a swap.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It happened and is durable; the rows of the steps, `None` where the step removed one.
    Applied(Vec<Option<Arc<TableRow>>>),
    /// Nothing of it happened.
    Refused(Refusal),
}

/// Why nothing of a swap happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// This table's pointer is no longer where the step expects it, or the table is gone.
    Moved(TableName),
    /// The name, wanted for one kind, is taken by one of the kind that is there.
    NameTaken {
        /// The name.
        name: TableName,
        /// What it was wanted for.
        wanted: Tabular,
        /// What has it.
        there: Tabular,
    },
    /// The name's namespace does not exist.
    NoNamespace(TableName),
    /// A live table has this location, or one inside or around it.
    LocationTaken(String),
    /// The file that the pointer was to name is queued for deletion.
    Doomed(String),
    /// A key, a producer or the log is further than was thought: look again what is left to do.
    Known,
}

/// The swaps that wait, and the one writer. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct SwapQueue {
    waiting: Arc<Mutex<VecDeque<Queued>>>,
    writer: Arc<Turn<Writer>>,
    trusted: Arc<AtomicBool>,
}

/// A swap and who waits for its verdict.
pub(super) type Queued = (Swap, oneshot::Sender<Result<Verdict>>);

impl super::Store {
    /// Queues a swap and waits until it is durable or refused. Dropped before its turn it does not happen; dropped in the
    /// middle of it, nobody knows.
    pub async fn swap(&self, swap: Swap) -> Result<Verdict> {
        let (answer, mut verdict) = oneshot::channel();
        self.swaps.locked().push_back((swap, answer));
        loop {
            tokio::select! {
                biased;
                verdict = &mut verdict => return verdict.unwrap_or_else(|_| Err(commit_unknown("cut off"))),
                mut writer = self.swaps.writer.lock() => {
                    let group = self.swaps.take();
                    writer.apply(group).await;
                }
            }
        }
    }
}

impl SwapQueue {
    /// Connects the writer.
    pub(super) async fn start(database: Database, writing: Writing, pointers: Arc<Pointers>) -> Result<Self> {
        let trusted = Arc::new(AtomicBool::new(true));
        let connection = Some(database.connect().await.map_err(unavailable)?);
        let writer = Writer { database, connection, writing, pointers, trusted: Arc::clone(&trusted), stopped: false };
        Ok(Self { waiting: Arc::default(), writer: Arc::new(Turn::new(writer)), trusted })
    }

    /// That what the database says can be believed: not between a commit of unknown outcome and the next look at it,
    /// which this is if nobody took it before.
    pub(super) async fn trust(&self) -> Result<()> {
        if !self.trusted.load(Ordering::Acquire) {
            self.writer.lock().await.connected().await?;
        }
        Ok(())
    }

    /// Waits for the swaps under way, then refuses those that follow.
    pub(super) async fn stop(&self) {
        self.writer.lock().await.stop().await;
    }

    /// The next group.
    fn take(&self) -> Vec<Queued> {
        let mut waiting = self.locked();
        let count = waiting.len().min(limits::SWAPS_PER_TRANSACTION_MAX);
        // What nobody waits for any more does not begin.
        waiting.drain(..count).filter(|(_, answer)| !answer.is_closed()).collect()
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Queued>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
