//! Metrics reports: operation 17 of the REST specification.

use axum::extract::Request;
use http::StatusCode;

use super::wire::{IcebergErrorResponse, ReportMetricsRequest};
use crate::error::{Error, Result};
use crate::http::error::Failure;
use crate::http::extract::{Room, TablePath, read_body};
use crate::http::warehouses::Here;
use crate::limits;

/// Takes a report of a scan or commit. It is kept if the table exists, counted anyhow: Trino reports on a table before
/// it creates it.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/tables/{table}/metrics",
    tag = "tables",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("table" = String, Path, description = "The table's name"),
    ),
    request_body = ReportMetricsRequest,
    responses(
        (status = 204, description = "Taken"),
        (status = 400, description = "Not a report", body = IcebergErrorResponse),
        (status = 404, description = "Never answered: a report of a table that is not there is counted", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn report_metrics(
    here: Here,
    TablePath(name): TablePath,
    request: Request,
) -> Result<StatusCode, Failure> {
    let body = read_body(request, limits::REPORT_BYTES_MAX, &mut Room::default()).await?;
    let report: ReportMetricsRequest = serde_json::from_slice(&body)
        .map_err(|error| Error::malformed(format!("Malformed metrics report: {error}")))?;
    let kind = match report.report_type.as_str() {
        "scan-report" => "scan",
        "commit-report" => "commit",
        _ => "other",
    };
    metrics::counter!("floeberg_metrics_reports_total", "kind" => kind).increment(1);
    let text = String::from_utf8_lossy(&body).into_owned();
    if let Ok(row) = here.catalog.find(&name).await {
        here.api.reports.offer(&row.id, text);
    }
    Ok(StatusCode::NO_CONTENT)
}
