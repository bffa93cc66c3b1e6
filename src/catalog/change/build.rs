//! New metadata under construction: the updates of one commit applied one after the other.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::{Outcome, RESERVED_PROPERTIES, Update, same_uuid};
use crate::catalog::metadata::schema::Schema;
use crate::catalog::metadata::snapshot::{EncryptionKey, Snapshot, Statistics};
use crate::catalog::metadata::spec::PARTITION_ID_START;
use crate::catalog::metadata::{FORMAT_VERSIONS, TableMetadata};
use crate::error::{Error, Result};

/// Metadata being changed, and what the commit has added so far.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) metadata: TableMetadata,
    /// Whether anything differs from the base.
    pub(super) changed: bool,
    /// Whether the table existed before.
    exists: bool,
    pub(super) last_schema: Option<i32>,
    pub(super) last_spec: Option<i32>,
    pub(super) last_order: Option<i32>,
    pub(super) added_snapshots: HashSet<i64>,
    /// Whether a snapshot of the base is gone.
    pub(super) removed_snapshots: bool,
    /// The schema in force before this commit, and the snapshot whose rows readers saw.
    pub(super) before: Option<(Arc<Schema>, Arc<Snapshot>)>,
    /// Entries of the snapshot log before this commit.
    pub(super) old_log: usize,
}

impl Build {
    /// A change to a table that exists.
    pub(super) fn on(base: &TableMetadata) -> Self {
        let before = base.current_schema().ok().cloned().zip(base.current_snapshot().cloned());
        Self { metadata: base.clone(), exists: true, before, old_log: base.snapshot_log.len(), ..Self::nothing() }
    }

    /// A table that does not exist yet.
    pub(super) fn empty(format_version: u8) -> Self {
        let metadata = TableMetadata {
            format_version,
            current_schema_id: -1,
            default_spec_id: -1,
            default_sort_order_id: -1,
            last_partition_id: PARTITION_ID_START,
            ..TableMetadata::default()
        };
        Self { metadata, changed: true, ..Self::nothing() }
    }

    fn nothing() -> Self {
        Self {
            metadata: TableMetadata::default(),
            changed: false,
            exists: false,
            last_schema: None,
            last_spec: None,
            last_order: None,
            added_snapshots: HashSet::new(),
            removed_snapshots: false,
            before: None,
            old_log: 0,
        }
    }

    /// Applies one update.
    pub(super) fn apply(&mut self, update: &Update) -> Result<()> {
        match update {
            Update::AssignUuid(uuid) => self.assign_uuid(uuid),
            Update::UpgradeFormatVersion(version) => self.upgrade(*version),
            Update::AddSchema(schema) => self.add_schema(schema),
            Update::SetCurrentSchema(id) => self.set_current_schema(*id),
            Update::AddSpec(spec) => self.add_spec(spec),
            Update::SetDefaultSpec(id) => self.set_default_spec(*id),
            Update::AddSortOrder(order) => self.add_sort_order(order),
            Update::SetDefaultSortOrder(id) => self.set_default_sort_order(*id),
            Update::AddSnapshot(snapshot) => self.add_snapshot(snapshot),
            Update::SetRef(name, reference) => self.set_ref(name, reference),
            Update::RemoveSnapshots(ids) => self.remove_snapshots(ids),
            Update::RemoveRef(name) => self.remove_ref(name),
            Update::SetLocation(location) => self.set_location(location),
            Update::SetProperties(properties) => self.set_properties(properties),
            Update::RemoveProperties(keys) => self.remove_properties(keys),
            Update::SetStatistics(file) => self.set_statistics(Kind::Column, file),
            Update::RemoveStatistics(snapshot) => self.remove_statistics(Kind::Column, *snapshot),
            Update::SetPartitionStatistics(file) => self.set_statistics(Kind::Partition, file),
            Update::RemovePartitionStatistics(snapshot) => self.remove_statistics(Kind::Partition, *snapshot),
            Update::RemoveSpecs(ids) => self.remove_specs(ids),
            Update::RemoveSchemas(ids) => self.remove_schemas(ids),
            Update::AddEncryptionKey(key) => self.add_encryption_key(key),
            Update::RemoveEncryptionKey(id) => self.remove_encryption_key(id),
        }
    }

    fn assign_uuid(&mut self, uuid: &str) -> Result<()> {
        if uuid.is_empty() || uuid.len() > 128 {
            return Err(Error::malformed(format!("Table UUID {uuid:?} is not a UUID")));
        }
        match &self.metadata.table_uuid {
            Some(have) if same_uuid(have, uuid) => return Ok(()),
            Some(have) if self.exists => {
                return Err(Error::invalid(format!(
                    "Cannot reassign uuid: the table's is {have}, the update says {uuid}"
                )));
            }
            _ => {}
        }
        self.metadata.table_uuid = Some(uuid.to_owned());
        self.changed = true;
        Ok(())
    }

    fn upgrade(&mut self, version: i64) -> Result<()> {
        let have = self.metadata.format_version;
        let wanted = u8::try_from(version).ok().filter(|version| FORMAT_VERSIONS.contains(version));
        let Some(wanted) = wanted else {
            let max = FORMAT_VERSIONS.end();
            return Err(Error::illegal(format!(
                "Cannot upgrade table to unsupported format version: v{version} (supported: v{max})"
            )));
        };
        if wanted < have {
            return Err(Error::illegal(format!("Cannot downgrade v{have} table to v{wanted}")));
        }
        if wanted > have {
            self.metadata.format_version = wanted;
            self.changed = true;
        }
        Ok(())
    }

    fn set_location(&mut self, location: &str) -> Result<()> {
        let location = location.trim_end_matches('/');
        if location.is_empty() {
            return Err(Error::invalid("Table location is empty"));
        }
        if self.metadata.location != location {
            location.clone_into(&mut self.metadata.location);
            self.changed = true;
        }
        Ok(())
    }

    fn set_properties(&mut self, properties: &IndexMap<String, String>) -> Result<()> {
        for (key, value) in properties {
            if RESERVED_PROPERTIES.contains(&key.as_str()) {
                continue;
            }
            if self.metadata.properties.insert(key.clone(), value.clone()).as_ref() != Some(value) {
                self.changed = true;
            }
        }
        Ok(())
    }

    fn remove_properties(&mut self, keys: &[String]) -> Result<()> {
        for key in keys {
            self.changed |= self.metadata.properties.shift_remove(key).is_some();
        }
        Ok(())
    }

    fn statistics(&mut self, kind: Kind) -> &mut Vec<Arc<Statistics>> {
        match kind {
            Kind::Column => &mut self.metadata.statistics,
            Kind::Partition => &mut self.metadata.partition_statistics,
        }
    }

    fn set_statistics(&mut self, kind: Kind, file: &Statistics) -> Result<()> {
        let list = self.statistics(kind);
        match list.iter_mut().find(|have| have.snapshot_id == file.snapshot_id) {
            Some(have) if have.text() == file.text() => return Ok(()),
            Some(have) => *have = Arc::new(file.clone()),
            None => list.push(Arc::new(file.clone())),
        }
        self.changed = true;
        Ok(())
    }

    fn remove_statistics(&mut self, kind: Kind, snapshot: i64) -> Result<()> {
        let list = self.statistics(kind);
        let before = list.len();
        list.retain(|file| file.snapshot_id != snapshot);
        self.changed |= self.statistics(kind).len() != before;
        Ok(())
    }

    fn add_encryption_key(&mut self, key: &EncryptionKey) -> Result<()> {
        if self.metadata.encryption_keys.iter().any(|have| have.key_id == key.key_id) {
            return Ok(());
        }
        self.metadata.encryption_keys.push(Arc::new(key.clone()));
        self.changed = true;
        Ok(())
    }

    fn remove_encryption_key(&mut self, id: &str) -> Result<()> {
        let before = self.metadata.encryption_keys.len();
        self.metadata.encryption_keys.retain(|key| key.key_id != id);
        self.changed |= self.metadata.encryption_keys.len() != before;
        Ok(())
    }

    /// Checks the whole and sets its time.
    pub(super) fn finish(mut self, now_ms: i64) -> Result<Outcome> {
        if !self.changed {
            return Ok(Outcome::Unchanged);
        }
        self.check_layout()?;
        self.settle_snapshot_log(now_ms);
        let metadata = &mut self.metadata;
        if metadata.location.is_empty() {
            return Err(Error::invalid("Cannot create the table: no set-location update names its location"));
        }
        // A client's clock may run ahead of ours. Iceberg's readers refuse logs that are out of order by more than a
        // minute, so time never goes back.
        let logged = metadata.snapshot_log.last().map_or(0, |entry| entry.timestamp_ms);
        metadata.last_updated_ms = now_ms.max(logged).max(metadata.last_updated_ms);
        Ok(Outcome::Changed(Box::new(self.metadata)))
    }
}

/// Which list of statistics files.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Column,
    Partition,
}
