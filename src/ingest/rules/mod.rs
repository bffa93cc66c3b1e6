//! Rules at the door: what is made of every row before it is read into columns.
//!
//! A table names its rules as one JSON list (`floeberg.ingest.rules`). They are followed in order, each on what the one
//! before it left. A row is the text of one JSON object, and so is what comes out: what no rule touches keeps its text,
//! so that no number is rounded on its way. Rules speak of a member of the row by its name, or of a value inside by a
//! JSON pointer (RFC 6901); where there is no such value, nothing happens.
//!
//! | `op` | what it does | members |
//! |---|---|---|
//! | `derive` | a part of a point in time, in UTC, as a column of its own | `column`, `from`, `as`, `unit` |
//! | `rename` | another name | `column`, `to` |
//! | `drop` | takes the value away | `column` |
//! | `default` | a value where there is none, or null | `column`, `value` |
//! | `cast` | another type, exactly or not at all | `column`, `to` |
//! | `hash` | HMAC-SHA256 under a key of the configuration, in hexadecimal digits | `column`, `key` |
//! | `truncate` | a whole number down to a multiple, or a time to its unit | `column`, `width` or `unit` |
//! | `mask-ip` | the network of an address; what is no address becomes null | `column`, `v4`, `v6` |
//! | `redact` | what a pattern finds in texts is replaced | `column`, `pattern`, `with` |
//! | `limit` | the first characters of a text | `column`, `chars` |
//! | `header` | what a header of the request says, whatever the row says | `column`, `header` |
//!
//! The target of `derive`, `rename`, `default` and `header` is a member of the row itself. Null stays null.
//!
//! How it fails: rules that are not understood are refused as a whole, with the code `malformed_rules`. A row that a rule
//! cannot take is a [`RuleFault`]. A text that is no JSON object comes back as it is: whoever reads rows names it, and so
//! must be given each of them by itself. A member that stands twice in a row still does afterwards, for its reader to refuse;
//! what changes values changes each of them.

mod act;
mod change;
mod derive;
mod mask;
pub(in crate::ingest) mod object;
mod parse;
mod redact;
mod said;

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

use super::coerce::Misfit;
use crate::error::Result;
use crate::limits;

/// The keys that values are hashed with, by name: what is not in a table's metadata, so that nobody guesses values who can
/// read that. Shown without their secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HashKeys(IndexMap<String, String>);

impl HashKeys {
    /// Keys of these names with these secrets.
    pub fn new(secrets: IndexMap<String, String>) -> Self {
        Self(secrets)
    }

    /// The secret of a key; an empty one would keep nothing.
    fn secret(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|secret| !secret.is_empty())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(move |name| self.secret(name).is_some())
    }
}

impl fmt::Debug for HashKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HashKeys").field(&self.0.keys()).finish()
    }
}

/// What of a request rules may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::ingest) struct Facts {
    /// Its headers, names in any case.
    pub(in crate::ingest) headers: Vec<(String, String)>,
    /// When it came, in milliseconds since 1970.
    pub(in crate::ingest) now_ms: i64,
}

impl Facts {
    /// What a header says; all of it where it was sent more than once.
    fn header(&self, name: &str) -> Option<String> {
        let said: Vec<&str> = self
            .headers
            .iter()
            .filter(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        (!said.is_empty()).then(|| said.join(", "))
    }
}

/// A row that a rule cannot take: the row is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ingest) struct RuleFault {
    /// Where in the row as the rule found it: a JSON pointer (RFC 6901).
    pub(in crate::ingest) pointer: String,
    /// What is wrong there.
    pub(in crate::ingest) misfit: Misfit,
}

/// The rules of a table. Cheap to clone; the same where they say the same and hash with the same keys.
#[derive(Clone)]
pub struct Rules(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rules: Vec<act::Rule>,
    source: String,
    /// Those that the rules use.
    keys: HashKeys,
}

impl Rules {
    /// The rules that a text says, or the first of them that is wrong and how. Keys that they hash with must be among `keys`.
    pub fn parse(json: &str, keys: &HashKeys) -> Result<Self> {
        let parse::Parsed { rules, source, keys } = parse::rules(json, keys)?;
        Ok(Self(Arc::new(Inner { rules, source, keys })))
    }

    /// Whether there is no rule.
    pub(in crate::ingest) fn is_empty(&self) -> bool {
        self.0.rules.is_empty()
    }

    /// The rules as JSON, without white space and the members of each in the order of the table above.
    pub fn to_json(&self) -> &str {
        &self.0.source
    }

    /// The headers of a request that the rules read, in small letters; one may come twice.
    pub(in crate::ingest) fn headers(&self) -> impl Iterator<Item = &str> {
        self.0.rules.iter().filter_map(act::Rule::header)
    }

    /// What the rules make of the text of one row.
    pub(in crate::ingest) fn apply(&self, row: &str, facts: &Facts) -> Result<String, RuleFault> {
        let mut lexer = object::lexer(row);
        let Some(mut members) = object::members_of(&mut lexer) else { return Ok(row.to_owned()) };
        let fault = |code, detail: String| RuleFault { pointer: String::new(), misfit: Misfit::new(code, detail) };
        if lexer.peek().is_some() {
            // A second row here would go by untouched.
            return Err(fault("malformed_json", "something follows the row's object".to_owned()));
        }
        let most = row.len().saturating_mul(2).saturating_add(limits::RULE_GROWTH_BYTES);
        for rule in &self.0.rules {
            rule.apply(&mut members, facts)?;
            if object::bytes_of(&members) > most {
                return Err(fault(
                    "row_too_large",
                    format!("the table's rules make more than {most} bytes of the row"),
                ));
            }
        }
        Ok(object::written(&members))
    }
}

impl Rules {
    /// A row that is kept although nothing can be made of it, without what the rules keep from being stored; `None` where
    /// that cannot be told.
    pub(in crate::ingest) fn veiled(&self, row: &str, facts: &Facts) -> Option<String> {
        let mut lexer = object::lexer(row);
        let mut members = object::members_of(&mut lexer)?;
        if lexer.peek().is_some() {
            return None;
        }
        for rule in &self.0.rules {
            let followed = rule.apply(&mut members, facts);
            if followed.is_err() && rule.veils()
                || object::bytes_of(&members) > row.len() * 2 + limits::RULE_GROWTH_BYTES
            {
                return None;
            }
        }
        Some(object::written(&members))
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self(Arc::new(Inner { rules: Vec::new(), source: "[]".to_owned(), keys: HashKeys::default() }))
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source && self.0.keys == other.0.keys
    }
}

impl Eq for Rules {}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rules").field(&self.0.source).finish()
    }
}

#[cfg(test)]
mod tests;
