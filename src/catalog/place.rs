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

/// A location, and properties that may name others.
type Places<'a> = (&'a str, &'a IndexMap<String, String>);

/// The properties that name locations of a table beside its own.
pub(super) const NAMED_BY: &[&str] =
    &["write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path"];

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
        let base = base.map(|base| (base.location.as_str(), &base.properties));
        self.check_named_places(base, (&next.location, &next.properties))
    }

    /// The same of a location and the properties that name others.
    pub(super) fn check_named_places(&self, base: Option<Places<'_>>, next: Places<'_>) -> Result<()> {
        if base.is_none_or(|(location, _)| location != next.0) {
            self.warehouse.check(next.0)?;
        }
        for key in NAMED_BY {
            let before = base.and_then(|(_, properties)| properties.get(*key));
            if let Some(path) = next.1.get(*key).filter(|path| before != Some(path)) {
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
    metadata_folder_at(&metadata.location, &metadata.properties)
}

/// Where the metadata files of a table or view go that has this location.
pub(super) fn metadata_folder_at(location: &str, properties: &IndexMap<String, String>) -> String {
    match properties.get("write.metadata.path") {
        Some(path) => path.trim_end_matches('/').to_owned(),
        None => format!("{location}/metadata"),
    }
}

/// How a metadata file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Plain,
    Gzip,
}

impl Codec {
    /// What the properties ask for.
    pub(super) fn of(properties: &IndexMap<String, String>, default: Self) -> Self {
        match properties.get("write.metadata.compression-codec") {
            Some(codec) if codec.eq_ignore_ascii_case("gzip") => Self::Gzip,
            Some(_) => Self::Plain,
            None => default,
        }
    }

    /// The codec of a file, which its name tells.
    pub(super) fn of_file(location: &str) -> Self {
        if location.ends_with(".gz.metadata.json") { Self::Gzip } else { Self::Plain }
    }
}

/// Where the next metadata file goes: its number is one more than the one before (`previous`), or that of the pointer.
pub(super) fn next_metadata_location(folder: &str, codec: Codec, previous: Option<&str>, version: i64) -> String {
    let number = previous.and_then(file_number).map_or(version, |number| number.saturating_add(1));
    let suffix = if codec == Codec::Gzip { ".gz" } else { "" };
    format!("{folder}/{number:05}-{}{suffix}.metadata.json", clock::new_uuid())
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
        let first = next_metadata_location("file:///w/t/metadata", Codec::Plain, None, 0);
        assert!(first.starts_with("file:///w/t/metadata/00000-") && first.ends_with(".metadata.json"), "{first}");
        assert_eq!(Codec::of_file(&first), Codec::Plain);
        let next = |previous, version| next_metadata_location("file:///m", Codec::Gzip, Some(previous), version);
        let after = next("file:///w/t/metadata/00041-x.metadata.json", 3);
        assert!(after.starts_with("file:///m/00042-") && after.ends_with(".gz.metadata.json"), "{after}");
        assert_eq!(Codec::of_file(&after), Codec::Gzip);
        let odd = next("file:///w/t/v3.metadata.json", 7);
        assert!(odd.contains("/00007-"), "{odd}");
    }

    #[test]
    fn properties_say_where_and_how() {
        let mut properties = IndexMap::new();
        assert_eq!(metadata_folder_at("file:///w/t", &properties), "file:///w/t/metadata");
        assert_eq!(Codec::of(&properties, Codec::Gzip), Codec::Gzip);
        properties.insert("write.metadata.path".to_owned(), "file:///m/".to_owned());
        properties.insert("write.metadata.compression-codec".to_owned(), "GZIP".to_owned());
        assert_eq!(metadata_folder_at("file:///w/t", &properties), "file:///m");
        assert_eq!(Codec::of(&properties, Codec::Plain), Codec::Gzip);
        properties.insert("write.metadata.compression-codec".to_owned(), "none".to_owned());
        assert_eq!(Codec::of(&properties, Codec::Gzip), Codec::Plain);
    }
}
