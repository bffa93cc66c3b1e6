//! Tables come and go: create, register, drop, rename.

use std::sync::Arc;

use super::create::Description;
use super::metadata::TableMetadata;
use super::{Catalog, Loaded, place, properties, refused};
use crate::clock;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::lake::Company;
use crate::limits;
use crate::names::{TableName, Tabular};
use crate::store::swap::{Alongside, NewTable, PointedFile, Refusal, Removal, Step, Verdict};
use crate::store::tables::TableRow;

/// A table that somebody wants created.
#[derive(Debug, Clone)]
pub struct NewTableRequest {
    /// Its name.
    pub name: TableName,
    /// What it is to be.
    pub description: Description,
    /// Where its files are to go; chosen here if not said.
    pub location: Option<String>,
    /// Whether it is to exist at once, or to be created by a later commit.
    pub creation: Created,
}

/// When a table comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// At once.
    Now,
    /// By a commit that the client sends later; nothing is kept until then.
    Staged,
}

/// What becomes of the files of something that is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// They stay, out of sight.
    Stay,
    /// What only it can reach is deleted.
    Go,
}

/// A metadata file that is to be registered as a table.
#[derive(Debug, Clone)]
pub struct Register {
    /// The table's name.
    pub name: TableName,
    /// The metadata file.
    pub metadata_location: String,
    /// Whether a table of that name is to point there instead.
    pub overwrite: bool,
}

impl Catalog {
    /// Creates or stages a table.
    pub async fn create_table(&self, request: NewTableRequest) -> Result<Arc<Loaded>> {
        self.namespace_exists(&request.name.namespace).await?;
        self.is_free(Tabular::Table, &request.name).await?;
        let catalog = self.clone();
        self.detached(async move {
            match request.creation {
                Created::Staged => catalog.stage(&request).await,
                Created::Now => catalog.create_until_settled(&request).await,
            }
        })
        .await
    }

    async fn stage(&self, request: &NewTableRequest) -> Result<Arc<Loaded>> {
        let metadata = self.describe(request).await?;
        self.make_folders(&metadata).await?;
        let staged = self.cache.staged(metadata)?;
        self.remember_staged(&request.name, &staged).await?;
        Ok(staged)
    }

    async fn create_until_settled(&self, request: &NewTableRequest) -> Result<Arc<Loaded>> {
        let mut lost = None;
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let metadata = self.describe(request).await?;
            match self.insert(&request.name, metadata).await? {
                Ok(loaded) => return Ok(loaded),
                // A location that we chose was taken meanwhile: choose again.
                Err(refusal @ Refusal::LocationTaken(_)) if request.location.is_none() => lost = Some(refusal),
                Err(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(lost.map_or_else(|| Error::internal("No location was tried"), |refusal| refused(&refusal)))
    }

    async fn describe(&self, request: &NewTableRequest) -> Result<TableMetadata> {
        let location = match &request.location {
            Some(location) => location.clone(),
            None => self.choose_location(&request.name).await?,
        };
        let metadata = request.description.metadata(clock::new_uuid(), &location, self.clock.now_ms())?;
        self.check_places(None, &metadata)?;
        Ok(metadata)
    }

    /// DuckDB writes its manifests before the table exists and makes only the data folders itself.
    async fn make_folders(&self, metadata: &TableMetadata) -> Result<()> {
        self.warehouse.create_folder(&place::metadata_folder(metadata)).await?;
        self.warehouse.create_folder(&format!("{}/data", metadata.location)).await
    }

    async fn insert(&self, name: &TableName, metadata: TableMetadata) -> Result<Result<Arc<Loaded>, Refusal>> {
        self.make_folders(&metadata).await?;
        let file = self.new_file(metadata, None, None)?;
        let pointer = self.pointer_to(&file.metadata, &file.location);
        let new = NewTable::new(Tabular::Table, name.clone(), pointer);
        let verdict = async {
            self.write_metadata(&file.location, file.answer.text(), Company::Alone).await?;
            failpoint::at("create.put")?;
            self.swap_one(Step::Insert(new)).await
        };
        match self.cleaned_up(verdict.await, || vec![file.location.to_string()]).await? {
            Verdict::Applied(_) => {
                failpoint::passed("create.swapped");
                let loaded = self.settled(file);
                self.put_hints([(name, &loaded)]).await;
                Ok(Ok(loaded))
            }
            Verdict::Refused(refusal) => {
                self.abandon(&[file.location.to_string()]).await;
                Ok(Err(refusal))
            }
        }
    }

    pub(super) async fn swap_one(&self, step: Step) -> Result<Verdict> {
        self.swap_steps(vec![step], Alongside::default(), self.clock.now_ms()).await
    }

    /// Registers a metadata file that is already there; the file is read, checked, and left as it is.
    pub async fn register_table(&self, register: Register) -> Result<Arc<Loaded>> {
        self.warehouse.check(&register.metadata_location)?;
        self.namespace_exists(&register.name.namespace).await?;
        let catalog = self.clone();
        self.detached(async move { catalog.register_until_settled(&register).await }).await
    }

    async fn register_until_settled(&self, register: &Register) -> Result<Arc<Loaded>> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let row = self.replaceable(register).await?;
            let _turn = self.sequencer.enter(row.iter().map(|row| Arc::clone(&row.id)).collect()).await;
            // It may have been renamed or dropped while others had their turn.
            let row = self.replaceable(register).await?;
            let _stays = self.registering.read().await;
            let location: Arc<str> = register.metadata_location.as_str().into();
            let loaded = self.load_file(&location).await?;
            self.check_places(None, &loaded.metadata)?;
            let mut pointer = self.pointer_to(&loaded.metadata, &location);
            pointer.file = PointedFile::Existing;
            if pointer.uuid.is_empty() {
                pointer.uuid = clock::new_uuid().into();
            }
            let step = match row {
                Some(from) => Step::Replace { from, to: pointer },
                None => Step::Insert(NewTable::new(Tabular::Table, register.name.clone(), pointer)),
            };
            match self.swap_one(step).await? {
                Verdict::Applied(_) => {
                    self.put_hints([(&register.name, &loaded)]).await;
                    return Ok(loaded);
                }
                Verdict::Refused(Refusal::Moved(_)) => {}
                Verdict::Refused(Refusal::NameTaken { there: Tabular::Table, .. }) if register.overwrite => {}
                Verdict::Refused(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(refused(&Refusal::Moved(register.name.clone())))
    }

    /// The table that a register replaces, if there is one and it may.
    async fn replaceable(&self, register: &Register) -> Result<Option<Arc<TableRow>>> {
        match self.row(&register.name).await? {
            Some(row) if row.kind == Tabular::Table && register.overwrite => Ok(Some(row)),
            Some(row) => Err(Tabular::Table.taken(&register.name, row.kind)),
            None => Ok(None),
        }
    }

    /// Drops a table or view; its files stay, or are queued for deletion where a purge is asked for.
    pub async fn drop_tabular(&self, kind: Tabular, name: TableName, files: Files) -> Result<()> {
        self.find_of(kind, &name).await?;
        let catalog = self.clone();
        self.detached(async move { catalog.drop_until_settled(kind, &name, files).await }).await
    }

    async fn drop_until_settled(&self, kind: Tabular, name: &TableName, files: Files) -> Result<()> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let row = self.find_of(kind, name).await?;
            let _turn = self.sequencer.enter(vec![Arc::clone(&row.id)]).await;
            let row = self.find_of(kind, name).await?;
            let removal = match files {
                Files::Stay => Removal::Drop,
                Files::Go => self.purge_of(&row).await?,
            };
            let verdict = self.swap_one(Step::Remove { row, removal }).await;
            // Also where the outcome is unknown: the queue itself knows.
            self.garbage.notify_one();
            match verdict? {
                Verdict::Applied(_) => return Ok(()),
                Verdict::Refused(Refusal::Moved(_)) => {}
                Verdict::Refused(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(refused(&Refusal::Moved(name.clone())))
    }

    /// Takes a table out of the catalog, its files untouched, and returns it as it was last: with every commit that was
    /// acknowledged before, and none after.
    pub async fn unregister_table(&self, name: TableName) -> Result<Arc<Loaded>> {
        self.find(&name).await?;
        let catalog = self.clone();
        self.detached(async move { catalog.unregister_until_settled(&name).await }).await
    }

    async fn unregister_until_settled(&self, name: &TableName) -> Result<Arc<Loaded>> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let row = self.find(name).await?;
            let _turn = self.sequencer.enter(vec![Arc::clone(&row.id)]).await;
            let row = self.find(name).await?;
            let loaded = self.load_row(&row).await?;
            match self.swap_one(Step::Remove { row, removal: Removal::Drop }).await? {
                Verdict::Applied(_) => return Ok(loaded),
                Verdict::Refused(Refusal::Moved(_)) => {}
                Verdict::Refused(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(refused(&Refusal::Moved(name.clone())))
    }

    async fn purge_of(&self, row: &TableRow) -> Result<Removal> {
        let loaded = self.load_row(row).await.map_err(|error| {
            error.context("The table cannot be purged while its metadata cannot be read; drop it without purge")
        })?;
        let collects = properties::flag(&loaded.metadata.properties, "gc.enabled", true);
        Ok(if collects { Removal::Purge } else { Removal::PurgeKeepingData })
    }

    /// Gives a table or view another name; its files and identity stay.
    pub async fn rename(&self, kind: Tabular, from: TableName, to: TableName) -> Result<()> {
        self.find_of(kind, &from).await?;
        self.namespace_exists(&to.namespace).await?;
        match self.row(&to).await? {
            Some(row) if (kind, row.kind) == (Tabular::Table, Tabular::Table) => {
                return Err(kind.taken(&to, row.kind));
            }
            Some(row) => {
                let why = format!("Cannot rename {from} to {to}. {} already exists", row.kind.noun());
                return Err(Error::new(kind.taken(&to, row.kind).kind(), why));
            }
            None => {}
        }
        let catalog = self.clone();
        self.detached(async move { catalog.rename_until_settled(kind, &from, &to).await }).await
    }

    async fn rename_until_settled(&self, kind: Tabular, from: &TableName, to: &TableName) -> Result<()> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let row = self.find_of(kind, from).await?;
            let _turn = self.sequencer.enter(vec![Arc::clone(&row.id)]).await;
            let row = self.find_of(kind, from).await?;
            match self.swap_one(Step::Rename { row, to: to.clone() }).await? {
                Verdict::Applied(_) => return Ok(()),
                Verdict::Refused(Refusal::Moved(_)) => {}
                Verdict::Refused(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(refused(&Refusal::Moved(from.clone())))
    }
}
