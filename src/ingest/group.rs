//! Group commit: requests of one table share snapshots (CONTRACT §7).
//!
//! While a commit of a table is in flight, the rows that arrive for it gather; they are the next commit. Nobody waits for
//! a timer. A request fails for its own reasons only: rows that were read against an earlier schema are brought under the
//! one that the table has now, or refused alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use tokio::sync::oneshot;

use super::flush::{Flushed, Lists, SCHEMA_CHANGED, Target, flush, lists, schema_changed};
use super::intake::{fields_of, lifted};
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
    rows: Vec<RecordBatch>,
    answer: oneshot::Sender<Result<Flushed>>,
    /// The memory that the rows take; given back when they are committed.
    memory: Reserved,
    /// How often the table's columns changed under it.
    tries: usize,
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
        rows: Vec<RecordBatch>,
        memory: Reserved,
    ) -> oneshot::Receiver<Result<Flushed>> {
        let (answer, heard) = oneshot::channel();
        let uuid = target.uuid.clone();
        let entry = Waiting { target, rows, answer, memory, tries: 0 };
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

    /// Commits a group. What comes back is still to be done: requests that are too much together, one half and the other;
    /// or the whole, where the table's columns changed under it.
    async fn commit(&self, group: Vec<Waiting>) -> Vec<Vec<Waiting>> {
        let (target, mut group) = match self.under_one_schema(group).await {
            Some(aligned) => aligned,
            None => return Vec::new(),
        };
        let rows: Vec<RecordBatch> = group.iter().flat_map(|one| one.rows.iter().cloned()).collect();
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
        match outcome.as_ref().err().and_then(Error::code) {
            Some(TOO_MANY_FILES) if group.len() > 1 => {
                let half = group.split_off(group.len() / 2);
                return vec![half, group];
            }
            Some(SCHEMA_CHANGED) if group.iter_mut().all(Waiting::may_try_again) => return vec![group],
            _ => {}
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
        group.into_iter().for_each(|one| {
            one.answer(match &outcome {
                Ok(flushed) => Ok(*flushed),
                Err(error) => Err(error.copy()),
            })
        });
        Vec::new()
    }

    /// The requests' rows under the columns that the table has now. Those that cannot be are answered.
    async fn under_one_schema(&self, group: Vec<Waiting>) -> Option<(Target, Vec<Waiting>)> {
        let first = group.first()?.target.clone();
        let present = async {
            let table = self.catalog.load_table(&first.name).await?;
            let schema = table.metadata.current_schema()?;
            Ok((Target { schema_id: schema.schema_id, ..first }, fields_of(schema)?))
        };
        let (target, fields) = match present.await {
            Ok(present) => present,
            Err(error) => {
                group.into_iter().for_each(|one| one.answer(Err(Error::copy(&error))));
                return None;
            }
        };
        let mut aligned = Vec::with_capacity(group.len());
        for mut one in group {
            if one.target.schema_id != target.schema_id {
                match lifted(std::mem::take(&mut one.rows), &fields) {
                    Ok(Some(rows)) => one.rows = rows,
                    Ok(None) => {
                        one.answer(Err(schema_changed()));
                        continue;
                    }
                    Err(error) => {
                        one.answer(Err(error));
                        continue;
                    }
                }
                one.target = target.clone();
            }
            aligned.push(one);
        }
        (!aligned.is_empty()).then_some((target, aligned))
    }
}

impl Waiting {
    fn answer(self, outcome: Result<Flushed>) {
        drop(self.memory);
        drop(self.answer.send(outcome));
    }

    /// Whether it is worth looking at the table's columns once more; asked at most so many times.
    fn may_try_again(&mut self) -> bool {
        self.tries += 1;
        self.tries < limits::SPLITS_MAX
    }
}

/// A count as a histogram takes it; past 2^32 it no longer matters how many.
fn count_of(rows: usize) -> f64 {
    f64::from(u32::try_from(rows).unwrap_or(u32::MAX))
}

/// Requests that name the table alike, in the order they came.
fn alike(batch: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let mut groups: Vec<Vec<Waiting>> = Vec::new();
    for one in batch {
        let same = |group: &Vec<Waiting>| group.first().is_some_and(|first| first.target.name == one.target.name);
        match groups.iter().position(same) {
            Some(at) => groups[at].push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}
