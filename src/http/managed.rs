//! `/manage/v1/warehouses`: warehouses that are made, changed and removed while the server runs.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Api;
use super::error::Failure;
use super::extract::JsonBody;
use super::ingest::Problem;
use super::tokens::to_its_end;
use crate::clock;
use crate::error::{Error, Result};
use crate::lake::described::{Description, Secrets};
use crate::warehouses::change::{Changed, SecretChanges, Shown};

/// A warehouse. No secret is ever shown, but which are set.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WarehouseBody {
    /// Its name.
    pub name: String,
    /// What describes it: the keys of `[warehouses.NAME]`.
    #[serde(flatten)]
    pub description: Description,
    /// The keys of its secrets.
    pub secrets: Vec<String>,
    /// Whether it is the one that is meant where none is named.
    pub default: bool,
    /// When it was made: RFC 3339, UTC; null for those of the configuration file, which are not changed here.
    pub created: Option<String>,
    /// Why it cannot be served; null if it is.
    pub problem: Option<String>,
}

/// A warehouse that was made or changed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangedWarehouse {
    /// The warehouse.
    #[serde(flatten)]
    pub warehouse: WarehouseBody,
    /// What was found when it was tried: what its store can do, and how clients reach the objects.
    pub found: String,
}

/// Every warehouse.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WarehouseList {
    /// The default first.
    pub warehouses: Vec<WarehouseBody>,
}

/// A warehouse that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "it is the shape that the document shows; what is sent is read member by member")]
struct WantedWarehouse {
    /// Its name; left out where the path says it.
    name: Option<String>,
    #[serde(flatten)]
    description: Description,
    /// Where a secret is left out of a change, the one that is kept stays; null removes it.
    #[serde(flatten)]
    secrets: Secrets,
}

impl From<Shown> for WarehouseBody {
    fn from(shown: Shown) -> Self {
        Self {
            name: shown.name,
            description: shown.description,
            secrets: shown.secrets.into_iter().map(str::to_owned).collect(),
            default: shown.is_default,
            created: shown.created_ms.map(clock::rfc3339),
            problem: shown.problem,
        }
    }
}

impl From<Changed> for ChangedWarehouse {
    fn from(changed: Changed) -> Self {
        Self { warehouse: changed.shown.into(), found: changed.found }
    }
}

/// What a body says: a name, a description, and secrets.
struct Wanted {
    name: Option<String>,
    description: Description,
    secrets: SecretChanges,
}

impl Wanted {
    fn parse(mut body: Map<String, Value>) -> Result<Self> {
        let name = match body.remove("name") {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(other) => return Err(Error::malformed(format!("name must be a text, and is {other}"))),
        };
        let known: Vec<&str> = Description::KEYS.into_iter().chain(Secrets::KEYS).collect();
        if let Some(unknown) = body.keys().find(|key| !known.contains(&key.as_str())) {
            let nearest = known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, unknown)).copied();
            let nearest = nearest.unwrap_or_default();
            return Err(Error::malformed(format!("{unknown} is not a key of a warehouse; did you mean {nearest}?")));
        }
        let removed = body.iter().filter(|(_, value)| value.is_null()).map(|(key, _)| key.clone()).collect();
        let secrets = SecretChanges { set: read(&body)?, removed };
        Ok(Self { name, description: read(&body)?, secrets })
    }
}

/// The members of an object that are of this type. What is wrong with one of a secret is not repeated.
fn read<T: DeserializeOwned>(body: &Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(body.clone())).map_err(|_| {
        Error::malformed(
            "The keys of a warehouse are texts, but for path-style and version-hint, which are true or false",
        )
    })
}

/// Every warehouse, without its secrets.
#[utoipa::path(
    get,
    path = "/manage/v1/warehouses",
    tag = "operations",
    responses((status = 200, description = "The warehouses", body = WarehouseList)),
)]
pub(super) async fn list_warehouses(State(api): State<Api>) -> Json<WarehouseList> {
    Json(WarehouseList { warehouses: api.warehouses.shown().into_iter().map(Into::into).collect() })
}

/// Adds a warehouse, once it can be written, read, listed and deleted. Its secrets are sealed with the configuration's
/// `seal-key`.
#[utoipa::path(
    post,
    path = "/manage/v1/warehouses",
    tag = "operations",
    request_body = WantedWarehouse,
    responses(
        (status = 200, description = "Added, and served from now on", body = ChangedWarehouse),
        (status = 400, description = "It cannot be used; the answer says why", body = Problem),
        (status = 403, description = "It is where no warehouse may be", body = Problem),
        (status = 409, description = "There is one of that name", body = Problem),
    ),
)]
pub(super) async fn add_warehouse(
    State(api): State<Api>,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Json<ChangedWarehouse>, Failure> {
    let wanted = Wanted::parse(body)?;
    let name = wanted.name.ok_or_else(|| Error::malformed("The warehouse lacks its name"))?;
    let added = async move { api.warehouses.add(&name, wanted.description, wanted.secrets.set).await };
    Ok(Json(to_its_end(added).await?.into()))
}

/// One warehouse, without its secrets.
#[utoipa::path(
    get,
    path = "/manage/v1/warehouses/{name}",
    tag = "operations",
    params(("name" = String, Path, description = "The warehouse's name")),
    responses(
        (status = 200, description = "The warehouse", body = WarehouseBody),
        (status = 404, description = "No such warehouse", body = Problem),
    ),
)]
pub(super) async fn show_warehouse(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<WarehouseBody>, Failure> {
    Ok(Json(api.warehouses.show(&name)?.into()))
}

/// Describes a warehouse anew, whole, once the new description has been tried. A secret that is left out stays; null removes
/// it. Its `url` changes only while nothing is in it.
#[utoipa::path(
    put,
    path = "/manage/v1/warehouses/{name}",
    tag = "operations",
    params(("name" = String, Path, description = "The warehouse's name")),
    request_body = WantedWarehouse,
    responses(
        (status = 200, description = "Changed", body = ChangedWarehouse),
        (status = 400, description = "It cannot be used; the answer says why", body = Problem),
        (status = 403, description = "It is where no warehouse may be", body = Problem),
        (status = 404, description = "No such warehouse", body = Problem),
        (status = 409, description = "It is of the configuration file, or cannot move", body = Problem),
    ),
)]
pub(super) async fn change_warehouse(
    State(api): State<Api>,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Json<ChangedWarehouse>, Failure> {
    let wanted = Wanted::parse(body)?;
    if wanted.name.as_ref().is_some_and(|said| *said != name) {
        return Err(Error::illegal("A warehouse keeps its name: leave name out, or say the one in the path").into());
    }
    let changed = async move { api.warehouses.change(&name, wanted.description, wanted.secrets).await };
    Ok(Json(to_its_end(changed).await?.into()))
}

/// Removes a warehouse in which nothing is.
#[utoipa::path(
    delete,
    path = "/manage/v1/warehouses/{name}",
    tag = "operations",
    params(("name" = String, Path, description = "The warehouse's name")),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "No such warehouse", body = Problem),
        (status = 409, description = "It is of the configuration file, or something is in it", body = Problem),
    ),
)]
pub(super) async fn remove_warehouse(State(api): State<Api>, Path(name): Path<String>) -> Result<StatusCode, Failure> {
    to_its_end(async move { api.warehouses.remove(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
