//! Partition specs and sort orders: how rows are laid out.
//!
//! Both are lists of transforms of source columns. What a transform can be applied to is the format specification's
//! table ("Partition Transforms"); transforms and members not known here are kept as they were written.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::{Extra, Object, parse_array};
use super::types::{Primitive, Type};
use crate::error::{Error, Result};

/// The id before the first partition field's.
pub const PARTITION_ID_START: i32 = 999;

/// How a partition or sort value is made from a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Transform {
    /// The value itself.
    Identity,
    /// Always null.
    Void,
    /// Years since 1970.
    Year,
    /// Months since 1970-01.
    Month,
    /// Days since 1970-01-01.
    Day,
    /// Hours since 1970-01-01T00.
    Hour,
    /// Hash modulo the number of buckets.
    Bucket(u32),
    /// The value cut to a width.
    Truncate(u32),
    /// A transform not known here, as it was written.
    Other(String),
}

impl Transform {
    /// Parses a transform's text.
    pub fn parse(text: &str) -> Self {
        let number = |name: &str| -> Option<u32> {
            text.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?.parse().ok().filter(|n| *n > 0)
        };
        match text.to_ascii_lowercase().as_str() {
            "identity" => Self::Identity,
            "void" => Self::Void,
            "year" => Self::Year,
            "month" => Self::Month,
            "day" => Self::Day,
            "hour" => Self::Hour,
            _ => number("bucket")
                .map(Self::Bucket)
                .or_else(|| number("truncate").map(Self::Truncate))
                .unwrap_or_else(|| Self::Other(text.to_owned())),
        }
    }

    /// Whether the transform may be applied to a column of this type. One not known here is taken on trust.
    pub fn applies_to(&self, kind: &Primitive) -> bool {
        use Primitive as P;
        let date = matches!(kind, P::Date);
        let moment = matches!(kind, P::Timestamp | P::Timestamptz | P::TimestampNs | P::TimestamptzNs);
        match self {
            Self::Void | Self::Other(_) => true,
            Self::Identity => !matches!(kind, P::Variant | P::Geometry(_) | P::Geography(_)),
            Self::Year | Self::Month | Self::Day => date || moment,
            Self::Hour => moment,
            Self::Bucket(_) => {
                date || moment
                    || matches!(kind, P::Int | P::Long | P::Decimal { .. } | P::Time | P::String | P::Uuid)
                    || matches!(kind, P::Fixed(_) | P::Binary | P::Other(_))
            }
            Self::Truncate(_) => {
                matches!(kind, P::Int | P::Long | P::Decimal { .. } | P::String | P::Binary | P::Other(_))
            }
        }
    }
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Void => f.write_str("void"),
            Self::Year => f.write_str("year"),
            Self::Month => f.write_str("month"),
            Self::Day => f.write_str("day"),
            Self::Hour => f.write_str("hour"),
            Self::Bucket(buckets) => write!(f, "bucket[{buckets}]"),
            Self::Truncate(width) => write!(f, "truncate[{width}]"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// The column or columns that a transform reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// One column, written as `source-id`.
    One(i32),
    /// Several, written as `source-ids` (v3).
    Many(Vec<i32>),
}

impl Source {
    fn take(object: &mut Object) -> Result<Self> {
        let many: Option<Vec<i32>> = object.take("source-ids")?;
        match (object.take("source-id")?, many) {
            (Some(one), _) => Ok(Self::One(one)),
            (None, Some(many)) if !many.is_empty() => Ok(Self::Many(many)),
            _ => Err(Error::malformed("A partition or sort field lacks \"source-id\"")),
        }
    }

    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match self {
            Self::One(id) => map.serialize_entry("source-id", id),
            Self::Many(ids) => map.serialize_entry("source-ids", ids),
        }
    }

    /// The columns' ids.
    pub fn ids(&self) -> &[i32] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }

    /// The same with every id replaced.
    #[must_use]
    pub fn map(&self, mut new: impl FnMut(i32) -> i32) -> Self {
        match self {
            Self::One(id) => Self::One(new(*id)),
            Self::Many(ids) => Self::Many(ids.iter().map(|id| new(*id)).collect()),
        }
    }
}

/// One field of a partition spec.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionField {
    /// The column it is made from.
    pub source: Source,
    /// Its id, from 1000; `None` while nobody has given it one.
    pub field_id: Option<i32>,
    /// Its name, which is a folder's name in the table's files.
    pub name: String,
    /// How it is made.
    pub transform: Transform,
    /// Members not known here.
    pub extra: Extra,
}

impl PartitionField {
    fn parse(raw: &RawValue) -> Result<Self> {
        let mut object = Object::parse("Partition field", raw.get())?;
        let transform: String = object.need("transform")?;
        Ok(Self {
            source: Source::take(&mut object)?,
            field_id: object.take("field-id")?,
            name: object.need("name")?,
            transform: Transform::parse(&transform),
            extra: object.rest(),
        })
    }
}

impl Serialize for PartitionField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("transform", &self.transform.to_string())?;
        self.source.write(&mut map)?;
        super::json::write_some(&mut map, "field-id", self.field_id.as_ref())?;
        self.extra.write(&mut map)?;
        map.end()
    }
}

/// A partition spec.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PartitionSpec {
    /// Its number within the table.
    pub spec_id: i32,
    /// Its fields, in order.
    pub fields: Vec<PartitionField>,
    /// Members not known here.
    pub extra: Extra,
}

impl PartitionSpec {
    /// Reads a spec as v2 and later write it.
    pub fn parse(raw: &RawValue) -> Result<Self> {
        let mut object = Object::parse("Partition spec", raw.get())?;
        // DuckDB sends "type":"struct" along, which means nothing here.
        object.take_raw("type");
        Ok(Self {
            spec_id: object.take("spec-id")?.unwrap_or(0),
            fields: Self::parse_fields(&object.need_raw("fields")?)?,
            extra: object.rest(),
        })
    }

    /// Reads the list of fields alone, as v1 writes `partition-spec`.
    pub fn parse_fields(raw: &RawValue) -> Result<Vec<PartitionField>> {
        let items = parse_array("Partition spec", raw.get())?;
        items.iter().map(|item| PartitionField::parse(item)).collect()
    }

    /// Whether rows would be laid out as by `other`, whatever the ids.
    pub fn same_layout(&self, other: &Self) -> bool {
        let alike = |a: &PartitionField, b: &PartitionField| {
            a.source == b.source && a.transform == b.transform && a.name == b.name
        };
        self.fields.len() == other.fields.len() && self.fields.iter().zip(&other.fields).all(|(a, b)| alike(a, b))
    }

    /// The highest field id given out, or the one before the first.
    pub fn highest_id(&self) -> i32 {
        self.fields.iter().filter_map(|field| field.field_id).max().unwrap_or(PARTITION_ID_START)
    }
}

impl Serialize for PartitionSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("spec-id", &self.spec_id)?;
        map.serialize_entry("fields", &self.fields)?;
        self.extra.write(&mut map)?;
        map.end()
    }
}

/// Whether small values come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Small first.
    Ascending,
    /// Large first.
    Descending,
}

/// Where nulls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NullOrder {
    /// Before all values.
    First,
    /// After all values.
    Last,
}

/// One field of a sort order.
#[derive(Debug, Clone, PartialEq)]
pub struct SortField {
    /// The column it is made from.
    pub source: Source,
    /// How it is made.
    pub transform: Transform,
    /// Its direction.
    pub direction: Direction,
    /// Where its nulls go.
    pub nulls: NullOrder,
    /// Members not known here.
    pub extra: Extra,
}

impl SortField {
    fn parse(raw: &RawValue) -> Result<Self> {
        let mut object = Object::parse("Sort field", raw.get())?;
        let transform: String = object.need("transform")?;
        let direction: String = object.need("direction")?;
        let nulls: String = object.need("null-order")?;
        Ok(Self {
            source: Source::take(&mut object)?,
            transform: Transform::parse(&transform),
            direction: match direction.to_ascii_lowercase().as_str() {
                "asc" => Direction::Ascending,
                "desc" => Direction::Descending,
                _ => return Err(Error::malformed(format!("Sort direction {direction:?} is neither asc nor desc"))),
            },
            nulls: match nulls.to_ascii_lowercase().as_str() {
                "nulls-first" => NullOrder::First,
                "nulls-last" => NullOrder::Last,
                _ => {
                    return Err(Error::malformed(format!(
                        "Null order {nulls:?} is neither nulls-first nor nulls-last"
                    )));
                }
            },
            extra: object.rest(),
        })
    }
}

impl Serialize for SortField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("transform", &self.transform.to_string())?;
        self.source.write(&mut map)?;
        let direction = if self.direction == Direction::Ascending { "asc" } else { "desc" };
        map.serialize_entry("direction", direction)?;
        let nulls = if self.nulls == NullOrder::First { "nulls-first" } else { "nulls-last" };
        map.serialize_entry("null-order", nulls)?;
        self.extra.write(&mut map)?;
        map.end()
    }
}

/// A sort order; number 0 is "unsorted" and has no fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SortOrder {
    /// Its number within the table.
    pub order_id: i32,
    /// Its fields, most significant first.
    pub fields: Vec<SortField>,
    /// Members not known here.
    pub extra: Extra,
}

impl SortOrder {
    /// Reads a sort order.
    pub fn parse(raw: &RawValue) -> Result<Self> {
        let mut object = Object::parse("Sort order", raw.get())?;
        let items = parse_array("Sort order", object.need_raw("fields")?.get())?;
        let order = Self {
            order_id: object.take("order-id")?.unwrap_or(i32::from(!items.is_empty())),
            fields: items.iter().map(|item| SortField::parse(item)).collect::<Result<_>>()?,
            extra: object.rest(),
        };
        if order.order_id == 0 && !order.fields.is_empty() {
            return Err(Error::illegal("Invalid sort order: order ID 0 is reserved for unsorted order"));
        }
        Ok(order)
    }
}

impl Serialize for SortOrder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("order-id", &self.order_id)?;
        map.serialize_entry("fields", &self.fields)?;
        self.extra.write(&mut map)?;
        map.end()
    }
}

/// Checks that `transform` can be applied to the column `id` of the schema that `find` looks in.
pub fn check_source<'a>(
    what: &str,
    transform: &Transform,
    id: i32,
    find: impl Fn(i32) -> Option<super::schema::Place<'a>>,
) -> Result<()> {
    if *transform == Transform::Void {
        return Ok(());
    }
    let Some(place) = find(id) else {
        return Err(Error::invalid(format!("Cannot find source column for {what}: {transform}({id})")));
    };
    let name = &place.field.name;
    let Type::Primitive(kind) = &place.field.kind else {
        let kind = &place.field.kind;
        return Err(Error::invalid(format!("Cannot use column {name:?} for {what}: {kind} is not a primitive type")));
    };
    if place.repeated {
        return Err(Error::invalid(format!("Cannot use column {name:?} for {what}: it lies inside a list or a map")));
    }
    if !transform.applies_to(kind) {
        return Err(Error::invalid(format!("Invalid source type {kind} for transform {transform} of {what} {name:?}")));
    }
    Ok(())
}
