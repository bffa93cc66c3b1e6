//! What the user typed → what we will do.
//!
//! Settings come from a TOML file (`--config`, else `./floeberg.toml` if it is there), then from the environment
//! (`FLOEBERG_LISTEN`, nested keys joined by `__`), then from flags; later ones win. This is the only room that reads the
//! environment. A key that is not known is an error that names the nearest one that is.

mod keys;
mod sources;
mod warehouses;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::auth::Mode;
use crate::catalog::once::KeySettings;
use crate::clock;
use crate::error::{Error, Result};
use crate::ingest::{HashKeys, IngestSettings, Rules};
use crate::lake::described::Surroundings;
use crate::lake::seal::SealKey;
use crate::lake::settings::WarehouseSettings;
use crate::limits;
use sources::Settings;
pub use sources::{Environment, Flags};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs, one object a line.
    Json,
}

/// Everything that can be set, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the database, the lock and the default warehouse are.
    pub data_dir: PathBuf,
    /// The path under which everything is served, without a slash at the end; empty where there is none.
    pub base_path: String,
    /// The warehouses, the default first.
    pub warehouses: Vec<WarehouseSettings>,
    /// What all warehouses have in common, those too that are made while the server runs.
    pub around: Surroundings,
    /// What secrets in the database are sealed with.
    pub seal_key: Option<SealKey>,
    /// Who has to say who they are.
    pub auth: Mode,
    /// Whether `/metrics` needs a token too, where everything does.
    pub metrics_auth: bool,
    /// What bounds idempotency keys.
    pub keys: KeySettings,
    /// What bounds ingest.
    pub ingest: IngestSettings,
    /// How long requests under way may take when the server stops.
    pub shutdown_timeout: Duration,
    /// Origins of browsers' pages that may call the server.
    pub cors_origins: Vec<String>,
    /// Which log lines are written.
    pub log_level: String,
    /// How they are written.
    pub log_format: LogFormat,
}

impl Config {
    /// Reads every source and checks the whole. `working_dir` is where relative paths and `floeberg.toml` are looked for.
    pub fn load(flags: &Flags, environment: &Environment, working_dir: &Path) -> Result<Self> {
        let settings = sources::read(flags, environment, working_dir)?;
        let config = Self::resolve(&settings, working_dir)?;
        if !config.listen.ip().is_loopback() && config.auth == Mode::Open && !flags.insecure_no_auth {
            return Err(Error::illegal(format!(
                "listen = {:?} is beyond this machine, and nobody would have to log in: set auth = \"token\", listen on \
                 127.0.0.1, or say --insecure-no-auth if the network in front of it is yours alone",
                config.listen.to_string()
            )));
        }
        Ok(config)
    }

    /// The usual settings and these flags, whatever files and variables say.
    pub fn load_alone(flags: &Flags, working_dir: &Path) -> Result<Self> {
        Self::resolve(&sources::of_flags(flags)?, working_dir)
    }

    fn resolve(settings: &Settings, working_dir: &Path) -> Result<Self> {
        let text = |key: &str, default: &str| settings.text(key).unwrap_or(default).to_owned();
        let listen = text("listen", "127.0.0.1:8181");
        let data_dir = working_dir.join(text("data-dir", "floeberg-data"));
        let format = text("log.format", "text");
        Ok(Self {
            listen: parse_listen(&listen)?,
            base_path: parse_base_path(&text("base-path", ""))?,
            warehouses: warehouses::read(settings, &data_dir)?,
            around: warehouses::surroundings(settings),
            seal_key: settings.text("seal-key").map(SealKey::parse).transpose()?,
            data_dir,
            auth: match text("auth", "none").as_str() {
                "none" => Mode::Open,
                "token" => Mode::Token,
                other => return Err(Error::illegal(format!("auth = {other:?} is neither none nor token"))),
            },
            metrics_auth: settings.flag("metrics-auth").unwrap_or(true),
            keys: keys(settings)?,
            ingest: ingest(settings)?,
            shutdown_timeout: parse_duration("shutdown-timeout", &text("shutdown-timeout", "25s"))?,
            cors_origins: settings.list("cors-origins"),
            log_level: text("log.level", "info"),
            log_format: match format.as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(Error::illegal(format!("log.format = {format:?} is neither text nor json"))),
            },
        })
    }
}

fn keys(settings: &Settings) -> Result<KeySettings> {
    let text = settings.text("idempotency.lifetime").unwrap_or("30m");
    let lifetime = parse_duration("idempotency.lifetime", text)?;
    if lifetime < Duration::from_secs(1) || lifetime > Duration::from_secs(30 * 86_400) {
        return Err(Error::illegal(format!("idempotency.lifetime = {text:?} must be between 1s and 720h")));
    }
    let most = settings.number("idempotency.keys").map_or(Ok(limits::KEYS_MAX), i64::try_from);
    let most = most.ok().filter(|most| *most > 0);
    let most = most.ok_or_else(|| Error::illegal("idempotency.keys must be a whole number of at least 1"))?;
    Ok(KeySettings { lifetime, most })
}

fn ingest(settings: &Settings) -> Result<IngestSettings> {
    let usual = IngestSettings::default();
    let bytes = |key: &str, usual: usize| match settings.text(key) {
        Some(text) => parse_bytes(key, text),
        None => Ok(usual),
    };
    let count = |key: &str, usual: usize| match settings.number(key).map(usize::try_from) {
        None => Ok(usual),
        Some(Ok(number)) if number > 0 => Ok(number),
        Some(_) => Err(Error::illegal(format!("{key} must be a whole number of at least 1"))),
    };
    let hash_keys = HashKeys::new(settings.named("ingest.hash-keys.", ""));
    let rules = settings.named("ingest.tables.", ".rules").into_iter().map(|(table, text)| {
        let rules = Rules::parse(&text, &hash_keys);
        let wrong = |error: Error| Error::illegal(format!("ingest.tables.{table:?}.rules: {}", error.message()));
        rules.map_err(wrong).map(|rules| (table, rules))
    });
    let made = IngestSettings {
        rules: rules.collect::<Result<_>>()?,
        routes: settings.named("ingest.routes.", ""),
        memory: bytes("ingest.memory", usual.memory)?,
        body: bytes("ingest.body", usual.body)?,
        body_decoded: bytes("ingest.body-decoded", usual.body_decoded)?,
        rows: count("ingest.rows", usual.rows)?,
        row: bytes("ingest.row", usual.row)?,
        nesting: count("ingest.nesting", usual.nesting)?,
        auto_create: settings.flag("ingest.auto-create").unwrap_or(usual.auto_create),
        hash_keys,
    };
    if made.nesting > 256 {
        return Err(Error::illegal(format!("ingest.nesting = {} is too deep: at most 256", made.nesting)));
    }
    if made.memory < made.body {
        return Err(Error::illegal("ingest.memory is less than ingest.body: one body would never fit"));
    }
    Ok(made)
}

/// A whole number and a unit: `B`, `KiB`, `MiB` or `GiB`.
fn parse_bytes(key: &str, text: &str) -> Result<usize> {
    let bad = || Error::illegal(format!("{key} = {text:?} is not a size, such as 32MiB or 1GiB"));
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: usize = text[..digits].parse().map_err(|_| bad())?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(bad)
}

fn parse_listen(text: &str) -> Result<SocketAddr> {
    let text = text.replace("localhost:", "127.0.0.1:");
    text.parse()
        .map_err(|_| Error::illegal(format!("listen = {text:?} is not an address and a port, such as 127.0.0.1:8181")))
}

/// Nothing and a slash alone are no base path; `lake`, `/lake` and `/lake/` are the same one.
fn parse_base_path(text: &str) -> Result<String> {
    let inner = text.trim_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    let is_segment = |segment: &str| segment.chars().all(plain) && !matches!(segment, "" | "." | "..");
    match inner {
        "" => Ok(String::new()),
        inner if inner.split('/').all(is_segment) => Ok(format!("/{inner}")),
        _ => Err(Error::illegal(format!(
            "base-path = {text:?} cannot be used: letters, digits, '-', '_', '.' and '~' between slashes are allowed"
        ))),
    }
}

fn parse_duration(key: &str, text: &str) -> Result<Duration> {
    let bad = || Error::illegal(format!("{key} = {text:?} is not a time, such as 25s, 500ms or 2m"));
    clock::duration_of(text).ok_or_else(bad)
}

#[cfg(test)]
mod tests;
