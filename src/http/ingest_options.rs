//! What a request that pushes rows says in its parameters. One that means nothing is named.

use std::time::Duration;

use crate::clock;
use crate::error::{Error, Result};
use crate::ingest::{
    Ack, AppendOptions, Counting, Dialect, Evolution, Leniency, Names, OnError, Rounding, TimePrecision, Unknown,
};

/// The parameters of a request; its cells, if it has any, stand between delimiters.
pub(super) fn options(parameters: &[(String, String)], delimiter: u8) -> Result<AppendOptions> {
    let mut options = AppendOptions::default();
    let mut dialect = Dialect { delimiter, ..Dialect::CSV };
    for (name, value) in parameters {
        let (name, value) = (name.as_str(), value.as_str());
        let known = match name {
            "delimiter" | "quote" | "null" | "header" => of_cells(&mut dialect, name, value),
            "coerce" | "time_precision" | "ts_unit" | "round" => of_values(&mut options, name, value),
            _ => of_request(&mut options, name, value)?,
        };
        known.ok_or_else(|| not_known(name, value))?;
    }
    if dialect.quote == Some(dialect.delimiter) {
        return Err(Error::malformed("delimiter and quote are the same character").with_code("unknown_parameter"));
    }
    options.dialect = Some(dialect);
    Ok(options)
}

fn of_cells(dialect: &mut Dialect, name: &str, value: &str) -> Option<()> {
    match (name, value) {
        ("delimiter", "tab") => dialect.delimiter = b'\t',
        ("delimiter", one) => dialect.delimiter = character(one)?,
        ("quote", "none") => dialect.quote = None,
        ("quote", one) => dialect.quote = Some(character(one)?),
        ("null", text) => dialect.null = text.to_owned().into(),
        ("header", "true") => dialect.names = Names::First,
        ("header", "false") => dialect.names = Names::OfTable,
        _ => return None,
    }
    Some(())
}

/// One character that can stand between or around cells.
fn character(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [one] if one.is_ascii() && !matches!(one, b'\r' | b'\n') => Some(*one),
        _ => None,
    }
}

fn of_values(options: &mut AppendOptions, name: &str, value: &str) -> Option<()> {
    let manner = &mut options.manner;
    match (name, value) {
        ("coerce", word) => manner.leniency = Leniency::parse(word)?,
        ("time_precision", "truncate") => manner.precision = TimePrecision::Truncate,
        ("round", "half_up") => manner.rounding = Rounding::HalfUp,
        ("ts_unit", word) => manner.counts = Some(Counting::parse(word)?),
        _ => return None,
    }
    Some(())
}

fn of_request(options: &mut AppendOptions, name: &str, value: &str) -> Result<Option<()>> {
    match name {
        "warehouse" => {}
        "partition_by" => options.partition_by = Some(value.to_owned()),
        "sort_by" => options.sort_by = Some(value.to_owned()),
        "timeout" => options.timeout = Some(duration(value)?),
        "ack" | "on_error" | "schema" | "unknown_fields" => return Ok(of_words(options, name, value)),
        _ => {
            let message = format!("Parameter {name:?} is not known here");
            return Err(Error::malformed(message).with_code("unknown_parameter"));
        }
    }
    Ok(Some(()))
}

fn of_words(options: &mut AppendOptions, name: &str, word: &str) -> Option<()> {
    match name {
        "ack" => options.ack = Ack::parse(word)?,
        "on_error" => options.on_error = Some(OnError::parse(word)?),
        "schema" => options.schema = Some(Evolution::parse(word)?),
        _ => options.unknown_fields = Some(Unknown::parse(word)?),
    }
    Some(())
}

pub(super) fn not_known(name: &str, value: &str) -> Error {
    Error::malformed(format!("{name}={value} is not known here")).with_code("unknown_parameter")
}

pub(super) fn duration(text: &str) -> Result<Duration> {
    clock::duration_of(text).ok_or_else(|| {
        Error::malformed(format!("timeout={text} is not a time, such as 60s or 500ms")).with_code("unknown_parameter")
    })
}
