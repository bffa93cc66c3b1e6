//! A body on its way in: decompressed and decoded while it arrives, under the memory that is set aside for it.
//!
//! A small body is read where it is received. A larger one is read in steps on threads for work that computes, and none of
//! them waits for the network: what has arrived is a step.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Fields;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use moka::sync::Cache;

use super::coerce::TimePrecision;
use super::columns::Shape;
use super::decode::{self, Decoded, Evolution, Format, Kept, Reader, Reading, Unknown};
use super::inflate::{Encoding, Inflater};
use super::lift::{Gone, lift};
use super::memory::{Reserved, weight_of};
use super::{Append, AppendOptions, Ingest, create, evolve, flush, settings};
use crate::catalog::Loaded;
use crate::catalog::metadata::TableMetadata;
use crate::catalog::metadata::schema::Schema;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::limits;
use crate::names::{TableName, Tabular};

/// Bytes that are read at once, and how much of a body may be read where it is received.
const STEP_BYTES: usize = 256 << 10;
const INLINE_BYTES: usize = 32 << 10;

/// Rows of a request, and the table that they fit.
#[derive(Debug)]
pub(super) struct Received {
    /// The table as it was when they fitted.
    pub(super) table: Arc<Loaded>,
    /// The rows; empty where one is wrong.
    pub(super) decoded: Decoded,
    /// The memory that they take.
    pub(super) memory: Reserved,
    /// Bytes of the rows.
    pub(super) bytes: usize,
}

/// What came of a body.
#[derive(Debug)]
pub(super) enum Intake {
    /// Rows of a table.
    Fits(Received),
    /// Rows that fit none.
    Refused(Decoded),
}

/// A body that was read.
#[derive(Debug)]
pub(super) struct Read {
    /// The table as it was then; `None` if there was none.
    existing: Option<Arc<Loaded>>,
    decoded: Decoded,
    memory: Reserved,
    /// Bytes of the rows.
    bytes: usize,
}

impl Read {
    /// Whether its rows can be committed as they are.
    pub(super) fn fits(&self) -> bool {
        self.existing.is_some() && self.decoded.wishes.is_empty() && self.decoded.verdicts.is_empty()
    }
}

/// A body that is being read.
struct Body {
    inflater: Inflater,
    reader: Reader,
    memory: Reserved,
    /// Bytes that came out of the inflater.
    bytes: usize,
}

impl Body {
    fn feed(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        let Self { inflater, reader, memory, bytes } = self;
        pieces.into_iter().try_for_each(|piece| inflater.feed(piece, &mut |text| take(reader, memory, bytes, text)))
    }

    fn finish(mut self) -> Result<(Decoded, Reserved, usize)> {
        let Self { inflater, reader, memory, bytes } = &mut self;
        inflater.finish(&mut |text| take(reader, memory, bytes, text))?;
        metrics::counter!("floeberg_ingest_bytes_total", "stage" => "decoded").increment(self.bytes as u64);
        let decoded = self.reader.finish()?;
        let columns: usize = decoded.batches.iter().map(weight_of).sum();
        metrics::counter!("floeberg_ingest_bytes_total", "stage" => "arrow").increment(columns as u64);
        self.memory.hold(columns)?;
        // What was set aside for the text, too, is needed no longer; but for text that is to be read again.
        self.memory.shrink(columns + decoded.kept.as_ref().map_or(0, Kept::weight));
        Ok((decoded, self.memory, columns))
    }
}

/// Columns take about as much as the text that they are read from.
fn take(reader: &mut Reader, memory: &mut Reserved, bytes: &mut usize, text: &[u8]) -> Result<()> {
    *bytes += text.len();
    memory.hold(*bytes)?;
    reader.feed(text)
}

impl Ingest {
    /// Reads a body to its end.
    pub(super) async fn receive(
        &self,
        request: &mut Append,
        memory: Reserved,
        body: &mut (impl Stream<Item = Result<Bytes>> + Unpin + Send),
    ) -> Result<Read> {
        let Append { table, options, .. } = &*request;
        let existing = create::existing(&self.catalog, table, options).await?;
        let (reading, shape) = match &existing {
            Some(loaded) => {
                self.complaints.look_at(table, &loaded.metadata);
                (self.reading(&loaded.metadata, options)?, self.shapes.of(&loaded.metadata)?)
            }
            None if !self.settings.auto_create => return Err(Tabular::Table.missing(table)),
            None => (self.first_reading(options), Shape::of(&Arc::new(no_columns()))?),
        };
        let reader = Reader::new(request.format, &shape, &reading)?;
        let inflater = Inflater::new(request.encoding, self.settings.body_decoded)?;
        let (decoded, memory, bytes) = self.read(request, Body { inflater, reader, memory, bytes: 0 }, body).await?;
        Ok(Read { existing, decoded, memory, bytes })
    }

    async fn read(
        &self,
        request: &mut Append,
        mut reading: Body,
        body: &mut (impl Stream<Item = Result<Bytes>> + Unpin + Send),
    ) -> Result<(Decoded, Reserved, usize)> {
        let (mut pieces, mut waiting, mut all) = (Vec::new(), 0, 0);
        while let Some(piece) = body.next().await {
            let piece = piece?;
            waiting += piece.len();
            all += piece.len();
            if let Some(key) = &mut request.key {
                key.request.update(&piece);
            }
            pieces.push(piece);
            if waiting >= STEP_BYTES {
                let step = std::mem::take(&mut pieces);
                waiting = 0;
                reading = self.compute(move || reading.feed(step).map(|()| reading)).await?;
            }
        }
        metrics::counter!("floeberg_ingest_bytes_total", "stage" => "wire").increment(all as u64);
        let rest = move || {
            reading.feed(pieces)?;
            reading.finish()
        };
        // Text as it is can only be so much work; what is compressed, or not ours to decode, is elsewhere.
        let small = all <= INLINE_BYTES && request.encoding == Encoding::Identity && request.format == Format::Json;
        if small { rest() } else { self.compute(rest).await }
    }

    /// Makes the table have what the rows ask for, until they fit or are known not to.
    pub(super) async fn fit(&self, table: &TableName, options: &AppendOptions, read: Read) -> Result<Intake> {
        let Read { mut existing, mut decoded, mut memory, mut bytes } = read;
        for _ in 0..limits::SPLITS_MAX {
            if !decoded.verdicts.is_empty() {
                return Ok(Intake::Refused(decoded));
            }
            let grown = match existing {
                Some(table) if decoded.wishes.is_empty() => {
                    return Ok(Intake::Fits(Received { table, decoded, memory, bytes }));
                }
                Some(loaded) => {
                    let uuid = loaded.metadata.table_uuid.as_deref().ok_or_else(settings::no_uuid)?;
                    evolve::grow(&self.catalog, table, uuid, &decoded.wishes).await?
                }
                None => create::of_rows(self, table, &decoded.wishes, options).await?,
            };
            failpoint::at("ingest.created")?;
            let reading = self.reading(&grown.metadata, options)?;
            (decoded, memory) = self.read_again(&grown.metadata, reading, decoded, memory).await?;
            bytes = decoded.batches.iter().map(weight_of).sum();
            existing = Some(grown);
        }
        Err(flush::schema_changed())
    }

    async fn read_again(
        &self,
        metadata: &TableMetadata,
        reading: Reading,
        before: Decoded,
        mut memory: Reserved,
    ) -> Result<(Decoded, Reserved)> {
        let shape = self.shapes.of(metadata)?;
        self.compute(move || {
            let Decoded { batches, kept, .. } = before;
            let kept = kept.ok_or_else(|| Error::internal("Rows that ask for columns were not kept"))?;
            let earlier: usize = batches.iter().map(weight_of).sum();
            memory.hold(earlier + kept.weight() * 2)?;
            let mut again = decode::again(&shape, &reading, kept)?;
            let earlier = lifted(&batches, shape.arrow.fields(), Gone::Refused)?.ok_or_else(flush::schema_changed)?;
            if again.verdicts.is_empty() {
                again.batches.splice(0..0, earlier);
            }
            Ok((again, memory))
        })
        .await
    }

    fn reading(&self, metadata: &TableMetadata, options: &AppendOptions) -> Result<Reading> {
        settings::check_table(metadata)?;
        let evolution = Evolution::of(options.schema, &metadata.properties)?;
        let unknown = Unknown::of(options.unknown_fields, &metadata.properties, evolution)?;
        let version = metadata.format_version;
        Ok(Reading { evolution, unknown, version, ..self.first_reading(options) })
    }

    /// How the rows are read that a table is made of: they know no field yet.
    fn first_reading(&self, options: &AppendOptions) -> Reading {
        let precision = if options.truncate_time { TimePrecision::Truncate } else { TimePrecision::Exact };
        let bounds = self.settings.bounds();
        Reading { precision, bounds, evolution: Evolution::AddColumns, unknown: Unknown::Add, version: 2 }
    }
}

fn no_columns() -> Schema {
    Schema { schema_id: 0, fields: Vec::new(), identifier_field_ids: Vec::new(), extra: Default::default() }
}

/// The shapes of schemas that rows were read for lately, by table and schema. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Shapes(Cache<(String, i32), Shape>);

impl Default for Shapes {
    fn default() -> Self {
        Self(Cache::new(limits::SHAPES_KEPT))
    }
}

impl Shapes {
    /// That of a table's current schema.
    pub(super) fn of(&self, metadata: &TableMetadata) -> Result<Shape> {
        let schema = metadata.current_schema()?;
        let name = (metadata.table_uuid.clone().unwrap_or_default(), schema.schema_id);
        let known = self.0.get(&name);
        // A table that was rolled back may have given the number to another schema.
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.schema, schema) || known.schema == *schema) {
            return Ok(known);
        }
        let shape = Shape::of(schema)?;
        self.0.insert(name, shape.clone());
        Ok(shape)
    }
}

/// Batches under other columns; `None` where they do not fit.
pub(super) fn lifted(batches: &[RecordBatch], to: &Fields, gone: Gone) -> Result<Option<Vec<RecordBatch>>> {
    batches.iter().map(|batch| lift(batch, to, gone)).collect()
}
