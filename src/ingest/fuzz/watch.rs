//! Looks after cases that are under way. One that panics is told of with its input; one that does not end, or with
//! which the process takes memory without end, too, and then that is the end of the process.
//!
//! Each case is noted in a file before it begins: one that takes the process with it, as an overflown stack does, is
//! found there. Memory is the whole process's: of targets that are fed at the same time all are told of.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::clock;

/// The longest that one case may take.
const CASE_MAX: Duration = Duration::from_secs(20);

/// Bytes by which the process may grow: bodies unpack to 16 MiB here, and two targets are fed at once.
const GROWTH_BYTES_MAX: u64 = 1 << 30;

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Bytes of a page of memory; where pages are larger, less is seen than there is.
const PAGE_BYTES: u64 = 4_096;

/// Bytes of an input that are shown as text.
const SHOWN_BYTES: usize = 2_000;

/// Targets that are fed.
static ALL: Mutex<Vec<Arc<UnderWay>>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether panics of this thread are kept, and not printed.
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// The last that was kept.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
    /// How the present case is read.
    static HOW: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A target that is fed.
pub(super) struct UnderWay {
    target: &'static str,
    seed: u64,
    path: PathBuf,
    file: File,
    case: Mutex<Option<Case>>,
}

struct Case {
    number: u64,
    since: Instant,
    input: Vec<u8>,
}

/// A case as it was noted.
pub(super) struct Noted {
    pub(super) target: String,
    pub(super) seed: u64,
    pub(super) case: u64,
    pub(super) input: Vec<u8>,
}

impl Noted {
    /// Reads a note.
    pub(super) fn read(path: &str) -> Self {
        let all = std::fs::read(path).unwrap_or_else(|error| panic!("FUZZ_CASE={path}: {error}"));
        let head = all.iter().position(|byte| *byte == b'\n').expect("a line that says what follows");
        let line = String::from_utf8_lossy(&all[..head]).into_owned();
        let words: Vec<&str> = line.split(' ').collect();
        let &[target, seed, case, length] = &words[..] else {
            panic!("{path} does not begin as a note does: {line:?}")
        };
        let number = |word: &str| word.parse::<u64>().expect("a number");
        let length = usize::try_from(number(length)).expect("a length");
        let input = all[head + 1..].iter().copied().take(length).collect();
        Self { target: target.to_owned(), seed: number(seed), case: number(case), input }
    }
}

impl UnderWay {
    /// Begins with a target.
    pub(super) fn new(target: &'static str, seed: u64) -> Arc<Self> {
        let path = std::env::temp_dir().join(format!("floeberg-fuzz-{target}-{}", std::process::id()));
        let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let this = Arc::new(Self { target, seed, path, file, case: Mutex::new(None) });
        locked(&ALL).push(Arc::clone(&this));
        start();
        this
    }

    /// Does what a case is, and says where it panicked if it kept that to itself.
    pub(super) fn watched<T>(&self, number: u64, input: &[u8], work: impl FnOnce() -> T) -> (T, Option<String>) {
        let head = format!("{} {} {number} {}\n", self.target, self.seed, input.len());
        self.file.write_all_at(&[head.as_bytes(), input].concat(), 0).expect("the case is noted");
        *locked(&self.case) = Some(Case { number, since: clock::tick(), input: input.to_vec() });
        PANICKED.set(None);
        HOW.set(String::new());
        QUIET.set(true);
        let done = catch_unwind(AssertUnwindSafe(work));
        QUIET.set(false);
        let panicked = PANICKED.take();
        match done {
            Ok(done) => {
                *locked(&self.case) = None;
                (done, panicked)
            }
            Err(_) => {
                let how = HOW.take();
                panic!("{}", self.told(&format!("{}\nread so: {how}", panicked.unwrap_or_default())))
            }
        }
    }

    /// Ends with it, where nothing was wrong.
    pub(super) fn over(&self) {
        locked(&ALL).retain(|one| one.target != self.target);
        drop(std::fs::remove_file(&self.path));
    }

    /// What is wrong, with what, and how to have it again.
    fn told(&self, why: &str) -> String {
        let case = locked(&self.case);
        let (number, input) = case.as_ref().map_or((0, &b""[..]), |case| (case.number, &case.input[..]));
        let (target, seed, path, bytes) = (self.target, self.seed, self.path.display(), input.len());
        let (base64, text) = (STANDARD.encode(input), input[..bytes.min(SHOWN_BYTES)].escape_ascii());
        format!(
            "\nfuzz {target}: {why}\nFUZZ_SEED={seed} leads to it, as its case {number}; FUZZ_CASE={path} is it alone\n\
             {bytes} bytes, in base64: {base64}\nas text: {text}\n"
        )
    }

    fn takes_too_long(&self) -> bool {
        locked(&self.case).as_ref().is_some_and(|case| case.since.elapsed() > CASE_MAX)
    }
}

/// Notes how the present case is read, for a failure to say.
pub(super) fn reads_so(how: String) {
    HOW.set(how);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to look, once for all targets.
fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if QUIET.get() {
                PANICKED.set(Some(panic.to_string()));
            } else {
                usual(panic);
            }
        }));
        let first = resident_bytes();
        drop(std::thread::spawn(move || keep_looking(first)));
    });
}

fn keep_looking(first: u64) {
    loop {
        std::thread::park_timeout(LOOK_EVERY);
        look(first);
    }
}

fn look(first: u64) {
    let all: Vec<Arc<UnderWay>> = locked(&ALL).clone();
    let grown = resident_bytes().saturating_sub(first);
    if grown > GROWTH_BYTES_MAX {
        let why = format!("{grown} bytes more are resident than at first");
        give_up(&all.iter().map(|one| one.told(&why)).collect::<String>());
    }
    if let Some(one) = all.iter().find(|one| one.takes_too_long()) {
        give_up(&one.told(&format!("the case takes more than {} s", CASE_MAX.as_secs())));
    }
}

/// Says why past those who hold back what tests print, and ends the process.
fn give_up(why: &str) -> ! {
    drop(std::io::stderr().write_all(why.as_bytes()));
    std::process::abort()
}

/// Bytes of the process that are in memory; none where nobody says.
fn resident_bytes() -> u64 {
    let said = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = said.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(PAGE_BYTES)
}
