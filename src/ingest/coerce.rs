//! One value of a row → one value of a column, exactly or not at all.
//!
//! Numbers are read from their text, so that nothing is rounded, wrapped or cut. What does not fit is a [`Misfit`]: a
//! stable code for programs and a few words for people.

/// Why a value does not fit its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    /// Stable, for programs.
    pub(super) code: &'static str,
    /// For people.
    pub(super) detail: String,
}

impl Misfit {
    pub(super) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

type Fit<T> = Result<T, Misfit>;

/// What to do with a fraction of a second finer than the column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum TimePrecision {
    /// Refuse it if a digit that would be lost is not zero.
    #[default]
    Exact,
    /// Cut it off.
    Truncate,
}

/// A number's digits: the value is `digits × 10^exponent`.
struct Digits {
    negative: bool,
    digits: i128,
    exponent: i64,
}

/// Splits a JSON number into its digits, trailing zeros moved into the exponent. `None`: more digits than any column
/// holds.
fn digits_of(text: &str) -> Option<Digits> {
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits: i128 = 0;
    let mut zeros: u32 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if byte == b'0' {
            zeros += 1;
            continue;
        }
        digits = digits.checked_mul(10_i128.checked_pow(zeros + 1)?)?.checked_add(i128::from(byte - b'0'))?;
        zeros = 0;
    }
    if digits == 0 {
        return Some(Digits { negative, digits: 0, exponent: 0 });
    }
    let fraction = i64::try_from(fraction.len()).ok()?;
    // An exponent that does not fit is as good as endless in its direction.
    let written: i64 =
        exponent.parse().unwrap_or(if exponent.starts_with('-') { -1_000_000_000 } else { 1_000_000_000 });
    let exponent = written.saturating_sub(fraction).saturating_add(i64::from(zeros));
    Some(Digits { negative, digits, exponent })
}

/// A whole number between two bounds.
pub(super) fn integer(text: &str, least: i64, most: i64, kind: &str) -> Fit<i64> {
    let overflow = || Misfit::new("int_overflow", format!("{text} does not fit into {kind}"));
    if let Ok(number) = text.parse::<i64>() {
        return if (least..=most).contains(&number) { Ok(number) } else { Err(overflow()) };
    }
    if !text.contains(['.', 'e', 'E']) {
        return Err(overflow());
    }
    let not_integral = || Misfit::new("not_integral", format!("{text} is not a whole number"));
    let number = digits_of(text).ok_or_else(|| if text.contains('.') { not_integral() } else { overflow() })?;
    if number.exponent < 0 {
        return Err(not_integral());
    }
    let value = u32::try_from(number.exponent)
        .ok()
        .and_then(|exponent| 10_i128.checked_pow(exponent))
        .and_then(|power| number.digits.checked_mul(power))
        .map(|value| if number.negative { -value } else { value });
    let value = value.and_then(|value| i64::try_from(value).ok()).ok_or_else(overflow)?;
    if (least..=most).contains(&value) { Ok(value) } else { Err(overflow()) }
}

/// A decimal as its unscaled value.
pub(super) fn decimal(text: &str, precision: u8, scale: u8) -> Fit<i128> {
    let overflow =
        || Misfit::new("decimal_overflow", format!("{text} does not fit into decimal({precision}, {scale})"));
    let number = digits_of(text).ok_or_else(overflow)?;
    let shift = number.exponent.saturating_add(i64::from(scale));
    if number.digits != 0 && shift < 0 {
        return Err(Misfit::new(
            "excess_scale",
            format!("{text} has more than {scale} digits after the point: nothing is rounded"),
        ));
    }
    let power = u32::try_from(shift.max(0)).ok().and_then(|shift| 10_i128.checked_pow(shift));
    let value = if number.digits == 0 { Some(0) } else { power.and_then(|power| number.digits.checked_mul(power)) };
    let value = value.ok_or_else(overflow)?;
    let limit = 10_i128.pow(u32::from(precision));
    if value >= limit {
        return Err(overflow());
    }
    Ok(if number.negative { -value } else { value })
}

/// Whether a text is written as a JSON number; a decimal may come as a text to keep it from floats on its way.
pub(super) fn is_number(text: &str) -> bool {
    let mut lexer = super::json::lexer::Lexer::new(text, 1);
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && lexer.number().is_ok_and(|number| number.len() == text.len())
}

/// A double. A whole number must be exact; one with a point or exponent takes the nearest.
pub(super) fn double(text: &str) -> Fit<f64> {
    let value: f64 = text.parse().map_err(|_| Misfit::new("wrong_type", "not a number"))?;
    if value.is_infinite() {
        return Err(Misfit::new("float_overflow", format!("{text} is too large for double")));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole double below 2^127 is exact in i128")]
    let back = value as i128;
    exact(text, value.abs() < 9_007_199_254_740_992.0, back, "double").map(|()| value)
}

/// A float, by the same rule.
pub(super) fn float(text: &str) -> Fit<f32> {
    let value: f32 = text.parse().map_err(|_| Misfit::new("wrong_type", "not a number"))?;
    if value.is_infinite() {
        return Err(Misfit::new("float_overflow", format!("{text} is too large for float")));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a float is exact in i128 or compares unequal")]
    let back = value as i128;
    exact(text, value.abs() < 16_777_216.0, back, "float").map(|()| value)
}

fn exact(text: &str, small: bool, back: i128, kind: &str) -> Fit<()> {
    if small || text.contains(['.', 'e', 'E']) || text.parse::<i128>() == Ok(back) {
        return Ok(());
    }
    Err(Misfit::new("inexact", format!("{kind} cannot hold {text} exactly")))
}

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

/// The 36 characters of a UUID.
pub(super) fn uuid(text: &str) -> Fit<[u8; 16]> {
    let parsed = if text.len() == 36 { uuid::Uuid::try_parse(text).ok() } else { None };
    parsed.map(uuid::Uuid::into_bytes).ok_or_else(|| Misfit::new("bad_uuid", format!("{} is not a UUID", quoted(text))))
}

/// Standard base64 with padding.
pub(super) fn bytes(text: &str) -> Fit<Vec<u8>> {
    use base64::Engine;
    let decoded = base64::engine::general_purpose::STANDARD.decode(text);
    decoded.map_err(|_| Misfit::new("bad_base64", "the text is not base64"))
}

/// A value for a message, cut to a length that a person reads.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    let cut = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{cut}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T: std::fmt::Debug>(fit: Fit<T>) -> &'static str {
        fit.expect_err("must not fit").code
    }

    #[test]
    fn integers_are_exact_or_refused() {
        let long = |text| integer(text, i64::MIN, i64::MAX, "long");
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("1.0", 1),
            ("1e3", 1_000),
            ("12.5e1", 125),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("0e999999999999", 0),
            ("9007199254740993.0", 9_007_199_254_740_993),
        ] {
            assert_eq!(long(text), Ok(value), "{text}");
        }
        for text in ["1.5", "1e-1", "0.1", "1e-99999999999"] {
            assert_eq!(code(long(text)), "not_integral", "{text}");
        }
        for text in ["9223372036854775808", "1e19", "1e99999999999", "99999999999999999999999999999999999999999999"] {
            assert_eq!(code(long(text)), "int_overflow", "{text}");
        }
        assert_eq!(code(integer("2147483648", i64::from(i32::MIN), i64::from(i32::MAX), "int")), "int_overflow");
    }

    #[test]
    fn decimals_come_from_their_text() {
        for (text, value) in [
            ("0.1", 10),
            ("-12.34", -1_234),
            ("1e2", 10_000),
            ("0", 0),
            ("0.000", 0),
            ("1.10", 110),
            ("1.2300", 123),
            ("0e-99999999999", 0),
        ] {
            assert_eq!(decimal(text, 9, 2), Ok(value), "{text}");
        }
        assert_eq!(code(decimal("0.001", 9, 2)), "excess_scale");
        assert_eq!(code(decimal("10000000", 9, 2)), "decimal_overflow");
        assert_eq!(code(decimal("1e99999999999", 38, 0)), "decimal_overflow");
        assert_eq!(decimal("99999999999999999999999999999999999999", 38, 0), Ok(10_i128.pow(38) - 1));
        assert!(is_number("-1.5e3") && !is_number("1x") && !is_number("") && !is_number(" 1"));
    }

    #[test]
    fn floats_hold_whole_numbers_exactly() {
        assert_eq!(double("9007199254740992"), Ok(9_007_199_254_740_992.0));
        assert_eq!(code(double("9007199254740993")), "inexact");
        assert_eq!(double("9007199254740993.0"), Ok(9_007_199_254_740_992.0), "a point says that nearest will do");
        assert_eq!(double("0.1"), Ok(0.1));
        assert_eq!(code(double("1e999")), "float_overflow");
        assert_eq!(code(float("16777217")), "inexact");
        assert_eq!(float("16777218"), Ok(16_777_218.0));
        assert_eq!(code(float("1e39")), "float_overflow");
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
}
