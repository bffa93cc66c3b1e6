//! Metadata file → [`TableMetadata`], for format versions 1 to 3.
//!
//! What v1 leaves out is filled in as the specification says (one schema, one spec, sequence numbers 0, `main` from the
//! current snapshot). A text that is not table metadata is an error that says what is missing and never quotes the text.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::json::{Object, parse_array};
use super::schema::Schema;
use super::snapshot::{EncryptionKey, MAIN, Snapshot, SnapshotRef, Statistics};
use super::spec::{PARTITION_ID_START, PartitionSpec, SortOrder};
use super::{FORMAT_VERSIONS, TableMetadata};
use crate::error::{Error, Result};

/// Reads a metadata file's text.
pub(super) fn parse(text: &str) -> Result<TableMetadata> {
    let mut object = Object::parse("Table metadata", text)?;
    let format_version: u8 = object.need("format-version")?;
    if !FORMAT_VERSIONS.contains(&format_version) {
        return Err(Error::invalid(format!("Cannot read table metadata of unsupported version {format_version}")));
    }
    let mut metadata = TableMetadata {
        format_version,
        table_uuid: object.take("table-uuid")?,
        location: object.need::<String>("location")?.trim_end_matches('/').to_owned(),
        last_sequence_number: object.take("last-sequence-number")?.unwrap_or(0),
        last_updated_ms: object.need("last-updated-ms")?,
        last_column_id: object.need("last-column-id")?,
        properties: object.take("properties")?.unwrap_or_default(),
        current_snapshot_id: object.take("current-snapshot-id")?.filter(|id| *id != -1),
        snapshot_log: object.take("snapshot-log")?.unwrap_or_default(),
        metadata_log: object.take("metadata-log")?.unwrap_or_default(),
        next_row_id: object.take("next-row-id")?.unwrap_or(0),
        ..TableMetadata::default()
    };
    read_schemas(&mut object, &mut metadata)?;
    read_specs(&mut object, &mut metadata)?;
    read_orders(&mut object, &mut metadata)?;
    metadata.snapshots = list(&mut object, "snapshots", Snapshot::parse)?;
    metadata.statistics = list(&mut object, "statistics", Statistics::parse)?;
    metadata.partition_statistics = list(&mut object, "partition-statistics", Statistics::parse)?;
    metadata.encryption_keys = list(&mut object, "encryption-keys", EncryptionKey::parse)?;
    read_refs(&mut object, &mut metadata)?;
    metadata.extra = object.rest();
    check(&metadata)?;
    Ok(metadata)
}

fn list<T>(object: &mut Object, key: &str, parse: impl Fn(Box<RawValue>) -> Result<T>) -> Result<Vec<Arc<T>>> {
    let Some(raw) = object.take_raw(key) else { return Ok(Vec::new()) };
    parse_array(key, raw.get())?.into_iter().map(|item| parse(item).map(Arc::new)).collect()
}

fn read_schemas(object: &mut Object, metadata: &mut TableMetadata) -> Result<()> {
    metadata.schemas = list(object, "schemas", |raw| Schema::parse(&raw))?;
    let single = object.take_raw("schema");
    if metadata.schemas.is_empty() {
        let single = single.ok_or_else(|| Error::malformed("Table metadata lacks the field \"schemas\""))?;
        let schema = Schema::parse(&single)?;
        metadata.current_schema_id = schema.schema_id;
        metadata.schemas = vec![Arc::new(schema)];
        object.take_raw("current-schema-id");
        return Ok(());
    }
    metadata.current_schema_id = object.need("current-schema-id")?;
    Ok(())
}

fn read_specs(object: &mut Object, metadata: &mut TableMetadata) -> Result<()> {
    metadata.partition_specs = list(object, "partition-specs", |raw| PartitionSpec::parse(&raw))?;
    let single = object.take_raw("partition-spec");
    if metadata.partition_specs.is_empty() {
        let single = single.ok_or_else(|| Error::malformed("Table metadata lacks the field \"partition-specs\""))?;
        let mut fields = PartitionSpec::parse_fields(&single)?;
        for (field, id) in fields.iter_mut().zip(PARTITION_ID_START + 1..) {
            field.field_id.get_or_insert(id);
        }
        metadata.partition_specs = vec![Arc::new(PartitionSpec { fields, ..PartitionSpec::default() })];
    }
    metadata.default_spec_id = object.take("default-spec-id")?.unwrap_or(0);
    let highest = metadata.partition_specs.iter().map(|spec| spec.highest_id()).max().unwrap_or(PARTITION_ID_START);
    metadata.last_partition_id = object.take("last-partition-id")?.unwrap_or(highest);
    Ok(())
}

fn read_orders(object: &mut Object, metadata: &mut TableMetadata) -> Result<()> {
    metadata.sort_orders = list(object, "sort-orders", |raw| SortOrder::parse(&raw))?;
    metadata.default_sort_order_id = object.take("default-sort-order-id")?.unwrap_or(0);
    if metadata.sort_orders.is_empty() {
        metadata.sort_orders.push(Arc::new(SortOrder::default()));
    }
    Ok(())
}

fn read_refs(object: &mut Object, metadata: &mut TableMetadata) -> Result<()> {
    let refs: Option<IndexMap<String, Box<RawValue>>> = object.take("refs")?;
    for (name, raw) in refs.unwrap_or_default() {
        metadata.refs.insert(name, SnapshotRef::take(Object::parse("Reference", raw.get())?)?);
    }
    match (metadata.refs.get(MAIN), metadata.current_snapshot_id) {
        (None, Some(current)) => {
            metadata.refs.insert(MAIN.to_owned(), SnapshotRef::branch(current));
        }
        (Some(main), None) => metadata.current_snapshot_id = Some(main.snapshot_id),
        (Some(main), Some(current)) if main.snapshot_id != current => {
            let main = main.snapshot_id;
            return Err(Error::invalid(format!("Current snapshot ID {current} does not match main branch ({main})")));
        }
        _ => {}
    }
    Ok(())
}

fn check(metadata: &TableMetadata) -> Result<()> {
    metadata.current_schema()?;
    metadata.default_spec()?;
    let order = metadata.default_sort_order_id;
    if metadata.sort_order(order).is_none() {
        return Err(Error::invalid(format!("Table metadata has no sort order with its default id {order}")));
    }
    if let Some(id) = metadata.current_snapshot_id
        && metadata.snapshot(id).is_none()
    {
        return Err(Error::invalid(format!("Table metadata has no snapshot with its current id {id}")));
    }
    Ok(())
}
