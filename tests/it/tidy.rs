//! The rules of the house, read off the source (CONTRIBUTING.md says why).
//!
//! A plain scan of text: it knows rooms, floors, lengths and words, nothing of Rust.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// The rooms and what each may use; `error names clock limits` are everybody's.
const ROOMS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("names", &[]),
    ("clock", &[]),
    ("limits", &[]),
    ("failpoint", &[]),
    ("store", &[]),
    ("lake", &[]),
    ("snapshot", &["lake"]),
    ("catalog", &["store", "lake", "snapshot"]),
    ("auth", &["store"]),
    ("ingest", &["catalog", "store", "lake", "snapshot"]),
    ("maintenance", &["catalog", "store", "lake", "snapshot"]),
    ("warehouses", &["ingest", "maintenance", "catalog", "store", "lake"]),
    ("http", &["warehouses", "ingest", "maintenance", "catalog", "auth", "store", "lake", "snapshot"]),
    ("config", &["auth", "catalog", "ingest", "lake"]),
    ("telemetry", &["config"]),
    (
        "app",
        &["http", "warehouses", "ingest", "maintenance", "catalog", "auth", "store", "lake", "config", "telemetry"],
    ),
    ("demo", &["catalog"]),
    ("cli", &["app", "warehouses", "auth", "demo", "http", "catalog", "config", "telemetry", "lake"]),
    ("main", &["cli", "failpoint"]),
];

const EVERYBODYS: &[&str] = &["error", "names", "clock", "limits", "failpoint"];

/// Words and the only room that may say them.
const WORDS: &[(&str, &str)] = &[
    ("axum", "http"),
    ("StatusCode", "http"),
    ("Exception\"", "http"),
    ("sqlx", "store"),
    ("object_store", "lake"),
    ("std::env::var", "config"),
];

struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let top = root().join(folder);
    let mut paths = Vec::new();
    rust_files(&top, &mut paths);
    let read = |path: PathBuf| {
        let inner = path.strip_prefix(&top).expect("inside");
        let first = inner.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        Source { room: first.trim_end_matches(".rs").to_owned(), text: fs::read_to_string(&path).expect("text"), path }
    };
    paths.into_iter().map(read).collect()
}

/// The part of a file before its unit tests, without comments.
fn code(source: &Source) -> String {
    let production = source.text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = production.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_test_file(source: &Source) -> bool {
    source.path.ends_with("tests.rs")
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let path = source.path.display();
        if !source.text.starts_with("//!") {
            wrong.push(format!("{path}: does not open with //!"));
        }
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"));
        }
        if source.text.lines().any(|line| line.trim_end() != line) {
            wrong.push(format!("{path}: white space at the end of a line"));
        }
        for word in ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("] {
            if source.text.contains(word) && !source.path.ends_with("tidy.rs") {
                wrong.push(format!("{path}: {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn functions_are_short() {
    let mut wrong = Vec::new();
    let mut lengths = Vec::new();
    for source in sources("src") {
        for (name, length) in functions(&source.text) {
            lengths.push(length);
            if length > FUNCTION_LINES_MAX {
                wrong.push(format!(
                    "{}: {name} has {length} lines, at most {FUNCTION_LINES_MAX}",
                    source.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= 12, "the median function has {median} lines");
}

/// Functions and their lengths: from the line of `fn` to the brace that closes it at the same depth of white space.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let head = trimmed.split("fn ").next().unwrap_or_default();
        let words = ["pub", "pub(super)", "pub(crate)", "async", "const", ""];
        if !trimmed.contains("fn ") || !head.split(' ').all(|word| words.contains(&word)) {
            continue;
        }
        let indent = &line[..line.len() - trimmed.len()];
        let close = format!("{indent}}}");
        let end = (start..lines.len()).find(|at| lines[*at] == close || lines[*at].starts_with(&format!("{close} ")));
        let one_line = line.ends_with('}') || line.ends_with(';');
        let name = trimmed.split("fn ").nth(1).and_then(|rest| rest.split(['(', '<']).next()).unwrap_or_default();
        let length = if one_line { 1 } else { end.map_or(1, |end| end - start + 1) };
        found.push((name.to_owned(), length));
    }
    found
}

#[test]
fn rooms_use_the_floors_below_them() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().filter(|source| source.room != "lib") {
        let Some((_, may)) = ROOMS.iter().find(|(room, _)| *room == source.room) else {
            wrong.push(format!("{}: there is no room {:?}", source.path.display(), source.room));
            continue;
        };
        for (other, _) in ROOMS.iter().filter(|(other, _)| *other != source.room) {
            let allowed = may.contains(other) || EVERYBODYS.contains(other);
            if !allowed && uses(&code(source), other) {
                wrong.push(format!("{}: {} may not use {other}", source.path.display(), source.room));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn uses(code: &str, room: &str) -> bool {
    let grouped = code.split("use crate::{").skip(1).filter_map(|rest| rest.split('}').next());
    let in_group = grouped.flat_map(|group| group.split(',')).any(|item| item.trim().split("::").next() == Some(room));
    in_group || code.contains(&format!("crate::{room}::")) || code.contains(&format!("use crate::{room};"))
}

#[test]
fn only_one_room_says_each_word() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let code = code(&source);
        for (word, room) in WORDS {
            let said =
                code.split(|c: char| !(c.is_alphanumeric() || "_:\"".contains(c))).any(|part| part.contains(word));
            if said && source.room != *room && !is_test_file(&source) {
                wrong.push(format!("{}: only {room}/ says {word}", source.path.display()));
            }
        }
        for verb in ["select ", "insert into ", "update ", "delete from ", "create table "] {
            let sql = code.split('"').skip(1).step_by(2).any(|text| {
                let text = text.trim_start();
                text.starts_with(verb)
                    && [" from ", " values", " set ", " where ", "("].iter().any(|word| text.contains(word))
            });
            if sql && source.room != "store" {
                wrong.push(format!("{}: only store/ holds SQL ({verb})", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pointers_move_and_objects_go_in_one_place_only() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let inner = source.path.strip_prefix(root().join("src")).expect("inside").display().to_string();
        let code = code(&source);
        let writes_pointer = ["insert into tabular", "update tabular", "delete from tabular"];
        if writes_pointer.iter().any(|sql| code.contains(sql))
            && !["store/step.rs", "store/moves.rs"].contains(&inner.as_str())
        {
            wrong.push(format!("{inner}: a table pointer changes only in store/step.rs and store/moves.rs"));
        }
        let swaps = code.contains(".swap(Swap") || code.contains("store.swap(");
        if swaps && !["catalog/append.rs", "catalog/commit.rs", "catalog/lifecycle.rs"].contains(&inner.as_str()) {
            wrong.push(format!("{inner}: swaps come only from catalog/append, commit and lifecycle"));
        }
        let deletes = code.contains("warehouse().delete(") || code.contains("warehouse.delete(");
        if deletes && source.room != "maintenance" && inner != "catalog/check.rs" {
            wrong.push(format!("{inner}: objects are deleted only in maintenance/"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_dead() {
    let mut modules: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for source in sources("src") {
        let folder = match source.path.file_stem().and_then(|stem| stem.to_str()) {
            Some("lib" | "main" | "mod") => source.path.parent().expect("a folder").to_path_buf(),
            _ => source.path.with_extension(""),
        };
        let named = source.text.lines().filter_map(|line| {
            let line = line.trim().strip_suffix(';')?;
            line.strip_prefix("mod ").or_else(|| line.split("mod ").nth(1)).map(str::to_owned)
        });
        modules.entry(folder).or_default().extend(named);
    }
    let dead: Vec<String> = sources("src")
        .iter()
        .filter(|source| {
            let stem = source.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let (folder, name) = if stem == "mod" {
                let own = source.path.parent().expect("a folder");
                (own.parent().expect("a folder"), own.file_name().and_then(|name| name.to_str()).unwrap_or_default())
            } else {
                (source.path.parent().expect("a folder"), stem)
            };
            let known = modules.get(folder).is_some_and(|names| names.contains(name));
            !known && !matches!(stem, "lib" | "main")
        })
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(dead.is_empty(), "no module names these files:\n{}", dead.join("\n"));
}

#[test]
fn every_limit_bounds_something() {
    let all = sources("src");
    let limits = all.iter().find(|source| source.room == "limits").expect("the limits");
    let names = limits.text.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    for name in names {
        let used = all.iter().any(|source| source.room != "limits" && code(source).contains(name));
        assert!(used, "nothing is bounded by limits::{name}");
    }
}
