//! Which schema may follow another over the same files ("Schema Evolution" of the format's specification).
//!
//! Files are read by field ids. So a field keeps its place and its meaning: its type may only widen, it may become
//! optional and not required, and a new required field needs a value for the rows that are there. What an engine checks
//! before it commits is checked again here, because not every client is an engine.

use std::collections::HashMap;
use std::sync::Arc;

use super::schema::{Field, Schema};
use super::single_value;
use super::spec::{PartitionSpec, Transform};
use super::types::{Primitive, Type};
use crate::error::{Error, Result};

/// A field, and the id of the one it is in.
type Placed<'a> = (&'a Field, Option<i32>);

/// What of a table decides which types may widen.
#[derive(Debug, Clone, Copy)]
pub(in crate::catalog) struct Rules<'a> {
    /// The table's format version.
    pub(in crate::catalog) version: u8,
    /// Its partition specs: values in them are not made again.
    pub(in crate::catalog) specs: &'a [Arc<PartitionSpec>],
}

/// Checks that files written with `before` can be read with `after`.
pub(in crate::catalog) fn check(before: &Schema, after: &Schema, rules: Rules<'_>) -> Result<()> {
    let (old, new) = (placed(before), placed(after));
    let names: HashMap<i32, String> = after.walk().into_iter().map(|(name, place)| (place.field.id, name)).collect();
    let mut problems = Vec::new();
    for (id, (field, parent)) in &new {
        let problem = match old.get(id) {
            Some((was, parent_was)) if parent_was == parent => rules.changed(was, field),
            Some(_) => Some("it cannot be moved into or out of a struct".to_owned()),
            // A struct that is new has no rows of its own to fill.
            None if parent.is_some_and(|parent| !old.contains_key(&parent)) => None,
            None if field.required && field.initial_default.is_none() => {
                Some("a new required column needs an initial-default for the rows that are there".to_owned())
            }
            None => None,
        };
        if let (Some(problem), Some(name)) = (problem, names.get(id)) {
            problems.push(format!("- {name} (id {id}): {problem}"));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort();
    Err(Error::invalid(format!("Cannot change the schema of a table that has rows:\n{}", problems.join("\n"))))
}

fn placed(schema: &Schema) -> HashMap<i32, Placed<'_>> {
    fn add<'a>(fields: Vec<&'a Field>, parent: Option<i32>, all: &mut HashMap<i32, Placed<'a>>) {
        for field in fields {
            all.insert(field.id, (field, parent));
            add(field.kind.children(), Some(field.id), all);
        }
    }
    let mut all = HashMap::new();
    add(schema.fields.iter().collect(), None, &mut all);
    all
}

/// Whether rows that lack the column go on having the same value; clients write the same value in several ways.
fn same_default(was: &Field, is: &Field) -> bool {
    let value = |of: &Field| {
        let json: serde_json::Value = serde_json::from_str(of.initial_default.as_ref()?.0.get()).ok()?;
        let read = of.kind.primitive().and_then(|kind| single_value::from_json(kind, &json)).map(|(value, _)| value);
        (!json.is_null()).then_some((read.is_none().then_some(json), read))
    };
    value(was) == value(is)
}

impl Rules<'_> {
    fn changed(self, was: &Field, is: &Field) -> Option<String> {
        if is.required && !was.required {
            return Some("an optional column cannot become required".to_owned());
        }
        if !same_default(was, is) {
            return Some("its initial-default cannot change: rows that lack the column have it".to_owned());
        }
        let fits = match (&was.kind, &is.kind) {
            (Type::Primitive(before), Type::Primitive(after)) => before == after || self.widens(was.id, before, after),
            (Type::Struct(_), Type::Struct(_)) | (Type::List(_), Type::List(_)) => true,
            (Type::Map(was, _), Type::Map(is, _)) => was.kind == is.kind,
            _ => false,
        };
        (!fits).then(|| format!("its type cannot change from {} to {}", was.kind, is.kind))
    }

    /// Whether values of the one type can be read as the other.
    fn widens(self, id: i32, from: &Primitive, to: &Primitive) -> bool {
        use Primitive as P;
        match (from, to) {
            (P::Int, P::Long) | (P::Float, P::Double) | (P::Unknown, _) => true,
            (P::Date, P::Timestamp | P::TimestampNs) => self.version >= 3 && self.keeps_partitions(id),
            (P::Decimal { precision, scale }, P::Decimal { precision: wider, scale: same }) => {
                scale == same && precision <= wider
            }
            // What is not known here may be anything.
            (P::Other(_), _) | (_, P::Other(_)) => true,
            _ => false,
        }
    }

    /// Whether the partition values made from a date are those of its timestamp.
    fn keeps_partitions(self, id: i32) -> bool {
        use Transform as T;
        let mut fields =
            self.specs.iter().flat_map(|spec| &spec.fields).filter(|field| field.source.ids().contains(&id));
        fields.all(|field| matches!(field.transform, T::Year | T::Month | T::Day | T::Void))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;

    const V3: Rules<'_> = Rules { version: 3, specs: &[] };

    fn schema(fields: Value) -> Schema {
        let raw = to_raw_value(&json!({"type": "struct", "fields": fields})).expect("JSON");
        Schema::parse(&raw).expect("a schema")
    }

    fn field(id: i32, required: bool, kind: impl Into<Value>) -> Value {
        json!({"id": id, "name": format!("c{id}"), "required": required, "type": kind.into()})
    }

    fn with_required(field: &Value, required: bool) -> Value {
        let mut field = field.clone();
        field["required"] = required.into();
        field
    }

    #[test]
    fn types_only_widen() {
        let may = |from: Value, to: Value| {
            check(&schema(json!([field(1, false, from)])), &schema(json!([field(1, false, to)])), V3).is_ok()
        };
        for (from, to) in [
            ("int", "long"),
            ("float", "double"),
            ("decimal(9,2)", "decimal(18,2)"),
            ("date", "timestamp"),
            ("date", "timestamp_ns"),
            ("unknown", "string"),
            ("string", "string"),
        ] {
            assert!(may(from.into(), to.into()), "{from} to {to}");
        }
        for (from, to) in [
            ("long", "int"),
            ("int", "string"),
            ("decimal(9,2)", "decimal(9,3)"),
            ("decimal(9,2)", "decimal(8,2)"),
            ("date", "timestamptz"),
            ("string", "binary"),
            ("timestamp", "timestamptz"),
            ("fixed[2]", "fixed[3]"),
        ] {
            assert!(!may(from.into(), to.into()), "{from} to {to}");
        }
        let list = |kind: &str| json!({"type": "list", "element-id": 2, "element": kind, "element-required": false});
        assert!(may(list("int"), list("long")) && !may(list("long"), list("int")) && !may(list("int"), "int".into()));
        let map = |key: &str| json!({"type": "map", "key-id": 2, "key": key, "value-id": 3, "value": "int", "value-required": false});
        assert!(may(map("int"), map("int")) && !may(map("int"), map("long")));
    }

    #[test]
    fn dates_widen_where_their_partitions_stay() {
        let dates = |rules: Rules<'_>| {
            let of = |kind: &str| schema(json!([field(1, false, kind)]));
            check(&of("date"), &of("timestamp"), rules).is_ok()
        };
        let by = |transform: &str| {
            let raw = to_raw_value(&json!({"fields": [{"source-id": 1, "name": "p", "transform": transform}]}));
            [Arc::new(PartitionSpec::parse(&raw.expect("JSON")).expect("a spec"))]
        };
        assert!(dates(V3) && !dates(Rules { version: 2, ..V3 }));
        assert!(dates(Rules { specs: &by("month"), ..V3 }) && !dates(Rules { specs: &by("bucket[4]"), ..V3 }));
    }

    #[test]
    fn rows_that_are_there_keep_a_value() {
        let before = schema(json!([field(1, false, "int")]));
        let after = |fields: Value| check(&before, &schema(fields), V3);
        let refused = |fields: Value, part: &str| {
            let error = after(fields).expect_err("refused");
            assert!(error.message().contains(part), "{error}");
        };
        refused(json!([field(1, true, "int")]), "c1 (id 1): an optional column cannot become required");
        refused(json!([field(2, true, "int")]), "c2 (id 2): a new required column needs");
        let mut filled = field(2, true, "int");
        filled["initial-default"] = json!(0);
        assert!(
            after(json!([filled])).is_ok()
                && after(json!([])).is_ok()
                && after(json!([field(2, false, "int")])).is_ok()
        );
        let inner = json!({"type": "struct", "fields": [field(3, true, "int")]});
        assert!(after(json!([field(1, false, "int"), field(2, false, inner.clone())])).is_ok());
        refused(json!([field(2, false, json!({"type": "struct", "fields": [field(1, false, "int")]}))]), "moved");
        let mut other = filled.clone();
        other["initial-default"] = json!(1);
        let error =
            check(&schema(json!([field(2, false, "int")])), &schema(json!([with_required(&filled, false)])), V3);
        assert!(error.expect_err("refused").message().contains("initial-default cannot change"));
        let hex = |text: &str| {
            schema(json!([{"id": 1, "name": "a", "required": false, "type": "binary", "initial-default": text}]))
        };
        assert!(check(&hex("ff"), &hex("FF"), V3).is_ok() && check(&hex("ff"), &hex("fe"), V3).is_err());
        let error = check(&schema(json!([filled])), &schema(json!([other])), V3).expect_err("refused");
        assert!(error.message().contains("initial-default cannot change"), "{error}");
    }
}
