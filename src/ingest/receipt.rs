//! What became of a request's rows: what its sender is told, and what is kept under its key.

use serde::{Deserialize, Serialize};

use super::flush::Flushed;

/// What a request's sender waits for (`?ack=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// The rows are in a snapshot.
    #[default]
    Commit,
    /// The rows are in the server's log, on the disk.
    Wal,
    /// The rows are understood; a crash may lose them.
    None,
}

impl Ack {
    /// The one that this word means.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Commit, Self::Wal, Self::None].into_iter().find(|ack| ack.as_str() == word)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Wal => "wal",
            Self::None => "none",
        }
    }
}

/// What became of a request's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The table, as [`crate::names::TableName::joined`] writes it.
    pub table: String,
    /// What was waited for.
    pub ack: Ack,
    /// How many rows the request had.
    pub received: usize,
    /// How many of them were there already.
    pub duplicate: usize,
    /// The snapshot that holds them; `None` where they are not committed yet, or nobody knows in which they were.
    pub snapshot_id: Option<i64>,
    /// The snapshot's sequence number.
    pub sequence_number: Option<i64>,
    /// Data files that the snapshot added, for all the requests that share it.
    pub files: usize,
    /// Whether the request had been answered before.
    #[serde(skip)]
    pub again: bool,
}

impl Receipt {
    /// For rows that are accepted and nothing more.
    pub(super) fn accepted(table: String, ack: Ack, received: usize) -> Self {
        let (snapshot_id, sequence_number) = (None, None);
        Self { table, ack, received, duplicate: 0, snapshot_id, sequence_number, files: 0, again: false }
    }

    /// For rows that a producer sent before.
    pub(super) fn duplicate(self) -> Self {
        Self { duplicate: self.received, again: true, ..self }
    }

    /// For the same rows in a snapshot.
    pub(super) fn within(self, flushed: &Flushed) -> Self {
        let (snapshot_id, sequence_number) = (Some(flushed.snapshot_id), Some(flushed.sequence_number));
        Self { snapshot_id, sequence_number, files: flushed.files, ..self }
    }
}
