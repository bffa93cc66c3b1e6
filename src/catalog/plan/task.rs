//! Scans, and the parts of them that are planned one at a time.
//!
//! A plan task is a text that holds the whole question (which snapshots, which filter, which part), so that any server of
//! the table can answer it, also after a restart: nothing is kept for it. What comes back is checked like any input. A plan
//! id is the task for the whole scan, or, where that is too long for a path, only its hash.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Kind, Result, What};
use crate::names::fnv1a_64;

/// Longest plan id that stands for itself: what every proxy lets through in a path.
const PLAN_ID_MAX: usize = 2_000;

/// Begins every plan task, so that another form can be told apart.
const VERSION: &str = "1.";

/// What is to be scanned, all names resolved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Scan {
    /// The table's identity.
    #[serde(rename = "t")]
    pub(super) table: String,
    /// The snapshots.
    #[serde(rename = "n")]
    pub(super) span: Span,
    /// The schema that the filter is bound to.
    #[serde(rename = "s")]
    pub(super) schema_id: i32,
    /// The filter as it came.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(super) filter: Option<Arc<RawValue>>,
    /// Whether names are compared as they are written.
    #[serde(rename = "c")]
    pub(super) case_sensitive: bool,
    /// The columns whose statistics are sent along.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) stats: Vec<i32>,
}

/// Which snapshots are scanned.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum Span {
    /// One snapshot.
    At([i64; 1]),
    /// What was appended after the first, up to the second.
    Between([i64; 2]),
}

/// A place in the order of a scan: a manifest list of it, a manifest of that, an entry of that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place(pub(super) usize, pub(super) usize, pub(super) usize);

/// A part of a scan: from a place on, up to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Task {
    /// What is scanned.
    #[serde(rename = "q")]
    pub(super) scan: Scan,
    /// The first entry.
    #[serde(rename = "a")]
    pub(super) from: Place,
    /// The first entry that is not part of it.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Place>,
}

impl Task {
    /// A whole scan.
    pub(super) fn whole(scan: Scan) -> Self {
        Self { scan, from: Place::default(), to: None }
    }

    /// The same scan between two other places.
    pub(super) fn part(&self, from: Place, to: Option<Place>) -> Self {
        Self { scan: self.scan.clone(), from, to }
    }

    /// The text that clients hand back.
    pub(super) fn to_text(&self) -> Result<String> {
        let json =
            serde_json::to_vec(self).map_err(|error| Error::internal("A task cannot be written").because(error))?;
        Ok(format!("{VERSION}{}", BASE64_URL_SAFE_NO_PAD.encode(json)))
    }

    /// Reads such a text; `what` is what the error calls it.
    pub(super) fn parse(text: &str, what: What) -> Result<Self> {
        let unknown = || no_such(what, text);
        let json = text.strip_prefix(VERSION).and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
        let json = json.ok_or_else(unknown)?;
        serde_json::from_slice(&json).map_err(|error| unknown().because(error))
    }

    /// The id of the plan of this whole scan.
    pub(super) fn plan_id(&self) -> Result<String> {
        let text = self.to_text()?;
        if text.len() <= PLAN_ID_MAX {
            return Ok(text);
        }
        Ok(format!("{HASHED}{:016x}", fnv1a_64(text.bytes())))
    }
}

/// Begins a plan id that is only a hash.
const HASHED: &str = "h.";

/// Whether this is the id of a plan that was too long to stand for itself.
pub(super) fn is_hashed(plan_id: &str) -> bool {
    let hash = plan_id.strip_prefix(HASHED).unwrap_or_default();
    hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// There is no such plan or task of this table (any more).
pub(super) fn no_such(what: What, text: &str) -> Error {
    let thing = if what == What::Plan { "Plan id" } else { "Plan task" };
    let short: String = text.chars().take(60).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    let message = format!(
        "{thing} does not exist: {short}{dots}: it is not of this table, or its snapshot is gone; plan the scan again"
    );
    Error::new(Kind::NotFound(what), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(filter: &str) -> Task {
        Task::whole(Scan {
            table: "u".to_owned(),
            span: Span::Between([1, 2]),
            schema_id: 0,
            filter: RawValue::from_string(filter.to_owned()).ok().map(Arc::from),
            case_sensitive: true,
            stats: vec![3],
        })
    }

    #[test]
    fn tasks_are_read_back() {
        let text = task("{\"type\":\"true\"}").part(Place(1, 2, 3), Some(Place(2, 0, 0))).to_text().expect("a text");
        let back = Task::parse(&text, What::PlanTask).expect("a task");
        assert_eq!((back.from, back.to, back.scan.span), (Place(1, 2, 3), Some(Place(2, 0, 0)), Span::Between([1, 2])));
        assert_eq!(back.scan.filter.expect("a filter").get(), "{\"type\":\"true\"}");
        for bad in ["", "1.", "2.abc", "1.!", &text[..text.len() - 4], "1.e30"] {
            let error = Task::parse(bad, What::PlanTask).expect_err("no task");
            assert_eq!(error.kind(), Kind::NotFound(What::PlanTask), "{bad}");
        }
    }

    #[test]
    fn long_plans_have_short_ids() {
        let short = task("true").plan_id().expect("an id");
        assert!(Task::parse(&short, What::Plan).is_ok() && !is_hashed(&short));
        let long = task(&format!("\"{}\"", "x".repeat(5_000))).plan_id().expect("an id");
        assert!(is_hashed(&long) && long.len() == 18);
        assert!(!is_hashed("h.xyz") && !is_hashed("h.0123456789abcdeg"));
    }
}
