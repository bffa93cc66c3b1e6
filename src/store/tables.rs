//! The `tabular` table, read side. What changes it is in `swap.rs`.

use std::sync::Arc;

use sqlx::Any;
use sqlx::any::AnyRow;
use sqlx::pool::PoolConnection;

use super::moves::EARLIER_SEPARATOR;
use super::pointers::Key;
use super::{Store, column, unavailable};
use crate::error::Result;
use crate::names::{Namespace, TableName, Tabular, WarehouseName};

/// A live table or view as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRow {
    /// The row's id; it stays when the table is renamed.
    pub id: Arc<str>,
    /// Whether it is a table or a view.
    pub kind: Tabular,
    /// Its name.
    pub name: TableName,
    /// Its own identity.
    pub uuid: Arc<str>,
    /// The folder of its files.
    pub location: Arc<str>,
    /// The metadata file that its pointer names.
    pub metadata_location: Arc<str>,
    /// How often the pointer has moved.
    pub version: i64,
}

impl Store {
    /// The live table or view of this name.
    pub async fn find_tabular(&self, warehouse: &WarehouseName, name: &TableName) -> Result<Option<Arc<TableRow>>> {
        let key = Key { warehouse: warehouse.shared(), table: name.clone() };
        if let Some(known) = self.pointers.get(&key) {
            return Ok(known);
        }
        let ticket = self.pointers.ticket(&key);
        let mut connection = self.read().await?;
        let row = sqlx::query(
            "select id, kind, namespace, name, uuid, location, metadata_location, version
             from tabular
             where warehouse = $1 and namespace = $2 and name = $3 and dropped_ms is null",
        )
        .bind(warehouse.as_str())
        .bind(name.namespace.path())
        .bind(&*name.name)
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
        let found = row.as_ref().map(from_row).transpose()?.map(Arc::new);
        self.pointers.learn(ticket, key, found.clone());
        Ok(found)
    }

    /// The row of a live table with this identity.
    pub async fn id_of(&self, uuid: &str) -> Result<Option<String>> {
        let mut connection = self.read().await?;
        let sql =
            "select id from tabular where uuid = $1 and kind = 'table' and dropped_ms is null order by id limit 1";
        let row = sqlx::query(sql).bind(uuid).fetch_optional(&mut *connection).await.map_err(unavailable)?;
        row.map(|row| column(&row, "id")).transpose()
    }

    /// The name of the live table with this row and identity, if it is still there.
    pub async fn name_of(&self, warehouse: &WarehouseName, (id, uuid): (&str, &str)) -> Result<Option<TableName>> {
        let mut connection = self.read().await?;
        let row = sqlx::query(
            "select namespace, name from tabular
             where warehouse = $1 and id = $2 and uuid = $3 and kind = 'table' and dropped_ms is null",
        )
        .bind(warehouse.as_str())
        .bind(id)
        .bind(uuid)
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
        let Some(row) = row else { return Ok(None) };
        let namespace = Namespace::from_path(column(&row, "namespace")?)?;
        TableName::new(namespace, column(&row, "name")?).map(Some)
    }

    /// The tables or views of a namespace whose names come after `after`, at most `most`, in the order of their names.
    /// The namespace must exist.
    pub async fn list_tabulars(
        &self,
        (warehouse, namespace): (&WarehouseName, &Namespace),
        kind: Tabular,
        after: &str,
        most: i64,
    ) -> Result<Vec<String>> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "select name from tabular
             where warehouse = $1 and namespace = $2 and name > $3 and dropped_ms is null and kind = $4
             order by name
             limit $5",
        )
        .bind(warehouse.as_str())
        .bind(namespace.path())
        .bind(after)
        .bind(kind.as_str())
        .bind(most)
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
        rows.iter().map(|row| column(row, "name")).collect()
    }

    /// Whether a table that the database knows, dropped ones too, has its location at, inside or around `key` (a
    /// location in its normal form with a slash at the end).
    pub async fn location_use(&self, key: &str) -> Result<LocationUse> {
        let mut connection = self.read().await?;
        let inside = sqlx::query("select 1 from tabular where location_key >= $1 and location_key < $2 limit 1")
            .bind(key)
            .bind(end_of_prefix(key))
            .fetch_optional(&mut *connection)
            .await
            .map_err(unavailable)?;
        if inside.is_some() || purge_waits(&mut connection, key).await? {
            return Ok(LocationUse::Taken);
        }
        for ancestor in ancestors(key) {
            let around = sqlx::query("select 1 from tabular where location_key = $1 limit 1")
                .bind(ancestor)
                .fetch_optional(&mut *connection)
                .await
                .map_err(unavailable)?;
            if around.is_some() {
                return Ok(LocationUse::Inside);
            }
        }
        Ok(LocationUse::Free)
    }

    /// Whether a live table's location is around this place (in its normal form with a slash at the end).
    pub async fn live_table_around(&self, key: &str) -> Result<bool> {
        let mut connection = self.read().await?;
        for ancestor in ancestors(key) {
            let found = sqlx::query("select 1 from tabular where location_key = $1 and dropped_ms is null limit 1")
                .bind(ancestor)
                .fetch_optional(&mut *connection)
                .await
                .map_err(unavailable)?;
            if found.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether one of these tables, but for that of this row, has its location at, inside or around this place (in its
    /// normal form with a slash at the end). Rows are told apart by ids, which are made here: a uuid is a client's to choose.
    pub async fn belongs_to_another(&self, key: &str, own_id: Option<&str>, others: Others) -> Result<bool> {
        let (mut connection, own_id) = (self.read().await?, own_id.unwrap_or_default());
        let dropped_too = i64::from(others == Others::Known);
        let mut found = sqlx::query(
            "select 1 from tabular
             where location_key >= $1 and location_key < $2 and id <> $3 and (dropped_ms is null or $4 = 1) limit 1",
        )
        .bind(key)
        .bind(end_of_prefix(key))
        .bind(own_id)
        .bind(dropped_too)
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
        for ancestor in ancestors(key) {
            if found.is_some() {
                break;
            }
            let around = sqlx::query(
                "select 1 from tabular
                 where location_key = $1 and id <> $2 and (dropped_ms is null or $3 = 1) limit 1",
            );
            let around = around.bind(ancestor).bind(own_id).bind(dropped_too);
            found = around.fetch_optional(&mut *connection).await.map_err(unavailable)?;
        }
        Ok(found.is_some())
    }

    /// The table that had this name last, where it was dropped without purge at this time or later.
    pub async fn dropped_since(
        &self,
        warehouse: &WarehouseName,
        name: &TableName,
        since_ms: i64,
    ) -> Result<Option<TableRow>> {
        let mut connection = self.read().await?;
        let row = sqlx::query(
            "select id, kind, namespace, name, uuid, location, metadata_location, version
             from tabular
             where warehouse = $1 and namespace = $2 and name = $3 and dropped_ms >= $4 and kind = 'table'
             order by dropped_ms desc
             limit 1",
        )
        .bind(warehouse.as_str())
        .bind(name.namespace.path())
        .bind(&*name.name)
        .bind(since_ms)
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
        row.as_ref().map(from_row).transpose()
    }

    /// The metadata files that a table's pointer named before the one of this row, newest first; the last of them only.
    pub async fn earlier_metadata(&self, row: &TableRow) -> Result<Vec<String>> {
        let mut connection = self.read().await?;
        let found = sqlx::query("select earlier from tabular where id = $1")
            .bind(&*row.id)
            .fetch_optional(&mut *connection)
            .await
            .map_err(unavailable)?;
        let earlier: String = found.as_ref().map(|found| column(found, "earlier")).transpose()?.unwrap_or_default();
        let mut files: Vec<String> = earlier.split(EARLIER_SEPARATOR).map(str::to_owned).collect();
        files.retain(|file| file.ends_with(".json"));
        Ok(files)
    }

    /// Every live table of the warehouse, for upkeep that must look at all of them.
    pub async fn live_tables(&self, warehouse: &str, after: &str, most: i64) -> Result<Vec<TableRow>> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "select id, kind, namespace, name, uuid, location, metadata_location, version
             from tabular
             where warehouse = $1 and id > $2 and dropped_ms is null and kind = 'table'
             order by id
             limit $3",
        )
        .bind(warehouse)
        .bind(after)
        .bind(most)
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
        rows.iter().map(from_row).collect()
    }
}

/// Whether a purged table's files are still to be deleted from this place: its folders will go with them.
async fn purge_waits(connection: &mut PoolConnection<Any>, key: &str) -> Result<bool> {
    let waiting =
        sqlx::query("select 1 from gc_queue where kind = 'purge' and location >= $1 and location < $2 limit 1")
            .bind(key)
            .bind(end_of_prefix(key))
            .fetch_optional(&mut **connection)
            .await
            .map_err(unavailable)?;
    Ok(waiting.is_some())
}

/// Which other tables a place may belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// Those that are there.
    Live,
    /// Those that were dropped too, whose files have stayed.
    Known,
}

/// How a location relates to those of the tables that the database knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocationUse {
    /// No table is at, inside or around it.
    Free,
    /// A table is at it or inside it.
    Taken,
    /// It lies inside a table's location.
    Inside,
}

/// The locations around a location key: `a/b/c/` gives `a/b/` and `a/`.
pub(super) fn ancestors(key: &str) -> impl Iterator<Item = &str> {
    let inner = key.strip_suffix('/').unwrap_or(key);
    inner.char_indices().rev().filter(|(_, c)| *c == '/').map(|(at, _)| &key[..=at])
}

/// The first text that does not begin with `prefix`, for a range over all that do. A key ends in a slash, and `0` is
/// the character after it.
pub(super) fn end_of_prefix(prefix: &str) -> String {
    let mut end = prefix.strip_suffix('/').unwrap_or(prefix).to_owned();
    end.push('0');
    end
}

fn from_row(row: &AnyRow) -> Result<TableRow> {
    let text = |name: &str| -> Result<Arc<str>> { Ok(column::<&str>(row, name)?.into()) };
    let namespace = Namespace::from_path(column(row, "namespace")?)?;
    Ok(TableRow {
        id: text("id")?,
        kind: Tabular::from_stored(column(row, "kind")?)?,
        name: TableName::new(namespace, column(row, "name")?)?,
        uuid: text("uuid")?,
        location: text("location")?,
        metadata_location: text("metadata_location")?,
        version: column(row, "version")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_are_the_folders_around() {
        let all: Vec<&str> = ancestors("file:///a/b/").collect();
        assert_eq!(all, ["file:///a/", "file:///", "file://", "file:/"]);
    }

    #[test]
    fn the_range_of_a_prefix_holds_what_begins_with_it() {
        let (start, end) = ("s3://b/t/", end_of_prefix("s3://b/t/"));
        assert!(*"s3://b/t/x/" >= *start && *"s3://b/t/x/" < *end);
        assert!(*"s3://b/t2/" >= *end || *"s3://b/t2/" < *start);
        assert!(*"s3://b/t-1/" < *start);
    }
}
