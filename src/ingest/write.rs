//! The rows of one partition → a Parquet file in memory and its manifest entry.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Schema, Struct};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;

use super::footer;
use crate::error::{Error, Result};

/// A data file that is ready to be put.
#[derive(Debug)]
pub(super) struct DataObject {
    pub(super) location: String,
    pub(super) bytes: Bytes,
    pub(super) entry: DataFile,
}

/// What every file of a flush shares.
#[derive(Debug, Clone)]
pub(super) struct FileLayout {
    pub(super) schema: Arc<Schema>,
    pub(super) spec_id: i32,
    pub(super) sort_order_id: Option<i32>,
}

/// Encodes rows, all under the same columns, and describes the file.
pub(super) fn encode(
    rows: &[RecordBatch],
    location: String,
    partition: Struct,
    layout: &FileLayout,
) -> Result<DataObject> {
    let (bytes, metadata) = to_parquet(rows)?;
    let metrics = footer::of_file(&metadata, &layout.schema, rows)?;
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::Data)
        .file_path(location.clone())
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
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

fn to_parquet(rows: &[RecordBatch]) -> Result<(Bytes, ParquetMetaData)> {
    let failed = |error: parquet::errors::ParquetError| Error::internal("Parquet cannot be written").because(error);
    let level = ZstdLevel::try_new(1).map_err(failed)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_created_by(concat!("floeberg version ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let first = rows.first().ok_or_else(|| Error::internal("A file has no rows"))?;
    let held: usize = rows.iter().map(RecordBatch::get_array_memory_size).sum();
    let mut bytes = Vec::with_capacity(held / 4);
    let mut writer = ArrowWriter::try_new(&mut bytes, first.schema(), Some(properties)).map_err(failed)?;
    for batch in rows {
        writer.write(batch).map_err(failed)?;
    }
    let footer = writer.close().map_err(failed)?;
    Ok((bytes.into(), footer))
}
