//! Commits that bring objects along: the door for ingest and maintenance.
//!
//! Whoever adds files knows what to write only when the table's turn has come: sequence numbers and the list of manifests
//! depend on the state that is built upon. So it hands over a function of that state. Its objects and the metadata file
//! go up in one parallel round; only the swap waits for all of them.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, join};
use futures::stream;

use super::change::{Change, Outcome};
use super::commit::NewFile;
use super::{Catalog, Loaded, refused};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::lake::Company;
use crate::limits;
use crate::names::TableName;
use crate::store::DISK_FAILED;
use crate::store::swap::{Alongside, Refusal, Step, Verdict};
use crate::store::tables::TableRow;

/// What is to be committed on top of a state, and the objects it needs.
#[derive(Debug)]
pub struct Prepared {
    /// The change of the metadata.
    pub change: Change,
    /// Objects to put, by location; those put in an earlier attempt are not put again.
    pub objects: Vec<(String, Bytes)>,
    /// What is written with it: objects that nothing reaches any more, answers under keys, how far producers are.
    pub alongside: Alongside,
}

/// The code of a commit that did not happen because what was to be kept with it is there already.
pub const KNOWN: &str = "known";

/// Makes a commit out of the table's present state.
pub type Prepare<'a> = &'a (dyn Fn(Arc<TableRow>, Arc<Loaded>) -> BoxFuture<'a, Result<Prepared>> + Send + Sync);

impl Catalog {
    /// Writes what would be written with a commit, where there is nothing to commit.
    pub async fn keep(&self, alongside: Alongside) -> Result<()> {
        match self.swap_steps(Vec::new(), alongside, self.clock.now_ms()).await? {
            Verdict::Applied(_) => Ok(()),
            Verdict::Refused(refusal) => Err(refused(&refusal)),
        }
    }

    /// Commits what `prepare` makes of the table, trying again when the swap was lost. `put` names objects that are in the
    /// warehouse already for this commit alone; if it certainly did not happen, they and everything put here are queued
    /// for deletion. The caller sees to it that this runs to its end.
    pub async fn commit_prepared(
        &self,
        name: &TableName,
        put: Vec<String>,
        prepare: Prepare<'_>,
    ) -> Result<Arc<Loaded>> {
        let mut put: HashSet<String> = put.into_iter().collect();
        let outcome = self.prepared_until_settled(name, &mut put, prepare).await;
        self.cleaned_up(outcome, || put.into_iter().collect()).await
    }

    async fn prepared_until_settled(
        &self,
        name: &TableName,
        put: &mut HashSet<String>,
        prepare: Prepare<'_>,
    ) -> Result<Arc<Loaded>> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let row = self.find(name).await?;
            let _turn = self.sequencer.enter(vec![Arc::clone(&row.id)]).await;
            let row = self.find(name).await?;
            let base = self.load_row(&row).await?;
            let prepared = prepare(Arc::clone(&row), Arc::clone(&base)).await?;
            failpoint::at("append.prepared")?;
            let now_ms = self.clock.now_ms();
            let Outcome::Changed(next) = prepared.change.apply(Some(&base.metadata), now_ms)? else {
                return Ok(base);
            };
            self.check_places(Some(&base.metadata), &next)?;
            let file = self.new_file(*next, Some(&row), Some(&base))?;
            let used: HashSet<String> = prepared.objects.iter().map(|(location, _)| location.clone()).collect();
            // What earlier attempts put and this one has no use for.
            let mut alongside = prepared.alongside;
            alongside.doomed.extend(put.iter().filter(|location| !used.contains(*location)).cloned());
            let started = clock::tick();
            self.put_round(&file, prepared.objects, put).await?;
            failpoint::at("append.put")?;
            let put_after = started.elapsed();
            let won = match self.swap_file(Arc::clone(&row), &file, alongside, now_ms).await {
                Err(error) if error.kind() == Kind::CommitUnknown => self.look_again(&row, &file, error).await?,
                known => known?,
            };
            for (phase, took) in [("upload", put_after), ("swap", started.elapsed() - put_after)] {
                metrics::histogram!("floeberg_iceberg_commit_seconds", "phase" => phase).record(took.as_secs_f64());
            }
            if won {
                failpoint::passed("append.swapped");
                let loaded = self.settled(file);
                self.put_hints([(name, &loaded)]).await;
                return Ok(loaded);
            }
            metrics::counter!("floeberg_iceberg_commit_conflicts_total").increment(1);
        }
        Err(Error::conflict(format!("Table was changed concurrently: {name}")))
    }

    /// Whether a swap of unknown outcome was won, where that can be seen; else the error it came with.
    async fn look_again(&self, from: &TableRow, file: &NewFile, unknown: Error) -> Result<bool> {
        let seen = async {
            self.store.ping().await?;
            let row = self.find(&from.name).await?;
            if row.metadata_location == file.location {
                return Ok::<_, Error>(Some(true));
            }
            if row.metadata_location == from.metadata_location {
                // Whoever has the database alone sees all that will ever come of it, unless the disk failed.
                let sure = self.store.is_ours_alone() && unknown.code() != Some(DISK_FAILED);
                return Ok(sure.then_some(false));
            }
            let log = &self.load_row(&row).await?.metadata.metadata_log;
            Ok(log.iter().any(|entry| entry.metadata_file == file.location).then_some(true))
        };
        match seen.await {
            Ok(Some(true)) => Ok(true),
            Ok(Some(false)) => Err(unknown.as_kind(Kind::Unavailable)),
            Ok(None) | Err(_) => Err(unknown),
        }
    }

    /// Puts the metadata file and every object that is not there yet, all at once.
    async fn put_round(&self, file: &NewFile, objects: Vec<(String, Bytes)>, put: &mut HashSet<String>) -> Result<()> {
        let fresh: Vec<(String, Bytes)> = objects.into_iter().filter(|(location, _)| !put.contains(location)).collect();
        put.extend(fresh.iter().map(|(location, _)| location.clone()));
        put.insert(file.location.to_string());
        // All are waited for, also when one fails: a put that is cut off may land after its file was cleaned up.
        let objects = stream::iter(fresh)
            .map(|(location, bytes)| async move { self.warehouse.create(&location, bytes, Company::Others).await })
            .buffer_unordered(limits::LAKE_CONCURRENCY)
            .collect::<Vec<Result<()>>>();
        let metadata = self.write_metadata(&file.location, file.answer.text(), Company::Others);
        let (objects, metadata) = join(objects, metadata).await;
        objects.into_iter().chain([metadata]).collect()
    }

    /// Whether the swap was won.
    async fn swap_file(
        &self,
        row: Arc<TableRow>,
        file: &NewFile,
        mut alongside: Alongside,
        now_ms: i64,
    ) -> Result<bool> {
        let to = self.pointer_to(&file.metadata, &file.location);
        alongside.doomed.extend(file.doomed.iter().cloned());
        match self.swap_steps(vec![Step::Replace { from: row, to }], alongside, now_ms).await? {
            Verdict::Applied(_) => Ok(true),
            Verdict::Refused(Refusal::Moved(_)) => Ok(false),
            Verdict::Refused(refusal) => Err(refused(&refusal)),
        }
    }
}
