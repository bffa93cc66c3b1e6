//! The server's own log: rows that are acknowledged before they are committed (`ack=wal`).
//!
//! One thread writes it. Whatever waits is written together and made durable with one sync; then the rows join their
//! tables' queues, in the order of the log, and their senders hear of it. Rows of one table and schema that say nothing of
//! themselves become one entry. Up to which entry a table's rows are committed stands in the database, in the transaction
//! that committed them ([`crate::store::log_marks`]); a file goes when all that is in it is settled.
//!
//! At a start, entries behind their table's mark are read again ([`Log::open`]).
//!
//! How it fails: a file that could not be written or synced is never written to again, and whose rows were to go into it
//! hears that their fate is unknown: a later start may find them. Where no file can be begun, certainly nothing was
//! written.

mod record;
mod segment;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::held::{self, Held};
use super::memory::weight_of;
use super::queue::Queues;
use super::waiting::{Waiting, Whom};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::limits;

pub(super) use record::{BesideDescribed, Described};
use segment::{Segment, Writing};

/// The way into the log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Log {
    /// Nothing is behind the last.
    sender: mpsc::Sender<Option<Append>>,
    bytes: Arc<AtomicU64>,
}

/// Rows that are to be written.
#[derive(Debug)]
struct Append {
    rows: Box<Waiting>,
    queues: Arc<Queues>,
    done: oneshot::Sender<Result<()>>,
}

/// The place of rows in the log.
#[derive(Debug)]
pub(super) struct Logged {
    /// The entry's number.
    pub(super) number: i64,
    segment: Arc<Segment>,
}

impl Logged {
    /// The entry's rows are committed, or reported as lost, and its table's mark is past it.
    pub(super) fn settled(self) {
        self.segment.settled();
    }
}

/// What finds the row of a live table by its uuid.
type RowOf<'a> = &'a dyn Fn(&str) -> Result<Option<String>>;

/// An entry that an earlier process left behind.
#[derive(Debug)]
pub struct Recovered {
    pub(super) described: Described,
    /// Those of its table, then those of each beside it.
    pub(super) rows: Vec<RecordBatch>,
    pub(super) logged: Logged,
}

impl Recovered {
    /// The warehouse that it is for.
    pub fn warehouse(&self) -> &str {
        &self.described.warehouse
    }
}

impl Log {
    /// Opens the log in a folder, which is made when it is first needed, and reads what is not settled: what is behind its
    /// table's mark. `row_of` finds the row of a table that is only known by its uuid.
    pub fn open(folder: &Path, marks: &[(String, i64)], row_of: RowOf<'_>) -> Result<(Self, Vec<Recovered>)> {
        let bytes = Arc::new(AtomicU64::new(0));
        let marked: HashMap<&str, i64> = marks.iter().map(|(table, entry)| (table.as_str(), *entry)).collect();
        let mut recovered = Vec::new();
        let mut last = marks.iter().map(|(_, entry)| *entry).max().unwrap_or(0);
        for path in files(folder)? {
            last = last.max(recover(&path, (&marked, row_of), &bytes, &mut recovered)?);
        }
        let (sender, receiver) = mpsc::channel(limits::LOG_WAITING_MAX);
        let writer = Writer {
            folder: folder.to_owned(),
            bytes: Arc::clone(&bytes),
            next: last + 1,
            writing: None,
            runtime: Handle::current(),
        };
        let name = "floeberg-log".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(move || writer.run(receiver));
        thread.map_err(|error| Error::new(Kind::Unavailable, "The log's thread cannot be started").because(error))?;
        Ok((Self { sender, bytes }, recovered))
    }

    /// Writes rows; when this returns they are on the disk and in their table's queue.
    pub(super) async fn append(&self, rows: Box<Waiting>, queues: Arc<Queues>) -> Result<()> {
        if self.bytes.load(Ordering::Relaxed) > limits::LOG_BYTES_MAX {
            let message =
                "The log is full of rows that could not be committed yet; nothing was written: try again later";
            return Err(Error::new(Kind::Unavailable, message).with_code("wal_full"));
        }
        let (done, written) = oneshot::channel();
        let stopped = || Error::new(Kind::CommitUnknown, "The log was cut off: the rows may or may not be written");
        self.sender.send(Some(Append { rows, queues, done })).await.map_err(|_| stopped())?;
        written.await.map_err(|_| stopped())?
    }

    /// Writes what is on its way, and no more; a file of which everything is settled is gone when this returns.
    pub async fn close(&self) {
        if self.sender.send(None).await.is_ok() {
            self.sender.closed().await;
        }
    }
}

impl Log {
    /// Bytes of its files.
    pub(super) fn bytes(&self) -> f64 {
        // In kilobytes it fits a number that a gauge takes whole.
        let kilobytes = self.bytes.load(Ordering::Relaxed) >> 10;
        f64::from(u32::try_from(kilobytes).unwrap_or(u32::MAX)) * 1_024.0
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::new(Kind::Unavailable, format!("{} cannot be used: it holds rows that were acknowledged", path.display()))
        .because(error)
}

/// The log's files, oldest first.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder, error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<PathBuf>, _>>().map_err(|error| failed(folder, error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort_unstable();
    Ok(paths)
}

/// Reads a file's entries that are not settled; the number of its last.
fn recover(
    path: &Path,
    (marked, row_of): (&HashMap<&str, i64>, RowOf<'_>),
    bytes: &Arc<AtomicU64>,
    recovered: &mut Vec<Recovered>,
) -> Result<i64> {
    let content = fs::read(path).map_err(|error| failed(path, error))?;
    let records = record::all(&content).map_err(|at| {
        Error::new(
            Kind::Unavailable,
            format!(
                "{} is damaged at byte {at}, before rows that were acknowledged: put it back from a copy, or move it \
                 away to start without its rows",
                path.display()
            ),
        )
    })?;
    let mut left = Vec::new();
    let mut last = 0;
    for record in &records {
        let number = i64::try_from(record.number).unwrap_or(i64::MAX);
        last = number;
        let mut described = record.described()?;
        if described.table_id.is_empty() {
            // An earlier version wrote it, which knew tables by their uuid.
            let row = row_of(&described.table_uuid)?;
            described.table_id = row.unwrap_or_else(|| described.table_uuid.clone());
        }
        if marked.get(described.table_id.as_str()).is_none_or(|mark| *mark < number) {
            left.push((number, described, record.rows()?));
        }
    }
    let held = records.last().map_or(0, |record| record.end.min(content.len()));
    // Where nothing is left the file goes as a whole.
    let is_cut = !left.is_empty() && content[held..].iter().all(|byte| *byte == 0);
    let taken = if is_cut { cut(path, content.len(), held) } else { content.len() };
    let segment = Segment::found(path.to_owned(), taken as u64, Arc::clone(bytes), left.len());
    recovered.extend(left.into_iter().map(|(number, described, rows)| Recovered {
        described,
        rows,
        logged: Logged { number, segment: Arc::clone(&segment) },
    }));
    Ok(last)
}

/// Gives back the room that was only reserved behind a file's last entry, so that no other start reads it; the bytes that the
/// file takes then.
fn cut(path: &Path, bytes: usize, held: usize) -> usize {
    match fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(held as u64)) {
        Ok(()) => held,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a file of the log could not be cut to what it holds");
            bytes
        }
    }
}

/// The thread that writes.
struct Writer {
    folder: PathBuf,
    bytes: Arc<AtomicU64>,
    /// The number of the next entry.
    next: i64,
    writing: Option<Writing>,
    /// Where the tasks of tables run.
    runtime: Handle,
}

/// Rows that become one entry, and all who wait for them.
struct Entry {
    rows: Box<Waiting>,
    queues: Arc<Queues>,
    waiting: Vec<oneshot::Sender<Result<()>>>,
}

impl Writer {
    fn run(mut self, mut receiver: mpsc::Receiver<Option<Append>>) {
        let runtime = self.runtime.clone();
        let _entered = runtime.enter();
        let mut closed = false;
        while !closed && let Some(Some(first)) = receiver.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < limits::LOG_WAITING_MAX
                && let Ok(next) = receiver.try_recv()
            {
                closed |= next.is_none();
                batch.extend(next);
            }
            let (started, many) = (clock::tick(), batch.len() >= limits::LOG_BUSY);
            self.write(batch);
            if many && !closed {
                // Those who were answered come back; one sync for all of them costs what one for the first would.
                runtime.block_on(clock::sleep(started.elapsed().min(limits::LOG_GATHERING_MAX)));
            }
        }
        // Whoever waits for the receiver to be gone finds the file closed.
        self.writing = None;
    }

    fn write(&mut self, batch: Vec<Append>) {
        let started = clock::tick();
        let entries = match entries_of(batch) {
            Ok(entries) => entries,
            Err((error, waiting)) => return answer(waiting, &error),
        };
        match self.write_all(&entries) {
            Ok((first, segment)) => {
                metrics::histogram!("floeberg_ingest_wal_fsync_seconds").record(started.elapsed().as_secs_f64());
                for (number, entry) in (first..).zip(entries) {
                    let Entry { mut rows, queues, waiting } = entry;
                    rows.whom = Whom::Nobody(Some(Logged { number, segment: Arc::clone(&segment) }));
                    queues.submit(rows);
                    waiting.into_iter().for_each(|one| drop(one.send(Ok(()))));
                }
            }
            Err(error) => {
                tracing::error!(error = error.chain(), "the log cannot be written");
                metrics::counter!("floeberg_write_failures_total", "stage" => "log").increment(1);
                answer(entries.into_iter().flat_map(|entry| entry.waiting).collect(), &error);
            }
        }
    }

    /// Makes entries durable; the number of the first, and the file they are in.
    fn write_all(&mut self, entries: &[Entry]) -> Result<(i64, Arc<Segment>)> {
        let nothing = |error: std::io::Error| {
            Error::new(Kind::Unavailable, "The log cannot be written; nothing was written: is the disk full?")
                .with_code("wal_full")
                .because(error)
        };
        if self.writing.as_ref().is_none_or(Writing::is_full) {
            self.writing = None;
            self.make_folder().map_err(nothing)?;
            let number = u64::try_from(self.next).unwrap_or(u64::MAX);
            self.writing = Some(Writing::begin(&self.folder, number, &self.bytes).map_err(nothing)?);
        }
        let Some(writing) = &mut self.writing else { return Err(Error::internal("The log has no file")) };
        failpoint::at("log.begin")?;
        let mut records = Vec::new();
        let first = self.next;
        for (number, entry) in (first..).zip(entries) {
            let number = u64::try_from(number).unwrap_or(u64::MAX);
            let [Held::Columns(rows)] = &entry.rows.rows[..] else {
                return Err(Error::internal("An entry has no rows"));
            };
            let rows: Vec<&RecordBatch> =
                std::iter::once(rows).chain(entry.rows.beside.iter().map(|beside| &beside.rows)).collect();
            record::put(&mut records, number, writing.durable, &entry.rows.described(), &rows)?;
        }
        // Whatever becomes of it, these numbers may stand in a file.
        self.next += i64::try_from(entries.len()).unwrap_or(0);
        let unknown = |error: Error| {
            Error::new(Kind::CommitUnknown, "The log could not be written: the rows may or may not be in it")
                .because(error)
        };
        let written = failpoint::at("log.written").map_err(unknown).and_then(|()| {
            writing.append(&records).map_err(|error| unknown(Error::internal("A sync failed").because(error)))
        });
        let written = written.and_then(|()| failpoint::at("log.synced").map_err(unknown));
        if written.is_err() {
            self.writing = None;
        }
        written?;
        let Some(writing) = &self.writing else { return Err(Error::internal("The log has no file")) };
        writing.segment.added(entries.len());
        Ok((first, Arc::clone(&writing.segment)))
    }
}

impl Writer {
    /// The folder, whose name is on the disk.
    fn make_folder(&self) -> std::io::Result<()> {
        if self.folder.is_dir() {
            return Ok(());
        }
        fs::create_dir(&self.folder)?;
        self.folder.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
    }
}

fn answer(waiting: Vec<oneshot::Sender<Result<()>>>, error: &Error) {
    waiting.into_iter().for_each(|one| drop(one.send(Err(error.copy()))));
}

type Waiters = Vec<oneshot::Sender<Result<()>>>;

/// The entries that rows become, each of one batch.
fn entries_of(batch: Vec<Append>) -> Result<Vec<Entry>, (Error, Waiters)> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut plain: HashMap<(Arc<str>, i32), usize> = HashMap::new();
    for Append { rows, queues, done } in batch {
        let alike = (Arc::clone(&rows.target.row), rows.target.schema_id);
        let is_room = |at: &&usize| {
            let entry = &entries[**at].rows;
            // The row may have become another table's meanwhile.
            rows.is_plain()
                && entry.target.uuid == rows.target.uuid
                && entry.count + rows.count <= limits::LOG_ENTRY_ROWS
                && entry.bytes + rows.bytes <= limits::LOG_ENTRY_BYTES
        };
        match plain.get(&alike).filter(is_room) {
            Some(at) => {
                let entry = &mut entries[*at];
                entry.rows.join(*rows);
                entry.waiting.push(done);
            }
            None => {
                if rows.is_plain() {
                    plain.insert(alike, entries.len());
                }
                entries.push(Entry { rows, queues, waiting: vec![done] });
            }
        }
    }
    match entries.iter_mut().try_for_each(|entry| put_together(&mut entry.rows)) {
        Ok(()) => Ok(entries),
        Err(error) => Err((error, entries.into_iter().flat_map(|entry| entry.waiting).collect())),
    }
}

/// Makes one batch of an entry's rows.
fn put_together(entry: &mut Waiting) -> Result<()> {
    if let [Held::Columns(_)] = &entry.rows[..] {
        return Ok(());
    }
    let together = held::together(&held::columns(&entry.rows)?)?;
    entry.bytes = weight_of(&together) + entry.beside.iter().map(|beside| weight_of(&beside.rows)).sum::<usize>();
    entry.memory.shrink(entry.bytes);
    entry.rows = vec![Held::Columns(together)];
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    /// Rows of an entry, which belong to a table.
    fn put(file: &mut Vec<u8>, number: u64, (table_id, table_uuid): (&str, &str)) {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1, 2]))]).expect("rows");
        let described = Described {
            warehouse: "w".to_owned(),
            namespace: "ns".to_owned(),
            table: "t".to_owned(),
            table_id: table_id.to_owned(),
            table_uuid: table_uuid.to_owned(),
            schema_id: 0,
            key: None,
            producer: None,
            what: Default::default(),
            beside: Vec::new(),
            left_out: Default::default(),
        };
        let durable = file.len() as u64;
        record::put(file, number, durable, &described, &[&rows]).expect("put");
    }

    /// The entries of a file that are not settled, by number and table.
    fn left(path: &Path) -> Result<Vec<(i64, String)>> {
        let row_of = |uuid: &str| Ok((uuid == "u").then(|| "r1".to_owned()));
        let marked = HashMap::from([("r1", 1), ("r2", 1)]);
        let mut recovered = Vec::new();
        assert_eq!(recover(path, (&marked, &row_of), &Arc::default(), &mut recovered)?, 4);
        Ok(recovered.iter().map(|one| (one.logged.number, one.described.table_id.clone())).collect())
    }

    #[test]
    fn entries_of_an_earlier_version_are_found_by_their_tables_uuid() {
        let mut file = Vec::new();
        for (number, table) in [(1, ("", "u")), (2, ("", "u")), (3, ("r2", "u")), (4, ("", "gone"))] {
            put(&mut file, number, table);
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("1.log");
        fs::write(&path, file).expect("written");
        let expected = [(2, "r1"), (3, "r2"), (4, "gone")].map(|(number, table)| (number, table.to_owned()));
        assert_eq!(left(&path).expect("read"), expected);
    }

    #[test]
    fn a_file_that_was_left_is_cut_to_what_it_holds() {
        let mut file = Vec::new();
        (1..=4).for_each(|number| put(&mut file, number, ("r9", "u")));
        let held = file.len();
        file.resize(1 << 20, 0);
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("1.log");
        fs::write(&path, &file).expect("written");
        let length = || fs::metadata(&path).expect("there").len();
        let first = left(&path).expect("read");
        assert_eq!((first.len(), length()), (4, held as u64));
        assert_eq!(left(&path).expect("read again"), first);
        // What was begun and is no entry, and what is damaged, is left as it is, for whoever looks into it.
        file[held + 100] = 1;
        fs::write(&path, &file).expect("written");
        assert_eq!((left(&path).expect("read"), length()), (first, 1 << 20));
        file[40] ^= 1;
        fs::write(&path, &file).expect("written");
        assert!(left(&path).is_err());
        assert_eq!(length(), 1 << 20);
    }
}
