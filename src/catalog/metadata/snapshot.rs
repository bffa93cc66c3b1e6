//! Snapshots, the names that point at them, and the files that describe them.
//!
//! A snapshot is kept as the text it came as, with the few fields that rules need read out of it, so that writing the
//! metadata of a table with 10 000 snapshots is a copy. The same holds for statistics files and encryption keys.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::{Extra, Object, raw_of, write_some};
use crate::error::{Error, Result};

/// The name of the branch that readers see when they name none.
pub const MAIN: &str = "main";

/// One state of the table.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its id.
    pub id: i64,
    /// The snapshot it was made from.
    pub parent: Option<i64>,
    /// Its place in the order of commits; 0 in v1.
    pub sequence_number: i64,
    /// When it was made, by the writer's clock.
    pub timestamp_ms: i64,
    /// Where its manifest list is; absent in old v1 tables that list manifests in the snapshot.
    pub manifest_list: Option<String>,
    /// The schema it was written with.
    pub schema_id: Option<i32>,
    /// The first row id given out in it (v3).
    pub first_row_id: Option<i64>,
    /// How many row ids it gave out (v3).
    pub added_rows: Option<i64>,
    raw: Box<RawValue>,
}

impl Snapshot {
    /// Reads a snapshot and keeps its text.
    pub fn parse(raw: Box<RawValue>) -> Result<Self> {
        let mut object = Object::parse("Snapshot", raw.get())?;
        Ok(Self {
            id: object.need("snapshot-id")?,
            parent: object.take("parent-snapshot-id")?.filter(|parent| *parent != -1),
            sequence_number: object.take("sequence-number")?.unwrap_or(0),
            timestamp_ms: object.need("timestamp-ms")?,
            manifest_list: object.take("manifest-list")?,
            schema_id: object.take("schema-id")?,
            first_row_id: object.take("first-row-id")?,
            added_rows: object.take("added-rows")?,
            raw,
        })
    }

    /// The text it came as.
    pub fn text(&self) -> &str {
        self.raw.get()
    }

    /// Its summary: `operation` and what the writer counted.
    pub fn summary(&self) -> Result<IndexMap<String, String>> {
        let mut object = Object::parse("Snapshot", self.raw.get())?;
        Ok(object.take("summary")?.unwrap_or_default())
    }

    /// Whether its summary says that there are no rows.
    pub fn is_empty(&self) -> bool {
        self.summary().is_ok_and(|summary| summary.get("total-records").is_some_and(|total| total == "0"))
    }

    /// Manifests listed in the snapshot itself, as old v1 writers did.
    pub fn inline_manifests(&self) -> Result<Vec<String>> {
        let mut object = Object::parse("Snapshot", self.raw.get())?;
        Ok(object.take("manifests")?.unwrap_or_default())
    }

    /// Whether this is the snapshot that `other` describes: the same id over the same manifest list.
    pub fn same_as(&self, other: &Self) -> bool {
        self.id == other.id && self.manifest_list == other.manifest_list && self.timestamp_ms == other.timestamp_ms
    }
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

/// Whether a reference moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefKind {
    /// Moves with each commit to it.
    Branch,
    /// Stays.
    Tag,
}

impl RefKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Tag => "tag",
        }
    }
}

/// A branch or tag.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotRef {
    /// The snapshot it points at.
    pub snapshot_id: i64,
    /// Branch or tag.
    pub kind: RefKind,
    /// Snapshots of the branch that expiry keeps at least.
    pub min_snapshots_to_keep: Option<i32>,
    /// Milliseconds that expiry keeps the branch's snapshots for.
    pub max_snapshot_age_ms: Option<i64>,
    /// Milliseconds that expiry keeps the reference itself for.
    pub max_ref_age_ms: Option<i64>,
    /// Members not known here.
    pub extra: Extra,
}

impl SnapshotRef {
    /// A branch without retention of its own.
    pub fn branch(snapshot_id: i64) -> Self {
        Self {
            snapshot_id,
            kind: RefKind::Branch,
            min_snapshots_to_keep: None,
            max_snapshot_age_ms: None,
            max_ref_age_ms: None,
            extra: Extra::default(),
        }
    }

    /// Reads what is left of an object as a reference and checks its retention.
    pub fn take(mut object: Object) -> Result<Self> {
        let kind: String = object.need("type")?;
        let kind = match kind.to_ascii_lowercase().as_str() {
            "branch" => RefKind::Branch,
            "tag" => RefKind::Tag,
            _ => return Err(Error::malformed(format!("Reference type {kind:?} is neither branch nor tag"))),
        };
        let this = Self {
            snapshot_id: object.need("snapshot-id")?,
            kind,
            min_snapshots_to_keep: object.take("min-snapshots-to-keep")?,
            max_snapshot_age_ms: object.take("max-snapshot-age-ms")?,
            max_ref_age_ms: object.take("max-ref-age-ms")?,
            extra: object.rest(),
        };
        this.check()?;
        Ok(this)
    }

    fn check(&self) -> Result<()> {
        if self.kind == RefKind::Tag && (self.min_snapshots_to_keep.is_some() || self.max_snapshot_age_ms.is_some()) {
            return Err(Error::illegal("Tags do not support setting minSnapshotsToKeep or maxSnapshotAgeMs"));
        }
        if self.min_snapshots_to_keep.is_some_and(|n| n <= 0) {
            return Err(Error::illegal("Min snapshots to keep must be greater than 0"));
        }
        if self.max_snapshot_age_ms.is_some_and(|ms| ms <= 0) {
            return Err(Error::illegal("Max snapshot age must be greater than 0 ms"));
        }
        if self.max_ref_age_ms.is_some_and(|ms| ms <= 0) {
            return Err(Error::illegal("Max reference age must be greater than 0"));
        }
        Ok(())
    }
}

impl Serialize for SnapshotRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("snapshot-id", &self.snapshot_id)?;
        map.serialize_entry("type", self.kind.as_str())?;
        write_some(&mut map, "min-snapshots-to-keep", self.min_snapshots_to_keep.as_ref())?;
        write_some(&mut map, "max-snapshot-age-ms", self.max_snapshot_age_ms.as_ref())?;
        write_some(&mut map, "max-ref-age-ms", self.max_ref_age_ms.as_ref())?;
        self.extra.write(&mut map)?;
        map.end()
    }
}

/// When a snapshot became the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotLogEntry {
    /// The snapshot.
    pub snapshot_id: i64,
    /// When.
    pub timestamp_ms: i64,
}

/// An earlier metadata file, kept as its text: every commit writes the whole log again.
#[derive(Debug, Clone)]
pub struct MetadataLogEntry {
    /// Where it is.
    pub metadata_file: Arc<str>,
    /// When the state it holds was made.
    pub timestamp_ms: i64,
    raw: Arc<RawValue>,
}

/// What a log entry says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LogEntry<'a> {
    metadata_file: std::borrow::Cow<'a, str>,
    timestamp_ms: i64,
}

impl MetadataLogEntry {
    /// An entry for a file.
    pub fn new(metadata_file: Arc<str>, timestamp_ms: i64) -> Result<Self> {
        let entry = LogEntry { metadata_file: (&*metadata_file).into(), timestamp_ms };
        let raw = serde_json::value::to_raw_value(&entry)
            .map_err(|error| Error::internal("A metadata log entry cannot be written").because(error))?;
        Ok(Self { metadata_file, timestamp_ms, raw: raw.into() })
    }
}

impl<'de> Deserialize<'de> for MetadataLogEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let entry: LogEntry<'_> = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        Ok(Self { metadata_file: (*entry.metadata_file).into(), timestamp_ms: entry.timestamp_ms, raw: raw.into() })
    }
}

impl Serialize for MetadataLogEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

/// A statistics file of one snapshot, kept as its text.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// The snapshot it describes.
    pub snapshot_id: i64,
    /// Where it is.
    pub path: String,
    raw: Box<RawValue>,
}

impl Statistics {
    /// Reads the fields that rules need and keeps the text.
    pub fn parse(raw: Box<RawValue>) -> Result<Self> {
        let mut object = Object::parse("Statistics file", raw.get())?;
        let (snapshot_id, path) = (object.need("snapshot-id")?, object.need("statistics-path")?);
        Ok(Self { snapshot_id, path, raw })
    }

    /// The text it came as.
    pub fn text(&self) -> &str {
        self.raw.get()
    }
}

impl Serialize for Statistics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

/// An encryption key, kept as its text.
#[derive(Debug, Clone)]
pub struct EncryptionKey {
    /// Its id.
    pub key_id: String,
    raw: Box<RawValue>,
}

impl EncryptionKey {
    /// Reads the id and keeps the text.
    pub fn parse(raw: Box<RawValue>) -> Result<Self> {
        let mut object = Object::parse("Encryption key", raw.get())?;
        Ok(Self { key_id: object.need("key-id")?, raw })
    }

    /// The text it came as.
    pub fn text(&self) -> &str {
        self.raw.get()
    }
}

impl Serialize for EncryptionKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

/// A snapshot made here, from its fields.
pub fn new_snapshot<T: Serialize>(fields: &T) -> Result<Snapshot> {
    Snapshot::parse(raw_of(fields)?)
}
