//! What a killed server leaves in its log: taken up where it can be, named where it cannot.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::process::Process;

async fn ask(server: &Process, method: &str, path: &str, body: Value) -> (u16, Value) {
    server.send(method, path, Some(&body)).await.expect("an answer")
}

/// A table that holds acknowledged rows back until somebody asks, with two such rows, each of a request of its own.
async fn with_rows_waiting(server: &Process, (prefix, query): (&str, &str)) {
    let schema = json!({"type": "struct", "fields": [{"id": 1, "name": "id", "required": false, "type": "long"}]});
    let properties = json!({"floeberg.ingest.max-delay-ms": "86400000"});
    let table = json!({"name": "t", "schema": schema, "properties": properties});
    assert_eq!(ask(server, "POST", &format!("/v1{prefix}/namespaces"), json!({"namespace": ["ns"]})).await.0, 200);
    assert_eq!(ask(server, "POST", &format!("/v1{prefix}/namespaces/ns/tables"), table).await.0, 200);
    for id in [1, 2] {
        let path = format!("/ingest/v1/ns/t?ack=wal{query}");
        assert_eq!(ask(server, "POST", &path, json!([{"id": id}])).await.0, 202);
    }
}

async fn records(server: &Process, prefix: &str) -> Value {
    let path = format!("/v1{prefix}/namespaces/ns/tables/t");
    let (_, table) = server.send("GET", &path, None).await.expect("an answer");
    table["metadata"]["snapshots"].as_array().and_then(|all| all.last()).expect("a snapshot")["summary"]
        ["total-records"]
        .clone()
}

fn log_file(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir.join("wal")).expect("a log");
    entries.map(|entry| entry.expect("a file").path()).next().expect("a file")
}

fn check(dir: &Path) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floeberg"));
    let output = command.args(["check", "--data-dir"]).arg(dir).current_dir(dir).output().expect("ran");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_named_and_nothing_of_it_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Process::start(dir.path(), "");
    with_rows_waiting(&server, ("", "")).await;
    drop(server);
    let file = log_file(dir.path());
    let whole = std::fs::read(&file).expect("read");
    let mut damaged = whole.clone();
    damaged[40] ^= 0x55;
    std::fs::write(&file, &damaged).expect("written");
    let (well, told) = check(dir.path());
    assert!(!well && told.contains("is damaged at byte 0") && told.contains("wal/"), "{told}");
    assert!(Process::start(dir.path(), "").send("GET", "/health/live", None).await.is_none(), "it does not start");
    std::fs::write(&file, &whole).expect("written");
    assert!(check(dir.path()).0);
    let server = Process::start(dir.path(), "");
    assert_eq!(ask(&server, "POST", "/ingest/v1/ns/t/flush", Value::Null).await.0, 200);
    assert_eq!(records(&server, "").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_for_a_warehouse_that_is_served_again_come_before_new_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().canonicalize().expect("a path");
    let (more, away) = (root.join("more"), root.join("away"));
    std::fs::create_dir(&more).expect("made");
    std::fs::write(root.join("floeberg.toml"), format!("allow-location = [\"file://{}\"]\n", more.display()))
        .expect("written");
    let described = json!({"name": "m", "url": format!("file://{}/m", more.display())});
    let server = Process::start(&root, "");
    assert_eq!(ask(&server, "POST", "/manage/v1/warehouses", described.clone()).await.0, 200);
    with_rows_waiting(&server, ("/m", "&warehouse=m")).await;
    drop(server);
    // Its folder cannot be opened for a while.
    std::fs::rename(more.join("m"), &away).expect("moved");
    std::fs::write(more.join("m"), b"").expect("written");
    let server = Process::start(&root, "");
    let (status, told) = ask(&server, "POST", "/ingest/v1/ns/t?warehouse=m", json!([{"id": 3}])).await;
    assert_eq!(status, 503, "{told}");
    std::fs::remove_file(more.join("m")).expect("removed");
    std::fs::rename(&away, more.join("m")).expect("moved");
    let (status, told) = ask(&server, "PUT", "/manage/v1/warehouses/m", described).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(ask(&server, "POST", "/ingest/v1/ns/t?warehouse=m", json!([{"id": 3}])).await.0, 200);
    assert_eq!(records(&server, "/m").await, "3");
    drop(server);
    let server = Process::start(&root, "");
    assert_eq!(ask(&server, "POST", "/ingest/v1/ns/t/flush?warehouse=m", Value::Null).await.0, 200);
    assert_eq!(records(&server, "/m").await, "3", "and once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_table_is_another_to_those_who_push() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Process::start(dir.path(), "");
    with_rows_waiting(&server, ("", "")).await;
    // A copy of the table's folder, as somebody makes one by hand.
    let mut metadata = ask(&server, "GET", "/v1/namespaces/ns/tables/t", Value::Null).await.1["metadata"].clone();
    let folder = PathBuf::from(metadata["location"].as_str().expect("text").trim_start_matches("file://"));
    let copy = folder.with_file_name("copy");
    metadata["location"] = json!(format!("file://{}", copy.display()));
    let file = copy.join("metadata/00000-0d1d3a1c-0f0e-4a4e-9a59-0a0d6c1d3e1f.metadata.json");
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    std::fs::write(&file, metadata.to_string()).expect("written");
    let copy = json!({"name": "copy", "metadata-location": format!("file://{}", file.display())});
    let (status, told) = ask(&server, "POST", "/v1/namespaces/ns/register", copy).await;
    assert_eq!(status, 200, "{told}");
    for (table, id) in [("copy", 11), ("t", 3), ("copy", 12), ("t", 4)] {
        let sequence = if id == 11 || id == 3 { "0" } else { "1" };
        let headers = [("x-producer-id", "p"), ("x-producer-seq", sequence)];
        let path = format!("/ingest/v1/ns/{table}?ack=wal");
        let (status, told) =
            server.send_under(&headers, "POST", &path, Some(&json!([{"id": id}]))).await.expect("answered");
        assert_eq!((status, &told["duplicate"]), (202, &json!(false)), "{told}");
    }
    // The last entry of the log is committed, and the copy's before it are not.
    assert_eq!(ask(&server, "POST", "/ingest/v1/ns/t/flush", Value::Null).await.0, 200);
    assert_eq!(records(&server, "").await, "4");
    drop(server);
    let server = Process::start(dir.path(), "");
    assert_eq!(ask(&server, "POST", "/ingest/v1/ns/copy/flush", Value::Null).await.0, 200);
    let copied = ask(&server, "GET", "/v1/namespaces/ns/tables/copy", Value::Null).await.1;
    // In one snapshot or, where the first was taken up before the second was read, in two.
    let last = copied["metadata"]["snapshots"].as_array().and_then(|all| all.last());
    assert_eq!(last.map(|snapshot| &snapshot["summary"]["total-records"]), Some(&json!("2")), "{copied}");
    assert_eq!(records(&server, "").await, "4", "and those of the other are not doubled");
}
