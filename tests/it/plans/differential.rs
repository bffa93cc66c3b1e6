//! What a plan lists, against brute force over every row.
//!
//! A file with a matching row must be listed, with every delete that touches it. A file of one row whose statistics are
//! exact must not be listed where that row does not match. What is left of the filter must select the same rows.

use super::question::{Question, matches_json};
use super::world::{Chance, Column, DeleteFile, Deletes, File, Row, World};
use super::{Plan, plan};
use crate::kit::Server;
use serde_json::json;

/// What the comparison saw, so that it cannot pass by seeing nothing.
#[derive(Debug, Default)]
struct Seen {
    listed: usize,
    left_out: usize,
    exactly_left_out: usize,
    residuals_true: usize,
    deletes: usize,
    deletes_left_out: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_lists_what_brute_force_finds() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let mut seen = Seen::default();
    for seed in 0..24 {
        let mut chance = Chance(seed);
        let world = World::new(&server, &format!("t{seed}"), &mut chance).await;
        for number in 0..40 {
            let depth = chance.below(4);
            let question = Question::random(&mut chance, &world, depth);
            let filter = question.json(&mut chance, &world.columns);
            let found = plan(&server, &world.name, &json!({"filter": filter})).await;
            let what = format!("seed {seed}, filter {number}: {filter}");
            compare_files(&world, &question, &found, &what, &mut seen);
            compare_deletes(&world, &found, &what, &mut seen);
        }
    }
    let enough =
        [seen.listed, seen.left_out, seen.exactly_left_out, seen.residuals_true, seen.deletes, seen.deletes_left_out];
    assert!(enough.iter().all(|count| *count > 300), "{seen:?}");
}

fn compare_files(world: &World, question: &Question, found: &Plan, what: &str, seen: &mut Seen) {
    for file in &world.files {
        let matches: Vec<Option<bool>> = file.rows.iter().map(|row| question.matches(row, &world.columns)).collect();
        let Some((residual, _)) = found.files.get(&file.path) else {
            assert!(!matches.contains(&Some(true)), "{what}\nleft out, but a row matches: {file:?}");
            seen.left_out += 1;
            continue;
        };
        seen.listed += 1;
        if residual == &json!(true) {
            seen.residuals_true += 1;
        }
        for (row, matches) in file.rows.iter().zip(&matches) {
            let left = matches_json(residual, row, &world.columns);
            let same = left.is_none() || matches.is_none() || left == *matches;
            assert!(
                same,
                "{what}\nthe residual {residual} says {left:?}, the filter {matches:?} of {row:?} in {file:?}"
            );
        }
        let one = file.exact && file.rows.len() == 1 && !has_uuid(question, &world.columns);
        assert!(!one || matches[0] != Some(false), "{what}\nlisted, but its only row does not match: {file:?}");
    }
    for file in world.files.iter().filter(|file| file.exact && file.rows.len() == 1) {
        seen.exactly_left_out += usize::from(!found.files.contains_key(&file.path));
    }
    let known = |path: &String| world.files.iter().any(|file| file.path == *path);
    assert!(found.files.keys().all(known), "{what}: a file that is none");
}

/// UUIDs are ordered in two ways; a range of them rules out nothing where the two differ.
fn has_uuid(question: &Question, columns: &[Column]) -> bool {
    match question {
        Question::And(a, b) | Question::Or(a, b) => has_uuid(a, columns) || has_uuid(b, columns),
        Question::Not(a) => has_uuid(a, columns),
        Question::Test { column, .. } => columns[*column].kind == "uuid",
    }
}

fn compare_deletes(world: &World, found: &Plan, what: &str, seen: &mut Seen) {
    for file in &world.files {
        let Some((_, attached)) = found.files.get(&file.path) else { continue };
        let paths: Vec<&str> = attached.iter().map(|delete| delete["file-path"].as_str().expect("a path")).collect();
        let vector = world.deletes.iter().any(|delete| is_vector_of(delete, file));
        for delete in &world.deletes {
            let there = paths.contains(&delete.file.path.as_str());
            let (may, must) = (may_apply(world, delete, file, vector), touches(delete, file));
            assert!(may || !there, "{what}\n{delete:?}\nis attached to {file:?}");
            assert!(there || !(may && must), "{what}\n{delete:?}\nis not attached to {file:?}");
            seen.deletes += usize::from(there);
            seen.deletes_left_out += usize::from(!there);
        }
    }
}

fn is_vector_of(delete: &DeleteFile, file: &File) -> bool {
    matches!(&delete.deletes, Deletes::Vector(path) if *path == file.path) && delete.file.sequence >= file.sequence
}

/// Whether a delete file applies by the rules of the specification, whatever its statistics.
fn may_apply(world: &World, delete: &DeleteFile, file: &File, vector: bool) -> bool {
    let same = delete.file.spec == file.spec && delete.file.partition == file.partition;
    match &delete.deletes {
        Deletes::Vector(_) => is_vector_of(delete, file),
        Deletes::Positions { of, one } => {
            same && !vector && delete.file.sequence >= file.sequence && (!one || of.contains(&file.path))
        }
        Deletes::Values { .. } => {
            let anywhere = world.unpartitioned.contains(&delete.file.spec);
            (anywhere || same) && delete.file.sequence > file.sequence
        }
    }
}

/// Whether it deletes a row of the file.
fn touches(delete: &DeleteFile, file: &File) -> bool {
    match &delete.deletes {
        Deletes::Vector(path) => *path == file.path,
        Deletes::Positions { of, .. } => of.contains(&file.path),
        Deletes::Values { columns, rows } => {
            let alike = |a: &Row, b: &Row| columns.iter().all(|at| a[*at] == b[*at]);
            rows.iter().any(|deleted| file.rows.iter().any(|row| alike(deleted, row)))
        }
    }
}
