//! Where a table's files go, and which locations a commit may name.

use indexmap::IndexMap;

use super::Catalog;
use super::change::{Change, Update};
use super::metadata::TableMetadata;
use crate::clock;
use crate::error::Result;
use crate::lake::location::safe_segment;
use crate::names::{Namespace, TableName};
use crate::store::tables::LocationUse;

/// The property under which a namespace says where its tables go.
pub const LOCATION_PROPERTY: &str = "location";

impl Catalog {
    /// Where a namespace's tables go when neither it nor they say.
    pub fn default_namespace_location(&self, namespace: &Namespace) -> String {
        let levels: Vec<String> = namespace.levels().map(safe_segment).collect();
        format!("{}{}", self.warehouse.root().key(), levels.join("/"))
    }

    /// A location for a new table that no other table, not even a dropped one, is at, inside or around.
    pub(super) async fn choose_location(&self, name: &TableName) -> Result<String> {
        let properties = self.store.namespace_properties(self.warehouse.name(), &name.namespace).await?;
        let base = match properties.get(LOCATION_PROPERTY) {
            Some(location) => location.trim_end_matches('/').to_owned(),
            None => self.default_namespace_location(&name.namespace),
        };
        let own = safe_segment(&name.name);
        let plain = format!("{base}/{own}");
        match self.location_use(&plain).await? {
            LocationUse::Free => Ok(plain),
            LocationUse::Taken => Ok(format!("{plain}-{}", clock::new_suffix())),
            LocationUse::Inside => {
                let levels: Vec<String> = name.namespace.levels().map(safe_segment).collect();
                let root = self.warehouse.root().key();
                Ok(format!("{root}{}/{}/{own}", clock::new_suffix(), levels.join("/")))
            }
        }
    }

    async fn location_use(&self, location: &str) -> Result<LocationUse> {
        let location = self.warehouse.check(location)?;
        self.store.location_use(&location.key()).await
    }

    /// Refuses metadata that names a place outside the warehouse. Only what differs from `base` is looked at, so that a
    /// table stays usable when the allowed locations are narrowed.
    pub(super) fn check_places(&self, base: Option<&TableMetadata>, next: &TableMetadata) -> Result<()> {
        if base.is_none_or(|base| base.location != next.location) {
            self.warehouse.check(&next.location)?;
        }
        for key in ["write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path"]
        {
            let before = base.and_then(|base| base.properties.get(key));
            if let Some(path) = next.properties.get(key).filter(|path| before != Some(path)) {
                self.warehouse.check(path).map_err(|error| error.context(format_args!("Property {key:?}")))?;
            }
        }
        Ok(())
    }

    /// Refuses snapshots and statistics that a commit adds from outside the warehouse.
    pub(super) fn check_added_files(&self, change: &Change) -> Result<()> {
        for update in &change.updates {
            let location = match update {
                Update::AddSnapshot(snapshot) => snapshot.manifest_list.as_deref(),
                Update::SetStatistics(file) | Update::SetPartitionStatistics(file) => Some(file.path.as_str()),
                _ => None,
            };
            if let Some(location) = location {
                self.warehouse.check(location)?;
            }
        }
        Ok(())
    }
}

/// Where a table's metadata files go.
pub(crate) fn metadata_folder(metadata: &TableMetadata) -> String {
    match metadata.properties.get("write.metadata.path") {
        Some(path) => path.trim_end_matches('/').to_owned(),
        None => format!("{}/metadata", metadata.location),
    }
}

/// Where the next metadata file goes: its number is one more than the one before (`previous`), or that of the pointer.
pub(super) fn next_metadata_location(metadata: &TableMetadata, previous: Option<&str>, version: i64) -> String {
    let number = previous.and_then(file_number).map_or(version, |number| number.saturating_add(1));
    let suffix = if compresses(&metadata.properties) { ".gz" } else { "" };
    format!("{}/{number:05}-{}{suffix}.metadata.json", metadata_folder(metadata), clock::new_uuid())
}

/// Whether metadata files are to be compressed.
pub(super) fn compresses(properties: &IndexMap<String, String>) -> bool {
    properties.get("write.metadata.compression-codec").is_some_and(|codec| codec.eq_ignore_ascii_case("gzip"))
}

fn file_number(location: &str) -> Option<i64> {
    let file = location.rsplit('/').next()?;
    let (number, _) = file.split_once('-')?;
    number.parse().ok().filter(|number| *number >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_files_are_numbered_on() {
        let mut metadata = TableMetadata { location: "file:///w/t".to_owned(), ..TableMetadata::default() };
        let first = next_metadata_location(&metadata, None, 0);
        assert!(first.starts_with("file:///w/t/metadata/00000-") && first.ends_with(".metadata.json"), "{first}");
        let next = next_metadata_location(&metadata, Some("file:///w/t/metadata/00041-x.metadata.json"), 3);
        assert!(next.contains("/00042-"), "{next}");
        let odd = next_metadata_location(&metadata, Some("file:///w/t/v3.metadata.json"), 7);
        assert!(odd.contains("/00007-"), "{odd}");
        metadata.properties.insert("write.metadata.path".to_owned(), "file:///m/".to_owned());
        metadata.properties.insert("write.metadata.compression-codec".to_owned(), "GZIP".to_owned());
        let moved = next_metadata_location(&metadata, None, 0);
        assert!(moved.starts_with("file:///m/00000-") && moved.ends_with(".gz.metadata.json"), "{moved}");
    }
}
