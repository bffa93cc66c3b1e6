//! The summary of an append: what it added, and the table's totals after it.

use std::collections::HashSet;

use iceberg::spec::DataFile;
use indexmap::IndexMap;

/// What a summary tells the totals of, under `total-`.
pub(super) const TOTALS: [&str; 6] =
    ["records", "files-size", "data-files", "delete-files", "position-deletes", "equality-deletes"];

/// The summary of a snapshot that adds `files` to one whose summary is `parent` (`None`: there is none).
pub fn of_append(files: &[DataFile], parent: Option<&IndexMap<String, String>>) -> IndexMap<String, String> {
    let records: u64 = files.iter().map(DataFile::record_count).sum();
    let bytes: u64 = files.iter().map(DataFile::file_size_in_bytes).sum();
    let partitions: HashSet<_> = files.iter().map(DataFile::partition).collect();
    let added = [("data-files", files.len() as u64), ("records", records), ("files-size", bytes)];
    let mut summary = IndexMap::new();
    let mut set = |key: &str, value: String| summary.insert(key.to_owned(), value);
    set("operation", "append".to_owned());
    set("added-data-files", files.len().to_string());
    set("added-records", records.to_string());
    set("added-files-size", bytes.to_string());
    set("changed-partition-count", partitions.len().to_string());
    for name in TOTALS {
        let key = format!("total-{name}");
        let more = added.iter().find(|(what, _)| *what == name).map_or(0, |(_, count)| *count);
        let before = match parent {
            None => Some(0),
            // Where the parent does not say, nobody knows: no total is better than a wrong one.
            Some(parent) => parent.get(&key).and_then(|text| text.parse::<u64>().ok()),
        };
        if let Some(before) = before {
            set(&key, before.saturating_add(more).to_string());
        }
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_go_on_from_the_parent_or_are_left_out() {
        let first = of_append(&[], None);
        assert_eq!((first["operation"].as_str(), first["total-records"].as_str()), ("append", "0"));
        let parent = IndexMap::from([("total-records".to_owned(), "7".to_owned())]);
        let next = of_append(&[], Some(&parent));
        assert_eq!(next["total-records"], "7");
        assert!(!next.contains_key("total-data-files"), "the parent does not say");
    }
}
