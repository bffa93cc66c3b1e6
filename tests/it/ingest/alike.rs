//! The same rows as JSON, as CSV and as Avro, and tables of values that come out alike whatever brings them.
//!
//! The cases of a table are the columns of one Iceberg table for each format, and each of its rows has one of the
//! values: one request says what becomes of them all.

use apache_avro::types::Value as Avro;
use apache_avro::{Schema, Writer};
use serde_json::{Value, json};

use self::Sent::{Bool, Json, Null, Number, Text};
use super::{rows, send};
use crate::kit::{Answer, Server};

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum In {
    Json,
    Csv,
    Avro,
}

impl In {
    pub const ALL: [Self; 3] = [Self::Json, Self::Csv, Self::Avro];

    /// The word for it in names of tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Avro => "avro",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Avro => "application/avro",
        }
    }
}

/// A value before it is written in any format.
#[derive(Debug, Clone, Copy)]
pub enum Sent {
    Null,
    Bool(bool),
    Number(&'static str),
    Text(&'static str),
    /// A list or an object.
    Json(&'static str),
}

impl Sent {
    fn json(self) -> String {
        match self {
            Null => "null".to_owned(),
            Bool(is) => is.to_string(),
            Number(text) | Json(text) => text.to_owned(),
            Text(text) => json!(text).to_string(),
        }
    }

    fn cell(self) -> String {
        let text = match self {
            Null => return String::new(),
            Text(text) => text.to_owned(),
            _ => self.json(),
        };
        format!("\"{}\"", text.replace('"', "\"\""))
    }
}

/// A type of Avro in words ([`kind_of`]), and a value of it as JSON.
pub type Typed = (&'static str, &'static str);

/// A field of a row.
#[derive(Debug, Clone)]
pub struct Part {
    pub name: String,
    pub sent: Sent,
    /// What it is in Avro, if not the type that is nearest.
    pub avro: Option<Typed>,
}

impl Part {
    fn typed(&self) -> (&'static str, Value) {
        match (self.avro, self.sent) {
            (Some((kind, value)), _) => (kind, serde_json::from_str(value).expect("JSON")),
            (None, Null) => ("int", Value::Null),
            (None, Bool(is)) => ("boolean", json!(is)),
            (None, Text(text)) => ("string", json!(text)),
            (None, Number(text)) => match text.parse::<i64>() {
                Ok(whole) => ("long", json!(whole)),
                Err(_) => ("double", serde_json::from_str(text).expect("a double")),
            },
            (None, Json(text)) => panic!("{text} does not say what it is in Avro"),
        }
    }
}

/// The body of these rows. Each has its number in `row`; a field that only others have is nothing, or is not there.
fn body(format: In, rows: &[Vec<Part>]) -> Vec<u8> {
    let mut parts: Vec<&Part> = Vec::new();
    for part in rows.iter().flatten() {
        if parts.iter().all(|known| known.name != part.name) {
            parts.push(part);
        }
    }
    let numbered = rows.iter().enumerate();
    match format {
        In::Json => {
            let member = |part: &Part| format!(",{}:{}", json!(part.name), part.sent.json());
            let row = |(at, row): (usize, &Vec<Part>)| {
                format!("{{\"row\":{at}{}}}\n", row.iter().map(member).collect::<String>())
            };
            numbered.map(row).collect::<String>().into_bytes()
        }
        In::Csv => {
            let names: String = parts.iter().map(|part| format!(",{}", part.name)).collect();
            let line = |(at, row): (usize, &Vec<Part>)| {
                let cell = |name: &str| row.iter().find(|part| part.name == name).map(|part| part.sent.cell());
                let cells = parts.iter().map(|part| format!(",{}", cell(&part.name).unwrap_or_default()));
                format!("{at}{}\n", cells.collect::<String>())
            };
            format!("row{names}\n{}", numbered.map(line).collect::<String>()).into_bytes()
        }
        In::Avro => file_of(&parts, rows),
    }
}

fn file_of(parts: &[&Part], rows: &[Vec<Part>]) -> Vec<u8> {
    let kinds: Vec<Value> =
        parts.iter().enumerate().map(|(at, part)| json!(["null", kind_of(part.typed().0, at)])).collect();
    let mut fields = vec![json!({"name": "row", "type": "long"})];
    fields.extend(parts.iter().zip(&kinds).map(|(part, kind)| json!({"name": part.name, "type": kind})));
    let schema = json!({"type": "record", "name": "rows", "fields": fields});
    let schema = Schema::parse_str(&schema.to_string()).expect("a schema");
    let mut writer = Writer::new(&schema, Vec::new());
    for (at, row) in rows.iter().enumerate() {
        let mut record = vec![("row".to_owned(), Avro::Long(i64::try_from(at).expect("a long")))];
        for (part, kind) in parts.iter().zip(&kinds) {
            let own = row.iter().find(|own| own.name == part.name);
            let value = own.map_or(Value::Null, |own| own.typed().1);
            record.push((part.name.clone(), encoded(kind, &value)));
        }
        writer.append(Avro::Record(record)).expect("fits");
    }
    writer.into_inner().expect("written")
}

/// A type of Avro: a plain or logical type's name, or `fixed 2`, `decimal 9 2`, `enum a`, `array int`, `map long`,
/// `record a:int b:string`; a question mark before one inside these makes it optional. `at` keeps names apart.
fn kind_of(words: &str, at: usize) -> Value {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let logical = |of: &str| json!({"type": of, "logicalType": words});
    match words.split_once(' ') {
        Some(("array", items)) => json!({"type": "array", "items": kind_of(items, at)}),
        Some(("map", values)) => json!({"type": "map", "values": kind_of(values, at)}),
        Some(("fixed", size)) => json!({"type": "fixed", "name": format!("f{at}"), "size": number(size)}),
        Some(("enum", symbol)) => json!({"type": "enum", "name": format!("e{at}"), "symbols": [symbol]}),
        Some(("decimal", digits)) => {
            let (precision, scale) = digits.split_once(' ').expect("two numbers");
            json!({"type": "bytes", "logicalType": "decimal", "precision": number(precision), "scale": number(scale)})
        }
        Some((_, fields)) => {
            let field = |field: &str| {
                let (name, kind) = field.split_once(':').expect("a name and a type");
                json!({"name": name, "type": kind_of(kind, at)})
            };
            let fields: Vec<Value> = fields.split(' ').map(field).collect();
            json!({"type": "record", "name": format!("r{at}"), "fields": fields})
        }
        None if words.starts_with('?') => json!(["null", kind_of(&words[1..], at)]),
        None => match words {
            "date" | "time-millis" => logical("int"),
            "uuid" => logical("string"),
            _ if words.contains('-') => logical("long"),
            plain => json!(plain),
        },
    }
}

/// A value of a type of Avro. Bytes are the characters of a text, a decimal is its digits without the point.
fn encoded(kind: &Value, value: &Value) -> Avro {
    if let Value::Array(branches) = kind {
        let there = !value.is_null();
        return Avro::Union(u32::from(there), Box::new(encoded(&branches[usize::from(there)], value)));
    }
    let text = || value.as_str().expect("a text").to_owned();
    let digits = || value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let whole = || value.as_i64().expect("a long");
    let small = || i32::try_from(whole()).expect("an int");
    let bytes = || text().chars().map(|one| u8::try_from(u32::from(one)).expect("a byte")).collect::<Vec<u8>>();
    let word = [&kind["logicalType"], &kind["type"], kind].into_iter().find_map(Value::as_str).expect("a type");
    match word {
        "null" => Avro::Null,
        "boolean" => Avro::Boolean(value.as_bool().expect("a boolean")),
        "int" => Avro::Int(small()),
        "long" => Avro::Long(whole()),
        "float" => Avro::Float(digits().parse().expect("a float")),
        "double" => Avro::Double(digits().parse().expect("a double")),
        "string" | "uuid" | "enum" => Avro::String(text()),
        "bytes" => Avro::Bytes(bytes()),
        "fixed" => Avro::Fixed(bytes().len(), bytes()),
        "decimal" => Avro::Decimal(digits().parse::<i128>().expect("digits").to_be_bytes().into()),
        "date" => Avro::Date(small()),
        "time-millis" => Avro::TimeMillis(small()),
        "time-micros" => Avro::TimeMicros(whole()),
        "timestamp-millis" => Avro::TimestampMillis(whole()),
        "timestamp-micros" => Avro::TimestampMicros(whole()),
        "timestamp-nanos" => Avro::TimestampNanos(whole()),
        "local-timestamp-millis" => Avro::LocalTimestampMillis(whole()),
        "local-timestamp-micros" => Avro::LocalTimestampMicros(whole()),
        "local-timestamp-nanos" => Avro::LocalTimestampNanos(whole()),
        "array" => {
            Avro::Array(value.as_array().expect("a list").iter().map(|one| encoded(&kind["items"], one)).collect())
        }
        "map" => {
            let entry = |(name, one): (&String, &Value)| (name.clone(), encoded(&kind["values"], one));
            Avro::Map(value.as_object().expect("an object").iter().map(entry).collect())
        }
        _ => {
            let member = |field: &Value| {
                let name = field["name"].as_str().expect("a name");
                (name.to_owned(), encoded(&field["type"], &value[name]))
            };
            Avro::Record(kind["fields"].as_array().expect("fields").iter().map(member).collect())
        }
    }
}

/// Makes `ns.<name>` with the column `row` and these: a name, a type as Iceberg writes it, and whether it is required.
pub async fn make(server: &Server, name: &str, columns: &[(String, &str, bool)], properties: Value) {
    let mut next = 1;
    let mut fields = vec![json!({"id": 1, "name": "row", "required": false, "type": "long"})];
    for (name, kind, required) in columns {
        next += 1;
        let (id, mut kind) = (next, serde_json::from_str(kind).unwrap_or_else(|_| json!(kind)));
        give_ids(&mut kind, &mut next);
        fields.push(json!({"id": id, "name": name, "required": required, "type": kind}));
    }
    let schema = json!({"type": "struct", "fields": fields});
    let table = json!({"name": name, "schema": schema, "properties": properties});
    server.post("/v1/namespaces/ns/tables", &table).await.expect(200);
}

/// Numbers the fields inside a type.
fn give_ids(kind: &mut Value, next: &mut i32) {
    let inner: &[&str] = match kind["type"].as_str() {
        Some("list") => &["element"],
        Some("map") => &["key", "value"],
        _ => &[],
    };
    for name in inner {
        *next += 1;
        kind[format!("{name}-id")] = json!(*next);
        give_ids(&mut kind[*name], next);
    }
    if let Some(fields) = kind.get_mut("fields").and_then(Value::as_array_mut) {
        for field in fields {
            *next += 1;
            field["id"] = json!(*next);
            give_ids(&mut field["type"], next);
        }
    }
}

/// Pushes these rows to `ns.<path>`.
pub async fn push(server: &Server, path: &str, format: In, rows: &[Vec<Part>]) -> Answer {
    send(server, &format!("ns/{path}"), &[("content-type", format.content_type())], body(format, rows)).await
}

/// The code of the first error of a column, in a row if one is named.
pub fn code_of(answer: &Value, row: Option<usize>, column: &str) -> Option<String> {
    let errors = answer["errors"].as_array().expect("a list");
    let of_column = |error: &&Value| {
        let pointer = error["pointer"].as_str().expect("a pointer");
        let rest = pointer.strip_prefix('/').and_then(|pointer| pointer.strip_prefix(column));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) && row.is_none_or(|row| error["index"] == row)
    };
    errors.iter().find(of_column).map(|error| error["code"].as_str().expect("a code").to_owned())
}

/// Whether a row shows this in a column: JSON, or what is no JSON and so a text; [`NOTHING`] where it has no value.
pub fn shows(row: &Value, column: &str, wanted: &str) -> bool {
    match row.get(column) {
        None => wanted == NOTHING,
        Some(_) if wanted == NOTHING => false,
        Some(found) => *found == serde_json::from_str::<Value>(wanted).unwrap_or_else(|_| json!(wanted)),
    }
}

/// No value.
pub const NOTHING: &str = "";

/// What becomes of a value: what a row shows of it, or the code that it is refused with.
pub type Outcome = Result<&'static str, &'static str>;

/// A value for a column of this type, and what becomes of it.
#[derive(Debug)]
pub struct Case {
    column: &'static str,
    sent: Sent,
    wanted: Outcome,
    avro: Option<Typed>,
    /// The formats in which something else becomes of it, or that cannot say it; and why.
    apart: Vec<(In, Option<Outcome>, &'static str)>,
}

pub fn case(column: &'static str, sent: Sent, wanted: Outcome) -> Case {
    Case { column, sent, wanted, avro: None, apart: Vec::new() }
}

impl Case {
    pub fn avro(self, kind: &'static str, value: &'static str) -> Self {
        Self { avro: Some((kind, value)), ..self }
    }

    pub fn but(mut self, format: In, wanted: Outcome, why: &'static str) -> Self {
        self.apart.push((format, Some(wanted), why));
        self
    }

    pub fn never(mut self, format: In, why: &'static str) -> Self {
        self.apart.push((format, None, why));
        self
    }

    fn wanted_in(&self, format: In) -> Option<Outcome> {
        let apart = self.apart.iter().find(|(other, ..)| *other == format);
        apart.map_or(Some(self.wanted), |(_, wanted, _)| *wanted)
    }
}

/// Sends the cases of each table in every format, with these parameters, and names all that come out otherwise.
pub async fn check(tables: &[(&str, Vec<Case>)]) {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let mut wrong = String::new();
    for (number, (ask, cases)) in tables.iter().enumerate() {
        for format in In::ALL {
            let table = format!("t{number}_{}", format.word());
            let named = |(at, case)| Some((format!("c{at}"), case, Case::wanted_in(case, format)?));
            let cases: Vec<(String, &Case, Outcome)> = cases.iter().enumerate().filter_map(named).collect();
            let columns: Vec<_> = cases.iter().map(|(name, case, _)| (name.clone(), case.column, false)).collect();
            let version = if cases.iter().any(|(_, case, _)| case.column.ends_with("_ns")) { "3" } else { "2" };
            make(&server, &table, &columns, json!({"format-version": version})).await;
            let part = |(name, case, _): &(String, &Case, Outcome)| {
                vec![Part { name: name.clone(), sent: case.sent, avro: case.avro }]
            };
            // The last row says nothing, and so fits whatever becomes of the others.
            let sent: Vec<Vec<Part>> = cases.iter().map(part).chain([Vec::new()]).collect();
            let path = format!("{table}?schema=strict&on_error=skip{ask}");
            let answer = push(&server, &path, format, &sent).await.expect(200).json();
            assert_eq!(answer["errors_truncated"], false, "{format:?}{ask}");
            let there = rows(&server, &table).await;
            for (row, (name, case, wanted)) in cases.iter().enumerate() {
                let code = code_of(&answer, Some(row), name);
                let found = there.iter().find(|found| found["row"] == row);
                let as_wanted = match (wanted, &code, found) {
                    (Ok(wanted), None, Some(found)) => shows(found, name, wanted),
                    (Err(wanted), Some(code), None) => wanted == code,
                    _ => false,
                };
                if !as_wanted {
                    wrong.push_str(&format!("\n{format:?}{ask}: {case:?}: {code:?}, {found:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
