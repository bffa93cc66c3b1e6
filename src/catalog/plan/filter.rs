//! Filters bound to the columns of a schema.
//!
//! Binding finds each column and reads each literal as a value of its type; `not` is pushed down to the tests. A test that
//! cannot be bound (a column that is not there, a literal of another type, a function) becomes [`Filter::Foreign`]: it may
//! match anything, and goes back to the client as it came. So a filter that is not understood widens the plan, and never
//! narrows it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::expression::{Expression, Operation as O, Reference, Test, joined};
use super::range::{Bound, Range, Set, Sought, Values, Verdict};
use super::transform::{bucket, result_type};
use crate::catalog::metadata::schema::Schema;
use crate::catalog::metadata::single_value;
use crate::catalog::metadata::spec::Transform;
use crate::catalog::metadata::types::Primitive;
use crate::snapshot::value::Value;

/// A filter whose columns are known.
#[derive(Debug, Clone)]
pub(super) enum Filter {
    /// Every row, or none.
    Constant(bool),
    /// Rows that match all of these.
    All(Vec<Self>),
    /// Rows that match any of these.
    Any(Vec<Self>),
    /// A test of one column.
    Leaf(Arc<Leaf>),
    /// What could not be bound.
    Foreign(Arc<Json>),
}

/// A test of one column.
#[derive(Debug)]
pub(super) struct Leaf {
    /// The column's id.
    pub(super) id: i32,
    /// The column's type.
    pub(super) kind: Primitive,
    /// What is applied to the column before it is tested.
    pub(super) transform: Option<Transform>,
    /// What matches.
    pub(super) sought: Sought,
    /// The buckets that what is sought is in, for each number of buckets that a spec of the table has for the column.
    pub(super) buckets: Vec<(u32, Set)>,
    json: Json,
}

/// A column that a filter may name.
#[derive(Debug, Clone)]
struct Column {
    id: i32,
    name: String,
    /// Its type, where it is one that a test can be about.
    kind: Option<Primitive>,
    required: bool,
}

/// The columns of a schema by name.
#[derive(Debug)]
pub(super) struct Columns {
    /// `None` where two columns have names that differ in case only.
    by_name: HashMap<String, Option<Column>>,
    fold_case: bool,
}

impl Columns {
    /// The columns of a schema.
    pub(super) fn of(schema: &Schema, case_sensitive: bool) -> Self {
        let fold_case = !case_sensitive;
        let mut by_name = HashMap::new();
        for (name, place) in schema.walk() {
            let kind = place.field.kind.primitive().filter(|_| !place.repeated).cloned();
            let column = Column { id: place.field.id, name: name.clone(), kind, required: place.required };
            let entry = by_name.entry(if fold_case { name.to_lowercase() } else { name });
            entry.and_modify(|known| *known = None).or_insert(Some(column));
        }
        Self { by_name, fold_case }
    }

    fn find(&self, name: &str) -> Option<&Column> {
        let found = if self.fold_case { self.by_name.get(&name.to_lowercase()) } else { self.by_name.get(name) };
        found?.as_ref()
    }

    /// The same without the names that mean another column in `others`.
    pub(super) fn agreeing_with(mut self, others: &Self) -> Self {
        for (name, column) in &mut self.by_name {
            let other = others.by_name.get(name).and_then(Option::as_ref);
            if other.is_some_and(|other| column.as_ref().is_some_and(|column| column.id != other.id)) {
                *column = None;
            }
        }
        self
    }

    /// The id of the column with this name.
    pub(super) fn id(&self, name: &str) -> Option<i32> {
        self.find(name).map(|column| column.id)
    }

    fn referred(&self, reference: &Reference) -> Option<&Column> {
        match reference {
            Reference::Name(name) => self.find(name),
            Reference::Id(id) => self.by_name.values().flatten().find(|column| column.id == *id),
        }
    }
}

/// Binds a filter. `bucketed` are the columns that the table's specs put in buckets, and the numbers of buckets.
pub(super) fn bind(expression: &Expression, columns: &Columns, bucketed: &[(i32, u32)]) -> Filter {
    Binder { columns, bucketed }.bind(expression, false)
}

struct Binder<'a> {
    columns: &'a Columns,
    bucketed: &'a [(i32, u32)],
}

impl Binder<'_> {
    fn bind(&self, expression: &Expression, opposite: bool) -> Filter {
        let parts = |parts: &[Expression]| parts.iter().map(|part| self.bind(part, opposite)).collect();
        match (expression, opposite) {
            (Expression::Constant(constant), _) => Filter::Constant(*constant != opposite),
            (Expression::Not(inner), _) => self.bind(inner, !opposite),
            (Expression::All(inner), false) | (Expression::Any(inner), true) => Filter::All(parts(inner)),
            (Expression::Any(inner), false) | (Expression::All(inner), true) => Filter::Any(parts(inner)),
            (Expression::Test(test), false) => self.test(test),
            (Expression::Test(test), true) => self.test(&Test { operation: test.operation.negated(), ..test.clone() }),
            (Expression::Foreign(json), false) => Filter::Foreign(Arc::new(json.clone())),
            (Expression::Foreign(json), true) => Filter::Foreign(Arc::new(json!({"type": "not", "child": json}))),
        }
    }

    fn test(&self, test: &Test) -> Filter {
        let column = self.columns.referred(&test.column);
        let term = match (&test.column, column) {
            (_, Some(column)) => column.name.as_str().into(),
            (Reference::Name(name), None) => name.as_str().into(),
            (Reference::Id(id), None) => json!({"type": "reference", "id": id}),
        };
        let json = test.to_json(&term);
        let bound = column.and_then(|column| self.leaf(test, column, json.clone()));
        bound.unwrap_or_else(|| Filter::Foreign(Arc::new(json)))
    }

    fn leaf(&self, test: &Test, column: &Column, json: Json) -> Option<Filter> {
        let kind = column.kind.clone()?;
        let tested = match &test.transform {
            None => kind.clone(),
            Some(transform) => result_type(transform, &kind)?,
        };
        let sought = sought(test.operation, &tested, &test.literals)?;
        // What is required is never null, whatever the statistics say.
        if sought.values == Values::Null && column.required {
            return Some(Filter::Constant(sought.opposite));
        }
        if test.literals.is_empty() && matches!(test.operation, O::In | O::NotIn) {
            return Some(Filter::Constant(sought.opposite));
        }
        let buckets = self.buckets(test, column.id, &kind, &sought);
        Some(Filter::Leaf(Arc::new(Leaf {
            id: column.id,
            kind,
            transform: test.transform.clone(),
            sought,
            buckets,
            json,
        })))
    }

    fn buckets(&self, test: &Test, id: i32, kind: &Primitive, sought: &Sought) -> Vec<(u32, Set)> {
        let Values::Set(set) = &sought.values else { return Vec::new() };
        let Some(points) = set.as_points().filter(|_| test.transform.is_none()) else { return Vec::new() };
        let of = |number: u32| {
            let buckets = points.iter().map(|point| bucket(kind, point, number).map(Value::Integer));
            // A bucket holds other values too: to be in it never means to match.
            Some((number, Set::points(buckets.collect::<Option<_>>()?, false)))
        };
        self.bucketed.iter().filter(|(of, _)| *of == id).filter_map(|(_, number)| of(*number)).collect()
    }
}

/// What a test of a column of this type looks for; `None` where it makes no sense.
fn sought(operation: O, kind: &Primitive, literals: &[Json]) -> Option<Sought> {
    let is = |values: Values| Some(Sought { values, opposite: false });
    let not = |values: Values| Some(Sought { values, opposite: true });
    let values = literals.iter().map(|json| single_value::from_json(kind, json)).collect::<Option<Vec<_>>>()?;
    let exact = values.iter().all(|(_, exact)| *exact);
    let first = values.first().map(|(value, _)| value.clone());
    // An end that is only near the literal has to be inside.
    let end = |open: bool| first.clone().map(|value| Bound { value, open: open && exact });
    let range = |lower, upper| Values::Set(Set::range(Range::between(lower, upper), exact));
    let points = || Values::Set(Set::points(values.iter().map(|(value, _)| value.clone()).collect(), exact));
    let real = matches!(kind, Primitive::Float | Primitive::Double);
    let prefix = || match (kind, &first) {
        (Primitive::String, Some(Value::Bytes(bytes))) => Some(Values::Set(Set::starting_with(bytes))),
        _ => None,
    };
    match operation {
        O::IsNull => is(Values::Null),
        O::NotNull => not(Values::Null),
        O::IsNan if real => is(Values::Nan),
        O::NotNan if real => not(Values::Nan),
        O::IsNan | O::NotNan => None,
        O::Less => is(range(None, end(true))),
        O::LessOrEqual => is(range(None, end(false))),
        O::Greater => is(range(end(true), None)),
        O::GreaterOrEqual => is(range(end(false), None)),
        O::Equal | O::In => is(points()),
        O::NotEqual | O::NotIn => not(points()),
        O::StartsWith => is(prefix()?),
        O::NotStartsWith => not(prefix()?),
    }
}

impl Filter {
    /// What follows for the rows of which `verdict` judges each test.
    pub(super) fn judge(&self, verdict: &impl Fn(&Leaf) -> Verdict) -> Verdict {
        match self {
            Self::Constant(true) => Verdict::Always,
            Self::Constant(false) => Verdict::Never,
            Self::All(parts) => parts.iter().map(|part| part.judge(verdict)).min().unwrap_or(Verdict::Always),
            Self::Any(parts) => parts.iter().map(|part| part.judge(verdict)).max().unwrap_or(Verdict::Never),
            Self::Leaf(leaf) => verdict(leaf),
            Self::Foreign(_) => Verdict::Maybe,
        }
    }

    /// What is left to test where some tests are decided.
    pub(super) fn reduced(&self, verdict: &impl Fn(&Leaf) -> Verdict) -> Self {
        match self {
            Self::Constant(_) | Self::Foreign(_) => self.clone(),
            Self::Leaf(leaf) => match verdict(leaf) {
                Verdict::Never => Self::Constant(false),
                Verdict::Always => Self::Constant(true),
                Verdict::Maybe => self.clone(),
            },
            Self::All(parts) => reduced(parts, verdict, true).unwrap_or_else(Self::All),
            Self::Any(parts) => reduced(parts, verdict, false).unwrap_or_else(Self::Any),
        }
    }

    /// How many tests it has.
    pub(super) fn tests(&self) -> usize {
        match self {
            Self::Constant(_) | Self::Foreign(_) => 0,
            Self::Leaf(_) => 1,
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::tests).sum(),
        }
    }

    /// The filter as clients read it.
    pub(super) fn to_json(&self) -> Json {
        match self {
            Self::Constant(constant) => (*constant).into(),
            Self::All(parts) => joined("and", parts.iter().map(Self::to_json).collect()),
            Self::Any(parts) => joined("or", parts.iter().map(Self::to_json).collect()),
            Self::Leaf(leaf) => leaf.json.clone(),
            Self::Foreign(json) => (**json).clone(),
        }
    }
}

/// The parts that are left; `Ok` where they have become one thing. `neutral` parts go, the opposite decides alone.
fn reduced(parts: &[Filter], verdict: &impl Fn(&Leaf) -> Verdict, neutral: bool) -> Result<Filter, Vec<Filter>> {
    let mut left = Vec::with_capacity(parts.len());
    for part in parts {
        match part.reduced(verdict) {
            Filter::Constant(constant) if constant == neutral => {}
            Filter::Constant(constant) => return Ok(Filter::Constant(constant)),
            other => left.push(other),
        }
    }
    match left.len() {
        0 => Ok(Filter::Constant(neutral)),
        1 => Ok(left.remove(0)),
        _ => Err(left),
    }
}
