//! The `staged` table: where tables will be that somebody has staged.
//!
//! A row lives until something is made under its name, or for [`limits::STAGED_FOR_MS`]; of more than
//! [`limits::STAGED_TABLES_MAX`] the oldest are forgotten, and their clients are refused at the store.

use sqlx::AnyConnection;

use super::{Store, column, unavailable};
use crate::error::{Error, Result};
use crate::limits;
use crate::names::{TableName, WarehouseName};

impl Store {
    /// Remembers where a staged table will be.
    pub async fn put_staged(&self, warehouse: &WarehouseName, name: &TableName, locations: &[String]) -> Result<()> {
        let text = serde_json::to_string(locations)
            .map_err(|error| Error::internal("Locations cannot be written").because(error))?;
        let now_ms = self.clock.now_ms();
        let mut transaction = self.write().await?;
        sqlx::query(
            "insert into staged (warehouse, namespace, name, locations, staged_ms) values ($1, $2, $3, $4, $5)
             on conflict (warehouse, namespace, name)
             do update set locations = excluded.locations, staged_ms = excluded.staged_ms",
        )
        .bind(warehouse.as_str())
        .bind(name.namespace.path())
        .bind(&*name.name)
        .bind(text)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        sqlx::query(
            "delete from staged
             where staged_ms < $1 or staged_ms < (select staged_ms from staged order by staged_ms desc limit 1 offset $2)",
        )
        .bind(now_ms - limits::STAGED_FOR_MS)
        .bind(limits::STAGED_TABLES_MAX - 1)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        transaction.commit().await
    }

    /// Where the table of this name will be, if somebody has staged it.
    pub async fn staged(&self, warehouse: &WarehouseName, name: &TableName) -> Result<Option<Vec<String>>> {
        let mut connection = self.read().await?;
        let row = sqlx::query(
            "select locations from staged where warehouse = $1 and namespace = $2 and name = $3 and staged_ms >= $4",
        )
        .bind(warehouse.as_str())
        .bind(name.namespace.path())
        .bind(&*name.name)
        .bind(self.clock.now_ms() - limits::STAGED_FOR_MS)
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
        let Some(row) = row else { return Ok(None) };
        let text: String = column(&row, "locations")?;
        let read = serde_json::from_str(&text);
        read.map(Some).map_err(|error| Error::internal(format!("Locations of {name} cannot be read")).because(error))
    }
}

/// Forgets what was staged under a name that something now has.
pub(super) async fn forget(connection: &mut AnyConnection, warehouse: &WarehouseName, name: &TableName) -> Result<()> {
    sqlx::query("delete from staged where warehouse = $1 and namespace = $2 and name = $3")
        .bind(warehouse.as_str())
        .bind(name.namespace.path())
        .bind(&*name.name)
        .execute(connection)
        .await
        .map_err(unavailable)?;
    Ok(())
}
