//! `/ingest/v1/{namespace}/{table}/schema`: changes of a table's columns that are asked for by name.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::error::Failure;
use super::extract::{DottedPath, JsonBody, Query};
use super::ingest_options::not_known;
use super::warehouses::asked_for;
use crate::error::{Error, Result};
use crate::ingest::{Change, Earnest};

/// What is to be changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedChanges {
    /// One after the other: all of them are made, or none.
    changes: Vec<Change>,
}

/// The columns of a table after changes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReshapedTable {
    /// The table, as the path takes it.
    table: String,
    /// Its columns then, as Iceberg writes a schema.
    schema: serde_json::Value,
    /// Whether they are others than before.
    changed: bool,
    /// Whether nothing was changed because it was only asked what would be.
    dry_run: bool,
}

/// Changes the columns of a table: adds, widens, makes optional; renames and drops where the table's property
/// `floeberg.ingest.schema` is `full`. With `dry_run=true` it only says what would come of it.
#[utoipa::path(
    post,
    path = "/ingest/v1/{namespace}/{table}/schema",
    tag = "ingest",
    params(
        ("namespace" = String, Path, description = "Levels joined by dots, or by %1F where a level holds a dot"),
        ("table" = String, Path, description = "The table's name"),
        ("dry_run" = Option<bool>, Query, description = "true: nothing is changed"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    request_body = WantedChanges,
    responses(
        (status = 200, description = "The columns after the changes", body = ReshapedTable),
        (status = 400, description = "Malformed request", body = super::ingest::Problem),
        (status = 404, description = "No such table", body = super::ingest::Problem),
        (status = 409, description = "Somebody else changed the table meanwhile", body = super::ingest::Problem),
        (status = 422, description = "A change that cannot be made; none was", body = super::ingest::Problem),
    ),
)]
pub(super) async fn change_schema(
    State(api): State<Api>,
    DottedPath(candidates): DottedPath,
    query: Query,
    JsonBody(wanted): JsonBody<WantedChanges>,
) -> Result<Json<ReshapedTable>, Failure> {
    let mut earnest = Earnest::Made;
    for (name, value) in query.all() {
        earnest = match (name.as_str(), value.as_str()) {
            ("warehouse", _) | ("dry_run", "false") => earnest,
            ("dry_run", "true") => Earnest::Judged,
            _ => return Err(not_known(name, value).into()),
        };
    }
    let served = asked_for(&api, &query)?.served;
    let name = served.catalog.meant(candidates).await?;
    let reshaped = served.ingest.reshape(&name, &wanted.changes, earnest).await?;
    let schema = serde_json::to_value(&*reshaped.schema)
        .map_err(|error| Error::internal("A schema cannot be written").because(error))?;
    let dry_run = earnest == Earnest::Judged;
    Ok(Json(ReshapedTable { table: name.joined(), schema, changed: reshaped.changed, dry_run }))
}
