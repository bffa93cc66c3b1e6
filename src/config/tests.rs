//! Sources win over each other in order; what cannot be meant is named.

use super::*;
use crate::lake::settings::Secret;

fn load(toml: &str, variables: &[(&str, &str)], flags: &Flags) -> Result<Config> {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("floeberg.toml"), toml).expect("written");
    Config::load(flags, &Environment::of(variables), dir.path())
}

fn refusal(toml: &str, variables: &[(&str, &str)]) -> String {
    load(toml, variables, &Flags::default()).expect_err("must be refused").message().to_owned()
}

#[test]
fn nothing_configured_works() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config::load(&Flags::default(), &Environment::default(), dir.path()).expect("valid");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8181");
    assert_eq!(config.warehouses[0].name.as_str(), "default");
    let root = dir.path().join("floeberg-data/warehouse");
    assert_eq!(config.warehouses[0].url, format!("file://{}", root.display()));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(25));
}

#[test]
fn flags_win_over_environment_over_file() {
    let toml =
        "listen = \"127.0.0.1:1\"\ndata-dir = \"a\"\nallow-location = [\"file:///x\"]\n[log]\nlevel = \"warn\"\n";
    let variables = [("FLOEBERG_LISTEN", "127.0.0.1:2"), ("FLOEBERG_LOG__FORMAT", "json"), ("OTHER", "x")];
    let config = load(toml, &variables, &Flags::default()).expect("valid");
    assert_eq!((config.listen.port(), config.log_format), (2, LogFormat::Json));
    assert_eq!(config.log_level, "warn");
    let flags = Flags {
        listen: Some("127.0.0.1:3".to_owned()),
        allow_location: vec!["file:///y".to_owned()],
        ..Flags::default()
    };
    let config = load(toml, &variables, &flags).expect("valid");
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.warehouses[0].allowed, ["file:///x", "file:///y"]);
}

#[test]
fn a_warehouse_takes_its_keys_from_the_environment() {
    let toml = "[warehouses.my-lake]\nurl = \"s3://b/wh\"\npath-style = true\nendpoint = \"http://127.0.0.1:9\"\n";
    let variables = [
        ("FLOEBERG_WAREHOUSES__MY_LAKE__ACCESS_KEY_ID", "12345"),
        ("FLOEBERG_WAREHOUSES__MY_LAKE__SECRET_ACCESS_KEY", "true"),
    ];
    let config = load(toml, &variables, &Flags::default()).expect("valid");
    assert_eq!(config.warehouses[0].name.as_str(), "my-lake");
    assert_eq!(config.warehouses[0].store.access_key_id, Some(Secret::new("12345")));
    assert_eq!(config.warehouses[0].store.secret_access_key, Some(Secret::new("true")));
    assert_eq!(config.warehouses[0].store.path_style, Some(true));
    assert!(!format!("{:?}", config.warehouses[0]).contains("12345"), "keys stay out of logs");
}

#[test]
fn what_is_not_a_setting_is_named_with_the_nearest() {
    assert!(refusal("lisen = \"x\"", &[]).contains("did you mean listen?"));
    assert!(refusal("[warehouses.a]\nurll = \"x\"", &[]).contains("did you mean warehouses.a.url?"));
    assert!(refusal("[log]\nformt = 1", &[]).contains("did you mean log.format?"));
    assert!(refusal("", &[("FLOEBERG_DATADIR", "x")]).contains("did you mean data-dir?"));
    assert!(refusal("listen = 5", &[]).contains("listen must be"));
    assert!(refusal("listen = [", &[]).contains("cannot be read"));
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    for (toml, part) in [
        ("listen = \"nowhere\"", "not an address"),
        ("shutdown-timeout = \"soon\"", "not a time"),
        ("[log]\nformat = \"xml\"", "neither text nor json"),
        ("default-warehouse = \"x\"", "no configured warehouse"),
        ("[warehouses.a]\nregion = \"x\"", "lacks its url"),
        ("[warehouses.A]\nurl = \"s3://b\"", "lower-case"),
        ("[warehouses.a]\nurl = \"s3://b\"\n[warehouses.b]\nurl = \"s3://c\"", "2 warehouses"),
        ("default-warehouse = \"c\"\n[warehouses.a]\nurl = \"s3://b\"", "there is a"),
        ("default-warehouse = \"a\"\n[warehouses.a]\nurl = \"s3://b\"\n[warehouses.b]\nurl = \"s3://b/c\"", "overlap"),
        (
            "default-warehouse = \"a-b\"\n[warehouses.a-b]\nurl = \"s3://b\"\n[warehouses.a_b]\nurl = \"s3://c\"",
            "tell apart",
        ),
        ("base-path = \"a//b\"", "base-path"),
        ("base-path = \"/../x\"", "base-path"),
        ("[warehouses.a]\nurl = \"s3://b\"\npath-style = \"yes\"", "true or false"),
        ("[idempotency]\nlifetime = \"soon\"", "not a time"),
        ("[idempotency]\nlifetime = \"1ms\"", "between 1s and 720h"),
        ("[idempotency]\nkeys = 0", "at least 1"),
        ("[ingest]\nmemory = \"lots\"", "not a size"),
        ("[ingest]\nrows = 0", "at least 1"),
        ("[ingest]\nrows = \"many\"", "a whole number"),
        ("[ingest]\nrows = -5", "must be"),
        ("[ingest]\nnesting = 1000", "too deep"),
        ("[ingest]\nmemory = \"1MiB\"", "never fit"),
    ] {
        let message = refusal(toml, &[]);
        assert!(message.contains(part), "{toml:?}: {message}");
    }
}

#[test]
fn sizes_have_units() {
    let toml = "[ingest]\nmemory = \"1GiB\"\nbody = \"64KiB\"\nrows = 5\nauto-create = false\n";
    let config = load(toml, &[("FLOEBERG_INGEST__NESTING", "7")], &Flags::default()).expect("valid");
    let ingest = config.ingest;
    assert_eq!((ingest.memory, ingest.body, ingest.rows, ingest.nesting), (1 << 30, 64 << 10, 5, 7));
    assert!(!ingest.auto_create);
}

#[test]
fn listening_beyond_this_machine_needs_a_word() {
    assert!(refusal("listen = \"0.0.0.0:8181\"", &[]).contains("--insecure-no-auth"));
    let flags = Flags { insecure_no_auth: true, ..Flags::default() };
    assert!(load("listen = \"0.0.0.0:8181\"", &[], &flags).is_ok());
    assert!(load("listen = \"0.0.0.0:8181\"\nauth = \"token\"", &[], &Flags::default()).is_ok());
    assert!(refusal("auth = \"basic\"", &[]).contains("neither none nor token"));
}

#[test]
fn several_warehouses_have_a_default() {
    let toml = "default-warehouse = \"b\"\nbase-path = \"lake/\"\n[warehouses.a]\nurl = \"s3://x\"\n\
                [warehouses.b]\nurl = \"s3://y\"\n[warehouses.c]\nurl = \"file:///z\"\n";
    let config = load(toml, &[], &Flags::default()).expect("valid");
    let names: Vec<&str> = config.warehouses.iter().map(|warehouse| warehouse.name.as_str()).collect();
    assert_eq!((names, config.base_path.as_str()), (vec!["b", "a", "c"], "/lake"));
}
