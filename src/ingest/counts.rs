//! What ingest counts, for dashboards (CONTRACT §9).
//!
//! Handles are made once and kept: making one is dearer than a small request. Names of tables are labels, up to a number of
//! them; further tables are counted together, as `other`.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Histogram, SharedString};

use super::receipt::Ack;
use crate::limits;

/// The counters of ingest. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts(Arc<Known>);

#[derive(Default)]
struct Known {
    /// What stands before the names of tables: those of another warehouse than the default have its name.
    warehouse: String,
    tables: Mutex<BTreeSet<String>>,
    /// By table, without what stands before its name: found without making a text.
    counters: RwLock<HashMap<String, Vec<(Labels, Counter)>>>,
    of_each: OnceLock<OfEach>,
}

/// What is measured of each request.
struct OfEach {
    wire: Counter,
    decoded: Counter,
    seconds: [(Ack, Histogram); 3],
}

impl OfEach {
    fn new() -> Self {
        let bytes = |stage: &'static str| metrics::counter!("floeberg_ingest_bytes_total", "stage" => stage);
        let seconds = |ack: Ack| (ack, metrics::histogram!("floeberg_ingest_request_seconds", "ack" => ack.as_str()));
        let seconds = [Ack::Commit, Ack::Wal, Ack::None].map(seconds);
        Self { wire: bytes("wire"), decoded: bytes("decoded"), seconds }
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Known")
    }
}

/// A counter of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Labels {
    name: &'static str,
    others: [(&'static str, &'static str); 3],
}

const NONE: (&str, &str) = ("", "");

/// What the tables are called together that metrics do not name.
const OTHER: &str = "other";

impl Counts {
    /// The counters of a warehouse that is not the default one.
    pub(super) fn of(warehouse: &str) -> Self {
        Self(Arc::new(Known { warehouse: format!("{warehouse}:"), ..Known::default() }))
    }

    /// A request was answered, with this code if not well.
    pub(super) fn request(&self, table: &str, (ack, format): (Ack, &'static str), code: &'static str) {
        let others = [("ack", ack.as_str()), ("format", format), ("code", code)];
        self.add("floeberg_ingest_requests_total", table, others, 1);
    }

    /// A request took so long.
    pub(super) fn took(&self, ack: Ack, long: Duration) {
        let known = self.of_each().seconds.iter().find(|(of, _)| *of == ack);
        known.into_iter().for_each(|(_, histogram)| histogram.record(long.as_secs_f64()));
    }

    /// Bytes of a body came.
    pub(super) fn received(&self, bytes: usize) {
        self.of_each().wire.increment(bytes as u64);
    }

    /// Bytes of a body were read.
    pub(super) fn decoded(&self, bytes: usize) {
        self.of_each().decoded.increment(bytes as u64);
    }

    fn of_each(&self) -> &OfEach {
        self.0.of_each.get_or_init(OfEach::new)
    }

    /// Rows were written, refused, or there already.
    pub(super) fn rows(&self, table: &str, verdict: &'static str, rows: usize) {
        let others = [("verdict", verdict), NONE, NONE];
        self.add("floeberg_ingest_rows_total", table, others, rows as u64);
    }

    /// Rows that were acknowledged are lost.
    pub(super) fn lost(&self, table: &str, why: &'static str, rows: usize) {
        let others = [("why", why), NONE, NONE];
        self.add("floeberg_ingest_rows_lost_total", table, others, rows as u64);
    }

    fn add(&self, name: &'static str, table: &str, others: [(&'static str, &'static str); 3], by: u64) {
        let labels = Labels { name, others };
        let counter = self.known(table, &labels).unwrap_or_else(|| {
            let table = if self.is_named(table) { table } else { OTHER };
            self.known(table, &labels).unwrap_or_else(|| self.make(table, labels))
        });
        counter.increment(by);
    }

    fn known(&self, table: &str, labels: &Labels) -> Option<Counter> {
        let counters = self.0.counters.read().unwrap_or_else(PoisonError::into_inner);
        counters.get(table)?.iter().find(|(of, _)| of == labels).map(|(_, counter)| counter.clone())
    }

    /// A counter of a table that is named, or of the others.
    fn make(&self, table: &str, labels: Labels) -> Counter {
        let mut pairs: Vec<(&'static str, SharedString)> = vec![("table", self.label(table).into())];
        pairs.extend(labels.others.iter().filter(|pair| **pair != NONE).map(|(key, value)| (*key, (*value).into())));
        let counter = metrics::counter!(labels.name, &pairs);
        let mut counters = self.0.counters.write().unwrap_or_else(PoisonError::into_inner);
        let of_table = counters.entry(table.to_owned()).or_default();
        // Two may have looked for the same at once.
        if of_table.iter().all(|(of, _)| *of != labels) {
            of_table.push((labels, counter.clone()));
        }
        counter
    }

    /// Whether metrics name a table: the first of them are.
    fn is_named(&self, table: &str) -> bool {
        let mut tables = self.0.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.contains(table) || (tables.len() < limits::METRIC_TABLES_MAX && tables.insert(table.to_owned()))
    }

    /// What a table is called in metrics.
    fn label(&self, table: &str) -> String {
        // No table is called so: before its name there is a namespace.
        match table != OTHER && self.is_named(table) {
            true => format!("{}{table}", self.0.warehouse),
            false => OTHER.to_owned(),
        }
    }

    /// Says for every table that was counted how long its oldest row waits.
    pub(super) fn freshness(&self, waiting: &HashMap<String, Duration>) {
        let tables = self.0.tables.lock().unwrap_or_else(PoisonError::into_inner);
        for table in tables.iter() {
            let seconds = waiting.get(table).map_or(0.0, Duration::as_secs_f64);
            let table = format!("{}{table}", self.0.warehouse);
            metrics::gauge!("floeberg_ingest_freshness_seconds", "table" => table).set(seconds);
        }
    }

    /// Says how many snapshots a table has.
    pub(super) fn snapshots(&self, table: &str, count: usize) {
        metrics::gauge!("floeberg_table_snapshots", "table" => self.label(table)).set(count_of(count));
    }
}

/// A count as a gauge or histogram takes it; past 2^32 it no longer matters how many.
pub(super) fn count_of(count: impl TryInto<u32>) -> f64 {
    f64::from(count.try_into().unwrap_or(u32::MAX))
}

/// How long a part of a commit took.
pub(super) fn phase(phase: &'static str, took: Duration) {
    metrics::histogram!("floeberg_iceberg_commit_seconds", "phase" => phase).record(took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_beyond_those_that_are_named_are_counted_together() {
        let counts = Counts::of("w");
        for number in 0..limits::METRIC_TABLES_MAX + 5 {
            counts.rows(&format!("ns.t{number}"), "written", 1);
        }
        counts.rows("ns.t0", "rejected", 1);
        let counters = counts.0.counters.read().expect("whole");
        assert_eq!(counters.len(), limits::METRIC_TABLES_MAX + 1);
        assert_eq!((counters["ns.t0"].len(), counters[OTHER].len()), (2, 1));
        let label = |number: usize| counts.label(&format!("ns.t{number}"));
        assert_eq!((label(0), label(limits::METRIC_TABLES_MAX)), ("w:ns.t0".to_owned(), OTHER.to_owned()));
    }
}
