//! The one writer that moves pointers: a group of swaps into one SQL transaction.
//!
//! Swaps that each move one pointer are one statement together; among others, each has its savepoint, so that one that is
//! refused does not stop its neighbours.
//!
//! It has a connection of its own. After an error, or a fault of ours in the middle, nobody knows in what state that is: it
//! is dropped, and the database is opened and read again before the next group. If a commit's outcome is unknown, the
//! server is not ready until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{Any, AnyConnection, Connection, Transaction};

use super::database::{Database, certainly_undone};
use super::gc::{self, Doomed};
use super::keys;
use super::moves::{self, Move};
use super::pointers::{Key, Pointers};
use super::swap::{Queued, Step, Swap, Verdict};
use super::{Writing, commit_failed, commit_unknown, step, unavailable};
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
        Some(moves)
            if database.is_ours_alone()
                && group.iter().all(|(swap, _)| swap.doomed.is_empty() && swap.key.is_none()) =>
        {
            move_at_once(connection, &moves).await?
        }
        moves => {
            let transaction = database.begin(connection).await?;
            apply_in_transaction(transaction, group, moves.as_deref()).await?
        }
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
    mut transaction: Transaction<'_, Any>,
    group: &[Queued],
    moves: Option<&[Move<'_>]>,
) -> Result<Vec<Verdict>> {
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
    let applied = applied.map(|((swap, _), _)| swap);
    gc::enqueue_files(&mut transaction, applied.clone().flat_map(doomed)).await?;
    for key in applied.filter_map(|swap| swap.key.as_ref()) {
        keys::insert(&mut transaction, key).await?;
    }
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
