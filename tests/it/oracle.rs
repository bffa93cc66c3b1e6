//! Our metadata against the `iceberg` crate's: the same random updates applied to both.
//!
//! Where both accept, the results must say the same. Where the crate differs for a reason, the case is left out of the
//! generator and named here:
//! * it stamps the time of every build, also where nothing changed; times are not compared;
//! * it leaves statistics of removed snapshots behind, and cannot build once the current snapshot is removed;
//! * it takes types of v3 in v1 and v2 tables;
//! * it takes a snapshot's sequence number as the table's last one even where that falls, and then cannot read what it
//!   wrote; sequence numbers rise here;
//! * it drops members that it does not know, which the round-trip test below shows we keep.

use floeberg::catalog::change::{Change, Outcome};
use floeberg::catalog::create::Description;
use floeberg::catalog::metadata::TableMetadata;
use floeberg::catalog::metadata::schema::Schema;
use iceberg::TableUpdate;
use iceberg::spec::TableMetadata as Theirs;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

const LOCATION: &str = "file:///w/t";

fn columns(extra: &[(i32, &str)]) -> Value {
    let mut fields = vec![
        json!({"id": 1, "name": "id", "required": true, "type": "long"}),
        json!({"id": 2, "name": "time", "required": false, "type": "timestamptz"}),
    ];
    for (id, kind) in extra {
        fields.push(json!({"id": id, "name": format!("c{id}"), "required": false, "type": kind}));
    }
    json!({"type": "struct", "schema-id": 9, "fields": fields})
}

fn update() -> impl Strategy<Value = Value> {
    let extra = prop_oneof![
        Just(vec![]),
        Just(vec![(3, "string")]),
        Just(vec![(3, "string"), (4, "int")]),
        Just(vec![(4, "int"), (3, "string")]),
        Just(vec![(5, "decimal(9, 2)")]),
    ];
    let spec = prop_oneof![
        Just(json!([])),
        Just(json!([{"source-id": 1, "name": "id_bucket", "transform": "bucket[4]"}])),
        Just(json!([{"source-id": 2, "name": "time_day", "transform": "day"}])),
        Just(
            json!([{"source-id": 1, "name": "id", "transform": "identity"}, {"source-id": 2, "name": "time_hour", "transform": "hour"}])
        ),
        Just(json!([{"source-id": 1, "name": "time", "transform": "bucket[2]"}])),
        Just(json!([{"source-id": 77, "name": "x", "transform": "identity"}])),
        Just(json!([{"source-id": 1, "name": "d", "transform": "day"}])),
    ];
    let order = prop_oneof![
        Just(json!({"order-id": 0, "fields": []})),
        Just(
            json!({"order-id": 1, "fields": [{"source-id": 1, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}]})
        ),
        Just(
            json!({"order-id": 1, "fields": [{"source-id": 2, "transform": "day", "direction": "desc", "null-order": "nulls-last"}]})
        ),
    ];
    prop_oneof![
        3 => extra.prop_map(|extra| json!({"action": "add-schema", "schema": columns(&extra)})),
        2 => (-1..3).prop_map(|id| json!({"action": "set-current-schema", "schema-id": id})),
        3 => spec.prop_map(|fields| json!({"action": "add-spec", "spec": {"spec-id": 0, "fields": fields}})),
        2 => (-1..3).prop_map(|id| json!({"action": "set-default-spec", "spec-id": id})),
        2 => order.prop_map(|order| json!({"action": "add-sort-order", "sort-order": order})),
        1 => (-1..3).prop_map(|id| json!({"action": "set-default-sort-order", "sort-order-id": id})),
        3 => (1_i64..6).prop_map(|id| json!({"action": "add-snapshot", "snapshot": {
            "snapshot-id": id, "sequence-number": 0, "timestamp-ms": 1_700_000_000_000_i64,
            "manifest-list": format!("{LOCATION}/metadata/snap-{id}.avro"), "summary": {"operation": "append"}, "schema-id": 0}})),
        3 => (1_i64..6, prop_oneof![Just("main"), Just("b")]).prop_map(|(id, name)| json!({
            "action": "set-snapshot-ref", "ref-name": name, "type": "branch", "snapshot-id": id})),
        1 => (1_i64..6).prop_map(|id| json!({
            "action": "set-snapshot-ref", "ref-name": "v", "type": "tag", "snapshot-id": id, "max-ref-age-ms": 5})),
        1 => prop_oneof![Just("b"), Just("v"), Just("no")].prop_map(|name| json!({"action": "remove-snapshot-ref", "ref-name": name})),
        2 => ("[a-c]", "[a-z]{0,3}").prop_map(|(key, value)| json!({"action": "set-properties", "updates": {key: value}})),
        1 => "[a-d]".prop_map(|key| json!({"action": "remove-properties", "removals": [key]})),
        1 => prop_oneof![Just(LOCATION), Just("file:///w/u")].prop_map(|location| json!({"action": "set-location", "location": location})),
        1 => (1..4).prop_map(|version| json!({"action": "upgrade-format-version", "format-version": version})),
    ]
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).expect("JSON")
}

fn base() -> TableMetadata {
    let schema = Schema::parse(&raw(&columns(&[]))).expect("a schema");
    let description = Description { schema, spec: None, order: None, properties: Default::default() };
    description
        .metadata("9c12d441-03fe-4693-9a96-a0705ddf69c1".to_owned(), LOCATION, 1_600_000_000_000)
        .expect("a table")
}

fn ours(base: &TableMetadata, updates: &[Value]) -> Result<TableMetadata, String> {
    let raw: Vec<Box<RawValue>> = updates.iter().map(raw).collect();
    let change = Change::parse(&[], &raw).map_err(|error| error.to_string())?;
    match change.apply(Some(base), 1_800_000_000_000) {
        Ok(Outcome::Changed(metadata)) => Ok(*metadata),
        Ok(Outcome::Unchanged) => Ok(base.clone()),
        Err(error) => Err(error.to_string()),
    }
}

fn theirs(base: &TableMetadata, updates: &[Value]) -> Result<Theirs, String> {
    let mut builder = parse(base).into_builder(None);
    for update in updates {
        let update: TableUpdate = serde_json::from_value(update.clone()).map_err(|error| error.to_string())?;
        builder = update.apply(builder).map_err(|error| error.to_string())?;
    }
    builder.build().map(|built| built.metadata).map_err(|error| error.to_string())
}

/// Our text read by the crate.
fn parse(metadata: &TableMetadata) -> Theirs {
    serde_json::from_slice(&metadata.to_json().expect("JSON")).expect("the crate reads what we write")
}

/// What both must agree on.
fn essence(metadata: &Theirs) -> Value {
    let mut value = serde_json::to_value(metadata).expect("JSON");
    let object = value.as_object_mut().expect("an object");
    for times in ["last-updated-ms", "metadata-log", "statistics", "partition-statistics"] {
        object.remove(times);
    }
    if let Some(Value::Array(log)) = object.get_mut("snapshot-log") {
        for entry in log {
            entry.as_object_mut().expect("an entry").remove("timestamp-ms");
        }
    }
    for (list, id) in [
        ("schemas", "schema-id"),
        ("partition-specs", "spec-id"),
        ("sort-orders", "order-id"),
        ("snapshots", "snapshot-id"),
    ] {
        if let Some(Value::Array(items)) = object.get_mut(list) {
            items.sort_by_key(|item| item[id].as_i64());
        }
    }
    value
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_updates_give_the_same_table(mut updates in vec(update(), 1..7)) {
        let base = base();
        let mut next = 0;
        for update in updates.iter_mut().filter(|update| update["action"] == "add-snapshot") {
            next += 1;
            update["snapshot"]["sequence-number"] = json!(next);
        }
        match (ours(&base, &updates), theirs(&base, &updates)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(essence(&parse(&ours)), essence(&theirs)),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(why)) => prop_assert!(false, "only the crate refuses: {}", why),
            (Err(why), Ok(_)) => prop_assert!(false, "only we refuse: {}", why),
        }
    }
}

#[test]
fn what_is_not_known_survives() {
    let text = json!({
        "format-version": 2, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1", "location": LOCATION, "last-sequence-number": 1,
        "last-updated-ms": 5, "last-column-id": 3, "current-schema-id": 7, "future": {"deep": [1, 2.50]},
        "schemas": [{"type": "struct", "schema-id": 7, "x": 1, "fields": [
            {"id": 3, "name": "a", "required": false, "type": "geometry(srid:4326)", "y": 2},
            {"id": 1, "name": "b", "required": false, "type": "moon[7]", "write-default": "z"}]}],
        "default-spec-id": 2, "partition-specs": [{"spec-id": 2, "z": 3, "fields": [
            {"source-ids": [1, 3], "field-id": 1000, "name": "p", "transform": "zorder[2]", "w": 4}]}],
        "last-partition-id": 1000, "default-sort-order-id": 0, "sort-orders": [{"order-id": 0, "fields": []}],
        "properties": {"b": "1", "a": "2"}, "current-snapshot-id": 9,
        "refs": {"main": {"snapshot-id": 9, "type": "branch", "q": 5}},
        "snapshots": [{"snapshot-id": 9, "timestamp-ms": 4, "sequence-number": 1, "manifest-list": "x", "summary": {"operation": "odd"}, "key-id": "k"}],
        "statistics": [], "partition-statistics": [], "snapshot-log": [{"snapshot-id": 9, "timestamp-ms": 4}], "metadata-log": [],
    });
    let metadata = TableMetadata::parse(&text.to_string()).expect("metadata");
    let written: Value = serde_json::from_slice(&metadata.to_json().expect("JSON")).expect("JSON");
    assert_eq!(written, text);
    assert!(String::from_utf8(metadata.to_json().expect("JSON")).expect("text").contains("2.5"));
}

#[test]
fn v1_tables_keep_what_v1_has() {
    let text = json!({
        "format-version": 1, "location": LOCATION, "last-updated-ms": 5, "last-column-id": 1,
        "schema": {"type": "struct", "fields": [{"id": 1, "name": "a", "required": false, "type": "int"}]},
        "partition-spec": [{"source-id": 1, "name": "a", "transform": "identity"}],
        "properties": {}, "current-snapshot-id": 9,
        "snapshots": [{"snapshot-id": 9, "timestamp-ms": 4, "manifests": ["file:///w/t/metadata/m.avro"]}],
    });
    let metadata = TableMetadata::parse(&text.to_string()).expect("metadata");
    assert_eq!(metadata.partition_specs[0].fields[0].field_id, Some(1000));
    assert_eq!(metadata.refs["main"].snapshot_id, 9, "the current snapshot is main");
    assert_eq!(metadata.snapshots[0].inline_manifests().expect("a list"), ["file:///w/t/metadata/m.avro"]);
    let written: Value = serde_json::from_slice(&metadata.to_json().expect("JSON")).expect("JSON");
    assert_eq!(written["schema"]["fields"], text["schema"]["fields"], "old readers look for the single schema");
    assert_eq!(written["partition-spec"][0]["name"], "a");
    assert!(written.get("last-sequence-number").is_none());
}
