//! Files that leave a table without any being written: the manifests of a snapshot that deletes, and its summary.
//!
//! A manifest that names a doomed file is written again: what is doomed is marked as deleted by the new snapshot, what
//! is not is carried over, each with the sequence numbers it had. Every other manifest is listed as it is. What earlier
//! snapshots deleted is not told again, so a manifest in which nothing lives is listed no more.

use std::collections::HashSet;

use bytes::Bytes;
use iceberg::spec::{DataFile, ManifestFile, Struct};
use indexmap::IndexMap;

use super::manifest::{self, Carried, Contents, Layout};
use super::summary::TOTALS;
use crate::error::Result;

/// The live files of one manifest, by what becomes of them.
#[derive(Debug, Default)]
pub struct Split {
    /// Those that go.
    pub doomed: Vec<Carried>,
    /// Those that stay.
    pub live: Vec<Carried>,
}

impl Split {
    /// Reads a manifest and tells its files apart.
    pub fn of(manifest: &ManifestFile, bytes: &[u8], is_doomed: impl Fn(&DataFile) -> bool) -> Result<Self> {
        let files = manifest::carried_files(manifest, bytes)?;
        let (doomed, live) = files.into_iter().partition(|one| is_doomed(&one.file));
        Ok(Self { doomed, live })
    }
}

/// Whether a file lives in a manifest, as far as its list says: what it does not say may be so.
pub fn has_live_files(manifest: &ManifestFile) -> bool {
    manifest.has_added_files() || manifest.has_existing_files()
}

/// A snapshot that deletes, as its manifests come together.
#[derive(Debug, Default)]
pub struct Deletion {
    /// The manifests that it lists.
    pub listed: Vec<ManifestFile>,
    /// Those of them that are new, by location.
    pub objects: Vec<(String, Bytes)>,
    gone: Gone,
}

/// What goes, counted.
#[derive(Debug, Default)]
struct Gone {
    files: u64,
    records: u64,
    bytes: u64,
    partitions: HashSet<Struct>,
}

impl Deletion {
    /// Whether nothing goes.
    pub fn is_empty(&self) -> bool {
        self.gone.files == 0
    }

    /// Lists a manifest as it is, if a file lives in it.
    pub fn keep(&mut self, manifest: ManifestFile) {
        if has_live_files(&manifest) {
            self.listed.push(manifest);
        }
    }

    /// Lists a manifest at `location` in place of the one that was split.
    pub async fn rewrite(&mut self, layout: &Layout, location: String, snapshot_id: i64, split: Split) -> Result<()> {
        let Split { doomed, live } = split;
        doomed.iter().for_each(|one| self.gone.count(&one.file));
        let contents = Contents { added: Vec::new(), carried: live, deleted: doomed };
        let (manifest, bytes) = manifest::write(layout, &location, snapshot_id, contents).await?;
        self.objects.push((location, bytes));
        self.listed.push(manifest);
        Ok(())
    }

    /// The summary of the snapshot; `parent` is that of the snapshot before it.
    pub fn summary(&self, parent: &IndexMap<String, String>) -> IndexMap<String, String> {
        let Gone { files, records, bytes, partitions } = &self.gone;
        let mut summary = IndexMap::new();
        let mut set = |key: &str, value: String| summary.insert(key.to_owned(), value);
        set("operation", "delete".to_owned());
        set("deleted-data-files", files.to_string());
        set("deleted-records", records.to_string());
        set("removed-files-size", bytes.to_string());
        set("changed-partition-count", partitions.len().to_string());
        for name in TOTALS {
            let less = match name {
                "records" => *records,
                "files-size" => *bytes,
                "data-files" => *files,
                _ => 0,
            };
            let key = format!("total-{name}");
            // Where the parent does not say, or says too little, no total is better than a wrong one.
            let before = parent.get(&key).and_then(|text| text.parse::<u64>().ok());
            if let Some(after) = before.and_then(|before| before.checked_sub(less)) {
                set(&key, after.to_string());
            }
        }
        summary
    }
}

impl Gone {
    fn count(&mut self, file: &DataFile) {
        self.files += 1;
        self.records = self.records.saturating_add(file.record_count());
        self.bytes = self.bytes.saturating_add(file.file_size_in_bytes());
        if !self.partitions.contains(file.partition()) {
            self.partitions.insert(file.partition().clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use iceberg::spec::{
        DataContentType, DataFileBuilder, DataFileFormat, FormatVersion, Literal, Manifest, ManifestStatus,
        NestedField, PartitionSpec, PrimitiveType, Schema, SchemaRef, Transform, Type,
    };

    use super::*;

    fn layout(version: FormatVersion) -> Layout {
        let field = NestedField::required(1, "at", Type::Primitive(PrimitiveType::Timestamptz));
        let schema: SchemaRef = Schema::builder().with_fields([Arc::new(field)]).build().expect("a schema").into();
        let spec = PartitionSpec::builder(Arc::clone(&schema)).add_partition_field("at", "at_day", Transform::Day);
        Layout { version, schema, spec: spec.expect("a field").build().expect("a spec") }
    }

    /// A file of so many rows, ten bytes each, of a day.
    fn file(path: &str, day: i32, rows: u64) -> DataFile {
        let mut file = DataFileBuilder::default();
        file.content(DataContentType::Data).file_path(path.to_owned()).file_format(DataFileFormat::Parquet);
        file.partition(Struct::from_iter([Some(Literal::date(day))])).record_count(rows).file_size_in_bytes(rows * 10);
        file.build().expect("a file")
    }

    fn is(path: &'static str) -> impl Fn(&DataFile) -> bool {
        move |file| file.file_path() == path
    }

    /// A manifest that snapshot 5 added these files with, as its list says it.
    async fn manifest(layout: &Layout, files: Vec<DataFile>) -> (ManifestFile, Bytes) {
        let contents = Contents { added: files, ..Contents::default() };
        let (written, bytes) = manifest::write(layout, "m0", 5, contents).await.expect("written");
        let number = if layout.version == FormatVersion::V1 { 0 } else { 7 };
        let first_row_id = (layout.version == FormatVersion::V3).then_some(100);
        (ManifestFile { sequence_number: number, min_sequence_number: number, first_row_id, ..written }, bytes)
    }

    #[tokio::test]
    async fn what_is_doomed_is_marked_and_the_rest_carried_over() {
        for (version, number) in [(FormatVersion::V1, 0), (FormatVersion::V2, 7), (FormatVersion::V3, 7)] {
            let layout = layout(version);
            let files = vec![file("a", 10, 3), file("b", 20, 4), file("c", 10, 5)];
            let (listed, bytes) = manifest(&layout, files).await;
            let split = Split::of(&listed, &bytes, |file| file.partition().fields()[0] == Some(Literal::date(10)));
            let mut deletion = Deletion::default();
            deletion.rewrite(&layout, "m1".to_owned(), 6, split.expect("read")).await.expect("written");
            let (location, bytes) = &deletion.objects[0];
            assert_eq!((location, &deletion.listed[0].manifest_path), (&"m1".to_owned(), location));
            let read = Manifest::parse_avro(bytes).expect("a manifest");
            let told: Vec<_> = read
                .entries()
                .iter()
                .map(|entry| (entry.file_path(), entry.status(), entry.snapshot_id(), entry.data_file().first_row_id()))
                .collect();
            let row_id = |id: i64| (version == FormatVersion::V3).then_some(id);
            let wanted = [
                ("b", ManifestStatus::Existing, Some(5), row_id(103)),
                ("a", ManifestStatus::Deleted, Some(6), row_id(100)),
                ("c", ManifestStatus::Deleted, Some(6), row_id(107)),
            ];
            assert_eq!(told, wanted, "{version:?}");
            for entry in read.entries() {
                assert_eq!((entry.sequence_number(), entry.file_sequence_number), (Some(number), Some(number)));
            }
            let written = &deletion.listed[0];
            let counts = (written.added_files_count, written.existing_files_count, written.deleted_files_count);
            assert_eq!(counts, (Some(0), Some(1), Some(2)));
        }
    }

    #[tokio::test]
    async fn what_is_gone_is_not_told_again() {
        let layout = layout(FormatVersion::V2);
        let (listed, bytes) = manifest(&layout, vec![file("a", 10, 3), file("b", 20, 4)]).await;
        let mut first = Deletion::default();
        first.keep(listed.clone());
        assert!(first.is_empty() && first.listed.len() == 1);
        let split = Split::of(&listed, &bytes, is("a")).expect("read");
        first.rewrite(&layout, "m1".to_owned(), 6, split).await.expect("written");
        let listed = ManifestFile { sequence_number: 8, ..first.listed[1].clone() };
        let split = Split::of(&listed, &first.objects[0].1, |_| true).expect("read");
        assert_eq!(split.doomed.iter().map(|one| one.file.file_path()).collect::<Vec<_>>(), ["b"]);
        let mut second = Deletion::default();
        second.rewrite(&layout, "m2".to_owned(), 9, split).await.expect("written");
        // Nothing lives in it: whoever comes next lists it no more.
        let mut third = Deletion::default();
        third.keep(second.listed[0].clone());
        assert!(third.listed.is_empty());
        // What a list does not count may live.
        let silent = ManifestFile { added_files_count: None, existing_files_count: None, ..listed };
        third.keep(silent);
        assert_eq!(third.listed.len(), 1);
    }

    #[tokio::test]
    async fn totals_go_down_from_the_parent_or_are_left_out() {
        let layout = layout(FormatVersion::V2);
        let (listed, bytes) = manifest(&layout, vec![file("a", 10, 3), file("b", 20, 4), file("c", 10, 5)]).await;
        let split = Split::of(&listed, &bytes, |file| file.file_path() != "b").expect("read");
        let mut deletion = Deletion::default();
        deletion.rewrite(&layout, "m1".to_owned(), 6, split).await.expect("written");
        let parent = [("total-records", "100"), ("total-data-files", "1"), ("total-delete-files", "2")];
        let parent = parent.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let told: Vec<(String, String)> = deletion.summary(&IndexMap::from(parent)).into_iter().collect();
        let wanted = [
            ("operation", "delete"),
            ("deleted-data-files", "2"),
            ("deleted-records", "8"),
            ("removed-files-size", "80"),
            ("changed-partition-count", "1"),
            ("total-records", "92"),
            ("total-delete-files", "2"),
        ];
        assert_eq!(told, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
