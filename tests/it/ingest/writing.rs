//! Data files as the table wants them: codecs, sizes, filters and what manifests say of them.

use std::fs::File;

use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};

use super::{problem, push};
use crate::kit::{Server, schema};

/// A table `ns.t` with these properties.
async fn table(server: &Server, name: &str, properties: Value) {
    let body = json!({"name": name, "schema": schema(), "properties": properties});
    server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
}

/// What the plan says of each live file, and the file itself.
async fn files(server: &Server, name: &str) -> Vec<(Value, SerializedFileReader<File>)> {
    let ask = json!({"stats-fields": ["id", "name"]});
    let plan = server.post(&format!("/v1/namespaces/ns/tables/{name}/plan"), &ask).await.expect(200).json();
    let file = |task: &Value| {
        let path = task["data-file"]["file-path"].as_str().expect("text").trim_start_matches("file://").to_owned();
        let reader = SerializedFileReader::new(File::open(path).expect("the file")).expect("Parquet");
        (task["data-file"].clone(), reader)
    };
    plan["file-scan-tasks"].as_array().expect("a list").iter().map(file).collect()
}

/// So many rows with names that repeat seldom.
fn lines(rows: usize) -> String {
    (0..rows).map(|id| format!("{{\"id\":{id},\"name\":\"name-{:x}\"}}\n", id.wrapping_mul(2_654_435_761))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_is_written() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    for codec in ["none", "snappy", "gzip", "lz4", "zstd", "brotli"] {
        table(&server, codec, json!({"write.parquet.compression-codec": codec})).await;
        push(&server, &format!("ns/{codec}"), &lines(100)).await.expect(200);
        let (_, reader) = files(&server, codec).await.pop().expect("a file");
        let written = reader.metadata().row_group(0).column(0).compression();
        let named = match written {
            Compression::UNCOMPRESSED => "none",
            Compression::SNAPPY => "snappy",
            Compression::GZIP(_) => "gzip",
            Compression::LZ4_RAW => "lz4",
            Compression::ZSTD(_) => "zstd",
            Compression::BROTLI(_) => "brotli",
            _ => "another",
        };
        assert_eq!(named, codec, "{written}");
        assert_eq!(super::rows(&server, codec).await.len(), 100);
    }
    table(&server, "odd", json!({"write.parquet.compression-level": "99"})).await;
    problem(&push(&server, "ns/odd", &lines(1)).await, 422, "malformed_property", "99");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_row_groups_have_the_size_that_is_asked_for() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    table(
        &server,
        "t",
        json!({"write.target-file-size-bytes": "200000", "write.parquet.row-group-size-bytes": "100000"}),
    )
    .await;
    let answer = push(&server, "ns/t", &lines(100_000)).await.expect(200).json();
    let files = files(&server, "t").await;
    assert_eq!(answer["tables"][0]["files"], files.len());
    assert!(files.len() > 2, "{} files", files.len());
    let rows: i64 = files.iter().map(|(file, _)| file["record-count"].as_i64().expect("a number")).sum();
    assert_eq!(rows, 100_000);
    for (file, reader) in &files {
        let size = file["file-size-in-bytes"].as_i64().expect("a number");
        assert!(size < 600_000, "{size}");
        assert_eq!(reader.metadata().file_metadata().num_rows(), file["record-count"].as_i64().expect("a number"));
    }
    assert!(files.iter().any(|(_, reader)| reader.metadata().num_row_groups() > 1));
    table(&server, "tiny", json!({"write.target-file-size-bytes": "1"})).await;
    push(&server, "ns/tiny", &lines(3)).await.expect(200);
    let counts: Vec<i64> = self::files(&server, "tiny")
        .await
        .iter()
        .map(|(file, _)| file["record-count"].as_i64().expect("a number"))
        .collect();
    assert_eq!(counts, [3], "no file is without rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_statistics_are_as_the_table_says() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let properties = json!({
        "write.parquet.bloom-filter-enabled.column.name": "true",
        "write.parquet.dict-encoding-enabled.column.name": "false",
        "write.metadata.metrics.column.name": "truncate(6)",
        "write.metadata.metrics.column.id": "counts",
    });
    table(&server, "t", properties).await;
    push(&server, "ns/t", &lines(1_000)).await.expect(200);
    let (file, reader) = files(&server, "t").await.pop().expect("a file");
    let (id, name) = (reader.metadata().row_group(0).column(0), reader.metadata().row_group(0).column(1));
    assert!(id.bloom_filter_offset().is_none() && name.bloom_filter_offset().is_some());
    assert!(id.dictionary_page_offset().is_some() && name.dictionary_page_offset().is_none());
    let mut counted: Vec<i64> = serde_json::from_value(file["value-counts"]["keys"].clone()).expect("ids");
    counted.sort_unstable();
    assert_eq!(counted, [1, 2], "{file}");
    assert_eq!(file["lower-bounds"]["keys"], json!([2]), "{file}");
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
    assert_eq!(file["lower-bounds"]["values"], json!([hex("name-0")]), "{file}");
}
