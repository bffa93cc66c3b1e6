//! What rows of text have asked for that the schema does not have.

use super::columns::{Members, Node};
use super::decode::{CAPTURED, Evolution, Unknown};
use super::evolve::Wish;
use super::json::infer::settled;
use super::rows::{Mark, Rows};
use super::values::Values;
use super::verdict::{OnError, Row};
use crate::error::{Error, Kind, Result};

impl Rows {
    /// All of it.
    pub(super) fn wishes(&self) -> Result<Vec<Wish>> {
        let mut wishes = Vec::new();
        wishes_of(&self.members, None, &mut wishes)?;
        Ok(wishes)
    }

    /// A row is about to ask for a field, and may turn out to be left out.
    pub(super) fn may_wish(&self, members: &mut Members, row: Row<'_>) {
        if self.verdicts.on_error != OnError::Abort && self.unknown == Unknown::Add {
            members.remember(row.index);
        }
    }

    /// Takes back what a row asked for that is left out: others are not judged by it.
    pub(super) fn ask_no_more(&mut self, row: usize, mark: Mark) {
        if self.strangers {
            self.members.take_back(row);
        }
        self.wishing = mark.wishing;
    }
}

/// What was wished for of these columns and of those inside them; `parent` is the struct they are in.
fn wishes_of(members: &Members, parent: Option<i32>, wishes: &mut Vec<Wish>) -> Result<()> {
    for node in &members.nodes {
        wishes_of_node(node, wishes)?;
    }
    for (name, guess) in members.wished() {
        if let Some(kind) = settled(guess)? {
            wishes.push(Wish::Add { parent, name: name.clone(), kind });
        }
    }
    Ok(())
}

fn wishes_of_node(node: &Node, wishes: &mut Vec<Wish>) -> Result<()> {
    if let Some(to) = &node.wider {
        wishes.push(Wish::Widen { id: node.id, to: to.clone() });
    }
    if node.relaxed {
        wishes.push(Wish::Relax { id: node.id });
    }
    match &node.values {
        Values::Struct(members) => wishes_of(members, Some(node.id), wishes),
        Values::List(element, _) => wishes_of_node(element, wishes),
        Values::Map(_, value, _) => wishes_of_node(value, wishes),
        _ => Ok(()),
    }
}

/// Where the column is that takes what no other column takes; `None` if it is to be made.
pub(super) fn capturing(members: &Members, evolution: Evolution) -> Result<Option<usize>> {
    let unfit = |what: &str| {
        let message = format!("Unknown fields are captured in column {CAPTURED:?}, which {what}");
        Err(Error::new(Kind::Unprocessable, message).with_code("no_capture_column"))
    };
    match members.find(CAPTURED, 0) {
        Some(index) if matches!(members.nodes[index].values, Values::String(_)) => Ok(Some(index)),
        Some(_) => unfit("is no text: leave them out with unknown_fields=ignore"),
        None if evolution == Evolution::Strict => unfit("does not exist: make it, or let schema=add-columns make it"),
        None => Ok(None),
    }
}
