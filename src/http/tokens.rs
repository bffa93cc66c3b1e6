//! `/manage/v1/tokens`: who may call.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::error::Failure;
use super::extract::{JsonBody, TokenPath};
use super::ingest::Problem;
use crate::auth::{Mode, Right, Token};
use crate::clock;
use crate::error::{Error, Kind, Result};

/// A token, without its secret.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenBody {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `read`, `write` or `admin`.
    pub right: String,
    /// When it was made: RFC 3339, UTC.
    pub created: String,
    /// When it ends; null if it does not.
    pub expires: Option<String>,
}

impl From<Token> for TokenBody {
    fn from(token: Token) -> Self {
        Self {
            id: token.id,
            name: token.name,
            right: token.right.as_str().to_owned(),
            created: clock::rfc3339(token.created_ms),
            expires: token.expires_ms.map(clock::rfc3339),
        }
    }
}

/// A token that was just made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// The token.
    #[serde(flatten)]
    pub token: TokenBody,
    /// Its secret, shown this once: a bearer by itself, and a client's secret for `/v1/oauth/tokens`.
    pub secret: String,
}

/// A token that is wanted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedToken {
    /// What people call it.
    pub name: String,
    /// `read`, `write` or `admin`.
    pub right: String,
    /// When it is to end: RFC 3339 with a zone. Absent or null: never.
    #[serde(default)]
    pub expires: Option<String>,
}

impl WantedToken {
    /// Its right and its end.
    pub(crate) fn parse(&self) -> Result<(Right, Option<i64>)> {
        let end = |text: &String| {
            clock::parse_rfc3339(text)
                .ok_or_else(|| Error::illegal(format!("expires {text:?} is not a time, such as 2030-01-31T00:00:00Z")))
        };
        Ok((Right::parse(&self.right)?, self.expires.as_ref().map(end).transpose()?))
    }
}

/// Every token.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// The oldest first.
    pub tokens: Vec<TokenBody>,
}

/// Every token, without its secret.
#[utoipa::path(
    get,
    path = "/manage/v1/tokens",
    tag = "operations",
    responses((status = 200, description = "The tokens", body = TokenList)),
)]
pub(super) async fn list_tokens(State(api): State<Api>) -> Result<Json<TokenList>, Failure> {
    let tokens = api.access.list().await?;
    Ok(Json(TokenList { tokens: tokens.into_iter().map(TokenBody::from).collect() }))
}

/// A new token; its secret is in this answer and nowhere else.
#[utoipa::path(
    post,
    path = "/manage/v1/tokens",
    tag = "operations",
    request_body = WantedToken,
    responses(
        (status = 200, description = "Made", body = MadeToken),
        (status = 400, description = "It cannot be made so", body = Problem),
        (status = 406, description = "Nobody is asked for a token here", body = Problem),
    ),
)]
pub(super) async fn create_token(
    State(api): State<Api>,
    JsonBody(wanted): JsonBody<WantedToken>,
) -> Result<Json<MadeToken>, Failure> {
    if api.access.mode() == Mode::Open {
        // Who is not asked who they are must not leave a door behind.
        let message =
            "Tokens are made over HTTP only where auth = \"token\": stop the server and run floeberg token create";
        return Err(Error::new(Kind::Unsupported, message).into());
    }
    let (right, expires_ms) = wanted.parse()?;
    let access = api.access.clone();
    let (token, secret) = to_its_end(async move { access.create(&wanted.name, right, expires_ms).await }).await?;
    Ok(Json(MadeToken { token: token.into(), secret }))
}

/// Ends a token, and every access token that was given for it, at once.
#[utoipa::path(
    delete,
    path = "/manage/v1/tokens/{id}",
    tag = "operations",
    params(("id" = String, Path, description = "The token's id")),
    responses(
        (status = 204, description = "Ended"),
        (status = 404, description = "No such token", body = Problem),
    ),
)]
pub(super) async fn revoke_token(State(api): State<Api>, TokenPath(id): TokenPath) -> Result<StatusCode, Failure> {
    let access = api.access.clone();
    to_its_end(async move { access.revoke(&id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Does something whether or not the client waits for it.
pub(super) async fn to_its_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let done = tokio::spawn(work).await;
    done.map_err(|error| Error::internal("A change was cut off").because(error))?
}
