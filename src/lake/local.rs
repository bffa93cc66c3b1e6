//! A warehouse in a local directory: our own code, because what a pointer names must be on the disk before the pointer.
//!
//! A file is created new (never over another), written, fsynced, and then its directory and every directory newly made,
//! up the chain. No link is followed out of the area that the warehouse may use.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::task::JoinHandle;

use super::area::Area;
use super::location::Location;
use crate::clock;
use crate::error::{Error, Kind, Result, What};
use crate::failpoint;

/// Directories remembered as durable; beyond that they are synced again, which is only slower.
const DURABLE_MAX: usize = 100_000;

/// A directory that may be read and written.
#[derive(Debug)]
pub(super) struct Local {
    root: PathBuf,
    area: Area,
    /// The root without links, once it exists.
    real_root: OnceLock<PathBuf>,
    durable: Mutex<HashSet<PathBuf>>,
}

impl Local {
    /// The directory of a location; it need not exist yet.
    pub(super) fn new(area: &Location) -> Self {
        Self {
            root: path_of(area),
            area: Area::new(path_of(area)),
            real_root: OnceLock::new(),
            durable: Mutex::new(HashSet::new()),
        }
    }

    /// Creates a file that is not there yet. The file is durable then, its name when the task that is returned is done: two
    /// syncs at once take hardly longer than one.
    pub(super) fn create(&self, location: &Location, bytes: &[u8]) -> Result<JoinHandle<Result<()>>> {
        let path = path_of(location);
        let failed = |error: io::Error| io_error("created", location, error);
        let folder = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let known = lock(&self.durable).contains(&folder);
        let at_once = if known { self.area.open(&path, create) } else { None };
        let mut file = match at_once {
            Some(opened) => opened.map_err(failed)?,
            None => {
                self.check_links(&folder, location)?;
                // Also where we knew of the folder: somebody may have removed it.
                self.forget(&folder);
                self.make_durable(&folder).map_err(failed)?;
                open_new(&path).map_err(failed)?
            }
        };
        file.write_all(bytes).map_err(failed)?;
        failpoint::at("lake.written")?;
        let named = {
            let location = location.clone();
            let sync = move || sync_folder(&folder).map_err(|error| io_error("created", &location, error));
            tokio::task::spawn_blocking(sync)
        };
        file.sync_all().map_err(failed)?;
        Ok(named)
    }

    /// Puts a file in the place of the one that is there, if there is one.
    pub(super) fn replace(&self, location: &Location, bytes: &[u8]) -> Result<()> {
        let path = path_of(location);
        let failed = |error: io::Error| io_error("replaced", location, error);
        let folder = path.parent().unwrap_or(Path::new("/"));
        self.check_links(folder, location)?;
        self.make_durable(folder).map_err(failed)?;
        let beside = folder.join(format!(".{}.new", clock::new_uuid()));
        let mut file = open_new(&beside).map_err(failed)?;
        let replaced = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, &path));
        if replaced.is_err() {
            drop(fs::remove_file(&beside));
        }
        replaced.and_then(|()| sync_folder(folder)).map_err(failed)
    }

    /// Makes a directory, durably.
    pub(super) fn create_folder(&self, location: &Location) -> Result<()> {
        let path = path_of(location);
        self.check_links(&path, location)?;
        if !path.is_dir() {
            self.forget(&path);
        }
        self.make_durable(&path).map_err(|error| io_error("created", location, error))
    }

    /// The file's bytes, at most `most`.
    pub(super) fn read(&self, location: &Location, most: u64) -> Result<Bytes> {
        let mut file = self.open(location)?;
        let length = file.metadata().map_err(|error| io_error("read", location, error))?.len();
        if length > most {
            return Err(Error::new(Kind::TooLarge, format!("{location} has {length} bytes: at most {most} are read")));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.read_to_end(&mut bytes).map_err(|error| io_error("read", location, error))?;
        Ok(bytes.into())
    }

    /// A part of the file's bytes.
    pub(super) fn read_range(&self, location: &Location, start: u64, length: usize) -> Result<Bytes> {
        let mut file = self.open(location)?;
        let mut bytes = vec![0; length];
        file.seek(SeekFrom::Start(start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| io_error("read", location, error))?;
        Ok(bytes.into())
    }

    fn open(&self, location: &Location) -> Result<File> {
        let path = path_of(location);
        let opened = match self.area.open(&path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Some(opened) => opened,
            None => {
                self.check_links(path.parent().unwrap_or(Path::new("/")), location)?;
                let flags = flags(OFlags::NOFOLLOW | OFlags::NONBLOCK);
                OpenOptions::new().read(true).custom_flags(flags).open(&path)
            }
        };
        let file = opened.map_err(|error| io_error("read", location, error))?;
        if !file.metadata().map_err(|error| io_error("read", location, error))?.is_file() {
            return Err(not_found(location));
        }
        Ok(file)
    }

    /// Removes the file; one that is not there is fine.
    pub(super) fn delete(&self, location: &Location) -> Result<()> {
        let path = path_of(location);
        let folder = path.parent().unwrap_or(Path::new("/"));
        if !folder.exists() {
            return Ok(());
        }
        self.check_links(folder, location)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("deleted", location, error)),
            _ => Ok(()),
        }
    }

    /// Removes the directory and the empty ones inside it; one that holds a file stays.
    pub(super) fn remove_empty_folders(&self, location: &Location) {
        let path = path_of(location);
        if self.check_links(&path, location).is_ok() {
            remove_empty(&path);
        }
        lock(&self.durable).retain(|folder| !folder.starts_with(&path));
    }

    /// The files under the directory, as paths relative to it, at most `most`.
    pub(super) fn list(&self, location: &Location, most: usize) -> Result<Vec<String>> {
        let root = path_of(location);
        let mut files = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io_error("listed", location, error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| io_error("listed", location, error))?;
                let kind = entry.file_type().map_err(|error| io_error("listed", location, error))?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() && files.len() < most {
                    let path = entry.path();
                    files.extend(path.strip_prefix(&root).ok().and_then(Path::to_str).map(str::to_owned));
                }
            }
        }
        Ok(files)
    }

    /// Makes `folder` exist, with every directory on the way to it known to the disk.
    fn make_durable(&self, folder: &Path) -> io::Result<()> {
        if lock(&self.durable).contains(folder) {
            return Ok(());
        }
        fs::create_dir_all(folder)?;
        let mut next = Some(folder);
        while let Some(current) = next {
            sync_folder(current)?;
            if current == self.root {
                // The root's own name must be known too, whoever made it.
                current.parent().map_or(Ok(()), sync_folder)?;
                break;
            }
            next = current.parent();
        }
        let mut durable = lock(&self.durable);
        if durable.len() >= DURABLE_MAX {
            durable.clear();
        }
        durable.insert(folder.to_path_buf());
        Ok(())
    }

    fn forget(&self, folder: &Path) {
        lock(&self.durable).remove(folder);
    }

    /// Refuses a directory that a link leads out of the area. Of one that does not exist yet, the part that does is
    /// looked at: what will be made below it holds no links.
    fn check_links(&self, folder: &Path, location: &Location) -> Result<()> {
        let there =
            folder.ancestors().take_while(|folder| folder.starts_with(&self.root)).find(|folder| folder.exists());
        let Some(there) = there else { return Ok(()) };
        let real = |path: &Path| fs::canonicalize(path).map_err(|error| io_error("opened", location, error));
        // Where the root itself is does not change while we run.
        let root = match self.real_root.get() {
            Some(root) => root,
            None => {
                let found = real(&self.root)?;
                self.real_root.get_or_init(|| found)
            }
        };
        if real(there)?.starts_with(root) {
            return Ok(());
        }
        Err(Error::new(
            Kind::Forbidden,
            format!("Location {location} is refused: a symbolic link on its way leads out of {}", self.root.display()),
        ))
    }
}

fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).custom_flags(flags(OFlags::NOFOLLOW)).open(path)
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes `folder` if nothing but empty directories is in it.
fn remove_empty(folder: &Path) {
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_empty(&entry.path());
            }
        }
    }
    // Fails where a file is left, which is what we want.
    drop(fs::remove_dir(folder));
}

/// The path of a location.
pub(super) fn path_of(location: &Location) -> PathBuf {
    PathBuf::from(format!("/{}", location.path()))
}

fn lock(durable: &Mutex<HashSet<PathBuf>>) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
    durable.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_found(location: &Location) -> Error {
    Error::new(Kind::NotFound(What::File), format!("File does not exist: {location}"))
}

fn io_error(done: &str, location: &Location, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return not_found(location).because(error),
        io::ErrorKind::AlreadyExists => Kind::AlreadyExists(What::File),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Kind::Forbidden,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("{location} cannot be {done}: {}", error.kind())).because(error)
}
