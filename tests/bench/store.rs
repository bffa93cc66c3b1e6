//! Over a real SeaweedFS: rows in and commits against raw puts of the same bytes, and loads with lent keys against plain
//! ones. SeaweedFS is what `scripts/test.sh` has installed.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use futures::future::try_join_all;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::json;
use tempfile::TempDir;

use super::ingest;
use super::load::{self, Asked};
use super::process::Server;

const KEY: &str = "harness";
const SECRET: &str = "harness-secret";
const ROLE: &str = "arn:aws:iam::000000000000:role/vend";
const COMMITS: usize = 60;

/// A SeaweedFS on loopback that lends keys.
struct Seaweed {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Seaweed {
    /// None where it is not installed.
    fn start() -> Option<Self> {
        let cache = std::env::var_os("TEST_CACHE").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/floeberg")))?;
        let program = cache.join("e2e/venv/bin/weed");
        if !program.exists() {
            println!("store: SeaweedFS is not installed: run scripts/test.sh once");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let iam = dir.path().join("iam.json");
        std::fs::write(&iam, iam_of().to_string()).expect("written");
        let names = ["s3.port", "s3.port.iceberg", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port"];
        let more =
            ["volume.port.grpc", "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc", "s3.port.lance"];
        let free: Vec<TcpListener> = (0..12).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let ports: Vec<SocketAddr> = free.iter().map(|socket| socket.local_addr().expect("an address")).collect();
        drop(free);
        let child = Command::new(program)
            .args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-webdav=false"])
            .args(["-admin.ui=false", "-tableBucket=warehouse", "-bucket=plain"])
            .arg(format!("-dir={}", dir.path().display()))
            .arg(format!("-s3.iam.config={}", iam.display()))
            .args(names.iter().chain(&more).zip(&ports).map(|(name, port)| format!("-{name}={}", port.port())))
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let started = Self { child, address: ports[0], _dir: dir };
        while TcpStream::connect(started.address).is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(started)
    }

    fn config(&self) -> String {
        let url = self.url();
        format!(
            "[warehouses.lake]\nurl = \"s3://plain/wh\"\nendpoint = \"{url}\"\naccess-key-id = \"{KEY}\"\n\
             secret-access-key = \"{SECRET}\"\nsts-endpoint = \"{url}\"\nsts-role-arn = \"{ROLE}\"\n"
        )
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn client(&self) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(self.url())
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_access_key_id(KEY)
            .with_secret_access_key(SECRET)
            .with_bucket_name("plain")
            .build()
            .expect("a client")
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        self.child.kill().expect("stops");
        self.child.wait().expect("stops");
    }
}

fn iam_of() -> serde_json::Value {
    let allow = |mut what: serde_json::Value| {
        what["Effect"] = json!("Allow");
        json!({"Version": "2012-10-17", "Statement": [what]})
    };
    json!({
        "sts": {"tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "seaweedfs-sts",
            "signingKey": "aGFybmVzcy1zaWducy10b2tlbnMtd2l0aC0zMi1ieXQ="},
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "roles": [{"roleName": "vend", "roleArn": ROLE, "attachedPolicies": ["all"],
            "trustPolicy": allow(json!({"Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole"]}))}],
        "policies": [{"name": "all", "document": allow(json!({"Action": ["s3:*"], "Resource": ["*"]}))}],
    })
}

/// What a commit put is put again, raw: all of it at once, over connections that are kept.
struct Raw {
    client: Arc<AmazonS3>,
    runtime: tokio::runtime::Runtime,
    known: BTreeMap<String, u64>,
    number: usize,
}

impl Raw {
    fn new(store: &Seaweed) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        Self { client: Arc::new(store.client()), runtime, known: BTreeMap::new(), number: 0 }
    }

    /// The sizes of the objects that are new since the last time.
    fn fresh(&mut self) -> Vec<u64> {
        let listed = self.client.list(Some(&Path::from("wh"))).try_collect::<Vec<_>>();
        let listed = self.runtime.block_on(listed).expect("listed");
        let new = listed.into_iter().filter_map(|object| {
            let key = object.location.to_string();
            self.known.insert(key, object.size).is_none().then_some(object.size)
        });
        new.collect()
    }

    /// Seconds that raw puts of so many bytes take.
    fn put(&mut self, sizes: &[u64]) -> f64 {
        let objects: Vec<(Path, Vec<u8>)> = sizes
            .iter()
            .map(|size| {
                self.number += 1;
                (Path::from(format!("raw/{}", self.number)), vec![b'x'; usize::try_from(*size).expect("small")])
            })
            .collect();
        let client = Arc::clone(&self.client);
        let started = Instant::now();
        let puts = objects.into_iter().map(|(path, bytes)| {
            let client = Arc::clone(&client);
            async move { client.put(&path, bytes.into()).await }
        });
        self.runtime.block_on(try_join_all(puts)).expect("put");
        started.elapsed().as_secs_f64()
    }

    /// The median seconds of what is done, and of raw puts of the bytes that it put, by turns.
    fn against(&mut self, mut done: impl FnMut(usize)) -> (f64, f64) {
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        done(0);
        self.fresh();
        for number in 1..=COMMITS {
            let started = Instant::now();
            done(number);
            ours.push(started.elapsed().as_secs_f64());
            let sizes = self.fresh();
            raw.push(self.put(&sizes));
        }
        (median(ours), median(raw))
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Everything of the above.
pub fn store() {
    let Some(seaweed) = Seaweed::start() else { return };
    // It says that it is ready before its bucket is there.
    std::thread::sleep(Duration::from_secs(5));
    let server = Server::configured(&seaweed.config());
    let mut raw = Raw::new(&seaweed);
    for least in [1 << 10, 1 << 20, 16 << 20] {
        let body = if least < 1 << 20 { ingest::one_row() } else { ingest::body(least) };
        let path = format!("/ingest/v1/ns/rows{least}");
        let push = load::Push { path: &path, kind: "application/x-ndjson", body: &body };
        let (ours, raw) = raw.against(|_| drop(load::push(server.address(), &push, 1, 1)));
        println!(
            "store ingest {:>9} B bodies   {:>7.1} ms   raw puts of the same bytes {:>6.1} ms   ratio {:.2}",
            body.len(),
            ours * 1e3,
            raw * 1e3,
            raw / ours
        );
    }
    server.make_short_table("short");
    let (ours, raw) = raw.against(|number| {
        let updates = json!([{"action": "set-properties", "updates": {"number": number.to_string()}}]);
        server.post("/v1/namespaces/ns/tables/short", &json!({"requirements": [], "updates": updates}));
    });
    println!(
        "store commit                      {:>7.1} ms   raw put of the same bytes  {:>6.1} ms   ratio {:.2}",
        ours * 1e3,
        raw * 1e3,
        raw / ours
    );
    loads(&server);
}

/// Loads with lent keys beside plain ones.
fn loads(server: &Server) {
    let plain = load::get("/v1/namespaces/ns/tables/short");
    let asks = "HTTP/1.1\r\nX-Iceberg-Access-Delegation: vended-credentials\r\n";
    let vended = String::from_utf8(plain.clone()).expect("text").replacen("HTTP/1.1\r\n", asks, 1).into_bytes();
    let of = |request: Vec<u8>| Asked { address: server.address(), pid: server.pid(), request };
    let [(plain, _), (vended, ratio)] = load::by_turns(&[of(plain), of(vended)], 16)[..] else { return };
    println!("store loadTable with lent keys {vended:>9.0}/CPU-s  plain {plain:>9.0}/CPU-s  ratio {ratio:.2}");
}
