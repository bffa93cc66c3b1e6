//! Where the batches of a body of columns go: into the table's columns or, where rows are rewritten before, through text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::arrow_types;
use super::columnar::{Columns, unfit};
use super::columns::Shape;
use super::convert;
use super::decode::{Decoded, Reading};
use super::text::TextReader;
use super::zones::in_utc;
use crate::error::{Error, Kind, Result};

/// Takes the batches of one body.
#[derive(Debug)]
pub(super) enum Sink {
    /// As columns.
    Columns(Box<Columns>),
    /// As lines of JSON.
    Lines(Box<TextReader>),
}

impl Sink {
    /// One for a schema.
    pub(super) fn new(shape: &Shape, reading: Reading) -> Result<Self> {
        Ok(match reading.rewriting {
            None => Self::Columns(Box::new(Columns::new(shape, reading, 0)?)),
            Some(_) => Self::Lines(Box::new(TextReader::json(shape, reading)?)),
        })
    }

    /// Bytes that it holds, about; lines are counted as they are read.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Columns(columns) => columns.weight(),
            Self::Lines(_) => 0,
        }
    }

    /// Takes a batch.
    pub(super) fn take(&mut self, batch: RecordBatch) -> Result<()> {
        arrow_types::check(batch.schema().fields())?;
        let batch = in_utc(&batch).map_err(unfit)?;
        match self {
            Self::Columns(columns) => columns.take(batch),
            Self::Lines(reader) => {
                check_size(&batch, &reader.reading)?;
                let steps = (0..batch.num_rows()).step_by(LINES_AT_ONCE);
                for first in steps {
                    let rows = LINES_AT_ONCE.min(batch.num_rows() - first);
                    reader.feed(&lines_of(&batch.slice(first, rows))?)?;
                }
                Ok(())
            }
        }
    }

    /// What came of them all.
    pub(super) fn finish(self) -> Result<Decoded> {
        match self {
            Self::Columns(columns) => columns.finish(),
            Self::Lines(reader) => reader.finish(),
        }
    }
}

/// Rows that are written as lines at once.
const LINES_AT_ONCE: usize = 256;

/// Refuses a batch that takes too much as lines: values that stand once and are meant often, and names in every line.
fn check_size(batch: &RecordBatch, reading: &Reading) -> Result<()> {
    let (rows, most) = (batch.num_rows(), reading.bounds.body_bytes);
    if rows > reading.bounds.rows {
        let message = format!("Request has more than {} rows: send less at once", reading.bounds.rows);
        return Err(Error::new(Kind::TooLarge, message));
    }
    let names: usize = batch.schema().fields().iter().map(|field| field.size()).sum();
    let spelled: usize = batch.columns().iter().map(convert::spelled_out).sum();
    if spelled.saturating_add(names.saturating_mul(rows)) > most {
        let message =
            format!("Body has more than {most} bytes when it is spelled out for the table's rules: send less at once");
        return Err(Error::new(Kind::TooLarge, message));
    }
    Ok(())
}

/// Each row as a line of JSON, bytes in base64.
fn lines_of(batch: &RecordBatch) -> Result<Vec<u8>> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let spelled = spelled(field, column)?;
        fields.push(Field::new(field.name(), spelled.data_type().clone(), true));
        columns.push(spelled);
    }
    if columns.is_empty() {
        return Ok(b"{}\n".repeat(batch.num_rows()));
    }
    let batch = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).map_err(unfit)?;
    let failed = |error| Error::malformed("A column cannot be written as JSON for the table's rules").because(error);
    convert::json_lines(&batch).map_err(failed)
}

fn spelled(field: &Field, column: &ArrayRef) -> Result<ArrayRef> {
    let text = |at: usize, bytes: &[u8]| column.is_valid(at).then(|| STANDARD.encode(bytes));
    let all = |of: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter((0..column.len()).map(of)))
    };
    match column.data_type() {
        DataType::Binary => Ok(all(&|at| text(at, column.as_binary::<i32>().value(at)))),
        DataType::LargeBinary => Ok(all(&|at| text(at, column.as_binary::<i64>().value(at)))),
        DataType::BinaryView => Ok(all(&|at| text(at, column.as_binary_view().value(at)))),
        DataType::FixedSizeBinary(16) if field.extension_type_name() == Some("arrow.uuid") => {
            let value = |at: usize| uuid::Uuid::from_slice(column.as_fixed_size_binary().value(at)).ok();
            Ok(all(&|at| column.is_valid(at).then(|| value(at)).flatten().map(|uuid| uuid.to_string())))
        }
        DataType::FixedSizeBinary(_) => Ok(all(&|at| text(at, column.as_fixed_size_binary().value(at)))),
        kind if holds_bytes(kind) => {
            let message = format!(
                "Column {:?} has bytes inside others, which the table's rules cannot be followed for: send JSON",
                field.name()
            );
            Err(Error::new(Kind::Unprocessable, message).with_code("unsupported_type"))
        }
        _ => Ok(Arc::clone(column)),
    }
}

/// Whether bytes are somewhere inside a type.
fn holds_bytes(kind: &DataType) -> bool {
    match kind {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        DataType::Struct(members) => members.iter().any(|member| holds_bytes(member.data_type())),
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::FixedSizeList(inner, _)
        | DataType::Map(inner, _) => holds_bytes(inner.data_type()),
        DataType::Dictionary(_, values) => holds_bytes(values),
        _ => false,
    }
}
