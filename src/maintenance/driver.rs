//! Wakes upkeep: when something was queued for deletion, and every so often in any case.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::gc;
use super::reachable::Memory;
use crate::catalog::Catalog;
use crate::{clock, limits};

/// The running upkeep of every warehouse.
#[derive(Debug)]
pub struct Driver {
    stopping: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Driver {
    /// Starts upkeep; what an earlier process left undone is taken up at once.
    pub fn start(catalogs: Vec<Catalog>) -> Self {
        let stopping = CancellationToken::new();
        let catalogs: Arc<[Catalog]> = catalogs.into();
        let run = |own| tokio::spawn(run(own, Arc::clone(&catalogs), stopping.clone()));
        let mut tasks: Vec<JoinHandle<()>> = (0..catalogs.len()).map(run).collect();
        tasks.extend(catalogs.first().map(|first| tokio::spawn(drop_keys(first.clone(), stopping.clone()))));
        Self { tasks, stopping }
    }

    /// Stops; a purge under way ends at its next manifest, and goes on at the next start.
    pub async fn stop(self) {
        self.stopping.cancel();
        drop(join_all(self.tasks).await);
    }
}

async fn run(own: usize, catalogs: Arc<[Catalog]>, stopping: CancellationToken) {
    let memory = Memory::new();
    while !stopping.is_cancelled() {
        match gc::round(own, &catalogs, &memory, &stopping).await {
            Ok(gc::Left::More) => continue,
            Ok(gc::Left::Nothing) => {}
            Err(error) => tracing::warn!(error = error.chain(), "a round of deletion failed; it will be tried again"),
        }
        tokio::select! {
            () = stopping.cancelled() => {}
            () = catalogs[own].garbage() => {}
            () = clock::sleep(Duration::from_millis(limits::GC_INTERVAL_MS)) => {}
        }
    }
}

/// Idempotency keys that have expired go now and then.
async fn drop_keys(catalog: Catalog, stopping: CancellationToken) {
    while !stopping.is_cancelled() {
        if let Err(error) = catalog.keys().drop_expired(catalog.store()).await {
            tracing::warn!(
                error = error.chain(),
                "expired idempotency keys could not be removed; it will be tried again"
            );
        }
        tokio::select! {
            () = stopping.cancelled() => {}
            () = clock::sleep(Duration::from_millis(limits::KEYS_INTERVAL_MS)) => {}
        }
    }
}
