//! A body for many tables of which one table's commit fails. Sent again under its key, each of its rows is in one place
//! once, whatever became of the tables meanwhile.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::armed;
use super::process::Process;

const TABLES: [&str; 3] = ["a", "b", "c"];

async fn ask(server: &Process, path: &str, body: &Value) -> (u16, Value) {
    server.send("POST", path, Some(body)).await.expect("an answer")
}

async fn set(server: &Process, table: &str, schema: &str) {
    let updates = json!([{"action": "set-properties", "updates": {"floeberg.ingest.schema": schema}}]);
    let change = json!({"requirements": [], "updates": updates});
    assert_eq!(ask(server, &format!("/v1/namespaces/ns/tables/{table}"), &change).await.0, 200);
}

/// Three tables with a row each: a row of another table is as good as one of a, b and c.
async fn world() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Process::start(dir.path(), "");
    for table in TABLES {
        let (status, told) = ask(&server, &format!("/ingest/v1/ns/{table}"), &json!([{"t": "x", "id": 0}])).await;
        assert_eq!(status, 200, "{told}");
        set(&server, table, "strict").await;
    }
    dir
}

/// How many rows a table has beside its first.
async fn count(server: &Process, table: &str) -> i64 {
    let path = format!("/v1/namespaces/ns/tables/{table}");
    let (status, told) = server.send("GET", &path, None).await.expect("an answer");
    if status == 404 {
        return 0;
    }
    let metadata = &told["metadata"];
    let current = metadata["snapshots"]
        .as_array()
        .and_then(|all| all.iter().find(|snapshot| snapshot["snapshot-id"] == metadata["current-snapshot-id"]));
    let records = current.map_or("0", |snapshot| snapshot["summary"]["total-records"].as_str().expect("text"));
    records.parse::<i64>().expect("a number") - i64::from(TABLES.contains(&table))
}

async fn counts<const N: usize>(server: &Process, tables: [&str; N]) -> [i64; N] {
    let mut all = [0; N];
    for (count_of, table) in all.iter_mut().zip(tables) {
        *count_of = count(server, table).await;
    }
    all
}

/// From now on its rows do not fit.
async fn rename(server: &Process, table: &str) {
    set(server, table, "full").await;
    let changes = json!({"changes": [{"op": "rename", "column": "id", "to": "ident"}]});
    assert_eq!(ask(server, &format!("/ingest/v1/ns/{table}/schema"), &changes).await.0, 200);
    set(server, table, "strict").await;
}

async fn push(server: &Process, query: &str, body: &Value) -> (u16, Value) {
    let (path, key) = (format!("/ingest/v1?route=/t{query}"), [("idempotency-key", "k")]);
    server.send_under(&key, "POST", &path, Some(body)).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_dead_letters_are_written_once() {
    let body = json!([{"t": "ns.a", "id": 1}, {"t": "ns.b", "id": 2}, {"t": "ns.c", "id": 3, "y": 1}, {"id": 4}]);
    let places = ["a", "b", "c__rejected"];
    for (ack, before) in [("commit", 0), ("commit", 1), ("commit", 2), ("commit", 3)] {
        let what = format!("ack={ack}, {before} commits before");
        let dir = world().await;
        let server = Process::start(dir.path(), &armed("append.prepared", before, "return"));
        let query = format!("&on_error=dlq&ack={ack}");
        let (status, told) = push(&server, &query, &body).await;
        assert_eq!((status, &told["code"]), (500, &json!("partly_written")), "{what}: {told}");
        let done = counts(&server, places).await;
        assert!(done.iter().sum::<i64>() >= 2, "{what}: {done:?}");
        // What was not written is to be judged otherwise from now on.
        rename(&server, "a").await;
        rename(&server, "b").await;
        set(&server, "c", "add-columns").await;
        let other = json!([{"t": "ns.d", "id": 1}]);
        let (status, told) = push(&server, &query, &other).await;
        assert_eq!((status, &told["code"]), (422, &json!("key_reused")), "{what}: {told}");
        assert_eq!(server.send("GET", "/v1/namespaces/ns/tables/d", None).await.map(|told| told.0), Some(404));
        let mut told_before = Value::Null;
        for time in ["second", "third"] {
            let (status, told) = push(&server, &query, &body).await;
            assert_eq!(status, 200, "{what}, {time}: {told}");
            let [a, b, letter_of_c] = counts(&server, places).await;
            assert_eq!([a, b, letter_of_c], done, "{what}, {time}: what was done stays");
            let others = counts(&server, ["a__rejected", "b__rejected", "c"]).await;
            assert_eq!(others, [1 - a, 1 - b, 1 - letter_of_c], "{what}, {time}: what was not is done now");
            let written = a + b + others[2];
            let rows = json!({"received": 4, "written": written, "rejected": 4 - written, "duplicate": 0});
            assert_eq!(told["rows"], rows, "{what}, {time}: {told}");
            assert!(told_before.is_null() || told["tables"] == told_before["tables"], "{what}: {told}");
            told_before = told;
        }
        let (_, unrouted) =
            server.send("GET", "/v1/namespaces/ingest/tables/unrouted__rejected", None).await.expect("an answer");
        assert_eq!(unrouted["metadata"]["snapshots"].as_array().map(Vec::len), Some(1), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_completed_says_what_is_there() {
    let body = json!([{"t": "ns.a", "id": 1}, {"t": "ns.b", "id": 2}]);
    for before in 0..2 {
        let dir = world().await;
        let server = Process::start(dir.path(), &armed("append.prepared", before, "return"));
        assert_eq!(push(&server, "", &body).await.1["code"], "partly_written");
        let done = counts(&server, ["a", "b"]).await;
        assert_eq!(done.iter().sum::<i64>(), 1);
        rename(&server, "a").await;
        rename(&server, "b").await;
        for _ in 0..2 {
            let (status, told) = push(&server, "", &body).await;
            assert_eq!((status, &told["code"]), (422, &json!("partly_written")), "{told}");
            assert!(
                told["detail"].as_str().is_some_and(|why| why.contains("the rows of 1 tables are there")),
                "{told}"
            );
            assert_eq!(counts(&server, ["a", "b"]).await, done);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_wait_in_the_log_are_parts_of_their_request() {
    let dir = world().await;
    let body = json!([{"t": "ns.a", "id": 1}, {"t": "ns.c", "id": 3, "y": 1}, {"id": 4}]);
    let other = json!([{"t": "ns.b", "id": 1}]);
    let query = "&on_error=dlq&ack=wal";
    // The commits fail until the next start: all that is known of the key is in the log.
    let server = Process::start(dir.path(), "append.prepared=return");
    for _ in 0..2 {
        let (status, told) = push(&server, query, &body).await;
        assert_eq!((status, &told["rows"]["rejected"]), (202, &json!(2)), "{told}");
    }
    assert_eq!(push(&server, query, &other).await.1["code"], "key_reused");
    drop(server);
    let mut server = Process::start(dir.path(), "");
    let (status, told) = push(&server, query, &other).await;
    assert_eq!((status, &told["code"]), (422, &json!("key_reused")), "{told}");
    let (status, told) = push(&server, query, &body).await;
    assert_eq!((status, &told["rows"]["received"]), (202, &json!(3)), "{told}");
    for table in ["a", "c__rejected"] {
        assert_eq!(ask(&server, &format!("/ingest/v1/ns/{table}/flush"), &json!({})).await.0, 200);
    }
    assert_eq!(ask(&server, "/ingest/v1/ingest/unrouted__rejected/flush", &json!({})).await.0, 200);
    assert_eq!(counts(&server, ["a", "b", "c", "c__rejected"]).await, [1, 0, 0, 1]);
    // Once all of it is committed, a stop leaves no file of the log.
    server.ask_to_stop();
    assert!(server.stopped_well());
    let left: Vec<_> = std::fs::read_dir(dir.path().join("wal")).expect("the log").collect();
    assert!(left.is_empty(), "{left:?}");
}
