//! Functions: SQL expressions and table functions that engines share (the REST specification's `FunctionMetadata`).
//!
//! The protocol reads them; they are put and dropped through `/manage/v1`. What is put is checked against the shape that
//! the specification gives it and kept as the text it came as, members that are not known here included.

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Catalog;
use super::metadata::json::reason;
use crate::error::{Error, Result};
use crate::limits;
use crate::names::{Namespace, TableName};

/// A function's metadata: what is read of it to see that it is whole.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FunctionMetadata {
    #[serde(rename = "function-uuid")]
    _function_uuid: Uuid,
    format_version: i64,
    definitions: Vec<Definition>,
    definition_log: Vec<LogEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Definition {
    definition_id: String,
    parameters: Vec<Parameter>,
    #[serde(rename = "return-type")]
    _return_type: Box<RawValue>,
    versions: Vec<Version>,
    current_version_id: i64,
    function_type: FunctionType,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum FunctionType {
    Udf,
    Udtf,
}

#[derive(Debug, Deserialize)]
struct Parameter {
    name: String,
    #[serde(rename = "type")]
    _kind: Box<RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Version {
    version_id: i64,
    representations: Vec<Representation>,
    #[serde(rename = "timestamp-ms")]
    _timestamp_ms: i64,
}

#[derive(Debug, Deserialize)]
struct Representation {
    #[serde(rename = "type")]
    kind: String,
    dialect: Option<String>,
    sql: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LogEntry {
    #[serde(rename = "timestamp-ms")]
    _timestamp_ms: i64,
    definition_versions: Vec<LoggedVersion>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LoggedVersion {
    definition_id: String,
    #[serde(rename = "version-id")]
    _version_id: i64,
}

impl Catalog {
    /// Keeps a function under a name, in place of the one that was there. Its namespace must exist.
    pub async fn put_function(&self, name: &TableName, metadata: &RawValue) -> Result<()> {
        check(metadata.get())?;
        self.store.put_function(self.warehouse.name(), name, metadata.get()).await
    }

    /// A function's metadata, as JSON text.
    pub async fn function(&self, name: &TableName) -> Result<Box<RawValue>> {
        let text = self.store.function(self.warehouse.name(), name).await?;
        RawValue::from_string(text).map_err(|error| Error::internal("A function's metadata is damaged").because(error))
    }

    /// The functions of a namespace after `after`, at most `most`. The namespace must exist.
    pub async fn list_functions(&self, namespace: &Namespace, after: &str, most: i64) -> Result<Vec<String>> {
        self.namespace_exists(namespace).await?;
        self.store.list_functions(self.warehouse.name(), namespace, after, most).await
    }

    /// Removes a function.
    pub async fn drop_function(&self, name: &TableName) -> Result<()> {
        self.store.drop_function(self.warehouse.name(), name).await
    }
}

fn check(text: &str) -> Result<()> {
    if text.len() > limits::FUNCTION_BYTES_MAX {
        let (has, max) = (text.len(), limits::FUNCTION_BYTES_MAX);
        return Err(Error::invalid(format!("Function metadata has {has} bytes: at most {max} are allowed")));
    }
    let metadata: FunctionMetadata = serde_json::from_str(text)
        .map_err(|error| Error::malformed(format!("Function metadata cannot be read: {}", reason(&error))))?;
    if metadata.format_version != 1 {
        let version = metadata.format_version;
        return Err(Error::invalid(format!("Function format-version {version} is not supported: 1 is what there is")));
    }
    if metadata.definitions.is_empty() {
        return Err(Error::invalid("Function metadata has no definition: it needs at least one"));
    }
    for (at, definition) in metadata.definitions.iter().enumerate() {
        let id = &definition.definition_id;
        if metadata.definitions[..at].iter().any(|other| other.definition_id == *id) {
            return Err(Error::invalid(format!("Function metadata has two definitions with the id {id:?}")));
        }
        definition.check().map_err(|error| error.context(format_args!("Definition {id:?}")))?;
    }
    let logged = metadata.definition_log.iter().flat_map(|entry| &entry.definition_versions);
    let known = |id: &str| metadata.definitions.iter().any(|definition| definition.definition_id == id);
    match logged.map(|version| &version.definition_id).find(|id| !known(id)) {
        Some(id) => Err(Error::invalid(format!("The definition log names {id:?}, which is no definition"))),
        None => Ok(()),
    }
}

impl Definition {
    fn check(&self) -> Result<()> {
        let current = self.current_version_id;
        if !self.versions.iter().any(|version| version.version_id == current) {
            return Err(Error::invalid(format!("it has no version with its current id {current}")));
        }
        let twice = |at: usize| self.parameters[..at].iter().any(|other| other.name == self.parameters[at].name);
        if let Some(at) = (0..self.parameters.len()).find(|at| twice(*at)) {
            return Err(Error::invalid(format!("it has two parameters called {:?}", self.parameters[at].name)));
        }
        if self.function_type == FunctionType::Udtf && !self._return_type.get().starts_with('{') {
            return Err(Error::invalid("a function of type udtf returns rows: its return-type must be a struct"));
        }
        for version in &self.versions {
            version.check().map_err(|error| error.context(format_args!("version {}", version.version_id)))?;
        }
        Ok(())
    }
}

impl Version {
    fn check(&self) -> Result<()> {
        if self.representations.is_empty() {
            return Err(Error::invalid("it has no representation: it needs at least one"));
        }
        for representation in &self.representations {
            let whole = representation.sql.is_some() && representation.dialect.is_some();
            if representation.kind == "sql" && !whole {
                return Err(Error::malformed("a representation of type sql needs \"dialect\" and \"sql\""));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_whole_is_refused() {
        let whole = r#"{"function-uuid":"42fd3f91-bc10-41c1-8a52-92b57dd0a9b2","format-version":1,"definitions":[
            {"definition-id":"(int)","parameters":[{"name":"x","type":"int"}],"return-type":"int","function-type":"udf",
             "versions":[{"version-id":1,"timestamp-ms":1,"representations":[
                {"type":"sql","dialect":"spark","sql":"x + 1"}]}],"current-version-id":1}],
            "definition-log":[{"timestamp-ms":1,"definition-versions":[{"definition-id":"(int)","version-id":1}]}]}"#;
        check(whole).expect("whole");
        for (part, instead, why) in [
            ("42fd3f91", "4", "cannot be read"),
            ("\"format-version\":1", "\"format-version\":9", "not supported"),
            ("\"current-version-id\":1", "\"current-version-id\":2", "current id 2"),
            ("\"sql\":\"x + 1\"", "\"x\":1", "needs \"dialect\" and \"sql\""),
            ("\"udf\"", "\"udtf\"", "must be a struct"),
            ("[{\"definition-id\":\"(int)\"", "[{\"definition-id\":\"(x)\"", "is no definition"),
        ] {
            let error = check(&whole.replace(part, instead)).expect_err(why);
            assert!(error.message().contains(why), "{why:?} is not in {error}");
        }
    }
}
