//! Columns as others write them → columns of the table's schema, exactly or not at all.
//!
//! Columns are found by name; one whose name the table does not have, by its field id. A column of the table's own type is
//! taken as it is. Between types that can hold the same values each value is converted and converted back: where that is
//! not what it was, its row is wrong, by the codes that texts are refused with ([`coerce`](super::coerce)).

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Fields, Schema as ArrowSchema};
use arrow::record_batch::RecordBatchOptions;

use super::columns::Shape;
use super::convert;
use super::decode::{Decoded, Kept, Reading};
use super::evolve::Wish;
use super::fit::{Fault, Fit};
use super::memory::weight_of;
use super::verdict::{OnError, Verdicts};
use crate::catalog::metadata::schema::Schema;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// Takes the batches of one body.
pub(super) struct Columns {
    schema: Arc<Schema>,
    target: Fields,
    reading: Reading,
    rows_before: usize,
    /// Bytes of texts that stand once and are meant many times.
    spelled_out: usize,
    verdicts: Verdicts,
    wishes: Vec<Wish>,
    batches: Vec<RecordBatch>,
    kept: Option<Kept>,
    /// Rows that are left out, by their places in the body.
    left_out: HashSet<usize>,
}

impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Columns")
    }
}

impl Columns {
    /// Columns for a schema, of rows that so many came before.
    pub(super) fn new(shape: &Shape, mut reading: Reading, rows_before: usize) -> Result<Self> {
        let members = shape.columns();
        // A row of no bytes takes as much in a wide table as a full one: a table's width bounds a request's rows.
        reading.bounds.rows =
            reading.bounds.rows.min((reading.bounds.column_bytes / members.row_bytes().max(1)).max(1));
        Ok(Self {
            schema: Arc::clone(&shape.schema),
            target: shape.arrow.fields().clone(),
            verdicts: Verdicts::new(reading.on_error),
            reading,
            rows_before,
            spelled_out: 0,
            wishes: Vec::new(),
            batches: Vec::new(),
            kept: None,
            left_out: HashSet::new(),
        })
    }

    /// Bytes that the batches hold, about.
    pub(super) fn weight(&self) -> usize {
        let kept = self.kept.as_ref().map_or(0, Kept::weight);
        kept + self.batches.iter().map(weight_of).sum::<usize>()
    }

    /// Takes a batch.
    pub(super) fn take(&mut self, batch: RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        if self.rows_before + rows > self.reading.bounds.rows {
            let most = self.reading.bounds.rows;
            return Err(Error::new(Kind::TooLarge, format!("Request has more than {most} rows: send less at once")));
        }
        self.spelled_out += batch.columns().iter().map(convert::spelled_out).sum::<usize>();
        if self.spelled_out > self.reading.bounds.body_bytes {
            let most = self.reading.bounds.body_bytes;
            let message =
                format!("Body has more than {most} bytes when its columns are spelled out: send less at once");
            return Err(Error::new(Kind::TooLarge, message));
        }
        let (fits, columns) = self.fit(&batch)?;
        self.settle(batch, &fits, columns)?;
        self.rows_before += rows;
        Ok(())
    }

    /// The rows of a batch that fit, or all where one that does not is enough, and their columns.
    fn fit(&mut self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<ArrayRef>)> {
        let wishes = self.wishes.clone();
        for _ in 0..FITTINGS_MAX {
            let (rows, places) = self.without_left_out(batch)?;
            self.wishes.clone_from(&wishes);
            if rows.num_rows() == 0 {
                return Ok((rows, Vec::new()));
            }
            let mut fit =
                Fit { reading: &self.reading, schema: &self.schema, faults: Vec::new(), wishes: &mut self.wishes };
            let columns = fit.rows_of(&rows, &self.target)?;
            let faults = fit.faults;
            let fine = faults.is_empty();
            self.note(&rows, places.as_deref(), faults)?;
            if fine || self.reading.on_error == OnError::Abort {
                return Ok((rows, columns));
            }
        }
        Err(Error::internal("Rows that fitted without others do not fit any more"))
    }

    /// A batch without the rows that are left out, and the places of the others in it; `None` where all are there.
    fn without_left_out(&self, batch: &RecordBatch) -> Result<(RecordBatch, Option<Vec<usize>>)> {
        if self.left_out.is_empty() {
            return Ok((batch.clone(), None));
        }
        let places: Vec<usize> =
            (0..batch.num_rows()).filter(|row| !self.left_out.contains(&(self.rows_before + row))).collect();
        let mut stays = vec![false; batch.num_rows()];
        places.iter().for_each(|row| stays[*row] = true);
        Ok((filter_record_batch(batch, &BooleanArray::from(stays)).map_err(unfit)?, Some(places)))
    }

    /// Notes what is wrong with rows, and which are left out for it.
    fn note(&mut self, rows: &RecordBatch, places: Option<&[usize]>, mut faults: Vec<Fault>) -> Result<()> {
        if self.reading.on_error != OnError::Abort
            && let Some(at) = faults.iter().position(|fault| fault.row.is_none())
        {
            // What is wrong with a column is wrong with each row.
            let Fault { pointer, misfit, .. } = faults.swap_remove(at);
            faults = (0..rows.num_rows())
                .map(|row| Fault { row: Some(row), pointer: pointer.clone(), misfit: misfit.clone() })
                .collect();
        }
        faults.sort_by_key(|fault| fault.row);
        let mut last = None;
        for Fault { row, pointer, misfit } in faults {
            let row = row.unwrap_or(0);
            let place = self.rows_before + places.and_then(|places| places.get(row)).copied().unwrap_or(row);
            let first = last.replace(row) != Some(row);
            self.verdicts.bad_rows += usize::from(first);
            self.verdicts.add_at(place, pointer, misfit);
            if first && self.reading.on_error != OnError::Abort {
                self.left_out.insert(place);
                if self.reading.on_error == OnError::Dlq {
                    let raw = convert::as_json(&rows.slice(row, 1))?;
                    self.verdicts.came_as(|| raw.as_string::<i32>().value(0).to_owned());
                }
            }
        }
        if self.verdicts.rejected.len() > limits::REJECTED_ROWS_MAX {
            return Err(too_many_rejected());
        }
        Ok(())
    }

    /// A batch that fits is kept as it fits; from the first on that asks for more of the table, as it came.
    fn settle(&mut self, batch: RecordBatch, fits: &RecordBatch, columns: Vec<ArrayRef>) -> Result<()> {
        if !self.verdicts.is_empty() && self.reading.on_error == OnError::Abort {
            // Nothing of the request will be written.
            self.batches.clear();
            self.kept = None;
            return Ok(());
        }
        if self.wishes.is_empty() {
            let rows = fits.num_rows();
            if rows > 0 {
                self.batches.push(batch_of(&self.target, columns, rows)?);
            }
            return Ok(());
        }
        let rows_before = self.rows_before;
        let nothing = || Kept::Columns { batches: Vec::new(), rows_before, left_out: HashSet::new() };
        if let Kept::Columns { batches, left_out, .. } = self.kept.get_or_insert_with(nothing) {
            batches.push(batch);
            left_out.clone_from(&self.left_out);
        }
        Ok(())
    }

    /// What came of them all.
    pub(super) fn finish(self) -> Result<Decoded> {
        let Self { batches, verdicts, wishes, kept, rows_before: rows, .. } = self;
        if rows == 0 {
            return Err(Error::malformed("Request has no rows: send at least one").with_code("no_rows"));
        }
        Ok(Decoded { batches, rows, verdicts, wishes, kept })
    }
}

/// Takes batches again that were kept for a schema that has grown.
pub(super) fn again(
    shape: &Shape,
    reading: Reading,
    batches: Vec<RecordBatch>,
    (before, left_out): (usize, HashSet<usize>),
) -> Result<Decoded> {
    let mut columns = Columns { left_out, ..Columns::new(shape, reading, before)? };
    batches.into_iter().try_for_each(|batch| columns.take(batch))?;
    columns.finish()
}

fn batch_of(target: &Fields, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(ArrowSchema::new(target.clone())), columns, &options).map_err(unfit)
}

pub(super) fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::internal("Columns do not fit together").because(error)
}

/// How often a batch is looked at: once, once more without the rows that do not fit, and to be sure.
const FITTINGS_MAX: usize = 3;

/// The refusal of a request most of which would be left out.
pub(super) fn too_many_rejected() -> Error {
    let message = format!("More than {} rows of the request do not fit", limits::REJECTED_ROWS_MAX);
    Error::new(Kind::Unprocessable, message).with_code("too_many_rejected")
}
