//! Bodies in every format and encoding.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array, LargeStringArray,
    ListArray, RecordBatch, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int8Type, Int32Type, Schema};
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use reqwest::Method;
use serde_json::{Value, json};

use super::{columns, current, metadata, problem, push, rows, send};
use crate::kit::{Answer, Server};

pub const ARROW: (&str, &str) = ("content-type", "application/vnd.apache.arrow.stream");
const PARQUET: (&str, &str) = ("content-type", "application/vnd.apache.parquet");

/// An Arrow IPC stream of batches.
pub fn arrow(batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batches[0].schema()).expect("a writer");
    batches.iter().for_each(|batch| writer.write(batch).expect("written"));
    writer.finish().expect("finished");
    drop(writer);
    bytes
}

fn parquet(batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batches[0].schema(), None).expect("a writer");
    batches.iter().for_each(|batch| writer.write(batch).expect("written"));
    writer.close().expect("closed");
    bytes
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .expect("a batch")
}

/// Sends the same rows in both formats, each to a table of its own; the answers.
async fn both(server: &Server, table: &str, rows: &RecordBatch) -> [Answer; 2] {
    let path = |format: &str| format!("ns/{table}_{format}");
    let first = send(server, &path("arrow"), &[ARROW], arrow(std::slice::from_ref(rows))).await;
    let second = send(server, &path("parquet"), &[PARQUET], parquet(std::slice::from_ref(rows))).await;
    [first, second]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_stream_is_read_while_it_arrives() {
    let server = Server::start().await;
    let ids = |from: i64| Arc::new(Int64Array::from_iter_values(from..from + 100_000)) as ArrayRef;
    let batches: Vec<RecordBatch> = (0..8).map(|at| batch(vec![("id", ids(at * 100_000))])).collect();
    let body = arrow(&batches);
    let made = send(&server, "ns/t", &[ARROW], body.clone()).await.expect(200).json();
    assert_eq!(made["rows"]["written"], 800_000);
    // One that is cut off, or goes on, leaves nothing behind.
    problem(
        &send(&server, "ns/t", &[ARROW], body[..body.len() - 50_000].to_vec()).await,
        400,
        "malformed_body",
        "Arrow",
    );
    problem(&send(&server, "ns/t", &[ARROW], [body, vec![0; 8]].concat()).await, 400, "malformed_body", "Arrow");
    assert_eq!(current(&metadata(&server, "ns", "t").await)["summary"]["total-records"], "800000");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_unpacked_whatever_packed_them() {
    let server = Server::start().await;
    let text: String = (0..20_000).map(|id| format!("{{\"id\":{id},\"name\":\"row {id}\"}}\n")).collect();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(text.as_bytes()).expect("compresses");
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4_096, 3, 20);
    brotli.write_all(text.as_bytes()).expect("compresses");
    let packed = [
        ("gzip", floeberg::catalog::loaded::gzip(text.as_bytes()).expect("compresses")),
        ("zstd", zstd::encode_all(text.as_bytes(), 3).expect("compresses")),
        ("lz4", lz4.finish().expect("compresses")),
        ("br", brotli.into_inner()),
        ("identity", text.into_bytes()),
    ];
    for (index, (encoding, bytes)) in packed.into_iter().enumerate() {
        let answer = send(&server, "ns/t", &[("content-encoding", encoding)], bytes.clone()).await.expect(200).json();
        assert_eq!(answer["rows"]["written"], 20_000, "{encoding}");
        let total = current(&metadata(&server, "ns", "t").await)["summary"]["total-records"].clone();
        assert_eq!(total, (20_000 * (index + 1)).to_string());
        if encoding != "identity" {
            let cut = send(&server, "ns/t", &[("content-encoding", encoding)], bytes[..bytes.len() - 9].to_vec()).await;
            problem(&cut, 400, "malformed_encoding", "Body is not valid");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arrow_and_parquet_make_tables_and_fill_them() {
    let server = Server::start().await;
    let point = StructArray::from(vec![
        (
            Arc::new(Field::new("x", DataType::Float64, true)),
            Arc::new(Float64Array::from(vec![Some(0.5), None])) as ArrayRef,
        ),
        (Arc::new(Field::new("y", DataType::Utf8, true)), Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
    ]);
    let dictionary: DictionaryArray<Int8Type> = vec![Some("red"), None].into_iter().collect();
    let rows_of = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("small", Arc::new(Int32Array::from(vec![Some(7), None]))),
        ("text", Arc::new(LargeStringArray::from(vec!["long", "er"]))),
        ("view", Arc::new(StringViewArray::from(vec!["a text that is longer than twelve bytes", ""]))),
        ("colour", Arc::new(dictionary)),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("price", Arc::new(Decimal128Array::from(vec![12_345, -1]).with_precision_and_scale(9, 2).expect("fits"))),
        ("at", Arc::new(TimestampNanosecondArray::from(vec![1_500_000_000_000, 0]).with_timezone("UTC"))),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]))),
        ("point", Arc::new(point)),
        ("nothing", arrow::array::new_null_array(&DataType::Null, 2)),
    ]);
    let wanted = [
        ("id", "long"),
        ("small", "int"),
        ("text", "string"),
        ("view", "string"),
        ("colour", "string"),
        ("flag", "boolean"),
        ("price", "decimal(9, 2)"),
        ("at", "timestamptz"),
        ("list", "\"list\""),
        ("point", "\"struct\""),
    ];
    let [first, second] = both(&server, "t", &rows_of).await;
    for (answer, table) in [(first, "t_arrow"), (second, "t_parquet")] {
        assert_eq!(answer.expect(200).json()["rows"]["written"], 2, "{table}");
        let made = columns(&metadata(&server, "ns", table).await);
        assert_eq!(made, wanted.map(|(name, kind)| (name.to_owned(), kind.to_owned())), "{table}");
        let values = rows(&server, table).await;
        assert_eq!(
            values[0],
            json!({"id": 1, "small": 7, "text": "long", "view": "a text that is longer than twelve bytes", "colour": "red",
                   "flag": true, "price": 123.45, "at": "1970-01-01T00:25:00Z", "list": [1, null], "point": {"x": 0.5, "y": "a"}}),
            "{table}"
        );
        assert_eq!(values[1]["price"], json!(-0.01));
        assert_eq!(values[1].get("list"), None);
        // JSON rows go on where the others left off.
        push(&server, &format!("ns/{table}"), "{\"id\":3,\"point\":{\"x\":1}}").await.expect(200);
        assert_eq!(rows(&server, table).await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_other_types_fit_exactly_or_not_at_all() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let fields = json!([
        {"id": 1, "name": "i", "required": false, "type": "int"},
        {"id": 2, "name": "f", "required": false, "type": "float"},
        {"id": 3, "name": "d", "required": false, "type": "decimal(4, 1)"},
        {"id": 4, "name": "at", "required": false, "type": "timestamp"},
        {"id": 5, "name": "u", "required": false, "type": "uuid"},
        {"id": 6, "name": "r", "required": false, "type":
            {"type": "list", "element-id": 7, "element": "int", "element-required": true}},
    ]);
    for format in ["arrow", "parquet"] {
        let body = json!({"name": format!("t_{format}"), "schema": {"type": "struct", "fields": fields}});
        server.post("/v1/namespaces/ns/tables", &body).await.expect(200);
    }
    let good = batch(vec![
        ("i", Arc::new(Int64Array::from(vec![Some(5), None]))),
        ("f", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
        ("d", Arc::new(Int32Array::from(vec![999, -1]))),
        ("at", Arc::new(TimestampNanosecondArray::from(vec![-1_000, 1_000]))),
        ("u", Arc::new(StringArray::from(vec![Some("f79c3e09-677c-4bbd-a479-3f349cb785e7"), None]))),
    ]);
    for answer in both(&server, "t", &good).await {
        answer.expect(200);
    }
    assert!(rows(&server, "t_arrow").await.iter().any(|row| row["at"] == "1969-12-31T23:59:59.999999"));
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), Some(vec![Some(2), None])]);
    let cases: Vec<(&str, ArrayRef, &str, &str, u64)> = vec![
        ("i", Arc::new(Int64Array::from(vec![1, 1 << 31])), "/i", "int_overflow", 1),
        ("i", Arc::new(UInt64Array::from(vec![u64::MAX, 1])), "/i", "int_overflow", 0),
        ("i", Arc::new(Float64Array::from(vec![1.0, 1.5])), "/i", "not_integral", 1),
        ("f", Arc::new(Float64Array::from(vec![0.1])), "/f", "inexact", 0),
        ("d", Arc::new(Int32Array::from(vec![1_000])), "/d", "decimal_overflow", 0),
        (
            "d",
            Arc::new(Decimal128Array::from(vec![1]).with_precision_and_scale(9, 2).expect("fits")),
            "/d",
            "excess_scale",
            0,
        ),
        ("at", Arc::new(TimestampNanosecondArray::from(vec![1])), "/at", "sub_microsecond", 0),
        ("at", Arc::new(TimestampNanosecondArray::from(vec![0]).with_timezone("UTC")), "/at", "wrong_type", 0),
        ("u", Arc::new(StringArray::from(vec!["f79c"])), "/u", "bad_uuid", 0),
        ("u", Arc::new(BooleanArray::from(vec![None, Some(true)])), "/u", "wrong_type", 1),
        ("r", Arc::new(list), "/r", "null_in_required", 1),
        ("other", Arc::new(StringArray::from(vec![None, Some("x")])), "/other", "unknown_field", 1),
    ];
    for (name, column, pointer, code, row) in cases {
        let one = batch(vec![(name, column)]);
        for answer in [
            send(&server, "ns/t_arrow?schema=strict", &[ARROW], arrow(std::slice::from_ref(&one))).await,
            send(&server, "ns/t_parquet?schema=strict", &[PARQUET], parquet(std::slice::from_ref(&one))).await,
        ] {
            problem(&answer, 422, code, pointer);
            let error = answer.json()["errors"][0].clone();
            assert_eq!((&error["index"], &error["line"]), (&json!(row), &Value::Null), "{error}");
        }
    }
    let fine = batch(vec![("at", Arc::new(TimestampNanosecondArray::from(vec![-1])) as ArrayRef)]);
    send(&server, "ns/t_arrow?time_precision=truncate", &[ARROW], arrow(&[fine])).await.expect(200);
    assert!(rows(&server, "t_arrow").await.contains(&json!({"at": "1969-12-31T23:59:59.999999"})), "towards the past");
}

#[tokio::test(flavor = "multi_thread")]
async fn points_in_time_of_any_zone_can_be_written_as_text() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"id\":1,\"at\":\"2024-01-01T00:00:00Z\"}").await.expect(200);
    for (times, zone) in ["UTC", "Europe/Berlin", "+40:00"].into_iter().enumerate() {
        let at = || -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![0, 1_000_000]).with_timezone(zone)) };
        let ids: ArrayRef = Arc::new(UInt64Array::from(vec![2, u64::MAX]));
        let body = arrow(&[batch(vec![("id", ids), ("at", at()), ("seen", at())])]);
        // One is captured with what no column takes, the other is a dead letter.
        let answer = send(&server, "ns/t?on_error=dlq&unknown_fields=capture", &[ARROW], body).await.expect(200).json();
        assert_eq!((&answer["rows"]["written"], &answer["rows"]["rejected"]), (&json!(1), &json!(1)), "{zone}");
        let there = rows(&server, "t").await;
        let captured = there.iter().filter(|row| row["_extra"] == "{\"seen\":\"1970-01-01T00:00:00Z\"}");
        assert_eq!(captured.count(), times + 1, "{zone}: {there:?}");
        let letters = rows(&server, "t__rejected").await;
        let raw =
            letters.iter().filter(|row| row["raw"].as_str().is_some_and(|raw| raw.contains("1970-01-01T00:00:01Z")));
        assert_eq!(raw.count(), times + 1, "{zone}: {letters:?}");
    }
    let path = "/manage/v1/namespaces/ns/tables/t/ingest-rules";
    let rules = json!([{"op": "drop", "column": "secret"}]).to_string();
    server.send(Method::PUT, path, &[("content-type", "application/json")], Some(rules)).await.expect(200);
    let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![7_000_000]).with_timezone("UTC"));
    let body = arrow(&[batch(vec![("secret", Arc::clone(&at)), ("at", at)])]);
    send(&server, "ns/t", &[ARROW], body).await.expect(200);
    assert!(rows(&server, "t").await.iter().any(|row| row["at"] == "1970-01-01T00:00:07Z"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_by_name_and_renamed_columns_by_id() {
    let server = Server::start().await;
    push(&server, "ns/t", "{\"a\":1,\"b\":2}").await.expect(200);
    let fields = json!([
        {"id": 1, "name": "renamed", "required": false, "type": "long"},
        {"id": 2, "name": "b", "required": false, "type": "long"},
    ]);
    let updates = json!([
        {"action": "add-schema", "schema": {"type": "struct", "fields": fields}},
        {"action": "set-current-schema", "schema-id": -1},
    ]);
    server.commit("t", json!([]), updates).await.expect(200);
    let field = |name: &str, id: &str| {
        let metadata = std::collections::HashMap::from([("PARQUET:field_id".to_owned(), id.to_owned())]);
        Field::new(name, DataType::Int64, true).with_metadata(metadata)
    };
    // The file was written before the column got its new name; its other ids are another table's.
    let schema = Arc::new(Schema::new(vec![field("b", "9"), field("a", "1")]));
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![20])), Arc::new(Int64Array::from(vec![10]))];
    let file = parquet(&[RecordBatch::try_new(schema, columns).expect("a batch")]);
    send(&server, "ns/t?schema=strict", &[PARQUET], file).await.expect(200);
    assert!(rows(&server, "t").await.contains(&json!({"renamed": 10, "b": 20})));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_what_they_say_are_refused() {
    let server = Server::start().await;
    let rows = batch(vec![("id", Arc::new(Int64Array::from_iter_values(0..1_000)) as ArrayRef)]);
    let (stream, file) = (arrow(std::slice::from_ref(&rows)), parquet(std::slice::from_ref(&rows)));
    send(&server, "ns/t", &[ARROW], stream.clone()).await.expect(200);
    for (kind, whole) in [(ARROW, &stream), (PARQUET, &file)] {
        for end in [0, 3, 8, whole.len() / 2, whole.len() - 9] {
            let cut = send(&server, "ns/t", &[kind], whole[..end].to_vec()).await;
            assert_eq!(cut.status, 400, "{kind:?} cut at {end}: {}", cut.text);
        }
        let text = send(&server, "ns/t", &[kind], b"{\"id\":1}".to_vec()).await;
        assert_eq!(text.status, 400, "{}", text.text);
        // Each byte damaged in turn: it is refused or it is rows, and nobody falls over.
        for at in (0..whole.len()).step_by(whole.len() / 97) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xa5;
            let answer = send(&server, "ns/damaged", &[kind], damaged).await;
            assert!(
                matches!(answer.status, 200 | 400 | 413 | 422),
                "{kind:?} at {at}: {} {}",
                answer.status,
                answer.text
            );
        }
    }
    let none = send(&server, "ns/t", &[ARROW], arrow(&[rows.slice(0, 0)])).await;
    problem(&none, 400, "no_rows", "no rows");
    // A text that stands once and is meant many times: a gigabyte in all.
    let texts: DictionaryArray<Int32Type> =
        DictionaryArray::new(Int32Array::from(vec![0; 10_000]), Arc::new(StringArray::from(vec!["x".repeat(100_000)])));
    let large = batch(vec![("text", Arc::new(texts) as ArrayRef)]);
    for (kind, body) in [(ARROW, arrow(std::slice::from_ref(&large))), (PARQUET, parquet(std::slice::from_ref(&large)))]
    {
        let answer = send(&server, "ns/large", &[kind], body).await;
        assert_eq!(answer.status, 413, "{kind:?}: {}", answer.text);
    }
    server.get("/v1/namespaces/ns/tables/large").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_footer_that_claims_more_than_there_is_costs_nothing() {
    let server = Server::start().await;
    // A list of 2^31 - 1 columns, of which not one follows.
    let footer = [0x15, 0x02, 0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
    let length = u32::try_from(footer.len()).expect("short").to_le_bytes();
    let file = [&b"PAR1"[..], &footer, &length, b"PAR1"].concat();
    problem(&send(&server, "ns/t", &[PARQUET], file).await, 400, "malformed_body", "Parquet");
    server.get("/health/live").await.expect(200);
}
