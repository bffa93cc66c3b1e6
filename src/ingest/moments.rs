//! Texts and numbers that mean a day or a moment, exactly or not at all.

use super::coerce::{Misfit, digits_of, quoted, scaled};
use super::manner::{Counting, TimePrecision};

type Fit<T> = Result<T, Misfit>;

/// `YYYY-MM-DD` as days since 1970.
pub(super) fn date(text: &str) -> Fit<i32> {
    let bad = || Misfit::new("bad_date", format!("{} is not a date as YYYY-MM-DD", quoted(text)));
    let bytes = text.as_bytes();
    if bytes.len() != 10 {
        return Err(bad());
    }
    days(bytes).ok_or_else(bad)
}

/// Days since 1970 of the first ten bytes, if they are a date.
fn days(bytes: &[u8]) -> Option<i32> {
    let (year, month, day) = (number(bytes, 0, 4)?, number(bytes, 5, 2)?, number(bytes, 8, 2)?);
    if bytes[4] != b'-' || bytes[7] != b'-' || !(1..=12).contains(&month) || day < 1 || day > month_length(year, month)
    {
        return None;
    }
    // Years begin in March, so that the leap day is the last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

fn month_length(year: i32, month: i32) -> i32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn number(bytes: &[u8], start: usize, length: usize) -> Option<i32> {
    let digits = bytes.get(start..start + length)?;
    digits.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i32::from(byte - b'0')))
}

/// How finely a column counts time, and so how many digits of a second it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Micro,
    Nano,
}

impl Unit {
    fn digits(self) -> usize {
        match self {
            Self::Micro => 6,
            Self::Nano => 9,
        }
    }

    fn per_second(self) -> i64 {
        match self {
            Self::Micro => 1_000_000,
            Self::Nano => 1_000_000_000,
        }
    }
}

/// `HH:MM:SS[.f]` at the beginning of `text`, in the unit, and what follows it. `None`: it is not a time.
fn time_of_day(text: &str, unit: Unit, precision: TimePrecision) -> Option<Fit<(i64, &str)>> {
    let bytes = text.as_bytes();
    let (hour, minute, second) = (number(bytes, 0, 2)?, number(bytes, 3, 2)?, number(bytes, 6, 2)?);
    if bytes[2] != b':' || bytes[5] != b':' || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let whole = i64::from(hour * 3_600 + minute * 60 + second) * unit.per_second();
    let Some(after_point) = text[8..].strip_prefix('.') else { return Some(Ok((whole, &text[8..]))) };
    let length = after_point.bytes().take_while(u8::is_ascii_digit).count();
    if length == 0 {
        return None;
    }
    let (fraction, rest) = after_point.split_at(length);
    let (kept, lost) = fraction.split_at(length.min(unit.digits()));
    if precision == TimePrecision::Exact && lost.bytes().any(|byte| byte != b'0') {
        return Some(Err(Misfit::new(
            "sub_microsecond",
            format!("{} is finer than the column: ?time_precision=truncate cuts it off", quoted(text)),
        )));
    }
    let value = kept.bytes().fold(0_i64, |value, byte| value * 10 + i64::from(byte - b'0'));
    let missing = u32::try_from(unit.digits() - kept.len()).unwrap_or(0);
    Some(Ok((whole + value * 10_i64.pow(missing), rest)))
}

/// `HH:MM:SS[.f]` as microseconds of the day.
pub(super) fn time(text: &str, precision: TimePrecision) -> Fit<i64> {
    let bad = || Misfit::new("bad_time", format!("{} is not a time as HH:MM:SS", quoted(text)));
    let (value, rest) = time_of_day(text, Unit::Micro, precision).ok_or_else(bad)??;
    if rest.is_empty() { Ok(value) } else { Err(bad()) }
}

/// A moment, with or without a zone, as the column wants it; in the unit since 1970.
pub(super) fn timestamp(text: &str, unit: Unit, zoned: bool, precision: TimePrecision) -> Fit<i64> {
    let bad = || {
        Misfit::new(
            "bad_timestamp",
            format!("{} is not a time as YYYY-MM-DDTHH:MM:SS{}", quoted(text), if zoned { "Z" } else { "" }),
        )
    };
    let split = text.as_bytes().get(10).is_some_and(|byte| matches!(byte, b'T' | b't' | b' '));
    if !split || !text.is_ascii() {
        return Err(bad());
    }
    let day = i64::from(days(text.as_bytes()).ok_or_else(bad)?);
    let (time, rest) = time_of_day(&text[11..], unit, precision).ok_or_else(bad)??;
    let offset = match (zoned, rest) {
        (false, "") => 0,
        (false, _) => {
            return Err(Misfit::new("unexpected_zone", format!("{} names a zone; the column has none", quoted(text))));
        }
        (true, "") => {
            return Err(Misfit::new("missing_zone", format!("{} names no zone: add Z or an offset", quoted(text))));
        }
        (true, "Z" | "z") => 0,
        (true, zone) => zone_offset(zone).ok_or_else(bad)?,
    };
    (day * 86_400 - offset).checked_mul(unit.per_second()).and_then(|seconds| seconds.checked_add(time)).ok_or_else(
        || Misfit::new("timestamp_overflow", format!("{} is outside what the column can hold", quoted(text))),
    )
}

/// `+HH:MM` or `-HH:MM` in seconds.
fn zone_offset(zone: &str) -> Option<i64> {
    let bytes = zone.as_bytes();
    let (hours, minutes) = (number(bytes, 1, 2)?, number(bytes, 4, 2)?);
    if bytes.len() != 6 || bytes[3] != b':' || hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours * 3_600 + minutes * 60);
    match bytes[0] {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// What a text looks like to inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Timestamptz,
    Timestamp,
    Date,
    Text,
}

/// Whether a text is a date or a moment, with a zone or without.
pub(super) fn look(text: &str) -> Look {
    let fits = |zoned| timestamp(text, Unit::Micro, zoned, TimePrecision::Truncate).is_ok();
    match text.len() {
        10 if date(text).is_ok() => Look::Date,
        19.. if fits(true) => Look::Timestamptz,
        19.. if fits(false) => Look::Timestamp,
        _ => Look::Text,
    }
}

/// A number that counts since the beginning of 1970, in the unit of its column.
pub(super) fn counted(text: &str, counts: Option<Counting>, unit: Unit, precision: TimePrecision) -> Fit<i64> {
    let overflow = || Misfit::new("timestamp_overflow", format!("{text} is outside what the column can hold"));
    let number = digits_of(text).ok_or_else(overflow)?;
    let (wanted, has) = (i64::try_from(unit.digits()).unwrap_or(0), counts.map_or(0, Counting::digits));
    let shift = number.exponent.saturating_add(wanted - has);
    let sign = if number.negative { -1 } else { 1 };
    if number.digits == 0 || shift >= 0 {
        let value = scaled(&number, shift).and_then(|value| i64::try_from(value * sign).ok());
        return value.ok_or_else(overflow);
    }
    if precision == TimePrecision::Exact {
        let detail = format!("{text} is finer than the column: ?time_precision=truncate cuts it off");
        return Err(Misfit::new("sub_microsecond", detail));
    }
    let power = u32::try_from(shift.unsigned_abs()).ok().and_then(|shift| 10_i128.checked_pow(shift));
    // Towards the past, as texts are cut.
    let cut = power.map_or(if number.negative { -1 } else { 0 }, |power| (number.digits * sign).div_euclid(power));
    i64::try_from(cut).map_err(|_| overflow())
}

/// What a number of this size is likely to count since 1970.
pub(super) fn likely_counting(text: &str) -> Option<Counting> {
    let size = text.trim().parse::<f64>().ok()?.abs();
    Some(match size {
        _ if size < 1e11 => Counting::Seconds,
        _ if size < 1e14 => Counting::Millis,
        _ if size < 1e17 => Counting::Micros,
        _ => Counting::Nanos,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T: std::fmt::Debug>(fit: Fit<T>) -> &'static str {
        fit.expect_err("must not fit").code
    }

    #[test]
    fn times_follow_the_calendar() {
        assert_eq!(date("1970-01-01"), Ok(0));
        assert_eq!(date("2000-02-29"), Ok(11_016));
        assert_eq!(date("0001-01-01"), Ok(-719_162));
        for bad in ["1900-02-29", "2024-13-01", "2024-00-01", "2024-01-32", "24-01-01", "2024/01/01", "2024-01-01 "] {
            assert_eq!(code(date(bad)), "bad_date", "{bad}");
        }
        let at = |text, zoned| timestamp(text, Unit::Micro, zoned, TimePrecision::Exact);
        assert_eq!(at("1970-01-01T00:00:01Z", true), Ok(1_000_000));
        assert_eq!(at("1970-01-01 00:00:00.5z", true), Ok(500_000));
        assert_eq!(at("1970-01-01t01:00:00+01:00", true), Ok(0));
        assert_eq!(at("1969-12-31T23:59:59.999999", false), Ok(-1));
        assert_eq!(at("1970-01-01T00:00:00.0000000000", false), Ok(0));
        assert_eq!(code(at("1970-01-01T00:00:00.0000001", false)), "sub_microsecond");
        assert_eq!(timestamp("1970-01-01T00:00:00.0000019", Unit::Micro, false, TimePrecision::Truncate), Ok(1));
        assert_eq!(timestamp("1970-01-01T00:00:00.0000001", Unit::Nano, false, TimePrecision::Exact), Ok(100));
        assert_eq!(code(at("1970-01-01T00:00:00", true)), "missing_zone");
        assert_eq!(code(at("1970-01-01T00:00:00Z", false)), "unexpected_zone");
        for bad in [
            "1970-01-01T00:00:60Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00Z",
            "1970-01-01",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00+0100",
            "1970-01-01T00:00:00Zé",
        ] {
            assert_eq!(code(at(bad, true)), "bad_timestamp", "{bad}");
        }
        assert_eq!(time("23:59:59.000001", TimePrecision::Exact), Ok(86_399_000_001));
        assert_eq!(code(time("24:00:00", TimePrecision::Exact)), "bad_time");
        assert_eq!(
            code(timestamp("9999-01-01T00:00:00", Unit::Nano, false, TimePrecision::Exact)),
            "timestamp_overflow"
        );
    }

    #[test]
    fn texts_look_like_what_they_are() {
        for (text, like) in [
            ("2024-01-01", Look::Date),
            ("2024-01-01T00:00:00Z", Look::Timestamptz),
            ("2024-01-01 00:00:00.123", Look::Timestamp),
            ("2024-13-01", Look::Text),
            ("hello", Look::Text),
            ("2024-01-01T00:00:00 about", Look::Text),
            ("", Look::Text),
        ] {
            assert_eq!(look(text), like, "{text:?}");
        }
    }

    #[test]
    fn numbers_count_since_1970() {
        let at = |text, counts| counted(text, Some(counts), Unit::Micro, TimePrecision::Exact);
        for (text, counts, value) in [
            ("1.5", Counting::Seconds, 1_500_000),
            ("-1.5", Counting::Seconds, -1_500_000),
            ("1700000000123", Counting::Millis, 1_700_000_000_123_000),
            ("1.7e9", Counting::Seconds, 1_700_000_000_000_000),
            ("7", Counting::Micros, 7),
            ("7000", Counting::Nanos, 7),
            ("0", Counting::Nanos, 0),
        ] {
            assert_eq!(at(text, counts), Ok(value), "{text}");
        }
        assert_eq!(code(at("1", Counting::Nanos)), "sub_microsecond");
        assert_eq!(code(at("9e30", Counting::Seconds)), "timestamp_overflow");
        let cut = |text| counted(text, Some(Counting::Nanos), Unit::Micro, TimePrecision::Truncate);
        assert_eq!((cut("1999"), cut("-1"), cut("1e-300"), cut("-1e-300")), (Ok(1), Ok(-1), Ok(0), Ok(-1)));
        for (text, likely) in [
            ("1700000000", Counting::Seconds),
            ("1700000000000", Counting::Millis),
            ("17e14", Counting::Micros),
            ("17e17", Counting::Nanos),
        ] {
            assert_eq!(likely_counting(text), Some(likely), "{text}");
        }
    }
}
