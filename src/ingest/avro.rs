//! An Avro file → columns of the table's schema, once it is whole.
//!
//! The file is taken apart and checked first ([`Records`]). What is left is decoded by rows, and each batch is judged like
//! columns of any other format.

use std::io::Cursor;

use arrow_avro::reader::ReaderBuilder;
use serde_json::Value as Json;

use super::columns::Shape;
use super::decode::{Decoded, Reading, guarded, not_readable};
use super::sink::Sink;
use crate::error::{Error, Kind, Result};
use crate::snapshot::container::{Records, TOO_LARGE};

const WHAT: &str = "Avro file";

/// Rows that are read at once.
const BATCH_ROWS: usize = 1_024;

/// What a null takes in columns is several times what it takes in a file: so much less may be in the file.
const SPREAD: usize = 4;

/// Reads one file.
#[derive(Debug)]
pub(super) struct AvroReader {
    file: Vec<u8>,
    columns: Sink,
    /// Bytes that its columns may take.
    most: usize,
    /// Rows that it may have.
    most_rows: usize,
}

impl AvroReader {
    /// A reader of rows for a schema.
    pub(super) fn new(shape: &Shape, reading: Reading) -> Result<Self> {
        let (most, most_rows) = (reading.bounds.body_bytes, reading.bounds.rows);
        Ok(Self { file: Vec::new(), columns: Sink::new(shape, reading)?, most, most_rows })
    }

    /// Takes more of the file.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.file.extend_from_slice(bytes);
    }

    /// Reads the file.
    pub(super) fn finish(self) -> Result<Decoded> {
        let Self { file, mut columns, most, most_rows } = self;
        guarded(WHAT, || {
            let records = Records::of(&file, (most / SPREAD) as u64).map_err(|why| match why {
                TOO_LARGE => too_large(most / SPREAD),
                why => Error::malformed(format!("Body is not a valid {WHAT}: {why}")).with_code("malformed_body"),
            })?;
            drop(file);
            let widest = widest_fixed(&records.schema);
            if widest > SMALL_FIXED && records.len().saturating_mul(widest) > most.saturating_mul(SPREAD) {
                // A null of it takes a byte in the file, and all of it in a column.
                return Err(too_large(most));
            }
            if records.count > most_rows {
                let message = format!("Request has more than {most_rows} rows: send less at once");
                return Err(Error::new(Kind::TooLarge, message));
            }
            let builder = ReaderBuilder::new().with_batch_size(BATCH_ROWS);
            let reader = builder.build(Cursor::new(records.to_file())).map_err(unreadable)?;
            for batch in reader {
                columns.take(batch.map_err(unreadable)?)?;
                if columns.weight() > most {
                    return Err(too_large(most));
                }
            }
            Ok(())
        })?;
        columns.finish()
    }
}

/// Bytes of a fixed value that are not worth a thought.
const SMALL_FIXED: usize = 64;

/// Bytes of the widest fixed type of a schema.
fn widest_fixed(text: &str) -> usize {
    fn of(schema: &Json) -> usize {
        let own = if schema["type"] == "fixed" { schema["size"].as_u64().unwrap_or(u64::MAX) } else { 0 };
        let own = usize::try_from(own).unwrap_or(usize::MAX);
        let inner = match schema {
            Json::Array(items) => items.iter().map(of).max(),
            Json::Object(members) => members.values().map(of).max(),
            _ => None,
        };
        own.max(inner.unwrap_or(0))
    }
    // What is nested too deeply is refused by its own check.
    serde_json::from_str(text).map_or(0, |schema| of(&schema))
}

fn too_large(most: usize) -> Error {
    Error::new(Kind::TooLarge, format!("Body has more than {most} bytes when decompressed: send less at once"))
}

fn unreadable(error: arrow::error::ArrowError) -> Error {
    not_readable(WHAT).because(error)
}
