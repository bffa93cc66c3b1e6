//! The REST specification's facts: every operation of it is routed, advertised, and described with every status and field.
//!
//! `operations.json` is made from the specification (`tests/e2e/test_specification.py` says how, and compares it where the
//! specification is at hand). That every operation is also exercised, and once with success, is what
//! `tests/e2e/test_schemathesis.py` asserts (of `signRequest`, `delegation.rs`).

use std::collections::BTreeSet;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kit::Server;

/// Operations that are not to be advertised: a client asks them before it knows what is.
const UNADVERTISED: &[&str] = &["getConfig", "getToken"];

/// What the specification says of an operation.
#[derive(Debug, Deserialize)]
struct Fact {
    operation: String,
    verb: String,
    path: String,
    /// The required fields of the request.
    request: Vec<String>,
    /// The required fields of each answer that is no error.
    answers: std::collections::BTreeMap<String, Vec<String>>,
    /// The statuses of errors.
    errors: Vec<String>,
}

fn facts() -> Vec<Fact> {
    serde_json::from_str(include_str!("operations.json")).expect("facts")
}

/// The required fields of a schema, references and parts followed.
fn required(document: &Value, schema: &Value) -> BTreeSet<String> {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return required(document, &document["components"]["schemas"][name]);
    }
    let own = schema["required"].as_array().into_iter().flatten();
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let inner = parts.flat_map(|part| required(document, part));
    own.filter_map(|name| name.as_str().map(str::to_owned)).chain(inner).collect()
}

/// The fields that a schema names at all.
fn named(document: &Value, schema: &Value) -> BTreeSet<String> {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return named(document, &document["components"]["schemas"][name]);
    }
    schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

#[test]
fn every_operation_is_described_with_its_statuses_and_fields() {
    let document = serde_json::to_value(floeberg::http::document()).expect("JSON");
    let mut wrong = Vec::new();
    for fact in facts() {
        let path = fact.path.replace("/{prefix}", "");
        let described = &document["paths"][&path][fact.verb.to_ascii_lowercase()];
        for status in fact.errors.iter().chain(fact.answers.keys()) {
            if !described["responses"][status].is_object() {
                wrong.push(format!("{}: status {status} is not described", fact.operation));
            }
        }
        let request = described["requestBody"]["content"].as_object().and_then(|content| content.values().next());
        let request = request.map_or(Value::Null, |content| content["schema"].clone());
        for field in &fact.request {
            if !named(&document, &request).contains(field) {
                wrong.push(format!("{}: field {field:?} of the request is not described", fact.operation));
            }
        }
        for (status, fields) in &fact.answers {
            let schema = &described["responses"][status]["content"]["application/json"]["schema"];
            let have = required(&document, schema);
            for field in fields.iter().filter(|field| !have.contains(*field)) {
                wrong.push(format!("{}: field {field:?} of answer {status} is not required", fact.operation));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_advertised_and_routed() {
    let server = Server::start().await;
    let config = server.get("/v1/config").await.expect(200).json();
    let advertised: BTreeSet<&str> =
        config["endpoints"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let mut known = BTreeSet::new();
    for fact in facts() {
        let endpoint = format!("{} {}", fact.verb, fact.path);
        let expected = !UNADVERTISED.contains(&fact.operation.as_str());
        assert_eq!(advertised.contains(endpoint.as_str()), expected, "{endpoint}");
        if expected {
            known.insert(endpoint);
        }
        let path = fact.path.replace("/{prefix}", "").replace(['{', '}'], "");
        let method = Method::from_bytes(fact.verb.as_bytes()).expect("a method");
        let answer = server.send(method, &path, &[], Some(json!({}).to_string())).await;
        let routed = answer.status != 405 && !answer.text.contains("NoSuchEndpointException");
        assert!(routed, "{} {path}: {} {}", fact.operation, answer.status, answer.text);
    }
    let more: Vec<&&str> = advertised.iter().filter(|endpoint| !known.contains(**endpoint)).collect();
    assert!(more.is_empty(), "advertised and not in the specification: {more:?}");
    assert_eq!(facts().len(), 35);
}
