//! A body of any format → columns of the table's schema.

use std::collections::HashSet;

use arrow::array::RecordBatch;

use super::avro::AvroReader;
use super::columns::Shape;
use super::csv::Dialect;
use super::evolve::Wish;
use super::ipc::IpcReader;
use super::manner::Manner;
use super::memory::weight_of;
use super::parquet_file::ParquetReader;
use super::rewriting::Rewriting;
use super::text::{KeptText, TextReader};
use super::verdict::{OnError, Verdicts};
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
    /// Lines of cells.
    Csv,
    /// An Avro file.
    Avro,
    /// `CloudEvents`, as JSON is framed.
    Events,
}

impl Format {
    const ALL: [(&str, Self); 16] = [
        ("application/json", Self::Json),
        ("application/x-ndjson", Self::Json),
        ("application/ndjson", Self::Json),
        ("application/jsonl", Self::Json),
        ("application/x-jsonlines", Self::Json),
        ("application/vnd.apache.arrow.stream", Self::Arrow),
        ("application/vnd.apache.parquet", Self::Parquet),
        ("application/parquet", Self::Parquet),
        ("application/x-parquet", Self::Parquet),
        ("text/csv", Self::Csv),
        ("application/csv", Self::Csv),
        ("text/tab-separated-values", Self::Csv),
        ("application/avro", Self::Avro),
        ("avro/binary", Self::Avro),
        ("application/cloudevents+json", Self::Events),
        ("application/cloudevents-batch+json", Self::Events),
    ];

    /// Reads a `Content-Type` header. Forms and plain text are refused although they may hold JSON: a browser sends them
    /// for any page without asking.
    pub fn parse(header: Option<&str>) -> Result<Self> {
        let Some(sent) = header else { return Ok(Self::Json) };
        let kind = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let known = Self::ALL.into_iter().find(|(name, _)| *name == kind);
        known.map(|(_, format)| format).ok_or_else(|| {
            let message = format!(
                "Content-Type {sent:?} is not spoken here: send application/json, application/x-ndjson, text/csv, \
                 text/tab-separated-values, application/avro, application/cloudevents+json, \
                 application/cloudevents-batch+json, application/vnd.apache.arrow.stream or \
                 application/vnd.apache.parquet"
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
            Self::Csv => "csv",
            Self::Avro => "avro",
            Self::Events => "cloudevents",
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
    /// The same; and columns are renamed and dropped where that is asked for by name, never for what rows have.
    Full,
}

impl Evolution {
    /// Whether rows may make the table grow.
    pub(super) fn grows(self) -> bool {
        self != Self::Strict
    }
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
    pub(super) manner: Manner,
    pub(super) on_error: OnError,
    /// How cells are written, where there are cells.
    pub(super) dialect: Dialect,
    /// What is made of each row before.
    pub(super) rewriting: Option<Rewriting>,
    pub(super) bounds: Bounds,
    pub(super) evolution: Evolution,
    pub(super) unknown: Unknown,
    /// The table's format version, which decides the types that new columns may have.
    pub(super) version: u8,
}

/// The rows of a body.
#[derive(Debug)]
pub(super) struct Decoded {
    /// The rows that fit the schema, in order, up to those that were kept; none where the request is refused.
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

impl Decoded {
    /// Whether nothing of the rows is to be written.
    pub(super) fn is_refused(&self) -> bool {
        self.verdicts.refuse(self.rows)
    }
}

/// Rows that are to be read again against a schema that has grown.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    /// Text.
    Text(KeptText),
    /// Columns as they were sent, how many rows came before them, and the places of those that are left out.
    Columns { batches: Vec<RecordBatch>, rows_before: usize, left_out: HashSet<usize> },
}

impl Kept {
    /// Bytes held, about.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Text(kept) => kept.text.len(),
            Self::Columns { batches, .. } => batches.iter().map(weight_of).sum(),
        }
    }
}

/// Reads one body.
pub(super) enum Reader {
    Text(Box<TextReader>),
    Arrow(Box<IpcReader>),
    Parquet(Box<ParquetReader>),
    Avro(Box<AvroReader>),
}

impl Reader {
    /// A reader of rows for a schema.
    pub(super) fn new(format: Format, shape: &Shape, reading: &Reading) -> Result<Self> {
        Ok(match format {
            Format::Json | Format::Events => Self::Text(Box::new(TextReader::json(shape, reading.clone())?)),
            Format::Csv => Self::Text(Box::new(TextReader::csv(shape, reading.clone())?)),
            Format::Arrow => Self::Arrow(Box::new(IpcReader::new(shape, reading.clone())?)),
            Format::Parquet => Self::Parquet(Box::new(ParquetReader::new(shape, reading.clone())?)),
            Format::Avro => Self::Avro(Box::new(AvroReader::new(shape, reading.clone())?)),
        })
    }

    /// Takes more of the body.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Text(reader) => reader.feed(bytes),
            Self::Arrow(reader) => {
                reader.feed(bytes)?;
                if reader.is_worth_decoding() { reader.decode() } else { Ok(()) }
            }
            Self::Parquet(reader) => reader.feed(bytes),
            Self::Avro(reader) => {
                reader.feed(bytes);
                Ok(())
            }
        }
    }

    /// Whether it is for [`gather`](Self::gather) to take what comes next.
    pub(super) fn gathers(&self) -> bool {
        matches!(self, Self::Arrow(reader) if reader.gathers() && !reader.is_worth_decoding())
    }

    /// Takes more of the body, and leaves the work for later: where it [gathers](Self::gathers), that is a copy.
    pub(super) fn gather(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Arrow(reader) => reader.feed(bytes),
            _ => self.feed(bytes),
        }
    }

    /// Reads the rest and says what came of the whole.
    pub(super) fn finish(self) -> Result<Decoded> {
        match self {
            Self::Text(reader) => reader.finish(),
            Self::Arrow(reader) => reader.finish(),
            Self::Parquet(reader) => reader.finish(),
            Self::Avro(reader) => reader.finish(),
        }
    }
}

/// Reads rows again that were kept for a schema that has grown.
pub(super) fn again(shape: &Shape, reading: &Reading, kept: Kept) -> Result<Decoded> {
    match kept {
        Kept::Text(kept) => TextReader::again(shape, reading.clone(), kept)?.finish(),
        Kept::Columns { batches, rows_before, left_out } => {
            super::columnar::again(shape, reading.clone(), batches, (rows_before, left_out))
        }
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

    use arrow::ipc::writer::StreamWriter;

    use super::*;
    use crate::catalog::metadata::schema::Schema;
    use crate::ingest::manner::{Leniency, Rounding, TimePrecision};

    /// How rows are read in tests.
    pub(in crate::ingest) const READING: Reading = Reading {
        manner: Manner {
            precision: TimePrecision::Exact,
            leniency: Leniency::Strict,
            rounding: Rounding::Never,
            counts: None,
        },
        on_error: OnError::Abort,
        dialect: Dialect::CSV,
        rewriting: None,
        bounds: Bounds { rows: 1_000_000, row_bytes: 1 << 20, nesting: 64, column_bytes: 1 << 30, body_bytes: 1 << 28 },
        evolution: Evolution::Strict,
        unknown: Unknown::Refuse,
        version: 2,
    };

    /// The shape of a table of optional columns of these types.
    pub(in crate::ingest) fn shape_of(columns: &[(&str, &str)]) -> Shape {
        let field = |(at, (name, kind)): (usize, &(&str, &str))| serde_json::json!({"id": at + 1, "name": name, "required": false, "type": kind});
        let fields: Vec<serde_json::Value> = columns.iter().enumerate().map(field).collect();
        let schema = serde_json::json!({"type": "struct", "fields": fields});
        let schema = Schema::parse(&serde_json::value::to_raw_value(&schema).expect("JSON")).expect("a schema");
        Shape::of(&Arc::new(schema)).expect("a shape")
    }

    /// An Arrow IPC stream of batches.
    pub(in crate::ingest) fn stream(batches: &[RecordBatch]) -> Vec<u8> {
        let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).expect("a writer");
        batches.iter().for_each(|batch| writer.write(batch).expect("written"));
        writer.into_inner().expect("finished")
    }

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
