//! A body on its way in: decompressed and decoded while it arrives, under the memory that is set aside for it.
//!
//! A small body is read where it is received. A larger one is read in steps on threads for work that computes, and none of
//! them waits for the network: what has arrived is a step. What is only gathered, to be read later, is gathered where it is
//! received, while it is at hand.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Fields;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use moka::sync::Cache;

use super::asking::Tried;
use super::columns::Shape;
use super::counts::Counts;
use super::csv::Dialect;
use super::decode::{Decoded, Evolution, Format, Kept, Reader, Reading, Unknown};
use super::events::EventShape;
use super::held::{Held, Readers, Seen, Text};
use super::inflate::{Encoding, Inflater};
use super::lift::{Gone, lift};
use super::memory::{Reserved, weight_of};
use super::of_table::Habits;
use super::rewriting::Rewriting;
use super::rules::Facts;
use super::verdict::Verdicts;
use super::{Append, AppendOptions, Ingest, create, events};
use crate::catalog::Loaded;
use crate::catalog::metadata::TableMetadata;
use crate::catalog::metadata::schema::Schema;
use crate::error::{Error, Result};
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
    /// The rows that fit, and how many there are.
    pub(super) rows: Vec<Held>,
    pub(super) count: usize,
    /// What is known of those that do not.
    pub(super) verdicts: Verdicts,
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
    /// Rows of which none is for the table.
    Refused(Refused),
}

/// Rows of which none is for the table.
#[derive(Debug)]
pub(super) struct Refused {
    /// The table, if there is one.
    pub(super) table: Option<Arc<Loaded>>,
    /// How many there are.
    pub(super) rows: usize,
    /// What is wrong with them.
    pub(super) verdicts: Verdicts,
    /// The memory that they take.
    pub(super) memory: Reserved,
}

/// A body that was read.
#[derive(Debug)]
pub(super) struct Read {
    /// The table as it was then; `None` if there was none.
    pub(super) existing: Option<Arc<Loaded>>,
    pub(super) understood: Understood,
    pub(super) memory: Reserved,
    /// Bytes of the rows.
    pub(super) bytes: usize,
}

/// What a body was found to be.
#[derive(Debug)]
pub(super) enum Understood {
    /// Little text, of so many rows that all fit.
    Text(Text, usize),
    /// Anything.
    Decoded(Decoded),
    /// Rows that ask for more than the table has, and what they are once it has that.
    Tried(Decoded, Box<Tried>),
}

impl Read {
    /// One of a body that was decoded.
    pub(super) fn of(existing: Option<Arc<Loaded>>, decoded: Decoded, memory: Reserved) -> Self {
        let bytes = decoded.batches.iter().map(weight_of).sum();
        Self { existing, understood: Understood::Decoded(decoded), memory, bytes }
    }

    /// What is known of rows that do not fit.
    pub(super) fn verdicts(&self) -> Option<&Verdicts> {
        match &self.understood {
            Understood::Text(..) => None,
            Understood::Decoded(decoded) => Some(&decoded.verdicts),
            Understood::Tried(_, tried) => Some(&tried.decoded.verdicts),
        }
    }

    /// The same, of a body of which nothing is written.
    pub(super) fn into_verdicts(self) -> Verdicts {
        match self.understood {
            Understood::Text(..) => Verdicts::default(),
            Understood::Decoded(decoded) => decoded.verdicts,
            Understood::Tried(_, tried) => tried.decoded.verdicts,
        }
    }

    /// Whether a row that does not fit is enough to write nothing, and there is one.
    pub(super) fn aborts(&self) -> bool {
        self.verdicts().is_some_and(Verdicts::aborts)
    }

    /// Whether none of its rows fits.
    pub(super) fn fits_nothing(&self) -> bool {
        match &self.understood {
            Understood::Text(..) => false,
            Understood::Decoded(decoded) => decoded.is_refused(),
            Understood::Tried(_, tried) => tried.decoded.is_refused(),
        }
    }

    /// Whether its rows can be committed as they are.
    pub(super) fn fits(&self) -> bool {
        let clean = match &self.understood {
            Understood::Text(..) => true,
            Understood::Decoded(decoded) => decoded.wishes.is_empty() && !decoded.is_refused(),
            Understood::Tried(..) => false,
        };
        self.existing.is_some() && clean
    }
}

/// A body that is being read.
struct Body {
    how: (Format, Encoding),
    most_bytes: usize,
    reading: Reading,
    readers: Arc<Readers>,
    /// Boxed, because a small body has no use for it and is moved about without.
    begun: Option<Box<(Inflater, Reader)>>,
    counts: Counts,
    memory: Reserved,
    /// Bytes that came out of the inflater.
    bytes: usize,
}

impl Body {
    /// Whether what comes next is only gathered.
    fn gathers(&self) -> bool {
        let reader = self.begun.as_ref().map(|begun| &begun.1);
        self.how.1 == Encoding::Identity && reader.map_or(self.how.0 == Format::Arrow, Reader::gathers)
    }

    fn gather(&mut self, piece: Bytes) -> Result<()> {
        self.take(vec![piece], Reader::gather)
    }

    fn feed(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        self.take(pieces, Reader::feed)
    }

    fn take(&mut self, pieces: Vec<Bytes>, to: To) -> Result<()> {
        if self.begun.is_none() {
            let (format, encoding) = self.how;
            let reader = Reader::new(format, &self.readers.shape, &self.reading)?;
            self.begun = Some(Box::new((Inflater::new(encoding, self.most_bytes)?, reader)));
        }
        let Self { begun: Some(begun), memory, bytes, .. } = self else { return Ok(()) };
        let (inflater, reader) = &mut **begun;
        pieces
            .into_iter()
            .try_for_each(|piece| inflater.feed(piece, &mut |text| take((reader, to), memory, bytes, text)))
    }

    /// Reads what came last.
    fn finish(mut self, rest: Vec<Bytes>) -> Result<(Understood, Reserved, usize)> {
        self.feed(rest)?;
        let Self { begun: Some(begun), mut memory, mut bytes, counts, .. } = self else {
            return Err(Error::internal("A body was not begun"));
        };
        let (mut inflater, mut reader) = *begun;
        inflater.finish(&mut |text| take((&mut reader, Reader::feed), &mut memory, &mut bytes, text))?;
        counts.decoded(bytes);
        let decoded = reader.finish()?;
        let columns: usize = decoded.batches.iter().map(weight_of).sum();
        metrics::counter!("floeberg_ingest_bytes_total", "stage" => "arrow").increment(columns as u64);
        memory.hold(columns + decoded.verdicts.weight())?;
        // What was set aside for the text, too, is needed no longer; but for text that is to be read again.
        memory.shrink(columns + decoded.verdicts.weight() + decoded.kept.as_ref().map_or(0, Kept::weight));
        Ok((Understood::Decoded(decoded), memory, columns))
    }

    /// Looks at a small body of which nothing was read yet. What does not fit is read once more, to be named.
    fn look(mut self, pieces: Vec<Bytes>) -> Result<(Understood, Reserved, usize)> {
        let seen = self.readers.look(&self.reading, pieces.concat())?;
        let Some(Seen { text, rows, bytes }) = seen else { return self.finish(pieces) };
        self.counts.decoded(text.bytes());
        self.memory.hold(bytes)?;
        self.memory.shrink(bytes);
        Ok((Understood::Text(text, rows), self.memory, bytes))
    }
}

/// Columns take about as much as the text that they are read from.
fn take((reader, to): (&mut Reader, To), memory: &mut Reserved, bytes: &mut usize, text: &[u8]) -> Result<()> {
    *bytes += text.len();
    memory.hold(*bytes)?;
    to(reader, text)
}

/// How a reader takes what has come.
type To = fn(&mut Reader, &[u8]) -> Result<()>;

impl Ingest {
    /// Reads a body to its end.
    pub(super) async fn receive(
        &self,
        request: &mut Append,
        memory: Reserved,
        body: &mut (impl Stream<Item = Result<Bytes>> + Unpin + Send),
    ) -> Result<Read> {
        let existing = create::existing(&self.catalog, &request.table, &request.options).await?;
        let (reading, readers) = self.prepared(request, existing.as_deref())?;
        let (how, most_bytes) = ((request.format, request.encoding), self.settings.body_decoded);
        let counts = self.counts.clone();
        let begin = Body { how, most_bytes, reading, readers, begun: None, counts, memory, bytes: 0 };
        let (understood, memory, bytes) = self.read(request, (begin, existing.as_deref()), body).await?;
        Ok(Read { existing, understood, memory, bytes })
    }

    /// How the rows of a request are read for its table, if there is one.
    pub(super) fn prepared(&self, request: &mut Append, existing: Option<&Loaded>) -> Result<(Reading, Arc<Readers>)> {
        self.note_facts(request, existing)?;
        let Append { table, options, .. } = &*request;
        match existing {
            Some(loaded) => {
                let habits = self.habits_of(table, loaded)?;
                Ok((self.reading(table, (loaded, &habits), options)?, self.readers(&habits, loaded)?))
            }
            None if !self.settings.auto_create => Err(Tabular::Table.missing(table)),
            None => {
                let columns =
                    if options.events { events::schema(options.partition_by.as_deref()) } else { no_columns() };
                let readers = Readers::new(Shape::of(&Arc::new(columns))?);
                Ok((self.reading_for(table, None, options)?, Arc::new(readers)))
            }
        }
    }

    /// Keeps of a request what is made into rows with its own.
    fn note_facts(&self, request: &mut Append, existing: Option<&Loaded>) -> Result<()> {
        let own = existing.map(|loaded| &loaded.metadata.properties);
        let rules = self.rules.of(&self.settings, &request.table, own)?;
        request.options.events = request.format == Format::Events;
        if rules.is_none() && !request.options.events {
            return Ok(());
        }
        let rules = rules.unwrap_or_default();
        let header = |name: &str| Some((name.to_owned(), request.headers.get(name)?.to_str().ok()?.to_owned()));
        let headers = rules.headers().filter_map(header).collect();
        request.options.facts = Some(Arc::new(Facts { headers, now_ms: self.catalog.clock().now_ms() }));
        Ok(())
    }

    async fn read(
        &self,
        request: &mut Append,
        (mut reading, table): (Body, Option<&Loaded>),
        body: &mut (impl Stream<Item = Result<Bytes>> + Unpin + Send),
    ) -> Result<(Understood, Reserved, usize)> {
        let (mut pieces, mut waiting, mut all) = (Vec::new(), 0, 0);
        while let Some(piece) = body.next().await {
            let piece = piece?;
            all += piece.len();
            self.counts.received(piece.len());
            if let Some(key) = &mut request.key {
                key.request.update(&piece);
            }
            if pieces.is_empty() && reading.gathers() {
                reading.gather(piece)?;
                continue;
            }
            waiting += piece.len();
            pieces.push(piece);
            if waiting >= STEP_BYTES {
                let step = std::mem::take(&mut pieces);
                waiting = 0;
                reading = self.compute(move || reading.feed(step).map(|()| reading)).await?;
            }
        }
        if all == 0 && request.producer.as_ref().is_some_and(|position| position.sequence.is_none()) {
            // Who says where he is need not bring rows.
            let (batches, wishes, kept) = Default::default();
            let nothing = Decoded { batches, rows: 0, verdicts: Verdicts::default(), wishes, kept };
            return Ok((Understood::Decoded(nothing), reading.memory, 0));
        }
        // Text as it is can only be so much work; what is compressed, or not ours to decode, is elsewhere.
        let plain = request.encoding == Encoding::Identity && request.format == Format::Json;
        match all {
            0..=limits::WAITS_AS_TEXT_BYTES if plain && table.is_some() && reading.reading.rewriting.is_none() => {
                reading.look(pieces)
            }
            0..=INLINE_BYTES if plain => reading.finish(pieces),
            _ => self.compute(move || reading.finish(pieces)).await,
        }
    }

    /// How the rows of a table are read.
    pub(super) fn reading(
        &self,
        table: &TableName,
        (loaded, habits): (&Loaded, &Habits),
        options: &AppendOptions,
    ) -> Result<Reading> {
        let evolution = habits.evolution(options.schema);
        Ok(Reading {
            evolution,
            unknown: habits.unknown(options.unknown_fields, evolution),
            on_error: habits.on_error(options.on_error),
            version: loaded.metadata.format_version,
            ..self.reading_for(table, Some(&loaded.metadata), options)?
        })
    }

    /// How rows are read, but for what a table says of itself; of one that is not there yet, its rows are all there is.
    pub(super) fn reading_for(
        &self,
        table: &TableName,
        metadata: Option<&TableMetadata>,
        options: &AppendOptions,
    ) -> Result<Reading> {
        let usual = self.first_reading(options);
        let Some(facts) = &options.facts else { return Ok(usual) };
        let shape = match metadata {
            Some(metadata) => EventShape::of(metadata.current_schema()?),
            None => EventShape::of(&events::schema(options.partition_by.as_deref())),
        };
        let own;
        let properties = match metadata {
            Some(metadata) => Some(&metadata.properties),
            None if options.events => {
                own = events::described(options.partition_by.as_deref(), None)?.properties;
                Some(&own)
            }
            None => None,
        };
        let rules = self.rules.of(&self.settings, table, properties)?.unwrap_or_default();
        let events = options.events.then_some(shape);
        Ok(Reading { rewriting: Some(Rewriting { events, rules, facts: Arc::clone(facts) }), ..usual })
    }

    /// How the rows are read that a table is made of: they know no field yet.
    pub(super) fn first_reading(&self, options: &AppendOptions) -> Reading {
        Reading {
            manner: options.manner,
            on_error: options.on_error.unwrap_or_default(),
            dialect: options.dialect.clone().unwrap_or(Dialect::CSV),
            rewriting: None,
            bounds: self.settings.bounds(),
            evolution: Evolution::AddColumns,
            unknown: Unknown::Add,
            version: 2,
        }
    }
}

fn no_columns() -> Schema {
    Schema { schema_id: 0, fields: Vec::new(), identifier_field_ids: Vec::new(), extra: Default::default() }
}

/// Readers for the schemas that rows were read for lately, by table and schema. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Shapes(Cache<(String, i32), Arc<Readers>>);

impl Default for Shapes {
    fn default() -> Self {
        Self(Cache::new(limits::SHAPES_KEPT))
    }
}

impl Shapes {
    /// Those for a table's current schema.
    pub(super) fn of(&self, metadata: &TableMetadata) -> Result<Arc<Readers>> {
        let schema = metadata.current_schema()?;
        let name = (metadata.table_uuid.clone().unwrap_or_default(), schema.schema_id);
        let known = self.0.get(&name);
        // A table that was rolled back may have given the number to another schema.
        if let Some(known) =
            known.filter(|known| Arc::ptr_eq(&known.shape.schema, schema) || known.shape.schema == *schema)
        {
            return Ok(known);
        }
        let readers = Arc::new(Readers::new(Shape::of(schema)?));
        self.0.insert(name, Arc::clone(&readers));
        Ok(readers)
    }
}

/// Batches under other columns; `None` where they do not fit.
pub(super) fn lifted(batches: &[RecordBatch], to: &Fields, gone: Gone) -> Result<Option<Vec<RecordBatch>>> {
    batches.iter().map(|batch| lift(batch, to, gone)).collect()
}
