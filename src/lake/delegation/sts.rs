//! Lent S3 keys: `AssumeRole` of the Security Token Service, as AWS, MinIO and SeaweedFS speak it.

use std::time::Duration;

use chrono::DateTime;
use serde::Deserialize;

use super::aws::SessionKeys;
use super::lending::NotLent;
use super::request::aws_domain;
use super::signature::{self, Body, Signer};
use crate::error::{Error, Kind, Result};
use crate::lake::settings::{Secret, StoreSettings};
use crate::limits;

/// A Security Token Service.
#[derive(Debug)]
pub(super) struct Sts {
    endpoint: String,
    role: String,
    client: reqwest::Client,
}

/// The role that is asked for where none is configured: MinIO takes any.
const ANY_ROLE: &str = "arn:aws:iam::000000000000:role/floeberg";

#[derive(Debug, Deserialize)]
struct AssumeRoleResponse {
    #[serde(rename = "AssumeRoleResult")]
    result: AssumeRoleResult,
}

#[derive(Debug, Deserialize)]
struct AssumeRoleResult {
    #[serde(rename = "Credentials")]
    credentials: Credentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

#[derive(Debug, Deserialize)]
struct ErrorResponse {
    #[serde(rename = "Error")]
    error: ErrorBody,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorBody {
    code: String,
}

impl Sts {
    /// The service that the settings of a warehouse name.
    pub(super) fn of(settings: &StoreSettings) -> Result<Self> {
        let endpoint = settings.sts_endpoint.clone().or_else(|| settings.s3_endpoint().map(str::to_owned));
        let region = settings.region_or_default();
        let of_aws = || format!("https://sts.{region}.{}", aws_domain(region));
        let role = settings.sts_role_arn.as_deref().unwrap_or(ANY_ROLE).to_owned();
        Ok(Self { endpoint: endpoint.unwrap_or_else(of_aws), role, client: client()? })
    }

    /// The role that is lent.
    pub(super) fn role(&self) -> &str {
        &self.role
    }

    /// Keys that this policy narrows, for so long.
    pub(super) async fn assume_role(&self, signer: &Signer, policy: &str) -> Result<SessionKeys, NotLent> {
        let seconds = limits::LENT_KEYS.as_secs().to_string();
        let form: Vec<(&str, &str)> = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", &self.role),
            ("RoleSessionName", "floeberg"),
            ("DurationSeconds", &seconds),
            ("Policy", policy),
        ];
        let form = form_of(&form);
        let url = format!("{}/", self.endpoint.trim_end_matches('/'));
        let sent = [("content-type", FORM)];
        let signed = signature::sign(signer, "sts", ("POST", &url), &sent, Body::Whole(form.as_bytes()));
        let signed = signed.map_err(NotLent::Refused)?;
        let mut request = self.client.post(&url).header(sent[0].0, sent[0].1).body(form);
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let unreachable = |error: reqwest::Error| NotLent::Unreachable(self.silent().because(error));
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        if !status.is_success() {
            let said = said(&text).unwrap_or_else(|| format!("HTTP {status}"));
            let (role, endpoint) = (&self.role, &self.endpoint);
            let error = Error::new(
                Kind::Unavailable,
                format!(
                    "{endpoint} lends no keys of role {role} ({said}): mend the warehouse's sts-role-arn and sts-endpoint, or choose another delegation"
                ),
            );
            // Of what is wrong with it itself it may recover.
            let passing = status.is_server_error() && status.as_u16() != 501;
            return Err(if passing { NotLent::Unreachable(error) } else { NotLent::Refused(error) });
        }
        let no_service = |error: quick_xml::DeError| NotLent::Refused(self.silent().because(error));
        let answer: AssumeRoleResponse = quick_xml::de::from_str(&text).map_err(no_service)?;
        lent(answer.result.credentials, signer.now_ms).ok_or_else(|| NotLent::Refused(self.silent()))
    }

    fn silent(&self) -> Error {
        let endpoint = &self.endpoint;
        Error::new(Kind::Unavailable, format!("{endpoint} does not answer as a Security Token Service does"))
    }
}

/// The code of an error: in the service's own shape, or in that of S3 where there is no such service. Its words are not
/// passed on: some services repeat what was signed.
fn said(text: &str) -> Option<String> {
    let wrapped = quick_xml::de::from_str::<ErrorResponse>(text).map(|said| said.error);
    Some(wrapped.or_else(|_| quick_xml::de::from_str(text)).ok()?.code)
}

fn lent(credentials: Credentials, now_ms: i64) -> Option<SessionKeys> {
    let expires_ms = DateTime::parse_from_rfc3339(&credentials.expiration).ok()?.timestamp_millis();
    let lasts = u64::try_from(expires_ms - now_ms).ok()?;
    Some(SessionKeys {
        access_key_id: credentials.access_key_id,
        secret_access_key: Secret::new(credentials.secret_access_key),
        session_token: Some(Secret::new(credentials.session_token)),
        expires_ms: Some(expires_ms),
        lasts: Duration::from_millis(lasts),
    })
}

/// A client for services that lend keys; it follows nobody elsewhere.
pub(super) fn client() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(limits::STORE_CONNECT)
        .timeout(limits::STORE_REQUEST)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Error::internal("No HTTP client can be made").because(error))
}

/// What a form says that it is.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// The text of a form.
pub(super) fn form_of(pairs: &[(&str, &str)]) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    pairs.collect::<Vec<_>>().join("&")
}
