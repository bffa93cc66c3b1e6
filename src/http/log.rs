//! One layer around every request: its id, its log line, its metrics, and the body of its error.
//!
//! An error is logged here and nowhere else: what was the client's doing at `info`, what was ours at `error` with every
//! cause. A request that changed something is logged at `info`, one that only looked at `debug`.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method};
use tracing::Instrument;

use super::count::Requests;
use super::error::{Failure, Grammar, render};
use crate::clock;

/// The header that names a request in answers and logs.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Wraps a request. What a reading request does inside is logged without its id: a span for each would cost more than
/// the request.
pub(super) async fn around(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let started = clock::tick();
    let uri = request.uri().clone();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = if reads(&method) {
        next.run(request).await
    } else {
        let span = tracing::info_span!("request", request_id = text_of(&id));
        next.run(request).instrument(span).await
    };
    let failure = response.extensions_mut().remove::<Failure>();
    if let Some(failure) = &failure {
        render(&mut response, failure, Grammar::of(uri.path()));
    }
    let done = Done { method: &method, path: uri.path(), status: response.status().as_u16(), took: started.elapsed() };
    done.log(&id, failure.as_ref());
    requests.count(&method, route.as_ref(), done.status, done.took);
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn text_of(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

/// A request that was answered.
struct Done<'a> {
    method: &'a Method,
    path: &'a str,
    status: u16,
    took: Duration,
}

impl Done<'_> {
    fn log(&self, id: &HeaderValue, failure: Option<&Failure>) {
        let Self { method, path, status, took } = self;
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let request_id = text_of(id);
        match failure {
            Some(failure) if *status >= 500 => {
                tracing::error!(request_id, %method, path, status, took_us, error = failure.0.chain(), "request failed");
            }
            // Clients look for what is not there all the time.
            Some(failure) if reads(method) => {
                tracing::debug!(request_id, %method, path, status, took_us, error = failure.0.message(), "request refused");
            }
            Some(failure) => {
                tracing::info!(request_id, %method, path, status, took_us, error = failure.0.message(), "request refused");
            }
            None if reads(method) => tracing::debug!(request_id, %method, path, status, took_us, "request answered"),
            None => tracing::info!(request_id, %method, path, status, took_us, "request done"),
        }
    }
}

fn request_id(request: &Request) -> HeaderValue {
    let sent = request.headers().get(&REQUEST_ID);
    let usable = sent.filter(|id| id.len() <= REQUEST_ID_BYTES_MAX && id.to_str().is_ok_and(|id| !id.is_empty()));
    match usable {
        Some(id) => id.clone(),
        None => HeaderValue::from_str(&clock::new_uuid()).unwrap_or_else(|_| HeaderValue::from_static("none")),
    }
}
