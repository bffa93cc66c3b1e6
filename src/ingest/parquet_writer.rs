//! Rows → one Parquet file in memory.
//!
//! The library's writers encode the columns; here rows are dealt to row groups, by the limits of the file's properties, and
//! the statistics of most columns are worked out (`statistics.rs`), for less than the library takes. Files are those of the library's `ArrowWriter`, byte for byte.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::Result;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::statistics::{self, Pieces};

/// A file that rows are written to.
pub(super) struct ParquetWriter {
    file: SerializedFileWriter<Vec<u8>>,
    columns: ArrowRowGroupWriterFactory,
    properties: WriterProperties,
    schema: SchemaRef,
    /// For each column of the file: which of the rows' columns it is in.
    roots: Vec<usize>,
    rows: Vec<RecordBatch>,
    group: Option<Group>,
}

/// The row group that is being written.
struct Group {
    writers: Vec<ArrowColumnWriter>,
    /// Of each of the rows' columns whose statistics are worked out here.
    seen: Vec<Option<Pieces>>,
    rows: usize,
}

impl Group {
    fn write(&mut self, schema: &Schema, rows: &RecordBatch, piece_rows: usize) -> Result<()> {
        let mut writers = self.writers.iter_mut();
        for ((field, column), seen) in schema.fields().iter().zip(rows.columns()).zip(&mut self.seen) {
            if let Some(seen) = seen {
                seen.look_at(column, piece_rows);
            }
            for (leaf, writer) in compute_leaves(field, column)?.iter().zip(&mut writers) {
                writer.write(leaf)?;
            }
        }
        self.rows += rows.num_rows();
        Ok(())
    }

    fn encoded_bytes(&self) -> usize {
        self.writers.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum()
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
        let mut told = properties.clone().into_builder();
        for field in schema.fields().iter().filter(|field| is_worked_out(field, &properties)) {
            told = told.set_column_statistics_enabled(path(field), EnabledStatistics::None);
        }
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(told.build()))?;
        let (file, columns) = writer.into_serialized_writer()?;
        let described = file.schema_descr();
        let roots = (0..described.num_columns()).map(|column| described.get_column_root_idx(column)).collect();
        Ok(Self { file, columns, properties, schema, roots, rows: Vec::new(), group: None })
    }

    /// Bytes that the file would have if it ended now, about.
    pub(super) fn size(&self) -> usize {
        self.file.bytes_written() + self.group.as_ref().map_or(0, Group::encoded_bytes)
    }

    /// Writes rows, to as many row groups as they need.
    pub(super) fn write(&mut self, mut rows: RecordBatch) -> Result<()> {
        while rows.num_rows() > 0 {
            let mut group = self.group.take().map_or_else(|| self.new_group(), Ok)?;
            let taken = group.room(&self.properties).min(rows.num_rows());
            let part = rows.slice(0, taken);
            rows = rows.slice(taken, rows.num_rows() - taken);
            if taken > 0 {
                group.write(&self.schema, &part, self.properties.write_batch_size())?;
                self.rows.push(part);
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

    fn new_group(&self) -> Result<Group> {
        let seen = self.schema.fields().iter();
        let seen = seen.map(|field| is_worked_out(field, &self.properties).then(Pieces::default)).collect();
        let writers = self.columns.create_column_writers(self.file.flushed_row_groups().len())?;
        Ok(Group { writers, seen, rows: 0 })
    }

    fn end(&mut self, mut group: Group) -> Result<()> {
        let mut into = self.file.next_row_group()?;
        for (writer, root) in group.writers.into_iter().zip(&self.roots) {
            let mut chunk = writer.close()?;
            if let Some(seen) = group.seen[*root].take() {
                seen.complete(chunk.close_mut(), &self.properties)?;
            }
            chunk.append_to_row_group(&mut into)?;
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

/// Whether the statistics of a column are worked out here.
fn is_worked_out(field: &Field, properties: &WriterProperties) -> bool {
    statistics::covers(field.data_type()) && properties.statistics_enabled(&path(field)) == EnabledStatistics::Page
}

fn path(field: &Field) -> ColumnPath {
    ColumnPath::new(vec![field.name().clone()])
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, BinaryArray, Date32Array, Float64Array, Int32Array, Int64Array, StringArray, StructArray,
        TimestampMicrosecondArray,
    };
    use arrow::compute::{SortOptions, sort};
    use parquet::basic::{Compression, ZstdLevel};
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

    fn properties(page_rows: usize, at_once: usize, group: Limit) -> WriterProperties {
        let (group_rows, group_bytes) = match group {
            Limit::Rows(rows) => (Some(rows), None),
            Limit::Bytes(bytes) => (None, Some(bytes)),
        };
        WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_data_page_row_count_limit(page_rows)
            .set_write_batch_size(at_once)
            .set_max_row_group_row_count(group_rows)
            .set_max_row_group_bytes(group_bytes)
            .set_dictionary_page_size_limit(400)
            .set_column_bloom_filter_enabled(ColumnPath::new(vec!["long".to_owned()]), true)
            .set_column_statistics_enabled(ColumnPath::new(vec!["int".to_owned()]), EnabledStatistics::Chunk)
            .set_column_statistics_enabled(ColumnPath::new(vec!["date".to_owned()]), EnabledStatistics::None)
            .build()
    }

    proptest! {
        #[test]
        fn files_are_those_of_the_library(
            rows in prop::collection::vec(row(), 1..150), sorted in prop::option::of(any::<bool>()),
            pieces in 1_usize..6, page_rows in 1_usize..40, at_once in 1_usize..20,
            group in prop_oneof![(1_usize..90).prop_map(Limit::Rows), (500_usize..9_000).prop_map(Limit::Bytes)],
        ) {
            let all = batch(&rows, sorted);
            let step = rows.len().div_ceil(pieces);
            let batches: Vec<RecordBatch> =
                (0..rows.len()).step_by(step).map(|at| all.slice(at, step.min(rows.len() - at))).collect();
            let told = properties(page_rows, at_once, group);
            prop_assert!(ours(&batches, told.clone()) == by_library(&batches, told));
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
