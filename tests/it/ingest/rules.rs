//! What is made of rows at the door.

use std::sync::Arc;

use arrow::array::{BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use reqwest::Method;
use serde_json::{Value, json};

use super::formats::{ARROW, arrow};
use super::{metadata, problem, push, rows, send};
use crate::kit::{Answer, Server};

const CONFIG: &str = r#"
[ingest.hash-keys]
pii = "only here"
[ingest.tables."ns.configured"]
rules = [{ op = "drop", column = "secret" }, { op = "default", column = "n", value = 7 }]
"#;

async fn put(server: &Server, table: &str, rules: Value) -> Answer {
    let path = format!("/manage/v1/namespaces/ns/tables/{table}/ingest-rules");
    let headers = [("content-type", "application/json")];
    server.send(Method::PUT, &path, &headers, Some(rules.to_string())).await
}

fn rules() -> Value {
    json!([
        {"op": "derive", "column": "date", "from": "at", "as": "date"},
        {"op": "derive", "column": "hour", "from": "at", "as": "hour"},
        {"op": "rename", "column": "addr", "to": "client_ip"},
        {"op": "mask-ip", "column": "client_ip"},
        {"op": "hash", "column": "user", "key": "pii"},
        {"op": "redact", "column": "message", "pattern": "token=\\S+", "with": "token=…"},
        {"op": "limit", "column": "stack", "chars": 5},
        {"op": "cast", "column": "n", "to": "long"},
        {"op": "drop", "column": "card"},
        {"op": "header", "column": "country", "header": "cf-ipcountry"},
    ])
}

const ROW: &str = r#"{"at":"2024-05-06T07:08:09Z","addr":"192.0.2.77","user":"ann","message":"x token=abc y","stack":"0123456789","n":"12","card":"4111"}"#;

fn wanted() -> Value {
    json!({"at": "2024-05-06T07:08:09Z", "client_ip": "192.0.2.0",
        "user": "a2b9ab2bd6a7f0b9", "message": "x token=… y", "stack": "01234", "n": 12, "date": "2024-05-06", "hour": 7, "country": "CH"})
}

fn checked(mut row: Value) -> Value {
    let hash = row["user"].as_str().expect("text").to_owned();
    assert_eq!(hash.len(), 64);
    row["user"] = wanted()["user"].clone();
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_followed_in_every_format() {
    let server = Server::configured(CONFIG).await;
    server.namespace(&["ns"]).await;
    server.table("seed").await;
    push(&server, "ns/t", r#"{"at":"2024-05-06T00:00:00Z"}"#).await.expect(200);
    let answer = put(&server, "t", rules()).await.expect(200).json();
    assert_eq!(
        (&answer["said"], &answer["rules"][3]),
        (&json!("table"), &json!({"op": "mask-ip", "column": "client_ip"}))
    );
    let country = ("cf-ipcountry", "CH");
    send(&server, "ns/t", &[("content-type", "application/x-ndjson"), country], ROW.into()).await.expect(200);
    let parsed: Value = serde_json::from_str(ROW).expect("JSON");
    let object = parsed.as_object().expect("an object");
    let cells: Vec<&str> = object.values().map(|value| value.as_str().expect("text")).collect();
    let names: Vec<&str> = object.keys().map(String::as_str).collect();
    let csv = format!("{}\n{}\n", names.join(","), cells.join(","));
    send(&server, "ns/t", &[("content-type", "text/csv"), country], csv.into()).await.expect(200);
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    let columns = cells.iter().map(|cell| Arc::new(StringArray::from(vec![*cell])) as _).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch");
    let stream = arrow(&[batch]);
    send(&server, "ns/t", &[ARROW, country], stream).await.expect(200);
    let there: Vec<Value> =
        rows(&server, "t").await.into_iter().filter(|row| row.get("n").is_some()).map(checked).collect();
    assert_eq!(there, [wanted(), wanted(), wanted()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_shown_tried_and_taken_away() {
    let server = Server::configured(CONFIG).await;
    let path = "/manage/v1/namespaces/ns/tables/configured/ingest-rules";
    push(&server, "ns/configured", r#"{"secret":"x","a":1}"#).await.expect(200);
    assert_eq!(rows(&server, "configured").await, [json!({"a": 1, "n": 7})]);
    assert_eq!(server.get(path).await.expect(200).json()["said"], "configuration");
    let tried = server
        .post(
            &format!("{path}/preview"),
            &json!({"rows": [{"n": "x"}, {"n": "3"}], "rules": [{"op": "cast", "column": "n", "to": "long"}]}),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&tried["rows"][0]["error"]["code"], &tried["rows"][1]["row"]),
        (&json!("cannot_cast"), &json!({"n": 3}))
    );
    let own =
        server.post(&format!("{path}/preview"), &json!({"rows": [{"secret": 1, "n": 1}]})).await.expect(200).json();
    assert_eq!(own["rows"][0]["row"], json!({"n": 1}));
    // The table's own win.
    put(&server, "configured", json!([])).await.expect(200);
    push(&server, "ns/configured", r#"{"secret":"x","a":2}"#).await.expect(200);
    assert!(rows(&server, "configured").await.contains(&json!({"a": 2, "secret": "x"})));
    assert_eq!(server.delete(path).await.expect(200).json()["said"], "configuration");
    for (rules, part) in [
        (json!([{"op": "derve"}]), "derive"),
        (json!([{"op": "hash", "column": "a", "key": "nope"}]), "ingest.hash-keys"),
        (json!([{"op": "header", "column": "a", "header": "Authorization"}]), "authorization"),
        (json!([{"op": "redact", "column": "a", "pattern": "("}]), "pattern"),
    ] {
        problem(&put(&server, "configured", rules).await, 422, "malformed_rules", part);
    }
    put(&server, "none", json!([])).await.expect(404);
    let text = metadata(&server, "ns", "configured").await.to_string();
    assert!(!text.contains("only here"), "a key never leaves the configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_hold_nothing_that_rules_keep_away() {
    let server = Server::configured(CONFIG).await;
    push(&server, "ns/t", r#"{"n":1,"ip":"192.0.2.1"}"#).await.expect(200);
    let own = json!([{"op": "cast", "column": "n", "to": "long"}, {"op": "mask-ip", "column": "ip"}, {"op": "drop", "column": "card"}]);
    put(&server, "t", own).await.expect(200);
    let body = "{\"n\":2,\"ip\":\"192.0.2.99\"}\n{\"n\":\"4111111\",\"ip\":5}\n{\"n\":\"geheim\",\"ip\":\"192.0.2.98\",\"card\":\"4111\"}\n{\"n\":1,\"ip\":\"192.0.2.97\",\"card\":\n{\"n\":3,\"zz\":{\"n\":1,\"n\":2},\"ip\":\"192.0.2.96\"}\n";
    let answer = push(&server, "ns/t?on_error=dlq", body).await.expect(200);
    assert_eq!(answer.json()["rows"]["rejected"], 3, "{}", answer.text);
    let kept = serde_json::to_string(&rows(&server, "t__rejected").await).expect("JSON");
    assert!(!kept.contains("192.0.2.9") && !kept.contains("\\\"4111\\\""), "{kept}");
    assert!(kept.contains("192.0.2.0"), "{kept}");
    // Nor do those of lines.
    let lines = "n,ip,card\n7,192.0.2.95,4111\ngeheim,192.0.2.94,4111\n8,192.0.2.93\n";
    let answer = send(&server, "ns/t?on_error=dlq", &[("content-type", "text/csv")], lines.into()).await.expect(200);
    assert_eq!(answer.json()["rows"]["rejected"], 2, "{}", answer.text);
    let kept = serde_json::to_string(&rows(&server, "t__rejected").await).expect("JSON");
    assert!(!kept.contains("192.0.2.9") && !kept.contains("4111\""), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_through_rules_as_what_they_are() {
    let server = Server::configured(CONFIG).await;
    let fields = vec![Field::new("b", DataType::Binary, true), Field::new("big", DataType::Int64, true)];
    let columns =
        vec![Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..]])) as _, Arc::new(Int64Array::from(vec![i64::MAX])) as _];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch");
    let stream = arrow(&[batch]);
    let headers = [ARROW];
    send(&server, "ns/t", &headers, stream.clone()).await.expect(200);
    put(&server, "t", json!([{"op": "default", "column": "n", "value": 1}])).await.expect(200);
    send(&server, "ns/t", &headers, stream).await.expect(200);
    let there = rows(&server, "t").await;
    assert_eq!(there, [json!({"b": "ff00", "big": i64::MAX, "n": 1}), json!({"b": "ff00", "big": i64::MAX})]);
}
