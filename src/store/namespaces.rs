//! The `namespace` table.

use indexmap::IndexMap;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::keys::{self, KeyRow};
use super::{Store, column, functions, unavailable};
use crate::error::{Error, Kind, Result, What};
use crate::names::{Namespace, WarehouseName};

/// A namespace's settings.
pub type Properties = IndexMap<String, String>;

impl Store {
    /// Adds a namespace under its parent. The parent must exist; the namespace must not.
    pub async fn create_namespace(
        &self,
        warehouse: &WarehouseName,
        namespace: &Namespace,
        properties: &Properties,
        key: Option<&KeyRow>,
    ) -> Result<()> {
        let mut transaction = self.write().await?;
        if let Some(parent) = namespace.parent()
            && !exists(&mut transaction, warehouse, &parent).await?
        {
            return Err(no_such_namespace(&parent));
        }
        let parent = namespace.parent();
        let added = sqlx::query(
            "insert into namespace (warehouse, path, parent, properties, created_ms)
             values ($1, $2, $3, $4, $5)
             on conflict do nothing",
        )
        .bind(warehouse.as_str())
        .bind(namespace.path())
        .bind(parent.as_ref().map_or("", Namespace::path))
        .bind(to_json(properties)?)
        .bind(self.clock.now_ms())
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        if added.rows_affected() == 0 {
            return Err(Error::new(
                Kind::AlreadyExists(What::Namespace),
                format!("Namespace already exists: {namespace}"),
            ));
        }
        keep(&mut transaction, key, self.clock.now_ms()).await?;
        transaction.commit().await
    }

    /// The namespace's properties.
    pub async fn namespace_properties(&self, warehouse: &WarehouseName, namespace: &Namespace) -> Result<Properties> {
        let mut connection = self.read().await?;
        let row = sqlx::query("select properties from namespace where warehouse = $1 and path = $2")
            .bind(warehouse.as_str())
            .bind(namespace.path())
            .fetch_optional(&mut *connection)
            .await
            .map_err(unavailable)?;
        from_row(&row.ok_or_else(|| no_such_namespace(namespace))?)
    }

    /// Replaces the namespace's properties by what `change` makes of them.
    pub async fn change_namespace_properties<T>(
        &self,
        warehouse: &WarehouseName,
        namespace: &Namespace,
        change: impl FnOnce(&mut Properties) -> Result<(T, Option<KeyRow>)>,
    ) -> Result<T> {
        let mut transaction = self.write().await?;
        let row = sqlx::query("select properties from namespace where warehouse = $1 and path = $2")
            .bind(warehouse.as_str())
            .bind(namespace.path())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let mut properties = from_row(&row.ok_or_else(|| no_such_namespace(namespace))?)?;
        let (made, key) = change(&mut properties)?;
        sqlx::query("update namespace set properties = $3 where warehouse = $1 and path = $2")
            .bind(warehouse.as_str())
            .bind(namespace.path())
            .bind(to_json(&properties)?)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        keep(&mut transaction, key.as_ref(), self.clock.now_ms()).await?;
        transaction.commit().await?;
        Ok(made)
    }

    /// Removes an empty namespace.
    pub async fn drop_namespace(
        &self,
        warehouse: &WarehouseName,
        namespace: &Namespace,
        key: Option<&KeyRow>,
    ) -> Result<()> {
        let mut transaction = self.write().await?;
        if !exists(&mut transaction, warehouse, namespace).await? {
            return Err(no_such_namespace(namespace));
        }
        let held = sqlx::query(
            "select 1 from tabular where warehouse = $1 and namespace = $2 and dropped_ms is null
             union all
             select 1 from namespace where warehouse = $1 and parent = $2
             limit 1",
        )
        .bind(warehouse.as_str())
        .bind(namespace.path())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(unavailable)?;
        if held.is_some() || functions::any_in(&mut transaction, warehouse, namespace).await? {
            return Err(Error::new(
                Kind::NotEmpty,
                format!(
                    "Namespace {namespace} is not empty: drop its tables, views, functions and inner namespaces first"
                ),
            ));
        }
        sqlx::query("delete from namespace where warehouse = $1 and path = $2")
            .bind(warehouse.as_str())
            .bind(namespace.path())
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        keep(&mut transaction, key, self.clock.now_ms()).await?;
        transaction.commit().await
    }

    /// The direct children of `parent` (the top level if `None`) that come after `after`, at most `most`, in the order
    /// of their stored form.
    pub async fn list_namespaces(
        &self,
        warehouse: &WarehouseName,
        parent: Option<&Namespace>,
        after: &str,
        most: i64,
    ) -> Result<Vec<Namespace>> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "select path from namespace
             where warehouse = $1 and parent = $2 and path > $3
             order by path
             limit $4",
        )
        .bind(warehouse.as_str())
        .bind(parent.map_or("", Namespace::path))
        .bind(after)
        .bind(most)
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
        rows.iter().map(|row| Namespace::from_path(column(row, "path")?)).collect()
    }
}

/// Keeps the key that a change was done under, if it was under one.
async fn keep(transaction: &mut AnyConnection, key: Option<&KeyRow>, now_ms: i64) -> Result<()> {
    let Some(key) = key else { return Ok(()) };
    match keys::insert(transaction, std::slice::from_ref(key), now_ms).await? {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Unavailable,
            "This key's request was done meanwhile; nothing was done again: ask again",
        )),
    }
}

pub(super) async fn exists(
    transaction: &mut AnyConnection,
    warehouse: &WarehouseName,
    namespace: &Namespace,
) -> Result<bool> {
    let row = sqlx::query("select 1 from namespace where warehouse = $1 and path = $2")
        .bind(warehouse.as_str())
        .bind(namespace.path())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(unavailable)?;
    Ok(row.is_some())
}

/// The namespace is not there.
pub fn no_such_namespace(namespace: &Namespace) -> Error {
    Error::new(Kind::NotFound(What::Namespace), format!("Namespace does not exist: {namespace}"))
}

fn from_row(row: &AnyRow) -> Result<Properties> {
    let text: &str = column(row, "properties")?;
    serde_json::from_str(text).map_err(|error| Error::internal("Namespace properties are damaged").because(error))
}

fn to_json(properties: &Properties) -> Result<String> {
    serde_json::to_string(properties).map_err(|error| Error::internal("Properties cannot be written").because(error))
}
