//! `metadata/version-hint.text`: follows the commits of the tables that ask, and nothing depends on it.

use std::fs;
use std::path::PathBuf;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::kit::{Server, schema};

const ASKED: &str = "floeberg.version-hint";

fn hint_at(server: &Server, table: &str) -> PathBuf {
    server.warehouse().join(format!("ns/{table}/metadata/version-hint.text"))
}

fn hint(server: &Server, table: &str) -> Option<String> {
    fs::read_to_string(hint_at(server, table)).ok()
}

/// What a hint would have to say now.
async fn current(server: &Server, table: &str) -> Option<String> {
    let loaded = server.get(&format!("/v1/namespaces/ns/tables/{table}")).await.expect(200).json();
    let file = loaded["metadata-location"].as_str()?.rsplit('/').next()?.to_owned();
    Some(file.strip_suffix(".metadata.json").expect("a metadata file").to_owned())
}

async fn create(server: &Server, name: &str, properties: &Value) {
    let body = json!({"name": name, "schema": schema(), "properties": properties});
    server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
}

async fn set(server: &Server, table: &str, properties: &Value) {
    server.commit(table, json!([]), json!([{"action": "set-properties", "updates": properties}])).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_follows_every_commit_of_a_table_that_asks() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server.table("plain").await;
    assert_eq!(hint(&server, "plain"), None);
    // No reader of hints knows compressed metadata.
    create(&server, "t", &json!({ASKED: "true", "write.metadata.compression-codec": "gzip"})).await;
    let first = hint(&server, "t");
    assert!(first.is_some() && first == current(&server, "t").await);
    join_all((0..40).map(async |n| set(&server, "t", &json!({"n": n.to_string()})).await)).await;
    assert!(hint(&server, "t") != first && hint(&server, "t") == current(&server, "t").await);
    set(&server, "plain", &json!({ASKED: "true"})).await;
    assert_eq!(hint(&server, "plain"), current(&server, "plain").await);
    server.post("/ingest/v1/ns/t", &json!([{"id": 1, "name": "a"}])).await.expect(200);
    assert_eq!(hint(&server, "t"), current(&server, "t").await, "rows that are pushed are a commit too");
    let left = fs::read_dir(server.warehouse().join("ns/t/metadata")).expect("there");
    let left = left.filter(|entry| {
        let name = entry.as_ref().expect("there").file_name().to_string_lossy().into_owned();
        !name.ends_with(".json") && !name.ends_with(".avro")
    });
    assert_eq!(left.count(), 1, "nothing is left beside it");
    let malformed = json!({"name": "bad", "schema": schema(), "properties": {ASKED: "perhaps"}});
    server.post("/v1/namespaces/ns/tables", &malformed).await.refused(400, "IllegalArgumentException", "true or false");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_that_is_kept_no_more_goes() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    for name in ["off", "moved", "purged"] {
        create(&server, name, &json!({ASKED: "true"})).await;
    }
    set(&server, "off", &json!({ASKED: "false"})).await;
    let elsewhere = format!("file://{}", server.warehouse().join("ns/elsewhere").display());
    let moved = json!([{"action": "set-location", "location": elsewhere}]);
    server.commit("moved", json!([]), moved).await.expect(200);
    assert_eq!(hint(&server, "elsewhere"), current(&server, "moved").await);
    server.delete("/v1/namespaces/ns/tables/purged?purgeRequested=true").await.expect(204);
    server
        .until("hints are gone", || async { ["off", "moved"].iter().all(|name| hint(&server, name).is_none()) })
        .await;
    server.until("all is gone", || async { !server.warehouse().join("ns/purged").exists() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_that_cannot_be_put_fails_no_commit() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    create(&server, "t", &json!({ASKED: "true"})).await;
    fs::remove_file(hint_at(&server, "t")).expect("there");
    fs::create_dir_all(hint_at(&server, "t").join("in the way")).expect("made");
    set(&server, "t", &json!({"a": "b"})).await;
    assert!(server.get("/metrics").await.text.contains("floeberg_version_hint_failures_total 1"));
    fs::remove_dir_all(hint_at(&server, "t")).expect("there");
    set(&server, "t", &json!({"a": "c"})).await;
    assert_eq!(hint(&server, "t"), current(&server, "t").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warehouse_asks_for_the_tables_that_do_not_say() {
    let server =
        Server::configured("[warehouses.lake]\nurl = \"file://DIR/floeberg-data/warehouse\"\nversion-hint = true\n")
            .await;
    server.namespace(&["ns"]).await;
    server.table("t").await;
    create(&server, "not", &json!({ASKED: "false"})).await;
    assert!(hint(&server, "t").is_some() && hint(&server, "t") == current(&server, "t").await);
    assert_eq!(hint(&server, "not"), None);
    // Taken in again, also under another name, it is the same table's.
    let at = server.get("/v1/namespaces/ns/tables/t").await.expect(200).json()["metadata-location"].clone();
    server.delete("/v1/namespaces/ns/tables/t").await.expect(204);
    fs::remove_file(hint_at(&server, "t")).expect("there");
    server.post("/v1/namespaces/ns/register", &json!({"name": "u", "metadata-location": at})).await.expect(200);
    assert_eq!(hint(&server, "t"), current(&server, "u").await);
}
