//! What waits for each table, and the one task of a table that commits it.
//!
//! While a commit is in flight, the rows that arrive gather; they are the next commit. When that begins is decided by
//! [`due`]. Rows that are acknowledged and could not be committed stay at the head of the queue, in their order, and are
//! tried again after a pause that grows.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::counts::{Counts, count_of};
use super::flush::Target;
use super::known::Known;
use super::memory::Memory;
use super::pace::{Gathering, Load, Pace, due};
use super::waiting::Waiting;
use crate::catalog::Catalog;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// What is known of a table that rows wait for.
#[derive(Debug)]
struct Queue {
    entries: VecDeque<Waiting>,
    oldest: Oldest,
    /// Bytes of the rows.
    bytes: usize,
    pace: Pace,
    hurried: bool,
    last_commit: Option<Instant>,
    gathering: Option<Gathering>,
    failures: Failures,
    /// Entries that the commit in flight has taken.
    in_flight: Option<InFlight>,
    wake: Arc<Notify>,
}

/// Since when the first of the entries of each kind waits.
#[derive(Debug, Clone, Copy, Default)]
struct Oldest {
    awaited: Option<Instant>,
    acknowledged: Option<Instant>,
}

/// What is being committed.
#[derive(Debug)]
struct InFlight {
    table: String,
    since: Instant,
    /// When it began.
    begun: Instant,
    requests: usize,
    rows: usize,
    bytes: usize,
}

/// Commits of acknowledged rows that failed, one after the other.
#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    since: Option<Instant>,
    not_before: Option<Instant>,
}

/// What a table's task does next.
enum Next {
    Commit(Vec<Waiting>),
    Wait(Duration, Arc<Notify>),
    Nothing,
}

/// What waits for a table, for people.
#[derive(Debug, Clone, Copy, Default)]
pub struct Buffered {
    /// Rows that are not committed.
    pub rows: usize,
    /// Their bytes in memory.
    pub bytes: usize,
    /// Since when the oldest waits.
    pub since: Option<Instant>,
}

/// The tables of a warehouse that have rows waiting or a commit in flight, by their rows. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Queues {
    /// As it was when this was made.
    pub(super) catalog: Catalog,
    pub(super) known: Known,
    pub(super) counts: Counts,
    memory: Memory,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The catalog as the warehouse is described now.
    present: RwLock<Catalog>,
    queues: Mutex<HashMap<Arc<str>, Queue>>,
    stopping: std::sync::atomic::AtomicBool,
    errors: Errors,
}

/// The last error of each table's commits.
type Errors = Mutex<HashMap<String, (i64, Error)>>;

impl Queues {
    pub(super) fn new(catalog: Catalog, memory: Memory, counts: Counts) -> Self {
        let present = RwLock::new(catalog.clone());
        let (queues, stopping, errors) = Default::default();
        let shared = Arc::new(Shared { present, queues, stopping, errors });
        Self { catalog, known: Known::default(), counts, memory, shared }
    }

    /// The same queues over the same warehouse described otherwise; what waits in them is committed so, too.
    pub(super) fn over(&self, catalog: Catalog) -> Self {
        *self.shared.present.write().unwrap_or_else(PoisonError::into_inner) = catalog.clone();
        Self { catalog, ..self.clone() }
    }

    /// The same queues over the warehouse as it is described now.
    fn at_present(&self) -> Self {
        let catalog = self.shared.present.read().unwrap_or_else(PoisonError::into_inner).clone();
        Self { catalog, ..self.clone() }
    }

    /// Adds rows to what their table's next commit may take.
    pub(super) fn submit(&self, rows: Box<Waiting>) {
        let row = Arc::clone(&rows.target.row);
        let tight = self.memory.is_tight();
        let mut queues = self.locked();
        match queues.get_mut(&row) {
            Some(queue) => {
                if queue.add(*rows) {
                    queue.wake.notify_one();
                }
            }
            None => {
                let mut queue = Queue::new(rows.pace);
                queue.add(*rows);
                queues.insert(Arc::clone(&row), queue);
                let this = self.clone();
                drop(self.catalog.works().spawn(async move { this.run(row).await }));
            }
        }
        drop(queues);
        if tight {
            self.memory.hurry();
        }
    }

    /// Commits what waits for a table until nothing does.
    async fn run(self, row: Arc<str>) {
        loop {
            match self.next(&row) {
                Next::Nothing => return,
                Next::Wait(long, wake) => {
                    tokio::select! {
                        () = clock::sleep(long) => {}
                        () = wake.notified() => {}
                        () = self.memory.hurried() => {}
                    }
                }
                Next::Commit(batch) => {
                    let present = self.at_present();
                    let name = batch.first().map(|first| first.target.name.clone());
                    if let Some(name) = name {
                        present.catalog.give_way(&name).await;
                    }
                    let left = present.commit_in_order(batch).await;
                    self.committed(&row, left);
                }
            }
        }
    }

    fn next(&self, row: &str) -> Next {
        let hurried = self.is_stopping() || self.memory.is_tight();
        let mut queues = self.locked();
        let Some(queue) = queues.get_mut(row) else { return Next::Nothing };
        let now = clock::tick();
        match due(&queue.load(hurried), &queue.pace, now) {
            Some(at) if at <= now => Next::Commit(queue.take(now)),
            Some(at) => Next::Wait(at - now, Arc::clone(&queue.wake)),
            None => {
                // As long as the table is to be left alone, or others are on their way, it must be known.
                match queue.matters_until().map(|until| until.saturating_duration_since(now)) {
                    Some(open) if !open.is_zero() && !hurried => Next::Wait(open, Arc::clone(&queue.wake)),
                    _ => {
                        queues.remove(row);
                        Next::Nothing
                    }
                }
            }
        }
    }

    /// Notes that a commit ended, and what of it is still to be done.
    fn committed(&self, row: &str, left: Vec<Waiting>) {
        let mut queues = self.locked();
        let Some(queue) = queues.get_mut(row) else { return };
        let now = clock::tick();
        let gathering = |flown: InFlight| {
            Gathering::after(flown.requests, queue.entries.len(), now.saturating_duration_since(flown.begun), now)
        };
        queue.gathering = queue.in_flight.take().map(gathering);
        queue.last_commit = Some(now);
        if left.is_empty() {
            queue.failures = Failures::default();
        } else {
            queue.failures.another();
        }
        for rows in left.into_iter().rev() {
            queue.bytes += rows.bytes;
            queue.entries.push_front(rows);
        }
        queue.oldest = Oldest::of(&queue.entries);
    }

    /// Lets what waits for every table be committed at once from now on.
    pub(super) fn stop(&self) {
        self.shared.stopping.store(true, std::sync::atomic::Ordering::Release);
        self.locked().values().for_each(|queue| queue.wake.notify_one());
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Lets what waits for a table now be committed at once.
    pub(super) fn hurry(&self, row: &str) {
        if let Some(queue) = self.locked().get_mut(row) {
            queue.hurried = true;
            queue.wake.notify_one();
        }
    }

    /// Refuses rows that are to be acknowledged where those before them could not be committed for long: each would keep
    /// a file of the log that others share.
    pub(super) fn check_moves(&self, target: &Target) -> Result<()> {
        let now = clock::tick();
        if !self.locked().get(&target.row).is_some_and(|queue| queue.failures.last_too_long(now)) {
            return Ok(());
        }
        let why = self.last_error(&target.row).map(|(_, why)| why).unwrap_or_default();
        let message = format!(
            "Rows of table {} that were acknowledged cannot be committed, so no more are accepted; nothing was written: \
             {why}",
            target.name
        );
        Err(Error::new(Kind::Unavailable, message).with_code("commits_fail"))
    }

    /// What waits for a table.
    pub(super) fn buffered(&self, row: &str) -> Buffered {
        let queues = self.locked();
        let Some(queue) = queues.get(row) else { return Buffered::default() };
        let flying = queue.in_flight.as_ref();
        let waiting: usize = queue.entries.iter().map(|rows| rows.count).sum();
        Buffered {
            rows: waiting + flying.map_or(0, |flying| flying.rows),
            bytes: queue.bytes + flying.map_or(0, |flying| flying.bytes),
            since: flying.map(|flying| flying.since).or_else(|| queue.entries.iter().map(|rows| rows.since).min()),
        }
    }

    /// How long the oldest row of each table waits.
    pub(super) fn waiting(&self) -> HashMap<String, Duration> {
        let queues = self.locked();
        let oldest = |queue: &Queue| {
            let flying = queue.in_flight.as_ref().map(|flying| (flying.table.clone(), flying.since));
            let first = || queue.entries.front().map(|rows| (rows.target.name.joined(), rows.since));
            flying.or_else(first).map(|(table, since)| (table, since.elapsed()))
        };
        queues.values().filter_map(oldest).collect()
    }

    /// Remembers what the last commit of a table came to.
    pub(super) fn note(&self, row: &str, error: Option<&Error>) {
        let mut errors = self.shared.errors.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            None => drop(errors.remove(row)),
            Some(error) if errors.len() < limits::TABLE_ERRORS_KEPT || errors.contains_key(row) => {
                errors.insert(row.to_owned(), (self.catalog.clock().now_ms(), error.copy()));
            }
            Some(_) => {}
        }
    }

    /// Why and when the last commit of a table failed, if it did.
    pub(super) fn last_error(&self, row: &str) -> Option<(i64, String)> {
        let errors = self.shared.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.get(row).map(|(at_ms, error)| (*at_ms, error.message().to_owned()))
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Arc<str>, Queue>> {
        self.shared.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn new(pace: Pace) -> Self {
        let (oldest, hurried, last_commit, gathering, failures, in_flight) = Default::default();
        Self {
            entries: VecDeque::new(),
            oldest,
            bytes: 0,
            pace,
            hurried,
            last_commit,
            gathering,
            failures,
            in_flight,
            wake: Arc::default(),
        }
    }

    /// Adds rows; whether a commit may be due earlier for them.
    fn add(&mut self, rows: Waiting) -> bool {
        let first = self.oldest.add(&rows);
        let (pace, full) = (self.pace, self.bytes >= self.pace.target_bytes);
        self.pace = rows.pace;
        self.bytes += rows.bytes;
        self.entries.push_back(rows);
        let all = self.gathering.is_some_and(|gathering| gathering.is_complete_with(self.entries.len()));
        first || all || self.pace != pace || self.bytes >= self.pace.target_bytes && !full
    }

    /// Until when something is known of a table that nothing waits for.
    fn matters_until(&self) -> Option<Instant> {
        let gathering = self.gathering.and_then(|gathering| gathering.until(0));
        self.last_commit.map(|last| last + self.pace.min_interval).max(gathering)
    }

    fn load(&self, hurried: bool) -> Load {
        Load {
            awaited_since: self.oldest.awaited,
            acknowledged_since: self.oldest.acknowledged,
            bytes: self.bytes,
            hurried: hurried || self.hurried,
            last_commit: self.last_commit,
            gathering: self.gathering.and_then(|gathering| gathering.until(self.entries.len())),
            not_before: self.failures.not_before,
        }
    }

    fn take(&mut self, now: Instant) -> Vec<Waiting> {
        let mut bytes = 0_usize;
        let fits = |rows: &&Waiting| {
            bytes = bytes.saturating_add(rows.bytes);
            bytes <= limits::GROUP_BYTES_MAX
        };
        let most = self.entries.iter().take(limits::GROUP_REQUESTS_MAX).take_while(fits).count();
        let batch: Vec<Waiting> = self.entries.drain(..most.max(1).min(self.entries.len())).collect();
        self.oldest = Oldest::of(&self.entries);
        let bytes = batch.iter().map(|rows| rows.bytes).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.hurried &= !self.entries.is_empty();
        let since = batch.iter().map(|rows| rows.since).min().unwrap_or(now);
        let table = batch.first().map(|first| first.target.name.joined()).unwrap_or_default();
        metrics::histogram!("floeberg_ingest_group_size").record(count_of(batch.len()));
        let (requests, rows) = (batch.len(), batch.iter().map(|rows| rows.count).sum());
        self.in_flight = Some(InFlight { table, since, begun: now, requests, rows, bytes });
        batch
    }
}

impl Oldest {
    fn of(entries: &VecDeque<Waiting>) -> Self {
        let mut oldest = Self::default();
        for rows in entries {
            oldest.add(rows);
        }
        oldest
    }

    /// Takes note of rows that come behind the others; whether they are the first of their kind.
    fn add(&mut self, rows: &Waiting) -> bool {
        let of_kind = if rows.is_acknowledged() { &mut self.acknowledged } else { &mut self.awaited };
        let first = of_kind.is_none();
        of_kind.get_or_insert(rows.since);
        first
    }
}

impl Failures {
    fn last_too_long(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now - since >= limits::COMMITS_MAY_FAIL_FOR)
    }

    fn another(&mut self) {
        let pause = Duration::from_millis(limits::COMMIT_PAUSE_FIRST_MS << self.in_a_row.min(16));
        self.in_a_row += 1;
        self.since.get_or_insert_with(clock::tick);
        self.not_before = Some(clock::tick() + pause.min(limits::COMMIT_PAUSE_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commits_that_fail_for_long_stop_acknowledgements() {
        let mut failures = Failures::default();
        let now = clock::tick();
        assert!(!failures.last_too_long(now + limits::COMMITS_MAY_FAIL_FOR));
        (0..100).for_each(|_| failures.another());
        assert!(!failures.last_too_long(now));
        assert!(failures.last_too_long(clock::tick() + limits::COMMITS_MAY_FAIL_FOR));
    }
}
