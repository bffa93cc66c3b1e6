//! What became of a request's rows: what its sender is told, and what is kept under its key.

use serde::{Deserialize, Serialize};

use super::flush::Flushed;
use super::verdict::{RowError, Verdicts};
use crate::limits;

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

/// Rows of a request that are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// How many there are.
    pub rows: usize,
    /// What is wrong with them: the first of it.
    pub errors: Vec<RowError>,
    /// Whether there is more.
    pub truncated: bool,
}

impl LeftOut {
    /// What is known of rows.
    pub(super) fn of(verdicts: Verdicts) -> Self {
        let truncated = verdicts.total > verdicts.listed.len();
        Self { rows: verdicts.bad_rows, errors: verdicts.listed, truncated }
    }

    /// Adds other rows of the same request.
    pub(super) fn add(&mut self, verdicts: &Verdicts) {
        self.join(Self::of(verdicts.told()));
    }

    /// Adds other rows of the same request.
    pub(super) fn join(&mut self, other: Self) {
        self.rows += other.rows;
        let room = limits::ROW_ERRORS_LISTED.saturating_sub(self.errors.len());
        self.truncated |= other.truncated || other.errors.len() > room;
        self.errors.extend(other.errors.into_iter().take(room));
        self.errors.sort_by_key(|error| error.index);
    }

    /// Whether there are none.
    pub(super) fn is_nothing(&self) -> bool {
        self.rows == 0
    }
}

/// What became of a request's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The table, and the snapshot that holds the rows.
    #[serde(flatten)]
    pub place: Place,
    /// Tables that hold other rows of the request, committed in the same transaction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<Place>,
    /// What was waited for.
    pub ack: Ack,
    /// How many rows the request had.
    pub received: usize,
    /// How many of them were there already.
    pub duplicate: usize,
    /// Those that do not fit.
    #[serde(default, skip_serializing_if = "LeftOut::is_nothing")]
    pub left_out: LeftOut,
    /// Whether the request had been answered before.
    #[serde(skip)]
    pub again: bool,
}

/// Where rows are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The table, as [`crate::names::TableName::joined`] writes it.
    pub table: String,
    /// The snapshot that holds them; `None` where they are not committed yet, or nobody knows in which they were.
    pub snapshot_id: Option<i64>,
    /// The snapshot's sequence number.
    pub sequence_number: Option<i64>,
    /// Data files that the snapshot added, for all the requests that share it.
    pub files: usize,
}

impl Place {
    /// A table, while nothing is known of a snapshot.
    pub(super) fn of(table: String) -> Self {
        Self { table, snapshot_id: None, sequence_number: None, files: 0 }
    }

    fn within(&mut self, flushed: &Flushed) {
        self.snapshot_id = Some(flushed.snapshot_id);
        self.sequence_number = Some(flushed.sequence_number);
        self.files = flushed.files;
    }
}

impl Receipt {
    /// For rows that are accepted and nothing more.
    pub(super) fn accepted(table: String, ack: Ack, received: usize) -> Self {
        let (place, left_out) = (Place::of(table), LeftOut::default());
        Self { place, beside: Vec::new(), ack, received, duplicate: 0, left_out, again: false }
    }

    /// For rows that a producer sent before.
    pub(super) fn duplicate(self) -> Self {
        Self { duplicate: self.received - self.left_out.rows, again: true, ..self }
    }

    /// One of several, each for other tables; `None` of none.
    pub(super) fn of_all(all: Vec<Self>) -> Option<Self> {
        let mut all = all.into_iter();
        let mut whole = all.next()?;
        for one in all {
            whole.received += one.received;
            whole.duplicate += one.duplicate;
            whole.again &= one.again;
            whole.beside.push(one.place);
            whole.beside.extend(one.beside);
            whole.left_out.join(one.left_out);
        }
        Some(whole)
    }

    /// Counts other rows of the same request that do not fit.
    pub(super) fn leave_out(&mut self, other: LeftOut) {
        self.received += other.rows;
        self.left_out.join(other);
    }

    /// For the same rows in snapshots: of the table, and of those beside it.
    pub(super) fn within(mut self, flushed: &[Option<Flushed>]) -> Self {
        let places = std::iter::once(&mut self.place).chain(&mut self.beside);
        for (place, flushed) in places.zip(flushed) {
            flushed.iter().for_each(|flushed| place.within(flushed));
        }
        self
    }

    /// Whether none of the rows fits.
    pub fn fits_nothing(&self) -> bool {
        self.received > 0 && self.left_out.rows == self.received
    }
}
