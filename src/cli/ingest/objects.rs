//! Objects of a bucket as files that are sent.
//!
//! What is read from a place on is read in ranges of the object. What is read here and there is copied to a file of this
//! machine first. That file has no name: it goes with the process, however that ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;

use super::input::{Input, ReadAt, Stored};
use super::names::is_meant;
use super::sources::{Access, Entry, Source, missing};
use crate::clock;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::lake::source;

/// Bytes that are asked for at once.
const STEP_BYTES: u64 = 16 << 20;

/// The objects of a bucket.
#[derive(Debug)]
pub(super) struct Objects {
    bucket: Arc<source::Source>,
}

impl Objects {
    /// Those of the bucket that a URL names.
    pub(super) fn open(url: &str, config: &Config) -> Result<Self> {
        let bucket = source::Source::open(url, &config.warehouses, &config.around)?;
        Ok(Self { bucket: Arc::new(bucket) })
    }

    /// A copy of an object on this machine.
    async fn copy(&self, entry: &Entry) -> Result<File> {
        let cannot = |error: io::Error| {
            Error::new(Kind::Unavailable, format!("{} cannot be copied to a temporary file", entry.shown))
                .because(error)
        };
        let copy = unnamed().map_err(cannot)?;
        let mut at = 0;
        while at < entry.size {
            let end = (at + STEP_BYTES).min(entry.size);
            let bytes = self.bucket.read(&entry.location, entry.etag.as_deref(), at..end).await?;
            if bytes.is_empty() {
                return Err(Error::conflict(format!("{} is shorter than it was", entry.shown)));
            }
            copy.write_all_at(&bytes, at).map_err(cannot)?;
            at += bytes.len() as u64;
        }
        Ok(copy)
    }
}

#[async_trait]
impl Source for Objects {
    async fn list(&self, pattern: &str) -> Result<Vec<Entry>> {
        let (folder, name) = pattern.rsplit_once('/').unwrap_or((pattern, ""));
        let found = self.bucket.list(folder, |one| one == name || is_meant(name, one)).await?;
        let mut entries: Vec<Entry> = found
            .into_iter()
            .map(|one| Entry {
                shown: one.location.clone(),
                location: one.location,
                size: one.size,
                version: one.version,
                etag: one.etag,
            })
            .collect();
        entries.sort_by(|one, other| one.location.cmp(&other.location));
        if entries.is_empty() { Err(missing(pattern)) } else { Ok(entries) }
    }

    async fn open(&self, entry: &Entry, access: Access) -> Result<Input> {
        let bytes: Arc<dyn ReadAt> = match access {
            Access::Anywhere => Arc::new(self.copy(entry).await?),
            Access::Onwards => Arc::new(Object {
                bucket: Arc::clone(&self.bucket),
                location: entry.location.clone(),
                etag: entry.etag.clone(),
                runtime: Handle::current(),
            }),
        };
        Ok(Input::Stored(Stored::new(bytes, entry.size)))
    }
}

/// One object, read by threads that may wait for it.
#[derive(Debug)]
struct Object {
    bucket: Arc<source::Source>,
    location: String,
    etag: Option<String>,
    runtime: Handle,
}

impl ReadAt for Object {
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let end = at + (into.len() as u64).min(STEP_BYTES);
        let read = self.bucket.read(&self.location, self.etag.as_deref(), at..end);
        let bytes = self.runtime.block_on(read).map_err(io::Error::other)?;
        let length = bytes.len().min(into.len());
        into[..length].copy_from_slice(&bytes[..length]);
        Ok(length)
    }
}

/// A file that is gone when nobody holds it any more.
fn unnamed() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("floeberg-{}", clock::new_uuid()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
