//! The API's description: `/openapi.json`, and pages to read it at `/docs`, served from the binary alone.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::Redirect;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder, Server};
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
        (name = "scans", description = "Scan planning of the Iceberg REST protocol"),
        (name = "views", description = "Views of the Iceberg REST protocol"),
        (name = "functions", description = "Functions of the Iceberg REST protocol"),
        (name = "ingest", description = "Rows pushed over HTTP"),
        (name = "operations", description = "Health, metrics, documentation"),
    )
)]
pub(super) struct Description;

/// The document that describes every route.
pub fn document() -> Document {
    complete(super::routes_and_document().1, "")
}

/// What the routes say, and what is true of many: of a server whose routes are under a path.
pub(super) fn complete(mut document: Document, base_path: &str) -> Document {
    if !base_path.is_empty() {
        document.servers = Some(vec![Server::new(base_path)]);
    }
    for (path, item) in &mut document.paths.paths {
        let changing = [&mut item.post, &mut item.delete];
        for operation in changing.into_iter().flatten().filter(|_| takes_key(path)) {
            add_key(operation);
        }
        let operations = [&mut item.get, &mut item.head, &mut item.post, &mut item.put, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            add_common(path, operation);
        }
    }
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme(BEARER, bearer);
    // Whether one is needed is the server's setting.
    let either = [SecurityRequirement::default(), SecurityRequirement::new(BEARER, [""; 0])];
    document.security = Some(either.into());
    document
}

const BEARER: &str = "token";

/// Whether what is under a path is done once for each `Idempotency-Key`.
fn takes_key(path: &str) -> bool {
    let asks = ["/oauth/tokens", "/metrics", "/plan", "/plan/{plan-id}", "/tasks"];
    path.starts_with("/v1/") && !asks.iter().any(|asks| path.ends_with(asks))
}

fn add_key(operation: &mut Operation) {
    let key = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some("A UUID: the same request with the same key is done once, and answered alike"))
        .schema(Some(Object::with_type(Type::String)))
        .build();
    operation.parameters.get_or_insert_default().push(key.into());
    let used = answer("The key was used for another request", "IcebergErrorResponse");
    operation.responses.responses.entry("422".to_owned()).or_insert_with(|| used.into());
}

fn answer(description: &str, body: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(body))).build();
    let media = if body == PROBLEM { PROBLEM_MEDIA } else { JSON_MEDIA };
    ResponseBuilder::new().description(description).content(media, content).build()
}

const PROBLEM: &str = "Problem";
const PROBLEM_MEDIA: &str = "application/problem+json";
const JSON_MEDIA: &str = "application/json";

/// What any request under a path may be answered, beside what its route says itself.
fn add_common(path: &str, operation: &mut Operation) {
    let (common, body): (&[(&str, &str)], _) = match path.split('/').nth(1) {
        Some("v1") if path == "/v1/oauth/tokens" => (&[("5XX", FAULT)], "OAuthError"),
        Some("v1") => (COMMON, "IcebergErrorResponse"),
        Some("ingest" | "manage") => (COMMON_ELSEWHERE, PROBLEM),
        _ => return,
    };
    let responses = &mut operation.responses.responses;
    // Only of a commit can a proxy lose the outcome; only a body can be too large.
    let (commits, sends) = (responses.contains_key("500"), operation.request_body.is_some());
    let fits = |status: &str| match status {
        "413" => sends,
        "502" | "504" => commits,
        _ => true,
    };
    for (status, description) in common.iter().filter(|(status, _)| fits(status)) {
        responses.entry((*status).to_owned()).or_insert_with(|| answer(description, body).into());
    }
    if body == PROBLEM {
        let refused = responses.iter_mut().filter(|(status, _)| !status.starts_with('2'));
        for response in refused.filter_map(|(_, response)| match response {
            RefOr::T(response) => Some(response),
            RefOr::Ref(_) => None,
        }) {
            // A route says only which body it is.
            if let Some(content) = response.content.shift_remove(JSON_MEDIA) {
                response.content.insert(PROBLEM_MEDIA.to_owned(), content);
            }
        }
    }
}

const FAULT: &str = "A fault of the server; its log says more under the answer's x-request-id";

/// Statuses of the REST specification that need no word at each route.
const COMMON: &[(&str, &str)] = &[
    ("400", "Malformed request"),
    ("401", "No valid token"),
    ("403", "The token may not do this"),
    ("406", "Never answered: what stands here is supported"),
    ("413", "The body is larger than is taken"),
    ("419", "Never answered: 401 says that a token has ended"),
    ("502", "From a proxy: the outcome is not known"),
    ("503", "Certainly not done; try again after Retry-After"),
    ("504", "From a proxy: the outcome is not known"),
    ("5XX", FAULT),
];

/// What may happen to any request outside `/v1`.
const COMMON_ELSEWHERE: &[(&str, &str)] = &[
    ("400", "Malformed request"),
    ("401", "No valid token"),
    ("403", "The token may not do this"),
    ("413", "The body is larger than is taken"),
];

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub(super) async fn openapi_json(State(api): State<Api>) -> Json<Document> {
    Json(complete(super::routes_and_document().1, &api.base_path))
}

/// The pages at `/docs`, and the way there from `/`.
pub(super) fn pages(document: Document, base_path: &str) -> Router<Api> {
    let config = Config::new(["../openapi.json"]);
    let ui = SwaggerUi::new("/docs").url("/docs/openapi.json", document).config(config);
    let there = format!("{base_path}/docs/");
    Router::new().merge(ui).route("/", get(async move || Redirect::temporary(&there)))
}
