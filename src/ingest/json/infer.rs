//! The types of fields that a table has no columns for yet, from the values that rows have for them (CONTRACT §6).
//!
//! Every row is looked at. A column's type is what all its values agree on: whole numbers are long, with fractions among
//! them double if each is exact there; RFC 3339 texts are timestamps, with a zone timestamptz; objects are structs and
//! lists lists, merged member by member. Values that do not agree are refused by column and the first two rows. All
//! columns are optional. What is always null or empty is not yet a column.

use indexmap::IndexMap;

use super::lexer::{Kind, Lexer, Syntax};
use crate::catalog::metadata::schema::Field;
use crate::catalog::metadata::types::{Primitive, Type};
use crate::error::Result;
use crate::ingest::coerce::{self, Look, Misfit};
use crate::ingest::manner::{Leniency, Manner};
use crate::ingest::verdict::{Path, Row, Verdicts};

/// What is known of a column so far, and the row that said so first.
#[derive(Debug, Clone)]
pub(in crate::ingest) struct Guess {
    shape: Shape,
    row: usize,
}

impl Guess {
    /// Nothing but the row that named it.
    pub(in crate::ingest) fn nothing(row: usize) -> Self {
        Self { shape: Shape::Nothing, row }
    }

    /// It is a text.
    pub(in crate::ingest) fn text(row: usize) -> Self {
        Self { shape: Shape::Text(Look::Text), row }
    }

    /// Whether enough is known to make a column of it.
    pub(in crate::ingest) fn is_something(&self) -> bool {
        match &self.shape {
            Shape::Nothing => false,
            Shape::List(element) => element.is_something(),
            Shape::Struct(members) => members.values().any(Self::is_something),
            _ => true,
        }
    }
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

/// What becomes of values of one column that do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ingest) enum Mixing {
    /// The later one is refused.
    Refused,
    /// The column is one of texts.
    IsText,
}

impl Mixing {
    /// What a request says of it.
    pub(in crate::ingest) fn of(manner: Manner) -> Self {
        match manner.leniency {
            Leniency::Strict => Self::Refused,
            Leniency::Lenient => Self::IsText,
        }
    }
}

/// Looks at the values of one row.
pub(in crate::ingest) struct Looker<'a, 'v> {
    pub(in crate::ingest) row: Row<'a>,
    pub(in crate::ingest) verdicts: &'v mut Verdicts,
    pub(in crate::ingest) mixing: Mixing,
}

impl<'a> Looker<'a, '_> {
    /// Takes the cell of a format that knows nothing but text, and learns from it.
    pub(in crate::ingest) fn cell(&mut self, text: &str, guess: &mut Guess, path: &Path<'_>) {
        let shape = match text {
            _ if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") => Some(Shape::Boolean),
            _ if coerce::is_number(text) => self.number(text, path),
            _ => Some(Shape::Text(coerce::look(text))),
        };
        if let Some(shape) = shape {
            self.merge(guess, shape, path);
        }
    }

    /// Takes a value and learns from it.
    pub(in crate::ingest) fn value(
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
            Err(_) if self.mixing == Mixing::IsText => Some(Shape::Text(Look::Text)),
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
            None if self.mixing == Mixing::IsText => guess.shape = Shape::Text(Look::Text),
            None => {
                let (was, first, is, second) = (guess.shape.word(), guess.row, new.word(), self.row.index);
                let detail = format!("the column is {was} in row {first} and {is} in row {second}");
                self.verdicts.add(self.row, path, Misfit::new("mixed_types", detail));
            }
        }
    }
}

/// The type of what is known; `None` where nothing is yet. Its fields have no ids: who adds them to a schema gives them.
pub(in crate::ingest) fn settled(guess: &Guess) -> Result<Option<Type>> {
    let primitive = |primitive| Ok(Some(Type::Primitive(primitive)));
    match &guess.shape {
        Shape::Nothing => Ok(None),
        Shape::Boolean => primitive(Primitive::Boolean),
        Shape::Long { .. } => primitive(Primitive::Long),
        Shape::Double => primitive(Primitive::Double),
        Shape::Text(Look::Timestamptz) => primitive(Primitive::Timestamptz),
        Shape::Text(Look::Timestamp) => primitive(Primitive::Timestamp),
        Shape::Text(Look::Date) => primitive(Primitive::Date),
        Shape::Text(Look::Text) => primitive(Primitive::String),
        Shape::List(element) => {
            let element = settled(element)?.map(|kind| Box::new(Field::optional(0, "element", kind)));
            Ok(element.map(Type::List))
        }
        Shape::Struct(members) => {
            let mut fields = Vec::with_capacity(members.len());
            for (name, guess) in members {
                if let Some(kind) = settled(guess)? {
                    fields.push(Field::optional(0, name, kind));
                }
            }
            Ok((!fields.is_empty()).then_some(Type::Struct(fields)))
        }
    }
}
