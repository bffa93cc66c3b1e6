//! How many requests, and how long they took.
//!
//! Every request is counted by method, route and status. The handles of each combination are made once and kept: making
//! them is dearer than a small request.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::MatchedPath;
use http::Method;
use indexmap::{Equivalent, IndexMap};
use metrics::{Counter, Histogram, SharedString};

/// Combinations kept; routes, methods and statuses are few, so this is never reached.
const HANDLES_MAX: usize = 10_000;

/// The handles made so far. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(Arc<RwLock<IndexMap<Key, Handles>>>);

#[derive(Debug, PartialEq, Eq)]
struct Key {
    method: &'static str,
    route: String,
    status: u16,
}

/// A key as it is looked for, without a copy of the route.
#[derive(Debug, Clone, Copy, Hash)]
struct Sought<'a> {
    method: &'static str,
    route: &'a str,
    status: u16,
}

impl Key {
    fn sought(&self) -> Sought<'_> {
        Sought { method: self.method, route: &self.route, status: self.status }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sought().hash(state);
    }
}

impl Equivalent<Key> for Sought<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.method, self.route, self.status) == (key.method, key.route.as_str(), key.status)
    }
}

#[derive(Clone)]
struct Handles {
    count: Counter,
    seconds: Histogram,
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handles")
    }
}

impl Requests {
    /// Counts a request that was answered.
    pub(super) fn count(&self, method: &Method, route: Option<&MatchedPath>, status: u16, took: Duration) {
        let route = route.map_or("none", MatchedPath::as_str);
        let sought = Sought { method: label(method), route, status };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&sought).cloned();
        let handles = known.unwrap_or_else(|| self.make(sought));
        handles.count.increment(1);
        handles.seconds.record(took.as_secs_f64());
    }

    fn make(&self, sought: Sought<'_>) -> Handles {
        let key = Key { method: sought.method, route: sought.route.to_owned(), status: sought.status };
        let route: SharedString = key.route.clone().into();
        let labels =
            [("method", key.method.into()), ("route", route.clone()), ("status", key.status.to_string().into())];
        let handles = Handles {
            count: metrics::counter!("floeberg_http_requests_total", &labels),
            seconds: metrics::histogram!("floeberg_http_request_seconds", "route" => route),
        };
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < HANDLES_MAX {
            known.insert(key, handles.clone());
        }
        handles
    }
}

/// Only methods that we know become labels: a client can send any.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
