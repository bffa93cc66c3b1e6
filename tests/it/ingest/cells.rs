//! Rows as lines of cells, and as Avro files.

use apache_avro::types::Value as Avro;
use apache_avro::{Codec, Schema, Writer};
use serde_json::{Value, json};

use super::{columns, metadata, problem, rows, send};
use crate::kit::Server;

const CSV: [(&str, &str); 1] = [("content-type", "text/csv")];

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_made_of_lines_of_cells() {
    let server = Server::start().await;
    let body = "\u{feff}id,name,at,ok,n,zip\r\n1,\"a, \"\"b\"\"\nc\",2024-01-02T03:04:05Z,true,1.5,01234\r\n\r\n2,,2024-01-02 03:04:05Z,FALSE,2,99999\r\n";
    send(&server, "ns/t", &CSV, body.into()).await.expect(200);
    let kinds = columns(&metadata(&server, "ns", "t").await);
    let kinds: Vec<(&str, &str)> = kinds.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
    let wanted = [
        ("id", "long"),
        ("name", "string"),
        ("at", "timestamptz"),
        ("ok", "boolean"),
        ("n", "double"),
        ("zip", "string"),
    ];
    assert_eq!(kinds, wanted);
    let there = rows(&server, "t").await;
    assert_eq!(there[0]["name"], "a, \"b\"\nc");
    assert_eq!((&there[0]["zip"], &there[1]["name"], &there[1]["ok"]), (&json!("01234"), &Value::Null, &json!(false)));
    // A column that is text takes numbers, and one of numbers no text.
    send(&server, "ns/t", &CSV, "zip,id\n5,3\n".into()).await.expect(200);
    // What looks like a byte order mark and is in a cell stays.
    send(&server, "ns/marks", &CSV, "\u{feff}name,n\n\u{feff}x,1\n".into()).await.expect(200);
    assert_eq!(rows(&server, "marks").await[0]["name"], "\u{feff}x");
    problem(&send(&server, "ns/t", &CSV, "id\nx\n".into()).await, 422, "wrong_type", "1 of 1 rows");
    problem(&send(&server, "ns/t", &CSV, "id,name\n1\n".into()).await, 422, "wrong_cell_count", "1 of 1 rows");
    problem(
        &send(&server, "ns/t", &CSV, "id,name\n1,\"abc\n2,def\n".into()).await,
        422,
        "malformed_csv",
        "inside quotes",
    );
    problem(&send(&server, "ns/t", &CSV, "id,id\n1,2\n".into()).await, 400, "bad_header", "twice");
    problem(&send(&server, "ns/t", &CSV, "id,\n1,2\n".into()).await, 400, "bad_header", "no name");
    problem(&send(&server, "ns/t", &CSV, "id,name\n".into()).await, 400, "no_rows", "no rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_stand_as_the_request_says() {
    let server = Server::start().await;
    let tabs = [("content-type", "text/tab-separated-values")];
    send(&server, "ns/t?null=%5CN&quote=none", &tabs, "id\tname\n1\t\"x\n2\t\\N\n3\t\n".into()).await.expect(200);
    send(&server, "ns/t?header=false&delimiter=%3B", &CSV, "4;four\n5;\n".into()).await.expect(200);
    let there: Vec<Value> = rows(&server, "t").await;
    let wanted = [
        json!({"id": 1, "name": "\"x"}),
        json!({"id": 2}),
        json!({"id": 3, "name": ""}),
        json!({"id": 4, "name": "four"}),
        json!({"id": 5}),
    ];
    assert_eq!(there, wanted);
    problem(&send(&server, "ns/new?header=false", &CSV, "1\n".into()).await, 400, "bad_header", "names of its columns");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_many_windows_grows_its_table_once() {
    let server = Server::start().await;
    let mut body = String::from("id,text,late\n");
    for id in 0..60_000 {
        let late = if id < 50_000 { String::new() } else { format!("{}.5", id) };
        body.push_str(&format!("{id},\"some, text of row {id}\",{late}\n"));
    }
    body.push_str("x,y,z\n");
    let answer = send(&server, "ns/t?on_error=dlq", &CSV, body.into()).await.expect(200).json();
    // What a column is, all its cells say: one that is no number makes it text, also in a row that fits for that.
    assert_eq!(answer["rows"]["rejected"], 0, "{answer}");
    let kinds: Vec<String> = columns(&metadata(&server, "ns", "t").await).into_iter().map(|one| one.1).collect();
    assert_eq!(kinds, ["string", "string", "string"]);
    let answer = send(&server, "ns/t", &CSV, "id,text,more\n1,a,7\n2,b,\n".into()).await.expect(200).json();
    assert_eq!(answer["rows"]["written"], 2);
}

const SCHEMA: &str = r#"{"type":"record","name":"r","fields":[
    {"name":"id","type":"int"},{"name":"name","type":["null","string"]},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"kind","type":{"type":"enum","name":"k","symbols":["a","b"]}},
    {"name":"tags","type":{"type":"array","items":"string"}},
    {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"more","type":{"type":"map","values":"long"}}]}"#;

fn avro(codec: Codec, ids: std::ops::Range<i32>) -> Vec<u8> {
    let schema = Schema::parse_str(SCHEMA).expect("a schema");
    let mut writer = Writer::with_codec(&schema, Vec::new(), codec);
    for id in ids {
        let name = if id % 2 == 0 {
            Avro::Union(0, Box::new(Avro::Null))
        } else {
            Avro::Union(1, Box::new(Avro::String(format!("n{id}"))))
        };
        let fields = [
            ("id", Avro::Int(id)),
            ("name", name),
            ("at", Avro::TimestampMillis(1_700_000_000_000 + i64::from(id))),
            ("kind", Avro::Enum(0, "a".to_owned())),
            ("tags", Avro::Array(vec![Avro::String("x".to_owned())])),
            ("price", Avro::Decimal(vec![1, 44].into())),
            ("more", Avro::Map([("k".to_owned(), Avro::Long(7))].into())),
        ];
        writer.append(Avro::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())).expect("fits");
    }
    writer.into_inner().expect("written")
}

#[tokio::test(flavor = "multi_thread")]
async fn avro_files_are_rows() {
    let server = Server::start().await;
    let headers = [("content-type", "application/avro")];
    send(&server, "ns/t", &headers, avro(Codec::Null, 0..3)).await.expect(200);
    send(&server, "ns/t", &headers, avro(Codec::Deflate(Default::default()), 3..3_000)).await.expect(200);
    let there = rows(&server, "t").await;
    assert_eq!(there.len(), 3_000);
    let one = there.iter().find(|row| row["id"] == 1).expect("a row");
    let wanted = json!({"id": 1, "name": "n1", "at": "2023-11-14T22:13:20.001Z", "kind": "a", "tags": ["x"],
        "price": 3.00, "more": {"k": 7}});
    assert_eq!(*one, wanted);
    let whole = avro(Codec::Null, 0..3);
    problem(&send(&server, "ns/t", &headers, whole[..whole.len() - 1].to_vec()).await, 400, "malformed_body", "Avro");
    problem(&send(&server, "ns/t", &headers, b"Obj\x01".to_vec()).await, 400, "malformed_body", "Avro");
    problem(&send(&server, "ns/t", &headers, avro(Codec::Null, 0..0)).await, 400, "no_rows", "no rows");
}
