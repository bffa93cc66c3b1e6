//! What every test speaks through: a real server on a free port, and a client of it.
//!
//! [`Server::start`] opens an [`App`] over a fresh directory; dropping it stops the server. [`Server::restart`] starts
//! another over the same directory. Requests go over HTTP, as a client's do; [`Answer`] holds what came back.

pub mod bucket;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use floeberg::app::App;
use floeberg::config::{Config, Environment, Flags};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server over a directory of its own.
pub struct Server {
    pub url: String,
    pub app_catalog: floeberg::catalog::Catalog,
    pub access: floeberg::auth::Access,
    dir: Arc<TempDir>,
    allowed: Vec<String>,
    environment: Environment,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
    client: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text))
    }

    /// The same answer if its status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Checks an error of the Iceberg grammar.
    #[track_caller]
    pub fn refused(&self, status: u16, kind: &str, part: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        let error = &self.json()["error"];
        assert_eq!((error["code"].as_u64(), error["type"].as_str()), (Some(u64::from(status)), Some(kind)), "{error}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

impl Server {
    /// A server over a fresh directory.
    pub async fn start() -> Self {
        Self::over(Arc::new(tempfile::tempdir().expect("a directory")), Vec::new(), Environment::default()).await
    }

    /// A server that may use these locations beside its own.
    pub async fn allowing(locations: &[&str]) -> Self {
        let allowed = locations.iter().map(|location| (*location).to_owned()).collect();
        Self::over(Arc::new(tempfile::tempdir().expect("a directory")), allowed, Environment::default()).await
    }

    /// A server with this configuration file; `DIR` in it stands for a directory of its own.
    pub async fn configured(toml: &str) -> Self {
        Self::configured_among(toml, &[]).await
    }

    /// The same in an environment of these variables.
    pub async fn configured_among(toml: &str, variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let text = toml.replace("DIR", dir.path().to_str().expect("text"));
        std::fs::write(dir.path().join("floeberg.toml"), text).expect("written");
        Self::over(Arc::new(dir), Vec::new(), Environment::of(variables)).await
    }

    async fn over(dir: Arc<TempDir>, allowed: Vec<String>, environment: Environment) -> Self {
        let flags =
            Flags { listen: Some("127.0.0.1:0".to_owned()), allow_location: allowed.clone(), ..Flags::default() };
        let config = Config::load(&flags, &environment, dir.path()).expect("a configuration");
        let app = App::open(&config).await.expect("a server");
        let (stop, stopped) = oneshot::channel();
        let url = app.url();
        let (app_catalog, access) = (app.catalog(), app.access().clone());
        let task = tokio::spawn(async move {
            app.run(async { drop(stopped.await) }).await.expect("runs to its end");
        });
        let client = reqwest::Client::new();
        Self { url, app_catalog, access, dir, allowed, environment, stop: Some(stop), task: Some(task), client }
    }

    /// Stops the server and waits until everything is closed.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(task) = self.task.take() {
            task.await.expect("stops");
        }
    }

    /// Another server over the same directory.
    pub async fn restart(mut self) -> Self {
        self.stop().await;
        // The old catalog's handles close with it.
        Self::over(Arc::clone(&self.dir), self.allowed.clone(), self.environment.clone()).await
    }

    /// The directory that the server's data directory is in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The folder of the warehouse.
    pub fn warehouse(&self) -> PathBuf {
        self.dir.path().join("floeberg-data/warehouse")
    }

    /// Sends a request.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Answer {
        self.send_bytes(method, path, headers, body.map(String::into_bytes)).await
    }

    /// Sends a request whose body need not be text.
    pub async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_str(value).expect("a value"),
            );
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.expect("a body") }
    }

    /// GET
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    /// HEAD
    pub async fn head(&self, path: &str) -> Answer {
        self.send(Method::HEAD, path, &[], None).await
    }

    /// DELETE
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// POST of a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], Some(body.to_string())).await
    }

    /// Makes a namespace.
    pub async fn namespace(&self, levels: &[&str]) {
        self.post("/v1/namespaces", &json!({"namespace": levels})).await.expect(200);
    }

    /// Makes a table `ns.name` with columns `id long required, name string`, and returns what the server answered.
    pub async fn table(&self, name: &str) -> Value {
        let body = json!({"name": name, "schema": schema()});
        self.post("/v1/namespaces/ns/tables", &body).await.expect(200).json()
    }

    /// Commits to `ns.name`.
    pub async fn commit(&self, name: &str, requirements: Value, updates: Value) -> Answer {
        let body = json!({"requirements": requirements, "updates": updates});
        self.post(&format!("/v1/namespaces/ns/tables/{name}"), &body).await
    }

    /// Waits until `done` says so.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, mut done: impl FnMut() -> F) {
        for _ in 0..500 {
            if done().await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{what} did not come to be within ten seconds");
    }
}

/// `id long required, name string`
pub fn schema() -> Value {
    json!({"type": "struct", "schema-id": 0, "fields": [
        {"id": 1, "name": "id", "required": true, "type": "long"},
        {"id": 2, "name": "name", "required": false, "type": "string"},
    ]})
}

/// A snapshot that appends nothing, with its manifest list inside the table's folder.
pub fn snapshot(id: i64, parent: Option<i64>, sequence: i64, location: &str) -> Value {
    let mut snapshot = json!({
        "snapshot-id": id, "sequence-number": sequence, "timestamp-ms": 1_700_000_000_000_i64 + sequence,
        "manifest-list": format!("{location}/metadata/snap-{id}.avro"),
        "summary": {"operation": "append"}, "schema-id": 0,
    });
    if let Some(parent) = parent {
        snapshot["parent-snapshot-id"] = json!(parent);
    }
    snapshot
}

/// The updates that add a snapshot and point `main` at it.
pub fn append(snapshot: &Value) -> Value {
    json!([
        {"action": "add-snapshot", "snapshot": snapshot},
        {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": snapshot["snapshot-id"]},
    ])
}
