//! `Idempotency-Key`: a request that a client may send again (`catalog/once.rs` keeps what came of it).

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::HeaderName;
use http::request::Parts;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Api;
use super::error::Failure;
use super::extract::{Room, read_json};
use super::warehouses::selected;
use crate::auth::Token;
use crate::catalog::once::Key;
use crate::catalog::views::LoadedView;
use crate::catalog::{Catalog, Loaded};
use crate::error::{Error, Result};
use crate::names::TableName;

pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A JSON body, and the key that came with it.
#[derive(Debug)]
pub(super) struct Keyed<T> {
    pub(super) key: Option<Key>,
    pub(super) body: T,
}

/// The key that came with a request whose body says nothing.
#[derive(Debug)]
pub(super) struct KeyOnly(pub(super) Option<Key>);

impl<T: DeserializeOwned> FromRequest<Api> for Keyed<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let mut room = Room::of(&api.bodies);
        let Some(sent) = sent_key(&parts)? else {
            let (_, body) = read_json(Request::from_parts(parts, body), &mut room).await?;
            return Ok(Self { key: None, body });
        };
        let (bytes, body) = read_json(Request::from_parts(parts.clone(), body), &mut room).await?;
        Ok(Self { key: Some(key_of(api, &parts, sent, &bytes)), body })
    }
}

impl FromRequestParts<Api> for KeyOnly {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        Ok(Self(sent_key(parts)?.map(|key| key_of(api, parts, key, b""))))
    }
}

/// Any UUID: the specification asks for version 7, DuckDB sends version 4.
fn sent_key(parts: &Parts) -> Result<Option<String>> {
    let Some(sent) = parts.headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = sent.to_str().unwrap_or_default();
    match Uuid::try_parse(text) {
        Ok(key) if text.len() == 36 => Ok(Some(key.to_string())),
        _ => Err(Error::malformed(format!("Idempotency-Key {text:?} is not a UUID of 36 characters"))),
    }
}

/// A key is its sender's own, and belongs to one request of theirs.
fn key_of(api: &Api, parts: &Parts, key: String, body: &[u8]) -> Key {
    let token = parts.extensions.get::<Token>().map_or("", |token| token.id.as_str());
    let (method, path) = (parts.method.as_str().as_bytes(), parts.uri.path().as_bytes());
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let selected = selected(api, parts);
    let warehouse = selected.served.catalog.warehouse().name().as_str().as_bytes();
    Key::new(format!("v1 {token}"), key, &[method, warehouse, path, query], body)
}

/// Does once what is answered without saying anything.
pub(super) async fn once<W>(
    catalog: &Catalog,
    key: Option<Key>,
    work: impl FnOnce(Catalog) -> W + Send + 'static,
) -> Result<()>
where
    W: Future<Output = Result<()>> + Send,
{
    catalog.once(key, work, |()| Ok(String::new()), |_, _| async { Ok(()) }).await
}

/// Does once what is answered with a table.
pub(super) async fn once_table<W>(
    catalog: &Catalog,
    key: Option<Key>,
    name: TableName,
    work: impl FnOnce(Catalog) -> W + Send + 'static,
) -> Result<Arc<Loaded>>
where
    W: Future<Output = Result<Arc<Loaded>>> + Send,
{
    let text = |loaded: &Arc<Loaded>| Catalog::text_of(loaded);
    catalog.once(key, work, text, |catalog, text| async move { catalog.table_of_text(&name, &text).await }).await
}

/// Does once what is answered with a view.
pub(super) async fn once_view<W>(
    catalog: &Catalog,
    key: Option<Key>,
    name: TableName,
    work: impl FnOnce(Catalog) -> W + Send + 'static,
) -> Result<Arc<LoadedView>>
where
    W: Future<Output = Result<Arc<LoadedView>>> + Send,
{
    let text = |view: &Arc<LoadedView>| Ok(view.text());
    catalog.once(key, work, text, |catalog, text| async move { catalog.view_of_text(&name, &text).await }).await
}
