//! At every step of a commit, a creation, a purge and a push of rows the process dies, fails, panics, or loses its client. Afterwards, in a process that was
//! started again, every table loads, everything acknowledged is there exactly once, nothing refused is there, transactions
//! are whole, and no file that a snapshot names is missing.
//!
//! Built only with the feature `failpoints`: `cargo test --features failpoints failpoints`.

mod acknowledged;
mod left_behind;
mod process;
mod routed;
mod world;

use std::collections::BTreeSet;

use process::Process;
use serde_json::{Value, json};
use world::{Operation, Request, World};

/// Operations and the steps that each passes; a number counts the times before that the step is left alone.
fn cases() -> Vec<(Operation, &'static str, usize)> {
    use Operation::{Append, AppendToNew, Commit, Create, Drop, Purge, Register, Rename, Transaction};
    let mut cases = Vec::new();
    let mut add = |operation, steps: &[&'static str], times: usize| {
        for step in steps {
            cases.extend((0..times).map(|before| (operation, *step, before)));
        }
    };
    let put = ["lake.create", "lake.written", "lake.created"];
    let swap = ["swap.begin", "swap.applied", "swap.committed"];
    // A change of one table's pointer alone is one statement, with nothing between it and its commit.
    let one = ["swap.begin", "swap.committed"];
    let flush = ["ingest.encoded", "ingest.uploaded", "append.prepared", "append.put", "append.swapped"];
    add(Append, &["ingest.decoded"], 1);
    add(Append, &flush, 1);
    // Two data files, a manifest, a list, the metadata.
    add(Append, &put, 5);
    add(Append, &one, 1);
    add(Append, &["ingest.flushed"], 1);
    add(AppendToNew, &["create.put", "create.swapped", "ingest.created", "ingest.decoded", "append.put"], 1);
    add(AppendToNew, &swap, 1);
    add(AppendToNew, &one, 2);
    add(Commit, &["commit.planned", "commit.put", "commit.swapped"], 1);
    add(Commit, &put, 1);
    add(Commit, &one, 1);
    add(Transaction, &put, 3);
    add(Transaction, &["commit.planned", "commit.put", "commit.swapped"], 1);
    add(Transaction, &swap, 1);
    add(Create, &["create.put", "create.swapped"], 1);
    add(Create, &put, 1);
    add(Create, &swap, 1);
    for operation in [Purge, Drop, Rename, Register] {
        add(operation, &swap, 1);
    }
    cases
}

fn armed(step: &str, before: usize, action: &str) -> String {
    if before == 0 { format!("{step}=1*{action}") } else { format!("{step}={before}*off->1*{action}") }
}

/// Prepares an operation, starts a server with these failpoints, and asks it; `None` where it died instead of answering.
async fn ask(world: &mut World, operation: Operation, failpoints: &str) -> (Process, Option<(u16, Value)>) {
    world.prepare(operation).await;
    let server = world.start(failpoints);
    let Request { method, path, body } = world.request(operation);
    let answer = server.send(method, &path, body.as_ref()).await;
    (server, answer)
}

#[test]
fn every_step_has_a_case() {
    let mut tried: BTreeSet<&str> = cases().into_iter().map(|(_, step, _)| step).collect();
    // Those of deletion and of the log have tests of their own.
    tried.extend(["gc.begin", "gc.manifest", "gc.deleted"]);
    tried.extend(acknowledged::STEPS);
    assert_eq!(tried, floeberg::failpoint::STEPS.iter().copied().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_loses_nothing_and_doubles_nothing() {
    let mut world = World::new().await;
    for (operation, step, before) in cases() {
        let what = format!("{operation:?} killed at {step}, {before} times before");
        let (mut server, answer) = ask(&mut world, operation, &armed(step, before, "return(kill)")).await;
        assert!(answer.is_none(), "{what}: {answer:?}");
        assert!(server.was_killed(), "{what}: the process did not come to this step");
        let server = world.start("");
        world.check(&server, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_any_step_is_said_and_leaves_nothing_behind() {
    let mut world = World::new().await;
    for (operation, step, before) in cases() {
        let what = format!("{operation:?} failing at {step}, {before} times before");
        let (server, answer) = ask(&mut world, operation, &armed(step, before, "return")).await;
        let (status, answer) = answer.expect("an answer");
        let harmless = step.ends_with("swapped") || step == "ingest.flushed" || step == "ingest.uploaded";
        match (status, step) {
            (200 | 204, _) if harmless => world.acknowledged(operation),
            // Who appends looks again.
            (200, "swap.committed") if matches!(operation, Operation::Append | Operation::AppendToNew) => {
                world.acknowledged(operation);
            }
            (500, "swap.committed") => {
                let told = answer["state"] == "unknown" || answer["error"]["type"] == "CommitStateUnknownException";
                assert!(told || has_no_word_for_unknown(operation), "{what}: {answer}");
            }
            (503, _) if !harmless && step != "swap.committed" => world.refused(operation),
            _ => panic!("{what}: {status} {answer}"),
        }
        let named = world.check(&server, &what).await;
        world.check_no_leftovers(&named, &what).await;
        drop(server);
        let server = world.start("");
        world.check(&server, &format!("{what}, started again")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_at_any_step_costs_one_request() {
    let mut world = World::new().await;
    for (operation, step, before) in cases() {
        let what = format!("{operation:?} panicking at {step}, {before} times before");
        let (server, answer) = ask(&mut world, operation, &armed(step, before, "panic")).await;
        let (status, answer) = answer.expect("an answer");
        assert!(status == 500, "{what}: {status} {answer}");
        world.check(&server, &what).await;
        // Queues, turns and groups go on.
        let Request { method, path, body } = world.request(operation_after(operation));
        let (status, answer) = server.send(method, &path, body.as_ref()).await.expect("an answer");
        assert!(status == 200 || status == 204, "{what}, the next one: {status} {answer}");
        world.acknowledged(operation_after(operation));
        world.check(&server, &what).await;
    }
}

/// The protocol says of updates alone how an unknown outcome is told.
fn has_no_word_for_unknown(operation: Operation) -> bool {
    use Operation::{Create, Drop, Purge, Register, Rename};
    matches!(operation, Create | Purge | Drop | Rename | Register)
}

fn operation_after(operation: Operation) -> Operation {
    use Operation::{Append, Drop, Purge, Register, Rename};
    // These need something to be there first.
    if matches!(operation, Purge | Drop | Rename | Register) { Append } else { operation }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_at_any_step_cancels_nothing() {
    let mut world = World::new().await;
    for (operation, step, before) in cases() {
        let what = format!("{operation:?}, its client gone at {step}, {before} times before");
        world.prepare(operation).await;
        // On a busy machine the client may be gone before its request was looked at: then nothing comes of it, rightly.
        let mut came = None;
        for _ in 0..3 {
            let server = world.start(&armed(step, before, "sleep(150)"));
            let Request { method, path, body } = world.request(operation);
            server.send_and_leave(method, &path, body.as_ref());
            if world.comes(&server, operation).await {
                came = Some(server);
                break;
            }
            world.refused(operation);
            // Only one at a time has the directory.
            drop(server);
            world.prepare(operation).await;
        }
        let server = came.unwrap_or_else(|| panic!("{what}: nothing came of the request"));
        world.acknowledged(operation);
        let named = world.check(&server, &what).await;
        world.check_no_leftovers(&named, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_is_killed_goes_on() {
    let mut world = World::new().await;
    let steps = ["gc.begin", "gc.manifest", "gc.deleted"];
    for (step, action) in steps.into_iter().flat_map(|step| [(step, "return(kill)"), (step, "return")]) {
        let what = format!("{step}={action}");
        // The first round is that of the start.
        let armed = armed(step, usize::from(step == "gc.begin"), action);
        let (mut server, answer) = ask(&mut world, Operation::Purge, &armed).await;
        if action == "return(kill)" {
            assert!(server.was_killed(), "{what}: the process did not come to this step");
        }
        if answer.is_some_and(|(status, _)| status == 204) {
            world.acknowledged(Operation::Purge);
        }
        drop(server);
        let server = world.start("");
        let named = world.check(&server, &what).await;
        world.check_no_leftovers(&named, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_whole_purge() {
    let world = World::new().await;
    let server = world.start("");
    for id in 0..4 {
        server.send("POST", "/ingest/v1/ns/gone", Some(&json!([{"id": id}]))).await.expect("an answer");
    }
    drop(server);
    let mut server = world.start("gc.manifest=sleep(400)");
    let gone = "/v1/namespaces/ns/tables/gone?purgeRequested=true";
    assert_eq!(server.send("DELETE", gone, None).await.expect("an answer").0, 204);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    server.ask_to_stop();
    assert!(server.stopped_well());
    let left = world.files("ns/gone").len();
    assert!(left > 2, "the purge was left where it was, and not ended first: {left} files");
    let server = world.start("");
    let mut world = world;
    let named = world.check(&server, "started again").await;
    world.check_no_leftovers(&named, "started again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_split_again_when_their_spec_is_removed() {
    let world = World::new().await;
    let server = world.start("ingest.encoded=1*sleep(500)");
    let rows = json!([{"id": 90, "part": 7}]);
    let push = server.send("POST", "/ingest/v1/ns/rows", Some(&rows));
    let relayout = async {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        let field = json!({"name": "id_bucket", "source-id": 1, "transform": "bucket[4]"});
        let updates = json!([
            {"action": "add-spec", "spec": {"fields": [field]}},
            {"action": "set-default-spec", "spec-id": -1},
            {"action": "remove-snapshots", "snapshot-ids": []},
            {"action": "remove-partition-specs", "spec-ids": [0]},
        ]);
        server
            .send("POST", "/v1/namespaces/ns/tables/rows", Some(&json!({"requirements": [], "updates": updates})))
            .await
    };
    let (pushed, changed) = tokio::join!(push, relayout);
    let (status, answer) = changed.expect("an answer");
    assert_eq!(status, 200, "the spec goes: {answer}");
    let (status, answer) = pushed.expect("an answer");
    assert_eq!(status, 200, "the rows come: {answer}");
    let files = world.files("ns/rows/data");
    let bucketed = |file: &std::path::PathBuf| file.to_string_lossy().contains("id_bucket=");
    assert_eq!(files.iter().filter(|file| bucketed(file)).count(), 1, "by the new spec: {files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_work_whose_client_left() {
    let mut world = World::new().await;
    let mut server = world.start("append.put=1*sleep(600)");
    let Request { method, path, body } = world.request(Operation::Append);
    server.send_and_leave(method, &path, body.as_ref());
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    server.ask_to_stop();
    assert!(server.stopped_well());
    let server = world.start("");
    assert!(world.comes(&server, Operation::Append).await, "the rows were on their way and are lost");
    world.acknowledged(Operation::Append);
    let named = world.check(&server, "started again").await;
    world.check_no_leftovers(&named, "started again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_to_be_deleted_is_not_registered() {
    let world = World::new().await;
    let server = world.start("gc.begin=return");
    let properties =
        json!({"write.metadata.delete-after-commit.enabled": "true", "write.metadata.previous-versions-max": "1"});
    let schema = json!({"type": "struct", "fields": []});
    let body = json!({"name": "short", "schema": schema, "properties": properties});
    let (_, made) = server.send("POST", "/v1/namespaces/ns/tables", Some(&body)).await.expect("an answer");
    for turn in 0..3 {
        let updates = json!([{"action": "set-properties", "updates": {"turn": turn.to_string()}}]);
        let body = json!({"requirements": [], "updates": updates});
        server.send("POST", "/v1/namespaces/ns/tables/short", Some(&body)).await.expect("an answer");
    }
    let first = &made["metadata-location"];
    for (name, overwrite) in [("short", true), ("again", false)] {
        let body = json!({"name": name, "metadata-location": first, "overwrite": overwrite});
        let (status, answer) = server.send("POST", "/v1/namespaces/ns/register", Some(&body)).await.expect("an answer");
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains("queued for deletion"), "{status} {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_kept_with_its_effect_or_not_at_all() {
    const TABLE: &str = "/v1/namespaces/ns/tables/p";
    let world = World::new().await;
    let steps = ["commit.planned", "lake.created", "commit.put", "swap.begin", "swap.applied", "swap.committed"];
    let all = steps.into_iter().chain(["commit.swapped"]).flat_map(|step| [(step, "return(kill)"), (step, "return")]);
    for (turn, (step, action)) in all.enumerate() {
        let what = format!("{step}={action}");
        let key = format!("019a0000-0000-7000-8000-{turn:012}");
        let log = async |server: &Process| {
            let (_, table) = server.send("GET", TABLE, None).await.expect("an answer");
            let log = table["metadata"]["metadata-log"].as_array().map_or(0, Vec::len);
            (log, table["metadata"]["properties"]["keyed"].clone())
        };
        let (before, _) = log(&world.start("")).await;
        let updates = json!([{"action": "set-properties", "updates": {"keyed": turn.to_string()}}]);
        let body = json!({"requirements": [], "updates": updates});
        drop(
            world
                .start(&armed(step, 0, action))
                .send_under(&[("idempotency-key", &key)], "POST", TABLE, Some(&body))
                .await,
        );
        // Whatever came of it, the same request again is answered, and has happened once.
        let server = world.start("");
        for _ in 0..2 {
            let again = server.send_under(&[("idempotency-key", &key)], "POST", TABLE, Some(&body)).await;
            let (status, answer) = again.expect("an answer");
            let kept = &answer["metadata"]["properties"]["keyed"];
            assert_eq!((status, kept), (200, &json!(turn.to_string())), "{what}: {answer}");
        }
        assert_eq!(log(&server).await, (before + 1, json!(turn.to_string())), "{what}: it happened once");
        let other = json!({"requirements": [], "updates": []});
        let (status, _) =
            server.send_under(&[("idempotency-key", &key)], "POST", TABLE, Some(&other)).await.expect("an answer");
        assert_eq!(status, 422, "{what}: the key is this request's alone");
    }
}
