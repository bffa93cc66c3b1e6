//! A body of JSON rows → columns of the table's schema, with a verdict for every row, while it arrives.
//!
//! A body is a list of objects, or objects one after the other (one alone, or NDJSON). Text is gathered until it is worth
//! reading ([`WINDOW_BYTES`]) and read up to the last row that is whole; what is begun waits for the rest. Text that is not
//! JSON is refused as a whole, with the byte it stops being so. A row that does not fit is noted, with every one of its
//! faults, and the others are still looked at: a request is refused once, with everything that is wrong.
//!
//! Where the table's schema may grow, a row that asks for more of it is a [`Wish`] and no fault. From the first such row on
//! the text is kept, to be read again once the table has what was wished for.

pub(super) mod infer;
pub(super) mod lexer;
mod rows;

use arrow::record_batch::RecordBatch;

use super::columns::Shape;
use super::decode::{Decoded, Kept, Reading};
use super::evolve::Wish;
use super::verdict::{Row, Verdicts};
use crate::error::{Error, Kind, Result};
use lexer::{Lexer, Syntax};
use rows::Rows;

/// Bytes of text that are read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// Bytes that a word, a number's sign or an escape may still need to make sense.
const UNFINISHED_BYTES: usize = 12;

/// Reads one body.
pub(super) struct JsonReader {
    rows: Rows,
    reading: Reading,
    /// Text that was not read yet.
    window: Vec<u8>,
    /// How much of it must be there before it is worth reading, and how much usually must.
    worth: usize,
    usually: usize,
    framing: Framing,
    before: Before,
    batches: Vec<RecordBatch>,
    kept: Option<Kept>,
    /// How it was to read when it was made.
    asked: Reading,
    /// Rows of whole bodies whose values the columns hold.
    taken: usize,
}

impl std::fmt::Debug for JsonReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JsonReader")
    }
}

/// What came before the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) bytes: usize,
    pub(super) lines: usize,
    pub(super) rows: usize,
}

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

/// Whether more of the body may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    ToCome,
    Nothing,
}

impl JsonReader {
    /// A reader of rows for a schema.
    pub(super) fn new(shape: &Shape, reading: Reading) -> Result<Self> {
        Self::after(shape, reading, Framing::Start, Before::default())
    }

    /// A reader of what was kept by another one.
    pub(super) fn again(shape: &Shape, reading: Reading, kept: Kept) -> Result<Self> {
        let Kept::Text { text, framing, before } = kept else {
            return Err(Error::internal("Columns are not read as text"));
        };
        let mut reader = Self::after(shape, reading, framing, before)?;
        reader.window = text;
        Ok(reader)
    }

    fn after(shape: &Shape, mut reading: Reading, framing: Framing, before: Before) -> Result<Self> {
        let (rows, asked) = (Rows::new(shape, &reading)?, reading.clone());
        // A row of a few bytes takes as much in a wide table as a full one: a table's width bounds a request's rows.
        reading.bounds.rows = reading.bounds.rows.min((reading.bounds.column_bytes / rows.row_bytes()).max(1));
        let (window, batches) = (Vec::new(), Vec::new());
        let (worth, usually) = (WINDOW_BYTES, WINDOW_BYTES);
        Ok(Self { rows, reading, window, worth, usually, framing, before, batches, kept: None, asked, taken: 0 })
    }

    /// Whether it reads so.
    pub(super) fn reads_as(&self, reading: &Reading) -> bool {
        self.asked == *reading
    }

    /// Takes a whole body; how many rows it has. `None` where it is not JSON or a row does not fit as it is: then the
    /// reader is spoilt.
    pub(super) fn take(&mut self, body: &[u8]) -> Option<usize> {
        (self.framing, self.before) = (Framing::Start, Before::default());
        self.rows.forget_wishes();
        let text = std::str::from_utf8(body).ok()?;
        self.rows_of(text, Rest::Nothing).ok()?;
        let rows = self.before.rows;
        if rows == 0 || self.rows.wishing || !self.rows.verdicts.is_empty() {
            return None;
        }
        self.taken += rows;
        Some(rows)
    }

    /// The columns of all rows that were taken.
    pub(super) fn columns(mut self) -> Result<RecordBatch> {
        self.rows.finish(self.taken)
    }

    /// Takes more of the body.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.window.extend_from_slice(bytes);
        if self.window.len() >= self.worth { self.read(Rest::ToCome) } else { Ok(()) }
    }

    /// Reads the rest and says what came of the whole.
    pub(super) fn finish(mut self) -> Result<Decoded> {
        self.read(Rest::Nothing)?;
        if self.before.rows == 0 {
            return Err(Error::malformed("Request has no rows: send at least one JSON object").with_code("no_rows"));
        }
        let mut verdicts = self.rows.verdicts;
        verdicts.bad_rows = verdicts.bad_rows.min(self.before.rows);
        let wishes = self.rows.members.wishes();
        Ok(Decoded { batches: self.batches, rows: self.before.rows, verdicts, wishes: wishes?, kept: self.kept })
    }

    fn read(&mut self, rest: Rest) -> Result<()> {
        let window = std::mem::take(&mut self.window);
        let text = self.text_of(&window, rest)?;
        let (from, framing) = (self.before, self.framing);
        let taken = self.rows_of(text, rest)?;
        let rows = self.before.rows - from.rows;
        self.before.bytes += taken;
        self.before.lines += window[..taken].iter().filter(|byte| **byte == b'\n').count();
        if rows > 0 {
            self.settle(rows, || Kept::Text { text: window[..taken].to_vec(), framing, before: from })?;
        } else {
            self.rows.discard();
        }
        // A row that is larger than a window is not looked at again for every piece of it.
        self.worth = if taken == 0 { window.len() * 2 } else { self.usually + window.len() - taken };
        self.window = window;
        self.window.drain(..taken);
        if self.window.len() > self.reading.bounds.row_bytes + UNFINISHED_BYTES {
            return Err(self.row_too_large(self.before.rows, self.window.len()));
        }
        Ok(())
    }

    /// The rows of a window become columns, or are put aside until the table can take them.
    fn settle(&mut self, rows: usize, keep: impl FnOnce() -> Kept) -> Result<()> {
        if self.rows.verdicts.is_empty() && !self.rows.wishing {
            self.batches.push(self.rows.finish(rows)?);
            return Ok(());
        }
        self.rows.discard();
        if !self.rows.verdicts.is_empty() {
            // Nothing of the request will be written.
            self.batches.clear();
            self.kept = None;
            return Ok(());
        }
        match (&mut self.kept, keep()) {
            (Some(Kept::Text { text, .. }), Kept::Text { text: more, .. }) => text.extend_from_slice(&more),
            (kept, first) => *kept = Some(first),
        }
        Ok(())
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

    /// Reads the rows that are whole; how many bytes they take.
    fn rows_of(&mut self, text: &str, rest: Rest) -> Result<usize> {
        let mut lexer = Lexer::new(text, self.reading.bounds.nesting);
        let mut taken = 0;
        loop {
            match self.step(&mut lexer, rest) {
                Ok(Step::Row) => {}
                Ok(Step::Frame) => {
                    taken = lexer.place();
                    continue;
                }
                Ok(Step::Over) => return Ok(text.len()),
                Err(fault) => return Err(self.not_json(text, &fault)),
            }
            let start = lexer.place();
            let row = Row { index: self.before.rows, lines: self.before.lines, text, start };
            let before = self.rows.mark();
            let read = self.rows.row(&mut lexer, row);
            let ends = lexer.place();
            match read {
                Ok(()) if rest == Rest::Nothing || !may_go_on(text, ends) => {}
                Err(fault) if rest == Rest::Nothing || fault.at + UNFINISHED_BYTES <= text.len() => {
                    return Err(self.not_json(text, &fault));
                }
                _ => {
                    self.rows.back_to(before);
                    return Ok(taken);
                }
            }
            self.framing = if self.framing == Framing::Rows { Framing::Rows } else { Framing::AfterItem };
            (taken, self.before.rows) = (ends, self.before.rows + 1);
            self.check_bounds(ends - start)?;
        }
    }

    /// Takes what stands between rows.
    fn step(&mut self, lexer: &mut Lexer<'_>, rest: Rest) -> Result<Step, Syntax> {
        let Some(byte) = lexer.peek() else {
            let whole = matches!(self.framing, Framing::Start | Framing::Rows | Framing::End);
            let fault = Syntax { at: lexer.place(), why: "the body ends in the middle of a list" };
            return if whole || rest == Rest::ToCome { Ok(Step::Over) } else { Err(fault) };
        };
        self.framing = match (self.framing, byte) {
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
        if self.framing != Framing::Rows {
            lexer.take(byte);
        }
        Ok(Step::Frame)
    }

    fn check_bounds(&self, row_bytes: usize) -> Result<()> {
        let bounds = &self.reading.bounds;
        if row_bytes > bounds.row_bytes {
            return Err(self.row_too_large(self.before.rows - 1, row_bytes));
        }
        if self.before.rows > bounds.rows {
            let message = format!("Request has more than {} rows: send less at once", bounds.rows);
            return Err(Error::new(Kind::TooLarge, message));
        }
        Ok(())
    }

    fn row_too_large(&self, index: usize, bytes: usize) -> Error {
        let most = self.reading.bounds.row_bytes;
        Error::new(Kind::TooLarge, format!("Row {index} has {bytes} bytes or more: at most {most} are allowed"))
    }

    /// The refusal of a body that is not JSON.
    fn not_json(&self, text: &str, fault: &Syntax) -> Error {
        let before = &text.as_bytes()[..fault.at.min(text.len())];
        let line = 1 + self.before.lines + before.iter().filter(|byte| **byte == b'\n').count();
        let at = self.before.bytes + fault.at;
        Error::malformed(format!("Body is not JSON at byte {at} (line {line}): {}", fault.why))
            .with_code("malformed_json")
    }
}

/// What was found between rows.
enum Step {
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

/// What is wrong so far, to be gone back to.
#[derive(Debug, Clone, Copy)]
struct Mark {
    listed: usize,
    bad_rows: usize,
    total: usize,
    wishing: bool,
}

impl Mark {
    fn of(verdicts: &Verdicts, wishing: bool) -> Self {
        Self { listed: verdicts.listed.len(), bad_rows: verdicts.bad_rows, total: verdicts.total, wishing }
    }
}

/// The wishes of a reader's columns.
impl super::columns::Members {
    /// What rows have asked for that the schema does not have.
    pub(super) fn wishes(&self) -> Result<Vec<Wish>> {
        let mut wishes = Vec::new();
        rows::wishes_of(self, None, &mut wishes)?;
        Ok(wishes)
    }
}

#[cfg(test)]
mod tests;
