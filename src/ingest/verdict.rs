//! What is wrong with the rows of a request.

use serde::Serialize;

use super::coerce::Misfit;
use crate::limits;

/// One thing that is wrong with one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RowError {
    /// The row, counted from 0.
    pub index: usize,
    /// The line it begins on, counted from 1; none where rows are not lines of text.
    pub line: Option<usize>,
    /// Where in the row: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub detail: String,
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
}

impl Verdicts {
    /// Notes an error of the row at `index`, which begins at byte `start` of `text`.
    pub(super) fn add(&mut self, row: Row<'_>, path: &Path<'_>, misfit: Misfit) {
        self.total += 1;
        if self.listed.len() < limits::ROW_ERRORS_LISTED {
            self.listed.push(RowError {
                index: row.index,
                line: Some(row.line()),
                pointer: path.pointer(),
                code: misfit.code,
                detail: misfit.detail,
            });
        }
    }

    /// Notes an error of a row that is no text.
    pub(super) fn add_at(&mut self, index: usize, pointer: String, misfit: Misfit) {
        self.total += 1;
        if self.listed.len() < limits::ROW_ERRORS_LISTED {
            let Misfit { code, detail } = misfit;
            self.listed.push(RowError { index, line: None, pointer, code, detail });
        }
    }

    /// Counts what is listed, by code.
    pub(super) fn count(&self) {
        for error in &self.listed {
            metrics::counter!("floeberg_ingest_row_errors_total", "code" => error.code).increment(1);
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// A row of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) index: usize,
    /// Lines before the text.
    pub(super) lines: usize,
    pub(super) text: &'a str,
    pub(super) start: usize,
}

impl Row<'_> {
    /// The line the row begins on; counted only for rows that are wrong.
    pub(super) fn line(&self) -> usize {
        1 + self.lines + self.text.as_bytes()[..self.start].iter().filter(|byte| **byte == b'\n').count()
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
