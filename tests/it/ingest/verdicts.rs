//! Rows that do not fit and are left out, or put into a table of their own.

use serde_json::{Value, json};

use super::{Answer, metadata, problem, push, rows, send};
use crate::kit::Server;

/// What an answer says of its rows: received, written, rejected, duplicate.
fn counted(answer: &Answer) -> [u64; 4] {
    let rows = &answer.json()["rows"];
    ["received", "written", "rejected", "duplicate"].map(|name| rows[name].as_u64().expect("a number"))
}

/// Code, pointer, place and text of each dead letter.
async fn letters(server: &Server, table: &str) -> Vec<(String, String, i64, String)> {
    let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_owned();
    let of = |row: &Value| {
        (text(row, "code"), text(row, "pointer"), row["row_index"].as_i64().expect("a number"), text(row, "raw"))
    };
    rows(server, table).await.iter().map(of).collect()
}

const BODY: &str =
    "{\"id\":1}\n{\"id\":\"x\"}\n{\"id\":2, \"n\":\n{\"id\":3,\"new\":true}\n5\n{\"id\":null,\"other\":1}\n";

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_fit_are_left_out_where_that_is_asked_for() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server.table("t").await;
    let answer = push(&server, "ns/t?on_error=skip", BODY).await.expect(200);
    assert_eq!(counted(&answer), [6, 3, 3, 0]);
    let errors = answer.json()["errors"].clone();
    let named: Vec<(u64, u64, &str)> = errors
        .as_array()
        .expect("a list")
        .iter()
        .map(|error| {
            let number = |name: &str| error[name].as_u64().expect("a number");
            (number("index"), number("line"), error["code"].as_str().expect("text"))
        })
        .collect();
    assert_eq!(named, [(1, 2, "wrong_type"), (2, 3, "malformed_json"), (4, 5, "wrong_type")]);
    let there: Vec<Value> = rows(&server, "t").await.iter().map(|row| row["id"].clone()).collect();
    assert_eq!(there, [json!(1), json!(3), json!(null)]);
    // All of them: nothing is written, and nothing is made.
    for (path, code) in [("ns/t?on_error=skip", "rows"), ("ns/new?on_error=skip", "malformed_json")] {
        let body = if code == "rows" { "{\"id\":\"x\"}\n{" } else { "{" };
        let answer = push(&server, path, body).await;
        problem(&answer, 422, code, "rows do not fit, with");
        assert!(answer.json().get("duplicate").is_none() && answer.text.contains("nothing was written"));
    }
    for table in ["t__rejected", "new", "new__rejected"] {
        server.get(&format!("/v1/namespaces/ns/tables/{table}")).await.expect(404);
    }
    // A list cannot be gone on with where it is broken.
    problem(&push(&server, "ns/t?on_error=skip", "[{\"id\":1},{\"id\":}]").await, 400, "malformed_json", "byte 16");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_committed_with_the_rows_that_fit() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server.table("t").await;
    for (at, ack) in ["commit", "wal", "none"].into_iter().enumerate() {
        let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", ack), ("x-request-id", "r-1")];
        let path = format!("ns/t?on_error=dlq&ack={ack}");
        let answer = send(&server, &path, &headers, BODY.into()).await;
        let status = if ack == "commit" { 200 } else { 202 };
        let answer = answer.expect(status);
        assert_eq!(counted(&answer), [6, 3, 3, 0], "{ack}");
        let tables = answer.json()["tables"].clone();
        assert_eq!((&tables[0]["table"], &tables[1]["table"]), (&json!("ns.t"), &json!("ns.t__rejected")));
        server.post("/ingest/v1/ns/t/flush", &json!({})).await.expect(200);
        // Sent again it is answered the same, and written once.
        let again = send(&server, &path, &headers, BODY.into()).await;
        let again = again.expect(status).json();
        assert_eq!((&again["duplicate"], &again["errors"]), (&json!(true), &answer.json()["errors"]));
        assert_eq!(rows(&server, "t").await.len(), 3 * (at + 1));
        assert_eq!(letters(&server, "t__rejected").await.len(), 3 * (at + 1));
    }
    let mut found = letters(&server, "t__rejected").await;
    found.dedup();
    let wanted = [
        ("malformed_json", "", 2, "{\"id\":2, \"n\":"),
        ("wrong_type", "", 4, "5"),
        ("wrong_type", "/id", 1, "{\"id\":\"x\"}"),
    ];
    found.sort();
    found.dedup();
    assert_eq!(found, wanted.map(|(code, at, row, raw)| (code.to_owned(), at.to_owned(), row, raw.to_owned())));
    let first = rows(&server, "t__rejected").await[0].clone();
    assert_eq!(first["request_id"], "r-1");
    assert!(first["message"].as_str().is_some_and(|text| !text.is_empty()), "{first}");
    // One transaction, each time.
    let snapshots = async |name: &str| metadata(&server, "ns", name).await["snapshots"].as_array().map_or(0, Vec::len);
    assert_eq!((snapshots("t").await, snapshots("t__rejected").await), (3, 3));
    let spec = metadata(&server, "ns", "t__rejected").await["partition-specs"][0]["fields"][0].clone();
    assert_eq!((&spec["name"], &spec["transform"]), (&json!("rejected_at_day"), &json!("day")));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_which_none_fits_are_dead_letters_too() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server.table("t").await;
    let before = metadata(&server, "ns", "t").await;
    for (at, ack) in ["commit", "wal", "none"].into_iter().enumerate() {
        let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", ack)];
        let path = format!("ns/t?on_error=dlq&ack={ack}");
        for again in [false, true] {
            let answer = send(&server, &path, &headers, "{\"id\":\"x\"}".into()).await;
            problem(&answer, 422, "wrong_type", "1 of 1 rows do not fit; they are put into ns.t__rejected");
            assert_eq!((counted(&answer), &answer.json()["duplicate"]), ([1, 0, 1, 0], &json!(again)), "{ack}");
            server.post("/ingest/v1/ns/t/flush", &json!({})).await.expect(200);
        }
        assert_eq!(letters(&server, "t__rejected").await.len(), at + 1, "{ack}");
    }
    assert_eq!(metadata(&server, "ns", "t").await, before, "the table itself is left alone");
    let known = server.get("/ingest/v1?key=commit").await.expect(200).json();
    assert_eq!(known["rows"], json!({"received": 1, "written": 0, "rejected": 1, "duplicate": 0}));
    // A producer is further by them.
    for (sequence, body, status, duplicate) in
        [("0", "{\"id\":\"x\"}", 422, false), ("0", "{\"id\":\"x\"}", 422, true), ("1", "{\"id\":1}", 200, false)]
    {
        let headers = [("content-type", "application/x-ndjson"), ("x-producer-id", "p"), ("x-producer-seq", sequence)];
        let answer = send(&server, "ns/t?on_error=dlq", &headers, body.into()).await.expect(status).json();
        assert_eq!(answer["duplicate"], duplicate, "{answer}");
    }
    assert_eq!((rows(&server, "t").await.len(), letters(&server, "t__rejected").await.len()), (1, 4));
    // Where there is no table none is made; and how far a producer is could not be said of it.
    problem(&push(&server, "ns/new?on_error=dlq", "{").await, 422, "malformed_json", "ns.new__rejected");
    let headers = [("content-type", "application/x-ndjson"), ("x-producer-id", "p"), ("x-producer-seq", "0")];
    let answer = send(&server, "ns/new?on_error=dlq", &headers, "{".into()).await;
    problem(&answer, 422, "malformed_json", "nothing was written");
    server.get("/v1/namespaces/ns/tables/new").await.expect(404);
    assert_eq!(letters(&server, "new__rejected").await.len(), 1);
    // Requests with rows that fit share the commit.
    let good = async { push(&server, "ns/t?on_error=dlq", BODY).await.expect(200) };
    let bad = async { push(&server, "ns/t?on_error=dlq", "5").await.expect(422) };
    drop(tokio::join!(good, bad));
    assert_eq!((rows(&server, "t").await.len(), letters(&server, "t__rejected").await.len()), (4, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_survives_with_its_dead_letters() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server.table("t").await;
    let slow = json!({"requirements": [], "updates": [
        {"action": "set-properties", "updates": {"floeberg.ingest.on-error": "dlq", "floeberg.ingest.max-delay-ms": "600000"}}]});
    server.post("/v1/namespaces/ns/tables/t", &slow).await.expect(200);
    let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", "k")];
    let answer = send(&server, "ns/t?ack=wal", &headers, BODY.into()).await.expect(202);
    assert_eq!(counted(&answer), [6, 3, 3, 0]);
    server.get("/v1/namespaces/ns/tables/t__rejected").await.expect(200);
    let server = server.restart().await;
    server.post("/ingest/v1/ns/t/flush", &json!({})).await.expect(200);
    assert_eq!((rows(&server, "t").await.len(), rows(&server, "t__rejected").await.len()), (3, 3));
    push(&server, "ns/t?ack=wal", "5").await.expect(422);
    let server = server.restart().await;
    server.post("/ingest/v1/ns/t/flush", &json!({})).await.expect(200);
    assert_eq!((rows(&server, "t").await.len(), rows(&server, "t__rejected").await.len()), (3, 4));
    let again = send(&server, "ns/t?ack=wal", &headers, BODY.into()).await.json();
    assert_eq!((&again["duplicate"], &again["rows"]["rejected"]), (&json!(true), &json!(3)));
    // Without the table for them, those that fit are committed all the same.
    push(&server, "ns/t?ack=wal", BODY).await.expect(202);
    server.delete("/v1/namespaces/ns/tables/t__rejected").await.expect(204);
    server.post("/ingest/v1/ns/t/flush", &json!({})).await.expect(200);
    assert_eq!(rows(&server, "t").await.len(), 6);
    let text = server.get("/metrics").await.text;
    assert!(
        text.contains("floeberg_ingest_rows_lost_total{table=\"ns.t__rejected\",why=\"the table is gone\"} 3"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_left_out_ask_for_nothing() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server.table("t").await;
    let body = "{\"id\":1,\"a\":1}\n{\"id\":\"x\",\"b\":1}\n{\"id\":2,\"a\":\"text\"}\n{\"id\":3,\"a\":2}\n";
    let answer = push(&server, "ns/t?on_error=skip", body).await.expect(200);
    assert_eq!(counted(&answer), [4, 2, 2, 0], "{}", answer.text);
    let columns: Vec<String> =
        super::columns(&metadata(&server, "ns", "t").await).into_iter().map(|one| one.0).collect();
    assert!(columns.contains(&"a".to_owned()) && !columns.contains(&"b".to_owned()), "{columns:?}");
    // A new table is made of the rows that fit.
    let answer =
        push(&server, "ns/new?on_error=skip", "{\"a\":1}\n{\"a\":\"x\"}\n{\"a\":2,\"b\":3}\n").await.expect(200);
    assert_eq!(counted(&answer), [3, 2, 1, 0], "{}", answer.text);
    assert_eq!(rows(&server, "new").await, [json!({"a": 1}), json!({"a": 2, "b": 3})]);
}
