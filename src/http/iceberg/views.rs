//! Views: operations 26 to 33 of the REST specification.

use axum::Json;
use axum::response::Response;
use http::StatusCode;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::wire::{IcebergErrorResponse, ListTablesResponse, RenameTableRequest, TableIdentifier};
use crate::catalog::change::view::ViewChange;
use crate::catalog::metadata::schema::Schema;
use crate::catalog::metadata::view::ViewVersion;
use crate::catalog::views::{LoadedView, NewView};
use crate::catalog::{Catalog, Files};
use crate::error::Result;
use crate::http::answer::Accepted;
use crate::http::error::Failure;
use crate::http::extract::{NamespacePath, Query, ViewPath};
use crate::http::keyed::{KeyOnly, Keyed, once, once_view};
use crate::http::warehouses::Here;
use crate::names::{Namespace, TableName, Tabular};

/// `CreateViewRequest`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CreateViewRequest {
    /// The view's name.
    name: String,
    /// Where its files are to go.
    #[serde(default)]
    location: Option<String>,
    /// The columns of its rows.
    #[schema(value_type = Object)]
    schema: Box<RawValue>,
    /// Its query.
    #[schema(value_type = Object)]
    view_version: Box<RawValue>,
    /// Its properties.
    #[serde(default)]
    properties: Option<IndexMap<String, String>>,
}

impl CreateViewRequest {
    fn parse(self, namespace: Namespace) -> Result<NewView> {
        Ok(NewView {
            name: TableName::new(namespace, &self.name)?,
            location: self.location,
            schema: Schema::parse(&self.schema)?,
            version: ViewVersion::parse(&self.view_version)?,
            properties: self.properties.unwrap_or_default(),
        })
    }
}

/// `CommitViewRequest`
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CommitViewRequest {
    /// The view; the path's own where it is absent.
    #[serde(default)]
    identifier: Option<TableIdentifier>,
    /// What must be true of the view.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    requirements: Vec<Box<RawValue>>,
    /// What is to be done.
    #[schema(value_type = Vec<Object>)]
    updates: Vec<Box<RawValue>>,
}

/// `RegisterViewRequest`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RegisterViewRequest {
    /// The view's name.
    name: String,
    /// The metadata file, which is already there.
    metadata_location: String,
}

/// `LoadViewResult`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LoadViewResult {
    /// The metadata file.
    metadata_location: String,
    /// The view's metadata.
    #[schema(value_type = Object)]
    metadata: (),
    /// What a client uses for this view whatever its own settings say.
    config: IndexMap<String, String>,
}

fn answer(view: &LoadedView, accepted: &Accepted) -> Response {
    accepted.answer(view.body(), Some(view.etag()))
}

/// The views of a namespace.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/views",
    tag = "views",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("pageToken" = Option<String>, Query, description = "Empty for the first page"),
        ("pageSize" = Option<u32>, Query, minimum = 1, description = "Entries of a page, at least 1"),
    ),
    responses(
        (status = 200, description = "The views", body = ListTablesResponse),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such namespace", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn list_views(
    here: Here,
    NamespacePath(namespace): NamespacePath,
    query: Query,
) -> Result<Json<ListTablesResponse>, Failure> {
    let page = query.page()?;
    let found = here.catalog.list(Tabular::View, &namespace, page.after(), page.most()).await?;
    Ok(Json(ListTablesResponse::of(&page, &namespace, found)))
}

/// A new view.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/views",
    tag = "views",
    params(("namespace" = String, Path, description = "Levels joined by %1F")),
    request_body = CreateViewRequest,
    responses(
        (status = 200, description = "Created", body = LoadViewResult),
        (status = 400, description = "Malformed or invalid request", body = IcebergErrorResponse),
        (status = 403, description = "A location outside the warehouse", body = IcebergErrorResponse),
        (status = 404, description = "No such namespace", body = IcebergErrorResponse),
        (status = 409, description = "A table or view of that name exists", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn create_view(
    here: Here,
    NamespacePath(namespace): NamespacePath,
    accepted: Accepted,
    Keyed { key, body }: Keyed<CreateViewRequest>,
) -> Result<Response, Failure> {
    let new = body.parse(namespace)?;
    let name = new.name.clone();
    let view = once_view(&here.catalog, key, name, async move |catalog| catalog.create_view(new).await).await?;
    Ok(answer(&view, &accepted))
}

/// A view's metadata.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/views/{view}",
    tag = "views",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("view" = String, Path, description = "The view's name"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an earlier answer"),
    ),
    responses(
        (status = 200, description = "The view", body = LoadViewResult),
        (status = 304, description = "Nothing has changed"),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such view", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn load_view(here: Here, ViewPath(name): ViewPath, accepted: Accepted) -> Result<Response, Failure> {
    let view = here.catalog.load_view(&name).await?;
    Ok(accepted.not_modified(view.etag()).unwrap_or_else(|| answer(&view, &accepted)))
}

/// Whether a view exists.
#[utoipa::path(
    head,
    path = "/v1/namespaces/{namespace}/views/{view}",
    tag = "views",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("view" = String, Path, description = "The view's name"),
    ),
    responses((status = 204, description = "It exists"), (status = 404, description = "It does not")),
)]
pub(crate) async fn view_exists(here: Here, ViewPath(name): ViewPath) -> Result<StatusCode, Failure> {
    here.catalog.find_of(Tabular::View, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Commits updates to a view.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/views/{view}",
    tag = "views",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("view" = String, Path, description = "The view's name"),
    ),
    request_body = CommitViewRequest,
    responses(
        (status = 200, description = "Committed", body = LoadViewResult),
        (status = 400, description = "Malformed or invalid update", body = IcebergErrorResponse),
        (status = 403, description = "A location outside the warehouse", body = IcebergErrorResponse),
        (status = 404, description = "No such view", body = IcebergErrorResponse),
        (status = 409, description = "A requirement does not hold", body = IcebergErrorResponse),
        (status = 500, description = "The outcome is not known", body = IcebergErrorResponse),
        (status = 503, description = "Certainly not committed; try again", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn replace_view(
    here: Here,
    ViewPath(name): ViewPath,
    accepted: Accepted,
    Keyed { key, body: request }: Keyed<CommitViewRequest>,
) -> Result<Response, Failure> {
    if let Some(identifier) = &request.identifier {
        identifier.must_be(Tabular::View, &name)?;
    }
    let change = ViewChange::parse(&request.requirements, &request.updates)?;
    let own = name.clone();
    let view = once_view(&here.catalog, key, own, async move |catalog| catalog.commit_view(name, change).await).await?;
    Ok(answer(&view, &accepted))
}

/// Drops a view; its files stay.
#[utoipa::path(
    delete,
    path = "/v1/namespaces/{namespace}/views/{view}",
    tag = "views",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("view" = String, Path, description = "The view's name"),
    ),
    responses(
        (status = 204, description = "Dropped"),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such view", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn drop_view(
    here: Here,
    ViewPath(name): ViewPath,
    KeyOnly(key): KeyOnly,
) -> Result<StatusCode, Failure> {
    once(&here.catalog, key, async move |catalog| catalog.drop_tabular(Tabular::View, name, Files::Stay).await).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a view another name, also in another namespace.
#[utoipa::path(
    post,
    path = "/v1/views/rename",
    tag = "views",
    request_body = RenameTableRequest,
    responses(
        (status = 204, description = "Renamed"),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such view or namespace", body = IcebergErrorResponse),
        (status = 409, description = "The new name is taken", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn rename_view(
    here: Here,
    Keyed { key, body }: Keyed<RenameTableRequest>,
) -> Result<StatusCode, Failure> {
    let (from, to) = (body.source.parse()?, body.destination.parse()?);
    once(&here.catalog, key, async move |catalog| catalog.rename(Tabular::View, from, to).await).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Registers a metadata file that is already there as a view.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/register-view",
    tag = "views",
    params(("namespace" = String, Path, description = "Levels joined by %1F")),
    request_body = RegisterViewRequest,
    responses(
        (status = 200, description = "Registered", body = LoadViewResult),
        (status = 400, description = "Not view metadata", body = IcebergErrorResponse),
        (status = 403, description = "A location outside the warehouse", body = IcebergErrorResponse),
        (status = 404, description = "No such namespace or file", body = IcebergErrorResponse),
        (status = 409, description = "A table or view of that name exists", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn register_view(
    here: Here,
    NamespacePath(namespace): NamespacePath,
    accepted: Accepted,
    Keyed { key, body: request }: Keyed<RegisterViewRequest>,
) -> Result<Response, Failure> {
    let name = TableName::new(namespace, &request.name)?;
    let (own, location) = (name.clone(), request.metadata_location);
    let work = async move |catalog: Catalog| catalog.register_view(name, &location).await;
    let view = once_view(&here.catalog, key, own, work).await?;
    Ok(answer(&view, &accepted))
}
