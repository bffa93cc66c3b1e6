//! A column chunk whose values are written as codes of a dictionary: what nearly every column of rows is.
//!
//! One look at each value finds its code, and the bounds of its page besides. The bytes are those of the library's writer,
//! which takes twice as long. It writes whatever is not as it is here: other types, other codecs than zstd, columns with a
//! bloom filter or without statistics; and a whole chunk whose dictionary grows beyond what the table allows.

use std::ops::Range;

use arrow::array::{Array, AsArray, GenericByteArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeType, ByteArrayType, DataType, Date32Type, Int32Type, Int64Type, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, EncodingMask, PageType, Type, ZstdLevel};
use parquet::column::page::{CompressedPage, Page as ParquetPage, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::{ColumnDescPtr, ColumnPath};
use zstd::bulk::Compressor;

use super::distinct::{Led, Numbers, Texts};
use super::packed;
use super::statistics::{self, Bounds, Page, Value};

/// Whether a dictionary may still grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dictionary {
    Fits,
    Full,
}

/// A chunk of a column on its own that has a dictionary.
pub(super) struct DictionaryColumn {
    of: ColumnDescPtr,
    limits: Limits,
    values: Values,
    page: OpenPage,
    pages: Vec<EndedPage>,
}

enum Values {
    Ints(Numbers<i32>),
    Longs(Numbers<i64>),
    Texts(Texts),
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    piece_rows: usize,
    page_rows: usize,
    page_bytes: usize,
    dictionary_bytes: usize,
}

/// The page that is being gathered.
#[derive(Debug, Default)]
struct OpenPage {
    rows: usize,
    nulls: usize,
    codes: Vec<u32>,
    /// A 0 for each null and a 1 for each value; nothing as long as there is no null.
    levels: Vec<u32>,
    text_bytes: i64,
}

/// A page that is compressed.
struct EndedPage {
    body: Bytes,
    uncompressed: usize,
    rows: usize,
    nulls: usize,
    text_bytes: i64,
    /// The codes of its least value and its greatest.
    bounds: Option<[u32; 2]>,
}

/// The zstd level of a file's pages, if they are compressed so.
pub(super) fn level(properties: &WriterProperties) -> Option<ZstdLevel> {
    match properties.compression(&ColumnPath::new(Vec::new())) {
        Compression::ZSTD(level) => Some(level),
        _ => None,
    }
}

/// Whether values are of a type that is written here, on their own and not inside others.
fn takes(kind: &DataType) -> bool {
    use DataType as D;
    use TimeUnit::{Microsecond, Nanosecond};
    let numbers = matches!(
        kind,
        D::Int32
            | D::Date32
            | D::Int64
            | D::Time64(Microsecond | Nanosecond)
            | D::Timestamp(Microsecond | Nanosecond, _)
    );
    numbers || matches!(kind, D::Utf8 | D::LargeUtf8 | D::Binary | D::LargeBinary)
}

impl DictionaryColumn {
    /// A chunk of a column of this type, if the file's properties want it as it is written here.
    pub(super) fn of(kind: &DataType, of: ColumnDescPtr, properties: &WriterProperties) -> Option<Self> {
        let path = of.path();
        let compressed = properties.compression(path) == Compression::ZSTD(level(properties)?);
        let said = properties.statistics_enabled(path) == EnabledStatistics::Page
            && !properties.write_page_header_statistics(path)
            && !properties.offset_index_disabled();
        let plain = properties.dictionary_enabled(path)
            && properties.bloom_filter_properties(path).is_none()
            && properties.writer_version() == WriterVersion::PARQUET_1_0;
        if !(takes(kind) && compressed && said && plain) {
            return None;
        }
        let values = match of.physical_type() {
            Type::INT32 => Values::Ints(Numbers::default()),
            Type::INT64 => Values::Longs(Numbers::default()),
            Type::BYTE_ARRAY => Values::Texts(Texts::default()),
            _ => return None,
        };
        let limits = Limits {
            piece_rows: properties.write_batch_size().max(1),
            page_rows: properties.data_page_row_count_limit(),
            page_bytes: properties.column_data_page_size_limit(path),
            dictionary_bytes: properties.column_dictionary_page_size_limit(path).min(u32::MAX as usize),
        };
        Some(Self { of, limits, values, page: OpenPage::default(), pages: Vec::new() })
    }

    /// Writes values. Where the dictionary is full the chunk is of no use any more.
    pub(super) fn write(&mut self, array: &dyn Array, zstd: &mut Compressor<'_>) -> Result<Dictionary> {
        for start in (0..array.len()).step_by(self.limits.piece_rows) {
            let end = array.len().min(start.saturating_add(self.limits.piece_rows));
            self.page.gather(array, start..end, &mut self.values);
            if self.values.plain().len() >= self.limits.dictionary_bytes {
                return Ok(Dictionary::Full);
            }
            if self.page.rows >= self.limits.page_rows || self.page_bytes() >= self.limits.page_bytes {
                self.end_page(zstd)?;
            }
        }
        Ok(Dictionary::Fits)
    }

    fn code_bits(&self) -> u32 {
        packed::bits_of(self.values.count().saturating_sub(1))
    }

    /// As many bytes as the open page may have; a text's codes are counted with the byte in front of them, as the library
    /// does.
    fn page_bytes(&self) -> usize {
        let width = usize::from(matches!(self.values, Values::Texts(_)));
        width + packed::bytes_at_most(self.code_bits(), self.page.codes.len())
    }

    /// Bytes that the chunk would have if it ended now, about.
    pub(super) fn encoded_bytes(&self) -> usize {
        let pages: usize = self.pages.iter().map(|page| page.body.len()).sum();
        pages + self.page_bytes() + self.values.plain().len()
    }

    fn end_page(&mut self, zstd: &mut Compressor<'_>) -> Result<()> {
        let OpenPage { rows, nulls, codes, levels, text_bytes } = std::mem::take(&mut self.page);
        let bits = self.code_bits();
        let mut raw = Vec::with_capacity(16 + packed::bytes_at_most(bits, codes.len()));
        if self.of.max_def_level() > 0 {
            raw.extend_from_slice(&[0; 4]);
            if levels.is_empty() {
                packed::run(1, rows, 1, &mut raw)
            } else {
                packed::encode(&levels, 1, &mut raw)
            }
            let length = u32::try_from(raw.len() - 4).unwrap_or(u32::MAX);
            raw[..4].copy_from_slice(&length.to_le_bytes());
        }
        raw.push(bits.to_le_bytes()[0]);
        packed::encode(&codes, bits, &mut raw);
        let mut body = zstd.compress(&raw)?;
        body.shrink_to_fit();
        let (body, uncompressed, bounds) = (Bytes::from(body), raw.len(), self.values.end_page());
        self.pages.push(EndedPage { body, uncompressed, rows, nulls, text_bytes, bounds });
        // What was taken for this page will do for the next.
        self.page.codes = codes;
        self.page.codes.clear();
        Ok(())
    }

    /// Ends the chunk: its bytes, and what its file says of it.
    pub(super) fn finish(
        mut self,
        properties: &WriterProperties,
        zstd: &mut Compressor<'_>,
    ) -> Result<(Bytes, ColumnCloseResult)> {
        if self.page.rows > 0 {
            self.end_page(zstd)?;
        }
        let (values, texts) = (&self.values, matches!(self.values, Values::Texts(_)));
        let dictionary = ParquetPage::DictionaryPage {
            buf: zstd.compress(values.plain())?.into(),
            num_values: counted(values.count())?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let mut chunk = Chunk::new();
        chunk.put(CompressedPage::new(dictionary, values.plain().len()))?;
        let text_bytes = texts.then(|| self.pages.iter().map(|page| page.text_bytes).sum());
        let mut pages = Vec::with_capacity(self.pages.len());
        for EndedPage { body, uncompressed, rows, nulls, text_bytes, bounds } in self.pages {
            chunk.offsets.append_row_count(statistics::count(rows));
            chunk.offsets.append_unencoded_byte_array_data_bytes(texts.then_some(text_bytes));
            let data = ParquetPage::DataPage {
                buf: body,
                num_values: counted(rows)?,
                encoding: Encoding::RLE_DICTIONARY,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            chunk.put(CompressedPage::new(data, uncompressed))?;
            let bounds = bounds.map(|codes| codes.map(|code| values.value(code)));
            pages.push(Page { rows, nulls, bounds: bounds.map(|[least, greatest]| Bounds { least, greatest }) });
        }
        chunk.describe((self.of, properties), text_bytes, &pages)
    }
}

/// The bytes of a chunk, and where its pages are.
struct Chunk {
    out: TrackedWrite<Vec<u8>>,
    offsets: OffsetIndexBuilder,
    uncompressed: usize,
    first_data: Option<u64>,
    data_pages: i32,
}

impl Chunk {
    fn new() -> Self {
        let out = TrackedWrite::new(Vec::new());
        Self { out, offsets: OffsetIndexBuilder::new(), uncompressed: 0, first_data: None, data_pages: 0 }
    }

    fn put(&mut self, page: CompressedPage) -> Result<()> {
        let is_data = page.page_type() == PageType::DATA_PAGE;
        let written = SerializedPageWriter::new(&mut self.out).write_page(page)?;
        self.uncompressed += written.uncompressed_size;
        if is_data {
            let size = counted(written.compressed_size)?;
            self.offsets.append_offset_and_size(written.offset.cast_signed(), size.cast_signed());
            self.first_data.get_or_insert(written.offset);
            self.data_pages += 1;
        }
        Ok(())
    }

    fn describe(
        self,
        (of, properties): (ColumnDescPtr, &WriterProperties),
        text_bytes: Option<i64>,
        pages: &[Page<'_>],
    ) -> Result<(Bytes, ColumnCloseResult)> {
        let rows: usize = pages.iter().map(|page| page.rows).sum();
        let encoded = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let encodings = [Encoding::RLE, Encoding::PLAIN, Encoding::RLE_DICTIONARY];
        let metadata = ColumnChunkMetaData::builder(ColumnDescPtr::clone(&of))
            .set_compression(properties.compression(of.path()))
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(vec![
                encoded(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
                encoded(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, self.data_pages),
            ])
            .set_total_compressed_size(statistics::count(self.out.bytes_written()))
            .set_total_uncompressed_size(statistics::count(self.uncompressed))
            .set_num_values(statistics::count(rows))
            .set_data_page_offset(self.first_data.unwrap_or_default().cast_signed())
            .set_dictionary_page_offset(Some(0));
        let (metadata, column_index) = statistics::say(metadata, pages, &of, properties, text_bytes)?;
        let bytes = Bytes::from(self.out.into_inner()?);
        let described = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index: Some(column_index),
            offset_index: Some(self.offsets.build()),
        };
        Ok((bytes, described))
    }
}

fn counted(number: usize) -> Result<u32> {
    let most = i32::MAX.cast_unsigned();
    let counted = u32::try_from(number).ok().filter(|number| *number <= most);
    counted.ok_or_else(|| ParquetError::General(format!("A page cannot have {number} values or bytes")))
}

impl Values {
    fn count(&self) -> usize {
        match self {
            Self::Ints(values) => values.count(),
            Self::Longs(values) => values.count(),
            Self::Texts(values) => values.count(),
        }
    }

    /// The dictionary page so far.
    fn plain(&self) -> &[u8] {
        match self {
            Self::Ints(values) => &values.plain,
            Self::Longs(values) => &values.plain,
            Self::Texts(values) => values.plain(),
        }
    }

    /// The value that has a code.
    fn value(&self, code: u32) -> Value<'_> {
        match self {
            Self::Ints(values) => values.value(code),
            Self::Longs(values) => values.value(code),
            Self::Texts(values) => values.value(code),
        }
    }

    fn end_page(&mut self) -> Option<[u32; 2]> {
        match self {
            Self::Ints(values) => values.end_page(),
            Self::Longs(values) => values.end_page(),
            Self::Texts(values) => values.end_page(),
        }
    }
}

impl OpenPage {
    fn gather(&mut self, array: &dyn Array, piece: Range<usize>, values: &mut Values) {
        let nulls = array.nulls().map(|nulls| nulls.slice(piece.start, piece.len()));
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        if self.levels.is_empty() && nulls.is_some() {
            self.levels = vec![1; self.rows];
        }
        if let Some(nulls) = &nulls {
            self.levels.extend(nulls.iter().map(u32::from));
        } else if !self.levels.is_empty() {
            self.levels.extend(std::iter::repeat_n(1, piece.len()));
        }
        self.rows += piece.len();
        self.nulls += nulls.as_ref().map_or(0, NullBuffer::null_count);
        let nulls = nulls.as_ref();
        match values {
            Values::Ints(known) => code(&ints(array)[piece], nulls, |value| known.code(value), &mut self.codes),
            Values::Longs(known) => code(&longs(array)[piece], nulls, |value| known.code(value), &mut self.codes),
            Values::Texts(known) => match array.data_type() {
                DataType::Utf8 => self.gather_texts(array.as_string::<i32>(), piece, nulls, known),
                DataType::LargeUtf8 => self.gather_texts(array.as_string::<i64>(), piece, nulls, known),
                DataType::Binary => self.gather_texts(array.as_binary::<i32>(), piece, nulls, known),
                _ => self.gather_texts(array.as_binary::<i64>(), piece, nulls, known),
            },
        }
    }

    fn gather_texts<T: ByteArrayType>(
        &mut self,
        array: &GenericByteArray<T>,
        piece: Range<usize>,
        nulls: Option<&NullBuffer>,
        known: &mut Texts,
    ) {
        let (data, offsets) = (array.value_data(), &array.value_offsets()[piece.start..=piece.end]);
        let mut bytes = 0;
        let mut code = |at: usize| {
            let range = offsets[at].as_usize()..offsets[at + 1].as_usize();
            bytes += statistics::count(range.len());
            known.code(Led::new(data, range))
        };
        match nulls {
            None => self.codes.extend((0..piece.len()).map(&mut code)),
            Some(nulls) => self.codes.extend(nulls.valid_indices().map(&mut code)),
        }
        self.text_bytes += bytes;
    }
}

fn code<T: Copy>(values: &[T], nulls: Option<&NullBuffer>, mut code: impl FnMut(T) -> u32, codes: &mut Vec<u32>) {
    match nulls {
        None => codes.extend(values.iter().map(|value| code(*value))),
        Some(nulls) => codes.extend(nulls.valid_indices().map(|at| code(values[at]))),
    }
}

fn ints(array: &dyn Array) -> &[i32] {
    match array.data_type() {
        DataType::Date32 => array.as_primitive::<Date32Type>().values(),
        _ => array.as_primitive::<Int32Type>().values(),
    }
}

fn longs(array: &dyn Array) -> &[i64] {
    match array.data_type() {
        DataType::Time64(TimeUnit::Microsecond) => array.as_primitive::<Time64MicrosecondType>().values(),
        DataType::Time64(_) => array.as_primitive::<Time64NanosecondType>().values(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array.as_primitive::<TimestampMicrosecondType>().values(),
        DataType::Timestamp(..) => array.as_primitive::<TimestampNanosecondType>().values(),
        _ => array.as_primitive::<Int64Type>().values(),
    }
}
