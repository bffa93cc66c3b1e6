//! A Parquet file → columns of the table's schema, once it is whole.
//!
//! What a file unpacks to is known before it is unpacked: pages say how large they are, and texts that are written once and
//! meant many times stay so until they are counted.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::columnar::Columns;
use super::columns::Shape;
use super::decode::{Decoded, Reading, guarded, not_readable};
use crate::error::{Error, Kind, Result};

const WHAT: &str = "Parquet file";

/// Rows that are read at once.
const BATCH_ROWS: usize = 8_192;

/// Reads one file.
pub(super) struct ParquetReader {
    file: Vec<u8>,
    columns: Columns,
    most: usize,
}

impl ParquetReader {
    /// A reader of rows for a schema.
    pub(super) fn new(shape: &Shape, reading: Reading) -> Result<Self> {
        let most = reading.bounds.body_bytes;
        Ok(Self { file: Vec::new(), columns: Columns::new(shape, reading, 0)?, most })
    }

    /// Takes more of the file.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.extend_from_slice(bytes);
        Ok(())
    }

    /// Reads the file.
    pub(super) fn finish(self) -> Result<Decoded> {
        let Self { file, mut columns, most } = self;
        guarded(WHAT, || {
            let file = Bytes::from(file);
            let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(unreadable)?;
            let unpacked: i64 = metadata.metadata().row_groups().iter().map(|group| group.total_byte_size()).sum();
            check_size(usize::try_from(unpacked).unwrap_or(usize::MAX), most)?;
            let options = ArrowReaderOptions::new().with_schema(sharing(metadata.schema()).into());
            let metadata =
                ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options).map_err(unreadable)?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
            let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(unreadable)?;
            for batch in reader {
                columns.take(batch.map_err(|error| not_readable(WHAT).because(error))?)?;
                check_size(columns.weight(), most)?;
            }
            Ok(())
        })?;
        columns.finish()
    }
}

fn check_size(bytes: usize, most: usize) -> Result<()> {
    if bytes <= most {
        return Ok(());
    }
    Err(Error::new(Kind::TooLarge, format!("Body has more than {most} bytes when decompressed: send less at once")))
}

fn unreadable(error: parquet::errors::ParquetError) -> Error {
    not_readable(WHAT).because(error)
}

/// The schema with texts and bytes in the form that shares what stands in the file once.
fn sharing(schema: &ArrowSchema) -> ArrowSchema {
    let fields: Fields = schema.fields().iter().map(|field| shared(field)).collect();
    ArrowSchema::new_with_metadata(fields, schema.metadata().clone())
}

fn shared(field: &Field) -> Field {
    let kind = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Struct(members) => DataType::Struct(members.iter().map(|member| shared(member)).collect()),
        DataType::List(element) => DataType::List(shared(element).into()),
        DataType::LargeList(element) => DataType::LargeList(shared(element).into()),
        DataType::Map(entries, sorted) => DataType::Map(shared(entries).into(), *sorted),
        kind => kind.clone(),
    };
    field.clone().with_data_type(kind)
}
