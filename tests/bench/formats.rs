//! The same rows in every format, in rows and bytes per CPU-second of the server; and the command that pushes a large file
//! beside DuckDB that copies it to Parquet.

use std::io::Write;
use std::process::Command;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow_avro::writer::AvroWriter;
use serde_json::{Value, json};

use super::ingest::{self, NDJSON};
use super::load::{self, Push};
use super::process::{self, Server};

/// Rows that are made of each row at the door.
fn rules() -> Value {
    json!([
        {"op": "derive", "column": "date", "from": "time", "as": "date"},
        {"op": "derive", "column": "hour", "from": "time", "as": "hour"},
        {"op": "limit", "column": "tailnum", "chars": 4},
        {"op": "default", "column": "air_time", "value": 0},
    ])
}

/// Rows and bytes per CPU-second of the server, in bodies of about 16 MB of NDJSON in each format.
pub fn formats() {
    let server = Server::fresh();
    let body = ingest::body(16 << 20);
    for table in ["t", "ruled"] {
        load::push(
            server.address(),
            &Push { path: &format!("/ingest/v1/ns/{table}"), kind: NDJSON, body: &body },
            1,
            1,
        );
    }
    let path = "/manage/v1/namespaces/ns/tables/ruled/ingest-rules";
    let put = process::post(path, &rules().to_string(), "close").replacen("POST", "PUT", 1);
    server.request(&put);
    let schema = ingest::schema_of_any_file(&server.dir().join("floeberg-data/warehouse/ns/t/data"));
    let batches = ingest::decoded(&body, &schema);
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let alone = load::own_cpu_rate(|| ingest::encoded(&batches), 2.0) * rows as f64;
    println!("encoding alone (Parquet, zstd 1), in memory          {alone:>9.0} rows/CPU-s");
    let lines: Vec<Value> = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    let (csv, tsv) = (cells(&lines, ","), cells(&lines, "\t"));
    let (avro, events) = (avro(&batches), events(&lines));
    let (arrow, parquet) = (ingest::stream(&batches), ingest::file(&batches));
    for (name, path, kind, body) in [
        ("NDJSON", "/ingest/v1/ns/t", NDJSON, &body),
        ("NDJSON, four rules", "/ingest/v1/ns/ruled", NDJSON, &body),
        ("CSV", "/ingest/v1/ns/t", "text/csv", &csv),
        ("TSV", "/ingest/v1/ns/t", "text/tab-separated-values", &tsv),
        ("Avro", "/ingest/v1/ns/t", "application/avro", &avro),
        ("Arrow", "/ingest/v1/ns/t", "application/vnd.apache.arrow.stream", &arrow),
        ("Parquet", "/ingest/v1/ns/t", "application/vnd.apache.parquet", &parquet),
        ("CloudEvents", "/ingest/v1/ns/events", "application/cloudevents-batch+json", &events),
    ] {
        report(&server, name, &Push { path, kind, body }, rows, alone);
    }
}

fn report(server: &Server, name: &str, push: &Push<'_>, rows: usize, alone: f64) {
    load::push(server.address(), push, 1, 2);
    let count = 1_500_000_usize.div_ceil(rows);
    let served = load::served_per_cpu_second(server.pid(), || {
        load::push(server.address(), push, 2, count);
        count as f64
    });
    let (per_rows, bytes) = (served * rows as f64, push.body.len() as f64);
    println!(
        "{name:<20} in bodies of {:>5.1} MB   {per_rows:>9.0} rows/CPU-s  {:>6.1} MB/CPU-s   {:.2} of encoding alone",
        bytes / 1e6,
        served * bytes / 1e6,
        per_rows / alone,
    );
}

/// Lines of cells, the names first.
fn cells(lines: &[Value], delimiter: &str) -> Vec<u8> {
    let names: Vec<&String> = lines[0].as_object().expect("an object").keys().collect();
    let mut text = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(delimiter);
    for line in lines {
        let cell = |name: &&String| match &line[name.as_str()] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        text.push('\n');
        text.push_str(&names.iter().map(cell).collect::<Vec<_>>().join(delimiter));
    }
    text.push('\n');
    text.into_bytes()
}

fn avro(batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = AvroWriter::new(&mut bytes, (*batches[0].schema()).clone()).expect("a writer");
    batches.iter().for_each(|batch| writer.write(batch).expect("written"));
    writer.finish().expect("finished");
    drop(writer);
    bytes
}

fn events(lines: &[Value]) -> Vec<u8> {
    let event = |(at, line): (usize, &Value)| json!({"specversion": "1.0", "id": at.to_string(), "source": "/flights", "type": "flight", "time": line["time"], "data": line});
    // As many bytes as are allowed.
    Value::from(lines.iter().enumerate().take(60_000).map(event).collect::<Vec<_>>()).to_string().into_bytes()
}

/// Bytes of the file that is pushed.
const FILE_BYTES: u64 = 1_000_000_000;

/// `floeberg ingest` of a file of NDJSON, client and server together, beside DuckDB that copies it to Parquet.
pub fn command() {
    let server = Server::fresh();
    let (file, copy) = (server.dir().join("flights.ndjson"), server.dir().join("flights.parquet"));
    let body = ingest::body(16 << 20);
    let mut out = std::fs::File::create(&file).expect("a file");
    let mut written = 0;
    while written < FILE_BYTES {
        out.write_all(&body).expect("written");
        written += body.len() as u64;
    }
    drop(out);
    let Some(python) = process::python() else { return println!("floeberg ingest: DuckDB is not at hand") };
    let megabytes = written as f64 / 1e6;
    let before = load::cpu_seconds(server.pid());
    let started = Instant::now();
    let script = format!(
        "import resource, subprocess\n\
        subprocess.run([{:?}, 'ingest', '--url', 'http://{}', '--table', 'ns.pushed', {:?}], check=True, stdout=subprocess.DEVNULL)\n\
        used = resource.getrusage(resource.RUSAGE_CHILDREN)\nprint(used.ru_utime + used.ru_stime)\n",
        env!("CARGO_BIN_EXE_floeberg"),
        server.address(),
        file.display().to_string(),
    );
    let client = seconds_of(&python, &script);
    let (took, cpu) = (started.elapsed().as_secs_f64(), client + load::cpu_seconds(server.pid()) - before);
    let started = Instant::now();
    let script = format!(
        "import time, duckdb\nstarted = time.process_time()\n\
        duckdb.sql(\"COPY (SELECT * FROM read_ndjson_auto('{}')) TO '{}' (FORMAT parquet, COMPRESSION zstd)\")\n\
        print(time.process_time() - started)\n",
        file.display(),
        copy.display(),
    );
    let copied = seconds_of(&python, &script);
    let copy_took = started.elapsed().as_secs_f64();
    println!(
        "floeberg ingest of {megabytes:.0} MB   {took:>6.1} s  {:>6.1} MB/s   {cpu:>6.1} CPU-s (command {client:.1})",
        megabytes / took
    );
    println!(
        "DuckDB COPY to Parquet        {copy_took:>6.1} s  {:>6.1} MB/s   {copied:>6.1} CPU-s",
        megabytes / copy_took
    );
    println!("ratio of times {:.2}, of CPU-seconds {:.2}", copy_took / took, copied / cpu);
}

/// What a script prints, which is a number.
fn seconds_of(python: &std::path::Path, script: &str) -> f64 {
    let ran = Command::new(python).arg("-c").arg(script).output().expect("runs");
    if !ran.status.success() {
        println!("{}", String::from_utf8_lossy(&ran.stderr));
    }
    String::from_utf8(ran.stdout)
        .ok()
        .and_then(|text| text.lines().last().and_then(|line| line.trim().parse().ok()))
        .unwrap_or(f64::NAN)
}
