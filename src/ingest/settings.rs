//! What bounds ingest, and which tables it can write to.

use indexmap::IndexMap;
use moka::sync::Cache;

use super::decode::{Bounds, Evolution, Unknown};
use super::rules::{HashKeys, Rules};
use super::verdict::OnError;
use super::writing::compression;
use crate::catalog::metadata::TableMetadata;
use crate::catalog::properties;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::names::TableName;

/// Settings of the `[ingest]` section.
#[derive(Debug, Clone)]
pub struct IngestSettings {
    /// Bytes that all requests under way may hold together.
    pub memory: usize,
    /// Bytes of a body as it is sent.
    pub body: usize,
    /// Bytes of a body when decompressed.
    pub body_decoded: usize,
    /// Rows of a request.
    pub rows: usize,
    /// Bytes of one row.
    pub row: usize,
    /// Levels of nesting.
    pub nesting: usize,
    /// Whether a missing table is created from its first rows.
    pub auto_create: bool,
    /// Rules of tables that have none of their own, by name.
    pub rules: IndexMap<String, Rules>,
    /// What tables' rules may hash with.
    pub hash_keys: HashKeys,
    /// The table that each route leads to; where there are none, a route is a table's name.
    pub routes: IndexMap<String, String>,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            memory: 512 << 20,
            body: 32 << 20,
            body_decoded: 256 << 20,
            rows: 1_000_000,
            row: 16 << 20,
            nesting: 64,
            auto_create: true,
            rules: IndexMap::new(),
            hash_keys: HashKeys::default(),
            routes: IndexMap::new(),
        }
    }
}

impl IngestSettings {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            rows: self.rows,
            row_bytes: self.row,
            nesting: self.nesting,
            column_bytes: self.memory,
            body_bytes: self.body_decoded,
        }
    }
}

const SCHEMA: &str = "floeberg.ingest.schema";
/// The property of a table's rules.
pub(super) const RULES: &str = "floeberg.ingest.rules";
const ON_ERROR: &str = "floeberg.ingest.on-error";
const UNKNOWN_FIELDS: &str = "floeberg.ingest.unknown-fields";
const MAX_COLUMNS: &str = "floeberg.ingest.max-columns";

impl Evolution {
    /// The one that this word means.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "strict" => Some(Self::Strict),
            "add-columns" => Some(Self::AddColumns),
            "full" => Some(Self::Full),
            _ => None,
        }
    }

    /// What the table says.
    pub(super) fn said(table: &IndexMap<String, String>) -> Result<Option<Self>> {
        word_of(table, SCHEMA, Self::parse)
    }
}

impl OnError {
    /// What the table says.
    pub(super) fn said(table: &IndexMap<String, String>) -> Result<Option<Self>> {
        word_of(table, ON_ERROR, Self::parse)
    }
}

impl Unknown {
    /// The one that this word means.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "add" => Some(Self::Add),
            "refuse" => Some(Self::Refuse),
            "ignore" => Some(Self::Ignore),
            "capture" => Some(Self::Capture),
            _ => None,
        }
    }

    /// What the table says.
    pub(super) fn said(table: &IndexMap<String, String>) -> Result<Option<Self>> {
        word_of(table, UNKNOWN_FIELDS, Self::parse)
    }
}

/// What a property says; an error where it says nothing that is known.
fn word_of<T>(table: &IndexMap<String, String>, key: &str, parse: fn(&str) -> Option<T>) -> Result<Option<T>> {
    table.get(key).map(|word| parse(word).ok_or_else(|| unsupported(key, word))).transpose()
}

/// Columns, inner ones counted, up to which rows may make a table grow.
pub(super) fn max_columns(table: &IndexMap<String, String>) -> usize {
    let most = i64::try_from(limits::INGEST_COLUMNS_MAX).unwrap_or(i64::MAX);
    usize::try_from(properties::whole(table, MAX_COLUMNS, most)).unwrap_or(usize::MAX)
}

/// Refuses a table that asks for what ingest cannot do, or for something that cannot be understood.
pub(super) fn check_table(metadata: &TableMetadata) -> Result<()> {
    let table = &metadata.properties;
    properties::check(table).map_err(|error| error.as_kind(Kind::Unprocessable).with_code("malformed_property"))?;
    let asks = |key: &str, fine: fn(&str) -> bool| match table.get(key) {
        Some(value) if !fine(value) => Err(unsupported(key, value)),
        _ => Ok(()),
    };
    asks("write.format.default", |value| value.eq_ignore_ascii_case("parquet"))?;
    asks("write.wap.enabled", |value| !value.eq_ignore_ascii_case("true"))?;
    asks("encryption.key-id", str::is_empty)?;
    compression(table).map(drop)
}

/// Properties of writing that Iceberg knows and ingest follows; those of engines' own retries and modes mean nothing here.
const FOLLOWED: &[&str] = &[
    "commit.manifest-merge.enabled",
    "commit.manifest.min-count-to-merge",
    "commit.manifest.target-size-bytes",
    "write.data.path",
    "write.delete.mode",
    "write.folder-storage.path",
    "write.format.default",
    "write.merge.mode",
    "write.metadata.compression-codec",
    "write.metadata.delete-after-commit.enabled",
    "write.metadata.path",
    "write.metadata.previous-versions-max",
    "write.object-storage.enabled",
    "write.object-storage.partitioned-paths",
    "write.object-storage.path",
    "write.metadata.metrics.default",
    "write.metadata.metrics.max-inferred-column-defaults",
    "write.parquet.bloom-filter-max-bytes",
    "write.parquet.compression-codec",
    "write.parquet.compression-level",
    "write.parquet.dict-size-bytes",
    "write.parquet.page-row-limit",
    "write.parquet.page-size-bytes",
    "write.parquet.row-group-size-bytes",
    "write.target-file-size-bytes",
    "write.update.mode",
    "write.wap.enabled",
];

/// Those that end in a column's name.
const FOLLOWED_OF_COLUMNS: &[&str] = &[
    "write.metadata.metrics.column.",
    "write.parquet.bloom-filter-enabled.column.",
    "write.parquet.bloom-filter-fpp.column.",
    "write.parquet.bloom-filter-ndv.column.",
    "write.parquet.dict-encoding-enabled.column.",
    "write.parquet.stats-enabled.column.",
];

/// Rules that were read lately, by their text. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct KnownRules(Cache<String, Rules>);

impl Default for KnownRules {
    fn default() -> Self {
        Self(Cache::new(limits::RULES_KEPT))
    }
}

impl KnownRules {
    /// The rules of a table: its own, else those of the configuration; `None` where there are none, as of most.
    pub(super) fn of(
        &self,
        settings: &IngestSettings,
        table: &TableName,
        own: Option<&IndexMap<String, String>>,
    ) -> Result<Option<Rules>> {
        let Some(text) = own.and_then(|own| own.get(RULES)) else {
            let configured = !settings.rules.is_empty();
            return Ok(configured.then(|| settings.rules.get(&table.joined()).cloned()).flatten());
        };
        if let Some(known) = self.0.get(text) {
            return Ok(Some(known));
        }
        let rules = Rules::parse(text, &settings.hash_keys)?;
        self.0.insert(text.clone(), rules.clone());
        Ok(Some(rules))
    }
}

/// Of which tables it was said that they have properties that are not followed.
#[derive(Debug, Clone)]
pub(super) struct Complaints(Cache<String, ()>);

impl Default for Complaints {
    fn default() -> Self {
        Self(Cache::new(limits::COMPLAINTS_KEPT))
    }
}

impl Complaints {
    /// Says once of a table which of its properties ingest does not follow.
    pub(super) fn look_at(&self, table: &TableName, metadata: &TableMetadata) {
        let uuid = metadata.table_uuid.as_deref().unwrap_or_default();
        if self.0.contains_key(uuid) {
            return;
        }
        self.0.insert(uuid.to_owned(), ());
        let ignored = not_followed(&metadata.properties);
        if !ignored.is_empty() {
            tracing::warn!(%table, properties = ignored.join(", "), "ingest does not follow these properties of the table");
        }
    }
}

/// The properties of writing that ask for something else than what is done.
fn not_followed(table: &IndexMap<String, String>) -> Vec<String> {
    let asks = |(key, _): &(&String, &String)| {
        let of_writing = key.starts_with("write.") || key.starts_with("commit.manifest");
        let of_column = FOLLOWED_OF_COLUMNS.iter().any(|prefix| key.starts_with(prefix));
        let done = of_column || FOLLOWED.contains(&key.as_str());
        of_writing && !done
    };
    table.iter().filter(asks).map(|(key, value)| format!("{key}={value}")).collect()
}

fn unsupported(key: &str, value: &str) -> Error {
    Error::new(
        Kind::Unprocessable,
        format!(
            "Ingest cannot write to a table with {key}={value}: write with an engine that can, or change the property"
        ),
    )
    .with_code("unsupported_table")
}

/// The properties of a table that ingest creates.
pub(super) fn created_properties() -> IndexMap<String, String> {
    let own = [("write.metadata.delete-after-commit.enabled", "true"), ("floeberg.created-by", "ingest")];
    own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The refusal of an old v1 table that has no identity by which its rows could be followed.
pub(super) fn no_uuid() -> Error {
    Error::new(
        Kind::Unprocessable,
        "Ingest cannot write to a table without a uuid: any commit of another client gives it one",
    )
    .with_code("unsupported_table")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_done_is_complained_of() {
        let set = |pairs: &[(&str, &str)]| {
            let owned = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            not_followed(&owned.collect())
        };
        assert!(
            set(&[("write.parquet.compression-codec", "zstd"), ("owner", "me"), ("gc.enabled", "true")]).is_empty()
        );
        assert_eq!(
            set(&[("write.parquet.shred-variants", "true"), ("write.target-file-size-bytes", "5")]),
            ["write.parquet.shred-variants=true"]
        );
    }
}
