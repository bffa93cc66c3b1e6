//! Format versions 1 to 3: what each may have, what is kept as it came, and which schema may follow another.

use serde_json::{Value, json};

use crate::kit::{Server, append, snapshot};

async fn server() -> Server {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server
}

fn field(id: i32, name: &str, kind: impl Into<Value>) -> Value {
    json!({"id": id, "name": name, "required": false, "type": kind.into()})
}

fn with(mut field: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().expect("members") {
        field[key] = value.clone();
    }
    field
}

fn table(name: &str, version: u8, fields: &Value) -> Value {
    json!({"name": name, "schema": {"type": "struct", "fields": fields},
        "properties": {"format-version": version.to_string()}})
}

const TABLES: &str = "/v1/namespaces/ns/tables";

#[tokio::test(flavor = "multi_thread")]
async fn what_v3_has_is_kept_as_it_came() {
    let server = server().await;
    let fields = json!([
        with(field(1, "id", "long"), &json!({"required": true})),
        field(2, "v", "variant"),
        field(3, "g", "geometry(srid:4326)"),
        field(4, "h", "geography(srid:4326, spherical)"),
        field(5, "u", "unknown"),
        field(6, "n", "timestamp_ns"),
        field(7, "z", "timestamptz_ns"),
        with(field(8, "d", "decimal(9, 2)"), &json!({"initial-default": "1.50", "write-default": "2.50"})),
        with(field(9, "s", "string"), &json!({"initial-default": "x", "doc": "said"})),
    ]);
    let made = server.post(TABLES, &table("t", 3, &fields)).await.expect(200).json();
    assert_eq!(made["metadata"]["schemas"][0]["fields"], fields);
    assert_eq!((&made["metadata"]["format-version"], &made["metadata"]["next-row-id"]), (&json!(3), &json!(0)));
    let location = made["metadata"]["location"].as_str().expect("a location");
    let key =
        json!({"key-id": "k1", "encrypted-key-metadata": "AAE=", "encrypted-by-id": "k0", "properties": {"a": "b"}});
    let mut first = snapshot(1, None, 1, location);
    for (member, value) in
        [("first-row-id", json!(0)), ("added-rows", json!(10)), ("key-id", json!("k1")), ("later", json!({"x": [1]}))]
    {
        first[member] = value;
    }
    let spec = json!({"fields": [{"source-ids": [1, 9], "name": "p", "transform": "zorder[2]", "w": 4}]});
    let order = json!({"order-id": 1, "fields": [{"source-ids": [1, 9], "transform": "hilbert", "direction": "asc", "null-order": "nulls-last"}]});
    let mut updates = append(&first);
    updates.as_array_mut().expect("updates").extend([
        json!({"action": "add-encryption-key", "encryption-key": key}),
        json!({"action": "add-spec", "spec": spec}),
        json!({"action": "add-sort-order", "sort-order": order}),
    ]);
    let done = server.commit("t", json!([]), updates).await.expect(200).json();
    assert_eq!(done["metadata"]["next-row-id"], 10);
    assert_eq!(done["metadata"]["snapshots"], json!([first]));
    assert_eq!(done["metadata"]["encryption-keys"], json!([key]));
    let added = &done["metadata"]["partition-specs"][1]["fields"][0];
    assert_eq!(
        (&added["source-ids"], &added["transform"], &added["w"]),
        (&json!([1, 9]), &json!("zorder[2]"), &json!(4))
    );
    assert_eq!(done["metadata"]["sort-orders"][1]["fields"][0]["source-ids"], json!([1, 9]));
    let server = server.restart().await;
    let again = server.get(&format!("{TABLES}/t")).await.expect(200).json();
    assert_eq!(again["metadata"], done["metadata"]);
    let gone = json!([{"action": "remove-encryption-key", "key-id": "k1"}]);
    let less = server.commit("t", json!([]), gone).await.expect(200).json();
    assert!(less["metadata"]["encryption-keys"].as_array().is_none_or(Vec::is_empty));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_reader_takes_is_refused() {
    let server = server().await;
    let defaults = |kind: &str, default: Value| with(field(1, "a", kind), &json!({"initial-default": default}));
    for (version, wrong, part) in [
        (2, field(1, "a", "nonsense"), "there is no type \"nonsense\""),
        (3, field(1, "a", "timestamp_s"), "there is no type \"timestamp_s\""),
        (3, with(field(1, "a", "unknown"), &json!({"required": true})), "unknown is always null"),
        (3, defaults("long", json!("abc")), "initial-default for a: \"abc\" is not a value of type long"),
        (3, defaults("int", json!(3_000_000_000_u64)), "is not a value of type int"),
        (3, defaults("date", json!(5)), "is not a value of type date"),
        (3, defaults("variant", json!({"a": 1})), "is not a value of type variant"),
        (3, defaults("geometry", json!("POINT (1 2)")), "is not a value of type geometry"),
        (3, with(field(1, "a", "uuid"), &json!({"write-default": "x"})), "write-default for a"),
        (
            3,
            with(
                field(1, "a", json!({"type": "struct", "fields": [field(2, "b", "int")]})),
                &json!({"write-default": {"2": 1}}),
            ),
            "write-default for a",
        ),
        (2, defaults("long", json!(1)), "not supported until v3"),
        (2, field(1, "a", "timestamp_ns"), "timestamp_ns is not supported until v3"),
        (1, field(1, "a", "geography"), "geography is not supported until v3"),
        (2, field(1, "a", "unknown"), "unknown is not supported until v3"),
    ] {
        server.post(TABLES, &table("t", version, &json!([wrong]))).await.refused(400, "ValidationException", part);
        // Nor may a commit make such a table of a good one.
        let name = format!("v{version}");
        drop(server.post(TABLES, &table(&name, version, &json!([field(9, "ok", "long")]))).await);
        let mut later = wrong.clone();
        later["id"] = json!(30);
        let schema = json!({"type": "struct", "fields": [field(1, "ok", "long"), later]});
        let updates =
            json!([{"action": "add-schema", "schema": schema}, {"action": "set-current-schema", "schema-id": -1}]);
        server.commit(&name, json!([]), updates).await.refused(400, "ValidationException", part);
    }
    for kind in ["variant", "geometry"] {
        let of = json!([with(field(1, "a", kind), &json!({"required": true}))]);
        let mut body = table("t", 3, &of);
        body["schema"]["identifier-field-ids"] = json!([1]);
        server.post(TABLES, &body).await.refused(400, "ValidationException", "its type has no equality");
        let mut body = table("t", 3, &of);
        body["partition-spec"] = json!({"fields": [{"source-id": 1, "name": "p", "transform": "identity"}]});
        server.post(TABLES, &body).await.refused(400, "ValidationException", "Invalid source type");
    }
    let mut body = table("t", 2, &json!([field(1, "a", "long"), field(2, "b", "long")]));
    body["partition-spec"] = json!({"fields": [{"source-ids": [1, 2], "name": "p", "transform": "zorder"}]});
    server.post(TABLES, &body).await.refused(400, "ValidationException", "not supported until v3");
}

/// Adds a schema and makes it the current one.
fn change(fields: &Value) -> Value {
    json!([{"action": "add-schema", "schema": {"type": "struct", "fields": fields}},
        {"action": "set-current-schema", "schema-id": -1}])
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_there_stay_readable() {
    let server = server().await;
    let before = json!([field(1, "a", "int"), field(2, "b", "string")]);
    let made = server.post(TABLES, &table("t", 3, &before)).await.expect(200).json();
    let location = made["metadata"]["location"].as_str().expect("a location").to_owned();
    let required = with(field(3, "c", "int"), &json!({"required": true}));
    // A table without rows takes any schema.
    let any = json!([field(1, "a", "string"), field(2, "b", "string"), required]);
    server.commit("t", json!([]), change(&any)).await.expect(200);
    server.commit("t", json!([]), change(&before)).await.expect(200);
    let rows = |id: i64, parent: Option<i64>| {
        let mut made = snapshot(id, parent, id, &location);
        (made["first-row-id"], made["added-rows"]) = (json!(0), json!(0));
        made
    };
    server.commit("t", json!([]), append(&rows(1, None))).await.expect(200);
    for (after, part) in [
        (
            json!([field(1, "a", "string"), field(2, "b", "string")]),
            "- a (id 1): its type cannot change from int to string",
        ),
        (
            json!([field(1, "a", "int"), with(field(2, "b", "string"), &json!({"required": true}))]),
            "- b (id 2): an optional",
        ),
        (json!([field(1, "a", "int"), required]), "- c (id 3): a new required column needs an initial-default"),
    ] {
        server.commit("t", json!([]), change(&after)).await.refused(400, "ValidationException", part);
    }
    let filled = with(required.clone(), &json!({"initial-default": 7}));
    for after in [
        json!([field(1, "renamed", "long"), field(2, "b", "string")]),
        json!([field(2, "b", "string"), field(1, "renamed", "long"), filled]),
        json!([filled]),
    ] {
        server.commit("t", json!([]), change(&after)).await.expect(200);
    }
    // Who replaces the rows in the same commit may have any schema.
    let mut replace = change(&json!([field(1, "a", "boolean")]));
    let more = [json!({"action": "remove-snapshot-ref", "ref-name": "main"})];
    replace
        .as_array_mut()
        .expect("updates")
        .extend(more.into_iter().chain(append(&rows(9, None)).as_array().cloned().expect("updates")));
    let replaced = server.commit("t", json!([]), replace).await.expect(200).json();
    assert_eq!(replaced["metadata"]["current-snapshot-id"], 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registered_table_has_is_its_own() {
    let server = server().await;
    let made = server.post(TABLES, &table("t", 3, &json!([field(1, "a", "long")]))).await.expect(200).json();
    let file = made["metadata-location"].as_str().expect("a file").trim_start_matches("file://").to_owned();
    let text = std::fs::read_to_string(&file).expect("metadata").replace("\"long\"", "\"of-tomorrow\"");
    let other = file.replace("00000-", "00007-");
    std::fs::write(&other, text).expect("written");
    server.delete(&format!("{TABLES}/t")).await.expect(204);
    let body = json!({"name": "t", "metadata-location": format!("file://{other}")});
    server.post("/v1/namespaces/ns/register", &body).await.expect(200);
    let updates = json!([{"action": "set-properties", "updates": {"k": "v"}}]);
    let done = server.commit("t", json!([]), updates).await.expect(200).json();
    assert_eq!(done["metadata"]["schemas"][0]["fields"][0]["type"], "of-tomorrow");
}
