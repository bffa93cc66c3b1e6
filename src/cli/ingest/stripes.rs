//! A file → stripes, each of which is a producer of the table.
//!
//! Where stripes begin and end follows from the file alone, so that another run of the command cuts it the same. What else
//! a stripe's meaning depends on is in the name of its producer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use ring::digest::{Context, SHA256};

use super::input::{Input, Stored, unreadable};
use super::names::{Compression, Dialect, Format, Table};
use super::sources::{Access, Entry, Source};
use crate::error::{Error, Result};

/// Bytes of a stripe of lines.
const STRIPE_BYTES: u64 = 256 << 20;

/// Bytes of a stripe of row groups, packed as they are.
const ROW_GROUPS_BYTES: u64 = 64 << 20;

/// How many stripes a file of so many bytes has at most.
pub(super) fn stripes_at_most(bytes: u64) -> u64 {
    bytes.div_ceil(ROW_GROUPS_BYTES.min(STRIPE_BYTES)).max(1)
}

/// Changes when stripes are cut otherwise: what was sent before is then not taken for what it would be now.
const GEOMETRY: &str = "floeberg 1";

/// Bytes of what is sent in one piece, and of a row: the body that a server takes where nobody told it otherwise.
pub(super) const WHOLE_BYTES_MAX: usize = 32 << 20;

/// Bytes of an Avro file that is sent as it is. Packed rows may be many, and a server takes so many at once.
const WHOLE_AVRO_BYTES: u64 = 8 << 20;

/// How a file is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// What it is written in.
    pub(super) format: Format,
    /// How it is compressed.
    pub(super) compression: Compression,
    /// How cells stand in it, where it has cells.
    pub(super) dialect: Dialect,
}

/// A file that is to be sent.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    /// The file.
    pub(super) entry: Entry,
    /// Who has it.
    pub(super) source: Arc<dyn Source>,
    /// How to read it.
    pub(super) form: Form,
    /// Where its rows go.
    pub(super) table: Table,
}

/// A file that is being sent.
#[derive(Debug)]
pub(super) struct Opened {
    /// The file.
    pub(super) entry: Entry,
    /// How to read it.
    pub(super) form: Form,
    /// Where its rows go.
    pub(super) table: Table,
    /// Its bytes.
    pub(super) input: Input,
    /// Of a Parquet file, what stands at its end.
    pub(super) footer: Option<ArrowReaderMetadata>,
    /// Its parts.
    pub(super) stripes: Vec<Stripe>,
    failed: AtomicBool,
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stripe {
    /// Which one.
    pub(super) number: usize,
    /// What it has.
    pub(super) run: Run,
    /// Bytes of the file that it stands for.
    pub(super) bytes: u64,
}

/// What a stripe has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Run {
    /// Everything.
    All,
    /// Everything, in one piece.
    Whole,
    /// The lines that begin behind `from`, the first of all too, and not behind `to`.
    Lines {
        /// A place in the file.
        from: u64,
        /// A later one.
        to: u64,
    },
    /// The row groups from `first` on, before `end`.
    RowGroups {
        /// The first one.
        first: usize,
        /// The one behind the last.
        end: usize,
    },
}

impl Planned {
    /// Opens the file and cuts it.
    pub(super) async fn open(self) -> Result<Opened> {
        let Self { entry, source, form, table } = self;
        let access = match form.format {
            Format::Parquet | Format::Arrow => Access::Anywhere,
            _ => Access::Onwards,
        };
        let input = source.open(&entry, access).await?;
        let work = move || {
            let (stripes, footer) = cut(&input, form)?;
            Ok(Opened { entry, form, table, input, footer, stripes, failed: AtomicBool::new(false) })
        };
        let cut_off = |error| Error::internal("Work was cut off").because(error);
        tokio::task::spawn_blocking(work).await.map_err(cut_off)?
    }
}

impl Opened {
    /// The name of the producer that a stripe is.
    pub(super) fn producer(&self, stripe: &Stripe) -> String {
        producer(&self.entry, self.form, stripe.number)
    }

    /// From now on no more of the file is sent.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether that is so.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// A place of a stripe in words.
    pub(super) fn place(&self, stripe: &Stripe, at: Option<u64>) -> String {
        let at = at.unwrap_or(0);
        match stripe.run {
            Run::Whole => "the whole".to_owned(),
            Run::RowGroups { first, end } => format!("from row {at} of row groups {first} to {} on", end - 1),
            Run::Lines { from, .. } => format!("from byte {} on", at.max(from)),
            Run::All if self.form.format.is_text() => format!("from byte {at} on"),
            Run::All => format!("from row {at} on"),
        }
    }
}

fn cut(input: &Input, form: Form) -> Result<(Vec<Stripe>, Option<ArrowReaderMetadata>)> {
    let Some(stored) = input.stored() else { return Ok((one(Run::All, 0), None)) };
    let size = stored.size();
    if size == 0 {
        return Ok((Vec::new(), None));
    }
    Ok(match (form.format, form.compression) {
        (Format::Ndjson, Compression::Plain) if is_list(stored)? => (one(list(size)?, size), None),
        (Format::Ndjson, Compression::Plain) => (lines(size, STRIPE_BYTES), None),
        (Format::Parquet, _) => {
            let footer = ArrowReaderMetadata::load(stored, ArrowReaderOptions::new()).map_err(unreadable)?;
            let groups = footer.metadata().row_groups().iter().map(|group| group.compressed_size());
            let groups: Vec<u64> = groups.map(|bytes| u64::try_from(bytes).unwrap_or(0)).collect();
            (row_groups(&groups, ROW_GROUPS_BYTES), Some(footer))
        }
        (Format::Avro, _) if size <= WHOLE_AVRO_BYTES => (one(Run::Whole, size), None),
        _ => (one(Run::All, size), None),
    })
}

/// Whether JSON is a list, which no line end parts.
fn is_list(stored: &Stored) -> Result<bool> {
    let first = stored.first(64)?;
    Ok(first.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'['))
}

fn list(size: u64) -> Result<Run> {
    if size > WHOLE_BYTES_MAX as u64 {
        return Err(Error::invalid(format!(
            "The file is one JSON list of {size} bytes, and more than {WHOLE_BYTES_MAX} are not sent at once: write one \
             object a line instead (jq -c '.[]')"
        )));
    }
    Ok(Run::Whole)
}

fn one(run: Run, bytes: u64) -> Vec<Stripe> {
    vec![Stripe { number: 0, run, bytes }]
}

/// The stripes of a file of lines.
fn lines(size: u64, most: u64) -> Vec<Stripe> {
    let mut stripes = Vec::new();
    let mut from = 0;
    while from < size {
        let to = (from + most).min(size);
        stripes.push(Stripe { number: stripes.len(), run: Run::Lines { from, to }, bytes: to - from });
        from = to;
    }
    stripes
}

/// The stripes of row groups of these sizes.
fn row_groups(sizes: &[u64], most: u64) -> Vec<Stripe> {
    let mut stripes = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (group, size) in sizes.iter().enumerate() {
        bytes += size;
        if bytes >= most || group + 1 == sizes.len() {
            let run = Run::RowGroups { first, end: group + 1 };
            stripes.push(Stripe { number: stripes.len(), run, bytes });
            (first, bytes) = (group + 1, 0);
        }
    }
    stripes
}

/// The name of the producer that a stripe of a file is.
fn producer(entry: &Entry, form: Form, stripe: usize) -> String {
    let size = entry.size.to_string();
    let (format, compression) = (form.format.as_str(), form.compression.as_str());
    let mut digest = Context::new(&SHA256);
    for part in [GEOMETRY, &entry.location, &size, &entry.version, format, compression] {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    let digest = digest.finish();
    let hex: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("file-{hex}-{stripe}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_fixed_places() {
        let run = |from, to| Run::Lines { from, to };
        for (size, runs) in [
            (0, vec![]),
            (1, vec![run(0, 1)]),
            (100, vec![run(0, 100)]),
            (101, vec![run(0, 100), run(100, 101)]),
            (250, vec![run(0, 100), run(100, 200), run(200, 250)]),
        ] {
            let stripes = lines(size, 100);
            assert_eq!(stripes.iter().map(|stripe| stripe.bytes).sum::<u64>(), size);
            assert_eq!(stripes.into_iter().map(|stripe| stripe.run).collect::<Vec<_>>(), runs, "{size}");
        }
    }

    #[test]
    fn row_groups_go_together_until_they_are_many() {
        for (sizes, runs) in [
            (vec![], vec![]),
            (vec![5], vec![(0, 1)]),
            (vec![5, 5, 5], vec![(0, 2), (2, 3)]),
            (vec![50, 1, 1], vec![(0, 1), (1, 3)]),
            (vec![0, 0, 0], vec![(0, 3)]),
        ] {
            let found = row_groups(&sizes, 10).into_iter().map(|stripe| match stripe.run {
                Run::RowGroups { first, end } => (first, end),
                other => panic!("{other:?}"),
            });
            assert_eq!(found.collect::<Vec<_>>(), runs, "{sizes:?}");
        }
    }

    #[test]
    fn a_producer_is_one_stripe_of_one_state_of_a_file() {
        let entry = |location: &str, size, version: &str| Entry {
            shown: "x".to_owned(),
            location: location.to_owned(),
            size,
            version: version.to_owned(),
            etag: None,
        };
        let dialect = Dialect::of(Format::Csv, &[]);
        let csv = Form { format: Format::Csv, compression: Compression::Plain, dialect };
        let tsv = Form { format: Format::Tsv, ..csv };
        let mut known = std::collections::HashSet::new();
        for (entry, form, stripe) in [
            (entry("/a", 1, "1"), csv, 0),
            (entry("/a", 1, "1"), csv, 1),
            (entry("/a", 1, "1"), tsv, 0),
            (entry("/a", 1, "2"), csv, 0),
            (entry("/a", 11, ""), csv, 0),
            (entry("/b", 1, "1"), csv, 0),
        ] {
            let name = producer(&entry, form, stripe);
            assert_eq!(name, producer(&entry, form, stripe));
            assert!(name.len() <= 200 && name.bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
            assert!(known.insert(name), "{entry:?}");
        }
    }

    #[test]
    fn a_list_is_sent_whole_or_not_at_all() {
        assert_eq!(list(1).expect("small"), Run::Whole);
        assert!(list(u64::MAX).is_err());
    }
}
