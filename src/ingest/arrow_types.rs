//! Arrow's types: which of them there can be, and the types that new columns get for them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, Fields, TimeUnit};

use crate::catalog::metadata::schema::Field;
use crate::catalog::metadata::types::{Primitive, Type};
use crate::error::{Error, Result as Checked};
use crate::limits;

/// Refuses decimals with more digits behind the point than there are, or with none: what writes them as text, and is not
/// ours, trusts that nobody says so.
pub(super) fn check(fields: &Fields) -> Checked<()> {
    fields.iter().try_for_each(|field| {
        if is_sound(field.data_type()) {
            return Ok(());
        }
        let message = format!("Column {:?} has type {}, which there cannot be", field.name(), field.data_type());
        Err(Error::malformed(message).with_code("malformed_body"))
    })
}

fn is_sound(kind: &DataType) -> bool {
    use DataType as D;
    let digits = |precision: u8, scale: i8, most: u8| {
        (1..=most).contains(&precision) && i16::from(scale) <= i16::from(precision)
    };
    match kind {
        D::Decimal32(precision, scale) => digits(*precision, *scale, 9),
        D::Decimal64(precision, scale) => digits(*precision, *scale, 18),
        D::Decimal128(precision, scale) => digits(*precision, *scale, 38),
        D::Decimal256(precision, scale) => digits(*precision, *scale, 76),
        D::List(inner)
        | D::LargeList(inner)
        | D::ListView(inner)
        | D::LargeListView(inner)
        | D::FixedSizeList(inner, _)
        | D::Map(inner, _)
        | D::RunEndEncoded(_, inner) => is_sound(inner.data_type()),
        D::Struct(members) => members.iter().all(|member| is_sound(member.data_type())),
        D::Union(members, _) => members.iter().all(|(_, member)| is_sound(member.data_type())),
        D::Dictionary(_, values) => is_sound(values),
        _ => true,
    }
}

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
            P::Decimal { precision, scale }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_decimals_without_digits() {
        let check_one = |kind: DataType| check(&Fields::from(vec![ArrowField::new("a", kind, true)]));
        for fine in
            [DataType::Decimal128(38, 38), DataType::Decimal32(5, -2), DataType::Decimal64(18, 0), DataType::Utf8]
        {
            check_one(fine).expect("there is such a type");
        }
        let inner = |kind| Arc::new(ArrowField::new("item", kind, true));
        for none in [
            DataType::Decimal128(0, 0),
            DataType::Decimal128(39, 0),
            DataType::Decimal32(2, 3),
            DataType::List(inner(DataType::Decimal64(0, 1))),
            DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Decimal256(77, 1))),
        ] {
            assert_eq!(check_one(none).expect_err("refused").code(), Some("malformed_body"));
        }
    }
}
