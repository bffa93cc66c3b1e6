//! Rows in, per CPU-second of the server, against the loop in memory that does the same work and nothing else.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_json::ReaderBuilder;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::load;
use super::process::Server;

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

/// NDJSON bytes a CPU-second.
pub fn ndjson() {
    let server = Server::fresh();
    for least in [1 << 20, 16 << 20] {
        let body = body(least);
        let table = format!("ns/flights{least}");
        let path = format!("/ingest/v1/{table}");
        load::push(server.address(), &path, &body, 1, 1);
        let schema = schema_of_any_file(&server.dir().join(format!("floeberg-data/warehouse/{table}/data")));
        let alone = load::own_cpu_rate(|| loop_in_memory(&body, &schema), 2.0) * body.len() as f64;
        let count = (1 << 28) / body.len();
        let served = load::served_per_cpu_second(server.pid(), || {
            load::push(server.address(), &path, &body, 2, count);
            (count * body.len()) as f64
        });
        println!(
            "NDJSON in bodies of {:>4.1} MB   {:>6.1} MB/CPU-s  loop in memory {:>6.1} MB/CPU-s  ratio {:.2}   (goal >= 0.45)",
            body.len() as f64 / 1e6,
            served / 1e6,
            alone / 1e6,
            served / alone
        );
    }
}

fn schema_of_any_file(folder: &Path) -> SchemaRef {
    let file = find(folder).expect("a data file");
    let file = std::fs::File::open(file).expect("a data file");
    Arc::clone(ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").schema())
}

fn find(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    entries.into_iter().find_map(|path| if path.is_dir() { find(&path) } else { Some(path) })
}

/// arrow-json's tape decoder into a Parquet writer.
fn loop_in_memory(body: &[u8], schema: &SchemaRef) {
    let mut decoder =
        ReaderBuilder::new(Arc::clone(schema)).with_batch_size(BATCH_ROWS).build_decoder().expect("a decoder");
    let level = ZstdLevel::try_new(1).expect("a level");
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let out = Cursor::new(Vec::new());
    let mut writer = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties)).expect("a writer");
    let mut rest = body;
    loop {
        let read = decoder.decode(rest).expect("JSON");
        rest = &rest[read..];
        let Some(batch) = decoder.flush().expect("rows") else { break };
        writer.write(&batch).expect("written");
    }
    let out = writer.into_inner().expect("closed");
    assert!(!out.into_inner().is_empty());
}
