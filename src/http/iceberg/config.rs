//! `GET /v1/config`: what every client asks first.

use axum::Json;
use axum::extract::State;
use indexmap::IndexMap;

use super::wire::{CatalogConfig, IcebergErrorResponse};
use crate::error::Result;
use crate::http::Api;
use crate::http::error::Failure;
use crate::http::extract::Query;
use crate::http::warehouses::asked_for;

/// What is served, in the words that clients compare. `GET /v1/config` itself need not be among them.
pub const ENDPOINTS: &[&str] = &[
    "GET /v1/{prefix}/namespaces",
    "POST /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "DELETE /v1/{prefix}/namespaces/{namespace}",
    "POST /v1/{prefix}/namespaces/{namespace}/properties",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/unregister",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/sign",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/plan",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/plan/{plan-id}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}/plan/{plan-id}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/tasks",
    "POST /v1/{prefix}/namespaces/{namespace}/register",
    "POST /v1/{prefix}/tables/rename",
    "POST /v1/{prefix}/transactions/commit",
    "GET /v1/{prefix}/namespaces/{namespace}/views",
    "POST /v1/{prefix}/namespaces/{namespace}/views",
    "GET /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/{prefix}/views/rename",
    "POST /v1/{prefix}/namespaces/{namespace}/register-view",
    "GET /v1/{prefix}/namespaces/{namespace}/functions",
    "GET /v1/{prefix}/namespaces/{namespace}/functions/{function}",
];

/// What a client must know before it can speak to the catalog.
#[utoipa::path(
    get,
    path = "/v1/config",
    tag = "catalog",
    params(("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent or empty")),
    responses(
        (status = 200, description = "The configuration", body = CatalogConfig),
        (status = 404, description = "No such warehouse", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn get_config(State(api): State<Api>, query: Query) -> Result<Json<CatalogConfig>, Failure> {
    let selected = asked_for(&api, &query)?;
    // Pinned, so that no client guesses another.
    let mut overrides = IndexMap::from([("namespace-separator".to_owned(), "%1F".to_owned())]);
    if let Some(prefix) = selected.prefix() {
        overrides.insert("prefix".to_owned(), prefix.to_owned());
    }
    let lifetime = selected.served.catalog.keys().settings().lifetime;
    Ok(Json(CatalogConfig {
        defaults: IndexMap::new(),
        overrides,
        endpoints: ENDPOINTS.to_vec(),
        idempotency_key_lifetime: format!("PT{}S", lifetime.as_secs()),
    }))
}
