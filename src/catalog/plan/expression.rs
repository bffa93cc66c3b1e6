//! Filters as clients send them, in both grammars of the REST specification, and as they are sent back.
//!
//! The older grammar (`term`, `value`) is what every client reads, so that is what is written. What has the form of an
//! expression and is not known here is kept as it came ([`Expression::Foreign`]); what has no such form is an error.

use serde_json::{Map, Value as Json, json};

use crate::catalog::metadata::spec::Transform;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// A filter, not yet bound to columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    /// Every row, or none.
    Constant(bool),
    /// Rows that match all of these.
    All(Vec<Self>),
    /// Rows that match any of these.
    Any(Vec<Self>),
    /// Rows that do not match.
    Not(Box<Self>),
    /// A test of one column.
    Test(Test),
    /// Something that is not known here.
    Foreign(Json),
}

/// A test of one column against literals.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Test {
    /// What is tested.
    pub(super) operation: Operation,
    /// The column.
    pub(super) column: Reference,
    /// What is applied to it first.
    pub(super) transform: Option<Transform>,
    /// What it is compared with: none, one or, for sets, any number.
    pub(super) literals: Vec<Json>,
}

/// How a filter names a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reference {
    /// By its full name.
    Name(String),
    /// By its id.
    Id(i32),
}

/// The tests there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    IsNull,
    NotNull,
    IsNan,
    NotNan,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    StartsWith,
    NotStartsWith,
    In,
    NotIn,
}

use Operation as O;

const OPERATIONS: [(&str, Operation); 14] = [
    ("is-null", O::IsNull),
    ("not-null", O::NotNull),
    ("is-nan", O::IsNan),
    ("not-nan", O::NotNan),
    ("lt", O::Less),
    ("lt-eq", O::LessOrEqual),
    ("gt", O::Greater),
    ("gt-eq", O::GreaterOrEqual),
    ("eq", O::Equal),
    ("not-eq", O::NotEqual),
    ("starts-with", O::StartsWith),
    ("not-starts-with", O::NotStartsWith),
    ("in", O::In),
    ("not-in", O::NotIn),
];

impl Operation {
    fn parse(text: &str) -> Option<Self> {
        OPERATIONS.iter().find(|(name, _)| *name == text).map(|(_, operation)| *operation)
    }

    fn as_str(self) -> &'static str {
        OPERATIONS.iter().find(|(_, operation)| *operation == self).map_or("", |(name, _)| *name)
    }

    /// The test that matches what this one does not.
    pub(super) fn negated(self) -> Self {
        match self {
            O::IsNull => O::NotNull,
            O::NotNull => O::IsNull,
            O::IsNan => O::NotNan,
            O::NotNan => O::IsNan,
            O::Less => O::GreaterOrEqual,
            O::LessOrEqual => O::Greater,
            O::Greater => O::LessOrEqual,
            O::GreaterOrEqual => O::Less,
            O::Equal => O::NotEqual,
            O::NotEqual => O::Equal,
            O::StartsWith => O::NotStartsWith,
            O::NotStartsWith => O::StartsWith,
            O::In => O::NotIn,
            O::NotIn => O::In,
        }
    }

    /// The test with its two sides exchanged, where there is one.
    fn turned(self) -> Option<Self> {
        match self {
            O::Less => Some(O::Greater),
            O::LessOrEqual => Some(O::GreaterOrEqual),
            O::Greater => Some(O::Less),
            O::GreaterOrEqual => Some(O::LessOrEqual),
            O::Equal | O::NotEqual => Some(self),
            _ => None,
        }
    }
}

/// Reads a filter's text.
pub(super) fn parse(text: &str) -> Result<Expression> {
    let (has, most) = (text.len(), limits::FILTER_BYTES_MAX);
    if has > most {
        return Err(Error::new(Kind::TooLarge, format!("The filter has {has} bytes, at most {most} are allowed")));
    }
    if depth(text) > limits::FILTER_DEPTH_MAX {
        let max = limits::FILTER_DEPTH_MAX;
        return Err(Error::malformed(format!("The filter is nested deeper than {max} levels")));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // The depth is known to be bounded; the parser's own bound of 128 is less than real filters have.
    deserializer.disable_recursion_limit();
    let json = serde::Deserialize::deserialize(&mut deserializer)
        .map_err(|error| Error::malformed("The filter is not JSON").because(error))?;
    expression(json)
}

/// How deep brackets are nested in a JSON text.
fn depth(text: &str) -> usize {
    let (mut now, mut most, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

fn expression(json: Json) -> Result<Expression> {
    let mut object = match json {
        Json::Bool(constant) => return Ok(Expression::Constant(constant)),
        Json::Object(object) => object,
        other => return Err(bad(&format!("{} is neither true, false nor an object", short(&other)))),
    };
    let Some(kind) = object.get("type").and_then(Json::as_str).map(str::to_ascii_lowercase) else {
        return Err(bad(&format!("{} has no \"type\"", short(&Json::Object(object)))));
    };
    match kind.as_str() {
        "true" => Ok(Expression::Constant(true)),
        "false" => Ok(Expression::Constant(false)),
        "and" => Ok(Expression::All(both(&mut object, "and", |inner| match inner {
            Expression::All(parts) => Ok(parts),
            other => Err(other),
        })?)),
        "or" => Ok(Expression::Any(both(&mut object, "or", |inner| match inner {
            Expression::Any(parts) => Ok(parts),
            other => Err(other),
        })?)),
        "not" => Ok(Expression::Not(Box::new(expression(need(&mut object, "not", &["child"])?)?))),
        other => match Operation::parse(other) {
            Some(operation) => test(operation, other, object),
            None => Ok(Expression::Foreign(Json::Object(object))),
        },
    }
}

/// Both sides, with chains of the same word made flat.
fn both(
    object: &mut Map<String, Json>,
    kind: &str,
    parts: impl Fn(Expression) -> Result<Vec<Expression>, Expression>,
) -> Result<Vec<Expression>> {
    let mut all = Vec::new();
    for side in ["left", "right"] {
        let inner = expression(need(object, kind, &[side])?)?;
        match parts(inner) {
            Ok(parts) => all.extend(parts),
            Err(other) => all.push(other),
        }
    }
    Ok(all)
}

fn need(object: &mut Map<String, Json>, kind: &str, names: &[&str]) -> Result<Json> {
    let found = names.iter().find_map(|name| object.remove(*name).filter(|value| !value.is_null()));
    found.ok_or_else(|| bad(&format!("{kind:?} lacks {:?}", names[0])))
}

fn test(operation: Operation, kind: &str, mut object: Map<String, Json>) -> Result<Expression> {
    let whole = object.clone();
    let (left, literals) = match operation {
        O::IsNull | O::NotNull | O::IsNan | O::NotNan => (need(&mut object, kind, &["child", "term"])?, Vec::new()),
        O::In | O::NotIn => {
            let operand = need(&mut object, kind, &["child", "term"])?;
            (operand, set(need(&mut object, kind, &["values"])?)?)
        }
        _ => {
            let operand = need(&mut object, kind, &["left", "term"])?;
            // A null is there, and is no literal: PyIceberg writes infinity so.
            let value = object.remove("right").or_else(|| object.remove("value"));
            (operand, vec![value.ok_or_else(|| bad(&format!("{kind:?} lacks \"right\"")))?])
        }
    };
    let foreign = Expression::Foreign(Json::Object(whole));
    if let Some((column, transform)) = term(&left) {
        let literals = literals.iter().map(literal).collect::<Option<Vec<_>>>();
        return Ok(
            literals.map_or(foreign, |literals| Expression::Test(Test { operation, column, transform, literals }))
        );
    }
    // `5 < x` is `x > 5`.
    let turned = operation.turned().zip(literal(&left)).zip(literals.first().and_then(term));
    Ok(turned.map_or(foreign, |((operation, literal), (column, transform))| {
        Expression::Test(Test { operation, column, transform, literals: vec![literal] })
    }))
}

/// A column, or a transform of one.
fn term(json: &Json) -> Option<(Reference, Option<Transform>)> {
    if let Some(name) = json.as_str() {
        return Some((Reference::Name(name.to_owned()), None));
    }
    let text = |name: &str| json.get(name).and_then(Json::as_str);
    match text("type")? {
        "reference" => match json.get("id") {
            Some(id) => Some((Reference::Id(i32::try_from(id.as_i64()?).ok()?), None)),
            None => Some((Reference::Name(text("name").or_else(|| text("term"))?.to_owned()), None)),
        },
        "transform" => {
            let (column, inner) = term(json.get("term")?)?;
            inner.is_none().then_some((column, Some(Transform::parse(text("transform")?))))
        }
        _ => None,
    }
}

/// A literal's bare value.
fn literal(json: &Json) -> Option<Json> {
    match json {
        Json::Object(object) if object.get("type").and_then(Json::as_str) == Some("literal") => {
            object.get("value").filter(|value| !value.is_object() && !value.is_array()).cloned()
        }
        Json::Object(_) | Json::Array(_) | Json::Null => None,
        bare => Some(bare.clone()),
    }
}

fn set(json: Json) -> Result<Vec<Json>> {
    match json {
        Json::Array(literals) => Ok(literals),
        Json::Object(mut object) => match object.remove("values") {
            Some(Json::Array(literals)) => Ok(literals),
            _ => Err(bad("\"values\" has no list of \"values\"")),
        },
        other => Err(bad(&format!("\"values\" is {}, not a list", short(&other)))),
    }
}

fn bad(why: &str) -> Error {
    Error::malformed(format!("The filter cannot be read: {why}"))
}

fn short(json: &Json) -> String {
    let text: String = json.to_string().chars().take(100).collect();
    text
}

impl Test {
    /// Writes the test of a column, which is a name where there is one.
    pub(super) fn to_json(&self, column: &Json) -> Json {
        let term = match &self.transform {
            Some(transform) => json!({"type": "transform", "transform": transform.to_string(), "term": column}),
            None => column.clone(),
        };
        let kind = self.operation.as_str();
        match (self.operation, self.literals.as_slice()) {
            (O::In | O::NotIn, literals) => json!({"type": kind, "term": term, "values": literals}),
            (_, [literal]) => json!({"type": kind, "term": term, "value": literal}),
            _ => json!({"type": kind, "term": term}),
        }
    }
}

/// Joins parts with `and` or `or`, as a balanced tree: readers walk it recursively.
pub(super) fn joined(kind: &str, mut parts: Vec<Json>) -> Json {
    match parts.len() {
        0 => (kind == "and").into(),
        1 => parts.remove(0),
        many => {
            let right = parts.split_off(many / 2);
            json!({"type": kind, "left": joined(kind, parts), "right": joined(kind, right)})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &Json) -> Expression {
        parse(&json.to_string()).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    fn equal(column: Reference, literal: Json) -> Expression {
        Expression::Test(Test { operation: O::Equal, column, transform: None, literals: vec![literal] })
    }

    #[test]
    fn both_grammars_say_the_same() {
        let x = || Reference::Name("x".to_owned());
        for json in [
            json!({"type": "eq", "term": "x", "value": 5}),
            json!({"type": "EQ", "term": {"type": "reference", "term": "x"}, "value": 5}),
            json!({"type": "eq", "left": {"type": "reference", "name": "x"}, "right": 5}),
            json!({"type": "eq", "left": {"type": "reference", "name": "x"},
                "right": {"type": "literal", "value": 5, "data-type": "int"}}),
            json!({"type": "eq", "left": {"type": "literal", "value": 5}, "right": {"type": "reference", "name": "x"}}),
        ] {
            assert_eq!(read(&json), equal(x(), json!(5)), "{json}");
        }
        let id = json!({"type": "eq", "left": {"type": "reference", "id": 7}, "right": 5});
        assert_eq!(read(&id), equal(Reference::Id(7), json!(5)));
        let less = read(&json!({"type": "lt", "left": 5, "right": {"type": "reference", "name": "x"}}));
        assert_eq!(less, read(&json!({"type": "gt", "term": "x", "value": 5})));
        let set = read(&json!({"type": "in", "child": {"type": "reference", "name": "x"},
            "values": {"type": "literals", "values": [1, 2], "data-type": "int"}}));
        assert_eq!(set, read(&json!({"type": "in", "term": "x", "values": [1, {"type": "literal", "value": 2}]})));
        assert_eq!(read(&json!(true)), Expression::Constant(true));
        assert_eq!(read(&json!({"type": "false"})), Expression::Constant(false));
        let null = read(&json!({"type": "is-null", "child": {"type": "reference", "name": "x"}}));
        assert_eq!(null, read(&json!({"type": "is-null", "term": "x"})));
    }

    #[test]
    fn what_is_not_known_is_kept_and_what_has_no_form_is_refused() {
        for json in [
            json!({"type": "st-intersects", "term": "x", "value": "POINT"}),
            json!({"type": "eq", "left": {"type": "apply", "function": "f", "arguments": []}, "right": 5}),
            json!({"type": "eq", "left": {"type": "reference", "name": "x"}, "right": {"type": "reference", "name": "y"}}),
            json!({"type": "eq", "term": "x", "value": null}),
            json!({"type": "starts-with", "left": "a", "right": {"type": "apply", "function": "f", "arguments": []}}),
        ] {
            assert_eq!(read(&json), Expression::Foreign(json.clone()), "{json}");
        }
        for json in [
            json!(5),
            json!("x"),
            json!([]),
            json!({}),
            json!({"type": 5}),
            json!({"type": "eq", "term": "x"}),
            json!({"type": "eq", "term": null, "value": 1}),
            json!({"type": "not"}),
            json!({"type": "and", "left": true}),
            json!({"type": "in", "term": "x", "values": 5}),
        ] {
            assert!(parse(&json.to_string()).is_err(), "{json}");
        }
        assert!(parse("{").is_err() && parse("").is_err());
    }

    #[test]
    fn long_chains_are_flat_and_deep_ones_bounded() {
        let mut text = r#"{"type":"is-null","term":"x"}"#.to_owned();
        for _ in 0..300 {
            text = format!(r#"{{"type":"or","left":{text},"right":{{"type":"eq","term":"x","value":"[{{\""}}}}"#);
        }
        let Expression::Any(parts) = parse(&text).expect("a filter") else { panic!("not flat") };
        assert_eq!(parts.len(), 301);
        for _ in 0..limits::FILTER_DEPTH_MAX {
            text = format!(r#"{{"type":"not","child":{text}}}"#);
        }
        assert!(parse(&text).expect_err("too deep").message().contains("nested deeper"));
        let leaves = (0..1000).map(|number| json!(number)).collect();
        assert!(depth(&joined("or", leaves).to_string()) <= 11);
    }
}
