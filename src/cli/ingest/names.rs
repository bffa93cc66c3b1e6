//! What names say: a file's format, how it is compressed and which table it is for; how a table is named to the server.
//!
//! All of it is pure. A name that says nothing is no error here: who asks may have been told otherwise.

use clap::ValueEnum;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Result};
use crate::names::LEVEL_SEPARATOR;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// JSON objects, one a line, or one list of them
    Ndjson,
    /// Cells between commas, under a header
    Csv,
    /// Cells between tabs, under a header
    Tsv,
    /// Arrow IPC, a stream or a file
    Arrow,
    /// Parquet
    Parquet,
    /// An Avro object container
    Avro,
}

/// How a file of text is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not at all.
    Plain,
    /// gzip
    Gzip,
    /// Zstandard
    Zstd,
}

impl Format {
    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
            Self::Avro => "avro",
        }
    }

    /// Whether it is text, which is sent as it stands.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Ndjson | Self::Csv | Self::Tsv)
    }

    fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            "arrow" | "arrows" | "ipc" | "feather" => Some(Self::Arrow),
            "parquet" | "pq" => Some(Self::Parquet),
            "avro" => Some(Self::Avro),
            _ => None,
        }
    }
}

impl Compression {
    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// How cells stand in text, as the parameters of requests say it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    /// What stands between cells.
    pub(super) delimiter: u8,
    /// What stands around a cell in which lines may end; `None`: nothing.
    pub(super) quote: Option<u8>,
    /// What the first line is.
    pub(super) first: First,
}

/// What the first line of cells is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// The names of the columns.
    Header,
    /// A row as any other.
    Row,
}

impl Dialect {
    /// The usual one of a format, and what parameters say beside it. What they say of other things, and what is nonsense, is
    /// for the server to tell.
    pub(super) fn of(format: Format, params: &[(&str, &str)]) -> Self {
        let delimiter = if format == Format::Tsv { b'\t' } else { b',' };
        let mut dialect = Self { delimiter, quote: Some(b'"'), first: First::Header };
        for (name, value) in params {
            match (*name, value.as_bytes()) {
                ("delimiter", b"tab") => dialect.delimiter = b'\t',
                ("delimiter", [one]) => dialect.delimiter = *one,
                ("quote", b"none") => dialect.quote = None,
                ("quote", [one]) => dialect.quote = Some(*one),
                ("header", b"false") => dialect.first = First::Row,
                _ => {}
            }
        }
        dialect
    }
}

/// What the name of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said<'a> {
    /// Its format, and what stands before the extension that says so.
    format: Option<(&'a str, Format)>,
    /// How it is compressed.
    pub(super) compression: Compression,
}

impl<'a> Said<'a> {
    /// Reads a name without folders.
    pub(super) fn by(name: &'a str) -> Self {
        let (rest, compression) = match name.rsplit_once('.') {
            Some((rest, end)) if end.eq_ignore_ascii_case("gz") => (rest, Compression::Gzip),
            Some((rest, "zst" | "zstd" | "ZST" | "ZSTD")) => (rest, Compression::Zstd),
            _ => (name, Compression::Plain),
        };
        let split = rest.rsplit_once('.');
        let format = split.and_then(|(before, extension)| Some((before, Format::of_extension(extension)?)));
        Self { format, compression }
    }

    /// The format.
    pub(super) fn format(&self) -> Option<Format> {
        self.format.map(|(_, format)| format)
    }

    /// The table, where two names or more, joined by dots, stand before the extension.
    pub(super) fn table(&self) -> Option<Table> {
        let (before, _) = self.format?;
        Table::parse(before).ok().filter(|_| before.split('.').all(|part| !part.is_empty()))
    }
}

/// A table as it was named: levels and name joined by dots. A dot of a level's own is written `%2E`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    levels: Vec<String>,
    name: String,
}

impl Table {
    /// Reads `sales.orders`: what stands before the last dot is the namespace.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let parts = text.rsplit_once('.').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
        let (namespace, name) =
            parts.ok_or_else(|| Error::illegal(format!("{text:?} is not NAMESPACE.TABLE, such as sales.orders")))?;
        Ok(Self { levels: namespace.split('.').map(str::to_owned).collect(), name: name.to_owned() })
    }

    /// The path that takes its rows.
    pub(super) fn path(&self) -> String {
        let levels: Vec<String> = self.levels.iter().map(|level| encoded(level).replace("%25", "%")).collect();
        format!("/ingest/v1/{}/{}", levels.join("."), encoded(&self.name))
    }

    /// The value of `table=` that means it.
    pub(super) fn asked(&self) -> String {
        let dotted = self.levels.join(".");
        if !dotted.contains('%') {
            return format!("{dotted}.{}", self.name);
        }
        let mut text = String::new();
        for level in &self.levels {
            text.push_str(&percent_decode_str(level).decode_utf8_lossy());
            text.push(LEVEL_SEPARATOR);
        }
        text + &self.name
    }
}

/// A text as a part of a path or query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Whether a name is one that a pattern means: `*` stands for any characters, `?` for one. A name that begins with a dot is
/// meant only by a pattern that does.
pub(super) fn is_meant(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut place) = (0, 0);
    // Behind the last star, and how much of the name it stands for up to now.
    let mut star: Option<(usize, usize)> = None;
    while place < name.len() {
        match (pattern.get(at), star) {
            (Some('*'), _) => {
                star = Some((at + 1, place));
                at += 1;
            }
            (Some(one), _) if *one == '?' || *one == name[place] => (at, place) = (at + 1, place + 1),
            (_, Some((behind, from))) => {
                star = Some((behind, from + 1));
                (at, place) = (behind, from + 1);
            }
            _ => return false,
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

/// Whether a text stands for more than itself.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_format_compression_and_table() {
        use Compression as C;
        use Format as F;
        for (name, format, compression, table) in [
            ("sales.orders.ndjson", Some(F::Ndjson), C::Plain, Some("sales.orders")),
            ("sales.orders.csv.gz", Some(F::Csv), C::Gzip, Some("sales.orders")),
            ("eu.sales.orders.JSONL.zst", Some(F::Ndjson), C::Zstd, Some("eu.sales.orders")),
            ("orders.parquet", Some(F::Parquet), C::Plain, None),
            ("sales..orders.avro", Some(F::Avro), C::Plain, None),
            (".orders.tsv", Some(F::Tsv), C::Plain, None),
            ("sales.orders.log", None, C::Plain, None),
            ("sales.orders.gz", None, C::Gzip, None),
            ("orders", None, C::Plain, None),
        ] {
            let said = Said::by(name);
            assert_eq!((said.format(), said.compression), (format, compression), "{name}");
            assert_eq!(said.table(), table.map(|text| Table::parse(text).expect("a table")), "{name}");
        }
    }

    #[test]
    fn parameters_say_how_cells_stand() {
        let usual = Dialect { delimiter: b',', quote: Some(b'"'), first: First::Header };
        for (format, params, dialect) in [
            (Format::Csv, vec![], usual),
            (Format::Tsv, vec![("warehouse", "w")], Dialect { delimiter: b'\t', ..usual }),
            (Format::Csv, vec![("delimiter", "tab")], Dialect { delimiter: b'\t', ..usual }),
            (
                Format::Csv,
                vec![("delimiter", ";"), ("quote", "'")],
                Dialect { delimiter: b';', quote: Some(b'\''), ..usual },
            ),
            (
                Format::Csv,
                vec![("quote", "none"), ("header", "false")],
                Dialect { quote: None, first: First::Row, ..usual },
            ),
            (Format::Csv, vec![("delimiter", "ab"), ("header", "true")], usual),
        ] {
            assert_eq!(Dialect::of(format, &params), dialect, "{params:?}");
        }
    }

    #[test]
    fn tables_are_named_to_the_server() {
        for (text, path, asked) in [
            ("sales.orders", "/ingest/v1/sales/orders", "sales.orders"),
            ("eu.sales.orders", "/ingest/v1/eu.sales/orders", "eu.sales.orders"),
            ("eu%2Esales.orders", "/ingest/v1/eu%2Esales/orders", "eu.sales\u{1f}orders"),
            ("a b.c/d", "/ingest/v1/a%20b/c%2Fd", "a b.c/d"),
        ] {
            let table = Table::parse(text).expect("a table");
            assert_eq!((table.path().as_str(), table.asked().as_str()), (path, asked), "{text}");
        }
        for bad in ["orders", ".orders", "sales.", ""] {
            assert!(Table::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_mean_names() {
        for (pattern, name, meant) in [
            ("*.parquet", "a.parquet", true),
            ("*.parquet", ".parquet", false),
            (".*", ".hidden", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "axxbyybz", false),
            ("*", "", true),
            ("**", "x", true),
            ("?", "é", true),
            ("a.csv", "a.csv", true),
            ("a.csv", "a.csvx", false),
            ("*x", "aaax", true),
        ] {
            assert_eq!(is_meant(pattern, name), meant, "{pattern} {name}");
        }
    }
}
