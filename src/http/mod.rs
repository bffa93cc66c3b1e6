//! Everything that speaks HTTP: every route is on this page.
//!
//! A handler extracts typed words, makes one call, and shapes the answer. What is called knows no HTTP.

mod answer;
mod authenticate;
mod case;
mod count;
mod docs;
mod error;
mod events;
mod extract;
mod health;
mod iceberg;
mod ingest;
mod ingest_options;
mod ingest_request;
mod ingest_routed;
mod ingest_rules;
mod ingest_schema;
mod ingest_state;
mod keyed;
mod log;
mod manage;
mod managed;
mod oauth;
mod page;
mod rollback;
mod serve;
mod staying;
mod tokens;
mod warehouses;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use http::{HeaderName, HeaderValue, Method};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use docs::document;
pub use iceberg::config::ENDPOINTS;
pub use managed::{ChangedWarehouse, WarehouseBody, WarehouseList};
pub use rollback::{MetadataLogBody, RolledBack, WantedRollback};
pub use serve::serve;
pub use tokens::{MadeToken, TokenBody, TokenList, WantedToken};
pub use warehouses::Paths;

use crate::auth::{Access, Right};
use crate::catalog::reports::Reports;
use crate::error::{Error, Kind, Result, What};
use crate::limits;
use crate::names::RESERVED_PREFIXES;
use crate::warehouses::Warehouses;
use authenticate::{Gate, Needs};
use error::Failure;

/// What handlers work with, behind one count: it is cloned several times for every request.
#[derive(Debug, Clone)]
pub struct Api(Arc<Parts>);

impl std::ops::Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl From<Parts> for Api {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

/// The parts that handlers work with.
#[derive(Debug)]
pub struct Parts {
    /// What is served.
    pub warehouses: Warehouses,
    /// The path under which everything is served, without a slash at the end; empty where there is none.
    pub base_path: String,
    /// Who may call.
    pub access: Access,
    /// Where metrics reports go.
    pub reports: Reports,
    /// Whether new work is welcome.
    pub readiness: Readiness,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// Whether `/metrics` needs a token too, where everything does.
    pub metrics_auth: bool,
    /// Room for the bodies of `/v1`.
    pub bodies: Bodies,
}

/// Room for request bodies under way together, in KiB. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bodies(Arc<Semaphore>);

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::CATALOG_BODIES_BYTES_MAX >> 10)))
    }
}

impl Bodies {
    /// Makes the room of one body large enough for so many bytes, if there is any left.
    fn grow(&self, room: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<()> {
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = ((bytes >> 10) + 1).saturating_sub(held);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let further = Arc::clone(&self.0).try_acquire_many_owned(more).map_err(|_| {
            Error::new(
                Kind::Unavailable,
                "The request bodies under way take all the memory there is for them: try again",
            )
        })?;
        match room {
            Some(room) => room.merge(further),
            None => *room = Some(further),
        }
        Ok(())
    }
}

/// Whether new work is welcome; cleared when the server begins to stop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on `/health/ready` says no.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the server is stopping.
    pub fn is_stopping(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Every route, and the document that describes them.
pub(crate) fn routes_and_document() -> (Router<Api>, Document) {
    use iceberg::{commits, config, delegation, functions, namespaces, plans, reports, tables, views};
    OpenApiRouter::with_openapi(docs::Description::openapi())
        // The Iceberg REST protocol.
        .routes(routes!(config::get_config))
        .routes(routes!(oauth::get_token))
        .routes(routes!(namespaces::list_namespaces, namespaces::create_namespace))
        .routes(routes!(namespaces::load_namespace, namespaces::namespace_exists, namespaces::drop_namespace))
        .routes(routes!(namespaces::update_properties))
        .routes(routes!(tables::list_tables, tables::create_table))
        .routes(routes!(tables::load_table, tables::table_exists, commits::commit_table, tables::drop_table))
        .routes(routes!(reports::report_metrics))
        .routes(routes!(tables::register_table))
        .routes(routes!(tables::rename_table))
        .routes(routes!(tables::unregister_table))
        .routes(routes!(delegation::load_credentials))
        .routes(routes!(delegation::sign_request))
        .routes(routes!(commits::commit_transaction))
        .routes(routes!(plans::plan_table_scan))
        .routes(routes!(plans::fetch_planning_result, plans::cancel_planning))
        .routes(routes!(plans::fetch_scan_tasks))
        .routes(routes!(views::list_views, views::create_view))
        .routes(routes!(views::load_view, views::view_exists, views::replace_view, views::drop_view))
        .routes(routes!(views::rename_view))
        .routes(routes!(views::register_view))
        .routes(routes!(functions::list_functions))
        .routes(routes!(functions::load_function))
        // Rows.
        .routes(routes!(ingest::append))
        .routes(routes!(ingest_state::look_up, ingest_routed::append_to_many))
        .routes(routes!(ingest_state::table_status))
        .routes(routes!(ingest_state::flush_table))
        .routes(routes!(ingest_schema::change_schema))
        // Operations.
        .routes(routes!(manage::check))
        .routes(routes!(manage::put_function, manage::drop_function))
        .routes(routes!(rollback::metadata_log))
        .routes(routes!(rollback::roll_back))
        .routes(routes!(ingest_rules::show_rules, ingest_rules::set_rules, ingest_rules::drop_rules))
        .routes(routes!(ingest_rules::preview_rules))
        .routes(routes!(managed::list_warehouses, managed::add_warehouse))
        .routes(routes!(managed::show_warehouse, managed::change_warehouse, managed::remove_warehouse))
        .routes(routes!(tokens::list_tokens, tokens::create_token))
        .routes(routes!(tokens::revoke_token))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(docs::openapi_json))
        .split_for_parts()
}

/// The whole server as one service.
pub fn router(api: Api, cors_origins: &[String]) -> Result<Router> {
    let (routes, document) = routes_and_document();
    let document = docs::complete(document, &api.base_path);
    let router = routes
        .merge(docs::pages(document, &api.base_path))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .with_state(api.clone())
        .layer(log::Around::new(Gate::new(api.access.clone(), needed_for_metrics(&api))));
    // Without origins that are allowed the layer would only cost.
    if cors_origins.is_empty() { Ok(router) } else { Ok(router.layer(cors(cors_origins)?)) }
}

/// Status and body of the answer to a request of the process's own.
pub async fn ask(api: &Api, method: Method, path: &str, body: String) -> Result<(u16, String)> {
    let failed = |error: axum::Error| Error::internal("The answer cannot be read").because(error);
    let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
    let mut request = request.body(axum::body::Body::from(body)).map_err(|error| failed(axum::Error::new(error)))?;
    Paths::of(api).normalise(&mut request);
    let answer = router(api.clone(), &[])?.oneshot(request).await;
    let (parts, body) = answer.map_or_else(|never| match never {}, http::Response::into_parts);
    let bytes = axum::body::to_bytes(body, limits::CATALOG_BODY_BYTES_MAX).await.map_err(failed)?;
    Ok((parts.status.as_u16(), String::from_utf8_lossy(&bytes).into_owned()))
}

fn needed_for_metrics(api: &Api) -> Needs {
    if api.metrics_auth { Needs::A(Right::Read) } else { Needs::Nothing }
}

async fn no_such_route(State(api): State<Api>, request: axum::extract::Request) -> Failure {
    let path = request.uri().path();
    let segments: Vec<&str> = path.split('/').skip(1).take(3).collect();
    if let ["v1", prefix, next] = segments.as_slice()
        && !RESERVED_PREFIXES.contains(prefix)
        && RESERVED_PREFIXES.contains(next)
    {
        return api.warehouses.set().unknown(prefix).into();
    }
    Error::new(Kind::NotFound(What::Route), format!("No such endpoint: {path} (what there is stands at /docs)")).into()
}

async fn no_such_method(request: axum::extract::Request) -> Failure {
    let (method, path) = (request.method(), request.uri().path());
    Error::new(Kind::MethodNotAllowed, format!("{path} does not take {method}")).into()
}

fn cors(origins: &[String]) -> Result<CorsLayer> {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let parse = |origin: &String| {
            HeaderValue::from_str(origin).map_err(|_| Error::illegal(format!("CORS origin {origin:?} cannot be used")))
        };
        AllowOrigin::list(origins.iter().map(parse).collect::<Result<Vec<_>>>()?)
    };
    Ok(CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(tower_http::cors::AllowHeaders::mirror_request())
        .expose_headers([http::header::ETAG, log::REQUEST_ID, HeaderName::from_static("retry-after")]))
}
