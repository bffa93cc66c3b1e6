//! What is known of a set of values, and what follows from it for a test.
//!
//! Partition tuples, manifest summaries and file statistics all say the same kind of thing of a column: its values lie in
//! a [`Range`], and some, all or none of them are null or NaN. [`Set`] is what a test matches. Whether the two meet is
//! [`Verdict`]; what is not known is [`Verdict::Maybe`], so that a file is never left out by mistake.

use std::cmp::Ordering;

use crate::snapshot::value::Value;

/// Whether rows match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// None does.
    Never,
    /// Some may.
    Maybe,
    /// All do.
    Always,
}

impl Verdict {
    /// The verdict on the opposite test.
    pub(super) fn opposite(self) -> Self {
        match self {
            Self::Never => Self::Always,
            Self::Maybe => Self::Maybe,
            Self::Always => Self::Never,
        }
    }
}

/// How many of the values are of some kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// None is.
    None,
    /// Some may be.
    Some,
    /// All are.
    All,
}

/// One end of a range.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bound<'a> {
    /// The value there.
    pub(super) value: Value<'a>,
    /// Whether the value itself is outside.
    pub(super) open: bool,
}

impl<'a> Bound<'a> {
    /// An end that is inside.
    pub(super) fn closed(value: Value<'a>) -> Self {
        Self { value, open: false }
    }

    /// An end that is outside.
    pub(super) fn open(value: Value<'a>) -> Self {
        Self { value, open: true }
    }
}

/// The values between two ends; without an end there is no bound.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Range<'a> {
    /// The lower end.
    pub(super) lower: Option<Bound<'a>>,
    /// The upper end.
    pub(super) upper: Option<Bound<'a>>,
    /// Whether nothing is in it.
    empty: bool,
}

impl<'a> Range<'a> {
    /// Both ends inside.
    pub(super) fn closed(lower: Option<Value<'a>>, upper: Option<Value<'a>>) -> Self {
        Self::between(lower.map(Bound::closed), upper.map(Bound::closed))
    }

    /// What lies between two ends.
    pub(super) fn between(lower: Option<Bound<'a>>, upper: Option<Bound<'a>>) -> Self {
        Self { lower, upper, empty: false }
    }

    /// No value at all.
    pub(super) fn nothing() -> Self {
        Self { empty: true, ..Self::default() }
    }

    /// The one value that can be in it, if there is only one.
    pub(super) fn point(&self) -> Option<&Value<'a>> {
        let (lower, upper) = (self.lower.as_ref()?, self.upper.as_ref()?);
        let same = lower.value.compare(&upper.value) == Some(Ordering::Equal);
        (same && !lower.open && !upper.open).then_some(&lower.value)
    }

    /// Whether no value can be in both; what cannot be compared may be.
    pub(super) fn misses(&self, other: &Range<'_>) -> bool {
        let empty = self.empty || other.empty;
        empty || below(self.upper.as_ref(), other.lower.as_ref()) || below(other.upper.as_ref(), self.lower.as_ref())
    }

    /// Whether a value can be in it.
    fn may_hold(&self, value: &Value<'_>) -> bool {
        let outside = |bound: Option<&Bound<'_>>, outwards: Ordering| {
            bound.is_some_and(|bound| match value.compare(&bound.value) {
                Some(Ordering::Equal) => bound.open,
                found => found == Some(outwards),
            })
        };
        !self.empty && !outside(self.lower.as_ref(), Ordering::Less) && !outside(self.upper.as_ref(), Ordering::Greater)
    }

    /// Whether every value of `other` is in this one.
    fn covers(&self, other: &Range<'_>) -> bool {
        reaches(self.lower.as_ref(), other.lower.as_ref(), Ordering::Less)
            && reaches(self.upper.as_ref(), other.upper.as_ref(), Ordering::Greater)
    }
}

/// Whether everything up to `upper` is below everything from `lower` on.
fn below(upper: Option<&Bound<'_>>, lower: Option<&Bound<'_>>) -> bool {
    let (Some(upper), Some(lower)) = (upper, lower) else { return false };
    match upper.value.compare(&lower.value) {
        Some(Ordering::Less) => true,
        Some(Ordering::Equal) => upper.open || lower.open,
        Some(Ordering::Greater) | None => false,
    }
}

/// Whether an end lies as far out (`outwards`) as another.
fn reaches(end: Option<&Bound<'_>>, other: Option<&Bound<'_>>, outwards: Ordering) -> bool {
    let Some(end) = end else { return true };
    let Some(other) = other else { return false };
    match end.value.compare(&other.value) {
        Some(Ordering::Equal) => !end.open || other.open,
        found => found == Some(outwards),
    }
}

/// The values that a test matches.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Set {
    form: Form,
    /// Whether it is exactly these; if not, it is some of them.
    exact: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    /// In ascending order.
    Points(Vec<Value<'static>>),
    Range(Range<'static>),
}

impl Set {
    /// Some values, which are of one form.
    pub(super) fn points(mut points: Vec<Value<'static>>, exact: bool) -> Self {
        points.sort_by(|a, b| a.compare(b).unwrap_or(Ordering::Equal));
        Self { form: Form::Points(points), exact }
    }

    /// All values of a range.
    pub(super) fn range(range: Range<'static>, exact: bool) -> Self {
        Self { form: Form::Range(range), exact }
    }

    /// The texts or bytes that begin with these.
    pub(super) fn starting_with(prefix: &[u8]) -> Self {
        let lower = Some(Bound::closed(Value::Bytes(prefix.to_vec().into())));
        Self::range(Range::between(lower, after_prefix(prefix).map(Bound::open)), true)
    }

    /// The values, if they are few.
    pub(super) fn as_points(&self) -> Option<&[Value<'static>]> {
        match &self.form {
            Form::Points(points) => Some(points),
            Form::Range(_) => None,
        }
    }

    /// What is to be said of values in this range.
    fn meets(&self, range: &Range<'_>) -> Verdict {
        let (misses, covers) = match &self.form {
            Form::Range(own) => (own.misses(range), own.covers(range)),
            Form::Points(points) => {
                let inside = first_inside(points, range);
                let only = range.point().zip(inside).is_some_and(|(only, inside)| only == inside);
                (inside.is_none(), only)
            }
        };
        match (misses, covers && self.exact) {
            (true, _) => Verdict::Never,
            (_, true) => Verdict::Always,
            _ => Verdict::Maybe,
        }
    }
}

/// The first of the points that may be in a range.
fn first_inside<'p>(points: &'p [Value<'static>], range: &Range<'_>) -> Option<&'p Value<'static>> {
    // UUIDs are ordered only in part: each has to be looked at.
    if matches!(points.first(), Some(Value::Uuid(_))) {
        return points.iter().find(|point| range.may_hold(point));
    }
    let below = |point: &Value<'static>| {
        let lower = range.lower.as_ref();
        lower.is_some_and(|lower| match point.compare(&lower.value) {
            Some(Ordering::Less) => true,
            Some(Ordering::Equal) => lower.open,
            Some(Ordering::Greater) | None => false,
        })
    };
    points.get(points.partition_point(below)).filter(|point| range.may_hold(point))
}

/// The first bytes, in order, after all that begin with `prefix`.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Value<'static>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(Value::Bytes(next.into()))
}

/// What is known of the values of a column in some rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known<'a> {
    /// Where those lie that are neither null nor NaN.
    pub(super) range: Range<'a>,
    /// How many are null.
    pub(super) nulls: Share,
    /// How many are NaN.
    pub(super) nans: Share,
}

/// What a test looks for, and whether it looks for the opposite.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sought {
    /// What is sought.
    pub(super) values: Values,
    /// Whether rows match that do *not* have it.
    pub(super) opposite: bool,
}

/// What a test looks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// Null.
    Null,
    /// NaN.
    Nan,
    /// Values that are neither.
    Set(Set),
}

impl Sought {
    /// What follows from what is known.
    pub(super) fn among(&self, known: &Known<'_>) -> Verdict {
        let verdict = match &self.values {
            Values::Null => of_share(known.nulls),
            Values::Nan => of_share(known.nans),
            Values::Set(set) => among(set, known),
        };
        if self.opposite { verdict.opposite() } else { verdict }
    }
}

fn of_share(share: Share) -> Verdict {
    match share {
        Share::None => Verdict::Never,
        Share::Some => Verdict::Maybe,
        Share::All => Verdict::Always,
    }
}

fn among(set: &Set, known: &Known<'_>) -> Verdict {
    if known.nulls == Share::All || known.nans == Share::All {
        return Verdict::Never;
    }
    let met = set.meets(&known.range);
    let all_are_values = known.nulls == Share::None && known.nans == Share::None;
    if met == Verdict::Always && !all_are_values { Verdict::Maybe } else { met }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(lower: i64, upper: i64) -> Known<'static> {
        let range = Range::closed(Some(Value::Integer(lower)), Some(Value::Integer(upper)));
        Known { range, nulls: Share::None, nans: Share::None }
    }

    fn sought(set: Set) -> Sought {
        Sought { values: Values::Set(set), opposite: false }
    }

    #[test]
    fn ranges_meet_as_their_ends_say() {
        let less_than_5 = |open: bool| {
            let upper = Some(Bound { value: Value::Integer(5), open });
            sought(Set::range(Range::between(None, upper), true))
        };
        assert_eq!(less_than_5(true).among(&known(5, 9)), Verdict::Never);
        assert_eq!(less_than_5(false).among(&known(5, 9)), Verdict::Maybe);
        assert_eq!(less_than_5(false).among(&known(1, 5)), Verdict::Always);
        assert_eq!(less_than_5(true).among(&known(1, 5)), Verdict::Maybe);
        let some_null = Known { nulls: Share::Some, ..known(1, 2) };
        assert_eq!(less_than_5(true).among(&some_null), Verdict::Maybe);
        let unbounded = Known { range: Range::default(), ..known(0, 0) };
        assert_eq!(less_than_5(true).among(&unbounded), Verdict::Maybe);
    }

    #[test]
    fn points_are_found_among_many() {
        let points = (0..1000).map(|number| Value::Integer(number * 10)).rev().collect();
        let set = sought(Set::points(points, true));
        assert_eq!(set.among(&known(11, 19)), Verdict::Never);
        assert_eq!(set.among(&known(11, 20)), Verdict::Maybe);
        assert_eq!(set.among(&known(20, 20)), Verdict::Always);
        let not_in = Sought { opposite: true, ..set };
        assert_eq!(not_in.among(&known(20, 20)), Verdict::Never);
        assert_eq!(not_in.among(&known(11, 19)), Verdict::Always);
        let nulls = Known { nulls: Share::All, ..known(20, 20) };
        assert_eq!(not_in.among(&nulls), Verdict::Always);
    }

    #[test]
    fn what_is_not_exact_never_decides_for_all() {
        let near = sought(Set::points(vec![Value::Real(0.5)], false));
        let at = Range::closed(Some(Value::Real(0.5)), Some(Value::Real(0.5)));
        let known = Known { range: at, nulls: Share::None, nans: Share::None };
        assert_eq!(near.among(&known), Verdict::Maybe);
        assert_eq!(Sought { opposite: true, ..near }.among(&known), Verdict::Maybe);
    }

    #[test]
    fn prefixes_are_ranges() {
        let set = sought(Set::starting_with(b"ab"));
        let texts = |lower: &'static str, upper: &'static str| Known {
            range: Range::closed(Some(Value::bytes(lower.as_bytes())), Some(Value::bytes(upper.as_bytes()))),
            nulls: Share::None,
            nans: Share::None,
        };
        assert_eq!(set.among(&texts("aa", "aazz")), Verdict::Never);
        assert_eq!(set.among(&texts("aa", "ab")), Verdict::Maybe);
        assert_eq!(set.among(&texts("ab", "abzz")), Verdict::Always);
        assert_eq!(set.among(&texts("ac", "ad")), Verdict::Never);
        assert_eq!(after_prefix(&[1, 0xff]), Some(Value::bytes(&[2])));
        assert_eq!(after_prefix(&[0xff]), None);
        assert_eq!(sought(Set::starting_with(b"")).among(&texts("", "z")), Verdict::Always);
    }
}
