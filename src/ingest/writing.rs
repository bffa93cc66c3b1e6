//! How a table wants its data files written: the `write.*` properties of the format, read once for each flush.

use std::collections::HashMap;

use arrow::datatypes::Schema as ArrowSchema;
use indexmap::IndexMap;
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::catalog::metadata::schema::Schema;
use crate::catalog::metadata::spec::SortOrder;
use crate::catalog::metadata::types::Type;
use crate::catalog::properties;
use crate::error::{Error, Kind, Result};

/// What a manifest says of a column (`write.metadata.metrics.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing.
    None,
    /// How many values, nulls and NaN there are.
    Counts,
    /// The bounds too, cut to so many code points or bytes.
    Bounds(usize),
}

/// Where nothing is said.
const INFERRED: Mode = Mode::Bounds(16);

impl Mode {
    fn parse(text: &str) -> Option<Self> {
        let lower = text.trim().to_ascii_lowercase();
        match lower.as_str() {
            "none" => Some(Self::None),
            "counts" => Some(Self::Counts),
            "full" => Some(Self::Bounds(usize::MAX)),
            text => text.strip_prefix("truncate(")?.strip_suffix(')')?.parse().ok().map(Self::Bounds),
        }
    }
}

/// How the files of a flush are written.
#[derive(Debug)]
pub(super) struct Writing {
    table: IndexMap<String, String>,
    compression: Compression,
    /// Each leaf of the files: its id, the name that properties call it by, and its place in the file.
    columns: Vec<Column>,
    modes: HashMap<i32, Mode>,
    /// Bytes from which on another file is begun.
    pub(super) target_bytes: usize,
}

#[derive(Debug)]
struct Column {
    name: String,
    path: ColumnPath,
}

impl Writing {
    /// What a table says of files with these columns.
    pub(super) fn of(
        table: &IndexMap<String, String>,
        schema: &Schema,
        order: Option<&SortOrder>,
        rows: &ArrowSchema,
    ) -> Result<Self> {
        let failed =
            |error: parquet::errors::ParquetError| Error::internal("Columns fit no Parquet file").because(error);
        let described = ArrowSchemaConverter::new().convert(rows).map_err(failed)?;
        let names: HashMap<i32, String> =
            schema.walk().into_iter().map(|(name, place)| (place.field.id, name)).collect();
        let column = |at: usize| {
            let column = described.column(at);
            let name = names.get(&column.self_type().get_basic_info().id())?;
            Some(Column { name: name.clone(), path: column.path().clone() })
        };
        Ok(Self {
            compression: compression(table)?,
            columns: (0..described.num_columns()).filter_map(column).collect(),
            modes: modes(table, schema, order),
            target_bytes: bytes(table, "write.target-file-size-bytes", 512 << 20),
            table: table.clone(),
        })
    }

    /// What a manifest says of a column.
    pub(super) fn mode(&self, id: i32) -> Mode {
        self.modes.get(&id).copied().unwrap_or(Mode::None)
    }

    /// What the Parquet writer is told for a file of so many rows.
    pub(super) fn parquet(&self, rows: usize) -> WriterProperties {
        let table = &self.table;
        let mut builder = WriterProperties::builder()
            .set_created_by(concat!("floeberg version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(self.compression)
            .set_data_page_size_limit(bytes(table, "write.parquet.page-size-bytes", 1 << 20))
            .set_data_page_row_count_limit(bytes(table, "write.parquet.page-row-limit", 20_000))
            .set_dictionary_page_size_limit(bytes(table, "write.parquet.dict-size-bytes", 2 << 20))
            .set_max_row_group_bytes(Some(bytes(table, "write.parquet.row-group-size-bytes", 128 << 20)));
        for column in &self.columns {
            builder = self.column(builder, column, rows);
        }
        builder.build()
    }

    fn column(&self, builder: WriterPropertiesBuilder, column: &Column, rows: usize) -> WriterPropertiesBuilder {
        let Column { name, path } = column;
        let said = |of: &str| self.table.get(&format!("write.parquet.{of}.column.{name}"));
        let flag = |of: &str| said(of).map(|value| value.eq_ignore_ascii_case("true"));
        let mut builder = builder;
        if let Some(dictionary) = flag("dict-encoding-enabled") {
            builder = builder.set_column_dictionary_enabled(path.clone(), dictionary);
        }
        if flag("stats-enabled") == Some(false) {
            builder = builder.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
        }
        if flag("bloom-filter-enabled") == Some(true) {
            let fpp = said("bloom-filter-fpp").and_then(|text| text.trim().parse().ok()).unwrap_or(0.01);
            let distinct = said("bloom-filter-ndv").and_then(|text| text.trim().parse().ok()).unwrap_or(rows as u64);
            let most = most_distinct(bytes(&self.table, "write.parquet.bloom-filter-max-bytes", 1 << 20), fpp);
            builder = builder
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path.clone(), fpp)
                .set_column_bloom_filter_ndv(path.clone(), distinct.clamp(1, most));
        }
        builder
    }
}

/// How many distinct values a split-block bloom filter of so many bytes takes at this rate of false positives.
fn most_distinct(most_bytes: usize, fpp: f64) -> u64 {
    let bits = most_bytes as f64 * 8.0;
    let distinct = -bits / 8.0 * (1.0 - fpp.powf(1.0 / 8.0)).ln();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number far below 2^53")]
    let whole = distinct as u64;
    whole.max(1)
}

fn bytes(table: &IndexMap<String, String>, key: &str, default: usize) -> usize {
    let default = i64::try_from(default).unwrap_or(i64::MAX);
    usize::try_from(properties::whole(table, key, default)).unwrap_or(usize::MAX).max(1)
}

/// The codec that a table names, with its level.
pub(super) fn compression(table: &IndexMap<String, String>) -> Result<Compression> {
    const LEVEL: &str = "write.parquet.compression-level";
    let level = table.get(LEVEL).map(|text| text.trim().parse::<i32>().unwrap_or(i32::MIN));
    let codec = table.get("write.parquet.compression-codec").map_or("zstd", String::as_str).to_ascii_lowercase();
    let refused = |error: parquet::errors::ParquetError| {
        let level = table.get(LEVEL).map_or("", String::as_str);
        let message = format!("Property {LEVEL:?} cannot be {level:?} with codec {codec:?}: change one of them");
        Error::new(Kind::Unprocessable, message).with_code("malformed_property").because(error)
    };
    let positive = |level: i32| u32::try_from(level).unwrap_or(u32::MAX);
    Ok(match codec.as_str() {
        "none" | "uncompressed" => Compression::UNCOMPRESSED,
        "snappy" => Compression::SNAPPY,
        // The frames that LZ4 itself has, which every reader of today knows; those of Hadoop are read by few.
        "lz4" => Compression::LZ4_RAW,
        "gzip" => Compression::GZIP(GzipLevel::try_new(positive(level.unwrap_or(6))).map_err(refused)?),
        "brotli" => Compression::BROTLI(BrotliLevel::try_new(positive(level.unwrap_or(1))).map_err(refused)?),
        _ => Compression::ZSTD(ZstdLevel::try_new(level.unwrap_or(1)).map_err(refused)?),
    })
}

/// What is said of each column that has values of its own. Where a table says nothing, it is the bounds, of the first hundred
/// columns; of what it is sorted by always.
fn modes(table: &IndexMap<String, String>, schema: &Schema, order: Option<&SortOrder>) -> HashMap<i32, Mode> {
    let default = table.get("write.metadata.metrics.default").and_then(|text| Mode::parse(text));
    let most = bytes(table, "write.metadata.metrics.max-inferred-column-defaults", 100);
    let sorted: Vec<i32> =
        order.iter().flat_map(|order| &order.fields).flat_map(|field| field.source.ids()).copied().collect();
    let leaves = schema.walk().into_iter().filter(|(_, place)| matches!(place.field.kind, Type::Primitive(_)));
    let mode = |(index, (name, place)): (usize, (String, crate::catalog::metadata::schema::Place<'_>))| {
        let id = place.field.id;
        let own = table.get(&format!("write.metadata.metrics.column.{name}")).and_then(|text| Mode::parse(text));
        let inferred = if index < most { INFERRED } else { Mode::None };
        let mode = match own.or(default) {
            None if sorted.contains(&id) => INFERRED,
            Some(Mode::None | Mode::Counts) if own.is_none() && sorted.contains(&id) => INFERRED,
            said => said.unwrap_or(inferred),
        };
        (id, mode)
    };
    leaves.enumerate().map(mode).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;
    use crate::ingest::decode::tests::columns_of;

    fn schema(columns: i32) -> Schema {
        let fields: Vec<serde_json::Value> = (1..=columns)
            .map(|id| json!({"id": id, "name": format!("c{id}"), "required": false, "type": "long"}))
            .collect();
        Schema::parse(&to_raw_value(&json!({"type": "struct", "fields": fields})).expect("JSON")).expect("a schema")
    }

    fn table(pairs: &[(&str, &str)]) -> IndexMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn writing(columns: i32, pairs: &[(&str, &str)]) -> Writing {
        let schema = schema(columns);
        let rows = ArrowSchema::new(columns_of(&schema));
        Writing::of(&table(pairs), &schema, None, &rows).expect("understood")
    }

    #[test]
    fn codecs_have_levels() {
        for (codec, wanted) in [
            ("none", Compression::UNCOMPRESSED),
            ("uncompressed", Compression::UNCOMPRESSED),
            ("Snappy", Compression::SNAPPY),
            ("lz4", Compression::LZ4_RAW),
            ("gzip", Compression::GZIP(GzipLevel::try_new(6).expect("a level"))),
            ("brotli", Compression::BROTLI(BrotliLevel::try_new(1).expect("a level"))),
            ("zstd", Compression::ZSTD(ZstdLevel::try_new(1).expect("a level"))),
        ] {
            assert_eq!(compression(&table(&[("write.parquet.compression-codec", codec)])).expect("known"), wanted);
        }
        let nine = table(&[("write.parquet.compression-level", "9")]);
        assert_eq!(compression(&nine).expect("known"), Compression::ZSTD(ZstdLevel::try_new(9).expect("a level")));
        for (codec, level) in [("zstd", "99"), ("gzip", "11"), ("brotli", "12"), ("zstd", "x")] {
            let asked =
                table(&[("write.parquet.compression-codec", codec), ("write.parquet.compression-level", level)]);
            let error = compression(&asked).expect_err("refused");
            assert!(error.message().contains(level) && error.message().contains(codec), "{error}");
        }
    }

    #[test]
    fn a_wide_table_has_bounds_of_its_first_columns() {
        let wide = writing(150, &[("write.metadata.metrics.column.c149", "counts")]);
        assert_eq!((wide.mode(100), wide.mode(101), wide.mode(149)), (INFERRED, Mode::None, Mode::Counts));
        let said = writing(
            150,
            &[("write.metadata.metrics.default", "truncate(4)"), ("write.metadata.metrics.column.c1", "full")],
        );
        assert_eq!((said.mode(1), said.mode(150)), (Mode::Bounds(usize::MAX), Mode::Bounds(4)));
        assert_eq!(writing(3, &[("write.metadata.metrics.default", "none")]).mode(1), Mode::None);
    }

    #[test]
    fn the_writer_is_told_what_the_table_says() {
        let writing = writing(
            2,
            &[
                ("write.parquet.page-size-bytes", "4096"),
                ("write.parquet.dict-size-bytes", "5000"),
                ("write.parquet.row-group-size-bytes", "70000"),
                ("write.parquet.page-row-limit", "7"),
                ("write.parquet.dict-encoding-enabled.column.c1", "false"),
                ("write.parquet.bloom-filter-enabled.column.c2", "true"),
                ("write.parquet.bloom-filter-max-bytes", "1024"),
                ("write.parquet.stats-enabled.column.c2", "false"),
            ],
        );
        let told = writing.parquet(1_000_000);
        let (one, two) = (ColumnPath::from("c1"), ColumnPath::from("c2"));
        assert_eq!((told.column_data_page_size_limit(&one), told.data_page_row_count_limit()), (4_096, 7));
        assert_eq!((told.column_dictionary_page_size_limit(&one), told.max_row_group_bytes()), (5_000, Some(70_000)));
        assert!(!told.dictionary_enabled(&one) && told.dictionary_enabled(&two));
        assert_eq!(told.statistics_enabled(&two), EnabledStatistics::None);
        assert!(told.bloom_filter_properties(&one).is_none());
        let bloom = told.bloom_filter_properties(&two).expect("a filter");
        assert!(bloom.ndv > 100 && bloom.ndv < 1_000, "as many as fit into a kilobyte: {}", bloom.ndv);
    }
}
