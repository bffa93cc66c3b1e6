//! Namespaces: operations 3 to 8 of the REST specification.

use axum::Json;
use http::StatusCode;

use super::wire::{
    CreateNamespaceRequest, IcebergErrorResponse, ListNamespacesResponse, NamespaceResponse,
    UpdateNamespacePropertiesRequest, UpdateNamespacePropertiesResponse,
};
use crate::catalog::{Catalog, PropertyChanges, PropertyRemovals};
use crate::error::Result;
use crate::http::error::Failure;
use crate::http::extract::{NamespacePath, Query};
use crate::http::keyed::{KeyOnly, Keyed, once};
use crate::http::warehouses::Here;
use crate::names::Namespace;

/// The direct children of a namespace.
#[utoipa::path(
    get,
    path = "/v1/namespaces",
    tag = "namespaces",
    params(
        ("parent" = Option<String>, Query, description = "Levels joined by %1F; the top level if absent"),
        ("pageToken" = Option<String>, Query, description = "Empty for the first page"),
        ("pageSize" = Option<u32>, Query, minimum = 1, description = "Entries of a page, at least 1"),
    ),
    responses(
        (status = 200, description = "The namespaces", body = ListNamespacesResponse),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such parent", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn list_namespaces(here: Here, query: Query) -> Result<Json<ListNamespacesResponse>, Failure> {
    let page = query.page()?;
    let parents = query.parents()?;
    let mut parent = parents.first();
    for other in parents.iter().skip(1) {
        // What was meant is what exists; if neither does, the plain reading is named in the error.
        if here.catalog.namespace_exists(&parents[0]).await.is_err()
            && here.catalog.namespace_exists(other).await.is_ok()
        {
            parent = Some(other);
        }
    }
    let found = here.catalog.list_namespaces(parent, page.after(), page.most()).await?;
    let (found, next_page_token) = page.cut(found, Namespace::path);
    Ok(Json(ListNamespacesResponse { next_page_token, namespaces: found.iter().map(Namespace::to_levels).collect() }))
}

/// A new namespace; its parent must exist.
#[utoipa::path(
    post,
    path = "/v1/namespaces",
    tag = "namespaces",
    request_body = CreateNamespaceRequest,
    responses(
        (status = 200, description = "Created", body = NamespaceResponse),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such parent", body = IcebergErrorResponse),
        (status = 409, description = "It already exists", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn create_namespace(
    here: Here,
    Keyed { key, body: request }: Keyed<CreateNamespaceRequest>,
) -> Result<Json<NamespaceResponse>, Failure> {
    let namespace = Namespace::new(&request.namespace)?;
    let properties = request.properties.unwrap_or_default();
    let kept = properties.clone();
    once(&here.catalog, key, async move |catalog| catalog.create_namespace(&namespace, &kept).await).await?;
    Ok(Json(NamespaceResponse { namespace: request.namespace, properties }))
}

/// A namespace's properties.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}",
    tag = "namespaces",
    params(("namespace" = String, Path, description = "Levels joined by %1F")),
    responses(
        (status = 200, description = "The namespace", body = NamespaceResponse),
        (status = 404, description = "No such namespace", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn load_namespace(
    here: Here,
    NamespacePath(namespace): NamespacePath,
) -> Result<Json<NamespaceResponse>, Failure> {
    let properties = here.catalog.load_namespace(&namespace).await?;
    Ok(Json(NamespaceResponse { namespace: namespace.to_levels(), properties }))
}

/// Whether a namespace exists.
#[utoipa::path(
    head,
    path = "/v1/namespaces/{namespace}",
    tag = "namespaces",
    params(("namespace" = String, Path, description = "Levels joined by %1F")),
    responses((status = 204, description = "It exists"), (status = 404, description = "It does not")),
)]
pub(crate) async fn namespace_exists(
    here: Here,
    NamespacePath(namespace): NamespacePath,
) -> Result<StatusCode, Failure> {
    here.catalog.namespace_exists(&namespace).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Drops a namespace that holds nothing.
#[utoipa::path(
    delete,
    path = "/v1/namespaces/{namespace}",
    tag = "namespaces",
    params(("namespace" = String, Path, description = "Levels joined by %1F")),
    responses(
        (status = 204, description = "Dropped"),
        (status = 404, description = "No such namespace", body = IcebergErrorResponse),
        (status = 409, description = "It is not empty", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn drop_namespace(
    here: Here,
    NamespacePath(namespace): NamespacePath,
    KeyOnly(key): KeyOnly,
) -> Result<StatusCode, Failure> {
    once(&here.catalog, key, async move |catalog| catalog.drop_namespace(&namespace).await).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets and removes properties of a namespace, all or nothing.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/properties",
    tag = "namespaces",
    params(("namespace" = String, Path, description = "Levels joined by %1F")),
    request_body = UpdateNamespacePropertiesRequest,
    responses(
        (status = 200, description = "Done", body = UpdateNamespacePropertiesResponse),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such namespace", body = IcebergErrorResponse),
        (status = 422, description = "A key is to be set and removed", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn update_properties(
    here: Here,
    NamespacePath(namespace): NamespacePath,
    Keyed { key, body: request }: Keyed<UpdateNamespacePropertiesRequest>,
) -> Result<Json<UpdateNamespacePropertiesResponse>, Failure> {
    let changes = PropertyChanges {
        removals: request.removals.unwrap_or_default(),
        updates: request.updates.unwrap_or_default(),
    };
    let work = async move |catalog: Catalog| catalog.change_properties(&namespace, changes).await;
    let again = async |_, text: String| PropertyRemovals::from_text(&text);
    let done = here.catalog.once(key, work, PropertyRemovals::to_text, again).await?;
    Ok(Json(UpdateNamespacePropertiesResponse { updated: done.updated, removed: done.removed, missing: done.missing }))
}
