//! Where files come from: this machine, a bucket, standard input.
//!
//! A source finds what a pattern means and opens it. What it says of a file decides whose request a piece of it is: a file
//! that changed is another one, and is sent from its beginning on.

use std::fmt::Debug;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::input::{Input, Stored};
use super::names::{is_meant, is_pattern};
use super::objects::Objects;
use crate::clock;
use crate::config::Config;
use crate::error::{Error, Kind, Result, What};

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// As people know it.
    pub(super) shown: String,
    /// Where it is, written in one way only.
    pub(super) location: String,
    /// How many bytes it has; 0 where nobody knows.
    pub(super) size: u64,
    /// Changes when it does.
    pub(super) version: String,
    /// What a store knows this version by, if it does: it is then read as it is now, or not at all.
    pub(super) etag: Option<String>,
}

impl Entry {
    /// Its name without folders.
    pub(super) fn name(&self) -> &str {
        self.shown.rsplit('/').next().unwrap_or_default()
    }
}

/// How a file is going to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// From a place on.
    Onwards,
    /// Here and there.
    Anywhere,
}

/// Something that has files.
#[async_trait]
pub(super) trait Source: Debug + Send + Sync {
    /// The files that a name or a pattern means, in the order of their names; none is an error.
    async fn list(&self, pattern: &str) -> Result<Vec<Entry>>;

    /// The bytes of one of them.
    async fn open(&self, entry: &Entry, access: Access) -> Result<Input>;
}

/// The source that an argument of the command names.
pub(super) fn of(argument: &str, config: impl FnOnce() -> Result<Config>) -> Result<Arc<dyn Source>> {
    match argument {
        "-" => Ok(Arc::new(Stdin)),
        url if url.contains("://") => Ok(Arc::new(Objects::open(url, &config()?)?)),
        _ => Ok(Arc::new(Local)),
    }
}

/// Nothing has this name.
pub(super) fn missing(pattern: &str) -> Error {
    Error::new(Kind::NotFound(What::File), format!("{pattern} names no file"))
}

/// Standard input: one file of a name that nobody else has.
#[derive(Debug)]
struct Stdin;

#[async_trait]
impl Source for Stdin {
    async fn list(&self, _: &str) -> Result<Vec<Entry>> {
        let (shown, location) = ("-".to_owned(), "-".to_owned());
        Ok(vec![Entry { shown, location, size: 0, version: clock::new_uuid(), etag: None }])
    }

    async fn open(&self, _: &Entry, _: Access) -> Result<Input> {
        Ok(Input::Stdin)
    }
}

/// Files of this machine.
#[derive(Debug)]
struct Local;

#[async_trait]
impl Source for Local {
    async fn list(&self, pattern: &str) -> Result<Vec<Entry>> {
        let path = Path::new(pattern);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // A file may have a star in its name.
        if !is_pattern(name) || path.exists() {
            return Ok(vec![entry(path)?]);
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut found = meant(folder, name)?;
        found.sort();
        let found: Vec<Entry> = found.iter().map(|path| entry(path)).collect::<Result<_>>()?;
        if found.is_empty() { Err(missing(pattern)) } else { Ok(found) }
    }

    async fn open(&self, entry: &Entry, _: Access) -> Result<Input> {
        let file = File::open(&entry.location).map_err(|error| unreachable(&entry.shown, error))?;
        let now = file.metadata().map_err(|error| unreachable(&entry.shown, error))?;
        if (now.len(), version(&now)) != (entry.size, entry.version.clone()) {
            return Err(Error::conflict(format!("{} changed since it was listed", entry.shown)));
        }
        Ok(Input::Stored(Stored::new(Arc::new(file), entry.size)))
    }
}

/// The files of a folder whose names a pattern means.
fn meant(folder: Option<&Path>, pattern: &str) -> Result<Vec<PathBuf>> {
    let looked_at = folder.unwrap_or(Path::new("."));
    let listed = std::fs::read_dir(looked_at).map_err(|error| unreachable(&looked_at.display().to_string(), error))?;
    let mut found = Vec::new();
    for one in listed {
        let one = one.map_err(|error| unreachable(&looked_at.display().to_string(), error))?;
        let name = one.file_name();
        if !name.to_str().is_some_and(|name| is_meant(pattern, name)) {
            continue;
        }
        let path = folder.map_or_else(|| PathBuf::from(&name), |folder| folder.join(&name));
        // Folders are passed over, as a shell's star would not have them.
        if !path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

fn entry(path: &Path) -> Result<Entry> {
    let shown = path.display().to_string();
    let metadata = path.metadata().map_err(|error| unreachable(&shown, error))?;
    if metadata.is_dir() {
        return Err(Error::illegal(format!("{shown} is a folder: name its files, such as '{shown}/*.ndjson'")));
    }
    if !metadata.is_file() {
        return Err(Error::illegal(format!("{shown} is no file that can be read twice: send it through - instead")));
    }
    let location = path.canonicalize().map_err(|error| unreachable(&shown, error))?;
    let location = location.to_str().map(str::to_owned);
    let location = location.ok_or_else(|| Error::illegal(format!("The path of {shown} is not UTF-8")))?;
    Ok(Entry { shown, location, size: metadata.len(), version: version(&metadata), etag: None })
}

/// When a file was changed, to the nanosecond.
fn version(metadata: &Metadata) -> String {
    format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec())
}

fn unreachable(shown: &str, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        return missing(shown);
    }
    Error::illegal(format!("{shown} cannot be opened")).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn patterns_list_the_files_of_a_folder_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.csv", "a.csv", "a.txt", ".c.csv", "x*.csv"] {
            std::fs::write(folder.path().join(name), name).expect("written");
        }
        std::fs::create_dir(folder.path().join("d.csv")).expect("a folder");
        let listed = async |name: &str| Local.list(&folder.path().join(name).display().to_string()).await;
        let names = |found: Vec<Entry>| found.iter().map(|entry| entry.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(listed("*.csv").await.expect("found")), ["a.csv", "b.csv", "x*.csv"]);
        assert_eq!(names(listed("x*.csv").await.expect("found")), ["x*.csv"], "it is there as it is named");
        assert!(listed("*.none").await.expect_err("none").is_not_found());
        assert!(listed("none").await.expect_err("none").is_not_found());
        assert_eq!(listed("d.csv").await.expect_err("a folder").kind(), Kind::Illegal);
    }

    #[tokio::test]
    async fn a_file_that_changed_is_not_opened_as_what_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "a\n1\n").expect("written");
        let listed = Local.list(&path.display().to_string()).await.expect("found");
        Local.open(&listed[0], Access::Onwards).await.expect("opened");
        std::fs::write(&path, "a\n1\n2\n").expect("written");
        assert_eq!(Local.open(&listed[0], Access::Onwards).await.expect_err("changed").kind(), Kind::Conflict);
    }
}
