//! The one writer that moves pointers: a group of swaps into one SQL transaction.
//!
//! Swaps that each move one pointer are one statement together; else, and where what goes along with one of them refuses
//! it, each has its savepoint, so that one that is refused does not stop its neighbours.
//!
//! It has a connection of its own. After an error, or a fault of ours in the middle, nobody knows in what state that is: it
//! is dropped, and the database is opened and read again before the next group. If a commit's outcome is unknown, the
//! server is not ready until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{AnyConnection, Connection};

use super::database::Database;
use super::gc::{self, Doomed};
use super::moves::{self, Move};
use super::pointers::{Key, Pointers};
use super::swap::{Alongside, Queued, Refusal, Step, Swap, Verdict};
use super::{Writing, commit_failed, commit_unknown, failed_at_the_end, keys, log_marks, producers, step, unavailable};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::names::TableName;

/// The writer. Whoever holds it applies what waits.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) database: Database,
    /// Absent after an error, until the database was opened and read again.
    pub(super) connection: Option<AnyConnection>,
    pub(super) writing: Writing,
    pub(super) pointers: Arc<Pointers>,
    pub(super) trusted: Arc<AtomicBool>,
    pub(super) stopped: bool,
}

impl Writer {
    /// Applies a group and tells each of its swaps what came of it.
    pub(super) async fn apply(&mut self, group: Vec<Queued>) {
        if group.is_empty() {
            return;
        }
        let mut under_way = UnderWay { writer: self, group };
        let outcome = under_way.together().await;
        under_way.settle(outcome).await;
    }

    /// Closes the connection; what is asked from now on is refused.
    pub(super) async fn stop(&mut self) {
        self.stopped = true;
        if let Some(connection) = self.connection.take() {
            drop(connection.close().await);
        }
    }

    /// Opens the database again and reads from it, if that is needed.
    pub(super) async fn connected(&mut self) -> Result<&mut AnyConnection> {
        if self.stopped {
            return Err(Error::new(Kind::Unavailable, "The server is stopping; nothing was changed"));
        }
        if self.connection.is_none() {
            let mut connection = self.database.connect().await.map_err(unavailable)?;
            let read = sqlx::query("select version from tabular limit 1").fetch_optional(&mut connection).await;
            read.map_err(unavailable)?;
            self.connection = Some(connection);
            self.trusted.store(true, Ordering::Release);
            tracing::info!("the database was opened again");
        }
        self.connection.as_mut().ok_or_else(|| Error::internal("The database is not open"))
    }
}

/// A group that is being applied. Dropped before it is settled, by a fault of ours or by a caller that went away, how far
/// it came nobody can say.
struct UnderWay<'a> {
    writer: &'a mut Writer,
    group: Vec<Queued>,
}

impl UnderWay<'_> {
    async fn together(&mut self) -> Result<Vec<Verdict>> {
        let _turn = Arc::clone(&self.writer.writing).lock_owned().await;
        let database = self.writer.database.clone();
        apply_together(&database, self.writer.connected().await?, &self.group).await
    }

    async fn settle(mut self, outcome: Result<Vec<Verdict>>) {
        let group = std::mem::take(&mut self.group);
        match outcome {
            Ok(verdicts) => {
                for ((swap, answer), verdict) in group.into_iter().zip(verdicts) {
                    remember(&self.writer.pointers, &swap, &verdict);
                    drop(answer.send(Ok(verdict)));
                }
            }
            Err(error) => {
                tracing::error!(swaps = group.len(), error = error.chain(), "a group of swaps failed");
                // Whatever failed, the connection may still believe to be inside a transaction.
                self.writer.connection = None;
                if error.kind() == Kind::CommitUnknown {
                    self.writer.trusted.store(false, Ordering::Release);
                }
                for (swap, answer) in group {
                    forget(&self.writer.pointers, &swap);
                    drop(answer.send(Err(error.copy())));
                }
                drop(self.writer.connected().await);
            }
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.group.is_empty() {
            return;
        }
        self.writer.connection = None;
        self.writer.trusted.store(false, Ordering::Release);
        for (swap, _) in &self.group {
            forget(&self.writer.pointers, swap);
        }
    }
}

async fn apply_together(database: &Database, connection: &mut AnyConnection, group: &[Queued]) -> Result<Vec<Verdict>> {
    failpoint::at("swap.begin")?;
    let verdicts = match Move::all(group.iter().map(|(swap, _)| swap)) {
        Some(moves) if database.is_ours_alone() && group.iter().all(|(swap, _)| swap.alongside.is_empty()) => {
            move_at_once(connection, &moves).await?
        }
        moves => apply_in_transaction(database, connection, group, moves.as_deref()).await?,
    };
    // From here on a failure is an answer that was lost.
    failpoint::at("swap.committed").map_err(commit_unknown)?;
    Ok(verdicts)
}

/// One statement without a transaction around it. Whether an error came before its commit or from it cannot be told.
async fn move_at_once(connection: &mut AnyConnection, moves: &[Move<'_>]) -> Result<Vec<Verdict>> {
    moves::apply(connection, moves).await.map_err(failed_at_the_end)
}

async fn apply_in_transaction(
    database: &Database,
    connection: &mut AnyConnection,
    group: &[Queued],
    moves: Option<&[Move<'_>]>,
) -> Result<Vec<Verdict>> {
    let mut transaction = database.begin(&mut *connection).await?;
    let together = match moves {
        Some(moves) => move_together(&mut transaction, group, moves).await?,
        None => None,
    };
    let verdicts = match together {
        Some(verdicts) => verdicts,
        None => {
            if moves.is_some() {
                transaction.rollback().await.map_err(unavailable)?;
                transaction = database.begin(connection).await?;
            }
            one_by_one(&mut transaction, group).await?
        }
    };
    if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Refused(_))) {
        transaction.rollback().await.map_err(unavailable)?;
        return Ok(verdicts);
    }
    failpoint::at("swap.applied")?;
    transaction.commit().await.map_err(commit_failed)?;
    Ok(verdicts)
}

/// All in one statement; `None` where what goes along with one of them refuses it, which nothing here can undo alone.
async fn move_together(
    transaction: &mut AnyConnection,
    group: &[Queued],
    moves: &[Move<'_>],
) -> Result<Option<Vec<Verdict>>> {
    let verdicts = moves::apply(transaction, moves).await?;
    let applied = group.iter().zip(&verdicts).filter(|(_, verdict)| matches!(verdict, Verdict::Applied(_)));
    let applied: Vec<&Swap> = applied.map(|((swap, _), _)| swap).collect();
    gc::enqueue_files(transaction, applied.iter().flat_map(|swap| doomed(swap))).await?;
    for swap in applied {
        if !put_alongside(transaction, swap).await? {
            return Ok(None);
        }
    }
    Ok(Some(verdicts))
}

/// Whether everything but the files that go along with a swap could be written.
async fn put_alongside(transaction: &mut AnyConnection, swap: &Swap) -> Result<bool> {
    let Alongside { keys, producers, mark, .. } = &swap.alongside;
    let marked = match mark {
        Some(mark) => log_marks::put(transaction, mark).await?,
        None => true,
    };
    Ok(marked
        && keys::insert(transaction, keys, swap.now_ms).await?
        && producers::advance(transaction, producers, swap.now_ms).await?)
}

fn doomed(swap: &Swap) -> impl Iterator<Item = Doomed<'_>> {
    let files = swap.alongside.doomed.iter();
    files.map(|location| Doomed { warehouse: &swap.warehouse, location, now_ms: swap.now_ms })
}

/// Applies swaps of which each goes on without those that are refused.
async fn one_by_one(transaction: &mut AnyConnection, group: &[Queued]) -> Result<Vec<Verdict>> {
    if let [(swap, _)] = group {
        // Alone it needs no savepoint: the transaction is one.
        return Ok(vec![apply_whole(transaction, swap).await?]);
    }
    let mut verdicts = Vec::with_capacity(group.len());
    for (swap, _) in group {
        sqlx::query("savepoint swap").execute(&mut *transaction).await.map_err(unavailable)?;
        let verdict = apply_whole(transaction, swap).await?;
        if let Verdict::Refused(_) = verdict {
            sqlx::query("rollback to savepoint swap").execute(&mut *transaction).await.map_err(unavailable)?;
        }
        sqlx::query("release savepoint swap").execute(&mut *transaction).await.map_err(unavailable)?;
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

/// A swap and what goes along with it; where it is refused, some of it may have been written.
async fn apply_whole(transaction: &mut AnyConnection, swap: &Swap) -> Result<Verdict> {
    let verdict = apply_steps(transaction, swap).await?;
    if let Verdict::Refused(_) = verdict {
        return Ok(verdict);
    }
    gc::enqueue_files(transaction, doomed(swap)).await?;
    let written = put_alongside(transaction, swap).await?;
    Ok(if written { verdict } else { Verdict::Refused(Refusal::Known) })
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
