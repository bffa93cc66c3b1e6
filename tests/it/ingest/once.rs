//! Rows that count once: keys, and producers that number what they send.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::{metadata, problem, push, rows};
use crate::kit::{Answer, Server};

pub async fn push_as(server: &Server, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let kind = ("content-type", "application/x-ndjson");
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain([kind]).collect();
    server.send(Method::POST, &format!("/ingest/v1/{path}"), &headers, Some(body.to_owned())).await
}

async fn keyed(server: &Server, key: &str, path: &str, body: &str) -> Answer {
    push_as(server, path, &[("idempotency-key", key)], body).await
}

async fn look(server: &Server, question: &str) -> Answer {
    server.get(&format!("/ingest/v1?{question}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_is_written_once_and_answered_the_same() {
    let server = Server::start().await;
    let first = keyed(&server, "order 17", "ns/t", "{\"id\":1}\n{\"id\":2}").await.expect(200).json();
    push(&server, "ns/t", "{\"id\":3}").await.expect(200);
    let again = keyed(&server, "order 17", "ns/t", "{\"id\":1}\n{\"id\":2}").await.expect(200).json();
    assert_eq!(first["duplicate"], false);
    assert_eq!(again, {
        let mut same = first.clone();
        same["duplicate"] = json!(true);
        same
    });
    assert_eq!(rows(&server, "t").await.len(), 3);
    let kept = look(&server, "key=order%2017").await.expect(200).json();
    assert_eq!((&kept["tables"], &kept["rows"]), (&first["tables"], &first["rows"]));
    problem(&look(&server, "key=order%2018").await, 404, "not_found", "order 18");
    let server = server.restart().await;
    let again = keyed(&server, "order 17", "ns/t", "{\"id\":1}\n{\"id\":2}").await.expect(200).json();
    assert_eq!((&again["duplicate"], &again["tables"]), (&json!(true), &first["tables"]));
    assert_eq!(rows(&server, "t").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_request() {
    let server = Server::start().await;
    keyed(&server, "k", "ns/t", "{\"id\":1}").await.expect(200);
    for (path, body) in [("ns/t", "{\"id\":2}"), ("ns/other", "{\"id\":1}"), ("ns/t?timeout=9s", "{\"id\":1}")] {
        problem(&keyed(&server, "k", path, body).await, 422, "key_reused", "came with another request");
    }
    assert_eq!(rows(&server, "t").await, [json!({"id": 1})]);
    for bad in ["", "k\u{e9}", &"k".repeat(201)] {
        let answer = keyed(&server, bad, "ns/t", "{\"id\":1}").await;
        problem(&answer, 400, "malformed", "printable");
    }
    // What had no effect may be asked for again.
    problem(&keyed(&server, "free", "ns/t", "{\"id\":\"x\"}").await, 422, "wrong_type", "");
    keyed(&server, "free", "ns/t", "{\"id\":4}").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_first_with_a_key_writes_for_all() {
    let server = Server::start().await;
    let many = (0..24).map(|_| keyed(&server, "k", "ns/t", "{\"id\":1}"));
    let answers = futures::future::join_all(many).await;
    let told: Vec<Value> = answers.into_iter().map(|answer| answer.expect(200).json()).collect();
    assert!(told.iter().all(|answer| answer["tables"] == told[0]["tables"]), "{told:?}");
    assert_eq!(told.iter().filter(|answer| answer["duplicate"] == false).count(), 1, "{told:?}");
    assert_eq!(rows(&server, "t").await.len(), 1);
    // Of different requests with one key, one is written.
    let bodies: Vec<String> = (0..24).map(|id| format!("{{\"id\":{id}}}")).collect();
    let many = bodies.iter().enumerate().map(|(at, body)| {
        let path = if at % 2 == 0 { "ns/t" } else { "ns/u" };
        keyed(&server, "other", path, body)
    });
    let answers = futures::future::join_all(many).await;
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(taken, 1, "{answers:?}");
    answers.iter().filter(|answer| answer.status != 200).for_each(|answer| problem(answer, 422, "key_reused", ""));
    let there = async |table: &str| {
        if server.get(&format!("/v1/namespaces/ns/tables/{table}")).await.status == 200 {
            rows(&server, table).await.len()
        } else {
            0
        }
    };
    assert_eq!(there("t").await + there("u").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_only_so_many_keys() {
    let server = Server::configured("idempotency.keys = 2\n").await;
    for key in ["a", "b"] {
        keyed(&server, key, "ns/t", "{\"id\":1}").await.expect(200);
    }
    let answer = keyed(&server, "c", "ns/t", "{\"id\":1}").await;
    problem(&answer, 503, "unavailable", "2 idempotency keys");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(rows(&server, "t").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_answered_though_the_table_is_gone() {
    let server = Server::start().await;
    keyed(&server, "k", "ns/t", "{\"id\":1}").await.expect(200);
    server.delete("/v1/namespaces/ns/tables/t").await.expect(204);
    assert_eq!(keyed(&server, "k", "ns/t", "{\"id\":1}").await.expect(200).json()["duplicate"], true);
    server.get("/v1/namespaces/ns/tables/t").await.expect(404);
    problem(&keyed(&server, "k", "ns/t", "{\"id\":2}").await, 422, "key_reused", "");
    server.get("/v1/namespaces/ns/tables/t").await.expect(404);
}

/// Sends one row as a producer: its epoch, its sequence number and its offset token.
async fn produced(server: &Server, (epoch, sequence): (i64, i64), path: &str) -> Answer {
    let (epoch_text, sequence_text) = (epoch.to_string(), sequence.to_string());
    let token = format!("at {epoch}/{sequence}");
    let headers = [
        ("x-producer-id", "shipper"),
        ("x-producer-epoch", epoch_text.as_str()),
        ("x-producer-seq", sequence_text.as_str()),
        ("x-offset-token", token.as_str()),
    ];
    push_as(server, path, &headers, &format!("{{\"id\":{}}}", epoch * 1_000 + sequence)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_is_taken_in_order_and_once() {
    let server = Server::start().await;
    problem(&produced(&server, (1, 1), "ns/t").await, 409, "producer_gap", "0 is next");
    produced(&server, (1, 0), "ns/t").await.expect(200);
    let taken = produced(&server, (1, 1), "ns/t").await.expect(200).json();
    assert_eq!(taken["rows"], json!({"received": 1, "written": 1, "rejected": 0, "duplicate": 0}));
    let twice = produced(&server, (1, 1), "ns/t").await.expect(200).json();
    assert_eq!(twice["rows"], json!({"received": 1, "written": 0, "rejected": 0, "duplicate": 1}));
    assert_eq!((&twice["duplicate"], &twice["tables"][0]["snapshot_id"]), (&json!(true), &Value::Null));
    problem(&produced(&server, (1, 3), "ns/t").await, 409, "producer_gap", "2 is next");
    let asked = "producer=shipper&table=ns.t";
    let status = look(&server, asked).await.expect(200).json();
    assert_eq!(status, json!({"epoch": 1, "sequence": 1, "offset_token": "at 1/1"}));
    // Another life counts anew, and shuts out the one before.
    problem(&produced(&server, (2, 2), "ns/t").await, 409, "producer_gap", "0 is next");
    produced(&server, (2, 0), "ns/t").await.expect(200);
    problem(&produced(&server, (1, 2), "ns/t").await, 409, "producer_fenced", "epoch 2");
    let server = server.restart().await;
    let status = look(&server, asked).await.expect(200).json();
    assert_eq!(status, json!({"epoch": 2, "sequence": 0, "offset_token": "at 2/0"}));
    assert_eq!(rows(&server, "t").await.len(), 3);
    // Who takes over says so before he asks: nothing of the one before comes in then.
    for ack in ["commit", "wal"] {
        let headers = [("x-producer-id", "shipper"), ("x-producer-epoch", "3")];
        let path = format!("/ingest/v1/ns/t?ack={ack}");
        let taken = server.send(Method::POST, &path, &headers, Some(String::new())).await.expect(200).json();
        assert_eq!(taken["rows"]["received"], 0);
        problem(&produced(&server, (2, 1), "ns/t").await, 409, "producer_fenced", "epoch 3");
        let status = look(&server, asked).await.expect(200).json();
        assert_eq!(status, json!({"epoch": 3, "sequence": null, "offset_token": "at 2/0"}));
    }
    produced(&server, (3, 0), "ns/t").await.expect(200);
    // Each table has its own.
    produced(&server, (1, 0), "ns/u").await.expect(200);
    problem(&look(&server, "producer=nobody&table=ns.t").await, 404, "not_found", "nobody");
    problem(&look(&server, "producer=shipper&table=ns.none").await, 404, "not_found", "none");
    problem(&look(&server, "producer=shipper").await, 400, "malformed", "table=");
    problem(&look(&server, "key=a&producer=b&table=ns.t").await, 400, "malformed", "Ask with");
    problem(&look(&server, "kee=a").await, 400, "unknown_parameter", "kee");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_producer_that_arrive_together_are_put_in_order() {
    let server = Server::start().await;
    produced(&server, (0, 0), "ns/t").await.expect(200);
    // A table that holds rows back a while: all are there when the first is looked at.
    let set = json!([{"action": "set-properties", "updates": {"floeberg.ingest.linger-ms": "300"}}]);
    server.commit("t", json!([]), set).await.expect(200);
    let many = (1..20).rev().map(|sequence| produced(&server, (0, sequence), "ns/t"));
    let twice = [produced(&server, (0, 7), "ns/t"), produced(&server, (0, 25), "ns/t")];
    let (many, twice) = tokio::join!(futures::future::join_all(many), futures::future::join_all(twice));
    many.into_iter().for_each(|answer| drop(answer.expect(200)));
    assert_eq!(twice[0].status, 200);
    problem(&twice[1], 409, "producer_gap", "20 is next");
    assert_eq!(rows(&server, "t").await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_alone_is_kept_too() {
    let server = Server::start().await;
    for token in ["line 10", "line 20"] {
        push_as(&server, "ns/t", &[("x-producer-id", "p"), ("x-offset-token", token)], "{\"id\":1}").await.expect(200);
    }
    let status = look(&server, "producer=p&table=ns.t").await.expect(200).json();
    assert_eq!(status, json!({"epoch": 0, "sequence": null, "offset_token": "line 20"}));
    assert_eq!(rows(&server, "t").await.len(), 2);
    for (headers, part) in [
        (vec![("x-producer-id", "p")], "X-Producer-Seq"),
        (vec![("x-producer-seq", "1")], "X-Producer-Id"),
        (vec![("x-producer-id", "p"), ("x-producer-seq", "-1")], "x-producer-seq"),
        (vec![("x-producer-id", "p"), ("x-producer-seq", "one")], "one"),
        (vec![("x-producer-id", ""), ("x-producer-seq", "1")], "x-producer-id"),
    ] {
        problem(&push_as(&server, "ns/t", &headers, "{\"id\":1}").await, 400, "malformed", part);
    }
    let table = metadata(&server, "ns", "t").await;
    assert_eq!(table["snapshots"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_very_many_producers_those_that_were_silent_for_longest_are_forgotten() {
    let server = Server::start().await;
    let send = async |producer: &str| {
        push_as(&server, "ns/t", &[("x-producer-id", producer), ("x-producer-seq", "0")], "{\"id\":1}")
            .await
            .expect(200)
    };
    let is_known = async |producer: &str| look(&server, &format!("table=ns.t&producer={producer}")).await.status == 200;
    send("first").await;
    // As many more as are known of a table, each heard of later.
    let path = server.dir().join("floeberg-data/catalog.db");
    let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.expect("opened");
    sqlx::query(
        "with recursive many(n) as (select 1 union all select n + 1 from many where n < 100000)
         insert into producer select table_id, 'later' || n, 0, 0, null, updated_ms + n
         from producer, many where producer = 'first'",
    )
    .execute(&mut connection)
    .await
    .expect("written");
    connection.close().await.expect("closed");
    // One of 64 that are new looks: its name says whether it does.
    let looks = |n: &u32| crc32fast::hash(format!("new{n}").as_bytes()).is_multiple_of(64);
    let quiet = (0..).find(|n| !looks(n)).map(|n| format!("new{n}")).expect("one");
    send(&quiet).await;
    assert!(is_known("first").await, "nobody has looked");
    let one = (0..).find(looks).map(|n| format!("new{n}")).expect("one");
    send(&one).await;
    assert!(!is_known("first").await && is_known("later100000").await && is_known(&one).await);
    assert_eq!(send("first").await.json()["duplicate"], false, "it begins anew");
    assert_eq!(send(&one).await.json()["duplicate"], true);
}
