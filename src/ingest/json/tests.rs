//! However a body arrives, its rows and its faults are the same.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use proptest::prelude::*;
use serde_json::json;
use serde_json::value::to_raw_value;

use super::*;
use crate::catalog::metadata::schema::Schema;
use crate::error::Kind;
use crate::ingest::columns::Shape;
use crate::ingest::decode::tests::READING;
use crate::ingest::decode::{self, Decoded, Evolution, Reading, Unknown};
use crate::ingest::evolve::Wish;
use crate::ingest::verdict::OnError;

const GROWING: Reading = Reading { evolution: Evolution::AddColumns, unknown: Unknown::Add, ..READING };

fn schema() -> Schema {
    let point = json!({"type": "struct", "fields": [
        {"id": 5, "name": "x", "required": true, "type": "double"},
        {"id": 6, "name": "tags", "required": false, "type":
            {"type": "list", "element-id": 7, "element": "string", "element-required": true}},
    ]});
    let fields = json!([
        {"id": 1, "name": "id", "required": true, "type": "int"},
        {"id": 2, "name": "name", "required": false, "type": "string"},
        {"id": 3, "name": "points", "required": false, "type":
            {"type": "list", "element-id": 4, "element": point, "element-required": false}},
        {"id": 8, "name": "m", "required": false, "type":
            {"type": "map", "key-id": 9, "key": "string", "value-id": 10, "value": "long", "value-required": true}},
    ]);
    Schema::parse(&to_raw_value(&json!({"type": "struct", "fields": fields})).expect("JSON")).expect("a schema")
}

/// Reads a body that arrives in pieces, with a window of so many bytes.
fn read(text: &[u8], reading: &Reading, window: usize, pieces: &[usize]) -> Result<Decoded> {
    let mut reader =
        TextReader::json(&Shape::of(&Arc::new(schema())).expect("a shape"), reading.clone()).expect("a reader");
    (reader.worth, reader.usually) = (window, window);
    let mut rest = text;
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (first, more) = rest.split_at((*piece).clamp(1, rest.len()));
        reader.feed(first)?;
        rest = more;
    }
    reader.finish()
}

fn whole(batches: &[RecordBatch]) -> Option<RecordBatch> {
    let first = batches.first()?;
    Some(concat_batches(&first.schema(), batches).expect("alike"))
}

fn row() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("null".to_owned()), "[a-zé😀\\\\\"\n]{0,6}".prop_map(|text| json!(text).to_string())];
    let point =
        (any::<i8>(), prop::collection::vec("[a-z]{0,3}", 0..3)).prop_map(|(x, tags)| json!({"tags": tags, "x": x}));
    let points = prop::collection::vec(point, 0..3).prop_map(|points| json!(points).to_string());
    let map = prop::collection::btree_map("[a-z]{1,2}", any::<i64>(), 0..3).prop_map(|map| json!(map).to_string());
    (any::<i32>(), name, points, map, "[ \n]{0,3}").prop_map(|(id, name, points, map, space)| {
        format!("{{{space}\"name\":{name},\"points\": {points},{space}\"id\":{id},\"m\":{map}}}{space}")
    })
}

fn body() -> impl Strategy<Value = String> {
    (prop::collection::vec(row(), 1..12), any::<bool>(), "[ \n]{0,2}").prop_map(|(rows, list, space)| {
        if list { format!("{space}[{}]{space}", rows.join(",")) } else { rows.join(&format!("\n{space}")) }
    })
}

proptest! {
    #[test]
    fn rows_are_the_same_however_they_arrive(
        text in body(), window in 1_usize..200, pieces in prop::collection::vec(1_usize..90, 1..4)
    ) {
        let once = read(text.as_bytes(), &READING, 1 << 20, &[1 << 20]).expect("rows");
        let piecemeal = read(text.as_bytes(), &READING, window, &pieces).expect("rows");
        prop_assert_eq!(once.rows, piecemeal.rows);
        prop_assert_eq!(whole(&once.batches), whole(&piecemeal.batches));
    }

    #[test]
    fn faults_are_the_same_however_they_arrive(
        text in body(), cut in any::<prop::sample::Index>(), byte in 32_u8..127, window in 1_usize..200,
        pieces in prop::collection::vec(1_usize..90, 1..4)
    ) {
        let mut text = text.into_bytes();
        let at = cut.index(text.len());
        text[at] = byte;
        let once = read(&text, &READING, 1 << 20, &[1 << 20]);
        let piecemeal = read(&text, &READING, window, &pieces);
        match (once, piecemeal) {
            (Ok(once), Ok(piecemeal)) => {
                prop_assert_eq!(once.verdicts.listed, piecemeal.verdicts.listed);
                prop_assert_eq!(once.verdicts.bad_rows, piecemeal.verdicts.bad_rows);
                prop_assert_eq!(whole(&once.batches), whole(&piecemeal.batches));
            }
            (Err(once), Err(piecemeal)) => prop_assert_eq!(once.message(), piecemeal.message()),
            (once, piecemeal) => prop_assert!(false, "{:?} and {:?}", once, piecemeal),
        }
    }
}

#[test]
fn what_is_left_out_leaves_the_others_whole() {
    let skipping = Reading { on_error: OnError::Dlq, ..GROWING };
    for (body, rows, bad) in [
        (r#"[{"id":1,"name":"]"},{"id":"x"},{"id":3}]"#, 3, 1),
        (r#"[{"id":1},{"id":2},{"id":"x"}]"#, 3, 1),
        (r#"[{"id":"x","new":1},{"id":2,"new":"text"},{"id":"x"}]"#, 3, 2),
        ("{\"id\":1,\"new\":16\n{\"id\":2,\"new\":\"text\"}\n{\"id\":1.5}\n1.\n{\"id\":3}\n", 5, 3),
    ] {
        for (window, piece) in (1..60).flat_map(|window| [1, 2, 7, 20, 100].map(|piece| (window, piece))) {
            let decoded = read(body.as_bytes(), &skipping, window, &[piece]);
            let decoded = decoded.unwrap_or_else(|error| panic!("{body} {window} {piece}: {error}"));
            assert_eq!((decoded.rows, decoded.verdicts.bad_rows), (rows, bad), "{body} {window} {piece}");
        }
    }
}

#[test]
fn what_is_wished_for_is_read_again() {
    let text = "{\"id\":1}\n{\"id\":2,\"new\":[1]}\n{\"id\":3,\"points\":[{\"x\":1,\"z\":true}]}\n{\"id\":3000000000}\n{\"name\":\"n\"}\n";
    for (window, pieces) in [(1 << 20, 1 << 20), (8, 5)] {
        let decoded = read(text.as_bytes(), &GROWING, window, &[pieces]).expect("rows");
        assert_eq!((decoded.rows, decoded.verdicts.total), (5, 0));
        let list = |kind| {
            crate::catalog::metadata::types::Type::List(Box::new(crate::catalog::metadata::schema::Field::optional(
                0, "element", kind,
            )))
        };
        let primitive = crate::catalog::metadata::types::Type::Primitive;
        use crate::catalog::metadata::types::Primitive;
        let mut wishes = decoded.wishes;
        wishes.sort_by_key(|wish| format!("{wish:?}"));
        assert_eq!(
            wishes,
            [
                Wish::Add { parent: None, name: "new".to_owned(), kind: list(primitive(Primitive::Long)) },
                Wish::Add { parent: Some(4), name: "z".to_owned(), kind: primitive(Primitive::Boolean) },
                Wish::Relax { id: 1 },
                Wish::Widen { id: 1, to: Primitive::Long },
            ]
        );
        // The rows before the first that asks for something are there; the others are there again.
        let kept = decoded.kept.expect("kept");
        let before: usize = decoded.batches.iter().map(RecordBatch::num_rows).sum();
        assert!(window > 8 || before == 1, "{before}");
        let strict = Reading { unknown: Unknown::Ignore, ..READING };
        let again =
            decode::again(&Shape::of(&Arc::new(schema())).expect("a shape"), &strict, kept).expect("read again");
        assert_eq!(again.rows, 5, "rows are counted from the first");
        let places: Vec<(usize, Option<usize>)> =
            again.verdicts.listed.iter().map(|one| (one.index, one.line)).collect();
        assert_eq!(places, [(3, Some(4)), (4, Some(5))]);
    }
}

#[test]
fn bounds_hold_in_the_middle_of_a_row() {
    let bounds = decode::Bounds { row_bytes: 100, ..READING.bounds };
    let reading = Reading { bounds, ..READING };
    let long = format!("{{\"id\":1,\"name\":\"{}", "x".repeat(500));
    let error = read(long.as_bytes(), &reading, 16, &[10]).expect_err("too large");
    assert_eq!(error.kind(), Kind::TooLarge);
    let rows = "{\"id\":1}".repeat(20);
    let bounds = decode::Bounds { rows: 10, ..READING.bounds };
    let error = read(rows.as_bytes(), &Reading { bounds, ..READING }, 16, &[10]).expect_err("too many");
    assert!(error.message().contains("more than 10 rows"), "{error}");
}
