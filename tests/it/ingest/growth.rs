//! Tables that grow by what rows have.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use serde_json::json;

use super::formats::{ARROW, arrow};
use super::{columns, current, metadata, problem, push, rows};
use crate::kit::{Server, schema};

fn pairs(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    wanted.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_fields_become_columns() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"id\":1,\"s\":{\"a\":1}}").await.expect(200);
    let before = metadata(&server, "ns", "t").await;
    let body =
        "{\"id\":2}\n{\"id\":3,\"new\":\"x\",\"s\":{\"b\":[{\"c\":true}]}}\n{\"id\":4,\"new\":\"y\",\"nothing\":null}";
    push(&server, "ns/t", body).await.expect(200);
    let after = metadata(&server, "ns", "t").await;
    assert_eq!(columns(&after), pairs(&[("id", "long"), ("s", "\"struct\""), ("new", "string")]));
    assert_eq!(after["last-column-id"].as_i64(), before["last-column-id"].as_i64().map(|last| last + 4));
    // The columns came first, in a commit of their own; then all rows together.
    assert_eq!(current(&after)["schema-id"], after["current-schema-id"]);
    assert_eq!(current(&after)["summary"]["added-records"], "3");
    assert_eq!(
        rows(&server, "t").await,
        [
            json!({"id": 1, "s": {"a": 1}}),
            json!({"id": 2}),
            json!({"id": 3, "s": {"b": [{"c": true}]}, "new": "x"}),
            json!({"id": 4, "new": "y"}),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn types_widen_and_columns_become_optional() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let fields = json!([
        {"id": 1, "name": "i", "required": true, "type": "int"},
        {"id": 2, "name": "f", "required": true, "type": "float"},
        {"id": 3, "name": "d", "required": true, "type": "decimal(4, 2)"},
        {"id": 4, "name": "key", "required": true, "type": "int"},
    ]);
    let schema = json!({"type": "struct", "fields": fields, "identifier-field-ids": [4]});
    server.post("/v1/namespaces/ns/tables", &json!({"name": "t", "schema": schema})).await.expect(200);
    push(&server, "ns/t", "{\"i\":1,\"f\":1,\"d\":1,\"key\":1}").await.expect(200);
    push(&server, "ns/t", "{\"i\":3000000000,\"f\":16777217,\"d\":123456.78,\"key\":2}").await.expect(200);
    let wide = [("i", "long"), ("f", "double"), ("d", "decimal(8, 2)"), ("key", "int")];
    assert_eq!(columns(&metadata(&server, "ns", "t").await), pairs(&wide));
    push(&server, "ns/t", "{\"key\":3,\"i\":null}").await.expect(200);
    let values = rows(&server, "t").await;
    assert!(values.contains(&json!({"key": 3})) && values.len() == 3, "{values:?}");
    // What identifies a row is always there; and nothing is narrowed, rounded or guessed.
    problem(&push(&server, "ns/t", "{\"i\":1}").await, 422, "null_in_required", "/key");
    problem(&push(&server, "ns/t", "{\"key\":4,\"i\":1.5}").await, 422, "not_integral", "/i");
    problem(&push(&server, "ns/t", "{\"key\":4,\"i\":\"x\"}").await, 422, "wrong_type", "/i");
    problem(&push(&server, "ns/t", "{\"key\":4,\"d\":0.001}").await, 422, "excess_scale", "/d");
    problem(&push(&server, "ns/t", "{\"key\":4,\"I\":1}").await, 422, "ambiguous_name", "differ in case only");
    let before = metadata(&server, "ns", "t").await;
    // A request with one wrong row changes nothing, whatever its other rows ask for.
    problem(&push(&server, "ns/t", "{\"key\":5,\"more\":1}\n{\"key\":true}").await, 422, "wrong_type", "/key");
    assert_eq!(metadata(&server, "ns", "t").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_says_what_becomes_of_unknown_fields() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let create =
        |name: &str, properties: serde_json::Value| json!({"name": name, "schema": schema(), "properties": properties});
    let strict = create("strict", json!({"floeberg.ingest.schema": "strict"}));
    server.post("/v1/namespaces/ns/tables", &strict).await.expect(200);
    problem(&push(&server, "ns/strict", "{\"id\":1,\"x\":1}").await, 422, "unknown_field", "/x");
    push(&server, "ns/strict?unknown_fields=ignore", "{\"id\":1,\"x\":1}").await.expect(200);
    push(&server, "ns/strict?schema=add-columns", "{\"id\":2,\"x\":1}").await.expect(200);
    assert_eq!(rows(&server, "strict").await, [json!({"id": 1}), json!({"id": 2, "x": 1})]);

    let captures = create("captures", json!({"floeberg.ingest.unknown-fields": "capture"}));
    server.post("/v1/namespaces/ns/tables", &captures).await.expect(200);
    push(&server, "ns/captures", "{\"id\":1,\"x\":[1.50],\"y\":null}\n{\"id\":2}").await.expect(200);
    assert_eq!(
        rows(&server, "captures").await,
        [json!({"_extra": "{\"x\":[1.5],\"y\":null}", "id": 1}), json!({"id": 2})]
    );
    let both = push(&server, "ns/captures", "{\"id\":1,\"_extra\":\"{}\",\"x\":1}").await;
    problem(&both, 422, "duplicate_key", "/_extra");
    let columns: Vec<(&str, ArrayRef)> =
        vec![("id", Arc::new(Int64Array::from(vec![3, 4]))), ("z", Arc::new(Int64Array::from(vec![Some(7), None])))];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let stream = arrow(&[batch]);
    super::send(&server, "ns/captures", &[ARROW], stream).await.expect(200);
    let values = rows(&server, "captures").await;
    assert!(
        values.contains(&json!({"_extra": "{\"z\":7}", "id": 3})) && values.contains(&json!({"id": 4})),
        "{values:?}"
    );

    let narrow = create("narrow", json!({"floeberg.ingest.max-columns": "3"}));
    server.post("/v1/namespaces/ns/tables", &narrow).await.expect(200);
    push(&server, "ns/narrow", "{\"id\":1,\"c\":1}").await.expect(200);
    problem(&push(&server, "ns/narrow", "{\"id\":1,\"d\":1}").await, 422, "too_many_columns", "at most 3");
    for (property, value) in [("floeberg.ingest.schema", "loose"), ("floeberg.ingest.unknown-fields", "guess")] {
        let refused = create("never", json!({property: value}));
        server.post("/v1/namespaces/ns/tables", &refused).await.expect(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_grow_a_table_at_once_all_get_their_columns() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"id\":0}").await.expect(200);
    let server = &server;
    let writers = (1..=16).map(|writer| async move {
        let body = format!("{{\"id\":{writer},\"shared\":{writer},\"own{}\":true}}", writer % 4);
        push(server, "ns/t", &body).await.expect(200);
    });
    futures::future::join_all(writers).await;
    let mut names: Vec<String> =
        columns(&metadata(server, "ns", "t").await).into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["id", "own0", "own1", "own2", "own3", "shared"]);
    let values = rows(server, "t").await;
    let shared = values.iter().filter(|row| row.get("shared") == row.get("id") && row["id"] != 0).count();
    assert_eq!((values.len(), shared), (17, 16), "{values:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_that_asks_for_a_column_late_is_whole() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"id\":-1}").await.expect(200);
    let filler = "x".repeat(200);
    let row = |id: usize| match id {
        15_000.. => format!("{{\"id\":{id},\"filler\":\"{filler}\",\"late\":{id}}}\n"),
        _ => format!("{{\"id\":{id}}}{}\n", " ".repeat(200)),
    };
    let body: String = (0..20_000).map(row).collect();
    assert!(body.len() > 3 << 20, "several windows");
    let answer = push(&server, "ns/t", &body).await.expect(200).json();
    assert_eq!(answer["rows"]["written"], 20_000);
    let values = rows(&server, "t").await;
    let mut ids: Vec<i64> = values.iter().map(|row| row["id"].as_i64().expect("a number")).collect();
    ids.sort_unstable();
    assert_eq!(ids, (-1..20_000).collect::<Vec<i64>>());
    assert!(values.iter().all(|row| row.get("late").is_none_or(|late| *late == row["id"])));
    assert_eq!(values.iter().filter(|row| row.get("late").is_some()).count(), 5_000);
}
