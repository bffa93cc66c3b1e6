//! What the command line means: which files are sent, how they are read, and into which tables.
//!
//! Everything that can be said of it is said before the first row is sent.

use std::collections::HashSet;
use std::sync::Arc;

use super::IngestArgs;
use super::names::{Compression, Dialect, Format, Said, Table};
use super::sources::{self, Entry};
use super::stripes::{Form, Planned};
use crate::error::{Error, Result};

/// The files, each once.
pub(super) async fn files(args: &IngestArgs) -> Result<Vec<Planned>> {
    let table = args.table.as_deref().map(Table::parse).transpose()?;
    let params = args.params()?;
    let (mut planned, mut known) = (Vec::new(), HashSet::new());
    for argument in &args.files {
        let source = sources::of(argument, || args.config())?;
        for entry in source.list(argument).await? {
            if !known.insert(entry.location.clone()) {
                continue;
            }
            let said = Said::by(entry.name());
            let form = form(&entry, said, args.format, &params)?;
            let table = table.clone().or_else(|| said.table());
            let table = table.ok_or_else(|| {
                Error::illegal(format!(
                    "{} does not say which table it is for, as sales.orders.ndjson would: give --table NAMESPACE.TABLE",
                    entry.shown
                ))
            })?;
            planned.push(Planned { source: Arc::clone(&source), form, table, entry });
        }
    }
    Ok(planned)
}

fn form(entry: &Entry, said: Said<'_>, wanted: Option<Format>, params: &[(&str, &str)]) -> Result<Form> {
    let is_stdin = entry.location == "-";
    let format = wanted.or_else(|| said.format()).or(is_stdin.then_some(Format::Ndjson));
    let format = format.ok_or_else(|| {
        Error::illegal(format!("The name of {} does not say what it is written in: give --format", entry.shown))
    })?;
    if is_stdin && format == Format::Parquet {
        return Err(Error::illegal("Parquet is not read from its beginning on: name a file instead of -"));
    }
    let compression = said.compression;
    if compression != Compression::Plain && !format.is_text() {
        let (shown, format) = (&entry.shown, format.as_str());
        return Err(Error::illegal(format!("{shown} is a compressed file of {format}: decompress it first")));
    }
    Ok(Form { format, compression, dialect: Dialect::of(format, params) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(shown: &str) -> Entry {
        Entry { shown: shown.to_owned(), location: shown.to_owned(), size: 1, version: String::new() }
    }

    #[test]
    fn files_are_read_as_their_names_or_the_command_line_say() {
        use Compression as C;
        use Format as F;
        for (name, wanted, format, compression) in [
            ("a.b.csv", None, F::Csv, C::Plain),
            ("a.b.csv", Some(F::Tsv), F::Tsv, C::Plain),
            ("/x/a.log.gz", Some(F::Ndjson), F::Ndjson, C::Gzip),
            ("-", None, F::Ndjson, C::Plain),
            ("-", Some(F::Arrow), F::Arrow, C::Plain),
        ] {
            let entry = entry(name);
            let made = form(&entry, Said::by(entry.name()), wanted, &[]).expect(name);
            assert_eq!(made, Form { format, compression, dialect: Dialect::of(format, &[]) }, "{name}");
        }
        for (name, wanted) in [("a.log", None), ("-", Some(F::Parquet)), ("a.parquet.gz", None), ("a", None)] {
            let entry = entry(name);
            assert!(form(&entry, Said::by(entry.name()), wanted, &[]).is_err(), "{name}");
        }
    }
}
