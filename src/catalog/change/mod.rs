//! What a commit does to a table's metadata, as a pure function.
//!
//! [`Change`] is the parsed body of a commit. [`Change::apply`] checks every requirement against the metadata as it is
//! and applies the updates in order; the metadata given is not touched, and nothing is read or written. The rules are
//! those of the REST specification (`TableRequirement`, `TableUpdate`) and of the reference implementation's builder,
//! but for what `reference` bugs would break: a client's clock that runs ahead never makes a later commit fail, a stale
//! sequence number or row id is a conflict, and the highest sequence number never falls.

mod build;
mod layout;
mod requirement;
mod snapshots;
mod update;
pub mod view;

use serde_json::value::RawValue;

pub use requirement::Requirement;
pub use update::Update;

use super::metadata::TableMetadata;
use crate::error::{Error, Kind, Result};
use crate::limits;
use build::Build;

/// Properties that describe metadata and are never kept as properties.
pub const RESERVED_PROPERTIES: [&str; 9] = [
    "format-version",
    "uuid",
    "snapshot-count",
    "current-snapshot-id",
    "current-snapshot-summary",
    "current-snapshot-timestamp-ms",
    "current-schema",
    "default-partition-spec",
    "default-sort-order",
];

/// The requirements and updates of one commit to one table.
#[derive(Debug, Clone)]
pub struct Change {
    /// What must be true of the table.
    pub requirements: Vec<Requirement>,
    /// What is to be done, in order.
    pub updates: Vec<Update>,
}

/// What metadata says of a change that may have landed before its client heard of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// Something of it is not there: it has not landed.
    Missing,
    /// Nothing contradicts it, and nothing in it could prove it.
    Silent,
    /// A snapshot or table that only this change can have added is there.
    Proof,
}

/// What came of applying a change.
#[derive(Debug)]
pub enum Outcome<T = TableMetadata> {
    /// The metadata is already as the change wants it: nothing is to be written.
    Unchanged,
    /// The new metadata, with its time set and its metadata log as it was.
    Changed(Box<T>),
}

/// Refuses a commit of too many parts.
fn check_parts(requirements: &[Box<RawValue>], updates: &[Box<RawValue>]) -> Result<()> {
    for (what, has) in [("requirements", requirements.len()), ("updates", updates.len())] {
        if has > limits::COMMIT_PARTS_MAX {
            let max = limits::COMMIT_PARTS_MAX;
            return Err(Error::new(Kind::TooLarge, format!("Commit has {has} {what}: at most {max} are allowed")));
        }
    }
    Ok(())
}

/// One more than the highest there is.
fn next_id(mut ids: impl Iterator<Item = i32>) -> Result<i32> {
    let next = ids.try_fold(0, |next, id| id.checked_add(1).map(|after| after.max(next)));
    next.ok_or_else(|| Error::invalid("There is an id at the end of its range: no further one can be given"))
}

impl Change {
    /// Parses the two arrays of a commit's body.
    pub fn parse(requirements: &[Box<RawValue>], updates: &[Box<RawValue>]) -> Result<Self> {
        check_parts(requirements, updates)?;
        Ok(Self {
            requirements: requirements.iter().map(|raw| Requirement::parse(raw)).collect::<Result<_>>()?,
            updates: updates.iter().map(|raw| Update::parse(raw)).collect::<Result<_>>()?,
        })
    }

    /// Whether the change says that the table must not exist.
    pub fn creates(&self) -> bool {
        self.requirements.contains(&Requirement::Create)
    }

    /// The location that the change sets, if it does.
    pub fn location(&self) -> Option<&str> {
        self.updates.iter().rev().find_map(|update| match update {
            Update::SetLocation(location) => Some(location.as_str()),
            _ => None,
        })
    }

    /// Applies the change to `base` (`None`: the table does not exist) at the time `now_ms`.
    pub fn apply(&self, base: Option<&TableMetadata>, now_ms: i64) -> Result<Outcome> {
        if self.creates() && self.requirements.len() > 1 {
            return Err(Error::illegal("Invalid create requirements: assert-create must be the only one"));
        }
        for requirement in &self.requirements {
            requirement.check(base)?;
        }
        let mut build = match base {
            Some(base) => Build::on(base),
            None => Build::empty(self.format_version()),
        };
        for update in &self.updates {
            build.apply(update)?;
        }
        build.finish(now_ms)
    }

    /// What is to be seen in `metadata` of this change having landed before: each of its snapshots unaltered, each
    /// reference it moved at, or on from, the snapshot it set, and the identity it gave.
    pub fn trace(&self, metadata: &TableMetadata) -> Trace {
        let mut adds_any = false;
        for update in &self.updates {
            let there = match update {
                Update::AddSnapshot(snapshot) => {
                    adds_any = true;
                    metadata.snapshot(snapshot.id).is_some_and(|have| have.same_as(snapshot))
                }
                Update::SetRef(name, wanted) => metadata.refs.get(name).is_some_and(|have| {
                    have.kind == wanted.kind && metadata.is_ancestor(wanted.snapshot_id, have.snapshot_id)
                }),
                Update::AssignUuid(uuid) => metadata.table_uuid.as_deref().is_some_and(|have| same_uuid(have, uuid)),
                _ => true,
            };
            if !there {
                return Trace::Missing;
            }
        }
        if adds_any || self.creates_this(metadata) { Trace::Proof } else { Trace::Silent }
    }

    fn creates_this(&self, metadata: &TableMetadata) -> bool {
        let uuid = self.updates.iter().find_map(|update| match update {
            Update::AssignUuid(uuid) => Some(uuid),
            _ => None,
        });
        let same = uuid.zip(metadata.table_uuid.as_ref()).is_some_and(|(new, have)| same_uuid(new, have));
        self.creates() && same
    }

    fn format_version(&self) -> u8 {
        let asked = self.updates.iter().find_map(|update| match update {
            Update::UpgradeFormatVersion(version) => u8::try_from(*version).ok(),
            _ => None,
        });
        asked.unwrap_or(super::metadata::FORMAT_VERSION_DEFAULT)
    }
}

/// Whether two texts are the same UUID.
pub fn same_uuid(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}
