//! Bad input: a clear 4xx each, and no effect.

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::{Server, schema};

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_cannot_be_read_are_refused() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let post = |path: &'static str, body: &str| server.send(Method::POST, path, &[], Some(body.to_owned()));
    let tables = "/v1/namespaces/ns/tables";
    post("/v1/namespaces", "").await.refused(400, "BadRequestException", "Malformed request body");
    post("/v1/namespaces", "{\"namespace\": [\"a\"").await.refused(400, "BadRequestException", "column");
    post("/v1/namespaces", "[1]").await.refused(400, "BadRequestException", "Malformed request body");
    post("/v1/namespaces", "{\"namespace\": \"a\"}").await.refused(400, "BadRequestException", "invalid type");
    post("/v1/namespaces", "{\"namespace\": []}").await.refused(400, "BadRequestException", "at least one level");
    post("/v1/namespaces", "{\"namespace\": [\"a\", \"\"]}").await.refused(400, "BadRequestException", "is empty");
    post("/v1/namespaces", "{\"namespace\": [\"a\\u001fb\"]}").await.refused(
        400,
        "BadRequestException",
        "control character",
    );
    post(tables, "{\"name\": \"t\"}").await.refused(400, "BadRequestException", "schema");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    post("/v1/namespaces", &deep).await.refused(400, "BadRequestException", "Malformed request body");
    let twice = "{\"name\": \"t\", \"schema\": {\"type\": \"struct\", \"fields\": [], \"fields\": []}}";
    post(tables, twice).await.refused(400, "BadRequestException", "twice");
    server.get("/v1/namespaces/%ff").await.refused(400, "BadRequestException", "UTF-8");
    server.get("/v1/namespaces/a%1F").await.refused(400, "BadRequestException", "is empty");
    server.delete("/v1/namespaces/ns/tables/t?purgeRequested=maybe").await.refused(
        400,
        "BadRequestException",
        "purgeRequested",
    );
    let big = server.send(Method::POST, "/v1/namespaces/ns/tables/t/metrics", &[], Some("x".repeat(2 << 20))).await;
    big.refused(413, "BadRequestException", "bytes");
    let left = server.get("/v1/namespaces").await.json();
    assert_eq!(left["namespaces"], json!([["ns"]]), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_that_cannot_be_are_refused() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let field = |id: i32, name: &str, kind: Value| json!({"id": id, "name": name, "required": false, "type": kind});
    let mut nested = json!("int");
    for _ in 0..100 {
        nested = json!({"type": "list", "element-id": 5, "element": nested, "element-required": false});
    }
    let cases = [
        (json!([field(1, "a", json!("int")), field(1, "b", json!("int"))]), "used twice"),
        (json!([field(1, "a", json!("int")), field(2, "a", json!("int"))]), "two fields called"),
        (json!([field(1, "a", json!("decimal(50, 2)"))]), "precision"),
        (json!([field(1, "a", json!({"type": "heap"}))]), "heap"),
        (json!([field(1, "a", json!("variant"))]), "variant is not supported until v3"),
        (json!([field(1, "a", nested)]), "nested deeper"),
    ];
    for (fields, part) in cases {
        let body = json!({"name": "t", "schema": {"type": "struct", "fields": fields}});
        let answer = server.post("/v1/namespaces/ns/tables", &body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(answer.text.contains(part), "{part:?}: {}", answer.text);
    }
    server.get("/v1/namespaces/ns/tables/t").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn specs_orders_and_properties_that_cannot_be_are_refused() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let create = |extra: Value| {
        let mut body = json!({"name": "t", "schema": schema()});
        for (key, value) in extra.as_object().expect("an object") {
            body[key] = value.clone();
        }
        let server = &server;
        async move { server.post("/v1/namespaces/ns/tables", &body).await }
    };
    let spec = |source: i32, name: &str, transform: &str| json!({"partition-spec": {"fields": [{"source-id": source, "field-id": 1000, "name": name, "transform": transform}]}});
    for (extra, part) in [
        (spec(9, "x", "identity"), "Cannot find source column"),
        (spec(2, "x", "day"), "Invalid source type string for transform day"),
        (spec(1, "name", "bucket[4]"), "name that exists in schema"),
        (spec(1, "", "identity"), "empty partition name"),
        (
            json!({"write-order": {"fields": [{"source-id": 9, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}]}}),
            "Cannot find source column",
        ),
        (
            json!({"write-order": {"order-id": 0, "fields": [{"source-id": 1, "transform": "identity", "direction": "up", "null-order": "nulls-first"}]}}),
            "neither asc nor desc",
        ),
        (json!({"properties": {"commit.retry.num-retries": "abc"}}), "commit.retry.num-retries"),
        (json!({"properties": {"format-version": "9"}}), "format-version"),
        (json!({"properties": {"a": 1}}), "invalid type"),
    ] {
        let answer = create(extra).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(answer.text.contains(part), "{part:?}: {}", answer.text);
    }
    server.get("/v1/namespaces/ns/tables/t").await.expect(404);
    // An engine's commit is not refused for a value that may be its own.
    server.table("u").await;
    let updates = json!([{"action": "set-properties", "updates": {"commit.retry.num-retries": "abc"}}]);
    server.commit("u", json!([]), updates).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_that_cannot_be_are_refused() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let before = server.table("t").await;
    let set_ref = |kind: &str, id: i64| json!({"action": "set-snapshot-ref", "ref-name": "main", "type": kind, "snapshot-id": id});
    for (update, part) in [
        (json!({"action": "fly"}), "not known"),
        (json!({"no": "action"}), "action"),
        (json!({"action": "set-current-schema", "schema-id": -1}), "no schema has been added"),
        (json!({"action": "set-current-schema", "schema-id": 7}), "unknown schema: 7"),
        (json!({"action": "set-default-spec", "spec-id": -1}), "no spec has been added"),
        (json!({"action": "set-default-sort-order", "sort-order-id": -1}), "no sort order has been added"),
        (set_ref("branch", 5), "unknown snapshot: 5"),
        (
            json!({"action": "set-snapshot-ref", "ref-name": "b", "type": "tag", "snapshot-id": 5, "min-snapshots-to-keep": 1}),
            "Tags do not support",
        ),
        (json!({"action": "remove-partition-specs", "spec-ids": [0]}), "default partition spec"),
        (json!({"action": "remove-schemas", "schema-ids": [0]}), "current schema"),
        (json!({"action": "set-location"}), "location"),
        (json!({"action": "assign-uuid", "uuid": "other"}), "Cannot reassign uuid"),
        (json!({"action": "add-snapshot", "snapshot": {"snapshot-id": 1.5}}), "snapshot-id"),
    ] {
        let answer = server.commit("t", json!([]), json!([update])).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(answer.text.contains(part), "{part:?}: {}", answer.text);
    }
    let other = json!({"identifier": {"namespace": ["ns"], "name": "u"}, "requirements": [], "updates": []});
    server.post("/v1/namespaces/ns/tables/t", &other).await.refused(400, "BadRequestException", "the path ns.t");
    assert_eq!(server.get("/v1/namespaces/ns/tables/t").await.json(), before, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_metadata_is_never_quoted() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let folder = server.warehouse().join("stray");
    std::fs::create_dir_all(&folder).expect("made");
    let gzip = [0x1f, 0x8b, 8, 0, 0].as_slice();
    for (name, content) in [
        ("text", b"secret words".as_slice()),
        ("json", b"{\"secret\": \"words\"}"),
        ("number", b"5"),
        ("latin", b"\xffsecret"),
        ("version", b"{\"format-version\": 9, \"secret\": 1}"),
        ("gzip", gzip),
    ] {
        let file = folder.join(name);
        std::fs::write(&file, content).expect("written");
        let body = json!({"name": "t", "metadata-location": format!("file://{}", file.display())});
        let answer = server.post("/v1/namespaces/ns/register", &body).await;
        answer.refused(400, "ValidationException", "is not table metadata");
        assert!(!answer.text.contains("secret"), "{}", answer.text);
    }
    let folder = json!({"name": "t", "metadata-location": format!("file://{}", folder.display())});
    server.post("/v1/namespaces/ns/register", &folder).await.refused(404, "NotFoundException", "Failed to open");
}

#[tokio::test(flavor = "multi_thread")]
async fn warehouses_are_selected_by_name_or_root() {
    let server = Server::start().await;
    let root = format!("file://{}", server.warehouse().display());
    for good in ["", "default", root.as_str(), root.replace("file://", "file:").as_str()] {
        let config = server.get(&format!("/v1/config?warehouse={good}")).await.expect(200).json();
        assert_eq!(config["overrides"]["namespace-separator"], "%1F");
        assert!(config["defaults"].is_object());
    }
    server.get("/v1/config?warehouse=moon").await.refused(404, "NoSuchWarehouseException", "moon");
    let none = server.send(Method::GET, "/v1/config", &[("authorization", "Bearer None")], None).await;
    none.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_at_the_end_of_their_range_are_not_passed() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let made = server.table("t").await;
    let location = made["metadata-location"].as_str().expect("a location").trim_start_matches("file://").to_owned();
    let mut metadata: Value = serde_json::from_slice(&std::fs::read(&location).expect("the file")).expect("JSON");
    let last = i64::from(i32::MAX);
    for (list, id, default) in [
        ("schemas", "schema-id", "current-schema-id"),
        ("partition-specs", "spec-id", "default-spec-id"),
        ("sort-orders", "order-id", "default-sort-order-id"),
    ] {
        let mut one = metadata[list][0].clone();
        one[id] = json!(last);
        metadata[list].as_array_mut().expect("a list").push(one);
        if list != "sort-orders" {
            metadata[default] = json!(last);
        }
    }
    metadata["last-partition-id"] = json!(last);
    std::fs::write(&location, metadata.to_string()).expect("written");
    let server = server.restart().await;
    let fields = json!([{"id": 1, "name": "id", "required": true, "type": "long"}, {"id": 9, "name": "x", "required": false, "type": "int"}]);
    let bucket = json!({"name": "b", "source-id": 1, "transform": "bucket[4]"});
    let sort = json!({"source-id": 1, "transform": "identity", "direction": "asc", "null-order": "nulls-first"});
    for update in [
        json!({"action": "add-schema", "schema": {"type": "struct", "fields": fields}}),
        json!({"action": "add-spec", "spec": {"fields": [bucket]}}),
        json!({"action": "add-sort-order", "sort-order": {"order-id": 1, "fields": [sort]}}),
    ] {
        server.commit("t", json!([]), json!([update])).await.refused(400, "ValidationException", "end of its range");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_under_way_are_bounded_together() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start().await;
    let address = server.url.trim_start_matches("http://");
    let length = 64 << 20;
    let head = format!("POST /v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    // All but the last byte of each: none of them ends. Five do not fit, however much of each is still on its way.
    let rest = vec![b' '; length - 1];
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(&rest).await.expect("sent");
        held.push(stream);
    }
    let mut refused = 0;
    while let Some(mut last) = held.pop() {
        last.shutdown().await.expect("nothing more comes");
        let mut answer = String::new();
        last.read_to_string(&mut answer).await.expect("an answer");
        let full = answer.starts_with("HTTP/1.1 503") && answer.contains("request bodies under way");
        assert!(full || answer.starts_with("HTTP/1.1 400"), "{answer}");
        refused += usize::from(full);
    }
    assert!(refused > 0, "five bodies of 64 MiB were taken at once");
    server.namespace(&["small"]).await;
}
