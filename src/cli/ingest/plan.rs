//! What the command line means: which files are sent, how they are read, and into which tables.
//!
//! Everything that can be said of it is said before the first row is sent.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::IngestArgs;
use super::names::{Compression, Dialect, Format, Said, Table};
use super::sources::{self, Entry};
use super::stripes::{Form, Planned, stripes_at_most};
use crate::error::{Error, Result};
use crate::limits;

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
    check_many(&planned, u64::try_from(limits::PRODUCERS_PER_TABLE_MAX).unwrap_or(0))?;
    Ok(planned)
}

/// Refuses more files for one table than it remembers: were the command run again, the first would be written twice.
fn check_many(planned: &[Planned], most: u64) -> Result<()> {
    let mut stripes: HashMap<String, u64> = HashMap::new();
    for file in planned {
        let count = stripes.entry(file.table.asked()).or_default();
        *count += stripes_at_most(file.entry.size);
        if *count > most {
            let table = file.table.asked();
            return Err(Error::illegal(format!(
                "The files for {table} are more than the {most} parts of files that a table remembers: send fewer at \
                 once, and do not repeat those of earlier commands"
            )));
        }
    }
    Ok(())
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
        Entry { shown: shown.to_owned(), location: shown.to_owned(), size: 1, version: String::new(), etag: None }
    }

    #[test]
    fn a_table_remembers_what_one_command_sends() {
        let source = sources::of("-", || Err(Error::illegal("not asked for"))).expect("a source");
        let planned = |table: &str, size| Planned {
            source: Arc::clone(&source),
            form: Form { format: Format::Csv, compression: Compression::Plain, dialect: Dialect::of(Format::Csv, &[]) },
            table: Table::parse(table).expect("a table"),
            entry: Entry { size, ..entry("a.csv") },
        };
        let files = [planned("a.b", 1), planned("a.c", 1), planned("a.b", 200 << 20)];
        check_many(&files, 5).expect("few");
        let refused = check_many(&files, 4).expect_err("many");
        assert!(refused.message().contains("a.b") && refused.message().contains('4'), "{refused}");
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
