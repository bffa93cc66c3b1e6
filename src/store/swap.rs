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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use sqlx::{AnyConnection, Connection};
use tokio::sync::{mpsc, oneshot};

use super::pointers::{Key, Pointers};
use super::tables::TableRow;
use super::{BEGIN, Writing, connect, step, unavailable};
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

/// What the task is asked.
enum Asked {
    Swap(Swap, Answer),
    /// To close its connection and end.
    Stop(oneshot::Sender<()>),
}

/// The way to the task that moves pointers. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct SwapQueue {
    sender: mpsc::Sender<Asked>,
    trusted: Arc<AtomicBool>,
}

impl super::Store {
    /// Queues a swap and waits until it is durable or refused. Once queued it goes on whether or not anybody waits.
    pub async fn swap(&self, swap: Swap) -> Result<Verdict> {
        let (answer, waiting) = oneshot::channel();
        let stopped = || Error::new(Kind::Unavailable, "The server is stopping; nothing was changed");
        self.swaps.sender.send(Asked::Swap(swap, answer)).await.map_err(|_| stopped())?;
        waiting
            .await
            .map_err(|_| Error::new(Kind::CommitUnknown, "The server stopped while the commit was under way"))?
    }
}

impl SwapQueue {
    /// Starts the task.
    pub(super) async fn start(url: String, writing: Writing, pointers: Arc<Pointers>) -> Result<Self> {
        let (sender, receiver) = mpsc::channel(limits::SWAPS_QUEUED_MAX);
        let trusted = Arc::new(AtomicBool::new(true));
        let connection = Some(connect(&url).await.map_err(unavailable)?);
        let writer = Writer { url, connection, writing, pointers, trusted: Arc::clone(&trusted) };
        tokio::spawn(writer.run(receiver));
        Ok(Self { sender, trusted })
    }

    /// Whether what the database says can be believed: not between a commit that failed and the next look at it.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Acquire)
    }

    /// Waits for all swaps that were queued before, then ends the task.
    pub(super) async fn stop(&self) {
        let (done, waiting) = oneshot::channel();
        if self.sender.send(Asked::Stop(done)).await.is_ok() {
            drop(waiting.await);
        }
    }
}

/// The task.
struct Writer {
    url: String,
    /// Absent after a commit that failed, until the database was opened and read again.
    connection: Option<AnyConnection>,
    writing: Writing,
    pointers: Arc<Pointers>,
    trusted: Arc<AtomicBool>,
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::Receiver<Asked>) {
        let mut taken = Vec::with_capacity(limits::SWAPS_PER_TRANSACTION_MAX);
        loop {
            let next = receiver.recv_many(&mut taken, limits::SWAPS_PER_TRANSACTION_MAX);
            let count = if self.connection.is_some() {
                next.await
            } else {
                let pause = Duration::from_millis(limits::STORE_REOPEN_MS);
                let Ok(count) = tokio::time::timeout(pause, next).await else {
                    self.reopen().await;
                    continue;
                };
                count
            };
            if count == 0 {
                return;
            }
            let mut group = Vec::with_capacity(taken.len());
            let mut stop = None;
            for asked in taken.drain(..) {
                match asked {
                    Asked::Swap(swap, answer) => group.push((swap, answer)),
                    Asked::Stop(done) => stop = Some(done),
                }
            }
            if !group.is_empty() {
                self.apply_group(group).await;
            }
            if let Some(done) = stop {
                if let Some(connection) = self.connection.take() {
                    drop(connection.close().await);
                }
                let _ = done.send(());
                return;
            }
        }
    }

    /// Opens the database again and reads from it.
    async fn reopen(&mut self) {
        let opened = async {
            let mut connection = connect(&self.url).await?;
            sqlx::query("select version from tabular limit 1").fetch_optional(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        match opened.await {
            Ok(connection) => {
                self.connection = Some(connection);
                self.trusted.store(true, Ordering::Release);
                tracing::info!("the database was opened again");
            }
            Err(error) => tracing::warn!(%error, "the database cannot be opened again; it will be tried again"),
        }
    }

    async fn apply_group(&mut self, group: Vec<(Swap, Answer)>) {
        let turn = Arc::clone(&self.writing).lock_owned().await;
        let outcome = match &mut self.connection {
            // A fault in one group is not the end of the queue; how far it came nobody can say.
            Some(connection) => AssertUnwindSafe(apply_together(connection, &group))
                .catch_unwind()
                .await
                .unwrap_or_else(|_| Err(commit_unknown("a fault of the server"))),
            None => Err(Error::new(Kind::Unavailable, "The catalog's database is being opened again; try again")),
        };
        drop(turn);
        match outcome {
            Ok(verdicts) => {
                for ((swap, answer), verdict) in group.into_iter().zip(verdicts) {
                    remember(&self.pointers, &swap, &verdict);
                    drop(answer.send(Ok(verdict)));
                }
            }
            Err(error) => {
                tracing::error!(swaps = group.len(), error = error.chain(), "a group of swaps failed");
                let unknown = error.kind() == Kind::CommitUnknown;
                if unknown {
                    self.trusted.store(false, Ordering::Release);
                    self.connection = None;
                }
                for (swap, answer) in group {
                    forget(&self.pointers, &swap);
                    drop(answer.send(Err(error.copy())));
                }
                if unknown {
                    self.reopen().await;
                }
            }
        }
    }
}

async fn apply_together(connection: &mut AnyConnection, group: &[(Swap, Answer)]) -> Result<Vec<Verdict>> {
    failpoint::at("swap.begin")?;
    let verdicts = match group {
        [(swap, _)] if is_one_statement(swap) => vec![apply_at_once(connection, swap).await?],
        _ => apply_in_transaction(connection, group).await?,
    };
    // From here on a failure is an answer that was lost.
    failpoint::at("swap.committed").map_err(commit_unknown)?;
    Ok(verdicts)
}

/// Whether a swap is one statement, as nearly all are.
fn is_one_statement(swap: &Swap) -> bool {
    matches!(&swap.steps[..], [only] if step::is_one_statement(only)) && swap.doomed.is_empty()
}

/// Applies a swap of one statement without a transaction around it: each statement goes to the database's thread and
/// back, which costs more than what it does there. Whether an error came before its commit or from it cannot be told.
async fn apply_at_once(connection: &mut AnyConnection, swap: &Swap) -> Result<Verdict> {
    match apply_steps(connection, swap).await {
        Err(error) if !certainly_undone(&error) => Err(commit_unknown(error)),
        settled => settled,
    }
}

async fn apply_in_transaction(connection: &mut AnyConnection, group: &[(Swap, Answer)]) -> Result<Vec<Verdict>> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(unavailable)?;
    let mut verdicts = Vec::with_capacity(group.len());
    if let [(swap, _)] = group {
        // Alone, a swap needs no savepoint: the transaction is one.
        verdicts.push(apply_steps(&mut transaction, swap).await?);
        if let [Verdict::Refused(_)] = verdicts[..] {
            transaction.rollback().await.map_err(unavailable)?;
            return Ok(verdicts);
        }
    } else {
        for (swap, _) in group {
            verdicts.push(apply_among_others(&mut transaction, swap).await?);
        }
    }
    failpoint::at("swap.applied")?;
    transaction.commit().await.map_err(|error| match unavailable(error) {
        error if certainly_undone(&error) => error,
        error => commit_unknown(error),
    })?;
    Ok(verdicts)
}

/// Applies a swap among others: if it is refused, they go on without it.
async fn apply_among_others(transaction: &mut AnyConnection, swap: &Swap) -> Result<Verdict> {
    if is_one_statement(swap) {
        return apply_steps(transaction, swap).await;
    }
    sqlx::query("savepoint swap").execute(&mut *transaction).await.map_err(unavailable)?;
    let verdict = apply_steps(transaction, swap).await?;
    if let Verdict::Refused(_) = verdict {
        sqlx::query("rollback to savepoint swap").execute(&mut *transaction).await.map_err(unavailable)?;
    }
    sqlx::query("release savepoint swap").execute(&mut *transaction).await.map_err(unavailable)?;
    Ok(verdict)
}

async fn apply_steps(transaction: &mut AnyConnection, swap: &Swap) -> Result<Verdict> {
    let mut rows = Vec::with_capacity(swap.steps.len());
    for step in &swap.steps {
        match step::apply(transaction, swap, step).await? {
            Ok(row) => rows.push(row),
            Err(refusal) => return Ok(Verdict::Refused(refusal)),
        }
    }
    super::gc::enqueue_files(transaction, &swap.warehouse, &swap.doomed, swap.now_ms).await?;
    Ok(Verdict::Applied(rows))
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
