//! Locations: where objects are, compared by what they mean and not by how they are written.
//!
//! Java writes `file:/x` for `file:///x`, and Azure's containers have four spellings; each place has one [`Location`]. A location never holds `.` or `..`, so that
//! "inside" is a comparison of beginnings; what links do on a local disk is `local.rs`'s to check.

use std::fmt;

use crate::error::{Error, Kind, Result};
use crate::names::fnv1a_32;

/// Which kind of storage a location is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// A directory of this machine.
    File,
    /// A bucket behind the S3 interface.
    S3,
    /// A bucket of Google's.
    Gcs,
    /// A container of an Azure storage account.
    Azure,
}

impl Scheme {
    /// What locations of it begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::File => "file://",
            Self::S3 => "s3://",
            Self::Gcs => "gs://",
            Self::Azure => "abfss://",
        }
    }
}

/// A place in some storage, in its normal form, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    scheme: Scheme,
    /// The bucket; `container@host` in Azure; empty for files.
    bucket: String,
    /// Segments joined by slashes, without one at either end.
    path: String,
}

impl Location {
    /// Parses the URL of a file, folder or object. The text is taken as it is, without percent-decoding, as Iceberg's
    /// clients do.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::illegal(format!("Location {text:?} cannot be used: {why}"));
        let (scheme, rest) = text.split_once(':').ok_or_else(|| bad("it has no scheme, such as file:// or s3://"))?;
        let location = match scheme.to_ascii_lowercase().as_str() {
            "file" => {
                let path = match rest.strip_prefix("//") {
                    Some(after) if after.starts_with('/') => after,
                    Some(_) => return Err(bad("a file: location names no host: write file:///path")),
                    None => rest,
                };
                if !path.starts_with('/') {
                    return Err(bad("a file: location needs an absolute path: write file:///path"));
                }
                let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
                Self { scheme: Scheme::File, bucket: String::new(), path: segments.join("/") }
            }
            "s3" | "s3a" | "s3n" => in_bucket(Scheme::S3, rest).ok_or_else(|| bad("write s3://bucket/path"))?,
            "gs" => in_bucket(Scheme::Gcs, rest).ok_or_else(|| bad("write gs://bucket/path"))?,
            "abfss" | "abfs" | "wasbs" | "wasb" => {
                in_container(rest).ok_or_else(|| bad("write abfss://container@account.dfs.core.windows.net/path"))?
            }
            _ => return Err(bad("its scheme is not served here; file://, s3://, gs:// and abfss:// are")),
        };
        if location.path.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(bad("it holds \".\" or \"..\""));
        }
        if text.chars().any(char::is_control) {
            return Err(bad("it holds a control character"));
        }
        Ok(location)
    }

    /// Which kind of storage it is in.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The bucket; `container@host` in Azure; empty for files.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Azure: the container.
    pub fn container(&self) -> &str {
        self.bucket.split('@').next().unwrap_or_default()
    }

    /// Azure: the storage account.
    pub fn account(&self) -> &str {
        let host = self.bucket.split('@').nth(1).unwrap_or_default();
        host.split('.').next().unwrap_or_default()
    }

    /// The path inside the bucket, or the absolute path less its first slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The normal form with a slash at the end, for comparing beginnings.
    pub fn key(&self) -> String {
        let text = self.to_string();
        if text.ends_with('/') { text } else { text + "/" }
    }

    /// Whether `other` is this place or lies inside it.
    pub fn contains(&self, other: &Self) -> bool {
        if self.scheme != other.scheme || self.bucket != other.bucket {
            return false;
        }
        let Some(rest) = other.path.strip_prefix(&self.path) else { return false };
        self.path.is_empty() || rest.is_empty() || rest.starts_with('/')
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, bucket, path } = self;
        let slash = if path.is_empty() && *scheme != Scheme::File { "" } else { "/" };
        write!(f, "{}{bucket}{slash}{path}", scheme.prefix())
    }
}

fn in_bucket(scheme: Scheme, rest: &str) -> Option<Location> {
    let rest = rest.strip_prefix("//")?;
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    let made = Location { scheme, bucket: bucket.to_owned(), path: path.trim_matches('/').to_owned() };
    (!bucket.is_empty()).then_some(made)
}

/// The blob interface and the one for folders are two hosts of one account.
fn in_container(rest: &str) -> Option<Location> {
    let found = in_bucket(Scheme::Azure, rest)?;
    let (container, host) = found.bucket.split_once('@')?;
    let host = host.to_ascii_lowercase().replacen(".blob.", ".dfs.", 1);
    let bucket = format!("{container}@{host}");
    (!container.is_empty() && !host.is_empty() && !host.starts_with('.')).then_some(Location { bucket, ..found })
}

/// Refuses a location that a warehouse does not serve.
pub fn outside(location: &str, warehouse: &str, root: &Location) -> Error {
    Error::new(
        Kind::Forbidden,
        format!(
            "Location {location:?} is outside warehouse {warehouse:?} ({root}) and every allow-location: \
             choose one inside, or start the server with --allow-location"
        ),
    )
}

/// A text made fit for one segment of a location that we choose: bytes outside `[A-Za-z0-9._-]` are replaced and a
/// short hash keeps different names different.
pub fn safe_segment(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plain = name.chars().all(fits) && !name.starts_with('.') && !name.is_empty();
    if plain {
        return name.to_owned();
    }
    let replaced: String = name.chars().map(|c| if fits(c) { c } else { '_' }).take(100).collect();
    format!("{}-{:08x}", replaced.replacen('.', "_", usize::from(name.starts_with('.'))), fnv1a_32(name.bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Location {
        Location::parse(text).expect("valid")
    }

    #[test]
    fn spellings_of_one_place_are_equal() {
        assert_eq!(at("file:/tmp/x"), at("file:///tmp/x/"));
        assert_eq!(at("file:///tmp//x"), at("file:/tmp/x"));
        assert_eq!(at("s3a://b/k/"), at("s3://b/k"));
        assert_eq!(at("file:/tmp/x").key(), "file:///tmp/x/");
        assert_eq!(at("s3://b").key(), "s3://b/");
        assert_eq!(at("GS://b/k/").to_string(), "gs://b/k");
        let container = at("wasbs://c@Acc.blob.core.windows.net/k");
        assert_eq!(container, at("abfss://c@acc.dfs.core.windows.net/k/"));
        assert_eq!((container.container(), container.account()), ("c", "acc"));
    }

    #[test]
    fn inside_is_by_segment() {
        assert!(at("file:///w").contains(&at("file:/w/t")));
        assert!(at("file:///").contains(&at("file:/w/t")));
        assert!(at("s3://b").contains(&at("s3://b/k")));
        assert!(!at("s3://b/orders").contains(&at("s3://b/orders2")));
        assert!(!at("s3://b").contains(&at("s3://c")));
        assert!(!at("s3://b").contains(&at("gs://b/k")));
        assert!(!at("abfss://c@a.dfs.core.windows.net").contains(&at("abfss://c@b.dfs.core.windows.net/k")));
    }

    #[test]
    fn what_leads_out_is_refused() {
        for bad in [
            "/tmp",
            "file:tmp",
            "file://host/x",
            "s3://",
            "http://x/y",
            "file:///a/../b",
            "s3://b/./k",
            "s3://b/a\nb",
            "gs:///k",
            "abfss://c/k",
            "abfss://@a.dfs.core.windows.net/k",
            "abfss://c@/k",
        ] {
            assert!(Location::parse(bad).is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn segments_are_safe_and_distinct() {
        assert_eq!(safe_segment("orders_2.v1"), "orders_2.v1");
        let odd = [safe_segment("a/b"), safe_segment("a b"), safe_segment(".."), safe_segment("é"), safe_segment(".x")];
        for (index, segment) in odd.iter().enumerate() {
            assert!(!segment.contains('/') && !segment.starts_with('.'), "{segment:?}");
            assert!(odd.iter().skip(index + 1).all(|other| other != segment), "{segment:?} stands twice");
        }
    }
}
