//! The `warehouse` table: warehouses that were made while the server runs.

use sqlx::any::AnyRow;

use super::{Store, column, unavailable};
use crate::error::Result;
use crate::names::WarehouseName;

/// A warehouse as it is kept.
#[derive(Debug, Clone)]
pub struct WarehouseRow {
    /// Its name.
    pub name: String,
    /// What describes it, less its secrets: a JSON object.
    pub description: String,
    /// Its secrets, sealed; empty where it has none.
    pub sealed: String,
    /// When it was made.
    pub created_ms: i64,
}

impl Store {
    /// Keeps a warehouse in place of what was kept under its name.
    pub async fn put_warehouse(&self, warehouse: &WarehouseRow) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "insert into warehouse (name, description, sealed, created_ms) values ($1, $2, $3, $4)
             on conflict (name) do update set description = excluded.description, sealed = excluded.sealed",
        )
        .bind(warehouse.name.as_str())
        .bind(warehouse.description.as_str())
        .bind(warehouse.sealed.as_str())
        .bind(warehouse.created_ms)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        transaction.commit().await
    }

    /// Every warehouse that is kept, in the order of their names.
    pub async fn warehouses(&self) -> Result<Vec<WarehouseRow>> {
        let mut connection = self.read().await?;
        let rows = sqlx::query("select name, description, sealed, created_ms from warehouse order by name")
            .fetch_all(&mut *connection)
            .await
            .map_err(unavailable)?;
        rows.iter().map(from_row).collect()
    }

    /// Removes a warehouse in which nothing is; whether it was removed.
    pub async fn remove_warehouse(&self, name: &WarehouseName) -> Result<bool> {
        let mut transaction = self.write().await?;
        let gone = sqlx::query(
            "delete from warehouse
             where name = $1 and not exists (select 1 from namespace where warehouse = $1)
               and not exists (select 1 from gc_queue where warehouse = $1)",
        )
        .bind(name.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        transaction.commit().await?;
        Ok(gone.rows_affected() > 0)
    }

    /// Whether a warehouse has a namespace or a file that is still to be deleted.
    pub async fn is_warehouse_in_use(&self, name: &WarehouseName) -> Result<bool> {
        let mut connection = self.read().await?;
        let found = sqlx::query(
            "select 1 where exists (select 1 from namespace where warehouse = $1)
                or exists (select 1 from gc_queue where warehouse = $1)",
        )
        .bind(name.as_str())
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
        Ok(found.is_some())
    }
}

fn from_row(row: &AnyRow) -> Result<WarehouseRow> {
    Ok(WarehouseRow {
        name: column(row, "name")?,
        description: column(row, "description")?,
        sealed: column(row, "sealed")?,
        created_ms: column(row, "created_ms")?,
    })
}
