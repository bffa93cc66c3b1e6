//! The rows of one partition → Parquet files in memory and their manifest entries.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Schema, Struct};

use super::footer;
use super::parquet_writer::ParquetWriter;
use super::writing::Writing;
use crate::error::{Error, Result};

/// A data file that is ready to be put.
#[derive(Debug)]
pub(super) struct DataObject {
    pub(super) location: String,
    pub(super) bytes: Bytes,
    pub(super) entry: DataFile,
}

/// What every file of a flush shares.
#[derive(Debug)]
pub(super) struct FileLayout {
    pub(super) schema: Arc<Schema>,
    pub(super) spec_id: i32,
    pub(super) sort_order_id: Option<i32>,
    pub(super) writing: Writing,
}

/// Rows after which it is looked whether a file is large enough.
const LOOK_EVERY_ROWS: usize = 8_192;

/// What names files, and what takes them.
pub(super) type Outlet<'a> = (&'a mut dyn FnMut() -> String, &'a mut dyn FnMut(DataObject) -> Result<()>);

/// Encodes the rows of one partition, all under the same columns, into as many files as the table's target size makes of
/// them.
pub(super) fn encode(
    rows: &[RecordBatch],
    partition: &Struct,
    layout: &FileLayout,
    (location, give): Outlet<'_>,
) -> Result<()> {
    let first = rows.first().ok_or_else(|| Error::internal("A file has no rows"))?;
    let all: usize = rows.iter().map(RecordBatch::num_rows).sum();
    let properties = layout.writing.parquet(all);
    let new = || ParquetWriter::new(first.schema(), properties.clone()).map_err(failed);
    let mut file = new()?;
    for batch in rows {
        for start in (0..batch.num_rows()).step_by(LOOK_EVERY_ROWS) {
            if file.has_rows() && file.size() >= layout.writing.target_bytes {
                give(close(std::mem::replace(&mut file, new()?), location(), partition, layout)?)?;
            }
            file.write(batch.slice(start, LOOK_EVERY_ROWS.min(batch.num_rows() - start))).map_err(failed)?;
        }
    }
    give(close(file, location(), partition, layout)?)
}

/// Ends a file and describes it.
fn close(file: ParquetWriter, location: String, partition: &Struct, layout: &FileLayout) -> Result<DataObject> {
    let (footer, rows, bytes) = file.finish().map_err(failed)?;
    let bytes = Bytes::from(bytes);
    let metrics = footer::of_file(&footer, layout, &rows)?;
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::Data)
        .file_path(location.clone())
        .file_format(DataFileFormat::Parquet)
        .partition(partition.clone())
        .partition_spec_id(layout.spec_id)
        .record_count(rows.iter().map(|batch| batch.num_rows() as u64).sum())
        .file_size_in_bytes(bytes.len() as u64)
        .column_sizes(metrics.column_sizes)
        .value_counts(metrics.value_counts)
        .null_value_counts(metrics.null_value_counts)
        .nan_value_counts(metrics.nan_value_counts)
        .lower_bounds(metrics.lower_bounds)
        .upper_bounds(metrics.upper_bounds)
        .split_offsets(Some(metrics.split_offsets));
    if let Some(order) = layout.sort_order_id {
        builder.sort_order_id(order);
    }
    let entry = builder.build().map_err(|error| Error::internal("A data file cannot be described").because(error))?;
    Ok(DataObject { location, bytes, entry })
}

fn failed(error: parquet::errors::ParquetError) -> Error {
    Error::internal("Parquet cannot be written").because(error)
}
