//! What clients reach a table's objects with: operations 18 and 19 of the REST specification, and what an answer about a
//! table says to those that ask for keys or signatures (`X-Iceberg-Access-Delegation`).

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, VARY};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use indexmap::IndexMap;
use serde::Serialize;

use super::wire::{
    IcebergErrorResponse, LoadCredentialsResponse, RemoteSignRequest, RemoteSignResult, StorageCredential,
};
use crate::auth::{Right, Token};
use crate::catalog::Loaded;
use crate::catalog::loaded::Snapshots;
use crate::error::{Error, Result};
use crate::http::answer::{Accepted, in_parts};
use crate::http::error::Failure;
use crate::http::extract::{JsonBody, TablePath};
use crate::http::warehouses::Here;
use crate::lake::delegation::{Access, Asked, Granted, SignRequest};
use crate::names::{TableName, fnv1a_64};

const ACCESS_DELEGATION: HeaderName = HeaderName::from_static("x-iceberg-access-delegation");

/// What a client asks for to reach objects with, and what it may do with them.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Delegated {
    asked: Asked,
    access: Access,
}

impl<S: Sync> FromRequestParts<S> for Delegated {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let sent = parts.headers.get_all(ACCESS_DELEGATION).iter().filter_map(|value| value.to_str().ok());
        let ways: Vec<&str> = sent.flat_map(|value| value.split(',')).map(str::trim).collect();
        let has = |way: &str| ways.iter().any(|one| one.eq_ignore_ascii_case(way));
        let asked = Asked { vended: has("vended-credentials"), signed: has("remote-signing") };
        let may_write = parts.extensions.get::<Token>().is_none_or(|token| token.right >= Right::Write);
        Ok(Self { asked, access: if may_write { Access::Write } else { Access::Read } })
    }
}

/// What an answer about a table adds for who asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Added<'a> {
    config: &'a IndexMap<String, String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    storage_credentials: &'a [StorageCredential],
}

impl Delegated {
    /// An error if what is asked for could not be given: to be asked before a table is made.
    pub(super) async fn could_be(&self, here: &Here) -> Result<()> {
        Box::pin(here.catalog.could_grant(self.asked)).await
    }

    /// A `LoadTableResult` for who asked, or that nothing has changed since the last one. No cache between may keep keys, or
    /// give who asks in one way what another was given.
    pub(super) async fn answer(
        &self,
        here: &Here,
        name: &TableName,
        loaded: (&Loaded, Snapshots),
        accepted: &Accepted,
    ) -> Result<Response> {
        let mut response = self.answer_for(here, name, loaded, accepted).await?;
        if self.asked != Asked::default() {
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        }
        response.headers_mut().append(VARY, HeaderValue::from_static("x-iceberg-access-delegation"));
        Ok(response)
    }

    async fn answer_for(
        &self,
        here: &Here,
        name: &TableName,
        (loaded, snapshots): (&Loaded, Snapshots),
        accepted: &Accepted,
    ) -> Result<Response> {
        // A staged table has nothing that a later load could be compared with.
        let etag = loaded.metadata_location.as_ref().map(|_| loaded.etag(snapshots));
        let granted = Box::pin(here.catalog.grant(name, loaded, self.asked, self.access)).await?;
        let Some(extra) = config_of(here, name, &granted) else {
            let unchanged = etag.and_then(|etag| accepted.not_modified(etag));
            return Ok(unchanged.unwrap_or_else(|| accepted.answer(loaded.body(snapshots), etag)));
        };
        let credentials = credentials_of(&granted, &extra);
        let added = serde_json::to_vec(&Added { config: &extra, storage_credentials: &credentials });
        let added = added.map_err(|error| Error::internal("An answer cannot be written").because(error))?;
        // Other keys are another answer: who has old ones is not told that nothing has changed.
        let epoch = fnv1a_64(added.iter().copied());
        let etag = etag.map(|etag| format!("{}-{epoch:016x}\"", etag.trim_end_matches('"')));
        if let Some(unchanged) = etag.as_deref().and_then(|etag| accepted.not_modified(etag)) {
            return Ok(unchanged);
        }
        // In place of the opening brace stands the comma between the two.
        let parts = [loaded.body_before_config(snapshots), Bytes::from_static(b","), Bytes::from(added).slice(1..)];
        Ok(in_parts(parts, etag.as_deref()))
    }
}

/// `StorageCredential`s for who plans a scan and asked for keys.
pub(super) async fn credentials_to_read(
    here: &Here,
    name: &TableName,
    delegated: Delegated,
) -> Result<Vec<StorageCredential>> {
    if !delegated.asked.vended {
        return Ok(Vec::new());
    }
    let granted = Box::pin(here.catalog.grant_again(name, delegated.asked, Access::Read)).await?;
    Ok(config_of(here, name, &granted).map_or_else(Vec::new, |config| credentials_of(&granted, &config)))
}

/// What a client is to configure; `None` where it is given nothing.
fn config_of(here: &Here, name: &TableName, granted: &Granted) -> Option<IndexMap<String, String>> {
    match granted {
        Granted::Nothing => None,
        Granted::Keys(keys) => {
            let mut config = keys.config.clone();
            if keys.expires_ms.is_some() {
                let again = path_of(here, name, "credentials");
                config.insert(keys.again_under.to_owned(), again);
            }
            Some(config)
        }
        Granted::Signatures => {
            let mut config = here.catalog.warehouse().client_config().clone();
            config.insert("s3.remote-signing-enabled".to_owned(), "true".to_owned());
            for key in ["signer.endpoint", "s3.signer.endpoint"] {
                config.insert(key.to_owned(), path_of(here, name, "sign"));
            }
            Some(config)
        }
    }
}

fn credentials_of(granted: &Granted, config: &IndexMap<String, String>) -> Vec<StorageCredential> {
    match granted {
        Granted::Keys(keys) => vec![StorageCredential { prefix: keys.prefix.clone(), config: config.clone() }],
        _ => Vec::new(),
    }
}

/// The path of something of a table's, relative to the URI that clients are given for the catalog.
fn path_of(here: &Here, name: &TableName, what: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let levels: Vec<String> = name.namespace.levels().map(encoded).collect();
    let prefix = here.prefix().map_or_else(String::new, |prefix| format!("{prefix}/"));
    format!("v1/{prefix}namespaces/{}/tables/{}/{what}", levels.join("%1F"), encoded(&name.name))
}

/// Keys for a table's objects, also of one that is only staged.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/tables/{table}/credentials",
    tag = "tables",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("table" = String, Path, description = "The table's name"),
    ),
    responses(
        (status = 200, description = "The keys; none where this warehouse lends none", body = LoadCredentialsResponse),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 404, description = "No such table", body = IcebergErrorResponse),
        (status = 503, description = "The store lends no keys now", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn load_credentials(
    here: Here,
    TablePath(name): TablePath,
    delegated: Delegated,
) -> Result<Response, Failure> {
    // Who asks here can use keys, whatever its header says.
    let asked = Asked { vended: true, ..delegated.asked };
    let granted = Box::pin(here.catalog.grant_again(&name, asked, delegated.access)).await?;
    let config = config_of(&here, &name, &granted).unwrap_or_default();
    let answer = LoadCredentialsResponse { storage_credentials: credentials_of(&granted, &config) };
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(answer)).into_response())
}

/// A client's request to the store, signed with the warehouse's own keys.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/tables/{table}/sign",
    tag = "tables",
    params(
        ("namespace" = String, Path, description = "Levels joined by %1F"),
        ("table" = String, Path, description = "The table's name"),
    ),
    request_body = RemoteSignRequest,
    responses(
        (status = 200, description = "The request's headers, signed", body = RemoteSignResult),
        (status = 400, description = "Malformed request", body = IcebergErrorResponse),
        (status = 403, description = "It goes beyond the table, or does what who asks may not", body = IcebergErrorResponse),
        (status = 404, description = "No such table", body = IcebergErrorResponse),
        (status = 406, description = "Requests are not signed in this warehouse", body = IcebergErrorResponse),
    ),
)]
pub(crate) async fn sign_request(
    here: Here,
    TablePath(name): TablePath,
    delegated: Delegated,
    JsonBody(body): JsonBody<RemoteSignRequest>,
) -> Result<Response, Failure> {
    let RemoteSignRequest { method, uri, headers, body, provider, .. } = body;
    if let Some(provider) = provider.filter(|provider| !provider.eq_ignore_ascii_case("s3")) {
        return Err(Error::illegal(format!("Requests of provider {provider:?} are not signed: those of s3 are")).into());
    }
    let looks = [Method::GET, Method::HEAD].iter().any(|one| method.eq_ignore_ascii_case(one.as_str()));
    let request = SignRequest { method, uri, headers: headers.into_iter().collect(), body };
    let signed = here.catalog.sign(&name, &request, delegated.access).await?;
    let headers: BTreeMap<String, Vec<String>> = signed.into_iter().collect();
    // The signature of what only looks may be used again while it holds.
    let cached = HeaderValue::from_static(if looks { "private" } else { "no-cache" });
    Ok(([(CACHE_CONTROL, cached)], Json(RemoteSignResult { uri: request.uri, headers })).into_response())
}
