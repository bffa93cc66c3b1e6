//! `?partition_by=` and `?sort_by=`: how a table that ingest creates is laid out (CONTRACT §6).
//!
//! Both are lists separated by commas, in Iceberg's words: `day(time),carrier,bucket(16,id)` and `time desc nulls
//! last,id`. A name with odd characters stands in double quotes; dots lead into structs.

use crate::catalog::metadata::schema::Schema;
use crate::catalog::metadata::spec::{
    Direction, NullOrder, PartitionField, PartitionSpec, SortField, SortOrder, Source, Transform,
};
use crate::error::{Error, Result};

/// One term: a transform of a column, and the words after it.
struct Term {
    transform: Transform,
    column: String,
    words: Vec<String>,
}

/// The partition spec that the text asks for.
pub(super) fn partition_by(text: &str, schema: &Schema) -> Result<PartitionSpec> {
    let mut spec = PartitionSpec::default();
    for term in terms("partition_by", text)? {
        if let Some(word) = term.words.first() {
            return Err(bad("partition_by", text, &format!("{word:?} follows a column")));
        }
        let id = column_id("partition_by", &term.column, schema)?;
        let name = match &term.transform {
            Transform::Identity => term.column.clone(),
            Transform::Bucket(_) => format!("{}_bucket", term.column),
            Transform::Truncate(_) => format!("{}_trunc", term.column),
            other => format!("{}_{other}", term.column),
        };
        spec.fields.push(PartitionField {
            source: Source::One(id),
            field_id: None,
            name,
            transform: term.transform,
            extra: Default::default(),
        });
    }
    Ok(spec)
}

/// The sort order that the text asks for.
pub(super) fn sort_by(text: &str, schema: &Schema) -> Result<SortOrder> {
    let mut order = SortOrder { order_id: 1, ..SortOrder::default() };
    for term in terms("sort_by", text)? {
        let words: Vec<String> = term.words.iter().map(|word| word.to_ascii_lowercase()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (direction, rest) = match words.split_first() {
            Some((&"asc", rest)) => (Direction::Ascending, rest),
            Some((&"desc", rest)) => (Direction::Descending, rest),
            _ => (Direction::Ascending, words.as_slice()),
        };
        let nulls = match rest {
            [] if direction == Direction::Ascending => NullOrder::First,
            [] => NullOrder::Last,
            ["nulls", "first"] => NullOrder::First,
            ["nulls", "last"] => NullOrder::Last,
            _ => return Err(bad("sort_by", text, "after a column come asc or desc, then nulls first or nulls last")),
        };
        let source = Source::One(column_id("sort_by", &term.column, schema)?);
        order.fields.push(SortField { source, transform: term.transform, direction, nulls, extra: Default::default() });
    }
    Ok(order)
}

fn column_id(what: &str, column: &str, schema: &Schema) -> Result<i32> {
    let found = schema.walk().into_iter().find(|(name, _)| name == column).map(|(_, place)| place.field.id);
    found.ok_or_else(|| {
        Error::illegal(format!("{what} names column {column:?}, which the rows do not have"))
            .with_code("unknown_column")
    })
}

fn bad(what: &str, text: &str, why: &str) -> Error {
    Error::illegal(format!("{what} {text:?} cannot be understood: {why}")).with_code("bad_layout")
}

fn terms(what: &str, text: &str) -> Result<Vec<Term>> {
    let mut scanner = Scanner { what, text, rest: text };
    let mut terms = Vec::new();
    loop {
        terms.push(scanner.term()?);
        match scanner.next_sign() {
            None => return Ok(terms),
            Some(',') => {}
            Some(other) => return Err(bad(what, text, &format!("{other:?} is not expected"))),
        }
    }
}

struct Scanner<'a> {
    what: &'a str,
    text: &'a str,
    rest: &'a str,
}

impl Scanner<'_> {
    fn fault(&self, why: &str) -> Error {
        bad(self.what, self.text, why)
    }

    /// Takes the next sign that is not white space.
    fn next_sign(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        let sign = self.rest.chars().next()?;
        self.rest = &self.rest[sign.len_utf8()..];
        Some(sign)
    }

    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn term(&mut self) -> Result<Term> {
        let (name, quoted) = self.name()?;
        let (transform, column) = if self.peek() == Some('(') && !quoted {
            self.next_sign();
            self.arguments(&name)?
        } else {
            (Transform::Identity, name)
        };
        let mut words = Vec::new();
        while self.peek().is_some_and(char::is_alphabetic) {
            words.push(self.name()?.0);
        }
        Ok(Term { transform, column, words })
    }

    /// What stands in a transform's parentheses.
    fn arguments(&mut self, function: &str) -> Result<(Transform, String)> {
        let mut arguments = Vec::new();
        loop {
            arguments.push(self.name()?.0);
            match self.next_sign() {
                Some(',') => {}
                Some(')') => break,
                _ => return Err(self.fault("a closing parenthesis is missing")),
            }
        }
        let name = function.to_ascii_lowercase();
        let text = match (name.as_str(), arguments.as_slice()) {
            ("bucket" | "truncate", [width, _]) => format!("{name}[{width}]"),
            ("year" | "month" | "day" | "hour" | "identity" | "void", [_]) => name,
            ("years" | "months" | "days" | "hours", [_]) => name.trim_end_matches('s').to_owned(),
            _ => return Err(self.fault(&format!("there is no transform {function} of {} arguments", arguments.len()))),
        };
        match Transform::parse(&text) {
            Transform::Other(_) => Err(self.fault(&format!("{text} is not a transform"))),
            transform => Ok((transform, arguments.pop().unwrap_or_default())),
        }
    }

    /// A name, its dotted parts put together, and whether any part was quoted.
    fn name(&mut self) -> Result<(String, bool)> {
        let mut whole = String::new();
        let mut quoted = false;
        loop {
            if self.peek() == Some('"') {
                quoted = true;
                self.next_sign();
                let end = self.rest.find('"').ok_or_else(|| self.fault("a closing quote is missing"))?;
                whole.push_str(&self.rest[..end]);
                self.rest = &self.rest[end + 1..];
            } else {
                let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
                let end = self.rest.find(|c| !plain(c)).unwrap_or(self.rest.len());
                if end == 0 {
                    return Err(self.fault("a column is expected"));
                }
                whole.push_str(&self.rest[..end]);
                self.rest = &self.rest[end..];
            }
            if !self.rest.starts_with('.') {
                return Ok((whole, quoted));
            }
            self.rest = &self.rest[1..];
            whole.push('.');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::metadata::schema::Field;
    use crate::catalog::metadata::types::{Primitive, Type};

    fn schema() -> Schema {
        let long = |id, name: &str| Field::optional(id, name, Type::Primitive(Primitive::Long));
        let inner = Field::optional(4, "a", Type::Struct(vec![long(5, "b")]));
        let fields = vec![long(1, "time"), long(2, "id"), long(3, "odd name, (x)"), inner];
        Schema { schema_id: 0, fields, identifier_field_ids: Vec::new(), extra: Default::default() }
    }

    #[test]
    fn partitions_are_named_as_java_names_them() {
        let text = "day(time), bucket(16, id),truncate(4,\"odd name, (x)\"),a.b, hours(time)";
        let spec = partition_by(text, &schema()).expect("valid");
        let made: Vec<_> =
            spec.fields.iter().map(|f| (f.name.as_str(), f.transform.to_string(), f.source.ids()[0])).collect();
        let wanted = [
            ("time_day", "day", 1),
            ("id_bucket", "bucket[16]", 2),
            ("odd name, (x)_trunc", "truncate[4]", 3),
            ("a.b", "identity", 5),
            ("time_hour", "hour", 1),
        ];
        assert_eq!(made, wanted.map(|(name, transform, id)| (name, transform.to_owned(), id)));
    }

    #[test]
    fn orders_have_directions_and_places_for_nulls() {
        let order = sort_by("time desc nulls last, id, bucket(2,id) asc nulls last", &schema()).expect("valid");
        let made: Vec<_> = order.fields.iter().map(|f| (f.source.ids()[0], f.direction, f.nulls)).collect();
        let wanted = [
            (1, Direction::Descending, NullOrder::Last),
            (2, Direction::Ascending, NullOrder::First),
            (2, Direction::Ascending, NullOrder::Last),
        ];
        assert_eq!(made, wanted);
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for text in [
            "",
            "day(",
            "day(time",
            "day()",
            "moon(time)",
            "bucket(id)",
            "bucket(x,id)",
            "nope",
            "time,",
            "time;id",
            "time desc",
            "\"time",
        ] {
            assert!(partition_by(text, &schema()).is_err(), "{text:?}");
        }
        for text in ["time down", "time nulls", "time desc nulls middle", "time nulls first desc"] {
            assert!(sort_by(text, &schema()).is_err(), "{text:?}");
        }
    }
}
