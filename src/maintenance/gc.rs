//! Deletes what the `gc_queue` names: single files, and everything reachable from a purged table.
//!
//! An entry leaves the queue after its objects are gone. A purge deletes a manifest's data files before the manifest, the
//! manifests before their list, and the purged table's metadata file last of all: a kill at any point leaves enough to go
//! on from. What a live table can reach stays. An entry that fails is put off, longer each time.

use std::collections::HashSet;

use futures::StreamExt;
use futures::stream;
use tokio_util::sync::CancellationToken;

use super::driver::Known;
use super::reachable::{self, Foreign, Memory};
use crate::catalog::Catalog;
use crate::catalog::metadata::TableMetadata;
use crate::catalog::{place, version_hint};
use crate::error::Result;
use crate::failpoint;
use crate::lake::location::Location;
use crate::limits;
use crate::snapshot::{entries, list};
use crate::store::gc::{Entry, Task};

/// Whether a round left anything to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    More,
    Nothing,
}

/// Takes the entries that are due and deletes what they name.
/// Of the warehouse `own`; the others are those whose tables may reach its files.
pub(super) async fn round(own: usize, known: &Known, memory: &Memory, stopping: &CancellationToken) -> Result<Left> {
    let catalog = &known.catalogs[own];
    failpoint::at("gc.begin")?;
    let due = catalog.store().due_for_deletion(catalog.warehouse().name(), limits::GC_BATCH).await?;
    let (files, purges): (Vec<Entry>, Vec<Entry>) = due.into_iter().partition(|entry| entry.task == Task::File);
    let full = i64::try_from(files.len() + purges.len()).is_ok_and(|taken| taken >= limits::GC_BATCH);
    delete_files(catalog, files).await?;
    if !purges.is_empty() && !known.whole {
        tracing::warn!("purges wait until every warehouse is served: what the tables of the others reach is not known");
        return Ok(Left::Nothing);
    }
    if !purges.is_empty() {
        let foreign = reachable::foreign_files(&known.catalogs, memory).await?;
        for entry in purges {
            if stopping.is_cancelled() {
                return Ok(Left::More);
            }
            let sweep = Sweep {
                catalog,
                foreign: &foreign,
                keep_data: entry.task == Task::Purge { keep_data: true },
                stopping,
            };
            match sweep.purge(&entry).await {
                Ok(Progress::Interrupted) => return Ok(Left::More),
                outcome => settle(catalog, &entry, outcome.map(drop)).await?,
            }
        }
    }
    Ok(if full { Left::More } else { Left::Nothing })
}

async fn delete_files(catalog: &Catalog, entries: Vec<Entry>) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let _alone = catalog.no_register().await;
    let mut done = Vec::with_capacity(entries.len());
    let mut deletions = stream::iter(entries)
        .map(|entry| async move {
            let outcome = catalog.warehouse().delete(&entry.location).await;
            (entry, outcome)
        })
        .buffer_unordered(limits::LAKE_CONCURRENCY);
    while let Some((entry, outcome)) = deletions.next().await {
        match outcome {
            Ok(()) => done.push(entry.id),
            Err(error) => settle(catalog, &entry, Err(error)).await?,
        }
    }
    if done.is_empty() {
        return Ok(());
    }
    count(done.len());
    failpoint::at("gc.deleted")?;
    catalog.store().deletion_done(&done).await
}

async fn settle(catalog: &Catalog, entry: &Entry, outcome: Result<()>) -> Result<()> {
    match outcome {
        Ok(()) => {
            failpoint::at("gc.deleted")?;
            catalog.store().deletion_done(std::slice::from_ref(&entry.id)).await
        }
        Err(error) => {
            tracing::warn!(
                location = entry.location,
                attempts = entry.attempts + 1,
                error = error.chain(),
                "a deletion failed and is put off"
            );
            let wait_ms = 1_000_i64 << entry.attempts.clamp(0, 12);
            catalog.store().deletion_failed(&entry.id, catalog.clock().now_ms() + wait_ms).await
        }
    }
}

/// How far a purge came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Done,
    /// The server is stopping; the entry stays, and the next start goes on from here.
    Interrupted,
}

/// A purge under way.
struct Sweep<'a> {
    catalog: &'a Catalog,
    foreign: &'a Foreign,
    keep_data: bool,
    stopping: &'a CancellationToken,
}

impl Sweep<'_> {
    /// Deletes everything reachable from the metadata file that the entry names.
    async fn purge(&self, entry: &Entry) -> Result<Progress> {
        let warehouse = self.catalog.warehouse();
        let text = match warehouse.read(&entry.location, limits::METADATA_FILE_BYTES_MAX).await {
            Ok(bytes) => bytes,
            // It goes last: all else is gone, but perhaps the folders.
            Err(error) if error.is_not_found() => {
                if let Some((table, _)) = entry.location.rsplit_once("/metadata/") {
                    self.remove_folders(table).await?;
                }
                return Ok(Progress::Done);
            }
            Err(error) => return Err(error),
        };
        let metadata = crate::catalog::loaded::parse_file(&entry.location, &text)?.0;
        if self.manifests(&metadata).await? == Progress::Interrupted {
            return Ok(Progress::Interrupted);
        }
        let described = metadata.statistics.iter().chain(&metadata.partition_statistics).map(|file| file.path.clone());
        let logged = metadata.metadata_log.iter().map(|entry| entry.metadata_file.to_string());
        let hint = version_hint::file_in(&place::metadata_folder(&metadata));
        self.delete(described.chain(logged).chain([hint]).collect()).await?;
        self.delete(vec![entry.location.clone()]).await?;
        self.remove_folders(&metadata.location).await?;
        tracing::info!(location = metadata.location, "a purged table's files are deleted");
        Ok(Progress::Done)
    }

    /// Removes the folders of a table whose files are gone. A client may have named the same place for a new one meanwhile.
    async fn remove_folders(&self, table: &str) -> Result<()> {
        let warehouse = self.catalog.warehouse();
        if let Ok(location) = warehouse.check(table)
            && !warehouse.is_whole_area(&location)
            && !self.catalog.store().live_table_around(&location.key()).await?
        {
            warehouse.remove_empty_folders(table).await?;
        }
        Ok(())
    }

    /// Data files, then their manifests, then the lists, snapshot by snapshot.
    async fn manifests(&self, metadata: &TableMetadata) -> Result<Progress> {
        let mut seen = HashSet::new();
        for snapshot in &metadata.snapshots {
            let mut manifests = snapshot.inline_manifests()?;
            if let Some(list) = &snapshot.manifest_list
                && let Some(bytes) = self.read(list).await?
            {
                manifests.extend(tokio::task::block_in_place(|| list::manifests_of(&bytes))?);
            }
            for manifest in manifests {
                failpoint::at("gc.manifest")?;
                if self.stopping.is_cancelled() {
                    return Ok(Progress::Interrupted);
                }
                if seen.insert(manifest.clone()) {
                    self.manifest(&manifest).await?;
                }
            }
            self.delete(snapshot.manifest_list.iter().cloned().collect()).await?;
        }
        Ok(Progress::Done)
    }

    async fn manifest(&self, manifest: &str) -> Result<()> {
        if let Some(bytes) = self.read(manifest).await?
            && !self.keep_data
        {
            self.delete(tokio::task::block_in_place(|| entries::files_of(&bytes))?).await?;
        }
        self.delete(vec![manifest.to_owned()]).await
    }

    /// The bytes of a file that may be gone already.
    async fn read(&self, location: &str) -> Result<Option<bytes::Bytes>> {
        match self.catalog.warehouse().read(location, limits::MANIFEST_BYTES_MAX).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes those of the files that nobody else can reach and that lie inside the warehouse.
    async fn delete(&self, locations: Vec<String>) -> Result<()> {
        let mut doomed = Vec::with_capacity(locations.len());
        for text in locations {
            // What lies outside the warehouse was never ours.
            let Ok(location) = self.catalog.warehouse().check(&text) else { continue };
            if !self.foreign.holds(&location) && !self.belongs_to_another(&location).await? {
                doomed.push(text);
            }
        }
        count(doomed.len());
        let warehouse = self.catalog.warehouse();
        let outcomes: Vec<Result<()>> = stream::iter(doomed)
            .map(|location| async move { warehouse.delete(&location).await })
            .buffer_unordered(limits::LAKE_CONCURRENCY)
            .collect()
            .await;
        outcomes.into_iter().collect()
    }

    /// Whether the file lies in the folder of a live table, to which the purged table's folder may have passed.
    async fn belongs_to_another(&self, file: &Location) -> Result<bool> {
        self.catalog.store().live_table_around(&file.key()).await
    }
}

fn count(deleted: usize) {
    metrics::counter!("floeberg_files_deleted_total").increment(deleted as u64);
}
