//! Functions: put and dropped through `/manage/v1`, read through the protocol.

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::Server;

const MANAGED: &str = "/manage/v1/namespaces/ns/functions/plus_one";
const READ: &str = "/v1/namespaces/ns/functions/plus_one";

fn function(sql: &str) -> Value {
    json!({
        "function-uuid": "42fd3f91-bc10-41c1-8a52-92b57dd0a9b2",
        "format-version": 1,
        "definitions": [{
            "definition-id": "(int)", "parameters": [{"name": "x", "type": "int"}], "return-type": "int",
            "function-type": "udf", "current-version-id": 1, "odd": {"kept": [1, 2]},
            "versions": [{"version-id": 1, "timestamp-ms": 1, "deterministic": true,
                "representations": [{"type": "sql", "dialect": "spark", "sql": sql}]}],
        }],
        "definition-log": [{"timestamp-ms": 1, "definition-versions": [{"definition-id": "(int)", "version-id": 1}]}],
    })
}

async fn put(server: &Server, path: &str, body: &Value) -> crate::kit::Answer {
    server.send(Method::PUT, path, &[("content-type", "application/json")], Some(body.to_string())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_lives() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server.get(READ).await.refused(404, "NoSuchFunctionException", "Function does not exist: ns.plus_one");
    put(&server, MANAGED, &function("x + 1")).await.expect(200);
    put(&server, MANAGED, &function("1 + x")).await.expect(200);
    // A function's name is its own.
    server.table("plus_one").await;
    let server = server.restart().await;
    assert_eq!(server.get(READ).await.expect(200).json(), json!({"metadata": function("1 + x")}));
    put(&server, "/manage/v1/namespaces/ns/functions/a%2Fb", &function("x")).await.expect(200);
    let listed = server.get("/v1/namespaces/ns/functions").await.expect(200).json();
    assert_eq!(listed, json!({"identifiers": [["ns", "a/b"], ["ns", "plus_one"]]}));
    let page = server.get("/v1/namespaces/ns/functions?pageToken=&pageSize=1").await.expect(200).json();
    let token = page["next-page-token"].as_str().expect("another page");
    let rest = server.get(&format!("/v1/namespaces/ns/functions?pageToken={token}&pageSize=1")).await.json();
    assert_eq!(rest, json!({"identifiers": [["ns", "plus_one"]]}));
    server.delete("/v1/namespaces/ns/tables/plus_one").await.expect(204);
    server.delete("/v1/namespaces/ns").await.refused(409, "NamespaceNotEmptyException", "functions");
    server.delete(MANAGED).await.expect(204);
    server.delete(MANAGED).await.expect(404);
    server.delete("/manage/v1/namespaces/ns/functions/a%2Fb").await.expect(204);
    server.delete("/v1/namespaces/ns").await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_function_is_refused() {
    let server = Server::start().await;
    put(&server, MANAGED, &function("x")).await.expect(404);
    server.get("/v1/namespaces/ns/functions").await.refused(404, "NoSuchNamespaceException", "ns");
    server.namespace(&["ns"]).await;
    let mut bad = function("x");
    bad["definitions"][0]["current-version-id"] = json!(2);
    let answer = put(&server, MANAGED, &bad).await.expect(400);
    assert!(answer.text.contains("current id 2"), "{}", answer.text);
    put(&server, MANAGED, &json!({"a": 1})).await.expect(400);
    put(&server, MANAGED, &function(&"x".repeat(2 << 20))).await.expect(400);
    server.get(READ).await.expect(404);
}
