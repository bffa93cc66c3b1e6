//! Where a command is carried out: at a running server, or in a data directory that nobody has open.

use clap::Args;

use super::{Common, Remote, holder, load};
use crate::config::Config;
use crate::error::Result;

/// Which server, or which directory.
#[derive(Debug, Clone, Args)]
pub(super) struct Place {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    remote: Remote,
}

/// What a place comes to.
pub(super) enum Found {
    /// A server, by its URL.
    Server(Remote, String),
    /// A directory, by the configuration that names it.
    Directory(Box<Config>),
}

impl Place {
    /// The server that is named, else the one that has the directory open, else the directory.
    pub(super) fn find(self) -> Result<Found> {
        let Self { common, remote } = self;
        if let Some(url) = remote.url.clone() {
            return Ok(Found::Server(remote, url));
        }
        let config = load(&common.flags())?;
        Ok(match holder(&config) {
            Some(url) => Found::Server(remote, url),
            None => Found::Directory(Box::new(config)),
        })
    }
}
