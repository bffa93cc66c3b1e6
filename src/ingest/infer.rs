//! The schema of a table that is created from its first body (CONTRACT §6).
//!
//! Every row is looked at. A column's type is what all its values agree on: whole numbers are long, with fractions among
//! them double if each is exact there; RFC 3339 texts are timestamps, with a zone timestamptz; objects are structs and
//! lists lists, merged member by member. Values that do not agree are refused by column and the first two rows. All
//! columns are optional. What is always null or empty is not yet a column.

use indexmap::IndexMap;

use super::coerce::{self, Look, Misfit};
use super::lexer::{Kind, Lexer, Syntax};
use super::rows::{Bounds, each_row};
use super::verdict::{Path, Row, Verdicts};
use crate::catalog::metadata::schema::{Field, Schema};
use crate::catalog::metadata::types::{Primitive, Type};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::limits;

/// What is known of a column so far, and the row that said so first.
#[derive(Debug, Clone)]
struct Guess {
    shape: Shape,
    row: usize,
}

#[derive(Debug, Clone)]
enum Shape {
    Nothing,
    Boolean,
    /// Whole numbers; whether each is exact as a double.
    Long {
        exact: bool,
    },
    Double,
    Text(Look),
    Struct(IndexMap<String, Guess>),
    List(Box<Guess>),
}

impl Shape {
    fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "null",
            Self::Boolean => "boolean",
            Self::Long { .. } => "long",
            Self::Double => "double",
            Self::Text(Look::Timestamptz) => "timestamptz",
            Self::Text(Look::Timestamp) => "timestamp",
            Self::Text(Look::Date) => "date",
            Self::Text(Look::Text) => "string",
            Self::Struct(_) => "struct",
            Self::List(_) => "list",
        }
    }
}

/// The schema that every row of the body fits, or what is wrong with the rows.
pub(super) fn infer(text: &str, bounds: Bounds) -> Result<std::result::Result<Schema, (usize, Verdicts)>> {
    let mut rows = 0;
    let mut verdicts = Verdicts::default();
    let mut all = Guess { shape: Shape::Struct(IndexMap::new()), row: 0 };
    each_row(text, bounds, |lexer, row| {
        rows += 1;
        let before = verdicts.total;
        let kind = lexer.kind()?;
        if kind == Kind::Object {
            let mut look = Looker { row, verdicts: &mut verdicts };
            look.value(lexer, &mut all, &Path::Root, 0)?;
        } else {
            verdicts.add(
                row,
                &Path::Root,
                Misfit::new("wrong_type", format!("a row is an object, not {}", kind.word())),
            );
            lexer.skip(1)?;
        }
        verdicts.bad_rows += usize::from(verdicts.total > before);
        Ok(())
    })?;
    if !verdicts.is_empty() {
        return Ok(Err((rows, verdicts)));
    }
    let mut next = 0;
    let fields = match settle(&all.shape, &mut next)? {
        Some(Type::Struct(fields)) => fields,
        _ => Vec::new(),
    };
    if fields.is_empty() {
        return Err(Error::new(ErrorKind::Unprocessable, "The first rows of a new table name no column with a value")
            .with_code("no_columns"));
    }
    if usize::try_from(next).unwrap_or(usize::MAX) > limits::INFERRED_COLUMNS_MAX {
        let max = limits::INFERRED_COLUMNS_MAX;
        return Err(Error::new(
            ErrorKind::Unprocessable,
            format!("The rows name {next} columns: at most {max} are made"),
        )
        .with_code("too_many_columns"));
    }
    Ok(Ok(Schema { schema_id: 0, fields, identifier_field_ids: Vec::new(), extra: Default::default() }))
}

struct Looker<'a, 'v> {
    row: Row<'a>,
    verdicts: &'v mut Verdicts,
}

impl<'a> Looker<'a, '_> {
    fn value(
        &mut self,
        lexer: &mut Lexer<'a>,
        guess: &mut Guess,
        path: &Path<'_>,
        depth: usize,
    ) -> std::result::Result<(), Syntax> {
        let kind = lexer.kind()?;
        let shape = match kind {
            Kind::Null => {
                lexer.word(kind)?;
                return Ok(());
            }
            Kind::True | Kind::False => {
                lexer.word(kind)?;
                Shape::Boolean
            }
            Kind::Number => match self.number(lexer.number()?, path) {
                Some(shape) => shape,
                None => return Ok(()),
            },
            Kind::String => Shape::Text(coerce::look(&lexer.string()?)),
            Kind::Object => return self.object(lexer, guess, path, depth),
            Kind::Array => return self.list(lexer, guess, path, depth),
        };
        self.merge(guess, shape, path);
        Ok(())
    }

    fn number(&mut self, text: &str, path: &Path<'_>) -> Option<Shape> {
        if text.contains(['.', 'e', 'E']) {
            return Some(Shape::Double);
        }
        match coerce::integer(text, i64::MIN, i64::MAX, "long") {
            Ok(_) => Some(Shape::Long { exact: coerce::double(text).is_ok() }),
            Err(misfit) => {
                self.verdicts.add(self.row, path, misfit);
                None
            }
        }
    }

    fn object(
        &mut self,
        lexer: &mut Lexer<'a>,
        guess: &mut Guess,
        path: &Path<'_>,
        depth: usize,
    ) -> std::result::Result<(), Syntax> {
        if !matches!(guess.shape, Shape::Struct(_)) {
            self.merge(guess, Shape::Struct(IndexMap::new()), path);
        }
        let Shape::Struct(members) = &mut guess.shape else { return lexer.skip(depth).map(drop) };
        let mut seen = std::collections::HashSet::new();
        lexer.members(depth, |lexer, key| {
            let path = Path::Field(path, &key);
            if !seen.insert(key.to_string()) {
                self.verdicts.add(
                    self.row,
                    &path,
                    Misfit::new("duplicate_key", "the field stands twice in one object"),
                );
                return lexer.skip(depth + 1).map(drop);
            }
            if !members.contains_key(&*key) {
                let twin = members.keys().find(|known| known.to_lowercase() == key.to_lowercase());
                if let Some(twin) = twin {
                    let detail = format!("{:?} and {twin:?} differ in case only", &*key);
                    self.verdicts.add(self.row, &path, Misfit::new("ambiguous_name", detail));
                    return lexer.skip(depth + 1).map(drop);
                }
                members.insert(key.to_string(), Guess { shape: Shape::Nothing, row: self.row.index });
            }
            match members.get_mut(&*key) {
                Some(member) => self.value(lexer, member, &path, depth + 1),
                None => Ok(()),
            }
        })
    }

    fn list(
        &mut self,
        lexer: &mut Lexer<'a>,
        guess: &mut Guess,
        path: &Path<'_>,
        depth: usize,
    ) -> std::result::Result<(), Syntax> {
        if !matches!(guess.shape, Shape::List(_)) {
            let nothing = Guess { shape: Shape::Nothing, row: self.row.index };
            self.merge(guess, Shape::List(Box::new(nothing)), path);
        }
        let Shape::List(element) = &mut guess.shape else { return lexer.skip(depth).map(drop) };
        let mut index = 0;
        lexer.items(depth, |lexer| {
            let path = Path::Item(path, index);
            index += 1;
            self.value(lexer, element, &path, depth + 1)
        })
    }

    /// What both shapes agree on; a mix is an error of this row, and the first shape stays.
    fn merge(&mut self, guess: &mut Guess, new: Shape, path: &Path<'_>) {
        let merged = match (&guess.shape, &new) {
            (Shape::Nothing, _) => {
                guess.row = self.row.index;
                Some(new.clone())
            }
            (Shape::Boolean, Shape::Boolean) | (Shape::Double, Shape::Double) => return,
            (Shape::Double, Shape::Long { exact: true }) => return,
            (Shape::Long { exact: true }, Shape::Double) => Some(Shape::Double),
            (Shape::Long { exact: a }, Shape::Long { exact: b }) => Some(Shape::Long { exact: *a && *b }),
            (Shape::Text(a), Shape::Text(b)) if a == b => return,
            _ => None,
        };
        match merged {
            Some(shape) => guess.shape = shape,
            None => {
                let (was, first, is, second) = (guess.shape.word(), guess.row, new.word(), self.row.index);
                let detail = format!("the column is {was} in row {first} and {is} in row {second}");
                self.verdicts.add(self.row, path, Misfit::new("mixed_types", detail));
            }
        }
    }
}

/// The type of a shape; `None` where nothing is known yet. Ids are handed out as they come: the catalog gives fresh ones.
fn settle(shape: &Shape, next: &mut i32) -> Result<Option<Type>> {
    let primitive = |primitive| Ok(Some(Type::Primitive(primitive)));
    match shape {
        Shape::Nothing => Ok(None),
        Shape::Boolean => primitive(Primitive::Boolean),
        Shape::Long { .. } => primitive(Primitive::Long),
        Shape::Double => primitive(Primitive::Double),
        Shape::Text(Look::Timestamptz) => primitive(Primitive::Timestamptz),
        Shape::Text(Look::Timestamp) => primitive(Primitive::Timestamp),
        Shape::Text(Look::Date) => primitive(Primitive::Date),
        Shape::Text(Look::Text) => primitive(Primitive::String),
        Shape::List(element) => {
            let Some(kind) = settle(&element.shape, next)? else { return Ok(None) };
            *next += 1;
            Ok(Some(Type::List(Box::new(Field::optional(*next, "element", kind)))))
        }
        Shape::Struct(members) => {
            let mut fields = Vec::with_capacity(members.len());
            for (name, guess) in members {
                if let Some(kind) = settle(&guess.shape, next)? {
                    *next += 1;
                    fields.push(Field::optional(*next, name, kind));
                }
            }
            Ok((!fields.is_empty()).then_some(Type::Struct(fields)))
        }
    }
}
