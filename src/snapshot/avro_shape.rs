//! How values of an Avro schema stand in bytes, as far as it takes to find where a record ends.
//!
//! The decoder believes the number of records that a block claims: where bytes are left behind them it goes round for ever.
//! So every record is walked over before. What could be claimed without bytes to show for it is refused: lists of items that
//! take none, more items than there are bytes, a schema that holds itself.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::container::{Refused, number, size, take};
use crate::limits;

/// How values of a type stand in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// So many bytes.
    Bytes(usize),
    /// A number of variable length.
    Number,
    /// A number, and as many bytes.
    Sized,
    /// Blocks of items, each with their number before them; behind each key of a map is its value.
    Items(Arc<Self>),
    /// The number of a branch, and its value.
    Union(Vec<Arc<Self>>),
    /// One value after the other.
    Record(Vec<Arc<Self>>),
}

impl Shape {
    /// The shape of a schema's values.
    pub(super) fn of(schema: &str) -> Result<Self, Refused> {
        let schema: Json = serde_json::from_str(schema).map_err(|_| "its schema is not JSON")?;
        Reader::default().shape(&schema, "", 0).map(|shape| (*shape).clone())
    }

    /// Goes over a value.
    pub(super) fn skip(&self, rest: &mut &[u8]) -> Result<(), Refused> {
        match self {
            Self::Bytes(count) => take(rest, *count).map(drop),
            Self::Number => number(rest).map(drop),
            Self::Sized => {
                let bytes = size(rest)?;
                take(rest, bytes).map(drop)
            }
            Self::Items(item) => skip_items(item, rest),
            Self::Union(branches) => {
                let branch = usize::try_from(number(rest)?).ok().and_then(|branch| branches.get(branch));
                branch.ok_or("a union in it has no such branch")?.skip(rest)
            }
            Self::Record(fields) => fields.iter().try_for_each(|field| field.skip(rest)),
        }
    }

    /// Whether its values take no bytes.
    fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(count) => *count == 0,
            Self::Record(fields) => fields.iter().all(|field| field.is_empty()),
            _ => false,
        }
    }
}

fn skip_items(item: &Shape, rest: &mut &[u8]) -> Result<(), Refused> {
    loop {
        let count = number(rest)?;
        if count == 0 {
            return Ok(());
        }
        if count < 0 {
            // The block's size, for who wants to go over it unseen.
            number(rest)?;
        }
        // Each takes a byte at least.
        let count = usize::try_from(count.unsigned_abs()).ok().filter(|count| *count <= rest.len());
        for _ in 0..count.ok_or("a list or map in it has more items than bytes")? {
            item.skip(rest)?;
        }
    }
}

/// Reads a schema.
#[derive(Debug, Default)]
struct Reader {
    /// Types that have a name, by all of it; none where it is not read to its end.
    named: HashMap<String, Option<Arc<Shape>>>,
}

impl Reader {
    /// The shape of a schema inside a namespace.
    fn shape(&mut self, schema: &Json, namespace: &str, depth: usize) -> Result<Arc<Shape>, Refused> {
        if depth > limits::SCHEMA_DEPTH_MAX {
            return Err("its schema is nested too deeply");
        }
        match schema {
            Json::Array(branches) => {
                let branches = branches.iter().map(|branch| self.shape(branch, namespace, depth + 1));
                branches.collect::<Result<_, _>>().map(|branches| Arc::new(Shape::Union(branches)))
            }
            Json::String(name) => match primitive(name) {
                Some(shape) => Ok(Arc::new(shape)),
                None => self.known(name, namespace),
            },
            Json::Object(_) => self.complex(schema, namespace, depth),
            _ => Err("its schema has a type that is none"),
        }
    }

    fn complex(&mut self, schema: &Json, namespace: &str, depth: usize) -> Result<Arc<Shape>, Refused> {
        match schema["type"].as_str() {
            Some("array") => {
                let item = self.shape(&schema["items"], namespace, depth + 1)?;
                items(item)
            }
            Some("map") => {
                let value = self.shape(&schema["values"], namespace, depth + 1)?;
                if value.is_empty() {
                    return items(value);
                }
                items(Arc::new(Shape::Record(vec![Arc::new(Shape::Sized), value])))
            }
            Some("enum") => Ok(self.keep(schema, namespace, Arc::new(Shape::Number))),
            Some("fixed") => {
                let size = schema["size"].as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or("its schema has a fixed type without a size")?;
                Ok(self.keep(schema, namespace, Arc::new(Shape::Bytes(size))))
            }
            Some("record" | "error") => {
                let (name, inside) = full_name(schema, namespace);
                self.named.insert(name, None);
                let fields = schema["fields"].as_array().ok_or("its schema has a record without fields")?;
                let fields = fields.iter().map(|field| self.shape(&field["type"], &inside, depth + 1));
                let record = Arc::new(Shape::Record(fields.collect::<Result<_, _>>()?));
                Ok(self.keep(schema, namespace, record))
            }
            _ => self.shape(&schema["type"], namespace, depth + 1),
        }
    }

    fn keep(&mut self, schema: &Json, namespace: &str, shape: Arc<Shape>) -> Arc<Shape> {
        self.named.insert(full_name(schema, namespace).0, Some(Arc::clone(&shape)));
        shape
    }

    fn known(&self, name: &str, namespace: &str) -> Result<Arc<Shape>, Refused> {
        let inside = format!("{namespace}.{name}");
        match self.named.get(&inside).or_else(|| self.named.get(name)) {
            Some(Some(shape)) => Ok(Arc::clone(shape)),
            Some(None) => Err("its schema holds itself"),
            None => Err("its schema has a type that is none"),
        }
    }
}

/// A list's shape.
fn items(item: Arc<Shape>) -> Result<Arc<Shape>, Refused> {
    if item.is_empty() {
        return Err("it has a list or map of items that take no bytes");
    }
    Ok(Arc::new(Shape::Items(item)))
}

fn primitive(name: &str) -> Option<Shape> {
    Some(match name {
        "null" => Shape::Bytes(0),
        "boolean" => Shape::Bytes(1),
        "int" | "long" => Shape::Number,
        "float" => Shape::Bytes(4),
        "double" => Shape::Bytes(8),
        "bytes" | "string" => Shape::Sized,
        _ => return None,
    })
}

/// A type's name with its namespace, and that: the one in its name, its own, or the one around it.
fn full_name(schema: &Json, around: &str) -> (String, String) {
    let name = schema["name"].as_str().unwrap_or_default();
    match (name.rsplit_once('.'), schema["namespace"].as_str()) {
        (Some((namespace, _)), _) => (name.to_owned(), namespace.to_owned()),
        (None, Some("")) => (name.to_owned(), String::new()),
        (None, own) => match own.unwrap_or(around) {
            "" => (name.to_owned(), String::new()),
            namespace => (format!("{namespace}.{name}"), namespace.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shape(schema: Json) -> Result<Shape, Refused> {
        Shape::of(&schema.to_string())
    }

    /// How many bytes of these a value takes.
    fn taken(schema: Json, bytes: &[u8]) -> Result<usize, Refused> {
        let mut rest = bytes;
        shape(schema)?.skip(&mut rest).map(|()| bytes.len() - rest.len())
    }

    #[test]
    fn values_end_where_they_do() {
        let record = json!({"type": "record", "name": "r", "namespace": "a.b", "fields": [
            {"name": "n", "type": "null"},
            {"name": "f", "type": {"type": "fixed", "name": "four", "size": 4}},
            {"name": "g", "type": ["null", "four"]},
            {"name": "h", "type": "a.b.four"},
        ]});
        for (schema, bytes, length) in [
            (json!("null"), &[][..], 0),
            (json!("boolean"), &[1, 9], 1),
            (json!({"type": "long", "logicalType": "timestamp-millis"}), &[0x80, 0x01, 9], 2),
            (json!("double"), &[0; 9], 8),
            (json!("string"), &[4, b'a', b'b', 9], 3),
            (json!({"type": {"type": "string"}}), &[0, 9], 1),
            (json!(["null", "int"]), &[0, 9], 1),
            (json!(["null", "int"]), &[2, 8, 9], 2),
            (json!({"type": "enum", "name": "e", "symbols": ["a"]}), &[0, 9], 1),
            (json!({"type": "array", "items": "int"}), &[4, 1, 1, 2, 1, 0, 9], 6),
            (json!({"type": "array", "items": "int"}), &[3, 4, 1, 1, 0, 9], 5),
            (json!({"type": "map", "values": "boolean"}), &[2, 2, b'k', 1, 0, 9], 5),
            (record, &[1, 2, 3, 4, 2, 1, 2, 3, 4, 1, 2, 3, 4, 9], 13),
        ] {
            assert_eq!(taken(schema.clone(), bytes), Ok(length), "{schema}");
        }
    }

    #[test]
    fn what_is_claimed_is_there() {
        for (schema, bytes) in [
            (json!("string"), &[4, b'a'][..]),
            (json!("string"), &[1]),
            (json!("long"), &[0x80]),
            (json!("long"), &[0xff; 12]),
            (json!(["null"]), &[2]),
            (json!({"type": "array", "items": "int"}), &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0]),
            (json!({"type": "array", "items": "int"}), &[2, 1]),
            (
                json!({"type": "array", "items": "int"}),
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0],
            ),
        ] {
            assert!(taken(schema.clone(), bytes).is_err(), "{schema} {bytes:?}");
        }
    }

    #[test]
    fn items_take_bytes() {
        let list = |items: Json| shape(json!({"type": "array", "items": items})).is_ok();
        let record = |kind: Json| json!({"type": "record", "name": "r", "fields": [{"name": "a", "type": kind}]});
        for fine in [
            json!("int"),
            json!(["null", "int"]),
            json!({"type": "fixed", "name": "f", "size": 2}),
            record(json!("long")),
            json!({"type": "array", "items": "int"}),
        ] {
            assert!(list(fine.clone()), "{fine}");
        }
        for empty in [
            json!("null"),
            json!({"type": "fixed", "name": "f", "size": 0}),
            json!({"type": "record", "name": "r", "fields": []}),
            json!({"type": "map", "values": "null"}),
            record(json!({"type": "null"})),
        ] {
            assert!(!list(empty.clone()), "{empty}");
        }
        for none in [json!("named"), json!(7), record(json!("r")), json!({"type": "fixed", "name": "f"}), json!({})] {
            assert!(shape(none.clone()).is_err(), "{none}");
        }
        assert!(Shape::of(&format!("{}1{}", "[".repeat(100), "]".repeat(100))).is_err(), "nested too deeply");
    }
}
