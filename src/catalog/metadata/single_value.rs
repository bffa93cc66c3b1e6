//! Single values: between their binary form (bounds), their JSON form (literals, partition tuples) and [`Value`].
//!
//! The forms are those of the table format's specification ("Appendix D: Single-value serialization"). What cannot be
//! read exactly is `None`: whoever asks then knows nothing, and keeps the file.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use serde_json::Value as Json;

use super::types::Primitive;
use crate::snapshot::value::Value;

/// Days from the first of January of the year 1 to 1970, one based as `chrono` counts.
const DAYS_TO_1970: i64 = 719_163;

/// Microseconds of a day.
pub(in crate::catalog) const DAY_MICROS: i64 = 86_400_000_000;

/// Nanoseconds of a day.
pub(in crate::catalog) const DAY_NANOS: i64 = DAY_MICROS * 1_000;

/// Reads the binary form, also of the narrower type that a column had before it was widened.
pub(in crate::catalog) fn from_binary<'a>(kind: &Primitive, bytes: &'a [u8]) -> Option<Value<'a>> {
    use Primitive as P;
    Some(match kind {
        P::Boolean => Value::Boolean(*bytes.first()? != 0),
        P::Int | P::Date | P::Long | P::Time => Value::Integer(integer(bytes)?),
        P::Timestamp | P::Timestamptz => Value::Integer(moment(bytes, DAY_MICROS)?),
        P::TimestampNs | P::TimestamptzNs => Value::Integer(moment(bytes, DAY_NANOS)?),
        P::Float | P::Double => {
            let real = match bytes.len() {
                4 => f32::from_le_bytes(bytes.try_into().ok()?).into(),
                _ => f64::from_le_bytes(bytes.try_into().ok()?),
            };
            // No value compares to NaN; old writers have it as a bound.
            (!f64::is_nan(real)).then_some(Value::Real(real))?
        }
        P::Decimal { .. } => Value::Decimal(big_endian(bytes)?),
        P::String | P::Binary | P::Fixed(_) => Value::bytes(bytes),
        P::Uuid => Value::Uuid(bytes.try_into().ok()?),
        P::Unknown | P::Variant | P::Geometry(_) | P::Geography(_) | P::Other(_) => return None,
    })
}

fn integer(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        4 => Some(i32::from_le_bytes(bytes.try_into().ok()?).into()),
        _ => Some(i64::from_le_bytes(bytes.try_into().ok()?)),
    }
}

/// A timestamp, or the date that the column had before.
fn moment(bytes: &[u8], day: i64) -> Option<i64> {
    let number = integer(bytes)?;
    if bytes.len() == 4 { number.checked_mul(day) } else { Some(number) }
}

fn big_endian(bytes: &[u8]) -> Option<i128> {
    let first = *bytes.first()?;
    let mut whole = [if first & 0x80 == 0 { 0 } else { 0xff }; 16];
    whole.get_mut(16_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(whole))
}

/// A partition value as its type says; Avro knows no UUIDs of its own.
pub(in crate::catalog) fn typed<'a>(kind: &Primitive, value: Value<'a>) -> Option<Value<'a>> {
    match (kind, value) {
        (Primitive::Uuid, Value::Bytes(bytes)) => Some(Value::Uuid(bytes.as_ref().try_into().ok()?)),
        (_, value) => Some(value),
    }
}

/// A literal of a filter as a value of a column, and whether it is exactly that.
pub(in crate::catalog) fn from_json(kind: &Primitive, json: &Json) -> Option<(Value<'static>, bool)> {
    use Primitive as P;
    let exact = |value| Some((value, true));
    match (kind, json) {
        (P::Boolean, Json::Bool(value)) => exact(Value::Boolean(*value)),
        (P::Int | P::Long | P::Date | P::Time, Json::Number(_)) => exact(Value::Integer(json.as_i64()?)),
        (P::Timestamp | P::Timestamptz | P::TimestampNs | P::TimestamptzNs, Json::Number(_)) => {
            exact(Value::Integer(json.as_i64()?))
        }
        (P::Double, Json::Number(number)) => exact(Value::Real(number.as_f64()?)),
        (P::Float, Json::Number(number)) => nearest_float(number.as_f64()?),
        (P::Decimal { scale, .. }, Json::Number(number)) => exact(Value::Decimal(whole_number(number, *scale)?)),
        (_, Json::String(text)) => exact(from_text(kind, text)?),
        _ => None,
    }
}

/// A number as a decimal. What has a point was read as a double, and nobody knows which digits it had.
fn whole_number(number: &serde_json::Number, scale: u8) -> Option<i128> {
    (!number.is_f64()).then(|| decimal(&number.to_string(), scale)).flatten()
}

/// Whether this is how a value of the type is written; filters are read more kindly.
pub(in crate::catalog) fn is_written(kind: &Primitive, json: &Json) -> bool {
    use Primitive as P;
    let zone = |json: &Json| json.as_str().is_some_and(|text| local(text).is_none());
    let form = match kind {
        P::Timestamptz | P::TimestamptzNs => zone(json),
        P::Boolean => json.is_boolean(),
        P::Int => json.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        P::Long => json.is_i64(),
        P::Float | P::Double => json.is_number(),
        _ => json.is_string(),
    };
    form && from_json(kind, json).is_some()
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest float is what is asked for")]
fn nearest_float(wide: f64) -> Option<(Value<'static>, bool)> {
    let near = f64::from(wide as f32);
    near.is_finite().then_some((Value::Real(near), near.to_bits() == wide.to_bits()))
}

fn from_text(kind: &Primitive, text: &str) -> Option<Value<'static>> {
    use Primitive as P;
    Some(match kind {
        P::Date => Value::Integer(days_of(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?)),
        P::Time => Value::Integer(micros_of_day(text)?),
        P::Timestamp => Value::Integer(whole_micros(local(text)?)?),
        P::Timestamptz => Value::Integer(whole_micros(zoned(text)?)?),
        P::TimestampNs => Value::Integer(local(text)?.and_utc().timestamp_nanos_opt()?),
        P::TimestamptzNs => Value::Integer(zoned(text)?.and_utc().timestamp_nanos_opt()?),
        P::Decimal { scale, .. } => Value::Decimal(decimal(text, *scale)?),
        P::String => Value::Bytes(text.as_bytes().to_vec().into()),
        P::Uuid => Value::Uuid(*uuid::Uuid::parse_str(text).ok()?.as_bytes()),
        P::Fixed(length) => Value::Bytes(hex(text).filter(|bytes| bytes.len() as u64 == *length)?.into()),
        P::Binary => Value::Bytes(hex(text)?.into()),
        _ => return None,
    })
}

fn days_of(date: NaiveDate) -> i64 {
    use chrono::Datelike;
    i64::from(date.num_days_from_ce()) - DAYS_TO_1970
}

/// The days since 1970 of the first day of a month, months counted from January 1970.
pub(in crate::catalog) fn month_start(months: i64) -> Option<i64> {
    let year = i32::try_from(months.div_euclid(12).checked_add(1970)?).ok()?;
    let month = u32::try_from(months.rem_euclid(12)).ok()? + 1;
    Some(days_of(NaiveDate::from_ymd_opt(year, month, 1)?))
}

/// The months since January 1970 of a day since 1970.
pub(in crate::catalog) fn month_of(days: i64) -> Option<i64> {
    use chrono::Datelike;
    let date = date_of(days)?;
    Some((i64::from(date.year()) - 1970) * 12 + i64::from(date.month0()))
}

fn date_of(days: i64) -> Option<NaiveDate> {
    NaiveDate::from_num_days_from_ce_opt(i32::try_from(days.checked_add(DAYS_TO_1970)?).ok()?)
}

fn micros_of_day(text: &str) -> Option<i64> {
    let time = ["%H:%M:%S%.f", "%H:%M"].iter().find_map(|form| NaiveTime::parse_from_str(text, form).ok())?;
    let nanos = i64::from(time.nanosecond());
    let whole = nanos % 1_000 == 0 && nanos < 1_000_000_000;
    whole.then(|| i64::from(time.num_seconds_from_midnight()) * 1_000_000 + nanos / 1_000)
}

fn local(text: &str) -> Option<NaiveDateTime> {
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
    forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
}

/// A moment; PyIceberg leaves out the zone, which then is UTC.
fn zoned(text: &str) -> Option<NaiveDateTime> {
    let forms = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"];
    let found = DateTime::parse_from_rfc3339(text).ok();
    let found = found.or_else(|| forms.iter().find_map(|form| DateTime::parse_from_str(text, form).ok()));
    found.map(|moment| moment.naive_utc()).or_else(|| local(text))
}

fn whole_micros(moment: NaiveDateTime) -> Option<i64> {
    moment.nanosecond().is_multiple_of(1_000).then(|| moment.and_utc().timestamp_micros())
}

/// A decimal with this scale; one with more digits after the point has none.
fn decimal(text: &str, scale: u8) -> Option<i128> {
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let given = i64::try_from(fraction.len()).ok()?.checked_sub(exponent.parse().ok()?)?;
    let unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
    let power = |by: i64| 10_i128.checked_pow(u32::try_from(by).ok()?);
    let more = i64::from(scale).checked_sub(given)?;
    if more >= 0 {
        return unscaled.checked_mul(power(more)?);
    }
    let by = power(more.checked_neg()?)?;
    (unscaled % by == 0).then_some(unscaled / by)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Bytes as hexadecimal digits in upper case.
pub(in crate::catalog) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// The JSON form.
pub(in crate::catalog) fn to_json(kind: &Primitive, value: &Value<'_>) -> Json {
    match value {
        Value::Boolean(value) => (*value).into(),
        Value::Integer(number) => moment_text(kind, *number).map_or_else(|| (*number).into(), Json::from),
        Value::Real(real) => real_json(kind, *real),
        Value::Decimal(unscaled) => decimal_text(kind, *unscaled).into(),
        Value::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).to_string().into(),
        Value::Bytes(bytes) => match (kind, std::str::from_utf8(bytes)) {
            (Primitive::String, Ok(text)) => text.into(),
            _ => to_hex(bytes).into(),
        },
    }
}

/// The text of a date, time or timestamp that a calendar has.
fn moment_text(kind: &Primitive, number: i64) -> Option<String> {
    let micros = |format: &str| Some(DateTime::from_timestamp_micros(number)?.naive_utc().format(format).to_string());
    let nanos = |format: &str| Some(DateTime::from_timestamp_nanos(number).naive_utc().format(format).to_string());
    match kind {
        Primitive::Date => Some(date_of(number)?.format("%Y-%m-%d").to_string()),
        Primitive::Time => micros("%H:%M:%S%.6f"),
        Primitive::Timestamp => micros("%Y-%m-%dT%H:%M:%S%.6f"),
        Primitive::Timestamptz => micros("%Y-%m-%dT%H:%M:%S%.6f+00:00"),
        Primitive::TimestampNs => nanos("%Y-%m-%dT%H:%M:%S%.9f"),
        Primitive::TimestamptzNs => nanos("%Y-%m-%dT%H:%M:%S%.9f+00:00"),
        _ => None,
    }
}

/// JSON has no NaN and no infinity: those are texts, as Java writes them.
fn real_json(kind: &Primitive, real: f64) -> Json {
    if real.is_nan() {
        return "NaN".into();
    }
    if real.is_infinite() {
        return if real > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    #[expect(clippy::cast_possible_truncation, reason = "it was a float, and is written with a float's digits")]
    let shortest = if *kind == Primitive::Float { (real as f32).to_string().parse().unwrap_or(real) } else { real };
    shortest.into()
}

fn decimal_text(kind: &Primitive, unscaled: i128) -> String {
    let scale = if let Primitive::Decimal { scale, .. } = kind { usize::from(*scale) } else { 0 };
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_goes_there_and_back() {
        let kinds = [
            ("boolean", json!(true)),
            ("int", json!(-5)),
            ("long", json!(i64::MAX)),
            ("float", json!(0.1)),
            ("double", json!(1e300)),
            ("decimal(9,2)", json!("-0.05")),
            ("decimal(38,0)", json!("99999999999999999999999999999999999999")),
            ("date", json!("1969-12-31")),
            ("time", json!("23:59:59.999999")),
            ("timestamp", json!("1969-12-31T23:59:59.999999")),
            ("timestamptz", json!("2024-02-29T12:00:00.000000+00:00")),
            ("timestamp_ns", json!("2024-02-29T12:00:00.000000001")),
            ("timestamptz_ns", json!("2024-02-29T12:00:00.000000001+00:00")),
            ("string", json!("é")),
            ("uuid", json!("f79c3e09-677c-4bbd-a479-3f349cb785e7")),
            ("fixed[2]", json!("00FF")),
            ("binary", json!("")),
        ];
        for (kind, json) in kinds {
            let kind = Primitive::parse(kind).expect("a type");
            let (value, _) = from_json(&kind, &json).unwrap_or_else(|| panic!("{kind} {json}"));
            assert_eq!(to_json(&kind, &value), json, "{kind}");
        }
    }

    #[test]
    fn what_is_not_exactly_a_value_of_the_type_is_none() {
        let none = |kind: &str, json: Json| {
            let kind = Primitive::parse(kind).expect("a type");
            assert_eq!(from_json(&kind, &json), None, "{kind} {json}");
        };
        none("int", json!(1.5));
        none("int", json!("5"));
        none("long", json!(1e30));
        none("string", json!(5));
        none("date", json!("2024-13-01"));
        none("timestamp", json!("2024-01-01T00:00:00+00:00"));
        none("decimal(38,2)", json!(1.5));
        none("decimal(38,2)", json!("1e-9223372036854775808"));
        none("decimal(38,2)", json!("1e9223372036854775807"));
        none("timestamp", json!("2024-01-01T00:00:00.0000001"));
        none("decimal(9,2)", json!("1.005"));
        none("fixed[2]", json!("00"));
        none("binary", json!("0g"));
        none("binary", json!("0"));
        none("float", json!(1e300));
        none("double", json!("NaN"));
        none("variant", json!("x"));
        none("unknown", json!(null));
    }

    #[test]
    fn what_is_written_has_one_form() {
        let written = |kind: &str, json: Json| is_written(&Primitive::parse(kind).expect("a type"), &json);
        assert!(written("long", json!(5)) && written("date", json!("2024-01-01")) && written("double", json!(1)));
        assert!(!written("long", json!("abc")) && !written("date", json!(5)) && !written("int", json!(1_i64 << 40)));
        assert!(!written("decimal(9,2)", json!(1.5)) && written("decimal(9,2)", json!("1.50")));
        assert!(!written("timestamptz", json!("2024-01-01T00:00:00")));
        assert!(written("timestamptz", json!("2024-01-01T00:00:00+00:00")));
        assert!(!written("variant", json!("x")) && !written("unknown", json!(1)));
    }

    #[test]
    fn literals_are_read_as_their_writers_mean_them() {
        let read = |kind: &str, json: Json| from_json(&Primitive::parse(kind).expect("a type"), &json);
        assert_eq!(read("timestamptz", json!("1970-01-01T01:00:00+01:00")), Some((Value::Integer(0), true)));
        assert_eq!(read("timestamptz", json!("1970-01-01T00:00:00Z")), Some((Value::Integer(0), true)));
        assert_eq!(read("timestamptz", json!("1970-01-01T00:00:00")), Some((Value::Integer(0), true)));
        assert_eq!(read("timestamp", json!("1970-01-01T00:01")), Some((Value::Integer(60_000_000), true)));
        assert_eq!(read("time", json!("00:01")), Some((Value::Integer(60_000_000), true)));
        assert_eq!(read("decimal(9,2)", json!("1.500")), Some((Value::Decimal(150), true)));
        assert_eq!(read("decimal(9,2)", json!("15E+1")), Some((Value::Decimal(15_000), true)));
        assert_eq!(read("decimal(9,2)", json!(15)), Some((Value::Decimal(1_500), true)));
        assert_eq!(read("date", json!(3)), Some((Value::Integer(3), true)));
        assert!(!read("float", json!(0.1)).expect("near").1);
        assert!(read("float", json!(0.5)).expect("exact").1);
    }

    #[test]
    fn bounds_of_the_type_before_are_understood() {
        let read = |kind: &str, bytes: &'static [u8]| from_binary(&Primitive::parse(kind).expect("a type"), bytes);
        assert_eq!(read("long", &[255, 255, 255, 255]), Some(Value::Integer(-1)));
        assert_eq!(read("double", &[0, 0, 0, 63]), Some(Value::Real(0.5)));
        assert_eq!(read("timestamp", &[1, 0, 0, 0]), Some(Value::Integer(DAY_MICROS)));
        assert_eq!(read("decimal(9,2)", &[0xff, 0x38]), Some(Value::Decimal(-200)));
        assert_eq!(read("double", &[0, 0, 0xc0, 0x7f]), None);
        assert_eq!(read("long", &[1, 2, 3]), None);
        assert_eq!(read("int", &[]), None);
        assert_eq!(read("decimal(9,2)", &[0; 17]), None);
    }
}
