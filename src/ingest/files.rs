//! Rows → data files, put or ready to be put.
//!
//! One partition is encoded after the other, on a thread for work that computes. Small files are held, to go up in the same
//! round as the commit; large ones, and all that are more than is worth holding, go up meanwhile, so that neither ten
//! thousand partitions nor a large file wait in memory.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use iceberg::spec::{DataFile, Struct};
use tokio::sync::mpsc;

use super::flush::{Rows, schema_changed};
use super::held;
use super::partition;
use super::path;
use super::write::{DataObject, FileLayout, encode};
use super::writing::Writing;
use crate::catalog::metadata::TableMetadata;
use crate::catalog::next_snapshot::schema_for_writers;
use crate::catalog::{Catalog, Loaded};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::lake::Company;
use crate::limits;

/// The data files of a flush.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// What manifests say of them.
    pub(super) entries: Vec<DataFile>,
    /// Those that are still to be put, by location.
    pub(super) held: Vec<(String, Bytes)>,
    /// The locations of those that are put.
    pub(super) put: Vec<String>,
}

/// The files that hold these rows. Where that fails, those that were put are queued for deletion.
pub(super) async fn data_files(catalog: &Catalog, base: Arc<Loaded>, schema_id: i32, rows: Arc<Rows>) -> Result<Files> {
    let (sender, receiver) = mpsc::channel(1);
    let encoding = tokio::task::spawn_blocking(move || {
        encode_all(&base.metadata, schema_id, &rows, &mut |object| {
            // Where nobody listens any more a put has failed, and that is what is told.
            sender.blocking_send(object).map_err(|_| Error::internal("Encoding was not needed any more"))
        })
    });
    let mut files = Files::default();
    let stored = store(catalog, receiver, &mut files).await;
    let encoded = encoding.await.map_err(|error| Error::internal("Encoding was cut off").because(error));
    let outcome = stored.and(encoded.and_then(|encoded| encoded)).and_then(|()| failpoint::at("ingest.encoded"));
    if let Err(error) = outcome {
        catalog.abandon(&files.put).await;
        return Err(error);
    }
    Ok(files)
}

/// Takes files as they are made; those that are not held go up, several at once, within so many bytes.
async fn store(catalog: &Catalog, mut made: mpsc::Receiver<DataObject>, files: &mut Files) -> Result<()> {
    let mut held = 0;
    let mut puts = FuturesUnordered::new();
    let mut going_up = 0;
    let mut outcome = Ok(());
    loop {
        tokio::select! {
            Some((size, put)) = puts.next(), if !puts.is_empty() => {
                going_up -= size;
                outcome = outcome.and(put);
            }
            object = made.recv(), if going_up < limits::FILES_GOING_UP_BYTES => {
                let Some(DataObject { location, bytes, entry }) = object else { break };
                files.entries.push(entry);
                let size = bytes.len();
                if size <= limits::PUT_WITH_COMMIT_BYTES_MAX && held + size <= limits::FILES_HELD_BYTES {
                    held += size;
                    files.held.push((location, bytes));
                    continue;
                }
                files.put.push(location.clone());
                going_up += size;
                puts.push(async move { (size, catalog.warehouse().create(&location, bytes, Company::Others).await) });
            }
        }
        if outcome.is_err() {
            break;
        }
    }
    drop(made);
    // All are waited for, also when one fails: a put that is cut off may land after its file was cleaned up.
    while let Some((_, put)) = puts.next().await {
        outcome = outcome.and(put);
    }
    outcome
}

/// Rows of a batch that is written as it is.
const WORTH_ROWS: usize = 1_024;

fn encode_all(
    metadata: &TableMetadata,
    schema_id: i32,
    Rows { held, most_partitions, .. }: &Rows,
    give: &mut dyn FnMut(DataObject) -> Result<()>,
) -> Result<()> {
    let rows = &held::columns(held)?[..];
    let (Some(first), Some(then)) = (rows.first(), metadata.schema(schema_id)) else { return Err(schema_changed()) };
    let spec = metadata.default_spec()?;
    let order = metadata.sort_order(metadata.default_sort_order_id);
    let layout = FileLayout {
        schema: schema_for_writers(then)?,
        spec_id: spec.spec_id,
        sort_order_id: order.filter(|order| !order.fields.is_empty()).map(|order| order.order_id),
        writing: Writing::of(&metadata.properties, then, order.map(|order| &**order), &first.schema())?,
    };
    let mut index = 0;
    let mut file = |folders: &[String]| {
        index += 1;
        path::data_file(&metadata.location, &metadata.properties, folders, index - 1)
    };
    if spec.fields.is_empty() && layout.sort_order_id.is_none() {
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        // Each batch that is written costs as much as a few hundred rows.
        if count < rows.len() * WORTH_ROWS {
            return encode(&[held::together(rows)?], &Struct::empty(), &layout, (&mut || file(&[]), give));
        }
        return encode(rows, &Struct::empty(), &layout, (&mut || file(&[]), give));
    }
    partition::split(&held::together(rows)?, &layout.schema, (spec, *most_partitions), |part| {
        let rows = match order {
            Some(order) => partition::sort(part.rows, order)?,
            None => part.rows,
        };
        encode(&[rows], &part.values, &layout, (&mut || file(&part.folders), give))
    })
}
