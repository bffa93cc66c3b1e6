//! What a Parquet column chunk says of its values, as a whole and page by page: bounds, nulls, the order of its pages.
//!
//! It is what the library's writer says, to the byte; only that a bound which is cut in the middle of a value is raised as
//! `shortened.rs` does it, where the library knows no character or byte to raise or leaves zeros behind one.

use parquet::basic::{BoundaryOrder, ConvertedType, LogicalType, Type};
use parquet::data_type::{ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnChunkMetaDataBuilder, ColumnIndexBuilder, LevelHistogram};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescriptor;

use super::super::shortened;

/// A value as Parquet orders it. Those of one column are of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value<'a> {
    Int(i32),
    Long(i64),
    Bytes(&'a [u8]),
}

/// The least value and the greatest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) least: Value<'a>,
    pub(super) greatest: Value<'a>,
}

impl Bounds<'_> {
    fn with(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), greatest: self.greatest.max(other.greatest) }
    }
}

/// What is in a page; nothing but nulls has no bounds.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) rows: usize,
    pub(super) nulls: usize,
    pub(super) bounds: Option<Bounds<'a>>,
}

impl Page<'_> {
    /// How many of its values are nulls and how many are not, where a column may have nulls.
    fn levels(&self, of: &ColumnDescriptor) -> Option<LevelHistogram> {
        (of.max_def_level() > 0).then(|| LevelHistogram::from(vec![count(self.nulls), count(self.rows - self.nulls)]))
    }
}

/// A number as Parquet's descriptions have it.
pub(super) fn count(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

/// The description of a chunk with what its pages make of it, and what is said of each of them.
pub(super) fn say(
    chunk: ColumnChunkMetaDataBuilder,
    pages: &[Page<'_>],
    of: &ColumnDescriptor,
    properties: &WriterProperties,
    text_bytes: Option<i64>,
) -> Result<(ColumnChunkMetaData, ColumnIndexMetaData)> {
    let levels = pages.iter().filter_map(|page| page.levels(of)).reduce(|mut sum, page| {
        sum.add(&page);
        sum
    });
    let chunk = chunk
        .set_statistics(whole(pages, of, properties.statistics_truncate_length()))
        .set_unencoded_byte_array_data_bytes(text_bytes)
        .set_definition_level_histogram(levels)
        .build()?;
    Ok((chunk, index(pages, of, properties.column_index_truncate_length())?))
}

/// What the whole chunk says.
fn whole(pages: &[Page<'_>], of: &ColumnDescriptor, most: Option<usize>) -> Statistics {
    let nulls = Some(pages.iter().map(|page| page.nulls as u64).sum());
    let bounds = pages.iter().filter_map(|page| page.bounds).reduce(Bounds::with);
    let old = of.sort_order().is_signed();
    match bounds {
        None => match of.physical_type() {
            Type::INT32 => said::<Int32Type>(None, nulls, old).into(),
            Type::INT64 => said::<Int64Type>(None, nulls, old).into(),
            _ => said::<ByteArrayType>(None, nulls, old).into(),
        },
        Some(Bounds { least: Value::Int(least), greatest: Value::Int(greatest) }) => {
            said::<Int32Type>(Some((least, greatest)), nulls, old).into()
        }
        Some(Bounds { least: Value::Long(least), greatest: Value::Long(greatest) }) => {
            said::<Int64Type>(Some((least, greatest)), nulls, old).into()
        }
        Some(Bounds { least, greatest }) => {
            let (least, exact_least) = least.at_most(most, is_text(of));
            let (greatest, exact_greatest) = greatest.at_least(most, is_text(of));
            let said = said::<ByteArrayType>(Some((least.into(), greatest.into())), nulls, old);
            said.with_min_is_exact(exact_least).with_max_is_exact(exact_greatest).into()
        }
    }
}

/// `old`: whether the fields that bounds had before there were orders of columns say them too.
fn said<T: DataType>(bounds: Option<(T::T, T::T)>, nulls: Option<u64>, old: bool) -> ValueStatistics<T::T> {
    let (least, greatest) = bounds.unzip();
    ValueStatistics::new(least, greatest, None, nulls, false).with_backwards_compatible_min_max(old)
}

/// What is said of each page.
fn index(pages: &[Page<'_>], of: &ColumnDescriptor, most: Option<usize>) -> Result<ColumnIndexMetaData> {
    let mut builder = ColumnIndexBuilder::new(of.physical_type());
    for page in pages {
        let (least, greatest) = page.bounds.map_or_else(Default::default, |Bounds { least, greatest }| {
            (least.at_most(most, is_text(of)).0, greatest.at_least(most, is_text(of)).0)
        });
        builder.append(page.bounds.is_none(), least, greatest, count(page.nulls));
        builder.append_histograms(&None, &page.levels(of));
    }
    builder.set_boundary_order(order(pages));
    builder.build()
}

/// The order that pages lie in, those of nulls apart.
fn order(pages: &[Page<'_>]) -> BoundaryOrder {
    let bounds: Vec<Bounds<'_>> = pages.iter().filter_map(|page| page.bounds).collect();
    let rises = |pair: &[Bounds<'_>]| pair[0].least <= pair[1].least && pair[0].greatest <= pair[1].greatest;
    let falls = |pair: &[Bounds<'_>]| pair[0].least >= pair[1].least && pair[0].greatest >= pair[1].greatest;
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

impl Value<'_> {
    /// A bound of at most so many bytes that is not above the value, and whether it is the value.
    fn at_most(self, most: Option<usize>, text: bool) -> (Vec<u8>, bool) {
        self.cut(most, |bytes, most| shortened::below(bytes, most, text))
    }

    /// A bound of at most so many bytes that is not below the value, and whether it is the value.
    fn at_least(self, most: Option<usize>, text: bool) -> (Vec<u8>, bool) {
        self.cut(most, |bytes, most| shortened::above(bytes, most, text))
    }

    fn cut(self, most: Option<usize>, how: impl Fn(&[u8], usize) -> Option<Vec<u8>>) -> (Vec<u8>, bool) {
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
