//! Column types, as the table format defines them, and those it may yet define.
//!
//! A [`Type`] is parsed from and written to the JSON of the format's specification ("Appendix C: JSON serialization").
//! A primitive type we do not know is kept by its text and takes part in nothing but loading and saving.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::Object;
use super::schema::Field;
use crate::error::{Error, Result};
use crate::limits;

/// A type without inner fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Primitive {
    /// `boolean`
    Boolean,
    /// `int`, 32 bits
    Int,
    /// `long`, 64 bits
    Long,
    /// `float`, 32 bits
    Float,
    /// `double`, 64 bits
    Double,
    /// `decimal(precision,scale)`
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `date`, days since 1970
    Date,
    /// `time`, microseconds of the day
    Time,
    /// `timestamp`, microseconds, no zone
    Timestamp,
    /// `timestamptz`, microseconds, UTC
    Timestamptz,
    /// `timestamp_ns`, nanoseconds, no zone (v3)
    TimestampNs,
    /// `timestamptz_ns`, nanoseconds, UTC (v3)
    TimestamptzNs,
    /// `string`, UTF-8
    String,
    /// `uuid`
    Uuid,
    /// `fixed[n]`
    Fixed(u64),
    /// `binary`
    Binary,
    /// `unknown`, always null (v3)
    Unknown,
    /// `variant` (v3)
    Variant,
    /// `geometry` with its parameters as text (v3)
    Geometry(String),
    /// `geography` with its parameters as text (v3)
    Geography(String),
    /// A type that is not known here, as it was written.
    Other(String),
}

impl Primitive {
    /// Parses the text of a primitive type; text that looks like no type is kept as [`Primitive::Other`].
    pub fn parse(text: &str) -> Result<Self> {
        let simple = match text {
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::Timestamptz,
            "timestamp_ns" => Self::TimestampNs,
            "timestamptz_ns" => Self::TimestamptzNs,
            "string" => Self::String,
            "uuid" => Self::Uuid,
            "binary" => Self::Binary,
            "unknown" => Self::Unknown,
            "variant" => Self::Variant,
            _ => return Self::parse_with_parameters(text),
        };
        Ok(simple)
    }

    fn parse_with_parameters(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::invalid(format!("Cannot parse type {text:?}: {why}"));
        if let Some(inner) = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
            let (precision, scale) = inner.split_once(',').ok_or_else(|| bad("decimal needs precision and scale"))?;
            let precision: u8 = precision.trim().parse().map_err(|_| bad("the precision is not a number"))?;
            let scale: u8 = scale.trim().parse().map_err(|_| bad("the scale is not a number"))?;
            if !(1..=38).contains(&precision) || scale > precision {
                return Err(bad("decimal precision is 1 to 38 and the scale at most that"));
            }
            return Ok(Self::Decimal { precision, scale });
        }
        if let Some(inner) = text.strip_prefix("fixed[").and_then(|rest| rest.strip_suffix(']')) {
            return Ok(Self::Fixed(inner.trim().parse().map_err(|_| bad("the length is not a number"))?));
        }
        if text.starts_with("geometry") {
            return Ok(Self::Geometry(text.to_owned()));
        }
        if text.starts_with("geography") {
            return Ok(Self::Geography(text.to_owned()));
        }
        Ok(Self::Other(text.to_owned()))
    }

    /// The first format version that has this type.
    pub fn since_version(&self) -> u8 {
        match self {
            Self::TimestampNs
            | Self::TimestamptzNs
            | Self::Unknown
            | Self::Variant
            | Self::Geometry(_)
            | Self::Geography(_) => 3,
            _ => 1,
        }
    }
}

impl fmt::Display for Primitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Decimal { precision, scale } => return write!(f, "decimal({precision}, {scale})"),
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::TimestampNs => "timestamp_ns",
            Self::TimestamptzNs => "timestamptz_ns",
            Self::String => "string",
            Self::Uuid => "uuid",
            Self::Fixed(length) => return write!(f, "fixed[{length}]"),
            Self::Binary => "binary",
            Self::Unknown => "unknown",
            Self::Variant => "variant",
            Self::Geometry(text) | Self::Geography(text) | Self::Other(text) => text,
        };
        f.write_str(text)
    }
}

/// A column's type.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// A type without inner fields.
    Primitive(Primitive),
    /// `struct`
    Struct(Vec<Field>),
    /// `list`; the field's name is `element`
    List(Box<Field>),
    /// `map`; the fields' names are `key` and `value`
    Map(Box<Field>, Box<Field>),
}

impl Type {
    /// Reads a type from its JSON.
    pub fn parse(raw: &RawValue, depth: usize) -> Result<Self> {
        if depth > limits::SCHEMA_DEPTH_MAX {
            let max = limits::SCHEMA_DEPTH_MAX;
            return Err(Error::invalid(format!("Schema is nested deeper than {max} levels")));
        }
        if raw.get().starts_with('"') {
            let text: String = serde_json::from_str(raw.get())
                .map_err(|error| Error::malformed("A type's text cannot be read").because(error))?;
            return Ok(Self::Primitive(Primitive::parse(&text)?));
        }
        let mut object = Object::parse("Type", raw.get())?;
        let kind: String = object.need("type")?;
        match kind.as_str() {
            "struct" => Ok(Self::Struct(parse_fields(&object.need_raw("fields")?, depth)?)),
            "list" => Ok(Self::List(Box::new(parse_inner(&mut object, "element", depth)?))),
            "map" => {
                let key = Field { required: true, ..parse_inner(&mut object, "key", depth)? };
                Ok(Self::Map(Box::new(key), Box::new(parse_inner(&mut object, "value", depth)?)))
            }
            "variant" => Ok(Self::Primitive(Primitive::Variant)),
            other => Err(Error::invalid(format!("Cannot parse type {other:?}: expected struct, list or map"))),
        }
    }

    /// The inner fields, in the order that the format gives them.
    pub fn children(&self) -> Vec<&Field> {
        match self {
            Self::Primitive(_) => Vec::new(),
            Self::Struct(fields) => fields.iter().collect(),
            Self::List(element) => vec![element],
            Self::Map(key, value) => vec![key, value],
        }
    }

    /// The primitive type, if it is one.
    pub fn primitive(&self) -> Option<&Primitive> {
        match self {
            Self::Primitive(primitive) => Some(primitive),
            _ => None,
        }
    }
}

/// Reads the `fields` of a struct.
pub fn parse_fields(raw: &RawValue, depth: usize) -> Result<Vec<Field>> {
    let items = super::json::parse_array("Struct fields", raw.get())?;
    items.iter().map(|item| Field::parse(item, depth + 1)).collect()
}

fn parse_inner(object: &mut Object, name: &str, depth: usize) -> Result<Field> {
    let id = object.need(&format!("{name}-id"))?;
    let required = object.take(&format!("{name}-required"))?.unwrap_or(false);
    let kind = Type::parse(&object.need_raw(name)?, depth + 1)?;
    Ok(Field { required, ..Field::optional(id, name, kind) })
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primitive(primitive) => write!(f, "{primitive}"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {}", field.name, field.kind)?;
                }
                f.write_str(">")
            }
            Self::List(element) => write!(f, "list<{}>", element.kind),
            Self::Map(key, value) => write!(f, "map<{}, {}>", key.kind, value.kind),
        }
    }
}

impl Serialize for Type {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Primitive(primitive) = self {
            return serializer.collect_str(primitive);
        }
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Primitive(_) => {}
            Self::Struct(fields) => {
                map.serialize_entry("type", "struct")?;
                map.serialize_entry("fields", fields)?;
            }
            Self::List(element) => {
                map.serialize_entry("type", "list")?;
                map.serialize_entry("element-id", &element.id)?;
                map.serialize_entry("element", &element.kind)?;
                map.serialize_entry("element-required", &element.required)?;
            }
            Self::Map(key, value) => {
                map.serialize_entry("type", "map")?;
                map.serialize_entry("key-id", &key.id)?;
                map.serialize_entry("key", &key.kind)?;
                map.serialize_entry("value-id", &value.id)?;
                map.serialize_entry("value", &value.kind)?;
                map.serialize_entry("value-required", &value.required)?;
            }
        }
        map.end()
    }
}
