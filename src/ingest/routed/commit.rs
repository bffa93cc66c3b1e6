//! The rows of a body for many tables, on their way into snapshots.

use futures::future::join_all;

use super::earlier::{Done, NO_TABLE, part_of};
use super::{ForTable, RoutedAppend, Together, UNROUTED, named};
use crate::catalog::once::Key;
use crate::error::{Error, Kind, Result};
use crate::ingest::claims::Claims;
use crate::ingest::held;
use crate::ingest::intake::Intake;
use crate::ingest::receipt::{LeftOut, Receipt};
use crate::ingest::verdict::Verdicts;
use crate::ingest::waiting::{Beside, Waiting};
use crate::ingest::{Ack, Ingest};
use crate::names::TableName;
use crate::store::swap::Alongside;

/// What came of making tables have what rows ask for.
pub(super) enum Ready {
    Fit(Parts),
    Refused(Verdicts),
}

/// What is to be committed of a request.
pub(super) struct Parts {
    /// The rows of each table, and the dead letters of each of which no row fits.
    waiting: Vec<Waiting>,
    /// Rows that fit no table and are put nowhere.
    skipped: LeftOut,
}

impl Ingest {
    /// What is to be committed, with the dead letters of rows that have no table.
    pub(super) async fn ready(
        &self,
        read: Vec<ForTable>,
        lost: Verdicts,
        request: &RoutedAppend,
        key: Option<&Key>,
    ) -> Result<Ready> {
        let key = key.filter(|_| request.together == Together::OneByOne);
        let claims = |part: &str| Claims { key: key.map(|key| key.part(part)), producer: None };
        let mut waiting: Vec<Waiting> = Vec::with_capacity(read.len());
        let mut unfit: Vec<(String, TableName, Verdicts)> = vec![(NO_TABLE.to_owned(), named(UNROUTED)?, lost)];
        for ForTable { name, append, places, read } in read {
            if read.fits_nothing() {
                let mut verdicts = read.into_verdicts();
                verdicts.move_to(&places);
                unfit.push((part_of(&name), name, verdicts));
                continue;
            }
            let mut received = match self.fit(&name, &append.options, read).await? {
                Intake::Fits(received) => received,
                Intake::Refused(mut refused) => {
                    refused.verdicts.move_to(&places);
                    return Ok(Ready::Refused(refused.verdicts));
                }
            };
            received.verdicts.move_to(&places);
            self.check_files(&request.options, &received).await?;
            let claims = claims(&part_of(&name));
            waiting.push(*self.waiting(name, claims, (received, &request.options.request_id)).await?);
        }
        let mut skipped = LeftOut::default();
        for (part, name, verdicts) in unfit {
            verdicts.count();
            if verdicts.has_dead_letters() {
                let sent = (claims(&part), request.options.request_id.as_str());
                waiting.push(*self.only_dead_letters(&name, &verdicts, sent).await?);
            } else {
                skipped.add(&verdicts);
            }
        }
        Ok(Ready::Fit(Parts { waiting, skipped }))
    }

    /// Commits what is not done yet; what became of all of it.
    pub(super) async fn write_routed(
        &self,
        parts: Parts,
        done: Done,
        request: &RoutedAppend,
        key: Option<Key>,
    ) -> Result<Receipt> {
        let Parts { waiting, skipped } = parts;
        let (waiting, skipped) = match request.together {
            Together::OneByOne => (waiting, skipped),
            Together::AllOrNone => (vec![self.joined(waiting, skipped, key.clone())?], LeftOut::default()),
        };
        let (ack, timeout) = (request.options.ack, request.options.timeout);
        let heard = join_all(waiting.into_iter().map(Box::new).map(|one| async move {
            match ack {
                Ack::Commit => Self::hear(self.submit(one), timeout).await,
                ack => self.acknowledge(one, ack).await,
            }
        }))
        .await;
        let mut receipts = done.into_receipts();
        let (count, mut failed) = (receipts.len() + heard.len(), None);
        for one in heard {
            match one {
                Ok(receipt) => receipts.push(receipt),
                Err(error) => {
                    failed = failed.into_iter().chain([error]).max_by_key(openness);
                }
            }
        }
        if let Some(error) = failed {
            let taken = receipts.len();
            return Err(if taken == 0 { error } else { in_part(&error, taken, count, key.is_some()) });
        }
        let mut receipt = Receipt::of_all(receipts).ok_or_else(|| Error::internal("Nothing was written"))?;
        receipt.leave_out(skipped);
        if let (Some(key), true) = (key, request.together == Together::OneByOne && ack != Ack::None) {
            self.keep_answer(&key, &receipt).await;
        }
        Ok(receipt)
    }

    /// Keeps the answer under the request's own key, for it to be asked for. Its rows are known by the keys of their tables
    /// if this fails.
    async fn keep_answer(&self, key: &Key, receipt: &Receipt) {
        let kept = async {
            let text = serde_json::to_string(&Receipt { again: false, ..receipt.clone() });
            let text = text.map_err(|error| Error::internal("An answer cannot be written").because(error))?;
            let keys = vec![self.catalog.key_row(key, text)?];
            self.catalog.keep(Alongside { keys, ..Alongside::default() }).await
        };
        if let Err(error) = kept.await {
            tracing::debug!(error = error.chain(), "the answer of a request for many tables is not kept");
        }
    }

    /// One request of all: the first table's, with the rows of the others beside it.
    fn joined(&self, all: Vec<Waiting>, skipped: LeftOut, key: Option<Key>) -> Result<Waiting> {
        let mut all = all.into_iter();
        let mut first = all.next().ok_or_else(|| Error::internal("Rows for many tables are for none"))?;
        first.left_out.join(skipped);
        for one in all {
            let rows = held::together(&held::columns(&one.rows)?)?;
            first.bytes += one.bytes;
            first.left_out.join(one.left_out);
            first.beside.push(Beside { target: one.target, rows, what: one.what });
            first.beside.extend(one.beside);
        }
        one_of_each(&mut first)?;
        first.memory = self.memory.take(&self.owner(&first.target.name), first.bytes);
        first.beside.sort_by(|one, other| one.target.name.cmp(&other.target.name));
        first.known.0 = key.as_ref().map(|key| self.keys.begin(key)).transpose()?;
        first.claims = Claims { key, producer: None };
        Ok(first)
    }
}

/// How much an error leaves open: of several the one is told that leaves the most.
fn openness(error: &Error) -> u8 {
    match error.kind() {
        Kind::CommitUnknown => 2,
        Kind::Pending => 1,
        _ => 0,
    }
}

/// Puts rows for one table that stand beside a request's together: a commit changes a table once.
fn one_of_each(one: &mut Waiting) -> Result<()> {
    let mut each: Vec<Beside> = Vec::with_capacity(one.beside.len());
    for beside in std::mem::take(&mut one.beside) {
        let own = beside.target.row == one.target.row;
        match each.iter_mut().find(|known| known.target.row == beside.target.row) {
            None if !own => each.push(beside),
            Some(known) if known.what == beside.what && known.target.schema_id == beside.target.schema_id => {
                known.rows = held::together(&[known.rows.clone(), beside.rows])?;
            }
            _ => {
                let message = format!(
                    "Rows for table {} come with rows that do not fit and are put there; nothing was written: send them \
                     apart",
                    beside.target.name
                );
                return Err(Error::new(Kind::Unprocessable, message).with_code("rejected_table_unfit"));
            }
        }
    }
    one.beside = each;
    Ok(())
}

/// The error of a request some of whose tables are committed.
fn in_part(error: &Error, taken: usize, of: usize, has_key: bool) -> Error {
    let way_out = if has_key {
        "send the same request again with its key: what is there is not written twice"
    } else {
        "sending it again would write those twice: use an Idempotency-Key, or atomic=true"
    };
    let message = format!("{}; the rows of {taken} of {of} tables are there: {way_out}", error.message());
    Error::new(Kind::CommitUnknown, message).with_code("partly_written")
}
