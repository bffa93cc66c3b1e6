//! Tables: create, stage, load, list, exists, rename, register, drop; entity tags and metrics reports.

use reqwest::Method;
use serde_json::json;

use crate::kit::{Server, append, schema, snapshot};

const TABLE: &str = "/v1/namespaces/ns/tables/t";

async fn server_with_table() -> (Server, serde_json::Value) {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let made = server.table("t").await;
    (server, made)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_lives() {
    let (server, made) = server_with_table().await;
    let metadata = &made["metadata"];
    assert_eq!(metadata["format-version"], 2);
    assert_eq!(metadata["properties"], json!({"write.parquet.compression-codec": "zstd"}));
    assert_eq!(metadata["current-snapshot-id"], -1);
    let file = made["metadata-location"].as_str().expect("a location");
    let on_disk = std::fs::read_to_string(file.trim_start_matches("file://")).expect("the metadata file");
    let on_disk: serde_json::Value = serde_json::from_str(&on_disk).expect("JSON");
    assert_eq!(on_disk, *metadata, "what is answered is what is on the disk");
    let location = metadata["location"].as_str().expect("a location");
    assert!(file.starts_with(&format!("{location}/metadata/00000-")) && file.ends_with(".metadata.json"), "{file}");
    server.head(TABLE).await.expect(204);
    assert_eq!(server.get(TABLE).await.expect(200).json(), made);
    let again = server.post("/v1/namespaces/ns/tables", &json!({"name": "t", "schema": schema()})).await;
    again.refused(409, "AlreadyExistsException", "Table already exists: ns.t");
    server.delete(TABLE).await.expect(204);
    server.get(TABLE).await.refused(404, "NoSuchTableException", "Table does not exist: ns.t");
    server.head(TABLE).await.expect(404);
    server.delete(TABLE).await.refused(404, "NoSuchTableException", "Table does not exist: ns.t");
    assert!(std::path::Path::new(file.trim_start_matches("file://")).exists(), "a drop without purge leaves the files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_namespace_is_told_apart() {
    let server = Server::start().await;
    let body = json!({"name": "t", "schema": schema()});
    let made = server.post("/v1/namespaces/non-existing/tables", &body).await;
    made.refused(404, "NoSuchNamespaceException", "Namespace does not exist: non-existing");
    server.get("/v1/namespaces/no/tables").await.refused(
        404,
        "NoSuchNamespaceException",
        "Namespace does not exist: no",
    );
    // Java looks for metadata tables this way; another type would break it.
    let table = server.get("/v1/namespaces/no%1Ft/tables/files").await;
    table.refused(404, "NoSuchTableException", "Table does not exist: no.t.files");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_given_afresh_and_follow_into_spec_and_order() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let body = json!({
        "name": "t",
        "schema": {"type": "struct", "identifier-field-ids": [0], "fields": [
            {"id": 0, "name": "id", "required": true, "type": "long"},
            {"id": 7, "name": "inner", "required": false, "type": {"type": "struct", "fields": [
                {"id": 8, "name": "a", "required": false, "type": "int"}]}},
            {"id": 5, "name": "list", "required": false, "type":
                {"type": "list", "element-id": 6, "element": "string", "element-required": false}},
            {"id": 3, "name": "map", "required": false, "type":
                {"type": "map", "key-id": 1, "key": "string", "value-id": 2, "value": "double", "value-required": false}},
            {"id": 4, "name": "time", "required": false, "type": "timestamptz", "doc": "when"},
        ]},
        "partition-spec": {"spec-id": 3, "type": "struct", "fields": [
            {"source-id": 4, "field-id": 77, "name": "time_day", "transform": "day"}]},
        "write-order": {"order-id": 9, "fields": [
            {"source-id": 0, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}]},
        "properties": {"format-version": "3", "uuid": "x"},
    });
    let metadata = server.post("/v1/namespaces/ns/tables", &body).await.expect(200).json()["metadata"].clone();
    let fields = metadata["schemas"][0]["fields"].as_array().expect("fields");
    let ids: Vec<i64> = fields.iter().map(|field| field["id"].as_i64().expect("an id")).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5], "breadth first from 1");
    assert_eq!(fields[1]["type"]["fields"][0]["id"], 6);
    assert_eq!(fields[2]["type"]["element-id"], 7);
    assert_eq!((&fields[3]["type"]["key-id"], &fields[3]["type"]["value-id"]), (&json!(8), &json!(9)));
    assert_eq!(metadata["schemas"][0]["identifier-field-ids"], json!([1]));
    assert_eq!(metadata["last-column-id"], 9);
    let field = &metadata["partition-specs"][0]["fields"][0];
    assert_eq!((&field["source-id"], &field["field-id"]), (&json!(5), &json!(1000)));
    assert_eq!((&metadata["default-spec-id"], &metadata["last-partition-id"]), (&json!(0), &json!(1000)));
    assert_eq!((&metadata["sort-orders"][0]["order-id"], &metadata["default-sort-order-id"]), (&json!(1), &json!(1)));
    assert_eq!((&metadata["format-version"], &metadata["next-row-id"]), (&json!(3), &json!(0)));
    assert!(metadata.get("current-snapshot-id").is_none(), "v3 leaves it out where there is none");
    assert_eq!(
        metadata["properties"],
        json!({"write.parquet.compression-codec": "zstd"}),
        "reserved ones are not kept"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_keeps_nothing_but_makes_the_folders() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let body = json!({"name": "t", "schema": schema(), "stage-create": true});
    let answer = server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
    assert!(answer.headers.get("etag").is_none());
    let staged = answer.json();
    assert!(staged.get("metadata-location").is_none());
    server.get(TABLE).await.expect(404);
    let location = staged["metadata"]["location"].as_str().expect("a location");
    let folder = std::path::Path::new(location.trim_start_matches("file://"));
    assert!(
        folder.join("metadata").is_dir() && folder.join("data").is_dir(),
        "DuckDB writes there before the table exists"
    );
    let none = std::fs::read_dir(folder.join("metadata")).expect("a folder").count();
    assert_eq!(none, 0, "no metadata file is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn entity_tags_spare_an_answer() {
    let (server, _) = server_with_table().await;
    let first = server.get(TABLE).await.expect(200);
    let etag = first.headers["etag"].to_str().expect("text").to_owned();
    for sent in [etag.as_str(), etag.trim_matches('"'), &format!("W/{etag}"), &format!("\"x\", {etag}"), "*"] {
        let answer = server.send(Method::GET, TABLE, &[("if-none-match", sent)], None).await.expect(304);
        assert_eq!((answer.text.as_str(), answer.headers["etag"].to_str().expect("text")), ("", etag.as_str()));
    }
    let refs = server.get(&format!("{TABLE}?snapshots=refs")).await.expect(200);
    assert_ne!(refs.headers["etag"], etag.as_str(), "the tag differs with what is shown");
    let updates = json!([{"action": "set-properties", "updates": {"a": "b"}}]);
    let committed = server.commit("t", json!([]), updates).await.expect(200);
    let now = server.send(Method::GET, TABLE, &[("if-none-match", &etag)], None).await.expect(200);
    assert_eq!(now.headers["etag"], committed.headers["etag"], "a commit answers with the tag of the next load");
    server.get(&format!("{TABLE}?snapshots=some")).await.refused(400, "BadRequestException", "some");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_referenced_snapshots_on_demand_and_gzip_when_asked() {
    let (server, made) = server_with_table().await;
    let location = made["metadata"]["location"].as_str().expect("a location");
    let mut parent = None;
    for id in 1..=60 {
        server.commit("t", json!([]), append(&snapshot(id, parent, id, location))).await.expect(200);
        parent = Some(id);
    }
    let tag = json!([{"action": "set-snapshot-ref", "ref-name": "v1", "type": "tag", "snapshot-id": 7}]);
    server.commit("t", json!([]), tag).await.expect(200);
    let all = server.get(&format!("{TABLE}?snapshots=all")).await.expect(200).json();
    assert_eq!(all["metadata"]["snapshots"].as_array().map(Vec::len), Some(60));
    let refs = server.get(&format!("{TABLE}?snapshots=refs")).await.expect(200).json();
    let ids: Vec<_> =
        refs["metadata"]["snapshots"].as_array().expect("a list").iter().map(|s| &s["snapshot-id"]).collect();
    assert_eq!(ids, [7, 60]);
    assert_eq!(refs["metadata"]["snapshot-log"], all["metadata"]["snapshot-log"]);
    // reqwest decompresses and takes the header away; a plain client asks for nothing and gets nothing.
    let raw = reqwest::Client::builder().no_gzip().build().expect("a client");
    let url = format!("{}{TABLE}", server.url);
    let packed = raw.get(&url).header("accept-encoding", "br;q=1, gzip;q=0.5").send().await.expect("an answer");
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let plain = raw.get(&url).header("accept-encoding", "gzip;q=0").send().await.expect("an answer");
    assert!(plain.headers().get("content-encoding").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_file_that_was_moved_away_is_missed_and_found_again() {
    let (server, made) = server_with_table().await;
    let file = made["metadata-location"].as_str().expect("a location").trim_start_matches("file://").to_owned();
    let aside = format!("{file}.aside");
    std::fs::rename(&file, &aside).expect("moved");
    server.get(TABLE).await.refused(404, "NotFoundException", "Failed to open input stream for file: file:///");
    std::fs::rename(&aside, &file).expect("moved back");
    server.get(TABLE).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_table_is_the_same_table() {
    let (server, made) = server_with_table().await;
    server.namespace(&["other"]).await;
    let rename = |from: &str, to: [&str; 2]| json!({"source": {"namespace": ["ns"], "name": from}, "destination": {"namespace": [to[0]], "name": to[1]}});
    let path = "/v1/tables/rename";
    server.post(path, &rename("x", ["ns", "y"])).await.refused(
        404,
        "NoSuchTableException",
        "Table does not exist: ns.x",
    );
    let nowhere = server.post(path, &rename("t", ["non_existing", "y"])).await;
    nowhere.refused(404, "NoSuchNamespaceException", "Namespace does not exist: non_existing");
    server.table("y").await;
    server.post(path, &rename("t", ["ns", "y"])).await.refused(
        409,
        "AlreadyExistsException",
        "Table already exists: ns.y",
    );
    server.post(path, &rename("t", ["ns", "t"])).await.refused(
        409,
        "AlreadyExistsException",
        "Table already exists: ns.t",
    );
    server.post(path, &rename("t", ["other", "u"])).await.expect(204);
    server.get(TABLE).await.expect(404);
    let moved = server.get("/v1/namespaces/other/tables/u").await.expect(200).json();
    assert_eq!(moved, made);
    let fresh = server.table("t").await;
    assert_ne!(fresh["metadata"]["location"], made["metadata"]["location"], "locations are never shared");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_can_be_registered_again() {
    let (server, made) = server_with_table().await;
    let file = &made["metadata-location"];
    let path = "/v1/namespaces/ns/register";
    let taken = server.post(path, &json!({"name": "t", "metadata-location": file})).await;
    taken.refused(409, "AlreadyExistsException", "Table already exists: ns.t");
    let shared = server.post(path, &json!({"name": "u", "metadata-location": file})).await;
    shared.refused(400, "ValidationException", "is taken");
    server.delete(TABLE).await.expect(204);
    let back = server.post(path, &json!({"name": "u", "metadata-location": file})).await.expect(200).json();
    assert_eq!(back, made, "the file is taken as it is");
    let updates = json!([{"action": "set-properties", "updates": {"a": "b"}}]);
    let newer = server.commit("u", json!([]), updates).await.expect(200).json();
    assert_ne!(newer["metadata-location"], made["metadata-location"]);
    let body = json!({"name": "u", "metadata-location": file, "overwrite": true});
    assert_eq!(server.post(path, &body).await.expect(200).json(), made);
    assert_eq!(server.get("/v1/namespaces/ns/tables/u").await.expect(200).json(), made);
    let gone = server
        .post(path, &json!({"name": "v", "metadata-location": format!("{}x", file.as_str().expect("text"))}))
        .await;
    gone.refused(404, "NotFoundException", "Failed to open input stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_kept_for_tables_and_counted_for_others() {
    let (server, _) = server_with_table().await;
    let report = json!({"report-type": "scan-report", "table-name": "ns.t", "snapshot-id": 1, "filter": true});
    for _ in 0..1_100 {
        server.post(&format!("{TABLE}/metrics"), &report).await.expect(204);
    }
    server.post("/v1/namespaces/no/tables/not-yet/metrics", &report).await.expect(204);
    let bad = server.send(Method::POST, &format!("{TABLE}/metrics"), &[], Some("{}".to_owned())).await;
    bad.refused(400, "BadRequestException", "report-type");
    let name =
        floeberg::names::TableName::new(floeberg::names::Namespace::new(&["ns"]).expect("valid"), "t").expect("valid");
    let row = server.app_catalog.find(&name).await.expect("a table");
    let kept = || async { server.app_catalog.store().count_reports(&row.id).await.expect("a number") };
    server.until("the newest 1 000 reports are kept", || async { kept().await == 1_000 }).await;
}
