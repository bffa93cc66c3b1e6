//! Rows that do not fit, put with the reason into a table of their own (`on_error=dlq`): `<table>__rejected`, which is made
//! when it is first needed, and is written in the same transaction as the rows that fit.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field as ArrowField, Schema as ArrowSchema, TimeUnit};

use super::columnar::Columns;
use super::columns::Shape;
use super::decode::{self, Decoded, Evolution, Reading, Unknown};
use super::flush::Target;
use super::verdict::{OnError, Rejected};
use super::waiting::{Beside, Carried};
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
    let times = TimestampMicrosecondArray::from_value(now_ms.saturating_mul(1_000), count).with_timezone("+00:00");
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
            Primitive::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            Primitive::Long => DataType::Int64,
            _ => DataType::Utf8,
        };
        ArrowField::new(*name, kind, false)
    };
    let schema = ArrowSchema::new(COLUMNS.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.to_vec())
        .map_err(|error| Error::internal("Dead letters do not make a batch").because(error))
}
