//! The API's description: `/openapi.json`, and pages to read it at `/docs`, served from the binary alone.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::Redirect;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::{OpenApi as Document, Server};
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

/// The document of a server whose routes are under a path.
fn document_under(base_path: &str) -> Document {
    let mut document = document();
    if !base_path.is_empty() {
        document.servers = Some(vec![Server::new(base_path)]);
    }
    document
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub(super) async fn openapi_json(State(api): State<Api>) -> Json<Document> {
    Json(document_under(&api.base_path))
}

/// The pages at `/docs`, and the way there from `/`.
pub(super) fn pages(base_path: &str) -> Router<Api> {
    let config = Config::new(["../openapi.json"]);
    let ui = SwaggerUi::new("/docs").url("/docs/openapi.json", document_under(base_path)).config(config);
    let there = format!("{base_path}/docs/");
    Router::new().merge(ui).route("/", get(async move || Redirect::temporary(&there)))
}
