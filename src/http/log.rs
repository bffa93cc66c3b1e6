//! One layer around every request: its id, its log line, its metrics, and the body of its error.
//!
//! An error is logged here and nowhere else: what was the client's doing at `info`, what was ours at `error` with every
//! cause. A request that changed something is logged at `info`, one that only looked at `debug`.

use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method};
use tracing::Instrument;

use super::error::{Failure, Grammar, render};
use crate::clock;

/// The header that names a request in answers and logs.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Wraps a request.
pub(super) async fn around(request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let started = clock::tick();
    let grammar = Grammar::of(request.uri().path());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    let mut response = next.run(request).instrument(span.clone()).await;
    let failure = response.extensions_mut().remove::<Failure>();
    if let Some(failure) = &failure {
        render(&mut response, failure, grammar);
    }
    let took = started.elapsed();
    let status = response.status().as_u16();
    span.in_scope(|| line(&method, &path, status, took, failure.as_ref()));
    count(&method, route.as_ref(), status, took);
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn request_id(request: &Request) -> HeaderValue {
    let sent = request.headers().get(&REQUEST_ID);
    let usable = sent.filter(|id| id.len() <= REQUEST_ID_BYTES_MAX && id.to_str().is_ok_and(|id| !id.is_empty()));
    match usable {
        Some(id) => id.clone(),
        None => HeaderValue::from_str(&clock::new_uuid()).unwrap_or_else(|_| HeaderValue::from_static("none")),
    }
}

fn line(method: &Method, path: &str, status: u16, took: Duration, failure: Option<&Failure>) {
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    match failure {
        Some(failure) if status >= 500 => {
            tracing::error!(%method, path, status, took_us, error = failure.0.chain(), "request failed");
        }
        Some(failure) => {
            tracing::info!(%method, path, status, took_us, error = failure.0.message(), "request refused");
        }
        None if matches!(*method, Method::GET | Method::HEAD) => {
            tracing::debug!(%method, path, status, took_us, "request answered");
        }
        None => tracing::info!(%method, path, status, took_us, "request done"),
    }
}

fn count(method: &Method, route: Option<&MatchedPath>, status: u16, took: Duration) {
    let labels = [
        ("method", method_label(method)),
        ("route", route.map_or_else(|| "none".to_owned(), |route| route.as_str().to_owned()).into()),
        ("status", metrics::SharedString::from(status.to_string())),
    ];
    metrics::counter!("floeberg_http_requests_total", &labels).increment(1);
    metrics::histogram!("floeberg_http_request_seconds", "route" => labels[1].1.clone()).record(took.as_secs_f64());
}

/// Only methods that we know become labels: a client can send any.
fn method_label(method: &Method) -> metrics::SharedString {
    match *method {
        Method::GET => "GET".into(),
        Method::HEAD => "HEAD".into(),
        Method::POST => "POST".into(),
        Method::PUT => "PUT".into(),
        Method::DELETE => "DELETE".into(),
        Method::OPTIONS => "OPTIONS".into(),
        _ => "other".into(),
    }
}
