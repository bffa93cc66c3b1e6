//! Namespaces: create, load, list, properties, drop.

use serde_json::{Value, json};

use crate::kit::Server;

fn names(answer: &Value) -> Vec<Vec<String>> {
    serde_json::from_value(answer["namespaces"].clone()).expect("a list of levels")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_lives() {
    let server = Server::start().await;
    let body = json!({"namespace": ["ns"], "properties": {"owner": "me"}});
    let made = server.post("/v1/namespaces", &body).await.expect(200).json();
    assert_eq!(made, json!({"namespace": ["ns"], "properties": {"owner": "me"}}));
    server.post("/v1/namespaces", &body).await.refused(409, "AlreadyExistsException", "Namespace already exists: ns");
    server.head("/v1/namespaces/ns").await.expect(204);
    let loaded = server.get("/v1/namespaces/ns").await.expect(200).json();
    assert_eq!(loaded["properties"]["owner"], "me");
    let location = loaded["properties"]["location"].as_str().expect("Trino needs one");
    assert!(location.starts_with("file:///") && location.ends_with("/warehouse/ns"), "{location}");
    server.delete("/v1/namespaces/ns").await.expect(204);
    server.head("/v1/namespaces/ns").await.expect(404);
    server.delete("/v1/namespaces/ns").await.refused(404, "NoSuchNamespaceException", "Namespace does not exist: ns");
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_namespaces_need_their_parent_and_keep_it() {
    let server = Server::start().await;
    let orphan = server.post("/v1/namespaces", &json!({"namespace": ["a", "b"]})).await;
    orphan.refused(404, "NoSuchNamespaceException", "Namespace does not exist: a");
    server.namespace(&["a"]).await;
    server.namespace(&["a", "b"]).await;
    server.namespace(&["a", "b", "c"]).await;
    server.namespace(&["ab"]).await;
    assert_eq!(names(&server.get("/v1/namespaces").await.json()), [["a"], ["ab"]]);
    assert_eq!(names(&server.get("/v1/namespaces?parent=a").await.json()), [["a", "b"]]);
    assert_eq!(names(&server.get("/v1/namespaces?parent=a%1Fb").await.json()), [["a", "b", "c"]]);
    server.get("/v1/namespaces?parent=x").await.refused(404, "NoSuchNamespaceException", "Namespace does not exist: x");
    server.delete("/v1/namespaces/a").await.refused(409, "NamespaceNotEmptyException", "is not empty");
    server.namespace(&["ns"]).await;
    server.table("t").await;
    server.delete("/v1/namespaces/ns").await.refused(409, "NamespaceNotEmptyException", "is not empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_round_trips() {
    let server = Server::start().await;
    let odd = ["a.b", "c/d", "e f", "100%", "ünï😀", "UPPER", "x+y", "a%20b", "'quote\"", "\\", "select", "v1", ".x"];
    for (index, name) in odd.iter().enumerate() {
        server.namespace(&[name]).await;
        server.namespace(&[name, "in ner"]).await;
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let loaded = server.get(&format!("/v1/namespaces/{encoded}")).await.expect(200).json();
        assert_eq!(loaded["namespace"], json!([name]));
        let children = server.get(&format!("/v1/namespaces?parent={encoded}")).await.expect(200).json();
        assert_eq!(names(&children), [[*name, "in ner"]]);
        let body = json!({"name": name, "schema": crate::kit::schema()});
        server.post(&format!("/v1/namespaces/{encoded}/tables"), &body).await.expect(200);
        let tables = server.get(&format!("/v1/namespaces/{encoded}/tables")).await.expect(200).json();
        assert_eq!(tables["identifiers"], json!([{"namespace": [name], "name": name}]));
        server.get(&format!("/v1/namespaces/{encoded}/tables/{encoded}")).await.expect(200);
        assert_eq!(names(&server.get("/v1/namespaces").await.json()).len(), index + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_may_be_encoded_twice_as_pyiceberg_does() {
    let server = Server::start().await;
    server.namespace(&["ns1"]).await;
    server.namespace(&["ns1", "a b/c"]).await;
    server.namespace(&["ns1", "a b/c", "x"]).await;
    for parent in ["ns1%1Fa%2520b%252Fc", "ns1%1Fa%20b%2Fc", "ns1%1Fa+b%2Fc"] {
        let found = server.get(&format!("/v1/namespaces?parent={parent}")).await.expect(200).json();
        assert_eq!(names(&found), [["ns1", "a b/c", "x"]], "{parent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_have_pages_that_survive_changes() {
    let server = Server::start().await;
    for index in 0..5 {
        server.namespace(&[&format!("n{index}")]).await;
    }
    let all = server.get("/v1/namespaces?pageSize=2").await.expect(200).json();
    assert_eq!((names(&all).len(), all.get("next-page-token")), (5, None), "no token, no pages");
    let mut token = String::new();
    let mut seen = Vec::new();
    loop {
        let page = server.get(&format!("/v1/namespaces?pageToken={token}&pageSize=2")).await.expect(200).json();
        seen.extend(names(&page));
        // What is dropped or made between two pages neither hides nor repeats the others.
        if seen.len() == 2 {
            server.delete("/v1/namespaces/n1").await.expect(204);
            server.namespace(&["n0a"]).await;
        }
        match page.get("next-page-token").and_then(Value::as_str) {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, [["n0"], ["n1"], ["n2"], ["n3"], ["n4"]]);
    for bad in ["pageToken=zzz", "pageToken=&pageSize=0", "pageToken=&pageSize=x"] {
        server.get(&format!("/v1/namespaces?{bad}")).await.refused(400, "BadRequestException", "page");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_change_all_or_nothing() {
    let server = Server::start().await;
    server.post("/v1/namespaces", &json!({"namespace": ["ns"], "properties": {"a": "1", "b": "2"}})).await.expect(200);
    let path = "/v1/namespaces/ns/properties";
    let body = json!({"removals": ["a", "zz"], "updates": {"b": "3", "c": "4"}});
    let done = server.post(path, &body).await.expect(200).json();
    assert_eq!(done, json!({"updated": ["b", "c"], "removed": ["a"], "missing": ["zz"]}));
    let both = json!({"removals": ["b"], "updates": {"b": "9", "d": "5"}});
    server.post(path, &both).await.refused(422, "UnprocessableEntityException", "\"b\"");
    let loaded = server.get("/v1/namespaces/ns").await.expect(200).json();
    let properties = loaded["properties"].as_object().expect("an object");
    assert_eq!((properties["b"].as_str(), properties.get("a"), properties.get("d")), (Some("3"), None, None));
    let missing = server.post("/v1/namespaces/no/properties", &json!({})).await;
    missing.refused(404, "NoSuchNamespaceException", "Namespace does not exist: no");
}
