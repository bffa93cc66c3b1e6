//! Requirements: what must be true of a table for a commit to go on (`TableRequirement` of the REST specification).
//!
//! One that does not hold is a conflict with the words that Java's client and the compatibility kit look for.

use serde_json::value::RawValue;

use super::same_uuid;
use crate::catalog::metadata::TableMetadata;
use crate::catalog::metadata::json::Object;
use crate::error::{Error, Result};

/// One requirement of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// `assert-create`
    Create,
    /// `assert-table-uuid`
    TableUuid(String),
    /// `assert-ref-snapshot-id`; without a snapshot the reference must not exist.
    RefSnapshotId(String, Option<i64>),
    /// `assert-last-assigned-field-id`
    LastAssignedFieldId(i32),
    /// `assert-current-schema-id`
    CurrentSchemaId(i32),
    /// `assert-last-assigned-partition-id`
    LastAssignedPartitionId(i32),
    /// `assert-default-spec-id`
    DefaultSpecId(i32),
    /// `assert-default-sort-order-id`
    DefaultSortOrderId(i32),
}

impl Requirement {
    /// Parses one requirement; an unknown type is refused.
    pub fn parse(raw: &RawValue) -> Result<Self> {
        let mut object = Object::parse("Requirement", raw.get())?;
        let kind: String = object.need("type")?;
        Ok(match kind.to_ascii_lowercase().as_str() {
            "assert-create" => Self::Create,
            "assert-table-uuid" => Self::TableUuid(object.need("uuid")?),
            // Some clients say -1 for "no snapshot".
            "assert-ref-snapshot-id" => {
                Self::RefSnapshotId(object.need("ref")?, object.take("snapshot-id")?.filter(|id| *id != -1))
            }
            "assert-last-assigned-field-id" => Self::LastAssignedFieldId(object.need("last-assigned-field-id")?),
            "assert-current-schema-id" => Self::CurrentSchemaId(object.need("current-schema-id")?),
            "assert-last-assigned-partition-id" => {
                Self::LastAssignedPartitionId(object.need("last-assigned-partition-id")?)
            }
            "assert-default-spec-id" => Self::DefaultSpecId(object.need("default-spec-id")?),
            "assert-default-sort-order-id" => Self::DefaultSortOrderId(object.need("default-sort-order-id")?),
            "assert-view-uuid" => return Err(Error::invalid("Cannot validate assert-view-uuid against a table")),
            _ => return Err(Error::malformed(format!("Requirement type {kind:?} is not known"))),
        })
    }

    /// Checks it against the table as it is; `None` is a table that does not exist.
    pub fn check(&self, base: Option<&TableMetadata>) -> Result<()> {
        match (self, base) {
            (Self::Create, None) => Ok(()),
            (Self::Create, Some(_)) => Err(failed("table already exists")),
            (_, None) => Err(failed("table does not exist")),
            (Self::TableUuid(uuid), Some(base)) => check_uuid(uuid, base),
            (Self::RefSnapshotId(name, expected), Some(base)) => check_ref(name, *expected, base),
            (Self::LastAssignedFieldId(expected), Some(base)) => {
                check_number("last assigned field id", *expected, base.last_column_id)
            }
            (Self::CurrentSchemaId(expected), Some(base)) => {
                check_number("current schema", *expected, base.current_schema_id)
            }
            (Self::LastAssignedPartitionId(expected), Some(base)) => {
                check_number("last assigned partition id", *expected, base.last_partition_id)
            }
            (Self::DefaultSpecId(expected), Some(base)) => {
                check_number("default partition spec", *expected, base.default_spec_id)
            }
            (Self::DefaultSortOrderId(expected), Some(base)) => {
                check_number("default sort order", *expected, base.default_sort_order_id)
            }
        }
    }
}

fn check_uuid(expected: &str, base: &TableMetadata) -> Result<()> {
    let have = base.table_uuid.as_deref().unwrap_or("none");
    if same_uuid(expected, have) {
        return Ok(());
    }
    Err(failed(&format!("UUID does not match: expected {have} != {expected}")))
}

fn check_ref(name: &str, expected: Option<i64>, base: &TableMetadata) -> Result<()> {
    match (base.refs.get(name), expected) {
        (None, None) => Ok(()),
        (Some(have), Some(expected)) if have.snapshot_id == expected => Ok(()),
        (Some(have), None) => Err(failed(&format!("{} {name} was created concurrently", have.kind.as_str()))),
        (Some(have), Some(expected)) => {
            let (kind, now) = (have.kind.as_str(), have.snapshot_id);
            Err(failed(&format!("{kind} {name} has changed: expected id {expected} != {now}")))
        }
        (None, Some(expected)) => Err(failed(&format!("branch or tag {name} is missing, expected {expected}"))),
    }
}

fn check_number(what: &str, expected: i32, have: i32) -> Result<()> {
    if expected == have {
        return Ok(());
    }
    Err(failed(&format!("{what} changed: expected id {expected} != {have}")))
}

fn failed(why: &str) -> Error {
    Error::conflict(format!("Requirement failed: {why}"))
}
