//! Rows that were read against an earlier schema of a table → the columns that it has now.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::record_batch::RecordBatchOptions;

use super::partition::field_id;
use crate::error::{Error, Result};

/// What becomes of values whose column is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// Then the rows do not fit.
    Refused,
    /// They are left out.
    LeftOut,
}

/// The rows under `to`, columns found by field id. New columns are null; a type may be wider than it was. `None` where they
/// do not fit.
pub(super) fn lift(rows: &RecordBatch, to: &Fields, gone: Gone) -> Result<Option<RecordBatch>> {
    let schema = rows.schema();
    if schema.fields() == to {
        return Ok(Some(rows.clone()));
    }
    let from = (schema.fields(), rows.columns());
    let Some(columns) = members(from, to, rows.num_rows(), gone)? else { return Ok(None) };
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let lifted = RecordBatch::try_new_with_options(Arc::new(Schema::new(to.clone())), columns, &options);
    lifted.map(Some).map_err(unfit)
}

fn members(from: (&Fields, &[ArrayRef]), to: &Fields, length: usize, gone: Gone) -> Result<Option<Vec<ArrayRef>>> {
    let ids = |fields: &Fields| fields.iter().map(|field| field_id(field)).collect::<Vec<_>>();
    let (have, want) = (ids(from.0), ids(to));
    if gone == Gone::Refused && !have.iter().all(|id| want.contains(id)) {
        return Ok(None);
    }
    let mut columns = Vec::with_capacity(to.len());
    for (field, id) in to.iter().zip(want) {
        match have.iter().position(|known| *known == id) {
            Some(at) => match column(&from.1[at], field, gone)? {
                Some(column) => columns.push(column),
                None => return Ok(None),
            },
            None if field.is_nullable() => columns.push(new_null_array(field.data_type(), length)),
            None => return Ok(None),
        }
    }
    Ok(Some(columns))
}

fn column(values: &ArrayRef, to: &Field, gone: Gone) -> Result<Option<ArrayRef>> {
    if !to.is_nullable() && values.null_count() > 0 {
        return Ok(None);
    }
    if values.data_type() == to.data_type() {
        return Ok(Some(Arc::clone(values)));
    }
    let lifted: Option<ArrayRef> = match (values.data_type(), to.data_type()) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let values = values.as_struct();
            let inner = members((values.fields(), values.columns()), fields, values.len(), gone)?;
            let made = inner.map(|inner| {
                StructArray::try_new_with_length(fields.clone(), inner, values.nulls().cloned(), values.len())
            });
            made.transpose().map_err(unfit)?.map(|made| Arc::new(made) as ArrayRef)
        }
        (DataType::List(_), DataType::List(element)) => {
            let values = values.as_list::<i32>();
            let made = column(values.values(), element, gone)?.map(|items| {
                ListArray::try_new(Arc::clone(element), values.offsets().clone(), items, values.nulls().cloned())
            });
            made.transpose().map_err(unfit)?.map(|made| Arc::new(made) as ArrayRef)
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let values = values.as_map();
            let plain: ArrayRef = Arc::new(values.entries().clone());
            let made = column(&plain, entries, gone)?.map(|lifted| {
                let (offsets, nulls) = (values.offsets().clone(), values.nulls().cloned());
                MapArray::try_new(Arc::clone(entries), offsets, lifted.as_struct().clone(), nulls, *sorted)
            });
            made.transpose().map_err(unfit)?.map(|made| Arc::new(made) as ArrayRef)
        }
        (from, to) if widens(from, to) => Some(cast(values, to).map_err(unfit)?),
        _ => None,
    };
    Ok(lifted)
}

fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    match (from, to) {
        (D::Int32, D::Int64) | (D::Float32, D::Float64) => true,
        (D::Decimal128(narrow, scale), D::Decimal128(wide, same)) => scale == same && narrow <= wide,
        _ => false,
    }
}

fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::internal("Rows do not fit their table's columns").because(error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;
    use crate::catalog::metadata::schema::Schema as TableSchema;
    use crate::ingest::decode::tests::{columns_of, rows_of};

    fn schema(fields: serde_json::Value) -> TableSchema {
        let raw = to_raw_value(&json!({"type": "struct", "fields": fields})).expect("JSON");
        TableSchema::parse(&raw).expect("a schema")
    }

    #[test]
    fn rows_follow_a_schema_that_grew() {
        let field = |id: i32, name: &str, kind: serde_json::Value| json!({"id": id, "name": name, "required": false, "type": kind});
        let point = |inner: serde_json::Value| json!({"type": "struct", "fields": inner});
        let list = |kind: &str| json!({"type": "list", "element-id": 5, "element": kind, "element-required": false});
        let map = |kind: &str| json!({"type": "map", "key-id": 7, "key": "string", "value-id": 8, "value": kind, "value-required": false});
        let then = schema(json!([
            field(1, "a", "int".into()),
            field(2, "p", point(json!([field(3, "x", "float".into())]))),
            field(4, "l", list("int")),
            field(6, "m", map("int")),
        ]));
        let now = schema(json!([
            field(6, "m", map("long")),
            field(1, "renamed", "long".into()),
            field(2, "p", point(json!([field(3, "x", "double".into()), field(9, "y", "string".into())]))),
            field(4, "l", list("long")),
            field(10, "new", "date".into()),
        ]));
        let rows = rows_of(&then, r#"{"a":1,"p":{"x":1.5},"l":[1,null],"m":{"k":2}} {"a":null,"p":null}"#);
        let lifted = lift(&rows, &columns_of(&now), Gone::Refused).expect("lifts").expect("fits");
        let again = rows_of(&now, r#"{"renamed":1,"p":{"x":1.5},"l":[1,null],"m":{"k":2}} {"renamed":null}"#);
        assert_eq!(lifted, again);
        let refused =
            |rows: &RecordBatch, to: &TableSchema| lift(rows, &columns_of(to), Gone::Refused).expect("looked at");
        assert_eq!(refused(&lifted, &then), None, "columns are not dropped");
        let fewer =
            schema(json!([field(2, "p", point(json!([field(9, "y", "string".into())]))), field(6, "m", map("long"))]));
        assert_eq!(refused(&lifted, &fewer), None);
        let left = lift(&lifted, &columns_of(&fewer), Gone::LeftOut).expect("lifts").expect("fits");
        assert_eq!(left, rows_of(&fewer, r#"{"p":{"y":null},"m":{"k":2}} {"p":null}"#), "inner ones too");
        let required = json!([{"id": 1, "name": "a", "required": true, "type": "int"}]);
        let one = rows_of(&schema(json!([field(1, "a", "int".into())])), r#"{"a":null}"#);
        assert_eq!(refused(&one, &schema(required)), None, "null in a required column");
    }
}
