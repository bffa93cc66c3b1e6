//! What one rule says, member by member.
//!
//! Whatever is wrong with it is refused with the place of the rule in its list, counted from 0, with what would be right, and
//! with the nearest of that.

use std::borrow::Cow;

use super::act::Place;
use super::object::{self, Member};
use crate::error::{Error, Kind, Result};
use crate::ingest::coerce;

/// A rule for messages.
pub(super) const EXAMPLE: &str = r#"{"op":"drop","column":"a"}"#;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Cast,
    Default,
    Derive,
    Drop,
    Hash,
    Header,
    Limit,
    MaskIp,
    Redact,
    Rename,
    Truncate,
}

/// The words for what rules do, and the members that each takes, in the order that they are written in.
const OPERATIONS: &[(&str, Op, &[&str])] = &[
    ("cast", Op::Cast, &["column", "to"]),
    ("default", Op::Default, &["column", "value"]),
    ("derive", Op::Derive, &["column", "from", "as", "unit"]),
    ("drop", Op::Drop, &["column"]),
    ("hash", Op::Hash, &["column", "key"]),
    ("header", Op::Header, &["column", "header"]),
    ("limit", Op::Limit, &["column", "chars"]),
    ("mask-ip", Op::MaskIp, &["column", "v4", "v6"]),
    ("redact", Op::Redact, &["column", "pattern", "with"]),
    ("rename", Op::Rename, &["column", "to"]),
    ("truncate", Op::Truncate, &["column", "width", "unit"]),
];

/// The refusal of rules.
pub(super) fn malformed(message: impl Into<String>) -> Error {
    Error::new(Kind::Unprocessable, message).with_code("malformed_rules")
}

/// One rule as it is said.
#[derive(Debug)]
pub(super) struct Said<'a> {
    index: usize,
    word: &'static str,
    /// What it does.
    pub(super) op: Op,
    takes: &'static [&'static str],
    members: Vec<Member<'a>>,
}

impl<'a> Said<'a> {
    /// The rule that a text says, at its place in the list. The text is JSON.
    pub(super) fn read(index: usize, text: &'a str) -> Result<Self> {
        let wrong = |why: String| malformed(format!("rules[{index}]: {why}"));
        let members = object::members_of(&mut object::lexer(text));
        let members = members.ok_or_else(|| wrong(format!("a rule is an object, such as {EXAMPLE}")))?;
        let (word, op, takes) = operation(&members).map_err(wrong)?;
        let said = Self { index, word, op, takes, members };
        said.check()?;
        Ok(said)
    }

    /// Refuses members that the operation does not take, and those that stand twice.
    fn check(&self) -> Result<()> {
        for (at, member) in self.members.iter().enumerate() {
            let name = &*member.name;
            if name != "op" && !self.takes.contains(&name) {
                let takes = self.takes.join(", ");
                let nearest = nearest(self.takes, name);
                return Err(self.wrong(format!("{name:?} is not one of its members: {takes}; did you mean {nearest}?")));
            }
            if self.members[..at].iter().any(|before| before.name == name) {
                return Err(self.wrong(format!("{name:?} stands twice: leave one")));
            }
        }
        Ok(())
    }

    /// The refusal of this rule.
    pub(super) fn wrong(&self, why: impl std::fmt::Display) -> Error {
        malformed(format!("rules[{}] ({}): {why}", self.index, self.word))
    }

    /// The refusal of this rule for want of a member.
    pub(super) fn missing(&self, name: &str) -> Error {
        self.wrong(format!("{name:?} is missing: it takes {}", self.takes.join(", ")))
    }

    /// The text of a member's value.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.members.iter().find(|member| member.name == name).map(|member| &*member.value)
    }

    /// A member that is a text.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'_, str>>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let no_text = || self.wrong(format!("{name:?} must be a text, not {}", object::kind_of(value).word()));
        object::text_of(value).ok_or_else(no_text).map(Some)
    }

    /// A member that is a text and must be there.
    pub(super) fn needed(&self, name: &str) -> Result<Cow<'_, str>> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// The name of a member of the row.
    pub(super) fn name(&self, name: &str) -> Result<String> {
        let text = self.needed(name)?;
        if text.is_empty() {
            return Err(self.wrong(format!("{name:?} is empty: name a column")));
        }
        if text.starts_with('/') {
            let why = "is a pointer: it must be the name of a column, as only the top of a row is written to here";
            return Err(self.wrong(format!("{name:?} = {} {why}", coerce::quoted(&text))));
        }
        Ok(text.into_owned())
    }

    /// The place of a value in the row.
    pub(super) fn place(&self, name: &str) -> Result<Place> {
        let text = self.needed(name)?;
        if text.is_empty() {
            return Err(self.wrong(format!("{name:?} is empty: name a column, or a value inside as /column/field")));
        }
        Place::parse(&text).ok_or_else(|| {
            let shown = coerce::quoted(&text);
            self.wrong(format!("{name:?} = {shown} is no JSON pointer: ~ is written ~0 there, and / in a name ~1"))
        })
    }

    /// What a member means that is one of these words.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&'static str, T)]) -> Result<Option<T>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let text: &str = &text;
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*meant));
        }
        let all: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
        let (shown, list, nearest) = (coerce::quoted(text), all.join(", "), nearest(&all, text));
        Err(self.wrong(format!("{name:?} = {shown} is not one of {list}; did you mean {nearest}?")))
    }

    /// A member that is a whole number between two bounds.
    pub(super) fn whole(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = if coerce::is_number(value) { coerce::integer(value, least, most, "").ok() } else { None };
        let why = || {
            let shown = coerce::quoted(value);
            self.wrong(format!("{name:?} must be a whole number from {least} to {most}, and is {shown}"))
        };
        number.ok_or_else(why).map(Some)
    }

    /// The rule as JSON, in the order that it is written in.
    pub(super) fn written(&self) -> String {
        let mut text = format!("{{\"op\":\"{}\"", self.word);
        for name in self.takes {
            if let Some(value) = self.value(name) {
                text.push_str(&format!(",\"{name}\":{}", compact(value)));
            }
        }
        text.push('}');
        text
    }
}

/// What the members of a rule say that it does, or why they say nothing.
fn operation(members: &[Member<'_>]) -> Result<(&'static str, Op, &'static [&'static str]), String> {
    let all: Vec<&'static str> = OPERATIONS.iter().map(|(word, ..)| *word).collect();
    let member = members.iter().find(|member| member.name == "op");
    let Some(said) = member.and_then(|member| object::text_of(&member.value)) else {
        return Err(format!("\"op\" must be one of {}, as in {EXAMPLE}", all.join(", ")));
    };
    let said: &str = &said;
    OPERATIONS.iter().find(|(word, ..)| *word == said).copied().ok_or_else(|| {
        let (shown, list) = (coerce::quoted(said), all.join(", "));
        format!("\"op\" = {shown} is not one of {list}; did you mean {}?", nearest(&all, said))
    })
}

/// The word most like another one.
fn nearest(known: &[&'static str], word: &str) -> &'static str {
    known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, word)).copied().unwrap_or_default()
}

/// JSON without the white space between its parts.
pub(super) fn compact(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    let kept = json.chars().filter(|c| {
        if !in_text {
            in_text = *c == '"';
            return !c.is_ascii_whitespace();
        }
        in_text = escaped || *c != '"';
        escaped = *c == '\\' && !escaped;
        true
    });
    kept.collect()
}
