//! Functions: operations 34 and 35 of the REST specification.

use axum::Json;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::wire::IcebergErrorResponse;
use crate::error::Result;
use crate::http::error::Failure;
use crate::http::extract::{FunctionPath, NamespacePath, Query};
use crate::http::warehouses::Here;

/// `ListFunctionsResponse`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ListFunctionsResponse {
    /// The next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
    /// The functions: levels, outermost first, and the name at the end.
    identifiers: Vec<Vec<String>>,
}

/// `LoadFunctionResult`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoadFunctionResult {
    /// The function's metadata.
    #[schema(value_type = Object)]
    pub(crate) metadata: Box<RawValue>,
}

/// The functions of a namespace.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/functions",
    tag = "functions",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("pageToken" = Option<String>, Query, description = "Empty for the first page"),
        ("pageSize" = Option<u32>, Query, minimum = 1, description = "Entries of a page, at least 1"),
    ),
    responses(
        (status = 200, description = "The functions", body = ListFunctionsResponse),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such namespace", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn list_functions(
    here: Here,
    NamespacePath(namespace): NamespacePath,
    query: Query,
) -> Result<Json<ListFunctionsResponse>, Failure> {
    let page = query.page()?;
    let found = here.catalog.list_functions(&namespace, page.after(), page.most()).await?;
    let (found, next_page_token) = page.cut(found, String::as_str);
    let identifier = |name: String| namespace.levels().map(str::to_owned).chain([name]).collect();
    Ok(Json(ListFunctionsResponse { next_page_token, identifiers: found.into_iter().map(identifier).collect() }))
}

/// A function's metadata.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/functions/{function}",
    tag = "functions",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("function" = String, Path, description = "The function's name"),
    ),
    responses(
        (status = 200, description = "The function", body = LoadFunctionResult),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such function", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn load_function(
    here: Here,
    FunctionPath(name): FunctionPath,
) -> Result<Json<LoadFunctionResult>, Failure> {
    Ok(Json(LoadFunctionResult { metadata: here.catalog.function(&name).await? }))
}
