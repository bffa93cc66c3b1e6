//! Avro files as columns: what manifests and manifest lists are read through.
//!
//! A file is decoded whole into Arrow arrays, which are compact and need no allocation per record. Columns are found by
//! name, as the format's specification fixes them; one that is missing or of another type is an error only where it is
//! needed. A damaged file, also one that is cut off, is
//! [`Kind::Invalid`] (`container.rs`).

use std::io::Cursor;
use std::ops::Range;
use std::panic::catch_unwind;

use arrow::array::{
    Array, AsArray, BinaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, Int64Type};
use arrow::error::ArrowError;
use arrow_avro::reader::ReaderBuilder;
use arrow_avro::schema::AvroSchema;
use serde_json::Value as Json;

use super::container::Records;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// The records of one Avro file.
#[derive(Debug)]
pub(super) struct Columns {
    what: &'static str,
    /// The records.
    pub(super) records: StructArray,
    /// The schema they were written with, as the file says it.
    pub(super) schema: Json,
}

fn damaged(what: &str, why: &str) -> Error {
    Error::new(Kind::Invalid, format!("A {what} cannot be read: {why}"))
}

impl Columns {
    /// Decodes a file; `what` is what the error calls it.
    pub(super) fn read(what: &'static str, bytes: &[u8]) -> Result<Self> {
        let taken_apart = Records::of(bytes, limits::MANIFEST_DECODED_BYTES_MAX).map_err(|why| damaged(what, why))?;
        let schema: Json = serde_json::from_str(&taken_apart.schema)
            .map_err(|error| damaged(what, "its schema is not JSON").because(error))?;
        // The decoder panics on some of what it does not understand.
        let decoded = catch_unwind(|| decode(&taken_apart, &schema));
        let decoded = decoded.map_err(|cause| damaged(what, "its data is damaged").because_of_panic(&*cause))?;
        let whole = decoded.map_err(|error| damaged(what, "its data is damaged").because(error))?;
        if whole.num_rows() != taken_apart.count {
            return Err(damaged(what, "it has another number of records than it says"));
        }
        let mut records = StructArray::from(whole);
        // The decoder makes room for many records; what is kept in memory is what is there.
        records.shrink_to_fit();
        Ok(Self { what, records, schema })
    }

    /// The same file, looked at from inside a record of each record.
    pub(super) fn inner(&self, name: &str) -> Result<StructArray> {
        self.find::<StructArray>(&self.records, name)
    }

    /// A column that must be there.
    pub(super) fn find<A: Array + Clone + 'static>(&self, of: &StructArray, name: &str) -> Result<A> {
        optional(of, name).ok_or_else(|| damaged(self.what, &format!("its records have no usable {name:?}")))
    }
}

/// Decodes all records as one batch.
fn decode(records: &Records, schema: &Json) -> Result<RecordBatch, ArrowError> {
    let reader = ReaderBuilder::new().with_batch_size(records.count.max(1));
    let reader = match without_empty_records(schema) {
        Some(less) => reader.with_reader_schema(AvroSchema::new(less.to_string())),
        None => reader,
    };
    let file = records.to_file();
    let mut reader = reader.build(Cursor::new(&file[..]))?;
    // Never asked twice: after the last batch it would look for more of a block that says too little of itself.
    let empty = RecordBatch::new_empty(reader.schema());
    if records.count == 0 { Ok(empty) } else { reader.next().unwrap_or(Ok(empty)) }
}

/// The schema without fields that hold an empty record, which the decoder does not take: the partitions of an
/// unpartitioned table. `None` where there are none.
fn without_empty_records(schema: &Json) -> Option<Json> {
    let is_empty = |field: &Json| field["type"]["fields"].as_array().is_some_and(Vec::is_empty);
    let fields = schema["fields"].as_array()?;
    let mut less = Vec::with_capacity(fields.len());
    let mut changed = false;
    for field in fields {
        if is_empty(field) {
            changed = true;
            continue;
        }
        let mut field = field.clone();
        if let Some(inner) = without_empty_records(&field["type"]) {
            field["type"] = inner;
            changed = true;
        }
        less.push(field);
    }
    let mut schema = schema.clone();
    schema["fields"] = less.into();
    changed.then_some(schema)
}

/// A column that may be there.
pub(super) fn optional<A: Array + Clone + 'static>(of: &StructArray, name: &str) -> Option<A> {
    of.column_by_name(name)?.as_any().downcast_ref::<A>().cloned()
}

/// The number in a row of a column that may be missing or null.
pub(super) fn number<T: ArrowPrimitiveType>(
    column: Option<&arrow::array::PrimitiveArray<T>>,
    row: usize,
) -> Option<T::Native> {
    let column = column?;
    column.is_valid(row).then(|| column.value(row))
}

/// The text in a row of a column that may be missing or null.
pub(super) fn text(column: Option<&StringArray>, row: usize) -> Option<&str> {
    let column = column?;
    column.is_valid(row).then(|| column.value(row))
}

/// The bytes in a row of a column that may be missing or null.
pub(super) fn bytes(column: Option<&BinaryArray>, row: usize) -> Option<&[u8]> {
    let column = column?;
    column.is_valid(row).then(|| column.value(row))
}

/// Lists of numbers.
#[derive(Debug)]
pub(super) struct Numbers<T: ArrowPrimitiveType> {
    list: ListArray,
    values: arrow::array::PrimitiveArray<T>,
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    /// The column, if it is there.
    pub(super) fn optional(of: &StructArray, name: &str) -> Option<Self> {
        let list: ListArray = optional(of, name)?;
        let values = list.values().as_primitive_opt::<T>()?.clone();
        Some(Self { list, values })
    }

    /// The numbers of a row.
    pub(super) fn row(&self, row: usize) -> Option<&[T::Native]> {
        values_of(&self.list, row).map(|range| &self.values.values()[range])
    }
}

/// Maps from field ids, which Avro writes as lists of pairs.
#[derive(Debug)]
pub(super) struct PerField<V> {
    list: ListArray,
    keys: Int32Array,
    values: V,
}

impl<V: Array + Clone + 'static> PerField<V> {
    /// The column, if it is there.
    pub(super) fn optional(of: &StructArray, name: &str) -> Option<Self> {
        let list: ListArray = optional(of, name)?;
        let pairs = list.values().as_struct_opt()?;
        let (keys, values) = (optional(pairs, "key")?, optional(pairs, "value")?);
        Some(Self { list, keys, values })
    }

    /// The ids in a row and where their values are.
    pub(super) fn row(&self, row: usize) -> impl Iterator<Item = (i32, usize)> + '_ {
        let range = values_of(&self.list, row).unwrap_or_default();
        range.filter(|at| self.values.is_valid(*at)).map(|at| (self.keys.value(at), at))
    }

    fn at(&self, row: usize, id: i32) -> Option<usize> {
        let range = values_of(&self.list, row)?;
        let start = range.start;
        self.keys.values()[range]
            .iter()
            .position(|key| *key == id)
            .map(|found| start + found)
            .filter(|at| self.values.is_valid(*at))
    }
}

impl PerField<Int64Array> {
    /// The number of a field.
    pub(super) fn of(&self, row: usize, id: i32) -> Option<i64> {
        self.at(row, id).map(|at| self.values.value(at))
    }

    /// The number at a place that [`PerField::row`] gave.
    pub(super) fn value(&self, at: usize) -> i64 {
        self.values.value(at)
    }
}

impl PerField<BinaryArray> {
    /// The bytes of a field.
    pub(super) fn of(&self, row: usize, id: i32) -> Option<&[u8]> {
        self.at(row, id).map(|at| self.values.value(at))
    }

    /// The bytes at a place that [`PerField::row`] gave.
    pub(super) fn value(&self, at: usize) -> &[u8] {
        self.values.value(at)
    }
}

/// Where a list's row is among all the lists' values.
fn values_of(list: &ListArray, row: usize) -> Option<Range<usize>> {
    if list.is_null(row) {
        return None;
    }
    let offsets = list.value_offsets();
    let at = |row: usize| usize::try_from(offsets[row]).unwrap_or(0);
    Some(at(row)..at(row + 1))
}

/// Lists of 32-bit numbers.
pub(super) type Ints = Numbers<Int32Type>;

/// Lists of 64-bit numbers.
pub(super) type Longs = Numbers<Int64Type>;
