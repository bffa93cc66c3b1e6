//! Table properties that mean something here, and what a value of each must look like.
//!
//! A malformed value is refused when we create the table, and when ingest meets one. Commits of engines are not refused
//! for it: the property may be theirs.

use indexmap::IndexMap;

use super::version_hint;
use crate::error::{Error, Result};

/// What a property's value must be.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Bool,
    /// A whole number from this one on.
    Whole(i64),
    /// A fraction strictly between 0 and 1.
    Fraction,
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    /// A metrics mode: `none`, `counts`, `full` or `truncate(n)`.
    Metrics,
}

const CODECS: &[&str] = &["none", "uncompressed", "snappy", "gzip", "lz4", "zstd", "brotli"];
const METADATA_CODECS: &[&str] = &["none", "gzip"];
const MODES: &[&str] = &["copy-on-write", "merge-on-read"];

/// Exact names.
const KNOWN: &[(&str, Shape)] = &[
    ("commit.manifest-merge.enabled", Shape::Bool),
    ("commit.manifest.min-count-to-merge", Shape::Whole(1)),
    ("commit.manifest.target-size-bytes", Shape::Whole(1)),
    ("commit.retry.max-wait-ms", Shape::Whole(0)),
    ("commit.retry.min-wait-ms", Shape::Whole(0)),
    ("commit.retry.num-retries", Shape::Whole(0)),
    ("commit.retry.total-timeout-ms", Shape::Whole(0)),
    (version_hint::PROPERTY, Shape::Bool),
    ("floeberg.ingest.linger-ms", Shape::Whole(0)),
    ("floeberg.ingest.max-columns", Shape::Whole(1)),
    ("floeberg.ingest.max-delay-ms", Shape::Whole(0)),
    ("floeberg.ingest.min-commit-interval-ms", Shape::Whole(0)),
    ("floeberg.ingest.target-bytes", Shape::Whole(1)),
    ("floeberg.ingest.on-error", Shape::Word(&["abort", "skip", "dlq"])),
    ("floeberg.ingest.rejected-days", Shape::Whole(0)),
    ("floeberg.ingest.schema", Shape::Word(&["strict", "add-columns", "full"])),
    ("floeberg.ingest.unknown-fields", Shape::Word(&["add", "refuse", "ignore", "capture"])),
    ("floeberg.maintenance.snapshots.max-count", Shape::Whole(1)),
    ("gc.enabled", Shape::Bool),
    ("history.expire.max-ref-age-ms", Shape::Whole(1)),
    ("history.expire.max-snapshot-age-ms", Shape::Whole(1)),
    ("history.expire.min-snapshots-to-keep", Shape::Whole(1)),
    ("write.delete.mode", Shape::Word(MODES)),
    ("write.format.default", Shape::Word(&["parquet", "avro", "orc"])),
    ("write.manifest.compression-codec", Shape::Word(&["none", "uncompressed", "gzip", "snappy", "zstd"])),
    ("write.merge.mode", Shape::Word(MODES)),
    ("write.metadata.compression-codec", Shape::Word(METADATA_CODECS)),
    ("write.metadata.delete-after-commit.enabled", Shape::Bool),
    ("write.metadata.metrics.default", Shape::Metrics),
    ("write.metadata.metrics.max-inferred-column-defaults", Shape::Whole(0)),
    ("write.metadata.previous-versions-max", Shape::Whole(1)),
    ("write.object-storage.enabled", Shape::Bool),
    ("write.object-storage.partitioned-paths", Shape::Bool),
    ("write.parquet.bloom-filter-max-bytes", Shape::Whole(1)),
    ("write.parquet.compression-codec", Shape::Word(CODECS)),
    ("write.parquet.compression-level", Shape::Whole(i64::MIN)),
    ("write.parquet.dict-size-bytes", Shape::Whole(1)),
    ("write.parquet.page-row-limit", Shape::Whole(1)),
    ("write.parquet.page-size-bytes", Shape::Whole(1)),
    ("write.parquet.row-group-size-bytes", Shape::Whole(1)),
    ("write.target-file-size-bytes", Shape::Whole(1)),
    ("write.update.mode", Shape::Word(MODES)),
    ("write.wap.enabled", Shape::Bool),
];

/// Names that end in a column's name.
const KNOWN_PREFIXES: &[(&str, Shape)] = &[
    ("write.metadata.metrics.column.", Shape::Metrics),
    ("write.parquet.bloom-filter-enabled.column.", Shape::Bool),
    ("write.parquet.bloom-filter-fpp.column.", Shape::Fraction),
    ("write.parquet.bloom-filter-ndv.column.", Shape::Whole(1)),
    ("write.parquet.dict-encoding-enabled.column.", Shape::Bool),
    ("write.parquet.stats-enabled.column.", Shape::Bool),
];

/// Checks every property known here; the error names the first that is malformed, its value and what is expected.
pub fn check(properties: &IndexMap<String, String>) -> Result<()> {
    for (key, value) in properties {
        let Some(shape) = shape_of(key) else { continue };
        if let Some(expected) = shape.expects(value) {
            return Err(Error::illegal(format!("Property {key:?} cannot be {value:?}: expected {expected}")));
        }
    }
    Ok(())
}

/// Whether a boolean property is set; malformed and absent ones are `default`.
pub fn flag(properties: &IndexMap<String, String>, key: &str, default: bool) -> bool {
    properties.get(key).and_then(|value| value.to_ascii_lowercase().parse().ok()).unwrap_or(default)
}

/// A whole number; malformed and absent ones are `default`.
pub fn whole(properties: &IndexMap<String, String>, key: &str, default: i64) -> i64 {
    properties.get(key).and_then(|value| value.trim().parse().ok()).unwrap_or(default)
}

fn shape_of(key: &str) -> Option<Shape> {
    let exact = KNOWN.iter().find(|(name, _)| *name == key);
    let known = exact.or_else(|| KNOWN_PREFIXES.iter().find(|(prefix, _)| key.starts_with(prefix)));
    known.map(|(_, shape)| *shape)
}

impl Shape {
    /// What is expected instead, where the value does not fit.
    fn expects(self, value: &str) -> Option<String> {
        let lower = value.to_ascii_lowercase();
        match self {
            Self::Bool => (!matches!(lower.as_str(), "true" | "false")).then(|| "true or false".to_owned()),
            Self::Whole(least) => {
                let fits = value.trim().parse::<i64>().is_ok_and(|number| number >= least);
                let text = if least == i64::MIN { String::new() } else { format!(" of at least {least}") };
                (!fits).then(|| format!("a whole number{text}"))
            }
            Self::Fraction => {
                let fits = value.trim().parse::<f64>().is_ok_and(|number| number > 0.0 && number < 1.0);
                (!fits).then(|| "a number between 0 and 1".to_owned())
            }
            // Nothing said: Trino sends the codec of a table that names none so, and takes it off again.
            Self::Word(_) if value.is_empty() => None,
            Self::Word(words) => (!words.contains(&lower.as_str())).then(|| format!("one of {}", words.join(", "))),
            Self::Metrics => (!is_metrics_mode(&lower)).then(|| "none, counts, full or truncate(n)".to_owned()),
        }
    }
}

fn is_metrics_mode(text: &str) -> bool {
    let width = text.strip_prefix("truncate(").and_then(|rest| rest.strip_suffix(')'));
    matches!(text, "none" | "counts" | "full") || width.is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> IndexMap<String, String> {
        IndexMap::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn malformed_values_are_named() {
        for (key, good, bad) in [
            ("gc.enabled", "True", "yes"),
            ("commit.retry.num-retries", "4", "abc"),
            ("write.metadata.previous-versions-max", "1", "0"),
            ("write.parquet.compression-codec", "ZSTD", "zip"),
            ("write.metadata.metrics.column.a.b", "truncate(8)", "truncate()"),
            ("write.parquet.bloom-filter-fpp.column.id", "0.05", "1"),
        ] {
            assert!(check(&one(key, good)).is_ok(), "{key}={good}");
            let error = check(&one(key, bad)).expect_err("malformed");
            assert!(error.message().contains(key) && error.message().contains(bad), "{error}");
        }
        assert!(check(&one("owner", "anything")).is_ok());
        assert!(check(&one("write.parquet.compression-codec", "")).is_ok(), "nothing said");
    }
}
