//! A damaged metadata file is named, and gone back from; so is a snapshot.

use std::process::Command;

use serde_json::{Value, json};

use crate::kit::{Server, append};

const T: &str = "/v1/namespaces/ns/tables/t";
const MANAGED: &str = "/manage/v1/namespaces/ns/tables/t";

/// The table `ns.t` after three commits of one row each, and its metadata files, oldest first.
async fn three_commits(server: &Server) -> Vec<String> {
    server.namespace(&["ns"]).await;
    let mut files = Vec::new();
    for id in 1..=3 {
        server.post("/ingest/v1/ns/t", &json!([{"id": id}])).await.expect(200);
        files.push(location(server).await);
    }
    files
}

async fn location(server: &Server) -> String {
    server.get(T).await.expect(200).json()["metadata-location"].as_str().expect("a location").to_owned()
}

fn damage(location: &str) {
    std::fs::write(location.trim_start_matches("file://"), "{\"format-version\":2,").expect("written");
}

async fn roll_back(server: &Server, body: Value) -> crate::kit::Answer {
    server.post(&format!("{MANAGED}/rollback"), &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named_and_gone_back_from() {
    let server = Server::start().await;
    let files = three_commits(&server).await;
    let log = server.get(&format!("{MANAGED}/metadata-log")).await.expect(200).json();
    assert_eq!((&log["metadata-location"], &log["damage"]), (&json!(files[2]), &Value::Null));
    assert_eq!(log["earlier"][0]["metadata-location"], files[1]);
    assert!(log["earlier"][0]["timestamp-ms"].is_i64());
    damage(&files[2]);
    let server = server.restart().await;
    server.get(T).await.refused(400, "ValidationException", &files[2]);
    server.get(T).await.refused(400, "ValidationException", "floeberg tables rollback ns.t");
    // What else there is goes on, and a commit changes nothing.
    server.post("/ingest/v1/ns/u", &json!([{"id": 1}])).await.expect(200);
    assert_ne!(server.post("/ingest/v1/ns/t", &json!([{"id": 4}])).await.status, 200);
    let log = server.get(&format!("{MANAGED}/metadata-log")).await.expect(200).json();
    assert!(log["damage"].as_str().expect("damage").contains(&files[2]), "{log}");
    assert_eq!(log["earlier"][0], json!({"metadata-location": files[1], "timestamp-ms": null}));
    let done = roll_back(&server, json!({"metadata-location": files[1]})).await.expect(200).json();
    let now = server.get(T).await.expect(200).json();
    assert_eq!(done["metadata-location"], now["metadata-location"]);
    assert!(!files.contains(&location(&server).await), "it is a new file");
    assert_eq!(now["metadata"]["snapshots"].as_array().expect("a list").len(), 2);
    assert_eq!(done["current-snapshot-id"], now["metadata"]["current-snapshot-id"]);
    server.post("/ingest/v1/ns/t", &json!([{"id": 5}])).await.expect(200);
    let server = server.restart().await;
    assert_eq!(server.get(T).await.expect(200).json()["metadata"]["snapshots"].as_array().expect("a list").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_knows_the_folder_is_looked_through() {
    let server = Server::start().await;
    let files = three_commits(&server).await;
    // A table that was registered has no earlier files in the database.
    server.delete(T).await.expect(204);
    let register = json!({"name": "t", "metadata-location": files[2]});
    server.post("/v1/namespaces/ns/register", &register).await.expect(200);
    damage(&files[2]);
    let server = server.restart().await;
    let log = server.get(&format!("{MANAGED}/metadata-log")).await.expect(200).json();
    let found: Vec<&str> = log["earlier"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|file| file["metadata-location"].as_str())
        .collect();
    assert_eq!(found[..2], [files[1].as_str(), files[0].as_str()]);
    roll_back(&server, json!({"metadata-location": files[0]})).await.expect(200);
    assert_eq!(server.get(T).await.expect(200).json()["metadata"]["snapshots"].as_array().expect("a list").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_table_was_is_gone_back_to() {
    let server = Server::start().await;
    let files = three_commits(&server).await;
    server.post("/ingest/v1/ns/u", &json!([{"id": 1}])).await.expect(200);
    let other = server.get("/v1/namespaces/ns/tables/u").await.json()["metadata-location"].clone();
    for (body, status, words) in [
        (json!({}), 400, "either"),
        (json!({"metadata-location": files[0], "snapshot-id": 1}), 400, "either"),
        (json!({"to": 1}), 400, "to"),
        (json!({"metadata-location": other}), 400, "uuid"),
        (json!({"metadata-location": "file:///etc/passwd"}), 403, "outside"),
        (json!({"metadata-location": files[0].replace("metadata.json", "x")}), 404, "metadata"),
        (json!({"snapshot-id": 12345}), 400, "12345"),
    ] {
        let refused = roll_back(&server, body.clone()).await.expect(status);
        assert!(refused.text.contains(words), "{body}: {}", refused.text);
    }
    assert_eq!(location(&server).await, files[2], "nothing happened");
    server.get("/manage/v1/namespaces/ns/tables/none/metadata-log").await.expect(404);
    let snapshots = server.get(T).await.json()["metadata"]["snapshots"].clone();
    let first = snapshots[0]["snapshot-id"].clone();
    let done = roll_back(&server, json!({"snapshot-id": first})).await.expect(200).json();
    assert_eq!(done["current-snapshot-id"], first);
    // The others stay, but are not what it was made from any more.
    roll_back(&server, json!({"snapshot-id": snapshots[2]["snapshot-id"]})).await.expect(400);
    let next = json!({"snapshot-id": 77, "parent-snapshot-id": first, "sequence-number": 9, "schema-id": 0,
        "timestamp-ms": 1_900_000_000_000_i64, "manifest-list": snapshots[0]["manifest-list"],
        "summary": {"operation": "append"}});
    server.commit("t", json!([]), append(&next)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_no_table_could_be_read_from_is_not_gone_back_to() {
    let server = Server::start().await;
    let files = three_commits(&server).await;
    let path = |location: &str| location.trim_start_matches("file://").to_owned();
    let mut old: Value = serde_json::from_slice(&std::fs::read(path(&files[1])).expect("read")).expect("JSON");
    old["format-version"] = json!(1);
    old.as_object_mut().expect("an object").remove("table-uuid");
    let stray = server.warehouse().join("stray.metadata.json");
    std::fs::write(&stray, old.to_string()).expect("written");
    let refused = roll_back(&server, json!({"metadata-location": format!("file://{}", stray.display())})).await;
    assert!(refused.expect(400).text.contains("names no uuid"));
    let list = old["snapshots"][1]["manifest-list"].as_str().expect("a list");
    std::fs::remove_file(path(list)).expect("there");
    let refused = roll_back(&server, json!({"metadata-location": files[1]})).await.expect(400);
    assert!(refused.text.contains(list) && refused.text.contains("is gone"), "{}", refused.text);
    roll_back(&server, json!({"metadata-location": files[0]})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_does_it_too() {
    let mut server = Server::start().await;
    let files = three_commits(&server).await;
    server.namespace(&["a.b"]).await;
    server.post("/v1/namespaces/a.b/tables", &json!({"name": "x", "schema": crate::kit::schema()})).await.expect(200);
    let dir = server.dir().to_owned();
    let floeberg = move |arguments: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_floeberg")).arg("tables").args(arguments).current_dir(&dir).output();
        let run = run.expect("runs");
        (run.status.success(), String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned())
    };
    let list = (true, "a%2Eb.x\nns.t\n".to_owned());
    assert_eq!(floeberg(&["list"]), list, "the server that has the directory is asked");
    assert_eq!(floeberg(&["list", "--url", &server.url]), list);
    server.stop().await;
    damage(&files[2]);
    assert_eq!(floeberg(&["list"]), list, "the directory is opened");
    let (_, shown) = floeberg(&["show", "ns.t"]);
    assert!(shown.contains("DAMAGED") && shown.contains(&files[1]), "{shown}");
    assert!(floeberg(&["show", "a%2Eb.x"]).0 && !floeberg(&["show", "a.b.y"]).0);
    let (done, said) = floeberg(&["rollback", "ns.t", "--to", &files[1]]);
    assert!(done && said.contains("again"), "{said}");
    let (refused, said) = floeberg(&["rollback", "ns.t", "--to", "12345"]);
    assert!(!refused && said.contains("12345"), "{said}");
    let server = server.restart().await;
    let now = server.get(T).await.expect(200).json();
    assert_eq!(now["metadata"]["snapshots"].as_array().expect("a list").len(), 2);
}
