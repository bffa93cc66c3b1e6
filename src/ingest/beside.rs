//! Rows of other tables that are committed with a request's: dead letters, and rows of a body for many tables.
//!
//! They follow their table like others. Where it is gone, who waits is told; what is acknowledged is written without them,
//! and they are counted and reported.

use super::columns::Shape;
use super::flush::{Target, schema_changed};
use super::lift::lift;
use super::queue::Queues;
use super::waiting::Waiting;
use crate::error::{Error, Kind, What};

/// What came of bringing the rows beside a group's under the columns that their tables have.
pub(super) enum AlignedBeside {
    /// The tables, in the order in which each request has rows of them.
    Under(Vec<Target>, Vec<Waiting>),
    /// A table has another name or is gone; the requests are not for the same tables any more.
    Changed(Vec<Waiting>),
    Failed(Vec<Waiting>, Error),
}

impl Queues {
    /// The rows of other tables under the columns that those have now. All requests of the group have rows of the same.
    pub(super) async fn beside_under_one_schema(&self, mut group: Vec<Waiting>) -> AlignedBeside {
        let tables: Vec<Target> = match group.first() {
            Some(first) => first.beside.iter().map(|beside| beside.target.clone()).collect(),
            None => return AlignedBeside::Under(Vec::new(), group),
        };
        let mut targets = Vec::with_capacity(tables.len());
        for (at, table) in tables.into_iter().enumerate() {
            let present = self.present(&table).await;
            let shape = match present.and_then(|present| Shape::of(present.metadata.current_schema()?)) {
                Ok(shape) => shape,
                Err(error) if error.kind() == Kind::NotFound(What::Table) => {
                    return self.follow_beside(group, at, &table, &error).await;
                }
                // It will not be otherwise by being tried again: the others do not wait for it.
                Err(error) if error.kind() == Kind::Unprocessable => return self.without(group, at, &error),
                Err(error) => return AlignedBeside::Failed(group, error),
            };
            let target = Target { schema_id: shape.schema.schema_id, ..table };
            let mut aligned = Vec::with_capacity(group.len());
            let mut changed = false;
            for one in group {
                match self.align_beside(one, at, (&target, &shape)) {
                    Fitting::Fits(one) => aligned.push(one),
                    Fitting::Without(one) => {
                        changed = true;
                        aligned.push(one);
                    }
                    Fitting::Refused => {}
                }
            }
            group = aligned;
            if changed {
                return AlignedBeside::Changed(group);
            }
            targets.push(target);
        }
        AlignedBeside::Under(targets, group)
    }

    fn align_beside(&self, mut one: Waiting, at: usize, (target, shape): (&Target, &Shape)) -> Fitting {
        let (acknowledged, gone) = (one.is_acknowledged(), one.what_goes());
        let Some(beside) = one.beside.get_mut(at) else { return Fitting::Fits(one) };
        if beside.target.schema_id == target.schema_id {
            return Fitting::Fits(one);
        }
        match lift(&beside.rows, shape.arrow.fields(), gone) {
            Ok(Some(rows)) => {
                (beside.rows, beside.target) = (rows, target.clone());
                Fitting::Fits(one)
            }
            _ if acknowledged => {
                self.leave(&mut one, at, "the table's columns changed");
                Fitting::Without(one)
            }
            Ok(None) => {
                one.settle(Err(schema_changed()));
                Fitting::Refused
            }
            Err(error) => {
                one.settle(Err(error));
                Fitting::Refused
            }
        }
    }

    /// A table beside has another name, or is gone.
    async fn follow_beside(&self, mut group: Vec<Waiting>, at: usize, target: &Target, gone: &Error) -> AlignedBeside {
        match self.catalog.name_of(&target.row, &target.uuid).await {
            Err(error) => return AlignedBeside::Failed(group, error),
            Ok(Some(name)) => {
                let beside = group.iter_mut().filter_map(|one| one.beside.get_mut(at));
                beside.for_each(|beside| beside.target.name = name.clone());
                return AlignedBeside::Changed(group);
            }
            Ok(None) => {}
        }
        self.without(group, at, gone)
    }

    /// A table beside cannot be written: who waits is told, what is acknowledged goes on without its rows.
    fn without(&self, group: Vec<Waiting>, at: usize, error: &Error) -> AlignedBeside {
        let gone = matches!(error.kind(), Kind::NotFound(_));
        let why = if gone { "the table is gone" } else { "the table cannot be written to" };
        let (mut kept, told): (Vec<Waiting>, Vec<Waiting>) = group.into_iter().partition(Waiting::is_acknowledged);
        told.into_iter().for_each(|one| one.settle(Err(error.copy())));
        kept.iter_mut().for_each(|one| self.leave(one, at, why));
        AlignedBeside::Changed(kept)
    }

    /// Gives up rows that were acknowledged.
    fn leave(&self, one: &mut Waiting, at: usize, why: &'static str) {
        let lost = one.beside.remove(at);
        self.report_rows(&lost.target, lost.rows.num_rows(), why);
    }
}

/// What came of bringing a request's rows of another table under its columns.
enum Fitting {
    Fits(Waiting),
    /// It goes on without them.
    Without(Waiting),
    Refused,
}
