//! One line of cells → one value for each column, or what is wrong with it.

use super::coerce::Misfit;
use super::columns::{Members, Node, Wanted};
use super::decode::Unknown;
use super::json::infer::{Looker, Mixing};
use super::json::lexer::Lexer;
use super::rows::{At, Rows};
use super::scalar::push_cell;
use super::values::Values;
use super::verdict::{Path, Row};

impl Rows {
    /// The names of the columns.
    pub(super) fn names(&self) -> Vec<String> {
        self.members.nodes.iter().map(|node| node.name.to_string()).collect()
    }

    /// Takes the cells of a line, each with its column's name; `None` is no value.
    pub(super) fn record<'a>(
        &mut self,
        cells: impl Iterator<Item = (&'a str, Option<&'a str>)>,
        row: Row<'_>,
        nesting: usize,
    ) {
        let before = self.verdicts.total;
        let mut members = std::mem::take(&mut self.members);
        let stamp = self.next_object(&mut members);
        let mut guess = 0;
        for (name, text) in cells {
            let path = Path::Field(&Path::Root, name);
            match (members.find(name, guess), text) {
                (Some(index), text) => {
                    guess = index + 1;
                    let node = &mut members.nodes[index];
                    node.seen = stamp;
                    match text {
                        Some(text) => self.cell(node, text, (row, &path), nesting),
                        None => self.nothing(node, row, &path),
                    }
                }
                (None, Some(text)) => self.stranger(&mut members, (name, text), row, &path),
                (None, None) => {}
            }
        }
        self.fill(&mut members, At { row, path: &Path::Root, depth: 0 });
        self.members = members;
        self.captured.clear();
        self.verdicts.bad_rows += usize::from(self.verdicts.total > before);
    }

    fn cell(&mut self, node: &mut Node, text: &str, (row, path): (Row<'_>, &Path<'_>), nesting: usize) {
        if matches!(node.values, Values::Struct(_) | Values::List(..) | Values::Map(..)) {
            let mut lexer = Lexer::new(text, nesting);
            let read = self.value(&mut lexer, node, At { row, path, depth: 1 });
            if read.is_err() || lexer.peek().is_some() {
                self.verdicts.add(
                    row,
                    path,
                    Misfit::new("malformed_json", "the cell is not JSON, as its column wants"),
                );
            }
            return;
        }
        if let Err(misfit) = push_cell(&mut node.values, text, self.manner) {
            if !self.widen(node, text) {
                self.verdicts.add(row, path, misfit);
            }
            node.push_null();
        }
    }

    /// A cell that the table has no column for.
    fn stranger(&mut self, members: &mut Members, (name, text): (&str, &str), row: Row<'_>, path: &Path<'_>) {
        self.strangers = true;
        self.may_wish(members, row);
        match self.unknown {
            Unknown::Add => match members.wished_for(name, row.index) {
                Wanted::Is(guess) => {
                    Looker { row, verdicts: &mut self.verdicts, mixing: Mixing::IsText }.cell(text, guess, path);
                    self.wishing = true;
                }
                Wanted::Twice => {}
                Wanted::Twin(twin) => {
                    let detail = format!("{name:?} and {twin:?} differ in case only");
                    self.verdicts.add(row, path, Misfit::new("ambiguous_name", detail));
                }
            },
            Unknown::Refuse => {
                self.verdicts.add(row, path, Misfit::new("unknown_field", "the table has no such column"))
            }
            Unknown::Ignore => {}
            Unknown::Capture if self.capture.is_none() => self.want_capture(members, row),
            Unknown::Capture => {
                self.captured.insert(name.to_owned(), text.into());
            }
        }
    }
}
