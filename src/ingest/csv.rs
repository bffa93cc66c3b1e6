//! How rows stand in a body of cells: lines of them, the names first (CSV and TSV; RFC 4180, and what is usual beside it).
//!
//! A cell is nothing but text: what it is, its column says ([`push_cell`](super::scalar::push_cell)), and of a column that
//! the table does not have, what all its cells look like. A cell that is written as null is has no value, in quotes or not.
//! A line with more or fewer cells than there are names is a row that does not fit.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use serde_json::Value as Json;

use super::coerce::Misfit;
use super::text::{Layout, Rest, TextReader};
use super::verdict::Row;
use crate::error::{Error, Result};
use crate::limits;

/// How cells are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// What stands between cells.
    pub delimiter: u8,
    /// What stands around a cell that holds a delimiter, a line's end or a quote, which is doubled then; `None`: nothing.
    pub quote: Option<u8>,
    /// What a cell without a value holds.
    pub null: Cow<'static, str>,
    /// Where the names of the columns are.
    pub names: Names,
}

/// Where the names of columns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// In the first line.
    First,
    /// Nowhere: the cells are the table's columns in its order.
    OfTable,
}

impl Dialect {
    /// Commas, double quotes, nothing where there is no value, and names first.
    pub const CSV: Self = Self { delimiter: b',', quote: Some(b'"'), null: Cow::Borrowed(""), names: Names::First };

    fn reader(&self) -> Reader {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(self.delimiter).quoting(self.quote.is_some());
        if let Some(quote) = self.quote {
            builder.quote(quote);
        }
        builder.build()
    }
}

/// The names of the cells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) names: Vec<String>,
}

impl Header {
    /// That of a first line.
    fn of(cells: &Cells) -> Result<Self> {
        let refused = |why: String| Err(Error::malformed(why).with_code("bad_header"));
        let mut names: Vec<String> = Vec::with_capacity(cells.len());
        let mut known = HashSet::with_capacity(cells.len());
        if cells.len() > limits::CSV_COLUMNS_MAX {
            return refused(format!("The first line names more than {} columns", limits::CSV_COLUMNS_MAX));
        }
        for (at, cell) in cells.iter().enumerate() {
            let name = match std::str::from_utf8(cell) {
                Ok("") => return refused(format!("Column {} has no name: the first line names the columns", at + 1)),
                Ok(name) => name.to_owned(),
                Err(_) => return refused(format!("The name of column {} is not UTF-8", at + 1)),
            };
            if !known.insert(name.clone()) {
                return refused(format!("Column {name:?} stands twice in the first line"));
            }
            names.push(name);
        }
        Ok(Self { names })
    }
}

/// The cells of one line. Made once and filled again and again: a reader costs more than a line.
#[derive(Debug)]
pub(super) struct Cells {
    reader: Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
}

impl Cells {
    /// None yet, of lines written so.
    fn new(dialect: &Dialect) -> Self {
        let mut reader = dialect.reader();
        // It takes a byte order mark away before it has read anything, also where it stands in a cell.
        let _ = reader.read_record(b"\n", &mut [], &mut []);
        Self { reader, text: Vec::new(), ends: Vec::new(), count: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends[..self.count]).map(|(start, end)| &self.text[start..*end])
    }

    /// Takes the first line of a text; how many bytes it has, with the empty lines before it. `None` where it is not whole,
    /// or there is none.
    fn take(&mut self, mut text: &[u8], rest: Rest) -> Option<usize> {
        let whole = text.len();
        let (mut written, mut ended) = (0, 0);
        loop {
            let (result, read, wrote, ends) =
                self.reader.read_record(text, &mut self.text[written..], &mut self.ends[ended..]);
            text = &text[read..];
            (written, ended) = (written + wrote, ended + ends);
            match result {
                ReadRecordResult::InputEmpty if rest == Rest::ToCome => return None,
                // Asked once more with nothing, it gives what is there.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.text.resize((self.text.len() * 2).max(4_096), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize((self.ends.len() * 2).max(64), 0),
                ReadRecordResult::Record => {
                    self.count = ended;
                    return Some(whole - text.len());
                }
                ReadRecordResult::End => return None,
            }
        }
    }
}

/// Whether the last cell of a body is never closed: then a line behind it would be part of it.
fn is_open(dialect: &Dialect, line: &[u8]) -> bool {
    let longer = [line, b"\nx"].concat();
    Cells::new(dialect).take(&longer, Rest::Nothing).is_some_and(|length| length > line.len() + 1)
}

/// What some programs write before the first name.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl TextReader {
    /// Reads the rows that are whole; how many bytes they take.
    pub(super) fn csv_rows_of(&mut self, window: &[u8], rest: Rest) -> Result<usize> {
        let dialect = self.reading.dialect.clone();
        let mut at = 0;
        if self.before.bytes == 0 && self.header().is_none() {
            if window.len() < BYTE_ORDER_MARK.len() && rest == Rest::ToCome {
                return Ok(0);
            }
            at = if window.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
            if dialect.names == Names::OfTable {
                let names = self.rows.names();
                if names.is_empty() {
                    let message =
                        "A table that does not exist yet needs the names of its columns: send a first line of them";
                    return Err(Error::malformed(message).with_code("bad_header"));
                }
                self.layout = Layout::Csv(Some(Arc::new(Header { names })));
            }
        }
        let mut cells = Cells::new(&dialect);
        loop {
            let Some(length) = cells.take(&window[at..], rest) else {
                return Ok(if rest == Rest::Nothing { window.len() } else { at });
            };
            let Some(header) = self.header() else {
                self.layout = Layout::Csv(Some(Arc::new(Header::of(&cells)?)));
                at += length;
                continue;
            };
            let blank = window[at..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let row =
                Row { index: self.before.rows, lines: self.before.lines, text: window, start: at + blank.min(length) };
            if !self.is_left_out(row.index) {
                let before = self.rows.mark();
                let last = rest == Rest::Nothing && at + length == window.len();
                if last && is_open(&dialect, &window[at..]) {
                    let detail = "the last line ends inside quotes: the body is cut off, or a quote is not doubled";
                    self.rows.unreadable(row, Misfit::new("malformed_csv", detail));
                } else {
                    self.line(&header, &cells, row);
                }
                if self.rows.is_worse_than(before) {
                    let raw = &window[row.start..at + length];
                    self.rows.keep_raw(|| String::from_utf8_lossy(raw).trim_end_matches(['\r', '\n']).to_owned());
                    if self.leaves_out() {
                        self.rows.ask_no_more(row.index, before);
                    }
                }
            }
            at += length;
            self.count(length)?;
        }
    }

    fn header(&self) -> Option<Arc<Header>> {
        match &self.layout {
            Layout::Csv(header) => header.clone(),
            Layout::Json(_) => None,
        }
    }

    /// Takes a line.
    fn line(&mut self, header: &Header, cells: &Cells, row: Row<'_>) {
        if cells.len() != header.names.len() {
            let detail = format!("the line has {} cells, and there are {} columns", cells.len(), header.names.len());
            return self.rows.unreadable(row, Misfit::new("wrong_cell_count", detail));
        }
        let mut texts = Vec::with_capacity(cells.len());
        for (cell, name) in cells.iter().zip(&header.names) {
            match std::str::from_utf8(cell) {
                Ok(text) => texts.push(Some(text).filter(|text| *text != self.reading.dialect.null)),
                Err(_) => {
                    return self
                        .rows
                        .unreadable(row, Misfit::new("invalid_utf8", format!("cell {name:?} is not UTF-8")));
                }
            }
        }
        if let Some(rewriting) = self.rows.rewriting.clone() {
            let cell = |(name, text): (&String, Option<&str>)| (name.clone(), text.map_or(Json::Null, Json::from));
            let object: serde_json::Map<String, Json> = header.names.iter().zip(texts).map(cell).collect();
            return self.rows.cells_rewritten(&rewriting, &Json::Object(object).to_string(), row);
        }
        self.rows.record(header.names.iter().map(String::as_str).zip(texts), row, self.reading.bounds.nesting);
    }
}
