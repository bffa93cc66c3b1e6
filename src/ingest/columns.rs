//! Columns under construction, and the Arrow types they become.
//!
//! A [`Node`] is one field of the table's schema with a builder for its values. Rows are decoded straight into a tree of
//! nodes; [`Node::finish`] gives the Arrow array. Field ids stand in the metadata of each Arrow field, where the Parquet
//! writer finds them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, MapArray, NullBufferBuilder, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field as ArrowField, Fields, Schema as ArrowSchema, SchemaRef};
use indexmap::IndexMap;

use super::json::infer::Guess;
use super::values::{FIRST, Values};
use crate::catalog::metadata::schema::{Field, Schema};
use crate::catalog::metadata::types::Primitive;
use crate::error::{Error, Result};

/// The key under which the Parquet writer looks for a field's id.
const FIELD_ID: &str = "PARQUET:field_id";

/// What is the same for all rows of a schema, made once. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) schema: Arc<Schema>,
    /// The columns' names, types and ids.
    pub(super) arrow: SchemaRef,
    members: Arc<Members>,
}

impl Shape {
    /// That of a schema; types that cannot be written are refused, by name.
    pub(super) fn of(schema: &Arc<Schema>) -> Result<Self> {
        let mut members = Members::new(&schema.fields)?;
        members.keep_required(&schema.identifier_field_ids);
        let arrow = Arc::new(ArrowSchema::new(members.arrow_fields()));
        Ok(Self { schema: Arc::clone(schema), arrow, members: Arc::new(members) })
    }

    /// Bytes that a row takes whatever it holds.
    pub(super) fn row_bytes(&self) -> usize {
        self.members.row_bytes()
    }

    /// Columns without rows.
    pub(super) fn columns(&self) -> Members {
        self.members.like()
    }
}

/// One field and its values so far.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: Arc<str>,
    pub(super) required: bool,
    pub(super) values: Values,
    /// The row that last gave it a value, to notice names that come twice and those that do not come.
    pub(super) seen: usize,
    pub(super) id: i32,
    /// A type that would hold what a row has for it.
    pub(super) wider: Option<Primitive>,
    /// Whether it would have to be optional to take a row.
    pub(super) relaxed: bool,
    /// Whether it can never be optional.
    identifies: bool,
    pub(super) arrow: Arc<ArrowField>,
}

/// What is known of fields, and the object that last had each.
type Wished = IndexMap<String, (Guess, usize)>;

/// The fields of a struct.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) nodes: Vec<Node>,
    by_name: Arc<HashMap<Arc<str>, usize>>,
    validity: NullBufferBuilder0,
    /// Fields that rows have and the struct has not.
    wished: Wished,
    /// The same before a row, which may turn out to be left out.
    wished_before: Option<(usize, Wished)>,
    /// The object whose fields are being taken.
    pub(super) object: usize,
}

/// What is to be done with a field that the struct has not.
pub(super) enum Wanted<'a> {
    /// Its value says what it is.
    Is(&'a mut Guess),
    /// The object has had it.
    Twice,
    /// Its name differs from this one in case only.
    Twin(String),
}

/// Where each list begins and ends.
#[derive(Debug)]
pub(super) struct Spans {
    offsets: Vec<i32>,
    validity: NullBufferBuilder0,
}

/// A builder of validity that can be debugged and defaulted.
#[derive(Debug)]
struct NullBufferBuilder0(NullBufferBuilder);

impl Default for NullBufferBuilder0 {
    fn default() -> Self {
        Self(NullBufferBuilder::new(FIRST))
    }
}

impl NullBufferBuilder0 {
    fn first(mut self, values: usize) -> Option<NullBuffer> {
        self.0.finish().map(|nulls| nulls.slice(0, values)).filter(|nulls| nulls.null_count() > 0)
    }
}

impl Members {
    /// Nodes for these fields.
    pub(super) fn new(fields: &[Field]) -> Result<Self> {
        let nodes = fields.iter().map(Node::new).collect::<Result<Vec<_>>>()?;
        let by_name = nodes.iter().enumerate().map(|(index, node)| (Arc::clone(&node.name), index)).collect();
        Ok(Self {
            nodes,
            by_name: Arc::new(by_name),
            validity: NullBufferBuilder0::default(),
            wished: IndexMap::new(),
            wished_before: None,
            object: usize::MAX,
        })
    }

    /// The same fields without values.
    pub(super) fn like(&self) -> Self {
        Self {
            nodes: self.nodes.iter().map(Node::like).collect(),
            by_name: Arc::clone(&self.by_name),
            validity: NullBufferBuilder0::default(),
            wished: IndexMap::new(),
            wished_before: None,
            object: usize::MAX,
        }
    }

    /// Says which columns must always have a value: what identifies a row is never optional.
    fn keep_required(&mut self, identifiers: &[i32]) {
        for node in &mut self.nodes {
            node.identifies = identifiers.contains(&node.id);
            if let Values::Struct(members) = &mut node.values {
                members.keep_required(identifiers);
                // The struct around it neither.
                node.identifies |= members.nodes.iter().any(|inner| inner.identifies);
            }
        }
    }

    /// What is known of a field that the struct has not, and that the present object has.
    pub(super) fn wished_for(&mut self, name: &str, row: usize) -> Wanted<'_> {
        if !self.wished.contains_key(name) {
            if let Some(twin) = self.twin_of(name) {
                return Wanted::Twin(twin);
            }
            self.wished.insert(name.to_owned(), (Guess::nothing(row), usize::MAX));
        }
        match self.wished.get_mut(name) {
            Some((guess, last)) if *last != self.object => {
                *last = self.object;
                Wanted::Is(guess)
            }
            _ => Wanted::Twice,
        }
    }

    /// Keeps what was wished for before a row.
    pub(super) fn remember(&mut self, row: usize) {
        if self.wished_before.as_ref().is_none_or(|(known, _)| *known != row) {
            self.wished_before = Some((row, self.wished.clone()));
        }
    }

    /// Takes back what a row wished for, here and inside.
    pub(super) fn take_back(&mut self, row: usize) {
        if let Some((_, before)) = self.wished_before.take_if(|(known, _)| *known == row) {
            self.wished = before;
        }
        self.nodes.iter_mut().for_each(|node| node.take_back(row));
    }

    /// A field whose name differs from this one in case only.
    fn twin_of(&self, name: &str) -> Option<String> {
        let lower = name.to_lowercase();
        let mut names = self.nodes.iter().map(|node| &*node.name).chain(self.wished.keys().map(String::as_str));
        names.find(|known| *known != name && known.to_lowercase() == lower).map(str::to_owned)
    }

    /// The fields that rows have and the struct has not.
    pub(super) fn wished(&self) -> impl Iterator<Item = (&String, &Guess)> {
        self.wished.iter().map(|(name, (guess, _))| (name, guess))
    }

    /// Forgets what rows had and the struct has not.
    pub(super) fn forget_wishes(&mut self) {
        self.wished.clear();
        self.nodes.iter_mut().for_each(Node::forget_wishes);
    }

    /// Drops every value.
    pub(super) fn clear(&mut self) {
        self.validity = NullBufferBuilder0::default();
        for node in &mut self.nodes {
            node.clear();
        }
    }

    /// The field of this name; `guess` is where it was in the row before.
    pub(super) fn find(&self, name: &str, guess: usize) -> Option<usize> {
        if self.nodes.get(guess).is_some_and(|node| &*node.name == name) {
            return Some(guess);
        }
        self.by_name.get(name).copied()
    }

    /// Bytes that a row takes whatever it holds.
    pub(super) fn row_bytes(&self) -> usize {
        self.nodes.iter().map(|node| node.values.row_bytes() + 1).sum()
    }

    /// The Arrow fields.
    pub(super) fn arrow_fields(&self) -> Fields {
        self.nodes.iter().map(|node| Arc::clone(&node.arrow)).collect()
    }

    /// The first `rows` values of all fields; those of a row that was broken off behind them are dropped.
    pub(super) fn finish_arrays(&mut self, rows: usize) -> Result<Vec<ArrayRef>> {
        self.nodes.iter_mut().map(|node| node.finish(rows)).collect()
    }

    /// The struct at this place has a value, which its fields have taken.
    pub(super) fn push_valid(&mut self) {
        self.validity.0.append_non_null();
    }

    fn push_null(&mut self) {
        self.validity.0.append_null();
        for node in &mut self.nodes {
            node.push_null();
        }
    }
}

impl Spans {
    pub(super) fn new() -> Self {
        Self { offsets: vec![0], validity: NullBufferBuilder0::default() }
    }

    /// A list of `length` more items ends here.
    pub(super) fn push(&mut self, length: usize) -> Option<()> {
        let end = i32::try_from(length).ok().and_then(|length| self.offsets.last()?.checked_add(length))?;
        self.offsets.push(end);
        self.validity.0.append_non_null();
        Some(())
    }

    fn push_null(&mut self) {
        let end = self.offsets.last().copied().unwrap_or(0);
        self.offsets.push(end);
        self.validity.0.append_null();
    }

    /// The first `lists` lists, and how many items they have in all.
    fn take(&mut self, lists: usize) -> (OffsetBuffer<i32>, Option<NullBuffer>, usize) {
        let mut offsets = std::mem::replace(&mut self.offsets, vec![0]);
        offsets.truncate(lists + 1);
        let items = offsets.last().and_then(|end| usize::try_from(*end).ok()).unwrap_or(0);
        (OffsetBuffer::new(ScalarBuffer::from(offsets)), std::mem::take(&mut self.validity).first(lists), items)
    }
}

impl Node {
    /// A node for a field; types that cannot be written are refused, by name.
    pub(super) fn new(field: &Field) -> Result<Self> {
        let values = Values::new(&field.name, &field.kind)?;
        let metadata = HashMap::from([(FIELD_ID.to_owned(), field.id.to_string())]);
        let mut arrow = ArrowField::new(&field.name, values.data_type(), !field.required).with_metadata(metadata);
        if matches!(values, Values::Uuid(_)) {
            arrow = arrow.with_extension_type(arrow_schema::extension::Uuid);
        }
        let (name, required) = (field.name.as_str().into(), field.required);
        let (id, arrow) = (field.id, Arc::new(arrow));
        Ok(Self { name, required, values, seen: usize::MAX, id, wider: None, relaxed: false, identifies: false, arrow })
    }

    /// The same field without values.
    pub(super) fn like(&self) -> Self {
        let values = self.values.like();
        let (name, arrow) = (Arc::clone(&self.name), Arc::clone(&self.arrow));
        Self { name, arrow, values, seen: usize::MAX, wider: None, relaxed: false, ..*self }
    }

    /// Whether the column may become optional.
    pub(super) fn may_relax(&self) -> bool {
        !self.identifies
    }

    /// A text, in a column of texts.
    pub(super) fn push_text(&mut self, text: &str) {
        if let Values::String(builder) = &mut self.values {
            builder.append_value(text);
        }
    }

    fn take_back(&mut self, row: usize) {
        match &mut self.values {
            Values::Struct(members) => members.take_back(row),
            Values::List(element, _) => element.take_back(row),
            Values::Map(_, value, _) => value.take_back(row),
            _ => {}
        }
    }

    fn forget_wishes(&mut self) {
        (self.wider, self.relaxed) = (None, false);
        match &mut self.values {
            Values::Struct(members) => members.forget_wishes(),
            Values::List(element, _) => element.forget_wishes(),
            Values::Map(_, value, _) => value.forget_wishes(),
            _ => {}
        }
    }

    fn clear(&mut self) {
        match &mut self.values {
            Values::Struct(members) => members.clear(),
            Values::List(element, spans) => {
                element.clear();
                *spans = Spans::new();
            }
            Values::Map(key, value, spans) => {
                key.clear();
                value.clear();
                *spans = Spans::new();
            }
            leaf => drop(leaf.finish()),
        }
    }

    /// No value at this place. In a required field it only keeps the columns of equal length: the row is refused.
    pub(super) fn push_null(&mut self) {
        match &mut self.values {
            Values::Boolean(builder) => builder.append_null(),
            Values::Int(builder) => builder.append_null(),
            Values::Long(builder) => builder.append_null(),
            Values::Float(builder) => builder.append_null(),
            Values::Double(builder) => builder.append_null(),
            Values::Decimal(builder, ..) => builder.append_null(),
            Values::Date(builder) => builder.append_null(),
            Values::Time(builder) => builder.append_null(),
            Values::Timestamp(builder, _) => builder.append_null(),
            Values::TimestampNs(builder, _) => builder.append_null(),
            Values::String(builder) => builder.append_null(),
            Values::Uuid(builder) | Values::Fixed(builder, _) => builder.append_null(),
            Values::Binary(builder) => builder.append_null(),
            Values::Struct(members) => members.push_null(),
            Values::List(_, spans) | Values::Map(_, _, spans) => spans.push_null(),
        }
    }

    /// The array of the first `rows` values.
    pub(super) fn finish(&mut self, rows: usize) -> Result<ArrayRef> {
        match &mut self.values {
            Values::Struct(members) => finish_struct(members, rows),
            Values::List(element, spans) => {
                let (offsets, nulls, items) = spans.take(rows);
                let items = element.finish(items)?;
                let made = ListArray::try_new(Arc::clone(&element.arrow), offsets, items, nulls);
                Ok(Arc::new(made.map_err(arrow_fault)?))
            }
            Values::Map(key, value, spans) => {
                let (offsets, nulls, items) = spans.take(rows);
                let fields: Fields = vec![Arc::clone(&key.arrow), Arc::clone(&value.arrow)].into();
                let columns = vec![key.finish(items)?, value.finish(items)?];
                let entries = StructArray::try_new(fields, columns, None).map_err(arrow_fault)?;
                let made = MapArray::try_new(map_entries(&key.arrow, &value.arrow), offsets, entries, nulls, false);
                Ok(Arc::new(made.map_err(arrow_fault)?))
            }
            leaf => {
                let whole = leaf.finish();
                Ok(if whole.len() == rows { whole } else { whole.slice(0, rows) })
            }
        }
    }
}

fn finish_struct(members: &mut Members, rows: usize) -> Result<ArrayRef> {
    let nulls = std::mem::take(&mut members.validity).first(rows);
    let fields = members.arrow_fields();
    let arrays = members.finish_arrays(rows)?;
    let made = StructArray::try_new_with_length(fields, arrays, nulls, rows);
    Ok(Arc::new(made.map_err(arrow_fault)?))
}

pub(super) fn map_entries(key: &Arc<ArrowField>, value: &Arc<ArrowField>) -> Arc<ArrowField> {
    let fields: Fields = vec![Arc::clone(key), Arc::clone(value)].into();
    Arc::new(ArrowField::new("key_value", DataType::Struct(fields), false))
}

/// An array that does not fit its type: a null in a required field, which the decoder has reported.
fn arrow_fault(error: arrow::error::ArrowError) -> Error {
    Error::internal("Columns do not fit together").because(error)
}
