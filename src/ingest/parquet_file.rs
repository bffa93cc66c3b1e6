//! A Parquet file → columns of the table's schema, once it is whole.
//!
//! What a file unpacks to is known before it is unpacked: pages say how large they are, and texts that are written once and
//! meant many times stay so until they are counted. Footer and page headers are walked through before they are believed
//! ([`super::thrift`]): memory is set aside for what they claim.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use super::columns::Shape;
use super::decode::{Decoded, Reading, guarded, not_readable};
use super::parquet_lengths;
use super::sink::Sink;
use super::thrift::{FOOTER, PAGE, Walked, walk};
use crate::error::{Error, Kind, Result};
use crate::limits;

const WHAT: &str = "Parquet file";

/// Rows that are read at once.
const BATCH_ROWS: usize = 8_192;

/// Reads one file.
pub(super) struct ParquetReader {
    file: Vec<u8>,
    columns: Sink,
    most: usize,
}

impl ParquetReader {
    /// A reader of rows for a schema.
    pub(super) fn new(shape: &Shape, reading: Reading) -> Result<Self> {
        let most = reading.bounds.body_bytes;
        Ok(Self { file: Vec::new(), columns: Sink::new(shape, reading)?, most })
    }

    /// Takes more of the file.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.extend_from_slice(bytes);
        Ok(())
    }

    /// Reads the file.
    pub(super) fn finish(self) -> Result<Decoded> {
        let Self { file, mut columns, most } = self;
        guarded(WHAT, || {
            let file = Bytes::from(file);
            check_footer(&file)?;
            let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(unreadable)?;
            let unpacked: i64 = metadata.metadata().row_groups().iter().map(|group| group.total_byte_size()).sum();
            check_size(usize::try_from(unpacked).unwrap_or(usize::MAX), most)?;
            check_pages(&file, metadata.metadata(), most)?;
            let options = ArrowReaderOptions::new().with_schema(sharing(metadata.schema()).into());
            let metadata =
                ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options).map_err(unreadable)?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
            let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(unreadable)?;
            for batch in reader {
                columns.take(batch.map_err(|error| not_readable(WHAT).because(error))?)?;
                check_size(columns.weight(), most)?;
            }
            Ok(())
        })?;
        columns.finish()
    }
}

/// Refuses a footer that claims more than there is.
fn check_footer(file: &[u8]) -> Result<()> {
    let footer = || {
        let (rest, _magic) = file.split_last_chunk::<4>()?;
        let (rest, length) = rest.split_last_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        rest.get(rest.len().checked_sub(length)?..)
    };
    let footer = footer().ok_or_else(|| not_readable(WHAT))?;
    let (has, most) = (footer.len(), limits::PARQUET_FOOTER_BYTES_MAX);
    if has > most {
        let message =
            format!("The Parquet file's footer has {has} bytes, at most {most} are read: write fewer row groups");
        return Err(Error::new(Kind::TooLarge, message));
    }
    walk(footer, &FOOTER).map(drop).ok_or_else(|| not_readable(WHAT))
}

/// Refuses pages that unpack to more than is allowed in all, or that are not as their headers say.
fn check_pages(file: &Bytes, metadata: &ParquetMetaData, most: usize) -> Result<()> {
    let (mut unpacked, mut left) = (0_usize, file.len());
    for chunk in metadata.row_groups().iter().flat_map(RowGroupMetaData::columns) {
        let (start, length) = chunk.byte_range();
        let place = |at: u64| usize::try_from(at).ok();
        let ends = start.checked_add(length).and_then(place);
        let pages = place(start).zip(ends).and_then(|(start, end)| file.get(start..end));
        let mut pages = pages.ok_or_else(|| not_readable(WHAT))?;
        // No byte is of two chunks: what is walked through is never more than there is.
        left = left.checked_sub(pages.len()).ok_or_else(|| not_readable(WHAT))?;
        let mut packs_lengths = false;
        while !pages.is_empty() {
            let (found, rest) = page(pages).ok_or_else(|| not_readable(WHAT))?;
            unpacked = unpacked.saturating_add(found.bytes);
            packs_lengths |= found.packs_lengths;
            check_size(unpacked, most)?;
            pages = rest;
        }
        if packs_lengths && !parquet_lengths::are_there(file, chunk, most) {
            return Err(not_readable(WHAT));
        }
    }
    Ok(())
}

/// What the header of a page says.
#[derive(Debug, PartialEq, Eq)]
struct Headed {
    /// Bytes that it unpacks to.
    bytes: usize,
    /// Whether it packs lengths of texts together.
    packs_lengths: bool,
}

/// Where a page's header has the number of its values, by its kind, and where its encoding.
const DICTIONARY_VALUES: (i64, i64) = (7, 1);
const ENCODINGS: [(i64, i64); 2] = [(5, 2), (8, 4)];

/// `DELTA_LENGTH_BYTE_ARRAY` and `DELTA_BYTE_ARRAY`
const PACKED_LENGTHS: [i64; 2] = [6, 7];

/// The first page, and the pages behind it. A dictionary that claims more values than it has bytes is none.
fn page(pages: &[u8]) -> Option<(Headed, &[u8])> {
    let walked = walk(pages, &PAGE)?;
    let Walked { length, numbers: [_, unpacked, packed], .. } = walked;
    let size = |number: Option<i64>| usize::try_from(number?).ok();
    let rest = pages[length..].get(size(packed)?..)?;
    let bytes = size(unpacked)?;
    // Readers cut a number to 32 bits: it would be another to them.
    if walked.inner.iter().any(|found| i32::try_from(found.2).is_err()) {
        return None;
    }
    let (field, values) = DICTIONARY_VALUES;
    if walked.inner(field, values).any(|values| size(Some(values)).is_none_or(|values| values > bytes)) {
        return None;
    }
    let packs = |(field, id)| walked.inner(field, id).any(|encoding| PACKED_LENGTHS.contains(&encoding));
    Some((Headed { bytes, packs_lengths: ENCODINGS.into_iter().any(packs) }, rest))
}

fn check_size(bytes: usize, most: usize) -> Result<()> {
    if bytes <= most {
        return Ok(());
    }
    Err(Error::new(Kind::TooLarge, format!("Body has more than {most} bytes when decompressed: send less at once")))
}

fn unreadable(error: parquet::errors::ParquetError) -> Error {
    not_readable(WHAT).because(error)
}

/// The schema with texts and bytes in the form that shares what stands in the file once.
fn sharing(schema: &ArrowSchema) -> ArrowSchema {
    let fields: Fields = schema.fields().iter().map(|field| shared(field)).collect();
    ArrowSchema::new_with_metadata(fields, schema.metadata().clone())
}

fn shared(field: &Field) -> Field {
    let kind = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Struct(members) => DataType::Struct(members.iter().map(|member| shared(member)).collect()),
        DataType::List(element) => DataType::List(shared(element).into()),
        DataType::LargeList(element) => DataType::LargeList(shared(element).into()),
        DataType::Map(entries, sorted) => DataType::Map(shared(entries).into(), *sorted),
        kind => kind.clone(),
    };
    field.clone().with_data_type(kind)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    #[test]
    fn a_page_is_as_large_as_its_header_says() {
        let bomb = [&[0x15, 0x00, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 0x04, 0x00][..], b"xxmore"].concat();
        let headed = Headed { bytes: 0x7fff_ffff, packs_lengths: false };
        assert_eq!(page(&bomb), Some((headed, &b"more"[..])));
        // Encodings of lengths packed together, in pages of either version; and one that is that to who cuts it to 32 bits.
        let page_of = |header: &[u8]| {
            let bytes = [&[0x15, 0x00, 0x15, 0x02, 0x15, 0x04][..], header, &[0x00], b"xx"].concat();
            page(&bytes).map(|(headed, _)| headed.packs_lengths)
        };
        assert_eq!(page_of(&[0x2c, 0x25, 0x0e, 0x00]), Some(true));
        assert_eq!(page_of(&[0x2c, 0x25, 0x0e, 0x05, 0x04, 0x00, 0x00]), Some(true), "said once and once otherwise");
        assert_eq!(page_of(&[0x5c, 0x45, 0x0c, 0x00]), Some(true));
        assert_eq!(page_of(&[0x2c, 0x25, 0x00, 0x00]), Some(false));
        assert_eq!(page_of(&[0x2c, 0x25, 0x8e, 0x80, 0x80, 0x80, 0x20, 0x00]), None);
        assert_eq!(page_of(&[0x4c, 0x15, 0x02, 0x00]), Some(false), "a dictionary of a value");
        assert_eq!(page_of(&[0x4c, 0x15, 0x04, 0x00]), None, "and of more than it has bytes");
        for damaged in [&bomb[..12], &bomb[..8], &[0x15, 0x00, 0x00], &[0x15, 0x00, 0x15, 0x01, 0x15, 0x00, 0x00]] {
            assert_eq!(page(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn all_pages_of_a_file_are_counted() {
        let field = Field::new("a", DataType::Utf8, true);
        let texts = StringArray::from_iter_values((0..5_000).map(|row| format!("{row:0100}")));
        let rows = RecordBatch::try_new(Arc::new(ArrowSchema::new(vec![field])), vec![Arc::new(texts)]).expect("rows");
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).expect("a writer");
        writer.write(&rows).expect("written");
        let file = Bytes::from(writer.into_inner().expect("closed"));
        check_footer(&file).expect("as it says");
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).expect("read");
        check_pages(&file, metadata.metadata(), 1_000_000).expect("within");
        let refused = check_pages(&file, metadata.metadata(), 500_000).expect_err("too much");
        assert_eq!(refused.kind(), Kind::TooLarge);
        for at in [0, 8, 12, file.len() - 9] {
            assert!(check_footer(&file[..at]).is_err(), "{at}");
        }
    }
}
