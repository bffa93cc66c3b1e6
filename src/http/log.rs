//! One layer around every request: whether it is let in, its id, its log line, its metrics, and the body of its error. It also stops a panic,
//! which is a fault of ours in one request: the others go on.
//!
//! An error is logged here and nowhere else: what was the client's doing at `info`, what was ours at `error` with every
//! cause. A request that changed something is logged at `info`, one of very many at `debug`: what only looked, and rows that
//! were taken, of which a busy table would fill a disk with lines. They are counted all the same.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Either};
use http::header::EXPECT;
use http::{HeaderName, HeaderValue, Method};
use tower::{Layer, Service};
use tracing::Instrument;

use super::authenticate::Gate;
use super::count::Requests;
use super::error::{Failure, Grammar, render};
use super::extract::discard;
use super::warehouses::AsAsked;
use crate::clock;
use crate::error::Error;

/// The header that names a request in answers and logs.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Puts the layer around a service. One layer of our own, because each that a router gets costs every request a box.
#[derive(Debug, Clone)]
pub(super) struct Around {
    gate: Gate,
    requests: Requests,
}

impl Around {
    /// A layer that lets in whom the gate does.
    pub(super) fn new(gate: Gate) -> Self {
        Self { gate, requests: Requests::default() }
    }
}

/// A service with the layer around it.
#[derive(Debug, Clone)]
pub(super) struct Logged<S> {
    inner: S,
    gate: Gate,
    requests: Requests,
}

impl<S> Layer<S> for Around {
    type Service = Logged<S>;

    fn layer(&self, inner: S) -> Logged<S> {
        Logged { inner, gate: self.gate.clone(), requests: self.requests.clone() }
    }
}

impl<S> Service<Request> for Logged<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let asked = Asked {
            id: request_id(&request),
            grammar: Grammar::of(request.uri().path()),
            kind: RequestKind::of(&request),
            uri: request.extensions().get().map_or_else(|| request.uri().clone(), |AsAsked(uri)| uri.clone()),
            method: request.method().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
        };
        if asked.kind == RequestKind::Rows {
            // Dead letters name the request that they came with.
            request.headers_mut().insert(REQUEST_ID, asked.id.clone());
        }
        let answer = match self.gate.admit(&request) {
            Ok(token) => {
                if let Some(token) = token {
                    request.extensions_mut().insert(token);
                }
                Either::Left(self.inner.call(request))
            }
            Err(error) => Either::Right(refuse(error, request)),
        };
        Box::pin(around(asked, answer, self.requests.clone()))
    }
}

/// What is known of a request before it is answered.
struct Asked {
    id: HeaderValue,
    grammar: Grammar,
    kind: RequestKind,
    uri: http::Uri,
    method: Method,
    route: Option<MatchedPath>,
}

/// What is one of many logs what it does inside without its id: a span for each would cost more than the request.
async fn around(
    asked: Asked,
    answer: impl Future<Output = Result<Response, Infallible>>,
    requests: Requests,
) -> Result<Response, Infallible> {
    let started = clock::tick();
    let answer = AssertUnwindSafe(answer).catch_unwind();
    let answer = if asked.kind != RequestKind::Change {
        answer.await
    } else {
        answer.instrument(tracing::info_span!("request", request_id = text_of(&asked.id))).await
    };
    let mut response = answer.unwrap_or_else(|cause| Ok(panicked(&*cause)))?;
    let failure = response.extensions_mut().remove::<Failure>();
    if let Some(failure) = &failure {
        render(&mut response, failure, asked.grammar);
    }
    let Asked { id, uri, method, route, kind, .. } = asked;
    let (path, status, took) = (uri.path(), response.status().as_u16(), started.elapsed());
    let done = Done { method: &method, kind, path, status, took };
    done.log(&id, failure.as_ref());
    requests.count(&method, route.as_ref(), done.status, done.took);
    response.headers_mut().insert(REQUEST_ID, id);
    Ok(response)
}

/// The answer to who is not let in. What the request still sends is taken in, within bounds, so that it is read.
async fn refuse(error: Error, request: Request) -> Result<Response, Infallible> {
    if !request.headers().contains_key(EXPECT) {
        discard(request.into_body()).await;
    }
    Ok(Failure::from(error).into_response())
}

fn panicked(cause: &(dyn Any + Send)) -> Response {
    Failure::from(Error::internal("A handler panicked").because_of_panic(cause)).into_response()
}

/// What a request is to who reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestKind {
    /// It looks at something.
    Look,
    /// It brings rows.
    Rows,
    /// It changes something.
    Change,
}

impl RequestKind {
    fn of(request: &Request) -> Self {
        let (method, path) = (request.method(), request.uri().path());
        let rows = *method == Method::POST && path.starts_with("/ingest/") && !path.ends_with("/schema");
        match rows {
            true => Self::Rows,
            false if reads(method) => Self::Look,
            false => Self::Change,
        }
    }
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
    kind: RequestKind,
    path: &'a str,
    status: u16,
    took: Duration,
}

impl Done<'_> {
    fn log(&self, id: &HeaderValue, failure: Option<&Failure>) {
        let Self { method, kind, path, status, took } = self;
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
            None if *kind != RequestKind::Change => {
                tracing::debug!(request_id, %method, path, status, took_us, "request answered")
            }
            None => tracing::info!(request_id, %method, path, status, took_us, "request done"),
        }
    }
}

fn request_id(request: &Request) -> HeaderValue {
    let sent = request.headers().get(&REQUEST_ID);
    let usable = sent.filter(|id| id.len() <= REQUEST_ID_BYTES_MAX && id.to_str().is_ok_and(|id| !id.is_empty()));
    match usable {
        Some(id) => id.clone(),
        None => HeaderValue::from_maybe_shared(Bytes::from(clock::new_uuid()))
            .unwrap_or_else(|_| HeaderValue::from_static("none")),
    }
}
