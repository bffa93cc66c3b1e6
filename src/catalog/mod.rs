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
//! From step 4 on the work runs in a task of its own: a client that goes away cancels nothing. A swap that lost is tried
//! again while the requirements still hold. A swap whose outcome is unknown deletes nothing and is never called a failure.

pub mod append;
pub mod change;
pub mod check;
mod commit;
mod courtesy;
pub mod create;
mod lifecycle;
pub mod loaded;
pub mod metadata;
mod namespaces;
pub mod place;
pub mod properties;
pub mod reports;
mod sequencer;
mod tables;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::error::{Error, Kind, Result, What};
use crate::lake::Warehouse;
use crate::store::Store;
use crate::store::swap::Refusal;

pub use commit::TableChange;
pub use lifecycle::{Created, NewTableRequest, Register};
pub use loaded::Loaded;
pub use namespaces::{PropertyChanges, PropertyRemovals};

use courtesy::Courtesy;
use loaded::MetadataCache;
use sequencer::Sequencer;

/// One warehouse's namespaces and tables. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    store: Store,
    warehouse: Warehouse,
    clock: Clock,
    cache: MetadataCache,
    sequencer: Sequencer,
    courtesy: Courtesy,
    garbage: Arc<Notify>,
}

impl Catalog {
    /// The catalog of a warehouse. `garbage` is woken whenever something was queued for deletion.
    pub fn new(store: Store, warehouse: Warehouse, clock: Clock, garbage: Arc<Notify>) -> Self {
        let cache = MetadataCache::new(warehouse.clone());
        Self { store, warehouse, clock, cache, sequencer: Sequencer::default(), courtesy: Courtesy::default(), garbage }
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

    /// Passes on what came of an attempt; if it certainly did not commit, what it put is queued for deletion first.
    async fn cleaned_up<T>(&self, outcome: Result<T>, put: impl FnOnce() -> Vec<String>) -> Result<T> {
        if let Err(error) = &outcome
            && error.kind() != Kind::CommitUnknown
        {
            self.abandon(&put()).await;
        }
        outcome
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

/// Runs `work` to its end whether or not the caller waits for it.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let done = tokio::spawn(work).await;
    done.map_err(|error| {
        Error::new(Kind::CommitUnknown, "The commit was cut off by a fault of the server").because(error)
    })?
}

/// What a client is told of a swap that was refused for good.
fn refused(refusal: &Refusal) -> Error {
    match refusal {
        Refusal::Moved(name) => Error::conflict(format!("Table was changed concurrently: {name}")),
        Refusal::NameTaken(name) => {
            Error::new(Kind::AlreadyExists(What::Table), format!("Table already exists: {name}"))
        }
        Refusal::NoNamespace(name) => crate::store::namespaces::no_such_namespace(&name.namespace),
        Refusal::LocationTaken(location) => Error::invalid(format!(
            "Location {location:?} is taken: a live table is at it, inside it or around it; choose another"
        )),
    }
}
