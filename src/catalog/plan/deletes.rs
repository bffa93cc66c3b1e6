//! Which delete files apply to which data files.
//!
//! The rules are those of the table format's specification ("Scan Planning"). The index holds no delete file, only where it
//! is and a hash of what it is about, so that the deletes of a large table fit; each candidate is then compared with the
//! file it may apply to. Position deletes and vectors apply to rows of the same commit or before, equality deletes to rows
//! from before; a file with a vector has no other position deletes.

use std::sync::Arc;

use super::metrics;
use super::partition::Layout;
use super::range::Share;
use crate::catalog::metadata::schema::Schema;
use crate::catalog::metadata::types::Primitive;
use crate::names::fnv1a_64;
use crate::snapshot::entries::{Content, Entries, Entry, Side};
use crate::snapshot::list::ListedManifest;

/// The field id of `file_path` in position delete files.
const DELETED_PATH: i32 = 2_147_483_546;

/// How a delete file deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// A deletion vector, of one data file.
    Vector,
    /// Positions, of one data file.
    PositionsOfOne,
    /// Positions, of any file of a partition.
    Positions,
    /// Values, in a partition.
    Values,
    /// Values, anywhere in the table.
    ValuesAnywhere,
}

/// A delete file that may apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Candidate {
    /// How it deletes; vectors come first.
    pub(super) kind: Kind,
    /// The manifest it is in, counted within the index.
    pub(super) manifest: u32,
    /// The row in that manifest.
    pub(super) row: u32,
}

/// The delete files of a scan by what they are about.
#[derive(Debug, Default)]
pub(super) struct DeleteIndex {
    manifests: Vec<ListedManifest>,
    /// In order, once all are there.
    about: Vec<((Kind, u64), Indexed)>,
}

/// Where a delete file is.
#[derive(Debug, Clone, Copy)]
struct Indexed {
    sequence: i64,
    manifest: u32,
    row: u32,
}

/// A delete file, as it stands in its manifest.
#[derive(Debug)]
pub(super) struct Delete<'a> {
    /// Its manifest entry.
    pub(super) entry: Entry<'a>,
    /// How it deletes.
    pub(super) kind: Kind,
    /// Its spec.
    pub(super) spec_id: i32,
    /// Its partition, as it is written.
    pub(super) partition: String,
}

/// A data file, as far as deletes are concerned.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// Its manifest entry.
    pub(super) entry: Entry<'a>,
    /// Its data sequence number.
    pub(super) sequence: i64,
    /// Its spec.
    pub(super) spec_id: i32,
    /// Its partition, as it is written.
    pub(super) partition: &'a str,
}

impl DeleteIndex {
    /// Adds the entries of a manifest of delete files.
    pub(super) fn add(&mut self, manifest: &ListedManifest, layout: &Layout, entries: &Entries) {
        let number = u32::try_from(self.manifests.len()).unwrap_or(u32::MAX);
        self.manifests.push(manifest.clone());
        for entry in entries.iter().filter(Entry::is_live) {
            let kind = kind_of(&entry, layout);
            let key = match kind {
                Kind::Vector | Kind::PositionsOfOne => hash_of_path(only_file(&entry).unwrap_or_default()),
                Kind::Positions | Kind::Values => {
                    hash_of_partition(layout.spec_id, &layout.write(&layout.tuple(&entry)))
                }
                Kind::ValuesAnywhere => 0,
            };
            let row = u32::try_from(entry.row()).unwrap_or(u32::MAX);
            let sequence = entry.sequence_number(manifest);
            self.about.push(((kind, key), Indexed { sequence, manifest: number, row }));
        }
    }

    /// Ends the making of it.
    pub(super) fn sorted(mut self) -> Self {
        self.about.sort_unstable_by_key(|(key, _)| *key);
        self.about.shrink_to_fit();
        self
    }

    /// Bytes this takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        let each = size_of::<((Kind, u64), Indexed)>();
        self.manifests.iter().map(ListedManifest::weight).sum::<usize>() + self.about.len() * each
    }

    /// A manifest of the index.
    pub(super) fn manifest(&self, number: u32) -> Option<&ListedManifest> {
        self.manifests.get(number as usize)
    }

    /// The delete files that may apply to a data file.
    pub(super) fn candidates(&self, target: &Target<'_>) -> Vec<Candidate> {
        let path = hash_of_path(target.entry.path());
        let partition = hash_of_partition(target.spec_id, target.partition);
        let keys = [
            (Kind::Vector, path),
            (Kind::PositionsOfOne, path),
            (Kind::Positions, partition),
            (Kind::Values, partition),
            (Kind::ValuesAnywhere, 0),
        ];
        let mut found = Vec::new();
        for (kind, key) in keys {
            let first = match kind {
                Kind::Values | Kind::ValuesAnywhere => target.sequence.saturating_add(1),
                _ => target.sequence,
            };
            let start = self.about.partition_point(|(other, _)| *other < (kind, key));
            let known =
                self.about[start..].iter().take_while(|(other, _)| *other == (kind, key)).map(|(_, known)| known);
            let applying = known.filter(|known| known.sequence >= first);
            found.extend(applying.map(|known| Candidate { kind, manifest: known.manifest, row: known.row }));
        }
        found
    }
}

fn hash_of_path(path: &str) -> u64 {
    fnv1a_64(path.bytes())
}

fn hash_of_partition(spec_id: i32, partition: &str) -> u64 {
    fnv1a_64(spec_id.to_le_bytes().into_iter().chain(partition.bytes()))
}

fn kind_of(entry: &Entry<'_>, layout: &Layout) -> Kind {
    match entry.content() {
        Content::EqualityDeletes if layout.is_unpartitioned() => Kind::ValuesAnywhere,
        Content::EqualityDeletes => Kind::Values,
        _ if entry.content_range().is_some() => Kind::Vector,
        _ if only_file(entry).is_some() => Kind::PositionsOfOne,
        _ => Kind::Positions,
    }
}

/// The one data file that all of the positions are in: it is said, or both bounds of the path are it.
pub(super) fn only_file<'a>(entry: &Entry<'a>) -> Option<&'a str> {
    entry.referenced_data_file().or_else(|| {
        let lower = entry.bound(Side::Lower, DELETED_PATH)?;
        let same = entry.bound(Side::Upper, DELETED_PATH) == Some(lower);
        same.then(|| std::str::from_utf8(lower).ok()).flatten()
    })
}

impl Delete<'_> {
    /// Whether it applies to a data file that it is a candidate for.
    pub(super) fn applies(&self, target: &Target<'_>, schemas: &[Arc<Schema>]) -> bool {
        let of_this = || only_file(&self.entry) == Some(target.entry.path());
        match self.kind {
            Kind::Vector | Kind::PositionsOfOne => of_this(),
            Kind::Positions => self.same_partition(target) && may_hold_path(&self.entry, target.entry.path()),
            Kind::Values => self.same_partition(target) && may_share_values(&self.entry, target, schemas),
            Kind::ValuesAnywhere => may_share_values(&self.entry, target, schemas),
        }
    }

    fn same_partition(&self, target: &Target<'_>) -> bool {
        self.spec_id == target.spec_id && self.partition == target.partition
    }
}

/// Whether a path lies between the bounds of the paths in a position delete file.
fn may_hold_path(delete: &Entry<'_>, path: &str) -> bool {
    let lower = delete.bound(Side::Lower, DELETED_PATH);
    let upper = delete.bound(Side::Upper, DELETED_PATH);
    lower.is_none_or(|lower| lower <= path.as_bytes()) && upper.is_none_or(|upper| path.as_bytes() <= upper)
}

/// Whether a row of the data file can have the values of a row of an equality delete file.
fn may_share_values(delete: &Entry<'_>, target: &Target<'_>, schemas: &[Arc<Schema>]) -> bool {
    delete.equality_ids().unwrap_or_default().iter().all(|id| {
        let Some(kind) = type_of(schemas, *id) else { return true };
        let (deleted, there) = (metrics::known(delete, *id, &kind), metrics::known(&target.entry, *id, &kind));
        let both = |a: Share, b: Share| a != Share::None && b != Share::None;
        let only_others = |nulls: Share, nans: Share| nulls == Share::All || nans == Share::All;
        both(deleted.nulls, there.nulls)
            || both(deleted.nans, there.nans)
            || !(only_others(deleted.nulls, deleted.nans)
                || only_others(there.nulls, there.nans)
                || deleted.range.misses(&there.range))
    })
}

/// The type of a column in the newest schema that has it.
fn type_of(schemas: &[Arc<Schema>], id: i32) -> Option<Primitive> {
    let mut found =
        schemas.iter().rev().filter_map(|schema| schema.by_id().get(&id).map(|place| place.field.kind.clone()));
    found.next()?.primitive().cloned()
}
