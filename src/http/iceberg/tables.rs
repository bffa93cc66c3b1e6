//! Tables: operations 9 to 12, 14, 16 and 24 of the REST specification.

use std::convert::Infallible;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::wire::{
    CreateTableRequest, IcebergErrorResponse, ListTablesResponse, LoadTableResult, RegisterTableRequest,
    RenameTableRequest, TableIdentifier,
};
use crate::catalog::Loaded;
use crate::catalog::loaded::Snapshots;
use crate::error::{Error, Result};
use crate::http::Api;
use crate::http::error::Failure;
use crate::http::extract::{JsonBody, NamespacePath, Query, TablePath};

/// The tables of a namespace.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/tables",
    tag = "tables",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("pageToken" = Option<String>, Query, description = "Empty for the first page"),
        ("pageSize" = Option<u32>, Query, description = "Entries of a page, at least 1"),
    ),
    responses(
        (status = 200, description = "The tables", body = ListTablesResponse),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such namespace", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn list_tables(
    State(api): State<Api>,
    NamespacePath(namespace): NamespacePath,
    query: Query,
) -> Result<Json<ListTablesResponse>, Failure> {
    let page = query.page()?;
    let found = api.catalog.list_tables(&namespace, page.after(), page.most()).await?;
    let (found, next_page_token) = page.cut(found, String::as_str);
    let levels = namespace.to_levels();
    let identifiers = found.into_iter().map(|name| TableIdentifier { namespace: levels.clone(), name }).collect();
    Ok(Json(ListTablesResponse { next_page_token, identifiers }))
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
    State(api): State<Api>,
    NamespacePath(namespace): NamespacePath,
    accepted: Accepted,
    JsonBody(request): JsonBody<CreateTableRequest>,
) -> Result<Response, Failure> {
    let loaded = api.catalog.create_table(request.parse(namespace)?).await?;
    Ok(answer(&loaded, Snapshots::All, &accepted))
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
    ),
    responses(
        (status = 200, description = "The table", body = LoadTableResult),
        (status = 304, description = "Nothing has changed"),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such table", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn load_table(
    State(api): State<Api>,
    TablePath(name): TablePath,
    query: Query,
    accepted: Accepted,
) -> Result<Response, Failure> {
    let snapshots = match query.get("snapshots").unwrap_or("all").to_ascii_lowercase().as_str() {
        "all" | "" => Snapshots::All,
        "refs" => Snapshots::Refs,
        other => return Err(Error::malformed(format!("snapshots {other:?} is neither all nor refs")).into()),
    };
    let loaded = api.catalog.load_table(&name).await?;
    let etag = loaded.etag(snapshots);
    if accepted.has(etag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        set_etag(&mut response, etag);
        return Ok(response);
    }
    Ok(answer(&loaded, snapshots, &accepted))
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
pub(crate) async fn table_exists(State(api): State<Api>, TablePath(name): TablePath) -> Result<StatusCode, Failure> {
    api.catalog.find(&name).await?;
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
    State(api): State<Api>,
    TablePath(name): TablePath,
    query: Query,
) -> Result<StatusCode, Failure> {
    let purge = query.flag("purgeRequested")?;
    api.catalog.drop_table(name, purge).await?;
    Ok(StatusCode::NO_CONTENT)
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
    State(api): State<Api>,
    NamespacePath(namespace): NamespacePath,
    accepted: Accepted,
    JsonBody(request): JsonBody<RegisterTableRequest>,
) -> Result<Response, Failure> {
    let loaded = api.catalog.register_table(request.parse(namespace)?).await?;
    Ok(answer(&loaded, Snapshots::All, &accepted))
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
    State(api): State<Api>,
    JsonBody(request): JsonBody<RenameTableRequest>,
) -> Result<StatusCode, Failure> {
    api.catalog.rename_table(request.source.parse()?, request.destination.parse()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn answer(loaded: &Loaded, snapshots: Snapshots, accepted: &Accepted) -> Response {
    let body = loaded.body(snapshots);
    let gzip = if accepted.gzip { body.gzip() } else { None };
    let compressed = gzip.is_some();
    let mut response = Response::new(Body::from(gzip.unwrap_or_else(|| body.plain())));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if compressed {
        fields.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        fields.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    // A staged table has nothing that a later load could be compared with.
    if loaded.metadata_location.is_some() {
        set_etag(&mut response, loaded.etag(snapshots));
    }
    response
}

/// Adds the entity tag; `serve.rs` sees to it that the name is written `ETag`.
pub(super) fn set_etag(response: &mut Response, etag: &str) {
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(ETAG, etag);
    }
}

/// What a client says it can take, and what it has.
#[derive(Debug)]
pub(crate) struct Accepted {
    gzip: bool,
    tags: Vec<HeaderValue>,
}

impl Accepted {
    fn has(&self, etag: &str) -> bool {
        self.tags.iter().any(|sent| matches_etag(sent, etag))
    }
}

impl<S: Sync> FromRequestParts<S> for Accepted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Infallible> {
        let tags = parts.headers.get_all(IF_NONE_MATCH).iter().cloned().collect();
        Ok(Self { gzip: accepts_gzip(&parts.headers), tags })
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(weight.trim().replace(' ', "").as_str(), "q=0" | "q=0.0")
    })
}

/// Whether an `If-None-Match` names the tag: in a list or alone, weak or strong, quoted or not, or `*`.
fn matches_etag(sent: &HeaderValue, etag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned();
    let own = bare(etag);
    sent.to_str().is_ok_and(|sent| sent.split(',').any(|tag| tag.trim() == "*" || bare(tag) == own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        let matches = |sent: &'static str| matches_etag(&HeaderValue::from_static(sent), "\"ab-all\"");
        assert!(matches("\"ab-all\"") && matches("ab-all") && matches("W/\"ab-all\"") && matches("*"));
        assert!(matches("\"x\", \"ab-all\""));
        assert!(!matches("\"ab-refs\"") && !matches(""));
    }
}
