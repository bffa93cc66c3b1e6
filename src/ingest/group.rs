//! Group commit: requests of one table share snapshots (CONTRACT §7).
//!
//! A request fails for its own reasons only: rows that were read against an earlier schema are brought under the one that
//! the table has now, or refused alone. Rows that are acknowledged are not refused. They follow a table that is renamed; of
//! a column that is gone they lose the values; where the table is gone, or nothing of it fits them, they are counted and
//! reported.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Fields;

use super::beside::AlignedBeside;
use super::columns::Shape;
use super::counts::count_of;
use super::flush::{Companions, Flushed, Part, Rows, SCHEMA_CHANGED, Target, flush, schema_changed};
use super::held::{self, Held};
use super::intake::lifted;
use super::judge::{Fate, Judged, mark_of, receipt_of};
use super::partition::TOO_MANY_FILES;
use super::queue::Queues;
use super::receipt::Receipt;
use super::waiting::{Carried, Waiting, Whom};
use crate::catalog::Loaded;
use crate::catalog::append::KNOWN;
use crate::clock;
use crate::error::{Error, Kind, Result, What};
use crate::limits;
use crate::names::Tabular;
use crate::store::swap::Alongside;

/// What is still to be done of a group.
enum Left {
    Nothing,
    /// These groups, now, in this order.
    Again(Vec<Vec<Waiting>>),
    /// Rows that are acknowledged, when it may go better.
    Later(Vec<Waiting>),
}

impl Queues {
    /// Commits a batch of one table in its order. What comes back is acknowledged and could not be committed now.
    pub(super) async fn commit_in_order(&self, batch: Vec<Waiting>) -> Vec<Waiting> {
        let mut todo: VecDeque<Vec<Waiting>> = alike(batch).into();
        while let Some(group) = todo.pop_front() {
            match self.commit(group).await {
                Left::Nothing => {}
                Left::Again(groups) => groups.into_iter().rev().for_each(|group| todo.push_front(group)),
                Left::Later(mut left) => {
                    // What comes behind it in the log may not be committed before it.
                    left.extend(todo.into_iter().flatten());
                    return left;
                }
            }
        }
        Vec::new()
    }

    async fn commit(&self, group: Vec<Waiting>) -> Left {
        let (target, group) = match self.under_one_schema(group).await {
            Aligned::Under(target, group) => (target, group),
            Aligned::Renamed(group) => return Left::Again(vec![group]),
            Aligned::Failed(group, error) => return self.failed(group, &error),
        };
        let (beside, group) = match self.beside_under_one_schema(group).await {
            AlignedBeside::Under(targets, group) => (targets, group),
            AlignedBeside::Changed(group) => return Left::Again(alike(group)),
            AlignedBeside::Failed(group, error) => return self.failed(group, &error),
        };
        let (mut judged, companions) = match self.judge(group).await {
            Ok(judged) => judged,
            Err((group, error)) => return self.failed(group, &error),
        };
        let outcome = self.write(parts_of(&judged, target.clone(), beside), companions).await;
        match outcome.as_ref().err().and_then(Error::code) {
            Some(TOO_MANY_FILES) if judged.len() > 1 => {
                let rest = judged.split_off(judged.len() / 2);
                return Left::Again(vec![waiting_of(judged), waiting_of(rest)]);
            }
            Some(SCHEMA_CHANGED | KNOWN) if judged.iter_mut().all(|one| one.waiting.may_try_again()) => {
                return Left::Again(vec![waiting_of(judged)]);
            }
            _ => {}
        }
        match outcome {
            Ok(flushed) => {
                self.note(&target.row, None);
                judged.into_iter().for_each(|one| self.settle(one, &flushed));
                Left::Nothing
            }
            Err(error) => self.failed(waiting_of(judged), &error),
        }
    }

    /// Writes the rows of a group, and what is to be known once they are.
    async fn write(&self, parts: Vec<Part>, companions: Companions) -> Result<Vec<Option<Flushed>>> {
        let Some(own) = parts.first() else { return Err(Error::internal("A group has no table")) };
        let (name, count) = (own.target.name.clone(), parts.iter().map(|part| part.rows.count).sum::<usize>());
        if count == 0 {
            self.catalog.keep(companions.alongside(&self.catalog, &[])?).await?;
            let table = self.catalog.load_table(&name).await?;
            return Ok(vec![Flushed::current(&table.metadata)]);
        }
        let names: Vec<String> = parts.iter().map(|part| part.target.name.joined()).collect();
        let started = clock::tick();
        // In a task of its own, so that a fault in one commit does not end the table's queue.
        let work = {
            let (catalog, known) = (self.catalog.clone(), self.known.clone());
            tokio::spawn(async move { flush(&catalog, &known, parts, &companions).await })
        };
        let outcome = work.await.unwrap_or_else(|error| {
            Err(Error::new(Kind::CommitUnknown, "The commit was cut off by a fault of the server").because(error))
        });
        match &outcome {
            Ok(flushed) => {
                metrics::counter!("iceberg_batches_committed_total").increment(1);
                metrics::counter!("iceberg_records_written_total").increment(count as u64);
                let bytes = flushed.iter().flatten().map(|one| one.bytes).sum();
                metrics::counter!("iceberg_bytes_written_total").increment(bytes);
                metrics::histogram!("iceberg_records_per_batch").record(count_of(count));
                metrics::histogram!("iceberg_commit_duration_seconds").record(started.elapsed().as_secs_f64());
                for (table, one) in names.iter().zip(flushed.iter().copied()) {
                    one.iter().for_each(|one| self.counts.snapshots(table, one.snapshots));
                }
                tracing::debug!(table = %name, rows = count, "rows committed");
            }
            Err(error) => {
                metrics::counter!("floeberg_write_failures_total", "stage" => "commit").increment(1);
                tracing::warn!(table = %name, rows = count, error = error.chain(), "rows could not be committed");
            }
        }
        outcome
    }

    /// Tells those who wait; what is acknowledged is left.
    fn failed(&self, group: Vec<Waiting>, error: &Error) -> Left {
        if let Some(first) = group.first() {
            self.note(&first.target.row, Some(error));
        }
        let mut left = Vec::new();
        for mut waiting in group {
            if error.kind() == Kind::CommitUnknown && waiting.would_be_doubled() {
                self.report(&waiting, "nobody knows whether they are committed");
                waiting.settle(Err(error.copy()));
            } else if waiting.is_acknowledged() {
                waiting.tries += 1;
                left.push(waiting);
            } else {
                waiting.settle(Err(error.copy()));
            }
        }
        if left.is_empty() { Left::Nothing } else { Left::Later(left) }
    }

    /// A table as it is now; an error if another one has its name, or nothing.
    pub(super) async fn present(&self, target: &Target) -> Result<Arc<Loaded>> {
        let table = self.catalog.load_table(&target.name).await?;
        let row = self.catalog.find(&target.name).await?;
        if row.id != target.row || *row.uuid != *target.uuid {
            return Err(Tabular::Table.missing(&target.name));
        }
        Ok(table)
    }

    /// The requests' rows under the columns that the table has now. Those that cannot be are answered.
    async fn under_one_schema(&self, group: Vec<Waiting>) -> Aligned {
        let Some(first) = group.first().map(|one| one.target.clone()) else {
            return Aligned::Failed(group, schema_changed());
        };
        let present = async {
            let table = self.present(&first).await?;
            let schema = table.metadata.current_schema()?;
            let older = group.iter().any(|one| one.target.schema_id != schema.schema_id);
            let fields = if older { Shape::of(schema)?.arrow.fields().clone() } else { Fields::empty() };
            Ok::<_, Error>((schema.schema_id, fields))
        };
        match present.await {
            Ok((schema_id, fields)) => {
                let target = Target { schema_id, ..first };
                let mut aligned = Vec::with_capacity(group.len());
                for (at, one) in group.into_iter().enumerate() {
                    aligned.extend(align(one, &target, &fields));
                    if at % ALIGNED_AT_ONCE == ALIGNED_AT_ONCE - 1 {
                        tokio::task::yield_now().await;
                    }
                }
                Aligned::Under(target, aligned)
            }
            Err(error) if error.kind() == Kind::NotFound(What::Table) => self.follow(group, &first, &error).await,
            Err(error) => Aligned::Failed(group, error),
        }
    }

    /// Rows of a table that has another name, or is gone: those who wait are told, what is acknowledged follows it.
    async fn follow(&self, group: Vec<Waiting>, target: &Target, gone: &Error) -> Aligned {
        let (mut kept, told): (Vec<Waiting>, Vec<Waiting>) = group.into_iter().partition(Waiting::is_acknowledged);
        told.into_iter().for_each(|one| one.settle(Err(gone.copy())));
        if kept.is_empty() {
            return Aligned::Renamed(kept);
        }
        match self.catalog.name_of(&target.row, &target.uuid).await {
            Err(error) => Aligned::Failed(kept, error),
            Ok(Some(name)) => {
                kept.iter_mut().for_each(|one| one.target.name = name.clone());
                Aligned::Renamed(kept)
            }
            Ok(None) => self.bury(kept).await,
        }
    }

    /// Rows of a table that is gone: counted and reported.
    async fn bury(&self, group: Vec<Waiting>) -> Aligned {
        let mark = mark_of(group.iter(), i64::MIN);
        match self.catalog.keep(Alongside { mark, ..Alongside::default() }).await {
            // An attempt of which nobody heard has noted it.
            Err(error) if error.code() == Some(KNOWN) => {}
            Err(error) => return Aligned::Failed(group, error),
            Ok(()) => {}
        }
        for one in group {
            self.report(&one, "the table is gone");
            one.settle(Err(schema_changed()));
        }
        Aligned::Renamed(Vec::new())
    }
}

/// The rows of a group that are written: those of its table, then those of each beside it.
fn parts_of(judged: &[Judged], target: Target, beside: Vec<Target>) -> Vec<Part> {
    let written = || judged.iter().filter(|one| one.is_written()).map(|one| &one.waiting);
    let own = written().filter(|one| one.count > 0).flat_map(|one| one.rows.iter().cloned()).collect();
    // What is acknowledged must be written, and what is alone cannot be parted: the table was laid out anew since.
    let must = matches!(judged, [only] if only.waiting.is_acknowledged());
    let most_partitions = if must { usize::MAX } else { limits::FILES_PER_COMMIT_MAX };
    let rows = Rows { held: own, count: written().map(|one| one.count).sum(), most_partitions };
    let mut parts = vec![Part { target, rows: Arc::new(rows) }];
    for (at, target) in beside.into_iter().enumerate() {
        let batches = written().filter_map(|one| one.beside.get(at)).map(|beside| &beside.rows);
        let (count, held) =
            (batches.clone().map(RecordBatch::num_rows).sum(), batches.cloned().map(Held::Columns).collect());
        let awaited = !judged.iter().any(|one| one.waiting.is_acknowledged());
        let most_partitions = if awaited { limits::FILES_PER_COMMIT_MAX } else { usize::MAX };
        parts.push(Part { target, rows: Arc::new(Rows { held, count, most_partitions }) });
    }
    parts
}

/// Requests that are brought under other columns before others get a turn.
const ALIGNED_AT_ONCE: usize = 64;

/// What came of bringing a group under the table's columns.
enum Aligned {
    Under(Target, Vec<Waiting>),
    /// Its table has another name: the group, under that.
    Renamed(Vec<Waiting>),
    Failed(Vec<Waiting>, Error),
}

/// A request's rows under these columns; `None` where it was refused.
fn align(mut one: Waiting, target: &Target, fields: &Fields) -> Option<Waiting> {
    if one.target.schema_id == target.schema_id || one.count == 0 {
        return Some(one);
    }
    let acknowledged = one.is_acknowledged();
    match held::columns(&one.rows).and_then(|rows| lifted(&rows, fields, one.what_goes())) {
        Ok(Some(rows)) => {
            one.rows = rows.into_iter().map(Held::Columns).collect();
            one.target = target.clone();
        }
        _ if acknowledged => one.lost = Some("the table's columns changed"),
        Ok(None) => {
            one.settle(Err(schema_changed()));
            return None;
        }
        Err(error) => {
            one.settle(Err(error));
            return None;
        }
    }
    Some(one)
}

impl Queues {
    fn report(&self, one: &Waiting, why: &'static str) {
        self.report_rows(&one.target, one.count, why);
        one.beside.iter().for_each(|beside| self.report_rows(&beside.target, beside.rows.num_rows(), why));
    }

    /// Says that rows that were acknowledged are lost, and counts them.
    pub(super) fn report_rows(&self, target: &Target, rows: usize, why: &'static str) {
        tracing::error!(table = %target.name, rows, why, "rows that were acknowledged are lost");
        self.counts.lost(&target.name.joined(), why, rows);
    }

    /// Tells a request what became of it.
    fn settle(&self, one: Judged, flushed: &[Option<Flushed>]) {
        let Judged { waiting, fate } = one;
        let written = || receipt_of(&waiting).within(flushed);
        let receipt = match fate {
            Fate::Write => written(),
            Fate::Follow => Receipt { again: true, ..written() },
            Fate::There(receipt) => receipt,
            Fate::Lost => {
                self.report(&waiting, waiting.lost.unwrap_or("they cannot be written"));
                return waiting.settle(Err(schema_changed()));
            }
        };
        if receipt.again {
            metrics::counter!("floeberg_dedupe_hits_total").increment(1);
        }
        let verdict = if receipt.again { "duplicate" } else { "written" };
        let told = |what: Carried| if what.is_rows() { verdict } else { "rejected" };
        self.counts.rows(&receipt.place.table, told(waiting.what), waiting.count);
        for beside in &waiting.beside {
            self.counts.rows(&beside.target.name.joined(), told(beside.what), beside.rows.num_rows());
        }
        waiting.settle(Ok(receipt));
    }
}

fn waiting_of(judged: Vec<Judged>) -> Vec<Waiting> {
    judged.into_iter().map(|one| one.waiting).collect()
}

impl Waiting {
    /// Whether it is for the same tables as another.
    fn is_for_the_same_as(&self, other: &Self) -> bool {
        let beside = || self.beside.iter().zip(&other.beside).all(|(a, b)| a.target.is_alike(&b.target));
        self.target.is_alike(&other.target) && self.beside.len() == other.beside.len() && beside()
    }

    /// Whether rows that may be committed, and are tried again, would not be known for what they are.
    fn would_be_doubled(&self) -> bool {
        let counted = self.claims.producer.as_ref().is_some_and(|position| position.sequence.is_some());
        matches!(self.whom, Whom::Nobody(None)) && self.claims.key.is_none() && !counted
    }

    /// Whether it is worth looking at the table once more; at most so many times in a row.
    fn may_try_again(&mut self) -> bool {
        self.tries += 1;
        !self.tries.is_multiple_of(limits::SPLITS_MAX)
    }
}

/// Requests for one table under one name, in the order they came: a row may have become another table's meanwhile.
fn alike(batch: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let mut groups: Vec<Vec<Waiting>> = Vec::new();
    for one in batch {
        match groups.last_mut().filter(|group| group.last().is_some_and(|last| last.is_for_the_same_as(&one))) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}
