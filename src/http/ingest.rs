//! `/ingest/v1`: rows pushed over HTTP.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::header::{CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::Failure;
use super::events;
use super::extract::{DottedPath, Query, discard, pieces};
use super::ingest_request::{Sent, declared, key, producer, sent};
use super::warehouses::asked_for;
use crate::error::{Error, Result};
use crate::ingest::{Ack, Append, Outcome, Place, Receipt, Reserved, RowError, Verdicts};
use crate::names::{REJECTED_SUFFIX, TableName};
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

impl TableReceipt {
    fn of(place: Place) -> Self {
        let Place { table, snapshot_id, sequence_number, files } = place;
        Self { table, snapshot_id, sequence_number, files }
    }
}

/// The answer to rows that do not fit (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    code: Cow<'static, str>,
    detail: String,
    /// The rows, counted, where they are what is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<RowCounts>,
    /// Whether the request had been answered before; there only where its rows are dead letters, and it is over with that.
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
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
        ("ack" = Option<String>, Query, description = "When the answer comes: commit, the rows are in a snapshot; wal, they are in the server's log, on the disk, and will be committed once; none, they are understood, and a crash may lose them"),
        ("partition_by" = Option<String>, Query, description = "How a new table is partitioned: day(time),bucket(16,id)"),
        ("sort_by" = Option<String>, Query, description = "How a new table is sorted: time desc nulls last,id"),
        ("schema" = Option<String>, Query, description = "add-columns: the table may grow; strict: it may not"),
        ("unknown_fields" = Option<String>, Query, description = "add, refuse, ignore, or capture (in the column _extra)"),
        ("on_error" = Option<String>, Query, description = "What becomes of rows that do not fit. abort: nothing of the request is written; skip: they are left out; dlq: they are put, with the reason, into the table <table>__rejected"),
        ("coerce" = Option<String>, Query, description = "lenient: numbers written as texts, texts made of anything, numbers that count since 1970 are taken too"),
        ("time_precision" = Option<String>, Query, description = "truncate: fractions finer than the column are cut off"),
        ("ts_unit" = Option<String>, Query, description = "s, ms, us or ns: numbers that come for a point in time count these since 1970"),
        ("round" = Option<String>, Query, description = "half_up: decimals are rounded to what their column holds"),
        ("delimiter" = Option<String>, Query, description = "What stands between the cells of CSV: one character, or tab"),
        ("quote" = Option<String>, Query, description = "What stands around a cell of CSV: one character, or none"),
        ("null" = Option<String>, Query, description = "What a cell of CSV without a value holds; nothing if absent"),
        ("header" = Option<String>, Query, description = "false: the first line of CSV is a row, and cells are the table's columns in its order"),
        ("timeout" = Option<String>, Query, description = "How long to wait: 60s, 500ms"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 200 printable ASCII characters: the same request again is answered the same, and written once"),
        ("X-Producer-Id" = Option<String>, Header, description = "Who sends: its requests are taken once and in order"),
        ("X-Producer-Epoch" = Option<i64>, Header, description = "Which of the producer's lives this is; an older one is shut out"),
        ("X-Producer-Seq" = Option<i64>, Header, description = "The request's number in that life, from 0 on"),
        ("X-Offset-Token" = Option<String>, Header, description = "Where the producer is in its source, for it to ask for"),
    ),
    request_body(
        content(
            (String = "application/x-ndjson"),
            (Object = "application/json"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
            (Vec<u8> = "application/vnd.apache.parquet"),
            (String = "text/csv"),
            (String = "text/tab-separated-values"),
            (Vec<u8> = "application/avro"),
            (Object = "application/cloudevents+json"),
            (Object = "application/cloudevents-batch+json"),
        ),
        description = "A JSON array of objects, one object, or objects line by line; lines of cells; an Arrow IPC stream; a Parquet or Avro file; CloudEvents, one, many, or one with its attributes in headers. Content-Encoding gzip, zstd, lz4 or br",
    ),
    responses(
        (status = 200, description = "Committed", body = IngestResponse),
        (status = 202, description = "Accepted (ack=wal, ack=none)", body = IngestResponse),
        (status = 400, description = "Malformed request", body = Problem),
        (status = 403, description = "A location outside the warehouse", body = Problem),
        (status = 404, description = "No such table, and tables are not created", body = Problem),
        (status = 409, description = "The table is laid out otherwise, or changed meanwhile; a producer left a request out, or was replaced", body = Problem),
        (status = 413, description = "Too many bytes or rows", body = Problem),
        (status = 415, description = "A format or encoding that is not spoken here", body = Problem),
        (status = 422, description = "Rows do not fit, or the key came with another request; nothing was written but dead letters, where on_error=dlq and none fits", body = Problem),
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
    let (parts, body) = request.into_parts();
    match prepare(&api, candidates, &query, &parts).await {
        Ok(prepared) => take(prepared, parts, body).await,
        Err(error) => Err(refuse(error, &parts, body).await),
    }
}

/// Refuses a request whose body was not read.
pub(super) async fn refuse(error: Error, parts: &Parts, body: Body) -> Failure {
    if !parts.headers.contains_key(EXPECT) {
        discard(body).await;
    }
    error.into()
}

/// Takes the rows of a request to one table.
pub(super) async fn to_one_table(
    served: Arc<Served>,
    candidates: Vec<TableName>,
    parameters: &[(String, String)],
    (parts, body): (Parts, Body),
) -> Result<Response, Failure> {
    match prepare_for(served, candidates, parameters, &parts).await {
        Ok(prepared) => take(prepared, parts, body).await,
        Err(error) => Err(refuse(error, &parts, body).await),
    }
}

async fn take(prepared: Prepared, parts: Parts, body: Body) -> Result<Response, Failure> {
    let Prepared { served, mut append, admitted } = prepared;
    append.headers = parts.headers;
    let most = served.ingest.settings().body;
    if events::is_binary(&append.headers) {
        // Few are: the others need not make room for it.
        return Box::pin(one_event(&served, append, admitted, (body, most))).await;
    }
    let mut body = pieces(body, most);
    match served.ingest.append(append, admitted, &mut body).await {
        Ok(outcome) => Ok(answer_of(outcome)),
        Err(error) => {
            discard(body.into_inner()).await;
            Err(error.into())
        }
    }
}

/// Takes an event whose attributes are in the headers.
async fn one_event(
    served: &Served,
    append: Box<Append>,
    mut admitted: Reserved,
    (body, most): (Body, usize),
) -> Result<Response, Failure> {
    let data = match events::whole(body, most, &mut admitted).await {
        Ok(data) => data,
        Err((error, body)) => {
            discard(body).await;
            return Err(error.into());
        }
    };
    let event = events::structured(&append.headers, &data)?;
    let mut body = stream::iter([Ok(event)]);
    Ok(answer_of(served.ingest.append(append, admitted, &mut body).await?))
}

pub(super) fn answer_of(outcome: Outcome) -> Response {
    match outcome {
        Outcome::Taken(receipt) => answer(receipt),
        Outcome::Refused { rows, verdicts } => refusal(rows, verdicts),
    }
}

/// A request whose body may be read.
struct Prepared {
    served: Arc<Served>,
    append: Box<Append>,
    admitted: Reserved,
}

/// Everything that can be said of a request before its body is read.
async fn prepare(api: &Api, candidates: Vec<TableName>, query: &Query, request: &Parts) -> Result<Prepared> {
    let served = asked_for(api, query)?.served;
    prepare_for(served, candidates, query.all(), request).await
}

/// The same of a request to a warehouse that is known, with these parameters.
async fn prepare_for(
    served: Arc<Served>,
    candidates: Vec<TableName>,
    parameters: &[(String, String)],
    request: &Parts,
) -> Result<Prepared> {
    let Sent { format, encoding, options } = sent(request, parameters)?;
    let key = key(&served, request)?;
    let producer = producer(&request.headers)?;
    let table = served.catalog.meant(candidates).await?;
    let admitted = served.ingest.admit(&table, declared(&served, request)?)?;
    Ok(Prepared {
        append: Box::new(Append { table, format, encoding, options, key, producer, headers: HeaderMap::new() }),
        served,
        admitted,
    })
}

fn answer(receipt: Receipt) -> Response {
    if receipt.fits_nothing() {
        return put_aside(receipt);
    }
    let status = if receipt.ack == Ack::Commit { StatusCode::OK } else { StatusCode::ACCEPTED };
    written(status, "application/json", &IngestResponse::of(receipt))
}

/// An answer of some hundred bytes in one piece of memory: written bit by bit into one that grows, it costs a small request
/// more than reading its row.
fn written(status: StatusCode, kind: &'static str, answer: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(ANSWER_BYTES);
    match serde_json::to_writer(&mut text, answer) {
        Ok(()) => (status, [(CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => Failure::from(Error::internal("An answer cannot be written").because(error)).into_response(),
    }
}

/// Bytes that an answer to rows that fit seldom has more of.
const ANSWER_BYTES: usize = 512;

impl IngestResponse {
    pub(super) fn of(receipt: Receipt) -> Self {
        let Receipt { place, beside, ack, received, duplicate, left_out, again } = receipt;
        let rejected = left_out.rows;
        Self {
            rows: RowCounts { received, written: received - duplicate - rejected, rejected, duplicate },
            tables: std::iter::once(place).chain(beside).map(TableReceipt::of).collect(),
            ack: ack.as_str(),
            duplicate: again,
            errors: left_out.errors,
            errors_truncated: left_out.truncated,
        }
    }
}

/// The answer to rows of which none fits and nothing is written.
fn refusal(rows: usize, verdicts: Verdicts) -> Response {
    let Verdicts { bad_rows, total, listed, .. } = verdicts;
    let detail = format!("{bad_rows} of {rows} rows do not fit, with {total} errors; nothing was written");
    unfit(rows, (listed.len() < total, listed), detail, None)
}

/// The answer to rows of which none fits and all are dead letters.
fn put_aside(receipt: Receipt) -> Response {
    let Receipt { place, beside, received, left_out, again, .. } = receipt;
    let tables = std::iter::once(place).chain(beside).map(|place| place.table);
    let tables: Vec<String> = tables.filter(|table| table.ends_with(REJECTED_SUFFIX)).collect();
    let detail = format!("{received} of {received} rows do not fit; they are put into {}", tables.join(", "));
    unfit(received, (left_out.truncated, left_out.errors), detail, Some(again))
}

fn unfit(rows: usize, (truncated, errors): (bool, Vec<RowError>), detail: String, duplicate: Option<bool>) -> Response {
    // One code if all errors share it, so that a program need not look at each.
    let first = errors.first().map_or(Cow::Borrowed("rows"), |error| error.code.clone());
    let code = if errors.iter().all(|error| error.code == first) { first } else { Cow::Borrowed("rows") };
    let problem = Problem {
        r#type: format!("urn:floeberg:error:{code}"),
        title: "Unprocessable Entity",
        status: 422,
        code,
        detail,
        rows: Some(RowCounts { received: rows, written: 0, rejected: rows, duplicate: 0 }),
        duplicate,
        errors,
        errors_truncated: truncated,
    };
    written(StatusCode::UNPROCESSABLE_ENTITY, "application/problem+json", &problem)
}
