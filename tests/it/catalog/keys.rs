//! `Idempotency-Key`: a request that is sent again happens once and is answered the same.

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::{Answer, Server, schema};

/// A key for each number.
fn key(number: u64) -> String {
    format!("019a0000-0000-7000-8000-{number:012x}")
}

async fn keyed(server: &Server, number: u64, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let key = key(number);
    let headers = [("idempotency-key", key.as_str()), ("content-type", "application/json")];
    server.send(method, path, &headers, body.map(Value::to_string)).await
}

async fn post(server: &Server, number: u64, path: &str, body: &Value) -> Answer {
    keyed(server, number, Method::POST, path, Some(body)).await
}

fn set(key: &str, value: &str) -> Value {
    json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {key: value}}]})
}

/// Sends a request twice and sees that both are answered the same.
async fn twice(server: &Server, number: u64, method: Method, path: &str, body: &Value) -> Answer {
    let body = (method != Method::DELETE).then_some(body);
    let first = keyed(server, number, method.clone(), path, body).await;
    let second = keyed(server, number, method, path, body).await;
    assert_eq!((first.status, &first.text), (second.status, &second.text), "{path}");
    assert_eq!(first.headers.get("etag"), second.headers.get("etag"), "{path}");
    first
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_happens_once() {
    let server = Server::start().await;
    let (post, delete) = (Method::POST, Method::DELETE);
    let view = json!({"name": "v", "schema": schema(), "properties": {}, "view-version": {
        "version-id": 1, "timestamp-ms": 1, "schema-id": 0, "summary": {}, "default-namespace": ["ns"],
        "representations": [{"type": "sql", "sql": "select 1", "dialect": "spark"}]}});
    let rename = |from: &str, to: &str| json!({"source": {"namespace": ["ns"], "name": from}, "destination": {"namespace": ["ns"], "name": to}});
    let change = |name: &str| {
        let mut change = set("moved", "yes");
        change["identifier"] = json!({"namespace": ["ns"], "name": name});
        json!({"table-changes": [change]})
    };
    let table = json!({"name": "t", "schema": schema()});
    let staged = json!({"name": "s", "schema": schema(), "stage-create": true});
    twice(&server, 1, post.clone(), "/v1/namespaces", &json!({"namespace": ["ns"]})).await.expect(200);
    let properties = json!({"removals": ["none"], "updates": {"a": "b"}});
    let done = twice(&server, 2, post.clone(), "/v1/namespaces/ns/properties", &properties).await.expect(200);
    assert_eq!(done.json(), json!({"updated": ["a"], "removed": [], "missing": ["none"]}));
    let made = twice(&server, 3, post.clone(), "/v1/namespaces/ns/tables", &table).await.expect(200).json();
    twice(&server, 4, post.clone(), "/v1/namespaces/ns/tables", &staged).await.expect(200);
    let committed = twice(&server, 5, post.clone(), "/v1/namespaces/ns/tables/t", &set("a", "1")).await.expect(200);
    twice(&server, 6, post.clone(), "/v1/namespaces/ns/tables/t", &set("a", "1")).await.expect(200);
    twice(&server, 7, post.clone(), "/v1/transactions/commit", &change("t")).await.expect(204);
    let log = server.get("/v1/namespaces/ns/tables/t").await.json()["metadata"]["metadata-log"].clone();
    assert_eq!(log.as_array().map(Vec::len), Some(2), "one file each for the creation and what changed something");
    let earlier = keyed(&server, 5, post.clone(), "/v1/namespaces/ns/tables/t", Some(&set("a", "1"))).await;
    assert_eq!(earlier.text, committed.text, "also when the table has gone on");
    twice(&server, 8, post.clone(), "/v1/tables/rename", &rename("t", "u")).await.expect(204);
    twice(&server, 9, post.clone(), "/v1/namespaces/ns/views", &view).await.expect(200);
    let replaced = json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {"c": "d"}}]});
    twice(&server, 10, post.clone(), "/v1/namespaces/ns/views/v", &replaced).await.expect(200);
    twice(&server, 11, post.clone(), "/v1/views/rename", &rename("v", "w")).await.expect(204);
    let last = server.get("/v1/namespaces/ns/views/w").await.json()["metadata-location"].clone();
    twice(&server, 12, delete.clone(), "/v1/namespaces/ns/views/w", &json!({})).await.expect(204);
    let again = json!({"name": "x", "metadata-location": last});
    twice(&server, 13, post.clone(), "/v1/namespaces/ns/register-view", &again).await.expect(200);
    let gone = twice(&server, 14, post.clone(), "/v1/namespaces/ns/tables/u/unregister", &json!({})).await.expect(200);
    assert_eq!(gone.json()["metadata"]["table-uuid"], made["metadata"]["table-uuid"]);
    let back = json!({"name": "t", "metadata-location": gone.json()["metadata-location"]});
    twice(&server, 15, post.clone(), "/v1/namespaces/ns/register", &back).await.expect(200);
    let server = server.restart().await;
    twice(&server, 15, post, "/v1/namespaces/ns/register", &back).await.expect(200);
    twice(&server, 16, delete.clone(), "/v1/namespaces/ns/tables/t?purgeRequested=true", &json!({})).await.expect(204);
    twice(&server, 17, delete.clone(), "/v1/namespaces/ns/views/x", &json!({})).await.expect(204);
    twice(&server, 18, delete, "/v1/namespaces/ns", &json!({})).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_good_stays_one() {
    let server = Server::start().await;
    let table = json!({"name": "t", "schema": schema()});
    let missing = post(&server, 1, "/v1/namespaces/ns/tables", &table).await;
    missing.refused(404, "NoSuchNamespaceException", "Namespace does not exist: ns");
    server.namespace(&["ns"]).await;
    let again = post(&server, 1, "/v1/namespaces/ns/tables", &table).await;
    assert_eq!((again.status, &again.text), (missing.status, &missing.text));
    post(&server, 2, "/v1/namespaces/ns/tables", &table).await.expect(200);
    let lost = json!({"requirements": [{"type": "assert-current-schema-id", "current-schema-id": 7}], "updates": []});
    for _ in 0..2 {
        post(&server, 3, "/v1/namespaces/ns/tables/t", &lost).await.refused(409, "CommitFailedException", "schema");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_request() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server.table("t").await;
    post(&server, 1, "/v1/namespaces/ns/tables/t", &set("a", "1")).await.expect(200);
    for (path, body) in [
        ("/v1/namespaces/ns/tables/t", set("a", "2")),
        ("/v1/namespaces/ns/tables/other", set("a", "1")),
        ("/v1/namespaces", json!({"namespace": ["b"]})),
    ] {
        post(&server, 1, path, &body).await.refused(422, "UnprocessableEntityException", "another request");
    }
    keyed(&server, 1, Method::DELETE, "/v1/namespaces/ns/tables/t", None).await.expect(422);
    server.get("/v1/namespaces/ns/tables/t").await.expect(200);
    for bad in ["x", "", "019a0000000070008000000000000001", "{019a0000-0000-7000-8000-000000000001}"] {
        let headers = [("idempotency-key", bad)];
        let body = Some(set("a", "3").to_string());
        let answer = server.send(Method::POST, "/v1/namespaces/ns/tables/t", &headers, body).await;
        answer.refused(400, "BadRequestException", "not a UUID");
    }
    // Version 4, and in capitals.
    let headers = [("idempotency-key", "5F0F0D5C-3B1C-4B8B-9E0B-0C6A5D1E2F3A")];
    let body = Some(set("a", "4").to_string());
    server.send(Method::POST, "/v1/namespaces/ns/tables/t", &headers, body).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_at_once_share_one_effect() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let table = json!({"name": "t", "schema": schema()});
    let answers =
        futures::future::join_all((0..16).map(|_| post(&server, 1, "/v1/namespaces/ns/tables", &table))).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.text), (200, &answers[0].text));
    }
    let files = std::fs::read_dir(server.warehouse().join("ns/t/metadata")).expect("a folder").count();
    assert_eq!(files, 1, "one creation alone put a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_end_and_are_bounded() {
    let server = Server::configured("[idempotency]\nlifetime = \"90s\"\nkeys = 2\n").await;
    let config = server.get("/v1/config").await.expect(200).json();
    assert_eq!(config["idempotency-key-lifetime"], "PT90S");
    let namespace = |name: &str| json!({"namespace": [name]});
    post(&server, 1, "/v1/namespaces", &namespace("a")).await.expect(200);
    post(&server, 2, "/v1/namespaces", &namespace("b")).await.expect(200);
    let full = post(&server, 3, "/v1/namespaces", &namespace("c")).await;
    full.refused(503, "SlowDownException", "2 idempotency keys are kept");
    assert!(full.headers.contains_key("retry-after"));
    server.get("/v1/namespaces/c").await.expect(404);
    post(&server, 1, "/v1/namespaces", &namespace("a")).await.expect(200);
    server.post("/v1/namespaces", &namespace("d")).await.expect(200);
    let server = server.restart().await;
    post(&server, 3, "/v1/namespaces", &namespace("c")).await.expect(503);
    post(&server, 2, "/v1/namespaces", &namespace("b")).await.expect(200);
    server.app_catalog.clock().advance_ms(91_000);
    post(&server, 3, "/v1/namespaces", &namespace("c")).await.expect(200);
    // The first key has ended: it is as if it had never been sent.
    post(&server, 1, "/v1/namespaces", &namespace("a")).await.refused(409, "AlreadyExistsException", "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_its_senders_own() {
    let server = Server::configured("auth = \"token\"\n").await;
    let body = json!({"namespace": ["a"]}).to_string();
    let mut answers = Vec::new();
    for name in ["one", "two"] {
        let (_, secret) = server.access.create(name, floeberg::auth::Right::Write, None).await.expect("made");
        let (key, bearer) = (key(1), format!("Bearer {secret}"));
        let headers = [("idempotency-key", key.as_str()), ("authorization", bearer.as_str())];
        answers.push(server.send(Method::POST, "/v1/namespaces", &headers, Some(body.clone())).await.status);
    }
    assert_eq!(answers, [200, 409]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_table_is_never_the_answer() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let table = json!({"name": "t", "schema": schema()});
    let made = post(&server, 1, "/v1/namespaces/ns/tables", &table).await.expect(200).json();
    server.delete("/v1/namespaces/ns/tables/t?purgeRequested=true").await.expect(204);
    let folder = server.warehouse().join("ns/t");
    server.until("the purge", || std::future::ready(!folder.exists())).await;
    let other = server.table("t").await;
    assert_ne!(other["metadata"]["table-uuid"], made["metadata"]["table-uuid"]);
    let again = post(&server, 1, "/v1/namespaces/ns/tables", &table).await;
    again.refused(500, "CommitStateUnknownException", "gone or another since");
    // An answer too large to be kept under a key is refused before it has an effect.
    let removals: Vec<String> = (0..30_000).map(|number| format!("property-{number}")).collect();
    let body = json!({"removals": removals, "updates": {"a": "b"}});
    post(&server, 2, "/v1/namespaces/ns/properties", &body).await.expect(413);
    assert!(server.get("/v1/namespaces/ns").await.json()["properties"]["a"].is_null());
    server.post("/v1/namespaces/ns/properties", &body).await.expect(200);
}
