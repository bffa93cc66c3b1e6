//! Scan planning in files per CPU-second of the server, beside PyIceberg's own planning of the same table.
//!
//! The table has 100 000 files in 100 manifests, one for each day, with statistics of ten columns. PyIceberg runs where
//! `scripts/e2e.sh` has put it; without it only the server is measured.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;

use floeberg::snapshot::manifest::{Layout, ListOf, write_list, write_manifest};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, FormatVersion, Literal, Struct, TableMetadata,
};
use serde_json::{Value, json};

use super::load;
use super::process::Server;

const MANIFESTS: i32 = 100;
const FILES: i32 = 1_000;

/// Prints files per CPU-second, cold and warm, of all files and of a hundredth.
pub fn plans() {
    let mut server = Server::fresh();
    make_table(&server);
    let one_day = json!({"type": "eq", "term": "day", "value": "2024-01-11"});
    let one_file = json!({"type": "eq", "term": "c3", "value": 42_000_500});
    for (name, filter, kind) in
        [("all", json!(true), "All"), ("one day", one_day, "Day"), ("by statistics", one_file, "File")]
    {
        server.stop();
        server.start();
        let mut files = 0;
        let mut rate = |times: usize| {
            load::served_per_cpu_second(server.pid(), || {
                (0..times).for_each(|_| files = follow(&server, &filter));
                (files * times) as f64
            })
        };
        let (cold, warm) = (rate(1), rate(if kind == "Day" { 50 } else { 3 }));
        let scanned = if kind == "File" { f64::from(MANIFESTS * FILES) / files.max(1) as f64 } else { 1.0 };
        print!(
            "plan {name:<14} {files:>6} files  cold {:>9.0}  warm {:>9.0} files/CPU-s",
            cold * scanned,
            warm * scanned
        );
        match pyiceberg(&server, kind) {
            Some((found, seconds)) => {
                assert_eq!(found, files, "both plan the same");
                let theirs = found as f64 * scanned / seconds;
                println!(
                    "  PyIceberg {theirs:>9.0}  ratio cold {:.1} warm {:.1}",
                    cold * scanned / theirs,
                    warm * scanned / theirs
                );
            }
            None => println!("  PyIceberg is not at hand"),
        }
    }
    println!("memory after plans       {:.1} MB", server.resident_mb());
}

/// Plans and follows every task; returns how many files there were.
fn follow(server: &Server, filter: &Value) -> usize {
    let ask = |path: &str, body: &Value| -> Value {
        let answer = server.post(&format!("/v1/namespaces/ns/tables/t/{path}"), body);
        serde_json::from_slice(&answer).expect("JSON")
    };
    let mut files = 0;
    let mut take = |answer: &Value| {
        files += answer["file-scan-tasks"].as_array().map_or(0, Vec::len);
        answer["plan-tasks"].as_array().cloned().unwrap_or_default()
    };
    let mut waiting = take(&ask("plan", &json!({"filter": filter})));
    while let Some(task) = waiting.pop() {
        waiting.extend(take(&ask("tasks", &json!({"plan-task": task}))));
    }
    files
}

/// Files that PyIceberg plans, and its CPU-seconds.
fn pyiceberg(server: &Server, kind: &str) -> Option<(usize, f64)> {
    let python = super::process::python()?;
    let script = format!(
        "import time\n\
        from pyiceberg.catalog import load_catalog\n\
        from pyiceberg.expressions import AlwaysTrue, EqualTo\n\
        table = load_catalog('c', type='rest', uri='http://{}').load_table('ns.t')\n\
        filters = {{'All': AlwaysTrue(), 'Day': EqualTo('day', '2024-01-11'), 'File': EqualTo('c3', 42000500)}}\n\
        started = time.process_time()\n\
        found = len(list(table.scan(row_filter=filters['{kind}']).plan_files()))\n\
        print(found, time.process_time() - started)\n",
        server.address()
    );
    let ran = Command::new(python).arg("-c").arg(script).output().ok().filter(|ran| ran.status.success())?;
    let text = String::from_utf8(ran.stdout).ok()?;
    let (found, seconds) = text.trim().split_once(' ')?;
    Some((found.parse().ok()?, seconds.parse().ok()?))
}

#[tokio::main]
async fn make_table(server: &Server) {
    let mut fields = vec![json!({"id": 1, "name": "day", "required": false, "type": "date"})];
    fields.extend((2..=10).map(|id| json!({"id": id, "name": format!("c{id}"), "required": false, "type": "long"})));
    let spec = json!({"fields": [{"source-id": 1, "name": "day", "transform": "identity"}]});
    let body = json!({"name": "t", "schema": {"type": "struct", "fields": fields}, "partition-spec": spec});
    let made: Value = serde_json::from_slice(&server.post("/v1/namespaces/ns/tables", &body)).expect("JSON");
    let metadata: TableMetadata = serde_json::from_value(made["metadata"].clone()).expect("metadata");
    let layout = Layout {
        version: FormatVersion::V2,
        schema: Arc::clone(metadata.current_schema()),
        spec: metadata.default_partition_spec().as_ref().clone(),
    };
    let folder = metadata.location().to_owned();
    let mut manifests = Vec::new();
    for number in 0..MANIFESTS {
        let path = format!("{folder}/metadata/{number}.avro");
        let files = (0..FILES).map(|file| data_file(&folder, number, file)).collect();
        let (manifest, bytes) = write_manifest(&layout, &path, 1, files, Vec::new()).await.expect("a manifest");
        std::fs::write(path.trim_start_matches("file://"), bytes).expect("written");
        manifests.push(manifest);
    }
    let of = ListOf { version: FormatVersion::V2, snapshot_id: 1, parent: None, sequence_number: 1, next_row_id: 0 };
    let list = write_list(of, manifests).await.expect("a list");
    let path = format!("{folder}/metadata/snap-1.avro");
    std::fs::write(path.trim_start_matches("file://"), &list.bytes).expect("written");
    let snapshot = json!({"snapshot-id": 1, "sequence-number": 1, "timestamp-ms": 1_900_000_000_000_i64,
        "manifest-list": path, "schema-id": 0, "summary": {"operation": "append"}});
    let updates = json!([{"action": "add-snapshot", "snapshot": snapshot},
        {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 1}]);
    server.post("/v1/namespaces/ns/tables/t", &json!({"requirements": [], "updates": updates}));
}

fn data_file(folder: &str, manifest: i32, file: i32) -> DataFile {
    let day = 19_723 + manifest;
    let first = i64::from(manifest * FILES + file) * 1_000;
    let each = |of: i64| -> HashMap<i32, Datum> {
        let longs = (2..=10).map(|id| (id, Datum::long(of)));
        longs.chain([(1, Datum::date(day))]).collect()
    };
    let counts = |of: u64| (1..=10).map(|id| (id, of)).collect::<HashMap<i32, u64>>();
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(format!("{folder}/data/day={day}/{file:05}-0d8f1d8e-4d2b-4b7a-9c3e-1f2a3b4c5d6e.parquet"))
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::date(day))]))
        .record_count(1_000)
        .file_size_in_bytes(100_000)
        .column_sizes(counts(10_000))
        .value_counts(counts(1_000))
        .null_value_counts(counts(0))
        .lower_bounds(each(first))
        .upper_bounds(each(first + 999))
        .build()
        .expect("a data file")
}
