//! What tables become by rows: the types of new columns, and how far columns grow, from JSON, CSV and Avro alike.

use serde_json::{Value, json};

use super::alike::Sent::{self, Bool, Json, Null, Number, Text};
use super::alike::{In, NOTHING, Outcome, Part, Typed, code_of, make, push, shows};
use super::{metadata, problem, rows};
use crate::kit::Server;

/// The columns of a table, each with its type in words; `!` is behind that of a required one.
async fn shape(server: &Server, table: &str) -> Vec<(String, String)> {
    let metadata = metadata(server, "ns", table).await;
    let id = &metadata["current-schema-id"];
    let schemas = metadata["schemas"].as_array().expect("a list");
    let schema = schemas.iter().find(|schema| schema["schema-id"] == *id).expect("the current one");
    let column = |field: &Value| {
        let mark = if field["required"] == true { "!" } else { "" };
        (field["name"].as_str().expect("text").to_owned(), format!("{}{mark}", in_words(&field["type"])))
    };
    schema["fields"].as_array().expect("a list").iter().map(column).collect()
}

fn in_words(kind: &Value) -> String {
    match kind["type"].as_str() {
        None => kind.as_str().expect("a type").to_owned(),
        Some("list") => format!("list<{}>", in_words(&kind["element"])),
        Some("map") => format!("map<{}>", in_words(&kind["value"])),
        Some(_) => {
            let member =
                |field: &Value| format!("{}: {}", field["name"].as_str().expect("text"), in_words(&field["type"]));
            let members: Vec<String> = kind["fields"].as_array().expect("a list").iter().map(member).collect();
            format!("struct<{}>", members.join(", "))
        }
    }
}

/// The type of a column; [`NOTHING`] if there is no such column.
fn type_of<'a>(shape: &'a [(String, String)], name: &str) -> &'a str {
    shape.iter().find(|(known, _)| known == name).map_or(NOTHING, |(_, kind)| kind)
}

/// Values for a field that a new table has not, one in each row, and what it becomes: in JSON, in JSON where
/// `coerce=lenient`, and in CSV.
#[derive(Debug)]
struct Guess {
    values: [Sent; 2],
    strict: Outcome,
    lenient: &'static str,
    csv: &'static str,
}

/// Values that agree, or say nothing.
fn agreed(first: Sent, second: Sent, kind: &'static str) -> Guess {
    Guess { values: [first, second], strict: Ok(kind), lenient: kind, csv: kind }
}

/// Values that do not agree: a column of texts where that will do.
fn mixed(first: Sent, second: Sent) -> Guess {
    Guess { values: [first, second], strict: Err("mixed_types"), lenient: "string", csv: "string" }
}

impl Guess {
    fn lenient(self, lenient: &'static str) -> Self {
        Self { lenient, ..self }
    }

    /// A cell has no quotes that mean anything and nothing inside it, so that its column may be another.
    fn csv(self, csv: &'static str) -> Self {
        Self { csv, ..self }
    }
}

fn guesses() -> Vec<Guess> {
    vec![
        agreed(Null, Bool(true), "boolean"),
        agreed(Bool(true), Bool(false), "boolean"),
        agreed(Number("1"), Number("-2"), "long"),
        agreed(Number("1"), Number("0.5"), "double"),
        agreed(Number("0.5"), Number("1"), "double"),
        agreed(Number("1e3"), Number("5"), "double"),
        agreed(Number("9007199254740992"), Number("0.5"), "double"),
        agreed(Text("2024-01-01"), Text("2024-02-29"), "date"),
        agreed(Text("2024-01-01T00:00:00Z"), Text("2024-01-01 02:00:00+02:00"), "timestamptz"),
        agreed(Text("2024-01-01T00:00:00"), Text("2024-01-01T00:00:00.5"), "timestamp"),
        agreed(Text("a"), Text(""), "string"),
        agreed(Text("24:00"), Text("2024-13-01"), "string"),
        agreed(Json(r#"{"a":1}"#), Json(r#"{"b":"x"}"#), "struct<a: long, b: string>").csv("string"),
        agreed(Json(r#"{"a":1}"#), Json(r#"{"a":0.5}"#), "struct<a: double>").csv("string"),
        agreed(Json("[]"), Json("[1]"), "list<long>").csv("string"),
        agreed(Json(r#"[{"a":1}]"#), Json(r#"[{"b":[true]},{"c":null}]"#), "list<struct<a: long, b: list<boolean>>>")
            .csv("string"),
        agreed(Null, Json("[]"), NOTHING).csv("string"),
        agreed(Json("{}"), Json(r#"{"a":[null]}"#), NOTHING).csv("string"),
        mixed(Number("9007199254740993"), Number("0.5")),
        mixed(Number("0.5"), Number("9007199254740993")),
        mixed(Bool(true), Number("1")),
        mixed(Text("1"), Number("2")).csv("long"),
        mixed(Text("true"), Bool(false)).csv("boolean"),
        mixed(Text("01234"), Number("5")),
        mixed(Text("NaN"), Number("1.5")),
        mixed(Text("2024-01-01"), Text("2024-02-30")),
        mixed(Text("a"), Text("2024-01-01")),
        mixed(Text("2024-01-01"), Text("2024-01-01T00:00:00")),
        mixed(Text("2024-01-01T00:00:00Z"), Text("2024-01-01T00:00:00")),
        mixed(Json(r#"{"a":1}"#), Json(r#"{"a":"x"}"#)).lenient("struct<a: string>"),
        mixed(Json("[1]"), Json(r#"["x"]"#)).lenient("list<string>"),
        mixed(Json(r#"{"a":1}"#), Number("5")),
        mixed(Json("[1]"), Json(r#"{"a":1}"#)),
        Guess { strict: Err("int_overflow"), ..mixed(Number("9223372036854775808"), Number("1")) },
    ]
}

/// The rows of these values, those of each guess under its name.
fn rows_of(guesses: &[(String, &Guess)]) -> [Vec<Part>; 2] {
    let part =
        |(name, guess): &(String, &Guess), row: usize| Part { name: name.clone(), sent: guess.values[row], avro: None };
    [0, 1].map(|row| guesses.iter().map(|guess| part(guess, row)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_column_is_what_all_its_values_agree_on() {
    let server = Server::start().await;
    let guesses = guesses();
    let named = guesses.iter().enumerate().map(|(at, guess)| (format!("c{at}"), guess));
    let all: Vec<(String, &Guess)> = named.collect();
    let (fine, mixed): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|(_, guess)| guess.strict.is_ok());
    push(&server, "strict", In::Json, &rows_of(&fine)).await.expect(200);
    let strict = shape(&server, "strict").await;
    push(&server, "lenient?coerce=lenient", In::Json, &rows_of(&all)).await.expect(200);
    let lenient = shape(&server, "lenient").await;
    push(&server, "cells", In::Csv, &rows_of(&all)).await.expect(200);
    let cells = shape(&server, "cells").await;
    let refused = push(&server, "mixed", In::Json, &rows_of(&mixed)).await.expect(422).json();
    server.get("/v1/namespaces/ns/tables/mixed").await.expect(404);
    for (name, guess) in &all {
        let code = code_of(&refused, None, name);
        let found = code.as_deref().map_or_else(|| Ok(type_of(&strict, name)), Err);
        let found = (found, type_of(&lenient, name), type_of(&cells, name));
        assert_eq!(found, (guess.strict, guess.lenient, guess.csv), "{guess:?}");
    }
    for error in refused["errors"].as_array().expect("a list") {
        let detail = error["detail"].as_str().expect("text");
        let both = detail.contains("row 0") && detail.contains("row 1");
        assert_eq!(both, error["code"] == "mixed_types", "{detail}");
    }
    assert_eq!((rows(&server, "lenient").await.len(), rows(&server, "cells").await.len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_column_is_what_its_avro_type_says() {
    let server = Server::start().await;
    let kinds = [
        ("boolean", "true", "boolean"),
        ("int", "1", "int"),
        ("long", "1", "long"),
        ("float", "0.5", "float"),
        ("double", "0.5", "double"),
        ("string", r#""2024-01-01""#, "string"),
        ("enum a", r#""a""#, "string"),
        ("bytes", r#""a""#, "binary"),
        ("fixed 4", r#""abcd""#, "fixed[4]"),
        ("uuid", r#""f79c3e09-677c-4bbd-a479-3f349cb785e7""#, "uuid"),
        ("decimal 9 2", "125", "decimal(9, 2)"),
        ("date", "1", "date"),
        ("time-millis", "1", "time"),
        ("time-micros", "1", "time"),
        ("timestamp-millis", "1", "timestamptz"),
        ("timestamp-micros", "1", "timestamptz"),
        ("timestamp-nanos", "1000", "timestamptz"),
        ("local-timestamp-millis", "1", "timestamp"),
        ("local-timestamp-micros", "1", "timestamp"),
        ("local-timestamp-nanos", "1000", "timestamp"),
        ("array ?int", "[1,null]", "list<int>"),
        ("map long", r#"{"k":1}"#, "map<long>"),
        ("record a:int b:?string", r#"{"a":1,"b":null}"#, "struct<a: int, b: string>"),
    ];
    let part = |(at, &(kind, value, _)): (usize, &(&'static str, &'static str, &str))| Part {
        name: format!("c{at}"),
        sent: Null,
        avro: Some((kind, value)),
    };
    let row: Vec<Part> = kinds.iter().enumerate().map(part).collect();
    push(&server, "t", In::Avro, &[row]).await.expect(200);
    let made = shape(&server, "t").await;
    let found: Vec<&str> = (0..kinds.len()).map(|at| type_of(&made, &format!("c{at}"))).collect();
    assert_eq!(found, kinds.map(|(.., becomes)| becomes));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_differ_in_case_only_make_no_columns() {
    let server = Server::start().await;
    let part = |name: &str| Part { name: name.to_owned(), sent: Number("1"), avro: None };
    for format in In::ALL {
        let answer = push(&server, "t", format, &[vec![part("name"), part("Name")]]).await;
        problem(&answer, 422, "ambiguous_name", "differ in case only");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_refused_makes_no_table() {
    let server = Server::start().await;
    // What a column would be is plain, and that it cannot hold them.
    let finer = (Text("2024-01-01T00:00:00.1234567Z"), Some(("timestamp-nanos", "1704067200123456700")));
    let endless = (Number("1e999"), None);
    for (format, (sent, avro), code) in [
        (In::Json, finer, "sub_microsecond"),
        (In::Csv, finer, "sub_microsecond"),
        (In::Avro, finer, "sub_microsecond"),
        (In::Json, endless, "float_overflow"),
        (In::Csv, endless, "float_overflow"),
    ] {
        let part = Part { name: "v".to_owned(), sent, avro };
        problem(&push(&server, "t", format, &[vec![part]]).await, 422, code, "/v");
        server.get("/v1/namespaces/ns/tables/t").await.expect(404);
    }
}

/// A value that a column has no room for, or no column is there for: its code where nothing grows, and the column's
/// type and what it shows where it does.
#[derive(Debug)]
struct Growth {
    /// `!` is behind the type of a required column; [`NOTHING`] for a column that is not there.
    column: &'static str,
    /// `None` leaves the field out.
    sent: Option<Sent>,
    avro: Option<Typed>,
    refused: &'static str,
    grown: &'static str,
    shown: &'static str,
}

fn growth(
    column: &'static str,
    sent: Option<Sent>,
    refused: &'static str,
    (grown, shown): (&'static str, &'static str),
) -> Growth {
    Growth { column, sent, avro: None, refused, grown, shown }
}

impl Growth {
    fn avro(self, kind: &'static str, value: &'static str) -> Self {
        Self { avro: Some((kind, value)), ..self }
    }
}

fn growths() -> Vec<Growth> {
    const LIST: &str = r#"{"type":"list","element":"int","element-required":false}"#;
    const MAP: &str = r#"{"type":"map","key":"string","value":"float","value-required":false}"#;
    const STRUCT: &str = r#"{"type":"struct","fields":[{"name":"a","required":true,"type":"int"}]}"#;
    let (large, new) = (r#"[3000000000]"#, r#"{"a":1,"n":2}"#);
    vec![
        growth("int", Some(Number("3000000000")), "int_overflow", ("long", "3000000000")),
        growth("float", Some(Number("16777217")), "inexact", ("double", "16777217.0")),
        growth("float", Some(Number("1e39")), "float_overflow", ("double", "1e39")),
        growth("decimal(4, 2)", Some(Number("-123456.78")), "decimal_overflow", ("decimal(8, 2)", "-123456.78"))
            .avro("decimal 8 2", "-12345678"),
        growth("int!", Some(Null), "null_in_required", ("int", NOTHING)),
        growth("string!", None, "null_in_required", ("string", NOTHING)),
        growth(NOTHING, Some(Text("x")), "unknown_field", ("string", "x")),
        growth(NOTHING, Some(Number("5")), "unknown_field", ("long", "5")),
        growth(LIST, Some(Json(large)), "int_overflow", ("list<long>", large)).avro("array long", large),
        growth(MAP, Some(Json(r#"{"k":16777217}"#)), "inexact", ("map<double>", r#"{"k":16777217.0}"#))
            .avro("map long", r#"{"k":16777217}"#),
        growth(STRUCT, Some(Json(new)), "unknown_field", ("struct<a: int, n: long>", new))
            .avro("record a:int n:long", new),
        growth(STRUCT, Some(Json("{}")), "null_in_required", ("struct<a: int>", "{}")).avro("record a:?int", "{}"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_grows_as_far_as_its_mode_allows() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let growths = growths();
    let named = || growths.iter().enumerate().map(|(at, growth)| (format!("c{at}"), growth));
    let columns: Vec<(String, &str, bool)> = named()
        .filter(|(_, growth)| growth.column != NOTHING)
        .map(|(name, growth)| (name, growth.column.trim_end_matches('!'), growth.column.ends_with('!')))
        .collect();
    let part = |(name, growth): (String, &Growth)| Some(Part { name, sent: growth.sent?, avro: growth.avro });
    let row: Vec<Part> = named().filter_map(part).collect();
    for (mode, format) in modes() {
        for asked in [true, false] {
            let table = format!("{}_{}_{asked}", format.word(), mode.replace('-', "_"));
            let properties = if asked { json!({}) } else { json!({"floeberg.ingest.schema": mode}) };
            make(&server, &table, &columns, properties).await;
            let path = if asked { format!("{table}?schema={mode}") } else { table.clone() };
            let before = metadata(&server, "ns", &table).await;
            let answer = push(&server, &path, format, std::slice::from_ref(&row)).await;
            if mode == "strict" {
                let answer = answer.expect(422).json();
                for (name, growth) in named() {
                    let code = code_of(&answer, Some(0), &name);
                    assert_eq!(code.as_deref(), Some(growth.refused), "{format:?}: {growth:?}");
                }
                assert_eq!(metadata(&server, "ns", &table).await, before);
                continue;
            }
            answer.expect(200);
            let (after, there) = (shape(&server, &table).await, rows(&server, &table).await);
            for (name, growth) in named() {
                assert_eq!(type_of(&after, &name), growth.grown, "{format:?}, {mode}: {growth:?}");
                assert!(shows(&there[0], &name, growth.shown), "{format:?}, {mode}: {growth:?}: {there:?}");
            }
        }
    }
}

/// Each mode with each format.
fn modes() -> impl Iterator<Item = (&'static str, In)> {
    let modes = ["strict", "add-columns", "full"].into_iter();
    modes.flat_map(|mode| In::ALL.into_iter().map(move |format| (mode, format)))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_narrow_rename_and_drop_nothing() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let columns = [
        ("l", "long", Number("1"), Some(("int", "1"))),
        ("d", "double", Number("0.5"), Some(("float", "0.5"))),
        ("x", "decimal(8, 2)", Number("1.25"), Some(("decimal 4 2", "125"))),
        ("o", "int", Number("5"), None),
        ("s", "string", Text("2024-01-01"), None),
    ];
    let part = |name: &str, sent, avro| Part { name: name.to_owned(), sent, avro };
    for (mode, format) in modes() {
        let table = format!("{}_{}", format.word(), mode.replace('-', "_"));
        let mut made: Vec<(String, &str, bool)> =
            columns.iter().map(|(name, kind, ..)| ((*name).to_owned(), *kind, false)).collect();
        made.push(("old".to_owned(), "string", false));
        make(&server, &table, &made, json!({"floeberg.ingest.schema": mode})).await;
        let mut wanted = shape(&server, &table).await;
        let mut row: Vec<Part> = columns.iter().map(|(name, _, sent, avro)| part(name, *sent, *avro)).collect();
        if mode == "strict" {
            // There is nothing in it to refuse.
            row.push(part("new", Null, None));
        } else {
            row.push(part("new", Text("a"), None));
            wanted.push(("new".to_owned(), "string".to_owned()));
        }
        push(&server, &table, format, &[row]).await.expect(200);
        assert_eq!(shape(&server, &table).await, wanted, "{format:?}, {mode}");
        // Every value stays away once: no column does.
        push(&server, &table, format, &[Vec::new()]).await.expect(200);
        assert_eq!(shape(&server, &table).await, wanted, "{format:?}, {mode}");
    }
}

/// A column, a value that no mode makes room for, its code, and the formats that can say it.
type Refusal = (&'static str, Sent, Option<Typed>, &'static str, &'static [In]);

fn refusals() -> Vec<Refusal> {
    const ALL: &[In] = &In::ALL;
    // A cell that looks like a number is one.
    const QUOTED: &[In] = &[In::Json, In::Avro];
    const WRITTEN: &[In] = &[In::Json, In::Csv];
    let wide = Some(("decimal 38 0", r#""10000000000000000000000000000000000000""#));
    vec![
        ("key", Null, None, "null_in_required", ALL),
        ("i", Number("1.5"), None, "not_integral", ALL),
        ("i", Text("x"), None, "wrong_type", ALL),
        ("i", Text("5"), None, "wrong_type", QUOTED),
        ("i", Text("3000000000"), None, "wrong_type", QUOTED),
        ("f", Text("1e39"), None, "wrong_type", QUOTED),
        ("l", Number("9223372036854775808"), None, "int_overflow", ALL),
        ("d", Number("0.001"), Some(("decimal 9 3", "1")), "excess_scale", ALL),
        ("d", Number("1e37"), wide, "decimal_overflow", ALL),
        ("s", Number("5"), None, "wrong_type", QUOTED),
        ("b", Number("1"), None, "wrong_type", ALL),
        ("day", Text("2024-02-30"), None, "bad_date", WRITTEN),
        ("at", Text("2024-01-01T00:00:00Z"), None, "unexpected_zone", WRITTEN),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mode_makes_room_for_what_is_wrong() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let columns = [
        ("key", "int"),
        ("row", "long"),
        ("i", "int"),
        ("f", "float"),
        ("l", "long"),
        ("d", "decimal(4, 2)"),
        ("s", "string"),
        ("b", "boolean"),
        ("day", "date"),
        ("at", "timestamp"),
    ];
    let field =
        |(id, (name, kind)): (i32, &(&str, &str))| json!({"id": id, "name": name, "required": id == 1, "type": kind});
    let fields: Vec<Value> = (1..).zip(&columns).map(field).collect();
    let schema = json!({"type": "struct", "fields": fields, "identifier-field-ids": [1]});
    let mut wrong = String::new();
    for (mode, format) in modes() {
        let table = format!("{}_{}", format.word(), mode.replace('-', "_"));
        server.post("/v1/namespaces/ns/tables", &json!({"name": table, "schema": schema})).await.expect(200);
        let mut before = shape(&server, &table).await;
        for (name, sent, avro, wanted, formats) in refusals() {
            if !formats.contains(&format) {
                continue;
            }
            let mut row = vec![Part { name: name.to_owned(), sent, avro }];
            if name != "key" {
                row.push(Part { name: "key".to_owned(), sent: Number("1"), avro: None });
            }
            let answer = push(&server, &format!("{table}?schema={mode}"), format, &[row]).await.expect(422).json();
            let (code, after) = (code_of(&answer, Some(0), name), shape(&server, &table).await);
            if code.as_deref() != Some(wanted) || after != before {
                wrong.push_str(&format!("\n{format:?}, {mode}: {name} {sent:?}: {code:?}, {before:?} -> {after:?}"));
            }
            before = after;
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
