//! The rows of one body for many tables.

use reqwest::Method;
use serde_json::json;

use super::{Answer, metadata, problem, rows, send};
use crate::kit::Server;

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

async fn route(server: &Server, query: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    server.send(Method::POST, &format!("/ingest/v1{query}"), headers, Some(body.to_owned())).await
}

fn tables(answer: &Answer) -> Vec<String> {
    let tables = answer.json()["tables"].clone();
    tables.as_array().expect("a list").iter().map(|table| table["table"].as_str().expect("text").to_owned()).collect()
}

const BODY: &str = "{\"t\":\"ns.b\",\"id\":1}\n{\"t\":\"ns.a\",\"id\":2}\n{\"t\":\"ns.b\",\"id\":3}\n";

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_where_they_say() {
    let server = Server::start().await;
    let answer = route(&server, "?route=/t", &[NDJSON], BODY).await.expect(200);
    assert_eq!(
        (tables(&answer), &answer.json()["rows"]["written"]),
        (vec!["ns.a".to_owned(), "ns.b".to_owned()], &json!(3))
    );
    assert_eq!((rows(&server, "a").await.len(), rows(&server, "b").await.len()), (1, 2));
    let list = "[{\"table\":\"ns.a\",\"row\":{\"id\":4}},{\"table\":\"ns.c\",\"row\":{\"x\":true}}]";
    route(&server, "?envelope=true", &[("content-type", "application/json")], list).await.expect(200);
    assert_eq!(rows(&server, "c").await, [json!({"x": true})]);
    route(&server, "?map=one=ns.a", &[("content-type", "text/csv"), ("x-ingest-route", "one")], "id\n5\n")
        .await
        .expect(200);
    assert_eq!(rows(&server, "a").await.len(), 3);
    route(&server, "", &[NDJSON, ("x-ingest-route", "ns.d")], "{\"id\":1}").await.expect(200);
    assert_eq!(rows(&server, "d").await.len(), 1);
    for (query, headers, code, status) in [
        ("", vec![NDJSON], "no_route", 400),
        ("?route=/t&envelope=true", vec![NDJSON], "no_route", 400),
        ("?route=t", vec![NDJSON], "unknown_parameter", 400),
        ("?route=/t&map=x", vec![NDJSON], "unknown_parameter", 400),
        ("?route=/t&atomic=maybe", vec![NDJSON], "unknown_parameter", 400),
        ("?route=/t", vec![("content-type", "text/csv")], "no_route", 415),
        ("?map=one=ns.a", vec![NDJSON, ("x-ingest-route", "two")], "unknown_route", 422),
        ("?route=/t", vec![NDJSON, ("x-producer-id", "p"), ("x-producer-seq", "0")], "malformed", 400),
    ] {
        problem(&route(&server, query, &headers, BODY).await, status, code, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_table_is_one_that_does_not_fit() {
    let server =
        Server::configured("[ingest.routes]\n\"order.made\" = \"shop.orders\"\nrefund = \"shop.refunds\"\n").await;
    let body = "{\"kind\":\"order.made\",\"n\":1}\n{\"kind\":\"other\",\"n\":2}\n{\"n\":3}\n{\"kind\":\"refund\",\"n\":\n{\"kind\":\"refund\",\"n\":4}\n";
    problem(&route(&server, "?route=/kind", &[NDJSON], body).await, 400, "malformed_json", "line");
    let whole = body.replace("{\"kind\":\"refund\",\"n\":\n", "");
    let answer = route(&server, "?route=/kind", &[NDJSON], &whole).await;
    problem(&answer, 422, "rows", "2 of 4 rows do not fit");
    assert_eq!(
        (&answer.json()["errors"][0]["code"], &answer.json()["errors"][1]["code"]),
        (&json!("unknown_route"), &json!("no_route"))
    );
    server.get("/v1/namespaces/shop/tables/orders").await.expect(404);
    let answer = route(&server, "?route=/kind&on_error=dlq", &[NDJSON], body).await.expect(200);
    assert_eq!(answer.json()["rows"], json!({"received": 5, "written": 2, "rejected": 3, "duplicate": 0}));
    assert_eq!(tables(&answer), ["shop.orders", "shop.refunds", "ingest.unrouted__rejected"]);
    let named: Vec<(u64, u64)> = answer.json()["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|error| (error["index"].as_u64().expect("a number"), error["line"].as_u64().expect("a number")))
        .collect();
    assert_eq!(named, [(1, 2), (2, 3), (3, 4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tables_or_none() {
    let server = Server::start().await;
    let headers = [NDJSON, ("idempotency-key", "k")];
    let waits = route(&server, "?route=/t&atomic=true&ack=wal", &[NDJSON], BODY).await;
    problem(&waits, 400, "unknown_parameter", "leave ack out");
    for time in ["first", "second"] {
        let query = "?route=/t&atomic=true&on_error=dlq".to_owned();
        let key = format!("k-{time}");
        let headers = [NDJSON, ("idempotency-key", key.as_str())];
        let body = format!("{BODY}{{\"t\":\"ns.a\",\"id\":\"x\"}}\n{{\"id\":9}}\n");
        let status = 200;
        let answer = route(&server, &query, &headers, &body).await.expect(status);
        assert_eq!(
            answer.json()["rows"],
            json!({"received": 5, "written": 3, "rejected": 2, "duplicate": 0}),
            "{}",
            answer.text
        );
        server.post("/ingest/v1/ns/a/flush", &json!({})).await.expect(200);
        let again = route(&server, &query, &headers, &body).await.expect(status).json();
        assert_eq!((&again["duplicate"], &again["rows"]), (&json!(true), &answer.json()["rows"]));
        let known = server.get(&format!("/ingest/v1?key={key}")).await.expect(200).json();
        assert_eq!(known["tables"].as_array().map(Vec::len), Some(4));
    }
    assert_eq!((rows(&server, "a").await.len(), rows(&server, "b").await.len()), (2, 4));
    let mut commits = Vec::new();
    for name in ["a", "b", "a__rejected"] {
        commits.push(metadata(&server, "ns", name).await["snapshots"].as_array().map_or(0, Vec::len));
    }
    assert_eq!(commits, [2, 2, 2]);
    // One that cannot be: nothing of any.
    let strict = json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {"floeberg.ingest.schema": "strict"}}]});
    server.post("/v1/namespaces/ns/tables/a", &strict).await.expect(200);
    let bad = BODY.replace("\"id\":2", "\"id\":2,\"new\":1");
    problem(&route(&server, "?route=/t&atomic=true", &headers, &bad).await, 422, "unknown_field", "1 of 3 rows");
    problem(&route(&server, "?route=/t", &headers, &bad).await, 422, "unknown_field", "1 of 3 rows");
    assert_eq!((rows(&server, "a").await.len(), rows(&server, "b").await.len()), (2, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_changed_once_in_a_commit() {
    let server = Server::start().await;
    let rows = "{\"t\":\"ns.a\",\"id\":1}\n{\"t\":\"ns.a\",\"id\":\"x\"}\n{\"t\":\"ns.a__rejected\",\"raw\":\"r\"}\n";
    let atomic = route(&server, "?route=/t&on_error=dlq&atomic=true", &[NDJSON], rows).await;
    problem(&atomic, 422, "rejected_table_unfit", "send them apart");
    // One by one they are commits of their own.
    let query = "?route=/t&on_error=dlq&map=ns.a=ns.a,ns.a__rejected=ingest.unrouted__rejected";
    let answer = route(&server, query, &[NDJSON], &format!("{rows}{{\"id\":7}}\n")).await.expect(200).json();
    assert_eq!(answer["rows"], json!({"received": 4, "written": 2, "rejected": 2, "duplicate": 0}));
    let unrouted = metadata(&server, "ingest", "unrouted__rejected").await;
    let records = |snapshot: &serde_json::Value| snapshot["summary"]["total-records"].as_str().map(str::to_owned);
    assert_eq!(unrouted["snapshots"].as_array().and_then(|all| records(all.last()?)), Some("2".to_owned()));
    let list = "[{\"table\":\"ns.a\",\"row\":[{\"id\":1},{\"id\":2}]},{\"table\":\"ns.a\",\"row\":{\"id\":3}}]";
    let headers = [("content-type", "application/json")];
    let answer = route(&server, "?envelope=true&on_error=skip", &headers, list).await.expect(200).json();
    assert_eq!(answer["rows"], json!({"received": 2, "written": 1, "rejected": 1, "duplicate": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_fit_no_table_are_dead_letters() {
    let server = Server::start().await;
    route(&server, "?route=/t", &[NDJSON], "{\"t\":\"ns.a\",\"id\":1}").await.expect(200);
    let before = metadata(&server, "ns", "a").await;
    for query in ["?route=/t&on_error=dlq", "?route=/t&on_error=dlq&atomic=true"] {
        let headers = [NDJSON, ("idempotency-key", query)];
        let body = "{\"t\":\"ns.a\",\"id\":\"x\"}\n{\"id\":9}\n";
        for again in [false, true] {
            let answer = route(&server, query, &headers, body).await;
            problem(&answer, 422, "rows", "they are put into ");
            assert!(answer.text.contains("ns.a__rejected") && answer.text.contains("ingest.unrouted__rejected"));
            assert_eq!(answer.json()["duplicate"], again, "{}", answer.text);
        }
    }
    assert_eq!(metadata(&server, "ns", "a").await, before);
    assert_eq!(rows(&server, "a__rejected").await.len(), 2);
    let skipped = route(&server, "?route=/t&on_error=skip", &[NDJSON], "{\"id\":9}\n").await;
    problem(&skipped, 422, "no_route", "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_changes_no_table() {
    let server = Server::start().await;
    route(&server, "?route=/t", &[NDJSON], "{\"t\":\"ns.a\",\"id\":1}\n{\"t\":\"ns.z\",\"id\":1}").await.expect(200);
    let narrow = json!({"requirements": [], "updates": [
        {"action": "set-properties", "updates": {"floeberg.ingest.max-columns": "2"}}]});
    server.post("/v1/namespaces/ns/tables/z", &narrow).await.expect(200);
    let (a, z) = (metadata(&server, "ns", "a").await, metadata(&server, "ns", "z").await);
    for (last, code) in [
        ("{\"t\":\"ns.z\",\"new\":1}\n{\"t\":\"ns.z\",\"new\":{\"x\":1}}", "mixed_types"),
        ("{\"t\":\"ns.y\",\"new\":1}\n{\"t\":\"ns.y\",\"new\":{\"x\":1}}", "mixed_types"),
        ("{\"t\":\"ns.y\",\"t2\":null}\n{\"t\":\"ns.z\",\"id\":\"x\",\"more\":1}", "wrong_type"),
        // Only who asks for the column hears that there can be none.
        ("{\"t\":\"ns.y\",\"id\":1}\n{\"t\":\"ns.z\",\"new\":1}", "too_many_columns"),
    ] {
        let body = format!("{{\"t\":\"ns.a\",\"id\":2,\"more\":1}}\n{{\"t\":\"ns.b\",\"id\":2}}\n{last}\n");
        problem(&route(&server, "?route=/t", &[NDJSON], &body).await, 422, code, "");
        assert_eq!((&metadata(&server, "ns", "a").await, &metadata(&server, "ns", "z").await), (&a, &z), "{body}");
        for table in ["b", "y"] {
            server.get(&format!("/v1/namespaces/ns/tables/{table}")).await.expect(404);
        }
    }
    // Nor does it where there is one table.
    let one = "{\"t\":\"x\",\"new\":1}\n{\"t\":\"x\",\"new\":{\"x\":1}}";
    problem(&send(&server, "ns/z", &[NDJSON], one.into()).await, 422, "mixed_types", "nothing was written");
    assert_eq!(metadata(&server, "ns", "z").await, z);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routed_request_with_a_key_is_written_once() {
    let server = Server::start().await;
    let headers = [NDJSON, ("idempotency-key", "k")];
    let first = route(&server, "?route=/t", &headers, BODY).await.expect(200).json();
    let again = route(&server, "?route=/t", &headers, BODY).await.expect(200).json();
    assert_eq!((&again["duplicate"], &again["tables"]), (&json!(true), &first["tables"]));
    assert_eq!((rows(&server, "a").await.len(), rows(&server, "b").await.len()), (1, 2));
    assert_eq!(server.get("/ingest/v1?key=k").await.expect(200).json()["rows"]["written"], 3);
    problem(
        &route(&server, "?route=/t", &headers, "{\"t\":\"ns.a\",\"id\":1}").await,
        422,
        "key_reused",
        "another request",
    );
    // The table's dead letters go with its own rows, and count.
    let body = format!(
        "{BODY}{{\"t\":\"ns.z\",\"id\":\"x\"}}\n{{\"t\":\"ns.a\",\"id\":\"x\"}}\n{{\"t\":\"ns.z\",\"id\":5}}\n"
    );
    let answer = route(&server, "?route=/t&on_error=skip", &[NDJSON], &body).await.expect(200);
    assert_eq!(
        answer.json()["rows"],
        json!({"received": 6, "written": 4, "rejected": 2, "duplicate": 0}),
        "{}",
        answer.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_say_where_they_belong_by_their_type() {
    let server = Server::start().await;
    let event = |id: u32, kind: &str| json!({"specversion": "1.0", "id": id.to_string(), "source": "/s", "type": kind});
    let batch = json!([event(1, "a"), event(2, "b")]).to_string();
    let many = ("content-type", "application/cloudevents-batch+json");
    let answer = route(&server, "", &[many], &batch).await.expect(200);
    assert_eq!(tables(&answer), ["events.events"]);
    let answer = route(&server, "?map=a=ns.a,b=ns.b", &[many], &batch).await.expect(200);
    assert_eq!(tables(&answer), ["ns.a", "ns.b"]);
    assert_eq!(rows(&server, "a").await[0]["id"], "1");
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "3"),
        ("ce-source", "/s"),
        ("ce-type", "b"),
        ("content-type", "text/plain"),
    ];
    route(&server, "?map=a=ns.a,b=ns.b", &binary, "hello").await.expect(200);
    let there = rows(&server, "b").await;
    assert!(there.iter().any(|row| row["id"] == "3" && row["data_json"] == "\"hello\""), "{there:?}");
    drop(send(&server, "ns/a", &[many], batch.into()).await.expect(200));
}
