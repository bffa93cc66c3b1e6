//! Tables that are written to all the time: old snapshots go, and with them what only they reached.

use std::collections::BTreeSet;

use floeberg::snapshot::manifest::{ListOf, write_list};
use iceberg::spec::{FormatVersion, ManifestList};
use serde_json::{Value, json};

use super::{metadata, push, rows};
use crate::kit::{Server, append, schema, snapshot};

fn ids(metadata: &Value) -> Vec<i64> {
    let snapshots = metadata["snapshots"].as_array().expect("a list");
    snapshots.iter().map(|snapshot| snapshot["snapshot-id"].as_i64().expect("an id")).collect()
}

fn local(location: &str) -> String {
    location.trim_start_matches("file://").to_owned()
}

/// Every file of the metadata folder that the table reaches; each is there.
fn reached(table: &Value) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    for snapshot in table["snapshots"].as_array().expect("a list") {
        let list = local(snapshot["manifest-list"].as_str().expect("text"));
        let bytes = std::fs::read(&list).unwrap_or_else(|error| panic!("{list}: {error}"));
        let manifests = ManifestList::parse_with_version(&bytes, FormatVersion::V2).expect("a list").consume_entries();
        reached.extend(manifests.into_iter().map(|manifest| local(&manifest.manifest_path)));
        reached.insert(list);
    }
    let log = table["metadata-log"].as_array().expect("a list");
    reached.extend(log.iter().map(|entry| local(entry["metadata-file"].as_str().expect("text"))));
    reached.iter().for_each(|file| assert!(std::path::Path::new(file).exists(), "{file} is gone"));
    reached
}

/// Waits until the table's folder holds what it reaches and nothing else.
async fn settled(server: &Server, name: &str) -> BTreeSet<String> {
    let folder = server.warehouse().join("ns").join(name).join("metadata");
    server
        .until("nothing else is left", || async {
            let loaded = server.get(&format!("/v1/namespaces/ns/tables/{name}")).await.expect(200).json();
            let mut wanted = reached(&loaded["metadata"]);
            wanted.insert(local(loaded["metadata-location"].as_str().expect("text")));
            let files = std::fs::read_dir(&folder).expect("a folder");
            let there: BTreeSet<String> =
                files.map(|file| file.expect("a file").path().to_string_lossy().into_owned()).collect();
            there == wanted
        })
        .await;
    reached(&metadata(server, "ns", name).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_further_back_the_fewer_snapshots_there_are() {
    let server = Server::start().await;
    for id in 0..260 {
        push(&server, "ns/t", &format!("{{\"id\":{id}}}")).await.expect(200);
        server.app_catalog.clock().advance_ms(130_000);
    }
    let table = metadata(&server, "ns", "t").await;
    let count = ids(&table).len();
    // Two hours of every commit, some hours of one each, and what is not worth the while yet.
    assert!((60..90).contains(&count), "{count}");
    let files = settled(&server, "t").await;
    let lists = files.iter().filter(|file| file.contains("/snap-")).count();
    assert_eq!(lists, count);
    let mut there: Vec<i64> =
        rows(&server, "t").await.iter().map(|row| row["id"].as_i64().expect("a number")).collect();
    there.sort_unstable();
    assert_eq!(there, (0..260).collect::<Vec<i64>>(), "no row went with them");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_more_than_a_table_may_have_the_oldest_go_but_for_what_is_named() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let body =
        json!({"name": "t", "schema": schema(), "properties": {"floeberg.maintenance.snapshots.max-count": "20"}});
    server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
    push(&server, "ns/t", "{\"id\":0}").await.expect(200);
    let tagged = metadata(&server, "ns", "t").await["current-snapshot-id"].as_i64().expect("an id");
    let set = |name: &str, kind: &str, id: i64| json!([{"action": "set-snapshot-ref", "ref-name": name, "type": kind, "snapshot-id": id}]);
    server.commit("t", json!([]), set("kept", "tag", tagged)).await.expect(200);
    for id in 1..15 {
        push(&server, "ns/t", &format!("{{\"id\":{id}}}")).await.expect(200);
    }
    let forked = metadata(&server, "ns", "t").await["current-snapshot-id"].as_i64().expect("an id");
    server.commit("t", json!([]), set("other", "branch", forked)).await.expect(200);
    for id in 15..120 {
        push(&server, "ns/t", &format!("{{\"id\":{id}}}")).await.expect(200);
        assert!(ids(&metadata(&server, "ns", "t").await).len() <= 20);
    }
    let left = ids(&metadata(&server, "ns", "t").await);
    assert!(left.contains(&tagged) && left.contains(&forked), "{left:?}");
    let scan = |id: i64| json!({"snapshot-id": id});
    for (id, files) in [(tagged, 1), (forked, 15)] {
        let plan = server.post("/v1/namespaces/ns/tables/t/plan", &scan(id)).await.expect(200).json();
        assert_eq!(plan["file-scan-tasks"].as_array().map(Vec::len), Some(files));
    }
    assert_eq!(rows(&server, "t").await.len(), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_are_left_alone() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let create = |name: &str, properties: Value| json!({"name": name, "schema": schema(), "properties": properties});
    let keeps = json!({"floeberg.maintenance.snapshots.max-count": "10", "gc.enabled": "false"});
    let asks = json!({"floeberg.maintenance.snapshots.max-count": "10", "history.expire.min-snapshots-to-keep": "25"});
    for (name, properties, wanted) in [("theirs", json!({}), 30), ("keeps", keeps, 30), ("asks", asks, 25)] {
        server.post("/v1/namespaces/ns/tables", &create(name, properties)).await.expect(200);
        for id in 0..30 {
            push(&server, &format!("ns/{name}"), &format!("{{\"id\":{id}}}")).await.expect(200);
        }
        let count = ids(&metadata(&server, "ns", name).await).len();
        assert!(count >= wanted && count <= wanted + 1, "{name}: {count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_delete_stays_and_its_files_with_it() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let own = json!({"floeberg.maintenance.snapshots.max-count": "20"});
    server
        .post("/v1/namespaces/ns/tables", &json!({"name": "t", "schema": schema(), "properties": own}))
        .await
        .expect(200);
    for id in 0..10 {
        push(&server, "ns/t", &format!("{{\"id\":{id}}}")).await.expect(200);
    }
    // An engine deletes every row: its list is empty.
    let before = metadata(&server, "ns", "t").await;
    let number = |key: &str| before[key].as_i64().expect("a number");
    let (last, sequence) = (number("current-snapshot-id"), number("last-sequence-number") + 1);
    let mut deletion = snapshot(77, Some(last), sequence, before["location"].as_str().expect("text"));
    deletion["summary"]["operation"] = json!("delete");
    deletion["timestamp-ms"] = before["last-updated-ms"].clone();
    let of = ListOf {
        version: FormatVersion::V2,
        snapshot_id: 77,
        parent: Some(last),
        sequence_number: sequence,
        next_row_id: 0,
    };
    let list = write_list(of, Vec::new()).await.expect("a list");
    std::fs::write(local(deletion["manifest-list"].as_str().expect("text")), list.bytes).expect("written");
    server.commit("t", json!([]), append(&deletion)).await.expect(200);
    for id in 10..60 {
        push(&server, "ns/t", &format!("{{\"id\":{id}}}")).await.expect(200);
    }
    let table = metadata(&server, "ns", "t").await;
    let left = ids(&table);
    assert!(left.len() <= 20 && left.contains(&last) && left.contains(&77), "{left:?}");
    let plan = server.post("/v1/namespaces/ns/tables/t/plan", &json!({"snapshot-id": last})).await.expect(200).json();
    let tasks = plan["file-scan-tasks"].as_array().expect("a list");
    assert_eq!(tasks.len(), 10);
    for task in tasks {
        let file = local(task["data-file"]["file-path"].as_str().expect("text"));
        assert!(std::path::Path::new(&file).exists(), "{file} is gone");
    }
}

/// Bytes and number of the files of a folder.
fn weigh(folder: &std::path::Path) -> (u64, usize) {
    let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").metadata());
    let sizes: Vec<u64> = files.filter_map(Result::ok).map(|file| file.len()).collect();
    (sizes.iter().sum(), sizes.len())
}

/// One commit every 130 seconds: after five days, which are 3 324 commits, nothing but the list of the data grows. The long
/// form goes on for a month.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_written_to_for_weeks_stays_small() {
    let commits = if std::env::var_os("TESTS_LONG").is_some() { 20_000 } else { 4_000 };
    let server = Server::start().await;
    let folder = server.warehouse().join("ns/t/metadata");
    let mut most = (0, 0);
    for id in 0..commits {
        push(&server, "ns/t", &format!("{{\"id\":{id}}}")).await.expect(200);
        server.app_catalog.clock().advance_ms(130_000);
        if id % 500 == 499 {
            let table = server.get("/v1/namespaces/ns/tables/t").await.expect(200);
            most = (most.0.max(table.text.len()), most.1.max(ids(&table.json()["metadata"]).len()));
        }
    }
    assert!(most.0 < 2_000_000 && most.1 <= 260, "{most:?}");
    let table = metadata(&server, "ns", "t").await;
    let summary = super::current(&table)["summary"].clone();
    assert_eq!(summary["total-records"], commits.to_string());
    settled(&server, "t").await;
    let (bytes, files) = weigh(&folder);
    // A hundred metadata files, a list for each snapshot, the manifests of five days, of which each is listed by one of the
    // snapshots that are kept, and those that the data of the time before them was merged into.
    let wanted = 100 + 260 + commits.min(3_500) + commits / 50;
    assert!(files < wanted && bytes < 100_000_000, "{files} files of {bytes} B");
}
