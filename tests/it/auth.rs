//! Tokens: who is let in, to what, and for how long.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::{Answer, Server, schema};

/// A server that asks for tokens, and an administrator's secret.
async fn server_with_admin() -> (Server, String) {
    let server = Server::configured("auth = \"token\"\n").await;
    let right = floeberg::auth::Right::Admin;
    let (_, secret) = server.access.create("root", right, None).await.expect("made");
    (server, secret)
}

async fn ask(server: &Server, bearer: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    let bearer = format!("Bearer {bearer}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    server.send(method, path, &headers, body.map(|body| body.to_string())).await
}

async fn make(server: &Server, admin: &str, body: Value) -> (String, String) {
    let made = ask(server, admin, Method::POST, "/manage/v1/tokens", Some(body)).await.expect(200).json();
    let text = |key: &str| made[key].as_str().expect("text").to_owned();
    (text("id"), text("secret"))
}

async fn form(server: &Server, headers: &[(&str, &str)], text: &str) -> Answer {
    let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
    all.extend_from_slice(headers);
    server.send(Method::POST, "/v1/oauth/tokens", &all, Some(text.to_owned())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_a_token() {
    let (server, admin) = server_with_admin().await;
    let refused = |answer: &Answer| {
        answer.refused(401, "NotAuthorizedException", "token");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    };
    for path in ["/v1/config", "/v1/namespaces", "/v1/namespaces/a/tables/b", "/v1/nothing"] {
        refused(&server.get(path).await);
        for bearer in ["None", "flo_0000000000000000000000000000000000000000000", "a.b.c", ""] {
            refused(&ask(&server, bearer, Method::GET, path, None).await);
        }
    }
    refused(&server.post("/v1/namespaces", &json!({"namespace": ["a"]})).await);
    let basic = server.send(Method::GET, "/v1/config", &[("authorization", "Basic YTpi")], None).await;
    refused(&basic);
    for (method, path) in [
        (Method::POST, "/ingest/v1/a/b"),
        (Method::GET, "/manage/v1/tokens"),
        (Method::GET, "/manage/v1/check"),
        (Method::GET, "/metrics"),
        (Method::GET, "/nothing"),
    ] {
        let answer = server.send(method, path, &[], Some("[]".repeat(1_000_000))).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("unauthenticated")), "{path}");
    }
    for path in ["/health/live", "/health/ready", "/docs/", "/openapi.json"] {
        server.get(path).await.expect(200);
    }
    ask(&server, &admin, Method::GET, "/v1/config", None).await.expect(200);
    ask(&server, &admin, Method::GET, "/metrics", None).await.expect(200);
    let open = Server::configured("auth = \"token\"\nmetrics-auth = false\n").await;
    open.get("/metrics").await.expect(200);
    open.get("/v1/config").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_includes_the_one_before() {
    let (server, admin) = server_with_admin().await;
    let (_, read) = make(&server, &admin, json!({"name": "looker", "right": "read"})).await;
    let (_, write) = make(&server, &admin, json!({"name": "writer", "right": "write"})).await;
    let namespace = json!({"namespace": ["ns"]});
    let answer = ask(&server, &read, Method::POST, "/v1/namespaces", Some(namespace.clone())).await;
    answer.refused(403, "ForbiddenException", "Token \"looker\" may read: this needs one that may write");
    ask(&server, &write, Method::POST, "/v1/namespaces", Some(namespace)).await.expect(200);
    let table = json!({"name": "metrics", "schema": schema()});
    ask(&server, &write, Method::POST, "/v1/namespaces/ns/tables", Some(table)).await.expect(200);
    ask(&server, &read, Method::GET, "/v1/namespaces/ns/tables/metrics", None).await.expect(200);
    let commit = json!({"requirements": [], "updates": []});
    // A table may be called like an action that needs less.
    ask(&server, &read, Method::POST, "/v1/namespaces/ns/tables/metrics", Some(commit)).await.expect(403);
    ask(&server, &read, Method::POST, "/ingest/v1/ns/rows", Some(json!([{"id": 1}]))).await.expect(403);
    ask(&server, &write, Method::POST, "/ingest/v1/ns/rows", Some(json!([{"id": 1}]))).await.expect(200);
    let report = json!({"report-type": "scan-report"});
    ask(&server, &read, Method::POST, "/v1/namespaces/ns/tables/rows/metrics", Some(report)).await.expect(204);
    for path in ["/manage/v1/tokens", "/manage/v1/check"] {
        ask(&server, &write, Method::GET, path, None).await.expect(403);
        ask(&server, &admin, Method::GET, path, None).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_listed_and_revoked() {
    let (server, admin) = server_with_admin().await;
    let (id, secret) = make(&server, &admin, json!({"name": "ci", "right": "write", "expires": null})).await;
    assert!(secret.starts_with("flo_") && secret.len() == 47, "{secret}");
    let listed = ask(&server, &admin, Method::GET, "/manage/v1/tokens", None).await.expect(200);
    assert!(!listed.text.contains(&secret) && !listed.text.contains("hash"), "{}", listed.text);
    let tokens = listed.json()["tokens"].clone();
    let names: Vec<&str> =
        tokens.as_array().expect("tokens").iter().filter_map(|token| token["name"].as_str()).collect();
    assert_eq!(names, ["root", "ci"]);
    let granted = form(&server, &[], &format!("grant_type=client_credentials&client_secret={secret}")).await;
    let access = granted.expect(200).json()["access_token"].as_str().expect("text").to_owned();
    let server = server.restart().await;
    for bearer in [&secret, &access] {
        ask(&server, bearer, Method::GET, "/v1/config", None).await.expect(200);
    }
    ask(&server, &admin, Method::DELETE, &format!("/manage/v1/tokens/{id}"), None).await.expect(204);
    for bearer in [&secret, &access] {
        ask(&server, bearer, Method::GET, "/v1/config", None).await.expect(401);
    }
    form(&server, &[], &format!("grant_type=client_credentials&client_secret={secret}")).await.expect(401);
    ask(&server, &admin, Method::DELETE, &format!("/manage/v1/tokens/{id}"), None).await.expect(404);
    for bad in [
        json!({"name": "", "right": "read"}),
        json!({"name": "x", "right": "root"}),
        json!({"name": "x", "right": "read", "expires": "tomorrow"}),
        json!({"name": "x", "right": "read", "expires": "2001-01-01T00:00:00Z"}),
        json!({"name": "x", "right": "read", "secret": "mine"}),
    ] {
        ask(&server, &admin, Method::POST, "/manage/v1/tokens", Some(bad)).await.expect(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_when_it_says() {
    let (server, admin) = server_with_admin().await;
    let soon = server.app_catalog.clock().now_ms() + 100_000;
    let expires = floeberg::clock::rfc3339(soon);
    let (_, secret) = make(&server, &admin, json!({"name": "short", "right": "read", "expires": expires})).await;
    let grant = format!("grant_type=client_credentials&client_secret={secret}");
    let granted = form(&server, &[], &grant).await.expect(200).json();
    assert!(granted["expires_in"].as_i64().is_some_and(|seconds| (90..=100).contains(&seconds)), "{granted}");
    let access = granted["access_token"].as_str().expect("text");
    ask(&server, access, Method::GET, "/v1/config", None).await.expect(200);
    server.app_catalog.clock().advance_ms(100_001);
    for bearer in [secret.as_str(), access] {
        ask(&server, bearer, Method::GET, "/v1/config", None).await.expect(401);
    }
    form(&server, &[], &grant).await.expect(401);
    // An access token of a token without end lasts an hour.
    let granted = form(&server, &[], &format!("grant_type=client_credentials&client_secret={admin}")).await.json();
    let access = granted["access_token"].as_str().expect("text");
    assert_eq!(granted["expires_in"], 3_600);
    server.app_catalog.clock().advance_ms(3_599_000);
    ask(&server, access, Method::GET, "/v1/config", None).await.expect(200);
    server.app_catalog.clock().advance_ms(2_000);
    ask(&server, access, Method::GET, "/v1/config", None).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth_takes_what_clients_send() {
    let (server, admin) = server_with_admin().await;
    let (id, secret) = make(&server, &admin, json!({"name": "spark", "right": "read"})).await;
    let basic = |id: &str, secret: &str| {
        use base64::Engine;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}")))
    };
    let exchange = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange";
    let client = "grant_type=client_credentials&scope=catalog";
    let first = form(&server, &[], &format!("{client}&client_secret={secret}")).await.expect(200);
    assert_eq!(first.headers["cache-control"], "no-store");
    let first = first.json();
    assert_eq!(
        (&first["token_type"], &first["scope"], &first["expires_in"]),
        (&json!("bearer"), &json!("catalog"), &json!(3600))
    );
    let access = first["access_token"].as_str().expect("text").to_owned();
    for (authorization, text) in [
        (String::new(), format!("{client}&client_id={id}&client_secret={secret}")),
        (String::new(), format!("{client}&client_id=spark&client_secret={secret}")),
        (String::new(), format!("{client}&client_id=&client_secret={secret}")),
        ("Bearer something-stale".to_owned(), format!("{client}&client_secret={secret}")),
        (basic(&id, &secret), client.to_owned()),
        (basic("", &secret), client.to_owned()),
        (format!("Bearer {access}"), format!("{exchange}&subject_token={access}")),
        (basic(&id, &secret), format!("{exchange}&subject_token=expired")),
        (String::new(), format!("{exchange}&subject_token={secret}")),
    ] {
        let granted = form(&server, &[("authorization", &authorization)], &text).await.expect(200).json();
        let bearer = granted["access_token"].as_str().expect("text");
        ask(&server, bearer, Method::GET, "/v1/config", None).await.expect(200);
        ask(&server, bearer, Method::POST, "/v1/namespaces", Some(json!({"namespace": ["a"]}))).await.expect(403);
    }
    for (authorization, text, status, error) in [
        (String::new(), format!("{client}&client_secret=flo_x"), 401, "invalid_client"),
        (String::new(), format!("{client}&client_id=other&client_secret={secret}"), 401, "invalid_client"),
        (basic("other", &secret), client.to_owned(), 401, "invalid_client"),
        (String::new(), client.to_owned(), 401, "invalid_client"),
        (String::new(), format!("{exchange}&subject_token=a.b.c"), 401, "invalid_client"),
        (String::new(), exchange.to_owned(), 400, "invalid_request"),
        (String::new(), format!("client_secret={secret}"), 400, "invalid_request"),
        (String::new(), "grant_type=password&username=a&password=b".to_owned(), 400, "unsupported_grant_type"),
        ("Basic ???".to_owned(), client.to_owned(), 400, "invalid_request"),
        (String::new(), "x".repeat(100_000), 400, "invalid_request"),
    ] {
        let answer = form(&server, &[("authorization", &authorization)], &text).await.expect(status);
        assert_eq!(answer.json()["error"], error, "{text}: {}", answer.text);
        assert!(answer.json()["error_description"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authentication_every_credential_does() {
    let server = Server::start().await;
    let granted =
        form(&server, &[], "grant_type=client_credentials&client_id=a&client_secret=b").await.expect(200).json();
    let bearer = granted["access_token"].as_str().expect("text");
    ask(&server, bearer, Method::GET, "/v1/config", None).await.expect(200);
    ask(&server, "None", Method::GET, "/v1/config", None).await.expect(200);
    // Who is not asked who they are leaves no token behind for the day when everybody is.
    let wanted = json!({"name": "x", "right": "admin"});
    ask(&server, "None", Method::POST, "/manage/v1/tokens", Some(wanted)).await.expect(406);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_makes_the_first_administrator() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("floeberg.toml"), "auth = \"token\"\n").expect("written");
    let floeberg = |arguments: &[&str], token: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_floeberg"));
        command.args(arguments).current_dir(dir.path()).env("FLOEBERG_TOKEN", token);
        let output = command.output().expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (made, secret, about) = floeberg(&["token", "create", "--admin"], "");
    assert!(made && about.contains("admin") && about.contains("shown this once"), "{about}");
    let secret = secret.trim().to_owned();
    assert!(secret.starts_with("flo_") && !about.contains(&secret));
    // From here on a server has the directory: the same commands ask it.
    let server = Serving::start(dir.path());
    let (listed, none, why) = floeberg(&["token", "list"], "flo_wrong");
    assert!(!listed && none.is_empty() && why.contains("401"), "{why}");
    let (made, other, _) =
        floeberg(&["token", "create", "--name", "ci", "--right", "read", "--expires-in", "30d"], &secret);
    assert!(made && other.starts_with("flo_"));
    let (listed, list, _) = floeberg(&["token", "list"], &secret);
    assert!(listed && list.lines().count() == 2 && list.contains("expires 20") && !list.contains("flo_"), "{list}");
    let id = list.lines().find(|line| line.ends_with("ci")).and_then(|line| line.split(' ').next()).expect("an id");
    let (checked, report, _) = floeberg(&["check"], "");
    assert!(checked && !report.contains("warehouse"), "without a token, that it is ready decides: {report}");
    let (checked, report, _) = floeberg(&["check"], &secret);
    assert!(checked && report.contains("warehouse default"), "{report}");
    assert!(floeberg(&["token", "revoke", id], &secret).0);
    assert!(!floeberg(&["token", "revoke", id], &secret).0, "it is gone");
    assert!(!floeberg(&["token", "create", "--name", "x", "--expires-in", "soon"], &secret).0);
    drop(server);
    let (listed, list, why) = floeberg(&["token", "list"], "");
    assert!(listed && list.lines().count() == 1, "{list}{why}");
    let key = std::fs::metadata(dir.path().join("floeberg-data/access.key")).expect("the key");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    let log = std::fs::read_to_string(dir.path().join("log")).expect("a log");
    assert!(!log.contains(&secret) && !log.contains(other.trim()), "a secret is in the log");
}

/// The real binary over a directory; it ends with this.
struct Serving(Child);

impl Serving {
    /// Starts it and waits until it answers.
    fn start(dir: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_floeberg"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("log")).expect("a log"))
            .spawn();
        let serving = Self(child.expect("starts"));
        for _ in 0..500 {
            let address = std::fs::read_to_string(dir.join("floeberg-data/floeberg.lock")).unwrap_or_default();
            if !address.is_empty() && std::net::TcpStream::connect(&address).is_ok() {
                return serving;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server did not start within ten seconds");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
