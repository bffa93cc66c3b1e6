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
        Self { tasks: (0..catalogs.len()).map(run).collect(), stopping }
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
