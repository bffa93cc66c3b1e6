//! One row of text → one value for each column, or what is wrong with it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::coerce::{self, Misfit};
use super::columns::{Members, Node, Shape, Spans, Wanted};
use super::decode::{CAPTURED, Evolution, Reading, Unknown};
use super::json::infer::{Guess, Looker, Mixing};
use super::json::lexer::{Kind, Lexer, Syntax};
use super::manner::{Leniency, Manner};
use super::rewriting::{Rewriting, Texts};
use super::scalar::{or_leniently, push_cell, push_number, push_text, wrong_type};
use super::values::Values;
use super::verdict::{Path, Row, Verdicts};
use super::wishes::capturing;
use crate::catalog::metadata::types::Primitive;
use crate::error::{Error, Result};

/// Columns that take rows, and what was wrong with rows so far.
pub(super) struct Rows {
    pub(super) members: Members,
    arrow: SchemaRef,
    pub(super) manner: Manner,
    /// What is made of a row before it is read.
    pub(super) rewriting: Option<Rewriting>,
    /// What texts are in the row that is read.
    pub(super) texts: Texts,
    pub(super) nesting: usize,
    /// What was made of the row that was last found to be wrong.
    pub(super) made: Option<String>,
    pub(super) unknown: Unknown,
    evolution: Evolution,
    /// The column that takes what no other column takes.
    pub(super) capture: Option<usize>,
    pub(super) verdicts: Verdicts,
    /// Whether a row asked for what the schema does not have.
    pub(super) wishing: bool,
    /// Whether a row had a field that the schema does not have.
    pub(super) strangers: bool,
    /// Fields of the present row that the table has no column for, where one column takes them all.
    pub(super) captured: serde_json::Map<String, serde_json::Value>,
    /// Counts objects: a field that carries the current number has had its value.
    stamp: usize,
}

/// What is wrong so far, to be gone back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    listed: usize,
    rejected: usize,
    bad_rows: usize,
    total: usize,
    pub(super) wishing: bool,
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
            manner: reading.manner,
            rewriting: reading.rewriting.clone(),
            texts: Texts::AsTheyAre,
            made: None,
            nesting: reading.bounds.nesting,
            unknown: reading.unknown,
            evolution: reading.evolution,
            verdicts: Verdicts::new(reading.on_error),
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
        let Verdicts { listed, rejected, bad_rows, total, .. } = &self.verdicts;
        let (listed, rejected) = (listed.len(), rejected.len());
        Mark { listed, rejected, bad_rows: *bad_rows, total: *total, wishing: self.wishing }
    }

    /// Whether something was found to be wrong since.
    pub(super) fn is_worse_than(&self, mark: Mark) -> bool {
        self.verdicts.total > mark.total
    }

    /// Takes back what a row was found to be before it was found to be unfinished. Its values go when the columns do.
    pub(super) fn back_to(&mut self, mark: Mark, row: usize) {
        self.ask_no_more(row, mark);
        let Mark { listed, rejected, bad_rows, total, .. } = mark;
        self.verdicts.listed.truncate(listed);
        self.verdicts.rejected.truncate(rejected);
        (self.verdicts.bad_rows, self.verdicts.total) = (bad_rows, total);
        self.captured.clear();
        self.made = None;
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
pub(super) struct At<'a, 'p> {
    pub(super) row: Row<'a>,
    pub(super) path: &'p Path<'p>,
    pub(super) depth: usize,
}

impl Rows {
    /// Takes a row.
    pub(super) fn row<'a>(&mut self, lexer: &mut Lexer<'a>, row: Row<'a>) -> std::result::Result<(), Syntax> {
        match self.rewriting.clone() {
            None => self.object_row(lexer, row),
            Some(rewriting) => {
                let text = lexer.skip(0)?;
                self.rewritten(&rewriting, text, row);
                Ok(())
            }
        }
    }

    /// Takes a row as it is.
    pub(super) fn object_row<'a>(&mut self, lexer: &mut Lexer<'a>, row: Row<'a>) -> std::result::Result<(), Syntax> {
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
            lexer.skip(0).map(drop)
        };
        self.members = members;
        self.captured.clear();
        self.verdicts.bad_rows += usize::from(self.verdicts.total > before);
        read
    }

    /// Notes that a row cannot be read at all.
    pub(super) fn unreadable(&mut self, row: Row<'_>, misfit: Misfit) {
        self.verdicts.add(row, &Path::Root, misfit);
        self.verdicts.bad_rows += 1;
    }

    fn object<'a>(
        &mut self,
        lexer: &mut Lexer<'a>,
        members: &mut Members,
        at: At<'a, '_>,
    ) -> std::result::Result<(), Syntax> {
        let At { row, path, depth } = at;
        let stamp = self.next_object(members);
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
        self.fill(members, at);
        Ok(())
    }

    /// Begins with another object, of which every column may have one value.
    pub(super) fn next_object(&mut self, members: &mut Members) -> usize {
        self.stamp += 1;
        members.object = self.stamp;
        self.stamp
    }

    /// Gives every column that had no value in an object one of none.
    pub(super) fn fill(&mut self, members: &mut Members, at: At<'_, '_>) {
        let At { row, path, depth } = at;
        let stamp = members.object;
        for (index, node) in members.nodes.iter_mut().enumerate() {
            let captures = depth == 0 && self.capture == Some(index) && !self.captured.is_empty();
            match (node.seen == stamp, captures) {
                (true, false) => {}
                (true, true) => {
                    let detail = "the column takes what no other column takes, and the row has both";
                    self.verdicts.add(row, &Path::Field(path, &node.name), Misfit::new("duplicate_key", detail));
                }
                (false, true) => node.push_text(&serde_json::Value::Object(self.captured.clone()).to_string()),
                (false, false) if node.required => {
                    let name = Arc::clone(&node.name);
                    self.nothing(node, row, &Path::Field(path, &name));
                }
                (false, false) => node.push_null(),
            }
        }
    }

    pub(super) fn value<'a>(
        &mut self,
        lexer: &mut Lexer<'a>,
        node: &mut Node,
        at: At<'a, '_>,
    ) -> std::result::Result<(), Syntax> {
        let At { row, path, depth } = at;
        let kind = lexer.kind()?;
        if kind == Kind::Null {
            lexer.word(kind)?;
            self.nothing(node, row, path);
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
                    // A text is no number unless it may be one.
                    let counts =
                        kind == Kind::Number || self.texts == Texts::Cells || self.manner.leniency == Leniency::Lenient;
                    if !counts || !self.widen(node, lexer.since(start).trim_matches('"')) {
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
            (_, Kind::Number) => {
                let number = lexer.number()?;
                or_leniently(push_number(values, number, self.manner), values, (kind, number), self.manner)
            }
            (_, Kind::String) => {
                let text = lexer.string()?;
                let fit = match self.texts {
                    Texts::AsTheyAre => push_text(values, &text, self.manner),
                    Texts::Cells => push_cell(values, &text, self.manner),
                };
                or_leniently(fit, values, (kind, &text), self.manner)
            }
            _ => {
                let json = lexer.skip(depth)?;
                or_leniently(Err(wrong_type(values, kind)), values, (kind, json), self.manner)
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
        self.may_wish(members, row);
        match self.unknown {
            Unknown::Add => match members.wished_for(key, row.index) {
                Wanted::Is(guess) => {
                    let cells = self.texts == Texts::Cells;
                    let mixing = if cells { Mixing::IsText } else { Mixing::of(self.manner) };
                    let mut looker = Looker { row, verdicts: &mut self.verdicts, mixing };
                    if cells && lexer.kind()? == Kind::String {
                        looker.cell(&lexer.string()?, guess, path);
                    } else {
                        looker.value(lexer, guess, path, depth)?;
                    }
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
                self.want_capture(members, row);
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

    /// Asks for the column that takes what no other column takes.
    pub(super) fn want_capture(&mut self, members: &mut Members, row: Row<'_>) {
        if let Wanted::Is(guess) = members.wished_for(CAPTURED, row.index) {
            *guess = Guess::text(row.index);
        }
        self.wishing = true;
    }

    /// No value for a column.
    pub(super) fn nothing(&mut self, node: &mut Node, row: Row<'_>, path: &Path<'_>) {
        if node.required {
            self.null(node, row, path);
        }
        node.push_null();
    }

    /// No value for a column that is required: it may become optional, or the row is wrong.
    fn null(&mut self, node: &mut Node, row: Row<'_>, path: &Path<'_>) {
        if self.evolution.grows() && node.may_relax() {
            node.relaxed = true;
            self.wishing = true;
        } else {
            let misfit = Misfit::new("null_in_required", "the column is required and has no value");
            self.verdicts.add(row, path, misfit);
        }
    }

    /// Whether a value that does not fit its column would fit one that is wider.
    pub(super) fn widen(&mut self, node: &mut Node, text: &str) -> bool {
        if self.evolution == Evolution::Strict {
            return false;
        }
        let wider = match &node.values {
            Values::Int(_) => {
                let number = coerce::integer(text, i64::MIN, i64::MAX, "long").ok();
                number.filter(|number| i32::try_from(*number).is_err()).map(|_| Primitive::Long)
            }
            Values::Float(_) => coerce::double(text).ok().map(|_| Primitive::Double),
            Values::Decimal(_, precision, scale) => {
                coerce::decimal(text, 38, *scale, self.manner.rounding).ok().and_then(|value| {
                    let digits = u8::try_from(value.unsigned_abs().checked_ilog10().unwrap_or(0) + 1).unwrap_or(38);
                    (digits > *precision).then_some(Primitive::Decimal { precision: digits, scale: *scale })
                })
            }
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

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rows")
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
