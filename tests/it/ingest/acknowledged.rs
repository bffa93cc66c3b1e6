//! Rows that are acknowledged before they are committed, and how often tables are committed to.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::once::push_as;
use super::{columns, metadata, problem, push, rows};
use crate::kit::{Server, schema};

async fn status(server: &Server, path: &str) -> Value {
    server.get(&format!("/ingest/v1/{path}/status")).await.expect(200).json()
}

async fn flush(server: &Server, path: &str) -> Value {
    let answer = server.send(Method::POST, &format!("/ingest/v1/{path}/flush"), &[], None).await;
    answer.expect(200).json()
}

/// A table that holds acknowledged rows back until somebody asks.
async fn patient(server: &Server, name: &str) {
    server.namespace(&["ns"]).await;
    let properties = json!({"floeberg.ingest.max-delay-ms": "86400000"});
    let body = json!({"name": name, "schema": schema(), "properties": properties});
    server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
}

fn log_files(server: &Server) -> usize {
    let folder = server.dir().join("floeberg-data/wal");
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_acknowledged_at_once_and_committed_later() {
    let server = Server::start().await;
    patient(&server, "t").await;
    for ack in ["wal", "none"] {
        let answer = push(&server, &format!("ns/t?ack={ack}"), "{\"id\":1}\n{\"id\":2}").await.expect(202).json();
        assert_eq!((&answer["ack"], &answer["duplicate"]), (&json!(ack), &json!(false)));
        assert_eq!(answer["rows"], json!({"received": 2, "written": 2, "rejected": 0, "duplicate": 0}));
        let receipt = json!([{"table": "ns.t", "snapshot_id": null, "sequence_number": null, "files": 0}]);
        assert_eq!(answer["tables"], receipt);
    }
    let waits = status(&server, "ns/t").await;
    assert_eq!((&waits["table"], &waits["buffered_rows"]), (&json!("ns.t"), &json!(4)));
    assert!(waits["buffered_bytes"].as_u64() > Some(0) && waits["last_snapshot"].is_null(), "{waits}");
    assert_eq!((rows(&server, "t").await.len(), log_files(&server)), (0, 1));
    let flushed = flush(&server, "ns/t").await;
    let snapshot = metadata(&server, "ns", "t").await["current-snapshot-id"].clone();
    assert_eq!(flushed["tables"][0]["snapshot_id"], snapshot);
    let settled = status(&server, "ns/t").await;
    assert_eq!((&settled["buffered_rows"], &settled["lag_ms"]), (&json!(0), &json!(0)));
    assert_eq!(settled["last_snapshot"]["snapshot_id"], snapshot);
    assert_eq!(rows(&server, "t").await.len(), 4);
    // With nothing waiting it says where the table is.
    assert_eq!(flush(&server, "ns/t").await["tables"][0]["snapshot_id"], snapshot);
    // Rows that are waited for take those along that are not.
    push(&server, "ns/t?ack=wal", "{\"id\":5}").await.expect(202);
    push(&server, "ns/t", "{\"id\":6}").await.expect(200);
    assert_eq!(rows(&server, "t").await.len(), 6);
    problem(&push(&server, "ns/t?ack=soon", "{\"id\":1}").await, 400, "unknown_parameter", "soon");
    problem(&push(&server, "ns/t?ack=wal", "{\"id\":\"x\"}").await, 422, "wrong_type", "");
    let missing = server.send(Method::POST, "/ingest/v1/ns/none/flush", &[], None).await;
    problem(&missing, 404, "not_found", "none");
    problem(&server.get("/ingest/v1/ns/none/status").await, 404, "not_found", "none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_commits_what_is_acknowledged_and_clears_the_log() {
    let server = Server::start().await;
    patient(&server, "t").await;
    push(&server, "ns/t?ack=wal", "{\"id\":1}").await.expect(202);
    push(&server, "ns/t?ack=none", "{\"id\":2}").await.expect(202);
    let server = server.restart().await;
    assert_eq!(rows(&server, "t").await.len(), 2);
    assert_eq!(log_files(&server), 0);
    push(&server, "ns/t?ack=wal", "{\"id\":3}").await.expect(202);
    flush(&server, "ns/t").await;
    assert_eq!(rows(&server, "t").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_producers_hold_for_what_is_not_committed_yet() {
    let server = Server::start().await;
    patient(&server, "t").await;
    let keyed = async |body: &str, ack: &str| {
        push_as(&server, &format!("ns/t?ack={ack}"), &[("idempotency-key", "k")], body).await
    };
    keyed("{\"id\":1}", "wal").await.expect(202);
    assert_eq!(server.get("/ingest/v1?key=k").await.expect(200).json(), json!({"state": "pending"}));
    assert_eq!(keyed("{\"id\":1}", "wal").await.expect(202).json()["duplicate"], true);
    problem(&keyed("{\"id\":2}", "wal").await, 422, "key_reused", "");
    let sends = async |sequence: &str| {
        let headers = [("x-producer-id", "p"), ("x-producer-seq", sequence)];
        push_as(&server, "ns/t?ack=wal", &headers, &format!("{{\"id\":10{sequence}}}")).await
    };
    for sequence in ["0", "1", "2"] {
        sends(sequence).await.expect(202);
    }
    let twice = sends("1").await.expect(202).json();
    assert_eq!((&twice["duplicate"], &twice["rows"]["duplicate"]), (&json!(true), &json!(1)));
    problem(&sends("7").await, 409, "producer_gap", "3 is next");
    problem(&server.get("/ingest/v1?producer=p&table=ns.t").await, 404, "not_found", "p");
    flush(&server, "ns/t").await;
    let status = server.get("/ingest/v1?producer=p&table=ns.t").await.expect(200).json();
    assert_eq!(status, json!({"epoch": 0, "sequence": 2, "offset_token": null}));
    let kept = server.get("/ingest/v1?key=k").await.expect(200).json();
    assert_eq!((&kept["ack"], &kept["duplicate"]), (&json!("wal"), &json!(false)));
    assert!(kept["tables"][0]["snapshot_id"].is_i64());
    assert_eq!(keyed("{\"id\":1}", "wal").await.expect(202).json()["duplicate"], true);
    assert_eq!(rows(&server, "t").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_rows_follow_their_table_as_far_as_they_can() {
    let server = Server::start().await;
    patient(&server, "t").await;
    push(&server, "ns/t?ack=wal", "{\"id\":1,\"name\":\"a\"}").await.expect(202);
    let named = |name: &str| json!({"namespace": ["ns"], "name": name});
    let rename = json!({"source": named("t"), "destination": named("u")});
    server.post("/v1/tables/rename", &rename).await.expect(204);
    flush(&server, "ns/u").await;
    assert_eq!(rows(&server, "u").await, [json!({"id": 1, "name": "a"})]);
    // A column that goes takes its values along.
    push(&server, "ns/u?ack=wal", "{\"id\":2,\"name\":\"b\"}").await.expect(202);
    let only_id = json!({"type": "struct", "schema-id": 1, "fields": [{"id": 1, "name": "id", "required": true, "type": "long"}]});
    let updates =
        json!([{"action": "add-schema", "schema": only_id}, {"action": "set-current-schema", "schema-id": -1}]);
    server.commit("u", json!([]), updates).await.expect(200);
    flush(&server, "ns/u").await;
    assert_eq!(rows(&server, "u").await, [json!({"id": 1, "name": "a"}), json!({"id": 2})]);
    assert_eq!(columns(&metadata(&server, "ns", "u").await).len(), 1);
    // A table that goes takes its rows along, and that is said.
    push(&server, "ns/u?ack=wal", "{\"id\":3}\n{\"id\":4}").await.expect(202);
    server.send(Method::DELETE, "/v1/namespaces/ns/tables/u", &[], None).await.expect(204);
    push(&server, "ns/u", "{\"other\":1}").await.expect(200);
    let server = server.restart().await;
    assert_eq!(rows(&server, "u").await, [json!({"other": 1})], "another table of the name gets none of them");
    assert_eq!(log_files(&server), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_rows_lose_only_what_has_no_place_any_more() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let inner = |names: &[(i64, &str)]| {
        let field = |(id, name): &(i64, &str)| json!({"id": id, "name": name, "required": false, "type": "long"});
        let point = json!({"type": "struct", "fields": names.iter().map(field).collect::<Vec<_>>()});
        json!({"type": "struct", "fields": [{"id": 1, "name": "p", "required": false, "type": point}]})
    };
    let properties = json!({"floeberg.ingest.max-delay-ms": "86400000"});
    let body = json!({"name": "t", "schema": inner(&[(2, "x"), (3, "y")]), "properties": properties});
    server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
    push(&server, "ns/t?ack=wal", "{\"p\":{\"x\":1,\"y\":2}}").await.expect(202);
    let updates = json!([
        {"action": "add-schema", "schema": inner(&[(3, "y")])},
        {"action": "set-current-schema", "schema-id": -1},
    ]);
    server.commit("t", json!([]), updates).await.expect(200);
    flush(&server, "ns/t").await;
    assert_eq!(rows(&server, "t").await, [json!({"p": {"y": 2}})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_rows_are_counted() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let properties = json!({"floeberg.ingest.max-delay-ms": "300"});
    let body = json!({"name": "t", "schema": schema(), "properties": properties});
    server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
    // Other tests of this process count too.
    let lost = async || {
        let text = server.get("/metrics").await.expect(200).text;
        let lines = text.lines().filter(|line| line.starts_with("floeberg_ingest_rows_lost_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    let before = lost().await;
    push(&server, "ns/t?ack=wal", "{\"id\":3}\n{\"id\":4}").await.expect(202);
    server.send(Method::DELETE, "/v1/namespaces/ns/tables/t", &[], None).await.expect(204);
    server.until("they are counted", || async { lost().await >= before + 2 }).await;
    assert_eq!(log_files(&server), 1, "the file that is written to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_says_how_often_it_is_committed_to() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let create = async |name: &str, properties: Value| {
        let body = json!({"name": name, "schema": schema(), "properties": properties});
        server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
    };
    let commits = async |name: &str| metadata(&server, "ns", name).await["snapshots"].as_array().map_or(0, Vec::len);
    create("seldom", json!({"floeberg.ingest.min-commit-interval-ms": "700"})).await;
    let started = Instant::now();
    for id in 0..3 {
        push(&server, "ns/seldom", &format!("{{\"id\":{id}}}")).await.expect(200);
    }
    assert!(started.elapsed() >= Duration::from_millis(1_400), "{:?}", started.elapsed());
    create("lingers", json!({"floeberg.ingest.linger-ms": "400"})).await;
    let bodies: Vec<String> = (0..10).map(|id| format!("{{\"id\":{id}}}")).collect();
    futures::future::join_all(bodies.iter().map(|body| push(&server, "ns/lingers", body))).await;
    assert_eq!(commits("lingers").await, 1);
    // Who asks for a commit waits for no others.
    create("sleeps", json!({"floeberg.ingest.linger-ms": "3600000"})).await;
    let pushed = push(&server, "ns/sleeps?timeout=2h", "{\"id\":1}");
    let flushed = async {
        server.until("the row waits", || async { status(&server, "ns/sleeps").await["buffered_rows"] == 1 }).await;
        flush(&server, "ns/sleeps").await
    };
    let both = tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(pushed, flushed) }).await;
    both.expect("in time").0.expect(200);
    flush(&server, "ns/sleeps").await;
    create("soon", json!({"floeberg.ingest.max-delay-ms": "50"})).await;
    push(&server, "ns/soon?ack=wal", "{\"id\":1}").await.expect(202);
    server.until("the rows are committed", || async { commits("soon").await == 1 }).await;
    create("full", json!({"floeberg.ingest.max-delay-ms": "86400000", "floeberg.ingest.target-bytes": "64"})).await;
    push(&server, "ns/full?ack=wal", "{\"id\":1,\"name\":\"a\"}").await.expect(202);
    for id in 2..8 {
        push(&server, "ns/full?ack=wal", &format!("{{\"id\":{id},\"name\":\"abcdefghijklmnopqrstuvwxyz\"}}"))
            .await
            .expect(202);
    }
    server.until("the rows are committed", || async { commits("full").await > 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_files_and_torn_ends_of_the_log_are_nothing() {
    let mut server = Server::start().await;
    server.stop().await;
    let folder = server.dir().join("floeberg-data/wal");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("00000000000000000001.log"), vec![0; 100]).expect("written");
    std::fs::write(folder.join("00000000000000000002.log"), b"").expect("written");
    let server = server.restart().await;
    assert_eq!(log_files(&server), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_requests_of_every_kind_share_a_commit() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"id\":0,\"n\":{\"a\":1},\"l\":[\"x\"]}").await.expect(200);
    let change = json!({"requirements": [], "updates": [
        {"action": "set-properties", "updates": {"floeberg.ingest.linger-ms": "3600000"}},
    ]});
    server.post("/v1/namespaces/ns/tables/t", &change).await.expect(200);
    // Fields without values that differ in case only would be a fault in one body.
    let fit = [
        "[{\"id\":1},{\"id\":2}]",
        " {\"id\":3,\"n\":{\"a\":2,\"B\":null}} ",
        "{\"id\":4,\"n\":{\"b\":null}}\n{\"id\":5,\"l\":[]}\n",
        "{\"id\":6,\"X\":null}",
        "{\"id\":7,\"x\":null,\"l\":[\"y\",null]}",
    ];
    let faulty = ["{\"id\":\"eight\"}", "{\"id\":9,\"id\":9}", "{\"id\":10", "[]", "{\"id\":11}]"];
    let truncated = push(&server, "ns/t?timeout=2h&unknown_fields=ignore", "{\"id\":12,\"y\":1}");
    let taken = futures::future::join_all(fit.iter().map(|body| push(&server, "ns/t?timeout=2h", body)));
    let done = async {
        for body in faulty {
            let answer = push(&server, "ns/t?timeout=2h", body).await;
            assert!(matches!(answer.status, 400 | 422), "{body}: {}", answer.status);
        }
        // Larger than what waits as text, and in between.
        let many: String = (100..600).map(|id| format!("{{\"id\":{id}}}\n")).collect();
        let many = push(&server, "ns/t?timeout=2h", &many);
        let flushed = async {
            server.until("all wait", || async { status(&server, "ns/t").await["buffered_rows"] == 508 }).await;
            flush(&server, "ns/t").await
        };
        tokio::join!(many, flushed).0.expect(200);
    };
    let (taken, truncated, ()) = tokio::join!(taken, truncated, done);
    let snapshots: std::collections::BTreeSet<i64> = taken
        .iter()
        .chain([&truncated])
        .map(|answer| answer.json()["tables"][0]["snapshot_id"].as_i64().expect("committed"))
        .collect();
    assert_eq!(snapshots.len(), 1, "one commit took them all");
    let mut found = rows(&server, "t").await;
    found.sort_by_key(|row| row["id"].as_i64());
    let ids: Vec<i64> = found.iter().filter_map(|row| row["id"].as_i64()).collect();
    assert_eq!(ids, (0..8).chain([12]).chain(100..600).collect::<Vec<i64>>());
    assert_eq!((&found[3]["n"]["a"], &found[7]["l"][0]), (&json!(2), &json!("y")));
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_waits_follows_the_tables_columns() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"id\":0,\"name\":\"a\",\"gone\":1}").await.expect(200);
    push(&server, "ns/t?ack=none", "{\"id\":1,\"name\":\"b\",\"gone\":2}").await.expect(202);
    let schema = metadata(&server, "ns", "t").await["schemas"][0].clone();
    let mut fields = schema["fields"].as_array().expect("fields").clone();
    fields.retain(|field| field["name"] != "gone");
    fields[1]["name"] = json!("label");
    let change = json!({"requirements": [], "updates": [
        {"action": "add-schema", "schema": {"type": "struct", "fields": fields}},
        {"action": "set-current-schema", "schema-id": -1},
    ]});
    server.post("/v1/namespaces/ns/tables/t", &change).await.expect(200);
    flush(&server, "ns/t").await;
    let mut found = rows(&server, "t").await;
    found.sort_by_key(|row| row["id"].as_i64());
    assert_eq!(found[1]["id"], 1);
    let held: Vec<&String> = found[1].as_object().expect("a row").keys().collect();
    assert!(!held.contains(&&"gone".to_owned()), "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_another_is_registered_over_is_gone() {
    let server = Server::start().await;
    patient(&server, "t").await;
    let other = json!({"name": "other", "schema": schema()});
    server.post("/v1/namespaces/ns/tables", &other).await.expect(200);
    let sends = |sequence: &'static str, ack: &'static str| {
        let headers = [("x-producer-id", "p"), ("x-producer-seq", sequence), ("content-type", "application/json")];
        let path = format!("/ingest/v1/ns/t?ack={ack}");
        let server = &server;
        async move { server.send(Method::POST, &path, &headers, Some("{\"id\":1}".to_owned())).await }
    };
    sends("0", "commit").await.expect(200);
    sends("1", "wal").await.expect(202);
    push(&server, "ns/t?ack=none", "{\"id\":2}").await.expect(202);
    let other = server.get("/v1/namespaces/ns/tables/other").await.expect(200).json()["metadata-location"].clone();
    server.send(Method::DELETE, "/v1/namespaces/ns/tables/other", &[], None).await.expect(204);
    let over = json!({"name": "t", "metadata-location": other, "overwrite": true});
    server.post("/v1/namespaces/ns/register", &over).await.expect(200);
    // What waited was for a table that is no more; this one knows nobody yet.
    push(&server, "ns/t", "{\"id\":3}").await.expect(200);
    let answer = sends("0", "wal").await.expect(202).json();
    assert_eq!(answer["duplicate"], false, "{answer}");
    flush(&server, "ns/t").await;
    let ids: Vec<i64> = rows(&server, "t").await.iter().filter_map(|row| row["id"].as_i64()).collect();
    assert_eq!(ids, [1, 3]);
    let metrics = server.get("/metrics").await.expect(200).text;
    let lost = "floeberg_ingest_rows_lost_total{table=\"ns.t\",why=\"the table is gone\"} 2";
    assert!(metrics.contains(lost), "{metrics}");
}
