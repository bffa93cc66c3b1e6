//! How rows stand in a body of JSON: a list of objects, or objects one after the other (one alone, or NDJSON).
//!
//! Text that is not JSON is refused as a whole, with the byte it stops being so. Where rows that do not fit are left out, a
//! line of NDJSON that is not JSON is such a row: it ends where the line does.

pub(super) mod infer;
pub(super) mod lexer;

use super::coerce::Misfit;
use super::text::{Before, Layout, Rest, TextReader, UNFINISHED_BYTES};
use super::verdict::Row;
use crate::error::{Error, Result};
use lexer::{Lexer, Syntax};

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Nothing has come yet.
    Start,
    /// Objects one after the other.
    Rows,
    /// The first item of a list, or its end.
    FirstItem,
    /// An item of a list.
    Item,
    /// A comma, or the end of the list.
    AfterItem,
    /// The list is over.
    End,
}

impl TextReader {
    /// Reads the rows that are whole; how many bytes they take.
    pub(super) fn json_rows_of(&mut self, window: &[u8], mut framing: Framing, rest: Rest) -> Result<usize> {
        let text = self.text_of(window, rest)?;
        let mut lexer = Lexer::new(text, self.reading.bounds.nesting);
        let mut taken = 0;
        loop {
            match step(&mut framing, &mut lexer, rest) {
                Ok(Step::Row) => {}
                Ok(Step::Frame) => {
                    (taken, self.layout) = (lexer.place(), Layout::Json(framing));
                    continue;
                }
                Ok(Step::Over) => return Ok(text.len()),
                Err(fault) => return Err(self.not_json(text, &fault)),
            }
            let start = lexer.place();
            let row = Row { index: self.before.rows, lines: self.before.lines, text: text.as_bytes(), start };
            let before = self.rows.mark();
            let left_out = self.is_left_out(row.index);
            let read = if left_out { lexer.skip(0).map(drop) } else { self.rows.row(&mut lexer, row) };
            match read {
                Ok(()) if rest == Rest::Nothing || !may_go_on(text, lexer.place()) => {}
                Err(fault) if rest == Rest::Nothing || fault.at + UNFINISHED_BYTES <= text.len() => {
                    if !self.leaves_out() || framing != Framing::Rows {
                        return Err(self.not_json(text, &fault));
                    }
                    self.rows.back_to(before, row.index);
                    let Some(end) = line_end(text, start, rest) else { return Ok(taken) };
                    if !left_out {
                        self.rows.unreadable(row, Misfit::new("malformed_json", fault.why));
                    }
                    lexer.go_to(end);
                }
                _ => {
                    self.rows.back_to(before, row.index);
                    return Ok(taken);
                }
            }
            let ends = lexer.place();
            if !left_out && self.rows.is_worse_than(before) {
                self.rows.keep_raw(|| text[start..ends].trim_end().to_owned());
                if self.leaves_out() {
                    self.rows.ask_no_more(row.index, before);
                }
            }
            framing = if framing == Framing::Rows { Framing::Rows } else { Framing::AfterItem };
            (taken, self.layout) = (ends, Layout::Json(framing));
            self.count(ends - start)?;
        }
    }

    /// What of the window is whole characters.
    fn text_of<'a>(&self, window: &'a [u8], rest: Rest) -> Result<&'a str> {
        match std::str::from_utf8(window) {
            Ok(text) => Ok(text),
            Err(error) if rest == Rest::ToCome && error.error_len().is_none() => {
                std::str::from_utf8(&window[..error.valid_up_to()])
                    .map_err(|error| Error::internal("Text is not what it was").because(error))
            }
            Err(error) => {
                let at = self.before.bytes + error.valid_up_to();
                Err(Error::malformed(format!("Body is not UTF-8 from byte {at} on")).with_code("invalid_utf8"))
            }
        }
    }

    /// The refusal of a body that is not JSON.
    fn not_json(&self, text: &str, fault: &Syntax) -> Error {
        not_json(self.before, text, fault)
    }
}

/// The refusal of a body that is not JSON; `before` came before the text.
pub(super) fn not_json(before: Before, text: &str, fault: &Syntax) -> Error {
    let passed = &text.as_bytes()[..fault.at.min(text.len())];
    let line = 1 + before.lines + passed.iter().filter(|byte| **byte == b'\n').count();
    let at = before.bytes + fault.at;
    Error::malformed(format!("Body is not JSON at byte {at} (line {line}): {}", fault.why)).with_code("malformed_json")
}

/// Where the line ends that is at `start`; `None` if that is still to come.
pub(super) fn line_end(text: &str, start: usize, rest: Rest) -> Option<usize> {
    let line = text.as_bytes()[start..].iter().position(|byte| *byte == b'\n');
    line.map(|length| start + length).or((rest == Rest::Nothing).then_some(text.len()))
}

/// Takes what stands between rows.
pub(super) fn step(framing: &mut Framing, lexer: &mut Lexer<'_>, rest: Rest) -> Result<Step, Syntax> {
    let Some(byte) = lexer.peek() else {
        let whole = matches!(framing, Framing::Start | Framing::Rows | Framing::End);
        let fault = Syntax { at: lexer.place(), why: "the body ends in the middle of a list" };
        return if whole || rest == Rest::ToCome { Ok(Step::Over) } else { Err(fault) };
    };
    *framing = match (*framing, byte) {
        (Framing::Start, b'[') => Framing::FirstItem,
        (Framing::Start, _) => Framing::Rows,
        (Framing::FirstItem | Framing::AfterItem, b']') => Framing::End,
        (Framing::AfterItem, b',') => Framing::Item,
        (Framing::Rows | Framing::FirstItem | Framing::Item, _) => return Ok(Step::Row),
        (Framing::AfterItem, _) => {
            return Err(Syntax { at: lexer.place(), why: "a comma or the end of the list is expected" });
        }
        (Framing::End, _) => return Err(Syntax { at: lexer.place(), why: "nothing may follow the list" }),
    };
    if *framing != Framing::Rows {
        lexer.take(byte);
    }
    Ok(Step::Frame)
}

/// What was found between rows.
pub(super) enum Step {
    /// A bracket or a comma.
    Frame,
    /// The beginning of a row.
    Row,
    /// Nothing more.
    Over,
}

/// Whether a value that ends with the window may be longer: a number's digits, or a word.
fn may_go_on(text: &str, ends: usize) -> bool {
    ends == text.len() && !text.ends_with(['}', ']', '"'])
}

#[cfg(test)]
mod tests;
