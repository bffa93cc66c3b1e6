//! The warehouses that are served, and which of them a request is for.
//!
//! Under `/v1` a warehouse other than the default is the first segment of the path; elsewhere it is `?warehouse=`. The
//! segment is taken off before the request is routed, as is the base path, so that every route stands once.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Uri};

use super::Api;
use super::error::Failure;
use crate::catalog::Catalog;
use crate::error::{Error, Kind, Result, What};
use crate::ingest::{Ingest, IngestSettings};
use crate::lake::location::Location;
use crate::names::RESERVED_PREFIXES;

/// A warehouse that is served.
#[derive(Debug)]
pub struct Served {
    /// Its namespaces and tables.
    pub catalog: Catalog,
    /// Where rows go in.
    pub ingest: Ingest,
}

/// All that are served, the default first.
#[derive(Debug)]
pub struct Warehouses(Vec<Served>);

impl Warehouses {
    /// The warehouses of these catalogs, of which there is at least one.
    pub fn of(catalogs: &[Catalog], settings: &IngestSettings) -> Result<Self> {
        let [first, others @ ..] = catalogs else { return Err(Error::internal("There is no warehouse to serve")) };
        let ingest = Ingest::new(first.clone(), settings.clone());
        let mut all = Vec::with_capacity(catalogs.len());
        let others =
            others.iter().map(|catalog| Served { ingest: ingest.also_into(catalog.clone()), catalog: catalog.clone() });
        let others: Vec<Served> = others.collect();
        all.push(Served { catalog: first.clone(), ingest });
        all.extend(others);
        Ok(Self(all))
    }

    /// The one that is meant where none is named.
    pub fn default(&self) -> &Served {
        &self.0[0]
    }

    /// Every one.
    pub fn all(&self) -> impl Iterator<Item = &Served> {
        self.0.iter()
    }

    /// The one that a client names (`?warehouse=`): by its name or its root's URL; the default where it names none.
    pub fn select(&self, asked: &str) -> Result<Selected<'_>> {
        if asked.is_empty() {
            return Ok(Selected { served: &self.0[0], prefix: None });
        }
        let root = Location::parse(asked).ok();
        let is_meant = |served: &Served| {
            let warehouse = served.catalog.warehouse();
            asked == warehouse.name().as_str() || root.as_ref() == Some(warehouse.root())
        };
        let at = self.0.iter().position(is_meant).ok_or_else(|| self.unknown(asked))?;
        let served = &self.0[at];
        Ok(Selected { served, prefix: (at > 0).then(|| served.catalog.warehouse().name().as_str()) })
    }

    /// The name of the warehouse that a request under `/v1` is for.
    pub(super) fn name_of(&self, parts: &Parts) -> &str {
        self.0[place_of(parts)].catalog.warehouse().name().as_str()
    }

    /// The error for a warehouse that is not served.
    pub(super) fn unknown(&self, asked: &str) -> Error {
        let known: Vec<String> = self.0.iter().map(|served| served.catalog.warehouse().name().to_string()).collect();
        let message = format!("Warehouse does not exist: {asked} (there is {})", known.join(", "));
        Error::new(Kind::NotFound(What::Warehouse), message)
    }
}

/// A warehouse, and the segment under which the paths of `/v1` name it.
#[derive(Debug)]
pub struct Selected<'a> {
    /// The warehouse.
    pub served: &'a Served,
    /// None for the default.
    pub prefix: Option<&'a str>,
}

/// The warehouse that a request under `/v1` is for.
#[derive(Debug)]
pub(super) struct Here {
    /// Everything else.
    pub(super) api: Api,
    at: usize,
}

impl Here {
    /// The segment under which the paths of `/v1` name the warehouse; none for the default.
    pub(super) fn prefix(&self) -> Option<&str> {
        (self.at > 0).then(|| self.catalog.warehouse().name().as_str())
    }
}

impl Deref for Here {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.api.warehouses.0[self.at]
    }
}

impl FromRequestParts<Api> for Here {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        Ok(Self { api: api.clone(), at: place_of(parts) })
    }
}

/// The place of the warehouse that a request under `/v1` is for.
fn place_of(parts: &Parts) -> usize {
    parts.extensions.get::<Prefix>().map_or(0, |prefix| prefix.0)
}

/// The place of the warehouse that a path named.
#[derive(Debug, Clone, Copy)]
struct Prefix(usize);

/// What a client asked for, where that is not what was routed.
#[derive(Debug, Clone)]
pub(super) struct AsAsked(pub(super) Uri);

/// What stands before the routes in a path. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Paths(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    base: String,
    warehouses: Vec<String>,
}

impl Paths {
    /// The base path and the names of the warehouses.
    pub fn of(api: &Api) -> Self {
        let names = api.warehouses.all().map(|served| served.catalog.warehouse().name().to_string());
        Self(Arc::new(Known { base: api.base_path.clone(), warehouses: names.collect() }))
    }

    /// Brings the path into the form that is routed: single slashes, none at the end, without the base path and the
    /// warehouse, which is remembered. A proxy may have taken the base path off already.
    pub(super) fn normalise<B>(&self, request: &mut Request<B>) {
        let path = request.uri().path();
        if self.is_routed(path) {
            return;
        }
        let (bare, at) = self.bare(path);
        if let Some(uri) = bare.and_then(|path| with_path(request.uri(), path)) {
            let asked = std::mem::replace(request.uri_mut(), uri);
            request.extensions_mut().insert(AsAsked(asked));
        }
        if let Some(at) = at {
            request.extensions_mut().insert(Prefix(at));
        }
    }

    /// Whether there is nothing to do, as for nearly all requests of the default warehouse.
    fn is_routed(&self, path: &str) -> bool {
        let plain = !path.contains("//") && (path.len() == 1 || !path.ends_with('/'));
        plain && self.0.base.is_empty() && self.0.warehouses.len() < 2
    }

    /// The path as it is routed, where it differs, and the place of the warehouse that it names.
    fn bare(&self, path: &str) -> (Option<String>, Option<usize>) {
        let base = self.0.base.as_str();
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
            ["v1", name, ..] if !RESERVED_PREFIXES.contains(name) => {
                self.0.warehouses.iter().position(|known| known == name)
            }
            _ => None,
        };
        if named.is_some() {
            segments.remove(1);
        }
        let routed = format!("/{}", segments.join("/"));
        ((routed != path).then_some(routed), named)
    }
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

    #[test]
    fn paths_have_one_form() {
        let paths = |base: &str, names: &[&str]| {
            let warehouses = names.iter().map(|name| (*name).to_owned()).collect();
            Paths(Arc::new(Known { base: base.to_owned(), warehouses }))
        };
        let routed = |paths: &Paths, path: &str| {
            let mut request = Request::new(());
            *request.uri_mut() = path.parse().expect("a URI");
            paths.normalise(&mut request);
            (request.uri().to_string(), request.extensions().get::<Prefix>().map(|prefix| prefix.0))
        };
        let one = paths("", &["a"]);
        assert_eq!(routed(&one, "/v1/config?warehouse="), ("/v1/config?warehouse=".to_owned(), None));
        assert_eq!(routed(&one, "//v1//config/?a=b"), ("/v1/config?a=b".to_owned(), None));
        assert_eq!(routed(&one, "/").0, "/");
        assert_eq!(routed(&one, "/docs/").0, "/docs/");
        assert_eq!(routed(&one, "/v1/namespaces/a%2F%2Fb/").0, "/v1/namespaces/a%2F%2Fb");
        assert_eq!(routed(&one, "/v1/a/namespaces").0, "/v1/a/namespaces", "one warehouse needs no prefix");
        let two = paths("/some/path", &["a", "b"]);
        assert_eq!(routed(&two, "/some/path/v1/b/namespaces/x?y"), ("/v1/namespaces/x?y".to_owned(), Some(1)));
        assert_eq!(routed(&two, "/v1/a/namespaces"), ("/v1/namespaces".to_owned(), Some(0)));
        assert_eq!(routed(&two, "//some/path//v1/config"), ("/v1/config".to_owned(), None));
        assert_eq!(routed(&two, "/v1/c/namespaces"), ("/v1/c/namespaces".to_owned(), None));
        assert_eq!(routed(&two, "/some/path"), ("/".to_owned(), None));
        assert_eq!(routed(&two, "/some/path/docs/"), ("/docs/".to_owned(), None));
        assert_eq!(routed(&two, "/some/pathology"), ("/some/pathology".to_owned(), None));
        assert_eq!(routed(&two, "/v1/namespaces/b/tables/b"), ("/v1/namespaces/b/tables/b".to_owned(), None));
    }
}
