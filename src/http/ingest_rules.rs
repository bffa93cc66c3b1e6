//! `/manage/v1/namespaces/{namespace}/tables/{table}/ingest-rules`: what is made of rows at the door.

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Api;
use super::error::Failure;
use super::extract::{DottedPath, JsonBody, Query};
use super::ingest::Problem;
use super::warehouses::asked_for;
use crate::error::{Error, Result};
use crate::ingest::{RowError, Said, TableRules};
use crate::limits;
use crate::names::TableName;

/// The rules of a table.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RulesOfTable {
    /// The table, as the path takes it.
    table: String,
    /// The rules, in the order in which they are followed.
    #[schema(value_type = Vec<Object>)]
    rules: Box<RawValue>,
    /// Where they are said: table, configuration or nowhere.
    said: &'static str,
}

/// Rows to try rules on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedPreview {
    /// The rows.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<Box<RawValue>>,
    /// Rules that the table does not have yet; its own if absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    rules: Option<Box<RawValue>>,
}

/// What rules make of rows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Preview {
    /// For each row, in their order.
    rows: Vec<Previewed>,
}

/// What rules make of a row.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Previewed {
    /// The row as it is read then.
    #[schema(value_type = Object)]
    Row(Box<RawValue>),
    /// Why it is none.
    Error(RowError),
}

fn body(table: &TableName, rules: &TableRules) -> Result<Json<RulesOfTable>> {
    let said = match rules.said {
        Said::ByTable => "table",
        Said::InConfiguration => "configuration",
        Said::Nowhere => "nowhere",
    };
    Ok(Json(RulesOfTable { table: table.joined(), rules: raw(rules.rules.to_json().to_owned())?, said }))
}

fn raw(text: String) -> Result<Box<RawValue>> {
    RawValue::from_string(text).map_err(|error| Error::internal("What was made is not JSON").because(error))
}

/// The rules of a table.
#[utoipa::path(
    get,
    path = "/manage/v1/namespaces/{namespace}/tables/{table}/ingest-rules",
    tag = "operations",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F, or by dots"),
        ("table" = String, Path, description = "The table's name"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    responses(
        (status = 200, description = "The rules", body = RulesOfTable),
        (status = 404, description = "No such table", body = Problem),
    ),
)]
pub(super) async fn show_rules(
    State(api): State<Api>,
    DottedPath(meant): DottedPath,
    query: Query,
) -> Result<Json<RulesOfTable>, Failure> {
    let served = asked_for(&api, &query)?.served;
    let table = served.catalog.meant(meant).await?;
    Ok(body(&table, &served.ingest.rules_of(&table).await?)?)
}

/// Sets the rules of a table, which are followed for every row from then on. The body is the list of them.
#[utoipa::path(
    put,
    path = "/manage/v1/namespaces/{namespace}/tables/{table}/ingest-rules",
    tag = "operations",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F, or by dots"),
        ("table" = String, Path, description = "The table's name"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    request_body = Vec<Object>,
    responses(
        (status = 200, description = "The rules", body = RulesOfTable),
        (status = 400, description = "Malformed request", body = Problem),
        (status = 404, description = "No such table", body = Problem),
        (status = 422, description = "Rules that are not understood", body = Problem),
    ),
)]
pub(super) async fn set_rules(
    State(api): State<Api>,
    DottedPath(meant): DottedPath,
    query: Query,
    JsonBody(rules): JsonBody<Box<RawValue>>,
) -> Result<Json<RulesOfTable>, Failure> {
    let served = asked_for(&api, &query)?.served;
    let table = served.catalog.meant(meant).await?;
    Ok(body(&table, &served.ingest.set_rules(&table, Some(rules.get())).await?)?)
}

/// Takes the rules of a table away; those of the configuration are followed again, if there are any.
#[utoipa::path(
    delete,
    path = "/manage/v1/namespaces/{namespace}/tables/{table}/ingest-rules",
    tag = "operations",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F, or by dots"),
        ("table" = String, Path, description = "The table's name"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    responses(
        (status = 200, description = "The rules that are followed now", body = RulesOfTable),
        (status = 404, description = "No such table", body = Problem),
    ),
)]
pub(super) async fn drop_rules(
    State(api): State<Api>,
    DottedPath(meant): DottedPath,
    query: Query,
) -> Result<Json<RulesOfTable>, Failure> {
    let served = asked_for(&api, &query)?.served;
    let table = served.catalog.meant(meant).await?;
    Ok(body(&table, &served.ingest.set_rules(&table, None).await?)?)
}

/// What rules make of rows; nothing is written.
#[utoipa::path(
    post,
    path = "/manage/v1/namespaces/{namespace}/tables/{table}/ingest-rules/preview",
    tag = "operations",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F, or by dots"),
        ("table" = String, Path, description = "The table's name"),
        ("warehouse" = Option<String>, Query, description = "A warehouse's name or root URL; the default if absent"),
    ),
    request_body = WantedPreview,
    responses(
        (status = 200, description = "What comes of each row", body = Preview),
        (status = 400, description = "Malformed request", body = Problem),
        (status = 404, description = "No such table", body = Problem),
        (status = 422, description = "Rules that are not understood", body = Problem),
    ),
)]
pub(super) async fn preview_rules(
    State(api): State<Api>,
    DottedPath(meant): DottedPath,
    query: Query,
    headers: HeaderMap,
    JsonBody(wanted): JsonBody<WantedPreview>,
) -> Result<Json<Preview>, Failure> {
    let (has, most) = (wanted.rows.len(), limits::PREVIEW_ROWS_MAX);
    if has > most {
        return Err(Error::malformed(format!("\"rows\" has {has} rows: at most {most} are tried")).into());
    }
    let served = asked_for(&api, &query)?.served;
    let table = served.catalog.meant(meant).await?;
    let rows: Vec<&str> = wanted.rows.iter().map(|row| row.get()).collect();
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let rules = wanted.rules.as_deref().map(RawValue::get);
    let made = served.ingest.try_rules(&table, rules, (&rows, headers)).await?;
    let one = |made: std::result::Result<String, RowError>| match made {
        Ok(text) => raw(text).map(Previewed::Row),
        Err(error) => Ok(Previewed::Error(error)),
    };
    Ok(Json(Preview { rows: made.into_iter().map(one).collect::<Result<_>>()? }))
}
