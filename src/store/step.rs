//! The SQL of one step of a swap: compare, and change if the comparison holds.
//!
//! What is compared is the row's id, the metadata file it names *and its name*: a table that was renamed since it was read
//! is no longer the one that was meant.

use std::sync::Arc;

use sqlx::{Any, Transaction};

use super::swap::{NewTable, Pointer, Refusal, Removal, Step, Swap};
use super::tables::{TableRow, ancestors, end_of_prefix};
use super::{gc, namespaces, unavailable};
use crate::error::Result;
use crate::limits;
use crate::names::TableName;

/// The row after a step (`None`: it is gone), or why the step refuses.
type Applied = Result<Option<Arc<TableRow>>, Refusal>;

/// Applies one step inside the swap's transaction.
pub(super) async fn apply(transaction: &mut Transaction<'static, Any>, swap: &Swap, step: &Step) -> Result<Applied> {
    match step {
        Step::Insert(new) => insert(transaction, swap, new).await,
        Step::Replace { from, to } => replace(transaction, swap, from, to).await,
        Step::Remove { row, removal: Removal::Drop } => hide(transaction, swap, row).await,
        Step::Remove { row, removal } => delete(transaction, swap, row, *removal == Removal::PurgeKeepingData).await,
        Step::Rename { row, to } => rename(transaction, swap, row, to).await,
    }
}

async fn insert(transaction: &mut Transaction<'static, Any>, swap: &Swap, new: &NewTable) -> Result<Applied> {
    if !namespaces::exists(transaction, &swap.warehouse, &new.name.namespace).await? {
        return Ok(Err(Refusal::NoNamespace(new.name.clone())));
    }
    let added = sqlx::query(
        "insert into tabular (id, warehouse, namespace, name, kind, uuid, location, location_key, metadata_location,
                              version, created_ms, dropped_ms)
         values ($1, $2, $3, $4, 'table', $5, $6, $7, $8, 0, $9, null)
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
    .execute(&mut **transaction)
    .await
    .map_err(unavailable)?;
    if added.rows_affected() == 0 {
        return Ok(Err(Refusal::NameTaken(new.name.clone())));
    }
    if location_is_taken(transaction, &new.id, &new.pointer.location_key).await? {
        return Ok(Err(Refusal::LocationTaken(new.pointer.location.to_string())));
    }
    Ok(Ok(Some(Arc::new(row_of(Arc::clone(&new.id), new.name.clone(), &new.pointer, 0)))))
}

async fn replace(
    transaction: &mut Transaction<'static, Any>,
    swap: &Swap,
    from: &TableRow,
    to: &Pointer,
) -> Result<Applied> {
    let moved = sqlx::query(
        "update tabular
         set uuid = $1,
             location = $2,
             location_key = $3,
             metadata_location = $4,
             version = version + 1
         where id = $5 and metadata_location = $6 and namespace = $7 and name = $8 and dropped_ms is null",
    )
    .bind(&*to.uuid)
    .bind(&*to.location)
    .bind(to.location_key.as_str())
    .bind(&*to.metadata_location)
    .bind(&*from.id)
    .bind(&*from.metadata_location)
    .bind(from.name.namespace.path())
    .bind(&*from.name.name)
    .execute(&mut **transaction)
    .await
    .map_err(unavailable)?;
    if moved.rows_affected() == 0 {
        return Ok(Err(Refusal::Moved(from.name.clone())));
    }
    if to.location != from.location && location_is_taken(transaction, &from.id, &to.location_key).await? {
        return Ok(Err(Refusal::LocationTaken(to.location.to_string())));
    }
    keep_previous(transaction, swap, from).await?;
    Ok(Ok(Some(Arc::new(row_of(Arc::clone(&from.id), from.name.clone(), to, from.version + 1)))))
}

async fn keep_previous(transaction: &mut Transaction<'static, Any>, swap: &Swap, from: &TableRow) -> Result<()> {
    sqlx::query(
        "insert into metadata_file (tabular_id, version, location, replaced_ms)
         values ($1, $2, $3, $4)
         on conflict do nothing",
    )
    .bind(&*from.id)
    .bind(from.version)
    .bind(&*from.metadata_location)
    .bind(swap.now_ms)
    .execute(&mut **transaction)
    .await
    .map_err(unavailable)?;
    sqlx::query("delete from metadata_file where tabular_id = $1 and version <= $2")
        .bind(&*from.id)
        .bind(from.version - limits::METADATA_FILES_KEPT)
        .execute(&mut **transaction)
        .await
        .map_err(unavailable)?;
    Ok(())
}

async fn hide(transaction: &mut Transaction<'static, Any>, swap: &Swap, row: &TableRow) -> Result<Applied> {
    let hidden = sqlx::query(
        "update tabular set dropped_ms = $1
         where id = $2 and metadata_location = $3 and namespace = $4 and name = $5 and dropped_ms is null",
    )
    .bind(swap.now_ms)
    .bind(&*row.id)
    .bind(&*row.metadata_location)
    .bind(row.name.namespace.path())
    .bind(&*row.name.name)
    .execute(&mut **transaction)
    .await
    .map_err(unavailable)?;
    if hidden.rows_affected() == 0 {
        return Ok(Err(Refusal::Moved(row.name.clone())));
    }
    Ok(Ok(None))
}

async fn delete(
    transaction: &mut Transaction<'static, Any>,
    swap: &Swap,
    row: &TableRow,
    keep_data: bool,
) -> Result<Applied> {
    let gone = sqlx::query(
        "delete from tabular
         where id = $1 and metadata_location = $2 and namespace = $3 and name = $4 and dropped_ms is null",
    )
    .bind(&*row.id)
    .bind(&*row.metadata_location)
    .bind(row.name.namespace.path())
    .bind(&*row.name.name)
    .execute(&mut **transaction)
    .await
    .map_err(unavailable)?;
    if gone.rows_affected() == 0 {
        return Ok(Err(Refusal::Moved(row.name.clone())));
    }
    for sql in ["delete from metadata_file where tabular_id = $1", "delete from metrics_report where tabular_id = $1"] {
        sqlx::query(sql).bind(&*row.id).execute(&mut **transaction).await.map_err(unavailable)?;
    }
    gc::enqueue_purge(transaction, swap, row, keep_data).await?;
    Ok(Ok(None))
}

async fn rename(
    transaction: &mut Transaction<'static, Any>,
    swap: &Swap,
    row: &TableRow,
    to: &TableName,
) -> Result<Applied> {
    if !namespaces::exists(transaction, &swap.warehouse, &to.namespace).await? {
        return Ok(Err(Refusal::NoNamespace(to.clone())));
    }
    let taken = sqlx::query(
        "select 1 from tabular
         where warehouse = $1 and namespace = $2 and name = $3 and dropped_ms is null",
    )
    .bind(swap.warehouse.as_str())
    .bind(to.namespace.path())
    .bind(&*to.name)
    .fetch_optional(&mut **transaction)
    .await
    .map_err(unavailable)?;
    if taken.is_some() {
        return Ok(Err(Refusal::NameTaken(to.clone())));
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
    .execute(&mut **transaction)
    .await
    .map_err(unavailable)?;
    if renamed.rows_affected() == 0 {
        return Ok(Err(Refusal::Moved(row.name.clone())));
    }
    Ok(Ok(Some(Arc::new(TableRow { name: to.clone(), ..row.clone() }))))
}

/// Whether a live table other than `own` has its location at, inside or around `location_key`.
async fn location_is_taken(transaction: &mut Transaction<'static, Any>, own: &str, location_key: &str) -> Result<bool> {
    let inside = sqlx::query(
        "select 1 from tabular
         where location_key >= $1 and location_key < $2 and id <> $3 and dropped_ms is null
         limit 1",
    )
    .bind(location_key)
    .bind(end_of_prefix(location_key))
    .bind(own)
    .fetch_optional(&mut **transaction)
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
                .fetch_optional(&mut **transaction)
                .await
                .map_err(unavailable)?;
        if around.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn row_of(id: Arc<str>, name: TableName, pointer: &Pointer, version: i64) -> TableRow {
    TableRow {
        id,
        name,
        uuid: Arc::clone(&pointer.uuid),
        location: Arc::clone(&pointer.location),
        metadata_location: Arc::clone(&pointer.metadata_location),
        version,
    }
}
