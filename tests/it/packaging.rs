//! What cannot be built here is at least consistent: every path and flag that the container's files name exists.

use std::path::Path;
use std::process::Command;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

fn floeberg(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_floeberg")).args(arguments).output().expect("runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The texts of a JSON array behind a word of a file's line.
fn array(line: &str, word: &str) -> Option<Vec<String>> {
    let (_, rest) = line.split_once(word)?;
    serde_json::from_str(rest.trim()).ok()
}

fn check_command(arguments: &[String]) {
    let command = arguments.first().expect("a command");
    let help = floeberg(&[command, "--help"]);
    assert!(help.contains("Usage: floeberg"), "there is no command {command}: {help}");
    for flag in arguments.iter().filter(|argument| argument.starts_with("--")) {
        assert!(help.contains(flag.as_str()), "{command} does not take {flag}");
    }
}

#[test]
fn the_dockerfile_names_what_exists() {
    let dockerfile = read("Dockerfile");
    let allowed = read(".dockerignore");
    let mut commands = 0;
    for line in dockerfile.lines() {
        if let Some(copied) = line.strip_prefix("COPY ").filter(|rest| !rest.starts_with("--from")) {
            let words: Vec<&str> = copied.split_whitespace().collect();
            for source in &words[..words.len() - 1] {
                assert!(
                    Path::new(env!("CARGO_MANIFEST_DIR")).join(source).exists(),
                    "{source} is copied and not there"
                );
                assert!(allowed.contains(&format!("!{source}\n")), "{source} is copied and ignored");
            }
        }
        if line.starts_with("CMD ") {
            check_command(&array(line, "CMD ").expect("a list"));
            commands += 1;
        }
        if line.starts_with("HEALTHCHECK ") {
            let words = array(line, "CMD ").expect("a list");
            assert_eq!(words[0], "floeberg");
            check_command(&words[1..]);
            commands += 1;
        }
    }
    assert_eq!(commands, 2, "a command and a health check");
    assert!(dockerfile.contains("USER floeberg"), "it runs without rights");
}

#[test]
fn the_compose_file_configures_what_exists() {
    let compose = read("compose.yaml");
    let line = compose.lines().find(|line| line.contains("command: [\"serve\"")).expect("a command");
    check_command(&array(line, "command: ").expect("a list"));
    let dir = tempfile::tempdir().expect("a directory");
    let variables: Vec<(&str, &str)> = compose
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(name, _)| name.starts_with("FLOEBERG_"))
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect();
    let environment = floeberg::config::Environment::of(&variables);
    let config = floeberg::config::Config::load(&floeberg::config::Flags::default(), &environment, dir.path());
    let warehouse = config.expect("a valid configuration").warehouses.remove(0);
    assert_eq!((warehouse.name.as_str(), warehouse.url.as_str()), ("lake", "s3://lake/wh"));
    assert!(compose.contains("-bucket=lake"), "the bucket is made");
}
