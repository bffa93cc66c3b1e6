//! Updates of snapshots and of the references that point at them.

use std::sync::Arc;

use super::build::Build;
use crate::catalog::metadata::snapshot::{MAIN, RefKind, Snapshot, SnapshotLogEntry, SnapshotRef};
use crate::error::{Error, Result};

impl Build {
    pub(super) fn add_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        let id = snapshot.id;
        for (what, missing) in [
            ("a schema", self.metadata.schemas.is_empty()),
            ("a partition spec", self.metadata.partition_specs.is_empty()),
            ("a sort order", self.metadata.sort_orders.is_empty()),
        ] {
            if missing {
                return Err(Error::invalid(format!("Attempting to add a snapshot before {what} is added")));
            }
        }
        if self.metadata.snapshot(id).is_some() {
            return Err(Error::invalid(format!("Snapshot already exists for id: {id}")));
        }
        self.check_sequence(snapshot)?;
        self.take_row_ids(snapshot)?;
        let last = self.metadata.last_sequence_number;
        self.metadata.last_sequence_number = last.max(snapshot.sequence_number);
        self.metadata.snapshots.push(Arc::new(snapshot.clone()));
        self.added_snapshots.insert(id);
        self.changed = true;
        Ok(())
    }

    /// A sequence number that somebody else has used since is a lost race, not a mistake.
    fn check_sequence(&self, snapshot: &Snapshot) -> Result<()> {
        let (new, last) = (snapshot.sequence_number, self.metadata.last_sequence_number);
        if !(0..i64::MAX).contains(&new) {
            return Err(Error::invalid(format!(
                "Cannot add snapshot with sequence number {new}: it leaves none for the next"
            )));
        }
        if self.metadata.format_version > 1 && new <= last && snapshot.parent.is_some() {
            return Err(Error::conflict(format!(
                "Validation failed, please retry: Cannot add snapshot with sequence number {new} older than last \
                 sequence number {last}"
            )));
        }
        Ok(())
    }

    fn take_row_ids(&mut self, snapshot: &Snapshot) -> Result<()> {
        if self.metadata.format_version < 3 {
            return Ok(());
        }
        let next = self.metadata.next_row_id;
        let Some(first) = snapshot.first_row_id else {
            return Err(Error::invalid("Cannot add a snapshot: first-row-id is null"));
        };
        if first < next {
            return Err(Error::conflict(format!(
                "Validation failed, please retry: Cannot add a snapshot, first-row-id is behind table next-row-id: \
                 {first} < {next}"
            )));
        }
        let Some(added) = snapshot.added_rows.filter(|rows| *rows >= 0) else {
            return Err(Error::invalid("Cannot add a snapshot: added-rows is null or negative"));
        };
        let end =
            next.checked_add(added).ok_or_else(|| Error::invalid("Cannot add a snapshot: row ids are used up"))?;
        self.metadata.next_row_id = end;
        Ok(())
    }

    pub(super) fn set_ref(&mut self, name: &str, reference: &SnapshotRef) -> Result<()> {
        let id = reference.snapshot_id;
        if self.metadata.refs.get(name) == Some(reference) {
            return Ok(());
        }
        let Some(snapshot) = self.metadata.snapshot(id).cloned() else {
            return Err(Error::invalid(format!("Cannot set {name} to unknown snapshot: {id}")));
        };
        if name == MAIN {
            if reference.kind != RefKind::Branch {
                return Err(Error::invalid("Cannot set main to a tag: main must be a branch"));
            }
            if self.metadata.current_snapshot_id != Some(id) {
                self.log_current(&snapshot);
            }
            self.metadata.current_snapshot_id = Some(id);
        }
        self.metadata.refs.insert(name.to_owned(), reference.clone());
        self.changed = true;
        Ok(())
    }

    /// The time of an entry that sets an older snapshot is not known until the commit's own time is; 0 stands for it.
    fn log_current(&mut self, snapshot: &Snapshot) {
        let timestamp_ms = if self.added_snapshots.contains(&snapshot.id) { snapshot.timestamp_ms } else { 0 };
        self.metadata.snapshot_log.push(SnapshotLogEntry { snapshot_id: snapshot.id, timestamp_ms });
    }

    pub(super) fn remove_ref(&mut self, name: &str) -> Result<()> {
        if self.metadata.refs.shift_remove(name).is_some() {
            self.changed = true;
        }
        if name == MAIN && self.metadata.current_snapshot_id.take().is_some() {
            self.changed = true;
        }
        Ok(())
    }

    pub(super) fn remove_snapshots(&mut self, ids: &[i64]) -> Result<()> {
        // Sorted, because a map of a thousand ids would be most of what such a commit computes.
        let mut gone = ids.to_vec();
        gone.sort_unstable();
        let stays = |id: i64| gone.binary_search(&id).is_err();
        let metadata = &mut self.metadata;
        let before = metadata.snapshots.len();
        metadata.snapshots.retain(|snapshot| stays(snapshot.id));
        if metadata.snapshots.len() == before {
            return Ok(());
        }
        metadata.statistics.retain(|file| stays(file.snapshot_id));
        metadata.partition_statistics.retain(|file| stays(file.snapshot_id));
        metadata.refs.retain(|_, reference| stays(reference.snapshot_id));
        metadata.current_snapshot_id = metadata.current_snapshot_id.filter(|id| stays(*id));
        self.removed_snapshots = true;
        self.changed = true;
        Ok(())
    }

    /// Leaves out of the log what was current only inside this commit, and everything before a snapshot that is gone,
    /// because nobody could say any more what was current then.
    pub(super) fn settle_snapshot_log(&mut self, now_ms: i64) {
        let Self { metadata, added_snapshots, old_log, .. } = self;
        let current = metadata.current_snapshot_id;
        // An entry that was already there keeps its time, whatever it is.
        for entry in metadata.snapshot_log.split_off(*old_log) {
            if added_snapshots.contains(&entry.snapshot_id) && current != Some(entry.snapshot_id) {
                continue;
            }
            let before = metadata.snapshot_log.last().map_or(0, |last| last.timestamp_ms);
            let own = if entry.timestamp_ms == 0 { now_ms } else { entry.timestamp_ms };
            metadata.snapshot_log.push(SnapshotLogEntry { timestamp_ms: own.max(before), ..entry });
        }
        if self.removed_snapshots {
            let mut kept: Vec<i64> = metadata.snapshots.iter().map(|snapshot| snapshot.id).collect();
            kept.sort_unstable();
            let is_gone = |entry: &SnapshotLogEntry| kept.binary_search(&entry.snapshot_id).is_err();
            if let Some(last_gone) = metadata.snapshot_log.iter().rposition(is_gone) {
                metadata.snapshot_log.drain(..=last_gone);
            }
        }
    }
}
