//! The shapes of `/v1` on the wire, as the REST specification names them.
//!
//! Requests are read with unknown members ignored. Parts whose text must survive (schemas, updates) stay text until the
//! catalog parses them.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::catalog::change::Change;
use crate::catalog::create::Description;
use crate::catalog::metadata::schema::Schema;
use crate::catalog::metadata::spec::{PartitionSpec, SortOrder};
use crate::catalog::{Created, NewTableRequest, Register, TableChange};
use crate::error::{Error, Result};
use crate::http::page::Page;
use crate::names::{Namespace, TableName, Tabular};

/// `CatalogConfig`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CatalogConfig {
    /// What a client uses where it has no setting of its own.
    pub(crate) defaults: IndexMap<String, String>,
    /// What a client uses whatever its own settings say.
    pub(crate) overrides: IndexMap<String, String>,
    /// The operations served, as `VERB /path`.
    pub(crate) endpoints: Vec<&'static str>,
    /// How long an `Idempotency-Key` is kept (ISO 8601).
    pub(crate) idempotency_key_lifetime: String,
}

/// `CreateNamespaceRequest`
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CreateNamespaceRequest {
    /// The levels, outermost first.
    pub(crate) namespace: Vec<String>,
    /// Its properties.
    #[serde(default)]
    pub(crate) properties: Option<IndexMap<String, String>>,
}

/// `CreateNamespaceResponse` and `GetNamespaceResponse`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NamespaceResponse {
    /// The levels, outermost first.
    pub(crate) namespace: Vec<String>,
    /// Its properties.
    pub(crate) properties: IndexMap<String, String>,
}

/// `ListNamespacesResponse`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ListNamespacesResponse {
    /// The next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_page_token: Option<String>,
    /// The direct children.
    pub(crate) namespaces: Vec<Vec<String>>,
}

/// `UpdateNamespacePropertiesRequest`
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct UpdateNamespacePropertiesRequest {
    /// Keys to remove.
    #[serde(default)]
    pub(crate) removals: Option<Vec<String>>,
    /// Values to set.
    #[serde(default)]
    pub(crate) updates: Option<IndexMap<String, String>>,
}

/// `UpdateNamespacePropertiesResponse`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UpdateNamespacePropertiesResponse {
    /// Keys that were set.
    pub(crate) updated: Vec<String>,
    /// Keys that were removed.
    pub(crate) removed: Vec<String>,
    /// Keys to be removed that were not there.
    pub(crate) missing: Vec<String>,
}

/// `TableIdentifier`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct TableIdentifier {
    /// The levels, outermost first.
    pub(crate) namespace: Vec<String>,
    /// The table's name.
    pub(crate) name: String,
}

impl TableIdentifier {
    /// The name it stands for.
    pub(crate) fn parse(&self) -> Result<TableName> {
        TableName::new(Namespace::new(&self.namespace)?, &self.name)
    }

    /// Refuses a body that names another than its path.
    pub(crate) fn must_be(&self, kind: Tabular, name: &TableName) -> Result<()> {
        let inner = self.parse()?;
        if inner == *name {
            return Ok(());
        }
        Err(Error::malformed(format!("The body names {} {inner}, the path {name}", kind.as_str())))
    }
}

/// `ListTablesResponse`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ListTablesResponse {
    /// The next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_page_token: Option<String>,
    /// The tables, or the views.
    pub(crate) identifiers: Vec<TableIdentifier>,
}

impl ListTablesResponse {
    /// A page of what was found in a namespace.
    pub(crate) fn of(page: &Page, namespace: &Namespace, found: Vec<String>) -> Self {
        let (found, next_page_token) = page.cut(found, String::as_str);
        let levels = namespace.to_levels();
        let identifiers = found.into_iter().map(|name| TableIdentifier { namespace: levels.clone(), name }).collect();
        Self { next_page_token, identifiers }
    }
}

/// `CreateTableRequest`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CreateTableRequest {
    /// The table's name.
    pub(crate) name: String,
    /// Where its files are to go.
    #[serde(default)]
    pub(crate) location: Option<String>,
    /// Its columns.
    #[schema(value_type = Object)]
    pub(crate) schema: Box<RawValue>,
    /// How it is partitioned.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(crate) partition_spec: Option<Box<RawValue>>,
    /// How its files are sorted.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(crate) write_order: Option<Box<RawValue>>,
    /// Whether a later commit will create it.
    #[serde(default)]
    pub(crate) stage_create: Option<bool>,
    /// Its properties.
    #[serde(default)]
    pub(crate) properties: Option<IndexMap<String, String>>,
}

impl CreateTableRequest {
    /// What is asked for, checked.
    pub(crate) fn parse(self, namespace: Namespace) -> Result<NewTableRequest> {
        let spec = self.partition_spec.filter(|raw| raw.get() != "null");
        let order = self.write_order.filter(|raw| raw.get() != "null");
        Ok(NewTableRequest {
            name: TableName::new(namespace, &self.name)?,
            description: Description {
                schema: Schema::parse(&self.schema)?,
                spec: spec.map(|raw| PartitionSpec::parse(&raw)).transpose()?,
                order: order.map(|raw| SortOrder::parse(&raw)).transpose()?,
                properties: self.properties.unwrap_or_default(),
            },
            location: self.location,
            creation: if self.stage_create == Some(true) { Created::Staged } else { Created::Now },
        })
    }
}

/// `RegisterTableRequest`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RegisterTableRequest {
    /// The table's name.
    pub(crate) name: String,
    /// The metadata file, which is already there.
    pub(crate) metadata_location: String,
    /// Whether a table of that name is to point there instead.
    #[serde(default)]
    pub(crate) overwrite: bool,
}

impl RegisterTableRequest {
    /// What is asked for, checked.
    pub(crate) fn parse(self, namespace: Namespace) -> Result<Register> {
        let name = TableName::new(namespace, &self.name)?;
        Ok(Register { name, metadata_location: self.metadata_location, overwrite: self.overwrite })
    }
}

/// `RenameTableRequest`
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct RenameTableRequest {
    /// What it is called.
    pub(crate) source: TableIdentifier,
    /// What it is to be called.
    pub(crate) destination: TableIdentifier,
}

/// `CommitTableRequest`
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CommitTableRequest {
    /// The table; needed in a transaction, the path's own otherwise.
    #[serde(default)]
    pub(crate) identifier: Option<TableIdentifier>,
    /// What must be true of the table.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub(crate) requirements: Vec<Box<RawValue>>,
    /// What is to be done.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub(crate) updates: Vec<Box<RawValue>>,
}

impl CommitTableRequest {
    /// The change, for the table that the path names.
    pub(crate) fn parse_for(&self, name: &TableName) -> Result<Change> {
        if let Some(identifier) = &self.identifier {
            identifier.must_be(Tabular::Table, name)?;
        }
        Change::parse(&self.requirements, &self.updates)
    }

    /// The change and the table that it names itself.
    pub(crate) fn parse(&self) -> Result<TableChange> {
        let identifier = self.identifier.as_ref();
        let identifier = identifier.ok_or_else(|| Error::malformed("A table change lacks its \"identifier\""))?;
        Ok(TableChange { name: identifier.parse()?, change: Change::parse(&self.requirements, &self.updates)? })
    }
}

/// `CommitTransactionRequest`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CommitTransactionRequest {
    /// One change a table.
    pub(crate) table_changes: Vec<CommitTableRequest>,
}

/// `LoadTableResult`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LoadTableResult {
    /// The metadata file; absent for a staged table.
    pub(crate) metadata_location: Option<String>,
    /// The table's metadata.
    #[schema(value_type = Object)]
    pub(crate) metadata: (),
    /// What a client uses for this table whatever its own settings say.
    pub(crate) config: IndexMap<String, String>,
    /// Keys for the table's objects, for clients that ask for them.
    pub(crate) storage_credentials: Option<Vec<StorageCredential>>,
}

/// `StorageCredential`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StorageCredential {
    /// What the locations begin with that it is for.
    pub(crate) prefix: String,
    /// The keys, and what else a client configures to use them.
    pub(crate) config: IndexMap<String, String>,
}

/// `LoadCredentialsResponse`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LoadCredentialsResponse {
    /// One at most: clients refuse more.
    pub(crate) storage_credentials: Vec<StorageCredential>,
}

/// `RemoteSignRequest`
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct RemoteSignRequest {
    /// The region that the client believes the store is in; the warehouse's own counts.
    #[serde(rename = "region")]
    pub(crate) _region: String,
    /// Where the request goes.
    pub(crate) uri: String,
    /// Its method.
    pub(crate) method: String,
    /// Its headers.
    pub(crate) headers: BTreeMap<String, Vec<String>>,
    /// Its body, where what it does stands there.
    #[serde(default)]
    pub(crate) body: Option<String>,
    /// The kind of store.
    #[serde(default)]
    pub(crate) provider: Option<String>,
}

/// `RemoteSignResult`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RemoteSignResult {
    /// Where the request goes.
    pub(crate) uri: String,
    /// Its headers, signed.
    pub(crate) headers: BTreeMap<String, Vec<String>>,
}

/// `CommitTableResponse`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CommitTableResponse {
    /// The new metadata file.
    pub(crate) metadata_location: String,
    /// The table's metadata.
    #[schema(value_type = Object)]
    pub(crate) metadata: (),
}

/// `UnregisterTableResult`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct UnregisterTableResult {
    /// The table's last metadata file.
    pub(crate) metadata_location: String,
    /// What it holds.
    #[schema(value_type = Object)]
    pub(crate) metadata: (),
}

/// `ReportMetricsRequest`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ReportMetricsRequest {
    /// `scan-report` or `commit-report`.
    pub(crate) report_type: String,
}

/// `IcebergErrorResponse`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IcebergErrorResponse {
    /// What went wrong.
    pub(crate) error: ErrorModel,
}

/// `ErrorModel`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorModel {
    /// What went wrong, in words.
    pub(crate) message: String,
    /// The name that clients branch on.
    pub(crate) r#type: String,
    /// The HTTP status.
    pub(crate) code: u16,
}
