//! File, environment and flags, merged into one list of keys and values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Value as TomlValue};
use indexmap::IndexMap;

use super::keys::{Shape, named, nearest, shape_of};
use crate::error::{Error, Result};
use crate::lake::settings::Ambient;

/// What was said on the command line.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--allow-location`
    pub allow_location: Vec<String>,
    /// `--insecure-no-auth`
    pub insecure_no_auth: bool,
}

/// The environment variables that concern us: ours, without their prefix, and those that every program reads that
/// reaches a cloud.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    ours: Vec<(String, String)>,
    ambient: Ambient,
}

const PREFIX: &str = "FLOEBERG_";

impl Environment {
    /// The process's own.
    #[expect(clippy::disallowed_methods, reason = "this is the one room that may read the environment")]
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::from_all(std::env::vars_os().filter_map(text).collect())
    }

    fn from_all(all: Vec<(String, String)>) -> Self {
        let ours = |(name, value): &(String, String)| Some((name.strip_prefix(PREFIX)?.to_owned(), value.clone()));
        Self { ours: all.iter().filter_map(ours).collect(), ambient: Ambient::of(all) }
    }

    /// The token that commands ask a server with.
    pub fn token(&self) -> Option<String> {
        self.ours.iter().find(|(name, _)| name == "TOKEN").map(|(_, value)| value.clone())
    }

    /// These variables, for tests.
    pub fn of(variables: &[(&str, &str)]) -> Self {
        Self::from_all(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Flag(bool),
    Number(u64),
    List(Vec<String>),
}

/// Keys and values, all known and of the right shape.
#[derive(Debug, Default)]
pub(super) struct Settings {
    values: BTreeMap<String, Value>,
    /// What the environment says to every program that reaches a cloud.
    pub(super) ambient: Ambient,
}

impl Settings {
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.values.get(key) {
            Some(Value::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        match self.values.get(key) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        match self.values.get(key) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    /// The texts of keys behind which names are chosen freely, by those names.
    pub(super) fn named(&self, before: &str, behind: &str) -> IndexMap<String, String> {
        let one = |(key, value): (&String, &Value)| match value {
            Value::Text(text) => Some((named(key, before, behind)?.to_owned(), text.clone())),
            _ => None,
        };
        self.values.iter().filter_map(one).collect()
    }

    /// The names of the configured warehouses.
    pub(super) fn warehouses(&self) -> Vec<String> {
        let names =
            self.values.keys().filter_map(|key| super::keys::split_warehouse(key)).map(|(name, _)| name.to_owned());
        let mut names: Vec<String> = names.collect();
        names.dedup();
        names
    }

    fn set(&mut self, source: &str, key: String, value: Value) -> Result<()> {
        let shape = shape_of(&key).ok_or_else(|| unknown(source, &key))?;
        let fits = matches!(
            (&value, shape),
            (Value::Text(_), Shape::Text)
                | (Value::Flag(_), Shape::Flag)
                | (Value::Number(_), Shape::Number)
                | (Value::List(_), Shape::List)
                | (Value::Text(_), Shape::Json)
        );
        if !fits {
            let expected = match shape {
                Shape::Text => "a text in quotes",
                Shape::Flag => "true or false",
                Shape::Number => "a whole number",
                Shape::List => "a list of texts",
                Shape::Json => "a list",
            };
            return Err(Error::illegal(format!("{source}: {key} must be {expected}")));
        }
        self.values.insert(key, value);
        Ok(())
    }
}

/// Reads and merges every source.
pub(super) fn read(flags: &Flags, environment: &Environment, working_dir: &Path) -> Result<Settings> {
    let mut settings = Settings { ambient: environment.ambient.clone(), ..Settings::default() };
    if let Some(path) = config_file(flags, working_dir)? {
        let source = path.display().to_string();
        let read: Dict = Figment::new()
            .merge(Toml::file_exact(&path))
            .extract()
            .map_err(|error| Error::illegal(format!("{source} cannot be read: {error}")))?;
        flatten(&mut settings, &source, "", read)?;
    }
    for (name, value) in &environment.ours {
        let source = format!("environment variable {PREFIX}{name}");
        let Some(key) = environment_key(&settings, name) else { continue };
        let shape = shape_of(&key).ok_or_else(|| unknown(&source, &key))?;
        settings.set(&source, key, parse_plain(&source, shape, value)?)?;
    }
    add_flags(&mut settings, flags)?;
    Ok(settings)
}

/// What the flags alone say.
pub(super) fn of_flags(flags: &Flags) -> Result<Settings> {
    let mut settings = Settings::default();
    add_flags(&mut settings, flags)?;
    Ok(settings)
}

fn add_flags(settings: &mut Settings, flags: &Flags) -> Result<()> {
    let data_dir = flags.data_dir.as_ref().map(|path| path.display().to_string());
    for (key, value) in [("listen", flags.listen.clone()), ("data-dir", data_dir)] {
        if let Some(value) = value {
            settings.set("command line", key.to_owned(), Value::Text(value))?;
        }
    }
    let mut allowed = settings.list("allow-location");
    allowed.extend(flags.allow_location.iter().cloned());
    settings.set("command line", "allow-location".to_owned(), Value::List(allowed))
}

fn config_file(flags: &Flags, working_dir: &Path) -> Result<Option<PathBuf>> {
    if let Some(path) = &flags.config {
        let path = working_dir.join(path);
        if !path.is_file() {
            return Err(Error::illegal(format!("Configuration file {} does not exist", path.display())));
        }
        return Ok(Some(path));
    }
    let usual = working_dir.join("floeberg.toml");
    Ok(usual.is_file().then_some(usual))
}

fn flatten(settings: &mut Settings, source: &str, before: &str, dict: Dict) -> Result<()> {
    for (key, value) in dict {
        let path = if before.is_empty() { key } else { format!("{before}.{key}") };
        let value = match value {
            TomlValue::Dict(_, inner) if shape_of(&path).is_none() => {
                flatten(settings, source, &path, inner)?;
                continue;
            }
            TomlValue::Array(_, items) if shape_of(&path) == Some(Shape::Json) => {
                let text = serde_json::to_string(&items);
                Value::Text(text.map_err(|_| Error::illegal(format!("{source}: {path} cannot be read")))?)
            }
            TomlValue::String(_, _) if shape_of(&path) == Some(Shape::Json) => {
                return Err(Error::illegal(format!("{source}: {path} must be a list")));
            }
            TomlValue::String(_, text) => Value::Text(text),
            TomlValue::Bool(_, flag) => Value::Flag(flag),
            TomlValue::Array(_, items) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
                Value::List(texts.ok_or_else(|| Error::illegal(format!("{source}: {path} must be a list of texts")))?)
            }
            TomlValue::Num(_, number) => match number.to_i128().and_then(|number| u64::try_from(number).ok()) {
                Some(number) => Value::Number(number),
                None => return Err(cannot_be(source, &path)),
            },
            _ => return Err(cannot_be(source, &path)),
        };
        settings.set(source, path, value)?;
    }
    Ok(())
}

/// No key takes a date or a fraction: say so, or that the key is unknown.
fn cannot_be(source: &str, path: &str) -> Error {
    if shape_of(path).is_none() {
        return unknown(source, path);
    }
    Error::illegal(format!(
        "{source}: {path} must be a text in quotes, a whole number, true or false, or a list of texts"
    ))
}

/// `WAREHOUSES__LAKE__ACCESS_KEY_ID` → `warehouses.lake.access-key-id`. A warehouse's own `_` may stand for `-`: one that
/// is already configured and differs only there is meant. `None` for variables that are no setting.
fn environment_key(settings: &Settings, name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if matches!(lower.as_str(), "token" | "url") {
        return None;
    }
    let parts: Vec<&str> = lower.split("__").collect();
    if let ["warehouses", warehouse, inner] = parts.as_slice() {
        let meant = settings.warehouses().into_iter().find(|known| known.replace('-', "_") == *warehouse);
        let warehouse = meant.unwrap_or_else(|| (*warehouse).to_owned());
        return Some(format!("warehouses.{warehouse}.{}", inner.replace('_', "-")));
    }
    Some(parts.join(".").replace('_', "-"))
}

fn parse_plain(source: &str, shape: Shape, text: &str) -> Result<Value> {
    match shape {
        Shape::Text | Shape::Json => Ok(Value::Text(text.to_owned())),
        Shape::List => Ok(Value::List(
            text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect(),
        )),
        Shape::Number => text
            .parse()
            .map(Value::Number)
            .map_err(|_| Error::illegal(format!("{source} = {text:?} is not a whole number"))),
        Shape::Flag => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Value::Flag(true)),
            "false" | "0" => Ok(Value::Flag(false)),
            _ => Err(Error::illegal(format!("{source} = {text:?} is neither true nor false"))),
        },
    }
}

fn unknown(source: &str, key: &str) -> Error {
    Error::illegal(format!("{source}: {key} is not a setting; did you mean {}?", nearest(key)))
}
