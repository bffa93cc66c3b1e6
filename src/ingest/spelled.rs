//! Columns of values that their table takes only as a request allows: spelled out, and read as texts are, so that what is
//! lenient, rounded or counted is so alike in all formats.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::coerce::{self, Misfit};
use super::columns::Node;
use super::convert::Converted;
use super::json::lexer::Kind;
use super::manner::{Leniency, Manner, Rounding};
use super::scalar::{or_leniently, push_number, push_text, wrong_type};
use super::values::Values;
use crate::catalog::metadata::schema::Field;
use crate::catalog::metadata::types::Primitive;
use crate::error::{Error, Result};

impl Manner {
    /// Whether a column of this type takes values that it does not take without a word.
    pub(super) fn takes_more(self, kind: &Primitive) -> bool {
        use Primitive as P;
        let counted = matches!(kind, P::Timestamp | P::Timestamptz | P::TimestampNs | P::TimestamptzNs);
        let rounded = matches!(kind, P::Decimal { .. });
        self.leniency == Leniency::Lenient
            || self.rounding != Rounding::Never && rounded
            || self.counts.is_some() && counted
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
    let is_text = *values.data_type() == DataType::Utf8;
    let failed = |error| Error::internal("Values cannot be spelled out").because(error);
    let options = FormatOptions::new().with_display_error(false);
    let texts = ArrayFormatter::try_new(values, &options).map_err(failed)?;
    let mut column = Node::new(to)?;
    let mut misfits = Vec::new();
    for at in 0..values.len() {
        if values.is_null(at) {
            column.push_null();
            continue;
        }
        let mut text = String::new();
        let spelled = texts.value(at).write(&mut text);
        let unspelled = |_| Misfit::new("wrong_type", "the value cannot be spelled out");
        let pushed = spelled.map_err(unspelled).and_then(|()| push(&mut column.values, (kind, is_text), &text, manner));
        if let Err(misfit) = pushed {
            column.push_null();
            misfits.push((at, misfit));
        }
    }
    Ok(Some(Converted { values: column.finish(values.len())?, misfits }))
}

fn push(column: &mut Values, (kind, is_text): (Kind, bool), text: &str, manner: Manner) -> Result<(), Misfit> {
    let strict = match (kind, &mut *column) {
        (Kind::True, Values::Boolean(builder)) => {
            builder.append_value(text == "true");
            return Ok(());
        }
        (Kind::Number, _) if coerce::is_number(text) => push_number(column, text, manner),
        (Kind::String, _) if is_text || manner.leniency == Leniency::Lenient => push_text(column, text, manner),
        _ => Err(wrong_type(column, kind)),
    };
    or_leniently(strict, column, (kind, text), manner)
}
