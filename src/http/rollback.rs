//! `/manage/v1/namespaces/{namespace}/tables/{table}`: what a table was, and making it so again.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::error::Failure;
use super::extract::{DottedPath, JsonBody, Query};
use super::ingest::Problem;
use super::manage::catalog;
use crate::catalog::Loaded;
use crate::catalog::rollback::{MetadataLog, Target};
use crate::error::{Error, Result};

/// The metadata files that a table has had.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MetadataLogBody {
    /// The current one.
    pub metadata_location: String,
    /// Why it cannot be read; null if it can.
    pub damage: Option<String>,
    /// Those before it, newest first.
    pub earlier: Vec<EarlierBody>,
}

/// An earlier metadata file.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct EarlierBody {
    /// Where it is.
    pub metadata_location: String,
    /// When what it holds was made; null where the current file does not say.
    pub timestamp_ms: Option<i64>,
}

/// What a table is to be again: one of the two.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WantedRollback {
    /// What this metadata file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_location: Option<String>,
    /// The table with this snapshot, which is the current one or one that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<i64>,
}

/// What the table is now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RolledBack {
    /// The metadata file, which is new.
    pub metadata_location: String,
    /// The snapshot that readers see; null where there is none.
    pub current_snapshot_id: Option<i64>,
}

impl WantedRollback {
    /// What is meant, if it is one thing.
    pub fn target(self) -> Result<Target> {
        match (self.metadata_location, self.snapshot_id) {
            (Some(location), None) => Ok(Target::Metadata(location)),
            (None, Some(id)) => Ok(Target::Snapshot(id)),
            _ => Err(Error::malformed("Say either metadata-location or snapshot-id")),
        }
    }
}

impl From<MetadataLog> for MetadataLogBody {
    fn from(log: MetadataLog) -> Self {
        let earlier = log.earlier.into_iter();
        let body = |file: crate::catalog::rollback::EarlierFile| EarlierBody {
            metadata_location: file.location,
            timestamp_ms: file.timestamp_ms,
        };
        Self { metadata_location: log.current.to_string(), damage: log.damage, earlier: earlier.map(body).collect() }
    }
}

impl From<&Loaded> for RolledBack {
    fn from(loaded: &Loaded) -> Self {
        Self {
            metadata_location: loaded.metadata_location.as_deref().unwrap_or_default().to_owned(),
            current_snapshot_id: loaded.metadata.current_snapshot_id,
        }
    }
}

/// The metadata files that a table has had, also where the current one is damaged.
#[utoipa::path(
    get,
    path = "/manage/v1/namespaces/{namespace}/tables/{table}/metadata-log",
    tag = "operations",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F, or by dots"),
        ("table" = String, Path, description = "The table's name"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    responses(
        (status = 200, description = "The files", body = MetadataLogBody),
        (status = 404, description = "No such table", body = Problem),
    ),
)]
pub(super) async fn metadata_log(
    State(api): State<Api>,
    DottedPath(meant): DottedPath,
    query: Query,
) -> Result<Json<MetadataLogBody>, Failure> {
    let catalog = catalog(&api, &query)?;
    let name = catalog.meant(meant).await?;
    Ok(Json(catalog.metadata_log(&name).await?.into()))
}

/// Makes a table again what it was.
#[utoipa::path(
    post,
    path = "/manage/v1/namespaces/{namespace}/tables/{table}/rollback",
    tag = "operations",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F, or by dots"),
        ("table" = String, Path, description = "The table's name"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    request_body = WantedRollback,
    responses(
        (status = 200, description = "It is so again", body = RolledBack),
        (status = 400, description = "Not a state that the table had", body = Problem),
        (status = 403, description = "A location outside the warehouse", body = Problem),
        (status = 404, description = "No such table or file", body = Problem),
        (status = 409, description = "The table was changed meanwhile", body = Problem),
    ),
)]
pub(super) async fn roll_back(
    State(api): State<Api>,
    DottedPath(meant): DottedPath,
    query: Query,
    JsonBody(wanted): JsonBody<WantedRollback>,
) -> Result<Json<RolledBack>, Failure> {
    let target = wanted.target()?;
    let catalog = catalog(&api, &query)?;
    let name = catalog.meant(meant).await?;
    let loaded = catalog.roll_back(name, target).await?;
    Ok(Json(loaded.as_ref().into()))
}
