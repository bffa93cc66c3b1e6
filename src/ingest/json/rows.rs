//! One row of JSON → one value for each column, or what is wrong with it.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::sync::Arc;

use super::Mark;
use super::infer::{Guess, Looker, settled};
use super::lexer::{Kind, Lexer, Syntax};
use crate::catalog::metadata::types::Primitive;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::ingest::coerce::{self, Misfit, TimePrecision, Unit};
use crate::ingest::columns::{Members, Node, Shape, Spans, Wanted};
use crate::ingest::decode::{CAPTURED, Evolution, Reading, Unknown};
use crate::ingest::evolve::Wish;
use crate::ingest::values::Values;
use crate::ingest::verdict::{Path, Row, Verdicts};

/// Columns that take rows, and what was wrong with rows so far.
pub(super) struct Rows {
    pub(super) members: Members,
    arrow: SchemaRef,
    precision: TimePrecision,
    unknown: Unknown,
    evolution: Evolution,
    /// The column that takes what no other column takes.
    capture: Option<usize>,
    pub(super) verdicts: Verdicts,
    /// Whether a row asked for what the schema does not have.
    pub(super) wishing: bool,
    /// Whether a row had a field that the schema does not have.
    strangers: bool,
    /// Fields of the present row that the table has no column for, where one column takes them all.
    captured: serde_json::Map<String, serde_json::Value>,
    /// Counts objects: a field that carries the current number has had its value.
    stamp: usize,
}

impl Rows {
    pub(super) fn new(shape: &Shape, reading: &Reading) -> Result<Self> {
        let members = shape.columns();
        let capture = match reading.unknown {
            Unknown::Capture => capturing(&members, reading.evolution)?,
            _ => None,
        };
        Ok(Self {
            members,
            arrow: Arc::clone(&shape.arrow),
            capture,
            precision: reading.precision,
            unknown: reading.unknown,
            evolution: reading.evolution,
            verdicts: Verdicts::default(),
            wishing: false,
            strangers: false,
            captured: serde_json::Map::new(),
            stamp: 0,
        })
    }

    /// Bytes that a row takes whatever it holds.
    pub(super) fn row_bytes(&self) -> usize {
        self.members.row_bytes().max(1)
    }

    /// Where things stand before a row.
    pub(super) fn mark(&self) -> Mark {
        Mark::of(&self.verdicts, self.wishing)
    }

    /// Takes back what a row was found to be before it was found to be unfinished. Its values go when the columns do.
    pub(super) fn back_to(&mut self, mark: Mark) {
        let Mark { listed, bad_rows, total, wishing } = mark;
        self.verdicts.listed.truncate(listed);
        (self.verdicts.bad_rows, self.verdicts.total, self.wishing) = (bad_rows, total, wishing);
        self.captured.clear();
    }

    /// Forgets fields that no row had a value for: of another body they say nothing.
    pub(super) fn forget_wishes(&mut self) {
        if std::mem::take(&mut self.strangers) {
            self.members.forget_wishes();
        }
    }

    /// Drops every value.
    pub(super) fn discard(&mut self) {
        self.members.clear();
    }

    /// The columns of the last `rows` rows; what was begun after them is dropped.
    pub(super) fn finish(&mut self, rows: usize) -> Result<RecordBatch> {
        let schema = Arc::clone(&self.arrow);
        let columns = self.members.finish_arrays(rows)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, columns, &options)
            .map_err(|error| Error::internal("Columns do not make a batch").because(error))
    }
}

/// Where in a body a value stands.
#[derive(Clone, Copy)]
struct At<'a, 'p> {
    row: Row<'a>,
    path: &'p Path<'p>,
    depth: usize,
}

impl Rows {
    /// Takes a row.
    pub(super) fn row<'a>(&mut self, lexer: &mut Lexer<'a>, row: Row<'a>) -> std::result::Result<(), Syntax> {
        let before = self.verdicts.total;
        let kind = lexer.kind()?;
        let mut members = std::mem::take(&mut self.members);
        let read = if kind == Kind::Object {
            self.object(lexer, &mut members, At { row, path: &Path::Root, depth: 0 })
        } else {
            self.verdicts.add(
                row,
                &Path::Root,
                Misfit::new("wrong_type", format!("a row is an object, not {}", kind.word())),
            );
            lexer.skip(1).map(drop)
        };
        self.members = members;
        self.captured.clear();
        self.verdicts.bad_rows += usize::from(self.verdicts.total > before);
        read
    }

    fn object<'a>(
        &mut self,
        lexer: &mut Lexer<'a>,
        members: &mut Members,
        at: At<'a, '_>,
    ) -> std::result::Result<(), Syntax> {
        let At { row, path, depth } = at;
        self.stamp += 1;
        let stamp = self.stamp;
        members.object = stamp;
        let mut guess = 0;
        lexer.members(depth, |lexer, key| {
            let path = Path::Field(path, &key);
            let Some(index) = members.find(&key, guess) else {
                return self.unknown(lexer, members, &key, At { row, path: &path, depth: depth + 1 });
            };
            guess = index + 1;
            let node = &mut members.nodes[index];
            if std::mem::replace(&mut node.seen, stamp) == stamp {
                self.verdicts.add(row, &path, twice());
                return lexer.skip(depth + 1).map(drop);
            }
            self.value(lexer, node, At { row, path: &path, depth: depth + 1 })
        })?;
        for (index, node) in members.nodes.iter_mut().enumerate() {
            let captures = depth == 0 && self.capture == Some(index) && !self.captured.is_empty();
            match (node.seen == stamp, captures) {
                (true, false) => {}
                (true, true) => {
                    let detail = "the column takes what no other column takes, and the row has both";
                    self.verdicts.add(row, &Path::Field(path, &node.name), Misfit::new("duplicate_key", detail));
                }
                (false, true) => node.push_text(&serde_json::Value::Object(self.captured.clone()).to_string()),
                (false, false) => {
                    if node.required {
                        let name = Arc::clone(&node.name);
                        self.null(node, row, &Path::Field(path, &name));
                    }
                    node.push_null();
                }
            }
        }
        Ok(())
    }

    fn value<'a>(&mut self, lexer: &mut Lexer<'a>, node: &mut Node, at: At<'a, '_>) -> std::result::Result<(), Syntax> {
        let At { row, path, depth } = at;
        let kind = lexer.kind()?;
        if kind == Kind::Null {
            lexer.word(kind)?;
            if node.required {
                self.null(node, row, path);
            }
            node.push_null();
            return Ok(());
        }
        match (&mut node.values, kind) {
            (Values::Struct(members), Kind::Object) => {
                self.object(lexer, members, at)?;
                members.push_valid();
                Ok(())
            }
            (Values::List(element, spans), Kind::Array) => self.list(lexer, element, spans, at),
            (Values::Map(..), Kind::Object) => self.map(lexer, node, at),
            _ => {
                let start = lexer.place();
                let misfit = self.scalar(lexer, &mut node.values, kind, depth)?;
                if let Some(misfit) = misfit {
                    if !self.widen(node, lexer.since(start)) {
                        self.verdicts.add(row, path, misfit);
                    }
                    node.push_null();
                }
                Ok(())
            }
        }
    }

    fn list<'a>(
        &mut self,
        lexer: &mut Lexer<'a>,
        element: &mut Node,
        spans: &mut Spans,
        at: At<'a, '_>,
    ) -> std::result::Result<(), Syntax> {
        let At { row, path, depth } = at;
        let mut length = 0;
        lexer.items(depth, |lexer| {
            let path = Path::Item(path, length);
            length += 1;
            self.value(lexer, element, At { row, path: &path, depth: depth + 1 })
        })?;
        spans.push(length).ok_or(Syntax { at: lexer.place(), why: "lists have more than 2^31 items in all" })
    }

    fn map<'a>(&mut self, lexer: &mut Lexer<'a>, node: &mut Node, at: At<'a, '_>) -> std::result::Result<(), Syntax> {
        let At { row, path, depth } = at;
        let Values::Map(key_node, value_node, spans) = &mut node.values else { return Ok(()) };
        let mut names = std::collections::HashSet::new();
        let mut length = 0;
        lexer.members(depth, |lexer, key| {
            let path = Path::Field(path, &key);
            if !names.insert(key.to_string()) {
                self.verdicts.add(row, &path, Misfit::new("duplicate_key", "the key stands twice in one map"));
                return lexer.skip(depth + 1).map(drop);
            }
            if let Values::String(builder) = &mut key_node.values {
                builder.append_value(&key);
            }
            length += 1;
            self.value(lexer, value_node, At { row, path: &path, depth: depth + 1 })
        })?;
        spans.push(length).ok_or(Syntax { at: lexer.place(), why: "maps have more than 2^31 entries in all" })
    }

    /// Takes a value that is no container of the column's kind; what does not fit is returned, and nothing was pushed.
    fn scalar<'a>(
        &self,
        lexer: &mut Lexer<'a>,
        values: &mut Values,
        kind: Kind,
        depth: usize,
    ) -> std::result::Result<Option<Misfit>, Syntax> {
        let fit = match (&mut *values, kind) {
            (Values::Boolean(builder), Kind::True | Kind::False) => {
                lexer.word(kind)?;
                builder.append_value(kind == Kind::True);
                Ok(())
            }
            (_, Kind::Number) => push_number(values, lexer.number()?),
            (_, Kind::String) => push_text(values, &lexer.string()?, self.precision),
            _ => {
                lexer.skip(depth)?;
                Err(wrong_type(values, kind))
            }
        };
        Ok(fit.err())
    }

    /// A field that the table has no column for; `at` is the place of its value.
    fn unknown<'a>(
        &mut self,
        lexer: &mut Lexer<'a>,
        members: &mut Members,
        key: &str,
        at: At<'a, '_>,
    ) -> std::result::Result<(), Syntax> {
        let At { row, path, depth } = at;
        self.strangers = true;
        match self.unknown {
            Unknown::Add => match members.wished_for(key, row.index) {
                Wanted::Is(guess) => {
                    Looker { row, verdicts: &mut self.verdicts }.value(lexer, guess, path, depth)?;
                    self.wishing |= guess.is_something();
                }
                Wanted::Twice => {
                    self.verdicts.add(row, path, twice());
                    lexer.skip(depth)?;
                }
                Wanted::Twin(twin) => {
                    let detail = format!("{key:?} and {twin:?} differ in case only");
                    self.verdicts.add(row, path, Misfit::new("ambiguous_name", detail));
                    lexer.skip(depth)?;
                }
            },
            Unknown::Refuse => {
                if !is_nothing(&mut Lexer::new(lexer.skip(depth)?, usize::MAX), 0) {
                    self.verdicts.add(row, path, Misfit::new("unknown_field", "the table has no such column"));
                }
            }
            Unknown::Ignore => drop(lexer.skip(depth)?),
            Unknown::Capture if self.capture.is_none() => {
                lexer.skip(depth)?;
                if let Wanted::Is(guess) = members.wished_for(CAPTURED, row.index) {
                    *guess = Guess::text(row.index);
                }
                self.wishing = true;
            }
            Unknown::Capture => {
                let value = serde_json::from_str(lexer.skip(depth)?).unwrap_or_default();
                let name = if at.depth > 1 { path.pointer() } else { key.to_owned() };
                if self.captured.insert(name, value).is_some() {
                    self.verdicts.add(row, path, twice());
                }
            }
        }
        Ok(())
    }

    /// No value for a column that is required: it may become optional, or the row is wrong.
    fn null(&mut self, node: &mut Node, row: Row<'_>, path: &Path<'_>) {
        if self.evolution == Evolution::AddColumns && node.may_relax() {
            node.relaxed = true;
            self.wishing = true;
        } else {
            let misfit = Misfit::new("null_in_required", "the column is required and has no value");
            self.verdicts.add(row, path, misfit);
        }
    }

    /// Whether a value that does not fit its column would fit one that is wider.
    fn widen(&mut self, node: &mut Node, text: &str) -> bool {
        if self.evolution == Evolution::Strict {
            return false;
        }
        let text = text.trim_matches('"');
        let wider = match &node.values {
            Values::Int(_) => coerce::integer(text, i64::MIN, i64::MAX, "long").ok().map(|_| Primitive::Long),
            Values::Float(_) => coerce::double(text).ok().map(|_| Primitive::Double),
            Values::Decimal(_, precision, scale) => coerce::decimal(text, 38, *scale).ok().map(|value| {
                let digits = u8::try_from(value.unsigned_abs().checked_ilog10().unwrap_or(0) + 1).unwrap_or(38);
                Primitive::Decimal { precision: digits.max(*precision), scale: *scale }
            }),
            _ => None,
        };
        let wider = wider.map(|wider| match (&node.wider, wider) {
            (Some(Primitive::Decimal { precision: a, .. }), Primitive::Decimal { precision: b, scale }) => {
                Primitive::Decimal { precision: *a.max(&b), scale }
            }
            (_, wider) => wider,
        });
        let found = wider.is_some();
        node.wider = wider.or_else(|| node.wider.take());
        self.wishing |= found;
        found
    }
}

/// Where the column is that takes what no other column takes; `None` if it is to be made.
fn capturing(members: &Members, evolution: Evolution) -> Result<Option<usize>> {
    let unfit = |what: &str| {
        let message = format!("Unknown fields are captured in column {CAPTURED:?}, which {what}");
        Err(Error::new(ErrorKind::Unprocessable, message).with_code("no_capture_column"))
    };
    match members.find(CAPTURED, 0) {
        Some(index) if matches!(members.nodes[index].values, Values::String(_)) => Ok(Some(index)),
        Some(_) => unfit("is no text: leave them out with unknown_fields=ignore"),
        None if evolution == Evolution::Strict => unfit("does not exist: make it, or let schema=add-columns make it"),
        None => Ok(None),
    }
}

/// What was wished for of these columns and of those inside them; `parent` is the struct they are in.
pub(super) fn wishes_of(members: &Members, parent: Option<i32>, wishes: &mut Vec<Wish>) -> Result<()> {
    for node in &members.nodes {
        wishes_of_node(node, wishes)?;
    }
    for (name, guess) in members.wished() {
        if let Some(kind) = settled(guess)? {
            wishes.push(Wish::Add { parent, name: name.clone(), kind });
        }
    }
    Ok(())
}

fn wishes_of_node(node: &Node, wishes: &mut Vec<Wish>) -> Result<()> {
    if let Some(to) = &node.wider {
        wishes.push(Wish::Widen { id: node.id, to: to.clone() });
    }
    if node.relaxed {
        wishes.push(Wish::Relax { id: node.id });
    }
    match &node.values {
        Values::Struct(members) => wishes_of(members, Some(node.id), wishes),
        Values::List(element, _) => wishes_of_node(element, wishes),
        Values::Map(_, value, _) => wishes_of_node(value, wishes),
        _ => Ok(()),
    }
}

fn twice() -> Misfit {
    Misfit::new("duplicate_key", "the field stands twice in one object")
}

/// Whether a value holds nothing that could be a column's: null, or lists and objects of nothing.
fn is_nothing(lexer: &mut Lexer<'_>, depth: usize) -> bool {
    let mut nothing = true;
    let read = match lexer.kind() {
        Ok(Kind::Null) => return lexer.word(Kind::Null).is_ok(),
        Ok(Kind::Array) => lexer.items(depth, |lexer| {
            nothing &= is_nothing(lexer, depth + 1);
            if nothing { Ok(()) } else { Err(Syntax { at: 0, why: "" }) }
        }),
        Ok(Kind::Object) => lexer.members(depth, |lexer, _| {
            nothing &= is_nothing(lexer, depth + 1);
            if nothing { Ok(()) } else { Err(Syntax { at: 0, why: "" }) }
        }),
        _ => return false,
    };
    nothing && read.is_ok()
}

fn push_number(values: &mut Values, text: &str) -> std::result::Result<(), Misfit> {
    match values {
        Values::Int(builder) => {
            let value = coerce::integer(text, i64::from(i32::MIN), i64::from(i32::MAX), "int")?;
            builder.append_value(i32::try_from(value).unwrap_or_default());
        }
        Values::Long(builder) => builder.append_value(coerce::integer(text, i64::MIN, i64::MAX, "long")?),
        Values::Float(builder) => builder.append_value(coerce::float(text)?),
        Values::Double(builder) => builder.append_value(coerce::double(text)?),
        Values::Decimal(builder, precision, scale) => builder.append_value(coerce::decimal(text, *precision, *scale)?),
        _ => return Err(wrong_type(values, Kind::Number)),
    }
    Ok(())
}

fn push_text(values: &mut Values, text: &str, precision: TimePrecision) -> std::result::Result<(), Misfit> {
    match values {
        Values::String(builder) => builder.append_value(text),
        Values::Date(builder) => builder.append_value(coerce::date(text)?),
        Values::Time(builder) => builder.append_value(coerce::time(text, precision)?),
        Values::Timestamp(builder, zoned) => {
            builder.append_value(coerce::timestamp(text, Unit::Micro, *zoned, precision)?);
        }
        Values::TimestampNs(builder, zoned) => {
            builder.append_value(coerce::timestamp(text, Unit::Nano, *zoned, precision)?);
        }
        Values::Decimal(builder, digits, scale) if coerce::is_number(text) => {
            builder.append_value(coerce::decimal(text, *digits, *scale)?);
        }
        Values::Uuid(builder) => push_fixed(builder, &coerce::uuid(text)?)?,
        Values::Fixed(builder, length) => {
            let bytes = coerce::bytes(text)?;
            if bytes.len() != *length {
                let has = bytes.len();
                return Err(Misfit::new(
                    "wrong_length",
                    format!("the column holds exactly {length} bytes, the value has {has}"),
                ));
            }
            push_fixed(builder, &bytes)?;
        }
        Values::Binary(builder) => builder.append_value(coerce::bytes(text)?),
        _ => return Err(wrong_type(values, Kind::String)),
    }
    Ok(())
}

fn push_fixed(builder: &mut arrow::array::FixedSizeBinaryBuilder, bytes: &[u8]) -> std::result::Result<(), Misfit> {
    builder.append_value(bytes).map_err(|_| Misfit::new("wrong_length", "the value has another length than the column"))
}

fn wrong_type(values: &Values, kind: Kind) -> Misfit {
    let column = match values {
        Values::Boolean(_) => "true or false",
        Values::Int(_) | Values::Long(_) => "a whole number",
        Values::Float(_) | Values::Double(_) => "a number",
        Values::Decimal(..) => "a decimal number",
        Values::Date(_) => "a date as a text",
        Values::Time(_) => "a time as a text",
        Values::Timestamp(..) | Values::TimestampNs(..) => "a date and time as a text",
        Values::String(_) => "a text",
        Values::Uuid(_) => "a UUID as a text",
        Values::Fixed(..) | Values::Binary(_) => "bytes in base64",
        Values::Struct(_) | Values::Map(..) => "an object",
        Values::List(..) => "a list",
    };
    Misfit::new("wrong_type", format!("the column takes {column}, not {}", kind.word()))
}
