//! Files opened inside a directory, and never outside it whatever links there are: one question to the kernel (Linux 5.6).
//!
//! Where the kernel cannot answer, or refuses because a link that may well stay inside is on the way, there is no answer
//! and the caller looks at every link itself.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};

/// A directory that files are opened in.
#[derive(Debug)]
pub(super) struct Area {
    root: PathBuf,
    opened: OnceLock<OwnedFd>,
}

impl Area {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, opened: OnceLock::new() }
    }

    /// No other kernel is asked.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn open(&self, _path: &Path, _flags: OFlags) -> Option<io::Result<File>> {
        None
    }

    /// Opens a file; none where the kernel cannot say that it lies inside.
    #[cfg(target_os = "linux")]
    pub(super) fn open(&self, path: &Path, flags: OFlags) -> Option<io::Result<File>> {
        use rustix::fs::{ResolveFlags, openat2};
        use rustix::io::Errno;
        let inner = path.strip_prefix(&self.root).ok().filter(|inner| !inner.as_os_str().is_empty())?;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        match openat2(self.root()?, inner, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode, inside) {
            Ok(file) => Some(Ok(file.into())),
            // The directory itself may have been replaced since it was opened.
            Err(Errno::NOENT | Errno::XDEV | Errno::NOSYS | Errno::AGAIN | Errno::PERM | Errno::INVAL) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    #[cfg(target_os = "linux")]
    fn root(&self) -> Option<&OwnedFd> {
        if let Some(opened) = self.opened.get() {
            return Some(opened);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&self.root, flags, Mode::empty()).ok()?;
        Some(self.opened.get_or_init(|| opened))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_leads_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("in")).expect("made");
        std::fs::write(dir.path().join("secret"), "outside").expect("written");
        std::fs::write(root.join("in/file"), "inside").expect("written");
        symlink(dir.path(), root.join("out")).expect("linked");
        symlink("in", root.join("side")).expect("linked");
        symlink(dir.path().join("secret"), root.join("in/link")).expect("linked");
        let area = Area::new(root.clone());
        let read = |path: &str| {
            let mut text = String::new();
            let opened = area.open(&root.join(path), OFlags::RDONLY);
            opened.map(|file| file.and_then(|mut file| file.read_to_string(&mut text)).map(|_| text))
        };
        assert_eq!(read("in/file").expect("an answer").expect("opened"), "inside");
        assert_eq!(read("side/file").expect("an answer").expect("opened"), "inside", "a link may stay inside");
        assert!(read("out/secret").is_none_or(|opened| opened.is_err()));
        assert!(read("../secret").is_none_or(|opened| opened.is_err()));
        assert!(read("in/link").is_none_or(|opened| opened.is_err()), "the file itself is never a link");
        assert!(read("in/none").is_none());
        assert!(area.open(&dir.path().join("secret"), OFlags::RDONLY).is_none());
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        assert!(area.open(&root.join("in/new"), create).is_some_and(|opened| opened.is_ok()));
        let again = area.open(&root.join("in/new"), create).expect("an answer").expect_err("there already");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert!(area.open(&root.join("out/new"), create).is_none_or(|opened| opened.is_err()));
    }
}
