//! Which rows of a group are to be written, and which are there already: what its requests say of themselves, against what
//! the database knows.

use std::collections::{HashMap, HashSet};

use super::claims::Judgement;
use super::flush::Companions;
use super::queue::Queues;
use super::receipt::{Ack, Receipt};
use super::waiting::Waiting;
use crate::catalog::once::Key;
use crate::error::{Error, Result};
use crate::store::log_marks::Mark;
use crate::store::producers::{Advance, Standing};

/// What is to become of rows that wait.
#[derive(Debug)]
pub(super) enum Fate {
    /// They are written.
    Write,
    /// They are there already, and this is what their sender is told.
    There(Receipt),
    /// The same request stands before it in the group, and is answered the same.
    Follow,
    /// They are acknowledged, and cannot be written any more.
    Lost,
}

/// Rows and what is to become of them.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) waiting: Waiting,
    pub(super) fate: Fate,
}

impl Judged {
    /// Whether they are written.
    pub(super) fn is_written(&self) -> bool {
        matches!(self.fate, Fate::Write)
    }
}

/// Where producers were before the group, and where they are after it.
type Producers = HashMap<String, (Option<Standing>, Option<Standing>)>;

impl Queues {
    /// Judges a group in its order. Who is refused is answered and gone.
    pub(super) async fn judge(&self, group: Vec<Waiting>) -> Result<(Vec<Judged>, Companions), (Vec<Waiting>, Error)> {
        let known = match self.known(&group).await {
            Ok(known) => known,
            Err(error) => return Err((group, error)),
        };
        let Known { mark, mut answers, mut producers } = known;
        let mut companions = Companions::default();
        let mut written: HashSet<(String, String)> = HashSet::new();
        let mut judged = Vec::with_capacity(group.len());
        for waiting in in_sequence(group) {
            let fate = match fate(&waiting, mark, &mut answers, &mut producers) {
                Ok(fate) => fate,
                Err(error) => {
                    waiting.settle(Err(error));
                    continue;
                }
            };
            let fate = match (&fate, &waiting.claims.key) {
                (Fate::Write, Some(key)) => {
                    let name = key.to_name();
                    if answers.contains_key(&name) {
                        // Acknowledged, and the key has become another request's meanwhile.
                        fate
                    } else if written.insert(name) {
                        companions.keys.push((key.clone(), receipt_of(&waiting)));
                        fate
                    } else {
                        Fate::Follow
                    }
                }
                _ => fate,
            };
            judged.push(Judged { waiting, fate });
        }
        let table_id = judged.first().map(|one| one.waiting.target.row.to_string()).unwrap_or_default();
        companions.producers = producers
            .into_iter()
            .filter_map(|(producer, (from, to))| Some(Advance { table_id: table_id.clone(), producer, from, to: to? }))
            .collect();
        companions.mark = mark_of(judged.iter().map(|one| &one.waiting), mark);
        Ok((judged, companions))
    }

    async fn known(&self, group: &[Waiting]) -> Result<Known> {
        let store = self.catalog.store();
        let row = group.first().map_or("", |first| &*first.target.row);
        let keys: Vec<&Key> = group.iter().filter_map(|waiting| waiting.claims.key.as_ref()).collect();
        let mut answers = HashMap::new();
        if !keys.is_empty() {
            let found = self.catalog.answers(&keys).await?;
            for (key, answer) in keys.into_iter().zip(found) {
                if let Some(answer) = answer {
                    answers.insert(key.to_name(), answer);
                }
            }
        }
        let mut producers = Producers::new();
        for producer in group.iter().filter_map(|waiting| waiting.claims.producer.as_ref()) {
            if !producers.contains_key(&producer.producer) {
                let standing = store.producer(row, &producer.producer).await?;
                producers.insert(producer.producer.clone(), (standing, None));
            }
        }
        // Only after a commit of unknown outcome is a mark past what is still waiting.
        let unsure = group.iter().any(|waiting| waiting.tries > 0 && waiting.number().is_some());
        let mark = if unsure { store.log_mark(row).await?.unwrap_or(i64::MIN) } else { i64::MIN };
        Ok(Known { mark, answers, producers })
    }
}

struct Known {
    /// The last entry of the log that is committed.
    mark: i64,
    answers: HashMap<(String, String), Result<String>>,
    producers: Producers,
}

fn fate(
    waiting: &Waiting,
    mark: i64,
    answers: &mut HashMap<(String, String), Result<String>>,
    producers: &mut Producers,
) -> Result<Fate> {
    if waiting.number().is_some_and(|number| number <= mark) {
        return Ok(Fate::There(receipt_of(waiting)));
    }
    if let Some(key) = &waiting.claims.key {
        match answers.get(&key.to_name()) {
            Some(Ok(text)) => return Ok(Fate::There(answered(text)?)),
            // What is acknowledged is never refused.
            Some(Err(error)) if !waiting.is_acknowledged() => return Err(error.copy()),
            _ => {}
        }
    }
    let next = || if waiting.lost.is_some() { Fate::Lost } else { Fate::Write };
    let Some(position) = &waiting.claims.producer else { return Ok(next()) };
    let Some((from, to)) = producers.get_mut(&position.producer) else { return Ok(next()) };
    match position.judge(to.as_ref().or(from.as_ref())) {
        Judgement::Next(standing) => {
            *to = Some(standing);
            Ok(next())
        }
        Judgement::Done => Ok(Fate::There(receipt_of(waiting).duplicate())),
        _ if waiting.is_acknowledged() => Ok(next()),
        Judgement::Gap { expected } => Err(position.gap(expected)),
        Judgement::Fenced { epoch } => Err(position.fenced(epoch)),
    }
}

/// The group with the requests of each producer in the order that it counts them in; those that are acknowledged first.
fn in_sequence(mut group: Vec<Waiting>) -> Vec<Waiting> {
    if group.iter().any(|waiting| waiting.claims.producer.is_some()) {
        group.sort_by_key(|waiting| {
            let place = waiting.claims.producer.as_ref().filter(|_| !waiting.is_acknowledged());
            let place = place.map(|position| (position.epoch, position.sequence));
            (!waiting.is_acknowledged(), place)
        });
    }
    group
}

/// The entries of the log behind `mark` that are among these.
pub(super) fn mark_of<'a>(group: impl Iterator<Item = &'a Waiting>, mark: i64) -> Option<Mark> {
    let mut all: Option<Mark> = None;
    for waiting in group {
        let Some(number) = waiting.number().filter(|number| *number > mark) else { continue };
        let known =
            all.get_or_insert_with(|| Mark { table_id: waiting.target.row.to_string(), first: number, last: number });
        known.first = known.first.min(number);
        known.last = known.last.max(number);
    }
    all
}

/// What is kept under a key, as its request's sender is told it again.
pub(super) fn answered(text: &str) -> Result<Receipt> {
    let receipt: Receipt =
        serde_json::from_str(text).map_err(|error| Error::internal("A kept answer is damaged").because(error))?;
    Ok(Receipt { again: true, ..receipt })
}

/// What a request is told, but for its snapshot.
pub(super) fn receipt_of(waiting: &Waiting) -> Receipt {
    let ack = match waiting.number() {
        Some(_) => Ack::Wal,
        None if waiting.is_acknowledged() => Ack::None,
        None => Ack::Commit,
    };
    waiting.receipt(ack)
}
