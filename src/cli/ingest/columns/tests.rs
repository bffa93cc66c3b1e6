//! Columns are cut into pieces with every row once, the same from every row on, whatever they were written as.

use arrow::array::{AsArray, DictionaryArray, Int64Array, StringViewArray, StructArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::*;
use crate::cli::ingest::memory::opened;
use crate::cli::ingest::stripes::Opened;

/// Rows with a number, a text, a text that is written once, and a text within.
fn rows(count: i64) -> RecordBatch {
    let texts = || (0..count).map(|row| format!("{row} {}", "x".repeat(usize::try_from(row % 90).expect("small"))));
    let words: DictionaryArray<Int32Type> = (0..count).map(|row| if row % 2 == 0 { "even" } else { "odd" }).collect();
    let within: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts()));
    let within = StructArray::try_from(vec![("t", within)]).expect("a struct");
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from_iter_values(0..count)) as ArrayRef),
        ("text", Arc::new(StringViewArray::from_iter_values(texts())) as ArrayRef),
        ("word", Arc::new(words) as ArrayRef),
        ("in", Arc::new(within) as ArrayRef),
    ])
    .expect("rows")
}

fn as_parquet(rows: &RecordBatch, group: usize) -> Vec<u8> {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).expect("a writer");
    writer.write(rows).expect("written");
    writer.into_inner().expect("closed")
}

fn as_stream(rows: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).expect("a writer");
    writer.write(rows).expect("written");
    writer.into_inner().expect("closed")
}

fn as_file(rows: &RecordBatch) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &rows.schema()).expect("a writer");
    writer.write(rows).expect("written");
    writer.into_inner().expect("closed")
}

type Piece = (RecordBatch, u64, bool);

fn pieces(file: &Arc<Opened>, from: Option<u64>, size: Size) -> Vec<Piece> {
    let stripe = file.stripes[0].clone();
    let reading = Reading { file: Arc::clone(file), stripe, from, size, packing: Packing::Plain };
    let mut chunks = ColumnChunks::open(&reading).expect("opened");
    let mut found = Vec::new();
    while let Some(chunk) = chunks.next().expect("read") {
        let reader = StreamReader::try_new(&chunk.body[..], None).expect("a stream");
        let (schema, batches) = (reader.schema(), reader.collect::<Result<Vec<_>, _>>().expect("batches"));
        found.push((concat_batches(&schema, &batches).expect("one"), chunk.next, chunk.last));
    }
    found
}

#[tokio::test]
async fn pieces_have_every_row_once_and_go_on_from_every_row() {
    let rows = rows(20_000);
    let expected = plain(rows.clone()).expect("plain");
    let size = Size { bytes: 200_000, rows: 6_000 };
    for (format, bytes) in [
        (Format::Parquet, as_parquet(&rows, 7_000)),
        (Format::Arrow, as_stream(&rows)),
        (Format::Arrow, as_file(&rows)),
    ] {
        let file = opened(&bytes, format).await;
        assert_eq!(file.stripes.len(), 1);
        let found = pieces(&file, None, size);
        assert!(found.len() > 5, "{format:?}: {}", found.len());
        let all = concat_batches(&expected.schema(), found.iter().map(|(rows, ..)| rows)).expect("all");
        for (at, column) in expected.columns().iter().enumerate() {
            assert_eq!(all.column(at), column, "{format:?}");
        }
        for (place, (_, next, last)) in found.iter().enumerate() {
            assert_eq!(*last, place + 1 == found.len());
            assert_eq!(pieces(&file, Some(*next), size), found[place + 1..], "{format:?} from {next}");
        }
        // From a row in the middle of a part, as another version might have left it.
        let rest = pieces(&file, Some(12_345), size);
        assert_eq!(rest[0].0.column(0).as_primitive::<Int64Type>().value(0), 12_345);
        assert_eq!(rest.iter().map(|(rows, ..)| rows.num_rows()).sum::<usize>(), 20_000 - 12_345);
    }
}

#[tokio::test]
async fn a_file_without_rows_has_no_pieces() {
    for (format, bytes) in [(Format::Arrow, as_stream(&rows(0))), (Format::Arrow, as_file(&rows(0)))] {
        let file = opened(&bytes, format).await;
        assert!(pieces(&file, None, Size::USUAL).is_empty());
    }
    assert!(opened(&as_parquet(&rows(0), 10), Format::Parquet).await.stripes.is_empty());
}

#[test]
fn batches_are_halved_until_their_parts_are_small() {
    let rows = plain(rows(1_000)).expect("plain");
    for (size, least) in [
        (Size { bytes: 1 << 30, rows: 1_000 }, 1),
        (Size { bytes: 1 << 30, rows: 999 }, 2),
        (Size { bytes: 1 << 30, rows: 250 }, 4),
        (Size { bytes: 40_000, rows: 1_000 }, 8),
        (Size { bytes: 1, rows: 1_000 }, 1_000),
    ] {
        let mut parts = Vec::new();
        part(rows.clone(), size, &mut parts).expect("parts");
        assert!(parts.len() >= least, "{size:?}: {}", parts.len());
        assert_eq!(concat_batches(&rows.schema(), &parts).expect("all"), rows);
    }
}

#[test]
fn values_are_written_where_they_stand() {
    let found = plain(rows(3)).expect("plain");
    let kinds: Vec<_> = found.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    let within = DataType::Struct(vec![Field::new("t", DataType::Utf8, false)].into());
    assert_eq!(kinds, [DataType::Int64, DataType::Utf8, DataType::Utf8, within]);
    assert_eq!(found.column(2).as_string::<i32>().value(1), "odd");
}
