//! A body of text rows → columns of the table's schema, with a verdict for every row, while it arrives.
//!
//! Text is gathered until it is worth reading ([`WINDOW_BYTES`]) and read up to the last row that is whole; what is begun
//! waits for the rest. How rows stand in the text is the format's: [`json`](super::json), [`csv`](super::csv). A row that
//! does not fit is noted, with every one of its faults, and the others are still looked at: a request is refused once, with
//! everything that is wrong. Where rows that do not fit are left out, a window that has some is read once more without them.
//!
//! Where the table's schema may grow, a row that asks for more of it is a [`Wish`](super::evolve::Wish) and no fault. From
//! the first such row on the text is kept, to be read again once the table has what was wished for. Rows that are left out
//! have no wishes. Rows of windows before that are columns already and become what the table has now; of a number in a
//! column of floats that is widened then (by one that no float comes near), there is what a float holds of it.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::columnar::too_many_rejected;
use super::columns::Shape;
use super::csv::Header;
use super::decode::{Decoded, Kept, Reading};
use super::json::Framing;
use super::rows::Rows;
use super::verdict::OnError;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// Bytes of text that are read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// Bytes that a word, a number's sign or an escape may still need to make sense.
pub(super) const UNFINISHED_BYTES: usize = 12;

/// Reads one body.
#[derive(Debug)]
pub(super) struct TextReader {
    pub(super) rows: Rows,
    pub(super) reading: Reading,
    shape: Shape,
    /// Text that was not read yet.
    window: Vec<u8>,
    /// How much of it must be there before it is worth reading, and how much usually must.
    pub(super) worth: usize,
    pub(super) usually: usize,
    pub(super) layout: Layout,
    pub(super) before: Before,
    batches: Vec<RecordBatch>,
    kept: Option<Kept>,
    /// Rows that are left out, by their places in the body.
    pub(super) left_out: HashSet<usize>,
    /// Whether one of them may have asked for something before it was.
    tainted: bool,
    /// How it was to read when it was made.
    asked: Reading,
    /// Rows of whole bodies whose values the columns hold.
    taken: usize,
}

/// How rows stand in the text, and what of it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// JSON.
    Json(Framing),
    /// Lines of cells; their header once it was read.
    Csv(Option<Arc<Header>>),
}

/// What came before the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) bytes: usize,
    pub(super) lines: usize,
    pub(super) rows: usize,
}

/// Whether more of the body may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    ToCome,
    Nothing,
}

/// Text that is to be read again, and what came before it.
#[derive(Debug, Clone)]
pub(super) struct KeptText {
    pub(super) text: Vec<u8>,
    layout: Layout,
    before: Before,
    left_out: HashSet<usize>,
}

impl TextReader {
    /// A reader of JSON rows for a schema.
    pub(super) fn json(shape: &Shape, reading: Reading) -> Result<Self> {
        Self::after(shape, reading, Layout::Json(Framing::Start), Before::default())
    }

    /// A reader of lines of cells for a schema.
    pub(super) fn csv(shape: &Shape, reading: Reading) -> Result<Self> {
        Self::after(shape, reading, Layout::Csv(None), Before::default())
    }

    /// A reader of what was kept by another one.
    pub(super) fn again(shape: &Shape, reading: Reading, kept: KeptText) -> Result<Self> {
        let KeptText { text, layout, before, left_out } = kept;
        let mut reader = Self::after(shape, reading, layout, before)?;
        (reader.window, reader.left_out) = (text, left_out);
        Ok(reader)
    }

    fn after(shape: &Shape, mut reading: Reading, layout: Layout, before: Before) -> Result<Self> {
        let (rows, asked) = (Rows::new(shape, &reading)?, reading.clone());
        // A row of a few bytes takes as much in a wide table as a full one: a table's width bounds a request's rows.
        reading.bounds.rows = reading.bounds.rows.min((reading.bounds.column_bytes / rows.row_bytes()).max(1));
        Ok(Self {
            rows,
            reading,
            shape: shape.clone(),
            window: Vec::new(),
            worth: WINDOW_BYTES,
            usually: WINDOW_BYTES,
            layout,
            before,
            batches: Vec::new(),
            kept: None,
            left_out: HashSet::new(),
            tainted: false,
            asked,
            taken: 0,
        })
    }

    /// Whether it reads so.
    pub(super) fn reads_as(&self, reading: &Reading) -> bool {
        self.asked == *reading
    }

    /// Takes a whole body of JSON; how many rows it has. `None` where it is not JSON or a row does not fit as it is: then
    /// the reader is spoilt.
    pub(super) fn take(&mut self, body: &[u8]) -> Option<usize> {
        (self.layout, self.before) = (Layout::Json(Framing::Start), Before::default());
        self.rows.forget_wishes();
        self.rows_of(body, Rest::Nothing).ok()?;
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
            return Err(Error::malformed("Request has no rows: send at least one").with_code("no_rows"));
        }
        // What is known of fields beyond that comes from rows that were broken off or are left out.
        let wishes = if self.kept.is_some() { self.rows.wishes()? } else { Vec::new() };
        let mut verdicts = self.rows.verdicts;
        verdicts.bad_rows = verdicts.bad_rows.min(self.before.rows);
        if let (true, Some(Kept::Text(kept))) = (self.tainted, &mut self.kept) {
            // What rows ask for that are left out is not to be had from the others.
            let kept = std::mem::replace(kept, KeptText::nothing());
            let clean = Self::again(&self.shape, self.asked, kept)?.finish()?;
            self.batches.extend(clean.batches);
            verdicts.join(clean.verdicts);
            return Ok(Decoded {
                batches: self.batches,
                rows: clean.rows,
                verdicts,
                wishes: clean.wishes,
                kept: clean.kept,
            });
        }
        Ok(Decoded { batches: self.batches, rows: self.before.rows, verdicts, wishes, kept: self.kept })
    }

    fn read(&mut self, rest: Rest) -> Result<()> {
        let window = std::mem::take(&mut self.window);
        let (from, layout) = (self.before, self.layout.clone());
        let known_bad = self.rows.verdicts.rejected.len();
        let mut taken = self.rows_of(&window, rest)?;
        let bad = self.rows.verdicts.left_out(known_bad);
        if !bad.is_empty() {
            self.left_out.extend(bad);
            self.tainted |= self.rows.wishing;
            if !self.rows.wishing {
                // The columns have values of theirs, and know of fields that nobody else has.
                self.rows.discard();
                self.rows.members.forget_wishes();
                let (rows, found) = (self.before.rows, self.rows.verdicts.total);
                (self.before, self.layout) = (from, layout.clone());
                let again = self.rows_of(&window, rest)?;
                if (again, self.before.rows, self.rows.verdicts.total) != (taken, rows, found) {
                    return Err(Error::internal("Rows are others when they are read without those that do not fit"));
                }
                taken = again;
            }
        }
        let rows = self.before.rows - from.rows;
        self.before.bytes += taken;
        self.before.lines += window[..taken].iter().filter(|byte| **byte == b'\n').count();
        if rows > 0 {
            self.settle(&window[..taken], layout, from)?;
        } else {
            self.rows.discard();
            if let Some(Kept::Text(kept)) = &mut self.kept {
                // A list ends, or goes on, between its rows.
                kept.text.extend_from_slice(&window[..taken]);
            }
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

    /// Reads the rows that are whole; how many bytes they take.
    fn rows_of(&mut self, window: &[u8], rest: Rest) -> Result<usize> {
        match self.layout {
            Layout::Json(framing) => self.json_rows_of(window, framing, rest),
            Layout::Csv(_) => self.csv_rows_of(window, rest),
        }
    }

    /// The rows of a window become columns, or are put aside until the table can take them.
    fn settle(&mut self, text: &[u8], layout: Layout, before: Before) -> Result<()> {
        let fine = self.rows.verdicts.is_empty() || self.leaves_out();
        if fine && !self.rows.wishing {
            let left_out = (before.rows..self.before.rows).filter(|row| self.left_out.contains(row)).count();
            let batch = self.rows.finish(self.before.rows - before.rows - left_out)?;
            self.batches.extend((batch.num_rows() > 0).then_some(batch));
            return Ok(());
        }
        self.rows.discard();
        if !fine {
            // Nothing of the request will be written.
            self.batches.clear();
            self.kept = None;
            return Ok(());
        }
        match &mut self.kept {
            Some(Kept::Text(kept)) => kept.text.extend_from_slice(text),
            kept => {
                let left_out = HashSet::new();
                *kept = Some(Kept::Text(KeptText { text: text.to_vec(), layout, before, left_out }));
            }
        }
        if let Some(Kept::Text(kept)) = &mut self.kept {
            kept.left_out.clone_from(&self.left_out);
        }
        Ok(())
    }

    /// Whether rows that do not fit are left out.
    pub(super) fn leaves_out(&self) -> bool {
        self.reading.on_error != OnError::Abort
    }

    /// Whether a row is left out.
    pub(super) fn is_left_out(&self, row: usize) -> bool {
        !self.left_out.is_empty() && self.left_out.contains(&row)
    }

    /// Counts a row of so many bytes, if there may be one more of that size.
    pub(super) fn count(&mut self, row_bytes: usize) -> Result<()> {
        self.before.rows += 1;
        let bounds = &self.reading.bounds;
        if row_bytes > bounds.row_bytes {
            return Err(self.row_too_large(self.before.rows - 1, row_bytes));
        }
        if self.before.rows > bounds.rows {
            let message = format!("Request has more than {} rows: send less at once", bounds.rows);
            return Err(Error::new(Kind::TooLarge, message));
        }
        if self.rows.verdicts.rejected.len() > limits::REJECTED_ROWS_MAX {
            return Err(too_many_rejected());
        }
        Ok(())
    }

    fn row_too_large(&self, index: usize, bytes: usize) -> Error {
        let most = self.reading.bounds.row_bytes;
        Error::new(Kind::TooLarge, format!("Row {index} has {bytes} bytes or more: at most {most} are allowed"))
    }
}

impl KeptText {
    fn nothing() -> Self {
        let (text, left_out) = Default::default();
        Self { text, layout: Layout::Csv(None), before: Before::default(), left_out }
    }
}
