//! Updates: what a commit does to a table (`TableUpdate` of the REST specification), parsed.

use indexmap::IndexMap;
use serde_json::value::RawValue;

use crate::catalog::metadata::json::Object;
use crate::catalog::metadata::schema::Schema;
use crate::catalog::metadata::snapshot::{EncryptionKey, Snapshot, SnapshotRef, Statistics};
use crate::catalog::metadata::spec::{PartitionSpec, SortOrder};
use crate::error::{Error, Result};

/// One update of a commit. Ids of -1 mean "the one added last in this commit".
#[derive(Debug, Clone)]
pub enum Update {
    /// `assign-uuid`
    AssignUuid(String),
    /// `upgrade-format-version`
    UpgradeFormatVersion(i64),
    /// `add-schema`
    AddSchema(Schema),
    /// `set-current-schema`
    SetCurrentSchema(i32),
    /// `add-spec`
    AddSpec(PartitionSpec),
    /// `set-default-spec`
    SetDefaultSpec(i32),
    /// `add-sort-order`
    AddSortOrder(SortOrder),
    /// `set-default-sort-order`
    SetDefaultSortOrder(i32),
    /// `add-snapshot`
    AddSnapshot(Snapshot),
    /// `set-snapshot-ref`
    SetRef(String, SnapshotRef),
    /// `remove-snapshots`
    RemoveSnapshots(Vec<i64>),
    /// `remove-snapshot-ref`
    RemoveRef(String),
    /// `set-location`
    SetLocation(String),
    /// `set-properties`
    SetProperties(IndexMap<String, String>),
    /// `remove-properties`
    RemoveProperties(Vec<String>),
    /// `set-statistics`
    SetStatistics(Statistics),
    /// `remove-statistics`
    RemoveStatistics(i64),
    /// `set-partition-statistics`
    SetPartitionStatistics(Statistics),
    /// `remove-partition-statistics`
    RemovePartitionStatistics(i64),
    /// `remove-partition-specs`
    RemoveSpecs(Vec<i32>),
    /// `remove-schemas`
    RemoveSchemas(Vec<i32>),
    /// `add-encryption-key`
    AddEncryptionKey(EncryptionKey),
    /// `remove-encryption-key`
    RemoveEncryptionKey(String),
}

impl Update {
    /// Parses one update; an unknown action is refused, unknown members of a known one are ignored.
    pub fn parse(raw: &RawValue) -> Result<Self> {
        let mut object = Object::parse("Update", raw.get())?;
        let action: String = object.need("action")?;
        let action = action.to_ascii_lowercase();
        let update = match action.as_str() {
            "add-snapshot" => Ok(Self::AddSnapshot(Snapshot::parse(object.need_raw("snapshot")?)?)),
            "set-snapshot-ref" => Ok(Self::SetRef(object.need("ref-name")?, SnapshotRef::take(object)?)),
            "remove-snapshots" => object.need("snapshot-ids").map(Self::RemoveSnapshots),
            "remove-snapshot-ref" => object.need("ref-name").map(Self::RemoveRef),
            "set-statistics" => parse_statistics(&mut object).map(Self::SetStatistics),
            "remove-statistics" => object.need("snapshot-id").map(Self::RemoveStatistics),
            "set-partition-statistics" => {
                Ok(Self::SetPartitionStatistics(Statistics::parse(object.need_raw("partition-statistics")?)?))
            }
            "remove-partition-statistics" => object.need("snapshot-id").map(Self::RemovePartitionStatistics),
            "add-encryption-key" => {
                Ok(Self::AddEncryptionKey(EncryptionKey::parse(object.need_raw("encryption-key")?)?))
            }
            "remove-encryption-key" => object.need("key-id").map(Self::RemoveEncryptionKey),
            _ => Self::parse_description(&action, &mut object),
        };
        update.map_err(|error| error.context(format_args!("Update {action:?}")))
    }

    fn parse_description(action: &str, object: &mut Object) -> Result<Self> {
        Ok(match action {
            "assign-uuid" => Self::AssignUuid(object.need("uuid")?),
            "upgrade-format-version" => Self::UpgradeFormatVersion(object.need("format-version")?),
            "add-schema" => Self::AddSchema(Schema::parse(&object.need_raw("schema")?)?),
            "set-current-schema" => Self::SetCurrentSchema(object.need("schema-id")?),
            "add-spec" => Self::AddSpec(PartitionSpec::parse(&object.need_raw("spec")?)?),
            "set-default-spec" => Self::SetDefaultSpec(object.need("spec-id")?),
            "add-sort-order" => Self::AddSortOrder(SortOrder::parse(&object.need_raw("sort-order")?)?),
            "set-default-sort-order" => Self::SetDefaultSortOrder(object.need("sort-order-id")?),
            "set-location" => Self::SetLocation(object.need("location")?),
            // `updated` and `removed` are what old clients called them.
            "set-properties" => {
                let old = object.take("updated")?;
                Self::SetProperties(object.take("updates")?.or(old).unwrap_or_default())
            }
            "remove-properties" => {
                let old = object.take("removed")?;
                Self::RemoveProperties(object.take("removals")?.or(old).unwrap_or_default())
            }
            "remove-partition-specs" => Self::RemoveSpecs(object.need("spec-ids")?),
            "remove-schemas" => Self::RemoveSchemas(object.need("schema-ids")?),
            _ => return Err(Error::malformed("this action is not known")),
        })
    }
}

fn parse_statistics(object: &mut Object) -> Result<Statistics> {
    let statistics = Statistics::parse(object.need_raw("statistics")?)?;
    let named: Option<i64> = object.take("snapshot-id")?;
    match named {
        Some(named) if named != statistics.snapshot_id => {
            let inner = statistics.snapshot_id;
            Err(Error::illegal(format!("snapshot-id {named} does not match the statistics' snapshot-id {inner}")))
        }
        _ => Ok(statistics),
    }
}
