//! Views: their life, their rules, and the names they share with tables.

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::{Server, schema};

const VIEW: &str = "/v1/namespaces/ns/views/v";

fn version(id: i64, queries: &[(&str, &str)]) -> Value {
    let representations: Vec<Value> =
        queries.iter().map(|(dialect, sql)| json!({"type": "sql", "sql": sql, "dialect": dialect})).collect();
    json!({"version-id": id, "timestamp-ms": 1_000 + id, "schema-id": -1, "summary": {"engine-name": "x", "odd": "kept"},
        "default-catalog": "c", "default-namespace": ["ns"], "representations": representations})
}

fn view(name: &str) -> Value {
    json!({"name": name, "schema": schema(), "view-version": version(7, &[("spark", "select 1")]),
        "properties": {"comment": "a view"}})
}

async fn server_with_view() -> (Server, Value) {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let made = server.post("/v1/namespaces/ns/views", &view("v")).await.expect(200).json();
    (server, made)
}

async fn commit(server: &Server, updates: Value) -> crate::kit::Answer {
    server.post(VIEW, &json!({"requirements": [], "updates": updates})).await
}

fn replaced(queries: &[(&str, &str)]) -> Value {
    json!([
        {"action": "add-schema", "schema": schema()},
        {"action": "add-view-version", "view-version": version(1, queries)},
        {"action": "set-current-view-version", "view-version-id": -1},
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_lives() {
    let (server, made) = server_with_view().await;
    let metadata = &made["metadata"];
    assert_eq!((&metadata["format-version"], &metadata["current-version-id"]), (&json!(1), &json!(1)));
    assert_eq!(metadata["versions"][0]["summary"], json!({"engine-name": "x", "odd": "kept"}));
    assert_eq!(metadata["versions"][0]["default-catalog"], "c");
    assert_eq!(metadata["version-log"], json!([{"timestamp-ms": 1_007, "version-id": 1}]));
    let file = made["metadata-location"].as_str().expect("a location");
    assert!(file.ends_with(".gz.metadata.json") && file.contains("/00000-"), "{file}");
    server.head(VIEW).await.expect(204);
    let loaded = server.get(VIEW).await.expect(200);
    assert_eq!(loaded.json(), made);
    let etag = loaded.headers["etag"].to_str().expect("text").to_owned();
    server.send(Method::GET, VIEW, &[("if-none-match", &etag)], None).await.expect(304);
    let listed = server.get("/v1/namespaces/ns/views").await.expect(200).json();
    assert_eq!(listed["identifiers"], json!([{"namespace": ["ns"], "name": "v"}]));
    assert_eq!(server.get("/v1/namespaces/ns/tables").await.json()["identifiers"], json!([]));
    // What was written is read again by another process.
    let server = server.restart().await;
    assert_eq!(server.get(VIEW).await.expect(200).json(), made);
    server.delete("/v1/namespaces/ns").await.refused(409, "NamespaceNotEmptyException", "is not empty");
    server.delete(VIEW).await.expect(204);
    server.head(VIEW).await.expect(404);
    server.get(VIEW).await.refused(404, "NoSuchViewException", "View does not exist: ns.v");
    server.delete(VIEW).await.refused(404, "NoSuchViewException", "View does not exist: ns.v");
    assert!(std::path::Path::new(file.trim_start_matches("file://")).exists(), "a drop leaves the files");
    let body = json!({"name": "again", "metadata-location": file});
    let again = server.post("/v1/namespaces/ns/register-view", &body).await.expect(200).json();
    assert_eq!(again, made, "what was registered is what was dropped");
    server.post("/v1/namespaces/ns/register-view", &body).await.refused(
        409,
        "AlreadyExistsException",
        "View already exists: ns.again",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_replaced() {
    let (server, made) = server_with_view().await;
    let same = commit(&server, replaced(&[("spark", "select 1")])).await.expect(200).json();
    assert_eq!(same["metadata-location"], made["metadata-location"], "the same again writes nothing");
    let next = commit(&server, replaced(&[("Spark", "select 2"), ("trino", "select 2")])).await.expect(200);
    let etag = next.headers["etag"].clone();
    let next = next.json();
    assert_eq!(next["metadata"]["current-version-id"], 2);
    assert_eq!(next["metadata"]["versions"].as_array().map(Vec::len), Some(2));
    let loaded = server.get(VIEW).await;
    assert_eq!((loaded.json(), &loaded.headers["etag"]), (next, &etag));
    let properties = json!([
        {"action": "set-properties", "updates": {"a": "b", "version.history.num-entries": "1"}},
        {"action": "remove-properties", "removals": ["comment", "none"]},
    ]);
    let next = commit(&server, properties).await.expect(200).json();
    assert_eq!(next["metadata"]["properties"], json!({"a": "b", "version.history.num-entries": "1"}));
    assert_eq!(next["metadata"]["versions"].as_array().map(Vec::len), Some(1), "the older version went");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_rule_of_views_is_refused() {
    let (server, made) = server_with_view().await;
    let twice = replaced(&[("spark", "select 1"), ("SPARK", "select 2")]);
    let two = json!([{"action": "set-current-view-version", "view-version-id": 9}]);
    let none = json!([{"action": "set-current-view-version", "view-version-id": -1}]);
    let schema_of_nothing = json!([{"action": "add-view-version", "view-version": version(1, &[("spark", "x")])}]);
    let entries = json!([{"action": "set-properties", "updates": {"version.history.num-entries": "0"}}]);
    for (updates, kind, part) in [
        (twice, "IllegalArgumentException", "Cannot add multiple queries for dialect spark"),
        (replaced(&[("trino", "x")]), "IllegalArgumentException", "loss of view dialects"),
        (replaced(&[]), "IllegalArgumentException", "it needs a query"),
        (two, "IllegalArgumentException", "unknown version: 9"),
        (none, "ValidationException", "no current version id has been set"),
        (schema_of_nothing, "ValidationException", "no schema has been added"),
        (entries, "IllegalArgumentException", "must be positive but was 0"),
        (json!([{"action": "assign-uuid", "uuid": "x"}]), "ValidationException", "Cannot reassign uuid"),
        (json!([{"action": "upgrade-format-version", "format-version": 2}]), "IllegalArgumentException", "v2"),
        (json!([{"action": "add-spec", "spec": {"fields": []}}]), "BadRequestException", "not for views"),
        (json!([{"action": "set-location", "location": ""}]), "ValidationException", "is empty"),
    ] {
        commit(&server, updates).await.refused(400, kind, part);
    }
    let away = json!([{"action": "set-location", "location": "file:///etc"}]);
    commit(&server, away).await.refused(403, "ForbiddenException", "file:///etc");
    let other = json!({"requirements": [{"type": "assert-view-uuid", "uuid": "other"}], "updates": []});
    server.post(VIEW, &other).await.refused(409, "CommitFailedException", "view UUID does not match");
    let table = json!({"requirements": [{"type": "assert-table-uuid", "uuid": "x"}], "updates": []});
    server.post(VIEW, &table).await.refused(400, "ValidationException", "against a view");
    let right = json!({"requirements": [{"type": "assert-view-uuid", "uuid": made["metadata"]["view-uuid"]}],
        "updates": []});
    assert_eq!(server.post(VIEW, &right).await.expect(200).json(), made, "nothing of all that had an effect");
    let file = json!({"name": "w", "metadata-location": "file:///etc/passwd"});
    server.post("/v1/namespaces/ns/register-view", &file).await.refused(403, "ForbiddenException", "/etc/passwd");
    let mut outside = view("w");
    outside["location"] = json!("file:///elsewhere/w");
    server.post("/v1/namespaces/ns/views", &outside).await.refused(403, "ForbiddenException", "elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_views_share_their_names() {
    let (server, _) = server_with_view().await;
    server.table("t").await;
    let exists = "AlreadyExistsException";
    let table = json!({"name": "v", "schema": schema()});
    server.post("/v1/namespaces/ns/tables", &table).await.refused(
        409,
        exists,
        "View with same name already exists: ns.v",
    );
    server.post("/v1/namespaces/ns/views", &view("t")).await.refused(
        409,
        exists,
        "Table with same name already exists: ns.t",
    );
    server.post("/v1/namespaces/ns/views", &view("v")).await.refused(409, exists, "View already exists: ns.v");
    server.get("/v1/namespaces/ns/tables/v").await.refused(404, "NoSuchTableException", "Table does not exist: ns.v");
    server.get("/v1/namespaces/ns/views/t").await.refused(404, "NoSuchViewException", "View does not exist: ns.t");
    server.delete("/v1/namespaces/ns/tables/v").await.expect(404);
    server.delete("/v1/namespaces/ns/views/t").await.expect(404);
    let creation = json!({"requirements": [{"type": "assert-create"}], "updates": []});
    server.post("/v1/namespaces/ns/tables/v", &creation).await.refused(409, exists, "View with same name");
    let update = json!({"requirements": [], "updates": []});
    server.post("/v1/namespaces/ns/tables/v", &update).await.refused(404, "NoSuchTableException", "ns.v");
    let names = |from: &str, to: &str| json!({"source": {"namespace": ["ns"], "name": from}, "destination": {"namespace": ["ns"], "name": to}});
    let renamed = server.post("/v1/views/rename", &names("v", "t")).await;
    renamed.refused(409, exists, "Cannot rename ns.v to ns.t. Table already exists");
    let renamed = server.post("/v1/tables/rename", &names("t", "v")).await;
    renamed.refused(409, exists, "Cannot rename ns.t to ns.v. View already exists");
    server.post("/v1/views/rename", &names("t", "w")).await.refused(404, "NoSuchViewException", "ns.t");
    server.post("/v1/views/rename", &names("v", "w")).await.expect(204);
    server.head("/v1/namespaces/ns/views/w").await.expect(204);
    server.head(VIEW).await.expect(404);
    let rows = server.post("/ingest/v1/ns/w", &json!([{"id": 1}])).await.expect(409);
    assert!(rows.text.contains("View with same name already exists"), "{}", rows.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_unregistered_keeps_its_files_and_comes_back() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server.table("t").await;
    let set = json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {"k": "v"}}]});
    let last = server.post("/v1/namespaces/ns/tables/t", &set).await.expect(200).json();
    let gone = server.post("/v1/namespaces/ns/tables/t/unregister", &json!({})).await.expect(200);
    assert!(gone.headers.contains_key("etag"));
    assert_eq!(gone.json(), last, "it is told as it was after the last commit");
    server.post("/v1/namespaces/ns/tables/t", &set).await.refused(404, "NoSuchTableException", "ns.t");
    server.post("/v1/namespaces/ns/tables/t/unregister", &json!({})).await.refused(
        404,
        "NoSuchTableException",
        "Table does not exist: ns.t",
    );
    let body = json!({"name": "back", "metadata-location": last["metadata-location"]});
    let back = server.post("/v1/namespaces/ns/register", &body).await.expect(200).json();
    assert_eq!(back["metadata"], last["metadata"]);
}
