//! The values of one column while they come in, by its type.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, FixedSizeBinaryBuilder, Float32Builder,
    Float64Builder, Int32Builder, Int64Builder, NullArray, StringBuilder, Time64MicrosecondBuilder,
    TimestampMicrosecondBuilder, TimestampNanosecondBuilder,
};
use arrow::datatypes::{DataType, TimeUnit};

use super::columns::{Members, Node, Spans, map_entries};
use crate::catalog::metadata::types::{Primitive, Type};
use crate::error::{Error, Kind, Result};
use crate::limits;

/// Values that there is room for at first: many a request has one row.
pub(super) const FIRST: usize = 16;

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

impl Values {
    pub(super) fn new(name: &str, kind: &Type) -> Result<Self> {
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
            P::Decimal { precision, scale } => Self::decimal(*precision, *scale),
            P::Date => Self::Date(Date32Builder::with_capacity(FIRST)),
            P::Time => Self::Time(Time64MicrosecondBuilder::with_capacity(FIRST)),
            P::Timestamp => Self::timestamp(false),
            P::Timestamptz => {
                Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(FIRST).with_timezone(UTC), true)
            }
            P::TimestampNs => Self::timestamp_ns(false),
            P::TimestamptzNs => Self::timestamp_ns(true),
            P::String => Self::String(StringBuilder::with_capacity(FIRST, FIRST)),
            P::Uuid => Self::Uuid(FixedSizeBinaryBuilder::with_capacity(FIRST, 16)),
            P::Fixed(length) if *length > limits::FIXED_BYTES_MAX => {
                return Err(cannot_write(name, &Type::Primitive(primitive.clone())));
            }
            P::Fixed(length) => Self::fixed(usize::try_from(*length).unwrap_or(usize::MAX)),
            P::Binary => Self::Binary(BinaryBuilder::with_capacity(FIRST, FIRST)),
            P::Unknown | P::Variant | P::Geometry(_) | P::Geography(_) | P::Other(_) => {
                return Err(cannot_write(name, &Type::Primitive(primitive.clone())));
            }
        })
    }

    /// The same type without values.
    pub(super) fn like(&self) -> Self {
        match self {
            Self::Boolean(_) => Self::Boolean(BooleanBuilder::with_capacity(FIRST)),
            Self::Int(_) => Self::Int(Int32Builder::with_capacity(FIRST)),
            Self::Long(_) => Self::Long(Int64Builder::with_capacity(FIRST)),
            Self::Float(_) => Self::Float(Float32Builder::with_capacity(FIRST)),
            Self::Double(_) => Self::Double(Float64Builder::with_capacity(FIRST)),
            Self::Decimal(_, precision, scale) => Self::decimal(*precision, *scale),
            Self::Date(_) => Self::Date(Date32Builder::with_capacity(FIRST)),
            Self::Time(_) => Self::Time(Time64MicrosecondBuilder::with_capacity(FIRST)),
            Self::Timestamp(_, zoned) => Self::timestamp(*zoned),
            Self::TimestampNs(_, zoned) => Self::timestamp_ns(*zoned),
            Self::String(_) => Self::String(StringBuilder::with_capacity(FIRST, FIRST)),
            Self::Uuid(_) => Self::Uuid(FixedSizeBinaryBuilder::with_capacity(FIRST, 16)),
            Self::Fixed(_, size) => Self::fixed(*size),
            Self::Binary(_) => Self::Binary(BinaryBuilder::with_capacity(FIRST, FIRST)),
            Self::Struct(members) => Self::Struct(members.like()),
            Self::List(element, _) => Self::List(Box::new(element.like()), Spans::new()),
            Self::Map(key, value, _) => Self::Map(Box::new(key.like()), Box::new(value.like()), Spans::new()),
        }
    }

    fn decimal(precision: u8, scale: u8) -> Self {
        let kind = DataType::Decimal128(precision, i8::try_from(scale).unwrap_or(0));
        Self::Decimal(Decimal128Builder::with_capacity(FIRST).with_data_type(kind), precision, scale)
    }

    fn timestamp(zoned: bool) -> Self {
        let builder = TimestampMicrosecondBuilder::with_capacity(FIRST);
        Self::Timestamp(builder.with_timezone_opt(zoned.then_some(UTC)), zoned)
    }

    fn timestamp_ns(zoned: bool) -> Self {
        let builder = TimestampNanosecondBuilder::with_capacity(FIRST);
        Self::TimestampNs(builder.with_timezone_opt(zoned.then_some(UTC)), zoned)
    }

    fn fixed(size: usize) -> Self {
        // Bounded where the column is first seen.
        let width = i32::try_from(size).unwrap_or(i32::MAX);
        Self::Fixed(FixedSizeBinaryBuilder::with_capacity(FIRST, width), size)
    }

    /// The values of a leaf, all of them; of what holds others, nothing.
    pub(super) fn finish(&mut self) -> ArrayRef {
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
    pub(super) fn row_bytes(&self) -> usize {
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

    pub(super) fn data_type(&self) -> DataType {
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
pub(super) const UTC: &str = "+00:00";

fn cannot_write(name: &str, kind: &Type) -> Error {
    Error::new(
        Kind::Unprocessable,
        format!(
            "Column {name:?} has type {kind}, which ingest cannot write: write to this table with an engine that can"
        ),
    )
    .with_code("unsupported_type")
}
