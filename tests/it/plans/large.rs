//! Plans that do not fit one answer, and manifests that are not what they say.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use floeberg::snapshot::manifest::{Layout, ListOf, write_list, write_manifest};
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, FormatVersion, ManifestFile,
    ManifestWriterBuilder, Struct, TableMetadata,
};
use serde_json::{Value, json};

use super::plan;
use crate::kit::{Server, append};

const PLAN: &str = "/v1/namespaces/ns/tables/t/plan";
const TASKS: &str = "/v1/namespaces/ns/tables/t/tasks";

/// A table `ns.t` whose manifests are written here.
struct Large {
    server: Server,
    location: String,
    layout: Layout,
    manifests: Vec<ManifestFile>,
}

impl Large {
    async fn new() -> Self {
        let server = Server::start().await;
        server.namespace(&["ns"]).await;
        let made = server.table("t").await;
        let metadata: TableMetadata = serde_json::from_value(made["metadata"].clone()).expect("metadata");
        let layout = Layout {
            version: FormatVersion::V2,
            schema: Arc::clone(metadata.current_schema()),
            spec: metadata.default_partition_spec().as_ref().clone(),
        };
        Self { server, location: metadata.location().to_owned(), layout, manifests: Vec::new() }
    }

    fn file(&self, content: DataContentType, number: usize) -> DataFile {
        self.file_builder(content, number, "").build().expect("a file")
    }

    fn file_builder(&self, content: DataContentType, number: usize, folder: &str) -> DataFileBuilder {
        let mut builder = DataFileBuilder::default();
        builder
            .content(content)
            .file_path(format!("{}/data/{folder}{number:06}.parquet", self.location))
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .record_count(1)
            .file_size_in_bytes(100);
        if content == DataContentType::EqualityDeletes {
            builder.equality_ids(Some(vec![1]));
        }
        builder
    }

    /// Adds a manifest of so many files.
    async fn data(&mut self, files: usize) {
        let first = self.manifests.len() * 100_000;
        self.manifest((0..files).map(|file| self.file(DataContentType::Data, first + file)).collect()).await;
    }

    /// Adds a manifest of so many files, each known to hold the one id that is its number, in this folder.
    async fn known(&mut self, files: usize, folder: &str) {
        let first = self.manifests.len() * 100_000;
        let known = |number: usize| {
            let id = HashMap::from([(1, Datum::long(i64::try_from(number).expect("small")))]);
            let mut builder = self.file_builder(DataContentType::Data, number, folder);
            builder.lower_bounds(id.clone()).upper_bounds(id).build().expect("a file")
        };
        self.manifest((0..files).map(|file| known(first + file)).collect()).await;
    }

    async fn manifest(&mut self, added: Vec<DataFile>) {
        let number = self.manifests.len();
        let path = format!("{}/metadata/{number}.avro", self.location);
        let (manifest, bytes) = write_manifest(&self.layout, &path, 1, added, Vec::new()).await.expect("a manifest");
        std::fs::write(path.trim_start_matches("file://"), bytes).expect("written");
        self.manifests.push(manifest);
    }

    /// Adds a manifest of so many equality deletes.
    async fn deletes(&mut self, files: usize) {
        let path = format!("{}/metadata/deletes.avro", self.location);
        let memory = FileIO::new_with_memory();
        let output = memory.new_output("memory:///m.avro").expect("a file");
        let (schema, spec) = (Arc::clone(&self.layout.schema), self.layout.spec.clone());
        let mut writer = ManifestWriterBuilder::new(output, Some(2), schema, spec).build_v2_deletes();
        for number in 0..files {
            writer.add_file(self.file(DataContentType::EqualityDeletes, 900_000 + number), -1).expect("added");
        }
        let mut manifest = writer.write_manifest_file().await.expect("written");
        let bytes = memory.new_input("memory:///m.avro").expect("a file").read().await.expect("bytes");
        std::fs::write(path.trim_start_matches("file://"), bytes).expect("written");
        manifest.manifest_path = path;
        self.manifests.push(manifest);
    }

    /// Commits what is there as snapshot `id`.
    async fn commit(&mut self, id: i64) {
        let parent = (id > 1).then_some(id - 1);
        let of = ListOf { version: FormatVersion::V2, snapshot_id: id, parent, sequence_number: id, next_row_id: 0 };
        let list = write_list(of, self.manifests.clone()).await.expect("a list");
        let path = format!("{}/metadata/snap-{id}.avro", self.location);
        std::fs::write(path.trim_start_matches("file://"), &list.bytes).expect("written");
        let mut snapshot = json!({"snapshot-id": id, "sequence-number": id, "timestamp-ms": 1_900_000_000_000_i64 + id,
            "manifest-list": path, "summary": {"operation": "append"}, "schema-id": 0});
        if let Some(parent) = parent {
            snapshot["parent-snapshot-id"] = json!(parent);
        }
        self.server.commit("t", json!([]), append(&snapshot)).await.expect(200);
        self.manifests = floeberg::snapshot::manifest::read_list(&list.bytes, FormatVersion::V2).expect("a list");
    }
}

fn paths(answer: &Value) -> Vec<String> {
    let files = answer["file-scan-tasks"].as_array().expect("files");
    files.iter().map(|file| file["data-file"]["file-path"].as_str().expect("a path").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_in_tasks_that_any_server_answers() {
    let mut large = Large::new().await;
    for files in [7_000, 10, 5_000] {
        large.data(files).await;
    }
    large.commit(1).await;
    let first = large.server.post(PLAN, &json!({})).await.expect(200).json();
    assert_eq!(paths(&first).len(), 5_000);
    let mut waiting = first["plan-tasks"].as_array().cloned().expect("tasks");
    assert!(!waiting.is_empty() && waiting.len() <= 32);
    // Another server, which was never asked for the plan.
    let server = large.server.restart().await;
    let mut found: BTreeSet<String> = paths(&first).into_iter().collect();
    let mut count = found.len();
    while let Some(task) = waiting.pop() {
        let answer = server.post(TASKS, &json!({"plan-task": task})).await.expect(200).json();
        let more = paths(&answer);
        assert!(more.len() <= 5_000);
        count += more.len();
        found.extend(more);
        waiting.extend(answer["plan-tasks"].as_array().cloned().expect("tasks"));
    }
    assert_eq!((found.len(), count), (12_010, 12_010));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_bounded_in_bytes() {
    let mut large = Large::new().await;
    large.data(1_500).await;
    large.commit(1).await;
    // Thirty kilobytes that stand at every file: what is left of the filter.
    let values: Vec<i64> = (1_000_000..1_004_000).collect();
    let filter = json!({"type": "in", "term": "id", "values": values});
    let first = large.server.post(PLAN, &json!({"filter": filter})).await.expect(200);
    assert!(first.text.len() < 20 << 20, "{} bytes", first.text.len());
    let all = plan(&large.server, "t", &json!({"filter": filter})).await;
    assert!(all.files.len() == 1_500 && all.answers > 2, "{} in {}", all.files.len(), all.answers);
    let long = json!({"type": "eq", "term": "name", "value": "x".repeat(5 << 20)});
    large.server.post(PLAN, &json!({"filter": long})).await.refused(413, "BadRequestException", "at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_bounded_in_deletes() {
    let mut large = Large::new().await;
    large.data(1_000).await;
    large.commit(1).await;
    large.deletes(300).await;
    large.commit(2).await;
    let all = plan(&large.server, "t", &json!({})).await;
    assert_eq!((all.files.len(), all.answers), (1_000, 2));
    assert!(all.files.values().all(|(_, deletes)| deletes.len() == 300));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_bounded_in_tests() {
    let mut large = Large::new().await;
    large.known(1_000, "").await;
    large.commit(1).await;
    // A thousand tests for each file: no answer gets through more than some hundred files.
    let filter = any_of(999, 2_023);
    let first = large.server.post(PLAN, &json!({"filter": filter})).await.expect(200).json();
    assert!(paths(&first).is_empty() && !first["plan-tasks"].as_array().expect("tasks").is_empty());
    let all = plan(&large.server, "t", &json!({"filter": filter})).await;
    assert_eq!(all.files.len(), 1);
    assert!((3..8).contains(&all.answers), "{} answers", all.answers);
}

/// `id = first or … or id = last - 1`, nested no deeper than need be.
fn any_of(first: i64, last: i64) -> Value {
    if last - first == 1 {
        return json!({"type": "eq", "term": "id", "value": first});
    }
    let middle = first.midpoint(last);
    json!({"type": "or", "left": any_of(first, middle), "right": any_of(middle, last)})
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_bounded_in_memory() {
    let mut large = Large::new().await;
    // Twelve megabytes of paths each, and one file of each is wanted.
    let folder = "x".repeat(2_000) + "/";
    for _ in 0..7 {
        large.known(6_000, &folder).await;
    }
    large.commit(1).await;
    let values: Vec<i64> = (0..7).map(|manifest| manifest * 100_000).collect();
    let filter = json!({"type": "in", "term": "id", "values": values});
    let first = large.server.post(PLAN, &json!({"filter": filter})).await.expect(200).json();
    assert!((1..7).contains(&paths(&first).len()), "{} files", paths(&first).len());
    let all = plan(&large.server, "t", &json!({"filter": filter})).await;
    assert!(all.files.len() == 7 && all.answers > 1, "{} in {}", all.files.len(), all.answers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_is_named() {
    let mut large = Large::new().await;
    large.data(100).await;
    large.commit(1).await;
    let path = format!("{}/metadata/0.avro", large.location);
    let file = path.trim_start_matches("file://").to_owned();
    let whole = std::fs::read(&file).expect("the manifest");
    for damaged in [&whole[..whole.len() - 1], &whole[..whole.len() / 2], b"Obj", b""] {
        std::fs::write(&file, damaged).expect("written");
        let answer = large.server.post(PLAN, &json!({})).await;
        answer.refused(400, "ValidationException", "A manifest cannot be read");
        assert!(answer.text.contains("/metadata/0.avro"), "{}", answer.text);
    }
    // What was wrong is not remembered.
    std::fs::write(&file, &whole).expect("written");
    assert_eq!(plan(&large.server, "t", &json!({})).await.files.len(), 100);
    std::fs::remove_file(&file).expect("removed");
    let server = large.server.restart().await;
    server.post(PLAN, &json!({})).await.refused(404, "NotFoundException", "/metadata/0.avro");
}
