//! A load from blocking threads, or from one that waits for all, with requests made beforehand: the generator costs
//! little and tells nothing of itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::process::post;

/// One connection that is kept.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_nodelay(true).expect("set");
        Self { stream, buffer: vec![0; 1 << 20] }
    }

    /// Sends a request and reads the whole answer; its length stands in its head.
    fn exchange(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).expect("sent");
        let mut filled = 0;
        let mut whole = usize::MAX;
        while filled < whole {
            let read = self.stream.read(&mut self.buffer[filled.min(1 << 16)..]).expect("answered");
            assert!(read > 0, "the server closed the connection");
            filled += read;
            if whole == usize::MAX {
                whole = length_of(&self.buffer[..filled]).unwrap_or(usize::MAX);
            }
        }
        status_of(&self.buffer)
    }
}

/// Bytes of an answer, once its head is there.
fn length_of(begun: &[u8]) -> Option<usize> {
    let head = begun.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&begun[..head]).to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    Some(head + 4 + length.and_then(|length| length.parse::<usize>().ok()).expect("a length"))
}

fn status_of(answer: &[u8]) -> u16 {
    std::str::from_utf8(&answer[9..12]).expect("a status").parse().expect("a status")
}

/// The bytes of a GET.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

/// CPU-seconds that a process has used.
pub fn cpu_seconds(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process");
    let fields: Vec<&str> = text.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}

/// What is asked of which server.
pub struct Asked {
    pub address: SocketAddr,
    pub pid: u32,
    pub request: Vec<u8>,
}

impl Asked {
    /// Requests that the server answers per CPU-second of its own.
    fn per_cpu_second(&self, connections: usize, seconds: f64) -> f64 {
        let before = cpu_seconds(self.pid);
        let count = run(self.address, &self.request, connections, Duration::from_secs_f64(seconds), u64::MAX);
        count as f64 / (cpu_seconds(self.pid) - before)
    }
}

/// Requests per CPU-second of several servers, by turns, so that what else the machine does meets all alike: the median
/// of each, and of each one's ratio to the first.
pub fn by_turns(asked: &[Asked], connections: usize) -> Vec<(f64, f64)> {
    let round = |seconds| asked.iter().map(|one| one.per_cpu_second(connections, seconds)).collect::<Vec<f64>>();
    round(0.5);
    let rounds: Vec<Vec<f64>> = (0..super::ROUNDS).map(|_| round(1.0)).collect();
    let of = |index: usize, to: &dyn Fn(&Vec<f64>) -> f64| median(rounds.iter().map(|round| round[index] / to(round)));
    (0..asked.len()).map(|index| (of(index, &|_| 1.0), of(index, &|round| round[0]))).collect()
}

/// The middle one of some numbers.
pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Sends so many requests.
pub fn requests(address: SocketAddr, path: &str, connections: usize, count: u64) {
    run(address, &get(path), connections, Duration::from_secs(600), count);
}

fn run(address: SocketAddr, request: &[u8], connections: usize, time: Duration, most: u64) -> u64 {
    let done = AtomicU64::new(0);
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut connection = Connection::open(address);
                while Instant::now() < end && done.fetch_add(1, Ordering::Relaxed) < most {
                    connection.exchange(request);
                }
            });
        }
    });
    done.load(Ordering::Relaxed).min(most)
}

/// Commits a second of so many writers, each to a table of its own.
pub fn commits_per_second(address: SocketAddr, prefix: &str, writers: usize, seconds: f64) -> f64 {
    let done = AtomicU64::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let done = &done;
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                let path = format!("/v1/namespaces/ns/tables/{prefix}{writer}");
                for turn in 0.. {
                    if started.elapsed().as_secs_f64() > seconds {
                        break;
                    }
                    let body = format!(
                        "{{\"requirements\":[],\"updates\":[{{\"action\":\"set-properties\",\"updates\":{{\"k\":\"{turn}\"}}}}]}}"
                    );
                    let status = connection.exchange(post(&path, &body, "keep-alive").as_bytes());
                    assert_eq!(status, 200);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let count = done.load(Ordering::Relaxed) as f64;
    count / started.elapsed().as_secs_f64()
}

/// A body that is pushed, and what it is written in.
pub struct Push<'a> {
    pub path: &'a str,
    pub kind: &'a str,
    pub body: &'a [u8],
}

impl Push<'_> {
    fn request(&self) -> Vec<u8> {
        let Self { path, kind, body } = self;
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        [head.as_bytes(), body].concat()
    }
}

/// Pushes a body so many times over so many connections; how many seconds each answer took, sorted.
pub fn push(address: SocketAddr, push: &Push<'_>, connections: usize, count: usize) -> Vec<f64> {
    let request = push.request();
    let left = AtomicU64::new(count as u64);
    let took = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut connection = Connection::open(address);
                let mut own = Vec::new();
                let take = |left: u64| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    let started = Instant::now();
                    let status = connection.exchange(&request);
                    assert!(matches!(status, 200 | 202), "{status}");
                    own.push(started.elapsed().as_secs_f64());
                }
                took.lock().expect("whole").append(&mut own);
            });
        }
    });
    let mut took = took.into_inner().expect("whole");
    took.sort_by(f64::total_cmp);
    took
}

/// The same from one thread for all connections, as clients that have many do it: with a thread for each, much of what the
/// server is charged for is to wake them.
pub fn push_from_one_thread(address: SocketAddr, push: &Push<'_>, connections: usize, count: usize) -> Vec<f64> {
    let request: Arc<[u8]> = push.request().into();
    let left = Arc::new(AtomicUsize::new(count));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let all: Vec<_> = (0..connections)
        .map(|_| runtime.spawn(push_until_none_is_left(address, Arc::clone(&request), Arc::clone(&left))))
        .collect();
    let mut took: Vec<f64> = Vec::with_capacity(count);
    for one in all {
        took.extend(runtime.block_on(one).expect("answered"));
    }
    took.sort_by(f64::total_cmp);
    took
}

async fn push_until_none_is_left(address: SocketAddr, request: Arc<[u8]>, left: Arc<AtomicUsize>) -> Vec<f64> {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    stream.set_nodelay(true).expect("set");
    let (mut answer, mut took) = (Vec::with_capacity(4_096), Vec::new());
    let take = |left: usize| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        let started = Instant::now();
        stream.write_all(&request).await.expect("sent");
        answer.clear();
        while length_of(&answer).is_none_or(|whole| answer.len() < whole) {
            assert!(stream.read_buf(&mut answer).await.expect("answered") > 0, "the server closed the connection");
        }
        let status = status_of(&answer);
        assert!(matches!(status, 200 | 202), "{status}");
        took.push(started.elapsed().as_secs_f64());
    }
    took
}

/// What a server gets done per CPU-second of its own.
pub fn served_per_cpu_second(pid: u32, work: impl FnOnce() -> f64) -> f64 {
    let before = cpu_seconds(pid);
    work() / (cpu_seconds(pid) - before)
}

/// How often this thread does a thing per CPU-second, over at least so many seconds.
pub fn own_cpu_rate(work: impl Fn(), seconds: f64) -> f64 {
    let own = std::process::id();
    let (started, before) = (Instant::now(), cpu_seconds(own));
    let mut count = 0.0;
    while started.elapsed().as_secs_f64() < seconds {
        work();
        count += 1.0;
    }
    count / (cpu_seconds(own) - before)
}
