//! Texts with less in them: what a pattern finds is replaced, or only the first characters are kept.
//!
//! A pattern searches every text of a value, however deep in objects and lists, but no names. Its time is linear in the text.
//! Texts may grow by what is put into them, but a row not without bound: beyond it is the misfit `row_too_large`.

use std::cell::Cell;
use std::ops::Range;

use regex::{Regex, RegexBuilder};

use super::object::{self, Edit, Fit, quoted, text_of};
use crate::ingest::coerce::Misfit;
use crate::ingest::json::lexer::{Kind, Lexer, Syntax};
use crate::limits;

/// A pattern and what is put in the place of what it finds.
#[derive(Debug)]
pub(super) struct Redaction {
    pattern: Regex,
    with: String,
    /// Groups that `with` may name.
    groups: usize,
}

impl Redaction {
    /// A redaction, or why it cannot be one.
    pub(super) fn new(pattern: &str, with: &str) -> Result<Self, String> {
        for (what, text) in [("pattern", pattern), ("with", with)] {
            let chars = text.chars().count();
            if chars > limits::RULE_PATTERN_CHARS_MAX {
                return Err(format!("{what:?} has {chars} characters: at most {}", limits::RULE_PATTERN_CHARS_MAX));
            }
        }
        let mut builder = RegexBuilder::new(pattern);
        builder.size_limit(limits::RULE_PATTERN_BYTES_MAX).dfa_size_limit(limits::RULE_PATTERN_BYTES_MAX);
        let pattern = builder.build().map_err(|error| why_not(&error))?;
        if pattern.is_match("") {
            return Err("\"pattern\" finds nothing in every text: let it ask for at least one character".to_owned());
        }
        Ok(Self { pattern, with: with.to_owned(), groups: with.matches('$').count() })
    }

    /// What becomes of a value; `room` is for how many bytes more its texts may take than they did.
    pub(super) fn edit(&self, value: &str, room: &Cell<usize>) -> Fit<Edit> {
        let mut walk = Walk { value, redaction: self, room, made: String::new(), copied: 0, fault: None };
        let read = walk.walk(&mut object::lexer(value), 0);
        match (read, walk.fault, walk.copied) {
            (_, Some(misfit), _) => Err(misfit),
            // It was JSON before; if it were not, nothing of it would be let through.
            (Err(_), None, _) => Ok(Edit::Put("null".to_owned())),
            (Ok(()), None, 0) => Ok(Edit::Keep),
            (Ok(()), None, copied) => Ok(Edit::Put(walk.made + &value[copied..])),
        }
    }

    /// The text with what was found replaced; `None` where nothing was.
    fn replaced(&self, text: &str, room: &Cell<usize>) -> Fit<Option<String>> {
        let mut made = String::new();
        let mut copied = 0;
        for captures in self.pattern.captures_iter(text) {
            let found = captures.get_match();
            made.push_str(&text[copied..found.start()]);
            copied = found.end();
            // No group holds more than what was found.
            let most = self.with.len() + self.groups.saturating_mul(found.len());
            if made.len().saturating_add(most) > copied + room.get() {
                return Err(Misfit::new("row_too_large", "the texts that a rule redacts become too long by it"));
            }
            captures.expand(&self.with, &mut made);
        }
        if copied == 0 && made.is_empty() {
            return Ok(None);
        }
        made.push_str(&text[copied..]);
        room.set(room.get().saturating_sub(made.len().saturating_sub(text.len())));
        Ok(Some(made))
    }
}

/// The last line of what is wrong with a pattern; those before show the place by a mark below it.
fn why_not(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    let reason = last.strip_prefix("error: ").unwrap_or(last);
    format!("\"pattern\" is no pattern of the regex crate (docs.rs/regex) within its limits: {reason}")
}

/// A value on its way to being written again.
struct Walk<'a, 'r> {
    value: &'a str,
    redaction: &'r Redaction,
    room: &'r Cell<usize>,
    made: String,
    /// Bytes of the value that are in `made`, or replaced there.
    copied: usize,
    fault: Option<Misfit>,
}

impl<'a> Walk<'a, '_> {
    fn walk(&mut self, lexer: &mut Lexer<'a>, depth: usize) -> Result<(), Syntax> {
        match lexer.kind()? {
            Kind::Array => lexer.items(depth, |lexer| self.walk(lexer, depth + 1)),
            Kind::Object => lexer.members(depth, |lexer, _| self.walk(lexer, depth + 1)),
            Kind::String => {
                let start = lexer.place();
                let text = lexer.string()?;
                self.text(&text, start..lexer.place());
                Ok(())
            }
            Kind::Number | Kind::True | Kind::False | Kind::Null => lexer.skip(depth).map(drop),
        }
    }

    fn text(&mut self, text: &str, span: Range<usize>) {
        if self.fault.is_some() {
            return;
        }
        match self.redaction.replaced(text, self.room) {
            Ok(None) => {}
            Ok(Some(replaced)) => {
                self.made.push_str(&self.value[self.copied..span.start]);
                self.made.push_str(&quoted(&replaced));
                self.copied = span.end;
            }
            Err(misfit) => self.fault = Some(misfit),
        }
    }
}

/// Keeps the first characters of a text; what is none stays as it is.
pub(super) fn limited(value: &str, chars: usize) -> Edit {
    let Some(text) = text_of(value) else { return Edit::Keep };
    match text.char_indices().nth(chars) {
        Some((at, _)) => Edit::Put(quoted(&text[..at])),
        None => Edit::Keep,
    }
}
