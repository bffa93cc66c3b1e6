//! What a Parquet column chunk says of its values, as a whole and page by page: bounds, nulls, the order of its pages.
//!
//! The library's writer works this out value by value while it encodes, which is a fifth of encoding. Here it is worked out
//! for a piece of a column at once, before that is encoded; of columns of whole numbers, dates, times, texts and bytes that
//! stand on their own. What comes out is what the library would have written, to the byte: the tests of `parquet_writer.rs` hold
//! the two side by side. Fails only where pages do not begin where
//! the library is known to begin them.

use std::ops::Range;

use arrow::array::{Array, AsArray, GenericByteArray};
use arrow::compute::{max, min};
use arrow::datatypes::{
    ArrowNativeType, ArrowNumericType, ByteArrayType, DataType, Date32Type, Int32Type, Int64Type,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use parquet::basic::{BoundaryOrder, ConvertedType, LogicalType};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ColumnChunkMetaDataBuilder, ColumnIndexBuilder, LevelHistogram};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescriptor;

use super::super::shortened;

/// Whether columns of a type are worked out here.
pub(super) fn covers(kind: &DataType) -> bool {
    use DataType as D;
    use TimeUnit::{Microsecond, Nanosecond};
    matches!(
        kind,
        D::Int32
            | D::Date32
            | D::Int64
            | D::Time64(Microsecond | Nanosecond)
            | D::Timestamp(Microsecond | Nanosecond, _)
            | D::Utf8
            | D::LargeUtf8
            | D::Binary
            | D::LargeBinary
    )
}

/// What is known of the values of a column, piece by piece, in the pieces that pages are made of.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<Page>);

impl Pieces {
    /// Looks at values that are written next, while they are at hand. The library looks after so many rows of each array
    /// whether a page is full.
    pub(super) fn look_at(&mut self, array: &dyn Array, piece_rows: usize) {
        for start in (0..array.len()).step_by(piece_rows.max(1)) {
            let piece = start..array.len().min(start.saturating_add(piece_rows));
            let nulls = array.nulls().map_or(0, |nulls| nulls.slice(piece.start, piece.len()).null_count());
            self.0.push(Page { rows: piece.len(), nulls, bounds: bounds(array, piece) });
        }
    }

    /// Writes into the description of a chunk, made without statistics, what its values make of them.
    pub(super) fn complete(self, chunk: &mut ColumnCloseResult, properties: &WriterProperties) -> Result<()> {
        let offsets = chunk.offset_index.as_ref();
        let text_bytes = offsets.and_then(|offsets| offsets.unencoded_byte_array_data_bytes.as_ref());
        let text_bytes = text_bytes.map(|pages| pages.iter().sum());
        let starts = offsets.iter().flat_map(|offsets| offsets.page_locations()).map(|page| page.first_row_index);
        let pages = self.pages(starts)?;
        let of = chunk.metadata.column_descr_ptr();
        let (metadata, index) = say(chunk.metadata.clone().into_builder(), pages, &of, properties, text_bytes)?;
        (chunk.metadata, chunk.column_index) = (metadata, Some(index));
        Ok(())
    }

    /// The pages that begin at these rows.
    fn pages(self, starts: impl Iterator<Item = i64>) -> Result<Vec<Page>> {
        let mut starts = starts.map(|start| usize::try_from(start).unwrap_or(usize::MAX)).peekable();
        let mut pages: Vec<Page> = Vec::new();
        let mut row = 0;
        for piece in self.0 {
            let begins = starts.next_if(|start| *start <= row);
            if begins.is_some_and(|start| start != row) || (begins.is_none() && pages.is_empty()) {
                return Err(ParquetError::General(format!("No page begins at row {row}")));
            }
            row += piece.rows;
            match pages.last_mut() {
                Some(page) if begins.is_none() => page.add(piece),
                _ => pages.push(piece),
            }
        }
        match starts.next() {
            Some(start) => Err(ParquetError::General(format!("A page begins at row {start} of {row}"))),
            None => Ok(pages),
        }
    }
}

/// The description of a chunk with what its pages make of it, and what is said of each of them.
pub(super) fn say(
    chunk: ColumnChunkMetaDataBuilder,
    pages: Vec<Page>,
    of: &ColumnDescriptor,
    properties: &WriterProperties,
    text_bytes: Option<i64>,
) -> Result<(ColumnChunkMetaData, ColumnIndexMetaData)> {
    let index = index(&pages, of, properties.column_index_truncate_length())?;
    let levels = pages.iter().filter_map(|page| page.levels(of)).reduce(|mut sum, page| {
        sum.add(&page);
        sum
    });
    let chunk = chunk
        .set_statistics(whole(pages, of, properties.statistics_truncate_length()))
        .set_unencoded_byte_array_data_bytes(text_bytes)
        .set_definition_level_histogram(levels)
        .build()?;
    Ok((chunk, index))
}

/// A value as Parquet orders it. Those of one column are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Int(i32),
    Long(i64),
    Bytes(Box<[u8]>),
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Long(value)
    }
}

/// The least value and the greatest.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) least: Value,
    pub(super) greatest: Value,
}

impl Bounds {
    fn with(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), greatest: self.greatest.max(other.greatest) }
    }
}

/// What is in a page, or in a piece of one; nothing but nulls has no bounds.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) rows: usize,
    pub(super) nulls: usize,
    pub(super) bounds: Option<Bounds>,
}

impl Page {
    fn add(&mut self, piece: Self) {
        self.rows += piece.rows;
        self.nulls += piece.nulls;
        self.bounds = match (self.bounds.take(), piece.bounds) {
            (Some(known), Some(more)) => Some(known.with(more)),
            (known, more) => known.or(more),
        };
    }

    /// How many of its values are nulls and how many are not, where a column may have nulls.
    fn levels(&self, of: &ColumnDescriptor) -> Option<LevelHistogram> {
        (of.max_def_level() > 0).then(|| LevelHistogram::from(vec![count(self.nulls), count(self.rows - self.nulls)]))
    }
}

pub(super) fn count(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

fn bounds(array: &dyn Array, part: Range<usize>) -> Option<Bounds> {
    use DataType as D;
    match array.data_type() {
        D::Int32 => of_numbers::<Int32Type>(array, part),
        D::Date32 => of_numbers::<Date32Type>(array, part),
        D::Int64 => of_numbers::<Int64Type>(array, part),
        D::Time64(TimeUnit::Microsecond) => of_numbers::<Time64MicrosecondType>(array, part),
        D::Time64(_) => of_numbers::<Time64NanosecondType>(array, part),
        D::Timestamp(TimeUnit::Microsecond, _) => of_numbers::<TimestampMicrosecondType>(array, part),
        D::Timestamp(..) => of_numbers::<TimestampNanosecondType>(array, part),
        D::Utf8 => of_bytes(array.as_string::<i32>(), part),
        D::LargeUtf8 => of_bytes(array.as_string::<i64>(), part),
        D::Binary => of_bytes(array.as_binary::<i32>(), part),
        D::LargeBinary => of_bytes(array.as_binary::<i64>(), part),
        _ => None,
    }
}

fn of_numbers<T: ArrowNumericType>(array: &dyn Array, part: Range<usize>) -> Option<Bounds>
where
    T::Native: Into<Value>,
{
    let part = array.as_primitive::<T>().slice(part.start, part.len());
    Some(Bounds { least: min(&part)?.into(), greatest: max(&part)?.into() })
}

fn of_bytes<T: ByteArrayType>(array: &GenericByteArray<T>, part: Range<usize>) -> Option<Bounds> {
    let (data, offsets) = (array.value_data(), array.value_offsets());
    let value = |at: usize| Led::new(data, offsets[at].as_usize()..offsets[at + 1].as_usize());
    let found = match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => extremes(part.map(value)),
        Some(nulls) => extremes(part.filter(|at| nulls.is_valid(*at)).map(value)),
    };
    let (least, greatest) = found?;
    Some(Bounds { least: Value::Bytes(least.bytes.into()), greatest: Value::Bytes(greatest.bytes.into()) })
}

fn extremes<'a>(mut values: impl Iterator<Item = Led<'a>>) -> Option<(Led<'a>, Led<'a>)> {
    let first = values.next()?;
    let (mut least, mut greatest) = (first, first);
    for value in values {
        if value.is_below(&least) {
            least = value;
        }
        if greatest.is_below(&value) {
            greatest = value;
        }
    }
    Some((least, greatest))
}

/// Bytes, and a number that is in the same order as they are: the first seven of them, and how many there are. Where values
/// are as short, the number is all there is to compare.
#[derive(Debug, Clone, Copy)]
pub(super) struct Led<'a> {
    pub(super) lead: u64,
    pub(super) bytes: &'a [u8],
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
    pub(super) fn is_short(&self) -> bool {
        self.lead & 0xff < LONG
    }

    /// Branches here are foreseen well: once the extremes are found, values are seldom beyond them, and ties of short values
    /// need no look.
    #[inline]
    pub(super) fn is_below(&self, other: &Self) -> bool {
        let alike = self.lead == other.lead && !self.is_short();
        if alike { self.bytes < other.bytes } else { self.lead < other.lead }
    }
}

/// What the whole chunk says.
fn whole(pages: Vec<Page>, of: &ColumnDescriptor, most: Option<usize>) -> Statistics {
    let nulls = Some(pages.iter().map(|page| page.nulls as u64).sum());
    let bounds = pages.into_iter().filter_map(|page| page.bounds).reduce(Bounds::with);
    let old = of.sort_order().is_signed();
    match bounds {
        None => nothing(of, nulls, old),
        Some(Bounds { least: Value::Int(least), greatest: Value::Int(greatest) }) => {
            let said = ValueStatistics::new(Some(least), Some(greatest), None, nulls, false);
            Statistics::Int32(said.with_backwards_compatible_min_max(old))
        }
        Some(Bounds { least: Value::Long(least), greatest: Value::Long(greatest) }) => {
            let said = ValueStatistics::new(Some(least), Some(greatest), None, nulls, false);
            Statistics::Int64(said.with_backwards_compatible_min_max(old))
        }
        Some(Bounds { least, greatest }) => {
            let (least, exact_least) = least.at_most(most, is_text(of));
            let (greatest, exact_greatest) = greatest.at_least(most, is_text(of));
            let said = ValueStatistics::new(Some(least.into()), Some(greatest.into()), None, nulls, old);
            Statistics::ByteArray(said.with_min_is_exact(exact_least).with_max_is_exact(exact_greatest))
        }
    }
}

/// What a chunk of nulls says.
fn nothing(of: &ColumnDescriptor, nulls: Option<u64>, old: bool) -> Statistics {
    use parquet::basic::Type as Physical;
    match of.physical_type() {
        Physical::INT32 => {
            let said = ValueStatistics::<i32>::new(None, None, None, nulls, false);
            Statistics::Int32(said.with_backwards_compatible_min_max(old))
        }
        Physical::INT64 => {
            let said = ValueStatistics::<i64>::new(None, None, None, nulls, false);
            Statistics::Int64(said.with_backwards_compatible_min_max(old))
        }
        _ => {
            let said = ValueStatistics::new(None, None, None, nulls, false);
            Statistics::ByteArray(said.with_backwards_compatible_min_max(old))
        }
    }
}

/// What is said of each page.
fn index(pages: &[Page], of: &ColumnDescriptor, most: Option<usize>) -> Result<ColumnIndexMetaData> {
    let mut builder = ColumnIndexBuilder::new(of.physical_type());
    for page in pages {
        let (least, greatest) = page.bounds.as_ref().map_or_else(Default::default, |Bounds { least, greatest }| {
            (least.at_most(most, is_text(of)).0, greatest.at_least(most, is_text(of)).0)
        });
        builder.append(page.bounds.is_none(), least, greatest, count(page.nulls));
        builder.append_histograms(&None, &page.levels(of));
    }
    builder.set_boundary_order(order(pages));
    builder.build()
}

/// The order that pages lie in, those of nulls apart.
fn order(pages: &[Page]) -> BoundaryOrder {
    let bounds: Vec<&Bounds> = pages.iter().filter_map(|page| page.bounds.as_ref()).collect();
    let rises = |pair: &[&Bounds]| pair[0].least <= pair[1].least && pair[0].greatest <= pair[1].greatest;
    let falls = |pair: &[&Bounds]| pair[0].least >= pair[1].least && pair[0].greatest >= pair[1].greatest;
    if bounds.windows(2).all(rises) {
        BoundaryOrder::ASCENDING
    } else if bounds.windows(2).all(falls) {
        BoundaryOrder::DESCENDING
    } else {
        BoundaryOrder::UNORDERED
    }
}

fn is_text(of: &ColumnDescriptor) -> bool {
    of.logical_type_ref() == Some(&LogicalType::String) || of.converted_type() == ConvertedType::UTF8
}

impl Value {
    /// A bound of at most so many bytes that is not above the value, and whether it is the value.
    fn at_most(&self, most: Option<usize>, text: bool) -> (Vec<u8>, bool) {
        self.cut(most, |bytes, most| shortened::below(bytes, most, text))
    }

    /// A bound of at most so many bytes that is not below the value, and whether it is the value.
    fn at_least(&self, most: Option<usize>, text: bool) -> (Vec<u8>, bool) {
        self.cut(most, |bytes, most| shortened::above(bytes, most, text))
    }

    fn cut(&self, most: Option<usize>, how: impl Fn(&[u8], usize) -> Option<Vec<u8>>) -> (Vec<u8>, bool) {
        match self {
            Self::Int(value) => (value.to_le_bytes().to_vec(), true),
            Self::Long(value) => (value.to_le_bytes().to_vec(), true),
            Self::Bytes(bytes) => match most.filter(|most| bytes.len() > *most).and_then(|most| how(bytes, most)) {
                Some(cut) => (cut, false),
                None => (bytes.to_vec(), true),
            },
        }
    }
}
