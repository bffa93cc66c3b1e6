//! All object storage.
//!
//! A [`Warehouse`] is opened from its configuration and serves the objects inside its root and the locations allowed
//! beside it; any other location is refused before anything is opened. Objects are immutable: [`Warehouse::create`]
//! never overwrites. When it returns, the object is durable.
//!
//! Errors: [`Kind::Forbidden`] outside, [`Kind::NotFound`], [`Kind::AlreadyExists`], [`Kind::Unavailable`] when the store
//! cannot do it now.

mod area;
pub mod delegation;
pub mod described;
mod local;
pub mod location;
mod opening;
mod remote;
pub mod seal;
pub mod settings;
pub mod source;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;
use tokio::task::JoinHandle;

use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::names::WarehouseName;
use delegation::{Access, Asked, Delegate, Granted, SignRequest};
use local::Local;
use location::{Location, Scheme, outside};
use opening::Own;
use remote::Remote;
use settings::{StoreSettings, WarehouseSettings};

/// A warehouse: where tables keep their files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Warehouse {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: WarehouseName,
    root: Location,
    areas: Vec<Area>,
    client_config: IndexMap<String, String>,
    delegate: Delegate,
    version_hint: bool,
}

#[derive(Debug)]
struct Area {
    location: Location,
    backend: Backend,
}

#[derive(Debug, Clone)]
enum Backend {
    Local(Arc<Local>),
    Remote(Arc<Remote>),
}

/// Whether whoever creates an object creates others at the same time, in the same task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// Nothing of the task goes on until the object is there.
    Alone,
    /// Others are created meanwhile.
    Others,
}

impl Warehouse {
    /// Opens a warehouse; nothing is asked of the store yet.
    pub fn open(settings: &WarehouseSettings) -> Result<Self> {
        let root = Location::parse(&settings.url)?;
        settings.store.check(root.scheme())?;
        let (first, own) = backend(&root, &settings.store)?;
        let mut areas = vec![Area { backend: first, location: root.clone() }];
        // What is allowed beside it may be in another kind of store, which is then reached as its own tools reach it.
        let elsewhere = StoreSettings { ambient: settings.store.ambient.clone(), ..StoreSettings::default() };
        for allowed in &settings.allowed {
            let location = Location::parse(allowed)?;
            let store = if location.scheme() == root.scheme() { &settings.store } else { &elsewhere };
            areas.push(Area { backend: backend(&location, store)?.0, location });
        }
        let client_config = client_config(&root, &settings.store);
        let delegate = Delegate::new(&root, &settings.store, own, &client_config)?;
        let (name, version_hint) = (settings.name.clone(), settings.version_hint);
        Ok(Self { inner: Arc::new(Inner { name, root, areas, client_config, delegate, version_hint }) })
    }

    /// The warehouse's name.
    pub fn name(&self) -> &WarehouseName {
        &self.inner.name
    }

    /// Where its tables are unless they say otherwise.
    pub fn root(&self) -> &Location {
        &self.inner.root
    }

    /// Whether tables that do not say get a version hint.
    pub fn hints_versions(&self) -> bool {
        self.inner.version_hint
    }

    /// What clients must know to reach the store with keys of their own; never a key.
    pub fn client_config(&self) -> &IndexMap<String, String> {
        &self.inner.client_config
    }

    /// In words, what clients are given to reach the objects with, and why.
    /// An error if keys are to be lent and cannot be. Tried with keys that reach nothing.
    pub async fn explain_delegation(&self, now_ms: i64) -> Result<String> {
        self.inner.delegate.explain(self.nowhere()?, now_ms).await
    }

    fn nowhere(&self) -> Result<Location> {
        Location::parse(&format!("{}.floeberg-probe", self.inner.root.key()))
    }

    /// What a client that asks is given to reach a table's objects with. The first of the locations is the table's own; those
    /// that this warehouse does not serve are left out.
    pub async fn grant(&self, asked: Asked, access: Access, locations: &[&str], now_ms: i64) -> Result<Granted> {
        self.inner.delegate.grant(asked, access, self.served(locations), now_ms).await
    }

    /// An error if clients that ask are to be lent keys and cannot be. Tried with keys that reach nothing.
    pub async fn could_lend(&self, asked: Asked, now_ms: i64) -> Result<()> {
        self.inner.delegate.could_lend(asked, self.nowhere()?, now_ms).await
    }

    /// The headers that sign a client's request to the store.
    pub async fn sign(
        &self,
        request: &SignRequest,
        access: Access,
        locations: &[&str],
        now_ms: i64,
    ) -> Result<IndexMap<String, Vec<String>>> {
        self.inner.delegate.sign(request, access, self.served(locations), now_ms).await
    }

    /// Those of these locations that are in the warehouse's own store, but for those inside another.
    fn served(&self, locations: &[&str]) -> Vec<Location> {
        let mut served: Vec<Location> = Vec::new();
        for location in locations.iter().filter_map(|text| self.check(text).ok()) {
            let elsewhere = location.scheme() != self.inner.root.scheme();
            if !elsewhere && !served.iter().any(|known| known.contains(&location)) {
                served.push(location);
            }
        }
        served
    }

    /// Whether this is a directory of this machine.
    pub fn is_local(&self) -> bool {
        self.inner.root.scheme() == Scheme::File
    }

    /// The location, if this warehouse may use it.
    pub fn check(&self, location: &str) -> Result<Location> {
        self.area(location).map(|(location, _)| location)
    }

    /// Whether this is all that the warehouse may use in one place.
    pub fn is_whole_area(&self, location: &Location) -> bool {
        self.inner.areas.iter().any(|area| area.location == *location)
    }

    fn area(&self, text: &str) -> Result<(Location, &Backend)> {
        let location = Location::parse(text)?;
        let area = self.inner.areas.iter().find(|area| area.location.contains(&location));
        match area {
            Some(area) => Ok((location, &area.backend)),
            None => Err(outside(text, self.inner.name.as_str(), &self.inner.root)),
        }
    }

    /// Creates an object that is not there yet, durably.
    pub async fn create(&self, location: &str, bytes: Bytes, company: Company) -> Result<()> {
        let (location, backend) = self.area(location)?;
        failpoint::at("lake.create")?;
        match backend.clone() {
            Backend::Local(local) => {
                let create = move || local.create(&location, &bytes);
                let named = match company {
                    // To hand the work to another thread and back costs a commit a tenth of its time.
                    Company::Alone => tokio::task::block_in_place(create)?,
                    Company::Others => blocking(create).await?,
                };
                joined(named).await?;
            }
            Backend::Remote(remote) => remote.create(&location, bytes).await?,
        }
        failpoint::at("lake.created")
    }

    /// Puts an object in the place of the one that is there, if there is one: readers see the one or the other. Only for
    /// what is no more than a hint.
    pub async fn replace(&self, location: &str, bytes: Bytes) -> Result<()> {
        let (location, backend) = self.area(location)?;
        match backend.clone() {
            Backend::Local(local) => blocking(move || local.replace(&location, &bytes)).await,
            Backend::Remote(remote) => remote.replace(&location, bytes).await,
        }
    }

    /// Makes a folder where the store has folders.
    pub async fn create_folder(&self, location: &str) -> Result<()> {
        let (location, backend) = self.area(location)?;
        match backend.clone() {
            Backend::Local(local) => blocking(move || local.create_folder(&location)).await,
            Backend::Remote(_) => Ok(()),
        }
    }

    /// The object's bytes; one of more than `most` is refused.
    pub async fn read(&self, location: &str, most: u64) -> Result<Bytes> {
        let (location, backend) = self.area(location)?;
        match backend.clone() {
            Backend::Local(local) => blocking(move || local.read(&location, most)).await,
            Backend::Remote(remote) => remote.read(&location, most).await,
        }
    }

    /// `length` of the object's bytes from `start` on.
    pub async fn read_range(&self, location: &str, start: u64, length: usize) -> Result<Bytes> {
        let (location, backend) = self.area(location)?;
        match backend.clone() {
            Backend::Local(local) => blocking(move || local.read_range(&location, start, length)).await,
            Backend::Remote(remote) => remote.read_range(&location, start, length).await,
        }
    }

    /// The path of an object in a directory of this machine.
    pub fn local_path(&self, location: &str) -> Option<PathBuf> {
        match self.area(location) {
            Ok((location, Backend::Local(_))) => Some(local::path_of(&location)),
            _ => None,
        }
    }

    /// Deletes the object; one that is not there is fine. Only `maintenance/` and whoever made a probe may call this.
    pub async fn delete(&self, location: &str) -> Result<()> {
        let (location, backend) = self.area(location)?;
        match backend.clone() {
            Backend::Local(local) => blocking(move || local.delete(&location)).await,
            Backend::Remote(remote) => remote.delete(&location).await,
        }
    }

    /// Removes a folder and those inside it where the store has folders, unless a file is in it.
    pub async fn remove_empty_folders(&self, location: &str) -> Result<()> {
        let (location, backend) = self.area(location)?;
        if let Backend::Local(local) = backend.clone() {
            blocking(move || {
                local.remove_empty_folders(&location);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// The objects under a location, as paths relative to it, at most `most`.
    pub async fn list(&self, location: &str, most: usize) -> Result<Vec<String>> {
        let (location, backend) = self.area(location)?;
        match backend.clone() {
            Backend::Local(local) => blocking(move || local.list(&location, most)).await,
            Backend::Remote(remote) => remote.list(&location, most).await,
        }
    }
}

/// What serves a location, and the keys that the server itself uses there.
fn backend(location: &Location, store: &StoreSettings) -> Result<(Backend, Own)> {
    if location.scheme() == Scheme::File {
        return Ok((Backend::Local(Arc::new(Local::new(location))), Own::Nothing));
    }
    let (remote, own) = Remote::open(location, store)?;
    Ok((Backend::Remote(Arc::new(remote)), own))
}

/// Endpoint, path style and region; Spark reads the region under one name, DuckDB and PyIceberg under another.
fn client_config(root: &Location, store: &StoreSettings) -> IndexMap<String, String> {
    let mut config = IndexMap::new();
    if root.scheme() == Scheme::S3 {
        if let Some(endpoint) = store.s3_endpoint() {
            config.insert("s3.endpoint".to_owned(), endpoint.to_owned());
        }
        config.insert("s3.path-style-access".to_owned(), store.uses_path_style().to_string());
        for key in ["s3.region", "client.region"] {
            config.insert(key.to_owned(), store.region_or_default().to_owned());
        }
    }
    if root.scheme() == Scheme::Azure {
        config.insert("adls.account-name".to_owned(), root.account().to_owned());
    }
    config
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    joined(tokio::task::spawn_blocking(work)).await
}

async fn joined<T>(work: JoinHandle<Result<T>>) -> Result<T> {
    work.await.map_err(|error| Error::new(Kind::Internal, "File work was cut off").because(error))?
}
