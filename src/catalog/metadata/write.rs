//! [`TableMetadata`] → metadata file, members in the order that Iceberg's own writer uses.
//!
//! v1 files also get the single `schema` and `partition-spec` that old readers look for, no sequence numbers; v3 files
//! always have `next-row-id`, and leave `current-snapshot-id` out where there is none (earlier versions write -1).

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::TableMetadata;
use super::json::write_some;

impl Serialize for TableMetadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("format-version", &self.format_version)?;
        write_some(&mut map, "table-uuid", self.table_uuid.as_ref())?;
        map.serialize_entry("location", &self.location)?;
        if self.format_version > 1 {
            map.serialize_entry("last-sequence-number", &self.last_sequence_number)?;
        }
        map.serialize_entry("last-updated-ms", &self.last_updated_ms)?;
        map.serialize_entry("last-column-id", &self.last_column_id)?;
        self.write_layout(&mut map)?;
        map.serialize_entry("properties", &self.properties)?;
        if self.format_version < 3 || self.current_snapshot_id.is_some() {
            map.serialize_entry("current-snapshot-id", &self.current_snapshot_id.unwrap_or(-1))?;
        }
        if self.format_version > 2 {
            map.serialize_entry("next-row-id", &self.next_row_id)?;
        }
        if !self.encryption_keys.is_empty() {
            map.serialize_entry("encryption-keys", &self.encryption_keys)?;
        }
        map.serialize_entry("refs", &self.refs)?;
        map.serialize_entry("snapshots", &self.snapshots)?;
        map.serialize_entry("statistics", &self.statistics)?;
        map.serialize_entry("partition-statistics", &self.partition_statistics)?;
        map.serialize_entry("snapshot-log", &self.snapshot_log)?;
        map.serialize_entry("metadata-log", &self.metadata_log)?;
        self.extra.write(&mut map)?;
        map.end()
    }
}

impl TableMetadata {
    fn write_layout<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        if self.format_version == 1 {
            write_some(map, "schema", self.schema(self.current_schema_id))?;
        }
        map.serialize_entry("current-schema-id", &self.current_schema_id)?;
        map.serialize_entry("schemas", &self.schemas)?;
        if self.format_version == 1 {
            write_some(map, "partition-spec", self.spec(self.default_spec_id).map(|spec| &spec.fields))?;
        }
        map.serialize_entry("default-spec-id", &self.default_spec_id)?;
        map.serialize_entry("partition-specs", &self.partition_specs)?;
        map.serialize_entry("last-partition-id", &self.last_partition_id)?;
        map.serialize_entry("default-sort-order-id", &self.default_sort_order_id)?;
        map.serialize_entry("sort-orders", &self.sort_orders)
    }
}
