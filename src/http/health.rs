//! Is it alive, is it ready, what does it count.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;

/// The answer of both health routes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`, `stopping` or `database`.
    status: &'static str,
}

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "operations", responses((status = 200, description = "Alive", body = Health)))]
pub(super) async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// The server takes work: its database answers and it is not stopping.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "operations",
    responses(
        (status = 200, description = "Ready", body = Health),
        (status = 503, description = "Not ready: stopping, or the database does not answer", body = Health),
    ),
)]
pub(super) async fn ready(State(api): State<Api>) -> (StatusCode, Json<Health>) {
    if api.readiness.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "stopping" }));
    }
    match api.warehouses.store().ping().await {
        Ok(()) => (StatusCode::OK, Json(Health { status: "ok" })),
        Err(error) => {
            tracing::error!(error = error.chain(), "the database does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "database" }))
        }
    }
}

/// What the server counts, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, description = "Counters and histograms", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(State(api): State<Api>) -> ([(http::HeaderName, &'static str); 1], String) {
    api.warehouses.set().all().for_each(|served| served.ingest.measure());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics.render())
}
