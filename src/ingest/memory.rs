//! Memory for requests under way: one budget for all, and a share of it that one table may take.
//!
//! What does not fit is refused, a body before it is read, its columns before they are decoded: with [`Kind::Busy`] where the table has used up its share, with
//! [`Kind::Unavailable`] where the server is full.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::names::TableName;

/// The budget is counted in pages: a semaphore has no room for bytes.
const PAGE_BYTES: usize = 4 << 10;

/// Pages taken, by table.
type Taken = Arc<Mutex<HashMap<Owner, usize>>>;

/// The budget. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pages: Arc<Semaphore>,
    share: usize,
    taken: Taken,
}

/// The table that a request is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) warehouse: Arc<str>,
    pub(super) table: TableName,
}

/// Memory set aside for a request; given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    owner: Owner,
    pages: usize,
    taken: Taken,
    _permit: OwnedSemaphorePermit,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        let pages = bytes.div_ceil(PAGE_BYTES);
        let share = pages * limits::TABLE_SHARE_PERCENT / 100;
        Self { pages: Arc::new(Semaphore::new(pages)), share, taken: Arc::default() }
    }

    /// Sets memory aside for a request to a table. A request may take more than a share if it is alone: `own` is what it
    /// holds already.
    pub(super) fn reserve(&self, owner: &Owner, bytes: usize, own: Option<&Reserved>) -> Result<Reserved> {
        let pages = bytes.div_ceil(PAGE_BYTES).max(1);
        let mut taken = locked(&self.taken);
        let all = taken.get(owner).copied().unwrap_or(0);
        let others = all - own.map_or(0, |own| own.pages).min(all);
        if others > 0 && all + pages > self.share {
            metrics::counter!("floeberg_ingest_refused_total", "why" => "share").increment(1);
            let message =
                format!("Table {} has used up its share of the memory for rows under way: slow down", owner.table);
            return Err(Error::new(Kind::Busy, message).with_code("share"));
        }
        let count = u32::try_from(pages).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.pages).try_acquire_many_owned(count).map_err(|_| {
            metrics::counter!("floeberg_ingest_refused_total", "why" => "memory").increment(1);
            Error::new(
                Kind::Unavailable,
                "The server's memory for rows under way is used up; nothing was written: try again",
            )
            .with_code("memory")
        })?;
        *taken.entry(owner.clone()).or_default() += pages;
        Ok(Reserved { owner: owner.clone(), pages, taken: Arc::clone(&self.taken), _permit: permit })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut taken = locked(&self.taken);
        if let Some(all) = taken.get_mut(&self.owner) {
            *all = all.saturating_sub(self.pages);
            if *all == 0 {
                taken.remove(&self.owner);
            }
        }
    }
}

fn locked(taken: &Taken) -> std::sync::MutexGuard<'_, HashMap<Owner, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Namespace;

    fn table(name: &str) -> Owner {
        let table = TableName::new(Namespace::new(&["ns"]).expect("valid"), name).expect("valid");
        Owner { warehouse: "w".into(), table }
    }

    #[test]
    fn one_table_cannot_take_what_others_need() {
        let memory = Memory::new(100 * PAGE_BYTES);
        let first = memory.reserve(&table("a"), 40 * PAGE_BYTES, None).expect("fits");
        let refused = memory.reserve(&table("a"), 20 * PAGE_BYTES, None).expect_err("over its share");
        assert_eq!(refused.kind(), Kind::Busy);
        let other = memory.reserve(&table("b"), 60 * PAGE_BYTES, None).expect("fits");
        assert_eq!(memory.reserve(&table("c"), PAGE_BYTES, None).expect_err("full").kind(), Kind::Unavailable);
        drop((first, other));
        assert!(locked(&memory.taken).is_empty(), "nothing is remembered of tables that hold nothing");
    }

    #[test]
    fn a_request_alone_may_be_larger_than_a_share() {
        let memory = Memory::new(100 * PAGE_BYTES);
        let body = memory.reserve(&table("a"), 40 * PAGE_BYTES, None).expect("fits");
        let columns = memory.reserve(&table("a"), 60 * PAGE_BYTES, Some(&body)).expect("its own does not count");
        drop((body, columns));
    }
}
