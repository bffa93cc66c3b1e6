//! Old days of rejected rows: which leave, which stay, and that no data file is written or deleted for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::AsArray;
use floeberg::clock::rfc3339;
use iceberg::spec::{FormatVersion, Manifest, ManifestFile, ManifestList, ManifestStatus};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::{current, metadata, push};
use crate::kit::{Server, schema};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn local(location: &str) -> String {
    location.trim_start_matches("file://").to_owned()
}

/// `day(rejected_at)`
fn by_day() -> Value {
    json!([{"source-id": 1, "name": "rejected_at_day", "transform": "day"}])
}

/// A table of this layout with the columns of rejected rows.
async fn create(server: &Server, name: &str, layout: Value, properties: Value) {
    let column =
        |(id, name, kind): (i32, &str, &str)| json!({"id": id, "name": name, "required": id == 1, "type": kind});
    let columns = [
        (1, "rejected_at", "timestamptz"),
        (2, "request_id", "string"),
        (3, "row_index", "long"),
        (4, "code", "string"),
        (5, "pointer", "string"),
        (6, "message", "string"),
        (7, "raw", "string"),
    ];
    let columns: Vec<Value> = columns.map(column).into();
    let body = json!({
        "name": name, "schema": {"type": "struct", "schema-id": 0, "fields": columns},
        "partition-spec": {"fields": layout}, "properties": properties,
    });
    server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
}

/// One as ingest makes it, with another property.
async fn ours(server: &Server, name: &str, (key, value): (&str, &str)) {
    create(server, name, by_day(), json!({"floeberg.created-by": "ingest", key: value})).await;
}

/// Adds rows that were rejected so many days ago in one request. What tells them apart is their code.
async fn reject(server: &Server, name: &str, ages: &[i64]) {
    let now_ms = server.app_catalog.clock().now_ms();
    let row = |age: &i64| {
        let at = rfc3339(now_ms - age * DAY_MS);
        format!("{}\n", json!({"rejected_at": at, "row_index": 0, "code": format!("{age} days"), "raw": "{"}))
    };
    let body: String = ages.iter().map(row).collect();
    push(server, &format!("ns/{name}"), &body).await.expect(200);
}

/// An hour goes by, and the purge of a table wakes upkeep.
async fn an_hour_later(server: &Server) {
    server.app_catalog.clock().advance_ms(HOUR_MS);
    server.table("wakes").await;
    server.delete("/v1/namespaces/ns/tables/wakes?purgeRequested=true").await.expect(204);
}

async fn summary(server: &Server, name: &str) -> Value {
    current(&metadata(server, "ns", name).await)["summary"].clone()
}

/// Waits until a snapshot that deletes leaves so many rows.
async fn until_left(server: &Server, name: &str, rows: usize) {
    let done = || async {
        let summary = summary(server, name).await;
        summary["operation"] == "delete" && summary["total-records"] == *rows.to_string()
    };
    server.until("the old days are out", done).await;
}

/// The data files of a snapshot, by path, as the plan tells of them.
async fn files(server: &Server, name: &str, ask: Value) -> BTreeMap<String, Value> {
    let plan = server.post(&format!("/v1/namespaces/ns/tables/{name}/plan"), &ask).await.expect(200).json();
    let tasks = plan["file-scan-tasks"].as_array().expect("a list");
    let file = |task: &Value| {
        let file = task["data-file"].clone();
        (local(file["file-path"].as_str().expect("text")), file)
    };
    tasks.iter().map(file).collect()
}

/// The codes of the rows that are there.
async fn left(server: &Server, name: &str) -> Vec<String> {
    let mut codes = Vec::new();
    for path in files(server, name, json!({})).await.keys() {
        let file = std::fs::File::open(path).expect("the file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("Parquet");
        for batch in reader {
            let batch = batch.expect("rows");
            let column = batch.column_by_name("code").expect("the column").as_string::<i32>();
            codes.extend(column.iter().flatten().map(str::to_owned));
        }
    }
    codes.sort_unstable();
    codes
}

/// Every file below a folder.
fn count(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
    entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
}

fn manifests(snapshot: &Value, version: FormatVersion) -> Vec<ManifestFile> {
    let bytes = std::fs::read(local(snapshot["manifest-list"].as_str().expect("text"))).expect("a list");
    ManifestList::parse_with_version(&bytes, version).expect("a list").consume_entries().into_iter().collect()
}

/// What manifests say of a file: what happened to it, in which snapshot, and its two sequence numbers.
type Told = (ManifestStatus, Option<i64>, Option<i64>, Option<i64>);

fn told(manifests: &[ManifestFile]) -> BTreeMap<String, Told> {
    let mut all = BTreeMap::new();
    for manifest in manifests {
        let bytes = std::fs::read(local(&manifest.manifest_path)).expect("a manifest");
        for entry in Manifest::parse_avro(&bytes).expect("a manifest").entries() {
            let inherited = |own: Option<i64>| own.or(Some(manifest.sequence_number));
            let numbers = (inherited(entry.sequence_number()), inherited(entry.file_sequence_number));
            let snapshot = entry.snapshot_id().or(Some(manifest.added_snapshot_id));
            let told = (entry.status(), snapshot, numbers.0, numbers.1);
            assert!(all.insert(local(entry.file_path()), told).is_none(), "{} is told twice", entry.file_path());
        }
    }
    all
}

/// What the summary of a deletion says, from what was there before and what is there after.
fn check_summary(summary: &Value, before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) {
    let gone: Vec<&Value> =
        before.iter().filter(|(path, _)| !after.contains_key(*path)).map(|(_, file)| file).collect();
    let sum =
        |files: &[&Value], key: &str| -> i64 { files.iter().map(|file| file[key].as_i64().expect("a number")).sum() };
    let stay: Vec<&Value> = after.values().collect();
    let days: BTreeSet<String> = gone.iter().map(|file| file["partition"].to_string()).collect();
    for (key, wanted) in [
        ("deleted-data-files", i64::try_from(gone.len()).expect("few")),
        ("deleted-records", sum(&gone, "record-count")),
        ("removed-files-size", sum(&gone, "file-size-in-bytes")),
        ("changed-partition-count", i64::try_from(days.len()).expect("few")),
        ("total-data-files", i64::try_from(stay.len()).expect("few")),
        ("total-records", sum(&stay, "record-count")),
        ("total-files-size", sum(&stay, "file-size-in-bytes")),
        ("total-delete-files", 0),
    ] {
        assert_eq!(summary[key], wanted.to_string(), "{key} of {summary}");
    }
}

/// A table of 40, 35 and 20 days ago and of today; the first two leave it.
async fn old_days_leave(server: &Server, name: &str, version: FormatVersion) {
    reject(server, name, &[40, 20, 40]).await;
    reject(server, name, &[35]).await;
    reject(server, name, &[0]).await;
    let parent = current(&metadata(server, "ns", name).await);
    let (before, listed) = (files(server, name, json!({})).await, manifests(&parent, version));
    let folder = server.warehouse().join("ns").join(name).join("data");
    let on_disk = count(&folder);
    an_hour_later(server).await;
    until_left(server, name, 2).await;
    assert_eq!(left(server, name).await, ["0 days", "20 days"]);
    let snapshot = current(&metadata(server, "ns", name).await);
    let after = files(server, name, json!({})).await;
    assert_eq!(
        (snapshot["parent-snapshot-id"].clone(), before.len(), after.len()),
        (parent["snapshot-id"].clone(), 4, 2)
    );
    check_summary(&snapshot["summary"], &before, &after);
    assert_eq!(count(&folder), on_disk, "no data file is written or deleted");
    for (path, file) in &after {
        assert_eq!(file["first-row-id"], before[path]["first-row-id"], "rows keep their ids");
    }
    let ask = json!({"snapshot-id": parent["snapshot-id"]});
    assert_eq!(files(server, name, ask).await.len(), 4, "what was before is still there");
    // A manifest that names none of them is the same; in the others they are marked.
    let rewritten = manifests(&snapshot, version);
    let paths = |manifests: &[ManifestFile]| -> BTreeSet<String> {
        manifests.iter().map(|manifest| manifest.manifest_path.clone()).collect()
    };
    assert_eq!((rewritten.len(), paths(&rewritten).intersection(&paths(&listed)).count()), (3, 1));
    let own = snapshot["snapshot-id"].as_i64();
    let (was, is) = (told(&listed), told(&rewritten));
    assert_eq!(is.len(), was.len());
    for (path, (status, by, number, file_number)) in is {
        let (_, added_by, was_number, was_file_number) = was[&path];
        assert_eq!((number, file_number), (was_number, was_file_number), "{path}");
        if after.contains_key(&path) {
            assert!(status != ManifestStatus::Deleted && by == added_by, "{path}");
        } else {
            assert_eq!((status, by), (ManifestStatus::Deleted, own), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_days_leave_in_a_snapshot_that_only_marks_their_files() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let versions = [
        ("v1__rejected", "1", FormatVersion::V1),
        ("v2__rejected", "2", FormatVersion::V2),
        ("v3__rejected", "3", FormatVersion::V3),
    ];
    for (name, number, version) in versions {
        ours(&server, name, ("format-version", number)).await;
        old_days_leave(&server, name, version).await;
    }
    // Another pass finds nothing. It has been over all of them when the one that was made last is done.
    let mut snapshots = Vec::new();
    for (name, ..) in versions {
        snapshots.push(current(&metadata(&server, "ns", name).await)["snapshot-id"].clone());
    }
    ours(&server, "last__rejected", ("owner", "me")).await;
    reject(&server, "last__rejected", &[40, 0]).await;
    an_hour_later(&server).await;
    until_left(&server, "last__rejected", 1).await;
    for ((name, ..), snapshot) in versions.iter().zip(&snapshots) {
        assert_eq!(current(&metadata(&server, "ns", name).await)["snapshot-id"], *snapshot, "{name}");
    }
    // Rows go on coming, and grow old in their turn.
    for (name, ..) in versions {
        reject(&server, name, &[1]).await;
        assert_eq!(summary(&server, name).await["total-records"], "3");
    }
    server.app_catalog.clock().advance_ms(40 * DAY_MS);
    an_hour_later(&server).await;
    for (name, _, version) in versions {
        until_left(&server, name, 0).await;
        assert!(left(&server, name).await.is_empty());
        let snapshot = current(&metadata(&server, "ns", name).await);
        let listed = manifests(&snapshot, version);
        // What the deletion before left without live files is listed no more.
        assert_eq!(listed.len(), 3, "{listed:?}");
        assert!(listed.iter().all(|manifest| Some(manifest.added_snapshot_id) == snapshot["snapshot-id"].as_i64()));
        reject(&server, name, &[0]).await;
        assert_eq!(left(&server, name).await, ["0 days"]);
        assert_eq!(summary(&server, name).await["total-records"], "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_or_is_to_be_kept_stays() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let days = "floeberg.ingest.rejected-days";
    let by_ingest = || json!({"floeberg.created-by": "ingest"});
    let main = |name: &str, kept: &str| json!({"name": name, "schema": schema(), "properties": {days: kept}});
    for (name, kept) in [("main", "60"), ("odd", "60"), ("own", "0")] {
        server.post("/v1/namespaces/ns/tables", &main(name, kept)).await.expect(200);
    }
    let mut two = by_day();
    two.as_array_mut().expect("a list").push(json!({"source-id": 4, "name": "code", "transform": "identity"}));
    let hours = json!([{"source-id": 1, "name": "rejected_at_hour", "transform": "hour"}]);
    create(&server, "theirs__rejected", by_day(), json!({})).await;
    create(&server, "two__rejected", two, by_ingest()).await;
    create(&server, "hours__rejected", hours, by_ingest()).await;
    ours(&server, "plain", (days, "1")).await;
    ours(&server, "forever__rejected", (days, "0")).await;
    ours(&server, "longer__rejected", (days, "60")).await;
    ours(&server, "main__rejected", ("owner", "me")).await;
    ours(&server, "odd__rejected", ("owner", "me")).await;
    let stay = [
        "theirs__rejected",
        "two__rejected",
        "hours__rejected",
        "plain",
        "forever__rejected",
        "longer__rejected",
        "main__rejected",
        "odd__rejected",
    ];
    for name in stay {
        reject(&server, name, &[40, 0]).await;
    }
    // A value that is none is ignored: what the table says whose rows they are holds.
    let malformed = json!([{"action": "set-properties", "updates": {days: "soon"}}]);
    server.commit("odd__rejected", json!([]), malformed).await.expect(200);
    ours(&server, "own__rejected", (days, "10")).await;
    reject(&server, "own__rejected", &[20, 5]).await;
    // Rows from before the table was laid out by day are left alone.
    create(&server, "grown__rejected", json!([]), by_ingest()).await;
    reject(&server, "grown__rejected", &[40]).await;
    let layout = json!([
        {"action": "add-spec", "spec": {"fields": by_day()}},
        {"action": "set-default-spec", "spec-id": -1},
    ]);
    server.commit("grown__rejected", json!([]), layout).await.expect(200);
    reject(&server, "grown__rejected", &[41, 0]).await;
    // Passes go through tables in the order in which they were made.
    ours(&server, "last__rejected", ("owner", "me")).await;
    reject(&server, "last__rejected", &[40, 0]).await;
    an_hour_later(&server).await;
    until_left(&server, "last__rejected", 1).await;
    for name in stay {
        assert_eq!(left(&server, name).await, ["0 days", "40 days"], "{name}");
        assert_eq!(summary(&server, name).await["operation"], "append", "{name}");
    }
    assert_eq!(left(&server, "own__rejected").await, ["5 days"]);
    assert_eq!(left(&server, "grown__rejected").await, ["0 days", "40 days"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_makes_a_pass() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    ours(&server, "t__rejected", ("owner", "me")).await;
    reject(&server, "t__rejected", &[40, 0]).await;
    let server = server.restart().await;
    until_left(&server, "t__rejected", 1).await;
    assert_eq!(left(&server, "t__rejected").await, ["0 days"]);
}
