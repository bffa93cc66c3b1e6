//! Commits: updates of one table, or of several at once.
//!
//! This is the door through which clients, ingest and maintenance change tables. All tables of a commit change together
//! in one swap or none does. See the [module above](super) for the order of steps and for what happens when one fails.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{join_all, try_join_all};

use super::change::{Change, Outcome, Trace};
use super::loaded::Spliced;
use super::metadata::TableMetadata;
use super::metadata::snapshot::MetadataLogEntry;
use super::place::Codec;
use super::{Catalog, Loaded, loaded, place, properties, refused};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::lake::Company;
use crate::limits;
use crate::names::{TableName, Tabular};
use crate::store::swap::{Alongside, NewTable, PointedFile, Pointer, Refusal, Step, Swap, Verdict};
use crate::store::tables::TableRow;

/// A change and the table it is for.
#[derive(Debug, Clone)]
pub struct TableChange {
    /// The table.
    pub name: TableName,
    /// What is to be done.
    pub change: Change,
}

/// One table of a commit, as it is and as it is to be.
#[derive(Debug)]
struct Planned {
    name: TableName,
    row: Option<Arc<TableRow>>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    /// Nothing is to be written.
    Same(Arc<Loaded>),
    /// A new metadata file is to be written.
    New(Box<NewFile>),
}

/// A metadata file that is to be written, and the earlier ones that it makes unreachable.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) location: Arc<str>,
    pub(super) metadata: TableMetadata,
    pub(super) answer: Spliced,
    pub(super) superseded: Option<Arc<str>>,
    pub(super) doomed: Vec<String>,
}

impl Catalog {
    /// Commits a change to one table and returns the table as it is then.
    pub async fn commit(&self, name: TableName, change: Change) -> Result<Arc<Loaded>> {
        let tables = self.commit_all(vec![TableChange { name, change }]).await?;
        tables.into_iter().next().ok_or_else(|| Error::internal("A commit came back without its table"))
    }

    /// Commits changes to several tables, all or none, and returns the tables as they are then.
    pub async fn commit_all(&self, changes: Vec<TableChange>) -> Result<Vec<Arc<Loaded>>> {
        if changes.len() > limits::TRANSACTION_TABLES_MAX {
            let (has, max) = (changes.len(), limits::TRANSACTION_TABLES_MAX);
            return Err(Error::new(Kind::TooLarge, format!("Transaction has {has} tables: at most {max} are allowed")));
        }
        let mut names: Vec<&TableName> = changes.iter().map(|one| &one.name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::invalid(format!("Transaction names table {} twice: merge its changes", twice[0])));
        }
        for one in &changes {
            self.check_added_files(&one.change)?;
        }
        let catalog = self.clone();
        self.detached(async move { catalog.commit_until_settled(&changes).await }).await
    }

    async fn commit_until_settled(&self, changes: &[TableChange]) -> Result<Vec<Arc<Loaded>>> {
        let mut lost = None;
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            match self.attempt(changes).await? {
                Ok(tables) => {
                    self.put_hints(changes.iter().map(|one| &one.name).zip(&tables)).await;
                    return Ok(tables);
                }
                Err(refusal) => lost = Some(refusal),
            }
        }
        Err(lost.map_or_else(|| Error::internal("No commit was attempted"), |refusal| refused(&refusal)))
    }

    /// One attempt: `Err` inside is a swap lost to another process's writer or to a drop, worth another look.
    async fn attempt(&self, changes: &[TableChange]) -> Result<Result<Vec<Arc<Loaded>>, Refusal>> {
        let first = self.rows(changes).await?;
        let ids = first.iter().flatten().map(|row| Arc::clone(&row.id)).collect();
        let _turn = self.sequencer.enter(ids).await;
        let rows = self.rows(changes).await?;
        let now_ms = self.clock.now_ms();
        let planned = match self.plan(changes, rows, now_ms).await {
            Ok(planned) => planned,
            Err(error) => {
                if let Some(tables) = self.landed(changes).await {
                    return Ok(Ok(tables));
                }
                if error.kind() == Kind::Conflict {
                    changes.iter().for_each(|one| self.courtesy.lost(&one.name));
                }
                return Err(error);
            }
        };
        let same = |next: &Next| matches!(next, Next::Same(_));
        if planned.iter().all(|one| same(&one.next)) {
            return Ok(Ok(planned.into_iter().filter_map(unchanged).collect()));
        }
        failpoint::at("commit.planned")?;
        let verdict = self.put_and_swap(&planned, now_ms).await;
        match self.cleaned_up(verdict, || written(&planned)).await? {
            Verdict::Applied(_) => {
                failpoint::passed("commit.swapped");
                changes.iter().for_each(|one| self.courtesy.won(&one.name));
                Ok(Ok(self.settle(planned)))
            }
            Verdict::Refused(refusal) => {
                self.abandon(&written(&planned)).await;
                match refusal {
                    Refusal::Moved(_) => Ok(Err(refusal)),
                    // Somebody created the table meanwhile: whether that was this very request is seen next time round.
                    Refusal::NameTaken { .. } => Ok(Err(refusal)),
                    final_ => Err(refused(&final_)),
                }
            }
        }
    }

    async fn rows(&self, changes: &[TableChange]) -> Result<Vec<Option<Arc<TableRow>>>> {
        try_join_all(changes.iter().map(|one| self.table_row(one))).await
    }

    async fn table_row(&self, one: &TableChange) -> Result<Option<Arc<TableRow>>> {
        match self.row(&one.name).await? {
            Some(row) if row.kind == Tabular::Table => Ok(Some(row)),
            Some(row) if one.change.creates() => Err(Tabular::Table.taken(&one.name, row.kind)),
            _ => Ok(None),
        }
    }

    async fn plan(
        &self,
        changes: &[TableChange],
        rows: Vec<Option<Arc<TableRow>>>,
        now_ms: i64,
    ) -> Result<Vec<Planned>> {
        let mut planned = Vec::with_capacity(changes.len());
        for (one, row) in changes.iter().zip(rows) {
            let next = self.plan_one(one, row.as_deref(), now_ms).await?;
            planned.push(Planned { name: one.name.clone(), row, next });
        }
        Ok(planned)
    }

    async fn plan_one(&self, one: &TableChange, row: Option<&TableRow>, now_ms: i64) -> Result<Next> {
        let base = match row {
            Some(row) => Some(self.load_row(row).await?),
            None if one.change.creates() => None,
            None => return Err(Tabular::Table.missing(&one.name)),
        };
        let metadata = base.as_deref().map(|loaded| &loaded.metadata);
        match (one.change.apply(metadata, now_ms)?, base) {
            (Outcome::Unchanged, Some(base)) => Ok(Next::Same(base)),
            (Outcome::Unchanged, None) => Err(Error::internal("A new table came out unchanged")),
            (Outcome::Changed(next), base) => {
                self.check_places(base.as_deref().map(|loaded| &loaded.metadata), &next)?;
                self.new_file(*next, row, base.as_deref()).map(|file| Next::New(Box::new(file)))
            }
        }
    }

    /// The file that will hold `metadata`, with its predecessor added to the log and the files that fall off it.
    pub(super) fn new_file(
        &self,
        mut metadata: TableMetadata,
        row: Option<&TableRow>,
        base: Option<&Loaded>,
    ) -> Result<NewFile> {
        metadata.table_uuid.get_or_insert_with(|| row.map_or_else(clock::new_uuid, |row| row.uuid.to_string()));
        let mut doomed = Vec::new();
        if let (Some(row), Some(base)) = (row, base) {
            let entry = MetadataLogEntry::new(Arc::clone(&row.metadata_location), base.metadata.last_updated_ms)?;
            metadata.metadata_log.push(entry);
            doomed = trim_log(&mut metadata);
        }
        let previous = row.map(|row| &*row.metadata_location);
        let version = row.map_or(0, |row| row.version + 1);
        let folder = place::metadata_folder(&metadata);
        let hint = self.hint_of(&metadata);
        // A hint that nobody keeps current any more would lead readers to what the table was.
        doomed.extend(base.and_then(|base| self.hint_of(&base.metadata)).filter(|old| hint.as_ref() != Some(old)));
        let codec = if hint.is_some() { Codec::Plain } else { Codec::of(&metadata.properties, Codec::Plain) };
        let location: Arc<str> = place::next_metadata_location(&folder, codec, previous, version).into();
        // A commit adds a snapshot and an entry of the log, seldom more.
        let likely = base.map_or(4_096, |base| base.text_bytes() + 4_096);
        let answer = self.cache.splice(&location, &metadata, likely)?;
        let superseded = row.map(|row| Arc::clone(&row.metadata_location));
        Ok(NewFile { location, metadata, answer, superseded, doomed })
    }

    async fn put_and_swap(&self, planned: &[Planned], now_ms: i64) -> Result<Verdict> {
        let files: Vec<&NewFile> = planned.iter().filter_map(Planned::file).collect();
        let company = if files.len() == 1 { Company::Alone } else { Company::Others };
        let puts = files.iter().map(|file| self.write_metadata(&file.location, file.answer.text(), company));
        // All are waited for, also when one fails: a put that is cut off may land after its file was cleaned up.
        join_all(puts).await.into_iter().collect::<Result<()>>()?;
        failpoint::at("commit.put")?;
        let steps = planned.iter().filter_map(|one| one.file().map(|file| self.step_of(one, file))).collect();
        let doomed = files.iter().flat_map(|file| file.doomed.clone()).collect();
        self.swap_steps(steps, Alongside { doomed, ..Alongside::default() }, now_ms).await
    }

    /// Swaps these steps together; the key that it is done under, if it is under one, is kept with them.
    pub(super) async fn swap_steps(&self, steps: Vec<Step>, mut alongside: Alongside, now_ms: i64) -> Result<Verdict> {
        let (brought, dooms) = (alongside.keys.len(), !alongside.doomed.is_empty());
        alongside.keys.extend(self.key_of(&steps)?);
        let warehouse = self.warehouse.name().clone();
        let verdict = self.store.swap(Swap { warehouse, steps, now_ms, alongside }).await?;
        if let Verdict::Applied(_) = verdict {
            self.keys.added(brought);
            self.kept();
            if dooms {
                self.garbage.notify_one();
            }
        }
        Ok(verdict)
    }

    /// Puts a metadata file, compressed if its name says so.
    pub(super) async fn write_metadata(&self, location: &str, text: Bytes, company: Company) -> Result<()> {
        let bytes = match Codec::of_file(location) {
            Codec::Plain => text,
            Codec::Gzip => {
                let gzipped = loaded::gzip(&text);
                gzipped.map_err(|error| Error::internal("Metadata cannot be compressed").because(error))?.into()
            }
        };
        self.warehouse.create(location, bytes, company).await
    }

    fn step_of(&self, planned: &Planned, file: &NewFile) -> Step {
        let pointer = self.pointer_to(&file.metadata, &file.location);
        match &planned.row {
            Some(row) => Step::Replace { from: Arc::clone(row), to: pointer },
            None => Step::Insert(NewTable::new(Tabular::Table, planned.name.clone(), pointer)),
        }
    }

    /// What a pointer to this metadata file says.
    pub(super) fn pointer_to(&self, metadata: &TableMetadata, metadata_location: &Arc<str>) -> Pointer {
        let uuid = metadata.table_uuid.as_deref().unwrap_or_default();
        self.pointer(uuid, &metadata.location, metadata_location)
    }

    /// A pointer to a file that is new.
    pub(super) fn pointer(&self, uuid: &str, location: &str, metadata_location: &Arc<str>) -> Pointer {
        let checked = self.warehouse.check(location);
        Pointer {
            uuid: uuid.into(),
            location: location.into(),
            location_key: checked.map_or_else(|_| format!("{location}/"), |location| location.key()),
            metadata_location: Arc::clone(metadata_location),
            file: PointedFile::New,
        }
    }

    fn settle(&self, planned: Vec<Planned>) -> Vec<Arc<Loaded>> {
        let table = |one: Planned| match one.next {
            Next::Same(loaded) => loaded,
            Next::New(file) => self.settled(*file),
        };
        planned.into_iter().map(table).collect()
    }

    /// Keeps a file that the pointer names now.
    pub(super) fn settled(&self, file: NewFile) -> Arc<Loaded> {
        if let Some(superseded) = &file.superseded {
            self.cache.forget(superseded);
        }
        self.cache.put_spliced(&file.location, file.metadata, &file.answer)
    }

    /// The tables, if the whole is seen to have landed before: the client never heard of it. They change together, so the
    /// proof of one stands for those whose changes leave no trace.
    async fn landed(&self, changes: &[TableChange]) -> Option<Vec<Arc<Loaded>>> {
        let mut tables = Vec::with_capacity(changes.len());
        let mut proven = false;
        for one in changes {
            let loaded = self.load_table(&one.name).await.ok()?;
            match one.change.trace(&loaded.metadata) {
                Trace::Missing => return None,
                Trace::Silent => {}
                Trace::Proof => proven = true,
            }
            tables.push(loaded);
        }
        proven.then_some(tables)
    }
}

impl Planned {
    fn file(&self) -> Option<&NewFile> {
        match &self.next {
            Next::Same(_) => None,
            Next::New(file) => Some(file),
        }
    }
}

fn unchanged(planned: Planned) -> Option<Arc<Loaded>> {
    match planned.next {
        Next::Same(loaded) => Some(loaded),
        Next::New(_) => None,
    }
}

fn written(planned: &[Planned]) -> Vec<String> {
    planned.iter().filter_map(Planned::file).map(|file| file.location.to_string()).collect()
}

/// Shortens the metadata log to its allowed length; the files that fall off are returned if the table wants them gone.
fn trim_log(metadata: &mut TableMetadata) -> Vec<String> {
    let most = properties::whole(&metadata.properties, "write.metadata.previous-versions-max", 100).max(1);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let over = metadata.metadata_log.len().saturating_sub(most);
    let gone: Vec<Arc<str>> = metadata.metadata_log.drain(..over).map(|entry| entry.metadata_file).collect();
    if !properties::flag(&metadata.properties, "write.metadata.delete-after-commit.enabled", false) {
        return Vec::new();
    }
    // What lies elsewhere may be another table's: a log is only text that somebody wrote.
    let own = format!("{}/", place::metadata_folder(metadata));
    let is_own = |file: &&Arc<str>| file.strip_prefix(&*own).is_some_and(|name| !name.contains('/'));
    gone.iter().filter(is_own).map(|file| file.to_string()).collect()
}
