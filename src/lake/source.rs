//! Objects that are read and never written: files of a bucket that are pushed into tables.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore};

use super::described::Surroundings;
use super::location::Location;
use super::opening;
use super::settings::{StoreSettings, WarehouseSettings};
use crate::error::{Error, Kind, Result, What};

/// A bucket.
#[derive(Debug)]
pub struct Source {
    store: Arc<dyn ObjectStore>,
    /// Its URL, with the slash behind it.
    root: String,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its URL.
    pub location: String,
    /// Its bytes.
    pub size: u64,
    /// What changes when it does.
    pub version: String,
    /// What the store knows this version of it by, if it does.
    pub etag: Option<String>,
}

impl Source {
    /// The bucket that a URL names, reached as a warehouse in it is, else as the environment says. Nothing is asked of it
    /// yet.
    pub fn open(url: &str, warehouses: &[WarehouseSettings], around: &Surroundings) -> Result<Self> {
        let folder = url.rsplit_once('/').map_or(url, |(folder, _)| folder);
        let location = Location::parse(folder)?;
        let same = |one: &&WarehouseSettings| {
            Location::parse(&one.url)
                .is_ok_and(|root| root.scheme() == location.scheme() && root.bucket() == location.bucket())
        };
        let elsewhere = StoreSettings { ambient: around.ambient.clone(), ..StoreSettings::default() };
        let settings = warehouses.iter().find(same).map_or(&elsewhere, |one| &one.store);
        let (store, _) = opening::open(&location, settings)?;
        let key = location.to_string();
        let root = key.splitn(4, '/').take(3).collect::<Vec<_>>().join("/") + "/";
        Ok(Self { store, root })
    }

    /// The objects of a folder whose names `is_meant`; folders inside it are not looked into.
    pub async fn list(&self, folder: &str, is_meant: impl Fn(&str) -> bool + Send) -> Result<Vec<Entry>> {
        let prefix = self.path(folder)?;
        let listed = self.store.list_with_delimiter(Some(&prefix)).await.map_err(|error| unreachable(folder, error))?;
        let meant = listed.objects.into_iter().filter(|one| one.location.filename().is_some_and(&is_meant));
        let entry = |one: object_store::ObjectMeta| Entry {
            location: format!("{}{}", self.root, one.location),
            size: one.size,
            version: one.e_tag.clone().unwrap_or_else(|| one.last_modified.timestamp_millis().to_string()),
            etag: one.e_tag,
        };
        Ok(meant.map(entry).collect())
    }

    /// Bytes of an object; fewer where it ends before. An error where it is another version than the one that is meant.
    pub async fn read(&self, location: &str, etag: Option<&str>, range: Range<u64>) -> Result<Bytes> {
        let asked = GetOptions::new().with_range(Some(range)).with_if_match(etag.map(str::to_owned));
        let path = self.path(location)?;
        let read = async { self.store.get_opts(&path, asked).await?.bytes().await };
        read.await.map_err(|error| unreachable(location, error))
    }

    fn path(&self, location: &str) -> Result<Path> {
        let key = location.strip_prefix(&self.root).unwrap_or_default();
        Path::parse(key.trim_matches('/'))
            .map_err(|error| Error::illegal(format!("{location} names no object")).because(error))
    }
}

fn unreachable(location: &str, error: object_store::Error) -> Error {
    match error {
        object_store::Error::Precondition { .. } => {
            Error::conflict(format!("{location} was changed while it was read: the same command sends it as it is now"))
                .because(error)
        }
        object_store::Error::NotFound { .. } => {
            Error::new(Kind::NotFound(What::File), format!("{location} is not there")).because(error)
        }
        error => Error::new(Kind::Unavailable, format!("{location} cannot be read now")).because(error),
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn an_object_is_read_as_the_version_that_was_listed() {
        let store = Arc::new(InMemory::new());
        let source = Source { store: Arc::<InMemory>::clone(&store), root: "s3://bucket/".to_owned() };
        let put = async |text: &'static str| {
            store.put(&Path::from("day/a.csv"), Bytes::from_static(text.as_bytes()).into()).await.expect("put");
        };
        put("id\n1\n").await;
        let listed = source.list("s3://bucket/day", |name| name == "a.csv").await.expect("listed");
        let [entry] = &listed[..] else { panic!("{listed:?}") };
        let read = async |etag: Option<&str>| source.read(&entry.location, etag, 0..100).await;
        assert!(entry.etag.is_some() && entry.size == 5);
        assert_eq!(&read(entry.etag.as_deref()).await.expect("read")[..], b"id\n1\n");
        put("id\n2\n").await;
        let changed = read(entry.etag.as_deref()).await.expect_err("another version");
        assert_eq!(changed.kind(), Kind::Conflict);
        assert!(changed.message().contains("s3://bucket/day/a.csv was changed"), "{changed}");
        assert_eq!(&read(None).await.expect("as it is now")[..], b"id\n2\n");
    }
}
