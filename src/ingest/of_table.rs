//! What ingest knows of a table as one of its metadata files describes it: worked out once and kept with that.
//!
//! To read a table's properties anew costs a small request more than to read its row does.

use std::sync::{Arc, Weak};

use super::decode::{Evolution, Unknown};
use super::held::Readers;
use super::pace::Pace;
use super::verdict::OnError;
use super::{Ingest, settings};
use crate::catalog::Loaded;
use crate::catalog::metadata::TableMetadata;
use crate::error::Result;
use crate::names::TableName;

/// What ingest knows of a table.
#[derive(Debug)]
struct OfTable {
    pace: Pace,
    /// `None` where ingest cannot write to it.
    habits: Option<Habits>,
}

/// How rows of a table are read.
#[derive(Debug, Clone)]
pub(super) struct Habits {
    /// Readers for its current schema, as long as there are: of how many tables some are kept is not decided here.
    readers: Weak<Readers>,
    evolution: Option<Evolution>,
    unknown: Option<Unknown>,
    on_error: Option<OnError>,
}

impl Habits {
    /// Whether rows may make it grow, as a request, else the table, says.
    pub(super) fn evolution(&self, asked: Option<Evolution>) -> Evolution {
        asked.or(self.evolution).unwrap_or(Evolution::AddColumns)
    }

    /// What becomes of fields that it has no column for; a table that never grows has no use for new columns.
    pub(super) fn unknown(&self, asked: Option<Unknown>, evolution: Evolution) -> Unknown {
        match (asked.or(self.unknown).unwrap_or(Unknown::Add), evolution) {
            (Unknown::Add, Evolution::Strict) => Unknown::Refuse,
            (said, _) => said,
        }
    }

    /// What becomes of rows that do not fit.
    pub(super) fn on_error(&self, asked: Option<OnError>) -> OnError {
        asked.or(self.on_error).unwrap_or_default()
    }
}

impl Ingest {
    /// How a table's rows are read; an error where ingest cannot write to it, or a property of it cannot be understood.
    pub(super) fn habits_of(&self, table: &TableName, loaded: &Loaded) -> Result<Habits> {
        match &self.of_table(table, loaded).habits {
            Some(habits) => Ok(habits.clone()),
            None => self.habits(&loaded.metadata),
        }
    }

    /// Readers for a table's current schema.
    pub(super) fn readers(&self, habits: &Habits, loaded: &Loaded) -> Result<Arc<Readers>> {
        habits.readers.upgrade().map_or_else(|| self.shapes.of(&loaded.metadata), Ok)
    }

    /// When a table is committed to.
    pub(super) fn pace_of(&self, table: &TableName, loaded: &Loaded) -> Pace {
        self.of_table(table, loaded).pace
    }

    fn of_table(&self, table: &TableName, loaded: &Loaded) -> Arc<OfTable> {
        loaded.worked_out(|metadata| {
            self.complaints.look_at(table, metadata);
            let pace = Pace::of(&metadata.properties, self.memory.share_bytes() / 2);
            OfTable { pace, habits: self.habits(metadata).ok() }
        })
    }

    fn habits(&self, metadata: &TableMetadata) -> Result<Habits> {
        settings::check_table(metadata)?;
        let properties = &metadata.properties;
        Ok(Habits {
            readers: Arc::downgrade(&self.shapes.of(metadata)?),
            evolution: Evolution::said(properties)?,
            unknown: Unknown::said(properties)?,
            on_error: OnError::said(properties)?,
        })
    }
}
