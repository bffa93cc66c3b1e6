//! Columns of values that their table takes only as a request allows: spelled out, and read as texts are, so that what is
//! lenient, rounded or counted is so alike in all formats.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::coerce::Misfit;
use super::columns::Node;
use super::convert::Converted;
use super::json::lexer::Kind;
use super::manner::{Leniency, Manner, Rounding};
use super::scalar::{push_leniently, push_number, push_text};
use super::values::Values;
use crate::catalog::metadata::schema::Field;
use crate::error::{Error, Result};

impl Manner {
    /// Whether values are taken that are not taken without a word.
    pub(super) fn takes_more(self) -> bool {
        self.leniency == Leniency::Lenient || self.rounding != Rounding::Never || self.counts.is_some()
    }
}

/// What a value of this type is when it is spelled out; `None` where that means nothing.
fn kind_of(kind: &DataType) -> Option<Kind> {
    match kind {
        DataType::Utf8 => Some(Kind::String),
        DataType::Boolean => Some(Kind::True),
        kind if kind.is_numeric() => Some(Kind::Number),
        kind if kind.is_temporal() => Some(Kind::String),
        _ => None,
    }
}

/// The values of a column as another one takes them; `None` where they mean nothing when spelled out.
pub(super) fn convert(values: &ArrayRef, to: &Field, manner: Manner) -> Result<Option<Converted>> {
    let Some(kind) = kind_of(values.data_type()) else { return Ok(None) };
    let failed = |error| Error::internal("Values cannot be spelled out").because(error);
    let options = FormatOptions::new().with_timestamp_format(None);
    let texts = ArrayFormatter::try_new(values, &options).map_err(failed)?;
    let mut column = Node::new(to)?;
    let mut misfits = Vec::new();
    for at in 0..values.len() {
        if values.is_null(at) {
            column.push_null();
            continue;
        }
        if let Err(misfit) = push(&mut column.values, kind, &texts.value(at).to_string(), manner) {
            column.push_null();
            misfits.push((at, misfit));
        }
    }
    Ok(Some(Converted { values: column.finish(values.len())?, misfits }))
}

fn push(column: &mut Values, kind: Kind, text: &str, manner: Manner) -> Result<(), Misfit> {
    let strict = match (kind, &mut *column) {
        (Kind::True, Values::Boolean(builder)) => {
            builder.append_value(text == "true");
            return Ok(());
        }
        (Kind::Number, _) => push_number(column, text, manner),
        _ => push_text(column, text, manner),
    };
    match strict {
        Err(misfit) if manner.leniency == Leniency::Lenient => {
            push_leniently(column, kind, text, manner).map_err(|()| misfit)
        }
        strict => strict,
    }
}
