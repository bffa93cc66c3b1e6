//! Values of one Arrow type → values of another that can hold them, exactly or not at all.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, FixedSizeBinaryBuilder, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Decimal128Type, Field as ArrowField, Float32Type, Float64Type, Time64MicrosecondType, TimeUnit,
    TimestampNanosecondType,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::coerce::{self, Misfit};
use super::manner::{Manner, TimePrecision};
use crate::catalog::metadata::schema::Field;
use crate::catalog::metadata::types::{Primitive, Type};
use crate::error::{Error, Result};

/// What became of a column.
pub(super) struct Converted {
    /// The values; null where one could not be converted.
    pub(super) values: ArrayRef,
    /// The places of those, and why.
    pub(super) misfits: Vec<(usize, Misfit)>,
}

/// A column in the plainest of the forms that Arrow has for its values. Texts that are written once and meant many times
/// are spelled out: see [`spelled_out`].
pub(super) fn plain(values: &ArrayRef) -> Result<ArrayRef> {
    let list = |element: &Arc<ArrowField>| DataType::List(Arc::clone(element));
    let kind = match values.data_type() {
        DataType::Dictionary(_, kind) => match &**kind {
            DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
            DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
            kind => kind.clone(),
        },
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::LargeList(element) | DataType::FixedSizeList(element, _) => list(element),
        _ => return Ok(Arc::clone(values)),
    };
    cast(values, &kind).map_err(|error| Error::malformed("A column cannot be read").because(error))
}

/// Bytes that texts will take which stand in a column once and are meant many times.
pub(super) fn spelled_out(values: &ArrayRef) -> usize {
    let of_views = |views: &[u128]| views.iter().map(|view| usize::try_from(view & 0xffff_ffff).unwrap_or(0)).sum();
    match values.data_type() {
        DataType::Utf8View => of_views(values.as_string_view().views()),
        DataType::BinaryView => of_views(values.as_binary_view().views()),
        DataType::Dictionary(..) => {
            let Some(dictionary) = values.as_any_dictionary_opt() else { return 0 };
            let longest = longest(dictionary.values());
            // Exact only where it matters: few distinct texts are long.
            if longest.saturating_mul(values.len()) < SMALL_BYTES {
                return 0;
            }
            dictionary.normalized_keys().into_iter().map(|key| length_at(dictionary.values(), key)).sum()
        }
        DataType::Struct(_) => values.as_struct().columns().iter().map(spelled_out).sum(),
        DataType::List(_) => spelled_out(values.as_list::<i32>().values()),
        DataType::LargeList(_) => spelled_out(values.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => spelled_out(values.as_fixed_size_list().values()),
        DataType::Map(..) => spelled_out(values.as_map().keys()) + spelled_out(values.as_map().values()),
        _ => 0,
    }
}

/// Bytes that are not worth counting exactly.
const SMALL_BYTES: usize = 8 << 20;

fn longest(values: &ArrayRef) -> usize {
    (0..values.len()).map(|at| length_at(values, at)).max().unwrap_or(0)
}

fn length_at(values: &ArrayRef, at: usize) -> usize {
    if at >= values.len() {
        return 0;
    }
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().value(at).len(),
        DataType::LargeUtf8 => values.as_string::<i64>().value(at).len(),
        DataType::Utf8View => values.as_string_view().value(at).len(),
        DataType::Binary => values.as_binary::<i32>().value(at).len(),
        DataType::LargeBinary => values.as_binary::<i64>().value(at).len(),
        DataType::BinaryView => values.as_binary_view().value(at).len(),
        kind => kind.primitive_width().unwrap_or(16),
    }
}

/// Whether values of a type may be those of a column, each one judged by itself.
pub(super) fn may_become(from: &DataType, kind: &Primitive) -> bool {
    use DataType as D;
    use Primitive as P;
    match kind {
        P::Boolean => matches!(from, D::Boolean),
        P::Int | P::Long | P::Float | P::Double => from.is_integer() || from.is_floating(),
        P::Decimal { .. } => from.is_integer() || from.is_decimal(),
        P::Date => matches!(from, D::Date32 | D::Date64),
        P::Time => matches!(from, D::Time32(_) | D::Time64(_)),
        P::Timestamp | P::TimestampNs => matches!(from, D::Timestamp(_, None)),
        P::Timestamptz | P::TimestamptzNs => matches!(from, D::Timestamp(_, Some(_))),
        P::String => matches!(from, D::Utf8),
        P::Uuid => matches!(from, D::FixedSizeBinary(16) | D::Utf8),
        P::Fixed(_) | P::Binary => matches!(from, D::FixedSizeBinary(_) | D::Binary),
        _ => false,
    }
}

/// Converts a column that [`may_become`] another.
pub(super) fn convert(values: &ArrayRef, kind: &Primitive, to: &DataType, manner: Manner) -> Result<Converted> {
    if values.data_type() == to {
        return Ok(Converted { values: Arc::clone(values), misfits: Vec::new() });
    }
    match (kind, values.data_type()) {
        (Primitive::Uuid, DataType::Utf8) => uuids(values),
        (Primitive::Fixed(_), _) => fixed(values, to),
        (Primitive::Binary, DataType::FixedSizeBinary(_)) => Ok(binaries(values)),
        (Primitive::Timestamp | Primitive::Timestamptz, DataType::Timestamp(TimeUnit::Nanosecond, _))
            if manner.precision == TimePrecision::Truncate =>
        {
            Ok(Converted { values: cut_to_micros(values, to), misfits: Vec::new() })
        }
        _ => there_and_back(values, kind, to),
    }
}

fn cast(values: &ArrayRef, to: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    cast_with_options(values, to, &CastOptions { safe: true, ..CastOptions::default() })
}

fn there_and_back(values: &ArrayRef, kind: &Primitive, to: &DataType) -> Result<Converted> {
    // Of a type that there cannot be, such as a decimal without digits.
    let failed = |error| {
        let message = format!("A column of type {} cannot be read", values.data_type());
        Error::malformed(message).with_code("malformed_body").because(error)
    };
    let converted = cast(values, to).map_err(failed)?;
    let back = cast(&converted, values.data_type()).map_err(failed)?;
    let same: BooleanArray = not_distinct(values, &back).map_err(failed)?;
    let mut misfits = Vec::new();
    if same.false_count() > 0 {
        for at in (0..values.len()).filter(|at| !same.value(*at)) {
            // Zero is zero, whatever its sign.
            if matches!(kind, Primitive::Int | Primitive::Long) && is_zero(values, at) {
                continue;
            }
            misfits.push((at, misfit(values, at, kind, converted.is_null(at) || is_endless(&converted, at))));
        }
    }
    Ok(Converted { values: converted, misfits })
}

fn is_zero(values: &ArrayRef, at: usize) -> bool {
    match values.data_type() {
        DataType::Float64 => values.as_primitive::<Float64Type>().value(at) == 0.0,
        DataType::Float32 => values.as_primitive::<Float32Type>().value(at) == 0.0,
        _ => false,
    }
}

fn is_endless(values: &ArrayRef, at: usize) -> bool {
    match values.data_type() {
        DataType::Float64 => values.as_primitive::<Float64Type>().value(at).is_infinite(),
        DataType::Float32 => values.as_primitive::<Float32Type>().value(at).is_infinite(),
        _ => false,
    }
}

/// The places of values that a column of their own type does not hold: Arrow's types are wider than their names say.
pub(super) fn outside(values: &ArrayRef, field: &Field) -> Vec<(usize, Misfit)> {
    let Type::Primitive(kind) = &field.kind else { return Vec::new() };
    let valid = (0..values.len()).filter(|at| values.is_valid(*at));
    match (kind, values.data_type()) {
        (Primitive::Decimal { precision, .. }, DataType::Decimal128(..)) => {
            let decimals = values.as_primitive::<Decimal128Type>();
            let limit = 10_i128.pow(u32::from((*precision).min(38)));
            valid
                .filter(|at| decimals.value(*at).unsigned_abs() >= limit.unsigned_abs())
                .map(|at| (at, misfit(values, at, kind, true)))
                .collect()
        }
        (Primitive::Time, DataType::Time64(TimeUnit::Microsecond)) => {
            let times = values.as_primitive::<Time64MicrosecondType>();
            let bad = |at| (at, Misfit::new("bad_time", format!("{} is not a time of the day", times.value(at))));
            valid.filter(|at| !(0..86_400_000_000).contains(&times.value(*at))).map(bad).collect()
        }
        _ => Vec::new(),
    }
}

/// Why a value is not what it was after it was converted; `lost`: it could not be converted at all.
fn misfit(values: &ArrayRef, at: usize, kind: &Primitive, lost: bool) -> Misfit {
    use Primitive as P;
    let text = arrow::util::display::array_value_to_string(values, at).unwrap_or_default();
    let overflow = |code| Misfit::new(code, format!("{text} does not fit into {kind}"));
    match kind {
        P::Int | P::Long if values.data_type().is_floating() && !lost => {
            Misfit::new("not_integral", format!("{text} is not a whole number"))
        }
        P::Int | P::Long => overflow("int_overflow"),
        P::Float | P::Double if lost => overflow("float_overflow"),
        P::Float | P::Double => Misfit::new("inexact", format!("{kind} cannot hold {text} exactly")),
        P::Decimal { .. } if lost => overflow("decimal_overflow"),
        P::Decimal { scale, .. } => Misfit::new(
            "excess_scale",
            format!("{text} has more than {scale} digits after the point: nothing is rounded"),
        ),
        P::Date => Misfit::new("bad_date", format!("{text} is not a date alone")),
        _ if lost => overflow("timestamp_overflow"),
        _ => Misfit::new("sub_microsecond", format!("{text} is finer than {kind}: nothing is cut off")),
    }
}

/// The type that would hold a value which its column's does not.
pub(super) fn wider(kind: &Primitive, value: &ArrayRef, code: &str) -> Option<Primitive> {
    let wide = match (kind, code) {
        (Primitive::Int, "int_overflow") => Primitive::Long,
        (Primitive::Float, "inexact" | "float_overflow") => Primitive::Double,
        (Primitive::Decimal { precision, scale }, "decimal_overflow") => {
            let digits = match value.data_type() {
                DataType::Decimal32(digits, of) | DataType::Decimal64(digits, of) => {
                    i16::from(*digits) - i16::from(*of)
                }
                DataType::Decimal128(digits, of) => i16::from((*digits).max(own_digits(value))) - i16::from(*of),
                _ => 19,
            };
            let digits = u8::try_from(digits + i16::from(*scale)).ok();
            Primitive::Decimal {
                precision: digits.filter(|digits| (*precision + 1..=38).contains(digits))?,
                scale: *scale,
            }
        }
        _ => return None,
    };
    let to = match &wide {
        Primitive::Long => DataType::Int64,
        Primitive::Double => DataType::Float64,
        Primitive::Decimal { precision, scale } => DataType::Decimal128(*precision, i8::try_from(*scale).ok()?),
        _ => return None,
    };
    let converted = there_and_back(value, &wide, &to).ok()?;
    converted.misfits.is_empty().then_some(wide)
}

/// Digits of a decimal, which may be more than its type says that there are.
fn own_digits(value: &ArrayRef) -> u8 {
    let decimal = value.as_primitive::<Decimal128Type>().value(0).unsigned_abs();
    decimal.checked_ilog10().map_or(1, |log| u8::try_from(log + 1).unwrap_or(u8::MAX))
}

fn uuids(values: &ArrayRef) -> Result<Converted> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(values.len(), 16);
    let mut misfits = Vec::new();
    for (at, text) in values.as_string::<i32>().iter().enumerate() {
        match text.map(coerce::uuid) {
            None => builder.append_null(),
            Some(Ok(bytes)) => {
                builder.append_value(bytes).map_err(|error| Error::internal("A UUID has 16 bytes").because(error))?;
            }
            Some(Err(misfit)) => {
                builder.append_null();
                misfits.push((at, misfit));
            }
        }
    }
    Ok(Converted { values: Arc::new(builder.finish()), misfits })
}

fn bytes_at(values: &ArrayRef, at: usize) -> Option<&[u8]> {
    if values.is_null(at) {
        return None;
    }
    match values.data_type() {
        DataType::Binary => Some(values.as_binary::<i32>().value(at)),
        _ => Some(values.as_fixed_size_binary().value(at)),
    }
}

fn fixed(values: &ArrayRef, to: &DataType) -> Result<Converted> {
    let DataType::FixedSizeBinary(length) = to else { return Err(Error::internal("A fixed column has no length")) };
    let mut builder = FixedSizeBinaryBuilder::with_capacity(values.len(), *length);
    let mut misfits = Vec::new();
    for at in 0..values.len() {
        match bytes_at(values, at) {
            None => builder.append_null(),
            Some(bytes) => {
                if builder.append_value(bytes).is_err() {
                    let has = bytes.len();
                    let detail = format!("the column holds exactly {length} bytes, the value has {has}");
                    misfits.push((at, Misfit::new("wrong_length", detail)));
                    builder.append_null();
                }
            }
        }
    }
    Ok(Converted { values: Arc::new(builder.finish()), misfits })
}

fn binaries(values: &ArrayRef) -> Converted {
    let mut builder = BinaryBuilder::new();
    (0..values.len()).for_each(|at| builder.append_option(bytes_at(values, at)));
    Converted { values: Arc::new(builder.finish()), misfits: Vec::new() }
}

/// Nanoseconds with what is finer than a microsecond cut off, towards the past as texts are cut.
fn cut_to_micros(values: &ArrayRef, to: &DataType) -> ArrayRef {
    let nanos = values.as_primitive::<TimestampNanosecondType>();
    let micros: TimestampMicrosecondArray = nanos.unary(|nanos| nanos.div_euclid(1_000));
    let zone = match to {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    Arc::new(micros.with_timezone_opt(zone))
}

/// Each row as a JSON object of what it has, or null where it has nothing.
pub(super) fn as_json(rows: &RecordBatch) -> Result<ArrayRef> {
    let lines =
        json_lines(rows).map_err(|error| Error::internal("Columns cannot be written as JSON").because(error))?;
    let text = String::from_utf8(lines).map_err(|error| Error::internal("JSON is not text").because(error))?;
    let mut builder = StringBuilder::new();
    for line in text.lines() {
        builder.append_option((line != "{}").then_some(line));
    }
    Ok(Arc::new(builder.finish()))
}

/// Each row as a line of JSON.
pub(super) fn json_lines(rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut lines = Vec::new();
    let mut writer = arrow_json::LineDelimitedWriter::new(&mut lines);
    writer.write(rows)?;
    writer.finish()?;
    Ok(lines)
}
