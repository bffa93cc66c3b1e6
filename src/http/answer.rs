//! Answers that have an entity tag, and what a client says it has or can take.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::catalog::loaded::Body;

/// What a client says it can take, and what it has.
#[derive(Debug)]
pub(super) struct Accepted {
    gzip: bool,
    tags: Vec<HeaderValue>,
}

impl Accepted {
    /// The answer to a client that has what this tag stands for.
    pub(super) fn not_modified(&self, etag: &str) -> Option<Response> {
        if !self.tags.iter().any(|sent| matches_etag(sent, etag)) {
            return None;
        }
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        set_etag(&mut response, etag);
        Some(response)
    }

    /// A JSON body, compressed where that is worth it, and its tag.
    pub(super) fn answer(&self, body: &Body, etag: Option<&str>) -> Response {
        let gzip = if self.gzip { body.gzip() } else { None };
        let compressed = gzip.is_some();
        let mut response = Response::new(axum::body::Body::from(gzip.unwrap_or_else(|| body.plain())));
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if compressed {
            fields.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            fields.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(etag) = etag {
            set_etag(&mut response, etag);
        }
        response
    }
}

/// A JSON body in several parts, and its tag.
pub(super) fn in_parts<const N: usize>(parts: [Bytes; N], etag: Option<&str>) -> Response {
    let length = parts.iter().map(Bytes::len).sum::<usize>();
    let body = stream::iter(parts.map(Ok::<_, std::io::Error>));
    let mut response = Response::new(axum::body::Body::from_stream(body));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(etag) = etag {
        set_etag(&mut response, etag);
    }
    response
}

/// Adds the entity tag; `serve.rs` sees to it that the name is written `ETag`.
fn set_etag(response: &mut Response, etag: &str) {
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(ETAG, etag);
    }
}

impl<S: Sync> FromRequestParts<S> for Accepted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let tags = parts.headers.get_all(IF_NONE_MATCH).iter().cloned().collect();
        Ok(Self { gzip: accepts_gzip(&parts.headers), tags })
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(weight.trim().replace(' ', "").as_str(), "q=0" | "q=0.0")
    })
}

/// Whether an `If-None-Match` names the tag: in a list or alone, weak or strong, quoted or not, or `*`.
fn matches_etag(sent: &HeaderValue, etag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned();
    let own = bare(etag);
    sent.to_str().is_ok_and(|sent| sent.split(',').any(|tag| tag.trim() == "*" || bare(tag) == own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        let matches = |sent: &'static str| matches_etag(&HeaderValue::from_static(sent), "\"ab-all\"");
        assert!(matches("\"ab-all\"") && matches("ab-all") && matches("W/\"ab-all\"") && matches("*"));
        assert!(matches("\"x\", \"ab-all\""));
        assert!(!matches("\"ab-refs\"") && !matches(""));
    }
}
