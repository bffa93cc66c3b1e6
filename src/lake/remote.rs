//! A warehouse in a bucket, through `object_store`.
//!
//! Puts are create-only. A put that answers "already there" was ours: every name holds a fresh id, so what is there comes
//! from an earlier try of the same put whose answer was lost. A put whose answer is lost is looked for, not assumed, and
//! put again where it is not there. Large objects go up in parts, a few at a time; what was put of one that fails is
//! aborted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::location::Location;
use super::opening::{self, Own};
use super::settings::StoreSettings;
use crate::error::{Error, Kind, Result, What};
use crate::limits;

/// One bucket.
#[derive(Debug)]
pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    /// Whether the store has said that it knows no create-only put: then unique names alone keep objects from being
    /// overwritten.
    overwrites: AtomicBool,
    /// Whether the last create-only put was answered so: one such answer may be a stray one.
    doubted: AtomicBool,
}

/// What came of one try to put an object.
enum Put {
    Done,
    /// Nothing is known of it: the answer was lost, or the store was too busy to say.
    Unknown(object_store::Error),
    /// It is certain that nothing was put, and another try would end the same.
    Refused(object_store::Error),
}

impl Remote {
    /// Opens the bucket; nothing is asked of it yet.
    pub(super) fn open(location: &Location, settings: &StoreSettings) -> Result<(Self, Own)> {
        let (store, own) = opening::open(location, settings)?;
        Ok((Self { store, overwrites: AtomicBool::new(false), doubted: AtomicBool::new(false) }, own))
    }

    pub(super) async fn create(&self, location: &Location, bytes: Bytes) -> Result<()> {
        let path = path_of(location)?;
        let mut lost = None;
        for _ in 0..limits::PUT_ATTEMPTS {
            let put = if bytes.len() > limits::MULTIPART_FROM_BYTES {
                self.put_parts(&path, &bytes).await
            } else {
                self.put_whole(&path, &bytes).await
            };
            match put {
                Put::Done => return Ok(()),
                Put::Refused(error) => return Err(store_error("created", location, error)),
                Put::Unknown(error) => {
                    if self.is_there(&path, bytes.len()).await {
                        return Ok(());
                    }
                    lost = Some(error);
                }
            }
        }
        Err(lost
            .map_or_else(|| Error::internal("No put was attempted"), |error| store_error("created", location, error)))
    }

    async fn put_whole(&self, path: &Path, bytes: &Bytes) -> Put {
        use object_store::Error as E;
        let overwrites = self.overwrites.load(Ordering::Relaxed);
        let mode = if overwrites { PutMode::Overwrite } else { PutMode::Create };
        match self.store.put_opts(path, bytes.clone().into(), PutOptions { mode, ..PutOptions::default() }).await {
            Ok(_) => {
                self.doubted.store(false, Ordering::Relaxed);
                Put::Done
            }
            // Also what S3 answers while another try of the same put is under way.
            Err(error @ E::AlreadyExists { .. }) => match self.store.head(path).await {
                Ok(there) if there.size != bytes.len() as u64 => Put::Refused(error),
                Ok(_) => Put::Done,
                Err(_) => Put::Unknown(error),
            },
            Err(error @ (E::NotFound { .. } | E::PermissionDenied { .. } | E::Unauthenticated { .. })) => {
                Put::Refused(error)
            }
            Err(error) if !overwrites && is_not_implemented(&error) => {
                if self.doubted.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        object = %path,
                        "the store knows no create-only put: unique names alone keep objects from being overwritten"
                    );
                    self.overwrites.store(true, Ordering::Relaxed);
                }
                Put::Unknown(error)
            }
            Err(error) => Put::Unknown(error),
        }
    }

    /// In parts, a few under way at a time.
    async fn put_parts(&self, path: &Path, bytes: &Bytes) -> Put {
        let mut upload = match self.store.put_multipart(path).await {
            Ok(upload) => upload,
            Err(error) => return Put::Unknown(error),
        };
        let starts = (0..bytes.len()).step_by(limits::PART_BYTES);
        let parts: Vec<_> = starts
            .map(|start| bytes.slice(start..bytes.len().min(start + limits::PART_BYTES)))
            .map(|part| upload.put_part(part.into()))
            .collect();
        let put = stream::iter(parts).buffer_unordered(limits::PARTS_UNDER_WAY).try_collect::<Vec<()>>().await;
        let put = match put {
            Ok(_) => upload.complete().await.map(|_| ()),
            Err(error) => Err(error),
        };
        match put {
            Ok(()) => Put::Done,
            Err(error) => {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(object = %path, %error, "a failed upload could not be aborted: its parts stay until the bucket's own rules remove them");
                }
                Put::Unknown(error)
            }
        }
    }

    /// Whether an object of this size is there, as far as the store says.
    async fn is_there(&self, path: &Path, bytes: usize) -> bool {
        self.store.head(path).await.is_ok_and(|there| there.size == bytes as u64)
    }

    /// Puts an object in the place of the one that is there, if there is one.
    pub(super) async fn replace(&self, location: &Location, bytes: Bytes) -> Result<()> {
        let put = self.store.put(&path_of(location)?, bytes.into()).await;
        put.map(|_| ()).map_err(|error| store_error("replaced", location, error))
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
            Ok(()) => Ok(()),
            // Of a bucket that is gone nobody knows what was in it.
            Err(error @ object_store::Error::NotFound { .. }) if !has_code(&chain(&error), NO_BUCKET) => Ok(()),
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

/// What a store said, put into words that say what to do about it.
fn store_error(done: &str, location: &Location, error: object_store::Error) -> Error {
    use object_store::Error as E;
    let text = chain(&error);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let codes = |codes: &[&str]| has_code(&text, codes);
    let bucket = location.bucket();
    let (kind, why) = match &error {
        _ if codes(NO_BUCKET) || says(&["The specified bucket does not exist"]) => {
            (Kind::Unavailable, format!("there is no bucket {bucket:?}: create it, or mend the warehouse's url"))
        }
        _ if codes(&["ExpiredToken", "TokenRefreshRequired"]) => {
            (Kind::Unavailable, "the warehouse's keys have expired: give it others".to_owned())
        }
        _ if codes(&["RequestTimeTooSkewed"]) => {
            (Kind::Unavailable, "this machine's clock and the store's differ too much: set the clock".to_owned())
        }
        _ if codes(&["AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraint"]) => {
            (Kind::Unavailable, format!("bucket {bucket:?} is in another region: set the warehouse's region"))
        }
        _ if codes(&["XMinioStorageFull", "QuotaExceeded", "InsufficientCapacity"])
            || says(&["no space left", "No space left"]) =>
        {
            (Kind::Unavailable, "the store is full: make room, or add to it".to_owned())
        }
        E::NotFound { .. } => (Kind::NotFound(What::File), "it does not exist".to_owned()),
        E::AlreadyExists { .. } => (Kind::AlreadyExists(What::File), "it is already there".to_owned()),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
            let may = match done {
                "created" | "replaced" => "write",
                "deleted" => "delete",
                "listed" => "list",
                _ => "read",
            };
            let why = if codes(&[
                "SignatureDoesNotMatch",
                "InvalidAccessKeyId",
                "AuthenticationFailed",
                "AuthorizationFailure",
                "InvalidTokenId",
            ]) {
                "the store does not know the warehouse's keys: check them".to_owned()
            } else {
                format!("the warehouse's keys may not {may} there: allow them to")
            };
            (Kind::Unavailable, why)
        }
        _ => (Kind::Unavailable, "the store does not answer as it should: try again later".to_owned()),
    };
    // The innermost cause stands in the texts of those around it already.
    Error::new(kind, format!("{location} cannot be {done}: {why}")).because(error.to_string())
}

const NO_BUCKET: &[&str] = &["NoSuchBucket", "ContainerNotFound"];

/// Whether a store's answer has one of these codes. Its text holds the object's key too, which may be any word.
fn has_code(text: &str, codes: &[&str]) -> bool {
    codes.iter().any(|code| text.contains(&format!("<Code>{code}</Code>")))
}

/// Whether a store says that it does not know a header or operation.
fn is_not_implemented(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotImplemented { .. }) || chain(error).contains("501 Not Implemented")
}

/// An error and all that caused it, as text.
fn chain(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
