//! A body of any format → columns of the table's schema.

use arrow::array::RecordBatch;

use super::coerce::TimePrecision;
use super::columns::Shape;
use super::evolve::Wish;
use super::ipc::IpcReader;
use super::json::{Before, Framing, JsonReader};
use super::memory::weight_of;
use super::parquet_file::ParquetReader;
use super::verdict::Verdicts;
use crate::error::{Error, Kind, Result};

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON: a list, one object, or objects one after the other.
    Json,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    const ALL: [(&str, Self); 9] = [
        ("application/json", Self::Json),
        ("application/x-ndjson", Self::Json),
        ("application/ndjson", Self::Json),
        ("application/jsonl", Self::Json),
        ("application/x-jsonlines", Self::Json),
        ("application/vnd.apache.arrow.stream", Self::Arrow),
        ("application/vnd.apache.parquet", Self::Parquet),
        ("application/parquet", Self::Parquet),
        ("application/x-parquet", Self::Parquet),
    ];

    /// Reads a `Content-Type` header. Forms and plain text are refused although they may hold JSON: a browser sends them
    /// for any page without asking.
    pub fn parse(header: Option<&str>) -> Result<Self> {
        let Some(sent) = header else { return Ok(Self::Json) };
        let kind = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let known = Self::ALL.into_iter().find(|(name, _)| *name == kind);
        known.map(|(_, format)| format).ok_or_else(|| {
            let message = format!(
                "Content-Type {sent:?} is not spoken here: send application/json, application/x-ndjson, \
                 application/vnd.apache.arrow.stream or application/vnd.apache.parquet"
            );
            Error::new(Kind::UnsupportedMedia, message)
        })
    }

    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }
}

/// What a body may hold at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Rows.
    pub(super) rows: usize,
    /// Bytes of one row.
    pub(super) row_bytes: usize,
    /// Levels of nesting.
    pub(super) nesting: usize,
    /// Bytes of the columns, as far as the number of rows decides them.
    pub(super) column_bytes: usize,
    /// Bytes of the body when decompressed.
    pub(super) body_bytes: usize,
}

/// Whether a table's schema may grow (`floeberg.ingest.schema`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evolution {
    /// Never.
    Strict,
    /// New optional columns, wider types, and columns that become optional.
    AddColumns,
}

/// What becomes of fields that the table has no column for (`floeberg.ingest.unknown-fields`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// They become columns.
    Add,
    /// Their rows are refused.
    Refuse,
    /// They are left out.
    Ignore,
    /// They are put, as one JSON object, into the column [`CAPTURED`].
    Capture,
}

/// The column of texts that takes what no other column takes.
pub(super) const CAPTURED: &str = "_extra";

/// How rows are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) precision: TimePrecision,
    pub(super) bounds: Bounds,
    pub(super) evolution: Evolution,
    pub(super) unknown: Unknown,
    /// The table's format version, which decides the types that new columns may have.
    pub(super) version: u8,
}

/// The rows of a body.
#[derive(Debug)]
pub(super) struct Decoded {
    /// The rows that fit the schema, in order, up to those that were kept; none where a row is wrong.
    pub(super) batches: Vec<RecordBatch>,
    /// How many rows there are.
    pub(super) rows: usize,
    /// What is wrong.
    pub(super) verdicts: Verdicts,
    /// What the rows ask of the schema.
    pub(super) wishes: Vec<Wish>,
    /// The rows that can be read once the table has what they ask for.
    pub(super) kept: Option<Kept>,
}

/// Rows that are to be read again against a schema that has grown.
#[derive(Debug)]
pub(super) enum Kept {
    /// Text, and what came before it.
    Text { text: Vec<u8>, framing: Framing, before: Before },
    /// Columns as they were sent, and how many rows came before them.
    Columns { batches: Vec<RecordBatch>, rows_before: usize },
}

impl Kept {
    /// Bytes held, about.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Text { text, .. } => text.len(),
            Self::Columns { batches, .. } => batches.iter().map(weight_of).sum(),
        }
    }
}

/// Reads one body.
pub(super) enum Reader {
    Json(Box<JsonReader>),
    Arrow(Box<IpcReader>),
    Parquet(Box<ParquetReader>),
}

impl Reader {
    /// A reader of rows for a schema.
    pub(super) fn new(format: Format, shape: &Shape, reading: &Reading) -> Result<Self> {
        Ok(match format {
            Format::Json => Self::Json(Box::new(JsonReader::new(shape, reading.clone())?)),
            Format::Arrow => Self::Arrow(Box::new(IpcReader::new(shape, reading.clone())?)),
            Format::Parquet => Self::Parquet(Box::new(ParquetReader::new(shape, reading.clone())?)),
        })
    }

    /// Takes more of the body.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Json(reader) => reader.feed(bytes),
            Self::Arrow(reader) => reader.feed(bytes),
            Self::Parquet(reader) => reader.feed(bytes),
        }
    }

    /// Reads the rest and says what came of the whole.
    pub(super) fn finish(self) -> Result<Decoded> {
        match self {
            Self::Json(reader) => reader.finish(),
            Self::Arrow(reader) => reader.finish(),
            Self::Parquet(reader) => reader.finish(),
        }
    }
}

/// Reads rows again that were kept for a schema that has grown.
pub(super) fn again(shape: &Shape, reading: &Reading, kept: Kept) -> Result<Decoded> {
    match kept {
        Kept::Text { .. } => JsonReader::again(shape, reading.clone(), kept)?.finish(),
        Kept::Columns { batches, rows_before } => super::columnar::again(shape, reading.clone(), batches, rows_before),
    }
}

/// Runs a decoder that is not ours: one that panics has met data that it does not understand.
pub(super) fn guarded<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    caught.unwrap_or_else(|_| Err(not_readable(what)))
}

/// The refusal of a body that is not what it says.
pub(super) fn not_readable(what: &str) -> Error {
    Error::malformed(format!("Body is not a valid {what}")).with_code("malformed_body")
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::metadata::schema::Schema;

    /// How rows are read in tests.
    pub(in crate::ingest) const READING: Reading = Reading {
        precision: TimePrecision::Exact,
        bounds: Bounds { rows: 1_000_000, row_bytes: 1 << 20, nesting: 64, column_bytes: 1 << 30, body_bytes: 1 << 28 },
        evolution: Evolution::Strict,
        unknown: Unknown::Refuse,
        version: 2,
    };

    /// JSON rows that fit a schema.
    pub(in crate::ingest) fn rows_of(schema: &Schema, text: &str) -> RecordBatch {
        let mut reader = Reader::new(Format::Json, &Shape::of(&Arc::new(schema.clone())).expect("a shape"), &READING)
            .expect("a reader");
        reader.feed(text.as_bytes()).expect("read");
        let decoded = reader.finish().expect("rows");
        assert_eq!(decoded.verdicts.listed, []);
        decoded.batches.into_iter().next().expect("a batch")
    }

    /// The columns of a schema.
    pub(in crate::ingest) fn columns_of(schema: &Schema) -> arrow::datatypes::Fields {
        Shape::of(&Arc::new(schema.clone())).expect("can be written").arrow.fields().clone()
    }
}
