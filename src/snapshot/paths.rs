//! Which files a manifest list or a manifest names, whatever else stands in it.
//!
//! Upkeep needs nothing but paths, and needs them also of tables whose types nobody here knows. So these are read as
//! plain Avro records, by field name ("Manifests" and "Manifest Lists" of the format's specification).

use apache_avro::Reader;
use apache_avro::types::Value;

use crate::error::{Error, Kind, Result};

/// The manifests that a manifest list names.
pub fn manifests_of(list: &[u8]) -> Result<Vec<String>> {
    read(list, "manifest list", |record| text_of(field(record, "manifest_path")?))
}

/// The files that a manifest names, also those it says were deleted.
pub fn files_of(manifest: &[u8]) -> Result<Vec<String>> {
    read(manifest, "manifest", |record| text_of(field(field(record, "data_file")?, "file_path")?))
}

fn read(bytes: &[u8], what: &str, path_of: impl Fn(&Value) -> Option<String>) -> Result<Vec<String>> {
    let damaged = |why: &str| Error::new(Kind::Invalid, format!("A {what} cannot be read: {why}"));
    let records = Reader::new(bytes).map_err(|error| damaged("it is not Avro").because(error))?;
    let mut paths = Vec::new();
    for record in records {
        let record = record.map_err(|error| damaged("a record is damaged").because(error))?;
        paths.push(path_of(&record).ok_or_else(|| damaged("a record names no file"))?);
    }
    Ok(paths)
}

fn field<'a>(record: &'a Value, name: &str) -> Option<&'a Value> {
    match record {
        Value::Record(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, value)| value),
        Value::Union(_, inner) => field(inner, name),
        _ => None,
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Union(_, inner) => text_of(inner),
        _ => None,
    }
}
