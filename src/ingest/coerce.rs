//! One value of a row → one value of a column, exactly or not at all.
//!
//! Numbers are read from their text, so that nothing is rounded, wrapped or cut that was not asked for. What does not fit is a [`Misfit`]: a
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

use super::manner::Rounding;
pub(super) use super::moments::{Look, Unit, counted, date, likely_counting, look, time, timestamp};

type Fit<T> = Result<T, Misfit>;

/// A number's digits: the value is `digits × 10^exponent`.
pub(super) struct Digits {
    pub(super) negative: bool,
    pub(super) digits: i128,
    pub(super) exponent: i64,
}

/// Splits a JSON number into its digits, trailing zeros moved into the exponent. `None`: more digits than any column
/// holds.
pub(super) fn digits_of(text: &str) -> Option<Digits> {
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
        if !byte.is_ascii_digit() {
            return None;
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
pub(super) fn decimal(text: &str, precision: u8, scale: u8, rounding: Rounding) -> Fit<i128> {
    let overflow =
        || Misfit::new("decimal_overflow", format!("{text} does not fit into decimal({precision}, {scale})"));
    let number = digits_of(text).ok_or_else(overflow)?;
    let shift = number.exponent.saturating_add(i64::from(scale));
    let value = if number.digits != 0 && shift < 0 {
        if rounding == Rounding::Never {
            return Err(Misfit::new(
                "excess_scale",
                format!("{text} has more than {scale} digits after the point: ?round=half_up rounds"),
            ));
        }
        Some(rounded(number.digits, shift))
    } else {
        scaled(&number, shift)
    };
    let value = value.ok_or_else(overflow)?;
    let limit = 10_i128.pow(u32::from(precision));
    if value >= limit {
        return Err(overflow());
    }
    Ok(if number.negative { -value } else { value })
}

/// `digits × 10^shift` as the nearest whole number, the one further from zero where two are as near; `shift` is negative.
fn rounded(digits: i128, shift: i64) -> i128 {
    let power = u32::try_from(shift.unsigned_abs()).ok().and_then(|shift| 10_i128.checked_pow(shift));
    // What is divided by more than a number can hold is next to nothing.
    power.map_or(0, |power| digits / power + i128::from(digits % power >= power - power / 2))
}

/// `digits × 10^shift`; `None` where that is too much.
pub(super) fn scaled(number: &Digits, shift: i64) -> Option<i128> {
    if number.digits == 0 {
        return Some(0);
    }
    let power = u32::try_from(shift).ok().and_then(|shift| 10_i128.checked_pow(shift));
    power.and_then(|power| number.digits.checked_mul(power))
}

/// The double nearest to what a text says, which may be that it is no number or endless.
pub(super) fn near_double(text: &str) -> Option<f64> {
    if is_number(text) {
        return text.parse().ok().filter(|value: &f64| value.is_finite());
    }
    match text.trim_start_matches(['+', '-']) {
        "NaN" | "nan" => Some(f64::NAN),
        "Infinity" | "infinity" | "Inf" | "inf" if text.starts_with('-') => Some(f64::NEG_INFINITY),
        "Infinity" | "infinity" | "Inf" | "inf" => Some(f64::INFINITY),
        _ => None,
    }
}

/// The float nearest to a double.
#[expect(clippy::cast_possible_truncation, reason = "the nearest float is what is wanted")]
pub(super) fn as_float(value: f64) -> f32 {
    value as f32
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
pub(super) fn quoted(text: &str) -> String {
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
            assert_eq!(decimal(text, 9, 2, Rounding::Never), Ok(value), "{text}");
        }
        assert_eq!(code(decimal("0.001", 9, 2, Rounding::Never)), "excess_scale");
        assert_eq!(code(decimal("10000000", 9, 2, Rounding::Never)), "decimal_overflow");
        assert_eq!(code(decimal("1e99999999999", 38, 0, Rounding::Never)), "decimal_overflow");
        assert_eq!(decimal("99999999999999999999999999999999999999", 38, 0, Rounding::Never), Ok(10_i128.pow(38) - 1));
        for (text, value) in
            [("0.005", 1), ("-0.005", -1), ("0.0049999", 0), ("1.999", 200), ("1e-400", 0), ("2.5", 250)]
        {
            assert_eq!(decimal(text, 9, 2, Rounding::HalfUp), Ok(value), "{text}");
        }
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
        assert_eq!(near_double("9007199254740993"), Some(9_007_199_254_740_992.0));
        assert_eq!(
            (near_double("-Infinity"), near_double("x"), near_double("1e999")),
            (Some(f64::NEG_INFINITY), None, None)
        );
        assert!(near_double("NaN").is_some_and(f64::is_nan));
    }
}
