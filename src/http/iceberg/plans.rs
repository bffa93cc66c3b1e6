//! Scan planning: operations 20 to 23 of the REST specification.

use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::delegation::{Delegated, credentials_to_read};
use super::plan_wire::{CompletedPlanningResult, CompletedPlanningWithIDResult, FetchScanTasksResult, Predicate};
use super::wire::{IcebergErrorResponse, StorageCredential};
use crate::catalog::plan::{PlanRequest, ScanTasks};
use crate::error::{Error, Result};
use crate::http::error::Failure;
use crate::http::extract::{JsonBody, PlanPath, TablePath};
use crate::http::warehouses::Here;

/// `PlanTableScanRequest`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PlanTableScanRequest {
    /// The snapshot; the newest of `main` if absent.
    snapshot_id: Option<i64>,
    /// The columns wanted.
    select: Option<Vec<String>>,
    /// What rows are wanted.
    #[schema(value_type = Option<Predicate>)]
    filter: Option<Box<RawValue>>,
    /// Rows that are enough.
    min_rows_requested: Option<i64>,
    /// Whether names of columns are compared as they are written; yes if absent.
    case_sensitive: Option<bool>,
    /// Whether the schema is the one that the snapshot was written with; no if absent.
    use_snapshot_schema: Option<bool>,
    /// Only what was appended after this snapshot.
    start_snapshot_id: Option<i64>,
    /// Only what was appended up to this snapshot.
    end_snapshot_id: Option<i64>,
    /// The columns whose statistics are wanted.
    stats_fields: Option<Vec<String>>,
}

impl PlanTableScanRequest {
    fn parse(self) -> Result<PlanRequest> {
        let between = match (self.start_snapshot_id, self.end_snapshot_id, self.snapshot_id) {
            (None, None, _) => None,
            (Some(start), Some(end), None) => Some((start, end)),
            (Some(_), Some(_), Some(_)) => {
                return Err(Error::malformed(
                    "A scan is of one snapshot (snapshot-id) or between two (start-snapshot-id and end-snapshot-id), not both",
                ));
            }
            _ => return Err(Error::malformed("start-snapshot-id and end-snapshot-id are needed together")),
        };
        if let Some(rows) = self.min_rows_requested.filter(|rows| *rows < 0) {
            return Err(Error::malformed(format!("min-rows-requested is {rows}: it cannot be negative")));
        }
        Ok(PlanRequest {
            snapshot_id: self.snapshot_id,
            between,
            select: self.select.unwrap_or_default(),
            filter: self.filter,
            case_sensitive: self.case_sensitive.unwrap_or(true),
            use_snapshot_schema: self.use_snapshot_schema.unwrap_or(false),
            stats_fields: self.stats_fields.unwrap_or_default(),
            min_rows: self.min_rows_requested,
        })
    }
}

/// `FetchScanTasksRequest`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct FetchScanTasksRequest {
    /// A task that a plan, or another task, handed out.
    plan_task: String,
}

/// Plans a scan. The plan is complete: the answer holds the first files, and a task for each part of the rest.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/tables/{table}/plan",
    tag = "scans",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("table" = String, Path, description = "The table's name"),
    ),
    request_body = PlanTableScanRequest,
    responses(
        (status = 200, description = "The plan", body = CompletedPlanningWithIDResult),
        (status = 400, description = "Malformed request, or no such snapshot or column", body = IcebergErrorResponse),
        (status = 404, description = "No such table", body = IcebergErrorResponse),
        (status = 406, description = "Never answered: every table can be planned", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn plan_table_scan(
    here: Here,
    TablePath(name): TablePath,
    delegated: Delegated,
    JsonBody(request): JsonBody<PlanTableScanRequest>,
) -> Result<Response, Failure> {
    let planned = here.catalog.plan_scan(&name, request.parse()?).await?;
    let keys = credentials_to_read(&here, &name, delegated).await?;
    let head = format!("\"status\":\"completed\",\"plan-id\":{},", serde_json::Value::from(planned.plan_id));
    completed(&head, &keys, planned.tasks)
}

/// The result of a plan once more.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/tables/{table}/plan/{plan-id}",
    tag = "scans",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("table" = String, Path, description = "The table's name"),
        ("plan-id" = String, Path, description = "The plan"),
    ),
    responses(
        (status = 200, description = "The plan", body = CompletedPlanningResult),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such plan or table", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn fetch_planning_result(
    here: Here,
    PlanPath { table, plan_id }: PlanPath,
    delegated: Delegated,
) -> Result<Response, Failure> {
    let tasks = here.catalog.plan_again(&table, &plan_id).await?;
    let keys = credentials_to_read(&here, &table, delegated).await?;
    completed("\"status\":\"completed\",", &keys, tasks)
}

/// Ends a plan. Nothing is kept for one, so there is nothing to do.
#[utoipa::path(
    delete,
    path = "/v1/namespaces/{namespace}/tables/{table}/plan/{plan-id}",
    tag = "scans",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("table" = String, Path, description = "The table's name"),
        ("plan-id" = String, Path, description = "The plan"),
    ),
    responses(
        (status = 204, description = "Ended"),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such plan or table", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn cancel_planning(here: Here, PlanPath { table, plan_id }: PlanPath) -> Result<StatusCode, Failure> {
    here.catalog.cancel_plan(&table, &plan_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The files of a part of a plan.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/tables/{table}/tasks",
    tag = "scans",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("table" = String, Path, description = "The table's name"),
    ),
    request_body = FetchScanTasksRequest,
    responses(
        (status = 200, description = "The files, and tasks for what is left of the part", body = FetchScanTasksResult),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such task or table", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn fetch_scan_tasks(
    here: Here,
    TablePath(name): TablePath,
    JsonBody(request): JsonBody<FetchScanTasksRequest>,
) -> Result<Response, Failure> {
    answer("", here.catalog.scan_tasks(&name, &request.plan_task).await?)
}

/// A plan, with the keys that its files are read with.
fn completed(head: &str, keys: &[StorageCredential], tasks: ScanTasks) -> Result<Response, Failure> {
    if keys.is_empty() {
        return answer(head, tasks);
    }
    let keys = serde_json::to_string(keys);
    let keys = keys.map_err(|error| Error::internal("An answer cannot be written").because(error))?;
    let mut response = answer(&format!("{head}\"storage-credentials\":{keys},"), tasks)?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The tasks as they were written, in an object that begins with `head`.
fn answer(head: &str, tasks: ScanTasks) -> Result<Response, Failure> {
    let ScanTasks { file_scan_tasks, delete_files, plan_tasks } = tasks;
    let plan_tasks = serde_json::Value::from(plan_tasks);
    let mut body = format!("{{{head}\"plan-tasks\":{plan_tasks},\"file-scan-tasks\":").into_bytes();
    body.extend_from_slice(&file_scan_tasks);
    if !delete_files.is_empty() {
        body.extend_from_slice(b",\"delete-files\":");
        body.extend_from_slice(&delete_files);
    }
    body.push(b'}');
    let mut response = Response::new(axum::body::Body::from(Bytes::from(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
