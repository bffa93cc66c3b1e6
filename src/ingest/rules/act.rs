//! One rule, and what it does to the members of a row.

use std::cell::Cell;

use super::change::Change;
use super::derive::Derive;
use super::object::{self, Member};
use super::{Facts, RuleFault};
use crate::ingest::coerce::Misfit;
use crate::limits;

/// Where in a row a rule looks: the names on the way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(Vec<String>);

impl Place {
    /// A member of the row itself.
    pub(super) fn top(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }

    /// The place that a name or a JSON pointer means; `None` for a pointer with a `~` that is no escape.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let Some(steps) = text.strip_prefix('/') else { return Some(Self::top(text)) };
        steps.split('/').map(unescaped).collect::<Option<Vec<_>>>().map(Self)
    }

    /// The names on the way.
    pub(super) fn path(&self) -> &[String] {
        &self.0
    }

    /// What is wrong there.
    pub(super) fn fault(&self, misfit: Misfit) -> RuleFault {
        let step = |name: &String| format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        RuleFault { pointer: self.0.iter().map(step).collect(), misfit }
    }
}

fn unescaped(step: &str) -> Option<String> {
    let escapes = step.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    escapes.then(|| step.replace("~1", "/").replace("~0", "~"))
}

/// One rule.
#[derive(Debug)]
pub(super) enum Rule {
    /// A member that is made of a point in time.
    Derive { column: String, derive: Derive },
    /// Another name for a member.
    Rename { column: String, to: String },
    /// The text of a value for a member that has none.
    Default { column: String, value: String },
    /// A member that a header of the request says.
    Header { column: String, header: String },
    /// Something done to the value at a place.
    Change { place: Place, change: Change },
}

impl Rule {
    /// The header of a request that it reads.
    pub(super) fn header(&self) -> Option<&str> {
        match self {
            Self::Header { header, .. } => Some(header),
            _ => None,
        }
    }

    /// Whether it keeps something from being stored.
    pub(super) fn veils(&self) -> bool {
        match self {
            Self::Change { change, .. } => {
                matches!(
                    change,
                    Change::Drop | Change::Hash(_) | Change::MaskIp(_) | Change::Redact(_) | Change::Limit(_)
                )
            }
            // What veils goes by the name that it gives.
            Self::Rename { .. } => true,
            Self::Derive { .. } | Self::Default { .. } | Self::Header { .. } => false,
        }
    }

    /// Follows the rule.
    pub(super) fn apply(&self, members: &mut Vec<Member<'_>>, facts: &Facts) -> Result<(), RuleFault> {
        match self {
            Self::Derive { column, derive } => {
                let value = derive.value(members)?;
                object::put(members, column, value);
            }
            Self::Rename { column, to } => rename(members, column, to)?,
            Self::Default { column, value } => fill(members, column, value),
            Self::Header { column, header } => {
                let said = facts.header(header).map(|text| object::quoted(&text));
                object::put(members, column, said);
            }
            Self::Change { place, change } => {
                let room = Cell::new(limits::RULE_GROWTH_BYTES);
                let editor = |value: &str| change.edit(value, &room);
                object::edit(members, place.path(), &editor).map_err(|misfit| place.fault(misfit))?;
            }
        }
        Ok(())
    }
}

/// Renames a member, each time that it stands: a rule that follows then finds all of them.
fn rename(members: &mut [Member<'_>], column: &str, to: &str) -> Result<(), RuleFault> {
    let is_there = |name: &str| members.iter().any(|member| member.name == name);
    if !is_there(column) {
        return Ok(());
    }
    if is_there(to) {
        let detail = format!("the row has it, and {column:?}, which is renamed to it");
        return Err(Place::top(to).fault(Misfit::new("duplicate_key", detail)));
    }
    for member in members.iter_mut().filter(|member| member.name == column) {
        member.rename(to);
    }
    Ok(())
}

/// Gives a member its default; one that stands more than once has none.
fn fill(members: &mut Vec<Member<'_>>, column: &str, value: &str) {
    let mut standing = members.iter().filter(|member| member.name == column);
    let (first, second) = (standing.next(), standing.next());
    let is_null = first.is_none_or(|member| member.value == "null");
    if is_null && second.is_none() {
        object::put(members, column, Some(value.to_owned()));
    }
}
