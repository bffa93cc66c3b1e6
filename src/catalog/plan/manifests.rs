//! Manifest lists and manifests in memory.
//!
//! Neither ever changes, so an entry is known by its location and never stale; what is kept is bounded in bytes. Reading
//! and decoding happen where they may block, once for all that ask at the same time.

use std::sync::Arc;

use moka::future::Cache;

use super::deletes::DeleteIndex;
use crate::error::{Error, Result};
use crate::lake::Warehouse;
use crate::limits;
use crate::snapshot::entries::Entries;
use crate::snapshot::list::{self, ListedManifest};

/// What was read of a warehouse's snapshots. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct Manifests {
    warehouse: Warehouse,
    lists: Cache<String, Arc<Vec<ListedManifest>>>,
    entries: Cache<String, Arc<Entries>>,
    deletes: Cache<String, Arc<DeleteIndex>>,
}

impl Manifests {
    /// Nothing read yet; the memory is shared by `of` warehouses.
    pub(in crate::catalog) fn new(warehouse: Warehouse, of: u64) -> Self {
        fn cache<T: Send + Sync + 'static>(bytes: u64, weigh: fn(&T) -> usize) -> Cache<String, Arc<T>> {
            let weigher =
                move |key: &String, of: &Arc<T>| u32::try_from(weigh(of) + key.len() + 200).unwrap_or(u32::MAX);
            Cache::builder().max_capacity(bytes).weigher(weigher).build()
        }
        Self {
            warehouse,
            lists: cache(limits::PLAN_LISTS_BYTES / of, |list: &Vec<ListedManifest>| {
                list.iter().map(ListedManifest::weight).sum()
            }),
            entries: cache(limits::MANIFEST_CACHE_BYTES / of, Entries::weight),
            deletes: cache(limits::DELETE_INDEX_BYTES / of, DeleteIndex::weight),
        }
    }

    /// The manifests that a list names.
    pub(super) async fn list(&self, location: &str) -> Result<Arc<Vec<ListedManifest>>> {
        let read = self.read(location, list::read);
        once(&self.lists, location, read).await
    }

    /// The entries of a manifest.
    pub(super) async fn entries(&self, location: &str) -> Result<Arc<Entries>> {
        let read = self.read(location, Entries::read);
        once(&self.entries, location, read).await
    }

    /// The deletes of a scan, indexed once for all its tasks.
    pub(super) async fn deletes(
        &self,
        key: &str,
        build: impl Future<Output = Result<DeleteIndex>>,
    ) -> Result<Arc<DeleteIndex>> {
        let build = async { build.await.map(Arc::new) };
        once(&self.deletes, key, build).await
    }

    async fn read<T: Send + 'static>(
        &self,
        location: &str,
        decode: impl FnOnce(&[u8]) -> Result<T> + Send + 'static,
    ) -> Result<Arc<T>> {
        let bytes = self.warehouse.read(location, limits::MANIFEST_BYTES_MAX).await?;
        let decoded = tokio::task::spawn_blocking(move || decode(&bytes)).await;
        let decoded = decoded.map_err(|error| Error::internal("Decoding was cut off").because(error))?;
        decoded.map(Arc::new).map_err(|error| error.context(location))
    }
}

/// What is kept under a key; made, by whoever asks first, where there is nothing.
async fn once<T: Send + Sync + 'static>(
    cache: &Cache<String, Arc<T>>,
    key: &str,
    make: impl Future<Output = Result<Arc<T>>>,
) -> Result<Arc<T>> {
    let made = Box::pin(cache.try_get_with_by_ref(key, Box::pin(make)));
    made.await.map_err(|error: Arc<Error>| error.copy())
}
