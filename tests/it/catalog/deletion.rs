//! What is deleted, and what never is: purge, old metadata files, and what a restart takes up again.

use std::path::{Path, PathBuf};

use apache_avro::types::{Record, Value as Avro};
use apache_avro::{Schema, Writer};
use serde_json::{Value, json};

use crate::kit::{Server, append, snapshot};

fn path(location: &str) -> PathBuf {
    PathBuf::from(location.trim_start_matches("file://"))
}

fn avro(schema: &str, records: impl Fn(&Schema) -> Vec<Avro>) -> Vec<u8> {
    let schema = Schema::parse_str(schema).expect("a schema");
    let mut writer = Writer::new(&schema, Vec::new());
    for record in records(&schema) {
        writer.append(record).expect("fits");
    }
    writer.into_inner().expect("written")
}

/// Writes a data file, a manifest that names it (and `more`), and a manifest list; returns the snapshot.
fn write_snapshot(id: i64, parent: Option<i64>, location: &str, more: &[&str]) -> Value {
    let file = |name: String| format!("{location}/{name}");
    let data = file(format!("data/{id}.parquet"));
    let manifest = file(format!("metadata/{id}-m0.avro"));
    std::fs::write(path(&data), "rows").expect("written");
    let schema = r#"{"type":"record","name":"manifest_entry","fields":[{"name":"data_file","type":
        {"type":"record","name":"r2","fields":[{"name":"file_path","type":"string"}]}}]}"#;
    let bytes = avro(schema, |_| {
        let files = std::iter::once(data.as_str()).chain(more.iter().copied());
        let record = |file: &str| Avro::Record(vec![("file_path".to_owned(), Avro::String(file.to_owned()))]);
        files.map(|file| Avro::Record(vec![("data_file".to_owned(), record(file))])).collect()
    });
    std::fs::write(path(&manifest), bytes).expect("written");
    let list = r#"{"type":"record","name":"manifest_file","fields":[{"name":"manifest_path","type":"string"}]}"#;
    let bytes = avro(list, |schema| {
        let mut record = Record::new(schema).expect("a record");
        record.put("manifest_path", manifest.as_str());
        vec![record.into()]
    });
    std::fs::write(path(&file(format!("metadata/snap-{id}.avro"))), bytes).expect("written");
    snapshot(id, parent, parent.unwrap_or(0) + 1, location)
}

fn files_in(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .map(|entry| entry.expect("readable").path())
        .map(|path| if path.is_dir() { files_in(&path) } else { 1 })
        .sum()
}

async fn waiting(server: &Server) -> i64 {
    server.app_catalog.store().deletions_waiting().await.expect("a number")
}

async fn table_with_data(server: &Server, name: &str, more: &[&str]) -> String {
    let made = server.table(name).await;
    let location = made["metadata"]["location"].as_str().expect("a location").to_owned();
    server.commit(name, json!([]), append(&write_snapshot(1, None, &location, more))).await.expect(200);
    server.commit(name, json!([]), append(&write_snapshot(2, Some(1), &location, &[]))).await.expect(200);
    location
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_everything_reachable_and_no_more() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let kept = table_with_data(&server, "kept", &[]).await;
    let shared = format!("{kept}/data/1.parquet");
    let gone = table_with_data(&server, "gone", &[&shared, "file:///etc/hostname"]).await;
    // The other table reaches a file of this one.
    let lent = format!("{gone}/data/2.parquet");
    server.commit("kept", json!([]), append(&write_snapshot(3, Some(2), &kept, &[&lent]))).await.expect(200);
    server.delete("/v1/namespaces/ns/tables/gone?purgeRequested=True").await.expect(204);
    server.until("the purge is done", || async { waiting(&server).await == 0 }).await;
    assert!(path(&shared).exists(), "a file of a live table stays");
    assert!(path(&lent).exists(), "a file that a live table reaches stays");
    assert!(Path::new("/etc/hostname").exists(), "what lies outside the warehouse was never ours");
    assert_eq!(files_in(&path(&gone)), 1, "nothing else of the purged table is left");
    server.get("/v1/namespaces/ns/tables/kept").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_table_of_the_same_name_keeps_apart_from_a_purge() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    for round in 0..5 {
        let location = table_with_data(&server, "t", &[]).await;
        server.delete("/v1/namespaces/ns/tables/t?purgeRequested=true").await.expect(204);
        let body = json!({"name": "t", "schema": crate::kit::schema(), "stage-create": true});
        let staged = server.post("/v1/namespaces/ns/tables", &body).await.expect(200).json();
        let fresh = path(staged["metadata"]["location"].as_str().expect("a location"));
        server.until("the purge is done", || async { waiting(&server).await == 0 }).await;
        assert_eq!(files_in(&path(&location)), 0, "round {round}: every file of the purged table is gone");
        // Either the purge was over before the table was staged, or the table was staged elsewhere.
        assert!(fresh.join("metadata").is_dir(), "round {round}: {}", fresh.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_garbage_collection_a_purge_leaves_the_data() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let location = table_with_data(&server, "t", &[]).await;
    let updates = json!([{"action": "set-properties", "updates": {"gc.enabled": "false"}}]);
    server.commit("t", json!([]), updates).await.expect(200);
    server.delete("/v1/namespaces/ns/tables/t?purgeRequested=true").await.expect(204);
    server.until("the purge is done", || async { waiting(&server).await == 0 }).await;
    assert_eq!((files_in(&path(&location).join("data")), files_in(&path(&location).join("metadata"))), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_goes_on_after_files_are_already_missing() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let location = table_with_data(&server, "t", &[]).await;
    // Spark deletes files itself before it asks for the drop; a killed purge leaves the same picture.
    std::fs::remove_file(path(&format!("{location}/data/1.parquet"))).expect("removed");
    std::fs::remove_file(path(&format!("{location}/metadata/1-m0.avro"))).expect("removed");
    std::fs::remove_file(path(&format!("{location}/metadata/snap-1.avro"))).expect("removed");
    server.delete("/v1/namespaces/ns/tables/t?purgeRequested=true").await.expect(204);
    server.until("the purge is done", || async { waiting(&server).await == 0 }).await;
    assert!(!path(&location).exists(), "the folder goes with the last file");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_metadata_files_go_where_the_table_says_so() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let keeping = server.table("keeping").await["metadata"]["location"].as_str().expect("text").to_owned();
    let tidy = server.table("tidy").await["metadata"]["location"].as_str().expect("text").to_owned();
    let few = json!({"write.metadata.previous-versions-max": "2"});
    server.commit("keeping", json!([]), json!([{"action": "set-properties", "updates": few}])).await.expect(200);
    let both =
        json!({"write.metadata.previous-versions-max": "2", "write.metadata.delete-after-commit.enabled": "true"});
    server.commit("tidy", json!([]), json!([{"action": "set-properties", "updates": both}])).await.expect(200);
    for turn in 0..5 {
        for name in ["keeping", "tidy"] {
            let updates = json!([{"action": "set-properties", "updates": {"turn": turn.to_string()}}]);
            let answer = server.commit(name, json!([]), updates).await.expect(200).json();
            let log = answer["metadata"]["metadata-log"].as_array().map(Vec::len);
            assert!(log <= Some(2), "{name}: {log:?}");
        }
    }
    server.until("old files are deleted", || async { waiting(&server).await == 0 }).await;
    assert_eq!(files_in(&path(&tidy).join("metadata")), 3, "the current one and two before it");
    assert_eq!(files_in(&path(&keeping).join("metadata")), 7, "every one");
    let server = server.restart().await;
    server.get("/v1/namespaces/ns/tables/tidy").await.expect(200);
}
