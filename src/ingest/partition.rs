//! Rows → rows of one partition each, sorted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StructArray, UInt32Array};
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take_record_batch};
use arrow::row::{RowConverter, SortField};
use iceberg::spec::{Literal, Schema, Struct, Transform};
use iceberg::transform::create_transform_function;

use crate::catalog::metadata::spec::{Direction, NullOrder, PartitionField, PartitionSpec, SortOrder};
use crate::error::{Error, Kind, Result};
use crate::limits;

/// The code of rows that would make more files than one commit may add.
pub(super) const TOO_MANY_FILES: &str = "too_many_partitions";

/// The rows of one partition.
#[derive(Debug)]
pub(super) struct Part {
    /// The partition's values, in the order of the spec.
    pub(super) values: Struct,
    /// What each is called in a path.
    pub(super) folders: Vec<String>,
    /// The rows.
    pub(super) rows: RecordBatch,
}

/// Splits rows by the partition spec into at most so many partitions. One partition's rows are there at a time.
pub(super) fn split(
    rows: &RecordBatch,
    schema: &Schema,
    (spec, most): (&PartitionSpec, usize),
    mut each: impl FnMut(Part) -> Result<()>,
) -> Result<()> {
    if spec.fields.is_empty() {
        return each(Part { values: Struct::empty(), folders: Vec::new(), rows: rows.clone() });
    }
    let columns = partition_columns(rows, spec)?;
    let groups = group(&columns, rows.num_rows(), most)?;
    let single = groups.len() == 1;
    for indices in groups {
        let first = indices.first().copied().unwrap_or(0) as usize;
        let mut values = Vec::with_capacity(columns.len());
        let mut folders = Vec::with_capacity(columns.len());
        for (field, column) in spec.fields.iter().zip(&columns) {
            let (value, human) =
                value_at(column, first, one_source(field.source.ids())?, &field.transform.to_string(), schema)?;
            folders.push(format!("{}={}", super::path::encode(&field.name), super::path::encode(&human)));
            values.push(value);
        }
        let rows = if single { rows.clone() } else { take(rows, indices)? };
        each(Part { values: Struct::from_iter(values), folders, rows })?;
    }
    Ok(())
}

/// An error where rows belong to more partitions than one commit may write.
pub(super) fn check_count(batches: &[RecordBatch], spec: &PartitionSpec) -> Result<()> {
    let most = limits::FILES_PER_COMMIT_MAX;
    if spec.fields.is_empty() {
        return Ok(());
    }
    let mut known: HashSet<Box<[u8]>> = HashSet::new();
    for batch in batches {
        let keys = keys(&partition_columns(batch, spec)?)?;
        for key in keys.iter() {
            if !known.contains(key.as_ref()) {
                known.insert(key.as_ref().into());
            }
            if known.len() > most {
                return Err(too_many(most));
            }
        }
    }
    Ok(())
}

/// The values of the spec's fields, row by row.
fn partition_columns(rows: &RecordBatch, spec: &PartitionSpec) -> Result<Vec<ArrayRef>> {
    let column =
        |field: &PartitionField| transformed(rows, one_source(field.source.ids())?, &field.transform.to_string());
    spec.fields.iter().map(column).collect()
}

fn one_source(ids: &[i32]) -> Result<i32> {
    match ids {
        [one] => Ok(*one),
        _ => Err(cannot("transforms of several columns")),
    }
}

fn cannot(what: &str) -> Error {
    Error::new(Kind::Unprocessable, format!("Ingest cannot write to a table with {what}"))
        .with_code("unsupported_table")
}

/// The transformed column.
fn transformed(rows: &RecordBatch, source: i32, transform: &str) -> Result<ArrayRef> {
    let column = column_of(rows, source)?;
    let parsed: Transform = transform.parse().map_err(|_| cannot(&format!("the transform {transform}")))?;
    if parsed == Transform::Unknown {
        return Err(cannot(&format!("the transform {transform}")));
    }
    let function = create_transform_function(&parsed)
        .map_err(|error| cannot(&format!("the transform {transform}")).because(error))?;
    function.transform(column).map_err(|error| cannot(&format!("the transform {transform}")).because(error))
}

/// The column with a field id, also inside structs; a null struct makes a null value.
fn column_of(rows: &RecordBatch, id: i32) -> Result<ArrayRef> {
    let fields = rows.schema();
    let found = fields.fields().iter().zip(rows.columns()).find_map(|(field, column)| find(field, column, id));
    // The spec or order names a column that the table got after these rows were decoded.
    found.ok_or_else(super::flush::schema_changed)
}

fn find(field: &arrow::datatypes::FieldRef, column: &ArrayRef, id: i32) -> Option<ArrayRef> {
    if field_id(field) == Some(id) {
        return Some(Arc::clone(column));
    }
    let inner = column.as_any().downcast_ref::<StructArray>()?;
    let found = inner.fields().iter().zip(inner.columns()).find_map(|(field, column)| find(field, column, id))?;
    let Some(nulls) = inner.nulls() else { return Some(found) };
    let both = arrow::buffer::NullBuffer::union(Some(nulls), found.nulls());
    found.to_data().into_builder().nulls(both).build().ok().map(arrow::array::make_array)
}

/// The id that a field carries.
pub(super) fn field_id(field: &arrow::datatypes::Field) -> Option<i32> {
    field.metadata().get("PARQUET:field_id").and_then(|text| text.parse().ok())
}

/// Each row's values as one text.
fn keys(columns: &[ArrayRef]) -> Result<arrow::row::Rows> {
    let failed = |error| Error::internal("Rows cannot be grouped").because(error);
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    RowConverter::new(fields).and_then(|converter| converter.convert_columns(columns)).map_err(failed)
}

fn too_many(most: usize) -> Error {
    let message = format!(
        "The rows belong to more than {most} partitions, and each would get a file of its own: send fewer at once, or \
         partition the table more coarsely"
    );
    Error::new(Kind::Unprocessable, message).with_code(TOO_MANY_FILES)
}

/// The rows of each distinct combination of values, in the order of their first row.
fn group(columns: &[ArrayRef], rows: usize, most: usize) -> Result<Vec<Vec<u32>>> {
    let keys = keys(columns)?;
    let mut known: HashMap<&[u8], usize> = HashMap::new();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut last: Option<(arrow::row::Row<'_>, usize)> = None;
    for index in 0..rows {
        let key = keys.row(index);
        let at = match last {
            Some((before, at)) if before == key => at,
            _ => *known.entry(key.data()).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            }),
        };
        if groups.len() > most {
            return Err(too_many(most));
        }
        groups[at].push(u32::try_from(index).unwrap_or(u32::MAX));
        last = Some((key, at));
    }
    Ok(groups)
}

fn take(rows: &RecordBatch, indices: Vec<u32>) -> Result<RecordBatch> {
    take_record_batch(rows, &UInt32Array::from(indices))
        .map_err(|error| Error::internal("Rows cannot be taken").because(error))
}

/// A partition value as the crate's literal, and as a person would write it.
fn value_at(
    column: &ArrayRef,
    index: usize,
    source: i32,
    transform: &str,
    schema: &Schema,
) -> Result<(Option<Literal>, String)> {
    let failed = |error: iceberg::Error| cannot(&format!("the transform {transform}")).because(error);
    let parsed: Transform = transform.parse().map_err(failed)?;
    let field = schema.field_by_id(source).ok_or_else(|| Error::internal("A partition's source column is gone"))?;
    let kind = parsed.result_type(&field.field_type).map_err(failed)?;
    let one = column.slice(index, 1);
    let literals = iceberg::arrow::arrow_primitive_to_literal(&one, &kind).map_err(failed)?;
    let value = literals.into_iter().next().flatten();
    let human = parsed.to_human_string(&kind, value.as_ref());
    Ok((value, human))
}

/// Sorts rows by the table's sort order.
pub(super) fn sort(rows: RecordBatch, order: &SortOrder) -> Result<RecordBatch> {
    if order.fields.is_empty() || rows.num_rows() < 2 {
        return Ok(rows);
    }
    let mut columns = Vec::with_capacity(order.fields.len());
    for field in &order.fields {
        let values = transformed(&rows, one_source(field.source.ids())?, &field.transform.to_string())?;
        let options = SortOptions {
            descending: field.direction == Direction::Descending,
            nulls_first: field.nulls == NullOrder::First,
        };
        columns.push(SortColumn { values, options: Some(options) });
    }
    let failed = |error| Error::internal("Rows cannot be sorted").because(error);
    let indices = lexsort_to_indices(&columns, None).map_err(failed)?;
    take_record_batch(&rows, &indices).map_err(failed)
}
