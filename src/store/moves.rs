//! The SQL of the swap that nearly all are: one table's pointer moves to another metadata file, and nothing else changes.
//!
//! Any number of them is one statement. That matters because each statement goes to the database's own thread and back,
//! which costs more than what it does there.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::{AnyConnection, AssertSqlSafe};

use super::swap::{PointedFile, Pointer, Refusal, Step, Swap, Verdict};
use super::tables::TableRow;
use super::{column, step, unavailable};
use crate::error::Result;
use crate::limits;

/// What stands between earlier metadata files in a row.
pub(super) const EARLIER_SEPARATOR: &str = "\u{1f}";

/// A pointer that moves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move<'a> {
    pub(super) from: &'a Arc<TableRow>,
    pub(super) to: &'a Pointer,
}

impl<'a> Move<'a> {
    /// The step as a move, if it is no more than one: the table stays itself, where it is.
    pub(super) fn of(step: &'a Step) -> Option<Self> {
        match step {
            Step::Replace { from, to } if to.keeps(from) && to.file == PointedFile::New => Some(Self { from, to }),
            _ => None,
        }
    }

    /// The swaps as moves of different tables, if that is what they are.
    pub(super) fn all<'b>(swaps: impl Iterator<Item = &'b Swap>) -> Option<Vec<Move<'b>>> {
        let only = |swap: &'b Swap| match &swap.steps[..] {
            [only] => Move::of(only),
            _ => None,
        };
        let moves: Vec<Move<'b>> = swaps.map(only).collect::<Option<_>>()?;
        let tables: HashSet<&str> = moves.iter().map(|one| &*one.from.id).collect();
        (tables.len() == moves.len()).then_some(moves)
    }

    fn verdict(self, moved: bool) -> Verdict {
        if moved {
            Verdict::Applied(vec![Some(Arc::new(step::row_after(self.from, self.to)))])
        } else {
            Verdict::Refused(Refusal::Moved(self.from.name.clone()))
        }
    }
}

/// Moves all whose tables are as they were read, and says of each whether it was.
pub(super) async fn apply(connection: &mut AnyConnection, moves: &[Move<'_>]) -> Result<Vec<Verdict>> {
    let sql = format!(
        "with moved (id, namespace, name, was, becomes) as (values {})
         update tabular
         set metadata_location = moved.becomes,
             earlier = substr(tabular.metadata_location || $1 || tabular.earlier, 1, {most}),
             version = tabular.version + 1
         from moved
         where tabular.id = moved.id and tabular.metadata_location = moved.was
           and tabular.namespace = moved.namespace and tabular.name = moved.name and tabular.dropped_ms is null
         {returning}",
        placeholders(moves.len(), 5, 2),
        most = limits::EARLIER_METADATA_CHARS,
        returning = if moves.len() == 1 { "" } else { "returning tabular.id as id" },
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(EARLIER_SEPARATOR);
    for Move { from, to } in moves {
        query = query
            .bind(&*from.id)
            .bind(from.name.namespace.path())
            .bind(&*from.name.name)
            .bind(&*from.metadata_location)
            .bind(&*to.metadata_location);
    }
    if let [only] = moves {
        // A row that comes back before the statement is done would wake this thread twice.
        let done = query.execute(&mut *connection).await.map_err(unavailable)?;
        return Ok(vec![only.verdict(done.rows_affected() == 1)]);
    }
    let rows = query.fetch_all(&mut *connection).await.map_err(unavailable)?;
    let moved = rows.iter().map(|row| column(row, "id")).collect::<Result<HashSet<String>>>()?;
    Ok(moves.iter().map(|one| one.verdict(moved.contains(&*one.from.id))).collect())
}

/// `($3, $4), ($5, $6)`: so many rows of so many columns, numbered from `first` on.
pub(super) fn placeholders(rows: usize, columns: usize, first: usize) -> String {
    let row = |row: usize| {
        let numbers: Vec<String> = (0..columns).map(|column| format!("${}", first + row * columns + column)).collect();
        format!("({})", numbers.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::placeholders;

    #[test]
    fn placeholders_count_on() {
        assert_eq!(placeholders(2, 2, 3), "($3, $4), ($5, $6)");
    }
}
