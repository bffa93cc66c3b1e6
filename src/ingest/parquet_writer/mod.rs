//! Rows → one Parquet file in memory.
//!
//! Rows are dealt to row groups, by the limits of the file's properties. Columns that have a dictionary are encoded here
//! (`column.rs`), where most of an ingest's time goes; all others by the library's writers. Files are those of the library's
//! `ArrowWriter`, byte for byte, as tests hold the two side by side; but where a batch meets both limits of a row group, and
//! where a bound is cut (`statistics.rs`).

mod column;
mod distinct;
mod packed;
mod statistics;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use zstd::bulk::Compressor;

use column::{Dictionary, DictionaryColumn};

/// A file that rows are written to.
pub(super) struct ParquetWriter {
    file: SerializedFileWriter<Vec<u8>>,
    columns: ArrowRowGroupWriterFactory,
    properties: WriterPropertiesPtr,
    schema: SchemaRef,
    /// Compresses the pages of columns that are encoded here.
    zstd: Compressor<'static>,
    rows: Vec<RecordBatch>,
    group: Option<Group>,
}

/// The row group that is being written.
struct Group {
    /// One for each of the rows' columns.
    columns: Vec<Column>,
    /// The library's writers that no column needs yet, by their place in the file. They are dear to make: nothing as long as
    /// none is needed.
    spare: BTreeMap<usize, ArrowColumnWriter>,
    rows: usize,
    /// The first of the file's batches that is in it.
    first: usize,
}

/// A column of a row group; one with others inside is several of the file.
enum Column {
    /// Encoded here.
    Dictionary(Box<DictionaryColumn>),
    /// Encoded by the library.
    Library(Vec<ArrowColumnWriter>),
}

impl Column {
    fn encoded_bytes(&self) -> usize {
        match self {
            Self::Dictionary(column) => column.encoded_bytes(),
            Self::Library(writers) => writers.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum(),
        }
    }

    fn append_to(
        self,
        group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
        properties: &WriterProperties,
        zstd: &mut Compressor<'_>,
    ) -> Result<()> {
        match self {
            Self::Dictionary(column) => {
                let (bytes, described) = column.finish(properties, zstd)?;
                group.append_column(&bytes, described)
            }
            Self::Library(writers) => {
                writers.into_iter().try_for_each(|writer| writer.close()?.append_to_row_group(group))
            }
        }
    }
}

impl Group {
    fn encoded_bytes(&self) -> usize {
        self.columns.iter().map(Column::encoded_bytes).sum()
    }

    /// How many more rows it takes, about.
    fn room(&self, properties: &WriterProperties) -> usize {
        let rows = properties.max_row_group_row_count().unwrap_or(usize::MAX).saturating_sub(self.rows);
        let Some(most) = properties.max_row_group_bytes().filter(|_| self.rows > 0) else { return rows };
        let encoded = self.encoded_bytes();
        match (most.saturating_sub(encoded), encoded / self.rows) {
            (0, _) => 0,
            (_, 0) => rows,
            (left, of_row) => rows.min(left / of_row),
        }
    }
}

impl ParquetWriter {
    /// A file of these columns.
    pub(super) fn new(schema: SchemaRef, properties: WriterProperties) -> Result<Self> {
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
        let (file, columns) = writer.into_serialized_writer()?;
        let properties = Arc::clone(file.properties());
        let zstd = Compressor::new(column::level(&properties).unwrap_or_default().compression_level())?;
        Ok(Self { file, columns, properties, schema, zstd, rows: Vec::new(), group: None })
    }

    /// Bytes that the file would have if it ended now, about.
    pub(super) fn size(&self) -> usize {
        self.file.bytes_written() + self.group.as_ref().map_or(0, Group::encoded_bytes)
    }

    /// Whether it has rows.
    pub(super) fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Writes rows, to as many row groups as they need.
    pub(super) fn write(&mut self, mut rows: RecordBatch) -> Result<()> {
        while rows.num_rows() > 0 {
            let mut group = self.group.take().map_or_else(|| self.new_group(), Ok)?;
            let taken = group.room(&self.properties).min(rows.num_rows());
            if taken > 0 {
                group.rows += taken;
                let rest = rows.slice(taken, rows.num_rows() - taken);
                self.rows.push(std::mem::replace(&mut rows, rest).slice(0, taken));
                self.write_last(&mut group)?;
            }
            let full = |most: Option<usize>, is: usize| most.is_some_and(|most| is >= most);
            if taken == 0
                || full(self.properties.max_row_group_row_count(), group.rows)
                || full(self.properties.max_row_group_bytes(), group.encoded_bytes())
            {
                self.end(group)?;
            } else {
                self.group = Some(group);
            }
        }
        Ok(())
    }

    /// Writes the last of the file's batches to its group.
    fn write_last(&mut self, group: &mut Group) -> Result<()> {
        let Some(last) = self.rows.last() else { return Ok(()) };
        for (at, (field, values)) in self.schema.fields().iter().zip(last.columns()).enumerate() {
            match &mut group.columns[at] {
                Column::Dictionary(column) => {
                    if column.write(values, &mut self.zstd)? == Dictionary::Full {
                        // What was encoded here goes first: it is not needed any more.
                        group.columns[at] = Column::Library(Vec::new());
                        let mut writers = vec![self.spared(group, self.leaf(at))?];
                        for batch in &self.rows[group.first..] {
                            write_leaves(field, batch.column(at), &mut writers)?;
                        }
                        group.columns[at] = Column::Library(writers);
                    }
                }
                Column::Library(writers) => write_leaves(field, values, writers)?,
            }
        }
        Ok(())
    }

    /// Which column of the file the first one of one of the rows' columns is.
    fn leaf(&self, column: usize) -> usize {
        let described = self.file.schema_descr();
        (0..described.num_columns()).take_while(|leaf| described.get_column_root_idx(*leaf) < column).count()
    }

    fn new_group(&self) -> Result<Group> {
        let described = self.file.schema_descr();
        let mut group = Group { columns: Vec::new(), spare: BTreeMap::new(), rows: 0, first: self.rows.len() };
        let mut last_root = None;
        for leaf in 0..described.num_columns() {
            let root = described.get_column_root_idx(leaf);
            let kind = self.schema.field(root).data_type();
            if let Some(column) = DictionaryColumn::of(kind, described.column(leaf), &self.properties) {
                group.columns.push(Column::Dictionary(Box::new(column)));
            } else {
                let writer = self.spared(&mut group, leaf)?;
                match group.columns.last_mut() {
                    Some(Column::Library(writers)) if last_root == Some(root) => writers.push(writer),
                    _ => group.columns.push(Column::Library(vec![writer])),
                }
            }
            last_root = Some(root);
        }
        Ok(group)
    }

    /// The library's writer of a column of the file, once.
    fn spared(&self, group: &mut Group, leaf: usize) -> Result<ArrowColumnWriter> {
        if group.spare.is_empty() {
            let writers = self.columns.create_column_writers(self.file.flushed_row_groups().len())?;
            group.spare = writers.into_iter().enumerate().collect();
        }
        let gone = || ParquetError::General(format!("Column {leaf} of the file is written twice"));
        group.spare.remove(&leaf).ok_or_else(gone)
    }

    fn end(&mut self, group: Group) -> Result<()> {
        let mut into = self.file.next_row_group()?;
        for column in group.columns {
            column.append_to(&mut into, &self.properties, &mut self.zstd)?;
        }
        into.close()?;
        Ok(())
    }

    /// Ends the file: what its footer says, its rows, and its bytes.
    pub(super) fn finish(mut self) -> Result<(ParquetMetaData, Vec<RecordBatch>, Vec<u8>)> {
        if let Some(group) = self.group.take() {
            self.end(group)?;
        }
        let footer = self.file.finish()?;
        Ok((footer, self.rows, std::mem::take(self.file.inner_mut())))
    }
}

fn write_leaves(field: &Field, values: &ArrayRef, writers: &mut [ArrowColumnWriter]) -> Result<()> {
    compute_leaves(field, values)?.iter().zip(writers).try_for_each(|(leaf, writer)| writer.write(leaf))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, BinaryArray, Date32Array, Float64Array, Int32Array, Int64Array, LargeBinaryArray, LargeStringArray,
        StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    };
    use arrow::compute::{SortOptions, sort};
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::properties::{EnabledStatistics, WriterPropertiesBuilder};
    use parquet::schema::types::ColumnPath;
    use proptest::prelude::*;

    use super::*;

    /// The library's own file.
    fn by_library(batches: &[RecordBatch], properties: WriterProperties) -> Vec<u8> {
        let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties)).expect("a writer");
        batches.iter().for_each(|batch| writer.write(batch).expect("written"));
        writer.into_inner().expect("closed")
    }

    fn ours(batches: &[RecordBatch], properties: WriterProperties) -> Vec<u8> {
        let mut writer = ParquetWriter::new(batches[0].schema(), properties).expect("a writer");
        batches.iter().for_each(|batch| writer.write(batch.clone()).expect("written"));
        let (footer, rows, bytes) = writer.finish().expect("ended");
        let count = |rows: &[RecordBatch]| rows.iter().map(RecordBatch::num_rows).sum::<usize>();
        assert_eq!(count(&rows), count(batches));
        assert_eq!(usize::try_from(footer.file_metadata().num_rows()).expect("a count"), count(batches));
        bytes
    }

    type Row = (Option<i64>, Option<i32>, Option<String>, Option<Vec<u8>>, f64);

    /// Values that are alike, that differ in their first bytes or behind them, and that are longer than what is said of one.
    fn row() -> impl Strategy<Value = Row> {
        let text = prop_oneof!["[\u{0}a-c\u{e9}]{0,9}", "abcdefgh[\u{0}a-c]{0,3}", "[a-c\u{e9}]{55,80}"];
        let bytes = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..10),
            prop::collection::vec(0_u8..0xff, 60..70),
            prop::collection::vec(Just(0_u8), 0..10),
        ];
        (
            prop::option::weighted(0.8, any::<i64>()),
            prop::option::weighted(0.5, -9..9),
            prop::option::weighted(0.8, text),
            prop::option::weighted(0.5, bytes),
            any::<f64>(),
        )
    }

    /// Columns of every kind that is worked out, and of some that are not; one without nulls and one of nulls.
    fn batch(rows: &[Row], sorted: Option<bool>) -> RecordBatch {
        let longs: Int64Array = rows.iter().map(|row| row.0).collect();
        let ints: Int32Array = rows.iter().map(|row| row.1).collect();
        let texts: StringArray = rows.iter().map(|row| row.2.as_deref()).collect();
        let inside: StructArray = vec![(
            Arc::new(Field::new("text", arrow::datatypes::DataType::Utf8, true)),
            Arc::new(texts.clone()) as ArrayRef,
        )]
        .into();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("long", Arc::new(longs.clone())),
            ("inside", Arc::new(inside)),
            ("int", Arc::new(ints.clone())),
            ("date", Arc::new(ints.reinterpret_cast::<arrow::datatypes::Date32Type>() as Date32Array)),
            ("text.dotted", Arc::new(texts)),
            ("bytes", Arc::new(rows.iter().map(|row| row.3.as_deref()).collect::<BinaryArray>())),
            ("double", Arc::new(rows.iter().map(|row| Some(row.4)).collect::<Float64Array>())),
            ("nothing", Arc::new(Int64Array::new_null(rows.len()))),
            ("no text", Arc::new(StringArray::new_null(rows.len()))),
            ("time", Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0.unwrap_or(7))))),
            (
                "required",
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2.as_deref().unwrap_or("")))),
            ),
        ];
        let ordered = |column: ArrayRef| match sorted {
            Some(descending) if !matches!(column.data_type(), arrow::datatypes::DataType::Struct(_)) => {
                sort(&column, Some(SortOptions { descending, nulls_first: false })).expect("sorted")
            }
            _ => column,
        };
        let columns =
            columns.into_iter().map(|(name, column)| (name, ordered(column), name != "time" && name != "required"));
        RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
    }

    /// What ends row groups.
    #[derive(Debug, Clone, Copy)]
    enum Limit {
        Rows(usize),
        Bytes(usize),
    }

    fn properties(page_rows: usize, at_once: usize, group: Limit, dictionary_bytes: usize) -> WriterPropertiesBuilder {
        let (group_rows, group_bytes) = match group {
            Limit::Rows(rows) => (Some(rows), None),
            Limit::Bytes(bytes) => (None, Some(bytes)),
        };
        WriterProperties::builder()
            .set_data_page_row_count_limit(page_rows)
            .set_write_batch_size(at_once)
            .set_max_row_group_row_count(group_rows)
            .set_max_row_group_bytes(group_bytes)
            .set_dictionary_page_size_limit(dictionary_bytes)
            .set_column_bloom_filter_enabled(ColumnPath::new(vec!["long".to_owned()]), true)
            .set_column_statistics_enabled(ColumnPath::new(vec!["int".to_owned()]), EnabledStatistics::Chunk)
            .set_column_statistics_enabled(ColumnPath::new(vec!["date".to_owned()]), EnabledStatistics::None)
    }

    proptest! {
        #[test]
        fn files_are_those_of_the_library(
            rows in prop::collection::vec(row(), 1..150), sorted in prop::option::of(any::<bool>()),
            pieces in 1_usize..6, page_rows in 1_usize..40, at_once in 1_usize..20,
            group in prop_oneof![(1_usize..90).prop_map(Limit::Rows), (500_usize..9_000).prop_map(Limit::Bytes)],
            dictionary_bytes in prop_oneof![50_usize..900, Just(1 << 20)], page_bytes in prop_oneof![4_usize..90, Just(1 << 20)],
            packed in prop_oneof![Just(Compression::ZSTD(ZstdLevel::default())), Just(Compression::SNAPPY)]
        ) {
            let all = batch(&rows, sorted);
            let step = rows.len().div_ceil(pieces);
            let batches: Vec<RecordBatch> =
                (0..rows.len()).step_by(step).map(|at| all.slice(at, step.min(rows.len() - at))).collect();
            let told = properties(page_rows, at_once, group, dictionary_bytes)
                .set_data_page_size_limit(page_bytes)
                .set_compression(packed)
                .build();
            prop_assert!(ours(&batches, told.clone()) == by_library(&batches, told));
        }
    }

    /// Which way each column of a file goes after its rows.
    fn ways(rows: &RecordBatch, properties: WriterProperties) -> String {
        let mut writer = ParquetWriter::new(rows.schema(), properties).expect("a writer");
        writer.write(rows.clone()).expect("written");
        let way = |column: &Column| match column {
            Column::Dictionary(_) => 'd',
            Column::Library(_) => 'l',
        };
        writer.group.iter().flat_map(|group| &group.columns).map(way).collect()
    }

    #[test]
    fn columns_are_encoded_here_where_they_can_be() {
        let rows: Vec<Row> = (0..300).map(|at| (Some(at), Some(7), Some(format!("text {at}")), None, 1.5)).collect();
        let (rows, limit) = (batch(&rows, None), Limit::Rows(1_000));
        let zstd = Compression::ZSTD(ZstdLevel::default());
        let properties = |bytes| properties(50, 10, limit, bytes);
        let zstd = |bytes| properties(bytes).set_compression(zstd).build();
        assert_eq!(ways(&rows, zstd(1 << 20)), "llllddldddd", "a filter, chunks, nothing said");
        assert_eq!(ways(&rows, zstd(1_500)), "llllldlddll", "full dictionaries");
        assert_eq!(ways(&rows, properties(1 << 20).build()), "l".repeat(11), "not compressed so");
    }

    #[test]
    fn many_values_and_large_arrays_are_those_of_the_library_too() {
        let distinct = |at: i64| (at * 7_919) % 2_003;
        let some = |at: i64| (at % 11 != 3).then(|| format!("text number {}", distinct(at)));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("unique", Arc::new(Int64Array::from_iter_values((0..6_000).map(|at| (at * 7_919) % 6_007)))),
            ("runs", Arc::new(Int32Array::from_iter_values((0..6_000).map(|at| at / 700)))),
            ("texts", Arc::new((0..6_000).map(some).collect::<LargeStringArray>())),
            ("bytes", Arc::new((0..6_000).map(|at| some(at + 5)).collect::<LargeBinaryArray>())),
            ("time", Arc::new(Time64MicrosecondArray::from_iter_values((0..6_000).map(distinct)))),
            ("nanos", Arc::new(TimestampNanosecondArray::from_iter_values((0..6_000).map(|at| distinct(at) - 1_000)))),
        ];
        let all =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)));
        let all = all.expect("a batch");
        let batches: Vec<RecordBatch> =
            [(0, 17), (17, 4_000), (4_017, 1_983)].map(|(from, rows)| all.slice(from, rows)).into();
        let zstd = Compression::ZSTD(ZstdLevel::default());
        for page_rows in [20_000, 2_500, 1] {
            let told =
                WriterProperties::builder().set_compression(zstd).set_data_page_row_count_limit(page_rows).build();
            assert_eq!(ways(&all, told.clone()), "d".repeat(6));
            assert!(ours(&batches, told.clone()) == by_library(&batches, told), "{page_rows}");
        }
    }

    #[test]
    fn bytes_whose_end_cannot_be_raised_are_said_as_they_are() {
        let column: ArrayRef = Arc::new(BinaryArray::from_iter_values([vec![0xff; 70], vec![0xff; 66]]));
        let batches = [RecordBatch::try_from_iter([("bytes", column)]).expect("a batch")];
        let told = WriterProperties::default();
        assert!(ours(&batches, told.clone()) == by_library(&batches, told));
    }
}
