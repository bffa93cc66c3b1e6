//! Rows that fit: snapshots, summaries, manifests, files.

use std::collections::BTreeMap;

use iceberg::spec::{FormatVersion, Manifest, ManifestFile, ManifestList};
use serde_json::{Value, json};

use super::{current, metadata, push};
use crate::kit::{Server, schema};

fn local(location: &str) -> &str {
    location.trim_start_matches("file://")
}

fn manifests(metadata: &Value, version: FormatVersion) -> Vec<ManifestFile> {
    let list = current(metadata)["manifest-list"].as_str().expect("a list").to_owned();
    let bytes = std::fs::read(local(&list)).expect("the manifest list");
    ManifestList::parse_with_version(&bytes, version).expect("a list").consume_entries().into_iter().collect()
}

fn manifest(file: &ManifestFile) -> Manifest {
    Manifest::parse_avro(&std::fs::read(local(&file.manifest_path)).expect("the manifest")).expect("a manifest")
}

fn paths(metadata: &Value, version: FormatVersion) -> Vec<String> {
    let all = manifests(metadata, version);
    let files = all.iter().map(manifest).flat_map(|manifest| {
        let live = manifest.entries().iter().filter(|entry| entry.is_alive()).map(|entry| entry.file_path().to_owned());
        live.collect::<Vec<_>>()
    });
    files.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_an_object_and_lines_are_rows() {
    let server = Server::start().await;
    let cases = [("[{\"id\":1},{\"id\":2}]", 2), ("{\"id\":3}", 1), ("{\"id\":4}\n\n{\"id\":5}\r\n", 2), ("[ ]", 0)];
    let mut total = 0;
    for (body, rows) in cases {
        let answer = push(&server, "ns/t", body).await;
        if rows == 0 {
            super::problem(&answer, 400, "no_rows", "no rows");
            continue;
        }
        let answer = answer.expect(200).json();
        total += rows;
        assert_eq!(answer["rows"], json!({"received": rows, "written": rows, "rejected": 0, "duplicate": 0}));
        assert_eq!(
            (&answer["ack"], &answer["duplicate"], &answer["errors"]),
            (&json!("commit"), &json!(false), &json!([]))
        );
        assert_eq!((&answer["tables"][0]["table"], &answer["tables"][0]["files"]), (&json!("ns.t"), &json!(1)));
        let metadata = metadata(&server, "ns", "t").await;
        let snapshot = current(&metadata);
        assert_eq!(answer["tables"][0]["snapshot_id"], snapshot["snapshot-id"]);
        assert_eq!(answer["tables"][0]["sequence_number"], snapshot["sequence-number"]);
        assert_eq!(snapshot["summary"]["total-records"], total.to_string());
        assert_eq!(snapshot["summary"]["operation"], "append");
    }
    let metadata = metadata(&server, "ns", "t").await;
    assert_eq!(metadata["properties"]["floeberg.created-by"], "ingest");
    assert_eq!(metadata["properties"]["write.metadata.delete-after-commit.enabled"], "true");
    for file in paths(&metadata, FormatVersion::V2) {
        assert!(std::path::Path::new(local(&file)).exists(), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_find_their_metrics() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"id\":1}").await.expect(200);
    push(&server, "ns/t", "{\"id\":\"x\"}").await.expect(422);
    let text = server.get("/metrics").await.expect(200).text;
    for name in [
        "iceberg_records_written_total",
        "iceberg_batches_committed_total",
        "iceberg_bytes_written_total",
        "iceberg_commit_duration_seconds_count",
        "iceberg_records_per_batch_count",
        "floeberg_ingest_rows_total",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_and_zstd_are_unpacked() {
    let server = Server::start().await;
    let body = b"{\"id\":1}\n{\"id\":2}\n".as_slice();
    let gzip = floeberg::catalog::loaded::gzip(body).expect("compresses");
    let zstd = zstd::encode_all(body, 3).expect("compresses");
    let client = reqwest::Client::new();
    for (encoding, bytes) in [("gzip", gzip), ("zstd", zstd)] {
        let url = format!("{}/ingest/v1/ns/t", server.url);
        let request = client.post(url).header("content-encoding", encoding).header("content-type", "application/json");
        let answer = request.body(bytes).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{encoding}: {}", answer.text().await.expect("text"));
    }
    let total = current(&metadata(&server, "ns", "t").await)["summary"]["total-records"].clone();
    assert_eq!(total, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_share_snapshots_and_lose_nothing() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"id\":0}").await.expect(200);
    let server = &server;
    let writers = (0..16).map(|writer| async move {
        let mut ids = std::collections::BTreeSet::new();
        for turn in 0..8 {
            let answer = push(server, "ns/t", &format!("{{\"id\":{}}}", writer * 100 + turn)).await.expect(200).json();
            ids.insert(answer["tables"][0]["snapshot_id"].as_i64().expect("an id"));
        }
        ids
    });
    let ids: std::collections::BTreeSet<i64> = futures::future::join_all(writers).await.into_iter().flatten().collect();
    let metadata = metadata(server, "ns", "t").await;
    let snapshots = metadata["snapshots"].as_array().expect("a list").len();
    assert_eq!(snapshots, ids.len() + 1, "every snapshot was answered to somebody");
    assert!(ids.len() < 128, "requests share snapshots");
    assert_eq!(current(&metadata)["summary"]["total-records"], "129");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_have_folders_that_values_cannot_leave() {
    let server = Server::start().await;
    let long = "x".repeat(300);
    let values = ["../../x", "a/b", "..", "", "é %", long.as_str()];
    let mut body: String = values.iter().map(|value| json!({"part": value, "id": 1}).to_string() + "\n").collect();
    body.push_str("{\"part\":null,\"id\":2}\n");
    let answer = push(&server, "ns/t?partition_by=part", &body).await.expect(200).json();
    assert_eq!(answer["tables"][0]["files"], 7);
    let metadata = metadata(&server, "ns", "t").await;
    let inside = format!("{}/data/part=", metadata["location"].as_str().expect("text"));
    let mut read = Vec::new();
    for file in manifests(&metadata, FormatVersion::V2).iter().map(manifest).flat_map(|m| m.entries().to_vec()) {
        let rest =
            file.file_path().strip_prefix(&inside).unwrap_or_else(|| panic!("{} is not inside", file.file_path()));
        assert_eq!(rest.matches('/').count(), 1, "{rest}");
        assert!(std::path::Path::new(local(file.file_path())).exists());
        let value = file.data_file().partition().fields()[0].clone();
        read.push(value.map(|literal| format!("{literal:?}")));
    }
    for value in values {
        assert!(read.iter().flatten().any(|literal| literal.contains(&format!("{value:?}"))), "{value:?} in {read:?}");
    }
    assert_eq!(read.iter().filter(|value| value.is_none()).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_merged_when_enough_have_gathered() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"id\":0}").await.expect(200);
    let few = json!([{"action": "set-properties", "updates": {"commit.manifest.min-count-to-merge": "4"}}]);
    server.commit("t", json!([]), few).await.expect(200);
    let mut counts = Vec::new();
    for id in 1..10 {
        push(&server, "ns/t", &format!("{{\"id\":{id}}}")).await.expect(200);
        counts.push(manifests(&metadata(&server, "ns", "t").await, FormatVersion::V2).len());
    }
    assert_eq!(counts, [2, 3, 1, 2, 3, 1, 2, 3, 1]);
    let metadata = metadata(&server, "ns", "t").await;
    let mut files = paths(&metadata, FormatVersion::V2);
    files.sort();
    files.dedup();
    assert_eq!(files.len(), 10, "every file is still there once");
    let merged = manifests(&metadata, FormatVersion::V2);
    let entries = manifest(&merged[0]).entries().to_vec();
    let mut sequences: Vec<i64> = entries.iter().map(|entry| entry.sequence_number().unwrap_or(10)).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=10).collect::<Vec<i64>>(), "each file keeps the sequence number of its commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_ids_of_v3_survive_merging() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let properties = json!({"format-version": "3", "commit.manifest.min-count-to-merge": "3"});
    let body = json!({"name": "t", "schema": schema(), "properties": properties});
    server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
    let mut known: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for turn in 0..5 {
        let rows: String = (0..=turn).map(|row| format!("{{\"id\":{row}}}\n")).collect();
        push(&server, "ns/t", &rows).await.expect(200);
        let metadata = metadata(&server, "ns", "t").await;
        let spans = row_ids(&metadata);
        for (path, span) in &known {
            assert_eq!(spans.get(path), Some(span), "the rows of a file keep their ids");
        }
        let mut sorted: Vec<(i64, i64)> = spans.values().copied().collect();
        sorted.sort_unstable();
        let apart = sorted.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0);
        let end = sorted.last().map(|(start, rows)| start + rows);
        assert!(apart && end <= metadata["next-row-id"].as_i64(), "{sorted:?} below {}", metadata["next-row-id"]);
        known = spans;
    }
    assert_eq!(known.len(), 5);
}

/// The first row id and the rows of each file.
fn row_ids(metadata: &Value) -> BTreeMap<String, (i64, i64)> {
    let mut spans = BTreeMap::new();
    for file in manifests(metadata, FormatVersion::V3) {
        let mut next = file.first_row_id.map(|id| i64::try_from(id).expect("fits"));
        for entry in manifest(&file).entries() {
            let own = entry.data_file().first_row_id().or(next).expect("every file has row ids");
            let rows = i64::try_from(entry.record_count()).expect("fits");
            if entry.data_file().first_row_id().is_none() {
                next = Some(own + rows);
            }
            spans.insert(entry.file_path().to_owned(), (own, rows));
        }
    }
    spans
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branchs_retention_is_left_alone() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"id\":0}").await.expect(200);
    let before = metadata(&server, "ns", "t").await;
    let set = json!([{"action": "set-snapshot-ref", "ref-name": "main", "type": "branch",
        "snapshot-id": before["current-snapshot-id"], "min-snapshots-to-keep": 7, "max-ref-age-ms": 5}]);
    server.commit("t", json!([]), set).await.expect(200);
    push(&server, "ns/t", "{\"id\":1}").await.expect(200);
    let main = &metadata(&server, "ns", "t").await["refs"]["main"];
    assert_eq!((&main["min-snapshots-to-keep"], &main["max-ref-age-ms"]), (&json!(7), &json!(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_every_version_take_rows() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    for (version, format) in [("1", FormatVersion::V1), ("2", FormatVersion::V2), ("3", FormatVersion::V3)] {
        let name = format!("v{version}");
        let body = json!({"name": name, "schema": schema(), "properties": {"format-version": version}});
        server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
        for id in 0..3 {
            push(&server, &format!("ns/{name}"), &format!("{{\"id\":{id},\"name\":\"n\"}}")).await.expect(200);
        }
        let metadata = metadata(&server, "ns", &name).await;
        assert_eq!(current(&metadata)["summary"]["total-records"], "3");
        assert_eq!(paths(&metadata, format).len(), 3, "v{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_are_true_and_short() {
    let server = Server::start().await;
    let long = "0123456789abcdefghij";
    let longer = "zyxw".repeat(50);
    let rows = format!(
        "{{\"s\":\"{long}\",\"n\":5,\"f\":1.5,\"l\":[1,null],\"t\":\"{longer}\"}}\n{{\"s\":\"zz\",\"n\":-3,\"f\":null,\"l\":[]}}\n"
    );
    push(&server, "ns/t", &rows).await.expect(200);
    let metadata = metadata(&server, "ns", "t").await;
    let written = manifest(&manifests(&metadata, FormatVersion::V2)[0]);
    let file = written.entries()[0].data_file();
    let text = |bounds: &std::collections::HashMap<i32, iceberg::spec::Datum>, id: i32| {
        bounds.get(&id).map(ToString::to_string)
    };
    assert_eq!(text(file.lower_bounds(), 1).as_deref(), Some("\"0123456789abcdef\""));
    assert_eq!(text(file.upper_bounds(), 1).as_deref(), Some("\"zz\""));
    assert_eq!(
        (text(file.lower_bounds(), 2).as_deref(), text(file.upper_bounds(), 2).as_deref()),
        (Some("-3"), Some("5"))
    );
    assert_eq!(file.null_value_counts().get(&3), Some(&1));
    assert_eq!(file.nan_value_counts().get(&3), Some(&0));
    assert!(text(file.lower_bounds(), 6).is_none(), "items of lists have no bounds");
    let of_longer = (text(file.lower_bounds(), 5), text(file.upper_bounds(), 5));
    let wanted = ("\"zyxwzyxwzyxwzyxw\"".to_owned(), "\"zyxwzyxwzyxwzyxx\"".to_owned());
    assert_eq!(of_longer, (Some(wanted.0), Some(wanted.1)), "also of more than a file's own statistics hold");
    assert_eq!(file.split_offsets(), Some([4].as_slice()));
}
