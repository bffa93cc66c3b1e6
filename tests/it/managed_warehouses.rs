//! Warehouses that are made, changed and removed while the server runs.

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::bucket::{Bucket, Fault};
use crate::kit::{Answer, Server, schema};

const WAREHOUSES: &str = "/manage/v1/warehouses";
/// 32 bytes in base64.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// A server that seals secrets.
async fn sealing() -> Server {
    Server::configured(&format!("seal-key = \"{KEY}\"\nallow-location = [\"file://DIR/more\"]\n")).await
}

/// A warehouse in a bucket.
fn wanted(bucket: &Bucket, name: &str) -> Value {
    json!({
        "name": name,
        "url": format!("s3://lake/{name}"),
        "endpoint": bucket.url,
        "access-key-id": "OWN-KEY",
        "secret-access-key": "OWN-SECRET",
        "delegation": "none",
    })
}

async fn put(server: &Server, name: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    server.send(Method::PUT, &format!("{WAREHOUSES}/{name}"), &headers, Some(body.to_string())).await
}

async fn names(server: &Server) -> Vec<String> {
    let listed = server.get(WAREHOUSES).await.expect(200).json();
    let listed = listed["warehouses"].as_array().expect("a list").iter();
    listed.map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warehouse_is_added_used_and_still_there_after_a_restart() {
    let (server, bucket) = (sealing().await, Bucket::start().await);
    assert_eq!(names(&server).await, ["default"]);
    let added = server.post(WAREHOUSES, &wanted(&bucket, "lake")).await.expect(200);
    let body = added.json();
    assert_eq!((&body["name"], &body["default"]), (&json!("lake"), &json!(false)));
    assert_eq!(body["secrets"], json!(["access-key-id", "secret-access-key"]));
    assert!(body["created"].is_string() && body["problem"].is_null());
    assert!(body["found"].as_str().expect("text").contains("can be written, read, listed and deleted"), "{body}");
    assert_eq!(server.get("/v1/config?warehouse=lake").await.expect(200).json()["overrides"]["prefix"], "lake");
    server.post("/v1/lake/namespaces", &json!({"namespace": ["ns"]})).await.expect(200);
    server.post("/v1/lake/namespaces/ns/tables", &json!({"name": "t", "schema": schema()})).await.expect(200);
    server.post("/ingest/v1/ns/t?warehouse=lake", &json!([{"id": 1}])).await.expect(200);
    assert!(bucket.keys().iter().any(|key| key.starts_with("lake/ns/t/data/")), "{:?}", bucket.keys());
    server.get("/v1/namespaces/ns").await.expect(404);
    let server = server.restart().await;
    let table = server.get("/v1/lake/namespaces/ns/tables/t").await.expect(200).json();
    assert_eq!(table["metadata"]["location"], "s3://lake/lake/ns/t");
    // No secret is anywhere but where it is needed.
    for path in [WAREHOUSES.to_owned(), format!("{WAREHOUSES}/lake"), "/manage/v1/check".to_owned()] {
        let text = server.get(&path).await.expect(200).text;
        assert!(text.contains("lake") && !text.contains("OWN-"), "{path}: {text}");
    }
    let kept = std::fs::read(server.dir().join("floeberg-data/catalog.db")).expect("the database");
    let wal = std::fs::read(server.dir().join("floeberg-data/catalog.db-wal")).unwrap_or_default();
    let holds = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(!holds(&kept, b"OWN-SECRET") && !holds(&wal, b"OWN-SECRET"), "a secret is in the database as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_store_is_said_and_nothing_is_kept() {
    let (server, bucket) = (sealing().await, Bucket::start().await);
    for (method, fault, words) in [
        (Method::PUT, Fault::Refused(404, "NoSuchBucket"), "there is no bucket"),
        (Method::PUT, Fault::Refused(403, "RequestTimeTooSkewed"), "set the clock"),
        (Method::PUT, Fault::Refused(400, "AuthorizationHeaderMalformed"), "another region"),
        (Method::POST, Fault::Refused(403, "AccessDenied"), "may not delete there"),
    ] {
        bucket.fail(&method, &[fault.clone(), fault.clone(), fault]);
        let refused = server.post(WAREHOUSES, &wanted(&bucket, "lake")).await.expect(400);
        assert!(refused.text.contains(words) && refused.text.contains("cannot be used"), "{}", refused.text);
        bucket.mend();
    }
    let file = |inner: &str| json!({"name": "here", "url": format!("file://{}/{inner}", server.dir().display())});
    for (body, status, words) in [
        (json!({"url": "s3://lake/x"}), 400, "lacks its name"),
        (json!({"name": "x"}), 400, "lacks its url"),
        (json!({"name": "X", "url": "s3://lake/x"}), 400, "lower-case"),
        (json!({"name": "x", "url": "s3://lake/x", "endpont": "y"}), 400, "did you mean endpoint?"),
        (json!({"name": "x", "url": "s3://lake/x", "path-style": "yes"}), 400, "true or false"),
        (json!({"name": "x", "url": "s3://lake/x", "delegation": "lent"}), 400, "not known"),
        (json!({"name": "x", "url": "ftp://lake/x"}), 400, "scheme"),
        (json!({"name": "x", "url": "gs://lake/x", "service-account": "/etc/key.json"}), 400, "no file of the server"),
        (json!({"name": "default", "url": "s3://lake/x"}), 409, "already exists"),
        (file("floeberg-data/warehouse/inner"), 400, "overlap"),
        (file("elsewhere"), 403, "allow-location"),
    ] {
        let refused = server.post(WAREHOUSES, &body).await.expect(status);
        assert!(refused.text.contains(words), "{body}: {}", refused.text);
    }
    assert_eq!(names(&server).await, ["default"]);
    // Where tables are allowed anyway, a warehouse is too.
    server.post(WAREHOUSES, &file("more/here")).await.expect(200);
    // Without a key nothing secret is kept.
    let plain = Server::start().await;
    let refused = plain.post(WAREHOUSES, &wanted(&bucket, "lake")).await.expect(400);
    assert!(refused.text.contains("seal-key") && !refused.text.contains("OWN-SECRET"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warehouse_is_changed_and_removed() {
    let (server, bucket) = (sealing().await, Bucket::start().await);
    server.post(WAREHOUSES, &wanted(&bucket, "lake")).await.expect(200);
    server.post("/v1/lake/namespaces", &json!({"namespace": ["ns"]})).await.expect(200);
    server.post("/v1/lake/namespaces/ns/tables", &json!({"name": "t", "schema": schema()})).await.expect(200);
    // Secrets that nothing is said of stay; what clients are told changes at once.
    let described =
        json!({"url": "s3://lake/lake", "endpoint": bucket.url, "region": "eu-west-9", "version-hint": true});
    let changed = put(&server, "lake", &described).await.expect(200).json();
    assert_eq!(changed["secrets"], json!(["access-key-id", "secret-access-key"]));
    let asks = [("x-iceberg-access-delegation", "remote-signing")];
    let table = server.send(Method::GET, "/v1/lake/namespaces/ns/tables/t", &asks, None).await.expect(200).json();
    assert_eq!(table["config"]["s3.region"], "eu-west-9");
    server.post("/v1/lake/namespaces/ns/tables", &json!({"name": "u", "schema": schema()})).await.expect(200);
    assert!(bucket.keys().contains(&"lake/ns/u/metadata/version-hint.text".to_owned()));
    let shown = server.get(&format!("{WAREHOUSES}/lake")).await.expect(200).json();
    assert_eq!((&shown["region"], &shown["version-hint"]), (&json!("eu-west-9"), &json!(true)));
    assert!(shown.get("delegation").is_none(), "a description is put whole");
    for (name, body, status, words) in [
        ("lake", json!({"url": "s3://lake/moved", "endpoint": bucket.url}), 409, "cannot move"),
        ("lake", json!({"name": "sea", "url": "s3://lake/lake"}), 400, "keeps its name"),
        ("lake", json!({"url": "s3://lake/lake", "endpoint": bucket.url, "secret-access-key": null}), 400, "is not"),
        ("default", json!({"url": "s3://lake/x"}), 409, "configuration file"),
        ("none", json!({"url": "s3://lake/x"}), 404, "none"),
    ] {
        let refused = put(&server, name, &body).await.expect(status);
        assert!(refused.text.contains(words), "{name} {body}: {}", refused.text);
    }
    let path = format!("{WAREHOUSES}/lake");
    assert!(server.delete(&path).await.expect(409).text.contains("not empty"));
    assert!(server.delete(&format!("{WAREHOUSES}/default")).await.expect(409).text.contains("configuration file"));
    for table in ["t", "u"] {
        let dropped = format!("/v1/lake/namespaces/ns/tables/{table}?purgeRequested=true");
        server.delete(&dropped).await.expect(204);
    }
    server.delete("/v1/lake/namespaces/ns").await.expect(204);
    server.until("its purges are done", || async { server.delete(&path).await.status == 204 }).await;
    assert!(bucket.keys().is_empty(), "{:?}", bucket.keys());
    server.delete(&path).await.expect(404);
    server.get("/v1/config?warehouse=lake").await.expect(404);
    let server = server.restart().await;
    assert_eq!(names(&server).await, ["default"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warehouse_whose_secrets_do_not_open_is_told_and_mended() {
    let (server, bucket) = (sealing().await, Bucket::start().await);
    server.post(WAREHOUSES, &wanted(&bucket, "lake")).await.expect(200);
    server.post("/v1/lake/namespaces", &json!({"namespace": ["ns"]})).await.expect(200);
    std::fs::write(server.dir().join("floeberg.toml"), format!("seal-key = \"{OTHER_KEY}\"\n")).expect("written");
    let server = server.restart().await;
    let shown = server.get(&format!("{WAREHOUSES}/lake")).await.expect(200).json();
    assert!(shown["problem"].as_str().expect("a problem").contains("another seal-key"), "{shown}");
    let refused = server.get("/v1/config?warehouse=lake").await;
    refused.refused(503, "SlowDownException", "another seal-key");
    assert!(server.get("/manage/v1/check").await.expect(503).text.contains("another seal-key"));
    server.get("/v1/namespaces").await.expect(200);
    // A purge elsewhere waits, since nobody knows what the tables of this one reach.
    server.namespace(&["ns"]).await;
    server.table("t").await;
    server.delete("/v1/namespaces/ns/tables/t?purgeRequested=true").await.expect(204);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(server.warehouse().join("ns/t/metadata").exists());
    assert!(server.post(WAREHOUSES, &wanted(&bucket, "lake")).await.expect(409).text.contains("already exists"));
    let mut described = wanted(&bucket, "lake");
    described.as_object_mut().expect("an object").remove("name");
    put(&server, "lake", &described).await.expect(200);
    server.get("/v1/lake/namespaces/ns").await.expect(200);
    server.until("the purge is done", || async { !server.warehouse().join("ns/t").exists() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_see_them() {
    let server = Server::configured("auth = \"token\"\n").await;
    for (right, status) in [(floeberg::auth::Right::Write, 403), (floeberg::auth::Right::Admin, 200)] {
        let (_, secret) = server.access.create("x", right, None).await.expect("made");
        let bearer = format!("Bearer {secret}");
        server.send(Method::GET, WAREHOUSES, &[("authorization", &bearer)], None).await.expect(status);
    }
    server.get(WAREHOUSES).await.expect(401);
}
