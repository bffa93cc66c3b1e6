//! All object storage.
//!
//! A [`Warehouse`] is opened from its configuration and serves the objects inside its root and the locations allowed
//! beside it; any other location is refused before anything is opened. Objects are immutable: [`Warehouse::create`]
//! never overwrites. When it returns, the object is durable.
//!
//! Errors: [`Kind::Forbidden`] outside, [`Kind::NotFound`], [`Kind::AlreadyExists`], [`Kind::Unavailable`] when the store
//! cannot do it now.

mod area;
mod local;
pub mod location;
mod remote;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;
use tokio::task::JoinHandle;

use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::names::WarehouseName;
use local::Local;
use location::{Location, Scheme, outside};
use remote::Remote;

/// How to reach a warehouse that is not a local directory.
#[derive(Clone, Default)]
pub struct S3Settings {
    /// The URL of the S3 interface; AWS's own if none.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` if none.
    pub region: Option<String>,
    /// Whether the bucket is part of the path and not of the host name.
    pub path_style: Option<bool>,
    /// The access key.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<String>,
    /// The token of temporary keys.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys stay out of every log.
        f.debug_struct("S3Settings")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// What opens a warehouse.
#[derive(Debug, Clone)]
pub struct WarehouseSettings {
    /// Its name.
    pub name: WarehouseName,
    /// The URL of its root.
    pub url: String,
    /// How to reach a bucket.
    pub s3: S3Settings,
    /// Further locations that tables may have.
    pub allowed: Vec<String>,
}

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
        let mut areas = vec![Area { backend: backend(&root, settings)?, location: root.clone() }];
        for allowed in &settings.allowed {
            let location = Location::parse(allowed)?;
            areas.push(Area { backend: backend(&location, settings)?, location });
        }
        let client_config = client_config(&root, &settings.s3);
        Ok(Self { inner: Arc::new(Inner { name: settings.name.clone(), root, areas, client_config }) })
    }

    /// The warehouse's name.
    pub fn name(&self) -> &WarehouseName {
        &self.inner.name
    }

    /// Where its tables are unless they say otherwise.
    pub fn root(&self) -> &Location {
        &self.inner.root
    }

    /// What clients must know to reach the store with keys of their own; never a key.
    pub fn client_config(&self) -> &IndexMap<String, String> {
        &self.inner.client_config
    }

    /// Whether this is a directory of this machine.
    pub fn is_local(&self) -> bool {
        self.inner.root.scheme() == Scheme::File
    }

    /// The location, if this warehouse may use it.
    pub fn check(&self, location: &str) -> Result<Location> {
        self.area(location).map(|(location, _)| location)
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

fn backend(location: &Location, settings: &WarehouseSettings) -> Result<Backend> {
    Ok(match location.scheme() {
        Scheme::File => Backend::Local(Arc::new(Local::new(location))),
        Scheme::S3 => Backend::Remote(Arc::new(Remote::open(location.bucket(), &settings.s3)?)),
    })
}

/// Endpoint, path style and region; Spark reads the region under one name, DuckDB and PyIceberg under another.
fn client_config(root: &Location, s3: &S3Settings) -> IndexMap<String, String> {
    let mut config = IndexMap::new();
    if root.scheme() == Scheme::S3 {
        if let Some(endpoint) = &s3.endpoint {
            config.insert("s3.endpoint".to_owned(), endpoint.clone());
        }
        config.insert("s3.path-style-access".to_owned(), s3.uses_path_style().to_string());
        for key in ["s3.region", "client.region"] {
            config.insert(key.to_owned(), s3.region_or_default().to_owned());
        }
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
