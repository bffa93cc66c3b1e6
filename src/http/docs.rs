//! The API's description: `/openapi.json`, and pages to read it at `/docs`, served from the binary alone.

use axum::Json;
use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::Api;

/// What the document says before its routes.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "floeberg",
        description = "An Apache Iceberg REST catalog, an HTTP ingest endpoint and a table keeper in one binary.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "catalog", description = "What a client asks first"),
        (name = "namespaces", description = "Namespaces of the Iceberg REST protocol"),
        (name = "tables", description = "Tables of the Iceberg REST protocol"),
        (name = "views", description = "Views of the Iceberg REST protocol"),
        (name = "functions", description = "Functions of the Iceberg REST protocol"),
        (name = "ingest", description = "Rows pushed over HTTP"),
        (name = "operations", description = "Health, metrics, documentation"),
    )
)]
pub(super) struct Description;

/// The document that describes every route.
pub fn document() -> Document {
    super::routes_and_document().1
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub(super) async fn openapi_json() -> Json<Document> {
    Json(document())
}

/// The pages at `/docs`, and the way there from `/`.
pub(super) fn pages(document: Document) -> Router<Api> {
    let ui = SwaggerUi::new("/docs").url("/docs/openapi.json", document).config(Config::new(["/openapi.json"]));
    Router::new().merge(ui).route("/", get(|| async { Redirect::temporary("/docs/") }))
}
