//! One value of a row → one value of a column under construction. All formats of text come through here, so that each rule
//! of coercion stands once.
//!
//! What does not fit is returned, and then nothing was pushed.

use arrow::array::FixedSizeBinaryBuilder;

use super::coerce::{self, Misfit, Unit};
use super::json::lexer::Kind;
use super::manner::{Leniency, Manner};
use super::values::Values;

type Fit = Result<(), Misfit>;

/// Pushes a number, of which the text is given.
pub(super) fn push_number(values: &mut Values, text: &str, manner: Manner) -> Fit {
    match values {
        Values::Int(builder) => {
            let value = coerce::integer(text, i64::from(i32::MIN), i64::from(i32::MAX), "int")?;
            builder.append_value(i32::try_from(value).unwrap_or_default());
        }
        Values::Long(builder) => builder.append_value(coerce::integer(text, i64::MIN, i64::MAX, "long")?),
        Values::Float(builder) => builder.append_value(coerce::float(text)?),
        Values::Double(builder) => builder.append_value(coerce::double(text)?),
        Values::Decimal(builder, precision, scale) => {
            builder.append_value(coerce::decimal(text, *precision, *scale, manner.rounding)?);
        }
        Values::Timestamp(builder, _) if manner.counts.is_some() => {
            builder.append_value(coerce::counted(text, manner.counts, Unit::Micro, manner.precision)?);
        }
        Values::TimestampNs(builder, _) if manner.counts.is_some() => {
            builder.append_value(coerce::counted(text, manner.counts, Unit::Nano, manner.precision)?);
        }
        _ => return Err(wrong_type(values, Kind::Number)),
    }
    Ok(())
}

/// Pushes a text.
pub(super) fn push_text(values: &mut Values, text: &str, manner: Manner) -> Fit {
    match values {
        Values::String(builder) => builder.append_value(text),
        Values::Date(builder) => builder.append_value(coerce::date(text)?),
        Values::Time(builder) => builder.append_value(coerce::time(text, manner.precision)?),
        Values::Timestamp(builder, zoned) => {
            builder.append_value(coerce::timestamp(text, Unit::Micro, *zoned, manner.precision)?);
        }
        Values::TimestampNs(builder, zoned) => {
            builder.append_value(coerce::timestamp(text, Unit::Nano, *zoned, manner.precision)?);
        }
        Values::Decimal(builder, digits, scale) if coerce::is_number(text) => {
            builder.append_value(coerce::decimal(text, *digits, *scale, manner.rounding)?);
        }
        Values::Uuid(builder) => push_fixed(builder, &coerce::uuid(text)?)?,
        Values::Fixed(builder, length) => {
            let bytes = coerce::bytes(text)?;
            if bytes.len() != *length {
                let has = bytes.len();
                return Err(Misfit::new(
                    "wrong_length",
                    format!("the column holds exactly {length} bytes, the value has {has}"),
                ));
            }
            push_fixed(builder, &bytes)?;
        }
        Values::Binary(builder) => builder.append_value(coerce::bytes(text)?),
        _ => return Err(wrong_type(values, Kind::String)),
    }
    Ok(())
}

fn push_fixed(builder: &mut FixedSizeBinaryBuilder, bytes: &[u8]) -> Fit {
    builder.append_value(bytes).map_err(|_| Misfit::new("wrong_length", "the value has another length than the column"))
}

/// Pushes a cell of a format that knows nothing but text: what it is, the column says.
pub(super) fn push_cell(values: &mut Values, text: &str, manner: Manner) -> Fit {
    let fit = match values {
        Values::Boolean(_) => push_word(values, text),
        Values::Int(_) | Values::Long(_) | Values::Float(_) | Values::Double(_) | Values::Decimal(..) => {
            if coerce::is_number(text) {
                push_number(values, text, manner)
            } else {
                Err(wrong_type(values, Kind::String))
            }
        }
        Values::Timestamp(..) | Values::TimestampNs(..) if manner.counts.is_some() && coerce::is_number(text) => {
            push_number(values, text, manner)
        }
        _ => push_text(values, text, manner),
    };
    or_leniently(fit, values, (Kind::String, text), manner)
}

/// What did not fit is pushed all the same where the request says so and its meaning is plain.
pub(super) fn or_leniently(fit: Fit, values: &mut Values, (kind, text): (Kind, &str), manner: Manner) -> Fit {
    match fit {
        Err(misfit) if manner.leniency == Leniency::Lenient => push_leniently(values, kind, text, manner, misfit),
        fit => fit,
    }
}

/// Pushes what did not fit, for the reason `given`, where its meaning is plain all the same (`coerce=lenient`). `text` is
/// what a text says, and of everything else its JSON.
fn push_leniently(values: &mut Values, kind: Kind, text: &str, manner: Manner, given: Misfit) -> Fit {
    let counting = Manner { counts: manner.counts.or_else(|| coerce::likely_counting(text)), ..manner };
    let is_number = kind == Kind::Number || kind == Kind::String && coerce::is_number(text.trim());
    match &mut *values {
        Values::String(builder) => builder.append_value(text),
        Values::Boolean(builder) if is_number => match text.trim() {
            "0" => builder.append_value(false),
            "1" => builder.append_value(true),
            _ => return Err(given),
        },
        Values::Boolean(_) if kind == Kind::String => push_word(values, text.trim())?,
        Values::Float(builder) => match coerce::near_double(text.trim()) {
            Some(near) if near.is_finite() && coerce::as_float(near).is_infinite() => {
                return Err(Misfit::new("float_overflow", format!("{text} is too large for float")));
            }
            near => builder.append_value(near.map(coerce::as_float).ok_or(given)?),
        },
        Values::Double(builder) => builder.append_value(coerce::near_double(text.trim()).ok_or(given)?),
        _ if is_number => push_number(values, text.trim(), counting)?,
        _ => return Err(given),
    }
    Ok(())
}

fn push_word(values: &mut Values, text: &str) -> Fit {
    let value = match text {
        _ if text.eq_ignore_ascii_case("true") => true,
        _ if text.eq_ignore_ascii_case("false") => false,
        _ => return Err(wrong_type(values, Kind::String)),
    };
    if let Values::Boolean(builder) = values {
        builder.append_value(value);
    }
    Ok(())
}

/// The refusal of a value that its column has no use for.
pub(super) fn wrong_type(values: &Values, kind: Kind) -> Misfit {
    let column = match values {
        Values::Boolean(_) => "true or false",
        Values::Int(_) | Values::Long(_) => "a whole number",
        Values::Float(_) | Values::Double(_) => "a number",
        Values::Decimal(..) => "a decimal number",
        Values::Date(_) => "a date as a text",
        Values::Time(_) => "a time as a text",
        Values::Timestamp(..) | Values::TimestampNs(..) => "a date and time as a text",
        Values::String(_) => "a text",
        Values::Uuid(_) => "a UUID as a text",
        Values::Fixed(..) | Values::Binary(_) => "bytes in base64",
        Values::Struct(_) | Values::Map(..) => "an object",
        Values::List(..) => "a list",
    };
    Misfit::new("wrong_type", format!("the column takes {column}, not {}", kind.word()))
}
