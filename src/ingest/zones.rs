//! Points in time under any zone's name → the same under UTC's.
//!
//! They count the same whatever the name is, and what writes them as text knows no zone by its name.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, RecordBatch, make_array};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatchOptions;

use super::values::UTC;

/// Columns without the names of zones.
pub(super) fn in_utc(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = rows.schema();
    if !schema.fields().iter().any(|field| has_zone(field.data_type())) {
        return Ok(rows.clone());
    }
    let columns = rows.columns().iter().map(|column| Ok(make_array(data_in_utc(column.to_data())?)));
    let columns = columns.collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = Schema::new(fields_in_utc(schema.fields()));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)
}

fn data_in_utc(data: ArrayData) -> Result<ArrayData, ArrowError> {
    if !has_zone(data.data_type()) {
        return Ok(data);
    }
    let children = data.child_data().iter().cloned().map(data_in_utc).collect::<Result<Vec<_>, _>>()?;
    let kind = kind_in_utc(data.data_type());
    data.into_builder().data_type(kind).child_data(children).build()
}

fn kind_in_utc(kind: &DataType) -> DataType {
    match kind {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some(UTC.into())),
        DataType::List(item) => DataType::List(field_in_utc(item)),
        DataType::LargeList(item) => DataType::LargeList(field_in_utc(item)),
        DataType::ListView(item) => DataType::ListView(field_in_utc(item)),
        DataType::LargeListView(item) => DataType::LargeListView(field_in_utc(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field_in_utc(item), *size),
        DataType::Struct(members) => DataType::Struct(fields_in_utc(members)),
        DataType::Map(entries, sorted) => DataType::Map(field_in_utc(entries), *sorted),
        DataType::Dictionary(key, value) => DataType::Dictionary(key.clone(), Box::new(kind_in_utc(value))),
        DataType::RunEndEncoded(ends, values) => DataType::RunEndEncoded(Arc::clone(ends), field_in_utc(values)),
        other => other.clone(),
    }
}

fn field_in_utc(field: &Arc<Field>) -> Arc<Field> {
    let kind = kind_in_utc(field.data_type());
    Arc::new(field.as_ref().clone().with_data_type(kind))
}

fn fields_in_utc(fields: &Fields) -> Fields {
    fields.iter().map(field_in_utc).collect()
}

/// Whether a zone is named somewhere in a type.
fn has_zone(kind: &DataType) -> bool {
    kind_in_utc(kind) != *kind
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, DictionaryArray, Int32Array, ListArray, StructArray, TimestampMillisecondArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Int32Type, TimestampMillisecondType};

    use super::*;

    #[test]
    fn points_in_time_stay_what_they_are() {
        let times = || TimestampMillisecondArray::from(vec![Some(1), None, Some(3)]).with_timezone("Europe/Berlin");
        let kind = times().data_type().clone();
        let item = Arc::new(Field::new("item", kind.clone(), true));
        let list = ListArray::new(item, OffsetBuffer::from_lengths([2, 1]), Arc::new(times()), None);
        let inner = StructArray::from(vec![(
            Arc::new(Field::new("at", kind, true)),
            Arc::new(times().slice(1, 2)) as ArrayRef,
        )]);
        let words = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![2, 0]), Arc::new(times()));
        let columns: [(&str, ArrayRef); 4] = [
            ("list", Arc::new(list)),
            ("inner", Arc::new(inner)),
            ("words", Arc::new(words)),
            ("n", Arc::new(Int32Array::from(vec![1, 2]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).expect("rows");
        let told = in_utc(&rows).expect("the same in UTC");
        assert!(!told.schema().to_string().contains("Berlin"), "{}", told.schema());
        let first = told.column(0).as_list::<i32>().value(0);
        assert_eq!(first.as_primitive::<TimestampMillisecondType>().iter().collect::<Vec<_>>(), [Some(1), None]);
        assert!(told.column(1).as_struct().column(0).is_null(0) && told.column(3) == rows.column(3));
        let text = super::super::convert::json_lines(&told).expect("JSON");
        assert!(String::from_utf8(text).is_ok_and(|text| text.contains("\"words\":\"1970-01-01T00:00:00.003Z\"")));
    }
}
