//! Small valid inputs, as the real writers make them, and the tables that they are for. They are the same in every run.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

use apache_avro::types::Value as Avro;
use apache_avro::{Codec, Schema as AvroSchema, Writer};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field as ArrowField, TimeUnit};
use arrow_avro::compression::CompressionCodec;
use arrow_avro::writer::WriterBuilder;
use arrow_avro::writer::format::AvroOcfFormat;
use flate2::{Compression as Level, GzBuilder};
use indexmap::IndexMap;
use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{WriterProperties, WriterVersion};
use serde_json::json;
use serde_json::value::to_raw_value;

use crate::catalog::metadata::schema::Schema;
use crate::ingest::columns::Shape;
use crate::ingest::csv::{Dialect, Names};
use crate::ingest::decode::tests::{rows_of, stream};
use crate::ingest::inflate::Encoding;
use crate::ingest::rules::{Facts, HashKeys, Rules};

/// Columns of every type that holds no others.
const COLUMNS: [(&str, &str); 20] = [
    ("id", "long"),
    ("name", "string"),
    ("price", "decimal(9,2)"),
    ("at", "timestamptz"),
    ("local", "timestamp"),
    ("day", "date"),
    ("time", "time"),
    ("ok", "boolean"),
    ("n", "int"),
    ("f", "float"),
    ("d", "double"),
    ("uid", "uuid"),
    ("fix", "fixed[4]"),
    ("bin", "binary"),
    ("big", "decimal(38,10)"),
    ("ns", "timestamp_ns"),
    ("nsz", "timestamptz_ns"),
    ("ip", "string"),
    ("data", "string"),
    ("_extra", "string"),
];

/// A table with columns of every type, some of them required.
pub(super) fn schema() -> Schema {
    let mut fields: Vec<_> = (1..)
        .zip(COLUMNS)
        .map(|(id, (name, kind))| json!({"id": id, "name": name, "required": id == 1, "type": kind}))
        .collect();
    let tags = json!({"type": "list", "element-id": 53, "element": "string", "element-required": true});
    let point = json!({"type": "struct", "fields": [
        {"id": 51, "name": "x", "required": true, "type": "double"},
        {"id": 52, "name": "tags", "required": false, "type": tags},
    ]});
    let item = json!({"type": "struct", "fields": [
        {"id": 62, "name": "x", "required": true, "type": "int"},
        {"id": 63, "name": "y", "required": false, "type": "string"},
    ]});
    let points = json!({"type": "list", "element-id": 61, "element": item, "element-required": false});
    let map =
        json!({"type": "map", "key-id": 71, "key": "string", "value-id": 72, "value": "long", "value-required": true});
    fields.push(json!({"id": 50, "name": "point", "required": false, "type": point}));
    fields.push(json!({"id": 60, "name": "points", "required": false, "type": points}));
    fields.push(json!({"id": 70, "name": "m", "required": false, "type": map}));
    let schema = json!({"type": "struct", "identifier-field-ids": [1], "fields": fields});
    Schema::parse(&to_raw_value(&schema).expect("JSON")).expect("a schema")
}

/// The columns of a table that is not there yet.
pub(super) fn no_columns() -> Schema {
    Schema { schema_id: 0, fields: Vec::new(), identifier_field_ids: Vec::new(), extra: Default::default() }
}

/// What is made of a schema once.
pub(super) fn shape(schema: &Schema) -> Shape {
    Shape::of(&Arc::new(schema.clone())).expect("it can be written")
}

/// How cells may be written.
pub(super) fn dialects() -> [Dialect; 3] {
    let tabs = Dialect { delimiter: b'\t', quote: None, null: Cow::Borrowed("\\N"), names: Names::First };
    [Dialect::CSV, tabs, Dialect { delimiter: b';', names: Names::OfTable, ..Dialect::CSV }]
}

/// Keys that rules hash with.
pub(super) fn keys() -> HashKeys {
    HashKeys::new(IndexMap::from([("pii".to_owned(), "s3cr3t-of-pii".to_owned())]))
}

/// What rules know of a request.
pub(super) fn facts() -> Facts {
    Facts { headers: vec![("x-h".to_owned(), "v\"1".to_owned())], now_ms: 1_700_000_000_000 }
}

const RULES: [&str; 3] = [
    r#"[{"op":"derive","column":"day","from":"at","as":"date"},{"op":"rename","column":"name","to":"ip"},{"op":"default","column":"name","value":{"a":[[[[1]]]]}},{"op":"header","column":"h","header":"x-h"},{"op":"drop","column":"/m/a"}]"#,
    r#"[{"op":"hash","column":"name","key":"pii"},{"op":"mask-ip","column":"ip"},{"op":"redact","column":"point","pattern":"[0-9a]+","with":"<$0$0>"},{"op":"limit","column":"uid","chars":3},{"op":"truncate","column":"n","width":10},{"op":"truncate","column":"at","unit":"hour"},{"op":"cast","column":"id","to":"long"}]"#,
    r#"[{"op":"cast","column":"n","to":"string"},{"op":"redact","column":"/data/a","pattern":"[a-z]+@([a-z.]+)","with":"${1}"},{"op":"derive","column":"hour","from":"time","as":"hour"},{"op":"mask-ip","column":"/points/0/y","v4":16,"v6":0}]"#,
];

/// Rules that are understood.
pub(super) fn known_rules() -> Vec<Rules> {
    RULES.iter().map(|rules| Rules::parse(rules, &keys()).expect("rules")).collect()
}

/// A row with something in every column.
pub(super) const ROW: &str = r#"{"id":1,"name":"ä\"\\\n","price":12.34,"at":"2024-01-02T03:04:05.678901Z","local":"2024-01-02T03:04:05","day":"2024-02-29","time":"23:59:59.999999","ok":true,"n":-7,"f":1.5,"d":-0.1e-5,"uid":"f79c3e09-677c-4bbd-a479-3f349cb785e7","fix":"AAECAw==","bin":"AP8=","big":"123456789012345678.0123456789","ns":"2024-01-02T03:04:05.123456789","nsz":"2024-01-02T03:04:05.123456789+02:00","ip":"203.0.113.77","point":{"x":1.0,"tags":["a1",""]},"points":[{"x":1,"y":"2001:db8::1"},null],"m":{"a":1,"b":-9223372036854775808}}"#;

fn texts<const N: usize>(texts: [&str; N]) -> Vec<Vec<u8>> {
    texts.into_iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Bodies of JSON.
pub(super) fn json() -> Vec<Vec<u8>> {
    texts([
        &format!("{ROW}\n{{\"id\":2}}\n"),
        &format!("[{ROW}, {{\"id\":3,\"points\":[],\"m\":{{}}}}]"),
        r#"{"id":1,"new":{"a":[{"b":1.5},{"b":2}]},"t":"2024-01-01T00:00:00Z"}{"id":2,"new":null,"late":[[1],[2.5]]}"#,
        "{\"id\":1,\"n\":3000000000,\"f\":16777217,\"price\":123456789.12}\n{\"id\":2,\"n\":1.0,\"f\":\"NaN\"}\n{\"name\":5}\n",
        "{\"id\":1}\n{\"id\":\"x\",\"a\":1}\n{\"id\":2,\n{\"id\":3,\"a\":1}\n{\"id\":4,\"a\":null}",
        r#"{"id":1,"ID":2}{"id":3,"id":4}{"id":5,"name":"\u00e9\ud83d\ude00\/"}"#,
        r#"{"a":"x"}{"a":"2024-01-01"}{"b":true}{"c":{"d":[1,2]},"_extra":"e"}{}"#,
        r#"[{"id":7,"point":{"x":1,"z":{"deep":[[[[[{"er":1}]]]]]}}},{"id":8,"m":{"k":1,"k":2}}]"#,
        "{\"id\":1700000000,\"at\":1700000000123,\"ok\":\"1\",\"n\":\"12\",\"price\":1.005,\"d\":9007199254740993}",
    ])
}

/// Bodies of cells.
pub(super) fn csv() -> Vec<Vec<u8>> {
    texts([
        "id,name,price,at,day,ok,n,d\n1,\"a, \"\"b\"\"\nc\",1.50,2024-01-02T03:04:05Z,2024-02-29,true,7,0.5\n2,,,,,,,\n",
        "\u{feff}id,new,more\r\n1,x,2.5\r\n\r\n2,y,3\r\n3,,x",
        "id\tname\n1\t\"x\n2\t\\N\n3\t\n",
        "4;four\n5;\n\n6;a;b\n",
        "id,points,m,point\n1,\"[{\"\"x\"\":1}]\",\"{\"\"a\"\":1}\",\"{\"\"x\"\":1,\"\"tags\"\":[]}\"\n2,[],{},x\n",
        "id,name\n1\nx,y\n3,z,4\n4,\"open\n5,",
        "a,b,c\ntrue,2024-01-01,1\nfalse,x,1.5\n,,\n",
        "id,n,f,price\n1,3000000000,16777217,123456789.12\n2,1e1,NaN,1.005\n",
    ])
}

/// Bodies of events.
pub(super) fn events() -> Vec<Vec<u8>> {
    let base = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;
    texts([
        &format!(
            r#"{{{base},"time":"2024-01-02T03:04:05Z","traceid":"x","n":5,"data":{{"a":"me@b.c","b":1.5,"c":null,"d":{{"e":[1]}}}}}}"#
        ),
        &format!(r#"[{{{base},"data":[1,2]}},{{{base},"data_base64":"AAE=","subject":"s"}},{{{base},"x":{{}}}}]"#),
        &format!("{{{base},\"data\":{ROW}}}\n{{{base}}}\n{{\"id\":1,\n{{{base},\"data\":\"text\"}}\n"),
        r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}{"specversion":"1.1"}[1]"#,
    ])
}

/// Rules, and in the next line a row.
pub(super) fn rules() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = RULES.iter().map(|rules| format!("{rules}\n{ROW}").into_bytes()).collect();
    all.extend(texts([
        "[]\n{\"a\" : 1.50e+07 , \"a\":{\"b\":[1 , 2]}}",
        r#"[{"op":"redact","column":"name","pattern":"a","with":"$0$0$0$0"}]"#,
        "rules\n[1, 2]",
        "rules\n{\"at\":1700000000,\"n\":-15,\"ip\":\"2001:db8::1\",\"id\":\"12\",\"data\":{\"a\":[\"x@y.z\",{\"b\":\"q@r.s\"}]}}",
    ]));
    all
}

/// Bodies for many tables.
pub(super) fn routed() -> Vec<Vec<u8>> {
    texts([
        "{\"meta\":{\"kind/x\":\"a\"},\"t\":\"b\",\"n\":1.50}\n\n{\"meta\":{\"kind/x\":7},\"t\":8}\n{\"t\":null}\n{\"n\":1}\n",
        "[{\"table\":\"a.b\",\"row\":{\"x\":1}},\n{\"table\":\"c.d\",\"row\":{}},{\"table\":1}]",
        "{\"table\":\"a\",\"row\":{\"x\":[{\"t\":1}]}}\n{\"t\":\n{\"t\":\"b\"} {\"t\":\"c\"}",
        "[[{\"t\":\"a\"}],[{\"t\":\"b\"},2],{\"t\":\"c\"}]",
        "{\"table\":\"a\",\"row\":[{\"x\":1},{\"x\":2}]}{\"table\":\"a\",\"row\":7}",
    ])
}

/// Two columns, for files that are small.
fn plain() -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b")]));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).expect("rows")
}

/// Every column of the table.
fn own() -> RecordBatch {
    rows_of(&schema(), &format!("{ROW}{{\"id\":2}}{{\"id\":3,\"point\":{{\"x\":0}},\"points\":[]}}"))
}

/// The table's columns and others, in types that others have for them; the last five are nothing for a file.
fn foreign() -> RecordBatch {
    use DataType as D;
    use TimeUnit as U;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(1), None, Some(-1), Some(100)]));
    let long = "a text that is longer than twelve bytes, é";
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(long), Some("a"), Some("")]));
    let of = |values: &ArrayRef, kind: D| cast(values, &kind).expect("can be cast");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", of(&ids, D::UInt64)),
        ("name", of(&texts, D::Dictionary(Box::new(D::Int8), Box::new(D::Utf8)))),
        ("price", of(&numbers, D::Decimal128(12, 4))),
        ("at", of(&numbers, D::Timestamp(U::Millisecond, Some("+00:00".into())))),
        ("local", of(&numbers, D::Timestamp(U::Second, None))),
        ("day", of(&numbers, D::Date64)),
        ("time", of(&ids, D::Time64(U::Nanosecond))),
        ("n", of(&numbers, D::Int8)),
        ("f", of(&numbers, D::Float64)),
        ("bin", of(&texts, D::LargeBinary)),
        ("ns", of(&numbers, D::Timestamp(U::Microsecond, None))),
        ("uid", Arc::clone(&texts)),
        ("fix", of(&texts, D::Binary)),
        ("view", of(&texts, D::Utf8View)),
        ("large", of(&texts, D::LargeUtf8)),
        ("list", of(&numbers, D::LargeList(Arc::new(ArrowField::new_list_field(D::Int64, true))))),
        ("none", new_null_array(&D::Null, 5)),
        ("wait", of(&numbers, D::Duration(U::Second))),
        ("large_number", of(&numbers, D::Decimal256(40, 2))),
        ("twice", Arc::clone(&numbers)),
        ("twice", Arc::clone(&texts)),
    ];
    RecordBatch::try_from_iter(columns).expect("rows")
}

/// What of the foreign columns can be in a file.
fn foreign_in_a_file() -> RecordBatch {
    let all = foreign();
    all.project(&(0..all.num_columns() - 5).collect::<Vec<_>>()).expect("columns")
}

/// Arrow IPC streams.
pub(super) fn arrow() -> Vec<Vec<u8>> {
    let (plain, own) = (plain(), own());
    vec![
        stream(&[plain.clone(), plain.slice(1, 1), plain.slice(0, 0), plain]),
        stream(&[own.clone(), own.slice(2, 1)]),
        stream(&[foreign_in_a_file(), foreign_in_a_file().slice(1, 3)]),
        stream(&[foreign()]),
    ]
}

fn file(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("a writer");
    writer.write(batch).expect("written");
    writer.into_inner().expect("closed")
}

/// Parquet files.
pub(super) fn parquet() -> Vec<Vec<u8>> {
    let all = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::ZSTD(Default::default()),
        Compression::LZ4_RAW,
        Compression::BROTLI(Default::default()),
    ];
    let batches = [plain(), own(), foreign_in_a_file()];
    let mut files = Vec::new();
    for (at, compression) in all.into_iter().enumerate() {
        let version = if at.is_multiple_of(2) { WriterVersion::PARQUET_1_0 } else { WriterVersion::PARQUET_2_0 };
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_writer_version(version)
            .set_dictionary_enabled(!at.is_multiple_of(3))
            .set_max_row_group_row_count((at == 2).then_some(2))
            .build();
        files.push(file(&batches[0], properties.clone()));
        files.push(file(&batches[1 + at % 2], properties));
    }
    files
}

const ONE_NUMBER: &str = r#"{"type":"record","name":"s","fields":[{"name":"id","type":"int"}]}"#;

const OF_ALL_TYPES: &str = r#"{"type":"record","name":"r","fields":[
    {"name":"id","type":"long"},{"name":"name","type":["null","string"]},
    {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"local","type":{"type":"long","logicalType":"local-timestamp-micros"}},
    {"name":"day","type":{"type":"int","logicalType":"date"}},
    {"name":"time","type":{"type":"long","logicalType":"time-micros"}},
    {"name":"ok","type":"boolean"},{"name":"f","type":"float"},{"name":"d","type":"double"},
    {"name":"fix","type":{"type":"fixed","name":"four","size":4}},{"name":"bin","type":"bytes"},
    {"name":"kind","type":{"type":"enum","name":"k","symbols":["a","b"]}},
    {"name":"point","type":{"type":"record","name":"p","fields":[
        {"name":"x","type":"double"},{"name":"tags","type":{"type":"array","items":"string"}}]}},
    {"name":"m","type":{"type":"map","values":"long"}}]}"#;

fn record(id: i64) -> Avro {
    let name = if id % 2 == 0 { Avro::Null } else { Avro::String(format!("n{id}")) };
    let tags = Avro::Array(vec![Avro::String("x".to_owned()), Avro::String(String::new())]);
    let fields = [
        ("id", Avro::Long(id)),
        ("name", Avro::Union(u32::from(id % 2 != 0), Box::new(name))),
        ("price", Avro::Decimal(vec![1, 44].into())),
        ("at", Avro::TimestampMillis(1_700_000_000_000 + id)),
        ("local", Avro::LocalTimestampMicros(1_700_000_000_000_001)),
        ("day", Avro::Date(19_000)),
        ("time", Avro::TimeMicros(86_399_999_999)),
        ("ok", Avro::Boolean(true)),
        ("f", Avro::Float(1.5)),
        ("d", Avro::Double(-0.25)),
        ("fix", Avro::Fixed(4, vec![0, 1, 2, 255])),
        ("bin", Avro::Bytes(vec![0, 255])),
        ("kind", Avro::Enum(1, "b".to_owned())),
        (
            "point",
            Avro::Record(
                [("x", Avro::Double(1.0)), ("tags", tags)].map(|(name, value)| (name.to_owned(), value)).into(),
            ),
        ),
        ("m", Avro::Map([("k".to_owned(), Avro::Long(7))].into())),
    ];
    Avro::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

/// A file of two blocks.
fn avro_of(schema: &str, codec: Codec, rows: &[Avro]) -> Vec<u8> {
    let schema = AvroSchema::parse_str(schema).expect("a schema");
    let mut writer = Writer::with_codec(&schema, Vec::new(), codec);
    for (at, row) in rows.iter().enumerate() {
        writer.append(row.clone()).expect("fits");
        if at == 1 {
            writer.flush().expect("flushed");
        }
    }
    writer.into_inner().expect("written")
}

fn avro_by_arrow(codec: CompressionCodec) -> Vec<u8> {
    let batch = plain();
    let builder = WriterBuilder::new((*batch.schema()).clone()).with_compression(Some(codec));
    let mut writer = builder.build::<Vec<u8>, AvroOcfFormat>(Vec::new()).expect("a writer");
    writer.write(&batch).expect("written");
    writer.finish().expect("finished");
    writer.into_inner()
}

/// A file without what its writer leaves to chance: the order of the header's entries, and what stands between blocks.
fn steady(make: impl Fn() -> Vec<u8>) -> Vec<u8> {
    loop {
        let mut file = make();
        let place = |name: &[u8]| file.windows(name.len()).position(|part| part == name);
        if place(b"avro.codec") < place(b"avro.schema") {
            continue;
        }
        let marker = file[file.len() - 16..].to_vec();
        let places: Vec<usize> =
            file.windows(16).enumerate().filter(|(_, part)| *part == marker).map(|(at, _)| at).collect();
        places.into_iter().for_each(|at| file[at..at + 16].copy_from_slice(&[7; 16]));
        return file;
    }
}

/// Avro files.
pub(super) fn avro() -> Vec<Vec<u8>> {
    let small: Vec<Avro> = (1..=3).map(|id| Avro::Record(vec![("id".to_owned(), Avro::Int(id))])).collect();
    let large: Vec<Avro> = (1..=3).map(record).collect();
    vec![
        steady(|| avro_of(ONE_NUMBER, Codec::Null, &small)),
        steady(|| avro_of(OF_ALL_TYPES, Codec::Null, &large)),
        steady(|| avro_of(OF_ALL_TYPES, Codec::Deflate(Default::default()), &large)),
        steady(|| avro_by_arrow(CompressionCodec::Snappy)),
        steady(|| avro_by_arrow(CompressionCodec::ZStandard)),
    ]
}

/// Bodies that are compressed, each way in several forms.
pub(super) fn packed(encoding: Encoding) -> Vec<Vec<u8>> {
    let large = format!("{ROW}\n").repeat(40);
    let texts = [ROW.as_bytes(), b"{}", large.as_bytes()];
    let mut all = Vec::new();
    for text in texts {
        for form in 0..3 {
            all.push(packed_so(encoding, text, form));
        }
    }
    // One after the other, which some formats allow.
    all.push([&all[0][..], &all[3]].concat());
    if encoding == Encoding::Zstd {
        all.push([&b"\x50\x2a\x4d\x18\x03\x00\x00\x00xyz"[..], &all[0]].concat());
    }
    all
}

fn packed_so(encoding: Encoding, text: &[u8], form: u32) -> Vec<u8> {
    match encoding {
        Encoding::Identity => text.to_vec(),
        Encoding::Gzip => {
            let builder =
                if form == 1 { GzBuilder::new().filename("f").comment("c").extra("e") } else { GzBuilder::new() };
            let mut writer = builder.write(Vec::new(), Level::new(form * 3));
            writer.write_all(text).expect("compresses");
            writer.finish().expect("compresses")
        }
        Encoding::Zstd => {
            let level = if form == 2 { 19 } else { 1 };
            let mut writer = zstd::Encoder::new(Vec::new(), level).expect("a compressor");
            writer.include_checksum(form == 1).expect("can be");
            writer.write_all(text).expect("compresses");
            writer.finish().expect("compresses")
        }
        Encoding::Lz4 => {
            let size = u64::try_from(text.len()).ok().filter(|_| form == 1);
            let mode = if form == 2 { BlockMode::Linked } else { BlockMode::Independent };
            let info = FrameInfo::new().block_mode(mode).content_size(size);
            let info = info.block_checksums(form > 0).content_checksum(form == 1);
            let mut writer = FrameEncoder::with_frame_info(info, Vec::new());
            writer.write_all(text).expect("compresses");
            writer.finish().expect("compresses")
        }
        Encoding::Brotli => {
            let mut writer = brotli::CompressorWriter::new(Vec::new(), 4_096, 1 + form * 4, 18 + form * 2);
            writer.write_all(text).expect("compresses");
            writer.into_inner()
        }
    }
}
