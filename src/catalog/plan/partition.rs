//! What partition values say of the columns they were made from.
//!
//! A table keeps every spec it ever had, and each file the spec it was written with; a [`Layout`] is one spec with what is
//! needed to judge tests by it. A manifest's summary and a file's tuple are judged alike: the one knows ranges, the other
//! values.

use std::io::Write;

use super::filter::Leaf;
use super::range::{Known, Range, Share, Sought, Values, Verdict};
use super::transform::{applied, known_of, pulled_back, result_type};
use crate::catalog::metadata::TableMetadata;
use crate::catalog::metadata::single_value;
use crate::catalog::metadata::spec::{PartitionField, PartitionSpec, Transform};
use crate::catalog::metadata::types::Primitive;
use crate::snapshot::entries::Entry;
use crate::snapshot::list::FieldSummary;
use crate::snapshot::value::Value;

/// One partition spec, ready to judge by.
#[derive(Debug)]
pub(super) struct Layout {
    /// The spec's number.
    pub(super) spec_id: i32,
    fields: Vec<LayoutField>,
}

#[derive(Debug)]
struct LayoutField {
    id: i32,
    /// The column it is made from; `None` where there are several.
    source: Option<i32>,
    transform: Transform,
    /// The type of its values.
    kind: Primitive,
}

/// The partition of a file.
#[derive(Debug)]
pub(super) struct Tuple<'a> {
    /// A value for each field; the inner `None` is null, the outer one unknown.
    values: Vec<Option<Option<Value<'a>>>>,
}

impl Tuple<'_> {
    /// Whether every value is known, so that what it is written as says all.
    pub(super) fn is_known(&self) -> bool {
        self.values.iter().all(Option::is_some)
    }
}

impl Layout {
    /// A spec of a table.
    pub(super) fn of(spec: &PartitionSpec, metadata: &TableMetadata) -> Self {
        let fields = spec.fields.iter().map(|field| LayoutField::of(field, metadata)).collect();
        Self { spec_id: spec.spec_id, fields }
    }

    /// Whether all files of the spec are in one partition.
    pub(super) fn is_unpartitioned(&self) -> bool {
        self.fields.iter().all(|field| field.transform == Transform::Void)
    }

    /// The partition of a file.
    pub(super) fn tuple<'a>(&self, entry: &Entry<'a>) -> Tuple<'a> {
        let typed = |field: &LayoutField| {
            let value = entry.partition(field.id)?;
            match value {
                Some(value) => single_value::typed(&field.kind, value).map(Some),
                None => Some(None),
            }
        };
        Tuple { values: self.fields.iter().map(typed).collect() }
    }

    /// What the values of a tuple are read as.
    pub(super) fn kinds(&self) -> String {
        self.fields.iter().map(|field| format!("{} ", field.kind)).collect()
    }

    /// The partition as clients read it: an array with one value for each field of the spec.
    pub(super) fn write(&self, tuple: &Tuple<'_>) -> String {
        let mut text = vec![b'['];
        for (at, (field, value)) in self.fields.iter().zip(&tuple.values).enumerate() {
            if at > 0 {
                text.push(b',');
            }
            let value = value.as_ref().and_then(Option::as_ref);
            let json = value.map_or(serde_json::Value::Null, |value| single_value::to_json(&field.kind, value));
            // Writing to memory cannot fail.
            drop(write!(text, "{json}"));
        }
        text.push(b']');
        String::from_utf8(text).unwrap_or_default()
    }

    /// What a file's partition says of a test.
    pub(super) fn judge_tuple(&self, leaf: &Leaf, tuple: &Tuple<'_>) -> Verdict {
        self.judge(leaf, |at, _| Some(known_of(tuple.values.get(at)?.clone()?)))
    }

    /// What a manifest's summary says of a test.
    pub(super) fn judge_summary(&self, leaf: &Leaf, summary: &[FieldSummary]) -> Verdict {
        self.judge(leaf, |at, field| Some(field.known(summary.get(at)?)))
    }

    fn judge<'a>(&self, leaf: &Leaf, known: impl Fn(usize, &LayoutField) -> Option<Known<'a>>) -> Verdict {
        let mut verdict = Verdict::Maybe;
        for (at, field) in self.fields.iter().enumerate() {
            if field.source != Some(leaf.id) {
                continue;
            }
            match known(at, field).map_or(Verdict::Maybe, |known| field.judge(leaf, &known)) {
                Verdict::Maybe => {}
                decided => verdict = decided,
            }
        }
        verdict
    }
}

impl LayoutField {
    fn of(field: &PartitionField, metadata: &TableMetadata) -> Self {
        let source = match field.source.ids() {
            [id] => Some(*id),
            _ => None,
        };
        let kind = source.and_then(|id| source_type(metadata, id));
        let made = kind.and_then(|kind| result_type(&field.transform, &kind));
        let kind = made.unwrap_or_else(|| Primitive::Other("unknown".to_owned()));
        Self { id: field.field_id.unwrap_or(-1), source, transform: field.transform.clone(), kind }
    }

    /// What the values of this field say of a test of its column, which may have had a narrower type when the schema was
    /// made that the test is bound to.
    fn judge(&self, leaf: &Leaf, known: &Known<'_>) -> Verdict {
        let sought = &leaf.sought;
        let only_nulls = || Known { range: Range::default(), ..known.clone() };
        match (&leaf.transform, &self.transform) {
            (_, Transform::Void | Transform::Other(_)) => Verdict::Maybe,
            (None, Transform::Identity) => sought.among(known),
            (Some(tested), made) if tested == made => sought.among(known),
            (Some(tested), Transform::Identity) => sought.among(&applied(tested, &leaf.kind, known)),
            (None, Transform::Bucket(number)) => match leaf.buckets.iter().find(|(of, _)| of == number) {
                Some((_, set)) => Sought { values: Values::Set(set.clone()), opposite: sought.opposite }.among(known),
                None => sought.among(&only_nulls()),
            },
            (None, made) => sought.among(&pulled_back(made, &leaf.kind, known)),
            (Some(_), _) => sought.among(&only_nulls()),
        }
    }

    fn known<'a>(&self, summary: &'a FieldSummary) -> Known<'a> {
        let end = |bytes: &'a Option<Vec<u8>>| single_value::from_binary(&self.kind, bytes.as_deref()?);
        let real = matches!(self.kind, Primitive::Float | Primitive::Double);
        let may_be_nan = real && summary.contains_nan != Some(false);
        let only_nulls = summary.lower.is_none() && summary.upper.is_none() && !may_be_nan;
        Known {
            // NaN is in no range, and some engines take it for larger than every number.
            range: if may_be_nan { Range::default() } else { Range::closed(end(&summary.lower), end(&summary.upper)) },
            nulls: match summary.contains_null {
                false => Share::None,
                true if only_nulls => Share::All,
                true => Share::Some,
            },
            nans: if may_be_nan { Share::Some } else { Share::None },
        }
    }
}

/// The type of a column, in the schema the table has now or the last one that had it.
fn source_type(metadata: &TableMetadata, id: i32) -> Option<Primitive> {
    let current = metadata.current_schema().ok();
    let schemas = current.into_iter().chain(metadata.schemas.iter().rev());
    let mut found =
        schemas.filter_map(|schema| schema.by_id().get(&id).map(|place| place.field.kind.primitive().cloned()));
    found.next().flatten()
}
