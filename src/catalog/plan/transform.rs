//! Partition transforms of values, and back.
//!
//! [`pulled_back`] says what a partition value means for the column it was made from; [`applied`] what a range of a column
//! means for a transform of it. Both keep everything that may be meant. The transforms are those of the table format's
//! specification ("Partition Transforms", "Appendix B: 32-bit Hash Requirements").

use std::io::Cursor;

use super::range::{Bound, Known, Range, Share, after_prefix};
use crate::catalog::metadata::single_value::{DAY_MICROS, DAY_NANOS, month_of, month_start};
use crate::catalog::metadata::spec::Transform;
use crate::catalog::metadata::types::Primitive;
use crate::snapshot::value::Value;

/// The type of what a transform makes of a column; `None` where that is not known, or it makes nothing.
pub(super) fn result_type(transform: &Transform, source: &Primitive) -> Option<Primitive> {
    if !transform.applies_to(source) {
        return None;
    }
    match transform {
        Transform::Identity | Transform::Truncate(_) => Some(source.clone()),
        Transform::Year | Transform::Month | Transform::Hour | Transform::Bucket(_) => Some(Primitive::Int),
        Transform::Day => Some(Primitive::Date),
        Transform::Void | Transform::Other(_) => None,
    }
}

/// The bucket of a value.
pub(super) fn bucket(kind: &Primitive, value: &Value<'_>, buckets: u32) -> Option<i64> {
    let hash = match value {
        Value::Integer(number) => {
            // Whatever the unit, a moment is in the bucket of its microsecond.
            let nanos = matches!(kind, Primitive::TimestampNs | Primitive::TimestamptzNs);
            let number = if nanos { number.div_euclid(1_000) } else { *number };
            hashed(&number.to_le_bytes())?
        }
        Value::Decimal(unscaled) => hashed(shortest(&unscaled.to_be_bytes()))?,
        Value::Bytes(bytes) => hashed(bytes)?,
        Value::Uuid(bytes) => hashed(bytes)?,
        Value::Boolean(_) | Value::Real(_) => return None,
    };
    Some(i64::from((hash & 0x7fff_ffff) % buckets))
}

fn hashed(bytes: &[u8]) -> Option<u32> {
    murmur3::murmur3_32(&mut Cursor::new(bytes), 0).ok()
}

/// The fewest bytes that are the same number in two's complement.
fn shortest(bytes: &[u8; 16]) -> &[u8] {
    let redundant = |at: usize| {
        let sign = bytes[at + 1] & 0x80;
        bytes[at] == if sign == 0 { 0 } else { 0xff }
    };
    let start = (0..15).find(|at| !redundant(*at)).unwrap_or(15);
    &bytes[start..]
}

/// What partition values in a range say of the column they were made from.
pub(super) fn pulled_back<'a>(transform: &Transform, source: &Primitive, known: &Known<'a>) -> Known<'a> {
    let (lower, upper) = (known.range.lower.as_ref(), known.range.upper.as_ref());
    let range = if wraps(transform, source, upper) {
        Range::default()
    } else {
        Range::between(
            lower.and_then(|bound| from(transform, source, &bound.value)),
            upper.and_then(|bound| to(transform, source, &bound.value)),
        )
    };
    Known { range, ..known.clone() }
}

/// Whether a cut number is so large that it may be what writers make of the least ones, whose cut does not fit the type.
fn wraps(transform: &Transform, source: &Primitive, upper: Option<&Bound<'_>>) -> bool {
    let (Transform::Truncate(width), Some(Bound { value: Value::Integer(number), .. })) = (transform, upper) else {
        return false;
    };
    let most = if *source == Primitive::Int { i64::from(i32::MAX) } else { i64::MAX };
    number.checked_add(i64::from(*width) - 1).is_none_or(|end| end > most)
}

/// The lowest value that this can have been made from.
fn from<'a>(transform: &Transform, source: &Primitive, value: &Value<'a>) -> Option<Bound<'a>> {
    let lowest = match (transform, value) {
        (Transform::Identity | Transform::Truncate(_), value) => value.clone(),
        // Writers once rounded moments before 1970 towards it, so that up to there a unit may hold the one before.
        (_, Value::Integer(unit)) => {
            Value::Integer(start_of(transform, source, unit.checked_sub(i64::from(*unit <= 0))?)?)
        }
        _ => return None,
    };
    Some(Bound::closed(lowest))
}

/// The end of the values that this can have been made from.
fn to<'a>(transform: &Transform, source: &Primitive, value: &Value<'a>) -> Option<Bound<'a>> {
    Some(match (transform, value) {
        (Transform::Identity, value) => Bound::closed(value.clone()),
        (Transform::Truncate(width), Value::Integer(number)) => {
            Bound::closed(Value::Integer(number.checked_add(i64::from(*width) - 1)?))
        }
        (Transform::Truncate(width), Value::Decimal(number)) => {
            Bound::closed(Value::Decimal(number.checked_add(i128::from(*width) - 1)?))
        }
        // What is shorter than the width was not cut.
        (Transform::Truncate(width), Value::Bytes(bytes)) if cut(source, bytes, *width).is_none() => {
            Bound::closed(value.clone())
        }
        (Transform::Truncate(_), Value::Bytes(bytes)) => Bound::open(after_prefix(bytes)?),
        (_, Value::Integer(unit)) => Bound::open(Value::Integer(start_of(transform, source, unit.checked_add(1)?)?)),
        _ => return None,
    })
}

/// The first `width` characters (or bytes), if there are as many.
fn cut<'a>(source: &Primitive, bytes: &'a [u8], width: u32) -> Option<&'a [u8]> {
    let width = width as usize;
    let text = std::str::from_utf8(bytes).ok().filter(|_| *source == Primitive::String);
    match text {
        Some(text) => {
            let (last, character) = text.char_indices().nth(width.checked_sub(1)?)?;
            bytes.get(..last + character.len_utf8())
        }
        None => bytes.get(..width),
    }
}

/// The first moment of a year, month, day or hour, in the unit of the column's type.
fn start_of(transform: &Transform, source: &Primitive, unit: i64) -> Option<i64> {
    let day = day_of(source)?;
    let days = match transform {
        Transform::Year => month_start(unit.checked_mul(12)?)?,
        Transform::Month => month_start(unit)?,
        Transform::Day => unit,
        Transform::Hour if day >= 24 => return unit.checked_mul(day / 24),
        _ => return None,
    };
    days.checked_mul(day)
}

/// How many units of the type a day has.
fn day_of(source: &Primitive) -> Option<i64> {
    match source {
        Primitive::Date => Some(1),
        Primitive::Timestamp | Primitive::Timestamptz => Some(DAY_MICROS),
        Primitive::TimestampNs | Primitive::TimestamptzNs => Some(DAY_NANOS),
        _ => None,
    }
}

/// What is known of a transform of a column.
pub(super) fn applied<'a>(transform: &Transform, source: &Primitive, known: &Known<'a>) -> Known<'a> {
    let range = match transform {
        // Buckets keep no order; one value is in one bucket.
        Transform::Bucket(buckets) => {
            let one = known.range.point().and_then(|point| bucket(source, point, *buckets)).map(Value::Integer);
            Range::closed(one.clone(), one)
        }
        _ => {
            let of = |bound: &Option<Bound<'a>>| apply(transform, source, &bound.as_ref()?.value);
            Range::closed(of(&known.range.lower), of(&known.range.upper))
        }
    };
    Known { range, ..known.clone() }
}

/// A transform that keeps order, of one value.
fn apply<'a>(transform: &Transform, source: &Primitive, value: &Value<'a>) -> Option<Value<'a>> {
    Some(match (transform, value) {
        (Transform::Identity, value) => value.clone(),
        (Transform::Truncate(width), Value::Integer(number)) => {
            Value::Integer(number.checked_sub(number.rem_euclid(i64::from(*width)))?)
        }
        (Transform::Truncate(width), Value::Decimal(number)) => {
            Value::Decimal(number.checked_sub(number.rem_euclid(i128::from(*width)))?)
        }
        (Transform::Truncate(width), Value::Bytes(bytes)) => match cut(source, bytes, *width) {
            Some(cut) => Value::Bytes(cut.to_vec().into()),
            None => value.clone(),
        },
        (_, Value::Integer(moment)) => {
            let day = day_of(source)?;
            let days = moment.div_euclid(day);
            Value::Integer(match transform {
                Transform::Year => month_of(days)?.div_euclid(12),
                Transform::Month => month_of(days)?,
                Transform::Day => days,
                Transform::Hour if day >= 24 => moment.div_euclid(day / 24),
                _ => return None,
            })
        }
        _ => return None,
    })
}

/// What a partition value says of itself.
pub(super) fn known_of<'a>(value: Option<Value<'a>>) -> Known<'a> {
    match value {
        None => Known { range: Range::default(), nulls: Share::All, nans: Share::None },
        // How NaN compares differs between engines: nothing is said of it but that it is one.
        Some(Value::Real(real)) if real.is_nan() => {
            Known { range: Range::default(), nulls: Share::None, nans: Share::Some }
        }
        Some(value) => {
            Known { range: Range::closed(Some(value.clone()), Some(value)), nulls: Share::None, nans: Share::None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Primitive {
        Primitive::parse(text).expect("a type")
    }

    #[test]
    fn hashes_are_those_of_the_specification() {
        // "Appendix B" gives hashes; modulo 2^31 they are buckets of a table that has so many.
        let of = |text: &str, value: Value<'_>| bucket(&kind(text), &value, 1 << 31).expect("hashed");
        assert_eq!(of("int", Value::Integer(34)), 2_017_239_379);
        assert_eq!(
            of("decimal(9,2)", Value::Decimal(1420)),
            i64::from((-500_754_589_i32).cast_unsigned() & 0x7fff_ffff)
        );
        assert_eq!(of("date", Value::Integer(17_486)), i64::from((-653_330_422_i32).cast_unsigned() & 0x7fff_ffff));
        assert_eq!(of("string", Value::bytes(b"iceberg")), 1_210_000_089);
        let moment = 1_510_871_468_000_001;
        let micros = of("timestamp", Value::Integer(moment));
        assert_eq!(micros, i64::from((-1_207_196_810_i32).cast_unsigned() & 0x7fff_ffff));
        assert_eq!(of("timestamp_ns", Value::Integer(moment * 1_000 + 1)), micros);
        assert_eq!(bucket(&kind("double"), &Value::Real(1.0), 16), None);
    }

    #[test]
    fn a_partition_value_stands_for_a_range() {
        let back = |transform: Transform, source: &str, value: Value<'static>| {
            pulled_back(&transform, &kind(source), &known_of(Some(value))).range
        };
        let ends =
            |range: Range<'static>| (range.lower.map(|end| end.value), range.upper.map(|end| (end.value, end.open)));
        let day = back(Transform::Day, "timestamp", Value::Integer(2));
        assert_eq!(ends(day), (Some(Value::Integer(2 * DAY_MICROS)), Some((Value::Integer(3 * DAY_MICROS), true))));
        let year = back(Transform::Year, "date", Value::Integer(2));
        assert_eq!(ends(year), (Some(Value::Integer(730)), Some((Value::Integer(1096), true))));
        let before = back(Transform::Hour, "timestamp_ns", Value::Integer(0));
        assert_eq!(ends(before).0, Some(Value::Integer(-DAY_NANOS / 24)));
        let tens = back(Transform::Truncate(10), "int", Value::Integer(-10));
        assert_eq!(ends(tens), (Some(Value::Integer(-10)), Some((Value::Integer(-1), false))));
        for (kind, most) in [("int", i64::from(i32::MAX)), ("long", i64::MAX)] {
            assert_eq!(ends(back(Transform::Truncate(5), kind, Value::Integer(most - 1))), (None, None), "{kind}");
        }
        let cut = back(Transform::Truncate(2), "string", Value::bytes("éa".as_bytes()));
        assert_eq!(ends(cut).1, Some((Value::bytes("éb".as_bytes()), true)));
        let whole = back(Transform::Truncate(2), "string", Value::bytes(b"a"));
        assert_eq!(ends(whole).1, Some((Value::bytes(b"a"), false)));
        let far = back(Transform::Year, "timestamp", Value::Integer(i64::MAX / 2));
        assert_eq!(ends(far), (None, None));
    }

    #[test]
    fn a_range_of_a_column_is_a_range_of_its_transform() {
        let range = Range::closed(Some(Value::Integer(-1)), Some(Value::Integer(DAY_MICROS)));
        let known = Known { range, nulls: Share::None, nans: Share::None };
        let of = |transform: Transform| applied(&transform, &kind("timestamp"), &known).range;
        let closed = |lower, upper| Range::closed(Some(Value::Integer(lower)), Some(Value::Integer(upper)));
        assert_eq!(of(Transform::Day), closed(-1, 1));
        assert_eq!(of(Transform::Hour), closed(-1, 24));
        assert_eq!(of(Transform::Month), closed(-1, 0));
        assert_eq!(of(Transform::Year), closed(-1, 0));
        assert_eq!(of(Transform::Bucket(4)), Range::default());
    }
}
