//! `/ingest/v1`: rows pushed over HTTP.

use std::time::Duration;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::Failure;
use super::extract::{DottedPath, Query, discard, pieces};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::ingest::{
    Append, AppendOptions, Committed, Encoding, Evolution, Format, Outcome, Reserved, RowError, Unknown, Verdicts,
};
use crate::names::TableName;
use crate::warehouses::Served;

/// What became of the rows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IngestResponse {
    /// The rows, counted.
    rows: RowCounts,
    /// The tables that hold them.
    tables: Vec<TableReceipt>,
    /// What was waited for.
    ack: &'static str,
    /// Whether the request had been answered before.
    duplicate: bool,
    /// What is wrong with rows that were left out.
    errors: Vec<RowError>,
    /// Whether there are more of them.
    errors_truncated: bool,
}

/// Rows, counted: received = written + rejected + duplicate.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RowCounts {
    received: usize,
    written: usize,
    rejected: usize,
    duplicate: usize,
}

/// Where rows are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TableReceipt {
    /// The table, as the path takes it.
    table: String,
    /// The snapshot that holds the rows.
    snapshot_id: Option<i64>,
    /// Its sequence number.
    sequence_number: Option<i64>,
    /// Data files that the snapshot added.
    files: usize,
}

/// The answer to rows that do not fit (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    /// The first of the errors.
    errors: Vec<RowError>,
    /// Whether there are more.
    errors_truncated: bool,
}

/// Appends rows to a table, which is created if it does not exist. The answer comes when they are in a snapshot.
#[utoipa::path(
    post,
    path = "/ingest/v1/{namespace}/{table}",
    tag = "ingest",
    params(
        ("namespace" = String, Path, description = "Levels joined by dots, or by %1F where a level holds a dot"),
        ("table" = String, Path, description = "The table's name"),
        ("ack" = Option<String>, Query, description = "commit: the answer comes when the rows are committed"),
        ("partition_by" = Option<String>, Query, description = "How a new table is partitioned: day(time),bucket(16,id)"),
        ("sort_by" = Option<String>, Query, description = "How a new table is sorted: time desc nulls last,id"),
        ("schema" = Option<String>, Query, description = "add-columns: the table may grow; strict: it may not"),
        ("unknown_fields" = Option<String>, Query, description = "add, refuse, ignore, or capture (in the column _extra)"),
        ("time_precision" = Option<String>, Query, description = "truncate: fractions finer than the column are cut off"),
        ("timeout" = Option<String>, Query, description = "How long to wait: 60s, 500ms"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    request_body(
        content(
            (String = "application/x-ndjson"),
            (Object = "application/json"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
            (Vec<u8> = "application/vnd.apache.parquet"),
        ),
        description = "A JSON array of objects, one object, or objects line by line; an Arrow IPC stream; a Parquet file. Content-Encoding gzip, zstd, lz4 or br",
    ),
    responses(
        (status = 200, description = "Committed", body = IngestResponse),
        (status = 400, description = "Malformed request", body = Problem),
        (status = 403, description = "A location outside the warehouse", body = Problem),
        (status = 404, description = "No such table, and tables are not created", body = Problem),
        (status = 409, description = "The table is laid out otherwise, or changed meanwhile", body = Problem),
        (status = 413, description = "Too many bytes or rows", body = Problem),
        (status = 415, description = "A format or encoding that is not spoken here", body = Problem),
        (status = 422, description = "Rows do not fit; nothing was written", body = Problem),
        (status = 429, description = "The table's share of the memory is used up; slow down", body = Problem),
        (status = 500, description = "The outcome is not known", body = Problem),
        (status = 503, description = "Certainly not written; try again", body = Problem),
        (status = 504, description = "Not committed in time; it may still be", body = Problem),
    ),
)]
pub(super) async fn append(
    State(api): State<Api>,
    DottedPath(candidates): DottedPath,
    query: Query,
    request: Request,
) -> Result<Response, Failure> {
    let prepared = prepare(&api, candidates, &query, request.headers()).await;
    let Prepared { served, table, options, format, encoding, admitted } = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let waits = request.headers().contains_key(EXPECT);
            if !waits {
                discard(request.into_body()).await;
            }
            return Err(error.into());
        }
    };
    let most = served.ingest.settings().body;
    let mut body = pieces(request.into_body(), most);
    match served.ingest.append(Append { table, format, encoding, options }, admitted, &mut body).await {
        Ok(Outcome::Committed(committed)) => Ok(receipt(&committed).into_response()),
        Ok(Outcome::Refused { rows, verdicts }) => Ok(refusal(rows, verdicts)),
        Err(error) => {
            discard(body.into_inner()).await;
            Err(error.into())
        }
    }
}

/// A request whose body may be read.
struct Prepared {
    served: Arc<Served>,
    table: TableName,
    options: AppendOptions,
    format: Format,
    encoding: Encoding,
    admitted: Reserved,
}

/// Everything that can be said of a request before its body is read.
async fn prepare(api: &Api, candidates: Vec<TableName>, query: &Query, headers: &HeaderMap) -> Result<Prepared> {
    let options = options(query)?;
    let served = api.warehouses.select(query.get("warehouse").unwrap_or_default())?.served;
    let format = Format::parse(header(headers, &CONTENT_TYPE))?;
    let encoding = Encoding::parse(header(headers, &CONTENT_ENCODING))?;
    let table = served.catalog.meant(candidates).await?;
    let most = served.ingest.settings().body;
    let declared = header(headers, &CONTENT_LENGTH).and_then(|text| text.parse::<usize>().ok());
    if declared.is_some_and(|length| length > most) {
        return Err(Error::new(Kind::TooLarge, format!("Request body has more than {most} bytes: send less at once")));
    }
    let admitted = served.ingest.admit(&table, declared.unwrap_or(1))?;
    Ok(Prepared { served, table, options, format, encoding, admitted })
}

/// Parameters that mean something; any other is named.
fn options(query: &Query) -> Result<AppendOptions> {
    let mut options = AppendOptions::default();
    for (name, value) in query.all() {
        match (name.as_str(), value.as_str()) {
            ("warehouse", _) | ("ack", "commit") => {}
            ("partition_by", text) => options.partition_by = Some(text.to_owned()),
            ("sort_by", text) => options.sort_by = Some(text.to_owned()),
            ("time_precision", "truncate") => options.truncate_time = true,
            ("timeout", text) => options.timeout = Some(duration(text)?),
            ("schema", word) => options.schema = Some(Evolution::parse(word).ok_or_else(|| not_known(name, word))?),
            ("unknown_fields", word) => {
                options.unknown_fields = Some(Unknown::parse(word).ok_or_else(|| not_known(name, word))?);
            }
            ("ack" | "time_precision", other) => return Err(not_known(name, other)),
            _ => {
                return Err(
                    Error::malformed(format!("Parameter {name:?} is not known here")).with_code("unknown_parameter")
                );
            }
        }
    }
    Ok(options)
}

fn not_known(name: &str, value: &str) -> Error {
    Error::malformed(format!("{name}={value} is not known here")).with_code("unknown_parameter")
}

fn duration(text: &str) -> Result<Duration> {
    clock::duration_of(text).ok_or_else(|| {
        Error::malformed(format!("timeout={text} is not a time, such as 60s or 500ms")).with_code("unknown_parameter")
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn receipt(committed: &Committed) -> Json<IngestResponse> {
    let separator = if committed.table.namespace.levels().any(|level| level.contains('.')) { "%1F" } else { "." };
    let levels: Vec<&str> = committed.table.namespace.levels().collect();
    let table = format!("{}{separator}{}", levels.join(separator), committed.table.name);
    Json(IngestResponse {
        rows: RowCounts { received: committed.rows, written: committed.rows, rejected: 0, duplicate: 0 },
        tables: vec![TableReceipt {
            table,
            snapshot_id: Some(committed.snapshot_id),
            sequence_number: Some(committed.sequence_number),
            files: committed.files,
        }],
        ack: "commit",
        duplicate: false,
        errors: Vec::new(),
        errors_truncated: false,
    })
}

fn refusal(rows: usize, verdicts: Verdicts) -> Response {
    metrics::counter!("floeberg_ingest_rows_total", "verdict" => "rejected").increment(verdicts.bad_rows as u64);
    // One code if all errors share it, so that a program need not look at each.
    let first = verdicts.listed.first().map_or("rows", |error| error.code);
    let code = if verdicts.listed.iter().all(|error| error.code == first) { first } else { "rows" };
    let problem = Problem {
        r#type: format!("urn:floeberg:error:{code}"),
        title: "Unprocessable Entity",
        status: 422,
        code,
        detail: format!(
            "{} of {rows} rows do not fit, with {} errors; nothing was written",
            verdicts.bad_rows, verdicts.total
        ),
        errors_truncated: verdicts.total > verdicts.listed.len(),
        errors: verdicts.listed,
    };
    let headers = [(CONTENT_TYPE, "application/problem+json")];
    (StatusCode::UNPROCESSABLE_ENTITY, headers, Json(problem)).into_response()
}
