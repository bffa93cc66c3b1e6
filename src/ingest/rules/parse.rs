//! A table's rules as JSON → rules to follow.

use indexmap::IndexMap;
use ring::hmac;

use super::HashKeys;
use super::act::Rule;
use super::change::{CastTo, Change};
use super::derive::{Derive, Grain, Part};
use super::mask::Masks;
use super::object;
use super::redact::Redaction;
use super::said::{EXAMPLE, Op, Said, compact, malformed};
use crate::error::Result;
use crate::ingest::json::lexer::{Kind, Syntax};
use crate::ingest::manner::Counting;
use crate::limits;

/// Rules that were understood.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) rules: Vec<Rule>,
    /// They as JSON.
    pub(super) source: String,
    /// The keys that they use.
    pub(super) keys: HashKeys,
}

const PARTS: &[(&str, Part)] = &[
    ("date", Part::Date),
    ("year", Part::Year),
    ("month", Part::Month),
    ("day", Part::Day),
    ("hour", Part::Hour),
    ("minute", Part::Minute),
];

const UNITS: &[(&str, Counting)] =
    &[("s", Counting::Seconds), ("ms", Counting::Millis), ("us", Counting::Micros), ("ns", Counting::Nanos)];

const GRAINS: &[(&str, Grain)] =
    &[("day", Grain::Day), ("hour", Grain::Hour), ("minute", Grain::Minute), ("second", Grain::Second)];

const TYPES: &[(&str, CastTo)] =
    &[("string", CastTo::String), ("long", CastTo::Long), ("double", CastTo::Double), ("boolean", CastTo::Boolean)];

/// Headers that let somebody in who knows what they say, and what others of that kind begin with.
const SECRET_HEADERS: &[&str] = &["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];
const SECRET_HEADERS_BEGIN: &str = "x-amz-security";

/// What stands in the place of what a pattern finds, where the rule does not say.
const REDACTED: &str = "[redacted]";

/// Understands rules.
pub(super) fn rules(json: &str, keys: &HashKeys) -> Result<Parsed> {
    let mut parser = Parser { keys, used: IndexMap::new() };
    let (mut rules, mut written) = (Vec::new(), Vec::new());
    for (index, text) in list(json)?.into_iter().enumerate() {
        let said = Said::read(index, text)?;
        rules.push(parser.rule(&said)?);
        written.push(said.written());
    }
    Ok(Parsed { rules, source: format!("[{}]", written.join(",")), keys: HashKeys::new(parser.used) })
}

/// The texts of the rules.
fn list(json: &str) -> Result<Vec<&str>> {
    if json.len() > limits::RULES_BYTES_MAX {
        return Err(malformed(format!("The rules take {} bytes: at most {}", json.len(), limits::RULES_BYTES_MAX)));
    }
    let mut lexer = object::lexer(json);
    let mut texts = Vec::new();
    let read = match lexer.kind() {
        Ok(Kind::Array) => lexer.items(0, |lexer| {
            texts.push(lexer.skip(1)?);
            Ok(())
        }),
        Ok(kind) => {
            return Err(malformed(format!("The rules must be a list, such as [{EXAMPLE}], not {}", kind.word())));
        }
        Err(fault) => Err(fault),
    };
    let over = read.and_then(|()| match lexer.peek() {
        None => Ok(()),
        Some(_) => Err(Syntax { at: lexer.place(), why: "nothing may follow the list" }),
    });
    over.map_err(|fault| malformed(format!("The rules are not JSON at byte {}: {}", fault.at, fault.why)))?;
    if texts.len() > limits::RULES_MAX {
        return Err(malformed(format!("There are {} rules: a table has at most {}", texts.len(), limits::RULES_MAX)));
    }
    Ok(texts)
}

struct Parser<'k> {
    keys: &'k HashKeys,
    used: IndexMap<String, String>,
}

impl Parser<'_> {
    fn rule(&mut self, said: &Said<'_>) -> Result<Rule> {
        match said.op {
            Op::Cast => changed(said, Change::Cast(said.word("to", TYPES)?.ok_or_else(|| said.missing("to"))?)),
            Op::Default => {
                let value = said.value("value").ok_or_else(|| said.missing("value"))?;
                Ok(Rule::Default { column: said.name("column")?, value: compact(value) })
            }
            Op::Derive => derive(said),
            Op::Drop => changed(said, Change::Drop),
            Op::Hash => changed(said, Change::Hash(Box::new(self.key(said)?))),
            Op::Header => Ok(Rule::Header { column: said.name("column")?, header: header(said)? }),
            Op::Limit => changed(said, limit(said)?),
            Op::MaskIp => changed(said, Change::MaskIp(masks(said)?)),
            Op::Redact => changed(said, redact(said)?),
            Op::Rename => rename(said),
            Op::Truncate => changed(said, truncate(said)?),
        }
    }

    /// The key that a rule hashes with.
    fn key(&mut self, said: &Said<'_>) -> Result<hmac::Key> {
        let name = said.needed("key")?;
        let Some(secret) = self.keys.secret(&name) else {
            let known: Vec<&str> = self.keys.names().collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(said.wrong(format!(
                "\"key\" = {name:?} is not configured (those that are: {known}): set ingest.hash-keys.{name} in the \
                 configuration"
            )));
        };
        self.used.insert(name.into_owned(), secret.to_owned());
        Ok(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }
}

/// A rule that does this at the place that it names.
fn changed(said: &Said<'_>, change: Change) -> Result<Rule> {
    Ok(Rule::Change { place: said.place("column")?, change })
}

fn derive(said: &Said<'_>) -> Result<Rule> {
    let part = said.word("as", PARTS)?.ok_or_else(|| said.missing("as"))?;
    let derive = Derive { from: said.place("from")?, unit: said.word("unit", UNITS)?, part };
    Ok(Rule::Derive { column: said.name("column")?, derive })
}

fn rename(said: &Said<'_>) -> Result<Rule> {
    let (column, to) = (said.name("column")?, said.name("to")?);
    if column == to {
        return Err(said.wrong("\"to\" is the name that it has: leave the rule out"));
    }
    Ok(Rule::Rename { column, to })
}

/// The header that a rule reads, in small letters.
fn header(said: &Said<'_>) -> Result<String> {
    let header = said.needed("header")?.to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if header.is_empty() || !header.bytes().all(plain) {
        return Err(said.wrong(format!("\"header\" = {header:?} is no name of a header, such as cf-ipcountry")));
    }
    if SECRET_HEADERS.contains(&header.as_str()) || header.starts_with(SECRET_HEADERS_BEGIN) {
        let why = "carries a secret, which no table may keep: name another";
        return Err(said.wrong(format!("\"header\" = {header:?} {why}")));
    }
    Ok(header)
}

fn limit(said: &Said<'_>) -> Result<Change> {
    let chars = said.whole("chars", 0, i64::from(u32::MAX))?.ok_or_else(|| said.missing("chars"))?;
    Ok(Change::Limit(usize::try_from(chars).unwrap_or_default()))
}

fn masks(said: &Said<'_>) -> Result<Masks> {
    // What could not be a number of bits would keep none.
    let bits = |name: &str, most: i64| -> Result<Option<u32>> {
        Ok(said.whole(name, 0, most)?.map(|bits| u32::try_from(bits).unwrap_or_default()))
    };
    let usual = Masks::default();
    Ok(Masks { v4: bits("v4", 32)?.unwrap_or(usual.v4), v6: bits("v6", 128)?.unwrap_or(usual.v6) })
}

fn redact(said: &Said<'_>) -> Result<Change> {
    let (pattern, with) = (said.needed("pattern")?, said.text("with")?);
    let redaction = Redaction::new(&pattern, with.as_deref().unwrap_or(REDACTED));
    redaction.map(Change::Redact).map_err(|why| said.wrong(why))
}

fn truncate(said: &Said<'_>) -> Result<Change> {
    match (said.whole("width", 1, i64::MAX)?, said.word("unit", GRAINS)?) {
        (Some(width), None) => Ok(Change::Floor(width)),
        (None, Some(grain)) => Ok(Change::Cut(grain)),
        _ => Err(said.wrong("say either \"width\", for whole numbers, or \"unit\", for times")),
    }
}
