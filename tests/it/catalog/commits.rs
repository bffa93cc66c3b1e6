//! Commits and transactions: requirements, updates, retries of what has landed, all or nothing.

use serde_json::{Value, json};

use crate::kit::{Server, append, schema, snapshot};

async fn server_with_table() -> (Server, Value) {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let made = server.table("t").await;
    (server, made["metadata"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn requirements_that_do_not_hold_are_conflicts() {
    let (server, metadata) = server_with_table().await;
    let location = metadata["location"].as_str().expect("a location");
    server.commit("t", json!([]), append(&snapshot(1, None, 1, location))).await.expect(200);
    let cases = [
        (json!({"type": "assert-create"}), "Requirement failed: table already exists"),
        (json!({"type": "assert-table-uuid", "uuid": "x"}), "Requirement failed: UUID does not match: expected"),
        (
            json!({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": null}),
            "branch main was created concurrently",
        ),
        (
            json!({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 2}),
            "branch main has changed: expected id 2 != 1",
        ),
        (
            json!({"type": "assert-ref-snapshot-id", "ref": "b", "snapshot-id": 2}),
            "branch or tag b is missing, expected 2",
        ),
        (
            json!({"type": "assert-last-assigned-field-id", "last-assigned-field-id": 9}),
            "last assigned field id changed: expected id 9 != 2",
        ),
        (
            json!({"type": "assert-current-schema-id", "current-schema-id": 9}),
            "current schema changed: expected id 9 != 0",
        ),
        (
            json!({"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 9}),
            "last assigned partition id changed: expected id 9 != 999",
        ),
        (
            json!({"type": "assert-default-spec-id", "default-spec-id": 9}),
            "default partition spec changed: expected id 9 != 0",
        ),
        (
            json!({"type": "assert-default-sort-order-id", "default-sort-order-id": 9}),
            "default sort order changed: expected id 9 != 0",
        ),
    ];
    let updates = json!([{"action": "set-properties", "updates": {"k": "v"}}]);
    for (requirement, message) in cases {
        server.commit("t", json!([requirement]), updates.clone()).await.refused(409, "CommitFailedException", message);
    }
    let hold = json!([
        {"type": "ASSERT-TABLE-UUID", "uuid": metadata["table-uuid"].as_str().expect("text").to_uppercase()},
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 1},
        {"type": "assert-ref-snapshot-id", "ref": "other", "snapshot-id": -1},
    ]);
    server.commit("t", hold, updates.clone()).await.expect(200);
    let unknown = server.commit("t", json!([{"type": "assert-moon"}]), updates).await;
    unknown.refused(400, "BadRequestException", "assert-moon");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_changes_nothing_writes_nothing() {
    let (server, _) = server_with_table().await;
    let before = server.get("/v1/namespaces/ns/tables/t").await.json();
    for updates in [
        json!([]),
        json!([{"action": "set-properties", "updates": {}}]),
        json!([{"action": "remove-properties", "removals": ["no"]}]),
    ] {
        let answer = server.commit("t", json!([]), updates).await.expect(200).json();
        assert_eq!(answer["metadata-location"], before["metadata-location"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_landed_is_answered_as_the_success_it_was() {
    let (server, metadata) = server_with_table().await;
    let location = metadata["location"].as_str().expect("a location");
    let requirements = json!([
        {"type": "assert-table-uuid", "uuid": metadata["table-uuid"]},
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": null},
    ]);
    let updates = append(&snapshot(1, None, 1, location));
    let first = server.commit("t", requirements.clone(), updates.clone()).await.expect(200).json();
    let again = server.commit("t", requirements.clone(), updates.clone()).await.expect(200).json();
    assert_eq!(again, first);
    // Others have moved on since; it still landed.
    server.commit("t", json!([]), append(&snapshot(2, Some(1), 2, location))).await.expect(200);
    server.commit("t", requirements.clone(), updates).await.expect(200);
    // Another snapshot under the same id did not.
    let mut other = snapshot(1, None, 1, location);
    other["manifest-list"] = json!(format!("{location}/metadata/snap-other.avro"));
    server.commit("t", requirements, append(&other)).await.refused(
        409,
        "CommitFailedException",
        "created concurrently",
    );
    let bare = server.commit("t", json!([]), append(&other)).await;
    bare.refused(400, "ValidationException", "Snapshot already exists for id: 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_snapshots_are_conflicts_and_clocks_that_run_ahead_are_not() {
    let (server, metadata) = server_with_table().await;
    let location = metadata["location"].as_str().expect("a location");
    let mut ahead = snapshot(1, None, 5, location);
    ahead["timestamp-ms"] = json!(4_000_000_000_000_i64);
    let first = server.commit("t", json!([]), append(&ahead)).await.expect(200).json();
    assert_eq!(first["metadata"]["last-sequence-number"], 5);
    let stale = server.commit("t", json!([]), append(&snapshot(2, Some(1), 5, location))).await;
    stale.refused(
        409,
        "CommitFailedException",
        "Cannot add snapshot with sequence number 5 older than last sequence number 5",
    );
    let next = server.commit("t", json!([]), append(&snapshot(3, Some(1), 6, location))).await.expect(200).json();
    let metadata = &next["metadata"];
    let log: Vec<i64> =
        metadata["snapshot-log"].as_array().expect("a log").iter().filter_map(|e| e["timestamp-ms"].as_i64()).collect();
    assert_eq!(log, [4_000_000_000_000, 4_000_000_000_000], "the log never goes back in time");
    assert!(metadata["last-updated-ms"].as_i64() >= Some(4_000_000_000_000));
    assert_eq!(metadata["metadata-log"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_ids_of_v3_are_given_out_once() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let body = json!({"name": "t", "schema": schema(), "properties": {"format-version": "3"}});
    let made = server.post("/v1/namespaces/ns/tables", &body).await.expect(200).json();
    let location = made["metadata"]["location"].as_str().expect("a location");
    let with_rows = |id: i64, parent, sequence, first: Value, added: i64| {
        let mut snapshot = snapshot(id, parent, sequence, location);
        snapshot["first-row-id"] = first;
        snapshot["added-rows"] = json!(added);
        append(&snapshot)
    };
    let first = server.commit("t", json!([]), with_rows(1, None, 1, json!(0), 10)).await.expect(200).json();
    assert_eq!(first["metadata"]["next-row-id"], 10);
    let behind = server.commit("t", json!([]), with_rows(2, Some(1), 2, json!(3), 5)).await;
    behind.refused(409, "CommitFailedException", "first-row-id is behind table next-row-id: 3 < 10");
    let none = server.commit("t", json!([]), with_rows(2, Some(1), 2, Value::Null, 5)).await;
    none.refused(400, "ValidationException", "first-row-id is null");
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_creates_in_its_own_order() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let staged =
        server.post("/v1/namespaces/ns/tables", &json!({"name": "d", "schema": schema(), "stage-create": true})).await;
    let staged = staged.expect(200).json();
    let location = staged["metadata"]["location"].as_str().expect("a location");
    let snapshot = snapshot(7, None, 1, location);
    let updates = json!([
        {"action": "assign-uuid", "uuid": staged["metadata"]["table-uuid"]},
        {"action": "upgrade-format-version", "format-version": 2},
        {"action": "add-schema", "last-column-id": 2, "schema": schema()},
        {"action": "add-spec", "spec": {"spec-id": 0, "type": "struct", "fields": [
            {"source-id": 1, "field-id": 1000, "name": "id_bucket", "transform": "bucket[4]"}]}},
        {"action": "set-default-spec", "spec-id": 0},
        {"action": "add-sort-order", "sort-order": {"order-id": 0, "fields": []}},
        {"action": "set-default-sort-order", "sort-order-id": 0},
        {"action": "set-location", "location": location},
        {"action": "set-properties", "updates": {}},
        {"action": "add-snapshot", "snapshot": snapshot},
        {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 7},
        {"action": "set-current-schema", "schema-id": 0},
    ]);
    let create = json!([{"type": "assert-create"}]);
    let made = server.commit("d", create.clone(), updates.clone()).await.expect(200).json();
    assert_eq!(made["metadata"]["table-uuid"], staged["metadata"]["table-uuid"]);
    assert_eq!(made["metadata"]["current-snapshot-id"], 7);
    assert!(made["metadata"]["properties"].as_object().expect("an object").is_empty(), "exactly what its updates say");
    server.commit("d", create.clone(), updates).await.expect(200);
    let second = json!([{"action": "add-schema", "schema": schema()}]);
    server.commit("d", create, second).await.refused(409, "CommitFailedException", "table already exists");
    let both = json!([{"type": "assert-create"}, {"type": "assert-table-uuid", "uuid": "x"}]);
    server.commit("e", both, json!([])).await.refused(
        400,
        "IllegalArgumentException",
        "assert-create must be the only one",
    );
    server.commit("e", json!([]), json!([])).await.refused(404, "NoSuchTableException", "Table does not exist: ns.e");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_all_or_nothing() {
    let (server, _) = server_with_table().await;
    server.table("u").await;
    let change = |name: &str, requirement: Value, value: &str| {
        json!({"identifier": {"namespace": ["ns"], "name": name}, "requirements": [requirement],
               "updates": [{"action": "set-properties", "updates": {"k": value}}]})
    };
    let schema_is = |id: i32| json!({"type": "assert-current-schema-id", "current-schema-id": id});
    let path = "/v1/transactions/commit";
    let good = json!({"table-changes": [change("t", schema_is(0), "1"), change("u", schema_is(0), "1")]});
    server.post(path, &good).await.expect(204);
    let half = json!({"table-changes": [change("t", schema_is(0), "2"), change("u", schema_is(5), "2")]});
    server.post(path, &half).await.refused(409, "CommitFailedException", "current schema changed");
    let missing = json!({"table-changes": [change("t", schema_is(0), "2"), change("x", schema_is(0), "2")]});
    server.post(path, &missing).await.refused(404, "NoSuchTableException", "Table does not exist: ns.x");
    for name in ["t", "u"] {
        let loaded = server.get(&format!("/v1/namespaces/ns/tables/{name}")).await.expect(200).json();
        assert_eq!(loaded["metadata"]["properties"]["k"], "1", "{name}");
    }
    let twice = json!({"table-changes": [change("t", schema_is(0), "2"), change("t", schema_is(0), "3")]});
    server.post(path, &twice).await.refused(400, "ValidationException", "twice");
    let nameless = json!({"table-changes": [{"requirements": [], "updates": []}]});
    server.post(path, &nameless).await.refused(400, "BadRequestException", "identifier");
    server.post(path, &json!({"table-changes": []})).await.refused(400, "BadRequestException", "no table changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_landed_is_answered_as_the_success_it_was() {
    let (server, metadata) = server_with_table().await;
    server.table("u").await;
    let location = metadata["location"].as_str().expect("a location");
    let body = json!({"table-changes": [
        {"identifier": {"namespace": ["ns"], "name": "t"},
         "requirements": [{"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": null}],
         "updates": append(&snapshot(1, None, 1, location))},
        {"identifier": {"namespace": ["ns"], "name": "u"}, "requirements": [],
         "updates": [{"action": "set-properties", "updates": {"k": "v"}}]},
    ]});
    server.post("/v1/transactions/commit", &body).await.expect(204);
    // Told otherwise, its client would delete the files of the snapshot that is there.
    server.post("/v1/transactions/commit", &body).await.expect(204);
    let loaded = server.get("/v1/namespaces/ns/tables/t").await.expect(200).json();
    assert_eq!(loaded["metadata"]["snapshots"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_renames_one_happens() {
    let (server, _) = server_with_table().await;
    for round in 0..10 {
        let from = if round == 0 { "t".to_owned() } else { format!("r{}", round - 1) };
        let server = &server;
        let renames = (0..6).map(|other| {
            let to = if other == 0 { format!("r{round}") } else { format!("x{round}-{other}") };
            let body = json!({"source": {"namespace": ["ns"], "name": from}, "destination": {"namespace": ["ns"], "name": to}});
            async move { (server.post("/v1/tables/rename", &body).await.status, to) }
        });
        let outcomes = futures::future::join_all(renames).await;
        let done: Vec<&String> = outcomes.iter().filter(|(status, _)| *status == 204).map(|(_, to)| to).collect();
        assert_eq!(done.len(), 1, "{outcomes:?}");
        for (_, to) in &outcomes {
            let status = server.get(&format!("/v1/namespaces/ns/tables/{to}")).await.status;
            assert_eq!(status == 200, to == done[0], "{to}: {status}");
        }
        if done[0] != &format!("r{round}") {
            let body = json!({"source": {"namespace": ["ns"], "name": done[0]}, "destination": {"namespace": ["ns"], "name": format!("r{round}")}});
            server.post("/v1/tables/rename", &body).await.expect(204);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commits_all_land_once() {
    let (server, _) = server_with_table().await;
    for index in 0..4 {
        server.table(&format!("t{index}")).await;
    }
    let server = &server;
    let writers = (0..16).map(|writer| async move {
        for turn in 0..10 {
            let key = format!("w{writer}-{turn}");
            let updates = json!([{"action": "set-properties", "updates": {key: "x"}}]);
            server.commit(&format!("t{}", writer % 4), json!([]), updates).await.expect(200);
        }
    });
    futures::future::join_all(writers).await;
    for index in 0..4 {
        let loaded = server.get(&format!("/v1/namespaces/ns/tables/t{index}")).await.expect(200).json();
        let properties = loaded["metadata"]["properties"].as_object().expect("an object");
        assert_eq!(properties.len(), 41, "t{index}: forty keys and the codec");
        assert_eq!(loaded["metadata"]["metadata-log"].as_array().map(Vec::len), Some(40));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_creators_wins() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let creators = (0..12).map(|_| server.post("/v1/namespaces/ns/tables", &BODY));
    static BODY: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!({"name": "t", "schema": schema()}));
    let statuses: Vec<u16> = futures::future::join_all(creators).await.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_v3_has_is_refused_below() {
    let (server, _) = server_with_table().await;
    let with = |field: Value| {
        let mut schema = schema();
        schema["fields"].as_array_mut().expect("fields").push(field);
        json!([{"action": "add-schema", "schema": schema}])
    };
    let variant = with(json!({"id": 3, "name": "v", "required": false, "type": "variant"}));
    server.commit("t", json!([]), variant).await.refused(
        400,
        "ValidationException",
        "variant is not supported until v3",
    );
    let default = with(json!({"id": 3, "name": "d", "required": false, "type": "int", "initial-default": 5}));
    server.commit("t", json!([]), default).await.refused(
        400,
        "ValidationException",
        "non-null default (5) is not supported until v3",
    );
    let down = json!([{"action": "upgrade-format-version", "format-version": 1}]);
    server.commit("t", json!([]), down).await.refused(
        400,
        "IllegalArgumentException",
        "Cannot downgrade v2 table to v1",
    );
    let moon = json!([{"action": "upgrade-format-version", "format-version": 9}]);
    server.commit("t", json!([]), moon).await.refused(400, "IllegalArgumentException", "unsupported format version");
    let up = json!([{"action": "upgrade-format-version", "format-version": 3}]);
    let upgraded = server.commit("t", json!([]), up).await.expect(200).json();
    assert_eq!((&upgraded["metadata"]["format-version"], &upgraded["metadata"]["next-row-id"]), (&json!(3), &json!(0)));
}
