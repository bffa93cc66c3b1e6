//! Benchmarks, each as a ratio to a baseline of the same minute: `cargo bench`.
//!
//! The server under test is the real binary in a process of its own; its cost is read from the kernel's account of that
//! process. The baseline of `loadTable` is a bare axum route that answers the same bytes through the same accept loop, in
//! another process. Nothing is asserted: a benchmark prints.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a benchmark fails loudly and talks"
)]

mod formats;
mod ingest;
mod load;
mod plans;
mod process;
mod store;

use std::time::Instant;

use load::Asked;
use process::{Bare, Server};
use serde_json::json;

/// How often what is compared takes its turn.
const ROUNDS: usize = 9;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--bare") {
        return process::serve_bare(&arguments[at + 1]);
    }
    let filter = arguments.iter().skip(1).find(|argument| !argument.starts_with("--")).cloned().unwrap_or_default();
    for (name, run) in [
        ("start", start as fn()),
        ("load_table", load_table),
        ("tokens", tokens),
        ("commits", commits),
        ("commits_cpu", commits_cpu),
        ("plans", plans::plans),
        ("ingest", ingest::ingest),
        ("formats", formats::formats),
        ("command", formats::command),
        ("small", ingest::small),
        ("bodies", ingest::bodies),
        ("store", store::store),
    ] {
        if name.contains(&filter) {
            run();
        }
    }
}

/// Start-up on a directory that is there, to the first answer; memory when idle.
fn start() {
    let mut server = Server::fresh();
    server.make_table("t", 1);
    let mut times: Vec<f64> = (0..10)
        .map(|_| {
            server.stop();
            let started = Instant::now();
            server.start();
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("start to first answer    median {:.1} ms  worst {:.1} ms   (goal < 60 ms)", times[5], times[9]);
    println!("memory idle              {:.1} MB   (goal < 30 MB)", server.resident_mb());
}

/// `loadTable` per CPU-second against a bare route of the same bytes.
fn load_table() {
    let mut server = Server::fresh();
    for (name, snapshots) in [("new", 0), ("long", 1_000)] {
        server.make_table(name, snapshots);
        let path = format!("/v1/namespaces/ns/tables/{name}");
        let body = server.get(&path);
        let bare = Bare::start(&body);
        let of = |path: &str| Asked { address: server.address(), pid: server.pid(), request: load::get(path) };
        let asked = [
            Asked { address: bare.address(), pid: bare.pid(), request: load::get("/") },
            of(&path),
            of("/v1/namespaces/ns/tables/none"),
        ];
        let found = load::by_turns(&asked, 16);
        let [(plain, _), (loaded, ratio), (missed, _)] = found[..] else { return };
        println!(
            "loadTable {name:<5} {:>8} B  {loaded:>9.0}/CPU-s  bare {plain:>9.0}/CPU-s  ratio {ratio:.2}   (goal >= 0.60)",
            body.len(),
        );
        if snapshots == 0 {
            println!(
                "loadTable miss              {missed:>9.0}/CPU-s  against a hit {:.2}   (goal >= 1.00)",
                missed / loaded
            );
        }
    }
    let before = server.resident_mb();
    load::requests(server.address(), "/v1/namespaces/ns/tables/new", 16, 1_000_000);
    println!("memory after 1 M loads   {:.1} MB, before {before:.1} MB   (goal: flat)", server.resident_mb());
    server.stop();
}

/// Requests at the token endpoint per CPU-second beside `loadTable` of the same server: Trino asks for a token at nearly
/// every operation.
fn tokens() {
    let server = Server::guarded();
    server.make_table("t", 0);
    let of = |request: Vec<u8>| Asked { address: server.address(), pid: server.pid(), request };
    let form = |secret: &str| {
        let form = format!("grant_type=client_credentials&scope=catalog&client_id=x&client_secret={secret}");
        process::post("/v1/oauth/tokens", &form, "keep-alive")
            .replacen("\r\n", "\r\nContent-Type: application/x-www-form-urlencoded\r\n", 1)
            .into_bytes()
    };
    let line = format!("HTTP/1.1\r\n{}", server.authorization());
    let load = String::from_utf8(load::get("/v1/namespaces/ns/tables/t")).expect("text");
    let wrong = format!("flo_{}", "A".repeat(43));
    let asked = [of(load.replacen("HTTP/1.1\r\n", &line, 1).into_bytes()), of(form(server.secret())), of(form(&wrong))];
    let [(load, _), (given, ratio), (refused, missed)] = load::by_turns(&asked, 16)[..] else { return };
    println!("token requests  {given:>9.0}/CPU-s  loadTable with a token {load:>9.0}/CPU-s  ratio {ratio:.2}");
    println!("token refusals  {refused:>9.0}/CPU-s  ratio {missed:.2}");
}

/// The server's CPU for a commit on tables that keep so many snapshots. By turns, because what creating a file costs changes
/// with what was removed from the disk before.
fn commits_cpu() {
    let server = Server::fresh();
    let tables = [("few", 20), ("many", 1_000)];
    tables.iter().for_each(|(name, snapshots)| server.make_table(name, *snapshots));
    let turns = 100;
    let cost = |name: &str, snapshots: i64, round: i64| {
        let rate = load::served_per_cpu_second(server.pid(), || {
            let turns = round * turns + 1..=(round + 1) * turns;
            turns.map(|turn| server.turn_over(name, snapshots + turn, turn)).count() as f64 * 2.0
        });
        1e3 / rate
    };
    let rounds: Vec<[f64; 2]> =
        (0..9).map(|round| tables.map(|(name, snapshots)| cost(name, snapshots, round))).collect();
    let [few, many] = [0, 1].map(|index| load::median(rounds.iter().map(|round| round[index])));
    let ratio = load::median(rounds.iter().map(|round| round[1] / round[0]));
    println!(
        "CPU of a commit, 20 snapshots {few:.2} ms, 1000 snapshots {many:.2} ms: ratio {ratio:.2}   (goal <= 2.00)"
    );
}

/// Durable commits a second against what the disk does alone, and how the cost grows with the table.
fn commits() {
    let server = Server::fresh();
    // By turns, because what a disk does changes from one second to the next; each turn in folders of its own, because one
    // with many files is dearer.
    let rounds: Vec<[f64; 3]> = (0..ROUNDS)
        .map(|round| {
            let raw = process::raw_durable_writes(&server.dir(), 3_000, 1_000);
            let [one, eight] = [1, 8].map(|writers| {
                let prefix = format!("r{round}w{writers}t");
                (0..writers).for_each(|writer| server.make_short_table(&format!("{prefix}{writer}")));
                load::commits_per_second(server.address(), &prefix, writers, 1.0)
            });
            [raw, one, eight]
        })
        .collect();
    let raw = load::median(rounds.iter().map(|round| round[0]));
    for (index, writers, goal) in [(1, 1, 0.4), (2, 8, 1.0)] {
        let rate = load::median(rounds.iter().map(|round| round[index]));
        let ratio = load::median(rounds.iter().map(|round| round[index] / round[0]));
        println!(
            "commits, {writers} writers       {rate:>7.0}/s  raw {raw:>7.0}/s  ratio {ratio:.2}   (goal >= {goal:.2})"
        );
    }
    server.make_table("grow", 0);
    (1..=1_000).for_each(|id| server.append("grow", id));
    let times = server.commit_times("grow");
    assert_eq!(times.len(), 1_000);
    let [early, late] = [&times[10..30], &times[980..]].map(|times| load::median(times.iter().copied()));
    let bytes = server.get("/v1/namespaces/ns/tables/grow").len();
    let write = 1.0 / process::raw_durable_writes(&server.dir(), bytes, 30);
    println!(
        "commit 11-30 {:.2} ms, 981-1000 {:.2} ms, raw write of {bytes} B {:.2} ms: ratio {:.2}   (goal <= 1.30)",
        early * 1e3,
        late * 1e3,
        write * 1e3,
        late / (early + write)
    );
    println!("{}", json!({"commit_early_ms": early * 1e3, "commit_late_ms": late * 1e3}));
}
