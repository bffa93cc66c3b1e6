//! Several warehouses behind one address, and a server behind a path.

use serde_json::{Value, json};

use crate::kit::{Server, schema};

const TWO: &str = r#"
default-warehouse = "first"
base-path = "/some/lake"
[warehouses.first]
url = "file://DIR/one"
[warehouses.second]
url = "file://DIR/two"
"#;

async fn names(server: &Server, path: &str) -> Value {
    server.get(path).await.expect(200).json()["identifiers"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_warehouse_has_its_own_namespaces_and_place() {
    let server = Server::configured(TWO).await;
    let config = server.get("/v1/config").await.expect(200).json();
    assert_eq!(config["overrides"], json!({"namespace-separator": "%1F"}), "the default needs no prefix");
    for asked in ["second", &format!("file://{}/two", server.dir().display())] {
        let config = server.get(&format!("/v1/config?warehouse={asked}")).await.expect(200).json();
        assert_eq!(config["overrides"]["prefix"], "second");
    }
    server.get("/v1/config?warehouse=third").await.refused(404, "NoSuchWarehouseException", "first, second");
    server.get("/v1/third/namespaces").await.refused(404, "NoSuchWarehouseException", "third");
    for (prefix, folder) in [("/v1", "one"), ("/v1/second", "two")] {
        server.post(&format!("{prefix}/namespaces"), &json!({"namespace": ["ns"]})).await.expect(200);
        let table = json!({"name": folder, "schema": schema()});
        let made = server.post(&format!("{prefix}/namespaces/ns/tables"), &table).await.expect(200).json();
        let location = made["metadata"]["location"].as_str().expect("a location");
        assert_eq!(location, format!("file://{}/{folder}/ns/{folder}", server.dir().display()));
    }
    let named = |name: &str| json!([{"namespace": ["ns"], "name": name}]);
    assert_eq!(names(&server, "/v1/namespaces/ns/tables").await, named("one"));
    assert_eq!(names(&server, "/v1/first/namespaces/ns/tables").await, named("one"));
    assert_eq!(names(&server, "/v1/second/namespaces/ns/tables").await, named("two"));
    server.get("/v1/second/namespaces/ns/tables/one").await.refused(404, "NoSuchTableException", "ns.one");
    let stray =
        json!({"name": "x", "schema": schema(), "location": format!("file://{}/one/x", server.dir().display())});
    server.post("/v1/second/namespaces/ns/tables", &stray).await.refused(403, "ForbiddenException", "/one/x");
    // Nothing of one warehouse is gone or here when the other changes.
    server.delete("/v1/second/namespaces/ns/tables/two?purgeRequested=true").await.expect(204);
    let two = server.dir().join("two/ns/two");
    server.until("the purge in the second warehouse", || std::future::ready(!two.exists())).await;
    server.get("/v1/namespaces/ns/tables/one").await.expect(200);
    let server = server.restart().await;
    assert_eq!(names(&server, "/v1/second/namespaces/ns/tables").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_functions_go_where_the_query_says() {
    let server = Server::configured(TWO).await;
    server.post("/ingest/v1/ns/rows?warehouse=second", &json!([{"id": 1}])).await.expect(200);
    server.post("/ingest/v1/ns/rows", &json!([{"id": 2}, {"id": 3}])).await.expect(200);
    for (prefix, rows) in [("/v1", "2"), ("/v1/second", "1")] {
        let table = server.get(&format!("{prefix}/namespaces/ns/tables/rows")).await.expect(200).json();
        assert_eq!(table["metadata"]["snapshots"][0]["summary"]["total-records"], rows);
    }
    server.post("/ingest/v1/ns/rows?warehouse=third", &json!([{"id": 2}])).await.expect(404);
    server.delete("/manage/v1/namespaces/ns/functions/f?warehouse=third").await.expect(404);
    let report = server.get("/manage/v1/check").await.expect(200).json();
    let checked: Vec<&str> =
        report["checks"].as_array().expect("checks").iter().filter_map(|check| check["name"].as_str()).collect();
    assert_eq!(checked, ["database", "warehouse first", "warehouse second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_before_every_route_may_be_there_or_taken_off() {
    let server = Server::configured(TWO).await;
    assert!(server.url.ends_with("/some/lake"));
    server.get("/health/ready").await.expect(200);
    server.get("//v1//config/").await.expect(200);
    let root = server.url.trim_end_matches("/some/lake").to_owned();
    let get = async |path: &str| {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        client.get(format!("{root}{path}")).send().await.expect("an answer")
    };
    assert_eq!(get("/v1/config").await.status(), 200, "a proxy took it off");
    assert_eq!(get("/some/v1/config").await.status(), 404);
    let front = get("/some/lake").await;
    assert_eq!(
        (front.status().as_u16(), &front.headers()["location"]),
        (307, &"/some/lake/docs/".parse().expect("text"))
    );
    let page = get("/some/lake/docs/swagger-initializer.js").await.text().await.expect("text");
    assert!(page.contains("../openapi.json"), "{page}");
    let document: Value = get("/some/lake/openapi.json").await.json().await.expect("JSON");
    assert_eq!(document["servers"], json!([{"url": "/some/lake"}]));
}
