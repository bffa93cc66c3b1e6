//! Lent tokens of Google Cloud Storage: the warehouse's own token, exchanged for one whose access boundary is the table.
//!
//! The exchange is the Security Token Service's (`POST /v1/token`), the boundary a rule per bucket whose condition names the
//! table's locations. It needs a bucket with uniform bucket-level access. A lent token lives as long as the one that it was
//! made from, an hour at most.

use std::sync::Arc;
use std::time::Duration;

use gcp_auth::{CustomServiceAccount, MetadataServiceAccount, Token, TokenProvider};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::lending::{Lasting, Lending, NotLent, Of};
use super::{Access, Keys};
use crate::error::{Error, Kind, Result};
use crate::lake::location::Location;
use crate::lake::settings::{Secret, StoreSettings};
use crate::limits;

const EXCHANGE: &str = "https://sts.googleapis.com";
const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];

/// What is needed to lend tokens.
#[derive(Debug)]
pub(super) struct Google {
    source: Source,
    exchange: String,
    client: reqwest::Client,
    /// What clients configure whatever they are given.
    config: IndexMap<String, String>,
    /// The warehouse's own token, while enough of its life is left.
    own: Mutex<Option<Arc<Token>>>,
    lent: Lending<LentToken>,
}

/// Where the warehouse's own token is from.
#[derive(Debug)]
enum Source {
    /// The key of a service account.
    Key(Secret),
    /// The instance metadata of this machine.
    Instance,
}

/// A token that reaches a table alone.
#[derive(Debug)]
struct LentToken {
    token: Secret,
    expires_ms: i64,
    lasts: Duration,
}

impl Lasting for LentToken {
    fn lasts(&self) -> Duration {
        self.lasts
    }
}

#[derive(Deserialize)]
struct Exchanged {
    access_token: String,
    /// Seconds; left out where the token lives as long as its source.
    expires_in: Option<i64>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl Google {
    /// What the settings come to; none where the warehouse's keys are of a kind that no token can be made of.
    pub(super) fn new(settings: &StoreSettings, config: &IndexMap<String, String>) -> Result<Option<Self>> {
        let Some(source) = source(settings)? else { return Ok(None) };
        let client = super::sts::client()?;
        let exchange = settings.sts_endpoint.as_deref().unwrap_or(EXCHANGE).trim_end_matches('/').to_owned();
        let (own, lent) = Default::default();
        Ok(Some(Self { source, exchange, client, config: config.clone(), own, lent }))
    }

    /// A token that is lent for these locations.
    pub(super) async fn lent_keys(&self, of: Of, now_ms: i64) -> Result<Keys, NotLent> {
        let (access, locations) = of.clone();
        let prefix = match locations.as_slice() {
            [only] => only.key(),
            [first, ..] => format!("gs://{}/", first.bucket()),
            [] => String::new(),
        };
        let lend = async { self.exchange(boundary(access, &locations)?, now_ms).await };
        let lent = self.lent.get(of, lend).await?;
        let mut config = self.config.clone();
        config.insert("gcs.oauth2.token".to_owned(), lent.token.reveal().to_owned());
        config.insert("gcs.oauth2.token-expires-at".to_owned(), lent.expires_ms.to_string());
        let again_under = "gcs.oauth2.refresh-credentials-endpoint";
        Ok(Keys { prefix, config, expires_ms: Some(lent.expires_ms), again_under })
    }

    async fn exchange(&self, boundary: Value, now_ms: i64) -> Result<LentToken, NotLent> {
        let own = self.own(now_ms).await.map_err(|error| NotLent::Refused(unknown(&error.to_string())))?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token", own.as_str()),
            ("options", &boundary.to_string()),
        ];
        let url = format!("{}/v1/token", self.exchange);
        let silent = |error: reqwest::Error| {
            let message = format!("{} does not answer as a Security Token Service does", self.exchange);
            NotLent::Unreachable(Error::new(Kind::Unavailable, message).because(error.without_url()))
        };
        let sent = self.client.post(url).header("content-type", super::sts::FORM).body(super::sts::form_of(&form));
        let answer = sent.send().await.map_err(silent)?;
        let status = answer.status();
        if !status.is_success() {
            let said = answer.json::<Refused>().await.map_or_else(|_| format!("HTTP {status}"), |said| said.error);
            let message = format!(
                "{} makes no token for a table ({said}): does the bucket have uniform bucket-level access? Else choose another delegation",
                self.exchange
            );
            let error = Error::new(Kind::Unavailable, message);
            return Err(if status.is_server_error() { NotLent::Unreachable(error) } else { NotLent::Refused(error) });
        }
        let exchanged: Exchanged = answer.json().await.map_err(silent)?;
        let own_expires_ms = own.expires_at().timestamp_millis();
        let said_ms = exchanged.expires_in.map(|seconds| now_ms + seconds.saturating_mul(1_000));
        let expires_ms = said_ms.map_or(own_expires_ms, |said_ms| said_ms.min(own_expires_ms));
        let lasts = Duration::from_millis(u64::try_from(expires_ms - now_ms).unwrap_or(0));
        Ok(LentToken { token: Secret::new(exchanged.access_token), expires_ms, lasts })
    }

    /// The warehouse's own token; one that has lived for long would make short-lived ones.
    async fn own(&self, now_ms: i64) -> Result<Arc<Token>, gcp_auth::Error> {
        let mut own = self.own.lock().await;
        let enough_ms = now_ms + limits::OWN_TOKEN_LEFT_MS;
        if let Some(token) = own.as_ref().filter(|token| token.expires_at().timestamp_millis() > enough_ms) {
            return Ok(Arc::clone(token));
        }
        let token = match &self.source {
            Source::Key(key) => CustomServiceAccount::from_json(key.reveal())?.token(SCOPES).await?,
            Source::Instance => MetadataServiceAccount::new().await?.token(SCOPES).await?,
        };
        *own = Some(Arc::clone(&token));
        Ok(token)
    }
}

fn unknown(why: &str) -> Error {
    Error::new(Kind::Unavailable, "Google gives no token for the warehouse's own keys: check its service-account")
        .because(why.to_owned())
}

/// The service account that the configuration names, else the environment, else this machine's.
fn source(settings: &StoreSettings) -> Result<Option<Source>> {
    let ambient = || {
        let names = [
            "google_service_account_key",
            "google_service_account",
            "google_service_account_path",
            "google_application_credentials",
        ];
        settings.ambient.first(&names).map(str::to_owned)
    };
    let named = settings.service_account.as_ref().map(|account| account.reveal().to_owned()).or_else(ambient);
    let Some(named) = named else { return Ok(Some(Source::Instance)) };
    let text = if named.trim_start().starts_with('{') {
        named
    } else {
        std::fs::read_to_string(&named).map_err(|error| {
            let message =
                format!("service-account is neither the JSON of a key nor the path of a file with one: {error}");
            Error::illegal(message)
        })?
    };
    let key: Value = serde_json::from_str(&text)
        .map_err(|error| Error::illegal(format!("service-account is not the JSON of a key: {error}")))?;
    let signs = key.get("private_key").is_some() && key.get("token_uri").is_some();
    let silent = key.get("disable_oauth").and_then(Value::as_bool).unwrap_or(false);
    Ok((signs && !silent).then(|| Source::Key(Secret::new(text))))
}

/// What a token may reach: these locations and nothing else.
fn boundary(access: Access, locations: &[Location]) -> Result<Value, NotLent> {
    // A quote would end the text that it stands in.
    if locations.iter().any(|location| location.path().contains(['\'', '"', '\\']) || location.path().is_empty()) {
        return Err(NotLent::NoPolicy("No boundary can say where this table is: its location holds a quote or a \\"));
    }
    let permission = match access {
        Access::Read => "inRole:roles/storage.objectViewer",
        Access::Write => "inRole:roles/storage.objectUser",
    };
    let mut buckets: Vec<&str> = locations.iter().map(Location::bucket).collect();
    buckets.sort_unstable();
    buckets.dedup();
    let rules = buckets.into_iter().map(|bucket| {
        let of_bucket = locations.iter().filter(|location| location.bucket() == bucket);
        let conditions: Vec<String> = of_bucket.map(|location| condition(bucket, location.path())).collect();
        json!({
            "availablePermissions": [permission],
            "availableResource": format!("//storage.googleapis.com/projects/_/buckets/{bucket}"),
            "availabilityCondition": {"expression": conditions.join(" || ")},
        })
    });
    Ok(json!({"accessBoundary": {"accessBoundaryRules": rules.collect::<Vec<_>>()}}))
}

/// Objects in a folder, and listings of it: with the slash, so that a neighbour whose name is longer is not meant too.
fn condition(bucket: &str, folder: &str) -> String {
    format!(
        "resource.name.startsWith('projects/_/buckets/{bucket}/objects/{folder}/') || \
         api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('{folder}/')"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Location {
        Location::parse(text).expect("valid")
    }

    #[test]
    fn a_boundary_is_the_tables_alone() {
        let made = boundary(Access::Read, &[at("gs://lake/wh/t"), at("gs://lake/old"), at("gs://b/u")]).expect("made");
        let rules = made["accessBoundary"]["accessBoundaryRules"].as_array().expect("rules");
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0]["availableResource"], "//storage.googleapis.com/projects/_/buckets/b");
        assert_eq!(rules[1]["availablePermissions"], json!(["inRole:roles/storage.objectViewer"]));
        let condition = rules[1]["availabilityCondition"]["expression"].as_str().expect("text");
        for part in ["buckets/lake/objects/wh/t/'", "'').startsWith('wh/t/')", "buckets/lake/objects/old/'"] {
            assert!(condition.contains(part), "{part} is not in {condition}");
        }
        let write = boundary(Access::Write, &[at("gs://lake/wh/t")]).expect("made").to_string();
        assert!(write.contains("storage.objectUser") && !write.contains("objectViewer"));
    }

    #[test]
    fn what_would_end_the_text_gets_none() {
        for odd in ["gs://lake/a'b", "gs://lake/a\"b", "gs://lake/a\\b", "gs://lake"] {
            assert!(boundary(Access::Read, &[at(odd)]).is_err(), "{odd}");
        }
    }

    #[test]
    fn keys_that_make_no_tokens_are_known() {
        let with = |text: &str| StoreSettings { service_account: Some(Secret::new(text)), ..StoreSettings::default() };
        let key = r#"{"private_key": "k", "token_uri": "http://x", "client_email": "e"}"#;
        assert!(matches!(source(&with(key)), Ok(Some(Source::Key(_)))));
        assert!(matches!(source(&with(r#"{"private_key": "k", "token_uri": "u", "disable_oauth": true}"#)), Ok(None)));
        assert!(matches!(source(&with(r#"{"type": "authorized_user"}"#)), Ok(None)));
        assert!(source(&with("/nowhere/key.json")).expect_err("refused").message().contains("neither the JSON"));
        assert!(matches!(source(&StoreSettings::default()), Ok(Some(Source::Instance))));
    }
}
