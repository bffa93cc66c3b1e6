//! What is made of the text of each row before it is read into columns: an event becomes a row, and the table's rules are
//! followed.

use std::sync::Arc;

use super::coerce::Misfit;
use super::events::{self, EventShape};
use super::json::lexer::Lexer;
use super::rows::Rows;
use super::rules::{Facts, RuleFault, Rules};
use super::verdict::Row;

/// How rows are rewritten. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Rewriting {
    /// What the table takes of events, where rows are events.
    pub(super) events: Option<EventShape>,
    pub(super) rules: Rules,
    /// What the rules may know of the request.
    pub(super) facts: Arc<Facts>,
}

impl PartialEq for Rewriting {
    fn eq(&self, other: &Self) -> bool {
        let alike = (self.events, &self.rules) == (other.events, &other.rules);
        alike && Arc::ptr_eq(&self.facts, &other.facts)
    }
}

impl Eq for Rewriting {}

impl Rewriting {
    /// What becomes of a row.
    pub(super) fn apply(&self, row: &str) -> Result<String, RuleFault> {
        let event = self.events.map(|shape| events::row_of(row, shape, self.facts.now_ms)).transpose()?;
        let row = event.as_deref().unwrap_or(row);
        if self.rules.is_empty() { Ok(row.to_owned()) } else { self.rules.apply(row, &self.facts) }
    }
}

/// What the texts of a row are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    /// Texts.
    AsTheyAre,
    /// Cells, which may be anything.
    Cells,
}

impl Rows {
    /// Takes the cells of a line as the members of an object, of which something is made before it is read.
    pub(super) fn cells_rewritten(&mut self, rewriting: &Rewriting, object: &str, row: Row<'_>) {
        self.texts = Texts::Cells;
        self.rewritten(rewriting, object, row);
        self.texts = Texts::AsTheyAre;
    }

    /// What is to be kept of the row that was last found to be wrong: rules may keep some of it from being stored.
    pub(super) fn keep_raw(&mut self, came: impl FnOnce() -> String) {
        let made = self.made.take();
        let rules = self.rewriting.as_ref().is_some_and(|rewriting| !rewriting.rules.is_empty());
        self.verdicts.came_as(|| if rules { made.unwrap_or_default() } else { came() });
    }

    /// Takes what is made of a row.
    pub(super) fn rewritten(&mut self, rewriting: &Rewriting, text: &str, row: Row<'_>) {
        self.made = None;
        match rewriting.apply(text) {
            Err(RuleFault { pointer, misfit }) => {
                self.made = rewriting.rules.veiled(text, &rewriting.facts);
                self.verdicts.add_made(row, pointer, misfit);
                self.verdicts.bad_rows += 1;
            }
            Ok(made) => {
                let (mut lexer, before) = (Lexer::new(&made, self.nesting), self.mark());
                if let Err(fault) = self.object_row(&mut lexer, row) {
                    let worse = self.is_worse_than(before);
                    self.unreadable(row, Misfit::new("malformed_json", fault.why));
                    self.verdicts.bad_rows -= usize::from(worse);
                }
                if self.is_worse_than(before) {
                    self.made = Some(made);
                }
            }
        }
    }
}
