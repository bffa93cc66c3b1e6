//! Text → pieces that end where rows do, each with the header of its file where there is one.
//!
//! A row is a line; in cells a line end between quotes belongs to the row. Rows are cut and never looked into. Text that has
//! no row in it is passed over: a server refuses a request without rows.

use std::io::Read;

use super::chunks::{Chunk, Chunks, Ends, Packing, Reading, Size};
use super::input::{Input, Measure, fill, unreadable};
use super::names::{Dialect, First, Format};
use super::stripes::{Form, Opened, Run, WHOLE_BYTES_MAX};
use crate::error::{Error, Kind, Result};

/// Bytes of a header's first look.
const HEADER_BYTES: usize = 64 << 10;

/// How rows stand in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Records {
    /// One a line.
    Lines,
    /// Lines of cells.
    Cells(Dialect),
}

impl Records {
    fn of(form: Form) -> Self {
        match form.format {
            Format::Csv | Format::Tsv => Self::Cells(form.dialect),
            _ => Self::Lines,
        }
    }

    /// Behind the end of the first row, where that is whole.
    pub(super) fn end(self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Lines => text.iter().position(|byte| *byte == b'\n').map(|at| at + 1),
            Self::Cells(dialect) => end_of_cells(text, dialect),
        }
    }

    /// Behind the end of the first row that is not empty: the header, where there is one.
    fn end_of_header(self, text: &[u8]) -> Option<usize> {
        let mut end = 0;
        loop {
            let length = self.end(&text[end..])?;
            end += length;
            if !self.is_blank(&text[end - length..end]) {
                return Some(end);
            }
        }
    }

    /// Whether there is no row in a text. An empty cell may be one.
    fn is_blank(self, text: &[u8]) -> bool {
        match self {
            Self::Lines => text.iter().all(u8::is_ascii_whitespace),
            Self::Cells(_) => text.iter().all(|byte| matches!(byte, b'\r' | b'\n')),
        }
    }

    /// Whether rows stand under a header.
    fn has_header(self) -> bool {
        matches!(self, Self::Cells(Dialect { first: First::Header, .. }))
    }
}

/// What some programs write before the first name.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where in a row of cells a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// Before a cell's first byte.
    Begins,
    /// In one without quotes, or behind the quotes of one.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote that ends them, or is doubled.
    Quote,
}

/// Behind the line end of a row, as the server's reader has it: a quote that does not begin a cell is nothing but a character.
fn end_of_cells(text: &[u8], dialect: Dialect) -> Option<usize> {
    let start = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let mut cell = Cell::Begins;
    for (at, byte) in text.iter().enumerate().skip(start) {
        let is_quote = dialect.quote == Some(*byte);
        cell = match (cell, *byte) {
            (Cell::Quoted, _) if is_quote => Cell::Quote,
            (Cell::Quoted, _) => Cell::Quoted,
            (_, b'\n') => return Some(at + 1),
            (Cell::Begins | Cell::Quote, _) if is_quote => Cell::Quoted,
            // Alone it ends a line too, though pieces are not cut there.
            (_, b'\r') => Cell::Begins,
            (_, byte) if byte == dialect.delimiter => Cell::Begins,
            _ => Cell::Plain,
        };
    }
    None
}

/// What bounds a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Most {
    /// How large it is, unless a single row is larger.
    pub(super) size: Size,
    /// The row that ends behind this place is the last one.
    pub(super) to: Option<usize>,
}

/// Whether more text may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    ToCome,
    Nothing,
}

/// How much of a text goes into one piece; `None` where no row is whole.
pub(super) fn cut(text: &[u8], records: Records, most: Most, rest: Rest) -> Option<usize> {
    let (mut end, mut rows) = (0, 0);
    while let Some(length) = records.end(&text[end..]) {
        if end > 0 && end + length > most.size.bytes {
            return Some(end);
        }
        (end, rows) = (end + length, rows + 1);
        if rows == most.size.rows || most.to.is_some_and(|to| end > to) {
            return Some(end);
        }
    }
    match rest {
        Rest::Nothing if end == 0 || text.len() <= most.size.bytes => Some(text.len()),
        _ => (end > 0).then_some(end),
    }
}

/// The pieces of a stripe of text.
pub(super) struct TextChunks {
    text: Box<dyn Read>,
    records: Records,
    /// What stands before the rows of each piece, once it is known.
    header: Option<Vec<u8>>,
    /// What was read and not handed out, and where that begins.
    buffer: Vec<u8>,
    at: u64,
    /// Whether nothing comes behind it.
    ended: bool,
    /// No row that begins behind this place is the stripe's.
    to: Option<u64>,
    measure: Measure,
    /// Whether to look for what comes behind a piece before it is handed out: who types may take their time.
    looks_ahead: bool,
    size: Size,
    form: (&'static str, Packing),
}

impl TextChunks {
    /// The pieces from a place on.
    pub(super) fn open(reading: &Reading) -> Result<Self> {
        let Opened { input, form, .. } = &*reading.file;
        let (first, to) = match reading.stripe.run {
            Run::Lines { from, to } => (from, Some(to)),
            _ => (0, None),
        };
        let (at, records) = (reading.from.unwrap_or(first), Records::of(*form));
        let header = if at > 0 && records.has_header() { Some(header(input, *form, records)?) } else { None };
        let (text, measure) = input.text(form.compression, at)?;
        let mut chunks = Self {
            text,
            records,
            header,
            buffer: Vec::new(),
            at,
            ended: false,
            to,
            measure: measure.unwrap_or(Measure::From(first)),
            looks_ahead: input.stored().is_some(),
            size: reading.size,
            form: (content_type(form.format), reading.packing),
        };
        if reading.from.is_none() && first > 0 {
            chunks.skip_row()?;
        }
        Ok(chunks)
    }

    /// Passes over the row that an earlier stripe has.
    fn skip_row(&mut self) -> Result<()> {
        loop {
            self.fill(self.size.bytes)?;
            let end = self.records.end(&self.buffer);
            let gone = end.unwrap_or(self.buffer.len());
            self.buffer.drain(..gone);
            self.at += gone as u64;
            if end.is_some() || self.ended {
                return Ok(());
            }
        }
    }

    fn fill(&mut self, wanted: usize) -> Result<()> {
        if !self.ended && self.buffer.len() < wanted {
            fill(&mut *self.text, &mut self.buffer, wanted).map_err(unreadable)?;
            self.ended = self.buffer.len() < wanted;
        }
        Ok(())
    }

    fn is_behind(&self) -> bool {
        self.to.is_some_and(|to| self.at > to)
    }

    /// Whether there is nothing more.
    fn is_over(&mut self) -> Result<bool> {
        if self.is_behind() {
            return Ok(true);
        }
        if self.buffer.is_empty() && self.looks_ahead {
            self.fill(self.size.bytes)?;
        }
        Ok(self.buffer.is_empty() && self.ended)
    }

    /// How much of the buffer comes next.
    fn cut(&mut self) -> Result<Option<usize>> {
        let mut wanted = self.size.bytes;
        while !self.is_behind() {
            self.fill(wanted)?;
            if self.buffer.is_empty() {
                break;
            }
            let to = self.to.map(|to| usize::try_from(to - self.at).unwrap_or(usize::MAX));
            let rest = if self.ended { Rest::Nothing } else { Rest::ToCome };
            if let Some(length) = cut(&self.buffer, self.records, Most { size: self.size, to }, rest) {
                return Ok(Some(length));
            }
            if self.buffer.len() >= WHOLE_BYTES_MAX {
                let message = format!("The row at byte {} has more than {WHOLE_BYTES_MAX} bytes", self.at);
                return Err(Error::new(Kind::TooLarge, message));
            }
            wanted = (self.buffer.len() * 2).min(WHOLE_BYTES_MAX);
        }
        Ok(None)
    }

    /// What is sent of a piece; `None` where it has no rows.
    fn body(&mut self, text: Vec<u8>) -> Option<Vec<u8>> {
        let records = self.records;
        if records.is_blank(&text) {
            return None;
        }
        if let Some(header) = &self.header {
            return Some([&header[..], &text].concat());
        }
        if !records.has_header() {
            return Some(text);
        }
        // Lines may end as they did on old machines: the server knows.
        let Some(end) = records.end_of_header(&text) else { return text.contains(&b'\r').then_some(text) };
        self.header = Some(text[..end].to_vec());
        (!records.is_blank(&text[end..])).then_some(text)
    }
}

impl Chunks for TextChunks {
    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            let Some(length) = self.cut()? else { return Ok(None) };
            let rest = self.buffer.split_off(length);
            let text = std::mem::replace(&mut self.buffer, rest);
            self.at += length as u64;
            let last = self.is_over()?;
            if let Some(body) = self.body(text) {
                let ends = Ends { next: self.at, last, reached: self.measure.reached(self.at) };
                let (content_type, packing) = self.form;
                return Chunk::of(body, content_type, packing, ends).map(Some);
            }
            if last {
                return Ok(None);
            }
        }
    }
}

/// The header of a file.
fn header(input: &Input, form: Form, records: Records) -> Result<Vec<u8>> {
    let (mut text, _) = input.text(form.compression, 0)?;
    let (mut header, mut wanted) = (Vec::new(), HEADER_BYTES);
    loop {
        fill(&mut *text, &mut header, wanted).map_err(unreadable)?;
        if let Some(end) = records.end_of_header(&header) {
            header.truncate(end);
            return Ok(header);
        }
        if header.len() < wanted || wanted > WHOLE_BYTES_MAX {
            return Err(Error::invalid("The file has no header any more"));
        }
        wanted *= 2;
    }
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::Csv => "text/csv",
        Format::Tsv => "text/tab-separated-values",
        _ => "application/x-ndjson",
    }
}

#[cfg(test)]
mod tests;
