//! What is to hold of what is no reader of rows: inflaters, rules, and the sorting of rows by their routes.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;

use super::Told;
use super::bodies::{self, ROW};
use super::damage::{Rng, pieces};
use super::rows::{BOUNDS, of_refused};
use super::watch;
use crate::error::Result;
use crate::ingest::columns::Shape;
use crate::ingest::decode::tests::READING;
use crate::ingest::decode::{Format, Reader, Reading, Unknown};
use crate::ingest::inflate::{Encoding, Inflater};
use crate::ingest::json::lexer::{self, Lexer};
use crate::ingest::route::{self, Route, sorted};
use crate::ingest::rules::Rules;
use crate::ingest::verdict::OnError;
use crate::limits;

/// Feeds an inflater: however its input arrives, the same comes out, and no more than is allowed.
pub(super) fn inflated(encoding: Encoding, input: &[u8], rng: &mut Rng) -> Told {
    let most = rng.of(&[100, 64 << 10, 16 << 20]);
    watch::reads_so(format!("{most} bytes at most"));
    let whole = unpacked(encoding, &[input], most);
    let piecemeal = unpacked(encoding, &pieces(rng, input), most);
    match (&whole, &piecemeal) {
        (Ok(whole), Ok(piecemeal)) => assert!(whole == piecemeal, "whole something else comes out than in pieces"),
        (Err(_), Err(_)) => {}
        // Some damaged streams its decoder, which is not ours, takes in one piece and refuses in several, or the other way.
        _ if encoding == Encoding::Brotli => {}
        (Ok(_), Err(error)) => panic!("in pieces it is refused: {error:?}"),
        (Err(error), Ok(_)) => panic!("whole it is refused: {error:?}"),
    }
    match whole {
        Ok(whole) => Told { taken: !whole.is_empty(), what: format!("{:?} bytes", whole.len().checked_ilog2()) },
        Err(error) => of_refused(&error),
    }
}

fn unpacked(encoding: Encoding, pieces: &[&[u8]], most: usize) -> Result<Vec<u8>> {
    let mut inflater = Inflater::new(encoding, most)?;
    let mut whole = Vec::new();
    let mut out = |bytes: &[u8]| {
        whole.extend_from_slice(bytes);
        assert!(whole.len() <= most, "more comes out than is allowed");
        Ok(())
    };
    for piece in pieces {
        inflater.feed(Bytes::copy_from_slice(piece), &mut out)?;
    }
    inflater.finish(&mut out)?;
    Ok(whole)
}

/// Feeds rules, the first line, and follows them for the row behind; where they are none, others.
pub(super) fn followed(known: &[Rules], input: &[u8], rng: &mut Rng) -> Told {
    let text = String::from_utf8_lossy(input);
    let (said, row) = text.split_once('\n').unwrap_or((&*text, ROW));
    let (rules, mut told) = match Rules::parse(said, &bodies::keys()) {
        Ok(rules) => {
            let again = Rules::parse(rules.to_json(), &bodies::keys());
            let again = again.unwrap_or_else(|error| panic!("as they are kept they are refused: {error:?}"));
            assert_eq!(again, rules, "they are kept as they were said");
            (rules, Told { taken: true, what: "understood".to_owned() })
        }
        Err(error) => {
            assert_eq!(error.code(), Some("malformed_rules"), "{error:?}");
            (known[rng.below(known.len())].clone(), of_refused(&error))
        }
    };
    watch::reads_so(format!("{rules:?}"));
    for row in [row, ROW] {
        told.what.push_str(&followed_for(&rules, row));
    }
    told
}

/// Follows rules for one row: an object stays one, and does not grow without bound; what is none stays as it is.
fn followed_for(rules: &Rules, row: &str) -> String {
    let facts = bodies::facts();
    if let Some(veiled) = rules.veiled(row, &facts) {
        assert!(is_object(&veiled), "what is kept of {row} is {veiled}");
    }
    match rules.apply(row, &facts) {
        Err(fault) => format!(", {} at {}", fault.misfit.code, fault.pointer.matches('/').count()),
        Ok(made) if is_object(row) => {
            assert!(is_object(&made), "an object becomes {made}");
            assert!(made.len() <= row.len() * 2 + limits::RULE_GROWTH_BYTES + 2, "{} bytes are made", made.len());
            ", made".to_owned()
        }
        Ok(made) => {
            assert_eq!(made, row, "what is no object stays as it is");
            ", as it is".to_owned()
        }
    }
}

/// Whether a text is one object and nothing else.
fn is_object(text: &str) -> bool {
    let mut lexer = Lexer::new(text, limits::RULE_NESTING_MAX);
    lexer.kind() == Ok(lexer::Kind::Object) && lexer.skip(0).is_ok() && lexer.peek().is_none()
}

/// Sorts rows by their routes: each is in one part or is lost, and a part holds as many as it says.
pub(super) fn routed(nothing: &Shape, input: &[u8], rng: &mut Rng) -> Told {
    let pointer = rng.of(&["/t", "/meta/kind~1x", "/0/t", "/table", "/row/x/0/t", "/"]);
    let route = if rng.once_in(3) { Route::Envelope } else { Route::at(pointer).expect("a pointer") };
    let on_error = rng.of(&[OnError::Abort, OnError::Skip, OnError::Dlq]);
    let bounds = if rng.once_in(8) {
        route::Bounds { rows: 3, row_bytes: 60, nesting: 4, routes: 2 }
    } else {
        route::Bounds { rows: BOUNDS.rows, row_bytes: BOUNDS.row_bytes, nesting: BOUNDS.nesting, routes: 100 }
    };
    watch::reads_so(format!("{route:?}, {on_error:?}, {bounds:?}"));
    let sorted = match sorted(input, &route, on_error, bounds) {
        Ok(sorted) => sorted,
        Err(error) => return of_refused(&error),
    };
    let (parts, lost) = (&sorted.parts, &sorted.lost);
    assert!(parts.len() <= bounds.routes && (1..=bounds.rows).contains(&sorted.rows), "within the bounds");
    let places: Vec<usize> = parts.values().flat_map(|part| part.places.iter().map(|place| place.0)).collect();
    let rejected = lost.rejected.iter().map(|row| row.index);
    let all: HashSet<usize> = places.iter().copied().chain(rejected).collect();
    let named = if on_error == OnError::Abort { 0 } else { lost.bad_rows };
    assert_eq!((places.len() + lost.bad_rows, lost.rejected.len()), (sorted.rows, named), "every row is somewhere");
    assert!(all.len() == places.len() + named && all.iter().all(|place| *place < sorted.rows), "and only there");
    for (route, part) in parts {
        let rows = rows_of(nothing, &part.text);
        let rows = rows.unwrap_or_else(|error| panic!("what goes to {route:?} cannot be read: {error:?}"));
        assert_eq!(rows, part.places.len(), "as many rows go to {route:?} as are read there");
    }
    let codes: BTreeSet<&str> = lost.listed.iter().map(|error| &*error.code).collect();
    let (rows, parts) = (sorted.rows.checked_ilog2(), sorted.parts.len().checked_ilog2());
    Told {
        taken: !places.is_empty(),
        what: format!("{rows:?} rows, {parts:?} parts, {}, {codes:?}", lost.bad_rows > 0),
    }
}

/// How many rows the reader of a table finds in what goes to it.
fn rows_of(nothing: &Shape, text: &[u8]) -> Result<usize> {
    let reading = Reading { on_error: OnError::Skip, unknown: Unknown::Ignore, bounds: BOUNDS, ..READING };
    let mut reader = Reader::new(Format::Json, nothing, &reading)?;
    reader.feed(text)?;
    Ok(reader.finish()?.rows)
}
