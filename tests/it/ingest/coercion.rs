//! Every rule of coercion as a table of values, each sent as JSON, as CSV and as Avro: they come out alike, or the
//! table says why they do not.

use serde_json::json;

use super::alike::Sent::{Bool, Json, Null, Number, Text};
use super::alike::{Case, In, NOTHING, Part, case, check, code_of, make, push};
use super::{problem, rows};
use crate::kit::Server;

const CELL: &str = "a cell is text: what it means its column says";
const EMPTY: &str = "an empty cell is no value";
const TYPED: &str = "a value of the type that Avro has for it cannot be wrong so";
const EXACT: &str = "a double means itself to the last bit";
const WHOLE: &str = "it is the type of the whole column that is another";
const PARTS: &str = "what is made of parts is a text only where it was written as one";
const LIST: &str = r#"{"type":"list","element":"int","element-required":false}"#;
const FULL_LIST: &str = r#"{"type":"list","element":"int","element-required":true}"#;
const MAP: &str = r#"{"type":"map","key":"string","value":"long","value-required":false}"#;
const FULL_MAP: &str = r#"{"type":"map","key":"string","value":"long","value-required":true}"#;
const STRUCT: &str = r#"{"type":"struct","fields":[
    {"name":"a","required":true,"type":"int"},{"name":"b","required":false,"type":"string"}]}"#;

fn whole_numbers() -> Vec<Case> {
    vec![
        case("int", Null, Ok(NOTHING)),
        case("int", Number("2147483647"), Ok("2147483647")),
        case("int", Number("-2147483648"), Ok("-2147483648")),
        case("int", Number("2147483648"), Err("int_overflow")),
        case("int", Number("-2147483649"), Err("int_overflow")),
        case("int", Number("7"), Ok("7")).avro("int", "7"),
        case("int", Number("1.0"), Ok("1")),
        case("int", Number("-0.0"), Ok("0")),
        case("int", Number("1e3"), Ok("1000")),
        case("int", Number("1.5"), Err("not_integral")),
        case("int", Number("-1e-1"), Err("not_integral")),
        case("int", Number("3e9"), Err("int_overflow")),
        case("int", Text("5"), Err("wrong_type")).but(In::Csv, Ok("5"), CELL),
        case("int", Text("five"), Err("wrong_type")),
        case("int", Text(""), Err("wrong_type")).but(In::Csv, Ok(NOTHING), EMPTY),
        case("int", Bool(true), Err("wrong_type")),
        case("int", Json("[5]"), Err("wrong_type")).avro("array int", "[5]"),
        case("int", Json(r#"{"a":5}"#), Err("wrong_type")).avro("record a:int", r#"{"a":5}"#),
        case("long", Number("9223372036854775807"), Ok("9223372036854775807")),
        case("long", Number("-9223372036854775808"), Ok("-9223372036854775808")),
        case("long", Number("9223372036854775808"), Err("int_overflow")),
        case("long", Number("1e19"), Err("int_overflow")),
        case("long", Number("7"), Ok("7")).avro("int", "7"),
        case("long", Number("9007199254740993.0"), Ok("9007199254740993")).never(In::Avro, "no double is it"),
    ]
}

fn fractions() -> Vec<Case> {
    vec![
        case("float", Number("0.5"), Ok("0.5")),
        case("float", Number("0.1"), Ok("0.1")).avro("float", "0.1"),
        case("float", Number("0.1"), Ok("0.1")).but(In::Avro, Err("inexact"), EXACT),
        case("float", Number("16777216"), Ok("16777216.0")),
        case("float", Number("16777217"), Err("inexact")),
        case("float", Number("1e39"), Err("float_overflow")),
        case("float", Number("-1e39"), Err("float_overflow")),
        case("double", Number("0.1"), Ok("0.1")),
        case("double", Number("1.5"), Ok("1.5")).avro("float", "1.5"),
        case("double", Number("7"), Ok("7.0")).avro("int", "7"),
        case("double", Number("9007199254740992"), Ok("9007199254740992.0")),
        case("double", Number("-9007199254740993"), Err("inexact")),
        case("double", Number("9007199254740993.0"), Ok("9007199254740992.0")),
        case("double", Number("1152921504606846976"), Ok("1152921504606846976.0")),
        case("double", Number("1e999"), Err("float_overflow")).never(In::Avro, "no double is it"),
        case("double", Text("1.5"), Err("wrong_type")).but(In::Csv, Ok("1.5"), CELL),
        case("double", Text("NaN"), Err("wrong_type")),
        case("double", Text("-Infinity"), Err("wrong_type")),
        // It is shown as null, and is not nothing.
        case("double", Text("NaN"), Err("wrong_type")).avro("double", r#""NaN""#).but(In::Avro, Ok("null"), EXACT),
        case("double", Bool(false), Err("wrong_type")),
    ]
}

fn decimals() -> Vec<Case> {
    let nines = "99999999999999999999999999999999999999";
    vec![
        case("decimal(9, 2)", Number("1234567.89"), Ok("1234567.89")).avro("decimal 9 2", "123456789"),
        case("decimal(9, 2)", Number("-0.01"), Ok("-0.01")).avro("decimal 9 2", "-1"),
        case("decimal(9, 2)", Number("12.300"), Ok("12.30")).avro("decimal 9 3", "12300"),
        case("decimal(9, 2)", Number("1e2"), Ok("100.00")).avro("int", "100"),
        case("decimal(9, 2)", Number("5"), Ok("5.00")),
        case("decimal(18, 0)", Number("900719925474099267"), Ok("900719925474099267")),
        case("decimal(38, 0)", Number(nines), Ok(nines))
            .avro("decimal 38 0", r#""99999999999999999999999999999999999999""#),
        case("decimal(9, 2)", Number("0.001"), Err("excess_scale")).avro("decimal 9 3", "1"),
        case("decimal(9, 2)", Number("12345678"), Err("decimal_overflow")),
        case("decimal(9, 2)", Number("-12345678"), Err("decimal_overflow")),
        case("decimal(9, 2)", Number("12345678.90"), Err("decimal_overflow")).avro("decimal 10 2", "1234567890"),
        // What a writer says of its own digits is not taken for granted.
        case("decimal(4, 2)", Number("1234.56"), Err("decimal_overflow")).avro("decimal 4 2", "123456"),
        case("decimal(9, 2)", Number("0.5"), Ok("0.50")).but(In::Avro, Err("wrong_type"), "a double is no decimal"),
        case("decimal(9, 2)", Text("abc"), Err("wrong_type")),
        case("decimal(9, 2)", Bool(true), Err("wrong_type")),
        case("decimal(9, 2)", Null, Ok(NOTHING)),
    ]
}

fn words() -> Vec<Case> {
    vec![
        case("string", Text("a \"b\",\nc"), Ok(r#""a \"b\",\nc""#)),
        case("string", Text("5"), Ok(r#""5""#)),
        case("string", Text("a"), Ok("a")).avro("enum a", r#""a""#),
        case("string", Text(""), Ok(r#""""#)).but(In::Csv, Ok(NOTHING), EMPTY),
        case("string", Null, Ok(NOTHING)),
        case("string", Number("1.50"), Err("wrong_type")).but(In::Csv, Ok(r#""1.50""#), CELL),
        case("string", Bool(true), Err("wrong_type")).but(In::Csv, Ok(r#""true""#), CELL),
        case("string", Json(r#"{"a":1}"#), Err("wrong_type")).avro("record a:int", r#"{"a":1}"#).but(
            In::Csv,
            Ok(r#""{\"a\":1}""#),
            CELL,
        ),
        case("string", Text("AA=="), Ok("AA==")).avro("bytes", r#""\u0000""#).but(In::Avro, Err("wrong_type"), WHOLE),
        case("boolean", Bool(true), Ok("true")),
        case("boolean", Bool(false), Ok("false")),
        case("boolean", Text("TRUE"), Err("wrong_type")).but(In::Csv, Ok("true"), CELL),
        case("boolean", Text("yes"), Err("wrong_type")),
        case("boolean", Number("1"), Err("wrong_type")),
        case("boolean", Null, Ok(NOTHING)),
    ]
}

fn days_and_times() -> Vec<Case> {
    vec![
        case("date", Text("2024-02-29"), Ok("2024-02-29")).avro("date", "19782"),
        case("date", Text("0001-01-01"), Ok("0001-01-01")).avro("date", "-719162"),
        case("date", Text("2023-02-29"), Err("bad_date")).never(In::Avro, TYPED),
        case("date", Text("2024-1-1"), Err("bad_date")).never(In::Avro, TYPED),
        case("date", Text("2024-01-01T00:00:00"), Err("bad_date")).never(In::Avro, TYPED),
        case("date", Number("20240101"), Err("wrong_type")).but(In::Csv, Err("bad_date"), CELL),
        case("time", Text("23:59:59.5"), Ok("23:59:59.500")).avro("time-millis", "86399500"),
        case("time", Text("00:00:00.000001"), Ok("00:00:00.000001")).avro("time-micros", "1"),
        case("time", Text("24:00:00"), Err("bad_time")).avro("time-micros", "86400000000"),
        case("time", Text("12:00"), Err("bad_time")).never(In::Avro, TYPED),
        case("time", Text("12:00:60"), Err("bad_time")).never(In::Avro, TYPED),
        case("time", Text("00:00:00.0000001"), Err("sub_microsecond")).never(In::Avro, TYPED),
        case("time", Text("00:00:00.1000000000"), Ok("00:00:00.100")).avro("time-millis", "100"),
        case("time", Number("5"), Err("wrong_type")).but(In::Csv, Err("bad_time"), CELL),
    ]
}

fn moments() -> Vec<Case> {
    vec![
        case("timestamp", Text("2024-01-01 00:00:00.25"), Ok("2024-01-01T00:00:00.250"))
            .avro("local-timestamp-millis", "1704067200250"),
        case("timestamp", Text("1969-12-31T23:59:59.999999"), Ok("1969-12-31T23:59:59.999999"))
            .avro("local-timestamp-micros", "-1"),
        case("timestamp", Text("2024-01-01T00:00:00Z"), Err("unexpected_zone"))
            .avro("timestamp-micros", "1704067200000000")
            .but(In::Avro, Err("wrong_type"), WHOLE),
        case("timestamp", Text("2024-01-01T00:00:00+02:00"), Err("unexpected_zone")).never(In::Avro, TYPED),
        case("timestamp", Text("2024-01-01"), Err("bad_timestamp")).avro("date", "19723").but(
            In::Avro,
            Err("wrong_type"),
            WHOLE,
        ),
        case("timestamp", Number("1704067200"), Err("wrong_type")).but(In::Csv, Err("bad_timestamp"), CELL),
        case("timestamptz", Text("2024-01-01T00:00:00Z"), Ok("2024-01-01T00:00:00Z"))
            .avro("timestamp-millis", "1704067200000"),
        case("timestamptz", Text("2024-01-01t02:00:00+02:00"), Ok("2024-01-01T00:00:00Z"))
            .avro("timestamp-micros", "1704067200000000"),
        case("timestamptz", Text("2024-01-01 00:00:00.000001z"), Ok("2024-01-01T00:00:00.000001Z"))
            .avro("timestamp-nanos", "1704067200000001000"),
        case("timestamptz", Text("2024-01-01T00:00:00"), Err("missing_zone"))
            .avro("local-timestamp-micros", "1704067200000000")
            .but(In::Avro, Err("wrong_type"), WHOLE),
        case("timestamptz", Text("2024-01-01T23:59:60Z"), Err("bad_timestamp")).never(In::Avro, TYPED),
        case("timestamptz", Text("2024-01-01T00:00:00.1234567Z"), Err("sub_microsecond"))
            .avro("timestamp-nanos", "1704067200123456700"),
        case("timestamptz", Text("2024-01-01T00:00:00.1230000000Z"), Ok("2024-01-01T00:00:00.123Z"))
            .avro("timestamp-nanos", "1704067200123000000"),
        case("timestamptz_ns", Text("2024-01-01T00:00:00.123456789Z"), Ok("2024-01-01T00:00:00.123456789Z"))
            .avro("timestamp-nanos", "1704067200123456789"),
        case("timestamp_ns", Text("2024-01-01T00:00:00.0000000001"), Err("sub_microsecond")).never(In::Avro, TYPED),
        case("timestamp_ns", Text("9999-01-01T00:00:00"), Err("timestamp_overflow"))
            .avro("local-timestamp-millis", "253370764800000"),
    ]
}

fn bytes() -> Vec<Case> {
    let (uuid, shown) = ("f79c3e09-677c-4bbd-a479-3f349cb785e7", "f79c3e09677c4bbda4793f349cb785e7");
    vec![
        case("uuid", Text(uuid), Ok(shown)),
        case("uuid", Text(uuid), Ok(shown)).avro("uuid", r#""f79c3e09-677c-4bbd-a479-3f349cb785e7""#),
        case("uuid", Text("30313233-3435-3637-3839-414243444546"), Ok(r#""30313233343536373839414243444546""#))
            .avro("fixed 16", r#""0123456789ABCDEF""#),
        case("uuid", Text("F79C3E09-677C-4BBD-A479-3F349CB785E7"), Ok(shown)),
        case("uuid", Text("f79c3e09677c4bbda4793f349cb785e7"), Err("bad_uuid")),
        case("uuid", Number("5"), Err("wrong_type")).but(In::Csv, Err("bad_uuid"), CELL),
        case("fixed[2]", Text("AAE="), Ok("0001")).avro("fixed 2", r#""\u0000\u0001""#),
        case("fixed[2]", Text("AAE="), Ok("0001")).avro("bytes", r#""\u0000\u0001""#),
        case("fixed[2]", Text("AA=="), Err("wrong_length")).avro("bytes", r#""\u0000""#),
        case("fixed[2]", Text("AA=="), Err("wrong_length")).avro("fixed 1", r#""\u0000""#),
        case("binary", Text("AAE="), Ok("0001")).avro("bytes", r#""\u0000\u0001""#),
        case("binary", Text("AAE="), Ok("0001")).avro("fixed 2", r#""\u0000\u0001""#),
        case("binary", Text(""), Ok(r#""""#)).avro("bytes", r#""""#).but(In::Csv, Ok(NOTHING), EMPTY),
        case("binary", Text("AAE"), Err("bad_base64")).never(In::Avro, TYPED),
        case("binary", Number("5"), Err("wrong_type")).but(In::Csv, Err("bad_base64"), CELL),
    ]
}

fn containers() -> Vec<Case> {
    const JSON: &str = "the cell of such a column holds JSON";
    const KEYS: &str = "its writers have one value for a name";
    vec![
        case(LIST, Null, Ok(NOTHING)),
        case(LIST, Json("[]"), Ok("[]")).avro("array int", "[]"),
        case(LIST, Json("[1,null,3.0]"), Ok("[1,null,3]")).avro("array ?int", "[1,null,3]"),
        case(LIST, Json("[1,1.5]"), Err("not_integral")).avro("array double", "[1,1.5]"),
        case(LIST, Json(r#"["1"]"#), Err("wrong_type")).avro("array string", r#"["1"]"#),
        case(LIST, Number("5"), Err("wrong_type")),
        case(LIST, Text("x"), Err("wrong_type")).but(In::Csv, Err("malformed_json"), JSON),
        case(FULL_LIST, Json("[1,null]"), Err("null_in_required")).avro("array ?int", "[1,null]"),
        case(MAP, Json(r#"{"k":1}"#), Ok(r#"{"k":1}"#)).avro("map int", r#"{"k":1}"#),
        case(MAP, Json(r#"{"k":"x"}"#), Err("wrong_type")).avro("map string", r#"{"k":"x"}"#),
        case(MAP, Json(r#"{"k":1,"k":2}"#), Err("duplicate_key")).never(In::Avro, KEYS),
        case(FULL_MAP, Json(r#"{"k":null}"#), Err("null_in_required")).avro("map ?long", r#"{"k":null}"#),
        case(STRUCT, Json(r#"{"a":1,"b":"x"}"#), Ok(r#"{"a":1,"b":"x"}"#))
            .avro("record a:int b:string", r#"{"a":1,"b":"x"}"#),
        case(STRUCT, Json(r#"{"a":1.0}"#), Ok(r#"{"a":1}"#)).avro("record a:double", r#"{"a":1}"#),
        case(STRUCT, Json(r#"{"a":1.5}"#), Err("not_integral")).avro("record a:double", r#"{"a":1.5}"#),
        case(STRUCT, Json(r#"{"a":null}"#), Err("null_in_required")).avro("record a:?int", r#"{"a":null}"#),
        case(STRUCT, Json(r#"{"b":"x"}"#), Err("null_in_required")).avro("record b:string", r#"{"b":"x"}"#),
        case(STRUCT, Json(r#"{"a":1,"c":2}"#), Err("unknown_field")).avro("record a:int c:int", r#"{"a":1,"c":2}"#),
        case(STRUCT, Json(r#"{"a":1,"A":2}"#), Err("unknown_field")).avro("record a:int A:int", r#"{"a":1,"A":2}"#),
        case(STRUCT, Json(r#"{"a":1,"c":null}"#), Ok(r#"{"a":1}"#)).avro("record a:int c:?int", r#"{"a":1,"c":null}"#),
        case(STRUCT, Json(r#"{"a":1,"a":2}"#), Err("duplicate_key")).never(In::Avro, KEYS),
        case(STRUCT, Bool(true), Err("wrong_type")),
    ]
}

/// A text of Avro is a text: what JSON makes of one is made of it.
fn texts() -> Vec<Case> {
    vec![
        case("decimal(9, 2)", Text("-12.34"), Ok("-12.34")),
        case("decimal(9, 2)", Text("0.001"), Err("excess_scale")),
        case("date", Text("2024-02-29"), Ok("2024-02-29")),
        case("date", Text("2023-02-29"), Err("bad_date")),
        case("time", Text("12:00:00"), Ok("12:00:00")),
        case("time", Text("12:00"), Err("bad_time")),
        case("timestamp", Text("2024-01-01T00:00:00"), Ok("2024-01-01T00:00:00")),
        case("timestamp", Text("2024-01-01T00:00:00Z"), Err("unexpected_zone")),
        case("timestamptz", Text("2024-01-01T02:00:00+02:00"), Ok("2024-01-01T00:00:00Z")),
        case("timestamptz", Text("2024-01-01T00:00:00"), Err("missing_zone")),
        case("timestamptz", Text("soon"), Err("bad_timestamp")),
        case("uuid", Text("x"), Err("bad_uuid")),
        case("fixed[2]", Text("AA=="), Err("wrong_length")),
        case("binary", Text("AAE="), Ok("0001")),
        case("binary", Text("?"), Err("bad_base64")),
    ]
}

fn rounded() -> Vec<Case> {
    vec![
        case("decimal(9, 2)", Number("1.005"), Ok("1.01")).avro("decimal 9 3", "1005"),
        case("decimal(9, 2)", Number("-1.005"), Ok("-1.01")).avro("decimal 9 3", "-1005"),
        case("decimal(9, 2)", Number("1.0049"), Ok("1.00")).avro("decimal 9 4", "10049"),
        case("decimal(9, 2)", Number("-0.004"), Ok("0.00")).avro("decimal 9 3", "-4"),
        case("decimal(9, 2)", Number("9999999.995"), Err("decimal_overflow")).avro("decimal 10 3", "9999999995"),
        case("decimal(9, 2)", Text("1.005"), Ok("1.01")),
        // And nothing else is taken otherwise for it.
        case("int", Number("1.5"), Err("not_integral")),
        case("float", Number("0.1"), Ok("0.1")).but(In::Avro, Err("inexact"), EXACT),
        case("string", Bool(true), Err("wrong_type")).but(In::Csv, Ok(r#""true""#), CELL),
    ]
}

fn cut() -> Vec<Case> {
    vec![
        case("time", Text("12:00:00.1234567"), Ok("12:00:00.123456")).never(In::Avro, TYPED),
        case("timestamp", Text("1969-12-31T23:59:59.9999999"), Ok("1969-12-31T23:59:59.999999"))
            .avro("local-timestamp-nanos", "-100"),
        case("timestamptz", Text("2024-01-01T00:00:00.1234567Z"), Ok("2024-01-01T00:00:00.123456Z"))
            .avro("timestamp-nanos", "1704067200123456700"),
    ]
}

fn seconds() -> Vec<Case> {
    vec![
        case("timestamptz", Number("1704067200"), Ok("2024-01-01T00:00:00Z")),
        case("timestamp", Number("1.5"), Ok("1970-01-01T00:00:01.500")),
        case("timestamptz", Number("-1.5"), Ok("1969-12-31T23:59:58.500Z")),
        case("timestamptz", Number("9e30"), Err("timestamp_overflow")),
        case("timestamptz", Text("1704067200"), Err("bad_timestamp")).but(In::Csv, Ok("2024-01-01T00:00:00Z"), CELL),
        case("timestamptz", Text("2024-01-01T00:00:00Z"), Ok("2024-01-01T00:00:00Z")),
        case("date", Number("5"), Err("wrong_type")).but(In::Csv, Err("bad_date"), CELL),
        case("string", Number("1704067200"), Err("wrong_type"))
            .but(In::Csv, Ok(r#""1704067200""#), CELL)
            .avro("timestamp-millis", "1704067200000"),
    ]
}

fn smaller_units() -> [(&'static str, Vec<Case>); 4] {
    let millis = vec![case("timestamptz", Number("1704067200123"), Ok("2024-01-01T00:00:00.123Z"))];
    let micros = vec![case("timestamp", Number("1"), Ok("1970-01-01T00:00:00.000001"))];
    let nanos = vec![
        case("timestamptz", Number("1704067200123456000"), Ok("2024-01-01T00:00:00.123456Z")),
        case("timestamptz", Number("1"), Err("sub_microsecond")),
        case("timestamptz_ns", Number("1"), Ok("1970-01-01T00:00:00.000000001Z")),
    ];
    let cut = vec![
        case("timestamptz", Number("1999"), Ok("1970-01-01T00:00:00.000001Z")),
        case("timestamptz", Number("-1"), Ok("1969-12-31T23:59:59.999999Z")),
    ];
    [
        ("&ts_unit=ms", millis),
        ("&ts_unit=us", micros),
        ("&ts_unit=ns", nanos),
        ("&ts_unit=ns&time_precision=truncate", cut),
    ]
}

fn lenient_numbers() -> Vec<Case> {
    vec![
        case("int", Text("5"), Ok("5")),
        case("long", Text(" -5 "), Ok("-5")),
        case("int", Text("abc"), Err("wrong_type")),
        case("int", Text("3000000000"), Err("int_overflow")),
        case("int", Text("1.5"), Err("not_integral")),
        case("int", Number("1.5"), Err("not_integral")),
        case("int", Bool(true), Err("wrong_type")),
        case(LIST, Json(r#"["1"]"#), Ok("[1]")).avro("array string", r#"["1"]"#),
        case("double", Number("9007199254740993"), Ok("9007199254740992.0")),
        case("double", Text("1.5"), Ok("1.5")),
        case("double", Text("NaN"), Ok("null")),
        case("double", Text("-Infinity"), Ok("null")),
        case("float", Text("Infinity"), Ok("null")),
        case("float", Number("16777217"), Ok("16777216.0")),
        case("float", Number("1e39"), Err("float_overflow")),
        case("decimal(9, 2)", Text(" 12.34 "), Ok("12.34")),
        case("decimal(9, 2)", Number("0.5"), Ok("0.50")),
        case("decimal(9, 2)", Number("0.001"), Err("excess_scale")).avro("decimal 9 3", "1"),
    ]
}

fn lenient_words() -> Vec<Case> {
    vec![
        case("boolean", Number("1"), Ok("true")),
        case("boolean", Number("0"), Ok("false")),
        case("boolean", Number("2"), Err("wrong_type")),
        case("boolean", Text("1"), Ok("true")),
        case("boolean", Text("TRUE"), Ok("true")),
        case("boolean", Text(" false "), Ok("false")),
        case("boolean", Text("yes"), Err("wrong_type")),
        case("string", Number("5"), Ok(r#""5""#)),
        case("string", Number("1.50"), Ok(r#""1.50""#)).but(In::Avro, Ok(r#""1.5""#), "a double has no more digits"),
        case("string", Bool(true), Ok(r#""true""#)),
        case("string", Json(r#"{"a":1}"#), Ok(r#""{\"a\":1}""#)).avro("record a:int", r#"{"a":1}"#).but(
            In::Avro,
            Err("wrong_type"),
            PARTS,
        ),
        case("string", Json("[1,2]"), Ok(r#""[1,2]""#)).avro("array int", "[1,2]").but(
            In::Avro,
            Err("wrong_type"),
            PARTS,
        ),
        case("string", Text("2024-01-01"), Ok("2024-01-01")).avro("date", "19723"),
        case("string", Text("2024-01-01T00:00:00Z"), Ok("2024-01-01T00:00:00Z"))
            .avro("timestamp-millis", "1704067200000"),
    ]
}

fn lenient_moments() -> Vec<Case> {
    vec![
        case("timestamptz", Number("1704067200"), Ok("2024-01-01T00:00:00Z")),
        case("timestamptz", Number("1704067200123"), Ok("2024-01-01T00:00:00.123Z")),
        case("timestamp", Number("1704067200123456"), Ok("2024-01-01T00:00:00.123456")),
        case("timestamp", Number("1704067200123456000"), Ok("2024-01-01T00:00:00.123456")),
        case("timestamptz", Text("1704067200"), Ok("2024-01-01T00:00:00Z")),
        case("timestamptz", Text("soon"), Err("bad_timestamp")),
        case("timestamp", Text("2024-01-01T00:00:00Z"), Err("unexpected_zone"))
            .avro("timestamp-micros", "1704067200000000"),
        case("timestamptz", Text("2024-01-01T00:00:00"), Err("missing_zone"))
            .avro("local-timestamp-micros", "1704067200000000"),
        case("date", Text("tomorrow"), Err("bad_date")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_exact_or_refused() {
    check(&[("", whole_numbers()), ("", fractions()), ("", decimals()), ("&round=half_up", rounded())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_and_bytes_are_what_they_are() {
    check(&[("", words()), ("", bytes())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn days_and_moments_are_exact_or_refused() {
    check(&[("", days_and_times()), ("", moments()), ("&time_precision=truncate", cut())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_count_since_1970_where_that_is_said() {
    check(&[("&ts_unit=s", seconds())]).await;
    check(&smaller_units()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_of_parts_fits_in_every_part() {
    check(&[("", containers())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_mean_the_same_whatever_brings_them() {
    check(&[("", texts())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lenient_take_what_is_plain_all_the_same() {
    let lenient = "&coerce=lenient";
    check(&[(lenient, lenient_numbers()), (lenient, lenient_words()), (lenient, lenient_moments())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_column_has_a_value() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let part = |sent| vec![Part { name: "v".to_owned(), sent, avro: None }];
    for format in In::ALL {
        let table = format.word();
        make(&server, table, &[("v".to_owned(), "int", true)], json!({})).await;
        let sent = [part(Null), part(Number("7")), Vec::new()];
        let answer = push(&server, &format!("{table}?schema=strict&on_error=skip"), format, &sent).await;
        let answer = answer.expect(200).json();
        let codes = [0, 1, 2].map(|row| code_of(&answer, Some(row), "v"));
        assert_eq!(codes.each_ref().map(Option::as_deref), [Some("null_in_required"), None, Some("null_in_required")]);
        assert_eq!(rows(&server, table).await, [json!({"row": 1, "v": 7})]);
        // Nor may the column be left out.
        let answer = push(&server, &format!("{table}?schema=strict"), format, &[Vec::new()]).await;
        problem(&answer, 422, "null_in_required", "/v");
    }
}
