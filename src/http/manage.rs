//! `/manage/v1`: what an operator asks.

use axum::Json;
use axum::extract::State;
use http::StatusCode;

use super::Api;
use crate::catalog::check::Report;

/// Tries database and warehouse for real.
#[utoipa::path(
    get,
    path = "/manage/v1/check",
    tag = "operations",
    responses(
        (status = 200, description = "All is well", body = Report),
        (status = 503, description = "Something is not", body = Report),
    ),
)]
pub(super) async fn check(State(api): State<Api>) -> (StatusCode, Json<Report>) {
    let report = api.catalog.check().await;
    let status = if report.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}
