//! Keys that are lent for tables in Google's and Azure's stores.

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::bucket::{Bucket, Fault};
use crate::kit::{Answer, Server, schema};

const T: &str = "/v1/namespaces/ns/tables/t";
const VENDED: (&str, &str) = ("x-iceberg-access-delegation", "vended-credentials");

async fn filled(server: Server) -> Server {
    server.namespace(&["ns"]).await;
    server.table("t").await;
    server
}

async fn load(server: &Server) -> Value {
    server.send(Method::GET, T, &[VENDED], None).await.expect(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn google_lends_tokens_that_reach_the_table_alone() {
    let bucket = Bucket::start().await;
    let server = filled(Server::configured(&bucket.google("")).await).await;
    assert!(bucket.assumed().is_empty(), "nobody has asked");
    let loaded = load(&server).await;
    let config = &loaded["config"];
    for (key, value) in [
        ("gcs.oauth2.token", "LENT-1"),
        ("gcs.oauth2.refresh-credentials-endpoint", "v1/namespaces/ns/tables/t/credentials"),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    let expires: i64 = config["gcs.oauth2.token-expires-at"].as_str().expect("text").parse().expect("a time");
    let left = expires - server.app_catalog.clock().now_ms();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    assert_eq!(loaded["storage-credentials"], json!([{"prefix": "gs://lake/wh/ns/t/", "config": config}]));
    let [form] = bucket.assumed().try_into().expect("asked once");
    let form = percent_encoding::percent_decode_str(&form).decode_utf8().expect("text").into_owned();
    for part in ["subject_token=OWN-TOKEN", "objects/wh/ns/t/'", "roles/storage.objectUser", "buckets/lake\""] {
        assert!(form.contains(part), "{part} is not in {form}");
    }
    assert_eq!(load(&server).await["config"], *config, "lent again while it lasts");
    assert!(bucket.assumed().is_empty());
    server
        .send(
            Method::POST,
            &format!("{T}/sign"),
            &[("content-type", "application/json")],
            Some(json!({"method": "GET", "region": "r", "uri": "http://x/y", "headers": {}}).to_string()),
        )
        .await
        .refused(406, "UnsupportedOperationException", "not signed");
}

/// Loads another table, for which the service refuses to lend.
async fn refused(bucket: &Bucket, server: &Server) -> Answer {
    load(server).await;
    server.table("u").await;
    bucket.fail(&Method::POST, &[Fault::Refused(400, "x")]);
    server.send(Method::GET, "/v1/namespaces/ns/tables/u", &[VENDED], None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_promised_nothing_may_refuse() {
    let bucket = Bucket::start().await;
    let server = filled(Server::configured(&bucket.google("")).await).await;
    assert_eq!(refused(&bucket, &server).await.expect(200).json().get("storage-credentials"), None);
    bucket.assumed();
    server.send(Method::GET, "/v1/namespaces/ns/tables/u", &[VENDED], None).await.expect(200);
    assert!(bucket.assumed().is_empty(), "it is left alone for a while");
    // The check tries it anew, and says so.
    bucket.fail(&Method::POST, &[Fault::Refused(400, "x")]);
    for words in ["clients use keys of their own, because none are lent", "clients that ask are lent keys"] {
        let report = server.get("/manage/v1/check").await.expect(200).text;
        assert!(report.contains(words), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_promised_to_lend_must() {
    let bucket = Bucket::start().await;
    let server = filled(Server::configured(&bucket.google("delegation = \"vended\"")).await).await;
    refused(&bucket, &server).await.refused(503, "SlowDownException", "uniform bucket-level access");
    bucket.fail(&Method::POST, &[Fault::Refused(400, "x")]);
    assert!(server.get("/manage/v1/check").await.text.contains("lend keys: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_lends_signatures_for_the_tables_folder() {
    let bucket = Bucket::start().await;
    let server = filled(Server::configured(&bucket.azure("account-key = \"a2V5\"")).await).await;
    let loaded = load(&server).await;
    let config = &loaded["config"];
    let query = config["adls.sas-token.acct"].as_str().expect("a signature");
    for part in ["sr=d", "sdd=3", "sp=racwdl", "sig="] {
        assert!(query.contains(part), "{part} is not in {query}");
    }
    assert_eq!(config["adls.sas-token.acct.dfs.core.windows.net"], query);
    assert!(config["adls.sas-token-expires-at-ms.acct"].as_str().expect("text").parse::<i64>().is_ok());
    assert_eq!(config["adls.account-name"], "acct");
    assert_eq!(config["adls.refresh-credentials-endpoint"], "v1/namespaces/ns/tables/t/credentials");
    let prefix = &loaded["storage-credentials"][0]["prefix"];
    assert_eq!(*prefix, "abfss://lake@acct.dfs.core.windows.net/wh/ns/t/");
    assert!(!loaded.to_string().contains("a2V5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_folders_lends_nothing() {
    let bucket = Bucket::start().await;
    let server = filled(Server::configured(&bucket.azure("account-key = \"a2V5\"")).await).await;
    bucket.fail(&Method::GET, &[Fault::Refused(403, "AuthorizationFailure")]);
    assert!(load(&server).await.get("storage-credentials").is_none());
    bucket.fail(&Method::GET, &[Fault::Refused(403, "AuthorizationFailure")]);
    let keys = "account-key = \"a2V5\"\ndelegation = \"vended\"";
    let server = Server::configured(&bucket.azure(keys)).await;
    server.namespace(&["ns"]).await;
    let body = json!({"name": "v", "schema": schema()});
    server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
    let refused = server.send(Method::GET, "/v1/namespaces/ns/tables/v", &[VENDED], None).await;
    refused.refused(503, "SlowDownException", "hierarchical namespace");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_of_azures_signs_with_a_key_of_its_own() {
    let bucket = Bucket::start().await;
    let keys = "tenant-id = \"tenant\"\nclient-id = \"app\"\nclient-secret = \"APP-SECRET\"";
    let variables = [("AZURE_AUTHORITY_HOST", bucket.url.as_str())];
    let server = filled(Server::configured_among(&bucket.azure(keys), &variables).await).await;
    let loaded = load(&server).await;
    let query = loaded["config"]["adls.sas-token.acct"].as_str().expect("a signature");
    for part in ["skoid=oid", "sktid=tid", "sks=b", "sr=d"] {
        assert!(query.contains(part), "{part} is not in {query}");
    }
    let [asked] = bucket.assumed().try_into().expect("asked once");
    assert!(asked.starts_with("Bearer OWN-TOKEN") && asked.contains("<Expiry>"), "{asked}");
    // One key signs for many tables.
    server.post("/v1/namespaces/ns/tables", &json!({"name": "u", "schema": schema()})).await.expect(200);
    server.send(Method::GET, "/v1/namespaces/ns/tables/u", &[VENDED], None).await.expect(200);
    assert!(bucket.assumed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cloud_cannot_do_is_refused_at_start() {
    let bucket = Bucket::start().await;
    for (toml, words) in [
        (bucket.google("delegation = \"signed\""), "not for gs:// warehouses"),
        (bucket.azure("account-key = \"a2V5\"\ndelegation = \"static\""), "not for abfss:// warehouses"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("floeberg.toml"), toml).expect("written");
        let flags = floeberg::config::Flags { listen: Some("127.0.0.1:0".to_owned()), ..Default::default() };
        let config = floeberg::config::Config::load(&flags, &Default::default(), dir.path()).expect("a configuration");
        let error = floeberg::app::App::open(&config).await.expect_err("refused");
        assert!(error.message().contains(words), "{error}");
    }
}
