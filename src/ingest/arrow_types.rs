//! Arrow's types → the types that new columns get.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, TimeUnit};

use crate::catalog::metadata::schema::Field;
use crate::catalog::metadata::types::{Primitive, Type};
use crate::limits;

/// The type of a column for these values: `None` where they say nothing, `Err` with a type that no column has. Fields
/// inside have no ids.
pub(super) fn type_of(field: &ArrowField, version: u8) -> Result<Option<Type>, DataType> {
    of(field, version, 0)
}

fn of(field: &ArrowField, version: u8, depth: usize) -> Result<Option<Type>, DataType> {
    use DataType as D;
    let kind = field.data_type();
    if depth > limits::SCHEMA_DEPTH_MAX {
        return Err(kind.clone());
    }
    let element = |element: &Arc<ArrowField>| {
        let kind = of(element, version, depth + 1)?;
        Ok(kind.map(|kind| Type::List(Box::new(Field::optional(0, "element", kind)))))
    };
    match kind {
        D::Null => Ok(None),
        D::Dictionary(_, values) => of(&ArrowField::new(field.name(), (**values).clone(), true), version, depth),
        D::List(inner) | D::LargeList(inner) | D::FixedSizeList(inner, _) => element(inner),
        D::Struct(members) => {
            let mut fields = Vec::with_capacity(members.len());
            for member in members {
                if let Some(kind) = of(member, version, depth + 1)? {
                    fields.push(Field::optional(0, member.name(), kind));
                }
            }
            Ok((!fields.is_empty()).then_some(Type::Struct(fields)))
        }
        D::Map(entries, _) => match entries.data_type() {
            D::Struct(pair) if pair.len() == 2 => {
                let (key, value) = (of(&pair[0], version, depth + 1)?, of(&pair[1], version, depth + 1)?);
                let (Some(key), Some(value)) = (key, value) else { return Ok(None) };
                if key != Type::Primitive(Primitive::String) {
                    return Err(kind.clone());
                }
                let key = Field { required: true, ..Field::optional(0, "key", key) };
                Ok(Some(Type::Map(Box::new(key), Box::new(Field::optional(0, "value", value)))))
            }
            _ => Err(kind.clone()),
        },
        _ => primitive(field, version).map(|kind| Some(Type::Primitive(kind))).ok_or_else(|| kind.clone()),
    }
}

fn primitive(field: &ArrowField, version: u8) -> Option<Primitive> {
    use DataType as D;
    use Primitive as P;
    Some(match field.data_type() {
        D::Boolean => P::Boolean,
        D::Int8 | D::Int16 | D::Int32 | D::UInt8 | D::UInt16 => P::Int,
        D::Int64 | D::UInt32 | D::UInt64 => P::Long,
        D::Float16 | D::Float32 => P::Float,
        D::Float64 => P::Double,
        D::Decimal32(precision, scale) | D::Decimal64(precision, scale) | D::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, u8::try_from(*scale).ok()?);
            ((1..=38).contains(&precision) && scale <= precision).then_some(P::Decimal { precision, scale })?
        }
        D::Date32 | D::Date64 => P::Date,
        D::Time32(_) | D::Time64(_) => P::Time,
        D::Timestamp(TimeUnit::Nanosecond, zone) if version >= 3 => {
            if zone.is_some() {
                P::TimestamptzNs
            } else {
                P::TimestampNs
            }
        }
        D::Timestamp(_, zone) => {
            if zone.is_some() {
                P::Timestamptz
            } else {
                P::Timestamp
            }
        }
        D::Utf8 | D::LargeUtf8 | D::Utf8View => P::String,
        D::Binary | D::LargeBinary | D::BinaryView => P::Binary,
        D::FixedSizeBinary(16) if field.extension_type_name() == Some("arrow.uuid") => P::Uuid,
        D::FixedSizeBinary(length) => P::Fixed(u64::try_from(*length).ok()?),
        _ => return None,
    })
}
