//! Starting, stopping, health, documentation, and what every answer has.

use floeberg::app::App;
use floeberg::config::{Config, Environment, Flags};
use reqwest::Method;

use crate::kit::Server;

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_docs_answer() {
    let server = Server::start().await;
    assert_eq!(server.get("/health/live").await.expect(200).json()["status"], "ok");
    assert_eq!(server.get("/health/ready").await.expect(200).json()["status"], "ok");
    let metrics = server.get("/metrics").await.expect(200);
    assert!(metrics.text.contains("floeberg_http_requests_total"), "{}", metrics.text);
    let docs = server.get("/").await.expect(200);
    assert!(docs.text.contains("swagger"), "/ leads to the documentation");
    let outside = docs.text.contains("https://") || docs.text.contains("//cdn");
    assert!(!outside, "the pages fetch nothing from outside: {}", docs.text);
    let report = server.get("/manage/v1/check").await.expect(200).json();
    assert_eq!(report["ok"], true, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_request_id() {
    let server = Server::start().await;
    let own = server.get("/v1/config").await;
    assert!(!own.headers["x-request-id"].is_empty());
    let sent = server.send(Method::GET, "/v1/nothing", &[("x-request-id", "abc-1")], None).await;
    assert_eq!(sent.headers["x-request-id"], "abc-1");
    sent.refused(404, "NoSuchEndpointException", "/v1/nothing");
    let elsewhere = server.get("/nothing").await.expect(404);
    assert_eq!(elsewhere.headers["content-type"], "application/problem+json");
    assert_eq!(elsewhere.json()["code"], "not_found");
    let method = server.send(Method::PUT, "/v1/config", &[], None).await;
    method.refused(405, "BadRequestException", "does not take PUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_is_told() {
    let server = Server::start().await;
    let flags = Flags { listen: Some("127.0.0.1:0".to_owned()), ..Flags::default() };
    let config = Config::load(&flags, &Environment::default(), server.dir()).expect("valid");
    let error = App::open(&config).await.expect_err("the directory is in use");
    let holder = server.url.trim_start_matches("http://");
    assert!(error.message().contains("in use") && error.message().contains(holder), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_everything() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let made = server.table("t").await;
    let server = server.restart().await;
    let loaded = server.get("/v1/namespaces/ns/tables/t").await.expect(200).json();
    assert_eq!(loaded["metadata-location"], made["metadata-location"]);
    assert_eq!(loaded["metadata"], made["metadata"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_document_is_the_one_served() {
    let server = Server::start().await;
    let served = server.get("/openapi.json").await.expect(200).json();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/floeberg.json");
    let committed = std::fs::read_to_string(path).expect("the committed document");
    let committed: serde_json::Value = serde_json::from_str(&committed).expect("JSON");
    assert!(served == committed, "openapi/floeberg.json has drifted: run `floeberg openapi > openapi/floeberg.json`");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_advertised_is_described() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await.expect(200).json();
    let advertised = server.get("/v1/config").await.expect(200).json();
    for endpoint in advertised["endpoints"].as_array().expect("a list") {
        let (verb, path) = endpoint.as_str().and_then(|text| text.split_once(' ')).expect("a verb and a path");
        let path = path.replace("/{prefix}", "");
        let described = &document["paths"][&path][verb.to_ascii_lowercase()];
        assert!(described.is_object(), "{endpoint} is advertised and not described");
    }
    let described = document["paths"].as_object().expect("paths").iter().filter(|(path, _)| path.starts_with("/v1/"));
    let count: usize = described.map(|(_, verbs)| verbs.as_object().expect("verbs").len()).sum();
    assert_eq!(
        count,
        floeberg::http::ENDPOINTS.len() + 2,
        "every route of /v1 but config and oauth/tokens is advertised"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entity_tag_is_spelled_as_java_looks_for_it() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server.table("t").await;
    let address = server.url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let request = format!("GET /v1/namespaces/ns/tables/t HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    assert!(answer.contains("\r\nETag: \""), "{}", &answer[..answer.len().min(500)]);
}
