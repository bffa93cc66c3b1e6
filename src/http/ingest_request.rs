//! What a request that pushes rows says of itself in its headers.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::events;
use super::ingest_options::options;
use super::keyed::IDEMPOTENCY_KEY;
use super::log::REQUEST_ID;
use crate::auth::Token;
use crate::catalog::once::Fingerprint;
use crate::error::{Error, Kind, Result};
use crate::ingest::{AppendOptions, Encoding, Format, KeySent, Position, check_key};
use crate::limits;
use crate::warehouses::Served;

/// What a body is, and how its rows are to be taken.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) format: Format,
    pub(super) encoding: Encoding,
    pub(super) options: AppendOptions,
}

/// What a request with these parameters says of its body.
pub(super) fn sent(request: &Parts, parameters: &[(String, String)]) -> Result<Sent> {
    let headers = &request.headers;
    let binary = events::is_binary(headers);
    let kind = header(headers, &CONTENT_TYPE);
    let format = if binary { Format::Events } else { Format::parse(kind)? };
    let tabs = kind.is_some_and(|kind| kind.contains("tab-separated"));
    let mut options = options(parameters, if tabs { b'\t' } else { b',' })?;
    options.request_id = header(headers, &REQUEST_ID).unwrap_or_default().to_owned();
    let encoding = Encoding::parse(header(headers, &CONTENT_ENCODING))?;
    if binary && encoding != Encoding::Identity {
        let message = "An event whose attributes are in headers is not compressed: send it without Content-Encoding";
        return Err(Error::new(Kind::UnsupportedMedia, message).with_code("unsupported_encoding"));
    }
    Ok(Sent { format, encoding, options })
}

/// How many bytes a body has, as far as it says; an error where it has more than it may.
pub(super) fn declared(served: &Served, request: &Parts) -> Result<usize> {
    let most = served.ingest.settings().body;
    let declared = header(&request.headers, &CONTENT_LENGTH).and_then(|text| text.parse::<usize>().ok());
    if declared.is_some_and(|length| length > most) {
        return Err(Error::new(Kind::TooLarge, format!("Request body has more than {most} bytes: send less at once")));
    }
    Ok(declared.unwrap_or(1))
}

/// Whose keys a request's are.
pub(super) fn scope_of(request: &Parts) -> String {
    let token = request.extensions.get::<Token>().map_or("", |token| token.id.as_str());
    format!("ingest {token}")
}

/// The key of a request, if it came with one.
pub(super) fn key(served: &Served, request: &Parts) -> Result<Option<KeySent>> {
    let Some(text) = printable(&request.headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    check_key(&text)?;
    let of_header = |name: &HeaderName| header(&request.headers, name).unwrap_or_default().as_bytes();
    let parts = [
        served.catalog.warehouse().name().as_str().as_bytes(),
        request.uri.path().as_bytes(),
        request.uri.query().unwrap_or_default().as_bytes(),
        of_header(&CONTENT_TYPE),
        of_header(&CONTENT_ENCODING),
        of_header(&INGEST_ROUTE),
    ];
    Ok(Some(KeySent { scope: scope_of(request), text, request: Fingerprint::of(&parts) }))
}

/// The request's place in what its producer sends, if it says who that is.
pub(super) fn producer(headers: &HeaderMap) -> Result<Option<Position>> {
    let id = printable(headers, &PRODUCER_ID)?;
    let epoch = number(headers, &PRODUCER_EPOCH)?;
    let sequence = number(headers, &PRODUCER_SEQ)?;
    let offset_token = printable(headers, &OFFSET_TOKEN)?;
    let Some(producer) = id else {
        if epoch.is_none() && sequence.is_none() && offset_token.is_none() {
            return Ok(None);
        }
        return Err(Error::malformed("X-Producer-Epoch, X-Producer-Seq and X-Offset-Token need an X-Producer-Id"));
    };
    if sequence.is_none() && offset_token.is_none() && epoch.is_none() {
        return Err(Error::malformed(
            "X-Producer-Id needs an X-Producer-Seq, an X-Offset-Token or an X-Producer-Epoch",
        ));
    }
    Ok(Some(Position { producer, epoch: epoch.unwrap_or(0), sequence, offset_token }))
}

/// A header of 1 to so many printable ASCII characters.
fn printable(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let (most, text) = (limits::PRODUCER_TEXT_CHARS, value.to_str().unwrap_or_default());
    if text.is_empty() || text.len() > most || text.contains('\t') {
        let sent = String::from_utf8_lossy(value.as_bytes());
        return Err(Error::malformed(format!("{name} {sent:?} is not 1 to {most} printable ASCII characters")));
    }
    Ok(Some(text.to_owned()))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<i64>> {
    let Some(text) = printable(headers, name)? else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(number) if number >= 0 => Ok(Some(number)),
        _ => Err(Error::malformed(format!("{name} {text:?} is not a whole number from 0 on"))),
    }
}

/// Says where all rows of a body belong.
pub(super) const INGEST_ROUTE: HeaderName = HeaderName::from_static("x-ingest-route");

const PRODUCER_ID: HeaderName = HeaderName::from_static("x-producer-id");
const PRODUCER_EPOCH: HeaderName = HeaderName::from_static("x-producer-epoch");
const PRODUCER_SEQ: HeaderName = HeaderName::from_static("x-producer-seq");
const OFFSET_TOKEN: HeaderName = HeaderName::from_static("x-offset-token");

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
