//! The `function` table. A function's name is its own: a table or view may have the same.

use sqlx::AnyConnection;

use super::namespaces::{exists, no_such_namespace};
use super::{Store, column, unavailable};
use crate::error::{Error, Kind, Result, What};
use crate::names::{Namespace, TableName, WarehouseName};

impl Store {
    /// Keeps a function under a name, in place of the one that was there.
    pub async fn put_function(&self, warehouse: &WarehouseName, name: &TableName, metadata: &str) -> Result<()> {
        let mut transaction = self.write().await?;
        if !exists(&mut transaction, warehouse, &name.namespace).await? {
            return Err(no_such_namespace(&name.namespace));
        }
        sqlx::query(
            "insert into function (warehouse, namespace, name, metadata, updated_ms) values ($1, $2, $3, $4, $5)
             on conflict (warehouse, namespace, name)
             do update set metadata = excluded.metadata, updated_ms = excluded.updated_ms",
        )
        .bind(warehouse.as_str())
        .bind(name.namespace.path())
        .bind(&*name.name)
        .bind(metadata)
        .bind(self.clock.now_ms())
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        transaction.commit().await
    }

    /// A function's metadata, as JSON text.
    pub async fn function(&self, warehouse: &WarehouseName, name: &TableName) -> Result<String> {
        let mut connection = self.read().await?;
        let row = sqlx::query("select metadata from function where warehouse = $1 and namespace = $2 and name = $3")
            .bind(warehouse.as_str())
            .bind(name.namespace.path())
            .bind(&*name.name)
            .fetch_optional(&mut *connection)
            .await
            .map_err(unavailable)?;
        column(&row.ok_or_else(|| no_such_function(name))?, "metadata")
    }

    /// The functions of a namespace whose names come after `after`, at most `most`, in the order of their names. The
    /// namespace must exist.
    pub async fn list_functions(
        &self,
        warehouse: &WarehouseName,
        namespace: &Namespace,
        after: &str,
        most: i64,
    ) -> Result<Vec<String>> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "select name from function where warehouse = $1 and namespace = $2 and name > $3 order by name limit $4",
        )
        .bind(warehouse.as_str())
        .bind(namespace.path())
        .bind(after)
        .bind(most)
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
        rows.iter().map(|row| column(row, "name")).collect()
    }

    /// Removes a function.
    pub async fn drop_function(&self, warehouse: &WarehouseName, name: &TableName) -> Result<()> {
        let mut transaction = self.write().await?;
        let gone = sqlx::query("delete from function where warehouse = $1 and namespace = $2 and name = $3")
            .bind(warehouse.as_str())
            .bind(name.namespace.path())
            .bind(&*name.name)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        if gone.rows_affected() == 0 {
            return Err(no_such_function(name));
        }
        transaction.commit().await
    }
}

/// Whether a namespace has a function.
pub(super) async fn any_in(
    connection: &mut AnyConnection,
    warehouse: &WarehouseName,
    namespace: &Namespace,
) -> Result<bool> {
    let found = sqlx::query("select 1 from function where warehouse = $1 and namespace = $2 limit 1")
        .bind(warehouse.as_str())
        .bind(namespace.path())
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
    Ok(found.is_some())
}

fn no_such_function(name: &TableName) -> Error {
    Error::new(Kind::NotFound(What::Function), format!("Function does not exist: {name}"))
}
