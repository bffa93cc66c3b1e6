//! What a request needs, and whether who sends it may.
//!
//! Asked once, before a request is routed: a route cannot be forgotten, and what is not known here needs the right to
//! write. Paths are compared segment by segment, because a table may be called `metrics` or `plan`.

use axum::extract::Request;
use http::Method;
use http::header::AUTHORIZATION;

use crate::auth::{Access, Mode, Right, Token, unauthenticated};
use crate::error::{Error, Kind, Result};

/// The one gate. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    access: Access,
    metrics: Needs,
}

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing: everybody may.
    Nothing,
    /// A token with this right or more.
    A(Right),
}

impl Gate {
    /// The gate of a server whose `/metrics` needs this.
    pub(super) fn new(access: Access, metrics: Needs) -> Self {
        Self { access, metrics }
    }

    /// Lets a request in, and says who sent it; nobody is known where nobody has to be.
    pub(super) fn admit(&self, request: &Request) -> Result<Option<Token>> {
        if self.access.mode() == Mode::Open {
            return Ok(None);
        }
        let Needs::A(right) = needs_of(request.method(), request.uri().path(), self.metrics) else { return Ok(None) };
        let token = self.access.authenticate(bearer(request)?)?;
        if token.right < right {
            let (name, has, right) = (&token.name, token.right.as_str(), right.as_str());
            let message = format!("Token {name:?} may {has}: this needs one that may {right}");
            return Err(Error::new(Kind::Forbidden, message));
        }
        Ok(Some(token))
    }
}

fn needs_of(method: &Method, path: &str, metrics: Needs) -> Needs {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let looks = matches!(*method, Method::GET | Method::HEAD);
    match segments.as_slice() {
        ["" | "openapi.json"] | ["docs" | "health", ..] if looks => Needs::Nothing,
        ["v1", "oauth", "tokens"] => Needs::Nothing,
        ["metrics"] if looks => metrics,
        ["manage", ..] => Needs::A(Right::Admin),
        _ if looks => Needs::A(Right::Read),
        // What looks, and carries its question in a body or ends one.
        ["v1", "namespaces", _, "tables", _, "plan" | "tasks" | "metrics" | "sign"] if *method == Method::POST => {
            Needs::A(Right::Read)
        }
        ["v1", "namespaces", _, "tables", _, "plan", _] if *method == Method::DELETE => Needs::A(Right::Read),
        _ => Needs::A(Right::Write),
    }
}

fn bearer(request: &Request) -> Result<&str> {
    let sent = request.headers().get(AUTHORIZATION);
    let sent = sent.ok_or_else(|| unauthenticated("A token is needed: send Authorization: Bearer …"))?;
    let (scheme, bearer) = sent.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(bearer.trim());
    }
    Err(unauthenticated("A bearer token is needed: send Authorization: Bearer …"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_open_no_door() {
        let needs = |method: Method, path: &str| needs_of(&method, path, Needs::A(Right::Read));
        for path in ["/", "/docs/", "/docs/swagger-ui.css", "/openapi.json", "/health/ready", "/v1/oauth/tokens"] {
            assert_eq!(needs(Method::GET, path), Needs::Nothing, "{path}");
        }
        let (read, write, admin) = (Needs::A(Right::Read), Needs::A(Right::Write), Needs::A(Right::Admin));
        for (method, path, needed) in [
            (Method::GET, "/v1/config", read),
            (Method::HEAD, "/v1/namespaces/a", read),
            (Method::GET, "/metrics", read),
            (Method::GET, "/nothing/here", read),
            (Method::POST, "/v1/namespaces/a/tables/t/plan", read),
            (Method::POST, "/v1/namespaces/a/tables/t/tasks", read),
            (Method::POST, "/v1/namespaces/a/tables/t/metrics", read),
            (Method::POST, "/v1/namespaces/a/tables/t/sign", read),
            (Method::GET, "/v1/namespaces/a/tables/t/credentials", read),
            (Method::DELETE, "/v1/namespaces/a/tables/t/plan/1", read),
            (Method::POST, "/v1/namespaces/a/tables/metrics", write),
            (Method::POST, "/v1/namespaces/metrics", write),
            (Method::DELETE, "/v1/namespaces/a/tables/plan", write),
            (Method::POST, "/v1/namespaces/plan/tables", write),
            (Method::POST, "/v1/transactions/commit", write),
            (Method::POST, "/ingest/v1/a/metrics", write),
            (Method::PUT, "/anything", write),
            (Method::POST, "/docs", write),
            (Method::GET, "/manage/v1/check", admin),
            (Method::POST, "/manage/v1/tokens", admin),
        ] {
            assert_eq!(needs(method.clone(), path), needed, "{method} {path}");
        }
    }
}
