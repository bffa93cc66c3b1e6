//! Text is cut where rows end, the same from every place on, and no row is lost or sent twice.

use std::sync::Arc;

use super::*;
use crate::cli::ingest::memory::opened;
use crate::cli::ingest::stripes::Stripe;

const CSV: Dialect = Dialect { delimiter: b',', quote: Some(b'"'), first: First::Header };
const COMMA: Records = Records::Cells(CSV);

#[test]
fn rows_end_where_lines_do_but_between_quotes() {
    for (records, text, end) in [
        (Records::Lines, "a\nb\n", Some(2)),
        (Records::Lines, "a", None),
        (Records::Lines, "\"a\nb\"\n", Some(3)),
        (COMMA, "a,b\nc", Some(4)),
        (COMMA, "a,\"b\nc\"\nd", Some(8)),
        (COMMA, "\"a\"\"\n\"\"b\"\n", Some(10)),
        (COMMA, "\"a\"\r\nb", Some(5)),
        (COMMA, "5\" pipe,b\nc\n", Some(10)),
        (COMMA, "a,\"b\nc", None),
        (COMMA, "\"\",\"\n\"\n", Some(7)),
        (COMMA, "a\r\"b\nc\"\n", Some(8)),
        (COMMA, "\u{feff}\"a\nb\"\n", Some(9)),
        (Records::Cells(Dialect { delimiter: b';', ..CSV }), "a,\"b\nc\"\n", Some(5)),
        (Records::Cells(Dialect { delimiter: b'\t', ..CSV }), "a\t\"b\nc\"\n", Some(8)),
        (Records::Cells(Dialect { quote: Some(b'\''), ..CSV }), "'a\n'\n\"b\n", Some(5)),
        (Records::Cells(Dialect { quote: None, ..CSV }), "\"a\nb\"\n", Some(3)),
        (COMMA, "", None),
    ] {
        assert_eq!(records.end(text.as_bytes()), end, "{records:?} {text:?}");
    }
}

#[test]
fn a_header_is_the_first_line_that_is_not_empty() {
    for (text, end) in
        [("a,b\n1,2\n", Some(4)), ("\n\r\na,b\n", Some(7)), ("\"a\nb\",c\n1,2\n", Some(8)), ("a,b", None)]
    {
        assert_eq!(COMMA.end_of_header(text.as_bytes()), end, "{text:?}");
    }
}

#[test]
fn pieces_are_bounded_by_bytes_rows_and_the_stripe() {
    let most = |bytes, rows, to| Most { size: Size { bytes, rows }, to };
    let text = b"aa\nbbb\ncccc\ndd";
    for (most, rest, length) in [
        (most(100, 100, None), Rest::Nothing, Some(14)),
        (most(100, 100, None), Rest::ToCome, Some(12)),
        (most(7, 100, None), Rest::ToCome, Some(7)),
        (most(6, 100, None), Rest::ToCome, Some(3)),
        (most(1, 100, None), Rest::ToCome, Some(3)),
        (most(13, 100, None), Rest::Nothing, Some(12)),
        (most(100, 2, None), Rest::Nothing, Some(7)),
        (most(100, 100, Some(2)), Rest::Nothing, Some(3)),
        (most(100, 100, Some(3)), Rest::Nothing, Some(7)),
        (most(100, 100, Some(14)), Rest::Nothing, Some(14)),
    ] {
        assert_eq!(cut(text, Records::Lines, most, rest), length, "{most:?} {rest:?}");
    }
    assert_eq!(cut(b"aa", Records::Lines, most(1, 1, None), Rest::ToCome), None);
    assert_eq!(cut(b"aa", Records::Lines, most(1, 1, None), Rest::Nothing), Some(2));
}

#[test]
fn text_without_rows_is_known() {
    for (records, text, blank) in [
        (Records::Lines, " \t\r\n\n", true),
        (Records::Lines, "1", false),
        (COMMA, "\r\n\n", true),
        (COMMA, " \n", false),
        (Records::Cells(Dialect { delimiter: b'\t', ..CSV }), "\t\n", false),
    ] {
        assert_eq!(records.is_blank(text.as_bytes()), blank, "{records:?} {text:?}");
    }
}

/// The pieces of a stripe from a place on, each with where it ends and whether it is the last.
fn pieces(file: &Arc<Opened>, run: Run, from: Option<u64>, size: Size) -> Vec<(String, u64, bool)> {
    let stripe = Stripe { number: 0, run, bytes: 0 };
    let reading = Reading { file: Arc::clone(file), stripe, from, size, packing: Packing::Plain };
    let mut chunks = TextChunks::open(&reading).expect("opened");
    let mut found = Vec::new();
    while let Some(chunk) = chunks.next().expect("read") {
        found.push((String::from_utf8(chunk.body.to_vec()).expect("text"), chunk.next, chunk.last));
    }
    found
}

#[tokio::test]
async fn stripes_have_every_line_once_and_go_on_from_every_place() {
    // Lines of 1 to 40 bytes, and one that is longer than a stripe.
    let mut text: String = (0..500).map(|line| format!("{line}{}\n", "x".repeat(line * 7 % 37))).collect();
    text.push_str(&"y".repeat(700));
    text.push_str("\nlast");
    let file = opened(text.as_bytes(), Format::Ndjson).await;
    let (size, end) = (Size { bytes: 64, rows: 3 }, text.len() as u64);
    let (mut all, mut from) = (String::new(), 0);
    while from < end {
        let run = Run::Lines { from, to: (from + 300).min(end) };
        let found = pieces(&file, run.clone(), None, size);
        for (place, (body, next, last)) in found.iter().enumerate() {
            all.push_str(body);
            assert_eq!(*last, place + 1 == found.len());
            assert_eq!(pieces(&file, run.clone(), Some(*next), size), found[place + 1..], "it goes on from {next}");
        }
        from += 300;
    }
    assert_eq!(all, text);
}

#[tokio::test]
async fn pieces_of_cells_have_the_header_and_end_where_rows_do() {
    let rows: Vec<String> = (0..50).map(|row| format!("{row},\"a\n\"\"{row}\"\"\"\r\n")).collect();
    let text = format!("id,text\r\n{}", rows.concat());
    let file = opened(text.as_bytes(), Format::Csv).await;
    let size = Size { bytes: 100, rows: 100 };
    let found = pieces(&file, Run::All, None, size);
    assert!(found.len() > 3);
    let mut all = String::from("id,text\r\n");
    for (place, (body, next, _)) in found.iter().enumerate() {
        all.push_str(body.strip_prefix("id,text\r\n").expect("a header"));
        assert_eq!(pieces(&file, Run::All, Some(*next), size), found[place + 1..]);
    }
    assert_eq!(all, text);
    for (text, bodies) in [("id\n", 0), ("id", 0), ("\r\n\n", 0), ("id\n\n\n", 0), ("id\n1", 1), ("id\r1\r", 1)] {
        let file = opened(text.as_bytes(), Format::Csv).await;
        assert_eq!(pieces(&file, Run::All, None, size).len(), bodies, "{text:?}");
    }
}
