//! The SQL of one step of a swap: compare, and change if the comparison holds.
//!
//! What is compared is the row's id, the metadata file it names *and its name*: a table that was renamed since it was read
//! is no longer the one that was meant.

use std::sync::Arc;

use sqlx::{AnyConnection, AssertSqlSafe};

use super::moves::{self, Move};
use super::swap::{NewTable, PointedFile, Pointer, Refusal, Removal, Step, Swap, Verdict};
use super::tables::{TableRow, ancestors, end_of_prefix};
use super::{column, gc, namespaces, staged, unavailable};
use crate::error::Result;
use crate::names::{TableName, Tabular};

/// The row after a step (`None`: it is gone), or why the step refuses.
type Applied = Result<Option<Arc<TableRow>>, Refusal>;

/// Applies one step inside the swap's transaction.
pub(super) async fn apply(connection: &mut AnyConnection, swap: &Swap, step: &Step) -> Result<Applied> {
    if let Step::Insert(NewTable { pointer, .. }) | Step::Replace { to: pointer, .. } = step
        && pointer.file == PointedFile::Existing
        && gc::is_queued(connection, &pointer.metadata_location).await?
    {
        return Ok(Err(Refusal::Doomed(pointer.metadata_location.to_string())));
    }
    match step {
        Step::Insert(new) => insert(connection, swap, new).await,
        Step::Replace { from, to } => replace(connection, from, to).await,
        Step::Remove { row, removal: Removal::Drop } => hide(connection, swap, row).await,
        Step::Remove { row, removal } => delete(connection, swap, row, *removal == Removal::PurgeKeepingData).await,
        Step::Rename { row, to } => rename(connection, swap, row, to).await,
    }
}

async fn insert(connection: &mut AnyConnection, swap: &Swap, new: &NewTable) -> Result<Applied> {
    if !namespaces::exists(connection, &swap.warehouse, &new.name.namespace).await? {
        return Ok(Err(Refusal::NoNamespace(new.name.clone())));
    }
    let added = sqlx::query(
        "insert into tabular (id, warehouse, namespace, name, kind, uuid, location, location_key, metadata_location,
                              version, created_ms, dropped_ms)
         values ($1, $2, $3, $4, $10, $5, $6, $7, $8, 0, $9, null)
         on conflict do nothing",
    )
    .bind(&*new.id)
    .bind(swap.warehouse.as_str())
    .bind(new.name.namespace.path())
    .bind(&*new.name.name)
    .bind(&*new.pointer.uuid)
    .bind(&*new.pointer.location)
    .bind(new.pointer.location_key.as_str())
    .bind(&*new.pointer.metadata_location)
    .bind(swap.now_ms)
    .bind(new.kind.as_str())
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    if added.rows_affected() == 0 {
        let there = kind_of(connection, swap, &new.name).await?.unwrap_or(new.kind);
        return Ok(Err(Refusal::NameTaken { name: new.name.clone(), wanted: new.kind, there }));
    }
    if location_is_taken(connection, &new.id, &new.pointer.location_key).await? {
        return Ok(Err(Refusal::LocationTaken(new.pointer.location.to_string())));
    }
    staged::forget(connection, &swap.warehouse, &new.name).await?;
    let row = TableRow {
        id: Arc::clone(&new.id),
        kind: new.kind,
        name: new.name.clone(),
        uuid: Arc::clone(&new.pointer.uuid),
        location: Arc::clone(&new.pointer.location),
        metadata_location: Arc::clone(&new.pointer.metadata_location),
        version: 0,
    };
    Ok(Ok(Some(Arc::new(row))))
}

/// What has this name, if something live has.
async fn kind_of(connection: &mut AnyConnection, swap: &Swap, name: &TableName) -> Result<Option<Tabular>> {
    let row = sqlx::query(
        "select kind from tabular
         where warehouse = $1 and namespace = $2 and name = $3 and dropped_ms is null",
    )
    .bind(swap.warehouse.as_str())
    .bind(name.namespace.path())
    .bind(&*name.name)
    .fetch_optional(&mut *connection)
    .await
    .map_err(unavailable)?;
    row.map(|row| Tabular::from_stored(column(&row, "kind")?)).transpose()
}

async fn replace(connection: &mut AnyConnection, from: &Arc<TableRow>, to: &Pointer) -> Result<Applied> {
    if let [Verdict::Refused(refusal)] = &moves::apply(connection, &[Move { from, to }]).await?[..] {
        return Ok(Err(refusal.clone()));
    }
    if !to.keeps(from) {
        become_another(connection, from, to).await?;
        if location_is_taken(connection, &from.id, &to.location_key).await? {
            return Ok(Err(Refusal::LocationTaken(to.location.to_string())));
        }
    }
    Ok(Ok(Some(Arc::new(row_after(from, to)))))
}

/// The row after its pointer has moved.
pub(super) fn row_after(from: &TableRow, to: &Pointer) -> TableRow {
    TableRow {
        uuid: Arc::clone(&to.uuid),
        location: Arc::clone(&to.location),
        metadata_location: Arc::clone(&to.metadata_location),
        version: from.version + 1,
        ..from.clone()
    }
}

/// What few commits change: apart, so that all others leave its indexes alone.
async fn become_another(connection: &mut AnyConnection, from: &TableRow, to: &Pointer) -> Result<()> {
    sqlx::query("update tabular set uuid = $1, location = $2, location_key = $3 where id = $4")
        .bind(&*to.uuid)
        .bind(&*to.location)
        .bind(to.location_key.as_str())
        .bind(&*from.id)
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    if from.uuid != to.uuid {
        // What was sent to the other table says nothing of this one.
        let sql = "delete from producer where table_id = $1";
        sqlx::query(sql).bind(&*from.id).execute(&mut *connection).await.map_err(unavailable)?;
    }
    Ok(())
}

async fn hide(connection: &mut AnyConnection, swap: &Swap, row: &TableRow) -> Result<Applied> {
    let hidden = sqlx::query(
        "update tabular set dropped_ms = $1
         where id = $2 and metadata_location = $3 and namespace = $4 and name = $5 and dropped_ms is null",
    )
    .bind(swap.now_ms)
    .bind(&*row.id)
    .bind(&*row.metadata_location)
    .bind(row.name.namespace.path())
    .bind(&*row.name.name)
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    if hidden.rows_affected() == 0 {
        return Ok(Err(Refusal::Moved(row.name.clone())));
    }
    Ok(Ok(None))
}

async fn delete(connection: &mut AnyConnection, swap: &Swap, row: &TableRow, keep_data: bool) -> Result<Applied> {
    let gone = sqlx::query(
        "delete from tabular
         where id = $1 and metadata_location = $2 and namespace = $3 and name = $4 and dropped_ms is null",
    )
    .bind(&*row.id)
    .bind(&*row.metadata_location)
    .bind(row.name.namespace.path())
    .bind(&*row.name.name)
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    if gone.rows_affected() == 0 {
        return Ok(Err(Refusal::Moved(row.name.clone())));
    }
    let of_it = [("metrics_report", "tabular_id", &row.id), ("producer", "table_id", &row.id)];
    for (table, by, id) in of_it {
        let sql = format!("delete from {table} where {by} = $1");
        sqlx::query(AssertSqlSafe(sql)).bind(&**id).execute(&mut *connection).await.map_err(unavailable)?;
    }
    gc::enqueue_purge(connection, swap, row, keep_data).await?;
    Ok(Ok(None))
}

async fn rename(connection: &mut AnyConnection, swap: &Swap, row: &TableRow, to: &TableName) -> Result<Applied> {
    if !namespaces::exists(connection, &swap.warehouse, &to.namespace).await? {
        return Ok(Err(Refusal::NoNamespace(to.clone())));
    }
    if let Some(there) = kind_of(connection, swap, to).await? {
        return Ok(Err(Refusal::NameTaken { name: to.clone(), wanted: row.kind, there }));
    }
    let renamed = sqlx::query(
        "update tabular set namespace = $1, name = $2
         where id = $3 and metadata_location = $4 and namespace = $5 and name = $6 and dropped_ms is null",
    )
    .bind(to.namespace.path())
    .bind(&*to.name)
    .bind(&*row.id)
    .bind(&*row.metadata_location)
    .bind(row.name.namespace.path())
    .bind(&*row.name.name)
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    if renamed.rows_affected() == 0 {
        return Ok(Err(Refusal::Moved(row.name.clone())));
    }
    staged::forget(connection, &swap.warehouse, to).await?;
    Ok(Ok(Some(Arc::new(TableRow { name: to.clone(), ..row.clone() }))))
}

/// Whether a live table other than `own` has its location at, inside or around `location_key`.
async fn location_is_taken(connection: &mut AnyConnection, own: &str, location_key: &str) -> Result<bool> {
    let inside = sqlx::query(
        "select 1 from tabular
         where location_key >= $1 and location_key < $2 and id <> $3 and dropped_ms is null
         limit 1",
    )
    .bind(location_key)
    .bind(end_of_prefix(location_key))
    .bind(own)
    .fetch_optional(&mut *connection)
    .await
    .map_err(unavailable)?;
    if inside.is_some() {
        return Ok(true);
    }
    for ancestor in ancestors(location_key) {
        let around =
            sqlx::query("select 1 from tabular where location_key = $1 and id <> $2 and dropped_ms is null limit 1")
                .bind(ancestor)
                .bind(own)
                .fetch_optional(&mut *connection)
                .await
                .map_err(unavailable)?;
        if around.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
