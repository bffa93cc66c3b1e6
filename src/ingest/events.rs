//! `CloudEvents` (version 1.0): an event → a row, and the table that the first ones make.
//!
//! An event's attributes are columns of their names. Where the table's column `data` is a map of texts, what the event
//! carries is laid into it member by member, and kept whole in `data_json` where it is nested; any other column `data` takes
//! it as it is. Attributes that the specification does not name are in `extensions`. Of `extensions`, `data_json` and
//! `ingested_at` a table gets what it has columns for.

use std::borrow::Cow;

use super::coerce::Misfit;
use super::json::lexer::Kind;
use super::layout;
use super::rules::RuleFault;
use super::rules::object::{Member, kind_of, lexer, members_of, put_quoted, quoted, text_of};
use super::settings::{self, RULES};
use crate::catalog::create::Description;
use crate::catalog::metadata::schema::{Field, Schema, with_fresh_ids};
use crate::catalog::metadata::types::{Primitive, Type};
use crate::clock;
use crate::error::Result;

/// What a table takes of what is made of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventShape {
    data: Data,
    has_extensions: bool,
    has_data_json: bool,
    has_ingested_at: bool,
}

/// How a table takes what an event carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Data {
    /// Member by member, as texts.
    Texts,
    /// As it is.
    Whole,
}

impl EventShape {
    /// That of a table's columns.
    pub(super) fn of(schema: &Schema) -> Self {
        let find = |name: &str| schema.fields.iter().find(|field| field.name == name).map(|field| &field.kind);
        let texts = |kind: &Type| match kind {
            Type::Map(_, value) => value.kind == Type::Primitive(Primitive::String),
            _ => false,
        };
        let data = if find("data").is_some_and(texts) { Data::Texts } else { Data::Whole };
        Self {
            data,
            has_extensions: find("extensions").is_some_and(texts),
            has_data_json: find("data_json").is_some(),
            has_ingested_at: find("ingested_at").is_some(),
        }
    }
}

/// Attributes that the specification names, but for what the event carries.
const ATTRIBUTES: [&str; 8] =
    ["id", "source", "type", "specversion", "time", "subject", "datacontenttype", "dataschema"];

/// Those that every event has.
const REQUIRED: [&str; 4] = ["id", "source", "type", "specversion"];

/// The row of an event. What is no object comes back as it is, for the reader of rows to name.
pub(super) fn row_of(event: &str, shape: EventShape, now_ms: i64) -> std::result::Result<String, RuleFault> {
    let Some(members) = members_of(&mut lexer(event)) else { return Ok(event.to_owned()) };
    for name in REQUIRED {
        let value = members.iter().find(|member| member.name == name).and_then(|member| text_of(&member.value));
        if value.is_none_or(|text| text.is_empty()) {
            return Err(fault(name, "an event has a text here that is not empty"));
        }
    }
    let version = members.iter().find(|member| member.name == "specversion").and_then(|member| text_of(&member.value));
    if !version.is_some_and(|version| version.starts_with("1.")) {
        return Err(fault("specversion", "only version 1 of CloudEvents is spoken here"));
    }
    let mut row = Row::with_capacity(event.len() + ROOM_BYTES);
    let mut extensions = Row::default();
    let timed = members.iter().any(|member| member.name == "time" && member.value != "null");
    for Member { name, value: raw, .. } in &members {
        let raw = &**raw;
        match &**name {
            "data" => data(&mut row, raw, shape),
            "data_base64" if shape.data == Data::Texts => row.put("data", &format!("{{\"data_base64\":{raw}}}")),
            "data_base64" => row.put("data", raw),
            "time" if !timed => {}
            known if ATTRIBUTES.contains(&known) => row.put(known, raw),
            other => {
                extensions.put(other, &as_text(raw).ok_or_else(|| fault(other, "an attribute is no object or list"))?)
            }
        }
    }
    let now = || quoted(&clock::rfc3339(now_ms));
    if !timed {
        row.put("time", &now());
    }
    if shape.has_extensions && !extensions.0.is_empty() {
        row.put("extensions", &extensions.written());
    }
    if shape.has_ingested_at {
        row.put("ingested_at", &now());
    }
    Ok(row.written())
}

/// What an event carries, as its table takes it.
fn data(row: &mut Row, raw: &str, shape: EventShape) {
    if shape.data == Data::Whole {
        return row.put("data", raw);
    }
    let mut nested = raw != "null";
    if let Some(members) = members_of(&mut lexer(raw)) {
        let mut texts = Row::default();
        nested = false;
        for Member { name, value, .. } in members {
            let text = as_text(&value);
            nested |= text.is_none();
            texts.put(&name, &text.unwrap_or_else(|| quoted(&value).into()));
        }
        row.put("data", &texts.written());
    }
    if nested && shape.has_data_json {
        row.put("data_json", &quoted(raw));
    }
}

/// Bytes that a row has beside those of its event, mostly.
const ROOM_BYTES: usize = 160;

/// The text of a JSON object that is being made; a name may come twice, for the reader of rows to refuse.
#[derive(Debug, Default)]
struct Row(String);

impl Row {
    fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    fn put(&mut self, name: &str, raw: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        put_quoted(&mut self.0, name);
        self.0.push(':');
        self.0.push_str(raw);
    }

    fn written(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0
    }
}

/// A value as a JSON string, or null; `None` where it holds others.
fn as_text(raw: &str) -> Option<Cow<'_, str>> {
    match kind_of(raw) {
        Kind::String | Kind::Null => Some(raw.into()),
        Kind::Number | Kind::True | Kind::False => Some(quoted(raw).into()),
        Kind::Object | Kind::Array => None,
    }
}

fn fault(name: &str, detail: &str) -> RuleFault {
    RuleFault { pointer: format!("/{name}"), misfit: Misfit::new("not_an_event", detail) }
}

/// The parts of `time` that a table may have as columns of their own, for those who filter by them.
const PARTS: [&str; 4] = ["year", "month", "day", "hour"];

/// The columns of a table of events, with the ids that the catalog gives them. Laid out by parts of the time, it has a
/// column for each of these.
pub(super) fn schema(partition_by: Option<&str>) -> Schema {
    let text = || Type::Primitive(Primitive::String);
    let texts = || {
        let key = Field { required: true, ..Field::optional(0, "key", text()) };
        Type::Map(Box::new(key), Box::new(Field::optional(0, "value", text())))
    };
    let time = || Type::Primitive(Primitive::Timestamptz);
    let mut fields: Vec<Field> = ATTRIBUTES
        .iter()
        .map(|name| {
            let kind = if *name == "time" { time() } else { text() };
            Field { required: *name == "time" || REQUIRED.contains(name), ..Field::optional(0, name, kind) }
        })
        .collect();
    fields.push(Field::optional(0, "data", texts()));
    fields.push(Field::optional(0, "extensions", texts()));
    fields.push(Field::optional(0, "data_json", text()));
    fields.push(Field::optional(0, "ingested_at", time()));
    for part in parts_of(partition_by) {
        fields.push(Field::optional(0, part, Type::Primitive(Primitive::Int)));
    }
    let none = Schema { schema_id: 0, fields, identifier_field_ids: Vec::new(), extra: Default::default() };
    with_fresh_ids(&none).0
}

/// The parts of the time that a layout names.
fn parts_of(partition_by: Option<&str>) -> Vec<&'static str> {
    let named: Vec<&str> = partition_by.unwrap_or_default().split(',').map(str::trim).collect();
    PARTS.into_iter().filter(|part| named.contains(part)).collect()
}

/// A table of events, laid out by type and hour where nothing else is asked for.
pub(super) fn described(partition_by: Option<&str>, sort_by: Option<&str>) -> Result<Description> {
    let schema = schema(partition_by);
    let spec = layout::partition_by(partition_by.unwrap_or("type,hour(time)"), &schema)?;
    let order = sort_by.map(|text| layout::sort_by(text, &schema)).transpose()?;
    let mut properties = settings::created_properties();
    let rules: Vec<serde_json::Value> = parts_of(partition_by)
        .into_iter()
        .map(|part| serde_json::json!({"op": "derive", "column": part, "from": "time", "as": part}))
        .collect();
    if !rules.is_empty() {
        properties.insert(RULES.to_owned(), serde_json::Value::from(rules).to_string());
    }
    Ok(Description { schema, spec: Some(spec), order, properties })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(event: &str) -> std::result::Result<serde_json::Value, RuleFault> {
        let row = row_of(event, EventShape::of(&schema(None)), 0)?;
        Ok(serde_json::from_str(&row).expect("JSON"))
    }

    #[test]
    fn events_become_rows() {
        let event = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"2024-01-02T03:04:05Z","traceid":"x",
            "sampled":true,"n":5,"data":{"a":"text","b":12345678901234567890.5,"c":null,"d":{"e":[1]}}}"#;
        let made = row(event).expect("a row");
        let data = r#"{"a":"text","b":12345678901234567890.5,"c":null,"d":{"e":[1]}}"#;
        let wanted = serde_json::json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t",
            "time": "2024-01-02T03:04:05Z", "data": {"a": "text", "b": "12345678901234567890.5", "c": null, "d": "{\"e\":[1]}"},
            "data_json": data, "extensions": {"traceid": "x", "sampled": "true", "n": "5"},
            "ingested_at": "1970-01-01T00:00:00.000Z"});
        assert_eq!(made, wanted);
        let base = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t""#;
        let flat = row(&format!("{base},\"data\":{{\"a\":1}}}}")).expect("a row");
        assert_eq!((&flat["data"]["a"], &flat["data_json"]), (&"1".into(), &serde_json::Value::Null));
        assert_eq!(flat["time"], "1970-01-01T00:00:00.000Z");
        let list = row(&format!("{base},\"data\":[1,2]}}")).expect("a row");
        assert_eq!((&list["data"], &list["data_json"]), (&serde_json::Value::Null, &"[1,2]".into()));
        let binary = row(&format!("{base},\"data_base64\":\"AAE=\"}}")).expect("a row");
        assert_eq!(binary["data"]["data_base64"], "AAE=");
    }

    #[test]
    fn what_is_no_event_is_named() {
        for (event, pointer) in [
            ("{}", "/id"),
            (r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#, "/id"),
            (r#"{"specversion":"1.0","id":"1","source":5,"type":"t"}"#, "/source"),
            (r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#, "/specversion"),
            (r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","x":{}}"#, "/x"),
        ] {
            let fault = row(event).expect_err(event);
            assert_eq!((fault.pointer.as_str(), fault.misfit.code), (pointer, "not_an_event"), "{event}");
        }
        assert_eq!(row_of("[1]", EventShape::of(&schema(None)), 0).expect("as it is"), "[1]");
    }
}
