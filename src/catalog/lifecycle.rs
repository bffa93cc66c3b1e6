//! Tables come and go: create, register, drop, rename.

use std::sync::Arc;

use super::create::Description;
use super::metadata::TableMetadata;
use super::{Catalog, Loaded, commit, place, properties, refused};
use crate::clock;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::lake::Company;
use crate::limits;
use crate::names::TableName;
use crate::store::swap::{NewTable, PointedFile, Refusal, Removal, Step, Swap, Verdict};
use crate::store::tables::{TableRow, no_such_table};

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
        if self.store.find_table(self.warehouse.name(), &request.name).await?.is_some() {
            return Err(commit::table_exists(&request.name));
        }
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
        self.cache.staged(metadata)
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
        let new = NewTable { id: clock::new_ordered_id().into(), name: name.clone(), pointer };
        let verdict = async {
            self.write_metadata(&file, Company::Alone).await?;
            failpoint::at("create.put")?;
            self.swap_one(Step::Insert(new)).await
        };
        match self.cleaned_up(verdict.await, || vec![file.location.to_string()]).await? {
            Verdict::Applied(_) => {
                failpoint::passed("create.swapped");
                Ok(Ok(self.settled(file)))
            }
            Verdict::Refused(refusal) => {
                self.abandon(&[file.location.to_string()]).await;
                Ok(Err(refusal))
            }
        }
    }

    async fn swap_one(&self, step: Step) -> Result<Verdict> {
        let (warehouse, now_ms) = (self.warehouse.name().clone(), self.clock.now_ms());
        self.store.swap(Swap { warehouse, steps: vec![step], doomed: Vec::new(), now_ms }).await
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
            let row = self.store.find_table(self.warehouse.name(), &register.name).await?;
            let row = match row {
                Some(_) if !register.overwrite => return Err(commit::table_exists(&register.name)),
                row => row,
            };
            let _turn = self.sequencer.enter(row.iter().map(|row| Arc::clone(&row.id)).collect()).await;
            // It may have been renamed or dropped while others had their turn.
            let row = self.store.find_table(self.warehouse.name(), &register.name).await?;
            if row.is_some() && !register.overwrite {
                return Err(commit::table_exists(&register.name));
            }
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
                None => {
                    Step::Insert(NewTable { id: clock::new_ordered_id().into(), name: register.name.clone(), pointer })
                }
            };
            match self.swap_one(step).await? {
                Verdict::Applied(_) => return Ok(loaded),
                Verdict::Refused(Refusal::Moved(_)) => {}
                Verdict::Refused(Refusal::NameTaken(_)) if register.overwrite => {}
                Verdict::Refused(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(refused(&Refusal::Moved(register.name.clone())))
    }

    /// Drops a table; its files stay, or are queued for deletion with `purge`.
    pub async fn drop_table(&self, name: TableName, purge: bool) -> Result<()> {
        self.find(&name).await?;
        let catalog = self.clone();
        self.detached(async move { catalog.drop_until_settled(&name, purge).await }).await
    }

    async fn drop_until_settled(&self, name: &TableName, purge: bool) -> Result<()> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let row = self.find(name).await?;
            let _turn = self.sequencer.enter(vec![Arc::clone(&row.id)]).await;
            let row = self.find(name).await?;
            let removal = if purge { self.purge_of(&row).await? } else { Removal::Drop };
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

    async fn purge_of(&self, row: &TableRow) -> Result<Removal> {
        let loaded = self.load_row(row).await.map_err(|error| {
            error.context("The table cannot be purged while its metadata cannot be read; drop it without purge")
        })?;
        let collects = properties::flag(&loaded.metadata.properties, "gc.enabled", true);
        Ok(if collects { Removal::Purge } else { Removal::PurgeKeepingData })
    }

    /// Gives a table another name; its files and identity stay.
    pub async fn rename_table(&self, from: TableName, to: TableName) -> Result<()> {
        self.find(&from).await?;
        self.namespace_exists(&to.namespace).await?;
        if self.store.find_table(self.warehouse.name(), &to).await?.is_some() {
            return Err(commit::table_exists(&to));
        }
        let catalog = self.clone();
        self.detached(async move { catalog.rename_until_settled(&from, &to).await }).await
    }

    async fn rename_until_settled(&self, from: &TableName, to: &TableName) -> Result<()> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let row = self.store.find_table(self.warehouse.name(), from).await?;
            let row = row.ok_or_else(|| no_such_table(from))?;
            let _turn = self.sequencer.enter(vec![Arc::clone(&row.id)]).await;
            let row = self.find(from).await?;
            match self.swap_one(Step::Rename { row, to: to.clone() }).await? {
                Verdict::Applied(_) => return Ok(()),
                Verdict::Refused(Refusal::Moved(_)) => {}
                Verdict::Refused(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(refused(&Refusal::Moved(from.clone())))
    }
}
