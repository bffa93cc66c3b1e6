//! Which metadata file each table's pointer names, as known in memory.
//!
//! One process owns the database, so a name once read (or found missing) stays known until a swap changes it. The danger
//! is a reader that reads a row, is overtaken by a swap, and then remembers the old row: a reader therefore takes a
//! ticket before it reads, and what it brings is kept only if no swap has touched its stripe of names since.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::Mutex;

use moka::sync::Cache;

use super::tables::TableRow;
use crate::limits;
use crate::names::TableName;

/// A table's name in its warehouse.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) warehouse: Arc<str>,
    pub(super) table: TableName,
}

const STRIPES: usize = 64;

#[derive(Debug)]
pub(super) struct Pointers {
    known: Cache<Key, Option<Arc<TableRow>>>,
    stripes: [Mutex<u64>; STRIPES],
    hasher: RandomState,
}

/// What a reader holds while it reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    stripe: usize,
    epoch: u64,
}

impl Default for Pointers {
    fn default() -> Self {
        Self {
            known: Cache::builder().max_capacity(limits::POINTER_CACHE_BYTES).weigher(weight).build(),
            stripes: std::array::from_fn(|_| Mutex::new(0)),
            hasher: RandomState::new(),
        }
    }
}

impl Pointers {
    /// What is known of the name: a row, that there is none, or nothing.
    pub(super) fn get(&self, key: &Key) -> Option<Option<Arc<TableRow>>> {
        self.known.get(key)
    }

    /// To be taken before the row is read.
    pub(super) fn ticket(&self, key: &Key) -> Ticket {
        let stripe = self.stripe(key);
        Ticket { stripe, epoch: *lock(&self.stripes[stripe]) }
    }

    /// Keeps what a reader found, unless a swap came between.
    pub(super) fn learn(&self, ticket: Ticket, key: Key, row: Option<Arc<TableRow>>) {
        let epoch = lock(&self.stripes[ticket.stripe]);
        if *epoch == ticket.epoch {
            self.known.insert(key, row);
        }
    }

    /// Keeps what a swap has made true.
    pub(super) fn set(&self, key: Key, row: Option<Arc<TableRow>>) {
        let mut epoch = lock(&self.stripes[self.stripe(&key)]);
        *epoch += 1;
        self.known.insert(key, row);
    }

    /// Forgets a name whose row is not certain.
    pub(super) fn forget(&self, key: &Key) {
        let mut epoch = lock(&self.stripes[self.stripe(key)]);
        *epoch += 1;
        self.known.invalidate(key);
    }

    fn stripe(&self, key: &Key) -> usize {
        usize::try_from(self.hasher.hash_one(key) % STRIPES as u64).unwrap_or(0)
    }
}

/// Bytes, about, that an entry takes.
fn weight(key: &Key, row: &Option<Arc<TableRow>>) -> u32 {
    let name = key.table.namespace.path().len() + key.table.name.len();
    let row = row.as_ref().map_or(0, |row| row.location.len() + row.metadata_location.len() + name + 200);
    u32::try_from(name + row + 200).unwrap_or(u32::MAX)
}

/// A counter is whole whatever a panicking holder did.
fn lock(stripe: &Mutex<u64>) -> std::sync::MutexGuard<'_, u64> {
    stripe.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
