//! Random filters, and what each means for a row.
//!
//! A filter's meaning is three-valued: engines do not agree how NaN compares, and there nothing is asked of a plan.

use serde_json::{Value, json};

use super::world::{Chance, Column, Row, World};

/// A filter.
#[derive(Debug, Clone)]
pub enum Question {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Test { operation: &'static str, column: usize, literals: Vec<usize> },
}

const COMPARISONS: [&str; 6] = ["lt", "lt-eq", "gt", "gt-eq", "eq", "not-eq"];

impl Question {
    /// A random filter over a table's columns.
    pub fn random(chance: &mut Chance, world: &World, depth: usize) -> Self {
        match chance.below(if depth == 0 { 1 } else { 4 }) {
            1 => Self::And(
                Box::new(Self::random(chance, world, depth - 1)),
                Box::new(Self::random(chance, world, depth - 1)),
            ),
            2 => Self::Or(
                Box::new(Self::random(chance, world, depth - 1)),
                Box::new(Self::random(chance, world, depth - 1)),
            ),
            3 => Self::Not(Box::new(Self::random(chance, world, depth - 1))),
            _ => Self::test(chance, world),
        }
    }

    fn test(chance: &mut Chance, world: &World) -> Self {
        // Half of the tests are of columns that partitions are made from.
        let column = match world.sources.len() {
            sources if sources > 0 && chance.one_in(2) => world.sources[chance.below(sources)],
            _ => chance.below(world.columns.len()),
        };
        let of = &world.columns[column];
        let literal = |chance: &mut Chance| chance.below(of.literals);
        let (operation, literals) = match chance.below(10) {
            0 => ("is-null", vec![]),
            1 => ("not-null", vec![]),
            2 if of.kind == "double" => (["is-nan", "not-nan"][chance.below(2)], vec![]),
            3 => ("in", vec![literal(chance), literal(chance)]),
            4 => ("not-in", vec![literal(chance), literal(chance)]),
            5 if of.kind == "string" => (["starts-with", "not-starts-with"][chance.below(2)], vec![literal(chance)]),
            _ => (COMPARISONS[chance.below(6)], vec![literal(chance)]),
        };
        Self::Test { operation, column, literals }
    }

    /// The filter in one grammar or the other.
    pub fn json(&self, chance: &mut Chance, columns: &[Column]) -> Value {
        match self {
            Self::And(a, b) => {
                json!({"type": "and", "left": a.json(chance, columns), "right": b.json(chance, columns)})
            }
            Self::Or(a, b) => json!({"type": "or", "left": a.json(chance, columns), "right": b.json(chance, columns)}),
            Self::Not(a) => json!({"type": "not", "child": a.json(chance, columns)}),
            Self::Test { operation, column, literals } => {
                let column = &columns[*column];
                let values: Vec<Value> = literals.iter().map(|at| column.domain[*at].0.clone()).collect();
                let old = chance.below(2) == 0;
                let reference = json!({"type": "reference", "name": column.name});
                match (*operation, old) {
                    ("in" | "not-in", true) => json!({"type": operation, "term": column.name, "values": values}),
                    ("in" | "not-in", false) => json!({"type": operation, "child": reference,
                        "values": {"type": "literals", "values": values, "data-type": column.kind}}),
                    ("is-null" | "not-null" | "is-nan" | "not-nan", true) => {
                        json!({"type": operation, "term": column.name})
                    }
                    ("is-null" | "not-null" | "is-nan" | "not-nan", false) => {
                        json!({"type": operation, "child": reference})
                    }
                    (_, true) => json!({"type": operation, "term": column.name, "value": values[0]}),
                    (_, false) => json!({"type": operation, "left": reference,
                        "right": {"type": "literal", "value": values[0]}}),
                }
            }
        }
    }

    /// Whether a row matches.
    pub fn matches(&self, row: &Row, columns: &[Column]) -> Option<bool> {
        match self {
            Self::And(a, b) => both(a.matches(row, columns), b.matches(row, columns)),
            Self::Or(a, b) => {
                both(a.matches(row, columns).map(|a| !a), b.matches(row, columns).map(|b| !b)).map(|neither| !neither)
            }
            Self::Not(a) => a.opposite(row, columns),
            Self::Test { operation, column, literals } => {
                let values: Vec<&Value> = literals.iter().map(|at| &columns[*column].domain[*at].0).collect();
                tested(operation, &columns[*column], row[*column], &values)
            }
        }
    }

    /// Whether a row matches the negation, which is pushed down to the tests: of null neither `<` nor `>=` is true.
    fn opposite(&self, row: &Row, columns: &[Column]) -> Option<bool> {
        match self {
            Self::And(a, b) => {
                both(a.opposite(row, columns).map(|a| !a), b.opposite(row, columns).map(|b| !b)).map(|neither| !neither)
            }
            Self::Or(a, b) => both(a.opposite(row, columns), b.opposite(row, columns)),
            Self::Not(a) => a.matches(row, columns),
            Self::Test { operation, column, literals } => {
                let turned = Self::Test { operation: opposite(operation), column: *column, literals: literals.clone() };
                turned.matches(row, columns)
            }
        }
    }
}

fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn opposite(operation: &str) -> &'static str {
    match operation {
        "is-null" => "not-null",
        "not-null" => "is-null",
        "is-nan" => "not-nan",
        "not-nan" => "is-nan",
        "lt" => "gt-eq",
        "lt-eq" => "gt",
        "gt" => "lt-eq",
        "gt-eq" => "lt",
        "eq" => "not-eq",
        "not-eq" => "eq",
        "in" => "not-in",
        "not-in" => "in",
        "starts-with" => "not-starts-with",
        "not-starts-with" => "starts-with",
        other => panic!("{other}"),
    }
}

fn tested(operation: &str, column: &Column, cell: Option<usize>, literals: &[&Value]) -> Option<bool> {
    use std::cmp::Ordering as O;
    let negative = matches!(operation, "not-null" | "not-eq" | "not-in" | "not-starts-with" | "not-nan");
    let Some(at) = cell else { return Some(negative && operation != "not-null" || operation == "is-null") };
    let nan = at >= column.literals;
    match operation {
        "is-null" => return Some(false),
        "not-null" => return Some(true),
        "is-nan" => return Some(nan),
        "not-nan" => return Some(!nan),
        _ if nan => return None,
        _ => {}
    }
    let found = |literal: &Value| column.domain.iter().position(|(json, _)| json == literal).expect("a literal");
    let order =
        |literal: &Value| column.domain[at].1.partial_cmp(&column.domain[found(literal)].1).expect("comparable");
    let text = || column.domain[at].0.as_str().expect("a text");
    Some(match operation {
        "lt" => order(literals[0]) == O::Less,
        "lt-eq" => order(literals[0]) != O::Greater,
        "gt" => order(literals[0]) == O::Greater,
        "gt-eq" => order(literals[0]) != O::Less,
        "eq" | "in" => literals.iter().any(|literal| order(literal) == O::Equal),
        "not-eq" | "not-in" => literals.iter().all(|literal| order(literal) != O::Equal),
        "starts-with" => text().starts_with(literals[0].as_str().expect("a text")),
        "not-starts-with" => !text().starts_with(literals[0].as_str().expect("a text")),
        other => panic!("{other}"),
    })
}

/// Whether a row matches a residual, which is always in the older grammar.
pub fn matches_json(json: &Value, row: &Row, columns: &[Column]) -> Option<bool> {
    if let Some(constant) = json.as_bool() {
        return Some(constant);
    }
    let side = |name: &str| matches_json(&json[name], row, columns);
    match json["type"].as_str().expect("a type") {
        "and" => both(side("left"), side("right")),
        "or" => both(side("left").map(|a| !a), side("right").map(|b| !b)).map(|neither| !neither),
        operation => {
            let at = columns.iter().position(|column| json["term"] == column.name).expect("a column");
            let literals: Vec<&Value> = match json.get("values") {
                Some(values) => values.as_array().expect("literals").iter().collect(),
                None => json.get("value").into_iter().collect(),
            };
            tested(operation, &columns[at], row[at], &literals)
        }
    }
}
