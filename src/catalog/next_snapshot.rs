//! The snapshot that follows a table's present one, for who makes it here: its id and numbers, where its manifests go,
//! and the updates that add it and move `main`.
//!
//! Nothing is read or written. What a snapshot needs is fixed when its table's turn has come, so one that could not be
//! committed is thrown away and another made of the state that is there then.

use std::sync::Arc;

use bytes::Bytes;
use iceberg::spec::{FormatVersion, ManifestFile};
use indexmap::IndexMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::change::Update;
use super::metadata::TableMetadata;
use super::metadata::schema::Schema;
use super::metadata::snapshot::{MAIN, SnapshotRef, new_snapshot};
use super::place;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::snapshot::manifest::{self, Layout, ListOf};

/// A snapshot that is being made.
#[derive(Debug)]
pub struct NextSnapshot<'a> {
    base: &'a TableMetadata,
    of: ListOf,
    now_ms: i64,
}

impl<'a> NextSnapshot<'a> {
    /// The one after the present snapshot of `base`.
    pub fn after(base: &'a TableMetadata, now_ms: i64) -> Result<Self> {
        let of = ListOf {
            version: format_version(base),
            snapshot_id: fresh_id(base),
            parent: base.current_snapshot().map(|parent| parent.id),
            sequence_number: sequence_number(base)?,
            next_row_id: u64::try_from(base.next_row_id).unwrap_or(0),
        };
        Ok(Self { base, of, now_ms })
    }

    /// Its id.
    pub fn id(&self) -> i64 {
        self.of.snapshot_id
    }

    /// What its manifests and their list say of it.
    pub fn of(&self) -> ListOf {
        self.of
    }

    /// What its manifests of this spec are written with.
    pub fn layout(&self, spec_id: i32) -> Result<Layout> {
        let missing = || Error::invalid(format!("The table has no partition spec with the id {spec_id}"));
        let (schema, spec) = (self.base.current_schema()?, self.base.spec(spec_id).ok_or_else(missing)?);
        let unfit = |error| unwritable("this partition spec", "unsupported_table", error);
        let (schema, spec) = (schema_for_writers(schema)?, in_the_crate(&**spec).map_err(unfit)?);
        Ok(Layout { version: self.of.version, schema, spec })
    }

    /// A location for one of its manifests.
    pub fn manifest_location(&self, number: usize) -> String {
        format!("{}/{}-m{number}.avro", place::metadata_folder(self.base), clock::new_uuid())
    }

    /// The updates of a commit whose snapshot lists these manifests and says this of itself. Its list joins `objects`.
    pub async fn updates(
        &self,
        manifests: Vec<ManifestFile>,
        summary: &IndexMap<String, String>,
        objects: &mut Vec<(String, Bytes)>,
    ) -> Result<Vec<Update>> {
        let (folder, id) = (place::metadata_folder(self.base), self.of.snapshot_id);
        let location = format!("{folder}/snap-{id}-0-{}.avro", clock::new_uuid());
        let list = manifest::write_list(self.of, manifests).await?;
        let row_ids = list.next_row_id.unwrap_or(self.of.next_row_id).saturating_sub(self.of.next_row_id);
        let snapshot = new_snapshot(&self.json(&location, summary, row_ids))?;
        objects.push((location, list.bytes));
        Ok(vec![Update::AddSnapshot(snapshot), Update::SetRef(MAIN.to_owned(), self.main())])
    }

    fn json(&self, list: &str, summary: &IndexMap<String, String>, row_ids: u64) -> Value {
        let mut snapshot = json!({
            "snapshot-id": self.of.snapshot_id,
            "timestamp-ms": self.now_ms,
            "manifest-list": list,
            "summary": summary,
            "schema-id": self.base.current_schema_id,
        });
        if let Some(parent) = self.of.parent {
            snapshot["parent-snapshot-id"] = json!(parent);
        }
        if self.base.format_version > 1 {
            snapshot["sequence-number"] = json!(self.of.sequence_number);
        }
        if self.base.format_version > 2 {
            snapshot["first-row-id"] = json!(self.of.next_row_id);
            snapshot["added-rows"] = json!(row_ids);
        }
        snapshot
    }

    /// `main` moved, its retention untouched.
    fn main(&self) -> SnapshotRef {
        match self.base.main() {
            Some(main) => SnapshotRef { snapshot_id: self.of.snapshot_id, ..main.clone() },
            None => SnapshotRef::branch(self.of.snapshot_id),
        }
    }
}

/// The crate's word for a table's format version.
pub fn format_version(metadata: &TableMetadata) -> FormatVersion {
    match metadata.format_version {
        1 => FormatVersion::V1,
        2 => FormatVersion::V2,
        _ => FormatVersion::V3,
    }
}

fn sequence_number(base: &TableMetadata) -> Result<i64> {
    if base.format_version == 1 {
        return Ok(0);
    }
    base.last_sequence_number.checked_add(1).ok_or_else(|| {
        let message = "Ingest cannot write to a table that has no sequence number left";
        Error::new(Kind::Unprocessable, message).with_code("unsupported_table")
    })
}

/// An id that no snapshot of the table has.
fn fresh_id(base: &TableMetadata) -> i64 {
    loop {
        let id = clock::new_snapshot_id();
        if base.snapshot(id).is_none() {
            return id;
        }
    }
}

/// The crate's form of a schema, which its writers want.
pub fn schema_for_writers(schema: &Schema) -> Result<Arc<iceberg::spec::Schema>> {
    in_the_crate(schema).map(Arc::new).map_err(|error| unwritable("these column types", "unsupported_type", error))
}

fn in_the_crate<T: DeserializeOwned>(ours: &impl Serialize) -> serde_json::Result<T> {
    serde_json::from_slice(&serde_json::to_vec(ours)?)
}

fn unwritable(what: &str, code: &'static str, error: serde_json::Error) -> Error {
    let message = format!("Ingest cannot write to a table with {what}");
    Error::new(Kind::Unprocessable, message).with_code(code).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(version: u8) -> TableMetadata {
        let text = json!({
            "format-version": version, "table-uuid": "f79c3e09-677c-4bbd-a479-3f349cb785e7", "location": "file:///t",
            "last-sequence-number": 4, "last-updated-ms": 1, "last-column-id": 1, "current-schema-id": 0,
            "schemas": [{"type": "struct", "schema-id": 0,
                "fields": [{"id": 1, "name": "at", "required": true, "type": "timestamptz"}]}],
            "default-spec-id": 0, "last-partition-id": 1000, "partition-specs": [{"spec-id": 0, "fields":
                [{"source-id": 1, "field-id": 1000, "name": "at_day", "transform": "day"}]}],
            "default-sort-order-id": 0, "sort-orders": [{"order-id": 0, "fields": []}], "next-row-id": 70,
            "current-snapshot-id": 3, "refs": {"main": {"snapshot-id": 3, "type": "branch", "min-snapshots-to-keep": 5}},
            "snapshots": [{"snapshot-id": 3, "sequence-number": 4, "timestamp-ms": 1, "manifest-list": "l3",
                "first-row-id": 0, "added-rows": 70, "summary": {"operation": "append"}}],
        });
        TableMetadata::parse(&text.to_string()).expect("metadata")
    }

    #[tokio::test]
    async fn it_goes_on_from_what_is_there() {
        let base = table(3);
        let next = NextSnapshot::after(&base, 1_700_000_000_000).expect("another");
        let (summary, mut objects) = (IndexMap::from([("operation".to_owned(), "delete".to_owned())]), Vec::new());
        let updates = next.updates(Vec::new(), &summary, &mut objects).await.expect("updates");
        let [Update::AddSnapshot(snapshot), Update::SetRef(name, main)] = updates.as_slice() else {
            panic!("{updates:?}");
        };
        assert_eq!((snapshot.id, snapshot.parent, snapshot.sequence_number), (next.id(), Some(3), 5));
        assert_eq!((snapshot.first_row_id, snapshot.added_rows), (Some(70), Some(0)));
        assert_eq!(snapshot.summary().expect("a summary"), summary);
        assert_eq!((name.as_str(), main.snapshot_id, main.min_snapshots_to_keep), (MAIN, next.id(), Some(5)));
        assert_eq!(snapshot.manifest_list.as_ref(), objects.first().map(|(location, _)| location));
        assert_eq!(next.layout(0).expect("a layout").spec.fields().len(), 1);
        assert!(next.layout(1).is_err());
    }

    #[test]
    fn the_first_version_has_no_sequence_numbers() {
        let base = table(1);
        let next = NextSnapshot::after(&base, 1).expect("another");
        let json = next.json("l", &IndexMap::new(), 0);
        assert!(json.get("sequence-number").is_none() && json.get("first-row-id").is_none(), "{json}");
        assert!(next.manifest_location(2).ends_with("-m2.avro"));
    }
}
