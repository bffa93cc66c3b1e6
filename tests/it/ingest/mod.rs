//! Rows pushed over HTTP: what is committed, what is refused, what is created.

mod acknowledged;
mod alike;
mod append;
mod cells;
mod coercion;
mod events;
mod evolution;
mod formats;
mod growth;
mod once;
mod refusals;
mod rejected_days;
mod reshape;
mod routing;
mod rules;
mod tables;
mod thinning;
mod verdicts;
mod writing;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use reqwest::Method;
use serde_json::Value;

use crate::kit::{Answer, Server};

/// Pushes a body of NDJSON.
pub async fn push(server: &Server, path: &str, body: &str) -> Answer {
    let headers = [("content-type", "application/x-ndjson")];
    server.send(Method::POST, &format!("/ingest/v1/{path}"), &headers, Some(body.to_owned())).await
}

/// Pushes a body of any format.
pub async fn send(server: &Server, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    server.send_bytes(Method::POST, &format!("/ingest/v1/{path}"), headers, Some(body)).await
}

/// The rows of a table's live files as JSON, each with the columns of its file, in the order of their text.
pub async fn rows(server: &Server, table: &str) -> Vec<Value> {
    let plan = server.post(&format!("/v1/namespaces/ns/tables/{table}/plan"), &serde_json::json!({})).await.expect(200);
    let mut rows = Vec::new();
    for task in plan.json()["file-scan-tasks"].as_array().expect("a list") {
        let path = task["data-file"]["file-path"].as_str().expect("text").trim_start_matches("file://");
        let file = std::fs::File::open(path).expect("the file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("Parquet");
        let mut lines = Vec::new();
        let mut writer = arrow_json::LineDelimitedWriter::new(&mut lines);
        reader.for_each(|batch| writer.write(&batch.expect("rows")).expect("JSON"));
        writer.finish().expect("JSON");
        let text = String::from_utf8(lines).expect("text");
        rows.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")));
    }
    rows.sort_by_key(Value::to_string);
    rows
}

/// The columns of a table, each with its type.
pub fn columns(metadata: &Value) -> Vec<(String, String)> {
    let id = &metadata["current-schema-id"];
    let schemas = metadata["schemas"].as_array().expect("a list");
    let schema = schemas.iter().find(|schema| schema["schema-id"] == *id).expect("the current one");
    let fields = schema["fields"].as_array().expect("a list");
    let name_and_type = |field: &Value| {
        let kind = field["type"].as_str().map_or_else(|| field["type"]["type"].to_string(), str::to_owned);
        (field["name"].as_str().expect("text").to_owned(), kind)
    };
    fields.iter().map(name_and_type).collect()
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
