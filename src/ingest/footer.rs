//! What a data file holds, as its manifest entry says: counts, sizes and bounds, from the Parquet footer.
//!
//! Engines skip files by these, so each must be true or absent. A bound is void where any row group has no statistics, or
//! has cut ones where they are to be the values themselves; texts and bytes are cut to as many code points or bytes as the
//! table says (16), the upper bound then raised to the next one there is, and left out where there is none; a bound is never
//! NaN. Columns inside lists and maps have counts but no bounds.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, Float32Array, Float64Array, RecordBatch, StructArray};
use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType, Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use super::partition::field_id;
use super::shortened;
use super::write::FileLayout;
use super::writing::Mode;
use crate::error::{Error, Result};

/// Counts, sizes and bounds by field id.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) column_sizes: HashMap<i32, u64>,
    pub(super) value_counts: HashMap<i32, u64>,
    pub(super) null_value_counts: HashMap<i32, u64>,
    pub(super) nan_value_counts: HashMap<i32, u64>,
    pub(super) lower_bounds: HashMap<i32, Datum>,
    pub(super) upper_bounds: HashMap<i32, Datum>,
    pub(super) split_offsets: Vec<i64>,
}

/// Reads the metrics off a footer; `rows` are the rows of the file, for what the footer does not count.
pub(super) fn of_file(footer: &ParquetMetaData, layout: &FileLayout, rows: &[RecordBatch]) -> Result<Metrics> {
    let mut metrics = Metrics::default();
    let columns = footer.file_metadata().schema_descr().num_columns();
    for column in 0..columns {
        of_column(footer, column, layout, &mut metrics)?;
    }
    for batch in rows {
        for (field, values) in batch.schema().fields().iter().zip(batch.columns()) {
            count_nans(field, values, layout, &mut metrics.nan_value_counts);
        }
    }
    for group in footer.row_groups() {
        if let Some(first) = group.columns().first() {
            let start = first.dictionary_page_offset().unwrap_or_else(|| first.data_page_offset());
            metrics.split_offsets.push(start);
        }
    }
    Ok(metrics)
}

fn of_column(footer: &ParquetMetaData, column: usize, layout: &FileLayout, metrics: &mut Metrics) -> Result<()> {
    let descriptor = footer.file_metadata().schema_descr().column(column);
    let info = descriptor.self_type().get_basic_info();
    if !info.has_id() {
        return Err(Error::internal(format!("Parquet column {} has no field id", descriptor.path())));
    }
    let id = info.id();
    let chunks: Vec<&ColumnChunkMetaData> = footer.row_groups().iter().map(|group| group.column(column)).collect();
    let sum = |count: fn(&ColumnChunkMetaData) -> i64| {
        chunks.iter().map(|chunk| u64::try_from(count(chunk)).unwrap_or(0)).sum::<u64>()
    };
    metrics.column_sizes.insert(id, sum(ColumnChunkMetaData::compressed_size));
    let mode = layout.writing.mode(id);
    if mode == Mode::None {
        return Ok(());
    }
    metrics.value_counts.insert(id, sum(ColumnChunkMetaData::num_values));
    let nulls: Option<u64> = chunks.iter().map(|chunk| chunk.statistics().and_then(Statistics::null_count_opt)).sum();
    if let Some(nulls) = nulls {
        metrics.null_value_counts.insert(id, nulls);
    }
    let Mode::Bounds(width) = mode else { return Ok(()) };
    if descriptor.max_rep_level() > 0 {
        return Ok(());
    }
    let Some(Type::Primitive(kind)) = layout.schema.field_by_id(id).map(|field| &*field.field_type) else {
        return Ok(());
    };
    if let Some((lower, upper)) = bounds(&chunks, kind, width) {
        metrics.lower_bounds.extend(cut_lower(lower, width).map(|bound| (id, bound)));
        metrics.upper_bounds.extend(cut_upper(upper, width).map(|bound| (id, bound)));
    }
    Ok(())
}

/// The least and greatest value over all row groups, if each group has them. A group of nulls says nothing and is passed
/// over. Of long values a group says something shorter below and above them: that will do where bounds are cut anyway, and
/// will not where they are to be the values themselves.
fn bounds(chunks: &[&ColumnChunkMetaData], kind: &PrimitiveType, width: usize) -> Option<(Datum, Datum)> {
    let mut found: Option<(Datum, Datum)> = None;
    for chunk in chunks {
        let statistics = chunk.statistics()?;
        if statistics.null_count_opt() == u64::try_from(chunk.num_values()).ok() {
            continue;
        }
        let exact = statistics.min_is_exact() && statistics.max_is_exact();
        let cut_anyway = width < usize::MAX && matches!(kind, PrimitiveType::String | PrimitiveType::Binary);
        if !exact && !cut_anyway {
            return None;
        }
        let (least, greatest) = (datum(statistics, kind, Side::Least)?, datum(statistics, kind, Side::Greatest)?);
        if least.is_nan() || greatest.is_nan() {
            return None;
        }
        found = Some(match found {
            None => (least, greatest),
            Some((low, high)) => {
                let low = if least < low { least } else { low };
                let high = if greatest > high { greatest } else { high };
                (low, high)
            }
        });
    }
    found
}

#[derive(Clone, Copy)]
enum Side {
    Least,
    Greatest,
}

fn datum(statistics: &Statistics, kind: &PrimitiveType, side: Side) -> Option<Datum> {
    macro_rules! value {
        ($statistics:expr) => {
            match side {
                Side::Least => $statistics.min_opt()?,
                Side::Greatest => $statistics.max_opt()?,
            }
        };
    }
    use PrimitiveType as P;
    // The single-value serialization of the format's specification ("Appendix D").
    let bytes = match (statistics, kind) {
        (Statistics::Boolean(s), P::Boolean) => vec![u8::from(*value!(s))],
        (Statistics::Int32(s), P::Int | P::Date) => value!(s).to_le_bytes().to_vec(),
        (Statistics::Int32(s), P::Decimal { .. }) => unscaled(i128::from(*value!(s))),
        (Statistics::Int64(s), P::Decimal { .. }) => unscaled(i128::from(*value!(s))),
        (
            Statistics::Int64(s),
            P::Long | P::Time | P::Timestamp | P::Timestamptz | P::TimestampNs | P::TimestamptzNs,
        ) => value!(s).to_le_bytes().to_vec(),
        (Statistics::Float(s), P::Float) => value!(s).to_le_bytes().to_vec(),
        (Statistics::Double(s), P::Double) => value!(s).to_le_bytes().to_vec(),
        (Statistics::ByteArray(s), P::String | P::Binary) => value!(s).data().to_vec(),
        (Statistics::FixedLenByteArray(s), P::Fixed(_) | P::Uuid) => value!(s).data().to_vec(),
        (Statistics::FixedLenByteArray(s), P::Decimal { .. }) => unscaled(signed(value!(s).data())?),
        _ => return None,
    };
    Datum::try_from_bytes(&bytes, kind.clone()).ok()
}

/// A decimal's unscaled value in as few big-endian bytes as hold it.
fn unscaled(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let redundant = |pair: &[u8]| (pair[0] == 0 && pair[1] < 0x80) || (pair[0] == 0xff && pair[1] >= 0x80);
    let start = bytes.windows(2).take_while(|pair| redundant(pair)).count();
    bytes[start..].to_vec()
}

/// A big-endian two's complement number of up to 16 bytes.
fn signed(bytes: &[u8]) -> Option<i128> {
    let negative = *bytes.first()? & 0x80 != 0;
    let mut whole = if negative { [0xff; 16] } else { [0; 16] };
    let start = 16_usize.checked_sub(bytes.len())?;
    whole[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(whole))
}

fn cut_lower(bound: Datum, width: usize) -> Option<Datum> {
    Some(match bound.literal() {
        PrimitiveLiteral::String(text) => Datum::string(text.chars().take(width).collect::<String>()),
        PrimitiveLiteral::Binary(bytes) if *bound.data_type() == PrimitiveType::Binary => {
            Datum::binary(bytes.iter().copied().take(width))
        }
        _ => bound,
    })
}

fn cut_upper(bound: Datum, width: usize) -> Option<Datum> {
    match bound.literal() {
        PrimitiveLiteral::String(text) => upper_text(text, width).map(Datum::string),
        PrimitiveLiteral::Binary(bytes) if *bound.data_type() == PrimitiveType::Binary => {
            upper_bytes(bytes, width).map(Datum::binary)
        }
        _ => Some(bound),
    }
}

/// The text itself if it has at most `width` code points, else what is above all that begin with as many.
fn upper_text(text: &str, width: usize) -> Option<String> {
    match text.char_indices().nth(width) {
        Some((end, _)) => shortened::raised_text(&text[..end]),
        None => Some(text.to_owned()),
    }
}

fn upper_bytes(bytes: &[u8], width: usize) -> Option<Vec<u8>> {
    match bytes.get(..width).filter(|kept| kept.len() < bytes.len()) {
        Some(kept) => shortened::raised_bytes(kept),
        None => Some(bytes.to_vec()),
    }
}

fn count_nans(field: &arrow::datatypes::Field, values: &ArrayRef, layout: &FileLayout, counts: &mut HashMap<i32, u64>) {
    if let Some(inner) = values.as_any().downcast_ref::<StructArray>() {
        for (field, values) in inner.fields().iter().zip(inner.columns()) {
            count_nans(field, values, layout, counts);
        }
        return;
    }
    let Some(id) = field_id(field).filter(|id| layout.writing.mode(*id) != Mode::None) else { return };
    if let Some(floats) = values.as_any().downcast_ref::<Float32Array>() {
        *counts.entry(id).or_default() += floats.iter().flatten().filter(|value| value.is_nan()).count() as u64;
    } else if let Some(doubles) = values.as_any().downcast_ref::<Float64Array>() {
        *counts.entry(id).or_default() += doubles.iter().flatten().filter(|value| value.is_nan()).count() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_bounds_are_above_everything_they_stand_for() {
        let long = |tail: &str| format!("0123456789abcde{tail}");
        assert_eq!(upper_text("short", 16).as_deref(), Some("short"));
        assert_eq!(upper_text(&long("f"), 16).as_deref(), Some(long("f").as_str()), "sixteen fit");
        assert_eq!(upper_text(&long("fg"), 16).as_deref(), Some(long("g").as_str()));
        assert_eq!(upper_text(&long("\u{d7ff}x"), 16).as_deref(), Some(long("\u{e000}").as_str()));
        assert_eq!(
            upper_text(&long("\u{10ffff}x"), 16).as_deref(),
            Some("0123456789abcdf"),
            "no next one: the one before is raised"
        );
        assert_eq!(upper_text(&"\u{10ffff}".repeat(17), 16), None, "none is above");
        assert_eq!(upper_bytes(&[0xff; 17], 16), None);
        assert_eq!(
            upper_bytes(&[[1; 15].as_slice(), &[0xff, 9]].concat(), 16),
            Some([[1; 14].as_slice(), &[2]].concat())
        );
    }

    #[test]
    fn numbers_keep_their_sign() {
        assert_eq!(signed(&[0xff, 0x85]), Some(-123));
        assert_eq!(signed(&[0x00, 0x7b]), Some(123));
        assert_eq!(signed(&[0; 17]), None);
        for (value, bytes) in
            [(0, vec![0]), (-1, vec![0xff]), (127, vec![0x7f]), (128, vec![0, 0x80]), (-129, vec![0xff, 0x7f])]
        {
            assert_eq!(unscaled(value), bytes, "{value}");
        }
    }
}
