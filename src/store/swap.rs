//! The one place where a table pointer changes: inserted, replaced, removed or renamed.
//!
//! A [`Swap`] is one or more steps that happen together or not at all. Swaps wait in a queue; the task behind it takes
//! all that wait, up to a limit, into one SQL transaction, each with its own savepoint and verdict, and makes them
//! durable with one fsync. What a step compares, it compares inside that transaction.
//!
//! How it fails: a refusal is a [`Verdict`], not an error. An error of kind [`Kind::Unavailable`] means that certainly
//! nothing happened; [`Kind::CommitUnknown`] that the commit itself failed and the swap may or may not be there: then
//! nothing may be deleted, and whoever asks again reads the rows again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use sqlx::{Any, AnyPool, Transaction};
use tokio::sync::{mpsc, oneshot};

use super::pointers::{Key, Pointers};
use super::tables::TableRow;
use super::{begin, step, unavailable};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::limits;
use crate::names::{TableName, WarehouseName};

/// Steps that happen together or not at all.
#[derive(Debug, Clone)]
pub struct Swap {
    /// The warehouse of all the tables.
    pub warehouse: WarehouseName,
    /// What is to happen, in order.
    pub steps: Vec<Step>,
    /// Objects that become unreachable by it and are to be deleted.
    pub doomed: Vec<String>,
    /// The time it happens at.
    pub now_ms: i64,
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

/// A table that is not there yet.
#[derive(Debug, Clone)]
pub struct NewTable {
    /// The id of its row.
    pub id: Arc<str>,
    /// Its name.
    pub name: TableName,
    /// What its pointer names.
    pub pointer: Pointer,
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
    /// The name is taken.
    NameTaken(TableName),
    /// The name's namespace does not exist.
    NoNamespace(TableName),
    /// A live table has this location, or one inside or around it.
    LocationTaken(String),
}

type Answer = oneshot::Sender<Result<Verdict>>;

/// The way to the task that moves pointers. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct SwapQueue {
    sender: mpsc::Sender<(Swap, Answer)>,
}

impl super::Store {
    /// Queues a swap and waits until it is durable or refused. Once queued it goes on whether or not anybody waits.
    pub async fn swap(&self, swap: Swap) -> Result<Verdict> {
        let (answer, waiting) = oneshot::channel();
        let stopped = || Error::new(Kind::Unavailable, "The server is stopping; nothing was changed");
        self.swaps.sender.send((swap, answer)).await.map_err(|_| stopped())?;
        waiting
            .await
            .map_err(|_| Error::new(Kind::CommitUnknown, "The server stopped while the commit was under way"))?
    }
}

impl SwapQueue {
    /// Starts the task.
    pub(super) fn start(writer: AnyPool, pointers: Arc<Pointers>) -> Self {
        let (sender, receiver) = mpsc::channel(limits::SWAPS_QUEUED_MAX);
        tokio::spawn(run(receiver, writer, pointers));
        Self { sender }
    }

    /// Waits until the queue is empty; the group that was taken out of it last may still be under way.
    pub(super) async fn drain(&self) {
        drop(self.sender.reserve_many(limits::SWAPS_QUEUED_MAX).await);
    }
}

async fn run(mut receiver: mpsc::Receiver<(Swap, Answer)>, writer: AnyPool, pointers: Arc<Pointers>) {
    let mut group = Vec::with_capacity(limits::SWAPS_PER_TRANSACTION_MAX);
    while receiver.recv_many(&mut group, limits::SWAPS_PER_TRANSACTION_MAX).await > 0 {
        apply_group(&writer, &pointers, std::mem::take(&mut group)).await;
    }
}

async fn apply_group(writer: &AnyPool, pointers: &Pointers, group: Vec<(Swap, Answer)>) {
    // A fault in one group is not the end of the queue; how far it came nobody can say.
    let outcome = AssertUnwindSafe(apply_together(writer, &group)).catch_unwind().await;
    match outcome.unwrap_or_else(|_| Err(commit_unknown("a fault of the server"))) {
        Ok(verdicts) => {
            for ((swap, answer), verdict) in group.into_iter().zip(verdicts) {
                remember(pointers, &swap, &verdict);
                drop(answer.send(Ok(verdict)));
            }
        }
        Err(error) => {
            tracing::error!(swaps = group.len(), error = error.chain(), "a group of swaps failed");
            for (swap, answer) in group {
                forget(pointers, &swap);
                drop(answer.send(Err(error.copy())));
            }
        }
    }
}

async fn apply_together(writer: &AnyPool, group: &[(Swap, Answer)]) -> Result<Vec<Verdict>> {
    failpoint::at("swap.begin")?;
    let mut transaction = begin(writer).await?;
    let mut verdicts = Vec::with_capacity(group.len());
    for (swap, _) in group {
        verdicts.push(apply_one(&mut transaction, swap).await?);
    }
    failpoint::at("swap.applied")?;
    transaction.commit().await.map_err(commit_failed)?;
    // From here on a failure is an answer that was lost.
    failpoint::at("swap.committed").map_err(commit_unknown)?;
    Ok(verdicts)
}

async fn apply_one(transaction: &mut Transaction<'static, Any>, swap: &Swap) -> Result<Verdict> {
    sqlx::query("savepoint swap").execute(&mut **transaction).await.map_err(unavailable)?;
    let mut rows = Vec::with_capacity(swap.steps.len());
    for step in &swap.steps {
        match step::apply(transaction, swap, step).await? {
            Ok(row) => rows.push(row),
            Err(refusal) => {
                sqlx::query("rollback to savepoint swap").execute(&mut **transaction).await.map_err(unavailable)?;
                sqlx::query("release savepoint swap").execute(&mut **transaction).await.map_err(unavailable)?;
                return Ok(Verdict::Refused(refusal));
            }
        }
    }
    super::gc::enqueue_files(transaction, &swap.warehouse, &swap.doomed, swap.now_ms).await?;
    sqlx::query("release savepoint swap").execute(&mut **transaction).await.map_err(unavailable)?;
    Ok(Verdict::Applied(rows))
}

/// A full disk fails the commit before anything of it is there; of any other failure nobody can say.
fn commit_failed(error: sqlx::Error) -> Error {
    let full = error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("13"));
    if full {
        return Error::new(Kind::Unavailable, "The catalog's disk is full; nothing was changed").because(error);
    }
    commit_unknown(error)
}

fn commit_unknown(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(
        Kind::CommitUnknown,
        "The catalog's database failed while committing: the change may or may not be there",
    )
    .because(error)
}

fn key(swap: &Swap, name: &TableName) -> Key {
    Key { warehouse: swap.warehouse.shared(), table: name.clone() }
}

fn remember(pointers: &Pointers, swap: &Swap, verdict: &Verdict) {
    let Verdict::Applied(rows) = verdict else {
        // What was believed of these names was wrong: read them again.
        return forget(pointers, swap);
    };
    for (step, row) in swap.steps.iter().zip(rows) {
        match step {
            Step::Insert(new) => pointers.set(key(swap, &new.name), row.clone()),
            Step::Replace { from, .. } => pointers.set(key(swap, &from.name), row.clone()),
            Step::Remove { row: old, .. } => pointers.set(key(swap, &old.name), None),
            Step::Rename { row: old, to } => {
                pointers.set(key(swap, &old.name), None);
                pointers.set(key(swap, to), row.clone());
            }
        }
    }
}

fn forget(pointers: &Pointers, swap: &Swap) {
    for step in &swap.steps {
        match step {
            Step::Insert(new) => pointers.forget(&key(swap, &new.name)),
            Step::Replace { from: row, .. } | Step::Remove { row, .. } => pointers.forget(&key(swap, &row.name)),
            Step::Rename { row, to } => {
                pointers.forget(&key(swap, &row.name));
                pointers.forget(&key(swap, to));
            }
        }
    }
}
