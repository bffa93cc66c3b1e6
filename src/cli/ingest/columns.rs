//! Parquet, Arrow and Avro → pieces that are Arrow IPC streams.
//!
//! Columns are written plainly: values that stand once and are meant many times are written out, since a part of a batch
//! would bring all of them. A batch is halved until its parts are small, so that a piece is little more than it should be;
//! where the halves are follows from the batch, so that pieces end at the same rows from whichever row they begin.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};

use super::chunks::{Chunk, Chunks, Ends, Packing, Reading, Size};
use super::input::{Input, Measure, Stored, unreadable};
use super::names::Format;
use super::stripes::{Run, Stripe};
use crate::error::{Error, Result};

/// Rows that are read at once.
const BATCH_ROWS: usize = 8_192;

const CONTENT_TYPE: &str = "application/vnd.apache.arrow.stream";

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

/// Batches of a stripe, and the row that the first of them begins with.
struct Begun {
    batches: Batches,
    at: u64,
    measure: Measure,
}

/// The pieces of a stripe of columns.
pub(super) struct ColumnChunks {
    batches: Batches,
    /// Parts of batches that were read, and the row that the next part to be read begins with.
    parts: VecDeque<RecordBatch>,
    read: u64,
    /// The row that the next piece begins with; those before it are passed over.
    at: u64,
    measure: Measure,
    size: Size,
    packing: Packing,
}

impl ColumnChunks {
    /// The pieces from a row on.
    pub(super) fn open(reading: &Reading) -> Result<Self> {
        let (file, from) = (&*reading.file, reading.from.unwrap_or(0));
        let Begun { batches, at, measure } = match (file.form.format, file.input.stored(), &file.footer) {
            (Format::Parquet, Some(stored), Some(footer)) => of_parquet(stored, footer, &reading.stripe, from)?,
            (Format::Avro, ..) => of_avro(&file.input)?,
            _ => of_arrow(&file.input)?,
        };
        let (size, packing) = (reading.size, reading.packing);
        Ok(Self { batches, parts: VecDeque::new(), read: at, at: from, measure, size, packing })
    }

    /// Reads on until there is a part; whether there is one.
    fn has_more(&mut self) -> Result<bool> {
        while self.parts.is_empty() {
            let Some(batch) = self.batches.next() else { return Ok(false) };
            let mut parts = Vec::new();
            part(plain(batch.map_err(unreadable)?)?, self.size, &mut parts)?;
            for part in parts {
                let rows = part.num_rows();
                let passed = usize::try_from(self.at.saturating_sub(self.read)).unwrap_or(usize::MAX).min(rows);
                self.read += rows as u64;
                if passed < rows {
                    self.parts.push_back(part.slice(passed, rows - passed));
                }
            }
        }
        Ok(true)
    }
}

impl Chunks for ColumnChunks {
    fn next(&mut self) -> Result<Option<Chunk>> {
        if !self.has_more()? {
            return Ok(None);
        }
        let schema = self.parts[0].schema();
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).map_err(unwritable)?;
        let mut rows = 0;
        // A part at least: there may be more to say of the columns than of their rows.
        while (rows == 0 || (rows < self.size.rows && writer.get_ref().len() < self.size.bytes))
            && self.has_more()?
            && let Some(part) = self.parts.pop_front()
        {
            writer.write(&part).map_err(unwritable)?;
            rows += part.num_rows();
        }
        self.at += rows as u64;
        let body = writer.into_inner().map_err(unwritable)?;
        let ends = Ends { next: self.at, last: !self.has_more()?, reached: self.measure.reached(self.at) };
        Chunk::of(body, CONTENT_TYPE, self.packing, ends).map(Some)
    }
}

fn of_parquet(stored: &Stored, footer: &ArrowReaderMetadata, stripe: &Stripe, from: u64) -> Result<Begun> {
    let all = footer.metadata().row_groups();
    let groups = match stripe.run {
        Run::RowGroups { first, end } => first..end,
        _ => 0..all.len(),
    };
    let rows = all[groups.clone()].iter().map(|group| group.num_rows()).sum::<i64>();
    // Batches begin where they would if all rows were read.
    let passed = usize::try_from(from).unwrap_or(usize::MAX);
    let passed = passed - passed % BATCH_ROWS;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(stored.clone(), footer.clone());
    let builder = builder.with_row_groups(groups.collect()).with_batch_size(BATCH_ROWS).with_offset(passed);
    let batches = builder.build().map_err(unreadable)?;
    let measure = Measure::Share { rows: u64::try_from(rows).unwrap_or(0), bytes: stripe.bytes };
    Ok(Begun { batches: Box::new(batches), at: passed as u64, measure })
}

fn of_avro(input: &Input) -> Result<Begun> {
    let (whole, measure) = input.whole();
    let reader = arrow_avro::reader::ReaderBuilder::new().with_batch_size(BATCH_ROWS).build(whole);
    Ok(Begun { batches: Box::new(reader.map_err(unreadable)?), at: 0, measure })
}

/// A file of Arrow's says so at its beginning; anything else is a stream.
fn of_arrow(input: &Input) -> Result<Begun> {
    if let Some(stored) = input.stored()
        && stored.first(6)? == b"ARROW1"
    {
        let reader = stored.reader(0);
        let measure = Measure::Read(reader.counter());
        let reader = FileReader::try_new(BufReader::new(reader), None).map_err(unreadable)?;
        return Ok(Begun { batches: Box::new(reader), at: 0, measure });
    }
    let (whole, measure) = input.whole();
    let reader = StreamReader::try_new(whole, None).map_err(unreadable)?;
    Ok(Begun { batches: Box::new(reader), at: 0, measure })
}

/// Halves a batch until its parts are small.
fn part(batch: RecordBatch, size: Size, parts: &mut Vec<RecordBatch>) -> Result<()> {
    let rows = batch.num_rows();
    let small = rows < 2 || (rows <= size.rows && weight(&batch)? <= size.bytes / 4);
    if small {
        parts.extend((rows > 0).then_some(batch));
        return Ok(());
    }
    let half = rows / 2;
    part(batch.slice(0, half), size, parts)?;
    part(batch.slice(half, rows - half), size, parts)
}

/// Bytes that a batch takes when it is written.
fn weight(batch: &RecordBatch) -> Result<usize> {
    let mut writer = StreamWriter::try_new(Counter(0), &batch.schema()).map_err(unwritable)?;
    let before = writer.get_ref().0;
    writer.write(batch).map_err(unwritable)?;
    Ok(writer.get_ref().0 - before)
}

/// Counts what is written.
#[derive(Debug)]
struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unwritable(error: ArrowError) -> Error {
    Error::internal("Rows cannot be written as Arrow").because(error)
}

/// The same rows, with every value where it stands.
fn plain(batch: RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let fields: Fields = schema.fields().iter().map(plain_field).collect();
    if fields == *schema.fields() {
        return Ok(batch);
    }
    let columns = batch.columns().iter().zip(&fields);
    let columns: Vec<ArrayRef> = columns
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            cast(column, field.data_type()).map_err(unreadable)
        })
        .collect::<Result<_>>()?;
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    RecordBatch::try_new(Arc::new(schema), columns).map_err(unreadable)
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let kind = plain_type(field.data_type());
    if kind == *field.data_type() {
        return Arc::clone(field);
    }
    // What else a field said of the form that its values had does not hold any more.
    Arc::new(Field::new(field.name(), kind, field.is_nullable()).with_metadata(field.metadata().clone()))
}

fn plain_type(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::Struct(members) => DataType::Struct(members.iter().map(plain_field).collect()),
        DataType::List(element) => DataType::List(plain_field(element)),
        DataType::LargeList(element) => DataType::LargeList(plain_field(element)),
        DataType::FixedSizeList(element, length) => DataType::FixedSizeList(plain_field(element), *length),
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        kind => kind.clone(),
    }
}

#[cfg(test)]
mod tests;
