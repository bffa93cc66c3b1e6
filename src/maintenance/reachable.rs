//! What live tables can reach outside their own folders.
//!
//! Before a purge deletes a file it must know that no live table reads it. A file inside a live table's folder is that
//! table's; what live tables reach *outside* their folders (files added from elsewhere, tables forked by registering a
//! metadata file) is found by reading their manifests. Those never change, so what was found in one is remembered.

use std::collections::HashSet;
use std::sync::Arc;

use moka::sync::Cache;

use crate::catalog::Catalog;
use crate::catalog::metadata::TableMetadata;
use crate::error::Result;
use crate::lake::location::Location;
use crate::limits;
use crate::snapshot::{entries, list};

/// Files that live tables reach outside their own folders.
#[derive(Debug, Default)]
pub(super) struct Foreign(HashSet<Location>);

impl Foreign {
    /// Whether a live table reaches this file.
    pub(super) fn holds(&self, file: &Location) -> bool {
        self.0.contains(file)
    }
}

/// Remembers what was found in manifest lists and manifests.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    outside: Cache<String, Arc<Vec<Location>>>,
    manifests: Cache<String, Arc<Vec<String>>>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { outside: Cache::new(limits::GC_MEMORY_ENTRIES), manifests: Cache::new(limits::GC_MEMORY_ENTRIES) }
    }
}

/// Looks through every live table of every warehouse: a location that is allowed to all may be named by each.
pub(super) async fn foreign_files(catalogs: &[Catalog], memory: &Memory) -> Result<Foreign> {
    let mut foreign = Foreign::default();
    for catalog in catalogs {
        of_warehouse(catalog, memory, &mut foreign).await?;
    }
    Ok(foreign)
}

async fn of_warehouse(catalog: &Catalog, memory: &Memory, foreign: &mut Foreign) -> Result<()> {
    let mut after = String::new();
    loop {
        let rows = catalog.store().live_tables(catalog.warehouse().name().as_str(), &after, limits::GC_BATCH).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.id.to_string();
        for row in &rows {
            let loaded = catalog.load_row(row).await?;
            foreign.0.extend(Location::parse(&row.metadata_location).ok());
            of_table(catalog, memory, &loaded.metadata, foreign).await?;
        }
    }
}

async fn of_table(catalog: &Catalog, memory: &Memory, metadata: &TableMetadata, foreign: &mut Foreign) -> Result<()> {
    let own = Location::parse(&metadata.location)?;
    let outside = |path: &str| Location::parse(path).ok().filter(|location| !own.contains(location));
    for file in metadata.statistics.iter().chain(&metadata.partition_statistics) {
        foreign.0.extend(outside(&file.path));
    }
    for entry in &metadata.metadata_log {
        foreign.0.extend(outside(&entry.metadata_file));
    }
    for snapshot in &metadata.snapshots {
        if let Some(list) = &snapshot.manifest_list {
            foreign.0.extend(outside(list));
            for manifest in manifests(catalog, memory, list).await?.iter() {
                foreign.0.extend(outside(manifest));
                foreign.0.extend(outside_of(catalog, memory, manifest, &own).await?.iter().cloned());
            }
        }
        for manifest in snapshot.inline_manifests()? {
            foreign.0.extend(outside(&manifest));
            foreign.0.extend(outside_of(catalog, memory, &manifest, &own).await?.iter().cloned());
        }
    }
    Ok(())
}

async fn manifests(catalog: &Catalog, memory: &Memory, list: &str) -> Result<Arc<Vec<String>>> {
    if let Some(known) = memory.manifests.get(list) {
        return Ok(known);
    }
    let bytes = catalog.warehouse().read(list, limits::MANIFEST_BYTES_MAX).await?;
    let found = Arc::new(tokio::task::block_in_place(|| list::manifests_of(&bytes))?);
    memory.manifests.insert(list.to_owned(), Arc::clone(&found));
    Ok(found)
}

async fn outside_of(catalog: &Catalog, memory: &Memory, manifest: &str, own: &Location) -> Result<Arc<Vec<Location>>> {
    let key = format!("{own} {manifest}");
    if let Some(known) = memory.outside.get(&key) {
        return Ok(known);
    }
    let bytes = catalog.warehouse().read(manifest, limits::MANIFEST_BYTES_MAX).await?;
    let files = tokio::task::block_in_place(|| entries::files_of(&bytes))?;
    let outside = files.iter().filter_map(|file| Location::parse(file).ok()).filter(|file| !own.contains(file));
    let outside: Arc<Vec<Location>> = Arc::new(outside.collect());
    memory.outside.insert(key, Arc::clone(&outside));
    Ok(outside)
}
