//! What rules do to one value: another type, a hash, a coarser number; and which of the neighbours does the rest.
//!
//! Null stays null. What a rule cannot do with a value is a misfit of the row.

use std::cell::Cell;

use ring::hmac;

use super::derive::Grain;
use super::mask::Masks;
use super::object::{Edit, Fit, kind_of, quoted, text_of};
use super::redact::{Redaction, limited};
use crate::ingest::coerce::{self, Misfit};
use crate::ingest::json::lexer::Kind;

/// Something done to a value.
#[derive(Debug)]
pub(super) enum Change {
    /// It goes.
    Drop,
    /// It becomes another type.
    Cast(CastTo),
    /// A hash stands for it.
    Hash(Box<hmac::Key>),
    /// A whole number goes down to a multiple of this one, which is above zero.
    Floor(i64),
    /// A time is cut to a unit.
    Cut(Grain),
    /// An address becomes its network.
    MaskIp(Masks),
    /// What a pattern finds is replaced.
    Redact(Redaction),
    /// A text keeps so many characters.
    Limit(usize),
}

/// What a value becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CastTo {
    String,
    Long,
    Double,
    Boolean,
}

impl CastTo {
    fn word(self) -> &'static str {
        match self {
            Self::String => "a text",
            Self::Long => "a whole number of 64 bits",
            Self::Double => "a number",
            Self::Boolean => "a boolean",
        }
    }
}

impl Change {
    /// What becomes of a value; `room` is for how many bytes more texts may take than they did.
    pub(super) fn edit(&self, value: &str, room: &Cell<usize>) -> Fit<Edit> {
        if value == "null" && !matches!(self, Self::Drop) {
            return Ok(Edit::Keep);
        }
        match self {
            Self::Drop => Ok(Edit::Remove),
            Self::Cast(to) => cast(value, *to),
            Self::Hash(key) => Ok(Edit::Put(hashed(value, key))),
            Self::Floor(width) => floored(value, *width),
            Self::Cut(grain) => grain.cut(value),
            Self::MaskIp(masks) => Ok(Edit::Put(masks.masked(value))),
            Self::Redact(redaction) => redaction.edit(value, room),
            Self::Limit(chars) => Ok(limited(value, *chars)),
        }
    }
}

/// Numbers keep the digits they are written with.
fn cast(value: &str, to: CastTo) -> Fit<Edit> {
    let kind = kind_of(value);
    let text = text_of(value);
    let said = text.as_deref().unwrap_or(value);
    let cannot = || {
        let shown = match kind {
            Kind::String | Kind::Number => coerce::quoted(said),
            _ => kind.word().to_owned(),
        };
        Misfit::new("cannot_cast", format!("{shown} does not become {}", to.word()))
    };
    let becomes = match to {
        CastTo::String if kind == Kind::String => return Ok(Edit::Keep),
        CastTo::String => return Ok(Edit::Put(quoted(value))),
        CastTo::Long => is_number(kind, said) && coerce::integer(said, i64::MIN, i64::MAX, "long").is_ok(),
        CastTo::Double => is_number(kind, said),
        CastTo::Boolean => return truth(said).map(|word| Edit::Put(word.to_owned())).ok_or_else(cannot),
    };
    match (becomes, kind) {
        (false, _) => Err(cannot()),
        (true, Kind::Number) => Ok(Edit::Keep),
        (true, _) => Ok(Edit::Put(said.to_owned())),
    }
}

fn is_number(kind: Kind, said: &str) -> bool {
    kind == Kind::Number || kind == Kind::String && coerce::is_number(said)
}

fn truth(said: &str) -> Option<&'static str> {
    match said {
        "1" => Some("true"),
        "0" => Some("false"),
        _ if said.eq_ignore_ascii_case("true") => Some("true"),
        _ if said.eq_ignore_ascii_case("false") => Some("false"),
        _ => None,
    }
}

/// The hash of what a text says, and of any other value's JSON as it is written.
fn hashed(value: &str, key: &hmac::Key) -> String {
    let text = text_of(value);
    let tag = hmac::sign(key, text.as_deref().unwrap_or(value).as_bytes());
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

fn floored(value: &str, width: i64) -> Fit<Edit> {
    let kind = kind_of(value);
    if kind != Kind::Number {
        return Err(Misfit::new("wrong_type", format!("the rule cuts whole numbers, not {}", kind.word())));
    }
    let number = coerce::integer(value, i64::MIN, i64::MAX, "long")?;
    Ok(match number.rem_euclid(width) {
        0 => Edit::Keep,
        over => Edit::Put((i128::from(number) - i128::from(over)).to_string()),
    })
}
