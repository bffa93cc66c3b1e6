//! Commits: operations 13 and 25 of the REST specification.

use axum::response::Response;
use http::StatusCode;

use super::wire::{CommitTableRequest, CommitTableResponse, CommitTransactionRequest, IcebergErrorResponse};
use crate::catalog::loaded::Snapshots;
use crate::catalog::{Catalog, TableChange};
use crate::error::{Error, Result};
use crate::http::answer::in_parts;
use crate::http::error::Failure;
use crate::http::extract::TablePath;
use crate::http::keyed::{Keyed, once, once_table};
use crate::http::warehouses::Here;

/// Commits updates to one table.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/tables/{table}",
    tag = "tables",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("table" = String, Path, description = "The table's name"),
    ),
    request_body = CommitTableRequest,
    responses(
        (status = 200, description = "Committed", body = CommitTableResponse),
        (status = 400, description = "Malformed or invalid update", body = IcebergErrorResponse),
        (status = 403, description = "A location outside the warehouse", body = IcebergErrorResponse),
        (status = 404, description = "No such table", body = IcebergErrorResponse),
        (status = 409, description = "A requirement does not hold", body = IcebergErrorResponse),
        (status = 500, description = "The outcome is not known", body = IcebergErrorResponse),
        (status = 503, description = "Certainly not committed; try again", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn commit_table(
    here: Here,
    TablePath(name): TablePath,
    Keyed { key, body }: Keyed<CommitTableRequest>,
) -> Result<Response, Failure> {
    let (change, table) = (body.parse_for(&name)?, name.clone());
    let work = async move |catalog: Catalog| catalog.commit(table, change).await;
    let loaded = once_table(&here.catalog, key, name, work).await?;
    Ok(in_parts(loaded.commit_body(), Some(loaded.etag(Snapshots::All))))
}

/// Commits updates to several tables, all or none.
#[utoipa::path(
    post,
    path = "/v1/transactions/commit",
    tag = "tables",
    request_body = CommitTransactionRequest,
    responses(
        (status = 204, description = "Committed"),
        (status = 400, description = "Malformed or invalid update", body = IcebergErrorResponse),
        (status = 403, description = "A location outside the warehouse", body = IcebergErrorResponse),
        (status = 404, description = "No such table", body = IcebergErrorResponse),
        (status = 409, description = "A requirement does not hold", body = IcebergErrorResponse),
        (status = 500, description = "The outcome is not known", body = IcebergErrorResponse),
        (status = 503, description = "Certainly not committed; try again", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn commit_transaction(
    here: Here,
    Keyed { key, body: request }: Keyed<CommitTransactionRequest>,
) -> Result<StatusCode, Failure> {
    if request.table_changes.is_empty() {
        return Err(Error::malformed("Transaction has no table changes").into());
    }
    let changes = request.table_changes.iter().map(CommitTableRequest::parse).collect::<Result<Vec<TableChange>>>()?;
    once(&here.catalog, key, async move |catalog| catalog.commit_all(changes).await.map(drop)).await?;
    Ok(StatusCode::NO_CONTENT)
}
