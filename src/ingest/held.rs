//! Rows that wait: as columns or, where a request had little text, as that text.
//!
//! Columns of a single row cost many times what its text does. So a small request is only looked at when it comes, by a
//! reader that stays for the next one ([`Readers::look`]), and columns are made of many requests at once ([`columns`]).
//! Both times the text is read alike and for the same schema: what fitted then fits.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::columns::Shape;
use super::decode::Reading;
use super::memory::weight_of;
use super::text::TextReader;
use crate::error::{Error, Result};
use crate::limits;

/// Rows of one schema.
#[derive(Debug, Clone)]
pub(super) enum Held {
    /// Columns of them.
    Columns(RecordBatch),
    /// The text they came in.
    Text(Text),
}

/// The text of rows that fit.
#[derive(Debug, Clone)]
pub(super) struct Text {
    text: Arc<[u8]>,
    reading: Reading,
    readers: Arc<Readers>,
}

/// Readers of rows for one schema.
#[derive(Debug)]
pub(super) struct Readers {
    pub(super) shape: Shape,
    /// Bytes that a row takes in columns whatever it holds.
    row_bytes: usize,
    /// Those that wait for a body, and bytes that their columns hold.
    idle: Mutex<Vec<(Box<TextReader>, usize)>>,
}

/// Text of which all rows fit.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) text: Text,
    /// How many rows there are.
    pub(super) rows: usize,
    /// Bytes that it and its columns will take, about.
    pub(super) bytes: usize,
}

impl Readers {
    /// Those for a schema.
    pub(super) fn new(shape: Shape) -> Self {
        let row_bytes = shape.row_bytes();
        Self { shape, row_bytes, idle: Mutex::default() }
    }

    /// Looks at a body; `None` where it is not JSON, or a row does not fit as it is. What is wrong is not said.
    pub(super) fn look(self: &Arc<Self>, reading: &Reading, body: Vec<u8>) -> Result<Option<Seen>> {
        let idle = self.locked().pop().filter(|(reader, _)| reader.reads_as(reading));
        let (mut reader, held) =
            idle.map_or_else(|| TextReader::json(&self.shape, reading.clone()).map(|new| (Box::new(new), 0)), Ok)?;
        let Some(rows) = reader.take(&body) else { return Ok(None) };
        let columns = body.len() + rows * self.row_bytes;
        // Its values are garbage, which is thrown away now and then.
        if held + columns < limits::LOOKED_AT_BYTES_MAX {
            let mut idle = self.locked();
            if idle.len() < limits::READERS_KEPT {
                idle.push((reader, held + columns));
            }
        }
        // While columns are made of it, the text is there too.
        let bytes = body.len() + columns;
        let text = Text { text: body.into(), reading: reading.clone(), readers: Arc::clone(self) };
        Ok(Some(Seen { text, rows, bytes }))
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<(Box<TextReader>, usize)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Text {
    /// Bytes of it.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Whether it is read as another one is.
    fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.readers, &other.readers) && self.reading == other.reading
    }

    fn columns(texts: &[&Self]) -> Result<Vec<RecordBatch>> {
        let Some(first) = texts.first() else { return Ok(Vec::new()) };
        let mut reader = TextReader::json(&first.readers.shape, first.reading.clone())?;
        let changed = || Error::internal("Rows that fitted do not fit any more");
        texts.iter().try_for_each(|text| reader.take(&text.text).map(drop).ok_or_else(changed))?;
        let batch = reader.columns()?;
        metrics::counter!("floeberg_ingest_bytes_total", "stage" => "arrow").increment(weight_of(&batch) as u64);
        Ok(vec![batch])
    }
}

/// The columns of rows, in their order.
pub(super) fn columns(rows: &[Held]) -> Result<Vec<RecordBatch>> {
    let (mut batches, mut texts): (_, Vec<&Text>) = (Vec::with_capacity(1), Vec::new());
    for held in rows {
        let next = match held {
            Held::Text(text) => Some(text),
            Held::Columns(_) => None,
        };
        if !texts.last().zip(next).is_some_and(|(last, next)| last.is_like(next)) {
            batches.extend(Text::columns(&texts)?);
            texts.clear();
        }
        texts.extend(next);
        if let Held::Columns(batch) = held {
            batches.push(batch.clone());
        }
    }
    batches.extend(Text::columns(&texts)?);
    Ok(batches)
}

/// One batch of several that are alike.
pub(super) fn together(batches: &[RecordBatch]) -> Result<RecordBatch> {
    match batches {
        [only] => Ok(only.clone()),
        [first, ..] => concat_batches(&first.schema(), batches)
            .map_err(|error| Error::internal("Rows cannot be put together").because(error)),
        [] => Err(Error::internal("There are no rows")),
    }
}
