//! The task that moves pointers: swaps out of the queue, into one SQL transaction after the other.
//!
//! Swaps that each move one pointer are one statement together; among others, each has its savepoint, so that one that is
//! refused does not stop its neighbours.
//!
//! It has a connection of its own. After an error, or a fault of ours in the middle, nobody knows in what state that is: it
//! is dropped, and the database is opened and read again. Until then swaps are refused; if a commit's outcome is unknown,
//! the server is not ready either.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use sqlx::{AnyConnection, Connection};
use tokio::sync::{mpsc, oneshot};

use super::gc::{self, Doomed};
use super::moves::{self, Move};
use super::pointers::{Key, Pointers};
use super::swap::{Answer, Step, Swap, Verdict};
use super::{BEGIN, Writing, certainly_undone, commit_failed, commit_unknown, connect, step, unavailable};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::limits;
use crate::names::TableName;

/// A swap and who waits for its verdict.
pub(super) type Queued = (Swap, Answer);

/// What the task is asked.
pub(super) enum Asked {
    /// To apply a swap.
    Swap(Swap, Answer),
    /// To close its connection and end.
    Stop(oneshot::Sender<()>),
}

/// The task.
pub(super) struct Writer {
    pub(super) url: String,
    /// Absent after a commit that failed, until the database was opened and read again.
    pub(super) connection: Option<AnyConnection>,
    pub(super) writing: Writing,
    pub(super) pointers: Arc<Pointers>,
    pub(super) trusted: Arc<AtomicBool>,
}

impl Writer {
    /// Takes what waits, up to a limit, into one transaction after the other, until it is told to stop.
    pub(super) async fn run(mut self, mut receiver: mpsc::Receiver<Asked>) {
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

    async fn apply_group(&mut self, group: Vec<Queued>) {
        if self.connection.is_none() {
            self.reopen().await;
        }
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
                // Whatever failed, the connection may still believe to be inside a transaction.
                self.connection = None;
                if error.kind() == Kind::CommitUnknown {
                    self.trusted.store(false, Ordering::Release);
                }
                for (swap, answer) in group {
                    forget(&self.pointers, &swap);
                    drop(answer.send(Err(error.copy())));
                }
                self.reopen().await;
            }
        }
    }
}

async fn apply_together(connection: &mut AnyConnection, group: &[Queued]) -> Result<Vec<Verdict>> {
    failpoint::at("swap.begin")?;
    let verdicts = match Move::all(group.iter().map(|(swap, _)| swap)) {
        Some(moves) if group.iter().all(|(swap, _)| swap.doomed.is_empty()) => move_at_once(connection, &moves).await?,
        moves => apply_in_transaction(connection, group, moves.as_deref()).await?,
    };
    // From here on a failure is an answer that was lost.
    failpoint::at("swap.committed").map_err(commit_unknown)?;
    Ok(verdicts)
}

/// One statement without a transaction around it. Whether an error came before its commit or from it cannot be told.
async fn move_at_once(connection: &mut AnyConnection, moves: &[Move<'_>]) -> Result<Vec<Verdict>> {
    moves::apply(connection, moves)
        .await
        .map_err(|error| if certainly_undone(&error) { error } else { commit_unknown(error) })
}

async fn apply_in_transaction(
    connection: &mut AnyConnection,
    group: &[Queued],
    moves: Option<&[Move<'_>]>,
) -> Result<Vec<Verdict>> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(unavailable)?;
    let mut verdicts = Vec::with_capacity(group.len());
    match (moves, group) {
        (Some(moves), _) => verdicts = moves::apply(&mut transaction, moves).await?,
        // Alone, a swap needs no savepoint: the transaction is one.
        (None, [(swap, _)]) => verdicts.push(apply_steps(&mut transaction, swap).await?),
        (None, _) => {
            for (swap, _) in group {
                verdicts.push(apply_among_others(&mut transaction, swap).await?);
            }
        }
    }
    if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Refused(_))) {
        transaction.rollback().await.map_err(unavailable)?;
        return Ok(verdicts);
    }
    let applied = group.iter().zip(&verdicts).filter(|(_, verdict)| matches!(verdict, Verdict::Applied(_)));
    gc::enqueue_files(&mut transaction, applied.flat_map(|((swap, _), _)| doomed(swap))).await?;
    failpoint::at("swap.applied")?;
    transaction.commit().await.map_err(commit_failed)?;
    Ok(verdicts)
}

fn doomed(swap: &Swap) -> impl Iterator<Item = Doomed<'_>> {
    swap.doomed.iter().map(|location| Doomed { warehouse: &swap.warehouse, location, now_ms: swap.now_ms })
}

/// Applies a swap among others: if it is refused, they go on without it.
async fn apply_among_others(transaction: &mut AnyConnection, swap: &Swap) -> Result<Verdict> {
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
    Ok(Verdict::Applied(rows))
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
