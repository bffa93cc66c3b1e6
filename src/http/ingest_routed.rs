//! `POST /ingest/v1`: the rows of one body, each for the table that it names.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream;
use http::request::Parts;
use indexmap::IndexMap;

use super::Api;
use super::error::Failure;
use super::events;
use super::extract::{Query, discard, pieces};
use super::ingest::{IngestResponse, Problem, answer_of, refuse, to_one_table};
use super::ingest_options::not_known;
use super::ingest_request::{INGEST_ROUTE, Sent, declared, header, key, producer, sent};
use super::warehouses::asked_for;
use crate::error::{Error, Result};
use crate::ingest::{Ack, Format, Reserved, Route, RoutedAppend, Together};
use crate::names::TableName;
use crate::warehouses::Served;

/// Appends the rows of one body to the tables that they name; tables that do not exist are created. How they name them is
/// said by exactly one of: `route`, a JSON pointer to a value in each row; `envelope`, where each row stands in an object
/// `{"table", "row"}`; the header `X-Ingest-Route`, for all rows; or the type of events.
#[utoipa::path(
    post,
    path = "/ingest/v1",
    tag = "ingest",
    params(
        ("route" = Option<String>, Query, description = "A JSON pointer to the value in each row that says where it belongs: /type"),
        ("envelope" = Option<bool>, Query, description = "true: each row stands in an object {\"table\", \"row\"}"),
        ("map" = Option<String>, Query, description = "The tables that routes lead to, and the only ones: order=shop.orders,refund=shop.refunds. Without it those of the configuration (ingest.routes); without these a route is a table's name"),
        ("atomic" = Option<bool>, Query, description = "true: the rows of all tables are committed in one transaction, or none"),
        ("X-Ingest-Route" = Option<String>, Header, description = "Where all rows belong"),
        ("on_error" = Option<String>, Query, description = "abort, skip or dlq; also for rows that name no table, whose dead letters are in ingest.unrouted__rejected"),
        ("ack" = Option<String>, Query, description = "commit, wal or none"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 200 printable ASCII characters: the same request again is answered the same, and written once"),
    ),
    request_body(
        content(
            (String = "application/x-ndjson"),
            (Object = "application/json"),
            (Object = "application/cloudevents+json"),
            (Object = "application/cloudevents-batch+json"),
        ),
        description = "JSON rows, or events. All other parameters and, with X-Ingest-Route, all formats are those of one table's requests",
    ),
    responses(
        (status = 200, description = "Committed", body = IngestResponse),
        (status = 202, description = "Accepted (ack=wal, ack=none)", body = IngestResponse),
        (status = 400, description = "Malformed request", body = Problem),
        (status = 413, description = "Too many bytes, rows or tables", body = Problem),
        (status = 415, description = "A format that cannot be routed by its rows", body = Problem),
        (status = 422, description = "Rows do not fit or name no table; nothing was written", body = Problem),
        (status = 500, description = "The outcome is not known, or some tables are committed and others not", body = Problem),
        (status = 503, description = "Certainly not written; try again", body = Problem),
        (status = 504, description = "Not committed in time; it may still be", body = Problem),
    ),
)]
pub(super) async fn append_to_many(
    State(api): State<Api>,
    query: Query,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    match asked(&api, &query, &parts).await {
        Ok(Asked::One(served, candidates, parameters)) => {
            Box::pin(to_one_table(served, candidates, &parameters, (parts, body))).await
        }
        Ok(Asked::Many(served, append, admitted)) => take(&served, *append, admitted, (parts, body)).await,
        Err(error) => Err(refuse(error, &parts, body).await),
    }
}

/// What a request asks for.
enum Asked {
    /// One table, with these parameters.
    One(Arc<Served>, Vec<TableName>, Vec<(String, String)>),
    /// Whatever its rows say.
    Many(Arc<Served>, Box<RoutedAppend>, Reserved),
}

async fn asked(api: &Api, query: &Query, request: &Parts) -> Result<Asked> {
    let Routing { by, map, together, others } = routing(query, request)?;
    let served = asked_for(api, query)?.served;
    let route = match by {
        By::Rows(route) => route,
        By::Header(text) => {
            let name = served.ingest.table_of_route(&text, &map)?;
            return Ok(Asked::One(served, name, others));
        }
    };
    if producer(&request.headers)?.is_some() {
        let message = "X-Producer-Id counts the requests to one table: send an Idempotency-Key with rows for several";
        return Err(Error::malformed(message));
    }
    let Sent { format, encoding, options } = sent(request, &others)?;
    if together == Together::AllOrNone && options.ack != Ack::Commit {
        let message = "atomic=true is answered when the rows of all tables are committed: leave ack out";
        return Err(Error::malformed(message).with_code("unknown_parameter"));
    }
    let key = key(&served, request)?;
    let admitted = served.ingest.admit_routed(declared(&served, request)?)?;
    let headers = request.headers.clone();
    let append = RoutedAppend { route, map, together, format, encoding, options, key, headers };
    Ok(Asked::Many(served, Box::new(append), admitted))
}

/// How a request is routed, and its other parameters.
struct Routing {
    by: By,
    map: IndexMap<String, String>,
    together: Together,
    others: Vec<(String, String)>,
}

enum By {
    Rows(Route),
    Header(String),
}

fn routing(query: &Query, request: &Parts) -> Result<Routing> {
    let (mut map, mut together, mut others) = (IndexMap::new(), Together::OneByOne, Vec::new());
    let mut ways: Vec<By> =
        header(&request.headers, &INGEST_ROUTE).map(|text| By::Header(text.to_owned())).into_iter().collect();
    for (name, value) in query.all() {
        match (name.as_str(), value.as_str()) {
            ("route", pointer) => ways.push(By::Rows(Route::at(pointer)?)),
            ("envelope", "true") => ways.push(By::Rows(Route::Envelope)),
            ("atomic", "true") => together = Together::AllOrNone,
            ("envelope" | "atomic", "false") => {}
            ("map", text) => map = parse_map(text)?,
            ("envelope" | "atomic", _) => return Err(not_known(name, value)),
            _ => others.push((name.clone(), value.clone())),
        }
    }
    let Sent { format, .. } = sent(request, &others)?;
    if ways.is_empty() && format == Format::Events {
        ways.push(By::Rows(Route::At(vec!["type".to_owned()])));
    }
    let by = match (ways.pop(), ways.is_empty()) {
        (Some(by), true) => by,
        _ => {
            let message = "Say with one of route=/json/pointer, envelope=true and the header X-Ingest-Route where rows \
                           belong, or send events; or push to /ingest/v1/{namespace}/{table}";
            return Err(Error::malformed(message).with_code("no_route"));
        }
    };
    if matches!(by, By::Rows(_)) && !matches!(format, Format::Json | Format::Events) {
        let message = "Only JSON rows and events say where they belong: send X-Ingest-Route with other formats";
        return Err(Error::new(crate::error::Kind::UnsupportedMedia, message).with_code("no_route"));
    }
    Ok(Routing { by, map, together, others })
}

fn parse_map(text: &str) -> Result<IndexMap<String, String>> {
    let one = |pair: &str| {
        let (route, table) = pair.rsplit_once('=')?;
        TableName::meant_by(table).ok().map(|_| (route.to_owned(), table.to_owned()))
    };
    text.split(',').map(one).collect::<Option<IndexMap<_, _>>>().ok_or_else(|| {
        let message =
            format!("map={text:?} is no list of routes and tables, such as order=shop.orders,refund=shop.refunds");
        Error::malformed(message).with_code("unknown_parameter")
    })
}

async fn take(
    served: &Served,
    append: RoutedAppend,
    mut admitted: Reserved,
    (parts, body): (Parts, Body),
) -> Result<Response, Failure> {
    let most = served.ingest.settings().body;
    if events::is_binary(&parts.headers) {
        let data = match events::whole(body, most, &mut admitted).await {
            Ok(data) => data,
            Err((error, body)) => return Err(refuse(error, &parts, body).await),
        };
        let mut body = stream::iter([Ok(events::structured(&parts.headers, &data)?)]);
        return Ok(answer_of(served.ingest.append_routed(append, admitted, &mut body).await?));
    }
    let mut body = pieces(body, most);
    match served.ingest.append_routed(append, admitted, &mut body).await {
        Ok(outcome) => Ok(answer_of(outcome)),
        Err(error) => {
            discard(body.into_inner()).await;
            Err(error.into())
        }
    }
}
