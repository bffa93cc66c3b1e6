//! The rows of one body for many tables: where each says that it belongs, as a pure function.
//!
//! Rows are JSON, a list or one after the other. They are taken apart and not read: the text of each goes to the others of
//! its table. A row that does not say where it belongs is one that does not fit.

use indexmap::IndexMap;

use super::coerce::Misfit;
use super::columnar::too_many_rejected;
use super::json::lexer::{Kind, Lexer};
use super::json::{Framing, Step, line_end, not_json, step};
use super::text::{Before, Rest};
use super::verdict::{OnError, Verdicts};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::limits;

/// How rows say where they belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// By the value at this place in each, a JSON pointer.
    At(Vec<String>),
    /// Each stands in an object with its table: `{"table", "row"}`.
    Envelope,
}

impl Route {
    /// The place that a JSON pointer (RFC 6901) names.
    pub fn at(pointer: &str) -> Result<Self> {
        let bad = || {
            let message = format!("route={pointer:?} is not a JSON pointer, such as /type or /meta/kind");
            Error::malformed(message).with_code("unknown_parameter")
        };
        let parts = pointer.strip_prefix('/').ok_or_else(bad)?.split('/');
        Ok(Self::At(parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

/// Rows of a body that belong together.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Their text, one after the other.
    pub(super) text: Vec<u8>,
    /// The place of each in the body, and the line that it begins on.
    pub(super) places: Vec<(usize, usize)>,
}

impl Part {
    /// Adds rows of another part, behind these.
    pub(super) fn join(&mut self, other: Self) {
        self.text.extend(other.text);
        self.places.extend(other.places);
    }
}

/// The rows of a body.
#[derive(Debug)]
pub(super) struct Sorted {
    /// Those that say where they belong, by what they say.
    pub(super) parts: IndexMap<String, Part>,
    /// What is wrong with the others.
    pub(super) lost: Verdicts,
    /// How many rows there are.
    pub(super) rows: usize,
}

/// What bounds a body of rows for many tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) rows: usize,
    pub(super) row_bytes: usize,
    pub(super) nesting: usize,
    /// Routes that its rows may name.
    pub(super) routes: usize,
}

/// Takes the rows of a body apart.
pub(super) fn sorted(body: &[u8], route: &Route, on_error: OnError, bounds: Bounds) -> Result<Sorted> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Error::malformed(format!("Body is not UTF-8 from byte {} on", error.valid_up_to())).with_code("invalid_utf8")
    })?;
    let mut lexer = Lexer::new(text, bounds.nesting);
    let mut framing = Framing::Start;
    let mut sorted = Sorted { parts: IndexMap::new(), lost: Verdicts::new(on_error), rows: 0 };
    let (mut lines, mut counted) = (1, 0);
    loop {
        match step(&mut framing, &mut lexer, Rest::Nothing)
            .map_err(|fault| not_json(Before::default(), text, &fault))?
        {
            Step::Row => {}
            Step::Frame => continue,
            Step::Over if sorted.rows == 0 => {
                return Err(Error::malformed("Request has no rows: send at least one").with_code("no_rows"));
            }
            Step::Over => return Ok(sorted),
        }
        let start = lexer.place();
        lines += text.as_bytes()[counted..start].iter().filter(|byte| **byte == b'\n').count();
        counted = start;
        let read = lexer.skip(0);
        let found = match read {
            Ok(raw) => sent_to(raw, route, bounds.nesting),
            Err(fault) if on_error == OnError::Abort || framing != Framing::Rows => {
                return Err(not_json(Before::default(), text, &fault));
            }
            Err(fault) => {
                lexer.go_to(line_end(text, start, Rest::Nothing).unwrap_or(text.len()));
                Err(Misfit::new("malformed_json", fault.why))
            }
        };
        let raw = lexer.since(start);
        sorted.rows += 1;
        match found {
            Ok((route, row)) => {
                let part = sorted.parts.entry(route).or_default();
                part.text.extend_from_slice(row.as_bytes());
                part.text.push(b'\n');
                part.places.push((sorted.rows - 1, lines));
            }
            Err(misfit) => {
                sorted.lost.add_here((sorted.rows - 1, lines), misfit);
                sorted.lost.bad_rows += 1;
                sorted.lost.came_as(|| raw.trim_end().to_owned());
            }
        }
        check(&sorted, raw.len(), bounds)?;
        if framing != Framing::Rows {
            framing = Framing::AfterItem;
        }
    }
}

fn check(sorted: &Sorted, row_bytes: usize, bounds: Bounds) -> Result<()> {
    let too_large = |message: String| Err(Error::new(ErrorKind::TooLarge, message));
    if row_bytes > bounds.row_bytes {
        let (index, most) = (sorted.rows - 1, bounds.row_bytes);
        return too_large(format!("Row {index} has {row_bytes} bytes: at most {most} are allowed"));
    }
    if sorted.rows > bounds.rows {
        return too_large(format!("Request has more than {} rows: send less at once", bounds.rows));
    }
    if sorted.lost.rejected.len() > limits::REJECTED_ROWS_MAX {
        return Err(too_many_rejected());
    }
    if sorted.parts.len() > bounds.routes {
        return too_large(format!("The rows are for more than {} tables: send fewer at once", bounds.routes));
    }
    Ok(())
}

/// Where a row says that it belongs, and the row itself.
fn sent_to<'a>(raw: &'a str, route: &Route, nesting: usize) -> std::result::Result<(String, &'a str), Misfit> {
    let (sent, row) = named_by(raw, route, nesting)?;
    if row.starts_with('{') { Ok((sent, row)) } else { Err(Misfit::new("wrong_type", "a row is an object")) }
}

fn named_by<'a>(raw: &'a str, route: &Route, nesting: usize) -> std::result::Result<(String, &'a str), Misfit> {
    match route {
        Route::At(path) => {
            let value = path.iter().try_fold(raw, |raw, name| member(raw, name, nesting));
            let value =
                value.ok_or_else(|| Misfit::new("no_route", "the row has no value where its route is looked for"))?;
            Ok((word(value)?, raw))
        }
        Route::Envelope => {
            let table = member(raw, "table", nesting);
            match table.zip(member(raw, "row", nesting)) {
                Some((table, row)) => Ok((word(table)?, row)),
                None => Err(Misfit::new("no_route", "an envelope has a \"table\" and a \"row\"")),
            }
        }
    }
}

/// What a route says: a text, or a number as it is written.
fn word(raw: &str) -> std::result::Result<String, Misfit> {
    let mut lexer = Lexer::new(raw, 1);
    match lexer.kind() {
        Ok(Kind::String) => Ok(lexer.string().map(std::borrow::Cow::into_owned).unwrap_or_default()),
        Ok(Kind::Number) => Ok(raw.to_owned()),
        _ => Err(Misfit::new("no_route", "a route is a text or a number")),
    }
}

/// The value of an object's member, the first of its name; of a list, the item of that number.
fn member<'a>(raw: &'a str, name: &str, nesting: usize) -> Option<&'a str> {
    let mut lexer = Lexer::new(raw, nesting);
    let mut found = None;
    let read = match lexer.kind().ok()? {
        Kind::Object => lexer.members(0, |lexer, key| {
            let value = lexer.skip(1)?;
            if found.is_none() && key == name {
                found = Some(value);
            }
            Ok(())
        }),
        Kind::Array => {
            let (wanted, mut at) = (name.parse::<usize>().ok()?, 0);
            lexer.items(0, |lexer| {
                let value = lexer.skip(1)?;
                if at == wanted {
                    found = Some(value);
                }
                at += 1;
                Ok(())
            })
        }
        _ => return None,
    };
    read.ok().and(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A route, the text of its rows, and their places.
    type Found = (String, String, Vec<(usize, usize)>);

    const BOUNDS: Bounds = Bounds { rows: 100, row_bytes: 1_000, nesting: 16, routes: 3 };

    fn parts(body: &str, route: &Route, on_error: OnError) -> Result<(Vec<Found>, Verdicts)> {
        let sorted = sorted(body.as_bytes(), route, on_error, BOUNDS)?;
        let text = |part: &Part| String::from_utf8(part.text.clone()).expect("text");
        Ok((
            sorted.parts.iter().map(|(route, part)| (route.clone(), text(part), part.places.clone())).collect(),
            sorted.lost,
        ))
    }

    #[test]
    fn rows_are_sorted_by_what_they_say() {
        let at = Route::at("/meta/kind~1x").expect("a pointer");
        let body = "{\"meta\":{\"kind/x\":\"a\"},\"n\":1.50}\n\n{\"meta\":{\"kind/x\":7}}\n{\"meta\":{\"kind/x\":\"a\"}}\n{\"n\":1}\n";
        let (found, lost) = parts(body, &at, OnError::Dlq).expect("sorted");
        assert_eq!(found[0].1, "{\"meta\":{\"kind/x\":\"a\"},\"n\":1.50}\n{\"meta\":{\"kind/x\":\"a\"}}\n");
        assert_eq!((&found[0].2[..], &found[1].0[..]), (&[(0, 1), (2, 4)][..], "7"));
        assert_eq!((lost.bad_rows, lost.rejected[0].index, &lost.rejected[0].raw[..]), (1, 3, "{\"n\":1}"));
        let list = "[{\"table\":\"a.b\",\"row\":{\"x\":1}},\n{\"table\":\"c.d\",\"row\":{}}]";
        let (found, _) = parts(list, &Route::Envelope, OnError::Abort).expect("sorted");
        assert_eq!((&found[0].1[..], &found[1].2[..]), ("{\"x\":1}\n", &[(1, 2)][..]));
    }

    #[test]
    fn what_is_broken_ends_with_its_line_or_the_body() {
        let body = "{\"t\":\"a\"}\n{\"t\":\n{\"t\":\"b\"}";
        let at = Route::at("/t").expect("a pointer");
        let (found, lost) = parts(body, &at, OnError::Skip).expect("sorted");
        assert_eq!((found.len(), lost.bad_rows), (2, 1));
        assert_eq!(parts(body, &at, OnError::Abort).expect_err("not JSON").code(), Some("malformed_json"));
        assert_eq!(parts("[{\"t\":\"a\"},{]", &at, OnError::Skip).expect_err("a list").code(), Some("malformed_json"));
        assert_eq!(parts("", &at, OnError::Skip).expect_err("nothing").code(), Some("no_rows"));
        let many: String = (0..4).map(|n| format!("{{\"t\":{n}}}")).collect();
        assert_eq!(parts(&many, &at, OnError::Skip).expect_err("too many").kind(), ErrorKind::TooLarge);
        assert!(Route::at("t").is_err());
    }
}
