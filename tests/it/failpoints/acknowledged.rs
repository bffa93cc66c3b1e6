//! Rows that are acknowledged before they are committed: whatever step the process dies at, what was acknowledged is
//! committed once by the next, and the same request again changes nothing.

use std::time::Duration;

use serde_json::{Value, json};

use super::armed;
use super::process::Process;
use super::world::World;

/// The steps of the log.
pub const STEPS: [&str; 4] = ["log.begin", "log.written", "log.synced", "ingest.acknowledged"];

/// Those of the commit that follows, and how often each is passed.
const OF_THE_COMMIT: [(&str, usize); 10] = [
    ("ingest.encoded", 1),
    ("ingest.uploaded", 1),
    ("append.prepared", 1),
    ("lake.create", 5),
    ("lake.created", 5),
    ("append.put", 1),
    ("swap.begin", 1),
    ("swap.applied", 1),
    ("swap.committed", 1),
    ("append.swapped", 1),
];

const FLUSH: &str = "/ingest/v1/ns/rows/flush";

async fn flush(server: &Process) -> Option<(u16, Value)> {
    server.send("POST", FLUSH, Some(&json!(null))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_loses_nothing_and_doubles_nothing() {
    let mut world = World::new().await;
    let mut cases: Vec<(&str, usize)> = STEPS.into_iter().map(|step| (step, 0)).collect();
    cases.extend(OF_THE_COMMIT.into_iter().flat_map(|(step, times)| (0..times).map(move |before| (step, before))));
    for (step, before) in cases {
        for action in ["return(kill)", "return"] {
            let what = format!("{step}={action}, {before} times before");
            let key = what.clone();
            let (ids, rows) = world.rows_to_acknowledge();
            let mut server = world.start(&armed(step, before, action));
            let push = async |server: &Process| {
                server.send_under(&[("idempotency-key", &key)], "POST", "/ingest/v1/ns/rows?ack=wal", Some(&rows)).await
            };
            let answer = push(&server).await;
            match &answer {
                Some((202, _)) => world.these_are_acknowledged(&ids),
                Some((500, told)) => assert_eq!(told["state"], "unknown", "{what}"),
                Some((503, _)) | None => assert!(STEPS.contains(&step), "{what}: {answer:?}"),
                Some(other) => panic!("{what}: {other:?}"),
            }
            let flushed = flush(&server).await;
            if action == "return(kill)" {
                assert!(flushed.is_none() && server.was_killed(), "{what}: the process did not come to this step");
            }
            drop(server);
            let server = world.start("");
            assert_eq!(flush(&server).await.map(|(status, _)| status), Some(200), "{what}");
            world.check(&server, &what).await;
            // Its sender asks again until he knows.
            world.these_are_sent(&ids);
            assert_eq!(push(&server).await.map(|(status, _)| status), Some(202), "{what}");
            world.these_are_acknowledged(&ids);
            assert_eq!(flush(&server).await.map(|(status, _)| status), Some(200), "{what}");
            world.check(&server, &what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_committed_is_tried_again() {
    let mut world = World::new().await;
    let (ids, rows) = world.rows_to_acknowledge();
    let server = world.start("append.prepared=3*return");
    let (status, _) = server.send("POST", "/ingest/v1/ns/rows?ack=wal", Some(&rows)).await.expect("an answer");
    assert_eq!(status, 202);
    world.these_are_acknowledged(&ids);
    let (status, told) = flush(&server).await.expect("an answer");
    assert_eq!((status, &told["code"]), (503, &json!("unavailable")), "who waits is told");
    let (_, state) = server.send("GET", "/ingest/v1/ns/rows/status", None).await.expect("an answer");
    assert!(state["buffered_rows"] == 2 && state["last_error"]["detail"].is_string(), "{state}");
    for _ in 0..200 {
        let (_, state) = server.send("GET", "/ingest/v1/ns/rows/status", None).await.expect("an answer");
        if state["buffered_rows"] == 0 && state["last_error"].is_null() {
            let named = world.check(&server, "tried again").await;
            world.check_no_leftovers(&named, "tried again").await;
            return;
        }
        drop(flush(&server).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the rows were not committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_although_nobody_said_so_is_not_committed_again() {
    let mut world = World::new().await;
    for ack in ["none", "wal", "commit"] {
        let (ids, rows) = world.rows_to_acknowledge();
        let server = world.start("swap.committed=1*return");
        let path = format!("/ingest/v1/ns/rows?ack={ack}");
        let (status, answer) = server.send("POST", &path, Some(&rows)).await.expect("an answer");
        assert_eq!(status, if ack == "commit" { 200 } else { 202 }, "{answer}");
        world.these_are_acknowledged(&ids);
        for _ in 0..2 {
            assert_eq!(flush(&server).await.map(|(status, _)| status), Some(200), "{ack}");
        }
        let named = world.check(&server, ack).await;
        world.check_no_leftovers(&named, ack).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_commits_fail_for_long_takes_no_more_to_acknowledge() {
    let mut world = World::new().await;
    let server = world.start("append.put=return");
    let mut last = Value::Null;
    for _ in 0..60 {
        let (ids, rows) = world.rows_to_acknowledge();
        let (status, told) = server.send("POST", "/ingest/v1/ns/rows?ack=wal", Some(&rows)).await.expect("an answer");
        last = told;
        if status == 503 {
            break;
        }
        assert_eq!(status, 202, "{last}");
        world.these_are_acknowledged(&ids);
        floeberg::clock::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(last["code"], "commits_fail", "{last}");
    assert!(last["detail"].as_str().is_some_and(|why| why.contains("append.put")), "{last}");
    drop(server);
    let server = world.start("");
    assert_eq!(flush(&server).await.map(|(status, _)| status), Some(200));
    world.check(&server, "after commits failed for long").await;
    let (ids, rows) = world.rows_to_acknowledge();
    let (status, told) = server.send("POST", "/ingest/v1/ns/rows?ack=wal", Some(&rows)).await.expect("an answer");
    assert_eq!(status, 202, "{told}");
    world.these_are_acknowledged(&ids);
    flush(&server).await.expect("an answer");
    world.check(&server, "and again").await;
}
