//! `/manage/v1`: what an operator asks.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::value::RawValue;

use super::Api;
use super::error::Failure;
use super::extract::{DottedPath, JsonBody, Query};
use super::iceberg::functions::LoadFunctionResult;
use super::ingest::Problem;
use super::warehouses::asked_for;
use crate::catalog::Catalog;
use crate::catalog::check::Report;
use crate::error::Result;

/// The catalog of the warehouse that `?warehouse=` names.
pub(super) fn catalog(api: &Api, query: &Query) -> Result<Catalog> {
    Ok(asked_for(api, query)?.served.catalog.clone())
}

/// Tries the database and every warehouse for real.
#[utoipa::path(
    get,
    path = "/manage/v1/check",
    tag = "operations",
    responses(
        (status = 200, description = "All is well", body = Report),
        (status = 503, description = "Something is not", body = Report),
    ),
)]
pub(super) async fn check(State(api): State<Api>) -> (StatusCode, Json<Report>) {
    let report = api.warehouses.set().report().await;
    let status = if report.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}

/// Keeps a function's metadata under its name, in place of what was there.
#[utoipa::path(
    put,
    path = "/manage/v1/namespaces/{namespace}/functions/{function}",
    tag = "functions",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F, or by dots"),
        ("function" = String, Path, description = "The function's name"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    request_body(content = Object, description = "`FunctionMetadata` of the REST specification"),
    responses(
        (status = 200, description = "Kept", body = LoadFunctionResult),
        (status = 400, description = "Not a function's metadata", body = Problem),
        (status = 404, description = "No such namespace", body = Problem),
    ),
)]
pub(super) async fn put_function(
    State(api): State<Api>,
    DottedPath(meant): DottedPath,
    query: Query,
    JsonBody(metadata): JsonBody<Box<RawValue>>,
) -> Result<Json<LoadFunctionResult>, Failure> {
    let catalog = catalog(&api, &query)?;
    let name = catalog.meant(meant).await?;
    catalog.put_function(&name, &metadata).await?;
    Ok(Json(LoadFunctionResult { metadata }))
}

/// Removes a function.
#[utoipa::path(
    delete,
    path = "/manage/v1/namespaces/{namespace}/functions/{function}",
    tag = "functions",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F, or by dots"),
        ("function" = String, Path, description = "The function's name"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "No such function", body = Problem),
    ),
)]
pub(super) async fn drop_function(
    State(api): State<Api>,
    DottedPath(meant): DottedPath,
    query: Query,
) -> Result<StatusCode, Failure> {
    let catalog = catalog(&api, &query)?;
    let name = catalog.meant(meant).await?;
    catalog.drop_function(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
