//! Identifiers, parsed once and valid ever after.
//!
//! A [`Namespace`] has one or more levels, a [`TableName`] a namespace and a name. A level or name is any text of 1 to
//! 255 bytes without control characters: dots, slashes, spaces, percent signs and capitals are all allowed and kept.
//! In a URL the levels are joined by the unit separator (`%1F`); in messages by dots, as Iceberg's own clients print them.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Kind, Result, What};
use crate::limits;

/// What joins the levels of a namespace in a URL and in the database.
pub const LEVEL_SEPARATOR: char = '\u{1f}';

/// A namespace: one or more levels, outermost first. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace {
    path: Arc<str>,
}

impl Namespace {
    /// A namespace of these levels; none, an empty or an overlong one is refused.
    pub fn new<S: AsRef<str>>(levels: &[S]) -> Result<Self> {
        if levels.is_empty() {
            return Err(Error::malformed("Namespace is empty: it needs at least one level"));
        }
        if levels.len() > limits::NAMESPACE_LEVELS_MAX {
            let (has, max) = (levels.len(), limits::NAMESPACE_LEVELS_MAX);
            return Err(Error::malformed(format!("Namespace has {has} levels: at most {max} are allowed")));
        }
        for level in levels {
            check_name("Namespace level", level.as_ref())?;
        }
        if let [only] = levels {
            return Ok(Self { path: only.as_ref().into() });
        }
        let joined: Vec<&str> = levels.iter().map(AsRef::as_ref).collect();
        Ok(Self { path: joined.join("\u{1f}").into() })
    }

    /// A namespace from its stored form, levels joined by the unit separator.
    pub fn from_path(path: &str) -> Result<Self> {
        let levels: Vec<&str> = path.split(LEVEL_SEPARATOR).collect();
        Self::new(&levels)
    }

    /// The stored form: levels joined by the unit separator.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The levels, outermost first.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.path.split(LEVEL_SEPARATOR)
    }

    /// The levels as owned text, for a reply.
    pub fn to_levels(&self) -> Vec<String> {
        self.levels().map(str::to_owned).collect()
    }

    /// The namespace around this one, if it is not at the top.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.path.rsplit_once(LEVEL_SEPARATOR)?;
        Some(Self { path: parent.into() })
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, level) in self.levels().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            f.write_str(level)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A table's (or view's) full name. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// Where it lives.
    pub namespace: Namespace,
    /// What it is called there.
    pub name: Arc<str>,
}

/// What the name of a table of rejected rows ends with: before it stands that of the table that they were for.
pub const REJECTED_SUFFIX: &str = "__rejected";

impl TableName {
    /// The tables that a text may mean: `ns.t`, levels and name joined by dots or by `%1F`.
    pub fn meant_by(text: &str) -> Result<Vec<Self>> {
        let malformed = || Error::malformed(format!("{text:?} is not a namespace and a name joined by a dot"));
        let parts: Vec<&str> = text.split(LEVEL_SEPARATOR).collect();
        if let [levels @ .., name] = &parts[..]
            && !levels.is_empty()
        {
            return Ok(vec![Self::new(Namespace::new(levels)?, name)?]);
        }
        let (levels, name) = text.rsplit_once('.').ok_or_else(malformed)?;
        let mut meant = vec![Self::new(Namespace::new(&[levels])?, name)?];
        let several: Vec<&str> = levels.split('.').collect();
        if let (true, Ok(namespace)) = (several.len() > 1, Namespace::new(&several)) {
            meant.push(Self::new(namespace, name)?);
        }
        Ok(meant)
    }

    /// A name in a namespace; an empty or overlong one is refused.
    pub fn new(namespace: Namespace, name: &str) -> Result<Self> {
        check_name("Table name", name)?;
        Ok(Self { namespace, name: name.into() })
    }
}

impl TableName {
    /// The table as one text, as `/ingest` takes and gives it: levels and name joined by dots, or by `%1F` where a level
    /// holds a dot.
    pub fn joined(&self) -> String {
        let separator = if self.namespace.path().contains('.') { "%1F" } else { "." };
        // Every request has it made, so it is made in one go.
        let mut joined = String::with_capacity(self.namespace.path().len() + separator.len() + self.name.len());
        for level in self.namespace.levels() {
            joined.push_str(level);
            joined.push_str(separator);
        }
        joined.push_str(&self.name);
        joined
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

impl fmt::Debug for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What has a name in a namespace and a pointer to a metadata file. All kinds share the names of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tabular {
    /// A table.
    Table,
    /// A view.
    View,
}

impl Tabular {
    /// The word it is stored under.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
        }
    }

    /// The kind stored under a word.
    pub fn from_stored(word: &str) -> Result<Self> {
        match word {
            "table" => Ok(Self::Table),
            "view" => Ok(Self::View),
            other => Err(Error::internal(format!("The database holds a {other:?}: it is newer than this program"))),
        }
    }

    /// The word that messages begin with.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Table => "Table",
            Self::View => "View",
        }
    }

    fn what(self) -> What {
        match self {
            Self::Table => What::Table,
            Self::View => What::View,
        }
    }

    /// Nothing of this kind has the name.
    pub fn missing(self, name: &TableName) -> Error {
        Error::new(Kind::NotFound(self.what()), format!("{} does not exist: {name}", self.noun()))
    }

    /// The name, which was wanted for this kind, is taken by one of the kind `there`.
    pub fn taken(self, name: &TableName, there: Self) -> Error {
        let same = if self == there { "" } else { " with same name" };
        Error::new(Kind::AlreadyExists(there.what()), format!("{}{same} already exists: {name}", there.noun()))
    }
}

/// The name of a warehouse: it is the prefix of its routes, so only `[a-z0-9_-]+` and no word that can follow `/v1/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WarehouseName(Arc<str>);

/// What can follow `/v1/` without a prefix; a warehouse of that name could not be told apart.
pub const RESERVED_PREFIXES: [&str; 8] =
    ["aws", "config", "functions", "namespaces", "oauth", "tables", "transactions", "views"];

impl WarehouseName {
    /// A warehouse's name, if it can be one.
    pub fn new(name: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || !name.chars().all(fits) {
            return Err(Error::illegal(format!(
                "Warehouse name {name:?} cannot be used: lower-case letters, digits, '_' and '-' are allowed"
            )));
        }
        if RESERVED_PREFIXES.contains(&name) {
            return Err(Error::illegal(format!(
                "Warehouse name {name:?} cannot be used: it is a word of the REST paths; choose another"
            )));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as text that can be shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for WarehouseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// FNV-1a, 64 bits: the same for ever, because it is part of names on disk and of entity tags.
pub fn fnv1a_64(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// FNV-1a, 32 bits, likewise.
pub fn fnv1a_32(bytes: impl IntoIterator<Item = u8>) -> u32 {
    bytes.into_iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Refuses what cannot be a name: nothing, too much, control characters.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::malformed(format!("{what} is empty: it needs at least one character")));
    }
    if name.len() > limits::NAME_BYTES_MAX {
        let (has, max) = (name.len(), limits::NAME_BYTES_MAX);
        return Err(Error::malformed(format!("{what} has {has} bytes: at most {max} are allowed")));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::malformed(format!("{what} {name:?} has a control character: remove it")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_kept() {
        let namespace = Namespace::new(&["a.b", "c/d e%", "Ünï"]).expect("valid");
        assert_eq!(namespace.to_levels(), ["a.b", "c/d e%", "Ünï"]);
        assert_eq!(Namespace::from_path(namespace.path()).expect("valid"), namespace);
        assert_eq!(namespace.parent().expect("has one").to_levels(), ["a.b", "c/d e%"]);
        assert_eq!(namespace.to_string(), "a.b.c/d e%.Ünï");
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        let none: [&str; 0] = [];
        assert!(Namespace::new(&none).is_err());
        assert!(Namespace::new(&["a", ""]).is_err());
        assert!(Namespace::new(&["a\u{1f}b"]).is_err());
        assert!(Namespace::new(&vec!["a"; limits::NAMESPACE_LEVELS_MAX + 1]).is_err());
        let long = "x".repeat(limits::NAME_BYTES_MAX + 1);
        assert!(Namespace::new(&[long.as_str()]).is_err());
        let namespace = Namespace::new(&["a"]).expect("valid");
        assert!(TableName::new(namespace.clone(), "").is_err());
        assert!(TableName::new(namespace, "a\nb").is_err());
    }

    #[test]
    fn hashes_are_the_same_for_ever() {
        assert_eq!((fnv1a_64(*b""), fnv1a_64(*b"a")), (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c));
        assert_eq!((fnv1a_32(*b""), fnv1a_32(*b"a")), (0x811c_9dc5, 0xe40c_292c));
    }

    #[test]
    fn warehouse_names_are_prefixes() {
        assert!(WarehouseName::new("lake_1-x").is_ok());
        for bad in ["", "Lake", "a/b", "a b", "namespaces", "config"] {
            assert!(WarehouseName::new(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
