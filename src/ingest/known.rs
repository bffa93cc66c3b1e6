//! What ingest wrote lately and need not read again: manifest lists, and the files that its manifests added.
//!
//! All of it is found by location, and what lies at a location never changes.

use std::sync::Arc;

use iceberg::spec::{DataFile, ManifestFile};
use moka::sync::Cache;

use crate::limits;

/// The memory of it, bounded in bytes. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// The manifests of lists.
    pub(super) lists: Cache<String, Arc<Vec<ManifestFile>>>,
    /// The files of manifests that hold nothing but files they added.
    pub(super) added: Cache<String, Arc<Vec<DataFile>>>,
}

impl Default for Known {
    fn default() -> Self {
        let of_list = |location: &String, list: &Arc<Vec<ManifestFile>>| {
            let paths: usize = list.iter().map(|manifest| manifest.manifest_path.len()).sum();
            weight(location.len() + paths + list.len() * size_of::<ManifestFile>())
        };
        let of_files = |location: &String, files: &Arc<Vec<DataFile>>| {
            weight(location.len() + files.iter().map(bytes_of).sum::<usize>())
        };
        Self {
            lists: Cache::builder().max_capacity(limits::MANIFEST_LISTS_BYTES).weigher(of_list).build(),
            added: Cache::builder().max_capacity(limits::ADDED_FILES_BYTES).weigher(of_files).build(),
        }
    }
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Bytes that an entry takes, about.
fn bytes_of(file: &DataFile) -> usize {
    let counts = file.column_sizes().len() + file.value_counts().len() + file.null_value_counts().len();
    let bounds = file.lower_bounds().len() + file.upper_bounds().len();
    size_of::<DataFile>() + file.file_path().len() + counts * COUNT_BYTES + bounds * BOUND_BYTES
}

/// What one column's count and one column's bound take in their maps, about.
const COUNT_BYTES: usize = 24;
const BOUND_BYTES: usize = 120;
