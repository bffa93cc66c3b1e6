//! Commits that bring objects along: the door for ingest and maintenance.
//!
//! Whoever adds files knows what to write only when the table's turn has come: sequence numbers and the list of manifests
//! depend on the state that is built upon. So it hands over a function of that state. Its objects and the metadata file
//! go up in one parallel round; only the swap waits for all of them.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, join, join_all, try_join_all};
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

/// One table of a commit.
pub struct Brought<'a> {
    /// Its name.
    pub name: TableName,
    /// Objects that are in the warehouse already for this commit alone.
    pub put: Vec<String>,
    /// What is to be committed.
    pub prepare: Prepare<'a>,
}

impl std::fmt::Debug for Brought<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Brought").field("name", &self.name).field("put", &self.put).finish_non_exhaustive()
    }
}

/// A table of a commit, ready to be put.
enum Ready {
    File(Arc<TableRow>, Box<NewFile>, Vec<(String, Bytes)>),
    /// Nothing is to be done.
    Same(Arc<Loaded>),
}

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

    /// Commits to several tables at once, all or none: to each what its `prepare` makes of it, trying again when the swap was
    /// lost. They are prepared in the order they come in. If it certainly did not happen, all that was put for it is queued
    /// for deletion. The caller sees to it that this runs to its end. Returns the tables as they are then.
    pub async fn commit_prepared(&self, tables: &[Brought<'_>]) -> Result<Vec<Arc<Loaded>>> {
        let names: HashSet<&TableName> = tables.iter().map(|one| &one.name).collect();
        if names.len() < tables.len() {
            return Err(Error::internal("A table stands twice in one commit"));
        }
        let mut put: Vec<HashSet<String>> = tables.iter().map(|one| one.put.iter().cloned().collect()).collect();
        let outcome = self.prepared_until_settled(tables, &mut put).await;
        self.cleaned_up(outcome, || put.into_iter().flatten().collect()).await
    }

    async fn prepared_until_settled(
        &self,
        tables: &[Brought<'_>],
        put: &mut [HashSet<String>],
    ) -> Result<Vec<Arc<Loaded>>> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let rows = try_join_all(tables.iter().map(|one| self.find(&one.name))).await?;
            let _turn = self.sequencer.enter(rows.iter().map(|row| Arc::clone(&row.id)).collect()).await;
            let now_ms = self.clock.now_ms();
            let mut ready = Vec::with_capacity(tables.len());
            let mut alongside = Alongside::default();
            for (one, put) in tables.iter().zip(&*put) {
                let (file, objects) = match self.made_ready(one, put, &mut alongside, now_ms).await? {
                    Ready::File(row, file, objects) => ((row, file), objects),
                    Ready::Same(base) if tables.len() == 1 => return Ok(vec![base]),
                    Ready::Same(_) => return Err(Error::internal("A table of several came out unchanged")),
                };
                ready.push((file, objects));
            }
            failpoint::at("append.prepared")?;
            let started = clock::tick();
            let rounds = ready.iter_mut().zip(&mut *put).map(|(((_, file), objects), put)| {
                let objects = std::mem::take(objects);
                self.put_round(file, objects, put)
            });
            // All are waited for, also when one fails: a put that is cut off may land after its file was cleaned up.
            join_all(rounds).await.into_iter().collect::<Result<()>>()?;
            failpoint::at("append.put")?;
            let put_after = started.elapsed();
            let files: Vec<(Arc<TableRow>, Box<NewFile>)> = ready.into_iter().map(|(file, _)| file).collect();
            let won = self.swap_files(&files, alongside, now_ms).await?;
            for (phase, took) in [("upload", put_after), ("swap", started.elapsed() - put_after)] {
                metrics::histogram!("floeberg_iceberg_commit_seconds", "phase" => phase).record(took.as_secs_f64());
            }
            if won {
                failpoint::passed("append.swapped");
                let loaded: Vec<Arc<Loaded>> = files.into_iter().map(|(_, file)| self.settled(*file)).collect();
                self.put_hints(tables.iter().map(|one| &one.name).zip(&loaded)).await;
                return Ok(loaded);
            }
            metrics::counter!("floeberg_iceberg_commit_conflicts_total").increment(1);
        }
        let name = tables.first().map(|one| one.name.to_string()).unwrap_or_default();
        Err(Error::conflict(format!("Table was changed concurrently: {name}")))
    }

    /// The metadata file of one table of a commit, and the objects that it needs.
    async fn made_ready(
        &self,
        one: &Brought<'_>,
        put: &HashSet<String>,
        alongside: &mut Alongside,
        now_ms: i64,
    ) -> Result<Ready> {
        let row = self.find(&one.name).await?;
        let base = self.load_row(&row).await?;
        let prepared = (one.prepare)(Arc::clone(&row), Arc::clone(&base)).await?;
        let Outcome::Changed(next) = prepared.change.apply(Some(&base.metadata), now_ms)? else {
            return Ok(Ready::Same(base));
        };
        self.check_places(Some(&base.metadata), &next)?;
        let file = self.new_file(*next, Some(&row), Some(&base))?;
        let used: HashSet<&String> = prepared.objects.iter().map(|(location, _)| location).collect();
        // What earlier attempts put and this one has no use for.
        alongside.doomed.extend(put.iter().filter(|location| !used.contains(location)).cloned());
        alongside.doomed.extend(file.doomed.iter().cloned());
        alongside.join(prepared.alongside);
        Ok(Ready::File(row, Box::new(file), prepared.objects))
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
    async fn swap_files(
        &self,
        files: &[(Arc<TableRow>, Box<NewFile>)],
        alongside: Alongside,
        now_ms: i64,
    ) -> Result<bool> {
        let step = |(row, file): &(Arc<TableRow>, Box<NewFile>)| Step::Replace {
            from: Arc::clone(row),
            to: self.pointer_to(&file.metadata, &file.location),
        };
        match self.swap_steps(files.iter().map(step).collect(), alongside, now_ms).await {
            Ok(Verdict::Applied(_)) => Ok(true),
            Ok(Verdict::Refused(Refusal::Moved(_))) => Ok(false),
            Ok(Verdict::Refused(refusal)) => Err(refused(&refusal)),
            Err(error) if error.kind() == Kind::CommitUnknown => match files.first() {
                // They change together: where one is, all are.
                Some((row, file)) => self.look_again(row, file, error).await,
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}
