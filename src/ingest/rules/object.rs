//! The text of an object or a list, taken apart and put together again.
//!
//! Names and values that nothing changes keep their text, byte for byte; only the white space between them goes. What is
//! not JSON, or no object where one is asked for, is `None`.

use std::borrow::Cow;

use crate::ingest::coerce::Misfit;
use crate::ingest::json::lexer::{Kind, Lexer};
use crate::limits;

/// What comes of a value that may not fit.
pub(super) type Fit<T> = Result<T, Misfit>;

/// One member of an object.
#[derive(Debug, Clone)]
pub(in crate::ingest) struct Member<'a> {
    /// Its name.
    pub(in crate::ingest) name: Cow<'a, str>,
    /// Its name as it is written, with quotes.
    written: Cow<'a, str>,
    /// The text of its value.
    pub(in crate::ingest) value: Cow<'a, str>,
}

impl Member<'_> {
    fn new(name: &str, value: String) -> Self {
        Self { name: Cow::Owned(name.to_owned()), written: Cow::Owned(quoted(name)), value: Cow::Owned(value) }
    }

    /// Gives it another name.
    pub(super) fn rename(&mut self, to: &str) {
        self.name = Cow::Owned(to.to_owned());
        self.written = Cow::Owned(quoted(to));
    }
}

/// What becomes of a value.
#[derive(Debug)]
pub(super) enum Edit {
    /// It stays as it is.
    Keep,
    /// This text stands for it.
    Put(String),
    /// It goes, with its name.
    Remove,
}

/// What is done with a value.
pub(super) type Editor<'e> = dyn Fn(&str) -> Fit<Edit> + 'e;

/// A lexer of a row or of rules.
pub(in crate::ingest) fn lexer(text: &str) -> Lexer<'_> {
    Lexer::new(text, limits::RULE_NESTING_MAX)
}

/// A text as JSON.
pub(in crate::ingest) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    put_quoted(&mut quoted, text);
    quoted
}

/// Adds a text as JSON.
pub(in crate::ingest) fn put_quoted(out: &mut String, text: &str) {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// What kind of value a text is.
pub(in crate::ingest) fn kind_of(value: &str) -> Kind {
    lexer(value).kind().unwrap_or(Kind::Null)
}

/// What a value says that is a text.
pub(in crate::ingest) fn text_of(value: &str) -> Option<Cow<'_, str>> {
    if value.starts_with('"') { lexer(value).string().ok() } else { None }
}

/// Takes the object that comes next, and returns its members.
pub(in crate::ingest) fn members_of<'a>(lexer: &mut Lexer<'a>) -> Option<Vec<Member<'a>>> {
    if lexer.kind() != Ok(Kind::Object) {
        return None;
    }
    let mut members = Vec::new();
    let mut before = lexer.place() + 1;
    let read = lexer.members(0, |lexer, name| {
        // A comma, the name in quotes, a colon.
        let head = lexer.since(before);
        let quotes = head.find('"').zip(head.rfind('"'));
        let written = quotes.map_or("", |(first, last)| &head[first..=last]);
        let value = lexer.skip(1)?;
        before = lexer.place();
        members.push(Member { name, written: Cow::Borrowed(written), value: Cow::Borrowed(value) });
        Ok(())
    });
    read.ok().map(|()| members)
}

fn items_of(value: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut items = Vec::new();
    let read = lexer(value).items(0, |lexer| {
        items.push(Cow::Borrowed(lexer.skip(1)?));
        Ok(())
    });
    read.ok().map(|()| items)
}

/// Bytes that the members take when they are written, about.
pub(super) fn bytes_of(members: &[Member<'_>]) -> usize {
    members.iter().map(|member| member.written.len() + member.value.len() + 2).sum()
}

/// The object of these members.
pub(super) fn written(members: &[Member<'_>]) -> String {
    let mut text = String::with_capacity(bytes_of(members) + 2);
    text.push('{');
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&member.written);
        text.push(':');
        text.push_str(&member.value);
    }
    text.push('}');
    text
}

/// The values at a path: more than one where a name stands more than once.
pub(super) fn find<'m>(members: &'m [Member<'_>], path: &[String]) -> Vec<&'m str> {
    let mut found = Vec::new();
    if let Some((name, rest)) = path.split_first() {
        for member in members.iter().filter(|member| member.name == name.as_str()) {
            find_within(&member.value, rest, &mut found);
        }
    }
    found
}

fn find_within<'t>(value: &'t str, path: &[String], found: &mut Vec<&'t str>) {
    let Some((step, rest)) = path.split_first() else {
        found.push(value);
        return;
    };
    let values: Vec<Cow<'t, str>> = match kind_of(value) {
        Kind::Object => {
            let members = members_of(&mut lexer(value)).unwrap_or_default();
            members.into_iter().filter(|member| member.name == step.as_str()).map(|member| member.value).collect()
        }
        Kind::Array => {
            let items = items_of(value).unwrap_or_default();
            place_in_list(step).and_then(|at| items.into_iter().nth(at)).into_iter().collect()
        }
        _ => Vec::new(),
    };
    for inner in values {
        if let Cow::Borrowed(inner) = inner {
            find_within(inner, rest, found);
        }
    }
}

/// Gives a member its value, or takes it away. One that stands more than once still does: the others become null.
pub(super) fn put(members: &mut Vec<Member<'_>>, name: &str, mut value: Option<String>) {
    let standing = members.iter().filter(|member| member.name == name).count();
    if value.is_none() && standing < 2 {
        members.retain(|member| member.name != name);
        return;
    }
    for member in members.iter_mut().filter(|member| member.name == name) {
        member.value = value.take().map_or(Cow::Borrowed("null"), Cow::Owned);
    }
    if let Some(value) = value {
        members.push(Member::new(name, value));
    }
}

/// Edits the values at a path, and says whether any of them changed. Where there is none, nothing happens.
pub(super) fn edit(members: &mut Vec<Member<'_>>, path: &[String], editor: &Editor<'_>) -> Fit<bool> {
    let Some((name, rest)) = path.split_first() else { return Ok(false) };
    let mut changed = false;
    let mut fault = None;
    members.retain_mut(|member| {
        if fault.is_some() || member.name != name.as_str() {
            return true;
        }
        match edit_within(&member.value, rest, editor) {
            Ok(Edit::Keep) => return true,
            Ok(Edit::Put(value)) => member.value = Cow::Owned(value),
            Ok(Edit::Remove) => {
                changed = true;
                return false;
            }
            Err(misfit) => fault = Some(misfit),
        }
        changed = true;
        true
    });
    fault.map_or(Ok(changed), Err)
}

fn edit_within(value: &str, path: &[String], editor: &Editor<'_>) -> Fit<Edit> {
    let Some((step, rest)) = path.split_first() else { return editor(value) };
    match kind_of(value) {
        Kind::Object => {
            let mut members = members_of(&mut lexer(value)).unwrap_or_default();
            let changed = edit(&mut members, path, editor)?;
            Ok(if changed { Edit::Put(written(&members)) } else { Edit::Keep })
        }
        Kind::Array => edit_item(value, step, rest, editor),
        _ => Ok(Edit::Keep),
    }
}

fn edit_item(list: &str, step: &str, rest: &[String], editor: &Editor<'_>) -> Fit<Edit> {
    let mut items = items_of(list).unwrap_or_default();
    let Some(at) = place_in_list(step).filter(|at| *at < items.len()) else { return Ok(Edit::Keep) };
    match edit_within(&items[at], rest, editor)? {
        Edit::Keep => return Ok(Edit::Keep),
        Edit::Put(value) => items[at] = Cow::Owned(value),
        Edit::Remove => drop(items.remove(at)),
    }
    Ok(Edit::Put(format!("[{}]", items.join(","))))
}

/// The place of an item that a step of a pointer means: digits without a zero in front (RFC 6901 §4).
fn place_in_list(step: &str) -> Option<usize> {
    let plain = step == "0" || !step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit());
    if plain { step.parse().ok() } else { None }
}
