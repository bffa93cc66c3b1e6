//! Manifest lists: which manifests a snapshot has, and what is known of each without opening it.
//!
//! The names are those of the format's specification ("Manifest Lists"); lists of every version are read alike, with
//! what a version leaves out at the value that the specification gives it.

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Int32Array, Int64Array, ListArray, StringArray, StructArray,
};

use super::columns::{Columns, bytes, number, optional};
use crate::error::Result;

/// One manifest, as a list describes it.
#[derive(Debug, Clone)]
pub struct ListedManifest {
    /// Where it is.
    pub path: String,
    /// The partition spec of its files.
    pub spec_id: i32,
    /// Whether its files hold rows or deletes; those of deletes say which in the manifest.
    pub deletes: bool,
    /// The sequence number its new files inherit; 0 in v1.
    pub sequence_number: i64,
    /// The snapshot that added it.
    pub added_snapshot_id: Option<i64>,
    /// Live files in it, where the list says so.
    pub live_files: Option<u64>,
    /// What is known of each partition field, in the order of the spec; `None` where nothing is.
    pub partitions: Option<Vec<FieldSummary>>,
    /// The row id that its first file without one inherits (v3).
    pub first_row_id: Option<i64>,
}

/// What a manifest's files have in one partition field.
#[derive(Debug, Clone)]
pub struct FieldSummary {
    /// Whether any is null.
    pub contains_null: bool,
    /// Whether any is NaN, where that is known.
    pub contains_nan: Option<bool>,
    /// The smallest, in the binary form of single values.
    pub lower: Option<Vec<u8>>,
    /// The largest.
    pub upper: Option<Vec<u8>>,
}

impl ListedManifest {
    /// A manifest that a v1 snapshot names itself, without a list: nothing is known of it.
    pub fn inline(path: String, snapshot_id: i64) -> Self {
        Self {
            path,
            spec_id: 0,
            deletes: false,
            sequence_number: 0,
            added_snapshot_id: Some(snapshot_id),
            live_files: None,
            partitions: None,
            first_row_id: None,
        }
    }

    /// Bytes this takes in memory, about.
    pub fn weight(&self) -> usize {
        let field = |field: &FieldSummary| {
            48 + field.lower.as_ref().map_or(0, Vec::len) + field.upper.as_ref().map_or(0, Vec::len)
        };
        160 + self.path.len() + self.partitions.iter().flatten().map(field).sum::<usize>()
    }
}

/// Reads a manifest list.
pub fn read(list: &[u8]) -> Result<Vec<ListedManifest>> {
    let columns = Columns::read("manifest list", list)?;
    let of = &columns.records;
    let path: StringArray = columns.find(of, "manifest_path")?;
    let ints = |name: &str| optional::<Int32Array>(of, name);
    let longs = |name: &str| optional::<Int64Array>(of, name);
    let (spec, content) = (ints("partition_spec_id"), ints("content"));
    let (sequence, snapshot, row_id) = (longs("sequence_number"), longs("added_snapshot_id"), longs("first_row_id"));
    // v1 writers called the counts otherwise at first.
    let counts = |v2: &str, v1: &str| ints(v2).or_else(|| ints(v1));
    let added = counts("added_files_count", "added_data_files_count");
    let existing = counts("existing_files_count", "existing_data_files_count");
    let summaries: Option<ListArray> = optional(of, "partitions");
    let manifest = |row: usize| {
        let live = number(added.as_ref(), row).zip(number(existing.as_ref(), row));
        ListedManifest {
            path: path.value(row).to_owned(),
            spec_id: number(spec.as_ref(), row).unwrap_or(0),
            deletes: number(content.as_ref(), row).is_some_and(|content| content == 1),
            sequence_number: number(sequence.as_ref(), row).unwrap_or(0),
            added_snapshot_id: number(snapshot.as_ref(), row),
            live_files: live.and_then(|(added, existing)| u64::try_from(i64::from(added) + i64::from(existing)).ok()),
            partitions: summaries.as_ref().filter(|list| list.is_valid(row)).map(|list| summaries_of(list, row)),
            first_row_id: number(row_id.as_ref(), row),
        }
    };
    Ok((0..of.len()).map(manifest).collect())
}

fn summaries_of(list: &ListArray, row: usize) -> Vec<FieldSummary> {
    let values = list.value(row);
    let Some(of) = values.as_struct_opt() else { return Vec::new() };
    let flag = |column: &Option<BooleanArray>, at: usize| {
        column.as_ref().filter(|column| column.is_valid(at)).map(|column| column.value(at))
    };
    let (null, nan) = (optional(of, "contains_null"), optional(of, "contains_nan"));
    let (lower, upper) = (bound(of, "lower_bound"), bound(of, "upper_bound"));
    let summary = |at: usize| FieldSummary {
        // Unknown is as good as yes.
        contains_null: flag(&null, at).unwrap_or(true),
        contains_nan: flag(&nan, at),
        lower: bytes(lower.as_ref(), at).map(<[u8]>::to_vec),
        upper: bytes(upper.as_ref(), at).map(<[u8]>::to_vec),
    };
    (0..of.len()).map(summary).collect()
}

fn bound(of: &StructArray, name: &str) -> Option<BinaryArray> {
    optional(of, name)
}

/// The manifests that a manifest list names.
pub fn manifests_of(list: &[u8]) -> Result<Vec<String>> {
    Ok(read(list)?.into_iter().map(|manifest| manifest.path).collect())
}
