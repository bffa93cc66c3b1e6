//! One part of a scan, planned.
//!
//! The walk goes through the manifests of its part in order, leaves out those whose summaries rule them out, and within the
//! others the files whose partition or statistics do. It stops when it has found or looked at enough; what is left of the
//! part becomes further tasks, so that the memory and time of one answer are bounded, whatever the table's size. Time
//! grows with the manifests that may match.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::deletes::{Candidate, Delete, DeleteIndex, Kind, Target};
use super::files;
use super::filter::{Filter, Leaf};
use super::manifests::Manifests;
use super::metrics;
use super::partition::Layout;
use super::range::Verdict;
use super::task::{Place, Task};
use super::{Bound, Source};
use crate::error::Result;
use crate::limits;
use crate::snapshot::entries::{Entries, Entry, Status};
use crate::snapshot::list::ListedManifest;

/// What a part of a scan came to.
#[derive(Debug, Default)]
pub struct ScanTasks {
    /// `file-scan-tasks`, as JSON.
    pub file_scan_tasks: Vec<u8>,
    /// `delete-files`, as JSON; empty where there are none.
    pub delete_files: Vec<u8>,
    /// The tasks for the rest.
    pub plan_tasks: Vec<String>,
}

impl ScanTasks {
    /// No files, and none to come.
    pub(super) fn none() -> Self {
        Self { file_scan_tasks: b"[]".to_vec(), ..Self::default() }
    }
}

/// Finds the files of a part of a scan.
pub(super) struct Walk<'a> {
    pub(super) manifests: &'a Manifests,
    pub(super) bound: &'a Bound,
    pub(super) task: &'a Task,
    /// Rows after which a caller has enough.
    pub(super) enough_rows: Option<i64>,
}

/// Entries of a manifest that are looked through at once without telling the runtime: under a millisecond.
const LONG_LOOK: usize = 500;

/// A manifest at hand.
struct Opened<'a> {
    /// Where to begin.
    place: Place,
    source: &'a Source,
    manifest: &'a ListedManifest,
    layout: &'a Layout,
    entries: Arc<Entries>,
}

/// Bytes, about, of one column's statistics.
const STATS_BYTES: usize = 200;

/// How far a walk has come.
#[derive(Default)]
struct SoFar {
    /// Tests that were made, at least one for each entry.
    tests: usize,
    /// Bytes, about, of the answer.
    bytes: usize,
    /// Rows that match for certain.
    sure_rows: i64,
    parts: HashMap<(i32, String), Part>,
}

impl SoFar {
    fn is_full(&self, files: usize) -> bool {
        files >= limits::PLAN_FILES_PER_ANSWER
            || self.tests >= limits::PLAN_TESTS_PER_ANSWER
            || self.bytes >= limits::PLAN_BYTES_PER_ANSWER
    }
}

/// The deletes that may apply to the files of an answer.
struct Deletes {
    index: Arc<DeleteIndex>,
    /// With the file that each may apply to; vectors first, then manifest by manifest.
    candidates: Vec<(Candidate, usize)>,
    /// The first file that is left for another answer, because the deletes of those before it are many.
    full_at: Option<Place>,
}

/// What came of looking through a manifest.
enum Look {
    /// All was looked at.
    Through,
    /// The answer is full; this comes next.
    Full(Place),
    /// The caller has enough rows.
    Enough,
}

/// A file that may match.
struct Found {
    place: Place,
    entries: Arc<Entries>,
    part: Part,
    deletes: Vec<u32>,
    vector: bool,
}

/// What the files of one partition have in common.
#[derive(Clone)]
struct Part {
    /// The partition, as it is written.
    text: Arc<str>,
    /// What is left of the filter.
    residual: Arc<Filter>,
    residual_text: Arc<str>,
}

impl Walk<'_> {
    /// Plans the part.
    pub(super) async fn run(&self) -> Result<ScanTasks> {
        let mut found = Vec::new();
        let mut rest = self.find(&mut found).await?;
        let delete_files = match self.deletes_of(&mut found).await? {
            Some(deletes) => {
                rest = deletes.full_at.or(rest);
                self.attach(&mut found, &deletes).await?
            }
            None => Vec::new(),
        };
        let plan_tasks = match rest {
            Some(next) => self.split(next)?,
            None => Vec::new(),
        };
        let file_scan_tasks = tokio::task::block_in_place(|| self.write(&found));
        Ok(ScanTasks { file_scan_tasks, delete_files, plan_tasks })
    }

    /// The places of the part from `from` on whose manifests may hold matching files.
    fn kept(&self, from: Place) -> impl Iterator<Item = Place> {
        let to = self.task.to.unwrap_or(Place(usize::MAX, 0, 0));
        let all = self.bound.sources.iter().enumerate().flat_map(|(at, source)| {
            source.manifests.iter().enumerate().map(move |(number, manifest)| (Place(at, number, 0), manifest))
        });
        all.filter(move |(place, ..)| (place.0, place.1) >= (from.0, from.1) && *place < to)
            .filter(|(_, manifest)| {
                !manifest.deletes && manifest.live_files != Some(0) && self.bound.may_match(manifest)
            })
            .map(move |(place, ..)| place.max(from))
    }

    async fn open(&self, place: Place) -> Result<Opened<'_>> {
        let source = &self.bound.sources[place.0];
        let manifest = &source.manifests[place.1];
        let layout = self.bound.layout(manifest.spec_id)?;
        Ok(Opened { place, source, manifest, layout, entries: self.manifests.entries(&manifest.path).await? })
    }

    /// Collects files until there are enough; says where to go on, if there is more.
    async fn find(&self, found: &mut Vec<Found>) -> Result<Option<Place>> {
        let mut so_far = SoFar::default();
        let mut held = 0;
        let opened = stream::iter(self.kept(self.task.from)).map(|place| self.open(place));
        let mut opened = opened.buffered(limits::PLAN_READS_AHEAD);
        while let Some(opened) = opened.try_next().await? {
            let before = found.len();
            let mut look = || self.look(&opened, found, &mut so_far);
            // Long looks would keep others waiting.
            let seen = if opened.entries.len() > LONG_LOOK { tokio::task::block_in_place(look) } else { look() };
            match seen {
                Look::Through if found.len() > before => {
                    held += opened.entries.weight();
                    if held > limits::PLAN_HELD_BYTES {
                        return Ok(Some(Place(opened.place.0, opened.place.1 + 1, 0)));
                    }
                }
                Look::Through => {}
                Look::Full(next) => return Ok(Some(next)),
                Look::Enough => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Looks through the entries of a manifest.
    fn look(&self, opened: &Opened<'_>, found: &mut Vec<Found>, so_far: &mut SoFar) -> Look {
        let Opened { place, entries, .. } = opened;
        let last = self.task.to.filter(|to| (to.0, to.1) == (place.0, place.1)).map_or(entries.len(), |to| to.2);
        for row in place.2..last.min(entries.len()) {
            if so_far.is_full(found.len()) {
                return Look::Full(Place(place.0, place.1, row));
            }
            so_far.tests += 1 + self.bound.tests;
            let entry = entries.entry(row);
            let Some(part) = self.matching(&entry, opened, &mut so_far.parts) else { continue };
            if matches!(*part.residual, Filter::Constant(true)) && self.bound.deletes.is_empty() {
                so_far.sure_rows = so_far.sure_rows.saturating_add(entry.record_count());
            }
            so_far.bytes +=
                part.residual_text.len() + entry.path().len() + 500 + self.task.scan.stats.len() * STATS_BYTES;
            let place = Place(place.0, place.1, row);
            found.push(Found { place, entries: Arc::clone(entries), part, deletes: Vec::new(), vector: false });
            if self.enough_rows.is_some_and(|enough| so_far.sure_rows >= enough) {
                return Look::Enough;
            }
        }
        Look::Through
    }

    /// What is left of the filter for a file; `None` where the file cannot match.
    fn matching(
        &self,
        entry: &Entry<'_>,
        opened: &Opened<'_>,
        parts: &mut HashMap<(i32, String), Part>,
    ) -> Option<Part> {
        let Opened { source, manifest, layout, .. } = opened;
        let wanted = match source.appended_by {
            Some(id) => entry.status() == Status::Added && entry.snapshot_id(manifest) == Some(id),
            None => entry.is_live(),
        };
        if !wanted {
            return None;
        }
        let tuple = layout.tuple(entry);
        let key = (layout.spec_id, layout.write(&tuple));
        let part = match parts.get(&key).filter(|_| tuple.is_known()) {
            Some(known) => known.clone(),
            None => {
                let residual = self.bound.filter.reduced(&|leaf: &Leaf| layout.judge_tuple(leaf, &tuple));
                let residual_text = residual.to_json().to_string().into();
                let part = Part { text: key.1.as_str().into(), residual: Arc::new(residual), residual_text };
                if parts.len() >= limits::PLAN_FILES_PER_ANSWER {
                    parts.clear();
                }
                if tuple.is_known() {
                    parts.insert(key, part.clone());
                }
                part
            }
        };
        let filtered = !matches!(self.bound.filter, Filter::Constant(true));
        if filtered && entry.record_count() == 0 {
            return None;
        }
        let verdict = part.residual.judge(&|leaf: &Leaf| metrics::judge(leaf, entry));
        (verdict != Verdict::Never).then_some(part)
    }

    /// Looks for the deletes of the files; files whose deletes are too many for one answer are taken off it.
    async fn deletes_of(&self, found: &mut Vec<Found>) -> Result<Option<Deletes>> {
        if self.bound.deletes.is_empty() {
            return Ok(None);
        }
        let index = self.manifests.deletes(&self.bound.deletes_key, self.index()).await?;
        let mut candidates: Vec<(Candidate, usize)> = Vec::new();
        let mut full_at = None;
        for (at, file) in found.iter().enumerate() {
            if at > 0 && candidates.len() >= limits::PLAN_DELETES_PER_ANSWER {
                full_at = Some(file.place);
                break;
            }
            candidates.extend(index.candidates(&self.target(file)).into_iter().map(|candidate| (candidate, at)));
        }
        if let Some(full_at) = full_at {
            found.retain(|file| file.place < full_at);
        }
        // A file that has a vector has no other positions, so vectors come first.
        tokio::task::block_in_place(|| candidates.sort_unstable());
        Ok(Some(Deletes { index, candidates, full_at }))
    }

    /// Attaches to each file the deletes that apply to it, one manifest at a time in memory; returns `delete-files`.
    async fn attach(&self, found: &mut [Found], deletes: &Deletes) -> Result<Vec<u8>> {
        let Deletes { index, candidates, .. } = deletes;
        let (mut written, mut number) = (vec![b'['], 0_u32);
        for of_manifest in candidates.chunk_by(|(a, _), (b, _)| (a.kind, a.manifest) == (b.kind, b.manifest)) {
            let Some(manifest) = of_manifest.first().and_then(|(first, _)| index.manifest(first.manifest)) else {
                continue;
            };
            let entries = self.manifests.entries(&manifest.path).await?;
            let layout = self.bound.layout(manifest.spec_id)?;
            tokio::task::block_in_place(|| {
                for of_file in of_manifest.chunk_by(|(a, _), (b, _)| a == b) {
                    let Some((candidate, _)) = of_file.first() else { continue };
                    let entry = entries.entry(candidate.row as usize);
                    let partition = layout.write(&layout.tuple(&entry));
                    let delete = Delete { entry, kind: candidate.kind, spec_id: manifest.spec_id, partition };
                    let mut used = false;
                    for (_, at) in of_file {
                        used |= self.attached(&delete, &mut found[*at], number);
                    }
                    if used {
                        if number > 0 {
                            written.push(b',');
                        }
                        files::write_delete(&mut written, &entry, manifest.spec_id, &delete.partition);
                        number += 1;
                    }
                }
            });
        }
        written.push(b']');
        Ok(if number == 0 { Vec::new() } else { written })
    }

    fn attached(&self, delete: &Delete<'_>, file: &mut Found, number: u32) -> bool {
        let positions = matches!(delete.kind, Kind::PositionsOfOne | Kind::Positions);
        if file.vector && positions || !delete.applies(&self.target(file), &self.bound.schemas) {
            return false;
        }
        file.vector |= delete.kind == Kind::Vector;
        file.deletes.push(number);
        true
    }

    fn manifest(&self, file: &Found) -> &ListedManifest {
        &self.bound.sources[file.place.0].manifests[file.place.1]
    }

    fn target<'f>(&self, file: &'f Found) -> Target<'f> {
        let (entry, manifest) = (file.entry(), self.manifest(file));
        let sequence = entry.sequence_number(manifest);
        Target { entry, sequence, spec_id: manifest.spec_id, partition: &file.part.text }
    }

    async fn index(&self) -> Result<DeleteIndex> {
        let mut index = DeleteIndex::default();
        for manifest in &self.bound.deletes {
            let entries = self.manifests.entries(&manifest.path).await?;
            let layout = self.bound.layout(manifest.spec_id)?;
            tokio::task::block_in_place(|| index.add(manifest, layout, &entries));
        }
        Ok(index.sorted())
    }

    fn write(&self, found: &[Found]) -> Vec<u8> {
        let mut out = vec![b'['];
        for (at, file) in found.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"{\"data-file\":" } else { b",{\"data-file\":" });
            files::write_data(&mut out, &file.entry(), self.manifest(file), &file.part.text, &self.task.scan.stats);
            if !file.deletes.is_empty() {
                let numbers: Vec<String> = file.deletes.iter().map(u32::to_string).collect();
                out.extend_from_slice(format!(",\"delete-file-references\":[{}]", numbers.join(",")).as_bytes());
            }
            out.extend_from_slice(b",\"residual-filter\":");
            out.extend_from_slice(file.part.residual_text.as_bytes());
            out.push(b'}');
        }
        out.push(b']');
        out
    }

    /// The tasks for what is left from `next` on: several, which can be planned at the same time, but no more text than a
    /// client should have to take.
    fn split(&self, next: Place) -> Result<Vec<String>> {
        let places: Vec<Place> = self.kept(next).collect();
        let one = self.task.part(next, self.task.to).to_text()?;
        let most = (limits::PLAN_TASKS_BYTES / one.len()).clamp(1, limits::PLAN_TASKS_MAX);
        let each = places.len().div_ceil(most).max(1);
        let starts: Vec<Place> = places.iter().step_by(each).copied().collect();
        let ends = starts.iter().skip(1).map(|place| Some(*place)).chain([self.task.to]);
        starts.iter().zip(ends).map(|(from, to)| self.task.part(*from, to).to_text()).collect()
    }
}

impl Found {
    fn entry(&self) -> Entry<'_> {
        self.entries.entry(self.place.2)
    }
}
