//! Rows pushed over HTTP: what is committed, what is refused, what is created.

mod append;
mod refusals;
mod tables;

use reqwest::Method;
use serde_json::Value;

use crate::kit::{Answer, Server};

/// Pushes a body of NDJSON.
pub async fn push(server: &Server, path: &str, body: &str) -> Answer {
    let headers = [("content-type", "application/x-ndjson")];
    server.send(Method::POST, &format!("/ingest/v1/{path}"), &headers, Some(body.to_owned())).await
}

/// Checks a refusal: its status, its code, and that its text says this.
#[track_caller]
pub fn problem(answer: &Answer, status: u16, code: &str, part: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let body = answer.json();
    assert_eq!((body["code"].as_str(), body["status"].as_u64()), (Some(code), Some(u64::from(status))), "{body}");
    assert!(answer.text.contains(part), "{part:?} is not in {}", answer.text);
}

/// The rows of a table, read from its data files in the order of the manifests, as JSON.
pub async fn metadata(server: &Server, namespace: &str, table: &str) -> Value {
    let path = format!("/v1/namespaces/{namespace}/tables/{table}");
    server.get(&path).await.expect(200).json()["metadata"].clone()
}

/// The current snapshot of a table's metadata.
pub fn current(metadata: &Value) -> Value {
    let id = &metadata["current-snapshot-id"];
    let snapshots = metadata["snapshots"].as_array().expect("a list");
    snapshots.iter().find(|snapshot| snapshot["snapshot-id"] == *id).expect("the current one").clone()
}
