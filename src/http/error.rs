//! Errors → HTTP: the one table from [`Kind`] to status and type.
//!
//! A handler's error travels in the response's extensions, without a body; `log.rs` logs it once and writes the body in
//! the grammar of the path: Iceberg's `{"error":{message,type,code}}` under `/v1`, `application/problem+json` elsewhere.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::error::{Error, Kind, What};

/// The error of a handler.
#[derive(Debug, Clone)]
pub(crate) struct Failure(pub Arc<Error>);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(Arc::new(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status(self.0.kind()).0;
        response.extensions_mut().insert(self);
        response
    }
}

/// How an error is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grammar {
    /// `IcebergErrorResponse` of the REST specification.
    Iceberg,
    /// RFC 9457.
    Problem,
}

impl Grammar {
    /// The grammar of a path.
    pub(super) fn of(path: &str) -> Self {
        let v1 = path == "/v1" || path.starts_with("/v1/");
        if v1 { Self::Iceberg } else { Self::Problem }
    }
}

/// Status and Iceberg's type for each kind: clients act on both.
fn status(kind: Kind) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match kind {
        Kind::NotFound(What::Warehouse) => (S::NOT_FOUND, "NoSuchWarehouseException"),
        Kind::NotFound(What::Namespace) => (S::NOT_FOUND, "NoSuchNamespaceException"),
        Kind::NotFound(What::Table) => (S::NOT_FOUND, "NoSuchTableException"),
        Kind::NotFound(What::View) => (S::NOT_FOUND, "NoSuchViewException"),
        Kind::NotFound(What::Function) => (S::NOT_FOUND, "NoSuchFunctionException"),
        Kind::NotFound(What::File) => (S::NOT_FOUND, "NotFoundException"),
        Kind::NotFound(What::Plan) => (S::NOT_FOUND, "NoSuchPlanIdException"),
        Kind::NotFound(What::PlanTask) => (S::NOT_FOUND, "NoSuchPlanTaskException"),
        Kind::NotFound(What::Token | What::Request) => (S::NOT_FOUND, "NotFoundException"),
        Kind::NotFound(What::Route) => (S::NOT_FOUND, "NoSuchEndpointException"),
        Kind::AlreadyExists(_) => (S::CONFLICT, "AlreadyExistsException"),
        Kind::NotEmpty => (S::CONFLICT, "NamespaceNotEmptyException"),
        Kind::Malformed => (S::BAD_REQUEST, "BadRequestException"),
        Kind::Illegal => (S::BAD_REQUEST, "IllegalArgumentException"),
        Kind::Invalid => (S::BAD_REQUEST, "ValidationException"),
        Kind::Unprocessable => (S::UNPROCESSABLE_ENTITY, "UnprocessableEntityException"),
        Kind::Conflict | Kind::SpecDiffers => (S::CONFLICT, "CommitFailedException"),
        Kind::Unauthenticated => (S::UNAUTHORIZED, "NotAuthorizedException"),
        Kind::Forbidden => (S::FORBIDDEN, "ForbiddenException"),
        Kind::TooLarge => (S::PAYLOAD_TOO_LARGE, "BadRequestException"),
        Kind::UnsupportedMedia => (S::UNSUPPORTED_MEDIA_TYPE, "BadRequestException"),
        Kind::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "BadRequestException"),
        Kind::Unsupported => (S::NOT_ACCEPTABLE, "UnsupportedOperationException"),
        Kind::Busy => (S::TOO_MANY_REQUESTS, "TooManyRequestsException"),
        Kind::Unavailable => (S::SERVICE_UNAVAILABLE, "SlowDownException"),
        Kind::CommitUnknown => (S::INTERNAL_SERVER_ERROR, "CommitStateUnknownException"),
        Kind::Pending => (S::GATEWAY_TIMEOUT, "CommitStateUnknownException"),
        Kind::Internal => (S::INTERNAL_SERVER_ERROR, "InternalServerError"),
    }
}

/// The stable code of an error outside `/v1`.
fn code(error: &Error) -> &'static str {
    error.code().unwrap_or(match error.kind() {
        Kind::NotFound(_) => "not_found",
        Kind::AlreadyExists(_) => "already_exists",
        Kind::NotEmpty => "not_empty",
        Kind::Malformed => "malformed",
        Kind::Illegal | Kind::Invalid => "invalid",
        Kind::Unprocessable => "unprocessable",
        Kind::Conflict => "conflict",
        Kind::SpecDiffers => "partition_spec_differs",
        Kind::Unauthenticated => "unauthenticated",
        Kind::Forbidden => "forbidden",
        Kind::TooLarge => "too_large",
        Kind::UnsupportedMedia => "unsupported_media_type",
        Kind::MethodNotAllowed => "method_not_allowed",
        Kind::Unsupported => "unsupported",
        Kind::Busy => "busy",
        Kind::Unavailable => "unavailable",
        Kind::CommitUnknown => "unknown",
        Kind::Pending => "pending",
        Kind::Internal => "internal",
    })
}

/// What the caller may see: of a fault of ours, only that it happened.
fn message(error: &Error) -> &str {
    match error.kind() {
        Kind::Internal => {
            "Something went wrong inside the server; its log says what, under this request's x-request-id"
        }
        _ => error.message(),
    }
}

/// Writes the body of a failed answer.
pub(super) fn render(response: &mut Response, failure: &Failure, grammar: Grammar) {
    let error = &*failure.0;
    let (status, kind) = status(error.kind());
    let (body, content_type) = match grammar {
        Grammar::Iceberg => {
            let body = json!({"error": {"message": message(error), "type": kind, "code": status.as_u16()}});
            (body, "application/json")
        }
        Grammar::Problem => (problem(error, status), "application/problem+json"),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if matches!(error.kind(), Kind::Busy | Kind::Unavailable) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if error.kind() == Kind::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    *response.body_mut() = Body::from(body.to_string());
}

fn problem(error: &Error, status: StatusCode) -> serde_json::Value {
    let code = code(error);
    let mut body = json!({
        "type": format!("urn:floeberg:error:{code}"),
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "code": code,
        "detail": message(error),
        "errors": [],
        "errors_truncated": false,
    });
    match error.kind() {
        Kind::CommitUnknown => body["state"] = json!("unknown"),
        Kind::Pending => body["state"] = json!("pending"),
        _ => {}
    }
    body
}
