//! What the database must do, on SQLite and on a real PostgreSQL alike: one suite, run over both.

mod postgres;

use std::sync::Arc;

use floeberg::clock::Clock;
use floeberg::error::{Kind, What};
use floeberg::names::{Namespace, TableName, Tabular, WarehouseName};
use floeberg::store::Store;
use floeberg::store::keys::KeyRow;
use floeberg::store::log_marks::Mark;
use floeberg::store::producers::{Advance, Standing};
use floeberg::store::reports::Report;
use floeberg::store::swap::{Alongside, NewTable, PointedFile, Pointer, Refusal, Removal, Step, Swap, Verdict};
use floeberg::store::tables::{LocationUse, TableRow};
use floeberg::store::tokens::TokenRow;

use postgres::Postgres;

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("catalog.db");
    let store = Store::open(&path, Clock::system()).await.expect("opens");
    everything(&store).await;
    store.close().await;
    still_there(&Store::open(&path, Clock::system()).await.expect("opens again")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    let Some(server) = Postgres::start(&["--locale=C.UTF-8"]) else { return };
    let store = Store::open_postgres(&server.url, Clock::system()).await.expect("opens");
    everything(&store).await;
    store.close().await;
    let store = Store::open_postgres(&server.url, Clock::system()).await.expect("opens again");
    still_there(&store).await;
    // Two processes over one database: what each compares, it compares under the one lock.
    let other = Store::open_postgres(&server.url, Clock::system()).await.expect("opens");
    two_writers(&store, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_orders_text_otherwise_is_refused() {
    let by_language = ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"];
    let Some(server) = Postgres::start(&by_language) else { return };
    let error = Store::open_postgres(&server.url, Clock::system()).await.expect_err("refused");
    assert!(error.message().contains("not by bytes") && !error.message().contains("secret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_of_a_database() {
    let error = Store::open_postgres("mysql://x", Clock::system()).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Illegal);
    let nobody =
        Store::open_postgres("postgres://me:secret@127.0.0.1:1/db", Clock::system()).await.expect_err("refused");
    assert_eq!(nobody.kind(), Kind::Unavailable);
    assert!(nobody.message().contains("127.0.0.1:1/db") && !nobody.message().contains("secret"), "{nobody}");
}

async fn everything(store: &Store) {
    store.ping().await.expect("answers");
    namespaces(store).await;
    tables_come_and_go(store).await;
    locations(store).await;
    several_at_once(store).await;
    all_or_nothing(store).await;
    keys(store).await;
    producers_and_marks(store).await;
    functions(store).await;
    tokens(store).await;
    reports(store).await;
    deletions(store).await;
}

fn lake() -> WarehouseName {
    WarehouseName::new("lake").expect("valid")
}

fn namespace(levels: &[&str]) -> Namespace {
    Namespace::new(levels).expect("valid")
}

fn name(of: &str) -> TableName {
    TableName::new(namespace(&["ns"]), of).expect("valid")
}

fn pointer(location: &str, file: &str) -> Pointer {
    Pointer {
        uuid: format!("uuid of {location}").into(),
        location: location.into(),
        location_key: format!("{location}/"),
        metadata_location: format!("{location}/metadata/{file}").into(),
        file: PointedFile::New,
    }
}

fn swap(steps: Vec<Step>) -> Swap {
    Swap { warehouse: lake(), steps, now_ms: 1_000, alongside: Alongside::default() }
}

fn insert(table: &str, location: &str) -> Step {
    Step::Insert(NewTable::new(Tabular::Table, name(table), pointer(location, "0")))
}

fn replace(row: &Arc<TableRow>, file: &str) -> Step {
    Step::Replace { from: Arc::clone(row), to: Pointer { uuid: Arc::clone(&row.uuid), ..pointer(&row.location, file) } }
}

async fn applied(store: &Store, swap_: Swap) -> Vec<Option<Arc<TableRow>>> {
    match store.swap(swap_).await.expect("an outcome") {
        Verdict::Applied(rows) => rows,
        Verdict::Refused(refusal) => panic!("refused: {refusal:?}"),
    }
}

async fn refused(store: &Store, step: Step) -> Refusal {
    match store.swap(swap(vec![step])).await.expect("an outcome") {
        Verdict::Refused(refusal) => refusal,
        Verdict::Applied(rows) => panic!("applied: {rows:?}"),
    }
}

async fn found(store: &Store, table: &str) -> Option<Arc<TableRow>> {
    store.find_tabular(&lake(), &name(table)).await.expect("read")
}

async fn namespaces(store: &Store) {
    let (lake, ns) = (lake(), namespace(&["ns"]));
    let properties = [("owner".to_owned(), "é \u{1f} ' $1".to_owned())].into_iter().collect();
    store.create_namespace(&lake, &ns, &properties, None).await.expect("made");
    let again = store.create_namespace(&lake, &ns, &properties, None).await.expect_err("there");
    assert_eq!(again.kind(), Kind::AlreadyExists(What::Namespace));
    assert_eq!(store.namespace_properties(&lake, &ns).await.expect("there"), properties);
    for level in ["b", "a", "B", "é", "a.b", "a-b", "aa"] {
        store.create_namespace(&lake, &namespace(&["ns", level]), &Default::default(), None).await.expect("made");
    }
    let mut listed = Vec::new();
    let mut after = String::new();
    loop {
        let page = store.list_namespaces(&lake, Some(&ns), &after, 3).await.expect("listed");
        let Some(last) = page.last() else { break };
        after = last.path().to_owned();
        listed.extend(page.iter().map(|one| one.to_levels()[1].to_owned()));
    }
    assert_eq!(listed, ["B", "a", "a-b", "a.b", "aa", "b", "é"]);
    let changed = store.change_namespace_properties(&lake, &ns, |properties| {
        properties.insert("k".to_owned(), "v".to_owned());
        Ok((7, None))
    });
    assert_eq!(changed.await.expect("changed"), 7);
    assert_eq!(store.namespace_properties(&lake, &ns).await.expect("there").len(), 2);
    let held = store.drop_namespace(&lake, &ns, None).await.expect_err("children");
    assert_eq!(held.kind(), Kind::NotEmpty);
    store.drop_namespace(&lake, &namespace(&["ns", "aa"]), None).await.expect("dropped");
    let gone = store.drop_namespace(&lake, &namespace(&["ns", "aa"]), None).await.expect_err("gone");
    assert_eq!(gone.kind(), Kind::NotFound(What::Namespace));
    let other = WarehouseName::new("other").expect("valid");
    assert!(store.list_namespaces(&other, None, "", 10).await.expect("listed").is_empty());
}

async fn tables_come_and_go(store: &Store) {
    let nowhere = TableName::new(namespace(&["none"]), "t").expect("valid");
    let new = NewTable::new(Tabular::Table, nowhere.clone(), pointer("file:///l/none", "0"));
    assert_eq!(refused(store, Step::Insert(new)).await, Refusal::NoNamespace(nowhere.clone()));
    let made = applied(store, swap(vec![insert("t", "file:///l/t")])).await.remove(0).expect("a row");
    assert_eq!((found(store, "t").await.as_ref(), made.version), (Some(&made), 0));
    let taken = Refusal::NameTaken { name: name("t"), wanted: Tabular::Table, there: Tabular::Table };
    assert_eq!(refused(store, insert("t", "file:///l/elsewhere")).await, taken);
    let moved = applied(store, swap(vec![replace(&made, "1")])).await.remove(0).expect("a row");
    assert_eq!((moved.version, &*moved.metadata_location), (1, "file:///l/t/metadata/1"));
    // Whoever read it before is too late.
    assert_eq!(refused(store, replace(&made, "2")).await, Refusal::Moved(name("t")));
    let remove = |row: &Arc<TableRow>, removal| Step::Remove { row: Arc::clone(row), removal };
    assert_eq!(refused(store, remove(&made, Removal::Drop)).await, Refusal::Moved(name("t")));
    let rename = |row: &Arc<TableRow>, to: TableName| Step::Rename { row: Arc::clone(row), to };
    assert_eq!(refused(store, rename(&moved, nowhere.clone())).await, Refusal::NoNamespace(nowhere));
    applied(store, swap(vec![insert("u", "file:///l/u")])).await;
    let there = Refusal::NameTaken { name: name("u"), wanted: Tabular::Table, there: Tabular::Table };
    assert_eq!(refused(store, rename(&moved, name("u"))).await, there);
    let renamed = applied(store, swap(vec![rename(&moved, name("ü"))])).await.remove(0).expect("a row");
    assert_eq!((found(store, "t").await, &renamed.id), (None, &made.id));
    let listed = store.list_tabulars((&lake(), &namespace(&["ns"])), Tabular::Table, "", 10).await.expect("listed");
    assert_eq!(listed, ["u", "ü"]);
    let after = store.list_tabulars((&lake(), &namespace(&["ns"])), Tabular::Table, "u", 10).await.expect("listed");
    assert_eq!(after, ["ü"]);
    let views = store.list_tabulars((&lake(), &namespace(&["ns"])), Tabular::View, "", 10).await.expect("listed");
    assert!(views.is_empty());
    // Dropped, it leaves its name and its files.
    applied(store, swap(vec![remove(&renamed, Removal::Drop)])).await;
    assert_eq!(found(store, "ü").await, None);
    assert!(matches!(store.location_use("file:///l/t/").await.expect("read"), LocationUse::Taken));
    let back = applied(store, swap(vec![insert("ü", "file:///l/t")])).await.remove(0).expect("a row");
    applied(store, swap(vec![remove(&back, Removal::Purge)])).await;
    assert_eq!(store.deletions_waiting().await.expect("counted"), 1);
}

/// What lies inside a location is found as a range of its text, whatever stands after the slash.
async fn locations(store: &Store) {
    applied(store, swap(vec![insert("outer", "file:///l/outer")])).await;
    for inside in ["file:///l/outer/a", "file:///l/outer/é", "file:///l/outer/~", "file:///l/outer/A/b"] {
        assert_eq!(refused(store, insert("inner", inside)).await, Refusal::LocationTaken(inside.to_owned()));
        assert!(store.live_table_around(&format!("{inside}/")).await.expect("read"), "{inside}");
    }
    let around = refused(store, insert("inner", "file:///l")).await;
    assert_eq!(around, Refusal::LocationTaken("file:///l".to_owned()));
    for (number, beside) in ["outer2", "outer-1", "outeré", "Outer", "oute"].iter().enumerate() {
        applied(store, swap(vec![insert(&format!("beside{number}"), &format!("file:///l/{beside}"))])).await;
    }
    assert!(matches!(store.location_use("file:///l/free/").await.expect("read"), LocationUse::Free));
    let live = store.live_tables("lake", "", 100).await.expect("listed");
    assert_eq!(live.len(), 7);
}

/// Many swaps at the same time: each has its own verdict, and of those that want the same one wins.
async fn several_at_once(store: &Store) {
    let made: Vec<_> = (0..40).map(|number| insert(&format!("many{number}"), &format!("file:///m/{number}"))).collect();
    let store = store.clone();
    let tasks: Vec<_> = made
        .into_iter()
        .map(|step| {
            let store = store.clone();
            tokio::spawn(async move { applied(&store, swap(vec![step])).await.remove(0).expect("a row") })
        })
        .collect();
    let mut rows = Vec::new();
    for task in tasks {
        rows.push(task.await.expect("done"));
    }
    let racing: Vec<_> = (0..60)
        .map(|number| {
            let (store, row) = (store.clone(), Arc::clone(&rows[number % 20]));
            tokio::spawn(async move {
                store.swap(swap(vec![replace(&row, &format!("r{number}"))])).await.expect("an outcome")
            })
        })
        .collect();
    let mut won = 0;
    for task in racing {
        won += usize::from(matches!(task.await.expect("done"), Verdict::Applied(_)));
    }
    assert_eq!(won, 20);
    for row in &rows[..20] {
        let now = found(&store, &row.name.name).await.expect("there");
        assert_eq!(now.version, 1);
    }
}

async fn all_or_nothing(store: &Store) {
    let [a, b] = [found(store, "many20").await.expect("there"), found(store, "many21").await.expect("there")];
    applied(store, swap(vec![replace(&a, "x"), replace(&b, "x")])).await;
    // The second is too late: the first does not happen either.
    let now = found(store, "many20").await.expect("there");
    let verdict = store.swap(swap(vec![replace(&now, "y"), replace(&b, "y")])).await.expect("an outcome");
    assert!(matches!(verdict, Verdict::Refused(Refusal::Moved(of)) if of == name("many21")));
    assert_eq!(found(store, "many20").await, Some(now));
}

fn key(of: &str, expires_ms: i64) -> KeyRow {
    let text = |text: &str| text.to_owned();
    KeyRow { scope: text("s"), key: text(of), fingerprint: text("f"), answer: text("{\"é\":1}"), expires_ms }
}

async fn keys(store: &Store) {
    let far = i64::MAX / 2;
    let row = found(store, "many22").await.expect("there");
    let with = |row: &Arc<TableRow>, file: &str, of: &str| {
        let alongside = Alongside { keys: vec![key(of, far)], ..Alongside::default() };
        Swap { alongside, ..swap(vec![replace(row, file)]) }
    };
    applied(store, with(&row, "k", "done")).await;
    let lost = store.swap(with(&row, "l", "lost")).await.expect("an outcome");
    assert!(matches!(lost, Verdict::Refused(_)));
    let answers = async |keys: &[(&str, &str)]| {
        let mut found = store.find_keys(keys).await.expect("read");
        found.sort_by(|one, other| one.key.cmp(&other.key));
        found.into_iter().map(|row| (row.key, row.answer)).collect::<Vec<_>>()
    };
    let done = ("done".to_owned(), "{\"é\":1}".to_owned());
    assert_eq!(answers(&[("s", "done"), ("s", "lost"), ("other", "done")]).await, [done]);
    // Who is too late for a key does nothing, alone and among others, which go on without him.
    let [row, other] = [found(store, "many22").await.expect("there"), found(store, "many23").await.expect("there")];
    let again = store.swap(with(&row, "again", "done")).await.expect("an outcome");
    assert!(matches!(again, Verdict::Refused(Refusal::Known)), "{again:?}");
    let (late, fresh) = (store.swap(with(&row, "late", "done")), store.swap(with(&other, "fresh", "new")));
    let (late, fresh) = futures::future::join(late, fresh).await;
    assert!(matches!(late, Ok(Verdict::Refused(Refusal::Known))) && matches!(fresh, Ok(Verdict::Applied(_))));
    assert_eq!(found(store, "many22").await, Some(row));
    assert_eq!(answers(&[("s", "done"), ("s", "new")]).await.len(), 2);
    for number in 0..5 {
        store.keep_key(&key(&format!("old{number}"), 1)).await.expect("kept");
    }
    assert_eq!(answers(&[("s", "old1")]).await, []);
    assert_eq!(store.count_keys().await.expect("counted"), 7);
    assert_eq!(store.drop_expired_keys(3).await.expect("dropped"), 3);
    assert_eq!(store.drop_expired_keys(3).await.expect("dropped"), 2);
    assert_eq!(store.count_keys().await.expect("counted"), 2);
}

async fn producers_and_marks(store: &Store) {
    let at =
        |epoch: i64, sequence: i64| Standing { epoch, sequence, offset_token: Some(format!("{epoch}/{sequence}")) };
    let advance = async |file: &str, from: Option<Standing>, to: Standing, (first, last): (i64, i64)| {
        let row = found(store, "many24").await.expect("there");
        let mark = Mark { table_id: row.id.to_string(), first, last };
        let producer = Advance { table_id: row.id.to_string(), producer: "p".to_owned(), from, to };
        let alongside = Alongside { producers: vec![producer], mark: Some(mark), ..Alongside::default() };
        let verdict = store.swap(Swap { alongside, ..swap(vec![replace(&row, file)]) }).await.expect("an outcome");
        matches!(verdict, Verdict::Applied(_))
    };
    let row = Arc::clone(&found(store, "many24").await.expect("there").id);
    assert_eq!(store.producer(&row, "p").await.expect("read"), None);
    assert!(advance("p1", None, at(0, 5), (1, 3)).await);
    assert_eq!(store.producer(&row, "p").await.expect("read"), Some(at(0, 5)));
    assert!(!advance("p2", None, at(0, 6), (4, 4)).await, "it is known by now");
    assert!(!advance("p3", Some(at(0, 4)), at(0, 6), (4, 4)).await, "it is further");
    assert!(!advance("p4", Some(at(0, 5)), at(0, 6), (3, 4)).await, "entry 3 is committed");
    assert_eq!(store.log_mark(&row).await.expect("read"), Some(3), "nothing of those that were refused");
    assert!(advance("p5", Some(at(0, 5)), at(1, -1), (4, 9)).await);
    assert_eq!(store.producer(&row, "p").await.expect("read"), Some(at(1, -1)));
    let mark = Mark { table_id: row.to_string(), first: 10, last: 12 };
    let alone = Alongside { mark: Some(mark), ..Alongside::default() };
    applied(store, Swap { alongside: alone, ..swap(Vec::new()) }).await;
    assert_eq!(store.log_marks().await.expect("read"), [(row.to_string(), 12)]);
}

async fn functions(store: &Store) {
    let lake = lake();
    store.put_function(&lake, &name("f"), "{}").await.expect("put");
    store.put_function(&lake, &name("f"), "{\"v\":2}").await.expect("put again");
    store.put_function(&lake, &name("g"), "{}").await.expect("put");
    assert_eq!(store.function(&lake, &name("f")).await.expect("there"), "{\"v\":2}");
    assert_eq!(store.list_functions(&lake, &namespace(&["ns"]), "f", 10).await.expect("listed"), ["g"]);
    store.drop_function(&lake, &name("g")).await.expect("dropped");
    let gone = store.function(&lake, &name("g")).await.expect_err("gone");
    assert_eq!(gone.kind(), Kind::NotFound(What::Function));
}

async fn tokens(store: &Store) {
    let token = |id: &str, expires_ms| TokenRow {
        id: id.to_owned(),
        name: "é".to_owned(),
        grants: "read".to_owned(),
        secret_hash: format!("hash of {id}"),
        created_ms: 5,
        expires_ms,
    };
    for one in [token("a", None), token("b", Some(9))] {
        store.add_token(&one).await.expect("added");
    }
    let kept: Vec<_> =
        store.tokens().await.expect("read").into_iter().map(|token| (token.id, token.expires_ms)).collect();
    assert_eq!(kept, [("a".to_owned(), None), ("b".to_owned(), Some(9))]);
    assert!(store.remove_token("a").await.expect("removed") && !store.remove_token("a").await.expect("gone"));
}

async fn reports(store: &Store) {
    let row = found(store, "many23").await.expect("there");
    let report = |number: i32| Report { tabular_id: Arc::clone(&row.id), report: format!("{{\"n\":{number}}}") };
    store.add_reports(&(0..1_100).map(report).collect::<Vec<_>>()).await.expect("added");
    assert_eq!(store.count_reports(&row.id).await.expect("counted"), 1_000);
}

async fn deletions(store: &Store) {
    let before = store.deletions_waiting().await.expect("counted");
    let files: Vec<String> = (0..1_200).map(|number| format!("file:///l/gone/{number}")).collect();
    store.doom_files(&lake(), &files).await.expect("queued");
    assert_eq!(store.deletions_waiting().await.expect("counted"), before + 1_200);
    let due = store.due_for_deletion(&lake(), 500).await.expect("read");
    assert_eq!(due.len(), 500);
    let put_off = &due[0].id;
    store.deletion_failed(put_off, i64::MAX / 2).await.expect("put off");
    store.deletion_done(&due[1..].iter().map(|entry| entry.id.clone()).collect::<Vec<_>>()).await.expect("done");
    assert_eq!(store.deletions_waiting().await.expect("counted"), before + 1_200 - 499);
    let next = store.due_for_deletion(&lake(), 5_000).await.expect("read");
    assert!(!next.iter().any(|entry| entry.id == *put_off));
    let doomed = pointer("file:///l/gone", "0");
    let old = Pointer { metadata_location: "file:///l/gone/1199".into(), file: PointedFile::Existing, ..doomed };
    let refusal = refused(store, Step::Insert(NewTable::new(Tabular::Table, name("old"), old))).await;
    assert_eq!(refusal, Refusal::Doomed("file:///l/gone/1199".to_owned()));
}

/// What the suite left, read by another.
async fn still_there(store: &Store) {
    assert_eq!(store.namespace_properties(&lake(), &namespace(&["ns"])).await.expect("there").len(), 2);
    assert_eq!(found(store, "many20").await.expect("there").version, 1);
    assert_eq!(store.function(&lake(), &name("f")).await.expect("there"), "{\"v\":2}");
    assert_eq!(store.find_keys(&[("s", "done")]).await.expect("read").len(), 1);
}

async fn two_writers(a: &Store, b: &Store) {
    for round in 0..10 {
        let table = format!("many{}", 30 + round % 5);
        // Each reads for itself: what one remembers of a pointer the other does not change.
        let row = found(a, &table).await.expect("there");
        let (one, two) = tokio::join!(
            a.swap(swap(vec![replace(&row, &format!("a{round}"))])),
            b.swap(swap(vec![replace(&row, &format!("b{round}"))]))
        );
        let won = [one, two].into_iter().filter(|verdict| matches!(verdict, Ok(Verdict::Applied(_)))).count();
        assert!(won <= 1, "both won");
    }
}
