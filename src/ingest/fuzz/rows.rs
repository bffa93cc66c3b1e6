//! What is to hold of every reader of rows, whatever it is fed.
//!
//! Each row of a body is in a batch of the table's columns, is rejected once and named, or is one of those that can be
//! read once the table has what they ask for; then it gets that here as a request does it (`intake::fit`), and they are
//! read again. However a body arrives, the same comes of it. No body is answered with a fault of the server's own.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Decimal128Type, Field as ArrowField, Fields, Schema as ArrowSchema};

use super::damage::{BYTES_MAX, Rng, pieces};
use super::{Told, bodies, watch};
use crate::catalog::metadata::schema::{Field, Schema};
use crate::catalog::metadata::types::{Primitive, Type};
use crate::error::{Error, Kind, Result};
use crate::ingest::columns::Shape;
use crate::ingest::decode::{self, Bounds, Decoded, Evolution, Format, Reader, Reading, Unknown};
use crate::ingest::events::{self, EventShape};
use crate::ingest::evolve::{Wish, find, first_schema, give_ids, members};
use crate::ingest::intake::lifted;
use crate::ingest::lift::Gone;
use crate::ingest::manner::{Counting, Leniency, Manner, Rounding, TimePrecision};
use crate::ingest::rewriting::Rewriting;
use crate::ingest::rules::{Facts, Rules};
use crate::ingest::text::TextReader;
use crate::ingest::verdict::{OnError, Rejected, RowError, Verdicts};
use crate::limits;

/// What bodies may hold here.
pub(super) const BOUNDS: Bounds =
    Bounds { rows: 10_000, row_bytes: 1 << 20, nesting: 64, column_bytes: 64 << 20, body_bytes: 16 << 20 };

/// Bounds that many of them go beyond.
const TIGHT: Bounds = Bounds { rows: 3, row_bytes: 120, nesting: 4, column_bytes: 2 << 10, body_bytes: 4 << 10 };

/// What a format is read with.
pub(super) struct Setting {
    format: Format,
    shapes: Vec<Shape>,
    rules: Vec<Rules>,
    facts: Arc<Facts>,
}

impl Setting {
    /// The tables and rules for a format.
    pub(super) fn of(format: Format) -> Self {
        let mut shapes = vec![bodies::shape(&bodies::schema()), bodies::shape(&bodies::no_columns())];
        if format == Format::Events {
            shapes.extend([bodies::shape(&events::schema(None)), bodies::shape(&events::schema(Some("day,hour")))]);
        }
        let mut rules = bodies::known_rules();
        // More often than not there are none.
        rules.extend((0..4).map(|_| Rules::default()));
        Self { format, shapes, rules, facts: Arc::new(bodies::facts()) }
    }

    /// A table, and how a body is read for it.
    fn choose(&self, rng: &mut Rng) -> (&Shape, Reading) {
        let shape = &self.shapes[rng.below(self.shapes.len())];
        let rules = self.rules[rng.below(self.rules.len())].clone();
        let events = (self.format == Format::Events).then(|| EventShape::of(&shape.schema));
        let rewrites = events.is_some() || !rules.is_empty();
        let rewriting = rewrites.then(|| Rewriting { events, rules, facts: Arc::clone(&self.facts) });
        let evolution = rng.of(&[Evolution::Strict, Evolution::AddColumns]);
        let unknown = match rng.of(&[Unknown::Add, Unknown::Refuse, Unknown::Ignore, Unknown::Capture]) {
            // As `Unknown::of` has it.
            Unknown::Add if evolution == Evolution::Strict => Unknown::Refuse,
            unknown => unknown,
        };
        let dialects = bodies::dialects();
        let reading = Reading {
            manner: manner(rng),
            on_error: rng.of(&[OnError::Abort, OnError::Skip, OnError::Dlq]),
            dialect: dialects[rng.of(&[0_usize, 0, 0, 1, 2])].clone(),
            rewriting,
            bounds: if rng.once_in(8) { TIGHT } else { BOUNDS },
            evolution,
            unknown,
            version: rng.of(&[2, 3]),
        };
        (shape, reading)
    }
}

fn manner(rng: &mut Rng) -> Manner {
    use Counting as C;
    Manner {
        precision: rng.of(&[TimePrecision::Exact, TimePrecision::Truncate]),
        leniency: rng.of(&[Leniency::Strict, Leniency::Lenient]),
        rounding: rng.of(&[Rounding::Never, Rounding::HalfUp]),
        counts: rng.of(&[None, None, Some(C::Seconds), Some(C::Millis), Some(C::Micros), Some(C::Nanos)]),
    }
}

/// A table, and how a body is read for it.
type How<'a> = (&'a Shape, &'a Reading);

/// What comes of a body in the end.
struct Outcome {
    rows: usize,
    /// All rows that the table takes.
    taken: Option<RecordBatch>,
    verdicts: Verdicts,
    /// What was asked of the schema first.
    wishes: Vec<Wish>,
    refused: bool,
}

/// Feeds a body: whole, and where it is read while it arrives in pieces too.
pub(super) fn fed(setting: &Setting, input: &[u8], rng: &mut Rng) -> Told {
    let (shape, reading) = setting.choose(rng);
    let how = (shape, &reading);
    watch::reads_so(format!("{} columns, {reading:?}", shape.schema.fields.len()));
    let whole = read(setting.format, how, &[input], BYTES_MAX + 1);
    if !matches!(setting.format, Format::Avro | Format::Parquet) {
        let (pieces, window) = (pieces(rng, input), 1 + rng.below(300));
        same(&whole, &read(setting.format, how, &pieces, window));
    }
    if setting.format == Format::Json && reading.rewriting.is_none() {
        looked_at(how, input, &whole);
    }
    match whole {
        Ok(outcome) => of_taken(&outcome),
        Err(error) => of_refused(&error),
    }
}

/// What a refusal is in short: without numbers, and what is quoted.
pub(super) fn of_refused(error: &Error) -> Told {
    assert_ne!(error.kind(), Kind::Internal, "a body is no fault of the server's: {}", error.chain());
    let chain = error.chain();
    let words: String =
        chain.split('"').step_by(2).flat_map(str::chars).filter(|c| !c.is_ascii_digit()).take(200).collect();
    Told { taken: false, what: format!("{:?} {:?} {words}", error.kind(), error.code()) }
}

fn of_taken(outcome: &Outcome) -> Told {
    let Outcome { rows, taken, verdicts, wishes, refused } = outcome;
    let taken = taken.as_ref().map_or(0, RecordBatch::num_rows);
    let codes: BTreeSet<&str> = verdicts.listed.iter().map(|error| &*error.code).collect();
    let what = format!(
        "{:?} of {:?} rows, {} wishes, {codes:?}, {refused}",
        taken.checked_ilog2(),
        rows.checked_ilog2(),
        wishes.len()
    );
    Told { taken: taken > 0, what }
}

/// Reads a body that arrives in pieces, with a window of so many bytes where it is text.
fn read(format: Format, how: How<'_>, pieces: &[&[u8]], window: usize) -> Result<Outcome> {
    let (shape, reading) = how;
    let mut reader = Reader::new(format, shape, reading)?;
    if let Reader::Text(text) = &mut reader {
        (text.worth, text.usually) = (window, window);
    }
    for (at, piece) in pieces.iter().enumerate() {
        if at % 2 == 0 { reader.gather(piece)? } else { reader.feed(piece)? }
    }
    let decoded = reader.finish()?;
    if reading.on_error == OnError::Abort && decoded.verdicts.total > 0 {
        assert!(decoded.batches.is_empty() && decoded.kept.is_none(), "nothing is kept of what is refused");
    }
    settled(how, decoded)
}

/// Gives the table what rows ask for, until they fit or are known not to.
fn settled((shape, reading): How<'_>, mut decoded: Decoded) -> Result<Outcome> {
    let mut shape = shape.clone();
    let mut first = None;
    for _ in 0..limits::SPLITS_MAX {
        holds(&decoded, (&shape, reading));
        decoded.wishes.sort_by_key(|wish| format!("{wish:?}"));
        let wishes = first.get_or_insert_with(|| decoded.wishes.clone());
        let refused = decoded.is_refused();
        if refused || decoded.wishes.is_empty() {
            let Decoded { batches, rows, verdicts, .. } = decoded;
            let taken = batches.first().map(|one| concat_batches(&one.schema(), &batches).expect("alike"));
            return Ok(Outcome { rows, taken, verdicts, wishes: std::mem::take(wishes), refused });
        }
        shape = Shape::of(&Arc::new(grown(&shape.schema, &decoded.wishes)?))?;
        decoded = again((&shape, reading), decoded)?;
    }
    panic!("the rows ask again for what they were given: first {first:?}, then {:?}", decoded.wishes)
}

/// Reads what was kept for a table that has grown.
fn again((shape, reading): How<'_>, before: Decoded) -> Result<Decoded> {
    let Decoded { batches, rows, kept, mut verdicts, .. } = before;
    let mut again = decode::again(shape, reading, kept.expect("rows that ask for something are kept"))?;
    assert_eq!(again.rows, rows, "rows are counted from the first");
    let earlier =
        lifted(&batches, shape.arrow.fields(), Gone::Refused)?.expect("earlier rows fit a table that has grown");
    drop(again.batches.splice(0..0, earlier));
    verdicts.join(again.verdicts);
    again.verdicts = verdicts;
    Ok(again)
}

/// A schema with what rows ask for, as `evolve::grow` makes it.
fn grown(schema: &Schema, wishes: &[Wish]) -> Result<Schema> {
    if schema.fields.is_empty() {
        return first_schema(wishes);
    }
    let mut grown = schema.clone();
    let mut last = grown.highest_id();
    for wish in wishes {
        match wish {
            Wish::Add { parent, name, kind } => {
                let lower = name.to_lowercase();
                if let Some(fields) = members(&mut grown.fields, *parent)
                    && fields.iter().all(|field| field.name.to_lowercase() != lower)
                {
                    let mut field = Field::optional(0, name, kind.clone());
                    give_ids(&mut field, &mut last)?;
                    fields.push(field);
                }
            }
            Wish::Widen { id, to } => {
                let field = find(&mut grown.fields, *id).expect("only what is there is widened");
                field.kind = Type::Primitive(to.clone());
            }
            Wish::Relax { id } => find(&mut grown.fields, *id).expect("only what is there is relaxed").required = false,
        }
    }
    Ok(grown)
}

/// What is to be so of rows that were read for a table.
fn holds(decoded: &Decoded, (shape, reading): How<'_>) {
    let Decoded { batches, rows, verdicts, wishes, kept } = decoded;
    let Verdicts { listed, bad_rows, total, rejected, .. } = verdicts;
    let aborts = reading.on_error == OnError::Abort;
    assert!((1..=reading.bounds.rows).contains(rows), "{rows} rows");
    assert_eq!(listed.len(), (*total).min(limits::ROW_ERRORS_LISTED), "the first errors are listed");
    assert!(listed.iter().all(|error| error.index < *rows), "errors are of rows that there are: {listed:?} of {rows}");
    assert!(bad_rows <= total && (*bad_rows > 0) == (*total > 0), "{bad_rows} bad rows have {total} errors");
    let places: HashSet<usize> = rejected.iter().map(|row| row.index).collect();
    assert!(places.iter().all(|place| place < rows), "rows are rejected that there are: {rejected:?} of {rows}");
    assert_eq!(places.len(), rejected.len(), "no row is rejected twice: {rejected:?}");
    assert_eq!(rejected.len(), if aborts { 0 } else { *bad_rows }, "rows that do not fit are rejected: {rejected:?}");
    let taken: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert!(taken + rejected.len() <= *rows, "{taken} rows are taken and {} rejected of {rows}", rejected.len());
    if !(aborts && *total > 0) {
        assert_eq!(kept.is_none(), wishes.is_empty(), "rows are kept where they ask for something: {wishes:?}");
        let missing = rows - taken - rejected.len();
        assert!(missing == 0 || !wishes.is_empty(), "{missing} of {rows} rows are nowhere");
    }
    batches.iter().for_each(|batch| sound(batch, shape));
}

/// Whether a batch holds together.
fn sound(batch: &RecordBatch, shape: &Shape) {
    let schema = batch.schema();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let name = field.name();
        assert_eq!(column.len(), batch.num_rows(), "{name} has as many values as there are rows");
        assert!(field.is_nullable() || column.null_count() == 0, "{name} is required and has a value");
        column.to_data().validate_full().unwrap_or_else(|error| panic!("{name}: {error}"));
        if let DataType::Decimal128(digits, _) = column.data_type() {
            let values = column.as_primitive::<Decimal128Type>();
            values.validate_decimal_precision(*digits).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert_eq!(schema.fields(), shape.arrow.fields(), "the columns are the table's");
}

/// Whether the same came of a body that was read whole and in pieces.
fn same(whole: &Result<Outcome>, piecemeal: &Result<Outcome>) {
    match (whole, piecemeal) {
        (Ok(whole), Ok(piecemeal)) => same_rows(whole, piecemeal),
        (Err(whole), Err(piecemeal)) if is_early(whole) || is_early(piecemeal) => {}
        (Err(whole), Err(piecemeal)) => assert_eq!(whole.message(), piecemeal.message(), "whole, and in pieces"),
        // What stands between rows counts as part of one of them, which depends on what has arrived.
        (Ok(_), Err(error)) | (Err(error), Ok(_)) if error.kind() == Kind::TooLarge => {}
        (Ok(_), Err(error)) => panic!("in pieces it is refused: {error:?}"),
        (Err(error), Ok(_)) => panic!("whole it is refused: {error:?}"),
    }
}

/// Whether a refusal may come before another one that the text has, or behind it, as it arrives.
fn is_early(error: &Error) -> bool {
    error.kind() == Kind::TooLarge || error.code() == Some("invalid_utf8")
}

fn same_rows(whole: &Outcome, piecemeal: &Outcome) {
    let numbers = |one: &Outcome| (one.rows, one.refused, one.verdicts.bad_rows, one.verdicts.total);
    assert_eq!(
        numbers(whole),
        numbers(piecemeal),
        "whole, and in pieces: {:?}, {:?}",
        listed(whole),
        listed(piecemeal)
    );
    if whole.verdicts.total <= limits::ROW_ERRORS_LISTED {
        assert_eq!(listed(whole), listed(piecemeal), "whole, and in pieces");
    }
    assert_eq!(rejected(whole), rejected(piecemeal), "whole, and in pieces");
    if !whole.refused {
        assert_eq!(whole.wishes, piecemeal.wishes, "whole, and in pieces");
    }
    let (one, other) = (comparable(whole), comparable(piecemeal));
    assert!(one == other, "whole {one:?}, in pieces {other:?}");
}

/// The rows that were taken. Where a column of floats was widened, rows of windows that were read before it was have what
/// a float holds of their numbers, and rows that were read again have all of it: only that much is the same.
fn comparable(outcome: &Outcome) -> Option<RecordBatch> {
    let taken = outcome.taken.as_ref()?;
    let widened = |wish: &Wish| matches!(wish, Wish::Widen { to: Primitive::Double, .. });
    if !outcome.wishes.iter().any(widened) {
        return Some(taken.clone());
    }
    let schema = taken.schema();
    let narrow = Fields::from_iter(schema.fields().iter().map(narrowed));
    let columns = taken.columns().iter().zip(&narrow).map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<std::result::Result<_, _>>().expect("doubles become floats");
    Some(RecordBatch::try_new(Arc::new(ArrowSchema::new(narrow)), columns).expect("as many as before"))
}

/// A field, and what is inside it, with floats where it has doubles.
fn narrowed(field: &Arc<ArrowField>) -> Arc<ArrowField> {
    let kind = match field.data_type() {
        DataType::Float64 => DataType::Float32,
        DataType::Struct(members) => DataType::Struct(members.iter().map(narrowed).collect()),
        DataType::List(element) => DataType::List(narrowed(element)),
        DataType::Map(entries, sorted) => DataType::Map(narrowed(entries), *sorted),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(kind))
}

fn listed(outcome: &Outcome) -> Vec<&RowError> {
    let mut all: Vec<&RowError> = outcome.verdicts.listed.iter().collect();
    all.sort_by_key(|error| error.index);
    all
}

fn rejected(outcome: &Outcome) -> Vec<&Rejected> {
    let mut all: Vec<&Rejected> = outcome.verdicts.rejected.iter().collect();
    all.sort_by_key(|row| row.index);
    all
}

/// Whether what is taken at a glance, as small bodies are, is what reading takes; also where others were taken before.
fn looked_at((shape, reading): How<'_>, input: &[u8], whole: &Result<Outcome>) {
    let Ok(mut reader) = TextReader::json(shape, reading.clone()) else { return };
    let Some(rows) = reader.take(input) else { return };
    let whole = whole.as_ref().unwrap_or_else(|error| panic!("what fits at a glance is refused: {error:?}"));
    assert_eq!((whole.rows, whole.verdicts.total, whole.wishes.len()), (rows, 0, 0), "at a glance it fits");
    assert_eq!(reader.take(input), Some(rows), "what fits once fits twice");
    let columns = reader.columns().expect("columns");
    assert_eq!(columns.num_rows(), 2 * rows);
    for start in [0, rows] {
        assert!(Some(columns.slice(start, rows)) == whole.taken, "{columns:?}, {:?}", whole.taken);
    }
}
