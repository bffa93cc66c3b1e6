//! Requests that a client may send again: what comes of a key (`Idempotency-Key`) happens once.
//!
//! What answers a request is kept under its key in the SQL transaction of the request's effect, so that there is never one
//! without the other. The same request again gets the same answer, also while the first is still under way: it waits. The
//! key with another request is refused. What cannot be said for good is not kept: a fault, a full server, a token that was
//! refused. Then the same key may try again.
//!
//! The number of keys is bounded. Where it is reached, requests with new keys are refused before anything happens: none is
//! forgotten before its time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::Catalog;
use super::sequencer::Sequencer;
use crate::error::{Error, Kind, Result, What};
use crate::limits;
use crate::names::TableName;
use crate::store::Store;
use crate::store::keys::KeyRow;
use crate::store::swap::Step;

/// What bounds keys.
#[derive(Debug, Clone, Copy)]
pub struct KeySettings {
    /// How long an answer is kept.
    pub lifetime: Duration,
    /// How many are kept at most.
    pub most: i64,
}

/// The keys of all warehouses. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keys {
    settings: KeySettings,
    count: Arc<AtomicI64>,
    turns: Sequencer,
}

impl Keys {
    /// Counts what is kept.
    pub async fn open(store: &Store, settings: KeySettings) -> Result<Self> {
        let count = Arc::new(AtomicI64::new(store.count_keys().await?));
        Ok(Self { settings, count, turns: Sequencer::default() })
    }

    /// What bounds them.
    pub fn settings(&self) -> KeySettings {
        self.settings
    }

    /// Removes what has expired.
    pub async fn drop_expired(&self, store: &Store) -> Result<()> {
        let mut any = false;
        loop {
            let gone = store.drop_expired_keys(limits::KEYS_DROPPED_AT_ONCE).await?;
            let gone = i64::try_from(gone).unwrap_or(0);
            any |= gone > 0;
            if gone < limits::KEYS_DROPPED_AT_ONCE {
                break;
            }
        }
        if any {
            // Counted anew: a commit of unknown outcome may have added one that nobody heard of.
            self.count.store(store.count_keys().await?, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Counts keys that were added.
    pub(super) fn added(&self, count: usize) {
        self.count.fetch_add(i64::try_from(count).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Refuses a new key where there is no room for it.
    pub async fn admit(&self, store: &Store) -> Result<()> {
        let most = self.settings.most;
        if self.count.load(Ordering::Relaxed) >= most {
            self.drop_expired(store).await?;
        }
        if self.count.load(Ordering::Relaxed) < most {
            return Ok(());
        }
        Err(Error::new(
            Kind::Unavailable,
            format!("{most} idempotency keys are kept, the most there can be; nothing was done: try again later"),
        ))
    }
}

/// What stands between a key and the name of a part of its request: no client's key has it.
const PART: char = '\u{1f}';
/// What comes behind the keys of all parts. All that a client's key may have comes no earlier.
const BEHIND_PARTS: char = ' ';

/// A key, and the request it came with.
#[derive(Debug, Clone)]
pub struct Key {
    scope: String,
    key: String,
    fingerprint: String,
}

impl Key {
    /// The key of a request of these parts, for who sends it.
    pub fn new(scope: String, key: String, request: &[&[u8]], body: &[u8]) -> Self {
        let mut request = Fingerprint::of(request);
        request.update(body);
        request.key(scope, key)
    }

    /// A key that was known before.
    pub fn known(scope: String, key: String, fingerprint: String) -> Self {
        Self { scope, key, fingerprint }
    }

    /// Whose it is, and its text: what no two requests share.
    pub fn name(&self) -> (&str, &str) {
        (&self.scope, &self.key)
    }

    /// The same, to be kept.
    pub fn to_name(&self) -> (String, String) {
        (self.scope.clone(), self.key.clone())
    }

    /// The key of a part of the request, which is done by itself.
    #[must_use]
    pub fn part(&self, name: &str) -> Self {
        Self { key: format!("{}{PART}{name}", self.key), ..self.clone() }
    }

    /// The first of the keys of the whole request and its parts, and what comes behind them all. Other requests have none
    /// that is in between.
    pub fn family(&self) -> (&str, String) {
        let whole = self.key.split(PART).next().unwrap_or_default();
        (whole, format!("{whole}{BEHIND_PARTS}"))
    }

    /// What tells the request from others.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The refusal of another request with this key.
    pub fn reused(&self) -> Error {
        let message = format!("Idempotency-Key {:?} came with another request before: make a new one", self.key);
        Error::new(Kind::Unprocessable, message).with_code("key_reused")
    }
}

/// What tells a request from others, while it comes in.
pub struct Fingerprint(Context);

impl Fingerprint {
    /// Of everything but the body.
    pub fn of(request: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in request {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self(context)
    }

    /// Takes in more of the body.
    pub fn update(&mut self, body: &[u8]) {
        self.0.update(body);
    }

    /// The key that the whole request came with.
    pub fn key(self, scope: String, key: String) -> Key {
        Key { scope, key, fingerprint: hex(self.0.finish().as_ref()) }
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// A key under which something is being done.
#[derive(Debug)]
pub(super) struct UnderWay {
    key: Key,
    expires_ms: i64,
    kept: AtomicBool,
}

impl UnderWay {
    fn row(&self, answer: &Answer) -> Result<KeyRow> {
        row_of(&self.key, answer, self.expires_ms)
    }
}

fn row_of(key: &Key, answer: &Answer, expires_ms: i64) -> Result<KeyRow> {
    let Key { scope, key, fingerprint } = key.clone();
    let answer = serde_json::to_string(answer);
    let answer = answer.map_err(|error| Error::internal("An answer cannot be written").because(error))?;
    Ok(KeyRow { scope, key, fingerprint, answer, expires_ms })
}

/// What an answer is made of again.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// It was done; the text says with what.
    Done(String),
    /// It was refused for good.
    Refused { kind: Kind, message: String },
}

impl Answer {
    /// What is kept of an error, if that can be said again for good.
    fn of(error: &Error) -> Option<Self> {
        let kind = error.kind();
        let for_good = matches!(
            kind,
            // A file that is missing may come back with its disk.
            Kind::NotFound(What::Namespace | What::Table | What::View)
                | Kind::AlreadyExists(_)
                | Kind::NotEmpty
                | Kind::Malformed
                | Kind::Illegal
                | Kind::Invalid
                | Kind::Unprocessable
                | Kind::Conflict
                | Kind::Unsupported
        );
        let message: String = error.message().chars().take(limits::KEPT_MESSAGE_CHARS).collect();
        for_good.then_some(Self::Refused { kind, message })
    }
}

impl Catalog {
    /// The keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Does something once under a key, or anyhow where there is none. `work` gets a catalog that keeps the answer with the
    /// effect; `text` says what the answer is made of where `work` had no effect to keep it with; `again` makes it of that
    /// text. It goes on whether or not anybody waits.
    pub async fn once<T, W, A>(
        &self,
        key: Option<Key>,
        work: impl FnOnce(Self) -> W + Send + 'static,
        text: impl FnOnce(&T) -> Result<String> + Send + 'static,
        again: impl FnOnce(Self, String) -> A + Send + 'static,
    ) -> Result<T>
    where
        T: Send + Sync + 'static,
        W: Future<Output = Result<T>> + Send,
        A: Future<Output = Result<T>> + Send,
    {
        let Some(key) = key else { return work(self.clone()).await };
        let catalog = self.clone();
        self.detached(async move {
            let _turn = catalog.keys.turns.enter(vec![format!("{} {}", key.scope, key.key).into()]).await;
            match catalog.store.find_keys(&[key.name()]).await?.pop() {
                Some(kept) if kept.fingerprint != key.fingerprint => Err(key.reused()),
                Some(kept) => again(catalog, text_of(&kept)?).await,
                None => catalog.first(key, work, text).await,
            }
        })
        .await
    }

    async fn first<T, W: Future<Output = Result<T>>>(
        &self,
        key: Key,
        work: impl FnOnce(Self) -> W,
        text: impl FnOnce(&T) -> Result<String>,
    ) -> Result<T> {
        self.keys.admit(&self.store).await?;
        let expires_ms = self.key_expires_ms();
        let under_way = Arc::new(UnderWay { key, expires_ms, kept: AtomicBool::new(false) });
        let outcome = work(Self { key: Some(Arc::clone(&under_way)), ..self.clone() }).await;
        let answer = match &outcome {
            Ok(_) if under_way.kept.load(Ordering::Acquire) => None,
            // What had no effect may be done again where its answer is too large to be kept.
            Ok(done) => Some(text(done)?).filter(|text| text.len() <= limits::KEPT_ANSWER_BYTES_MAX).map(Answer::Done),
            Err(error) => Answer::of(error),
        };
        if let Some(answer) = answer {
            match self.store.keep_key(&under_way.row(&answer)?).await {
                Ok(()) => self.key_kept(&under_way),
                // Nothing happened that a second try could double.
                Err(error) => tracing::warn!(error = error.chain(), "an answer could not be kept under its key"),
            }
        }
        outcome
    }

    /// Until when an answer is kept from now on.
    fn key_expires_ms(&self) -> i64 {
        let lifetime = i64::try_from(self.keys.settings.lifetime.as_millis()).unwrap_or(i64::MAX);
        self.clock.now_ms().saturating_add(lifetime)
    }

    /// What was answered under each of these keys, if anything was; an error where it was to another request.
    pub async fn answers(&self, keys: &[&Key]) -> Result<Vec<Option<Result<String>>>> {
        let names: Vec<(&str, &str)> = keys.iter().map(|key| key.name()).collect();
        let kept = self.store.find_keys(&names).await?;
        let kept: HashMap<(&str, &str), &KeyRow> =
            kept.iter().map(|row| ((row.scope.as_str(), row.key.as_str()), row)).collect();
        let answer = |key: &&Key| {
            let row = kept.get(&key.name())?;
            Some(if row.fingerprint == key.fingerprint { text_of(row) } else { Err(key.reused()) })
        };
        Ok(keys.iter().map(answer).collect())
    }

    /// What was answered to a request as a whole, and to its parts, by their names; an error where any was to another.
    pub async fn answers_in_part(&self, key: &Key) -> Result<(Option<String>, HashMap<String, String>)> {
        let (from, before) = key.family();
        let kept = self.store.find_keys_between(&key.scope, (from, &before), limits::KEY_PARTS_MAX).await?;
        let (mut whole, mut parts) = (None, HashMap::with_capacity(kept.len()));
        for row in &kept {
            if row.fingerprint != key.fingerprint {
                return Err(key.reused());
            }
            match row.key.split_once(PART) {
                None => whole = Some(text_of(row)?),
                Some((_, part)) => drop(parts.insert(part.to_owned(), text_of(row)?)),
            }
        }
        Ok((whole, parts))
    }

    /// What was answered under a key, whatever the request was.
    pub async fn answer_under(&self, scope: &str, key: &str) -> Result<Option<String>> {
        self.store.find_keys(&[(scope, key)]).await?.first().map(text_of).transpose()
    }

    /// What is to be kept under a key in the transaction of its request's effect.
    pub fn key_row(&self, key: &Key, text: String) -> Result<KeyRow> {
        row_of(key, &Answer::Done(text), self.key_expires_ms())
    }

    /// The key's row for a swap of these steps; `None` without a key.
    pub(super) fn key_of(&self, steps: &[Step]) -> Result<Option<KeyRow>> {
        if self.key.is_none() {
            return Ok(None);
        }
        let text = steps.first().map_or_else(String::new, |step| match step {
            Step::Insert(new) => pointed(&new.pointer.uuid, &new.pointer.metadata_location),
            Step::Replace { to, .. } => pointed(&to.uuid, &to.metadata_location),
            Step::Remove { row, .. } | Step::Rename { row, .. } => pointed(&row.uuid, &row.metadata_location),
        });
        self.key_with(text)
    }

    /// The key's row with this text; `None` without a key.
    pub(super) fn key_with(&self, text: String) -> Result<Option<KeyRow>> {
        if self.key.is_some() && text.len() > limits::KEPT_ANSWER_BYTES_MAX {
            let max = limits::KEPT_ANSWER_BYTES_MAX;
            let message =
                format!("The answer would have more than {max} bytes, too many to be kept under a key: ask for less");
            return Err(Error::new(Kind::TooLarge, message));
        }
        self.key.as_ref().map(|under_way| under_way.row(&Answer::Done(text))).transpose()
    }

    /// Remembers that the key's row is in the database.
    pub(super) fn kept(&self) {
        if let Some(under_way) = &self.key {
            self.key_kept(under_way);
        }
    }

    fn key_kept(&self, under_way: &UnderWay) {
        if !under_way.kept.swap(true, Ordering::AcqRel) {
            self.keys.added(1);
        }
    }
}

/// What is kept of a table or view: whose metadata file it was.
pub(super) fn pointed(uuid: &str, location: &str) -> String {
    format!("{uuid} {location}")
}

/// What was done under a key cannot be shown any more: a client that is told so keeps its files.
pub(super) fn gone_since(name: &TableName) -> Error {
    let message = format!("{name} was changed as this key's request asked, and is gone or another since");
    Error::new(Kind::CommitUnknown, message)
}

/// What an answer is made of again, or the refusal that was one.
fn text_of(row: &KeyRow) -> Result<String> {
    let answer: Answer = serde_json::from_str(&row.answer)
        .map_err(|error| Error::internal("A kept answer is damaged").because(error))?;
    match answer {
        Answer::Done(text) => Ok(text),
        Answer::Refused { kind, message } => Err(Error::new(kind, message)),
    }
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}
