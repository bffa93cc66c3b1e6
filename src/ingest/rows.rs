//! A body of JSON rows → columns of the table's schema, with a verdict for every row.
//!
//! A body is a list of objects, or objects one after the other (one alone, or NDJSON). Text that is not JSON is refused
//! as a whole, with the byte it stops being so. A row that does not fit is noted, with every one of its faults, and the
//! others are still looked at: a request is refused once, with everything that is wrong.

use std::sync::Arc;

use arrow::datatypes::Schema as ArrowSchema;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::coerce::{self, Misfit, TimePrecision, Unit};
use super::columns::{Members, Node, Spans, Values};
use super::lexer::{Kind, Lexer, Syntax};
use super::verdict::{Path, Row, Verdicts};
use crate::catalog::metadata::schema::Schema;
use crate::error::{Error, Kind as ErrorKind, Result};

/// What a body may hold at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Rows.
    pub(super) rows: usize,
    /// Bytes of one row.
    pub(super) row_bytes: usize,
    /// Levels of nesting.
    pub(super) nesting: usize,
    /// Bytes of the columns, as far as the number of rows decides them.
    pub(super) column_bytes: usize,
}

/// The rows of a body that is JSON.
#[derive(Debug)]
pub(super) struct Decoded {
    /// Every row, if nothing is wrong with any.
    pub(super) batch: RecordBatch,
    /// How many rows there are.
    pub(super) rows: usize,
    /// What is wrong.
    pub(super) verdicts: Verdicts,
}

/// Decodes a body against a schema.
pub(super) fn decode(text: &str, schema: &Schema, precision: TimePrecision, bounds: Bounds) -> Result<Decoded> {
    let mut decoder =
        Decoder { members: Members::new(&schema.fields)?, precision, verdicts: Verdicts::default(), stamp: 0 };
    let mut rows = 0;
    // A row of a few bytes takes as much in a wide table as a full one: a table's width bounds a request's rows.
    let width = decoder.members.row_bytes().max(1);
    let bounds = Bounds { rows: bounds.rows.min((bounds.column_bytes / width).max(1)), ..bounds };
    each_row(text, bounds, |lexer, row| {
        rows += 1;
        decoder.row(lexer, row)
    })?;
    decoder.verdicts.bad_rows = decoder.verdicts.bad_rows.min(rows);
    let batch = if decoder.verdicts.is_empty() {
        decoder.finish(rows)?
    } else {
        RecordBatch::new_empty(Arc::new(ArrowSchema::new(decoder.members.arrow_fields())))
    };
    Ok(Decoded { batch, rows, verdicts: decoder.verdicts })
}

/// Calls `row` at the beginning of each row of a body.
pub(super) fn each_row<'a>(
    text: &'a str,
    bounds: Bounds,
    mut row: impl FnMut(&mut Lexer<'a>, Row<'a>) -> std::result::Result<(), Syntax>,
) -> Result<()> {
    let mut lexer = Lexer::new(text, bounds.nesting);
    let mut index = 0;
    let mut too_large = None;
    let mut one = |lexer: &mut Lexer<'a>| {
        lexer.peek();
        let start = lexer.place();
        row(lexer, Row { index, text, start })?;
        let length = lexer.place() - start;
        index += 1;
        if length > bounds.row_bytes {
            too_large.get_or_insert(format!(
                "Row {} has {length} bytes: at most {} are allowed",
                index - 1,
                bounds.row_bytes
            ));
        }
        if index > bounds.rows {
            too_large.get_or_insert(format!("Request has more than {} rows: send less at once", bounds.rows));
        }
        if too_large.is_some() { Err(Syntax { at: start, why: "" }) } else { Ok(()) }
    };
    let read = read_all(&mut lexer, &mut one);
    if let Some(message) = too_large {
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    read.map_err(|fault| not_json(text, &fault))?;
    if index == 0 {
        return Err(Error::malformed("Request has no rows: send at least one JSON object").with_code("no_rows"));
    }
    Ok(())
}

fn read_all<'a>(
    lexer: &mut Lexer<'a>,
    one: &mut impl FnMut(&mut Lexer<'a>) -> std::result::Result<(), Syntax>,
) -> std::result::Result<(), Syntax> {
    if lexer.peek() == Some(b'[') {
        lexer.items(0, &mut *one)?;
    } else {
        while lexer.peek().is_some() {
            one(lexer)?;
        }
    }
    match lexer.peek() {
        None => Ok(()),
        Some(_) => Err(Syntax { at: lexer.place(), why: "nothing may follow the list" }),
    }
}

/// The refusal of a body that is not JSON.
pub(super) fn not_json(text: &str, fault: &Syntax) -> Error {
    let before = &text.as_bytes()[..fault.at.min(text.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    Error::malformed(format!("Body is not JSON at byte {} (line {line}): {}", fault.at, fault.why))
        .with_code("malformed_json")
}

/// Where in a body a value stands.
#[derive(Clone, Copy)]
struct At<'a, 'p> {
    row: Row<'a>,
    path: &'p Path<'p>,
    depth: usize,
}

struct Decoder {
    members: Members,
    precision: TimePrecision,
    verdicts: Verdicts,
    /// Counts objects: a field that carries the current number has had its value.
    stamp: usize,
}

impl Decoder {
    fn row<'a>(&mut self, lexer: &mut Lexer<'a>, row: Row<'a>) -> std::result::Result<(), Syntax> {
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
        let mut guess = 0;
        lexer.members(depth, |lexer, key| {
            let path = Path::Field(path, &key);
            let Some(index) = members.find(&key, guess) else {
                if !is_nothing(&mut Lexer::new(lexer.skip(depth + 1)?, usize::MAX), 0) {
                    self.verdicts.add(row, &path, Misfit::new("unknown_field", "the table has no such column"));
                }
                return Ok(());
            };
            guess = index + 1;
            let node = &mut members.nodes[index];
            if std::mem::replace(&mut node.seen, stamp) == stamp {
                self.verdicts.add(row, &path, Misfit::new("duplicate_key", "the field stands twice in one object"));
                return lexer.skip(depth + 1).map(drop);
            }
            self.value(lexer, node, At { row, path: &path, depth: depth + 1 })
        })?;
        for node in &mut members.nodes {
            if node.seen != stamp {
                if node.required {
                    let path = Path::Field(path, &node.name);
                    self.verdicts.add(
                        row,
                        &path,
                        Misfit::new("null_in_required", "the column is required and has no value"),
                    );
                }
                node.push_null();
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
                self.verdicts.add(
                    row,
                    path,
                    Misfit::new("null_in_required", "the column is required and the value is null"),
                );
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
                let misfit = self.scalar(lexer, &mut node.values, kind, depth)?;
                if let Some(misfit) = misfit {
                    self.verdicts.add(row, path, misfit);
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

    fn finish(&mut self, rows: usize) -> Result<RecordBatch> {
        let schema = Arc::new(ArrowSchema::new(self.members.arrow_fields()));
        let columns = self.members.finish_arrays()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, columns, &options)
            .map_err(|error| Error::internal("Columns do not make a batch").because(error))
    }
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
