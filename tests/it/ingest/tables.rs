//! Tables that ingest creates: their columns, their layout, and what is ambiguous about their names.

use serde_json::json;

use super::{columns, current, metadata, problem, push};
use crate::kit::Server;

#[tokio::test(flavor = "multi_thread")]
async fn types_are_what_all_rows_agree_on() {
    let server = Server::start().await;
    let rows = [
        json!({"b": true, "l": 1, "d": 1, "tz": "2024-01-01T00:00:00Z", "ts": "2024-01-01T00:00:00", "date": "2024-01-01",
               "s": "x", "list": [1, null], "struct": {"a": 1}, "nothing": null, "empty": [], "hollow": {}, "nulls": [null]}),
        json!({"b": null, "l": 2, "d": 0.5, "tz": "2024-01-01 00:00:00.5+01:00", "list": [2.5], "struct": {"b": "y"}, "late": 7}),
    ];
    let body: String = rows.iter().map(|row| format!("{row}\n")).collect();
    push(&server, "ns/t", &body).await.expect(200);
    let made = columns(&metadata(&server, "ns", "t").await);
    let wanted = [
        ("b", "boolean"),
        ("l", "long"),
        ("d", "double"),
        ("tz", "timestamptz"),
        ("ts", "timestamp"),
        ("date", "date"),
        ("s", "string"),
        ("list", "\"list\""),
        ("struct", "\"struct\""),
        ("late", "long"),
    ];
    assert_eq!(made, wanted.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
    push(&server, "ns/t", "{\"l\":3,\"nothing\":null,\"hollow\":{\"x\":[]}}").await.expect(200);
    problem(&push(&server, "ns/t?schema=strict", "{\"nothing\":1}").await, 422, "unknown_field", "/nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_agree_create_nothing() {
    let server = Server::start().await;
    for (body, code, part) in [
        ("{\"a\":1}\n{\"a\":2}\n{\"a\":\"x\"}", "mixed_types", "long in row 0 and string in row 2"),
        ("{\"a\":9007199254740993}\n{\"a\":0.5}", "mixed_types", "long in row 0 and double in row 1"),
        ("{\"a\":\"2024-01-01\"}\n{\"a\":\"n/a\"}", "mixed_types", "date in row 0 and string in row 1"),
        ("{\"a\":{\"b\":1}}\n{\"a\":{\"b\":true}}", "mixed_types", "/a/b"),
        ("{\"a\":[1,\"x\"]}", "mixed_types", "/a/1"),
        ("{\"a\":9223372036854775808}", "int_overflow", "/a"),
        ("{\"Name\":1,\"name\":2}", "ambiguous_name", "differ in case only"),
        ("{\"a\":1,\"a\":2}", "duplicate_key", "/a"),
        ("[1]", "wrong_type", "a row is an object"),
        ("{\"a\":null}", "no_columns", "no column"),
        ("{}", "no_columns", "no column"),
    ] {
        problem(&push(&server, "ns/t", body).await, 422, code, part);
    }
    let wide: String = (0..1_001).map(|index| format!("\"c{index}\":1,")).collect();
    problem(
        &push(&server, "ns/t", &format!("{{{}}}", wide.trim_end_matches(','))).await,
        422,
        "too_many_columns",
        "1001",
    );
    server.get("/v1/namespaces/ns").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_is_made_once_and_then_expected() {
    let server = Server::start().await;
    let body = "{\"at\":\"2024-01-01T10:00:00Z\",\"id\":2}\n{\"at\":\"2024-01-01T11:00:00Z\",\"id\":1}\n{\"at\":\"2024-01-02T10:00:00Z\",\"id\":3}\n";
    let layout = "partition_by=day(at),bucket(4,id)&sort_by=id%20desc";
    let first = push(&server, &format!("ns/t?{layout}"), body).await.expect(200).json();
    assert!(first["tables"][0]["files"].as_u64() >= Some(2));
    let metadata = metadata(&server, "ns", "t").await;
    let fields = &metadata["partition-specs"][0]["fields"];
    assert_eq!((&fields[0]["name"], &fields[0]["transform"]), (&json!("at_day"), &json!("day")));
    assert_eq!((&fields[1]["name"], &fields[1]["transform"]), (&json!("id_bucket"), &json!("bucket[4]")));
    assert_eq!(metadata["sort-orders"][0]["fields"][0]["direction"], "desc");
    push(&server, &format!("ns/t?{layout}"), body).await.expect(200);
    push(&server, "ns/t", body).await.expect(200);
    problem(&push(&server, "ns/t?partition_by=day(at)", body).await, 409, "partition_spec_differs", "day(at)");
    problem(&push(&server, "ns/t?sort_by=id", body).await, 409, "sort_order_differs", "sort_by");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_first_requests_make_one_table() {
    let server = Server::start().await;
    let server = &server;
    let pushes =
        (0..10).map(|id| async move { push(server, "a.b.c/t", &format!("{{\"id\":{id}}}")).await.expect(200) });
    futures::future::join_all(pushes).await;
    let metadata = metadata(server, "a%1Fb%1Fc", "t").await;
    assert_eq!(current(&metadata)["summary"]["total-records"], "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn dots_join_levels_unless_a_level_holds_them() {
    let server = Server::start().await;
    server.namespace(&["x.y"]).await;
    let one = push(&server, "x.y/t", "{\"id\":1}").await.expect(200).json();
    assert_eq!(one["tables"][0]["table"], "x.y%1Ft", "written so that the path takes it back");
    server.get("/v1/namespaces/x.y/tables/t").await.expect(200);
    let two = push(&server, "p.q/t", "{\"id\":1}").await.expect(200).json();
    assert_eq!(two["tables"][0]["table"], "p.q.t");
    server.get("/v1/namespaces/p%1Fq/tables/t").await.expect(200);
    server.namespace(&["x"]).await;
    server.namespace(&["x", "y"]).await;
    problem(
        &push(&server, "x.y/t", "{\"id\":2}").await,
        400,
        "ambiguous_namespace",
        "write x%1Fy for the levels, x%2Ey for the one",
    );
    push(&server, "x%1Fy/t", "{\"id\":2}").await.expect(200);
    push(&server, "x%2Ey/t", "{\"id\":2}").await.expect(200);
    server.get("/v1/namespaces/x%1Fy/tables/t").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_follow_a_schema_that_other_clients_change() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"id\":1}").await.expect(200);
    let fields = json!([
        {"id": 1, "name": "ident", "required": false, "type": "long"},
        {"id": 2, "name": "more", "required": false, "type": "string"},
    ]);
    let updates = json!([
        {"action": "add-schema", "schema": {"type": "struct", "fields": fields}},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "add-spec", "spec": {"fields": [{"source-id": 2, "name": "more", "transform": "identity"}]}},
        {"action": "set-default-spec", "spec-id": -1},
    ]);
    server.commit("t", json!([]), updates).await.expect(200);
    problem(&push(&server, "ns/t?schema=strict", "{\"id\":2}").await, 422, "unknown_field", "/id");
    let answer =
        push(&server, "ns/t", "{\"ident\":2,\"more\":\"a\"}\n{\"ident\":3,\"more\":\"b\"}").await.expect(200).json();
    assert_eq!(answer["tables"][0]["files"], 2, "the new spec splits");
    let metadata = metadata(&server, "ns", "t").await;
    assert_eq!(current(&metadata)["summary"]["total-records"], "3");
    assert_eq!(current(&metadata)["schema-id"], metadata["current-schema-id"]);
}
