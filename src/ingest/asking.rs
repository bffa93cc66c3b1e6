//! Rows that ask for more than their table has: they are tried out, the table is made or grown for them, and they are
//! written as they were tried or, where the table has become another than was thought, read again.
//!
//! A table is changed only for rows of which some are then written. What somebody else does to it meanwhile is looked at
//! anew, a few times; then the request is refused.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Fields;

use super::columns::Shape;
use super::decode::{self, Decoded, Reading};
use super::held::Held;
use super::intake::{Intake, Read, Received, Refused, Understood, lifted};
use super::lift::Gone;
use super::memory::{Reserved, weight_of};
use super::verdict::Verdicts;
use super::{AppendOptions, Ingest, create, evolve, flush, settings};
use crate::catalog::Loaded;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::limits;
use crate::names::{TableName, Tabular};

/// Rows under the columns that they ask for.
#[derive(Debug)]
pub(super) struct Tried {
    /// All of them, those before the first that asks too.
    pub(super) decoded: Decoded,
    columns: Fields,
    reading: Reading,
}

impl Ingest {
    /// Tries rows out that ask for columns. What does not fit even then is known to before a table is changed for it.
    pub(super) async fn tried(&self, table: &TableName, options: &AppendOptions, read: Read) -> Result<Read> {
        let Read { existing, understood, memory, bytes } = read;
        let as_it_is = |understood, memory| Ok(Read { existing: existing.clone(), understood, memory, bytes });
        let asks = |first: &Decoded| existing.is_none() || !first.wishes.is_empty();
        let first = match understood {
            Understood::Decoded(first) if !first.is_refused() && first.rows > 0 && asks(&first) => first,
            understood => return as_it_is(understood, memory),
        };
        let wishes = &first.wishes;
        let (schema, reading) = match existing.as_deref() {
            Some(loaded) => {
                let habits = self.habits_of(table, loaded)?;
                (evolve::with(&loaded.metadata, wishes)?, self.reading(table, (loaded, &habits), options)?)
            }
            None => {
                let schema = match options.events {
                    true => evolve::with_more(&create::described_for_events(options)?.schema, wishes)?,
                    false => Some(create::described(wishes, options)?.schema),
                };
                (schema, self.reading_for(table, None, options)?)
            }
        };
        let (Some(schema), true) = (schema, first.kept.is_some()) else {
            return as_it_is(Understood::Decoded(first), memory);
        };
        let shape = Shape::of(&Arc::new(schema))?;
        let (columns, again) = (shape.arrow.fields().clone(), (shape, reading.clone()));
        let (first, decoded, memory) = self.read_again(again, first, memory).await?;
        let understood = match decoded.is_refused() {
            true => Understood::Decoded(decoded),
            false => Understood::Tried(first, Box::new(Tried { decoded, columns, reading })),
        };
        as_it_is(understood, memory)
    }

    /// Makes the table have what rows ask for that were tried out, until they fit or are known not to.
    pub(super) async fn fit(&self, table: &TableName, options: &AppendOptions, read: Read) -> Result<Intake> {
        let Read { mut existing, understood, mut memory, mut bytes } = read;
        let (mut decoded, mut tried) = match understood {
            Understood::Decoded(decoded) => (decoded, None),
            Understood::Tried(decoded, tried) => (decoded, Some(tried)),
            Understood::Text(text, count) => {
                let table = existing.ok_or_else(|| Error::internal("Text fits no table"))?;
                let rows = vec![Held::Text(text)];
                let verdicts = Verdicts::default();
                return Ok(Intake::Fits(Received { table, rows, count, verdicts, memory, bytes }));
            }
        };
        for _ in 0..limits::SPLITS_MAX {
            if decoded.is_refused() {
                let Decoded { rows, verdicts, .. } = decoded;
                return Ok(Intake::Refused(Refused { table: existing, rows, verdicts, memory }));
            }
            let grown = match existing {
                Some(table) if decoded.wishes.is_empty() => {
                    let Decoded { batches, verdicts, .. } = decoded;
                    let count = batches.iter().map(RecordBatch::num_rows).sum();
                    let rows = batches.into_iter().map(Held::Columns).collect();
                    return Ok(Intake::Fits(Received { table, rows, count, verdicts, memory, bytes }));
                }
                Some(loaded) => {
                    let uuid = loaded.metadata.table_uuid.as_deref().ok_or_else(settings::no_uuid)?;
                    Box::pin(evolve::grow(&self.catalog, table, uuid, &decoded.wishes)).await?
                }
                None if decoded.rows == 0 => return Err(Tabular::Table.missing(table)),
                None if options.events => {
                    existing = Some(Box::pin(self.made_for_events(table, options, &decoded)).await?);
                    continue;
                }
                None => Box::pin(create::of_rows(self, table, &decoded.wishes, options)).await?,
            };
            failpoint::at("ingest.created")?;
            let habits = self.habits_of(table, &grown)?;
            let reading = self.reading(table, (&grown, &habits), options)?;
            let readers = self.readers(&habits, &grown)?;
            decoded = match tried.take() {
                Some(tried) if tried.is_of(readers.shape.arrow.fields(), &reading) => tried.decoded,
                _ => {
                    let read_again = self.read_again((readers.shape.clone(), reading), decoded, memory);
                    let (_, again, held) = Box::pin(read_again).await?;
                    memory = held;
                    again
                }
            };
            bytes = decoded.batches.iter().map(weight_of).sum();
            existing = Some(grown);
        }
        Err(flush::schema_changed())
    }

    async fn made_for_events(&self, table: &TableName, options: &AppendOptions, rows: &Decoded) -> Result<Arc<Loaded>> {
        let made = create::of_events(self, table, options).await?;
        let shape = Shape::of(made.metadata.current_schema()?)?;
        match rows.batches.iter().all(|batch| batch.schema().fields() == shape.arrow.fields()) {
            true => Ok(made),
            // Somebody else was first, and made another table.
            false => Err(flush::schema_changed()),
        }
    }

    /// Rows under other columns: those that were read are brought under them, the others are read again. They come back
    /// after what they were before.
    async fn read_again(
        &self,
        (shape, reading): (Shape, Reading),
        before: Decoded,
        mut memory: Reserved,
    ) -> Result<(Decoded, Decoded, Reserved)> {
        self.compute(move || {
            let kept = before.kept.clone();
            let kept = kept.ok_or_else(|| Error::internal("Rows that ask for columns were not kept"))?;
            let earlier: usize = before.batches.iter().map(weight_of).sum();
            memory.hold(earlier + kept.weight() * 3)?;
            let mut again = decode::again(&shape, &reading, kept)?;
            let earlier =
                lifted(&before.batches, shape.arrow.fields(), Gone::Refused)?.ok_or_else(flush::schema_changed)?;
            again.batches.splice(0..0, earlier);
            let mut verdicts = before.verdicts.clone();
            verdicts.join(again.verdicts);
            again.verdicts = verdicts;
            Ok((before, again, memory))
        })
        .await
    }
}

impl Tried {
    /// Whether they would be read no differently under these columns.
    fn is_of(&self, columns: &Fields, reading: &Reading) -> bool {
        self.columns == *columns && self.reading == *reading
    }
}
