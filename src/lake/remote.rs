//! A warehouse in a bucket, through `object_store`.
//!
//! Puts are create-only (`If-None-Match: *`). A put that answers "already there" was ours: every name holds a fresh id,
//! so what is there comes from an earlier try of the same put whose answer was lost.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::S3Settings;
use super::location::Location;
use crate::error::{Error, Kind, Result, What};

const DEFAULT_REGION: &str = "us-east-1";

impl S3Settings {
    /// The region that is used.
    pub fn region_or_default(&self) -> &str {
        self.region.as_deref().unwrap_or(DEFAULT_REGION)
    }

    /// Whether the bucket is part of the path; so unless said otherwise wherever an endpoint is named.
    pub fn uses_path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }
}

/// One bucket.
#[derive(Debug)]
pub(super) struct Remote {
    store: AmazonS3,
}

impl Remote {
    /// Opens the bucket; nothing is asked of it yet.
    pub(super) fn open(bucket: &str, settings: &S3Settings) -> Result<Self> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(settings.region_or_default())
            .with_virtual_hosted_style_request(!settings.uses_path_style());
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(key) = &settings.access_key_id {
            builder = builder.with_access_key_id(key);
        }
        if let Some(secret) = &settings.secret_access_key {
            builder = builder.with_secret_access_key(secret);
        }
        if let Some(token) = &settings.session_token {
            builder = builder.with_token(token);
        }
        let store = builder.build().map_err(|error| {
            Error::illegal(format!("Bucket {bucket:?} cannot be opened: check endpoint, region and keys"))
                .because(error)
        })?;
        Ok(Self { store })
    }

    pub(super) async fn create(&self, location: &Location, bytes: Bytes) -> Result<()> {
        let path = path_of(location)?;
        let length = bytes.len() as u64;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&path, bytes.into(), options).await {
            Ok(_) => Ok(()),
            Err(error @ object_store::Error::AlreadyExists { .. }) => {
                let there = self.store.head(&path).await.map_err(|error| store_error("read", location, error))?;
                if there.size == length { Ok(()) } else { Err(store_error("created", location, error)) }
            }
            Err(error) => Err(store_error("created", location, error)),
        }
    }

    pub(super) async fn read(&self, location: &Location, most: u64) -> Result<Bytes> {
        let path = path_of(location)?;
        let failed = |error| store_error("read", location, error);
        let object = self.store.get_opts(&path, GetOptions::default()).await.map_err(failed)?;
        let length = object.meta.size;
        if length > most {
            return Err(Error::new(Kind::TooLarge, format!("{location} has {length} bytes: at most {most} are read")));
        }
        object.bytes().await.map_err(failed)
    }

    pub(super) async fn read_range(&self, location: &Location, start: u64, length: usize) -> Result<Bytes> {
        let path = path_of(location)?;
        let range = start..start + length as u64;
        self.store.get_range(&path, range).await.map_err(|error| store_error("read", location, error))
    }

    pub(super) async fn delete(&self, location: &Location) -> Result<()> {
        match self.store.delete(&path_of(location)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error("deleted", location, error)),
        }
    }

    pub(super) async fn list(&self, location: &Location, most: usize) -> Result<Vec<String>> {
        let folder = path_of(location)?;
        let failed = |error| store_error("listed", location, error);
        let mut found = self.store.list(Some(&folder));
        let mut names = Vec::new();
        while names.len() < most {
            let Some(object) = found.try_next().await.map_err(failed)? else { break };
            let name = object.location.as_ref().strip_prefix(folder.as_ref()).unwrap_or(object.location.as_ref());
            names.push(name.trim_start_matches('/').to_owned());
        }
        Ok(names)
    }
}

/// The key as it is: `Path::from` would encode what clients wrote plainly.
fn path_of(location: &Location) -> Result<Path> {
    Path::parse(location.path())
        .map_err(|error| Error::illegal(format!("Location {location} cannot be used as a key")).because(error))
}

fn store_error(done: &str, location: &Location, error: object_store::Error) -> Error {
    use object_store::Error as E;
    let (kind, why) = match &error {
        E::NotFound { .. } => (Kind::NotFound(What::File), "it does not exist"),
        E::AlreadyExists { .. } => (Kind::AlreadyExists(What::File), "it is already there"),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
            (Kind::Unavailable, "the store refuses the warehouse's keys")
        }
        _ => (Kind::Unavailable, "the store does not answer as it should"),
    };
    Error::new(kind, format!("{location} cannot be {done}: {why}")).because(error)
}
