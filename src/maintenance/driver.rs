//! Wakes upkeep: when something was queued for deletion, and every so often in any case.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::gc;
use super::reachable::Memory;
use super::rejected::Passes;
use crate::catalog::Catalog;
use crate::{clock, limits};

/// The warehouses that upkeep knows.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) catalogs: Arc<[Catalog]>,
    /// Whether there are no others, whose tables could reach files that these have no use for.
    pub(super) whole: bool,
}

/// The running upkeep of every warehouse.
#[derive(Debug)]
pub struct Driver {
    stopping: CancellationToken,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    /// What upkeep of a warehouse stops by when another takes its place.
    of_warehouses: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Driver {
    /// Starts upkeep of these; what an earlier process left undone is taken up at once.
    pub fn start(catalogs: Vec<Catalog>, whole: bool) -> Self {
        let stopping = CancellationToken::new();
        let keys = catalogs.first().map(|first| tokio::spawn(drop_keys(first.clone(), stopping.clone())));
        let running = Running { of_warehouses: stopping.child_token(), tasks: keys.into_iter().collect() };
        let driver = Self { stopping, running: Mutex::new(running) };
        driver.serve(catalogs, whole);
        driver
    }

    /// Keeps these from now on. What is under way with others ends where a stop would end it.
    pub fn serve(&self, catalogs: Vec<Catalog>, whole: bool) {
        let known = Known { catalogs: catalogs.into(), whole };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.of_warehouses.cancel();
        running.of_warehouses = self.stopping.child_token();
        running.tasks.retain(|task| !task.is_finished());
        for own in 0..known.catalogs.len() {
            let task = tokio::spawn(run(own, known.clone(), running.of_warehouses.clone()));
            running.tasks.push(task);
        }
    }

    /// Stops; a purge under way ends at its next manifest, and goes on at the next start.
    pub async fn stop(&self) {
        self.stopping.cancel();
        let tasks = std::mem::take(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner).tasks);
        drop(join_all(tasks).await);
    }
}

async fn run(own: usize, known: Known, stopping: CancellationToken) {
    let (memory, mut rejected) = (Memory::new(), Passes::new());
    while !stopping.is_cancelled() {
        rejected.keep_up(&known.catalogs[own], &stopping).await;
        match gc::round(own, &known, &memory, &stopping).await {
            Ok(gc::Left::More) => continue,
            Ok(gc::Left::Nothing) => {}
            Err(error) => tracing::warn!(error = error.chain(), "a round of deletion failed; it will be tried again"),
        }
        tokio::select! {
            () = stopping.cancelled() => {}
            () = known.catalogs[own].garbage() => {}
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
