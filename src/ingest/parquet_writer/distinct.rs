//! The distinct values of a column, numbered in the order in which they come: a Parquet dictionary in the making. What
//! bounds the values of the current page is kept beside, so that nobody has to look at them again.

use std::hash::{BuildHasher, Hash};

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::statistics::{Bounds, Led, Value};

/// A value's place in the table.
#[derive(Debug)]
struct Slot<K> {
    key: K,
    code: u32,
    /// The last page that has the value.
    page: u32,
}

/// Distinct numbers.
#[derive(Debug, Default)]
pub(super) struct Numbers<T> {
    table: HashTable<Slot<T>>,
    hashes: DefaultHashBuilder,
    /// The numbers one after the other, as a dictionary page has them.
    pub(super) plain: Vec<u8>,
    count: u32,
    page: u32,
    bounds: Option<(T, T)>,
}

impl<T: Copy + Ord + Hash + Into<Value> + Plain> Numbers<T> {
    /// The number of a value of the current page.
    #[inline]
    pub(super) fn code(&mut self, value: T) -> u32 {
        let hashes = &self.hashes;
        let found =
            self.table.entry(hashes.hash_one(value), |slot| slot.key == value, |slot| hashes.hash_one(slot.key));
        let slot = match found {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(free) => {
                value.append_to(&mut self.plain);
                self.count += 1;
                // No page has it yet, not even the first.
                free.insert(Slot { key: value, code: self.count - 1, page: u32::MAX }).into_mut()
            }
        };
        if slot.page != self.page {
            slot.page = self.page;
            let (least, greatest) = self.bounds.unwrap_or((value, value));
            self.bounds = Some((least.min(value), greatest.max(value)));
        }
        slot.code
    }

    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// Ends a page: what its values lie between.
    pub(super) fn end_page(&mut self) -> Option<Bounds> {
        self.page += 1;
        self.bounds.take().map(|(least, greatest)| Bounds { least: least.into(), greatest: greatest.into() })
    }
}

/// Numbers as Parquet has them.
pub(super) trait Plain {
    fn append_to(self, page: &mut Vec<u8>);
}

impl Plain for i32 {
    fn append_to(self, page: &mut Vec<u8>) {
        page.extend_from_slice(&self.to_le_bytes());
    }
}

impl Plain for i64 {
    fn append_to(self, page: &mut Vec<u8>) {
        page.extend_from_slice(&self.to_le_bytes());
    }
}

/// Distinct texts or bytes.
#[derive(Debug, Default)]
pub(super) struct Texts {
    table: HashTable<Slot<u64>>,
    hashes: DefaultHashBuilder,
    known: Known,
    page: u32,
    /// The codes of the least and the greatest.
    bounds: Option<(u32, u32)>,
}

/// The values, one after the other, each behind its length, as a dictionary page has them.
#[derive(Debug, Default)]
struct Known {
    plain: Vec<u8>,
    starts: Vec<usize>,
}

impl Known {
    fn get(&self, code: u32) -> Led<'_> {
        let start = self.starts[code as usize];
        let end = self.starts.get(code as usize + 1).map_or(self.plain.len(), |next| next - LENGTH_BYTES);
        Led::new(&self.plain, start..end)
    }

    fn push(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.plain.extend_from_slice(&length.to_le_bytes());
        self.starts.push(self.plain.len());
        self.plain.extend_from_slice(bytes);
    }
}

const LENGTH_BYTES: usize = 4;

/// Short values are told apart by their lead alone.
fn hash(hashes: &DefaultHashBuilder, value: &Led<'_>) -> u64 {
    if value.is_short() { hashes.hash_one(value.lead) } else { hashes.hash_one(value.bytes) }
}

impl Texts {
    /// The number of a value of the current page.
    #[inline]
    pub(super) fn code(&mut self, value: Led<'_>) -> u32 {
        let (hashes, known) = (&self.hashes, &self.known);
        let same = |slot: &Slot<u64>| {
            slot.key == value.lead && (value.is_short() || known.get(slot.code).bytes == value.bytes)
        };
        let found = self.table.entry(hash(hashes, &value), same, |slot| hash(hashes, &known.get(slot.code)));
        let slot = match found {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(free) => {
                let code = u32::try_from(self.known.starts.len()).unwrap_or(u32::MAX);
                self.known.push(value.bytes);
                free.insert(Slot { key: value.lead, code, page: u32::MAX }).into_mut()
            }
        };
        if slot.page != self.page {
            slot.page = self.page;
            let (least, greatest) = self.bounds.unwrap_or((slot.code, slot.code));
            let least = if value.is_below(&self.known.get(least)) { slot.code } else { least };
            let greatest = if self.known.get(greatest).is_below(&value) { slot.code } else { greatest };
            self.bounds = Some((least, greatest));
        }
        slot.code
    }

    pub(super) fn count(&self) -> usize {
        self.known.starts.len()
    }

    /// The dictionary page so far.
    pub(super) fn plain(&self) -> &[u8] {
        &self.known.plain
    }

    /// Ends a page: what its values lie between.
    pub(super) fn end_page(&mut self) -> Option<Bounds> {
        self.page += 1;
        let value = |code| Value::Bytes(self.known.get(code).bytes.into());
        self.bounds.take().map(|(least, greatest)| Bounds { least: value(least), greatest: value(greatest) })
    }
}
