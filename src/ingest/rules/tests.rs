//! What each rule does, refuses and leaves alone.

use super::*;
use crate::error::Kind;

const SECRET: &str = "s3cr3t-of-pii";

fn keys() -> HashKeys {
    let secrets = [("pii", SECRET), ("other", "another-secret"), ("empty", "")];
    HashKeys::new(secrets.into_iter().map(|(name, secret)| (name.to_owned(), secret.to_owned())).collect())
}

fn facts() -> Facts {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = vec![header("CF-IPCountry", "AT"), header("x-way", "a"), header("X-Way", "b\"c")];
    Facts { headers, now_ms: 0 }
}

fn parse(json: &str) -> Rules {
    Rules::parse(json, &keys()).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// What some rules, without their brackets, make of a row.
fn made(rules: &str, row: &str) -> String {
    let made = parse(&format!("[{rules}]")).apply(row, &facts());
    made.unwrap_or_else(|fault| panic!("{rules} of {row}: {fault:?}"))
}

/// The pointer and the code of what is wrong with a row.
fn fault(rules: &str, row: &str) -> (String, &'static str) {
    let fault = parse(&format!("[{rules}]")).apply(row, &facts()).expect_err(rules);
    assert!(!fault.misfit.detail.is_empty(), "{rules}");
    (fault.pointer, fault.misfit.code)
}

fn refusal(json: &str) -> String {
    let error = Rules::parse(json, &keys()).expect_err(json);
    assert_eq!((error.kind(), error.code()), (Kind::Unprocessable, Some("malformed_rules")), "{json}");
    error.message().to_owned()
}

#[test]
fn what_no_rule_touches_keeps_its_text() {
    let drop = r#"{"op":"drop","column":"gone"}"#;
    for (row, after) in [
        (r#"{"n":123456789012345678901234567890.10,"gone":1}"#, r#"{"n":123456789012345678901234567890.10}"#),
        (
            r#" { "a\u0062" : 1.50e+07 , "t":"\u00e9\/" , "l": [1 , 2]} "#,
            r#"{"a\u0062":1.50e+07,"t":"\u00e9\/","l":[1 , 2]}"#,
        ),
        (r#"{"d":1,"d":2,"a":null}"#, r#"{"d":1,"d":2,"a":null}"#),
        ("{}", "{}"),
        (r#"{"gone":[{}]}"#, "{}"),
        ("[1, 2]", "[1, 2]"),
        ("7", "7"),
        ("", ""),
        (r#"{"gone":1"#, r#"{"gone":1"#),
        (r#"{"gone":01}"#, r#"{"gone":01}"#),
    ] {
        assert_eq!(made(drop, row), after, "{row}");
    }
    assert_eq!(fault(drop, r#"{"a":1} {"gone":1}"#), (String::new(), "malformed_json"), "no row hides behind another");
    let deep = format!("{}1{}", r#"{"gone":"#.repeat(300), "}".repeat(300));
    assert_eq!(made(drop, &deep), deep, "its reader refuses it");
}

#[test]
fn rules_are_followed_in_order() {
    let rules = r#"{"op":"rename","column":"a","to":"b"},{"op":"cast","column":"b","to":"string"},
        {"op":"hash","column":"b","key":"pii"},{"op":"default","column":"a","value":{"new": [1.0 , "x y"]}}"#;
    let hash = "e7250253143a3909777460288fb978adfe2ec4290ee474b02aa730aa32212d2e";
    assert_eq!(made(rules, r#"{"a":1.50}"#), format!(r#"{{"b":"{hash}","a":{{"new":[1.0,"x y"]}}}}"#));
}

#[test]
fn parts_are_derived_of_points_in_time() {
    let derived = |part: &str, more: &str, row: &str| {
        let rule = format!(r#"{{"op":"derive","column":"x","from":"t","as":"{part}"{more}}}"#);
        made(&format!(r#"{rule},{{"op":"drop","column":"t"}}"#), row)
    };
    for (part, row, value) in [
        ("date", r#"{"t":"2024-02-29T23:30:15.5-01:00"}"#, r#""2024-03-01""#),
        ("year", r#"{"t":"1969-12-31 23:59:59Z"}"#, "1969"),
        ("month", r#"{"t":"2024-02-29T23:30:15"}"#, "2"),
        ("day", r#"{"t":"2024-02-29"}"#, "29"),
        ("hour", r#"{"t":"2024-02-29T23:30:15+05:30"}"#, "18"),
        ("minute", r#"{"t":"2024-02-29T23:30:15.123456789Z"}"#, "30"),
        ("hour", r#"{"t":"2024-02-29"}"#, "0"),
        ("date", r#"{"t":"0000-01-01"}"#, r#""0000-01-01""#),
    ] {
        assert_eq!(derived(part, "", row), format!(r#"{{"x":{value}}}"#), "{part} {row}");
    }
    for (unit, number, date) in [
        ("s", "1709249415", "2024-02-29"),
        ("ms", "1709249415123", "2024-02-29"),
        ("us", "1709249415123456", "2024-02-29"),
        ("ns", "1709249415123456789", "2024-02-29"),
        ("s", "1709249415.75", "2024-02-29"),
        ("ms", "-1", "1969-12-31"),
    ] {
        let more = format!(r#","unit":"{unit}""#);
        let row = format!(r#"{{"t":{number}}}"#);
        assert_eq!(derived("date", &more, &row), format!(r#"{{"x":"{date}"}}"#), "{unit} {number}");
    }
    for row in [r#"{"t":null}"#, "{}", r#"{"x":"old"}"#] {
        assert_eq!(derived("date", "", row), "{}", "{row}");
    }
    let inner = r#"{"op":"derive","column":"day","from":"/meta/times/1","as":"day"}"#;
    let row = r#"{"day":"x","meta":{"times":["?","2024-02-29"]}}"#;
    assert_eq!(made(inner, row), r#"{"day":29,"meta":{"times":["?","2024-02-29"]}}"#);
    assert_eq!(made(inner, r#"{"meta":{"times":[]},"a":1}"#), r#"{"meta":{"times":[]},"a":1}"#);
    assert_eq!(fault(inner, r#"{"meta":{"times":[1,2]}}"#), ("/meta/times/1".to_owned(), "bad_timestamp"));
}

#[test]
fn what_is_no_point_in_time_is_the_rows_fault() {
    let rule = r#"{"op":"derive","column":"x","from":"t","as":"date"}"#;
    for value in ["1709249415", "true", "[]", "{}", r#""yesterday""#, r#""2024-02-30""#, r#""2024-02-29T25:00:00Z""#] {
        let row = format!(r#"{{"t":{value}}}"#);
        assert_eq!(fault(rule, &row), ("/t".to_owned(), "bad_timestamp"), "{value}");
    }
    let seconds = r#"{"op":"derive","column":"x","from":"t","as":"date","unit":"s"}"#;
    for value in ["1e12", "1e30", "-1e11"] {
        assert_eq!(fault(seconds, &format!(r#"{{"t":{value}}}"#)).1, "timestamp_overflow", "{value}");
    }
    assert_eq!(fault(rule, r#"{"t":"2024-01-01","t":"2024-01-02"}"#), ("/t".to_owned(), "duplicate_key"));
    let derived = made(rule, r#"{"t":"2024-01-01","x":1,"x":2}"#);
    assert_eq!(derived, r#"{"t":"2024-01-01","x":"2024-01-01","x":null}"#, "twice still");
}

#[test]
fn members_are_renamed_dropped_and_filled() {
    let rename = r#"{"op":"rename","column":"a","to":"b \"x\""}"#;
    let default = r#"{"op":"default","column":"a","value":7.50}"#;
    for (rule, row, after) in [
        (rename, r#"{"z":1,"\u0061":[2 ],"y":3}"#, r#"{"z":1,"b \"x\"":[2 ],"y":3}"#),
        (rename, r#"{"b \"x\"":1}"#, r#"{"b \"x\"":1}"#),
        (rename, r#"{"a":1,"a":2}"#, r#"{"b \"x\"":1,"b \"x\"":2}"#),
        (r#"{"op":"drop","column":"a"}"#, r#"{"a":1,"b":2,"a":3}"#, r#"{"b":2}"#),
        (r#"{"op":"drop","column":"/a/b~1c/0"}"#, r#"{"a":{"b/c":[1,2 ],"d": 1.0}}"#, r#"{"a":{"b/c":[2],"d":1.0}}"#),
        (r#"{"op":"drop","column":"/a/01"}"#, r#"{"a":[1, 2]}"#, r#"{"a":[1, 2]}"#),
        (r#"{"op":"drop","column":"/a/-"}"#, r#"{"a":[1, 2]}"#, r#"{"a":[1, 2]}"#),
        (r#"{"op":"drop","column":"/a/b"}"#, r#"{"a":"b"}"#, r#"{"a":"b"}"#),
        (r#"{"op":"drop","column":"/~01"}"#, r#"{"~1":1}"#, "{}"),
        (default, "{}", r#"{"a":7.50}"#),
        (default, r#"{"a":null,"b":1}"#, r#"{"a":7.50,"b":1}"#),
        (default, r#"{"a":false}"#, r#"{"a":false}"#),
        (default, r#"{"a":null,"a":1}"#, r#"{"a":null,"a":1}"#),
    ] {
        assert_eq!(made(rule, row), after, "{rule} {row}");
    }
    let both = fault(r#"{"op":"rename","column":"a","to":"b/c"}"#, r#"{"a":1,"b/c":null}"#);
    assert_eq!(both, ("/b~1c".to_owned(), "duplicate_key"));
}

#[test]
fn values_are_cast_exactly_or_not_at_all() {
    let rule = |to: &str| format!(r#"{{"op":"cast","column":"a","to":"{to}"}}"#);
    for (to, value, after) in [
        ("string", r#""x\u0041""#, r#""x\u0041""#),
        ("string", "1.50", r#""1.50""#),
        ("string", "true", r#""true""#),
        ("string", r#"{"x": ["y"]}"#, r#""{\"x\": [\"y\"]}""#),
        ("long", r#""-9223372036854775808""#, "-9223372036854775808"),
        ("long", r#""1e3""#, "1e3"),
        ("long", "12.0", "12.0"),
        ("double", r#""123456789012345678901234567890.10""#, "123456789012345678901234567890.10"),
        ("double", "0.10", "0.10"),
        ("boolean", r#""TRUE""#, "true"),
        ("boolean", r#""False""#, "false"),
        ("boolean", "0", "false"),
        ("boolean", r#""1""#, "true"),
        ("boolean", "true", "true"),
    ] {
        let row = format!(r#"{{"a":{value}}}"#);
        assert_eq!(made(&rule(to), &row), format!(r#"{{"a":{after}}}"#), "{to} {value}");
    }
    for to in ["string", "long", "double", "boolean"] {
        assert_eq!(made(&rule(to), r#"{"a":null}"#), r#"{"a":null}"#);
        assert_eq!(made(&rule(to), r#"{"b":1}"#), r#"{"b":1}"#);
    }
    for (to, value) in [
        ("long", r#""1.5""#),
        ("long", "1.5"),
        ("long", r#""9223372036854775808""#),
        ("long", r#"" 1""#),
        ("long", "true"),
        ("double", r#""NaN""#),
        ("double", r#""""#),
        ("double", "[1]"),
        ("boolean", "2"),
        ("boolean", r#""yes""#),
        ("boolean", "{}"),
    ] {
        assert_eq!(fault(&rule(to), &format!(r#"{{"a":{value}}}"#)), ("/a".to_owned(), "cannot_cast"), "{to} {value}");
    }
}

#[test]
fn values_are_hashed_wherever_they_stand() {
    let rule = r#"{"op":"hash","column":"a","key":"pii"}"#;
    for (value, hash) in [
        (r#""a@b.example""#, "db7829c8f75bdfd40f4ba00c4e4aad107e80851142b365829b626aae82d04714"),
        (r#""\u0061@b.example""#, "db7829c8f75bdfd40f4ba00c4e4aad107e80851142b365829b626aae82d04714"),
        (r#""é\n""#, "5ced2353a761fcd8ce2e711760df9c54b380cf70e5bb4a9f3d95140feb8a7e28"),
        ("1.50", "e7250253143a3909777460288fb978adfe2ec4290ee474b02aa730aa32212d2e"),
        (r#"{"x": [1]}"#, "de2fa9ad02473c5b883ba50d65283fbd7fdbc7f3e4714cd104957514c4793a4c"),
        ("true", "83a21c235bed6382ee88d361750072595d6598b003d6b4385c63bad5d7a66246"),
    ] {
        assert_eq!(made(rule, &format!(r#"{{"a":{value}}}"#)), format!(r#"{{"a":"{hash}"}}"#), "{value}");
        let twice = format!(r#"{{"a":{value},"b":1,"\u0061":{value}}}"#);
        assert_eq!(made(rule, &twice), format!(r#"{{"a":"{hash}","b":1,"\u0061":"{hash}"}}"#), "{value}");
        let inner = r#"{"op":"hash","column":"/l/1/a","key":"pii"}"#;
        let row = format!(r#"{{"l":[0, {{"a":{value},"a":{value},"n": 1.0}}]}}"#);
        assert_eq!(made(inner, &row), format!(r#"{{"l":[0,{{"a":"{hash}","a":"{hash}","n":1.0}}]}}"#), "{value}");
    }
    assert_eq!(made(rule, r#"{"a":null}"#), r#"{"a":null}"#);
    assert_eq!(made(rule, "{}"), "{}");
}

#[test]
fn numbers_and_times_are_truncated() {
    let width = r#"{"op":"truncate","column":"a","width":10}"#;
    for (value, after) in [
        ("17", "10"),
        ("-1", "-10"),
        ("-10", "-10"),
        ("0", "0"),
        ("2.0e1", "2.0e1"),
        ("25.0", "20"),
        ("-9223372036854775808", "-9223372036854775810"),
        ("null", "null"),
    ] {
        assert_eq!(made(width, &format!(r#"{{"a":{value}}}"#)), format!(r#"{{"a":{after}}}"#), "{value}");
    }
    for (value, code) in
        [("1.5", "not_integral"), ("1e30", "int_overflow"), (r#""17""#, "wrong_type"), ("true", "wrong_type")]
    {
        assert_eq!(fault(width, &format!(r#"{{"a":{value}}}"#)), ("/a".to_owned(), code), "{value}");
    }
    for (unit, text, after) in [
        ("day", "2024-02-29T23:30:15.5-01:00", "2024-02-29T00:00:00-01:00"),
        ("hour", "2024-02-29 23:30:15Z", "2024-02-29 23:00:00Z"),
        ("minute", "2024-02-29T23:30:15.123456789", "2024-02-29T23:30:00"),
        ("second", "2024-02-29t23:30:15.999z", "2024-02-29t23:30:15z"),
        ("second", "2024-02-29T23:30:15", "2024-02-29T23:30:15"),
        ("day", "2024-02-29", "2024-02-29"),
    ] {
        let rule = format!(r#"{{"op":"truncate","column":"/o/t","unit":"{unit}"}}"#);
        let row = |text: &str| format!(r#"{{"o":{{"t":"{text}"}}}}"#);
        assert_eq!(made(&rule, &row(text)), row(after), "{unit} {text}");
        assert_eq!(made(&rule, r#"{"o":{"t":null}}"#), r#"{"o":{"t":null}}"#);
        for bad in [r#"{"o":{"t":1709249415}}"#, r#"{"o":{"t":"soon"}}"#, r#"{"o":{"t":"2024-02-30T00:00:00Z"}}"#] {
            assert_eq!(fault(&rule, bad), ("/o/t".to_owned(), "bad_timestamp"), "{bad}");
        }
    }
}

#[test]
fn addresses_become_networks_and_all_else_null() {
    let usual = r#"{"op":"mask-ip","column":"ip"}"#;
    let wide = r#"{"op":"mask-ip","column":"ip","v4":16,"v6":0}"#;
    let whole = r#"{"op":"mask-ip","column":"ip","v4":32,"v6":128}"#;
    for (rule, value, after) in [
        (usual, r#""203.0.113.77""#, r#""203.0.113.0""#),
        (usual, r#""2001:db8:1:2:3:4:5:6""#, r#""2001:db8:1::""#),
        (usual, r#""::ffff:203.0.113.77""#, r#""::ffff:203.0.113.0""#),
        (usual, r#""::ffff:cb00:714d""#, r#""::ffff:203.0.113.0""#),
        (usual, r#""::1""#, r#""::""#),
        (wide, r#""203.0.113.77""#, r#""203.0.0.0""#),
        (wide, r#""2001:db8::1""#, r#""::""#),
        (whole, r#""203.0.113.77""#, r#""203.0.113.77""#),
        (whole, r#""2001:DB8:0:0::1""#, r#""2001:db8::1""#),
        (r#"{"op":"mask-ip","column":"ip","v4":0}"#, r#""203.0.113.77""#, r#""0.0.0.0""#),
        (usual, r#""203.0.113.77:443""#, "null"),
        (usual, r#"" 203.0.113.77""#, "null"),
        (usual, r#""fe80::1%eth0""#, "null"),
        (usual, r#""somebody""#, "null"),
        (usual, "3405803853", "null"),
        (usual, r#"["203.0.113.77"]"#, "null"),
        (usual, "null", "null"),
    ] {
        let row = format!(r#"{{"ip":{value},"ip":{value}}}"#);
        assert_eq!(made(rule, &row), format!(r#"{{"ip":{after},"ip":{after}}}"#), "{rule} {value}");
    }
}

#[test]
fn texts_are_redacted_and_limited() {
    let mail = r#"{"op":"redact","column":"m","pattern":"[a-z]+@([a-z.]+)"}"#;
    let host = r#"{"op":"redact","column":"m","pattern":"[a-z]+@([a-z.]+)","with":"\"${1}\""}"#;
    let limit = r#"{"op":"limit","column":"m","chars":3}"#;
    for (rule, value, after) in [
        (mail, r#""by \u0061b@c.d and e@f""#, r#""by [redacted] and [redacted]""#),
        (mail, r#""n\u006fthing""#, r#""n\u006fthing""#),
        (
            mail,
            r#"[1.0, {"k@k":"a@b","n": [null, "x"]} ,"a@b"]"#,
            r#"[1.0, {"k@k":"[redacted]","n": [null, "x"]} ,"[redacted]"]"#,
        ),
        (mail, "1.50", "1.50"),
        (mail, "null", "null"),
        (host, r#""a@b.c""#, r#""\"b.c\"""#),
        (limit, r#""aé😀b""#, r#""aé😀""#),
        (limit, r#""a\u00e9b""#, r#""a\u00e9b""#),
        (limit, r#""a\nbc""#, r#""a\nb""#),
        (limit, "12345", "12345"),
        (limit, r#"["abcd"]"#, r#"["abcd"]"#),
        (limit, "null", "null"),
        (r#"{"op":"limit","column":"m","chars":0}"#, r#""a""#, r#""""#),
    ] {
        let row = format!(r#"{{"m":{value},"m":{value}}}"#);
        assert_eq!(made(rule, &row), format!(r#"{{"m":{after},"m":{after}}}"#), "{rule} {value}");
    }
}

#[test]
fn headers_say_what_rows_do_not() {
    let country = r#"{"op":"header","column":"c","header":"CF-IPCountry"}"#;
    let way = r#"{"op":"header","column":"c","header":"x-way"}"#;
    let none = r#"{"op":"header","column":"c","header":"x-none"}"#;
    for (rule, row, after) in [
        (country, "{}", r#"{"c":"AT"}"#),
        (country, r#"{"c":"XX","d":1}"#, r#"{"c":"AT","d":1}"#),
        (country, r#"{"c":"XX","c":"YY"}"#, r#"{"c":"AT","c":null}"#),
        (way, "{}", r#"{"c":"a, b\"c"}"#),
        (none, r#"{"c":"XX","d":1}"#, r#"{"d":1}"#),
        (none, r#"{"c":"XX","c":"YY"}"#, r#"{"c":null,"c":null}"#),
        (none, "{}", "{}"),
    ] {
        assert_eq!(made(rule, row), after, "{rule} {row}");
    }
    let rules = parse(&format!("[{country},{way},{}]", r#"{"op":"drop","column":"c"}"#));
    assert_eq!(rules.headers().collect::<Vec<_>>(), ["cf-ipcountry", "x-way"]);
}

#[test]
fn rows_do_not_grow_without_bound() {
    let grow = r#"{"op":"redact","column":"m","pattern":"a","with":"$0$0$0$0$0$0$0$0$0$0"}"#;
    let row = format!(r#"{{"m":"{}"}}"#, "a".repeat(50_000));
    assert_eq!(made(grow, &row).len(), 500_000 + 8);
    assert_eq!(fault(&format!("{grow},{grow}"), &row), ("/m".to_owned(), "row_too_large"));
    let whole = r#"{"op":"redact","column":"m","pattern":".+","with":"$0$0$0$0$0$0$0$0$0$0"}"#;
    let row = format!(r#"{{"m":"{}"}}"#, "a".repeat(500_000));
    assert_eq!(fault(whole, &row), ("/m".to_owned(), "row_too_large"));
    let value = "x".repeat(200_000);
    let many: Vec<String> =
        (0..6).map(|index| format!(r#"{{"op":"header","column":"c{index}","header":"x-long"}}"#)).collect();
    let facts = Facts { headers: vec![("x-long".to_owned(), value)], now_ms: 0 };
    let fault = parse(&format!("[{}]", many.join(","))).apply("{}", &facts).expect_err("too large");
    assert_eq!((fault.pointer.as_str(), fault.misfit.code), ("", "row_too_large"));
}

#[test]
fn rules_that_are_not_understood_are_named() {
    for (json, says) in [
        ("", "not JSON at byte 0"),
        ("[", "not JSON at byte 1"),
        ("[] x", "nothing may follow"),
        (r#"{"op":"drop"}"#, "must be a list, such as [{\"op\":\"drop\",\"column\":\"a\"}], not an object"),
        (r#"["drop"]"#, "rules[0]: a rule is an object"),
        (r#"[{"column":"a"}]"#, "rules[0]: \"op\" must be one of cast, default"),
        (r#"[{"op":"drop","column":"a"},{"op":"dropp","column":"a"}]"#, "rules[1]: \"op\" = \"dropp\" is not one of"),
        (r#"[{"op":"dropp","column":"a"}]"#, "did you mean drop?"),
        (
            r#"[{"op":"derive","colum":"a"}]"#,
            "rules[0] (derive): \"colum\" is not one of its members: column, from, as, unit",
        ),
        (r#"[{"op":"derive","colum":"a"}]"#, "did you mean column?"),
        (r#"[{"op":"drop","column":"a","column":"b"}]"#, "\"column\" stands twice"),
        (r#"[{"op":"drop"}]"#, "\"column\" is missing: it takes column"),
        (r#"[{"op":"drop","column":1}]"#, "\"column\" must be a text, not a number"),
        (r#"[{"op":"drop","column":""}]"#, "\"column\" is empty"),
        (r#"[{"op":"drop","column":"/a~2"}]"#, "no JSON pointer"),
        (r#"[{"op":"default","column":"a"}]"#, "\"value\" is missing"),
        (r#"[{"op":"default","column":"/a/b","value":1}]"#, "is a pointer"),
        (r#"[{"op":"header","column":"/a","header":"x"}]"#, "is a pointer"),
        (r#"[{"op":"derive","column":"/a","from":"t","as":"day"}]"#, "is a pointer"),
        (r#"[{"op":"derive","column":"a","from":"t"}]"#, "\"as\" is missing"),
        (
            r#"[{"op":"derive","column":"a","from":"t","as":"dat"}]"#,
            "one of date, year, month, day, hour, minute; did you mean da",
        ),
        (r#"[{"op":"derive","column":"a","from":"t","as":"day","unit":"min"}]"#, "one of s, ms, us, ns"),
        (r#"[{"op":"rename","column":"a","to":"/b"}]"#, "is a pointer"),
        (r#"[{"op":"rename","column":"a","to":"a"}]"#, "leave the rule out"),
        (r#"[{"op":"cast","column":"a","to":"int"}]"#, "one of string, long, double, boolean"),
        (r#"[{"op":"hash","column":"a","key":"pi"}]"#, "set ingest.hash-keys.pi in the configuration"),
        (r#"[{"op":"hash","column":"a","key":"empty"}]"#, "set ingest.hash-keys.empty in the configuration"),
        (r#"[{"op":"truncate","column":"a"}]"#, "either \"width\""),
        (r#"[{"op":"truncate","column":"a","width":1,"unit":"day"}]"#, "either \"width\""),
        (r#"[{"op":"truncate","column":"a","width":0}]"#, "a whole number from 1 to"),
        (r#"[{"op":"truncate","column":"a","width":"10"}]"#, "a whole number from 1 to"),
        (r#"[{"op":"truncate","column":"a","unit":"month"}]"#, "one of day, hour, minute, second"),
        (r#"[{"op":"mask-ip","column":"a","v4":33}]"#, "a whole number from 0 to 32"),
        (r#"[{"op":"mask-ip","column":"a","v6":1.5}]"#, "a whole number from 0 to 128"),
        (r#"[{"op":"redact","column":"a"}]"#, "\"pattern\" is missing"),
        (r#"[{"op":"redact","column":"a","pattern":"("}]"#, "unclosed group"),
        (r#"[{"op":"redact","column":"a","pattern":"a*"}]"#, "at least one character"),
        (r#"[{"op":"redact","column":"a","pattern":"(\\w{1,100}){1,100}"}]"#, "size limit"),
        (r#"[{"op":"limit","column":"a","chars":-1}]"#, "a whole number from 0 to"),
        (r#"[{"op":"limit","column":"a"}]"#, "\"chars\" is missing"),
        (r#"[{"op":"header","column":"a","header":"x y"}]"#, "no name of a header"),
    ] {
        let message = refusal(json);
        assert!(message.contains(says), "{json}: {message}");
    }
    for header in ["Authorization", "proxy-authorization", "COOKIE", "set-cookie", "x-api-key", "X-Amz-Security-Token"]
    {
        let message = refusal(&format!(r#"[{{"op":"header","column":"a","header":"{header}"}}]"#));
        assert!(message.contains("carries a secret"), "{message}");
    }
}

#[test]
fn rules_have_bounds() {
    let many = |count: usize| format!("[{}]", vec![r#"{"op":"drop","column":"a"}"#; count].join(","));
    assert!(Rules::parse(&many(limits::RULES_MAX), &keys()).is_ok());
    assert!(refusal(&many(limits::RULES_MAX + 1)).contains("at most 100"));
    let redact = |pattern: usize, with: usize| {
        let (pattern, with) = ("x".repeat(pattern), "y".repeat(with));
        format!(r#"[{{"op":"redact","column":"a","pattern":"{pattern}","with":"{with}"}}]"#)
    };
    assert!(Rules::parse(&redact(limits::RULE_PATTERN_CHARS_MAX, limits::RULE_PATTERN_CHARS_MAX), &keys()).is_ok());
    assert!(refusal(&redact(limits::RULE_PATTERN_CHARS_MAX + 1, 1)).contains("\"pattern\" has 1001 characters"));
    assert!(refusal(&redact(1, limits::RULE_PATTERN_CHARS_MAX + 1)).contains("\"with\" has 1001 characters"));
    assert!(refusal(&format!("[{}]", " ".repeat(limits::RULES_BYTES_MAX))).contains("bytes"));
}

#[test]
fn rules_are_written_one_way_and_show_no_secret() {
    let json = r#" [ { "column":"a", "op":"hash" , "key":"pii"},
        {"op":"default","value":{"a b": [1.00 , "\" , \\"]},"column":"d"} ] "#;
    let rules = parse(json);
    let written =
        r#"[{"op":"hash","column":"a","key":"pii"},{"op":"default","column":"d","value":{"a b":[1.00,"\" , \\"]}}]"#;
    assert_eq!(rules.to_json(), written);
    assert_eq!(parse(written), rules);
    assert_eq!(parse(written).to_json(), written);
    assert!(!rules.is_empty() && Rules::default().is_empty());
    assert_eq!(parse("[]"), Rules::default());
    let with = |secret: &str| HashKeys::new([("pii".to_owned(), secret.to_owned())].into_iter().collect());
    assert_eq!(Rules::parse(json, &with(SECRET)).expect("rules"), rules, "keys that they do not use mean nothing");
    assert_ne!(Rules::parse(json, &with("changed")).expect("rules"), rules);
    for shown in [format!("{:?}", keys()), format!("{rules:?}"), format!("{:?}", rules.0), format!("{rules:#?}")] {
        assert!(shown.contains("pii") && !shown.contains(SECRET) && !shown.contains("another"), "{shown}");
    }
    let bytes: Vec<String> = SECRET.bytes().map(|byte| byte.to_string()).collect();
    assert!(!format!("{:?}", rules.0).contains(&bytes.join(", ")));
}

#[test]
fn what_cannot_be_taken_is_veiled_all_the_same() {
    let keys = HashKeys::new([("k".to_owned(), "secret".to_owned())].into());
    let text = r#"[{"op":"cast","column":"n","to":"long"},{"op":"mask-ip","column":"ip"},{"op":"redact","column":"m","pattern":"pw=\\S+"},
        {"op":"hash","column":"user","key":"k"},{"op":"drop","column":"card"}]"#;
    let rules = Rules::parse(text, &keys).expect("rules");
    let row = r#"{"n":"x","ip":"1.2.3.4","m":"a pw=1 b","user":"me","card":5}"#;
    rules.apply(row, &Facts::default()).expect_err("x is no number");
    let veiled = rules.veiled(row, &Facts::default()).expect("veiled");
    assert!(veiled.contains("\"n\":\"x\"") && veiled.contains("1.2.3.0") && veiled.contains("[redacted]"), "{veiled}");
    assert!(!veiled.contains("card") && !veiled.contains("\"me\""), "{veiled}");
    assert_eq!(rules.veiled("{\"n\":", &Facts::default()), None);
}
