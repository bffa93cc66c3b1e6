//! Which warehouse a request is for.
//!
//! Under `/v1` a warehouse other than the default is the first segment of the path; elsewhere it is `?warehouse=`. The
//! segment is taken off before the request is routed, as is the base path, so that every route stands once.

use std::ops::Deref;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Uri};

use super::Api;
use super::error::Failure;
use super::extract::Query;
use crate::error::Result;
use crate::names::RESERVED_PREFIXES;
use crate::warehouses::{Selected, Served};

/// The warehouse that a request under `/v1` is for.
#[derive(Debug)]
pub(super) struct Here {
    /// Everything else.
    pub(super) api: Api,
    selected: Selected,
}

impl Here {
    /// The segment under which the paths of `/v1` name the warehouse; none for the default.
    pub(super) fn prefix(&self) -> Option<&str> {
        self.selected.prefix()
    }
}

impl Deref for Here {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.selected.served
    }
}

impl FromRequestParts<Api> for Here {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        Ok(Self { selected: selected(api, parts), api: api.clone() })
    }
}

/// The warehouse that a request under `/v1` is for.
pub(super) fn selected(api: &Api, parts: &Parts) -> Selected {
    match parts.extensions.get::<Named>() {
        Some(Named(selected)) => selected.clone(),
        None => api.warehouses.set().at(0),
    }
}

/// The warehouse that `?warehouse=` names; the default where it names none.
pub(super) fn asked_for(api: &Api, query: &Query) -> Result<Selected> {
    api.warehouses.select(query.get("warehouse").unwrap_or_default())
}

/// The warehouse that a path named.
#[derive(Debug, Clone)]
struct Named(Selected);

/// What a client asked for, where that is not what was routed.
#[derive(Debug, Clone)]
pub(super) struct AsAsked(pub(super) Uri);

/// What stands before the routes in a path. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Paths(Option<Api>);

impl Paths {
    /// The base path and the warehouses of this server.
    pub fn of(api: &Api) -> Self {
        Self(Some(api.clone()))
    }

    /// Brings the path into the form that is routed: single slashes, none at the end, without the base path and the
    /// warehouse, which is remembered. A proxy may have taken the base path off already.
    pub(super) fn normalise<B>(&self, request: &mut Request<B>) {
        let Some(api) = &self.0 else { return };
        let set = api.warehouses.set();
        let path = request.uri().path();
        if is_routed(path, &api.base_path, set.count()) {
            return;
        }
        let (bare, at) = bare(path, &api.base_path, |name| if set.count() > 1 { set.place_of(name) } else { None });
        if let Some(uri) = bare.and_then(|path| with_path(request.uri(), path)) {
            let asked = std::mem::replace(request.uri_mut(), uri);
            request.extensions_mut().insert(AsAsked(asked));
        }
        if let Some(at) = at {
            request.extensions_mut().insert(Named(set.at(at)));
        }
    }
}

/// Whether there is nothing to do, as for nearly all requests of the default warehouse.
fn is_routed(path: &str, base: &str, warehouses: usize) -> bool {
    let plain = !path.contains("//") && (path.len() == 1 || !path.ends_with('/'));
    plain && base.is_empty() && warehouses < 2
}

/// The path as it is routed, where it differs, and the place of the warehouse that it names.
fn bare(path: &str, base: &str, place_of: impl FnOnce(&str) -> Option<usize>) -> (Option<String>, Option<usize>) {
    let inner = path.trim_start_matches('/');
    let under_base = base.get(1..).and_then(|base| inner.strip_prefix(base));
    let rest = match under_base {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => path,
    };
    // The pages under /docs find their parts relative to the slash at the end.
    if rest.starts_with("/docs") {
        let rest = if rest == "/docs" { "/docs/" } else { rest };
        return ((rest != path).then(|| rest.to_owned()), None);
    }
    let mut segments: Vec<&str> = rest.split('/').filter(|segment| !segment.is_empty()).collect();
    let named = match segments.as_slice() {
        ["v1", name, ..] if !RESERVED_PREFIXES.contains(name) => place_of(name),
        _ => None,
    };
    if named.is_some() {
        segments.remove(1);
    }
    let routed = format!("/{}", segments.join("/"));
    ((routed != path).then_some(routed), named)
}

fn with_path(uri: &Uri, mut path: String) -> Option<Uri> {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path as it is routed, and the place of the warehouse that it names.
    fn routed(base: &str, names: &[&str], path: &str) -> (String, Option<usize>) {
        if is_routed(path, base, names.len()) {
            return (path.to_owned(), None);
        }
        let place_of = |name: &str| names.iter().position(|known| *known == name).filter(|_| names.len() > 1);
        let (bare, at) = bare(path, base, place_of);
        (bare.unwrap_or_else(|| path.to_owned()), at)
    }

    #[test]
    fn paths_have_one_form() {
        let one = |path: &str| routed("", &["a"], path);
        assert_eq!(one("//v1//config/"), ("/v1/config".to_owned(), None));
        assert_eq!(one("/").0, "/");
        assert_eq!(one("/docs/").0, "/docs/");
        assert_eq!(one("/v1/namespaces/a%2F%2Fb/").0, "/v1/namespaces/a%2F%2Fb");
        assert_eq!(one("/v1/a/namespaces").0, "/v1/a/namespaces", "one warehouse needs no prefix");
        let two = |path: &str| routed("/some/path", &["a", "b"], path);
        assert_eq!(two("/some/path/v1/b/namespaces/x"), ("/v1/namespaces/x".to_owned(), Some(1)));
        assert_eq!(two("/v1/a/namespaces"), ("/v1/namespaces".to_owned(), Some(0)));
        assert_eq!(two("//some/path//v1/config"), ("/v1/config".to_owned(), None));
        assert_eq!(two("/v1/c/namespaces"), ("/v1/c/namespaces".to_owned(), None));
        assert_eq!(two("/some/path"), ("/".to_owned(), None));
        assert_eq!(two("/some/path/docs/"), ("/docs/".to_owned(), None));
        assert_eq!(two("/some/pathology"), ("/some/pathology".to_owned(), None));
        assert_eq!(two("/v1/namespaces/b/tables/b"), ("/v1/namespaces/b/tables/b".to_owned(), None));
    }

    #[test]
    fn the_query_stays() {
        let uri: Uri = "/v1//config?warehouse=a&b".parse().expect("a URI");
        assert_eq!(with_path(&uri, "/v1/config".to_owned()).expect("a URI"), "/v1/config?warehouse=a&b");
    }
}
