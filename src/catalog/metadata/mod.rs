//! Table metadata, lossless.
//!
//! [`TableMetadata`] is a metadata file as the format's specification describes it (v1, v2 and v3): typed where a rule
//! needs a type, text where none does, with every member that is not known here kept and the order of arrays kept.
//! Reading a file and writing it back changes white space and the order of members, nothing else.
//!
//! The `iceberg` crate is the oracle of the property tests. Where it differs it loses something (unknown members, v1
//! references, `key-id` of v2 snapshots), reorders arrays, or refuses what the specification allows; there the
//! specification decides.

pub(super) mod evolution;
pub mod json;
mod read;
pub mod schema;
pub(super) mod single_value;
pub mod snapshot;
pub mod spec;
pub mod types;
pub mod view;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::error::{Error, Result};
use json::Extra;
use schema::Schema;
use snapshot::{EncryptionKey, MAIN, MetadataLogEntry, Snapshot, SnapshotLogEntry, SnapshotRef, Statistics};
use spec::{PartitionSpec, SortOrder};

/// The format versions served here.
pub const FORMAT_VERSIONS: std::ops::RangeInclusive<u8> = 1..=3;

/// The format version of a new table that asks for none.
pub const FORMAT_VERSION_DEFAULT: u8 = 2;

/// The metadata of a table: everything about it but its rows.
#[derive(Debug, Clone, Default)]
pub struct TableMetadata {
    /// 1, 2 or 3.
    pub format_version: u8,
    /// The table's identity; old v1 tables may have none until the next commit.
    pub table_uuid: Option<String>,
    /// The folder the table's files are under, without a slash at the end.
    pub location: String,
    /// The highest sequence number given out; 0 in v1.
    pub last_sequence_number: i64,
    /// When the metadata was last changed.
    pub last_updated_ms: i64,
    /// The highest column id given out.
    pub last_column_id: i32,
    /// Every schema the table has had and keeps.
    pub schemas: Vec<Arc<Schema>>,
    /// The schema of new rows.
    pub current_schema_id: i32,
    /// Every partition spec the table has had and keeps.
    pub partition_specs: Vec<Arc<PartitionSpec>>,
    /// The spec of new files.
    pub default_spec_id: i32,
    /// The highest partition field id given out.
    pub last_partition_id: i32,
    /// Every sort order.
    pub sort_orders: Vec<Arc<SortOrder>>,
    /// The order of new files.
    pub default_sort_order_id: i32,
    /// Settings, as engines and users wrote them.
    pub properties: IndexMap<String, String>,
    /// The snapshot that readers see.
    pub current_snapshot_id: Option<i64>,
    /// Branches and tags; `main` is the current snapshot.
    pub refs: IndexMap<String, SnapshotRef>,
    /// Every snapshot kept.
    pub snapshots: Vec<Arc<Snapshot>>,
    /// Statistics files.
    pub statistics: Vec<Arc<Statistics>>,
    /// Partition statistics files.
    pub partition_statistics: Vec<Arc<Statistics>>,
    /// Which snapshot was current since when.
    pub snapshot_log: Vec<SnapshotLogEntry>,
    /// Earlier metadata files.
    pub metadata_log: Vec<MetadataLogEntry>,
    /// The first row id not given out (v3).
    pub next_row_id: i64,
    /// Keys of encrypted tables.
    pub encryption_keys: Vec<Arc<EncryptionKey>>,
    /// Members not known here.
    pub extra: Extra,
}

impl TableMetadata {
    /// Reads a metadata file's text.
    pub fn parse(text: &str) -> Result<Self> {
        read::parse(text)
    }

    /// Writes the metadata file's text, compact.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        self.write_json(&mut text)?;
        Ok(text)
    }

    /// Adds the metadata file's text, compact, to others.
    pub fn write_json(&self, text: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(text, self)
            .map_err(|error| Error::internal("Table metadata cannot be written").because(error))
    }

    /// The schema with this id.
    pub fn schema(&self, id: i32) -> Option<&Arc<Schema>> {
        self.schemas.iter().find(|schema| schema.schema_id == id)
    }

    /// The schema of new rows.
    pub fn current_schema(&self) -> Result<&Arc<Schema>> {
        let id = self.current_schema_id;
        self.schema(id).ok_or_else(|| Error::invalid(format!("Table metadata has no schema with its current id {id}")))
    }

    /// The partition spec with this id.
    pub fn spec(&self, id: i32) -> Option<&Arc<PartitionSpec>> {
        self.partition_specs.iter().find(|spec| spec.spec_id == id)
    }

    /// The spec of new files.
    pub fn default_spec(&self) -> Result<&Arc<PartitionSpec>> {
        let id = self.default_spec_id;
        self.spec(id).ok_or_else(|| Error::invalid(format!("Table metadata has no spec with its default id {id}")))
    }

    /// The sort order with this id.
    pub fn sort_order(&self, id: i32) -> Option<&Arc<SortOrder>> {
        self.sort_orders.iter().find(|order| order.order_id == id)
    }

    /// The snapshot with this id.
    pub fn snapshot(&self, id: i64) -> Option<&Arc<Snapshot>> {
        // The newest are asked for most.
        self.snapshots.iter().rev().find(|snapshot| snapshot.id == id)
    }

    /// The snapshot that readers see.
    pub fn current_snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot(self.current_snapshot_id?)
    }

    /// Whether `ancestor` is the snapshot `id` or one it was made from.
    pub fn is_ancestor(&self, ancestor: i64, id: i64) -> bool {
        let parents: HashMap<i64, Option<i64>> =
            self.snapshots.iter().map(|snapshot| (snapshot.id, snapshot.parent)).collect();
        let mut next = Some(id);
        for _ in 0..=parents.len() {
            match next {
                Some(id) if id == ancestor => return true,
                Some(id) => next = parents.get(&id).copied().flatten(),
                None => return false,
            }
        }
        false
    }

    /// The snapshot that `main` points at, if there is one.
    pub fn main(&self) -> Option<&SnapshotRef> {
        self.refs.get(MAIN)
    }

    /// The same metadata with only the snapshots that a branch or tag points at (`snapshots=refs`), and their
    /// statistics.
    #[must_use]
    pub fn with_referenced_snapshots(&self) -> Self {
        let mut less = self.clone();
        let kept = |id: i64| self.refs.values().any(|reference| reference.snapshot_id == id);
        less.snapshots.retain(|snapshot| kept(snapshot.id));
        less.statistics.retain(|statistics| kept(statistics.snapshot_id));
        less.partition_statistics.retain(|statistics| kept(statistics.snapshot_id));
        less
    }

    /// Bytes this takes in memory, roughly, for the cache's account.
    pub fn weight(&self) -> usize {
        let snapshots: usize = self.snapshots.iter().map(|snapshot| snapshot.text().len() + 200).sum();
        let schemas: usize = self.schemas.iter().map(|schema| schema.walk().len() * 200 + 200).sum();
        let logs = self.snapshot_log.len() * 16 + self.metadata_log.len() * 160;
        snapshots + schemas + logs + self.properties.len() * 120 + self.extra.weight() + 2_000
    }
}
