//! JSON objects whose members keep their order and their text.
//!
//! Metadata must survive us unchanged where we do not understand it. An [`Object`] is read as a list of members whose
//! values are still text; known members are taken out of it one by one and the rest, an [`Extra`], is written back
//! after them, byte for byte. A member that appears twice is refused: two readers would disagree about it.

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// The members of an object that we do not know, as they came.
#[derive(Debug, Clone, Default)]
pub struct Extra(Vec<(String, Box<RawValue>)>);

impl Extra {
    /// Writes these members into a map that is being serialised.
    pub fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.0.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))
    }

    /// Bytes held, for the cache's account.
    pub fn weight(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.get().len() + 48).sum()
    }
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        let text = |extra: &Self| {
            let mut all: Vec<_> = extra.0.iter().map(|(key, value)| (key.clone(), value.get().to_owned())).collect();
            all.sort();
            all
        };
        text(self) == text(other)
    }
}

/// An object under way from text to a typed value.
#[derive(Debug)]
pub struct Object {
    what: &'static str,
    members: Vec<(String, Box<RawValue>)>,
}

impl Object {
    /// Reads the text of one object; `what` names it in messages.
    pub fn parse(what: &'static str, text: &str) -> Result<Self> {
        let members: Members = serde_json::from_str(text)
            .map_err(|error| Error::malformed(format!("{what} is not a JSON object: {}", place(&error))))?;
        if let Some(twice) = first_repeated(&members.0) {
            return Err(Error::malformed(format!("{what} names {twice:?} twice: each field may appear once")));
        }
        Ok(Self { what, members: members.0 })
    }

    /// Takes a member's text out, if it is there and not null.
    pub fn take_raw(&mut self, key: &str) -> Option<Box<RawValue>> {
        let index = self.members.iter().position(|(name, _)| name == key)?;
        let (_, value) = self.members.remove(index);
        (value.get() != "null").then_some(value)
    }

    /// Takes a member out as `T`; absent and null are `None`.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(raw) = self.take_raw(key) else { return Ok(None) };
        let value = serde_json::from_str(raw.get()).map_err(|error| {
            Error::malformed(format!("{}: field {key:?} cannot be read: {}", self.what, reason(&error)))
        })?;
        Ok(Some(value))
    }

    /// Takes a member out that must be there.
    pub fn need<T: DeserializeOwned>(&mut self, key: &str) -> Result<T> {
        self.take(key)?.ok_or_else(|| self.missing(key))
    }

    /// Takes a member's text out that must be there.
    pub fn need_raw(&mut self, key: &str) -> Result<Box<RawValue>> {
        self.take_raw(key).ok_or_else(|| self.missing(key))
    }

    /// What has not been taken.
    pub fn rest(self) -> Extra {
        Extra(self.members)
    }

    fn missing(&self, key: &str) -> Error {
        Error::malformed(format!("{} lacks the field {key:?}", self.what))
    }
}

/// Reads a JSON array of values that are still text.
pub fn parse_array(what: &str, text: &str) -> Result<Vec<Box<RawValue>>> {
    serde_json::from_str(text)
        .map_err(|error| Error::malformed(format!("{what} is not a JSON array: {}", reason(&error))))
}

/// Where and why a text cannot be read, without quoting it.
pub fn place(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let why = match error.classify() {
        Category::Syntax => "not valid JSON",
        Category::Eof => "it ends too early",
        Category::Data | Category::Io => "it has another type",
    };
    format!("{why} at line {} column {}", error.line(), error.column())
}

/// Why a value cannot be read; the text is the client's own, so quoting it is fine.
pub fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn first_repeated(members: &[(String, Box<RawValue>)]) -> Option<&str> {
    let mut seen = std::collections::HashSet::with_capacity(members.len());
    members.iter().map(|(key, _)| key.as_str()).find(|key| !seen.insert(*key))
}

struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Serialises a member only where there is a value.
pub fn write_some<M: SerializeMap, T: Serialize>(map: &mut M, key: &str, value: Option<&T>) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(key, value),
        None => Ok(()),
    }
}

/// Text that is valid JSON because we made it ourselves.
pub fn raw_of<T: Serialize>(value: &T) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(value).map_err(|error| Error::internal("JSON cannot be written").because(error))
}

/// A value kept as the text it came as; equal when the texts are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(pub Box<RawValue>);

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}
