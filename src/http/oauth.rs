//! The OAuth token endpoint: operation 2 of the REST specification.
//!
//! A client gives a token's secret (client credentials, in the form or as Basic), or an access token that still holds
//! (token exchange), for a fresh access token. Nothing is written. A bearer that comes along says nothing.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::extract::{Query, Room, read_body};
use crate::auth::{LIFETIME_S, Mode};
use crate::error::{Error, Kind, Result};
use crate::limits;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// `OAuthTokenResponse`
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OAuthTokenResponse {
    access_token: String,
    /// `bearer`
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    issued_token_type: &'static str,
    /// What was asked for: a token's right is its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

/// `OAuthError`
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OAuthError {
    /// `invalid_request`, `invalid_client`, `invalid_grant` or `unsupported_grant_type`.
    error: &'static str,
    error_description: String,
}

/// `OAuthTokenRequest`
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "a description for the document: the form is read by name")]
pub(super) struct OAuthTokenRequest {
    /// `client_credentials`, or token exchange.
    grant_type: String,
    /// The token's id or name; may be left out.
    client_id: Option<String>,
    /// The token's secret.
    client_secret: Option<String>,
    /// In an exchange: an access token, or a secret.
    subject_token: Option<String>,
    /// Not looked at.
    scope: Option<String>,
}

/// What went wrong, in the words of RFC 6749.
struct Refusal(StatusCode, OAuthError);

impl Refusal {
    fn bad(error: &'static str, description: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, OAuthError { error, error_description: description.into() })
    }

    fn client(description: impl Into<String>) -> Self {
        Self(StatusCode::UNAUTHORIZED, OAuthError { error: "invalid_client", error_description: description.into() })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let headers = (self.0 == StatusCode::UNAUTHORIZED).then_some([(WWW_AUTHENTICATE, "Basic")]);
        match headers {
            Some(headers) => (self.0, headers, Json(self.1)).into_response(),
            None => (self.0, Json(self.1)).into_response(),
        }
    }
}

/// An access token for a token's secret.
#[utoipa::path(
    post,
    path = "/v1/oauth/tokens",
    tag = "catalog",
    request_body(content = OAuthTokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "An access token", body = OAuthTokenResponse),
        (status = 400, description = "The form cannot be used", body = OAuthError),
        (status = 401, description = "The secret is not known", body = OAuthError),
    ),
)]
pub(super) async fn get_token(State(api): State<Api>, request: Request) -> Response {
    match answer(&api, request).await {
        Ok(token) => ([(CACHE_CONTROL, "no-store")], Json(token)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(api: &Api, request: Request) -> std::result::Result<OAuthTokenResponse, Refusal> {
    let basic = basic(request.headers()).map_err(|error| Refusal::bad("invalid_request", error.message()))?;
    let form = form(request).await.map_err(|error| Refusal::bad("invalid_request", error.message()))?;
    let (client_id, secret) = credentials(&form, basic)?;
    let (access_token, expires_in) = match api.access.mode() {
        // Clients that were given a credential are let in like all others.
        Mode::Open => ("anonymous".to_owned(), LIFETIME_S),
        Mode::Token => {
            let granted = api.access.grant(client_id.as_deref(), &secret);
            granted.map_err(|error| match error.kind() {
                Kind::Unauthenticated => Refusal::client(error.message()),
                _ => Refusal::bad("invalid_request", error.message()),
            })?
        }
    };
    let scope = form.get("scope").filter(|scope| !scope.is_empty()).map(str::to_owned);
    Ok(OAuthTokenResponse { access_token, token_type: "bearer", expires_in, issued_token_type: ACCESS_TOKEN, scope })
}

/// Id and secret of a client, from wherever it put them.
fn credentials(
    form: &Query,
    basic: Option<(String, String)>,
) -> std::result::Result<(Option<String>, String), Refusal> {
    let text = |key: &str| form.get(key).filter(|text| !text.is_empty()).map(str::to_owned);
    let client = match (basic, text("client_secret")) {
        (Some((id, secret)), _) => Some((Some(id).filter(|id| !id.is_empty()), secret)),
        (None, Some(secret)) => Some((text("client_id"), secret)),
        (None, None) => None,
    };
    match (form.get("grant_type").unwrap_or_default(), client) {
        ("client_credentials" | EXCHANGE, Some(client)) => Ok(client),
        ("client_credentials", None) => {
            Err(Refusal::client("client_secret is needed: in the form, or as the password of Basic"))
        }
        (EXCHANGE, None) => match text("subject_token") {
            Some(subject) => Ok((None, subject)),
            None => Err(Refusal::bad("invalid_request", "subject_token is needed to exchange it")),
        },
        ("", _) => Err(Refusal::bad("invalid_request", "grant_type is needed: client_credentials")),
        (other, _) => {
            let message = format!("grant_type {other:?} is not known: client_credentials or {EXCHANGE}");
            Err(Refusal::bad("unsupported_grant_type", message))
        }
    }
}

fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>> {
    let Some(sent) = headers.get(AUTHORIZATION).and_then(|sent| sent.to_str().ok()) else { return Ok(None) };
    let Some((scheme, encoded)) = sent.split_once(' ') else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let bad = || Error::malformed("The Basic authorization is not id:secret in base64");
    let text = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(bad)?;
    let (id, secret) = text.split_once(':').ok_or_else(bad)?;
    Ok(Some((id.to_owned(), secret.to_owned())))
}

async fn form(request: Request) -> Result<Query> {
    let body = read_body(request, limits::TOKEN_FORM_BYTES_MAX, &mut Room::default()).await?;
    let text = std::str::from_utf8(&body).map_err(|_| Error::malformed("The form is not UTF-8"))?;
    Query::parse(text)
}
