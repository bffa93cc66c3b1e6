//! What earlier tries of a routed request with a key have done.
//!
//! Where its tables are committed one by one, all that a request has for one of them, be it rows or dead letters, is a part
//! with a key of its own; its answer is kept in the transaction of its commit. A part that is done stays as it is, however
//! its rows would be judged now.

use std::collections::BTreeMap;

use crate::catalog::once::Key;
use crate::error::{Error, Kind, Result};
use crate::ingest::receipt::Receipt;
use crate::ingest::verdict::Verdicts;
use crate::ingest::{Ingest, judge};
use crate::names::TableName;

/// What is known of a request.
pub(super) enum Earlier {
    /// It was answered so.
    Answered(Receipt),
    /// These parts of it are done, if any.
    Begun(Done),
}

/// The parts of a request that are done, and what each was answered.
#[derive(Debug, Default)]
pub(super) struct Done(BTreeMap<String, Receipt>);

/// The part that has the rows without a table.
pub(super) const NO_TABLE: &str = "";

/// The part that has the rows of a table.
pub(super) fn part_of(table: &TableName) -> String {
    format!("{}\u{1f}{}", table.namespace.path(), table.name)
}

impl Ingest {
    /// What is known of a request; an error where its key is another's.
    pub(super) async fn earlier(&self, key: &Key) -> Result<Earlier> {
        let (whole, parts) = self.catalog.answers_in_part(key).await?;
        if let Some(text) = whole {
            return judge::answered(&text).map(Earlier::Answered);
        }
        let receipt = |(part, text): (String, String)| Ok((part, judge::answered(&text)?));
        parts.into_iter().map(receipt).collect::<Result<_>>().map(|done| Earlier::Begun(Done(done)))
    }
}

impl Done {
    pub(super) fn has(&self, part: &str) -> bool {
        self.0.contains_key(part)
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_receipts(self) -> Vec<Receipt> {
        self.0.into_values().collect()
    }

    /// The refusal of what is not done: by now it fits no more.
    pub(super) fn refused(&self, verdicts: &Verdicts) -> Error {
        let first = verdicts.listed.first();
        let why = first.map_or_else(String::new, |error| format!(", such as row {}: {}", error.index, error.detail));
        let message = format!(
            "{} rows do not fit{why}; nothing of this try was written, but the rows of {} tables are there since an \
             earlier one: send the others apart, under a new key",
            verdicts.bad_rows,
            self.0.len()
        );
        Error::new(Kind::Unprocessable, message).with_code("partly_written")
    }
}
