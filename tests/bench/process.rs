//! The processes that are measured, and what the kernel and the disk say of them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The real binary over a directory of its own.
pub struct Server {
    dir: TempDir,
    address: SocketAddr,
    child: Option<Child>,
    /// The secret of an administrator, where the server wants one.
    secret: Option<String>,
}

impl Server {
    pub fn fresh() -> Self {
        Self::over(tempfile::tempdir().expect("a directory"), None)
    }

    /// A server with this configuration file.
    pub fn configured(toml: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("floeberg.toml"), toml).expect("written");
        Self::over(dir, None)
    }

    /// A server that wants a token.
    pub fn guarded() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let made = Command::new(env!("CARGO_BIN_EXE_floeberg"))
            .args(["token", "create", "--admin"])
            .current_dir(dir.path())
            .env("FLOEBERG_AUTH", "token")
            .output()
            .expect("a token");
        let secret = String::from_utf8(made.stdout).expect("text").trim().to_owned();
        Self::over(dir, Some(secret))
    }

    fn over(dir: TempDir, secret: Option<String>) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let mut server = Self { dir, address: free, child: None, secret };
        server.start();
        server.post("/v1/namespaces", &json!({"namespace": ["ns"]}));
        server
    }

    /// The secret of an administrator; nothing where none is wanted.
    pub fn secret(&self) -> &str {
        self.secret.as_deref().unwrap_or_default()
    }

    /// Starts the process and waits for its first answer.
    pub fn start(&mut self) {
        let child = Command::new(env!("CARGO_BIN_EXE_floeberg"))
            .args(["serve", "--listen", &self.address.to_string()])
            .current_dir(self.dir.path())
            .env("FLOEBERG_AUTH", if self.secret.is_some() { "token" } else { "none" })
            .stdout(Stdio::null())
            .stderr(File::create(self.dir.path().join("log")).expect("a log"))
            .spawn()
            .expect("starts");
        self.child = Some(child);
        while TcpStream::connect(self.address).is_err() {
            std::thread::sleep(Duration::from_micros(500));
        }
        self.get("/health/live");
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("stops");
            child.wait().expect("stops");
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }

    pub fn resident_mb(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process");
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("its memory");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).expect("a number") / 1e3
    }

    pub fn get(&self, path: &str) -> Vec<u8> {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n", self.authorization()))
    }

    pub fn post(&self, path: &str, body: &Value) -> Vec<u8> {
        let request = post(path, &body.to_string(), "close");
        self.request(&request.replacen("\r\n", &format!("\r\n{}", self.authorization()), 1))
    }

    /// The header that lets a request in, with its end of line; nothing where none is wanted.
    pub fn authorization(&self) -> String {
        self.secret.as_ref().map_or_else(String::new, |secret| format!("Authorization: Bearer {secret}\r\n"))
    }

    pub fn request(&self, text: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).expect("connects");
        stream.write_all(text.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        assert!(answer.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(&answer));
        answer.split_off(head)
    }

    /// Makes a table with so many snapshots.
    pub fn make_table(&self, name: &str, snapshots: i64) {
        let fields = json!([{"id": 1, "name": "id", "required": false, "type": "long"}]);
        self.post("/v1/namespaces/ns/tables", &json!({"name": name, "schema": {"type": "struct", "fields": fields}}));
        for id in 1..=snapshots {
            self.append(name, id);
        }
    }

    /// Makes a table whose metadata file stays at about 3 kB however often it is committed to.
    pub fn make_short_table(&self, name: &str) {
        let fields = json!([{"id": 1, "name": "id", "required": false, "type": "long"}]);
        let properties = json!({"write.metadata.previous-versions-max": "14"});
        let body = json!({"name": name, "schema": {"type": "struct", "fields": fields}, "properties": properties});
        self.post("/v1/namespaces/ns/tables", &body);
    }

    /// The server's own account of how long its commits to a table took, in seconds.
    pub fn commit_times(&self, name: &str) -> Vec<f64> {
        let log = std::fs::read_to_string(self.dir.path().join("log")).expect("a log");
        let path = format!("method=POST path=\"/v1/namespaces/ns/tables/{name}\" ");
        let lines = log.lines().filter(|line| line.contains(&path));
        let took =
            lines.filter_map(|line| line.split("took_us=").nth(1)?.split_whitespace().next()?.parse::<f64>().ok());
        took.map(|us| us / 1e6).collect()
    }

    /// Adds an empty snapshot and removes the oldest.
    pub fn turn_over(&self, name: &str, id: i64, oldest: i64) {
        self.append(name, id);
        let updates = json!([{"action": "remove-snapshots", "snapshot-ids": [oldest]}]);
        self.post(&format!("/v1/namespaces/ns/tables/{name}"), &json!({"requirements": [], "updates": updates}));
    }

    /// Commits an empty snapshot.
    pub fn append(&self, name: &str, id: i64) {
        let list =
            format!("file://{}/floeberg-data/warehouse/ns/{name}/metadata/snap-{id}.avro", self.dir.path().display());
        let snapshot = json!({"snapshot-id": id, "sequence-number": id, "timestamp-ms": 1_700_000_000_000_i64 + id,
            "manifest-list": list, "schema-id": 0, "summary": {"operation": "append", "added-records": "1",
            "added-data-files": "1", "added-files-size": "2048", "total-records": "1", "total-data-files": "1"}});
        let updates = json!([{"action": "add-snapshot", "snapshot": snapshot},
            {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": id}]);
        self.post(&format!("/v1/namespaces/ns/tables/{name}"), &json!({"requirements": [], "updates": updates}));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The bytes of a POST.
pub fn post(path: &str, body: &str, connection: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// A bare axum route behind our accept loop, in a process of its own.
pub struct Bare {
    child: Child,
    address: SocketAddr,
    _body: TempDir,
}

impl Bare {
    pub fn start(body: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("body");
        std::fs::write(&file, body).expect("written");
        let own = std::env::current_exe().expect("this program");
        let mut child = Command::new(own).arg("--bare").arg(&file).stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("an address");
        Self { child, address: line.trim().parse().expect("an address"), _body: dir }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.child.kill().expect("stops");
        self.child.wait().expect("stops");
    }
}

/// What `Bare` runs.
#[tokio::main]
pub async fn serve_bare(file: &str) {
    let body = bytes::Bytes::from(std::fs::read(file).expect("the body"));
    let answer = move || {
        let body = body.clone();
        async move { ([("content-type", "application/json")], body) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let router = Router::new().route("/", get(answer.clone()).post(move |_: bytes::Bytes| answer()));
    floeberg::http::serve(listener, (router, floeberg::http::Paths::default()), std::future::pending(), Duration::ZERO)
        .await
        .expect("serves");
}

/// Files a second of {create, write, fsync, fsync the directory}, by one thread.
pub fn raw_durable_writes(dir: &Path, bytes: usize, count: u32) -> f64 {
    // Not removed meanwhile: to a disk that discards, that is dear.
    let folder = tempfile::tempdir_in(dir).expect("a folder").keep();
    let handle = File::open(&folder).expect("the folder");
    let content = vec![b'x'; bytes];
    let started = Instant::now();
    for index in 0..count {
        let mut file = File::create_new(folder.join(index.to_string())).expect("a file");
        file.write_all(&content).expect("written");
        file.sync_all().expect("synced");
        handle.sync_all().expect("synced");
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

/// The Python that `scripts/e2e.sh` has put PyIceberg into, if it has.
pub fn python() -> Option<PathBuf> {
    let cache = std::env::var("TEST_CACHE")
        .or_else(|_| Ok::<_, std::env::VarError>(format!("{}/.cache/floeberg", std::env::var("HOME")?)));
    let python = PathBuf::from(cache.ok()?).join("e2e/venv/bin/python");
    python.exists().then_some(python)
}
