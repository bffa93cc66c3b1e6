//! What a request says of itself so that its rows count once: a key of its own, or its place in what a producer sends.
//!
//! Both are kept in the transaction that makes the rows visible, so that neither can be there without the other. Where a
//! producer is, is decided by [`Position::judge`], a pure function.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::catalog::once::Key;
use crate::error::{Error, Kind, Result};
use crate::store::producers::Standing;

/// What a request says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    pub(super) key: Option<Key>,
    pub(super) producer: Option<Position>,
}

impl Claims {
    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.key.is_none() && self.producer.is_none()
    }
}

/// A request's place in what a producer sends to a table (`X-Producer-Id`, `-Epoch`, `-Seq`, `X-Offset-Token`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The producer's name.
    pub producer: String,
    /// Which of its lives it is.
    pub epoch: i64,
    /// The request's number in that life; `None` where the producer does not count.
    pub sequence: Option<i64>,
    /// What the producer wants to be told when it asks how far it came.
    pub offset_token: Option<String>,
}

/// What is to be done with a request of a producer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Its rows are next, and then this is how far the producer is.
    Next(Standing),
    /// Its rows are there already.
    Done,
    /// One before it is missing.
    Gap {
        /// The number of the one that is next.
        expected: i64,
    },
    /// A later life of the producer has begun.
    Fenced {
        /// That life.
        epoch: i64,
    },
}

impl Position {
    /// What is to be done where the producer is known to be at `standing`. Who is not known, or begins another life, counts
    /// from 0: if it began anywhere, what comes later with a lower number would be taken for known.
    pub(super) fn judge(&self, standing: Option<&Standing>) -> Judgement {
        let next = |sequence: i64, token: Option<&String>| {
            let offset_token = self.offset_token.as_ref().or(token).cloned();
            Judgement::Next(Standing { epoch: self.epoch, sequence, offset_token })
        };
        let token = standing.and_then(|known| known.offset_token.as_ref());
        let last = match standing {
            Some(known) if known.epoch > self.epoch => return Judgement::Fenced { epoch: known.epoch },
            Some(known) if known.epoch == self.epoch => known.sequence,
            _ => -1,
        };
        match self.sequence {
            None => next(last, token),
            Some(sequence) if sequence <= last => Judgement::Done,
            Some(sequence) if sequence == last + 1 => next(sequence, token),
            Some(_) => Judgement::Gap { expected: last + 1 },
        }
    }

    /// The refusal of a request before which one is missing.
    pub(super) fn gap(&self, expected: i64) -> Error {
        let (producer, sent) = (&self.producer, self.sequence.unwrap_or(-1));
        let message = format!(
            "Producer {producer:?} sent request {sent} where {expected} is next; nothing was written: send that one first"
        );
        Error::conflict(message).with_code("producer_gap")
    }

    /// The refusal of a request of a life that is over.
    pub(super) fn fenced(&self, epoch: i64) -> Error {
        let (producer, sent) = (&self.producer, self.epoch);
        let message = format!(
            "Producer {producer:?} is in epoch {epoch}, and epoch {sent} is over; nothing was written: who sends this \
             has been replaced"
        );
        Error::conflict(message).with_code("producer_fenced")
    }
}

/// The keys whose requests are under way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct KeysUnderWay(Arc<Mutex<BTreeMap<Name, Known>>>);

type Name = (String, String);

#[derive(Debug)]
struct Known {
    fingerprint: String,
    requests: usize,
    /// Whether one of them is acknowledged.
    acknowledged: bool,
}

/// A key that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct KeyUnderWay {
    keys: KeysUnderWay,
    name: Name,
}

impl KeysUnderWay {
    /// Takes note of a request's key; an error where another request is under way with it, or a part of one.
    pub(super) fn begin(&self, key: &Key) -> Result<KeyUnderWay> {
        let (scope, name) = (key.name().0, key.to_name());
        let (from, before) = key.family();
        let mut keys = self.locked();
        let family = keys.range((scope.to_owned(), from.to_owned())..(scope.to_owned(), before));
        if family.into_iter().any(|(_, known)| known.fingerprint != key.fingerprint()) {
            return Err(key.reused());
        }
        let fresh = || Known { fingerprint: key.fingerprint().to_owned(), requests: 0, acknowledged: false };
        keys.entry(name.clone()).or_insert_with(fresh).requests += 1;
        drop(keys);
        Ok(KeyUnderWay { keys: self.clone(), name })
    }

    /// From now on a request with this key is acknowledged, as long as one is under way.
    pub(super) fn acknowledge(&self, key: &Key) {
        if let Some(known) = self.locked().get_mut(&key.to_name()) {
            known.acknowledged = true;
        }
    }

    /// Whether a request with this key is under way.
    pub(super) fn contains(&self, scope: &str, key: &str) -> bool {
        self.locked().contains_key(&(scope.to_owned(), key.to_owned()))
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyUnderWay {
    /// Whether a request with this key is acknowledged.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.keys.locked().get(&self.name).is_some_and(|known| known.acknowledged)
    }
}

impl Drop for KeyUnderWay {
    fn drop(&mut self) {
        let mut keys = self.keys.locked();
        if let Some(known) = keys.get_mut(&self.name) {
            known.requests -= 1;
            if known.requests == 0 {
                keys.remove(&self.name);
            }
        }
    }
}

/// How far producers are whose rows are acknowledged and not committed yet. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Ahead(Arc<Mutex<AllAhead>>);

#[derive(Debug, Default)]
struct AllAhead {
    /// By table and producer: each of the requests that wait, in order, and where it brings the producer.
    standings: HashMap<Name, BTreeMap<u64, Standing>>,
    next: u64,
}

/// A producer that is ahead of what is committed, at least until this is dropped.
#[derive(Debug)]
pub(super) struct StandsAhead {
    ahead: Ahead,
    name: Name,
    own: u64,
}

impl Ahead {
    /// How far a producer of a table is, if it is ahead of what the database says.
    pub(super) fn of(&self, table: &str, producer: &str) -> Option<Standing> {
        let all = self.locked();
        let standings = all.standings.get(&(table.to_owned(), producer.to_owned()))?;
        standings.last_key_value().map(|(_, standing)| standing.clone())
    }

    /// Notes that a producer is at `standing` once what waits is committed.
    pub(super) fn put(&self, table: &str, producer: &str, standing: Standing) -> StandsAhead {
        let name = (table.to_owned(), producer.to_owned());
        let mut all = self.locked();
        let own = all.next;
        all.next += 1;
        all.standings.entry(name.clone()).or_default().insert(own, standing);
        StandsAhead { ahead: self.clone(), name, own }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, AllAhead> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StandsAhead {
    fn drop(&mut self) {
        let mut all = self.ahead.locked();
        if let Some(standings) = all.standings.get_mut(&self.name) {
            standings.remove(&self.own);
            if standings.is_empty() {
                all.standings.remove(&self.name);
            }
        }
    }
}

/// Reads the text of a key: 1 to 200 printable characters of ASCII.
pub fn check_key(text: &str) -> Result<()> {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if printable && (1..=200).contains(&text.len()) {
        return Ok(());
    }
    Err(Error::new(Kind::Malformed, format!("Idempotency-Key {text:?} is not 1 to 200 printable ASCII characters")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: i64, sequence: i64, token: &str) -> Standing {
        Standing { epoch, sequence, offset_token: Some(token.to_owned()) }
    }

    #[test]
    fn a_producer_goes_one_step_at_a_time() {
        let sends = |epoch: i64, sequence: Option<i64>| Position {
            producer: "p".to_owned(),
            epoch,
            sequence,
            offset_token: Some("new".to_owned()),
        };
        let known = at(3, 7, "old");
        for (epoch, sequence, judgement) in [
            (3, Some(8), Judgement::Next(at(3, 8, "new"))),
            (3, Some(7), Judgement::Done),
            (3, Some(0), Judgement::Done),
            (3, Some(9), Judgement::Gap { expected: 8 }),
            (3, None, Judgement::Next(at(3, 7, "new"))),
            (2, Some(8), Judgement::Fenced { epoch: 3 }),
            (2, None, Judgement::Fenced { epoch: 3 }),
            (4, Some(0), Judgement::Next(at(4, 0, "new"))),
            (4, Some(8), Judgement::Gap { expected: 0 }),
            (4, None, Judgement::Next(at(4, -1, "new"))),
        ] {
            assert_eq!(sends(epoch, sequence).judge(Some(&known)), judgement, "{epoch} {sequence:?}");
        }
        assert_eq!(sends(0, Some(0)).judge(None), Judgement::Next(at(0, 0, "new")));
        assert_eq!(sends(0, Some(5)).judge(None), Judgement::Gap { expected: 0 });
        assert_eq!(sends(4, Some(0)).judge(Some(&at(4, -1, "old"))), Judgement::Next(at(4, 0, "new")));
        let silent = Position { offset_token: None, ..sends(3, Some(8)) };
        assert_eq!(silent.judge(Some(&known)), Judgement::Next(at(3, 8, "old")), "what it said before still holds");
    }

    #[test]
    fn a_key_is_under_way_until_all_its_requests_are_done() {
        let keys = KeysUnderWay::default();
        let key = |body: &[u8]| Key::new("s".to_owned(), "k".to_owned(), &[], body);
        let first = keys.begin(&key(b"a")).expect("free");
        let second = keys.begin(&key(b"a")).expect("the same request");
        assert_eq!(keys.begin(&key(b"b")).expect_err("another").code(), Some("key_reused"));
        drop(first);
        assert!(keys.contains("s", "k"));
        drop(second);
        assert!(!keys.contains("s", "k") && keys.locked().is_empty());
        let part = keys.begin(&key(b"a").part("t")).expect("free");
        assert_eq!(keys.begin(&key(b"b")).expect_err("another").code(), Some("key_reused"));
        assert_eq!(keys.begin(&key(b"b").part("u")).expect_err("another").code(), Some("key_reused"));
        let longer = Key::new("s".to_owned(), "k ".to_owned(), &[], b"b");
        drop(keys.begin(&longer).expect("another key"));
        drop(keys.begin(&key(b"a")).expect("the same request"));
        drop(part);
        assert!(keys.locked().is_empty());
    }

    #[test]
    fn a_producer_falls_back_to_what_is_left_of_it() {
        let ahead = Ahead::default();
        let five = ahead.put("t", "p", at(0, 5, "a"));
        let six = ahead.put("t", "p", at(0, 6, "b"));
        assert_eq!(ahead.of("t", "p"), Some(at(0, 6, "b")));
        drop(six);
        assert_eq!(ahead.of("t", "p"), Some(at(0, 5, "a")), "six was not written after all");
        drop(five);
        assert_eq!(ahead.of("t", "p"), None);
        assert!(ahead.locked().standings.is_empty());
    }

    #[test]
    fn keys_are_printable_and_short() {
        for good in ["a", "order 17/é".trim_end_matches("é"), &"x".repeat(200)] {
            check_key(good).expect("fine");
        }
        for bad in ["", "é", "a\tb", &"x".repeat(201)] {
            assert_eq!(check_key(bad).expect_err("refused").kind(), Kind::Malformed);
        }
    }
}
