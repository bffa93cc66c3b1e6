//! Tables: operations 9 to 12, 14 to 16 and 24 of the REST specification.

use axum::Json;
use axum::response::Response;
use http::StatusCode;

use super::delegation::Delegated;
use super::wire::{
    CreateTableRequest, IcebergErrorResponse, ListTablesResponse, LoadTableResult, RegisterTableRequest,
    RenameTableRequest, UnregisterTableResult,
};
use crate::catalog::loaded::Snapshots;
use crate::catalog::{Catalog, Files};
use crate::error::{Error, Result};
use crate::http::answer::{Accepted, in_parts};
use crate::http::error::Failure;
use crate::http::extract::{NamespacePath, Query, TablePath};
use crate::http::keyed::{KeyOnly, Keyed, once, once_table};
use crate::http::warehouses::Here;
use crate::names::Tabular;

/// The tables of a namespace.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/tables",
    tag = "tables",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("pageToken" = Option<String>, Query, description = "Empty for the first page"),
        ("pageSize" = Option<u32>, Query, minimum = 1, description = "Entries of a page, at least 1"),
    ),
    responses(
        (status = 200, description = "The tables", body = ListTablesResponse),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such namespace", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn list_tables(
    here: Here,
    NamespacePath(namespace): NamespacePath,
    query: Query,
) -> Result<Json<ListTablesResponse>, Failure> {
    let page = query.page()?;
    let found = here.catalog.list(Tabular::Table, &namespace, page.after(), page.most()).await?;
    Ok(Json(ListTablesResponse::of(&page, &namespace, found)))
}

/// A new table, or one that is staged for a later commit.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/tables",
    tag = "tables",
    params(("namespace" = String, Path, description = "Levels joined by %1F")),
    request_body = CreateTableRequest,
    responses(
        (status = 200, description = "Created or staged", body = LoadTableResult),
        (status = 400, description = "Malformed or invalid request", body = IcebergErrorResponse),
        (status = 403, description = "A location outside the warehouse", body = IcebergErrorResponse),
        (status = 404, description = "No such namespace", body = IcebergErrorResponse),
        (status = 409, description = "It already exists", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn create_table(
    here: Here,
    NamespacePath(namespace): NamespacePath,
    accepted: Accepted,
    delegated: Delegated,
    Keyed { key, body }: Keyed<CreateTableRequest>,
) -> Result<Response, Failure> {
    let request = body.parse(namespace)?;
    delegated.could_be(&here).await?;
    let name = request.name.clone();
    let work = async move |catalog: Catalog| catalog.create_table(request).await;
    let loaded = once_table(&here.catalog, key, name.clone(), work).await?;
    Ok(delegated.answer(&here, &name, (&loaded, Snapshots::All), &accepted).await?)
}

/// A table's metadata.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/tables/{table}",
    tag = "tables",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("table" = String, Path, description = "The table's name"),
        ("snapshots" = Option<String>, Query, description = "all, or refs: those that a branch or tag points at"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an earlier answer"),
        ("X-Iceberg-Access-Delegation" = Option<String>, Header, description = "vended-credentials, remote-signing, or both"),
    ),
    responses(
        (status = 200, description = "The table", body = LoadTableResult),
        (status = 304, description = "Nothing has changed"),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such table", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn load_table(
    here: Here,
    TablePath(name): TablePath,
    query: Query,
    accepted: Accepted,
    delegated: Delegated,
) -> Result<Response, Failure> {
    let snapshots = match query.get("snapshots").unwrap_or("all").to_ascii_lowercase().as_str() {
        "all" | "" => Snapshots::All,
        "refs" => Snapshots::Refs,
        other => return Err(Error::malformed(format!("snapshots {other:?} is neither all nor refs")).into()),
    };
    let loaded = here.catalog.load_table(&name).await?;
    Ok(delegated.answer(&here, &name, (&loaded, snapshots), &accepted).await?)
}

/// Whether a table exists.
#[utoipa::path(
    head,
    path = "/v1/namespaces/{namespace}/tables/{table}",
    tag = "tables",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("table" = String, Path, description = "The table's name"),
    ),
    responses((status = 204, description = "It exists"), (status = 404, description = "It does not")),
)]
pub(crate) async fn table_exists(here: Here, TablePath(name): TablePath) -> Result<StatusCode, Failure> {
    here.catalog.find(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Drops a table; its files stay unless a purge is asked for.
#[utoipa::path(
    delete,
    path = "/v1/namespaces/{namespace}/tables/{table}",
    tag = "tables",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("table" = String, Path, description = "The table's name"),
        ("purgeRequested" = Option<bool>, Query, description = "Whether the files are to be deleted too"),
    ),
    responses(
        (status = 204, description = "Dropped"),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such table", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn drop_table(
    here: Here,
    TablePath(name): TablePath,
    query: Query,
    KeyOnly(key): KeyOnly,
) -> Result<StatusCode, Failure> {
    let files = if query.flag("purgeRequested")? { Files::Go } else { Files::Stay };
    once(&here.catalog, key, async move |catalog| catalog.drop_tabular(Tabular::Table, name, files).await).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a table out of the catalog, files untouched, and says what it was last.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/tables/{table}/unregister",
    tag = "tables",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("table" = String, Path, description = "The table's name"),
    ),
    responses(
        (status = 200, description = "Unregistered", body = UnregisterTableResult),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such table", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn unregister_table(
    here: Here,
    TablePath(name): TablePath,
    KeyOnly(key): KeyOnly,
) -> Result<Response, Failure> {
    let table = name.clone();
    let work = async move |catalog: Catalog| catalog.unregister_table(table).await;
    let loaded = once_table(&here.catalog, key, name, work).await?;
    Ok(in_parts(loaded.commit_body(), Some(loaded.etag(Snapshots::All))))
}

/// Registers a metadata file that is already there as a table.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/register",
    tag = "tables",
    params(("namespace" = String, Path, description = "Levels joined by %1F")),
    request_body = RegisterTableRequest,
    responses(
        (status = 200, description = "Registered", body = LoadTableResult),
        (status = 400, description = "Not table metadata", body = IcebergErrorResponse),
        (status = 403, description = "A location outside the warehouse", body = IcebergErrorResponse),
        (status = 404, description = "No such namespace or file", body = IcebergErrorResponse),
        (status = 409, description = "It already exists", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn register_table(
    here: Here,
    NamespacePath(namespace): NamespacePath,
    accepted: Accepted,
    delegated: Delegated,
    Keyed { key, body }: Keyed<RegisterTableRequest>,
) -> Result<Response, Failure> {
    let request = body.parse(namespace)?;
    delegated.could_be(&here).await?;
    let name = request.name.clone();
    let work = async move |catalog: Catalog| catalog.register_table(request).await;
    let loaded = once_table(&here.catalog, key, name.clone(), work).await?;
    Ok(delegated.answer(&here, &name, (&loaded, Snapshots::All), &accepted).await?)
}

/// Gives a table another name, also in another namespace.
#[utoipa::path(
    post,
    path = "/v1/tables/rename",
    tag = "tables",
    request_body = RenameTableRequest,
    responses(
        (status = 204, description = "Renamed"),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such table or namespace", body = IcebergErrorResponse),
        (status = 409, description = "The new name is taken", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn rename_table(
    here: Here,
    Keyed { key, body }: Keyed<RenameTableRequest>,
) -> Result<StatusCode, Failure> {
    let (from, to) = (body.source.parse()?, body.destination.parse()?);
    once(&here.catalog, key, async move |catalog| catalog.rename(Tabular::Table, from, to).await).await?;
    Ok(StatusCode::NO_CONTENT)
}
