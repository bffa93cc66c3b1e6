//! What was asked of a server and what it said, and whether its tables agree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use floeberg::snapshot::entries::files_of;
use floeberg::snapshot::list::manifests_of;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::Process;

/// What a client can ask that moves a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Append,
    AppendToNew,
    Commit,
    Transaction,
    Create,
    Purge,
    Drop,
    Rename,
    Register,
}

/// A request that was sent.
#[derive(Debug)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub body: Option<Value>,
}

/// A directory, and what should be in its tables.
pub struct World {
    dir: TempDir,
    turn: i64,
    sent: BTreeSet<i64>,
    acknowledged: BTreeSet<i64>,
    /// Tables that were acknowledged as there, and as gone.
    created: Vec<String>,
    purged: Vec<String>,
    /// The turns in which a table was to be renamed.
    renamed: Vec<i64>,
    /// What the property of `ns.p` and of the three tables of the transaction may be: the first is the last known.
    single: Vec<i64>,
    triple: Vec<i64>,
}

fn schema() -> Value {
    json!({"type": "struct", "fields": [{"id": 1, "name": "id", "required": false, "type": "long"}]})
}

impl World {
    /// A directory with the tables that operations work on.
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Process::start(dir.path(), "");
        let ask = async |path: &str, body: Value| {
            let (status, answer) = server.send("POST", path, Some(&body)).await.expect("an answer");
            assert_eq!(status, 200, "{answer}");
        };
        ask("/v1/namespaces", json!({"namespace": ["ns"]})).await;
        for table in ["p", "t0", "t1", "t2"] {
            ask("/v1/namespaces/ns/tables", json!({"name": table, "schema": schema(), "properties": {"turn": "0"}}))
                .await;
        }
        ask("/ingest/v1/ns/rows?partition_by=part", json!([{"id": 0, "part": 0}])).await;
        let zero: BTreeSet<i64> = [0].into();
        Self {
            dir,
            turn: 0,
            sent: zero.clone(),
            acknowledged: zero,
            created: Vec::new(),
            purged: Vec::new(),
            renamed: Vec::new(),
            single: vec![0],
            triple: vec![0],
        }
    }

    pub fn start(&self, failpoints: &str) -> Process {
        Process::start(self.dir.path(), failpoints)
    }

    /// What has to be there before the operation can be asked for.
    pub async fn prepare(&mut self, operation: Operation) {
        let table = match operation {
            Operation::Purge => "gone",
            Operation::Drop => "dropped",
            Operation::Rename => "from",
            Operation::Register => "loose",
            _ => return,
        };
        let server = self.start("");
        let path = format!("/ns/{table}{}", self.turn + 1);
        let rows = json!([{"id": 1}]);
        let (status, answer) = server.send("POST", &format!("/ingest/v1{path}"), Some(&rows)).await.expect("an answer");
        assert_eq!(status, 200, "{answer}");
        if operation == Operation::Register {
            let table = format!("/v1/namespaces/ns/tables/loose{}", self.turn + 1);
            let (status, _) = server.send("DELETE", &table, None).await.expect("an answer");
            assert_eq!(status, 204);
        }
    }

    /// The next request of this kind; from now on its effect may be there.
    pub fn request(&mut self, operation: Operation) -> Request {
        self.turn += 1;
        let turn = self.turn;
        let set = |table: &str| {
            json!({"identifier": {"namespace": ["ns"], "name": table}, "requirements": [],
                "updates": [{"action": "set-properties", "updates": {"turn": turn.to_string()}}]})
        };
        let post = |path: String, body: Value| Request { method: "POST", path, body: Some(body) };
        let delete = |table: String| {
            let path = format!("/v1/namespaces/ns/tables/{table}");
            Request { method: "DELETE", path, body: None }
        };
        match operation {
            Operation::Append | Operation::AppendToNew => {
                let ids = [turn * 10, turn * 10 + 1];
                self.sent.extend(ids);
                let rows = json!([{"id": ids[0], "part": 0}, {"id": ids[1], "part": 1}]);
                let table =
                    if operation == Operation::Append { "ns/rows".to_owned() } else { format!("new{turn}/rows") };
                post(format!("/ingest/v1/{table}?partition_by=part"), rows)
            }
            Operation::Commit => {
                self.single.push(turn);
                post("/v1/namespaces/ns/tables/p".to_owned(), set("p"))
            }
            Operation::Transaction => {
                self.triple.push(turn);
                let changes = json!({"table-changes": [set("t0"), set("t1"), set("t2")]});
                post("/v1/transactions/commit".to_owned(), changes)
            }
            Operation::Create => {
                let name = format!("made{turn}");
                post("/v1/namespaces/ns/tables".to_owned(), json!({"name": name, "schema": schema()}))
            }
            Operation::Purge => delete(format!("gone{turn}?purgeRequested=true")),
            Operation::Drop => delete(format!("dropped{turn}")),
            Operation::Rename => {
                self.renamed.push(turn);
                let named = |name: String| json!({"namespace": ["ns"], "name": name});
                let body = json!({"source": named(format!("from{turn}")), "destination": named(format!("to{turn}"))});
                post("/v1/tables/rename".to_owned(), body)
            }
            Operation::Register => {
                let files = self.files(&format!("ns/loose{turn}/metadata"));
                let last = files.iter().rfind(|file| file.to_string_lossy().ends_with(".metadata.json"));
                let location = format!("file://{}", last.expect("a metadata file").display());
                let body = json!({"name": format!("loose{turn}"), "metadata-location": location});
                post("/v1/namespaces/ns/register".to_owned(), body)
            }
        }
    }

    /// Two rows that may be there from now on, and their ids.
    pub fn rows_to_acknowledge(&mut self) -> ([i64; 2], Value) {
        self.turn += 1;
        let ids = [self.turn * 10, self.turn * 10 + 1];
        self.these_are_sent(&ids);
        (ids, json!([{"id": ids[0], "part": 0}, {"id": ids[1], "part": 1}]))
    }

    /// These rows may be there.
    pub fn these_are_sent(&mut self, ids: &[i64]) {
        self.sent.extend(ids);
    }

    /// These rows must be there.
    pub fn these_are_acknowledged(&mut self, ids: &[i64]) {
        self.acknowledged.extend(ids);
    }

    /// Waits for the last request's effect, a bounded time.
    pub async fn comes(&self, server: &Process, operation: Operation) -> bool {
        for _ in 0..150 {
            if self.is_there(server, operation).await {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    async fn is_there(&self, server: &Process, operation: Operation) -> bool {
        let turn = self.turn;
        let (namespace, table) = match operation {
            Operation::Append => ("ns".to_owned(), "rows".to_owned()),
            Operation::AppendToNew => (format!("new{turn}"), "rows".to_owned()),
            Operation::Commit => ("ns".to_owned(), "p".to_owned()),
            Operation::Transaction => ("ns".to_owned(), "t0".to_owned()),
            Operation::Create => ("ns".to_owned(), format!("made{turn}")),
            Operation::Purge => ("ns".to_owned(), format!("gone{turn}")),
            Operation::Drop => ("ns".to_owned(), format!("dropped{turn}")),
            Operation::Rename => ("ns".to_owned(), format!("to{turn}")),
            Operation::Register => ("ns".to_owned(), format!("loose{turn}")),
        };
        let (status, answer) = load(server, &namespace, &table).await;
        match operation {
            Operation::Append | Operation::AppendToNew => rows(&answer["metadata"]).contains(&(turn * 10)),
            Operation::Commit | Operation::Transaction => {
                answer["metadata"]["properties"]["turn"].as_str() == Some(&turn.to_string())
            }
            Operation::Create | Operation::Rename | Operation::Register => status == 200,
            Operation::Purge | Operation::Drop => status == 404,
        }
    }

    /// The last request was acknowledged.
    pub fn acknowledged(&mut self, operation: Operation) {
        let turn = self.turn;
        match operation {
            Operation::Append | Operation::AppendToNew => self.acknowledged.extend([turn * 10, turn * 10 + 1]),
            Operation::Commit => self.single = vec![turn],
            Operation::Transaction => self.triple = vec![turn],
            Operation::Create => self.created.push(format!("made{turn}")),
            Operation::Purge => self.purged.push(format!("gone{turn}")),
            Operation::Drop => self.purged.push(format!("dropped{turn}")),
            Operation::Rename => {
                self.created.push(format!("to{turn}"));
                self.purged.push(format!("from{turn}"));
            }
            Operation::Register => self.created.push(format!("loose{turn}")),
        }
    }

    /// The last request certainly has no effect.
    pub fn refused(&mut self, operation: Operation) {
        let turn = self.turn;
        match operation {
            Operation::Append | Operation::AppendToNew => {
                self.sent.retain(|id| id / 10 != turn);
            }
            Operation::Commit => self.single.retain(|one| *one != turn),
            Operation::Transaction => self.triple.retain(|one| *one != turn),
            Operation::Rename => {
                self.renamed.retain(|one| *one != turn);
                self.created.push(format!("from{turn}"));
            }
            Operation::Drop => self.created.push(format!("dropped{turn}")),
            Operation::Register => self.purged.push(format!("loose{turn}")),
            Operation::Create | Operation::Purge => {}
        }
    }

    /// Everything acknowledged is there once, everything that is there was asked for, every file that is named exists.
    pub async fn check(&mut self, server: &Process, what: &str) -> BTreeSet<PathBuf> {
        let mut named = BTreeSet::new();
        let mut found = Vec::new();
        for (namespace, table) in tables(server).await {
            let (status, answer) = load(server, &namespace, &table).await;
            assert_eq!(status, 200, "{what}: {namespace}.{table} does not load: {answer}");
            named.extend(reachable(&answer));
            if table == "rows" {
                found.extend(rows(&answer["metadata"]));
            }
            assert!(!self.purged.contains(&table), "{what}: {table} was purged and is there");
        }
        for file in &named {
            assert!(file.exists(), "{what}: {} is named and missing", file.display());
        }
        let distinct: BTreeSet<i64> = found.iter().copied().collect();
        assert_eq!(distinct.len(), found.len(), "{what}: a row is there twice: {found:?}");
        let lost: Vec<&i64> = self.acknowledged.difference(&distinct).collect();
        assert!(lost.is_empty(), "{what}: acknowledged rows are lost: {lost:?}");
        let unasked: Vec<&i64> = distinct.difference(&self.sent).collect();
        assert!(unasked.is_empty(), "{what}: rows are there that were refused: {unasked:?}");
        for pair in distinct.iter().filter(|id| **id > 0) {
            assert!(
                distinct.contains(&(pair ^ 1)) || pair / 10 * 10 == *pair && distinct.contains(&(pair + 1)),
                "{what}: half a request"
            );
        }
        for name in &self.created {
            assert_eq!(load(server, "ns", name).await.0, 200, "{what}: {name} was created and is gone");
        }
        for turn in &self.renamed {
            let of = async |name: &str| load(server, "ns", &format!("{name}{turn}")).await.0;
            let there = [of("from").await, of("to").await];
            assert!(matches!(there, [200, 404] | [404, 200]), "{what}: renamed in turn {turn}: {there:?}");
        }
        self.single = vec![turn_of(server, "p", &self.single, what).await];
        let first = turn_of(server, "t0", &self.triple, what).await;
        for table in ["t1", "t2"] {
            assert_eq!(turn_of(server, table, &[first], what).await, first, "{what}: a transaction is torn");
        }
        self.triple = vec![first];
        // What is there now must stay.
        self.acknowledged = distinct.clone();
        self.sent = distinct;
        named
    }

    /// The files under a folder of the warehouse.
    pub fn files(&self, folder: &str) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        walk(&self.dir.path().join("warehouse").join(folder), &mut files);
        files
    }

    /// Sooner or later nothing lies in the warehouse that no table names.
    pub async fn check_no_leftovers(&self, named: &BTreeSet<PathBuf>, what: &str) {
        let mut left = Vec::new();
        for _ in 0..250 {
            // What was dropped and not purged keeps its files.
            let kept =
                |file: &PathBuf| ["/ns/dropped", "/ns/loose"].iter().any(|of| file.to_string_lossy().contains(of));
            left = self.files("").difference(named).filter(|file| !kept(file)).cloned().collect();
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{what}: files that nobody names are left: {left:?}");
    }
}

async fn tables(server: &Process) -> Vec<(String, String)> {
    let (_, answer) = server.send("GET", "/v1/namespaces", None).await.expect("an answer");
    let mut found = Vec::new();
    for levels in answer["namespaces"].as_array().expect("a list") {
        let namespace = levels[0].as_str().expect("a name").to_owned();
        let path = format!("/v1/namespaces/{namespace}/tables");
        let (_, answer) = server.send("GET", &path, None).await.expect("an answer");
        let names = answer["identifiers"].as_array().expect("a list").iter();
        found.extend(names.map(|one| (namespace.clone(), one["name"].as_str().expect("a name").to_owned())));
    }
    found
}

async fn load(server: &Process, namespace: &str, table: &str) -> (u16, Value) {
    let path = format!("/v1/namespaces/{namespace}/tables/{table}");
    server.send("GET", &path, None).await.expect("an answer")
}

async fn turn_of(server: &Process, table: &str, allowed: &[i64], what: &str) -> i64 {
    let (_, answer) = load(server, "ns", table).await;
    let turn = answer["metadata"]["properties"]["turn"].as_str().and_then(|text| text.parse().ok());
    let turn = turn.expect("the property");
    assert!(allowed.contains(&turn), "{what}: {table} is at {turn}, expected one of {allowed:?}");
    turn
}

fn local(location: &str) -> PathBuf {
    PathBuf::from(location.trim_start_matches("file://"))
}

fn bytes(location: &str) -> Vec<u8> {
    std::fs::read(local(location)).unwrap_or_else(|error| panic!("{location}: {error}"))
}

/// Every file that a loaded table names.
fn reachable(answer: &Value) -> BTreeSet<PathBuf> {
    let text = |value: &Value| value.as_str().expect("a location").to_owned();
    let metadata = &answer["metadata"];
    let mut named = vec![text(&answer["metadata-location"])];
    let log = metadata["metadata-log"].as_array().into_iter().flatten();
    named.extend(log.map(|entry| text(&entry["metadata-file"])));
    for snapshot in metadata["snapshots"].as_array().into_iter().flatten() {
        let list = text(&snapshot["manifest-list"]);
        for manifest in manifests_of(&bytes(&list)).expect("a manifest list") {
            named.extend(files_of(&bytes(&manifest)).expect("a manifest"));
            named.push(manifest);
        }
        named.push(list);
    }
    named.iter().map(|location| local(location)).collect()
}

/// The ids in the files of the current snapshot.
fn rows(metadata: &Value) -> Vec<i64> {
    let current = &metadata["current-snapshot-id"];
    let snapshots = metadata["snapshots"].as_array().into_iter().flatten();
    let mut ids = Vec::new();
    for snapshot in snapshots.filter(|snapshot| snapshot["snapshot-id"] == *current) {
        let list = snapshot["manifest-list"].as_str().expect("a list");
        for manifest in manifests_of(&bytes(list)).expect("a manifest list") {
            for file in files_of(&bytes(&manifest)).expect("a manifest") {
                let file = std::fs::File::open(local(&file)).expect("a data file");
                let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("Parquet");
                for batch in reader {
                    let batch = batch.expect("rows");
                    let column = batch.column_by_name("id").expect("the column").as_primitive::<Int64Type>();
                    ids.extend((0..column.len()).map(|row| column.value(row)));
                }
            }
        }
    }
    ids
}

fn walk(folder: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.insert(path);
        }
    }
}
