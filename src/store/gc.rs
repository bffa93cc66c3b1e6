//! The `gc_queue` table: what is to be deleted from a warehouse.
//!
//! Rows enter in the transaction that makes a thing unreachable and leave after it is gone, so a kill in between only
//! repeats a deletion. The one exception is [`Store::doom_files`]: files of an attempt that certainly did not commit.

use sqlx::{AnyConnection, AssertSqlSafe};

use super::moves::placeholders;
use super::swap::Swap;
use super::tables::TableRow;
use super::{Store, column, unavailable};
use crate::clock;
use crate::error::{Error, Result};
use crate::limits;
use crate::names::WarehouseName;

/// What an entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Delete the one object at the entry's location.
    File,
    /// Delete everything reachable from the metadata file at the entry's location.
    Purge {
        /// Whether the data files stay.
        keep_data: bool,
    },
}

/// One entry of the queue.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The entry's own id.
    pub id: String,
    /// What to do.
    pub task: Task,
    /// Where.
    pub location: String,
    /// How often it has failed.
    pub attempts: i64,
}

impl Store {
    /// Queues files of an attempt that certainly did not commit.
    pub async fn doom_files(&self, warehouse: &WarehouseName, locations: &[String]) -> Result<()> {
        if locations.is_empty() {
            return Ok(());
        }
        let mut transaction = self.write().await?;
        let now_ms = self.clock.now_ms();
        let doomed = locations.iter().map(|location| Doomed { warehouse, location, now_ms });
        enqueue_files(&mut transaction, doomed).await?;
        transaction.commit().await
    }

    /// The entries of a warehouse that are due, oldest first, at most `most`.
    pub async fn due_for_deletion(&self, warehouse: &WarehouseName, most: i64) -> Result<Vec<Entry>> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "select id, kind, location, keep_data, attempts
             from gc_queue
             where warehouse = $1 and not_before_ms <= $2
             order by not_before_ms, id
             limit $3",
        )
        .bind(warehouse.as_str())
        .bind(self.clock.now_ms())
        .bind(most)
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                let kind: &str = column(row, "kind")?;
                let keep_data = column::<i64>(row, "keep_data")? == 1;
                let task = match kind {
                    "file" => Task::File,
                    "purge" => Task::Purge { keep_data },
                    other => return Err(Error::internal(format!("gc_queue has an entry of kind {other:?}"))),
                };
                Ok(Entry {
                    id: column(row, "id")?,
                    task,
                    location: column(row, "location")?,
                    attempts: column(row, "attempts")?,
                })
            })
            .collect()
    }

    /// Takes entries out whose objects are gone.
    pub async fn deletion_done(&self, ids: &[String]) -> Result<()> {
        let mut transaction = self.write().await?;
        for id in ids {
            sqlx::query("delete from gc_queue where id = $1")
                .bind(id.as_str())
                .execute(&mut *transaction)
                .await
                .map_err(unavailable)?;
        }
        transaction.commit().await
    }

    /// Puts an entry off that failed.
    pub async fn deletion_failed(&self, id: &str, not_before_ms: i64) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query("update gc_queue set attempts = attempts + 1, not_before_ms = $2 where id = $1")
            .bind(id)
            .bind(not_before_ms)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        transaction.commit().await
    }

    /// How many entries wait.
    pub async fn deletions_waiting(&self) -> Result<i64> {
        let mut connection = self.read().await?;
        let row = sqlx::query("select count(*) as waiting from gc_queue")
            .fetch_one(&mut *connection)
            .await
            .map_err(unavailable)?;
        column(&row, "waiting")
    }
}

/// An object that is to be deleted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doomed<'a> {
    pub(super) warehouse: &'a WarehouseName,
    pub(super) location: &'a str,
    pub(super) now_ms: i64,
}

/// Queues single objects inside a transaction.
pub(super) async fn enqueue_files<'a>(
    connection: &mut AnyConnection,
    doomed: impl Iterator<Item = Doomed<'a>>,
) -> Result<()> {
    let doomed: Vec<Doomed<'_>> = doomed.collect();
    for some in doomed.chunks(limits::DOOMED_PER_STATEMENT) {
        let sql = format!(
            "insert into gc_queue (kind, keep_data, attempts, id, warehouse, location, not_before_ms)
             select 'file', 0, 0, column1, column2, column3, column4 from (values {}) as doomed",
            placeholders(some.len(), 4, 1)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for one in some {
            query =
                query.bind(clock::new_ordered_id()).bind(one.warehouse.as_str()).bind(one.location).bind(one.now_ms);
        }
        query.execute(&mut *connection).await.map_err(unavailable)?;
    }
    Ok(())
}

/// Whether an object is queued for deletion, by whichever warehouse.
pub(super) async fn is_queued(connection: &mut AnyConnection, location: &str) -> Result<bool> {
    let found = sqlx::query("select 1 from gc_queue where location = $1 limit 1")
        .bind(location)
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(found.is_some())
}

/// Queues everything reachable from a table that goes.
pub(super) async fn enqueue_purge(
    transaction: &mut AnyConnection,
    swap: &Swap,
    row: &TableRow,
    keep_data: bool,
) -> Result<()> {
    sqlx::query(
        "insert into gc_queue (id, kind, warehouse, location, tabular_id, keep_data, attempts, not_before_ms)
         values ($1, 'purge', $2, $3, $4, $5, 0, $6)",
    )
    .bind(clock::new_ordered_id())
    .bind(swap.warehouse.as_str())
    .bind(&*row.metadata_location)
    .bind(&*row.id)
    .bind(i64::from(keep_data))
    .bind(swap.now_ms)
    .execute(&mut *transaction)
    .await
    .map_err(unavailable)?;
    Ok(())
}
