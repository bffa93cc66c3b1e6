//! Memory for requests under way: one budget for all, and a share of it that one table may take.
//!
//! What does not fit is refused, a body before it is read, its columns before they are decoded: with [`Kind::Busy`] where the table has used up its share, with
//! [`Kind::Unavailable`] where the server is full.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, RecordBatch};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

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
    all: usize,
    /// Pages left below which nothing is kept waiting.
    tight: usize,
    share: usize,
    taken: Taken,
    hurry: Arc<Notify>,
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
    memory: Memory,
    owner: Owner,
    pages: usize,
    permit: Option<OwnedSemaphorePermit>,
}

/// What a request that outgrows what was set aside for it takes more at once: asking costs more than a page is worth.
const GROWTH_BYTES: usize = 64 << 10;

/// Bytes of a batch's values. Columns that were cut out of one buffer count each its part.
pub(super) fn weight_of(batch: &RecordBatch) -> usize {
    // What cannot be counted is at least as large as its rows are many.
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.len());
    batch.columns().iter().map(bytes).sum()
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        let pages = bytes.div_ceil(PAGE_BYTES);
        let share = pages * limits::TABLE_SHARE_PERCENT / 100;
        let tight = pages - pages * limits::MEMORY_TIGHT_PERCENT / 100;
        Self {
            pages: Arc::new(Semaphore::new(pages)),
            all: pages,
            tight,
            share,
            taken: Arc::default(),
            hurry: Arc::default(),
        }
    }

    /// Notes that a table holds so many pages less.
    fn give_back(&self, owner: &Owner, pages: usize) {
        let mut taken = locked(&self.taken);
        if let Some(all) = taken.get_mut(owner) {
            *all = all.saturating_sub(pages);
            if *all == 0 {
                taken.remove(owner);
            }
        }
    }

    /// Whether so much is taken that rows should not be kept waiting any longer.
    pub(super) fn is_tight(&self) -> bool {
        self.pages.available_permits() < self.tight
    }

    /// Bytes that one table may take while others of its requests are under way.
    pub(super) fn share_bytes(&self) -> usize {
        self.share * PAGE_BYTES
    }

    /// Bytes that are taken.
    pub(super) fn taken_bytes(&self) -> f64 {
        let pages = self.all - self.pages.available_permits().min(self.all);
        f64::from(u32::try_from(pages).unwrap_or(u32::MAX)) * 4_096.0
    }

    /// Tells everybody who keeps rows waiting.
    pub(super) fn hurry(&self) {
        self.hurry.notify_waiters();
    }

    /// Waits until [`Self::hurry`] is called.
    pub(super) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// Takes memory for rows that are there already, whatever there is left: until it is given back others are refused.
    pub(super) fn take(&self, owner: &Owner, bytes: usize) -> Reserved {
        let pages = bytes.div_ceil(PAGE_BYTES).min(self.pages.available_permits());
        let mut reserved = Reserved { memory: self.clone(), owner: owner.clone(), pages: 0, permit: None };
        drop(reserved.grow(pages * PAGE_BYTES));
        reserved
    }

    /// Sets memory aside for a request to a table.
    pub(super) fn reserve(&self, owner: &Owner, bytes: usize) -> Result<Reserved> {
        let mut reserved = Reserved { memory: self.clone(), owner: owner.clone(), pages: 0, permit: None };
        reserved.grow(bytes.max(1))?;
        Ok(reserved)
    }
}

impl Reserved {
    /// Sees to it that so many bytes are set aside in all. A request may take more than a share if it is alone.
    pub fn hold(&mut self, bytes: usize) -> Result<()> {
        let held = self.pages * PAGE_BYTES;
        if bytes <= held { Ok(()) } else { self.grow((bytes - held).max(GROWTH_BYTES)) }
    }

    /// Gives back what is more than so many bytes need.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let surplus = self.pages.saturating_sub(bytes.div_ceil(PAGE_BYTES).max(1));
        if surplus == 0 {
            return;
        }
        let Some(permit) = self.permit.as_mut().and_then(|permit| permit.split(surplus)) else { return };
        drop(permit);
        self.pages -= surplus;
        self.memory.give_back(&self.owner, surplus);
    }

    /// Takes over what was set aside for another request to the same table.
    pub(super) fn join(&mut self, mut other: Self) {
        if let Some(permit) = other.permit.take() {
            match &mut self.permit {
                Some(held) => held.merge(permit),
                none => *none = Some(permit),
            }
        }
        self.pages += std::mem::take(&mut other.pages);
    }

    fn grow(&mut self, bytes: usize) -> Result<()> {
        let pages = bytes.div_ceil(PAGE_BYTES);
        if pages == 0 {
            return Ok(());
        }
        let mut taken = locked(&self.memory.taken);
        let of_table = taken.get_mut(&self.owner);
        let all = of_table.as_deref().copied().unwrap_or(0);
        let others = all.saturating_sub(self.pages);
        if others > 0 && all + pages > self.memory.share {
            self.memory.hurry();
            metrics::counter!("floeberg_ingest_refused_total", "why" => "share").increment(1);
            let message =
                format!("Table {} has used up its share of the memory for rows under way: slow down", self.owner.table);
            return Err(Error::new(Kind::Busy, message).with_code("share"));
        }
        let count = u32::try_from(pages).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.memory.pages).try_acquire_many_owned(count).map_err(|_| {
            self.memory.hurry();
            metrics::counter!("floeberg_ingest_refused_total", "why" => "memory").increment(1);
            Error::new(
                Kind::Unavailable,
                "The server's memory for rows under way is used up; nothing was written: try again",
            )
            .with_code("memory")
        })?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        match of_table {
            Some(all) => *all += pages,
            None => drop(taken.insert(self.owner.clone(), pages)),
        }
        self.pages += pages;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // What another one took over is not this one's any more.
        if self.pages > 0 {
            self.memory.give_back(&self.owner, self.pages);
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
        let first = memory.reserve(&table("a"), 40 * PAGE_BYTES).expect("fits");
        let refused = memory.reserve(&table("a"), 20 * PAGE_BYTES).expect_err("over its share");
        assert_eq!(refused.kind(), Kind::Busy);
        let other = memory.reserve(&table("b"), 60 * PAGE_BYTES).expect("fits");
        assert_eq!(memory.reserve(&table("c"), PAGE_BYTES).expect_err("full").kind(), Kind::Unavailable);
        drop((first, other));
        assert!(locked(&memory.taken).is_empty(), "nothing is remembered of tables that hold nothing");
    }

    #[test]
    fn what_is_not_needed_any_more_is_given_back() {
        let memory = Memory::new(100 * PAGE_BYTES);
        drop(memory.take(&table("a"), 0));
        assert!(locked(&memory.taken).is_empty(), "who takes nothing is not remembered");
        let mut one = memory.reserve(&table("a"), 40 * PAGE_BYTES).expect("fits");
        one.shrink(5 * PAGE_BYTES + 1);
        assert_eq!((one.pages, memory.pages.available_permits()), (6, 94));
        one.shrink(0);
        let other = memory.reserve(&table("a"), 45 * PAGE_BYTES).expect("the share knows too");
        one.join(other);
        assert_eq!((one.pages, memory.pages.available_permits()), (46, 54));
        drop(one);
        assert_eq!(memory.pages.available_permits(), 100);
        assert!(locked(&memory.taken).is_empty());
    }

    #[test]
    fn a_request_alone_may_be_larger_than_a_share() {
        let memory = Memory::new(100 * PAGE_BYTES);
        let mut alone = memory.reserve(&table("a"), 40 * PAGE_BYTES).expect("fits");
        alone.hold(40 * PAGE_BYTES).expect("it has that");
        assert_eq!(alone.pages, 40);
        alone.hold(90 * PAGE_BYTES).expect("its own does not count");
        assert_eq!(alone.hold(101 * PAGE_BYTES).expect_err("there is no more").kind(), Kind::Unavailable);
        assert_eq!(memory.reserve(&table("a"), PAGE_BYTES).expect_err("over its share").kind(), Kind::Busy);
        drop(alone);
        assert_eq!(memory.pages.available_permits(), 100);
    }
}
