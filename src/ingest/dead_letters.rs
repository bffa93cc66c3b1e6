//! Rows that do not fit, put with the reason into a table of their own (`on_error=dlq`): `<table>__rejected`, which is made
//! when it is first needed, and is written in the same transaction as the rows that fit.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field as ArrowField, Schema as ArrowSchema, TimeUnit};

use super::claims::Claims;
use super::columnar::Columns;
use super::columns::Shape;
use super::decode::{self, Decoded, Evolution, Reading, Unknown};
use super::flush::Target;
use super::held::Held;
use super::intake::{Received, Refused};
use super::memory::weight_of;
use super::values::UTC;
use super::verdict::{OnError, Rejected, Verdicts};
use super::waiting::{Beside, Carried, Waiting};
use super::{Ingest, create, evolve, layout, settings};
use crate::catalog::Loaded;
use crate::catalog::metadata::schema::{Field, Schema};
use crate::catalog::metadata::types::{Primitive, Type};
use crate::error::{Error, Kind, Result, What};
use crate::limits;
use crate::names::{REJECTED_SUFFIX, TableName};

/// The columns of such a table.
const COLUMNS: [(&str, Primitive); 7] = [
    ("rejected_at", Primitive::Timestamptz),
    ("request_id", Primitive::String),
    ("row_index", Primitive::Long),
    ("code", Primitive::String),
    ("pointer", Primitive::String),
    ("message", Primitive::String),
    ("raw", Primitive::String),
];

impl Ingest {
    /// The rows of a request that do not fit, ready to be committed with the others.
    pub(super) async fn dead_letters(
        &self,
        table: &TableName,
        rejected: &[Rejected],
        request_id: &str,
    ) -> Result<Beside> {
        let name = TableName::new(table.namespace.clone(), &format!("{}{REJECTED_SUFFIX}", table.name))?;
        let batch = batch_of(rejected, request_id, self.catalog.clock().now_ms())?;
        let mut loaded = self.table_of_rejected(&name).await?;
        let mut decoded = self.letters_of(&loaded, batch)?;
        for _ in 0..limits::SPLITS_MAX {
            if decoded.is_refused() {
                let first = decoded.verdicts.listed.first().map_or("", |error| error.detail.as_str());
                let message = format!(
                    "Rows that do not fit cannot be put into {name}: {first}; nothing was written: rename that table, \
                     or send on_error=skip"
                );
                return Err(Error::new(Kind::Unprocessable, message).with_code("rejected_table_unfit"));
            }
            let uuid = loaded.metadata.table_uuid.clone().ok_or_else(settings::no_uuid)?;
            let Some(kept) = decoded.kept.take() else { return self.beside_of(name, &loaded, uuid, decoded).await };
            loaded = evolve::grow(&self.catalog, &name, &uuid, &decoded.wishes).await?;
            let shape = Shape::of(loaded.metadata.current_schema()?)?;
            decoded = decode::again(&shape, &self.reading_of_rejected(&loaded), kept)?;
        }
        Err(super::flush::schema_changed())
    }

    /// A request of whose rows none fits, with its dead letters; `None` where there are none to be kept.
    pub(super) async fn put_aside(
        &self,
        table: TableName,
        refused: Refused,
        (claims, request_id): (Claims, &str),
    ) -> Result<Option<Box<Waiting>>> {
        let Refused { table: existing, verdicts, memory, .. } = refused;
        if !verdicts.has_dead_letters() {
            return Ok(None);
        }
        verdicts.count();
        let Some(existing) = existing else {
            // How far a producer is belongs to a table, and none is made of rows that do not fit.
            return match claims.producer {
                None => self.only_dead_letters(&table, &verdicts, (claims, request_id)).await.map(Some),
                Some(_) => Ok(None),
            };
        };
        let shape = Shape::of(existing.metadata.current_schema()?)?;
        let rows = vec![Held::Columns(RecordBatch::new_empty(Arc::clone(&shape.arrow)))];
        let received = Received { table: existing, rows, count: 0, verdicts, memory, bytes: 0 };
        self.waiting(table, claims, (received, request_id)).await.map(Some)
    }

    /// Those of rows of which none fits, as rows of their own for the table of dead letters.
    pub(super) async fn only_dead_letters(
        &self,
        table: &TableName,
        verdicts: &Verdicts,
        (claims, request_id): (Claims, &str),
    ) -> Result<Box<Waiting>> {
        let Beside { target, rows, what } = self.dead_letters(table, &verdicts.rejected, request_id).await?;
        let (count, bytes) = (rows.num_rows(), weight_of(&rows));
        let received = Received {
            table: self.catalog.load_table(&target.name).await?,
            rows: vec![Held::Columns(rows)],
            count,
            verdicts: verdicts.told(),
            memory: self.memory.take(&self.owner(&target.name), bytes),
            bytes,
        };
        let waiting = self.waiting(target.name.clone(), claims, (received, request_id)).await?;
        // They were made for the columns that the table had then.
        Ok(Box::new(Waiting { target, what, ..*waiting }))
    }

    async fn beside_of(&self, name: TableName, loaded: &Loaded, uuid: String, decoded: Decoded) -> Result<Beside> {
        let row = self.catalog.find(&name).await?;
        let Some(first) = decoded.batches.first() else { return Err(Error::internal("There are no dead letters")) };
        let rows = concat_batches(&first.schema(), &decoded.batches)
            .map_err(|error| Error::internal("Dead letters cannot be put together").because(error))?;
        let target = Target {
            warehouse: self.catalog.warehouse().name().shared(),
            name,
            row: Arc::clone(&row.id),
            uuid,
            schema_id: loaded.metadata.current_schema_id,
        };
        Ok(Beside { target, rows, what: Carried::DeadLetters })
    }

    fn letters_of(&self, loaded: &Loaded, batch: RecordBatch) -> Result<Decoded> {
        let shape = Shape::of(loaded.metadata.current_schema()?)?;
        let mut columns = Columns::new(&shape, self.reading_of_rejected(loaded), 0)?;
        columns.take(batch)?;
        columns.finish()
    }

    fn reading_of_rejected(&self, loaded: &Loaded) -> Reading {
        let usual = self.first_reading(&Default::default());
        let version = loaded.metadata.format_version;
        Reading { on_error: OnError::Abort, evolution: Evolution::AddColumns, unknown: Unknown::Add, version, ..usual }
    }

    async fn table_of_rejected(&self, name: &TableName) -> Result<Arc<Loaded>> {
        match self.catalog.load_table(name).await {
            Err(error) if error.kind() == Kind::NotFound(What::Table) && self.settings.auto_create => {}
            known => return known,
        }
        let schema = schema();
        let spec = layout::partition_by("day(rejected_at)", &schema)?;
        create::as_described(self, name, schema, Some(spec)).await
    }
}

fn schema() -> Schema {
    let field = |(at, (name, kind)): (usize, &(&str, Primitive))| {
        let id = i32::try_from(at + 1).unwrap_or(0);
        let required = *name == "rejected_at";
        Field { required, ..Field::optional(id, name, Type::Primitive(kind.clone())) }
    };
    let fields = COLUMNS.iter().enumerate().map(field).collect();
    Schema { schema_id: 0, fields, identifier_field_ids: Vec::new(), extra: Default::default() }
}

fn batch_of(rejected: &[Rejected], request_id: &str, now_ms: i64) -> Result<RecordBatch> {
    let count = rejected.len();
    let text =
        |of: fn(&Rejected) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rejected.iter().map(of))) };
    let times = TimestampMicrosecondArray::from_value(now_ms.saturating_mul(1_000), count).with_timezone(UTC);
    let index = |row: &Rejected| i64::try_from(row.index).unwrap_or(i64::MAX);
    let columns: [ArrayRef; 7] = [
        Arc::new(times),
        Arc::new(StringArray::from(vec![request_id; count])),
        Arc::new(Int64Array::from_iter_values(rejected.iter().map(index))),
        text(|row| row.code),
        text(|row| &row.pointer),
        text(|row| &row.message),
        text(|row| &row.raw),
    ];
    let field = |(name, kind): &(&str, Primitive)| {
        let kind = match kind {
            Primitive::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Primitive::Long => DataType::Int64,
            _ => DataType::Utf8,
        };
        ArrowField::new(*name, kind, false)
    };
    let schema = ArrowSchema::new(COLUMNS.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.to_vec())
        .map_err(|error| Error::internal("Dead letters do not make a batch").because(error))
}
