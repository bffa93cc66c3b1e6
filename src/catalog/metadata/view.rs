//! View metadata, lossless: a query in one or more dialects, and the ones it was before.
//!
//! A view's file is read as the view specification describes it (version 1): typed where a rule needs a type, with every
//! member that is not known here kept, representations kept as their text.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::{Extra, Json, Object, parse_array, write_some};
use super::schema::Schema;
use crate::error::{Error, Result};

/// The one version of the format.
pub const VIEW_FORMAT_VERSION: i64 = 1;

/// The metadata of a view: everything about it.
#[derive(Debug, Clone, Default)]
pub struct ViewMetadata {
    /// The view's identity.
    pub view_uuid: String,
    /// The folder the view's files are under, without a slash at the end.
    pub location: String,
    /// Every schema the view has had and keeps.
    pub schemas: Vec<Arc<Schema>>,
    /// The version that readers see.
    pub current_version_id: i64,
    /// Every version kept.
    pub versions: Vec<Arc<ViewVersion>>,
    /// Which version was current since when.
    pub version_log: Vec<VersionLogEntry>,
    /// Settings, as engines and users wrote them.
    pub properties: IndexMap<String, String>,
    /// Members not known here.
    pub extra: Extra,
}

/// One state of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewVersion {
    /// Its number within the view.
    pub version_id: i64,
    /// When it was made, by the client's clock.
    pub timestamp_ms: i64,
    /// The schema of its rows.
    pub schema_id: i32,
    /// What made it.
    pub summary: IndexMap<String, String>,
    /// The query, once in each dialect.
    pub representations: Vec<Json>,
    /// The catalog that names without one are looked up in.
    pub default_catalog: Option<String>,
    /// The namespace that names without one are looked up in.
    pub default_namespace: Vec<String>,
    /// Members not known here.
    pub extra: Extra,
}

/// Which version was current from a time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VersionLogEntry {
    /// When.
    pub timestamp_ms: i64,
    /// The version.
    pub version_id: i64,
}

impl ViewMetadata {
    /// Reads a metadata file's text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut object = Object::parse("View metadata", text)?;
        let format_version: i64 = object.need("format-version")?;
        if format_version != VIEW_FORMAT_VERSION {
            return Err(Error::invalid(format!("Cannot read view metadata of unsupported version {format_version}")));
        }
        let metadata = Self {
            view_uuid: object.need("view-uuid")?,
            location: object.need::<String>("location")?.trim_end_matches('/').to_owned(),
            schemas: list(&object.need_raw("schemas")?, "schemas", Schema::parse)?,
            current_version_id: object.need("current-version-id")?,
            versions: list(&object.need_raw("versions")?, "versions", ViewVersion::parse)?,
            version_log: object.take("version-log")?.unwrap_or_default(),
            properties: object.take("properties")?.unwrap_or_default(),
            extra: object.rest(),
        };
        if metadata.version(metadata.current_version_id).is_none() {
            let id = metadata.current_version_id;
            return Err(Error::invalid(format!("View metadata has no version with its current id {id}")));
        }
        Ok(metadata)
    }

    /// Writes the metadata file's text, compact.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::internal("View metadata cannot be written").because(error))
    }

    /// The version with this id.
    pub fn version(&self, id: i64) -> Option<&Arc<ViewVersion>> {
        self.versions.iter().find(|version| version.version_id == id)
    }

    /// The schema with this id.
    pub fn schema(&self, id: i32) -> Option<&Arc<Schema>> {
        self.schemas.iter().find(|schema| schema.schema_id == id)
    }
}

fn list<T>(raw: &RawValue, what: &str, parse: impl Fn(&RawValue) -> Result<T>) -> Result<Vec<Arc<T>>> {
    parse_array(what, raw.get())?.iter().map(|item| parse(item).map(Arc::new)).collect()
}

impl Serialize for ViewMetadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("view-uuid", &self.view_uuid)?;
        map.serialize_entry("format-version", &VIEW_FORMAT_VERSION)?;
        map.serialize_entry("location", &self.location)?;
        map.serialize_entry("properties", &self.properties)?;
        map.serialize_entry("schemas", &self.schemas)?;
        map.serialize_entry("current-version-id", &self.current_version_id)?;
        map.serialize_entry("versions", &self.versions)?;
        map.serialize_entry("version-log", &self.version_log)?;
        self.extra.write(&mut map)?;
        map.end()
    }
}

impl ViewVersion {
    /// Reads a version.
    pub fn parse(raw: &RawValue) -> Result<Self> {
        let mut object = Object::parse("View version", raw.get())?;
        let representations = object.need_raw("representations")?;
        Ok(Self {
            version_id: object.need("version-id")?,
            timestamp_ms: object.need("timestamp-ms")?,
            schema_id: object.need("schema-id")?,
            summary: object.take("summary")?.unwrap_or_default(),
            representations: parse_array("representations", representations.get())?.into_iter().map(Json).collect(),
            default_catalog: object.take("default-catalog")?,
            default_namespace: object.need("default-namespace")?,
            extra: object.rest(),
        })
    }

    /// Whether it says the same as `other`, whatever its number and time.
    pub fn same_as(&self, other: &Self) -> bool {
        *self == Self { version_id: self.version_id, timestamp_ms: self.timestamp_ms, ..other.clone() }
    }

    /// The dialects of its queries, in lower case; a query that cannot be read or a dialect that is there twice is an
    /// error, and so is a version without any.
    pub fn dialects(&self) -> Result<Vec<String>> {
        let mut dialects: Vec<String> = Vec::with_capacity(self.representations.len());
        for representation in &self.representations {
            let mut object = Object::parse("View representation", representation.0.get())?;
            let kind: String = object.need("type")?;
            if !kind.eq_ignore_ascii_case("sql") {
                // What is not known here is kept, and has no dialect.
                continue;
            }
            object.need::<String>("sql")?;
            let dialect = object.need::<String>("dialect")?.to_lowercase();
            if dialects.contains(&dialect) {
                return Err(Error::illegal(format!(
                    "Invalid view version: Cannot add multiple queries for dialect {dialect}"
                )));
            }
            dialects.push(dialect);
        }
        if dialects.is_empty() {
            return Err(Error::illegal("Invalid view version: it needs a query: a representation of type sql"));
        }
        Ok(dialects)
    }
}

impl Serialize for ViewVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version-id", &self.version_id)?;
        map.serialize_entry("timestamp-ms", &self.timestamp_ms)?;
        map.serialize_entry("schema-id", &self.schema_id)?;
        map.serialize_entry("summary", &self.summary)?;
        write_some(&mut map, "default-catalog", self.default_catalog.as_ref())?;
        map.serialize_entry("default-namespace", &self.default_namespace)?;
        map.serialize_entry("representations", &self.representations)?;
        self.extra.write(&mut map)?;
        map.end()
    }
}
