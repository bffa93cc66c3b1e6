//! A group of requests' rows → one snapshot.
//!
//! The rows are split by partition, sorted and encoded on a thread for work that computes. In the table's turn a manifest
//! of the files, the list of all manifests and the snapshot are made, and everything goes up together with the metadata.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use iceberg::spec::{DataFile, FormatVersion, ManifestFile};

use super::counts::{count_of, phase};
use super::evolve::still_fits;
use super::files::{Files, data_files};
use super::held::Held;
use super::known::Known;
use super::receipt::Receipt;
use crate::catalog::append::{Brought, Prepare, Prepared};
use crate::catalog::change::{Change, Requirement, Update};
use crate::catalog::metadata::TableMetadata;
use crate::catalog::next_snapshot::NextSnapshot;
use crate::catalog::once::Key;
use crate::catalog::{Catalog, Loaded, properties};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::limits;
use crate::names::{TableName, Tabular};
use crate::snapshot::append::{MergePolicy, plan_merge};
use crate::snapshot::manifest::{self, Carried, Layout};
use crate::snapshot::summary;
use crate::store::log_marks::Mark;
use crate::store::producers::Advance;
use crate::store::swap::Alongside;
use crate::store::tables::TableRow;

/// What is written in the transaction of a flush.
#[derive(Debug, Clone, Default)]
pub(super) struct Companions {
    /// What is answered under keys, but for the snapshot.
    pub(super) keys: Vec<(Key, Receipt)>,
    /// How far producers are.
    pub(super) producers: Vec<Advance>,
    /// Up to where the log's entries are committed.
    pub(super) mark: Option<Mark>,
}

impl Companions {
    /// The same as the database takes it; `flushed` are the snapshots, where there are any.
    pub(super) fn alongside(&self, catalog: &Catalog, flushed: &[Option<Flushed>]) -> Result<Alongside> {
        let row = |(key, receipt): &(Key, Receipt)| {
            let receipt = receipt.clone().within(flushed);
            let text = serde_json::to_string(&receipt);
            catalog.key_row(key, text.map_err(|error| Error::internal("An answer cannot be written").because(error))?)
        };
        Ok(Alongside {
            doomed: Vec::new(),
            keys: self.keys.iter().map(row).collect::<Result<_>>()?,
            producers: self.producers.clone(),
            mark: self.mark.clone(),
        })
    }
}

/// What a flush made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flushed {
    pub(super) snapshot_id: i64,
    pub(super) sequence_number: i64,
    pub(super) files: usize,
    /// Bytes of the data files.
    pub(super) bytes: u64,
    /// Snapshots that the table has.
    pub(super) snapshots: usize,
}

impl Flushed {
    /// The snapshot that is there, to which nothing was added.
    pub(super) fn current(metadata: &TableMetadata) -> Option<Self> {
        let current = metadata.current_snapshot()?;
        let snapshots = metadata.snapshots.len();
        Some(Self { snapshot_id: current.id, sequence_number: current.sequence_number, files: 0, bytes: 0, snapshots })
    }
}

/// The table that rows were decoded for.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) warehouse: Arc<str>,
    pub(super) name: TableName,
    /// Its row, which it keeps under another name and shares with no other.
    pub(super) row: Arc<str>,
    pub(super) uuid: String,
    pub(super) schema_id: i32,
}

impl Target {
    /// Whether the other is the same table under the same name.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        (&self.row, &self.uuid, &self.name) == (&other.row, &other.uuid, &other.name)
    }

    /// What tells it from every other table, also from one that its row was before.
    pub(super) fn identity(&self) -> String {
        format!("{} {}", self.row, self.uuid)
    }
}

/// Rows that are written together.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) held: Vec<Held>,
    /// How many there are.
    pub(super) count: usize,
    /// How many partitions they may belong to.
    pub(super) most_partitions: usize,
}

/// The rows of one table.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) target: Target,
    pub(super) rows: Arc<Rows>,
}

/// Commits rows that were all decoded against one schema of their table, and what is written with them. The parts, one for
/// each table, are committed together; one that has no rows changes nothing.
pub(super) async fn flush(
    catalog: &Catalog,
    known: &Known,
    parts: Vec<Part>,
    companions: &Companions,
) -> Result<Vec<Option<Flushed>>> {
    for _ in 0..limits::SPLITS_MAX {
        match split_and_commit(catalog, known, &parts, companions).await {
            Err(error) if error.code() == Some(SPEC_REMOVED) => {}
            settled => return settled,
        }
    }
    Err(spec_removed())
}

/// The files of a part, laid out by the spec that is the default now.
async fn files_of(catalog: &Catalog, part: &Part) -> Result<(i32, Files)> {
    let base = catalog.load_table(&part.target.name).await?;
    check_target(&base.metadata, &part.target)?;
    let spec_id = base.metadata.default_spec_id;
    Ok((spec_id, data_files(catalog, base, part.target.schema_id, Arc::clone(&part.rows)).await?))
}

/// One attempt.
async fn split_and_commit(
    catalog: &Catalog,
    known: &Known,
    parts: &[Part],
    companions: &Companions,
) -> Result<Vec<Option<Flushed>>> {
    let started = clock::tick();
    let mut made: Vec<(usize, i32, Files)> = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate().filter(|(_, part)| part.rows.count > 0) {
        match files_of(catalog, part).await {
            Ok((spec_id, files)) => made.push((at, spec_id, files)),
            Err(error) => {
                let put: Vec<String> = made.into_iter().flat_map(|(.., files)| files.put).collect();
                catalog.abandon(&put).await;
                return Err(error);
            }
        }
    }
    phase("encode", started.elapsed());
    failpoint::passed("ingest.uploaded");
    let flushed = Mutex::new(vec![None; parts.len()]);
    let mut carried = Some(companions);
    let appends: Vec<Append<'_>> = made
        .iter()
        .map(|(at, spec_id, files)| {
            let (target, companions) = (&parts[*at].target, carried.take());
            Append { catalog, known, target, spec_id: *spec_id, files, companions, at: *at, flushed: &flushed }
        })
        .collect();
    let prepares: Vec<_> = appends
        .iter()
        .map(|append| move |row: Arc<TableRow>, base: Arc<Loaded>| append.prepare(row, base).boxed())
        .collect();
    let bring = |(append, prepare)| -> Brought<'_> {
        let append: &Append<'_> = append;
        Brought { name: append.target.name.clone(), put: append.files.put.clone(), prepare }
    };
    // The table itself comes last: what is answered under keys names the snapshots of all.
    let prepares = prepares.iter().map(|prepare| -> Prepare<'_> { prepare });
    let brought: Vec<Brought<'_>> = appends.iter().zip(prepares).map(bring).rev().collect();
    let tables = catalog.commit_prepared(&brought).await?;
    let mut all = vec![None; parts.len()];
    for (table, (at, _, files)) in tables.iter().rev().zip(&made) {
        all[*at] = Some(counted(&table.metadata, files)?);
    }
    Ok(all)
}

/// What a commit made of a table, counted.
fn counted(metadata: &TableMetadata, files: &Files) -> Result<Flushed> {
    let made = Flushed::current(metadata);
    let made = made.ok_or_else(|| Error::internal("An append came back without a snapshot"))?;
    let bytes = files.entries.iter().map(DataFile::file_size_in_bytes).sum();
    for file in &files.entries {
        metrics::histogram!("floeberg_iceberg_file_bytes").record(count_of(file.file_size_in_bytes()));
    }
    metrics::counter!("floeberg_iceberg_files_added_total").increment(files.entries.len() as u64);
    metrics::counter!("floeberg_ingest_bytes_total", "stage" => "parquet").increment(bytes);
    Ok(Flushed { files: files.entries.len(), bytes, ..made })
}

fn check_target(metadata: &TableMetadata, target: &Target) -> Result<()> {
    if metadata.table_uuid.as_deref() != Some(target.uuid.as_str()) {
        // The table of this name is another one now: what was meant is gone.
        return Err(Tabular::Table.missing(&target.name));
    }
    let (Some(then), Ok(now)) = (metadata.schema(target.schema_id), metadata.current_schema()) else {
        return Err(schema_changed());
    };
    if still_fits(then, now) { Ok(()) } else { Err(schema_changed()) }
}

/// The table is no longer what the rows were decoded for.
pub(super) fn schema_changed() -> Error {
    Error::conflict(
        "The table's columns changed while the rows were on their way; nothing was written: send them again",
    )
    .with_code(SCHEMA_CHANGED)
}

/// The code of rows that a table's columns changed under.
pub(super) const SCHEMA_CHANGED: &str = "schema_changed";

const SPEC_REMOVED: &str = "spec_removed";

/// The spec that the files are laid out by is gone.
fn spec_removed() -> Error {
    Error::conflict("The table's partition spec was removed while the rows were on their way; nothing was written")
        .with_code(SPEC_REMOVED)
}

/// An append under way: everything that does not depend on the table's present state.
pub(super) struct Append<'a> {
    catalog: &'a Catalog,
    known: &'a Known,
    pub(super) target: &'a Target,
    spec_id: i32,
    files: &'a Files,
    /// What is written with them all; the first part that has rows carries it.
    companions: Option<&'a Companions>,
    /// Which of the parts it is.
    at: usize,
    /// What the present attempt makes of each.
    flushed: &'a Mutex<Vec<Option<Flushed>>>,
}

impl Append<'_> {
    /// The commit on top of `base`.
    async fn prepare(&self, row: Arc<TableRow>, base: Arc<Loaded>) -> Result<Prepared> {
        let metadata = &base.metadata;
        if row.id != self.target.row {
            return Err(Tabular::Table.missing(&self.target.name));
        }
        check_target(metadata, self.target)?;
        if metadata.spec(self.spec_id).is_none() {
            return Err(spec_removed());
        }
        let now_ms = self.catalog.clock().now_ms();
        let next = NextSnapshot::after(metadata, now_ms)?;
        let mut objects: Vec<(String, Bytes)> = self.files.held.clone();
        objects.extend(self.files.put.iter().map(|location| (location.clone(), Bytes::new())));
        let manifests = self.manifests(metadata, &next, &mut objects).await?;
        let thinned = self.thinned(metadata, &manifests, now_ms).await;
        let listed = manifest::as_listed(next.of(), &manifests);
        let before = metadata.current_snapshot().map(|parent| parent.summary()).transpose()?;
        let summary = summary::of_append(&self.files.entries, before.as_ref());
        let mut updates = next.updates(manifests, &summary, &mut objects).await?;
        if let (Some(listed), Some((list, _))) = (listed, objects.last()) {
            // The next commit need not read what this one writes.
            self.known.lists.insert(list.clone(), Arc::new(listed));
        }
        if !thinned.snapshots.is_empty() {
            updates.push(Update::RemoveSnapshots(thinned.snapshots));
        }
        let change = Change { requirements: vec![Requirement::TableUuid(self.target.uuid.clone())], updates };
        let of = next.of();
        let made = Flushed {
            snapshot_id: of.snapshot_id,
            sequence_number: of.sequence_number,
            files: self.files.entries.len(),
            bytes: 0,
            snapshots: 0,
        };
        let flushed = {
            let mut flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
            flushed[self.at] = Some(made);
            flushed.clone()
        };
        let carried = self.companions.map(|companions| companions.alongside(self.catalog, &flushed)).transpose()?;
        let alongside = Alongside { doomed: thinned.doomed, ..carried.unwrap_or_default() };
        Ok(Prepared { change, objects, alongside })
    }

    /// The manifests that the new snapshot lists: one of the new files, and those of the snapshot before it. What is
    /// written goes into `objects`.
    async fn manifests(
        &self,
        metadata: &TableMetadata,
        next: &NextSnapshot<'_>,
        objects: &mut Vec<(String, Bytes)>,
    ) -> Result<Vec<ManifestFile>> {
        let (layout, location) = (next.layout(self.spec_id)?, next.manifest_location(0));
        let added = self.files.entries.clone();
        let (own, bytes) = manifest::write_manifest(&layout, &location, next.id(), added, Vec::new()).await?;
        self.known.added.insert(location.clone(), Arc::new(self.files.entries.clone()));
        let mut manifests = vec![own.clone()];
        if let Some(parent) = metadata.current_snapshot() {
            manifests.extend(self.manifests_of(parent.manifest_list.as_deref(), layout.version).await?);
        }
        let plan = plan_merge(manifests, merge_policy(metadata));
        let mut listed = Vec::new();
        for (spec_id, group) in plan.merged {
            if metadata.spec(spec_id).is_none() {
                return Err(schema_changed());
            }
            let (layout, location) = (next.layout(spec_id)?, next.manifest_location(1));
            let (merged, bytes) = self.merge(&group, &own, &layout, &location).await?;
            objects.push((location, bytes));
            listed.push(merged);
        }
        if plan.kept.iter().any(|manifest| manifest.manifest_path == own.manifest_path) {
            objects.push((location, bytes));
        }
        listed.extend(plan.kept);
        Ok(listed)
    }

    /// One manifest in place of several; `own` is the one that is not in the store yet.
    async fn merge(
        &self,
        group: &[ManifestFile],
        own: &ManifestFile,
        layout: &Layout,
        location: &str,
    ) -> Result<(ManifestFile, Bytes)> {
        let (new, old): (Vec<&ManifestFile>, Vec<&ManifestFile>) =
            group.iter().partition(|manifest| manifest.manifest_path == own.manifest_path);
        let mut carried = Vec::new();
        // After a start nothing is known of a hundred of them, and their table's turn is taken: not one after the other.
        let reads: Vec<_> = old.into_iter().map(|manifest| self.carried(manifest)).collect();
        let mut reads = stream::iter(reads).buffered(limits::MERGE_READS_AHEAD);
        while let Some(files) = reads.next().await {
            carried.extend(files?);
        }
        let added = if new.is_empty() { Vec::new() } else { self.files.entries.clone() };
        manifest::write_manifest(layout, location, own.added_snapshot_id, added, carried).await
    }

    /// The files of a manifest that is merged.
    async fn carried(&self, manifest: &ManifestFile) -> Result<Vec<Carried>> {
        if let Some(added) = self.known.added.get(&manifest.manifest_path) {
            return manifest::carried_as_added(manifest, &added);
        }
        let bytes = self.catalog.warehouse().read(&manifest.manifest_path, limits::MANIFEST_BYTES_MAX).await?;
        manifest::carried_files(manifest, &bytes)
    }

    /// The manifests of a list.
    pub(super) async fn manifests_of(&self, list: Option<&str>, version: FormatVersion) -> Result<Vec<ManifestFile>> {
        let Some(list) = list else {
            return Err(Error::new(Kind::Unprocessable, "Ingest cannot append to a snapshot without a manifest list")
                .with_code("unsupported_table"));
        };
        if let Some(known) = self.known.lists.get(list) {
            return Ok(known.to_vec());
        }
        let bytes = self.catalog.warehouse().read(list, limits::MANIFEST_BYTES_MAX).await?;
        let manifests = manifest::read_list(&bytes, version)?;
        self.known.lists.insert(list.to_owned(), Arc::new(manifests.clone()));
        Ok(manifests)
    }
}

fn merge_policy(metadata: &TableMetadata) -> MergePolicy {
    let own = &metadata.properties;
    MergePolicy {
        enabled: properties::flag(own, "commit.manifest-merge.enabled", true),
        target_bytes: properties::whole(own, "commit.manifest.target-size-bytes", 8 << 20),
        min_count: usize::try_from(properties::whole(own, "commit.manifest.min-count-to-merge", 100)).unwrap_or(100),
    }
}
