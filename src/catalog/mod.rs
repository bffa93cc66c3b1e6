//! The rules of namespaces and tables.
//!
//! A table is a row in the database whose pointer names an immutable metadata file in the warehouse. [`Catalog`] is the
//! one door to both. What changes a pointer goes through `commit.rs` (updates of one or several tables) or `lifecycle.rs`
//! (create, register, drop, rename), always in this order:
//!
//! 1. enter the table's turn in the [`sequencer`](sequencer), so that commits to one table do not race each other;
//! 2. read the pointer and the metadata it names (from memory, where one process owns the database);
//! 3. decide what the new metadata is, a pure function ([`change`](change), [`create`](create));
//! 4. write the new metadata file, create-only and durable;
//! 5. compare and swap the pointer in one SQL transaction (`store/swap.rs`);
//! 6. leave, answer.
//!
//! A client that goes away cancels nothing: what is left of the work becomes a task of its own. A swap that lost is tried
//! again while the requirements still hold. A swap whose outcome is unknown deletes nothing and is never called a failure.

pub mod append;
pub mod change;
pub mod check;
mod commit;
mod courtesy;
pub mod create;
mod delegation;
mod functions;
mod lifecycle;
pub mod loaded;
pub mod metadata;
mod namespaces;
pub mod next_snapshot;
pub mod once;
pub mod place;
pub mod plan;
pub mod properties;
pub mod reports;
pub mod rollback;
pub mod sequencer;
mod tables;
pub(crate) mod version_hint;
pub mod views;

use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{Notify, RwLock, RwLockWriteGuard};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::lake::Warehouse;
use crate::store::Store;
use crate::store::swap::Refusal;

pub use commit::TableChange;
pub use lifecycle::{Created, Files, NewTableRequest, Register};
pub use loaded::Loaded;
pub use namespaces::{PropertyChanges, PropertyRemovals};

use courtesy::Courtesy;
use loaded::MetadataCache;
use once::{Keys, UnderWay};
use plan::manifests::Manifests;
use sequencer::Sequencer;
use views::ViewCache;

/// One warehouse's namespaces and tables. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    store: Store,
    warehouse: Warehouse,
    clock: Clock,
    cache: MetadataCache,
    views: ViewCache,
    manifests: Manifests,
    sequencer: Sequencer,
    /// Turns of those who put version hints.
    hinting: Sequencer,
    courtesy: Courtesy,
    garbage: Arc<Notify>,
    /// Read while a file that was there before becomes a table's; written while single files are deleted.
    registering: Arc<RwLock<()>>,
    works: TaskTracker,
    keys: Keys,
    /// The key that what this handle does is done under.
    key: Option<Arc<UnderWay>>,
}

impl Catalog {
    /// The catalog of a warehouse, one of `of` that share the memory for metadata.
    pub fn new(store: Store, warehouse: Warehouse, clock: Clock, keys: Keys, of: NonZero<u64>) -> Self {
        let (cache, views) = (MetadataCache::new(warehouse.clone(), of), ViewCache::new(of));
        let manifests = Manifests::new(warehouse.clone(), of.get());
        let (sequencer, hinting, courtesy, garbage, registering, works) = Default::default();
        Self {
            store,
            warehouse,
            clock,
            cache,
            views,
            manifests,
            sequencer,
            hinting,
            courtesy,
            garbage,
            registering,
            works,
            keys,
            key: None,
        }
    }

    /// This catalog with what `old`, of the same warehouse described otherwise, shares among those who use it: who is
    /// under way with the old one takes his turns with who uses this.
    #[must_use]
    pub fn in_place_of(&self, old: &Self) -> Self {
        Self {
            warehouse: self.warehouse.clone(),
            cache: self.cache.clone(),
            views: self.views.clone(),
            manifests: self.manifests.clone(),
            ..old.clone()
        }
    }

    /// The warehouse.
    pub fn warehouse(&self) -> &Warehouse {
        &self.warehouse
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Waits until something is queued for deletion.
    pub async fn garbage(&self) {
        self.garbage.notified().await;
    }

    /// Waits until no register is between reading its file and pointing at it, and keeps others from beginning: what is
    /// deleted meanwhile, and leaves the queue, no pointer will name.
    pub async fn no_register(&self) -> RwLockWriteGuard<'_, ()> {
        self.registering.write().await
    }

    /// Passes on what came of an attempt; if it certainly did not commit, what it put is queued for deletion first.
    async fn cleaned_up<T>(&self, outcome: Result<T>, put: impl FnOnce() -> Vec<String>) -> Result<T> {
        if let Err(error) = &outcome
            && error.kind() != Kind::CommitUnknown
        {
            self.abandon(&put()).await;
        }
        outcome
    }

    /// The tasks whose work goes on whether or not anybody waits for it; a stop waits for them.
    pub fn works(&self) -> &TaskTracker {
        &self.works
    }

    /// Runs `work` to its end whether or not the caller waits for it. A caller that does wait runs it itself; only when it
    /// goes away does what is left become a task of its own.
    async fn detached<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let work = Some(Box::pin(AssertUnwindSafe(work).catch_unwind()));
        Detached { work, works: self.works.clone() }.await.unwrap_or_else(|cause| {
            let cut_off = Error::new(Kind::CommitUnknown, "The commit was cut off by a fault of the server");
            Err(cut_off.because_of_panic(&*cause))
        })
    }

    /// Queues files of an attempt that certainly did not commit. That they stay where the database is down is
    /// harmless: nothing names them.
    pub(crate) async fn abandon(&self, locations: &[String]) {
        match self.store.doom_files(self.warehouse.name(), locations).await {
            Ok(()) => self.garbage.notify_one(),
            Err(error) => {
                tracing::warn!(error = error.chain(), "files of a lost attempt could not be queued for deletion")
            }
        }
    }
}

/// A future that goes on when it is dropped, as a task that the tracker knows.
struct Detached<F: Future<Output: Send> + Send + 'static> {
    work: Option<Pin<Box<F>>>,
    works: TaskTracker,
}

impl<F: Future<Output: Send> + Send + 'static> Future for Detached<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Detached<F> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            drop(self.works.spawn_on(work, &runtime));
        }
    }
}

/// What a client is told of a swap that was refused for good.
fn refused(refusal: &Refusal) -> Error {
    match refusal {
        Refusal::Moved(name) => Error::conflict(format!("Table was changed concurrently: {name}")),
        Refusal::NameTaken { name, wanted, there } => wanted.taken(name, *there),
        Refusal::NoNamespace(name) => crate::store::namespaces::no_such_namespace(&name.namespace),
        Refusal::Doomed(location) => Error::invalid(format!(
            "Metadata file {location:?} is queued for deletion, because its table no longer needs it: name another"
        )),
        Refusal::Known => {
            let message =
                "What was to be done was done meanwhile under the same key; nothing was done again: ask again";
            Error::new(Kind::Unavailable, message).with_code(append::KNOWN)
        }
        Refusal::LocationTaken(location) => Error::invalid(format!(
            "Location {location:?} is taken: a live table is at it, inside it or around it; choose another"
        )),
    }
}
