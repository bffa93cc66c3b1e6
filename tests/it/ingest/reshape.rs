//! Changes of a table's columns that are asked for by name.

use serde_json::{Value, json};

use super::{columns, metadata, problem, push, rows};
use crate::kit::Server;

async fn ask(server: &Server, query: &str, changes: Value) -> crate::kit::Answer {
    server.post(&format!("/ingest/v1/ns/t/schema{query}"), &json!({"changes": changes})).await
}

async fn set(server: &Server, value: &str) {
    let updates = json!({"requirements": [], "updates": [
        {"action": "set-properties", "updates": {"floeberg.ingest.schema": value}}]});
    server.post("/v1/namespaces/ns/tables/t", &updates).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_change_by_instruction() {
    let server = Server::start().await;
    push(&server, "ns/t", r#"{"id":1,"p":{"x":1.5},"old":"a","gone":true}"#).await.expect(200);
    let changes = json!([
        {"op": "rename", "column": "old", "to": "new"},
        {"op": "drop", "column": "gone"},
        {"op": "add", "column": "p.y", "type": "int"},
        {"op": "widen", "column": "p.y", "to": "long"},
        {"op": "rename", "column": "p.x", "to": "z"},
    ]);
    problem(&ask(&server, "", changes.clone()).await, 422, "schema_cannot_change", "floeberg.ingest.schema to full");
    set(&server, "full").await;
    let before = metadata(&server, "ns", "t").await;
    let tried = ask(&server, "?dry_run=true", changes.clone()).await.expect(200).json();
    assert_eq!(
        (&tried["changed"], &tried["dry_run"], &tried["schema"]["fields"][2]["name"]),
        (&json!(true), &json!(true), &json!("new"))
    );
    assert_eq!(metadata(&server, "ns", "t").await, before);
    let made = ask(&server, "", changes).await.expect(200).json();
    assert_eq!(made["schema"]["fields"][1]["type"]["fields"][1]["type"], "long");
    let named: Vec<String> = columns(&metadata(&server, "ns", "t").await).into_iter().map(|one| one.0).collect();
    assert_eq!(named, ["id", "p", "new"]);
    // Rows still make it grow, and never anything else.
    push(&server, "ns/t", r#"{"id":2,"old":"b","new":"c"}"#).await.expect(200);
    let there = rows(&server, "t").await;
    assert_eq!(there.len(), 2);
    let again = ask(&server, "", json!([{"op": "optional", "column": "id"}])).await.expect(200).json();
    assert_eq!(again["changed"], false, "it is optional already");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_cannot_be_made_change_nothing() {
    let server = Server::start().await;
    push(
        &server,
        "ns/t?partition_by=day(at)&sort_by=id",
        r#"{"id":1,"at":"2024-01-01T00:00:00Z","n":1.5,"l":[{"a":1}]}"#,
    )
    .await
    .expect(200);
    set(&server, "full").await;
    let before = metadata(&server, "ns", "t").await;
    for (change, part) in [
        (json!({"op": "drop", "column": "nope"}), "no column"),
        (json!({"op": "drop", "column": "at"}), "partitioned"),
        (json!({"op": "drop", "column": "id"}), "sorted"),
        (json!({"op": "rename", "column": "n", "to": "ID"}), "already"),
        (json!({"op": "add", "column": "N", "type": "int"}), "already"),
        (json!({"op": "add", "column": "x", "type": "moon"}), "moon"),
        (json!({"op": "widen", "column": "n", "to": "int"}), "does not hold"),
        (json!({"op": "drop", "column": "l.element.a"}), "only one"),
        (json!({"op": "add", "column": "n.x", "type": "int"}), "no struct"),
    ] {
        let both = json!([{"op": "add", "column": "fine", "type": "string"}, change]);
        problem(&ask(&server, "", both).await, 422, "schema_cannot_change", part);
    }
    problem(&ask(&server, "", json!([{"op": "melt", "column": "n"}])).await, 400, "malformed", "melt");
    problem(&ask(&server, "?dry_run=maybe", json!([])).await, 400, "unknown_parameter", "dry_run");
    problem(&ask(&server, "", json!([])).await, 400, "malformed", "at least 1");
    assert_eq!(metadata(&server, "ns", "t").await, before);
    set(&server, "strict").await;
    let add = json!([{"op": "add", "column": "fine", "type": "string"}]);
    problem(&ask(&server, "", add).await, 422, "schema_cannot_change", "does not allow");
}
