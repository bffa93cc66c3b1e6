//! How far the command is, for people: one line that is drawn anew on a terminal, one line a file elsewhere.
//!
//! All of it goes to standard error; what came of the whole is for standard output. A terminal that is gone is no error.

use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::judge::Counts;
use crate::cli::say;
use crate::clock;

/// Between two drawings of the line.
const DRAWN_EVERY: Duration = Duration::from_millis(200);

/// Between two lines that say what is waited for.
const TOLD_EVERY: Duration = Duration::from_secs(15);

/// Goes to the beginning of the line and empties it.
const ANEW: &str = "\r\x1b[K";

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// In one line of a terminal.
    Drawn,
    /// Line by line.
    Told,
}

/// How far the command is.
#[derive(Debug)]
pub(super) struct Progress {
    look: Look,
    since: Instant,
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    files: usize,
    files_over: usize,
    files_failed: usize,
    /// Bytes of all files; 0 where nobody knows.
    bytes: u64,
    /// Bytes that are over, those too that were before.
    over: u64,
    /// Bytes that were sent.
    sent: u64,
    counts: Counts,
    /// What is waited for.
    waits: Option<String>,
    told: Option<Instant>,
}

impl Progress {
    /// Nothing is done of so many files with so many bytes.
    pub(super) fn new(files: usize, bytes: u64) -> Self {
        let look = if stderr().is_terminal() { Look::Drawn } else { Look::Told };
        Self { look, since: clock::tick(), seen: Mutex::new(Seen { files, bytes, ..Seen::default() }) }
    }

    /// Draws it until the task is aborted.
    pub(super) fn drawn(self: &Arc<Self>) -> JoinHandle<()> {
        let progress = Arc::clone(self);
        tokio::spawn(async move {
            if progress.look == Look::Told {
                return;
            }
            loop {
                let line = progress.seen().line(progress.since.elapsed());
                say(&mut stderr(), &format!("{ANEW}{line}"));
                clock::sleep(DRAWN_EVERY).await;
            }
        })
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if self.look == Look::Drawn {
            say(&mut stderr(), ANEW);
        }
    }

    /// Bytes of a file are over that were sent before.
    pub(super) fn passes(&self, bytes: u64) {
        self.seen().over += bytes;
    }

    /// Bytes of a file are over.
    pub(super) fn sends(&self, bytes: u64) {
        let mut seen = self.seen();
        seen.over += bytes;
        seen.sent += bytes;
    }

    /// The server has taken rows.
    pub(super) fn took(&self, counts: Counts) {
        let mut seen = self.seen();
        seen.counts = seen.counts.and(counts);
        seen.waits = None;
    }

    /// Something is tried again.
    pub(super) fn waits(&self, why: &str) {
        let mut seen = self.seen();
        let first = why.lines().next().unwrap_or_default();
        seen.waits = Some(first.to_owned());
        if self.look == Look::Told && seen.told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
            seen.told = Some(clock::tick());
            say(&mut stderr(), &format!("trying again: {first}\n"));
        }
    }

    /// A file is over.
    pub(super) fn finished(&self, name: &str, counts: Counts) {
        self.seen().files_over += 1;
        if self.look == Look::Told {
            say(&mut stderr(), &format!("{name}: {}\n", of_file(counts)));
        }
    }

    /// A file will not be.
    pub(super) fn failed(&self, name: &str, why: &str) {
        let mut seen = self.seen();
        (seen.files_over, seen.files_failed) = (seen.files_over + 1, seen.files_failed + 1);
        let before = if self.look == Look::Drawn { ANEW } else { "" };
        say(&mut stderr(), &format!("{before}{name} FAILED {why}\n"));
    }

    /// What came of it all.
    pub(super) fn summary(&self) -> String {
        self.seen().summary(self.since.elapsed())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// A line for a terminal.
    fn line(&self, elapsed: Duration) -> String {
        let (over, all) = (of_bytes(self.over), of_bytes(self.bytes));
        let bytes = match self.bytes {
            0 => over,
            bytes => format!("{:>3}% {over} of {all}", percent(self.over, bytes)),
        };
        let rate = of_rate(self.sent, elapsed);
        let (rows, files_over, files) = (self.counts.written, self.files_over, self.files);
        let rest = match &self.waits {
            Some(why) => format!("trying again: {}", why.chars().take(60).collect::<String>()),
            None => self.left(elapsed).map_or_else(String::new, |left| format!("{left} s left")),
        };
        format!("{bytes}, {rows} rows, {rate}, {files_over}/{files} files {rest}")
    }

    /// Seconds that the rest takes if it goes on so.
    fn left(&self, elapsed: Duration) -> Option<u128> {
        let left = u128::from(self.bytes.saturating_sub(self.over));
        if left == 0 || self.sent == 0 {
            return None;
        }
        Some(left * elapsed.as_millis() / u128::from(self.sent) / 1_000)
    }

    fn summary(&self, elapsed: Duration) -> String {
        let Counts { written, rejected, duplicate } = self.counts;
        let files = if self.files == 1 { "file" } else { "files" };
        let failed = match self.files_failed {
            0 => String::new(),
            failed => format!(", {failed} of them FAILED"),
        };
        format!(
            "rows {written} written, {rejected} rejected, {duplicate} duplicate from {} {files}{failed} in {}.{} s ({})\n",
            self.files,
            elapsed.as_secs(),
            elapsed.subsec_millis() / 100,
            of_rate(self.sent, elapsed),
        )
    }
}

fn of_file(counts: Counts) -> String {
    let Counts { written, rejected, duplicate } = counts;
    if counts == Counts::default() {
        return "nothing left to send".to_owned();
    }
    let mut text = format!("{written} rows written");
    for (count, what) in [(rejected, "rejected"), (duplicate, "duplicate")] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

fn percent(part: u64, all: u64) -> u128 {
    (u128::from(part) * 100 / u128::from(all.max(1))).min(100)
}

/// Bytes with one digit behind the point.
fn of_bytes(bytes: u64) -> String {
    let (unit, size) = match bytes {
        0..=999_999 => ("kB", 1_000),
        1_000_000..=999_999_999 => ("MB", 1_000_000),
        _ => ("GB", 1_000_000_000),
    };
    format!("{} {unit}", tenths(u128::from(bytes), size))
}

fn of_rate(bytes: u64, elapsed: Duration) -> String {
    let per_second = u128::from(bytes) * 1_000 / elapsed.as_millis().max(1);
    format!("{} MB/s", tenths(per_second, 1_000_000))
}

fn tenths(number: u128, of: u128) -> String {
    let tenths = number * 10 / of;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            files: 3,
            files_over: 1,
            bytes: 3_000_000_000,
            over: 1_500_000_000,
            sent: 1_000_000_000,
            counts: Counts { written: 12_345, rejected: 2, duplicate: 0 },
            ..Seen::default()
        }
    }

    #[test]
    fn the_line_says_how_far_it_is_and_how_long_it_takes() {
        let ten = Duration::from_secs(10);
        assert_eq!(seen().line(ten), " 50% 1.5 GB of 3.0 GB, 12345 rows, 100.0 MB/s, 1/3 files 15 s left");
        let stdin = Seen { bytes: 0, files: 1, ..seen() };
        assert_eq!(stdin.line(ten), "1.5 GB, 12345 rows, 100.0 MB/s, 1/1 files ");
        let waits = Seen { waits: Some("connection refused".to_owned()), ..seen() };
        assert!(waits.line(ten).ends_with("1/3 files trying again: connection refused"));
        assert_eq!(Seen::default().line(Duration::ZERO), "0.0 kB, 0 rows, 0.0 MB/s, 0/0 files ");
    }

    #[test]
    fn the_summary_counts() {
        let elapsed = Duration::from_millis(12_345);
        assert_eq!(
            seen().summary(elapsed),
            "rows 12345 written, 2 rejected, 0 duplicate from 3 files in 12.3 s (81.0 MB/s)\n"
        );
        let failed = Seen { files: 1, files_failed: 1, ..seen() };
        assert!(failed.summary(elapsed).contains("from 1 file, 1 of them FAILED in"));
    }

    #[test]
    fn files_and_sizes_are_told() {
        let counts = |written, rejected, duplicate| Counts { written, rejected, duplicate };
        for (counts, text) in [
            (counts(0, 0, 0), "nothing left to send"),
            (counts(5, 0, 0), "5 rows written"),
            (counts(5, 1, 2), "5 rows written, 1 rejected, 2 duplicate"),
        ] {
            assert_eq!(of_file(counts), text);
        }
        for (bytes, text) in [(0, "0.0 kB"), (1_234, "1.2 kB"), (999_999, "999.9 kB"), (12_340_000, "12.3 MB")] {
            assert_eq!(of_bytes(bytes), text);
        }
    }
}
