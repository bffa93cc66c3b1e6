//! Rows in, per CPU-second of the server, against the loop in memory that does the same work and nothing else.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::ipc::writer::StreamWriter;
use arrow_json::ReaderBuilder;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::load::{self, Push};
use super::process::{Bare, Server};

/// Rows that the loop decodes at once.
const BATCH_ROWS: usize = 8_192;

/// The flights of the demo, over and over, as one body of at least so many bytes.
pub fn body(least: usize) -> Vec<u8> {
    let mut flights = Vec::new();
    let packed: &[u8] = include_bytes!("../../src/demo/flights.ndjson.gz");
    flate2::read::GzDecoder::new(packed).read_to_end(&mut flights).expect("the flights");
    flights.repeat(least.div_ceil(flights.len()))
}

/// One flight.
pub fn one_row() -> Vec<u8> {
    body(1).split_inclusive(|byte| *byte == b'\n').next().expect("a line").to_vec()
}

pub const NDJSON: &str = "application/x-ndjson";

/// Rows per CPU-second of the server, in bodies of each format.
pub fn ingest() {
    let server = Server::fresh();
    for (least, name, connections) in [(1 << 20, "small", 8), (16 << 20, "large", 4)] {
        let body = body(least);
        let table = format!("ns/{name}");
        let push = Push { path: &format!("/ingest/v1/{table}"), kind: NDJSON, body: &body };
        load::push(server.address(), &push, 1, 1);
        let schema = schema_of_any_file(&server.dir().join(format!("floeberg-data/warehouse/{table}/data")));
        let batches = decoded(&body, &schema);
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let alone = load::own_cpu_rate(|| encoded(&decoded(&body, &schema)), 2.0);
        let from = (&server, connections);
        report(from, "NDJSON", &push, rows, (alone, 0.7));
        let alone = load::own_cpu_rate(|| encoded(&batches), 2.0);
        let (arrow, parquet) = (stream(&batches), file(&batches));
        let kind = "application/vnd.apache.arrow.stream";
        report(from, "Arrow", &Push { kind, body: &arrow, ..push }, rows, (alone, 0.7));
        let kind = "application/vnd.apache.parquet";
        report(from, "Parquet", &Push { kind, body: &parquet, ..push }, rows, (alone, 0.5));
    }
    println!("memory after the bodies  {:.1} MB", server.resident_mb());
}

/// Bodies from so many connections at once. `alone`: how often a CPU-second does the work of one body and nothing else, and
/// the share of it that is aimed at.
fn report(
    (server, connections): (&Server, usize),
    format: &str,
    push: &Push<'_>,
    rows: usize,
    (alone, goal): (f64, f64),
) {
    load::push(server.address(), push, connections, 2 * connections);
    let count = 6_000_000_usize.div_ceil(rows);
    let served = load::served_per_cpu_second(server.pid(), || {
        load::push(server.address(), push, connections, count);
        count as f64
    });
    let bytes = push.body.len() as f64;
    println!(
        "{format:<8} in bodies of {:>5.1} MB, {connections} at once   {:>9.0} rows/CPU-s {:>6.1} MB/CPU-s   loop in memory {:>9.0} rows/CPU-s  ratio {:.2}   (goal >= {goal:.2})",
        bytes / 1e6,
        served * rows as f64,
        served * bytes / 1e6,
        alone * rows as f64,
        served / alone
    );
}

/// Requests of one row from many connections at once, beside a bare route that takes the same and answers the same.
pub fn small() {
    let server = Server::fresh();
    let row = one_row();
    let push = Push { path: "/ingest/v1/ns/one", kind: NDJSON, body: &row };
    let logged = Push { path: "/ingest/v1/ns/one?ack=wal", ..push };
    let answer = br#"{"rows":{"received":1,"written":1,"rejected":0,"duplicate":0},"tables":[{"table":"ns.one","snapshot_id":6049603647058334673,"sequence_number":1,"files":1}],"ack":"commit","duplicate":false,"errors":[],"errors_truncated":false}"#;
    let bare = Bare::start(answer);
    let bare_push = Push { path: "/", ..push };
    for (name, address, pid, push, count) in [
        ("bare route", bare.address(), bare.pid(), &bare_push, 400_000),
        ("ack=commit", server.address(), server.pid(), &push, 100_000),
        ("ack=wal   ", server.address(), server.pid(), &logged, 300_000),
    ] {
        load::push_from_one_thread(address, push, CONNECTIONS, count / 10);
        let mut took = Vec::new();
        let served = load::served_per_cpu_second(pid, || {
            took = load::push_from_one_thread(address, push, CONNECTIONS, count);
            count as f64
        });
        let at = |percent: usize| took[took.len() * percent / 100] * 1e3;
        println!("one row, {name}   {served:>8.0}/CPU-s   p50 {:.1} ms  p99 {:.1} ms", at(50), at(99));
    }
}

/// The same rows in bodies of a thousand, one after another, pushed and beside it appended by PyIceberg, which reads each
/// body and commits through this server: CPU-seconds of client and server together.
pub fn bodies() {
    let text = body(1);
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let body: Vec<u8> = lines.iter().cycle().take(1_000).flat_map(|line| line.iter().copied()).collect();
    let server = Server::fresh();
    let push = Push { path: "/ingest/v1/ns/pushed", kind: NDJSON, body: &body };
    load::push(server.address(), &push, 1, 1);
    let own = std::process::id();
    let both = || load::cpu_seconds(own) + load::cpu_seconds(server.pid());
    let before = both();
    load::push(server.address(), &push, 1, BODIES);
    let pushed = both() - before;
    let file = server.dir().join("body.ndjson");
    std::fs::write(&file, &body).expect("written");
    let before = load::cpu_seconds(server.pid());
    let Some(client) = pyiceberg(&server, &file) else {
        return println!("bodies of 1000 rows: PyIceberg is not at hand");
    };
    let appended = client + load::cpu_seconds(server.pid()) - before;
    println!(
        "{BODIES} bodies of 1000 rows   pushed {pushed:.2} CPU-s   PyIceberg {appended:.2} CPU-s   ratio {:.1}   (goal >= 3.0)",
        appended / pushed
    );
}

/// Bodies that each of them sends.
const BODIES: usize = 200;

/// CPU-seconds of PyIceberg that appends a body over and over.
fn pyiceberg(server: &Server, body: &Path) -> Option<f64> {
    let script = format!(
        "import io, time\n\
        import pyarrow.json as reader\n\
        from pyiceberg.catalog import load_catalog\n\
        catalog = load_catalog('c', type='rest', uri='http://{}')\n\
        schema = catalog.load_table('ns.pushed').schema().as_arrow()\n\
        table = catalog.create_table('ns.appended', schema)\n\
        body = open('{}', 'rb').read()\n\
        options = reader.ParseOptions(explicit_schema=schema)\n\
        started = time.process_time()\n\
        for _ in range({BODIES}):\n    \
            table.append(reader.read_json(io.BytesIO(body), parse_options=options).cast(schema))\n\
        print(time.process_time() - started)\n",
        server.address(),
        body.display(),
    );
    let ran = Command::new(super::process::python()?).arg("-c").arg(script).output().ok()?;
    if !ran.status.success() {
        println!("{}", String::from_utf8_lossy(&ran.stderr));
    }
    String::from_utf8(ran.stdout).ok()?.trim().parse().ok()
}

/// Connections that push rows one by one.
const CONNECTIONS: usize = 256;

pub fn schema_of_any_file(folder: &Path) -> SchemaRef {
    let file = find(folder).expect("a data file");
    let file = std::fs::File::open(file).expect("a data file");
    Arc::clone(ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").schema())
}

fn find(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    entries.into_iter().find_map(|path| if path.is_dir() { find(&path) } else { Some(path) })
}

/// arrow-json's tape decoder.
pub fn decoded(body: &[u8], schema: &SchemaRef) -> Vec<RecordBatch> {
    let mut decoder =
        ReaderBuilder::new(Arc::clone(schema)).with_batch_size(BATCH_ROWS).build_decoder().expect("a decoder");
    let mut batches = Vec::new();
    let mut rest = body;
    loop {
        let read = decoder.decode(rest).expect("JSON");
        rest = &rest[read..];
        let Some(batch) = decoder.flush().expect("rows") else { return batches };
        batches.push(batch);
    }
}

/// A Parquet writer with zstd(1).
pub fn encoded(batches: &[RecordBatch]) {
    assert!(!file(batches).is_empty());
}

pub fn file(batches: &[RecordBatch]) -> Vec<u8> {
    let level = ZstdLevel::try_new(1).expect("a level");
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let out = Cursor::new(Vec::new());
    let mut writer = ArrowWriter::try_new(out, batches[0].schema(), Some(properties)).expect("a writer");
    batches.iter().for_each(|batch| writer.write(batch).expect("written"));
    writer.into_inner().expect("closed").into_inner()
}

pub fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batches[0].schema()).expect("a writer");
    batches.iter().for_each(|batch| writer.write(batch).expect("written"));
    writer.finish().expect("finished");
    drop(writer);
    bytes
}
