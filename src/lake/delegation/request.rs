//! What an S3 request that a client wants signed would do, and whether that is within its table.
//!
//! The judgement is an allow-list: an operation, a query parameter or an `x-` header that is not known to be harmless is
//! refused. Every key that a request touches is looked at: its own, the source of a copy, each one of a multi-object delete,
//! the prefix of a listing. A key is decoded once, as the store does, and may hold no empty segment and no `.` or `..`, so
//! that what is judged is what is done.

use indexmap::IndexMap;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::Access;
use crate::error::{Error, Kind, Result};
use crate::lake::location::{Location, Scheme};
use crate::limits;

/// A request that a client wants signed (`RemoteSignRequest`).
#[derive(Debug, Clone)]
pub struct SignRequest {
    /// `GET`, `PUT` and so on.
    pub method: String,
    /// Where it goes, as it is sent.
    pub uri: String,
    /// Its headers.
    pub headers: IndexMap<String, Vec<String>>,
    /// Its body, where what it does stands there.
    pub body: Option<String>,
}

/// The hosts that a store's S3 interface is reached by.
#[derive(Debug)]
pub(super) struct Hosts {
    /// `http` or `https`.
    scheme: String,
    /// The host and port that the bucket's name follows in the path, or stands before.
    hosts: Vec<String>,
    /// A path that stands before the bucket.
    path: String,
    /// Whether the bucket may stand before the host. A store that does not know that would take the first segment of the
    /// path for the bucket.
    virtual_hosted: bool,
}

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    bucket: String,
    /// Empty for the bucket itself.
    key: String,
    query: Vec<(String, String)>,
}

/// Query parameters that say how a listing is cut, not what it shows.
const LISTING: &[&str] = &[
    "list-type",
    "prefix",
    "delimiter",
    "max-keys",
    "continuation-token",
    "start-after",
    "encoding-type",
    "fetch-owner",
];

/// Headers beginning with `x-` that change neither whose an object is nor who may read it.
const HARMLESS: &[&str] = &[
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expected-bucket-owner",
    "x-amz-metadata-directive",
    "x-amz-mp-object-size",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-te",
    "x-amz-trailer",
    "x-amz-user-agent",
];

impl Hosts {
    /// The hosts of this endpoint; of AWS in this region, where there is none.
    pub(super) fn of(endpoint: Option<&str>, region: &str, path_style: bool) -> Self {
        let Some(endpoint) = endpoint else {
            let domain = aws_domain(region);
            let hosts = [
                format!("s3.{region}.{domain}"),
                format!("s3.dualstack.{region}.{domain}"),
                format!("s3-fips.{region}.{domain}"),
                format!("s3.{domain}"),
            ];
            let scheme = "https".to_owned();
            return Self { scheme, hosts: hosts.to_vec(), path: String::new(), virtual_hosted: true };
        };
        let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
        let host = without_usual_port(&scheme, &host).to_owned();
        let path = path.trim_matches('/').to_owned();
        Self { scheme, hosts: vec![host], virtual_hosted: !path_style && path.is_empty(), path }
    }

    /// The bucket and the rest of the path, still encoded, of a URI of this store.
    fn split<'u>(&self, uri: &'u str) -> Option<(String, &'u str, &'u str)> {
        let (scheme, rest) = uri.split_once("://")?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
        if scheme != self.scheme {
            return None;
        }
        let authority = without_usual_port(&scheme, &authority);
        let path = path.strip_prefix('/').unwrap_or(path);
        if self.hosts.iter().any(|host| host == authority) {
            let path = match self.path.as_str() {
                "" => path,
                before => path.strip_prefix(before)?.strip_prefix('/')?,
            };
            let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
            return Some((decoded(bucket)?, key, query));
        }
        let bucket = self.hosts.iter().find_map(|host| authority.strip_suffix(host)?.strip_suffix('.'))?;
        self.virtual_hosted.then(|| (bucket.to_owned(), path, query))
    }
}

/// What the hosts of AWS in a region end in.
pub(super) fn aws_domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

fn without_usual_port<'h>(scheme: &str, host: &'h str) -> &'h str {
    let usual = if scheme == "http" { ":80" } else { ":443" };
    host.strip_suffix(usual).unwrap_or(host)
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

fn refused(why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Forbidden, format!("Request cannot be signed: {why}"))
}

/// Refuses a request that is not wholly within these locations, or does more than `access` allows.
pub(super) fn judge(request: &SignRequest, hosts: &Hosts, access: Access, locations: &[Location]) -> Result<()> {
    check_size(request)?;
    check_headers(request)?;
    let target = target_of(&request.uri, hosts)?;
    let within = Within { bucket: &target.bucket, locations };
    let parameters: Vec<&str> =
        target.query.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "x-id").collect();
    let only = |allowed: &[&str]| parameters.iter().all(|name| allowed.contains(name));
    let has = |name: &str| parameters.contains(&name);
    let method = request.method.to_ascii_uppercase();
    let changes = !matches!(method.as_str(), "GET" | "HEAD");
    if changes && access == Access::Read {
        return Err(refused("who asks may only read"));
    }
    let copies = header(request, "x-amz-copy-source").is_some();
    if copies && method != "PUT" {
        return Err(refused("only a PUT copies"));
    }
    let on_bucket = target.key.is_empty();
    match method.as_str() {
        "GET" if on_bucket && only(LISTING) => within.prefix(&target),
        "HEAD" if on_bucket && parameters.is_empty() => within.any_of_bucket(),
        "POST" if on_bucket && parameters == ["delete"] => within.deleted(request),
        _ if on_bucket => Err(refused("this is no operation of a table's on a bucket")),
        "GET" | "HEAD" if only(&["versionId", "partNumber"]) => within.key(&target.key),
        "PUT" if parameters.is_empty() || (only(&["partNumber", "uploadId"]) && has("uploadId")) => {
            within.key(&target.key)?;
            within.copied(request)
        }
        "POST" if parameters == ["uploads"] || parameters == ["uploadId"] => within.key(&target.key),
        "DELETE" if parameters.is_empty() || parameters == ["uploadId"] => within.key(&target.key),
        // The parts of an upload.
        "GET" if only(&["uploadId", "max-parts", "part-number-marker"]) => within.key(&target.key),
        _ => Err(refused(format_args!("{method} with the parameters {parameters:?} is no operation of a table's"))),
    }
}

/// A header's only value.
pub(super) fn header<'r>(request: &'r SignRequest, name: &str) -> Option<&'r str> {
    let found = request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.and_then(|(_, values)| values.first()).map(String::as_str)
}

/// Bounds what the rest looks at: no store takes a longer URI or more headers.
fn check_size(request: &SignRequest) -> Result<()> {
    let values = request.headers.iter().flat_map(|(name, values)| values.iter().map(|value| name.len() + value.len()));
    let (count, bytes) = values.fold((0, 0), |(count, bytes), length| (count + 1, bytes + length));
    let most = limits::SIGNED_HEADER_BYTES;
    if request.uri.len() > most || bytes > most || count.max(request.headers.len()) > limits::SIGNED_HEADERS {
        return Err(refused(format_args!(
            "its URI or its headers have more than {most} bytes, or there are more than {} headers",
            limits::SIGNED_HEADERS
        )));
    }
    Ok(())
}

fn check_headers(request: &SignRequest) -> Result<()> {
    for (name, values) in &request.headers {
        let name = name.to_ascii_lowercase();
        if name.starts_with("x-amz-copy-source") && values.len() != 1 {
            return Err(refused(format_args!("header {name} must have one value")));
        }
        let harmless = !(name.starts_with("x-") || name.starts_with("seaweed-"))
            || HARMLESS.contains(&name.as_str())
            // Some stores unpack an archive into objects where its metadata says so.
            || (name.starts_with("x-amz-meta-") && !name.contains("snowball"))
            || name.starts_with("x-amz-checksum-")
            || (name == "x-amz-acl"
                && values.iter().all(|value| value == "private" || value == "bucket-owner-full-control"));
        if !harmless {
            return Err(refused(format_args!("header {name} is not one of a table's")));
        }
    }
    let mut names: Vec<String> = request.headers.keys().map(|name| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(refused(format_args!("header {} stands twice", twice[0]))),
        None => Ok(()),
    }
}

fn target_of(uri: &str, hosts: &Hosts) -> Result<Target> {
    if uri.contains(['#', '\\', '@']) || !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused("its URI is not a plain one"));
    }
    let (bucket, key, query) = hosts.split(uri).ok_or_else(|| refused("it does not go to the warehouse's store"))?;
    let key = plain_key(key)?;
    let mut pairs = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        // A plus is a space to some and a plus to others.
        let plain = |text: &str| if text.contains('+') { None } else { decoded(text) };
        let pair = plain(name).zip(plain(value)).ok_or_else(|| refused("its query is not a plain one"))?;
        if pairs.iter().any(|(known, _): &(String, String)| *known == pair.0) {
            return Err(refused(format_args!("parameter {} stands twice", pair.0)));
        }
        pairs.push(pair);
    }
    Ok(Target { bucket, key, query: pairs })
}

/// A key, decoded once; one that two readers could read differently is refused.
fn plain_key(encoded: &str) -> Result<String> {
    let key = decoded(encoded).ok_or_else(|| refused("its key is not UTF-8"))?;
    if encoded.contains('+') || key.contains('\\') || key.chars().any(char::is_control) {
        return Err(refused("its key holds a control character, a backslash, or a plus that is not written %2B"));
    }
    Ok(key)
}

/// The part of a bucket that a table's locations are.
struct Within<'a> {
    bucket: &'a str,
    locations: &'a [Location],
}

impl Within<'_> {
    fn folders(&self, bucket: &str) -> impl Iterator<Item = &str> {
        let of_bucket = move |location: &&Location| location.scheme() == Scheme::S3 && location.bucket() == bucket;
        self.locations.iter().filter(of_bucket).map(Location::path)
    }

    fn any_of_bucket(&self) -> Result<()> {
        match self.folders(self.bucket).next() {
            Some(_) => Ok(()),
            None => Err(refused("it is about a bucket that the table is not in")),
        }
    }

    fn key(&self, key: &str) -> Result<()> {
        self.key_in(self.bucket, key)
    }

    fn key_in(&self, bucket: &str, key: &str) -> Result<()> {
        let plain = key.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
        let inside = |folder: &str| {
            folder.is_empty() || key.strip_prefix(folder).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
        };
        if plain && self.folders(bucket).any(inside) {
            return Ok(());
        }
        Err(refused("it is about an object outside the table"))
    }

    /// A listing shows what begins with its prefix: one without the slash would show the table's neighbours.
    fn prefix(&self, target: &Target) -> Result<()> {
        let prefix = target.query.iter().find(|(name, _)| name == "prefix").map_or("", |(_, prefix)| prefix.as_str());
        let plain = !prefix.contains("//") && prefix.split('/').all(|segment| segment != "." && segment != "..");
        let inside =
            |folder: &str| folder.is_empty() || prefix.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        if plain && !prefix.starts_with('/') && self.folders(self.bucket).any(inside) {
            return Ok(());
        }
        Err(refused("it lists more than the table"))
    }

    fn copied(&self, request: &SignRequest) -> Result<()> {
        let Some(source) = header(request, "x-amz-copy-source") else { return Ok(()) };
        let source = source.split('?').next().unwrap_or_default();
        let source = plain_key(source)?;
        let source = source.strip_prefix('/').unwrap_or(&source);
        let (bucket, key) = source.split_once('/').unwrap_or((source, ""));
        self.key_in(bucket, key)
    }

    fn deleted(&self, request: &SignRequest) -> Result<()> {
        let body = request.body.as_deref().filter(|body| !body.is_empty());
        let body = body.ok_or_else(|| refused("it deletes several objects and does not say which: send its body"))?;
        // One plain document: what else a text could be, two readers could read differently.
        let inner = body.trim().strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>").unwrap_or(body).trim();
        let whole = inner.starts_with("<Delete") && inner.ends_with("</Delete>");
        if !whole || inner.matches("<Delete").count() != 1 || inner.contains("<!") || inner.contains("<?") {
            return Err(refused("its body is not one plain list of objects to delete"));
        }
        let delete: Delete =
            quick_xml::de::from_str(body).map_err(|_| refused("its body is not a list of objects to delete"))?;
        if delete.objects.is_empty() {
            return Err(refused("its body names no object to delete"));
        }
        delete.objects.iter().try_for_each(|object| self.key(&object.key))
    }
}

/// The body of `DeleteObjects`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    #[serde(rename = "@xmlns", default)]
    _namespace: Option<String>,
    #[serde(rename = "Quiet", default)]
    _quiet: Option<String>,
    #[serde(rename = "Object", default)]
    objects: Vec<Deleted>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deleted {
    #[serde(rename = "Key")]
    key: String,
}

#[cfg(test)]
mod tests;
