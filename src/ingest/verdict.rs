//! What is wrong with the rows of a request.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::coerce::Misfit;
use crate::limits;

/// What becomes of a request some of whose rows do not fit (`on_error`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnError {
    /// Nothing of it is written.
    #[default]
    Abort,
    /// They are left out.
    Skip,
    /// They are left out of the table and put, with the reason, into the one beside it.
    Dlq,
}

impl OnError {
    /// The one that this word means.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "abort" => Some(Self::Abort),
            "skip" => Some(Self::Skip),
            "dlq" => Some(Self::Dlq),
            _ => None,
        }
    }
}

/// One thing that is wrong with one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RowError {
    /// The row, counted from 0.
    pub index: usize,
    /// The line it begins on, counted from 1; none where rows are not lines of text.
    pub line: Option<usize>,
    /// Where in the row: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Stable, for programs.
    pub code: Cow<'static, str>,
    /// For people.
    pub detail: String,
}

/// A row that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The row, counted from 0.
    pub index: usize,
    /// Of the first thing that is wrong with it.
    pub code: &'static str,
    /// Where that is.
    pub pointer: String,
    /// All that is wrong with it.
    pub message: String,
    /// The row as it came; as JSON where it was no text.
    pub raw: String,
}

/// Everything that is wrong: the first so many, and how many there are in all.
#[derive(Debug, Clone, Default)]
pub struct Verdicts {
    /// The first ones, in the order of the rows.
    pub listed: Vec<RowError>,
    /// Rows with at least one error.
    pub bad_rows: usize,
    /// Errors in all.
    pub total: usize,
    /// The rows that are left out; none where one that does not fit is enough to write nothing.
    pub rejected: Vec<Rejected>,
    /// What becomes of rows that do not fit.
    pub(super) on_error: OnError,
}

impl Verdicts {
    /// Verdicts for a request that wants this of rows that do not fit.
    pub(super) fn new(on_error: OnError) -> Self {
        Self { on_error, ..Self::default() }
    }

    /// Notes an error of the row at `index`, which begins at byte `start` of `text`.
    pub(super) fn add(&mut self, row: Row<'_>, path: &Path<'_>, misfit: Misfit) {
        let pointer = if self.on_error != OnError::Abort || self.is_room() { path.pointer() } else { String::new() };
        self.note((row.index, self.line_of(row)), pointer, misfit);
    }

    /// Notes an error of a row, of which something was made before.
    pub(super) fn add_made(&mut self, row: Row<'_>, pointer: String, misfit: Misfit) {
        // What is kept, and answered again, does not quote what the rules may have to keep away.
        let told = Misfit::new(misfit.code, "a rule of the table cannot take the value");
        self.note((row.index, self.line_of(row)), pointer, told);
    }

    fn is_room(&self) -> bool {
        self.listed.len() < limits::ROW_ERRORS_LISTED
    }

    /// The line that a row begins on: it is counted, so only as often as it is told.
    fn line_of(&self, row: Row<'_>) -> Option<usize> {
        self.is_room().then(|| row.line())
    }

    /// Notes that a row's route leads nowhere; its place, and the line that it begins on.
    pub(super) fn add_routed(&mut self, (index, line): (usize, usize), why: &str) {
        self.add_here((index, line), Misfit::new("unknown_route", why));
    }

    /// Notes an error of a row as a whole; its place, and the line that it begins on.
    pub(super) fn add_here(&mut self, (index, line): (usize, usize), misfit: Misfit) {
        self.note((index, Some(line)), String::new(), misfit);
    }

    /// Says of rows that were read among others where they stand in the body.
    pub(super) fn move_to(&mut self, places: &[(usize, usize)]) {
        for error in &mut self.listed {
            if let Some((index, line)) = places.get(error.index) {
                (error.index, error.line) = (*index, Some(*line));
            }
        }
        for row in &mut self.rejected {
            row.index = places.get(row.index).map_or(row.index, |place| place.0);
        }
    }

    /// Notes an error of a row that is no text.
    pub(super) fn add_at(&mut self, index: usize, pointer: String, misfit: Misfit) {
        self.note((index, None), pointer, misfit);
    }

    fn note(&mut self, (index, line): (usize, Option<usize>), pointer: String, Misfit { code, detail }: Misfit) {
        self.total += 1;
        // Names and values may be as long as a row.
        let (pointer, detail) = (cut(pointer), cut(detail));
        if self.on_error != OnError::Abort {
            match self.rejected.last_mut().filter(|last| last.index == index) {
                Some(last) if last.message.len() < limits::REJECTED_MESSAGE_BYTES => {
                    last.message.push_str(&format!("; {pointer}: {detail}"));
                }
                Some(_) => {}
                None => {
                    let message = format!("{pointer}: {detail}");
                    self.rejected.push(Rejected { index, code, pointer: pointer.clone(), message, raw: String::new() });
                }
            }
        }
        if self.listed.len() < limits::ROW_ERRORS_LISTED {
            self.listed.push(RowError { index, line, pointer, code: code.into(), detail });
        }
    }

    /// The row that was last found to be wrong, as it came.
    pub(super) fn came_as(&mut self, raw: impl FnOnce() -> String) {
        if let (OnError::Dlq, Some(last)) = (self.on_error, self.rejected.last_mut()) {
            last.raw = raw();
        }
    }

    /// The places of the rows that are left out, from the `first` of them on.
    pub(super) fn left_out(&self, first: usize) -> HashSet<usize> {
        self.rejected.iter().skip(first).map(|row| row.index).collect()
    }

    /// The same without the rows that are left out, which are large.
    pub(super) fn told(&self) -> Self {
        let (listed, rejected) = (self.listed.clone(), Vec::new());
        Self { listed, rejected, ..*self }
    }

    /// Takes up what was found of rows behind these.
    pub(super) fn join(&mut self, later: Self) {
        let room = limits::ROW_ERRORS_LISTED.saturating_sub(self.listed.len());
        self.listed.extend(later.listed.into_iter().take(room));
        self.rejected.extend(later.rejected);
        (self.bad_rows, self.total) = (self.bad_rows + later.bad_rows, self.total + later.total);
    }

    /// Whether a row that does not fit is enough to write nothing, and there is one.
    pub(super) fn aborts(&self) -> bool {
        self.on_error == OnError::Abort && !self.is_empty()
    }

    /// Whether there are rows that are left out and put aside.
    pub(super) fn has_dead_letters(&self) -> bool {
        self.on_error == OnError::Dlq && !self.rejected.is_empty()
    }

    /// Whether so many rows are refused, all of them.
    pub(super) fn refuse(&self, rows: usize) -> bool {
        self.total > 0 && (self.on_error == OnError::Abort || self.bad_rows >= rows)
    }

    /// Bytes that the rows that are left out take.
    pub(super) fn weight(&self) -> usize {
        self.rejected.iter().map(|row| size_of::<Rejected>() + row.message.len() + row.raw.len()).sum()
    }

    /// Counts what is listed, by code.
    pub(super) fn count(&self) {
        for error in &self.listed {
            metrics::counter!("floeberg_ingest_row_errors_total", "code" => error.code.clone()).increment(1);
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// A text of no more bytes than are worth telling.
fn cut(mut text: String) -> String {
    if text.len() > limits::REJECTED_MESSAGE_BYTES {
        let mut end = limits::REJECTED_MESSAGE_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A row of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) index: usize,
    /// Lines before the text.
    pub(super) lines: usize,
    pub(super) text: &'a [u8],
    pub(super) start: usize,
}

impl Row<'_> {
    /// The line the row begins on; counted only for rows that are wrong.
    pub(super) fn line(&self) -> usize {
        1 + self.lines + self.text[..self.start].iter().filter(|byte| **byte == b'\n').count()
    }
}

/// A place in a row, as a chain back to the row itself: nothing is allocated until there is an error to name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// The JSON pointer.
    pub(super) fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(before, name) => format!("{}/{}", before.pointer(), name.replace('~', "~0").replace('/', "~1")),
            Self::Item(before, index) => format!("{}/{index}", before.pointer()),
        }
    }
}
