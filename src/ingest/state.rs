//! What can be asked of rows that were pushed: what waits for a table, what became of a key, how far a producer is.

use super::Ingest;
use super::judge;
use super::queue::Buffered;
use super::receipt::Receipt;
use crate::error::Result;
use crate::names::TableName;
use crate::store::producers::Standing;

/// What is known of a table's rows.
#[derive(Debug)]
pub struct Status {
    /// What waits.
    pub buffered: Buffered,
    /// The current snapshot: its id, sequence number and time.
    pub snapshot: Option<(i64, i64, i64)>,
    /// When and why the last commit failed, if it did.
    pub last_error: Option<(i64, String)>,
}

/// What is known of a key.
#[derive(Debug)]
pub enum KeyState {
    /// Its request was answered so.
    Answered(Receipt),
    /// Its request is under way.
    Pending,
    /// Nothing.
    Unknown,
}

impl Ingest {
    /// What is known of a table's rows.
    pub async fn status(&self, name: &TableName) -> Result<Status> {
        let table = self.catalog.load_table(name).await?;
        let row = &self.catalog.find(name).await?.id;
        let snapshot = table.metadata.current_snapshot();
        Ok(Status {
            buffered: self.queues.buffered(row),
            snapshot: snapshot.map(|snapshot| (snapshot.id, snapshot.sequence_number, snapshot.timestamp_ms)),
            last_error: self.queues.last_error(row),
        })
    }

    /// What is known of a key.
    pub async fn key(&self, scope: &str, key: &str) -> Result<KeyState> {
        // First what is under way: it is answered before it is not any more.
        let pending = self.keys.contains(scope, key);
        match self.catalog.answer_under(scope, key).await? {
            Some(text) => Ok(KeyState::Answered(Receipt { again: false, ..judge::answered(&text)? })),
            None if pending => Ok(KeyState::Pending),
            None => Ok(KeyState::Unknown),
        }
    }

    /// How far the rows of a producer are committed.
    pub async fn producer(&self, name: &TableName, producer: &str) -> Result<Option<Standing>> {
        let row = self.catalog.find(name).await?;
        self.catalog.store().producer(&row.id, producer).await
    }
}
