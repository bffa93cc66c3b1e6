//! Manifests: the files of a snapshot, with what is known of each.
//!
//! [`Entries`] is a manifest decoded into columns; [`Entry`] is one row of it, which costs nothing to make. Everything is
//! read by the names of the format's specification ("Manifests"), partition values by their field ids. What an entry
//! inherits from its manifest (sequence numbers, row ids) is asked for with the [`ListedManifest`] at hand.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, StringArray, StructArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};

use super::columns::{Columns, Ints, Longs, PerField, bytes, number, optional, text};
use super::list::ListedManifest;
use super::value::Value;
use crate::error::Result;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// Rows.
    Data,
    /// Positions of deleted rows, or a deletion vector.
    PositionDeletes,
    /// Values of deleted rows.
    EqualityDeletes,
}

/// What a manifest says happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It was there before.
    Existing,
    /// It was added.
    Added,
    /// It was taken out.
    Deleted,
}

/// Statistics of a file's columns, by what they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Bytes on the disk.
    Sizes,
    /// Values, nulls and NaN among them.
    Values,
    /// Nulls.
    Nulls,
    /// NaN.
    Nans,
}

impl Count {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sizes, Self::Values, Self::Nulls, Self::Nans];

    fn column(self) -> &'static str {
        match self {
            Self::Sizes => "column_sizes",
            Self::Values => "value_counts",
            Self::Nulls => "null_value_counts",
            Self::Nans => "nan_value_counts",
        }
    }
}

/// The lower or the upper end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// No value is smaller.
    Lower,
    /// No value is larger.
    Upper,
}

/// A manifest's entries, in columns.
#[derive(Debug)]
pub struct Entries {
    rows: usize,
    weight: usize,
    status: Int32Array,
    snapshot_id: Option<Int64Array>,
    sequence_number: Option<Int64Array>,
    content: Option<Int32Array>,
    path: StringArray,
    format: StringArray,
    record_count: Int64Array,
    size: Int64Array,
    partition: Vec<(i32, ArrayRef)>,
    counts: [Option<PerField<Int64Array>>; 4],
    bounds: [Option<PerField<BinaryArray>>; 2],
    key_metadata: Option<BinaryArray>,
    split_offsets: Option<Longs>,
    equality_ids: Option<Ints>,
    sort_order_id: Option<Int32Array>,
    first_row_id: Option<Int64Array>,
    /// Rows before each entry in files that inherit their row ids.
    rows_before: Vec<i64>,
    referenced: Option<StringArray>,
    content_offset: Option<Int64Array>,
    content_size: Option<Int64Array>,
}

impl Entries {
    /// Decodes a manifest.
    pub fn read(manifest: &[u8]) -> Result<Self> {
        let columns = Columns::read("manifest", manifest)?;
        let (of, file) = (&columns.records, columns.inner("data_file")?);
        let (longs, ints) = (|name| optional::<Int64Array>(&file, name), |name| optional::<Int32Array>(&file, name));
        let partition = match optional::<StructArray>(&file, "partition") {
            Some(partition) => partition_fields(&columns.schema, &partition),
            None => Vec::new(),
        };
        let mut entries = Self {
            rows: of.len(),
            weight: of.get_array_memory_size() + of.len() * 8,
            status: columns.find(of, "status")?,
            snapshot_id: optional(of, "snapshot_id"),
            sequence_number: optional(of, "sequence_number"),
            content: ints("content"),
            path: columns.find(&file, "file_path")?,
            format: columns.find(&file, "file_format")?,
            record_count: columns.find(&file, "record_count")?,
            size: columns.find(&file, "file_size_in_bytes")?,
            partition,
            counts: Count::ALL.map(|count| PerField::optional(&file, count.column())),
            bounds: ["lower_bounds", "upper_bounds"].map(|name| PerField::optional(&file, name)),
            key_metadata: optional(&file, "key_metadata"),
            split_offsets: Longs::optional(&file, "split_offsets"),
            equality_ids: Ints::optional(&file, "equality_ids"),
            sort_order_id: ints("sort_order_id"),
            first_row_id: longs("first_row_id"),
            rows_before: Vec::new(),
            referenced: optional(&file, "referenced_data_file"),
            content_offset: longs("content_offset"),
            content_size: longs("content_size_in_bytes"),
        };
        entries.rows_before = entries.inheriting_rows();
        Ok(entries)
    }

    /// How many entries there are, deleted ones counted.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes this takes in memory.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// The entry in a row.
    pub fn entry(&self, row: usize) -> Entry<'_> {
        Entry { of: self, row }
    }

    /// Every entry.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.rows).map(|row| self.entry(row))
    }

    /// Row ids are inherited by live files in the order of the manifest, each taking as many as it has rows; manifests from
    /// before an upgrade to v3 have no column for them.
    fn inheriting_rows(&self) -> Vec<i64> {
        let mut before = 0_i64;
        let count = |entry: Entry<'_>| {
            let at = before;
            if entry.is_live() && number(self.first_row_id.as_ref(), entry.row).is_none() {
                before = before.saturating_add(entry.record_count());
            }
            at
        };
        self.iter().map(count).collect()
    }
}

/// The values of each partition field, with the field's id.
fn partition_fields(schema: &serde_json::Value, partition: &StructArray) -> Vec<(i32, ArrayRef)> {
    let field = |of: &serde_json::Value, name: &str| -> serde_json::Value {
        let fields = of["fields"].as_array().into_iter().flatten();
        fields.into_iter().find(|field| field["name"] == name).map(|field| field["type"].clone()).unwrap_or_default()
    };
    let record = field(&field(schema, "data_file"), "partition");
    let ids = record["fields"].as_array().cloned().unwrap_or_default();
    let id = |at: usize| ids.get(at).and_then(|field| i32::try_from(field["field-id"].as_i64()?).ok());
    let columns = partition.columns().iter().enumerate();
    columns.filter_map(|(at, column)| Some((id(at)?, ArrayRef::clone(column)))).collect()
}

/// One entry of a manifest.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    of: &'a Entries,
    row: usize,
}

impl<'a> Entry<'a> {
    /// Its place in the manifest.
    pub fn row(&self) -> usize {
        self.row
    }

    /// What happened to the file.
    pub fn status(&self) -> Status {
        match self.of.status.value(self.row) {
            1 => Status::Added,
            2 => Status::Deleted,
            _ => Status::Existing,
        }
    }

    /// Whether the file is in the snapshot.
    pub fn is_live(&self) -> bool {
        self.status() != Status::Deleted
    }

    /// What the file holds.
    pub fn content(&self) -> Content {
        match number(self.of.content.as_ref(), self.row) {
            Some(1) => Content::PositionDeletes,
            Some(2) => Content::EqualityDeletes,
            _ => Content::Data,
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &'a str {
        self.of.path.value(self.row)
    }

    /// Its format, as it was written: `PARQUET`.
    pub fn format(&self) -> &'a str {
        self.of.format.value(self.row)
    }

    /// How many records are in it.
    pub fn record_count(&self) -> i64 {
        self.of.record_count.value(self.row)
    }

    /// Its size in bytes.
    pub fn size(&self) -> i64 {
        self.of.size.value(self.row)
    }

    /// The snapshot that added or deleted it.
    pub fn snapshot_id(&self, manifest: &ListedManifest) -> Option<i64> {
        number(self.of.snapshot_id.as_ref(), self.row).or(manifest.added_snapshot_id)
    }

    /// Its data sequence number: its own, or that of its manifest.
    pub fn sequence_number(&self, manifest: &ListedManifest) -> i64 {
        number(self.of.sequence_number.as_ref(), self.row).unwrap_or(manifest.sequence_number)
    }

    /// The row id of its first row: its own, or the one it inherits (v3).
    pub fn first_row_id(&self, manifest: &ListedManifest) -> Option<i64> {
        let own = number(self.of.first_row_id.as_ref(), self.row);
        own.or_else(|| manifest.first_row_id?.checked_add(*self.of.rows_before.get(self.row)?))
    }

    /// The value of a partition field: `None` where the manifest has no such field, or one that is not understood;
    /// `Some(None)` for null.
    pub fn partition(&self, field_id: i32) -> Option<Option<Value<'a>>> {
        let (_, column) = self.of.partition.iter().find(|(id, _)| *id == field_id)?;
        if column.is_null(self.row) {
            return Some(None);
        }
        value(column, self.row).map(Some)
    }

    /// A count of a column.
    pub fn count(&self, count: Count, field_id: i32) -> Option<i64> {
        self.of.counts[count as usize].as_ref()?.of(self.row, field_id)
    }

    /// Every column's count.
    pub fn counts(&self, count: Count) -> Option<impl Iterator<Item = (i32, i64)> + 'a> {
        let of = self.of.counts[count as usize].as_ref()?;
        Some(of.row(self.row).map(|(id, at)| (id, of.value(at))))
    }

    /// A bound of a column, in the binary form of single values.
    pub fn bound(&self, side: Side, field_id: i32) -> Option<&'a [u8]> {
        self.of.bounds[side as usize].as_ref()?.of(self.row, field_id)
    }

    /// Every column's bound.
    pub fn bounds(&self, side: Side) -> Option<impl Iterator<Item = (i32, &'a [u8])> + 'a> {
        let of = self.of.bounds[side as usize].as_ref()?;
        Some(of.row(self.row).map(|(id, at)| (id, of.value(at))))
    }

    /// What decrypts the file.
    pub fn key_metadata(&self) -> Option<&'a [u8]> {
        bytes(self.of.key_metadata.as_ref(), self.row)
    }

    /// Where the file may be split.
    pub fn split_offsets(&self) -> Option<&'a [i64]> {
        self.of.split_offsets.as_ref()?.row(self.row)
    }

    /// The columns that an equality delete compares.
    pub fn equality_ids(&self) -> Option<&'a [i32]> {
        self.of.equality_ids.as_ref()?.row(self.row)
    }

    /// The order of its rows.
    pub fn sort_order_id(&self) -> Option<i32> {
        number(self.of.sort_order_id.as_ref(), self.row)
    }

    /// The one data file that all of a file's deletes are in.
    pub fn referenced_data_file(&self) -> Option<&'a str> {
        text(self.of.referenced.as_ref(), self.row)
    }

    /// Where a deletion vector begins in its file, and how long it is.
    pub fn content_range(&self) -> Option<(i64, i64)> {
        let start = number(self.of.content_offset.as_ref(), self.row)?;
        Some((start, number(self.of.content_size.as_ref(), self.row)?))
    }
}

/// A cell of a partition column that is not null; `None` where its type has no physical form here.
fn value(column: &ArrayRef, row: usize) -> Option<Value<'_>> {
    Some(match column.data_type() {
        DataType::Boolean => Value::Boolean(column.as_boolean().value(row)),
        DataType::Int32 => Value::Integer(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Integer(column.as_primitive::<Int64Type>().value(row)),
        DataType::Date32 => Value::Integer(column.as_primitive::<Date32Type>().value(row).into()),
        DataType::Time64(_) => Value::Integer(column.as_primitive_opt::<Time64MicrosecondType>()?.value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Value::Integer(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Value::Integer(column.as_primitive::<TimestampNanosecondType>().value(row))
        }
        DataType::Float32 => Value::Real(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Value::Real(column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => Value::Decimal(column.as_primitive::<Decimal128Type>().value(row)),
        DataType::Utf8 => Value::bytes(column.as_string::<i32>().value(row).as_bytes()),
        DataType::Binary => Value::bytes(column.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(_) => Value::bytes(column.as_fixed_size_binary().value(row)),
        _ => return None,
    })
}

/// The files that a manifest names, also those it says were deleted.
pub fn files_of(manifest: &[u8]) -> Result<Vec<String>> {
    let columns = Columns::read("manifest", manifest)?;
    let path: StringArray = columns.find(&columns.inner("data_file")?, "file_path")?;
    Ok((0..path.len()).filter_map(|row| text(Some(&path), row).map(str::to_owned)).collect())
}
