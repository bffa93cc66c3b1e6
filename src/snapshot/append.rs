//! Which manifests an append's snapshot lists, and which of them are merged (`commit.manifest.*`).
//!
//! A commit adds one manifest. When enough have gathered, those of one spec are packed into groups of about the target
//! size, newest first, and each group becomes one manifest. The group with the newest waits until it has enough members,
//! and what in it is larger than everything newer together is left as it is: so a file's entry is written again only when
//! as much has come since, a number of times that grows with the logarithm of the table.

use iceberg::spec::{ManifestContentType, ManifestFile};

/// When manifests are merged.
#[derive(Debug, Clone, Copy)]
pub struct MergePolicy {
    /// `commit.manifest-merge.enabled`
    pub enabled: bool,
    /// `commit.manifest.target-size-bytes`
    pub target_bytes: i64,
    /// `commit.manifest.min-count-to-merge`
    pub min_count: usize,
}

/// What becomes of the manifests of a snapshot.
#[derive(Debug, Default)]
pub struct MergePlan {
    /// Listed as they are.
    pub kept: Vec<ManifestFile>,
    /// Each group becomes one manifest of its spec.
    pub merged: Vec<(i32, Vec<ManifestFile>)>,
}

/// Plans for manifests in the order of a list, newest first.
pub fn plan_merge(manifests: Vec<ManifestFile>, policy: MergePolicy) -> MergePlan {
    let mut plan = MergePlan::default();
    if !policy.enabled {
        plan.kept = manifests;
        return plan;
    }
    let newest = manifests.first().map(|manifest| manifest.manifest_path.clone());
    let (data, deletes): (Vec<_>, Vec<_>) =
        manifests.into_iter().partition(|manifest| manifest.content == ManifestContentType::Data);
    let mut specs: Vec<i32> = data.iter().map(|manifest| manifest.partition_spec_id).collect();
    specs.sort_unstable();
    specs.dedup();
    for spec in specs {
        let own = data.iter().filter(|manifest| manifest.partition_spec_id == spec).cloned().collect();
        for group in pack(own, policy.target_bytes) {
            let has_newest = group.iter().any(|manifest| Some(&manifest.manifest_path) == newest.as_ref());
            let waits = has_newest && group.len() < policy.min_count;
            let (merged, left) = if waits { (Vec::new(), group) } else { comparable(group) };
            match merged.len() {
                0 | 1 => plan.kept.extend(merged),
                _ => plan.merged.push((spec, merged)),
            }
            plan.kept.extend(left);
        }
    }
    plan.kept.extend(deletes);
    plan
}

/// Parts off the oldest that are each larger than everything newer together.
fn comparable(mut group: Vec<ManifestFile>) -> (Vec<ManifestFile>, Vec<ManifestFile>) {
    let mut newer: i64 = group.iter().map(|manifest| manifest.manifest_length).sum();
    let mut count = group.len();
    while let Some(oldest) = group[..count].last() {
        newer -= oldest.manifest_length;
        if oldest.manifest_length <= newer {
            break;
        }
        count -= 1;
    }
    let left = group.split_off(count);
    (group, left)
}

/// Groups of neighbours whose sizes add up to at most the target, filled from the oldest so that the newest group is the
/// one left short.
fn pack(manifests: Vec<ManifestFile>, target_bytes: i64) -> Vec<Vec<ManifestFile>> {
    let mut groups: Vec<Vec<ManifestFile>> = Vec::new();
    let mut size = 0;
    for manifest in manifests.into_iter().rev() {
        let length = manifest.manifest_length;
        match groups.last_mut() {
            Some(group) if size + length <= target_bytes => {
                size += length;
                group.insert(0, manifest);
            }
            _ => {
                size = length;
                groups.push(vec![manifest]);
            }
        }
    }
    groups.reverse();
    groups
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A manifest that adds one file.
    pub(crate) fn manifest(name: usize, bytes: i64, spec: i32) -> ManifestFile {
        ManifestFile {
            manifest_path: name.to_string(),
            manifest_length: bytes,
            partition_spec_id: spec,
            content: ManifestContentType::Data,
            sequence_number: 1,
            min_sequence_number: 1,
            added_snapshot_id: 1,
            added_files_count: Some(1),
            existing_files_count: Some(0),
            deleted_files_count: Some(0),
            added_rows_count: Some(1),
            existing_rows_count: Some(0),
            deleted_rows_count: Some(0),
            partitions: None,
            key_metadata: None,
            first_row_id: None,
        }
    }

    const POLICY: MergePolicy = MergePolicy { enabled: true, target_bytes: 100, min_count: 4 };

    fn shape(plan: &MergePlan) -> (usize, Vec<usize>) {
        (plan.kept.len(), plan.merged.iter().map(|(_, group)| group.len()).collect())
    }

    #[test]
    fn few_manifests_wait_and_enough_are_merged() {
        let few = (0..3).map(|name| manifest(name, 10, 0)).collect();
        assert_eq!(shape(&plan_merge(few, POLICY)), (3, vec![]));
        let enough = (0..4).map(|name| manifest(name, 10, 0)).collect();
        assert_eq!(shape(&plan_merge(enough, POLICY)), (0, vec![4]));
        let off = MergePolicy { enabled: false, ..POLICY };
        assert_eq!(shape(&plan_merge((0..9).map(|name| manifest(name, 10, 0)).collect(), off)), (9, vec![]));
    }

    #[test]
    fn an_entry_is_written_again_a_few_times_only() {
        let policy = MergePolicy { enabled: true, target_bytes: i64::MAX, min_count: 10 };
        let (mut listed, mut written) = (Vec::new(), 0);
        for commit in 0..100_000 {
            listed.insert(0, manifest(commit, 1, 0));
            let plan = plan_merge(listed, policy);
            listed = plan.kept;
            for (_, group) in plan.merged {
                let bytes: i64 = group.iter().map(|manifest| manifest.manifest_length).sum();
                written += bytes;
                listed.insert(0, manifest(commit + 1_000_000, bytes, 0));
            }
        }
        assert_eq!(listed.iter().map(|manifest| manifest.manifest_length).sum::<i64>(), 100_000);
        assert!(listed.len() < 10 + 17, "{}", listed.len());
        assert!(written < 17 * 100_000, "{written}");
    }

    #[test]
    fn large_ones_are_left_alone_and_specs_are_not_mixed() {
        let mut all: Vec<_> = (0..5).map(|name| manifest(name, 10, 0)).collect();
        all.push(manifest(5, 99, 0));
        assert_eq!(shape(&plan_merge(all, POLICY)), (1, vec![5]), "the full one stays, the small ones are merged");
        let mixed = (0..6).map(|name| manifest(name, 10, i32::from(name % 2 == 1))).collect();
        assert_eq!(shape(&plan_merge(mixed, POLICY)), (3, vec![3]), "only the group with the newest waits");
    }
}
