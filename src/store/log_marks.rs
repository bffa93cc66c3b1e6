//! The `log_mark` table: up to which entry of the server's own log the rows of a table are committed.
//!
//! Entries of the log are numbered once and for all, and those of one table are committed in their order.

use sqlx::AnyConnection;

use super::{Store, column, unavailable};
use crate::error::Result;

/// Entries of a table that are settled together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The table's row.
    pub table_id: String,
    /// The first of the entries.
    pub first: i64,
    /// The last of them.
    pub last: i64,
}

impl Store {
    /// Every table's last entry that is settled.
    pub async fn log_marks(&self) -> Result<Vec<(String, i64)>> {
        let mut connection = self.read().await?;
        let rows = sqlx::query("select table_id, entry from log_mark")
            .fetch_all(&mut *connection)
            .await
            .map_err(unavailable)?;
        rows.iter().map(|row| Ok((column(row, "table_id")?, column(row, "entry")?))).collect()
    }

    /// The last entry of a table that is settled.
    pub async fn log_mark(&self, table_id: &str) -> Result<Option<i64>> {
        let mut connection = self.read().await?;
        let row = sqlx::query("select entry from log_mark where table_id = $1")
            .bind(table_id)
            .fetch_optional(&mut *connection)
            .await
            .map_err(unavailable)?;
        row.map(|row| column(&row, "entry")).transpose()
    }
}

/// Moves a table's mark past these entries; whether it was before them.
pub(super) async fn put(connection: &mut AnyConnection, mark: &Mark) -> Result<bool> {
    let put = sqlx::query(
        "insert into log_mark (table_id, entry) values ($1, $2)
         on conflict (table_id) do update set entry = excluded.entry where log_mark.entry < $3",
    )
    .bind(mark.table_id.as_str())
    .bind(mark.last)
    .bind(mark.first)
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(put.rows_affected() == 1)
}
