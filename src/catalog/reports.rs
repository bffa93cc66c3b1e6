//! What engines report of their scans and commits, written off the path of those who wait.
//!
//! A report is offered to a bounded queue and written in batches; where the queue is full it is only counted.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::limits;
use crate::store::Store;
use crate::store::reports::Report;

/// Reports written in one transaction.
const BATCH: usize = 256;

/// The way to the task that writes reports. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reports {
    sender: mpsc::Sender<Report>,
}

impl Reports {
    /// Starts the task.
    pub fn start(store: Store) -> Self {
        let (sender, receiver) = mpsc::channel(limits::REPORTS_QUEUED_MAX);
        tokio::spawn(write(store, receiver));
        Self { sender }
    }

    /// Offers a report of the table with this row id.
    pub fn offer(&self, tabular_id: &Arc<str>, report: String) {
        if self.sender.try_send(Report { tabular_id: Arc::clone(tabular_id), report }).is_err() {
            metrics::counter!("floeberg_metrics_reports_dropped_total").increment(1);
        }
    }

    /// Waits until everything offered so far has been taken up by the writer.
    pub async fn drain(&self) {
        drop(self.sender.reserve_many(limits::REPORTS_QUEUED_MAX).await);
    }
}

async fn write(store: Store, mut receiver: mpsc::Receiver<Report>) {
    let mut batch = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        if let Err(error) = store.add_reports(&batch).await {
            tracing::warn!(reports = batch.len(), error = error.chain(), "metrics reports could not be kept");
        }
        batch.clear();
    }
}
