//! The metadata of a table that is created from a description (`CreateTableRequest`), as a pure function.
//!
//! Field ids that the client sends are advisory: fresh ones are given breadth first from 1, and the spec and the sort
//! order follow. Property `format-version` chooses the version and is not kept; other reserved ones are dropped.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::change::RESERVED_PROPERTIES;
use super::metadata::schema::{Schema, with_fresh_ids};
use super::metadata::spec::{PARTITION_ID_START, PartitionSpec, SortOrder, Source};
use super::metadata::{FORMAT_VERSION_DEFAULT, FORMAT_VERSIONS, TableMetadata};
use super::{change, properties};
use crate::error::{Error, Result};

/// What a client says of the table it wants.
#[derive(Debug, Clone)]
pub struct Description {
    /// Its columns.
    pub schema: Schema,
    /// How it is partitioned.
    pub spec: Option<PartitionSpec>,
    /// How its files are sorted.
    pub order: Option<SortOrder>,
    /// Its properties.
    pub properties: IndexMap<String, String>,
}

impl Description {
    /// The metadata of the new table.
    pub fn metadata(&self, uuid: String, location: &str, now_ms: i64) -> Result<TableMetadata> {
        let format_version = self.format_version()?;
        properties::check(&self.properties)?;
        let (schema, renamed) = with_fresh_ids(&self.schema);
        let spec = fresh_spec(self.spec.as_ref(), &renamed)?;
        let order = fresh_order(self.order.as_ref(), &renamed)?;
        let empty = TableMetadata {
            format_version,
            table_uuid: Some(uuid),
            location: location.trim_end_matches('/').to_owned(),
            current_schema_id: -1,
            default_spec_id: -1,
            default_sort_order_id: -1,
            last_partition_id: PARTITION_ID_START,
            properties: self.kept_properties(),
            ..TableMetadata::default()
        };
        let change = change::Change {
            requirements: Vec::new(),
            updates: vec![
                change::Update::AddSchema(schema),
                change::Update::SetCurrentSchema(-1),
                change::Update::AddSpec(spec),
                change::Update::SetDefaultSpec(-1),
                change::Update::AddSortOrder(order),
                change::Update::SetDefaultSortOrder(-1),
            ],
        };
        match change.apply(Some(&empty), now_ms)? {
            change::Outcome::Changed(metadata) => Ok(*metadata),
            change::Outcome::Unchanged => Err(Error::internal("A new table came out unchanged")),
        }
    }

    fn format_version(&self) -> Result<u8> {
        let Some(text) = self.properties.get("format-version") else { return Ok(FORMAT_VERSION_DEFAULT) };
        let version = text.trim().parse().ok().filter(|version| FORMAT_VERSIONS.contains(version));
        version.ok_or_else(|| {
            let (least, most) = (FORMAT_VERSIONS.start(), FORMAT_VERSIONS.end());
            Error::illegal(format!("Property \"format-version\" cannot be {text:?}: expected {least} to {most}"))
        })
    }

    fn kept_properties(&self) -> IndexMap<String, String> {
        let kept = |key: &str| !RESERVED_PROPERTIES.contains(&key);
        let mut properties: IndexMap<String, String> = self
            .properties
            .iter()
            .filter(|(key, _)| kept(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        // Java's writers fall back to gzip where the table does not say.
        properties.entry("write.parquet.compression-codec".to_owned()).or_insert_with(|| "zstd".to_owned());
        properties
    }
}

fn fresh_source(source: &Source, renamed: &HashMap<i32, i32>) -> Result<Source> {
    if let Some(unknown) = source.ids().iter().find(|id| !renamed.contains_key(id)) {
        return Err(Error::invalid(format!("Cannot find source column with id {unknown} in the schema")));
    }
    Ok(source.map(|id| renamed.get(&id).copied().unwrap_or(id)))
}

fn fresh_spec(spec: Option<&PartitionSpec>, renamed: &HashMap<i32, i32>) -> Result<PartitionSpec> {
    let Some(spec) = spec else { return Ok(PartitionSpec::default()) };
    let mut fresh = PartitionSpec { spec_id: 0, ..spec.clone() };
    for (field, id) in fresh.fields.iter_mut().zip(PARTITION_ID_START + 1..) {
        field.source = fresh_source(&field.source, renamed)?;
        field.field_id = Some(id);
    }
    Ok(fresh)
}

fn fresh_order(order: Option<&SortOrder>, renamed: &HashMap<i32, i32>) -> Result<SortOrder> {
    let Some(order) = order else { return Ok(SortOrder::default()) };
    let mut fresh = SortOrder { order_id: i32::from(!order.fields.is_empty()), ..order.clone() };
    for field in &mut fresh.fields {
        field.source = fresh_source(&field.source, renamed)?;
    }
    Ok(fresh)
}
