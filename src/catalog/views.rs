//! Views: create, load, replace, register. (Dropping, renaming and listing are as for tables.)
//!
//! A view is a row with a pointer like a table, and a commit to it goes the same way: its turn, the pointer, a pure
//! decision, a new file, the swap. Nothing but metadata belongs to it.

use std::num::NonZero;
use std::sync::Arc;

use indexmap::IndexMap;
use moka::sync::Cache;

use super::change::Outcome;
use super::change::view::{ViewChange, ViewUpdate};
use super::loaded::{Body, Spliced, hash_of, parse_file_of};
use super::metadata::schema::Schema;
use super::metadata::view::{ViewMetadata, ViewVersion};
use super::once::{gone_since, pointed};
use super::place::{Codec, metadata_folder_at, next_metadata_location};
use super::{Catalog, refused};
use crate::clock;
use crate::error::{Error, Result};
use crate::lake::Company;
use crate::limits;
use crate::names::{TableName, Tabular};
use crate::store::swap::{NewTable, PointedFile, Pointer, Refusal, Step, Verdict};
use crate::store::tables::TableRow;

/// What a client uses for a view whatever its own settings say.
const CONFIG: &str = "{}";

/// A view that is to be created.
#[derive(Debug)]
pub struct NewView {
    /// Its name.
    pub name: TableName,
    /// Where its files are to go; chosen here if not said.
    pub location: Option<String>,
    /// The columns of its rows.
    pub schema: Schema,
    /// Its query.
    pub version: ViewVersion,
    /// Its properties.
    pub properties: IndexMap<String, String>,
}

/// A view's metadata and everything that is answered from it.
#[derive(Debug)]
pub struct LoadedView {
    metadata_location: Arc<str>,
    metadata: ViewMetadata,
    body: Body,
    etag: String,
}

impl LoadedView {
    fn new(metadata: ViewMetadata, location: &Arc<str>, answer: &Spliced) -> Self {
        let etag = format!("\"{:016x}-view\"", hash_of(&[location.as_bytes()]));
        Self { metadata_location: Arc::clone(location), metadata, body: answer.body(), etag }
    }

    /// The text that the answer is made of again.
    pub fn text(&self) -> String {
        pointed(&self.metadata.view_uuid, &self.metadata_location)
    }

    /// The body of a `LoadViewResult`.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The entity tag of the body, quoted.
    pub fn etag(&self) -> &str {
        &self.etag
    }
}

/// Views kept by the location of their file, which never changes. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ViewCache(Cache<Arc<str>, Arc<LoadedView>>);

impl ViewCache {
    /// An empty cache, one of `of` that share the memory.
    pub(super) fn new(of: NonZero<u64>) -> Self {
        let weight = |_: &Arc<str>, view: &Arc<LoadedView>| {
            u32::try_from(view.body.plain().len() * 3 + 1_000).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(limits::VIEW_CACHE_BYTES / of).weigher(weight).build())
    }

    fn put(&self, location: &Arc<str>, metadata: ViewMetadata, answer: &Spliced) -> Arc<LoadedView> {
        let loaded = Arc::new(LoadedView::new(metadata, location, answer));
        self.0.insert(Arc::clone(location), Arc::clone(&loaded));
        loaded
    }
}

/// A metadata file that is to be written.
struct NewFile {
    location: Arc<str>,
    metadata: ViewMetadata,
    answer: Spliced,
}

impl NewFile {
    fn of(metadata: ViewMetadata, row: Option<&TableRow>) -> Result<Self> {
        let folder = metadata_folder_at(&metadata.location, &metadata.properties);
        let codec = Codec::of(&metadata.properties, Codec::Gzip);
        let (previous, version) = row.map_or((None, 0), |row| (Some(&*row.metadata_location), row.version + 1));
        let location: Arc<str> = next_metadata_location(&folder, codec, previous, version).into();
        let answer = Spliced::of(Some(&location), CONFIG, &metadata.to_json()?)?;
        Ok(Self { location, metadata, answer })
    }
}

impl Catalog {
    /// The view as it is now.
    pub async fn load_view(&self, name: &TableName) -> Result<Arc<LoadedView>> {
        let row = self.find_of(Tabular::View, name).await?;
        self.load_view_file(&row.metadata_location).await
    }

    /// The view as its metadata file says that it was; as it is now where that has gone since.
    pub async fn view_of_text(&self, name: &TableName, text: &str) -> Result<Arc<LoadedView>> {
        let (uuid, location) = text.split_once(' ').unwrap_or_default();
        match self.load_view_file(&location.into()).await {
            Err(error) if error.is_not_found() => match self.load_view(name).await {
                Ok(now) if now.metadata.view_uuid == uuid => Ok(now),
                _ => Err(gone_since(name)),
            },
            loaded => loaded,
        }
    }

    async fn load_view_file(&self, location: &Arc<str>) -> Result<Arc<LoadedView>> {
        if let Some(loaded) = self.views.0.get(location) {
            return Ok(loaded);
        }
        let bytes = self.read_metadata(location).await?;
        let (metadata, text) = parse_file_of(Tabular::View, location, &bytes, ViewMetadata::parse)?;
        Ok(self.views.put(location, metadata, &Spliced::of(Some(location), CONFIG, &text)?))
    }

    /// Creates a view.
    pub async fn create_view(&self, new: NewView) -> Result<Arc<LoadedView>> {
        self.namespace_exists(&new.name.namespace).await?;
        self.is_free(Tabular::View, &new.name).await?;
        let catalog = self.clone();
        self.detached(async move { catalog.create_view_until_settled(&new).await }).await
    }

    async fn create_view_until_settled(&self, new: &NewView) -> Result<Arc<LoadedView>> {
        let mut lost = None;
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let location = match &new.location {
                Some(location) => location.trim_end_matches('/').to_owned(),
                None => self.choose_location(&new.name).await?,
            };
            self.warehouse.check(&location)?;
            let file = NewFile::of(describe(new, location, self.clock.now_ms())?, None)?;
            let pointer = self.view_pointer(&file.metadata, &file.location);
            match self.put_view(file, Step::Insert(NewTable::new(Tabular::View, new.name.clone(), pointer))).await? {
                Ok(loaded) => return Ok(loaded),
                // A location that we chose was taken meanwhile: choose again.
                Err(refusal @ Refusal::LocationTaken(_)) if new.location.is_none() => lost = Some(refusal),
                Err(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(lost.map_or_else(|| Error::internal("No location was tried"), |refusal| refused(&refusal)))
    }

    /// Commits a change to a view and returns it as it is then.
    pub async fn commit_view(&self, name: TableName, change: ViewChange) -> Result<Arc<LoadedView>> {
        let catalog = self.clone();
        self.detached(async move { catalog.commit_view_until_settled(&name, &change).await }).await
    }

    async fn commit_view_until_settled(&self, name: &TableName, change: &ViewChange) -> Result<Arc<LoadedView>> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let row = self.find_of(Tabular::View, name).await?;
            let _turn = self.sequencer.enter(vec![Arc::clone(&row.id)]).await;
            let row = self.find_of(Tabular::View, name).await?;
            let base = self.load_view_file(&row.metadata_location).await?;
            let Outcome::Changed(next) = change.apply(&base.metadata, self.clock.now_ms())? else { return Ok(base) };
            self.check_view_places(Some(&base.metadata), &next)?;
            let file = NewFile::of(*next, Some(&row))?;
            let to = self.view_pointer(&file.metadata, &file.location);
            match self.put_view(file, Step::Replace { from: row, to }).await? {
                Ok(loaded) => return Ok(loaded),
                Err(Refusal::Moved(_)) => {}
                Err(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(refused(&Refusal::Moved(name.clone())))
    }

    /// Registers a metadata file that is already there as a view; the file is read, checked, and left as it is.
    pub async fn register_view(&self, name: TableName, metadata_location: &str) -> Result<Arc<LoadedView>> {
        self.warehouse.check(metadata_location)?;
        self.namespace_exists(&name.namespace).await?;
        self.is_free(Tabular::View, &name).await?;
        let (catalog, location) = (self.clone(), Arc::from(metadata_location));
        self.detached(async move {
            let _stays = catalog.registering.read().await;
            let loaded = catalog.load_view_file(&location).await?;
            catalog.check_view_places(None, &loaded.metadata)?;
            let mut pointer = catalog.view_pointer(&loaded.metadata, &location);
            pointer.file = PointedFile::Existing;
            match catalog.swap_one(Step::Insert(NewTable::new(Tabular::View, name, pointer))).await? {
                Verdict::Applied(_) => Ok(loaded),
                Verdict::Refused(refusal) => Err(refused(&refusal)),
            }
        })
        .await
    }

    /// Puts a view's new file and points at it; an inner error is a swap that was refused.
    async fn put_view(&self, file: NewFile, step: Step) -> Result<Result<Arc<LoadedView>, Refusal>> {
        let verdict = async {
            self.write_metadata(&file.location, file.answer.text(), Company::Alone).await?;
            self.swap_one(step).await
        };
        match self.cleaned_up(verdict.await, || vec![file.location.to_string()]).await? {
            Verdict::Applied(_) => Ok(Ok(self.views.put(&file.location, file.metadata, &file.answer))),
            Verdict::Refused(refusal) => {
                self.abandon(&[file.location.to_string()]).await;
                Ok(Err(refusal))
            }
        }
    }

    fn view_pointer(&self, metadata: &ViewMetadata, file: &Arc<str>) -> Pointer {
        self.pointer(&metadata.view_uuid, &metadata.location, file)
    }

    /// Refuses metadata that names a place outside the warehouse, where it differs from `base`.
    fn check_view_places(&self, base: Option<&ViewMetadata>, next: &ViewMetadata) -> Result<()> {
        let base = base.map(|base| (base.location.as_str(), &base.properties));
        self.check_named_places(base, (&next.location, &next.properties))
    }
}

/// The metadata of a new view: its one version is number 1, of its one schema, number 0.
fn describe(new: &NewView, location: String, now_ms: i64) -> Result<ViewMetadata> {
    let empty = ViewMetadata {
        view_uuid: clock::new_uuid(),
        location,
        properties: new.properties.clone(),
        ..ViewMetadata::default()
    };
    let version = ViewVersion { version_id: 1, schema_id: -1, ..new.version.clone() };
    let updates = vec![
        ViewUpdate::AddSchema(new.schema.clone()),
        ViewUpdate::AddVersion(version),
        ViewUpdate::SetCurrentVersion(-1),
    ];
    match (ViewChange { uuids: Vec::new(), updates }).apply(&empty, now_ms)? {
        Outcome::Changed(metadata) => Ok(*metadata),
        Outcome::Unchanged => Err(Error::internal("A new view came out unchanged")),
    }
}
