//! Group commit: requests of one table share snapshots (CONTRACT §7).
//!
//! While a commit of a table is in flight, the rows that arrive for it gather; they are the next commit. Nobody waits for
//! a timer. A request fails for its own reasons only: rows decoded against different schemas are committed apart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use tokio::sync::oneshot;

use super::flush::{Flushed, Lists, Target, flush, lists};
use super::memory::Reserved;
use super::partition::TOO_MANY_FILES;
use crate::catalog::Catalog;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// Rows that wait for a commit, and who waits with them.
#[derive(Debug)]
struct Waiting {
    target: Target,
    rows: RecordBatch,
    answer: oneshot::Sender<Result<Flushed>>,
    /// The memory that the rows take; given back when they are committed.
    memory: Reserved,
}

/// The tables that have rows waiting or a commit in flight, by identity. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    catalog: Catalog,
    lists: Lists,
    waiting: Arc<Mutex<HashMap<String, Vec<Waiting>>>>,
}

impl Groups {
    pub(super) fn new(catalog: Catalog) -> Self {
        Self { catalog, lists: lists(), waiting: Arc::default() }
    }

    /// Adds rows to the table's next commit and says how to hear of it.
    pub(super) fn submit(
        &self,
        target: Target,
        rows: RecordBatch,
        memory: Reserved,
    ) -> oneshot::Receiver<Result<Flushed>> {
        let (answer, heard) = oneshot::channel();
        let uuid = target.uuid.clone();
        let entry = Waiting { target, rows, answer, memory };
        let idle = {
            let mut waiting = self.locked();
            let idle = !waiting.contains_key(&uuid);
            waiting.entry(uuid.clone()).or_default().push(entry);
            idle
        };
        if idle {
            let groups = self.clone();
            drop(self.catalog.works().spawn(async move { groups.run(uuid).await }));
        }
        heard
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits what waits for a table until nothing does.
    async fn run(self, uuid: String) {
        loop {
            let name =
                self.locked().get(&uuid).and_then(|entries| entries.first()).map(|first| first.target.name.clone());
            if let Some(name) = name {
                self.catalog.give_way(&name).await;
            }
            let batch = {
                let mut waiting = self.locked();
                match waiting.get_mut(&uuid) {
                    Some(entries) if !entries.is_empty() => {
                        let most = entries.len().min(limits::GROUP_REQUESTS_MAX);
                        entries.drain(..most).collect::<Vec<_>>()
                    }
                    _ => {
                        waiting.remove(&uuid);
                        return;
                    }
                }
            };
            let mut groups = alike(batch);
            while let Some(group) = groups.pop() {
                groups.extend(self.commit(group).await);
            }
        }
    }

    /// Commits a group. What comes back is still to be done: requests that are too much together, one half and the other.
    async fn commit(&self, mut group: Vec<Waiting>) -> Vec<Vec<Waiting>> {
        let Some(target) = group.first().map(|first| first.target.clone()) else { return Vec::new() };
        let rows: Vec<RecordBatch> = group.iter().map(|one| one.rows.clone()).collect();
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        let started = clock::tick();
        // In a task of its own, so that a fault in one commit does not end the table's queue.
        let work = {
            let (catalog, lists, target) = (self.catalog.clone(), self.lists.clone(), target.clone());
            tokio::spawn(async move { flush(&catalog, &lists, &target, rows).await })
        };
        let outcome = work.await.unwrap_or_else(|error| {
            Err(Error::new(Kind::CommitUnknown, "The commit was cut off by a fault of the server").because(error))
        });
        if group.len() > 1 && outcome.as_ref().is_err_and(|error| error.code() == Some(TOO_MANY_FILES)) {
            let half = group.split_off(group.len() / 2);
            return vec![half, group];
        }
        match &outcome {
            Ok(flushed) => {
                metrics::counter!("iceberg_batches_committed_total").increment(1);
                metrics::counter!("iceberg_records_written_total").increment(count as u64);
                metrics::counter!("iceberg_bytes_written_total").increment(flushed.bytes);
                metrics::histogram!("iceberg_records_per_batch").record(count_of(count));
                metrics::histogram!("iceberg_commit_duration_seconds").record(started.elapsed().as_secs_f64());
                tracing::debug!(table = %target.name, rows = count, requests = group.len(), snapshot = flushed.snapshot_id, "rows committed");
            }
            Err(error) => {
                metrics::counter!("floeberg_write_failures_total", "stage" => "commit").increment(1);
                tracing::warn!(table = %target.name, rows = count, requests = group.len(), error = error.chain(), "rows could not be committed");
            }
        }
        for one in group {
            drop(one.memory);
            drop(one.answer.send(match &outcome {
                Ok(flushed) => Ok(*flushed),
                Err(error) => Err(error.copy()),
            }));
        }
        Vec::new()
    }
}

/// A count as a histogram takes it; past 2^32 it no longer matters how many.
fn count_of(rows: usize) -> f64 {
    f64::from(u32::try_from(rows).unwrap_or(u32::MAX))
}

/// Requests whose rows have the same columns, in the order they came.
fn alike(batch: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let mut groups: Vec<Vec<Waiting>> = Vec::new();
    for one in batch {
        let same = |group: &Vec<Waiting>| {
            group.first().is_some_and(|first| {
                first.target.schema_id == one.target.schema_id && first.target.name == one.target.name
            })
        };
        match groups.iter().position(same) {
            Some(at) => groups[at].push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}
