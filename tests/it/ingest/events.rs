//! `CloudEvents`: one, many, and with their attributes in headers.

use serde_json::{Value, json};

use super::{columns, metadata, problem, rows, send};
use crate::kit::Server;

const ONE: (&str, &str) = ("content-type", "application/cloudevents+json; charset=utf-8");
const MANY: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

fn event(id: &str, more: Value) -> Value {
    let mut event = json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "order.made", "time": "2024-05-06T07:08:09Z"});
    event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_event_makes_the_table() {
    let server = Server::start().await;
    let one = event("1", json!({"data": {"n": 1.50, "deep": {"a": [1]}}, "traceid": "x"}));
    send(&server, "ns/events", &[ONE], one.to_string().into()).await.expect(200);
    let many = json!([event("2", json!({"data": {"n": 2}})), event("3", json!({"subject": "s"}))]);
    send(&server, "ns/events", &[MANY], many.to_string().into()).await.expect(200);
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "4"),
        ("ce-source", "/shop"),
        ("ce-type", "caf%C3%A9"),
        ("ce-sampled", "1"),
    ];
    send(&server, "ns/events", &headers, br#"{"n":4}"#.to_vec()).await.expect(200);
    let table = metadata(&server, "ns", "events").await;
    let kinds: Vec<(String, String)> = columns(&table);
    let named: Vec<&str> = kinds.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = [
        "id",
        "source",
        "type",
        "specversion",
        "time",
        "subject",
        "datacontenttype",
        "dataschema",
        "data",
        "extensions",
        "data_json",
        "ingested_at",
    ];
    assert_eq!(named, wanted);
    let required: Vec<bool> = table["schemas"][0]["fields"].as_array().expect("a list")[..6]
        .iter()
        .map(|field| field["required"] == true)
        .collect();
    assert_eq!(required, [true, true, true, true, true, false]);
    let spec: Vec<&Value> =
        table["partition-specs"][0]["fields"].as_array().expect("a list").iter().map(|field| &field["name"]).collect();
    assert_eq!(spec, ["type", "time_hour"]);
    let mut there = rows(&server, "events").await;
    there.sort_by_key(|row| row["id"].to_string());
    assert_eq!(there[0]["data"], json!({"n": "1.5", "deep": "{\"a\":[1]}"}));
    let whole: Value = serde_json::from_str(there[0]["data_json"].as_str().expect("text")).expect("JSON");
    assert_eq!(whole, json!({"n": 1.5, "deep": {"a": [1]}}));
    assert_eq!((&there[0]["extensions"], &there[1]["data"]), (&json!({"traceid": "x"}), &json!({"n": "2"})));
    assert_eq!((&there[3]["type"], &there[3]["extensions"]), (&json!("café"), &json!({"sampled": "1"})));
    assert!(
        there[3]["time"].as_str().is_some_and(|time| time > "2025"),
        "an event without a time has that of its coming"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_the_time_may_be_columns() {
    let server = Server::start().await;
    let one = event("1", json!({"data": {"n": 1}}));
    let path = "ns/events?partition_by=year,month,day,hour";
    send(&server, path, &[ONE], one.to_string().into()).await.expect(200);
    send(&server, path, &[ONE], event("2", json!({})).to_string().into()).await.expect(200);
    let there = rows(&server, "events").await;
    for row in &there {
        assert_eq!(
            (&row["year"], &row["month"], &row["day"], &row["hour"]),
            (&json!(2024), &json!(5), &json!(6), &json!(7))
        );
    }
    assert_eq!(there.len(), 2);
    let rules = server.get("/manage/v1/namespaces/ns/tables/events/ingest-rules").await.expect(200).json();
    assert_eq!((&rules["said"], &rules["rules"][3]["column"]), (&json!("table"), &json!("hour")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_refused_and_makes_nothing() {
    let server = Server::start().await;
    let bad = json!({"specversion": "1.0", "id": "1", "type": "t"}).to_string();
    problem(&send(&server, "ns/events", &[ONE], bad.into()).await, 422, "not_an_event", "/source");
    let headers = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "s"), ("content-type", "application/json")];
    problem(&send(&server, "ns/events", &headers, b"{".to_vec()).await, 400, "malformed_json", "not JSON");
    problem(&send(&server, "ns/events", &headers, b"{}".to_vec()).await, 422, "not_an_event", "/type");
    let packed = [headers[0], ("content-encoding", "gzip")];
    problem(&send(&server, "ns/events", &packed, Vec::new()).await, 415, "unsupported_encoding", "Content-Encoding");
    server.get("/v1/namespaces/ns/tables/events").await.expect(404);
    // Any other table takes an event by its attributes.
    super::push(&server, "ns/plain", r#"{"id":"x","data":{"n":1}}"#).await.expect(200);
    send(&server, "ns/plain", &[ONE], event("1", json!({"data": {"n": 2, "m": "x"}})).to_string().into())
        .await
        .expect(200);
    let there = rows(&server, "plain").await;
    assert!(there.iter().any(|row| row["data"] == json!({"n": 2, "m": "x"}) && row["source"] == "/shop"), "{there:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_in_pieces_is_held_to_the_memory_that_there_is() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::configured("[ingest]\nmemory = \"8MiB\"\nbody = \"8MiB\"\n").await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let send = async |pieces: usize| {
        let mut stream = tokio::net::TcpStream::connect(&address).await.expect("connects");
        let head = "POST /ingest/v1/ns/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/plain\r\n\
            ce-specversion: 1.0\r\nce-id: 1\r\nce-source: s\r\nce-type: t\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("sent");
        let piece = ["10000\r\n", &"x".repeat(0x10000), "\r\n"].concat();
        for _ in 0..pieces {
            stream.write_all(piece.as_bytes()).await.expect("sent");
        }
        stream.write_all(b"0\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    };
    // It says nothing of its length: what comes is all there is to know of it.
    let refused = send(96).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("\"memory\""), "{refused}");
    let taken = send(4).await;
    assert!(taken.starts_with("HTTP/1.1 200"), "{taken}");
    assert_eq!(rows(&server, "events").await.len(), 1);
}
