//! Rows that wait for a commit, and who waits with them.

use std::time::Instant;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::claims::{Claims, KeyUnderWay, StandsAhead};
use super::flush::Target;
use super::held::Held;
use super::lift::Gone;
use super::log::{BesideDescribed, Described, Logged};
use super::memory::Reserved;
use super::pace::Pace;
use super::receipt::{Ack, LeftOut, Place, Receipt};
use crate::error::Result;

/// Rows that wait for a commit, and who waits with them.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) target: Target,
    pub(super) rows: Vec<Held>,
    pub(super) what: Carried,
    /// How many rows there are, and their bytes, those beside them too.
    pub(super) count: usize,
    pub(super) bytes: usize,
    /// Rows of other tables that are committed in the same transaction.
    pub(super) beside: Vec<Beside>,
    /// Rows that the request had and that do not fit.
    pub(super) left_out: LeftOut,
    pub(super) claims: Claims,
    pub(super) whom: Whom,
    /// The memory that the rows take; given back when they are committed.
    pub(super) memory: Reserved,
    pub(super) pace: Pace,
    pub(super) since: Instant,
    /// How often the table changed under it.
    pub(super) tries: usize,
    /// Why they cannot be written, where that is so of rows that are acknowledged.
    pub(super) lost: Option<&'static str>,
    /// Its key and its producer's place, known as long as this is.
    pub(super) known: (Option<KeyUnderWay>, Option<StandsAhead>),
}

/// Rows of another table that are committed with a request's.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) target: Target,
    pub(super) rows: RecordBatch,
    pub(super) what: Carried,
}

/// What rows are to their request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) enum Carried {
    /// Rows of its own.
    #[default]
    Rows,
    /// What became of those that do not fit.
    DeadLetters,
}

impl Carried {
    /// How many rows of the request so many are.
    fn count(self, rows: usize) -> usize {
        if self == Self::Rows { rows } else { 0 }
    }

    /// Whether they are rows of the request.
    pub(super) fn is_rows(&self) -> bool {
        *self == Self::Rows
    }
}

impl Beside {
    /// What the log says of them.
    fn described(&self) -> BesideDescribed {
        BesideDescribed {
            namespace: self.target.name.namespace.path().to_owned(),
            table: self.target.name.name.to_string(),
            table_id: self.target.row.to_string(),
            table_uuid: self.target.uuid.clone(),
            schema_id: self.target.schema_id,
            what: self.what,
        }
    }
}

/// Who waits for rows to be committed.
#[derive(Debug)]
pub(super) enum Whom {
    /// Their sender.
    Sender(oneshot::Sender<Result<Receipt>>),
    /// Nobody: they are acknowledged. Their place in the log, if they are in it.
    Nobody(Option<Logged>),
}

impl Waiting {
    /// What their sender is told before they are in a snapshot.
    pub(super) fn receipt(&self, ack: Ack) -> Receipt {
        let left_out = self.left_out.clone();
        let others: usize = self.beside.iter().map(|beside| beside.what.count(beside.rows.num_rows())).sum();
        let received = self.what.count(self.count) + others + left_out.rows;
        let beside = self.beside.iter().map(|beside| Place::of(beside.target.name.joined())).collect();
        Receipt { left_out, beside, ..Receipt::accepted(self.target.name.joined(), ack, received) }
    }

    /// Whether it says nothing of itself, and has rows for one table: then others may join it.
    pub(super) fn is_plain(&self) -> bool {
        self.claims.is_empty() && self.beside.is_empty() && self.what.is_rows()
    }

    /// Adds rows of the same schema that say nothing of themselves. Whoever adds many gives back what memory they need less
    /// together when all are there.
    pub(super) fn join(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.left_out.rows += other.left_out.rows;
        self.rows.extend(other.rows);
        self.memory.join(other.memory);
    }

    /// Whether there are no rows, for no table.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0 && self.beside.is_empty()
    }

    /// Whether they are acknowledged.
    pub(super) fn is_acknowledged(&self) -> bool {
        matches!(self.whom, Whom::Nobody(_))
    }

    /// What becomes of values whose column is gone: what is acknowledged is never refused.
    pub(super) fn what_goes(&self) -> Gone {
        if self.is_acknowledged() { Gone::LeftOut } else { Gone::Refused }
    }

    /// The entry's number in the log, if it is in it.
    pub(super) fn number(&self) -> Option<i64> {
        match &self.whom {
            Whom::Nobody(Some(logged)) => Some(logged.number),
            _ => None,
        }
    }

    /// What the log says of them.
    pub(super) fn described(&self) -> Described {
        let key = self.claims.key.as_ref().map(|key| {
            let (scope, text) = key.name();
            (scope.to_owned(), text.to_owned(), key.fingerprint().to_owned())
        });
        Described {
            warehouse: self.target.warehouse.to_string(),
            namespace: self.target.name.namespace.path().to_owned(),
            table: self.target.name.name.to_string(),
            table_id: self.target.row.to_string(),
            table_uuid: self.target.uuid.clone(),
            schema_id: self.target.schema_id,
            key,
            producer: self.claims.producer.clone(),
            what: self.what,
            beside: self.beside.iter().map(Beside::described).collect(),
            left_out: self.left_out.clone(),
        }
    }

    /// They are done with, for good.
    pub(super) fn settle(self, outcome: Result<Receipt>) {
        match self.whom {
            Whom::Sender(sender) => drop(sender.send(outcome)),
            Whom::Nobody(Some(logged)) => logged.settled(),
            Whom::Nobody(None) => {}
        }
    }
}
