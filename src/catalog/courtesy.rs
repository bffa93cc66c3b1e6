//! Room for those who lose races.
//!
//! A client that commits from outside works for a while on the state it loaded; ingest, which is inside and fast, would
//! win every race against it for ever. So after such a commit lost, ingest leaves the table alone for a moment: a short
//! one at first, longer with each further commit from outside that is lost, shorter with each that gets through, and never
//! longer than a bound, so that whoever pushes rows notices a pause and no more.

use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::Catalog;
use crate::clock;
use crate::limits;
use crate::names::TableName;

/// The tables on which commits from outside lost their races lately.
#[derive(Debug, Clone)]
pub(super) struct Courtesy {
    lost: Cache<TableName, Losses>,
}

#[derive(Debug, Clone, Copy)]
struct Losses {
    since: Instant,
    in_a_row: u32,
}

impl Losses {
    fn room(self) -> Duration {
        let ms = limits::COURTESY_FIRST_MS << self.in_a_row.min(16);
        Duration::from_millis(ms.min(limits::COURTESY_MS_MAX))
    }
}

impl Default for Courtesy {
    fn default() -> Self {
        let memory = Duration::from_millis(limits::COURTESY_MS_MAX);
        Self { lost: Cache::builder().max_capacity(limits::COURTESY_TABLES_MAX).time_to_live(memory).build() }
    }
}

impl Courtesy {
    /// A commit from outside lost its race on this table.
    pub(super) fn lost(&self, table: &TableName) {
        let in_a_row = self.lost.get(table).map_or(0, |before| (before.in_a_row + 1).min(8));
        self.lost.insert(table.clone(), Losses { since: clock::tick(), in_a_row });
    }

    /// A commit from outside got through.
    pub(super) fn won(&self, table: &TableName) {
        if let Some(before) = self.lost.get(table) {
            // One fewer who waits; the others come back after pauses of their own.
            self.lost.insert(table.clone(), Losses { in_a_row: before.in_a_row.saturating_sub(1), ..before });
        }
    }
}

impl Catalog {
    /// Waits, once and for a bounded time, while clients from outside should have their turn.
    pub async fn give_way(&self, table: &TableName) {
        if let Some(losses) = self.courtesy.lost.get(table) {
            clock::sleep(losses.room().saturating_sub(losses.since.elapsed())).await;
        }
    }
}
