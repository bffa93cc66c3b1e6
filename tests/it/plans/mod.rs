//! Scan planning: what a plan lists, against everything that could be listed.
//!
//! `world.rs` makes random tables (schemas, specs and their evolution, files, deletes), `question.rs` random filters and
//! what they mean row by row, `differential.rs` compares; `protocol.rs` holds what is asked and answered.

mod differential;
mod large;
mod protocol;
mod question;
mod world;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kit::Server;

/// A plan, followed to its end.
#[derive(Debug, Default)]
pub struct Plan {
    /// The residual and the deletes of each file, by its path.
    pub files: BTreeMap<String, (Value, Vec<Value>)>,
    /// How many answers it took.
    pub answers: usize,
}

/// Asks for a plan and for everything it hands out.
pub async fn plan(server: &Server, table: &str, request: &Value) -> Plan {
    let path = format!("/v1/namespaces/ns/tables/{table}");
    let first = server.post(&format!("{path}/plan"), request).await.expect(200).json();
    assert_eq!(first["status"], "completed");
    let mut plan = Plan::default();
    let mut waiting = plan.take(&first);
    while let Some(task) = waiting.pop() {
        let answer = server.post(&format!("{path}/tasks"), &json!({"plan-task": task})).await.expect(200).json();
        waiting.extend(plan.take(&answer));
    }
    plan
}

impl Plan {
    fn take(&mut self, answer: &Value) -> Vec<Value> {
        self.answers += 1;
        let deletes = answer["delete-files"].as_array().cloned().unwrap_or_default();
        let mut used = vec![false; deletes.len()];
        for task in answer["file-scan-tasks"].as_array().expect("files") {
            let path = task["data-file"]["file-path"].as_str().expect("a path").to_owned();
            let of = task["delete-file-references"].as_array().cloned().unwrap_or_default();
            let of = of.iter().map(|number| usize::try_from(number.as_u64().expect("a number")).expect("small"));
            let attached = of.map(|number| {
                used[number] = true;
                deletes[number].clone()
            });
            let known = self.files.insert(path, (task["residual-filter"].clone(), attached.collect()));
            assert!(known.is_none(), "a file is listed twice: {task}");
        }
        assert!(used.iter().all(|used| *used), "a delete file is listed and not used");
        answer["plan-tasks"].as_array().cloned().unwrap_or_default()
    }
}
