//! Lent signatures of Azure storage accounts: a shared access signature (SAS) for the folder that a table is.
//!
//! Signed with a user delegation key where the warehouse has an application's or a machine's identity, with the account's
//! key where it has that. A signature is for one folder (`sr=d`), which only accounts with a hierarchical namespace know, so
//! it reaches the table's own location and not where it was before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::DateTime;
use indexmap::IndexMap;
use object_store::azure::{AzureCredential, AzureCredentialProvider};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::lending::{Lasting, Lending, NotLent, Of};
use super::{Access, Keys};
use crate::error::{Error, Kind, Result};
use crate::lake::location::Location;
use crate::lake::settings::{Secret, StoreSettings};
use crate::limits;

/// The version of the interface whose rules a signature follows.
const VERSION: &str = "2020-12-06";

/// What is needed to lend signatures.
#[derive(Debug)]
pub(super) struct Azure {
    account: String,
    endpoint: String,
    own: AzureCredentialProvider,
    /// The account's key, where the warehouse has it.
    account_key: Option<Secret>,
    client: reqwest::Client,
    /// What clients configure whatever they are given.
    config: IndexMap<String, String>,
    delegation_key: Mutex<Option<(Arc<DelegationKey>, i64)>>,
    /// Whether the account is known to take signatures for folders.
    taken: AtomicBool,
    lent: Lending<Signature>,
}

/// A signature that reaches a table alone.
#[derive(Debug)]
struct Signature {
    query: Secret,
    expires_ms: i64,
}

impl Lasting for Signature {
    fn lasts(&self) -> Duration {
        limits::LENT_KEYS
    }
}

/// What signs in the name of the warehouse's identity.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DelegationKey {
    signed_oid: String,
    signed_tid: String,
    signed_start: String,
    signed_expiry: String,
    signed_service: String,
    signed_version: String,
    value: String,
}

impl std::fmt::Debug for DelegationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DelegationKey")
    }
}

/// Whose key signs.
enum Signing {
    Account(Secret),
    Delegated(Arc<DelegationKey>),
}

/// What is signed: a folder, what may be done with it, until when.
struct Terms<'a> {
    account: &'a str,
    container: &'a str,
    folder: &'a str,
    access: Access,
    expiry: String,
}

impl Azure {
    pub(super) fn new(
        root: &Location,
        settings: &StoreSettings,
        own: AzureCredentialProvider,
        config: &IndexMap<String, String>,
    ) -> Result<Self> {
        let account = root.account().to_owned();
        let usual = || format!("https://{account}.blob.core.windows.net");
        let endpoint = settings.endpoint.clone().unwrap_or_else(usual);
        let names = ["azure_storage_account_key", "azure_storage_access_key", "azure_storage_master_key"];
        let ambient = || settings.ambient.first(&names).map(Secret::new);
        let account_key = settings.account_key.clone().or_else(ambient);
        let (client, config) = (super::sts::client()?, config.clone());
        let (delegation_key, taken, lent) = Default::default();
        Ok(Self { account, endpoint, own, account_key, client, config, delegation_key, taken, lent })
    }

    /// A signature for the first of these locations.
    pub(super) async fn lent_keys(&self, of: Of, now_ms: i64) -> Result<Keys, NotLent> {
        let (access, mut locations) = of;
        locations.truncate(1);
        let [location] = locations.as_slice() else {
            return Err(NotLent::NoPolicy("There is no location to sign for"));
        };
        let location = location.clone();
        if location.account() != self.account || location.path().is_empty() {
            return Err(NotLent::NoPolicy("A signature is for one folder of the warehouse's own storage account"));
        }
        let lent = self.lent.get((access, locations), self.sign(&location, access, now_ms)).await?;
        let mut config = self.config.clone();
        let (query, expires) = (lent.query.reveal(), lent.expires_ms.to_string());
        // Clients look for the account by its name or by its host.
        for account in [self.account.clone(), format!("{}.dfs.core.windows.net", self.account)] {
            config.insert(format!("adls.sas-token.{account}"), query.to_owned());
            config.insert(format!("adls.sas-token-expires-at-ms.{account}"), expires.clone());
        }
        let again_under = "adls.refresh-credentials-endpoint";
        Ok(Keys { prefix: location.key(), config, expires_ms: Some(lent.expires_ms), again_under })
    }

    async fn sign(&self, location: &Location, access: Access, now_ms: i64) -> Result<Signature, NotLent> {
        let lasts_ms = i64::try_from(limits::LENT_KEYS.as_millis()).unwrap_or(i64::MAX);
        let expires_ms = now_ms.saturating_add(lasts_ms);
        let signing = self.signing(now_ms, expires_ms).await?;
        let (account, container, folder) = (self.account.as_str(), location.container(), location.path());
        let terms = Terms { account, container, folder, access, expiry: written(expires_ms) };
        let query = terms.signed(&signing).map_err(NotLent::Refused)?;
        if !self.taken.load(Ordering::Relaxed) {
            self.try_out(location, &query).await?;
            self.taken.store(true, Ordering::Relaxed);
        }
        Ok(Signature { query: Secret::new(query), expires_ms })
    }

    /// Looks for an object that nobody made: an account without folders takes no signature for one.
    async fn try_out(&self, location: &Location, query: &str) -> Result<(), NotLent> {
        let (container, folder) = (location.container(), location.path());
        let url = format!("{}/{container}/{folder}/.floeberg-probe?{query}", self.endpoint.trim_end_matches('/'));
        let unavailable = |what: &str| Error::new(Kind::Unavailable, format!("{} {what}", self.endpoint));
        let sent = self.client.get(url).header("x-ms-version", VERSION).send().await;
        let status = sent
            .map_err(|error| NotLent::Unreachable(unavailable("does not answer").because(error.without_url())))?
            .status()
            .as_u16();
        match status {
            200 | 404 => Ok(()),
            400..=499 => Err(NotLent::Refused(unavailable(
                "takes no signature for a folder: the storage account needs a hierarchical namespace; else set delegation = \"none\"",
            ))),
            _ => Err(NotLent::Unreachable(unavailable(&format!("answered HTTP {status} to a signature")))),
        }
    }

    async fn signing(&self, now_ms: i64, expires_ms: i64) -> Result<Signing, NotLent> {
        let own = self.own.get_credential().await.map_err(|error| {
            let message = "The warehouse's own keys cannot be had: check its configuration";
            NotLent::Unreachable(Error::new(Kind::Unavailable, message).because(error))
        })?;
        match (&*own, &self.account_key) {
            (AzureCredential::BearerToken(token), _) => {
                self.delegated(token, now_ms, expires_ms).await.map(Signing::Delegated)
            }
            (AzureCredential::AccessKey(_), Some(key)) => Ok(Signing::Account(key.clone())),
            _ => Err(NotLent::NoPolicy("The warehouse's own keys are a signature, which signs no other")),
        }
    }

    /// The key that signs until then; one lasts for many signatures.
    async fn delegated(&self, token: &str, now_ms: i64, expires_ms: i64) -> Result<Arc<DelegationKey>, NotLent> {
        let mut known = self.delegation_key.lock().await;
        if let Some((key, _)) = known.as_ref().filter(|(_, until_ms)| *until_ms >= expires_ms) {
            return Ok(Arc::clone(key));
        }
        let until_ms = expires_ms.saturating_add(limits::OWN_TOKEN_LEFT_MS);
        let (start, expiry) = (written(now_ms - 300_000), written(until_ms));
        let asked = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>{start}</Start><Expiry>{expiry}</Expiry></KeyInfo>"
        );
        let url = format!("{}/?restype=service&comp=userdelegationkey", self.endpoint.trim_end_matches('/'));
        let silent = |error: reqwest::Error| {
            let message = format!("{} gives no key to sign with", self.endpoint);
            NotLent::Unreachable(Error::new(Kind::Unavailable, message).because(error))
        };
        let sent = self.client.post(url).bearer_auth(token).header("x-ms-version", VERSION).body(asked);
        let answer = sent.send().await.map_err(silent)?;
        let status = answer.status();
        let text = answer.text().await.map_err(silent)?;
        if !status.is_success() {
            let message = format!(
                "{} gives no key to sign with (HTTP {status}): the warehouse's identity needs the role Storage Blob Delegator",
                self.endpoint
            );
            let error = Error::new(Kind::Unavailable, message);
            return Err(if status.is_server_error() { NotLent::Unreachable(error) } else { NotLent::Refused(error) });
        }
        let key: DelegationKey = quick_xml::de::from_str(&text).map_err(|error| {
            let message = format!("{} does not answer as a storage account does", self.endpoint);
            NotLent::Refused(Error::new(Kind::Unavailable, message).because(error))
        })?;
        let key = Arc::new(key);
        *known = Some((Arc::clone(&key), until_ms));
        Ok(key)
    }
}

impl Terms<'_> {
    /// The query that carries the signature, by the rules of [`VERSION`].
    fn signed(&self, signing: &Signing) -> Result<String> {
        let Self { account, container, folder, access, expiry } = self;
        let permissions = match access {
            Access::Read => "rl",
            Access::Write => "racwdl",
        };
        let resource = format!("/blob/{account}/{container}/{folder}");
        let who: Vec<&str> = match signing {
            // No stored policy.
            Signing::Account(_) => vec![""],
            // No user who is checked, nor one who is not, nor a number to find it by.
            Signing::Delegated(key) => vec![
                &key.signed_oid,
                &key.signed_tid,
                &key.signed_start,
                &key.signed_expiry,
                &key.signed_service,
                &key.signed_version,
                "",
                "",
                "",
            ],
        };
        // No start, address or protocol is asked for, no snapshot or scope, and no header of the answer is set.
        let before = [permissions, "", expiry.as_str(), resource.as_str()];
        let after = ["", "", VERSION, "d", "", "", "", "", "", "", ""];
        let text = before.iter().chain(&who).chain(&after).copied().collect::<Vec<&str>>().join("\n");
        let key = match signing {
            Signing::Account(key) => key.reveal(),
            Signing::Delegated(key) => &key.value,
        };
        let key = BASE64_STANDARD.decode(key.trim()).map_err(|error| {
            Error::illegal("account-key is not base64: copy it as the storage account shows it").because(error)
        })?;
        let signature = BASE64_STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), text.as_bytes()));
        let depth = folder.split('/').count().to_string();
        let mut pairs = vec![("sv", VERSION), ("sr", "d"), ("sdd", &depth), ("sp", permissions), ("se", expiry)];
        if let Signing::Delegated(key) = signing {
            pairs.extend([
                ("skoid", key.signed_oid.as_str()),
                ("sktid", &key.signed_tid),
                ("skt", &key.signed_start),
                ("ske", &key.signed_expiry),
                ("sks", &key.signed_service),
                ("skv", &key.signed_version),
            ]);
        }
        pairs.push(("sig", &signature));
        let encoded =
            pairs.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        Ok(encoded.collect::<Vec<_>>().join("&"))
    }
}

/// A time as signatures write it.
fn written(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map_or_else(String::new, |at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Zmxvb2ZiZXJnLXRlc3Qta2V5LTAxMjM0NTY3ODk=";

    fn signed(access: Access, signing: &Signing) -> Vec<String> {
        let expiry = written(1_795_327_200_000);
        let terms = Terms { account: "acct", container: "lake", folder: "wh/ns/t", access, expiry };
        let query = terms.signed(signing).expect("signed");
        query.split('&').map(|pair| percent_encoding::percent_decode_str(pair).decode_utf8_lossy().into()).collect()
    }

    /// The signatures are those that Azure's own library for Python makes of the same terms.
    #[test]
    fn a_signature_is_what_the_accounts_own_tools_make() {
        let account = Signing::Account(Secret::new(KEY));
        for (access, sp, sig) in [
            (Access::Read, "sp=rl", "sig=FDGp/TsKeV9PkLS0QJSsLYPN3PdjO2Tf+P2tG/sEJY8="),
            (Access::Write, "sp=racwdl", "sig=p+JwFfc73oQQtYx1JgxU4/xnjd6imSzn3HmlIC6HlL0="),
        ] {
            let query = signed(access, &account);
            let expected = ["sv=2020-12-06", "sr=d", "sdd=3", sp, "se=2026-11-22T06:00:00Z", sig];
            assert_eq!(query, expected);
        }
        let text = |text: &str| text.to_owned();
        let delegated = Signing::Delegated(Arc::new(DelegationKey {
            signed_oid: text("oid"),
            signed_tid: text("tid"),
            signed_start: text("2026-11-22T04:55:00Z"),
            signed_expiry: text("2026-11-22T06:50:00Z"),
            signed_service: text("b"),
            signed_version: text("2020-12-06"),
            value: text(KEY),
        }));
        let query = signed(Access::Write, &delegated);
        assert_eq!(query.last().map(String::as_str), Some("sig=AuUOpGgkve8BVHajespRD4JgJ7jHILSwPmaeIfLSFJI="));
        assert!(query.contains(&text("skoid=oid")) && query.contains(&text("ske=2026-11-22T06:50:00Z")), "{query:?}");
    }
}
