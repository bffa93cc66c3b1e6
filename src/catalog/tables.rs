//! Tables, read side: load, look for, list.

use std::sync::Arc;

use super::{Catalog, Loaded, loaded};
use crate::error::{Error, Kind, Result, What};
use crate::limits;
use crate::names::{Namespace, TableName};
use crate::store::tables::{TableRow, no_such_table};

impl Catalog {
    /// The table as it is now.
    pub async fn load_table(&self, name: &TableName) -> Result<Arc<Loaded>> {
        let row = self.find(name).await?;
        self.load_row(&row).await
    }

    /// The table's row; an error if there is none.
    pub async fn find(&self, name: &TableName) -> Result<Arc<TableRow>> {
        let found = self.store.find_table(self.warehouse.name(), name).await?;
        found.ok_or_else(|| no_such_table(name))
    }

    /// The tables of a namespace after `after`, at most `most`. The namespace must exist.
    pub async fn list_tables(&self, namespace: &Namespace, after: &str, most: i64) -> Result<Vec<String>> {
        self.namespace_exists(namespace).await?;
        self.store.list_tables(self.warehouse.name(), namespace, after, most).await
    }

    /// What a row's pointer names.
    pub(crate) async fn load_row(&self, row: &TableRow) -> Result<Arc<Loaded>> {
        self.load_file(&row.metadata_location).await
    }

    /// The metadata file at a location, from memory if it is known. A file of a local directory may have been moved
    /// away by hand, so it is looked at even then.
    pub(super) async fn load_file(&self, location: &Arc<str>) -> Result<Arc<Loaded>> {
        if let Some(loaded) = self.cache.get(location) {
            if loaded.still_there() {
                return Ok(loaded);
            }
            return Err(missing_file(location));
        }
        let bytes =
            self.warehouse.read(location, limits::METADATA_FILE_BYTES_MAX).await.map_err(|error| {
                match error.kind() {
                    Kind::NotFound(_) => missing_file(location).because(error),
                    _ => error,
                }
            })?;
        let (metadata, text) = loaded::parse_file(location, &bytes)?;
        Ok(self.cache.put(location, metadata, &text))
    }
}

fn missing_file(location: &str) -> Error {
    Error::new(Kind::NotFound(What::File), format!("Failed to open input stream for file: {location}"))
}
