//! What is known of rows that were pushed: what waits for a table, what became of a key, how far a producer is.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::Failure;
use super::extract::{DottedPath, Query};
use super::ingest::IngestResponse;
use super::ingest_options::{duration, not_known};
use super::ingest_request::scope_of;
use super::warehouses::asked_for;
use crate::clock;
use crate::error::{Error, Kind, Result, What};
use crate::ingest::{KeyState, Status};
use crate::names::TableName;

/// What waits for a table.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TableStatus {
    /// The table, as the path takes it.
    table: String,
    /// Rows that are not committed yet.
    buffered_rows: usize,
    /// Their bytes in memory.
    buffered_bytes: usize,
    /// For how many milliseconds the oldest of them waits.
    lag_ms: u64,
    /// The table's current snapshot.
    last_snapshot: Option<SnapshotStatus>,
    /// Why the last commit failed, if it did.
    last_error: Option<ErrorStatus>,
}

/// A snapshot.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotStatus {
    snapshot_id: i64,
    sequence_number: i64,
    /// When it was made.
    at: String,
}

/// An error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorStatus {
    detail: String,
    at: String,
}

/// How far a producer's rows are committed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProducerStatus {
    epoch: i64,
    /// Null where the producer does not count.
    sequence: Option<i64>,
    offset_token: Option<String>,
}

/// What is known of a key or of a producer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Known {
    /// The answer that is kept under the key.
    Answered(IngestResponse),
    /// The key's request is under way.
    Pending {
        /// `pending`.
        state: &'static str,
    },
    /// How far the producer is.
    Producer(ProducerStatus),
}

/// What waits for a table, its last snapshot and its last error.
#[utoipa::path(
    get,
    path = "/ingest/v1/{namespace}/{table}/status",
    tag = "ingest",
    params(
        ("namespace" = String, Path, description = "Levels joined by dots, or by %1F where a level holds a dot"),
        ("table" = String, Path, description = "The table's name"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    responses(
        (status = 200, description = "What is known", body = TableStatus),
        (status = 404, description = "No such table", body = super::ingest::Problem),
    ),
)]
pub(super) async fn table_status(
    State(api): State<Api>,
    DottedPath(candidates): DottedPath,
    query: Query,
) -> Result<Json<TableStatus>, Failure> {
    only(&query, &["warehouse"])?;
    let served = asked_for(&api, &query)?.served;
    let table = served.catalog.meant(candidates).await?;
    let Status { buffered, snapshot, last_error } = served.ingest.status(&table).await?;
    let lag = buffered.since.map(|since| since.elapsed().as_millis()).unwrap_or(0);
    Ok(Json(TableStatus {
        table: table.joined(),
        buffered_rows: buffered.rows,
        buffered_bytes: buffered.bytes,
        lag_ms: u64::try_from(lag).unwrap_or(u64::MAX),
        last_snapshot: snapshot.map(|(snapshot_id, sequence_number, at_ms)| SnapshotStatus {
            snapshot_id,
            sequence_number,
            at: clock::rfc3339(at_ms),
        }),
        last_error: last_error.map(|(at_ms, detail)| ErrorStatus { detail, at: clock::rfc3339(at_ms) }),
    }))
}

/// Commits what waits for a table now. The answer comes when it is committed.
#[utoipa::path(
    post,
    path = "/ingest/v1/{namespace}/{table}/flush",
    tag = "ingest",
    params(
        ("namespace" = String, Path, description = "Levels joined by dots, or by %1F where a level holds a dot"),
        ("table" = String, Path, description = "The table's name"),
        ("timeout" = Option<String>, Query, description = "How long to wait: 60s, 500ms"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    responses(
        (status = 200, description = "All that waited is in a snapshot", body = IngestResponse),
        (status = 404, description = "No such table", body = super::ingest::Problem),
        (status = 503, description = "It could not be committed now", body = super::ingest::Problem),
        (status = 504, description = "Not committed in time; it may still be", body = super::ingest::Problem),
    ),
)]
pub(super) async fn flush_table(
    State(api): State<Api>,
    DottedPath(candidates): DottedPath,
    query: Query,
) -> Result<Json<IngestResponse>, Failure> {
    only(&query, &["warehouse", "timeout"])?;
    let timeout = query.get("timeout").map(duration).transpose()?;
    let served = asked_for(&api, &query)?.served;
    let table = served.catalog.meant(candidates).await?;
    Ok(Json(IngestResponse::of(served.ingest.flush(&table, timeout).await?)))
}

/// Whose keys are asked for.
#[derive(Debug)]
pub(super) struct Scope(String);

impl<S: Sync> FromRequestParts<S> for Scope {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(scope_of(parts)))
    }
}

/// What became of a key's request (`?key=`), or how far a producer of a table is committed (`?producer=&table=`).
#[utoipa::path(
    get,
    path = "/ingest/v1",
    tag = "ingest",
    params(
        ("key" = Option<String>, Query, description = "An Idempotency-Key of one's own"),
        ("producer" = Option<String>, Query, description = "An X-Producer-Id"),
        ("table" = Option<String>, Query, description = "The producer's table: namespace levels and name joined by dots, or by %1F"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    responses(
        (status = 200, description = "The stored answer, or {\"state\":\"pending\"}; of a producer, its epoch, sequence and offset token", body = Known),
        (status = 400, description = "Neither is asked for, or both", body = super::ingest::Problem),
        (status = 404, description = "Nothing is known of it", body = super::ingest::Problem),
    ),
)]
pub(super) async fn look_up(State(api): State<Api>, query: Query, Scope(scope): Scope) -> Result<Json<Known>, Failure> {
    only(&query, &["warehouse", "key", "producer", "table"])?;
    let served = asked_for(&api, &query)?.served;
    match (query.get("key"), query.get("producer"), query.get("table")) {
        (Some(key), None, None) => match served.ingest.key(&scope, key).await? {
            KeyState::Answered(receipt) => Ok(Json(Known::Answered(IngestResponse::of(receipt)))),
            KeyState::Pending => Ok(Json(Known::Pending { state: "pending" })),
            KeyState::Unknown => Err(not_found(format!("Nothing is known of key {key:?}"))),
        },
        (None, Some(producer), Some(table)) => {
            let name = served.catalog.meant(TableName::meant_by(table)?).await?;
            let standing = served.ingest.producer(&name, producer).await?;
            let standing =
                standing.ok_or_else(|| not_found(format!("Nothing is known of producer {producer:?} of {name}")))?;
            let sequence = Some(standing.sequence).filter(|sequence| *sequence >= 0);
            let status = ProducerStatus { epoch: standing.epoch, sequence, offset_token: standing.offset_token };
            Ok(Json(Known::Producer(status)))
        }
        _ => Err(Error::malformed("Ask with ?key=, or with ?producer= and &table=").into()),
    }
}

fn not_found(message: String) -> Failure {
    Error::new(Kind::NotFound(What::Request), message).into()
}

fn only(query: &Query, known: &[&str]) -> Result<()> {
    match query.all().iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, value)) => Err(not_known(name, value)),
        None => Ok(()),
    }
}
