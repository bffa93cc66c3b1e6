//! Iceberg's own Rust client (`iceberg-catalog-rest`) lives through the catalog, with and without a token.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::io::LocalFsStorageFactory;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, NestedField, PrimitiveType, Schema, Struct, Type,
};
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use iceberg::{Catalog, CatalogBuilder, ErrorKind, NamespaceIdent, TableCreation, TableIdent};
use iceberg_catalog_rest::{RestCatalog, RestCatalogBuilder};

use crate::kit::Server;

async fn client(server: &Server, more: &[(&str, &str)]) -> RestCatalog {
    let mut properties = HashMap::from([("uri".to_owned(), server.url.clone())]);
    properties.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let builder = RestCatalogBuilder::default().with_storage_factory(Arc::new(LocalFsStorageFactory));
    builder.load("rest", properties).await.expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked() {
    let server = Server::start().await;
    life(&client(&server, &[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_and_with_a_credential() {
    let server = Server::configured("auth = \"token\"\n").await;
    let (_, secret) = server.access.create("rust", floeberg::auth::Right::Write, None).await.expect("made");
    life(&client(&server, &[("token", &secret)]).await).await;
    life(&client(&server, &[("credential", &format!("rust:{secret}"))]).await).await;
    life(&client(&server, &[("credential", &secret)]).await).await;
    let stranger = client(&server, &[("token", "flo_0000000000000000000000000000000000000000000")]).await;
    assert!(stranger.list_namespaces(None).await.is_err());
}

async fn life(catalog: &RestCatalog) {
    let outer = NamespaceIdent::new("lake".to_owned());
    let inner = NamespaceIdent::from_strs(["lake", "in.ner é"]).expect("levels");
    for namespace in [&outer, &inner] {
        let properties = HashMap::from([("owner".to_owned(), "me".to_owned())]);
        let made = catalog.create_namespace(namespace, properties).await.expect("made");
        assert_eq!(made.properties()["owner"], "me");
    }
    let again = catalog.create_namespace(&outer, HashMap::new()).await.expect_err("there");
    assert_eq!(again.kind(), ErrorKind::NamespaceAlreadyExists);
    assert_eq!(catalog.list_namespaces(None).await.expect("listed"), std::slice::from_ref(&outer));
    assert_eq!(catalog.list_namespaces(Some(&outer)).await.expect("listed"), std::slice::from_ref(&inner));
    assert!(catalog.namespace_exists(&inner).await.expect("asked"));
    tables(catalog, &inner).await;
    catalog.drop_namespace(&inner).await.expect("dropped");
    catalog.drop_namespace(&outer).await.expect("dropped");
    assert!(!catalog.namespace_exists(&outer).await.expect("asked"));
}

async fn tables(catalog: &RestCatalog, namespace: &NamespaceIdent) {
    let fields = vec![
        NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into(),
        NestedField::optional(2, "name", Type::Primitive(PrimitiveType::String)).into(),
    ];
    let schema = Schema::builder().with_fields(fields).build().expect("a schema");
    let creation = || TableCreation::builder().name("t".to_owned()).schema(schema.clone()).build();
    let made = catalog.create_table(namespace, creation()).await.expect("made");
    let again = catalog.create_table(namespace, creation()).await.expect_err("there");
    assert_eq!(again.kind(), ErrorKind::TableAlreadyExists);
    let (t, u) = (made.identifier().clone(), TableIdent::new(namespace.clone(), "u u".to_owned()));
    assert_eq!(catalog.list_tables(namespace).await.expect("listed"), std::slice::from_ref(&t));
    // A commit of properties, and one of a snapshot.
    let transaction = Transaction::new(&made);
    let action = transaction.update_table_properties().set("k".to_owned(), "v".to_owned());
    let changed = action.apply(transaction).expect("applied").commit(catalog).await.expect("committed");
    assert_eq!(changed.metadata().properties()["k"], "v");
    let file = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(format!("{}/data/1.parquet", changed.metadata().location()))
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .record_count(3)
        .file_size_in_bytes(100)
        .build()
        .expect("a file");
    let append = async |base: &iceberg::table::Table| {
        let transaction = Transaction::new(base);
        let action = transaction.fast_append().with_check_duplicate(false).add_data_files([file.clone()]);
        action.apply(transaction).expect("applied").commit(catalog).await
    };
    let appended = append(&changed).await.expect("committed");
    // Another who read the table before commits too: the client reads it again and retries.
    append(&changed).await.expect("committed after a conflict");
    assert_eq!(appended.metadata().snapshots().count(), 1);
    let loaded = catalog.load_table(&t).await.expect("loaded");
    assert_eq!(loaded.metadata().snapshots().count(), 2);
    catalog.rename_table(&t, &u).await.expect("renamed");
    assert!(!catalog.table_exists(&t).await.expect("asked") && catalog.table_exists(&u).await.expect("asked"));
    let gone = catalog.load_table(&t).await.expect_err("gone");
    assert_eq!(gone.kind(), ErrorKind::TableNotFound);
    let file = loaded.metadata_location().expect("a file").to_owned();
    catalog.drop_table(&u).await.expect("dropped");
    let back = catalog.register_table(&t, file).await.expect("registered");
    assert_eq!(back.metadata().uuid(), made.metadata().uuid());
    catalog.purge_table(&t).await.expect("purged");
    assert!(catalog.list_tables(namespace).await.expect("listed").is_empty());
}
