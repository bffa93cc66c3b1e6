//! What an append takes away: snapshots that the table can do without, and the files that only they reached.
//!
//! It costs no commit of its own. Which snapshots go is decided by [`thinning`](crate::snapshot::thinning); here is found
//! out what goes with them. Along the line of snapshots that led to the present one, a manifest is listed by neighbours or
//! by nobody. So what a run of snapshots lists, and neither the one before it nor the one behind it does, is reached by no
//! other of the line; the lists of those beside the line are looked through whole. No data file goes: where something else
//! than an append made a snapshot, it and the one before it stay, which may be the last that reaches what was taken away
//! then. Where anything cannot be read, it stays.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::try_join_all;
use iceberg::spec::{FormatVersion, ManifestFile};

use super::flush::Append;
use crate::catalog::metadata::TableMetadata;
use crate::catalog::metadata::snapshot::{MAIN, RefKind, Snapshot};
use crate::catalog::next_snapshot::format_version;
use crate::catalog::properties;
use crate::error::Result;
use crate::limits;
use crate::snapshot::thinning::{Bounds, Moment, surplus};

const MAX_COUNT: &str = "floeberg.maintenance.snapshots.max-count";

/// What goes.
#[derive(Debug, Default)]
pub(super) struct Thinned {
    /// Snapshots.
    pub(super) snapshots: Vec<i64>,
    /// Files that nothing else reaches.
    pub(super) doomed: Vec<String>,
}

/// How many snapshots a table may have; `None` where they are nobody's business here.
fn most(metadata: &TableMetadata) -> Option<usize> {
    let own = &metadata.properties;
    let ours = own.get("floeberg.created-by").is_some_and(|by| by == "ingest");
    if !(ours || own.contains_key(MAX_COUNT)) || !properties::flag(own, "gc.enabled", true) {
        return None;
    }
    usize::try_from(properties::whole(own, MAX_COUNT, limits::SNAPSHOTS_MAX)).ok()
}

/// The snapshots that led to the present one, oldest first, and those beside them. Where a snapshot's parent is gone, the
/// one before it is the next older of them.
fn line(metadata: &TableMetadata) -> (Vec<&Arc<Snapshot>>, Vec<&Arc<Snapshot>>) {
    let places: HashMap<i64, usize> =
        metadata.snapshots.iter().enumerate().map(|(at, snapshot)| (snapshot.id, at)).collect();
    let branches = metadata.refs.iter().filter(|(name, reference)| *name != MAIN && reference.kind == RefKind::Branch);
    let on_branches: HashSet<usize> = branches
        .flat_map(|(_, reference)| {
            std::iter::successors(places.get(&reference.snapshot_id).copied(), |at| {
                places.get(&metadata.snapshots[*at].parent?).copied()
            })
        })
        .collect();
    let mut on_line = vec![false; metadata.snapshots.len()];
    let mut next = metadata.current_snapshot_id.and_then(|id| places.get(&id).copied());
    while let Some(at) = next {
        on_line[at] = true;
        let parent = metadata.snapshots[at].parent.and_then(|parent| places.get(&parent).copied());
        let older = || (0..at).rev().find(|older| !on_branches.contains(older));
        next = parent.or_else(older).filter(|older| *older < at);
    }
    let (line, beside): (Vec<_>, Vec<_>) = metadata.snapshots.iter().zip(on_line).partition(|(_, on_line)| *on_line);
    let plain = |pairs: Vec<(_, bool)>| pairs.into_iter().map(|(snapshot, _)| snapshot).collect();
    (plain(line), plain(beside))
}

/// What a branch or tag points at, and what a retention keeps that somebody has set on the table or on a branch.
fn protected(metadata: &TableMetadata, now_ms: i64) -> HashSet<i64> {
    let own = &metadata.properties;
    let said = |key: &str| own.contains_key(key).then(|| properties::whole(own, key, 0));
    let (age, count) = (said("history.expire.max-snapshot-age-ms"), said("history.expire.min-snapshots-to-keep"));
    let by_id: HashMap<i64, &Arc<Snapshot>> =
        metadata.snapshots.iter().map(|snapshot| (snapshot.id, snapshot)).collect();
    let mut protected = HashSet::new();
    for reference in metadata.refs.values() {
        protected.insert(reference.snapshot_id);
        let age = reference.max_snapshot_age_ms.or(age);
        let count = reference.min_snapshots_to_keep.map(i64::from).or(count).unwrap_or(0);
        if reference.kind == RefKind::Tag || (age.is_none() && count == 0) {
            continue;
        }
        let head = by_id.get(&reference.snapshot_id).copied();
        let ancestors = std::iter::successors(head, |at| by_id.get(&at.parent?).copied());
        for (back, ancestor) in (1_i64..).zip(ancestors) {
            if back <= count || age.is_some_and(|age| ancestor.timestamp_ms >= now_ms.saturating_sub(age)) {
                protected.insert(ancestor.id);
            }
        }
    }
    protected
}

/// Neighbours that go together, and those that stay around them.
struct Run<'a> {
    before: Option<&'a Arc<Snapshot>>,
    going: Vec<&'a Arc<Snapshot>>,
    /// `None`: the snapshot that is being made.
    behind: Option<&'a Arc<Snapshot>>,
}

fn runs<'a>(line: &[&'a Arc<Snapshot>], going: &HashSet<i64>) -> Vec<Run<'a>> {
    let mut runs: Vec<Run<'a>> = Vec::new();
    let mut before = None;
    let mut open: Option<Run<'a>> = None;
    for snapshot in line {
        if going.contains(&snapshot.id) {
            open.get_or_insert_with(|| Run { before, going: Vec::new(), behind: None }).going.push(snapshot);
        } else {
            runs.extend(open.take().map(|run| Run { behind: Some(snapshot), ..run }));
            before = Some(*snapshot);
        }
    }
    runs.extend(open);
    runs
}

/// Those that something else than an append made, and those that they came after.
fn around_changes(line: &[&Arc<Snapshot>]) -> Vec<i64> {
    let changes = line.windows(2).filter(|pair| !is_append(pair[1]));
    changes.flat_map(|pair| [pair[0].id, pair[1].id]).collect()
}

fn is_append(snapshot: &Snapshot) -> bool {
    snapshot.summary().is_ok_and(|summary| summary.get("operation").is_some_and(|operation| operation == "append"))
}

impl Append<'_> {
    /// What goes with the snapshot that is being made at `now_ms` and lists these manifests.
    pub(super) async fn thinned(&self, metadata: &TableMetadata, listed: &[ManifestFile], now_ms: i64) -> Thinned {
        match self.try_thinned(metadata, listed, now_ms).await {
            Ok(thinned) => thinned,
            Err(error) => {
                tracing::warn!(table = %self.target.name, error = error.chain(), "old snapshots stay: what they reach cannot be read");
                Thinned::default()
            }
        }
    }

    async fn try_thinned(&self, metadata: &TableMetadata, listed: &[ManifestFile], now_ms: i64) -> Result<Thinned> {
        let Some(most) = most(metadata) else { return Ok(Thinned::default()) };
        let (line, beside) = line(metadata);
        if beside.len() > limits::SNAPSHOTS_BESIDE_MAX {
            return Ok(Thinned::default());
        }
        let mut moments: Vec<Moment> =
            line.iter().map(|snapshot| Moment { id: snapshot.id, at_ms: snapshot.timestamp_ms }).collect();
        moments.push(Moment { id: -1, at_ms: now_ms });
        let mut bounds = Bounds { most, others: beside.len(), protected: protected(metadata, now_ms) };
        if surplus(&moments, &bounds, now_ms).is_empty() {
            return Ok(Thinned::default());
        }
        // Read only now: it takes the summary of every snapshot.
        bounds.protected.extend(around_changes(&line));
        let going: HashSet<i64> = surplus(&moments, &bounds, now_ms).into_iter().collect();
        let version = format_version(metadata);
        let mut reached: HashSet<String> = listed.iter().map(|manifest| manifest.manifest_path.clone()).collect();
        reached.extend(self.reached(&beside, version).await?);
        let mut thinned = Thinned::default();
        for run in runs(&line, &going) {
            self.take_away(&run, &reached, metadata, &mut thinned).await?;
        }
        Ok(thinned)
    }

    async fn take_away(
        &self,
        run: &Run<'_>,
        reached: &HashSet<String>,
        metadata: &TableMetadata,
        thinned: &mut Thinned,
    ) -> Result<()> {
        let version = format_version(metadata);
        let around: Vec<&Arc<Snapshot>> = run.before.into_iter().chain(run.behind).collect();
        let around = self.reached(&around, version).await?;
        for manifest in self.reached(&run.going, version).await? {
            if !around.contains(&manifest) && !reached.contains(&manifest) {
                thinned.doomed.push(manifest);
            }
        }
        for snapshot in &run.going {
            thinned.snapshots.push(snapshot.id);
            thinned.doomed.extend(snapshot.manifest_list.clone());
            let of_it = metadata.statistics.iter().chain(&metadata.partition_statistics);
            thinned.doomed.extend(of_it.filter(|file| file.snapshot_id == snapshot.id).map(|file| file.path.clone()));
        }
        Ok(())
    }

    /// The manifests that any of these snapshots list.
    async fn reached(&self, snapshots: &[&Arc<Snapshot>], version: FormatVersion) -> Result<HashSet<String>> {
        let mut reached = HashSet::new();
        for some in snapshots.chunks(limits::LAKE_CONCURRENCY) {
            let lists = some.iter().map(|snapshot| self.manifests_of(snapshot.manifest_list.as_deref(), version));
            let manifests = try_join_all(lists).await?.into_iter().flatten();
            reached.extend(manifests.map(|manifest| manifest.manifest_path));
        }
        Ok(reached)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn metadata(snapshots: &[(i64, Option<i64>)], refs: Value) -> TableMetadata {
        let snapshots: Vec<Value> = snapshots
            .iter()
            .map(|(id, parent)| {
                let mut snapshot = json!({"snapshot-id": id, "sequence-number": id, "timestamp-ms": id * 1_000,
                    "manifest-list": format!("l{id}"), "summary": {"operation": "append"}});
                if let Some(parent) = parent {
                    snapshot["parent-snapshot-id"] = json!(parent);
                }
                snapshot
            })
            .collect();
        let text = json!({
            "format-version": 2, "table-uuid": "f79c3e09-677c-4bbd-a479-3f349cb785e7", "location": "file:///t",
            "last-sequence-number": 99, "last-updated-ms": 1, "last-column-id": 1, "current-schema-id": 0,
            "schemas": [{"type": "struct", "schema-id": 0, "fields": [{"id": 1, "name": "a", "required": false, "type": "int"}]}],
            "default-spec-id": 0, "partition-specs": [{"spec-id": 0, "fields": []}], "last-partition-id": 999,
            "default-sort-order-id": 0, "sort-orders": [{"order-id": 0, "fields": []}],
            "current-snapshot-id": refs["main"]["snapshot-id"], "refs": refs, "snapshots": snapshots,
        });
        TableMetadata::parse(&text.to_string()).expect("metadata")
    }

    fn ids(snapshots: &[&Arc<Snapshot>]) -> Vec<i64> {
        snapshots.iter().map(|snapshot| snapshot.id).collect()
    }

    #[test]
    fn the_line_jumps_over_what_is_gone_and_past_what_is_beside_it() {
        let branch = |id: i64| json!({"snapshot-id": id, "type": "branch"});
        // 3 was thinned away; 5 and 6 are another branch's; 8 was rolled back.
        let table = metadata(
            &[
                (1, None),
                (2, Some(1)),
                (4, Some(3)),
                (5, Some(2)),
                (6, Some(5)),
                (7, Some(4)),
                (8, Some(7)),
                (9, Some(7)),
            ],
            json!({"main": branch(9), "other": branch(6)}),
        );
        let (line, beside) = line(&table);
        assert_eq!((ids(&line), ids(&beside)), (vec![4, 7, 9], vec![1, 2, 5, 6, 8]));
        let alone = metadata(&[(1, None), (2, Some(1)), (4, Some(3)), (7, Some(4))], json!({"main": branch(7)}));
        assert_eq!(ids(&super::line(&alone).0), [1, 2, 4, 7]);
    }

    #[test]
    fn runs_know_their_neighbours() {
        let chain: Vec<(i64, Option<i64>)> = (1..=7).map(|id| (id, (id > 1).then_some(id - 1))).collect();
        let table = metadata(&chain, json!({"main": {"snapshot-id": 7, "type": "branch"}}));
        let (line, _) = line(&table);
        let found = runs(&line, &HashSet::from([1, 2, 4, 6, 7]));
        let told: Vec<(Option<i64>, Vec<i64>, Option<i64>)> = found
            .iter()
            .map(|run| (run.before.map(|one| one.id), ids(&run.going), run.behind.map(|one| one.id)))
            .collect();
        assert_eq!(told, [(None, vec![1, 2], Some(3)), (Some(3), vec![4], Some(5)), (Some(5), vec![6, 7], None)]);
    }

    #[test]
    fn only_a_retention_that_somebody_set_protects() {
        let chain: Vec<(i64, Option<i64>)> = (1..=9).map(|id| (id, (id > 1).then_some(id - 1))).collect();
        let mut refs = json!({"main": {"snapshot-id": 9, "type": "branch"}, "t": {"snapshot-id": 2, "type": "tag"}});
        let told = |refs: &Value, properties: &[(&str, &str)]| {
            let mut table = metadata(&chain, refs.clone());
            table.properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let mut ids: Vec<i64> = protected(&table, 10_000).into_iter().collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(told(&refs, &[]), [2, 9]);
        assert_eq!(told(&refs, &[("history.expire.min-snapshots-to-keep", "3")]), [2, 7, 8, 9]);
        assert_eq!(told(&refs, &[("history.expire.max-snapshot-age-ms", "5000")]), [2, 5, 6, 7, 8, 9]);
        refs["main"]["min-snapshots-to-keep"] = json!(2);
        assert_eq!(told(&refs, &[]), [2, 8, 9]);
    }
}
