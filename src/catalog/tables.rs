//! Tables, read side: load, look for, list.

use std::sync::Arc;

use bytes::Bytes;

use super::metadata::TableMetadata;
use super::once::{gone_since, pointed};
use super::{Catalog, Loaded, loaded};
use crate::error::{Error, Kind, Result, What};
use crate::limits;
use crate::names::{Namespace, TableName, Tabular};
use crate::store::tables::TableRow;

impl Catalog {
    /// The table as it is now.
    pub async fn load_table(&self, name: &TableName) -> Result<Arc<Loaded>> {
        let row = self.find(name).await?;
        if self.cache.get(&row.metadata_location).is_some() {
            return self.load_row(&row).await;
        }
        // A commit that went by meanwhile has put the next state into memory: better that than the file of the last.
        self.load_row(&*self.find(name).await?).await
    }

    /// The table as memory has it, for who looks at it again before anything comes of it: whether its file is still there
    /// is not asked.
    pub async fn peek_table(&self, name: &TableName) -> Result<Arc<Loaded>> {
        let row = self.find(name).await?;
        match self.cache.get(&row.metadata_location) {
            Some(loaded) => Ok(loaded),
            None => self.load_table(name).await,
        }
    }

    /// The table's row; an error if there is none.
    pub async fn find(&self, name: &TableName) -> Result<Arc<TableRow>> {
        self.find_of(Tabular::Table, name).await
    }

    /// The name that the table with this row and this uuid has now, if it is still there.
    pub async fn name_of(&self, id: &str, uuid: &str) -> Result<Option<TableName>> {
        self.store.name_of(self.warehouse.name(), (id, uuid)).await
    }

    /// The row of what has this name, if it is of this kind; an error if not.
    pub async fn find_of(&self, kind: Tabular, name: &TableName) -> Result<Arc<TableRow>> {
        let found = self.row(name).await?;
        found.filter(|row| row.kind == kind).ok_or_else(|| kind.missing(name))
    }

    /// The row of the table or view that has this name.
    pub(super) async fn row(&self, name: &TableName) -> Result<Option<Arc<TableRow>>> {
        self.store.find_tabular(self.warehouse.name(), name).await
    }

    /// An error if the name, which is wanted for this kind, is taken.
    pub(super) async fn is_free(&self, kind: Tabular, name: &TableName) -> Result<()> {
        match self.row(name).await? {
            Some(row) => Err(kind.taken(name, row.kind)),
            None => Ok(()),
        }
    }

    /// The tables or views of a namespace after `after`, at most `most`. The namespace must exist.
    pub async fn list(&self, kind: Tabular, namespace: &Namespace, after: &str, most: i64) -> Result<Vec<String>> {
        self.namespace_exists(namespace).await?;
        self.store.list_tabulars((self.warehouse.name(), namespace), kind, after, most).await
    }

    /// What a row's pointer names.
    pub(crate) async fn load_row(&self, row: &TableRow) -> Result<Arc<Loaded>> {
        let loaded = self.load_file(&row.metadata_location).await;
        loaded.map_err(|error| match error.kind() {
            Kind::Invalid => error.context(format_args!(
                "The current metadata of {name} is damaged (floeberg tables rollback {name} goes back to an earlier file)",
                name = row.name
            )),
            _ => error,
        })
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
        let bytes = self.read_metadata(location).await?;
        let (metadata, text) = loaded::parse_file(location, &bytes)?;
        self.cache.put(location, metadata, &text)
    }

    /// The text that a table's answer is made of again: its metadata file, or, where it is only staged, its metadata.
    pub fn text_of(loaded: &Loaded) -> Result<String> {
        match &loaded.metadata_location {
            Some(location) => Ok(pointed(loaded.metadata.table_uuid.as_deref().unwrap_or_default(), location)),
            None => {
                let text = loaded.metadata.to_json()?;
                String::from_utf8(text).map_err(|error| Error::internal("Metadata is not text").because(error))
            }
        }
    }

    /// The table that such a text stands for. A metadata file that has gone since was replaced by later ones: then the table
    /// is answered as it is now.
    pub async fn table_of_text(&self, name: &TableName, text: &str) -> Result<Arc<Loaded>> {
        if text.starts_with('{') {
            return self.cache.staged(TableMetadata::parse(text)?);
        }
        let (uuid, location) = text.split_once(' ').unwrap_or_default();
        match self.load_file(&location.into()).await {
            Err(error) if error.is_not_found() => match self.load_table(name).await {
                Ok(now) if now.metadata.table_uuid.as_deref() == Some(uuid) => Ok(now),
                _ => Err(gone_since(name)),
            },
            loaded => loaded,
        }
    }

    /// The bytes of a metadata file.
    pub(super) async fn read_metadata(&self, location: &str) -> Result<Bytes> {
        let read = self.warehouse.read(location, limits::METADATA_FILE_BYTES_MAX).await;
        read.map_err(|error| match error.kind() {
            Kind::NotFound(_) => missing_file(location).because(error),
            _ => error,
        })
    }
}

fn missing_file(location: &str) -> Error {
    Error::new(Kind::NotFound(What::File), format!("Failed to open input stream for file: {location}"))
}
