//! Columns under construction, and the Arrow types they become.
//!
//! A [`Node`] is one field of the table's schema with a builder for its values. Rows are decoded straight into a tree of
//! nodes; [`Node::finish`] gives the Arrow array. Field ids stand in the metadata of each Arrow field, where the Parquet
//! writer finds them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, FixedSizeBinaryBuilder,
    Float32Builder, Float64Builder, Int32Builder, Int64Builder, ListArray, MapArray, NullArray, NullBufferBuilder,
    StringBuilder, StructArray, Time64MicrosecondBuilder, TimestampMicrosecondBuilder, TimestampNanosecondBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field as ArrowField, Fields, TimeUnit};
use indexmap::IndexMap;

use super::json::infer::Guess;
use crate::catalog::metadata::schema::Field;
use crate::catalog::metadata::types::{Primitive, Type};
use crate::error::{Error, Kind, Result};
use crate::limits;

/// Values that there is room for at first: many a request has one row.
const FIRST: usize = 16;

/// The key under which the Parquet writer looks for a field's id.
const FIELD_ID: &str = "PARQUET:field_id";

/// One field and its values so far.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
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
    arrow: Arc<ArrowField>,
}

/// The values of a field, by its type.
#[derive(Debug)]
pub(super) enum Values {
    Boolean(BooleanBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder, u8, u8),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder, bool),
    TimestampNs(TimestampNanosecondBuilder, bool),
    String(StringBuilder),
    Uuid(FixedSizeBinaryBuilder),
    Fixed(FixedSizeBinaryBuilder, usize),
    Binary(BinaryBuilder),
    Struct(Members),
    List(Box<Node>, Spans),
    Map(Box<Node>, Box<Node>, Spans),
}

/// The fields of a struct.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) nodes: Vec<Node>,
    by_name: HashMap<String, usize>,
    validity: NullBufferBuilder0,
    /// Fields that rows have and the struct has not, and the object that last had each.
    wished: IndexMap<String, (Guess, usize)>,
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
        let by_name = nodes.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect();
        Ok(Self {
            nodes,
            by_name,
            validity: NullBufferBuilder0::default(),
            wished: IndexMap::new(),
            object: usize::MAX,
        })
    }

    /// Says which columns must always have a value: what identifies a row is never optional.
    pub(super) fn keep_required(&mut self, identifiers: &[i32]) {
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

    /// A field whose name differs from this one in case only.
    fn twin_of(&self, name: &str) -> Option<String> {
        let lower = name.to_lowercase();
        let mut names = self.nodes.iter().map(|node| &node.name).chain(self.wished.keys());
        names.find(|known| *known != name && known.to_lowercase() == lower).cloned()
    }

    /// The fields that rows have and the struct has not.
    pub(super) fn wished(&self) -> impl Iterator<Item = (&String, &Guess)> {
        self.wished.iter().map(|(name, (guess, _))| (name, guess))
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
        if self.nodes.get(guess).is_some_and(|node| node.name == name) {
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
    fn new() -> Self {
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
        let (name, required) = (field.name.clone(), field.required);
        let (id, arrow) = (field.id, Arc::new(arrow));
        Ok(Self { name, required, values, seen: usize::MAX, id, wider: None, relaxed: false, identifies: false, arrow })
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

fn map_entries(key: &Arc<ArrowField>, value: &Arc<ArrowField>) -> Arc<ArrowField> {
    let fields: Fields = vec![Arc::clone(key), Arc::clone(value)].into();
    Arc::new(ArrowField::new("key_value", DataType::Struct(fields), false))
}

/// An array that does not fit its type: a null in a required field, which the decoder has reported.
fn arrow_fault(error: arrow::error::ArrowError) -> Error {
    Error::internal("Columns do not fit together").because(error)
}

impl Values {
    fn new(name: &str, kind: &Type) -> Result<Self> {
        Ok(match kind {
            Type::Primitive(primitive) => Self::primitive(name, primitive)?,
            Type::Struct(fields) => Self::Struct(Members::new(fields)?),
            Type::List(element) => Self::List(Box::new(Node::new(element)?), Spans::new()),
            Type::Map(key, value) => {
                if key.kind != Type::Primitive(Primitive::String) {
                    return Err(cannot_write(name, kind));
                }
                Self::Map(Box::new(Node::new(key)?), Box::new(Node::new(value)?), Spans::new())
            }
        })
    }

    fn primitive(name: &str, primitive: &Primitive) -> Result<Self> {
        use Primitive as P;
        Ok(match primitive {
            P::Boolean => Self::Boolean(BooleanBuilder::with_capacity(FIRST)),
            P::Int => Self::Int(Int32Builder::with_capacity(FIRST)),
            P::Long => Self::Long(Int64Builder::with_capacity(FIRST)),
            P::Float => Self::Float(Float32Builder::with_capacity(FIRST)),
            P::Double => Self::Double(Float64Builder::with_capacity(FIRST)),
            P::Decimal { precision, scale } => {
                let kind = DataType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(0));
                Self::Decimal(Decimal128Builder::with_capacity(FIRST).with_data_type(kind), *precision, *scale)
            }
            P::Date => Self::Date(Date32Builder::with_capacity(FIRST)),
            P::Time => Self::Time(Time64MicrosecondBuilder::with_capacity(FIRST)),
            P::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(FIRST), false),
            P::Timestamptz => {
                Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(FIRST).with_timezone(UTC), true)
            }
            P::TimestampNs => Self::TimestampNs(TimestampNanosecondBuilder::with_capacity(FIRST), false),
            P::TimestamptzNs => {
                Self::TimestampNs(TimestampNanosecondBuilder::with_capacity(FIRST).with_timezone(UTC), true)
            }
            P::String => Self::String(StringBuilder::with_capacity(FIRST, FIRST)),
            P::Uuid => Self::Uuid(FixedSizeBinaryBuilder::with_capacity(FIRST, 16)),
            P::Fixed(length) if *length > limits::FIXED_BYTES_MAX => {
                return Err(cannot_write(name, &Type::Primitive(primitive.clone())));
            }
            P::Fixed(length) => {
                let size =
                    i32::try_from(*length).map_err(|_| cannot_write(name, &Type::Primitive(primitive.clone())))?;
                Self::Fixed(FixedSizeBinaryBuilder::with_capacity(FIRST, size), usize::try_from(size).unwrap_or(0))
            }
            P::Binary => Self::Binary(BinaryBuilder::with_capacity(FIRST, FIRST)),
            P::Unknown | P::Variant | P::Geometry(_) | P::Geography(_) | P::Other(_) => {
                return Err(cannot_write(name, &Type::Primitive(primitive.clone())));
            }
        })
    }

    /// The values of a leaf, all of them; of what holds others, nothing.
    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Long(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder, ..) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder, _) => Arc::new(builder.finish()),
            Self::TimestampNs(builder, _) => Arc::new(builder.finish()),
            Self::String(builder) => Arc::new(builder.finish()),
            Self::Uuid(builder) | Self::Fixed(builder, _) => Arc::new(builder.finish()),
            Self::Binary(builder) => Arc::new(builder.finish()),
            Self::Struct(_) | Self::List(..) | Self::Map(..) => Arc::new(NullArray::new(0)),
        }
    }

    /// Bytes that a row takes in these columns whatever it holds, null included.
    fn row_bytes(&self) -> usize {
        match self {
            Self::Boolean(_) => 1,
            Self::Int(_) | Self::Float(_) | Self::Date(_) | Self::String(_) | Self::Binary(_) => 4,
            Self::Long(_) | Self::Double(_) | Self::Time(_) | Self::Timestamp(..) | Self::TimestampNs(..) => 8,
            Self::Decimal(..) | Self::Uuid(_) => 16,
            Self::Fixed(_, length) => *length,
            Self::Struct(members) => members.row_bytes(),
            Self::List(..) | Self::Map(..) => 4,
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Boolean(_) => DataType::Boolean,
            Self::Int(_) => DataType::Int32,
            Self::Long(_) => DataType::Int64,
            Self::Float(_) => DataType::Float32,
            Self::Double(_) => DataType::Float64,
            Self::Decimal(_, precision, scale) => DataType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(0)),
            Self::Date(_) => DataType::Date32,
            Self::Time(_) => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp(_, zoned) => DataType::Timestamp(TimeUnit::Microsecond, zoned.then(|| UTC.into())),
            Self::TimestampNs(_, zoned) => DataType::Timestamp(TimeUnit::Nanosecond, zoned.then(|| UTC.into())),
            Self::String(_) => DataType::Utf8,
            Self::Uuid(_) => DataType::FixedSizeBinary(16),
            Self::Fixed(_, length) => DataType::FixedSizeBinary(i32::try_from(*length).unwrap_or(i32::MAX)),
            Self::Binary(_) => DataType::Binary,
            Self::Struct(members) => DataType::Struct(members.arrow_fields()),
            Self::List(element, _) => DataType::List(Arc::clone(&element.arrow)),
            Self::Map(key, value, _) => DataType::Map(map_entries(&key.arrow, &value.arrow), false),
        }
    }
}

/// How Arrow names UTC without a database of zones.
const UTC: &str = "+00:00";

fn cannot_write(name: &str, kind: &Type) -> Error {
    Error::new(
        Kind::Unprocessable,
        format!(
            "Column {name:?} has type {kind}, which ingest cannot write: write to this table with an engine that can"
        ),
    )
    .with_code("unsupported_type")
}
