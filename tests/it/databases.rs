//! A database made by every earlier migration opens, and what is in it is still there.
//!
//! `tests/it/databases/NNNN.db` is what a server made when migration NNNN was the newest: two namespaces, a table that was
//! committed to twice, a dropped table and a metrics report.

use std::path::Path;

use floeberg::clock::Clock;
use floeberg::names::{Namespace, TableName, Tabular, WarehouseName};
use floeberg::store::Store;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

fn folder(name: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn every_migration_left_a_database() {
    let made: Vec<String> = folder("migrations").iter().map(|name| name[..4].to_owned() + ".db").collect();
    assert_eq!(folder("tests/it/databases"), made);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_databases_open() {
    for name in folder("tests/it/databases") {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("catalog.db");
        let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/databases").join(&name);
        std::fs::copy(old, &path).expect("copied");
        let store = Store::open(&path, Clock::system()).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let warehouse = WarehouseName::new("default").expect("valid");
        let ns = Namespace::new(&["ns"]).expect("valid");
        let properties = store.namespace_properties(&warehouse, &ns).await.expect("there");
        assert_eq!(properties["owner"], "me", "{name}");
        let children = store.list_namespaces(&warehouse, Some(&ns), "", 10).await.expect("listed");
        assert_eq!(children, [Namespace::new(&["ns", "in.ner"]).expect("valid")]);
        assert_eq!(store.list_tabulars((&warehouse, &ns), Tabular::Table, "", 10).await.expect("listed"), ["t"]);
        let table = TableName::new(ns.clone(), "t").expect("valid");
        let row = store.find_tabular(&warehouse, &table).await.expect("read").expect("there");
        assert_eq!((row.version, &*row.location), (2, "file:///lake/ns/t"));
        assert_eq!(store.count_reports(&row.id).await.expect("counted"), 1);
        let fresh = Namespace::new(&["fresh"]).expect("valid");
        store.create_namespace(&warehouse, &fresh, &Default::default(), None).await.expect("it can be written");
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_of_a_table_by_its_uuid_is_known_of_its_row() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("catalog.db");
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/databases/0009.db");
    std::fs::copy(old, &path).expect("copied");
    let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.expect("opened");
    for statement in [
        "insert into producer select uuid, 'p', 1, 7, 'here', 5 from tabular where name = 't'",
        "insert into log_mark select uuid, 12 from tabular where name = 't'",
    ] {
        sqlx::query(statement).execute(&mut connection).await.expect("written");
    }
    connection.close().await.expect("closed");
    let store = Store::open(&path, Clock::system()).await.expect("opened");
    let warehouse = WarehouseName::new("default").expect("valid");
    let table = TableName::new(Namespace::new(&["ns"]).expect("valid"), "t").expect("valid");
    let row = store.find_tabular(&warehouse, &table).await.expect("read").expect("there");
    assert_eq!(store.producer(&row.id, "p").await.expect("read").map(|standing| standing.sequence), Some(7));
    assert_eq!(store.log_marks().await.expect("read"), [(row.id.to_string(), 12)]);
    store.close().await;
}
