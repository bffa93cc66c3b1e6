//! How a warehouse is reached: what `[warehouses.NAME]` says.
//!
//! One flat set of keys serves every kind of store; a key that the store of a warehouse's URL has no use for is refused, so
//! that none is read and ignored. What is not said is taken from the variables that the clouds' own tools read
//! (`AWS_…`, `GOOGLE_…`, `AZURE_…`), and at last from the machine's instance metadata.

use std::fmt;
use std::sync::Arc;

use super::delegation::Delegation;
use super::described::Description;
use super::location::{Location, Scheme};
use crate::error::{Error, Result};
use crate::names::WarehouseName;

/// A text that no log and no answer shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text, for whoever needs it to speak to the store.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What opens a warehouse.
#[derive(Debug, Clone)]
pub struct WarehouseSettings {
    /// Its name.
    pub name: WarehouseName,
    /// The URL of its root.
    pub url: String,
    /// How to reach its store.
    pub store: StoreSettings,
    /// Further locations that tables may have.
    pub allowed: Vec<String>,
    /// Whether tables that do not say get a version hint.
    pub version_hint: bool,
    /// What all this was said with.
    pub description: Description,
    /// Which secrets were given.
    pub secrets: Vec<&'static str>,
}

impl WarehouseSettings {
    /// Refuses a name that one environment variable would mean another's with, and a root at, inside or around another's:
    /// whose a location is must never be a question.
    pub fn check_apart<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Result<()> {
        for other in others {
            let (a, b) = (other.name.as_str(), self.name.as_str());
            if a.replace('-', "_") == b.replace('-', "_") {
                return Err(Error::illegal(format!(
                    "Warehouses {a:?} and {b:?} differ in '-' and '_' only, which no environment variable can tell apart"
                )));
            }
            let (first, second) = (Location::parse(&other.url)?, Location::parse(&self.url)?);
            if first.contains(&second) || second.contains(&first) {
                return Err(Error::illegal(format!(
                    "Warehouses {a:?} at {first} and {b:?} at {second} overlap: give each a root of its own"
                )));
            }
        }
        Ok(())
    }
}

/// How to reach a store.
#[derive(Debug, Clone, Default)]
pub struct StoreSettings {
    /// The URL of the store's interface; the cloud's own if none.
    pub endpoint: Option<String>,
    /// S3: the region; `us-east-1` if none.
    pub region: Option<String>,
    /// S3: whether the bucket is part of the path and not of the host name.
    pub path_style: Option<bool>,
    /// S3: the access key.
    pub access_key_id: Option<Secret>,
    /// S3: its secret.
    pub secret_access_key: Option<Secret>,
    /// S3: the token of temporary keys.
    pub session_token: Option<Secret>,
    /// S3 and Google: the URL of the Security Token Service; the endpoint's own, or AWS's, if none.
    pub sts_endpoint: Option<String>,
    /// S3: the role whose keys are lent to clients.
    pub sts_role_arn: Option<String>,
    /// Google: the JSON of a service account's key, or the path of the file it is in.
    pub service_account: Option<Secret>,
    /// Azure: the key of the storage account.
    pub account_key: Option<Secret>,
    /// Azure: the tenant of an application.
    pub tenant_id: Option<String>,
    /// Azure: the application's id.
    pub client_id: Option<String>,
    /// Azure: the application's secret.
    pub client_secret: Option<Secret>,
    /// How clients reach the objects without keys of their own.
    pub delegation: Delegation,
    /// The variables of the clouds' own tools, in lower case.
    pub ambient: Ambient,
}

/// What the environment says to every program that reaches a cloud.
#[derive(Clone, Default)]
pub struct Ambient(Arc<Vec<(String, String)>>);

impl Ambient {
    /// Those of these variables that concern a cloud.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours =
            variables.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).filter(|(name, value)| {
                !value.is_empty() && ["aws_", "google_", "azure_"].iter().any(|prefix| name.starts_with(prefix))
            });
        Self(Arc::new(ours.collect()))
    }

    /// Those of one cloud.
    pub(super) fn starting_with(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        all.filter(move |(name, _)| name.starts_with(prefix))
    }

    /// The first of these that is set.
    pub(super) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|wanted| self.0.iter().find(|(name, _)| name == wanted)).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: some of the values are keys.
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

const REGION_DEFAULT: &str = "us-east-1";

impl StoreSettings {
    /// Refuses keys that the stores of this scheme have no use for, and pairs of which one half is missing.
    pub(super) fn check(&self, scheme: Scheme) -> Result<()> {
        for (key, is_set, of) in [
            ("endpoint", self.endpoint.is_some(), &[Scheme::S3, Scheme::Gcs, Scheme::Azure][..]),
            ("region", self.region.is_some(), &[Scheme::S3]),
            ("path-style", self.path_style.is_some(), &[Scheme::S3]),
            ("access-key-id", self.access_key_id.is_some(), &[Scheme::S3]),
            ("secret-access-key", self.secret_access_key.is_some(), &[Scheme::S3]),
            ("session-token", self.session_token.is_some(), &[Scheme::S3]),
            ("sts-endpoint", self.sts_endpoint.is_some(), &[Scheme::S3, Scheme::Gcs]),
            ("sts-role-arn", self.sts_role_arn.is_some(), &[Scheme::S3]),
            ("service-account", self.service_account.is_some(), &[Scheme::Gcs]),
            ("account-key", self.account_key.is_some(), &[Scheme::Azure]),
            ("tenant-id", self.tenant_id.is_some(), &[Scheme::Azure]),
            ("client-id", self.client_id.is_some(), &[Scheme::Azure]),
            ("client-secret", self.client_secret.is_some(), &[Scheme::Azure]),
        ] {
            if is_set && !of.contains(&scheme) {
                let (of, scheme) =
                    (of.iter().map(|one| one.prefix()).collect::<Vec<_>>().join(" and "), scheme.prefix());
                return Err(Error::illegal(format!(
                    "{key} is a key of {of} warehouses, and this one is {scheme}: remove it"
                )));
            }
        }
        for (key, url) in [("endpoint", &self.endpoint), ("sts-endpoint", &self.sts_endpoint)] {
            if let Some(url) = url
                && !is_http(url)
            {
                return Err(Error::illegal(format!("{key} = {url:?} is not a URL, such as http://127.0.0.1:8333")));
            }
        }
        let both = |a: (&str, bool), b: (&str, bool)| match (a.1, b.1) {
            (true, false) => Err(Error::illegal(format!("{} is set and {} is not: set both, or neither", a.0, b.0))),
            (false, true) => Err(Error::illegal(format!("{} is set and {} is not: set both, or neither", b.0, a.0))),
            _ => Ok(()),
        };
        both(("access-key-id", self.access_key_id.is_some()), ("secret-access-key", self.secret_access_key.is_some()))?;
        both(("client-id", self.client_id.is_some()), ("client-secret", self.client_secret.is_some()))?;
        both(("client-id", self.client_id.is_some()), ("tenant-id", self.tenant_id.is_some()))
    }

    /// The URL of the S3 interface, if it is not AWS's own.
    pub(super) fn s3_endpoint(&self) -> Option<&str> {
        self.endpoint
            .as_deref()
            .or_else(|| self.ambient.first(&["aws_endpoint_url_s3", "aws_endpoint_url", "aws_endpoint"]))
    }

    /// The region that is used.
    pub(super) fn region_or_default(&self) -> &str {
        let ambient = || self.ambient.first(&["aws_region", "aws_default_region"]);
        self.region.as_deref().or_else(ambient).unwrap_or(REGION_DEFAULT)
    }

    /// Whether the bucket is part of the path; so unless said otherwise wherever an endpoint is named.
    pub(super) fn uses_path_style(&self) -> bool {
        self.path_style.unwrap_or(self.s3_endpoint().is_some())
    }
}

/// Whether a text is the URL of a server.
fn is_http(url: &str) -> bool {
    let parsed = url.parse::<http::Uri>().ok();
    parsed.is_some_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_another_store_and_halves_of_pairs_are_refused() {
        let some = |text: &str| Some(text.to_owned());
        let secret = |text: &str| Some(Secret::new(text));
        let usual = StoreSettings::default;
        for (settings, scheme, words) in [
            (StoreSettings { region: some("r"), ..usual() }, Scheme::Gcs, "region is a key of s3://"),
            (StoreSettings { endpoint: some("http://x"), ..usual() }, Scheme::File, "endpoint is a key of s3://"),
            (StoreSettings { account_key: secret("k"), ..usual() }, Scheme::S3, "account-key is a key of abfss://"),
            (
                StoreSettings { service_account: secret("k"), ..usual() },
                Scheme::Azure,
                "service-account is a key of gs://",
            ),
            (StoreSettings { access_key_id: secret("k"), ..usual() }, Scheme::S3, "secret-access-key is not"),
            (StoreSettings { client_id: some("k"), ..usual() }, Scheme::Azure, "client-secret is not"),
            (StoreSettings { endpoint: some("127.0.0.1:9"), ..usual() }, Scheme::S3, "is not a URL"),
            (StoreSettings { sts_endpoint: some("/x"), ..usual() }, Scheme::S3, "is not a URL"),
        ] {
            let error = settings.check(scheme).expect_err("refused");
            assert!(error.message().contains(words), "{words:?} is not in {error}");
        }
        let pair = StoreSettings { access_key_id: secret("k"), secret_access_key: secret("s"), ..usual() };
        assert!(pair.check(Scheme::S3).is_ok());
    }
}
