//! Requests → typed words. What a handler gets is valid.
//!
//! Names are read from the *raw* path: a namespace's levels are split at `%1F` before they are decoded, so that a level
//! may hold any character, and `+` is a space because Java writes it so (a plus sign arrives as `%2B`).

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Request};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::error::Failure;
use super::page::Page;
use super::{Api, Bodies};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::names::{LEVEL_SEPARATOR, Namespace, TableName};

/// `{namespace}` of the path.
#[derive(Debug)]
pub(super) struct NamespacePath(pub(super) Namespace);

/// `{namespace}` and `{table}` of the path.
#[derive(Debug)]
pub(super) struct TablePath(pub(super) TableName);

/// `{namespace}` and `{view}` of the path.
#[derive(Debug)]
pub(super) struct ViewPath(pub(super) TableName);

/// `{namespace}` and `{function}` of the path.
#[derive(Debug)]
pub(super) struct FunctionPath(pub(super) TableName);

impl<S: Sync> FromRequestParts<S> for NamespacePath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(namespace_of(raw(parts, "{namespace}")?)?))
    }
}

impl<S: Sync> FromRequestParts<S> for TablePath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        name_of(parts, "{table}").map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for ViewPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        name_of(parts, "{view}").map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for FunctionPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        name_of(parts, "{function}").map(Self)
    }
}

/// `{namespace}`, `{table}` and `{plan-id}` of the path.
#[derive(Debug)]
pub(super) struct PlanPath {
    pub(super) table: TableName,
    pub(super) plan_id: String,
}

impl<S: Sync> FromRequestParts<S> for PlanPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let plan_id = decode(raw(parts, "{plan-id}")?)?.into_owned();
        Ok(Self { table: name_of(parts, "{table}")?, plan_id })
    }
}

/// `{id}` of a token's path.
#[derive(Debug)]
pub(super) struct TokenPath(pub(super) String);

impl<S: Sync> FromRequestParts<S> for TokenPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(decode(raw(parts, "{id}")?)?.into_owned()))
    }
}

fn name_of(parts: &Parts, name: &str) -> Result<TableName, Failure> {
    let namespace = namespace_of(raw(parts, "{namespace}")?)?;
    Ok(TableName::new(namespace, &decode(raw(parts, name)?)?)?)
}

/// What `{namespace}` and the name of a path outside `/v1` may mean. Dots join levels there, or stand in one: with dots and
/// no `%1F` both readings are given, several levels last. A dot written `%2E` always stands in its level.
#[derive(Debug)]
pub(super) struct DottedPath(pub(super) Vec<TableName>);

impl<S: Sync> FromRequestParts<S> for DottedPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let segment = raw(parts, "{namespace}")?;
        let name = match raw(parts, "{table}") {
            Ok(table) => decode(table)?,
            Err(_) => decode(raw(parts, "{function}")?)?,
        };
        let meant = namespaces_of(segment)?.into_iter().map(|namespace| TableName::new(namespace, &name));
        Ok(Self(meant.collect::<Result<_>>()?))
    }
}

fn namespaces_of(segment: &str) -> Result<Vec<Namespace>> {
    let mut meant = vec![namespace_of(segment)?];
    let separated = segment.contains("%1F") || segment.contains("%1f") || segment.contains(LEVEL_SEPARATOR);
    if segment.contains('.') && !separated {
        let levels = segment.split('.').map(decode).collect::<Result<Vec<_>>>()?;
        // "a..b" has an empty level, so it can only be one.
        meant.extend(Namespace::new(&levels).ok());
    }
    Ok(meant)
}

/// The raw text of a path segment, found by its place in the route.
fn raw<'a>(parts: &'a Parts, name: &str) -> Result<&'a str> {
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // Bytes, not characters: this runs for every request.
    let segments = |path: &'a str| path.as_bytes().split(|byte| *byte == b'/');
    let mut pairs = segments(route).zip(segments(parts.uri.path()));
    let segment = pairs.find_map(|(pattern, segment)| (pattern == name.as_bytes()).then_some(segment));
    segment
        .and_then(|segment| std::str::from_utf8(segment).ok())
        .ok_or_else(|| Error::internal(format!("Route without {name}")))
}

fn namespace_of(segment: &str) -> Result<Namespace> {
    if is_plain(segment) {
        return Namespace::new(&[segment]);
    }
    let separated = segment.replace("%1f", "%1F");
    let levels = separated.split("%1F").map(decode).collect::<Result<Vec<_>>>()?;
    Namespace::new(&levels)
}

/// Whether a part of an address stands for itself, as nearly all do.
fn is_plain(part: &str) -> bool {
    !part.bytes().any(|byte| matches!(byte, b'%' | b'+'))
}

fn decode(segment: &str) -> Result<Cow<'_, str>> {
    decoded("Path segment", segment)
}

/// What a part of an address says.
fn decoded<'a>(what: &str, part: &'a str) -> Result<Cow<'a, str>> {
    if is_plain(part) {
        return Ok(Cow::Borrowed(part));
    }
    let spaced = part.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned);
    text.map(Cow::Owned).map_err(|_| Error::malformed(format!("{what} {part:?} is not UTF-8 when decoded")))
}

/// The query parameters, decoded; the first of each name counts.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads parameters written as in a URL or a form.
    pub(super) fn parse(text: &str) -> Result<Self> {
        parse_query(text).map(Self)
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Names and values as they came.
    pub(super) fn all(&self) -> &[(String, String)] {
        &self.0
    }

    /// A boolean parameter, in any case; absent is `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Error::malformed(format!("{name} {other:?} is neither true nor false"))),
        }
    }

    /// The page of a listing.
    pub(super) fn page(&self) -> Result<Page> {
        Page::parse(self.get("pageToken"), self.get("pageSize"))
    }

    /// The namespaces that `parent` may mean, most likely first: PyIceberg encodes each level twice.
    pub(super) fn parents(&self) -> Result<Vec<Namespace>> {
        let Some(text) = self.get("parent").filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
        let levels: Vec<&str> = text.split(LEVEL_SEPARATOR).collect();
        let mut meant = vec![Namespace::new(&levels)?];
        let again: Option<Vec<String>> = levels
            .iter()
            .map(|level| percent_decode_str(level).decode_utf8().ok().map(|text| text.into_owned()))
            .collect();
        meant.extend(again.and_then(|levels| Namespace::new(&levels).ok()).filter(|other| *other != meant[0]));
        Ok(meant)
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default())?)
    }
}

fn parse_query(text: &str) -> Result<Vec<(String, String)>> {
    let decode = |part: &str| decoded("Query", part).map(Cow::into_owned);
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

/// A JSON body of the catalog, whatever its content type says.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Failure> {
        // Room is taken as the body comes, and given back when what it says is known.
        let mut room = Room::of(&api.bodies);
        Ok(Self(read_json(request, &mut room).await?.1))
    }
}

/// A body of the catalog: its bytes, and what they say.
pub(super) async fn read_json<T: DeserializeOwned>(request: Request, room: &mut Room<'_>) -> Result<(Bytes, T)> {
    let bytes = read_body(request, limits::CATALOG_BODY_BYTES_MAX, room).await?;
    let value =
        serde_json::from_slice(&bytes).map_err(|error| Error::malformed(format!("Malformed request body: {error}")))?;
    Ok((bytes, value))
}

/// The room that one body takes among others, as far as it is bounded.
#[derive(Debug, Default)]
pub(super) struct Room<'a> {
    bodies: Option<&'a Bodies>,
    held: Option<OwnedSemaphorePermit>,
}

impl<'a> Room<'a> {
    /// Room in what there is for all bodies.
    pub(super) fn of(bodies: &'a Bodies) -> Self {
        Self { bodies: Some(bodies), held: None }
    }

    fn grow(&mut self, bytes: usize) -> Result<()> {
        self.bodies.map_or(Ok(()), |bodies| bodies.grow(&mut self.held, bytes))
    }
}

/// Reads a body of at most `most` bytes, each time asking whether there is room for what was read so far.
pub(super) async fn read_body(request: Request, most: usize, room: &mut Room<'_>) -> Result<Bytes> {
    let mut body = request.into_body();
    let mut read = BytesMut::new();
    while let Some(frame) = tokio::time::timeout(BODY_PAUSE, body.frame()).await.map_err(|_| paused())? {
        let frame = frame.map_err(ended_early)?;
        let Ok(data) = frame.into_data() else { continue };
        let bytes = read.len() + data.len();
        let fits = if bytes > most {
            let message = format!("Request body has more than {most} bytes: send less at once");
            Err(Error::new(Kind::TooLarge, message))
        } else {
            room.grow(bytes)
        };
        if let Err(error) = fits {
            // The rest is only looked at: others need the room meanwhile.
            room.held = None;
            drop(read);
            discard(body).await;
            return Err(error);
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

const BODY_PAUSE: Duration = Duration::from_millis(limits::BODY_PAUSE_MS);

fn paused() -> Error {
    Error::malformed(format!("Request body paused for more than {} s", BODY_PAUSE.as_secs()))
}

fn ended_early(error: axum::Error) -> Error {
    Error::malformed("Request body ended early").because(error)
}

/// The pieces of a body of at most `most` bytes in all.
pub(super) fn pieces(body: Body, most: usize) -> Pieces {
    Pieces { body, left: most, most, pause: None }
}

/// See [`pieces`].
pub(super) struct Pieces {
    body: Body,
    left: usize,
    most: usize,
    /// Ends when the body has paused for too long.
    pause: Option<BoxFuture<'static, ()>>,
}

impl Pieces {
    /// The body, with what was not read of it.
    pub(super) fn into_inner(self) -> Body {
        self.body
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(ended_early(error)))),
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Pending => {
                    let pause = self.pause.get_or_insert_with(|| clock::sleep(BODY_PAUSE).boxed());
                    return pause.poll_unpin(context).map(|()| Some(Err(paused())));
                }
            };
            self.pause = None;
            let Ok(data) = frame.into_data() else { continue };
            let Some(left) = self.left.checked_sub(data.len()) else {
                let message = format!("Request body has more than {} bytes: send less at once", self.most);
                return Poll::Ready(Some(Err(Error::new(Kind::TooLarge, message))));
            };
            self.left = left;
            return Poll::Ready(Some(Ok(data)));
        }
    }
}

/// Takes in what a refused request still sends, within bounds: a client that is still sending when the connection closes
/// never reads why.
pub(super) async fn discard(mut body: Body) {
    let all = async {
        let mut taken = 0;
        while let Some(Ok(frame)) = body.frame().await {
            taken += frame.data_ref().map_or(0, Bytes::len);
            if taken > limits::DISCARDED_BYTES_MAX {
                return;
            }
        }
    };
    drop(tokio::time::timeout(Duration::from_millis(limits::DISCARD_MS), all).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_split_before_they_are_decoded() {
        let levels = |segment: &str| namespace_of(segment).map(|namespace| namespace.to_levels());
        assert_eq!(levels("a%1Fb%1fc").expect("valid"), ["a", "b", "c"]);
        assert_eq!(levels("a%20b%2Fc").expect("valid"), ["a b/c"]);
        assert_eq!(levels("a+b%2Bc.d").expect("valid"), ["a b+c.d"]);
        assert_eq!(levels("100%25").expect("valid"), ["100%"]);
        assert!(levels("a%1F").is_err() && levels("%ff").is_err());
    }

    #[test]
    fn dots_join_levels_or_stand_in_one() {
        let meant = |segment: &str| {
            let all = namespaces_of(segment).expect("valid");
            all.iter().map(Namespace::to_levels).collect::<Vec<_>>()
        };
        assert_eq!(meant("a.b"), [vec!["a.b"], vec!["a", "b"]]);
        assert_eq!(meant("a%2Eb"), [["a.b"]]);
        assert_eq!(meant("a.b%2Ec"), [vec!["a.b.c"], vec!["a", "b.c"]]);
        assert_eq!(meant("a%1Fb.c"), [["a", "b.c"]]);
        assert_eq!(meant("a..b"), [["a..b"]]);
    }

    #[test]
    fn a_parent_may_be_encoded_twice() {
        let query = Query(parse_query("parent=ns1%1Fa%2520b%252Fc").expect("valid"));
        let meant: Vec<_> = query.parents().expect("valid").iter().map(Namespace::to_levels).collect();
        assert_eq!(meant, [["ns1", "a%20b%2Fc"], ["ns1", "a b/c"]]);
        let plain = Query(parse_query("parent=ns1").expect("valid"));
        assert_eq!(plain.parents().expect("valid").len(), 1);
    }
}
