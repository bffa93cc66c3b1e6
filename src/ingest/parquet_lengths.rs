//! The lengths of texts that pages of a Parquet file pack together ("Delta-length byte array" and "Delta Strings" of the
//! format's encodings).
//!
//! Before its first text is read, the decoder sets memory aside for as many lengths as the page claims, and a claim that
//! cannot be met ends the process. So every claim is looked at before: no page has more lengths than it has values, and those
//! take no more than a body may.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::Page;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;

use super::thrift::varint;

/// Whether the lengths that the pages of a chunk claim are there; at most `most` bytes of them in a page. A chunk that
/// cannot be read is refused by its reader.
pub(super) fn are_there(file: &Bytes, chunk: &ColumnChunkMetaData, most: usize) -> bool {
    let Ok(rows) = usize::try_from(chunk.num_values()) else { return false };
    let Ok(pages) = SerializedPageReader::new(Arc::new(file.clone()), chunk, rows, None) else { return false };
    let column = chunk.column_descr();
    pages.map_while(PageResult::ok).all(|page| of_page(&page, column, most).is_some())
}

type PageResult = parquet::errors::Result<Page>;

fn of_page(page: &Page, column: &ColumnDescriptor, most: usize) -> Option<()> {
    let (buffer, count, encoding, start) = match page {
        Page::DictionaryPage { .. } => return Some(()),
        Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, .. } => {
            let levels = [(column.max_rep_level(), rep_level_encoding), (column.max_def_level(), def_level_encoding)];
            let start = levels.into_iter().filter(|(most, _)| *most > 0).try_fold(0, |at, (_, encoding)| {
                // Levels packed bit by bit are of versions before those encodings.
                let length = buf.get(at..)?.first_chunk::<4>().filter(|_| *encoding == Encoding::RLE)?;
                usize::try_from(u32::from_le_bytes(*length)).ok()?.checked_add(at + 4)
            });
            (buf, num_values, encoding, start)
        }
        Page::DataPageV2 { buf, num_values, encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
            let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
            (buf, num_values, encoding, usize::try_from(levels).ok())
        }
    };
    let most = usize::try_from(*count).ok()?.min(most / size_of::<u32>());
    let values = || buffer.get(start?..);
    match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => numbers(values()?, most).map(drop),
        Encoding::DELTA_BYTE_ARRAY => {
            // How much each text shares with the one before, and how much follows.
            let values = values()?;
            numbers(values.get(numbers(values, most)?..)?, most).map(drop)
        }
        _ => Some(()),
    }
}

/// Bytes that a block of numbers takes ("Delta encoding"), of which there are at most `most`.
fn numbers(data: &[u8], most: usize) -> Option<usize> {
    let mut at = 0;
    let [block, minis, count] = [(); 3].map(|()| usize::try_from(varint(data, &mut at)?).ok());
    let (block, minis, count) = (block?, minis?, count?);
    varint(data, &mut at)?;
    let each = block.checked_div(minis).filter(|each| each * minis == block && each % 32 == 0 && block % 128 == 0)?;
    let mut left = count.checked_sub(1).unwrap_or(count);
    if count > most {
        return None;
    }
    while left > 0 {
        varint(data, &mut at)?;
        let widths = data.get(at..)?.get(..minis)?;
        at += minis;
        for width in widths {
            // Of those behind the last number nothing is there, whatever they say.
            let bits = if left == 0 { 0 } else { usize::from(*width) };
            at = bits.checked_mul(each)?.checked_div(8)?.checked_add(at).filter(|at| *at <= data.len())?;
            left = left.saturating_sub(each);
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
    use parquet::file::properties::{WriterProperties, WriterVersion};

    use super::*;

    fn file(encoding: Encoding, version: WriterVersion, rows: usize) -> Bytes {
        let texts = (0..rows).map(|row| (row % 3 > 0).then(|| format!("{}{row}", "ab".repeat(row % 7))));
        let texts: ArrayRef = Arc::new(StringArray::from_iter(texts));
        let rows = RecordBatch::try_from_iter_with_nullable([("a", texts, true)]).expect("rows");
        let properties = WriterProperties::builder().set_dictionary_enabled(false).set_encoding(encoding);
        let properties = properties.set_writer_version(version).set_data_page_row_count_limit(700).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).expect("a writer");
        writer.write(&rows).expect("written");
        writer.into_inner().expect("closed").into()
    }

    #[test]
    fn lengths_that_were_written_are_there() {
        for encoding in [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY, Encoding::PLAIN] {
            for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                for rows in [1, 2, 33, 5_000] {
                    let file = file(encoding, version, rows);
                    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).expect("read");
                    let chunk = metadata.metadata().row_group(0).column(0);
                    assert!(are_there(&file, chunk, 1 << 20), "{encoding} {version:?} {rows}");
                    let few = are_there(&file, chunk, 100);
                    assert!(!few || rows < 50 || encoding == Encoding::PLAIN, "{encoding} {version:?} {rows}");
                }
            }
        }
    }

    #[test]
    fn claims_are_not_believed() {
        // Blocks of 128 in 4, so many numbers, the first; then blocks of which each takes five bytes and more.
        assert_eq!(numbers(&[0x80, 1, 4, 1, 0, 9], 9), Some(5));
        assert_eq!(numbers(&[0x80, 1, 4, 0, 0, 9], 9), Some(5), "none");
        assert_eq!(numbers(&[0x80, 1, 4, 3, 0, 0, 1, 9, 9, 9, 1, 2, 3, 4, 5], 9), Some(14));
        for bad in [
            &[0x80, 1, 4, 10, 0, 0, 0, 0, 0, 0][..],
            &[0x80, 1, 4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0],
            &[0x80, 1, 0, 1, 0],
            &[0x40, 4, 1, 0],
            &[0x80, 1, 4, 3, 0, 0, 1, 0, 0, 0, 1],
            &[0x80, 1, 4, 3],
        ] {
            assert_eq!(numbers(bad, 9), None, "{bad:?}");
        }
    }
}
