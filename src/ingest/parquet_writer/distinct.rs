//! The distinct values of a column, numbered in the order in which they come: a Parquet dictionary in the making. Which of
//! them bound the current page is kept beside, so that nobody has to look at values again.

use std::hash::{BuildHasher, Hash};
use std::ops::Range;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::statistics::Value;

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
    page: u32,
    /// The least number of the page and the greatest, and their codes.
    bounds: Option<[(T, u32); 2]>,
}

impl<T: Copy + Ord + Hash + Plain> Numbers<T> {
    /// The number of a value of the current page.
    #[inline]
    pub(super) fn code(&mut self, value: T) -> u32 {
        let hashes = &self.hashes;
        let found =
            self.table.entry(hashes.hash_one(value), |slot| slot.key == value, |slot| hashes.hash_one(slot.key));
        let slot = match found {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(free) => {
                let code = u32::try_from(self.plain.len() / size_of::<T>()).unwrap_or(u32::MAX);
                value.append_to(&mut self.plain);
                // No page has it yet, not even the first.
                free.insert(Slot { key: value, code, page: u32::MAX }).into_mut()
            }
        };
        if slot.page != self.page {
            slot.page = self.page;
            let coded = (value, slot.code);
            let [least, greatest] = self.bounds.unwrap_or([coded; 2]);
            self.bounds = Some([least.min(coded), greatest.max(coded)]);
        }
        slot.code
    }

    pub(super) fn count(&self) -> usize {
        self.plain.len() / size_of::<T>()
    }

    /// The value that has a code.
    pub(super) fn value(&self, code: u32) -> Value<'_> {
        T::read_from(&self.plain, code as usize)
    }

    /// Ends a page: the codes of its least value and its greatest.
    pub(super) fn end_page(&mut self) -> Option<[u32; 2]> {
        self.page += 1;
        self.bounds.take().map(|bounds| bounds.map(|(_, code)| code))
    }
}

/// Numbers as Parquet has them.
pub(super) trait Plain {
    fn append_to(self, page: &mut Vec<u8>);

    /// The one at this place of a page that has it.
    fn read_from(page: &[u8], at: usize) -> Value<'static>;
}

impl Plain for i32 {
    fn append_to(self, page: &mut Vec<u8>) {
        page.extend_from_slice(&self.to_le_bytes());
    }

    fn read_from(page: &[u8], at: usize) -> Value<'static> {
        Value::Int(page.as_chunks().0.get(at).copied().map_or(0, Self::from_le_bytes))
    }
}

impl Plain for i64 {
    fn append_to(self, page: &mut Vec<u8>) {
        page.extend_from_slice(&self.to_le_bytes());
    }

    fn read_from(page: &[u8], at: usize) -> Value<'static> {
        Value::Long(page.as_chunks().0.get(at).copied().map_or(0, Self::from_le_bytes))
    }
}

/// Distinct texts or bytes.
#[derive(Debug, Default)]
pub(super) struct Texts {
    table: HashTable<Slot<u64>>,
    hashes: DefaultHashBuilder,
    known: Known,
    page: u32,
    /// The codes of the page's least and greatest.
    bounds: Option<[u32; 2]>,
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
            let [least, greatest] = self.bounds.unwrap_or([slot.code; 2]);
            let least = if value.is_below(&self.known.get(least)) { slot.code } else { least };
            let greatest = if self.known.get(greatest).is_below(&value) { slot.code } else { greatest };
            self.bounds = Some([least, greatest]);
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

    /// The value that has a code.
    pub(super) fn value(&self, code: u32) -> Value<'_> {
        Value::Bytes(self.known.get(code).bytes)
    }

    /// Ends a page: the codes of its least value and its greatest.
    pub(super) fn end_page(&mut self) -> Option<[u32; 2]> {
        self.page += 1;
        self.bounds.take()
    }
}

/// Bytes, and a number that is in the same order as they are: the first seven of them, and how many there are. Where values
/// are as short, the number is all there is to compare.
#[derive(Debug, Clone, Copy)]
pub(super) struct Led<'a> {
    lead: u64,
    bytes: &'a [u8],
}

/// How many bytes there are, as a lead says it of all that are longer than what is in it.
const LONG: u64 = 8;

impl<'a> Led<'a> {
    /// The bytes of this range.
    #[inline]
    pub(super) fn new(data: &'a [u8], range: Range<usize>) -> Self {
        let bytes = &data[range.clone()];
        let rest = &data[range.start..];
        let word = rest.first_chunk::<8>().copied().unwrap_or_else(|| {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            word
        });
        let known = (bytes.len() as u64).min(LONG);
        // What stands behind the bytes is not theirs.
        let theirs = !(u64::MAX >> (8 * known.min(LONG - 1)));
        Self { lead: u64::from_be_bytes(word) & theirs | known, bytes }
    }

    /// Whether the lead says it all.
    #[inline]
    fn is_short(&self) -> bool {
        self.lead & 0xff < LONG
    }

    fn is_below(&self, other: &Self) -> bool {
        let alike = self.lead == other.lead && !self.is_short();
        if alike { self.bytes < other.bytes } else { self.lead < other.lead }
    }
}
