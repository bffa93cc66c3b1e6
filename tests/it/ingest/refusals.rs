//! Rows and requests that do not fit: each its own clear refusal, and nothing written.

use reqwest::Method;
use serde_json::{Value, json};

use super::{metadata, problem, push};
use crate::kit::{Server, schema};

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_row_is_named_and_nothing_is_written() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let before = server.table("t").await["metadata"].clone();
    let body =
        "{\"id\":1,\"name\":\"ok\"}\n{\"id\":\"x\"}\n{\"id\":null,\"zz\":[1]}\n{\"name\":5}\n5\n{\"id\":1,\"id\":2}\n";
    let answer = push(&server, "ns/t?schema=strict", body).await;
    problem(&answer, 422, "rows", "5 of 6 rows do not fit, with 7 errors");
    let errors = answer.json()["errors"].clone();
    let named: Vec<(u64, u64, String, String)> = errors
        .as_array()
        .expect("a list")
        .iter()
        .map(|error| {
            let text = |key: &str| error[key].as_str().expect("text").to_owned();
            (
                error["index"].as_u64().expect("a number"),
                error["line"].as_u64().expect("a number"),
                text("pointer"),
                text("code"),
            )
        })
        .collect();
    let wanted = [
        (1, 2, "/id", "wrong_type"),
        (2, 3, "/id", "null_in_required"),
        (2, 3, "/zz", "unknown_field"),
        (3, 4, "/name", "wrong_type"),
        (3, 4, "/id", "null_in_required"),
        (4, 5, "", "wrong_type"),
        (5, 6, "/id", "duplicate_key"),
    ];
    let wanted = wanted.map(|(index, line, pointer, code)| (index, line, pointer.to_owned(), code.to_owned()));
    assert_eq!(named, wanted);
    assert_eq!(metadata(&server, "ns", "t").await, before);
    let many: String = (0..1_000).map(|_| "{\"id\":true}\n").collect();
    let answer = push(&server, "ns/t", &many).await;
    problem(&answer, 422, "wrong_type", "1000 of 1000 rows");
    assert_eq!(answer.json()["errors"].as_array().map(Vec::len), Some(100));
    assert_eq!(answer.json()["errors_truncated"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_rows_are_refused() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"id\":1}").await.expect(200);
    let deep = format!("{{\"id\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for (body, code, part) in [
        ("{\"id\":1}\n{\"id\":", "malformed_json", "byte 15"),
        ("{\"id\":01}", "malformed_json", "byte 7"),
        ("{\"id\":1} x", "malformed_json", "byte 9"),
        ("[{\"id\":1}] {\"id\":2}", "malformed_json", "nothing may follow"),
        ("", "no_rows", "no rows"),
        (deep.as_str(), "malformed_json", "nested too deeply"),
    ] {
        problem(&push(&server, "ns/t", body).await, 400, code, part);
    }
    let send = |headers: &'static [(&'static str, &'static str)], body: Vec<u8>| {
        let request = reqwest::Client::new().post(format!("{}/ingest/v1/ns/t", server.url)).body(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        async move { request.send().await.expect("an answer") }
    };
    let utf8 = send(&[("content-type", "application/json")], b"{\"id\":\"\xff\"}".to_vec()).await;
    assert_eq!((utf8.status().as_u16(), utf8.text().await.expect("text").contains("byte 7")), (400, true));
    // 1 GB: a gzip file may have many members, and here each is the same.
    let member = floeberg::catalog::loaded::gzip(&vec![b' '; 1 << 20]).expect("compresses");
    let zeros = member.repeat(1 << 10);
    let bomb = send(&[("content-encoding", "gzip")], zeros).await;
    assert_eq!(bomb.status(), 413);
    let cut = send(&[("content-encoding", "zstd")], vec![1, 2, 3]).await;
    assert_eq!(cut.status(), 400);
    for headers in
        [&[("content-encoding", "deflate")], &[("content-type", "text/html")], &[("content-type", "text/plain")]]
    {
        assert_eq!(send(headers, b"{}".to_vec()).await.status(), 415, "{headers:?}");
    }
    let large = send(&[], vec![b' '; 33 << 20]).await;
    assert_eq!(large.status(), 413);
    let total = super::current(&metadata(&server, "ns", "t").await)["summary"]["total-records"].clone();
    assert_eq!(total, "1", "nothing of it was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_mean_nothing_are_named() {
    let server = Server::start().await;
    for (query, part) in [
        ("ack=soon", "ack=soon"),
        ("on_error=drop", "on_error=drop"),
        ("coerce=wildly", "coerce=wildly"),
        ("round=down", "round=down"),
        ("ts_unit=h", "ts_unit=h"),
        ("delimiter=ab", "delimiter=ab"),
        ("quote=", "quote="),
        ("header=no", "header=no"),
        ("delimiter=x&quote=x", "same character"),
        ("time_precision=round", "time_precision=round"),
        ("timeout=soon", "timeout=soon"),
        ("schema=all", "schema=all"),
        ("unknown_fields=drop", "unknown_fields=drop"),
    ] {
        problem(&push(&server, &format!("ns/t?{query}"), "{\"id\":1}").await, 400, "unknown_parameter", part);
    }
    problem(&push(&server, "ns/t?warehouse=moon", "{\"id\":1}").await, 404, "not_found", "moon");
    problem(&push(&server, "ns/t?partition_by=moon(id)", "{\"id\":1}").await, 400, "bad_layout", "moon");
    problem(&push(&server, "ns/t?partition_by=nope", "{\"id\":1}").await, 400, "unknown_column", "nope");
    problem(&push(&server, "ns/t?partition_by=day(id)", "{\"id\":1}").await, 400, "invalid", "transform day");
    server.get("/v1/namespaces/ns/tables/t").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_exact_or_refused_by_code() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let field = |id: i32, name: &str, kind: &str| json!({"id": id, "name": name, "required": false, "type": kind});
    let kinds = [
        ("i", "int"),
        ("l", "long"),
        ("f", "float"),
        ("d", "double"),
        ("dec", "decimal(9, 2)"),
        ("date", "date"),
        ("t", "time"),
        ("ts", "timestamp"),
        ("tz", "timestamptz"),
        ("u", "uuid"),
        ("fx", "fixed[2]"),
        ("b", "binary"),
        ("s", "string"),
        ("bool", "boolean"),
    ];
    let fields: Vec<Value> = (1..).zip(kinds).map(|(id, (name, kind))| field(id, name, kind)).collect();
    let body = json!({"name": "t", "schema": {"type": "struct", "fields": fields}});
    server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
    let good = json!({"i": 1.0, "l": 9_223_372_036_854_775_807_i64, "f": 0.5, "d": 1e3, "dec": 1234567.89, "date": "2024-02-29",
        "t": "23:59:59.5", "ts": "2024-01-01 00:00:00", "tz": "2024-01-01T00:00:00+02:00",
        "u": "f79c3e09-677c-4bbd-a479-3f349cb785e7", "fx": "AAE=", "b": "", "s": "\u{1F600}", "bool": true});
    push(&server, "ns/t", &good.to_string()).await.expect(200);
    for (column, value, code) in [
        ("i", "2147483648", "int_overflow"),
        ("l", "9223372036854775808", "int_overflow"),
        ("i", "1.5", "not_integral"),
        ("i", "\"1\"", "wrong_type"),
        ("d", "9007199254740993", "inexact"),
        ("f", "1e39", "float_overflow"),
        ("dec", "0.001", "excess_scale"),
        ("dec", "12345678", "decimal_overflow"),
        ("date", "\"2023-02-29\"", "bad_date"),
        ("t", "\"24:00:00\"", "bad_time"),
        ("ts", "\"2024-01-01T00:00:00Z\"", "unexpected_zone"),
        ("tz", "\"2024-01-01T00:00:00\"", "missing_zone"),
        ("tz", "\"2024-01-01T00:00:00.1234567Z\"", "sub_microsecond"),
        ("tz", "\"2024-01-01T23:59:60Z\"", "bad_timestamp"),
        ("u", "\"x\"", "bad_uuid"),
        ("fx", "\"AA==\"", "wrong_length"),
        ("b", "\"?\"", "bad_base64"),
        ("s", "5", "wrong_type"),
        ("bool", "1", "wrong_type"),
        ("s", "{}", "wrong_type"),
    ] {
        let answer = push(&server, "ns/t?schema=strict", &format!("{{\"{column}\":{value}}}")).await;
        problem(&answer, 422, code, &format!("\"/{column}\""));
    }
    push(&server, "ns/t?time_precision=truncate", "{\"tz\":\"2024-01-01T00:00:00.1234567Z\"}").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_ask_for_what_ingest_cannot_are_named() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    for (index, (key, value, code)) in [
        ("write.format.default", "avro", "unsupported_table"),
        ("write.wap.enabled", "true", "unsupported_table"),
        ("encryption.key-id", "k", "unsupported_table"),
        ("commit.manifest.min-count-to-merge", "many", "malformed_property"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("t{index}");
        server.table(&name).await;
        let updates = json!([{"action": "set-properties", "updates": {key: value}}]);
        server.commit(&name, json!([]), updates).await.expect(200);
        problem(&push(&server, &format!("ns/{name}"), "{\"id\":1}").await, 422, code, key);
    }
    let mut variant = schema();
    variant["fields"][1]["type"] = json!("variant");
    let body = json!({"name": "v", "schema": variant, "properties": {"format-version": "3"}});
    server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
    problem(&push(&server, "ns/v", "{\"id\":1}").await, 422, "unsupported_type", "variant");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_routes_and_methods_answer_as_problems() {
    let server = Server::start().await;
    let answer = server.send(Method::GET, "/ingest/v1/ns/t", &[], None).await;
    problem(&answer, 405, "method_not_allowed", "GET");
    problem(&push(&server, "ns/a/b", "{}").await, 404, "not_found", "No such endpoint");
    problem(&push(&server, "a%1F/t", "{\"id\":1}").await, 400, "malformed", "is empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_too_many_partitions_are_refused_alone() {
    let server = Server::start().await;
    push(&server, "ns/t?partition_by=id", "{\"id\":-1}").await.expect(200);
    let many: String = (0..10_001).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    let few = |id: i64| format!("{{\"id\":{id}}}");
    let bodies = [many.clone(), few(-2), many, few(-3), few(-4)];
    let answers = futures::future::join_all(bodies.iter().map(|body| push(&server, "ns/t", body))).await;
    for (answer, body) in answers.iter().zip(&bodies) {
        if body.len() < 100 {
            assert_eq!(answer.status, 200, "a neighbour's rows are not its own: {}", answer.text);
        } else {
            problem(answer, 422, "too_many_partitions", "more than 10000 partitions");
        }
    }
    for ack in ["wal", "none"] {
        // Before it is acknowledged, not after.
        let answer = push(&server, &format!("ns/t?ack={ack}"), &bodies[0]).await;
        problem(&answer, 422, "too_many_partitions", "more than 10000 partitions");
    }
    let summary = &super::current(&metadata(&server, "ns", "t").await)["summary"];
    assert_eq!((&summary["total-records"], &summary["total-data-files"]), (&"4".into(), &"4".into()));
}
