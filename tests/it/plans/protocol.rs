//! What is asked of scan planning and answered: pages, spans, names, tokens, refusals.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::plan;
use super::world::{Chance, World};
use crate::kit::Server;

async fn world(seed: u64) -> (Server, World) {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let world = World::new(&server, "t", &mut Chance(seed)).await;
    (server, world)
}

const PLAN: &str = "/v1/namespaces/ns/tables/t/plan";
const TASKS: &str = "/v1/namespaces/ns/tables/t/tasks";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_snapshots_has_an_empty_plan() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    server.table("t").await;
    let planned = server.post(PLAN, &json!({})).await.expect(200).json();
    assert_eq!(planned["status"], "completed");
    assert_eq!((&planned["file-scan-tasks"], &planned["plan-tasks"]), (&json!([]), &json!([])));
    assert!(planned.get("delete-files").is_none());
    let id = planned["plan-id"].as_str().expect("an id");
    assert_eq!(server.get(&format!("{PLAN}/{id}")).await.expect(200).json()["file-scan-tasks"], json!([]));
    server.delete(&format!("{PLAN}/{id}")).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_as_clients_read_them() {
    let (server, world) = world(3).await;
    let planned = server.post(PLAN, &json!({"stats-fields": ["c2", "c8"]})).await.expect(200).json();
    let tasks = planned["file-scan-tasks"].as_array().expect("files");
    assert_eq!(tasks.len(), world.files.len());
    for task in tasks {
        let file = &task["data-file"];
        assert_eq!((&file["content"], &file["file-format"]), (&json!("data"), &json!("parquet")));
        assert_eq!(task["residual-filter"], json!(true));
        let known = world.files.iter().find(|known| file["file-path"] == known.path).expect("a file");
        assert_eq!(file["spec-id"], known.spec);
        assert_eq!(file["partition"].as_array().map(Vec::len), Some(known.partition.fields().len()));
        assert_eq!(file["record-count"], known.rows.len());
        for map in ["value-counts", "lower-bounds"] {
            let keys = file[map]["keys"].as_array().cloned().unwrap_or_default();
            assert!(keys.iter().all(|key| *key == 2 || *key == 8), "{file}");
        }
        assert!(known.exact <= file.get("value-counts").is_some());
    }
    let bare = server.post(PLAN, &json!({})).await.expect(200).json();
    assert!(!bare.to_string().contains("value-counts") && !bare.to_string().contains("lower-bounds"));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_of_one_snapshot_or_what_was_appended_between_two() {
    let (server, world) = world(4).await;
    let paths = |upto: i64, from: i64| -> BTreeSet<String> {
        let files = world.files.iter().filter(|file| file.sequence <= upto && file.sequence > from);
        files.map(|file| file.path.clone()).collect()
    };
    for (request, expected) in [
        (json!({"snapshot-id": 2}), paths(2, 0)),
        (json!({}), paths(4, 0)),
        (json!({"start-snapshot-id": 1, "end-snapshot-id": 3}), paths(3, 1)),
        (json!({"start-snapshot-id": 3, "end-snapshot-id": 4}), paths(4, 3)),
    ] {
        let found = plan(&server, "t", &request).await;
        assert_eq!(found.files.keys().cloned().collect::<BTreeSet<_>>(), expected, "{request}");
        if request.get("start-snapshot-id").is_some() {
            assert!(found.files.values().all(|(_, deletes)| deletes.is_empty()), "{request}");
        }
    }
    for (request, part) in [
        (json!({"snapshot-id": 9}), "Cannot find snapshot with ID 9"),
        (
            json!({"start-snapshot-id": 3, "end-snapshot-id": 1}),
            "Starting snapshot 3 is not an ancestor of end snapshot 1",
        ),
        (json!({"start-snapshot-id": 9, "end-snapshot-id": 1}), "Starting snapshot 9 is not an ancestor"),
        (json!({"start-snapshot-id": 1, "end-snapshot-id": 9}), "Cannot find snapshot with ID 9"),
    ] {
        server.post(PLAN, &request).await.refused(400, "ValidationException", part);
    }
    for (request, part) in [
        (json!({"start-snapshot-id": 1}), "needed together"),
        (json!({"end-snapshot-id": 1}), "needed together"),
        (json!({"end-snapshot-id": 1, "snapshot-id": 1}), "needed together"),
        (json!({"start-snapshot-id": 1, "end-snapshot-id": 2, "snapshot-id": 1}), "not both"),
        (json!({"min-rows-requested": -1}), "cannot be negative"),
        (json!({"snapshot-id": "x"}), "Malformed request body"),
        (json!({"filter": {"type": "eq", "term": "c1"}}), "lacks \"right\""),
        (json!({"filter": 5}), "neither true, false nor an object"),
    ] {
        server.post(PLAN, &request).await.refused(400, "BadRequestException", part);
    }
    server.post("/v1/namespaces/ns/tables/none/plan", &json!({})).await.refused(404, "NoSuchTableException", "ns.none");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_those_of_a_schema() {
    let (server, world) = world(5).await;
    let mut table = server.get("/v1/namespaces/ns/tables/t").await.json();
    let schema = &mut table["metadata"]["schemas"][0];
    schema["fields"][1]["name"] = json!("other");
    let renamed =
        json!([{"action": "add-schema", "schema": schema}, {"action": "set-current-schema", "schema-id": -1}]);
    server.commit("t", json!([]), renamed).await.expect(200);
    let all = world.files.len();
    let with = |request: Value| {
        let server = &server;
        async move { plan(server, "t", &request).await }
    };
    let old = json!({"type": "is-null", "term": "c2"});
    let new = json!({"type": "is-null", "term": "other"});
    let then = with(json!({"filter": old, "use-snapshot-schema": true})).await;
    let now = with(json!({"filter": new})).await;
    assert_eq!(then.files.keys().collect::<Vec<_>>(), now.files.keys().collect::<Vec<_>>());
    assert!(now.files.len() < all);
    // A name that is not there may stand for anything: all files, and the filter goes back as it came.
    let unknown = with(json!({"filter": old})).await;
    assert_eq!(unknown.files.len(), all);
    assert!(unknown.files.values().all(|(residual, _)| *residual == old));
    let folded = with(json!({"filter": {"type": "is-null", "term": "OTHER"}, "case-sensitive": false})).await;
    assert_eq!(folded.files.len(), now.files.len());
    assert_eq!(with(json!({"filter": {"type": "is-null", "term": "OTHER"}})).await.files.len(), all);
    let by_id = with(json!({"filter": {"type": "is-null", "child": {"type": "reference", "id": 2}}})).await;
    assert_eq!(by_id.files.len(), now.files.len());
    assert_eq!(with(json!({"select": ["other", "_file", "*"], "filter": new})).await.files.len(), now.files.len());
    // Engines speak of the columns of now also where they ask for those of then.
    with(json!({"select": ["other"], "stats-fields": ["other"], "use-snapshot-schema": true})).await;
    for (what, request) in [("select", json!({"select": ["c2"]})), ("stats-fields", json!({"stats-fields": ["c2"]}))] {
        server.post(PLAN, &request).await.refused(400, "ValidationException", &format!("\"c2\" of {what}"));
    }
    // A name that means one column then and another now may mean either.
    let mut table = server.get("/v1/namespaces/ns/tables/t").await.json();
    let schema = &mut table["metadata"]["schemas"][1];
    schema["fields"][2]["name"] = json!("c2");
    let renamed =
        json!([{"action": "add-schema", "schema": schema}, {"action": "set-current-schema", "schema-id": -1}]);
    server.commit("t", json!([]), renamed).await.expect(200);
    let either = with(json!({"filter": old, "use-snapshot-schema": true})).await;
    assert_eq!(either.files.len(), all);
    assert!(with(json!({"filter": old})).await.files.len() < all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_bound_widens() {
    let (server, world) = world(6).await;
    for filter in [
        json!({"type": "eq", "term": "c2", "value": "text"}),
        json!({"type": "eq", "term": "c5", "value": "2024-99-99"}),
        json!({"type": "st-intersects", "term": "c10", "value": "POINT"}),
        json!({"type": "eq", "left": {"type": "apply", "function": "f", "arguments": []}, "right": 1}),
        json!({"type": "eq", "term": {"type": "transform", "transform": "zorder[3]", "term": "c2"}, "value": 1}),
    ] {
        let found = plan(&server, "t", &json!({"filter": filter})).await;
        assert_eq!(found.files.len(), world.files.len(), "{filter}");
        let negated = plan(&server, "t", &json!({"filter": {"type": "not", "child": filter}})).await;
        assert_eq!(negated.files.len(), world.files.len(), "not {filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_are_found_again_and_ended_any_number_of_times() {
    let (server, world) = world(7).await;
    let planned = server.post(PLAN, &json!({"filter": {"type": "not-null", "term": "c2"}})).await.expect(200).json();
    let id = planned["plan-id"].as_str().expect("an id").to_owned();
    let server = server.restart().await;
    let again = server.get(&format!("{PLAN}/{id}")).await.expect(200).json();
    assert_eq!(again["file-scan-tasks"], planned["file-scan-tasks"]);
    server.delete(&format!("{PLAN}/{id}")).await.expect(204);
    server.delete(&format!("{PLAN}/{id}")).await.expect(204);
    for id in ["x", "1.xyz", "%00"] {
        server.get(&format!("{PLAN}/{id}")).await.refused(404, "NoSuchPlanIdException", "Plan id does not exist");
        server.delete(&format!("{PLAN}/{id}")).await.refused(404, "NoSuchPlanIdException", "Plan id does not exist");
    }
    let none = "NoSuchPlanTaskException";
    server.post(TASKS, &json!({"plan-task": "x"})).await.refused(404, none, "Plan task does not exist: x");
    server.post(TASKS, &json!({})).await.refused(400, "BadRequestException", "plan-task");
    // A task is of one table, and ends with its snapshot.
    server.post(TASKS, &json!({"plan-task": id})).await.expect(200);
    server.table("u").await;
    server.post("/v1/namespaces/ns/tables/u/tasks", &json!({"plan-task": id})).await.refused(
        404,
        none,
        "another table",
    );
    let long = json!({"type": "in", "term": "c8", "values": vec!["x".repeat(50); 200]});
    let planned = server.post(PLAN, &json!({"filter": long})).await.expect(200).json();
    let short = planned["plan-id"].as_str().expect("an id");
    assert!(short.len() < 30, "{short}");
    server.delete(&format!("{PLAN}/{short}")).await.expect(204);
    server.get(&format!("{PLAN}/{short}")).await.refused(404, "NoSuchPlanIdException", "plan the scan again");
    drop(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn enough_rows_are_enough() {
    let (server, world) = world(8).await;
    let without_deletes = json!({"start-snapshot-id": 1, "end-snapshot-id": 4, "min-rows-requested": 1});
    let some = plan(&server, "t", &without_deletes).await;
    assert_eq!(some.files.len(), 1);
    let all = plan(&server, "t", &json!({"min-rows-requested": 1_000_000})).await;
    assert_eq!(all.files.len(), world.files.len());
}
