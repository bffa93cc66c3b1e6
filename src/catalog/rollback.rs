//! Going back: to an earlier metadata file, also when the current one is damaged, or to an earlier snapshot.
//!
//! Going back is a commit like any other: what was is written again as a new metadata file, so that nothing that was
//! acknowledged is overwritten and going back can be gone back on. Where the earlier files are stands in the database, in
//! the current metadata file, and, where neither helps, in the table's own folder.

use std::sync::Arc;

use super::change::{Change, Requirement, Update};
use super::metadata::snapshot::{MAIN, SnapshotRef};
use super::{Catalog, Loaded, place, refused};
use crate::error::{Error, Kind, Result};
use crate::lake::Company;
use crate::limits;
use crate::names::TableName;
use crate::store::swap::{Alongside, Step, Verdict};
use crate::store::tables::TableRow;

/// What a table was and is.
#[derive(Debug, Clone)]
pub struct MetadataLog {
    /// The metadata file that is current.
    pub current: Arc<str>,
    /// Why it cannot be read, if so.
    pub damage: Option<String>,
    /// The files before it, newest first.
    pub earlier: Vec<EarlierFile>,
}

/// An earlier metadata file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierFile {
    /// Where it is.
    pub location: String,
    /// When what it holds was made, where that is known.
    pub timestamp_ms: Option<i64>,
}

/// What a table is to be again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// What this earlier metadata file says.
    Metadata(String),
    /// The same table with this snapshot as its current one.
    Snapshot(i64),
}

impl Catalog {
    /// The metadata files that a table has had.
    pub async fn metadata_log(&self, name: &TableName) -> Result<MetadataLog> {
        let row = self.find(name).await?;
        let loaded = match self.load_row(&row).await {
            // A store that cannot be asked says nothing of the file.
            Err(error) if !matches!(error.kind(), Kind::Invalid | Kind::NotFound(_) | Kind::TooLarge) => {
                return Err(error);
            }
            loaded => loaded,
        };
        let mut earlier: Vec<EarlierFile> = Vec::new();
        let logged = loaded.as_ref().map(|loaded| loaded.metadata.metadata_log.as_slice()).unwrap_or_default();
        for entry in logged.iter().rev() {
            earlier.push(EarlierFile {
                location: entry.metadata_file.to_string(),
                timestamp_ms: Some(entry.timestamp_ms),
            });
        }
        let is_new = |known: &[EarlierFile], location: &str| {
            location != &*row.metadata_location && !known.iter().any(|file| file.location == location)
        };
        // The log of a readable file is whole; else the database knows the last ones.
        if loaded.is_err() {
            let mut more = self.store.earlier_metadata(&row).await?;
            if more.is_empty() {
                more = self.found_metadata(&row).await?;
            }
            for location in more {
                if is_new(&earlier, &location) {
                    earlier.push(EarlierFile { location, timestamp_ms: None });
                }
            }
        }
        let damage = loaded.err().map(|error| error.message().to_owned());
        Ok(MetadataLog { current: Arc::clone(&row.metadata_location), damage, earlier })
    }

    /// The metadata files in a table's own folder, the highest number first.
    async fn found_metadata(&self, row: &TableRow) -> Result<Vec<String>> {
        let folder = row.metadata_location.rsplit_once('/').map_or_else(
            || place::metadata_folder_at(&row.location, &indexmap::IndexMap::new()),
            |(folder, _)| folder.to_owned(),
        );
        let mut names = self.warehouse.list(&folder, limits::METADATA_FILES_LISTED).await?;
        names.retain(|name| name.ends_with(".metadata.json") && !name.contains('/'));
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names.into_iter().map(|name| format!("{folder}/{name}")).collect())
    }

    /// Makes a table again what it was, and returns it as it is then.
    pub async fn roll_back(&self, name: TableName, to: Target) -> Result<Arc<Loaded>> {
        match to {
            Target::Snapshot(id) => self.roll_back_to_snapshot(name, id).await,
            Target::Metadata(location) => {
                self.warehouse.check(&location)?;
                let catalog = self.clone();
                self.detached(async move { catalog.roll_back_to_file(&name, location.into()).await }).await
            }
        }
    }

    async fn roll_back_to_snapshot(&self, name: TableName, id: i64) -> Result<Arc<Loaded>> {
        let loaded = self.load_table(&name).await?;
        let current = loaded.metadata.current_snapshot_id;
        if !current.is_some_and(|current| loaded.metadata.is_ancestor(id, current)) {
            return Err(Error::invalid(format!(
                "Cannot roll back {name} to snapshot {id}: it is not the current snapshot or one that it was made from"
            )));
        }
        let reference = match loaded.metadata.main() {
            Some(main) => SnapshotRef { snapshot_id: id, ..main.clone() },
            None => SnapshotRef::branch(id),
        };
        // Somebody who wrote meanwhile is not undone unseen.
        let requirements = vec![Requirement::RefSnapshotId(MAIN.to_owned(), current)];
        let change = Change { requirements, updates: vec![Update::SetRef(MAIN.to_owned(), reference)] };
        self.commit(name, change).await
    }

    async fn roll_back_to_file(&self, name: &TableName, location: Arc<str>) -> Result<Arc<Loaded>> {
        let row = self.find(name).await?;
        let _turn = self.sequencer.enter(vec![Arc::clone(&row.id)]).await;
        let row = self.find(name).await?;
        if row.metadata_location == location {
            return self.load_row(&row).await;
        }
        // Files that are on their way out of the warehouse stay until this is done.
        let _stays = self.registering.read().await;
        let earlier = self.load_file(&location).await?;
        self.check_earlier(&row, &location, &earlier).await?;
        let now_ms = self.clock.now_ms();
        let mut metadata = earlier.metadata.clone();
        metadata.last_updated_ms = metadata.last_updated_ms.max(now_ms);
        self.check_places(None, &metadata)?;
        let current = self.load_row(&row).await.ok();
        let file = self.new_file(metadata, Some(&row), Some(current.as_deref().unwrap_or(&earlier)))?;
        let verdict = async {
            self.write_metadata(&file.location, file.answer.text(), Company::Alone).await?;
            let to = self.pointer_to(&file.metadata, &file.location);
            // What falls off the log stays: it may be what somebody wants to go back to next.
            self.swap_steps(vec![Step::Replace { from: Arc::clone(&row), to }], Alongside::default(), now_ms).await
        };
        match self.cleaned_up(verdict.await, || vec![file.location.to_string()]).await? {
            Verdict::Applied(_) => {
                let loaded = self.settled(file);
                self.put_hints([(name, &loaded)]).await;
                Ok(loaded)
            }
            Verdict::Refused(refusal) => {
                self.abandon(&[file.location.to_string()]).await;
                Err(refused(&refusal))
            }
        }
    }

    /// Refuses a metadata file that is another table's, or whose current snapshot is not there any more.
    async fn check_earlier(&self, row: &TableRow, location: &str, earlier: &Loaded) -> Result<()> {
        let name = &row.name;
        let refused = |why: String| Error::invalid(format!("Cannot roll back {name} to {location:?}: {why}"));
        match earlier.metadata.table_uuid.as_deref() {
            Some(uuid) if super::change::same_uuid(uuid, &row.uuid) => {}
            Some(uuid) => {
                let own = &row.uuid;
                return Err(refused(format!("that file is of the table with uuid {uuid}, this one's is {own}")));
            }
            // Old writers left it out: then only the folder tells whose file it is.
            None if location.starts_with(&format!("{}/", row.location)) => {}
            None => {
                let own = &row.location;
                return Err(refused(format!("that file names no uuid and is not in the table's folder {own}")));
            }
        }
        let current = earlier.metadata.current_snapshot();
        if let Some(list) = current.and_then(|snapshot| snapshot.manifest_list.as_deref()) {
            let begun = self.warehouse.read_range(list, 0, 4).await;
            begun.map_err(|error| match error.kind() {
                Kind::NotFound(_) => {
                    refused(format!("{list:?}, the list of its current snapshot's manifests, is gone")).because(error)
                }
                _ => error,
            })?;
        }
        Ok(())
    }
}
