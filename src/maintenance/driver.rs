//! Wakes upkeep: when something was queued for deletion, and every so often in any case.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::gc;
use super::reachable::Memory;
use crate::catalog::Catalog;
use crate::{clock, limits};

/// The running upkeep of one catalog.
#[derive(Debug)]
pub struct Driver {
    stopping: CancellationToken,
    task: JoinHandle<()>,
}

impl Driver {
    /// Starts upkeep; what an earlier process left undone is taken up at once.
    pub fn start(catalog: Catalog) -> Self {
        let stopping = CancellationToken::new();
        let task = tokio::spawn(run(catalog, stopping.clone()));
        Self { stopping, task }
    }

    /// Stops; a purge under way ends at its next manifest, and goes on at the next start.
    pub async fn stop(self) {
        self.stopping.cancel();
        drop(self.task.await);
    }
}

async fn run(catalog: Catalog, stopping: CancellationToken) {
    let memory = Memory::new();
    while !stopping.is_cancelled() {
        match gc::round(&catalog, &memory, &stopping).await {
            Ok(gc::Left::More) => continue,
            Ok(gc::Left::Nothing) => {}
            Err(error) => tracing::warn!(error = error.chain(), "a round of deletion failed; it will be tried again"),
        }
        tokio::select! {
            () = stopping.cancelled() => {}
            () = catalog.garbage() => {}
            () = clock::sleep(Duration::from_millis(limits::GC_INTERVAL_MS)) => {}
        }
    }
}
