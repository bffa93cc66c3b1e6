//! What clients are given to reach a table's objects with, and what a bucket that fails does to commits.

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::bucket::{Bucket, Fault};
use crate::kit::{Answer, Server, schema};

const T: &str = "/v1/namespaces/ns/tables/t";
const VENDED: (&str, &str) = ("x-iceberg-access-delegation", "vended-credentials, remote-signing");

/// A server over a bucket, with the table `ns.t`.
async fn lake(more: &str) -> (Bucket, Server) {
    let bucket = Bucket::start().await;
    let server = Server::configured(&bucket.warehouse(more)).await;
    server.namespace(&["ns"]).await;
    server.table("t").await;
    bucket.asked();
    (bucket, server)
}

async fn ask(server: &Server, headers: &[(&str, &str)]) -> Answer {
    server.send(Method::GET, T, headers, None).await
}

async fn sign(server: &Server, method: &str, uri: &str) -> Answer {
    let body = json!({"method": method, "region": "us-east-1", "uri": uri, "headers": {"X-Amz-Meta-A": ["b"]}});
    server.post(&format!("{T}/sign"), &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_lent_keys_for_the_table_alone() {
    let (bucket, server) = lake("sts-role-arn = \"arn:aws:iam::1:role/r\"").await;
    let plain = ask(&server, &[]).await.expect(200);
    assert!(bucket.assumed().is_empty() && plain.json().get("storage-credentials").is_none());
    let loaded = ask(&server, &[VENDED]).await.expect(200);
    let answer = loaded.json();
    let config = &answer["config"];
    for (key, value) in [
        ("s3.access-key-id", "LENT-1"),
        ("s3.secret-access-key", "S"),
        ("s3.session-token", "T"),
        ("s3.endpoint", bucket.url.as_str()),
        ("s3.path-style-access", "true"),
        ("s3.region", "us-east-1"),
        ("client.region", "us-east-1"),
        ("client.refresh-credentials-endpoint", "v1/namespaces/ns/tables/t/credentials"),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    assert!(config["s3.session-token-expires-at-ms"].as_str().expect("text").parse::<i64>().is_ok());
    let credentials = answer["storage-credentials"].as_array().expect("a list");
    assert_eq!(credentials.len(), 1);
    assert_eq!((&credentials[0]["prefix"], &credentials[0]["config"]), (&json!("s3://lake/wh/ns/t/"), config));
    assert_eq!(answer["metadata"], plain.json()["metadata"]);
    let form = bucket.assumed().pop().expect("asked");
    assert!(form.contains("Action=AssumeRole") && form.contains("%3Arole%2Fr") && form.contains("PutObject"), "{form}");
    assert!(form.contains("wh%2Fns%2Ft%2F%2A"), "{form}");
    // Kept while they last, and part of what the entity tag stands for.
    let again = ask(&server, &[VENDED]).await.expect(200);
    assert_eq!(again.text, loaded.text);
    let (tag, plain_tag) = (&loaded.headers["etag"], &plain.headers["etag"]);
    assert_ne!(tag, plain_tag);
    assert_eq!(loaded.headers["cache-control"], "private, no-store");
    assert!(plain.headers.get("cache-control").is_none());
    assert!(plain.headers.get_all("vary").iter().any(|value| value == "x-iceberg-access-delegation"));
    ask(&server, &[VENDED, ("if-none-match", tag.to_str().expect("text"))]).await.expect(304);
    ask(&server, &[VENDED, ("if-none-match", plain_tag.to_str().expect("text"))]).await.expect(200);
    let more = server.get(&format!("{T}/credentials")).await.expect(200);
    assert_eq!(more.json()["storage-credentials"], answer["storage-credentials"]);
    assert_eq!(more.headers["cache-control"], "no-store");
    assert!(bucket.assumed().is_empty());
    let refs = server.send(Method::GET, &format!("{T}?snapshots=refs"), &[VENDED], None).await.expect(200).json();
    assert_eq!(&refs["config"], config);
    // Who plans a scan is lent keys that read.
    let plan = format!("{T}/plan");
    let without = server.post(&plan, &json!({})).await.expect(200).json();
    assert!(without.get("storage-credentials").is_none() && bucket.assumed().is_empty());
    let planned = server.send(Method::POST, &plan, &[VENDED], Some("{}".to_owned())).await.expect(200);
    assert_eq!(planned.headers["cache-control"], "no-store");
    let planned = planned.json();
    let keys = &planned["storage-credentials"][0];
    assert_eq!((&keys["prefix"], &keys["config"]["s3.session-token"]), (&json!("s3://lake/wh/ns/t/"), &json!("T")));
    let form = bucket.assumed().pop().expect("asked");
    assert!(form.contains("GetObject") && !form.contains("PutObject"), "{form}");
    let again = format!("{plan}/{}", planned["plan-id"].as_str().expect("text"));
    let again = server.send(Method::GET, &again, &[VENDED], None).await.expect(200).json();
    assert_eq!(again["storage-credentials"], planned["storage-credentials"]);
    server.get("/v1/namespaces/ns/tables/none/credentials").await.refused(404, "NoSuchTableException", "ns.none");
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_tables_have_keys_too() {
    let (_bucket, server) = lake("sts-role-arn = \"arn:aws:iam::1:role/r\"").await;
    let staged = json!({"name": "later", "schema": schema(), "stage-create": true});
    let body = Some(staged.to_string());
    let staged = server.send(Method::POST, "/v1/namespaces/ns/tables", &[VENDED], body).await.expect(200).json();
    assert_eq!(staged["storage-credentials"][0]["prefix"], "s3://lake/wh/ns/later/");
    let again = server.get("/v1/namespaces/ns/tables/later/credentials").await.expect(200).json();
    assert_eq!(again["storage-credentials"], staged["storage-credentials"]);
    // Who writes to it goes on after a restart of the server.
    let server = server.restart().await;
    let after = server.get("/v1/namespaces/ns/tables/later/credentials").await.expect(200).json();
    assert_eq!(after["storage-credentials"][0]["prefix"], "s3://lake/wh/ns/later/");
    // What was staged is forgotten once something has its name,
    server.table("later").await;
    server.delete("/v1/namespaces/ns/tables/later?purgeRequested=true").await.expect(204);
    let gone = server.get("/v1/namespaces/ns/tables/later/credentials").await;
    gone.refused(404, "NoSuchTableException", "ns.later");
    // and after a day.
    let body = json!({"name": "never", "schema": schema(), "stage-create": true});
    server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
    server.get("/v1/namespaces/ns/tables/never/credentials").await.expect(200);
    server.app_catalog.clock().advance_ms(24 * 3_600_000 + 1);
    let gone = server.get("/v1/namespaces/ns/tables/never/credentials").await;
    gone.refused(404, "NoSuchTableException", "ns.never");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_tables_files_stay_in_reach_for_an_hour() {
    let (bucket, server) = lake("").await;
    let at = server.get(T).await.expect(200).json()["metadata-location"].clone();
    server.delete(T).await.expect(204);
    // Spark drops a table first, and deletes its files itself then.
    let inside = format!("{}/lake/wh/ns/t/data/a", bucket.url);
    sign(&server, "DELETE", &inside).await.expect(200);
    sign(&server, "DELETE", &format!("{}/lake/wh/ns/u/data/a", bucket.url)).await.refused(
        403,
        "ForbiddenException",
        "signed",
    );
    // Taken in again under another name, they are that one's.
    let back = json!({"name": "back", "metadata-location": at});
    server.post("/v1/namespaces/ns/register", &back).await.expect(200);
    sign(&server, "DELETE", &inside).await.refused(403, "ForbiddenException", "signed");
    server.delete("/v1/namespaces/ns/tables/back").await.expect(204);
    sign(&server, "DELETE", &inside).await.expect(200);
    server.app_catalog.clock().advance_ms(3_600_001);
    sign(&server, "DELETE", &inside).await.refused(404, "NoSuchTableException", "ns.t");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_anothers_is_lent_whatever_a_client_says_is_its_own() {
    let (bucket, server) = lake("sts-role-arn = \"arn:aws:iam::1:role/r\"").await;
    let staged = json!({"name": "s", "schema": schema(), "stage-create": true, "location": "s3://lake/wh/ns/t/inner"});
    server.post("/v1/namespaces/ns/tables", &staged).await.expect(200);
    let none = server.get("/v1/namespaces/ns/tables/s/credentials").await.expect(200).json();
    assert_eq!(none["storage-credentials"], json!([]));
    // A dropped table's files, and a whole warehouse, are no table's that names them as its own.
    server.delete(T).await.expect(204);
    let greedy = |at: &str| json!({"name": "g", "schema": schema(), "properties": {"write.data.path": at}});
    for at in ["s3://lake/wh/ns/t", "s3://lake/wh/ns", "s3://lake/wh"] {
        server.post("/v1/namespaces/ns/tables", &greedy(at)).await.expect(200);
        bucket.assumed();
        server.get("/v1/namespaces/ns/tables/g/credentials").await.expect(200);
        for form in bucket.assumed() {
            assert!(form.contains("wh%2Fns%2Fg"), "{form}");
            assert!(
                !form.contains("wh%2Fns%2Ft%2F%2A") && !form.contains("wh%2Fns%2F%2A") && !form.contains("wh%2F%2A"),
                "{form}"
            );
        }
        server.delete("/v1/namespaces/ns/tables/g?purgeRequested=true").await.expect(204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_stays_in_reach_until_it_is_anothers() {
    let (bucket, server) = lake("sts-role-arn = \"arn:aws:iam::1:role/r\"").await;
    let set =
        |location: &str| json!({"requirements": [], "updates": [{"action": "set-location", "location": location}]});
    server.post(T, &set("s3://lake/wh/moved")).await.expect(200);
    ask(&server, &[VENDED]).await.expect(200);
    let form = bucket.assumed().pop().expect("asked");
    assert!(form.contains("wh%2Fmoved%2F%2A") && form.contains("wh%2Fns%2Ft%2F%2A"), "{form}");
    let other = json!({"name": "u", "schema": schema(), "location": "s3://lake/wh/ns/t"});
    server.post("/v1/namespaces/ns/tables", &other).await.expect(200);
    server
        .post(T, &json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {"a": "b"}}]}))
        .await;
    ask(&server, &[VENDED]).await.expect(200);
    let form = bucket.assumed().pop().expect("asked again");
    assert!(form.contains("wh%2Fmoved%2F%2A") && !form.contains("wh%2Fns%2Ft%2F%2A"), "{form}");
    assert!(sign(&server, "GET", &format!("{}/lake/wh/ns/t/x", bucket.url)).await.status == 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_where_no_keys_can_be_lent() {
    let bucket = Bucket::start().await;
    let server = Server::configured(&bucket.warehouse("delegation = \"vended\"")).await;
    server.namespace(&["ns"]).await;
    bucket.fail(&Method::POST, &[Fault::Refused(403, "AccessDenied")]);
    let made = json!({"name": "t", "schema": schema()}).to_string();
    let made = server.send(Method::POST, "/v1/namespaces/ns/tables", &[VENDED], Some(made)).await;
    made.refused(503, "SlowDownException", "AccessDenied");
    server.get(T).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_lends_nothing_is_named() {
    let (bucket, server) = lake("delegation = \"vended\"").await;
    bucket.fail(&Method::POST, &[Fault::Refused(403, "AccessDenied")]);
    let refused = ask(&server, &[VENDED]).await;
    refused.refused(503, "SlowDownException", "AccessDenied");
    assert!(refused.text.contains(&bucket.url) && !refused.text.contains("OWN-SECRET"), "{}", refused.text);
    // What went wrong is not remembered.
    assert_eq!(ask(&server, &[VENDED]).await.expect(200).json()["config"]["s3.access-key-id"], "LENT-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_warehouse_says_how() {
    for (delegation, told, key) in [
        ("auto", "s3.remote-signing-enabled", "true"),
        ("signed", "s3.signer.endpoint", "v1/namespaces/ns/tables/t/sign"),
        ("static", "s3.access-key-id", "OWN-KEY"),
        ("none", "s3.region", "us-east-1"),
    ] {
        let (bucket, server) = lake(&format!("delegation = \"{delegation}\"")).await;
        let answer = ask(&server, &[VENDED]).await.expect(200);
        assert_eq!(answer.json()["config"][told], key, "{delegation}");
        assert_eq!(answer.text.contains("OWN-SECRET"), delegation == "static", "{delegation}");
        assert!(!ask(&server, &[]).await.text.contains("OWN-"), "{delegation}: only for who asks");
        // What is signed is signed with keys that reach no further than the table.
        assert_eq!(bucket.assumed().is_empty(), !matches!(delegation, "auto" | "signed"), "{delegation}");
    }
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server.table("t").await;
    assert_eq!(ask(&server, &[VENDED]).await.expect(200).json()["config"], json!({}));
    let none = server.get(&format!("{T}/credentials")).await.expect(200).json();
    assert_eq!(none, json!({"storage-credentials": []}));
    sign(&server, "GET", "http://x/y").await.refused(406, "UnsupportedOperationException", "not signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_within_the_table_are_signed() {
    let (bucket, server) = lake("").await;
    let inside = format!("{}/lake/wh/ns/t/data/a%20b", bucket.url);
    let signed = sign(&server, "GET", &inside).await.expect(200);
    let headers = &signed.json()["headers"];
    let authorization = headers["authorization"][0].as_str().expect("a signature");
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=LENT-1/"), "{authorization}");
    assert_eq!(headers["x-amz-security-token"], json!(["T"]));
    assert!(bucket.assumed().pop().expect("asked").contains("wh%2Fns%2Ft%2F%2A"));
    bucket.asked();
    assert!(authorization.contains("x-amz-meta-a") && !signed.text.contains("OWN-SECRET"), "{}", signed.text);
    assert_eq!((&signed.json()["uri"], &headers["X-Amz-Meta-A"]), (&json!(inside), &json!(["b"])));
    assert_eq!(signed.headers["cache-control"], "private");
    assert_eq!(sign(&server, "PUT", &inside).await.expect(200).headers["cache-control"], "no-cache");
    for outside in ["/lake/wh/ns/t2/data/x", "/lake/wh/ns/x", "/lake/wh/ns/t/../x"] {
        sign(&server, "GET", &format!("{}{outside}", bucket.url)).await.refused(403, "ForbiddenException", "signed");
    }
    let other = json!({"method": "GET", "region": "r", "uri": inside, "headers": {}, "provider": "gcs"});
    server.post(&format!("{T}/sign"), &other).await.refused(400, "IllegalArgumentException", "gcs");
    assert!(bucket.asked().is_empty(), "the store is asked nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_is_lent_no_more() {
    let role = "sts-role-arn = \"arn:aws:iam::1:role/r\"";
    let bucket = Bucket::start().await;
    let server = Server::configured(&format!("auth = \"token\"\n{}", bucket.warehouse(role))).await;
    let secret = async |right| server.access.create("x", right, None).await.expect("made").1;
    let (write, read) = (secret(floeberg::auth::Right::Write).await, secret(floeberg::auth::Right::Read).await);
    let (write, read) = (format!("Bearer {write}"), format!("Bearer {read}"));
    let post = async |path: &str, body: Value| {
        let headers = [("authorization", write.as_str()), ("content-type", "application/json")];
        server.send(Method::POST, path, &headers, Some(body.to_string())).await.expect(200)
    };
    post("/v1/namespaces", json!({"namespace": ["ns"]})).await;
    post("/v1/namespaces/ns/tables", json!({"name": "t", "schema": schema()})).await;
    for (bearer, may_put) in [(&read, false), (&write, true), (&read, false)] {
        ask(&server, &[VENDED, ("authorization", bearer)]).await.expect(200);
        for form in bucket.assumed() {
            assert_eq!(form.contains("PutObject") || form.contains("DeleteObject"), may_put, "{form}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_answer_is_lost_is_looked_for() {
    let (bucket, server) = lake("").await;
    let set = json!({"updates": [{"action": "set-properties", "updates": {"a": "1"}}], "requirements": []});
    let files = bucket.keys().len();
    for faults in [
        vec![Fault::Lost],
        vec![Fault::Refused(503, "SlowDown"), Fault::Refused(500, "InternalError")],
        vec![Fault::Refused(409, "ConditionalRequestConflict")],
    ] {
        bucket.fail(&Method::PUT, &faults);
        let mut set = set.clone();
        set["updates"][0]["updates"]["a"] = json!(format!("{faults:?}"));
        server.post(T, &set).await.expect(200);
        assert_eq!(server.get(T).await.json()["metadata"]["properties"]["a"], format!("{faults:?}"));
    }
    assert_eq!(bucket.keys().len(), files + 3, "one file each");
    // A store that knows no create-only put is used without.
    bucket.fail(&Method::PUT, &[Fault::Refused(501, "NotImplemented"), Fault::Refused(501, "NotImplemented")]);
    server.post(T, &set).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_says_is_put_into_words() {
    for (fault, words) in [
        (Fault::Refused(404, "NoSuchBucket"), "there is no bucket \"lake\""),
        (Fault::Refused(403, "AccessDenied"), "may not write there"),
        (Fault::Refused(403, "SignatureDoesNotMatch"), "does not know the warehouse's keys"),
        (Fault::Refused(403, "RequestTimeTooSkewed"), "set the clock"),
        (Fault::Refused(400, "ExpiredToken"), "keys have expired"),
        (Fault::Refused(400, "AuthorizationHeaderMalformed"), "another region"),
    ] {
        let (bucket, server) = lake("").await;
        bucket.fail(&Method::PUT, &[fault.clone(), fault.clone(), fault]);
        let set = json!({"updates": [{"action": "set-properties", "updates": {"a": "1"}}], "requirements": []});
        server.post(T, &set).await.refused(503, "SlowDownException", words);
        assert!(server.get(T).await.json()["metadata"]["properties"].get("a").is_none(), "nothing happened");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_means_nothing_is_refused_at_start() {
    for (store, words) in [
        ("delegation = \"lent\"", "auto, vended, signed, static, none"),
        ("delegation = \"static\"\nsts-role-arn = \"arn:aws:iam::1:role/r\"", "have no use"),
        ("account-key = \"k\"", "account-key is a key of abfss://"),
        ("sts-endpoint = \"/x\"", "is not a URL"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let toml = format!("[warehouses.lake]\nurl = \"s3://lake/wh\"\n{store}\n");
        std::fs::write(dir.path().join("floeberg.toml"), toml).expect("written");
        let run =
            std::process::Command::new(env!("CARGO_BIN_EXE_floeberg")).arg("serve").current_dir(dir.path()).output();
        let run = run.expect("runs");
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && said.contains(words), "{words:?} is not in {said:?}");
    }
}
