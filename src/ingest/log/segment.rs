//! A file of the log: written from one end to the other, synced, and deleted when all that is in it is settled.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rustix::fs::FallocateFlags;

use crate::limits;

/// What is known of a file by those whose rows are in it.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    /// Bytes that it takes on the disk.
    bytes: AtomicU64,
    /// Bytes of all files.
    all: Arc<AtomicU64>,
    unsettled: AtomicUsize,
    /// Whether more may be written to it.
    open: AtomicBool,
}

impl Segment {
    /// A file that is there already.
    pub(super) fn found(path: PathBuf, bytes: u64, all: Arc<AtomicU64>, unsettled: usize) -> Arc<Self> {
        // None says that it is gone.
        let bytes = bytes.max(1);
        all.fetch_add(bytes, Ordering::Relaxed);
        let segment = Self { path, bytes: bytes.into(), all, unsettled: unsettled.into(), open: false.into() };
        segment.go_if_done();
        Arc::new(segment)
    }

    /// Counts entries that were added.
    pub(super) fn added(&self, count: usize) {
        self.unsettled.fetch_add(count, Ordering::AcqRel);
    }

    /// One entry is committed, or reported as lost.
    pub(super) fn settled(&self) {
        self.unsettled.fetch_sub(1, Ordering::AcqRel);
        self.go_if_done();
    }

    fn close(&self) {
        self.open.store(false, Ordering::Release);
        self.go_if_done();
    }

    fn go_if_done(&self) {
        if self.open.load(Ordering::Acquire) || self.unsettled.load(Ordering::Acquire) > 0 {
            return;
        }
        // Whoever comes first; the file's name is never used again.
        let bytes = self.bytes.swap(0, Ordering::AcqRel);
        if bytes == 0 {
            return;
        }
        self.all.fetch_sub(bytes, Ordering::Relaxed);
        if let Err(error) = fs::remove_file(&self.path) {
            // At the next start its entries are known to be settled.
            tracing::warn!(path = %self.path.display(), %error, "a file of the log could not be deleted");
        }
    }
}

/// The file that is being written.
#[derive(Debug)]
pub(super) struct Writing {
    file: File,
    /// Bytes that are written and synced.
    pub(super) durable: u64,
    pub(super) segment: Arc<Segment>,
}

impl Writing {
    /// A new file whose first entry will have this number; it, and its name, are on the disk.
    pub(super) fn begin(folder: &Path, number: u64, all: &Arc<AtomicU64>) -> io::Result<Self> {
        let path = folder.join(format!("{number:020}.log"));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let made = reserve(&file).and_then(|()| file.sync_all()).and_then(|()| File::open(folder)?.sync_all());
        if let Err(error) = made {
            drop(fs::remove_file(&path));
            return Err(error);
        }
        let bytes = limits::LOG_FILE_BYTES;
        all.fetch_add(bytes, Ordering::Relaxed);
        let segment = Segment {
            path,
            bytes: bytes.into(),
            all: Arc::clone(all),
            unsettled: AtomicUsize::new(0),
            open: true.into(),
        };
        Ok(Self { file, durable: 0, segment: Arc::new(segment) })
    }

    /// Writes records behind those that are there, and waits until they are on the disk. After an error nobody knows what
    /// of them is: nothing may be written to this file any more.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        self.file.write_all_at(records, self.durable)?;
        self.file.sync_data()?;
        self.durable += records.len() as u64;
        let (taken, all) = (self.segment.bytes.load(Ordering::Acquire), &self.segment.all);
        if self.durable > taken {
            all.fetch_add(self.durable - taken, Ordering::Relaxed);
            self.segment.bytes.store(self.durable, Ordering::Release);
        }
        Ok(())
    }

    /// Whether another file is to be begun.
    pub(super) fn is_full(&self) -> bool {
        self.durable >= limits::LOG_FILE_BYTES
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.segment.close();
    }
}

/// Takes the room for a file at once: a full disk shows before anything is written, and a sync has no length to write.
fn reserve(file: &File) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, limits::LOG_FILE_BYTES) {
        Ok(()) => Ok(()),
        // Not every file system can.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
