//! `CloudEvents` in the binary mode of their HTTP binding: attributes in headers, what the event carries in the body.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::extract::{Pieces, pieces};
use crate::error::{Error, Result};
use crate::ingest::Reserved;

/// What stands before an attribute's name.
const PREFIX: &str = "ce-";

/// Whether a request is an event whose attributes are in its headers.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion")
}

/// The pieces of a body of at most `most` bytes, put together, under the memory that was admitted for it.
pub(super) async fn whole(body: Body, most: usize, admitted: &mut Reserved) -> Result<Bytes, (Error, Body)> {
    let mut pieces: Pieces = pieces(body, most);
    let mut read = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        // The event that is made of it takes as much again.
        let piece = piece.and_then(|piece| admitted.hold((read.len() + piece.len()) * 2).map(|()| piece));
        match piece {
            Ok(piece) => read.extend_from_slice(&piece),
            Err(error) => return Err((error, pieces.into_inner())),
        }
    }
    Ok(read.freeze())
}

/// The same event with everything in one JSON object.
pub(super) fn structured(headers: &HeaderMap, data: &[u8]) -> Result<Bytes> {
    let mut event = Map::new();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix(PREFIX) else { continue };
        let decoded = value.to_str().ok().and_then(|text| percent_decode_str(text).decode_utf8().ok());
        let text = decoded.ok_or_else(|| Error::malformed(format!("Header {name} is not UTF-8, percent-encoded")))?;
        event.insert(attribute.to_owned(), Value::from(text.trim_matches('"')));
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if let Some(kind) = kind {
        event.insert("datacontenttype".to_owned(), Value::from(kind));
    }
    let mut text = Value::Object(event).to_string();
    if !data.is_empty() {
        text.pop();
        let separator = if text.ends_with('{') { "" } else { "," };
        text = format!("{text}{separator}{}}}", member_of(kind, data)?);
    }
    Ok(text.into())
}

/// The member that holds what an event carries.
fn member_of(kind: Option<&str>, data: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(data);
    if kind.is_none_or(is_json) {
        let raw: Option<&RawValue> = text.ok().and_then(|text| serde_json::from_str(text).ok());
        let raw = raw.ok_or_else(|| {
            Error::malformed("The event's data is not JSON, as its Content-Type says").with_code("malformed_json")
        })?;
        return Ok(format!("\"data\":{}", raw.get()));
    }
    Ok(match text {
        Ok(text) => format!("\"data\":{}", Value::from(text)),
        Err(_) => {
            use base64::Engine;
            format!("\"data_base64\":\"{}\"", base64::engine::general_purpose::STANDARD.encode(data))
        }
    })
}

/// Whether a media type is JSON.
fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(headers: &[(&'static str, &'static str)], data: &[u8]) -> Result<Value> {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| drop(map.insert(*name, value.parse().expect("a value"))));
        Ok(serde_json::from_slice(&structured(&map, data)?).expect("JSON"))
    }

    #[test]
    fn headers_and_body_make_an_event() {
        let headers =
            [("ce-id", "1"), ("ce-type", "caf%C3%A9"), ("x-other", "no"), ("content-type", "application/json")];
        let made = event(&headers, br#"{"n":1.50}"#).expect("an event");
        assert_eq!(
            (&made["id"], &made["type"], &made["datacontenttype"]),
            (&"1".into(), &"café".into(), &"application/json".into())
        );
        assert!(made.get("x-other").is_none() && made["data"]["n"].as_f64() == Some(1.5));
        assert_eq!(event(&[("content-type", "text/plain")], b"hi").expect("an event")["data"], "hi");
        assert_eq!(event(&[("content-type", "image/png")], &[0xff]).expect("an event")["data_base64"], "/w==");
        assert!(event(&[], b"{").is_err() && event(&[("ce-id", "1")], b"").expect("an event").get("data").is_none());
    }
}
