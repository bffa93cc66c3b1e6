//! Lent keys and signatures of S3 stores.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use indexmap::IndexMap;
use object_store::aws::AwsCredentialProvider;

use super::Keys;
use super::lending::{Lasting, Lending, NotLent, Of};
use super::policy::{self, Issuer};
use super::request::{self, Hosts, SignRequest};
use super::signature::{self, Body, Signer};
use super::sts::Sts;
use crate::error::{Error, Kind, Result};
use crate::lake::location::Location;
use crate::lake::settings::{Secret, StoreSettings};
use crate::limits;

/// What is needed to speak for an S3 store.
#[derive(Debug)]
pub(super) struct S3 {
    own: AwsCredentialProvider,
    region: String,
    hosts: Hosts,
    issuer: Issuer,
    /// What clients configure whatever they are given.
    config: IndexMap<String, String>,
    /// Who lends keys. None where AWS is asked to sign only: it looks at all that a signature covers, while some stores look
    /// at less of a request, so that it could be made to reach further with the warehouse's own keys.
    sts: Option<Sts>,
    lent: Lending<Lent>,
}

/// Keys that were lent, and how many of a table's locations they reach.
#[derive(Debug)]
struct Lent {
    keys: SessionKeys,
    reached: usize,
}

/// Keys that a store has lent, or the warehouse's own.
#[derive(Debug)]
pub(super) struct SessionKeys {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Secret,
    pub(super) session_token: Option<Secret>,
    pub(super) expires_ms: Option<i64>,
    /// How long they were good for when they were lent.
    pub(super) lasts: Duration,
}

impl Lasting for Lent {
    fn lasts(&self) -> Duration {
        self.keys.lasts
    }
}

impl S3 {
    pub(super) fn new(
        settings: &StoreSettings,
        own: AwsCredentialProvider,
        config: &IndexMap<String, String>,
    ) -> Result<Self> {
        use super::Delegation::{Auto, Signed, Vended};
        let (region, endpoint) = (settings.region_or_default().to_owned(), settings.s3_endpoint());
        let named = settings.sts_role_arn.is_some() || settings.sts_endpoint.is_some() || endpoint.is_some();
        let sts = match settings.delegation {
            Vended => Some(Sts::of(settings)?),
            Auto | Signed if named => Some(Sts::of(settings)?),
            _ => None,
        };
        let hosts = Hosts::of(endpoint, &region, settings.uses_path_style());
        let issuer = match endpoint {
            None => Issuer::Aws { partition: partition(sts.as_ref()) },
            Some(_) => Issuer::Compatible,
        };
        Ok(Self { own, region, hosts, issuer, config: config.clone(), sts, lent: Lending::default() })
    }

    /// Whether requests are signed with keys that are lent for their table.
    pub(super) fn lends(&self) -> bool {
        self.sts.is_some()
    }

    /// Keys that are lent for these locations.
    pub(super) async fn lent_keys(&self, of: Of, now_ms: i64) -> Result<Keys, NotLent> {
        let lent = self.lend(&of, now_ms).await?;
        Ok(self.keys(&lent.keys, &of.1[..lent.reached]))
    }

    /// The warehouse's own keys, for clients.
    pub(super) async fn own_keys(&self, locations: &[Location]) -> Result<Keys> {
        Ok(self.keys(&self.own().await?, locations))
    }

    /// An error where requests for these locations could not be signed.
    pub(super) async fn could_sign(&self, of: Of, now_ms: i64) -> Result<(), NotLent> {
        match self.sts {
            Some(_) => self.lend(&of, now_ms).await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn lend(&self, of: &Of, now_ms: i64) -> Result<Arc<Lent>, NotLent> {
        let lend = async {
            let sts = self.sts.as_ref().ok_or(NotLent::NoPolicy("Keys are not lent in this warehouse"))?;
            let (policy, reached) = policy::fitting(of.0, &of.1, &self.issuer)?;
            if let Some(left_out) = of.1.get(reached) {
                tracing::warn!(table = %of.1[0], %left_out, "lent keys do not reach all of a table: a policy can say no more");
            }
            let own = self.own().await.map_err(NotLent::Unreachable)?;
            let keys = sts.assume_role(&self.signer(&own, now_ms), &policy).await?;
            Ok(Lent { keys, reached })
        };
        self.lent.get(of.clone(), lend).await
    }

    /// The headers that sign a client's request, if it stays within these locations and this right.
    pub(super) async fn sign(
        &self,
        request: &SignRequest,
        of: Of,
        now_ms: i64,
    ) -> Result<IndexMap<String, Vec<String>>> {
        request::judge(request, &self.hosts, of.0, &of.1)?;
        let signer = match self.sts {
            None => self.signer(&self.own().await?, now_ms),
            Some(_) => {
                let lent = self.lend(&of, now_ms).await.map_err(NotLent::into_error)?;
                self.signer(&lent.keys, now_ms)
            }
        };
        signed(request, &signer)
    }

    async fn own(&self) -> Result<SessionKeys> {
        let own = self.own.get_credential().await.map_err(|error| {
            Error::new(Kind::Unavailable, "The warehouse's own keys cannot be had: check its configuration")
                .because(error)
        })?;
        Ok(SessionKeys {
            access_key_id: own.key_id.clone(),
            secret_access_key: Secret::new(own.secret_key.clone()),
            session_token: own.token.clone().map(Secret::new),
            expires_ms: None,
            lasts: limits::LENT_KEYS,
        })
    }

    fn signer(&self, keys: &SessionKeys, now_ms: i64) -> Signer {
        let token = keys.session_token.as_ref().map(|token| token.reveal().to_owned());
        let (id, secret) = (keys.access_key_id.clone(), keys.secret_access_key.reveal());
        let credentials = Credentials::new(id, secret, token, None, "floeberg");
        Signer { credentials, region: self.region.clone(), now_ms }
    }

    fn keys(&self, lent: &SessionKeys, locations: &[Location]) -> Keys {
        let mut config = self.config.clone();
        let mut set = |key: &str, value: &str| config.insert(key.to_owned(), value.to_owned());
        set("s3.access-key-id", &lent.access_key_id);
        set("s3.secret-access-key", lent.secret_access_key.reveal());
        if let Some(token) = &lent.session_token {
            set("s3.session-token", token.reveal());
        }
        if let Some(expires_ms) = lent.expires_ms {
            set("s3.session-token-expires-at-ms", &expires_ms.to_string());
        }
        // Clients take the keys whose prefix a location begins with; Java takes no more than one pair.
        let prefix = match locations {
            [only] => only.key(),
            [first, ..] => format!("s3://{}/", first.bucket()),
            [] => String::new(),
        };
        Keys { prefix, config, expires_ms: lent.expires_ms, again_under: "client.refresh-credentials-endpoint" }
    }
}

/// The partition of AWS that a role is in.
fn partition(sts: Option<&Sts>) -> String {
    match sts.and_then(|sts| sts.role().split(':').nth(1)) {
        Some(partition) if !partition.is_empty() => partition.to_owned(),
        _ => "aws".to_owned(),
    }
}

/// The headers of a request, signed.
fn signed(request: &SignRequest, signer: &Signer) -> Result<IndexMap<String, Vec<String>>> {
    let own = ["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "content-length", "host"];
    let kept = |name: &str| !own.iter().any(|one| name.eq_ignore_ascii_case(one));
    let mut headers: IndexMap<String, Vec<String>> = request
        .headers
        .iter()
        .filter(|(name, _)| kept(name))
        .map(|(name, values)| (name.clone(), values.clone()))
        .collect();
    let pairs = headers.iter().flat_map(|(name, values)| values.iter().map(|value| (name.as_str(), value.as_str())));
    let sent: Vec<(&str, &str)> = pairs.collect();
    let body = match &request.body {
        Some(body) if !body.is_empty() => Body::Whole(body.as_bytes()),
        _ => Body::Said(request::header(request, "x-amz-content-sha256").unwrap_or("UNSIGNED-PAYLOAD").to_owned()),
    };
    let added = signature::sign(signer, "s3", (&request.method, &request.uri), &sent, body)?;
    headers.extend(added.into_iter().map(|(name, value)| (name, vec![value])));
    Ok(headers)
}
